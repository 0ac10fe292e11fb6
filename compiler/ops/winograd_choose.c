/* winograd_choose.c: when Winograd's transforms pay, and with which blocks (see winograd_plan.h).
 *
 * Enumerates output sizes m, blocks of tiles and parts of the output channels, predicts each one's
 * time and hands the best few of each m to the chooser.  Products in the transformed domain are
 * (n / m r)^2 of the direct ones; against them stand the transforms (inputs per part, weights per
 * block, outputs once) and tiles that reach beyond the edge.
 * requires: stride 1, dilation 1, 3x3 or 5x5 taps, at least a vector of channels on both sides, a
 * source blocked by the vector; a fused pool's windows must divide the tile rows.
 */
#include <math.h>

#include "ops/winograd_plan.h"

static int64_t odd_lines(int64_t floats) {
    int64_t lines = ceil_div(floats, 16);
    return 16 * (lines + (lines % 2 == 0));
}

WinoPlan wino_plan(const Graph *g, const ConvProblem *p, const Kernel *k, const Target *t,
                   bool backward, int64_t o_tile) {
    int width = t->vector;
    WinoPlan w = {.m = k->winograd, .r = (int)p->kernel[0], .groups = p->groups, .o_tile = o_tile};
    w.n = w.m + w.r - 1;
    w.products = w.n * w.n;
    w.channels = backward ? p->o : p->i;
    w.produced = backward ? p->i : p->o;
    for (int d = 0; d < 2; ++d) {
        w.extent[d] = backward ? p->src[d] : p->dst[d];
        w.pad[d] = backward ? w.r - 1 - p->pad[d] : p->pad[d];
    }
    ConvTail tail = conv_tail(g, k);
    if (tail.present) {
        w.extent[0] = tail.computed[0];
        w.extent[1] = tail.computed[1];
        w.sink_rows = tail.in_memory ? 0 : w.m;
    }
    w.blocks = ceil_div(w.channels, width);
    w.pass = min64(w.blocks, k->tile.ic / width);
    w.o_tiles = ceil_div(w.produced, o_tile);
    w.part = ceil_div(w.o_tiles, k->tile.oh);
    w.parts = ceil_div(w.o_tiles, w.part);
    w.th = ceil_div(w.extent[0], w.m);
    w.tw = ceil_div(w.extent[1], w.m);
    w.images = k->tasks_block;
    w.rows = k->tile.rows / w.images;
    w.bands = ceil_div(w.th, w.rows);
    w.tiles = w.images * w.rows * w.tw;
    w.group = k->tile.ow;
    w.rest = (int)(w.tiles % w.group);
    w.slots = ceil_div(w.tiles, w.group) * w.group;
    w.v_block = w.group * width;
    w.v_group = w.blocks * w.v_block;
    w.v = odd_lines(w.slots / w.group * w.v_group);
    w.u = odd_lines(w.pass * width * o_tile);
    w.m_ = odd_lines(w.slots * o_tile);
    w.at_u = WINO_HEAD + w.products * w.v;
    w.at_m = w.at_u + w.products * w.u;
    w.at_sink = w.at_m + w.products * w.m_;
    w.floats = w.at_sink + w.sink_rows * w.extent[1] * o_tile;
    return w;
}

/* ---- candidates ---- */

typedef struct Search {
    const Graph *g;
    const ConvProblem *p;
    const Kernel *direct;
    const Target *t;
    bool backward;
    int64_t o_tile;
    double n;     /* images per call */
    Kernel *best; /* of one m, by seconds */
    int count, cap;
} Search;

/* The register tile over `tiles` tiles with least cycles; returns these. */
static double plan_group(const Target *t, int oc, int64_t tiles, int *group) {
    int most = tile_max_pixels(t, oc);
    double best = 0;
    for (int count = 1; count <= most && count <= tiles; ++count) {
        int64_t rest = tiles % count;
        double now = (double)(tiles / count) * tile_cycles(count, oc);
        if (rest)
            now += tile_cycles((int)rest, oc);
        if (best > 0 && now >= best)
            continue;
        best = now;
        *group = count;
    }
    return best;
}

