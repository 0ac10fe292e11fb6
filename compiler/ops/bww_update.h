/* bww_update.h: what the lowerings of weights' gradients share: where the sums go (memory, or the
 * update of Kernel.update), and the bias' gradient beside them (Kernel.bias_grad, bias_update).
 */
#ifndef OPS_BWW_UPDATE_H
#define OPS_BWW_UPDATE_H

#include "ops/conv.h"
#include "ops/optim.h"

typedef struct BwwUpdate {
    KernelCtx *k;
    const Node *weights, *bias; /* the updates, or NULL */
    WeightView w;               /* of the gradient; of the parameter when that is updated here */
    Val state;                  /* base of the parameter's momentum */
} BwwUpdate;
BwwUpdate bww_update_open(KernelCtx *k);

/* The bias beside the weights, for one tile of outputs: lower_bias_grad's sums in its order (rows,
 * images, batch), so that both give the same bits.  Between the calls the sums rest in scratch. */
typedef struct BwwBias {
    BwwUpdate *u;
    const View *dd;
    int vectors;  /* of the tile */
    Val owns;     /* does this task sum the bias of these channels? */
    Val first_cb; /* first block of dd's channels */
    Val scratch;  /* bias_scratch() floats */
} BwwBias;
int64_t bias_scratch(const Kernel *k, int64_t o_tile);
void bias_start(BwwBias *b);
/* Rows [from, to) of an image; image points at its row 0 of first_cb. */
void bias_rows(BwwBias *b, Val image, Val from, Val to);
void bias_image_end(BwwBias *b);
void bias_finish(BwwBias *b);
/* The whole sum at once. */
void bias_all(BwwBias *b);

#endif
