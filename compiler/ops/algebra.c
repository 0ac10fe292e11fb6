/* algebra.c: functions of one number: rectifiers with a tail, powers, clipping (facts; formulas in
 * algebra_lower.c).
 *
 * Gradients read the stored OUTPUT where the function can be undone from it (leaky_relu, elu,
 * softplus, clip, sqrt, exp), so that the input may be overwritten; else the input.
 * Projections: neg and scale are linear and use their adjoint under every rule.  The others have
 * their derivative under `train` and `gradient` only: the deconvnet and guided rules are statements
 * about rectifiers that clear what is negative.
 * theory: Springenberg et al. 2015, figure 1, for why those two rules are refused.
 */
#include <float.h>
#include <math.h>

#include "ops/facts.h"

#define NO_RULE "  The deconvnet and guided rules do not exist for it."

static bool infer_unary(Infer *inf) {
    if (inf->nin < 1)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs an input");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_binary(Infer *inf) {
    return infer_same(inf, 1, "the inputs must have equal shapes") &&
           infer_out(inf, 0, inf->in[0], DT_F32);
}

/* dx = bwd(dy, dst) or bwd(dy, src), with the function's attributes */
static bool vjp_bwd(Vjp *v, int op, bool by_output) {
    const Node *node = vjp_node(v);
    CurveAttrs a = {0};
    ValueId at = by_output ? node->out[0] : node->in[0];
    if (node->attrs)
        a = *(const CurveAttrs *)node->attrs;
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, op, op_def[op]->attr_size ? &a : NULL, v->dy[0], at);
    return true;
}

static ValueId scaled(Vjp *v, ValueId x, double by) {
    CurveAttrs a = {.by = by};
    return vjp_op1(v, OP_SCALE, &a, x);
}

#define CURVE(table) .attr_size = sizeof(CurveAttrs), .attrs = table, .nattrs = COUNT_OF(table)
#define MAP(name, cost)                                                                            \
    .flops = cost, .scalar = scalar_##name, .lower = lower_map, .choose = choose_map

/* ---- rectifiers with a tail ---- */

static const AttrDesc leaky_attrs[] = {
    ATTR_FLOAT(CurveAttrs, slope, true, "0.01", 0, 1, "factor of negative numbers"),
};

static bool vjp_leaky_relu(Vjp *v) {
    return vjp_bwd(v, OP_LEAKY_RELU_BWD, true);
}

const OpDef opdef_leaky_relu = {
    .title = "rectifier that leaks",
    .formula = "dst = src > 0 ? src : slope * src",
    .doc = "Passes positive numbers and a small part of the others." NO_RULE,
    .theory = "Maas, Hannun, Ng 2013, section 2",
    CURVE(leaky_attrs),
    .part = PART_MOVES,
    .infer = infer_unary,
    .vjp = vjp_leaky_relu,
    MAP(leaky_relu, flops_out1),
};

const OpDef opdef_leaky_relu_bwd = {
    .title = "gradient of leaky_relu",
    .formula = "diff_src = dst > 0 ? diff_dst : slope * diff_dst",
    .doc = "Reads the sign off the output, which has the input's.",
    .theory = "Maas, Hannun, Ng 2013, section 2",
    CURVE(leaky_attrs),
    .infer = infer_binary,
    MAP(leaky_relu_bwd, flops_out1),
};

static const AttrDesc prelu_attrs[] = {
    ATTR_BOOL(CurveAttrs, shared, "no", "one number for all channels instead of one for each"),
};

static bool infer_prelu(Infer *inf) {
    const CurveAttrs *a = inf->attrs;
    if (!infer_unary(inf))
        return false;
    int64_t n = a->shared ? 1 : inf->in[0].dim[0];
    return infer_param(inf, 1, "the slopes", shape_of1(n), NULL);
}

static bool infer_prelu_bwd(Infer *inf) {
    return infer_same(inf, 1, "diff_dst and src") && infer_repeated(inf, 2) &&
           infer_out(inf, 0, inf->in[0], DT_F32);
}

static int params_prelu(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const CurveAttrs *a = attrs;
    out[0] = param_zero("weight", a->shared ? 1 : in[0].dim[0]);
    out[0].init = INIT_FILL;
    out[0].init_a = 0.25;
    out[0].plain = true;
    return 1;
}

/* The slope's gradient is diff_dst times what it multiplies: min(src, 0). */
static bool vjp_prelu(Vjp *v) {
    const Node *node = vjp_node(v);
    ValueId src = node->in[0], weight = node->in[1], dy = v->dy[0];
    CurveAttrs negative = {.lo = -FLT_MAX};
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op3(v, OP_PRELU_BWD, NULL, dy, src, weight);
    if (v->need[1])
        v->dx[1] = vjp_repeated(
            v, vjp_op2(v, OP_MUL, NULL, vjp_op1(v, OP_CLIP, &negative, src), dy), weight);
    return true;
}

