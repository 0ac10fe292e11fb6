/* curvature.c: the rules that operators share (curvature.h). */
#include "ops/curvature.h"

#include "base/bug.h"
#include "ops/facts.h"

static bool is_function(int op) {
    return op_is(op, OPF_E) && !op_is(op, OPF_K) && op_nin[op] == 1 && op_def[op]->vjp;
}

bool curvature_defined(const Graph *g, NodeId n) {
    const OpDef *def = op_def[graph_n(g, n)->op];
    if (def->curvature)
        return !def->curvature_can || def->curvature_can(g, n);
    return is_function(graph_n(g, n)->op);
}

/* The derivative is diagonal: its adjoint twice is its square. */
static bool twice(Vjp *v) {
    if (!op_def[vjp_node(v)->op]->vjp(v) || !v->dx[0])
        return v->dx[0] == 0;
    Vjp again = *v;
    ValueId once = v->dx[0];
    again.dy = &once;
    return op_def[vjp_node(v)->op]->vjp(&again);
}

bool curvature_rule(Vjp *v) {
    int op = vjp_node(v)->op;
    if (op_def[op]->curvature)
        return op_def[op]->curvature(v);
    return is_function(op) && twice(v);
}

/* Squares of the image lie as the image does, so that weights and their curvatures do. */
static ValueId squared(Vjp *v, ValueId x) {
    const Value *value = graph_v(v->g, x);
    if (value->kind == VK_RESULT && graph_n(v->g, value->def)->op == OP_LOAD_INPUT)
        return vjp_op1(v, OP_LOAD_SQUARE, NULL, graph_n(v->g, value->def)->in[0]);
    return vjp_op1(v, OP_SQUARE, NULL, x);
}

bool curvature_product(Vjp *v) {
    enum { INPUTS = 4 };
    ValueId *in = vjp_node(v)->in, other[INPUTS];
    int nin = vjp_node(v)->nin;
    BUG_IF(nin < 2 || nin > INPUTS, "a product of %d inputs", nin);
    for (int i = 0; i < nin; i++)
        other[i] = i < 2 ? squared(v, in[i]) : in[i];
    graph_n(v->g, v->node)->in = other;
    bool good = op_def[vjp_node(v)->op]->vjp(v);
    graph_n(v->g, v->node)->in = in;
    return good;
}

/* With p - [c = label] as gradient g (or its opposite), p (1 - p) = |g| - g^2. */
bool curvature_loss(Vjp *v, int op) {
    const Node *node = vjp_node(v);
    LossAttrs a = *(const LossAttrs *)node->attrs;
    CurveAttrs weight = {.by = a.weight};
    ValueId x = node->in[0], label = node->in[1];
    a.weight = 1;
    a.smoothing = 0;
    if (!v->need[0])
        return true;
    ValueId g = vjp_op2(v, op, &a, x, label);
    ValueId size = vjp_op1(v, OP_ABS, NULL, g), square = vjp_op1(v, OP_SQUARE, NULL, g);
    v->dx[0] = vjp_op1(v, OP_SCALE, &weight, vjp_op2(v, OP_SUB, NULL, size, square));
    return true;
}

bool whole_windows(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    const PoolAttrs *a = node->attrs;
    const Shape *in = &graph_v(g, node->in[0])->shape, *out = &graph_v(g, node->out[0])->shape;
    for (int d = 0; d < 2; d++)
        if (a->pad[2 * d] || a->pad[2 * d + 1] ||
            (out->dim[1 + d] - 1) * a->stride[d] + a->kernel[d] > in->dim[1 + d])
            return false;
    return true;
}
