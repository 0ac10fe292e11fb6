/* plan_check.c: runs a finished plan on paper and looks for values that are overwritten too early.
 *
 * It knows nothing of lifetimes, and so checks memplan independently: each kernel writes byte
 * ranges, which makes every other value there invalid, as does its scratch memory; whatever is read
 * must be valid.  Entries run as the runtime runs them: prepare, record, then each projection, again
 * in the other order, and again after a second record.
 * requires: check_nodes and check_kernels have accepted the graph.
 */
#include <string.h>

#include "ir/op.h"
#include "ir/verify.h"

enum { CHECK_VALUES = 300 };

typedef struct Paper {
    Check *c;
    bool placed;
    ValueId *slab; /* all values in ACT and FIX */
    int nslab;
    bool *valid; /* per value */
    uint8_t *section;
} Paper;

static bool in_slab(const Value *x) {
    return x->stored && (x->pool == POOL_ACT || x->pool == POOL_FIX);
}

static bool overlap(const Value *a, const Value *b) {
    return a->pool == b->pool && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

static void write_value(Paper *p, ValueId v) {
    const Graph *g = p->c->g;
    for (int i = 0; p->placed && i < p->nslab; i++)
        if (overlap(graph_v(g, p->slab[i]), graph_v(g, v)))
            p->valid[p->slab[i]] = false;
    p->valid[v] = true;
}

/* May output `out` of k lie over input `in`?  The last result of a chain over what the chain reads,
 * in the same place; not over what a convolution or a dense layer before it still gathers from. */
static bool in_place(const Graph *g, const Kernel *k, ValueId out, ValueId in) {
    const Value *a = graph_v(g, out), *b = graph_v(g, in);
    const Node *anchor = graph_n(g, k->anchor);
    NodeId last = k->nchain ? k->chain[k->nchain - 1] : k->anchor;
    bool gathers = anchor->op == OP_CONV2D || anchor->op == OP_CONV2D_BWD_DATA ||
                   anchor->op == OP_DENSE || anchor->op == OP_DENSE_BWD_DATA;
    for (int i = 0; gathers && i < anchor->nin; i++)
        gathers = anchor->in[i] != in;
    return (gathers || op_is(anchor->op, OPF_E)) && !k->tail &&
           graph_n(g, last)->out[0] == out && a->offset == b->offset && a->bytes == b->bytes &&
           memcmp(&a->layout, &b->layout, sizeof a->layout) == 0;
}

/* Scratch may lie anywhere in the kernel's gap and from its top on. */
static bool use_scratch(Paper *p, const Kernel *k, const ValueId *touched, int n) {
    const Graph *g = p->c->g;
    for (int i = 0; i < p->nslab; i++) {
        const Value *x = graph_v(g, p->slab[i]);
        bool inside = x->pool == POOL_ACT && x->bytes > 0 &&
                      (x->offset + x->bytes > k->top ||
                       (x->offset < k->gap + k->gap_bytes && k->gap < x->offset + x->bytes));
        for (int j = 0; inside && j < n; j++)
            if (touched[j] == p->slab[i])
                return check_fail(p->c, "kernel %s has its scratch memory over %s", k->name,
                                  check_value(p->c, p->slab[i]));
        p->valid[p->slab[i]] &= !inside;
    }
    return true;
}

static bool run_kernel(Paper *p, int index) {
    Check *c = p->c;
    const Graph *g = c->g;
    const Kernel *k = &g->kernels[index];
    ValueId in[CHECK_VALUES], out[CHECK_VALUES];
    int nin = kernel_inputs(g, k, in, CHECK_VALUES);
    int nout = kernel_outputs(g, k, out, CHECK_VALUES);
    if (nin > CHECK_VALUES || nout > CHECK_VALUES)
        return check_fail(c, "kernel %s touches too many values", k->name);
    for (int i = 0; i < nin; i++) {
        const Value *x = graph_v(g, in[i]);
        if ((x->kind == VK_RESULT || x->kind == VK_SEED) && !p->valid[in[i]])
            return check_fail(c, "kernel %s reads %s, which is not made yet or overwritten",
                              k->name, check_value(c, in[i]));
    }
    for (int o = 0; p->placed && o < nout; o++) {
        const Value *x = graph_v(g, out[o]);
        for (int i = 0; i < nin && in_slab(x); i++)
            if (in_slab(graph_v(g, in[i])) && overlap(x, graph_v(g, in[i])) &&
                !in_place(g, k, out[o], in[i]))
                return check_fail(c, "kernel %s writes %s over its own input %s", k->name,
                                  check_value(c, out[o]), check_value(c, in[i]));
        for (int i = 0; i < o && in_slab(x); i++)
            if (in_slab(graph_v(g, out[i])) && overlap(x, graph_v(g, out[i])))
                return check_fail(c, "kernel %s writes %s and %s to one place", k->name,
                                  check_value(c, out[o]), check_value(c, out[i]));
    }
    if (p->placed && k->scratch &&
        !(use_scratch(p, k, in, nin) && use_scratch(p, k, out, nout)))
        return false;
    for (int o = 0; o < nout; o++)
        if (in_slab(graph_v(g, out[o])))
            write_value(p, out[o]);
        else
            p->valid[out[o]] = true;
    return true;
}

static bool run_entry(Paper *p, const Entry *e) {
    const Graph *g = p->c->g;
    uint8_t section = 0;
    if (e->count > 0)
        section = p->section[graph_n(g, g->kernels[e->first].anchor)->out[0]];
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_SEED && SECTION_PROJECT + graph_v(g, v)->slot == section)
            write_value(p, v);
    for (int k = e->first; k < e->first + e->count; k++)
        if (!run_kernel(p, k))
            return false;
    /* Kept results must be there when the entry ends. */
    for (int k = e->first; k < e->first + e->count; k++) {
        ValueId out[CHECK_VALUES];
        int n = kernel_outputs(g, &g->kernels[k], out, CHECK_VALUES);
        for (int i = 0; i < n; i++)
            if (graph_v(g, out[i])->keep && !p->valid[out[i]])
                return check_fail(p->c, "kept value %s does not survive entry %s",
                                  check_value(p->c, out[i]), e->name);
    }
    return true;
}

