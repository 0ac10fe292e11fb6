/* dce.c: removes what influences nothing: backwards from kept values and parameter updates.
 *
 * requires: a graph without kernels.  ensures: each live node has a kept result, an effect, or a
 * live reader; results that nobody reads are 0 in Node.out (max-pooling without switches).
 * leaves alone: values from outside (the program's arguments), order of the survivors.
 */
#include "ir/op.h"
#include "passes/pass.h"

static bool wanted(const Graph *g, const bool *live, const Node *n) {
    if (op_is(n->op, OPF_X))
        return true;
    for (int k = 0; k < n->nout; k++)
        if (n->out[k] && (graph_v(g, n->out[k])->keep || live[n->out[k]]))
            return true;
    return false;
}

void pass_dce(Graph *g, PassCtx *ctx) {
    bool *live = ARENA_ARRAY(ctx->tmp, g->nvalue, bool);
    graph_toposort(g);
    for (uint32_t o = g->norder; o-- > 0;) {
        Node *n = graph_n(g, g->order[o]);
        if (!wanted(g, live, n)) {
            n->dead = true;
            for (int k = 0; k < n->nout; k++)
                if (n->out[k])
                    graph_v(g, n->out[k])->kind = VK_NONE;
            continue;
        }
        for (int i = 0; i < n->nin; i++)
            live[n->in[i]] = true;
        for (int k = 1; k < n->nout; k++)
            if (n->out[k] && !live[n->out[k]] && !graph_v(g, n->out[k])->keep) {
                graph_v(g, n->out[k])->kind = VK_NONE;
                n->out[k] = 0;
            }
    }
    graph_toposort(g);
}
