/* recompute.c: training in less memory: results of the forward pass are dropped and made again
 * right before the backward pass needs them.
 *
 * requires: dce behind grad; options->memory (else the pass does nothing).  ensures: the plan of this
 * graph takes at most so many bytes, or ctx->memory.failed with the least that was found.  What is
 * made again is made by the same kernels in the same order (Node.twin), random masks are functions
 * of their counters: a step has the same bits as without.
 * Which results: candidates are those that a backward operation reads.  Two families of choices are
 * planned to the end on copies of the graph, cheap ones first (time to make again per byte) and
 * segments between checkpoints; of those that fit the one with the least predicted time is taken,
 * then results are kept again as long as it still fits.
 * theory: Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory cost", section
 * 4 (segments, cheap operations first) and algorithm 3 (search over the budget of a segment).
 */
#include <string.h>

#include "base/bug.h"
#include "ir/cost.h"
#include "ir/op.h"
#include "passes/pass.h"

enum { TRIES_MOST = 160, PREFIXES = 16, SEGMENTS = 16, LOOK_AHEAD = 8 };

typedef struct Candidate {
    NodeId node;
    double seconds; /* to make it again when nothing else is dropped */
    double bytes;   /* that the backward pass keeps of it, all images */
} Candidate;

typedef struct Choice {
    bool *drop;     /* per candidate */
    int64_t bytes;  /* of the whole plan */
    double seconds; /* of a step, predicted */
    double flops;   /* of what is made again, all images */
} Choice;

typedef struct Recompute {
    Graph *g;
    PassCtx *ctx;
    NodeId first; /* of the backward pass: forward nodes have smaller numbers */
    bool *used;   /* per value: made by a forward node, read by a backward node */
    Candidate *at;
    int n, tries;
    Choice best; /* drop == NULL: none fits yet */
    int64_t least;
} Recompute;

/* ---- the graph with some results dropped ---- */

typedef struct Rewrite {
    Graph *g;
    NodeId first;
    const bool *used, *dropped; /* per value; per node */
    NodeId *again;              /* per forward node: the one that repeats it, or 0 */
    NodeId *seq;                /* the new order */
    uint32_t n;
    UseTable uses;
} Rewrite;

static bool is_forward(const Graph *g, NodeId first, ValueId v) {
    return graph_v(g, v)->kind == VK_RESULT && graph_v(g, v)->def < first;
}

/* Is v in memory anyway when the backward pass runs? */
static bool is_there(const Rewrite *r, ValueId v) {
    const Value *x = graph_v(r->g, v);
    return !is_forward(r->g, r->first, v) || x->keep || (r->used[v] && !r->dropped[x->def]);
}

static ValueId value_again(Rewrite *r, ValueId v);

static NodeId node_again(Rewrite *r, NodeId id) {
    Graph *g = r->g;
    if (r->again[id])
        return r->again[id];
    ValueId in[256];
    Shape shape[4];
    DType type[4];
    int nin = graph_n(g, id)->nin, nout = graph_n(g, id)->nout;
    for (int i = 0; i < nin; i++)
        in[i] = value_again(r, graph_n(g, id)->in[i]);
    const Node *n = graph_n(g, id);
    for (int k = 0; k < nout; k++) {
        const Value *x = graph_v(g, n->out[k]);
        shape[k] = x->shape;
        type[k] = x->dtype;
    }
    NodeId copy = graph_node_raw(g, n->op, n->attrs, nin, in, nout, shape, type,
                                 graph_v(g, n->out[0])->batched);
    n = graph_n(g, id);
    Node *c = graph_n(g, copy);
    c->label = n->label;
    c->loc = n->loc;
    c->twin = id;
    for (int k = 1; k < nout; k++)
        if (!n->out[k] || !r->used[n->out[k]]) {
            graph_v(g, c->out[k])->kind = VK_NONE;
            c->out[k] = 0;
        }
    r->again[id] = copy;
    r->seq[r->n++] = copy;
    return copy;
}

static ValueId value_again(Rewrite *r, ValueId v) {
    if (is_there(r, v))
        return v;
    int index = graph_v(r->g, v)->def_index;
    NodeId copy = node_again(r, graph_v(r->g, v)->def);
    return graph_n(r->g, copy)->out[index];
}

