/* frames_lower.c: code of windows over the frames of clips (facts in frames.c).
 *
 * A frame is an image in memory; image n of the result is frame n % count of clip n / count.
 * Windows as maps: with few taps whole vectors are loaded and their lanes interleaved, else lanes
 * move one by one.  Sums and maxima walk the taps of a row.  Gradients gather: no two tasks write
 * one cell, and sums run in the order of the taps.
 * ensures: padding lanes and halos are zero, as those of the source are.
 */
#include <math.h>

#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"
#include "ops/pool.h"

enum { INTERLEAVED_TAPS = 8 };

typedef struct Frames {
    const FramesAttrs *a;
    View src, dst, switches;
    int64_t frames, count; /* of source and result */
    bool record;           /* switches are wanted */
} Frames;

/* Few taps as maps: tasks go by the blocks of the side with fewer maps. */
static bool interleaves(const FramesAttrs *a) {
    return a->mode == FRAMES_MAPS && a->taps <= INTERLEAVED_TAPS;
}

void choose_frames(const Graph *g, Kernel *k, const Target *t) {
    const Node *n = graph_n(g, k->anchor);
    const FramesAttrs *a = n->attrs;
    bool by_source = n->op == OP_FRAMES && interleaves(a) && !a->adjoint;
    int64_t c, h, w;
    shape_chw(&graph_v(g, by_source ? n->in[0] : n->out[0])->shape, &c, &h, &w);
    k->algorithm = "frames";
    k->why = "one pass over memory, vectors of channels";
    rows_split((c + t->vector - 1) / t->vector, h, w, k);
}

static Frames frames_open(KernelCtx *k) {
    Frames f = {.a = k->attrs};
    f.src = view_of(k, k->node->in[0]);
    f.dst = view_of(k, k->node->out[0]);
    f.frames = shape_frames(&graph_v(k->g, k->node->in[0])->shape);
    f.count = shape_frames(&graph_v(k->g, k->node->out[0])->shape);
    return f;
}

/* Clip and frame of image n of the result. */
static void which_frame(KernelCtx *k, const Frames *f, Val n, Val *clip, Val *frame) {
    split_index(k->e, n, f->count, clip, frame);
}

static Val image_of(KernelCtx *k, const Frames *f, Val clip, Val frame) {
    return em_add(k->e, em_mul(k->e, clip, em_i64(k->e, f->frames)), frame);
}

/* The source frame behind tap t of result frame `frame`, an existing one; *real: is it that one?
 * (NULL: always). */
static Val tap_frame(KernelCtx *k, const Frames *f, Val frame, Val tap, Val *real) {
    Emit *e = k->e;
    const FramesAttrs *a = f->a;
    Val at = em_add(e, em_mul(e, frame, em_i64(e, a->step)), em_i64(e, a->from));
    at = em_add(e, at, em_mul(e, tap, em_i64(e, a->apart)));
    *real = NULL;
    if (a->from >= 0 && a->from + (a->count - 1) * a->step + (a->taps - 1) * a->apart < f->frames)
        return at;
    Val there = em_imax(e, em_i64(e, 0), em_imin(e, at, em_i64(e, f->frames - 1)));
    *real = em_icmp(e, EM_EQ, at, there);
    return there;
}

/* The adjoint's: the window whose tap t is on frame `frame`. */
static Val window_of(KernelCtx *k, const Frames *f, Val frame, Val tap, Val *real) {
    Emit *e = k->e;
    const FramesAttrs *a = f->a;
    Val at = em_sub(e, frame, em_i64(e, a->from));
    at = em_sub(e, at, em_mul(e, tap, em_i64(e, a->apart)));
    Val window = em_div(e, em_imax(e, em_i64(e, 0), at), em_i64(e, a->step));
    window = em_imin(e, window, em_i64(e, a->count - 1));
    *real = em_icmp(e, EM_EQ, at, em_mul(e, window, em_i64(e, a->step)));
    return window;
}

