/* ref_algebra.c: elementwise algebra as plain loops in double precision, and the shapes it is
 * tested with.
 *
 * Operands with extent 1 are repeated by asking for cell (min(c, C - 1), ..) of them.
 */
#include "ref_algebra.h"

#include <math.h>

#include "base/bug.h"
#include "ops/attrs.h"


static int64_t dim(const RefTensor *t, int d) {
    return d < t->shape.rank ? t->shape.dim[d] : 1;
}

/* Cell (n, c, y, x), or the one that is repeated there. */
static double *cell(const RefTensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    n = t->n == 1 ? 0 : n;
    c = dim(t, 0) == 1 ? 0 : c;
    y = dim(t, 1) == 1 ? 0 : y;
    x = dim(t, 2) == 1 ? 0 : x;
    return &t->at[((n * dim(t, 0) + c) * dim(t, 1) + y) * dim(t, 2) + x];
}

/* ---- functions of up to three numbers ---- */

typedef double (*Fn)(const CurveAttrs *a, double x, double y, double z);

static void map(const RefCall *r, Fn f) {
    const RefTensor *o = r->out;
    if (r->nin == 2 && shape_equal(&r->in[0].shape, &r->in[1].shape) && r->in[0].n == r->in[1].n) {
        FOR(i, ref_elems(o)) o->at[i] = f(r->attrs, r->in[0].at[i], r->in[1].at[i], 0);
        return; /* weights have more axes */
    }
    FOR(n, o->n) FOR(c, dim(o, 0)) FOR(y, dim(o, 1)) FOR(x, dim(o, 2)) {
        double in[3] = {0};
        for (int i = 0; i < r->nin; i++)
            in[i] = *cell(&r->in[i], n, c, y, x);
        *cell(o, n, c, y, x) = f(r->attrs, in[0], in[1], in[2]);
    }
}

#define MAP(name, value)                                                                           \
    static double f_##name(const CurveAttrs *a, double x, double y, double z) {                    \
        (void)a, (void)x, (void)y, (void)z;                                                        \
        return value;                                                                              \
    }                                                                                              \
    void ref_##name(const RefCall *r) {                                                            \
        map(r, f_##name);                                                                          \
    }

static double logistic(double x) {
    return 1 / (1 + exp(-x));
}
static double gelu_line(double x) {
    return sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
}
static double gelu_slope(double x) {
    double t = tanh(gelu_line(x)), du = sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * x * x);
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du;
}

MAP(leaky_relu, x > 0 ? x : a->slope * x)
MAP(leaky_relu_bwd, y > 0 ? x : a->slope * x)
MAP(prelu, x > 0 ? x : y * x)
MAP(prelu_bwd, y > 0 ? x : z * x)
MAP(elu, x > 0 ? x : a->alpha * (exp(x) - 1))
MAP(elu_bwd, y > 0 ? x : x * (y + a->alpha))
MAP(softplus, log(1 + exp(x)))
MAP(softplus_bwd, x *(1 - exp(-y)))
MAP(swish, x *logistic(x))
MAP(swish_bwd, x *logistic(y) * (1 + y * (1 - logistic(y))))
MAP(gelu, 0.5 * x * (1 + tanh(gelu_line(x))))
MAP(gelu_bwd, x *gelu_slope(y))
MAP(abs, x < 0 ? -x : x)
MAP(abs_bwd, y > 0 ? x : y < 0 ? -x : 0)
MAP(neg, -x)
MAP(scale, a->by *x + a->shift)
MAP(clip, x<a->lo ? a->lo : x> a->hi ? a->hi : x)
MAP(clip_bwd, y > a->lo && y < a->hi ? x : 0)
MAP(square, x *x)
MAP(sqrt, sqrt(x))
MAP(exp, exp(x))
MAP(log, log(x))
MAP(pow, pow(x, a->p))
MAP(pow_bwd, x * a->p * pow(y, a->p - 1))
MAP(add, x + y)
MAP(mul, x *y)
MAP(sub, x - y)
MAP(div, x / y)
MAP(maximum, x >= y ? x : y)
MAP(minimum, x <= y ? x : y)
MAP(pass_ge, y >= z ? x : 0)
MAP(pass_lt, y < z ? x : 0)

void ref_sum_to(const RefCall *r) {
    const RefTensor *s = &r->in[0];
    FOR(n, r->n)
        FOR(c, dim(s, 0)) FOR(y, dim(s, 1)) FOR(x, dim(s, 2)) *
        cell(r->out, n, c, y, x) += *cell(s, n, c, y, x);
}

/* ---- cases ---- */

static const Shape shape[REF_CURVE_CASES] = {S1(1),        S1(10),       S1(16),
                                             S1(37),       S3(1, 1, 1),  S3(3, 4, 5),
                                             S3(16, 3, 2), S3(17, 2, 5), S3(5, 1, 7)};

