/* lanes_winograd.c: small-filter convolutions inside a block kernel after Winograd: F(m x m, r x
 * r), forward, backward data and backward weights.
 *
 * Images are in the lanes, so transforms are plain vector sums over the cells of a tile.  Forward,
 * per row of tiles: V = BT d B, M = sum over input channels of U V with one number of U = G g GT
 * for all images, Y = AT M A.  Backward data is its adjoint, tile by tile: diff_dst's tile becomes
 * A dy AT, meets the same U, and B M BT is added where the tile had read.  Backward weights sum
 * (BT d B) (A dy AT) over the tiles, then over the lanes, and GT dU G ends it.
 * requires: stride 1, output sides that are multiples of m.
 * theory: Winograd 1980; Lavin and Gray 2016, "Fast algorithms for convolutional neural networks".
 */

#include "ops/lanes.h"
#include "ops/winograd.h"

enum { PRODUCTS = WINO_MAX * WINO_MAX, MOST = 32 };

/* Places in the step's work space, in floats.  U [product][input][output, padded];
 * X [product][channel][tile of the row], for weights [product][tile][input];
 * M [product][channel of the register tile][tile of the row];
 * rest: backward data: the sums [input][row][column]; weights: Y [column][tile][output of the
 * register tile]. */
typedef struct WorkPlan {
    WinoMatrices w;
    int products;
    int64_t th, tw, outputs; /* tile rows, columns; output channels, padded */
    int channels, tiles;     /* of the register tile; weights: outputs, inputs */
    int64_t rows, columns;   /* of backward data's sums */
    int64_t u, x, m, rest, floats;
} WorkPlan;

typedef struct LanesWino {
    LanesCtx *l;
    ConvProblem p;
    WorkPlan at;
    WeightView w;
    LanesTensor src, dst; /* what forward calls so */
    LanesEpi ep;
    LanesPool pool;
    Val bias, u, x, m, rest;
    Val ty;
    int64_t summed; /* channels per product */
    bool backward;
} LanesWino;

/* ---- when ---- */

/* Vector instructions of one tile, multiply-adds among them; direct ones of the same outputs. */
static double tile_work(int op, const ConvProblem *p, int m, double *direct) {
    WinoMatrices w = wino_matrices(m, (int)p->kernel[0], false);
    WinoMatrix b = w.bt;
    for (int i = 0; i < w.n; i++)
        for (int j = 0; j < w.n; j++)
            b.at[i][j] = w.bt.at[j][i];
    double n2 = w.n * w.n, i = (double)p->i, o = (double)p->o;
    int in = wino_ops2(op == OP_CONV2D_BWD_DATA ? &b : &w.bt);
    int out = wino_ops2(op == OP_CONV2D ? &w.at : &w.a);
    *direct = (double)(m * m * p->kernel[0] * p->kernel[1]) * i * o;
    return n2 * i * o + (in + 2 * n2) * i + (out + n2) * o;
}

static double best_work(const Graph *g, const Node *n, int *best) {
    double ratio = 1;
    ConvProblem p;
    *best = 0;
    if (n->op != OP_CONV2D && n->op != OP_CONV2D_BWD_DATA && n->op != OP_CONV2D_BWD_WEIGHTS)
        return 1;
    p = conv_problem(g, n);
    if ((g->options && g->options->exact) || p.groups != 1 || p.kernel[0] != p.kernel[1] ||
        conv_by_images(&p))
        return 1;
    for (int d = 0; d < 2; d++)
        if (p.stride[d] != 1 || p.dilation[d] != 1)
            return 1;
    for (int m = 2; m <= 4; m += 2) {
        int64_t size = m + p.kernel[0] - 1;
        if ((size != 4 && size != 6) || p.dst[0] % m || p.dst[1] % m)
            continue;
        double direct, work = tile_work(n->op, &p, m, &direct);
        if (work < 0.8 * direct && work < ratio * direct) {
            ratio = work / direct;
            *best = m;
        }
    }
    return ratio;
}

int lanes_winograd(const Graph *g, const Node *n) {
    int m;
    best_work(g, n, &m);
    return m;
}

double lanes_work(const Graph *g, const Node *n) {
    int m;
    return best_work(g, n, &m);
}