static Val or_zero(Emit *e, Val real, Val value) {
    return real ? em_select(e, real, value, em_vec(e, 0)) : value;
}

/* Lanes of several vectors: lane l of the result is lane[l] of v[of[l]]. */
static Val pick_of(Emit *e, const Val *v, int n, const int *of, const int *lane) {
    int width = em_width(e), pick[64];
    Val got = NULL;
    for (int i = 0; i < n; i++) {
        bool any = false;
        for (int l = 0; l < width; l++) {
            any |= of[l] == i;
            pick[l] = of[l] == i ? (got ? width + lane[l] : lane[l]) : l;
        }
        if (any)
            got = em_pick(e, got ? got : v[i], v[i], pick);
    }
    return got;
}

/* Emits `then` for block cb + j of v if it exists; the caller closes with block_end. */
typedef struct MaybeIf {
    If f;
    bool open;
} MaybeIf;

static MaybeIf block_begin(KernelCtx *k, const View *v, int64_t most, Val cb) {
    MaybeIf m = {.open = most >= v->cblocks};
    if (m.open)
        m.f = em_if(k->e, em_icmp(k->e, EM_LT, cb, em_i64(k->e, v->cblocks)));
    return m;
}

static void block_end(KernelCtx *k, MaybeIf *m) {
    if (m->open)
        em_endif(k->e, &m->f);
}

/* ---- windows as maps ---- */

/* A row of source block cb becomes rows of `taps` blocks. */
static void interleave_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    int taps = (int)f->a->taps, width = em_width(e), of[64], lane[64];
    Val clip, frame, real[INTERLEAVED_TAPS], row[INTERLEAVED_TAPS], zero = em_i64(e, 0);
    Val first = em_mul(e, cb, em_i64(e, taps));
    int64_t last = (f->src.cblocks - 1) * taps;
    which_frame(k, f, n, &clip, &frame);
    for (int t = 0; t < taps; t++) {
        Val from = tap_frame(k, f, frame, em_i64(e, t), &real[t]);
        row[t] = view_at(k, &f->src, image_of(k, f, clip, from), cb, y, zero);
        MaybeIf m = block_begin(k, &f->dst, last + t, em_add(e, first, em_i64(e, t)));
        halo_row(k, &f->dst, n, em_add(e, first, em_i64(e, t)), 1, y);
        block_end(k, &m);
    }
    Val to = view_at(k, &f->dst, n, first, y, zero);
    Loop x = em_for(e, zero, em_i64(e, f->dst.w), 1, "x", NULL, 0);
    Val v[INTERLEAVED_TAPS], step = em_mul(e, x.i, em_i64(e, f->src.pixel));
    for (int t = 0; t < taps; t++)
        v[t] = or_zero(e, real[t], em_load(e, em_ptr(e, row[t], step), 0, f->src.aligned));
    Val at = em_ptr(e, to, em_mul(e, x.i, em_i64(e, f->dst.pixel)));
    for (int j = 0; j < taps; j++) {
        for (int l = 0; l < width; l++) {
            of[l] = (j * width + l) % taps;
            lane[l] = (j * width + l) / taps;
        }
        MaybeIf m = block_begin(k, &f->dst, last + j, em_add(e, first, em_i64(e, j)));
        em_store(e, at, j * f->dst.cblock, pick_of(e, v, taps, of, lane), f->dst.aligned);
        block_end(k, &m);
    }
    em_for_end(e, &x, NULL, 0);
}

/* Pointer to map c, which may be a run-time value, of pixel (y, x). */
static Val map_at(KernelCtx *k, const View *v, Val n, Val c, Val y, Val x) {
    Val cb, lane;
    split_index(k->e, c, v->block, &cb, &lane);
    return em_ptr(k->e, view_at(k, v, n, cb, y, x), lane);
}

