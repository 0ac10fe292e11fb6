/* expand.c: composites (OpDef.expand) become their parts.
 *
 * requires: grad, which asks the composite for its gradient.  ensures: no operator with an expand
 * hook is left, unless it has code of its own (lrn across maps); the node itself becomes the last
 * part, so its value keeps name, label and `keep`.
 * leaves alone: everything else.
 */
#include "ir/op.h"
#include "passes/pass.h"

void pass_expand(Graph *g, PassCtx *ctx) {
    (void)ctx;
    uint32_t count = g->nnode;
    for (NodeId id = 1; id < count; id++) {
        uint32_t first = g->nnode;
        const char *label = graph_n(g, id)->label;
        if (graph_n(g, id)->dead || !op_def[graph_n(g, id)->op]->expand)
            continue;
        op_def[graph_n(g, id)->op]->expand(g, id);
        for (NodeId part = first; part < g->nnode; part++)
            graph_n(g, part)->label = label;
    }
    graph_toposort(g);
}