/* ---- where ---- */

/* Registers: channels x tiles sums, a vector per tile, one broadcast. */
static void pick_register_tile(const Target *t, int64_t channels, int64_t tiles, WorkPlan *at) {
    double least = 0;
    for (int p = 1; p <= tiles && p <= 12; p++) {
        double now;
        int c = lanes_pick_channels(t, channels, p, &now);
        if (c < 1)
            continue;
        now *= (double)ceil_div(tiles, p);
        if (least > 0 && now >= least)
            continue;
        least = now;
        at->channels = c;
        at->tiles = p;
    }
}

/* The parameter that gradient v, or a sum of gradients with v, updates; 0: none. */
static ValueId updated_by(const Graph *g, ValueId v) {
    for (NodeId u = 1; u < g->nnode; u++) {
        const Node *n = graph_n(g, u);
        for (int i = 0; !n->dead && i < n->nin; i++) {
            if (n->in[i] != v)
                continue;
            ValueId found = op_is(n->op, OPF_X) ? n->in[0] : updated_by(g, n->out[0]);
            if (found)
                return found;
        }
    }
    return 0;
}

static const Layout *weights_layout(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->kind == VK_PARAM ? &g->params->at[x->slot].layout : &x->layout;
}

/* Outputs as the layout of the weights pads them.  The layout, not what would be chosen here: that
 * was made for the whole vector, of which a block may use half.  A gradient that is never stored
 * gets its parameter's layout when the block is made. */
static int64_t padded_outputs(const Graph *g, const Node *n, int64_t outputs) {
    ValueId v = n->op == OP_CONV2D            ? n->in[1]
                : n->op == OP_CONV2D_BWD_DATA ? lanes_forward_weights(g, n->in[1])
                                              : n->out[0];
    const Layout *l = weights_layout(g, v);
    if (l->kind != LAYOUT_WEIGHTS && n->op == OP_CONV2D_BWD_WEIGHTS)
        l = weights_layout(g, updated_by(g, v));
    BUG_IF(l->kind != LAYOUT_WEIGHTS, "weights %u have no layout", v);
    return ceil_div(outputs, l->o_tile) * l->o_tile;
}

static WorkPlan work_plan(const Graph *g, const Node *n, const Target *t) {
    ConvProblem p = conv_problem(g, n);
    WorkPlan at = {.w = wino_matrices(lanes_winograd(g, n), (int)p.kernel[0], false)};
    int64_t v = t->vector, rest = 0;
    at.products = at.w.n * at.w.n;
    at.th = p.dst[0] / at.w.m;
    at.tw = p.dst[1] / at.w.m;
    at.outputs = padded_outputs(g, n, p.o);
    at.rows = p.dst[0] + p.kernel[0] - 1;
    at.columns = p.dst[1] + p.kernel[1] - 1;
    int64_t x = p.i * at.tw, m;
    if (n->op == OP_CONV2D) {
        pick_register_tile(t, p.o, at.tw, &at);
    } else if (n->op == OP_CONV2D_BWD_DATA) {
        pick_register_tile(t, p.i, at.tw, &at);
        x = p.o * at.tw;
        rest = p.i * at.rows * at.columns;
    } else {
        lanes_pick_pair(t, p.o, p.i, &at.channels, &at.tiles);
        x = p.i * at.th * at.tw;
        rest = at.w.n * at.th * at.tw * at.channels;
    }
    m = n->op == OP_CONV2D_BWD_WEIGHTS ? 0 : (int64_t)at.channels * at.tw;
    at.x = ceil_div(at.products * p.i * at.outputs, 16) * 16;
    at.m = at.x + at.products * x * v;
    at.rest = at.m + at.products * m * v;
    at.floats = at.rest + rest * v;
    return at;
}

int64_t lanes_workspace(const Graph *g, const Node *n, const Target *t) {
    return lanes_winograd(g, n) ? 4 * work_plan(g, n, t).floats : 0;
}

static LanesWino open_wino(LanesCtx *l) {
    Emit *e = l->e;
    LanesWino c = {.l = l, .p = conv_problem(l->g, l->node), .at = work_plan(l->g, l->node, l->t)};
    Val work = em_ptr_bytes(e, l->k->a.scratch, em_i64(e, l->work));
    c.u = work;
    c.x = em_ptr(e, work, em_i64(e, c.at.x));
    c.m = em_ptr(e, work, em_i64(e, c.at.m));
    c.rest = em_ptr(e, work, em_i64(e, c.at.rest));
    return c;
}

