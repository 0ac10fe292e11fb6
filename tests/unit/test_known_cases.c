/* test_known_cases.c: results known exactly beforehand, in the reference interpreter.
 *
 * The rectifier table of Springenberg et al. 2015 (figure 1); a whole tiny network under all three
 * projection rules; unpooling with switches; networks where the rules must coincide; homogeneity of
 * bias-free rectifier networks.
 */
#include <stdlib.h>
#include <string.h>

#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

enum { MAX_VALUES = 400 };
#define SIZE(a) ((int64_t)(sizeof(a) / sizeof((a)[0])))
static const Rule projection[3] = {RULE_GRADIENT, RULE_DECONVNET, RULE_GUIDED};
static const char *const rule_name[3] = {"gradient", "deconvnet", "guided"};

static void check_equal(const double *got, const double *want, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++) {
        if (got[i] != want[i])
            printf("  %s[%d] = %g, want %g\n", what, (int)i, got[i], want[i]);
        CU_ASSERT_EQUAL(got[i], want[i]);
    }
}

static Graph *new_graph(Arena *keep) {
    return graph_new(keep, "look", "known", ARENA_NEW(keep, ParamList));
}

static ValueId image(Graph *g, Shape s, int slot) {
    return graph_input(g, VK_INPUT, DT_F32, s, true, slot, NULL);
}

static ValueId op1(Graph *g, int op, const void *attrs, ValueId a) {
    return graph_op(g, op, attrs, 1, &a);
}

/* Projects `dy` (input slot 1) from `top` to `bottom`; returns a copy of the n numbers at bottom. */
static double *project(RefRun *r, ValueId top, ValueId dy, ValueId bottom, Rule rule) {
    Graph *g = (Graph *)r->g;
    ValueId diff[MAX_VALUES];
    CU_ASSERT_FATAL(ref_backward(g, top, dy, rule, diff, MAX_VALUES));
    CU_ASSERT_FATAL(diff[bottom] != 0);
    CU_ASSERT_FATAL(ref_run(r));
    int64_t n = ref_value_elems(r, diff[bottom]);
    double *copy = malloc((size_t)n * sizeof *copy);
    memcpy(copy, r->value[diff[bottom]], (size_t)n * sizeof *copy);
    return copy;
}

/* ---- 1: the table everyone quotes ---- */

static void rectifier_table(void) {
    static const double x[9] = {1, -1, 5, 2, -5, -7, -3, 2, 4};
    static const double signal[9] = {-2, 3, -1, 6, -3, 1, 2, -1, 3};
    static const double want[3][9] = {{-2, 0, -1, 6, 0, 0, 0, -1, 3},
                                      {0, 3, 0, 6, 0, 1, 2, 0, 3},
                                      {0, 0, 0, 6, 0, 0, 0, 0, 3}};
    for (int k = 0; k < 3; k++) {
        Arena *keep = arena_new();
        Graph *g = new_graph(keep);
        Shape s = {3, {1, 3, 3}};
        ValueId in = image(g, s, 0), y = op1(g, OP_RELU, NULL, in), dy = image(g, s, 1);
        RefRun r = {.g = g, .n = 1, .input = {x, signal}};
        double *got = project(&r, y, dy, in, projection[k]);
        check_equal(got, want[k], 9, rule_name[k]);
        free(got);
        ref_run_free(&r);
        arena_free(keep);
    }
}

/* ---- 2: a whole tiny network, all three rules different ---- */

static const double tiny_x[25] = {1, 2, 1, 0, 1, 1, 0, 2, 0, 1, 0, 0, 1,
                                  0, 2, 0, 1, 1, 1, 0, 0, 1, 1, 2, 1};
static const double tiny_w[4] = {1, -1, 2, -2}, tiny_v[4] = {1, -1, 1, 2};

static const double tiny_want[3][25] = {
    {1, -1, -1, 1, 0, 2, -2, -2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, -2, 0, 0, 0, 4, -4},
    {1, -1, 0, 0, 0, 2, -2, 0, 0, 0, 1, -1, 0, 0, 0, 2, -2, 0, 2, -2, 0, 0, 0, 4, -4},
    {1, -1, 0, 0, 0, 2, -2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, -2, 0, 0, 0, 4, -4}};

typedef struct Tiny {
    Graph *g;
    ValueId x, z, p, switches, score;
} Tiny;

