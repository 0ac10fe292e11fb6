/* conv_bww_lower.c: gradients with respect to weights and biases (see conv.h).
 *
 * A register tile holds some kernel columns x input channels x output vectors of diff_weights and
 * walks over the pixels: of blocks of rows (small enough to stay in cache while all taps pass), or,
 * for dense layers, over the images.  Between walks the sums rest in diff_weights itself.
 * ensures: each element is summed over images, rows, columns in this order by one task, so the
 * result does not depend on threads; padding lanes and rows are zero.
 * theory: LeCun et al. 1998, section II.A; loop order after Georganas et al. (2018), section II-J.
 */
#include "ops/conv.h"
#include "ops/optim.h"

enum {
    TASKS_WANTED = 16,     /* below: split a (tile of outputs, block of inputs) further */
    PACKED_IMAGES = 64,    /* dense: images whose diff_dst is packed at a time */
    ROWS_OF_WEIGHTS = 512, /* dense: rows of diff_weights per task, at least */
};

typedef struct Bww {
    KernelCtx *k;
    Emit *e;
    const ConvProblem *p;
    View src, dd;
    WeightView w; /* of the gradient; of the parameter when that is updated here */
    const Node *update, *bias_update; /* Kernel.update, Kernel.bias_update or NULL */
    Val state;                        /* update: base of the momentum */
    Val sums, bias_sums;              /* update: scratch for a task's sums */
    BwwTile tile;
    bool images;
    int split;        /* tasks also over: 1 kernel rows, 2 kernel rows and column tiles */
    int64_t src_step; /* floats from channel to channel */
    /* of the task */
    int oc, full;
    int64_t channels; /* real ones in this block */
    Val src_at, dd_at, dw_at;
    Val param_at, state_at; /* update: of the task's first block */
    Val bias_off;           /* bias: first float of the task's channels */
    Val owns_bias;          /* is this the task that sums them? */
    Val kh, col_tile; /* when split */
    Val n0, n1, y0, y1, first, last;
} Bww;

/* ---- tiles and tasks ---- */
static int64_t column_tiles(const ConvProblem *p, BwwTile tile) {
    return ceil_div(p->kernel[1], tile.cols);
}

static BwwTile bww_tile(const ConvProblem *p, const Target *t, int oc) {
    return tile_bww(t, oc, p->kernel[1], min64(p->i, t->vector));
}

static int bww_split(const ConvProblem *p, int64_t units) {
    return units >= TASKS_WANTED ? 0 : units * p->kernel[0] >= TASKS_WANTED ? 1 : 2;
}

/* Blocks of input channels per task of a dense layer. */
static int64_t dense_blocks(const ConvProblem *p, const Target *t, int64_t o_tiles) {
    int64_t i_block = min64(p->i, t->vector), blocks = ceil_div(p->i, i_block);
    int64_t want = ceil_div(ROWS_OF_WEIGHTS, i_block * p->kernel[0] * p->kernel[1]);
    return max64(1, min64(want, blocks * o_tiles * p->groups / (2 * TASKS_WANTED)));
}

/* Floats of scratch for the sums that an update needs whole: of the weights, of the bias. */
static int64_t weight_sums(const ConvProblem *p, const Kernel *k, int64_t i_block) {
    int64_t blocks = conv_by_images(p) ? k->tile.rows : 1;
    return blocks * p->kernel[0] * p->kernel[1] * i_block;
}

static int64_t update_scratch(const ConvProblem *p, const Kernel *k, const Layout *l) {
    int64_t rows = k->update ? weight_sums(p, k, l->i_block) : 0;
    return 4 * (rows + (k->bias_grad ? 2 : 0)) * l->o_tile;
}

bool bww_accepts(const Graph *g, const Kernel *k, NodeId next) {
    (void)k;
    int op = graph_n(g, next)->op;
    return op == OP_SGD || op == OP_BIAS_GRAD;
}

