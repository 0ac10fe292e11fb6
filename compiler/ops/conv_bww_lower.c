/* conv_bww_lower.c: gradients with respect to weights, and their updates (see conv.h).
 *
 * A register tile holds some kernel columns x input channels x output vectors of diff_weights and
 * walks over the pixels of blocks of rows (small enough to stay in cache while all taps pass).
 * Between walks the sums rest in scratch; complete ones are stored, or become the parameter's update
 * at once (Kernel.update).  Layers with one output pixel: dense_bww_lower.c.
 * ensures: each element is summed over images, rows, columns in this order by one task, so the
 * result does not depend on threads; padding lanes and rows are zero.
 * theory: LeCun et al. 1998, section II.A; loop order after Georganas et al. (2018), section II-J.
 */
#include "ops/bww_update.h"

enum {
    TASKS_WANTED = 16,
    CANDIDATES = 40,
};

/* Tile of a convolution's kernel: oc output vectors per task (of an output tile's), oh kernel rows
 * per task, unroll 1 if a task owns one tile of kernel columns only; ow kernel columns x ic input
 * channels per register tile; rows per visit. */
typedef struct Bww {
    KernelCtx *k;
    Emit *e;
    const ConvProblem *p;
    View src, dd;
    BwwUpdate u;
    BwwTile tile;
    int full, part;      /* vectors of an output tile; of a task */
    int64_t src_step;    /* floats from channel to channel */
    int64_t tap, row;    /* floats of the sums from tap to tap, from channel to channel */
    Val sums, bias_sums; /* scratch */
    /* of the task */
    int oc;
    int64_t channels; /* real ones in this block */
    BwwBias bias;
    Val src_at, dd_at, sum_at;
    Val out_at, state_at;        /* where complete sums go; their momentum */
    Val kh_from, kh_to, kw_tile; /* kw_tile: NULL if the task owns all columns */
    Val last_part;               /* behind its vectors lies the tile's padding */
    Val y0, y1;
} Bww;

/* ---- tiles and tasks ---- */
static int64_t column_tiles(const ConvProblem *p, int cols) {
    return ceil_div(p->kernel[1], cols);
}

/* Floats of scratch for sums: of the weights, of the bias. */
static int64_t weight_sums(const ConvProblem *p, const Layout *l) {
    return p->kernel[0] * p->kernel[1] * l->i_block * l->o_tile;
}

static int64_t scratch_bytes(const ConvProblem *p, const Kernel *k, const Layout *l) {
    return 4 * (weight_sums(p, l) + bias_scratch(k, l->o_tile));
}

/* Share of the peak that the register tile reaches over all taps and channels. */
static double tile_share(const ConvProblem *p, BwwTile tile, int oc, int64_t channels) {
    int64_t cols = p->kernel[1], a = channels % tile.channels, b = cols % tile.cols;
    double c = (double)(channels / tile.channels), x = (double)(cols / tile.cols);
    double cycles = c * x * tile_cycles(tile.channels * tile.cols, oc);
    if (a)
        cycles += x * tile_cycles((int)a * tile.cols, oc);
    if (b)
        cycles += c * tile_cycles(tile.channels * (int)b, oc);
    if (a && b)
        cycles += tile_cycles((int)(a * b), oc);
    return 0.5 * (double)(channels * cols * oc) / cycles;
}

static double min_double(double a, double b) {
    return a < b ? a : b;
}

static double max_double(double a, double b) {
    return a > b ? a : b;
}

/* A task owns `oc` output vectors of one block of input channels: all taps, or `kh` kernel rows, or
 * one tile of columns of these. */
