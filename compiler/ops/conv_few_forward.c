/* conv_few_forward.c: convolution of an image of few channels to few channels, first layers of
 * small networks.
 *
 * Six output channels in sixteen lanes idle ten of them.  So the lanes are neighbouring results of
 * a row, the channels separate sums, and every weight is broadcast.  A task first spreads its
 * source rows over scratch memory: for each column of the window a copy of the row in which lane X
 * holds the number that result X multiplies there (stride, padding, and the distance of pooling
 * windows are then gone).  Behind it a pool (Kernel.tail) costs nothing but its own arithmetic: the
 * cells of a window are separate sums of one tile.  At the end lanes become channels by a
 * transpose. requires: one group; the source plain, of at most four channels; weights as the direct
 * kernel has them; a pool whose windows lie apart and inside. ensures: the order of every sum is
 * the direct kernel's; results are written once, by one task.
 */
#include <string.h>

#include "base/bug.h"
#include "ops/conv.h"
#include "ops/pool.h"

enum {
    FEW_CHANNELS = 4,
    FEW_BLOCKS = 2,      /* of output channels, each code of its own */
    WIDEST_STEP = 8,     /* source columns from lane to lane */
    SPREAD_MOST = 160,   /* vectors gathered per channel of a source row, all code of their own */
    TILE_BODY_MOST = 256 /* products in the innermost body */
};

/* The work in one place: a pool's window is 1 x 1 where there is none. */
typedef struct FewShape {
    int64_t window[2], apart[2]; /* the pool's kernel and stride */
    int64_t out[2];              /* rows and columns of results */
    int64_t step, unit;          /* source columns from lane to lane, from copy to copy */
    int64_t shifts, cols;        /* copies of a row, vectors in each */
    int64_t channel, row;        /* floats of one channel of a row, of a row, in scratch */
} FewShape;

typedef struct FewForward {
    KernelCtx *k, store; /* store: writes results, what is fused behind the sums being done */
    Emit *e;
    const ConvProblem *p;
    const Tile *tile;
    FewShape s;
    View src;
    WeightView w;
    Val bias; /* NULL: none */
    Epi ep;
    bool inside; /* the chain is applied while lanes are pixels */
    Val n, from; /* of the task: image, first row of results */
} FewForward;

static int64_t gcd(int64_t a, int64_t b) {
    return b ? gcd(b, a % b) : a;
}

static FewShape shape_of(const Graph *g, const Kernel *k, const ConvProblem *p, int width) {
    FewShape s = {.window = {1, 1}, .apart = {1, 1}, .out = {p->dst[0], p->dst[1]}};
    int64_t c;
    if (k->tail) {
        const PoolAttrs *a = graph_n(g, k->tail)->attrs;
        for (int d = 0; d < 2; ++d) {
            s.window[d] = a->kernel[d];
            s.apart[d] = a->stride[d];
        }
        shape_chw(&graph_v(g, graph_n(g, k->tail)->out[0])->shape, &c, &s.out[0], &s.out[1]);
    }
    s.step = s.apart[1] * p->stride[1];
    s.unit = s.window[1] > 1 ? gcd(p->stride[1], p->dilation[1]) : p->dilation[1];
    s.shifts =
        ((s.window[1] - 1) * p->stride[1] + (p->kernel[1] - 1) * p->dilation[1]) / s.unit + 1;
    s.cols = ceil_div(s.out[1], width);
    s.channel = s.shifts * s.cols * width;
    s.row = p->i * s.channel;
    return s;
}

/* Source rows that `rows` rows of results read. */
static int64_t source_rows(const FewShape *s, const ConvProblem *p, int64_t rows) {
    return ((rows - 1) * s->apart[0] + s->window[0] - 1) * p->stride[0] +
           (p->kernel[0] - 1) * p->dilation[0] + 1;
}

/* ---- is it possible ---- */

