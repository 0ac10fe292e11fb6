/* threshold.c: soft and hard thresholds (facts; formulas in threshold_lower.c).
 *
 * tau is a number, or a second input: `param tau: f32[C] = ..` or f32[1].  Soft thresholds train
 * it: their output moves by -sign(output) per unit of tau.  A hard threshold's output does not
 * depend on tau but for jumps, so its gradient is zero and a trained tau stays where it is.
 * Gradients read the OUTPUT: a number passed if it is not zero.  There is no deconvnet or guided
 * rule: what these thresholds clear is small, not negative. theory: Donoho, Johnstone 1994, "Ideal
 * spatial adaptation by wavelet shrinkage", section 1; Papyan, Romano, Elad 2017, "Convolutional
 * neural networks analyzed via convolutional sparse coding", section 4.
 */
#include "ops/facts.h"

static const AttrDesc threshold_attrs[] = {
    ATTR_FLOAT(ThresholdAttrs, tau, true, "-1", -1, 1e30,
               "height, 0 or more; not given where a parameter has it: x -> OP(tau)"),
    {"signed", AT_BOOL, offsetof(ThresholdAttrs, is_signed), false, "yes", NULL, 1, 0,
     "both sides; no: what is negative is cleared too", false},
};

static bool infer_threshold(Infer *inf) {
    const ThresholdAttrs *a = inf->attrs;
    if (inf->nin < 1 || inf->nin > 2)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs a layer and a threshold");
    if (inf->nin == 1 && !(a->tau >= 0))
        return infer_fail(inf, "E0303", 0, -1,
                          "write soft_threshold(0.1), or x -> soft_threshold(tau) "
                          "with param tau: f32[1] = fill(0.1)",
                          "needs a threshold tau, 0 or more");
    if (inf->nin == 2 && !infer_repeated(inf, 1))
        return false;
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_threshold_bwd(Infer *inf) {
    return infer_same(inf, 1, "diff_dst and dst") && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_threshold(Vjp *v, bool soft) {
    const Node *node = vjp_node(v);
    ValueId y = node->out[0], tau = node->nin > 1 ? node->in[1] : 0, dy = v->dy[0];
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_THRESHOLD_BWD, NULL, dy, y);
    if (soft && tau && v->need[1])
        v->dx[1] =
            vjp_repeated(v, vjp_op1(v, OP_NEG, NULL, vjp_op2(v, OP_ABS_BWD, NULL, dy, y)), tau);
    return true;
}

static bool vjp_soft_threshold(Vjp *v) {
    return vjp_threshold(v, true);
}
static bool vjp_hard_threshold(Vjp *v) {
    return vjp_threshold(v, false);
}

/* Entries of the derivative are 0, 1 and, for tau, -1. */
static bool curvature_threshold(Vjp *v, bool soft) {
    const Node *node = vjp_node(v);
    ValueId y = node->out[0], tau = node->nin > 1 ? node->in[1] : 0;
    bool moved = soft && tau && v->need[1];
    if (!v->need[0] && !moved)
        return true;
    ValueId passed = vjp_op2(v, OP_THRESHOLD_BWD, NULL, v->dy[0], y);
    v->dx[0] = v->need[0] ? passed : 0;
    if (moved)
        v->dx[1] = vjp_repeated(v, passed, tau);
    return true;
}

static bool curvature_soft_threshold(Vjp *v) {
    return curvature_threshold(v, true);
}
static bool curvature_hard_threshold(Vjp *v) {
    return curvature_threshold(v, false);
}

#define TABLE                                                                                      \
    .attr_size = sizeof(ThresholdAttrs), .attrs = threshold_attrs,                                 \
    .nattrs = COUNT_OF(threshold_attrs)
#define MAP(name)                                                                                  \
    .flops = flops_out2, .scalar = scalar_##name, .lower = lower_map, .choose = choose_map
#define NO_RULE "  The deconvnet and guided rules do not exist for it."

const OpDef opdef_soft_threshold = {
    .title = "soft threshold (shrinkage)",
    .formula = "dst = sign(src) * max(|src| - tau, 0)  (signed = no: max(src - tau, 0))",
    .doc = "Moves numbers towards 0 by tau and clears those that are closer.  tau is a number or a "
           "parameter, one per channel or one in all, which is trained.  The one-sided form is a "
           "rectifier behind a bias of -tau." NO_RULE,
    .theory = "Donoho, Johnstone 1994; Papyan, Romano, Elad 2017, section 4",
    TABLE,
    .infer = infer_threshold,
    .vjp = vjp_soft_threshold,
    .curvature = curvature_soft_threshold,
    MAP(soft_threshold),
};

const OpDef opdef_hard_threshold = {
    .title = "hard threshold",
    .formula = "dst = |src| > tau ? src : 0  (signed = no: src > tau ? src : 0)",
    .doc = "Clears numbers within tau of 0 and keeps the others as they are.  tau is a number or a "
           "parameter, one per channel or one in all; its gradient is 0 almost everywhere, so "
           "training does not move it." NO_RULE,
    .theory = "Donoho, Johnstone 1994; Papyan, Romano, Elad 2017, section 4",
    TABLE,
    .infer = infer_threshold,
    .vjp = vjp_hard_threshold,
    .curvature = curvature_hard_threshold,
    MAP(hard_threshold),
};

const OpDef opdef_threshold_bwd = {
    .title = "gradient of a threshold",
    .formula = "diff_src = dst != 0 ? diff_dst : 0",
    .doc = "Of soft and hard thresholds, one- and two-sided.",
    .theory = "Papyan, Romano, Elad 2017, section 4",
    .infer = infer_threshold_bwd,
    MAP(threshold_bwd),
};
