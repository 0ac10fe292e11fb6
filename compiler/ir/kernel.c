/* kernel.c: what a kernel reads and writes in memory.
 *
 * requires: fuse (Value.stored is set).  ensures: each value once, in the order of the kernel's
 * nodes; returns how many there are, of which at most cap are written to the array.
 */
#include "ir/plan.h"

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

static int node_count(const Kernel *k) {
    return 1 + k->nchain + (k->tail != 0);
}

static NodeId node_at(const Kernel *k, int i) {
    if (i == 0)
        return k->anchor;
    return i <= k->nchain ? k->chain[i - 1] : k->tail;
}

int kernel_outputs(const Graph *g, const Kernel *k, ValueId *out, int cap) {
    Set s = {out, 0, cap};
    for (int i = 0; i < node_count(k); i++) {
        const Node *n = graph_n(g, node_at(k, i));
        for (int j = 0; j < n->nout; j++)
            if (n->out[j] && graph_v(g, n->out[j])->stored)
                add(&s, n->out[j]);
    }
    return s.n;
}

static bool inside(const Graph *g, const Kernel *k, ValueId v) {
    if (graph_v(g, v)->kind != VK_RESULT)
        return false;
    for (int i = 0; i < node_count(k); i++)
        if (graph_v(g, v)->def == node_at(k, i))
            return true;
    return false;
}

int kernel_inputs(const Graph *g, const Kernel *k, ValueId *in, int cap) {
    Set s = {in, 0, cap};
    for (int i = 0; i < node_count(k); i++) {
        const Node *n = graph_n(g, node_at(k, i));
        for (int j = 0; j < n->nin; j++)
            if (!inside(g, k, n->in[j]))
                add(&s, n->in[j]);
    }
    return s.n;
}
