/* winograd_bww_lower.c: gradients of convolution weights by Winograd's algorithm.
 *
 * The taps' gradient is a correlation of src with diff_dst; per tile of m x m outputs it is
 * GT [(BT d B) .* (A dy AT)] G, and GT, G leave the sum over tiles.  So the products, one small
 * matrix product per position of the transform, add up dU[i][o] over all tiles of all images, and
 * the transform back happens once per weight.
 * A task owns a part of the input and of the output channels of a group; it walks over the images'
 * tiles block by block: both transforms into scratch, then all products.  dU of its part rests in
 * scratch; complete sums are stored or become the parameter's update.
 * requires: stride and dilation 1, a blocked source whose halo covers every window.
 * ensures: each dU is summed over the tiles in their order by one task, whatever the threads.
 * theory: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks"; the adjoint in
 * the filter as in winograd.h.
 */
#include "ops/bww_update.h"
#include "ops/winograd.h"

/* In the kernel's Tile: rows = tiles per block, oh = tiles of outputs per part, ic = input channels
 * per part, oc = vectors, ow = input channels per register tile. */
typedef struct BwwPlan {
    int m, r, n, products;
    int64_t o_tile, o_tiles, blocks; /* of a group */
    int64_t o_part, i_part;          /* tiles of outputs, blocks of inputs per task */
    int64_t o_parts, i_parts;
    int64_t th, tw;                      /* tile rows, columns of an image */
    int64_t slots;                       /* tiles per block */
    int rows;                            /* input channels per register tile */
    int64_t v, d, u;                     /* floats per product: inputs, outputs, sums */
    int64_t at_v, at_d, at_bias, floats; /* places in scratch (sums first); its size */
} BwwPlan;

/* An odd number of cache lines, lest the positions of one tile fall into one set. */
static int64_t odd_lines(int64_t floats) {
    return 16 * (ceil_div(floats, 16) | 1);
}

static BwwPlan bww_plan(const ConvProblem *p, const Kernel *k, const Target *t, int64_t o_tile) {
    int width = t->vector;
    BwwPlan w = {.m = k->winograd, .r = (int)p->kernel[0], .o_tile = o_tile};
    w.n = w.m + w.r - 1;
    w.products = w.n * w.n;
    w.o_tiles = ceil_div(p->o, o_tile);
    w.blocks = ceil_div(p->i, width);
    w.o_part = k->tile.oh;
    w.i_part = k->tile.ic / width;
    w.o_parts = ceil_div(w.o_tiles, w.o_part);
    w.i_parts = ceil_div(w.blocks, w.i_part);
    w.th = ceil_div(p->dst[0], w.m);
    w.tw = ceil_div(p->dst[1], w.m);
    w.slots = k->tile.rows;
    w.rows = k->tile.ow;
    w.v = odd_lines(w.i_part * w.slots * width);
    w.d = odd_lines(w.o_part * w.slots * o_tile);
    w.u = odd_lines(w.i_part * width * w.o_part * o_tile);
    w.at_v = w.products * w.u;
    w.at_d = w.at_v + w.products * w.v;
    w.at_bias = w.at_d + w.products * w.d;
    w.floats = w.at_bias + w.o_part * bias_scratch(k, o_tile);
    return w;
}

/* ---- candidates ---- */

/* Input channels per register tile: a part of a block, as many as registers allow. */
static int register_rows(const Target *t, int oc) {
    int rows = t->vector;
    while (rows > 1 && rows > tile_max_pixels(t, oc))
        rows /= 2;
    return rows;
}

/* Vector instructions as FMAs; a store takes two turns. */
static const double op_cost = 0.7, load_cost = 0.5, store_cost = 2;

