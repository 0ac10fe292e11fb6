/* softmax_loss.c: softmax and the losses (facts; code in softmax_lower.c).
 *
 * A loss gives one number per image, already multiplied by its weight; the quantity trained on is
 * their mean over the batch.  Its *_bwd operator therefore carries the factor weight / n itself and
 * reverse mode starts there: no signal flows into a loss.
 * theory: Bridle 1990 (softmax); LeCun et al. 1998, equations (8) and (9).
 */
#include "ops/facts.h"

/* ---- softmax ---- */

static bool infer_softmax(Infer *inf) {
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 1);
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_softmax_bwd(Infer *inf) {
    return infer_softmax(inf) && infer_same(inf, 1, "diff_dst and dst");
}

static bool vjp_softmax(Vjp *v) {
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_SOFTMAX_BWD, NULL, v->dy[0], vjp_node(v)->out[0]);
    return true;
}

const OpDef opdef_softmax = {
    .title = "softmax over channels",
    .formula = "dst[c] = exp(src[c]) / sum over k of exp(src[k])",
    .doc = "Turns scores into positive numbers that sum to one, at every position of an image on "
           "its own.  Projections and saliency maps start before it, at the scores.  Train with "
           "cross_entropy on the scores, not on softmax's output.",
    .theory = "Bridle 1990",
    .infer = infer_softmax,
    .vjp = vjp_softmax,
    .flops = flops_out10,
    .lower = lower_softmax,
    .lanes = lanes_softmax,
    .choose = choose_images,
};

const OpDef opdef_softmax_bwd = {
    .title = "gradient of softmax",
    .formula = "diff_src[c] = dst[c] * (diff_dst[c] - sum over k of diff_dst[k] * dst[k])",
    .doc = "The derivative, written in terms of softmax's output dst.",
    .theory = "Bridle 1990",
    .infer = infer_softmax_bwd,
    .flops = flops_out2,
    .lower = lower_softmax_bwd,
    .lanes = lanes_softmax_bwd,
    .choose = choose_images,
};

/* ---- losses ---- */

#define WEIGHT ATTR_FLOAT(LossAttrs, weight, false, "1", 0, 1e9, "factor in the sum of losses")
static const AttrDesc ce_attrs[] = {WEIGHT};
static const AttrDesc mse_attrs[] = {
    WEIGHT,
    ATTR_FLOAT(LossAttrs, on, false, "1", -1e9, 1e9, "target of the true class"),
    ATTR_FLOAT(LossAttrs, off, false, "0", -1e9, 1e9, "target of the other classes"),
};
static const AttrDesc map_attrs[] = {
    WEIGHT,
    ATTR_FLOAT(LossAttrs, j, false, "0.1", 0, 1e9, "penalty of the rubbish class"),
};

static bool check_loss(Infer *inf) {
    const LossAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 1) || !infer_rank(inf, 1, 0))
        return false;
    if (!(a->weight >= 0 && a->weight <= 1e9))
        return infer_fail(inf, "E0303", 0, -1, NULL, "weight %g: must be between 0 and 1e9",
                          a->weight);
    return true;
}

static bool infer_loss(Infer *inf) {
    return check_loss(inf) && infer_out(inf, 0, shape_of0(), DT_F32);
}

static bool infer_loss_bwd(Infer *inf) {
    return check_loss(inf) && infer_out(inf, 0, inf->in[0], DT_F32);
}

/* Only training has losses; labels get no gradient. */
static bool vjp_loss(Vjp *v, int op) {
    const Node *node = vjp_node(v);
    LossAttrs a = *(const LossAttrs *)node->attrs;
    if (v->rule != RULE_TRAIN)
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, op, &a, node->in[0], node->in[1]);
    return true;
}

static bool vjp_cross_entropy(Vjp *v) { return vjp_loss(v, OP_CROSS_ENTROPY_BWD); }
static bool vjp_mse(Vjp *v) { return vjp_loss(v, OP_MSE_BWD); }
static bool vjp_lenet_map(Vjp *v) { return vjp_loss(v, OP_LENET_MAP_BWD); }

