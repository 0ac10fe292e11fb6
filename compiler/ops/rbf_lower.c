/* rbf_lower.c: Euclidean radial basis function units, y_i = sum_j (x_j - w_ij)^2, and gradients.
 *
 * theory: LeCun et al. 1998, equation (7).  Centres lie like dense weights with one output vector
 * per tile: rows of o_tile = vector centres for one input j.  The feature vector has rank 1.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

static void centers_layout(const Target *t, Layout *out) {
    *out = (Layout){.kind = LAYOUT_WEIGHTS, .o_tile = t->vector, .i_block = t->vector,
                    .groups = 1};
}

bool weights_rbf(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    (void)g, (void)n;
    if (input == 1)
        centers_layout(t, out);
    return input == 1;
}

bool weights_rbf_bwd(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    bool gradient = graph_n(g, n)->op == OP_RBF_BWD_CENTERS;
    bool centers = input == 2 || (input == -1 && gradient);
    if (centers)
        centers_layout(t, out);
    return centers;
}

static Val row_at(KernelCtx *k, const WeightView *w, Val tile, Val j) {
    Emit *e = k->e;
    Val block, lane;
    split_index(e, j, w->layout.i_block, &block, &lane);
    Val index = em_add(e, em_mul(e, tile, em_i64(e, w->tile)),
                       em_mul(e, block, em_i64(e, w->block)));
    return em_ptr(e, w->base, em_add(e, index, em_mul(e, lane, em_i64(e, w->row))));
}

/* Rank-1 blocked tensors are contiguous: channel c is float c. */
static Val feature(KernelCtx *k, Val image, Val j) {
    return em_bcast(k->e, em_ptr(k->e, image, j), 0);
}

static Val image_of(KernelCtx *k, const View *v, Val n) {
    Val zero = em_i64(k->e, 0);
    return view_at(k, v, n, zero, zero, zero);
}

static Val real_units(KernelCtx *k, const View *v, Val tile, Val x) {
    Emit *e = k->e;
    Val first = em_splat_i32(e, em_mul(e, tile, em_i64(e, em_width(e))));
    Val unit = em_add(e, first, em_lane_index(e));
    Val real = em_icmp(e, EM_LT, unit, em_splat_i32(e, em_i64(e, v->c)));
    return em_select(e, real, x, em_vec(e, 0));
}

void lower_rbf(KernelCtx *k) {
    Emit *e = k->e;
    View src = view_of(k, k->node->in[0]), dst = view_of(k, k->node->out[0]);
    WeightView w = weights_of(k, k->node->in[1]);
    Loop task = task_loop(k);
    Val x = image_of(k, &src, task.i), y = image_of(k, &dst, task.i);
    Loop tile = em_for(e, em_i64(e, 0), em_i64(e, w.o_tiles), 1, "tile", NULL, 0);
    Val acc[1] = {em_vec(e, 0)};
    Loop j = em_for(e, em_i64(e, 0), em_i64(e, src.c), 1, "j", acc, 1);
    Val d = em_fsub(e, feature(k, x, j.i), em_load(e, row_at(k, &w, tile.i, j.i), 0, true));
    acc[0] = em_fma(e, d, d, acc[0]);
    em_for_end(e, &j, acc, 1);
    Val to = em_ptr(e, y, em_mul(e, tile.i, em_i64(e, em_width(e))));
    em_store(e, to, 0, real_units(k, &dst, tile.i, acc[0]), true);
    em_for_end(e, &tile, NULL, 0);
    task_end(k, &task);
}

/* dx_j = 2 sum_i dy_i (x_j - w_ij); inputs diff_dst src centers */
void lower_rbf_bwd_data(KernelCtx *k) {
    Emit *e = k->e;
    View dy = view_of(k, k->node->in[0]), src = view_of(k, k->node->in[1]);
    View dx = view_of(k, k->node->out[0]);
    WeightView w = weights_of(k, k->node->in[2]);
    Loop task = task_loop(k);
    Val x = image_of(k, &src, task.i), g = image_of(k, &dy, task.i);
    Val out = image_of(k, &dx, task.i);
    em_zero(e, out, em_i64(e, dx.cblocks * em_width(e)));
    Loop j = em_for(e, em_i64(e, 0), em_i64(e, src.c), 1, "j", NULL, 0);
    Val acc[1] = {em_vec(e, 0)};
    Loop tile = em_for(e, em_i64(e, 0), em_i64(e, w.o_tiles), 1, "tile", acc, 1);
    Val d = em_fsub(e, feature(k, x, j.i), em_load(e, row_at(k, &w, tile.i, j.i), 0, true));
    Val at = em_ptr(e, g, em_mul(e, tile.i, em_i64(e, em_width(e))));
    acc[0] = em_fma(e, em_load(e, at, 0, true), d, acc[0]); /* padding lanes of dy are zero */
    em_for_end(e, &tile, acc, 1);
    Val sum = em_fmul(e, em_reduce_add(e, acc[0]), em_f32(e, 2));
    em_store1(e, em_ptr(e, out, j.i), 0, sum);
    em_for_end(e, &j, NULL, 0);
    task_end(k, &task);
}

void choose_rbf_bwd_centers(const Graph *g, Kernel *k, const Target *t) {
    const Value *src = graph_v(g, graph_n(g, k->anchor)->in[1]);
    k->algorithm = "reduce";
    k->why = "one task per feature, images in order";
    /* padded features too: their rows become zero, because features and centres there are */
    k->tasks_per = (src->shape.dim[0] + t->vector - 1) / t->vector * t->vector;
    k->tasks_block = 0;
}

/* dw_ij = 2 sum_n dy_i (w_ij - x_j) */
void lower_rbf_bwd_centers(KernelCtx *k) {
    Emit *e = k->e;
    View dy = view_of(k, k->node->in[0]), src = view_of(k, k->node->in[1]);
    WeightView w = weights_of(k, k->node->in[2]), dw = weights_of(k, k->node->out[0]);
    Loop task = task_loop(k);
    Loop tile = em_for(e, em_i64(e, 0), em_i64(e, w.o_tiles), 1, "tile", NULL, 0);
    Val center = em_load(e, row_at(k, &w, tile.i, task.i), 0, true);
    Val acc[1] = {em_vec(e, 0)};
    Loop n = em_for(e, em_i64(e, 0), k->n, 1, "n", acc, 1);
    Val d = em_fsub(e, center, feature(k, image_of(k, &src, n.i), task.i));
    Val at = em_ptr(e, image_of(k, &dy, n.i), em_mul(e, tile.i, em_i64(e, em_width(e))));
    acc[0] = em_fma(e, em_load(e, at, 0, true), d, acc[0]);
    em_for_end(e, &n, acc, 1);
    Val sum = em_fmul(e, acc[0], em_vec(e, 2));
    em_store(e, row_at(k, &dw, tile.i, task.i), 0, sum, true);
    em_for_end(e, &tile, NULL, 0);
    task_end(k, &task);
}
