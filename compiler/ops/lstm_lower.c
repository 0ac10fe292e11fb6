/* lstm_lower.c: the walk of lstm through time, forward and backward.
 *
 * A task is a block of images and walks all steps.  At a step the images are the pixels of the
 * register tile (tile.c): a tile of weights is read once for all of them.  Products go to scratch
 * as flat vectors, so that the parts of the four gates may begin in the middle of a vector.
 * Images that fill no block walk one after the other.
 *
 * requires: weights in the layout of a 1x1 convolution, backward transposed.  ensures: one chain of
 * additions per sum, whatever the block; padding lanes and halos of what is stored are zero.
 */
#include "ops/conv.h"

enum { BLOCK_MAX = 8, BLOCK_USUAL = 4 /* plans for one image meet more */, SPAN = 4 /* gates */ };

typedef struct Scan {
    KernelCtx *k;
    Emit *e;
    WeightView w;
    RegTile tile;
    int64_t offset[BLOCK_MAX];
    int64_t units, steps;
    int64_t sums, flat, state; /* floats per image in scratch: of products, gates, h (or c) */
    int64_t span;              /* of all an image has there */
    int width, images;         /* that walk together */
    Val first;                 /* of them */
} Scan;

/* ---- plan ---- */

static ConvProblem problem_of(const Graph *g, const Node *n) {
    const LstmAttrs *a = n->attrs;
    int64_t steps = graph_v(g, n->in[0])->shape.dim[2];
    return (ConvProblem){.groups = 1,
                         .i = a->units,
                         .o = SPAN * a->units,
                         .src = {1, steps},
                         .dst = {1, steps},
                         .kernel = {1, 1},
                         .stride = {1, 1},
                         .dilation = {1, 1},
                         .bias = true};
}

bool weights_lstm_scan(const Graph *g, NodeId id, int input, const Target *t, Layout *out) {
    const Node *n = graph_n(g, id);
    ConvProblem p = problem_of(g, n);
    bool back = n->op == OP_LSTM_SCAN_BWD;
    if (input != (back ? 3 : 1))
        return false;
    if (!back) {
        conv_problem_layout(&p, t, out); /* as conv_bwd_weights wants the gradient */
        return true;
    }
    *out = (Layout){.kind = LAYOUT_WEIGHTS,
                    .transposed = true,
                    .o_tile = conv_vectors_by_images(t, p.i) * t->vector,
                    .i_block = (int)min64(p.o, t->vector),
                    .groups = 1};
    return true;
}

static int64_t round_up(int64_t n, int64_t unit) {
    return ceil_div(n, unit) * unit;
}

static int64_t tile_of(const Graph *g, const Node *n) {
    const Value *w = graph_v(g, n->in[n->op == OP_LSTM_SCAN_BWD ? 3 : 1]);
    return w->kind == VK_PARAM ? g->params->at[w->slot].layout.o_tile : w->layout.o_tile;
}

/* Floats per image in scratch; both directions: sums, gates, two states. */
static void scratch_parts(const Graph *g, const Node *n, int vector, int64_t part[3]) {
    const LstmAttrs *a = n->attrs;
    int64_t gates = SPAN * a->units, tile = tile_of(g, n);
    bool back = n->op == OP_LSTM_SCAN_BWD;
    part[0] = round_up(back ? a->units : gates, tile) + vector; /* vectors may begin anywhere */
    part[1] = round_up(gates, vector) + vector;
    part[2] = round_up(a->units, vector);
}

void choose_lstm_scan(const Graph *g, Kernel *k, const Target *t) {
    const Node *n = graph_n(g, k->anchor);
    int64_t part[3], batch = plan_batch(g), threads = max64(1, t->speed.threads);
    int oc = (int)(tile_of(g, n) / t->vector), most = tile_images(t, oc);
    int64_t share = batch > 1 ? max64(1, batch / threads) : BLOCK_USUAL;
    int images = (int)min64(most < BLOCK_MAX ? most : BLOCK_MAX, share);
    scratch_parts(g, n, t->vector, part);
    k->algorithm = "walk";
    k->why = "a block of images walks through all steps, its state in scratch";
    k->tile.oc = oc;
    k->tile.ow = images;
    k->tasks_per = 1;
    k->tasks_block = images;
    k->scratch = 4 * images * (part[0] + 2 * part[1] + 2 * part[2]);
}

/* ---- what a step needs ---- */

