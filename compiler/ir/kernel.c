/* kernel.c: what a kernel reads and writes in memory.
 *
 * requires: fuse (Value.stored is set).  ensures: each value once, in the order of the kernel's
 * nodes; returns how many there are, of which at most cap are written to the array.
 */
#include "ir/lanes.h"

typedef struct Set {
    ValueId *at;
    int n, cap;
} Set;

static void add(Set *s, ValueId v) {
    for (int i = 0; i < s->n && i < s->cap; i++)
        if (s->at[i] == v)
            return;
    if (s->n < s->cap)
        s->at[s->n] = v;
    s->n++;
}

int kernel_nodes(const Kernel *k, NodeId out[KERNEL_MAX_NODES]) {
    const NodeId rest[] = {k->update, k->bias_grad, k->bias_update};
    int n = 0;
    for (int i = 0; i < k->nsource; i++)
        out[n++] = k->source[i];
    out[n++] = k->anchor;
    for (int i = 0; i < k->nchain; i++)
        out[n++] = k->chain[i];
    if (k->tail)
        out[n++] = k->tail;
    for (int i = 0; i < k->nbehind; i++)
        out[n++] = k->behind[i];
    for (int i = 0; i < 3; i++)
        if (rest[i])
            out[n++] = rest[i];
    return n;
}

const NodeId *kernel_members(const Kernel *k, NodeId buffer[KERNEL_MAX_NODES], int *count) {
    *count = k->lanes ? k->lanes->nnodes : kernel_nodes(k, buffer);
    return k->lanes ? k->lanes->node : buffer;
}

/* A block kernel beside ordinary ones stores only what the runtime wants. */
static bool is_output(const Graph *g, const Kernel *k, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->stored && (!k->lanes || !k->lanes->again || x->keep);
}

int kernel_outputs(const Graph *g, const Kernel *k, ValueId *out, int cap) {
    Set s = {out, 0, cap};
    NodeId buffer[KERNEL_MAX_NODES];
    int count;
    const NodeId *node = kernel_members(k, buffer, &count);
    for (int i = 0; i < count; i++) {
        const Node *n = graph_n(g, node[i]);
        for (int j = 0; j < n->nout; j++)
            if (n->out[j] && is_output(g, k, n->out[j]))
                add(&s, n->out[j]);
    }
    return s.n;
}

static bool inside(const Graph *g, const NodeId *node, int count, ValueId v) {
    if (graph_v(g, v)->kind != VK_RESULT)
        return false;
    for (int i = 0; i < count; i++)
        if (graph_v(g, v)->def == node[i])
            return true;
    return false;
}

int kernel_inputs(const Graph *g, const Kernel *k, ValueId *in, int cap) {
    Set s = {in, 0, cap};
    NodeId buffer[KERNEL_MAX_NODES];
    int count;
    const NodeId *node = kernel_members(k, buffer, &count);
    for (int i = 0; i < count; i++) {
        const Node *n = graph_n(g, node[i]);
        for (int j = 0; j < n->nin; j++)
            if (!inside(g, node, count, n->in[j]))
                add(&s, n->in[j]);
    }
    return s.n;
}
