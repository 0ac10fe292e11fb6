/* fuse.c: elementwise nodes, and a pool, join the kernel that makes their input; a parameter's
 * update joins the kernel of its gradient.
 *
 * requires: dce.  ensures: kernels partition the live nodes; Value.stored is set for exactly the
 * results that some other kernel reads or that are kept; g->order lists the nodes kernel by kernel.
 * leaves alone: what is computed; commutative nodes may have their inputs exchanged.
 * Why the order of anchors stays valid: a node joins a kernel only if its other operands are
 * defined before the kernel's anchor, so each kernel depends only on kernels with earlier anchors.
 * theory: loop fusion along a unique consumer; Kennedy and McKinley 1993, "Maximizing loop
 * parallelism and improving data locality via loop fusion and distribution".
 */
#include <string.h>

#include "base/bug.h"
#include "ir/op.h"
#include "ops/hooks.h"
#include "passes/pass.h"

/* ops/lower.h's EPI_MAX: operands and stored results that one fused chain may touch. */
enum { CHAIN_TENSORS = 12 };

typedef struct Fuse {
    Graph *g;
    PassCtx *ctx;
    UseTable uses;
    uint32_t *position; /* per node: place in the order before fusion */
    uint8_t *section;   /* per value */
    Kernel *k;
    uint32_t k_anchor; /* position of its anchor */
    int tensors;       /* operands + stored results of its chain so far */
} Fuse;

static int use_count(const Fuse *f, ValueId v) {
    return (int)(f->uses.first[v + 1] - f->uses.first[v]);
}

/* A projection may start at this value: the kernel that makes it must end here. */
static bool is_barrier(const Fuse *f, ValueId v) {
    return graph_v(f->g, v)->keep && f->section[v] >= SECTION_PROJECT;
}

/* Repeated along some axes beside `like`, or the same for all its images? */
static bool repeated(const Value *a, const Value *like) {
    int64_t x[3], y[3];
    if ((a->shape.rank != 1 && a->shape.rank != 3) || a->dtype != DT_F32 ||
        (a->batched && shape_frames(&a->shape) != shape_frames(&like->shape)))
        return false;
    shape_chw(&a->shape, &x[0], &x[1], &x[2]);
    shape_chw(&like->shape, &y[0], &y[1], &y[2]);
    for (int d = 0; d < 3; d++)
        if (x[d] != y[d] && x[d] != 1)
            return false;
    return true;
}

/* An operand that the kernel can load: in memory, same shape or (input of `op`) repeated, made
 * before the kernel's anchor. */
static bool loadable(const Fuse *f, int op, ValueId v, ValueId like) {
    const Value *a = graph_v(f->g, v), *b = graph_v(f->g, like);
    if (op_is(op, OPF_K) && repeated(a, b))
        return a->kind == VK_PARAM || a->kind == VK_SEED ||
               (a->kind == VK_RESULT && f->position[a->def] < f->k_anchor);
    if (!shape_equal(&a->shape, &b->shape) || a->batched != b->batched || a->dtype != DT_F32)
        return false;
    if (a->kind == VK_SEED)
        return true;
    return a->kind == VK_RESULT && f->position[a->def] < f->k_anchor;
}

/* Can node u take the running value v?  *at: which of its inputs v is. */
static bool joins(const Fuse *f, NodeId u, ValueId v, int *at) {
    const Node *n = graph_n(f->g, u);
    if (!op_is(n->op, OPF_E) || n->kernel || f->section[n->out[0]] != f->section[v])
        return false;
    if (!shape_equal(&graph_v(f->g, n->out[0])->shape, &graph_v(f->g, v)->shape))
        return false;
    *at = -1;
    for (int i = 0; i < n->nin; i++) {
        if (n->in[i] == v) {
            if (*at >= 0)
                return false; /* x + x: both operands are the running value */
            *at = i;
        } else if (!loadable(f, n->op, n->in[i], v)) {
            return false;
        }
    }
    return *at == 0 || (*at > 0 && op_is(n->op, OPF_C));
}

static void take(Fuse *f, NodeId id) {
    graph_n(f->g, id)->kernel = (uint32_t)(f->k - f->g->kernels) + 1;
}

