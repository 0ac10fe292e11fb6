/* dense_bww_lower.c: gradient of the weights where images are summed over (dense layers,
 * convolutions with one output pixel), and the update of these weights in the same pass.
 *
 * A register tile holds rows of weights x output vectors and walks over all images; diff_dst of the
 * tile of outputs is packed once per task.  With Kernel.update the finished sums meet weights and
 * momentum while they are in registers: both are read and written once and the gradient is never
 * stored.  More than 256 images: sums rest in scratch between panels of images.
 * ensures: each element is one chain over the images in order, whatever tile, task or panel; padding
 * stays zero; tasks are ordered so that neighbours share their rows of src in L2.
 * theory: Rumelhart, Hinton, Williams 1986, equation (12); Goto and van de Geijn (2008).
 */
#include "ops/bww_update.h"

enum {
    PACKED_IMAGES = 256, /* images per panel */
    TASK_ROWS = 512,     /* rows of weights per task, about */
    TASKS_WANTED = 32,
    TILE_ACC = 24,
    FETCH_IMAGES = 16, /* so many images fetch what a tile updates */
    FETCH_TILES = 2,   /* so many tiles ahead */
};

typedef struct DenseBww {
    KernelCtx *k;
    Emit *e;
    const ConvProblem *p;
    View src, dd;
    BwwUpdate u;              /* u.w: geometry of the gradient, or of the updated weights */
    bool merged;              /* rows of weights and numbers of src lie in the same order */
    int64_t units, per, step; /* blocks x taps; of them per task; floats of src from row to row */
    int rows, full;
    /* of the task */
    int oc;
    Val u0, u1;
    Val src_at, dd_at, w_at, m_at; /* unit 0 of the tile of outputs; w_at, m_at: the task's first */
    Val packed, rest;
    Val n0, n1;
} DenseBww;

static int tile_rows(const Target *t, int oc) {
    return (int)min64(tile_max_pixels(t, oc), max64(1, TILE_ACC / oc));
}

/* Units per task: enough tasks to share, whole tiles of rows. */
static int64_t units_per_task(int64_t units, int64_t i_block, int64_t tiles, int rows) {
    int64_t want = min64(ceil_div(TASK_ROWS, i_block), ceil_div(units * tiles, TASKS_WANTED));
    int64_t whole = 1;
    while (whole * i_block % rows != 0)
        ++whole;
    return min64(units, ceil_div(want, whole) * whole);
}

void choose_dense_bwd_weights(const Graph *g, Kernel *k, const Target *t) {
    ConvProblem problem = conv_problem(g, graph_n(g, k->anchor)), *p = &problem;
    Layout forward, *l = &forward;
    conv_forward_layout(g, graph_n(g, k->anchor), t, l);
    int64_t tiles = p->groups * ceil_div(p->o, l->o_tile);
    int64_t units = ceil_div(p->i, l->i_block) * p->kernel[0] * p->kernel[1];
    k->tile.oc = l->o_tile / t->vector;
    k->tile.ic = k->tile.ow = tile_rows(t, k->tile.oc);
    k->tile.oh = 1;
    k->tile.rows = (int)units_per_task(units, l->i_block, tiles, k->tile.ic);
    k->tasks_per = tiles * ceil_div(units, k->tile.rows);
    k->tasks_block = 0;
    k->scratch = 4 * (int64_t)l->o_tile * (PACKED_IMAGES + (int64_t)k->tile.rows * l->i_block);
    k->algorithm = "gemm";
    k->why = k->update ? "sums over the images; weights and momentum pass once, no gradient stored"
                       : "sums over the images; the gradient is written once";
}

/* ---- the register tile ---- */

/* What becomes of sum number (row r, vector j) of the rows at offset `at`. */
typedef struct Finish {
    UpdateRates rates;
    Val w, m;
} Finish;

static Finish finish_open(const DenseBww *b, Val at) {
    Finish f = {.w = em_ptr(b->e, b->w_at, at)};
    if (b->u.weights) {
        f.rates = update_rates(b->k, b->u.weights);
        f.m = em_ptr(b->e, b->m_at, at);
    }
    return f;
}

