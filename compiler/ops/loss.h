/* loss.h: what the code of the losses shares (softmax_lower.c): one image's scores and label, folds
 * over channels, where the result goes.
 */
#ifndef OPS_LOSS_H
#define OPS_LOSS_H

#include "ops/hooks.h"
#include "ops/lower.h"

typedef struct Loss {
    KernelCtx *k;
    const LossAttrs *a;
    View score, out;
    Val at, out_at, label; /* of this image */
} Loss;

/* Lanes of block cb that are real channels. */
Val real_lanes(KernelCtx *k, const View *v, Val cb);
/* for (cb) with one carried vector: acc = step(acc, block cb of the pixel at `at`) */
typedef Val (*FoldFn)(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user);
Val fold_channels(KernelCtx *k, const View *v, Val at, Val start, FoldFn step, void *user);

/* Opens the loop over images; close it with task_end.  The label is read if the loss has one for
 * each image. */
Loop loss_begin(KernelCtx *k, Loss *l);
Val loss_seed(KernelCtx *k, const Loss *l);           /* weight / n, the seed of reverse mode */
void put_loss(KernelCtx *k, const Loss *l, Val loss); /* times the weight */
Val loss_log_sum(KernelCtx *k, const View *v, Val at); /* log of the sum of exp(x), in all lanes */
bool loss_of_label(const Graph *g, NodeId n); /* one label per image (else two layers, a map) */
/* Sum over a tensor's numbers of an error of kind ERROR_.., divided by their count. */
void lower_error(KernelCtx *k, int kind);

#endif
