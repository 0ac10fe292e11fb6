/* lanes_pool.c: pooling and subsampling inside a block kernel, and their adjoints.
 *
 * The same sums in the same order as pool_lower.c; a channel's coefficient and bias are broadcast.
 * Switches are one byte per image and window.
 */
#include <math.h>

#include "base/bug.h"
#include "ops/lanes.h"
#include "ops/pool.h"

enum { UNROLLED_TAPS = 16, TILE_CELLS = 64 };

typedef struct Window {
    const PoolAttrs *a;
    bool max, sum, whole; /* sum: subsample; whole: average over the whole window always */
    LanesTensor src, dst, switches; /* backward: dst is diff_dst */
    bool record;
    LanesEpi ep;
    Val coefficient, bias;
    int64_t ih, iw, oh, ow, c;
} Window;

static Val zero_taps(LanesCtx *l) { return em_splat_i32(l->e, em_i64(l->e, 0)); }

static void take(LanesCtx *l, bool max, Val x, Val tap, Val state[2]) {
    Emit *e = l->e;
    if (!max) {
        state[0] = em_fadd(e, state[0], x);
        return;
    }
    pool_take_max(e, x, tap, state);
}

/* ---- behind a convolution, in registers ---- */

void lanes_pool_open(LanesCtx *l, LanesPool *p) {
    const Node *n = graph_n(l->g, l->step->tail);
    p->a = n->attrs;
    p->max = n->op == OP_MAXPOOL;
    p->dst = lanes_tensor(l, n->out[0]);
    p->record = p->max && lanes_stored(l, n->out[1]);
    if (p->record)
        p->switches = lanes_tensor(l, n->out[1]);
}

void lanes_pool_tile(LanesCtx *l, const LanesPool *p, const Val *result, int rows, int cols, Val c,
                     Val y, Val x) {
    Emit *e = l->e;
    int kh = (int)p->a->kernel[0], kw = (int)p->a->kernel[1];
    BUG_IF(kh * kw > TILE_CELLS, "a window of %d x %d in registers", kh, kw);
    Val oy = em_div(e, y, em_i64(e, kh)), ox = em_div(e, x, em_i64(e, kw));
    Val at = lanes_at(l, &p->dst, c, oy, ox);
    Val switches = p->record ? lanes_at(l, &p->switches, c, oy, ox) : NULL;
    for (int wy = 0; wy < rows / kh; wy++)
        for (int wx = 0; wx < cols / kw; wx++) {
            Val state[2] = {em_vec(e, 0), NULL}, cell[TILE_CELLS];
            for (int k = 0; k < kh * kw; k++)
                cell[k] = result[(wy * kh + k / kw) * cols + wx * kw + k % kw];
            for (int k = 0; k < kh * kw && !p->max; k++)
                state[0] = em_fadd(e, state[0], cell[k]);
            if (p->max)
                pool_max_of(e, cell, kh * kw, p->record, state);
            else
                state[0] = em_fmul(e, state[0], em_vec(e, 1.0 / (kh * kw)));
            em_store(e, at, wy * p->dst.row + wx * p->dst.pixel, state[0], true);
            if (p->record)
                em_store_u8(e, switches, wy * p->switches.row + wx * p->switches.pixel, state[1]);
        }
}

/* ---- forward ---- */

/* First and one-past-last real tap of window o along one side. */
static void clip(Emit *e, Val o, int64_t stride, int64_t pad, int64_t kernel, int64_t in, Val *lo,
                 Val *hi) {
    Val start = em_sub(e, em_mul(e, o, em_i64(e, stride)), em_i64(e, pad));
    *lo = em_imax(e, em_i64(e, 0), em_sub(e, em_i64(e, 0), start));
    *hi = em_imin(e, em_i64(e, kernel), em_sub(e, em_i64(e, in), start));
}

static bool inner(const Window *w) {
    const PoolAttrs *a = w->a;
    return a->pad[0] == 0 && a->pad[2] == 0 &&
           (w->oh - 1) * a->stride[0] + a->kernel[0] <= w->ih &&
           (w->ow - 1) * a->stride[1] + a->kernel[1] <= w->iw;
}

