/* algebra_lower.c: the scalar formulas of algebra.c, on vectors.
 *
 * Where a result could hide a NaN, the comparison is written so that the NaN passes (em_fmax and
 * em_fmin give their second operand when either is NaN).
 */
#include <math.h>

#include "ops/hooks.h"
#include "ops/lower.h"

static const CurveAttrs *curve(const ScalarCtx *s) {
    return s->attrs;
}

static Val positive(ScalarCtx *s, Val x) {
    return em_fcmp(s->e, EM_GT, x, em_vec(s->e, 0));
}

/* x where `sign` > 0, slope x elsewhere */
static Val bent(ScalarCtx *s, Val sign, Val x, Val slope) {
    return em_select(s->e, positive(s, sign), x, em_fmul(s->e, x, slope));
}

Val scalar_leaky_relu(ScalarCtx *s) {
    return bent(s, s->in[0], s->in[0], em_vec(s->e, curve(s)->slope));
}

Val scalar_leaky_relu_bwd(ScalarCtx *s) {
    return bent(s, s->in[1], s->in[0], em_vec(s->e, curve(s)->slope));
}

Val scalar_prelu(ScalarCtx *s) {
    return bent(s, s->in[0], s->in[0], s->in[1]);
}

Val scalar_prelu_bwd(ScalarCtx *s) {
    return bent(s, s->in[1], s->in[0], s->in[2]);
}

/* exp(x) - 1 for x <= 0: near 0 the difference would lose digits, so the series to x^6 there. */
static Val expm1_negative(Emit *e, Val x) {
    static const double c[] = {1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1};
    Val near = em_vec(e, c[0]), far = em_fsub(e, em_exp(e, x), em_vec(e, 1));
    for (int i = 1; i < 6; i++)
        near = em_fma(e, near, x, em_vec(e, c[i]));
    near = em_fmul(e, near, x);
    return em_select(e, em_fcmp(e, EM_GT, x, em_vec(e, -0.35)), near, far);
}

Val scalar_elu(ScalarCtx *s) {
    Emit *e = s->e;
    Val x = s->in[0], low = em_fmin(e, em_vec(e, 0), x); /* no overflow on the side not taken */
    Val tail = em_fmul(e, em_vec(e, curve(s)->alpha), expm1_negative(e, low));
    return em_select(e, positive(s, x), x, tail);
}

Val scalar_elu_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val dy = s->in[0], y = s->in[1];
    Val tail = em_fmul(e, dy, em_fadd(e, y, em_vec(e, curve(s)->alpha)));
    return em_select(e, positive(s, y), dy, tail);
}

/* log(1 + t) for 0 <= t <= 1: where 1 + t rounds, log(u) t / (u - 1) is exact to a few ulp
 * (Goldberg 1991, theorem 4). */
static Val log1p_unit(Emit *e, Val t) {
    Val one = em_vec(e, 1), u = em_fadd(e, one, t), d = em_fsub(e, u, one);
    Val same = em_fcmp(e, EM_EQ, d, em_vec(e, 0));
    Val safe = em_select(e, same, one, d);
    Val r = em_fmul(e, em_log(e, u), em_fdiv(e, t, safe));
    return em_select(e, same, t, r);
}

/* max(x, 0) + log(1 + exp(-|x|)) */
Val scalar_softplus(ScalarCtx *s) {
    Emit *e = s->e;
    Val x = s->in[0];
    Val t = em_exp(e, em_fneg(e, em_fabs(e, x)));
    return em_fadd(e, em_fmax(e, em_vec(e, 0), x), log1p_unit(e, t));
}

/* dy (1 - exp(-y)), y > 0 */
Val scalar_softplus_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    return em_fneg(e, em_fmul(e, s->in[0], expm1_negative(e, em_fneg(e, s->in[1]))));
}

Val scalar_swish(ScalarCtx *s) {
    return em_fmul(s->e, s->in[0], em_sigmoid(s->e, s->in[0]));
}

Val scalar_swish_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val x = s->in[1], g = em_sigmoid(e, x), one = em_vec(e, 1);
    Val slope = em_fma(e, x, em_fsub(e, one, g), one);
    return em_fmul(e, s->in[0], em_fmul(e, g, slope));
}

