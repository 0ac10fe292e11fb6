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
#include <math.h>

#include "ops/facts.h"
#include "ops/resample.h"

enum { A_UNITS, GATES = 4 };
enum { SCAN_H, SCAN_GATES, SCAN_C, SCAN_BEFORE }; /* outputs of lstm_scan */

static const AttrDesc lstm_attrs[] = {
    ATTR_INT(LstmAttrs, units, true, NULL, 1, (double)(LIMIT_DIM / GATES), "numbers it remembers"),
    {"return", AT_ENUM, offsetof(LstmAttrs, all), false, "last", "last|all", 1, 0,
     "the last step's output, a vector, or the outputs of all steps, a sequence", false},
    ATTR_BOOL(LstmAttrs, reverse, "no", "from the last step to the first"),
};
static const AttrDesc scan_attrs[] = {
    ATTR_INT(LstmAttrs, units, true, NULL, 1, (double)(LIMIT_DIM / GATES), "numbers it remembers"),
    ATTR_BOOL(LstmAttrs, reverse, "no", "from the last step to the first"),
};

/* Input i is [maps, 1, L]; returns L, 0 after a refusal. */
static int64_t steps_of(Infer *inf, int i, int64_t maps) {
    if (!infer_rank(inf, i, 3))
        return 0;
    const Shape *s = &inf->in[i];
    if (s->dim[1] != 1) {
        infer_fail(inf, "E0304", -1, i,
                   "an input f32[C, L] is a sequence; transpose(wch) makes a step of every row of "
                   "a picture [1, H, W]",
                   "the input has %lld rows, a sequence has one", (long long)s->dim[1]);
        return 0;
    }
    if (maps && s->dim[0] != maps) {
        infer_fail(inf, "E0304", -1, i, NULL, "input %d has %lld maps instead of %lld", i,
                   (long long)s->dim[0], (long long)maps);
        return 0;
    }
    return s->dim[2];
}

static bool good_units(Infer *inf) {
    const LstmAttrs *a = inf->attrs;
    if (a->units >= 1 && a->units <= LIMIT_DIM / GATES)
        return true;
    return infer_fail(inf, "E0303", A_UNITS, -1, NULL, "%lld units: must be between 1 and %lld",
                      (long long)a->units, (long long)(LIMIT_DIM / GATES));
}

static bool infer_lstm(Infer *inf) {
    const LstmAttrs *a = inf->attrs;
    int64_t elems, gates = GATES * a->units, steps;
    if (!good_units(inf) || (steps = steps_of(inf, 0, 0)) == 0)
        return false;
    Shape in = shape_of4(gates, inf->in[0].dim[0], 1, 1), back = shape_of4(gates, a->units, 1, 1);
    if (!shape_product(&in, &elems) || !shape_product(&back, &elems))
        return infer_fail(inf, "E0305", A_UNITS, -1, NULL,
                          "the weights would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    if (!infer_param(inf, 1, "the input's weight", in, NULL) ||
        !infer_param(inf, 2, "the recurrent weight", back, NULL) ||
        !infer_param(inf, 3, "the input's bias", shape_of1(gates), NULL) ||
        !infer_param(inf, 4, "the recurrent bias", shape_of1(gates), NULL))
        return false;
    return infer_out(inf, 0, a->all ? shape_of3(a->units, 1, steps) : shape_of1(a->units), DT_F32);
}

