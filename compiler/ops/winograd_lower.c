/* winograd_lower.c: the Winograd kernel of convolution, forward and backward data (see
 * winograd_plan.h for its shape, winograd.h for the transforms).
 *
 * A task transforms the inputs of its tiles once, then per tile of output channels the weights,
 * sums the products over the channels (one small matrix product per position of the transform, by
 * the register tile of tile.c) and transforms the sums back into the chain behind the kernel.
 * Backward data is the same over diff_dst with turned taps and pad' = r - 1 - pad.
 * requires: stride and dilation 1, blocked source whose halo covers every window.
 * ensures: each dst element written once, by one task; its sum has one order for any task split.
 * theory: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", algorithm 1.
 */
#include "ops/pool.h"
#include "ops/winograd_plan.h"

typedef struct Wino {
    KernelCtx *k;
    Emit *e;
    WinoPlan p;
    WinoMatrices x;
    bool turned; /* backward: taps in opposite order */
    View src;
    WeightView w;
    Epi ep;
    ConvTail tail;
    PoolTail *pool;
    ConvBand *band; /* makes the source, or NULL: it is stored */
    Val bias;       /* NULL: none */
    Val v, u, sums; /* places in scratch */
    /* of the task at hand */
    Val n, images; /* first image; how many (NULL: a whole block of constant size) */
    Val y, rows;   /* first tile row; how many (NULL: as above) */
    Val tiles;     /* of this block */
    Val first_cb;  /* first source block of the group */
    Val cb;        /* first dst block of the tile of outputs */
    Val w_at, bias_at;
    int vectors; /* of the tile of outputs */
} Wino;

/* One tile of rows x cols outputs: image n, tile row ty, tile column tx, slot in the block. */
typedef struct TileAt {
    Val n, ty, tx, slot;
    int rows, cols;
} TileAt;
typedef void (*TileFn)(Wino *w, const TileAt *at, void *user);

static Val mul_add(Emit *e, Val a, int64_t b, Val c) {
    return em_add(e, em_mul(e, a, em_i64(e, b)), c);
}

/* The tiles of one tile row, in whose slot the first lies. */
static void row_of_tiles(Wino *w, TileAt at, TileFn fn, void *user) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int64_t whole = p->extent[1] / p->m, rest = p->extent[1] % p->m;
    Val first = at.slot;
    if (whole) {
        Loop x = em_for(e, em_i64(e, 0), em_i64(e, whole), 1, "tile.x", NULL, 0);
        at.tx = x.i;
        at.slot = em_add(e, first, x.i);
        at.cols = p->m;
        fn(w, &at, user);
        em_for_end(e, &x, NULL, 0);
    }
    if (rest) {
        at.tx = em_i64(e, whole);
        at.slot = em_add(e, first, at.tx);
        at.cols = (int)rest;
        fn(w, &at, user);
    }
}

/* All tile rows of the block; the last one of an image may have fewer pixel rows.  fn gets the
 * first slot of the row. */
static void rows_of_block(Wino *w, TileFn fn, void *user) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int64_t whole = p->extent[0] / p->m, rest = p->extent[0] % p->m;
    TileAt at = {0};
    Loop image = {0};
    if (w->images)
        image = em_for(e, em_i64(e, 0), w->images, 1, "image", NULL, 0);
    Val n = w->images ? image.i : em_i64(e, 0);
    Val from = w->y, to = em_add(e, w->y, w->rows ? w->rows : em_i64(e, p->rows));
    Val slot = em_mul(e, n, em_i64(e, p->rows * p->tw));
    at.n = em_add(e, w->n, n);
    if (whole) {
        Loop y = em_for(e, from, em_imin(e, to, em_i64(e, whole)), 1, "tile.y", NULL, 0);
        at.ty = y.i;
        at.slot = mul_add(e, em_sub(e, y.i, from), p->tw, slot);
        at.rows = p->m;
        fn(w, &at, user);
        em_for_end(e, &y, NULL, 0);
    }
    if (rest) {
        If f = em_if(e, em_icmp(e, EM_GT, to, em_i64(e, whole)));
        at.ty = em_i64(e, whole);
        at.slot = mul_add(e, em_sub(e, at.ty, from), p->tw, slot);
        at.rows = (int)rest;
        fn(w, &at, user);
        em_endif(e, &f);
    }
    loop_end(e, &image);
}

