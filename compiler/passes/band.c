/* band.c: a convolution of few channels, the first of most networks, moves into the kernel of its
 * only reader, which makes a band of rows at a time (Kernel.source); the value, often the largest
 * of all, is not stored.
 *
 * requires: schedule (algorithms and costs are known; the order is final).
 * ensures: the kernel that is gone is missing in order and entries; the same bits.
 * leaves alone: training and looking, which keep the value; programs run in lanes.
 * theory: Alwani et al. 2016, "Fused-layer CNN accelerators".
 */
#include <string.h>

#include "ir/cost.h"
#include "ops/hooks.h"
#include "passes/pass.h"

static bool possible(const Graph *g, const PassCtx *ctx) {
    const PlanOptions *o = g->options;
    if (!conv_takes_source || ctx->train || ctx->look || ctx->no_fuse || is_look(g) ||
        (o && o->record)) /* what --tune measures are single layers */
        return false;
    for (int i = 0; i < g->nkernels; i++)
        if (g->kernels[i].lanes)
            return false;
    return true;
}

/* The kernel that makes the source of kernel k's anchor, or NULL. */
static const Kernel *maker(const Graph *g, const Kernel *k) {
    const Node *n = graph_n(g, k->anchor);
    const Value *v = graph_v(g, n->in[0]);
    return v->kind == VK_RESULT ? &g->kernels[graph_n(g, v->def)->kernel - 1] : NULL;
}

static void remove_kernel(Graph *g, int gone) {
    memmove(g->kernels + gone, g->kernels + gone + 1,
            (size_t)(g->nkernels - gone - 1) * sizeof *g->kernels);
    g->nkernels--;
    for (int i = 0; i < g->nentries; i++) {
        Entry *e = &g->entry[i];
        if (gone < e->first)
            e->first--;
        else if (gone < e->first + e->count)
            e->count--;
    }
}

/* Nodes lie kernel by kernel again and know theirs. */
static void renumber(Graph *g) {
    uint32_t n = 0;
    g->scratch_bytes = 0;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        NodeId node[KERNEL_MAX_NODES];
        int count = kernel_nodes(k, node);
        for (int j = 0; j < count; j++) {
            graph_n(g, node[j])->kernel = (uint32_t)i + 1;
            g->order[n++] = node[j];
        }
        g->scratch_bytes = k->scratch > g->scratch_bytes ? k->scratch : g->scratch_bytes;
    }
}

static void take(Graph *g, const PassCtx *ctx, int at, const Kernel *source, const Kernel *fused) {
    Kernel *k = &g->kernels[at];
    double call_bytes = 0;
    *k = *fused;
    k->name = arena_printf(g->keep, "%s+%s", source->name, k->name);
    graph_v(g, graph_n(g, k->anchor)->in[0])->stored = false;
    remove_kernel(g, (int)(source - g->kernels));
    renumber(g);
    k = &g->kernels[graph_n(g, fused->anchor)->kernel - 1];
    kernel_cost(g, k);
    for (int i = 0; i < g->nkernels; i++)
        call_bytes += g->kernels[i].bytes_image * (double)plan_batch(g) + g->kernels[i].bytes_fixed;
    plan_seconds(g, k, ctx->target, call_bytes);
}

void pass_band(Graph *g, PassCtx *ctx) {
    if (!possible(g, ctx))
        return;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i], *source = maker(g, k);
        Kernel fused;
        if (source && source != k && conv_takes_source(g, k, source, ctx->target, &fused)) {
            take(g, ctx, i, source, &fused);
            i--; /* source was one of those before it */
        }
    }
}