/* ---- transforms ---- */

typedef void (*WeightFn)(LanesWino *c, Val weights, Val u);

/* fn for each vector of weights: its first tap, its first product in U. */
static void each_weight(LanesWino *c, WeightFn fn) {
    Emit *e = c->l->e;
    const WeightView *w = &c->w;
    Loop li, lt, lv;
    Val i = loop_begin(e, &li, 0, c->p.i, 1, "i"), block, inside;
    split_index(e, i, w->layout.i_block, &block, &inside);
    Val t = loop_begin(e, &lt, 0, w->o_tiles, 1, "otile");
    Val v = loop_begin(e, &lv, 0, w->layout.o_tile, c->l->t->vector, "o");
    Val at = em_add(e, em_mul(e, block, em_i64(e, w->block)), em_mul(e, inside, em_i64(e, w->row)));
    at = em_add(e, at, em_add(e, em_mul(e, t, em_i64(e, w->tile)), v));
    Val u = em_add(e, em_mul(e, i, em_i64(e, c->at.outputs)),
                   em_add(e, em_mul(e, t, em_i64(e, w->layout.o_tile)), v));
    fn(c, em_opaque(e, em_ptr(e, w->base, at)), em_opaque(e, em_ptr(e, c->u, u)));
    loop_end(e, &lv);
    loop_end(e, &lt);
    loop_end(e, &li);
}

static void transform_weight(LanesWino *c, Val weights, Val u) {
    Emit *e = c->l->e;
    Val tap[PRODUCTS], out[PRODUCTS];
    for (int k = 0; k < c->at.w.r * c->at.w.r; k++)
        tap[k] = em_load(e, weights, k * c->w.tap, true);
    wino_apply2(e, &c->at.w.g, tap, out);
    for (int k = 0; k < c->at.products; k++)
        em_store(e, u, k * c->p.i * c->at.outputs, out[k], true);
}

/* size x size cells of t from (channel, y, x) on, transformed, products `step` floats apart. */
static void transform_cells(LanesWino *c, const LanesTensor *t, Val from, int size,
                            const WinoMatrix *matrix, Val to, int64_t step) {
    Emit *e = c->l->e;
    Val cell[PRODUCTS], out[PRODUCTS];
    from = em_opaque(e, from);
    to = em_opaque(e, to);
    for (int k = 0; k < size * size; k++)
        cell[k] = em_load(e, from, k / size * t->row + k % size * t->pixel, true);
    wino_apply2(e, matrix, cell, out);
    for (int k = 0; k < c->at.products; k++)
        em_store(e, to, k * step, out[k], true);
}

/* X of tile row `ty`: of the source, or of diff_dst. */
static void transform_row(LanesWino *c) {
    Emit *e = c->l->e;
    const LanesTensor *t = c->backward ? &c->dst : &c->src;
    int lanes = c->l->t->vector, m = c->at.w.m;
    int64_t pad[2] = {c->backward ? 0 : c->p.pad[0], c->backward ? 0 : c->p.pad[1]};
    Loop lc, lx;
    Val y = em_sub(e, em_mul(e, c->ty, em_i64(e, m)), em_i64(e, pad[0]));
    Val ch = loop_begin(e, &lc, 0, c->summed, 1, "c"),
        tx = loop_begin(e, &lx, 0, c->at.tw, 1, "tx");
    Val x = em_sub(e, em_mul(e, tx, em_i64(e, m)), em_i64(e, pad[1]));
    Val to = em_add(e, em_mul(e, ch, em_i64(e, c->at.tw)), tx);
    transform_cells(c, t, lanes_at(c->l, t, ch, y, x), c->backward ? m : c->at.w.n,
                    c->backward ? &c->at.w.a : &c->at.w.bt,
                    em_ptr(e, c->x, em_mul(e, to, em_i64(e, lanes))), c->summed * c->at.tw * lanes);
    loop_end(e, &lx);
    loop_end(e, &lc);
}

