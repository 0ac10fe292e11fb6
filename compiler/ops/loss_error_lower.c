/* loss_error_lower.c: losses between two layers: one sum per image, and the gradient's formula.
 *
 * A row is summed by lanes, rows and blocks in their order, lanes by a fixed tree.
 */
#include "ops/loss.h"

/* log(1 + exp(-|x|)) + max(x, 0) - x t */
static Val logistic_error(Emit *e, Val x, Val t) {
    Val tail = em_fadd(e, em_vec(e, 1), em_exp(e, em_fneg(e, em_fabs(e, x))));
    Val top = em_fmax(e, em_vec(e, 0), x);
    return em_fadd(e, em_log(e, tail), em_fsub(e, top, em_fmul(e, x, t)));
}

static Val error_of(Emit *e, int kind, Val x, Val t) {
    if (kind == ERROR_LOGISTIC)
        return logistic_error(e, x, t);
    Val d = em_fsub(e, x, t);
    return kind == ERROR_SQUARE ? em_fmul(e, d, d) : em_fabs(e, d);
}

void lower_error(KernelCtx *k, int kind) {
    Emit *e = k->e;
    Loss l;
    Loop task = loss_begin(k, &l);
    View target = view_of(k, k->node->in[1]);
    Val zero = em_i64(e, 0), none = em_vec(e, 0), total[1] = {none};
    Loop cb = em_for(e, zero, em_i64(e, l.score.cblocks), 1, "cb", total, 1);
    Loop y = em_for(e, zero, em_i64(e, l.score.h), 1, "y", total, 1);
    Val row[1] = {none};
    Loop x = em_for(e, zero, em_i64(e, l.score.w), 1, "x", row, 1);
    Val a = em_load(e, view_at(k, &l.score, task.i, cb.i, y.i, x.i), 0, l.score.aligned);
    Val b = em_load(e, view_at(k, &target, task.i, cb.i, y.i, x.i), 0, target.aligned);
    Val d = em_select(e, real_lanes(k, &l.score, cb.i), error_of(e, kind, a, b), none);
    row[0] = em_fadd(e, row[0], d);
    em_for_end(e, &x, row, 1);
    total[0] = em_fadd(e, total[0], row[0]);
    em_for_end(e, &y, total, 1);
    em_for_end(e, &cb, total, 1);
    double count = (double)(l.score.c * l.score.h * l.score.w);
    put_loss(k, &l, em_fmul(e, em_reduce_add(e, total[0]), em_f32(e, 1 / count)));
    task_end(k, &task);
}

void lower_mae(KernelCtx *k) {
    lower_error(k, ERROR_ABS);
}

Val scalar_error_bwd(ScalarCtx *s) {
    Emit *e = s->e;
    const LossAttrs *a = s->attrs;
    Val x = s->in[0], t = s->in[1], d = em_fsub(e, x, t), zero = em_vec(e, 0);
    double count = a->kind == ERROR_SUM
                       ? 1
                       : (double)shape_elems(&graph_v(s->g, s->node->out[0])->shape);
    double factor = a->weight * (a->kind == ERROR_SQUARE ? 2 : 1) / count;
    Val scale = em_splat(e, em_fmul(e, frame_scalar(s->k, SCALAR_INV_N), em_f32(e, factor)));
    if (a->kind == ERROR_ABS) {
        Val below = em_select(e, em_fcmp(e, EM_LT, d, zero), em_vec(e, -1), zero);
        d = em_select(e, em_fcmp(e, EM_GT, d, zero), em_vec(e, 1), below);
    } else if (a->kind == ERROR_LOGISTIC) {
        d = em_fsub(e, em_sigmoid(e, x), t);
    } else if (a->kind == ERROR_LINEAR) {
        d = x;
    } else if (a->kind == ERROR_SUM) {
        return scale;
    }
    return em_fmul(e, d, scale);
}