static void finish(const DenseBww *b, const Finish *f, int64_t off, Val sum) {
    if (b->u.weights)
        update_apply(b->e, &f->rates, f->w, f->m, off, sum);
    else
        em_store(b->e, f->w, off, sum, true);
}

/* Padding vectors of a gradient's row are zero; weights and momentum have had it from the start. */
static void finish_padding(const DenseBww *b, const Finish *f, int64_t row) {
    for (int j = b->oc; j < b->full && !b->u.weights; ++j)
        em_store(b->e, f->w, row + (int64_t)j * em_width(b->e), em_vec(b->e, 0), true);
}

/* Memory fetches what the next tiles will update while this one sums: a few lines per image. */
static void fetch_ahead(const DenseBww *b, int rows, Val at, Val image) {
    enum { LINE = 16 };
    Emit *e = b->e;
    int64_t lines = rows * b->u.w.row / LINE, per = ceil_div(lines, FETCH_IMAGES);
    Val next = em_add(e, at, em_mul(e, image, em_i64(e, per * LINE)));
    Val w = em_ptr(e, b->w_at, next), m = em_ptr(e, b->m_at, next);
    for (int64_t i = 0; i < per; ++i) {
        em_prefetch(e, w, (FETCH_TILES * lines + i) * LINE);
        em_prefetch(e, m, (FETCH_TILES * lines + i) * LINE);
    }
}

/* Sums of `rows` rows over images n0..n1. */
static void sum_images(const DenseBww *b, int rows, Val src, Val at, Val *acc) {
    Emit *e = b->e;
    int width = em_width(e), n = rows * b->oc;
    Loop l = em_for(e, em_i64(e, 0), em_sub(e, b->n1, b->n0), 1, "image", acc, n);
    if (b->u.weights)
        fetch_ahead(b, rows, at, l.i);
    Val dd = em_ptr(e, b->packed, em_mul(e, l.i, em_i64(e, (int64_t)b->oc * width)));
    Val x = em_ptr(e, src, em_mul(e, l.i, em_i64(e, b->src.image)));
    Val d[TILE_MAX_VECTORS];
    for (int j = 0; j < b->oc; ++j)
        d[j] = em_load(e, dd, j * width, true);
    for (int r = 0; r < rows; ++r) {
        Val s = em_bcast(e, x, r * b->step);
        for (int j = 0; j < b->oc; ++j)
            acc[r * b->oc + j] = em_fma(e, s, d[j], acc[r * b->oc + j]);
    }
    em_for_end(e, &l, acc, n);
}

typedef void (*TileFn)(DenseBww *b, int rows, Val src, Val at);

/* all images at once */
static void tile_whole(DenseBww *b, int rows, Val src, Val at) {
    Val acc[TILE_MAX_ACC];
    for (int i = 0; i < rows * b->oc; ++i)
        acc[i] = em_vec(b->e, 0);
    sum_images(b, rows, src, at, acc);
    Finish f = finish_open(b, at);
    for (int r = 0; r < rows; ++r) {
        for (int j = 0; j < b->oc; ++j)
            finish(b, &f, r * b->u.w.row + j * em_width(b->e), acc[r * b->oc + j]);
        finish_padding(b, &f, r * b->u.w.row);
    }
}

/* one panel of several */
static void tile_panel(DenseBww *b, int rows, Val src, Val at) {
    Emit *e = b->e;
    Val acc[TILE_MAX_ACC], rest = em_ptr(e, b->rest, at);
    for (int i = 0; i < rows * b->oc; ++i)
        acc[i] = em_load(e, rest, i / b->oc * b->u.w.row + i % b->oc * em_width(e), true);
    sum_images(b, rows, src, at, acc);
    for (int i = 0; i < rows * b->oc; ++i)
        em_store(e, rest, i / b->oc * b->u.w.row + i % b->oc * em_width(e), acc[i], true);
}

/* ---- all rows of a task ---- */

/* fn over `count` rows in tiles; at: their offset among the task's weights.  rest: count % rows of
 * the last task, 0 of all others. */