/* A function of one number each, all of them inside the kernel. */
static bool chain_inside(const Graph *g, const Kernel *k) {
    if ((k->nchain || k->tail) && graph_v(g, graph_n(g, k->anchor)->out[0])->stored)
        return false;
    for (int i = 0; i < k->nchain; ++i) {
        const Node *n = graph_n(g, k->chain[i]);
        bool last = i == k->nchain - 1 && !k->tail;
        if (n->nin != 1 || op_is(n->op, OPF_S) || (!last && graph_v(g, n->out[0])->stored))
            return false;
    }
    return true;
}

static bool pool_inside(const Graph *g, const Kernel *k, const ConvProblem *p) {
    const Node *n = graph_n(g, k->tail);
    const PoolAttrs *a = n->attrs;
    const Shape *dst = &graph_v(g, n->out[0])->shape;
    if (!chain_inside(g, k) ||
        (n->op == OP_MAXPOOL && n->nout > 1 && n->out[1] && graph_v(g, n->out[1])->stored))
        return false;
    for (int d = 0; d < 2; ++d)
        if (a->pad[2 * d] || a->pad[2 * d + 1] || a->stride[d] < a->kernel[d] ||
            (dst->dim[1 + d] - 1) * a->stride[d] + a->kernel[d] > p->dst[d])
            return false;
    return true;
}

static bool possible(const Graph *g, const Kernel *k, const ConvProblem *p, const Target *t) {
    const Node *n = graph_n(g, k->anchor);
    if (n->op != OP_CONV2D || p->groups != 1 || p->i > FEW_CHANNELS || p->i > t->vector ||
        p->o > FEW_BLOCKS * t->vector || conv_by_images(p) ||
        graph_v(g, n->in[0])->layout.kind != LAYOUT_PLAIN || (k->tail && !pool_inside(g, k, p)))
        return false;
    FewShape s = shape_of(g, k, p, t->vector);
    return s.step <= WIDEST_STEP && s.shifts * s.cols * s.step <= SPREAD_MOST &&
           s.window[1] * p->i <= TILE_MAX_ACC && 4 * s.row * source_rows(&s, p, 1) <= t->l2 / 4;
}

/* ---- the register tile and what it costs ---- */

/* Sums that fit: beside them either the cells' vectors or the channels' numbers stay in registers,
 * whichever are fewer, and one of the others passes through. */
static bool tile_fits(const Target *t, int64_t cells, int64_t channels, int64_t i) {
    int64_t spare = t->broadcast_load ? 0 : t->fma ? 1 : 2;
    return cells * channels <= TILE_MAX_ACC && cells * channels * i <= TILE_BODY_MOST &&
           cells * channels + min64(cells, channels) + 1 + spare <= t->registers;
}

/* Cycles of one tap of one row of results, all channels, with tiles as in *tile. */
static double row_cycles(const FewShape *s, const ConvProblem *p, const Tile *tile, int width) {
    double cycles = 0;
    int64_t blocks = ceil_div(p->o, width);
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t o = block * width; o < min64(p->o, (block + 1) * width); o += tile->oc)
            for (int64_t v = 0; v < s->cols; v += tile->ow)
                for (int64_t y = 0; y < s->window[0]; y += tile->ic) {
                    int64_t channels = min64(tile->oc, min64(p->o, (block + 1) * width) - o);
                    int64_t cells = tile->oh * min64(tile->ow, s->cols - v) * s->window[1] *
                                    min64(tile->ic, s->window[0] - y);
                    cycles += tile_cycles((int)cells, (int)channels) / tile->oh;
                }
    return cycles;
}

