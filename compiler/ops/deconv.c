/* deconv.c: transposed convolution (facts; it has no code of its own).
 *
 * `deconv` is the adjoint of a convolution that leads from its output back to its input, used
 * forwards.  It is a composite: `expand` makes conv_bwd_data and, for the bias, channel_add, which
 * joins its kernel.  Its gradients are that convolution (data) and conv_bwd_weights with source and
 * diff_dst exchanged (weights).  Weights are [input maps, maps / groups, kh, kw]: the weights of
 * that convolution, and the order in which PyTorch's ConvTranspose2d keeps them. theory: Dumoulin,
 * Visin 2016, section 4; Long, Shelhamer, Darrell 2015, section 3.3.
 */
#include "ops/curvature.h"
#include "ops/facts.h"

#include <string.h>

enum { A_MAPS, A_KERNEL, A_STRIDE, A_PAD, A_OUTPUT_PAD, A_DILATION, A_GROUPS };

static const AttrDesc deconv_attrs[] = {
    ATTR_INT(DeconvAttrs, maps, true, NULL, 1, (double)LIMIT_DIM, "output maps"),
    ATTR_EXTENT(DeconvAttrs, kernel, true, NULL, 1, "what every input cell is spread over"),
    ATTR_EXTENT(DeconvAttrs, stride, false, "1", 1, "cells of the output per cell of the input"),
    ATTR_PADS(DeconvAttrs, pad,
              "cells cut off around the output: N, HxW or [top, bottom, left, right]"),
    {"output_pad", AT_EXTENT, offsetof(DeconvAttrs, output_pad), false, "0", NULL, 0,
     IMAGE_SIDE_MAX, "more rows and columns at the bottom and right, fewer than the stride", false},
    ATTR_EXTENT(DeconvAttrs, dilation, false, "1", 1, "distance of neighbouring taps"),
    ATTR_INT(DeconvAttrs, groups, false, "1", 1, (double)LIMIT_DIM,
             "independent parts: map o reads only the input maps of its part"),
    ATTR_BOOL(DeconvAttrs, bias, "yes", "add one trained number per output map"),
    ATTR_HIDDEN(DeconvAttrs, connect, AT_TABLE, "all"),
};

/* ---- the convolution whose adjoint this is ---- */

static ConvAttrs conv_of(const DeconvAttrs *a, const Shape *src, const int64_t out[2]) {
    ConvAttrs c = {.maps = src->dim[0], .groups = a->groups, .src_maps = a->maps};
    for (int d = 0; d < 2; d++) {
        c.kernel[d] = a->kernel[d];
        c.stride[d] = a->stride[d];
        c.dilation[d] = a->dilation[d];
        c.src_size[d] = out[d];
    }
    memcpy(c.pad, a->pad, sizeof c.pad);
    return c;
}

static Shape weight_shape(const DeconvAttrs *a, int64_t maps_in) {
    return shape_of4(maps_in, a->maps / a->groups, a->kernel[0], a->kernel[1]);
}

static bool check_groups(Infer *inf, const DeconvAttrs *a, int64_t maps_in) {
    if (a->groups < 1)
        return infer_fail(inf, "E0303", A_GROUPS, -1, "groups = 1 is an ordinary deconv",
                          "groups %lld: must be at least 1", (long long)a->groups);
    if (a->maps % a->groups == 0 && maps_in % a->groups == 0)
        return true;
    bool in = maps_in % a->groups != 0;
    return infer_fail(inf, "E0302", A_GROUPS, -1, NULL,
                      "groups %lld do not divide the %lld %s maps", (long long)a->groups,
                      (long long)(in ? maps_in : a->maps), in ? "input" : "output");
}