static void read_again(Rewrite *r, NodeId id) {
    for (int i = 0; i < graph_n(r->g, id)->nin; i++) {
        ValueId v = value_again(r, graph_n(r->g, id)->in[i]);
        graph_n(r->g, id)->in[i] = v;
    }
}

/* What elementwise operations behind id read must be there before id runs, or fuse could not join
 * them to its kernel. */
static void read_for_chain(Rewrite *r, NodeId id) {
    ValueId v = graph_n(r->g, id)->out[0];
    for (int step = 0; step < LOOK_AHEAD && v; step++) {
        NodeId next = 0;
        int count = 0;
        for (uint32_t u = r->uses.first[v]; u < r->uses.first[v + 1]; u++)
            if (op_is(graph_n(r->g, r->uses.user[u])->op, OPF_E)) {
                next = r->uses.user[u];
                count++;
            }
        if (count != 1)
            return;
        read_again(r, next);
        v = graph_n(r->g, next)->out[0];
    }
}

/* Nodes get new numbers: seq[0] becomes 1, and so on; what is not in seq is dead and comes last. */
static void renumber(Rewrite *r, Arena *tmp) {
    Graph *g = r->g;
    NodeId *now = ARENA_ARRAY(tmp, g->nnode, NodeId);
    uint32_t n = 1;
    for (uint32_t i = 0; i < r->n; i++)
        now[r->seq[i]] = n++;
    for (NodeId id = 1; id < g->nnode; id++)
        if (!now[id])
            now[id] = n++;
    Node *moved = ARENA_ARRAY(g->keep, g->cap_node, Node);
    for (NodeId id = 1; id < g->nnode; id++) {
        moved[now[id]] = g->node[id];
        moved[now[id]].twin = now[g->node[id].twin];
    }
    g->node = moved;
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_RESULT)
            graph_v(g, v)->def = now[graph_v(g, v)->def];
}

static void rewrite(Graph *g, const Recompute *c, const bool *drop, Arena *tmp) {
    uint32_t nodes = g->nnode;
    bool *dropped = ARENA_ARRAY(tmp, nodes, bool);
    for (int i = 0; i < c->n; i++)
        dropped[c->at[i].node] = drop[i];
    Rewrite r = {.g = g,
                 .first = c->first,
                 .used = c->used,
                 .dropped = dropped,
                 .again = ARENA_ARRAY(tmp, nodes, NodeId),
                 .seq = ARENA_ARRAY(tmp, (int64_t)nodes * 2, NodeId),
                 .uses = graph_use_table(g, tmp)};
    for (uint32_t o = 0; o < g->norder; o++) {
        NodeId id = g->order[o];
        if (id >= c->first) {
            read_again(&r, id);
            read_for_chain(&r, id);
        }
        r.seq[r.n++] = id;
    }
    renumber(&r, tmp);
    graph_toposort(g);
}

/* ---- what a choice costs ---- */

/* What training holds in all: parameters, their momentum, the slabs, scratch, one batch. */
int64_t plan_total_bytes(const Graph *g, const Target *t) {
    int64_t total = g->fix_bytes + g->act_bytes * plan_batch(g);
    total += g->scratch_bytes * (t && t->speed.threads > 1 ? t->speed.threads : 1);
    for (int i = 0; i < g->params->count; i++) {
        const Param *p = &g->params->at[i];
        total += p->bytes * (p->frozen || p->constant ? 1 : 2);
    }
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_INPUT || graph_v(g, v)->kind == VK_LABEL)
            total += shape_elems(&graph_v(g, v)->shape) * 4 * plan_batch(g);
    return total;
}

const Kernel *kernel_twin(const Graph *g, const Kernel *k) {
    NodeId twin = graph_n(g, k->anchor)->twin;
    return twin ? &g->kernels[graph_n(g, twin)->kernel - 1] : NULL;
}

/* Did every kernel that repeats another get its algorithm? */
static bool same_kernels(const Graph *g) {
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i], *twin = kernel_twin(g, k);
        if (twin && (k->winograd != twin->winograd || strcmp(k->algorithm, twin->algorithm) != 0))
            return false;
    }
    return true;
}