void choose_bww(const Graph *g, Kernel *k, const Target *t) {
    const Node *node = graph_n(g, k->anchor);
    ConvProblem p = conv_problem(g, node);
    Layout l;
    weights_conv_bwd_weights(g, k->anchor, -1, t, &l);
    int64_t o_tiles = ceil_div(p.o, l.o_tile), blocks = ceil_div(p.i, l.i_block);
    BwwTile tile = bww_tile(&p, t, l.o_tile / t->vector);
    k->tile.oc = l.o_tile / t->vector;
    k->tile.ic = tile.channels;
    k->tile.ow = tile.cols;
    k->tasks_block = 0;
    if (conv_by_images(&p)) {
        k->tile.rows = (int)dense_blocks(&p, t, o_tiles);
        k->tasks_per = p.groups * o_tiles * ceil_div(blocks, k->tile.rows);
        k->scratch = (int64_t)PACKED_IMAGES * l.o_tile * 4 + update_scratch(&p, k, &l);
        k->algorithm = "gemm";
        k->why = "sums run over the images; each weight gradient is written once per 64 images";
        return;
    }
    int64_t units = p.groups * o_tiles * blocks;
    int split = bww_split(&p, units);
    k->tasks_per = units * (split > 0 ? p.kernel[0] : 1) * (split > 1 ? column_tiles(&p, tile) : 1);
    /* 4 to 14 rows: enough pixels per visit of the accumulators, few enough for the cache */
    k->tile.rows = (int)min64(p.dst[0], max64(4, min64(14, 448 / p.dst[1])));
    k->scratch = update_scratch(&p, k, &l);
    k->algorithm = "direct";
    k->why = split == 0   ? "a task owns a tile of outputs by a block of inputs"
             : split == 1 ? "few channels: a task owns one kernel row"
                          : "few channels: a task owns a few taps";
}

/* ---- the register tile ---- */
typedef struct Acc {
    int n; /* accumulators per output vector */
    int64_t src[TILE_MAX_ACC], dw[TILE_MAX_ACC];
    Val acc[TILE_MAX_ACC];
} Acc;

static void acc_make(const Bww *b, Acc *a, int cols, int channels) {
    a->n = cols * channels;
    for (int i = 0; i < a->n; ++i) {
        int64_t c = i % channels, x = i / channels;
        a->src[i] = x * b->p->dilation[1] * b->src.pixel + c * b->src_step;
        a->dw[i] = x * b->w.tap + c * b->w.row;
    }
}

static void acc_step(const Bww *b, Acc *a, Val src, Val dd, int64_t dd_vector) {
    Emit *e = b->e;
    Val d[TILE_MAX_VECTORS];
    for (int j = 0; j < b->oc; ++j)
        d[j] = em_load(e, dd, j * dd_vector, true);
    for (int i = 0; i < a->n; ++i) {
        Val x = em_bcast(e, src, a->src[i]);
        for (int j = 0; j < b->oc; ++j)
            a->acc[i * b->oc + j] = em_fma(e, x, d[j], a->acc[i * b->oc + j]);
    }
}

static void acc_move(const Bww *b, Acc *a, Val dw, bool load) {
    Emit *e = b->e;
    for (int i = 0; i < a->n; ++i)
        for (int j = 0; j < b->oc; ++j) {
            int64_t off = a->dw[i] + j * em_width(e);
            Val *v = &a->acc[i * b->oc + j];
            if (!load)
                em_store(e, dw, off, *v, true);
            else if (b->first)
                *v = em_select(e, b->first, em_vec(e, 0), em_load(e, dw, off, true));
            else
                *v = em_load(e, dw, off, true);
        }
}

/* The sums of a visit are complete: the update, straight from the registers. */
static void acc_update(const Bww *b, const Acc *a, Val at) {
    Emit *e = b->e;
    SgdRates rates = sgd_rates(b->k, b->update->attrs);
    Val param = em_ptr(e, b->param_at, at), state = em_ptr(e, b->state_at, at);
    for (int i = 0; i < a->n; ++i)
        for (int j = 0; j < b->oc; ++j)
            sgd_apply(e, &rates, param, state, a->dw[i] + j * em_width(e), a->acc[i * b->oc + j]);
}

