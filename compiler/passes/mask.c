/* mask.c: the mask of a rectifier moves in front of the unpooling behind which it stands.
 *
 *   relu_bwd(maxpool_bwd(d, s), y)  ->  maxpool_bwd(relu_bwd(d, p), s)    where p, s = maxpool(y)
 * Exact to the bit: a window w whose switch is cell u has p[w] = y[u], so all windows that send
 * something to u carry the same mask y[u] > 0, overlapping or not.  If it is true both sides add
 * the same numbers in the same order, else both give +0 (a NaN is not above 0 on either side).
 *   relu(maxpool_bwd(d, s))  ->  maxpool_bwd(relu(d), s)                  only if no windows share
 * a cell: a rectifier takes the sign of the sum (deconvnet, guided), and relu(a) + relu(b) is not
 * relu(a + b).
 * Why: the mask then joins the kernel that makes d, on a plane stride^2 times smaller, and the
 * unpooled y need not live until the backward pass.  Not where d is kept (a projection may start
 * there, so its maker must end with it), nor where the unpooled signal itself is.
 */
#include "ir/op.h"
#include "ops/attrs.h"
#include "passes/pass.h"

static NodeId maker(const Graph *g, ValueId v, int op) {
    const Value *x = graph_v(g, v);
    return x->kind == VK_RESULT && graph_n(g, x->def)->op == op ? x->def : 0;
}

static bool disjoint(const PoolAttrs *a) {
    return a->stride[0] >= a->kernel[0] && a->stride[1] >= a->kernel[1];
}

/* The unpooling in front of node id that may trade places with it, or 0; *with: what the mask reads
 * afterwards (masks only). */
static NodeId unpooling(const Graph *g, NodeId id, ValueId *with) {
    const Node *n = graph_n(g, id);
    NodeId back = 0, reader[2];
    if (!n->dead && (n->op == OP_RELU_BWD || n->op == OP_RELU))
        back = maker(g, n->in[0], OP_MAXPOOL_BWD);
    if (!back || graph_v(g, n->in[0])->keep || graph_uses(g, n->in[0], reader, 2) != 1 ||
        graph_v(g, graph_n(g, back)->in[0])->keep)
        return 0;
    if (n->op == OP_RELU)
        return disjoint(graph_n(g, back)->attrs) ? back : 0;
    NodeId pool = maker(g, graph_n(g, back)->in[1], OP_MAXPOOL);
    if (!pool || graph_n(g, pool)->in[0] != n->in[1])
        return 0;
    *with = graph_n(g, pool)->out[0];
    return back;
}

static void trade(Graph *g, NodeId id, NodeId back, ValueId with) {
    uint32_t first = g->nnode;
    ValueId in[2] = {graph_n(g, back)->in[0], with};
    ValueId masked = graph_op(g, graph_n(g, id)->op, NULL, with ? 2 : 1, in);
    ValueId spread[2] = {masked, graph_n(g, back)->in[1]};
    ValueId out = graph_op(g, OP_MAXPOOL_BWD, graph_n(g, back)->attrs, 2, spread);
    graph_n(g, first)->label = graph_n(g, id)->label;
    graph_n(g, first + 1)->label = graph_n(g, back)->label;
    graph_replace_uses(g, graph_n(g, id)->out[0], out);
    graph_v(g, graph_n(g, back)->out[0])->name = NULL; /* the diff without the mask is gone */
    graph_n(g, id)->dead = graph_n(g, back)->dead = true;
}

void pass_mask(Graph *g, PassCtx *ctx) {
    (void)ctx;
    for (NodeId id = 1; id < g->nnode; id++) { /* a mask may meet the next unpooling in front */
        ValueId with = 0;
        NodeId back = unpooling(g, id, &with);
        if (back)
            trade(g, id, back, with);
    }
    graph_toposort(g);
}