/* Plans a copy of the graph to the end; a choice that fits and is the fastest yet becomes best. */
static void evaluate(Recompute *r, const bool *drop, Choice *c) {
    Arena *keep = arena_new(), *tmp = arena_new();
    Graph shell = *r->g;
    shell.keep = keep;
    Graph *g = graph_clone(&shell, r->g->name);
    PassCtx ctx = *r->ctx;
    PlanOptions options = *r->ctx->options;
    options.record = NULL; /* only the final plan's choices count */
    ctx.options = g->options = &options;
    ctx.tmp = tmp;
    graph_toposort(g);
    rewrite(g, r, drop, tmp);
    pass_fuse(g, &ctx);
    pass_layout(g, &ctx);
    pass_schedule(g, &ctx);
    pass_memplan(g, &ctx);
    c->bytes = same_kernels(g) ? plan_total_bytes(g, ctx.target) : INT64_MAX;
    c->seconds = c->flops = 0;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        c->seconds += k->seconds;
        if (kernel_twin(g, k))
            c->flops += k->flops_image * (double)plan_batch(g) + k->flops_fixed;
    }
    arena_free(tmp);
    arena_free(keep);
    r->tries++;
    r->least = c->bytes < r->least ? c->bytes : r->least;
}

/* ---- choosing ---- */

static void try_choice(Recompute *r, const bool *drop) {
    Choice c;
    if (r->tries >= TRIES_MOST)
        return;
    evaluate(r, drop, &c);
    if (c.bytes > r->ctx->options->memory || (r->best.drop && c.seconds >= r->best.seconds))
        return;
    if (!r->best.drop)
        r->best.drop = ARENA_ARRAY(r->ctx->tmp, r->n, bool);
    memcpy(r->best.drop, drop, (size_t)r->n * sizeof(bool));
    r->best.bytes = c.bytes;
    r->best.seconds = c.seconds;
    r->best.flops = c.flops;
}

static void find_candidates(Recompute *r) {
    const Graph *g = r->g;
    r->first = g->nnode;
    for (uint32_t o = 0; o < g->norder; o++) {
        int op = graph_n(g, g->order[o])->op;
        if (!op_is(op, OPF_U) && op != OP_LOAD_INPUT && g->order[o] < r->first)
            r->first = g->order[o];
    }
    r->used = ARENA_ARRAY(r->ctx->tmp, g->nvalue, bool);
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        for (int i = 0; g->order[o] >= r->first && i < n->nin; i++)
            r->used[n->in[i]] = is_forward(g, r->first, n->in[i]);
    }
    r->at = ARENA_ARRAY(r->ctx->tmp, g->norder, Candidate);
    for (uint32_t o = 0; o < g->norder; o++) {
        NodeId id = g->order[o];
        const Node *n = graph_n(g, id);
        double bytes = 0;
        for (int k = 0; k < n->nout; k++) {
            const Value *x = graph_v(g, n->out[k]);
            if (n->out[k] && r->used[n->out[k]] && !x->keep)
                bytes += (double)(shape_elems(&x->shape) * (x->dtype == DT_U8 ? 1 : 4));
        }
        /* Its first result must have a reader, or there would be no kernel to speak of. */
        if (id < r->first && bytes > 0 && r->used[n->out[0]])
            r->at[r->n++] = (Candidate){id, 0, bytes * (double)plan_batch(g)};
    }
}

/* Time for node id and whatever it needs that is not kept; seen: per node. */
static double seconds_again(const Recompute *r, NodeId id, bool *seen) {
    const Graph *g = r->g;
    const Node *n = graph_n(g, id);
    const Target *t = r->ctx->target;
    double batch = (double)plan_batch(g), bytes = 0, sum = 0;
    if (seen[id])
        return 0;
    seen[id] = true;
    for (int i = 0; i < n->nin; i++) {
        const Value *x = graph_v(g, n->in[i]);
        if (is_forward(g, r->first, n->in[i]) && !x->keep && !r->used[n->in[i]])
            sum += seconds_again(r, x->def, seen);
        bytes += x->batched ? (double)shape_elems(&x->shape) * 4 : 0;
    }
    bytes += (double)shape_elems(&graph_v(g, n->out[0])->shape) * 4;
    double flops = op_def[n->op]->flops ? op_def[n->op]->flops(g, id) * batch : 0;
    double work = flops / (t->speed.flops * (t->speed.threads > 1 ? t->speed.threads : 1));
    double moved = bytes * batch / t->speed.dram;
    return sum + (work > moved ? work : moved);
}

