/* fold.c: nodes that compute nothing disappear, so that no later pass has to know them.
 *
 * requires: a graph without kernels and gradients.  ensures: no identity dropout (inference with
 * scale = train, or rate 0), concat of one, flatten of a vector or pool over single cells is left;
 * a dense layer never reads a flatten of an image: it reads the image, and its weights are the
 * split form [O, C, H, W] (numbered the same, row-major).
 * The same decisions must fall in every program of a model because Param.split is shared: nothing
 * here looks at `keep`.
 */
#include <string.h>

#include "base/bug.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "passes/pass.h"

static void drop(Graph *g, NodeId id, ValueId stands_for) {
    Node *n = graph_n(g, id);
    graph_replace_uses(g, n->out[0], stands_for);
    n->dead = true;
}

static bool is_one(const int64_t x[2]) {
    return x[0] == 1 && x[1] == 1;
}

static bool computes_nothing(const Graph *g, const Node *n) {
    if (n->op == OP_DROPOUT) {
        const DropoutAttrs *a = n->attrs;
        return a->rate == 0 || (a->infer && a->scale == 0);
    }
    if (n->op == OP_AVGPOOL) {
        const PoolAttrs *a = n->attrs;
        return is_one(a->kernel) && is_one(a->stride) && !a->pad[0] && !a->pad[1] && !a->pad[2] &&
               !a->pad[3];
    }
    if (n->op == OP_MAXPOOL) { /* of a pool over frames alone */
        const PoolAttrs *a = n->attrs;
        return is_one(a->kernel) && is_one(a->stride) && !a->pad[0] && !a->pad[1] && !a->pad[2] &&
               !a->pad[3] && shape_frames(&graph_v(g, n->in[0])->shape) > 1;
    }
    if (n->op == OP_FLATTEN)
        return graph_v(g, n->in[0])->shape.rank == 1;
    return n->op == OP_CONCAT && n->nin == 1;
}

static NodeId def_of(const Graph *g, ValueId v, int op) {
    const Value *x = graph_v(g, v);
    return x->kind == VK_RESULT && graph_n(g, x->def)->op == op ? x->def : 0;
}

/* flatten, dropout -> dropout, flatten: brings the flatten next to the dense layer behind. */
static bool sink_flatten(Graph *g, NodeId id) {
    Node *n = graph_n(g, id);
    NodeId flat = n->op == OP_DROPOUT ? def_of(g, n->in[0], OP_FLATTEN) : 0;
    if (!flat)
        return false;
    ValueId image = graph_n(g, flat)->in[0], out = n->out[0];
    n->in[0] = image;
    graph_v(g, out)->shape = graph_v(g, image)->shape;
    ValueId again = graph_op(g, OP_FLATTEN, NULL, 1, &out);
    NodeId made = graph_v(g, again)->def;
    graph_n(g, made)->label = graph_n(g, flat)->label;
    for (NodeId u = 1; u < g->nnode; u++)
        for (int i = 0; u != made && i < graph_n(g, u)->nin; i++)
            if (graph_n(g, u)->in[i] == out)
                graph_n(g, u)->in[i] = again;
    return true;
}

/* Every use of the weights, in this program, must want the same split. */
static bool alone(const Graph *g, ValueId weights, const Shape *image) {
    for (NodeId u = 1; u < g->nnode; u++) {
        const Node *n = graph_n(g, u);
        for (int i = 0; !n->dead && i < n->nin; i++) {
            if (n->in[i] != weights)
                continue;
            NodeId flat = n->op == OP_DENSE && i == 1 ? def_of(g, n->in[0], OP_FLATTEN) : 0;
            ValueId src = flat ? graph_n(g, flat)->in[0] : n->in[0];
            if (n->op != OP_DENSE || i != 1 || !shape_equal(&graph_v(g, src)->shape, image))
                return false;
        }
    }
    return true;
}

static void flatten_into_dense(Graph *g, NodeId id) {
    Node *n = graph_n(g, id);
    NodeId flat = n->op == OP_DENSE ? def_of(g, n->in[0], OP_FLATTEN) : 0;
    if (!flat)
        return;
    ValueId image = graph_n(g, flat)->in[0];
    const Value *w = graph_v(g, n->in[1]);
    const Shape *in = &graph_v(g, image)->shape;
    if (in->rank != 3 || w->kind != VK_PARAM || !alone(g, n->in[1], in))
        return;
    ParamSpec spec[4];
    int count = op_def[OP_DENSE]->params(n->attrs, in, spec);
    BUG_IF(count < 1, "dense without weights");
    g->params->at[w->slot].split = spec[0].split;
    n->in[0] = image;
}

void pass_fold(Graph *g, PassCtx *ctx) {
    (void)ctx;
    for (NodeId id = 1; id < g->nnode; id++) /* sinking adds flattens: they are visited as well */
        if (!graph_n(g, id)->dead && computes_nothing(g, graph_n(g, id)))
            drop(g, id, graph_n(g, id)->in[0]);
        else if (!graph_n(g, id)->dead)
            sink_flatten(g, id);
    for (NodeId id = 1; id < g->nnode; id++)
        if (!graph_n(g, id)->dead)
            flatten_into_dense(g, id);
    /* From here on a parameter's value has the shape that layouts speak about. */
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_PARAM)
            graph_v(g, v)->shape = g->params->at[graph_v(g, v)->slot].split;
    graph_toposort(g);
}