/* Any number of taps: the maps of a block one by one. */
static void gather_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    Val clip, frame, real, width = em_i64(e, em_width(e)), buffer = em_stack(e, em_width(e));
    Val first = em_mul(e, cb, width);
    Val last = em_imin(e, em_add(e, first, width), em_i64(e, f->dst.c));
    which_frame(k, f, n, &clip, &frame);
    halo_row(k, &f->dst, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, f->dst.w), 1, "x", NULL, 0);
    em_store(e, buffer, 0, em_vec(e, 0), true);
    Loop q = em_for(e, first, last, 1, "map", NULL, 0);
    Val map, tap;
    split_index(e, q.i, f->a->taps, &map, &tap);
    Val image = image_of(k, f, clip, tap_frame(k, f, frame, tap, &real));
    Val got = em_load1(e, map_at(k, &f->src, image, map, y, x.i), 0);
    if (real)
        got = em_select(e, real, got, em_f32(e, 0));
    em_store1(e, em_ptr(e, buffer, em_sub(e, q.i, first)), 0, got);
    em_for_end(e, &q, NULL, 0);
    em_store(e, view_at(k, &f->dst, n, cb, y, x.i), 0, em_load(e, buffer, 0, true), f->dst.aligned);
    em_for_end(e, &x, NULL, 0);
}

/* Block first + j at `at`, or zeros where the source has none. */
static Val block_or_zero(KernelCtx *k, const Frames *f, Val at, Val first, int j) {
    Emit *e = k->e;
    if ((f->dst.cblocks - 1) * f->a->taps + j < f->src.cblocks)
        return em_load(e, at, j * f->src.cblock, f->src.aligned);
    Val there = em_icmp(e, EM_LT, em_add(e, first, em_i64(e, j)), em_i64(e, f->src.cblocks));
    Val step = em_select(e, there, em_i64(e, j * f->src.cblock), em_i64(e, 0));
    return or_zero(e, there, em_load(e, em_ptr(e, at, step), 0, f->src.aligned));
}

static void deinterleave_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    int taps = (int)f->a->taps, width = em_width(e), of[64], lane[64];
    Val clip, frame, real[INTERLEAVED_TAPS], row[INTERLEAVED_TAPS], zero = em_i64(e, 0);
    Val first = em_mul(e, cb, em_i64(e, taps)), sum = em_vec(e, 0);
    which_frame(k, f, n, &clip, &frame);
    halo_row(k, &f->dst, n, cb, 1, y);
    for (int t = 0; t < taps; t++) {
        Val from = window_of(k, f, frame, em_i64(e, t), &real[t]);
        row[t] = view_at(k, &f->src, image_of(k, f, clip, from), first, y, zero);
    }
    Loop x = em_for(e, zero, em_i64(e, f->dst.w), 1, "x", NULL, 0);
    for (int t = 0; t < taps; t++) {
        Val v[INTERLEAVED_TAPS], at = em_ptr(e, row[t], em_mul(e, x.i, em_i64(e, f->src.pixel)));
        for (int j = 0; j < taps; j++)
            v[j] = block_or_zero(k, f, at, first, j);
        for (int l = 0; l < width; l++) {
            of[l] = (l * taps + t) / width;
            lane[l] = (l * taps + t) % width;
        }
        sum = em_fadd(e, sum, or_zero(e, real[t], pick_of(e, v, taps, of, lane)));
    }
    em_store(e, view_at(k, &f->dst, n, cb, y, x.i), 0, sum, f->dst.aligned);
    em_for_end(e, &x, NULL, 0);
}