static void scan_open(Scan *s, KernelCtx *k, ValueId weights, ValueId sequence) {
    const LstmAttrs *a = k->attrs;
    int64_t part[3];
    *s = (Scan){.k = k, .e = k->e, .w = weights_of(k, weights), .units = a->units};
    s->steps = graph_v(k->g, sequence)->shape.dim[2];
    s->width = em_width(k->e);
    scratch_parts(k->g, k->node, s->width, part);
    s->sums = part[0];
    s->flat = part[1];
    s->state = part[2];
    s->span = part[0] + 2 * part[1] + 2 * part[2];
    for (int p = 0; p < k->k->tile.ow; p++)
        s->offset[p] = p * s->span;
    s->tile = (RegTile){.oc = k->k->tile.oc, .offset = s->offset};
}

/* The places in an image's scratch. */
enum { AT_SUMS, AT_GATES, AT_GIVEN, AT_H, AT_C };
static int64_t place(const Scan *s, int what) {
    const int64_t at[] = {0, s->sums, s->sums + s->flat, s->sums + 2 * s->flat,
                          s->sums + 2 * s->flat + s->state};
    return at[what];
}

static Val scratch_at(const Scan *s, Val image, int what) {
    Emit *e = s->e;
    Val index = em_mul(e, image, em_i64(e, s->span));
    return em_ptr(e, s->k->a.scratch, em_add(e, index, em_i64(e, place(s, what))));
}

static Val image_of(const Scan *s, Val p) {
    Emit *e = s->e;
    return em_add(e, s->first, p);
}

/* walk(user) for all images of all tasks, block by block; s belongs to user. */
typedef void (*WalkFn)(void *user);
static void walk_some(Scan *s, Val first, int images, WalkFn walk, void *user) {
    s->first = first;
    s->images = s->tile.pixels = images;
    em_zero(s->e, s->k->a.scratch, em_i64(s->e, images * s->span));
    walk(user);
}

static void walk_all(Scan *s, WalkFn walk, void *user) {
    Emit *e = s->e;
    int block = s->k->k->tile.ow;
    Val n = s->k->n;
    Loop task = task_loop(s->k);
    Val first = em_mul(e, task.i, em_i64(e, block)), end = em_add(e, first, em_i64(e, block));
    if (block == 1) {
        walk_some(s, first, 1, walk, user);
    } else {
        If whole = em_if(e, em_icmp(e, EM_LE, end, n));
        walk_some(s, first, block, walk, user);
        em_else(e, &whole);
        Loop one = em_for(e, first, n, 1, "one", NULL, 0);
        walk_some(s, one.i, 1, walk, user);
        em_for_end(e, &one, NULL, 0);
        em_endif(e, &whole);
    }
    task_end(s->k, &task);
}

/* sums = start + weights * vector of every image; start(user, image, first vector, j) */
typedef Val (*StartFn)(Scan *s, void *user, int image, Val vector);
static void products(Scan *s, int what, StartFn start, void *user) {
    Emit *e = s->e;
    int64_t rows = s->w.i_blocks * s->w.layout.i_block;
    int oc = s->tile.oc;
    Nest nest = {.channels = rows, .src = 1, .wgt = s->w.row};
    nest.unroll = rows % 4 == 0 && s->k->t->broadcast_load ? 4 : rows % 2 == 0 ? 2 : 1;
    nest.from = em_i64(e, 0);
    nest.to = em_i64(e, rows);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, s->w.o_tiles), 1, "tile", NULL, 0);
    for (int p = 0; p < s->images; p++)
        for (int j = 0; j < oc; j++) {
            Val vector = em_add(e, em_mul(e, t.i, em_i64(e, oc)), em_i64(e, j));
            s->tile.acc[p * oc + j] = start ? start(s, user, p, vector) : em_vec(e, 0);
        }
    Val w = em_ptr(e, s->w.base, em_mul(e, t.i, em_i64(e, s->w.tile)));
    tile_sum(e, &s->tile, &nest, scratch_at(s, em_i64(e, 0), what), w);
    Val to =
        em_ptr(e, scratch_at(s, em_i64(e, 0), AT_SUMS), em_mul(e, t.i, em_i64(e, oc * s->width)));
    for (int p = 0; p < s->images; p++)
        for (int j = 0; j < oc; j++)
            em_store(e, to, s->offset[p] + j * s->width, s->tile.acc[p * oc + j], true);
    em_for_end(e, &t, NULL, 0);
}

/* Vector cb of a sequence at step x. */
static Val at_step(const Scan *s, const View *v, Val n, Val cb, Val x) {
    return view_at(s->k, v, n, cb, em_i64(s->e, 0), x);
}

/* All gates of image n at step x between a sequence and flat scratch. */
static void move_gates(const Scan *s, const View *v, Val n, Val x, Val flat, bool store) {
    Emit *e = s->e;
    Loop cb = em_for(e, em_i64(e, 0), em_i64(e, v->cblocks), 1, "gates", NULL, 0);
    Val here = em_ptr(e, flat, em_mul(e, cb.i, em_i64(e, s->width))), there;
    there = at_step(s, v, n, cb.i, x);
    if (store)
        em_store(e, there, 0, em_load(e, here, 0, true), true);
    else
        em_store(e, here, 0, em_load(e, there, 0, true), true);
    em_for_end(e, &cb, NULL, 0);
}

