/* subsample.c: LeNet's trained subsampling and its gradients (facts; code in pool_lower.c).
 *
 * Every map has one coefficient and one bias; the window is summed, not averaged.  The gradient of
 * the bias is bias_grad.
 * theory: LeCun et al. 1998, section II.B, layers S2 and S4.
 */
#include <string.h>

#include "ops/curvature.h"
#include "ops/facts.h"

enum { A_KERNEL, A_STRIDE, A_PAD, A_ROUND };

#define SUBSAMPLE_ATTRS                                                                            \
    ATTR_EXTENT(PoolAttrs, kernel, true, NULL, 1, "window, height x width"),                       \
    ATTR_EXTENT(PoolAttrs, stride, false, "kernel", 1, "step of the window"),                      \
    ATTR_PADS(PoolAttrs, pad, "zeros around the input"),                                           \
    ATTR_ENUM(PoolAttrs, round, "floor", "floor|ceil|exact",                                       \
              "what becomes of a remainder: drop it, add a clipped window, or refuse")

static const AttrDesc subsample_attrs[] = {SUBSAMPLE_ATTRS};
static const AttrDesc subsample_grad_attrs[] = {
    SUBSAMPLE_ATTRS,
    ATTR_HIDDEN(PoolAttrs, src_size, AT_EXTENT, "0"),
};

static bool extents(Infer *inf, const int64_t in[2], int64_t out[2]) {
    static const RoundMode mode[] = {ROUND_FLOOR, ROUND_CEIL, ROUND_EXACT};
    const PoolAttrs *a = inf->attrs;
    WindowCheck w = {.kernel = a->kernel, .stride = a->stride, .pad = a->pad,
                     .round = mode[a->round], .pool = true, .at_kernel = A_KERNEL,
                     .at_stride = A_STRIDE, .at_pad = A_PAD, .at_dilation = -1,
                     .at_round = A_ROUND};
    return infer_window(inf, &w, in, out);
}

static bool infer_subsample(Infer *inf) {
    int64_t out[2];
    if (!infer_rank(inf, 0, 3) || !extents(inf, &inf->in[0].dim[1], out))
        return false;
    int64_t c = inf->in[0].dim[0];
    if (!infer_param(inf, 1, "the coefficient", shape_of1(c), NULL) ||
        !infer_param(inf, 2, "the bias", shape_of1(c), NULL))
        return false;
    return infer_out(inf, 0, shape_of3(c, out[0], out[1]), DT_F32);
}

static bool infer_bwd_data(Infer *inf) {
    const PoolAttrs *a = inf->attrs;
    int64_t out[2];
    if (!infer_rank(inf, 0, 3))
        return false;
    if (a->src_size[0] < 1 || a->src_size[1] < 1)
        return infer_fail(inf, "E0303", -1, -1, NULL, "subsample_bwd_data needs src_size");
    if (!extents(inf, a->src_size, out))
        return false;
    inf->warn.text[0] = 0; /* the forward node has said it */
    int64_t c = inf->in[0].dim[0];
    if (!infer_param(inf, 0, "diff_dst", shape_of3(c, out[0], out[1]), NULL) ||
        !infer_param(inf, 1, "the coefficient", shape_of1(c), NULL))
        return false;
    return infer_out(inf, 0, shape_of3(c, a->src_size[0], a->src_size[1]), DT_F32);
}

static bool infer_bwd_coef(Infer *inf) {
    int64_t out[2];
    if (!infer_rank(inf, 0, 3) || !infer_rank(inf, 1, 3) ||
        !extents(inf, &inf->in[0].dim[1], out))
        return false;
    inf->warn.text[0] = 0;
    int64_t c = inf->in[0].dim[0];
    if (!infer_param(inf, 1, "diff_dst", shape_of3(c, out[0], out[1]), NULL))
        return false;
    inf->unbatched = true;
    return infer_out(inf, 0, shape_of1(c), DT_F32);
}

/* A layer that starts as a plain average. */
static int params_subsample(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const PoolAttrs *a = attrs;
    int64_t window = a->kernel[0] * a->kernel[1], c = in[0].dim[0];
    out[0] = param_weight("coefficient", shape_of1(c), window, 1);
    out[0].init = INIT_FILL;
    out[0].init_a = 1.0 / (double)window;
    out[0].init_b = 0;
    out[1] = param_zero("bias", c);
    return 2;
}

static bool vjp_subsample(Vjp *v) {
    const Node *node = vjp_node(v);
    PoolAttrs a = *(const PoolAttrs *)node->attrs;
    ValueId src = node->in[0], coefficient = node->in[1], dy = v->dy[0];
    const Shape *s = &graph_v(v->g, src)->shape;
    a.src_size[0] = s->dim[1];
    a.src_size[1] = s->dim[2];
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_SUBSAMPLE_BWD_DATA, &a, dy, coefficient);
    if (v->need[1])
        v->dx[1] = vjp_op2(v, OP_SUBSAMPLE_BWD_COEF, &a, src, dy);
    if (v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dy);
    return true;
}