/* ---- products ---- */

/* M = sum over channels of U X, for `count` channels of the result from `first` on. */
static void products(LanesWino *c, Val first, int count) {
    Emit *e = c->l->e;
    const WorkPlan *at = &c->at;
    int64_t lanes = c->l->t->vector, u_result = c->backward ? at->outputs : 1;
    int64_t u_channel = c->backward ? 1 : at->outputs;
    int n = count * at->tiles;
    Val acc[MOST], x[MOST];
    Loop lk, lt;
    Val k = loop_begin(e, &lk, 0, at->products, 1, "product");
    Val tx = lanes_span(c->l, &lt, at->tw, at->tiles, "tx");
    Val u = em_add(e, em_mul(e, k, em_i64(e, c->p.i * at->outputs)),
                   em_mul(e, first, em_i64(e, u_result)));
    Val from = em_add(e, em_mul(e, k, em_i64(e, c->summed * at->tw)), tx);
    Val pu = em_ptr(e, c->u, u), px = em_ptr(e, c->x, em_mul(e, from, em_i64(e, lanes)));
    for (int i = 0; i < n; i++)
        acc[i] = em_vec(e, 0);
    Loop s = em_for(e, em_i64(e, 0), em_i64(e, c->summed), 1, "sum", acc, n);
    Val xs = em_ptr(e, px, em_mul(e, s.i, em_i64(e, at->tw * lanes)));
    Val us = em_ptr(e, pu, em_mul(e, s.i, em_i64(e, u_channel)));
    for (int i = 0; i < at->tiles; i++)
        x[i] = em_load(e, xs, i * lanes, true);
    for (int o = 0; o < count; o++) {
        Val w = em_bcast(e, us, o * u_result);
        for (int i = 0; i < at->tiles; i++)
            acc[o * at->tiles + i] = em_fma(e, w, x[i], acc[o * at->tiles + i]);
    }
    em_for_end(e, &s, acc, n);
    Val to = em_add(e, em_mul(e, k, em_i64(e, at->channels * at->tw)), tx);
    Val pm = em_ptr(e, c->m, em_mul(e, to, em_i64(e, lanes)));
    for (int i = 0; i < n; i++)
        em_store(e, pm, (i / at->tiles * at->tw + i % at->tiles) * lanes, acc[i], true);
    lanes_span_end(c->l, &lt);
    loop_end(e, &lk);
}

/* M of one channel of the register tile and one tile, transformed back. */
static void transform_back(LanesWino *c, Val channel, Val tx, const WinoMatrix *matrix, Val *out) {
    Emit *e = c->l->e;
    int64_t lanes = c->l->t->vector;
    Val in[PRODUCTS], from = em_add(e, em_mul(e, channel, em_i64(e, c->at.tw)), tx);
    from = em_opaque(e, em_ptr(e, c->m, em_mul(e, from, em_i64(e, lanes))));
    for (int k = 0; k < c->at.products; k++)
        in[k] = em_load(e, from, k * c->at.channels * c->at.tw * lanes, true);
    wino_apply2(e, matrix, in, out);
}

/* ---- forward ---- */

static int pick_whole(const void *user, int64_t n) {
    const LanesWino *c = user;
    return (int)min64(c->at.channels, n);
}

static void forward_channels(LanesCtx *l, void *user, Val block, Val first, int count) {
    LanesWino *c = user;
    Emit *e = l->e;
    int m = c->at.w.m;
    (void)block;
    products(c, first, count);
    Loop lo, lx;
    Val o = loop_begin(e, &lo, 0, count, 1, "o"), channel = em_add(e, first, o);
    Val bias = c->bias ? em_bcast(e, em_ptr(e, c->bias, channel), 0) : NULL;
    Val tx = loop_begin(e, &lx, 0, c->at.tw, 1, "tx"), out[PRODUCTS];
    transform_back(c, o, tx, &c->at.w.at, out);
    Val y = em_mul(e, c->ty, em_i64(e, m)), x = em_mul(e, tx, em_i64(e, m));
    lanes_epi_tile(l, &c->ep, channel, y, x);
    for (int i = 0; i < m * m; i++) {
        Val sum = bias ? em_fadd(e, out[i], bias) : out[i];
        out[i] = lanes_epi_emit(l, &c->ep, sum, 0, i / m, i % m);
    }
    if (l->step->tail)
        lanes_pool_tile(l, &c->pool, out, m, m, channel, y, x);
    loop_end(e, &lx);
    loop_end(e, &lo);
}

