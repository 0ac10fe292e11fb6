/* pool_lower.c: max and average pooling, LeNet's subsampling, and their adjoints.
 *
 * Forward kernels walk output rows; windows that touch the border are clipped to real cells by
 * run-time bounds, inner windows are unrolled; so is the pool behind a convolution (pool.h).  Backward kernels walk rows of diff_src and *gather*
 * from the windows that cover a cell, in scan order: no two tasks write one cell and overlapping
 * windows add, as the adjoint demands (Zeiler & Fergus 2014, unpooling with switches).
 * A switch is one byte: ky * kw + kx inside the unclipped window, first maximum in scan order.
 */
#include <math.h>
#include <string.h>

#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/pool.h"

enum { UNROLLED_TAPS = 16, UNROLLED_ROW = 16 };

typedef struct Pool {
    const PoolAttrs *a;
    Epi epi;
    View src, switches;      /* forward */
    Val src_cb, src_y;       /* where the view of src begins; NULL: with the value itself */
    View dst, dst_switches;  /* backward: diff_dst and its switches */
    int64_t oh, ow, ih, iw;  /* of dst and src */
    bool max, record;
    Val coefficient, bias;   /* subsample: per-channel vectors' bases, or NULL */
    bool whole_window;       /* average divides by kh * kw always */
    bool sum;                /* subsample: no division */
} Pool;

void choose_rows(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->out[0])->shape, &c, &h, &w);
    k->algorithm = "rows";
    k->why = "one pass over memory, vectors of channels";
    rows_split((c + t->vector - 1) / t->vector, h, w, k);
}

/* First and one-past-last real tap of window `o` along one side. */
static void clip(Emit *e, Val o, int64_t stride, int64_t pad, int64_t kernel, int64_t in, Val *lo,
                 Val *hi) {
    Val start = em_sub(e, em_mul(e, o, em_i64(e, stride)), em_i64(e, pad));
    *lo = em_imax(e, em_i64(e, 0), em_sub(e, em_i64(e, 0), start));
    *hi = em_imin(e, em_i64(e, kernel), em_sub(e, em_i64(e, in), start));
}

/* Range of outputs whose windows lie wholly inside the real input along x. */
static void inner_range(const Pool *p, int64_t *from, int64_t *to) {
    int64_t s = p->a->stride[1], pad = p->a->pad[2], k = p->a->kernel[1];
    *from = (pad + s - 1) / s;
    *to = p->iw + pad - k >= 0 ? (p->iw + pad - k) / s + 1 : 0;
    if (*to > p->ow)
        *to = p->ow;
    if (*from > *to)
        *from = *to = 0;
}

void pool_take_max(Emit *e, Val x, Val tap, Val state[2]) {
    Val wins = em_and(e, em_fgt_or_nan(e, x, state[0]), em_ford(e, state[0], state[0]));
    state[0] = em_select(e, wins, x, state[0]);
    state[1] = em_select(e, wins, em_splat_i32(e, tap), state[1]);
}

void pool_max_of(Emit *e, const Val *x, int n, bool taps, Val state[2]) {
    Val numbers = NULL; /* lanes without a NaN; two cells at a time */
    state[0] = x[0];
    if (taps)
        state[1] = em_splat_i32(e, em_i64(e, 0));
    for (int i = 1; i < n && taps; i++)
        pool_take_max(e, x[i], em_i64(e, i), state);
    if (taps)
        return;
    for (int i = 1; i < n; i++)
        state[0] = em_fmax(e, x[i], state[0]);
    for (int i = 0; i < n; i += 2) {
        Val pair = em_ford(e, x[i], x[i + 1 < n ? i + 1 : i]);
        numbers = numbers ? em_and(e, numbers, pair) : pair;
    }
    state[0] = em_select(e, numbers, state[0], em_vec(e, NAN));
}

static void take(KernelCtx *k, const Pool *p, Val x, Val tap, Val state[2]) {
    Emit *e = k->e;
    if (!p->max) {
        state[0] = em_fadd(e, state[0], x);
        return;
    }
    pool_take_max(e, x, tap, state);
}

/* Do all windows lie inside the real rows? */
static bool inner_rows(const Pool *p) {
    const PoolAttrs *a = p->a;
    return a->pad[0] == 0 && (p->oh - 1) * a->stride[0] + a->kernel[0] <= p->ih;
}

