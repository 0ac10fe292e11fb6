/* test_conv_few.c: forward convolution of few channels with pixels in the lanes (algorithm
 * "pixels").
 *
 * Each case of the table is planned twice: with that kernel, pool fused where it may be, and
 * unfused with the direct kernel; for three vector widths and batches of 1, 2 and 5.  Both are held
 * against the double-precision loops (compiled.h says what is checked), with small integers
 * exactly; then the stored results against each other, bit by bit.  A second table: where it is not
 * offered.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "targets.h"

enum { NOTHING, RELU, TANH, RELU_TANH, ADD_RELU }; /* chain behind the convolution */
enum {
    BY_MAX = 1,
    BY_AVERAGE = 2,
    KEEP = 4,  /* the chain's result is stored */
    FIRST = 8, /* the convolution's own result is stored */
    TAPS = 16, /* switches are recorded */
    HALO = 32, /* a padded convolution reads the result */
    NO_BIAS = 64,
    BLOCKED = 128, /* a pool reads the image as well */
};

typedef struct Case {
    int64_t c, h, w, o, kernel[2], stride[2], pad[4], dilation[2];
    int64_t window[2], step[2];
    int chain, flags;
} Case;

#define P0                                                                                         \
    { 0, 0, 0, 0 }
#define ONE                                                                                        \
    { 1, 1 }
static const Case offered[] = {
    {1, 32, 32, 6, {5, 5}, ONE, P0, ONE, {2, 2}, {2, 2}, TANH, BY_AVERAGE}, /* LeNet-5 */
    {1, 32, 32, 6, {5, 5}, ONE, P0, ONE, ONE, ONE, TANH, 0},
    {1, 28, 28, 4, {3, 3}, ONE, {1, 1, 1, 1}, ONE, {2, 2}, {2, 2}, RELU, BY_MAX | HALO},
    {1, 7, 5, 1, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, NOTHING, HALO},
    {3, 19, 23, 3, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, RELU, HALO},
    {3, 20, 41, 5, {5, 3}, {2, 2}, {2, 1, 0, 2}, ONE, ONE, ONE, RELU_TANH, 0},
    {4, 13, 37, 4, {3, 3}, ONE, {1, 1, 1, 1}, ONE, {3, 3}, {3, 3}, RELU, BY_MAX},
    {2, 21, 18, 4, {2, 4}, {1, 3}, {0, 0, 3, 1}, ONE, {2, 1}, {3, 2}, TANH, BY_AVERAGE | HALO},
    {2, 24, 30, 3, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}, {2, 2}, {2, 2}, RELU, BY_MAX},
    {1, 22, 29, 4, {3, 3}, {3, 2}, {3, 1, 3, 3}, {2, 3}, {1, 2}, {1, 2}, NOTHING, BY_AVERAGE},
    {1, 14, 15, 4, {1, 1}, ONE, P0, ONE, {2, 2}, {2, 2}, RELU, BY_MAX | NO_BIAS},
    {2, 9, 60, 4, {3, 9}, ONE, {1, 1, 4, 4}, ONE, ONE, ONE, ADD_RELU, 0},
    {2, 9, 12, 4, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, RELU_TANH, FIRST | HALO},
    {1, 33, 9, 2, {4, 4}, ONE, P0, ONE, {5, 3}, {5, 3}, RELU, BY_MAX},
    {1, 12, 12, 7, {3, 3}, ONE, {0, 2, 1, 0}, ONE, {2, 2}, {2, 2}, NOTHING, BY_MAX},
    {1, 9, 50, 8, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, RELU, 0},
    {1, 6, 40, 3, {2, 2}, {4, 4}, P0, ONE, ONE, ONE, RELU, 0}, /* stride over kernel */
    {1, 2, 3, 2, {1, 3}, ONE, {0, 0, 1, 1}, ONE, ONE, ONE, RELU, HALO},
};
enum { NOFFERED = sizeof offered / sizeof *offered };

