/* optim.h: the parameter update of one vector, for the update's own kernel and for the kernels that
 * apply it to a gradient they have just summed (Kernel.update): the same operations in the same
 * order, hence the same bits.  Each optimizer is an operation with an `update` hook.
 */
#ifndef OPS_OPTIM_H
#define OPS_OPTIM_H

#include "ops/lower.h"

typedef struct UpdateRates { /* vectors */
    const OpDef *op;
    const SgdAttrs *a;
    Val step;     /* -rate; adam: without the first correction */
    Val momentum; /* adam: 1 - beta1 */
    Val decay;
    Val second; /* adam: 1 - beta2; rmsprop: 1 - alpha; slbi: 1 / nu, or 0 */
    Val correct1, correct2, eps; /* slbi: correct1 = kappa, eps = lambda */
    Val clip;   /* NULL: gradients are not cut */
    Val factor; /* of all gradients, NULL: 1 */
    Val next;   /* bytes from a weight's number in the state to its next one */
} UpdateRates;

/* What an optimizer's hook sees and changes: vectors. */
typedef struct UpdateStep {
    Emit *e;
    const UpdateRates *r;
    Val weight, gradient, state[3];
} UpdateStep;

/* Rates of this call for a parameter.  Ask where they are used: vectors that stay alive around an
 * inner loop cost it registers. */
UpdateRates update_rates(KernelCtx *k, const Node *update);
/* The same with what is the parameter's own given. */
typedef struct UpdateOwn {
    Val lr_mult, decay_mult, coupled; /* scalars; the last one is 1 or 0 */
    Val next;                         /* i64 */
} UpdateOwn;
UpdateRates update_rates_with(KernelCtx *k, const Node *update, const UpdateOwn *own);
/* weights[off..] and state[off..] (aligned vectors) take one step along `gradient`. */
void update_apply(Emit *e, const UpdateRates *r, Val weights, Val state, int64_t off, Val gradient);

#endif
