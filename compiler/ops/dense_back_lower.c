/* dense_back_lower.c: backward data of dense layers straight from the forward weights.
 *
 * diff_src[n, k] is the dot product of diff_dst[n, :] with row k of the weights, whose lanes run
 * over the outputs: one partial sum per lane, row and image, held in L1.  A visit keeps a chunk of
 * diff_dst of a few images in registers and walks down the rows of weights, adding to those sums;
 * at the end the vectors of a block of rows are transposed and added as a tree, which makes the
 * vector of diff_src.  No transposed copy of the weights, hundreds of megabytes in classic nets.
 * With few images more rows go together, so that memory is read in long runs.
 * ensures: fixed order per output (a chain per lane, then a tree), whatever the batch.
 * theory: Goto and van de Geijn (2008) for the blocking; the reduction is Eklundh's transpose.
 */
#include "ops/conv.h"

enum {
    IMAGES_BLOCK = 128,
    UNITS_PER_TASK = 16, /* at most; a unit is one tap of a block of input channels */
    TASKS_WANTED = 32,
    SUMS_L1 = 256,       /* vectors of partial sums that go together when images are few */
    MAX_CHUNK = 8,       /* vectors of outputs per visit */
    LINE = 16,           /* floats per cache line */
    MANY_IMAGES = 16,    /* then several visits share the fetching of the next chunk */
};

typedef struct Dots {
    KernelCtx *k;
    Emit *e;
    View dd;
    WeightView w;
    Epi ep;
    int tiles;           /* of outputs per visit */
    int oc, last;        /* vectors per tile of outputs; of the last tile */
    int images;          /* per visit */
    int64_t units, per;  /* of the layer; per task */
    Val n0, count;       /* images */
    Val u0, u1, rows;    /* units and rows of the block at hand */
    Val dd_at, w_at;     /* image n0, output 0; the block's first row of tile 0 */
    Val next;            /* where the next block's rows are */
    Val sums;            /* scratch: [image][row of the block] vectors */
} Dots;

static bool is_transposed(const Graph *g, const Node *node) {
    const Value *w = graph_v(g, node->in[1]);
    return w->kind == VK_RESULT && graph_n(g, w->def)->op == OP_TRANSPOSE_WEIGHTS;
}

/* Tiles of outputs per visit: their vectors, times images, stay in registers. */
static int tile_count(const Target *t, int oc) {
    return (int)max64(1, (t->registers >= 32 ? MAX_CHUNK : MAX_CHUNK / 2) / oc);
}

static void choose_dots(const Graph *g, Kernel *k, const Target *t) {
    ConvProblem p = conv_problem(g, graph_n(g, k->anchor));
    Layout l;
    conv_forward_layout(g, graph_n(g, k->anchor), t, &l);
    int64_t units = ceil_div(p.i, l.i_block) * p.kernel[0] * p.kernel[1];
    k->tile.ow = 2;
    k->tile.oh = 1;
    k->tile.oc = l.o_tile / t->vector;
    k->tile.rows = (int)min64(UNITS_PER_TASK, ceil_div(units, TASKS_WANTED));
    k->tasks_per = ceil_div(units, k->tile.rows);
    k->tasks_block = IMAGES_BLOCK;
    int64_t vectors = max64(SUMS_L1, (int64_t)IMAGES_BLOCK * l.i_block);
    k->scratch = 4 * vectors * t->vector;
    k->algorithm = "dots";
    k->why = "rows of the forward weights: no transposed copy";
}

/* ---- one visit ---- */

/* Weights per cache line. */
static int line_of(const Dots *d) {
    return d->w.bf16 ? 2 * LINE : LINE;
}

/* What a visit fetches for later ones: a line per line it reads, a line per row, or nothing. */
typedef enum { FETCH_NONE, FETCH_ROWS, FETCH_ALL } Fetch;

/* Sums of `images` images from `first` on: all rows of the block against outputs of `vectors`
 * vectors from tile `tile` on.  next: the lines to fetch. */
