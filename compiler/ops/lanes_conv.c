/* lanes_conv.c: convolution and dense layers inside a block kernel, forward and backward data.
 *
 * A register tile is channels x rows x columns of accumulators, one vector of images each: a pixel
 * is loaded once for all channels of the tile, a weight is broadcast once for all its pixels.  Sums
 * run in the order of the weights in memory, as in the ordinary kernels.  Backward data visits only
 * taps that meet diff_dst: a tile reaches beyond its borders by its own height and width less one.
 * theory: as conv.h; images in the lanes after cuda-convnet (Krizhevsky 2012).
 */
#include "ops/lanes.h"

enum { LEVELS = 4, MOST = 32 };

/* One loop of the sum: index from..to moves source and weights by these many floats.  `blocks`: the
 * next but `inner` levels runs over `inside` of the block, `total` in all. */
typedef struct SumLoop {
    Val from, to;
    int64_t src, wgt;
    int64_t block, total; /* > 0: a loop over blocks; its channels are the last level */
} SumLoop;

typedef struct LanesConv {
    LanesCtx *l;
    ConvProblem p;
    bool backward;
    WeightView w;
    LanesTensor src;
    LanesEpi ep;
    Val bias;
    int rows, cols; /* of the register tile */
    bool pools;
    LanesPool pool;
    Direction dir[2]; /* backward */
    /* the tile at hand */
    Val group;
    SumLoop loop[LEVELS];
    int nloops, channels;
    int64_t wgt_step;        /* from channel to channel of the tile */
    int64_t offset[MOST];    /* of each pixel */
    Val acc[MOST];
} LanesConv;

/* ---- which tile ---- */

static int pixels_fit(const Target *t, int pixels) {
    /* accumulators, pixels, one broadcast; an operand in memory needs neither */
    int spare = pixels > 1 ? pixels + 1 : t->broadcast_load ? 1 : 2;
    return (t->registers - (t->registers > 16 ? 2 : 1) - spare) / pixels;
}

static double step_cycles(int channels, int pixels) {
    double fma = 0.5 * channels * pixels, load = 0.5 * (channels + pixels);
    double c = fma > load ? fma : load;
    return (c > 4 ? c : 4) + 0.5;
}

/* Channels per tile of n in a row, for tiles of so many pixels. */
int lanes_pick_channels(const Target *t, int64_t n, int pixels, double *cost) {
    int most = pixels_fit(t, pixels), best = most < 1 ? 0 : 1;
    *cost = 0;
    for (int c = 1; c <= most && c <= n && c * pixels <= MOST; c++) {
        double now = (double)ceil_div(n, c) * step_cycles(c, pixels);
        if (*cost > 0 && now >= *cost)
            continue;
        *cost = now;
        best = c;
    }
    return best;
}

static int pick(const void *user, int64_t n) {
    const LanesConv *c = user;
    double cost;
    return lanes_pick_channels(c->l->t, n, c->rows * c->cols, &cost);
}

/* Taps visited along one side: each tile of `step` rows meets those that touch it. */
static double side_taps(const ConvProblem *p, int d, int step, bool backward) {
    if (!backward)
        return (double)(ceil_div(p->dst[d], step) * p->kernel[d]);
    double taps = 0;
    int64_t s = p->stride[d];
    for (int64_t r = 0; r < min64(s, p->src[d]); r++) {
        int64_t rows = (p->src[d] - 1 - r) / s + 1;
        for (int64_t q = 0; q < rows; q += step) {
            int64_t at = min64(q, rows - step);
            for (int64_t k = 0; k < p->kernel[d]; k++) {
                int64_t n = r + p->pad[d] - k * p->dilation[d];
                int64_t first = n >= 0 ? n / s : -ceil_div(-n, s);
                taps += n % s == 0 && first + at + step - 1 >= 0 && first + at < p->dst[d];
            }
        }
    }
    return taps;
}

/* Rows and columns of a tile; multiples of `unit`, which pooling wants. */
static void pick_tile(const ConvProblem *p, const Target *t, int64_t channels, bool backward,
                      const int64_t unit[2], int *rows, int *cols) {
    int64_t extent[2];
    double best = 0;
    for (int d = 0; d < 2; d++)
        extent[d] = backward ? p->src[d] / p->stride[d] : p->dst[d];
    *rows = *cols = 1;
    for (int64_t h = unit[0]; h <= extent[0] && h <= 8; h += unit[0])
        for (int64_t w = unit[1]; w <= extent[1] && h * w <= 12; w += unit[1]) {
            double cost;
            if (pixels_fit(t, (int)(h * w)) < 1)
                continue;
            lanes_pick_channels(t, channels, (int)(h * w), &cost);
            cost *= side_taps(p, 0, (int)h, backward) * side_taps(p, 1, (int)w, backward);
            if (best > 0 && cost >= best * 0.999)
                continue;
            best = cost;
            *rows = (int)h;
            *cols = (int)w;
        }
}

