/* objective_lower.c: Gram matrices and their gradient in register tiles; total variation and powers.
 *
 * gram: a task is a block of V maps of an image, beside all blocks up to its own: the other triangle
 * is the transpose.  Cells pass in pieces whose rows stay in the caches; a tile of V x V sums walks
 * over a piece, pieces are added in scratch, so chains of additions are short.
 * gram_bwd: a 1x1 convolution whose weights are an image's matrix: its blocks lie as weights do.
 * ensures: every sum has one order, whatever the number of threads.
 * theory: Goto and van de Geijn 2008 (tiles for the registers, pieces for the caches).
 */
#include "ir/cost.h"
#include "ops/conv.h"
#include "ops/loss.h"

enum { PIECE_CELLS = 512 };

static double gram_scale(KernelCtx *k, const View *src) {
    const GramAttrs *a = k->attrs;
    return a->scaled ? 1 / (double)(src->c * src->h * src->w) : 1;
}

/* ---- gram ---- */

/* Tiles of `pixels` x 1 vector: multiply-adds of vectors and what they load, for one image. */
static double tile_seconds(const Graph *g, const Kernel *k, const Target *t, int pixels,
                           double vectors) {
    double n = (double)plan_batch(g), lanes = (double)t->vector;
    Cost c = {.flops = 2 * lanes * vectors * n,
              .efficiency = 0.5 * pixels / tile_cycles(pixels, 1),
              .l2_bytes = 4 * lanes * vectors * n * (1 + 1 / lanes) / pixels,
              .tasks = (double)k->tasks_per * n};
    return cost_seconds(t, &c);
}

void choose_gram(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->in[0])->shape, &c, &h, &w);
    k->algorithm = "gemm";
    k->why = "a block of maps beside all up to it; the other triangle is its transpose";
    k->tasks_per = ceil_div(c, t->vector);
    k->tasks_block = 1;
    k->scratch = k->tasks_per * t->vector * t->vector * 4;
    double pairs = (double)(k->tasks_per * (k->tasks_per + 1) / 2);
    k->seconds = tile_seconds(g, k, t, t->vector, pairs * (double)(t->vector * h * w));
}

typedef struct Gram {
    KernelCtx *k;
    Emit *e;
    View src;
    Epi ep;
    Nest nest;
    bool merged;  /* rows follow each other: the nest's range is of cells, else of rows */
    int64_t rows; /* of a piece */
    int width;
    Val n, block; /* image, block of maps of the task */
} Gram;

static Val sums_at(Gram *m, Val block) {
    int64_t size = (int64_t)m->width * m->width;
    return em_ptr(m->e, m->k->a.scratch, em_mul(m->e, block, em_i64(m->e, size)));
}

static void gram_nest(Gram *m) {
    const View *s = &m->src;
    m->merged = s->h == 1 || s->row == s->w * s->pixel;
    m->rows = max64(1, min64(s->h, PIECE_CELLS / s->w));
    m->nest = (Nest){.channels = s->w,
                     .src = s->pixel,
                     .wgt = s->pixel,
                     .unroll = tile_unroll(m->k->t, s->w, s->w)};
    if (!m->merged)
        nest_loop(&m->nest, em_i64(m->e, s->h), s->row, s->row);
}

/* Adds the products of the block `other` and the task's, over rows [from, to), to their sums. */
static void gram_piece(Gram *m, Val other, Val from, Val to) {
    Emit *e = m->e;
    int64_t offset[TILE_MAX_ACC], per = m->merged ? m->src.w : 1;
    RegTile t = {.pixels = m->width, .oc = 1, .offset = offset};
    Val zero = em_i64(e, 0), sums = sums_at(m, other);
    for (int p = 0; p < m->width; p++)
        offset[p] = p;
    m->nest.from = em_mul(e, from, em_i64(e, per));
    m->nest.to = em_mul(e, to, em_i64(e, per));
    tile_start(e, &t, NULL);
    tile_sum(e, &t, &m->nest, view_at(m->k, &m->src, m->n, other, zero, zero),
             view_at(m->k, &m->src, m->n, m->block, zero, zero));
    for (int p = 0; p < m->width; p++) {
        Val sum = em_fadd(e, em_load(e, sums, p * m->width, true), t.acc[p]);
        em_store(e, sums, p * m->width, sum, true);
    }
}