/* The only elementwise reader of v that can join, or 0. */
static NodeId next_in_chain(const Fuse *f, ValueId v, int *at) {
    NodeId found = 0;
    for (uint32_t u = f->uses.first[v]; u < f->uses.first[v + 1]; u++) {
        int where;
        if (!joins(f, f->uses.user[u], v, &where))
            continue;
        if (found)
            return 0; /* two candidates: neither is better */
        found = f->uses.user[u];
        *at = where;
    }
    return found;
}

static ValueId grow_chain(Fuse *f, ValueId v) {
    Kernel *k = f->k;
    while (k->nchain < KERNEL_MAX_CHAIN && !is_barrier(f, v)) {
        int at = 0;
        NodeId u = next_in_chain(f, v, &at);
        if (!u)
            break;
        Node *n = graph_n(f->g, u);
        bool store = use_count(f, v) > 1 || graph_v(f->g, v)->keep;
        int tensors = f->tensors + n->nin - 1 + store;
        if (tensors + 1 > CHAIN_TENSORS) /* + 1: the chain's last result is stored */
            break;
        f->tensors = tensors;
        if (at > 0) {
            ValueId first = n->in[0];
            n->in[0] = n->in[at];
            n->in[at] = first;
        }
        take(f, u);
        k->chain[k->nchain++] = u;
        v = n->out[0];
    }
    return v;
}

/* Functions of what the pool makes, which only they read or which is stored as well. */
static void grow_behind(Fuse *f, ValueId v) {
    Kernel *k = f->k;
    while (k->nbehind < KERNEL_MAX_BEHIND && !is_barrier(f, v)) {
        int at = 0;
        NodeId u = next_in_chain(f, v, &at);
        if (!u || graph_n(f->g, u)->nin != 1)
            return;
        take(f, u);
        k->behind[k->nbehind++] = u;
        v = graph_n(f->g, u)->out[0];
    }
}

static void grow_tail(Fuse *f, ValueId v) {
    if (!conv_accepts_tail || is_barrier(f, v))
        return;
    for (uint32_t u = f->uses.first[v]; u < f->uses.first[v + 1]; u++) {
        NodeId pool = f->uses.user[u];
        const Node *n = graph_n(f->g, pool);
        if (n->kernel || n->nin != 1 || !op_is(n->op, OPF_W) || op_is(n->op, OPF_P) ||
            f->section[n->out[0]] != f->section[v] || !conv_accepts_tail(f->g, f->k, pool))
            continue;
        take(f, pool);
        f->k->tail = pool;
        grow_behind(f, n->out[0]);
        return;
    }
}

/* ---- updates behind weights' gradients ---- */

/* The update that is the only reader of gradient v, which nobody else wants, or 0. */
static NodeId only_update(const Fuse *f, ValueId v) {
    if (use_count(f, v) != 1 || graph_v(f->g, v)->keep)
        return 0;
    NodeId id = f->uses.user[f->uses.first[v]];
    const Node *n = graph_n(f->g, id);
    return op_def[n->op]->update && !n->kernel && n->in[1] == v && bww_accepts(f->g, f->k, id) ? id
                                                                                               : 0;
}

/* A bias' gradient over the same diff_dst, and its update, come along: only both, so that nobody
 * waits for the kernel, which has to run after every reader of its parameters. */
static void take_bias(Fuse *f) {
    Kernel *k = f->k;
    ValueId diff = graph_n(f->g, k->anchor)->in[1];
    for (uint32_t u = f->uses.first[diff]; u < f->uses.first[diff + 1]; u++) {
        NodeId id = f->uses.user[u];
        const Node *n = graph_n(f->g, id);
        if (n->op != OP_BIAS_GRAD || n->kernel || !bww_accepts(f->g, k, id))
            continue;
        k->bias_grad = id;
        k->bias_update = only_update(f, n->out[0]);
        if (!k->bias_update) {
            k->bias_grad = 0;
            continue;
        }
        take(f, id);
        take(f, k->bias_update);
        return;
    }
}

static void take_update(Fuse *f) {
    int op = graph_n(f->g, f->k->anchor)->op;
    if (!bww_accepts || (op != OP_CONV2D_BWD_WEIGHTS && op != OP_DENSE_BWD_WEIGHTS))
        return;
    f->k->update = only_update(f, graph_n(f->g, f->k->anchor)->out[0]);
    if (!f->k->update)
        return;
    take(f, f->k->update);
    take_bias(f);
}

