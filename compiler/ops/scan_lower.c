/* scan_lower.c: what the walks of lstm and gru through time share (scan.h).
 *
 * A task is a block of images and walks all steps.  At a step the images are the pixels of the
 * register tile (tile.c): a tile of weights is read once for all of them.  Products go to scratch
 * as flat vectors, so that the parts of the gates may begin in the middle of a vector.  Images that
 * fill no block walk one after the other.
 *
 * requires: weights in the layout of a 1x1 convolution, backward transposed.  ensures: one chain of
 * additions per sum, whatever the block.
 */
#include "ops/scan.h"

enum { BLOCK_USUAL = 4 /* plans for one image meet more */ };

/* ---- plan ---- */

/* Rows of the recurrent weights, in units. */
static int64_t gates_of(const Node *n) {
    return n->op == OP_GRU_SCAN || n->op == OP_GRU_SCAN_BWD ? 3 : 4;
}

static bool goes_back(const Node *n) {
    return n->op == OP_LSTM_SCAN_BWD || n->op == OP_GRU_SCAN_BWD;
}

static ConvProblem problem_of(const Graph *g, const Node *n) {
    const RecurAttrs *a = n->attrs;
    int64_t steps = graph_v(g, n->in[0])->shape.dim[2];
    return (ConvProblem){.groups = 1,
                         .i = a->units,
                         .o = gates_of(n) * a->units,
                         .src = {1, steps},
                         .dst = {1, steps},
                         .kernel = {1, 1},
                         .stride = {1, 1},
                         .dilation = {1, 1},
                         .bias = true};
}

bool weights_scan(const Graph *g, NodeId id, int input, const Target *t, Layout *out) {
    const Node *n = graph_n(g, id);
    ConvProblem p = problem_of(g, n);
    bool back = goes_back(n);
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
    const Value *w = graph_v(g, n->in[goes_back(n) ? 3 : 1]);
    return w->kind == VK_PARAM ? g->params->at[w->slot].layout.o_tile : w->layout.o_tile;
}

/* Floats per image in scratch, both directions: sums, gates, states; of the last two kinds two. */
static void scratch_parts(const Graph *g, const Node *n, int vector, int64_t part[3]) {
    const RecurAttrs *a = n->attrs;
    int64_t tile = tile_of(g, n), rows = goes_back(n) ? 1 : gates_of(n);
    part[0] = round_up(rows * a->units, tile) + vector; /* vectors may begin anywhere */
    part[1] = round_up(SCAN_KEPT * a->units, vector) + vector;
    part[2] = round_up(a->units, vector);
}

