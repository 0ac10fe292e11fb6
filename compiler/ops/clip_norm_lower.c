/* clip_norm_lower.c: sums of squares and the factor made of them (clip_norm.c).
 *
 * ensures: the order of every sum follows from the layout alone, so the bits do not depend on the
 * number of threads; a number that is not finite makes the factor one that shows.
 */
#include "ops/hooks.h"
#include "ops/lower.h"

enum { CHAINS = 4 }; /* sums that hide the latency of an addition */

static int64_t parts_of(const Graph *g, const Node *n) {
    return graph_v(g, n->out[0])->shape.dim[0];
}

void choose_square_sums(const Graph *g, Kernel *k, const Target *t) {
    (void)t;
    k->algorithm = "flat";
    k->why = "one pass over the gradient";
    k->tasks_per = parts_of(g, graph_n(g, k->anchor));
    k->tasks_block = 0;
}

void choose_clip_factor(const Graph *g, Kernel *k, const Target *t) {
    (void)g, (void)t;
    k->algorithm = "sum";
    k->why = "a few numbers";
    k->tasks_per = 1;
    k->tasks_block = 0;
}

void lower_square_sums(KernelCtx *k) {
    Emit *e = k->e;
    int64_t floats, room, width = em_width(e), parts = parts_of(k->g, k->node);
    Val src = flat_at(k, k->node->in[0], &floats), dst = flat_at(k, k->node->out[0], &room);
    int64_t round = CHAINS * width,
            each = ((floats + parts - 1) / parts + round - 1) / round * round;
    Loop task = task_loop(k);
    Val from = em_mul(e, task.i, em_i64(e, each)), limit = em_i64(e, floats);
    Val to = em_imin(e, em_add(e, from, em_i64(e, each)), limit);
    Val count = em_sub(e, to, em_imin(e, from, limit));
    Val middle = em_add(e, from, em_mul(e, em_div(e, count, em_i64(e, round)), em_i64(e, round)));
    Val acc[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        acc[c] = em_vec(e, 0);
    Loop i = em_for(e, from, middle, round, "i", acc, CHAINS);
    for (int c = 0; c < CHAINS; c++) {
        Val x = em_load(e, em_ptr(e, src, i.i), c * width, true);
        acc[c] = em_fma(e, x, x, acc[c]);
    }
    em_for_end(e, &i, acc, CHAINS);
    Loop rest = em_for(e, middle, to, width, "rest", acc, 1);
    Val x = em_load(e, em_ptr(e, src, rest.i), 0, true);
    acc[0] = em_fma(e, x, x, acc[0]);
    em_for_end(e, &rest, acc, 1);
    Val sum = em_fadd(e, em_fadd(e, acc[0], acc[1]), em_fadd(e, acc[2], acc[3]));
    em_store1(e, em_ptr(e, dst, task.i), 0, em_reduce_add(e, sum));
    If last = em_if(e, em_icmp(e, EM_EQ, task.i, em_i64(e, parts - 1)));
    for (int64_t p = parts; p < room; p++)
        em_store1(e, dst, p, em_f32(e, 0));
    em_endif(e, &last);
    task_end(k, &task);
}

void lower_clip_factor(KernelCtx *k) {
    Emit *e = k->e;
    const ClipFactorAttrs *a = k->attrs;
    int64_t floats, room, width = em_width(e);
    Val dst = flat_at(k, k->node->out[0], &room), sum[1] = {em_vec(e, 0)};
    Loop task = task_loop(k);
    for (int i = 0; i < k->node->nin; i++) {
        Val src = flat_at(k, k->node->in[i], &floats);
        Loop l = em_for(e, em_i64(e, 0), em_i64(e, floats), width, "i", sum, 1);
        sum[0] = em_fadd(e, sum[0], em_load(e, em_ptr(e, src, l.i), 0, true));
        em_for_end(e, &l, sum, 1);
    }
    Val total = em_reduce_add(e, sum[0]);
    if (!a->partial) {
        Val norm = em_fadd(e, em_sqrt(e, total), em_f32(e, 1e-6)), one = em_f32(e, 1);
        total = em_fmin(e, one, em_fdiv(e, frame_scalar(k, SCALAR_CLIP), norm));
    }
    em_store1(e, dst, 0, total);
    for (int64_t p = 1; p < room; p++)
        em_store1(e, dst, p, em_f32(e, 0));
    task_end(k, &task);
}
