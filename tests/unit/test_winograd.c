/* test_winograd.c: Winograd convolution, from its matrices to its kernels.
 *
 * The matrices against direct correlation in double; the code that applies them against the
 * matrices; whole kernels, forward (with a rectifier and a pool) and backward data, against the
 * double-precision loops, for odd sizes, groups, odd channels, several images per block, three
 * vector widths (compiled.h says what is checked besides the numbers).  How large the rounding
 * errors are is a table that the test prints and bounds.  Also: when Winograd must not be chosen.
 * ctest-labels: slow
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "ops/winograd.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "targets.h"

static uint32_t noise_state = 7;
static double noise(void) {
    return (double)(int32_t)ref_random(&noise_state) * 0x1p-31;
}

/* ---- matrices ---- */

static const int sizes[][2] = {{2, 3}, {4, 3}, {6, 3}, {2, 5}, {4, 5},
                               {3, 2}, {3, 4}, {5, 4}, {1, 4}};
enum { NSIZES = sizeof sizes / sizeof *sizes };

static void times(const WinoMatrix *m, const double *x, double *y) {
    for (int i = 0; i < m->rows; i++) {
        y[i] = 0;
        for (int k = 0; k < m->cols; k++)
            y[i] += m->at[i][k] * x[k];
    }
}

static void matrices(void) {
    for (int s = 0; s < 2 * NSIZES; s++) {
        bool gradient = s % 2;
        WinoMatrices w = wino_matrices(sizes[s / 2][0], sizes[s / 2][1], gradient);
        double d[WINO_MAX], g[WINO_MAX], y[WINO_MAX], v[WINO_MAX], u[WINO_MAX], p[WINO_MAX];
        CU_ASSERT_EQUAL(w.n, w.m + w.r - 1);
        for (int i = 0; i < WINO_MAX; i++)
            d[i] = noise(), g[i] = noise();
        times(&w.bt, d, v);
        times(&w.g, g, u);
        for (int i = 0; i < w.n; i++)
            p[i] = u[i] * v[i];
        times(&w.at, p, y);
        for (int i = 0; i < w.m; i++) {
            double want = 0;
            for (int k = 0; k < w.r; k++)
                want += g[k] * d[i + k];
            CU_ASSERT_DOUBLE_EQUAL(y[i], want, 1e-13);
            CU_ASSERT_TRUE(w.one >= 0 || gradient);
            if (w.one >= 0)
                CU_ASSERT_EQUAL(w.at.at[i][w.one], 1); /* a constant passes unchanged */
        }
        /* the gradient of the taps: dg[k] = sum over i of dy[i] d[i + k] */
        times(&w.a, g, u); /* g stands for dy here */
        for (int i = 0; i < w.n; i++)
            p[i] = u[i] * v[i];
        times(&w.gt, p, y);
        for (int k = 0; k < w.r; k++) {
            double want = 0;
            for (int i = 0; i < w.m; i++)
                want += g[i] * d[i + k];
            CU_ASSERT_DOUBLE_EQUAL(y[k], want, 1e-13);
        }
    }
}

/* Lavin and Gray count 12 and 10 additions and multiplications by shared sums for F(4, 3). */
static void operations(void) {
    WinoMatrices w = wino_matrices(2, 3, false), x = wino_matrices(4, 3, false);
    WinoMatrices dw = wino_matrices(4, 3, true);
    CU_ASSERT_EQUAL(wino_ops(&w.bt), 4);
    CU_ASSERT_EQUAL(wino_ops(&w.at), 4);
    CU_ASSERT_TRUE(wino_ops(&x.bt) <= 12);
    CU_ASSERT_TRUE(wino_ops(&x.at) <= 10);
    CU_ASSERT_TRUE(wino_ops(&x.g) <= 9);
    CU_ASSERT_TRUE(wino_ops(&x.a) <= 10);
    CU_ASSERT_EQUAL(wino_ops2(&x.bt), 12 * wino_ops(&x.bt));
    /* what runs for every tile costs gradients no more than with the points 1 and 2 */
    CU_ASSERT_TRUE(wino_ops(&dw.bt) <= wino_ops(&x.bt));
    CU_ASSERT_TRUE(wino_ops(&dw.a) <= wino_ops(&x.a));
}

