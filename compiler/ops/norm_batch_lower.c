/* norm_batch_lower.c: statistics of channels, and the small vectors made of them.
 *
 * A plane (one block of channels of one image) is one task; sums over images are taken in their
 * order by one task per block.  So no bit depends on threads.
 * Rounding: a row's numbers go to four chains of additions, rows are added up; deviations are taken
 * from the mean of the piece at hand, at most PIECE_BYTES of rows that the second look finds in the
 * L1; pieces, then images, are combined after Chan et al., means over images with Kahan's sum.
 * theory: Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1;
 * Kahan 1965, "Further remarks on reducing truncation errors".
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

enum { CHAINS = 4, MAX_SUMS = 2, PIECE_BYTES = 16 << 10 };

void choose_moments(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->in[0])->shape, &c, &h, &w);
    k->algorithm = "planes";
    k->why = "one pass over memory, a block of channels of an image per task";
    k->tasks_per = (c + t->vector - 1) / t->vector;
    k->tasks_block = 1;
}

/* Does anybody read result i?  One that nobody reads has no place (the first keeps its number). */
static bool wanted(const KernelCtx *k, int i) {
    ValueId v = k->node->out[i];
    return v && graph_v(k->g, v)->stored;
}

/* ---- sums over rows of a plane ---- */

typedef struct Walk Walk;
/* Adds what lies at offset `off` from at[0 .. nviews) to sum[s * CHAINS], s < nsums. */
typedef void (*CellFn)(Emit *e, const Walk *w, const Val *at, int64_t off, Val *sum);
struct Walk {
    View view[MAX_SUMS];
    int nviews, nsums;
    CellFn cell;
    Val center;
};

static void walk_row(KernelCtx *k, const Walk *w, Val n, Val cb, Val y, Val *sum) {
    Emit *e = k->e;
    int64_t pixel = w->view[0].pixel, width = w->view[0].w, main = width / CHAINS * CHAINS;
    Val row[MAX_SUMS], part[MAX_SUMS * CHAINS];
    for (int i = 0; i < w->nviews; i++)
        row[i] = view_at(k, &w->view[i], n, cb, y, em_i64(e, 0));
    for (int i = 0; i < w->nsums * CHAINS; i++)
        part[i] = em_vec(e, 0);
    if (main > 0) {
        Loop x = em_for(e, em_i64(e, 0), em_i64(e, main), CHAINS, "x", part, w->nsums * CHAINS);
        Val at[MAX_SUMS], step = em_mul(e, x.i, em_i64(e, pixel));
        for (int i = 0; i < w->nviews; i++)
            at[i] = em_ptr(e, row[i], step);
        for (int c = 0; c < CHAINS; c++)
            w->cell(e, w, at, c * pixel, part + c);
        em_for_end(e, &x, part, w->nsums * CHAINS);
    }
    for (int64_t x = main; x < width; x++)
        w->cell(e, w, row, x * pixel, part + (x - main));
    for (int s = 0; s < w->nsums; s++) {
        Val *p = part + s * CHAINS;
        sum[s] = em_fadd(e, sum[s], em_fadd(e, em_fadd(e, p[0], p[1]), em_fadd(e, p[2], p[3])));
    }
}

static void walk_rows(KernelCtx *k, const Walk *w, Val n, Val cb, Val from, Val to, Val *sum) {
    Emit *e = k->e;
    for (int s = 0; s < w->nsums; s++)
        sum[s] = em_vec(e, 0);
    Loop y = em_for(e, from, to, 1, "y", sum, w->nsums);
    walk_row(k, w, n, cb, y.i, sum);
    em_for_end(e, &y, sum, w->nsums);
}

static Val vector_at(KernelCtx *k, const View *v, Val n, Val cb) {
    Val zero = em_i64(k->e, 0);
    return em_load(k->e, view_at(k, v, n, cb, zero, zero), 0, true);
}

static void put_vector(KernelCtx *k, const View *v, Val n, Val cb, Val vec) {
    Val zero = em_i64(k->e, 0);
    em_store(k->e, view_at(k, v, n, cb, zero, zero), 0, vec, true);
}

/* ---- moments ---- */

static void cell_sum(Emit *e, const Walk *w, const Val *at, int64_t off, Val *sum) {
    sum[0] = em_fadd(e, sum[0], em_load(e, at[0], off, w->view[0].aligned));
}

