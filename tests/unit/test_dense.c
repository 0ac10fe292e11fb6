/* test_dense.c: dense layers of odd sizes, all three directions and the update, as compiled code.
 *
 * Each size is planned with and without fusion and held against the double-precision loops
 * (compiled.h says what is checked) for several batches and two vector widths.  Then the step of the
 * fused plan, which never stores the weights' gradient, must leave weights, biases and momenta with
 * the very bits that separate kernels leave.  Weights as bfloat16: products are exact, the only
 * error is the weights' rounding.
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

typedef struct Case {
    int64_t units, c, h, w; /* h = 0: the source is a vector */
    int64_t batch[5];       /* 0 ends the list */
} Case;

static const Case cases[] = {
    {1, 1, 0, 0, {1, 2, 65}},
    {10, 84, 0, 0, {1, 3, 16, 33, 65}},
    {37, 84, 0, 0, {1, 7, 64}},
    {37, 400, 0, 0, {1, 4, 31, 65}},
    {1, 400, 0, 0, {1, 17}},
    {1000, 1, 0, 0, {2, 65}},
    {1000, 84, 0, 0, {1, 20}},
    {120, 16, 5, 5, {1, 6, 64}},
    {70, 37, 3, 2, {1, 5, 33}},
    {10, 1, 9, 8, {3, 18}},
    {12, 3, 5, 4, {1, 11}},
    {130, 20, 4, 4, {300}}, /* several panels of images */
    {37, 256, 6, 6, {1, 17}},
    {10, 9216, 0, 0, {1, 20}},
    {1000, 2304, 0, 0, {3}},
};
enum { NCASES = sizeof cases / sizeof *cases, PLANS = 2 };

typedef struct Rig {
    Graph *g;
    ParamList params;
} Rig;

static ValueId vector_input(Graph *g, int64_t size, int slot) {
    Shape s = {3, {size, 1, 1}};
    ValueId v = graph_input(g, VK_INPUT, DT_F32, s, true, slot, NULL);
    v = graph_op(g, OP_LOAD_INPUT, NULL, 1, &v);
    return graph_op(g, OP_FLATTEN, NULL, 1, &v);
}

static ValueId source(Graph *g, const Case *c) {
    if (c->h == 0)
        return vector_input(g, c->c, 0);
    Shape s = {3, {c->c, c->h, c->w}};
    ValueId v = graph_input(g, VK_INPUT, DT_F32, s, true, 0, NULL);
    return graph_op(g, OP_LOAD_INPUT, NULL, 1, &v);
}

static void update(Graph *g, ValueId param, ValueId gradient, bool nesterov) {
    int slot = graph_v(g, param)->slot;
    Shape s = graph_v(g, param)->shape;
    ValueId in[3] = {param, gradient, graph_input(g, VK_STATE, DT_F32, s, false, slot, NULL)};
    SgdAttrs a = {.param = slot, .lr_mult = 1 + slot, .decay_mult = 1, .nesterov = nesterov};
    graph_node(g, OP_SGD, &a, 3, in);
}

static void build(Rig *r, Arena *keep, const Case *c) {
    Graph *g = r->g = graph_new(keep, "train", "case", &r->params);
    ValueId x = source(g, c), dy = vector_input(g, c->units, 1);
    DenseAttrs a = {.units = c->units,
                    .bias = true,
                    .src_dim = {c->c, c->h ? c->h : 1, c->h ? c->w : 1},
                    .src_rank = c->h ? 3 : 1};
    Shape w = c->h ? (Shape){4, {c->units, c->c, c->h, c->w}} : (Shape){2, {c->units, c->c}};
    ValueId weights = ref_param(g, "weight", w);
    ValueId bias = ref_param(g, "bias", (Shape){1, {c->units}});
    ValueId y = graph_op(g, OP_DENSE, &a, 3, (ValueId[]){x, weights, bias});
    ValueId dx = graph_op(g, OP_DENSE_BWD_DATA, &a, 2, (ValueId[]){dy, weights});
    ValueId dw = graph_op(g, OP_DENSE_BWD_WEIGHTS, &a, 2, (ValueId[]){x, dy});
    ValueId db = graph_op(g, OP_BIAS_GRAD, NULL, 1, &dy);
    graph_v(g, y)->keep = graph_v(g, dx)->keep = true;
    update(g, weights, dw, c->units % 2);
    update(g, bias, db, c->units % 2);
}

static void plan(Rig *r, const Target *t, bool no_fuse, const PlanOptions *options) {
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true, .no_fuse = no_fuse,
                   .options = options};
    static const char *const pass[] = {"fold", "fuse", "layout", "schedule", "memplan"};
    graph_toposort(r->g);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    params_place(r->g->params);
    arena_free(ctx.tmp);
}

static const Kernel *updater(const Graph *g) {
    for (int i = 0; i < g->nkernels; i++)
        if (g->kernels[i].update && g->kernels[i].bias_update)
            return &g->kernels[i];
    return NULL;
}

