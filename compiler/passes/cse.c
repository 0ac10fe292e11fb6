/* cse.c: nodes with equal operator, attributes and inputs are computed once.
 *
 * requires: topological order.  ensures: no two live nodes without random numbers or effects are
 * equal, except where both results are kept (two projections may start there separately).
 * theory: value numbering, Cocke and Schwartz 1970.
 */
#include <string.h>

#include "ir/op.h"
#include "passes/pass.h"

static uint32_t hash_node(const Node *n) {
    uint32_t h = 2166136261u ^ n->op; /* FNV-1a over op and inputs; attributes seldom differ */
    for (int i = 0; i < n->nin; i++)
        h = (h ^ n->in[i]) * 16777619u;
    return h;
}

static bool same(const Node *a, const Node *b) {
    if (a->op != b->op || a->nin != b->nin)
        return false;
    if (memcmp(a->in, b->in, a->nin * sizeof(ValueId)) != 0)
        return false;
    return op_same_attrs(a->op, a->attrs, b->attrs);
}

static bool mergeable(const Graph *g, const Node *a, const Node *b) {
    for (int k = 0; k < a->nout; k++)
        if (a->out[k] && b->out[k] && graph_v(g, a->out[k])->keep && graph_v(g, b->out[k])->keep)
            return false;
    return true;
}

static void merge(Graph *g, Node *gone, Node *stays) {
    for (int k = 0; k < gone->nout; k++) {
        if (!gone->out[k])
            continue;
        if (stays->out[k]) {
            graph_replace_uses(g, gone->out[k], stays->out[k]);
            continue;
        }
        stays->out[k] = gone->out[k];
        graph_v(g, gone->out[k])->def = graph_v(g, stays->out[0])->def;
        gone->out[k] = 0;
    }
    gone->dead = true;
}

void pass_cse(Graph *g, PassCtx *ctx) {
    graph_toposort(g);
    uint32_t slots = 64;
    while (slots < 2 * g->norder)
        slots *= 2;
    NodeId *table = ARENA_ARRAY(ctx->tmp, slots, NodeId);
    for (uint32_t o = 0; o < g->norder; o++) {
        NodeId id = g->order[o];
        Node *n = graph_n(g, id);
        if (op_is(n->op, OPF_S | OPF_X))
            continue;
        uint32_t at = hash_node(n) & (slots - 1);
        while (table[at] &&
               !(same(graph_n(g, table[at]), n) && mergeable(g, graph_n(g, table[at]), n)))
            at = (at + 1) & (slots - 1);
        if (!table[at])
            table[at] = id;
        else
            merge(g, n, graph_n(g, table[at]));
    }
    graph_toposort(g);
}