/* Units beyond the last are zero. */
static Val real_units(const Scan *s, Val unit, Val x) {
    Emit *e = s->e;
    if (s->units % s->width == 0)
        return x;
    Val number = em_add(e, em_splat_i32(e, unit), em_lane_index(e));
    Val real = em_icmp(e, EM_LT, number, em_splat_i32(e, em_i64(e, s->units)));
    return em_select(e, real, x, em_vec(e, 0));
}

/* The vector of gate q that begins at a unit, in flat scratch: it may begin anywhere, and must not
 * reach into the next gate. */
static Val gate_at(const Scan *s, Val flat, int q, Val unit) {
    return em_ptr(s->e, flat, em_add(s->e, unit, em_i64(s->e, q * s->units)));
}

static void put_gate(const Scan *s, Val flat, int q, Val unit, Val x) {
    Emit *e = s->e;
    if (s->units % s->width == 0)
        em_store(e, gate_at(s, flat, q, unit), 0, x, false);
    else
        em_store_masked(e, gate_at(s, flat, q, unit), 0, x,
                        em_imin(e, em_i64(e, s->width), em_sub(e, em_i64(e, s->units), unit)));
}

static Val step_at(const Scan *s, Val t, bool from_end) {
    return from_end ? em_sub(s->e, em_i64(s->e, s->steps - 1), t) : t;
}

static void clear_halos(const Scan *s, const View *v) {
    Emit *e = s->e;
    for (int p = 0; p < s->images; p++)
        halo_row(s->k, v, image_of(s, em_i64(e, p)), em_i64(e, 0), v->cblocks, em_i64(e, 0));
}

/* ---- forward ---- */

typedef struct Forward {
    Scan s;
    View src, out[4]; /* h, gates, c, h of the step before */
    bool wanted[4];
    Val bias, x;
} Forward;

static Val start_gates(Scan *s, void *user, int image, Val vector) {
    Forward *f = user;
    Emit *e = s->e;
    Val cb = em_imin(e, vector, em_i64(e, f->src.cblocks - 1)); /* a tile may reach beyond */
    Val n = image_of(s, em_i64(e, image));
    Val src = em_load(e, at_step(s, &f->src, n, cb, f->x), 0, true);
    Val at = em_ptr(e, f->bias, em_mul(e, cb, em_i64(e, s->width)));
    return em_fadd(e, src, em_load(e, at, 0, true));
}

static void put(const Forward *f, int k, Val n, Val unit, Val x) {
    Emit *e = f->s.e;
    Val cb, lane;
    if (!f->wanted[k])
        return;
    split_index(e, unit, f->s.width, &cb, &lane);
    em_store(e, at_step(&f->s, &f->out[k], n, cb, f->x), 0, x, true);
}

static void curves(Forward *f, Val p) {
    Scan *s = &f->s;
    Emit *e = s->e;
    Val n = image_of(s, p), sums = scratch_at(s, p, AT_SUMS), flat = scratch_at(s, p, AT_GATES);
    Val h = scratch_at(s, p, AT_H), c = scratch_at(s, p, AT_C), gate[SPAN];
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    for (int q = 0; q < SPAN; q++) {
        Val x = em_load(e, gate_at(s, sums, q, u.i), 0, false);
        gate[q] = q == 2 ? em_tanh(e, x) : em_sigmoid(e, x);
        if (f->wanted[1])
            put_gate(s, flat, q, u.i, gate[q]);
    }
    Val h_at = em_ptr(e, h, u.i), c_at = em_ptr(e, c, u.i);
    put(f, 3, n, u.i, em_load(e, h_at, 0, true));
    Val now = em_fmul(e, gate[0], gate[2]);
    now = real_units(s, u.i, em_fma(e, gate[1], em_load(e, c_at, 0, true), now));
    Val out = real_units(s, u.i, em_fmul(e, gate[3], em_tanh(e, now)));
    em_store(e, c_at, 0, now, true);
    em_store(e, h_at, 0, out, true);
    put(f, 0, n, u.i, out);
    put(f, 2, n, u.i, now);
    em_for_end(e, &u, NULL, 0);
    if (f->wanted[1])
        move_gates(s, &f->out[1], n, f->x, flat, true);
}

