/* recur.c: facts that lstm and gru share (recur.h). */
#include "ops/recur.h"

#include <math.h>

#include "ops/resample.h"

enum { A_UNITS };

#define UNITS                                                                                      \
    ATTR_INT(RecurAttrs, units, true, NULL, 1, (double)(LIMIT_DIM / 4), "numbers it remembers")
#define REVERSE ATTR_BOOL(RecurAttrs, reverse, "no", "from the last step to the first")

const AttrDesc recur_attrs[RECUR_ATTRS] = {
    UNITS,
    {"return", AT_ENUM, offsetof(RecurAttrs, all), false, "last", "last|all", 1, 0,
     "the last step's output, a vector, or the outputs of all steps, a sequence", false},
    REVERSE,
};
const AttrDesc recur_scan_attrs[RECUR_SCAN_ATTRS] = {UNITS, REVERSE};

int64_t recur_steps(Infer *inf, int i, int64_t maps) {
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

bool recur_units(Infer *inf, int64_t gates) {
    const RecurAttrs *a = inf->attrs;
    if (a->units >= 1 && a->units <= LIMIT_DIM / gates)
        return true;
    return infer_fail(inf, "E0303", A_UNITS, -1, NULL, "%lld units: must be between 1 and %lld",
                      (long long)a->units, (long long)(LIMIT_DIM / gates));
}

bool recur_infer(Infer *inf, int64_t gates) {
    const RecurAttrs *a = inf->attrs;
    int64_t elems, steps;
    if (!recur_units(inf, gates) || (steps = recur_steps(inf, 0, 0)) == 0)
        return false;
    int64_t rows = gates * a->units;
    Shape in = shape_of4(rows, inf->in[0].dim[0], 1, 1), back = shape_of4(rows, a->units, 1, 1);
    if (!shape_product(&in, &elems) || !shape_product(&back, &elems))
        return infer_fail(inf, "E0305", A_UNITS, -1, NULL,
                          "the weights would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    if (!infer_param(inf, 1, "the input's weight", in, NULL) ||
        !infer_param(inf, 2, "the recurrent weight", back, NULL) ||
        !infer_param(inf, 3, "the input's bias", shape_of1(rows), NULL) ||
        !infer_param(inf, 4, "the recurrent bias", shape_of1(rows), NULL))
        return false;
    return infer_out(inf, 0, a->all ? shape_of3(a->units, 1, steps) : shape_of1(a->units), DT_F32);
}

/* [gates units, inputs], uniform in -/+ 1 / sqrt(units). */
static ParamSpec matrix(const char *suffix, int64_t gates, int64_t units, int64_t inputs) {
    ParamSpec p = param_weight(suffix, shape_of2(gates * units, inputs), inputs, units);
    p.split = shape_of4(gates * units, inputs, 1, 1);
    p.init_b = 1 / sqrt((double)units);
    p.init_a = -p.init_b;
    return p;
}

int recur_params(const RecurAttrs *a, int64_t gates, int64_t inputs, ParamSpec out[4]) {
    out[0] = matrix("weight_ih_l0", gates, a->units, inputs);
    out[1] = matrix("weight_hh_l0", gates, a->units, a->units);
    out[2] = param_zero("bias_ih_l0", gates * a->units);
    out[3] = param_zero("bias_hh_l0", gates * a->units);
    return 4;
}

/* Of one step. */
static ConvAttrs step_conv(int64_t maps) {
    return (ConvAttrs){.maps = maps,
                       .kernel = {1, 1},
                       .stride = {1, 1},
                       .dilation = {1, 1},
                       .groups = 1,
                       .bias = true};
}

/* h [units, 1, L] as the layer gives it: all of it, or a vector. */
static ValueId result(Graph *g, const RecurAttrs *a, ValueId h) {
    Shape steps = graph_v(g, h)->shape;
    if (a->all)
        return h;
    ResampleAttrs last = resample_same(&steps);
    last.size[1] = 1;
    last.from_x = a->reverse ? 0 : steps.dim[2] - 1;
    if (steps.dim[2] > 1)
        h = graph_op(g, OP_RESAMPLE, &last, 1, &h);
    return graph_op(g, OP_FLATTEN, NULL, 1, &h);
}

ValueId recur_parts(Graph *g, const RecurAttrs *a, int scan, int64_t gates, const ValueId *in) {
    ConvAttrs conv = step_conv(gates * a->units);
    ValueId sums = graph_op(g, OP_CONV2D, &conv, 3, (ValueId[]){in[0], in[1], in[3]});
    RecurAttrs steps = {.units = a->units, .reverse = a->reverse};
    return result(g, a, graph_op(g, scan, &steps, 3, (ValueId[]){sums, in[2], in[4]}));
}

void recur_gradients(Vjp *v, ValueId before, ValueId dsums) {
    Shape rows = graph_v(v->g, dsums)->shape, units = graph_v(v->g, before)->shape;
    ConvAttrs conv = step_conv(rows.dim[0]);
    conv.src_maps = units.dim[0];
    conv.src_size[0] = 1;
    conv.src_size[1] = units.dim[2];
    if (v->need[1])
        v->dx[1] = vjp_op2(v, OP_CONV2D_BWD_WEIGHTS, &conv, before, dsums);
    if (v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dsums);
}

double recur_flops(const Graph *g, NodeId n, int64_t gates, bool layer) {
    const RecurAttrs *a = graph_n(g, n)->attrs;
    ValueId src = graph_n(g, n)->in[0];
    double rows = (double)(gates * a->units), steps = (double)graph_v(g, src)->shape.dim[2];
    double scan = steps * (2 * rows + 60) * (double)a->units;
    return layer ? scan + 2 * rows * value_elems(g, src) : scan;
}