/* ---- inputs ---- */

static void input_tile(Wino *w, const TileAt *at, void *user) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    const View *s = &w->src;
    Val block = *(Val *)user, in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    Val from = view_at(w->k, s, at->n, em_add(e, w->first_cb, block),
                       mul_add(e, at->ty, p->m, em_i64(e, -p->pad[0])),
                       mul_add(e, at->tx, p->m, em_i64(e, -p->pad[1])));
    from = em_opaque(e, from);
    /* What only outputs beyond the edge would read may lie outside the value. */
    for (int i = 0; i < p->products; ++i) {
        int y = i / p->n, x = i % p->n;
        bool inside = y < at->rows + p->r - 1 && x < at->cols + p->r - 1;
        in[i] = inside ? em_load(e, from, y * s->row + x * s->pixel, true) : NULL;
    }
    wino_apply2(e, &w->x.bt, in, out);
    Val group, place;
    split_index(e, at->slot, p->group, &group, &place);
    Val to = mul_add(e, group, p->v_group, em_mul(e, place, em_i64(e, s->block)));
    to = em_opaque(e, em_ptr(e, w->v, mul_add(e, block, p->v_block, to)));
    for (int i = 0; i < p->products; ++i)
        em_store(e, to, i * p->v, out[i] ? out[i] : em_vec(e, 0), true);
}

static void input_row(Wino *w, const TileAt *at, void *user) {
    row_of_tiles(w, *at, input_tile, user);
}

static void transform_blocks(void *user, const View *source, Val from, Val to) {
    Wino *w = user;
    w->src = *source;
    Loop block = em_for(w->e, from, to, 1, "block", NULL, 0);
    rows_of_block(w, input_row, &block.i);
    em_for_end(w->e, &block, NULL, 0);
}

static void transform_inputs(Wino *w) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    View stored = w->src;
    if (w->band)
        conv_band(w->band, w->n, mul_add(e, w->y, p->m, em_i64(e, -p->pad[0])), transform_blocks,
                  w);
    else
        transform_blocks(w, &stored, em_i64(e, 0), em_i64(e, p->blocks));
}

/* ---- weights ---- */

/* Blocks [from, from + count) of the tile of outputs at w_at. */
static void transform_weights(Wino *w, Val from, Val count) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int width = em_width(e);
    Val in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    Loop block = em_for(e, em_i64(e, 0), count, 1, "block", NULL, 0);
    Val weights = em_ptr(e, w->w_at, em_mul(e, em_add(e, from, block.i), em_i64(e, w->w.block)));
    Val u = em_ptr(e, w->u, em_mul(e, block.i, em_i64(e, w->w.tap)));
    Loop at = em_for(e, em_i64(e, 0), em_i64(e, w->w.tap), width, "weight", NULL, 0);
    Val g = em_opaque(e, em_ptr(e, weights, at.i));
    int taps = p->r * p->r;
    for (int i = 0; i < taps; ++i)
        in[i] = em_load(e, g, (w->turned ? taps - 1 - i : i) * w->w.tap, true);
    wino_apply2(e, &w->x.g, in, out);
    Val to = em_opaque(e, em_ptr(e, u, at.i));
    for (int i = 0; i < p->products; ++i)
        em_store(e, to, i * p->u, out[i], true);
    em_for_end(e, &at, NULL, 0);
    em_for_end(e, &block, NULL, 0);
}

/* ---- products ---- */

/* `count` tiles from slot, a group's first, on: sums[slot] (+)= V[slot] U over `blocks` blocks. */
static void register_tile(Wino *w, int count, Val v, Val u, Val sums, Val slot, Val blocks) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int width = em_width(e);
    int64_t offset[TILE_MAX_ACC];
    for (int i = 0; i < count; ++i)
        offset[i] = i * width;
    RegTile t = {.pixels = count, .oc = w->vectors, .offset = offset};
    Nest nest = {.channels = width,
                 .src = 1,
                 .wgt = p->o_tile,
                 .unroll = w->k->k->tile.unroll,
                 .from = em_i64(e, 0)};
    nest_loop(&nest, blocks, p->v_block, w->w.tap);
    nest.to = nest.n ? blocks : em_i64(e, width);
    Val to = em_ptr(e, sums, em_mul(e, slot, em_i64(e, p->o_tile)));
    tile_start(e, &t, NULL);
    if (p->pass < p->blocks)
        for (int i = 0; i < count * w->vectors; ++i)
            t.acc[i] = em_load(e, to, i / w->vectors * p->o_tile + i % w->vectors * width, true);
    tile_sum(e, &t, &nest, em_ptr(e, v, em_mul(e, slot, em_i64(e, p->v_group / p->group))), u);
    for (int i = 0; i < count * w->vectors; ++i)
        em_store(e, to, i / w->vectors * p->o_tile + i % w->vectors * width, t.acc[i], true);
}