static bool curvature_prelu(Vjp *v) {
    const Node *node = vjp_node(v);
    ValueId src = node->in[0], weight = node->in[1], h = v->dy[0];
    CurveAttrs negative = {.lo = -FLT_MAX};
    if (v->need[0])
        v->dx[0] = vjp_op3(v, OP_PRELU_BWD, NULL, h, src, vjp_op1(v, OP_SQUARE, NULL, weight));
    if (!v->need[1])
        return true;
    ValueId times = vjp_op1(v, OP_SQUARE, NULL, vjp_op1(v, OP_CLIP, &negative, src));
    v->dx[1] = vjp_repeated(v, vjp_op2(v, OP_MUL, NULL, times, h), weight);
    return true;
}

const OpDef opdef_prelu = {
    .title = "rectifier with trained slopes",
    .formula = "dst[c] = src[c] > 0 ? src[c] : weight[c] * src[c]",
    .doc = "A leaky_relu whose slope is trained, one per channel (shared = yes: one in all).  "
           "Parameter: weight, starts at 0.25; not decayed unless decay_mult says so." NO_RULE,
    .theory = "He et al. 2015, \"Delving deep into rectifiers\", equation (1)",
    CURVE(prelu_attrs),
    .part = PART_MOVES,
    .infer = infer_prelu,
    .params = params_prelu,
    .vjp = vjp_prelu,
    .curvature = curvature_prelu,
    MAP(prelu, flops_out1),
};

const OpDef opdef_prelu_bwd = {
    .title = "gradient of prelu with respect to its input",
    .formula = "diff_src[c] = src[c] > 0 ? diff_dst[c] : weight[c] * diff_dst[c]",
    .doc = "A slope may be negative, so the sign is the input's.",
    .theory = "He et al. 2015, equation (3)",
    .infer = infer_prelu_bwd,
    MAP(prelu_bwd, flops_out1),
};

static const AttrDesc elu_attrs[] = {
    ATTR_FLOAT(CurveAttrs, alpha, true, "1", 0, 1e6, "minus the value far below zero"),
};

static bool vjp_elu(Vjp *v) {
    return vjp_bwd(v, OP_ELU_BWD, true);
}

const OpDef opdef_elu = {
    .title = "exponential linear unit",
    .formula = "dst = src > 0 ? src : alpha * (exp(src) - 1)",
    .doc = "A rectifier whose negative side levels off at -alpha." NO_RULE,
    .theory = "Clevert, Unterthiner, Hochreiter 2016, equation (15)",
    CURVE(elu_attrs),
    .infer = infer_unary,
    .vjp = vjp_elu,
    MAP(elu, flops_out10),
};

const OpDef opdef_elu_bwd = {
    .title = "gradient of elu",
    .formula = "diff_src = dst > 0 ? diff_dst : diff_dst * (dst + alpha)",
    .doc = "The derivative, written in terms of the output dst.",
    .theory = "Clevert, Unterthiner, Hochreiter 2016, equation (15)",
    CURVE(elu_attrs),
    .infer = infer_binary,
    MAP(elu_bwd, flops_out2),
};

/* ---- smooth rectifiers ---- */

static bool vjp_softplus(Vjp *v) {
    return vjp_bwd(v, OP_SOFTPLUS_BWD, true);
}
static bool vjp_swish(Vjp *v) {
    return vjp_bwd(v, OP_SWISH_BWD, false);
}
static bool vjp_gelu(Vjp *v) {
    return vjp_bwd(v, OP_GELU_BWD, false);
}

const OpDef opdef_softplus = {
    .title = "smooth rectifier",
    .formula = "dst = log(1 + exp(src))",
    .doc = "Written as max(src, 0) + log(1 + exp(-|src|)), so it cannot overflow." NO_RULE,
    .theory = "Dugas et al. 2001; Glorot, Bordes, Bengio 2011, section 3",
    .infer = infer_unary,
    .vjp = vjp_softplus,
    MAP(softplus, flops_out10),
};

const OpDef opdef_softplus_bwd = {
    .title = "gradient of softplus",
    .formula = "diff_src = diff_dst * (1 - exp(-dst))",
    .doc = "1 - exp(-dst) is the logistic function of the input.",
    .theory = "Dugas et al. 2001",
    .infer = infer_binary,
    MAP(softplus_bwd, flops_out10),
};