/* out = m in transpose(m), every operation rounded to float. */
static void rounded2(const WinoMatrix *m, const float *in, float *out) {
    float half[WINO_MAX * WINO_MAX];
    for (int i = 0; i < m->rows; i++)
        for (int q = 0; q < m->cols; q++) {
            float sum = 0;
            for (int k = 0; k < m->cols; k++)
                sum += (float)m->at[i][k] * in[k * m->cols + q];
            half[i * m->cols + q] = sum;
        }
    for (int i = 0; i < m->rows; i++)
        for (int j = 0; j < m->rows; j++) {
            float sum = 0;
            for (int k = 0; k < m->cols; k++)
                sum += (float)m->at[j][k] * half[i * m->cols + k];
            out[i * m->rows + j] = sum;
        }
}

/* One gradient of r x r taps from 32 tiles, in float after w and directly in double. */
static void one_gradient(const WinoMatrices *w, float *got, double *want) {
    float d[WINO_MAX * WINO_MAX], dy[WINO_MAX * WINO_MAX], v[WINO_MAX * WINO_MAX];
    float u[WINO_MAX * WINO_MAX], sums[WINO_MAX * WINO_MAX] = {0};
    int n = w->n, m = w->m, r = w->r;
    for (int k = 0; k < r * r; k++)
        want[k] = 0;
    for (int t = 0; t < 32; t++) {
        for (int k = 0; k < n * n; k++)
            d[k] = (float)noise();
        for (int k = 0; k < m * m; k++)
            dy[k] = (float)noise();
        rounded2(&w->bt, d, v);
        rounded2(&w->a, dy, u);
        for (int k = 0; k < n * n; k++)
            sums[k] += u[k] * v[k];
        for (int k = 0; k < r * r; k++)
            for (int i = 0; i < m * m; i++)
                want[k] += (double)dy[i] * (double)d[(k / r + i / m) * n + k % r + i % m];
    }
    rounded2(&w->gt, sums, got);
}

/* The worst tap's rms error, relative to the rms of all taps. */
static double worst_tap(int m, int r, bool gradient) {
    WinoMatrices w = wino_matrices(m, r, gradient);
    double error[WINO_MAX * WINO_MAX] = {0}, size = 0, worst = 0;
    for (int run = 0; run < 500; run++) {
        float got[WINO_MAX * WINO_MAX];
        double want[WINO_MAX * WINO_MAX];
        one_gradient(&w, got, want);
        for (int k = 0; k < r * r; k++) {
            error[k] += pow((double)got[k] - want[k], 2);
            size += pow(want[k], 2) / (r * r);
        }
    }
    for (int k = 0; k < r * r; k++)
        worst = fmax(worst, sqrt(error[k] / size));
    return worst;
}

/* Why gradients have points of their own. */
static void gradient_points(void) {
    printf("\n  worst tap, rms: F(2,5) %.2e, other points %.2e; F(4,3) %.2e, %.2e\n",
           worst_tap(2, 5, true), worst_tap(2, 5, false), worst_tap(4, 3, true),
           worst_tap(4, 3, false));
    CU_ASSERT_TRUE(worst_tap(2, 5, true) < 0.4 * worst_tap(2, 5, false));
    CU_ASSERT_TRUE(worst_tap(4, 3, true) < 0.5 * worst_tap(4, 3, false));
}

/* ---- the code that applies them ---- */

typedef void (*ApplyFn)(const float *in, float *out);

/* in: cols x cols vectors, of which the first `given` rows and columns are used; out: rows x rows
 */
static void emit_apply(Emit *e, const char *name, const WinoMatrix *m, int given) {
    Val arg[2], in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    int width = em_width(e);
    em_func_begin(e, name, "pp", arg, true);
    for (int i = 0; i < m->cols * m->cols; i++)
        in[i] = i / m->cols < given && i % m->cols < given ? em_load(e, arg[0], i * width, false)
                                                           : NULL;
    wino_apply2(e, m, in, out);
    for (int i = 0; i < m->rows * m->rows; i++)
        em_store(e, arg[1], i * width, out[i] ? out[i] : em_vec(e, 0), false);
    em_func_end(e);
}

