/* conv_few_lower.c: backward data into an image of few channels, the last step of a projection.
 *
 * With three channels to produce, a vector of channels would leave 13 of 16 lanes idle.  Here the
 * lanes are neighbouring pixels of one phase of the stride, and the channels are accumulators: for
 * every input (o, ky, kx) the tile loads vectors of diff_dst along a row and multiplies each with
 * one number of the weights per channel.  diff_dst has channels in its lanes, so its rows are
 * turned first, each once per task, into a ring of rows in scratch memory that holds what one row
 * of the result needs; turning costs 7 / (channels x taps) of the multiplications.
 * requires: one group; the transposed weights are [o / block][kh][kw][o in block][channel].
 * ensures: each pixel written once, by one task; padding lanes are zero; one order of summation.
 */
#include "ops/conv.h"

enum {
    RING_MOST = 8 << 20, /* bytes per thread */
    LINE = 16,           /* floats of a cache line */
};

/* Rows of diff_dst, turned: slot (y - lowest) mod slots holds [o][width] floats of row y, column 0
 * at `left`, zeros on both sides. */
typedef struct Ring {
    int64_t lowest, highest; /* rows that row q = 0 of the result reads, all phases */
    int64_t slots, left, width, slot;
} Ring;

typedef struct Few {
    KernelCtx *k;
    Emit *e;
    const ConvProblem *p;
    View src;
    WeightView w;
    Epi ep;
    Direction y, x;
    Ring ring;
    int64_t block, blocks; /* of diff_dst's channels */
    Val n;
} Few;

static int64_t round_up(int64_t x, int64_t to) {
    return ceil_div(x, to) * to;
}

/* Columns of diff_dst that a row of `pixels` results per phase reads: first .. last. */
static void reach(const Direction *a, int64_t *first, int64_t *last) {
    *first = INT64_MAX, *last = INT64_MIN;
    for (int64_t r = 0; r < a->phases && r < a->extent; ++r) {
        const Phase *ph = &a->phase[r];
        if (ph->taps == 0)
            continue;
        int64_t end = ph->first + (ph->taps - 1) * a->tap;
        *first = min64(*first, min64(ph->first, end));
        *last = max64(*last, max64(ph->first, end));
    }
    if (*first > *last)
        *first = *last = 0;
}

static Ring ring_of(const Direction *y, const Direction *x, int rows, int64_t channels,
                    const Target *t) {
    Ring r;
    int64_t lo, hi, pixels = round_up(ceil_div(x->extent, x->phases), t->vector);
    reach(y, &r.lowest, &r.highest);
    reach(x, &lo, &hi);
    r.slots = r.highest - r.lowest + rows;
    r.left = round_up(max64(0, -lo), t->vector);
    r.width = r.left + round_up(pixels + max64(0, hi), t->vector);
    r.slot = channels * r.width;
    return r;
}

/* Vectors of pixels per tile: accumulators, one number per channel and one vector fit exactly (the
 * loop is short, so LLVM has nothing to move ahead); a separate product needs registers as well. */
static int most_vectors(const Target *t, int64_t channels) {
    int64_t left = t->registers - (t->fma ? 0 : 2) - 1 - channels;
    return (int)min64(left, TILE_MAX_ACC) / (int)channels;
}

bool conv_back_to_few(const ConvProblem *p, const Target *t) {
    int64_t pixels = ceil_div(p->src[1], p->stride[1]);
    int64_t span = ceil_div(p->kernel[0] * p->dilation[0], p->stride[0]) + 4;
    int64_t row = p->src[1] / p->stride[1] + p->kernel[1] * p->dilation[1] + 4 * t->vector;
    return p->groups == 1 && p->i <= 4 && pixels >= 4 && most_vectors(t, p->i) >= 2 &&
           4 * span * row * round_up(p->o, t->vector) <= RING_MOST;
}

/* What turning a row of diff_dst costs beside summing a row of results (110 instructions turn 16 x
 * 16 numbers). */
static double turning(const ConvProblem *p) {
    return 7.0 / (double)(p->i * p->kernel[0] * p->kernel[1]);
}

/* Rows of results per task.  Every task turns the rows that its first results share with the task
 * before; few tasks leave some threads idle.  The least time on 2 and on 16 threads together. */