const OpDef opdef_swish = {
    .title = "swish, or sigmoid-weighted linear unit",
    .formula = "dst = src / (1 + exp(-src))",
    .doc = "Known as SiLU too." NO_RULE,
    .theory = "Elfwing, Uchibe, Doya 2018; Ramachandran, Zoph, Le 2017",
    .infer = infer_unary,
    .vjp = vjp_swish,
    MAP(swish, flops_out10),
};

const OpDef opdef_swish_bwd = {
    .title = "gradient of swish",
    .formula = "diff_src = diff_dst * s * (1 + src * (1 - s)), s = 1 / (1 + exp(-src))",
    .doc = "Two inputs give the same output, so it reads the input.",
    .theory = "Elfwing, Uchibe, Doya 2018, equation (6)",
    .infer = infer_binary,
    MAP(swish_bwd, flops_out10),
};

const OpDef opdef_gelu = {
    .title = "Gaussian error linear unit",
    .formula = "dst = 0.5 * src * (1 + tanh(sqrt(2 / pi) * (src + 0.044715 * src^3)))",
    .doc = "The form with tanh, which is within 5e-4 of src times the normal distribution's share "
           "below src (PyTorch: approximate = 'tanh')." NO_RULE,
    .theory = "Hendrycks, Gimpel 2016, section 2",
    .infer = infer_unary,
    .vjp = vjp_gelu,
    MAP(gelu, flops_out10),
};

const OpDef opdef_gelu_bwd = {
    .title = "gradient of gelu",
    .formula = "diff_src = diff_dst * (0.5 * (1 + t) + 0.5 * src * (1 - t^2) * u'), t = tanh(u), "
               "u = sqrt(2 / pi) * (src + 0.044715 * src^3)",
    .doc = "Two inputs give the same output, so it reads the input.",
    .theory = "Hendrycks, Gimpel 2016, section 2",
    .infer = infer_binary,
    MAP(gelu_bwd, flops_out10),
};

/* ---- sign, lines, clipping ---- */

static bool vjp_abs(Vjp *v) {
    return vjp_bwd(v, OP_ABS_BWD, false);
}

static bool vjp_neg(Vjp *v) {
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_NEG, NULL, v->dy[0]);
    return true;
}

static bool vjp_scale(Vjp *v) {
    double by = ((const CurveAttrs *)vjp_node(v)->attrs)->by;
    if (v->need[0])
        v->dx[0] = scaled(v, v->dy[0], by);
    return true;
}

const OpDef opdef_abs = {
    .title = "absolute value",
    .formula = "dst = |src|",
    .doc = "Full-wave rectification; the derivative at 0 is 0." NO_RULE,
    .theory = "Jarrett et al. 2009, section 2.1 (rectification layer)",
    .infer = infer_unary,
    .vjp = vjp_abs,
    MAP(abs, flops_out1),
};

const OpDef opdef_abs_bwd = {
    .title = "gradient of abs",
    .formula = "diff_src = diff_dst * sign(src), sign(0) = 0",
    .doc = "Also the gradient of a threshold's height, up to its sign.",
    .theory = "the derivative of |x|",
    .infer = infer_binary,
    MAP(abs_bwd, flops_out1),
};

const OpDef opdef_neg = {
    .title = "change of sign",
    .formula = "dst = -src",
    .doc = "Linear: every projection changes the sign again.",
    .theory = "elementary",
    .part = PART_MOVES,
    .infer = infer_unary,
    .vjp = vjp_neg,
    MAP(neg, flops_out1),
};

static const AttrDesc scale_attrs[] = {
    ATTR_FLOAT(CurveAttrs, by, true, "1", -1e30, 1e30, "factor"),
    ATTR_FLOAT(CurveAttrs, shift, false, "0", -1e30, 1e30, "added afterwards"),
};

const OpDef opdef_scale = {
    .title = "multiplication and addition of constants",
    .formula = "dst = by * src + shift",
    .doc =
        "One factor for everything: residual branches are scaled by 0.1 to 0.3 in deep "
        "Inception-ResNets.  Every projection multiplies by the factor.  For a trained factor per "
        "channel multiply by a parameter.",
    .theory = "Szegedy, Ioffe, Vanhoucke, Alemi 2016, section 3.3",
    CURVE(scale_attrs),
    .part = PART_MOVES,
    .infer = infer_unary,
    .vjp = vjp_scale,
    MAP(scale, flops_out2),
};

static const AttrDesc clip_attrs[] = {
    ATTR_FLOAT(CurveAttrs, lo, true, "0", -FLT_MAX, FLT_MAX, "smallest result"),
    ATTR_FLOAT(CurveAttrs, hi, true, "6", -FLT_MAX, FLT_MAX, "largest result"),
};

