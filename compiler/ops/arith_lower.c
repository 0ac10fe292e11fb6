/* arith_lower.c: the formulas of arith.c, and the sums that undo a repetition.
 *
 * sum_to: one task per output row and block of output channels; rows are summed first, then rows
 * and blocks in their order, lanes by a fixed tree: the same bits for any number of threads.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

Val scalar_add(ScalarCtx *s) {
    return em_fadd(s->e, s->in[0], s->in[1]);
}
Val scalar_mul(ScalarCtx *s) {
    return em_fmul(s->e, s->in[0], s->in[1]);
}
Val scalar_sub(ScalarCtx *s) {
    return em_fsub(s->e, s->in[0], s->in[1]);
}
Val scalar_div(ScalarCtx *s) {
    return em_fdiv(s->e, s->in[0], s->in[1]);
}

/* A NaN in either operand stays visible. */
static Val choice(ScalarCtx *s, EmPred better) {
    Emit *e = s->e;
    Val a = s->in[0], b = s->in[1];
    Val best = em_select(e, em_fcmp(e, better, a, b), a, b);
    return em_select(e, em_ford(e, a, b), best, em_fadd(e, a, b));
}

Val scalar_maximum(ScalarCtx *s) {
    return choice(s, EM_GE);
}
Val scalar_minimum(ScalarCtx *s) {
    return choice(s, EM_LE);
}

static Val pass(ScalarCtx *s, EmPred when) {
    Emit *e = s->e;
    return em_select(e, em_fcmp(e, when, s->in[1], s->in[2]), s->in[0], em_vec(e, 0));
}

Val scalar_pass_ge(ScalarCtx *s) {
    return pass(s, EM_GE);
}
Val scalar_pass_lt(ScalarCtx *s) {
    return pass(s, EM_LT);
}

/* ---- sum_to ---- */

void choose_sum_to(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->out[0])->shape, &c, &h, &w);
    k->algorithm = "sums";
    k->why = "a task per row and channel block of the result";
    k->tasks_per = (c + t->vector - 1) / t->vector * h;
    k->tasks_block = 1;
}

/* from .. to of a summed or kept axis */
static Loop axis(Emit *e, bool summed, Val at, int64_t extent, Val *acc) {
    Val from = summed ? em_i64(e, 0) : at;
    Val to = summed ? em_i64(e, extent) : em_add(e, at, em_i64(e, 1));
    return em_for(e, from, to, 1, "sum", acc, 1);
}

void lower_sum_to(KernelCtx *k) {
    Emit *e = k->e;
    View src = view_of(k, k->node->in[0]), dst = view_of(k, k->node->out[0]);
    bool maps = dst.c == 1 && src.c > 1, rows = dst.h == 1 && src.h > 1;
    bool columns = dst.w == 1 && src.w > 1;
    Val rest, n, cb, y, zero = em_vec(e, 0);
    Loop task = task_loop(k);
    split_index(e, task.i, dst.h, &rest, &y);
    split_index(e, rest, dst.cblocks, &n, &cb);
    halo_row(k, &dst, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, dst.w), 1, "x", NULL, 0);
    Val total[1] = {zero};
    Loop lb = axis(e, maps, cb, src.cblocks, total), ly = axis(e, rows, y, src.h, total);
    Val row[1] = {zero};
    Loop lx = axis(e, columns, x.i, src.w, row);
    row[0] = em_fadd(e, row[0], em_load(e, view_at(k, &src, n, lb.i, ly.i, lx.i), 0, src.aligned));
    em_for_end(e, &lx, row, 1);
    total[0] = em_fadd(e, total[0], row[0]);
    em_for_end(e, &ly, total, 1);
    em_for_end(e, &lb, total, 1);
    if (maps)
        total[0] = em_insert(e, zero, em_reduce_add(e, total[0]), 0);
    em_store(e, view_at(k, &dst, n, cb, y, x.i), 0, total[0], dst.aligned);
    em_for_end(e, &x, NULL, 0);
    task_end(k, &task);
}