static double predict(const Graph *g, const ConvProblem *p, const Target *t, const BwwPlan *w) {
    WinoMatrices x = wino_matrices(w->m, w->r, true);
    double n = (double)plan_batch(g), products = w->products, width = t->vector;
    double tiles = n * (double)(w->th * w->tw);
    double tasks = (double)(p->groups * w->o_parts * w->i_parts);
    double blocks = tasks * (double)ceil_div((int64_t)tiles, w->slots);
    int oc = (int)w->o_tile / t->vector, taps = w->r * w->r;
    double i = (double)(w->i_parts * w->i_part), o = (double)(w->o_parts * w->o_part * oc);
    double input = op_cost * wino_ops2(&x.bt) + (load_cost + store_cost) * products;
    double output = op_cost * wino_ops2(&x.a) + load_cost * w->m * w->m + store_cost * products;
    double back = op_cost * wino_ops2(&x.gt) + load_cost * products + (2 * store_cost + 3) * taps;
    double sums = (double)(w->i_part * w->o_part * oc) * width * (load_cost + store_cost);
    double groups = (double)p->groups, both = (double)w->o_parts * i * input;
    both += (double)w->i_parts * o * output;
    double ops = groups * (tiles * both + i * width * o * back) + blocks * sums * products;
    double ideal = 0.5 * w->rows * oc;
    double cycles = tile_cycles(w->rows, oc);
    double floats = (double)w->products * (double)(w->v + w->d + 2 * w->u);
    double src = 4 * n * groups * i * width * (double)(p->src[0] * p->src[1]) * (double)w->o_parts;
    double dst = 4 * n * groups * o * width * (double)(p->dst[0] * p->dst[1]) * (double)w->i_parts;
    double threads = (double)max64(1, t->speed.threads), cache = (double)t->l3 / threads;
    double all = 4 * (double)w->floats, moved = 4 * blocks * floats;
    Cost c = {.flops = 2 * products * groups * tiles * i * width * o * width,
              .efficiency = 0.94 * ideal / (cycles > ideal ? cycles : ideal),
              .vector_ops = ops,
              .dram_bytes = src + dst,
              .tasks = tasks};
    /* Transforms and memory take turns with the products: what they wait for comes on top.  The
     * shares are measured; a working set of half the cache already loses some lines. */
    double wait = all <= 0.8 * (double)t->l2 ? 0.3 / t->speed.l2
                  : all <= 0.5 * cache       ? 0.5 / t->speed.l3
                  : all <= cache             ? 1.6 / t->speed.l3
                                             : 1.0 * threads / t->speed.dram;
    double used = tasks < threads ? tasks : threads;
    double seconds = cost_seconds(t, &c) + wait * moved / used + 0.6 * c.dram_bytes / t->speed.dram;
    return seconds * (1 + 0.04 * threads / tasks); /* threads are never equally fast */
}

typedef struct Search {
    const Graph *g;
    const ConvProblem *p;
    const Target *t;
    int64_t o_tile;
    Kernel *best; /* of one m, by seconds */
    int count, cap;
} Search;

/* Keeps the best `cap` in order of time. */
static void offer(Search *s, const Kernel *k) {
    int at = s->count;
    while (at > 0 && s->best[at - 1].seconds > k->seconds)
        --at;
    if (at >= s->cap)
        return;
    if (s->count < s->cap)
        ++s->count;
    for (int i = s->count - 1; i > at; --i)
        s->best[i] = s->best[i - 1];
    s->best[at] = *k;
}

