/* conv_tiles.c: which register tile, which weights layout, which tasks: convolution and dense.
 *
 * requires: shapes and attributes.  ensures: the weights layout is a pure function of attributes,
 * shapes and target, hence equal in every program of a model; every tile fits the register file.
 * Cost of a tile step: the larger of FMAs at two per cycle, loads at two per cycle and four cycles
 * of latency hidden; it reproduces the rates measured for 14x2, 9x3, 6x4 and 28x1 on AVX-512.
 */
#include "ops/conv.h"

int tile_max_pixels(const Target *t, int oc) {
    /* Without broadcasts in operands LLVM's scheduler moves loads ahead and fills the file to the
     * brim, so some registers stay free; separate multiplications need one for the product. */
    int spare = t->broadcast_load ? 0 : t->registers >= 32 ? 3 : t->fma ? 1 : 2;
    int left = t->registers - spare - oc - 1;
    int pixels = left / oc, most = t->registers >= 32 ? TILE_MAX_PIXELS : 12;
    return pixels < 1 ? 1 : pixels > most ? most : pixels;
}

double tile_cycles(int pixels, int oc) {
    double fma = 0.5 * pixels * oc, load = 0.5 * (pixels + oc);
    double c = fma > load ? fma : load;
    return (c > 4 ? c : 4) + 0.6;
}

int tile_images(const Target *t, int oc) {
    static const int size[] = {16, 8, 6, 4, 3, 2};
    for (int i = 0; i < 6; ++i)
        if (size[i] <= tile_max_pixels(t, oc))
            return size[i];
    return 1;
}

int tile_unroll(const Target *t, int64_t channels, int64_t block) {
    int64_t rest = channels % block;
    for (int u = t->broadcast_load ? 4 : 1; u > 1; --u)
        if (rest % u == 0 && block % u == 0)
            return u;
    return 1;
}

/* Best rows (at most `limit`) x columns of a tile over an h x w plane; returns cycles per step for
 * the plane. */
static double plan_plane(const Target *t, int oc, int64_t h, int64_t w, int64_t limit, int *rows,
                         int *cols) {
    int most = tile_max_pixels(t, oc);
    double best = 0;
    for (int r = 1; r <= most && r <= h && r <= limit; ++r) {
        int64_t n = ceil_div(w, min64(w, most / r)), c = ceil_div(w, n), rest = w % c;
        double row = (double)(w / c) * tile_cycles(r * (int)c, oc);
        double one = (double)(w / c) * tile_cycles((int)c, oc);
        if (rest) {
            row += tile_cycles(r * (int)rest, oc);
            one += tile_cycles((int)rest, oc);
        }
        double cost = (double)(h / r) * row + (double)(h % r) * one;
        if (best > 0 && cost > 0.985 * best)
            continue;
        best = cost;
        *rows = r;
        *cols = (int)c;
    }
    return best;
}

/* Cycles per step for 16 images. */
static double plan_images(const Target *t, int oc) {
    int p = tile_images(t, oc), rest = 16 % p;
    double cost = 16 / p * tile_cycles(p, oc);
    for (int v = 8; v >= 1; v /= 2)
        if (rest & v)
            cost += tile_cycles(v, oc);
    return cost;
}

/* Output vectors per tile for `channels` channels over h x w pixels (h = 0: images); `whole`: only
 * whole tiles (several groups: a tile's padding would be the next group's channels). */
static int choose_vectors(const Target *t, int64_t channels, int64_t h, int64_t w, bool whole) {
    static const int order[2][4] = {{2, 3, 4, 1}, {4, 3, 2, 1}};
    int64_t blocks = ceil_div(channels, t->vector);
    double best = 0;
    int found = 1, rows, cols;
    for (int k = 0; k < 4; ++k) {
        int oc = order[h == 0][k];
        if (oc > blocks || (whole && blocks % oc != 0))
            continue;
        double one = h ? plan_plane(t, oc, h, w, h, &rows, &cols) : plan_images(t, oc);
        int rest = (int)(blocks % oc);
        double cost = one * (double)(blocks / oc);
        if (rest) /* the last tile has fewer vectors and the same pixels */
            cost += one * tile_cycles(tile_max_pixels(t, oc), rest) /
                    tile_cycles(tile_max_pixels(t, oc), oc);
        if (best > 0 && cost > 0.98 * best)
            continue;
        best = cost;
        found = oc;
    }
    return found;
}

