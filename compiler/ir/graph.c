/* graph.c: making and changing a Graph: values, nodes, uses, names, order, copies.
 *
 * requires: handles are valid; node() and value() pointers do not survive an insertion (the tables
 * may move), handles do.
 * ensures: each value has one definition; `order` is topological, and among ready nodes the one
 * created first comes first, so dumps do not depend on anything but the spec; a node with an effect
 * (parameter update) comes after every other reader of what it overwrites.
 * theory: Kahn 1962, "Topological sorting of large networks", with a heap instead of a set.
 */
#include "ir/graph.h"

#include <string.h>

#include "base/bug.h"
#include "ir/op.h"

Graph *graph_new(Arena *keep, const char *name, const char *net, ParamList *params) {
    Graph *g = ARENA_NEW(keep, Graph);
    g->name = name;
    g->net = net;
    g->keep = keep;
    g->params = params;
    g->cap_node = g->cap_value = 64;
    g->node = ARENA_ARRAY(keep, g->cap_node, Node);
    g->value = ARENA_ARRAY(keep, g->cap_value, Value);
    g->nnode = g->nvalue = 1; /* handle 0 is "none" */
    g->order = ARENA_ARRAY(keep, 1, NodeId);
    return g;
}

static ValueId new_value(Graph *g) {
    if (g->nvalue == g->cap_value) {
        Value *bigger = ARENA_ARRAY(g->keep, (int64_t)g->cap_value * 2, Value);
        memcpy(bigger, g->value, g->nvalue * sizeof(Value));
        g->value = bigger;
        g->cap_value *= 2;
    }
    memset(&g->value[g->nvalue], 0, sizeof(Value));
    return g->nvalue++;
}

static NodeId new_node(Graph *g) {
    if (g->nnode == g->cap_node) {
        Node *bigger = ARENA_ARRAY(g->keep, (int64_t)g->cap_node * 2, Node);
        memcpy(bigger, g->node, g->nnode * sizeof(Node));
        g->node = bigger;
        g->cap_node *= 2;
    }
    memset(&g->node[g->nnode], 0, sizeof(Node));
    return g->nnode++;
}

ValueId graph_input(Graph *g, ValueKind kind, DType t, Shape s, bool batched, int slot,
                    const char *name) {
    ValueId v = new_value(g);
    Value *x = graph_v(g, v);
    x->kind = kind;
    x->dtype = t;
    x->shape = s;
    x->batched = batched;
    x->slot = slot;
    x->name = name;
    x->stored = kind == VK_SEED;
    return v;
}

NodeId graph_node_raw(Graph *g, int op, const void *attrs, int nin, const ValueId *in, int nout,
                      const Shape *out_shape, const DType *out_type, bool batched) {
    BUG_IF(op <= OP_NONE || op >= OP_COUNT, "operator %d does not exist", op);
    BUG_IF(nin < 0 || nin > 255 || nout < 1 || nout > 4, "%s with %d inputs, %d outputs",
           op_name[op], nin, nout);
    NodeId id = new_node(g);
    ValueId *ins = ARENA_ARRAY(g->keep, nin, ValueId);
    ValueId *outs = ARENA_ARRAY(g->keep, nout, ValueId);
    for (int i = 0; i < nin; i++)
        ins[i] = in[i];
    for (int i = 0; i < nout; i++) {
        outs[i] = new_value(g);
        Value *v = graph_v(g, outs[i]);
        v->kind = VK_RESULT;
        v->dtype = out_type[i];
        v->shape = out_shape[i];
        v->batched = batched;
        v->def = id;
        v->def_index = i;
    }
    Node *n = graph_n(g, id);
    n->op = (uint16_t)op;
    n->nin = (uint8_t)nin;
    n->nout = (uint8_t)nout;
    n->in = ins;
    n->out = outs;
    size_t size = op_def[op]->attr_size;
    if (size > 0) {
        n->attrs = arena_alloc(g->keep, size);
        if (attrs)
            memcpy(n->attrs, attrs, size);
    }
    return id;
}

