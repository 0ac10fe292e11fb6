/* test_norm_batch.c: batch normalisation as a whole: the composites against their parts, running
 * statistics by hand, numbers far from zero, what a frozen layer and a single number do.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

enum { IMAGES = 3 };

/* src -> bn or instancenorm, its result kept; parameters in the order of the inputs. */
static Graph *layer(Arena *keep, int op, const BnAttrs *a, Shape s) {
    static const char *const name[] = {"weight", "bias", "running_mean", "running_var"};
    Graph *g = graph_new(keep, "train", "norm", ARENA_NEW(keep, ParamList));
    ValueId in[5] = {graph_input(g, VK_INPUT, DT_F32, s, true, 0, "pixels")};
    in[0] = s.rank == 3 ? graph_op(g, OP_LOAD_INPUT, NULL, 1, in) : in[0];
    for (int i = 1; i < op_nin[op]; i++)
        in[i] = ref_param(g, name[i - 1], (Shape){1, {s.dim[0]}});
    ValueId out = graph_op(g, op, a, op_nin[op], in);
    graph_v(g, out)->keep = true;
    graph_set_name(g, out, "result");
    graph_toposort(g);
    return g;
}

static void expand(Graph *g) {
    PassCtx ctx = {.tmp = arena_new(), .verify = true};
    CU_ASSERT_TRUE(pass_run_one(g, &ctx, "expand"));
    arena_free(ctx.tmp);
}

static bool has_op(const Graph *g, int op) {
    for (NodeId n = 1; n < g->nnode; n++)
        if (!graph_n(g, n)->dead && graph_n(g, n)->op == op)
            return true;
    return false;
}

/* The reference of the whole, and the references of its parts: one function. */
static void parts_make_the_whole(void) {
    static const int ops[] = {OP_BN, OP_BN, OP_INSTANCENORM};
    Shape s = {3, {5, 4, 7}};
    for (int i = 0; i < 3; i++) {
        Arena *keep = arena_new();
        BnAttrs a = {.eps = 1e-3, .momentum = 0.1, .infer = i == 1};
        Graph *g = layer(keep, ops[i], &a, s), *parts = layer(keep, ops[i], &a, s);
        expand(parts);
        CU_ASSERT_FALSE(has_op(parts, ops[i]));
        CU_ASSERT_EQUAL(has_op(parts, OP_BN_RUNNING), i == 0);
        int64_t n = shape_elems(&s) * IMAGES;
        double *x = arena_array(keep, n, sizeof *x), **w = ref_params_new(g->params);
        ref_fill_distinct(x, n, 2, 5);
        for (int p = 0; p < g->params->count; p++)
            ref_fill_positive(w[p], 5, (uint32_t)p);
        RefRun one = {.g = g, .n = IMAGES, .input = {x}, .param = w}, two = one;
        two.g = parts;
        CU_ASSERT_TRUE_FATAL(ref_run(&one) && ref_run(&two));
        const double *got = two.value[graph_find(parts, "result")];
        const double *want = one.value[graph_find(g, "result")];
        for (int64_t k = 0; k < n; k++)
            CU_ASSERT_DOUBLE_EQUAL(got[k], want[k], 1e-12);
        ref_run_free(&one);
        ref_run_free(&two);
        ref_params_free(w, g->params->count);
        arena_free(keep);
    }
}

/* Compiles the layer for this machine and runs it once: result and parameters afterwards. */
static void run(Arena *keep, const BnAttrs *a, Shape s, int64_t n, const double *x,
                double *const *w, double *result, double *const *after) {
    Target t;
    Graph *g = layer(keep, OP_BN, a, s);
    PassCtx ctx = {.tmp = arena_new(), .target = &t, .verify = true};
    static const char *const pass[] = {"expand", "fuse", "layout", "schedule", "memplan"};
    CU_ASSERT_TRUE_FATAL(compiled_target(keep, "native", &t));
    for (int i = 0; i < 5; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(g, &ctx, pass[i]));
    params_place(g->params);
    Emit *e = compiled_begin(keep, &t);
    Compiled c = compiled_add(e, g, "norm");
    CU_ASSERT_TRUE_FATAL(compiled_link(e, &c, 1, 2));
    RefRun data = {.g = g, .n = n, .input = {x}, .param = w};
    Slabs slabs = slabs_new(g, &data, n);
    slabs_entry(&slabs, &c, "step");
    CU_ASSERT_EQUAL(slabs_read(&slabs, graph_find(g, "result"), result), 0);
    for (int p = 0; p < 4; p++)
        for (ValueId v = 1; v < g->nvalue; v++)
            if (graph_v(g, v)->kind == VK_PARAM && graph_v(g, v)->slot == p)
                slabs_read(&slabs, v, after[p]);
    slabs_free(&slabs);
    emit_free(e);
    arena_free(ctx.tmp);
}