static void cell_square(Emit *e, const Walk *w, const Val *at, int64_t off, Val *sum) {
    Val d = em_fsub(e, em_load(e, at[0], off, w->view[0].aligned), w->center);
    sum[0] = em_fma(e, d, d, sum[0]);
}

/* Mean and squared deviations of rows [from, to), count numbers. */
static void piece_moments(KernelCtx *k, Walk *w, Val n, Val cb, Val from, Val to, Val count,
                          Val out[2]) {
    Emit *e = k->e;
    w->cell = cell_sum;
    walk_rows(k, w, n, cb, from, to, &out[0]);
    out[0] = em_fdiv(e, out[0], count);
    w->cell = cell_square;
    w->center = out[0];
    walk_rows(k, w, n, cb, from, to, &out[1]);
}

/* Rows of a piece. */
static int64_t piece_rows(const View *v) {
    int64_t rows = PIECE_BYTES / (4 * v->row);
    return rows < 1 ? 1 : rows > v->h ? v->h : rows;
}

static void plane_moments(KernelCtx *k, Walk *w, Val n, Val cb, Val out[2]) {
    Emit *e = k->e;
    const View *v = &w->view[0];
    int64_t rows = piece_rows(v);
    Val zero = em_i64(e, 0), height = em_i64(e, v->h);
    if (rows == v->h) {
        piece_moments(k, w, n, cb, zero, height, em_vec(e, (double)(v->h * v->w)), out);
        return;
    }
    Val part[2];
    out[0] = out[1] = em_vec(e, 0);
    Loop y = em_for(e, zero, height, rows, "piece", out, 2);
    Val to = em_imin(e, em_add(e, y.i, em_i64(e, rows)), height), wide = em_i64(e, v->w);
    Val count = em_splat(e, em_i64_to_f32(e, em_mul(e, em_sub(e, to, y.i), wide)));
    Val before = em_splat(e, em_i64_to_f32(e, em_mul(e, y.i, wide)));
    piece_moments(k, w, n, cb, y.i, to, count, part);
    Val share = em_fdiv(e, count, em_fadd(e, before, count));
    Val d = em_fsub(e, part[0], out[0]);
    out[0] = em_fma(e, d, share, out[0]);
    out[1] = em_fadd(e, out[1], part[1]);
    out[1] = em_fma(e, em_fmul(e, em_fmul(e, d, d), before), share, out[1]);
    em_for_end(e, &y, out, 2);
}

void lower_moments(KernelCtx *k) {
    Emit *e = k->e;
    Walk w = {.view = {view_of(k, k->node->in[0])}, .nviews = 1, .nsums = 1};
    View dst[2];
    for (int i = 0; i < 2; i++)
        if (wanted(k, i))
            dst[i] = view_of(k, k->node->out[i]);
    Loop task = task_loop(k);
    Val n, cb, out[2];
    split_index(e, task.i, w.view[0].cblocks, &n, &cb);
    plane_moments(k, &w, n, cb, out);
    out[1] = em_fdiv(e, out[1], em_vec(e, (double)(w.view[0].h * w.view[0].w)));
    for (int i = 0; i < 2; i++)
        if (wanted(k, i))
            put_vector(k, &dst[i], n, cb, out[i]);
    task_end(k, &task);
}

/* ---- sums of the gradient ---- */

/* 1 / sqrt(variance + eps); a variance below zero, which no data has, counts as zero. */
static Val inverse_deviation(KernelCtx *k, Val variance) {
    Emit *e = k->e;
    const BnAttrs *a = k->attrs;
    Val sum = em_fadd(e, em_fmax(e, em_vec(e, 0), variance), em_vec(e, a->eps));
    return em_fdiv(e, em_vec(e, 1), em_sqrt(e, sum));
}

static void cell_gradient(Emit *e, const Walk *w, const Val *at, int64_t off, Val *sum) {
    Val dy = em_load(e, at[0], off, w->view[0].aligned);
    Val d = em_fsub(e, em_load(e, at[1], off, w->view[1].aligned), w->center);
    sum[0] = em_fadd(e, sum[0], dy);
    sum[CHAINS] = em_fma(e, dy, d, sum[CHAINS]);
}

