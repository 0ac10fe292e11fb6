/* param.c: arithmetic among parameters: weights that are computed, turned or shared in another form
 * (facts; code in param_lower.c).
 *
 * A value without images (a `param` of a spec and what is made of it) is one tensor for the whole
 * batch.  `dense` of such a vector is vdense; `weight = h` brings numbers in row-major order into
 * the form that a layer's weights have, which is repack.  Nothing here depends on the batch, so
 * that looking computes it once. theory: Ha, Dai, Le 2017, "HyperNetworks", section 3.1; Vincent et
 * al. 2010 (tied weights).
 */
#include "ops/curvature.h"
#include "ops/facts.h"

/* ---- vdense ---- */

static const AttrDesc vdense_attrs[] = {
    ATTR_HIDDEN(DenseAttrs, units, AT_INT, "1"),
    ATTR_HIDDEN(DenseAttrs, bias, AT_BOOL, "yes"),
};

static bool infer_vdense(Infer *inf) {
    const DenseAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 1))
        return false;
    if (a->units < 1 || a->units > LIMIT_DIM)
        return infer_fail(inf, "E0303", -1, -1, NULL, "%lld units: must be between 1 and %lld",
                          (long long)a->units, (long long)LIMIT_DIM);
    int64_t elems;
    Shape weight = shape_of2(a->units, inf->in[0].dim[0]);
    if (!shape_product(&weight, &elems))
        return infer_fail(inf, "E0305", -1, -1, NULL,
                          "the weights would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    return infer_param(inf, 1, "the weight", weight, NULL) &&
           infer_param(inf, 2, "the bias", shape_of1(a->units), NULL) &&
           infer_out(inf, 0, shape_of1(a->units), DT_F32);
}

static bool infer_vdense_bwd_data(Infer *inf) { /* diff_dst weights */
    if (!infer_rank(inf, 0, 1) || !infer_rank(inf, 1, 2))
        return false;
    return infer_param(inf, 0, "diff_dst", shape_of1(inf->in[1].dim[0]), NULL) &&
           infer_out(inf, 0, shape_of1(inf->in[1].dim[1]), DT_F32);
}

static bool infer_vdense_bwd_weights(Infer *inf) { /* src diff_dst */
    if (!infer_rank(inf, 0, 1) || !infer_rank(inf, 1, 1))
        return false;
    return infer_out(inf, 0, shape_of2(inf->in[1].dim[0], inf->in[0].dim[0]), DT_F32);
}

static int params_vdense(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const DenseAttrs *a = attrs;
    out[0] = param_weight("weight", shape_of2(a->units, in[0].dim[0]), in[0].dim[0], a->units);
    if (!a->bias)
        return 1;
    out[1] = param_zero("bias", a->units);
    return 2;
}

static bool vjp_vdense(Vjp *v) {
    const Node *node = vjp_node(v);
    bool bias = node->nin > 2;
    ValueId src = node->in[0], weights = node->in[1], dy = v->dy[0];
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_VDENSE_BWD_DATA, NULL, dy, weights);
    if (v->need[1])
        v->dx[1] = vjp_op2(v, OP_VDENSE_BWD_WEIGHTS, NULL, src, dy);
    if (bias && v->need[2])
        v->dx[2] = dy;
    return true;
}

static double flops_vdense(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    return 2 * value_elems(g, node->in[0]) * out_elems(g, n);
}

const OpDef opdef_vdense = {
    .title = "fully connected layer between vectors that belong to no image",
    .formula = "dst[u] = bias[u] + sum over i of weights[u,i] * src[i]",
    .doc = "What `dense` is where its input is made of parameters alone.",
    .theory = "Ha, Dai, Le 2017, section 3.1",
    .attr_size = sizeof(DenseAttrs),
    .attrs = vdense_attrs,
    .nattrs = COUNT_OF(vdense_attrs),
    .infer = infer_vdense,
    .params = params_vdense,
    .vjp = vjp_vdense,
    .curvature = curvature_product,
    .flops = flops_vdense,
    .lower = lower_vdense,
    .choose = choose_vdense,
};

const OpDef opdef_vdense_bwd_data = {
    .title = "gradient of vdense with respect to its input",
    .formula = "diff_src[i] = sum over u of weights[u,i] * diff_dst[u]",
    .doc = "The adjoint of vdense.",
    .theory = "Rumelhart, Hinton, Williams 1986, equation (13)",
    .infer = infer_vdense_bwd_data,
    .flops = flops_vdense,
    .lower = lower_vdense_bwd_data,
    .choose = choose_vdense,
};

