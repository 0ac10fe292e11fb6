/* conv_few_lower.c: backward data into an image of few channels, the last step of a projection.
 *
 * With three channels to produce, a vector of output channels would leave 13 of 16 lanes idle. Here
 * a vector holds `span` neighbouring pixels times all channels; span is a multiple of the stride,
 * so that every lane reads the same pixels of diff_dst: lane (dx, c) of tap j takes kernel column
 * dx + pad - stride * j, or zero where that column does not exist.  Each task packs the weights in
 * this form into scratch memory first (some microseconds).
 * requires: one group, no dilation along rows, at most half a vector of channels.
 * ensures: each pixel written once, by one task; padding lanes are zero.
 */
#include "ops/conv.h"

typedef struct Few {
    KernelCtx *k;
    Emit *e;
    const ConvProblem *p;
    View src;
    WeightView w;
    Epi ep;
    Direction y;
    int64_t span, first, taps; /* pixels per vector; taps j of a row: first .. first + taps - 1 */
    Val n, src_at;
} Few;

static int64_t few_span(const ConvProblem *p, const Target *t) {
    int64_t pixels = t->vector / p->i;
    return pixels / p->stride[1] * p->stride[1];
}

bool conv_back_to_few(const ConvProblem *p, const Target *t) {
    return p->groups == 1 && 2 * p->i <= t->vector && p->dilation[1] == 1 && few_span(p, t) >= 1 &&
           p->kernel[1] > p->pad[1] && p->kernel[1] >= p->stride[1] && p->src[1] >= few_span(p, t);
}

/* Smallest j that reaches a pixel, and how many are needed for `pixels` of them. */
static int64_t first_tap(const ConvProblem *p) {
    return -((p->kernel[1] - 1 - p->pad[1]) / p->stride[1]);
}

static int64_t tap_count(const ConvProblem *p, int64_t pixels) {
    return (pixels - 1 + p->pad[1]) / p->stride[1] - first_tap(p) + 1;
}

void choose_few(const ConvProblem *p, Kernel *k, const Target *t) {
    enum { TASKS_WANTED = 32 };
    int64_t span = few_span(p, t), most = tile_max_pixels(t, 1), groups = p->src[1] / span;
    int64_t rows = ceil_div(p->src[0], p->stride[0]);
    k->tile.ow = (int)ceil_div(groups, ceil_div(groups, most));
    k->tile.oh = k->tile.oc = 1;
    k->tile.unroll = tile_unroll(t, p->o, min64(p->o, t->vector));
    k->tile.rows = (int)max64(min64(2, rows), ceil_div(rows, TASKS_WANTED));
    k->tasks_per = ceil_div(rows, k->tile.rows);
    k->tasks_block = 1;
    k->scratch = 4 * p->kernel[0] * tap_count(p, span) * p->o * t->vector;
    k->algorithm = "direct";
    k->why = "few channels: a vector holds neighbouring pixels times channels";
}

/* scratch[ky][j][o] = the vector of (dx, c) */
static void pack_weights(const Few *f) {
    Emit *e = f->e;
    const ConvProblem *p = f->p;
    int width = em_width(e), channels = (int)p->i;
    int64_t block = f->w.layout.i_block;
    Loop ky = em_for(e, em_i64(e, 0), em_i64(e, p->kernel[0]), 1, "pack.y", NULL, 0);
    Loop o = em_for(e, em_i64(e, 0), em_i64(e, p->o), 1, "pack.o", NULL, 0);
    Val ob, in_block;
    split_index(e, o.i, block, &ob, &in_block);
    Val from = em_add(
        e, em_mul(e, ky.i, em_i64(e, f->w.kw * f->w.tap)),
        em_add(e, em_mul(e, ob, em_i64(e, f->w.block)), em_mul(e, in_block, em_i64(e, f->w.row))));
    from = em_ptr(e, f->w.base, from);
    Val to = em_add(e, em_mul(e, ky.i, em_i64(e, f->taps * p->o)), o.i);
    to = em_ptr(e, f->k->a.scratch, em_mul(e, to, em_i64(e, width)));
    for (int64_t j = 0; j < f->taps; ++j) {
        Val v = em_vec(e, 0);
        for (int64_t dx = 0; dx < f->span; ++dx) {
            int64_t kx = dx + p->pad[1] - p->stride[1] * (f->first + j);
            if (kx >= 0 && kx < p->kernel[1])
                v = em_place(e, v, em_load(e, from, kx * f->w.tap, true), (int)dx * channels,
                             channels);
        }
        em_store(e, to, j * p->o * width, v, true);
    }
    em_for_end(e, &o, NULL, 0);
    em_for_end(e, &ky, NULL, 0);
}

