/* ref_clip.c: windows over the frames of clips, and three-dimensional layers from their definition,
 * as loops in double precision (see ref_ops.h).
 *
 * An operator that sees frames gets clips as [n][frame][map][row][column].
 */
#include "ref_clip.h"

#include <math.h>
#include <string.h>

#include "base/bug.h"
#include "ops/attrs.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

void ref_see(RefTensor *t, int op) {
    if (op_is(op, OPF_F))
        return;
    t->n *= shape_frames(&t->shape);
    t->shape = shape_clip(t->shape, 1);
}

int64_t ref_images(int op, const RefTensor *in, int nin, const RefTensor *out, int64_t batch) {
    int64_t n = batch;
    for (int i = 0; i < nin && !op_is(op, OPF_F); i++)
        n = in[i].n > n ? in[i].n : n;
    return !op_is(op, OPF_F) && out->n > n ? out->n : n;
}

static double *at(const RefTensor *t, int64_t n, int64_t f, int64_t c, int64_t i) {
    const int64_t *d = t->shape.dim, frames = shape_frames(&t->shape);
    return &t->at[((n * frames + f) * d[0] + c) * (d[1] * d[2]) + i];
}

/* The user's [n][map][frame][..]. */
void ref_load_input(const RefCall *r) {
    int64_t frames = shape_frames(&r->out->shape), maps = 1;
    int64_t cells = shape_elems(&r->out->shape) / frames;
    if (r->out->shape.rank == 3) {
        maps = r->out->shape.dim[0];
        cells /= maps;
    }
    FOR(n, r->n)
    FOR(f, frames) FOR(c, maps) FOR(i, cells)
        r->out->at[((n * frames + f) * maps + c) * cells + i] =
        r->in[0].at[((n * maps + c) * frames + f) * cells + i];
}

/* The frame of the source behind tap k of window f; -1: none. */
static int64_t frame_of(const FramesAttrs *a, int64_t f, int64_t k, int64_t frames) {
    int64_t d = f * a->step + a->from + k * a->apart;
    return d < 0 || d >= frames ? -1 : d;
}

static double share(const FramesAttrs *a, int64_t f, int64_t frames) {
    int64_t real = 0;
    FOR(k, a->taps) real += frame_of(a, f, k, frames) >= 0;
    if (a->mode != FRAMES_MEAN)
        return 1;
    return 1.0 / (double)(a->whole ? a->taps : real);
}

void ref_frames(const RefCall *r) {
    const FramesAttrs *a = r->attrs;
    const RefTensor *small = a->adjoint ? r->out : &r->in[0]; /* of the original source's shape */
    const RefTensor *wide = a->adjoint ? &r->in[0] : r->out;
    int64_t frames = shape_frames(&small->shape), maps = small->shape.dim[0];
    int64_t cells = small->shape.dim[1] * small->shape.dim[2];
    FOR(n, r->n) FOR(f, a->count) FOR(k, a->taps) FOR(c, maps) FOR(i, cells) {
        int64_t d = frame_of(a, f, k, frames);
        if (d < 0)
            continue;
        double *x = at(small, n, d, c, i);
        double *y = at(wide, n, f, a->mode == FRAMES_MAPS ? c * a->taps + k : c, i);
        double w = share(a, f, frames);
        if (a->adjoint)
            *x += w * *y;
        else
            *y += w * *x;
    }
}

void ref_frames_max(const RefCall *r) {
    const FramesAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    int64_t cells = s->shape.dim[1] * s->shape.dim[2];
    FOR(n, r->n) FOR(f, a->count) FOR(c, s->shape.dim[0]) FOR(i, cells) {
        double best = -INFINITY;
        for (int64_t k = a->taps - 1; k >= 0; k--) { /* backwards: the earliest of equals stays */
            int64_t d = frame_of(a, f, k, a->src);
            if (d < 0 || *at(s, n, d, c, i) < best)
                continue;
            best = *at(s, n, d, c, i);
            *at(&r->out[0], n, f, c, i) = best;
            *at(&r->out[1], n, f, c, i) = (double)k;
        }
    }
}

void ref_frames_max_bwd(const RefCall *r) {
    const FramesAttrs *a = r->attrs;
    const RefTensor *dy = &r->in[0];
    int64_t cells = dy->shape.dim[1] * dy->shape.dim[2];
    FOR(n, r->n) FOR(f, a->count) FOR(c, dy->shape.dim[0]) FOR(i, cells) {
        int64_t k = (int64_t)*at(&r->in[1], n, f, c, i), d = frame_of(a, f, k, a->src);
        if (d >= 0)
            *at(r->out, n, d, c, i) += *at(dy, n, f, c, i);
    }
}

