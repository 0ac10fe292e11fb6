/* conv.c: two-dimensional convolution, its two gradients, weight transposition and the bias gradient.
 *
 * Facts only; code is made in conv_lower.c, conv_bww_lower.c and conv_tiles.c.  `conv` is
 * cross-correlation (no flip).  Weights are [maps, input maps / groups, kh, kw].  The transposed
 * packing that backward data reads has the same logical shape; only its layout differs.
 * theory: LeCun et al. 1998, section II.A; Dumoulin, Visin, "A guide to convolution arithmetic for
 * deep learning", 2016, relations 6, 14 (extents) and section 4 (the transposed form).
 */
#include <stdio.h>
#include <string.h>

#include "ops/curvature.h"
#include "ops/facts.h"

enum { A_MAPS, A_KERNEL, A_STRIDE, A_PAD, A_DILATION, A_GROUPS, A_BIAS, A_CONNECT, A_ALGORITHM, A_ROUND };

#define CONV_ATTRS                                                                                 \
    ATTR_INT(ConvAttrs, maps, true, NULL, 1, (double)LIMIT_DIM, "output maps"),                    \
    ATTR_EXTENT(ConvAttrs, kernel, true, NULL, 1, "window, height x width"),                       \
    ATTR_EXTENT(ConvAttrs, stride, false, "1", 1, "step of the window"),                           \
    ATTR_PADS(ConvAttrs, pad, "zeros around the input: N, HxW or [top, bottom, left, right]"),     \
    ATTR_EXTENT(ConvAttrs, dilation, false, "1", 1, "distance of neighbouring taps"),              \
    ATTR_INT(ConvAttrs, groups, false, "1", 1, (double)LIMIT_DIM,                                  \
             "independent parts: map o reads only the input maps of its part"),                    \
    ATTR_BOOL(ConvAttrs, bias, "yes", "add one trained number per output map"),                    \
    {"connect", AT_TABLE, offsetof(ConvAttrs, connect), false, "all", NULL, 1, 0,                  \
     "for each output map the list of input maps it reads (LeNet-5, table I)", false},             \
    {"algorithm", AT_ENUM, offsetof(ConvAttrs, algorithm), false, "auto",                          \
     "auto|direct|winograd|winograd6", 1, 0,                                                       \
     "how the sums are formed: auto lets the cost model choose between direct sums and Winograd's "\
     "F(2x2) and F(4x4); winograd6 allows F(6x6,3x3), which loses another digit", false}, \
    ATTR_ENUM(ConvAttrs, round, "floor", "floor|exact",                                            \
              "what becomes of a remainder: drop it (said aloud: no warning) or refuse it")

static const AttrDesc conv_attrs[] = {CONV_ATTRS};
static const AttrDesc conv_grad_attrs[] = {
    CONV_ATTRS,
    ATTR_HIDDEN(ConvAttrs, src_size, AT_EXTENT, "0"),
    ATTR_HIDDEN(ConvAttrs, src_maps, AT_INT, "0"),
};

/* "groups = 1, 2, 4 or 8 divide both": the divisors up to 64 of a and b */
static void suggest_groups(char *buf, size_t n, int64_t a, int64_t b) {
    int used = snprintf(buf, n, "groups that divide both:");
    for (int64_t d = 1; d <= 64 && d <= a && d <= b; d++)
        if (a % d == 0 && b % d == 0 && used > 0 && (size_t)used + 8 < n)
            used += snprintf(buf + used, n - (size_t)used, "%s %lld", d > 1 ? "," : "",
                             (long long)d);
}

static bool check_groups(Infer *inf, const ConvAttrs *a, int64_t maps_in) {
    char help[200];
    if (a->groups < 1)
        return infer_fail(inf, "E0303", A_GROUPS, -1, "groups = 1 is an ordinary convolution",
                          "groups %lld: must be at least 1", (long long)a->groups);
    if (a->maps % a->groups == 0 && maps_in % a->groups == 0)
        return true;
    suggest_groups(help, sizeof help, a->maps, maps_in);
    if (maps_in % a->groups != 0)
        return infer_fail(inf, "E0302", A_GROUPS, -1, help,
                          "groups %lld do not divide the %lld input maps", (long long)a->groups,
                          (long long)maps_in);
    return infer_fail(inf, "E0302", A_GROUPS, -1, help,
                      "groups %lld do not divide the %lld output maps", (long long)a->groups,
                      (long long)a->maps);
}

