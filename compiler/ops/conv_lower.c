/* conv_lower.c: direct convolution, forward and backward data (see conv.h).
 *
 * Both are gathers: dst[q * phases + r] sums src[first(r) + q * step + j * tap] over the taps j of
 * phase r.  Forward has one phase.  Backward data has one phase per residue of the stride, each
 * with the kernel taps that reach it: k * dilation = r + pad (mod stride); Dumoulin and Visin, "A
 * guide to convolution arithmetic" (2016), section 4. requires: halos of src cover every window.
 * ensures: each dst element written once, by one task.
 */
#include <string.h>

#include "ops/conv.h"
#include "ops/pool.h"

typedef struct Direct {
    KernelCtx *k;
    Emit *e;
    View src;
    WeightView w;
    Epi ep;
    Val bias; /* NULL: none */
    Direction y, x;
    int64_t channels; /* summed over, per group */
    int64_t produced; /* dst channels per group */
    ConvTail tail;    /* forward: the pool behind the chain */
    PoolTail *pool;
    /* of the task at hand */
    Val n, cb, group;
    Val src_at, w_at, bias_at;
    int oc;
} Direct;

static int64_t gcd(int64_t a, int64_t b) {
    return b ? gcd(b, a % b) : a;
}

static Direction forward_direction(const ConvProblem *p, int d, Arena *keep) {
    Direction a = {1, p->dst[d], p->stride[d], p->dilation[d], 1, ARENA_NEW(keep, Phase), NULL};
    a.phase[0] = (Phase){p->kernel[d], 0, -p->pad[d]};
    return a;
}

Direction backward_direction(const ConvProblem *p, int d, Arena *keep) {
    int64_t s = p->stride[d], dil = p->dilation[d], g = gcd(s, dil);
    Direction a = {s, p->src[d], 1, -dil / g, s / g, ARENA_ARRAY(keep, s, Phase), NULL};
    for (int64_t r = 0; r < s; ++r) {
        int64_t k = 0;
        while (k < p->kernel[d] && (r + p->pad[d] - k * dil) % s != 0)
            ++k;
        if (k < p->kernel[d])
            a.phase[r] =
                (Phase){ceil_div(p->kernel[d] - k, a.tap_step), k, (r + p->pad[d] - k * dil) / s};
    }
    return a;
}

void direction_check(const Direction *a, int64_t extent, int before, int after) {
    for (int64_t r = 0; r < a->phases; ++r) {
        const Phase *ph = &a->phase[r];
        int64_t last_q = (a->extent - 1 - r) / a->phases;
        if (ph->taps == 0 || r >= a->extent)
            continue;
        int64_t end = ph->first + (ph->taps - 1) * a->tap;
        int64_t lo = min64(ph->first, end), hi = max64(ph->first, end) + last_q * a->step;
        BUG_IF(lo < -before || hi >= extent + after,
               "convolution reads [%lld, %lld] of %lld with halo %d, %d", (long long)lo,
               (long long)hi, (long long)extent, before, after);
    }
}

Val phase_field(Emit *e, Direction *a, Val r, int field) {
    int64_t c;
    if (em_const_i64(r, &c)) {
        const Phase *ph = &a->phase[c];
        return em_i64(e, field == PHASE_TAPS        ? ph->taps
                         : field == PHASE_FIRST_TAP ? ph->first_tap
                                                    : ph->first);
    }
    if (!a->table)
        a->table = em_c_bytes(e, a->phase, (size_t)a->phases * sizeof(Phase), 8);
    Val at = em_ptr_bytes(e, a->table, em_mul(e, r, em_i64(e, sizeof(Phase))));
    return em_load_i64(e, at, 8 * field);
}

/* Lowest and highest source index of any tap, relative to the output's extent. */
static bool reads_outside(const Direction *a, int64_t extent) {
    for (int64_t r = 0; r < a->phases && r < a->extent; ++r) {
        const Phase *ph = &a->phase[r];
        int64_t end = ph->first + (ph->taps - 1) * a->tap, q = (a->extent - 1 - r) / a->phases;
        if (ph->taps &&
            (min64(ph->first, end) < 0 || max64(ph->first, end) + q * a->step >= extent))
            return true;
    }
    return false;
}

