/* test_params.c: parameters that come from elsewhere, and nets whose answers are known by hand.
 *
 * XOR and |x| folds by the reference interpreter; the weights of a dense layer read as a
 * convolution; tied and computed weights have no numbers of their own; filter banks; refusals.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>

#include "front/model.h"
#include "front/parse.h"
#include "passes/passes.h"
#include "ref_run.h"
#include "suite.h"

typedef struct Net {
    Arena *arena;
    DiagCtx *diag;
    Model *m;
} Net;

static Net finish(Arena *a, Sources *s, DiagCtx *d, Ast *ast, const char *net) {
    ModelOptions opt = {.net = net, .sources = s, .forward_only = true};
    return (Net){a, d, ast ? model_build(a, d, ast, &opt) : NULL};
}

static Net from_spec(const char *file, const char *net) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    const char *root = getenv("NETC_SOURCE_DIR");
    const char *path = arena_printf(a, "%s/specs/%s", root ? root : "../..", file);
    Net n = finish(a, s, d, parse_file(a, s, d, path, NULL), net);
    if (!n.m)
        diag_render(d, stderr, DIAG_TEXT, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(n.m);
    return n;
}

static Net from_text(const char *text) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    return finish(a, s, d, parse_text(a, s, d, "t.net", text, strlen(text), NULL), NULL);
}

/* The code of the first mistake of a net with an image 1x8x8, a class of 3 and these statements. */
static const char *refused(const char *body) {
    static char code[16];
    char *text;
    if (asprintf(&text,
                 "net N {\n input image: f32[1, 8, 8]\n input y: class[3]\n%s\n"
                 " fc: dense(3)\n loss ce: cross_entropy(fc, y)\n}\n",
                 body) < 0)
        return "no memory";
    Net n = from_text(text);
    int count;
    Diag *const *all = diag_sorted(n.diag, &count);
    snprintf(code, sizeof code, "%s", n.m || count == 0 ? "" : all[0]->code);
    free(text);
    arena_free(n.arena);
    return code;
}

static const Param *param(const Model *m, const char *name) {
    for (int i = 0; i < m->params.count; i++)
        if (strcmp(m->params.at[i].name, name) == 0)
            return &m->params.at[i];
    return NULL;
}

/* ---- known answers ---- */

static void run(const Net *n, int64_t images, const double *x, const int32_t *y, const char *value,
                double *out) {
    const ModelGraph *g = &n->m->mode[MODEL_FORWARD];
    double **params = ref_params_new(&n->m->params);
    RefRun r = {.g = g->graph, .n = images, .input = {x}, .label = {y}, .param = params};
    CU_ASSERT_TRUE_FATAL(ref_run(&r));
    ValueId v = graph_find(g->graph, value);
    CU_ASSERT_NOT_EQUAL_FATAL(v, 0);
    memcpy(out, r.value[v], (size_t)ref_value_elems(&r, v) * sizeof *out);
    ref_run_free(&r);
    ref_params_free(params, n->m->params.count);
}

static void xor_is_right(void) {
    static const double x[8] = {0, 0, 0, 1, 1, 0, 1, 1};
    static const int32_t y[4] = {0, 1, 1, 0};
    double s[8];
    Net n = from_spec("xor.net", "XOR");
    run(&n, 4, x, y, "s", s);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_DOUBLE_EQUAL(s[2 * i + 1] - s[2 * i], 2 * (y[i] - 0.5), 1e-12);
    }
    arena_free(n.arena);
}

/* Each fold maps four points of the plane onto one. */
static void folds(void) {
    static const double x[8] = {0.75, 2, -0.75, 2, 0.75, -2, -0.75, -2};
    static const int32_t y[4] = {0};
    double g[8];
    Net n = from_spec("xor.net", "Fold");
    run(&n, 4, x, y, "g1", g);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_DOUBLE_EQUAL(g[2 * i], 0.25, 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(g[2 * i + 1], 1.5, 1e-12);
    }
    arena_free(n.arena);
}