static void try_parts(Search *s, Kernel k, int64_t o_part, int64_t i_part) {
    static const int slots[] = {16, 28, 49, 56, 64, 98, 112};
    enum { SCRATCH_MOST = 24 << 20 };
    const ConvProblem *p = s->p;
    int64_t tiles =
        plan_batch(s->g) * ceil_div(p->dst[0], k.winograd) * ceil_div(p->dst[1], k.winograd);
    k.tile = (Tile){
        .oc = (int)(s->o_tile / s->t->vector), .oh = (int)o_part, .ic = (int)i_part * s->t->vector};
    k.tile.ow = register_rows(s->t, k.tile.oc);
    for (int i = 0; i < 7; ++i) {
        k.tile.rows = (int)min64(slots[i], tiles);
        BwwPlan w = bww_plan(p, &k, s->t, s->o_tile);
        if (4 * w.floats > SCRATCH_MOST)
            break;
        k.scratch = 4 * w.floats;
        k.tasks_per = p->groups * w.o_parts * w.i_parts;
        k.seconds = predict(s->g, p, s->t, &w);
        k.why = arena_printf(s->g->keep,
                             "%dx%d outputs give %d products; a task sums %lld x %lld channels",
                             w.m, w.m, w.products, (long long)(w.i_part * s->t->vector),
                             (long long)(w.o_part * w.o_tile));
        offer(s, &k);
        if (slots[i] >= tiles)
            break;
    }
}

static void search(Search *s, const Kernel *direct, int m) {
    Kernel k = *direct;
    int64_t o_tiles = ceil_div(s->p->o, s->o_tile), blocks = ceil_div(s->p->i, s->t->vector);
    k.winograd = m;
    k.algorithm = m == 2 ? "winograd2" : m == 4 ? "winograd4" : "winograd6";
    k.tasks_block = 0;
    for (int64_t a = 1; a <= o_tiles; ++a)
        for (int64_t b = 1; b <= blocks; ++b)
            if (o_tiles % a == 0 && blocks % b == 0) /* parts of equal size */
                try_parts(s, k, o_tiles / a, blocks / b);
}

static bool possible(const Graph *g, const ConvProblem *p, const Kernel *k, const Target *t,
                     int64_t o_tile) {
    const Layout *src = &graph_v(g, graph_n(g, k->anchor)->in[0])->layout;
    int width = t->vector, least = width > 16 ? width : 16;
    for (int d = 0; d < 2; ++d)
        if (p->stride[d] != 1 || p->dilation[d] != 1)
            return false;
    /* Whole tiles of outputs: there is no diff_dst behind the last vector. */
    return p->kernel[0] == p->kernel[1] && (p->kernel[0] == 3 || p->kernel[0] == 5) &&
           p->i >= least && p->o >= least && ceil_div(p->o, width) * width % o_tile == 0 &&
           src->kind == LAYOUT_BLOCKED && src->block == width && !(g->options && g->options->exact);
}

int winograd_bww_candidates(const Graph *g, const ConvProblem *p, const Kernel *direct,
                            const Target *t, Kernel *candidate, int cap) {
    enum { PER_SIZE = 3 };
    const ConvAttrs *a = graph_n(g, direct->anchor)->attrs;
    Layout l;
    weights_conv_bwd_weights(g, direct->anchor, -1, t, &l);
    if (!possible(g, p, direct, t, l.o_tile) || a->algorithm == CONV_DIRECT)
        return 0;
    int n = 0;
    for (int m = 2; m <= (p->kernel[0] == 5 ? 2 : a->algorithm == CONV_WINOGRAD6 ? 6 : 4); m += 2) {
        Search s = {.g = g, .p = p, .t = t, .o_tile = l.o_tile, .best = candidate + n};
        s.cap = cap - n < PER_SIZE ? cap - n : PER_SIZE;
        if (s.cap > 0)
            search(&s, direct, m);
        n += s.count;
    }
    return n;
}

/* ---- code ---- */

typedef struct WinoBww {
    KernelCtx *k;
    Emit *e;
    const ConvProblem *p;
    BwwPlan w;
    WinoMatrices x;
    View src, dd;
    BwwUpdate u;
    int oc;
    Val v, d, sums, bias; /* places in scratch */
    /* of the task */
    Val group, o_from, i_from, o_count, i_count; /* tiles of outputs, blocks of inputs */
    Val owns_bias;
    Val q, tiles; /* first tile of the block over all images; how many */
} WinoBww;

static Val mul_add(Emit *e, Val a, int64_t b, Val c) {
    return em_add(e, em_mul(e, a, em_i64(e, b)), c);
}