/* One row of taps of an inner window. */
static void taps_of_row(KernelCtx *k, const Pool *p, Val row, Val tap, Val state[2]) {
    Emit *e = k->e;
    for (int64_t kx = 0; kx < p->a->kernel[1]; kx++) {
        Val x = em_load(e, row, kx * p->src.pixel, p->src.aligned);
        take(k, p, x, em_add(e, tap, em_i64(e, kx)), state);
    }
}

/* A whole window without any loop. */
static void small_window(KernelCtx *k, const Pool *p, Val corner, Val state[2]) {
    Emit *e = k->e;
    int n = (int)(p->a->kernel[0] * p->a->kernel[1]), kw = (int)p->a->kernel[1];
    if (p->max) {
        Val x[UNROLLED_TAPS];
        for (int i = 0; i < n; i++)
            x[i] = em_load(e, corner, i / kw * p->src.row + i % kw * p->src.pixel, p->src.aligned);
        pool_max_of(e, x, n, p->record, state);
        return;
    }
    for (int64_t ky = 0; ky < p->a->kernel[0]; ky++)
        taps_of_row(k, p, em_ptr(e, corner, em_i64(e, ky * p->src.row)),
                    em_i64(e, ky * p->a->kernel[1]), state);
}

/* Accumulates one window.  kx range: constant (unrolled) when inner, else [kx_lo, kx_hi). */
static void window(KernelCtx *k, const Pool *p, Val corner, Val ky_lo, Val ky_hi, bool inner,
                   Val kx_lo, Val kx_hi, Val state[2]) {
    Emit *e = k->e;
    int64_t kw = p->a->kernel[1];
    Loop ky = em_for(e, ky_lo, ky_hi, 1, "ky", state, 2);
    Val row = em_ptr(e, corner, em_mul(e, ky.i, em_i64(e, p->src.row)));
    Val tap = em_mul(e, ky.i, em_i64(e, kw));
    if (inner && kw <= UNROLLED_ROW) {
        taps_of_row(k, p, row, tap, state);
    } else {
        bool apart = !p->max && kw > POOL_WIDE_ROW;
        Val line[2] = {apart ? em_vec(e, 0) : state[0], state[1]};
        Loop kx = em_for(e, kx_lo, kx_hi, 1, "kx", line, 2);
        Val at = em_ptr(e, row, em_mul(e, kx.i, em_i64(e, p->src.pixel)));
        take(k, p, em_load(e, at, 0, p->src.aligned), em_add(e, tap, kx.i), line);
        em_for_end(e, &kx, line, 2);
        state[0] = apart ? em_fadd(e, state[0], line[0]) : line[0];
        state[1] = line[1];
    }
    em_for_end(e, &ky, state, 2);
}

/* Taps of the winners; padding lanes say 0, whatever their first real cell was. */
static Val winners(KernelCtx *k, const Pool *p, Val taps, Val cb) {
    Emit *e = k->e;
    int64_t width = em_width(e);
    if (p->src.c % width == 0)
        return taps;
    Val first = em_splat_i32(e, em_mul(e, cb, em_i64(e, width)));
    Val real = em_icmp(e, EM_LT, em_add(e, first, em_lane_index(e)),
                       em_splat_i32(e, em_i64(e, p->src.c)));
    return em_select(e, real, taps, em_splat_i32(e, em_i64(e, 0)));
}

/* 1 / number of cells the window averages over */
static Val average_factor(KernelCtx *k, const Pool *p, Val ky_lo, Val ky_hi, Val kx_lo, Val kx_hi) {
    Emit *e = k->e;
    if (p->whole_window)
        return em_vec(e, 1.0 / (double)(p->a->kernel[0] * p->a->kernel[1]));
    Val cells = em_mul(e, em_sub(e, ky_hi, ky_lo), em_sub(e, kx_hi, kx_lo));
    return em_splat(e, em_fdiv(e, em_f32(e, 1), em_i64_to_f32(e, cells)));
}

static Val finish(KernelCtx *k, const Pool *p, Val sum, Val cb, Val factor) {
    Emit *e = k->e;
    if (p->max)
        return sum;
    if (p->sum) {
        Val channel = em_mul(e, cb, em_i64(e, em_width(e)));
        Val coefficient = em_load(e, em_ptr(e, p->coefficient, channel), 0, true);
        return em_fma(e, sum, coefficient, em_load(e, em_ptr(e, p->bias, channel), 0, true));
    }
    return em_fmul(e, sum, factor);
}

