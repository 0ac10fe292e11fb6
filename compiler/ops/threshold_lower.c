/* threshold_lower.c: the formulas of threshold.c, on vectors; a NaN passes.
 *
 * The height of a soft threshold is subtracted from |x|, and 0 stays 0 whatever the height: a
 * parameter may become negative in training.
 */
#include "ops/hooks.h"
#include "ops/lower.h"

static Val height(ScalarCtx *s) {
    const ThresholdAttrs *a = s->attrs;
    return s->node->nin > 1 ? s->in[1] : em_vec(s->e, a->tau);
}

static bool both_sides(const ScalarCtx *s) {
    return ((const ThresholdAttrs *)s->attrs)->is_signed;
}

Val scalar_soft_threshold(ScalarCtx *s) {
    Emit *e = s->e;
    Val x = s->in[0], zero = em_vec(e, 0);
    if (!both_sides(s))
        return em_fmax(e, zero, em_fsub(e, x, height(s)));
    Val m = em_fmax(e, zero, em_fsub(e, em_fabs(e, x), height(s)));
    Val up = em_select(e, em_fcmp(e, EM_EQ, x, zero), zero, m);
    return em_select(e, em_fcmp(e, EM_LT, x, zero), em_fneg(e, m), up);
}

Val scalar_hard_threshold(ScalarCtx *s) {
    Emit *e = s->e;
    Val x = s->in[0], size = both_sides(s) ? em_fabs(e, x) : x;
    return em_select(e, em_fgt_or_nan(e, size, height(s)), x, em_vec(e, 0));
}

Val scalar_threshold_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val zero = em_vec(e, 0);
    return em_select(e, em_fcmp(e, EM_NE, s->in[1], zero), s->in[0], zero);
}
