/* lanes_bww.c: gradients of weights and biases inside a block kernel.
 *
 * Convolution: the accumulators are several weights, each a vector over the images; they walk over
 * all pixels and are summed over the lanes at the end, by one fixed tree.  Dense layers have one
 * pixel, so the sum runs over the images instead: diff_dst is turned round once, vectors lie along
 * its channels as in the weights' rows, and the source's numbers are broadcast one by one.
 * ensures: the task's copy of the gradient grows by this block's part, in the weights' own layout;
 * its padding stays zero.
 */
#include "ops/lanes.h"

enum { MOST = 32 };

typedef struct LanesBww {
    LanesCtx *l;
    ConvProblem p;
    LanesTensor src, dst; /* dst: diff_dst */
    WeightView w;         /* the gradient */
    bool cleared;
    Val group, ky, kx;
    Val iblock, iinside; /* tile of input channels */
    int channels, taps;  /* of the register tile: input channels, kernel columns */
    /* dense */
    Val turned;          /* diff_dst as [image][channel] */
    int64_t pitch;       /* floats per image of it */
    Val otile;
    int vectors;         /* of output channels per register tile */
} LanesBww;

/* Cycles of one step with a x b accumulators. */
static double step_cycles(int a, int b) {
    double fma = 0.5 * a * b, load = 0.5 * (a + b);
    double c = fma > load ? fma : load;
    return (c > 4 ? c : 4) + 0.5;
}

static bool fits(const Target *t, int a, int b) {
    int spare = t->registers > 16 ? 2 : 1;
    return a * b + (a < b ? a : b) + 1 <= t->registers - spare && a * b <= MOST;
}

/* How many of n beside `other`: exact tiles, the rest in a smaller one. */
static int pick_beside(const Target *t, int64_t n, int other) {
    int best = 1;
    double least = 0;
    for (int c = 1; c <= n && fits(t, c, other); c++) {
        double now = (double)(n / c) * step_cycles(c, other);
        if (n % c)
            now += step_cycles((int)(n % c), other);
        if (least > 0 && now >= least)
            continue;
        least = now;
        best = c;
    }
    return best;
}

void lanes_pick_pair(const Target *t, int64_t a, int64_t b, int *na, int *nb) {
    double least = 0;
    *na = *nb = 1;
    for (int i = 1; i <= a; i++)
        for (int j = 1; j <= b && fits(t, i, j); j++) {
            double now = 0;
            for (int rest = 0; rest < 4; rest++) { /* whole and last tiles of both */
                int64_t x = rest & 1 ? a % i : i, y = rest & 2 ? b % j : j;
                double tiles = (double)((rest & 1 ? 1 : a / i) * (rest & 2 ? 1 : b / j));
                now += x && y ? tiles * step_cycles((int)x, (int)y) : 0;
            }
            if (least > 0 && now >= least)
                continue;
            least = now;
            *na = i;
            *nb = j;
        }
}

/* ---- convolution ---- */

static int pick_outputs(const void *user, int64_t n) {
    const LanesBww *b = user;
    return pick_beside(b->l->t, n, b->channels * b->taps);
}

static int pick_taps(const void *user, int64_t n) {
    const LanesBww *b = user;
    int most = b->l->t->registers > 16 ? 7 : 3;
    return (int)ceil_div(n, ceil_div(n, most));
}

/* More than one input channel only where the kernel alone would make a thin tile. */
static int pick_inputs(const void *user, int64_t n) {
    const LanesBww *b = user;
    int most = b->l->t->registers > 16 ? 5 : 3;
    int64_t c = most / min64(b->p.kernel[1], most);
    return (int)(c < 1 ? 1 : min64(c, n));
}

