/* test_conv_tail.c: pools computed by the kernel of the convolution in front of them (Kernel.tail).
 *
 * Each case of the table is planned twice, with and without fusion, for three vector widths and
 * batches of 1, 2 and 5.  Both are held against the double-precision loops (compiled.h says what is
 * checked), then their stored results against each other, bit by bit.  A second table: what must
 * not be fused.
 * ctest-labels: kernels
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "targets.h"

enum { NOTHING, RELU, SIGMOID, ADD_RELU }; /* chain behind the convolution */
enum {
    AVERAGE = 1, /* not max */
    TAPS = 2,    /* switches are recorded */
    KEEP = 4,    /* the pool's source is stored */
    FIRST = 8,   /* the convolution's own result is stored */
    HALO = 16,   /* a padded convolution reads the pool */
    PLAIN = 32,  /* count_pad */
    BEHIND = 64, /* a rectifier behind the pool */
    EDGE = 128,  /* that many cells around the pool's input, on all sides: EDGE, 2 * EDGE */
};

typedef struct Case {
    int64_t c, h, w, o, kernel, stride, pad, groups;
    int64_t window[2], step[2];
    int chain, flags;
    int round;
} Case;

static const Case fused[] = {
    {3, 12, 12, 6, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, 0, 0},
    {3, 12, 12, 6, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, TAPS | KEEP, 0},
    {1, 13, 11, 3, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, TAPS | HALO, 0},
    {6, 14, 14, 17, 5, 1, 0, 1, {2, 2}, {2, 2}, NOTHING, TAPS, 0},
    {5, 11, 10, 17, 3, 1, 1, 1, {3, 3}, {3, 3}, SIGMOID, AVERAGE | HALO, 0},
    {5, 11, 10, 17, 3, 1, 1, 1, {3, 3}, {3, 3}, SIGMOID, TAPS | HALO | BEHIND, 0},
    {16, 15, 13, 64, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, TAPS | KEEP | HALO, 0},
    {16, 15, 13, 64, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, FIRST, 0},
    {17, 14, 14, 64, 3, 1, 1, 1, {2, 2}, {2, 2}, ADD_RELU, AVERAGE | HALO, 0},
    {17, 14, 14, 40, 3, 1, 1, 1, {2, 2}, {2, 2}, ADD_RELU, TAPS | FIRST | KEEP, 0},
    {8, 16, 15, 33, 3, 1, 1, 1, {2, 3}, {4, 5}, RELU, TAPS, 0}, /* gaps */
    {8, 17, 19, 33, 3, 1, 1, 1, {2, 1}, {3, 2}, SIGMOID, AVERAGE | KEEP, 0},
    {8, 17, 19, 18, 3, 1, 1, 1, {1, 1}, {2, 2}, RELU, TAPS, 0},
    {4, 19, 9, 20, 3, 1, 1, 1, {5, 4}, {5, 4}, RELU, AVERAGE | PLAIN, 0}, /* a loop over taps */
    {4, 19, 9, 20, 3, 1, 1, 1, {5, 4}, {5, 4}, RELU, TAPS, 0},
    {6, 12, 12, 10, 3, 1, 1, 1, {12, 12}, {12, 12}, RELU, AVERAGE, 0}, /* global */
    {7, 23, 22, 21, 5, 2, 2, 1, {3, 2}, {3, 2}, RELU, TAPS | BEHIND, 0},
    {3, 31, 33, 48, 7, 2, 1, 1, {2, 2}, {2, 2}, RELU, HALO, 0},
    {32, 8, 8, 64, 3, 1, 1, 2, {2, 2}, {2, 2}, RELU, TAPS | HALO, 0},
    {9, 7, 7, 35, 3, 1, 1, 1, {7, 7}, {7, 7}, NOTHING, AVERAGE, 0},
    {9, 28, 28, 70, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, TAPS, POOL_ROUND_EXACT},
    {9, 6, 40, 16, 1, 1, 0, 1, {2, 2}, {2, 2}, RELU, 0, POOL_ROUND_CEIL},
    /* windows that share rows or leave the source */
    {3, 13, 13, 6, 3, 1, 1, 1, {3, 3}, {2, 2}, RELU, TAPS | HALO, 0},
    {3, 13, 13, 6, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, TAPS, POOL_ROUND_CEIL},
    {3, 39, 31, 40, 7, 2, 1, 1, {3, 3}, {2, 2}, RELU, TAPS, POOL_ROUND_CEIL},
    {16, 31, 21, 33, 5, 2, 0, 1, {3, 3}, {2, 2}, RELU, TAPS | BEHIND, POOL_ROUND_CEIL},
    {5, 24, 17, 17, 3, 1, 1, 1, {3, 2}, {1, 1}, SIGMOID, AVERAGE | HALO | EDGE, 0},
    {5, 24, 17, 17, 3, 1, 1, 1, {5, 5}, {2, 3}, RELU, TAPS | 2 * EDGE, POOL_ROUND_CEIL},
    {5, 17, 24, 48, 1, 1, 0, 1, {3, 3}, {3, 3}, ADD_RELU, AVERAGE | PLAIN | EDGE,
     POOL_ROUND_CEIL},
    {8, 22, 9, 18, 3, 1, 1, 1, {2, 2}, {3, 3}, NOTHING, TAPS | EDGE, POOL_ROUND_CEIL},
    {4, 14, 14, 16, 3, 1, 1, 1, {6, 6}, {4, 4}, RELU, TAPS, 0}, /* a loop over taps */
    {32, 23, 23, 64, 3, 2, 1, 2, {3, 3}, {2, 2}, RELU, TAPS, 0},
};
enum { NCASES = sizeof fused / sizeof *fused };

