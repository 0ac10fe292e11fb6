/* pool_global.c: means and maxima over whole maps or along one axis (facts; code: pools, resample).
 *
 * All are pools whose window is as large as what they run over.  A maximum over more than 256 cells
 * is a chain of pools, columns first, so that a switch fits a byte; the winner is still the first
 * one in scan order.  A mean over maps is a resample; for a maximum over maps, maps become columns.
 * theory: Lin, Chen, Yan 2014, section 3.2; Collobert et al. 2011, section 3.3 (max over time).
 */
#include <string.h>

#include "ops/facts.h"
#include "ops/resample.h"

static const AttrDesc axis_attrs[] = {
    {"axis", AT_ENUM, offsetof(AxisAttrs, axis), true, "time", "time|height|width|maps", 1, 0,
     "what to run over: rows and columns (time), rows, columns or maps", false},
};
/* Extents of the window, from the axis. */
static void run_over(int axis, const Shape *s, int64_t window[2]) {
    window[0] = axis == AXIS_WIDTH ? 1 : s->dim[1];
    window[1] = axis == AXIS_HEIGHT ? 1 : s->dim[2];
}

static bool infer_axis(Infer *inf, int axis) {
    int64_t w[2];
    if (!infer_rank(inf, 0, 3))
        return false;
    const int64_t *s = inf->in[0].dim;
    if (axis == AXIS_MAPS)
        return infer_out(inf, 0, shape_of3(1, s[1], s[2]), DT_F32);
    run_over(axis, &inf->in[0], w);
    return infer_out(inf, 0, shape_of3(s[0], s[1] / w[0], s[2] / w[1]), DT_F32);
}

static bool infer_global(Infer *inf) {
    return infer_axis(inf, AXIS_TIME);
}
static bool infer_along(Infer *inf) {
    return infer_axis(inf, ((const AxisAttrs *)inf->attrs)->axis);
}

/* A pool over disjoint windows; a last one may be smaller. */
static ValueId pooled(Graph *g, int op, ValueId src, int64_t kh, int64_t kw) {
    PoolAttrs a = {.kernel = {kh, kw}, .stride = {kh, kw}, .round = POOL_ROUND_CEIL};
    return graph_op(g, op, &a, 1, &src);
}

static ValueId mean_of(Graph *g, int axis, ValueId src) {
    int64_t w[2];
    const Shape *s = &graph_v(g, src)->shape;
    if (axis == AXIS_MAPS) {
        ResampleAttrs r = resample_same(s);
        r.maps = 1;
        r.gather = MAPS_SUM;
        r.scale = 1.0 / (double)s->dim[0];
        return graph_op(g, OP_RESAMPLE, &r, 1, &src);
    }
    run_over(axis, s, w);
    return pooled(g, OP_AVGPOOL, src, w[0], w[1]);
}

static ValueId max_of(Graph *g, int axis, ValueId src) {
    enum { CELLS = 256 };
    int64_t w[2];
    if (axis == AXIS_MAPS) { /* maps become columns */
        PermuteAttrs turned;
        memset(&turned, 0, sizeof turned);
        turned.order = ORDER_WHC;
        src = graph_op(g, OP_TRANSPOSE, &turned, 1, &src);
        src = max_of(g, AXIS_WIDTH, src);
        return graph_op(g, OP_TRANSPOSE, &turned, 1, &src);
    }
    run_over(axis, &graph_v(g, src)->shape, w);
    if (w[1] <= CELLS && w[0] <= CELLS / w[1])
        return pooled(g, OP_MAXPOOL, src, w[0], w[1]);
    for (int d = 1; d >= 0; d--)
        while (w[d] > 1) {
            int64_t k = w[d] < CELLS ? w[d] : CELLS;
            src = pooled(g, OP_MAXPOOL, src, d ? 1 : k, d ? k : 1);
            w[d] = (w[d] + k - 1) / k;
        }
    return src;
}

static ValueId parts_global_avgpool(Graph *g, const void *attrs, const ValueId *in) {
    (void)attrs;
    return mean_of(g, AXIS_TIME, in[0]);
}
static ValueId parts_global_maxpool(Graph *g, const void *attrs, const ValueId *in) {
    (void)attrs;
    return max_of(g, AXIS_TIME, in[0]);
}
static ValueId parts_mean(Graph *g, const void *attrs, const ValueId *in) {
    return mean_of(g, ((const AxisAttrs *)attrs)->axis, in[0]);
}
static ValueId parts_max(Graph *g, const void *attrs, const ValueId *in) {
    return max_of(g, ((const AxisAttrs *)attrs)->axis, in[0]);
}

static double flops_in1(const Graph *g, NodeId n) {
    return value_elems(g, graph_n(g, n)->in[0]);
}

#define PARTS(name)                                                                                \
    .vjp = vjp_parts, .curvature = vjp_parts, .expand = expand_parts, .parts = parts_##name,       \
    .flops = flops_in1

const OpDef opdef_global_avgpool = {
    .title = "mean of every map",
    .formula = "dst[c] = mean over y, x of src[c,y,x]",
    .doc = "One number per map, as an image of 1x1: any size of map goes, and `dense`, `mul` and "
           "1x1 convolutions take the result as it is; `flatten` makes it a vector.",
    .theory = "Lin, Chen, Yan, \"Network in network\", 2014, section 3.2",
    .part = PART_SUM,
    .infer = infer_global,
    .sees_all = true,
    PARTS(global_avgpool),
};

const OpDef opdef_global_maxpool = {
    .title = "maximum of every map",
    .formula = "dst[c] = max over y, x of src[c,y,x]",
    .doc =
        "One number per map, as an image of 1x1.  Gradients and projections go back to the first "
        "maximum in scan order.",
    .theory = "Oquab, Bottou, Laptev, Sivic 2015, section 3.2",
    .part = PART_MAX,
    .infer = infer_global,
    .sees_all = true,
    PARTS(global_maxpool),
};

const OpDef opdef_mean = {
    .title = "mean along an axis",
    .formula = "dst = mean over the axis of src; the axis stays, with extent 1",
    .doc = "mean(axis = maps) is the mean image [1, H, W] of all maps; width and height leave one "
           "column or row; time runs over both, as global_avgpool.",
    .theory = "elementary",
    .attr_size = sizeof(AxisAttrs),
    .attrs = axis_attrs,
    .nattrs = COUNT_OF(axis_attrs),
    .part = PART_SUM,
    .infer = infer_along,
    PARTS(mean),
};

const OpDef opdef_max = {
    .title = "maximum along an axis",
    .formula = "dst = max over the axis of src; the axis stays, with extent 1",
    .doc = "max(axis = time) finds the best match of every motif wherever it is; width and height "
           "leave one column or row.  Gradients and projections go back to the first maximum.",
    .theory = "Collobert, Weston, Bottou, Karlen, Kavukcuoglu, Kuksa 2011, section 3.3",
    .attr_size = sizeof(AxisAttrs),
    .attrs = axis_attrs,
    .nattrs = COUNT_OF(axis_attrs),
    .part = PART_MAX,
    .infer = infer_along,
    PARTS(max),
};