void tap_range(Emit *e, Direction *a, Val r, Val q, int rows, int64_t extent, Val *from, Val *to) {
    Val taps = phase_field(e, a, r, PHASE_TAPS), zero = em_i64(e, 0);
    *from = zero;
    *to = taps;
    if (!reads_outside(a, extent))
        return;
    /* Tap j of the tile's first row reads `low + j * tap`, of its last row `high + j * tap`. */
    Val low = em_add(e, phase_field(e, a, r, PHASE_FIRST), em_mul(e, q, em_i64(e, a->step)));
    Val high = em_add(e, low, em_i64(e, (rows - 1) * a->step));
    int64_t tap = a->tap < 0 ? -a->tap : a->tap;
    Val begin = a->tap > 0 ? em_sub(e, zero, high) : em_sub(e, low, em_i64(e, extent - 1));
    Val room = a->tap > 0 ? em_sub(e, em_i64(e, extent - 1), low) : high;
    begin = em_imax(e, zero, em_add(e, begin, em_i64(e, tap - 1)));
    room = em_imax(e, zero, em_add(e, room, em_i64(e, tap)));
    *from = em_div(e, begin, em_i64(e, tap));
    *to = em_imin(e, taps, em_div(e, room, em_i64(e, tap)));
}

Val loop_begin(Emit *e, Loop *l, int64_t from, int64_t to, int64_t step, const char *name) {
    l->impl = NULL;
    if (from + step >= to)
        return em_i64(e, from);
    *l = em_for(e, em_i64(e, from), em_i64(e, to), step, name, NULL, 0);
    return l->i;
}

void loop_end(Emit *e, Loop *l) {
    if (l->impl)
        em_for_end(e, l, NULL, 0);
}

/* One register tile of rows x cols pixels at (q, x) of phase (ry, rx). */
static void emit_tile(Direct *d, int rows, int cols, Val q, Val ry, Val x, Val rx) {
    Emit *e = d->e;
    const View *s = &d->src;
    int64_t offset[TILE_MAX_ACC];
    for (int i = 0; i < rows * cols; ++i)
        offset[i] = i / cols * d->y.step * s->row + i % cols * d->x.step * s->pixel;
    RegTile t = {.pixels = rows * cols, .oc = d->oc, .offset = offset};
    tile_start(e, &t, d->bias_at);
    int64_t block = d->w.layout.i_block, blocks = ceil_div(d->channels, block);
    Nest nest = {.channels = block,
                 .last_channels = d->channels - (blocks - 1) * block,
                 .partial = d->channels % block != 0,
                 .src = s->block == 1 ? s->cblock : 1,
                 .wgt = d->w.row,
                 .unroll = d->k->k->tile.unroll,
                 .from = em_i64(e, 0),
                 .blocks = em_i64(e, blocks)};
    int64_t w_row = d->w.kw * d->w.tap;
    Val first_tap, end_tap;
    tap_range(e, &d->y, ry, q, rows, s->h, &first_tap, &end_tap);
    nest_loop(&nest, nest.blocks, s->cblock, d->w.block);
    nest_loop(&nest, em_sub(e, end_tap, first_tap), d->y.tap * s->row, d->y.tap_step * w_row);
    nest_loop(&nest, phase_field(e, &d->x, rx, PHASE_TAPS), d->x.tap * s->pixel,
              d->x.tap_step * d->w.tap);
    nest.to = nest.n ? nest.loop[0].extent : em_i64(e, block);
    Val sy = em_add(e, phase_field(e, &d->y, ry, PHASE_FIRST), em_mul(e, q, em_i64(e, d->y.step)));
    sy = em_add(e, sy, em_mul(e, first_tap, em_i64(e, d->y.tap)));
    Val sx = em_add(e, phase_field(e, &d->x, rx, PHASE_FIRST), em_mul(e, x, em_i64(e, d->x.step)));
    Val ky = em_add(e, phase_field(e, &d->y, ry, PHASE_FIRST_TAP),
                    em_mul(e, first_tap, em_i64(e, d->y.tap_step)));
    Val src =
        em_ptr(e, d->src_at,
               em_add(e, em_mul(e, sy, em_i64(e, s->row)), em_mul(e, sx, em_i64(e, s->pixel))));
    Val w =
        em_ptr(e, d->w_at,
               em_add(e, em_mul(e, ky, em_i64(e, w_row)),
                      em_mul(e, phase_field(e, &d->x, rx, PHASE_FIRST_TAP), em_i64(e, d->w.tap))));
    tile_sum(e, &t, &nest, src, w);
    epi_tile(d->k, &d->ep, d->n, d->cb, em_add(e, em_mul(e, q, em_i64(e, d->y.phases)), ry),
             em_add(e, em_mul(e, x, em_i64(e, d->x.phases)), rx));
    for (int i = 0; i < rows * cols; ++i)
        for (int j = 0; j < d->oc; ++j)
            epi_emit(d->k, &d->ep, t.acc[i * d->oc + j], 0, j, i / cols * d->y.phases,
                     i % cols * d->x.phases);
}