/* ---- the problem ---- */
static ConvProblem dense_problem(const Graph *g, const Node *node) {
    ConvProblem p = {.groups = 1,
                     .dst = {1, 1},
                     .stride = {1, 1},
                     .dilation = {1, 1},
                     .bias = ((const DenseAttrs *)node->attrs)->bias};
    ValueId src = node->op == OP_DENSE_BWD_DATA ? node->out[0] : node->in[0];
    ValueId dst = node->op == OP_DENSE            ? node->out[0]
                  : node->op == OP_DENSE_BWD_DATA ? node->in[0]
                                                  : node->in[1];
    int64_t h, w;
    shape_chw(&graph_v(g, src)->shape, &p.i, &p.src[0], &p.src[1]);
    shape_chw(&graph_v(g, dst)->shape, &p.o, &h, &w);
    p.kernel[0] = p.src[0];
    p.kernel[1] = p.src[1];
    return p;
}

ConvProblem conv_problem(const Graph *g, const Node *node) {
    if (node->op == OP_DENSE || node->op == OP_DENSE_BWD_DATA || node->op == OP_DENSE_BWD_WEIGHTS)
        return dense_problem(g, node);
    const ConvAttrs *a = node->attrs;
    ConvProblem p = {.groups = a->groups, .bias = a->bias && node->op == OP_CONV2D};
    ValueId src = node->op == OP_CONV2D_BWD_DATA ? node->out[0] : node->in[0];
    ValueId dst = node->op == OP_CONV2D            ? node->out[0]
                  : node->op == OP_CONV2D_BWD_DATA ? node->in[0]
                                                   : node->in[1];
    shape_chw(&graph_v(g, src)->shape, &p.i, &p.src[0], &p.src[1]);
    shape_chw(&graph_v(g, dst)->shape, &p.o, &p.dst[0], &p.dst[1]);
    p.i /= a->groups;
    p.o /= a->groups;
    for (int d = 0; d < 2; ++d) {
        p.kernel[d] = a->kernel[d];
        p.stride[d] = a->stride[d];
        p.dilation[d] = a->dilation[d];
        p.pad[d] = a->pad[2 * d];
    }
    return p;
}

bool conv_by_images(const ConvProblem *p) {
    return p->dst[0] == 1 && p->dst[1] == 1;
}

/* Every pixel of diff_src then meets at most one tap; only without padding is it exactly one. */
bool conv_back_by_images(const ConvProblem *p) {
    return conv_by_images(p) && p->pad[0] == 0 && p->pad[1] == 0 && p->dilation[0] == 1 &&
           p->dilation[1] == 1 && p->kernel[0] == p->src[0] && p->kernel[1] == p->src[1];
}

/* ---- weights layouts ---- */
static void forward_layout(const ConvProblem *p, const Target *t, Layout *out) {
    bool images = conv_by_images(p);
    int oc = choose_vectors(t, p->o, images ? 0 : p->dst[0], p->dst[1], p->groups > 1);
    *out = (Layout){.kind = LAYOUT_WEIGHTS,
                    .o_tile = oc * t->vector,
                    .i_block = (int)min64(p->i, t->vector),
                    .groups = (int)p->groups};
}

static void transposed_layout(const ConvProblem *p, const Target *t, Layout *out) {
    if (!conv_back_by_images(p) && conv_back_to_few(p, t)) { /* numbers, not vectors, are read */
        *out = (Layout){.kind = LAYOUT_WEIGHTS,
                        .transposed = true,
                        .o_tile = (int)p->i,
                        .i_block = (int)min64(p->o, t->vector),
                        .groups = 1};
        return;
    }
    int oc = conv_back_by_images(p) ? choose_vectors(t, p->i, 0, 0, false)
                                    : choose_vectors(t, p->i, ceil_div(p->src[0], p->stride[0]),
                                                     ceil_div(p->src[1], p->stride[1]), false);
    *out = (Layout){.kind = LAYOUT_WEIGHTS,
                    .transposed = true,
                    .o_tile = oc * t->vector,
                    .i_block = (int)min64(p->o, t->vector),
                    .groups = (int)p->groups};
}