void lower_bn_bwd_sums(KernelCtx *k) {
    Emit *e = k->e;
    const Node *node = k->node;
    Walk w = {.view = {view_of(k, node->in[0]), view_of(k, node->in[1])},
              .nviews = 2,
              .nsums = 2,
              .cell = cell_gradient};
    View mean = view_of(k, node->in[2]), variance = view_of(k, node->in[3]), dst[2];
    for (int i = 0; i < 2; i++)
        if (wanted(k, i))
            dst[i] = view_of(k, node->out[i]);
    Loop task = task_loop(k);
    Val n, cb, sum[2];
    split_index(e, task.i, w.view[0].cblocks, &n, &cb);
    w.center = vector_at(k, &mean, n, cb);
    walk_rows(k, &w, n, cb, em_i64(e, 0), em_i64(e, w.view[0].h), sum);
    sum[1] = em_fmul(e, sum[1], inverse_deviation(k, vector_at(k, &variance, n, cb)));
    for (int i = 0; i < 2; i++)
        if (wanted(k, i))
            put_vector(k, &dst[i], n, cb, sum[i]);
    task_end(k, &task);
}

/* ---- vectors ---- */

/* in[] and out[] of the node, one block of channels of one image (or of none). */
typedef void (*VectorFn)(KernelCtx *k, const Val *in, Val *out);

/* A vector is small: one task for all its blocks; one per image where there are images. */
void choose_bn_vectors(const Graph *g, Kernel *k, const Target *t) {
    (void)t;
    k->algorithm = "vectors";
    k->why = "a few numbers per channel";
    k->tasks_per = 1;
    k->tasks_block = graph_v(g, graph_n(g, k->anchor)->out[0])->batched;
}

static void for_vectors(KernelCtx *k, VectorFn fn) {
    Emit *e = k->e;
    const Node *node = k->node;
    enum { MOST = 5 };
    View src[MOST], dst[MOST];
    for (int i = 0; i < node->nin; i++)
        src[i] = view_of(k, node->in[i]);
    for (int i = 0; i < node->nout; i++)
        if (wanted(k, i))
            dst[i] = view_of(k, node->out[i]);
    Loop task = task_loop(k);
    Loop cb = em_for(e, em_i64(e, 0), em_i64(e, src[0].cblocks), 1, "cb", NULL, 0);
    Val in[MOST], out[MOST] = {NULL};
    for (int i = 0; i < node->nin; i++)
        in[i] = vector_at(k, &src[i], task.i, cb.i);
    fn(k, in, out);
    for (int i = 0; i < node->nout; i++)
        if (wanted(k, i))
            put_vector(k, &dst[i], task.i, cb.i, out[i]);
    em_for_end(e, &cb, NULL, 0);
    task_end(k, &task);
}

/* scale = weight / s, shift = bias - mean scale */
static void line_of(KernelCtx *k, Val mean, Val variance, Val weight, Val bias, Val *out) {
    Emit *e = k->e;
    out[0] = em_fmul(e, weight, inverse_deviation(k, variance));
    out[1] = em_fma(e, em_fneg(e, mean), out[0], bias);
}

static void vector_scale(KernelCtx *k, const Val *in, Val *out) {
    line_of(k, in[0], in[1], in[2], in[3], out);
}

void lower_bn_scale(KernelCtx *k) { for_vectors(k, vector_scale); }

/* Numbers in the batch, images * cells, as a vector. */
static Val batch_count(KernelCtx *k, int64_t cells) {
    return em_splat(k->e, em_i64_to_f32(k->e, em_mul(k->e, k->n, em_i64(k->e, cells))));
}

static void vector_coef(KernelCtx *k, const Val *in, Val *out) {
    Emit *e = k->e;
    const BnAttrs *a = k->attrs;
    bool each = graph_v(k->g, k->node->in[0])->batched; /* sums of single images */
    Val count = each ? em_vec(e, (double)a->cells) : batch_count(k, a->cells);
    Val inverse = inverse_deviation(k, in[3]);
    out[0] = em_fmul(e, in[4], inverse);
    Val part = em_fdiv(e, em_fneg(e, out[0]), count);
    out[1] = em_fmul(e, em_fmul(e, part, in[0]), inverse);
    out[2] = em_fsub(e, em_fmul(e, part, in[1]), em_fmul(e, out[1], in[2]));
}

void lower_bn_bwd_coef(KernelCtx *k) { for_vectors(k, vector_coef); }

