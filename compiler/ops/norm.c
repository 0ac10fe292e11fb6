/* norm.c: contrast normalisation across maps at one position (facts; code in norm_lower.c), and
 * response normalisation within maps, which is made of an average pool and elementwise functions.
 *
 * W(i) are the maps i - size/2 .. i + size/2 that exist.  With the strength a = alpha as in the
 * paper, or alpha / size as Caffe and PyTorch read it (alpha_per):
 *   lrn: s_i = k + a sum_{W(i)} x_j^2,  y_i = x_i s_i^-beta
 *   lcn: v_i = x_i - mean_{W(i)} x_j,  s_i = k + a sum_{W(i)} v_j^2,  y_i = v_i s_i^-beta
 *        (the mean and the sum run over the maps present; v_j is centred on its own window W(j))
 * lrn within maps: W is a square window of the map, zeros around it: a sum of size^2 cells, and
 * alpha / size^2 with alpha_per (Caffe's WITHIN_CHANNEL).
 * theory: Krizhevsky et al. 2012, section 3.3; Jarrett et al. 2009, section 2 (subtractive and
 * divisive); Zeiler, Fergus 2014, section 2.1: no normalisation on the deconvnet's way back.
 */
#include <stdio.h>

#include "ops/curvature.h"
#include "ops/facts.h"

#define WINDOW_ATTRS(what)                                                                         \
    ATTR_INT(NormAttrs, size, true, "5", 1, (double)LIMIT_DIM, what),                              \
        ATTR_FLOAT(NormAttrs, k, false, "2", 1e-30, 1e9, "constant added to the sum of squares"),  \
        ATTR_FLOAT(NormAttrs, alpha, false, "0.0001", 0, 1e9, "strength"),                         \
        ATTR_FLOAT(NormAttrs, beta, false, "0.75", 0, 1e3, "exponent"),                            \
        ATTR_ENUM(NormAttrs, alpha_per, "sum", "sum|size",                                         \
                  "alpha multiplies the sum (the paper) or the sum / size (Caffe, PyTorch)")

static const AttrDesc norm_attrs[] = {WINDOW_ATTRS("maps in the window, odd")};
static const AttrDesc lrn_attrs[] = {
    WINDOW_ATTRS("maps in the window, odd; rows and columns with region = within"),
    ATTR_ENUM(NormAttrs, region, "across", "across|within",
              "the maps around at one position, or a square window of each map"),
};