/* The columns of phases [from, to), all of which have `count` pixels. */
static void emit_columns(Direct *d, int rows, Val q, Val ry, int64_t from, int64_t to,
                         int64_t count) {
    Emit *e = d->e;
    if (from >= to || count <= 0)
        return;
    int64_t most = d->k->k->tile.ow;
    int64_t cols = ceil_div(count, ceil_div(count, most)), rest = count % cols;
    Loop phase, tile;
    Val rx = loop_begin(e, &phase, from, to, 1, "phase.x");
    Val x = loop_begin(e, &tile, 0, count - rest, cols, "x");
    emit_tile(d, rows, (int)cols, q, ry, x, rx);
    loop_end(e, &tile);
    if (rest)
        emit_tile(d, rows, (int)rest, q, ry, em_i64(e, count - rest), rx);
    loop_end(e, &phase);
}

/* `rows` rows starting at q of phase ry: halos, then the columns, phases with one more pixel first.
 */
static void emit_rows(Direct *d, int rows, Val q, Val ry) {
    Emit *e = d->e;
    for (int r = 0; r < rows; ++r) {
        Val at = em_mul(e, em_add(e, q, em_i64(e, r)), em_i64(e, d->y.phases));
        epi_row(d->k, &d->ep, d->n, d->cb, d->oc, em_add(e, at, ry));
    }
    int64_t count = d->x.extent / d->x.phases, more = d->x.extent % d->x.phases;
    emit_columns(d, rows, q, ry, 0, more, count + 1);
    emit_columns(d, rows, q, ry, more, d->x.phases, count);
}

/* Rows [from, to) of phase ry, whole register tiles first; `rest`: rows may remain. */
static void emit_range(Direct *d, Val ry, Val from, Val to, bool rest) {
    Emit *e = d->e;
    int oh = d->k->k->tile.oh;
    if (oh > 1) {
        Val whole = em_mul(e, em_div(e, em_sub(e, to, from), em_i64(e, oh)), em_i64(e, oh));
        Val middle = em_add(e, from, whole);
        Loop q = em_for(e, from, middle, oh, "y", NULL, 0);
        emit_rows(d, oh, q.i, ry);
        em_for_end(e, &q, NULL, 0);
        from = middle;
    }
    if (oh == 1 || rest) {
        Loop q = em_for(e, from, to, 1, "y", NULL, 0);
        emit_rows(d, 1, q.i, ry);
        em_for_end(e, &q, NULL, 0);
    }
}