/* src [4H, 1, L], weight, bias */
static bool infer_scan(Infer *inf) {
    const LstmAttrs *a = inf->attrs;
    int64_t gates = GATES * a->units, steps;
    if (!good_units(inf) || (steps = steps_of(inf, 0, gates)) == 0 ||
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
    const LstmAttrs *a = inf->attrs;
    int64_t gates = GATES * a->units, steps;
    if (!good_units(inf) || (steps = steps_of(inf, 0, a->units)) == 0 ||
        steps_of(inf, 1, gates) != steps || steps_of(inf, 2, a->units) != steps)
        return false;
    return infer_param(inf, 3, "the recurrent weight", shape_of4(gates, a->units, 1, 1), NULL) &&
           infer_out(inf, 0, shape_of3(gates, 1, steps), DT_F32);
}

static ParamSpec matrix(const char *suffix, const LstmAttrs *a, int64_t inputs) {
    ParamSpec p = param_weight(suffix, shape_of2(GATES * a->units, inputs), inputs, a->units);
    p.split = shape_of4(GATES * a->units, inputs, 1, 1);
    p.init_b = 1 / sqrt((double)a->units);
    p.init_a = -p.init_b;
    return p;
}

static int params_lstm(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const LstmAttrs *a = attrs;
    out[0] = matrix("weight_ih_l0", a, in[0].dim[0]);
    out[1] = matrix("weight_hh_l0", a, a->units);
    out[2] = param_zero("bias_ih_l0", GATES * a->units);
    out[3] = param_zero("bias_hh_l0", GATES * a->units);
    out[2].ones_from = a->units; /* what is not forgotten is learned earlier */
    out[2].ones_to = 2 * a->units;
    return 4;
}

static ConvAttrs one_step(int64_t maps) {
    return (ConvAttrs){.maps = maps,
                       .kernel = {1, 1},
                       .stride = {1, 1},
                       .dilation = {1, 1},
                       .groups = 1,
                       .bias = true};
}

static ValueId parts_lstm(Graph *g, const void *attrs, const ValueId *in) {
    const LstmAttrs *a = attrs;
    Shape src = graph_v(g, in[0])->shape;
    ConvAttrs conv = one_step(GATES * a->units);
    ValueId gates = graph_op(g, OP_CONV2D, &conv, 3, (ValueId[]){in[0], in[1], in[3]});
    LstmAttrs scan = {.units = a->units, .reverse = a->reverse};
    ValueId h = graph_op(g, OP_LSTM_SCAN, &scan, 3, (ValueId[]){gates, in[2], in[4]});
    if (a->all)
        return h;
    ResampleAttrs last = resample_same(&graph_v(g, h)->shape);
    last.size[1] = 1;
    last.from_x = a->reverse ? 0 : src.dim[2] - 1;
    if (src.dim[2] > 1)
        h = graph_op(g, OP_RESAMPLE, &last, 1, &h);
    return graph_op(g, OP_FLATTEN, NULL, 1, &h);
}

static bool vjp_scan(Vjp *v) {
    const Node *node = vjp_node(v);
    LstmAttrs a = *(const LstmAttrs *)node->attrs;
    ValueId weights = node->in[1], dy = v->dy[SCAN_H], before = node->out[SCAN_BEFORE];
    ValueId in[4] = {dy, node->out[SCAN_GATES], node->out[SCAN_C], 0};
    if (!rule_true(v))
        return false;
    in[3] = vjp_transposed(v, weights, 1);
    ValueId dgates = graph_op(v->g, OP_LSTM_SCAN_BWD, &a, 4, in);
    v->dx[0] = v->need[0] ? dgates : 0;
    if (v->need[1]) {
        ConvAttrs conv = one_step(GATES * a.units);
        conv.src_maps = a.units;
        conv.src_size[0] = 1;
        conv.src_size[1] = graph_v(v->g, dy)->shape.dim[2];
        v->dx[1] = vjp_op2(v, OP_CONV2D_BWD_WEIGHTS, &conv, before, dgates);
    }
    if (v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dgates);
    return true;
}

/* Products with the weights; about 60 operations for a unit's five curves. */
static double flops_scan(const Graph *g, NodeId n) {
    const LstmAttrs *a = graph_n(g, n)->attrs;
    double gates = (double)(GATES * a->units);
    double steps = (double)graph_v(g, graph_n(g, n)->in[0])->shape.dim[2];
    return steps * (2 * gates + 60) * (double)a->units;
}

static double flops_lstm(const Graph *g, NodeId n) {
    const LstmAttrs *a = graph_n(g, n)->attrs;
    return flops_scan(g, n) + 2 * (double)(GATES * a->units) * value_elems(g, graph_n(g, n)->in[0]);
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
    .attr_size = sizeof(LstmAttrs),
    .attrs = lstm_attrs,
    .nattrs = COUNT_OF(lstm_attrs),
    .infer = infer_lstm,
    .params = params_lstm,
    .parts = parts_lstm,
    .vjp = vjp_parts,
    .expand = expand_parts,
    .flops = flops_lstm,
    .sees_all = true,
};

const OpDef opdef_lstm_scan = {
    .title = "the steps of lstm",
    .formula = "gates[t] = sigmoid or tanh of src[t] + weight h[t-1] + bias; c, h as lstm says",
    .doc = "Outputs: h, the gates behind their curves, c, and h of the step before.",
    .theory = "Hochreiter, Schmidhuber 1997",
    .attr_size = sizeof(LstmAttrs),
    .attrs = scan_attrs,
    .nattrs = COUNT_OF(scan_attrs),
    .infer = infer_scan,
    .vjp = vjp_scan,
    .flops = flops_scan,
    .lower = lower_lstm_scan,
    .choose = choose_lstm_scan,
    .weights = weights_lstm_scan,
};

const OpDef opdef_lstm_scan_bwd = {
    .title = "gradient of the steps of lstm",
    .formula = "diff_src[t] from diff_dst[t] + weight^T diff_src[t+1], through the curves",
    .doc = "Back-propagation through time; inputs diff_dst, gates, c and the transposed weight.",
    .theory = "Werbos 1990; Hochreiter, Schmidhuber 1997, appendix A",
    .attr_size = sizeof(LstmAttrs),
    .attrs = scan_attrs,
    .nattrs = COUNT_OF(scan_attrs),
    .infer = infer_scan_bwd,
    .flops = flops_scan,
    .lower = lower_lstm_scan_bwd,
    .choose = choose_lstm_scan,
    .weights = weights_lstm_scan,
};