static double apply_error(ApplyFn fn, const WinoMatrix *m, int given, int width) {
    float in[WINO_MAX * WINO_MAX * 16], out[WINO_MAX * WINO_MAX * 16];
    double worst = 0;
    for (int i = 0; i < WINO_MAX * WINO_MAX * 16; i++)
        in[i] = (float)noise();
    fn(in, out);
    for (int lane = 0; lane < width; lane++)
        for (int i = 0; i < m->rows; i++)
            for (int j = 0; j < m->rows; j++) {
                double want = 0, size = 1e-30;
                for (int k = 0; k < given && k < m->cols; k++)
                    for (int l = 0; l < given && l < m->cols; l++) {
                        double c = m->at[i][k] * m->at[j][l];
                        want += c * (double)in[(k * m->cols + l) * width + lane];
                        size += fabs(c);
                    }
                double got = (double)out[(i * m->rows + j) * width + lane];
                worst = fmax(worst, fabs(got - want) / size);
            }
    return worst;
}

static void applied(void) {
    Arena *keep = arena_new();
    char why[256] = "";
    Target t;
    CU_ASSERT_TRUE_FATAL(target_find(keep, "native", &t, why, sizeof why));
    Emit *e = emit_new(keep, &t, "apply");
    WinoMatrices w[2 * NSIZES];
    for (int s = 0; s < 2 * NSIZES; s++) {
        w[s] = wino_matrices(sizes[s / 2][0], sizes[s / 2][1], s % 2);
        const WinoMatrix *m[] = {&w[s].bt, &w[s].g, &w[s].gt, &w[s].a, &w[s].at};
        for (int i = 0; i < 5; i++)
            for (int given = 1; given <= m[i]->cols; given++)
                emit_apply(e, arena_printf(keep, "apply%d_%d_%d", s, i, given), m[i], given);
    }
    CU_ASSERT_TRUE_FATAL(emit_finish(e, 2, why, sizeof why));
    for (int s = 0; s < 2 * NSIZES; s++) {
        const WinoMatrix *m[] = {&w[s].bt, &w[s].g, &w[s].gt, &w[s].a, &w[s].at};
        for (int i = 0; i < 5; i++)
            for (int given = 1; given <= m[i]->cols; given++) {
                char name[40];
                snprintf(name, sizeof name, "apply%d_%d_%d", s, i, given);
                ApplyFn fn = (ApplyFn)(uintptr_t)emit_jit(e, name, why, sizeof why);
                CU_ASSERT_PTR_NOT_NULL_FATAL(fn);
                CU_ASSERT_TRUE(apply_error(fn, m[i], given, t.vector) < 1e-6);
            }
    }
    emit_free(e);
    arena_free(keep);
}

/* ---- kernels ---- */

enum { POOL = 1, KEEP = 2 /* the pool's source is stored */, PLAIN_CHAIN = 4, HALO = 8 };

typedef struct Case {
    int64_t c, h, w, o, kernel, pad, groups; /* channels in vectors' terms: see `channels` */
    int m, batch, flags;                     /* batch: the plan is made for */
    int algorithm;
} Case;

static const Case cases[] = {
    {16, 8, 8, 16, 3, 1, 1, 2, 1, 0, 0},
    {16, 8, 8, 16, 3, 1, 1, 4, 1, HALO, 0},
    {16, 12, 12, 16, 3, 1, 1, 6, 1, HALO, CONV_WINOGRAD6},
    {32, 13, 13, 48, 3, 1, 1, 4, 1, HALO, 0},
    {32, 13, 13, 48, 3, 1, 1, 2, 1, 0, 0},
    {32, 13, 13, 40, 3, 1, 1, 6, 2, 0, CONV_WINOGRAD6},
    {21, 7, 9, 37, 3, 1, 1, 4, 1, HALO, 0},
    {21, 7, 9, 37, 3, 0, 1, 2, 1, 0, 0},
    {20, 9, 7, 33, 3, 0, 1, 4, 3, HALO, 0},
    {17, 10, 11, 70, 3, 2, 1, 4, 5, HALO, 0},
    {17, 5, 6, 18, 3, 2, 1, 2, 5, HALO, 0},
    {16, 1, 17, 32, 3, 1, 1, 4, 1, HALO, 0},
    {16, 1, 17, 32, 3, 1, 1, 2, 2, 0, 0},
    {48, 14, 14, 96, 3, 1, 1, 4, 1, 0, CONV_WINOGRAD},
    {32, 14, 14, 32, 3, 1, 1, 4, 16, HALO, 0},
    {64, 14, 14, 32, 3, 1, 2, 4, 1, HALO, 0},
    {32, 14, 10, 96, 3, 1, 2, 2, 4, 0, 0},
    {48, 11, 11, 64, 5, 2, 1, 2, 1, HALO, 0},
    {32, 9, 12, 64, 5, 2, 2, 2, 3, HALO, 0},
    {19, 8, 7, 22, 5, 1, 1, 2, 1, 0, 0},
    {19, 8, 7, 22, 5, 0, 1, 2, 2, HALO, 0},
    {18, 9, 9, 34, 5, 4, 1, 2, 2, HALO, 0},
    {16, 16, 16, 32, 3, 1, 1, 4, 1, POOL, 0},
    {16, 16, 16, 32, 3, 1, 1, 2, 2, POOL | HALO, 0},
    {24, 15, 13, 40, 3, 1, 1, 4, 1, POOL | HALO, 0},
    {24, 15, 13, 40, 3, 1, 1, 4, 4, POOL | KEEP | HALO, 0},
    {24, 14, 17, 70, 3, 0, 1, 2, 1, POOL | PLAIN_CHAIN, 0},
    {16, 20, 12, 32, 5, 2, 1, 2, 1, POOL | HALO, 0},
};
enum { NCASES = sizeof cases / sizeof *cases };