static const Case refused[] = {
    {3, 13, 13, 6, 3, 1, 1, 1, {3, 3}, {2, 2}, RELU, KEEP, 0}, /* shared rows would be stored ... */
    {3, 13, 13, 6, 3, 1, 1, 1, {3, 3}, {2, 2}, RELU, FIRST, 0}, /* ... twice */
    {32, 13, 13, 32, 3, 1, 1, 1, {3, 3}, {2, 2}, RELU, 0, 0},   /* left to Winograd */
    {64, 12, 12, 64, 3, 1, 1, 1, {12, 12}, {12, 12}, RELU, AVERAGE, 0},   /* one task */
    {3, 4, 1200, 6, 3, 1, 1, 1, {2, 2}, {2, 2}, RELU, 0, 0},              /* long rows */
};
enum { NREFUSED = sizeof refused / sizeof *refused };

typedef struct Rig {
    Graph *g;
    ParamList params;
    ValueId image, other, conv, source, pool, taps; /* other: the addend */
} Rig;

static ValueId add_conv(Arena *keep, Graph *g, ValueId src, const ConvAttrs *a, const char *name) {
    int64_t maps = graph_v(g, src)->shape.dim[0] / a->groups;
    Shape w = {4, {a->maps, maps, a->kernel[0], a->kernel[1]}};
    ValueId in[3] = {src, ref_param(g, arena_printf(keep, "%s.weight", name), w),
                     ref_param(g, arena_printf(keep, "%s.bias", name), (Shape){1, {a->maps}})};
    ValueId v = graph_op(g, OP_CONV2D, a, 3, in);
    graph_n(g, graph_v(g, v)->def)->label = name;
    return v;
}

static ConvAttrs conv_of(int64_t maps, int64_t kernel, int64_t stride, int64_t pad,
                         int64_t groups) {
    return (ConvAttrs){.maps = maps,
                       .kernel = {kernel, kernel},
                       .stride = {stride, stride},
                       .pad = {pad, pad, pad, pad},
                       .dilation = {1, 1},
                       .groups = groups,
                       .bias = true};
}

static ValueId add_chain(Rig *r, const Case *c, ValueId v) {
    if (c->chain == ADD_RELU)
        v = graph_op(r->g, OP_ADD, NULL, 2, (ValueId[]){r->other, v});
    if (c->chain == SIGMOID)
        return graph_op(r->g, OP_SIGMOID, NULL, 1, &v);
    return c->chain == NOTHING ? v : graph_op(r->g, OP_RELU, NULL, 1, &v);
}

