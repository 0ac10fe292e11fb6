/* transpose_maps_lower.c: code of transpose and channel_shuffle.
 *
 * The maps of the result come from cells all over: a vector is gathered lane by lane.  Orders that
 * keep the maps move whole vectors.
 */
#include "ops/hooks.h"
#include "ops/lower.h"

typedef struct Gather {
    View src;
    Epi epi;
    int64_t c, h, w; /* of the result */
    int order;       /* ORDER_.. */
    int64_t groups;  /* channel_shuffle; 0: transpose */
} Gather;

/* Pointer to the cell of src that cell (c, y, x) of the result is. */
static Val cell_of(KernelCtx *k, const Gather *g, Val n, Val c, Val y, Val x) {
    /* maps, rows, columns of src as axes of the result */
    static const int from[][3] = {
        [ORDER_CHW] = {0, 1, 2}, [ORDER_CWH] = {0, 2, 1}, [ORDER_HCW] = {1, 0, 2},
        [ORDER_HWC] = {2, 0, 1}, [ORDER_WCH] = {1, 2, 0}, [ORDER_WHC] = {2, 1, 0}};
    Emit *e = k->e;
    Val to[3] = {c, y, x}, cb, lane, i, j;
    if (g->groups) {
        split_index(e, c, g->groups, &j, &i);
        to[0] = em_add(e, em_mul(e, i, em_i64(e, g->c / g->groups)), j);
    }
    const int *at = from[g->order];
    split_index(e, to[at[0]], g->src.block, &cb, &lane);
    return em_ptr(e, view_at(k, &g->src, n, cb, to[at[1]], to[at[2]]), lane);
}

static Val gathered(KernelCtx *k, const Gather *g, Val n, Val cb, Val y, Val x, Val buffer) {
    Emit *e = k->e;
    Val width = em_i64(e, em_width(e)), first = em_mul(e, cb, width);
    Val last = em_imin(e, em_add(e, first, width), em_i64(e, g->c));
    if (g->order == ORDER_CWH && !g->groups)
        return em_load(e, cell_of(k, g, n, first, y, x), 0, g->src.aligned);
    em_store(e, buffer, 0, em_vec(e, 0), true);
    Loop c = em_for(e, first, last, 1, "c", NULL, 0);
    em_store1(e, em_ptr(e, buffer, em_sub(e, c.i, first)), 0,
              em_load1(e, cell_of(k, g, n, c.i, y, x), 0));
    em_for_end(e, &c, NULL, 0);
    return em_load(e, buffer, 0, true);
}

static void gather_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    Gather *g = user;
    Emit *e = k->e;
    Val buffer = em_stack(e, em_width(e));
    epi_row(k, &g->epi, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, g->w), 1, "x", NULL, 0);
    Val pixel = gathered(k, g, n, cb, y, x.i, buffer);
    epi_tile(k, &g->epi, n, cb, y, x.i);
    epi_emit(k, &g->epi, pixel, 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

static void lower_gather(KernelCtx *k, Gather *g) {
    g->src = view_of(k, k->node->in[0]);
    epi_open(k, &g->epi);
    shape_chw(&graph_v(k->g, k->node->out[0])->shape, &g->c, &g->h, &g->w);
    int64_t width = em_width(k->e);
    rows_for_each(k, (g->c + width - 1) / width, g->h, gather_row, g);
}

void lower_transpose(KernelCtx *k) {
    Gather g = {.order = ((const PermuteAttrs *)k->attrs)->order};
    lower_gather(k, &g);
}

void lower_channel_shuffle(KernelCtx *k) {
    Gather g = {.order = ORDER_CHW, .groups = ((const ShuffleAttrs *)k->attrs)->groups};
    lower_gather(k, &g);
}
