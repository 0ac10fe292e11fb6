/* elementwise.c: functions applied to each number alone (facts; formulas in elementwise_lower.c).
 *
 * Gradients read the stored OUTPUT of the forward function, so that the input may be overwritten.
 * The three projection rules differ here: the true gradient masks by the forward sign, the
 * deconvnet rectifies the signal, guided backpropagation does both.
 * theory: Zeiler, Fergus 2014, section 2.1; Springenberg et al. 2015, figure 1; Simonyan et al. 2014,
 * section 4 (the relation between deconvnet and gradient).
 */
#include "ops/facts.h"

static bool infer_unary(Infer *inf) {
    if (inf->nin < 1)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs an input");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_binary(Infer *inf) {
    return infer_same(inf, 1, "the inputs must have equal shapes") &&
           infer_out(inf, 0, inf->in[0], DT_F32);
}

/* ---- relu ---- */

static bool vjp_relu(Vjp *v) {
    ValueId dy = v->dy[0], y = vjp_node(v)->out[0];
    if (!v->need[0])
        return true;
    v->dx[0] = v->rule == RULE_DECONVNET ? dy : vjp_op2(v, OP_RELU_BWD, NULL, dy, y);
    if (v->rule == RULE_DECONVNET || v->rule == RULE_GUIDED)
        v->dx[0] = vjp_op1(v, OP_RELU, NULL, v->dx[0]);
    return true;
}

const OpDef opdef_relu = {
    .title = "rectifier",
    .formula = "dst = max(src, 0)",
    .doc = "Passes positive numbers, clears the others.  Its gradient passes where the output is "
           "positive; a deconvnet projection rectifies the signal instead, a guided one does both.",
    .theory = "Nair, Hinton 2010; Zeiler, Fergus 2014, section 2.1",
    .part = PART_MOVES,
    .infer = infer_unary,
    .vjp = vjp_relu,
    .flops = flops_out1,
    .scalar = scalar_relu,
    .lower = lower_map,
    .choose = choose_map,
};

const OpDef opdef_relu_bwd = {
    .title = "gradient of relu",
    .formula = "diff_src = dst > 0 ? diff_dst : 0",
    .doc = "Masks the signal by the sign of the rectifier's output; the derivative at 0 is 0.",
    .theory = "Springenberg et al. 2015, figure 1",
    .infer = infer_binary,
    .flops = flops_out1,
    .scalar = scalar_relu_bwd,
    .lower = lower_map,
    .choose = choose_map,
};

/* ---- squashing functions: no deconvnet or guided rule, since those are about rectifiers ---- */

static bool vjp_squash(Vjp *v, int op) {
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, op, NULL, v->dy[0], vjp_node(v)->out[0]);
    return true;
}

static bool vjp_tanh(Vjp *v) { return vjp_squash(v, OP_TANH_BWD); }
static bool vjp_stanh(Vjp *v) { return vjp_squash(v, OP_STANH_BWD); }
static bool vjp_sigmoid(Vjp *v) { return vjp_squash(v, OP_SIGMOID_BWD); }

#define SQUASH_BWD(name, text)                                                                     \
    const OpDef opdef_##name##_bwd = {                                                             \
        .title = "gradient of " #name,                                                             \
        .formula = text,                                                                           \
        .doc = "The derivative, written in terms of the function's output dst.",                   \
        .theory = "LeCun, Bottou, Orr, Mueller 1998, section 4.4",                                 \
        .infer = infer_binary,                                                                     \
        .flops = flops_out2,                                                                       \
        .scalar = scalar_##name##_bwd,                                                             \
        .lower = lower_map,                                                                        \
        .choose = choose_map,                                                                      \
    }

const OpDef opdef_tanh = {
    .title = "hyperbolic tangent",
    .formula = "dst = tanh(src)",
    .doc = "Squashes to (-1, 1).  The deconvnet and guided rules do not exist for it.",
    .theory = "LeCun, Bottou, Orr, Mueller 1998, section 4.4",
    .infer = infer_unary,
    .vjp = vjp_tanh,
    .flops = flops_out10,
    .scalar = scalar_tanh,
    .lower = lower_map,
    .choose = choose_map,
};
SQUASH_BWD(tanh, "diff_src = diff_dst * (1 - dst^2)");

