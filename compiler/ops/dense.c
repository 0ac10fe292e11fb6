/* dense.c: the fully connected layer and its two gradients (facts; code in the conv_*.c files).
 *
 * An image [C,H,W] may be the input: it is read as its C*H*W numbers in row-major order, and the
 * weights [units, C*H*W] have the split form [units, C, H, W], a convolution whose kernel is the
 * whole image.  Graph values of weights and weight gradients carry the split form.
 * theory: Rumelhart, Hinton, Williams 1986; Long et al. 2015, section 3 (dense = convolution).
 */
#include "ops/curvature.h"
#include "ops/facts.h"

enum { A_UNITS };

#define DENSE_ATTRS                                                                                \
    ATTR_INT(DenseAttrs, units, true, NULL, 1, (double)LIMIT_DIM, "number of outputs"),            \
    ATTR_BOOL(DenseAttrs, bias, "yes", "add one trained number per unit")

static const AttrDesc dense_attrs[] = {DENSE_ATTRS};
static const AttrDesc dense_grad_attrs[] = {
    DENSE_ATTRS,
    {"src_c", AT_INT, offsetof(DenseAttrs, src_dim[0]), false, "0", NULL, 1, 0, "", true},
    {"src_h", AT_INT, offsetof(DenseAttrs, src_dim[1]), false, "1", NULL, 1, 0, "", true},
    {"src_w", AT_INT, offsetof(DenseAttrs, src_dim[2]), false, "1", NULL, 1, 0, "", true},
    {"src_rank", AT_ENUM, offsetof(DenseAttrs, src_rank), false, "0", "0|1|2|3", 1, 0, "", true},
};

/* Logical [units, features] and split [units, C, H, W] of the weights over `src`. */
static bool weight_shapes(Infer *inf, const DenseAttrs *a, const Shape *src, Shape *flat,
                          Shape *split) {
    int64_t features, elems;
    if (a->units < 1 || a->units > LIMIT_DIM)
        return infer_fail(inf, "E0303", A_UNITS, -1, NULL, "%lld units: must be between 1 and %lld",
                          (long long)a->units, (long long)LIMIT_DIM);
    if (!shape_product(src, &features))
        return infer_fail(inf, "E0305", -1, 0, NULL, "the input has more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    *flat = shape_of2(a->units, features);
    *split = src->rank == 3 ? shape_of4(a->units, src->dim[0], src->dim[1], src->dim[2]) : *flat;
    if (!shape_product(flat, &elems))
        return infer_fail(inf, "E0305", A_UNITS, -1, NULL,
                          "the weights would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    return true;
}

static bool infer_dense(Infer *inf) {
    const DenseAttrs *a = inf->attrs;
    Shape flat, split;
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 1);
    if (!weight_shapes(inf, a, &inf->in[0], &flat, &split) ||
        !infer_param(inf, 1, "the weight", flat, &split) ||
        (a->bias && !infer_param(inf, 2, "the bias", shape_of1(a->units), NULL)))
        return false;
    return infer_out(inf, 0, shape_of1(a->units), DT_F32);
}

static bool infer_bwd_data(Infer *inf) {
    const DenseAttrs *a = inf->attrs;
    Shape flat, split, src = {a->src_rank, {a->src_dim[0], a->src_dim[1], a->src_dim[2]}};
    if (a->src_rank != 1 && a->src_rank != 3)
        return infer_fail(inf, "E0303", -1, -1, NULL, "dense_bwd_data needs src_rank 1 or 3");
    if (!infer_rank(inf, 0, 1) || !weight_shapes(inf, a, &src, &flat, &split) ||
        !infer_param(inf, 0, "diff_dst", shape_of1(a->units), NULL) ||
        !infer_param(inf, 1, "the weight", flat, &split))
        return false;
    return infer_out(inf, 0, src, DT_F32);
}

static bool infer_bwd_weights(Infer *inf) {
    const DenseAttrs *a = inf->attrs;
    Shape flat, split;
    if (inf->nin < 2 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 1);
    if (!weight_shapes(inf, a, &inf->in[0], &flat, &split) ||
        !infer_param(inf, 1, "diff_dst", shape_of1(a->units), NULL))
        return false;
    inf->unbatched = true;
    return infer_out(inf, 0, split, DT_F32);
}

static int params_dense(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const DenseAttrs *a = attrs;
    int64_t features = 1;
    for (int d = 0; d < in[0].rank; d++)
        features *= in[0].dim[d];
    out[0] = param_weight("weight", shape_of2(a->units, features), features, a->units);
    if (in[0].rank == 3)
        out[0].split = shape_of4(a->units, in[0].dim[0], in[0].dim[1], in[0].dim[2]);
    if (!a->bias)
        return 1;
    out[1] = param_zero("bias", a->units);
    return 2;
}

static bool vjp_dense(Vjp *v) {
    const Node *node = vjp_node(v);
    DenseAttrs a = *(const DenseAttrs *)node->attrs;
    ValueId src = node->in[0], weights = node->in[1], dy = v->dy[0];
    const Shape *s = &graph_v(v->g, src)->shape;
    a.src_rank = s->rank;
    for (int d = 0; d < 3; d++)
        a.src_dim[d] = d < s->rank ? s->dim[d] : 1;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_DENSE_BWD_DATA, &a, dy, weights); /* reads the forward packing */
    if (v->need[1])
        v->dx[1] = vjp_op2(v, OP_DENSE_BWD_WEIGHTS, &a, src, dy);
    if (a.bias && v->need[2])
        v->dx[2] = vjp_op1(v, OP_BIAS_GRAD, NULL, dy);
    return true;
}

