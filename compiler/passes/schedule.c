/* schedule.c: the order in which kernels run, entries, and where projections start.
 *
 * requires: layout.  ensures: g->kernels lie in running order; each entry is a range of them:
 * "forward" and, where parameters alone make something, "prepare"; "step"; "attack"; or (look) prepare, record
 * and one per projection; a parameter's update comes
 * after every reader of the parameter; SeedInfo tells the first kernel behind a seed's diff and the
 * values of other branches that are alive across that point.
 * Three list schedules are tried and the one with the smallest peak of live bytes is taken.
 * theory: list scheduling by register pressure, Goodman and Hsu 1988; with trees it is Sethi and
 * Ullman 1970.
 */
#include <string.h>

#include "base/bug.h"
#include "ir/op.h"
#include "passes/pass.h"

/* A typical batch: weighs bytes per image against bytes of weights when both cannot be least. */
enum { NOMINAL_BATCH = 64, KERNEL_VALUES = 300 };

typedef enum { AS_BUILT, AS_BUILT_EAGER, LEAST_GROWTH, STRATEGIES } Strategy;

typedef struct List { /* one list of kernels or values per kernel */
    int *first, *item;
} List;

typedef struct Sched {
    Graph *g;
    Arena *tmp;
    int n;
    int *section;
    List next;    /* kernels that must come after k */
    List reads;   /* values (of this program's slabs) that k reads */
    int *waits;   /* scratch per run */
    int *readers; /* per value: readers not yet run */
} Sched;

/* Images that a step is made for. */
static int64_t images_of(const Graph *g) {
    return g->options && g->options->batch > 0 ? g->options->batch : NOMINAL_BATCH;
}

static int64_t weight_of(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->batched ? x->bytes * images_of(g) : x->bytes;
}

static bool in_slab(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->stored && (x->kind == VK_RESULT || x->kind == VK_SEED) && !is_update(g, v);
}

/* ---- dependences ---- */

typedef struct Edges {
    int (*at)[2];
    int n, cap;
} Edges;

static void add_edge(Sched *s, Edges *e, int from, int to) {
    if (e->n == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 256;
        void *bigger = arena_array(s->tmp, e->cap, sizeof e->at[0]);
        if (e->n)
            memcpy(bigger, e->at, (size_t)e->n * sizeof e->at[0]);
        e->at = bigger;
    }
    e->at[e->n][0] = from;
    e->at[e->n++][1] = to;
}

static List to_list(Sched *s, const Edges *e) {
    List l = {ARENA_ARRAY(s->tmp, s->n + 1, int), ARENA_ARRAY(s->tmp, e->n, int)};
    int *at = ARENA_ARRAY(s->tmp, s->n, int);
    for (int i = 0; i < e->n; i++)
        l.first[e->at[i][0] + 1]++;
    for (int k = 0; k < s->n; k++) {
        l.first[k + 1] += l.first[k];
        at[k] = l.first[k];
    }
    for (int i = 0; i < e->n; i++)
        l.item[at[e->at[i][0]]++] = e->at[i][1];
    return l;
}

/* Kernel k changes `param`: whoever reads it runs before. */
static void readers_first(Sched *s, Edges *next, const UseTable *uses, int k, ValueId param) {
    for (uint32_t u = uses->first[param]; u < uses->first[param + 1]; u++) {
        int reader = (int)graph_n(s->g, uses->user[u])->kernel - 1;
        if (reader != k)
            add_edge(s, next, reader, k);
    }
}