typedef struct Rig {
    Graph *g;
    ParamList params;
    PlanOptions options;
    ValueId src, dd, dst, dsrc;
    int64_t forward, backward; /* kernels that became Winograd's */
} Rig;

static ConvAttrs conv_of(const Case *c) {
    return (ConvAttrs){.maps = c->o,
                       .kernel = {c->kernel, c->kernel},
                       .stride = {1, 1},
                       .pad = {c->pad, c->pad, c->pad, c->pad},
                       .dilation = {1, 1},
                       .groups = c->groups,
                       .bias = true,
                       .src_size = {c->h, c->w},
                       .src_maps = c->c,
                       .algorithm = c->algorithm};
}

static void label(Graph *g, ValueId v, const char *name) {
    graph_n(g, graph_v(g, v)->def)->label = name;
}

/* Forward with its chain, and backward data of the same weights; a convolution behind each (HALO)
 * wants a margin around the results. */
static void build(Rig *r, Arena *keep, const Case *c) {
    Graph *g = r->g = graph_new(keep, "forward", "case", &r->params);
    ConvAttrs a = conv_of(c);
    r->src =
        graph_input(g, VK_SEED, DT_F32, (Shape){3, {c->c, c->h, c->w}}, true, RULE_GRADIENT, NULL);
    ValueId w = ref_param(g, "w", (Shape){4, {c->o, c->c / c->groups, c->kernel, c->kernel}});
    ValueId bias = ref_param(g, "b", (Shape){1, {c->o}});
    ValueId v = graph_op(g, OP_CONV2D, &a, 3, (ValueId[]){r->src, w, bias});
    label(g, v, "c1");
    r->dd = graph_input(g, VK_SEED, DT_F32, graph_v(g, v)->shape, true, RULE_GRADIENT, NULL);
    if (!(c->flags & PLAIN_CHAIN))
        v = graph_op(g, OP_RELU, NULL, 1, &v);
    graph_v(g, v)->keep = !(c->flags & POOL) || c->flags & KEEP;
    if (c->flags & POOL) {
        PoolAttrs pool = {.kernel = {2, 2}, .stride = {2, 2}};
        NodeId n = graph_node(g, OP_MAXPOOL, &pool, 1, &v);
        v = graph_n(g, n)->out[0];
        graph_v(g, v)->keep = true;
        graph_v(g, graph_n(g, n)->out[1])->keep = true;
    }
    r->dst = v;
    TransposeWeightsAttrs turn = {.groups = c->groups};
    ValueId wt = graph_op(g, OP_TRANSPOSE_WEIGHTS, &turn, 1, &w);
    r->dsrc = graph_op(g, OP_CONV2D_BWD_DATA, &a, 2, (ValueId[]){r->dd, wt});
    graph_v(g, r->dsrc)->keep = true;
    if (!(c->flags & HALO))
        return;
    ConvAttrs next = {.maps = 3,
                      .kernel = {3, 3},
                      .stride = {2, 2},
                      .pad = {2, 1, 2, 1},
                      .dilation = {1, 1},
                      .groups = 1};
    ValueId out[] = {r->dst, r->dsrc};
    for (int i = 0; i < 2; i++) {
        ValueId p =
            ref_param(g, i ? "p1" : "p0", (Shape){4, {3, graph_v(g, out[i])->shape.dim[0], 3, 3}});
        ValueId k = graph_op(g, OP_CONV2D, &next, 2, (ValueId[]){out[i], p});
        label(g, k, i ? "n1" : "n0");
        graph_v(g, k)->keep = true;
    }
}