static void price_candidates(Recompute *r) {
    for (int i = 0; i < r->n; i++) {
        bool *seen = ARENA_ARRAY(r->ctx->tmp, r->g->nnode, bool);
        r->at[i].seconds = seconds_again(r, r->at[i].node, seen);
    }
}

/* Candidates by seconds per byte: order[0] is the best bargain. */
static int *by_price(const Recompute *r) {
    int *order = ARENA_ARRAY(r->ctx->tmp, r->n, int);
    for (int i = 0; i < r->n; i++) {
        int at = i;
        double price = r->at[i].seconds / r->at[i].bytes;
        for (; at > 0 && r->at[order[at - 1]].seconds / r->at[order[at - 1]].bytes > price; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return order;
}

static void try_cheap_first(Recompute *r, const int *order) {
    bool *drop = ARENA_ARRAY(r->ctx->tmp, r->n, bool);
    int steps = r->n < PREFIXES ? r->n : PREFIXES;
    for (int s = 1, done = 0; s <= steps; s++) {
        for (; done < r->n * s / steps; done++)
            drop[order[done]] = true;
        try_choice(r, drop);
    }
}

/* Segments of about `budget` bytes; the smallest result in a segment's second half is kept. */
static void try_segments(Recompute *r, double budget) {
    bool *drop = ARENA_ARRAY(r->ctx->tmp, r->n, bool);
    double in_segment = 0;
    int smallest = -1;
    for (int i = 0; i < r->n; i++) {
        drop[i] = true;
        in_segment += r->at[i].bytes;
        if (in_segment > budget / 2 && (smallest < 0 || r->at[i].bytes < r->at[smallest].bytes))
            smallest = i;
        if (in_segment <= budget)
            continue;
        drop[smallest] = false;
        i = smallest; /* the next segment begins behind it */
        in_segment = 0;
        smallest = -1;
    }
    try_choice(r, drop);
}

static void try_all_segments(Recompute *r) {
    double total = 0;
    for (int i = 0; i < r->n; i++)
        total += r->at[i].bytes;
    for (int s = 0; s < SEGMENTS; s++, total *= 0.8)
        try_segments(r, total);
}

/* Results are kept again, dear ones first, while the plan still fits. */
static void keep_dear(Recompute *r, const int *order) {
    bool *drop = ARENA_ARRAY(r->ctx->tmp, r->n, bool);
    for (int i = r->n; i-- > 0;) {
        if (!r->best.drop[order[i]])
            continue;
        memcpy(drop, r->best.drop, (size_t)r->n * sizeof(bool));
        drop[order[i]] = false;
        try_choice(r, drop);
    }
}

void pass_recompute(Graph *g, PassCtx *ctx) {
    Recompute r = {.g = g, .ctx = ctx, .least = INT64_MAX};
    Choice before;
    ctx->memory.failed = false;
    bool backward = ctx->train || ctx->attack;
    if (!backward || !ctx->options || ctx->options->memory <= 0 || !ctx->target)
        return;
    graph_toposort(g);
    find_candidates(&r);
    bool *none = ARENA_ARRAY(ctx->tmp, r.n, bool);
    evaluate(&r, none, &before);
    ctx->memory.before = before.bytes;
    if (before.bytes <= ctx->options->memory)
        return;
    price_candidates(&r);
    int *order = by_price(&r);
    try_cheap_first(&r, order);
    try_all_segments(&r);
    if (r.best.drop)
        keep_dear(&r, order);
    ctx->memory.least = r.least;
    ctx->memory.failed = !r.best.drop;
    if (!r.best.drop)
        return;
    ctx->memory.after = r.best.bytes;
    ctx->memory.flops = r.best.flops;
    ctx->memory.slower = r.best.seconds / before.seconds - 1;
    rewrite(g, &r, r.best.drop, ctx->tmp);
}
