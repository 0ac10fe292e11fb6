/* softmax_loss.c: softmax and the losses (facts; code in softmax_lower.c).
 *
 * A loss gives one number per image, already multiplied by its weight; the quantity trained on is
 * their mean over the batch.  Its *_bwd operator therefore carries the factor weight / n itself and
 * reverse mode starts there: no signal flows into a loss.
 * theory: Bridle 1990 (softmax); LeCun et al. 1998, equations (8) and (9).
 */
#include "ops/curvature.h"
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

/* sum over j of (p[j] ([i = j] - p[i]))^2 h[j] = p[i]^2 ((1 - 2 p[i]) h[i] + sum of p[j]^2 h[j]) */
static bool curvature_softmax(Vjp *v) {
    ValueId p = vjp_node(v)->out[0], h = v->dy[0];
    const Shape *s = &graph_v(v->g, p)->shape;
    SumToAttrs maps = {.dim = {1, 1, 1}, .rank = s->rank};
    for (int d = 1; d < s->rank; d++)
        maps.dim[d] = s->dim[d];
    CurveAttrs line = {.by = -2, .shift = 1};
    if (!v->need[0])
        return true;
    ValueId square = vjp_op1(v, OP_SQUARE, NULL, p);
    ValueId all = vjp_op1(v, OP_SUM_TO, &maps, vjp_op2(v, OP_MUL, NULL, square, h));
    ValueId own = vjp_op2(v, OP_MUL, NULL, vjp_op1(v, OP_SCALE, &line, p), h);
    v->dx[0] = vjp_op2(v, OP_MUL, NULL, square, vjp_op2(v, OP_ADD, NULL, own, all));
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
    .curvature = curvature_softmax,
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
static const AttrDesc ce_attrs[] = {
    WEIGHT,
    ATTR_FLOAT(LossAttrs, smoothing, false, "0", 0, 1,
               "share of the target that is spread evenly over all classes"),
};
static const AttrDesc mse_attrs[] = {
    WEIGHT,
    ATTR_FLOAT(LossAttrs, on, false, "1", -1e9, 1e9, "target of the true class"),
    ATTR_FLOAT(LossAttrs, off, false, "0", -1e9, 1e9, "target of the other classes"),
};
static const AttrDesc map_attrs[] = {
    WEIGHT,
    ATTR_FLOAT(LossAttrs, j, false, "0.1", 0, 1e9, "penalty of the rubbish class"),
};

bool infer_target(Infer *inf, int takes) {
    const LossAttrs *a = inf->attrs;
    if (inf->nin < 2)
        return infer_fail(inf, "E0310", -1, inf->nin, NULL, "needs 2 inputs, got %d", inf->nin);
    const Shape *x = &inf->in[0], *y = &inf->in[1];
    if (!(a->weight >= 0 && a->weight <= 1e9))
        return infer_fail(inf, "E0303", 0, -1, NULL, "weight %g: must be between 0 and 1e9",
                          a->weight);
    if (y->rank == 2 && (takes & TARGET_MAP)) {
        if (!infer_rank(inf, 0, 3))
            return false;
        if (x->dim[1] == y->dim[0] && x->dim[2] == y->dim[1])
            return true;
        return infer_fail(inf, "E0304", -1, 0, "upsample or crop the scores to the labels' size",
                          "scores of %lldx%lld pixels beside labels of %lldx%lld",
                          (long long)x->dim[1], (long long)x->dim[2], (long long)y->dim[0],
                          (long long)y->dim[1]);
    }
    if (takes & TARGET_LAYER && y->rank > 0)
        return infer_same(inf, 1, "the layers to compare");
    if (!(takes & TARGET_CLASS))
        return infer_fail(inf, "E0304", -1, 1, "mse and logistic compare with a class label too",
                          "compares two layers, got a class label");
    return infer_rank(inf, 0, 1) && infer_rank(inf, 1, 0);
}

bool infer_loss_value(Infer *inf) { return infer_out(inf, 0, shape_of0(), DT_F32); }

static bool infer_cross_entropy(Infer *inf) {
    return infer_target(inf, TARGET_CLASS | TARGET_MAP) && infer_loss_value(inf);
}

static bool infer_cross_entropy_bwd(Infer *inf) {
    return infer_target(inf, TARGET_CLASS | TARGET_MAP) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_mse(Infer *inf) {
    return infer_target(inf, TARGET_CLASS | TARGET_LAYER) && infer_loss_value(inf);
}

static bool infer_lenet_map(Infer *inf) {
    return infer_target(inf, TARGET_CLASS) && infer_loss_value(inf);
}

static bool infer_loss_bwd(Infer *inf) {
    return infer_target(inf, TARGET_CLASS) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool of_label(const Graph *g, NodeId n) {
    return graph_v(g, graph_n(g, n)->in[1])->shape.rank == 0;
}

/* Only training has losses; labels get no gradient. */
bool vjp_loss(Vjp *v, int op) {
    const Node *node = vjp_node(v);
    LossAttrs a = *(const LossAttrs *)node->attrs;
    if (v->rule != RULE_TRAIN)
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, op, &a, node->in[0], node->in[1]);
    return true;
}

static bool curvature_cross_entropy(Vjp *v) {
    return curvature_loss(v, OP_CROSS_ENTROPY_BWD);
}
static bool curvature_lenet_map(Vjp *v) {
    return curvature_loss(v, OP_LENET_MAP_BWD);
}

/* 2 weight / count everywhere, for both of two layers */
static bool curvature_mse(Vjp *v) {
    const Node *node = vjp_node(v);
    const LossAttrs *a = node->attrs;
    ValueId x = node->in[0];
    CurveAttrs flat = {.by = 0, .shift = 2 * a->weight / value_elems(v->g, x)};
    if (!v->need[0] && !v->need[1])
        return true;
    ValueId h = vjp_op1(v, OP_SCALE, &flat, x);
    for (int i = 0; i < 2; i++)
        v->dx[i] = v->need[i] ? h : 0;
    return true;
}

static bool vjp_cross_entropy(Vjp *v) { return vjp_loss(v, OP_CROSS_ENTROPY_BWD); }

bool vjp_error(Vjp *v, int kind) {
    const Node *node = vjp_node(v);
    ValueId x = node->in[0], y = node->in[1];
    LossAttrs a = *(const LossAttrs *)node->attrs;
    a.kind = kind;
    if (v->rule != RULE_TRAIN)
        return false;
    if (!v->need[0] && !v->need[1])
        return true;
    ValueId d = vjp_op2(v, OP_ERROR_BWD, &a, x, y);
    if (v->need[0])
        v->dx[0] = d;
    if (v->need[1] && kind == ERROR_LOGISTIC) { /* -x weight / n / count */
        a.kind = ERROR_LINEAR;
        v->dx[1] = vjp_op1(v, OP_NEG, NULL, vjp_op2(v, OP_ERROR_BWD, &a, x, y));
        v->dx[1] = vjp_repeated(v, v->dx[1], y);
    } else if (v->need[1]) {
        v->dx[1] = vjp_repeated(v, vjp_op1(v, OP_NEG, NULL, d), y);
    }
    return true;
}

static bool vjp_mse(Vjp *v) {
    return of_label(v->g, v->node) ? vjp_loss(v, OP_MSE_BWD) : vjp_error(v, ERROR_SQUARE);
}
static bool vjp_lenet_map(Vjp *v) { return vjp_loss(v, OP_LENET_MAP_BWD); }

double flops_loss(const Graph *g, NodeId n) {
    return 10 * value_elems(g, graph_n(g, n)->in[0]);
}

#define LOSS_BWD(name, table, shapes, text, source)                                                \
    const OpDef opdef_##name##_bwd = {                                                             \
        .title = "gradient of " #name,                                                             \
        .formula = text,                                                                           \
        .doc = "Includes the factor weight / n, so that the batch's mean loss is what is "         \
               "differentiated.",                                                                  \
        .theory = source,                                                                          \
        .attr_size = sizeof(LossAttrs),                                                            \
        .attrs = table,                                                                            \
        .nattrs = COUNT_OF(table),                                                                 \
        .infer = shapes,                                                                           \
        .flops = flops_loss,                                                                       \
        .lower = lower_##name##_bwd,                                                               \
        .lanes = lanes_##name##_bwd,                                                               \
        .lanes_can = of_label,                                                                     \
        .choose = choose_images,                                                                   \
    }

const OpDef opdef_cross_entropy = {
    .title = "cross-entropy of scores and a class label",
    .formula = "loss = weight * (log(sum over k of exp(src[k])) - src[label])",
    .doc = "Minus the log-probability that softmax gives to the true class.  Takes the scores "
           "before softmax; shifted by their maximum, so it cannot overflow.  With smoothing = s "
           "the target is 1 - s for the true class plus s / classes for every class.  For scores "
           "[classes, H, W] and a label map [H, W] it is the mean over the pixels of an image; a "
           "pixel whose label is no class (255, or -1) does not count.",
    .theory = "Bridle 1990; Szegedy et al. 2016, \"Rethinking the Inception architecture\", "
              "section 7; Long, Shelhamer, Darrell 2015, section 4.3",
    .attr_size = sizeof(LossAttrs),
    .attrs = ce_attrs,
    .nattrs = COUNT_OF(ce_attrs),
    .infer = infer_cross_entropy,
    .vjp = vjp_cross_entropy,
    .curvature = curvature_cross_entropy,
    .curvature_can = of_label,
    .curvature_else = "with a map of labels, sgd(..) trains; sdlm wants one label per image",
    .flops = flops_loss,
    .lower = lower_cross_entropy,
    .lanes = lanes_cross_entropy,
    .lanes_can = of_label,
    .choose = choose_images,
};
LOSS_BWD(cross_entropy, ce_attrs, infer_cross_entropy_bwd,
         "diff_src[c] = weight / n * (softmax(src)[c] - target[c])",
         "Bridle 1990");

const OpDef opdef_mse = {
    .title = "mean squared error against a class label or a layer",
    .formula = "loss = weight * mean over c of (src[c] - (c = label ? on : off))^2;  two layers: "
               "weight * mean over all numbers of (a - b)^2",
    .doc = "The mean over the outputs of one image; `on` and `off` are the targets of the true and "
           "the other classes, 1 and 0 unless set (LeNet uses -/+ 1 with stanh).  With two layers, "
           "mse(pred, image), it is an autoencoder's loss; both get a gradient.",
    .theory = "LeCun et al. 1998, equation (8) and appendix A",
    .attr_size = sizeof(LossAttrs),
    .attrs = mse_attrs,
    .nattrs = COUNT_OF(mse_attrs),
    .infer = infer_mse,
    .vjp = vjp_mse,
    .curvature = curvature_mse,
    .flops = flops_loss,
    .lower = lower_mse,
    .lanes = lanes_mse,
    .lanes_can = of_label,
    .choose = choose_images,
};
LOSS_BWD(mse, mse_attrs, infer_loss_bwd, "diff_src[c] = weight / n * 2 / C * (src[c] - target[c])",
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
    .infer = infer_lenet_map,
    .vjp = vjp_lenet_map,
    .curvature = curvature_lenet_map,
    .flops = flops_loss,
    .lower = lower_lenet_map,
    .lanes = lanes_lenet_map,
    .choose = choose_images,
};
LOSS_BWD(lenet_map, map_attrs, infer_loss_bwd,
         "diff_src[c] = weight / n * ([c = label] - exp(-src[c]) / (exp(-j) + sum exp(-src[k])))",
         "LeCun et al. 1998, equation (9)");