/* Outputs [from, to) of one row; `rows`, `inner`: all windows lie inside the real rows, columns. */
static void forward_span(KernelCtx *k, Pool *p, Val n, Val cb, Val y, int64_t from, int64_t to,
                         bool rows, bool inner) {
    Emit *e = k->e;
    const PoolAttrs *a = p->a;
    if (from >= to)
        return;
    Val ky_lo = em_i64(e, 0), ky_hi = em_i64(e, a->kernel[0]);
    Val kx_lo = em_i64(e, 0), kx_hi = em_i64(e, a->kernel[1]);
    if (!rows)
        clip(e, y, a->stride[0], a->pad[0], a->kernel[0], p->ih, &ky_lo, &ky_hi);
    Loop x = em_for(e, em_i64(e, from), em_i64(e, to), 1, "x", NULL, 0);
    if (!inner)
        clip(e, x.i, a->stride[1], a->pad[2], a->kernel[1], p->iw, &kx_lo, &kx_hi);
    Val top = em_sub(e, em_mul(e, y, em_i64(e, a->stride[0])), em_i64(e, a->pad[0]));
    Val left = em_sub(e, em_mul(e, x.i, em_i64(e, a->stride[1])), em_i64(e, a->pad[2]));
    Val corner = view_at(k, &p->src, n, p->src_cb ? em_sub(e, cb, p->src_cb) : cb,
                         p->src_y ? em_sub(e, top, p->src_y) : top, left);
    Val state[2] = {em_vec(e, p->max ? -INFINITY : 0), em_splat_i32(e, em_i64(e, 0))};
    if (rows && inner && a->kernel[0] * a->kernel[1] <= UNROLLED_TAPS)
        small_window(k, p, corner, state);
    else
        window(k, p, corner, ky_lo, ky_hi, inner, kx_lo, kx_hi, state);
    Val factor = p->max || p->sum ? NULL : average_factor(k, p, ky_lo, ky_hi, kx_lo, kx_hi);
    if (p->record)
        em_store_u8(e, view_at(k, &p->switches, n, cb, y, x.i), 0, winners(k, p, state[1], cb));
    epi_tile(k, &p->epi, n, cb, y, x.i);
    epi_emit(k, &p->epi, finish(k, p, state[0], cb, factor), 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

static void forward_spans(KernelCtx *k, Pool *p, Val n, Val cb, Val y, bool rows) {
    int64_t from, to;
    inner_range(p, &from, &to);
    forward_span(k, p, n, cb, y, 0, from, rows, false);
    forward_span(k, p, n, cb, y, from, to, rows, true);
    forward_span(k, p, n, cb, y, to, p->ow, rows, false);
}

static void forward_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    Pool *p = user;
    Emit *e = k->e;
    epi_row(k, &p->epi, n, cb, 1, y);
    if (p->record)
        halo_row(k, &p->switches, n, cb, 1, y);
    if (inner_rows(p)) {
        forward_spans(k, p, n, cb, y, true);
        return;
    }
    /* Only the first and the last rows of windows reach over the border. */
    const PoolAttrs *a = p->a;
    int64_t first = (a->pad[0] + a->stride[0] - 1) / a->stride[0];
    int64_t last = (p->ih + a->pad[0] - a->kernel[0]) / a->stride[0];
    If lower = em_if(e, em_icmp(e, EM_GE, y, em_i64(e, first)));
    If upper = em_if(e, em_icmp(e, EM_LE, y, em_i64(e, last)));
    forward_spans(k, p, n, cb, y, true);
    em_else(e, &upper);
    forward_spans(k, p, n, cb, y, false);
    em_endif(e, &upper);
    em_else(e, &lower);
    forward_spans(k, p, n, cb, y, false);
    em_endif(e, &lower);
}

/* What k->node pools: everything of p but the view of its source. */
static void pool_open(KernelCtx *k, Pool *p) {
    const Node *node = k->node;
    int64_t c;
    p->a = k->attrs;
    epi_open(k, &p->epi);
    p->record = p->max && node->nout > 1 && node->out[1] && graph_v(k->g, node->out[1])->stored;
    if (p->record)
        p->switches = view_of(k, node->out[1]);
    shape_chw(&graph_v(k->g, node->in[0])->shape, &c, &p->ih, &p->iw);
    shape_chw(&graph_v(k->g, node->out[0])->shape, &c, &p->oh, &p->ow);
}

static void lower_forward(KernelCtx *k, Pool *p) {
    pool_open(k, p);
    p->src = view_of(k, k->node->in[0]);
    rows_for_each(k, p->src.cblocks, p->oh, forward_row, p);
}

void lower_maxpool(KernelCtx *k) { lower_forward(k, &(Pool){.max = true}); }

void lower_avgpool(KernelCtx *k) {
    lower_forward(k, &(Pool){.whole_window = ((const PoolAttrs *)k->attrs)->count_pad});
}

void lower_subsample(KernelCtx *k) {
    Pool p = {.sum = true};
    p.coefficient = bias_at(k, k->node->in[1]);
    p.bias = bias_at(k, k->node->in[2]);
    lower_forward(k, &p);
}

/* ---- behind another kernel ---- */

struct PoolTail {
    KernelCtx k;   /* of the pool, as if it were a kernel of its own */
    Kernel kernel; /* its chain: the functions behind the pool */
    Pool pool;
};

PoolTail *pool_tail_open(KernelCtx *k, const View *src) {
    PoolTail *t = ARENA_NEW(k->g->keep, PoolTail);
    t->kernel = *k->k;
    t->kernel.anchor = k->k->tail;
    t->kernel.nchain = k->k->nbehind;
    memcpy(t->kernel.chain, k->k->behind, sizeof k->k->behind);
    t->kernel.tail = 0;
    t->kernel.nbehind = 0;
    t->k = *k;
    t->k.k = &t->kernel;
    t->k.node = graph_n(k->g, k->k->tail);
    t->k.attrs = t->k.node->attrs;
    t->pool.max = t->k.node->op == OP_MAXPOOL;
    t->pool.whole_window = !t->pool.max && ((const PoolAttrs *)t->k.attrs)->count_pad;
    BUG_IF(!t->pool.max && t->k.node->op != OP_AVGPOOL, "'%s' behind a kernel",
           op_name[t->k.node->op]);
    pool_open(&t->k, &t->pool);
    t->pool.src = *src;
    return t;
}

void pool_tail_rows(PoolTail *t, Val n, Val cb, int64_t ncb, Val from, Val to, Val src_cb,
                    Val src_y) {
    Emit *e = t->k.e;
    t->pool.src_cb = src_cb;
    t->pool.src_y = src_y;
    Loop block = em_for(e, em_i64(e, 0), em_i64(e, ncb), 1, "pool.cb", NULL, 0);
    Loop y = em_for(e, from, to, 1, "pool.y", NULL, 0);
    forward_row(&t->k, &t->pool, n, em_add(e, cb, block.i), y.i);
    em_for_end(e, &y, NULL, 0);
    em_for_end(e, &block, NULL, 0);
}

/* ---- adjoints ---- */

/* Windows o with o * stride - pad <= i <= o * stride - pad + kernel - 1, inside [0, out). */
static void covering(Emit *e, Val i, int64_t stride, int64_t pad, int64_t kernel, int64_t out,
                     Val *lo, Val *hi) {
    Val p = em_add(e, i, em_i64(e, pad));
    /* ceil((p - kernel + 1) / stride), numerator kept non-negative by the max with zero */
    Val first = em_imax(e, em_i64(e, 0), em_sub(e, p, em_i64(e, kernel - stride)));
    *lo = em_div(e, first, em_i64(e, stride));
    *hi = em_imin(e, em_i64(e, out), em_add(e, em_div(e, p, em_i64(e, stride)), em_i64(e, 1)));
}

/* What window (oy, ox) sends back to the cell at tap (ky, kx). */
static Val share(KernelCtx *k, const Pool *p, Val n, Val cb, Val oy, Val ox, Val tap) {
    Emit *e = k->e;
    Val dy = em_load(e, view_at(k, &p->dst, n, cb, oy, ox), 0, p->dst.aligned);
    if (p->max) {
        Val at = em_load_u8(e, view_at(k, &p->dst_switches, n, cb, oy, ox), 0);
        return em_select(e, em_icmp(e, EM_EQ, at, em_splat_i32(e, tap)), dy, em_vec(e, 0));
    }
    if (p->sum || p->whole_window)
        return dy; /* scaled once at the end */
    Val ky_lo, ky_hi, kx_lo, kx_hi;
    clip(e, oy, p->a->stride[0], p->a->pad[0], p->a->kernel[0], p->ih, &ky_lo, &ky_hi);
    clip(e, ox, p->a->stride[1], p->a->pad[2], p->a->kernel[1], p->iw, &kx_lo, &kx_hi);
    return em_fmul(e, dy, average_factor(k, p, ky_lo, ky_hi, kx_lo, kx_hi));
}

static Val scale_back(KernelCtx *k, const Pool *p, Val cb, Val sum) {
    Emit *e = k->e;
    if (p->sum) {
        Val channel = em_mul(e, cb, em_i64(e, em_width(e)));
        return em_fmul(e, sum, em_load(e, em_ptr(e, p->coefficient, channel), 0, true));
    }
    if (!p->max && p->whole_window)
        return em_fmul(e, sum, em_vec(e, 1.0 / (double)(p->a->kernel[0] * p->a->kernel[1])));
    return sum;
}

/* One row of diff_src, any window geometry. */
static void gather_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    Pool *p = user;
    const PoolAttrs *a = p->a;
    Emit *e = k->e;
    epi_row(k, &p->epi, n, cb, 1, y);
    Val oy_lo, oy_hi;
    covering(e, y, a->stride[0], a->pad[0], a->kernel[0], p->oh, &oy_lo, &oy_hi);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, p->iw), 1, "x", NULL, 0);
    Val ox_lo, ox_hi, sum[1] = {em_vec(e, 0)};
    covering(e, x.i, a->stride[1], a->pad[2], a->kernel[1], p->ow, &ox_lo, &ox_hi);
    Loop oy = em_for(e, oy_lo, oy_hi, 1, "oy", sum, 1);
    Val ky = em_sub(e, em_add(e, y, em_i64(e, a->pad[0])),
                    em_mul(e, oy.i, em_i64(e, a->stride[0])));
    Loop ox = em_for(e, ox_lo, ox_hi, 1, "ox", sum, 1);
    Val kx = em_sub(e, em_add(e, x.i, em_i64(e, a->pad[2])),
                    em_mul(e, ox.i, em_i64(e, a->stride[1])));
    Val tap = em_add(e, em_mul(e, ky, em_i64(e, a->kernel[1])), kx);
    sum[0] = em_fadd(e, sum[0], share(k, p, n, cb, oy.i, ox.i, tap));
    em_for_end(e, &ox, sum, 1);
    em_for_end(e, &oy, sum, 1);
    epi_tile(k, &p->epi, n, cb, y, x.i);
    epi_emit(k, &p->epi, scale_back(k, p, cb, sum[0]), 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

/* One row of diff_src when windows tile the plane (kernel = stride, no padding): each window is
 * read once and writes its own cells; rows and columns behind the last window are zero. */
static void tiled_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    Pool *p = user;
    Emit *e = k->e;
    int64_t s = p->a->stride[1], covered = p->ow * s;
    epi_row(k, &p->epi, n, cb, 1, y);
    Val oy, ky;
    split_index(e, y, p->a->stride[0], &oy, &ky);
    Val tap = em_mul(e, ky, em_i64(e, p->a->kernel[1]));
    If f = em_if(e, em_icmp(e, EM_LT, oy, em_i64(e, p->oh)));
    Loop ox = em_for(e, em_i64(e, 0), em_i64(e, p->ow), 1, "ox", NULL, 0);
    epi_tile(k, &p->epi, n, cb, y, em_mul(e, ox.i, em_i64(e, s)));
    for (int64_t kx = 0; kx < s; kx++) {
        Val part = share(k, p, n, cb, oy, ox.i, em_add(e, tap, em_i64(e, kx)));
        epi_emit(k, &p->epi, scale_back(k, p, cb, part), 0, 0, 0, kx);
    }
    em_for_end(e, &ox, NULL, 0);
    em_endif(e, &f);
    Val reach = em_select(e, em_icmp(e, EM_LT, oy, em_i64(e, p->oh)), em_i64(e, covered),
                          em_i64(e, 0));
    Loop x = em_for(e, reach, em_i64(e, p->iw), 1, "x", NULL, 0);
    epi_tile(k, &p->epi, n, cb, y, x.i);
    epi_emit(k, &p->epi, em_vec(e, 0), 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

static void lower_backward(KernelCtx *k, Pool *p) {
    const PoolAttrs *a = p->a = k->attrs;
    int64_t c;
    epi_open(k, &p->epi);
    p->dst = view_of(k, k->node->in[0]);
    p->oh = p->dst.h, p->ow = p->dst.w;
    shape_chw(&graph_v(k->g, k->node->out[0])->shape, &c, &p->ih, &p->iw);
    bool tiles = a->kernel[0] == a->stride[0] && a->kernel[1] == a->stride[1] && !a->pad[0] &&
                 !a->pad[1] && !a->pad[2] && !a->pad[3] && p->oh * a->stride[0] <= p->ih &&
                 p->ow * a->stride[1] <= p->iw && a->stride[1] <= UNROLLED_ROW;
    rows_for_each(k, p->dst.cblocks, p->ih, tiles ? tiled_row : gather_row, p);
}

void lower_maxpool_bwd(KernelCtx *k) {
    Pool p = {.max = true, .dst_switches = view_of(k, k->node->in[1])};
    lower_backward(k, &p);
}

void lower_avgpool_bwd(KernelCtx *k) {
    Pool p = {.whole_window = ((const PoolAttrs *)k->attrs)->count_pad};
    lower_backward(k, &p);
}

void lower_subsample_bwd_data(KernelCtx *k) {
    Pool p = {.sum = true, .coefficient = bias_at(k, k->node->in[1])};
    lower_backward(k, &p);
}

/* ---- gradient of subsample's coefficients: sum over images and windows of dy * sum(window) ---- */

void choose_subsample_bwd_coef(const Graph *g, Kernel *k, const Target *t) {
    const Value *src = graph_v(g, graph_n(g, k->anchor)->in[0]);
    k->algorithm = "reduce";
    k->why = "one task per channel block, images in order";
    k->tasks_per = (src->shape.dim[0] + t->vector - 1) / t->vector;
    k->tasks_block = 0;
}

void lower_subsample_bwd_coef(KernelCtx *k) {
    Emit *e = k->e;
    Pool p = {.sum = true, .a = k->attrs};
    p.src = view_of(k, k->node->in[0]);
    p.dst = view_of(k, k->node->in[1]);
    p.ih = p.src.h, p.iw = p.src.w;
    int64_t floats;
    Val out = flat_at(k, k->node->out[0], &floats);
    Loop task = task_loop(k);
    Val total[1] = {em_vec(e, 0)};
    Loop n = em_for(e, em_i64(e, 0), k->n, 1, "n", total, 1);
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, p.dst.h), 1, "y", total, 1);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, p.dst.w), 1, "x", total, 1);
    Val ky_lo, ky_hi, kx_lo, kx_hi;
    clip(e, y.i, p.a->stride[0], p.a->pad[0], p.a->kernel[0], p.ih, &ky_lo, &ky_hi);
    clip(e, x.i, p.a->stride[1], p.a->pad[2], p.a->kernel[1], p.iw, &kx_lo, &kx_hi);
    Val top = em_sub(e, em_mul(e, y.i, em_i64(e, p.a->stride[0])), em_i64(e, p.a->pad[0]));
    Val left = em_sub(e, em_mul(e, x.i, em_i64(e, p.a->stride[1])), em_i64(e, p.a->pad[2]));
    Val state[2] = {em_vec(e, 0), em_splat_i32(e, em_i64(e, 0))};
    window(k, &p, view_at(k, &p.src, n.i, task.i, top, left), ky_lo, ky_hi, false, kx_lo, kx_hi,
           state);
    Val dy = em_load(e, view_at(k, &p.dst, n.i, task.i, y.i, x.i), 0, p.dst.aligned);
    total[0] = em_fma(e, dy, state[0], total[0]);
    em_for_end(e, &x, total, 1);
    em_for_end(e, &y, total, 1);
    em_for_end(e, &n, total, 1);
    em_store(e, em_ptr(e, out, em_mul(e, task.i, em_i64(e, em_width(e)))), 0, total[0], true);
    task_end(k, &task);
}