/* One visit of the accumulators at (kh, kw, i): all pixels of the rows, or all packed images. */
static void visit(Bww *b, int cols, int channels, Val kh, Val kw, Val i) {
    Emit *e = b->e;
    const ConvProblem *p = b->p;
    Acc a;
    acc_make(b, &a, cols, channels);
    int n = a.n * b->oc;
    Val dw = em_mul(e, em_add(e, em_mul(e, kh, em_i64(e, b->w.kw)), kw), em_i64(e, b->w.tap));
    Val at = em_add(e, dw, em_mul(e, i, em_i64(e, b->w.row)));
    dw = em_ptr(e, b->dw_at, at);
    Val off = em_mul(e, kh, em_i64(e, p->dilation[0] * b->src.row));
    off = em_add(e, off, em_mul(e, kw, em_i64(e, p->dilation[1] * b->src.pixel)));
    Val src = em_ptr(e, b->src_at, em_add(e, off, em_mul(e, i, em_i64(e, b->src_step))));
    acc_move(b, &a, dw, true);
    if (b->images) {
        Loop l = em_for(e, b->n0, b->n1, 1, "image", a.acc, n);
        int64_t row = (int64_t)b->oc * em_width(e);
        Val packed = em_mul(e, em_sub(e, l.i, b->n0), em_i64(e, row));
        acc_step(b, &a, em_ptr(e, src, em_mul(e, l.i, em_i64(e, b->src.image))),
                 em_ptr(e, b->k->a.scratch, packed), em_width(e));
        em_for_end(e, &l, a.acc, n);
    } else {
        Loop y = em_for(e, b->y0, b->y1, 1, "y", a.acc, n);
        Val s = em_ptr(e, src, em_mul(e, y.i, em_i64(e, p->stride[0] * b->src.row)));
        Val d = em_ptr(e, b->dd_at, em_mul(e, y.i, em_i64(e, b->dd.row)));
        Loop x = em_for(e, em_i64(e, 0), em_i64(e, p->dst[1]), 1, "x", a.acc, n);
        acc_step(b, &a, em_ptr(e, s, em_mul(e, x.i, em_i64(e, p->stride[1] * b->src.pixel))),
                 em_ptr(e, d, em_mul(e, x.i, em_i64(e, b->dd.pixel))), b->dd.cblock);
        em_for_end(e, &x, a.acc, n);
        em_for_end(e, &y, a.acc, n);
    }
    if (b->last) {
        If f = em_if(e, b->last);
        acc_update(b, &a, at);
        em_else(e, &f);
        acc_move(b, &a, dw, false);
        em_endif(e, &f);
    } else {
        acc_move(b, &a, dw, false);
    }
}

/* ---- all taps and channels of a block ---- */
static void each_channel(Bww *b, int cols, Val kh, Val kw) {
    Emit *e = b->e;
    int64_t step = min64(b->tile.channels, b->channels), rest = b->channels % step;
    if (b->channels == step) {
        visit(b, cols, (int)step, kh, kw, em_i64(e, 0));
        return;
    }
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, b->channels - rest), step, "i", NULL, 0);
    visit(b, cols, (int)step, kh, kw, l.i);
    em_for_end(e, &l, NULL, 0);
    if (rest)
        visit(b, cols, (int)rest, kh, kw, em_i64(e, b->channels - rest));
}

static void each_column(Bww *b, Val kh) {
    Emit *e = b->e;
    int64_t kw = b->p->kernel[1], cols = b->tile.cols, rest = kw % cols;
    if (b->col_tile) {
        Val from = em_mul(e, b->col_tile, em_i64(e, cols));
        if (!rest) {
            each_channel(b, (int)cols, kh, from);
            return;
        }
        If f = em_if(e, em_icmp(e, EM_LT, b->col_tile, em_i64(e, kw / cols)));
        each_channel(b, (int)cols, kh, from);
        em_else(e, &f);
        each_channel(b, (int)rest, kh, em_i64(e, kw - rest));
        em_endif(e, &f);
        return;
    }
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, kw - rest), cols, "kw", NULL, 0);
    each_channel(b, (int)cols, kh, l.i);
    em_for_end(e, &l, NULL, 0);
    if (rest)
        each_channel(b, (int)rest, kh, em_i64(e, kw - rest));
}