void lanes_winograd_conv(LanesCtx *l) {
    Emit *e = l->e;
    LanesWino c = open_wino(l);
    Loop row;
    c.src = lanes_tensor(l, l->node->in[0]);
    c.w = weights_of(l->k, l->node->in[1]);
    c.bias = c.p.bias ? bias_at(l->k, l->node->in[2]) : NULL;
    c.summed = c.p.i;
    lanes_epi_open(l, &c.ep);
    if (l->step->tail)
        lanes_pool_open(l, &c.pool);
    each_weight(&c, transform_weight);
    c.ty = loop_begin(e, &row, 0, c.at.th, 1, "ty");
    transform_row(&c);
    lanes_tiles(l, c.p.o, c.p.o, false, pick_whole, forward_channels, &c);
    loop_end(e, &row);
}

/* ---- backward data ---- */

static WinoMatrix turned(const WinoMatrix *m) {
    WinoMatrix t = {.rows = m->cols, .cols = m->rows};
    for (int i = 0; i < t.rows; i++)
        for (int j = 0; j < t.cols; j++)
            t.at[i][j] = m->at[j][i];
    return t;
}

static void backward_channels(LanesCtx *l, void *user, Val block, Val first, int count) {
    LanesWino *c = user;
    Emit *e = l->e;
    const WinoMatrix b = turned(&c->at.w.bt);
    int64_t lanes = l->t->vector, columns = c->at.columns;
    int n = c->at.w.n, m = c->at.w.m;
    (void)block;
    products(c, first, count);
    Loop li, lx;
    Val i = loop_begin(e, &li, 0, count, 1, "i"), tx = loop_begin(e, &lx, 0, c->at.tw, 1, "tx");
    Val out[PRODUCTS];
    transform_back(c, i, tx, &b, out);
    Val row = em_add(e, em_mul(e, em_add(e, first, i), em_i64(e, c->at.rows)),
                     em_mul(e, c->ty, em_i64(e, m)));
    Val at = em_add(e, em_mul(e, row, em_i64(e, columns)), em_mul(e, tx, em_i64(e, m)));
    Val to = em_opaque(e, em_ptr(e, c->rest, em_mul(e, at, em_i64(e, lanes))));
    for (int k = 0; k < n * n; k++) {
        int64_t off = (k / n * columns + k % n) * lanes;
        em_store(e, to, off, em_fadd(e, em_load(e, to, off, true), out[k]), true);
    }
    loop_end(e, &lx);
    loop_end(e, &li);
}

/* The sums, without what fell on padding, go through the chain. */
static void finish_sums(LanesWino *c) {
    Emit *e = c->l->e;
    const ConvProblem *p = &c->p;
    int64_t lanes = c->l->t->vector;
    Loop li, ly, lx;
    Val i = loop_begin(e, &li, 0, p->i, 1, "i"), y = loop_begin(e, &ly, 0, p->src[0], 1, "y");
    Val x = loop_begin(e, &lx, 0, p->src[1], 1, "x");
    Val row = em_add(e, em_mul(e, i, em_i64(e, c->at.rows)), em_add(e, y, em_i64(e, p->pad[0])));
    Val at =
        em_add(e, em_mul(e, row, em_i64(e, c->at.columns)), em_add(e, x, em_i64(e, p->pad[1])));
    Val sum = em_load(e, em_ptr(e, c->rest, em_mul(e, at, em_i64(e, lanes))), 0, true);
    lanes_epi_tile(c->l, &c->ep, i, y, x);
    lanes_epi_emit(c->l, &c->ep, sum, 0, 0, 0);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &li);
}

