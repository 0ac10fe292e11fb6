/* loss_margin.c: hinge losses (linear support vector machines) and the logistic loss (facts; code
 * in loss_margin_lower.c).
 *
 * hinge's default is the squared one against all others, because that is what "linear SVM on the
 * features of layer k" means where it was made popular: LIBLINEAR's default solver, and Tang 2013
 * for training it by gradients.  The regulariser is weight decay.  The prediction is the largest
 * score. theory: Crammer, Singer 2001, equation (2); Fan et al. 2008 (LIBLINEAR), section 2; Tang
 * 2013, "Deep learning using linear support vector machines", equations (6) and (8).
 */
#include "ops/curvature.h"
#include "ops/facts.h"

#define WEIGHT ATTR_FLOAT(LossAttrs, weight, false, "1", 0, 1e9, "factor in the sum of losses")
static const AttrDesc logistic_attrs[] = {WEIGHT};
static const AttrDesc hinge_attrs[] = {
    WEIGHT,
    ATTR_ENUM(LossAttrs, kind, "one_vs_rest", "one_vs_rest|crammer_singer",
              "every class against all others, or the true one against the best other"),
    ATTR_INT(LossAttrs, power, false, "2", 1, 2, "of what is missing to the margin"),
    ATTR_FLOAT(LossAttrs, margin, false, "1", 0, 1e9, "distance that costs nothing"),
};

static bool infer_hinge(Infer *inf) {
    return infer_target(inf, TARGET_CLASS) && infer_loss_value(inf);
}

static bool infer_logistic(Infer *inf) {
    return infer_target(inf, TARGET_CLASS | TARGET_LAYER) && infer_loss_value(inf);
}

static bool infer_bwd(Infer *inf) {
    return infer_target(inf, TARGET_CLASS) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_hinge(Vjp *v) {
    return vjp_loss(v, OP_HINGE_BWD);
}

/* 2 weight wherever something is missing to the margin, which is where there is a gradient. */
static bool curvature_hinge(Vjp *v) {
    const Node *node = vjp_node(v);
    LossAttrs a = *(const LossAttrs *)node->attrs;
    CurveAttrs flat = {.by = 0, .shift = 2 * a.weight};
    ValueId x = node->in[0], label = node->in[1];
    a.weight = 1;
    if (!v->need[0])
        return true;
    ValueId g = vjp_op1(v, OP_ABS, NULL, vjp_op2(v, OP_HINGE_BWD, &a, x, label));
    v->dx[0] = vjp_op2(v, OP_RELU_BWD, NULL, vjp_op1(v, OP_SCALE, &flat, x), g);
    return true;
}

static bool hinge_bends(const Graph *g, NodeId n) {
    return ((const LossAttrs *)graph_n(g, n)->attrs)->power == 2;
}

/* weight / count p (1 - p); a second layer enters as a line. */
static bool curvature_logistic(Vjp *v) {
    const Node *node = vjp_node(v);
    const LossAttrs *a = node->attrs;
    ValueId x = node->in[0];
    CurveAttrs flat = {.by = 0, .shift = a->weight / value_elems(v->g, x)};
    if (!v->need[0])
        return true;
    ValueId p = vjp_op1(v, OP_SIGMOID, NULL, x);
    v->dx[0] = vjp_op2(v, OP_SIGMOID_BWD, NULL, vjp_op1(v, OP_SCALE, &flat, x), p);
    return true;
}

static bool vjp_logistic(Vjp *v) {
    if (graph_v(v->g, vjp_node(v)->in[1])->shape.rank > 0)
        return vjp_error(v, ERROR_LOGISTIC);
    return vjp_loss(v, OP_LOGISTIC_BWD);
}

#define TABLE(table) .attr_size = sizeof(LossAttrs), .attrs = table, .nattrs = COUNT_OF(table)

const OpDef opdef_hinge = {
    .title = "hinge loss of scores and a class label (linear SVM)",
    .formula = "loss = weight * sum over k of max(0, margin - t[k] * src[k])^power, t = 1 for the "
               "true class, -1 for the others;  crammer_singer: weight * max(0, margin + max over "
               "other k of src[k] - src[label])^power",
    .doc =
        "A linear support vector machine on the layer in front: dense(classes), then hinge; weight "
        "decay is its regulariser.  The default, squared and one class against the rest, is "
        "LIBLINEAR's; crammer_singer looks at the best wrong class alone (the first, when equal).  "
        "The class is the largest score.",
    .theory = "Tang 2013, equations (6) and (8); Crammer, Singer 2001, equation (2)",
    TABLE(hinge_attrs),
    .infer = infer_hinge,
    .vjp = vjp_hinge,
    .curvature = curvature_hinge,
    .curvature_can = hinge_bends,
    .curvature_else = "hinge(power = 2), which is the default, has second derivatives",
    .flops = flops_loss,
    .lower = lower_hinge,
    .choose = choose_images,
};

const OpDef opdef_hinge_bwd = {
    .title = "gradient of hinge",
    .formula =
        "diff_src[k] = weight / n * -t[k] * power * max(0, margin - t[k] * src[k])^(power-1)",
    .doc =
        "Includes the factor weight / n, so that the batch's mean loss is what is differentiated.",
    .theory = "Tang 2013, equation (9)",
    TABLE(hinge_attrs),
    .infer = infer_bwd,
    .flops = flops_loss,
    .lower = lower_hinge_bwd,
    .choose = choose_images,
};

const OpDef opdef_logistic = {
    .title = "logistic loss against a class label or a layer",
    .formula = "loss = weight * mean over k of log(1 + exp(src[k])) - t[k] * src[k]",
    .doc =
        "Binary cross-entropy of every output by itself, from scores before the sigmoid.  Targets "
        "t are 1 for the true class and 0 for the others, or the numbers of a second layer "
        "between 0 and 1: logistic(pred, image).",
    .theory = "Cox 1958; Goodfellow, Bengio, Courville 2016, section 6.2.2.2",
    TABLE(logistic_attrs),
    .infer = infer_logistic,
    .vjp = vjp_logistic,
    .curvature = curvature_logistic,
    .flops = flops_loss,
    .lower = lower_logistic,
    .choose = choose_images,
};

const OpDef opdef_logistic_bwd = {
    .title = "gradient of logistic for a class label",
    .formula = "diff_src[k] = weight / (n * classes) * (1 / (1 + exp(-src[k])) - [k = label])",
    .doc =
        "Includes the factor weight / n, so that the batch's mean loss is what is differentiated.",
    .theory = "Goodfellow, Bengio, Courville 2016, section 6.2.2.2",
    TABLE(logistic_attrs),
    .infer = infer_bwd,
    .flops = flops_loss,
    .lower = lower_logistic_bwd,
    .choose = choose_images,
};
