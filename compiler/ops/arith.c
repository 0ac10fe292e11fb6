/* arith.c: sums, products and the like of two tensors, and repetition along axes (facts).
 *
 * The second operand may have extent 1 where the first has more: [C] or [C, 1, 1] (a number per
 * channel: squeeze and excitation), [1, H, W] (a map: attention), [1].  It is repeated there
 * without ever being written out; its gradient is the sum over what was repeated (sum_to), over the
 * images too for a parameter (bias_grad), in a fixed order. maximum and minimum are max pooling
 * over two tensors: gradient and projections go to the winner, the first one when equal. theory: He
 * et al. 2016, equation (1); Hu, Shen, Sun 2018, equation (4); Goodfellow et al. 2013, "Maxout
 * networks", section 3.
 */
#include "ops/curvature.h"
#include "ops/facts.h"

static bool infer_binary(Infer *inf) {
    if (inf->nin < 2)
        return infer_fail(inf, "E0310", -1, inf->nin, NULL, "needs 2 inputs, got %d", inf->nin);
    return infer_repeated(inf, 1) && infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool infer_pass(Infer *inf) {
    return infer_repeated(inf, 1) && infer_repeated(inf, 2) &&
           infer_out(inf, 0, inf->in[0], DT_F32);
}

ValueId vjp_repeated(Vjp *v, ValueId diff, ValueId like) {
    const Value *to = graph_v(v->g, like), *from = graph_v(v->g, diff);
    bool batched = to->batched, equal = shape_equal(&to->shape, &from->shape);
    SumToAttrs a = {.rank = to->shape.rank};
    if (equal && batched == from->batched)
        return diff;
    for (int d = 0; d < 3; d++)
        a.dim[d] = d < to->shape.rank ? to->shape.dim[d] : 1;
    bool channels = to->shape.rank == 1 && to->shape.dim[0] == from->shape.dim[0];
    if (!equal && (batched || !channels)) /* bias_grad sums rows and columns by itself */
        diff = vjp_op1(v, OP_SUM_TO, &a, diff);
    return batched ? diff : vjp_op1(v, OP_BIAS_GRAD, NULL, diff);
}

static bool vjp_add(Vjp *v) {
    ValueId in[2] = {vjp_node(v)->in[0], vjp_node(v)->in[1]};
    for (int i = 0; i < 2; i++)
        if (v->need[i])
            v->dx[i] = vjp_repeated(v, v->dy[0], in[i]);
    return true;
}

static bool vjp_sub(Vjp *v) {
    ValueId b = vjp_node(v)->in[1];
    if (v->need[0])
        v->dx[0] = v->dy[0];
    if (v->need[1])
        v->dx[1] = vjp_repeated(v, vjp_op1(v, OP_NEG, NULL, v->dy[0]), b);
    return true;
}

static bool vjp_mul(Vjp *v) {
    ValueId a = vjp_node(v)->in[0], b = vjp_node(v)->in[1];
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_MUL, NULL, v->dy[0], b);
    if (v->need[1])
        v->dx[1] = vjp_repeated(v, vjp_op2(v, OP_MUL, NULL, v->dy[0], a), b);
    return true;
}

/* dy / b; - dy (a / b) / b */
static bool vjp_div(Vjp *v) {
    ValueId b = vjp_node(v)->in[1], y = vjp_node(v)->out[0];
    if (!rule_true(v))
        return false;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_DIV, NULL, v->dy[0], b);
    if (v->need[1]) {
        ValueId part = vjp_op2(v, OP_DIV, NULL, vjp_op2(v, OP_MUL, NULL, v->dy[0], y), b);
        v->dx[1] = vjp_repeated(v, vjp_op1(v, OP_NEG, NULL, part), b);
    }
    return true;
}

/* The masks tell from one operand and the result who won: the other operand is not needed. */
static bool vjp_choice(Vjp *v, bool smallest) {
    ValueId a = vjp_node(v)->in[0], b = vjp_node(v)->in[1], y = vjp_node(v)->out[0], dy = v->dy[0];
    /* a won: a >= max, or min >= a; b won: a < max, or min < a */
    ValueId x0 = smallest ? y : a, x1 = smallest ? a : y;
    if (v->need[0])
        v->dx[0] = vjp_op3(v, OP_PASS_GE, NULL, dy, x0, x1);
    if (v->need[1])
        v->dx[1] = vjp_repeated(v, vjp_op3(v, OP_PASS_LT, NULL, dy, x0, x1), b);
    return true;
}

/* h / b^2; h (y / b)^2 */
static bool curvature_div(Vjp *v) {
    ValueId b = vjp_node(v)->in[1], y = vjp_node(v)->out[0], h = v->dy[0];
    ValueId each = vjp_op2(v, OP_DIV, NULL, h, vjp_op1(v, OP_SQUARE, NULL, b));
    if (v->need[0])
        v->dx[0] = each;
    if (v->need[1])
        v->dx[1] = vjp_repeated(
            v, vjp_op2(v, OP_MUL, NULL, each, vjp_op1(v, OP_SQUARE, NULL, y)), b);
    return true;
}

static bool vjp_maximum(Vjp *v) {
    return vjp_choice(v, false);
}
static bool vjp_minimum(Vjp *v) {
    return vjp_choice(v, true);
}

#define MAP(name)                                                                                  \
    .flops = flops_out1, .scalar = scalar_##name, .lower = lower_map, .choose = choose_map