const OpDef opdef_vdense_bwd_weights = {
    .title = "gradient of vdense with respect to its weights",
    .formula = "diff_weights[u,i] = diff_dst[u] * src[i]",
    .doc = "An outer product: there is one vector for the whole batch.",
    .theory = "Rumelhart, Hinton, Williams 1986, equation (12)",
    .infer = infer_vdense_bwd_weights,
    .flops = flops_out1,
    .lower = lower_vdense_bwd_weights,
    .choose = choose_vdense,
};

/* ---- repack ---- */

static const AttrDesc repack_attrs[] = {
    {"how", AT_ENUM, offsetof(RepackAttrs, how), false, "reshape", "reshape|flip|transpose", 1, 0,
     "", true},
    ATTR_HIDDEN(RepackAttrs, rank, AT_INT, "1"),
    {"d0", AT_INT, offsetof(RepackAttrs, dim[0]), false, "1", NULL, 1, 0, "", true},
    {"d1", AT_INT, offsetof(RepackAttrs, dim[1]), false, "1", NULL, 1, 0, "", true},
    {"d2", AT_INT, offsetof(RepackAttrs, dim[2]), false, "1", NULL, 1, 0, "", true},
    {"d3", AT_INT, offsetof(RepackAttrs, dim[3]), false, "1", NULL, 1, 0, "", true},
};

static bool infer_repack(Infer *inf) {
    const RepackAttrs *a = inf->attrs;
    int64_t want, have;
    if (inf->nin != 1 || a->rank < 1 || a->rank > 4 || (a->how == REPACK_TRANSPOSE && a->rank < 2))
        return infer_fail(inf, "E0304", -1, 0, NULL, "weights have 1 to 4 extents");
    Shape s = {.rank = (int)a->rank};
    for (int d = 0; d < s.rank; d++) {
        if (a->dim[d] < 1 || a->dim[d] > LIMIT_DIM)
            return infer_fail(inf, "E0305", -1, -1, NULL, "extent %lld is out of range",
                              (long long)a->dim[d]);
        s.dim[d] = a->dim[d];
    }
    if (!shape_product(&s, &want) || !shape_product(&inf->in[0], &have) || want != have)
        return infer_fail(inf, "E0309", -1, 0, NULL, "the numbers of both forms differ");
    return infer_out(inf, 0, s, DT_F32);
}

/* Turned back in the form of the result, then in the form of the source. */
static bool vjp_repack(Vjp *v) {
    const Node *node = vjp_node(v);
    Shape s = graph_v(v->g, node->in[0])->shape;
    RepackAttrs a = *(const RepackAttrs *)node->attrs;
    ValueId dx = v->dy[0];
    if (!v->need[0])
        return true;
    if (a.how == REPACK_TRANSPOSE) {
        int64_t swap = a.dim[0];
        a.dim[0] = a.dim[1];
        a.dim[1] = swap;
    }
    if (a.how != REPACK_RESHAPE)
        dx = vjp_op1(v, OP_REPACK, &a, dx);
    bool same = a.how != REPACK_RESHAPE && a.rank == s.rank;
    for (int d = 0; d < s.rank; d++)
        same = same && a.dim[d] == s.dim[d];
    a = (RepackAttrs){.dim = {1, 1, 1, 1}, .rank = s.rank, .how = REPACK_RESHAPE};
    for (int d = 0; d < s.rank; d++)
        a.dim[d] = s.dim[d];
    v->dx[0] = same ? dx : vjp_op1(v, OP_REPACK, &a, dx);
    return true;
}

const OpDef opdef_repack = {
    .title = "the same numbers in another form",
    .formula = "reshape: dst = src, both row-major; flip: dst[o,i,y,x] = src[o,i,H-1-y,W-1-x]; "
               "transpose: dst[o,i,..] = src[i,o,..]",
    .doc = "Brings computed, shared or turned weights into the layout that a layer reads, and "
           "gradients back.",
    .theory = "a permutation, whose adjoint is its inverse",
    .attr_size = sizeof(RepackAttrs),
    .attrs = repack_attrs,
    .nattrs = COUNT_OF(repack_attrs),
    .infer = infer_repack,
    .vjp = vjp_repack,
    .curvature = vjp_repack,
    .flops = flops_none,
    .lower = lower_repack,
    .choose = choose_repack,
};
