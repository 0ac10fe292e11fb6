/* objective.c: what pictures made by optimisation and networks that make pictures are judged by:
 * products of maps, total variation, powers, and the loss that takes such a number as it is (facts;
 * code in objective_lower.c).
 *
 * The same terms with the same conventions as NAME-viz has for layers and pictures that are chosen
 * when it runs (runtime/look/rt_gram.h, rt_pixels.h).  A Gram matrix is [C, C] as a sequence is:
 * stored as an image [C, 1, C], so that it can go into every layer and loss.  theory: Gatys, Ecker,
 * Bethge 2015 and 2016; Mahendran, Vedaldi 2015; Johnson, Alahi, Fei-Fei 2016.
 */
#include "ops/facts.h"

/* ---- gram ---- */

static const AttrDesc gram_attrs[] = {
    ATTR_BOOL(GramAttrs, scaled, "yes", "divide by the number of the image's values, C * H * W"),
};

static bool infer_gram(Infer *inf) {
    if (!infer_rank(inf, 0, 3))
        return false;
    return infer_out(inf, 0, shape_of3(inf->in[0].dim[0], 1, inf->in[0].dim[0]), DT_F32);
}

static bool infer_gram_bwd(Infer *inf) {
    if (!infer_rank(inf, 0, 3) || !infer_rank(inf, 1, 3))
        return false;
    const Shape *s = &inf->in[0], want = shape_of3(inf->in[1].dim[0], 1, inf->in[1].dim[0]);
    if (!shape_equal(s, &want))
        return infer_fail(inf, "E0304", -1, 0, NULL, "a matrix of %lldx%lld for %lld maps",
                          (long long)s->dim[0], (long long)s->dim[2], (long long)want.dim[0]);
    return infer_out(inf, 0, inf->in[1], DT_F32);
}

/* dL/dx = (D + D^T) x, D = dL/dG: G is symmetric, D need not be. */
static bool vjp_gram(Vjp *v) {
    const Node *node = vjp_node(v);
    GramAttrs a = *(const GramAttrs *)node->attrs;
    PermuteAttrs turn = {ORDER_WHC};
    ValueId src = node->in[0], dy = v->dy[0];
    if (!rule_true(v))
        return false;
    if (!v->need[0])
        return true;
    ValueId both = vjp_op2(v, OP_ADD, NULL, dy, vjp_op1(v, OP_TRANSPOSE, &turn, dy));
    v->dx[0] = vjp_op2(v, OP_GRAM_BWD, &a, both, src);
    return true;
}

/* One triangle of products. */
static double flops_gram(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    double c = (double)graph_v(g, node->in[0])->shape.dim[0];
    return (c + 1) * value_elems(g, node->in[0]);
}

static double flops_gram_bwd(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    double c = (double)graph_v(g, node->in[1])->shape.dim[0];
    return 2 * c * value_elems(g, node->in[1]);
}

const OpDef opdef_gram = {
    .title = "Gram matrix of the maps",
    .formula = "dst[i,j] = sum over y, x of src[i,y,x] * src[j,y,x] / (C * H * W)",
    .doc = "Which maps are active together, wherever that is: the style of a picture.  The result "
           "is [C, C], a sequence of C steps.  Scaled as in Johnson et al.; scaled = no leaves the "
           "sums as Gatys et al. have them.  mse(gram(a), gram(b)) is the mean over the C * C "
           "numbers: times C * C it is Johnson's style loss, and a quarter of that is Gatys's E.",
    .theory = "Gatys, Ecker, Bethge 2015, equation 3; Johnson, Alahi, Fei-Fei 2016, equation 3",
    .attr_size = sizeof(GramAttrs),
    .attrs = gram_attrs,
    .nattrs = COUNT_OF(gram_attrs),
    .infer = infer_gram,
    .sees_all = true,
    .vjp = vjp_gram,
    .flops = flops_gram,
    .lower = lower_gram,
    .choose = choose_gram,
};

