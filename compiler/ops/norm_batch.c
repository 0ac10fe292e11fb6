/* norm_batch.c: batch and instance normalisation (facts; code in norm_batch_lower.c).
 *
 * `bn` and `instancenorm` are composites: gradients are written for the whole, then `expand` turns
 * them into parts, of which all that touches whole images is elementwise and joins other kernels:
 *   statistics   moments: mean and variance per image and channel; bn_combine: over the
 *                batch (Chan et al. 1983, equation 2.1), and the line that normalises, scale and shift
 *   apply        scale_shift: dst = scale src + shift
 *   backward     bn_bwd_sums: both sums over diff_dst in one pass; bias_grad over the images;
 *                bn_bwd_coef, bn_bwd_data: diff_src = p diff_dst + q src + r
 * Inference: bn_scale makes the line of running statistics, which ends the kernel in front.
 * theory: Ioffe, Szegedy 2015, algorithms 1 and 2 and the gradients of section 3; Ulyanov et al.
 * 2016 (instances).
 */
#include "ops/curvature.h"
#include "ops/facts.h"

enum { SRC, WEIGHT, BIAS, MEAN, VARIANCE };

#define PART_ATTRS                                                                                 \
    ATTR_HIDDEN(BnAttrs, eps, AT_FLOAT, "0.00001"), ATTR_HIDDEN(BnAttrs, momentum, AT_FLOAT, "0"), \
        ATTR_HIDDEN(BnAttrs, cells, AT_INT, "1")
static const AttrDesc part_attrs[] = {PART_ATTRS};

#define ATTR_EPS                                                                                   \
    ATTR_FLOAT(BnAttrs, eps, false, "0.00001", 1e-12, 1, "added to the variance before its root")
static const AttrDesc bn_attrs[] = {
    ATTR_EPS,
    ATTR_FLOAT(BnAttrs, momentum, false, "0.1", 0, 1,
               "share of a step's statistics in the running ones"),
    ATTR_HIDDEN(BnAttrs, infer, AT_BOOL, "no"),
};
static const AttrDesc instancenorm_attrs[] = {ATTR_EPS};

/* ---- shapes ---- */

/* Inputs from `first` on are vectors with a number per channel of input 0. */
static bool infer_vectors(Infer *inf, int first) {
    for (int i = first; i < inf->nin; i++)
        if (!infer_param(inf, i, "a number per channel", shape_of1(inf->in[0].dim[0]), NULL))
            return false;
    return true;
}

static bool infer_image_or_vector(Infer *inf) {
    if (inf->nin < 1)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs an input");
    if (inf->in[0].rank == 1 || inf->in[0].rank == 3)
        return true;
    return infer_fail(inf, "E0304", -1, 0, NULL, "needs channels to normalise");
}