static void find_dependences(Sched *s) {
    Graph *g = s->g;
    UseTable uses = graph_use_table(g, s->tmp);
    Edges next = {0}, reads = {0};
    for (int k = 0; k < s->n; k++) {
        ValueId in[KERNEL_VALUES];
        int n = kernel_inputs(g, &g->kernels[k], in, KERNEL_VALUES);
        BUG_IF(n > KERNEL_VALUES, "kernel %s reads %d tensors", g->kernels[k].name, n);
        for (int i = 0; i < n; i++) {
            const Value *x = graph_v(g, in[i]);
            if (x->kind == VK_RESULT)
                add_edge(s, &next, (int)graph_n(g, x->def)->kernel - 1, k);
            if (in_slab(g, in[i]))
                add_edge(s, &reads, k, (int)in[i]);
        }
        NodeId node[KERNEL_MAX_NODES];
        int count = kernel_nodes(&g->kernels[k], node);
        for (int i = 0; i < count; i++)
            if (op_is(graph_n(g, node[i])->op, OPF_X))
                readers_first(s, &next, &uses, k, graph_n(g, node[i])->in[0]);
    }
    s->next = to_list(s, &next);
    s->reads = to_list(s, &reads);
}

/* ---- list scheduling ---- */

static void restart(Sched *s) {
    memset(s->waits, 0, (size_t)s->n * sizeof(int));
    memset(s->readers, 0, s->g->nvalue * sizeof(int));
    for (int k = 0; k < s->n; k++) {
        for (int i = s->next.first[k]; i < s->next.first[k + 1]; i++)
            s->waits[s->next.item[i]]++;
        for (int i = s->reads.first[k]; i < s->reads.first[k + 1]; i++)
            s->readers[s->reads.item[i]]++;
    }
}

/* Bytes that running k adds to what is alive: its results less what it reads for the last time. */
static int64_t growth(const Sched *s, int k) {
    ValueId out[KERNEL_VALUES];
    int64_t bytes = 0;
    int n = kernel_outputs(s->g, &s->g->kernels[k], out, KERNEL_VALUES);
    for (int i = 0; i < n; i++)
        if (in_slab(s->g, out[i]))
            bytes += weight_of(s->g, out[i]);
    for (int i = s->reads.first[k]; i < s->reads.first[k + 1]; i++) {
        ValueId v = (ValueId)s->reads.item[i];
        if (s->readers[v] == 1 && !graph_v(s->g, v)->keep)
            bytes -= weight_of(s->g, v);
    }
    return bytes;
}

static int pick(const Sched *s, const bool *done, int section, Strategy how) {
    int best = -1;
    int64_t least = 0;
    for (int k = 0; k < s->n; k++) {
        if (done[k] || s->waits[k] || s->section[k] != section)
            continue;
        if (how == AS_BUILT)
            return k;
        int64_t bytes = growth(s, k);
        if (how == AS_BUILT_EAGER && bytes <= 0)
            return k;
        if (best < 0 || (how == LEAST_GROWTH && bytes < least)) {
            best = k;
            least = bytes;
        }
    }
    return best;
}

static void list_schedule(Sched *s, Strategy how, int *order) {
    bool *done = ARENA_ARRAY(s->tmp, s->n, bool);
    int section = 0, placed = 0;
    restart(s);
    while (placed < s->n) {
        int k = pick(s, done, section, how);
        if (k < 0) {
            BUG_IF(++section > SECTION_PROJECT + 4, "kernels of '%s' wait for each other",
                   s->g->name);
            continue;
        }
        done[k] = true;
        order[placed++] = k;
        for (int i = s->next.first[k]; i < s->next.first[k + 1]; i++)
            s->waits[s->next.item[i]]--;
        for (int i = s->reads.first[k]; i < s->reads.first[k + 1]; i++)
            s->readers[s->reads.item[i]]--;
    }
}

/* Bytes of both slabs: each is as large as its own fullest moment. */
static int64_t peak(const Sched *s, const int *order) {
    int count;
    const Life *lives = find_lives(s->g, order, s->tmp, &count);
    int *shares = ARENA_ARRAY(s->tmp, count, int);
    int64_t *change[2], now[2] = {0, 0}, most[2] = {0, 0};
    share_lives(s->g, order, lives, count, shares, s->tmp);
    for (int pool = 0; pool < 2; pool++)
        change[pool] = ARENA_ARRAY(s->tmp, s->n + 1, int64_t);
    for (int i = 0; i < count; i++) {
        int64_t *c = change[lives[i].pool == POOL_FIX];
        /* What takes over an operand's memory begins where that ends. */
        c[lives[i].from + (shares[i] != i)] += weight_of(s->g, lives[i].value);
        c[lives[i].to + 1] -= weight_of(s->g, lives[i].value);
    }
    for (int p = 0; p < s->n; p++)
        for (int pool = 0; pool < 2; pool++) {
            now[pool] += change[pool][p];
            most[pool] = now[pool] > most[pool] ? now[pool] : most[pool];
        }
    return most[0] + most[1];
}

