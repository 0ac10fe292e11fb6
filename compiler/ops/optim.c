/* optim.c: the parameter update as an operator (facts; code in optim_lower.c).
 *
 * Rates are run-time numbers (rt_frame.scalar: LR, MOMENTUM, DECAY), so schedules need no new code;
 * the factors of one parameter are attributes.  The update happens in place; the result names the
 * new parameter and has no readers.
 * theory: Robbins, Monro 1951; Polyak 1964; Sutskever, Martens, Dahl, Hinton 2013, section 2.
 */
#include "ops/facts.h"

static const AttrDesc sgd_attrs[] = {
    ATTR_HIDDEN(SgdAttrs, param, AT_INT, NULL),
    ATTR_HIDDEN(SgdAttrs, lr_mult, AT_FLOAT, "1"),
    ATTR_HIDDEN(SgdAttrs, decay_mult, AT_FLOAT, "1"),
    ATTR_HIDDEN(SgdAttrs, nesterov, AT_BOOL, "no"),
};

/* A dense weight may be named [O,I] or [O,C,H,W]: equal counts suffice. */
static bool infer_sgd(Infer *inf) {
    int64_t want, got;
    if (inf->nin < 3)
        return infer_fail(inf, "E0310", -1, inf->nin, NULL,
                          "needs parameter, gradient and momentum");
    for (int i = 1; i < 3; i++)
        if (!shape_product(&inf->in[0], &want) || !shape_product(&inf->in[i], &got) || want != got)
            return infer_same(inf, i, "parameter and gradient");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static double flops_sgd(const Graph *g, NodeId n) { return 6 * out_elems(g, n); }

const OpDef opdef_sgd = {
    .title = "stochastic gradient descent with momentum and weight decay",
    .formula = "g = grad + decay * decay_mult * w;  v = momentum * v + g;  "
               "w = w - lr * lr_mult * v  (nesterov: w - lr * lr_mult * (g + momentum * v))",
    .doc = "Updates one parameter and its momentum in place.  The gradient is that of the mean loss "
           "of the batch.",
    .theory = "Polyak 1964; Sutskever et al. 2013, equations (1) to (4)",
    .attr_size = sizeof(SgdAttrs),
    .attrs = sgd_attrs,
    .nattrs = COUNT_OF(sgd_attrs),
    .infer = infer_sgd,
    .flops = flops_sgd,
    .lower = lower_sgd,
    .choose = choose_sgd,
};
