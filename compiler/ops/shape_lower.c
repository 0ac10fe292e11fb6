/* shape_lower.c: kernels that only move numbers: the input's way in, flatten, concat, slice.
 *
 * These stand at the borders of blocked layouts and are copies by nature; where channel counts are
 * multiples of the vector, whole vectors move, else single floats.
 * ensures: padding lanes and halos of what they write are zero.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

/* ---- load_input: the user's float images, [n][c][h][w] without gaps ---- */

void choose_load_input(const Graph *g, Kernel *k, const Target *t) {
    const Value *v = graph_v(g, graph_n(g, k->anchor)->out[0]);
    int64_t c, h, w;
    shape_chw(&v->shape, &c, &h, &w);
    k->algorithm = "copy";
    k->why = "border of the network: row-major to the first layer's layout";
    rows_split(v->layout.kind == LAYOUT_PLAIN ? c : (c + t->vector - 1) / t->vector, h, w, k);
}

typedef struct LoadInput {
    Val images;
    bool square;
    View dst;
    Epi epi;
    int64_t frames; /* of a clip: the user has them within each map */
} LoadInput;

static Val image_row(KernelCtx *k, const LoadInput *in, Val n, Val c, Val y) {
    Emit *e = k->e;
    const View *d = &in->dst;
    Val clip = n, frame = em_i64(e, 0);
    if (in->frames > 1)
        split_index(e, n, in->frames, &clip, &frame);
    Val index = em_add(e, em_mul(e, clip, em_i64(e, d->c)), c);
    index = em_add(e, em_mul(e, index, em_i64(e, in->frames)), frame);
    index = em_add(e, em_mul(e, index, em_i64(e, d->h)), y);
    return em_ptr(e, in->images, em_mul(e, index, em_i64(e, d->w)));
}

static Val loaded(KernelCtx *k, const LoadInput *in, Val v) {
    return in->square ? em_fmul(k->e, v, v) : v;
}

static void plain_row(KernelCtx *k, void *user, Val n, Val c, Val y) {
    LoadInput *in = user;
    Emit *e = k->e;
    int64_t width = em_width(e), whole = in->dst.w / width * width;
    halo_row(k, &in->dst, n, c, 1, y);
    Val from = image_row(k, in, n, c, y), to = view_at(k, &in->dst, n, c, y, em_i64(e, 0));
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, whole), width, "x", NULL, 0);
    Val some = em_load(e, em_ptr(e, from, x.i), 0, false);
    em_store(e, em_ptr(e, to, x.i), 0, loaded(k, in, some), false);
    em_for_end(e, &x, NULL, 0);
    Loop rest = em_for(e, em_i64(e, whole), em_i64(e, in->dst.w), 1, "rest", NULL, 0);
    Val one = em_load1(e, em_ptr(e, from, rest.i), 0);
    em_store1(e, em_ptr(e, to, rest.i), 0, loaded(k, in, one));
    em_for_end(e, &rest, NULL, 0);
}

/* Gathers up to `vector` channels of one pixel; channels beyond the last are zero. */
static Val gather_pixel(KernelCtx *k, const LoadInput *in, Val n, Val cb, Val y, Val x) {
    Emit *e = k->e;
    const View *d = &in->dst;
    int width = em_width(e);
    Val buffer = em_stack(e, width), plane = em_i64(e, in->frames * d->h * d->w);
    em_store(e, buffer, 0, em_vec(e, 0), true);
    Val first = em_mul(e, cb, em_i64(e, width));
    Val last = em_imin(e, em_add(e, first, em_i64(e, width)), em_i64(e, d->c));
    Val base = em_ptr(e, image_row(k, in, n, em_i64(e, 0), y), x);
    Loop c = em_for(e, first, last, 1, "c", NULL, 0);
    Val value = em_load1(e, em_ptr(e, base, em_mul(e, c.i, plane)), 0);
    em_store1(e, em_ptr(e, buffer, em_sub(e, c.i, first)), 0, loaded(k, in, value));
    em_for_end(e, &c, NULL, 0);
    return em_load(e, buffer, 0, true);
}

static void blocked_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    LoadInput *in = user;
    Emit *e = k->e;
    epi_row(k, &in->epi, n, cb, 1, y);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, in->dst.w), 1, "x", NULL, 0);
    Val pixel = gather_pixel(k, in, n, cb, y, x.i);
    epi_tile(k, &in->epi, n, cb, y, x.i);
    epi_emit(k, &in->epi, pixel, 0, 0, 0, 0);
    em_for_end(e, &x, NULL, 0);
}

void lower_load_input(KernelCtx *k) {
    const Value *src = graph_v(k->g, k->node->in[0]), *out = graph_v(k->g, k->node->out[0]);
    LoadInput in = {.images = frame_input(k, src->slot),
                    .square = k->node->op == OP_LOAD_SQUARE,
                    .frames = shape_frames(&out->shape)};
    if (out->stored && out->layout.kind == LAYOUT_PLAIN) {
        if (k->k->nchain)
            BUG("kernel %s: a chain behind a plain input", k->k->name);
        in.dst = view_of(k, k->node->out[0]);
        rows_for_each(k, in.dst.c, in.dst.h, plain_row, &in);
        return;
    }
    epi_open(k, &in.epi);
    shape_chw(&out->shape, &in.dst.c, &in.dst.h, &in.dst.w);
    int64_t width = em_width(k->e);
    rows_for_each(k, (in.dst.c + width - 1) / width, in.dst.h, blocked_row, &in);
}