static bool best_tile(const FewShape *s, const ConvProblem *p, const Target *t, Tile *best) {
    double least = 0;
    Tile tile = {.unroll = 1};
    int64_t channels = min64(p->o, t->vector);
    for (int64_t parts = 1; parts <= channels; ++parts) {
        tile.oc = (int)ceil_div(channels, parts);
        for (tile.ow = 1; tile.ow <= s->cols && tile.ow <= 8; ++tile.ow)
            for (tile.ic = 1; tile.ic <= s->window[0]; ++tile.ic)
                for (tile.oh = 1; tile.oh <= 4 && tile.oh <= s->out[0]; ++tile.oh) {
                    int64_t cells = (int64_t)tile.oh * tile.ow * tile.ic * s->window[1];
                    if ((tile.oh > 1 && s->window[0] * s->window[1] > 1) ||
                        !tile_fits(t, cells, tile.oc, p->i))
                        continue;
                    double cycles = row_cycles(s, p, &tile, t->vector);
                    if (least > 0 && cycles >= 0.99 * least)
                        continue;
                    least = cycles;
                    *best = tile;
                }
    }
    return least > 0;
}

double conv_chain_ops(const Graph *g, const Kernel *k) {
    double ops = 0;
    for (int i = 0; i < k->nchain; ++i) {
        int op = graph_n(g, k->chain[i])->op;
        bool function = op == OP_TANH || op == OP_STANH || op == OP_SIGMOID;
        ops += function ? 20 : 1;
    }
    return ops;
}

static double forward_seconds(const Graph *g, const FewShape *s, const ConvProblem *p,
                              const Kernel *k, const Target *t) {
    double n = (double)plan_batch(g), bands = (double)k->tasks_per, width = t->vector;
    double cells = (double)(s->window[0] * s->window[1]), vectors = (double)(s->out[0] * s->cols);
    double taps = (double)(p->i * p->kernel[0] * p->kernel[1]);
    double cycles = row_cycles(s, p, &k->tile, t->vector) * (double)s->out[0] * taps;
    double spread = bands * (double)(source_rows(s, p, k->tile.rows) * p->i * s->shifts * s->cols *
                                     (2 * s->step));
    double blocks = (double)ceil_div(p->o, t->vector);
    double behind = vectors * (cells * (double)p->o * (conv_chain_ops(g, k) + (k->tail ? 1 : 0)) +
                               6 * width * blocks);
    Cost c = {.flops = n * cycles * 4 * width, /* tile_cycles counts two products a cycle */
              .efficiency = t->fma ? 1 : 0.6,
              .vector_ops = n * (spread + behind),
              .dram_bytes = 4 * n * (double)(p->i * p->src[0] * p->src[1]),
              .tasks = bands * n};
    return cost_seconds(t, &c);
}

bool few_forward_candidate(const Graph *g, const ConvProblem *p, Kernel *k, const Target *t) {
    if (!possible(g, k, p, t))
        return false;
    FewShape s = shape_of(g, k, p, t->vector);
    Kernel best = *k;
    if (!best_tile(&s, p, t, &k->tile))
        return false;
    k->algorithm = "pixels";
    k->why = arena_printf(g->keep, "few channels: lanes are pixels, %s",
                          k->tail ? "a pool's window is one tile" : "channels are separate sums");
    k->oc_outer = false;
    k->tasks_block = 1;
    best.seconds = 0;
    int64_t threads = max64(1, t->speed.threads);
    for (int64_t bands = 1; bands <= min64(s.out[0], 4 * threads); ++bands) {
        k->tile.rows = (int)ceil_div(s.out[0], bands);
        k->tile.rows = (int)(ceil_div(k->tile.rows, k->tile.oh) * k->tile.oh);
        k->tasks_per = ceil_div(s.out[0], k->tile.rows);
        k->scratch = 4 * s.row * source_rows(&s, p, k->tile.rows);
        if (k->scratch > t->l2 / 2)
            continue;
        k->seconds = forward_seconds(g, &s, p, k, t);
        if (best.seconds <= 0 || k->seconds < 0.99 * best.seconds)
            best = *k;
    }
    *k = best;
    return strcmp(k->algorithm, "pixels") == 0;
}

/* ---- spreading the source ---- */