/* The weights of the next pass lie behind those of this one; each position of the transform asks
 * for an equal part of them, so that main memory works while the products are summed. */
static void prefetch_weights(Wino *w, Val position, Val from, Val count) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    enum { LINE = 16 };
    int64_t part = ceil_div(p->pass * w->w.block, p->products * LINE) * LINE;
    Val next = em_mul(e, em_add(e, from, count), em_i64(e, w->w.block));
    next = em_ptr(e, w->w_at, mul_add(e, position, part, next));
    Loop line = em_for(e, em_i64(e, 0), em_i64(e, part), LINE, "ahead", NULL, 0);
    em_prefetch(e, em_ptr(e, next, line.i), 0);
    em_for_end(e, &line, NULL, 0);
}

/* All positions of the transform, blocks [from, from + count). */
static void sum_products(Wino *w, Val from, Val count) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int64_t tiles;
    bool constant = em_const_i64(w->tiles, &tiles);
    Loop at = em_for(e, em_i64(e, 0), em_i64(e, p->products), 1, "product", NULL, 0);
    if (4 * p->groups * w->w.group > w->k->t->l2)
        prefetch_weights(w, at.i, from, count);
    Val v = em_ptr(e, w->v, mul_add(e, at.i, p->v, em_mul(e, from, em_i64(e, p->v_block))));
    Val u = em_ptr(e, w->u, em_mul(e, at.i, em_i64(e, p->u)));
    Val sums = em_ptr(e, w->sums, em_mul(e, at.i, em_i64(e, p->m_)));
    Val whole = em_sub(e, w->tiles, em_rem(e, w->tiles, em_i64(e, p->group)));
    if (!constant || tiles >= p->group) {
        Loop slot = em_for(e, em_i64(e, 0), whole, p->group, "tiles", NULL, 0);
        register_tile(w, p->group, v, u, sums, slot.i, count);
        em_for_end(e, &slot, NULL, 0);
    }
    Val left = em_sub(e, w->tiles, whole);
    if (p->rest) {
        If few = em_if(e, em_icmp(e, EM_GT, left, em_i64(e, 0)));
        If fits = em_if(e, em_icmp(e, EM_LE, left, em_i64(e, p->rest)));
        register_tile(w, p->rest, v, u, sums, whole, count);
        if (!constant) {
            em_else(e, &fits);
            register_tile(w, p->group, v, u, sums, whole, count);
        }
        em_endif(e, &fits);
        em_endif(e, &few);
    } else if (!constant) {
        If few = em_if(e, em_icmp(e, EM_GT, left, em_i64(e, 0)));
        register_tile(w, p->group, v, u, sums, whole, count);
        em_endif(e, &few);
    }
    em_for_end(e, &at, NULL, 0);
}

static void sum_passes(Wino *w) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    if (p->pass >= p->blocks) {
        transform_weights(w, em_i64(e, 0), em_i64(e, p->blocks));
        sum_products(w, em_i64(e, 0), em_i64(e, p->blocks));
        return;
    }
    em_zero(e, w->sums, em_i64(e, p->products * p->m_));
    Loop pass = em_for(e, em_i64(e, 0), em_i64(e, p->blocks), p->pass, "pass", NULL, 0);
    Val count = em_i64(e, p->pass);
    if (p->blocks % p->pass)
        count = em_imin(e, count, em_sub(e, em_i64(e, p->blocks), pass.i));
    transform_weights(w, pass.i, count);
    sum_products(w, pass.i, count);
    em_for_end(e, &pass, NULL, 0);
}

/* ---- outputs ---- */