const OpDef opdef_stanh = {
    .title = "LeNet's scaled hyperbolic tangent",
    .formula = "dst = 1.7159 * tanh(2/3 * src)",
    .doc = "Squashes to (-1.7159, 1.7159) with f(1) = 1 and f(-1) = -1, so that targets of -/+ 1 lie "
           "where the curvature is largest.  The deconvnet and guided rules do not exist for it.",
    .theory = "LeCun et al. 1998, section II.B and appendix A, equation (25)",
    .infer = infer_unary,
    .vjp = vjp_stanh,
    .flops = flops_out10,
    .scalar = scalar_stanh,
    .lower = lower_map,
    .choose = choose_map,
};
SQUASH_BWD(stanh, "diff_src = diff_dst * 2/3 * (1.7159 - dst^2 / 1.7159)");

const OpDef opdef_sigmoid = {
    .title = "logistic function",
    .formula = "dst = 1 / (1 + exp(-src))",
    .doc = "Squashes to (0, 1).  The deconvnet and guided rules do not exist for it.",
    .theory = "Rumelhart, Hinton, Williams 1986, equation (2)",
    .infer = infer_unary,
    .vjp = vjp_sigmoid,
    .flops = flops_out10,
    .scalar = scalar_sigmoid,
    .lower = lower_map,
    .choose = choose_map,
};
SQUASH_BWD(sigmoid, "diff_src = diff_dst * dst * (1 - dst)");

/* ---- dropout ---- */

static const AttrDesc dropout_attrs[] = {
    ATTR_FLOAT(DropoutAttrs, rate, true, "0.5", 0, 0.9999, "share of numbers set to zero"),
    ATTR_ENUM(DropoutAttrs, scale, "train", "train|test",
              "when the other numbers are scaled to keep the mean"),
    ATTR_HIDDEN(DropoutAttrs, key, AT_INT, "0"),
    ATTR_HIDDEN(DropoutAttrs, infer, AT_BOOL, "no"),
};

static bool infer_dropout(Infer *inf) {
    const DropoutAttrs *a = inf->attrs;
    if (!(a->rate >= 0 && a->rate < 1))
        return infer_fail(inf, "E0303", 0, -1, "0.5 and 50% mean the same",
                          "dropout rate %g: must be at least 0 and below 1", a->rate);
    return infer_unary(inf);
}

/* Training repeats the mask.  Elsewhere dropout is the identity, or, when scaled at test, a constant
 * factor, which is its own adjoint. */
static bool vjp_dropout(Vjp *v) {
    DropoutAttrs a = *(const DropoutAttrs *)vjp_node(v)->attrs;
    if (!v->need[0])
        return true;
    if (!a.infer && v->rule == RULE_TRAIN)
        v->dx[0] = vjp_op1(v, OP_DROPOUT_BWD, &a, v->dy[0]);
    else if (a.infer && a.scale == 1)
        v->dx[0] = vjp_op1(v, OP_DROPOUT, &a, v->dy[0]);
    else
        v->dx[0] = v->dy[0];
    return true;
}

#define DROPOUT_NUMBERS                                                                            \
    "Element e = (channel * height + row) * width + column of image n survives when the first word " \
    "of Philox4x32-10 with counter (e, n, step, key) and key (low and high word of the seed), its "  \
    "upper 24 bits divided by 2^24, is at least `rate`."

const OpDef opdef_dropout = {
    .title = "dropout",
    .formula = "training: dst = keep ? src / (1 - rate) : 0;  afterwards: dst = src "
               "(scale = test: keep ? src : 0;  afterwards (1 - rate) * src)",
    .doc = "Sets a random share of the numbers to zero while training.  scale = train, the usual "
           "form, needs nothing afterwards; scale = test is the original form of 2012.  The mask "
           "depends on seed, step, layer, image and element only.  " DROPOUT_NUMBERS,
    .theory = "Hinton et al. 2012; Srivastava et al. 2014, section 10 (scaling at training time)",
    .attr_size = sizeof(DropoutAttrs),
    .attrs = dropout_attrs,
    .nattrs = COUNT_OF(dropout_attrs),
    .part = PART_MOVES,
    .infer = infer_dropout,
    .vjp = vjp_dropout,
    .flops = flops_out2,
    .scalar = scalar_dropout,
    .lower = lower_map,
    .choose = choose_map,
};

const OpDef opdef_dropout_bwd = {
    .title = "gradient of dropout",
    .formula = "diff_src = keep ? diff_dst / (1 - rate) : 0 with the forward pass's mask",
    .doc = "Draws the same mask again.  " DROPOUT_NUMBERS,
    .theory = "Srivastava et al. 2014, section 5.1",
    .attr_size = sizeof(DropoutAttrs),
    .attrs = dropout_attrs,
    .nattrs = COUNT_OF(dropout_attrs),
    .infer = infer_dropout,
    .flops = flops_out2,
    .scalar = scalar_dropout_bwd,
    .lower = lower_map,
    .choose = choose_map,
};
