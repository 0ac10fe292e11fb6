/* optim_lower.c: the parameter update, one pass over parameter, gradient and momentum.
 *
 *   g' = g + decay w;  v = m v + g';  w = w - lr v          (nesterov: w = w - lr (g' + m v))
 * theory: Polyak 1964; Sutskever et al. 2013, section 2; the order of decay, momentum and rate is
 * that of PyTorch's SGD.  requires: param, gradient and state share one layout, padded with zeros.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/optim.h"

enum { SGD_CHUNK = 8192 }; /* floats per task */

void choose_sgd(const Graph *g, Kernel *k, const Target *t) {
    (void)t;
    const Value *w = graph_v(g, graph_n(g, k->anchor)->in[0]);
    int64_t floats = g->params->at[w->slot].bytes / 4;
    k->algorithm = "flat";
    k->why = "one pass over weights, gradient and momentum";
    k->tasks_per = (floats + SGD_CHUNK - 1) / SGD_CHUNK;
    k->tasks_block = 0;
}

SgdRates sgd_rates(KernelCtx *k, const SgdAttrs *a) {
    Emit *e = k->e;
    Val lr = em_fmul(e, frame_scalar(k, SCALAR_LR), em_f32(e, -a->lr_mult));
    Val decay = em_fmul(e, frame_scalar(k, SCALAR_DECAY), em_f32(e, a->decay_mult));
    return (SgdRates){.step = em_splat(e, lr),
                      .momentum = em_splat(e, frame_scalar(k, SCALAR_MOMENTUM)),
                      .decay = em_splat(e, decay),
                      .nesterov = a->nesterov};
}

void sgd_apply(Emit *e, const SgdRates *r, Val weights, Val state, int64_t off, Val gradient) {
    Val weight = em_load(e, weights, off, true);
    Val grad = em_fma(e, r->decay, weight, gradient);
    Val speed = em_fma(e, r->momentum, em_load(e, state, off, true), grad);
    em_store(e, state, off, speed, true);
    Val along = r->nesterov ? em_fma(e, r->momentum, speed, grad) : speed;
    em_store(e, weights, off, em_fma(e, r->step, along, weight), true);
}

void lower_sgd(KernelCtx *k) {
    Emit *e = k->e;
    const SgdAttrs *a = k->attrs;
    int64_t floats, grad_floats, state_floats;
    Val w = flat_at(k, k->node->in[0], &floats);
    Val g = flat_at(k, k->node->in[1], &grad_floats);
    Val v = flat_at(k, k->node->in[2], &state_floats);
    if (grad_floats != floats || state_floats != floats)
        BUG("kernel %s: parameter and gradient differ in size", k->k->name);
    SgdRates rates = sgd_rates(k, a);
    Loop task = task_loop(k);
    Val from = em_mul(e, task.i, em_i64(e, SGD_CHUNK));
    Val to = em_imin(e, em_add(e, from, em_i64(e, SGD_CHUNK)), em_i64(e, floats));
    Loop i = em_for(e, from, to, em_width(e), "i", NULL, 0);
    Val grad = em_load(e, em_ptr(e, g, i.i), 0, true);
    sgd_apply(e, &rates, em_ptr(e, w, i.i), em_ptr(e, v, i.i), 0, grad);
    em_for_end(e, &i, NULL, 0);
    task_end(k, &task);
}