static const AttrDesc lrn_bwd_attrs[] = {
    WINDOW_ATTRS("maps in the window, odd"),
    ATTR_HIDDEN(NormAttrs, squares, AT_BOOL, "no"),
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

static bool infer_lrn(Infer *inf) {
    const NormAttrs *a = inf->attrs;
    if (!infer_norm(inf))
        return false;
    if (a->region == NORM_WITHIN && a->size > 255)
        return infer_fail(inf, "E0303", 0, -1, "Caffe's nets use 3",
                          "window size %lld: at most 255", (long long)a->size);
    return true;
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

/* x (k + a sum over the window of x^2)^-beta, the sum being size^2 means */
static ValueId parts_lrn(Graph *g, const void *attrs, const ValueId *in) {
    const NormAttrs *a = attrs;
    int64_t reach = (a->size - 1) / 2;
    PoolAttrs window = {.kernel = {a->size, a->size},
                        .stride = {1, 1},
                        .pad = {reach, reach, reach, reach},
                        .count_pad = true};
    CurveAttrs line = {.by = a->alpha, .shift = a->k}, power = {.p = -a->beta};
    if (!a->alpha_per)
        line.by *= (double)(a->size * a->size);
    ValueId s = graph_op(g, OP_SQUARE, NULL, 1, in);
    s = graph_op(g, OP_AVGPOOL, &window, 1, &s);
    s = graph_op(g, OP_SCALE, &line, 1, &s);
    s = graph_op(g, OP_POW, &power, 1, &s);
    ValueId both[2] = {in[0], s};
    return graph_op(g, OP_MUL, NULL, 2, both);
}

static bool is_within(const Graph *g, NodeId id) {
    return ((const NormAttrs *)graph_n(g, id)->attrs)->region == NORM_WITHIN;
}

static void expand_lrn(Graph *g, NodeId id) {
    if (is_within(g, id))
        expand_parts(g, id);
}

static bool vjp_lrn(Vjp *v) {
    Rule rule = v->rule;
    if (!is_within(v->g, v->node) || rule == RULE_DECONVNET)
        return vjp_norm(v, OP_LRN_BWD);
    if (rule == RULE_GUIDED) /* differs in rectifiers alone */
        v->rule = RULE_GRADIENT;
    bool good = vjp_parts(v);
    v->rule = rule;
    return good;
}

/* Across maps: the derivative's own entries, squared.  Within maps the sum of squares and the
 * product are layers of their own. */
static bool curvature_lrn(Vjp *v) {
    const Node *node = vjp_node(v);
    NormAttrs a = *(const NormAttrs *)node->attrs;
    if (is_within(v->g, v->node))
        return vjp_parts(v);
    a.squares = true;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_LRN_BWD, &a, node->in[0], v->dy[0]);
    return true;
}

static bool window_lrn(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    const NormAttrs *a = attrs;
    for (int d = 0; d < 2; d++) {
        kernel[d] = a->size;
        stride[d] = 1;
        pad[2 * d] = pad[2 * d + 1] = (a->size - 1) / 2;
    }
    return a->region == NORM_WITHIN;
}

static bool vjp_lcn(Vjp *v) {
    return vjp_norm(v, OP_LCN_BWD);
}

static double flops_norm(const Graph *g, NodeId n) {
    const NormAttrs *a = graph_n(g, n)->attrs;
    return out_elems(g, n) * (double)(a->size + 12);
}

static double flops_norm2(const Graph *g, NodeId n) {
    return 2 * flops_norm(g, n);
}

#define NORM_COMMON(function, table)                                                               \
    .attr_size = sizeof(NormAttrs), .attrs = table, .nattrs = COUNT_OF(table), .flops = function,  \
    .choose = choose_norm

const OpDef opdef_lrn = {
    .title = "local response normalisation across or within maps",
    .formula = "dst[i] = src[i] * (k + a * sum over j in W(i) of src[j]^2)^-beta",
    .doc =
        "Divides by the activity of the `size` maps around (those that exist) at the same "
        "position.  a = alpha as in the paper; with alpha_per = size, a = alpha / size, which is "
        "what Caffe and PyTorch compute (they also default to k = 1).  With region = within, W is "
        "a window of size x size cells of the same map, zeros around it, and alpha_per = size "
        "divides by size * size.",
    .theory = "Krizhevsky, Sutskever, Hinton 2012, section 3.3",
    .infer = infer_lrn,
    .vjp = vjp_lrn,
    .curvature = curvature_lrn,
    .parts = parts_lrn,
    .expand = expand_lrn, /* within maps alone */
    .window = window_lrn,
    .lower = lower_lrn,
    NORM_COMMON(flops_norm, lrn_attrs),
};

const OpDef opdef_lrn_bwd = {
    .title = "gradient of lrn",
    .formula =
        "diff_src[i] = g[i] s[i]^-beta - 2 a beta src[i] * sum over j in W(i) of g[j] src[j] "
        "s[j]^(-beta-1), g = diff_dst;  squares: sum over j of (d dst[j] / d src[i])^2 g[j]",
    .doc = "The adjoint of lrn's derivative at src; or of that matrix with every entry squared.",
    .theory = "differentiation of Krizhevsky et al. 2012, section 3.3",
    .infer = infer_norm_bwd,
    .lower = lower_lrn_bwd,
    NORM_COMMON(flops_norm2, lrn_bwd_attrs),
};

const OpDef opdef_lcn = {
    .title = "local contrast normalisation across maps",
    .formula =
        "v[i] = src[i] - mean over j in W(i) of src[j];  dst[i] = v[i] * (k + a * sum over j "
        "in W(i) of v[j]^2)^-beta",
    .doc =
        "Subtracts the mean of the `size` maps around at the same position, then divides by their "
        "remaining activity.  Windows are clipped to existing maps; the mean is over the maps "
        "present; every v[j] is centred on its own window.  a = alpha, or alpha / size with "
        "alpha_per = size.  k = 1, alpha = 1, beta = 0.5, alpha_per = size divides by a standard "
        "deviation.",
    .theory = "Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, section 2; Zeiler, Fergus 2014, figure 3",
    .infer = infer_norm,
    .vjp = vjp_lcn,
    .lower = lower_lcn,
    NORM_COMMON(flops_norm2, norm_attrs),
};

const OpDef opdef_lcn_bwd = {
    .title = "gradient of lcn",
    .formula = "dv = gradient as of lrn at v;  diff_src[j] = dv[j] - sum over i with j in W(i) of "
               "dv[i] / |W(i)|",
    .doc = "The adjoint of lcn's derivative at src.",
    .theory = "differentiation of Jarrett et al. 2009, section 2",
    .infer = infer_norm_bwd,
    .lower = lower_lcn_bwd,
    NORM_COMMON(flops_norm2, norm_attrs),
};