void conv_problem_layout(const ConvProblem *p, const Target *t, Layout *out) {
    forward_layout(p, t, out);
}

int conv_vectors_by_images(const Target *t, int64_t channels) {
    return choose_vectors(t, channels, 0, 0, false);
}

void conv_forward_layout(const Graph *g, const Node *node, const Target *t, Layout *out) {
    ConvProblem p = conv_problem(g, node);
    forward_layout(&p, t, out);
}

bool weights_conv(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    const Node *node = graph_n(g, n);
    ConvProblem p = conv_problem(g, node);
    bool mask = input == 2 + (p.bias ? 1 : 0); /* the 0/1 table beside the weights */
    if (input != 1 && !mask)
        return false;
    forward_layout(&p, t, out);
    return true;
}

bool weights_conv_bwd_data(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    if (input != 1)
        return false;
    ConvProblem p = conv_problem(g, graph_n(g, n));
    transposed_layout(&p, t, out);
    return true;
}

bool weights_conv_bwd_weights(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    if (input != -1)
        return false;
    ConvProblem p = conv_problem(g, graph_n(g, n));
    forward_layout(&p, t, out);
    return true;
}

bool weights_dense(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    return input == 1 && weights_conv(g, n, input, t, out);
}

bool weights_dense_bwd_weights(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    return weights_conv_bwd_weights(g, n, input, t, out);
}

/* The output is laid out as its reader wants it, the input as forward convolution wants it, also
 * where nobody convolves (deconv); other readers have another that reads the input. */
bool weights_transpose_weights(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    ValueId v = graph_n(g, n)->out[0];
    for (NodeId u = 1; u < g->nnode; ++u) {
        const Node *node = graph_n(g, u);
        for (int i = 1; !node->dead && i < node->nin; ++i) {
            if (node->in[i] != v || !op_def[node->op]->weights)
                continue;
            if (input == -1 && op_def[node->op]->weights(g, u, i, t, out))
                return true;
            if (node->op != OP_CONV2D_BWD_DATA && node->op != OP_DENSE_BWD_DATA)
                continue;
            conv_forward_layout(g, node, t, out);
            return true;
        }
    }
    return false;
}

/* ---- tiles and tasks of forward and backward data ---- */
static int weights_tile(const Graph *g, ValueId v) {
    const Value *value = graph_v(g, v);
    const Layout *l = value->kind == VK_PARAM ? &g->params->at[value->slot].layout : &value->layout;
    BUG_IF(l->kind != LAYOUT_WEIGHTS, "convolution over weights without a layout");
    return l->o_tile;
}

enum {
    TASKS_WANTED = 128,    /* per image: 16 threads get 8 each, within a few percent the same work */
    TASKS_POOLED = 16,     /* where rows of pooling windows stay together */
    TASK_PRODUCTS = 250000, /* some microseconds: starting a task costs nothing beside it */
    SHARE_PRODUCTS = 50000  /* about one: worth a task if a thread would go without */
};

/* The register tile in front of a pool: chunks of whole windows in whole tiles that stay in L2 and
 * leave the threads enough bands.  Returns rows per chunk, sets the scratch. */
static int64_t plan_tail(const Target *t, Kernel *k, const ConvTail *tail, int oc, int64_t tiles,
                         int *rows, int *cols) {
    int64_t h = tail->computed[0], w = tail->computed[1], limit = h;
    int64_t wanted = tail->rolling ? 0 : min64(TASKS_POOLED, tiles * tail->pooled);
    for (;;) {
        plan_plane(t, oc, h, w, limit, rows, cols);
        int64_t step = conv_tail_step(tail, *rows);
        int64_t bytes = 4 * conv_tail_rows(tail, *rows) * w * oc * t->vector;
        bool whole = tail->fill == tail->stride || tail->fill % *rows == 0;
        limit = *rows - 1;
        if (limit > 0 && (!whole || bytes > t->l2 / 4 || tiles * ceil_div(h, step) < wanted))
            continue;
        k->scratch = tail->in_memory ? 0 : bytes;
        return step;
    }
}