/* The sums of all accumulators join the gradient. */
static void add_sums(LanesBww *b, Val *acc, int outputs, Val block, Val inside) {
    LanesCtx *l = b->l;
    Emit *e = l->e;
    const WeightView *w = &b->w;
    int lanes = l->t->vector, n = outputs * b->channels * b->taps;
    Val at = em_add(e, em_mul(e, b->group, em_i64(e, w->group)),
                    em_add(e, em_mul(e, block, em_i64(e, w->tile)), inside));
    at = em_add(e, at, em_mul(e, b->iblock, em_i64(e, w->block)));
    at = em_add(e, at, em_mul(e, b->iinside, em_i64(e, w->row)));
    Val tap = em_add(e, em_mul(e, b->ky, em_i64(e, w->kw)), b->kx);
    Val to = em_ptr(e, w->base, em_add(e, at, em_mul(e, tap, em_i64(e, w->tap))));
    for (int k = 0; k < n; k += lanes) {
        int count = n - k < lanes ? n - k : lanes;
        Val sums = lanes_sums(l, acc + k, count);
        for (int j = 0; j < count; j++) {
            int o = (k + j) % outputs, rest = (k + j) / outputs;
            int64_t off = o + rest / b->taps * w->row + rest % b->taps * w->tap;
            Val old = lanes_before(l, to, off, b->cleared, true);
            em_store1(e, to, off, em_fadd(e, old, em_extract(e, sums, j)));
        }
    }
}

static void conv_outputs(LanesCtx *l, void *user, Val block, Val inside, int count) {
    LanesBww *b = user;
    Emit *e = l->e;
    const ConvProblem *p = &b->p;
    int n = count * b->channels * b->taps;
    Val acc[MOST], o = em_add(e, em_mul(e, block, em_i64(e, b->w.layout.o_tile)), inside);
    Val from = em_add(e, em_mul(e, b->group, em_i64(e, p->o)), o);
    Val i = em_add(e, em_mul(e, b->iblock, em_i64(e, b->w.layout.i_block)), b->iinside);
    i = em_add(e, i, em_mul(e, b->group, em_i64(e, p->i)));
    Val sy = em_sub(e, em_mul(e, b->ky, em_i64(e, p->dilation[0])), em_i64(e, p->pad[0]));
    Val sx = em_sub(e, em_mul(e, b->kx, em_i64(e, p->dilation[1])), em_i64(e, p->pad[1]));
    Val src = lanes_at(l, &b->src, i, sy, sx);
    Val dst = lanes_at(l, &b->dst, from, em_i64(e, 0), em_i64(e, 0));
    for (int k = 0; k < n; k++)
        acc[k] = em_vec(e, 0);
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, p->dst[0]), 1, "y", acc, n);
    Val src_y = em_ptr(e, src, em_mul(e, y.i, em_i64(e, p->stride[0] * b->src.row)));
    Val dst_y = em_ptr(e, dst, em_mul(e, y.i, em_i64(e, b->dst.row)));
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, p->dst[1]), 1, "x", acc, n);
    Val ps = em_ptr(e, src_y, em_mul(e, x.i, em_i64(e, p->stride[1] * b->src.pixel)));
    Val pd = em_ptr(e, dst_y, em_mul(e, x.i, em_i64(e, b->dst.pixel))), diff[MOST];
    for (int k = 0; k < count; k++)
        diff[k] = em_load(e, pd, k * b->dst.plane, true);
    for (int k = 0; k < b->channels * b->taps; k++) {
        int64_t off = k / b->taps * b->src.plane +
                      k % b->taps * p->dilation[1] * b->src.pixel;
        Val s = em_load(e, ps, off, true);
        for (int j = 0; j < count; j++)
            acc[k * count + j] = em_fma(e, s, diff[j], acc[k * count + j]);
    }
    em_for_end(e, &x, acc, n);
    em_for_end(e, &y, acc, n);
    add_sums(b, acc, count, block, inside);
}

static void conv_taps(LanesCtx *l, void *user, Val block, Val inside, int count) {
    LanesBww *b = user;
    (void)block;
    b->kx = inside;
    b->taps = count;
    lanes_tiles(l, b->p.o, b->w.layout.o_tile, true, pick_outputs, conv_outputs, b);
}

static void conv_inputs(LanesCtx *l, void *user, Val block, Val inside, int count) {
    LanesBww *b = user;
    Loop ky;
    b->iblock = block;
    b->iinside = inside;
    b->channels = count;
    b->ky = loop_begin(l->e, &ky, 0, b->p.kernel[0], 1, "ky");
    lanes_tiles(l, b->p.kernel[1], b->p.kernel[1], true, pick_taps, conv_taps, b);
    loop_end(l->e, &ky);
}

