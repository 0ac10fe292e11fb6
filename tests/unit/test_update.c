/* test_update.c: weights' gradients, their updates and the bias' beside them.
 *
 * Per case one graph: the gradient of a convolution's or dense layer's weights and bias, and SGD of
 * both; once as it is (the update is part of the gradient's kernel) and once with the gradients
 * kept (update and bias are kernels of their own).  Both against the double-precision loops
 * (compiled.h), and both against each other: the same bits in parameters and momenta after several
 * steps.  Then a whole training step the same way, and the rounding errors of Winograd's sums.
 * ctest-labels: slow
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "nets.h"
#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "targets.h"

typedef struct Case {
    int64_t c, h, w, o, kernel, stride, pad, groups;
    int m; /* 0: direct; else Winograd F(m, kernel) */
    int batch, dilation;
    bool nesterov, dense;
} Case;

static const Case cases[] = {
    {3, 19, 17, 20, 7, 2, 1, 1, 0, 2, 1, false, false}, /* first layers: few channels */
    {3, 27, 31, 96, 11, 4, 0, 1, 0, 1, 1, true, false},
    {1, 12, 12, 6, 5, 1, 2, 1, 0, 1, 1, false, false},
    {3, 16, 16, 70, 3, 1, 1, 1, 0, 4, 1, false, false},
    {21, 13, 13, 37, 3, 1, 1, 1, 0, 1, 1, false, false},
    {20, 9, 12, 100, 5, 2, 0, 1, 0, 1, 1, false, false},
    {32, 11, 11, 96, 5, 1, 2, 2, 0, 1, 1, true, false},
    {64, 8, 7, 64, 3, 2, 1, 2, 0, 4, 2, false, false},
    {16, 8, 8, 16, 3, 1, 1, 1, 2, 1, 1, false, false},
    {16, 8, 8, 16, 3, 1, 1, 1, 4, 1, 1, true, false},
    {32, 13, 13, 64, 3, 1, 1, 1, 4, 7, 1, false, false}, /* blocks end inside images */
    {48, 13, 13, 96, 3, 1, 1, 1, 2, 1, 1, false, false},
    {21, 7, 9, 48, 3, 1, 1, 1, 4, 1, 1, false, false},
    {19, 10, 11, 57, 3, 1, 0, 1, 4, 5, 1, false, false},
    {17, 5, 6, 32, 3, 1, 2, 1, 2, 5, 1, false, false},
    {16, 1, 17, 32, 3, 1, 1, 1, 4, 1, 1, false, false},
    {64, 14, 14, 128, 3, 1, 1, 2, 4, 2, 1, true, false},
    {96, 9, 9, 64, 5, 1, 2, 2, 2, 4, 1, false, false},
    {19, 8, 7, 32, 5, 1, 1, 1, 2, 1, 1, false, false},
    {18, 9, 9, 32, 5, 1, 4, 1, 2, 2, 1, false, false},
    {40, 1, 1, 30, 1, 1, 0, 1, 0, 1, 1, false, true},
    {24, 3, 2, 70, 1, 1, 0, 1, 0, 80, 1, true, true}, /* more images than one pass takes */
};
enum { NCASES = sizeof cases / sizeof *cases, STEPS = 3 };

typedef struct Rig {
    Graph *g;
    ParamList params;
    PlanOptions options;
    ValueId src, dd;
    bool fused, winograd; /* what became of it */
} Rig;

static void update(Graph *g, ValueId grad, ValueId param, const Case *c, bool keep) {
    int slot = graph_v(g, param)->slot;
    ValueId state = graph_input(g, VK_STATE, DT_F32, graph_v(g, param)->shape, false, slot, NULL);
    SgdAttrs a = {.param = slot,
                  .lr_mult = slot ? 2 : 1,
                  .decay_mult = slot ? 0 : 1,
                  .nesterov = c->nesterov};
    graph_node(g, OP_SGD, &a, 3, (ValueId[]){param, grad, state});
    graph_v(g, grad)->keep = keep;
}