static void visit(const Dots *d, int images, Val first, Val tile, int vectors, Fetch fetch,
                  Val next) {
    Emit *e = d->e;
    int width = em_width(e);
    Val x[2 * MAX_CHUNK], acc[2];
    Val dd = em_mul(e, tile, em_i64(e, (int64_t)d->oc * width));
    dd = em_ptr(e, d->dd_at, em_add(e, dd, em_mul(e, first, em_i64(e, d->dd.image))));
    for (int p = 0; p < images; ++p)
        for (int v = 0; v < vectors; ++v)
            x[p * vectors + v] = em_load(e, dd, p * d->dd.image + v * width, true);
    Val step = em_mul(e, d->rows, em_i64(e, width)), sums[2];
    sums[0] = em_ptr(e, d->sums, em_mul(e, first, step));
    sums[1] = em_ptr(e, sums[0], step);
    Val w = weights_ptr(e, d->w.bf16, d->w_at, em_mul(e, tile, em_i64(e, d->w.tile)));
    Loop l = em_for(e, em_i64(e, 0), d->rows, 1, "row", NULL, 0);
    Val at = weights_ptr(e, d->w.bf16, w, em_mul(e, l.i, em_i64(e, d->w.row)));
    if (fetch)
        next = weights_ptr(e, d->w.bf16, next,
                           em_mul(e, l.i, em_i64(e, fetch == FETCH_ALL ? d->w.row : line_of(d))));
    if (fetch == FETCH_ROWS)
        em_prefetch(e, next, 0);
    Val to = em_mul(e, l.i, em_i64(e, width));
    for (int p = 0; p < images; ++p)
        acc[p] = em_load(e, em_ptr(e, sums[p], to), 0, true);
    for (int v = 0; v < vectors; ++v) {
        int64_t off = v / d->oc * d->w.tile + v % d->oc * width;
        Val row = weights_load(e, d->w.bf16, at, off);
        if (fetch == FETCH_ALL && v * width % line_of(d) == 0)
            weights_fetch(e, d->w.bf16, next, off);
        for (int p = 0; p < images; ++p)
            acc[p] = em_fma(e, x[p * vectors + v], row, acc[p]);
    }
    for (int p = 0; p < images; ++p)
        em_store(e, em_ptr(e, sums[p], to), 0, acc[p], true);
    em_for_end(e, &l, NULL, 0);
}

/* Few images: memory sets the pace, the first visit fetches all. */
static void few_images(const Dots *d, Val tile, int vectors, Val next) {
    Emit *e = d->e;
    Val zero = em_i64(e, 0), odd = em_and(e, d->count, em_i64(e, 1));
    If one = em_if(e, em_icmp(e, EM_NE, odd, zero));
    visit(d, 1, zero, tile, vectors, FETCH_ALL, next);
    em_else(e, &one);
    visit(d, 2, zero, tile, vectors, FETCH_ALL, next);
    em_endif(e, &one);
    Loop l = em_for(e, em_sub(e, em_i64(e, 2), odd), d->count, 2, "image", NULL, 0);
    visit(d, 2, l.i, tile, vectors, FETCH_NONE, NULL);
    em_for_end(e, &l, NULL, 0);
}

/* Many: the first visits share the fetching evenly, a line per row each. */
static void many_images(const Dots *d, Val tile, int vectors, Val next) {
    Emit *e = d->e;
    int64_t per = max64(1, d->w.row / line_of(d)), share = ceil_div(vectors, d->oc) * per;
    Val odd = em_and(e, d->count, em_i64(e, 1)), even = em_sub(e, d->count, odd);
    Val end = em_imin(e, em_i64(e, 2 * share), even);
    Loop l = em_for(e, em_i64(e, 0), end, 2, "image", NULL, 0);
    Val number = em_shr(e, l.i, em_i64(e, 1)), of_tile, part;
    split_index(e, number, per, &of_tile, &part);
    Val at = em_mul(e, em_mul(e, part, d->rows), em_i64(e, line_of(d)));
    at = em_add(e, at, em_mul(e, of_tile, em_i64(e, d->w.tile)));
    visit(d, 2, l.i, tile, vectors, FETCH_ROWS,
          weights_ptr(e, d->w.bf16, next, at));
    em_for_end(e, &l, NULL, 0);
    Loop r = em_for(e, end, even, 2, "image", NULL, 0);
    visit(d, 2, r.i, tile, vectors, FETCH_NONE, NULL);
    em_for_end(e, &r, NULL, 0);
    If last = em_if(e, em_icmp(e, EM_NE, odd, em_i64(e, 0)));
    visit(d, 1, even, tile, vectors, FETCH_NONE, NULL);
    em_endif(e, &last);
}

static void all_images(const Dots *d, Val tile, int vectors, Val next) {
    If f = em_if(d->e, em_icmp(d->e, EM_LT, d->count, em_i64(d->e, MANY_IMAGES)));
    few_images(d, tile, vectors, next);
    em_else(d->e, &f);
    many_images(d, tile, vectors, next);
    em_endif(d->e, &f);
}

/* ---- a block of rows ---- */

