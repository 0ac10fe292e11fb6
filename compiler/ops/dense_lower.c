/* dense_lower.c: products where the images of the batch are the pixels of the register tile: dense
 * layers forward and backward data, and convolutions whose output is one pixel.
 *
 * Forward: dst[n, o] sums src[n, everything]; backward data: diff_src[n, i, tap] sums diff_dst[n,
 * o] with the transposed weights of that tap.  Large sums are cut into chunks whose weights stay in
 * L1 while all images of a block pass; accumulators rest in scratch memory between chunks. ensures:
 * one accumulator chain per output, in the order of the weights in memory, whatever the batch and
 * the tile: results of an image do not depend on its neighbours. theory: Goto and van de Geijn,
 * "Anatomy of high-performance matrix multiplication" (2008).
 */
#include "ops/conv.h"

enum { IMAGES_BLOCK = 128, IMAGES_BLOCK_SMALL = 16 };

typedef struct Images {
    KernelCtx *k;
    Emit *e;
    View src;
    WeightView w;
    Epi ep;
    Nest nest;
    int64_t outer;     /* passes of the outermost loop */
    int64_t chunk;     /* of them per chunk; >= outer: all at once */
    int64_t block;     /* images per task */
    Val n0, n1, count; /* images of the task: [n0, n1), their number */
    Val cb, y, x;      /* output: channel block, row, column */
    Val src_at, w_at, bias_at;
    int oc;
} Images;

/* Weights of one tile of outputs, in bytes, and floats of a row. */
static int64_t sum_length(const ConvProblem *p, bool backward) {
    return backward ? p->o : p->i * p->kernel[0] * p->kernel[1];
}

/* Do the weights of a tile of outputs go by in several chunks? */
static bool chunked(const Target *t, int o_tile, int64_t length) {
    return length * o_tile * 4 > t->l2 / 4;
}

void choose_images_tile(const ConvProblem *p, Kernel *k, const Target *t, int o_tile,
                        bool backward) {
    int64_t produced = backward ? p->i : p->o, length = sum_length(p, backward);
    bool cut = chunked(t, o_tile, length);
    k->tile.oc = o_tile / t->vector;
    k->tile.ow = tile_images(t, k->tile.oc);
    k->tile.oh = 1;
    k->tile.rows = cut ? IMAGES_BLOCK : IMAGES_BLOCK_SMALL;
    k->oc_outer = true;
    k->algorithm = "gemm";
    k->why = cut ? "images are the rows; weights pass once per 128 images, in chunks of L1"
                 : "images are the rows; a tile's weights stay in cache";
    k->tasks_per = p->groups * ceil_div(produced, o_tile);
    if (backward)
        k->tasks_per *= p->kernel[0] * p->kernel[1];
    k->tasks_block = k->tile.rows;
    k->scratch = cut ? (int64_t)k->tile.rows * o_tile * 4 : 0;
}

/* ---- the nest ---- */

/* The loops of one output's sum, neighbours merged where memory is contiguous on both sides. */
static void make_nest(Images *m, const ConvProblem *p, bool backward) {
    Emit *e = m->e;
    const View *s = &m->src;
    int64_t channels = backward ? p->o : p->i, block = m->w.layout.i_block;
    int64_t blocks = ceil_div(channels, block), inner = block;
    int64_t src_step = s->block == 1 ? s->cblock : 1;
    int64_t kh = backward ? 1 : p->kernel[0], kw = backward ? 1 : p->kernel[1];
    struct {
        int64_t extent, src, wgt;
    } loop[] = {{blocks, s->cblock, m->w.block},
                {kh, p->dilation[0] * s->row, m->w.kw * m->w.tap},
                {kw, p->dilation[1] * s->pixel, m->w.tap}};
    bool partial = channels % block != 0;
    int at = 2;
    /* innermost first: a loop joins the channels when it continues their walk */
    for (; at >= 0; --at) {
        bool same = loop[at].src == inner * src_step && loop[at].wgt == inner * m->w.row;
        if (loop[at].extent == 1)
            continue;
        if (!same ||
            (partial && at > 0)) /* a last block with fewer channels ends every tap early */
            break;
        inner = at == 0 && partial ? channels : inner * loop[at].extent;
        partial = at == 0 ? false : partial;
    }
    m->nest = (Nest){.channels = inner,
                     .last_channels = channels - (blocks - 1) * block,
                     .partial = partial,
                     .src = src_step,
                     .wgt = m->w.row,
                     .blocks = em_i64(e, blocks),
                     .bf16 = m->w.bf16};
    for (int i = 0; i <= at; ++i)
        nest_loop(&m->nest, em_i64(e, loop[i].extent), loop[i].src, loop[i].wgt);
    m->outer = inner;
    if (m->nest.n > 0)
        em_const_i64(m->nest.loop[0].extent, &m->outer);
    m->nest.unroll = tile_unroll(m->k->t, partial ? channels : inner, inner);
}