static void output_tile(Wino *w, const TileAt *at, void *user) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int width = em_width(e), m = p->m;
    Val in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    (void)user;
    Loop vector;
    Val j = loop_begin(e, &vector, 0, w->vectors, 1, "vector");
    Val lane = em_mul(e, j, em_i64(e, width));
    Val from = em_opaque(e, em_ptr(e, w->sums, mul_add(e, at->slot, p->o_tile, lane)));
    for (int i = 0; i < p->products; ++i)
        in[i] = em_load(e, from, i * p->m_, true);
    int one = w->x.one * (p->n + 1);
    if (w->bias_at)
        in[one] = em_fadd(e, in[one], em_load(e, em_ptr(e, w->bias_at, lane), 0, true));
    wino_apply2(e, &w->x.at, in, out);
    epi_tile(w->k, &w->ep, at->n, em_add(e, w->cb, j), em_mul(e, at->ty, em_i64(e, m)),
             em_mul(e, at->tx, em_i64(e, m)));
    for (int y = 0; y < at->rows; ++y)
        for (int x = 0; x < at->cols; ++x)
            epi_emit(w->k, &w->ep, out[y * m + x], 0, 0, y, x);
    loop_end(e, &vector);
}

static void pool_row(Wino *w, const TileAt *at) {
    Emit *e = w->e;
    int64_t per_row = w->p.m / w->tail.stride;
    bool stored = w->tail.in_memory;
    Val from = em_mul(e, at->ty, em_i64(e, per_row));
    Val to = em_imin(e, em_add(e, from, em_i64(e, per_row)), em_i64(e, w->tail.pooled));
    pool_tail_rows(w->pool, at->n, w->cb, w->vectors, from, to, stored ? NULL : w->cb,
                   stored ? NULL : w->ep.sink_y);
}

static void output_row(Wino *w, const TileAt *at, void *user) {
    Emit *e = w->e;
    Val y = em_mul(e, at->ty, em_i64(e, w->p.m));
    for (int r = 0; r < at->rows; ++r)
        epi_row(w->k, &w->ep, at->n, w->cb, w->vectors, em_add(e, y, em_i64(e, r)));
    w->ep.sink_cb = w->cb;
    w->ep.sink_y = y;
    row_of_tiles(w, *at, output_tile, user);
    if (w->tail.present)
        pool_row(w, at);
}

/* ---- tasks ---- */

static void output_channels(Wino *w, Val group, Val tile) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    int width = em_width(e), full = (int)p->o_tile / width;
    int64_t blocks = ceil_div(p->produced, width);
    int last = (int)(blocks - (p->o_tiles - 1) * full);
    w->cb = mul_add(e, group, blocks, em_mul(e, tile, em_i64(e, full)));
    w->w_at =
        em_ptr(e, w->w.base, mul_add(e, group, w->w.group, em_mul(e, tile, em_i64(e, w->w.tile))));
    w->bias_at = w->bias ? em_ptr(e, w->bias, em_mul(e, w->cb, em_i64(e, width))) : NULL;
    w->vectors = full;
    If f = {0};
    if (last != full)
        f = em_if(e, em_icmp(e, EM_LT, tile, em_i64(e, p->o_tiles - 1)));
    sum_passes(w);
    rows_of_block(w, output_row, NULL);
    if (last == full)
        return;
    em_else(e, &f);
    w->vectors = last;
    sum_passes(w);
    rows_of_block(w, output_row, NULL);
    em_endif(e, &f);
}

/* wino_band_start */
static Val band_start(const Wino *w, Val band) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    if (p->th % p->rows == 0)
        return em_mul(e, band, em_i64(e, p->rows));
    Val at = mul_add(e, band, p->th, em_i64(e, p->bands / 2));
    return em_div(e, at, em_i64(e, p->bands));
}

/* task -> block, group, part; how many images and rows the block really has */
static void decode_task(Wino *w, Val task, Val *group, Val *part) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    Val rest, block, band;
    split_index(e, task, p->parts, &rest, part);
    split_index(e, rest, p->groups, &block, group);
    split_index(e, block, p->bands, &block, &band);
    w->n = em_mul(e, block, em_i64(e, p->images));
    w->y = band_start(w, band);
    w->images = w->rows = NULL;
    w->tiles = em_i64(e, p->tiles);
    if (p->images > 1) {
        w->images = em_imin(e, em_i64(e, p->images), em_sub(e, w->k->n, w->n));
        w->tiles = em_mul(e, w->images, em_i64(e, p->rows * p->tw));
    } else if (p->th % p->rows) {
        w->rows = em_sub(e, band_start(w, em_add(e, band, em_i64(e, 1))), w->y);
        w->tiles = em_mul(e, w->rows, em_i64(e, p->tw));
    }
    w->first_cb = em_mul(e, *group, em_i64(e, ceil_div(p->channels, em_width(e))));
}

