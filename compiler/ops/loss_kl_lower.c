/* loss_kl_lower.c: code of kl and its gradients; one task per image.
 *
 * Probabilities stay logarithms until the last step: log p = a - log sum exp(a), which neither
 * overflows nor becomes the logarithm of 0.  Equal layers give exactly 0.
 */
#include "ops/loss.h"

typedef struct Pair {
    Loss l;       /* a */
    View other;   /* b */
    Val other_at; /* of this image */
    Val log_p, log_q; /* what is subtracted from scores, in all lanes */
    Val kl, seed;     /* gradients */
} Pair;

static Loop pair_begin(KernelCtx *k, Pair *p) {
    Val zero = em_i64(k->e, 0);
    Loop task = loss_begin(k, &p->l);
    p->other = view_of(k, k->node->in[1]);
    p->other_at = view_at(k, &p->other, task.i, zero, zero, zero);
    p->log_p = loss_log_sum(k, &p->l.score, p->l.at);
    p->log_q = loss_log_sum(k, &p->other, p->other_at);
    return task;
}

/* Logarithms of both probabilities in block cb; x: a's scores there. */
static void logs(KernelCtx *k, const Pair *p, Val x, Val cb, Val *a, Val *b) {
    Emit *e = k->e;
    Val at = em_ptr(e, p->other_at, em_mul(e, cb, em_i64(e, p->other.cblock)));
    *a = em_fsub(e, x, p->log_p);
    *b = em_fsub(e, em_load(e, at, 0, p->other.aligned), p->log_q);
}

static Val step_kl(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    const Pair *p = user;
    Emit *e = k->e;
    Val a, b;
    (void)at;
    logs(k, p, x, cb, &a, &b);
    Val term = em_fmul(e, em_exp(e, a), em_fsub(e, a, b));
    return em_fadd(e, acc, em_select(e, real_lanes(k, &p->l.score, cb), term, em_vec(e, 0)));
}

static Val sum_kl(KernelCtx *k, Pair *p) {
    Val lanes = fold_channels(k, &p->l.score, p->l.at, em_vec(k->e, 0), step_kl, p);
    return em_reduce_add(k->e, lanes);
}

void lower_kl(KernelCtx *k) {
    Pair p = {0};
    Loop task = pair_begin(k, &p);
    put_loss(k, &p.l, sum_kl(k, &p));
    task_end(k, &task);
}

/* seed (q - p), or seed p (log p - log q - kl) */
static Val step_kl_bwd(KernelCtx *k, Val acc, Val x, Val at, Val cb, void *user) {
    const Pair *p = user;
    Emit *e = k->e;
    Val a, b, d;
    (void)at;
    logs(k, p, x, cb, &a, &b);
    if (p->kl)
        d = em_fmul(e, em_exp(e, a), em_fsub(e, em_fsub(e, a, b), p->kl));
    else
        d = em_fsub(e, em_exp(e, b), em_exp(e, a));
    d = em_select(e, real_lanes(k, &p->l.score, cb), em_fmul(e, d, p->seed), em_vec(e, 0));
    Val to = em_ptr(e, p->l.out_at, em_mul(e, cb, em_i64(e, p->l.out.cblock)));
    em_store(e, to, 0, d, p->l.out.aligned);
    return acc;
}

void lower_kl_bwd(KernelCtx *k) {
    Emit *e = k->e;
    Pair p = {0};
    Loop task = pair_begin(k, &p);
    p.seed = em_splat(e, loss_seed(k, &p.l));
    if (p.l.a->kind == KL_OF_FIRST)
        p.kl = em_splat(e, sum_kl(k, &p));
    fold_channels(k, &p.l.score, p.l.at, em_vec(e, 0), step_kl_bwd, &p);
    task_end(k, &task);
}