/* One tile of a block: image n, tile row ty, column tx; slot in the block, channel block (input) or
 * tile of outputs. */
typedef struct TileAt {
    Val n, ty, tx, slot, channels;
} TileAt;
/* rows x cols of the tile's outputs exist */
typedef void (*TileFn)(WinoBww *w, const TileAt *at, int rows, int cols);

static void by_cols(WinoBww *w, const TileAt *at, int rows, TileFn fn) {
    Emit *e = w->e;
    int rest = (int)(w->p->dst[1] % w->w.m);
    if (!rest) {
        fn(w, at, rows, w->w.m);
        return;
    }
    If f = em_if(e, em_icmp(e, EM_LT, at->tx, em_i64(e, w->w.tw - 1)));
    fn(w, at, rows, w->w.m);
    em_else(e, &f);
    fn(w, at, rows, rest);
    em_endif(e, &f);
}

static void by_rows(WinoBww *w, const TileAt *at, TileFn fn) {
    Emit *e = w->e;
    int rest = (int)(w->p->dst[0] % w->w.m);
    if (!rest) {
        by_cols(w, at, w->w.m, fn);
        return;
    }
    If f = em_if(e, em_icmp(e, EM_LT, at->ty, em_i64(e, w->w.th - 1)));
    by_cols(w, at, w->w.m, fn);
    em_else(e, &f);
    by_cols(w, at, rest, fn);
    em_endif(e, &f);
}

/* fn for every tile of the block and channels 0 .. count. */
static void each_tile(WinoBww *w, Val count, const char *name, TileFn fn) {
    Emit *e = w->e;
    Loop c = em_for(e, em_i64(e, 0), count, 1, name, NULL, 0);
    Loop slot = em_for(e, em_i64(e, 0), w->tiles, 1, "slot", NULL, 0);
    TileAt at = {.slot = slot.i, .channels = c.i};
    Val rest;
    split_index(e, em_add(e, w->q, slot.i), w->w.tw, &rest, &at.tx);
    split_index(e, rest, w->w.th, &at.n, &at.ty);
    by_rows(w, &at, fn);
    em_for_end(e, &slot, NULL, 0);
    em_for_end(e, &c, NULL, 0);
}

/* Products lie `step` floats apart, slots `next`.  No hardware prefetcher follows so many streams;
 * a store that waits for its line from L3 blocks those behind it. */
static void put_transformed(WinoBww *w, const WinoMatrix *matrix, const Val *in, Val to,
                            int64_t step, int64_t next) {
    Emit *e = w->e;
    Val out[WINO_MAX * WINO_MAX];
    to = em_opaque(e, to);
    wino_apply2(e, matrix, in, out);
    for (int i = 0; i < w->w.products; ++i) {
        em_store(e, to, i * step, out[i] ? out[i] : em_vec(e, 0), true);
        em_prefetch(e, to, i * step + 2 * next);
    }
}

static void input_tile(WinoBww *w, const TileAt *at, int rows, int cols) {
    Emit *e = w->e;
    const BwwPlan *p = &w->w;
    const View *s = &w->src;
    Val in[WINO_MAX * WINO_MAX];
    Val cb = em_add(e, mul_add(e, w->group, p->blocks, w->i_from), at->channels);
    Val from = view_at(w->k, s, at->n, cb, mul_add(e, at->ty, p->m, em_i64(e, -w->p->pad[0])),
                       mul_add(e, at->tx, p->m, em_i64(e, -w->p->pad[1])));
    from = em_opaque(e, from);
    /* What only outputs beyond the edge would read may lie outside the value. */
    for (int i = 0; i < p->products; ++i) {
        int y = i / p->n, x = i % p->n;
        bool inside = y < rows + p->r - 1 && x < cols + p->r - 1;
        in[i] = inside ? em_load(e, from, y * s->row + x * s->pixel, true) : NULL;
    }
    Val to = mul_add(e, at->channels, p->slots, at->slot);
    put_transformed(w, &w->x.bt, in, em_ptr(e, w->v, em_mul(e, to, em_i64(e, s->block))), p->v,
                    s->block);
}