static void all_outputs(const Dots *d) {
    Emit *e = d->e;
    int64_t tiles = d->w.o_tiles, full = d->last == d->oc ? tiles : tiles - 1;
    int64_t whole = full / d->tiles * d->tiles;
    int rest = (int)(full - whole) * d->oc + (d->last == d->oc ? 0 : d->last);
    if (whole > 0) {
        Loop l = em_for(e, em_i64(e, 0), em_i64(e, whole), d->tiles, "outputs", NULL, 0);
        Val then = em_add(e, l.i, em_i64(e, d->tiles));
        Val fetch = weights_ptr(e, d->w.bf16, d->w_at, em_mul(e, then, em_i64(e, d->w.tile)));
        if (rest == 0)
            fetch = em_select(e, em_icmp(e, EM_LT, then, em_i64(e, whole)), fetch, d->next);
        all_images(d, l.i, d->tiles * d->oc, fetch);
        em_for_end(e, &l, NULL, 0);
    }
    if (rest > 0)
        all_images(d, em_i64(e, whole), rest, d->next);
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

/* The block's partial sums become outputs. */
static void finish(Dots *d) {
    Emit *e = d->e;
    int width = em_width(e), block = d->w.layout.i_block;
    Loop u = em_for(e, d->u0, d->u1, 1, "finish", NULL, 0);
    Val rest, x, y, cb;
    split_index(e, u.i, d->w.kw, &rest, &x);
    split_index(e, rest, d->w.kh, &cb, &y);
    Val unit = em_mul(e, em_sub(e, u.i, d->u0), em_i64(e, (int64_t)block * width));
    Loop l = em_for(e, em_i64(e, 0), d->count, 1, "image", NULL, 0);
    Val n = em_add(e, d->n0, l.i);
    if (epi_has_halo(&d->ep)) {
        If f = em_if(e, em_icmp(e, EM_EQ, x, em_i64(e, 0)));
        epi_row(d->k, &d->ep, n, cb, 1, y);
        em_endif(e, &f);
    }
    Val at = em_mul(e, em_mul(e, l.i, d->rows), em_i64(e, width));
    Val from = em_ptr(e, d->sums, em_add(e, at, unit)), row[64];
    for (int r = 0; r < width; ++r)
        row[r] = r < block ? em_load(e, from, (int64_t)r * width, true) : em_vec(e, 0);
    epi_tile(d->k, &d->ep, n, cb, y, x);
    epi_emit(d->k, &d->ep, sum_lanes(e, row), 0, 0, 0, 0);
    em_for_end(e, &l, NULL, 0);
    em_for_end(e, &u, NULL, 0);
}

static void one_block(Dots *d) {
    Emit *e = d->e;
    Val units = em_sub(e, d->u1, d->u0);
    d->rows = em_mul(e, units, em_i64(e, d->w.layout.i_block));
    d->w_at = weights_ptr(e, d->w.bf16, d->w.base, em_mul(e, d->u0, em_i64(e, d->w.tap)));
    d->next = weights_ptr(e, d->w.bf16, d->w_at, em_mul(e, units, em_i64(e, d->w.tap)));
    em_zero(e, d->sums, em_mul(e, em_mul(e, d->rows, d->count), em_i64(e, em_width(e))));
    all_outputs(d);
    finish(d);
}

static void lower_dots(KernelCtx *k) {
    Emit *e = k->e;
    Dots d = {.k = k, .e = e, .per = k->k->tile.rows, .sums = k->a.scratch};
    d.dd = view_of(k, k->node->in[0]);
    d.w = weights_of(k, k->node->in[1]);
    epi_open(k, &d.ep);
    d.oc = (int)d.w.row / em_width(e);
    d.last = (int)(d.dd.cblocks - (d.w.o_tiles - 1) * d.oc);
    d.tiles = tile_count(k->t, d.oc);
    d.units = d.w.i_blocks * d.w.kh * d.w.kw;
    BUG_IF(d.dd.cblocks > 1 && d.dd.cblock != em_width(e), "diff_dst of %s has a halo", k->k->name);
    Loop task = task_loop(k);
    Val zero = em_i64(e, 0), images = em_i64(e, IMAGES_BLOCK), part, chunk;
    Val blocks = em_div(e, em_add(e, k->n, em_i64(e, IMAGES_BLOCK - 1)), images);
    part = em_rem(e, task.i, blocks);
    chunk = em_mul(e, em_div(e, task.i, blocks), em_i64(e, d.per));
    d.n0 = em_mul(e, part, images);
    d.count = em_sub(e, em_imin(e, em_add(e, d.n0, images), k->n), d.n0);
    d.dd_at = view_at(k, &d.dd, d.n0, zero, zero, zero);
    Val end = em_imin(e, em_add(e, chunk, em_i64(e, d.per)), em_i64(e, d.units));
    /* as many units at a time as have their sums in L1 */
    Val step = em_div(e, em_i64(e, SUMS_L1 / d.w.layout.i_block), d.count);
    step = em_imax(e, step, em_i64(e, 1));
    Val left = em_sub(e, end, chunk);
    Val times = em_div(e, em_add(e, left, em_sub(e, step, em_i64(e, 1))), step);
    Loop b = em_for(e, zero, times, 1, "block", NULL, 0);
    d.u0 = em_add(e, chunk, em_mul(e, b.i, step));
    d.u1 = em_imin(e, em_add(e, d.u0, step), end);
    one_block(&d);
    em_for_end(e, &b, NULL, 0);
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
