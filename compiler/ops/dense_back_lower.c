/* dense_back_lower.c: backward data of dense layers straight from the forward weights.
 *
 * diff_src[n, k] is the dot product of diff_dst[n, :] with row k of the weights, whose lanes run
 * over the outputs: accumulators of images x rows keep one partial sum per lane; a block's rows are
 * then transposed in registers and added as a tree, which makes the vector of diff_src.  This saves
 * the transposed copy of the weights, hundreds of megabytes per training step in classic nets.  A
 * task first packs its rows: they lie a power of two apart and would evict each other from L2.
 * ensures: fixed order per output (a chain per lane, then a tree), whatever the batch.
 * theory: Goto and van de Geijn (2008) for the tile; the reduction is Eklundh's transpose.
 */
#include "ops/conv.h"

enum { IMAGES_BLOCK = 128 };

typedef struct Dots {
    KernelCtx *k;
    Emit *e;
    View dd;
    WeightView w;
    Epi ep;
    int rows;     /* rows of weights per register tile */
    int oc, last; /* vectors per tile of outputs; of the last tile */
    Val n0, n1, cb, y, x;
    Val dd_at, w_at;     /* image 0, output 0; row 0 of the block */
    Val packed, sums;    /* scratch: the task's rows as [tile][row][o_tile]; dot products */
    int64_t packed_tile; /* floats of a tile of outputs in it */
} Dots;

static bool is_transposed(const Graph *g, const Node *node) {
    return graph_v(g, node->in[1])->kind != VK_PARAM;
}

/* images x rows accumulators, the images' vectors and one row's vector */
static int image_count(const Target *t) {
    return t->broadcast_load ? 6 : t->registers >= 32 ? 4 : 3;
}

static int row_count(const Target *t, int64_t block) {
    for (int r = t->registers >= 32 ? 4 : 2; r > 1; --r)
        if (block % r == 0)
            return r;
    return 1;
}

static void choose_dots(const Graph *g, Kernel *k, const Target *t) {
    ConvProblem p = conv_problem(g, graph_n(g, k->anchor));
    int64_t block = min64(p.i, t->vector);
    k->tile.ow = image_count(t);
    k->tile.oc = 1;
    k->tile.ic = row_count(t, block);
    k->tile.rows = IMAGES_BLOCK;
    k->tasks_per = ceil_div(p.i, block) * p.kernel[0] * p.kernel[1];
    k->tasks_block = IMAGES_BLOCK;
    Layout l;
    conv_forward_layout(g, graph_n(g, k->anchor), t, &l);
    k->scratch = 4 * (ceil_div(p.o, l.o_tile) * l.o_tile * block +
                      (int64_t)k->tile.ow * t->vector * t->vector);
    k->algorithm = "dots";
    k->why = "rows of the forward weights: no transposed copy";
}

/* `vectors` outputs from pointers at them */
static void dot_step(const Dots *d, int images, int vectors, Val dd, Val w, Val next, Val *acc) {
    Emit *e = d->e;
    int width = em_width(e);
    for (int v = 0; v < vectors; ++v) {
        Val x[8];
        for (int p = 0; p < images; ++p)
            x[p] = em_load(e, dd, p * d->dd.image + v * width, true);
        for (int r = 0; r < d->rows; ++r) {
            int64_t at = r * d->w.row + v * width;
            Val row = em_load(e, w, at, true);
            if (images > 1 && v * width % 16 == 0) /* memory works on the next task meanwhile */
                em_prefetch(e, next, at);
            for (int p = 0; p < images; ++p)
                acc[p * d->rows + r] = em_fma(e, x[p], row, acc[p * d->rows + r]);
        }
    }
}