#define REPEATED                                                                                   \
    "An operand with one number per channel, [C] or [C, 1, 1], one map [1, H, W] or one number "   \
    "is "                                                                                          \
    "repeated."

const OpDef opdef_add = {
    .title = "elementwise sum",
    .formula = "dst = a + b",
    .doc = "Adds tensors of equal shape: `[left, right] -> add` or add(a, b).  The gradient flows "
           "to every input.  " REPEATED,
    .theory = "He et al. 2016, equation (1)",
    .part = PART_SUM,
    .infer = infer_binary,
    .vjp = vjp_add,
    .curvature = vjp_add,
    MAP(add),
};

const OpDef opdef_mul = {
    .title = "elementwise product",
    .formula = "dst = a * b",
    .doc = "Multiplies tensors of equal shape (gates, masks).  " REPEATED "  The deconvnet and "
           "guided rules do not exist for it.",
    .theory = "Hochreiter, Schmidhuber 1997 (multiplicative gates)",
    .infer = infer_binary,
    .vjp = vjp_mul,
    .curvature = curvature_product,
    MAP(mul),
};

const OpDef opdef_sub = {
    .title = "elementwise difference",
    .formula = "dst = a - b",
    .doc = "sub(a, b), or [a, b] -> sub.  b may be repeated as in add; all projections use the "
           "adjoint.",
    .theory = "elementary",
    .part = PART_SUM,
    .infer = infer_binary,
    .vjp = vjp_sub,
    .curvature = vjp_add,
    MAP(sub),
};

const OpDef opdef_div = {
    .title = "elementwise quotient",
    .formula = "dst = a / b",
    .doc = "div(a, b), or [a, b] -> div.  b may be repeated as in add.  Division by 0 gives "
           "infinity or NaN.  The deconvnet and guided rules do not exist for it.",
    .theory = "elementary",
    .infer = infer_binary,
    .vjp = vjp_div,
    .curvature = curvature_div,
    MAP(div),
};

const OpDef opdef_maximum = {
    .title = "elementwise maximum",
    .formula = "dst = max(a, b)",
    .doc =
        "The larger of two or more tensors (maxout).  Gradient and projections go to the winner, "
        "to the first when equal.  " REPEATED,
    .theory = "Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, section 3",
    .infer = infer_binary,
    .vjp = vjp_maximum,
    .curvature = vjp_maximum,
    MAP(maximum),
};

const OpDef opdef_minimum = {
    .title = "elementwise minimum",
    .formula = "dst = min(a, b)",
    .doc = "The smaller of two or more tensors.  Gradient and projections go to the winner, to the "
           "first when equal.  " REPEATED,
    .theory = "elementary",
    .infer = infer_binary,
    .vjp = vjp_minimum,
    .curvature = vjp_minimum,
    MAP(minimum),
};

const OpDef opdef_pass_ge = {
    .title = "gradient of a choice, for the first operand",
    .formula = "diff_src = a >= b ? diff_dst : 0",
    .doc = "Of maximum and minimum: one operand and the result tell who won.",
    .theory = "Goodfellow et al. 2013, section 3",
    .infer = infer_pass,
    MAP(pass_ge),
};

const OpDef opdef_pass_lt = {
    .title = "gradient of a choice, for the second operand",
    .formula = "diff_src = a < b ? diff_dst : 0",
    .doc = "Of maximum and minimum: one operand and the result tell who won.",
    .theory = "Goodfellow et al. 2013, section 3",
    .infer = infer_pass,
    MAP(pass_lt),
};

/* ---- the adjoint of repetition ---- */

static const AttrDesc sum_to_attrs[] = {
    ATTR_HIDDEN(SumToAttrs, dim[0], AT_INT, "1"),
    ATTR_HIDDEN(SumToAttrs, dim[1], AT_INT, "1"),
    ATTR_HIDDEN(SumToAttrs, dim[2], AT_INT, "1"),
    ATTR_HIDDEN(SumToAttrs, rank, AT_INT, "1"),
};

static bool infer_sum_to(Infer *inf) {
    const SumToAttrs *a = inf->attrs;
    int64_t from[3], to[3];
    if (inf->nin < 1 || a->rank < 1 || a->rank > 3)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs an input and a shape");
    Shape s = {.rank = (int)a->rank};
    for (int d = 0; d < s.rank; d++)
        s.dim[d] = a->dim[d];
    shape_chw(&inf->in[0], &from[0], &from[1], &from[2]);
    shape_chw(&s, &to[0], &to[1], &to[2]);
    for (int d = 0; d < 3; d++)
        if (to[d] != 1 && to[d] != from[d])
            return infer_fail(inf, "E0304", -1, 0, NULL, "cannot sum %lld numbers to %lld",
                              (long long)from[d], (long long)to[d]);
    return infer_out(inf, 0, s, DT_F32);
}

static double flops_in1(const Graph *g, NodeId n) {
    return value_elems(g, graph_n(g, n)->in[0]);
}

const OpDef opdef_sum_to = {
    .title = "sum over what a repetition made",
    .formula = "dst[c,y,x] = sum over the maps, rows and columns of src in which dst has extent 1",
    .doc = "The adjoint of repeating an operand, for each image.",
    .theory = "the transpose of a linear map",
    .attr_size = sizeof(SumToAttrs),
    .attrs = sum_to_attrs,
    .nattrs = COUNT_OF(sum_to_attrs),
    .infer = infer_sum_to,
    .flops = flops_in1,
    .lower = lower_sum_to,
    .choose = choose_sum_to,
};