/* 1 / number of cells that window (oy, ox) averages over */
static Val average_factor(LanesCtx *l, const Window *w, Val oy, Val ox) {
    Emit *e = l->e;
    Val ylo, yhi, xlo, xhi;
    if (w->whole || inner(w))
        return em_vec(e, 1.0 / (double)(w->a->kernel[0] * w->a->kernel[1]));
    clip(e, oy, w->a->stride[0], w->a->pad[0], w->a->kernel[0], w->ih, &ylo, &yhi);
    clip(e, ox, w->a->stride[1], w->a->pad[2], w->a->kernel[1], w->iw, &xlo, &xhi);
    Val cells = em_mul(e, em_sub(e, yhi, ylo), em_sub(e, xhi, xlo));
    return em_splat(e, em_fdiv(e, em_f32(e, 1), em_i64_to_f32(e, cells)));
}

/* state = the window's sum, or maximum and its tap */
static void window(LanesCtx *l, const Window *w, Val c, Val oy, Val ox, Val state[2]) {
    Emit *e = l->e;
    const PoolAttrs *a = w->a;
    Val top = em_sub(e, em_mul(e, oy, em_i64(e, a->stride[0])), em_i64(e, a->pad[0]));
    Val left = em_sub(e, em_mul(e, ox, em_i64(e, a->stride[1])), em_i64(e, a->pad[2]));
    Val corner = lanes_at(l, &w->src, c, top, left);
    state[0] = em_vec(e, w->max ? -INFINITY : 0);
    state[1] = zero_taps(l);
    if (inner(w) && a->kernel[0] * a->kernel[1] <= UNROLLED_TAPS) {
        Val cell[UNROLLED_TAPS];
        int64_t n = a->kernel[0] * a->kernel[1];
        for (int64_t k = 0; k < n; k++) {
            int64_t off = k / a->kernel[1] * w->src.row + k % a->kernel[1] * w->src.pixel;
            cell[k] = em_load(e, corner, off, true);
            if (!w->max)
                state[0] = em_fadd(e, state[0], cell[k]);
        }
        if (w->max)
            pool_max_of(e, cell, (int)n, w->record, state);
        return;
    }
    Val ylo, yhi, xlo, xhi;
    clip(e, oy, a->stride[0], a->pad[0], a->kernel[0], w->ih, &ylo, &yhi);
    clip(e, ox, a->stride[1], a->pad[2], a->kernel[1], w->iw, &xlo, &xhi);
    Loop ky = em_for(e, ylo, yhi, 1, "ky", state, 2);
    bool apart = !w->max && a->kernel[1] > POOL_WIDE_ROW;
    Val line[2] = {apart ? em_vec(e, 0) : state[0], state[1]};
    Loop kx = em_for(e, xlo, xhi, 1, "kx", line, 2);
    Val off = em_add(e, em_mul(e, ky.i, em_i64(e, w->src.row)),
                     em_mul(e, kx.i, em_i64(e, w->src.pixel)));
    Val tap = em_add(e, em_mul(e, ky.i, em_i64(e, a->kernel[1])), kx.i);
    take(l, w->max, em_load(e, em_ptr(e, corner, off), 0, true), tap, line);
    em_for_end(e, &kx, line, 2);
    state[0] = apart ? em_fadd(e, state[0], line[0]) : line[0];
    state[1] = line[1];
    em_for_end(e, &ky, state, 2);
}

static void open_window(LanesCtx *l, Window *w, ValueId src, ValueId dst) {
    int64_t c;
    w->a = l->attrs;
    shape_chw(&graph_v(l->g, src)->shape, &w->c, &w->ih, &w->iw);
    shape_chw(&graph_v(l->g, dst)->shape, &c, &w->oh, &w->ow);
}

