/* passman.c: runs the passes of passes.def in order; names, times, dumps and verifies them.
 *
 * requires: ctx->tmp and ctx->target are set.  ensures: after each pass the scratch arena is empty
 * and the handles in ctx (losses, seeds, score) name values that still stand; with ctx->verify, or
 * in a build without NDEBUG, graph_verify has accepted the graph.
 */
#define _GNU_SOURCE
#include <string.h>
#include <time.h>

#include "base/bug.h"
#include "passes/pass.h"

typedef struct PassRow {
    const char *name;
    void (*run)(Graph *, PassCtx *);
    unsigned requires;
    const char *help;
} PassRow;

static const PassRow pass_list[] = {
#define PASS(name, function, requires, help) {#name, function, requires, help},
#include "passes/passes.def"
#undef PASS
};
enum { PASS_COUNT = sizeof pass_list / sizeof *pass_list };

unsigned graph_state(const Graph *g) {
    if (g->nkernels == 0)
        return P_GRAPH;
    bool laid_out = false, placed = false;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind != VK_RESULT || !x->stored)
            continue;
        laid_out |= x->layout.kind != LAYOUT_UNSET;
        placed |= x->pool != POOL_NONE;
    }
    if (!laid_out)
        return P_FUSED;
    if (g->nentries == 0)
        return P_LAYOUT;
    return placed ? P_PLANNED : P_ORDER;
}

/* "grad,fuse" contains "fuse"; "all" contains everything. */
static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    while (list && *list) {
        size_t m = strcspn(list, ",");
        if ((m == n && strncmp(list, name, n) == 0) || (m == 3 && strncmp(list, "all", 3) == 0))
            return true;
        list += m + (list[m] == ',');
    }
    return false;
}

bool pass_exists(const char *name) {
    for (int i = 0; i < PASS_COUNT; i++)
        if (strcmp(pass_list[i].name, name) == 0)
            return true;
    return false;
}

void passes_help(FILE *out) {
    for (int i = 0; i < PASS_COUNT; i++)
        fprintf(out, "  %-10s %s\n", pass_list[i].name, pass_list[i].help);
}

static void resolve_handles(const Graph *g, PassCtx *ctx) {
    for (int i = 0; i < ctx->nlosses; i++)
        ctx->losses[i] = graph_resolve(g, ctx->losses[i]);
    for (int i = 0; i < ctx->nseeds; i++)
        ctx->seeds[i] = graph_resolve(g, ctx->seeds[i]);
    ctx->project_from = graph_resolve(g, ctx->project_from);
    for (int i = 0; i < ctx->nalso; i++)
        ctx->also_from[i] = graph_resolve(g, ctx->also_from[i]);
    for (int rule = 0; rule < 4; rule++) {
        ctx->image_diff[rule] = graph_resolve(g, ctx->image_diff[rule]);
        for (int i = 0; ctx->seed_info[rule] && i < ctx->nseeds; i++)
            ctx->seed_info[rule][i].diff = graph_resolve(g, ctx->seed_info[rule][i].diff);
    }
}

static void check(const Graph *g, const PassCtx *ctx, const char *after) {
    char why[512];
#ifdef NDEBUG
    if (!ctx->verify)
        return;
#else
    (void)ctx;
#endif
    if (!graph_verify(g, after, why, sizeof why))
        BUG("%s", why);
}

static void run(const PassRow *p, Graph *g, PassCtx *ctx) {
    struct timespec t0, t1;
    char doing[96];
    FILE *out = ctx->dump_file ? ctx->dump_file : stderr;
    snprintf(doing, sizeof doing, "pass %s of program %s", p->name, g->name);
    bug_context(doing);
    BUG_IF(graph_state(g) != p->requires, "pass %s runs too early or too late", p->name);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    p->run(g, ctx);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    resolve_handles(g, ctx);
    arena_reset(ctx->tmp);
    if (ctx->time)
        fprintf(out, "%-8s %-10s %8.3f ms  %u nodes, %d kernels\n", g->name, p->name,
                (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) * 1e-6,
                g->norder, g->nkernels);
    if (listed(ctx->dump, p->name)) {
        fprintf(out, "; program %s after pass %s\n", g->name, p->name);
        graph_print(g, out);
    }
    check(g, ctx, p->name);
    bug_context(NULL);
}

/* What ctx names must outlive dce, whether or not the front end said so. */
static void keep_results(Graph *g, const PassCtx *ctx) {
    for (int i = 0; i < ctx->nlosses; i++)
        graph_v(g, ctx->losses[i])->keep = true;
    for (int i = 0; ctx->look && i < ctx->nseeds; i++)
        graph_v(g, ctx->seeds[i])->keep = true;
    if (ctx->look && ctx->project_from)
        graph_v(g, ctx->project_from)->keep = true;
    for (int i = 0; ctx->look && i < ctx->nalso; i++)
        graph_v(g, ctx->also_from[i])->keep = true;
}

bool passes_run(Graph *g, PassCtx *ctx) {
    int last = PASS_COUNT;
    if (ctx->stop_after)
        for (int i = 0; i < PASS_COUNT; i++)
            if (strcmp(pass_list[i].name, ctx->stop_after) == 0)
                last = i;
    g->options = ctx->options;
    keep_results(g, ctx);
    graph_toposort(g);
    check(g, ctx, "the front end");
    for (int i = 0; i < PASS_COUNT; i++) {
        run(&pass_list[i], g, ctx);
        if (i == last)
            return false;
    }
    return true;
}

bool pass_run_one(Graph *g, PassCtx *ctx, const char *name) {
    for (int i = 0; i < PASS_COUNT; i++) {
        if (strcmp(pass_list[i].name, name) != 0)
            continue;
        if (graph_state(g) != pass_list[i].requires)
            return false;
        g->options = ctx->options;
        run(&pass_list[i], g, ctx);
        return true;
    }
    return false;
}