static bool check_table(Infer *inf, const ConvAttrs *a, int64_t maps_in) {
    const ConnTable *t = a->connect;
    if (!t)
        return true;
    if (a->groups != 1)
        return infer_fail(inf, "E0308", A_CONNECT, -1, "the table can express the groups as well",
                          "a connection table excludes groups = %lld", (long long)a->groups);
    if (t->outputs != a->maps)
        return infer_fail(inf, "E0308", A_CONNECT, -1, "one list per output map",
                          "the connection table has %d rows for %lld output maps", t->outputs,
                          (long long)a->maps);
    if (t->inputs != maps_in)
        return infer_fail(inf, "E0308", A_CONNECT, -1, NULL,
                          "the connection table is for %d input maps, the input has %lld",
                          t->inputs, (long long)maps_in);
    for (int o = 0; o < t->outputs; o++)
        if (!memchr(t->link + (size_t)o * (size_t)t->inputs, 1, (size_t)t->inputs))
            return infer_fail(inf, "E0308", A_CONNECT, -1, NULL,
                              "output map %d reads no input map", o);
    return true;
}

static Shape weight_shape(const ConvAttrs *a, int64_t maps_in) {
    return shape_of4(a->maps, maps_in / a->groups, a->kernel[0], a->kernel[1]);
}

/* Attributes against an input [maps_in, size]; out[2] = height and width of dst. */
static bool conv_extents(Infer *inf, const ConvAttrs *a, int64_t maps_in, const int64_t size[2],
                         int64_t out[2]) {
    WindowCheck w = {.kernel = a->kernel, .stride = a->stride, .pad = a->pad,
                     .dilation = a->dilation,
                     .round = a->round == CONV_ROUND_EXACT ? ROUND_EXACT : ROUND_FLOOR,
                     .at_kernel = A_KERNEL, .at_stride = A_STRIDE, .at_pad = A_PAD,
                     .at_dilation = A_DILATION, .at_round = A_ROUND};
    int64_t elems;
    if (a->maps < 1 || a->maps > LIMIT_DIM)
        return infer_fail(inf, "E0303", A_MAPS, -1, NULL,
                          "%lld maps: must be between 1 and %lld", (long long)a->maps,
                          (long long)LIMIT_DIM);
    if (!check_groups(inf, a, maps_in) || !check_table(inf, a, maps_in) ||
        !infer_window(inf, &w, size, out))
        return false;
    Shape ws = weight_shape(a, maps_in);
    if (!shape_product(&ws, &elems))
        return infer_fail(inf, "E0305", A_MAPS, -1, NULL,
                          "the weights would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    return true;
}

static bool infer_conv(Infer *inf) {
    const ConvAttrs *a = inf->attrs;
    int64_t out[2];
    if (!infer_rank(inf, 0, 3) ||
        !conv_extents(inf, a, inf->in[0].dim[0], &inf->in[0].dim[1], out))
        return false;
    Shape ws = weight_shape(a, inf->in[0].dim[0]);
    int links = a->bias ? 3 : 2;
    if (!infer_param(inf, 1, "the weight", ws, NULL) ||
        (a->bias && !infer_param(inf, 2, "the bias", shape_of1(a->maps), NULL)) ||
        !infer_param(inf, links, "the link mask", ws, NULL))
        return false;
    return infer_out(inf, 0, shape_of3(a->maps, out[0], out[1]), DT_F32);
}

/* diff_dst agrees with what conv would have produced from src [src_maps, src_size] */
static bool check_diff_dst(Infer *inf, const ConvAttrs *a, int64_t maps_in, const int64_t size[2],
                           int input) {
    int64_t out[2];
    if (!infer_rank(inf, input, 3) || !conv_extents(inf, a, maps_in, size, out))
        return false;
    inf->warn.text[0] = 0; /* the forward node has said it */
    return infer_param(inf, input, "diff_dst", shape_of3(a->maps, out[0], out[1]), NULL);
}

static bool infer_bwd_data(Infer *inf) {
    const ConvAttrs *a = inf->attrs;
    if (a->src_maps < 1 || a->src_size[0] < 1 || a->src_size[1] < 1)
        return infer_fail(inf, "E0303", -1, -1, NULL, "conv_bwd_data needs src_maps and src_size");
    if (!check_diff_dst(inf, a, a->src_maps, a->src_size, 0) ||
        !infer_param(inf, 1, "the weight", weight_shape(a, a->src_maps), NULL))
        return false;
    return infer_out(inf, 0, shape_of3(a->src_maps, a->src_size[0], a->src_size[1]), DT_F32);
}

static bool infer_bwd_weights(Infer *inf) {
    const ConvAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3) ||
        !check_diff_dst(inf, a, inf->in[0].dim[0], &inf->in[0].dim[1], 1))
        return false;
    inf->unbatched = true;
    return infer_out(inf, 0, weight_shape(a, inf->in[0].dim[0]), DT_F32);
}