/* (size - 1) * stride + span - padding + output_pad of dimension d */
static bool out_extent(Infer *inf, const DeconvAttrs *a, int d, int64_t in, int64_t *out) {
    if (a->kernel[d] < 1 || a->kernel[d] > IMAGE_SIDE_MAX)
        return infer_fail(inf, "E0303", A_KERNEL, -1, NULL,
                          "kernel %lldx%lld: each side must be between 1 and %d",
                          (long long)a->kernel[0], (long long)a->kernel[1], IMAGE_SIDE_MAX);
    if (a->stride[d] < 1 || a->stride[d] > IMAGE_SIDE_MAX || a->dilation[d] < 1 ||
        a->dilation[d] > IMAGE_SIDE_MAX)
        return infer_fail(inf, "E0303", a->stride[d] < 1 ? A_STRIDE : A_DILATION, -1, NULL,
                          "stride and dilation must be between 1 and %d", IMAGE_SIDE_MAX);
    for (int side = 0; side < 2; side++)
        if (a->pad[2 * d + side] < 0 || a->pad[2 * d + side] > IMAGE_SIDE_MAX)
            return infer_fail(inf, "E0303", A_PAD, -1, NULL, "pad %lld: must be between 0 and %d",
                              (long long)a->pad[2 * d + side], IMAGE_SIDE_MAX);
    if (a->output_pad[d] < 0 || a->output_pad[d] >= a->stride[d])
        return infer_fail(inf, "E0303", A_OUTPUT_PAD, -1,
                          "it chooses among the sizes that a strided conv maps to one",
                          "output_pad %lld must be less than the stride %lld",
                          (long long)a->output_pad[d], (long long)a->stride[d]);
    int64_t span = (a->kernel[d] - 1) * a->dilation[d] + 1;
    int64_t whole = (in - 1) * a->stride[d] + span + a->output_pad[d];
    *out = whole - a->pad[2 * d] - a->pad[2 * d + 1];
    if (*out >= 1)
        return true;
    return infer_fail(inf, "E0307", A_PAD, -1, "a smaller pad leaves something",
                      "pad %lld cuts off all of the %lld %s", (long long)a->pad[2 * d],
                      (long long)whole, d ? "columns" : "rows");
}

static bool infer_deconv(Infer *inf) {
    const DeconvAttrs *a = inf->attrs;
    int64_t out[2], elems;
    if (!infer_rank(inf, 0, 3))
        return false;
    int64_t maps_in = inf->in[0].dim[0];
    if (a->maps < 1 || a->maps > LIMIT_DIM)
        return infer_fail(inf, "E0303", A_MAPS, -1, NULL, "%lld maps: must be between 1 and %lld",
                          (long long)a->maps, (long long)LIMIT_DIM);
    if (!check_groups(inf, a, maps_in))
        return false;
    for (int d = 0; d < 2; d++)
        if (!out_extent(inf, a, d, inf->in[0].dim[1 + d], &out[d]))
            return false;
    Shape ws = weight_shape(a, maps_in);
    if (!shape_product(&ws, &elems))
        return infer_fail(inf, "E0305", A_MAPS, -1, NULL,
                          "the weights would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    int links = a->bias ? 3 : 2;
    if (!infer_param(inf, 1, "the weight", ws, NULL) ||
        (a->bias && !infer_param(inf, 2, "the bias", shape_of1(a->maps), NULL)) ||
        !infer_param(inf, links, "the link mask", ws, NULL))
        return false;
    return infer_out(inf, 0, shape_of3(a->maps, out[0], out[1]), DT_F32);
}

/* fan_in: weights that one output cell meets, which is a kernel's worth per stride squared. */
static int params_deconv(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const DeconvAttrs *a = attrs;
    int64_t window = a->kernel[0] * a->kernel[1], step = a->stride[0] * a->stride[1];
    int64_t maps_in = in[0].dim[0] / a->groups, meets = (maps_in * window + step - 1) / step;
    if (a->connect) {
        int64_t links = 0;
        for (int64_t i = 0; i < (int64_t)a->connect->outputs * a->connect->inputs; i++)
            links += a->connect->link[i] != 0;
        meets = (links * window / a->maps + step - 1) / step;
    }
    out[0] = param_weight("weight", weight_shape(a, in[0].dim[0]), meets > 0 ? meets : 1,
                          a->maps / a->groups * window);
    if (!a->bias)
        return 1;
    out[1] = param_zero("bias", a->maps);
    return 2;
}

static ConvAttrs conv_of_node(const Graph *g, const Node *node) {
    const Shape *dst = &graph_v(g, node->out[0])->shape;
    return conv_of(node->attrs, &graph_v(g, node->in[0])->shape, &dst->dim[1]);
}

static bool vjp_deconv(Vjp *v) {
    const Node *node = vjp_node(v);
    DeconvAttrs a = *(const DeconvAttrs *)node->attrs;
    ConvAttrs conv = conv_of_node(v->g, node);
    ValueId src = node->in[0], weights = node->in[1], dy = v->dy[0];
    int at_links = a.bias ? 3 : 2;
    ValueId links = node->nin > at_links ? node->in[at_links] : 0;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_CONV2D, &conv, dy, weights);
    if (v->need[1]) {
        v->dx[1] = vjp_op2(v, OP_CONV2D_BWD_WEIGHTS, &conv, dy, src);
        if (links)
            v->dx[1] = vjp_op2(v, OP_MUL, NULL, v->dx[1], links);
    }
    if (a.bias && v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dy);
    return true;
}

