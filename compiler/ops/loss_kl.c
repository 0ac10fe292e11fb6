/* loss_kl.c: relative entropy between the distributions of two layers of scores (facts; code in
 * loss_kl_lower.c).
 *
 * TRADES's second term (front/build_attack.c) and, between a teacher and a student, distillation.
 * theory: Kullback, Leibler 1951; Hinton, Vinyals, Dean 2015; Zhang et al. 2019, "Theoretically
 * Principled Trade-off between Robustness and Accuracy", equation (5).
 */
#include "ops/facts.h"

#define WEIGHT ATTR_FLOAT(LossAttrs, weight, false, "1", 0, 1e9, "factor in the sum of losses")
static const AttrDesc kl_attrs[] = {WEIGHT};
static const AttrDesc kl_bwd_attrs[] = {
    WEIGHT,
    {"kind", AT_ENUM, offsetof(LossAttrs, kind), false, "first", "first|second", 1, 0, "", true}};

static bool infer_scores(Infer *inf) {
    return infer_target(inf, TARGET_LAYER) && infer_rank(inf, 0, 1);
}

static bool infer_kl(Infer *inf) { return infer_scores(inf) && infer_loss_value(inf); }

static bool infer_kl_bwd(Infer *inf) {
    return infer_scores(inf) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_kl(Vjp *v) {
    const Node *node = vjp_node(v);
    ValueId p = node->in[0], q = node->in[1];
    LossAttrs a = *(const LossAttrs *)node->attrs;
    if (v->rule != RULE_TRAIN)
        return false;
    for (int i = 0; i < 2; i++) {
        a.kind = i == 0 ? KL_OF_FIRST : KL_OF_SECOND;
        if (v->need[i])
            v->dx[i] = vjp_op2(v, OP_KL_BWD, &a, p, q);
    }
    return true;
}

const OpDef opdef_kl = {
    .title = "relative entropy of two layers of scores",
    .formula = "loss = weight * sum over k of p[k] (log p[k] - log q[k]), p = softmax(a), "
               "q = softmax(b)",
    .doc = "kl(a, b): how far the distribution of b's scores is from that of a's, the "
           "Kullback-Leibler divergence; 0 where they are equal.  Takes scores before softmax.  "
           "Both layers get a gradient: a teacher's layers, frozen, are taken as they are "
           "(distillation).",
    .theory = "Kullback, Leibler 1951; Hinton, Vinyals, Dean 2015, \"Distilling the Knowledge in a "
              "Neural Network\"; Zhang et al. 2019, equation (5)",
    .attr_size = sizeof(LossAttrs),
    .attrs = kl_attrs,
    .nattrs = COUNT_OF(kl_attrs),
    .infer = infer_kl,
    .vjp = vjp_kl,
    .curvature_else = "cross_entropy has second derivatives; those of kl are not built",
    .flops = flops_loss,
    .lower = lower_kl,
    .choose = choose_images,
};

const OpDef opdef_kl_bwd = {
    .title = "gradient of kl",
    .formula = "second: diff_b[k] = weight / n * (q[k] - p[k]);  "
               "first: diff_a[k] = weight / n * p[k] (log p[k] - log q[k] - kl)",
    .doc = "Includes the factor weight / n, so that the batch's mean loss is what is "
           "differentiated.",
    .theory = "Kullback, Leibler 1951",
    .attr_size = sizeof(LossAttrs),
    .attrs = kl_bwd_attrs,
    .nattrs = COUNT_OF(kl_bwd_attrs),
    .infer = infer_kl_bwd,
    .flops = flops_loss,
    .lower = lower_kl_bwd,
    .choose = choose_images,
};