static void plan(Rig *r, const Target *t, const Case *c) {
    static const char *const pass[] = {"fuse", "layout", "schedule", "memplan"};
    static const char *const force[] = {"winograd2", "winograd4", "winograd6"};
    r->options = (PlanOptions){.force = c->m ? force[c->m / 2 - 1] : NULL, .batch = c->batch};
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true, .options = &r->options};
    graph_toposort(r->g);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    params_place(r->g->params);
    arena_free(ctx.tmp);
    for (int i = 0; i < r->g->nkernels; i++) {
        const Kernel *k = &r->g->kernels[i];
        int op = graph_n(r->g, k->anchor)->op;
        r->forward += op == OP_CONV2D && k->winograd == c->m;
        r->backward += op == OP_CONV2D_BWD_DATA && k->winograd == c->m;
    }
}

/* Small tables are in units of 16 channels; groups need whole vectors. */
static Case scaled(const Case *c, const Target *t) {
    Case s = *c;
    if (c->groups == 1 && t->vector < 16 && c->c % 16 == 0 && c->o % 16 == 0) {
        s.c = s.c < 32 ? 16 : s.c / 2;
        s.o = s.o < 32 ? 16 : s.o / 2;
    }
    return s;
}

static double *numbers(Arena *keep, int64_t n) {
    double *at = arena_array(keep, n, sizeof *at);
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)noise();
    return at;
}

/* Errors of F(4, 3) are a few times those of plain sums, see accuracy(). */
static double bound_of(const Case *c) {
    return c->m == 6 ? 12 : c->m == 4 || c->kernel == 5 ? 4 : 1;
}

static void run_case(const Rig *rig, const Compiled *made, const Case *c, int64_t n,
                     const char *what) {
    Arena *keep = arena_new();
    const Graph *g = rig->g;
    double **param = arena_array(keep, g->params->count, sizeof *param);
    double **seeds = arena_array(keep, g->nvalue, sizeof *seeds);
    for (int p = 0; p < g->params->count; p++)
        param[p] = numbers(keep, shape_elems(&g->params->at[p].shape));
    seeds[rig->src] = numbers(keep, n * shape_elems(&graph_v(g, rig->src)->shape));
    seeds[rig->dd] = numbers(keep, n * shape_elems(&graph_v(g, rig->dd)->shape));
    RefRun r = {.g = g, .n = n, .param = param};
    Check check = {.data = &r, .seed_at = seeds, .local = bound_of(c), .what = what};
    CU_ASSERT_EQUAL(compiled_check(made, &check), 0);
    arena_free(keep);
}

static void run_target(const char *name) {
    static const int64_t batch[] = {1, 3};
    Arena *keep = arena_new();
    Rig *rig = arena_array(keep, NCASES, sizeof *rig);
    Compiled made[NCASES];
    Case c[NCASES];
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    for (int i = 0; i < NCASES; i++) {
        c[i] = scaled(&cases[i], &t);
        build(&rig[i], keep, &c[i]);
        plan(&rig[i], &t, &c[i]);
        CU_ASSERT_EQUAL(rig[i].forward, 1);
        CU_ASSERT_EQUAL(rig[i].backward, 1);
        made[i] = compiled_add(e, rig[i].g, arena_printf(keep, "case%d", i));
    }
    bool good = compiled_link(e, made, NCASES, 2);
    CU_ASSERT_TRUE(good);
    for (int i = 0; i < NCASES && good; i++)
        for (int k = 0; k < 2; k++) {
            char what[80];
            snprintf(what, sizeof what, "case %d on %s, %d images", i, t.name, (int)batch[k]);
            run_case(&rig[i], &made[i], &c[i], batch[k], what);
        }
    emit_free(e);
    arena_free(keep);
}

ON_TARGETS(run_target)

/* ---- how large rounding errors are ---- */

static const struct {
    int64_t c, size, o, kernel;
} layers[] = {{64, 28, 32, 3}, {256, 14, 32, 3}, {512, 14, 16, 3}, {96, 13, 32, 5}};
enum { NLAYERS = sizeof layers / sizeof *layers, ALGORITHMS = 4 };

/* Layer l in double: inputs as behind a rectifier, weights of He's variance. */
typedef struct Exact {
    double *src, *weights, *bias, *dst;
} Exact;

