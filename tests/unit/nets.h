/* nets.h: small networks built by hand, for the tests of graph and passes. */
#ifndef NETS_H
#define NETS_H

#include "ir/op.h"
#include "ops/attrs.h"
#include "passes/passes.h"

/* A graph under construction.  Every layer function returns the layer's result, named `label`. */
typedef struct Net {
    Arena *keep, *tmp;
    Graph *g;
    PassCtx ctx;
    ValueId image, label, score, loss;
} Net;

extern const Target net_target; /* 16 lanes */

/* program: "forward", "train" or "look"; params NULL: a new list */
Net net_new(const char *program, ParamList *params, int64_t c, int64_t h, int64_t w);
void net_free(Net *n);
ValueId net_conv(Net *n, const char *label, ValueId src, int64_t maps, int64_t k, int64_t stride,
                 int64_t pad);
ValueId net_dense(Net *n, const char *label, ValueId src, int64_t units);
ValueId net_maxpool(Net *n, const char *label, ValueId src, int64_t k, int64_t stride);
ValueId net_dropout(Net *n, const char *label, ValueId src, double rate, bool infer);
ValueId net_op(Net *n, const char *label, int op, ValueId a,
               ValueId b); /* no attributes; b may be 0 */
/* Ends the net: softmax and cross-entropy over score, ctx filled. */
void net_end(Net *n, ValueId score);
void net_seed(Net *n, ValueId v); /* look: v's name becomes a seed */

/* the standard nets; small ones, odd sizes */
Net net_lenet(const char *program,
              ParamList *params); /* conv relu pool conv relu pool dense relu dense */
Net net_residual(const char *program,
                 ParamList *params); /* conv relu [conv relu conv + ] relu pool dense */
Net net_fork(const char *program,
             ParamList *params); /* conv relu {conv relu, conv relu} concat pool dense */
Net net_shared(const char *program, ParamList *params); /* the same weights twice */
Net net_tanh(const char *program, ParamList *params);

/* helpers for assertions */
int net_count(const Graph *g, int op);                      /* live nodes of this kind */
const Kernel *net_kernel(const Graph *g, const char *name); /* NULL if there is none */
char *net_text(const Graph *g, Arena *keep);                /* graph_print as a string */

#endif
