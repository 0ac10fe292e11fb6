/* transpose_lower.c: weights packed for backward data: inputs and outputs change places.
 *
 * Both layouts are nests of blocks (graph.h), so the work is a vector-by-vector transpose per tap
 * of a block of input channels against a block of output channels. requires: the source's padding
 * is zero.  ensures: so is the destination's.
 */
#include "ops/conv.h"

void choose_transpose_weights(const Graph *g, Kernel *k, const Target *t) {
    (void)t;
    const Value *v = graph_v(g, graph_n(g, k->anchor)->out[0]);
    Axis axis[LAYOUT_MAX_AXES];
    layout_axes(&v->layout, &v->shape, axis);
    k->tasks_per = axis[0].extent * axis[1].extent * axis[2].extent;
    k->tasks_block = 0;
    k->algorithm = "transpose";
    k->why = "once per change of the weights";
}

/* One tap: vector v of the destination's tile; src and dst point at the tap of the blocks. */
static void one_block(KernelCtx *k, const WeightView *s, const WeightView *d, Val src, Val dst) {
    Emit *e = k->e;
    int width = em_width(e);
    Val row[64];
    for (int r = 0; r < width; ++r)
        row[r] = r < s->layout.i_block ? em_load(e, src, r * s->row, true) : em_vec(e, 0);
    em_transpose(e, row);
    for (int r = 0; r < d->layout.i_block; ++r)
        em_store(e, dst, r * d->row, row[r], true);
}

static void zero_block(KernelCtx *k, const WeightView *d, Val dst) {
    for (int r = 0; r < d->layout.i_block; ++r)
        em_store(k->e, dst, r * d->row, em_vec(k->e, 0), true);
}

/* Tiles narrower than a vector (conv_few_lower.c): number by number.  Task: a block of outputs. */
static void lower_narrow(KernelCtx *k, const WeightView *s, const WeightView *d) {
    Emit *e = k->e;
    BUG_IF(d->o_tiles != 1 || d->layout.groups != 1 || s->i_blocks != 1, "more than few channels");
    Loop task = task_loop(k);
    Val dst = em_ptr(e, d->base, em_mul(e, task.i, em_i64(e, d->block))), ot, in_tile;
    split_index(e, em_mul(e, task.i, em_i64(e, d->layout.i_block)), s->row, &ot, &in_tile);
    Val src = em_ptr(e, s->base, em_add(e, em_mul(e, ot, em_i64(e, s->tile)), in_tile));
    Loop tap = em_for(e, em_i64(e, 0), em_i64(e, d->kh * d->kw), 1, "tap", NULL, 0);
    Val from = em_ptr(e, src, em_mul(e, tap.i, em_i64(e, s->tap)));
    Val to = em_ptr(e, dst, em_mul(e, tap.i, em_i64(e, d->tap)));
    for (int64_t o = 0; o < d->layout.i_block; ++o)
        for (int64_t c = 0; c < d->layout.o_tile; ++c)
            em_store1(e, to, o * d->row + c, em_load1(e, from, c * s->row + o));
    em_for_end(e, &tap, NULL, 0);
    task_end(k, &task);
}

void lower_transpose_weights(KernelCtx *k) {
    Emit *e = k->e;
    WeightView s = weights_of(k, k->node->in[0]), d = weights_of(k, k->node->out[0]);
    int width = em_width(e), vectors = d.layout.o_tile / width;
    BUG_IF(s.layout.transposed || !d.layout.transposed, "weights are transposed already");
    if (d.layout.o_tile % width) {
        lower_narrow(k, &s, &d);
        return;
    }
    Loop task = task_loop(k);
    Val rest, group, it, ob;
    split_index(e, task.i, d.i_blocks, &rest, &ob);
    split_index(e, rest, d.o_tiles, &group, &it);
    Val dst = em_ptr(e, d.base, em_mul(e, task.i, em_i64(e, d.block)));
    Val lane = em_mul(e, ob, em_i64(e, d.layout.i_block)), ot, in_tile;
    split_index(e, lane, s.row, &ot, &in_tile);
    Val src = em_add(e, em_mul(e, group, em_i64(e, s.group)), em_mul(e, ot, em_i64(e, s.tile)));
    src = em_ptr(e, s.base, em_add(e, src, in_tile));
    Loop v = em_for(e, em_i64(e, 0), em_i64(e, vectors), 1, "vector", NULL, 0);
    Val ib = em_add(e, em_mul(e, it, em_i64(e, vectors)), v.i);
    If real = em_if(e, em_icmp(e, EM_LT, ib, em_i64(e, s.i_blocks)));
    for (int pass = 0; pass < 2; ++pass) {
        Loop tap = em_for(e, em_i64(e, 0), em_i64(e, d.kh * d.kw), 1, "tap", NULL, 0);
        Val to = em_add(e, em_mul(e, tap.i, em_i64(e, d.tap)), em_mul(e, v.i, em_i64(e, width)));
        Val from = em_add(e, em_mul(e, ib, em_i64(e, s.block)), em_mul(e, tap.i, em_i64(e, s.tap)));
        if (pass == 0)
            one_block(k, &s, &d, em_ptr(e, src, from), em_ptr(e, dst, to));
        else
            zero_block(k, &d, em_ptr(e, dst, to));
        em_for_end(e, &tap, NULL, 0);
        if (pass == 0)
            em_else(e, &real);
    }
    em_endif(e, &real);
    em_for_end(e, &v, NULL, 0);
    task_end(k, &task);
}