static void walk_forward(void *user) {
    Forward *f = user;
    const LstmAttrs *a = f->s.k->attrs;
    Emit *e = f->s.e;
    for (int i = 0; i < 4; i++)
        if (f->wanted[i])
            clear_halos(&f->s, &f->out[i]);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, f->s.steps), 1, "step", NULL, 0);
    f->x = step_at(&f->s, t.i, a->reverse);
    products(&f->s, AT_H, start_gates, f);
    Loop p = em_for(e, em_i64(e, 0), em_i64(e, f->s.images), 1, "image", NULL, 0);
    curves(f, p.i);
    em_for_end(e, &p, NULL, 0);
    em_for_end(e, &t, NULL, 0);
}

void lower_lstm_scan(KernelCtx *k) {
    Forward f = {.src = view_of(k, k->node->in[0]), .bias = bias_at(k, k->node->in[2])};
    scan_open(&f.s, k, k->node->in[1], k->node->in[0]);
    for (int i = 0; i < 4; i++) {
        f.wanted[i] = k->node->out[i] && graph_v(k->g, k->node->out[i])->stored;
        if (f.wanted[i])
            f.out[i] = view_of(k, k->node->out[i]);
    }
    walk_all(&f.s, walk_forward, &f);
}

/* ---- backward ---- */

typedef struct Backward {
    Scan s;
    View dy, gates, c, dx;
    Val x, before, is_first; /* step, the one before it, there is none */
} Backward;

/* f' of sigmoid and tanh from f */
static Val slope(Emit *e, int q, Val y) {
    Val one = em_vec(e, 1);
    return q == 2 ? em_fsub(e, one, em_fmul(e, y, y)) : em_fmul(e, y, em_fsub(e, one, y));
}

static void curves_back(Backward *b, Val p) {
    Scan *s = &b->s;
    Emit *e = s->e;
    Val n = image_of(s, p), sums = scratch_at(s, p, AT_SUMS), given = scratch_at(s, p, AT_GIVEN);
    Val flat = scratch_at(s, p, AT_GATES), dc_at = scratch_at(s, p, AT_C), gate[SPAN], d[SPAN];
    move_gates(s, &b->gates, n, b->x, given, false);
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    Val cb, lane;
    split_index(e, u.i, s->width, &cb, &lane);
    for (int q = 0; q < SPAN; q++)
        gate[q] = em_load(e, gate_at(s, given, q, u.i), 0, false);
    Val dh = em_load(e, em_ptr(e, sums, u.i), 0, true);
    dh = em_fadd(e, dh, em_load(e, at_step(s, &b->dy, n, cb, b->x), 0, true));
    Val curve = em_tanh(e, em_load(e, at_step(s, &b->c, n, cb, b->x), 0, true));
    Val old = em_load(e, at_step(s, &b->c, n, cb, b->before), 0, true);
    old = em_select(e, b->is_first, em_vec(e, 0), old);
    Val dc = em_fmul(e, em_fmul(e, dh, gate[3]), slope(e, 2, curve));
    dc_at = em_ptr(e, dc_at, u.i);
    dc = em_fadd(e, em_load(e, dc_at, 0, true), dc);
    d[0] = em_fmul(e, dc, gate[2]);
    d[1] = em_fmul(e, dc, old);
    d[2] = em_fmul(e, dc, gate[0]);
    d[3] = em_fmul(e, dh, curve);
    em_store(e, dc_at, 0, real_units(s, u.i, em_fmul(e, dc, gate[1])), true);
    for (int q = 0; q < SPAN; q++)
        put_gate(s, flat, q, u.i, em_fmul(e, d[q], slope(e, q, gate[q])));
    em_for_end(e, &u, NULL, 0);
    move_gates(s, &b->dx, n, b->x, flat, true);
}

static void walk_backward(void *user) {
    Backward *b = user;
    const LstmAttrs *a = b->s.k->attrs;
    Emit *e = b->s.e;
    clear_halos(&b->s, &b->dx);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, b->s.steps), 1, "step", NULL, 0);
    Val last = em_i64(e, b->s.steps - 1), before = em_add(e, t.i, em_i64(e, 1));
    b->is_first = em_icmp(e, EM_EQ, t.i, last);
    b->x = step_at(&b->s, t.i, !a->reverse);
    b->before = step_at(&b->s, em_imin(e, before, last), !a->reverse);
    Loop p = em_for(e, em_i64(e, 0), em_i64(e, b->s.images), 1, "image", NULL, 0);
    curves_back(b, p.i);
    em_for_end(e, &p, NULL, 0);
    products(&b->s, AT_GATES, NULL, NULL);
    em_for_end(e, &t, NULL, 0);
}

void lower_lstm_scan_bwd(KernelCtx *k) {
    const Node *node = k->node;
    Backward b = {.dy = view_of(k, node->in[0]),
                  .gates = view_of(k, node->in[1]),
                  .c = view_of(k, node->in[2]),
                  .dx = view_of(k, node->out[0])};
    scan_open(&b.s, k, node->in[3], node->in[0]);
    walk_all(&b.s, walk_backward, &b);
}