static const int64_t one_pixel[2] = {1, 1};

/* Channels that most tiles see: a whole block of the weights' layout if there is one. */
static int64_t typical_channels(const ConvProblem *p, bool backward, int64_t block) {
    return min64(backward ? p->i : p->o, block);
}

/* ---- sums ---- */

static void sum_body(LanesConv *c, Val src, Val wgt) {
    Emit *e = c->l->e;
    int pixels = c->rows * c->cols;
    Val x[MOST];
    for (int p = 0; p < pixels; p++)
        x[p] = em_load(e, src, c->offset[p], true);
    for (int o = 0; o < c->channels; o++) {
        Val w = em_bcast(e, wgt, o * c->wgt_step);
        for (int p = 0; p < pixels; p++)
            c->acc[o * pixels + p] = em_fma(e, w, x[p], c->acc[o * pixels + p]);
    }
}

static void sum_level(LanesConv *c, int depth, Val src, Val wgt) {
    Emit *e = c->l->e;
    static const char *const name[] = {"sum.a", "sum.b", "sum.c", "sum.d"};
    if (depth == c->nloops) {
        sum_body(c, src, wgt);
        return;
    }
    SumLoop *s = &c->loop[depth];
    int n = c->channels * c->rows * c->cols;
    int64_t from, to;
    bool one = em_const_i64(s->from, &from) && em_const_i64(s->to, &to) && to == from + 1;
    Loop l = {0};
    Val i = s->from;
    if (!one) {
        l = em_for(e, s->from, s->to, 1, name[depth], c->acc, n);
        i = l.i;
    }
    if (s->block) { /* the last block has fewer channels */
        Val left = em_sub(e, em_i64(e, s->total), em_mul(e, i, em_i64(e, s->block)));
        c->loop[c->nloops - 1].to = em_imin(e, em_i64(e, s->block), left);
    }
    sum_level(c, depth + 1, em_ptr(e, src, em_mul(e, i, em_i64(e, s->src))),
              em_ptr(e, wgt, em_mul(e, i, em_i64(e, s->wgt))));
    if (!one)
        em_for_end(e, &l, c->acc, n);
}

/* ---- forward ---- */

/* One pixel per tile: the chain in a loop over the channels, which a dense layer's few results can
 * afford; unrolled it would be most of the layer's code. */
static void finish_pixel(LanesConv *c, Val channel, Val y, Val x) {
    Emit *e = c->l->e;
    int lanes = c->l->t->vector;
    Val results = em_stack(e, (int64_t)c->channels * lanes);
    for (int o = 0; o < c->channels; o++)
        em_store(e, results, o * lanes, c->acc[o], true);
    Loop o = em_for(e, em_i64(e, 0), em_i64(e, c->channels), 1, "o", NULL, 0);
    lanes_epi_tile(c->l, &c->ep, em_add(e, channel, o.i), y, x);
    Val result = em_load(e, em_ptr(e, results, em_mul(e, o.i, em_i64(e, lanes))), 0, true);
    lanes_epi_emit(c->l, &c->ep, result, 0, 0, 0);
    em_for_end(e, &o, NULL, 0);
}

static void finish_tile(LanesConv *c, Val channel, Val y, Val x, int64_t dy, int64_t dx) {
    int pixels = c->rows * c->cols;
    if (pixels == 1 && c->l->step->nchain > 0 && c->channels > 2) {
        finish_pixel(c, channel, y, x);
        return;
    }
    lanes_epi_tile(c->l, &c->ep, channel, y, x);
    for (int o = 0; o < c->channels; o++) {
        Val result[MOST];
        for (int p = 0; p < pixels; p++)
            result[p] = lanes_epi_emit(c->l, &c->ep, c->acc[o * pixels + p], o, p / c->cols * dy,
                                       p % c->cols * dx);
        if (c->pools)
            lanes_pool_tile(c->l, &c->pool, result, c->rows, c->cols,
                            em_add(c->l->e, channel, em_i64(c->l->e, o)), y, x);
    }
}