static bool infer_clip(Infer *inf) {
    const CurveAttrs *a = inf->attrs;
    if (!(a->lo < a->hi))
        return infer_fail(inf, "E0303", 1, -1, NULL, "clip from %g to %g: hi must exceed lo", a->lo,
                          a->hi);
    return infer_unary(inf);
}

static bool vjp_clip(Vjp *v) {
    return vjp_bwd(v, OP_CLIP_BWD, true);
}

const OpDef opdef_clip = {
    .title = "limits",
    .formula = "dst = min(max(src, lo), hi)",
    .doc = "clip(0, 6), the default, is ReLU6.  The derivative at both limits is 0." NO_RULE,
    .theory = "Krizhevsky 2010, \"Convolutional deep belief networks on CIFAR-10\", section 2",
    CURVE(clip_attrs),
    .infer = infer_clip,
    .vjp = vjp_clip,
    MAP(clip, flops_out2),
};

const OpDef opdef_clip_bwd = {
    .title = "gradient of clip",
    .formula = "diff_src = lo < dst < hi ? diff_dst : 0",
    .doc = "Reads the output.",
    .theory = "Krizhevsky 2010, section 2",
    CURVE(clip_attrs),
    .infer = infer_binary,
    MAP(clip_bwd, flops_out2),
};

/* ---- powers ---- */

/* 2 x dy */
static bool vjp_square(Vjp *v) {
    ValueId src = vjp_node(v)->in[0];
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = scaled(v, vjp_op2(v, OP_MUL, NULL, v->dy[0], src), 2);
    return true;
}

/* dy / (2 y) */
static bool vjp_sqrt(Vjp *v) {
    ValueId dst = vjp_node(v)->out[0];
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = scaled(v, vjp_op2(v, OP_DIV, NULL, v->dy[0], dst), 0.5);
    return true;
}

static bool vjp_exp(Vjp *v) {
    return vjp_bwd(v, OP_MUL, true);
}
static bool vjp_log(Vjp *v) {
    return vjp_bwd(v, OP_DIV, false);
}
static bool vjp_pow(Vjp *v) {
    return vjp_bwd(v, OP_POW_BWD, false);
}

const OpDef opdef_square = {
    .title = "square",
    .formula = "dst = src^2",
    .doc = "Energy models: square, pool, sqrt." NO_RULE,
    .theory = "elementary",
    .infer = infer_unary,
    .vjp = vjp_square,
    MAP(square, flops_out1),
};

const OpDef opdef_sqrt = {
    .title = "square root",
    .formula = "dst = sqrt(src)",
    .doc = "NaN for negative numbers.  The derivative at 0 is infinite: add a little first, "
           "scale(1, shift = 1e-6) -> sqrt.  In an expression of numbers, sqrt(2 / fan_in), it is "
           "the function; with a layer it is this operation." NO_RULE,
    .theory = "elementary",
    .infer = infer_unary,
    .vjp = vjp_sqrt,
    MAP(sqrt, flops_out10),
};

const OpDef opdef_exp = {
    .title = "exponential function",
    .formula = "dst = exp(src)",
    .doc = "Overflows to infinity above 88.7." NO_RULE,
    .theory = "elementary",
    .infer = infer_unary,
    .vjp = vjp_exp,
    MAP(exp, flops_out10),
};

const OpDef opdef_log = {
    .title = "natural logarithm",
    .formula = "dst = log(src)",
    .doc = "Minus infinity at 0, NaN below." NO_RULE,
    .theory = "elementary",
    .infer = infer_unary,
    .vjp = vjp_log,
    MAP(log, flops_out10),
};

static const AttrDesc pow_attrs[] = {
    ATTR_FLOAT(CurveAttrs, p, true, NULL, -64, 64, "exponent"),
};

const OpDef opdef_pow = {
    .title = "power with a constant exponent",
    .formula = "dst = src^p",
    .doc = "Whole exponents multiply and take any number; others take the logarithm: NaN for "
           "negative numbers, 0 at 0 (p > 0)." NO_RULE,
    .theory = "elementary",
    CURVE(pow_attrs),
    .infer = infer_unary,
    .vjp = vjp_pow,
    MAP(pow, flops_out10),
};

const OpDef opdef_pow_bwd = {
    .title = "gradient of pow",
    .formula = "diff_src = diff_dst * p * src^(p - 1)",
    .doc = "Reads the input.",
    .theory = "elementary",
    CURVE(pow_attrs),
    .infer = infer_binary,
    MAP(pow_bwd, flops_out10),
};
