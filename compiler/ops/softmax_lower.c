/* softmax_lower.c: softmax over channels, the losses, and their gradients; one task per image.
 *
 * All are written in the shifted form exp(x - max), which cannot overflow (Goodfellow et al. 2016,
 * section 4.1).  Loss gradients carry the factor weight / n, so that a program minimises the mean.
 * requires: class labels in range (the runtime checks them when it loads data); in a map of labels a
 * number that is no class marks a pixel that does not count.
 */
#include <math.h>

#include "base/bug.h"
#include "ops/loss.h"

void choose_images(const Graph *g, Kernel *k, const Target *t) {
    (void)g, (void)t;
    k->algorithm = "image";
    k->why = "one task per image";
    k->tasks_per = 1;
    k->tasks_block = 1;
}

Val real_lanes(KernelCtx *k, const View *v, Val cb) {
    Emit *e = k->e;
    Val first = em_splat_i32(e, em_mul(e, cb, em_i64(e, em_width(e))));
    Val channel = em_add(e, first, em_lane_index(e));
    return em_icmp(e, EM_LT, channel, em_splat_i32(e, em_i64(e, v->c)));
}

Val fold_channels(KernelCtx *k, const View *v, Val at, Val start, FoldFn step, void *user) {
    Emit *e = k->e;
    Val acc[1] = {start};
    Loop cb = em_for(e, em_i64(e, 0), em_i64(e, v->cblocks), 1, "cb", acc, 1);
    Val p = em_ptr(e, at, em_mul(e, cb.i, em_i64(e, v->cblock)));
    acc[0] = step(k, acc[0], em_load(e, p, 0, v->aligned), p, cb.i, user);
    em_for_end(e, &cb, acc, 1);
    return acc[0];
}

typedef struct SoftmaxUser {
    const View *v;
    Val max, other, scale;
    const View *out;
    Val out_at;
    bool negate;
    Val label, at_label, spread; /* gradients: the class (i64), what it and every class loses */
} SoftmaxUser;

static Val signed_x(KernelCtx *k, const SoftmaxUser *u, Val x) {
    return u->negate ? em_fneg(k->e, x) : x;
}

static Val step_max(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    SoftmaxUser *u = user;
    Val low = em_vec(k->e, -INFINITY);
    return em_fmax(k->e, acc, em_select(k->e, real_lanes(k, u->v, cb), signed_x(k, u, x), low));
}

static Val step_exp(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    SoftmaxUser *u = user;
    Val ex = em_exp(k->e, em_fsub(k->e, signed_x(k, u, x), u->max));
    return em_fadd(k->e, acc, em_select(k->e, real_lanes(k, u->v, cb), ex, em_vec(k->e, 0)));
}

/* out = scale * exp(x - max) */
static Val step_scale(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    SoftmaxUser *u = user;
    Emit *e = k->e;
    Val ex = em_fmul(e, em_exp(e, em_fsub(e, signed_x(k, u, x), u->max)), u->scale);
    Val to = em_ptr(e, u->out_at, em_mul(e, cb, em_i64(e, u->out->cblock)));
    em_store(e, to, 0, em_select(e, real_lanes(k, u->v, cb), ex, em_vec(e, 0)), u->out->aligned);
    return acc;
}

/* max over channels and sum of exp(x - max), both scalars; u->max becomes the splat of max */
static Val max_and_sum(KernelCtx *k, const View *v, Val at, SoftmaxUser *u, Val *max) {
    Emit *e = k->e;
    u->v = v;
    Val top = fold_channels(k, v, at, em_vec(e, -INFINITY), step_max, u);
    *max = em_reduce_max(e, top);
    u->max = em_splat(e, *max);
    return em_reduce_add(e, fold_channels(k, v, at, em_vec(e, 0), step_exp, u));
}

Val loss_log_sum(KernelCtx *k, const View *v, Val at) {
    SoftmaxUser u = {0};
    Val max, sum = max_and_sum(k, v, at, &u, &max);
    return em_fadd(k->e, em_splat(k->e, max), em_log(k->e, em_splat(k->e, sum)));
}