/* Weights of a table: fan_in is the mean number of links, so that one rule serves all maps. */
static int params_conv(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const ConvAttrs *a = attrs;
    int64_t window = a->kernel[0] * a->kernel[1];
    int64_t fan_in = in[0].dim[0] / a->groups * window, fan_out = a->maps / a->groups * window;
    if (a->connect) {
        int64_t links = 0;
        for (int64_t i = 0; i < (int64_t)a->connect->outputs * a->connect->inputs; i++)
            links += a->connect->link[i] != 0;
        fan_in = (links * window + a->maps / 2) / a->maps;
        fan_out = (links * window + in[0].dim[0] / 2) / in[0].dim[0];
    }
    int64_t depth = a->depth > 1 ? a->depth : 1;
    out[0] = param_weight("weight", weight_shape(a, in[0].dim[0]), fan_in, fan_out * depth);
    if (a->depth) { /* [maps, input maps, depth, height, width]: the same numbers */
        Shape *s = &out[0].shape;
        s->rank = 5;
        s->dim[4] = s->dim[3];
        s->dim[3] = s->dim[2];
        s->dim[2] = depth;
        s->dim[1] /= depth;
    }
    if (!a->bias)
        return 1;
    out[1] = param_zero("bias", a->maps);
    return 2;
}

static bool vjp_conv(Vjp *v) {
    const Node *node = vjp_node(v);
    ConvAttrs a = *(const ConvAttrs *)node->attrs;
    ValueId src = node->in[0], weights = node->in[1], dy = v->dy[0];
    int nin = node->nin, at_links = a.bias ? 3 : 2;
    ValueId links = nin > at_links ? node->in[at_links] : 0;
    const Shape *s = &graph_v(v->g, src)->shape;
    a.src_maps = s->dim[0];
    a.src_size[0] = s->dim[1];
    a.src_size[1] = s->dim[2];
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_CONV2D_BWD_DATA, &a, dy, vjp_transposed(v, weights, a.groups));
    if (v->need[1]) {
        v->dx[1] = vjp_op2(v, OP_CONV2D_BWD_WEIGHTS, &a, src, dy);
        if (links)
            v->dx[1] = vjp_op2(v, OP_MUL, NULL, v->dx[1], links);
    }
    if (a.bias && v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dy);
    return true;
}

/* Multiplications and additions over all taps, those of missing links and of padding included. */
static double conv_flops(const ConvAttrs *a, double maps_in, double out_cells) {
    return 2 * out_cells * (double)(a->kernel[0] * a->kernel[1]) * maps_in / (double)a->groups;
}

static double flops_conv(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    return conv_flops(node->attrs, (double)graph_v(g, node->in[0])->shape.dim[0], out_elems(g, n));
}

static double flops_bwd_data(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    const ConvAttrs *a = node->attrs;
    return conv_flops(a, (double)a->src_maps, value_elems(g, node->in[0]));
}