static void output_tile(WinoBww *w, const TileAt *at, int rows, int cols) {
    Emit *e = w->e;
    const BwwPlan *p = &w->w;
    const View *d = &w->dd;
    int width = em_width(e);
    Val tile = em_add(e, mul_add(e, w->group, p->o_tiles, w->o_from), at->channels);
    Val from = view_at(w->k, d, at->n, em_mul(e, tile, em_i64(e, w->oc)),
                       em_mul(e, at->ty, em_i64(e, p->m)), em_mul(e, at->tx, em_i64(e, p->m)));
    from = em_opaque(e, from);
    Val slot = mul_add(e, at->channels, p->slots, at->slot);
    Val to = em_ptr(e, w->d, em_mul(e, slot, em_i64(e, p->o_tile)));
    for (int j = 0; j < w->oc; ++j) {
        Val in[WINO_MAX * WINO_MAX];
        for (int i = 0; i < p->m * p->m; ++i) {
            int y = i / p->m, x = i % p->m;
            int64_t off = j * d->cblock + y * d->row + x * d->pixel;
            in[i] = y < rows && x < cols ? em_load(e, from, off, true) : NULL;
        }
        put_transformed(w, &w->x.a, in, em_ptr(e, to, em_i64(e, j * width)), p->d, p->o_tile);
    }
}

/* ---- products ---- */

/* sums[row][vector] += inputs[slot][row] * outputs[slot][vector] over the block's tiles. */
static void register_tile(WinoBww *w, Val v, Val d, Val sums) {
    Emit *e = w->e;
    int rows = w->w.rows, oc = w->oc, width = em_width(e);
    Val acc[TILE_MAX_ACC];
    for (int i = 0; i < rows * oc; ++i)
        acc[i] = em_load(e, sums, i / oc * w->w.o_tile + i % oc * width, true);
    Loop l = em_for(e, em_i64(e, 0), w->tiles, 1, "tile", acc, rows * oc);
    Val x = em_ptr(e, v, em_mul(e, l.i, em_i64(e, width)));
    Val y = em_ptr(e, d, em_mul(e, l.i, em_i64(e, w->w.o_tile))), out[TILE_MAX_VECTORS];
    for (int j = 0; j < oc; ++j)
        out[j] = em_load(e, y, j * width, true);
    for (int r = 0; r < rows; ++r) {
        Val in = em_bcast(e, x, r);
        for (int j = 0; j < oc; ++j)
            acc[r * oc + j] = em_fma(e, in, out[j], acc[r * oc + j]);
    }
    em_for_end(e, &l, acc, rows * oc);
    for (int i = 0; i < rows * oc; ++i)
        em_store(e, sums, i / oc * w->w.o_tile + i % oc * width, acc[i], true);
}

static void sum_products(WinoBww *w) {
    Emit *e = w->e;
    const BwwPlan *p = &w->w;
    int width = em_width(e);
    Val zero = em_i64(e, 0);
    Loop at = em_for(e, zero, em_i64(e, p->products), 1, "product", NULL, 0);
    Val v = em_ptr(e, w->v, em_mul(e, at.i, em_i64(e, p->v)));
    Val d = em_ptr(e, w->d, em_mul(e, at.i, em_i64(e, p->d)));
    Val sums = em_ptr(e, w->sums, em_mul(e, at.i, em_i64(e, p->u)));
    Loop ot = em_for(e, zero, w->o_count, 1, "outputs", NULL, 0);
    Val out = em_ptr(e, d, em_mul(e, ot.i, em_i64(e, p->slots * p->o_tile)));
    Val part = em_ptr(e, sums, em_mul(e, ot.i, em_i64(e, p->i_part * width * p->o_tile)));
    Loop ib = em_for(e, zero, w->i_count, 1, "inputs", NULL, 0);
    Val in = em_ptr(e, v, em_mul(e, ib.i, em_i64(e, p->slots * width)));
    Val to = em_ptr(e, part, em_mul(e, ib.i, em_i64(e, width * p->o_tile)));
    Loop r = em_for(e, zero, em_i64(e, width), p->rows, "row", NULL, 0);
    register_tile(w, em_ptr(e, in, r.i), out, em_ptr(e, to, em_mul(e, r.i, em_i64(e, p->o_tile))));
    em_for_end(e, &r, NULL, 0);
    em_for_end(e, &ib, NULL, 0);
    em_for_end(e, &ot, NULL, 0);
    em_for_end(e, &at, NULL, 0);
}