static const Case refused[] = {
    {5, 12, 12, 6, {3, 3}, ONE, P0, ONE, ONE, ONE, RELU, 0},
    {1, 12, 12, 33, {3, 3}, ONE, P0, ONE, ONE, ONE, RELU, 0},
    {1, 12, 12, 6, {3, 3}, ONE, P0, ONE, {2, 2}, {2, 2}, RELU, BY_MAX | KEEP},
    {1, 12, 12, 6, {3, 3}, ONE, P0, ONE, {2, 2}, {2, 2}, RELU, BY_MAX | TAPS},
    {1, 13, 13, 6, {3, 3}, ONE, P0, ONE, {3, 3}, {2, 2}, RELU, BY_MAX},
    {1, 12, 12, 6, {3, 3}, ONE, {1, 1, 1, 1}, ONE, {2, 2}, {2, 2}, ADD_RELU, BY_MAX},
    {3, 40, 40, 6, {11, 11}, {11, 11}, P0, ONE, ONE, ONE, RELU, 0},
    {3, 12, 12, 6, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, RELU, BLOCKED},
};
enum { NREFUSED = sizeof refused / sizeof *refused };

typedef struct Rig {
    Graph *g;
    ParamList params;
    ValueId other; /* the addend */
} Rig;

static ValueId add_conv(Arena *keep, Graph *g, ValueId src, const ConvAttrs *a, const char *name) {
    Shape w = {4, {a->maps, graph_v(g, src)->shape.dim[0], a->kernel[0], a->kernel[1]}};
    ValueId in[3] = {src, ref_param(g, arena_printf(keep, "%s.weight", name), w), 0};
    if (a->bias)
        in[2] = ref_param(g, arena_printf(keep, "%s.bias", name), (Shape){1, {a->maps}});
    ValueId v = graph_op(g, OP_CONV2D, a, a->bias ? 3 : 2, in);
    graph_n(g, graph_v(g, v)->def)->label = name;
    return v;
}

static ValueId unary(Rig *r, int op, ValueId v) {
    return graph_op(r->g, op, NULL, 1, &v);
}

static ValueId add_chain(Rig *r, const Case *c, ValueId v) {
    if (c->chain == ADD_RELU)
        v = graph_op(r->g, OP_ADD, NULL, 2, (ValueId[]){r->other, v});
    if (c->chain == RELU || c->chain == RELU_TANH || c->chain == ADD_RELU)
        v = unary(r, OP_RELU, v);
    return c->chain == TANH || c->chain == RELU_TANH ? unary(r, OP_TANH, v) : v;
}

static ValueId add_pool(Rig *r, const Case *c, ValueId v) {
    PoolAttrs p = {.kernel = {c->window[0], c->window[1]}, .stride = {c->step[0], c->step[1]}};
    if (!(c->flags & (BY_MAX | BY_AVERAGE)))
        return v;
    NodeId pool = graph_node(r->g, c->flags & BY_MAX ? OP_MAXPOOL : OP_AVGPOOL, &p, 1, &v);
    if (c->flags & TAPS)
        graph_v(r->g, graph_n(r->g, pool)->out[1])->keep = true;
    else if (c->flags & BY_MAX)
        graph_n(r->g, pool)->out[1] = 0;
    return graph_n(r->g, pool)->out[0];
}

static void build(Rig *r, Arena *keep, const Case *c) {
    Graph *g = r->g = graph_new(keep, "forward", "case", &r->params);
    ConvAttrs a = {.maps = c->o,
                   .kernel = {c->kernel[0], c->kernel[1]},
                   .stride = {c->stride[0], c->stride[1]},
                   .pad = {c->pad[0], c->pad[1], c->pad[2], c->pad[3]},
                   .dilation = {c->dilation[0], c->dilation[1]},
                   .groups = 1,
                   .bias = !(c->flags & NO_BIAS)};
    ConvAttrs next = {.maps = 5,
                      .kernel = {3, 3},
                      .stride = {1, 1},
                      .pad = {1, 1, 1, 1},
                      .dilation = {1, 1},
                      .groups = 1,
                      .bias = true};
    ValueId in = graph_input(g, VK_INPUT, DT_F32, (Shape){3, {c->c, c->h, c->w}}, true, 0, NULL);
    ValueId image = graph_op(g, OP_LOAD_INPUT, NULL, 1, &in);
    int64_t oh =
        (c->h + c->pad[0] + c->pad[1] - (c->kernel[0] - 1) * c->dilation[0] - 1) / c->stride[0] + 1;
    int64_t ow =
        (c->w + c->pad[2] + c->pad[3] - (c->kernel[1] - 1) * c->dilation[1] - 1) / c->stride[1] + 1;
    if (c->chain == ADD_RELU) {
        ValueId b = graph_input(g, VK_INPUT, DT_F32, (Shape){3, {c->o, oh, ow}}, true, 1, NULL);
        r->other = graph_op(g, OP_LOAD_INPUT, NULL, 1, &b);
    }
    if (c->flags & BLOCKED) {
        PoolAttrs p = {.kernel = {2, 2}, .stride = {2, 2}};
        graph_v(g, graph_op(g, OP_AVGPOOL, &p, 1, &image))->keep = true;
    }
    ValueId conv = add_conv(keep, g, image, &a, "c1"), chain = add_chain(r, c, conv);
    ValueId result = add_pool(r, c, chain);
    graph_v(g, conv)->keep = c->flags & FIRST;
    graph_v(g, chain)->keep |= (c->flags & KEEP) != 0;
    if (c->flags & HALO)
        result = add_conv(keep, g, result, &next, "c2");
    graph_v(g, result)->keep = true;
}