static void add_input(RefCase *c, RefInput kind, Shape s) {
    c->kind[c->nin] = kind;
    c->in[c->nin++] = s;
}

static bool wants_positive(int op, const CurveAttrs *a) {
    return op == OP_SQRT || op == OP_LOG ||
           ((op == OP_POW || op == OP_POW_BWD) && (a->p != floor(a->p) || a->p < 1));
}

RefCase ref_curve_case(Arena *keep, int op, int i) {
    static const double p[] = {2, 3, 0.5, 1.7, -1, 1, -2.5, 4, 0.25};
    RefCase r = {.what = "elementwise", .rounds = true};
    CurveAttrs *a = ARENA_NEW(keep, CurveAttrs);
    *a = (CurveAttrs){.slope = i % 3 ? 0.01 : 0.3,
                      .alpha = i % 2 ? 1 : 0.7,
                      .p = p[i],
                      .lo = i % 2 ? 0 : -1,
                      .hi = i % 3 ? 1 : 6,
                      .by = i % 2 ? 0.17 : -3,
                      .shift = i % 3 ? 0 : 0.5,
                      .shared = i % 3 == 2};
    r.attrs = op_def[op]->attr_size ? a : NULL;
    r.rounds = op != OP_ABS && op != OP_ABS_BWD && op != OP_NEG && op != OP_CLIP &&
               op != OP_CLIP_BWD && op != OP_SQUARE;
    Shape s = shape[i], weight = S1(a->shared ? 1 : s.dim[0]);
    bool positive = wants_positive(op, a);
    if (op == OP_PRELU || op == OP_PRELU_BWD) {
        for (int k = 0; k < op_nin[op] - 1; k++)
            add_input(&r, REF_DATA, s);
        add_input(&r, REF_WEIGHT, weight);
        return r;
    }
    for (int k = 0; k < op_nin[op]; k++)
        add_input(&r, positive && k + 1 == op_nin[op] ? REF_POSITIVE : REF_DATA, s);
    if (op == OP_ELU_BWD || op == OP_SOFTPLUS_BWD) /* outputs, not any number */
        r.kind[1] = REF_POSITIVE;
    return r;
}

/* The second operand; unbatched where the letter says so: w a parameter. */
static const struct {
    const char *what, *kind;
    Shape a, b;
} arith_case[REF_ARITH_CASES] = {
    {"one number", "dd", S1(1), S1(1)},
    {"vectors", "dd", S1(37), S1(37)},
    {"images", "dd", S3(17, 2, 5), S3(17, 2, 5)},
    {"whole blocks", "dd", S3(16, 3, 2), S3(16, 3, 2)},
    {"one pixel", "dd", S3(5, 1, 1), S3(5, 1, 1)},
    {"a number per channel", "dd", S3(17, 3, 4), S1(17)},
    {"a number per channel, rank 3", "dd", S3(33, 2, 3), S3(33, 1, 1)},
    {"one map", "dd", S3(23, 3, 4), S3(1, 3, 4)},
    {"one map, few channels", "dd", S3(3, 5, 2), S3(1, 5, 2)},
    {"one row per channel", "dd", S3(18, 4, 3), S3(18, 1, 3)},
    {"one column of one map", "dd", S3(7, 3, 5), S3(1, 3, 1)},
    {"one number per image", "dd", S3(21, 2, 3), S1(1)},
    {"one number of a vector", "dd", S1(20), S1(1)},
    {"a parameter per channel", "dw", S3(17, 3, 4), S1(17)},
    {"one parameter", "dw", S3(9, 3, 2), S1(1)},
    {"a parameter beside a vector", "dw", S1(35), S1(35)},
};

RefCase ref_arith_case(Arena *keep, int op, int i) {
    RefCase r = {.what = arith_case[i].what, .rounds = op == OP_DIV};
    bool weight = arith_case[i].kind[1] == 'w';
    add_input(&r, REF_DATA, arith_case[i].a);
    if (op == OP_SUM_TO) {
        SumToAttrs *a = ARENA_NEW(keep, SumToAttrs);
        a->rank = arith_case[i].b.rank;
        for (int d = 0; d < 3; d++)
            a->dim[d] = d < a->rank ? arith_case[i].b.dim[d] : 1;
        r.attrs = a;
        return r;
    }
    if (op == OP_PASS_GE || op == OP_PASS_LT)
        add_input(&r, REF_DATA, weight || i % 2 ? arith_case[i].a : arith_case[i].b);
    bool choice = op == OP_MAXIMUM || op == OP_MINIMUM; /* equal operands have no derivative */
    RefInput kind = weight ? REF_WEIGHT : REF_DATA;
    if (op == OP_DIV)
        kind = weight ? REF_FIXED : REF_POSITIVE;
    if (choice && (!weight || i == REF_ARITH_CASES - 1))
        kind = REF_POSITIVE;
    add_input(&r, kind, arith_case[i].b);
    return r;
}