/* Sums of one group of rows for `images` images, left as vectors in scratch. */
static void row_group(const Dots *d, int images, Val dd, Val group) {
    Emit *e = d->e;
    int width = em_width(e), n = images * d->rows;
    int64_t step = (int64_t)d->oc * width, tiles = d->w.o_tiles;
    Val acc[TILE_MAX_ACC];
    for (int i = 0; i < n; ++i)
        acc[i] = em_vec(e, 0);
    Val w = em_ptr(e, d->packed, em_mul(e, group, em_i64(e, d->rows * d->w.row)));
    Val next = em_ptr(e, d->w_at, em_mul(e, group, em_i64(e, d->rows * d->w.row)));
    next = em_ptr(e, next, em_i64(e, d->w.tap));
    int64_t whole = d->last == d->oc ? tiles : tiles - 1;
    if (whole > 0) {
        Loop l = em_for(e, em_i64(e, 0), em_i64(e, whole), 1, "outputs", acc, n);
        dot_step(d, images, d->oc, em_ptr(e, dd, em_mul(e, l.i, em_i64(e, step))),
                 em_ptr(e, w, em_mul(e, l.i, em_i64(e, d->packed_tile))),
                 em_ptr(e, next, em_mul(e, l.i, em_i64(e, d->w.tile))), acc);
        em_for_end(e, &l, acc, n);
    }
    if (whole < tiles)
        dot_step(d, images, d->last, em_ptr(e, dd, em_i64(e, whole * step)),
                 em_ptr(e, w, em_i64(e, whole * d->packed_tile)),
                 em_ptr(e, next, em_i64(e, whole * d->w.tile)), acc);
    Val to = em_ptr(e, d->sums, em_mul(e, group, em_i64(e, (int64_t)d->rows * width)));
    for (int p = 0; p < images; ++p)
        for (int r = 0; r < d->rows; ++r)
            em_store(e, to, (int64_t)(p * width + r) * width, acc[p * d->rows + r], true);
}

/* Lane i of the result: the sum of the lanes of vector i. */
static Val sum_lanes(Emit *e, Val *row) {
    int width = em_width(e);
    em_transpose(e, row);
    for (int n = width / 2; n >= 1; n /= 2)
        for (int i = 0; i < n; ++i)
            row[i] = em_fadd(e, row[i], row[i + n]);
    return row[0];
}

static void image_tile(Dots *d, int images, Val first) {
    Emit *e = d->e;
    int width = em_width(e), block = d->w.layout.i_block;
    Val n = em_add(e, d->n0, first);
    Val dd = em_ptr(e, d->dd_at, em_mul(e, n, em_i64(e, d->dd.image)));
    Loop g = em_for(e, em_i64(e, 0), em_i64(e, block / d->rows), 1, "group", NULL, 0);
    row_group(d, images, dd, g.i);
    em_for_end(e, &g, NULL, 0);
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, images), 1, "finish", NULL, 0);
    Val from = em_ptr(e, d->sums, em_mul(e, l.i, em_i64(e, (int64_t)width * width)));
    Val row[64];
    for (int r = 0; r < width; ++r)
        row[r] = r < block ? em_load(e, from, (int64_t)r * width, true) : em_vec(e, 0);
    epi_tile(d->k, &d->ep, em_add(e, n, l.i), d->cb, d->y, d->x);
    epi_emit(d->k, &d->ep, sum_lanes(e, row), 0, 0, 0, 0);
    em_for_end(e, &l, NULL, 0);
}

static void all_images(Dots *d) {
    Emit *e = d->e;
    int full = d->k->k->tile.ow;
    Val count = em_sub(e, d->n1, d->n0), rest = em_rem(e, count, em_i64(e, full));
    Val done = em_sub(e, count, rest);
    Loop l = em_for(e, em_i64(e, 0), done, full, "image", NULL, 0);
    image_tile(d, full, l.i);
    em_for_end(e, &l, NULL, 0);
    for (int v = 4; v >= 1; v /= 2) {
        if (v >= full)
            continue;
        Val bit = em_and(e, rest, em_i64(e, v));
        If f = em_if(e, em_icmp(e, EM_NE, bit, em_i64(e, 0)));
        image_tile(d, v, done);
        em_endif(e, &f);
        done = em_add(e, done, bit);
    }
}

