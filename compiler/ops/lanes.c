/* lanes.c: block kernels: the loop over blocks, the way in and out, chains, elementwise steps.
 *
 * A task of inference is a block of images.  A task of training is a run of blocks that adds up its
 * gradients in one slot, the same run whatever the number of threads.  The last block repeats its
 * last image in the empty lanes; what comes of them is neither stored nor counted: losses seed
 * their gradients with zero.
 * requires: see lanes.h.  ensures: kept values are stored for real images only, padding zero.
 */
#include "ops/lanes.h"

/* ---- tensors ---- */

bool lanes_stored(const LanesCtx *l, ValueId v) {
    return v && l->plan->place[v].offset >= 0;
}

LanesTensor lanes_tensor(LanesCtx *l, ValueId v) {
    const Value *x = graph_v(l->g, v);
    const LanesPlace *p = &l->plan->place[v];
    BUG_IF(p->offset < 0, "value '%s' is not stored in its block", x->name ? x->name : "?");
    LanesTensor t = {.dtype = x->dtype, .halo = p->halo, .pixel = l->t->vector};
    shape_chw(&x->shape, &t.c, &t.h, &t.w);
    t.row = (t.w + p->halo[2] + p->halo[3]) * t.pixel;
    t.plane = (t.h + p->halo[0] + p->halo[1]) * t.row;
    int64_t inside = p->halo[0] * t.row + p->halo[2] * t.pixel;
    int64_t bytes = p->offset + inside * (x->dtype == DT_U8 ? 1 : 4);
    t.base = em_ptr_bytes(l->e, l->k->a.scratch, em_i64(l->e, bytes));
    return t;
}

Val lanes_at(LanesCtx *l, const LanesTensor *t, Val c, Val y, Val x) {
    Emit *e = l->e;
    Val i = em_mul(e, c, em_i64(e, t->plane));
    i = em_add(e, i, em_mul(e, y, em_i64(e, t->row)));
    i = em_add(e, i, em_mul(e, x, em_i64(e, t->pixel)));
    return t->dtype == DT_U8 ? em_ptr_bytes(e, t->base, i) : em_ptr(e, t->base, i);
}

/* n vectors of zeros at ptr (u8: n times as many bytes as there are lanes). */
static void clear_vectors(LanesCtx *l, const LanesTensor *t, Val ptr, int64_t n) {
    Emit *e = l->e;
    Loop i;
    if (n == 0)
        return;
    Val at = loop_begin(e, &i, 0, n * t->pixel, t->pixel, "halo");
    if (t->dtype == DT_U8)
        em_store_u8(e, em_ptr_bytes(e, ptr, at), 0, em_splat_i32(e, em_i64(e, 0)));
    else
        em_store(e, em_ptr(e, ptr, at), 0, em_vec(e, 0), true);
    loop_end(e, &i);
}

static void clear_halo(LanesCtx *l, ValueId v) {
    Emit *e = l->e;
    LanesTensor t = lanes_tensor(l, v);
    int64_t row = t.row / t.pixel;
    Loop lc, ly;
    Val c = loop_begin(e, &lc, 0, t.c, 1, "halo.c"), left = em_i64(e, -t.halo[2]);
    clear_vectors(l, &t, lanes_at(l, &t, c, em_i64(e, -t.halo[0]), left), t.halo[0] * row);
    clear_vectors(l, &t, lanes_at(l, &t, c, em_i64(e, t.h), left), t.halo[1] * row);
    if (t.halo[2] || t.halo[3]) {
        Val y = loop_begin(e, &ly, 0, t.h, 1, "halo.y");
        clear_vectors(l, &t, lanes_at(l, &t, c, y, left), t.halo[2]);
        clear_vectors(l, &t, lanes_at(l, &t, c, y, em_i64(e, t.w)), t.halo[3]);
        loop_end(e, &ly);
    }
    loop_end(e, &lc);
}

/* Halos of what the step writes: scratch memory held something else before. */
static void clear_halos(LanesCtx *l) {
    NodeId node[KERNEL_MAX_NODES];
    int count = kernel_nodes(l->step, node);
    for (int i = 0; i < count; i++) {
        const Node *n = graph_n(l->g, node[i]);
        for (int j = 0; j < n->nout; j++) {
            const LanesPlace *p = &l->plan->place[n->out[j]];
            bool halo = p->halo[0] || p->halo[1] || p->halo[2] || p->halo[3];
            if (n->out[j] && p->offset >= 0 && halo)
                clear_halo(l, n->out[j]);
        }
    }
}

