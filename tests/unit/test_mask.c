/* test_mask.c: masks of rectifiers in front of unpooling: the same numbers to the last bit.
 *
 * Nets whose rectified layer is pooled, windows apart and overlapping, are built twice and run by
 * the double-precision reference as grad left them and as mask left them: every gradient of a
 * parameter, and the image of every projection, must be equal byte for byte.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "nets.h"
#include "ref_cases.h"
#include "ref_run.h"
#include "suite.h"

enum { BATCH = 3 };

typedef struct Shape2 {
    int64_t kernel, stride; /* of the pool */
} Shape2;

static Shape2 pool_now;

/* conv relu pool conv relu pool dense; no layer but the score is a seed */
static Net pooled(const char *program) {
    Net n = net_new(program, NULL, 2, 13, 13);
    ValueId r1 = net_op(&n, "r1", OP_RELU, net_conv(&n, "c1", n.image, 5, 3, 1, 1), 0);
    ValueId p1 = net_maxpool(&n, "p1", r1, pool_now.kernel, pool_now.stride);
    ValueId r2 = net_op(&n, "r2", OP_RELU, net_conv(&n, "c2", p1, 4, 3, 1, 1), 0);
    ValueId p2 = net_maxpool(&n, "p2", r2, pool_now.kernel, pool_now.stride);
    ValueId f = net_dense(&n, "f", p2, 6);
    if (n.ctx.look)
        net_seed(&n, f);
    net_end(&n, f);
    return n;
}

/* What the program is for: gradients by slot of the parameter, or images by rule. */
typedef struct Result {
    Net net;
    RefRun run;
    double *image;
} Result;

static Result run_as(const char *program, const char *stop) {
    static double *param[16];
    Result r = {.net = pooled(program)};
    r.net.ctx.stop_after = stop;
    passes_run(r.net.g, &r.net.ctx);
    int64_t pixels = BATCH * 2 * 13 * 13;
    r.image = calloc((size_t)pixels, sizeof *r.image);
    ref_fill_distinct(r.image, pixels, 1, 3);
    for (int p = 0; p < r.net.g->params->count; p++) {
        int64_t count = shape_elems(&r.net.g->params->at[p].shape);
        param[p] = ARENA_ARRAY(r.net.keep, count, double);
        ref_fill_distinct(param[p], count, 1, 5 + (uint32_t)p);
    }
    static int32_t label[BATCH] = {1, 5, 0};
    static double one[BATCH * 6];
    static const double *const start[4] = {one, one, one, one}; /* by rule */
    ref_fill_distinct(one, BATCH * 6, 1, 77);
    r.run = (RefRun){.g = r.net.g,
                     .n = BATCH,
                     .input = {r.image},
                     .label = {label},
                     .param = param,
                     .seed_value = start};
    if (!ref_run(&r.run))
        BUG("reference: %s", r.run.error);
    return r;
}

static void done(Result *r) {
    ref_run_free(&r->run);
    free(r->image);
    net_free(&r->net);
}

static bool equal(const Result *a, ValueId va, const Result *b, ValueId vb, int64_t batch) {
    int64_t n = shape_elems(&graph_v(a->net.g, va)->shape) * batch, other = 0;
    CU_ASSERT_FATAL(a->run.value[va] && b->run.value[vb]);
    for (int64_t i = 0; i < n; i++)
        other += a->run.value[va][i] != 0;
    CU_ASSERT(other > 0); /* something flows */
    return memcmp(a->run.value[va], b->run.value[vb], (size_t)n * sizeof(double)) == 0;
}

static ValueId gradient_of(const Graph *g, int slot) {
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        if (n->op == OP_SGD && graph_v(g, n->in[0])->slot == slot)
            return n->in[1];
    }
    return 0;
}

/* Masks that read an unpooled value, or rectifiers of one. */
static int behind(const Graph *g, int op) {
    int found = 0;
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        if (n->op == op && graph_v(g, n->in[0])->kind == VK_RESULT)
            found += graph_n(g, graph_v(g, n->in[0])->def)->op == OP_MAXPOOL_BWD;
    }
    return found;
}

static void training(void) {
    static const Shape2 windows[] = {{2, 2}, {3, 2}, {3, 1}, {2, 3}};
    for (int i = 0; i < 4; i++) {
        pool_now = windows[i];
        Result a = run_as("train", "grad"), b = run_as("train", "mask");
        CU_ASSERT_EQUAL(behind(a.net.g, OP_RELU_BWD), 2);
        CU_ASSERT_EQUAL(behind(b.net.g, OP_RELU_BWD), 0);
        for (int p = 0; p < a.net.g->params->count; p++)
            CU_ASSERT(equal(&a, gradient_of(a.net.g, p), &b, gradient_of(b.net.g, p), 1));
        done(&a);
        done(&b);
    }
}

static void projecting(void) {
    static const Shape2 windows[] = {{2, 2}, {3, 2}};
    for (int i = 0; i < 2; i++) {
        pool_now = windows[i];
        Result a = run_as("look", "grad"), b = run_as("look", "mask");
        CU_ASSERT_EQUAL(behind(a.net.g, OP_RELU_BWD), 4); /* gradient and guided */
        CU_ASSERT_EQUAL(behind(b.net.g, OP_RELU_BWD), 0);
        CU_ASSERT_EQUAL(behind(b.net.g, OP_RELU), i == 0 ? 0 : 4); /* sums are rectified behind */
        for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
            CU_ASSERT(equal(&a, a.net.ctx.image_diff[rule], &b, b.net.ctx.image_diff[rule], BATCH));
        done(&a);
        done(&b);
    }
}

SUITE_MAIN(TEST(training), TEST(projecting))
