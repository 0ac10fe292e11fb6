/* loss_error.c: losses between two layers (facts; code in loss_error_lower.c).
 *
 * mse and logistic have a form for class labels too (softmax_loss.c, loss_margin.c).  The gradient
 * is an elementwise function of both layers, which joins the kernel that makes the first. theory:
 * Rumelhart, Hinton, Williams 1986 (autoencoders); Huber 1964 (why absolute errors).
 */
#include "ops/facts.h"

#define WEIGHT ATTR_FLOAT(LossAttrs, weight, false, "1", 0, 1e9, "factor in the sum of losses")
static const AttrDesc mae_attrs[] = {WEIGHT};
static const AttrDesc error_attrs[] = {WEIGHT,
                                       {"kind", AT_ENUM, offsetof(LossAttrs, kind), false, "square",
                                        "square|abs|logistic|linear|sum", 1, 0, "", true}};

static bool infer_mae(Infer *inf) {
    return infer_target(inf, TARGET_LAYER) && infer_loss_value(inf);
}

static bool infer_error_bwd(Infer *inf) {
    return infer_target(inf, TARGET_LAYER) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_mae(Vjp *v) {
    return vjp_error(v, ERROR_ABS);
}

const OpDef opdef_mae = {
    .title = "mean absolute error between two layers",
    .formula = "loss = weight * mean over all numbers of |a - b|",
    .doc = "mae(pred, image).  Both layers get a gradient; it is 0 where they are equal.",
    .theory = "Huber 1964",
    .attr_size = sizeof(LossAttrs),
    .attrs = mae_attrs,
    .nattrs = COUNT_OF(mae_attrs),
    .infer = infer_mae,
    .vjp = vjp_mae,
    .curvature_else = "mse(a, b) has second derivatives; those of mae are 0",
    .flops = flops_loss,
    .lower = lower_mae,
    .choose = choose_images,
};

const OpDef opdef_error_bwd = {
    .title = "gradient of a loss between two layers",
    .formula = "diff_a = weight / (n * count) * (2 (a - b), sign(a - b), sigmoid(a) - b or a), or "
               "weight / n",
    .doc = "Of mse, mae, logistic (a: of its target, up to the sign) and penalty.  Includes the "
           "factor weight / n, so that the batch's mean loss is what is differentiated.",
    .theory = "Rumelhart, Hinton, Williams 1986",
    .attr_size = sizeof(LossAttrs),
    .attrs = error_attrs,
    .nattrs = COUNT_OF(error_attrs),
    .infer = infer_error_bwd,
    .flops = flops_out2,
    .scalar = scalar_error_bwd,
    .lower = lower_map,
    .choose = choose_map,
};