/* The rows of this block and tap of all tiles of outputs, next to each other. */
static void pack_rows(Dots *d) {
    Emit *e = d->e;
    int width = em_width(e), line = width < 16 ? 16 : width;
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, d->w.o_tiles), 1, "pack", NULL, 0);
    Val from = em_ptr(e, d->w_at, em_mul(e, t.i, em_i64(e, d->w.tile)));
    Val to = em_ptr(e, d->packed, em_mul(e, t.i, em_i64(e, d->packed_tile)));
    Loop r = em_for(e, em_i64(e, 0), em_i64(e, d->packed_tile), d->w.row, "row", NULL, 0);
    Val row = em_ptr(e, from, r.i), put = em_ptr(e, to, r.i);
    for (int j = 0; j < d->oc * width; j += line)
        em_prefetch(e, row, d->w.tile + j); /* no hardware prefetcher leaps that far */
    for (int j = 0; j < d->oc * width; j += width)
        em_store(e, put, j, em_load(e, row, j, true), true);
    em_for_end(e, &r, NULL, 0);
    em_for_end(e, &t, NULL, 0);
}

static void zero_halos(Dots *d) {
    Emit *e = d->e;
    if (!epi_has_halo(&d->ep))
        return;
    If f = em_if(e, em_icmp(e, EM_EQ, d->x, em_i64(e, 0)));
    Loop l = em_for(e, d->n0, d->n1, 1, "rows", NULL, 0);
    epi_row(d->k, &d->ep, l.i, d->cb, 1, d->y);
    em_for_end(e, &l, NULL, 0);
    em_endif(e, &f);
}

static void lower_dots(KernelCtx *k) {
    Emit *e = k->e;
    Dots d = {.k = k, .e = e};
    d.dd = view_of(k, k->node->in[0]);
    d.w = weights_of(k, k->node->in[1]);
    epi_open(k, &d.ep);
    int width = em_width(e);
    d.rows = k->k->tile.ic;
    d.oc = (int)d.w.row / width;
    d.packed_tile = (int64_t)d.w.layout.i_block * d.w.row;
    d.packed = k->a.scratch;
    d.sums = em_ptr(e, d.packed, em_i64(e, d.w.o_tiles * d.packed_tile));
    d.last = (int)(d.dd.cblocks - (d.w.o_tiles - 1) * d.oc);
    Loop task = task_loop(k);
    Val block = em_i64(e, IMAGES_BLOCK);
    Val blocks = em_div(e, em_add(e, k->n, em_i64(e, IMAGES_BLOCK - 1)), block), rest;
    /* neighbouring tasks take neighbouring taps: their weights are neighbours in memory */
    Val unit = em_div(e, task.i, blocks), zero = em_i64(e, 0);
    d.n0 = em_mul(e, em_rem(e, task.i, blocks), block);
    d.n1 = em_imin(e, em_add(e, d.n0, block), k->n);
    d.w_at = em_ptr(e, d.w.base, em_mul(e, unit, em_i64(e, d.w.tap)));
    split_index(e, unit, d.w.kw, &rest, &d.x);
    split_index(e, rest, d.w.kh, &d.cb, &d.y);
    d.dd_at = view_at(k, &d.dd, zero, zero, zero, zero);
    zero_halos(&d);
    pack_rows(&d);
    all_images(&d);
    task_end(k, &task);
}

bool weights_dense_bwd_data(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    const Node *node = graph_n(g, n);
    if (input != 1 || is_transposed(g, node))
        return weights_conv_bwd_data(g, n, input, t, out);
    conv_forward_layout(g, node, t, out);
    return true;
}

void choose_dense_bwd_data(const Graph *g, Kernel *k, const Target *t) {
    if (is_transposed(g, graph_n(g, k->anchor)))
        choose_conv_bwd_data(g, k, t);
    else
        choose_dots(g, k, t);
}

void lower_dense_bwd_data(KernelCtx *k) {
    if (is_transposed(k->g, k->node))
        lower_conv_bwd_data(k);
    else
        lower_dots(k);
}
