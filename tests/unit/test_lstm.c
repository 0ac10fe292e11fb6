/* test_lstm.c: the references of lstm and gru, and what reverse mode makes of them, against PyTorch
 * (lstm_vectors.h): outputs of all steps, gradients of input and parameters, both ways in time.
 * Compiled code is held against the reference in test_ops_compiled.
 */
#include <math.h>
#include <string.h>

#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "suite.h"

#include "lstm_vectors.h"

enum { NVECTORS = sizeof vectors / sizeof *vectors };

static void close_to(const double *have, const double *want, int n, const char *what) {
    double worst = 0;
    for (int i = 0; i < n; i++)
        worst = fmax(worst, fabs(have[i] - want[i]));
    if (worst > 1e-12)
        printf("%s differs by %g\n", what, worst);
    CU_ASSERT_TRUE(worst <= 1e-12);
}

static void pytorch(void) {
    for (int k = 0; k < NVECTORS; k++) {
        const Vector *v = &vectors[k];
        Arena *keep = arena_new();
        ParamList params = {0};
        Graph *g = graph_new(keep, "case", "lstm", &params);
        RecurAttrs a = {.units = H, .all = 1, .reverse = v->reverse};
        int rows = v->op == OP_GRU ? 3 * H : GATES;
        Shape src = {3, {C, 1, L}}, dst = {3, {H, 1, L}}, ih = {4, {rows, C, 1, 1}};
        Shape hh = {4, {rows, H, 1, 1}}, bias = {1, {rows}};
        ValueId in[5] = {graph_input(g, VK_INPUT, DT_F32, src, true, 0, NULL),
                         ref_param(g, "weight_ih_l0", ih), ref_param(g, "weight_hh_l0", hh),
                         ref_param(g, "bias_ih_l0", bias), ref_param(g, "bias_hh_l0", bias)};
        ValueId dy = graph_input(g, VK_INPUT, DT_F32, dst, true, 1, NULL), diff[512] = {0};
        ValueId y = graph_op(g, v->op, &a, 5, in);
        CU_ASSERT_TRUE_FATAL(ref_backward(g, y, dy, RULE_TRAIN, diff, 512));
        graph_toposort(g);
        double *const param[] = {(double *)v->weight_ih, (double *)v->weight_hh,
                                 (double *)v->bias_ih, (double *)v->bias_hh};
        RefRun r = {.g = g, .n = N, .input = {v->x, v->dy}, .param = param};
        CU_ASSERT_TRUE_FATAL(ref_run(&r));
        close_to(r.value[y], v->y, N * H * L, "output");
        close_to(r.value[diff[in[0]]], v->dx, N * C * L, "gradient of the input");
        close_to(r.value[diff[in[1]]], v->dweight_ih, rows * C, "gradient of weight_ih");
        close_to(r.value[diff[in[2]]], v->dweight_hh, rows * H, "gradient of weight_hh");
        close_to(r.value[diff[in[3]]], v->dbias_ih, rows, "gradient of bias_ih");
        close_to(r.value[diff[in[4]]], v->dbias_hh, rows, "gradient of bias_hh");
        ref_run_free(&r);
        arena_free(keep);
    }
}

SUITE_MAIN(TEST(pytorch))