static double flops_dense(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    const DenseAttrs *a = node->attrs;
    return 2 * (double)a->units * value_elems(g, node->in[0]);
}

static double flops_bwd_data(const Graph *g, NodeId n) {
    const DenseAttrs *a = graph_n(g, n)->attrs;
    return 2 * (double)a->units * out_elems(g, n);
}

const OpDef opdef_dense = {
    .title = "fully connected layer",
    .formula = "dst[u] = bias[u] + sum over i of weights[u,i] * src[i]",
    .doc = "Every unit reads every number of the input; an image is read in the order channels, "
           "rows, columns.  Parameters: weight [units, inputs], by default uniform in "
           "-/+ sqrt(3 / inputs), and bias [units], zero.",
    .theory = "Rumelhart, Hinton, Williams 1986",
    .attr_size = sizeof(DenseAttrs),
    .attrs = dense_attrs,
    .nattrs = COUNT_OF(dense_attrs),
    .part = PART_WEIGHTS,
    .infer = infer_dense,
    .params = params_dense,
    .vjp = vjp_dense,
    .curvature = curvature_product,
    .flops = flops_dense,
    .lower = lower_dense,
    .lanes = lanes_conv,
    .choose = choose_dense,
    .weights = weights_dense,
};

const OpDef opdef_dense_bwd_data = {
    .title = "gradient of dense with respect to its input",
    .formula = "diff_src[i] = sum over u of weights[u,i] * diff_dst[u]",
    .doc = "The adjoint of dense; the result has the shape of the input, vector or image.",
    .theory = "Rumelhart, Hinton, Williams 1986, equation (13)",
    .attr_size = sizeof(DenseAttrs),
    .attrs = dense_grad_attrs,
    .nattrs = COUNT_OF(dense_grad_attrs),
    .infer = infer_bwd_data,
    .flops = flops_bwd_data,
    .lower = lower_dense_bwd_data,
    .lanes = lanes_conv_bwd_data,
    .choose = choose_dense_bwd_data,
    .weights = weights_dense_bwd_data,
};

const OpDef opdef_dense_bwd_weights = {
    .title = "gradient of dense with respect to its weights",
    .formula = "diff_weights[u,i] = sum over n of diff_dst[n,u] * src[n,i]",
    .doc = "Sums over all images of the batch in a fixed order.",
    .theory = "Rumelhart, Hinton, Williams 1986, equation (12)",
    .attr_size = sizeof(DenseAttrs),
    .attrs = dense_grad_attrs,
    .nattrs = COUNT_OF(dense_grad_attrs),
    .infer = infer_bwd_weights,
    .flops = flops_dense,
    .lower = lower_dense_bwd_weights,
    .lanes = lanes_conv_bwd_weights,
    .choose = choose_dense_bwd_weights,
    .weights = weights_dense_bwd_weights,
};