/* A band of rolling windows computes its first rows a second time: as few bands per image as give
 * every thread the same number of tasks, and three at least. */
static int64_t rolling_bands(const Graph *g, const Target *t, int64_t tiles, int64_t pooled) {
    int64_t threads = t->speed.threads > 1 ? t->speed.threads : 1, n = plan_batch(g), bands = 1;
    while (bands < pooled && n * tiles * bands < 3 * threads)
        ++bands;
    for (int64_t b = bands; b < 2 * bands && b <= pooled; ++b)
        if (n * tiles * b % threads == 0)
            return b;
    return bands;
}

/* What tasks are made of. */
typedef struct Plane {
    int64_t h, w;       /* pixels of one phase */
    int64_t src_row;    /* bytes of one row of all source channels */
    int64_t step, span; /* source rows per row; rows a window covers */
    int64_t products;   /* per pixel and channel, all phases */
} Plane;

/* Rows per task when nothing is pooled: as few as leave a task worth starting, or an even share of
 * a call that is small altogether. */
static int64_t band_rows(const Graph *g, const Target *t, const Kernel *k, const Plane *p,
                         int64_t tiles, int64_t unit) {
    int64_t bands = ceil_div(TASKS_WANTED, tiles), band = ceil_div(p->h, min64(bands, p->h));
    int64_t row = p->w * p->products * k->tile.oc * t->vector;
    band = max64(band, min64(p->h, ceil_div(TASK_PRODUCTS, row)));
    int64_t threads = max64(1, t->speed.threads);
    int64_t share = ceil_div(p->h, ceil_div(threads, plan_batch(g) * tiles));
    if (share * row >= SHARE_PRODUCTS)
        band = min64(band, share);
    if (!k->oc_outer) /* the band of source rows stays in L2 while the tiles of channels pass */
        while (band > unit && (band * p->step + p->span) * p->src_row > t->l2 / 2)
            --band;
    return min64(ceil_div(band, unit) * unit, ceil_div(p->h, unit) * unit);
}

static void choose_direct(const Graph *g, const Target *t, Kernel *k, const ConvTail *tail, int oc,
                          int64_t tiles, const Plane *p) {
    int rows = 1, cols = 1;
    int64_t unit, h = p->h, band;
    if (tail->present) {
        unit = plan_tail(t, k, tail, oc, tiles, &rows, &cols);
        h = tail->rolling ? tail->pooled * tail->stride : tail->computed[0];
    } else {
        plan_plane(t, oc, h, p->w, h, &rows, &cols);
        unit = rows;
    }
    k->tile.ow = cols;
    k->tile.oh = rows;
    k->tile.oc = oc;
    if (tail->rolling) {
        band = ceil_div(tail->pooled, rolling_bands(g, t, tiles, tail->pooled)) * tail->stride;
    } else {
        Plane computed = *p;
        computed.h = h;
        band = band_rows(g, t, k, &computed, tiles, unit);
    }
    k->tile.rows = (int)band;
    k->tasks_per = tiles * ceil_div(h, band);
    k->tasks_block = 1;
    k->algorithm = "direct";
}

/* Pairs (row, tap) of dst and kernel whose source row exists: the kernel leaves out the others. */
static double real_rows(const ConvProblem *p) {
    int64_t pairs = 0;
    for (int64_t tap = 0; tap < p->kernel[0]; ++tap) {
        int64_t shift = tap * p->dilation[0] - p->pad[0], s = p->stride[0]; /* 0 <= y s + shift < h */
        int64_t first = shift < 0 ? ceil_div(-shift, s) : 0;
        int64_t end = p->src[0] - shift > 0 ? ceil_div(p->src[0] - shift, s) : 0;
        pairs += max64(0, min64(end, p->dst[0]) - first);
    }
    return (double)pairs;
}

