/* composite.c: operators that are defined by other operators (OpDef.parts): code and gradient.
 *
 * A composite names its parts once.  expand_parts puts them in its place; vjp_parts builds them a
 * second time, for their values, and goes back through them with the rule at hand: `cse` finds that
 * both are equal.  So a composite has every rule that all of its parts have.  With gradients of the
 * result at hand (Vjp.gy) what goes back are second derivatives, each part being a layer.
 * theory: the chain rule; reverse accumulation as in passes/grad.c.
 */
#include "base/bug.h"
#include "ops/curvature.h"
#include "ops/facts.h"

/* Inputs and attributes lie in the arena: new nodes do not move them. */
static ValueId build(Graph *g, NodeId id) {
    const Node *n = graph_n(g, id);
    return op_def[n->op]->parts(g, n->attrs, n->in);
}

void expand_parts(Graph *g, NodeId id) {
    NodeId first = g->nnode;
    ValueId last = build(g, id);
    Node *n = graph_n(g, id);
    ValueId out = n->out[0];
    if (g->nnode == first) { /* nothing to compute: the result is an input */
        graph_replace_uses(g, out, last);
        n->dead = true;
        return;
    }
    Node *part = graph_n(g, graph_v(g, last)->def);
    BUG_IF(part->out[0] != last, "the result of '%s' is no first output", op_name[n->op]);
    n->op = part->op;
    n->attrs = part->attrs;
    n->in = part->in;
    n->nin = part->nin;
    n->out = part->out;
    n->nout = part->nout;
    n->out[0] = out;
    for (int k = 1; k < n->nout; k++)
        if (n->out[k])
            graph_v(g, n->out[k])->def = id;
    part->dead = true;
    part->nin = part->nout = 0;
    graph_replace_uses(g, last, out);
}

typedef struct Back {
    Vjp *v;
    ValueId first, last; /* values of the parts */
    ValueId *diff;
    bool *need;
} Back;

/* The number of an input of the composite, or -1. */
static int input_of(const Back *b, ValueId x) {
    const Node *n = vjp_node(b->v);
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] == x)
            return i;
    return -1;
}

static void flow(Back *b, ValueId to, ValueId part) {
    int input = input_of(b, to);
    ValueId *sum = input >= 0 ? &b->v->dx[input] : &b->diff[to - b->first];
    if (part && (input < 0 || b->v->need[input]))
        *sum = *sum ? vjp_op2(b->v, OP_ADD, NULL, *sum, part) : part;
}

static bool needed(const Back *b, ValueId x) {
    int input = input_of(b, x);
    if (input >= 0)
        return b->v->need[input];
    return x >= b->first && x < b->last && b->need[x - b->first];
}

static bool go_back(Back *b, NodeId id) {
    enum { MOST = 8 };
    Node n = *graph_n(b->v->g, id); /* new nodes may move the table */
    ValueId dy[MOST] = {0}, dx[MOST] = {0};
    bool need[MOST], any = false;
    BUG_IF(n.nin > MOST || n.nout > MOST, "a part with more than %d inputs", MOST);
    for (int k = 0; k < n.nout; k++)
        dy[k] = n.out[k] ? b->diff[n.out[k] - b->first] : 0;
    for (int i = 0; i < n.nin; i++)
        any |= need[i] = needed(b, n.in[i]);
    if (!dy[0] || !any)
        return true;
    Vjp v = *b->v;
    v.node = id;
    v.dy = dy;
    v.dx = dx;
    v.need = need;
    ValueId unknown[MOST] = {0}; /* no part asks for its own gradient */
    v.gy = b->v->gy ? unknown : NULL;
    if (!op_def[n.op]->vjp || !(v.gy ? curvature_rule(&v) : op_def[n.op]->vjp(&v)))
        return false;
    for (int i = 0; i < n.nin; i++)
        flow(b, n.in[i], dx[i]);
    return true;
}

bool vjp_parts(Vjp *v) {
    Graph *g = v->g;
    Back b = {.v = v, .first = g->nvalue};
    NodeId first = g->nnode;
    ValueId dy = v->dy[0], last = build(g, v->node);
    NodeId end = g->nnode;
    b.last = g->nvalue;
    int64_t count = (int64_t)b.last - b.first + 1;
    Arena *tmp = arena_new();
    b.diff = ARENA_ARRAY(tmp, count, ValueId);
    b.need = ARENA_ARRAY(tmp, count, bool);
    for (NodeId id = first; id < end; id++) {
        const Node *n = graph_n(g, id);
        bool any = false;
        for (int i = 0; i < n->nin; i++)
            any |= needed(&b, n->in[i]);
        for (int k = 0; k < n->nout; k++)
            if (n->out[k])
                b.need[n->out[k] - b.first] = any;
    }
    flow(&b, last, dy);
    bool good = true;
    for (NodeId id = end; good && id-- > first;)
        good = go_back(&b, id);
    arena_free(tmp);
    return good;
}
