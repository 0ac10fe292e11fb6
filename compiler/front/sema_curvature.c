/* sema_curvature.c: optimizer = sdlm needs second derivatives: a layer without them is a user's error.
 *
 * requires: the first walk is done and the sections are read.  ensures: every node of the training
 * graph that lies between a trained parameter and a loss has a curvature rule.
 */
#include "front/sema.h"
#include "ops/curvature.h"

/* Values that a loss depends on. */
static bool *to_losses(const Build *b, const Graph *g) {
    bool *reach = ARENA_ARRAY(b->arena, g->nvalue, bool);
    for (int i = 0; i < b->m->mode[MODEL_FORWARD].nlosses; i++)
        reach[b->m->mode[MODEL_FORWARD].loss[i]] = true;
    for (NodeId id = g->nnode; id-- > 1;) {
        const Node *n = graph_n(g, id);
        bool any = false;
        for (int k = 0; k < n->nout && !n->dead; k++)
            any |= n->out[k] && reach[n->out[k]];
        for (int i = 0; i < n->nin && any; i++)
            reach[n->in[i]] = true;
    }
    return reach;
}

/* Nodes stand behind those whose results they read: the walk has made them in this order. */
void sema_curvature(Build *b) {
    const Graph *g = b->m->mode[MODEL_FORWARD].graph;
    if (b->m->train.optimizer != RT_SDLM || !g || diag_errors(b->diag) > 0)
        return;
    bool *reach = to_losses(b, g), *trained = ARENA_ARRAY(b->arena, g->nvalue, bool);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        const Param *p = x->kind == VK_PARAM ? &b->m->params.at[x->slot] : NULL;
        trained[v] = p && !p->frozen && !p->constant;
    }
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *n = graph_n(g, id);
        bool any = false, on = false;
        for (int i = 0; i < n->nin; i++)
            any |= trained[n->in[i]];
        for (int k = 0; k < n->nout; k++)
            if (n->out[k]) {
                trained[n->out[k]] = any;
                on |= reach[n->out[k]];
            }
        if (n->dead || !any || !on || curvature_defined(g, id))
            continue;
        Diag *d = diag_error(b->diag, n->loc, "E0801",
                             "not built yet: second derivatives of %s%s%s%s for sdlm",
                             op_name[n->op], n->label ? " '" : "", n->label ? n->label : "",
                             n->label ? "'" : "");
        if (op_def[n->op]->curvature_else)
            diag_help(d, "%s", op_def[n->op]->curvature_else);
        diag_help(d, "train { optimizer = sgd(..) } needs first derivatives only");
    }
}