static void direct_candidate(const Graph *g, const ConvProblem *p, Kernel *k, const Target *t,
                             const Layout *l, int oc, int64_t kh, bool columns) {
    int64_t blocks = ceil_div(p->i, l->i_block), n = plan_batch(g), pixels = p->dst[0] * p->dst[1];
    int64_t parts = p->groups * ceil_div(ceil_div(p->o, t->vector), oc);
    BwwTile tile = tile_bww(t, oc, p->kernel[1], l->i_block);
    int64_t taps = ceil_div(p->kernel[0], kh) * (columns ? column_tiles(p, tile.cols) : 1);
    k->tile =
        (Tile){.ow = tile.cols, .oh = (int)kh, .oc = oc, .ic = tile.channels, .unroll = columns};
    /* 4 to 14 rows: enough pixels per visit of the accumulators, few enough for the cache */
    k->tile.rows = (int)min64(p->dst[0], max64(4, min64(14, 448 / p->dst[1])));
    k->tasks_per = parts * blocks * taps;
    k->tasks_block = 0;
    k->scratch = scratch_bytes(p, k, l);
    k->algorithm = "direct";
    k->why = parts * blocks >= k->tasks_per ? "a task owns some output vectors by a block of inputs"
             : columns                      ? "few channels: a task owns a few taps"
                                            : "few channels: a task owns some kernel rows";
    double src = 4.0 * (double)(n * p->src[0] * p->src[1] * p->i * p->groups);
    double dd = 4.0 * (double)(n * pixels * p->o * p->groups);
    double work = 2.0 * (double)(n * pixels * p->groups * p->o * p->i) *
                  (double)(p->kernel[0] * p->kernel[1]);
    /* Every task streams its channels of src and dst once. */
    double streamed = (double)taps * (src * (double)(parts / p->groups) + dd * (double)blocks);
    Cost c = {.flops = work,
              .efficiency = 0.97 * tile_share(p, tile, oc, min64(p->i, l->i_block)),
              .tasks = (double)k->tasks_per};
    bool far = src + dd > (double)t->l3;
    *(far ? &c.dram_bytes : &c.l3_bytes) = streamed;
    /* Part of the transfers is not hidden behind the arithmetic (measured). */
    double speed = far ? t->speed.dram : t->speed.l3 * max_double(1, t->speed.threads);
    k->seconds = cost_seconds(t, &c) + (far ? 0.3 : 0.7) * streamed / speed;
}

/* The fastest way to share the work, but for nearly the same time rather more tasks: the program
 * may run on more threads than this machine has, or beside others. */
static Kernel best_direct(const Graph *g, const ConvProblem *p, const Kernel *k, const Target *t,
                          const Layout *l) {
    Kernel best = *k;
    double least = 0;
    best.tasks_per = 0;
    int full = l->o_tile / t->vector;
    for (int pass = 0; pass < 2; ++pass)
        for (int oc = full; oc >= 1; --oc)
            for (int64_t groups = 1; full % oc == 0 && groups <= p->kernel[0]; ++groups)
                for (int columns = 0; columns <= (groups == p->kernel[0]); ++columns) {
                    Kernel now = *k;
                    direct_candidate(g, p, &now, t, l, oc, ceil_div(p->kernel[0], groups), columns);
                    if (pass == 0)
                        least = least <= 0 ? now.seconds : min_double(least, now.seconds);
                    else if (now.seconds <= 1.02 * least && best.tasks_per < TASKS_WANTED &&
                             now.tasks_per > best.tasks_per)
                        best = now;
                }
    return best;
}

void choose_bww(const Graph *g, Kernel *k, const Target *t) {
    const Node *node = graph_n(g, k->anchor);
    ConvProblem p = conv_problem(g, node);
    Layout l;
    weights_conv_bwd_weights(g, k->anchor, -1, t, &l);
    k->tasks_block = 0;
    if (conv_by_images(&p)) {
        choose_dense_bwd_weights(g, k, t);
        return;
    }
    Kernel candidate[CANDIDATES] = {best_direct(g, &p, k, t, &l)};
    int n = 1;
    if (winograd_bww_candidates)
        n += winograd_bww_candidates(g, &p, &candidate[0], t, candidate + 1, CANDIDATES - 1);
    plan_choose(g, k, t, candidate, n);
}

/* ---- the register tile ---- */
typedef struct Acc {
    int n; /* accumulators per output vector */
    int64_t src[TILE_MAX_ACC], dw[TILE_MAX_ACC];
    Val acc[TILE_MAX_ACC];
} Acc;

static void acc_make(const Bww *b, Acc *a, int cols, int channels) {
    a->n = cols * channels;
    for (int i = 0; i < a->n; ++i) {
        int64_t c = i % channels, x = i / channels;
        a->src[i] = x * b->p->dilation[1] * b->src.pixel + c * b->src_step;
        a->dw[i] = x * b->tap + c * b->row;
    }
}

static void acc_step(const Bww *b, Acc *a, Val src, Val dd, int64_t dd_vector) {
    Emit *e = b->e;
    Val d[TILE_MAX_VECTORS];
    for (int j = 0; j < b->oc; ++j)
        d[j] = em_load(e, dd, j * dd_vector, true);
    for (int i = 0; i < a->n; ++i) {
        Val x = em_bcast(e, src, a->src[i]);
        for (int j = 0; j < b->oc; ++j)
            a->acc[i * b->oc + j] = em_fma(e, x, d[j], a->acc[i * b->oc + j]);
    }
}