NodeId graph_node(Graph *g, int op, const void *attrs, int nin, const ValueId *in) {
    BUG_IF(op <= OP_NONE || op >= OP_COUNT, "operator %d does not exist", op);
    Shape *shapes = ARENA_ARRAY(g->keep, nin, Shape);
    bool batched = false;
    for (int i = 0; i < nin; i++) {
        BUG_IF(in[i] == 0 || in[i] >= g->nvalue, "%s: input %d is no value", op_name[op], i);
        shapes[i] = graph_v(g, in[i])->shape;
        batched |= graph_v(g, in[i])->batched;
    }
    Infer inf = {.attrs = attrs, .nin = nin, .in = shapes};
    if (!op_infer(op, &inf))
        BUG("%s refuses its inputs: %s", op_name[op], inf.bad.text);
    return graph_node_raw(g, op, attrs, nin, in, op_nout[op], inf.out, inf.out_type,
                          batched && !inf.unbatched);
}

ValueId graph_op(Graph *g, int op, const void *attrs, int nin, const ValueId *in) {
    NodeId n = graph_node(g, op, attrs, nin, in);
    return graph_n(g, n)->out[0];
}

/* ---- uses and names ---- */

void graph_replace_uses(Graph *g, ValueId from, ValueId to) {
    BUG_IF(from == to || !from || !to, "a value cannot replace itself");
    for (NodeId n = 1; n < g->nnode; n++) {
        Node *node = graph_n(g, n);
        for (int i = 0; i < node->nin; i++)
            if (node->in[i] == from)
                node->in[i] = to;
    }
    Value *old = graph_v(g, from), *now = graph_v(g, to);
    old->same_as = to;
    now->keep |= old->keep;
    old->keep = false;
    if (!now->name) {
        now->name = old->name;
        old->name = NULL;
    }
}

ValueId graph_resolve(const Graph *g, ValueId v) {
    while (v && graph_v(g, v)->same_as)
        v = graph_v(g, v)->same_as;
    return v;
}

int graph_uses(const Graph *g, ValueId v, NodeId *out, int cap) {
    int n = 0;
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *node = graph_n(g, id);
        if (node->dead)
            continue;
        for (int i = 0; i < node->nin; i++) {
            if (node->in[i] != v)
                continue;
            if (n < cap)
                out[n] = id;
            n++;
        }
    }
    return n;
}

UseTable graph_use_table(const Graph *g, Arena *tmp) {
    UseTable t = {ARENA_ARRAY(tmp, (int64_t)g->nvalue + 1, uint32_t), NULL};
    uint32_t total = 0;
    for (NodeId id = 1; id < g->nnode; id++)
        for (int i = 0; !graph_n(g, id)->dead && i < graph_n(g, id)->nin; i++, total++)
            t.first[graph_n(g, id)->in[i] + 1]++;
    for (ValueId v = 0; v < g->nvalue; v++)
        t.first[v + 1] += t.first[v];
    t.user = ARENA_ARRAY(tmp, total, NodeId);
    uint32_t *at = ARENA_ARRAY(tmp, g->nvalue, uint32_t);
    memcpy(at, t.first, g->nvalue * sizeof(uint32_t));
    for (NodeId id = 1; id < g->nnode; id++)
        for (int i = 0; !graph_n(g, id)->dead && i < graph_n(g, id)->nin; i++)
            t.user[at[graph_n(g, id)->in[i]]++] = id;
    return t;
}

void graph_set_name(Graph *g, ValueId v, const char *name) {
    graph_v(g, v)->name = name;
}

ValueId graph_find(const Graph *g, const char *name) {
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind != VK_NONE && graph_v(g, v)->name &&
            strcmp(graph_v(g, v)->name, name) == 0) {
            v = graph_resolve(g, v);
            return graph_v(g, v)->kind != VK_NONE ? v : 0;
        }
    return 0;
}

/* ---- order ---- */

typedef struct Heap {
    NodeId *at;
    uint32_t n;
} Heap;

static void heap_push(Heap *h, NodeId x) {
    uint32_t i = h->n++;
    while (i > 0 && h->at[(i - 1) / 2] > x) {
        h->at[i] = h->at[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->at[i] = x;
}

static NodeId heap_pop(Heap *h) {
    NodeId least = h->at[0], x = h->at[--h->n];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->at[child + 1] < h->at[child])
            child++;
        if (h->at[child] >= x)
            break;
        h->at[i] = h->at[child];
        i = child;
    }
    h->at[i] = x;
    return least;
}

static void release(Heap *ready, uint32_t *waits, NodeId n) {
    if (--waits[n] == 0)
        heap_push(ready, n);
}