/* ---- numbers ---- */

typedef struct Data {
    double *x, *dy, *param[2], *state[2];
} Data;

static double *numbers(Arena *keep, int64_t n, double reach, uint32_t number) {
    double *at = arena_array(keep, n, sizeof *at);
    ref_fill_distinct(at, n, reach, number);
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)at[i];
    return at;
}

static Data data_for(Arena *keep, const Case *c, int64_t n) {
    int64_t inputs = c->c * (c->h ? c->h * c->w : 1);
    Data d = {.x = numbers(keep, n * inputs, 1, 3), .dy = numbers(keep, n * c->units, 1, 5)};
    for (int p = 0; p < 2; p++) {
        d.param[p] = numbers(keep, c->units * (p ? 1 : inputs), 0.5, 7 + (uint32_t)p);
        d.state[p] = numbers(keep, c->units * (p ? 1 : inputs), 0.25, 11 + (uint32_t)p);
    }
    return d;
}

static RefRun run_of(const Data *d, int64_t n) {
    return (RefRun){.n = n, .input = {d->x, d->dy}, .param = d->param, .state = d->state,
                    .lr = 0.0625, .momentum = 0.9, .decay = 5e-4};
}

static void check_bits(const Rig rig[PLANS], const Compiled made[PLANS], const RefRun *data,
                       const char *what) {
    Slabs s[PLANS];
    for (int i = 0; i < PLANS; i++) {
        RefRun r = *data;
        r.g = rig[i].g;
        s[i] = slabs_new(rig[i].g, &r, data->n);
        slabs_entry(&s[i], &made[i], "step");
    }
    bool same = true;
    for (ValueId v = 1; v < rig[0].g->nvalue; v++) {
        const Value *x = graph_v(rig[0].g, v);
        if (x->kind != VK_PARAM && x->kind != VK_STATE)
            continue;
        size_t bytes = (size_t)shape_elems(&x->shape) * sizeof(double);
        double *at[PLANS] = {malloc(bytes), malloc(bytes)};
        for (int i = 0; i < PLANS; i++)
            same &= slabs_read(&s[i], v, at[i]) == 0;
        same &= memcmp(at[0], at[1], bytes) == 0;
        free(at[0]);
        free(at[1]);
    }
    if (!same)
        printf("  %s: the fused update leaves other bits\n", what);
    CU_ASSERT_TRUE(same);
    for (int i = 0; i < PLANS; i++)
        slabs_free(&s[i]);
}

static void run_case(const Rig rig[PLANS], const Compiled made[PLANS], const Case *c, int64_t n,
                     const char *what) {
    Arena *keep = arena_new();
    Data d = data_for(keep, c, n);
    RefRun r = run_of(&d, n);
    bool large = c->units * c->c >= 500000; /* one plan is enough */
    for (int i = 0; i < (large ? 1 : PLANS); i++) {
        r.g = rig[i].g;
        Check check = {.data = &r, .local = 1, .what = what};
        CU_ASSERT_EQUAL(compiled_check(&made[i], &check), 0);
    }
    check_bits(rig, made, &r, what);
    arena_free(keep);
}

static void run_target(const char *name) {
    static Rig rig[NCASES][PLANS];
    Compiled made[PLANS * NCASES];
    Arena *keep = arena_new();
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    memset(rig, 0, sizeof rig);
    for (int i = 0; i < NCASES; i++)
        for (int p = 0; p < PLANS; p++) {
            Rig *r = &rig[i][p];
            build(r, keep, &cases[i]);
            plan(r, &t, p, NULL);
            CU_ASSERT_EQUAL(updater(r->g) == NULL, p == 1);
            made[PLANS * i + p] = compiled_add(e, r->g, arena_printf(keep, "case%d_%d", i, p));
        }
    bool good = compiled_link(e, made, PLANS * NCASES, 2);
    CU_ASSERT_TRUE(good);
    for (int i = 0; i < NCASES && good; i++)
        for (int k = 0; k < 5 && cases[i].batch[k]; k++) {
            char what[96];
            snprintf(what, sizeof what, "%d units, %dx%dx%d on %s, %d images", (int)cases[i].units,
                     (int)cases[i].c, (int)cases[i].h, (int)cases[i].w, t.name,
                     (int)cases[i].batch[k]);
            run_case(rig[i], &made[PLANS * i], &cases[i], cases[i].batch[k], what);
        }
    emit_free(e);
    arena_free(keep);
}

ON_AVX(run_target)

/* ---- weights as bfloat16 ---- */