/* Source columns at .. at + width - 1 of a row, zero outside. */
static Val columns(FewForward *f, Val row, int64_t at) {
    Emit *e = f->e;
    int64_t width = em_width(e), w = f->src.w;
    if (at >= w || at + width <= 0)
        return em_vec(e, 0);
    if (at >= 0)
        return em_load_masked(e, row, at, em_i64(e, w - at));
    return em_shift(e, em_vec(e, 0), em_load_masked(e, row, 0, em_i64(e, w)), (int)(width + at));
}

/* The same, `step` columns from lane to lane. */
static Val strided(FewForward *f, Val row, int64_t at, int64_t step) {
    Emit *e = f->e;
    int width = em_width(e), lane[64];
    Val found = columns(f, row, at);
    for (int64_t j = 1; j < step; ++j) {
        for (int l = 0; l < width; ++l) {
            int64_t from = l * step; /* in the columns of all vectors */
            int before = j == 1 ? (int)(from < width ? from : 0) : l;
            lane[l] = from / width == j ? (int)(width + from % width) : before;
        }
        found = em_pick(e, found, columns(f, row, at + j * width), lane);
    }
    return found;
}

static void spread_row(FewForward *f, Val row, Val to) {
    Emit *e = f->e;
    const FewShape *s = &f->s;
    int64_t width = em_width(e);
    for (int64_t c = 0; c < s->shifts; ++c)
        for (int64_t v = 0; v < s->cols; ++v) {
            int64_t at = v * width * s->step + c * s->unit - f->p->pad[1];
            em_store(e, to, (c * s->cols + v) * width, strided(f, row, at, s->step), true);
        }
}

/* Rows [first, first + count) of the source go to scratch; rows outside are zeros. */
static void spread(FewForward *f, Val first, Val count) {
    Emit *e = f->e;
    const FewShape *s = &f->s;
    const ConvProblem *p = f->p;
    bool whole = p->pad[0] == 0 && source_rows(s, p, s->out[0]) <= p->src[0];
    Loop r = em_for(e, em_i64(e, 0), count, 1, "spread", NULL, 0);
    Val y = em_add(e, first, r.i),
        to = em_ptr(e, f->k->a.scratch, em_mul(e, r.i, em_i64(e, s->row)));
    If inside = {0};
    if (!whole) {
        Val real = em_imax(e, em_i64(e, 0), em_imin(e, y, em_i64(e, p->src[0] - 1)));
        inside = em_if(e, em_icmp(e, EM_EQ, real, y));
    }
    Loop c;
    Val i = loop_begin(e, &c, 0, p->i, 1, "spread.c");
    spread_row(f, view_at(f->k, &f->src, f->n, i, y, em_i64(e, 0)),
               em_ptr(e, to, em_mul(e, i, em_i64(e, s->channel))));
    loop_end(e, &c);
    if (!whole) {
        em_else(e, &inside);
        em_zero(e, to, em_i64(e, s->row));
        em_endif(e, &inside);
    }
    em_for_end(e, &r, NULL, 0);
}

/* ---- the register tile ---- */
typedef struct FewCells {
    int64_t o, channels; /* output channels [o, o + channels) */
    int cells;
    int64_t offset[TILE_MAX_ACC]; /* of each cell in scratch, floats */
    Val acc[TILE_MAX_ACC];        /* [cell * channels + channel] */
} FewCells;

/* One tap of one source channel: whichever are fewer, vectors or numbers, wait in registers. */
static void multiply(FewForward *f, FewCells *c, Val src, int64_t at, Val w, int64_t from) {
    Emit *e = f->e;
    Val vector[TILE_MAX_ACC], number[TILE_MAX_ACC];
    bool numbers = c->channels < c->cells;
    for (int64_t o = 0; o < c->channels && numbers; ++o)
        number[o] = em_bcast(e, w, from + o);
    for (int i = 0; i < c->cells && !numbers; ++i)
        vector[i] = em_load(e, src, at + c->offset[i], true);
    for (int i = 0; i < c->cells && numbers; ++i) {
        vector[i] = em_load(e, src, at + c->offset[i], true);
        for (int64_t o = 0; o < c->channels; ++o)
            c->acc[i * c->channels + o] =
                em_fma(e, vector[i], number[o], c->acc[i * c->channels + o]);
    }
    for (int64_t o = 0; o < c->channels && !numbers; ++o) {
        number[o] = em_bcast(e, w, from + o);
        for (int i = 0; i < c->cells; ++i)
            c->acc[i * c->channels + o] =
                em_fma(e, vector[i], number[o], c->acc[i * c->channels + o]);
    }
}

