/* optim_lower.c: the parameter update, one pass over parameter, gradient and momentum.
 *
 *   g' = g + decay w;  v = m v + g';  w = w - lr v          (nesterov: w = w - lr (g' + m v))
 * theory: Polyak 1964; Sutskever et al. 2013, section 2; the order of decay, momentum and rate is
 * that of PyTorch's SGD.  requires: param, gradient and state share one layout, padded with zeros.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

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

void lower_sgd(KernelCtx *k) {
    Emit *e = k->e;
    const SgdAttrs *a = k->attrs;
    int64_t floats, grad_floats, state_floats;
    Val w = flat_at(k, k->node->in[0], &floats);
    Val g = flat_at(k, k->node->in[1], &grad_floats);
    Val v = flat_at(k, k->node->in[2], &state_floats);
    if (grad_floats != floats || state_floats != floats)
        BUG("kernel %s: parameter and gradient differ in size", k->k->name);
    Val lr = em_fmul(e, frame_scalar(k, SCALAR_LR), em_f32(e, -a->lr_mult));
    Val step = em_splat(e, lr), momentum = em_splat(e, frame_scalar(k, SCALAR_MOMENTUM));
    Val decay = em_splat(e, em_fmul(e, frame_scalar(k, SCALAR_DECAY), em_f32(e, a->decay_mult)));
    Loop task = task_loop(k);
    Val from = em_mul(e, task.i, em_i64(e, SGD_CHUNK));
    Val to = em_imin(e, em_add(e, from, em_i64(e, SGD_CHUNK)), em_i64(e, floats));
    Loop i = em_for(e, from, to, em_width(e), "i", NULL, 0);
    Val pw = em_ptr(e, w, i.i), pv = em_ptr(e, v, i.i);
    Val weight = em_load(e, pw, 0, true);
    Val grad = em_fma(e, decay, weight, em_load(e, em_ptr(e, g, i.i), 0, true));
    Val speed = em_fma(e, momentum, em_load(e, pv, 0, true), grad);
    em_store(e, pv, 0, speed, true);
    Val along = a->nesterov ? em_fma(e, momentum, speed, grad) : speed;
    em_store(e, pw, 0, em_fma(e, step, along, weight), true);
    em_for_end(e, &i, NULL, 0);
    task_end(k, &task);
}