/* Elementwise work without a batch is done on flat arrays, where chains are not supported. */
static bool takes_chain(const Graph *g, NodeId id) {
    const Node *n = graph_n(g, id);
    if (!n->out[0] || !graph_v(g, n->out[0])->batched || graph_v(g, n->out[0])->dtype != DT_F32)
        return false;
    return op_is(n->op, OPF_A | OPF_E);
}

static void make_kernel(Fuse *f, NodeId id) {
    Graph *g = f->g;
    f->k = &g->kernels[g->nkernels++];
    f->k->anchor = id;
    f->k_anchor = f->position[id];
    f->tensors = op_is(graph_n(g, id)->op, OPF_E) ? graph_n(g, id)->nin : 0;
    take(f, id);
    f->k->label = graph_n(g, id)->label;
    if (f->ctx->no_fuse)
        return;
    take_update(f);
    if (!takes_chain(g, id))
        return;
    ValueId end = grow_chain(f, graph_n(g, id)->out[0]);
    grow_tail(f, end);
}

/* ---- names ---- */

/* "p1: maxpool(3), lrn()" makes two nodes called p1: the second is p1.lrn in reports. */
static bool is_first_of_label(const Graph *g, NodeId id) {
    const char *label = graph_n(g, id)->label;
    for (uint32_t o = 0; g->order[o] != id; o++) {
        const Node *n = graph_n(g, g->order[o]);
        if (n->label && op_is(n->op, OPF_U) && strcmp(n->label, label) == 0)
            return false;
    }
    return true;
}

/* The layer's label for what the spec wrote, else the operator and what it works for. */
static const char *node_name(const Graph *g, NodeId id, bool written) {
    const Node *n = graph_n(g, id);
    if (written && op_is(n->op, OPF_U) && n->label && is_first_of_label(g, id))
        return n->label;
    const char *of = n->label;
    if (written && op_is(n->op, OPF_U) && of)
        return arena_printf(g->keep, "%s.%s", of, op_name[n->op]);
    for (int i = 0; i < n->nin && !op_is(n->op, OPF_E); i++)
        if (graph_v(g, n->in[i])->kind == VK_PARAM && (op_is(n->op, OPF_X) || n->nin == 1))
            of = g->params->at[graph_v(g, n->in[i])->slot].name;
    return of ? arena_printf(g->keep, "%s.%s", op_name[n->op], of) : op_name[n->op];
}

static const char *link_name(const Graph *g, NodeId id, const char *anchor_label, bool written) {
    const Node *n = graph_n(g, id);
    bool own = written && n->label && (!anchor_label || strcmp(n->label, anchor_label) != 0);
    return op_is(n->op, OPF_U) && own ? n->label : op_name[n->op];
}

static const char *kernel_name(const Fuse *f, const Kernel *k) {
    static const char *const rule[] = {"train", "gradient", "deconvnet", "guided"};
    const Graph *g = f->g;
    const Node *anchor = graph_n(g, k->anchor);
    uint8_t section = f->section[anchor->out[0]];
    bool written = section < SECTION_PROJECT; /* projections repeat the forward labels */
    const char *name = node_name(g, k->anchor, written);
    if (anchor->twin)
        name = arena_printf(g->keep, "again.%s", name);
    if (section >= SECTION_PROJECT)
        name = arena_printf(g->keep, "%s.%s", rule[section - SECTION_PROJECT], name);
    for (int i = 0; i < k->nchain; i++)
        name =
            arena_printf(g->keep, "%s+%s", name, link_name(g, k->chain[i], anchor->label, written));
    if (k->tail)
        name = arena_printf(g->keep, "%s+%s", name, link_name(g, k->tail, anchor->label, written));
    for (int i = 0; i < k->nbehind; i++)
        name = arena_printf(g->keep, "%s+%s", name,
                            link_name(g, k->behind[i], anchor->label, written));
    if (k->update)
        name = arena_printf(g->keep, "%s%s+%s", name, k->bias_grad ? "+bias" : "",
                            op_name[graph_n(g, k->update)->op]);
    return name;
}

static void name_kernels(Fuse *f) {
    Graph *g = f->g;
    for (int i = 0; i < g->nkernels; i++) {
        const char *name = kernel_name(f, &g->kernels[i]), *unique = name;
        for (int j = 0, copy = 2; j < i; j++)
            if (strcmp(g->kernels[j].name, unique) == 0) {
                unique = arena_printf(g->keep, "%s#%d", name, copy++);
                j = -1;
            }
        g->kernels[i].name = unique;
    }
}