/* `groups` vectors of `pixels` pixels each (less than span only in a row's last) from group x. */
static void few_tile(Few *f, int groups, int64_t pixels, Val q, Val ry, Val x) {
    Emit *e = f->e;
    const ConvProblem *p = f->p;
    int64_t offset[TILE_MAX_ACC], step = f->span / p->stride[1], width = em_width(e);
    for (int g = 0; g < groups; ++g)
        offset[g] = g * step * f->src.pixel;
    RegTile t = {.pixels = groups, .oc = 1, .offset = offset};
    tile_start(e, &t, NULL);
    int64_t block = f->w.layout.i_block, blocks = ceil_div(p->o, block);
    Nest nest = {.channels = block,
                 .last_channels = p->o - (blocks - 1) * block,
                 .partial = p->o % block != 0,
                 .src = 1,
                 .wgt = width,
                 .unroll = f->k->k->tile.unroll,
                 .from = em_i64(e, 0),
                 .blocks = em_i64(e, blocks)};
    int64_t tap = p->o * width, row = f->taps * tap;
    nest_loop(&nest, nest.blocks, f->src.cblock, block * width);
    nest_loop(&nest, phase_field(e, &f->y, ry, PHASE_TAPS), f->y.tap * f->src.row,
              f->y.tap_step * row);
    nest_loop(&nest, em_i64(e, tap_count(p, pixels)), f->src.pixel, tap);
    nest.to = nest.n ? nest.loop[0].extent : em_i64(e, block);
    Val sy = em_add(e, phase_field(e, &f->y, ry, PHASE_FIRST), em_mul(e, q, em_i64(e, f->y.step)));
    Val sx = em_add(e, em_mul(e, x, em_i64(e, step)), em_i64(e, f->first));
    Val src = em_ptr(
        e, f->src_at,
        em_add(e, em_mul(e, sy, em_i64(e, f->src.row)), em_mul(e, sx, em_i64(e, f->src.pixel))));
    Val w = em_ptr(e, f->k->a.scratch,
                   em_mul(e, phase_field(e, &f->y, ry, PHASE_FIRST_TAP), em_i64(e, row)));
    tile_sum(e, &t, &nest, src, w);
    epi_tile(f->k, &f->ep, f->n, em_i64(e, 0), em_add(e, em_mul(e, q, em_i64(e, f->y.phases)), ry),
             em_mul(e, x, em_i64(e, f->span)));
    for (int g = 0; g < groups; ++g)
        for (int64_t dx = 0; dx < pixels; ++dx)
            epi_emit(f->k, &f->ep, em_slice(e, t.acc[g], (int)(dx * p->i), (int)p->i), 0, 0, 0,
                     g * f->span + dx);
}

static void few_row(Few *f, Val q, Val ry) {
    Emit *e = f->e;
    Val y = em_add(e, em_mul(e, q, em_i64(e, f->y.phases)), ry);
    epi_row(f->k, &f->ep, f->n, em_i64(e, 0), 1, y);
    int64_t groups = f->p->src[1] / f->span, over = f->p->src[1] % f->span;
    int64_t cols = f->k->k->tile.ow, rest = groups % cols;
    Loop tile;
    if (groups > rest) {
        Val x = loop_begin(e, &tile, 0, groups - rest, cols, "x");
        few_tile(f, (int)cols, f->span, q, ry, x);
        loop_end(e, &tile);
    }
    if (rest)
        few_tile(f, (int)rest, f->span, q, ry, em_i64(e, groups - rest));
    if (over)
        few_tile(f, 1, over, q, ry, em_i64(e, groups));
}

void lower_few(KernelCtx *k, const ConvProblem *p) {
    Emit *e = k->e;
    Few f = {.k = k, .e = e, .p = p, .span = few_span(p, k->t), .first = first_tap(p)};
    f.taps = tap_count(p, f.span);
    f.src = view_of(k, k->node->in[0]);
    f.w = weights_of(k, k->node->in[1]);
    f.y = backward_direction(p, 0, k->g->keep);
    Direction x = backward_direction(p, 1, k->g->keep);
    const int *halo = f.src.layout.halo;
    direction_check(&f.y, f.src.h, halo[0], halo[1]);
    direction_check(&x, f.src.w, halo[2], halo[3]);
    epi_open(k, &f.ep);
    int64_t rows = ceil_div(f.y.extent, f.y.phases), band = k->k->tile.rows;
    Loop task = task_loop(k), phase;
    Val at;
    split_index(e, task.i, ceil_div(rows, band), &f.n, &at);
    pack_weights(&f);
    f.src_at = view_at(k, &f.src, f.n, em_i64(e, 0), em_i64(e, 0), em_i64(e, 0));
    Val ry = loop_begin(e, &phase, 0, min64(f.y.phases, f.y.extent), 1, "phase.y");
    Val count = em_div(e, em_sub(e, em_i64(e, f.y.extent - 1), ry), em_i64(e, f.y.phases));
    Val from = em_mul(e, at, em_i64(e, band));
    Val to = em_imin(e, em_add(e, from, em_i64(e, band)), em_add(e, count, em_i64(e, 1)));
    Loop q = em_for(e, from, to, 1, "y", NULL, 0);
    few_row(&f, q.i, ry);
    em_for_end(e, &q, NULL, 0);
    loop_end(e, &phase);
    task_end(k, &task);
}
