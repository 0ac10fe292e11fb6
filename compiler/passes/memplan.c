/* memplan.c: stored values get places in two slabs: ACT (bytes per image) and FIX (bytes).
 *
 * requires: schedule.  ensures: values alive at a common position do not overlap, except a kernel's
 * result over an operand of its chain, of equal layout, that dies there (life.c); offsets and sizes
 * are multiples of 64; g->act_bytes, g->fix_bytes are the slabs, *_lower_bound the largest sums of
 * live bytes, below which no assignment can go; each kernel knows where nothing lives meanwhile.
 * Three greedy best-fit orders are tried (large first, large times long-lived first, early first),
 * each improved by placing again with the topmost buffer first, until the lower bound is met; where
 * 2 % are still missing, buffers are moved forward at random (seeded) as long as that helps.
 * theory: interval packing is NP-hard (dynamic storage allocation, Garey and Johnson SR2); greedy
 * by size: Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference".
 */
#include <stdlib.h>
#include <string.h>

#include "ir/op.h"
#include "passes/pass.h"

enum { SEARCH_TRIES = 64, SEARCH_STEPS = 20000000 };

typedef struct Buffer { /* values that share one place by in-place reuse */
    int from, to;
    int64_t bytes, offset;
    int rank; /* place in the creation order: makes sorting stable */
    PoolKind pool;
} Buffer;

typedef struct Memplan {
    Graph *g;
    Arena *tmp;
    Life *life;
    int nlife;
    int *shares; /* per life: index of the life whose buffer it uses (itself) */
} Memplan;

static int root(const Memplan *m, int i) {
    while (m->shares[i] != i)
        i = m->shares[i];
    return i;
}

/* ---- placement ---- */

static int by_weight(const Buffer *a, const Buffer *b, double wa, double wb) {
    if (wa > wb || wa < wb)
        return wa > wb ? -1 : 1;
    return a->rank < b->rank ? -1 : 1; /* never equal: the order does not depend on qsort */
}

static int large_first(const void *x, const void *y) {
    const Buffer *a = *(Buffer *const *)x, *b = *(Buffer *const *)y;
    return by_weight(a, b, (double)a->bytes, (double)b->bytes);
}

static int area_first(const void *x, const void *y) {
    const Buffer *a = *(Buffer *const *)x, *b = *(Buffer *const *)y;
    return by_weight(a, b, (double)a->bytes * (a->to - a->from + 1),
                     (double)b->bytes * (b->to - b->from + 1));
}

static int early_first(const void *x, const void *y) {
    const Buffer *a = *(Buffer *const *)x, *b = *(Buffer *const *)y;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    return by_weight(a, b, (double)a->bytes, (double)b->bytes);
}

/* Lowest or tightest gap between the already placed buffers that live at the same time; placed[] is
 * sorted by offset. */
static int64_t best_fit(const Buffer *b, Buffer *const *placed, int n) {
    int64_t end = 0, best = -1, slack = 0;
    for (int i = 0; i < n; i++) {
        const Buffer *p = placed[i];
        if (p->to < b->from || p->from > b->to)
            continue;
        int64_t gap = p->offset - end;
        if (gap >= b->bytes && (best < 0 || gap - b->bytes < slack)) {
            best = end;
            slack = gap - b->bytes;
        }
        if (p->offset + p->bytes > end)
            end = p->offset + p->bytes;
    }
    return best >= 0 ? best : end;
}