static void scatter_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    Val clip, frame, real, width = em_i64(e, em_width(e)), buffer = em_stack(e, em_width(e));
    Val first = em_mul(e, cb, width);
    Val last = em_imin(e, em_add(e, first, width), em_i64(e, f->dst.c));
    which_frame(k, f, n, &clip, &frame);
    halo_row(k, &f->dst, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, f->dst.w), 1, "x", NULL, 0);
    em_store(e, buffer, 0, em_vec(e, 0), true);
    Loop c = em_for(e, first, last, 1, "map", NULL, 0);
    Val sum[1] = {em_f32(e, 0)};
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, f->a->taps), 1, "tap", sum, 1);
    Val image = image_of(k, f, clip, window_of(k, f, frame, t.i, &real));
    Val map = em_add(e, em_mul(e, c.i, em_i64(e, f->a->taps)), t.i);
    Val got = em_load1(e, map_at(k, &f->src, image, map, y, x.i), 0);
    sum[0] = em_fadd(e, sum[0], em_select(e, real, got, em_f32(e, 0)));
    em_for_end(e, &t, sum, 1);
    em_store1(e, em_ptr(e, buffer, em_sub(e, c.i, first)), 0, sum[0]);
    em_for_end(e, &c, NULL, 0);
    em_store(e, view_at(k, &f->dst, n, cb, y, x.i), 0, em_load(e, buffer, 0, true), f->dst.aligned);
    em_for_end(e, &x, NULL, 0);
}

/* ---- sums and means ---- */

/* 1 / number of taps of window `window` that exist; frames: of the clip. */
static Val share_of(KernelCtx *k, const FramesAttrs *a, Val window, int64_t frames) {
    Emit *e = k->e;
    if (a->mode == FRAMES_SUM)
        return em_vec(e, 1);
    if (a->whole ||
        (a->from >= 0 && a->from + (a->count - 1) * a->step + (a->taps - 1) * a->apart < frames))
        return em_vec(e, 1.0 / (double)a->taps);
    Val zero = em_i64(e, 0), apart = em_i64(e, a->apart);
    Val start = em_add(e, em_mul(e, window, em_i64(e, a->step)), em_i64(e, a->from));
    Val lo = em_add(e, em_sub(e, zero, start), em_i64(e, a->apart - 1));
    Val hi = em_add(e, em_sub(e, em_i64(e, frames), start), em_i64(e, a->apart - 1));
    lo = em_div(e, em_imax(e, zero, lo), apart);
    hi = em_imin(e, em_i64(e, a->taps), em_div(e, em_imax(e, zero, hi), apart));
    Val real = em_imax(e, em_i64(e, 1), em_sub(e, hi, lo));
    return em_splat(e, em_fdiv(e, em_f32(e, 1), em_i64_to_f32(e, real)));
}

static void sum_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    bool back = f->a->adjoint;
    Val clip, frame, real;
    which_frame(k, f, n, &clip, &frame);
    halo_row(k, &f->dst, n, cb, 1, y);
    Val share = back ? NULL : share_of(k, f->a, frame, f->frames);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, f->dst.w), 1, "x", NULL, 0);
    Val sum[1] = {em_vec(e, 0)};
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, f->a->taps), 1, "tap", sum, 1);
    Val from = back ? window_of(k, f, frame, t.i, &real) : tap_frame(k, f, frame, t.i, &real);
    Val at = view_at(k, &f->src, image_of(k, f, clip, from), cb, y, x.i);
    Val got = em_load(e, at, 0, f->src.aligned);
    if (back)
        got = em_fmul(e, got, share_of(k, f->a, from, f->count));
    sum[0] = em_fadd(e, sum[0], or_zero(e, real, got));
    em_for_end(e, &t, sum, 1);
    em_store(e, view_at(k, &f->dst, n, cb, y, x.i), 0, share ? em_fmul(e, sum[0], share) : sum[0],
             f->dst.aligned);
    em_for_end(e, &x, NULL, 0);
}

void lower_frames(KernelCtx *k) {
    Frames f = frames_open(k);
    bool few = interleaves(f.a);
    if (f.a->mode != FRAMES_MAPS)
        rows_for_each(k, f.dst.cblocks, f.dst.h, sum_row, &f);
    else if (f.a->adjoint)
        rows_for_each(k, f.dst.cblocks, f.dst.h, few ? deinterleave_row : scatter_row, &f);
    else
        rows_for_each(k, few ? f.src.cblocks : f.dst.cblocks, f.dst.h,
                      few ? interleave_row : gather_row, &f);
}