static int64_t band_rows(const ConvProblem *p, const Ring *r, int64_t rows, int oh) {
    int64_t best = oh;
    double least = 0;
    for (int64_t band = oh; band <= max64(rows, oh); band += oh) {
        double task = (double)band + (double)(r->slots - oh) * turning(p);
        int64_t tasks = ceil_div(rows, band);
        double time = task * (double)(16 * ceil_div(tasks, 16) + 2 * ceil_div(tasks, 2));
        if (band > oh && time >= 0.99 * least)
            continue;
        best = band;
        least = time;
    }
    return best;
}

/* Lanes beyond a row's last pixel are summed as well. */
static double few_seconds(const Graph *g, const ConvProblem *p, const Kernel *k, const Direction *x,
                          const Target *t) {
    double n = (double)plan_batch(g), taps = 0;
    for (int64_t r = 0; r < x->phases && r < x->extent; ++r)
        taps += (double)(x->phase[r].taps *
                         round_up(ceil_div(x->extent - r, x->phases), t->vector));
    double rows = (double)(p->dst[0] * p->kernel[0] * p->o * p->i);
    double src = (double)(p->o * p->dst[0] * p->dst[1]);
    Cost c = {.flops = 2 * n * rows * taps * (1 + turning(p)),
              .efficiency = t->fma ? 0.85 : 0.55,
              .dram_bytes = 4 * n * (src + (double)(p->src[0] * p->src[1] * t->vector)),
              .tasks = (double)k->tasks_per * n};
    return cost_seconds(t, &c);
}

void choose_few(const Graph *g, const ConvProblem *p, Kernel *k, const Target *t) {
    Arena *scratch = arena_new();
    Direction y = backward_direction(p, 0, scratch), x = backward_direction(p, 1, scratch);
    int64_t rows = ceil_div(y.extent, y.phases);
    int64_t vectors = ceil_div(ceil_div(x.extent, x.phases), t->vector);
    int64_t block = min64(p->o, t->vector), channels = round_up(p->o, block);
    int most = most_vectors(t, p->i);
    k->tile.ow = (int)ceil_div(vectors, ceil_div(vectors, most));
    k->tile.oh = rows > 1 && 2 * k->tile.ow <= most ? 2 : 1;
    Ring ring = ring_of(&y, &x, k->tile.oh, channels, t);
    k->tile.oc = (int)p->i;
    k->tile.unroll = t->broadcast_load && block % 2 == 0 ? 2 : 1;
    k->tile.rows = (int)band_rows(p, &ring, rows, k->tile.oh);
    k->tasks_per = ceil_div(rows, k->tile.rows);
    k->tasks_block = 1;
    k->scratch = 4 * ring.slots * ring.slot;
    k->algorithm = "direct";
    k->why = "few channels: lanes are pixels, diff_dst is turned row by row";
    k->seconds = few_seconds(g, p, k, &x, t);
    arena_free(scratch);
}

/* ---- the ring ---- */

/* Channel 0 of row y of diff_dst, column 0. */
static Val slot_at(Few *f, Val y) {
    Emit *e = f->e;
    const Ring *r = &f->ring;
    Val slot = em_rem(e, em_sub(e, y, em_i64(e, r->lowest)), em_i64(e, r->slots));
    Val at = em_add(e, em_mul(e, slot, em_i64(e, r->slot)), em_i64(e, r->left));
    return em_ptr(e, f->k->a.scratch, at);
}

/* `pixels` pixels (at most a vector) of one block of channels: channels of src become rows of dst. */
static void turn(Few *f, Val src, Val dst, int64_t pixels) {
    Emit *e = f->e;
    Val row[64];
    for (int i = 0; i < em_width(e); ++i)
        row[i] = i < pixels ? em_load(e, src, i * f->src.pixel, true) : em_vec(e, 0);
    em_transpose(e, row);
    for (int64_t o = 0; o < f->block; ++o)
        em_store(e, dst, o * f->ring.width, row[o], true);
}

static void turn_block(Few *f, Val src, Val dst) {
    Emit *e = f->e;
    const Ring *r = &f->ring;
    int64_t width = em_width(e), used = min64(f->src.w, r->width - r->left);
    int64_t whole = used / width * width, filled = round_up(used, width);
    if (whole) {
        Loop x = em_for(e, em_i64(e, 0), em_i64(e, whole), width, "turn.x", NULL, 0);
        turn(f, em_ptr(e, src, em_mul(e, x.i, em_i64(e, f->src.pixel))), em_ptr(e, dst, x.i),
             width);
        em_for_end(e, &x, NULL, 0);
    }
    if (filled > whole)
        turn(f, em_ptr(e, src, em_i64(e, whole * f->src.pixel)), em_ptr(e, dst, em_i64(e, whole)),
             used - whole);
    Loop o = em_for(e, em_i64(e, 0), em_i64(e, f->block), 1, "turn.zero", NULL, 0);
    Val row = em_ptr(e, dst, em_mul(e, o.i, em_i64(e, r->width)));
    for (int64_t x = -r->left; x < 0; x += width)
        em_store(e, row, x, em_vec(e, 0), true);
    for (int64_t x = filled; x < r->width - r->left; x += width)
        em_store(e, row, x, em_vec(e, 0), true);
    em_for_end(e, &o, NULL, 0);
}