static void each_tap(Bww *b) {
    Emit *e = b->e;
    if (b->kh) {
        each_column(b, b->kh);
        return;
    }
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, b->p->kernel[0]), 1, "kh", NULL, 0);
    each_column(b, l.i);
    em_for_end(e, &l, NULL, 0);
}

/* Runs fn with the real number of channels of block ib and of vectors of tile ot. */
static void with_channels(Bww *b, Val ib, void (*fn)(Bww *)) {
    Emit *e = b->e;
    int64_t block = b->w.layout.i_block, last = b->p->i - (b->w.i_blocks - 1) * block;
    b->channels = block;
    if (last == block) {
        fn(b);
        return;
    }
    If f = em_if(e, em_icmp(e, EM_LT, ib, em_i64(e, b->w.i_blocks - 1)));
    fn(b);
    em_else(e, &f);
    b->channels = last;
    fn(b);
    em_endif(e, &f);
    b->channels = block;
}

/* ---- the bias beside the weights: lower_bias_grad's sums in its order ---- */
static Val sum_row(KernelCtx *k, const View *v, Val row);

/* image[] (scratch) += rows y0..y1 of the image at dd_at; total[] lies behind image[]. */
static void bias_rows(Bww *b) {
    Emit *e = b->e;
    int width = em_width(e);
    Val acc[TILE_MAX_VECTORS];
    If f = em_if(e, b->owns_bias);
    for (int j = 0; j < b->oc; ++j)
        acc[j] = em_load(e, b->bias_sums, j * width, true);
    Loop y = em_for(e, b->y0, b->y1, 1, "bias", acc, b->oc);
    Val row = em_ptr(e, b->dd_at, em_mul(e, y.i, em_i64(e, b->dd.row)));
    for (int j = 0; j < b->oc; ++j)
        acc[j] = em_fadd(
            e, acc[j], sum_row(b->k, &b->dd, em_ptr(e, row, em_i64(e, j * b->dd.cblock))));
    em_for_end(e, &y, acc, b->oc);
    for (int j = 0; j < b->oc; ++j)
        em_store(e, b->bias_sums, j * width, acc[j], true);
    em_endif(e, &f);
}

/* Before the first image (total = 0) and behind each (total += image); then image = 0. */
static void bias_image(Bww *b, bool start) {
    Emit *e = b->e;
    int width = em_width(e);
    for (int j = 0; j < b->oc; ++j) {
        int64_t image = j * width, total = (b->full + j) * width;
        Val sum = em_vec(e, 0);
        if (!start)
            sum = em_fadd(e, em_load(e, b->bias_sums, total, true),
                          em_load(e, b->bias_sums, image, true));
        em_store(e, b->bias_sums, total, sum, true);
        em_store(e, b->bias_sums, image, em_vec(e, 0), true);
    }
}

static void bias_finish(Bww *b) {
    Emit *e = b->e;
    KernelCtx *k = b->k;
    int64_t floats;
    If f = em_if(e, b->owns_bias);
    SgdRates rates = sgd_rates(k, b->bias_update->attrs);
    Val bias = em_ptr(e, flat_at(k, b->bias_update->in[0], &floats), b->bias_off);
    Val state = em_ptr(e, flat_at(k, b->bias_update->in[2], &floats), b->bias_off);
    for (int j = 0; j < b->oc; ++j)
        sgd_apply(e, &rates, bias, state, j * em_width(e),
                  em_load(e, b->bias_sums, (b->full + j) * em_width(e), true));
    em_endif(e, &f);
}