static Tiny tiny_net(Arena *keep) {
    static const ConvAttrs conv = {.maps = 1, .kernel = {2, 2}, .stride = {1, 1},
                                   .dilation = {1, 1}, .groups = 1};
    static const PoolAttrs pool = {.kernel = {2, 2}, .stride = {2, 2}};
    static const DenseAttrs dense = {.units = 1};
    Tiny t = {.g = new_graph(keep)};
    t.x = image(t.g, (Shape){3, {1, 5, 5}}, 0);
    ValueId in[2] = {t.x, ref_param(t.g, "w", (Shape){4, {1, 1, 2, 2}})};
    t.z = graph_op(t.g, OP_CONV2D, &conv, 2, in);
    ValueId y = op1(t.g, OP_RELU, NULL, t.z);
    NodeId n = graph_node(t.g, OP_MAXPOOL, &pool, 1, &y);
    t.p = graph_n(t.g, n)->out[0];
    t.switches = graph_n(t.g, n)->out[1];
    ValueId top[2] = {t.p, ref_param(t.g, "v", (Shape){4, {1, 1, 2, 2}})};
    t.score = graph_op(t.g, OP_DENSE, &dense, 2, top);
    return t;
}

static void tiny_network(void) {
    static const double z[16] = {1, -3, 5, -3, 1, -4, 4, -5, -2, -1, 1, 0, -3, 0, -2, 3};
    static const double p[4] = {1, 5, 0, 3}, switches[4] = {0, 0, 0, 3}, one = 1;
    double *params[2] = {(double *)tiny_w, (double *)tiny_v};
    for (int k = 0; k < 3; k++) {
        Arena *keep = arena_new();
        Tiny t = tiny_net(keep);
        ValueId dy = image(t.g, (Shape){1, {1}}, 1);
        RefRun r = {.g = t.g, .n = 1, .input = {tiny_x, &one}, .param = params};
        double *got = project(&r, t.score, dy, t.x, projection[k]), sum = 0;
        check_equal(r.value[t.z], z, 16, "z");
        check_equal(r.value[t.p], p, 4, "p");
        check_equal(r.value[t.switches], switches, 4, "switch");
        CU_ASSERT_EQUAL(r.value[t.score][0], 2);
        check_equal(got, tiny_want[k], 25, rule_name[k]);
        for (int i = 0; i < 25; i++)
            sum += tiny_x[i] * got[i];
        if (projection[k] == RULE_GRADIENT)
            CU_ASSERT_EQUAL(sum, 2);
        free(got);
        ref_run_free(&r);
        arena_free(keep);
    }
}

/* The switches above are window cells; windows start at (0,0), (0,2), (2,0), (2,2): the maxima lie
 * at (0,0), (0,2), (2,0), (3,3).  A window of equal zeros keeps its first cell. */

/* ---- 3: unpooling ---- */

static void unpool(const PoolAttrs *a, Shape s, const double *x, const double *dy, double *out) {
    Arena *keep = arena_new();
    Graph *g = new_graph(keep);
    ValueId in = image(g, s, 0);
    NodeId n = graph_node(g, OP_MAXPOOL, a, 1, &in);
    ValueId y = graph_n(g, n)->out[0], signal = image(g, graph_v(g, y)->shape, 1);
    RefRun r = {.g = g, .n = 1, .input = {x, dy}};
    double *got = project(&r, y, signal, in, RULE_DECONVNET);
    memcpy(out, got, (size_t)shape_elems(&s) * sizeof *out);
    free(got);
    ref_run_free(&r);
    arena_free(keep);
}

static void unpooling(void) {
    static const PoolAttrs two = {.kernel = {2, 2}, .stride = {2, 2}};
    static const PoolAttrs three = {.kernel = {3, 3}, .stride = {2, 2}};
    static const double maxima[4] = {6, 8, 14, 16}, ones[4] = {1, 1, 1, 1};
    static const double ties[16] = {0}, first[4] = {1, 2, 3, 4};
    double x[25], out[25], want[25] = {0};
    for (int i = 0; i < 16; i++)
        x[i] = i + 1;
    want[5] = 6, want[7] = 8, want[13] = 14, want[15] = 16;
    unpool(&two, (Shape){3, {1, 4, 4}}, x, maxima, out);
    check_equal(out, want, 16, "unpool");

    memset(want, 0, sizeof want);
    want[0] = 1, want[2] = 2, want[8] = 3, want[10] = 4;
    unpool(&two, (Shape){3, {1, 4, 4}}, ties, first, out);
    check_equal(out, want, 16, "ties: first in scan order");

    memset(x, 0, sizeof x);
    memset(want, 0, sizeof want);
    x[12] = 9;
    want[12] = 4; /* 1 would mean that windows overwrite instead of adding */
    unpool(&three, (Shape){3, {1, 5, 5}}, x, ones, out);
    check_equal(out, want, 25, "shared switch");
}