void lanes_winograd_bwd_data(LanesCtx *l, ValueId weights) {
    Emit *e = l->e;
    LanesWino c = open_wino(l);
    Loop row;
    c.dst = lanes_tensor(l, l->node->in[0]);
    c.w = weights_of(l->k, weights);
    c.summed = c.p.o;
    c.backward = true;
    lanes_epi_open(l, &c.ep);
    each_weight(&c, transform_weight);
    em_zero(e, c.rest, em_i64(e, c.p.i * c.at.rows * c.at.columns * l->t->vector));
    c.ty = loop_begin(e, &row, 0, c.at.th, 1, "ty");
    transform_row(&c);
    lanes_tiles(l, c.p.i, c.p.i, true, pick_whole, backward_channels, &c); /* sums: each once */
    loop_end(e, &row);
    finish_sums(&c);
}

/* ---- backward weights ---- */

/* X of the whole source: [product][tile][input]. */
static void transform_source(LanesWino *c) {
    Emit *e = c->l->e;
    int64_t lanes = c->l->t->vector, tiles = c->at.th * c->at.tw;
    int m = c->at.w.m;
    Loop ly, lx, li;
    Val ty = loop_begin(e, &ly, 0, c->at.th, 1, "ty"),
        tx = loop_begin(e, &lx, 0, c->at.tw, 1, "tx");
    Val y = em_sub(e, em_mul(e, ty, em_i64(e, m)), em_i64(e, c->p.pad[0]));
    Val x = em_sub(e, em_mul(e, tx, em_i64(e, m)), em_i64(e, c->p.pad[1]));
    Val i = loop_begin(e, &li, 0, c->p.i, 1, "i");
    Val tile = em_add(e, em_mul(e, ty, em_i64(e, c->at.tw)), tx);
    Val to = em_add(e, em_mul(e, tile, em_i64(e, c->p.i)), i);
    transform_cells(c, &c->src, lanes_at(c->l, &c->src, i, y, x), c->at.w.n, &c->at.w.bt,
                    em_ptr(e, c->x, em_mul(e, to, em_i64(e, lanes))), tiles * c->p.i * lanes);
    loop_end(e, &li);
    loop_end(e, &lx);
    loop_end(e, &ly);
}

/* Row `a` of A dy AT for `count` outputs of all tiles: [column][tile][output]. */
static void transform_diff(LanesWino *c, Val a, Val first, int count) {
    Emit *e = c->l->e;
    const WinoMatrices *w = &c->at.w;
    int64_t lanes = c->l->t->vector, tiles = c->at.th * c->at.tw;
    float table[WINO_MAX * WINO_MAX] = {0};
    Val factor[WINO_MAX], half[WINO_MAX], out[WINO_MAX];
    Loop ly, lx, lo;
    for (int k = 0; k < w->n * w->m; k++)
        table[k] = (float)w->a.at[k / w->m][k % w->m];
    Val row = em_ptr(e, em_c_bytes(e, table, sizeof table, 64), em_mul(e, a, em_i64(e, w->m)));
    for (int q = 0; q < w->m; q++)
        factor[q] = em_bcast(e, row, q);
    Val o = loop_begin(e, &lo, 0, count, 1, "o");
    Val ty = loop_begin(e, &ly, 0, c->at.th, 1, "ty"),
        tx = loop_begin(e, &lx, 0, c->at.tw, 1, "tx");
    Val from = lanes_at(c->l, &c->dst, em_add(e, first, o), em_mul(e, ty, em_i64(e, w->m)),
                        em_mul(e, tx, em_i64(e, w->m)));
    for (int x = 0; x < w->m; x++)
        for (int q = 0; q < w->m; q++) {
            Val d = em_load(e, from, q * c->dst.row + x * c->dst.pixel, true);
            half[x] = q ? em_fma(e, factor[q], d, half[x]) : em_fmul(e, factor[q], d);
        }
    wino_apply(e, &w->a, half, 1, out, 1);
    Val tile = em_add(e, em_mul(e, ty, em_i64(e, c->at.tw)), tx);
    Val to = em_add(e, em_mul(e, tile, em_i64(e, count)), o);
    to = em_opaque(e, em_ptr(e, c->rest, em_mul(e, to, em_i64(e, lanes))));
    for (int j = 0; j < w->n; j++)
        em_store(e, to, j * tiles * count * lanes, out[j], true);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lo);
}

typedef struct Outputs {
    LanesWino *c;
    Val first, a; /* output channel; row of products */
    int count;
} Outputs;