static Exact exactly(Arena *keep, int l) {
    int64_t c = layers[l].c, n = layers[l].size, o = layers[l].o, k = layers[l].kernel;
    Exact x = {numbers(keep, c * n * n), numbers(keep, o * c * k * k), numbers(keep, o),
               arena_array(keep, o * n * n, sizeof(double))};
    double scale = sqrt(6.0 / (double)(c * k * k));
    for (int64_t i = 0; i < c * n * n; i++)
        x.src[i] = x.src[i] > 0 ? x.src[i] : 0;
    for (int64_t i = 0; i < o * c * k * k; i++)
        x.weights[i] = (double)(float)(x.weights[i] * scale);
    RefTensor in[3] = {
        {{3, {c, n, n}}, 1, x.src}, {{4, {o, c, k, k}}, 1, x.weights}, {{1, {o}}, 1, x.bias}};
    RefTensor out = {{3, {o, n, n}}, 1, x.dst};
    Case like = {.c = c, .h = n, .w = n, .o = o, .kernel = k, .pad = k / 2, .groups = 1};
    ConvAttrs a = conv_of(&like);
    ref_op[OP_CONV2D](&(RefCall){.attrs = &a, .n = 1, .nin = 3, .in = in, .out = &out});
    return x;
}

/* The convolution alone, with this algorithm (0: direct). */
static void build_layer(Rig *r, Arena *keep, int l, int m, const Target *t) {
    Case c = {.c = layers[l].c,
              .h = layers[l].size,
              .w = layers[l].size,
              .o = layers[l].o,
              .kernel = layers[l].kernel,
              .pad = layers[l].kernel / 2,
              .groups = 1,
              .m = m,
              .algorithm = m == 0   ? CONV_DIRECT
                           : m == 6 ? CONV_WINOGRAD6
                                    : CONV_AUTO};
    ConvAttrs a = conv_of(&c);
    Graph *g = r->g = graph_new(keep, "forward", "layer", &r->params);
    r->src =
        graph_input(g, VK_SEED, DT_F32, (Shape){3, {c.c, c.h, c.w}}, true, RULE_GRADIENT, NULL);
    ValueId w = ref_param(g, "w", (Shape){4, {c.o, c.c, c.kernel, c.kernel}});
    ValueId bias = ref_param(g, "b", (Shape){1, {c.o}});
    r->dst = graph_op(g, OP_CONV2D, &a, 3, (ValueId[]){r->src, w, bias});
    label(g, r->dst, "c1");
    graph_v(g, r->dst)->keep = true;
    plan(r, t, &c);
    CU_ASSERT_EQUAL(r->forward, 1);
}

/* Root mean square of the errors, relative to that of the numbers. */
static double rms_error(const Rig *r, const Compiled *made, const Exact *x) {
    int64_t n = shape_elems(&graph_v(r->g, r->dst)->shape);
    double *got = calloc((size_t)n, sizeof *got), error = 0, size = 0;
    RefRun data = {.g = r->g, .n = 1, .param = (double *const[]){x->weights, x->bias}};
    Slabs s = slabs_new(r->g, &data, 1);
    slabs_write(&s, r->src, x->src);
    for (int k = 0; k < r->g->nkernels; k++)
        slabs_run(&s, made, k, 1, false);
    CU_ASSERT_EQUAL(slabs_read(&s, r->dst, got), 0);
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - x->dst[i]) * (got[i] - x->dst[i]);
        size += x->dst[i] * x->dst[i];
    }
    slabs_free(&s);
    free(got);
    return sqrt(error / size);
}

/* What direct convolution must hold.  A pixel is one chain of K = c k k fused multiply-adds; each
 * rounds its partial sum by at most u = 2^-24 of it, evenly spread: u / sqrt(3) rms.  Terms of
 * random sign walk, so the rms of a sum of k of them is sqrt(k / K) of the result's.  Squares added
 * up over k: u / sqrt(3) sqrt(K / 2).  (60 % of this is measured: half the inputs are zeros, which
 * add no error, and most numbers are not just above a power of two.) */
static double direct_bound(int l) {
    double terms = (double)(layers[l].c * layers[l].kernel * layers[l].kernel);
    return 0x1p-24 * sqrt(terms / 6);
}

