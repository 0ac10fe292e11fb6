/* norm_lower.c: normalisation across maps at one position, forward and backward.
 *
 * lrn:  b_i = x_i s_i^-beta,  s_i = k + a sum_{j in W(i)} x_j^2         (Krizhevsky 2012, 3.3)
 *       dx_i = g_i s_i^-beta - 2 a beta x_i sum_{j in W(i)} g_j x_j s_j^(-beta-1)
 *       with every entry of that matrix squared:
 *       dx_i = g_i s_i^-2beta (1 - 4 a beta x_i^2 / s_i)
 *            + (2 a beta x_i)^2 sum_{j in W(i)} g_j (x_j s_j^(-beta-1))^2
 * lcn:  the same on v = x - mean over W(i) of x; dx = dv - M^T dv with M the window mean.
 * W(i) are the `size` maps around i that exist; a = alpha, or alpha / size (attribute alpha_per).
 * A few pixels of a row, all maps, stay in scratch, block after block as in memory, with zero blocks
 * in front and behind: a window sum shifts the lanes of neighbouring blocks.  As many pixels as keep
 * scratch in the L1 while the passes go over it.
 */
#include "base/arena.h"
#include "ops/hooks.h"
#include "ops/lower.h"

typedef struct Norm {
    const NormAttrs *a;
    Epi epi;
    View src, grad;
    int64_t cblocks;
    int64_t reach;          /* (size - 1) / 2 */
    int64_t margin;         /* blocks of zeros in front and behind: a window reaches so far */
    bool center;            /* lcn */
    bool backward;
    int64_t chunk;          /* pixels in scratch */
    Val x0, count;          /* the first of them in the row; how many are real */
    Val buffer[4];          /* blocks x chunk in scratch */
    Val share;              /* lcn: 1 / maps present in W(i), per channel; 0 in padding lanes */
} Norm;

static int64_t margin_blocks(int64_t size, int width) {
    return ((size - 1) / 2 + width - 1) / width;
}

/* Pixels whose four buffers stay in most of the smallest L1 (32 KB). */
static int64_t chunk_pixels(int64_t cblocks, int64_t w, int64_t size, int width) {
    enum { L1_SHARE = 24 << 10 };
    int64_t pixel = 4 * 4 * (cblocks + 2 * margin_blocks(size, width)) * width;
    int64_t most = L1_SHARE / pixel < 1 ? 1 : L1_SHARE / pixel, chunks = (w + most - 1) / most;
    return (w + chunks - 1) / chunks;
}

static int64_t plane_floats(int64_t cblocks, int64_t w, int64_t size, int width) {
    return (cblocks + 2 * margin_blocks(size, width)) * chunk_pixels(cblocks, w, size, width) *
           width;
}

void choose_norm(const Graph *g, Kernel *k, const Target *t) {
    const Node *node = graph_n(g, k->anchor);
    int64_t c, h, w;
    shape_chw(&graph_v(g, node->out[0])->shape, &c, &h, &w);
    int64_t cblocks = (c + t->vector - 1) / t->vector;
    k->algorithm = "rows";
    k->why = "all maps of a few pixels at once, window sums from cache";
    k->tile.oc = (int)cblocks;
    int64_t rows = (512 + cblocks * w - 1) / (cblocks * w);
    k->tile.rows = (int)(rows > h ? h : rows);
    k->tasks_per = (h + k->tile.rows - 1) / k->tile.rows;
    k->tasks_block = 1;
    const NormAttrs *a = node->attrs;
    k->scratch = 4 * 4 * plane_floats(cblocks, w, a->size, t->vector);
}

static double alpha_of(const NormAttrs *a) {
    return a->alpha_per ? a->alpha / (double)a->size : a->alpha;
}

/* Floats from a block of a pixel to the same pixel of the next block. */
static int64_t block_step(KernelCtx *k, const Norm *m) { return m->chunk * em_width(k->e); }