static void choose_chunk(Images *m, const Target *t, int64_t length) {
    int64_t row = m->w.row * 4, rows = t->l1 / 2 / row;
    if (!chunked(t, (int)m->w.row, length)) {
        m->chunk = m->outer;
        return;
    }
    int64_t per = m->nest.n == 0 ? 1 : length / m->outer; /* rows of weights per pass */
    m->chunk = max64(1, rows / per);
    if (m->nest.n == 0) {
        m->chunk = max64(m->nest.unroll, m->chunk / m->nest.unroll * m->nest.unroll);
        m->nest.prefetch = m->chunk * m->w.row; /* memory works on the next chunk meanwhile */
    }
    /* backward data of a layer over images: rows of one tap lie apart, fetch the next block */
    if (m->nest.n == 1 && m->nest.loop[0].wgt != m->nest.channels * m->nest.wgt)
        m->nest.prefetch = m->nest.loop[0].wgt;
}

/* ---- tiles of images ---- */
typedef void (*TileFn)(Images *m, int images, Val first);

/* fn over all images of the task: full tiles, then 8, 4, 2, 1 as the rest needs. */
static void each_tile(Images *m, TileFn fn) {
    Emit *e = m->e;
    int full = m->k->k->tile.ow;
    Val rest = em_rem(e, m->count, em_i64(e, full));
    Val whole = em_sub(e, m->count, rest);
    Loop l = em_for(e, em_i64(e, 0), whole, full, "image", NULL, 0);
    fn(m, full, l.i);
    em_for_end(e, &l, NULL, 0);
    Val done = whole;
    for (int v = 8; v >= 1; v /= 2) {
        if (v >= full)
            continue;
        Val bit = em_and(e, rest, em_i64(e, v));
        If f = em_if(e, em_icmp(e, EM_NE, bit, em_i64(e, 0)));
        fn(m, v, done);
        em_endif(e, &f);
        done = em_add(e, done, bit);
    }
}

static RegTile image_tile(const Images *m, int images, int64_t *offset) {
    for (int p = 0; p < images; ++p)
        offset[p] = p * m->src.image;
    return (RegTile){.pixels = images, .oc = m->oc, .offset = offset};
}

static Val src_of(Images *m, Val first) {
    Emit *e = m->e;
    Val n = em_add(e, m->n0, first);
    return em_ptr(e, m->src_at, em_mul(e, n, em_i64(e, m->src.image)));
}

static void store_outputs(Images *m, RegTile *t, Val first) {
    Emit *e = m->e;
    epi_tile(m->k, &m->ep, em_add(e, m->n0, first), m->cb, m->y, m->x);
    for (int p = 0; p < t->pixels; ++p)
        for (int j = 0; j < t->oc; ++j)
            epi_emit(m->k, &m->ep, t->acc[p * t->oc + j], p, j, 0, 0);
}

/* all at once: bias, sum, epilogue */
static void tile_whole(Images *m, int images, Val first) {
    int64_t offset[TILE_MAX_ACC];
    RegTile t = image_tile(m, images, offset);
    tile_start(m->e, &t, m->bias_at);
    tile_sum(m->e, &t, &m->nest, src_of(m, first), m->w_at);
    store_outputs(m, &t, first);
}

/* accumulators of `first` in scratch */
static Val rest_at(Images *m, Val first) {
    int64_t row = (int64_t)m->oc * em_width(m->e);
    return em_ptr(m->e, m->k->a.scratch, em_mul(m->e, first, em_i64(m->e, row)));
}

static void tile_chunk(Images *m, int images, Val first) {
    Emit *e = m->e;
    int64_t offset[TILE_MAX_ACC];
    RegTile t = image_tile(m, images, offset);
    Val at = rest_at(m, first);
    for (int i = 0; i < images * m->oc; ++i)
        t.acc[i] = em_load(e, at, i * em_width(e), true);
    Nest nest = m->nest;
    if (images == 1 && nest.n == 0) /* nothing to hide behind: the hardware streams better alone */
        nest.prefetch = 0;
    tile_sum(e, &t, &nest, src_of(m, first), m->w_at);
    for (int i = 0; i < images * m->oc; ++i)
        em_store(e, at, i * em_width(e), t.acc[i], true);
}

static void by_chunks(Images *m) {
    Emit *e = m->e;
    int64_t offset[1] = {0};
    RegTile t = {.pixels = 1, .oc = m->oc, .offset = offset};
    Loop l = em_for(e, em_i64(e, 0), m->count, 1, "start", NULL, 0);
    tile_start(e, &t, m->bias_at);
    for (int j = 0; j < m->oc; ++j)
        em_store(e, rest_at(m, l.i), j * em_width(e), t.acc[j], true);
    em_for_end(e, &l, NULL, 0);
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, m->outer), m->chunk, "chunk", NULL, 0);
    m->nest.from = c.i;
    m->nest.to = em_add(e, c.i, em_i64(e, m->chunk));
    if (m->outer % m->chunk)
        m->nest.to = em_imin(e, m->nest.to, em_i64(e, m->outer));
    each_tile(m, tile_chunk);
    em_for_end(e, &c, NULL, 0);
    Loop s = em_for(e, em_i64(e, 0), m->count, 1, "finish", NULL, 0);
    for (int j = 0; j < m->oc; ++j)
        t.acc[j] = em_load(e, rest_at(m, s.i), j * em_width(e), true);
    store_outputs(m, &t, s.i);
    em_for_end(e, &s, NULL, 0);
}