static double flops_loss(const Graph *g, NodeId n) {
    return 10 * value_elems(g, graph_n(g, n)->in[0]);
}

#define LOSS_BWD(name, table, text, source)                                                        \
    const OpDef opdef_##name##_bwd = {                                                             \
        .title = "gradient of " #name,                                                             \
        .formula = text,                                                                           \
        .doc = "Includes the factor weight / n, so that the batch's mean loss is what is "         \
               "differentiated.",                                                                  \
        .theory = source,                                                                          \
        .attr_size = sizeof(LossAttrs),                                                            \
        .attrs = table,                                                                            \
        .nattrs = COUNT_OF(table),                                                                 \
        .infer = infer_loss_bwd,                                                                   \
        .flops = flops_loss,                                                                       \
        .lower = lower_##name##_bwd,                                                               \
        .lanes = lanes_##name##_bwd,                                                               \
        .choose = choose_images,                                                                   \
    }

const OpDef opdef_cross_entropy = {
    .title = "cross-entropy of scores and a class label",
    .formula = "loss = weight * (log(sum over k of exp(src[k])) - src[label])",
    .doc = "Minus the log-probability that softmax gives to the true class.  Takes the scores "
           "before softmax; shifted by their maximum, so it cannot overflow.",
    .theory = "Bridle 1990; Goodfellow, Bengio, Courville 2016, section 6.2.2.3",
    .attr_size = sizeof(LossAttrs),
    .attrs = ce_attrs,
    .nattrs = COUNT_OF(ce_attrs),
    .infer = infer_loss,
    .vjp = vjp_cross_entropy,
    .flops = flops_loss,
    .lower = lower_cross_entropy,
    .lanes = lanes_cross_entropy,
    .choose = choose_images,
};
LOSS_BWD(cross_entropy, ce_attrs, "diff_src[c] = weight / n * (softmax(src)[c] - [c = label])",
         "Bridle 1990");

const OpDef opdef_mse = {
    .title = "mean squared error against a class label",
    .formula = "loss = weight * mean over c of (src[c] - (c = label ? on : off))^2",
    .doc = "The mean over the outputs of one image; `on` and `off` are the targets of the true and "
           "the other classes, 1 and 0 unless set (LeNet uses -/+ 1 with stanh).",
    .theory = "LeCun et al. 1998, equation (8) and appendix A",
    .attr_size = sizeof(LossAttrs),
    .attrs = mse_attrs,
    .nattrs = COUNT_OF(mse_attrs),
    .infer = infer_loss,
    .vjp = vjp_mse,
    .flops = flops_loss,
    .lower = lower_mse,
    .lanes = lanes_mse,
    .choose = choose_images,
};
LOSS_BWD(mse, mse_attrs, "diff_src[c] = weight / n * 2 / C * (src[c] - target[c])",
         "LeCun et al. 1998, equation (8)");

const OpDef opdef_lenet_map = {
    .title = "LeNet-5's maximum a posteriori loss over penalties",
    .formula = "loss = weight * (src[label] + log(exp(-j) + sum over k of exp(-src[k])))",
    .doc = "src are penalties (squared distances of `rbf`): small means likely.  Pulls the true "
           "class's penalty down and pushes the others up; j > 0 is the penalty of a rubbish class "
           "and keeps penalties that are large already from growing.  With j large it is the "
           "cross-entropy over -src.",
    .theory = "LeCun et al. 1998, equation (9)",
    .attr_size = sizeof(LossAttrs),
    .attrs = map_attrs,
    .nattrs = COUNT_OF(map_attrs),
    .infer = infer_loss,
    .vjp = vjp_lenet_map,
    .flops = flops_loss,
    .lower = lower_lenet_map,
    .lanes = lanes_lenet_map,
    .choose = choose_images,
};
LOSS_BWD(lenet_map, map_attrs,
         "diff_src[c] = weight / n * ([c = label] - exp(-src[c]) / (exp(-j) + sum exp(-src[k])))",
         "LeCun et al. 1998, equation (9)");