static void plan(Rig *r, const Target *t, bool direct) {
    PlanOptions options = {.force = direct ? "direct" : "pixels"};
    PassCtx ctx = {
        .tmp = arena_new(), .target = t, .verify = true, .no_fuse = direct, .options = &options};
    static const char *const pass[] = {"fuse", "layout", "schedule", "memplan"};
    graph_toposort(r->g);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    params_place(r->g->params);
    arena_free(ctx.tmp);
}

static const Kernel *kernel_c1(const Rig *r) {
    for (int i = 0; i < r->g->nkernels; i++)
        if (r->g->kernels[i].label && strcmp(r->g->kernels[i].label, "c1") == 0)
            return &r->g->kernels[i];
    CU_FAIL_FATAL("no kernel of c1");
    return NULL;
}

static bool is_pixels(const Rig *r) {
    return strcmp(kernel_c1(r)->algorithm, "pixels") == 0;
}

/* ---- numbers ---- */

typedef struct Data {
    double *image, *other, *param[4];
} Data;

static double *numbers(Arena *keep, int64_t n, double reach, uint32_t number, bool whole) {
    double *at = arena_array(keep, n, sizeof *at);
    if (whole)
        ref_fill_int(at, n, -3, 3, number);
    else
        ref_fill_distinct(at, n, reach, number);
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)at[i];
    return at;
}

static Data data_for(Arena *keep, const Rig *r, const Case *c, int64_t n, bool whole) {
    Data d = {.image = numbers(keep, n * c->c * c->h * c->w, 1, 3, whole)};
    if (r->other)
        d.other = numbers(keep, n * shape_elems(&graph_v(r->g, r->other)->shape), 1, 5, whole);
    for (int p = 0; p < r->params.count; p++)
        d.param[p] =
            numbers(keep, shape_elems(&r->params.at[p].shape), 0.5, 7 + (uint32_t)p, whole);
    return d;
}

static void check_equal(const Rig rig[2], const Compiled made[2], const RefRun *data,
                        const char *what) {
    Slabs s[2];
    RefRun run[2] = {*data, *data};
    int compared = 0;
    for (int i = 0; i < 2; i++) {
        run[i].g = rig[i].g;
        s[i] = slabs_new(rig[i].g, &run[i], data->n);
        slabs_entry(&s[i], &made[i], "forward");
    }
    for (ValueId v = 1; v < rig[0].g->nvalue; v++) {
        const Value *x = graph_v(rig[0].g, v);
        double *at[2];
        if (x->kind != VK_RESULT || !x->keep)
            continue;
        int64_t n = shape_elems(&x->shape) * data->n;
        for (int i = 0; i < 2; i++) {
            at[i] = calloc((size_t)n, sizeof **at);
            CU_ASSERT_EQUAL(slabs_read(&s[i], v, at[i]), 0);
        }
        bool same = memcmp(at[0], at[1], (size_t)n * sizeof **at) == 0;
        if (!same)
            printf("  %s: value %u has other bits than the direct kernel's\n", what, v);
        CU_ASSERT_TRUE(same);
        compared++;
        free(at[0]);
        free(at[1]);
    }
    CU_ASSERT_TRUE(compared > 0);
    slabs_free(&s[0]);
    slabs_free(&s[1]);
}

static bool whole_numbers(const Case *c) {
    return c->chain != TANH && c->chain != RELU_TANH && !(c->flags & BY_AVERAGE);
}