Val lanes_span(LanesCtx *l, Loop *loop, int64_t extent, int64_t step, const char *name) {
    Emit *e = l->e;
    BUG_IF(step > extent, "tile of %lld in %lld", (long long)step, (long long)extent);
    Val i = loop_begin(e, loop, 0, extent, step, name);
    return extent % step ? em_imin(e, i, em_i64(e, extent - step)) : i;
}

void lanes_span_end(LanesCtx *l, Loop *loop) {
    loop_end(l->e, loop);
}

static void exact_tiles(LanesCtx *l, Val block, int64_t n, int count, LanesTileFn fn, void *user) {
    Loop loop;
    int64_t whole = n / count * count;
    if (whole) {
        Val i = loop_begin(l->e, &loop, 0, whole, count, "tile");
        fn(l, user, block, i, count);
        loop_end(l->e, &loop);
    }
    if (n > whole)
        fn(l, user, block, em_i64(l->e, whole), (int)(n - whole));
}

static void overlapping_tiles(LanesCtx *l, Val block, Val n, bool overlap, int count,
                              LanesTileFn fn, void *user) {
    Emit *e = l->e;
    int64_t extent;
    if (em_const_i64(n, &extent)) {
        Loop loop;
        Val i = lanes_span(l, &loop, extent, count, "tile");
        fn(l, user, block, i, count);
        lanes_span_end(l, &loop);
        return;
    }
    Loop loop = em_for(e, em_i64(e, 0), n, count, "tile", NULL, 0);
    Val last = em_sub(e, n, em_i64(e, count));
    fn(l, user, block, overlap ? em_imin(e, loop.i, last) : loop.i, count);
    em_for_end(e, &loop, NULL, 0);
}

void lanes_tiles(LanesCtx *l, int64_t total, int64_t block, bool exact, LanesPick pick,
                 LanesTileFn fn, void *user) {
    Emit *e = l->e;
    int64_t full = total / block, rest = total % block;
    int count = full ? pick(user, block) : 0, last = rest ? pick(user, rest) : 0;
    Loop loop;
    /* One piece of code for both if the last block wastes little with the others' tiles. */
    bool merge = !exact && full && rest && count <= rest &&
                 ceil_div(rest, count) * count * 5 <= ceil_div(rest, last) * last * 6;
    if (full) {
        Val b = loop_begin(e, &loop, 0, full + merge, 1, "block");
        Val n = em_i64(e, block);
        if (merge)
            n = em_select(e, em_icmp(e, EM_EQ, b, em_i64(e, full)), em_i64(e, rest), n);
        if (exact)
            exact_tiles(l, b, block, count, fn, user);
        else
            overlapping_tiles(l, b, n, block % count || rest % count, count, fn, user);
        loop_end(e, &loop);
    }
    if (rest && !merge) {
        if (exact)
            exact_tiles(l, em_i64(e, full), rest, last, fn, user);
        else
            overlapping_tiles(l, em_i64(e, full), em_i64(e, rest), true, last, fn, user);
    }
}

/* ---- chains ---- */

static void epi_add(LanesCtx *l, LanesEpi *ep, ValueId v) {
    for (int i = 0; i < ep->n; i++)
        if (ep->at[i].value == v)
            return;
    BUG_IF(ep->n == EPI_MAX + 2, "%s: too many tensors in a chain", l->step->name);
    ep->at[ep->n].value = v;
    ep->at[ep->n++].t = lanes_tensor(l, v);
}

static struct LanesEpiTensor *epi_find(LanesEpi *ep, ValueId v) {
    for (int i = 0; i < ep->n; i++)
        if (ep->at[i].value == v)
            return &ep->at[i];
    BUG("tensor %u is not part of the chain", v);
}

void lanes_epi_open(LanesCtx *l, LanesEpi *ep) {
    ep->n = 0;
    ValueId running = l->node->out[0];
    if (lanes_stored(l, running))
        epi_add(l, ep, running);
    for (int i = 0; i < l->step->nchain; i++) {
        const Node *n = graph_n(l->g, l->step->chain[i]);
        for (int j = 0; j < n->nin; j++)
            if (n->in[j] != running)
                epi_add(l, ep, n->in[j]);
        running = n->out[0];
        if (lanes_stored(l, running))
            epi_add(l, ep, running);
    }
}