/* A band of rows with the pool behind: a chunk of rows, then the windows they fill. */
static void emit_pooled_band(Direct *d, Val band) {
    Emit *e = d->e;
    const ConvTail *t = &d->tail;
    int oh = d->k->k->tile.oh, rows = d->k->k->tile.rows;
    int64_t step = conv_tail_step(t, oh), computed = conv_tail_rows(t, oh);
    Val extent = em_i64(e, d->y.extent), from = em_mul(e, band, em_i64(e, rows));
    Val to = em_imin(e, em_add(e, from, em_i64(e, rows)), extent);
    Loop y = em_for(e, from, to, step, "chunk", NULL, 0);
    d->ep.sink_cb = d->cb;
    d->ep.sink_y = y.i;
    emit_range(d, em_i64(e, 0), y.i, em_imin(e, em_add(e, y.i, em_i64(e, computed)), to),
               d->y.extent % oh != 0);
    Val row = em_div(e, y.i, em_i64(e, t->stride));
    Val row_to = em_imin(e, em_add(e, row, em_i64(e, step / t->stride)), em_i64(e, t->pooled));
    pool_tail_rows(d->pool, d->n, d->cb, d->oc, row, row_to, t->in_memory ? NULL : d->cb,
                   t->in_memory ? NULL : y.i);
    em_for_end(e, &y, NULL, 0);
}

/* First row of the convolution that window `row` of the pool sees. */
static Val window_top(Emit *e, const ConvTail *t, Val row) {
    Val top = em_sub(e, em_mul(e, row, em_i64(e, t->stride)), em_i64(e, t->pad));
    return t->pad ? em_imax(e, em_i64(e, 0), top) : top;
}

static Val window_end(Emit *e, const ConvTail *t, Val row) {
    Val end = em_add(e, em_mul(e, row, em_i64(e, t->stride)), em_i64(e, t->kernel - t->pad));
    return em_imin(e, end, em_i64(e, t->computed[0]));
}

/* Scratch rows [from, from + count) become rows [0, count) of each block; to < from. */
static void carry_rows(Direct *d, Val from, Val count) {
    Emit *e = d->e;
    const View *v = &d->ep.sink;
    int64_t w = v->pixel;
    Loop block = em_for(e, em_i64(e, 0), em_i64(e, d->oc), 1, "carry", NULL, 0);
    Val to = em_ptr(e, v->base, em_mul(e, block.i, em_i64(e, v->cblock)));
    Val at = em_ptr(e, to, em_mul(e, from, em_i64(e, v->row)));
    Loop i = em_for(e, em_i64(e, 0), em_mul(e, count, em_i64(e, v->row)), w, "i", NULL, 0);
    em_store(e, em_ptr(e, to, i.i), 0, em_load(e, em_ptr(e, at, i.i), 0, true), true);
    em_for_end(e, &i, NULL, 0);
    em_for_end(e, &block, NULL, 0);
}

/* A band whose windows share rows: scratch row 0 is row `base` of the convolution, rows before
 * `done` are there; both live in loop variables from chunk to chunk. */
static void emit_rolling_band(Direct *d, Val band) {
    Emit *e = d->e;
    const ConvTail *t = &d->tail;
    int oh = d->k->k->tile.oh;
    int64_t chunk = conv_tail_step(t, oh) / t->stride, rows = d->k->k->tile.rows / t->stride;
    Val from = em_mul(e, band, em_i64(e, rows));
    Val to = em_imin(e, em_add(e, from, em_i64(e, rows)), em_i64(e, t->pooled));
    Val state[1] = {window_top(e, t, from)}; /* done */
    Loop y = em_for(e, from, to, chunk, "chunk", state, 1);
    Val base = window_top(e, t, y.i), done = state[0];
    Val next = em_imin(e, em_add(e, y.i, em_i64(e, chunk)), to);
    Val end = window_end(e, t, em_sub(e, next, em_i64(e, 1)));
    d->ep.sink_cb = d->cb;
    d->ep.sink_y = base;
    emit_range(d, em_i64(e, 0), done, end, true);
    pool_tail_rows(d->pool, d->n, d->cb, d->oc, y.i, next, d->cb, base);
    Val begin = window_top(e, t, next); /* of the next chunk */
    if (t->kernel > t->stride)
        carry_rows(d, em_sub(e, begin, base), em_imax(e, em_i64(e, 0), em_sub(e, end, begin)));
    state[0] = em_imax(e, begin, end);
    em_for_end(e, &y, state, 1);
}