static void accuracy(void) {
    static const double most[] = {0, 1e-6, 5e-6, 2e-5}; /* -, F(2), F(4), F(6) */
    static Rig rig[NLAYERS][ALGORITHMS];
    Compiled made[NLAYERS * ALGORITHMS];
    Arena *keep = arena_new();
    Target t;
    CU_ASSERT_TRUE_FATAL(compiled_target(keep, "native", &t));
    Emit *e = compiled_begin(keep, &t);
    int count = 0;
    for (int l = 0; l < NLAYERS; l++)
        for (int i = 0; i < (layers[l].kernel == 5 ? 2 : ALGORITHMS); i++) {
            build_layer(&rig[l][i], keep, l, 2 * i, &t);
            made[count] = compiled_add(e, rig[l][i].g, arena_printf(keep, "layer%d_%d", l, i));
            count++;
        }
    bool good = compiled_link(e, made, count, 2);
    CU_ASSERT_TRUE(good);
    printf("\n  rms error / rms          direct   F(2)     F(4)     F(6)\n");
    for (int l = 0, at = 0; l < NLAYERS && good; l++) {
        Exact x = exactly(keep, l);
        printf("  %3d -> %2d @%2d %dx%d       ", (int)layers[l].c, (int)layers[l].o,
               (int)layers[l].size, (int)layers[l].kernel, (int)layers[l].kernel);
        for (int i = 0; i < (layers[l].kernel == 5 ? 2 : ALGORITHMS); i++) {
            double error = rms_error(&rig[l][i], &made[at++], &x);
            printf("  %.1e", error);
            CU_ASSERT_TRUE(error <= (i == 0                  ? direct_bound(l)
                                     : layers[l].kernel == 5 ? 5e-6
                                                             : most[i]));
        }
        printf("\n");
    }
    emit_free(e);
    arena_free(keep);
}

/* ---- when it is chosen ---- */

/* What the forward convolution of c became under these options: m, or 0. */
static int chosen(const Case *c, int64_t stride, int64_t dilation, PlanOptions options,
                  const char *target) {
    Arena *keep = arena_new();
    Rig r = {0};
    Target t;
    char why[256];
    CU_ASSERT_TRUE_FATAL(target_find(keep, target, &t, why, sizeof why));
    Graph *g = r.g = graph_new(keep, "forward", "case", &r.params);
    ConvAttrs a = conv_of(c);
    a.stride[0] = a.stride[1] = stride;
    a.dilation[0] = a.dilation[1] = dilation;
    ValueId src =
        graph_input(g, VK_SEED, DT_F32, (Shape){3, {c->c, c->h, c->w}}, true, RULE_GRADIENT, NULL);
    ValueId w = ref_param(g, "w", (Shape){4, {c->o, c->c / c->groups, c->kernel, c->kernel}});
    ValueId bias = ref_param(g, "b", (Shape){1, {c->o}});
    ValueId v = graph_op(g, OP_CONV2D, &a, 3, (ValueId[]){src, w, bias});
    label(g, v, "c1");
    graph_v(g, v)->keep = true;
    PassCtx ctx = {.tmp = arena_new(), .target = &t, .verify = true, .options = &options};
    graph_toposort(g);
    CU_ASSERT_TRUE_FATAL(pass_run_one(g, &ctx, "fuse") && pass_run_one(g, &ctx, "layout"));
    int m = g->kernels[0].winograd;
    CU_ASSERT_EQUAL(m == 0, strcmp(g->kernels[0].algorithm, "direct") == 0);
    arena_free(ctx.tmp);
    arena_free(keep);
    return m;
}