/* Vector instructions in units of one FMA, as measured on a core with 1 MB of L2: additions run
 * beside multiplications; lines that a transform writes or reads with a stride come from L2 and go
 * back to it, or from beyond where scratch is larger than L2. */
static const double op_cost = 0.7, near_line = 4, far_line = 9, near_load = 1, far_load = 4;

/* Work of one call, counted over all tasks. */
typedef struct Work {
    double calls;  /* blocks x groups x tiles of outputs */
    double inputs; /* transforms of one vector each */
    double weights, outputs;
    double products; /* FMAs of whole vectors */
    double tasks;
} Work;

static Work count_work(const Search *s, const WinoPlan *w) {
    double n = s->n, width = s->t->vector, oc = (double)s->o_tile / width;
    double blocks = w->images > 1 ? (double)ceil_div((int64_t)n, w->images) : n * (double)w->bands;
    double groups = (double)w->groups, parts = (double)w->parts, o_tiles = (double)w->o_tiles;
    double threads = s->t->speed.threads > 1 ? s->t->speed.threads : 1;
    double tiles = n * (double)(w->th * w->tw) * groups, channels = (double)w->blocks;
    Work k = {.calls = blocks * groups * o_tiles, .tasks = blocks * groups * parts};
    /* Parts of a block share its inputs within a thread.  A block is transformed again where a
     * thread takes what another has left, and where the threads' shares of the tasks cut it. */
    double sets = blocks * groups, again = parts > 1 ? threads - 1 : 0;
    for (double i = 1; i < threads; i++)
        again += fmod(floor(k.tasks * i / threads), parts) > 0;
    sets = sets + again < k.tasks ? sets + again : k.tasks;
    k.inputs = tiles * channels * sets / (blocks * groups);
    k.weights = k.calls * channels * width * oc;
    k.outputs = tiles * o_tiles * oc;
    k.products = tiles * channels * width * o_tiles * oc * w->products;
    return k;
}

/* Cycles to read a line of the transformed inputs, of which a thread has v bytes, beyond what hides
 * behind the products.  Threads and source share L3, so an eighth of it is what one can count on.
 */
static double read_line(const Target *t, double v) {
    double share = (double)t->l3 / 8, beyond = (v - share) / (2 * share);
    return v <= 0.6 * (double)t->l2 ? 0 : beyond <= 0 ? 0.5 : 0.5 + 6 * (beyond < 1 ? beyond : 1);
}

/* Few tasks leave nothing to share when a thread is held up; and the program may run where there
 * are more threads than here: up to 16 shall all have work if it costs next to nothing. */
static double uneven(double threads, double tasks) {
    double rounds = (double)ceil_div((int64_t)tasks, 16);
    return (1 + 0.04 * threads / tasks) * (1 + 0.003 * (16 * rounds / tasks - 1));
}

/* Each thread has its own scratch, beside a slab that grows with the images: what exceeds some
 * megabytes per image is worth a few percent of time, no more. */
static double roomy(const Search *s, int64_t scratch) {
    const double modest = 3e6;
    double more = (double)scratch / s->n - modest;
    return more > 0 ? 1 + 0.03e-6 * more : 1;
}