/* ---- general element moves between two tensors ---- */

/* Pointer to logical channel c, which may be a run-time value, of pixel (y, x). */
static Val channel_at(KernelCtx *k, const View *v, Val n, Val c, Val y, Val x) {
    Emit *e = k->e;
    Val cb, lane;
    split_index(e, c, v->block, &cb, &lane);
    return em_ptr(e, view_at(k, v, n, cb, y, x), lane);
}

static void zero_padding(KernelCtx *k, const View *v, Val n) {
    Emit *e = k->e;
    bool halo = v->layout.halo[0] || v->layout.halo[1] || v->layout.halo[2] || v->layout.halo[3];
    if (v->c % v->block == 0 && !halo)
        return;
    /* clears the whole image of this tensor, halo included */
    Val start = view_at(k, v, n, em_i64(e, 0), em_i64(e, -v->layout.halo[0]),
                        em_i64(e, -v->layout.halo[2]));
    em_zero(e, start, em_i64(e, v->cblocks * v->cblock));
}

/* dst channels [to, to + count) = src channels [from, ...), all pixels of image n */
static void move_channels(KernelCtx *k, const View *dst, int64_t to, const View *src, int64_t from,
                          int64_t count, Val n) {
    Emit *e = k->e;
    int64_t width = em_width(e);
    bool vectors = to % width == 0 && from % width == 0 && dst->block == width &&
                   src->block == width && (count % width == 0 || to + count == dst->c) &&
                   (count % width == 0 || from + count == src->c);
    int64_t step = vectors ? width : 1;
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, count), step, "c", NULL, 0);
    Loop y = em_for(e, em_i64(e, 0), em_i64(e, dst->h), 1, "y", NULL, 0);
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, dst->w), 1, "x", NULL, 0);
    Val p = channel_at(k, src, n, em_add(e, c.i, em_i64(e, from)), y.i, x.i);
    Val q = channel_at(k, dst, n, em_add(e, c.i, em_i64(e, to)), y.i, x.i);
    if (vectors)
        em_store(e, q, 0, em_load(e, p, 0, true), true);
    else
        em_store1(e, q, 0, em_load1(e, p, 0));
    em_for_end(e, &x, NULL, 0);
    em_for_end(e, &y, NULL, 0);
    em_for_end(e, &c, NULL, 0);
}

void lower_concat(KernelCtx *k) {
    View dst = view_of(k, k->node->out[0]);
    View src[32];
    if (k->node->nin > 32)
        BUG("kernel %s: concat of more than 32 tensors", k->k->name);
    for (int i = 0; i < k->node->nin; i++)
        src[i] = view_of(k, k->node->in[i]);
    Loop task = task_loop(k);
    zero_padding(k, &dst, task.i);
    int64_t to = 0;
    for (int i = 0; i < k->node->nin; i++) {
        move_channels(k, &dst, to, &src[i], 0, src[i].c, task.i);
        to += src[i].c;
    }
    task_end(k, &task);
}

void lower_slice(KernelCtx *k) {
    const SliceAttrs *a = k->attrs;
    View dst = view_of(k, k->node->out[0]), src = view_of(k, k->node->in[0]);
    Loop task = task_loop(k);
    zero_padding(k, &dst, task.i);
    move_channels(k, &dst, 0, &src, a->from, a->count, task.i);
    task_end(k, &task);
}

/* flat[c * h * w + y * w + x] <-> cube[c, y, x] */
static void reshape(KernelCtx *k, const View *flat, const View *cube, bool to_flat) {
    Emit *e = k->e;
    Loop task = task_loop(k);
    zero_padding(k, to_flat ? flat : cube, task.i);
    Val zero = em_i64(e, 0);
    Val line = view_at(k, flat, task.i, zero, zero, zero);
    Loop c = em_for(e, zero, em_i64(e, cube->c), 1, "c", NULL, 0);
    Loop y = em_for(e, zero, em_i64(e, cube->h), 1, "y", NULL, 0);
    Loop x = em_for(e, zero, em_i64(e, cube->w), 1, "x", NULL, 0);
    Val row = em_add(e, em_mul(e, c.i, em_i64(e, cube->h)), y.i);
    Val p = em_ptr(e, line, em_add(e, em_mul(e, row, em_i64(e, cube->w)), x.i));
    Val q = channel_at(k, cube, task.i, c.i, y.i, x.i);
    em_store1(e, to_flat ? p : q, 0, em_load1(e, to_flat ? q : p, 0));
    em_for_end(e, &x, NULL, 0);
    em_for_end(e, &y, NULL, 0);
    em_for_end(e, &c, NULL, 0);
    task_end(k, &task);
}

void lower_flatten(KernelCtx *k) {
    View cube = view_of(k, k->node->in[0]), flat = view_of(k, k->node->out[0]);
    reshape(k, &flat, &cube, true);
}

void lower_unflatten(KernelCtx *k) {
    View flat = view_of(k, k->node->in[0]), cube = view_of(k, k->node->out[0]);
    reshape(k, &flat, &cube, false);
}
