/* norm.c: contrast normalisation across maps at one position (facts; code in norm_lower.c).
 *
 * W(i) are the maps i - size/2 .. i + size/2 that exist.  With the strength a = alpha as in the
 * paper, or alpha / size as Caffe and PyTorch read it (alpha_per):
 *   lrn: s_i = k + a sum_{W(i)} x_j^2,  y_i = x_i s_i^-beta
 *   lcn: v_i = x_i - mean_{W(i)} x_j,  s_i = k + a sum_{W(i)} v_j^2,  y_i = v_i s_i^-beta
 *        (the mean and the sum run over the maps present; v_j is centred on its own window W(j))
 * theory: Krizhevsky et al. 2012, section 3.3; Jarrett et al. 2009, section 2 (subtractive and
 * divisive); Zeiler, Fergus 2014, section 2.1: no normalisation on the deconvnet's way back.
 */
#include <stdio.h>

#include "ops/facts.h"

static const AttrDesc norm_attrs[] = {
    ATTR_INT(NormAttrs, size, true, "5", 1, (double)LIMIT_DIM, "maps in the window, odd"),
    ATTR_FLOAT(NormAttrs, k, false, "2", 1e-30, 1e9, "constant added to the sum of squares"),
    ATTR_FLOAT(NormAttrs, alpha, false, "0.0001", 0, 1e9, "strength"),
    ATTR_FLOAT(NormAttrs, beta, false, "0.75", 0, 1e3, "exponent"),
    ATTR_ENUM(NormAttrs, alpha_per, "sum", "sum|size",
              "alpha multiplies the sum (the paper) or the sum / size (Caffe, PyTorch)"),
};

static bool infer_norm(Infer *inf) {
    const NormAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    if (a->size < 1 || a->size > LIMIT_DIM || a->size % 2 == 0) {
        bool even = a->size > 1 && a->size < LIMIT_DIM;
        infer_fail(inf, "E0303", 0, -1, "the window is centred on its map",
                   "window size %lld: must be odd and positive", (long long)a->size);
        if (even)
            snprintf(inf->bad.fix, sizeof inf->bad.fix, "%lld", (long long)a->size + 1);
        return false;
    }
    if (!(a->k > 0) || !(a->alpha >= 0) || !(a->beta >= 0))
        return infer_fail(inf, "E0303", a->k > 0 ? (a->alpha >= 0 ? 3 : 2) : 1, -1, NULL,
                          "k must be positive, alpha and beta must not be negative");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_norm_bwd(Infer *inf) {
    return infer_norm(inf) && infer_same(inf, 1, "src and diff_dst");
}

static bool vjp_norm(Vjp *v, int op) {
    const Node *node = vjp_node(v);
    NormAttrs a = *(const NormAttrs *)node->attrs;
    if (!v->need[0])
        return true;
    if (v->rule == RULE_DECONVNET)
        return vjp_identity(v);
    v->dx[0] = vjp_op2(v, op, &a, node->in[0], v->dy[0]);
    return true;
}

static bool vjp_lrn(Vjp *v) { return vjp_norm(v, OP_LRN_BWD); }
static bool vjp_lcn(Vjp *v) { return vjp_norm(v, OP_LCN_BWD); }

static double flops_norm(const Graph *g, NodeId n) {
    const NormAttrs *a = graph_n(g, n)->attrs;
    return out_elems(g, n) * (double)(a->size + 12);
}

static double flops_norm2(const Graph *g, NodeId n) { return 2 * flops_norm(g, n); }

#define NORM_COMMON(function)                                                                      \
    .attr_size = sizeof(NormAttrs), .attrs = norm_attrs, .nattrs = COUNT_OF(norm_attrs),           \
    .flops = function, .choose = choose_norm

const OpDef opdef_lrn = {
    .title = "local response normalisation across maps",
    .formula = "dst[i] = src[i] * (k + a * sum over j in W(i) of src[j]^2)^-beta",
    .doc = "Divides by the activity of the `size` maps around (those that exist) at the same "
           "position.  a = alpha as in the paper; with alpha_per = size, a = alpha / size, which is "
           "what Caffe and PyTorch compute (they also default to k = 1).",
    .theory = "Krizhevsky, Sutskever, Hinton 2012, section 3.3",
    .infer = infer_norm,
    .vjp = vjp_lrn,
    .lower = lower_lrn,
    NORM_COMMON(flops_norm),
};

const OpDef opdef_lrn_bwd = {
    .title = "gradient of lrn",
    .formula = "diff_src[i] = g[i] s[i]^-beta - 2 a beta src[i] * sum over j in W(i) of g[j] src[j] "
               "s[j]^(-beta-1), g = diff_dst",
    .doc = "The adjoint of lrn's derivative at src.",
    .theory = "differentiation of Krizhevsky et al. 2012, section 3.3",
    .infer = infer_norm_bwd,
    .lower = lower_lrn_bwd,
    NORM_COMMON(flops_norm2),
};

const OpDef opdef_lcn = {
    .title = "local contrast normalisation across maps",
    .formula = "v[i] = src[i] - mean over j in W(i) of src[j];  dst[i] = v[i] * (k + a * sum over j "
               "in W(i) of v[j]^2)^-beta",
    .doc = "Subtracts the mean of the `size` maps around at the same position, then divides by their "
           "remaining activity.  Windows are clipped to existing maps; the mean is over the maps "
           "present; every v[j] is centred on its own window.  a = alpha, or alpha / size with "
           "alpha_per = size.  k = 1, alpha = 1, beta = 0.5, alpha_per = size divides by a standard "
           "deviation.",
    .theory = "Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, section 2; Zeiler, Fergus 2014, figure 3",
    .infer = infer_norm,
    .vjp = vjp_lcn,
    .lower = lower_lcn,
    NORM_COMMON(flops_norm2),
};

const OpDef opdef_lcn_bwd = {
    .title = "gradient of lcn",
    .formula = "dv = gradient as of lrn at v;  diff_src[j] = dv[j] - sum over i with j in W(i) of "
               "dv[i] / |W(i)|",
    .doc = "The adjoint of lcn's derivative at src.",
    .theory = "differentiation of Jarrett et al. 2009, section 2",
    .infer = infer_norm_bwd,
    .lower = lower_lcn_bwd,
    NORM_COMMON(flops_norm2),
};