/* V sums lie side by side for each of the columns of `other`: out[rows of `at`][columns]. */
static void gram_store(Gram *m, Val sums, Val at, Val first) {
    Emit *e = m->e;
    Val count = em_imin(e, em_i64(e, m->width), em_sub(e, em_i64(e, m->src.c), first));
    Val scale = em_vec(e, gram_scale(m->k, &m->src));
    Loop u = em_for(e, em_i64(e, 0), count, 1, "column", NULL, 0);
    Val sum = em_load(e, em_ptr(e, sums, em_mul(e, u.i, em_i64(e, m->width))), 0, true);
    epi_tile(m->k, &m->ep, m->n, at, em_i64(e, 0), em_add(e, first, u.i));
    epi_emit(m->k, &m->ep, em_fmul(e, sum, scale), 0, 0, 0, 0);
    em_for_end(e, &u, NULL, 0);
}

/* Both places of the products of block `other` and the task's. */
static void gram_block(Gram *m, Val other) {
    Emit *e = m->e;
    Val sums = sums_at(m, other), width = em_i64(e, m->width), row[TILE_MAX_ACC];
    gram_store(m, sums, m->block, em_mul(e, other, width));
    If below = em_if(e, em_icmp(e, EM_LT, other, m->block));
    for (int p = 0; p < m->width; p++)
        row[p] = em_load(e, sums, p * m->width, true);
    em_transpose(e, row);
    for (int p = 0; p < m->width; p++)
        em_store(e, sums, p * m->width, row[p], true);
    gram_store(m, sums, other, em_mul(e, m->block, width));
    em_endif(e, &below);
}

void lower_gram(KernelCtx *k) {
    Emit *e = k->e;
    Gram m = {.k = k, .e = e, .src = view_of(k, k->node->in[0]), .width = em_width(e)};
    Val zero = em_i64(e, 0), one = em_i64(e, 1), back;
    epi_open(k, &m.ep);
    gram_nest(&m);
    Loop task = task_loop(k);
    split_index(e, task.i, m.src.cblocks, &m.n, &back);
    m.block = em_sub(e, em_i64(e, m.src.cblocks - 1), back); /* long tasks first */
    epi_row(k, &m.ep, m.n, m.block, 1, zero);
    Val count = em_add(e, m.block, one), height = em_i64(e, m.src.h);
    em_zero(e, k->a.scratch, em_mul(e, count, em_i64(e, (int64_t)m.width * m.width)));
    Loop y = em_for(e, zero, height, m.rows, "piece", NULL, 0);
    Val to = em_imin(e, em_add(e, y.i, em_i64(e, m.rows)), height);
    Loop b = em_for(e, zero, count, 1, "other", NULL, 0);
    gram_piece(&m, b.i, y.i, to);
    em_for_end(e, &b, NULL, 0);
    em_for_end(e, &y, NULL, 0);
    Loop o = em_for(e, zero, count, 1, "other", NULL, 0);
    gram_block(&m, o.i);
    em_for_end(e, &o, NULL, 0);
    task_end(k, &task);
}

/* ---- gram_bwd ---- */

void choose_gram_bwd(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->out[0])->shape, &c, &h, &w);
    rows_split(ceil_div(c, t->vector), h, w, k);
    int64_t most = min64(tile_max_pixels(t, 1), TILE_MAX_ACC);
    k->algorithm = "gemm";
    k->why = "1x1 convolution whose weights are the image's matrix";
    k->tile.ow = (int)ceil_div(w, ceil_div(w, most));
    k->seconds = tile_seconds(g, k, t, k->tile.ow, (double)(ceil_div(c, t->vector) * c * h * w));
}

typedef struct GramBack {
    View matrix, src;
    Epi ep;
    Nest nest;
    double scale;
} GramBack;

static void back_tile(KernelCtx *k, GramBack *b, int pixels, Val n, Val cb, Val y, Val x) {
    Emit *e = k->e;
    int64_t offset[TILE_MAX_ACC];
    RegTile t = {.pixels = pixels, .oc = 1, .offset = offset};
    Val zero = em_i64(e, 0);
    for (int p = 0; p < pixels; p++)
        offset[p] = p * b->src.pixel;
    tile_start(e, &t, NULL);
    tile_sum(e, &t, &b->nest, view_at(k, &b->src, n, zero, y, x),
             view_at(k, &b->matrix, n, cb, zero, zero));
    epi_tile(k, &b->ep, n, cb, y, x);
    for (int p = 0; p < pixels; p++)
        epi_emit(k, &b->ep, em_fmul(e, t.acc[p], em_vec(e, b->scale)), 0, 0, 0, p);
}