/* Tile of `count` output channels from o-tile `block`, `inside` it. */
static void forward_channels(LanesCtx *l, void *user, Val block, Val inside, int count) {
    LanesConv *c = user;
    Emit *e = l->e;
    const ConvProblem *p = &c->p;
    int64_t ib = c->w.layout.i_block, blocks = c->w.i_blocks;
    c->channels = count;
    c->wgt_step = 1;
    Val o = em_add(e, em_mul(e, block, em_i64(e, c->w.layout.o_tile)), inside);
    Val channel = em_add(e, em_mul(e, c->group, em_i64(e, p->o)), o);
    Val wgt = em_add(e, em_mul(e, c->group, em_i64(e, c->w.group)),
                     em_add(e, em_mul(e, block, em_i64(e, c->w.tile)), inside));
    Val zero = em_i64(e, 0), first = em_mul(e, c->group, em_i64(e, p->i));
    Loop ly, lx;
    Val y = lanes_span(l, &ly, p->dst[0], c->rows, "y");
    Val x = lanes_span(l, &lx, p->dst[1], c->cols, "x");
    for (int i = 0; i < c->rows * c->cols; i++)
        c->offset[i] = i / c->cols * p->stride[0] * c->src.row +
                       i % c->cols * p->stride[1] * c->src.pixel;
    c->nloops = 4;
    c->loop[0] = (SumLoop){zero, em_i64(e, blocks), ib * c->src.plane, c->w.block, ib, p->i};
    c->loop[1] = (SumLoop){zero, em_i64(e, p->kernel[0]), p->dilation[0] * c->src.row,
                           c->w.kw * c->w.tap, 0, 0};
    c->loop[2] = (SumLoop){zero, em_i64(e, p->kernel[1]), p->dilation[1] * c->src.pixel, c->w.tap,
                           0, 0};
    c->loop[3] = (SumLoop){zero, em_i64(e, min64(ib, p->i)), c->src.plane, c->w.row, 0, 0};
    for (int k = 0; k < count; k++) {
        Val b = c->bias ? em_bcast(e, em_ptr(e, c->bias, channel), k) : em_vec(e, 0);
        for (int i = 0; i < c->rows * c->cols; i++)
            c->acc[k * c->rows * c->cols + i] = b;
    }
    Val sy = em_sub(e, em_mul(e, y, em_i64(e, p->stride[0])), em_i64(e, p->pad[0]));
    Val sx = em_sub(e, em_mul(e, x, em_i64(e, p->stride[1])), em_i64(e, p->pad[1]));
    sum_level(c, 0, lanes_at(l, &c->src, first, sy, sx), em_ptr(e, c->w.base, wgt));
    finish_tile(c, channel, y, x, 1, 1);
    lanes_span_end(l, &lx);
    lanes_span_end(l, &ly);
}

/* Windows that tile the convolution's output. */
static bool poolable(const Graph *g, const Kernel *step, const ConvProblem *p) {
    const Node *n = graph_n(g, step->tail);
    if ((n->op != OP_MAXPOOL && n->op != OP_AVGPOOL) || conv_by_images(p))
        return false;
    const PoolAttrs *a = n->attrs;
    for (int d = 0; d < 2; d++)
        if (a->kernel[d] != a->stride[d] || a->pad[2 * d] || a->pad[2 * d + 1] ||
            p->dst[d] % a->kernel[d])
            return false;
    return a->kernel[0] * a->kernel[1] <= 4;
}

static void forward_tile(const ConvProblem *p, const Graph *g, const Kernel *step, const Target *t,
                         int64_t block, int *rows, int *cols) {
    const int64_t *unit = one_pixel;
    if (step->tail)
        unit = ((const PoolAttrs *)graph_n(g, step->tail)->attrs)->kernel;
    pick_tile(p, t, typical_channels(p, false, block), false, unit, rows, cols);
}

bool lanes_pools(const Graph *g, const Kernel *step, const Target *t) {
    const Node *n = graph_n(g, step->anchor);
    if (n->op != OP_CONV2D)
        return false;
    ConvProblem p = conv_problem(g, n);
    const PoolAttrs *a = graph_n(g, step->tail)->attrs;
    int m = lanes_winograd(g, n);
    if (m)
        return poolable(g, step, &p) && m % a->kernel[0] == 0 && m % a->kernel[1] == 0;
    return poolable(g, step, &p) && pixels_fit(t, (int)(a->kernel[0] * a->kernel[1])) >= 1;
}