static void acc_move(const Bww *b, Acc *a, Val dw, bool load) {
    Emit *e = b->e;
    for (int i = 0; i < a->n; ++i)
        for (int j = 0; j < b->oc; ++j) {
            int64_t off = a->dw[i] + j * em_width(e);
            Val *v = &a->acc[i * b->oc + j];
            if (!load)
                em_store(e, dw, off, *v, true);
            else
                *v = em_load(e, dw, off, true);
        }
}

/* One visit of the accumulators at (kh, kw, i): all pixels of the rows. */
static void visit(Bww *b, int cols, int channels, Val kh, Val kw, Val i) {
    Emit *e = b->e;
    const ConvProblem *p = b->p;
    Acc a;
    acc_make(b, &a, cols, channels);
    int n = a.n * b->oc;
    Val at = em_mul(e, em_add(e, em_mul(e, kh, em_i64(e, p->kernel[1])), kw), em_i64(e, b->tap));
    at = em_add(e, at, em_mul(e, i, em_i64(e, b->row)));
    Val dw = em_ptr(e, b->sum_at, at);
    Val off = em_mul(e, kh, em_i64(e, p->dilation[0] * b->src.row));
    off = em_add(e, off, em_mul(e, kw, em_i64(e, p->dilation[1] * b->src.pixel)));
    Val src = em_ptr(e, b->src_at, em_add(e, off, em_mul(e, i, em_i64(e, b->src_step))));
    acc_move(b, &a, dw, true);
    Loop y = em_for(e, b->y0, b->y1, 1, "y", a.acc, n);
    Val s = em_ptr(e, src, em_mul(e, y.i, em_i64(e, p->stride[0] * b->src.row)));
    Val d = em_ptr(e, b->dd_at, em_mul(e, y.i, em_i64(e, b->dd.row)));
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, p->dst[1]), 1, "x", a.acc, n);
    acc_step(b, &a, em_ptr(e, s, em_mul(e, x.i, em_i64(e, p->stride[1] * b->src.pixel))),
             em_ptr(e, d, em_mul(e, x.i, em_i64(e, b->dd.pixel))), b->dd.cblock);
    em_for_end(e, &x, a.acc, n);
    em_for_end(e, &y, a.acc, n);
    acc_move(b, &a, dw, false);
}

/* ---- all taps and channels of a block ---- */
static void each_channel(Bww *b, int cols, Val kh, Val kw) {
    Emit *e = b->e;
    int64_t step = min64(b->tile.channels, b->channels), rest = b->channels % step;
    if (b->channels == step) {
        visit(b, cols, (int)step, kh, kw, em_i64(e, 0));
        return;
    }
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, b->channels - rest), step, "i", NULL, 0);
    visit(b, cols, (int)step, kh, kw, l.i);
    em_for_end(e, &l, NULL, 0);
    if (rest)
        visit(b, cols, (int)rest, kh, kw, em_i64(e, b->channels - rest));
}

static void each_column(Bww *b, Val kh) {
    Emit *e = b->e;
    int64_t kw = b->p->kernel[1], cols = b->tile.cols, rest = kw % cols;
    if (b->kw_tile) {
        Val from = em_mul(e, b->kw_tile, em_i64(e, cols));
        if (!rest) {
            each_channel(b, (int)cols, kh, from);
            return;
        }
        If f = em_if(e, em_icmp(e, EM_LT, b->kw_tile, em_i64(e, kw / cols)));
        each_channel(b, (int)cols, kh, from);
        em_else(e, &f);
        each_channel(b, (int)rest, kh, em_i64(e, kw - rest));
        em_endif(e, &f);
        return;
    }
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, kw - rest), cols, "kw", NULL, 0);
    each_channel(b, (int)cols, kh, l.i);
    em_for_end(e, &l, NULL, 0);
    if (rest)
        each_channel(b, (int)rest, kh, em_i64(e, kw - rest));
}

static void each_tap(Bww *b) {
    Loop l = em_for(b->e, b->kh_from, b->kh_to, 1, "kh", NULL, 0);
    each_column(b, l.i);
    em_for_end(b->e, &l, NULL, 0);
}

/* Runs fn with the real number of channels of block ib and of vectors of tile ot. */
static void with_channels(Bww *b, Val ib, void (*fn)(Bww *)) {
    Emit *e = b->e;
    int64_t block = b->u.w.layout.i_block, last = b->p->i - (b->u.w.i_blocks - 1) * block;
    b->channels = block;
    if (last == block) {
        fn(b);
        return;
    }
    If f = em_if(e, em_icmp(e, EM_LT, ib, em_i64(e, b->u.w.i_blocks - 1)));
    fn(b);
    em_else(e, &f);
    b->channels = last;
    fn(b);
    em_endif(e, &f);
    b->channels = block;
}