/* ---- back to weights ---- */

/* The row of sums `from` belongs at `off` floats from the target. */
static void weights_row(WinoBww *w, const UpdateRates *rates, Val from, Val off) {
    Emit *e = w->e;
    const BwwPlan *p = &w->w;
    Val in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    Loop j = em_for(e, em_i64(e, 0), em_i64(e, p->o_tile), em_width(e), "vector", NULL, 0);
    Val sums = em_opaque(e, em_ptr(e, from, j.i)), to = em_add(e, off, j.i);
    for (int i = 0; i < p->products; ++i)
        in[i] = em_load(e, sums, i * p->u, true);
    wino_apply2(e, &w->x.gt, in, out);
    Val weights = em_opaque(e, em_ptr(e, w->u.w.base, to));
    Val state = w->u.weights ? em_opaque(e, em_ptr(e, w->u.state, to)) : NULL;
    for (int i = 0; i < p->r * p->r; ++i)
        if (w->u.weights)
            update_apply(e, rates, weights, state, i * w->u.w.tap, out[i]);
        else
            em_store(e, weights, i * w->u.w.tap, out[i], true);
    em_for_end(e, &j, NULL, 0);
}

static void put_weights(WinoBww *w) {
    Emit *e = w->e;
    const BwwPlan *p = &w->w;
    const WeightView *to = &w->u.w;
    int width = em_width(e);
    Val zero = em_i64(e, 0);
    UpdateRates rates = {0};
    if (w->u.weights)
        rates = update_rates(w->k, w->u.weights);
    Loop ot = em_for(e, zero, w->o_count, 1, "outputs", NULL, 0);
    Val part = em_ptr(e, w->sums, em_mul(e, ot.i, em_i64(e, p->i_part * width * p->o_tile)));
    Val tile = em_mul(e, em_add(e, w->o_from, ot.i), em_i64(e, to->tile));
    tile = mul_add(e, w->group, to->group, tile);
    Loop ib = em_for(e, zero, w->i_count, 1, "inputs", NULL, 0);
    Val from = em_ptr(e, part, em_mul(e, ib.i, em_i64(e, width * p->o_tile)));
    Val block = mul_add(e, em_add(e, w->i_from, ib.i), to->block, tile);
    Loop i = em_for(e, zero, em_i64(e, width), 1, "i", NULL, 0);
    weights_row(w, &rates, em_ptr(e, from, em_mul(e, i.i, em_i64(e, p->o_tile))),
                mul_add(e, i.i, to->row, block));
    em_for_end(e, &i, NULL, 0);
    em_for_end(e, &ib, NULL, 0);
    em_for_end(e, &ot, NULL, 0);
}

/* ---- the bias ---- */

typedef enum { BIAS_START, BIAS_IMAGE, BIAS_FINISH } BiasStep;