void lanes_conv(LanesCtx *l) {
    Emit *e = l->e;
    if (lanes_winograd(l->g, l->node)) {
        lanes_winograd_conv(l);
        return;
    }
    LanesConv c = {.l = l, .p = conv_problem(l->g, l->node), .pools = l->step->tail != 0};
    c.src = lanes_tensor(l, l->node->in[0]);
    c.w = weights_of(l->k, l->node->in[1]);
    c.bias = c.p.bias ? bias_at(l->k, l->node->in[2]) : NULL;
    forward_tile(&c.p, l->g, l->step, l->t, c.w.layout.o_tile, &c.rows, &c.cols);
    lanes_epi_open(l, &c.ep);
    if (c.pools)
        lanes_pool_open(l, &c.pool);
    Loop group;
    c.group = loop_begin(e, &group, 0, c.p.groups, 1, "group");
    lanes_tiles(l, c.p.o, c.w.layout.o_tile, false, pick, forward_channels, &c);
    loop_end(e, &group);
}

/* ---- backward data ---- */

static void backward_tile(const ConvProblem *p, const Target *t, int *rows, int *cols) {
    /* blocks of input channels: those of the forward weights (conv_tiles.c), at most a vector */
    pick_tile(p, t, min64(p->i, 16), true, one_pixel, rows, cols);
}

/* The cells beyond diff_dst that a register tile touches. */
void lanes_halo_conv_bwd_data(const Graph *g, NodeId n, int input, const Target *t, int halo[4]) {
    ConvProblem p = conv_problem(g, graph_n(g, n));
    int rows, cols;
    if (input != 0 || lanes_winograd(g, graph_n(g, n)))
        return;
    backward_tile(&p, t, &rows, &cols);
    halo[0] = halo[1] = rows - 1;
    halo[2] = halo[3] = cols - 1;
}

void lanes_halo_conv(const Graph *g, NodeId n, int input, const Target *t, int halo[4]) {
    (void)t;
    const ConvAttrs *a = graph_n(g, n)->attrs;
    for (int side = 0; side < 4; side++)
        halo[side] = input == 0 ? (int)a->pad[side] : 0;
}

/* Taps [from, to) of phase r that meet rows of diff_dst from the tile of `size` rows at q. */
static void taps_met(LanesConv *c, int d, Val r, Val q, int size, Val *from, Val *to) {
    Emit *e = c->l->e;
    Direction *a = &c->dir[d];
    int64_t m = -a->tap;
    Val taps = phase_field(e, a, r, PHASE_TAPS), zero = em_i64(e, 0);
    Val at = em_add(e, phase_field(e, a, r, PHASE_FIRST), q);
    Val high = em_add(e, at, em_i64(e, size - 1)), low = em_sub(e, at, em_i64(e, c->p.dst[d] - 1));
    Val end = em_add(e, em_div(e, em_imax(e, high, zero), em_i64(e, m)), em_i64(e, 1));
    *to = em_select(e, em_icmp(e, EM_LT, high, zero), zero, em_imin(e, taps, end));
    Val up = em_add(e, em_imax(e, low, zero), em_i64(e, m - 1));
    *from = em_div(e, up, em_i64(e, m));
}

/* Rows of phase r along side d, in steps of the tile; the last may overlap. */
static Val phase_span(LanesConv *c, Loop *loop, int d, Val r, int step, const char *name) {
    Emit *e = c->l->e;
    const Direction *a = &c->dir[d];
    if (a->phases == 1)
        return lanes_span(c->l, loop, a->extent, step, name);
    Val last = em_sub(e, em_i64(e, a->extent - 1), r);
    Val rows = em_add(e, em_div(e, last, em_i64(e, a->phases)), em_i64(e, 1));
    *loop = em_for(e, em_i64(e, 0), rows, step, name, NULL, 0);
    return em_imin(e, loop->i, em_sub(e, rows, em_i64(e, step)));
}