const OpDef opdef_gram_bwd = {
    .title = "gradient of gram",
    .formula = "diff_src[i,y,x] = sum over j of matrix[i,j] * src[j,y,x] / (C * H * W)",
    .doc = "matrix is diff_dst plus its transpose.",
    .theory = "Gatys, Ecker, Bethge 2015, equation 6",
    .attr_size = sizeof(GramAttrs),
    .attrs = gram_attrs,
    .nattrs = COUNT_OF(gram_attrs),
    .infer = infer_gram_bwd,
    .flops = flops_gram_bwd,
    .lower = lower_gram_bwd,
    .choose = choose_gram_bwd,
};

/* ---- total variation, powers ---- */

static const AttrDesc tv_attrs[] = {
    ATTR_FLOAT(PowerAttrs, beta, true, "2", 1, 16, "power of the length of a step")};
static const AttrDesc alpha_attrs[] = {
    ATTR_FLOAT(PowerAttrs, alpha, true, "2", 1, 16, "power of each number's size")};

static bool in_range(Infer *inf, const char *name, double x) {
    return (x >= 1 && x <= 16) || infer_fail(inf, "E0303", 0, -1, NULL,
                                             "%s %g: must be between 1 and 16", name, x);
}

static bool infer_tv(Infer *inf) {
    return infer_rank(inf, 0, 3) &&
           in_range(inf, "beta", ((const PowerAttrs *)inf->attrs)->beta) &&
           infer_out(inf, 0, shape_of1(1), DT_F32);
}

static bool infer_tv_bwd(Infer *inf) {
    return infer_rank(inf, 0, 1) && infer_rank(inf, 1, 3) && infer_out(inf, 0, inf->in[1], DT_F32);
}

static bool infer_alpha_norm(Infer *inf) {
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 3);
    return in_range(inf, "alpha", ((const PowerAttrs *)inf->attrs)->alpha) &&
           infer_out(inf, 0, shape_of1(1), DT_F32);
}