/* ---- dense layers, and convolutions with one output pixel ---- */

/* diff_dst as one row of channels per image, zero beyond the last channel. */
static void turn(LanesBww *b) {
    LanesCtx *l = b->l;
    Emit *e = l->e;
    int lanes = l->t->vector;
    int64_t whole = b->p.o / lanes * lanes;
    Val row[64], zero = em_i64(e, 0);
    b->pitch = b->w.o_tiles * b->w.layout.o_tile;
    b->turned = em_stack(e, b->pitch * lanes);
    if (b->pitch != whole)
        em_zero(e, b->turned, em_i64(e, b->pitch * lanes));
    for (int part = 0; part < 2; part++) {
        int64_t from = part ? whole : 0, to = part ? b->p.o : whole;
        if (from >= to)
            continue;
        Loop loop;
        Val o = loop_begin(e, &loop, from, to, lanes, "turn");
        Val at = lanes_at(l, &b->dst, o, zero, zero);
        for (int i = 0; i < lanes; i++)
            row[i] = part && i >= to - from ? em_vec(e, 0)
                                            : em_load(e, at, i * b->dst.plane, true);
        em_transpose(e, row);
        for (int i = 0; i < lanes; i++)
            em_store(e, em_ptr(e, b->turned, o), i * b->pitch, row[i], true);
        loop_end(e, &loop);
    }
}

static int pick_rows(const void *user, int64_t n) {
    const LanesBww *b = user;
    return pick_beside(b->l->t, n, b->vectors);
}

/* Vectors of a tile's row that go together: a divisor, so that all tiles are equal. */
static int pick_vectors(const LanesBww *b) {
    int all = b->w.layout.o_tile / b->l->t->vector, best = 1;
    int64_t n = min64(b->p.i, b->w.layout.i_block);
    double least = 0;
    for (int v = 1; v <= all && v <= 8; v++) {
        if (all % v || !fits(b->l->t, 1, v))
            continue;
        int rows = pick_beside(b->l->t, n, v);
        double now = (double)all / v * (double)ceil_div(n, rows) * step_cycles(rows, v);
        if (least > 0 && now >= least)
            continue;
        least = now;
        best = v;
    }
    return best;
}

static void dense_rows(LanesCtx *l, void *user, Val block, Val inside, int count) {
    LanesBww *b = user;
    Emit *e = l->e;
    const WeightView *w = &b->w;
    int lanes = l->t->vector, all = w->layout.o_tile / lanes, n = count * b->vectors;
    Val i = em_add(e, em_mul(e, block, em_i64(e, w->layout.i_block)), inside);
    Val sy = em_sub(e, em_mul(e, b->ky, em_i64(e, b->p.dilation[0])), em_i64(e, b->p.pad[0]));
    Val sx = em_sub(e, em_mul(e, b->kx, em_i64(e, b->p.dilation[1])), em_i64(e, b->p.pad[1]));
    Val src = lanes_at(l, &b->src, i, sy, sx);
    Val at = em_add(e, em_mul(e, b->otile, em_i64(e, w->tile)),
                    em_mul(e, block, em_i64(e, w->block)));
    Val tap = em_add(e, em_mul(e, b->ky, em_i64(e, w->kw)), b->kx);
    at = em_add(e, at, em_mul(e, tap, em_i64(e, w->tap)));
    at = em_add(e, at, em_mul(e, inside, em_i64(e, w->row)));
    Loop part;
    Val v = loop_begin(e, &part, 0, all, b->vectors, "part");
    Val along = em_mul(e, v, em_i64(e, lanes));
    Val to = em_ptr(e, w->base, em_add(e, at, along)), acc[MOST];
    Val diff = em_ptr(e, b->turned, em_add(e, em_mul(e, b->otile, em_i64(e, w->layout.o_tile)),
                                           along));
    for (int k = 0; k < n; k++)
        acc[k] = lanes_before(l, to, k / b->vectors * w->row + k % b->vectors * lanes, b->cleared,
                              false);
    Loop image = em_for(e, em_i64(e, 0), em_i64(e, lanes), 1, "lane", acc, n);
    Val ps = em_ptr(e, src, image.i), d[MOST];
    Val pd = em_ptr(e, diff, em_mul(e, image.i, em_i64(e, b->pitch)));
    for (int j = 0; j < b->vectors; j++)
        d[j] = em_load(e, pd, j * lanes, true);
    for (int k = 0; k < count; k++) {
        Val s = em_bcast(e, ps, k * b->src.plane);
        for (int j = 0; j < b->vectors; j++)
            acc[k * b->vectors + j] = em_fma(e, s, d[j], acc[k * b->vectors + j]);
    }
    em_for_end(e, &image, acc, n);
    for (int k = 0; k < n; k++)
        em_store(e, to, k / b->vectors * w->row + k % b->vectors * lanes, acc[k], true);
    loop_end(e, &part);
}