static void backward_channels(LanesCtx *l, void *user, Val block, Val inside, int count) {
    LanesConv *c = user;
    Emit *e = l->e;
    const ConvProblem *p = &c->p;
    int64_t ot = c->w.layout.o_tile, w_row = c->w.kw * c->w.tap;
    c->channels = count;
    c->wgt_step = c->w.row;
    Val i = em_add(e, em_mul(e, block, em_i64(e, c->w.layout.i_block)), inside);
    Val channel = em_add(e, em_mul(e, c->group, em_i64(e, p->i)), i);
    Val wgt = em_add(e, em_mul(e, block, em_i64(e, c->w.block)),
                     em_mul(e, inside, em_i64(e, c->w.row)));
    wgt = em_add(e, wgt, em_mul(e, c->group, em_i64(e, c->w.group)));
    Loop lry, lrx, ly, lx;
    Val ry = loop_begin(e, &lry, 0, min64(p->stride[0], p->src[0]), 1, "phase.y");
    Val rx = loop_begin(e, &lrx, 0, min64(p->stride[1], p->src[1]), 1, "phase.x");
    Val y = phase_span(c, &ly, 0, ry, c->rows, "y"), x = phase_span(c, &lx, 1, rx, c->cols, "x");
    for (int k = 0; k < c->rows * c->cols; k++)
        c->offset[k] = k / c->cols * c->src.row + k % c->cols * c->src.pixel;
    SumLoop *s = c->loop;
    c->nloops = 4;
    s[0] = (SumLoop){NULL, NULL, c->dir[0].tap * c->src.row, c->dir[0].tap_step * w_row, 0, 0};
    s[1] = (SumLoop){NULL, NULL, c->dir[1].tap * c->src.pixel, c->dir[1].tap_step * c->w.tap, 0, 0};
    s[2] = (SumLoop){em_i64(e, 0), em_i64(e, c->w.o_tiles), ot * c->src.plane, c->w.tile, ot, p->o};
    s[3] = (SumLoop){em_i64(e, 0), em_i64(e, min64(ot, p->o)), c->src.plane, 1, 0, 0};
    taps_met(c, 0, ry, y, c->rows, &s[0].from, &s[0].to);
    taps_met(c, 1, rx, x, c->cols, &s[1].from, &s[1].to);
    for (int k = 0; k < count * c->rows * c->cols; k++)
        c->acc[k] = em_vec(e, 0);
    Val first_y = em_mul(e, phase_field(e, &c->dir[0], ry, PHASE_FIRST_TAP), em_i64(e, w_row));
    Val first_x = em_mul(e, phase_field(e, &c->dir[1], rx, PHASE_FIRST_TAP), em_i64(e, c->w.tap));
    wgt = em_add(e, wgt, em_add(e, first_y, first_x));
    Val sy = em_add(e, phase_field(e, &c->dir[0], ry, PHASE_FIRST), y);
    Val sx = em_add(e, phase_field(e, &c->dir[1], rx, PHASE_FIRST), x);
    Val from = em_mul(e, c->group, em_i64(e, p->o));
    sum_level(c, 0, lanes_at(l, &c->src, from, sy, sx), em_ptr(e, c->w.base, wgt));
    y = em_add(e, em_mul(e, y, em_i64(e, p->stride[0])), ry);
    x = em_add(e, em_mul(e, x, em_i64(e, p->stride[1])), rx);
    finish_tile(c, channel, y, x, p->stride[0], p->stride[1]);
    lanes_span_end(l, &lx);
    lanes_span_end(l, &ly);
    loop_end(e, &lrx);
    loop_end(e, &lry);
}

/* The weights as they lie for forward: the turned copy is never made. */
ValueId lanes_forward_weights(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    if (x->kind == VK_RESULT && graph_n(g, x->def)->op == OP_TRANSPOSE_WEIGHTS)
        return graph_n(g, x->def)->in[0];
    return v;
}

void lanes_conv_bwd_data(LanesCtx *l) {
    Emit *e = l->e;
    if (lanes_winograd(l->g, l->node)) {
        lanes_winograd_bwd_data(l, lanes_forward_weights(l->g, l->node->in[1]));
        return;
    }
    LanesConv c = {.l = l, .p = conv_problem(l->g, l->node), .backward = true};
    c.src = lanes_tensor(l, l->node->in[0]);
    c.w = weights_of(l->k, lanes_forward_weights(l->g, l->node->in[1]));
    for (int d = 0; d < 2; d++)
        c.dir[d] = backward_direction(&c.p, d, l->g->keep);
    backward_tile(&c.p, l->t, &c.rows, &c.cols);
    lanes_epi_open(l, &c.ep);
    Loop group;
    c.group = loop_begin(e, &group, 0, c.p.groups, 1, "group");
    lanes_tiles(l, c.p.i, c.w.layout.i_block, false, pick, backward_channels, &c);
    loop_end(e, &group);
}