/* ---- 5 and 6: a deeper network: conv relu pool conv relu dense, biases optional ---- */

typedef struct Deep {
    Graph *g;
    ValueId x, hidden, score; /* hidden: [4,3,3] after the second relu */
    double **params;
} Deep;

static ValueId conv_relu(Graph *g, ValueId x, int64_t maps, int64_t k, bool bias) {
    ConvAttrs a = {.maps = maps, .kernel = {k, k}, .stride = {1, 1}, .dilation = {1, 1},
                   .groups = 1, .bias = bias};
    int64_t c = graph_v(g, x)->shape.dim[0];
    ValueId in[3] = {x, ref_param(g, "w", (Shape){4, {maps, c, k, k}}), 0};
    if (bias)
        in[2] = ref_param(g, "b", (Shape){1, {maps}});
    return op1(g, OP_RELU, NULL, graph_op(g, OP_CONV2D, &a, bias ? 3 : 2, in));
}

static Deep deep_net(Arena *keep, bool bias, int lo, int hi) {
    static const PoolAttrs pool = {.kernel = {3, 3}, .stride = {2, 2}};
    Deep d = {.g = new_graph(keep)};
    DenseAttrs dense = {.units = 5, .bias = bias};
    d.x = image(d.g, (Shape){3, {2, 13, 13}}, 0);
    ValueId y = op1(d.g, OP_MAXPOOL, &pool, conv_relu(d.g, d.x, 3, 3, bias));
    d.hidden = conv_relu(d.g, y, 4, 3, bias);
    ValueId in[3] = {d.hidden, ref_param(d.g, "w", (Shape){4, {5, 4, 3, 3}}), 0};
    if (bias)
        in[2] = ref_param(d.g, "b", (Shape){1, {5}});
    d.score = graph_op(d.g, OP_DENSE, &dense, bias ? 3 : 2, in);
    d.params = ref_params_new(d.g->params);
    for (int p = 0; p < d.g->params->count; p++)
        ref_fill_int(d.params[p], shape_elems(&d.g->params->at[p].shape), lo, hi, (uint32_t)p + 1);
    return d;
}

static double *deep_project(Arena *keep, bool bias, int lo, int hi, const double *x,
                            const double *dy, bool from_hidden, Rule rule, double score[5]) {
    Deep d = deep_net(keep, bias, lo, hi);
    ValueId top = from_hidden ? d.hidden : d.score;
    ValueId signal = image(d.g, graph_v(d.g, top)->shape, 1);
    RefRun r = {.g = d.g, .n = 1, .input = {x, dy}, .param = d.params};
    double *got = project(&r, top, signal, d.x, rule);
    if (score)
        memcpy(score, r.value[d.score], 5 * sizeof *score);
    ref_run_free(&r);
    ref_params_free(d.params, d.g->params->count);
    return got;
}

static void positive_networks_agree(void) {
    double x[2 * 13 * 13], dy[5] = {0, 0, 1, 0, 0}, *got[3];
    Arena *keep = arena_new();
    ref_fill_int(x, SIZE(x), 0, 9, 11);
    for (int k = 0; k < 3; k++)
        got[k] = deep_project(keep, true, 0, 5, x, dy, false, projection[k], NULL);
    CU_ASSERT(memcmp(got[0], got[1], sizeof x) == 0);
    CU_ASSERT(memcmp(got[0], got[2], sizeof x) == 0);
    for (int k = 0; k < 3; k++)
        free(got[k]);
    arena_free(keep);
}