/* A band of rows for one tile of output channels. */
static void emit_band(Direct *d, Val band) {
    Emit *e = d->e;
    const Tile *tile = &d->k->k->tile;
    if (d->tail.present) {
        (d->tail.rolling ? emit_rolling_band : emit_pooled_band)(d, band);
        return;
    }
    Loop phase;
    Val ry = loop_begin(e, &phase, 0, min64(d->y.phases, d->y.extent), 1, "phase.y");
    /* rows of this phase: (extent - 1 - ry) / phases + 1 */
    Val count =
        em_add(e, em_div(e, em_sub(e, em_i64(e, d->y.extent - 1), ry), em_i64(e, d->y.phases)),
               em_i64(e, 1));
    Val from = em_imin(e, em_mul(e, band, em_i64(e, tile->rows)), count);
    Val to = em_imin(e, em_add(e, from, em_i64(e, tile->rows)), count);
    emit_range(d, ry, from, to, d->y.phases > 1 || d->y.extent % tile->oh);
    loop_end(e, &phase);
}

/* task -> image, (group, tile of output channels), band of rows */
static void decode_task(Direct *d, Val task, int64_t bands, Val *tile, Val *band) {
    Emit *e = d->e;
    KernelCtx *k = d->k;
    int64_t tiles = d->w.layout.groups * d->w.o_tiles;
    Val rest;
    if (k->k->oc_outer) {
        Val per_tile = em_mul(e, k->n, em_i64(e, bands));
        *tile = em_div(e, task, per_tile);
        split_index(e, em_rem(e, task, per_tile), bands, &d->n, band);
        return;
    }
    split_index(e, task, tiles, &rest, tile);
    split_index(e, rest, bands, &d->n, band);
}

static void emit_tasks(Direct *d) {
    KernelCtx *k = d->k;
    Emit *e = d->e;
    int width = em_width(e), full = d->w.layout.o_tile / width;
    int64_t blocks = ceil_div(d->produced, width);
    int last = (int)(blocks - (d->w.o_tiles - 1) * full);
    int64_t rows = ceil_div(d->y.extent, d->y.phases);
    if (d->tail.rolling)
        rows = d->tail.pooled * d->tail.stride;
    int64_t bands = ceil_div(rows, k->k->tile.rows);
    Loop task = task_loop(k);
    Val tile, band, ot;
    decode_task(d, task.i, bands, &tile, &band);
    split_index(e, tile, d->w.o_tiles, &d->group, &ot);
    d->cb = em_add(e, em_mul(e, d->group, em_i64(e, blocks)), em_mul(e, ot, em_i64(e, full)));
    Val first_cb = em_mul(e, d->group, em_i64(e, ceil_div(d->channels, width)));
    d->src_at = view_at(k, &d->src, d->n, first_cb, em_i64(e, 0), em_i64(e, 0));
    d->w_at = em_ptr(
        e, d->w.base,
        em_add(e, em_mul(e, d->group, em_i64(e, d->w.group)), em_mul(e, ot, em_i64(e, d->w.tile))));
    d->bias_at = d->bias ? em_ptr(e, d->bias, em_mul(e, d->cb, em_i64(e, width))) : NULL;
    d->oc = full;
    if (last == full) {
        emit_band(d, band);
    } else {
        If f = em_if(e, em_icmp(e, EM_LT, ot, em_i64(e, d->w.o_tiles - 1)));
        emit_band(d, band);
        em_else(e, &f);
        d->oc = last;
        emit_band(d, band);
        em_endif(e, &f);
    }
    task_end(k, &task);
}

/* Where the rows for the pool lie: in the value that is stored anyway, or in scratch, into which
 * the chain's last result then goes. */
static void open_tail(Direct *d) {
    KernelCtx *k = d->k;
    ValueId source = graph_n(k->g, k->k->tail)->in[0];
    int64_t rows = conv_tail_rows(&d->tail, k->k->tile.oh), cols = d->tail.computed[1];
    int width = em_width(d->e);
    d->y.extent = d->tail.computed[0];
    d->x.extent = cols;
    if (d->tail.in_memory) {
        View stored = view_of(k, source);
        d->pool = pool_tail_open(k, &stored);
        return;
    }
    View v = {.base = k->a.scratch,
              .layout = {.kind = LAYOUT_BLOCKED, .block = width},
              .pixel = width,
              .row = cols * width,
              .cblock = rows * cols * width,
              .block = width,
              .aligned = true};
    shape_chw(&graph_v(k->g, source)->shape, &v.c, &v.h, &v.w);
    v.cblocks = ceil_div(v.c, width);
    d->ep.has_sink = true;
    d->ep.sink = v;
    d->pool = pool_tail_open(k, &v);
}

