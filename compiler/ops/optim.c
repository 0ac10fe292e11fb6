/* optim.c: the parameter updates as operators (facts; code in optim_lower.c).
 *
 * Rates are run-time numbers (rt_frame.scalar), so schedules need no new code; the factors of one
 * parameter are attributes.  The update happens in place; the result names the new parameter and
 * has no readers.  A fourth input is one number that all gradients are multiplied by.
 * theory: Robbins, Monro 1951; Polyak 1964; Sutskever, Martens, Dahl, Hinton 2013, section 2;
 * Kingma, Ba 2015; Loshchilov, Hutter 2019; Tieleman, Hinton 2012, lecture 6e; Fu et al. 2020.
 */
#include "ops/facts.h"

#define COMMON_ATTRS                                                                               \
    ATTR_HIDDEN(SgdAttrs, param, AT_INT, NULL), ATTR_HIDDEN(SgdAttrs, lr_mult, AT_FLOAT, "1"),     \
        ATTR_HIDDEN(SgdAttrs, decay_mult, AT_FLOAT, "1"),                                          \
        ATTR_HIDDEN(SgdAttrs, clip, AT_BOOL, "no")

static const AttrDesc sgd_attrs[] = {COMMON_ATTRS, ATTR_HIDDEN(SgdAttrs, nesterov, AT_BOOL, "no")};
static const AttrDesc adam_attrs[] = {COMMON_ATTRS, ATTR_HIDDEN(SgdAttrs, eps, AT_FLOAT, "1e-8"),
                                      ATTR_HIDDEN(SgdAttrs, decoupled, AT_BOOL, "no")};
static const AttrDesc sdlm_attrs[] = {COMMON_ATTRS, ATTR_HIDDEN(SgdAttrs, eps, AT_FLOAT, "0.02")};
static const AttrDesc slbi_attrs[] = {COMMON_ATTRS, ATTR_HIDDEN(SgdAttrs, eps, AT_FLOAT, "1"),
                                      ATTR_HIDDEN(SgdAttrs, coupled, AT_BOOL, "no")};
static const AttrDesc slbi_groups_attrs[] = {
    COMMON_ATTRS, ATTR_HIDDEN(SgdAttrs, eps, AT_FLOAT, "1"),
    ATTR_HIDDEN(SgdAttrs, coupled, AT_BOOL, "no")};
static const AttrDesc curvature_attrs[] = {COMMON_ATTRS};
static const AttrDesc rmsprop_attrs[] = {COMMON_ATTRS, ATTR_HIDDEN(SgdAttrs, eps, AT_FLOAT, "1e-8"),
                                         ATTR_HIDDEN(SgdAttrs, eps_inside, AT_BOOL, "no")};