/* ---- convolution ---- */

/* Rows of weights (an input channel at a tap) that this task owns: first, number. */
static Val owned(const Bww *b, Val *count) {
    Emit *e = b->e;
    int64_t block = b->u.w.layout.i_block, kw = b->p->kernel[1], cols = b->tile.cols * block;
    Val at = em_mul(e, b->kh_from, em_i64(e, kw * block));
    *count = em_mul(e, em_sub(e, b->kh_to, b->kh_from), em_i64(e, kw * block));
    if (!b->kw_tile) /* otherwise one kernel row */
        return at;
    Val from = em_mul(e, b->kw_tile, em_i64(e, cols));
    *count = em_imin(e, em_i64(e, cols), em_sub(e, em_i64(e, kw * block), from));
    return em_add(e, at, from);
}

/* Complete sums go where they belong; padding vectors behind the last real one get zeros. */
static void put_owned(Bww *b) {
    Emit *e = b->e;
    int width = em_width(e);
    int64_t vectors = ceil_div(b->p->o, width);
    int padding = b->u.weights ? 0 : (int)(ceil_div(vectors, b->full) * b->full - vectors);
    UpdateRates rates = {0};
    Val count, from = owned(b, &count);
    if (b->u.weights)
        rates = update_rates(b->k, b->u.weights);
    Loop l = em_for(e, from, em_add(e, from, count), 1, "row", NULL, 0);
    Val sum = em_ptr(e, b->sum_at, em_mul(e, l.i, em_i64(e, b->row)));
    Val off = em_mul(e, l.i, em_i64(e, b->u.w.row)), out = em_ptr(e, b->out_at, off);
    for (int j = 0; j < b->oc; ++j) {
        Val value = em_load(e, sum, j * width, true);
        if (b->u.weights)
            update_apply(e, &rates, out, em_ptr(e, b->state_at, off), j * width, value);
        else
            em_store(e, out, j * width, value, true);
    }
    if (padding) {
        If f = em_if(e, b->last_part);
        for (int j = 0; j < padding; ++j)
            em_store(e, out, (b->oc + j) * width, em_vec(e, 0), true);
        em_endif(e, &f);
    }
    em_for_end(e, &l, NULL, 0);
}

static void sweep(Bww *b) {
    Emit *e = b->e;
    Val src = b->src_at, dd = b->dd_at;
    int rows = b->k->k->tile.rows;
    int64_t oh = b->p->dst[0];
    Val count, from = owned(b, &count), row = em_i64(e, b->row);
    em_zero(e, em_ptr(e, b->sum_at, em_mul(e, from, row)), em_mul(e, count, row));
    if (b->u.bias)
        bias_start(&b->bias);
    Loop n = em_for(e, em_i64(e, 0), b->k->n, 1, "n", NULL, 0);
    b->src_at = em_ptr(e, src, em_mul(e, n.i, em_i64(e, b->src.image)));
    b->dd_at = em_ptr(e, dd, em_mul(e, n.i, em_i64(e, b->dd.image)));
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, oh), rows, "rows", NULL, 0);
    b->y0 = y.i;
    b->y1 = em_add(e, y.i, em_i64(e, rows));
    if (oh % rows)
        b->y1 = em_imin(e, b->y1, em_i64(e, oh));
    if (b->u.bias)
        bias_rows(&b->bias, b->dd_at, b->y0, b->y1);
    each_tap(b);
    em_for_end(e, &y, NULL, 0);
    if (b->u.bias)
        bias_image_end(&b->bias);
    em_for_end(e, &n, NULL, 0);
    b->src_at = src;
    b->dd_at = dd;
    put_owned(b);
    if (b->u.bias)
        bias_finish(&b->bias);
}

/* ---- tasks ---- */
typedef struct BwwTask {
    Val group, part, ib; /* part: `part` output vectors */
} BwwTask;