/* Rows [from, to) of diff_dst go into the ring; rows outside it are zeros. */
static void fill_ring(Few *f, Val from, Val to) {
    Emit *e = f->e;
    Loop y = em_for(e, from, to, 1, "turn.y", NULL, 0);
    Val dst = slot_at(f, y.i), last = em_i64(e, f->src.h - 1);
    Val real = em_imax(e, em_i64(e, 0), em_imin(e, y.i, last));
    If inside = em_if(e, em_icmp(e, EM_EQ, real, y.i));
    Val src = view_at(f->k, &f->src, f->n, em_i64(e, 0), y.i, em_i64(e, 0));
    Loop b = em_for(e, em_i64(e, 0), em_i64(e, f->blocks), 1, "turn.block", NULL, 0);
    turn_block(f, em_ptr(e, src, em_mul(e, b.i, em_i64(e, f->src.cblock))),
               em_ptr(e, dst, em_mul(e, b.i, em_i64(e, f->block * f->ring.width))));
    em_for_end(e, &b, NULL, 0);
    em_else(e, &inside);
    em_zero(e, em_ptr(e, dst, em_i64(e, -f->ring.left)), em_i64(e, f->ring.slot));
    em_endif(e, &inside);
    em_for_end(e, &y, NULL, 0);
}

/* ---- the register tile ---- */
typedef struct FewTile {
    int rows, cols, channels;
    int64_t pixels; /* results per row: fewer than the lanes at the end of a row */
    Val acc[TILE_MAX_ACC]; /* [(row * cols + vector) * channels + channel] */
    Val q, ry, first, rx;  /* first: pixel of the phase */
} FewTile;

/* One channel o: src[row] points at the first vector, w at the numbers of all channels. */
static void multiply(Few *f, FewTile *t, Val *src, Val w, int64_t o) {
    Emit *e = f->e;
    Val number[TILE_MAX_ACC];
    for (int c = 0; c < t->channels; ++c)
        number[c] = em_bcast(e, w, o * t->channels + c);
    for (int r = 0; r < t->rows; ++r)
        for (int v = 0; v < t->cols; ++v) {
            Val x = em_load(e, src[r], o * f->ring.width + v * em_width(e), false);
            Val *acc = &t->acc[(r * t->cols + v) * t->channels];
            for (int c = 0; c < t->channels; ++c)
                acc[c] = em_fma(e, x, number[c], acc[c]);
        }
}

/* One tap: all channels of block b. */
static void sum_channels(Few *f, FewTile *t, const Val *row, Val x, Val w) {
    Emit *e = f->e;
    int n = t->rows * t->cols * t->channels, unroll = f->k->k->tile.unroll;
    Val src[TILE_MAX_ACC], base[TILE_MAX_ACC];
    for (int r = 0; r < t->rows; ++r)
        base[r] = em_opaque(e, em_ptr(e, row[r], x));
    w = em_opaque(e, w);
    Loop o = em_for(e, em_i64(e, 0), em_i64(e, f->block), unroll, "o", t->acc, n);
    Val at = em_mul(e, o.i, em_i64(e, f->ring.width));
    for (int r = 0; r < t->rows; ++r)
        src[r] = em_ptr(e, base[r], at);
    Val numbers = em_ptr(e, w, em_mul(e, o.i, em_i64(e, t->channels)));
    for (int u = 0; u < unroll; ++u)
        multiply(f, t, src, numbers, u);
    em_for_end(e, &o, t->acc, n);
}

/* Lines of the rows of diff_dst that are turned next come to the cache while this row is summed:
 * every tap of every tile fetches its part of them. */
