/* softmax_lower.c: softmax over channels, the losses, and their gradients; one task per image.
 *
 * All are written in the shifted form exp(x - max), which cannot overflow (Goodfellow et al. 2016,
 * section 4.1).  Loss gradients carry the factor weight / n, so that a program minimises the mean.
 * requires: class labels in range (the runtime checks them when it loads data); scores of rank 1.
 */
#include <math.h>

#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

void choose_images(const Graph *g, Kernel *k, const Target *t) {
    (void)g, (void)t;
    k->algorithm = "image";
    k->why = "one task per image";
    k->tasks_per = 1;
    k->tasks_block = 1;
}

/* Lanes of block cb that are real channels. */
static Val real_lanes(KernelCtx *k, const View *v, Val cb) {
    Emit *e = k->e;
    Val first = em_splat_i32(e, em_mul(e, cb, em_i64(e, em_width(e))));
    Val channel = em_add(e, first, em_lane_index(e));
    return em_icmp(e, EM_LT, channel, em_splat_i32(e, em_i64(e, v->c)));
}

/* for (cb) with one carried vector: dst = step(dst, block cb of the pixel at `at`) */
typedef Val (*FoldFn)(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user);
static Val fold_channels(KernelCtx *k, const View *v, Val at, Val start, FoldFn step, void *user) {
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

typedef struct Loss {
    KernelCtx *k;
    const LossAttrs *a;
    View score, out;
    Val at, out_at, label; /* of this image */
} Loss;

static Loop loss_begin(KernelCtx *k, Loss *l) {
    Emit *e = k->e;
    *l = (Loss){.k = k, .a = k->attrs};
    l->score = view_of(k, k->node->in[0]);
    l->out = view_of(k, k->node->out[0]);
    if (l->score.h != 1 || l->score.w != 1)
        BUG("kernel %s: losses take scores of rank 1", k->k->name);
    Loop task = task_loop(k);
    Val zero = em_i64(e, 0);
    l->at = view_at(k, &l->score, task.i, zero, zero, zero);
    l->out_at = view_at(k, &l->out, task.i, zero, zero, zero);
    l->label = frame_label(k, graph_v(k->g, k->node->in[1])->slot, task.i);
    return task;
}

/* weight / n, the seed of reverse mode */
static Val loss_seed(KernelCtx *k, const Loss *l) {
    return em_fmul(k->e, frame_scalar(k, SCALAR_INV_N), em_f32(k->e, l->a->weight));
}

static void put_loss(KernelCtx *k, const Loss *l, Val loss) {
    em_store1(k->e, l->out_at, 0, em_fmul(k->e, loss, em_f32(k->e, l->a->weight)));
}

static void add_at_label(KernelCtx *k, const Loss *l, Val delta) {
    Val p = em_ptr(k->e, l->out_at, l->label);
    em_store1(k->e, p, 0, em_fadd(k->e, em_load1(k->e, p, 0), delta));
}

/* log sum exp(x) - x_label */
void lower_cross_entropy(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    SoftmaxUser u = {0};
    Val max, sum = max_and_sum(k, &l.score, l.at, &u, &max);
    Val log_sum = em_extract(e, em_log(e, em_splat(e, sum)), 0);
    Val truth = em_load1(e, em_ptr(e, l.at, l.label), 0);
    put_loss(k, &l, em_fadd(e, log_sum, em_fsub(e, max, truth)));
    task_end(k, &task);
}

/* (softmax - onehot) weight / n */
void lower_cross_entropy_bwd(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    SoftmaxUser u = {.out = &l.out, .out_at = l.out_at};
    Val max, sum = max_and_sum(k, &l.score, l.at, &u, &max), seed = loss_seed(k, &l);
    u.scale = em_splat(e, em_fdiv(e, seed, sum));
    fold_channels(k, &l.score, l.at, em_vec(e, 0), step_scale, &u);
    add_at_label(k, &l, em_fneg(e, seed));
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