static void pool_forward(LanesCtx *l, Window *w) {
    Emit *e = l->e;
    Loop lc, ly, lx;
    open_window(l, w, l->node->in[0], l->node->out[0]);
    lanes_epi_open(l, &w->ep);
    w->src = lanes_tensor(l, l->node->in[0]);
    w->record = w->max && lanes_stored(l, l->node->out[1]);
    if (w->record)
        w->switches = lanes_tensor(l, l->node->out[1]);
    Val c = loop_begin(e, &lc, 0, w->c, 1, "c"), y = loop_begin(e, &ly, 0, w->oh, 1, "y");
    Val x = loop_begin(e, &lx, 0, w->ow, 1, "x"), state[2];
    window(l, w, c, y, x, state);
    if (w->sum)
        state[0] = em_fma(e, state[0], em_bcast(e, em_ptr(e, w->coefficient, c), 0),
                          em_bcast(e, em_ptr(e, w->bias, c), 0));
    else if (!w->max)
        state[0] = em_fmul(e, state[0], average_factor(l, w, y, x));
    if (w->record)
        em_store_u8(e, lanes_at(l, &w->switches, c, y, x), 0, state[1]);
    lanes_epi_tile(l, &w->ep, c, y, x);
    lanes_epi_emit(l, &w->ep, state[0], 0, 0, 0);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
}

void lanes_maxpool(LanesCtx *l) { pool_forward(l, &(Window){.max = true}); }

void lanes_avgpool(LanesCtx *l) {
    pool_forward(l, &(Window){.whole = ((const PoolAttrs *)l->attrs)->count_pad});
}

void lanes_subsample(LanesCtx *l) {
    Window w = {.sum = true};
    w.coefficient = bias_at(l->k, l->node->in[1]);
    w.bias = bias_at(l->k, l->node->in[2]);
    pool_forward(l, &w);
}

/* ---- adjoints: every cell of diff_src gathers from the windows that cover it ---- */

/* Windows o with o * stride - pad <= i <= o * stride - pad + kernel - 1, inside [0, out). */
static void covering(Emit *e, Val i, int64_t stride, int64_t pad, int64_t kernel, int64_t out,
                     Val *lo, Val *hi) {
    Val p = em_add(e, i, em_i64(e, pad));
    Val first = em_imax(e, em_i64(e, 0), em_sub(e, p, em_i64(e, kernel - stride)));
    *lo = em_div(e, first, em_i64(e, stride));
    *hi = em_imin(e, em_i64(e, out), em_add(e, em_div(e, p, em_i64(e, stride)), em_i64(e, 1)));
}

/* What window (oy, ox) sends back to its tap. */
static Val share(LanesCtx *l, const Window *w, Val c, Val oy, Val ox, Val tap) {
    Emit *e = l->e;
    Val dy = em_load(e, lanes_at(l, &w->dst, c, oy, ox), 0, true);
    if (w->max) {
        Val at = em_load_u8(e, lanes_at(l, &w->switches, c, oy, ox), 0);
        return em_select(e, em_icmp(e, EM_EQ, at, em_splat_i32(e, tap)), dy, em_vec(e, 0));
    }
    if (w->sum || w->whole)
        return dy; /* scaled once at the end */
    return em_fmul(e, dy, average_factor(l, w, oy, ox));
}

static Val scale_back(LanesCtx *l, const Window *w, Val c, Val sum) {
    Emit *e = l->e;
    if (w->sum)
        return em_fmul(e, sum, em_bcast(e, em_ptr(e, w->coefficient, c), 0));
    if (!w->max && w->whole)
        return em_fmul(e, sum, em_vec(e, 1.0 / (double)(w->a->kernel[0] * w->a->kernel[1])));
    return sum;
}

static void gather(LanesCtx *l, Window *w) {
    Emit *e = l->e;
    const PoolAttrs *a = w->a;
    Loop lc, ly, lx;
    Val c = loop_begin(e, &lc, 0, w->c, 1, "c"), y = loop_begin(e, &ly, 0, w->ih, 1, "y");
    Val x = loop_begin(e, &lx, 0, w->iw, 1, "x"), ylo, yhi, xlo, xhi, sum[1] = {em_vec(e, 0)};
    covering(e, y, a->stride[0], a->pad[0], a->kernel[0], w->oh, &ylo, &yhi);
    covering(e, x, a->stride[1], a->pad[2], a->kernel[1], w->ow, &xlo, &xhi);
    Loop oy = em_for(e, ylo, yhi, 1, "oy", sum, 1);
    Loop ox = em_for(e, xlo, xhi, 1, "ox", sum, 1);
    Val ky = em_sub(e, em_add(e, y, em_i64(e, a->pad[0])),
                    em_mul(e, oy.i, em_i64(e, a->stride[0])));
    Val kx = em_sub(e, em_add(e, x, em_i64(e, a->pad[2])),
                    em_mul(e, ox.i, em_i64(e, a->stride[1])));
    Val tap = em_add(e, em_mul(e, ky, em_i64(e, a->kernel[1])), kx);
    sum[0] = em_fadd(e, sum[0], share(l, w, c, oy.i, ox.i, tap));
    em_for_end(e, &ox, sum, 1);
    em_for_end(e, &oy, sum, 1);
    lanes_epi_tile(l, &w->ep, c, y, x);
    lanes_epi_emit(l, &w->ep, scale_back(l, w, c, sum[0]), 0, 0, 0);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
}

