/* lstm.c: long short-term memory over a sequence [C, 1, L] (facts; code in lstm_lower.c).
 *
 * The layer is a composite: a 1x1 convolution makes the inputs' share of all gates of all steps at
 * once, `lstm_scan` walks through time, and return = last takes its last step.  Gates stand in
 * PyTorch's order: input, forget, cell, output; so do the four parameters, whose names end in _l0
 * there too.  Backward, lstm_scan_bwd walks the other way with the transposed weights; the weights'
 * gradient is that of a 1x1 convolution from the steps' earlier outputs to the gates' gradient.
 * theory: Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000 (forget gate);
 * Jozefowicz, Zaremba, Sutskever 2015 (its bias begins as 1).
 */
#include "ops/recur.h"

enum { GATES = 4 };
enum { SCAN_H, SCAN_GATES, SCAN_C, SCAN_BEFORE }; /* outputs of lstm_scan */

static bool infer_lstm(Infer *inf) {
    return recur_infer(inf, GATES);
}

/* src [4H, 1, L], weight, bias */
static bool infer_scan(Infer *inf) {
    const RecurAttrs *a = inf->attrs;
    int64_t gates = GATES * a->units, steps;
    if (!recur_units(inf, GATES) || (steps = recur_steps(inf, 0, gates)) == 0 ||
        !infer_param(inf, 1, "the recurrent weight", shape_of4(gates, a->units, 1, 1), NULL) ||
        !infer_param(inf, 2, "the recurrent bias", shape_of1(gates), NULL))
        return false;
    for (int k = 0; k < 4; k++)
        if (!infer_out(inf, k, shape_of3(k == SCAN_GATES ? gates : a->units, 1, steps), DT_F32))
            return false;
    return true;
}

/* diff_dst, gates, c, transposed weight */
static bool infer_scan_bwd(Infer *inf) {
    const RecurAttrs *a = inf->attrs;
    int64_t gates = GATES * a->units, steps;
    if (!recur_units(inf, GATES) || (steps = recur_steps(inf, 0, a->units)) == 0 ||
        recur_steps(inf, 1, gates) != steps || recur_steps(inf, 2, a->units) != steps)
        return false;
    return infer_param(inf, 3, "the recurrent weight", shape_of4(gates, a->units, 1, 1), NULL) &&
           infer_out(inf, 0, shape_of3(gates, 1, steps), DT_F32);
}

static int params_lstm(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const RecurAttrs *a = attrs;
    recur_params(a, GATES, in[0].dim[0], out);
    out[2].ones_from = a->units; /* what is not forgotten is learned earlier */
    out[2].ones_to = 2 * a->units;
    return 4;
}

static ValueId parts_lstm(Graph *g, const void *attrs, const ValueId *in) {
    return recur_parts(g, attrs, OP_LSTM_SCAN, GATES, in);
}

static bool vjp_scan(Vjp *v) {
    const Node *node = vjp_node(v);
    RecurAttrs a = *(const RecurAttrs *)node->attrs;
    ValueId weights = node->in[1], dy = v->dy[SCAN_H], before = node->out[SCAN_BEFORE];
    ValueId in[4] = {dy, node->out[SCAN_GATES], node->out[SCAN_C], 0};
    if (!rule_true(v))
        return false;
    in[3] = vjp_transposed(v, weights, 1);
    ValueId dgates = graph_op(v->g, OP_LSTM_SCAN_BWD, &a, 4, in);
    v->dx[0] = v->need[0] ? dgates : 0;
    recur_gradients(v, before, dgates);
    return true;
}

static double flops_scan(const Graph *g, NodeId n) {
    return recur_flops(g, n, GATES, false);
}

static double flops_lstm(const Graph *g, NodeId n) {
    return recur_flops(g, n, GATES, true);
}

const OpDef opdef_lstm = {
    .title = "long short-term memory",
    .formula = "i, f, o = sigmoid, g = tanh of weight_ih x[t] + bias_ih + weight_hh h[t-1] + "
               "bias_hh;  c[t] = f c[t-1] + i g;  h[t] = o tanh(c[t])",
    .doc = "Walks through a sequence [C, L] step by step, from h = c = 0, and gives h: the last "
           "one as a vector, or with return = all every one, as a sequence [units, L]; those can "
           "be read by another lstm.  reverse = yes begins at the end; [lstm(n), lstm(n, reverse "
           "= yes)] -> concat reads both ways.  Parameters, with names, order of gates (i, f, g, "
           "o) and shapes of PyTorch: weight_ih_l0 [4 units, C], weight_hh_l0 [4 units, units], "
           "uniform in -/+ 1 / sqrt(units), bias_ih_l0 and bias_hh_l0 [4 units], zero but for the "
           "forget gate's part of bias_ih_l0, which is 1; bias_init concerns both.  Long "
           "sequences want train { clip = norm(1) }.  The deconvnet and guided rules do not exist "
           "for it.",
    .theory = "Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000; Jozefowicz, Zaremba, "
              "Sutskever 2015, section 4.2 (bias of the forget gate)",
    .attr_size = sizeof(RecurAttrs),
    .attrs = recur_attrs,
    .nattrs = RECUR_ATTRS,
    .infer = infer_lstm,
    .params = params_lstm,
    .parts = parts_lstm,
    .vjp = vjp_parts,
    .expand = expand_parts,
    .flops = flops_lstm,
    .sees_all = true,
    .recurrent = true,
};

const OpDef opdef_lstm_scan = {
    .title = "the steps of lstm",
    .formula = "gates[t] = sigmoid or tanh of src[t] + weight h[t-1] + bias; c, h as lstm says",
    .doc = "Outputs: h, the gates behind their curves, c, and h of the step before.",
    .theory = "Hochreiter, Schmidhuber 1997",
    .attr_size = sizeof(RecurAttrs),
    .attrs = recur_scan_attrs,
    .nattrs = RECUR_SCAN_ATTRS,
    .infer = infer_scan,
    .vjp = vjp_scan,
    .flops = flops_scan,
    .lower = lower_lstm_scan,
    .choose = choose_scan,
    .weights = weights_scan,
};

const OpDef opdef_lstm_scan_bwd = {
    .title = "gradient of the steps of lstm",
    .formula = "diff_src[t] from diff_dst[t] + weight^T diff_src[t+1], through the curves",
    .doc = "Back-propagation through time; inputs diff_dst, gates, c and the transposed weight.",
    .theory = "Werbos 1990; Hochreiter, Schmidhuber 1997, appendix A",
    .attr_size = sizeof(RecurAttrs),
    .attrs = recur_scan_attrs,
    .nattrs = RECUR_SCAN_ATTRS,
    .infer = infer_scan_bwd,
    .flops = flops_scan,
    .lower = lower_lstm_scan_bwd,
    .choose = choose_scan,
    .weights = weights_scan,
};