/* ---- three-dimensional layers ---- */

/* Index into a source map of the cell behind a tap; -1: none. */
static int64_t cell_of(const RefBox *b, const int64_t out[3], const int64_t tap[3]) {
    int64_t index = 0;
    FOR(d, 3) {
        int64_t p = out[d] * b->stride[d] - b->pad[d] + tap[d] * b->apart[d];
        if (p < 0 || p >= b->src[d])
            return -1;
        index = index * b->src[d] + p;
    }
    return index;
}

#define FOR_BOX(name, extent)                                                                      \
    FOR(name##0, (extent)[0]) FOR(name##1, (extent)[1]) FOR(name##2, (extent)[2])

void ref_conv3d(const RefBox *b, const double *src, const double *weights, const double *bias,
                double *dst) {
    int64_t plane = b->src[0] * b->src[1] * b->src[2];
    FOR(n, b->n) FOR(o, b->o) FOR_BOX(p, b->dst) {
        double sum = bias ? bias[o] : 0;
        FOR(c, b->c) FOR_BOX(k, b->kernel) {
            int64_t i = cell_of(b, (int64_t[]){p0, p1, p2}, (int64_t[]){k0, k1, k2});
            int64_t w =
                (((o * b->c + c) * b->kernel[0] + k0) * b->kernel[1] + k1) * b->kernel[2] + k2;
            sum += i < 0 ? 0 : weights[w] * src[(n * b->c + c) * plane + i];
        }
        dst[(((n * b->o + o) * b->dst[0] + p0) * b->dst[1] + p1) * b->dst[2] + p2] = sum;
    }
}

void ref_pool3d(const RefBox *b, bool max, const double *src, double *dst, int64_t *from) {
    int64_t plane = b->src[0] * b->src[1] * b->src[2];
    FOR(n, b->n) FOR(c, b->c) FOR_BOX(p, b->dst) {
        double best = -INFINITY, sum = 0, real = 0;
        int64_t winner = -1;
        FOR_BOX(k, b->kernel) {
            int64_t i = cell_of(b, (int64_t[]){p0, p1, p2}, (int64_t[]){k0, k1, k2});
            double x = i < 0 ? 0 : src[(n * b->c + c) * plane + i];
            sum += x;
            real += i >= 0;
            if (i >= 0 && x > best) {
                best = x;
                winner = (n * b->c + c) * plane + i;
            }
        }
        int64_t to = (((n * b->c + c) * b->dst[0] + p0) * b->dst[1] + p1) * b->dst[2] + p2;
        dst[to] = max ? best : sum / real;
        if (from)
            from[to] = winner;
    }
}

/* ---- cases ---- */

typedef struct ClipCase {
    const char *what;
    Shape src; /* of what the operator reads */
    FramesAttrs a;
    bool rounds;
} ClipCase;

#define CLIP(c, d, h, w)                                                                           \
    {                                                                                              \
        3, {                                                                                       \
            c, h, w, 0, 0, d                                                                       \
        }                                                                                          \
    }
#define TAKE(f, n, s, k, gap, d) .from = f, .count = n, .step = s, .taps = k, .apart = gap, .src = d
#define MAPS .mode = FRAMES_MAPS, .border = true
#define MEAN .mode = FRAMES_MEAN, .border = true
static const ClipCase frames_case[] = {
    {"one of one", CLIP(1, 0, 2, 3), {TAKE(0, 1, 1, 1, 1, 0)}, false},
    {"frames 2 to 4", CLIP(17, 7, 3, 2), {TAKE(2, 3, 1, 1, 1, 0)}, false},
    {"every second, one left", CLIP(5, 4, 2, 3), {TAKE(1, 2, 2, 1, 1, 0)}, false},
    {"an image of a clip", CLIP(16, 3, 4, 2), {TAKE(2, 1, 1, 1, 1, 0)}, false},
    {"3 as maps", CLIP(16, 5, 3, 4), {TAKE(0, 3, 1, 3, 1, 0), .mode = FRAMES_MAPS}, false},
    {"3 as maps, pad 1, 5 maps", CLIP(5, 4, 2, 3), {TAKE(-1, 4, 1, 3, 1, 0), MAPS}, false},
    {"4 as maps, step 2, pad 1 2, 33 maps",
     CLIP(33, 7, 2, 2),
     {TAKE(-1, 4, 2, 4, 1, 0), MAPS},
     false},
    {"2 apart by 3, 20 maps", CLIP(20, 6, 3, 1), {TAKE(-1, 5, 1, 2, 3, 0), MAPS}, false},
    {"all 10 as maps", CLIP(3, 10, 3, 3), {TAKE(0, 1, 1, 10, 1, 0), MAPS}, false},
    {"9 as maps, pad 4", CLIP(18, 5, 2, 2), {TAKE(-4, 5, 1, 9, 1, 0), MAPS}, false},
    {"3 as maps, pad 1, back",
     CLIP(15, 4, 2, 3),
     {TAKE(-1, 4, 1, 3, 1, 4), MAPS, .adjoint = true},
     false},
    {"2 as maps, step 2, 34 maps, back",
     CLIP(34, 3, 2, 2),
     {TAKE(0, 3, 2, 2, 1, 7), MAPS, .adjoint = true},
     false},
    {"8 as maps, step 3, back",
     CLIP(136, 2, 1, 2),
     {TAKE(-2, 2, 3, 8, 1, 9), MAPS, .adjoint = true},
     false},
    {"10 as maps, back",
     CLIP(30, 1, 3, 2),
     {TAKE(0, 1, 1, 10, 1, 10), MAPS, .adjoint = true},
     false},
    {"sum of 3, step 2", CLIP(17, 7, 2, 3), {TAKE(0, 3, 2, 3, 1, 0), .mode = FRAMES_SUM}, false},
    {"sum of 3 apart by 2, back",
     CLIP(4, 3, 2, 3),
     {TAKE(-1, 3, 2, 3, 2, 6), .mode = FRAMES_SUM, .border = true, .adjoint = true},
     false},
    {"mean of all", CLIP(5, 6, 3, 2), {TAKE(0, 1, 1, 6, 1, 0), .mode = FRAMES_MEAN}, true},
    {"mean of 3, pad 1, step 2", CLIP(16, 6, 3, 3), {TAKE(-1, 3, 2, 3, 1, 0), MEAN}, true},
    {"mean of 3, pad 1, counted",
     CLIP(3, 5, 3, 3),
     {TAKE(-1, 3, 2, 3, 1, 0), MEAN, .whole = true},
     true},
    {"mean of 3, pad 1, back",
     CLIP(33, 4, 2, 2),
     {TAKE(-1, 4, 1, 3, 1, 4), MEAN, .adjoint = true},
     true},
    {"mean of all, back", CLIP(7, 1, 2, 3), {TAKE(0, 1, 1, 5, 1, 5), MEAN, .adjoint = true}, true},
};
static const ClipCase max_case[] = {
    {"one", CLIP(1, 0, 2, 2), {TAKE(0, 1, 1, 1, 1, 1)}, false},
    {"all", CLIP(5, 6, 3, 2), {TAKE(0, 1, 1, 6, 1, 6)}, false},
    {"2 of 4", CLIP(16, 4, 3, 3), {TAKE(0, 2, 2, 2, 1, 4)}, false},
    {"3 step 2", CLIP(17, 7, 2, 3), {TAKE(0, 3, 2, 3, 1, 7)}, false},
    {"3 step 2 pad 1", CLIP(33, 6, 2, 2), {TAKE(-1, 3, 2, 3, 1, 6), .border = true}, false},
    {"clipped", CLIP(3, 5, 4, 3), {TAKE(0, 3, 2, 2, 1, 5), .border = true}, false},
    {"overlapping", CLIP(20, 5, 2, 2), {TAKE(-2, 5, 1, 5, 1, 5), .border = true}, false},
    {"apart by 2", CLIP(4, 9, 3, 1), {TAKE(0, 5, 1, 3, 2, 9)}, false},
};

static Shape windows(const ClipCase *c) {
    return shape_clip(c->src, c->a.count);
}

int ref_clip_count(int op) {
    return op == OP_FRAMES                                  ? COUNT(frames_case)
           : op == OP_FRAMES_MAX || op == OP_FRAMES_MAX_BWD ? COUNT(max_case)
                                                            : 0;
}

RefCase ref_clip_case(Arena *keep, int op, int i) {
    BUG_IF(i >= ref_clip_count(op), "no such case");
    const ClipCase *c = op == OP_FRAMES ? &frames_case[i] : &max_case[i];
    FramesAttrs *a = ARENA_NEW(keep, FramesAttrs);
    *a = c->a;
    RefCase r = {.what = c->what, .attrs = a, .nin = 1, .kind = {REF_DATA}, .rounds = c->rounds};
    r.in[0] = c->src;
    if (op == OP_FRAMES_MAX_BWD) {
        r.nin = 2;
        r.kind[1] = REF_SWITCH;
        r.in[0] = r.in[1] = windows(c);
        r.limit = c->a.taps;
    }
    return r;
}