/* Windows tile the plane: each is read once and writes its own cells. */
static void scatter(LanesCtx *l, Window *w) {
    Emit *e = l->e;
    const PoolAttrs *a = w->a;
    Loop lc, ly, lx;
    Val c = loop_begin(e, &lc, 0, w->c, 1, "c"), oy = loop_begin(e, &ly, 0, w->oh, 1, "y");
    Val ox = loop_begin(e, &lx, 0, w->ow, 1, "x");
    lanes_epi_tile(l, &w->ep, c, em_mul(e, oy, em_i64(e, a->stride[0])),
                   em_mul(e, ox, em_i64(e, a->stride[1])));
    for (int64_t k = 0; k < a->kernel[0] * a->kernel[1]; k++) {
        Val part = scale_back(l, w, c, share(l, w, c, oy, ox, em_i64(e, k)));
        lanes_epi_emit(l, &w->ep, part, 0, k / a->kernel[1], k % a->kernel[1]);
    }
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
}

static void pool_backward(LanesCtx *l, Window *w) {
    const PoolAttrs *a = l->attrs;
    open_window(l, w, l->node->out[0], l->node->in[0]);
    lanes_epi_open(l, &w->ep);
    w->dst = lanes_tensor(l, l->node->in[0]);
    bool tiles = a->kernel[0] == a->stride[0] && a->kernel[1] == a->stride[1] && inner(w) &&
                 w->oh * a->stride[0] == w->ih && w->ow * a->stride[1] == w->iw &&
                 a->kernel[0] * a->kernel[1] <= UNROLLED_TAPS;
    if (tiles)
        scatter(l, w);
    else
        gather(l, w);
}

void lanes_maxpool_bwd(LanesCtx *l) {
    Window w = {.max = true, .switches = lanes_tensor(l, l->node->in[1])};
    pool_backward(l, &w);
}

void lanes_avgpool_bwd(LanesCtx *l) {
    Window w = {.whole = ((const PoolAttrs *)l->attrs)->count_pad};
    pool_backward(l, &w);
}

void lanes_subsample_bwd_data(LanesCtx *l) {
    Window w = {.sum = true, .coefficient = bias_at(l->k, l->node->in[1])};
    pool_backward(l, &w);
}

/* Sum over images and windows of diff_dst * sum(window), a channel at a time. */
void lanes_subsample_bwd_coef(LanesCtx *l) {
    Emit *e = l->e;
    Window w = {.sum = true};
    bool cleared;
    open_window(l, &w, l->node->in[0], l->node->in[1]);
    w.src = lanes_tensor(l, l->node->in[0]);
    w.dst = lanes_tensor(l, l->node->in[1]);
    Val to = lanes_gradient(l, l->node->out[0], &cleared);
    Loop lc;
    Val c = loop_begin(e, &lc, 0, w.c, 1, "c"), total[1] = {em_vec(e, 0)}, state[2];
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, w.oh), 1, "y", total, 1);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, w.ow), 1, "x", total, 1);
    window(l, &w, c, y.i, x.i, state);
    Val dy = em_load(e, lanes_at(l, &w.dst, c, y.i, x.i), 0, true);
    total[0] = em_fma(e, dy, state[0], total[0]);
    em_for_end(e, &x, total, 1);
    em_for_end(e, &y, total, 1);
    Val at = em_ptr(e, to, c);
    em_store1(e, at, 0,
              em_fadd(e, lanes_before(l, at, 0, cleared, true), em_reduce_add(e, total[0])));
    loop_end(e, &lc);
}