static void back_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    GramBack *b = user;
    Emit *e = k->e;
    int64_t step = k->k->tile.ow, whole = b->src.w / step * step;
    epi_row(k, &b->ep, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, whole), step, "x", NULL, 0);
    back_tile(k, b, (int)step, n, cb, y, x.i);
    em_for_end(e, &x, NULL, 0);
    if (whole < b->src.w)
        back_tile(k, b, (int)(b->src.w - whole), n, cb, y, em_i64(e, whole));
}

void lower_gram_bwd(KernelCtx *k) {
    Emit *e = k->e;
    GramBack b = {.matrix = view_of(k, k->node->in[0]), .src = view_of(k, k->node->in[1])};
    int64_t c = b.src.c, width = em_width(e), blocks = b.src.cblocks;
    b.scale = gram_scale(k, &b.src);
    b.nest = (Nest){.channels = min64(c, width),
                    .last_channels = c - (blocks - 1) * width,
                    .partial = blocks > 1 && c % width != 0,
                    .src = 1,
                    .wgt = b.matrix.pixel,
                    .unroll = tile_unroll(k->t, c, min64(c, width)),
                    .blocks = em_i64(e, blocks),
                    .from = em_i64(e, 0),
                    .to = em_i64(e, blocks > 1 ? blocks : c)};
    if (blocks > 1)
        nest_loop(&b.nest, b.nest.blocks, b.src.cblock, width * b.matrix.pixel);
    epi_open(k, &b.ep);
    rows_for_each(k, blocks, b.src.h, back_row, &b);
}

/* ---- total variation ---- */

/* x^p with 0 where x is 0: p may be negative, and no whole number */
static Val power_or_0(Emit *e, Val x, double p) {
    if (p == 0)
        return em_vec(e, 1);
    if (p == 1)
        return x;
    Val zero = em_vec(e, 0), none = em_fcmp(e, EM_EQ, x, zero);
    return em_select(e, none, zero, vec_power(e, em_select(e, none, em_vec(e, 1), x), p));
}

typedef struct Cells {
    KernelCtx *k;
    View src;
    Val n, cb;
} Cells;

static Val cell_at(const Cells *c, Val y, Val x) {
    return em_load(c->k->e, view_at(c->k, &c->src, c->n, c->cb, y, x), 0, c->src.aligned);
}

/* The next row or column, or the last one itself: steps over the border are 0. */
static Val next(Emit *e, Val at, int64_t extent) {
    return em_imin(e, em_add(e, at, em_i64(e, 1)), em_i64(e, extent - 1));
}

static Val before(Emit *e, Val at) {
    return em_imax(e, em_sub(e, at, em_i64(e, 1)), em_i64(e, 0));
}

/* Steps to the right and down at (y, x); returns the sum of their squares. */
static Val steps_at(const Cells *c, Val y, Val x, Val *right, Val *down) {
    Emit *e = c->k->e;
    Val here = cell_at(c, y, x);
    *right = em_fsub(e, cell_at(c, y, next(e, x, c->src.w)), here);
    *down = em_fsub(e, cell_at(c, next(e, y, c->src.h), x), here);
    return em_fma(e, *right, *right, em_fmul(e, *down, *down));
}

/* A number of each cell's block of channels. */
typedef Val (*CellValue)(const Cells *c, Val y, Val x);

/* Sum of it over an image, in lanes: rows, then rows and blocks in their order. */
static Val sum_cells(Cells *c, CellValue value) {
    Emit *e = c->k->e;
    Val zero = em_i64(e, 0), total[1] = {em_vec(e, 0)}, row[1] = {total[0]};
    Loop cb = em_for(e, zero, em_i64(e, c->src.cblocks), 1, "cb", total, 1);
    c->cb = cb.i;
    Loop y = em_for(e, zero, em_i64(e, c->src.h), 1, "y", total, 1);
    Loop x = em_for(e, zero, em_i64(e, c->src.w), 1, "x", row, 1);
    row[0] = em_fadd(e, row[0], value(c, y.i, x.i));
    em_for_end(e, &x, row, 1);
    total[0] = em_fadd(e, total[0], row[0]);
    em_for_end(e, &y, total, 1);
    em_for_end(e, &cb, total, 1);
    return em_reduce_add(e, total[0]);
}