static void each_tile(DenseBww *b, TileFn fn, Val count, int rest, Val src, Val at) {
    Emit *e = b->e;
    Val left = em_rem(e, count, em_i64(e, b->rows)), whole = em_sub(e, count, left);
    int64_t known;
    Loop l = em_for(e, em_i64(e, 0), whole, b->rows, "row", NULL, 0);
    fn(b, b->rows, em_ptr(e, src, em_mul(e, l.i, em_i64(e, b->step))),
       em_add(e, at, em_mul(e, l.i, em_i64(e, b->u.w.row))));
    em_for_end(e, &l, NULL, 0);
    if (!rest)
        return;
    Val s = em_ptr(e, src, em_mul(e, whole, em_i64(e, b->step)));
    Val w = em_add(e, at, em_mul(e, whole, em_i64(e, b->u.w.row)));
    if (em_const_i64(left, &known)) {
        fn(b, rest, s, w);
        return;
    }
    If f = em_if(e, em_icmp(e, EM_NE, left, em_i64(e, 0)));
    fn(b, rest, s, w);
    em_endif(e, &f);
}

static void each_row(DenseBww *b, TileFn fn) {
    Emit *e = b->e;
    int64_t block = b->u.w.layout.i_block;
    if (b->merged) {
        Val count = em_mul(e, em_sub(e, b->u1, b->u0), em_i64(e, block));
        Val src = em_ptr(e, b->src_at, em_mul(e, b->u0, em_i64(e, block)));
        each_tile(b, fn, count, (int)(b->units * block % b->rows), src, em_i64(e, 0));
        return;
    }
    Loop u = em_for(e, b->u0, b->u1, 1, "unit", NULL, 0);
    Val ib, tap, ky, kx;
    split_index(e, u.i, b->u.w.kh * b->u.w.kw, &ib, &tap);
    split_index(e, tap, b->u.w.kw, &ky, &kx);
    Val off = em_mul(e, ib, em_i64(e, b->src.cblock));
    off = em_add(e, off, em_mul(e, ky, em_i64(e, b->p->dilation[0] * b->src.row)));
    off = em_add(e, off, em_mul(e, kx, em_i64(e, b->p->dilation[1] * b->src.pixel)));
    Val at = em_mul(e, em_sub(e, u.i, b->u0), em_i64(e, b->u.w.tap));
    each_tile(b, fn, em_i64(e, block), (int)(block % b->rows), em_ptr(e, b->src_at, off), at);
    em_for_end(e, &u, NULL, 0);
}

/* ---- images ---- */

static void pack(const DenseBww *b) {
    Emit *e = b->e;
    int width = em_width(e);
    Loop l = em_for(e, b->n0, b->n1, 1, "pack", NULL, 0);
    Val from = em_ptr(e, b->dd_at, em_mul(e, l.i, em_i64(e, b->dd.image)));
    Val row = em_mul(e, em_sub(e, l.i, b->n0), em_i64(e, (int64_t)b->oc * width));
    Val to = em_ptr(e, b->packed, row);
    for (int j = 0; j < b->oc; ++j)
        em_store(e, to, j * width, em_load(e, from, j * b->dd.cblock, true), true);
    em_for_end(e, &l, NULL, 0);
}

static Val task_floats(const DenseBww *b) {
    return em_mul(b->e, em_sub(b->e, b->u1, b->u0), em_i64(b->e, b->u.w.tap));
}

static void finish_rest(const DenseBww *b) {
    Emit *e = b->e;
    Loop l = em_for(e, em_i64(e, 0), task_floats(b), b->u.w.row, "finish", NULL, 0);
    Finish f = finish_open(b, l.i);
    for (int j = 0; j < b->oc; ++j)
        finish(b, &f, j * em_width(e), em_load(e, em_ptr(e, b->rest, l.i), j * em_width(e), true));
    finish_padding(b, &f, 0);
    em_for_end(e, &l, NULL, 0);
}

static void by_panels(DenseBww *b) {
    Emit *e = b->e;
    Val src = b->src_at;
    em_zero(e, b->rest, task_floats(b));
    Loop n = em_for(e, em_i64(e, 0), b->k->n, PACKED_IMAGES, "images", NULL, 0);
    b->n0 = n.i;
    b->n1 = em_imin(e, em_add(e, n.i, em_i64(e, PACKED_IMAGES)), b->k->n);
    b->src_at = em_ptr(e, src, em_mul(e, n.i, em_i64(e, b->src.image)));
    pack(b);
    each_row(b, tile_panel);
    em_for_end(e, &n, NULL, 0);
    b->src_at = src;
    finish_rest(b);
}