/* Address of channel block cb of pixel x in buffer b. */
static Val cell(KernelCtx *k, const Norm *m, int b, Val x, Val cb) {
    Emit *e = k->e;
    Val at = em_add(e, em_mul(e, x, em_i64(e, em_width(e))),
                    em_mul(e, em_add(e, cb, em_i64(e, m->margin)), em_i64(e, block_step(k, m))));
    return em_ptr(e, m->buffer[b], at);
}

/* Sum over the maps W(i) around each lane i of the block at `at`. */
static Val window_sum(KernelCtx *k, const Norm *m, Val at) {
    Emit *e = k->e;
    int64_t width = em_width(e), step = block_step(k, m);
    Val sum = NULL, low = NULL, high = NULL;
    for (int64_t d = -m->reach, block = INT64_MIN; d <= m->reach; d++) {
        int64_t from = d >= 0 ? d / width : -((width - 1 - d) / width); /* floor */
        if (from != block) {
            low = from == block + 1 && high ? high : em_load(e, at, from * step, true);
            high = NULL;
            block = from;
        }
        if (d != from * width && !high)
            high = em_load(e, at, (from + 1) * step, true);
        Val part = d == from * width ? low : em_shift(e, low, high, (int)(d - from * width));
        sum = sum ? em_fadd(e, sum, part) : part;
    }
    return sum;
}

/* One block of pixel x of the chunk, pixel x0 + x of row y of image n. */
typedef void (*BlockFn)(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb);

static void for_blocks(KernelCtx *k, Norm *m, Val n, Val y, BlockFn fn) {
    Emit *e = k->e;
    Loop cb = em_for(e, em_i64(e, 0), em_i64(e, m->cblocks), 1, "cb", NULL, 0);
    Loop x = em_for(e, em_i64(e, 0), m->count, 1, "x", NULL, 0);
    fn(k, m, n, y, x.i, cb.i);
    em_for_end(e, &x, NULL, 0);
    em_for_end(e, &cb, NULL, 0);
}

static Val load_from(KernelCtx *k, const Norm *m, const View *v, Val n, Val y, Val x, Val cb) {
    return em_load(k->e, view_at(k, v, n, cb, y, em_add(k->e, m->x0, x)), 0, v->aligned);
}

static void emit_result(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb, Val result) {
    epi_tile(k, &m->epi, n, cb, y, em_add(k->e, m->x0, x));
    epi_emit(k, &m->epi, result, 0, 0, 0, 0);
}

static Val share_at(KernelCtx *k, const Norm *m, Val cb) {
    Emit *e = k->e;
    return em_load(e, em_ptr(e, m->share, em_mul(e, cb, em_i64(e, em_width(e)))), 0, true);
}

/* ---- buffers: 0 = value whose square is summed (x, or v of lcn), 1 = squares, 2 and 3 = gradient
 * terms ---- */

static void put_value(KernelCtx *k, const Norm *m, Val x, Val cb, Val v) {
    em_store(k->e, cell(k, m, 0, x, cb), 0, v, true);
    em_store(k->e, cell(k, m, 1, x, cb), 0, em_fmul(k->e, v, v), true);
}

/* Every block of a chunk is a short run in a page of its own, which no hardware foresees: the same
 * pixels of the next chunk are fetched while this one is worked on. */
static void fetch_ahead(KernelCtx *k, const Norm *m, const View *v, Val n, Val y, Val x, Val cb) {
    Val at = view_at(k, v, n, cb, y, em_add(k->e, m->x0, x));
    em_prefetch(k->e, at, m->chunk * v->pixel);
}

static void put_x(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    Val v = load_from(k, m, &m->src, n, y, x, cb);
    fetch_ahead(k, m, &m->src, n, y, x, cb);
    if (m->backward)
        fetch_ahead(k, m, &m->grad, n, y, x, cb);
    if (m->center)
        em_store(k->e, cell(k, m, 2, x, cb), 0, v, true);
    else
        put_value(k, m, x, cb, v);
}