/* Bias and all taps. */
static void sum_cells(FewForward *f, FewCells *c, Val src) {
    Emit *e = f->e;
    const ConvProblem *p = f->p;
    const FewShape *s = &f->s;
    int n = c->cells * (int)c->channels;
    int64_t tile = c->o / f->w.row, from = c->o % f->w.row;
    for (int64_t o = 0; o < c->channels; ++o) {
        Val v = f->bias ? em_bcast(e, f->bias, c->o + o) : em_vec(e, 0);
        for (int i = 0; i < c->cells; ++i)
            c->acc[i * c->channels + o] = v;
    }
    Val w = em_opaque(e, em_ptr(e, f->w.base, em_i64(e, tile * f->w.tile)));
    Loop ky = em_for(e, em_i64(e, 0), em_i64(e, p->kernel[0]), 1, "tap", c->acc, n);
    Val row = em_ptr(e, src, em_mul(e, ky.i, em_i64(e, p->dilation[0] * s->row)));
    Val w_row = em_ptr(e, w, em_mul(e, ky.i, em_i64(e, f->w.kw * f->w.tap)));
    row = em_opaque(e, row);
    w_row = em_opaque(e, w_row);
    Loop kx = em_for(e, em_i64(e, 0), em_i64(e, p->kernel[1]), 1, "tap.x", c->acc, n);
    int64_t shift = p->dilation[1] / s->unit * s->cols * em_width(e);
    Val at = em_ptr(e, row, em_mul(e, kx.i, em_i64(e, shift)));
    Val w_at = em_ptr(e, w_row, em_mul(e, kx.i, em_i64(e, f->w.tap)));
    if (f->k->t->broadcast_load || p->i == 1) {
        for (int64_t i = 0; i < p->i; ++i)
            multiply(f, c, at, i * s->channel, w_at, i * f->w.row + from);
    } else { /* one body: LLVM would load ahead for the next channel, and spill */
        at = em_opaque(e, at);
        w_at = em_opaque(e, w_at);
        Loop i = em_for(e, em_i64(e, 0), em_i64(e, p->i), 1, "i", c->acc, n);
        multiply(f, c, em_ptr(e, at, em_mul(e, i.i, em_i64(e, s->channel))), 0,
                 em_ptr(e, w_at, em_mul(e, i.i, em_i64(e, f->w.row))), from);
        em_for_end(e, &i, c->acc, n);
    }
    em_for_end(e, &kx, c->acc, n);
    em_for_end(e, &ky, c->acc, n);
}

static Val chain(FewForward *f, Val x) {
    const Kernel *k = f->k->k;
    for (int i = 0; i < k->nchain && f->inside; ++i) {
        const Node *node = graph_n(f->k->g, k->chain[i]);
        ScalarCtx s = {.k = f->k, .e = f->e, .g = f->k->g, .node = node, .attrs = node->attrs};
        s.in[0] = x;
        x = op_def[node->op]->scalar(&s);
    }
    return x;
}

/* Channels [o, o + channels) of one tile: rows x vectors of results, [(row * vectors + v) * width +
 * channel of the block]. */