static void keep_value(Rig *r, ValueId v, bool keep) {
    graph_v(r->g, v)->keep |= keep;
}

static void build(Rig *r, Arena *keep, const Case *c) {
    Graph *g = r->g = graph_new(keep, "forward", "case", &r->params);
    ConvAttrs a = conv_of(c->o, c->kernel, c->stride, c->pad, c->groups);
    ValueId in = graph_input(g, VK_INPUT, DT_F32, (Shape){3, {c->c, c->h, c->w}}, true, 0, NULL);
    r->image = in;
    ValueId image = graph_op(g, OP_LOAD_INPUT, NULL, 1, &in);
    if (c->chain == ADD_RELU) { /* stride 1, same padding */
        ValueId b = graph_input(g, VK_INPUT, DT_F32, (Shape){3, {c->o, c->h, c->w}}, true, 1, NULL);
        r->other = graph_op(g, OP_LOAD_INPUT, NULL, 1, &b);
    }
    r->conv = add_conv(keep, g, image, &a, "c1");
    r->source = add_chain(r, c, r->conv);
    int64_t edge = c->flags / EDGE;
    PoolAttrs p = {.kernel = {c->window[0], c->window[1]},
                   .stride = {c->step[0], c->step[1]},
                   .pad = {edge, edge, edge, edge},
                   .round = c->round,
                   .count_pad = c->flags & PLAIN};
    NodeId pool = graph_node(g, c->flags & AVERAGE ? OP_AVGPOOL : OP_MAXPOOL, &p, 1, &r->source);
    r->pool = graph_n(g, pool)->out[0];
    if (!(c->flags & AVERAGE) && !(c->flags & TAPS))
        graph_n(g, pool)->out[1] = 0;
    if (c->flags & TAPS) {
        r->taps = graph_n(g, pool)->out[1];
        keep_value(r, r->taps, true);
    }
    keep_value(r, r->conv, c->flags & FIRST);
    keep_value(r, r->source, c->flags & KEEP);
    ConvAttrs next = conv_of(5, 3, 1, 1, 1);
    if (c->flags & BEHIND)
        keep_value(r, graph_op(g, OP_RELU, NULL, 1, &r->pool), true);
    if (c->flags & HALO)
        keep_value(r, add_conv(keep, g, r->pool, &next, "c2"), true);
    keep_value(r, r->pool, !(c->flags & (HALO | BEHIND)));
}

static void plan(Rig *r, const Target *t, bool no_fuse) {
    static const PlanOptions direct = {.force = "direct"}; /* the same bits fused and alone */
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true, .no_fuse = no_fuse,
                   .options = &direct};
    static const char *const pass[] = {"fuse", "layout", "schedule", "memplan"};
    graph_toposort(r->g);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    params_place(r->g->params);
    arena_free(ctx.tmp);
}

static const Kernel *tail_kernel(const Rig *r) {
    for (int i = 0; i < r->g->nkernels; i++)
        if (r->g->kernels[i].tail)
            return &r->g->kernels[i];
    return NULL;
}