static BwwTask decode(Bww *b, Val task) {
    Emit *e = b->e;
    const ConvProblem *p = b->p;
    const Tile *tile = &b->k->k->tile;
    BwwTask t;
    Val unit = task, kh = em_i64(e, 0);
    b->kh_from = em_i64(e, 0);
    b->kh_to = em_i64(e, p->kernel[0]);
    if (tile->unroll)
        split_index(e, unit, column_tiles(p, tile->ow), &unit, &b->kw_tile);
    if (tile->oh < p->kernel[0]) {
        split_index(e, unit, ceil_div(p->kernel[0], tile->oh), &unit, &kh);
        b->kh_from = em_mul(e, kh, em_i64(e, tile->oh));
        b->kh_to = em_imin(e, em_add(e, b->kh_from, em_i64(e, tile->oh)), b->kh_to);
    }
    split_index(e, unit, b->u.w.i_blocks, &unit, &t.ib);
    split_index(e, unit, ceil_div(ceil_div(p->o, em_width(e)), b->part), &t.group, &t.part);
    return t;
}

static void run_task(Bww *b, const BwwTask *t) {
    Emit *e = b->e;
    KernelCtx *k = b->k;
    const WeightView *w = &b->u.w;
    int width = em_width(e);
    Val zero = em_i64(e, 0), tile, sub;
    Val cb = em_add(e, em_mul(e, t->group, em_i64(e, ceil_div(b->p->o, width))),
                    em_mul(e, t->part, em_i64(e, b->part)));
    Val src_cb = em_mul(e, t->group, em_i64(e, ceil_div(b->p->i, width)));
    src_cb = em_add(e, src_cb, t->ib);
    b->src_at =
        view_at(k, &b->src, zero, src_cb, em_i64(e, -b->p->pad[0]), em_i64(e, -b->p->pad[1]));
    b->dd_at = view_at(k, &b->dd, zero, cb, zero, zero);
    split_index(e, t->part, b->full / b->part, &tile, &sub);
    Val out =
        em_add(e, em_mul(e, t->group, em_i64(e, w->group)), em_mul(e, tile, em_i64(e, w->tile)));
    out = em_add(e, out, em_mul(e, sub, em_i64(e, (int64_t)b->part * width)));
    out = em_add(e, out, em_mul(e, t->ib, em_i64(e, w->block)));
    b->out_at = em_ptr(e, w->base, out);
    b->sum_at = b->sums;
    if (b->u.weights)
        b->state_at = em_ptr(e, b->u.state, out);
    Val owns = em_icmp(e, EM_EQ, t->ib, zero);
    owns = em_and(e, owns, em_icmp(e, EM_EQ, b->kh_from, zero));
    if (b->kw_tile)
        owns = em_and(e, owns, em_icmp(e, EM_EQ, b->kw_tile, zero));
    b->bias = (BwwBias){&b->u, &b->dd, b->oc, owns, cb, b->bias_sums};
    with_channels(b, t->ib, sweep);
}

static void open_bww(Bww *b) {
    KernelCtx *k = b->k;
    Emit *e = b->e;
    const Tile *tile = &k->k->tile;
    b->src = view_of(k, k->node->in[0]);
    b->dd = view_of(k, k->node->in[1]);
    b->u = bww_update_open(k);
    b->full = b->u.w.layout.o_tile / em_width(e);
    b->part = tile->oc;
    b->tile = (BwwTile){tile->ow, tile->ic};
    b->src_step = b->src.block == 1 ? b->src.cblock : 1;
    b->row = (int64_t)b->part * em_width(e);
    b->tap = b->row * b->u.w.layout.i_block;
    int64_t sums = weight_sums(b->p, &b->u.w.layout);
    b->sums = k->a.scratch;
    b->bias_sums = em_ptr(e, k->a.scratch, em_i64(e, sums));
}

void lower_conv_bwd_weights(KernelCtx *k) {
    Emit *e = k->e;
    ConvProblem p = conv_problem(k->g, k->node);
    if (k->k->winograd) {
        lower_winograd_bww(k, &p);
        return;
    }
    if (conv_by_images(&p)) {
        lower_dense_bwd_weights(k);
        return;
    }
    Bww b = {.k = k, .e = e, .p = &p};
    open_bww(&b);
    int64_t vectors = ceil_div(p.o, em_width(e)), parts = ceil_div(vectors, b.part);
    int last = (int)(vectors - (parts - 1) * b.part);
    Loop task = task_loop(k);
    BwwTask t = decode(&b, task.i);
    b.last_part = em_icmp(e, EM_EQ, t.part, em_i64(e, parts - 1));
    b.oc = b.part;
    if (last == b.part) {
        run_task(&b, &t);
    } else {
        If f = em_if(e, em_icmp(e, EM_LT, t.part, em_i64(e, parts - 1)));
        run_task(&b, &t);
        em_else(e, &f);
        b.oc = last;
        run_task(&b, &t);
        em_endif(e, &f);
    }
    task_end(k, &task);
}