/* The node becomes the last part, so that its value, name and label stay. */
static void become(Graph *g, NodeId id, int op, const void *attrs, ValueId a, ValueId b) {
    Node *n = graph_n(g, id);
    ValueId *in = ARENA_ARRAY(g->keep, 2, ValueId);
    in[0] = a;
    in[1] = b;
    n->op = (uint16_t)op;
    n->in = in;
    n->nin = 2;
    n->attrs = arena_alloc(g->keep, op_def[op]->attr_size ? op_def[op]->attr_size : 1);
    if (attrs)
        memcpy(n->attrs, attrs, op_def[op]->attr_size);
    else
        n->attrs = NULL;
}

static void expand_deconv(Graph *g, NodeId id) {
    Node n = *graph_n(g, id); /* new nodes may move the table */
    const DeconvAttrs *a = n.attrs;
    ConvAttrs conv = conv_of_node(g, &n);
    TransposeWeightsAttrs groups = {a->groups};
    ValueId turned = graph_op(g, OP_TRANSPOSE_WEIGHTS, &groups, 1, &n.in[1]);
    ValueId in[2] = {n.in[0], turned};
    if (!a->bias) {
        become(g, id, OP_CONV2D_BWD_DATA, &conv, in[0], in[1]);
        return;
    }
    ValueId sums = graph_op(g, OP_CONV2D_BWD_DATA, &conv, 2, in);
    become(g, id, OP_CHANNEL_ADD, NULL, sums, n.in[2]);
}

static bool window_deconv(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    const DeconvAttrs *a = attrs;
    for (int d = 0; d < 2; d++) {
        kernel[d] = (a->kernel[d] - 1) * a->dilation[d] + 1;
        stride[d] = a->stride[d];
    }
    memcpy(pad, a->pad, 4 * sizeof *pad);
    return true;
}

static double flops_deconv(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    const DeconvAttrs *a = node->attrs;
    return 2 * value_elems(g, node->in[0]) * (double)(a->kernel[0] * a->kernel[1]) *
           (double)(a->maps / a->groups);
}

static bool infer_channel_add(Infer *inf) {
    if (inf->nin < 1)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs an input");
    if (inf->in[0].rank != 1 && inf->in[0].rank != 3)
        return infer_rank(inf, 0, 3);
    return infer_param(inf, 1, "a number per channel", shape_of1(inf->in[0].dim[0]), NULL) &&
           infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_channel_add(Vjp *v) {
    ValueId dy = v->dy[0];
    v->dx[0] = v->need[0] ? dy : 0;
    if (v->need[1])
        v->dx[1] = vjp_op1(v, OP_BIAS_GRAD, NULL, dy);
    return true;
}

const OpDef opdef_deconv = {
    .title = "transposed convolution",
    .formula = "dst[o,v,u] = bias[o] + sum over i, y, x, ky, kx with v = y*stride + ky*dilation - "
               "pad, u = x*stride + kx*dilation - pad of weights[i,o,ky,kx] * src[i,y,x]",
    .doc =
        "Every input cell spreads a learned kernel over the output; where kernels overlap, they "
        "add.  It is the adjoint of conv: output = (input - 1) * stride + (kernel - 1) * dilation "
        "+ 1 - padding + output_pad.  `init = bilinear` starts as interpolation (each map from "
        "the input map of its own number).  Parameters: weight [input maps, maps / groups, kh, "
        "kw], as PyTorch's ConvTranspose2d keeps it, by default uniform in -/+ sqrt(3 / fan_in), "
        "and bias [maps], zero.",
    .theory = "Dumoulin, Visin 2016, section 4; Long, Shelhamer, Darrell 2015, section 3.3",
    .attr_size = sizeof(DeconvAttrs),
    .attrs = deconv_attrs,
    .nattrs = COUNT_OF(deconv_attrs),
    .part = PART_WEIGHTS,
    .infer = infer_deconv,
    .params = params_deconv,
    .vjp = vjp_deconv,
    .curvature = curvature_product,
    .expand = expand_deconv,
    .flops = flops_deconv,
    .window = window_deconv,
    .spreads = true,
};

const OpDef opdef_channel_add = {
    .title = "addition of a number to each channel",
    .formula = "dst[c] = src[c] + bias[c]",
    .doc = "The bias of a composite; joins the kernel in front.",
    .theory = "Dumoulin, Visin 2016, section 4",
    .infer = infer_channel_add,
    .vjp = vjp_channel_add,
    .flops = flops_out1,
    .scalar = scalar_channel_add,
    .lower = lower_map,
    .choose = choose_map,
};