void lanes_epi_tile(LanesCtx *l, LanesEpi *ep, Val c, Val y, Val x) {
    ep->c = c, ep->y = y, ep->x = x;
    for (int i = 0; i < ep->n; i++)
        ep->at[i].at = lanes_at(l, &ep->at[i].t, c, y, x);
}

static int64_t delta(const LanesTensor *t, int64_t dc, int64_t dy, int64_t dx) {
    return dc * t->plane + dy * t->row + dx * t->pixel;
}

/* An elementwise operator at (c, y, x). */
static Val apply(LanesCtx *l, const Node *n, const Val *in, Val c, Val y, Val x) {
    Emit *e = l->e;
    ScalarCtx s = {.k = l->k, .e = e, .g = l->g, .node = n, .attrs = n->attrs};
    int64_t channels;
    for (int j = 0; j < n->nin; j++)
        s.in[j] = in[j];
    shape_chw(&graph_v(l->g, n->out[0])->shape, &channels, &s.height, &s.width);
    s.n = l->image, s.cb = c, s.y = y, s.x = x;
    if (op_is(n->op, OPF_S)) { /* random: numbered as in every other kernel */
        Val row = em_add(e, em_mul(e, c, em_i64(e, s.height)), y);
        s.element = em_splat_i32(e, em_add(e, em_mul(e, row, em_i64(e, s.width)), x));
        s.image = l->index;
    }
    return op_def[n->op]->scalar(&s);
}

Val lanes_epi_emit(LanesCtx *l, LanesEpi *ep, Val result, int64_t dc, int64_t dy, int64_t dx) {
    Emit *e = l->e;
    ValueId running = l->node->out[0];
    for (int i = -1; i < l->step->nchain; i++) {
        if (i >= 0) {
            const Node *n = graph_n(l->g, l->step->chain[i]);
            Val in[4];
            for (int j = 0; j < n->nin; j++) {
                struct LanesEpiTensor *o = n->in[j] == running ? NULL : epi_find(ep, n->in[j]);
                in[j] = o ? em_load(e, o->at, delta(&o->t, dc, dy, dx), true) : result;
            }
            result = apply(l, n, in, em_add(e, ep->c, em_i64(e, dc)),
                           em_add(e, ep->y, em_i64(e, dy)), em_add(e, ep->x, em_i64(e, dx)));
            running = n->out[0];
        }
        if (lanes_stored(l, running)) {
            struct LanesEpiTensor *o = epi_find(ep, running);
            em_store(e, o->at, delta(&o->t, dc, dy, dx), result, true);
        }
    }
    return result;
}

/* A step that begins with an elementwise operator. */
static void map_step(LanesCtx *l) {
    Emit *e = l->e;
    LanesEpi ep;
    LanesTensor src[4];
    Loop lc, ly, lx;
    int64_t c, h, w;
    lanes_epi_open(l, &ep);
    for (int j = 0; j < l->node->nin; j++)
        src[j] = lanes_tensor(l, l->node->in[j]);
    shape_chw(&graph_v(l->g, l->node->out[0])->shape, &c, &h, &w);
    Val ci = loop_begin(e, &lc, 0, c, 1, "c"), y = loop_begin(e, &ly, 0, h, 1, "y");
    Val x = loop_begin(e, &lx, 0, w, 1, "x"), in[4];
    for (int j = 0; j < l->node->nin; j++)
        in[j] = em_load(e, lanes_at(l, &src[j], ci, y, x), 0, true);
    lanes_epi_tile(l, &ep, ci, y, x);
    lanes_epi_emit(l, &ep, apply(l, l->node, in, ci, y, x), 0, 0, 0);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
}

/* ---- the way in ---- */

/* Image of lane i: the block's last one repeats. */
static Val image_of(LanesCtx *l, Val i) {
    Emit *e = l->e;
    Val last = em_sub(e, l->count, em_i64(e, 1));
    return em_add(e, l->image, em_imin(e, i, last));
}