/* keep: the gradients are wanted, so that nothing is fused. */
static void build(Rig *r, Arena *keep_in, const Case *c, bool keep) {
    Graph *g = r->g = graph_new(keep_in, "train", "case", &r->params);
    ConvAttrs a = {.maps = c->o,
                   .kernel = {c->kernel, c->kernel},
                   .stride = {c->stride, c->stride},
                   .pad = {c->pad, c->pad, c->pad, c->pad},
                   .dilation = {c->dilation, c->dilation},
                   .groups = c->groups,
                   .bias = true,
                   .src_size = {c->h, c->w},
                   .src_maps = c->c};
    DenseAttrs d = {.units = c->o, .bias = true, .src_dim = {c->c, c->h, c->w}, .src_rank = 3};
    Shape image = {3, {c->c, c->h, c->w}};
    bool few = c->c <= 4;
    r->src = graph_input(g, few ? VK_INPUT : VK_SEED, DT_F32, image, true, few ? 0 : RULE_GRADIENT,
                         NULL);
    ValueId src = few ? graph_op(g, OP_LOAD_INPUT, NULL, 1, &r->src) : r->src;
    Shape taps = {4, {c->o, c->c / c->groups, c->kernel, c->kernel}};
    ValueId w = ref_param(g, "w", c->dense ? (Shape){4, {c->o, c->c, c->h, c->w}} : taps);
    ValueId b = ref_param(g, "b", (Shape){1, {c->o}});
    /* the layer itself, which lays the weights out and must read them before the update */
    ValueId y = c->dense ? graph_op(g, OP_DENSE, &d, 3, (ValueId[]){src, w, b})
                         : graph_op(g, OP_CONV2D, &a, 3, (ValueId[]){src, w, b});
    graph_v(g, y)->keep = true;
    r->dd = graph_input(g, VK_SEED, DT_F32, graph_v(g, y)->shape, true, RULE_GRADIENT, NULL);
    ValueId in[2] = {src, r->dd};
    ValueId dw = c->dense ? graph_op(g, OP_DENSE_BWD_WEIGHTS, &d, 2, in)
                          : graph_op(g, OP_CONV2D_BWD_WEIGHTS, &a, 2, in);
    ValueId db = graph_op(g, OP_BIAS_GRAD, NULL, 1, &r->dd);
    update(g, dw, w, c, keep);
    update(g, db, b, c, keep);
}

static void plan(Rig *r, const Target *t, const Case *c) {
    static const char *const pass[] = {"fuse", "layout", "schedule", "memplan"};
    static const char *const force[] = {"direct", "winograd2", "winograd4"};
    r->options = (PlanOptions){.force = force[c->m / 2], .batch = c->batch};
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true, .options = &r->options};
    graph_toposort(r->g);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    params_place(r->g->params);
    arena_free(ctx.tmp);
    for (int i = 0; i < r->g->nkernels; i++) {
        const Kernel *k = &r->g->kernels[i];
        int op = graph_n(r->g, k->anchor)->op;
        if (op != OP_CONV2D_BWD_WEIGHTS && op != OP_DENSE_BWD_WEIGHTS)
            continue;
        r->fused = k->update && k->bias_grad && k->bias_update;
        r->winograd = k->winograd == c->m && c->m > 0;
    }
}

static double *numbers(Arena *keep, int64_t n, uint32_t seed) {
    double *at = arena_array(keep, n, sizeof *at);
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)((double)(int32_t)ref_random(&seed) * 0x1p-31);
    return at;
}

typedef struct Data {
    RefRun r;
    double **seeds;
} Data;