static void run_case(const Rig rig[2], const Compiled made[2], const Case *c, int64_t n,
                     const char *what) {
    for (int whole = 0; whole <= whole_numbers(c); whole++) {
        Arena *keep = arena_new();
        Data d = data_for(keep, &rig[0], c, n, whole);
        RefRun r = {.n = n, .input = {d.image, d.other}, .param = d.param};
        for (int i = 0; i < 2; i++) {
            r.g = rig[i].g;
            Check check = {.data = &r, .local = 1, .exact = whole, .what = what};
            CU_ASSERT_EQUAL(compiled_check(&made[i], &check), 0);
        }
        check_equal(rig, made, &r, what);
        arena_free(keep);
    }
}

static void run_target(const char *name) {
    static const int64_t batch[] = {1, 2, 5};
    static Rig rig[NOFFERED][2];
    Compiled made[2 * NOFFERED];
    Arena *keep = arena_new();
    Target t;
    int found = 0;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    memset(rig, 0, sizeof rig);
    for (int i = 0; i < NOFFERED; i++)
        for (int direct = 0; direct < 2; direct++) {
            build(&rig[i][direct], keep, &offered[i]);
            plan(&rig[i][direct], &t, direct);
            bool pixels = is_pixels(&rig[i][direct]);
            if (!direct && !pixels)
                printf("  case %d is not offered to %s\n", i, t.name);
            CU_ASSERT_EQUAL(pixels, !direct);
            found += pixels;
            made[2 * i + direct] =
                compiled_add(e, rig[i][direct].g, arena_printf(keep, "case%d_%d", i, direct));
        }
    CU_ASSERT_EQUAL(found, NOFFERED);
    bool good = compiled_link(e, made, 2 * NOFFERED, 2);
    CU_ASSERT_TRUE(good);
    for (int i = 0; i < NOFFERED && good; i++)
        for (int k = 0; k < 3; k++) {
            char what[80];
            snprintf(what, sizeof what, "case %d on %s, %d images", i, t.name, (int)batch[k]);
            run_case(rig[i], &made[2 * i], &offered[i], batch[k], what);
        }
    emit_free(e);
    arena_free(keep);
}

ON_TARGETS(run_target)

static void not_offered(void) {
    Arena *keep = arena_new();
    char why[256];
    Target t;
    CU_ASSERT_TRUE_FATAL(target_find(keep, "x86-64-v4", &t, why, sizeof why));
    for (int i = 0; i < NREFUSED; i++) {
        Rig r = {0};
        build(&r, keep, &refused[i]);
        plan(&r, &t, false);
        CU_ASSERT_FALSE(is_pixels(&r));
    }
    arena_free(keep);
}

/* The cost model's own choice: for LeNet-5's first layer, not where channels fill the lanes. */
static void chosen(void) {
    static const struct {
        Case c;
        bool pixels;
    } want[] = {
        {{1, 32, 32, 6, {5, 5}, ONE, P0, ONE, {2, 2}, {2, 2}, TANH, BY_AVERAGE}, true},
        {{3, 32, 32, 16, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, RELU, 0}, false},
        {{3, 32, 32, 64, {3, 3}, ONE, {1, 1, 1, 1}, ONE, ONE, ONE, RELU, 0}, false},
        {{1, 8, 6, 6, {5, 3}, ONE, P0, ONE, ONE, ONE, RELU, 0}, false}, /* 4 pixels in 16 lanes */
    };
    Arena *keep = arena_new();
    char why[256];
    Target t;
    CU_ASSERT_TRUE_FATAL(target_find(keep, "x86-64-v4", &t, why, sizeof why));
    for (int i = 0; i < (int)(sizeof want / sizeof *want); i++) {
        static const char *const pass[] = {"fuse", "layout"};
        PassCtx ctx = {.tmp = arena_new(), .target = &t, .verify = true};
        Rig r = {0};
        build(&r, keep, &want[i].c);
        graph_toposort(r.g);
        for (int p = 0; p < 2; p++)
            CU_ASSERT_TRUE_FATAL(pass_run_one(r.g, &ctx, pass[p]));
        if (is_pixels(&r) != want[i].pixels)
            printf("  choice %d: %s\n", i, kernel_c1(&r)->algorithm);
        CU_ASSERT_EQUAL(is_pixels(&r), want[i].pixels);
        arena_free(ctx.tmp);
    }
    arena_free(keep);
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse), TEST(not_offered), TEST(chosen))