static void tile_channels(FewForward *f, Val src, int rows, int vectors, int64_t o,
                          int64_t channels, Val *result) {
    Emit *e = f->e;
    const FewShape *s = &f->s;
    const ConvProblem *p = f->p;
    int64_t width = em_width(e), lane = o % width, per = f->tile->ic;
    bool max = f->k->k->tail && graph_n(f->k->g, f->k->k->tail)->op == OP_MAXPOOL;
    for (int64_t top = 0; top < s->window[0]; top += per) {
        int64_t high = min64(per, s->window[0] - top), cells = high * s->window[1];
        FewCells c = {.o = o, .channels = channels};
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t v = 0; v < vectors; ++v)
                for (int64_t i = 0; i < cells; ++i) {
                    int64_t y = r * s->apart[0] + top + i / s->window[1], x = i % s->window[1];
                    c.offset[c.cells++] = y * p->stride[0] * s->row +
                                          (x * p->stride[1] / s->unit * s->cols + v) * width;
                }
        sum_cells(f, &c, src);
        for (int64_t rv = 0; rv < (int64_t)rows * vectors; ++rv)
            for (int64_t j = 0; j < channels; ++j) {
                Val *to = &result[rv * width + lane + j], cell[TILE_MAX_ACC], state[2];
                for (int64_t i = 0; i < cells; ++i)
                    cell[i] = chain(f, c.acc[(rv * cells + i) * channels + j]);
                if (!f->k->k->tail) {
                    *to = cell[0];
                } else if (!max) {
                    state[0] = top ? *to : em_vec(e, 0);
                    for (int64_t i = 0; i < cells; ++i)
                        state[0] = em_fadd(e, state[0], cell[i]);
                    *to = state[0];
                } else {
                    pool_max_of(e, cell, (int)cells, false, state);
                    Val both[2] = {*to, state[0]};
                    if (top)
                        pool_max_of(e, both, 2, false, state);
                    *to = state[0];
                }
            }
    }
    double factor = 1.0 / (double)(s->window[0] * s->window[1]);
    for (int64_t rv = 0; rv < (int64_t)rows * vectors && f->k->k->tail && !max; ++rv)
        for (int64_t j = 0; j < channels; ++j)
            result[rv * width + lane + j] =
                em_fmul(e, result[rv * width + lane + j], em_vec(e, factor));
}

/* Lanes become channels of one block. */
static void store_block(FewForward *f, Val *result, int rows, int64_t pixels, int64_t block) {
    Emit *e = f->e;
    int64_t width = em_width(e), vectors = ceil_div(pixels, width);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t v = 0; v < vectors; ++v) {
            Val pixel[64];
            for (int64_t c = 0; c < width; ++c)
                pixel[c] = block * width + c < f->p->o ? result[(r * vectors + v) * width + c]
                                                       : em_vec(e, 0);
            em_transpose(e, pixel);
            for (int64_t i = 0; i < width && v * width + i < pixels; ++i)
                epi_emit(&f->store, &f->ep, pixel[i], 0, block, r, v * width + i);
        }
}

/* rows x pixels results at (q, x), all channels. */
static void few_tile(FewForward *f, int rows, int64_t pixels, Val q, Val x) {
    Emit *e = f->e;
    const FewShape *s = &f->s;
    int64_t width = em_width(e), o_blocks = ceil_div(f->p->o, width);
    int vectors = (int)ceil_div(pixels, width);
    Val *result = ARENA_ARRAY(f->k->g->keep, rows * vectors * width, Val);
    Val row = em_mul(e, em_sub(e, q, f->from), em_i64(e, s->apart[0] * f->p->stride[0] * s->row));
    Val src = em_ptr(e, f->k->a.scratch, em_add(e, row, x));
    epi_tile(&f->store, &f->ep, f->n, em_i64(e, 0), q, x);
    for (int64_t block = 0; block < o_blocks; ++block) {
        int64_t end = min64(f->p->o, (block + 1) * width);
        for (int64_t o = block * width; o < end; o += f->tile->oc)
            tile_channels(f, src, rows, vectors, o, min64(f->tile->oc, end - o), result);
        store_block(f, result, rows, pixels, block);
    }
}