static Direct open_direct(KernelCtx *k, const ConvProblem *p, bool backward) {
    Direct d = {.k = k, .e = k->e};
    Arena *keep = k->g->keep;
    d.src = view_of(k, k->node->in[0]);
    d.w = weights_of(k, k->node->in[1]);
    d.bias = p->bias && !backward ? bias_at(k, k->node->in[2]) : NULL;
    d.channels = backward ? p->o : p->i;
    d.produced = backward ? p->i : p->o;
    d.y = backward ? backward_direction(p, 0, keep) : forward_direction(p, 0, keep);
    d.x = backward ? backward_direction(p, 1, keep) : forward_direction(p, 1, keep);
    epi_open(k, &d.ep);
    const int *halo = d.src.layout.halo;
    direction_check(&d.y, d.src.h, halo[0], halo[1]);
    direction_check(&d.x, d.src.w, halo[2], halo[3]);
    return d;
}

static void lower_direct(KernelCtx *k, const ConvProblem *p, bool backward) {
    Direct d = open_direct(k, p, backward);
    d.tail = conv_tail(k->g, k->k);
    if (d.tail.present)
        open_tail(&d);
    emit_tasks(&d);
}

/* ---- bands of the source of another convolution (Kernel.source) ---- */
struct ConvBand {
    Kernel kernel; /* the source's part, as a kernel of its own */
    KernelCtx ctx;
    Direct d;
    View rows; /* base: row 0, column 0 of the tile of channels at hand */
    int64_t count;
};

ConvBand *conv_band_open(KernelCtx *k, Val scratch, int64_t rows) {
    const Kernel *of = k->k;
    if (!of->nsource)
        return NULL;
    ConvBand *b = ARENA_NEW(k->g->keep, ConvBand);
    b->kernel = (Kernel){.anchor = of->source[0],
                         .nchain = of->nsource - 1,
                         .name = of->name,
                         .tile = of->source_tile};
    memcpy(b->kernel.chain, of->source + 1, (size_t)b->kernel.nchain * sizeof(NodeId));
    b->ctx = *k;
    b->ctx.k = &b->kernel;
    b->ctx.node = graph_n(k->g, of->source[0]);
    b->ctx.attrs = b->ctx.node->attrs;
    ConvProblem p = conv_problem(k->g, b->ctx.node);
    b->d = open_direct(&b->ctx, &p, false);
    const Value *v = graph_v(k->g, k->node->in[0]);
    int width = em_width(k->e);
    View view = {.layout = v->layout, .pixel = width, .block = width, .aligned = true};
    shape_chw(&v->shape, &view.c, &view.h, &view.w);
    view.cblocks = ceil_div(view.c, width);
    view.row = (view.w + v->layout.halo[2] + v->layout.halo[3]) * width;
    view.cblock = rows * view.row;
    view.base = em_ptr(k->e, scratch, em_i64(k->e, v->layout.halo[2] * width));
    b->rows = view;
    b->count = rows;
    return b;
}

/* Zeros in rows [from, to) of the band's block at `first`: all of them, or beside the source. */
static void zero_band(ConvBand *b, Val first, Val from, Val to, bool all) {
    Emit *e = b->ctx.e;
    const View *v = &b->rows;
    int64_t left = v->layout.halo[2] * v->pixel, right = v->layout.halo[3] * v->pixel;
    if (!all && left + right == 0)
        return;
    Loop y = em_for(e, from, to, 1, "border", NULL, 0);
    Val row = em_ptr(e, first, em_mul(e, y.i, em_i64(e, v->row)));
    if (all) {
        em_zero(e, em_ptr(e, row, em_i64(e, -left)), em_i64(e, v->row));
    } else {
        if (left)
            em_zero(e, em_ptr(e, row, em_i64(e, -left)), em_i64(e, left));
        if (right)
            em_zero(e, em_ptr(e, row, em_i64(e, v->w * v->pixel)), em_i64(e, right));
    }
    em_for_end(e, &y, NULL, 0);
}