static void fetch_ahead(Few *f, const FewTile *t, Val block, Val tap) {
    Emit *e = f->e;
    const ConvProblem *p = f->p;
    int64_t most = (int64_t)f->k->k->tile.ow * em_width(e);
    int64_t tiles = ceil_div(ceil_div(f->x.extent, f->x.phases), most);
    int64_t rows = (t->rows - 1) * f->src.row + f->src.w * f->src.pixel;
    int64_t step = max64(f->src.pixel, LINE), lines = ceil_div(rows, step);
    int64_t part = ceil_div(lines, tiles * p->kernel[0] * p->kernel[1]);
    Val tile = em_div(e, t->first, em_i64(e, most));
    Val index = em_add(e, em_mul(e, tap, em_i64(e, tiles)), tile);
    Val y = em_add(e, t->q, em_i64(e, f->ring.highest + t->rows));
    Val at = view_at(f->k, &f->src, f->n, block, y, em_i64(e, 0));
    at = em_ptr(e, at, em_mul(e, index, em_i64(e, part * step)));
    for (int64_t i = 0; i < part; ++i)
        em_prefetch(e, at, i * step);
}

static void sum_taps(Few *f, FewTile *t) {
    Emit *e = f->e;
    int n = t->rows * t->cols * t->channels;
    Val from, to;
    tap_range(e, &f->y, t->ry, t->q, t->rows, f->src.h, &from, &to);
    Loop b = em_for(e, em_i64(e, 0), em_i64(e, f->blocks), 1, "block", t->acc, n);
    Val block = em_mul(e, b.i, em_i64(e, f->block * f->ring.width));
    Loop j = em_for(e, from, to, 1, "tap", t->acc, n);
    Val y = em_add(e, em_add(e, t->q, phase_field(e, &f->y, t->ry, PHASE_FIRST)),
                   em_mul(e, j.i, em_i64(e, f->y.tap)));
    Val row[TILE_MAX_ACC];
    for (int r = 0; r < t->rows; ++r)
        row[r] = slot_at(f, em_add(e, y, em_i64(e, r)));
    Val ky = em_add(e, phase_field(e, &f->y, t->ry, PHASE_FIRST_TAP),
                    em_mul(e, j.i, em_i64(e, f->y.tap_step)));
    Loop i = em_for(e, em_i64(e, 0), phase_field(e, &f->x, t->rx, PHASE_TAPS), 1, "tap.x", t->acc,
                    n);
    Val x = em_add(e, em_add(e, t->first, phase_field(e, &f->x, t->rx, PHASE_FIRST)),
                   em_mul(e, i.i, em_i64(e, f->x.tap)));
    Val kx = em_add(e, phase_field(e, &f->x, t->rx, PHASE_FIRST_TAP),
                    em_mul(e, i.i, em_i64(e, f->x.tap_step)));
    Val tap = em_add(e, em_mul(e, ky, em_i64(e, f->w.kw)), kx);
    Val w = em_add(e, em_mul(e, b.i, em_i64(e, f->w.block)), em_mul(e, tap, em_i64(e, f->w.tap)));
    fetch_ahead(f, t, b.i, tap);
    sum_channels(f, t, row, em_add(e, x, block), em_ptr(e, f->w.base, w));
    em_for_end(e, &i, t->acc, n);
    em_for_end(e, &j, t->acc, n);
    em_for_end(e, &b, t->acc, n);
}

/* Lanes become pixels again: vectors of all channels. */
static void store_tile(Few *f, FewTile *t) {
    Emit *e = f->e;
    int width = em_width(e);
    epi_tile(f->k, &f->ep, f->n, em_i64(e, 0),
             em_add(e, em_mul(e, t->q, em_i64(e, f->y.phases)), t->ry),
             em_add(e, em_mul(e, t->first, em_i64(e, f->x.phases)), t->rx));
    for (int r = 0; r < t->rows; ++r)
        for (int v = 0; v < t->cols; ++v) {
            Val pixel[64];
            for (int c = 0; c < width; ++c)
                pixel[c] = c < t->channels ? t->acc[(r * t->cols + v) * t->channels + c]
                                           : em_vec(e, 0);
            em_transpose(e, pixel);
            for (int64_t i = 0; i < width && v * width + i < t->pixels; ++i)
                epi_emit(f->k, &f->ep, pixel[i], 0, 0, r * f->y.phases,
                         (v * width + i) * f->x.phases);
        }
}

static void few_tile(Few *f, int rows, int64_t pixels, Val q, Val ry, Val first, Val rx) {
    Emit *e = f->e;
    FewTile t = {.rows = rows,
                 .cols = (int)ceil_div(pixels, em_width(e)),
                 .channels = (int)f->p->i,
                 .pixels = pixels,
                 .q = q,
                 .ry = ry,
                 .first = first,
                 .rx = rx};
    for (int i = 0; i < rows * t.cols * t.channels; ++i)
        t.acc[i] = em_vec(e, 0);
    sum_taps(f, &t);
    store_tile(f, &t);
}