static void softmax_row(KernelCtx *k, void *user, Val n, Val y, Val x) {
    View *v = user;
    Emit *e = k->e;
    Val zero = em_i64(e, 0), max;
    Val at = view_at(k, &v[0], n, zero, y, x);
    SoftmaxUser u = {.out = &v[1], .out_at = view_at(k, &v[1], n, zero, y, x)};
    Val sum = max_and_sum(k, &v[0], at, &u, &max);
    u.scale = em_splat(e, em_fdiv(e, em_f32(e, 1), sum));
    fold_channels(k, &v[0], at, em_vec(e, 0), step_scale, &u);
}

static Val step_dot(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    SoftmaxUser *u = user;
    Emit *e = k->e;
    Val y = em_load(e, em_ptr(e, u->other, em_mul(e, cb, em_i64(e, u->v->cblock))), 0, true);
    return em_fma(e, x, y, acc);
}

static Val step_softmax_bwd(KernelCtx *k, Val acc, Val dy, Val at, Val cb, void *user) {
    (void)at;
    SoftmaxUser *u = user;
    Emit *e = k->e;
    Val y = em_load(e, em_ptr(e, u->other, em_mul(e, cb, em_i64(e, u->v->cblock))), 0, true);
    Val dx = em_fmul(e, y, em_fsub(e, dy, u->scale));
    em_store(e, em_ptr(e, u->out_at, em_mul(e, cb, em_i64(e, u->out->cblock))), 0, dx, true);
    return acc;
}

/* dx = y (dy - sum dy y) */
static void softmax_bwd_row(KernelCtx *k, void *user, Val n, Val y, Val x) {
    View *v = user; /* dy, y, dx */
    Emit *e = k->e;
    Val zero = em_i64(e, 0), at = view_at(k, &v[0], n, zero, y, x);
    SoftmaxUser u = {.v = &v[1], .other = view_at(k, &v[1], n, zero, y, x), .out = &v[2],
                     .out_at = view_at(k, &v[2], n, zero, y, x)};
    Val dot = fold_channels(k, &v[0], at, em_vec(e, 0), step_dot, &u);
    u.scale = em_splat(e, em_reduce_add(e, dot));
    fold_channels(k, &v[0], at, em_vec(e, 0), step_softmax_bwd, &u);
}

typedef void (*PixelFn)(KernelCtx *k, void *user, Val n, Val y, Val x);

/* All pixels of image `task`; `out` gets its halo zeroed. */
static void for_pixels(KernelCtx *k, const View *out, PixelFn fn, void *user) {
    Emit *e = k->e;
    Loop task = task_loop(k);
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, out->h), 1, "y", NULL, 0);
    halo_row(k, out, task.i, em_i64(e, 0), out->cblocks, y.i);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, out->w), 1, "x", NULL, 0);
    fn(k, user, task.i, y.i, x.i);
    em_for_end(e, &x, NULL, 0);
    em_for_end(e, &y, NULL, 0);
    task_end(k, &task);
}

void lower_softmax(KernelCtx *k) {
    View v[2] = {view_of(k, k->node->in[0]), view_of(k, k->node->out[0])};
    for_pixels(k, &v[1], softmax_row, v);
}

void lower_softmax_bwd(KernelCtx *k) {
    View v[3] = {view_of(k, k->node->in[0]), view_of(k, k->node->in[1]),
                 view_of(k, k->node->out[0])};
    for_pixels(k, &v[2], softmax_bwd_row, v);
}

/* ---- losses: one number per image ---- */

bool loss_of_label(const Graph *g, NodeId n) {
    const Value *target = graph_v(g, graph_n(g, n)->in[1]);
    return target->dtype == DT_I32 && target->shape.rank == 0;
}

Loop loss_begin(KernelCtx *k, Loss *l) {
    Emit *e = k->e;
    *l = (Loss){.k = k, .a = k->attrs};
    l->score = view_of(k, k->node->in[0]);
    l->out = view_of(k, k->node->out[0]);
    Loop task = task_loop(k);
    Val zero = em_i64(e, 0);
    l->at = view_at(k, &l->score, task.i, zero, zero, zero);
    l->out_at = view_at(k, &l->out, task.i, zero, zero, zero);
    const Value *target = k->node->nin > 1 ? graph_v(k->g, k->node->in[1]) : NULL;
    if (target && target->dtype == DT_I32 && target->shape.rank == 0)
        l->label = frame_label(k, target->slot, task.i);
    return task;
}