static const double gelu_cubic = 0.044715, gelu_root = 0.79788456080286535588; /* sqrt(2 / pi) */

static Val gelu_tanh(Emit *e, Val x) {
    Val square = em_fmul(e, x, x);
    Val line = em_fma(e, square, em_vec(e, gelu_cubic * gelu_root), em_vec(e, gelu_root));
    return em_tanh(e, em_fmul(e, x, line));
}

Val scalar_gelu(ScalarCtx *s) {
    Emit *e = s->e;
    Val half = em_fmul(e, s->in[0], em_vec(e, 0.5));
    return em_fma(e, half, gelu_tanh(e, s->in[0]), half);
}

Val scalar_gelu_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val x = s->in[1], t = gelu_tanh(e, x), half = em_vec(e, 0.5), square = em_fmul(e, x, x);
    Val du = em_fma(e, square, em_vec(e, 3 * gelu_cubic * gelu_root), em_vec(e, gelu_root));
    Val dt = em_fma(e, em_fneg(e, t), t, em_vec(e, 1));
    Val slope = em_fmul(e, em_fmul(e, em_fmul(e, half, x), dt), du);
    return em_fmul(e, s->in[0], em_fadd(e, slope, em_fma(e, half, t, half)));
}

Val scalar_abs(ScalarCtx *s) {
    return em_fabs(s->e, s->in[0]);
}

/* dy sign(x), sign(0) = 0 */
Val scalar_abs_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val dy = s->in[0], zero = em_vec(e, 0);
    Val below = em_select(e, em_fcmp(e, EM_LT, s->in[1], zero), em_fneg(e, dy), zero);
    return em_select(e, positive(s, s->in[1]), dy, below);
}

Val scalar_neg(ScalarCtx *s) {
    return em_fneg(s->e, s->in[0]);
}

Val scalar_scale(ScalarCtx *s) {
    const CurveAttrs *a = curve(s);
    Val by = em_vec(s->e, a->by);
    if (a->shift == 0)
        return em_fmul(s->e, s->in[0], by);
    return em_fma(s->e, s->in[0], by, em_vec(s->e, a->shift));
}

Val scalar_clip(ScalarCtx *s) {
    Emit *e = s->e;
    return em_fmin(e, em_vec(e, curve(s)->hi), em_fmax(e, em_vec(e, curve(s)->lo), s->in[0]));
}

Val scalar_clip_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    Val y = s->in[1], zero = em_vec(e, 0);
    Val low = em_select(e, em_fcmp(e, EM_GT, y, em_vec(e, curve(s)->lo)), s->in[0], zero);
    return em_select(e, em_fcmp(e, EM_LT, y, em_vec(e, curve(s)->hi)), low, zero);
}

Val scalar_square(ScalarCtx *s) {
    return em_fmul(s->e, s->in[0], s->in[0]);
}
Val scalar_sqrt(ScalarCtx *s) {
    return em_sqrt(s->e, s->in[0]);
}
Val scalar_exp(ScalarCtx *s) {
    return em_exp(s->e, s->in[0]);
}
Val scalar_log(ScalarCtx *s) {
    return em_log(s->e, s->in[0]);
}

/* x^n by squaring, n >= 0 */
static Val whole_power(Emit *e, Val x, int n) {
    Val r = NULL;
    for (; n > 0; n /= 2) {
        if (n % 2)
            r = r ? em_fmul(e, r, x) : x;
        if (n > 1)
            x = em_fmul(e, x, x);
    }
    return r ? r : em_vec(e, 1);
}

Val vec_power(Emit *e, Val x, double p) {
    if (p == floor(p)) {
        Val r = whole_power(e, x, (int)fabs(p));
        return p < 0 ? em_fdiv(e, em_vec(e, 1), r) : r;
    }
    if (p == 0.5)
        return em_sqrt(e, x);
    return em_exp(e, em_fmul(e, em_log(e, x), em_vec(e, p)));
}

Val scalar_pow(ScalarCtx *s) {
    return vec_power(s->e, s->in[0], curve(s)->p);
}

Val scalar_pow_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    double p = curve(s)->p;
    Val slope = em_fmul(e, vec_power(e, s->in[1], p - 1), em_vec(e, p));
    return em_fmul(e, s->in[0], slope);
}