/* Phases [from, to) of the columns, all of which have `count` pixels. */
static void few_columns(Few *f, int rows, Val q, Val ry, int64_t from, int64_t to, int64_t count) {
    Emit *e = f->e;
    if (from >= to || count <= 0)
        return;
    int64_t most = (int64_t)f->k->k->tile.ow * em_width(e), rest = count % most;
    Loop phase, tile;
    Val rx = loop_begin(e, &phase, from, to, 1, "phase.x");
    if (count > rest) {
        Val x = loop_begin(e, &tile, 0, count - rest, most, "x");
        few_tile(f, rows, most, q, ry, x, rx);
        loop_end(e, &tile);
    }
    if (rest)
        few_tile(f, rows, rest, q, ry, em_i64(e, count - rest), rx);
    loop_end(e, &phase);
}

/* Rows q .. q + rows - 1 of phases [from, to): the rows of diff_dst that are new, halos, columns. */
static void few_rows(Few *f, int rows, Val q, int64_t from, int64_t to) {
    Emit *e = f->e;
    if (from >= to)
        return;
    int64_t count = f->x.extent / f->x.phases, more = f->x.extent % f->x.phases;
    Loop phase;
    Val ry = loop_begin(e, &phase, from, to, 1, "phase.y");
    for (int r = 0; r < rows; ++r)
        epi_row(f->k, &f->ep, f->n, em_i64(e, 0), 1,
                em_add(e, em_mul(e, em_add(e, q, em_i64(e, r)), em_i64(e, f->y.phases)), ry));
    few_columns(f, rows, q, ry, 0, more, count + 1);
    few_columns(f, rows, q, ry, more, f->x.phases, count);
    loop_end(e, &phase);
}

/* Rows [from, to), in steps of `rows`, of the phases that have them. */
static void few_band(Few *f, int rows, Val from, Val to, int64_t phases) {
    Emit *e = f->e;
    Val high = em_i64(e, f->ring.highest);
    Loop q = em_for(e, from, to, rows, "y", NULL, 0);
    Val fresh = em_add(e, q.i, high);
    fill_ring(f, fresh, em_add(e, fresh, em_i64(e, rows)));
    few_rows(f, rows, q.i, 0, phases);
    em_for_end(e, &q, NULL, 0);
}

/* Rows [from, to) of all phases; the last row of all exists in some phases only. */
static void few_task(Few *f, Val from, Val to) {
    Emit *e = f->e;
    int64_t whole = f->y.extent / f->y.phases, more = f->y.extent % f->y.phases;
    int oh = f->k->k->tile.oh;
    fill_ring(f, em_add(e, from, em_i64(e, f->ring.lowest)),
              em_add(e, from, em_i64(e, f->ring.highest)));
    Val end = em_imin(e, to, em_i64(e, whole));
    if (oh > 1) {
        Val rows = em_mul(e, em_div(e, em_sub(e, end, from), em_i64(e, oh)), em_i64(e, oh));
        Val middle = em_add(e, from, rows);
        few_band(f, oh, from, middle, f->y.phases);
        from = middle;
    }
    if (oh == 1 || whole % oh) /* bands are whole tiles */
        few_band(f, 1, from, end, f->y.phases);
    if (more)
        few_band(f, 1, em_i64(e, whole), to, more);
}

void lower_few(KernelCtx *k, const ConvProblem *p) {
    Emit *e = k->e;
    Few f = {.k = k, .e = e, .p = p};
    f.src = view_of(k, k->node->in[0]);
    f.w = weights_of(k, k->node->in[1]);
    f.y = backward_direction(p, 0, k->g->keep);
    f.x = backward_direction(p, 1, k->g->keep);
    f.block = f.w.layout.i_block;
    f.blocks = f.w.i_blocks;
    f.ring = ring_of(&f.y, &f.x, k->k->tile.oh, f.block * f.blocks, k->t);
    epi_open(k, &f.ep);
    int64_t rows = ceil_div(f.y.extent, f.y.phases), band = k->k->tile.rows;
    Loop task = task_loop(k);
    Val at;
    split_index(e, task.i, ceil_div(rows, band), &f.n, &at);
    Val from = em_mul(e, at, em_i64(e, band));
    few_task(&f, from, em_imin(e, em_add(e, from, em_i64(e, band)), em_i64(e, rows)));
    task_end(k, &task);
}