/* Pairs (column, tap) that are computed: backward, columns of zeros beside diff_dst count as well. */
static double computed_columns(const ConvProblem *p, bool backward) {
    if (!backward)
        return (double)(p->dst[1] * p->kernel[1]);
    Arena *a = arena_new();
    Direction x = backward_direction(p, 1, a);
    int64_t pairs = 0;
    for (int64_t r = 0; r < x.phases && r < x.extent; ++r)
        pairs += x.phase[r].taps * ceil_div(x.extent - r, x.phases);
    arena_free(a);
    return (double)pairs;
}

/* Share of the peak that the register tile reaches: 97 % with 26 to 28 accumulators, 92 % with 10;
 * where products and sums are separate instructions, 60 % of both together (all as measured). */
static double tile_efficiency(const Target *t, const Tile *tile) {
    double acc = tile->ow * tile->oh * tile->oc;
    double latency = acc > 8 ? 1 : acc / 8;
    return (t->fma ? 1 : 0.6) * latency * acc / (acc + 0.8);
}

/* One call's work of a direct convolution for the cost model. */
static double direct_seconds(const Graph *g, const ConvProblem *p, const Kernel *k,
                             const Target *t) {
    bool backward = graph_n(g, k->anchor)->op == OP_CONV2D_BWD_DATA;
    double n = (double)plan_batch(g), maps = (double)(p->groups * p->o);
    double weights = maps * (double)(p->i * p->kernel[0] * p->kernel[1]);
    double src = (double)(p->groups * p->i * p->src[0] * p->src[1]);
    double dst = maps * (double)(p->dst[0] * p->dst[1]);
    Cost c = {.flops = 2 * n * maps * (double)p->i * real_rows(p) * computed_columns(p, backward),
              .efficiency = tile_efficiency(t, &k->tile),
              .dram_bytes = 4 * (weights + n * (src + dst)),
              .tasks = (double)k->tasks_per * n};
    return cost_seconds(t, &c);
}

/* The same where vectors hold few channels each: lanes without a channel, and what is fused behind
 * every vector, count. */
static double direct_few_seconds(const Graph *g, const ConvProblem *p, const Kernel *k,
                                 const Target *t) {
    double n = (double)plan_batch(g), pixels = (double)(p->dst[0] * p->dst[1]);
    double blocks = (double)ceil_div(p->o, t->vector), maps = blocks * t->vector;
    Cost c = {.flops = 2 * n * maps * (double)p->i * real_rows(p) * computed_columns(p, false),
              .efficiency = tile_efficiency(t, &k->tile),
              .vector_ops = n * pixels * blocks * (1 + conv_chain_ops(g, k) + (k->tail ? 2 : 0)),
              .dram_bytes = 4 * n * (double)(p->i * p->src[0] * p->src[1]),
              .tasks = (double)k->tasks_per * n};
    return cost_seconds(t, &c);
}

enum { CANDIDATES = 12 };

/* *k = the best of the direct kernel, already in *k, of Winograd's, and of that for few channels. */
static void choose_among(const Graph *g, const ConvProblem *p, Kernel *k, const Target *t) {
    Kernel candidate[CANDIDATES] = {*k};
    candidate[0].seconds = direct_seconds(g, p, k, t);
    int wish = ((const ConvAttrs *)graph_n(g, k->anchor)->attrs)->algorithm;
    int others = winograd_candidates(g, p, k, t, candidate + 1, CANDIDATES - 2);
    bool asked = others > 0 && (wish == CONV_WINOGRAD || wish == CONV_WINOGRAD6);
    candidate[others + 1] = *k;
    if (!asked && few_forward_candidate(g, p, &candidate[others + 1], t)) {
        candidate[0].seconds = direct_few_seconds(g, p, k, t);
        ++others;
    }
    plan_choose(g, k, t, candidate + asked, others + !asked);
}