/* dU of `inputs` x the outputs at hand, all columns of the row of products. */
static void sum_inputs(LanesCtx *l, void *user, Val block, Val input, int inputs) {
    const Outputs *s = user;
    LanesWino *c = s->c;
    Emit *e = l->e;
    int64_t lanes = l->t->vector, tiles = c->at.th * c->at.tw;
    int n = inputs * s->count;
    Val acc[MOST], y[MOST];
    (void)block;
    Loop lj;
    Val j = loop_begin(e, &lj, 0, c->at.w.n, 1, "column");
    Val k = em_add(e, em_mul(e, s->a, em_i64(e, c->at.w.n)), j);
    Val px = em_add(e, em_mul(e, k, em_i64(e, tiles * c->p.i)), input);
    px = em_ptr(e, c->x, em_mul(e, px, em_i64(e, lanes)));
    Val py = em_ptr(e, c->rest, em_mul(e, j, em_i64(e, tiles * s->count * lanes)));
    for (int i = 0; i < n; i++)
        acc[i] = em_vec(e, 0);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, tiles), 1, "tile", acc, n);
    Val xs = em_ptr(e, px, em_mul(e, t.i, em_i64(e, c->p.i * lanes)));
    Val ys = em_ptr(e, py, em_mul(e, t.i, em_i64(e, s->count * lanes)));
    for (int o = 0; o < s->count; o++)
        y[o] = em_load(e, ys, o * lanes, true);
    for (int i = 0; i < inputs; i++) {
        Val x = em_load(e, xs, i * lanes, true);
        for (int o = 0; o < s->count; o++)
            acc[i * s->count + o] = em_fma(e, x, y[o], acc[i * s->count + o]);
    }
    em_for_end(e, &t, acc, n);
    Val at = em_mul(e, em_add(e, em_mul(e, k, em_i64(e, c->p.i)), input), em_i64(e, c->at.outputs));
    Val to = em_ptr(e, c->u, em_add(e, at, s->first));
    for (int from = 0; from < n; from += (int)lanes) {
        int some = n - from < lanes ? n - from : (int)lanes;
        Val sums = lanes_sums(l, acc + from, some);
        for (int q = 0; q < some; q++) {
            int i = (from + q) / s->count, o = (from + q) % s->count;
            em_store1(e, to, i * c->at.outputs + o, em_extract(e, sums, q));
        }
    }
    loop_end(e, &lj);
}

static int pick_inputs(const void *user, int64_t n) {
    const Outputs *s = user;
    return (int)min64(s->c->at.tiles, n);
}

static void weights_outputs(LanesCtx *l, void *user, Val block, Val first, int count) {
    LanesWino *c = user;
    Outputs s = {c, first, NULL, count};
    Loop row;
    (void)block;
    s.a = loop_begin(l->e, &row, 0, c->at.w.n, 1, "row");
    transform_diff(c, s.a, first, count);
    lanes_tiles(l, c->p.i, c->p.i, true, pick_inputs, sum_inputs, &s);
    loop_end(l->e, &row);
}

static void add_gradient(LanesWino *c, Val weights, Val u) {
    Emit *e = c->l->e;
    Val in[PRODUCTS], tap[PRODUCTS];
    for (int k = 0; k < c->at.products; k++)
        in[k] = em_load(e, u, k * c->p.i * c->at.outputs, true);
    wino_apply2(e, &c->at.w.gt, in, tap);
    for (int k = 0; k < c->at.w.r * c->at.w.r; k++) {
        Val old = lanes_before(c->l, weights, k * c->w.tap, false, false);
        em_store(e, weights, k * c->w.tap, em_fadd(e, old, tap[k]), true);
    }
}

void lanes_winograd_bwd_weights(LanesCtx *l) {
    LanesWino c = open_wino(l);
    c.src = lanes_tensor(l, l->node->in[0]);
    c.dst = lanes_tensor(l, l->node->in[1]);
    c.w = lanes_gradient_rows(l, l->node->out[0], c.p.i);
    if (c.at.outputs != c.p.o)
        em_zero(l->e, c.u, em_i64(l->e, c.at.x));
    transform_source(&c);
    lanes_tiles(l, c.p.o, c.p.o, true, pick_whole, weights_outputs, &c);
    each_weight(&c, add_gradient);
}