/* What reads nothing that a kernel makes (transposed weights) runs as late as it can. */
static void sink(const Sched *s, int *order) {
    int *position = ARENA_ARRAY(s->tmp, s->n, int);
    for (int p = 0; p < s->n; p++)
        position[order[p]] = p;
    for (int p = s->n; p-- > 0;) {
        int k = order[p], to = s->n;
        if (s->reads.first[k] < s->reads.first[k + 1])
            continue;
        for (int i = s->next.first[k]; i < s->next.first[k + 1]; i++)
            to = position[s->next.item[i]] < to ? position[s->next.item[i]] : to;
        if (to == s->n)
            continue;
        for (int q = p; q + 1 < to; q++) {
            order[q] = order[q + 1];
            position[order[q]] = q;
        }
        order[to - 1] = k;
        position[k] = to - 1;
    }
}

/* ---- results ---- */

static void reorder(Graph *g, const int *order) {
    Kernel *sorted = ARENA_ARRAY(g->keep, g->nkernels, Kernel);
    uint32_t n = 0;
    for (int p = 0; p < g->nkernels; p++) {
        Kernel *k = &sorted[p];
        *k = g->kernels[order[p]];
        NodeId node[KERNEL_MAX_NODES];
        int count = kernel_nodes(k, node);
        for (int i = 0; i < count; i++) {
            graph_n(g, node[i])->kernel = (uint32_t)p + 1;
            g->order[n++] = node[i];
        }
    }
    g->kernels = sorted;
}

static void add_entry(Graph *g, const char *name, int first, int count) {
    BUG_IF(g->nentries == 8, "too many entries");
    g->entry[g->nentries++] = (Entry){name, first, count};
}

static const char *entry_name(const Graph *g) {
    if (g->name && strcmp(g->name, "train") == 0)
        return "step";
    if (g->name && (strcmp(g->name, "curvature") == 0 || strcmp(g->name, "attack") == 0))
        return g->name;
    return "forward";
}

static void make_entries(Graph *g, const int *section, const int *order) {
    static const char *const name[] = {
        "prepare", "record", NULL, "project_gradient", "project_deconvnet", "project_guided"};
    g->nentries = 0;
    if (!is_look(g)) {
        int ready = 0; /* kernels of parameters alone: run when these have changed */
        while (ready < g->nkernels && section[order[ready]] == SECTION_PREPARE)
            ready++;
        if (ready == g->nkernels) /* nothing depends on the input */
            ready = 0;
        if (ready > 0)
            add_entry(g, name[SECTION_PREPARE], 0, ready);
        add_entry(g, entry_name(g), ready, g->nkernels - ready);
        return;
    }
    for (int s = 0, p = 0; s < 6; s++) {
        int first = p;
        while (p < g->nkernels && section[order[p]] == s)
            p++;
        if (name[s] && (p > first || s <= SECTION_RECORD))
            add_entry(g, name[s], first, p - first);
    }
}

static const Entry *entry_of(const Graph *g, Rule rule) {
    static const char *const name[] = {"", "project_gradient", "project_deconvnet",
                                       "project_guided"};
    for (int i = 0; i < g->nentries; i++)
        if (strcmp(g->entry[i].name, name[rule]) == 0)
            return &g->entry[i];
    return NULL;
}

/* The runtime zeroes live values by name. */
static void name_live(Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    if (x->name || x->kind != VK_RESULT)
        return;
    const char *made = g->kernels[graph_n(g, x->def)->kernel - 1].name, *name = made;
    for (int copy = 2; graph_find(g, name); copy++)
        name = arena_printf(g->keep, "%s#%d", made, copy);
    graph_set_name(g, v, name);
}