/* v = x - mean, zero in padding lanes; x waits in buffer 2 */
static void put_centered(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    (void)n, (void)y;
    Emit *e = k->e;
    Val at = cell(k, m, 2, x, cb), share = share_at(k, m, cb);
    Val mean = em_fmul(e, window_sum(k, m, at), share);
    Val v = em_fsub(e, em_load(e, at, 0, true), mean);
    Val real = em_fcmp(e, EM_GT, share, em_vec(e, 0));
    put_value(k, m, x, cb, em_select(e, real, v, em_vec(e, 0)));
}

static Val scale_sum(KernelCtx *k, const Norm *m, Val x, Val cb) {
    Emit *e = k->e;
    Val sum = window_sum(k, m, cell(k, m, 1, x, cb));
    return em_fma(e, sum, em_vec(e, alpha_of(m->a)), em_vec(e, m->a->k));
}

static void put_result(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    Emit *e = k->e;
    Val v = em_load(e, cell(k, m, 0, x, cb), 0, true);
    Val power = em_pow_neg(e, scale_sum(k, m, x, cb), m->a->beta);
    emit_result(k, m, n, y, x, cb, em_fmul(e, v, power));
}

/* The squares' terms: direct = g s^-2beta (1 - 4 a beta v^2 / s), crossing = g (v s^(-beta-1))^2. */
static void put_squares(KernelCtx *k, const Norm *m, Val x, Val cb, Val plain, Val v_over_s, Val v) {
    Emit *e = k->e;
    Val share = em_fmul(e, em_fmul(e, v, v_over_s), em_vec(e, -4 * alpha_of(m->a) * m->a->beta));
    Val crossing = em_fmul(e, plain, em_fmul(e, v_over_s, v_over_s));
    em_store(e, cell(k, m, 2, x, cb), 0, em_fma(e, plain, share, plain), true);
    em_store(e, cell(k, m, 3, x, cb), 0, crossing, true);
}

/* buffer 2 = g s^-beta, buffer 3 = g v s^(-beta-1) */
static void put_terms(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    Emit *e = k->e;
    Val g = load_from(k, m, &m->grad, n, y, x, cb);
    Val v = em_load(e, cell(k, m, 0, x, cb), 0, true);
    Val s = scale_sum(k, m, x, cb);
    Val power = em_pow_neg(e, s, m->a->beta), direct = em_fmul(e, g, power);
    Val inverse = em_pow_neg_inverse(e, s, m->a->beta, power);
    if (m->a->squares) {
        put_squares(k, m, x, cb, em_fmul(e, direct, power), em_fmul(e, v, inverse), v);
        return;
    }
    em_store(e, cell(k, m, 2, x, cb), 0, direct, true);
    em_store(e, cell(k, m, 3, x, cb), 0, em_fmul(e, em_fmul(e, direct, v), inverse), true);
}

static Val input_gradient(KernelCtx *k, const Norm *m, Val x, Val cb) {
    Emit *e = k->e;
    Val v = em_load(e, cell(k, m, 0, x, cb), 0, true);
    Val direct = em_load(e, cell(k, m, 2, x, cb), 0, true);
    Val cross = em_fmul(e, v, window_sum(k, m, cell(k, m, 3, x, cb)));
    double factor = -2 * alpha_of(m->a) * m->a->beta;
    if (!m->a->squares)
        return em_fma(e, cross, em_vec(e, factor), direct);
    return em_fma(e, em_fmul(e, cross, v), em_vec(e, factor * factor), direct);
}

static void put_gradient(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    emit_result(k, m, n, y, x, cb, input_gradient(k, m, x, cb));
}

/* lcn: dv into buffer 2 in place of the direct term, dv * share into buffer 1 */
static void put_dv(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    (void)n, (void)y;
    Emit *e = k->e;
    Val dv = input_gradient(k, m, x, cb), share = share_at(k, m, cb);
    em_store(e, cell(k, m, 2, x, cb), 0, dv, true);
    em_store(e, cell(k, m, 1, x, cb), 0, em_fmul(e, dv, share), true);
}

static void put_uncentered(KernelCtx *k, Norm *m, Val n, Val y, Val x, Val cb) {
    Emit *e = k->e;
    Val dv = em_load(e, cell(k, m, 2, x, cb), 0, true);
    Val mean = window_sum(k, m, cell(k, m, 1, x, cb));
    emit_result(k, m, n, y, x, cb, em_fsub(e, dv, mean));
}

