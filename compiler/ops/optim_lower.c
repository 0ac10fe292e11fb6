/* optim_lower.c: the optimizers, one pass over parameter, gradient and state.
 *
 *   sgd:      g' = g + decay w;  v = m v + g';  w = w - lr v     (nesterov: w = w - lr (g' + m v))
 *   adam:     m += (1 - b1)(g' - m);  v = v + (1 - b2)(g'^2 - v);
 *             w = w - lr c1 m / (c2 sqrt(v) + eps)               (decoupled: w = w - lr decay w
 * first) rmsprop:  v = v + (1 - a)(g'^2 - v);  b = m b + g' / (sqrt(v) + eps);  w = w - lr b
 *   sdlm:     w = w - lr g' / (mu + h);       curvature writes h
 *   slbi:     d = (w - k soft(z, lambda)) / nu;  v = m v + g';  w = w - lr k (v + d);  z = z + lr d
 *   slbi_groups: the same with d = (w - gamma) / nu; the runtime makes gamma (rt_optim.c)
 * theory: Polyak 1964; Sutskever et al. 2013; Kingma, Ba 2015, algorithm 1; Loshchilov, Hutter
 * 2019; Tieleman, Hinton 2012; the order of decay, momentum and rate is PyTorch's. requires: param,
 * gradient and state share one layout, padded with zeros.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/optim.h"

enum { CHUNK = 8192 }; /* floats per task */

void choose_update(const Graph *g, Kernel *k, const Target *t) {
    (void)t;
    const Value *w = graph_v(g, graph_n(g, k->anchor)->in[0]);
    int64_t floats = g->params->at[w->slot].bytes / 4;
    k->algorithm = "flat";
    k->why = "one pass over weights, gradient and state";
    k->tasks_per = (floats + CHUNK - 1) / CHUNK;
    k->tasks_block = 0;
}

UpdateRates update_rates_with(KernelCtx *k, const Node *update, const UpdateOwn *own) {
    Emit *e = k->e;
    const SgdAttrs *a = update->attrs;
    bool two = op_def[update->op]->states > 1;
    UpdateRates r = {.op = op_def[update->op], .a = a, .next = own->next};
    r.step = em_splat(e, em_fmul(e, frame_scalar(k, SCALAR_LR), em_fneg(e, own->lr_mult)));
    r.momentum = em_splat(e, frame_scalar(k, SCALAR_MOMENTUM));
    r.decay = em_splat(e, em_fmul(e, frame_scalar(k, SCALAR_DECAY), own->decay_mult));
    if (two) {
        Val second = frame_scalar(k, SCALAR_SECOND);
        if (update->op == OP_SLBI || update->op == OP_SLBI_GROUPS)
            second = em_fmul(e, second, own->coupled);
        r.second = em_splat(e, second);
        r.correct1 = em_splat(e, frame_scalar(k, SCALAR_CORRECT1));
        r.correct2 = em_splat(e, frame_scalar(k, SCALAR_CORRECT2));
    }
    if (two || a->eps > 0)
        r.eps = em_splat(e, em_f32(e, a->eps));
    if (a->clip)
        r.clip = em_splat(e, frame_scalar(k, SCALAR_CLIP));
    if (update->nin > 3) {
        int64_t floats;
        r.factor = em_splat(e, em_load1(e, flat_at(k, update->in[3], &floats), 0));
    }
    return r;
}

UpdateRates update_rates(KernelCtx *k, const Node *update) {
    Emit *e = k->e;
    const SgdAttrs *a = update->attrs;
    const Param *p = &k->g->params->at[graph_v(k->g, update->in[0])->slot];
    UpdateOwn own = {.lr_mult = em_f32(e, a->lr_mult),
                     .decay_mult = em_f32(e, a->decay_mult),
                     .coupled = em_f32(e, a->coupled),
                     .next = em_i64(e, param_state_step(p))};
    return update_rates_with(k, update, &own);
}

void update_apply(Emit *e, const UpdateRates *r, Val weights, Val state, int64_t off,
                  Val gradient) {
    Val at[3] = {state};
    for (int i = 1; i < r->op->states; i++)
        at[i] = em_ptr_bytes(e, at[i - 1], r->next);
    UpdateStep s = {.e = e, .r = r, .weight = em_load(e, weights, off, true), .gradient = gradient};
    if (r->clip) /* a NaN stays one: fmin and fmax give their second operand then */
        s.gradient = em_fmax(e, em_fneg(e, r->clip), em_fmin(e, r->clip, gradient));
    if (r->factor)
        s.gradient = em_fmul(e, s.gradient, r->factor);
    for (int i = 0; i < r->op->states; i++)
        s.state[i] = em_load(e, at[i], off, true);
    r->op->update(&s);
    for (int i = 0; i < r->op->states; i++)
        em_store(e, at[i], off, s.state[i], true);
    em_store(e, weights, off, s.weight, true);
}

