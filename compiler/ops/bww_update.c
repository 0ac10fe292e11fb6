/* bww_update.c: the update applied by a weights' gradient, and the bias' gradient (bww_update.h).
 *
 * requires: diff_dst blocked by the vector width.
 * ensures: the bias' gradient is summed in three levels (row, image, batch) in one fixed order, by
 * one task, alone or beside the weights: the same bits in both forms.
 */
#include "ops/bww_update.h"

bool bww_accepts(const Graph *g, const Kernel *k, NodeId next) {
    (void)k;
    const Node *n = graph_n(g, next);
    return op_def[n->op]->update ? n->nin == 3 : n->op == OP_BIAS_GRAD;
}

BwwUpdate bww_update_open(KernelCtx *k) {
    BwwUpdate u = {.k = k};
    int64_t floats;
    if (!k->k->update) {
        u.w = weights_of(k, k->node->out[0]);
        return u;
    }
    u.weights = graph_n(k->g, k->k->update);
    u.w = weights_of(k, u.weights->in[0]);
    u.state = flat_at(k, u.weights->in[2], &floats);
    if (k->k->bias_update)
        u.bias = graph_n(k->g, k->k->bias_update);
    return u;
}

/* ---- the bias ---- */

/* Sum of a row: four chains hide the latency of the additions, joined in a fixed order. */
static Val sum_row(KernelCtx *k, const View *v, Val row) {
    enum { CHAINS = 4 };
    Emit *e = k->e;
    Val acc[CHAINS];
    int64_t w = v->w, rest = w % CHAINS;
    for (int c = 0; c < CHAINS; ++c)
        acc[c] = em_vec(e, 0);
    if (w >= CHAINS) {
        Loop x = em_for(e, em_i64(e, 0), em_i64(e, w - rest), CHAINS, "x", acc, CHAINS);
        Val at = em_ptr(e, row, em_mul(e, x.i, em_i64(e, v->pixel)));
        for (int c = 0; c < CHAINS; ++c)
            acc[c] = em_fadd(e, acc[c], em_load(e, at, c * v->pixel, true));
        em_for_end(e, &x, acc, CHAINS);
    }
    for (int64_t c = 0; c < rest; ++c)
        acc[c] = em_fadd(e, acc[c], em_load(e, row, (w - rest + c) * v->pixel, true));
    return em_fadd(e, em_fadd(e, acc[0], acc[1]), em_fadd(e, acc[2], acc[3]));
}

/* scratch: the sums of the image at hand, then those of all images before it */
int64_t bias_scratch(const Kernel *k, int64_t o_tile) {
    return k->bias_grad ? 2 * o_tile : 0;
}

static int64_t total_at(const BwwBias *b) {
    return (int64_t)b->vectors * em_width(b->u->k->e);
}

void bias_start(BwwBias *b) {
    Emit *e = b->u->k->e;
    em_zero(e, b->scratch, em_i64(e, 2 * total_at(b)));
}

void bias_rows(BwwBias *b, Val image, Val from, Val to) {
    KernelCtx *k = b->u->k;
    Emit *e = k->e;
    int width = em_width(e);
    Val acc[TILE_MAX_VECTORS];
    If f = em_if(e, b->owns);
    for (int j = 0; j < b->vectors; ++j)
        acc[j] = em_load(e, b->scratch, j * width, true);
    Loop y = em_for(e, from, to, 1, "bias", acc, b->vectors);
    Val row = em_ptr(e, image, em_mul(e, y.i, em_i64(e, b->dd->row)));
    for (int j = 0; j < b->vectors; ++j) {
        Val sum = sum_row(k, b->dd, em_ptr(e, row, em_i64(e, j * b->dd->cblock)));
        acc[j] = em_fadd(e, acc[j], sum);
    }
    em_for_end(e, &y, acc, b->vectors);
    for (int j = 0; j < b->vectors; ++j)
        em_store(e, b->scratch, j * width, acc[j], true);
    em_endif(e, &f);
}

void bias_image_end(BwwBias *b) {
    Emit *e = b->u->k->e;
    int width = em_width(e);
    for (int j = 0; j < b->vectors; ++j) {
        int64_t image = j * width, total = total_at(b) + image;
        Val sum =
            em_fadd(e, em_load(e, b->scratch, total, true), em_load(e, b->scratch, image, true));
        em_store(e, b->scratch, total, sum, true);
        em_store(e, b->scratch, image, em_vec(e, 0), true);
    }
}

void bias_finish(BwwBias *b) {
    KernelCtx *k = b->u->k;
    Emit *e = k->e;
    int width = em_width(e);
    int64_t floats;
    If f = em_if(e, b->owns);
    UpdateRates rates = update_rates(k, b->u->bias);
    Val at = em_mul(e, b->first_cb, em_i64(e, width));
    Val bias = em_ptr(e, flat_at(k, b->u->bias->in[0], &floats), at);
    Val state = em_ptr(e, flat_at(k, b->u->bias->in[2], &floats), at);
    for (int j = 0; j < b->vectors; ++j)
        update_apply(e, &rates, bias, state, j * width,
                     em_load(e, b->scratch, total_at(b) + j * width, true));
    em_endif(e, &f);
}

void bias_all(BwwBias *b) {
    KernelCtx *k = b->u->k;
    Emit *e = k->e;
    Val zero = em_i64(e, 0);
    If f = em_if(e, b->owns);
    bias_start(b);
    Loop n = em_for(e, zero, k->n, 1, "n", NULL, 0);
    bias_rows(b, view_at(k, b->dd, n.i, b->first_cb, zero, zero), zero, em_i64(e, b->dd->h));
    bias_image_end(b);
    em_for_end(e, &n, NULL, 0);
    bias_finish(b);
    em_endif(e, &f);
}

/* ---- the bias' gradient alone ---- */
void choose_bias_grad(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->in[0])->shape, &c, &h, &w);
    k->tasks_per = ceil_div(c, t->vector);
    k->tasks_block = 0;
    k->algorithm = "sum";
    k->why = "one pass over diff_dst; rows, images, batch are summed in three levels";
}

void lower_bias_grad(KernelCtx *k) {
    Emit *e = k->e;
    View v = view_of(k, k->node->in[0]);
    int64_t floats;
    Val dst = flat_at(k, k->node->out[0], &floats), zero = em_i64(e, 0);
    int64_t width = em_width(e), used = v.cblocks * width;
    Loop task = task_loop(k);
    Val total[1] = {em_vec(e, 0)};
    Loop n = em_for(e, zero, k->n, 1, "n", total, 1);
    Val plane = view_at(k, &v, n.i, task.i, zero, zero), image[1] = {em_vec(e, 0)};
    Loop y = em_for(e, zero, em_i64(e, v.h), 1, "y", image, 1);
    image[0] =
        em_fadd(e, image[0], sum_row(k, &v, em_ptr(e, plane, em_mul(e, y.i, em_i64(e, v.row)))));
    em_for_end(e, &y, image, 1);
    total[0] = em_fadd(e, total[0], image[0]);
    em_for_end(e, &n, total, 1);
    em_store(e, em_ptr(e, dst, em_mul(e, task.i, em_i64(e, width))), 0, total[0], true);
    if (floats > used) { /* padding up to the weights' tile */
        If f = em_if(e, em_icmp(e, EM_EQ, task.i, zero));
        em_zero(e, em_ptr(e, dst, em_i64(e, used)), em_i64(e, floats - used));
        em_endif(e, &f);
    }
    task_end(k, &task);
}