static int64_t place(Buffer **buffers, int n, Buffer **placed) {
    int64_t size = 0;
    for (int i = 0; i < n; i++) {
        Buffer *b = buffers[i];
        b->offset = best_fit(b, placed, i);
        int at = i;
        for (; at > 0 && placed[at - 1]->offset > b->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = b;
        if (b->offset + b->bytes > size)
            size = b->offset + b->bytes;
    }
    return size;
}

typedef struct Search {
    Buffer **order, **placed;
    int n;
    int64_t best, *offset; /* offset by Buffer.rank of the best assignment so far */
} Search;

/* The slab's size in this order; its offsets are kept if it is the smallest so far. */
static int64_t try_order(Search *s) {
    int64_t size = place(s->order, s->n, s->placed);
    if (s->best >= 0 && size >= s->best)
        return size;
    s->best = size;
    for (int i = 0; i < s->n; i++)
        s->offset[s->order[i]->rank] = s->order[i]->offset;
    return size;
}

/* The buffer that ends highest is what makes the slab large: place it first next time. */
static void promote_highest(Search *s) {
    int highest = 0;
    for (int i = 1; i < s->n; i++)
        if (s->order[i]->offset + s->order[i]->bytes >
            s->order[highest]->offset + s->order[highest]->bytes)
            highest = i;
    Buffer *b = s->order[highest];
    memmove(s->order + 1, s->order, (size_t)highest * sizeof *s->order);
    s->order[0] = b;
}

/* From the order at hand on: one buffer, any, moves to any place in front of it; kept when the slab
 * does not grow.  The moves are the same in every run. */
static void wander(Search *s, int64_t tries, int64_t least) {
    uint32_t random = 12345;
    int64_t now = try_order(s);
    for (int64_t i = 0; i < tries && s->best > least; i++) {
        random = random * 1664525u + 1013904223u;
        int from = 1 + (int)((random >> 8) % (uint32_t)(s->n - 1));
        random = random * 1664525u + 1013904223u;
        int to = (int)((random >> 8) % (uint32_t)from);
        Buffer *b = s->order[from];
        memmove(s->order + to + 1, s->order + to, (size_t)(from - to) * sizeof *s->order);
        s->order[to] = b;
        int64_t size = try_order(s);
        if (size <= now) {
            now = size;
            continue;
        }
        memmove(s->order + to, s->order + to + 1, (size_t)(from - to) * sizeof *s->order);
        s->order[from] = b;
    }
}

static int64_t place_best(Arena *tmp, Buffer **buffers, int n, int64_t least) {
    static int (*const by[])(const void *, const void *) = {large_first, area_first, early_first};
    Search s = {.order = buffers, .n = n, .best = -1};
    s.placed = ARENA_ARRAY(tmp, n, Buffer *);
    s.offset = ARENA_ARRAY(tmp, n, int64_t);
    /* One placement costs about n * n steps; a large network gets fewer tries. */
    int64_t tries = SEARCH_STEPS / ((int64_t)n * n + 1);
    if (tries > SEARCH_TRIES)
        tries = SEARCH_TRIES;
    for (int how = 0; how < 3 && s.best != least; how++) {
        qsort(buffers, (size_t)n, sizeof *buffers, by[how]);
        try_order(&s);
        for (int64_t i = 0; i < tries && s.best > least; i++) {
            promote_highest(&s);
            try_order(&s);
        }
        if (n > 1 && s.best - least > least / 50)
            wander(&s, tries, least);
    }
    for (int i = 0; i < n; i++)
        buffers[i]->offset = s.offset[buffers[i]->rank];
    return s.best < 0 ? 0 : s.best;
}

static int64_t lower_bound(Arena *tmp, Buffer *const *buffers, int n, int positions) {
    int64_t *change = ARENA_ARRAY(tmp, positions + 1, int64_t), now = 0, most = 0;
    for (int i = 0; i < n; i++) {
        change[buffers[i]->from] += buffers[i]->bytes;
        change[buffers[i]->to + 1] -= buffers[i]->bytes;
    }
    for (int p = 0; p < positions; p++) {
        now += change[p];
        most = now > most ? now : most;
    }
    return most;
}

static void plan_pool(Memplan *m, Buffer *buffers, PoolKind pool, int64_t *size, int64_t *least) {
    Buffer **mine = ARENA_ARRAY(m->tmp, m->nlife, Buffer *);
    int n = 0;
    for (int i = 0; i < m->nlife; i++)
        if (m->shares[i] == i && buffers[i].pool == pool) {
            buffers[i].rank = n;
            mine[n++] = &buffers[i];
        }
    *least = lower_bound(m->tmp, mine, n, m->g->nkernels);
    *size = place_best(m->tmp, mine, n, *least);
}

/* ---- room for scratch ---- */

static int by_offset(const void *x, const void *y) {
    const Buffer *a = *(Buffer *const *)x, *b = *(Buffer *const *)y;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Where nothing lives while kernel k runs: sorted[] are the buffers of ACT by offset. */
static void find_room(const Graph *g, Buffer *const *sorted, int n, int k) {
    Kernel *kernel = &g->kernels[k];
    int64_t end = 0;
    kernel->gap = kernel->gap_bytes = 0;
    for (int i = 0; i <= n; i++) {
        int64_t from = i < n ? sorted[i]->offset : g->act_bytes;
        if (i < n && (sorted[i]->to < k || sorted[i]->from > k))
            continue;
        if (from - end > kernel->gap_bytes) {
            kernel->gap = end;
            kernel->gap_bytes = from - end;
        }
        if (i < n && from + sorted[i]->bytes > end)
            end = from + sorted[i]->bytes;
    }
    kernel->top = end;
}

/* The runtime puts scratch into the slab.  What prepares runs in the middle of other entries when
 * parameters have changed, whatever lives then. */
static void scratch_room(Memplan *m, Buffer *buffers) {
    Graph *g = m->g;
    Buffer **sorted = ARENA_ARRAY(m->tmp, m->nlife, Buffer *);
    int n = 0;
    for (int i = 0; i < m->nlife; i++)
        if (m->shares[i] == i && buffers[i].pool == POOL_ACT)
            sorted[n++] = &buffers[i];
    qsort(sorted, (size_t)n, sizeof *sorted, by_offset);
    for (int k = 0; k < g->nkernels; k++)
        find_room(g, sorted, n, k);
    for (int i = 0; i < g->nentries; i++)
        for (int k = 0; strcmp(g->entry[i].name, "prepare") == 0 && k < g->entry[i].count; k++) {
            Kernel *kernel = &g->kernels[g->entry[i].first + k];
            kernel->gap = kernel->gap_bytes = 0;
            kernel->top = g->act_bytes;
        }
}

static void assign(Memplan *m) {
    Graph *g = m->g;
    Buffer *buffers = ARENA_ARRAY(m->tmp, m->nlife, Buffer);
    for (int i = 0; i < m->nlife; i++) {
        int r = root(m, i);
        const Life *l = &m->life[i];
        Buffer *b = &buffers[r];
        bool first = b->bytes == 0;
        b->bytes = l->bytes;
        b->pool = l->pool;
        b->from = first || l->from < b->from ? l->from : b->from;
        b->to = first || l->to > b->to ? l->to : b->to;
    }
    plan_pool(m, buffers, POOL_ACT, &g->act_bytes, &g->act_lower_bound);
    plan_pool(m, buffers, POOL_FIX, &g->fix_bytes, &g->fix_lower_bound);
    scratch_room(m, buffers);
    for (int i = 0; i < m->nlife; i++) {
        Value *x = graph_v(g, m->life[i].value);
        x->pool = m->life[i].pool;
        x->offset = buffers[root(m, i)].offset;
    }
}

int64_t memplan_pack(Arena *tmp, const Life *lives, int n, int64_t *offset) {
    Buffer *buffers = ARENA_ARRAY(tmp, n, Buffer), **order = ARENA_ARRAY(tmp, n, Buffer *);
    int last = 0;
    for (int i = 0; i < n; i++) {
        const Life *l = &lives[i];
        buffers[i] = (Buffer){.from = l->from, .to = l->to, .bytes = l->bytes, .rank = i};
        order[i] = &buffers[i];
        last = l->to > last ? l->to : last;
    }
    int64_t size = place_best(tmp, order, n, lower_bound(tmp, order, n, last + 1));
    for (int i = 0; i < n; i++)
        offset[i] = buffers[i].offset;
    return size;
}

void pass_memplan(Graph *g, PassCtx *ctx) {
    Memplan m = {.g = g, .tmp = ctx->tmp};
    m.life = find_lives(g, NULL, ctx->tmp, &m.nlife);
    m.shares = ARENA_ARRAY(ctx->tmp, m.nlife, int);
    share_lives(g, NULL, m.life, m.nlife, m.shares, ctx->tmp);
    assign(&m);
    for (ValueId v = 1; v < g->nvalue; v++) {
        Value *x = graph_v(g, v);
        if (x->kind == VK_PARAM || (x->kind == VK_RESULT && !x->same_as && is_update(g, v)))
            x->pool = POOL_PARAM;
        else if (x->kind == VK_STATE)
            x->pool = POOL_STATE;
    }
}