/* A dense weight may be named [O,I] or [O,C,H,W]: equal counts suffice. */
static bool infer_update(Infer *inf) {
    int64_t want, got;
    if (inf->nin < 3)
        return infer_fail(inf, "E0310", -1, inf->nin, NULL, "needs parameter, gradient and state");
    for (int i = 1; i < 3; i++)
        if (!shape_product(&inf->in[0], &want) || !shape_product(&inf->in[i], &got) || want != got)
            return infer_same(inf, i, "parameter and gradient");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static double flops_sgd(const Graph *g, NodeId n) {
    return 6 * out_elems(g, n);
}
static double flops_roots(const Graph *g, NodeId n) {
    return 20 * out_elems(g, n);
}

#define UPDATE(name, kept)                                                                         \
    .attr_size = sizeof(SgdAttrs), .attrs = name##_attrs, .nattrs = COUNT_OF(name##_attrs),        \
    .infer = infer_update, .lower = lower_update, .choose = choose_update,                         \
    .update = update_##name, .states = kept

const OpDef opdef_sgd = {
    .title = "stochastic gradient descent with momentum and weight decay",
    .formula = "g = grad + decay * decay_mult * w;  v = momentum * v + g;  "
               "w = w - lr * lr_mult * v  (nesterov: w - lr * lr_mult * (g + momentum * v))",
    .doc =
        "Updates one parameter and its momentum in place.  The gradient is that of the mean loss "
        "of the batch.",
    .theory = "Polyak 1964; Sutskever et al. 2013, equations (1) to (4)",
    UPDATE(sgd, 1),
    .flops = flops_sgd,
};

const OpDef opdef_adam = {
    .title = "Adam, and AdamW (decoupled decay)",
    .formula = "g = grad + decay * decay_mult * w  (decoupled: w = w - lr * decay * w instead);  "
               "m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2;  "
               "w = w - lr * lr_mult * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)",
    .doc = "Updates one parameter and its two moments in place, as PyTorch's Adam and AdamW do.",
    .theory = "Kingma, Ba 2015, algorithm 1; Loshchilov, Hutter 2019, algorithm 2",
    UPDATE(adam, 2),
    .flops = flops_roots,
};

const OpDef opdef_rmsprop = {
    .title = "RMSProp with momentum",
    .formula = "g = grad + decay * decay_mult * w;  v = alpha * v + (1 - alpha) * g^2;  "
               "b = momentum * b + g / (sqrt(v) + eps)  (eps_inside: g / sqrt(v + eps));  "
               "w = w - lr * lr_mult * b",
    .doc = "Updates one parameter, its mean square and its momentum in place, as PyTorch's RMSprop "
           "does; eps_inside is TensorFlow's place of eps.",
    .theory = "Tieleman, Hinton 2012, lecture 6e; Graves 2013, equations (38) to (45)",
    UPDATE(rmsprop, 2),
    .flops = flops_roots,
};

const OpDef opdef_sdlm = {
    .title = "stochastic diagonal Levenberg-Marquardt",
    .formula = "g = grad + decay * decay_mult * w;  w = w - lr * lr_mult / (mu + h) * g",
    .doc = "Updates one parameter in place, each weight with a rate of its own: its curvature h is "
           "the state, which `curvature` has written.",
    .theory = "LeCun et al. 1998, appendix C, equation (21); Becker, LeCun 1988",
    UPDATE(sdlm, 1),
    .flops = flops_roots,
};

const OpDef opdef_slbi = {
    .title = "split linearized Bregman iteration (DessiLBI)",
    .formula = "gamma = kappa * sign(z) * max(|z| - lambda, 0);  gap = (w - gamma) / nu;  "
               "v = momentum * v + grad + decay * decay_mult * w;  "
               "w = w - lr * lr_mult * kappa * (v + gap);  z = z + lr * lr_mult * gap",
    .doc = "Updates one parameter, its z and its momentum in place.  gamma is the sparse copy of "
           "the parameter, which follows from z; one that is not to become sparse (biases) has no "
           "gap.",
    .theory = "Fu, Liu, Li, Zhong, Lu, Wang, Yao 2020, \"DessiLBI\", equations (4) to (6); Huang, "
              "Sun, Xiong, Yao 2016",
    UPDATE(slbi, 2),
    .flops = flops_roots,
};

const OpDef opdef_slbi_groups = {
    .title = "split linearized Bregman iteration over filters",
    .formula = "gap = (w - gamma) / nu;  v = momentum * v + grad + decay * decay_mult * w;  "
               "w = w - lr * lr_mult * kappa * (v + gap);  z = z + lr * lr_mult * gap",
    .doc = "As slbi, with gamma beside z and momentum: behind each step the runtime makes it of all "
           "of a filter's n numbers z, kappa * max(1 - lambda * sqrt(n) / |z|, 0) * z; of matrices number by "
           "number.",
    .theory = "Fu, Liu, Li, Zhong, Lu, Wang, Yao 2020, \"DessiLBI\" (group lasso over "
              "filters); Yuan, Lin 2006",
    UPDATE(slbi_groups, 3),
    .flops = flops_roots,
};

const OpDef opdef_curvature = {
    .title = "running mean of a parameter's curvature",
    .formula = "h = momentum * h + lr * (sum over images of the second derivative)",
    .doc = "Writes the state that sdlm divides by and leaves the parameter as it is.  The program "
           "that calls it sets momentum = k / (k + n) and lr = 1 / (k + n) behind k images.",
    .theory = "LeCun et al. 1998, appendix C",
    UPDATE(curvature, 1),
    .flops = flops_sgd,
};