void choose_conv(const Graph *g, Kernel *k, const Target *t) {
    const Node *node = graph_n(g, k->anchor);
    ConvProblem p = conv_problem(g, node);
    int o_tile = weights_tile(g, node->in[1]);
    if (conv_by_images(&p)) {
        choose_images_tile(&p, k, t, o_tile, false);
        return;
    }
    int64_t src_row = 4 * p.src[1] * p.i * p.groups;
    int64_t weights = 4 * p.groups * p.o * p.i * p.kernel[0] * p.kernel[1];
    k->oc_outer = weights > src_row * p.src[0] * plan_batch(g);
    k->why = k->oc_outer ? "weights exceed the sources: output tiles outermost"
                         : "source bands stay in L2";
    k->tile.unroll = tile_unroll(t, p.i, min64(p.i, t->vector));
    ConvTail tail = conv_tail(g, k);
    Plane plane = {.h = p.dst[0],
                   .w = p.dst[1],
                   .src_row = src_row,
                   .step = p.stride[0],
                   .span = p.kernel[0],
                   .products = p.i * p.kernel[0] * p.kernel[1]};
    choose_direct(g, t, k, &tail, o_tile / t->vector, p.groups * ceil_div(p.o, o_tile), &plane);
    if (tail.present)
        k->why = arena_printf(g->keep, "%s; pools %lld rows at a time from %s", k->why,
                              (long long)conv_tail_rows(&tail, k->tile.oh),
                              tail.in_memory ? "its output" : "scratch");
    choose_among(g, &p, k, t);
}

void choose_conv_bwd_data(const Graph *g, Kernel *k, const Target *t) {
    const Node *node = graph_n(g, k->anchor);
    ConvProblem p = conv_problem(g, node);
    int o_tile = weights_tile(g, node->in[1]);
    if (conv_back_by_images(&p)) {
        choose_images_tile(&p, k, t, o_tile, true);
        return;
    }
    if (conv_back_to_few(&p, t)) {
        choose_few(g, &p, k, t);
        return;
    }
    int64_t src_row = 4 * p.dst[1] * p.o * p.groups;
    int64_t weights = 4 * p.groups * p.o * p.i * p.kernel[0] * p.kernel[1];
    k->oc_outer = weights > src_row * p.dst[0] * plan_batch(g);
    k->why = p.stride[0] * p.stride[1] > 1 ? "one stride-1 convolution per phase of the stride"
                                           : "forward with turned, transposed weights";
    k->tile.unroll = tile_unroll(t, p.o, min64(p.o, t->vector));
    Plane plane = {.h = ceil_div(p.src[0], p.stride[0]),
                   .w = ceil_div(p.src[1], p.stride[1]),
                   .src_row = src_row,
                   .step = 1,
                   .span = ceil_div(p.kernel[0] * p.dilation[0], p.stride[0]),
                   .products = p.o * p.kernel[0] * p.kernel[1]};
    choose_direct(g, t, k, &(ConvTail){0}, o_tile / t->vector, p.groups * ceil_div(p.i, o_tile),
                  &plane);
    choose_among(g, &p, k, t);
}

void choose_dense(const Graph *g, Kernel *k, const Target *t) {
    choose_conv(g, k, t);
}

void choose_conv_bwd_weights(const Graph *g, Kernel *k, const Target *t) {
    choose_bww(g, k, t);
}

/* ---- backward weights ---- */
BwwTile tile_bww(const Target *t, int oc, int64_t kw, int64_t channels) {
    int most = tile_max_pixels(t, oc);
    BwwTile best = {1, 1};
    double cost = 0;
    for (int c = 1; c <= most && c <= channels; ++c) {
        int64_t ci = ceil_div(channels, ceil_div(channels, c));
        for (int x = 1; x * ci <= most && x <= kw; ++x) {
            int64_t a = channels % ci, b = kw % x;
            double now = (double)(channels / ci * (kw / x)) * tile_cycles((int)ci * x, oc);
            if (a)
                now += (double)(kw / x) * tile_cycles((int)a * x, oc);
            if (b)
                now += (double)(channels / ci) * tile_cycles((int)(ci * b), oc);
            if (a && b)
                now += tile_cycles((int)(a * b), oc);
            if (cost > 0 && now > 0.985 * cost)
                continue;
            cost = now;
            best = (BwwTile){x, (int)ci};
        }
    }
    return best;
}