static Data data_new(Arena *keep, const Rig *rig, int64_t n) {
    const Graph *g = rig->g;
    double **param = arena_array(keep, g->params->count, sizeof *param);
    double **state = arena_array(keep, g->params->count, sizeof *state);
    Data d = {.seeds = arena_array(keep, g->nvalue, sizeof *d.seeds)};
    for (int p = 0; p < g->params->count; p++) {
        int64_t count = shape_elems(&g->params->at[p].shape);
        param[p] = numbers(keep, count, (uint32_t)(100 + p));
        state[p] = numbers(keep, count, (uint32_t)(200 + p));
    }
    double *src = numbers(keep, n * shape_elems(&graph_v(g, rig->src)->shape), 11);
    d.seeds[rig->dd] = numbers(keep, n * shape_elems(&graph_v(g, rig->dd)->shape), 13);
    d.r = (RefRun){
        .g = g, .n = n, .param = param, .state = state, .lr = 0.01, .momentum = 0.9, .decay = 0.03};
    if (graph_v(g, rig->src)->kind == VK_INPUT)
        d.r.input[0] = src;
    else
        d.seeds[rig->src] = src;
    return d;
}

/* Parameters and momenta after STEPS steps; tasks cut into pieces. */
static Slabs steps(const Rig *rig, const Compiled *c, const Data *d, int pieces) {
    Slabs s = slabs_new(rig->g, &d->r, d->r.n);
    for (int step = 0; step < STEPS; step++) {
        for (ValueId v = 1; v < rig->g->nvalue; v++)
            if (graph_v(rig->g, v)->kind == VK_SEED)
                slabs_write(&s, v, d->seeds[v]);
        for (int k = 0; k < rig->g->nkernels; k++)
            slabs_run(&s, c, k, pieces, pieces > 1);
    }
    return s;
}

/* All parameters or all momenta, padding included (what lies behind it is nobody's). */
static void same_bits(const Slabs *a, const Slabs *b, ValueKind kind, const char *what) {
    for (ValueId v = 1; v < a->g->nvalue; v++) {
        const Value *x = graph_v(a->g, v);
        if (x->kind != kind)
            continue;
        int64_t n = shape_elems(&a->g->params->at[x->slot].shape), first = 0;
        double *p = calloc((size_t)n, sizeof *p), *q = calloc((size_t)n, sizeof *q);
        CU_ASSERT_EQUAL(slabs_read(a, v, p), 0);
        CU_ASSERT_EQUAL(slabs_read(b, v, q), 0);
        while (first < n && memcmp(&p[first], &q[first], sizeof *p) == 0)
            first++;
        CU_ASSERT_EQUAL(first, n);
        if (first < n)
            printf("  %s: number %lld is %.9g or %.9g\n", what, (long long)first, p[first],
                   q[first]);
        free(p);
        free(q);
    }
}

static void compare_steps(const Rig rig[2], const Compiled made[2], Data d[2], const char *what) {
    Slabs a = steps(&rig[0], &made[0], &d[0], 1), b = steps(&rig[1], &made[1], &d[1], 1);
    Slabs c = steps(&rig[0], &made[0], &d[0], 3);
    same_bits(&a, &b, VK_PARAM, what);
    same_bits(&a, &b, VK_STATE, what);
    same_bits(&a, &c, VK_PARAM, what);
    same_bits(&a, &c, VK_STATE, what);
    slabs_free(&a);
    slabs_free(&b);
    slabs_free(&c);
}

static void run_case(const Rig rig[2], const Compiled made[2], const Case *c, int64_t n, int index,
                     const char *target) {
    Arena *keep = arena_new();
    Data d[2];
    char what[80];
    for (int i = 0; i < 2; i++) {
        d[i] = data_new(keep, &rig[i], n);
        snprintf(what, sizeof what, "case %d on %s, %d images, %s", index, target, (int)n,
                 i ? "gradients kept" : "fused");
        Check check = {.data = &d[i].r, .seed_at = d[i].seeds, .local = c->m ? 4 : 1, .what = what};
        CU_ASSERT_EQUAL(compiled_check(&made[i], &check), 0);
    }
    compare_steps(rig, made, d, what);
    arena_free(keep);
}

