/* optim.h: the parameter update of one vector, for the update's own kernel and for the kernels that
 * apply it to a gradient they have just summed (Kernel.update): the same operations in the same
 * order, hence the same bits.
 */
#ifndef OPS_OPTIM_H
#define OPS_OPTIM_H

#include "ops/lower.h"

typedef struct SgdRates {
    Val step, momentum, decay; /* vectors; step = -rate */
    bool nesterov;
} SgdRates;
/* Rates of this call for a parameter.  Ask where they are used: vectors that stay alive around an
 * inner loop cost it registers. */
SgdRates sgd_rates(KernelCtx *k, const SgdAttrs *a);
/* weights[off..] and state[off..] (aligned vectors) take one step along `gradient`. */
void sgd_apply(Emit *e, const SgdRates *r, Val weights, Val state, int64_t off, Val gradient);

#endif