static double predict(const Search *s, const Kernel *k, double group_cycles) {
    WinoPlan w = wino_plan(s->g, s->p, k, s->t, s->backward, s->o_tile);
    WinoMatrices x = wino_matrices(w.m, w.r, false);
    Work work = count_work(s, &w);
    double lines = w.products, width = s->t->vector;
    double threads = s->t->speed.threads > 1 ? s->t->speed.threads : 1;
    double passes = (double)ceil_div(w.blocks, w.pass), l2 = (double)s->t->l2;
    double v = 4 * lines * (double)w.v, u = 4 * lines * (double)w.u, m = 4 * lines * (double)w.m_;
    bool near = v + u + m <= 1.1 * l2;
    double line = near ? near_line : far_line, load = near ? near_load : far_load;
    double input = op_cost * wino_ops2(&x.bt) + line * lines;
    double weight = op_cost * wino_ops2(&x.g) + (u <= 0.7 * l2 ? near_line : far_line) * lines;
    double output = op_cost * wino_ops2(&x.at) + load * lines + 3 * (double)(w.m * w.m);
    double sums = (2 + (passes > 1 ? 3 * passes : 0)) * lines;
    double ideal = 0.5 * (double)(w.tiles * (s->o_tile / s->t->vector));
    double taps =
        4 * (double)(w.r * w.r) * (double)(w.groups * w.blocks * w.o_tiles * w.o_tile) * width;
    double data = (double)(w.groups * w.blocks * s->p->src[0] * s->p->src[1]) * width +
                  (double)(w.groups * w.o_tiles * s->o_tile * w.extent[0] * w.extent[1]);
    double moved = work.calls * v; /* inputs pass once per tile of outputs */
    Cost c = {.flops = 2 * work.products * width,
              .efficiency = 0.97 * ideal / (group_cycles > ideal ? group_cycles : ideal),
              .vector_ops = work.inputs * input + work.weights * weight +
                            work.outputs * (output + sums) +
                            moved / (4 * width) * read_line(s->t, v),
              .l2_bytes = moved + work.calls * passes * u * (double)ceil_div(w.tiles, w.group),
              .l3_bytes = (near ? 0 : moved) + work.tasks / (double)w.parts * taps,
              .dram_bytes = taps + 4 * s->n * data,
              .tasks = work.tasks};
    return cost_seconds(s->t, &c) * uneven(threads, work.tasks) * roomy(s, 4 * w.floats);
}

/* Keeps the best `cap` in order of time. */
static void offer(Search *s, const Kernel *k) {
    int at = s->count;
    while (at > 0 && s->best[at - 1].seconds > k->seconds)
        --at;
    if (at >= s->cap)
        return;
    if (s->count < s->cap)
        ++s->count;
    for (int i = s->count - 1; i > at; --i)
        s->best[i] = s->best[i - 1];
    s->best[at] = *k;
}

static const char *algorithm_name(int m) {
    return m == 2 ? "winograd2" : m == 4 ? "winograd4" : "winograd6";
}

/* A block of `images` images with `rows` tile rows each, outputs in `parts`. */
static void try_block(Search *s, int m, int64_t images, int64_t rows, int64_t parts) {
    enum { SCRATCH_MOST = 24 << 20 };
    Kernel k = *s->direct;
    int width = s->t->vector, oc = (int)s->o_tile / width;
    k.winograd = m;
    k.algorithm = algorithm_name(m);
    k.oc_outer = false;
    k.tasks_block = images;
    int64_t blocks = ceil_div(s->backward ? s->p->o : s->p->i, width);
    int64_t n = m + s->p->kernel[0] - 1, block_bytes = 4 * n * n * width * s->o_tile;
    int64_t pass = max64(1, s->t->l2 / 2 / block_bytes);
    pass = ceil_div(blocks, ceil_div(blocks, pass));
    k.tile = (Tile){.ow = 1,
                    .oh = (int)parts,
                    .oc = oc,
                    .ic = (int)(pass * width),
                    .rows = (int)(images * rows),
                    .unroll = tile_unroll(s->t, width, width)};
    WinoPlan w = wino_plan(s->g, s->p, &k, s->t, s->backward, s->o_tile);
    if (w.parts != parts || 4 * w.floats > SCRATCH_MOST)
        return;
    double cycles = plan_group(s->t, oc, w.tiles, &k.tile.ow);
    w = wino_plan(s->g, s->p, &k, s->t, s->backward, s->o_tile);
    k.tasks_per = w.bands * w.groups * w.parts;
    k.scratch = 4 * w.floats;
    k.seconds = predict(s, &k, cycles);
    k.why = arena_printf(s->g->keep, "%dx%d outputs from %d products, %lld tiles at a time", m, m,
                         w.products, (long long)w.tiles);
    if (k.tail)
        k.why = arena_printf(s->g->keep, "%s; pools %d rows at a time", k.why, m);
    offer(s, &k);
}