/* ---- what is stored ---- */

static void mark_stored(Fuse *f) {
    Graph *g = f->g;
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        for (int k = 0; k < n->nout; k++) {
            ValueId v = n->out[k];
            if (!v)
                continue;
            Value *x = graph_v(g, v);
            x->stored = x->keep || k > 0 || op_is(n->op, OPF_X);
            for (uint32_t u = f->uses.first[v]; u < f->uses.first[v + 1]; u++)
                x->stored |= graph_n(g, f->uses.user[u])->kernel != n->kernel;
        }
    }
}

/* Where the kernel belongs among the others: at its anchor; if it changes parameters, at the last
 * of the updates, which the order has behind all readers. */
static uint32_t rank_of(const Fuse *f, const Kernel *k) {
    uint32_t rank = f->position[k->anchor];
    if (k->update && f->position[k->update] > rank)
        rank = f->position[k->update];
    if (k->bias_update && f->position[k->bias_update] > rank)
        rank = f->position[k->bias_update];
    return rank;
}

static void sort_kernels(Fuse *f) {
    Graph *g = f->g;
    int *at = ARENA_ARRAY(f->ctx->tmp, g->norder, int); /* 1 + kernel of that rank */
    Kernel *sorted = ARENA_ARRAY(g->keep, g->nkernels, Kernel);
    for (int i = 0; i < g->nkernels; i++)
        at[rank_of(f, &g->kernels[i])] = i + 1;
    int n = 0;
    for (uint32_t o = 0; o < g->norder; o++)
        if (at[o])
            sorted[n++] = g->kernels[at[o] - 1];
    BUG_IF(n != g->nkernels, "%d of %d kernels have a rank", n, g->nkernels);
    g->kernels = sorted;
}

static void order_by_kernel(Graph *g) {
    uint32_t n = 0;
    for (int i = 0; i < g->nkernels; i++) {
        NodeId node[KERNEL_MAX_NODES];
        int count = kernel_nodes(&g->kernels[i], node);
        for (int c = 0; c < count; c++) {
            graph_n(g, node[c])->kernel = (uint32_t)i + 1;
            g->order[n++] = node[c];
        }
    }
    BUG_IF(n != g->norder, "kernels hold %u of %u nodes", n, g->norder);
}

/* Made of parameters alone, for operators that take a number per channel? */
static bool is_prepared(const Graph *g, const UseTable *uses, NodeId id) {
    const Node *n = graph_n(g, id);
    bool wanted = false;
    for (int i = 0; i < n->nin; i++)
        if (graph_v(g, n->in[i])->kind != VK_PARAM)
            return false;
    for (int k = 0; k < n->nout && !op_is(n->op, OPF_X); k++)
        for (uint32_t u = uses->first[n->out[k]]; n->out[k] && u < uses->first[n->out[k] + 1]; u++)
            wanted |= op_is(graph_n(g, uses->user[u])->op, OPF_K);
    return wanted;
}

/* What parameters alone make comes before everything, so that every chain may read it. */
static void prepared_first(Graph *g, Arena *tmp) {
    UseTable uses = graph_use_table(g, tmp);
    NodeId *order = ARENA_ARRAY(tmp, g->norder, NodeId);
    uint32_t n = 0;
    for (int late = 0; late < 2; late++)
        for (uint32_t o = 0; o < g->norder; o++)
            if (!is_prepared(g, &uses, g->order[o]) == late)
                order[n++] = g->order[o];
    memcpy(g->order, order, n * sizeof *order);
}

void pass_fuse(Graph *g, PassCtx *ctx) {
    graph_toposort(g);
    prepared_first(g, ctx->tmp);
    Fuse f = {.g = g,
              .ctx = ctx,
              .uses = graph_use_table(g, ctx->tmp),
              .position = ARENA_ARRAY(ctx->tmp, g->nnode, uint32_t),
              .section = graph_sections(g, ctx->tmp)};
    for (uint32_t o = 0; o < g->norder; o++)
        f.position[g->order[o]] = o;
    g->kernels = ARENA_ARRAY(g->keep, g->norder, Kernel);
    for (uint32_t o = 0; o < g->norder; o++)
        if (!graph_n(g, g->order[o])->kernel)
            make_kernel(&f, g->order[o]);
    mark_stored(&f);
    name_kernels(&f);
    sort_kernels(&f);
    order_by_kernel(g);
}