Val loss_seed(KernelCtx *k, const Loss *l) {
    return em_fmul(k->e, frame_scalar(k, SCALAR_INV_N), em_f32(k->e, l->a->weight));
}

void put_loss(KernelCtx *k, const Loss *l, Val loss) {
    em_store1(k->e, l->out_at, 0, em_fmul(k->e, loss, em_f32(k->e, l->a->weight)));
}

static void add_at_label(KernelCtx *k, const Loss *l, Val delta) {
    Val p = em_ptr(k->e, l->out_at, l->label);
    em_store1(k->e, p, 0, em_fadd(k->e, em_load1(k->e, p, 0), delta));
}

static Val step_sum(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at, (void)cb, (void)user;
    return em_fadd(k->e, acc, x);
}

/* log sum exp(x) - (1 - smoothing) x_label - smoothing mean x, for scores at `at` */
static Val entropy_at(KernelCtx *k, const Loss *l, Val at, Val label) {
    Emit *e = k->e;
    SoftmaxUser u = {0};
    Val max, block, lane, sum = max_and_sum(k, &l->score, at, &u, &max);
    Val log_sum = em_extract(e, em_log(e, em_splat(e, sum)), 0);
    split_index(e, label, l->score.block, &block, &lane);
    Val offset = em_add(e, em_mul(e, block, em_i64(e, l->score.cblock)), lane);
    Val truth = em_load1(e, em_ptr(e, at, offset), 0);
    if (l->a->smoothing > 0) {
        Val all = fold_channels(k, &l->score, at, em_vec(e, 0), step_sum, NULL);
        double share = l->a->smoothing / (double)l->score.c;
        truth = em_fadd(e, em_fmul(e, truth, em_f32(e, 1 - l->a->smoothing)),
                        em_fmul(e, em_reduce_add(e, all), em_f32(e, share)));
    }
    return em_fadd(e, log_sum, em_fsub(e, max, truth));
}

/* out = scale exp(x - max) - (c is the label ? at_label : 0) - spread */
static Val step_entropy(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    SoftmaxUser *u = user;
    Emit *e = k->e;
    Val d = em_fmul(e, em_exp(e, em_fsub(e, x, u->max)), u->scale);
    Val channel = em_add(e, em_splat_i32(e, em_mul(e, cb, em_i64(e, em_width(e)))),
                         em_lane_index(e));
    Val own = em_icmp(e, EM_EQ, channel, em_splat_i32(e, u->label));
    d = em_select(e, own, em_fsub(e, d, u->at_label), d);
    if (u->spread)
        d = em_fsub(e, d, u->spread);
    Val to = em_ptr(e, u->out_at, em_mul(e, cb, em_i64(e, u->out->cblock)));
    em_store(e, to, 0, em_select(e, real_lanes(k, u->v, cb), d, em_vec(e, 0)), u->out->aligned);
    return acc;
}

/* (softmax - target) seed */
static void entropy_bwd_at(KernelCtx *k, const Loss *l, Val at, Val out_at, Val label, Val seed) {
    Emit *e = k->e;
    SoftmaxUser u = {.out = &l->out, .out_at = out_at, .label = label};
    double smoothing = l->a->smoothing;
    Val max, sum = max_and_sum(k, &l->score, at, &u, &max);
    u.scale = em_splat(e, em_fdiv(e, seed, sum));
    u.at_label = em_splat(e, seed);
    if (smoothing > 0) {
        u.at_label = em_fmul(e, u.at_label, em_vec(e, 1 - smoothing));
        u.spread = em_fmul(e, em_splat(e, seed), em_vec(e, smoothing / (double)l->score.c));
    }
    fold_channels(k, &l->score, at, em_vec(e, 0), step_entropy, &u);
}

/* ---- a class for every pixel ---- */