/* Weights of a layer that reads `transpose(a.weight)` are those of a, the other way round. */
static void tied_by_hand(void) {
    static const double x[3] = {1, 2, 3};
    static const int32_t y[1] = {0};
    double a[2], b[3];
    Net n = from_text("net T {\n input x: f32[3]\n input y: class[3]\n"
                      " a: dense(2, init = [[1, 2, 3], [4, 5, 6]])\n"
                      " b: dense(3, weight = transpose(a.weight))\n"
                      " loss ce: cross_entropy(b, y)\n}\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(n.m);
    CU_ASSERT_EQUAL(n.m->trainable, 6 + 2 + 3);
    run(&n, 1, x, y, "a", a);
    run(&n, 1, x, y, "b", b);
    CU_ASSERT_DOUBLE_EQUAL(a[0], 14, 0);
    CU_ASSERT_DOUBLE_EQUAL(a[1], 32, 0);
    CU_ASSERT_DOUBLE_EQUAL(b[0], 1 * 14 + 4 * 32, 0);
    CU_ASSERT_DOUBLE_EQUAL(b[1], 2 * 14 + 5 * 32, 0);
    CU_ASSERT_DOUBLE_EQUAL(b[2], 3 * 14 + 6 * 32, 0);
    arena_free(n.arena);
}

/* ---- reuse ---- */

static void dense_as_convolution(void) {
    Net n = from_spec("fcn.net", "FCN8s");
    const Param *fc6 = param(n.m, "fc6.weight"), *fc7 = param(n.m, "fc7.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(fc6);
    CU_ASSERT_PTR_NOT_NULL_FATAL(fc7);
    CU_ASSERT_EQUAL(fc6->shape.rank, 2); /* as VGG-16's weights file has it */
    CU_ASSERT_EQUAL(fc6->shape.dim[1], 25088);
    CU_ASSERT_EQUAL(fc6->split.rank, 4);
    CU_ASSERT_EQUAL(fc6->split.dim[2], 7);
    CU_ASSERT_EQUAL(fc7->shape.rank, 2);
    CU_ASSERT_PTR_NOT_NULL(param(n.m, "s1.c.1.weight"));
    arena_free(n.arena);
}

static void wrong_counts(void) {
    const char *net = "net A {\n input image: f32[2, 6, 6]\n input y: class[3]\n"
                      " f: dense(4) -> relu\n g: dense(3)\n loss ce: cross_entropy(g, y)\n}\n"
                      "net B extends A {\n replace f with conv(4, %s, reuse = f) -> relu\n}\n";
    for (int wrong = 0; wrong < 2; wrong++) {
        char text[400];
        snprintf(text, sizeof text, net, wrong ? "5x5" : "6x6");
        Net n = from_text(text);
        CU_ASSERT_EQUAL(n.m == NULL, wrong);
        arena_free(n.arena);
    }
}

/* ---- banks and refusals ---- */

static void banks(void) {
    Net n = from_spec("gabor.net", "Gabor");
    const Param *g = param(n.m, "g.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    CU_ASSERT_TRUE(g->frozen);
    for (int o = 0; o < 16; o++) {
        double sum = 0, length = 0;
        for (int k = 0; k < 121; k++) {
            double w = (double)g->table[o * 121 + k];
            sum += w;
            length += w * w;
        }
        CU_ASSERT_DOUBLE_EQUAL(sum, 0, 1e-5);
        CU_ASSERT_DOUBLE_EQUAL(length, 1, 1e-5);
    }
    arena_free(n.arena);
    n = from_spec("gabor.net", "Wavelet"); /* orthogonal: lengths 1, products 0 */
    const float *w = param(n.m, "w1.weight")->table;
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++) {
            double dot = 0;
            for (int k = 0; k < 64; k++)
                dot += (double)w[a * 64 + k] * (double)w[b * 64 + k];
            CU_ASSERT_DOUBLE_EQUAL(dot, a == b, 1e-5);
        }
    arena_free(n.arena);
    n = from_spec("fcn.net", "FCN32s"); /* each output pixel is a mean of its neighbours */
    const Param *up = param(n.m, "up.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(up);
    double sum = 0;
    for (int64_t k = 0; k < 64 * 64; k++)
        sum += (double)up->table[k];
    CU_ASSERT_DOUBLE_EQUAL(sum, 32 * 32, 1e-2);
    arena_free(n.arena);
}

static void refusals(void) {
    CU_ASSERT_STRING_EQUAL(refused(""), "");
    CU_ASSERT_STRING_EQUAL(refused(" c: conv(2, 3x3, weight = image)"), "E0312");
    CU_ASSERT_STRING_EQUAL(refused(" param w: f32[17] = 0\n c: image -> conv(2, 3x3, weight = w)"),
                           "E0312");
    CU_ASSERT_STRING_EQUAL(refused(" param w: f32[18] = 0\n c: image -> conv(2, 3x3, weight = w)"),
                           "");
    CU_ASSERT_STRING_EQUAL(refused(" param w: f32[4] = 0\n c: w -> maxpool(2x2)"), "E0122");
    CU_ASSERT_STRING_EQUAL(refused(" c: conv(2, 3x3, reuse = nobody)"), "E0114");
    CU_ASSERT_STRING_EQUAL(refused(" input z: f32[1, dim(H), 8]\n c: image -> relu"), "E0110");
    CU_ASSERT_STRING_EQUAL(
        refused(" input z: f32[1, dim(H, multiple = 32, default = 40), 8]\n c: image -> relu"),
        "E0303");
    CU_ASSERT_STRING_EQUAL(refused(" c: deconv(2, 3x3, pad = 9)"), "E0307");
    CU_ASSERT_STRING_EQUAL(refused(" c: deconv(2, 3x3, stride = 2, output_pad = 2)"), "E0303");
}

SUITE_MAIN(TEST(xor_is_right), TEST(folds), TEST(tied_by_hand), TEST(dense_as_convolution),
           TEST(wrong_counts), TEST(banks), TEST(refusals))