/* ---- convolution ---- */

/* What this task owns of its block: first float, number of floats. */
static Val owned(const Bww *b, Val *count) {
    Emit *e = b->e;
    int64_t row = b->w.kw * b->w.tap, cols = b->tile.cols * b->w.tap;
    *count = em_i64(e, b->w.block);
    if (!b->kh)
        return em_i64(e, 0);
    *count = em_i64(e, row);
    Val at = em_mul(e, b->kh, em_i64(e, row));
    if (!b->col_tile)
        return at;
    Val from = em_mul(e, b->col_tile, em_i64(e, cols));
    *count = em_imin(e, em_i64(e, cols), em_sub(e, em_i64(e, row), from));
    return em_add(e, at, from);
}

static void update_owned(Bww *b) {
    Emit *e = b->e;
    Val count, from = owned(b, &count);
    SgdRates rates = sgd_rates(b->k, b->update->attrs);
    Loop l = em_for(e, from, em_add(e, from, count), em_width(e), "update", NULL, 0);
    sgd_apply(e, &rates, em_ptr(e, b->param_at, l.i), em_ptr(e, b->state_at, l.i), 0,
              em_load(e, em_ptr(e, b->dw_at, l.i), 0, true));
    em_for_end(e, &l, NULL, 0);
}

static void sweep(Bww *b) {
    Emit *e = b->e;
    Val src = b->src_at, dd = b->dd_at;
    int rows = b->k->k->tile.rows;
    int64_t oh = b->p->dst[0];
    Val count, from = owned(b, &count);
    em_zero(e, em_ptr(e, b->dw_at, from), count);
    if (b->bias_update)
        bias_image(b, true);
    Loop n = em_for(e, em_i64(e, 0), b->k->n, 1, "n", NULL, 0);
    b->src_at = em_ptr(e, src, em_mul(e, n.i, em_i64(e, b->src.image)));
    b->dd_at = em_ptr(e, dd, em_mul(e, n.i, em_i64(e, b->dd.image)));
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, oh), rows, "rows", NULL, 0);
    b->y0 = y.i;
    b->y1 = em_add(e, y.i, em_i64(e, rows));
    if (oh % rows)
        b->y1 = em_imin(e, b->y1, em_i64(e, oh));
    if (b->bias_update)
        bias_rows(b);
    each_tap(b);
    em_for_end(e, &y, NULL, 0);
    if (b->bias_update)
        bias_image(b, false);
    em_for_end(e, &n, NULL, 0);
    b->src_at = src;
    b->dd_at = dd;
    if (b->update)
        update_owned(b);
    if (b->bias_update)
        bias_finish(b);
}

/* ---- one pixel per image: dense ---- */

static void pack_images(Bww *b) {
    Emit *e = b->e;
    int width = em_width(e);
    Loop l = em_for(e, b->n0, b->n1, 1, "pack", NULL, 0);
    Val from = em_ptr(e, b->dd_at, em_mul(e, l.i, em_i64(e, b->dd.image)));
    Val row = em_mul(e, em_sub(e, l.i, b->n0), em_i64(e, (int64_t)b->oc * width));
    Val to = em_ptr(e, b->k->a.scratch, row);
    for (int j = 0; j < b->oc; ++j)
        em_store(e, to, j * width, em_load(e, from, j * b->dd.cblock, true), true);
    em_for_end(e, &l, NULL, 0);
}

static void dense_block(Bww *b) {
    Emit *e = b->e;
    /* padding must be written, too; a parameter's is zero already */
    if (!b->update && (b->oc < b->full || b->channels < b->w.layout.i_block)) {
        If f = em_if(e, b->first);
        em_zero(e, b->dw_at, em_i64(e, b->w.block));
        em_endif(e, &f);
    }
    each_tap(b);
}

