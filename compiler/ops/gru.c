/* gru.c: gated recurrent unit over a sequence [C, 1, L] (facts; code in gru_lower.c).
 *
 * A composite like lstm (recur.h).  The recurrent product enters the new value behind the reset
 * gate, r (W h + b), as in PyTorch, not W (r h) + b as in the first paper: so all three gates need
 * one product per step.  Gates stand in PyTorch's order: reset, update, new.  gru_scan also stores
 * that product, as a fourth gate.  Backward, gru_scan_bwd gives two gradients: of what the input
 * adds to the gates, and of the recurrent sums, which differ by r in the third part.
 * theory: Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio 2014, section 2.3;
 * Chung, Gulcehre, Cho, Bengio 2014, section 3.2.
 */
#include "ops/recur.h"

enum { GATES = 3, KEPT = 4 };
enum { SCAN_H, SCAN_GATES, SCAN_BEFORE }; /* outputs of gru_scan */

static bool infer_gru(Infer *inf) {
    return recur_infer(inf, GATES);
}

/* src [3H, 1, L], weight, bias */
static bool infer_scan(Infer *inf) {
    const RecurAttrs *a = inf->attrs;
    int64_t steps;
    if (!recur_units(inf, KEPT) || (steps = recur_steps(inf, 0, GATES * a->units)) == 0)
        return false;
    int64_t rows = GATES * a->units;
    return infer_param(inf, 1, "the recurrent weight", shape_of4(rows, a->units, 1, 1), NULL) &&
           infer_param(inf, 2, "the recurrent bias", shape_of1(rows), NULL) &&
           infer_out(inf, SCAN_H, shape_of3(a->units, 1, steps), DT_F32) &&
           infer_out(inf, SCAN_GATES, shape_of3(KEPT * a->units, 1, steps), DT_F32) &&
           infer_out(inf, SCAN_BEFORE, shape_of3(a->units, 1, steps), DT_F32);
}

/* diff_dst, gates, h of the step before, transposed weight */
static bool infer_scan_bwd(Infer *inf) {
    const RecurAttrs *a = inf->attrs;
    int64_t steps;
    if (!recur_units(inf, KEPT) || (steps = recur_steps(inf, 0, a->units)) == 0 ||
        recur_steps(inf, 1, KEPT * a->units) != steps || recur_steps(inf, 2, a->units) != steps)
        return false;
    int64_t rows = GATES * a->units;
    return infer_param(inf, 3, "the recurrent weight", shape_of4(rows, a->units, 1, 1), NULL) &&
           infer_out(inf, 0, shape_of3(rows, 1, steps), DT_F32) &&
           infer_out(inf, 1, shape_of3(rows, 1, steps), DT_F32);
}

static int params_gru(const void *attrs, const Shape *in, ParamSpec out[4]) {
    return recur_params(attrs, GATES, in[0].dim[0], out);
}

static ValueId parts_gru(Graph *g, const void *attrs, const ValueId *in) {
    return recur_parts(g, attrs, OP_GRU_SCAN, GATES, in);
}

static bool vjp_scan(Vjp *v) {
    const Node *node = vjp_node(v);
    RecurAttrs a = *(const RecurAttrs *)node->attrs;
    ValueId weights = node->in[1], dy = v->dy[SCAN_H], before = node->out[SCAN_BEFORE];
    ValueId in[4] = {dy, node->out[SCAN_GATES], before, 0};
    if (!rule_true(v))
        return false;
    in[3] = vjp_transposed(v, weights, 1);
    ValueId dgates = graph_op(v->g, OP_GRU_SCAN_BWD, &a, 4, in);
    ValueId dsums = graph_n(v->g, graph_v(v->g, dgates)->def)->out[1];
    v->dx[0] = v->need[0] ? dgates : 0;
    recur_gradients(v, before, dsums);
    return true;
}

static double flops_scan(const Graph *g, NodeId n) {
    return recur_flops(g, n, GATES, false);
}

static double flops_gru(const Graph *g, NodeId n) {
    return recur_flops(g, n, GATES, true);
}

const OpDef opdef_gru = {
    .title = "gated recurrent unit",
    .formula = "r, z = sigmoid of weight_ih x[t] + bias_ih + weight_hh h[t-1] + bias_hh; "
               "n = tanh(weight_ih x[t] + bias_ih + r (weight_hh h[t-1] + bias_hh));  "
               "h[t] = (1 - z) n + z h[t-1]",
    .doc =
        "Walks through a sequence [C, L] step by step, from h = 0, as lstm does, with three gates "
        "instead of four and no memory beside h.  return and reverse are those of lstm.  "
        "Parameters, with names, order of gates (r, z, n) and shapes of PyTorch: weight_ih_l0 [3 "
        "units, C], weight_hh_l0 [3 units, units], uniform in -/+ 1 / sqrt(units), bias_ih_l0 "
        "and bias_hh_l0 [3 units], zero; bias_init concerns both.  r acts behind the recurrent "
        "product (Keras: reset_after, ONNX: linear_before_reset = 1).  The deconvnet and guided "
        "rules do not exist for it.",
    .theory = "Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio 2014, section "
              "2.3; Chung, Gulcehre, Cho, Bengio 2014, section 3.2",
    .attr_size = sizeof(RecurAttrs),
    .attrs = recur_attrs,
    .nattrs = RECUR_ATTRS,
    .infer = infer_gru,
    .params = params_gru,
    .parts = parts_gru,
    .vjp = vjp_parts,
    .expand = expand_parts,
    .flops = flops_gru,
    .sees_all = true,
    .recurrent = true,
};

const OpDef opdef_gru_scan = {
    .title = "the steps of gru",
    .formula =
        "r, z, n of src[t] and m = weight h[t-1] + bias as gru says; h[t] = (1 - z) n + z h[t-1]",
    .doc =
        "Outputs: h, the gates r, z, n behind their curves and the third part of m, and h of the "
        "step before.",
    .theory = "Cho et al. 2014, section 2.3",
    .attr_size = sizeof(RecurAttrs),
    .attrs = recur_scan_attrs,
    .nattrs = RECUR_SCAN_ATTRS,
    .infer = infer_scan,
    .vjp = vjp_scan,
    .flops = flops_scan,
    .lower = lower_gru_scan,
    .choose = choose_scan,
    .weights = weights_scan,
};

const OpDef opdef_gru_scan_bwd = {
    .title = "gradient of the steps of gru",
    .formula =
        "diff_src[t], diff_sums[t] from diff_dst[t] + z diff_h[t+1] + weight^T diff_sums[t+1]",
    .doc = "Back-propagation through time; inputs diff_dst, gates, h of the step before and the "
           "transposed weight.",
    .theory = "Werbos 1990; Cho et al. 2014, section 2.3",
    .attr_size = sizeof(RecurAttrs),
    .attrs = recur_scan_attrs,
    .nattrs = RECUR_SCAN_ATTRS,
    .infer = infer_scan_bwd,
    .flops = flops_scan,
    .lower = lower_gru_scan_bwd,
    .choose = choose_scan,
    .weights = weights_scan,
};
