/* loss_margin_lower.c: hinge and logistic losses of scores and a class label; one task per image.
 *
 * Channels lie in the lanes: one look over the blocks per sum or maximum, lanes by a fixed tree.
 */
#include <math.h>

#include "ops/loss.h"

typedef struct Margin {
    const Loss *l;
    Val top, best, scale; /* vectors: largest other score, its channel, gradient there */
} Margin;

static Val channels(KernelCtx *k, Val cb) {
    Emit *e = k->e;
    return em_add(e, em_splat_i32(e, em_mul(e, cb, em_i64(e, em_width(e)))), em_lane_index(e));
}

static Val is_label(KernelCtx *k, const Loss *l, Val cb) {
    return em_icmp(k->e, EM_EQ, channels(k, cb), em_splat_i32(k->e, l->label));
}

static Val only_real(KernelCtx *k, const Loss *l, Val cb, Val x, double otherwise) {
    return em_select(k->e, real_lanes(k, &l->score, cb), x, em_vec(k->e, otherwise));
}

static void put(KernelCtx *k, const Loss *l, Val cb, Val x) {
    Emit *e = k->e;
    em_store(e, em_ptr(e, l->out_at, em_mul(e, cb, em_i64(e, l->out.cblock))), 0,
             only_real(k, l, cb, x, 0), true);
}

static Val fold(KernelCtx *k, const Loss *l, FoldFn step, double start, void *user) {
    return fold_channels(k, &l->score, l->at, em_vec(k->e, start), step, user);
}

/* ---- one class against the rest ---- */

/* max(0, margin - t x); *t: 1 for the label, else -1 */
static Val missing(KernelCtx *k, const Loss *l, Val x, Val cb, Val *t) {
    Emit *e = k->e;
    *t = em_select(e, is_label(k, l, cb), em_vec(e, 1), em_vec(e, -1));
    Val gap = em_fsub(e, em_vec(e, l->a->margin), em_fmul(e, *t, x));
    return em_fmax(e, em_vec(e, 0), gap);
}

/* m^power; its derivative */
static Val power_of(Emit *e, const LossAttrs *a, Val m) {
    return a->power == 2 ? em_fmul(e, m, m) : m;
}

static Val slope_of(Emit *e, const LossAttrs *a, Val m) {
    if (a->power == 2)
        return em_fadd(e, m, m);
    Val zero = em_vec(e, 0);
    return em_select(e, em_fcmp(e, EM_GT, m, zero), em_vec(e, 1), zero);
}

static Val step_rest(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Loss *l = user;
    Val t, m = missing(k, l, x, cb, &t);
    return em_fadd(k->e, acc, only_real(k, l, cb, power_of(k->e, l->a, m), 0));
}

static Val step_rest_bwd(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Margin *g = user;
    Emit *e = k->e;
    Val t, m = missing(k, g->l, x, cb, &t);
    Val d = em_fmul(e, em_fneg(e, t), em_fmul(e, slope_of(e, g->l->a, m), g->scale));
    put(k, g->l, cb, d);
    return acc;
}

/* ---- the true class against the best other ---- */

static Val step_other(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Loss *l = user;
    Emit *e = k->e;
    Val other = em_select(e, is_label(k, l, cb), em_vec(e, -INFINITY), x);
    return em_fmax(e, acc, only_real(k, l, cb, other, -INFINITY));
}

/* minus the channel, where a score is the best: the largest is the first of them */
static Val step_first(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Margin *g = user;
    Emit *e = k->e;
    Val none = em_vec(e, -INFINITY), number = em_fneg(e, em_i32v_to_f32v(e, channels(k, cb)));
    Val found = em_select(e, em_fcmp(e, EM_EQ, x, g->top), number, none);
    found = em_select(e, is_label(k, g->l, cb), none, found);
    return em_fmax(e, acc, only_real(k, g->l, cb, found, -INFINITY));
}