static void few_rows(FewForward *f, int rows, Val q) {
    Emit *e = f->e;
    int64_t count = f->s.out[1], most = (int64_t)f->tile->ow * em_width(e), rest = count % most;
    for (int r = 0; r < rows; ++r)
        epi_row(&f->store, &f->ep, f->n, em_i64(e, 0), ceil_div(f->p->o, em_width(e)),
                em_add(e, q, em_i64(e, r)));
    if (count > rest) {
        Loop tile;
        Val x = loop_begin(e, &tile, 0, count - rest, most, "x");
        few_tile(f, rows, most, q, x);
        loop_end(e, &tile);
    }
    if (rest)
        few_tile(f, rows, rest, q, em_i64(e, count - rest));
}

/* Rows [f->from, to) of results. */
static void few_band(FewForward *f, Val to) {
    Emit *e = f->e;
    const FewShape *s = &f->s;
    const ConvProblem *p = f->p;
    int oh = f->tile->oh;
    Val down = em_i64(e, s->apart[0] * p->stride[0]), rows = em_sub(e, to, f->from);
    Val first = em_sub(e, em_mul(e, f->from, down), em_i64(e, p->pad[0]));
    Val more = em_i64(e, source_rows(s, p, 1));
    spread(f, first, em_add(e, em_mul(e, em_sub(e, rows, em_i64(e, 1)), down), more));
    Val from = f->from;
    if (oh > 1) {
        Val middle = em_add(e, from, em_mul(e, em_div(e, rows, em_i64(e, oh)), em_i64(e, oh)));
        Loop q = em_for(e, from, middle, oh, "y", NULL, 0);
        few_rows(f, oh, q.i);
        em_for_end(e, &q, NULL, 0);
        from = middle;
    }
    if (oh == 1 || s->out[0] % oh) { /* bands are whole tiles */
        Loop q = em_for(e, from, to, 1, "y", NULL, 0);
        few_rows(f, 1, q.i);
        em_for_end(e, &q, NULL, 0);
    }
}

/* What stores: as if the last of the fused operations were the anchor. */
static KernelCtx storing(FewForward *f) {
    const KernelCtx *k = f->k;
    const Graph *g = k->g;
    KernelCtx store = *k;
    NodeId last = k->k->tail ? k->k->tail : k->k->nchain ? k->k->chain[k->k->nchain - 1] : 0;
    f->inside = k->k->nchain && chain_inside(g, k->k);
    if (!last || (!k->k->tail && !f->inside))
        return store;
    Kernel *alone = ARENA_NEW(g->keep, Kernel);
    *alone = *k->k;
    alone->anchor = last;
    alone->nchain = k->k->nbehind; /* functions of what the pool gives */
    memcpy(alone->chain, k->k->behind, (size_t)k->k->nbehind * sizeof alone->chain[0]);
    alone->nbehind = 0;
    alone->tail = 0;
    store.k = alone;
    store.node = graph_n(g, last);
    store.attrs = store.node->attrs;
    return store;
}

void lower_few_forward(KernelCtx *k, const ConvProblem *p) {
    Emit *e = k->e;
    FewForward f = {.k = k, .e = e, .p = p, .tile = &k->k->tile};
    f.s = shape_of(k->g, k->k, p, em_width(e));
    f.src = view_of(k, k->node->in[0]);
    f.w = weights_of(k, k->node->in[1]);
    f.bias = p->bias ? bias_at(k, k->node->in[2]) : NULL;
    f.store = storing(&f);
    epi_open(&f.store, &f.ep);
    int64_t rows = f.s.out[0], band = f.tile->rows;
    Loop task = task_loop(k);
    Val at;
    split_index(e, task.i, ceil_div(rows, band), &f.n, &at);
    f.from = em_mul(e, at, em_i64(e, band));
    few_band(&f, em_imin(e, em_add(e, f.from, em_i64(e, band)), em_i64(e, rows)));
    task_end(k, &task);
}