static void norm_chunk(KernelCtx *k, Norm *m, Val n, Val y) {
    for_blocks(k, m, n, y, put_x);
    if (m->center)
        for_blocks(k, m, n, y, put_centered);
    if (!m->backward) {
        for_blocks(k, m, n, y, put_result);
        return;
    }
    for_blocks(k, m, n, y, put_terms);
    if (!m->center) {
        for_blocks(k, m, n, y, put_gradient);
        return;
    }
    for_blocks(k, m, n, y, put_dv);
    for_blocks(k, m, n, y, put_uncentered);
}

static void norm_row(KernelCtx *k, Norm *m, Val n, Val y) {
    Emit *e = k->e;
    Val width = em_i64(e, m->src.w);
    epi_row(k, &m->epi, n, em_i64(e, 0), m->cblocks, y);
    Loop x = em_for(e, em_i64(e, 0), width, m->chunk, "chunk", NULL, 0);
    m->x0 = x.i;
    m->count = em_imin(e, em_i64(e, m->chunk), em_sub(e, width, x.i));
    norm_chunk(k, m, n, y);
    em_for_end(e, &x, NULL, 0);
}

/* Table of 1 / |W(i)|, zero beyond the last real map. */
static Val share_table(KernelCtx *k, const Norm *m, int64_t channels) {
    int64_t count = m->cblocks * em_width(k->e);
    float *share = arena_array(k->g->keep, count, sizeof *share);
    for (int64_t i = 0; i < channels; i++) {
        int64_t lo = i - m->reach < 0 ? 0 : i - m->reach;
        int64_t hi = i + m->reach >= channels ? channels - 1 : i + m->reach;
        share[i] = 1.0f / (float)(hi - lo + 1);
    }
    return em_c_bytes(k->e, share, (size_t)count * sizeof *share, 64);
}

static void lower_norm(KernelCtx *k, bool center, bool backward) {
    Emit *e = k->e;
    Norm m = {.a = k->attrs, .center = center, .backward = backward};
    epi_open(k, &m.epi);
    if (center)
        m.epi.must_mask = true;
    /* inputs of the gradients: src diff_dst */
    m.src = view_of(k, k->node->in[0]);
    if (backward)
        m.grad = view_of(k, k->node->in[1]);
    m.cblocks = m.src.cblocks;
    m.chunk = chunk_pixels(m.cblocks, m.src.w, m.a->size, em_width(e));
    m.reach = (m.a->size - 1) / 2;
    m.margin = margin_blocks(m.a->size, em_width(e));
    int64_t plane = plane_floats(m.cblocks, m.src.w, m.a->size, em_width(e));
    for (int b = 0; b < 4; b++)
        m.buffer[b] = em_ptr(e, k->a.scratch, em_i64(e, b * plane));
    if (center)
        m.share = share_table(k, &m, m.src.c);
    em_zero(e, k->a.scratch, em_i64(e, 4 * plane));
    Loop task = task_loop(k);
    int64_t rows = k->k->tile.rows, height = m.src.h, bands = (height + rows - 1) / rows;
    Val n, band;
    split_index(e, task.i, bands, &n, &band);
    Val lo = em_mul(e, band, em_i64(e, rows));
    Val hi = em_imin(e, em_add(e, lo, em_i64(e, rows)), em_i64(e, height));
    Loop y = em_for(e, lo, hi, 1, "y", NULL, 0);
    norm_row(k, &m, n, y.i);
    em_for_end(e, &y, NULL, 0);
    task_end(k, &task);
}

void lower_lrn(KernelCtx *k) { lower_norm(k, false, false); }
void lower_lrn_bwd(KernelCtx *k) { lower_norm(k, false, true); }
void lower_lcn(KernelCtx *k) { lower_norm(k, true, false); }
void lower_lcn_bwd(KernelCtx *k) { lower_norm(k, true, true); }