/* Cases first, first + step, ...: compiling them takes most of the time. */
static void run_target(const char *name, int first, int step) {
    Arena *keep = arena_new();
    int count = 0;
    Rig *rig = arena_array(keep, 2 * NCASES, sizeof *rig);
    Compiled made[2 * NCASES];
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    for (int i = first; i < NCASES; i += step)
        for (int kept = 0; kept < 2; kept++, count++) {
            Rig *r = &rig[count];
            build(r, keep, &cases[i], kept);
            plan(r, &t, &cases[i]);
            CU_ASSERT_EQUAL(r->fused, !kept);
            CU_ASSERT_EQUAL(r->winograd, cases[i].m > 0);
            made[count] = compiled_add(e, r->g, arena_printf(keep, "case%d", count));
        }
    bool good = compiled_link(e, made, count, 2);
    CU_ASSERT_TRUE(good);
    for (int i = first, at = 0; i < NCASES && good; i += step, at += 2)
        for (int k = step > 1; k < 2; k++)
            run_case(&rig[at], &made[at], &cases[i], k ? cases[i].batch + 1 : 1, i, t.name);
    emit_free(e);
    arena_free(keep);
}

static void native(void) {
    run_target("native", 0, 1);
}

static void avx2(void) {
    run_target("x86-64-v3", 0, 3);
}

static void sse(void) {
    run_target("x86-64-v2", 1, 3);
}

/* ---- a whole training step ---- */

typedef struct Whole {
    Net n;
    PlanOptions options;
    int updates; /* kernels that only update */
} Whole;

static void whole_plan(Whole *w, const Target *t, bool keep) {
    static const char *const pass[] = {"cse", "dce", "fuse", "layout", "schedule", "memplan"};
    w->n = net_lenet("train", NULL);
    w->options = (PlanOptions){.batch = 3};
    w->n.ctx.target = t;
    w->n.ctx.options = &w->options;
    w->n.ctx.stop_after = "grad";
    passes_run(w->n.g, &w->n.ctx);
    for (uint32_t o = 0; o < w->n.g->norder; o++) {
        const Node *sgd = graph_n(w->n.g, w->n.g->order[o]);
        if (sgd->op == OP_SGD && keep)
            graph_v(w->n.g, sgd->in[1])->keep = true;
    }
    for (int i = 0; i < 6; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(w->n.g, &w->n.ctx, pass[i]));
    params_place(w->n.g->params);
    for (int i = 0; i < w->n.g->nkernels; i++)
        w->updates += graph_n(w->n.g, w->n.g->kernels[i].anchor)->op == OP_SGD;
}

static void whole(void) {
    Arena *keep = arena_new();
    Target t;
    char why[256];
    CU_ASSERT_TRUE_FATAL(target_find(keep, "native", &t, why, sizeof why));
    Whole w[2] = {0};
    Compiled made[2];
    Slabs s[2];
    Emit *e = compiled_begin(keep, &t);
    for (int i = 0; i < 2; i++) {
        whole_plan(&w[i], &t, i == 1);
        made[i] = compiled_add(e, w[i].n.g, i ? "kept" : "fused");
    }
    CU_ASSERT_EQUAL(w[0].updates, 0);
    CU_ASSERT_EQUAL(w[1].updates, 8);
    CU_ASSERT_TRUE_FATAL(compiled_link(e, made, 2, 2));
    const Shape *image = &graph_v(w[0].n.g, w[0].n.image)->shape;
    double *pixels = numbers(keep, 3 * shape_elems(image), 5), *param[16];
    int32_t label[3] = {1, 0, 2};
    for (int p = 0; p < w[0].n.g->params->count; p++)
        param[p] = numbers(keep, shape_elems(&w[0].n.g->params->at[p].shape), (uint32_t)(20 + p));
    for (int i = 0; i < 2; i++) {
        RefRun r = {.g = w[i].n.g,
                    .n = 3,
                    .input = {pixels},
                    .label = {label},
                    .param = param,
                    .lr = 1e-3,
                    .momentum = 0.9,
                    .decay = 0.01};
        s[i] = slabs_new(w[i].n.g, &r, 3);
        for (int step = 0; step < 4; step++)
            slabs_entry(&s[i], &made[i], "step");
    }
    same_bits(&s[0], &s[1], VK_PARAM, "whole step, parameters");
    same_bits(&s[0], &s[1], VK_STATE, "whole step, momenta");
    for (int i = 0; i < 2; i++) {
        slabs_free(&s[i]);
        net_free(&w[i].n);
    }
    emit_free(e);
    arena_free(keep);
}