static bool check_places(Paper *p) {
    const Graph *g = p->c->g;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        bool slab = p->c->defined[v] && in_slab(x);
        if (slab)
            p->slab[p->nslab++] = v;
        if (p->c->defined[v] && x->stored && x->pool == POOL_NONE)
            return check_fail(p->c, "%s has no place", check_value(p->c, v));
        int64_t size = x->pool == POOL_ACT ? g->act_bytes : g->fix_bytes;
        if (slab && (x->offset < 0 || x->offset % 64 != 0 || x->offset + x->bytes > size))
            return check_fail(p->c, "%s lies outside its slab", check_value(p->c, v));
        if (slab && (x->pool == POOL_ACT) != x->batched)
            return check_fail(p->c, "%s lies in the wrong slab", check_value(p->c, v));
    }
    return true;
}

static bool check_entries(Check *c) {
    int next = 0;
    for (int i = 0; i < c->g->nentries; i++) {
        const Entry *e = &c->g->entry[i];
        if (e->first != next || e->count < 0)
            return check_fail(c, "entry %s does not start where the one before ends", e->name);
        next += e->count;
    }
    if (next != c->g->nkernels)
        return check_fail(c, "entries cover %d of %d kernels", next, c->g->nkernels);
    return true;
}

bool check_plan(Check *c, bool placed) {
    const Graph *g = c->g;
    Paper p = {.c = c, .placed = placed};
    if (!check_entries(c))
        return false;
    p.slab = ARENA_ARRAY(c->tmp, g->nvalue, ValueId);
    p.valid = ARENA_ARRAY(c->tmp, g->nvalue, bool);
    p.section = graph_sections(g, c->tmp);
    if (placed && !check_places(&p))
        return false;
    bool good = true;
    for (int i = 0; good && i < g->nentries; i++)
        good = run_entry(&p, &g->entry[i]);
    if (!placed)
        return good;
    /* The first two entries of a look program are prepare and record. */
    int projections = strcmp(g->entry[0].name, "prepare") == 0 ? 2 : g->nentries;
    for (int i = g->nentries; good && i-- > projections;)
        good = run_entry(&p, &g->entry[i]);
    for (int i = projections < g->nentries ? 1 : 0; good && i < g->nentries; i++)
        good = run_entry(&p, &g->entry[i]);
    return good;
}