static void bias_step(WinoBww *w, BiasStep step, Val n) {
    Emit *e = w->e;
    Val zero = em_i64(e, 0);
    if (!w->u.bias)
        return;
    Loop ot = em_for(e, zero, w->o_count, 1, "bias", NULL, 0);
    Val tile = em_add(e, mul_add(e, w->group, w->w.o_tiles, w->o_from), ot.i);
    int64_t room = bias_scratch(w->k->k, w->w.o_tile);
    BwwBias b = {&w->u,
                 &w->dd,
                 w->oc,
                 w->owns_bias,
                 em_mul(e, tile, em_i64(e, w->oc)),
                 em_ptr(e, w->bias, em_mul(e, ot.i, em_i64(e, room)))};
    switch (step) {
    case BIAS_START:
        bias_start(&b);
        break;
    case BIAS_IMAGE:
        bias_rows(&b, view_at(w->k, &w->dd, n, b.first_cb, zero, zero), zero, em_i64(e, w->dd.h));
        bias_image_end(&b);
        break;
    case BIAS_FINISH:
        bias_finish(&b);
        break;
    }
    em_for_end(e, &ot, NULL, 0);
}

/* Images whose first tile lies in this block: their diff_dst is read next anyway. */
static void bias_of_block(WinoBww *w) {
    Emit *e = w->e;
    if (!w->u.bias)
        return;
    Val size = em_i64(e, w->w.th * w->w.tw), up = em_i64(e, w->w.th * w->w.tw - 1);
    Val from = em_div(e, em_add(e, w->q, up), size);
    Val to = em_div(e, em_add(e, em_add(e, w->q, w->tiles), up), size);
    Loop n = em_for(e, from, to, 1, "n", NULL, 0);
    bias_step(w, BIAS_IMAGE, n.i);
    em_for_end(e, &n, NULL, 0);
}

/* ---- tasks ---- */

static void run_task(WinoBww *w) {
    Emit *e = w->e;
    const BwwPlan *p = &w->w;
    Val all = em_mul(e, w->k->n, em_i64(e, p->th * p->tw));
    em_zero(e, w->sums, em_i64(e, p->products * p->u));
    bias_step(w, BIAS_START, NULL);
    Loop block = em_for(e, em_i64(e, 0), all, p->slots, "tiles", NULL, 0);
    w->q = block.i;
    w->tiles = em_imin(e, em_i64(e, p->slots), em_sub(e, all, block.i));
    bias_of_block(w);
    each_tile(w, w->i_count, "inputs", input_tile);
    each_tile(w, w->o_count, "outputs", output_tile);
    sum_products(w);
    em_for_end(e, &block, NULL, 0);
    put_weights(w);
    bias_step(w, BIAS_FINISH, NULL);
}

void lower_winograd_bww(KernelCtx *k, const ConvProblem *p) {
    Emit *e = k->e;
    WinoBww w = {.k = k, .e = e, .p = p, .u = bww_update_open(k)};
    w.w = bww_plan(p, k->k, k->t, w.u.w.layout.o_tile);
    w.x = wino_matrices(w.w.m, w.w.r, true);
    w.src = view_of(k, k->node->in[0]);
    w.dd = view_of(k, k->node->in[1]);
    w.oc = w.u.w.layout.o_tile / em_width(e);
    w.sums = k->a.scratch;
    w.v = em_ptr(e, w.sums, em_i64(e, w.w.at_v));
    w.d = em_ptr(e, w.sums, em_i64(e, w.w.at_d));
    w.bias = em_ptr(e, w.sums, em_i64(e, w.w.at_bias));
    Loop task = task_loop(k);
    Val unit = task.i, o, i;
    split_index(e, unit, w.w.i_parts, &unit, &i);
    split_index(e, unit, w.w.o_parts, &w.group, &o);
    w.o_from = em_mul(e, o, em_i64(e, w.w.o_part));
    w.i_from = em_mul(e, i, em_i64(e, w.w.i_part));
    w.o_count = em_imin(e, em_i64(e, w.w.o_part), em_sub(e, em_i64(e, w.w.o_tiles), w.o_from));
    w.i_count = em_imin(e, em_i64(e, w.w.i_part), em_sub(e, em_i64(e, w.w.blocks), w.i_from));
    w.owns_bias = em_icmp(e, EM_EQ, i, em_i64(e, 0));
    run_task(&w);
    task_end(k, &task);
}