/* The task's channels of all images; the first task of a tile of outputs does it. */
static void bias_of_images(Bww *b) {
    Emit *e = b->e;
    Val total[TILE_MAX_VECTORS];
    If f = em_if(e, b->owns_bias);
    for (int j = 0; j < b->oc; ++j)
        total[j] = em_vec(e, 0);
    Loop n = em_for(e, em_i64(e, 0), b->k->n, 1, "bias", total, b->oc);
    Val at = em_ptr(e, b->dd_at, em_mul(e, n.i, em_i64(e, b->dd.image)));
    for (int j = 0; j < b->oc; ++j)
        total[j] = em_fadd(e, total[j], em_load(e, at, j * b->dd.cblock, true));
    em_for_end(e, &n, total, b->oc);
    for (int j = 0; j < b->oc; ++j)
        em_store(e, b->bias_sums, (b->full + j) * em_width(e), total[j], true);
    bias_finish(b);
    em_endif(e, &f);
}

static void sweep_images(Bww *b, Val ib_from, Val ib_to) {
    Emit *e = b->e;
    Val src = b->src_at, dw = b->dw_at, param = b->param_at, state = b->state_at;
    if (b->bias_update)
        bias_of_images(b);
    Loop n = em_for(e, em_i64(e, 0), b->k->n, PACKED_IMAGES, "images", NULL, 0);
    b->n0 = n.i;
    b->n1 = em_imin(e, em_add(e, n.i, em_i64(e, PACKED_IMAGES)), b->k->n);
    b->first = em_icmp(e, EM_EQ, n.i, em_i64(e, 0));
    if (b->update)
        b->last = em_icmp(e, EM_EQ, b->n1, b->k->n);
    pack_images(b);
    Loop ib = em_for(e, ib_from, ib_to, 1, "block", NULL, 0);
    b->src_at = em_ptr(e, src, em_mul(e, ib.i, em_i64(e, b->src.cblock)));
    Val block = em_mul(e, ib.i, em_i64(e, b->w.block));
    b->dw_at = em_ptr(e, dw, block);
    if (b->update) {
        b->dw_at = em_ptr(e, dw, em_sub(e, block, em_mul(e, ib_from, em_i64(e, b->w.block))));
        b->param_at = em_ptr(e, param, block);
        b->state_at = em_ptr(e, state, block);
    }
    with_channels(b, ib.i, dense_block);
    em_for_end(e, &ib, NULL, 0);
    em_for_end(e, &n, NULL, 0);
    b->src_at = src;
    b->dw_at = dw;
    b->param_at = param;
    b->state_at = state;
}

/* ---- tasks ---- */
typedef struct BwwTask {
    Val group, ot, ib, ib_end;
} BwwTask;

static BwwTask decode(Bww *b, Val task) {
    Emit *e = b->e;
    BwwTask t;
    Val unit = task;
    if (b->split > 1)
        split_index(e, unit, column_tiles(b->p, b->tile), &unit, &b->col_tile);
    if (b->split > 0)
        split_index(e, unit, b->p->kernel[0], &unit, &b->kh);
    int64_t per = b->images ? b->k->k->tile.rows : 1;
    split_index(e, unit, ceil_div(b->w.i_blocks, per), &unit, &t.ib);
    t.ib = em_mul(e, t.ib, em_i64(e, per));
    t.ib_end = em_imin(e, em_add(e, t.ib, em_i64(e, per)), em_i64(e, b->w.i_blocks));
    split_index(e, unit, b->w.o_tiles, &t.group, &t.ot);
    return t;
}