/* The text of the graph gives the same graph again. */
static void check_text(Arena *keep, const Graph *g) {
    char *text[2] = {NULL, NULL}, why[256];
    size_t size;
    const char *error = NULL;
    const Graph *at = g;
    for (int i = 0; i < 2; i++) {
        FILE *f = open_memstream(&text[i], &size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        graph_print(at, f);
        fclose(f);
        if (i == 0)
            at = graph_parse(keep, text[0], &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    }
    CU_ASSERT_STRING_EQUAL(text[0], text[1]);
    CU_ASSERT_TRUE(graph_verify(at, "parsing", why, sizeof why));
    free(text[0]);
    free(text[1]);
}

static void check_plan(Arena *keep, const Rig *r, const Case *c, const Target *t) {
    const Kernel *k = tail_kernel(r);
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    CU_ASSERT_EQUAL(graph_n(r->g, k->tail)->out[0], r->pool);
    CU_ASSERT_EQUAL(k->nbehind, !!(c->flags & BEHIND));
    CU_ASSERT_EQUAL(graph_v(r->g, r->pool)->stored, !(c->flags & BEHIND) || c->flags & HALO);
    CU_ASSERT_EQUAL(graph_v(r->g, r->source)->stored,
                    (c->flags & KEEP) || (c->chain == NOTHING && c->flags & FIRST));
    if (!k->winograd) /* which needs scratch for itself */
        CU_ASSERT_EQUAL(k->scratch == 0, graph_v(r->g, r->source)->stored);
    CU_ASSERT_TRUE(k->scratch <= t->l2 / 2);
    CU_ASSERT_EQUAL(k->tile.rows % c->step[0], 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(k->why, "pools"));
    check_text(keep, r->g);
}

/* ---- numbers ---- */

typedef struct Data {
    double *image, *other, *param[4];
} Data;

static double *numbers(Arena *keep, int64_t n, double reach, uint32_t number) {
    double *at = arena_array(keep, n, sizeof *at);
    ref_fill_distinct(at, n, reach, number);
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)at[i];
    return at;
}

static Data data_for(Arena *keep, const Rig *r, const Case *c, int64_t n) {
    Data d = {.image = numbers(keep, n * c->c * c->h * c->w, 1, 3)};
    d.other = numbers(keep, n * c->o * c->h * c->w, 1, 5);
    for (int p = 0; p < r->params.count; p++)
        d.param[p] = numbers(keep, shape_elems(&r->params.at[p].shape), 0.5, 7 + (uint32_t)p);
    return d;
}

/* Every value that both programs store. */
static void check_equal(const Rig *a, const Compiled *ca, const Rig *b, const Compiled *cb,
                        const RefRun *data, const char *what) {
    RefRun one = *data, two = *data;
    one.g = a->g;
    two.g = b->g;
    Slabs sa = slabs_new(a->g, &one, data->n), sb = slabs_new(b->g, &two, data->n);
    int compared = 0;
    slabs_entry(&sa, ca, "forward");
    slabs_entry(&sb, cb, "forward");
    for (ValueId v = 1; v < a->g->nvalue; v++) {
        const Value *x = graph_v(a->g, v), *y = graph_v(b->g, v);
        if (x->kind != VK_RESULT || !x->keep)
            continue;
        int64_t n = shape_elems(&x->shape) * data->n;
        double *one_at = calloc((size_t)n, sizeof *one_at),
               *two_at = calloc((size_t)n, sizeof *two_at);
        CU_ASSERT_TRUE(y->stored && slabs_read(&sa, v, one_at) == 0 &&
                       slabs_read(&sb, v, two_at) == 0);
        bool same = memcmp(one_at, two_at, (size_t)n * sizeof *one_at) == 0;
        if (!same)
            printf("  %s: value %u has other bits when fused\n", what, v);
        CU_ASSERT_TRUE(same);
        compared++;
        free(one_at);
        free(two_at);
    }
    CU_ASSERT_TRUE(compared > 0);
    slabs_free(&sa);
    slabs_free(&sb);
}

static void run_case(const Rig rig[2], const Compiled made[2], const Case *c, int64_t n,
                     const char *what) {
    Arena *keep = arena_new();
    Data d = data_for(keep, &rig[0], c, n);
    RefRun r = {.n = n, .input = {d.image, d.other}, .param = d.param};
    for (int i = 0; i < 2; i++) {
        r.g = rig[i].g;
        Check check = {.data = &r, .local = 1, .what = what};
        CU_ASSERT_EQUAL(compiled_check(&made[i], &check), 0);
    }
    check_equal(&rig[0], &made[0], &rig[1], &made[1], &r, what);
    arena_free(keep);
}

static bool make_code(Emit *e, Compiled *at, int count) {
    char why[512] = "";
    bool good = emit_finish(e, 2, why, sizeof why);
    for (int i = 0; i < count && good; i++) {
        const Graph *g = at[i].g;
        at[i].fn = ARENA_ARRAY(g->keep, g->nkernels, rt_kernel_fn);
        for (int k = 0; k < g->nkernels && good; k++) {
            const char *name = codegen_kernel_name(g->keep, g, k, at[i].prefix);
            void *f = emit_jit(e, name, why, sizeof why);
            good = f != NULL;
            memcpy(&at[i].fn[k], &f, sizeof f);
        }
    }
    if (!good)
        printf("%s\n", why);
    return good;
}

/* A pool's windows over numbers of which some are NaN: the maximum is NaN, its switch the first. */
static void run_nan(const char *name) {
    static Rig rig[NCASES][2];
    Compiled made[2 * NCASES];
    int count = 0;
    Case cases[NCASES];
    Arena *keep = arena_new();
    Target t;
    memset(rig, 0, sizeof rig);
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    for (int i = 0; i < NCASES; i++) {
        Case *c = &cases[count];
        *c = fused[i];
        c->chain = ADD_RELU; /* the addend reaches single cells of single maps */
        c->flags &= ~HALO;
        if (c->flags & AVERAGE || c->stride != 1 || c->kernel != 2 * c->pad + 1)
            continue;
        for (int plain = 0; plain < 2; plain++) {
            build(&rig[count][plain], keep, c);
            plan(&rig[count][plain], &t, plain);
            made[2 * count + plain] = compiled_add(
                e, rig[count][plain].g, arena_printf(keep, "nan%d_%d", count, plain));
        }
        count++;
    }
    bool good = make_code(e, made, 2 * count);
    CU_ASSERT_TRUE(good && count > 10);
    for (int i = 0; i < count && good; i++) {
        Data d = data_for(keep, &rig[i][0], &cases[i], 2);
        for (int64_t at = 5; at < 2 * cases[i].o * cases[i].h * cases[i].w; at += at % 3 ? 1 : 41)
            d.other[at] = NAN;
        RefRun r = {.n = 2, .input = {d.image, d.other}, .param = d.param};
        for (int plain = 0; plain < 2; plain++) {
            r.g = rig[i][plain].g;
            Check check = {.data = &r, .local = 1, .what = arena_printf(keep, "NaN, case %d", i)};
            CU_ASSERT_EQUAL(compiled_check(&made[2 * i + plain], &check), 0);
        }
    }
    emit_free(e);
    arena_free(keep);
}

static void nan_native(void) {
    run_nan("native");
}

static void nan_avx2(void) {
    run_nan("x86-64-v3");
}

static void nan_sse(void) {
    run_nan("x86-64-v2");
}

static void run_target(const char *name) {
    static const int64_t batch[] = {1, 2, 5};
    static Rig rig[NCASES][2];
    Compiled made[2 * NCASES];
    Arena *keep = arena_new();
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    memset(rig, 0, sizeof rig);
    for (int i = 0; i < NCASES; i++)
        for (int plain = 0; plain < 2; plain++) {
            build(&rig[i][plain], keep, &fused[i]);
            plan(&rig[i][plain], &t, plain);
            if (!plain)
                check_plan(keep, &rig[i][0], &fused[i], &t);
            made[2 * i + plain] =
                compiled_add(e, rig[i][plain].g, arena_printf(keep, "case%d_%d", i, plain));
        }
    bool good = make_code(e, made, 2 * NCASES);
    CU_ASSERT_TRUE(good);
    for (int i = 0; i < NCASES && good; i++)
        for (int k = 0; k < 3; k++) {
            char what[80];
            snprintf(what, sizeof what, "case %d on %s, %d images", i, t.name, (int)batch[k]);
            run_case(rig[i], &made[2 * i], &fused[i], batch[k], what);
        }
    emit_free(e);
    arena_free(keep);
}

ON_TARGETS(run_target)

static void not_fused(void) {
    Arena *keep = arena_new();
    char why[256];
    Target t;
    CU_ASSERT_TRUE_FATAL(target_find(keep, "x86-64-v4", &t, why, sizeof why));
    for (int i = 0; i < NREFUSED; i++) {
        Rig r = {0};
        build(&r, keep, &refused[i]);
        plan(&r, &t, false);
        CU_ASSERT_PTR_NULL(tail_kernel(&r));
    }
    arena_free(keep);
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse), TEST(not_fused),
           TEST(nan_native), TEST(nan_avx2), TEST(nan_sse))