static double flops_bwd_weights(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    return conv_flops(node->attrs, (double)graph_v(g, node->in[0])->shape.dim[0],
                      value_elems(g, node->in[1]));
}

static bool window_conv(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    const ConvAttrs *a = attrs;
    for (int d = 0; d < 2; d++) {
        kernel[d] = (a->kernel[d] - 1) * a->dilation[d] + 1;
        stride[d] = a->stride[d];
    }
    memcpy(pad, a->pad, 4 * sizeof *pad);
    return true;
}

/* src: all of the padding, so that every tap of every output lies inside the array.  (The last
 * output's last tap reaches row (oh - 1) * stride - top + span - 1 <= ih - 1 + bottom.) */
static void halo_src(const Graph *g, NodeId n, int input, int halo[4]) {
    const ConvAttrs *a = graph_n(g, n)->attrs;
    for (int side = 0; side < 4; side++)
        halo[side] = input == 0 ? (int)a->pad[side] : 0;
}

/* diff_src[iy] sums diff_dst[(iy + top - ky * dil) / stride] over the ky that divide.  Tap ky serves
 * the rows iy = r, r + stride, ... with r = (ky * dil - top) mod stride, and reads there rows
 * b, b + 1, ... with b = (r + top - ky * dil) / stride: an affine walk per (phase r, tap).  The halo
 * covers the lowest b and the highest last row of all taps; cells beyond [0, oh) are zero. */
static void reach(int64_t in, int64_t out, int64_t k, int64_t s, int64_t pad, int64_t dil,
                  int halo[2]) {
    int64_t lowest = 0, highest = out - 1;
    for (int64_t tap = 0; tap < k; tap++) {
        int64_t shift = tap * dil - pad, r = shift % s;
        if (r < 0)
            r += s;
        if (r >= in)
            continue; /* this tap touches no row of src */
        int64_t first = (r - shift) / s, last = first + (in - 1 - r) / s;
        lowest = first < lowest ? first : lowest;
        highest = last > highest ? last : highest;
    }
    halo[0] = (int)-lowest;
    halo[1] = (int)(highest - (out - 1));
}

static void halo_diff_dst(const Graph *g, NodeId n, int input, int halo[4]) {
    const Node *node = graph_n(g, n);
    const ConvAttrs *a = node->attrs;
    const Shape *d = &graph_v(g, node->in[0])->shape;
    memset(halo, 0, 4 * sizeof *halo);
    if (input != 0)
        return;
    for (int i = 0; i < 2; i++)
        reach(a->src_size[i], d->dim[1 + i], a->kernel[i], a->stride[i], a->pad[2 * i],
              a->dilation[i], halo + 2 * i);
}

static bool infer_transpose(Infer *inf) {
    if (inf->nin < 1)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs the weights");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_bias_grad(Infer *inf) {
    int64_t c, h, w;
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 3);
    shape_chw(&inf->in[0], &c, &h, &w);
    inf->unbatched = true;
    return infer_out(inf, 0, shape_of1(c), DT_F32);
}

static double flops_bias_grad(const Graph *g, NodeId n) {
    return value_elems(g, graph_n(g, n)->in[0]);
}

static const AttrDesc transpose_attrs[] = {
    ATTR_HIDDEN(TransposeWeightsAttrs, groups, AT_INT, "1"),
};

const OpDef opdef_conv = {
    .title = "2-D convolution (cross-correlation)",
    .formula = "dst[o,y,x] = bias[o] + sum over i, ky, kx of weights[o,i,ky,kx] * "
               "src[i, y*stride + ky*dilation - pad, x*stride + kx*dilation - pad]",
    .doc = "Slides `maps` learned filters over an image.  The number of input maps follows from the "
           "input.  The kernel is not flipped.  Sizes round down: output = (input + padding - span) "
           "/ stride + 1 with span = (kernel - 1) * dilation + 1; a remainder that leaves real input "
           "unread is reported.  `connect` lists for every output map the input maps it reads; "
           "missing links hold no weights.  Parameters: weight [maps, input maps / groups, kh, kw], "
           "by default uniform in -/+ sqrt(3 / fan_in), and bias [maps], zero.",
    .theory = "LeCun, Bottou, Bengio, Haffner 1998, section II and table I; Krizhevsky, Sutskever, "
              "Hinton 2012, section 3.5 (groups); Yu, Koltun 2016 (dilation)",
    .attr_size = sizeof(ConvAttrs),
    .attrs = conv_attrs,
    .nattrs = COUNT_OF(conv_attrs),
    .part = PART_WEIGHTS,
    .infer = infer_conv,
    .params = params_conv,
    .vjp = vjp_conv,
    .curvature = curvature_product,
    .flops = flops_conv,
    .window = window_conv,
    .lower = lower_conv,
    .lanes = lanes_conv,
    .lanes_halo = lanes_halo_conv,
    .halo = halo_src,
    .choose = choose_conv,
    .weights = weights_conv,
};