/* ---- rounding errors ---- */

static double gradient_error(const Case *c) {
    Arena *keep = arena_new();
    Rig rig = {0};
    Target t;
    char why[256];
    CU_ASSERT_TRUE_FATAL(target_find(keep, "native", &t, why, sizeof why));
    Emit *e = compiled_begin(keep, &t);
    build(&rig, keep, c, true);
    plan(&rig, &t, c);
    Compiled made = compiled_add(e, rig.g, "error");
    CU_ASSERT_TRUE_FATAL(compiled_link(e, &made, 1, 2));
    Data d = data_new(keep, &rig, c->batch);
    ConvAttrs *a = NULL;
    ValueId dw = 0;
    for (NodeId id = 1; id < rig.g->nnode; id++)
        if (graph_n(rig.g, id)->op == OP_CONV2D_BWD_WEIGHTS) {
            a = graph_n(rig.g, id)->attrs;
            dw = graph_n(rig.g, id)->out[0];
        }
    int64_t count = shape_elems(&graph_v(rig.g, dw)->shape);
    double *want = arena_array(keep, count, sizeof *want), *got = numbers(keep, count, 1),
           error = 0, size = 0;
    RefTensor in[2] = {{graph_v(rig.g, rig.src)->shape, c->batch, d.seeds[rig.src]},
                       {graph_v(rig.g, rig.dd)->shape, c->batch, d.seeds[rig.dd]}};
    RefTensor out = {graph_v(rig.g, dw)->shape, 1, want};
    RefCall call = {.attrs = a, .n = c->batch, .nin = 2, .in = in, .out = &out};
    ref_op[OP_CONV2D_BWD_WEIGHTS](&call);
    Slabs s = slabs_new(rig.g, &d.r, c->batch);
    slabs_write(&s, rig.src, d.seeds[rig.src]);
    slabs_write(&s, rig.dd, d.seeds[rig.dd]);
    for (int k = 0; k < rig.g->nkernels; k++)
        slabs_run(&s, &made, k, 1, false);
    slabs_read(&s, dw, got);
    for (int64_t i = 0; i < count; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    slabs_free(&s);
    emit_free(e);
    arena_free(keep);
    return sqrt(error / size);
}

/* Relative to the rms of the gradient, 16 images: a plain sum has about 1e-6. */
static void accuracy(void) {
    static const struct {
        Case c;
        double bound;
    } table[] = {
        {{32, 28, 28, 32, 3, 1, 1, 1, 0, 16, 1, false, false}, 4e-6},
        {{32, 28, 28, 32, 3, 1, 1, 1, 2, 16, 1, false, false}, 4e-6},
        {{32, 28, 28, 32, 3, 1, 1, 1, 4, 16, 1, false, false}, 1.5e-5},
        {{32, 13, 13, 32, 3, 1, 1, 1, 4, 16, 1, false, false}, 1.5e-5},
        {{32, 14, 14, 32, 5, 1, 2, 1, 2, 16, 1, false, false}, 1.5e-5},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const Case *c = &table[i].c;
        double error = gradient_error(c);
        printf("\n  %dx%d, F(%d): %.1e", (int)c->kernel, (int)c->kernel, c->m, error);
        CU_ASSERT(error < table[i].bound);
        CU_ASSERT(error > 1e-9);
    }
    printf(" ");
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse), TEST(whole), TEST(accuracy))