static bool infer_alpha_norm_bwd(Infer *inf) {
    return infer_repeated(inf, 1) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_tv(Vjp *v) {
    PowerAttrs a = *(const PowerAttrs *)vjp_node(v)->attrs;
    if (rule_true(v) && v->need[0])
        v->dx[0] = vjp_op2(v, OP_TV_BWD, &a, v->dy[0], vjp_node(v)->in[0]);
    return rule_true(v);
}

static bool vjp_alpha_norm(Vjp *v) {
    PowerAttrs a = *(const PowerAttrs *)vjp_node(v)->attrs;
    if (rule_true(v) && v->need[0])
        v->dx[0] = vjp_op2(v, OP_ALPHA_NORM_BWD, &a, vjp_node(v)->in[0], v->dy[0]);
    return rule_true(v);
}

static double flops_src8(const Graph *g, NodeId n) {
    return 8 * value_elems(g, graph_n(g, n)->in[0]);
}

static double flops_src2(const Graph *g, NodeId n) {
    return 2 * value_elems(g, graph_n(g, n)->in[0]);
}

static double flops_out24(const Graph *g, NodeId n) { return 24 * out_elems(g, n); }

const OpDef opdef_tv = {
    .title = "total variation of an image",
    .formula = "dst = sum over c, y, x of ((src[c,y,x+1] - src[c,y,x])^2 + "
               "(src[c,y+1,x] - src[c,y,x])^2)^(beta / 2)",
    .doc = "One number per image, small where neighbours are alike; steps over the border are 0.  "
           "beta = 1 allows sharp edges, 2 prefers many small steps.  Where nothing changes and "
           "beta is below 2 the gradient is taken as 0.  penalty makes a loss of it.",
    .theory = "Rudin, Osher, Fatemi 1992; Mahendran, Vedaldi 2015, equation 3",
    .attr_size = sizeof(PowerAttrs),
    .attrs = tv_attrs,
    .nattrs = COUNT_OF(tv_attrs),
    .infer = infer_tv,
    .sees_all = true,
    .vjp = vjp_tv,
    .flops = flops_src8,
    .lower = lower_tv,
    .choose = choose_images,
};

const OpDef opdef_tv_bwd = {
    .title = "gradient of tv",
    .formula = "diff_src[c,y,x] = diff_dst * (the derivative of the terms of the cell, of the one "
               "on its left and of the one above it)",
    .doc = "Every cell gathers from three terms, so that tasks are independent.",
    .theory = "Mahendran, Vedaldi 2015, equation 3",
    .attr_size = sizeof(PowerAttrs),
    .attrs = tv_attrs,
    .nattrs = COUNT_OF(tv_attrs),
    .infer = infer_tv_bwd,
    .flops = flops_out24,
    .lower = lower_tv_bwd,
    .choose = choose_rows,
};

const OpDef opdef_alpha_norm = {
    .title = "sum of powers",
    .formula = "dst = sum over everything of |src|^alpha",
    .doc = "One number per image or vector: alpha = 2 is the energy, 6 keeps the numbers of a "
           "picture within a range.  No root is taken.  penalty makes a loss of it.",
    .theory = "Mahendran, Vedaldi 2015, section 2.2",
    .attr_size = sizeof(PowerAttrs),
    .attrs = alpha_attrs,
    .nattrs = COUNT_OF(alpha_attrs),
    .infer = infer_alpha_norm,
    .sees_all = true,
    .vjp = vjp_alpha_norm,
    .flops = flops_src2,
    .lower = lower_alpha_norm,
    .choose = choose_images,
};

const OpDef opdef_alpha_norm_bwd = {
    .title = "gradient of alpha_norm",
    .formula = "diff_src = diff_dst * alpha * sign(src) * |src|^(alpha - 1)",
    .doc = "diff_dst is one number per image.",
    .theory = "Mahendran, Vedaldi 2015, section 2.2",
    .attr_size = sizeof(PowerAttrs),
    .attrs = alpha_attrs,
    .nattrs = COUNT_OF(alpha_attrs),
    .infer = infer_alpha_norm_bwd,
    .flops = flops_out2,
    .scalar = scalar_alpha_norm_bwd,
    .lower = lower_map,
    .choose = choose_map,
};

/* ---- a number as a loss ---- */

static const AttrDesc penalty_attrs[] = {
    ATTR_FLOAT(LossAttrs, weight, false, "1", 0, 1e9, "factor in the sum of losses")};

static bool infer_penalty(Infer *inf) {
    const LossAttrs *a = inf->attrs;
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 1);
    if (!(a->weight >= 0 && a->weight <= 1e9))
        return infer_fail(inf, "E0303", 0, -1, NULL, "weight %g: must be between 0 and 1e9",
                          a->weight);
    return infer_loss_value(inf);
}

static bool vjp_penalty(Vjp *v) {
    const Node *node = vjp_node(v);
    LossAttrs a = *(const LossAttrs *)node->attrs;
    ValueId x = node->in[0];
    a.kind = ERROR_SUM;
    if (v->rule == RULE_TRAIN && v->need[0])
        v->dx[0] = vjp_op2(v, OP_ERROR_BWD, &a, x, x);
    return v->rule == RULE_TRAIN;
}

const OpDef opdef_penalty = {
    .title = "a number of the network as a loss",
    .formula = "loss = weight * sum over all numbers of src",
    .doc = "penalty(tv(picture), weight = 1e-4).  Whatever is to become small: total variation, "
           "powers, distances that the net computes.  It is not squared.",
    .theory = "elementary",
    .attr_size = sizeof(LossAttrs),
    .attrs = penalty_attrs,
    .nattrs = COUNT_OF(penalty_attrs),
    .infer = infer_penalty,
    .vjp = vjp_penalty,
    .flops = flops_src2,
    .lower = lower_penalty,
    .choose = choose_images,
};