/* `columns` neighbours of all images at float `at` of each, as one vector per column. */
static void load_columns(LanesCtx *l, const Val *image, Val at, int columns, Val *column) {
    Emit *e = l->e;
    int lanes = l->t->vector;
    if (columns == lanes) {
        for (int i = 0; i < lanes; i++)
            column[i] = em_load(e, em_ptr(e, image[i], at), 0, false);
        em_transpose(e, column);
        return;
    }
    for (int j = 0; j < columns; j++) {
        column[j] = em_vec(e, 0);
        for (int i = 0; i < lanes; i++)
            column[j] = em_insert(e, column[j], em_load1(e, em_ptr(e, image[i], at), j), i);
    }
}

void lanes_load_input(LanesCtx *l) {
    Emit *e = l->e;
    enum { WIDEST = 64 };
    Val image[WIDEST], column[WIDEST];
    int lanes = l->t->vector;
    LanesEpi ep;
    int64_t c, h, w;
    Loop lc, ly, lx;
    shape_chw(&graph_v(l->g, l->node->out[0])->shape, &c, &h, &w);
    lanes_epi_open(l, &ep);
    Val pixels = frame_input(l->k, graph_v(l->g, l->node->in[0])->slot);
    for (int i = 0; i < lanes; i++)
        image[i] = em_ptr(e, pixels, em_mul(e, image_of(l, em_i64(e, i)), em_i64(e, c * h * w)));
    int step = w < lanes ? 1 : lanes;
    Val ci = loop_begin(e, &lc, 0, c, 1, "c"), y = loop_begin(e, &ly, 0, h, 1, "y");
    Val x = lanes_span(l, &lx, w, step, "x");
    Val row = em_add(e, em_mul(e, ci, em_i64(e, h)), y);
    load_columns(l, image, em_add(e, em_mul(e, row, em_i64(e, w)), x), step, column);
    lanes_epi_tile(l, &ep, ci, y, x);
    for (int j = 0; j < step; j++)
        lanes_epi_emit(l, &ep, column[j], 0, 0, j);
    lanes_span_end(l, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
}

Val lanes_labels(LanesCtx *l, int slot) {
    Emit *e = l->e;
    Val v[1] = {em_splat_i32(e, em_i64(e, 0))};
    Loop i = em_for(e, em_i64(e, 0), em_i64(e, l->t->vector), 1, "label", v, 1);
    Val label = em_splat_i32(e, frame_label(l->k, slot, image_of(l, i.i)));
    v[0] = em_select(e, em_icmp(e, EM_EQ, em_lane_index(e), em_splat_i32(e, i.i)), label, v[0]);
    em_for_end(e, &i, v, 1);
    return v[0];
}

Val lanes_real(LanesCtx *l) {
    return em_icmp(l->e, EM_LT, em_lane_index(l->e), em_splat_i32(l->e, l->count));
}

/* ---- the way out ---- */

/* Lane by lane to where the ordinary kernels would have stored v. */
static void keep_value(LanesCtx *l, ValueId v) {
    Emit *e = l->e;
    LanesTensor t = lanes_tensor(l, v);
    View out = view_of(l->k, v);
    const int *halo = out.layout.halo;
    BUG_IF(t.dtype != DT_F32, "a kept value that is no number");
    Loop lane = em_for(e, em_i64(e, 0), l->count, 1, "image", NULL, 0), lc, ly, lx;
    Val n = em_add(e, l->image, lane.i), zero = em_i64(e, 0);
    if (t.c % out.block || halo[0] || halo[1] || halo[2] || halo[3]) {
        Val first = view_at(l->k, &out, n, zero, em_i64(e, -halo[0]), em_i64(e, -halo[2]));
        em_zero(e, first, em_i64(e, out.image));
    }
    Val c = loop_begin(e, &lc, 0, t.c, 1, "c"), y = loop_begin(e, &ly, 0, t.h, 1, "y");
    Val x = loop_begin(e, &lx, 0, t.w, 1, "x"), cb, inside;
    split_index(e, c, out.block, &cb, &inside);
    Val number = em_load1(e, em_ptr(e, lanes_at(l, &t, c, y, x), lane.i), 0);
    em_store1(e, em_ptr(e, view_at(l->k, &out, n, cb, y, x), inside), 0, number);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
    em_for_end(e, &lane, NULL, 0);
}

/* A vector of channels of all lanes, a full block, at one pixel: a row of them per image. */
static void keep_channels(LanesCtx *l, const LanesTensor *t, const View *out, Val cb, int64_t from,
                          Val y, Val x) {
    Emit *e = l->e;
    int lanes = l->t->vector;
    Val c = em_add(e, em_mul(e, cb, em_i64(e, out->block)), em_i64(e, from)), row[64];
    Val at = lanes_at(l, t, c, y, x);
    int64_t known, left = lanes;
    if (em_const_i64(c, &known))
        left = t->c - known;
    for (int i = 0; i < lanes; i++)
        row[i] = i < left ? em_load(e, at, i * t->plane, true) : em_vec(e, 0);
    if (left > 0)
        em_transpose(e, row);
    Val to = em_ptr(e, view_at(l->k, out, l->image, cb, y, x), em_i64(e, from));
    for (int i = 0; i < lanes; i++)
        em_store(e, to, i * out->image, row[i], true);
}

/* The same for a full block and channels that lie in blocks of whole vectors. */
static void keep_block(LanesCtx *l, ValueId v) {
    Emit *e = l->e;
    LanesTensor t = lanes_tensor(l, v);
    View out = view_of(l->k, v);
    int64_t whole = t.c / out.block;
    for (int last = 0; last < 2; last++) {
        Loop lc, ly, lx;
        if (last ? whole * out.block == t.c : whole == 0)
            continue;
        Val cb = last ? em_i64(e, whole) : loop_begin(e, &lc, 0, whole, 1, "cb");
        Val y = loop_begin(e, &ly, 0, t.h, 1, "y"), x = loop_begin(e, &lx, 0, t.w, 1, "x");
        for (int64_t from = 0; from < out.block; from += l->t->vector)
            keep_channels(l, &t, &out, cb, from, y, x);
        loop_end(e, &lx);
        loop_end(e, &ly);
        if (!last)
            loop_end(e, &lc);
    }
}

static void keep(LanesCtx *l, ValueId v) {
    Emit *e = l->e;
    View out = view_of(l->k, v);
    const int *halo = out.layout.halo;
    bool rows = out.layout.kind == LAYOUT_BLOCKED && out.block % l->t->vector == 0 && out.aligned;
    if (!rows || halo[0] || halo[1] || halo[2] || halo[3]) {
        keep_value(l, v);
        return;
    }
    If f = em_if(e, em_icmp(e, EM_EQ, l->count, em_i64(e, l->t->vector)));
    keep_block(l, v);
    em_else(e, &f);
    keep_value(l, v);
    em_endif(e, &f);
}

/* For the runtime; in training also for the update. */
static bool leaves_block(const LanesCtx *l, ValueId v) {
    const Value *x = graph_v(l->g, v);
    return lanes_stored(l, v) && (x->keep || (l->plan->slots && x->stored && x->batched));
}

static void keep_results(LanesCtx *l) {
    NodeId node[KERNEL_MAX_NODES];
    int count = kernel_nodes(l->step, node);
    for (int i = 0; i < count; i++) {
        const Node *n = graph_n(l->g, node[i]);
        for (int j = 0; j < n->nout; j++)
            if (n->out[j] && leaves_block(l, n->out[j]))
                keep(l, n->out[j]);
    }
}

/* ---- the kernel ---- */

static void run_step(LanesCtx *l, int i) {
    l->step = &l->plan->step[i];
    l->node = graph_n(l->g, l->step->anchor);
    l->attrs = l->node->attrs;
    l->work = l->plan->work[i];
    l->k->node = (Node *)l->node;
    l->k->attrs = l->attrs;
    clear_halos(l);
    if (op_is(l->node->op, OPF_E))
        map_step(l);
    else
        op_def[l->node->op]->lanes(l);
    keep_results(l);
}

static void open_block(LanesCtx *l, Val block) {
    Emit *e = l->e;
    Val lanes = em_i64(e, l->t->vector);
    l->image = em_mul(e, block, lanes);
    l->count = em_imin(e, em_sub(e, l->k->n, l->image), lanes);
    Val last = em_splat_i32(e, em_sub(e, l->k->n, em_i64(e, 1)));
    Val index = em_add(e, em_splat_i32(e, l->image), em_lane_index(e));
    l->index = em_select(e, em_icmp(e, EM_LT, index, last), index, last);
}

/* A step's function takes the block as `lo`, and as `hi` 2 * slot + (the task's first block). */
static void call_steps(LanesCtx *l, Val block) {
    Emit *e = l->e;
    const KernelArgs *a = &l->k->a;
    Val slot = em_i64(e, 0);
    if (l->plan->slots) {
        Val twice = em_mul(e, l->slot, em_i64(e, 2));
        slot = em_select(e, l->first, em_add(e, twice, em_i64(e, 1)), twice);
    }
    for (int i = 0; i < l->plan->nsteps; i++)
        em_body_call(e, l->k->step[i], a->frame, block, slot, a->scratch, em_c_null(e));
}

static void run_block(LanesCtx *l, Val block) {
    if (l->k->step) {
        call_steps(l, block);
        return;
    }
    open_block(l, block);
    for (int i = 0; i < l->plan->nsteps; i++)
        run_step(l, i);
}

/* Task t of `slots` takes the blocks t * B / slots up to (t + 1) * B / slots.  With fewer blocks
 * than tasks each block has a slot to itself, the first ones. */
static void run_slots(LanesCtx *l) {
    Emit *e = l->e;
    Val lanes = em_i64(e, l->t->vector), slots = em_i64(e, l->plan->slots);
    Val blocks = em_div(e, em_add(e, l->k->n, em_i64(e, l->t->vector - 1)), lanes);
    Loop task = task_loop(l->k);
    Val lo = em_div(e, em_mul(e, task.i, blocks), slots);
    Val hi = em_div(e, em_mul(e, em_add(e, task.i, em_i64(e, 1)), blocks), slots);
    l->slot = em_imin(e, lo, task.i);
    Loop block = em_for(e, lo, hi, 1, "block", NULL, 0);
    l->first = em_icmp(e, EM_EQ, block.i, lo);
    run_block(l, block.i);
    em_for_end(e, &block, NULL, 0);
    task_end(l->k, &task);
}

void lower_lanes(KernelCtx *k) {
    int full = em_width(k->e);
    const Lanes *plan = k->k->lanes;
    LanesCtx l = {.k = k, .e = k->e, .g = k->g, .plan = plan, .t = plan->target};
    if (plan->update) {
        lower_lanes_update(k);
        return;
    }
    em_set_width(k->e, plan->target->vector);
    k->t = plan->target;
    if (plan->slots) {
        run_slots(&l);
    } else {
        Loop task = task_loop(k);
        run_block(&l, task.i);
        task_end(k, &task);
    }
    em_set_width(k->e, full);
}

void lower_lanes_step(KernelCtx *k, int step) {
    Emit *e = k->e;
    int full = em_width(e);
    const Lanes *plan = k->k->lanes;
    LanesCtx l = {.k = k, .e = e, .g = k->g, .plan = plan, .t = plan->target};
    if (plan->update) {
        lower_lanes_late(k, &plan->late[step]);
        return;
    }
    em_set_width(e, plan->target->vector);
    k->t = plan->target;
    if (plan->slots) {
        l.slot = em_shr(e, k->a.hi, em_i64(e, 1));
        l.first = em_icmp(e, EM_NE, em_and(e, k->a.hi, em_i64(e, 1)), em_i64(e, 0));
    }
    open_block(&l, k->a.lo);
    run_step(&l, step);
    em_set_width(e, full);
}

/* ---- gradients ---- */

static bool padded(const Layout *l, const Shape *s, int64_t floats) {
    return shape_elems(s) != floats || layout_elems(l, s) != floats;
}

Val lanes_gradient(LanesCtx *l, ValueId v, bool *cleared) {
    Emit *e = l->e;
    int64_t floats;
    Val all = flat_at(l->k, v, &floats);
    const Value *x = graph_v(l->g, v);
    floats /= l->plan->slots;
    Val at = em_ptr(e, all, em_mul(e, l->slot, em_i64(e, floats)));
    *cleared = padded(&x->layout, &x->shape, floats);
    if (*cleared) {
        If f = em_if(e, l->first);
        em_zero(e, at, em_i64(e, floats));
        em_endif(e, &f);
    }
    return at;
}

WeightView lanes_gradient_weights(LanesCtx *l, ValueId v, bool *cleared) {
    WeightView w = weights_of(l->k, v);
    w.base = lanes_gradient(l, v, cleared);
    return w;
}

WeightView lanes_gradient_rows(LanesCtx *l, ValueId v, int64_t inputs) {
    Emit *e = l->e;
    WeightView w = weights_of(l->k, v);
    int64_t floats, rest = inputs % w.layout.i_block, rows = w.layout.i_block - rest;
    Val all = flat_at(l->k, v, &floats);
    w.base = em_ptr(e, all, em_mul(e, l->slot, em_i64(e, floats / l->plan->slots)));
    if (rest == 0)
        return w;
    Loop tile, tap;
    If f = em_if(e, l->first);
    Val t = loop_begin(e, &tile, 0, w.layout.groups * w.o_tiles, 1, "tile");
    Val k = loop_begin(e, &tap, 0, w.kh * w.kw, 1, "tap");
    Val at = em_add(e, em_mul(e, t, em_i64(e, w.tile)), em_mul(e, k, em_i64(e, w.tap)));
    at = em_add(e, at, em_i64(e, (w.i_blocks - 1) * w.block + rest * w.row));
    em_zero(e, em_ptr(e, w.base, at), em_i64(e, rows * w.row));
    loop_end(e, &tap);
    loop_end(e, &tile);
    em_endif(e, &f);
    return w;
}

Val lanes_before(LanesCtx *l, Val ptr, int64_t off, bool cleared, bool scalar) {
    Emit *e = l->e;
    Val old = scalar ? em_load1(e, ptr, off) : em_load(e, ptr, off, true);
    if (cleared)
        return old;
    return em_select(e, l->first, scalar ? em_f32(e, 0) : em_vec(e, 0), old);
}

Val lanes_sums(LanesCtx *l, const Val *v, int n) {
    Emit *e = l->e;
    Val row[64];
    int lanes = l->t->vector;
    for (int i = 0; i < lanes; i++)
        row[i] = i < n ? v[i] : em_vec(e, 0);
    em_transpose(e, row);
    for (int s = lanes / 2; s >= 1; s /= 2)
        for (int i = 0; i < s; i++)
            row[i] = em_fadd(e, row[i], row[i + s]);
    return row[0];
}

/* ---- moving ---- */

/* Channels [from, from + count) of src become channels [to, ...) of dst, in memory order. */
static void move_channels(LanesCtx *l, const LanesTensor *dst, int64_t to, const LanesTensor *src,
                          int64_t from, int64_t count) {
    Emit *e = l->e;
    Loop lc, ly, lx;
    Val c = loop_begin(e, &lc, 0, count, 1, "c"), y = loop_begin(e, &ly, 0, src->h, 1, "y");
    Val x = loop_begin(e, &lx, 0, src->w, 1, "x");
    Val p = lanes_at(l, src, em_add(e, c, em_i64(e, from)), y, x);
    Val q;
    if (dst->h == src->h && dst->w == src->w) {
        q = lanes_at(l, dst, em_add(e, c, em_i64(e, to)), y, x);
    } else { /* a vector instead of an image, or the reverse: row-major numbers */
        Val i = em_add(e, em_mul(e, c, em_i64(e, src->h)), y), cell, rest, dy, dx, dc;
        i = em_add(e, em_mul(e, i, em_i64(e, src->w)), x);
        split_index(e, i, dst->w, &rest, &dx);
        split_index(e, rest, dst->h, &dc, &dy);
        cell = lanes_at(l, dst, dc, dy, dx);
        q = cell;
    }
    em_store(e, q, 0, em_load(e, p, 0, true), true);
    loop_end(e, &lx);
    loop_end(e, &ly);
    loop_end(e, &lc);
}

/* flatten, unflatten: other names for the same order */
void lanes_copy(LanesCtx *l) {
    LanesTensor src = lanes_tensor(l, l->node->in[0]), dst = lanes_tensor(l, l->node->out[0]);
    move_channels(l, &dst, 0, &src, 0, src.c);
}

void lanes_concat(LanesCtx *l) {
    LanesTensor dst = lanes_tensor(l, l->node->out[0]);
    int64_t to = 0;
    for (int i = 0; i < l->node->nin; i++) {
        LanesTensor src = lanes_tensor(l, l->node->in[i]);
        move_channels(l, &dst, to, &src, 0, src.c);
        to += src.c;
    }
}

void lanes_slice(LanesCtx *l) {
    const SliceAttrs *a = l->attrs;
    LanesTensor src = lanes_tensor(l, l->node->in[0]), dst = lanes_tensor(l, l->node->out[0]);
    move_channels(l, &dst, 0, &src, a->from, a->count);
}