static void one_task(Images *m) {
    Emit *e = m->e;
    if (epi_has_halo(&m->ep)) { /* once per row: the task of its first column */
        If f = em_if(e, em_icmp(e, EM_EQ, m->x, em_i64(e, 0)));
        Loop l = em_for(e, m->n0, m->n1, 1, "rows", NULL, 0);
        epi_row(m->k, &m->ep, l.i, m->cb, m->oc, m->y);
        em_for_end(e, &l, NULL, 0);
        em_endif(e, &f);
    }
    if (m->chunk < m->outer) {
        by_chunks(m);
        return;
    }
    m->nest.from = em_i64(e, 0);
    m->nest.to = em_i64(e, m->outer);
    each_tile(m, tile_whole);
}

/* task = ((group, tile of outputs), row, column), block of images */
static void decode(Images *m, Val task, const ConvProblem *p, bool backward, Val *group, Val *ot) {
    Emit *e = m->e;
    Val blocks = em_div(e, em_add(e, m->k->n, em_i64(e, m->block - 1)), em_i64(e, m->block));
    Val unit = em_div(e, task, blocks), zero = em_i64(e, 0);
    m->n0 = em_mul(e, em_rem(e, task, blocks), em_i64(e, m->block));
    m->n1 = em_imin(e, em_add(e, m->n0, em_i64(e, m->block)), m->k->n);
    m->count = em_sub(e, m->n1, m->n0);
    m->y = m->x = zero;
    if (backward) {
        Val rest;
        split_index(e, unit, p->kernel[1], &rest, &m->x);
        split_index(e, rest, p->kernel[0], &unit, &m->y);
    }
    split_index(e, unit, m->w.o_tiles, group, ot);
}

/* Where the task's weights, source, bias and outputs begin. */
static void locate(Images *m, const ConvProblem *p, bool backward, Val bias, Val group, Val ot) {
    Emit *e = m->e;
    int width = em_width(e);
    int64_t channels = backward ? p->o : p->i, produced = backward ? p->i : p->o;
    Val cb = em_mul(e, ot, em_i64(e, m->w.row / width));
    m->cb = em_add(e, cb, em_mul(e, group, em_i64(e, ceil_div(produced, width))));
    Val src_cb = em_mul(e, group, em_i64(e, ceil_div(channels, width)));
    m->src_at = view_at(m->k, &m->src, em_i64(e, 0), src_cb, em_i64(e, backward ? 0 : -p->pad[0]),
                        em_i64(e, backward ? 0 : -p->pad[1]));
    Val tap = em_add(e, em_mul(e, m->y, em_i64(e, m->w.kw)), m->x);
    Val w = em_add(e, em_mul(e, group, em_i64(e, m->w.group)), em_mul(e, ot, em_i64(e, m->w.tile)));
    m->w_at = weights_ptr(e, m->w.bf16, m->w.base,
                          em_add(e, w, em_mul(e, tap, em_i64(e, m->w.tap))));
    m->bias_at = bias ? em_ptr(e, bias, em_mul(e, m->cb, em_i64(e, width))) : NULL;
}

void lower_images(KernelCtx *k, const ConvProblem *p, bool backward) {
    Emit *e = k->e;
    Images m = {.k = k, .e = e, .block = k->k->tasks_block};
    m.src = view_of(k, k->node->in[0]);
    m.w = weights_of(k, k->node->in[1]);
    Val bias = p->bias && !backward ? bias_at(k, k->node->in[2]) : NULL;
    epi_open(k, &m.ep);
    make_nest(&m, p, backward);
    choose_chunk(&m, k->t, sum_length(p, backward));
    int width = em_width(e), full = (int)m.w.row / width;
    int64_t produced = backward ? p->i : p->o;
    int last = (int)(ceil_div(produced, width) - (m.w.o_tiles - 1) * full);
    Loop task = task_loop(k);
    Val group, ot;
    decode(&m, task.i, p, backward, &group, &ot);
    locate(&m, p, backward, bias, group, ot);
    m.oc = full;
    if (last == full) {
        one_task(&m);
    } else {
        If f = em_if(e, em_icmp(e, EM_LT, ot, em_i64(e, m.w.o_tiles - 1)));
        one_task(&m);
        em_else(e, &f);
        m.oc = last;
        one_task(&m);
        em_endif(e, &f);
    }
    task_end(k, &task);
}