/* The label of a pixel (0 where it is none) and 1 or 0: does it count? */
static Val pixel_label(KernelCtx *k, const View *score, Val n, Val y, Val x, Val *counts) {
    Emit *e = k->e;
    Val row = em_add(e, em_mul(e, n, em_i64(e, score->h)), y);
    Val index = em_add(e, em_mul(e, row, em_i64(e, score->w)), x);
    Val label = frame_label(k, graph_v(k->g, k->node->in[1])->slot, index);
    Val low = em_imax(e, label, em_i64(e, 0));
    Val inside = em_imin(e, low, em_i64(e, score->c - 1));
    Val real = em_icmp(e, EM_EQ, label, inside);
    *counts = em_select(e, real, em_f32(e, 1), em_f32(e, 0));
    return inside;
}

/* Sums over the pixels of image n: [0] how many count, [1] of their losses (if wanted). */
static void pixel_sums(KernelCtx *k, const Loss *l, Val n, bool losses, Val sum[2]) {
    Emit *e = k->e;
    int count = losses ? 2 : 1;
    sum[0] = sum[1] = em_f32(e, 0);
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, l->score.h), 1, "y", sum, count);
    Val row[2] = {em_f32(e, 0), em_f32(e, 0)}, counts;
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, l->score.w), 1, "x", row, count);
    Val label = pixel_label(k, &l->score, n, y.i, x.i, &counts);
    row[0] = em_fadd(e, row[0], counts);
    if (losses) {
        Val at = view_at(k, &l->score, n, em_i64(e, 0), y.i, x.i);
        Val real = em_fcmp(e, EM_GT, counts, em_f32(e, 0));
        Val loss = em_select(e, real, entropy_at(k, l, at, label), em_f32(e, 0));
        row[1] = em_fadd(e, row[1], loss);
    }
    em_for_end(e, &x, row, count);
    for (int i = 0; i < count; i++)
        sum[i] = em_fadd(e, sum[i], row[i]);
    em_for_end(e, &y, sum, count);
}

/* 1 / count, 0 if nothing counts */
static Val over_count(KernelCtx *k, Val count) {
    Emit *e = k->e;
    Val some = em_fcmp(e, EM_GT, count, em_f32(e, 0));
    Val safe = em_select(e, some, count, em_f32(e, 1));
    return em_select(e, some, em_fdiv(e, em_f32(e, 1), safe), em_f32(e, 0));
}

void lower_cross_entropy(KernelCtx *k) {
    Loss l;
    Loop task = loss_begin(k, &l);
    if (l.label) {
        put_loss(k, &l, entropy_at(k, &l, l.at, l.label));
    } else {
        Val sum[2];
        pixel_sums(k, &l, task.i, true, sum);
        put_loss(k, &l, em_fmul(k->e, sum[1], over_count(k, sum[0])));
    }
    task_end(k, &task);
}

static void pixels_bwd(KernelCtx *k, const Loss *l, Val n) {
    Emit *e = k->e;
    Val sum[2], zero = em_i64(e, 0), counts;
    pixel_sums(k, l, n, false, sum);
    Val seed = em_fmul(e, loss_seed(k, l), over_count(k, sum[0]));
    Loop y = em_for(e, zero, em_i64(e, l->score.h), 1, "y", NULL, 0);
    halo_row(k, &l->out, n, zero, l->out.cblocks, y.i);
    Loop x = em_for(e, zero, em_i64(e, l->score.w), 1, "x", NULL, 0);
    Val label = pixel_label(k, &l->score, n, y.i, x.i, &counts);
    entropy_bwd_at(k, l, view_at(k, &l->score, n, zero, y.i, x.i),
                   view_at(k, &l->out, n, zero, y.i, x.i), label, em_fmul(e, seed, counts));
    em_for_end(e, &x, NULL, 0);
    em_for_end(e, &y, NULL, 0);
}

void lower_cross_entropy_bwd(KernelCtx *k) {
    Loss l;
    Loop task = loss_begin(k, &l);
    if (l.label)
        entropy_bwd_at(k, &l, l.at, l.out_at, l.label, loss_seed(k, &l));
    else
        pixels_bwd(k, &l, task.i);
    task_end(k, &task);
}

