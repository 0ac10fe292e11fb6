/* rbf.c: Euclidean radial basis function units, LeNet-5's output layer (facts; code in rbf_lower.c).
 *
 * A unit's output is the squared distance of the features to its centre: a penalty, the class is the
 * smallest.  Centres are frozen unless the spec trains them.
 * theory: LeCun et al. 1998, section II.B, equation (7).
 */
#include "ops/curvature.h"
#include "ops/facts.h"

enum { A_UNITS };

static const AttrDesc rbf_attrs[] = {
    ATTR_INT(RbfAttrs, units, true, NULL, 1, (double)LIMIT_DIM, "number of outputs"),
};

static bool check_rbf(Infer *inf, int src) {
    const RbfAttrs *a = inf->attrs;
    Shape centers;
    int64_t elems;
    if (a->units < 1 || a->units > LIMIT_DIM)
        return infer_fail(inf, "E0303", A_UNITS, -1, NULL,
                          "%lld units: must be between 1 and %lld", (long long)a->units,
                          (long long)LIMIT_DIM);
    if (!infer_rank(inf, src, 1))
        return false;
    centers = shape_of2(a->units, inf->in[src].dim[0]);
    if (!shape_product(&centers, &elems))
        return infer_fail(inf, "E0305", A_UNITS, -1, NULL,
                          "the centres would have more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    return infer_param(inf, src + 1, "the centres", centers, NULL);
}

static bool infer_rbf(Infer *inf) {
    const RbfAttrs *a = inf->attrs;
    return check_rbf(inf, 0) && infer_out(inf, 0, shape_of1(a->units), DT_F32);
}

static bool infer_bwd(Infer *inf) {
    const RbfAttrs *a = inf->attrs;
    return infer_rank(inf, 0, 1) && check_rbf(inf, 1) &&
           infer_param(inf, 0, "diff_dst", shape_of1(a->units), NULL);
}

static bool infer_bwd_data(Infer *inf) {
    return infer_bwd(inf) && infer_out(inf, 0, inf->in[1], DT_F32);
}

static bool infer_bwd_centers(Infer *inf) {
    const RbfAttrs *a = inf->attrs;
    inf->unbatched = true;
    return infer_bwd(inf) &&
           infer_out(inf, 0, shape_of2(a->units, inf->in[1].dim[0]), DT_F32);
}

/* LeNet's bitmaps come from the spec as a table; without one, numbers in their range. */
static int params_rbf(const void *attrs, const Shape *in, ParamSpec out[4]) {
    const RbfAttrs *a = attrs;
    out[0] = param_weight("centers", shape_of2(a->units, in[0].dim[0]), in[0].dim[0], a->units);
    out[0].frozen = true;
    out[0].init_a = -1;
    out[0].init_b = 1;
    return 1;
}

static bool vjp_rbf(Vjp *v) {
    const Node *node = vjp_node(v);
    RbfAttrs a = *(const RbfAttrs *)node->attrs;
    ValueId src = node->in[0], centers = node->in[1], dy = v->dy[0];
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op3(v, OP_RBF_BWD_DATA, &a, dy, src, centers);
    if (v->need[1])
        v->dx[1] = vjp_op3(v, OP_RBF_BWD_CENTERS, &a, dy, src, centers);
    return true;
}

static bool centers_rest(const Graph *g, NodeId n) {
    const Value *c = graph_v(g, graph_n(g, n)->in[1]);
    return c->kind == VK_PARAM && g->params->at[c->slot].frozen;
}

/* Sum over the units of h[i] * (2 (x[j] - c[i,j]))^2, and, because the distances are themselves
 * squares of errors, of 2 g[i], g being the loss's gradient: LeNet-5's bitmaps belong to the loss.
 * Both are made of rbf_bwd_data(d, x, c) = 2 (x sum d - sum d c). */
static bool curvature_rbf(Vjp *v) {
    const Node *node = vjp_node(v);
    RbfAttrs a = *(const RbfAttrs *)node->attrs;
    ValueId x = node->in[0], c = node->in[1], h = v->dy[0];
    CurveAttrs zero = {.by = 0}, one = {.by = 0, .shift = 1}, twice = {.by = 2};
    if (!v->need[0])
        return true;
    ValueId origin = vjp_op1(v, OP_SCALE, &zero, x);
    ValueId along = vjp_op3(v, OP_RBF_BWD_DATA, &a, h, x, c);
    ValueId linear = vjp_op3(v, OP_RBF_BWD_DATA, &a, h, origin, c);
    ValueId square = vjp_op3(v, OP_RBF_BWD_DATA, &a, h, origin, vjp_op1(v, OP_SQUARE, NULL, c));
    ValueId sum = vjp_op2(v, OP_MUL, NULL, x, vjp_op2(v, OP_ADD, NULL, along, linear));
    v->dx[0] = vjp_op1(v, OP_SCALE, &twice, vjp_op2(v, OP_SUB, NULL, sum, square));
    if (v->gy[0]) {
        ValueId ones = vjp_op1(v, OP_SCALE, &one, x), zeros = vjp_op1(v, OP_SCALE, &zero, c);
        ValueId bend = vjp_op3(v, OP_RBF_BWD_DATA, &a, v->gy[0], ones, zeros);
        v->dx[0] = vjp_op2(v, OP_ADD, NULL, v->dx[0], vjp_op1(v, OP_RELU, NULL, bend));
    }
    return true;
}

static double flops_rbf(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    const RbfAttrs *a = node->attrs;
    int src = node->op == OP_RBF ? 0 : 1;
    return 3 * (double)a->units * value_elems(g, node->in[src]);
}

#define RBF_COMMON                                                                                 \
    .attr_size = sizeof(RbfAttrs), .attrs = rbf_attrs, .nattrs = COUNT_OF(rbf_attrs),              \
    .flops = flops_rbf

const OpDef opdef_rbf = {
    .title = "Euclidean radial basis functions",
    .formula = "dst[i] = sum over j of (src[j] - centers[i,j])^2",
    .doc = "Squared distance of a feature vector to one centre per unit: a penalty, so the class is "
           "the smallest output (argmin).  Parameter: centers [units, features], frozen unless "
           "`frozen = no`, from `centers = bitmaps(...)` or uniform in -1 .. 1.",
    .theory = "LeCun et al. 1998, equation (7)",
    .infer = infer_rbf,
    .params = params_rbf,
    .vjp = vjp_rbf,
    .curvature = curvature_rbf,
    .curvature_can = centers_rest,
    .lower = lower_rbf,
    .lanes = lanes_rbf,
    .choose = choose_images,
    .weights = weights_rbf,
    RBF_COMMON,
};

const OpDef opdef_rbf_bwd_data = {
    .title = "gradient of rbf with respect to its input",
    .formula = "diff_src[j] = 2 * sum over i of diff_dst[i] * (src[j] - centers[i,j])",
    .doc = "The adjoint of rbf's derivative at src.",
    .theory = "differentiation of LeCun et al. 1998, equation (7)",
    .infer = infer_bwd_data,
    .lower = lower_rbf_bwd_data,
    .lanes = lanes_rbf_bwd_data,
    .choose = choose_images,
    .weights = weights_rbf_bwd,
    RBF_COMMON,
};

const OpDef opdef_rbf_bwd_centers = {
    .title = "gradient of rbf with respect to its centres",
    .formula = "diff_centers[i,j] = 2 * sum over n of diff_dst[n,i] * (centers[i,j] - src[n,j])",
    .doc = "Sums over all images of the batch in a fixed order.",
    .theory = "differentiation of LeCun et al. 1998, equation (7)",
    .infer = infer_bwd_centers,
    .lower = lower_rbf_bwd_centers,
    .lanes = lanes_rbf_bwd_centers,
    .choose = choose_rbf_bwd_centers,
    .weights = weights_rbf_bwd,
    RBF_COMMON,
};