void choose_scan(const Graph *g, Kernel *k, const Target *t) {
    const Node *n = graph_n(g, k->anchor);
    int64_t part[3], batch = plan_batch(g), threads = max64(1, t->speed.threads);
    int oc = (int)(tile_of(g, n) / t->vector), most = tile_images(t, oc);
    int64_t share = batch > 1 ? max64(1, batch / threads) : BLOCK_USUAL;
    int images = (int)min64(most < SCAN_BLOCK ? most : SCAN_BLOCK, share);
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

void scan_open(Scan *s, KernelCtx *k, ValueId weights, ValueId sequence) {
    const RecurAttrs *a = k->attrs;
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

static int64_t place(const Scan *s, int what) {
    const int64_t at[] = {0, s->sums, s->sums + s->flat, s->sums + 2 * s->flat,
                          s->sums + 2 * s->flat + s->state};
    return at[what];
}

Val scan_at(const Scan *s, Val image, int what) {
    Emit *e = s->e;
    Val index = em_mul(e, image, em_i64(e, s->span));
    return em_ptr(e, s->k->a.scratch, em_add(e, index, em_i64(e, place(s, what))));
}

Val scan_image(const Scan *s, Val p) {
    Emit *e = s->e;
    return em_add(e, s->first, p);
}

static void walk_some(Scan *s, Val first, int images, ScanWalk walk, void *user) {
    s->first = first;
    s->images = s->tile.pixels = images;
    em_zero(s->e, s->k->a.scratch, em_i64(s->e, images * s->span));
    walk(user);
}

void scan_walk(Scan *s, ScanWalk walk, void *user) {
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

void scan_products(Scan *s, int what, ScanStart start, void *user) {
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
    tile_sum(e, &s->tile, &nest, scan_at(s, em_i64(e, 0), what), w);
    Val to =
        em_ptr(e, scan_at(s, em_i64(e, 0), SCAN_AT_SUMS), em_mul(e, t.i, em_i64(e, oc * s->width)));
    for (int p = 0; p < s->images; p++)
        for (int j = 0; j < oc; j++)
            em_store(e, to, s->offset[p] + j * s->width, s->tile.acc[p * oc + j], true);
    em_for_end(e, &t, NULL, 0);
}

Val scan_cell(const Scan *s, const View *v, Val n, Val cb, Val x) {
    return view_at(s->k, v, n, cb, em_i64(s->e, 0), x);
}

void scan_move(const Scan *s, const View *v, Val n, Val x, Val flat, bool store) {
    Emit *e = s->e;
    Loop cb = em_for(e, em_i64(e, 0), em_i64(e, v->cblocks), 1, "gates", NULL, 0);
    Val here = em_ptr(e, flat, em_mul(e, cb.i, em_i64(e, s->width))), there;
    there = scan_cell(s, v, n, cb.i, x);
    if (store)
        em_store(e, there, 0, em_load(e, here, 0, true), true);
    else
        em_store(e, here, 0, em_load(e, there, 0, true), true);
    em_for_end(e, &cb, NULL, 0);
}

Val scan_real(const Scan *s, Val unit, Val x) {
    Emit *e = s->e;
    if (s->units % s->width == 0)
        return x;
    Val number = em_add(e, em_splat_i32(e, unit), em_lane_index(e));
    Val real = em_icmp(e, EM_LT, number, em_splat_i32(e, em_i64(e, s->units)));
    return em_select(e, real, x, em_vec(e, 0));
}

Val scan_gate(const Scan *s, Val flat, int q, Val unit) {
    return em_ptr(s->e, flat, em_add(s->e, unit, em_i64(s->e, q * s->units)));
}

void scan_put(const Scan *s, Val flat, int q, Val unit, Val x) {
    Emit *e = s->e;
    if (s->units % s->width == 0)
        em_store(e, scan_gate(s, flat, q, unit), 0, x, false);
    else
        em_store_masked(e, scan_gate(s, flat, q, unit), 0, x,
                        em_imin(e, em_i64(e, s->width), em_sub(e, em_i64(e, s->units), unit)));
}

Val scan_step(const Scan *s, Val t, bool from_end) {
    return from_end ? em_sub(s->e, em_i64(s->e, s->steps - 1), t) : t;
}

void scan_halos(const Scan *s, const View *v) {
    Emit *e = s->e;
    for (int p = 0; p < s->images; p++)
        halo_row(s->k, v, scan_image(s, em_i64(e, p)), em_i64(e, 0), v->cblocks, em_i64(e, 0));
}

/* ---- forward ---- */

Val scan_within(const ScanForward *f, Val vector) {
    return em_imin(f->s.e, vector, em_i64(f->s.e, f->src.cblocks - 1));
}

Val scan_bias(const ScanForward *f, Val cb) {
    Emit *e = f->s.e;
    return em_load(e, em_ptr(e, f->bias, em_mul(e, cb, em_i64(e, f->s.width))), 0, true);
}

void scan_write(const ScanForward *f, int k, Val n, Val unit, Val x) {
    Emit *e = f->s.e;
    Val cb, lane;
    if (!f->wanted[k])
        return;
    split_index(e, unit, f->s.width, &cb, &lane);
    em_store(e, scan_cell(&f->s, &f->out[k], n, cb, f->x), 0, x, true);
}

static void walk_forward(void *user) {
    ScanForward *f = user;
    const RecurAttrs *a = f->s.k->attrs;
    Emit *e = f->s.e;
    for (int i = 0; i < f->outs; i++)
        if (f->wanted[i])
            scan_halos(&f->s, &f->out[i]);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, f->s.steps), 1, "step", NULL, 0);
    f->x = scan_step(&f->s, t.i, a->reverse);
    scan_products(&f->s, SCAN_AT_H, f->start, f);
    Loop p = em_for(e, em_i64(e, 0), em_i64(e, f->s.images), 1, "image", NULL, 0);
    f->curves(f, p.i);
    em_for_end(e, &p, NULL, 0);
    em_for_end(e, &t, NULL, 0);
}

void scan_forward(KernelCtx *k, ScanForward f) {
    f.src = view_of(k, k->node->in[0]);
    f.bias = bias_at(k, k->node->in[2]);
    scan_open(&f.s, k, k->node->in[1], k->node->in[0]);
    for (int i = 0; i < f.outs; i++) {
        f.wanted[i] = k->node->out[i] && graph_v(k->g, k->node->out[i])->stored;
        if (f.wanted[i])
            f.out[i] = view_of(k, k->node->out[i]);
    }
    scan_walk(&f.s, walk_forward, &f);
}