/* Parts of one block share its transformed inputs, from one call to the next as well: the number of
 * the block to which they belong lies in front of them (NaN: none yet). */
static void share_inputs(Wino *w, Val task) {
    Emit *e = w->e;
    enum { EXACT = 1 << 23 }; /* as floats */
    Val block = em_rem(e, em_div(e, task, em_i64(e, w->p.parts)), em_i64(e, EXACT));
    block = em_i64_to_f32(e, block);
    if (w->p.parts == 1) {
        transform_inputs(w);
        return;
    }
    If there = em_if(e, em_fcmp(e, EM_EQ, block, em_load1(e, w->k->a.scratch, 0)));
    em_else(e, &there);
    transform_inputs(w);
    em_store1(e, w->k->a.scratch, 0, block);
    em_endif(e, &there);
}

static void emit_tasks(Wino *w) {
    Emit *e = w->e;
    const WinoPlan *p = &w->p;
    Val group, part;
    Loop task = task_loop(w->k);
    decode_task(w, task.i, &group, &part);
    share_inputs(w, task.i);
    Val from = em_mul(e, part, em_i64(e, p->part));
    Val to = em_add(e, from, em_i64(e, p->part));
    if (p->part * p->parts != p->o_tiles)
        to = em_imin(e, to, em_i64(e, p->o_tiles));
    Loop tile = em_for(e, from, to, 1, "outputs", NULL, 0);
    output_channels(w, group, tile.i);
    em_for_end(e, &tile, NULL, 0);
    task_end(w->k, &task);
}

/* Where rows for the pool lie: in the value that is stored anyway, or in scratch (as in
 * conv_lower.c). */
static void open_tail(Wino *w) {
    KernelCtx *k = w->k;
    ValueId source = graph_n(k->g, k->k->tail)->in[0];
    if (w->tail.in_memory) {
        View stored = view_of(k, source);
        w->pool = pool_tail_open(k, &stored);
        return;
    }
    int width = em_width(w->e);
    View v = {.base = em_ptr(w->e, k->a.scratch, em_i64(w->e, w->p.at_sink)),
              .layout = {.kind = LAYOUT_BLOCKED, .block = width},
              .pixel = width,
              .row = w->p.extent[1] * width,
              .cblock = w->p.sink_rows * w->p.extent[1] * width,
              .block = width,
              .aligned = true};
    shape_chw(&graph_v(k->g, source)->shape, &v.c, &v.h, &v.w);
    v.cblocks = ceil_div(v.c, width);
    w->ep.has_sink = true;
    w->ep.sink = v;
    w->pool = pool_tail_open(k, &v);
}

void lower_winograd(KernelCtx *k, const ConvProblem *p, bool backward) {
    Emit *e = k->e;
    Wino w = {.k = k, .e = e, .turned = backward};
    w.w = weights_of(k, k->node->in[1]);
    w.p = wino_plan(k->g, p, k->k, k->t, backward, w.w.layout.o_tile);
    w.x = wino_matrices(w.p.m, w.p.r, false);
    w.bias = p->bias && !backward ? bias_at(k, k->node->in[2]) : NULL;
    w.v = em_ptr(e, k->a.scratch, em_i64(e, WINO_HEAD));
    w.u = em_ptr(e, k->a.scratch, em_i64(e, w.p.at_u));
    w.sums = em_ptr(e, k->a.scratch, em_i64(e, w.p.at_m));
    /* The band lies where weights and sums will. */
    w.band = conv_band_open(k, w.u, wino_band_rows(&w.p));
    if (!w.band)
        w.src = view_of(k, k->node->in[0]);
    BUG_IF((!w.band && w.src.block != em_width(e)) || w.w.layout.i_block != em_width(e),
           "Winograd over data that are not blocked by vectors");
    epi_open(k, &w.ep);
    w.tail = conv_tail(k->g, k->k);
    if (w.tail.present)
        open_tail(&w);
    emit_tasks(&w);
}
