/* map_lower.c: kernels of elementwise nodes that found no producer to fuse into.
 *
 * Tensors go row by row; unbatched values (gradients, masks) are flat arrays, where the order of
 * the elements does not matter as long as both operands share it.
 * requires: all operands of an unbatched map have the same layout.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

enum { FLAT_CHUNK = 4096 }; /* floats per task of a flat map */

static bool is_flat(const Graph *g, const Kernel *k) {
    return !graph_v(g, graph_n(g, k->anchor)->out[0])->batched;
}

void choose_map(const Graph *g, Kernel *k, const Target *t) {
    const Value *v = graph_v(g, graph_n(g, k->anchor)->out[0]);
    k->algorithm = "map";
    k->why = "elementwise, no producer to fuse into";
    if (is_flat(g, k)) {
        int64_t floats = layout_elems(&v->layout, &v->shape);
        k->tasks_per = (floats + FLAT_CHUNK - 1) / FLAT_CHUNK;
        k->tasks_block = 0;
        return;
    }
    int64_t c, h, w;
    shape_chw(&v->shape, &c, &h, &w);
    rows_split((c + t->vector - 1) / t->vector, h, w, k);
}

static Val apply(KernelCtx *k, const Node *node, const Val *in, Val n, Val cb, Val y, Val x) {
    ScalarCtx s = {.k = k, .e = k->e, .g = k->g, .node = node, .attrs = node->attrs};
    for (int j = 0; j < node->nin; j++)
        s.in[j] = in[j];
    s.n = n, s.cb = cb, s.y = y, s.x = x;
    s.height = s.width = 1; /* flat values have no rows to number */
    int64_t c;
    const Value *out = graph_v(k->g, node->out[0]);
    if (out->batched)
        shape_chw(&out->shape, &c, &s.height, &s.width);
    return op_def[node->op]->scalar(&s);
}

static void lower_flat(KernelCtx *k) {
    Emit *e = k->e;
    const Node *node = k->node;
    if (k->k->nchain)
        BUG("kernel %s: a flat map takes no chain", k->k->name);
    int64_t floats;
    Val dst = flat_at(k, node->out[0], &floats), src[SCALAR_INPUTS];
    for (int j = 0; j < node->nin; j++) {
        int64_t size;
        src[j] = flat_at(k, node->in[j], &size);
        if (size != floats)
            BUG("kernel %s: operands differ in size", k->k->name);
    }
    Loop task = task_loop(k);
    Val from = em_mul(e, task.i, em_i64(e, FLAT_CHUNK));
    Val to = em_imin(e, em_add(e, from, em_i64(e, FLAT_CHUNK)), em_i64(e, floats));
    Loop i = em_for(e, from, to, em_width(e), "i", NULL, 0);
    Val in[SCALAR_INPUTS], zero = em_i64(e, 0);
    for (int j = 0; j < node->nin; j++)
        in[j] = em_load(e, em_ptr(e, src[j], i.i), 0, true);
    em_store(e, em_ptr(e, dst, i.i), 0, apply(k, node, in, zero, zero, zero, zero), true);
    em_for_end(e, &i, NULL, 0);
    task_end(k, &task);
}

typedef struct MapRow {
    Epi epi;
    View src[SCALAR_INPUTS];
    int64_t width;
} MapRow;

static void map_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    MapRow *m = user;
    Emit *e = k->e;
    epi_row(k, &m->epi, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, m->width), 1, "x", NULL, 0);
    Val in[SCALAR_INPUTS];
    for (int j = 0; j < k->node->nin; j++)
        in[j] = operand_load(e, &m->src[j], view_at(k, &m->src[j], n, cb, y, x.i), 0);
    epi_tile(k, &m->epi, n, cb, y, x.i);
    epi_emit(k, &m->epi, apply(k, k->node, in, n, cb, y, x.i), 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

void lower_map(KernelCtx *k) {
    if (is_flat(k->g, k->k)) {
        lower_flat(k);
        return;
    }
    MapRow m = {0};
    epi_open(k, &m.epi);
    if (!op_is(k->node->op, OPF_Z))
        m.epi.must_mask = true;
    for (int j = 0; j < k->node->nin; j++)
        m.src[j] = operand_of(k, k->node->in[j], k->node->out[0]);
    for (int j = 0; j < k->node->nin; j++)
        m.epi.must_mask |= m.src[j].one_map;
    int64_t c, h;
    shape_chw(&graph_v(k->g, k->node->out[0])->shape, &c, &h, &m.width);
    rows_for_each(k, (c + em_width(k->e) - 1) / em_width(k->e), h, map_row, &m);
}