static void dense_weights(LanesBww *b) {
    LanesCtx *l = b->l;
    Emit *e = l->e;
    Loop tile, ky, kx;
    turn(b);
    b->vectors = pick_vectors(b);
    b->otile = loop_begin(e, &tile, 0, b->w.o_tiles, 1, "otile");
    b->ky = loop_begin(e, &ky, 0, b->p.kernel[0], 1, "ky");
    b->kx = loop_begin(e, &kx, 0, b->p.kernel[1], 1, "kx");
    lanes_tiles(l, b->p.i, b->w.layout.i_block, true, pick_rows, dense_rows, b);
    loop_end(e, &kx);
    loop_end(e, &ky);
    loop_end(e, &tile);
}

void lanes_conv_bwd_weights(LanesCtx *l) {
    if (lanes_winograd(l->g, l->node)) {
        lanes_winograd_bwd_weights(l);
        return;
    }
    LanesBww b = {.l = l, .p = conv_problem(l->g, l->node)};
    b.src = lanes_tensor(l, l->node->in[0]);
    b.dst = lanes_tensor(l, l->node->in[1]);
    if (conv_by_images(&b.p) && b.p.groups == 1) {
        b.w = lanes_gradient_rows(l, l->node->out[0], b.p.i);
        dense_weights(&b);
        return;
    }
    b.w = lanes_gradient_weights(l, l->node->out[0], &b.cleared);
    Loop group;
    b.group = loop_begin(l->e, &group, 0, b.p.groups, 1, "group");
    lanes_tiles(l, b.p.i, b.w.layout.i_block, true, pick_inputs, conv_inputs, &b);
    loop_end(l->e, &group);
}

/* ---- biases ---- */

typedef struct LanesBias {
    LanesTensor diff;
    Val to;
    bool cleared;
} LanesBias;

static void bias_channels(LanesCtx *l, const LanesBias *b, Val c, int count) {
    Emit *e = l->e;
    Val acc[64];
    for (int i = 0; i < count; i++)
        acc[i] = em_vec(e, 0);
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, b->diff.h), 1, "y", acc, count);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, b->diff.w), 1, "x", acc, count);
    Val at = lanes_at(l, &b->diff, c, y.i, x.i);
    for (int i = 0; i < count; i++)
        acc[i] = em_fadd(e, acc[i], em_load(e, at, i * b->diff.plane, true));
    em_for_end(e, &x, acc, count);
    em_for_end(e, &y, acc, count);
    Val to = em_ptr(e, b->to, c);
    Val old = lanes_before(l, to, 0, b->cleared, false);
    em_store(e, to, 0, em_fadd(e, old, lanes_sums(l, acc, count)), true);
}

/* A vector of channels at a time; the gradient is padded to whole vectors. */
void lanes_bias_grad(LanesCtx *l) {
    Emit *e = l->e;
    LanesBias b = {.diff = lanes_tensor(l, l->node->in[0])};
    b.to = lanes_gradient(l, l->node->out[0], &b.cleared);
    int64_t c = b.diff.c, lanes = l->t->vector, whole = c / lanes * lanes;
    Loop loop;
    if (whole) {
        Val i = loop_begin(e, &loop, 0, whole, lanes, "c");
        bias_channels(l, &b, i, (int)lanes);
        loop_end(e, &loop);
    }
    if (c > whole)
        bias_channels(l, &b, em_i64(e, whole), (int)(c - whole));
}