static bool infer_bn(Infer *inf) {
    const BnAttrs *a = inf->attrs;
    if (!infer_image_or_vector(inf))
        return false;
    if (!(a->eps >= 1e-12) || !(a->momentum >= 0 && a->momentum <= 1))
        return infer_fail(inf, "E0303", a->eps >= 1e-12 ? 1 : 0, -1, NULL,
                          "eps must be positive, momentum between 0 and 1");
    return infer_vectors(inf, WEIGHT) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_instancenorm(Infer *inf) {
    const BnAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    if (inf->in[0].dim[1] * inf->in[0].dim[2] < 2)
        return infer_fail(inf, "E0304", -1, 0, "bn normalises over the batch",
                          "one number per channel has no variance");
    if (!(a->eps >= 1e-12))
        return infer_fail(inf, "E0303", 0, -1, NULL, "eps must be positive");
    return infer_vectors(inf, WEIGHT) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vectors_out(Infer *inf, int count) {
    for (int k = 0; k < count; k++)
        if (!infer_out(inf, k, shape_of1(inf->in[0].dim[0]), DT_F32))
            return false;
    return true;
}

static bool infer_moments(Infer *inf) {
    return infer_image_or_vector(inf) && vectors_out(inf, 2);
}

static bool infer_of_vectors(Infer *inf, int nin, int nout) {
    if (inf->nin != nin)
        return infer_fail(inf, "E0310", -1, inf->nin, NULL, "needs %d inputs", nin);
    return infer_rank(inf, 0, 1) && infer_vectors(inf, 1) && vectors_out(inf, nout);
}

static bool infer_combine(Infer *inf) {
    inf->unbatched = true;
    return infer_of_vectors(inf, 4, 4);
}

static bool infer_scale(Infer *inf) { return infer_of_vectors(inf, 4, 2); }
static bool infer_running(Infer *inf) { return infer_of_vectors(inf, 2, 1); }
static bool infer_coef(Infer *inf) { return infer_of_vectors(inf, 5, 3); }

static bool infer_line(Infer *inf) {
    return infer_image_or_vector(inf) && infer_vectors(inf, 1) &&
           infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_bwd_data(Infer *inf) {
    return infer_image_or_vector(inf) && infer_same(inf, 1, "diff_dst and src") &&
           infer_vectors(inf, 2) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_bwd_sums(Infer *inf) {
    return infer_image_or_vector(inf) && infer_same(inf, 1, "diff_dst and src") &&
           infer_vectors(inf, 2) && vectors_out(inf, 2);
}

/* ---- parameters ---- */

static ParamSpec vector(const char *suffix, int64_t c, double value, bool statistic) {
    ParamSpec p = param_zero(suffix, c);
    p.init = value > 0 ? INIT_FILL : INIT_ZERO;
    p.init_a = value;
    p.plain = true;
    p.statistic = p.frozen = statistic;
    return p;
}

/* Names and order as in PyTorch. */
static int params_bn(const void *attrs, const Shape *in, ParamSpec out[4]) {
    (void)attrs;
    out[0] = vector("weight", in[0].dim[0], 1, false);
    out[1] = vector("bias", in[0].dim[0], 0, false);
    out[2] = vector("running_mean", in[0].dim[0], 0, true);
    out[3] = vector("running_var", in[0].dim[0], 1, true);
    return 4;
}

static int params_instancenorm(const void *attrs, const Shape *in, ParamSpec out[4]) {
    ParamSpec all[4];
    params_bn(attrs, in, all);
    out[0] = all[0];
    out[1] = all[1];
    return 2;
}

/* ---- parts ---- */

/* What both the composite's gradient and its expansion need; cse makes one of two. */
typedef struct Parts {
    ValueId mean, variance;
    ValueId scale, shift;
    BnAttrs a;
} Parts;

/* Numbers per image and channel; of a batch all frames of a clip count, of images each alone. */
static int64_t cells_of(const Graph *g, ValueId src, bool batch) {
    int64_t c, h, w;
    const Shape *s = &graph_v(g, src)->shape;
    shape_chw(s, &c, &h, &w);
    return h * w * (batch ? shape_frames(s) : 1);
}

static Parts parts_of(Graph *g, const Node *node) {
    const BnAttrs *all = node->attrs;
    const ValueId *in = node->in;
    Parts p = {.a = {.eps = all->eps, .cells = 1}};
    if (node->op == OP_BN && all->infer) {
        ValueId line[4] = {in[MEAN], in[VARIANCE], in[WEIGHT], in[BIAS]};
        NodeId scale = graph_node(g, OP_BN_SCALE, &p.a, 4, line);
        p.mean = in[MEAN], p.variance = in[VARIANCE];
        p.scale = graph_n(g, scale)->out[0], p.shift = graph_n(g, scale)->out[1];
        return p;
    }
    bool batch = node->op == OP_BN;
    p.a.cells = cells_of(g, in[SRC], batch);
    NodeId moments = graph_node(g, OP_MOMENTS, NULL, 1, in);
    ValueId each[4] = {graph_n(g, moments)->out[0], graph_n(g, moments)->out[1], in[WEIGHT],
                       in[BIAS]};
    NodeId line = graph_node(g, batch ? OP_BN_COMBINE : OP_BN_SCALE, &p.a, 4, each);
    const ValueId *out = graph_n(g, line)->out;
    p.mean = batch ? out[0] : each[0];
    p.variance = batch ? out[1] : each[1];
    p.scale = out[batch ? 2 : 0];
    p.shift = out[batch ? 3 : 1];
    return p;
}

/* The node becomes the last of its parts, so that its value, name and label stay. */
static void become_line(Graph *g, NodeId id, const Parts *p) {
    Node *n = graph_n(g, id);
    ValueId *in = ARENA_ARRAY(g->keep, 3, ValueId);
    in[0] = n->in[SRC];
    in[1] = p->scale;
    in[2] = p->shift;
    n->op = OP_SCALE_SHIFT;
    n->in = in;
    n->nin = 3;
    n->attrs = NULL;
}

static void expand_instancenorm(Graph *g, NodeId id) {
    Node n = *graph_n(g, id); /* new nodes may move the table */
    Parts p = parts_of(g, &n);
    become_line(g, id, &p);
}

static void expand_bn(Graph *g, NodeId id) {
    Node n = *graph_n(g, id); /* new nodes may move the table */
    const BnAttrs *a = n.attrs;
    Parts p = parts_of(g, &n);
    if (!a->infer && a->momentum > 0) {
        BnAttrs running = {.eps = a->eps, .momentum = a->momentum};
        ValueId mean[2] = {n.in[MEAN], p.mean}, variance[2] = {n.in[VARIANCE], p.variance};
        graph_node(g, OP_BN_RUNNING, &running, 2, mean);
        running.cells = p.a.cells;
        graph_node(g, OP_BN_RUNNING, &running, 2, variance);
    }
    become_line(g, id, &p);
}

static ValueId over_images(Vjp *v, ValueId sums) { return vjp_op1(v, OP_BIAS_GRAD, NULL, sums); }

/* Constant statistics: a linear map of the source, the same under every rule. */
static bool vjp_constant(Vjp *v, const Node *node, const Parts *p) {
    ValueId dy = v->dy[0];
    if (v->need[SRC])
        v->dx[SRC] = vjp_op2(v, OP_CHANNEL_MUL, NULL, dy, p->scale);
    if (!v->need[WEIGHT] && !v->need[BIAS])
        return true;
    ValueId in[4] = {dy, node->in[SRC], p->mean, p->variance};
    NodeId sums = graph_node(v->g, OP_BN_BWD_SUMS, &p->a, 4, in);
    ValueId bias = graph_n(v->g, sums)->out[0], weight = graph_n(v->g, sums)->out[1];
    if (v->need[WEIGHT])
        v->dx[WEIGHT] = over_images(v, weight);
    if (v->need[BIAS])
        v->dx[BIAS] = over_images(v, bias);
    return true;
}

static bool vjp_bn(Vjp *v) {
    Node node = *vjp_node(v);
    const BnAttrs *all = node.attrs;
    Parts p = parts_of(v->g, &node);
    if (node.op == OP_BN && all->infer)
        return vjp_constant(v, &node, &p);
    ValueId dy = v->dy[0], in[4] = {dy, node.in[SRC], p.mean, p.variance};
    NodeId sums = graph_node(v->g, OP_BN_BWD_SUMS, &p.a, 4, in);
    ValueId bias = graph_n(v->g, sums)->out[0], weight = graph_n(v->g, sums)->out[1];
    ValueId all_bias = over_images(v, bias), all_weight = over_images(v, weight);
    v->dx[WEIGHT] = v->need[WEIGHT] ? all_weight : 0;
    v->dx[BIAS] = v->need[BIAS] ? all_bias : 0;
    if (!v->need[SRC])
        return true;
    bool batch = node.op == OP_BN;
    ValueId of[5] = {batch ? all_weight : weight, batch ? all_bias : bias, p.mean, p.variance,
                     node.in[WEIGHT]};
    NodeId coef = graph_node(v->g, OP_BN_BWD_COEF, &p.a, 5, of);
    const ValueId *pqr = graph_n(v->g, coef)->out;
    ValueId last[5] = {dy, node.in[SRC], pqr[0], pqr[1], pqr[2]};
    v->dx[SRC] = graph_op(v->g, OP_BN_BWD_DATA, NULL, 5, last);
    return true;
}

/* Statistics couple all numbers of a channel, so they count as constants: a line per channel.
 * h_src = scale^2 h, h_bias = sum of h, h_weight = sum of h ((src - mean) / s)^2. */
static bool curvature_bn(Vjp *v) {
    Node node = *vjp_node(v);
    Graph *g = v->g;
    Parts p = parts_of(g, &node);
    CurveAttrs zero = {.by = 0}, one = {.by = 0, .shift = 1};
    ValueId h = v->dy[0];
    if (v->need[SRC])
        v->dx[SRC] = vjp_op2(v, OP_CHANNEL_MUL, NULL, h, vjp_op1(v, OP_SQUARE, NULL, p.scale));
    if (v->need[BIAS])
        v->dx[BIAS] = over_images(v, h);
    if (!v->need[WEIGHT])
        return true;
    BnAttrs a = p.a;
    a.cells = 1;
    ValueId line[4] = {p.mean, p.variance, vjp_op1(v, OP_SCALE, &one, node.in[WEIGHT]),
                       vjp_op1(v, OP_SCALE, &zero, node.in[WEIGHT])};
    const ValueId *out = graph_n(g, graph_node(g, OP_BN_SCALE, &a, 4, line))->out;
    ValueId unit = vjp_op3(v, OP_SCALE_SHIFT, NULL, node.in[SRC], out[0], out[1]);
    ValueId square = vjp_op1(v, OP_SQUARE, NULL, unit);
    v->dx[WEIGHT] = over_images(v, vjp_op2(v, OP_MUL, NULL, square, h));
    return true;
}

/* ---- costs ---- */

static double flops_src4(const Graph *g, NodeId n) {
    return 4 * value_elems(g, graph_n(g, n)->in[0]);
}

static double flops_out6(const Graph *g, NodeId n) { return 6 * out_elems(g, n); }

/* ---- the table ---- */

const OpDef opdef_bn = {
    .title = "batch normalisation",
    .formula = "dst[c] = weight[c] * (src[c] - mean[c]) / sqrt(variance[c] + eps) + bias[c]",
    .doc = "Normalises every channel over all images and positions of the batch, then scales and "
           "shifts it.  Training uses the batch's mean and its variance (divided by the count) and "
           "moves running_mean and running_var towards them: new = (1 - momentum) old + momentum "
           "batch's, where the variance that enters is divided by the count less one, as in "
           "PyTorch.  Everything else uses the running ones: there the layer is a line per channel "
           "that ends the convolution in front.  A frozen layer trains with its running statistics "
           "and leaves them.  Parameters: weight (1), bias (0), not decayed unless decay_mult says "
           "so, and running_mean (0), running_var (1), which are saved with them.  train { init } "
           "does not concern it.  All projections multiply by weight / sqrt(running_var + eps).  "
           "The bias of a convolution in front does nothing: write bias = no.",
    .theory = "Ioffe, Szegedy 2015, algorithms 1 and 2",
    .attr_size = sizeof(BnAttrs),
    .attrs = bn_attrs,
    .nattrs = COUNT_OF(bn_attrs),
    .part = PART_NORM,
    .infer = infer_bn,
    .params = params_bn,
    .vjp = vjp_bn,
    .curvature = curvature_bn,
    .expand = expand_bn,
    .flops = flops_out6,
};

const OpDef opdef_instancenorm = {
    .title = "instance normalisation",
    .formula = "dst[n,c] = weight[c] * (src[n,c] - mean[n,c]) / sqrt(variance[n,c] + eps) + bias[c]",
    .doc = "Normalises every channel of every image over its positions, in training and elsewhere "
           "alike, then scales and shifts it.  Parameters: weight (1) and bias (0), not decayed "
           "unless decay_mult says so.  The deconvnet and guided projections use its true gradient.",
    .theory = "Ulyanov, Vedaldi, Lempitsky 2016, equation 3",
    .attr_size = sizeof(BnAttrs),
    .attrs = instancenorm_attrs,
    .nattrs = COUNT_OF(instancenorm_attrs),
    .infer = infer_instancenorm,
    .params = params_instancenorm,
    .vjp = vjp_bn,
    .curvature = curvature_bn,
    .expand = expand_instancenorm,
    .flops = flops_out6,
};

const OpDef opdef_moments = {
    .title = "mean and variance of each channel of each image",
    .formula = "mean[c] = sum of src[c] / cells;  variance[c] = sum of (src[c] - mean[c])^2 / cells",
    .doc = "One pass over memory: pieces that fit the L1 are summed twice, then combined.",
    .theory = "Chan, Golub, LeVeque 1983, equation 2.1",
    .infer = infer_moments,
    .flops = flops_src4,
    .lower = lower_moments,
    .choose = choose_moments,
};

#define BN_PART(function)                                                                          \
    .attr_size = sizeof(BnAttrs), .attrs = part_attrs, .nattrs = COUNT_OF(part_attrs),             \
    .flops = function

const OpDef opdef_bn_combine = {
    .title = "statistics of a batch from those of its images, and the line that normalises",
    .formula = "scale = weight / sqrt(variance + eps);  shift = bias - mean * scale",
    .doc = "mean and variance (divided by the count) over all images, in their order, from the mean "
           "and the variance of each.",
    .theory = "Chan, Golub, LeVeque 1983, equation 2.1; Ioffe, Szegedy 2015, algorithm 1",
    .infer = infer_combine,
    .lower = lower_bn_combine,
    .choose = choose_bn_combine,
    BN_PART(flops_src4),
};

const OpDef opdef_bn_scale = {
    .title = "the line that normalises with given statistics",
    .formula = "scale = weight / sqrt(variance + eps);  shift = bias - mean * scale",
    .doc = "Of vectors alone; with running statistics it reads nothing but parameters.",
    .theory = "Ioffe, Szegedy 2015, algorithm 2, step 11",
    .infer = infer_scale,
    .lower = lower_bn_scale,
    .choose = choose_bn_vectors,
    BN_PART(flops_src4),
};

const OpDef opdef_bn_running = {
    .title = "update of a running statistic",
    .formula = "running = (1 - momentum) * running + momentum * new",
    .doc = "A variance (cells > 0) over count = images * cells numbers enters times "
           "count / (count - 1).",
    .theory = "Ioffe, Szegedy 2015, algorithm 2, step 10",
    .infer = infer_running,
    .lower = lower_bn_running,
    .choose = choose_bn_vectors,
    BN_PART(flops_src4),
};

const OpDef opdef_scale_shift = {
    .title = "a line per channel",
    .formula = "dst[c] = scale[c] * src[c] + shift[c]",
    .doc = "The normalisations' own pass over images; joins the kernel in front or behind.",
    .theory = "Ioffe, Szegedy 2015, algorithm 1",
    .infer = infer_line,
    .flops = flops_out2,
    .scalar = scalar_scale_shift,
    .lower = lower_map,
    .choose = choose_map,
};

const OpDef opdef_channel_mul = {
    .title = "multiplication of each channel by a number",
    .formula = "dst[c] = scale[c] * src[c]",
    .doc = "The adjoint of scale_shift.",
    .theory = "the transpose of a linear map",
    .infer = infer_line,
    .flops = flops_out1,
    .scalar = scalar_channel_mul,
    .lower = lower_map,
    .choose = choose_map,
};

const OpDef opdef_bn_bwd_sums = {
    .title = "both sums of a normalisation's gradient, per image and channel",
    .formula = "diff_bias = sum of diff_dst;  diff_weight = sum of diff_dst * (src - mean) / "
               "sqrt(variance + eps)",
    .doc = "One pass over diff_dst and src.",
    .theory = "Ioffe, Szegedy 2015, section 3",
    .infer = infer_bwd_sums,
    .lower = lower_bn_bwd_sums,
    .choose = choose_moments,
    BN_PART(flops_src4),
};

const OpDef opdef_bn_bwd_coef = {
    .title = "coefficients of a normalisation's gradient",
    .formula = "p = weight / s, s = sqrt(variance + eps);  q = -p diff_weight / (s count);  "
               "r = -p diff_bias / count - q mean",
    .doc = "For sums over the batch, count = images * cells; for sums of each image, cells.",
    .theory = "Ioffe, Szegedy 2015, section 3",
    .infer = infer_coef,
    .lower = lower_bn_bwd_coef,
    .choose = choose_bn_vectors,
    BN_PART(flops_src4),
};

const OpDef opdef_bn_bwd_data = {
    .title = "gradient of a normalisation with respect to its input",
    .formula = "diff_src[c] = p[c] * diff_dst[c] + q[c] * src[c] + r[c]",
    .doc = "One pass; joins other kernels as scale_shift does.",
    .theory = "Ioffe, Szegedy 2015, section 3",
    .infer = infer_bwd_data,
    .flops = flops_out2,
    .scalar = scalar_bn_bwd_data,
    .lower = lower_map,
    .choose = choose_map,
};