/* ---- tasks ---- */

static void one_task(DenseBww *b, Val group, Val ot, int oc) {
    Emit *e = b->e;
    int width = em_width(e);
    Val zero = em_i64(e, 0);
    b->oc = oc;
    Val cb = em_add(e, em_mul(e, group, em_i64(e, ceil_div(b->p->o, width))),
                    em_mul(e, ot, em_i64(e, b->full)));
    Val src_cb = em_mul(e, group, em_i64(e, ceil_div(b->p->i, width)));
    b->src_at = view_at(b->k, &b->src, zero, src_cb, em_i64(e, -b->p->pad[0]),
                        em_i64(e, -b->p->pad[1]));
    b->dd_at = view_at(b->k, &b->dd, zero, cb, zero, zero);
    Val at = em_add(e, em_mul(e, group, em_i64(e, b->u.w.group)),
                    em_mul(e, ot, em_i64(e, b->u.w.tile)));
    at = em_add(e, at, em_mul(e, b->u0, em_i64(e, b->u.w.tap)));
    b->w_at = em_ptr(e, b->u.w.base, at);
    if (b->u.weights)
        b->m_at = em_ptr(e, b->u.state, at);
    if (b->u.bias) { /* by the task of the first rows; nothing is packed yet */
        Val owns = em_icmp(e, EM_EQ, b->u0, zero);
        BwwBias bias = {&b->u, &b->dd, oc, owns, cb, b->packed};
        bias_all(&bias);
    }
    If f = em_if(e, em_icmp(e, EM_LE, b->k->n, em_i64(e, PACKED_IMAGES)));
    b->n0 = zero;
    b->n1 = b->k->n;
    pack(b);
    each_row(b, tile_whole);
    em_else(e, &f);
    by_panels(b);
    em_endif(e, &f);
}

/* Do the numbers of src follow each other as the rows of the weights do? */
static bool same_order(const DenseBww *b) {
    const ConvProblem *p = b->p;
    int64_t run = b->u.w.layout.i_block;
    if (b->src.block != run)
        return false;
    if (b->u.w.kw > 1 && p->dilation[1] * b->src.pixel != run)
        return false;
    if (b->u.w.kh > 1 && p->dilation[0] * b->src.row != b->u.w.kw * run)
        return false;
    return b->u.w.i_blocks == 1 || b->src.cblock == b->u.w.kh * b->u.w.kw * run;
}

void lower_dense_bwd_weights(KernelCtx *k) {
    Emit *e = k->e;
    ConvProblem problem = conv_problem(k->g, k->node), *p = &problem;
    DenseBww b = {.k = k, .e = e, .p = p, .rows = k->k->tile.ic, .per = k->k->tile.rows};
    b.src = view_of(k, k->node->in[0]);
    b.dd = view_of(k, k->node->in[1]);
    b.u = bww_update_open(k);
    b.full = b.u.w.layout.o_tile / em_width(e);
    b.units = b.u.w.i_blocks * b.u.w.kh * b.u.w.kw;
    b.merged = same_order(&b);
    b.step = b.src.block == 1 && !b.merged ? b.src.cblock : 1;
    b.packed = k->a.scratch;
    b.rest = em_ptr(e, b.packed, em_i64(e, PACKED_IMAGES * b.u.w.row));
    int last = (int)(ceil_div(p->o, em_width(e)) - (b.u.w.o_tiles - 1) * b.full);
    Loop task = task_loop(k);
    Val rest, chunk, group, ot;
    split_index(e, task.i, b.u.w.o_tiles, &rest, &ot);
    split_index(e, rest, p->groups, &chunk, &group);
    b.u0 = em_mul(e, chunk, em_i64(e, b.per));
    b.u1 = em_imin(e, em_add(e, b.u0, em_i64(e, b.per)), em_i64(e, b.units));
    if (last == b.full) {
        one_task(&b, group, ot, b.full);
    } else {
        If f = em_if(e, em_icmp(e, EM_LT, ot, em_i64(e, b.u.w.o_tiles - 1)));
        one_task(&b, group, ot, b.full);
        em_else(e, &f);
        one_task(&b, group, ot, last);
        em_endif(e, &f);
    }
    task_end(k, &task);
}