static void search(Search *s, int m) {
    enum { TILES_MOST = 448 };
    Kernel k = *s->direct;
    k.winograd = m;
    k.tile = (Tile){.ow = 1, .oh = 1, .ic = s->t->vector, .rows = 1};
    k.tasks_block = 1;
    WinoPlan w = wino_plan(s->g, s->p, &k, s->t, s->backward, s->o_tile);
    for (int64_t parts = 1; parts <= w.o_tiles && parts <= 32; ++parts) {
        for (int64_t rows = 1; rows <= w.th && (rows == 1 || rows * w.tw <= TILES_MOST); ++rows)
            if (ceil_div(w.th, ceil_div(w.th, rows)) == rows)
                try_block(s, m, 1, rows, parts);
        for (int64_t images = 2; images <= (int64_t)s->n && images * w.th * w.tw <= TILES_MOST;
             ++images)
            if (ceil_div((int64_t)s->n, ceil_div((int64_t)s->n, images)) == images)
                try_block(s, m, images, w.th, parts);
    }
}

static const ConvAttrs *attrs_of(const Graph *g, const Kernel *k) {
    return graph_n(g, k->anchor)->attrs;
}

static bool possible(const Search *s) {
    const ConvProblem *p = s->p;
    const Node *node = graph_n(s->g, s->direct->anchor);
    const Layout *src = &graph_v(s->g, node->in[0])->layout;
    int width = s->t->vector, most = width > 16 ? width : 16;
    for (int d = 0; d < 2; ++d)
        if (p->stride[d] != 1 || p->dilation[d] != 1)
            return false;
    return (node->op == OP_CONV2D || node->op == OP_CONV2D_BWD_DATA) &&
           p->kernel[0] == p->kernel[1] && (p->kernel[0] == 3 || p->kernel[0] == 5) &&
           p->i >= most && p->o >= most && src->kind == LAYOUT_BLOCKED && src->block == width &&
           !(s->g->options && s->g->options->exact);
}

/* A fused pool takes the rows of one tile row: its windows lie inside these. */
static bool pools_whole_tiles(const Search *s, int m) {
    if (!s->direct->tail)
        return true;
    const Node *pool = graph_n(s->g, s->direct->tail);
    const PoolAttrs *a = pool->attrs;
    const Shape *src = &graph_v(s->g, pool->in[0])->shape,
                *dst = &graph_v(s->g, pool->out[0])->shape;
    for (int d = 0; d < 2; ++d)
        if (a->pad[2 * d] || a->stride[d] < a->kernel[d] ||
            (dst->dim[1 + d] - 1) * a->stride[d] + a->kernel[d] > src->dim[1 + d])
            return false;
    return m % a->stride[0] == 0;
}

int winograd_candidates(const Graph *g, const ConvProblem *p, const Kernel *direct, const Target *t,
                        Kernel *candidate, int cap) {
    enum { PER_SIZE = 3 };
    Search s = {.g = g, .p = p, .direct = direct, .t = t, .n = (double)plan_batch(g)};
    const Node *node = graph_n(g, direct->anchor);
    if (!possible(&s))
        return 0;
    int wish = attrs_of(g, direct)->algorithm, n = 0;
    s.backward = node->op == OP_CONV2D_BWD_DATA;
    s.o_tile = direct->tile.oc * t->vector;
    for (int m = 2; m <= (p->kernel[0] == 5 ? 2 : wish == CONV_WINOGRAD6 ? 6 : 4); m += 2) {
        if (wish == CONV_DIRECT || !pools_whole_tiles(&s, m))
            continue;
        s.best = candidate + n;
        s.count = 0;
        s.cap = cap - n < PER_SIZE ? cap - n : PER_SIZE;
        if (s.cap > 0)
            search(&s, m);
        n += s.count;
    }
    return n;
}