/* ---- maxima ---- */

/* Padding lanes say 0, whatever their first real frame was. */
static Val winners(KernelCtx *k, const Frames *f, Val taps, Val cb) {
    Emit *e = k->e;
    int64_t width = em_width(e);
    if (f->dst.c % width == 0)
        return taps;
    Val first = em_splat_i32(e, em_mul(e, cb, em_i64(e, width)));
    Val real =
        em_icmp(e, EM_LT, em_add(e, first, em_lane_index(e)), em_splat_i32(e, em_i64(e, f->dst.c)));
    return em_select(e, real, taps, em_splat_i32(e, em_i64(e, 0)));
}

static void max_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    Val clip, frame, real;
    which_frame(k, f, n, &clip, &frame);
    halo_row(k, &f->dst, n, cb, 1, y);
    if (f->record)
        halo_row(k, &f->switches, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, f->dst.w), 1, "x", NULL, 0);
    Val state[2] = {em_vec(e, -INFINITY), em_splat_i32(e, em_i64(e, 0))};
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, f->a->taps), 1, "tap", state, 2);
    Val from = tap_frame(k, f, frame, t.i, &real);
    Val at = view_at(k, &f->src, image_of(k, f, clip, from), cb, y, x.i);
    Val got = em_load(e, at, 0, f->src.aligned);
    Val before[2] = {state[0], state[1]};
    pool_take_max(e, got, t.i, state);
    for (int i = 0; i < 2 && real; i++) /* a frame outside never wins */
        state[i] = em_select(e, real, state[i], before[i]);
    em_for_end(e, &t, state, 2);
    if (f->record)
        em_store_u8(e, view_at(k, &f->switches, n, cb, y, x.i), 0, winners(k, f, state[1], cb));
    em_store(e, view_at(k, &f->dst, n, cb, y, x.i), 0, state[0], f->dst.aligned);
    em_for_end(e, &x, NULL, 0);
}

void lower_frames_max(KernelCtx *k) {
    Frames f = frames_open(k);
    const Node *node = k->node;
    f.record = node->nout > 1 && node->out[1] && graph_v(k->g, node->out[1])->stored;
    if (f.record)
        f.switches = view_of(k, node->out[1]);
    rows_for_each(k, f.dst.cblocks, f.dst.h, max_row, &f);
}

static void max_bwd_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    const Frames *f = user;
    Emit *e = k->e;
    Val clip, frame, real;
    which_frame(k, f, n, &clip, &frame);
    halo_row(k, &f->dst, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, f->dst.w), 1, "x", NULL, 0);
    Val sum[1] = {em_vec(e, 0)};
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, f->a->taps), 1, "tap", sum, 1);
    Val from = image_of(k, f, clip, window_of(k, f, frame, t.i, &real));
    Val got = em_load(e, view_at(k, &f->src, from, cb, y, x.i), 0, f->src.aligned);
    Val won = em_icmp(e, EM_EQ, em_load_u8(e, view_at(k, &f->switches, from, cb, y, x.i), 0),
                      em_splat_i32(e, t.i));
    sum[0] = em_fadd(e, sum[0], or_zero(e, real, em_select(e, won, got, em_vec(e, 0))));
    em_for_end(e, &t, sum, 1);
    em_store(e, view_at(k, &f->dst, n, cb, y, x.i), 0, sum[0], f->dst.aligned);
    em_for_end(e, &x, NULL, 0);
}

void lower_frames_max_bwd(KernelCtx *k) {
    Frames f = frames_open(k);
    f.switches = view_of(k, k->node->in[1]);
    rows_for_each(k, f.dst.cblocks, f.dst.h, max_bwd_row, &f);
}