/* ---- the optimizers ---- */

void update_sgd(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val grad = em_fma(e, r->decay, s->weight, s->gradient);
    Val speed = s->state[0] = em_fma(e, r->momentum, s->state[0], grad);
    Val along = r->a->nesterov ? em_fma(e, r->momentum, speed, grad) : speed;
    s->weight = em_fma(e, r->step, along, s->weight);
}

/* Moves a mean towards x. */
static Val towards(Emit *e, Val mean, Val rate, Val x) {
    return em_fma(e, rate, em_fsub(e, x, mean), mean);
}

void update_adam(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val grad = s->gradient, w = s->weight;
    if (r->a->decoupled)
        w = em_fma(e, em_fmul(e, r->step, r->decay), w, w);
    else
        grad = em_fma(e, r->decay, w, grad);
    s->state[0] = towards(e, s->state[0], r->momentum, grad);
    s->state[1] = towards(e, s->state[1], r->second, em_fmul(e, grad, grad));
    Val below = em_fma(e, em_sqrt(e, s->state[1]), r->correct2, r->eps);
    Val step = em_fmul(e, r->step, r->correct1);
    s->weight = em_fma(e, step, em_fdiv(e, s->state[0], below), w);
}

void update_rmsprop(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val grad = em_fma(e, r->decay, s->weight, s->gradient);
    Val mean = s->state[0] = towards(e, s->state[0], r->second, em_fmul(e, grad, grad));
    Val below = r->a->eps_inside ? em_sqrt(e, em_fadd(e, mean, r->eps))
                                 : em_fadd(e, em_sqrt(e, mean), r->eps);
    s->state[1] = em_fma(e, r->momentum, s->state[1], em_fdiv(e, grad, below));
    s->weight = em_fma(e, r->step, s->state[1], s->weight);
}

void update_sdlm(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val grad = em_fma(e, r->decay, s->weight, s->gradient);
    Val along = em_fdiv(e, grad, em_fadd(e, s->state[0], r->eps));
    s->weight = em_fma(e, r->step, along, s->weight);
}

/* The weight and z go their ways by what lies between the weight and gamma. */
static void pull(UpdateStep *s, Val speed, Val gamma) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val gap = em_fmul(e, r->second, em_fsub(e, s->weight, gamma));
    s->state[0] = em_fma(e, em_fneg(e, r->step), gap, s->state[0]);
    s->weight = em_fma(e, em_fmul(e, r->step, r->correct1), em_fadd(e, speed, gap), s->weight);
}

void update_slbi(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val grad = em_fma(e, r->decay, s->weight, s->gradient), z = s->state[0], zero = em_vec(e, 0);
    Val speed = s->state[1] = em_fma(e, r->momentum, s->state[1], grad);
    Val above = em_fmax(e, em_fsub(e, z, r->eps), zero), below = em_fmin(e, em_fadd(e, z, r->eps), zero);
    pull(s, speed, em_fmul(e, r->correct1, em_fadd(e, above, below)));
}

void update_slbi_groups(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val grad = em_fma(e, r->decay, s->weight, s->gradient);
    s->state[1] = em_fma(e, r->momentum, s->state[1], grad);
    pull(s, s->state[1], s->state[2]);
}

/* Not a step: the sum over the images joins the mean. */
void update_curvature(UpdateStep *s) {
    const UpdateRates *r = s->r;
    Emit *e = s->e;
    Val share = em_fmul(e, em_fneg(e, r->step), s->gradient);
    s->state[0] = em_fma(e, r->momentum, s->state[0], share);
}

void lower_update(KernelCtx *k) {
    Emit *e = k->e;
    int64_t floats, grad_floats, state_floats;
    Val w = flat_at(k, k->node->in[0], &floats);
    Val g = flat_at(k, k->node->in[1], &grad_floats);
    Val v = flat_at(k, k->node->in[2], &state_floats);
    if (grad_floats != floats || state_floats != floats)
        BUG("kernel %s: parameter and gradient differ in size", k->k->name);
    UpdateRates rates = update_rates(k, k->node);
    Loop task = task_loop(k);
    Val from = em_mul(e, task.i, em_i64(e, CHUNK));
    Val to = em_imin(e, em_add(e, from, em_i64(e, CHUNK)), em_i64(e, floats));
    Loop i = em_for(e, from, to, em_width(e), "i", NULL, 0);
    Val grad = em_load(e, em_ptr(e, g, i.i), 0, true);
    update_apply(e, &rates, em_ptr(e, w, i.i), em_ptr(e, v, i.i), 0, grad);
    em_for_end(e, &i, NULL, 0);
    task_end(k, &task);
}