static void choice(void) {
    static const char *const target[] = {"x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64"};
    const PlanOptions plain = {0}, exact = {.exact = true}, six = {.force = "winograd6"};
    const Case vgg = {256, 28, 28, 256, 3, 1, 1, 0, 1, 0, 0};
    for (int i = 0; i < 4; i++) {
        Case c = vgg;
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, plain, target[i]), 4);
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, exact, target[i]), 0);
        CU_ASSERT_EQUAL(chosen(&c, 2, 1, plain, target[i]), 0);
        CU_ASSERT_EQUAL(chosen(&c, 1, 2, plain, target[i]), 0);
        CU_ASSERT_NOT_EQUAL(chosen(&c, 1, 1, six, target[i]), 6); /* not without being asked */
        c.algorithm = CONV_WINOGRAD6;
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, six, target[i]), 6);
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, exact, target[i]), 0);
        c.algorithm = CONV_DIRECT;
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, plain, target[i]), 0);
        c.algorithm = CONV_AUTO;
        c.kernel = 7;
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, plain, target[i]), 0);
        c = vgg;
        c.c = 12; /* transforms would cost more than they save */
        CU_ASSERT_EQUAL(chosen(&c, 1, 1, plain, target[i]), 0);
        Case row = {16, 1, 40, 16, 3, 1, 1, 0, 1, 0, 0}; /* most of each tile is beyond the edge */
        CU_ASSERT_EQUAL(chosen(&row, 1, 1, plain, target[i]), 0);
        row.algorithm = CONV_WINOGRAD;
        CU_ASSERT_NOT_EQUAL(chosen(&row, 1, 1, plain, target[i]), 0);
        Case alexnet = {96, 27, 27, 256, 5, 2, 2, 0, 1, 0, 0};
        CU_ASSERT_EQUAL(chosen(&alexnet, 1, 1, plain, target[i]), 2);
    }
}

/* ---- the loops over channels keep their sums in registers ---- */

/* Vector accesses to the stack in innermost loops that multiply and store nothing elsewhere; a
 * basic block that branches to its own label is such a loop. */
static int spills_in_products(char *text, int *loops) {
    int spills = 0, found = 0, products = 0, stores = 0;
    char label[64] = "";
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, ".LBB", 4) == 0) {
            snprintf(label, sizeof label, "%.*s", (int)strcspn(line, ":"), line);
            found = products = stores = 0;
        }
        bool vector = strstr(line, "mm") != NULL, stack = strstr(line, "(%rsp)") != NULL;
        found += vector && stack;
        size_t end = strcspn(line, "#");
        while (end > 0 && line[end - 1] <= ' ')
            end--;
        stores += vector && !stack && strstr(line, "mov") && end > 0 && line[end - 1] == ')';
        products += strstr(line, "vfmadd") != NULL || strstr(line, "mulps") != NULL;
        const char *jump = strstr(line, "\tj"), *to = jump ? strstr(jump, ".LBB") : NULL;
        if (to && label[0] && strncmp(to, label, strlen(label)) == 0 && to[strlen(label)] <= ' ' &&
            products >= 4 && stores == 0) {
            ++*loops;
            spills += found;
        }
        if (jump)
            found = products = stores = 0, label[0] = 0;
    }
    return spills;
}

static void check_spills(const Case *c, const char *target) {
    Arena *keep = arena_new();
    Rig r = {0};
    Target t;
    char why[512] = "", path[] = "test_winograd.s";
    CU_ASSERT_TRUE_FATAL(target_find(keep, target, &t, why, sizeof why));
    build(&r, keep, c);
    plan(&r, &t, c);
    Emit *e = compiled_begin(keep, &t);
    compiled_add(e, r.g, "k");
    CU_ASSERT_TRUE_FATAL(emit_finish(e, 3, why, sizeof why) && emit_asm(e, path, why, sizeof why));
    FILE *f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    char *text = calloc(1, 16 << 20);
    size_t n = fread(text, 1, (16 << 20) - 1, f);
    fclose(f);
    remove(path);
    int loops = 0, spills = spills_in_products(text, &loops);
    if (spills)
        printf("  %s, F(%d): %d spills in %d loops\n", target, c->m, spills, loops);
    CU_ASSERT_TRUE(n > 1000 && loops >= 2);
    CU_ASSERT_EQUAL(spills, 0);
    free(text);
    emit_free(e);
    arena_free(keep);
}

static void spills(void) {
    static const Case big[] = {{256, 56, 56, 256, 3, 1, 1, 4, 1, 0, 0},
                               {512, 14, 14, 512, 3, 1, 1, 4, 1, 0, 0},
                               {384, 13, 13, 384, 3, 1, 1, 2, 16, 0, 0},
                               {96, 27, 27, 256, 5, 2, 2, 2, 1, 0, 0}};
    static const char *const target[] = {"native", "x86-64-v4", "x86-64-v3", "x86-64-v2"};
    for (int t = 0; t < 4; t++)
        for (size_t i = 0; i < sizeof big / sizeof *big; i++)
            check_spills(&big[i], target[t]);
}

SUITE_MAIN(TEST(matrices), TEST(operations), TEST(gradient_points), TEST(applied), TEST(native),
           TEST(avx2), TEST(sse), TEST(accuracy), TEST(choice), TEST(spills))