/* Values of the projection, other than the seed's own diff, that kernels before `at` would have
 * written and kernels from `at` on read: starting at `at` they must be zero. */
static bool find_live(Graph *g, const Entry *e, const uint8_t *sections, int section,
                      struct SeedInfo *info) {
    info->nlive = 0;
    for (int k = info->first_kernel; k < e->first + e->count; k++) {
        ValueId in[KERNEL_VALUES];
        int n = kernel_inputs(g, &g->kernels[k], in, KERNEL_VALUES);
        for (int i = 0; i < n; i++) {
            const Value *x = graph_v(g, in[i]);
            if (in[i] == info->diff || sections[in[i]] != section)
                continue;
            if (x->kind == VK_RESULT && (int)graph_n(g, x->def)->kernel - 1 >= info->first_kernel)
                continue;
            int j = 0;
            while (j < info->nlive && info->live[j] != in[i])
                j++;
            if (j < info->nlive)
                continue;
            if (info->nlive == (int)(sizeof info->live / sizeof *info->live))
                return false;
            info->live[info->nlive++] = in[i];
            name_live(g, in[i]);
        }
    }
    return true;
}

/* Behind which kernel of "record" a walk from the seed finds everything that it reads. */
static int find_record_end(const Graph *g, const Entry *e, const uint8_t *sections,
                           const struct SeedInfo *info) {
    int end = 0;
    for (int k = info->first_kernel; k < e->first + e->count; k++) {
        ValueId in[KERNEL_VALUES];
        int n = kernel_inputs(g, &g->kernels[k], in, KERNEL_VALUES);
        for (int i = 0; i < n; i++) {
            const Value *x = graph_v(g, in[i]);
            int made = x->kind == VK_RESULT ? (int)graph_n(g, x->def)->kernel : 0;
            if (sections[in[i]] == SECTION_RECORD && made > end)
                end = made;
        }
    }
    return end;
}

static void find_starts(Graph *g, PassCtx *ctx) {
    const uint8_t *sections = graph_sections(g, ctx->tmp);
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++) {
        const Entry *e = entry_of(g, (Rule)rule);
        for (int i = 0; ctx->seed_info[rule] && i < ctx->nseeds; i++) {
            struct SeedInfo *info = &ctx->seed_info[rule][i];
            info->diff = graph_resolve(g, info->diff);
            if (!info->diff || !e)
                continue;
            const Value *x = graph_v(g, info->diff);
            info->first_kernel = x->kind == VK_SEED ? e->first : (int)graph_n(g, x->def)->kernel;
            info->record_end = find_record_end(g, e, sections, info);
            if (!find_live(g, e, sections, SECTION_PROJECT + rule, info))
                info->diff = 0; /* more open branches than a seed can name */
        }
    }
}

void pass_schedule(Graph *g, PassCtx *ctx) {
    Sched s = {.g = g, .tmp = ctx->tmp, .n = g->nkernels};
    bool split = has_sections(g);
    const uint8_t *sections = graph_sections(g, ctx->tmp);
    s.section = ARENA_ARRAY(ctx->tmp, s.n, int);
    for (int k = 0; k < s.n; k++)
        s.section[k] = split ? kernel_section(g, sections, &g->kernels[k]) : SECTION_RECORD;
    s.waits = ARENA_ARRAY(ctx->tmp, s.n, int);
    s.readers = ARENA_ARRAY(ctx->tmp, g->nvalue, int);
    find_dependences(&s);
    int *best = NULL;
    int64_t least = 0;
    for (int how = 0; how < STRATEGIES; how++) {
        int *order = ARENA_ARRAY(ctx->tmp, s.n, int);
        list_schedule(&s, (Strategy)how, order);
        if (!split)
            sink(&s, order);
        int64_t bytes = peak(&s, order);
        if (!best || bytes < least) {
            best = order;
            least = bytes;
        }
    }
    make_entries(g, s.section, best);
    reorder(g, best);
    find_starts(g, ctx);
}