static double one = 1, zero = 0;

/* 1 2 3 4 over two images: mean 2.5, variance 1.25 by the count, 5/3 by the count less one. */
static void running_by_hand(void) {
    Arena *keep = arena_new();
    BnAttrs a = {.eps = 1e-5, .momentum = 0.1};
    double x[4] = {1, 2, 3, 4}, y[4], after[4];
    run(keep, &a, (Shape){3, {1, 1, 2}}, 2, x, (double *[]){&one, &zero, &zero, &one}, y,
        (double *[]){after, after + 1, after + 2, after + 3});
    for (int i = 0; i < 4; i++)
        CU_ASSERT_DOUBLE_EQUAL(y[i], (x[i] - 2.5) / sqrt(1.25 + 1e-5), 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(after[0], 1, 0);
    CU_ASSERT_DOUBLE_EQUAL(after[1], 0, 0);
    CU_ASSERT_DOUBLE_EQUAL(after[2], 0.25, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL(after[3], 0.9 + 0.1 * 5 / 3, 1e-7);
    arena_free(keep);
}

/* A batch of one number has no variance: nothing becomes NaN. */
static void one_number(void) {
    Arena *keep = arena_new();
    BnAttrs a = {.eps = 1e-5, .momentum = 0.1};
    double x = 7, y, after[4], shift = 3;
    run(keep, &a, (Shape){3, {1, 1, 1}}, 1, &x, (double *[]){&one, &shift, &zero, &one}, &y,
        (double *[]){after, after + 1, after + 2, after + 3});
    CU_ASSERT_DOUBLE_EQUAL(y, 3, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(after[2], 0.7, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(after[3], 0.9, 1e-6);
    arena_free(keep);
}

/* With constant statistics the layer is a line and changes nothing. */
static void frozen(void) {
    Arena *keep = arena_new();
    BnAttrs a = {.eps = 0.25, .momentum = 0.1, .infer = true};
    double x[2] = {1, 5}, y[2], after[4], mean = 3, variance = 3.75, weight = 2;
    run(keep, &a, (Shape){3, {1, 1, 2}}, 1, x, (double *[]){&weight, &one, &mean, &variance}, y,
        (double *[]){after, after + 1, after + 2, after + 3});
    CU_ASSERT_DOUBLE_EQUAL(y[0], -1, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(y[1], 3, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(after[2], 3, 0);
    CU_ASSERT_DOUBLE_EQUAL(after[3], 3.75, 0);
    arena_free(keep);
}

/* Sums of squares in float would lose a deviation of 1 at 10,000 entirely. */
static void far_from_zero(void) {
    enum { H = 61, W = 57, N = 4, COUNT = N * H * W };
    Arena *keep = arena_new();
    BnAttrs a = {.eps = 1e-5, .momentum = 1};
    double *x = arena_array(keep, COUNT, sizeof *x), *y = arena_array(keep, COUNT, sizeof *y);
    double after[4], mean = 0, variance = 0;
    ref_fill_distinct(x, COUNT, sqrt(3.0), 11);
    for (int i = 0; i < COUNT; i++) {
        x[i] = (double)(float)(x[i] + 1e4);
        mean += x[i] / (double)COUNT;
    }
    for (int i = 0; i < COUNT; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (COUNT - 1);
    run(keep, &a, (Shape){3, {1, H, W}}, N, x, (double *[]){&one, &zero, &zero, &one}, y,
        (double *[]){after, after + 1, after + 2, after + 3});
    CU_ASSERT_DOUBLE_EQUAL(after[2], mean, 2e-3); /* a unit of float at 10,000 is 1e-3 */
    CU_ASSERT_DOUBLE_EQUAL(after[3], variance, 1e-4);
    arena_free(keep);
}

SUITE_MAIN(TEST(parts_make_the_whole), TEST(running_by_hand), TEST(one_number), TEST(frozen),
           TEST(far_from_zero))