static void run_task(Bww *b, const BwwTask *t) {
    Emit *e = b->e;
    KernelCtx *k = b->k;
    int width = em_width(e);
    Val zero = em_i64(e, 0);
    Val cb = em_add(e, em_mul(e, t->group, em_i64(e, ceil_div(b->p->o, width))),
                    em_mul(e, t->ot, em_i64(e, b->full)));
    Val src_cb = em_mul(e, t->group, em_i64(e, ceil_div(b->p->i, width)));
    if (!b->images)
        src_cb = em_add(e, src_cb, t->ib);
    b->src_at =
        view_at(k, &b->src, zero, src_cb, em_i64(e, -b->p->pad[0]), em_i64(e, -b->p->pad[1]));
    b->dd_at = view_at(k, &b->dd, zero, cb, zero, zero);
    Val dw = em_add(e, em_mul(e, t->group, em_i64(e, b->w.group)),
                    em_mul(e, t->ot, em_i64(e, b->w.tile)));
    if (!b->images)
        dw = em_add(e, dw, em_mul(e, t->ib, em_i64(e, b->w.block)));
    b->dw_at = b->param_at = em_ptr(e, b->w.base, dw);
    if (b->update) {
        b->dw_at = b->sums;
        b->state_at = em_ptr(e, b->state, dw);
    }
    b->bias_off = em_mul(e, cb, em_i64(e, width));
    b->owns_bias = em_icmp(e, EM_EQ, t->ib, zero);
    Val part[] = {b->kh, b->col_tile};
    for (int i = 0; i < 2; ++i)
        if (part[i])
            b->owns_bias = em_and(e, b->owns_bias, em_icmp(e, EM_EQ, part[i], zero));
    if (b->images)
        sweep_images(b, t->ib, t->ib_end);
    else
        with_channels(b, t->ib, sweep);
}

static void find_updates(Bww *b) {
    KernelCtx *k = b->k;
    int64_t floats;
    if (!k->k->update) {
        b->w = weights_of(k, k->node->out[0]);
        return;
    }
    b->update = graph_n(k->g, k->k->update);
    b->w = weights_of(k, b->update->in[0]);
    b->state = flat_at(k, b->update->in[2], &floats);
    int64_t o_tile = b->w.layout.o_tile, packed = b->images ? PACKED_IMAGES * o_tile : 0;
    int64_t sums = weight_sums(b->p, k->k, b->w.layout.i_block) * o_tile;
    b->sums = em_ptr(b->e, k->a.scratch, em_i64(b->e, packed));
    b->bias_sums = em_ptr(b->e, k->a.scratch, em_i64(b->e, packed + sums));
    if (k->k->bias_update)
        b->bias_update = graph_n(k->g, k->k->bias_update);
}

void lower_conv_bwd_weights(KernelCtx *k) {
    Emit *e = k->e;
    ConvProblem p = conv_problem(k->g, k->node);
    Bww b = {.k = k, .e = e, .p = &p, .images = conv_by_images(&p)};
    b.src = view_of(k, k->node->in[0]);
    b.dd = view_of(k, k->node->in[1]);
    find_updates(&b);
    b.full = b.w.layout.o_tile / em_width(e);
    b.tile = bww_tile(&p, k->t, b.full);
    b.split = b.images ? 0 : bww_split(&p, p.groups * b.w.o_tiles * b.w.i_blocks);
    b.src_step = b.src.block == 1 ? b.src.cblock : 1;
    int last = (int)(ceil_div(p.o, em_width(e)) - (b.w.o_tiles - 1) * b.full);
    Loop task = task_loop(k);
    BwwTask t = decode(&b, task.i);
    b.oc = b.full;
    if (last == b.full) {
        run_task(&b, &t);
    } else {
        If f = em_if(e, em_icmp(e, EM_LT, t.ot, em_i64(e, b.w.o_tiles - 1)));
        run_task(&b, &t);
        em_else(e, &f);
        b.oc = last;
        run_task(&b, &t);
        em_endif(e, &f);
    }
    task_end(k, &task);
}

void lower_dense_bwd_weights(KernelCtx *k) {
    lower_conv_bwd_weights(k);
}

/* ---- bias ---- */
void choose_bias_grad(const Graph *g, Kernel *k, const Target *t) {
    int64_t c, h, w;
    shape_chw(&graph_v(g, graph_n(g, k->anchor)->in[0])->shape, &c, &h, &w);
    k->tasks_per = ceil_div(c, t->vector);
    k->tasks_block = 0;
    k->algorithm = "sum";
    k->why = "one pass over diff_dst; rows, images, batch are summed in three levels";
}

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
