/* test_spec_nets.c: the first net of every file in specs/ as mathematics (spec_net.h): a few
 * directions of its gradient; small nets compiled too.  And a net slid over an image against the
 * net on every window.  test_spec_variants.c has the rest.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "front/parse.h"
#include "ref_cases.h"
#include "ref_run.h"
#include "spec_net.h"
#include "suite.h"

static void one(const char *path, const char *net, int nth, void *bad) {
    if (nth == 0)
        *(int *)bad += spec_net(path, net, 0.05, SPEC_SMALL);
}

static void first_nets(void) {
    int bad = 0;
    CU_ASSERT_TRUE(spec_each(NULL, one, &bad) >= 60);
    CU_ASSERT_EQUAL(bad, 0);
}

/* ---- sliding ---- */

enum { H = 36, W = 32, ROWS = (H - 24) / 4, COLUMNS = (W - 24) / 4, CLASSES = 10, SIDE = 28 };

/* Scores of one image; the numbers of parameters depend on their place in the list alone. */
static void scores(const char *file, const ModelDefine *define, int ndefine, const double *image,
                   double *to, int64_t count) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    const char *root = getenv("NETC_SOURCE_DIR");
    Ast *ast =
        parse_file(a, s, d, arena_printf(a, "%s/specs/%s", root ? root : "../..", file), NULL);
    ModelOptions opt = {.sources = s, .forward_only = true, .define = define, .ndefine = ndefine};
    Model *m = ast ? model_build(a, d, ast, &opt) : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    double **param = ref_params_new(&m->params);
    for (int p = 0; p < m->params.count; p++)
        ref_fill_distinct(param[p], shape_elems(&m->params.at[p].shape), 0.1, (uint32_t)p);
    static const int32_t label[ROWS * COLUMNS];
    const ModelGraph *g = &m->mode[MODEL_FORWARD];
    RefRun r = {.g = g->graph, .n = 1, .input = {image}, .label = {label}, .param = param};
    CU_ASSERT_TRUE_FATAL(ref_run(&r));
    CU_ASSERT_EQUAL_FATAL(ref_value_elems(&r, g->score), count);
    memcpy(to, r.value[g->score], (size_t)count * sizeof *to);
    ref_run_free(&r);
    ref_params_free(param, m->params.count);
    arena_free(a);
}

static void sliding(void) {
    static double image[H * W], window[SIDE * SIDE], all[CLASSES * ROWS * COLUMNS], here[CLASSES];
    static const ModelDefine size[] = {{"H", "36"}, {"W", "32"}};
    ref_fill_distinct(image, H * W, 1, 3);
    scores("sliding.net", size, 2, image, all, CLASSES * ROWS * COLUMNS);
    for (int y = 0; y < ROWS; y++)
        for (int x = 0; x < COLUMNS; x++) {
            for (int i = 0; i < SIDE; i++)
                memcpy(window + i * SIDE, image + (4 * y + i) * W + 4 * x, SIDE * sizeof *window);
            scores("lenet.net", NULL, 0, window, here, CLASSES);
            for (int k = 0; k < CLASSES; k++)
                CU_ASSERT_DOUBLE_EQUAL(all[(k * ROWS + y) * COLUMNS + x], here[k], 1e-12);
        }
}

SUITE_MAIN(TEST(first_nets), TEST(sliding))