static Val step_pair(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at, (void)x;
    const Margin *g = user;
    Emit *e = k->e;
    Val number = em_fneg(e, em_i32v_to_f32v(e, channels(k, cb)));
    Val up = em_select(e, em_fcmp(e, EM_EQ, number, g->best), g->scale, em_vec(e, 0));
    put(k, g->l, cb, em_select(e, is_label(k, g->l, cb), em_fneg(e, g->scale), up));
    return acc;
}

/* max(0, margin + best other score - own score) in all lanes; g->top */
static Val pair_missing(KernelCtx *k, const Loss *l, Margin *g) {
    Emit *e = k->e;
    Val own = em_splat(e, em_load1(e, em_ptr(e, l->at, l->label), 0));
    g->top = em_splat(e, em_reduce_max(e, fold(k, l, step_other, -INFINITY, (void *)l)));
    Val gap = em_fsub(e, em_fadd(e, g->top, em_vec(e, l->a->margin)), own);
    return em_fmax(e, em_vec(e, 0), gap);
}

void lower_hinge(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    Margin g = {.l = &l};
    if (l.a->kind == HINGE_ONE_VS_REST)
        put_loss(k, &l, em_reduce_add(e, fold(k, &l, step_rest, 0, &l)));
    else
        put_loss(k, &l, em_extract(e, power_of(e, l.a, pair_missing(k, &l, &g)), 0));
    task_end(k, &task);
}

void lower_hinge_bwd(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    Margin g = {.l = &l, .scale = em_splat(e, loss_seed(k, &l))};
    if (l.a->kind == HINGE_ONE_VS_REST) {
        fold(k, &l, step_rest_bwd, 0, &g);
    } else {
        Val m = pair_missing(k, &l, &g);
        g.best = em_splat(e, em_reduce_max(e, fold(k, &l, step_first, -INFINITY, &g)));
        g.scale = em_fmul(e, slope_of(e, l.a, m), g.scale);
        fold(k, &l, step_pair, 0, &g);
    }
    task_end(k, &task);
}

/* ---- logistic ---- */

static Val target(KernelCtx *k, const Loss *l, Val cb) {
    Emit *e = k->e;
    return em_select(e, is_label(k, l, cb), em_vec(e, 1), em_vec(e, 0));
}

static Val step_logistic(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Loss *l = user;
    Emit *e = k->e;
    Val tail = em_fadd(e, em_vec(e, 1), em_exp(e, em_fneg(e, em_fabs(e, x))));
    Val top = em_fsub(e, em_fmax(e, em_vec(e, 0), x), em_fmul(e, x, target(k, l, cb)));
    return em_fadd(e, acc, only_real(k, l, cb, em_fadd(e, em_log(e, tail), top), 0));
}

static Val step_logistic_bwd(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    (void)at;
    const Margin *g = user;
    Emit *e = k->e;
    Val d = em_fsub(e, em_sigmoid(e, x), target(k, g->l, cb));
    put(k, g->l, cb, em_fmul(e, d, g->scale));
    return acc;
}

void lower_logistic(KernelCtx *k) {
    Emit *e = k->e;
    if (!loss_of_label(k->g, graph_v(k->g, k->node->out[0])->def)) {
        lower_error(k, ERROR_LOGISTIC);
        return;
    }
    Loss l;
    Loop task = loss_begin(k, &l);
    Val sum = em_reduce_add(e, fold(k, &l, step_logistic, 0, &l));
    put_loss(k, &l, em_fmul(e, sum, em_f32(e, 1 / (double)l.score.c)));
    task_end(k, &task);
}

void lower_logistic_bwd(KernelCtx *k) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    Val scale = em_fmul(e, loss_seed(k, &l), em_f32(e, 1 / (double)l.score.c));
    Margin g = {.l = &l, .scale = em_splat(e, scale)};
    fold(k, &l, step_logistic_bwd, 0, &g);
    task_end(k, &task);
}