/* Targets of mse: `on` for the true class, `off` for the others, 0 in padding lanes. */
static Val mse_difference(KernelCtx *k, const Loss *l, Val x, Val cb) {
    Emit *e = k->e;
    Val first = em_splat_i32(e, em_mul(e, cb, em_i64(e, em_width(e))));
    Val channel = em_add(e, first, em_lane_index(e));
    Val truth = em_icmp(e, EM_EQ, channel, em_splat_i32(e, l->label));
    Val target = em_select(e, truth, em_vec(e, l->a->on), em_vec(e, l->a->off));
    Val d = em_fsub(e, x, target);
    return em_select(e, real_lanes(k, &l->score, cb), d, em_vec(e, 0));
}

static Val step_mse(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    Val d = mse_difference(k, user, x, cb);
    return em_fma(k->e, d, d, acc);
}

/* mean over classes of (x - target)^2 */
void lower_mse(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    if (graph_v(k->g, k->node->in[1])->dtype != DT_I32) {
        lower_error(k, ERROR_SQUARE);
        return;
    }
    Loop task = loss_begin(k, &l);
    Val sum = em_reduce_add(e, fold_channels(k, &l.score, l.at, em_vec(e, 0), step_mse, &l));
    put_loss(k, &l, em_fmul(e, sum, em_f32(e, 1.0 / (double)l.score.c)));
    task_end(k, &task);
}

static Val step_mse_bwd(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Loss *l = user;
    Emit *e = k->e;
    Val scale = em_fmul(e, loss_seed(k, l), em_f32(e, 2.0 / (double)l->score.c));
    Val d = em_fmul(e, mse_difference(k, l, x, cb), em_splat(e, scale));
    em_store(e, em_ptr(e, l->out_at, em_mul(e, cb, em_i64(e, l->out.cblock))), 0, d, true);
    return acc;
}

void lower_mse_bwd(KernelCtx *k) {
    Loss l;
    Loop task = loss_begin(k, &l);
    fold_channels(k, &l.score, l.at, em_vec(k->e, 0), step_mse_bwd, &l);
    task_end(k, &task);
}

/* LeCun et al. 1998, equation (9): y_true + log(exp(-j) + sum_i exp(-y_i)), penalties y.
 * Shifted by m = max(-j, max_i -y_i); returns exp(-j - m) + sum exp(-y_i - m). */
static Val map_sum(KernelCtx *k, const Loss *l, SoftmaxUser *u, Val *shift) {
    Emit *e = k->e;
    u->negate = true;
    u->v = &l->score;
    Val top = fold_channels(k, &l->score, l->at, em_vec(e, -l->a->j), step_max, u);
    *shift = em_reduce_max(e, top);
    u->max = em_splat(e, *shift);
    Val sum = em_reduce_add(e, fold_channels(k, &l->score, l->at, em_vec(e, 0), step_exp, u));
    Val floor = em_exp(e, em_fsub(e, em_vec(e, -l->a->j), u->max));
    return em_fadd(e, sum, em_extract(e, floor, 0));
}

void lower_lenet_map(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    SoftmaxUser u = {0};
    Val shift, sum = map_sum(k, &l, &u, &shift);
    Val log_sum = em_extract(e, em_log(e, em_splat(e, sum)), 0);
    Val truth = em_load1(e, em_ptr(e, l.at, l.label), 0);
    put_loss(k, &l, em_fadd(e, truth, em_fadd(e, log_sum, shift)));
    task_end(k, &task);
}

/* d/dy_i = [i = true] - exp(-y_i) / (exp(-j) + sum exp(-y)) */
void lower_lenet_map_bwd(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    SoftmaxUser u = {.out = &l.out, .out_at = l.out_at};
    Val shift, sum = map_sum(k, &l, &u, &shift), seed = loss_seed(k, &l);
    u.scale = em_splat(e, em_fneg(e, em_fdiv(e, seed, sum)));
    fold_channels(k, &l.score, l.at, em_vec(e, 0), step_scale, &u);
    add_at_label(k, &l, seed);
    task_end(k, &task);
}