const OpDef opdef_conv_bwd_data = {
    .title = "gradient of conv with respect to its input (transposed convolution)",
    .formula = "diff_src[i,u,v] = sum over o, ky, kx with u = y*stride + ky*dilation - pad, "
               "v = x*stride + kx*dilation - pad of weights[o,i,ky,kx] * diff_dst[o,y,x]",
    .doc = "The exact adjoint of conv for every stride, padding, dilation and grouping: "
           "<conv x, y> = <x, conv_bwd_data y>.  Reads the transposed packing of the weights.",
    .theory = "Dumoulin, Visin 2016, section 4; Zeiler, Fergus 2014, section 2.1 (filtering)",
    .attr_size = sizeof(ConvAttrs),
    .attrs = conv_grad_attrs,
    .nattrs = COUNT_OF(conv_grad_attrs),
    .infer = infer_bwd_data,
    .flops = flops_bwd_data,
    .lower = lower_conv_bwd_data,
    .lanes = lanes_conv_bwd_data,
    .lanes_halo = lanes_halo_conv_bwd_data,
    .halo = halo_diff_dst,
    .choose = choose_conv_bwd_data,
    .weights = weights_conv_bwd_data,
};

const OpDef opdef_conv_bwd_weights = {
    .title = "gradient of conv with respect to its weights",
    .formula = "diff_weights[o,i,ky,kx] = sum over n, y, x of diff_dst[n,o,y,x] * "
               "src[n, i, y*stride + ky*dilation - pad, x*stride + kx*dilation - pad]",
    .doc = "Sums over all images of the batch in a fixed order.",
    .theory = "LeCun et al. 1998, section II.A",
    .attr_size = sizeof(ConvAttrs),
    .attrs = conv_grad_attrs,
    .nattrs = COUNT_OF(conv_grad_attrs),
    .infer = infer_bwd_weights,
    .flops = flops_bwd_weights,
    .lower = lower_conv_bwd_weights,
    .lanes = lanes_conv_bwd_weights,
    .lanes_halo = lanes_halo_conv,
    .halo = halo_src,
    .choose = choose_conv_bwd_weights,
    .weights = weights_conv_bwd_weights,
};

const OpDef opdef_transpose_weights = {
    .title = "weights packed with inputs and outputs exchanged",
    .formula = "dst = src (same logical tensor, transposed packing)",
    .doc = "Prepares weights for backward data: the numbers stay, their order in memory changes.",
    .theory = "blocked weight formats of oneDNN (OIhw16i16o and IOhw16o16i)",
    .attr_size = sizeof(TransposeWeightsAttrs),
    .attrs = transpose_attrs,
    .nattrs = COUNT_OF(transpose_attrs),
    .infer = infer_transpose,
    .flops = flops_none,
    .lower = lower_transpose_weights,
    .choose = choose_transpose_weights,
    .weights = weights_transpose_weights,
};

const OpDef opdef_bias_grad = {
    .title = "gradient of a bias",
    .formula = "dst[c] = sum over n, y, x of diff_dst[n,c,y,x]",
    .doc = "Sums over all images and positions in a fixed order.",
    .theory = "LeCun et al. 1998, section II.A",
    .infer = infer_bias_grad,
    .flops = flops_bias_grad,
    .lower = lower_bias_grad,
    .lanes = lanes_bias_grad,
    .choose = choose_bias_grad,
};