static void zero_seed_and_receptive_field(void) {
    double x[2 * 13 * 13], dy[4 * 9];
    Arena *keep = arena_new();
    ref_fill_distinct(x, SIZE(x), 3, 12);
    for (int k = 0; k < 3; k++) {
        memset(dy, 0, sizeof dy);
        double *got = deep_project(keep, true, -3, 3, x, dy, true, projection[k], NULL);
        for (int64_t i = 0; i < SIZE(x); i++)
            CU_ASSERT_EQUAL(got[i], 0);
        free(got);
        /* unit (1, 2) of map 2: 3x3 conv over 3x3/2 pool over 3x3 conv: size 9, jump 2 */
        dy[2 * 9 + 1 * 3 + 2] = 1;
        got = deep_project(keep, true, -3, 3, x, dy, true, projection[k], NULL);
        for (int64_t i = 0; i < SIZE(x); i++) {
            int64_t row = i / 13 % 13, col = i % 13;
            if (row < 2 || row > 10 || col < 4 || col > 12)
                CU_ASSERT_EQUAL(got[i], 0);
        }
        free(got);
    }
    arena_free(keep);
}

/* No biases: s is homogeneous, so sum of x * ds/dx = s; doubling x doubles s, keeps the gradient. */
static void bias_free_networks_are_homogeneous(void) {
    double x[2 * 13 * 13], twice[2 * 13 * 13], dy[5] = {0}, score[5], score2[5], sum = 0;
    Arena *keep = arena_new();
    ref_fill_int(x, SIZE(x), -9, 9, 13);
    for (int64_t i = 0; i < SIZE(x); i++)
        twice[i] = 2 * x[i];
    dy[3] = 1;
    double *a = deep_project(keep, false, -3, 3, x, dy, false, RULE_GRADIENT, score);
    double *b = deep_project(keep, false, -3, 3, twice, dy, false, RULE_GRADIENT, score2);
    for (int64_t i = 0; i < SIZE(x); i++)
        sum += x[i] * a[i];
    CU_ASSERT(score[3] != 0);
    CU_ASSERT_EQUAL(sum, score[3]); /* integers: exact */
    CU_ASSERT_EQUAL(score2[3], 2 * score[3]);
    CU_ASSERT(memcmp(a, b, sizeof x) == 0);
    free(a);
    free(b);
    arena_free(keep);
}

/* ---- the rules themselves ---- */

static bool rule_exists(int op, const void *attrs, Shape s, Rule rule, bool *identity) {
    Arena *keep = arena_new();
    Graph *g = new_graph(keep);
    ValueId in = image(g, s, 0), y = op1(g, op, attrs, in), diff[MAX_VALUES];
    ValueId dy = image(g, graph_v(g, y)->shape, 1);
    bool ok = ref_backward(g, y, dy, rule, diff, MAX_VALUES);
    *identity = ok && diff[in] == dy;
    arena_free(keep);
    return ok;
}

static void rules_of_single_operators(void) {
    static const int refusing[] = {OP_TANH, OP_STANH, OP_SIGMOID, OP_SOFTMAX};
    static const NormAttrs norm = {5, 2, 1e-4, 0.75, 0, NORM_ACROSS, false};
    static const DropoutAttrs drop = {.rate = 0.5, .infer = true};
    Shape s = {3, {6, 2, 2}};
    bool identity;
    for (int k = 0; k < 4; k++) {
        CU_ASSERT(rule_exists(refusing[k], NULL, s, RULE_TRAIN, &identity) && !identity);
        CU_ASSERT(rule_exists(refusing[k], NULL, s, RULE_GRADIENT, &identity) && !identity);
        CU_ASSERT(!rule_exists(refusing[k], NULL, s, RULE_DECONVNET, &identity));
        CU_ASSERT(!rule_exists(refusing[k], NULL, s, RULE_GUIDED, &identity));
    }
    for (int op = OP_LRN; op <= OP_LCN; op += OP_LCN - OP_LRN) {
        CU_ASSERT(rule_exists(op, &norm, s, RULE_GRADIENT, &identity) && !identity);
        CU_ASSERT(rule_exists(op, &norm, s, RULE_GUIDED, &identity) && !identity);
        CU_ASSERT(rule_exists(op, &norm, s, RULE_DECONVNET, &identity) && identity);
    }
    for (int k = 0; k < 3; k++)
        CU_ASSERT(rule_exists(OP_DROPOUT, &drop, s, projection[k], &identity) && identity);
}

SUITE_MAIN(TEST(rectifier_table), TEST(tiny_network), TEST(unpooling),
           TEST(positive_networks_agree), TEST(zero_seed_and_receptive_field),
           TEST(bias_free_networks_are_homogeneous), TEST(rules_of_single_operators))