/* The coefficient multiplies the window's sum, so that is what is squared. */
static bool curvature_subsample(Vjp *v) {
    const Node *node = vjp_node(v);
    PoolAttrs a = *(const PoolAttrs *)node->attrs;
    ValueId src = node->in[0], coefficient = node->in[1], dy = v->dy[0];
    const Shape *s = &graph_v(v->g, src)->shape;
    CurveAttrs cells = {.by = (double)(a.kernel[0] * a.kernel[1])};
    a.src_size[0] = s->dim[1];
    a.src_size[1] = s->dim[2];
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_SUBSAMPLE_BWD_DATA, &a, dy,
                           vjp_op1(v, OP_SQUARE, NULL, coefficient));
    if (v->need[1]) {
        PoolAttrs window = *(const PoolAttrs *)vjp_node(v)->attrs;
        ValueId sum = vjp_op1(v, OP_SCALE, &cells, vjp_op1(v, OP_AVGPOOL, &window, src));
        ValueId part = vjp_op2(v, OP_MUL, NULL, dy, vjp_op1(v, OP_SQUARE, NULL, sum));
        v->dx[1] = vjp_op1(v, OP_BIAS_GRAD, NULL, part);
    }
    if (v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dy);
    return true;
}

static double window_cells(const Graph *g, NodeId n) {
    const PoolAttrs *a = graph_n(g, n)->attrs;
    return (double)(a->kernel[0] * a->kernel[1]);
}

static double flops_subsample(const Graph *g, NodeId n) {
    return out_elems(g, n) * (window_cells(g, n) + 2);
}

static double flops_bwd_data(const Graph *g, NodeId n) {
    return value_elems(g, graph_n(g, n)->in[0]) * (window_cells(g, n) + 1);
}

static double flops_bwd_coef(const Graph *g, NodeId n) {
    return value_elems(g, graph_n(g, n)->in[1]) * (window_cells(g, n) + 2);
}

static bool window_subsample(const void *attrs, int64_t kernel[2], int64_t stride[2],
                             int64_t pad[4]) {
    const PoolAttrs *a = attrs;
    memcpy(kernel, a->kernel, sizeof a->kernel);
    memcpy(stride, a->stride, sizeof a->stride);
    memcpy(pad, a->pad, sizeof a->pad);
    return true;
}

const OpDef opdef_subsample = {
    .title = "trained subsampling (LeNet's S layers)",
    .formula = "dst[c,y,x] = coefficient[c] * (sum of the window of src[c]) + bias[c]",
    .doc = "Sums every window and applies one trained coefficient and one bias per map; follow it "
           "with stanh as LeNet-5 does.  The stride defaults to the kernel.  Parameters: "
           "coefficient [maps], by default 1 / window size (an average), and bias [maps], zero.",
    .theory = "LeCun et al. 1998, section II.B",
    .attr_size = sizeof(PoolAttrs),
    .attrs = subsample_attrs,
    .nattrs = COUNT_OF(subsample_attrs),
    .part = PART_WEIGHTS,
    .infer = infer_subsample,
    .params = params_subsample,
    .vjp = vjp_subsample,
    .curvature = curvature_subsample,
    .curvature_can = whole_windows,
    .flops = flops_subsample,
    .window = window_subsample,
    .lower = lower_subsample,
    .lanes = lanes_subsample,
    .choose = choose_rows,
};

const OpDef opdef_subsample_bwd_data = {
    .title = "gradient of subsample with respect to its input",
    .formula = "diff_src[c,u,v] = coefficient[c] * (sum of diff_dst[c] over the windows that cover "
               "(u,v))",
    .doc = "Copies every number, times the map's coefficient, to all cells of its window.",
    .theory = "the transpose of a linear map",
    .attr_size = sizeof(PoolAttrs),
    .attrs = subsample_grad_attrs,
    .nattrs = COUNT_OF(subsample_grad_attrs),
    .infer = infer_bwd_data,
    .flops = flops_bwd_data,
    .lower = lower_subsample_bwd_data,
    .lanes = lanes_subsample_bwd_data,
    .choose = choose_rows,
};

const OpDef opdef_subsample_bwd_coef = {
    .title = "gradient of subsample with respect to its coefficients",
    .formula = "dst[c] = sum over n, y, x of diff_dst[n,c,y,x] * (sum of the window of src[n,c])",
    .doc = "Sums over all images and positions in a fixed order.",
    .theory = "LeCun et al. 1998, section II.B",
    .attr_size = sizeof(PoolAttrs),
    .attrs = subsample_grad_attrs,
    .nattrs = COUNT_OF(subsample_grad_attrs),
    .infer = infer_bwd_coef,
    .flops = flops_bwd_coef,
    .lower = lower_subsample_bwd_coef,
    .lanes = lanes_subsample_bwd_coef,
    .choose = choose_subsample_bwd_coef,
};
