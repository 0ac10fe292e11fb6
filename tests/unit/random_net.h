/* random_net.h: small random networks from a seed, the same for each of a model's programs.
 *
 * Two to nine layers: convolutions (odd kernels, strides, paddings, dilation, groups, connection
 * tables), pools, subsampling, normalisations, rectifiers and other functions, dropout, residual
 * sums, products, branches that are concatenated, dense layers, radial basis functions; one or two
 * losses.  Values stay of the order of one.
 */
#ifndef RANDOM_NET_H
#define RANDOM_NET_H

#include "passes/passes.h"
#include "ref_run.h"

typedef struct RandomNet {
    Graph *g;
    PassCtx ctx;        /* losses, seeds and score filled; target and tmp are the caller's */
    Shape image;
    int64_t classes;
    ValueId score;
} RandomNet;

/* program: "forward", "train" or "look".  All programs of one model share `params` (empty at first)
 * and must be built with the same seed. */
RandomNet random_net(Arena *keep, const char *program, ParamList *params, uint32_t seed);

/* The same net's numbers: parameters (zero where a link is missing), momenta, n images, labels. */
typedef struct RandomData {
    double **param, **state;
    double *image;
    int32_t *label;
} RandomData;
RandomData random_data(Arena *keep, const RandomNet *net, const ParamList *params, int64_t n,
                       uint32_t seed);

#endif