static Val tv_value(const Cells *c, Val y, Val x) {
    Val right, down, square = steps_at(c, y, x, &right, &down);
    return power_or_0(c->k->e, square, ((const PowerAttrs *)c->k->attrs)->beta / 2);
}

/* One number per image, [1] */
static void lower_sum(KernelCtx *k, CellValue value) {
    Emit *e = k->e;
    Cells c = {.k = k, .src = view_of(k, k->node->in[0])};
    View dst = view_of(k, k->node->out[0]);
    Loop task = task_loop(k);
    Val zero = em_i64(e, 0);
    c.n = task.i;
    Val sum = em_insert(e, em_vec(e, 0), sum_cells(&c, value), 0);
    em_store(e, view_at(k, &dst, c.n, zero, zero, zero), 0, sum, dst.aligned);
    task_end(k, &task);
}

void lower_tv(KernelCtx *k) { lower_sum(k, tv_value); }

typedef struct TvBack {
    Cells cells;
    View diff;
    Epi ep;
    double beta;
} TvBack;

static Val tv_slope(const TvBack *b, Val square) {
    Emit *e = b->cells.k->e;
    return em_fmul(e, power_or_0(e, square, b->beta / 2 - 1), em_vec(e, b->beta));
}

static void tv_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    TvBack *b = user;
    Emit *e = k->e;
    Val zero = em_i64(e, 0), right, down, square;
    b->cells.n = n, b->cells.cb = cb;
    Val diff = em_bcast(e, view_at(k, &b->diff, n, zero, zero, zero), 0);
    epi_row(k, &b->ep, n, cb, 1, y);
    Loop x = em_for(e, zero, em_i64(e, b->cells.src.w), 1, "x", NULL, 0);
    square = steps_at(&b->cells, y, x.i, &right, &down);
    Val sum = em_fneg(e, em_fmul(e, tv_slope(b, square), em_fadd(e, right, down)));
    /* at the border the cell before is the cell itself, whose step to itself is none */
    Val left = before(e, x.i), above = before(e, y), at = cell_at(&b->cells, y, x.i);
    square = steps_at(&b->cells, y, left, &right, &down);
    right = em_fsub(e, at, cell_at(&b->cells, y, left));
    sum = em_fma(e, tv_slope(b, square), right, sum);
    square = steps_at(&b->cells, above, x.i, &right, &down);
    down = em_fsub(e, at, cell_at(&b->cells, above, x.i));
    sum = em_fma(e, tv_slope(b, square), down, sum);
    epi_tile(k, &b->ep, n, cb, y, x.i);
    epi_emit(k, &b->ep, em_fmul(e, sum, diff), 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

void lower_tv_bwd(KernelCtx *k) {
    TvBack b = {.cells = {.k = k, .src = view_of(k, k->node->in[1])},
                .diff = view_of(k, k->node->in[0]),
                .beta = ((const PowerAttrs *)k->attrs)->beta};
    epi_open(k, &b.ep);
    rows_for_each(k, b.cells.src.cblocks, b.cells.src.h, tv_row, &b);
}

/* ---- powers, penalties ---- */

static Val alpha_value(const Cells *c, Val y, Val x) {
    Emit *e = c->k->e;
    return power_or_0(e, em_fabs(e, cell_at(c, y, x)), ((const PowerAttrs *)c->k->attrs)->alpha);
}

void lower_alpha_norm(KernelCtx *k) { lower_sum(k, alpha_value); }

Val scalar_alpha_norm_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    double alpha = ((const PowerAttrs *)s->attrs)->alpha;
    Val zero = em_vec(e, 0), x = s->in[0];
    Val slope = em_fmul(e, power_or_0(e, em_fabs(e, x), alpha - 1), em_vec(e, alpha));
    slope = em_select(e, em_fcmp(e, EM_LT, x, zero), em_fneg(e, slope), slope);
    slope = em_select(e, em_fcmp(e, EM_EQ, x, zero), zero, slope);
    return em_fmul(e, slope, s->in[1]);
}

void lower_penalty(KernelCtx *k) {
    Loss l;
    Loop task = loss_begin(k, &l);
    Cells c = {.k = k, .src = l.score, .n = task.i};
    put_loss(k, &l, sum_cells(&c, cell_at));
    task_end(k, &task);
}
