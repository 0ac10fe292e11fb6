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

ParamSpec recur_matrix(const char *suffix, int64_t gates, int64_t units, int64_t inputs) {
    ParamSpec p = param_weight(suffix, shape_of2(gates * units, inputs), inputs, units);
    p.split = shape_of4(gates * units, inputs, 1, 1);
    p.init_b = 1 / sqrt((double)units);
    p.init_a = -p.init_b;
    return p;
}

ConvAttrs recur_conv(int64_t maps) {
    return (ConvAttrs){.maps = maps,
                       .kernel = {1, 1},
                       .stride = {1, 1},
                       .dilation = {1, 1},
                       .groups = 1,
                       .bias = true};
}

ValueId recur_result(Graph *g, const RecurAttrs *a, ValueId h) {
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

double recur_flops(const Graph *g, NodeId n, int64_t gates, bool layer) {
    const RecurAttrs *a = graph_n(g, n)->attrs;
    ValueId src = graph_n(g, n)->in[0];
    double rows = (double)(gates * a->units), steps = (double)graph_v(g, src)->shape.dim[2];
    double scan = steps * (2 * rows + 60) * (double)a->units;
    return layer ? scan + 2 * rows * value_elems(g, src) : scan;
}