/* updater[v]: the node with an effect on v, 0 = none */
static NodeId *find_updaters(const Graph *g, Arena *tmp) {
    NodeId *updater = ARENA_ARRAY(tmp, g->nvalue, NodeId);
    for (NodeId id = 1; id < g->nnode; id++)
        if (!graph_n(g, id)->dead && op_is(graph_n(g, id)->op, OPF_X)) {
            BUG_IF(updater[graph_n(g, id)->in[0]], "a parameter has two updates");
            updater[graph_n(g, id)->in[0]] = id;
        }
    return updater;
}

static void count_waits(const Graph *g, const UseTable *uses, uint32_t *waits) {
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *n = graph_n(g, id);
        if (n->dead)
            continue;
        for (int i = 0; i < n->nin; i++)
            waits[id] += graph_v(g, n->in[i])->kind == VK_RESULT;
        /* An update waits for every other read of what it overwrites; it reads that once itself. */
        if (op_is(n->op, OPF_X))
            waits[id] += uses->first[n->in[0] + 1] - uses->first[n->in[0]] - 1;
    }
}

void graph_toposort(Graph *g) {
    Arena *tmp = arena_new();
    UseTable uses = graph_use_table(g, tmp);
    NodeId *updater = find_updaters(g, tmp);
    uint32_t *waits = ARENA_ARRAY(tmp, g->nnode, uint32_t), live = 0;
    Heap ready = {ARENA_ARRAY(tmp, g->nnode, NodeId), 0};
    count_waits(g, &uses, waits);
    for (NodeId id = 1; id < g->nnode; id++) {
        if (graph_n(g, id)->dead)
            continue;
        live++;
        if (waits[id] == 0)
            heap_push(&ready, id);
    }
    g->order = ARENA_ARRAY(g->keep, live, NodeId);
    g->norder = 0;
    while (ready.n > 0) {
        NodeId id = heap_pop(&ready);
        const Node *n = graph_n(g, id);
        g->order[g->norder++] = id;
        for (int k = 0; k < n->nout; k++)
            for (uint32_t u = uses.first[n->out[k]]; n->out[k] && u < uses.first[n->out[k] + 1];
                 u++)
                release(&ready, waits, uses.user[u]);
        for (int i = 0; i < n->nin; i++)
            if (updater[n->in[i]] && updater[n->in[i]] != id)
                release(&ready, waits, updater[n->in[i]]);
    }
    arena_free(tmp);
    BUG_IF(g->norder != live, "graph '%s' has a cycle: %u of %u nodes ordered", g->name, g->norder,
           live);
}

uint8_t *graph_sections(const Graph *g, Arena *tmp) {
    uint8_t *section = ARENA_ARRAY(tmp, g->nvalue, uint8_t);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind == VK_INPUT || x->kind == VK_LABEL)
            section[v] = SECTION_RECORD;
        else if (x->kind == VK_SEED)
            section[v] = (uint8_t)(SECTION_PROJECT + x->slot);
    }
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        uint8_t latest = SECTION_PREPARE;
        for (int i = 0; i < n->nin; i++)
            if (section[n->in[i]] > latest)
                latest = section[n->in[i]];
        for (int k = 0; k < n->nout; k++)
            section[n->out[k]] = latest;
    }
    section[0] = SECTION_PREPARE;
    return section;
}

/* ---- copies ---- */

Graph *graph_clone(const Graph *g, const char *name) {
    BUG_IF(g->nkernels > 0, "graph '%s' is planned already and cannot be cloned", g->name);
    Graph *c = ARENA_NEW(g->keep, Graph);
    *c = *g;
    c->name = name;
    c->node = ARENA_ARRAY(g->keep, g->cap_node, Node);
    c->value = ARENA_ARRAY(g->keep, g->cap_value, Value);
    c->order = ARENA_ARRAY(g->keep, g->norder, NodeId);
    memcpy(c->value, g->value, g->nvalue * sizeof(Value));
    memcpy(c->node, g->node, g->nnode * sizeof(Node));
    memcpy(c->order, g->order, g->norder * sizeof(NodeId));
    for (NodeId id = 1; id < c->nnode; id++) {
        Node *n = graph_n(c, id);
        const Node *old = graph_n(g, id);
        n->in = ARENA_ARRAY(g->keep, n->nin, ValueId);
        n->out = ARENA_ARRAY(g->keep, n->nout, ValueId);
        memcpy(n->in, old->in, n->nin * sizeof(ValueId));
        memcpy(n->out, old->out, n->nout * sizeof(ValueId));
        size_t size = op_def[n->op]->attr_size;
        if (size > 0) {
            n->attrs = arena_alloc(g->keep, size);
            memcpy(n->attrs, old->attrs, size);
        }
    }
    return c;
}
