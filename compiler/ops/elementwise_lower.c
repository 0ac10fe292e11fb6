/* elementwise_lower.c: the scalar formulas of the elementwise operators, on vectors.
 *
 * Each hook returns dst for one vector of inputs.  A fused chain and a map kernel call the same
 * hooks, so a formula exists once.  Backward formulas read the stored OUTPUT y, never the input.
 */
#include "ops/hooks.h"
#include "ops/lower.h"

static const double stanh_gain = 1.7159; /* LeCun et al. 1998, appendix A: f(1) = 1 */
static const double stanh_slope = 2.0 / 3.0;

/* 0 > x ? 0 : x, so that a NaN stays visible */
Val scalar_relu(ScalarCtx *s) { return em_fmax(s->e, em_vec(s->e, 0), s->in[0]); }

Val scalar_relu_bwd(ScalarCtx *s) {
    Val zero = em_vec(s->e, 0);
    return em_select(s->e, em_fcmp(s->e, EM_GT, s->in[1], zero), s->in[0], zero);
}

Val scalar_tanh(ScalarCtx *s) { return em_tanh(s->e, s->in[0]); }

/* dy (1 - y^2) */
Val scalar_tanh_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val y = s->in[1];
    return em_fmul(e, s->in[0], em_fma(e, em_fneg(e, y), y, em_vec(e, 1)));
}

Val scalar_stanh(ScalarCtx *s) {
    Emit *e = s->e;
    Val t = em_tanh(e, em_fmul(e, s->in[0], em_vec(e, stanh_slope)));
    return em_fmul(e, t, em_vec(e, stanh_gain));
}

/* y = A tanh(S x): dy/dx = S (A - y^2 / A) */
Val scalar_stanh_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val y = s->in[1];
    Val scaled = em_fmul(e, y, em_vec(e, -stanh_slope / stanh_gain));
    return em_fmul(e, s->in[0], em_fma(e, scaled, y, em_vec(e, stanh_slope * stanh_gain)));
}

Val scalar_sigmoid(ScalarCtx *s) { return em_sigmoid(s->e, s->in[0]); }

/* dy y (1 - y) */
Val scalar_sigmoid_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val y = s->in[1];
    return em_fmul(e, s->in[0], em_fma(e, em_fneg(e, y), y, y));
}

Val scalar_add(ScalarCtx *s) { return em_fadd(s->e, s->in[0], s->in[1]); }

Val scalar_channel_add(ScalarCtx *s) { return em_fadd(s->e, s->in[0], s->in[1]); }
Val scalar_mul(ScalarCtx *s) { return em_fmul(s->e, s->in[0], s->in[1]); }

/* Lanes are channels: element c * plane + y * width + x of each. */
static Val element_numbers(ScalarCtx *s) {
    Emit *e = s->e;
    Val channel = em_add(e, em_splat_i32(e, em_mul(e, s->cb, em_i64(e, em_width(e)))),
                         em_lane_index(e));
    Val plane = em_splat_i32(e, em_i64(e, s->height * s->width));
    Val inside = em_add(e, em_mul(e, s->y, em_i64(e, s->width)), s->x);
    return em_add(e, em_mul(e, channel, plane), em_splat_i32(e, inside));
}

/* Which units stay: one Philox draw per element, numbered by its logical place, so that the mask
 * depends on (seed, step, layer, image, element) and on nothing else. */
static Val dropout_keep(ScalarCtx *s, const DropoutAttrs *a) {
    Emit *e = s->e;
    Val element = s->element ? s->element : element_numbers(s);
    Val image = s->image ? s->image : em_splat_i32(e, s->n);
    Val seed = em_load_i64(e, s->k->a.frame, 80), step = em_load_i64(e, s->k->a.frame, 88);
    Val key[2] = {em_splat_i32(e, seed), em_splat_i32(e, em_shr(e, seed, em_i64(e, 32)))};
    Val counter[4] = {element, image, em_splat_i32(e, step),
                      em_splat_i32(e, em_i64(e, a->key))};
    Val bits[4];
    em_philox(e, key, counter, bits);
    return em_fcmp(e, EM_GE, em_u32_to_unit(e, bits[0]), em_vec(e, a->rate));
}

/* Forward and backward are the same map: a kept unit is scaled, a dropped one is zero. */
static Val dropout_apply(ScalarCtx *s) {
    const DropoutAttrs *a = s->attrs;
    Emit *e = s->e;
    Val x = s->in[0];
    if (a->infer)
        return a->scale ? em_fmul(e, x, em_vec(e, 1 - a->rate)) : x;
    Val kept = a->scale ? x : em_fmul(e, x, em_vec(e, 1 / (1 - a->rate)));
    return em_select(e, dropout_keep(s, a), kept, em_vec(e, 0));
}

Val scalar_dropout(ScalarCtx *s) { return dropout_apply(s); }
Val scalar_dropout_bwd(ScalarCtx *s) { return dropout_apply(s); }