static void build_inference(Rig *r, Arena *keep, const Case *c, ValueId *y) {
    Graph *g = r->g = graph_new(keep, "forward", "case", &r->params);
    ValueId x = source(g, c), dy = vector_input(g, c->units, 1);
    DenseAttrs a = {.units = c->units,
                    .bias = true,
                    .src_dim = {c->c, c->h ? c->h : 1, c->h ? c->w : 1},
                    .src_rank = c->h ? 3 : 1};
    Shape w = c->h ? (Shape){4, {c->units, c->c, c->h, c->w}} : (Shape){2, {c->units, c->c}};
    ValueId weights = ref_param(g, "weight", w);
    ValueId bias = ref_param(g, "bias", (Shape){1, {c->units}});
    *y = graph_op(g, OP_DENSE, &a, 3, (ValueId[]){x, weights, bias});
    ValueId dx = graph_op(g, OP_DENSE_BWD_DATA, &a, 2, (ValueId[]){dy, weights});
    graph_v(g, *y)->keep = graph_v(g, dx)->keep = true;
}

static double round_bf16(double d) {
    float f = (float)d;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &bits, 4);
    return (double)f;
}

/* Outputs of layer y, images in order. */
static double *outputs(const Rig *r, const Compiled *c, const RefRun *data, ValueId y, int64_t n) {
    RefRun one = *data;
    one.g = r->g;
    Slabs s = slabs_new(r->g, &one, data->n);
    double *at = calloc((size_t)n, sizeof *at);
    slabs_entry(&s, c, "forward");
    CU_ASSERT_TRUE(at && slabs_read(&s, y, at) == 0);
    slabs_free(&s);
    return at;
}

/* Rounded weights are the only difference: exact products, sums in f32. */
static void check_bf16(const Rig rig[PLANS], const Compiled made[PLANS], const Case *c, ValueId y,
                       int64_t n, const char *what) {
    Arena *keep = arena_new();
    Data d = data_for(keep, c, n);
    RefRun r = run_of(&d, n);
    int64_t count = shape_elems(&rig[0].params.at[0].shape);
    double *full = outputs(&rig[1], &made[1], &r, y, n * c->units), error = 0, size = 0;
    for (int64_t i = 0; i < count; i++)
        d.param[0][i] = round_bf16(d.param[0][i]);
    r.g = rig[0].g;
    Check check = {.data = &r, .local = 1, .what = what};
    CU_ASSERT_EQUAL(compiled_check(&made[0], &check), 0);
    double *half = outputs(&rig[0], &made[0], &r, y, n * c->units);
    for (int64_t i = 0; i < n * c->units; i++) {
        error += (half[i] - full[i]) * (half[i] - full[i]);
        size += full[i] * full[i];
    }
    /* rounding to 8 bits: at most 2^-9 per weight, rms about 1.4e-3 of the output; a few outputs
     * may be small by chance */
    double rms = sqrt(error / size);
    bool many = n * c->units >= 10 && count >= 1000, good = rms < 1e-2;
    if (many)
        good = rms < 2e-3 && rms > 5e-4;
    if (!good)
        printf("  %s: rms error %.2e of the output\n", what, rms);
    CU_ASSERT_TRUE(good);
    free(half);
    free(full);
    arena_free(keep);
}

static void run_bf16(const char *name) {
    static const PlanOptions options[PLANS] = {{.bf16 = true}, {.bf16 = false}};
    static Rig rig[NCASES][PLANS];
    static ValueId y[NCASES];
    Compiled made[PLANS * NCASES];
    Arena *keep = arena_new();
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    memset(rig, 0, sizeof rig);
    for (int i = 0; i < NCASES; i++)
        for (int p = 0; p < PLANS; p++) {
            Rig *r = &rig[i][p];
            build_inference(r, keep, &cases[i], &y[i]);
            plan(r, &t, false, &options[p]);
            CU_ASSERT_EQUAL(r->params.at[0].bf16, p == 0);
            CU_ASSERT_FALSE(r->params.at[1].bf16);
            if (p == 1) /* half the bytes, and up to a vector of padding */
                CU_ASSERT_TRUE(rig[i][0].params.at[0].bytes <= r->params.at[0].bytes / 2 + 32);
            made[PLANS * i + p] = compiled_add(e, r->g, arena_printf(keep, "case%d_%d", i, p));
        }
    bool good = compiled_link(e, made, PLANS * NCASES, 2);
    CU_ASSERT_TRUE(good);
    for (int i = 0; i < NCASES && good; i++)
        for (int k = 0; k < 5 && cases[i].batch[k]; k++) {
            char what[96];
            snprintf(what, sizeof what, "bf16, %d units, %d inputs x%d on %s, %d images",
                     (int)cases[i].units, (int)cases[i].c, (int)cases[i].h, t.name,
                     (int)cases[i].batch[k]);
            check_bf16(rig[i], &made[PLANS * i], &cases[i], y[i], cases[i].batch[k], what);
        }
    emit_free(e);
    arena_free(keep);
}

static void bf16_native(void) {
    run_bf16("native");
}

static void bf16_avx2(void) {
    run_bf16("x86-64-v3");
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(bf16_native), TEST(bf16_avx2))