static void vector_running(KernelCtx *k, const Val *in, Val *out) {
    Emit *e = k->e;
    const BnAttrs *a = k->attrs;
    Val now = in[1];
    if (a->cells > 0) { /* one number alone has no unbiased variance: as it is */
        Val count = batch_count(k, a->cells), one = em_vec(e, 1);
        now = em_fdiv(e, em_fmul(e, now, count), em_fmax(e, em_fsub(e, count, one), one));
    }
    Val old = em_fmul(e, in[0], em_vec(e, 1 - a->momentum));
    out[0] = em_fma(e, now, em_vec(e, a->momentum), old);
}

/* Its result is the parameter, where it lies. */
void lower_bn_running(KernelCtx *k) {
    Emit *e = k->e;
    View old = view_of(k, k->node->in[0]), now = view_of(k, k->node->in[1]);
    Loop task = task_loop(k);
    Loop cb = em_for(e, em_i64(e, 0), em_i64(e, old.cblocks), 1, "cb", NULL, 0);
    Val zero = em_i64(e, 0), out[1];
    Val in[2] = {vector_at(k, &old, zero, cb.i), vector_at(k, &now, zero, cb.i)};
    vector_running(k, in, out);
    put_vector(k, &old, zero, cb.i, out[0]);
    em_for_end(e, &cb, NULL, 0);
    task_end(k, &task);
}

/* ---- a batch from its images ---- */

void choose_bn_combine(const Graph *g, Kernel *k, const Target *t) {
    int64_t c = graph_v(g, graph_n(g, k->anchor)->in[0])->shape.dim[0];
    k->algorithm = "images in order";
    k->why = "a few numbers per image and channel";
    k->tasks_per = (c + t->vector - 1) / t->vector;
    k->tasks_block = 0;
}

/* sum[0] += x; sum[1] is what rounding added too much so far. */
static void kahan(Emit *e, Val sum[2], Val x) {
    Val y = em_fsub(e, x, sum[1]), t = em_fadd(e, sum[0], y);
    sum[1] = em_fsub(e, em_fsub(e, t, sum[0]), y);
    sum[0] = t;
}

void lower_bn_combine(KernelCtx *k) {
    Emit *e = k->e;
    const Node *node = k->node;
    View mean = view_of(k, node->in[0]), variance = view_of(k, node->in[1]);
    View weight = view_of(k, node->in[2]), bias = view_of(k, node->in[3]), dst[4];
    for (int i = 0; i < 4; i++)
        if (wanted(k, i))
            dst[i] = view_of(k, node->out[i]);
    Val zero = em_i64(e, 0);
    Loop task = task_loop(k);
    Val sum[2] = {em_vec(e, 0), em_vec(e, 0)}, square[2] = {sum[0], sum[0]}, out[4];
    Loop n = em_for(e, zero, k->n, 1, "n", sum, 2);
    kahan(e, sum, vector_at(k, &mean, n.i, task.i));
    em_for_end(e, &n, sum, 2);
    Val images = batch_count(k, 1);
    out[0] = em_fdiv(e, sum[0], images);
    n = em_for(e, zero, k->n, 1, "n", square, 2);
    Val d = em_fsub(e, vector_at(k, &mean, n.i, task.i), out[0]);
    kahan(e, square, em_fma(e, d, d, vector_at(k, &variance, n.i, task.i)));
    em_for_end(e, &n, square, 2);
    out[1] = em_fdiv(e, square[0], images);
    line_of(k, out[0], out[1], vector_at(k, &weight, zero, task.i),
            vector_at(k, &bias, zero, task.i), out + 2);
    for (int i = 0; i < 4; i++)
        if (wanted(k, i))
            put_vector(k, &dst[i], zero, task.i, out[i]);
    task_end(k, &task);
}

/* ---- lines ---- */

Val scalar_scale_shift(ScalarCtx *s) { return em_fma(s->e, s->in[0], s->in[1], s->in[2]); }

Val scalar_channel_mul(ScalarCtx *s) { return em_fmul(s->e, s->in[0], s->in[1]); }

Val scalar_bn_bwd_data(ScalarCtx *s) {
    Val line = em_fma(s->e, s->in[1], s->in[3], s->in[4]);
    return em_fma(s->e, s->in[0], s->in[2], line);
}