/* Tile ot of the channels, d->oc vectors: rows of the source are rows from .. to - 1. */
static void emit_band_tile(ConvBand *b, Val ot, Val y, BandFn use, void *user) {
    Direct *d = &b->d;
    Emit *e = d->e;
    int width = em_width(e), full = d->w.layout.o_tile / width;
    Val zero = em_i64(e, 0), rows = em_i64(e, b->count);
    Val from = em_imax(e, zero, y), to = em_imin(e, em_i64(e, b->rows.h), em_add(e, y, rows));
    d->cb = em_mul(e, ot, em_i64(e, full));
    d->w_at = em_ptr(e, d->w.base, em_mul(e, ot, em_i64(e, d->w.tile)));
    d->bias_at = d->bias ? em_ptr(e, d->bias, em_mul(e, d->cb, em_i64(e, width))) : NULL;
    Loop block = em_for(e, zero, em_i64(e, d->oc), 1, "band", NULL, 0);
    Val first = em_ptr(e, b->rows.base, em_mul(e, block.i, em_i64(e, b->rows.cblock)));
    zero_band(b, first, zero, em_sub(e, from, y), true);
    zero_band(b, first, em_sub(e, from, y), em_sub(e, to, y), false);
    zero_band(b, first, em_sub(e, to, y), rows, true);
    em_for_end(e, &block, NULL, 0);
    d->ep.has_sink = true;
    d->ep.sink = b->rows;
    d->ep.sink_cb = d->cb;
    d->ep.sink_y = y;
    emit_range(d, zero, from, to, true);
    View shifted = b->rows;
    Val origin = em_add(e, em_mul(e, d->cb, em_i64(e, shifted.cblock)),
                        em_mul(e, y, em_i64(e, shifted.row)));
    shifted.base = em_ptr(e, shifted.base, em_sub(e, zero, origin));
    use(user, &shifted, d->cb, em_add(e, d->cb, em_i64(e, d->oc)));
}

void conv_band(ConvBand *b, Val n, Val y, BandFn use, void *user) {
    Direct *d = &b->d;
    Emit *e = d->e;
    int width = em_width(e), full = d->w.layout.o_tile / width;
    int64_t blocks = ceil_div(d->produced, width), whole = blocks / full;
    int last = (int)(blocks % full);
    d->n = n;
    d->group = em_i64(e, 0);
    d->src_at = view_at(&b->ctx, &d->src, n, em_i64(e, 0), em_i64(e, 0), em_i64(e, 0));
    if (whole) {
        Loop tile;
        Val ot = loop_begin(e, &tile, 0, whole, 1, "band.tile");
        d->oc = full;
        emit_band_tile(b, ot, y, use, user);
        loop_end(e, &tile);
    }
    if (last) {
        d->oc = last;
        emit_band_tile(b, em_i64(e, whole), y, use, user);
    }
}

void lower_conv(KernelCtx *k) {
    ConvProblem p = conv_problem(k->g, k->node);
    if (conv_by_images(&p))
        lower_images(k, &p, false);
    else if (k->k->winograd)
        lower_winograd(k, &p, false);
    else if (strcmp(k->k->algorithm, "pixels") == 0)
        lower_few_forward(k, &p);
    else
        lower_direct(k, &p, false);
}

void lower_conv_bwd_data(KernelCtx *k) {
    ConvProblem p = conv_problem(k->g, k->node);
    if (conv_back_by_images(&p))
        lower_images(k, &p, true);
    else if (conv_back_to_few(&p, k->t))
        lower_few(k, &p);
    else if (k->k->winograd)
        lower_winograd(k, &p, true);
    else
        lower_direct(k, &p, true);
}

void lower_dense(KernelCtx *k) {
    lower_conv(k);
}
