/* ref_window.c: global pools, parts, borders and other sizes of images, as loops in double
 * precision (see ref_ops.h).
 *
 * Every operator is written from its own definition.  resample alone, their common code, is written
 * as dense matrices of weights, and its adjoint as a scatter.
 */
#include "ref_window.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "ops/attrs.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static double *at(const RefTensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    const int64_t *d = t->shape.dim;
    return &t->at[((n * d[0] + c) * d[1] + y) * d[2] + x];
}

#define FOR_DST FOR(n, r->n) FOR(c, D[0]) FOR(y, D[1]) FOR(x, D[2])
#define EXTENTS                                                                                    \
    const RefTensor *src = &r->in[0];                                                              \
    const int64_t *S = src->shape.dim, *D = r->out->shape.dim;                                     \
    (void)S

/* ---- means and maxima: dst cell y is about src cells y * S / D .. , all of them where D is 1 ----
 */

static void over(const RefCall *r, bool largest) {
    EXTENTS;
    double count = (double)(S[0] * S[1] * S[2]) / (double)(D[0] * D[1] * D[2]);
    FOR_DST *at(r->out, n, c, y, x) = largest ? -INFINITY : 0;
    FOR(n, r->n) FOR(c, S[0]) FOR(y, S[1]) FOR(x, S[2]) {
        double *to = at(r->out, n, D[0] == 1 ? 0 : c, D[1] == 1 ? 0 : y, D[2] == 1 ? 0 : x);
        double v = *at(src, n, c, y, x);
        *to = largest ? fmax(*to, v) : *to + v / count;
    }
}

void ref_global_avgpool(const RefCall *r) {
    over(r, false);
}
void ref_global_maxpool(const RefCall *r) {
    over(r, true);
}
void ref_mean(const RefCall *r) {
    over(r, false);
}
void ref_max(const RefCall *r) {
    over(r, true);
}

/* ---- crop, pad, downsample ---- */

void ref_crop(const RefCall *r) {
    EXTENTS;
    const CropAttrs *a = r->attrs;
    bool down = a->at == CROP_BOTTOM_LEFT || a->at == CROP_BOTTOM_RIGHT;
    bool right = a->at == CROP_TOP_RIGHT || a->at == CROP_BOTTOM_RIGHT,
         center = a->at == CROP_CENTER;
    int64_t top = a->top >= 0 ? a->top : center ? (S[1] - D[1]) / 2 : down ? S[1] - D[1] : 0;
    int64_t left = a->left >= 0 ? a->left : center ? (S[2] - D[2]) / 2 : right ? S[2] - D[2] : 0;
    FOR_DST *at(r->out, n, c, y, x) = *at(src, n, c, top + y, left + x);
}

/* Where a border's cell comes from; -1: nowhere. */
static int64_t folded(int64_t i, int64_t n, int mode) {
    if (i >= 0 && i < n)
        return i;
    if (mode == BORDER_ZERO)
        return -1;
    if (mode == BORDER_EDGE)
        return i < 0 ? 0 : n - 1;
    return i < 0 ? -i : 2 * (n - 1) - i;
}

void ref_pad(const RefCall *r) {
    EXTENTS;
    const PadAttrs *a = r->attrs;
    FOR_DST {
        int64_t sc = c - a->maps, sy = folded(y - a->pad[0], S[1], a->mode);
        int64_t sx = folded(x - a->pad[2], S[2], a->mode);
        if (sc >= 0 && sc < S[0] && sy >= 0 && sx >= 0)
            *at(r->out, n, c, y, x) = *at(src, n, sc, sy, sx);
    }
}

void ref_downsample(const RefCall *r) {
    EXTENTS;
    const CropAttrs *a = r->attrs;
    FOR_DST *at(r->out, n, c, y, x) = *at(src, n, c, y * a->factor[0], x * a->factor[1]);
}

/* ---- other sizes ---- */

static double corner_or_centre(int64_t i, int64_t from, int64_t to, bool align) {
    double p = ((double)i + 0.5) * (double)from / (double)to - 0.5;
    if (align)
        p = to == 1 ? 0 : (double)(i * (from - 1)) / (double)(to - 1);
    return p < 0 ? 0 : p;
}

static void resized(const RefCall *r, bool bilinear) {
    EXTENTS;
    const ResizeAttrs *a = r->attrs;
    FOR_DST {
        if (!bilinear) {
            *at(r->out, n, c, y, x) = *at(src, n, c, y * S[1] / D[1], x * S[2] / D[2]);
            continue;
        }
        double py = corner_or_centre(y, S[1], D[1], a->align);
        double px = corner_or_centre(x, S[2], D[2], a->align), sum = 0;
        FOR(v, S[1]) FOR(u, S[2]) {
            double wy = v == S[1] - 1 && py > (double)v ? 1 : fmax(0, 1 - fabs(py - (double)v));
            double wx = u == S[2] - 1 && px > (double)u ? 1 : fmax(0, 1 - fabs(px - (double)u));
            sum += wy * wx * *at(src, n, c, v, u);
        }
        *at(r->out, n, c, y, x) = sum;
    }
}

void ref_upsample(const RefCall *r) {
    resized(r, ((const ResizeAttrs *)r->attrs)->mode == 1);
}
void ref_resize(const RefCall *r) {
    resized(r, ((const ResizeAttrs *)r->attrs)->mode == 1);
}

/* ---- axes and maps in another order ---- */

void ref_transpose(const RefCall *r) {
    EXTENTS;
    static const char *const order[] = {"chw", "cwh", "hcw", "hwc", "wch", "whc"};
    const char *axes = order[((const PermuteAttrs *)r->attrs)->order];
    FOR_DST {
        int64_t from[128], to[3] = {c, y, x};
        FOR(d, 3) from[(int)axes[d]] = to[d];
        *at(r->out, n, c, y, x) = *at(src, n, from['c'], from['h'], from['w']);
    }
}

void ref_channel_shuffle(const RefCall *r) { /* maps as a table [groups][rest], read by columns */
    const RefTensor *src = &r->in[0];
    const int64_t *S = src->shape.dim;
    int64_t groups = ((const ShuffleAttrs *)r->attrs)->groups, rest = S[0] / groups, c = 0;
    FOR(j, rest) FOR(i, groups) {
        FOR(n, r->n)
            FOR(y, S[1]) FOR(x, S[2]) * at(r->out, n, c, y, x) = *at(src, n, i * rest + j, y, x);
        c++;
    }
}

void ref_reshape(const RefCall *r) {
    FOR(i, ref_elems(r->out)) r->out->at[i] = r->in[0].at[i];
}

/* ---- p-norms ---- */

void ref_lp_pool(const RefCall *r) {
    EXTENTS;
    const LpPoolAttrs *a = r->attrs;
    FOR_DST {
        double sum = 0;
        FOR(ky, a->kernel[0]) FOR(kx, a->kernel[1]) {
            int64_t sy = y * a->stride[0] + ky - a->pad[0], sx = x * a->stride[1] + kx - a->pad[2];
            if (sy >= 0 && sy < S[1] && sx >= 0 && sx < S[2])
                sum += pow(fabs(*at(src, n, c, sy, sx)), a->p);
        }
        *at(r->out, n, c, y, x) = a->p == 1 ? sum : pow(fmax(sum, 1e-30), 1 / a->p);
    }
}

/* ---- local contrast ---- */

/* sum of w |src|^power over the window of (y, x) and all maps, w Gaussian with sum 1 */
static double window_mean(const RefTensor *src, const ContrastAttrs *a, int64_t n, int64_t y,
                          int64_t x, int power) {
    const int64_t *S = src->shape.dim;
    double sum = 0, all = 0, sigma[2];
    FOR(d, 2) sigma[d] = a->sigma > 0 ? a->sigma : (double)a->kernel[d] / 4;
    FOR(v, S[1]) FOR(u, S[2]) {
        double dy = (double)(v - y), dx = (double)(u - x);
        if (2 * fabs(dy) > (double)a->kernel[0] - 1 || 2 * fabs(dx) > (double)a->kernel[1] - 1)
            continue;
        double w = exp(-dy * dy / (2 * sigma[0] * sigma[0]) - dx * dx / (2 * sigma[1] * sigma[1]));
        all += w;
        FOR(i, S[0]) sum += w * pow(*at(src, n, i, v, u), power) / (double)S[0];
    }
    return sum / all;
}

void ref_subtractive_norm(const RefCall *r) {
    EXTENTS;
    FOR_DST *at(r->out, n, c, y, x) = *at(src, n, c, y, x) - window_mean(src, r->attrs, n, y, x, 1);
}

void ref_divisive_norm(const RefCall *r) {
    EXTENTS;
    const ContrastAttrs *a = r->attrs;
    FOR(n, r->n) {
        double mean = 0, *s = calloc((size_t)(S[1] * S[2]), sizeof *s);
        FOR(i, S[1] * S[2]) {
            s[i] = fmax(sqrt(window_mean(src, a, n, i / S[2], i % S[2], 2)), a->eps);
            mean += s[i] / (double)(S[1] * S[2]);
        }
        FOR(c, D[0])
            FOR(y, D[1]) FOR(x, D[2]) *
            at(r->out, n, c, y, x) = *at(src, n, c, y, x) / fmax(s[y * S[2] + x], mean);
        free(s);
    }
}

/* ---- resample: weight of cell v of `in` in cell i of `out` ---- */

static double plain_entry(const ResampleAttrs *a, int axis, int64_t i, int64_t v, int64_t in,
                          int64_t out) {
    if (a->mode == RESAMPLE_COPY)
        return folded(i * a->step[axis] + (axis ? a->from_x : a->from_y), in, a->border) == v;
    if (a->mode == RESAMPLE_NEAREST)
        return i * in / out == v;
    if (a->mode == RESAMPLE_BILINEAR) {
        double p = corner_or_centre(i, in, out, a->align);
        return v == in - 1 && p > (double)v ? 1 : fmax(0, 1 - fabs(p - (double)v));
    }
    double sigma = axis ? a->sigma_x : a->sigma_y, sum = 0, mine = 0;
    int64_t kernel = a->kernel[axis], left = (kernel - 1) / 2;
    FOR(k, kernel) {
        double d = ((double)k - (double)(kernel - 1) / 2) / sigma;
        int64_t cell = i + k - left;
        sum += cell >= 0 && cell < in ? exp(-d * d / 2) : 0;
        mine += cell == v ? exp(-d * d / 2) : 0;
    }
    return mine / sum;
}

static double entry(const ResampleAttrs *a, int axis, int64_t i, int64_t v, int64_t in,
                    int64_t out) {
    double e = plain_entry(a, axis, i, v, in, out);
    return a->squares ? e * e : e;
}

void ref_resample(const RefCall *r) {
    EXTENTS;
    const ResampleAttrs *a = r->attrs;
    bool sum = a->gather == MAPS_SUM;
    struct Pair {
        int64_t x, u;
        double w;
    } *pair = malloc((size_t)(D[2] * S[2]) * sizeof *pair); /* of columns */
    int64_t pairs = 0;
    BUG_IF(!pair, "no memory");
    FOR(x, D[2]) FOR(u, S[2]) {
        double w = a->adjoint ? entry(a, 1, u, x, D[2], S[2]) : entry(a, 1, x, u, S[2], D[2]);
        if (w != 0)
            pair[pairs++] = (struct Pair){x, u, w};
    }
    FOR(y, D[1]) FOR(v, S[1]) {
        double wy = a->adjoint ? entry(a, 0, v, y, D[1], S[1]) : entry(a, 0, y, v, S[1], D[1]);
        FOR(n, wy != 0 ? r->n : 0) FOR(c, D[0]) FOR(sc, S[0]) {
            if (!sum && sc != c + a->first)
                continue;
            FOR(i, pairs)
            *at(r->out, n, c, y, pair[i].x) +=
                a->scale * wy * pair[i].w * *at(src, n, sc, v, pair[i].u);
        }
    }
    free(pair);
}

/* ---- cases ---- */

typedef struct WindowCase {
    const char *what;
    Shape src;
    union {
        CropAttrs crop;
        PadAttrs pad;
        ResizeAttrs resize;
        AxisAttrs axis;
        ResampleAttrs resample;
        LpPoolAttrs lp;
        PermuteAttrs permute;
        ShuffleAttrs shuffle;
        ReshapeAttrs reshape;
        ContrastAttrs contrast;
    } a;
    bool rounds;
} WindowCase;

#define IMAGES(more)                                                                               \
    {"one cell", S3(1, 1, 1), more, true}, {"3x4x5", S3(3, 4, 5), more, true},                     \
        {"16x8x8", S3(16, 8, 8), more, false}, {"17x7x7", S3(17, 7, 7), more, true},               \
        {"33x1x9", S3(33, 1, 9), more, true}, {"20x5x1", S3(20, 5, 1), more, true},                \
        {"2x20x18", S3(2, 20, 18), more, true}, {"5x3x300", S3(5, 3, 300), more, true}, {          \
        "3x17x17", S3(3, 17, 17), more, true                                                       \
    }

static const WindowCase global_case[] = {IMAGES({.axis = {0}})};
static const WindowCase axis_case[] = {
    IMAGES({.axis = {AXIS_HEIGHT}}),
    IMAGES({.axis = {AXIS_WIDTH}}),
    {"time", S3(5, 3, 4), {.axis = {AXIS_TIME}}, true},
    {"maps, 1", S3(1, 3, 4), {.axis = {AXIS_MAPS}}, true},
    {"maps, 5", S3(5, 3, 4), {.axis = {AXIS_MAPS}}, true},
    {"maps, 16", S3(16, 2, 2), {.axis = {AXIS_MAPS}}, true},
    {"maps, 37", S3(37, 4, 3), {.axis = {AXIS_MAPS}}, true},
};

#define CROP(h, w, t, l, where)                                                                    \
    {                                                                                              \
        .crop = {.size = {h, w}, .top = t, .left = l, .at = where }                                \
    }
static const WindowCase crop_case[] = {
    {"one cell", S3(1, 1, 1), CROP(1, 1, -1, -1, CROP_CENTER), false},
    {"center, even rest", S3(3, 6, 8), CROP(4, 4, -1, -1, CROP_CENTER), false},
    {"center, odd rest", S3(17, 6, 7), CROP(3, 2, -1, -1, CROP_CENTER), false},
    {"top left", S3(16, 5, 5), CROP(2, 3, -1, -1, CROP_TOP_LEFT), false},
    {"top right", S3(4, 5, 5), CROP(2, 3, -1, -1, CROP_TOP_RIGHT), false},
    {"bottom left", S3(5, 5, 6), CROP(4, 1, -1, -1, CROP_BOTTOM_LEFT), false},
    {"bottom right", S3(33, 4, 6), CROP(3, 3, -1, -1, CROP_BOTTOM_RIGHT), false},
    {"offsets", S3(9, 9, 9), CROP(2, 3, 5, 1, CROP_CENTER), false},
    {"all", S3(3, 4, 5), CROP(4, 5, -1, -1, CROP_CENTER), false},
};

#define PAD(t, b, l, r, how, before, after)                                                        \
    {                                                                                              \
        .pad = {.pad = {t, b, l, r}, .maps = before, .maps_after = after, .mode = how }            \
    }
static const WindowCase pad_case[] = {
    {"one cell", S3(1, 1, 1), PAD(1, 1, 1, 1, BORDER_ZERO, 0, 0), false},
    {"zeros, asymmetric", S3(3, 4, 5), PAD(2, 0, 1, 3, BORDER_ZERO, 0, 0), false},
    {"reflect", S3(17, 5, 4), PAD(3, 2, 1, 3, BORDER_REFLECT, 0, 0), false},
    {"edge", S3(16, 3, 3), PAD(4, 1, 0, 5, BORDER_EDGE, 0, 0), false},
    {"nothing", S3(5, 3, 3), PAD(0, 0, 0, 0, BORDER_ZERO, 0, 0), false},
    {"8 maps around 16", S3(16, 4, 4), PAD(0, 0, 0, 0, BORDER_ZERO, 8, 8), false},
    {"16 maps around 32", S3(32, 2, 3), PAD(0, 0, 0, 0, BORDER_ZERO, 16, 16), false},
    {"3 maps before 17", S3(17, 2, 3), PAD(0, 0, 0, 0, BORDER_ZERO, 3, 0), false},
    {"20 maps behind 5, and a border", S3(5, 2, 3), PAD(1, 1, 0, 0, BORDER_ZERO, 0, 20), false},
    {"40 maps before 3", S3(3, 2, 2), PAD(0, 0, 0, 0, BORDER_ZERO, 40, 1), false},
};

#define FACTOR(h, w)                                                                               \
    {                                                                                              \
        .crop = {.factor = {h, w} }                                                                \
    }
static const WindowCase down_case[] = {
    {"one cell", S3(1, 1, 1), FACTOR(2, 2), false}, {"by 1", S3(3, 4, 5), FACTOR(1, 1), false},
    {"even", S3(16, 8, 8), FACTOR(2, 2), false},    {"odd", S3(17, 7, 9), FACTOR(2, 2), false},
    {"3x2", S3(5, 8, 8), FACTOR(3, 2), false},      {"rows", S3(33, 9, 4), FACTOR(4, 1), false},
    {"too far", S3(2, 3, 3), FACTOR(7, 7), false},  {"columns", S3(20, 1, 10), FACTOR(1, 5), false},
};

#define UP(fh, fw, how, corners)                                                                   \
    {                                                                                              \
        .resize = {.factor = {fh, fw}, .mode = how, .align = corners }                             \
    }
static const WindowCase up_case[] = {
    {"one cell", S3(1, 1, 1), UP(2, 2, 0, false), false},
    {"nearest 2", S3(3, 4, 5), UP(2, 2, 0, false), false},
    {"nearest 3x1", S3(17, 3, 2), UP(3, 1, 0, false), false},
    {"nearest 1", S3(16, 3, 2), UP(1, 1, 0, false), false},
    {"bilinear 2", S3(16, 4, 4), UP(2, 2, 1, false), true},
    {"bilinear 3x2", S3(5, 3, 4), UP(3, 2, 1, false), true},
    {"bilinear 1x4, one column", S3(33, 4, 1), UP(1, 4, 1, false), true},
    {"bilinear 2, corners", S3(7, 4, 3), UP(2, 2, 1, true), true},
    {"bilinear 4, corners, one row", S3(2, 1, 3), UP(4, 4, 1, true), true},
};

#define SIZE(h, w, how, corners)                                                                   \
    {                                                                                              \
        .resize = {.size = {h, w}, .mode = how, .align = corners }                                 \
    }
static const WindowCase resize_case[] = {
    {"one cell", S3(1, 1, 1), SIZE(3, 2, 1, false), true},
    {"nearest up", S3(3, 4, 5), SIZE(7, 6, 0, false), false},
    {"nearest down", S3(17, 7, 8), SIZE(3, 5, 0, false), false},
    {"bilinear up", S3(16, 4, 5), SIZE(7, 9, 1, false), true},
    {"bilinear down", S3(5, 9, 8), SIZE(4, 3, 1, false), true},
    {"bilinear to one", S3(33, 5, 5), SIZE(1, 1, 1, false), true},
    {"bilinear corners up", S3(4, 3, 4), SIZE(6, 11, 1, true), true},
    {"bilinear corners down", S3(20, 8, 7), SIZE(5, 1, 1, true), true},
    {"same", S3(3, 4, 5), SIZE(4, 5, 1, false), true},
};

#define TO(c, h, w) .maps = c, .size = {h, w}
#define PLAIN .step = {1, 1}, .kernel = {1, 1}, .sigma_y = 1, .sigma_x = 1, .scale = 1
static const WindowCase resample_case[] = {
    {"same", S3(1, 1, 1), {.resample = {TO(1, 1, 1), PLAIN}}, false},
    {"shift and step",
     S3(5, 7, 6),
     {.resample = {TO(5, 4, 4), .from_y = -1, .from_x = 1, .step = {2, 2}, .kernel = {1, 1},
                   .sigma_y = 1, .sigma_x = 1, .scale = 1}},
     false},
    {"and back",
     S3(5, 4, 4),
     {.resample = {TO(5, 7, 6), .from_y = -1, .from_x = 1, .step = {2, 2}, .kernel = {1, 1},
                   .sigma_y = 1, .sigma_x = 1, .scale = 1, .adjoint = true}},
     false},
    {"maps 7 to 18 of 33", S3(33, 2, 3), {.resample = {TO(12, 2, 3), .first = 7, PLAIN}}, false},
    {"sum of maps", S3(33, 2, 3), {.resample = {TO(1, 2, 3), .gather = MAPS_SUM, PLAIN}}, false},
    {"copies of a map",
     S3(1, 2, 3),
     {.resample = {TO(21, 2, 3), .gather = MAPS_SUM, .adjoint = true, PLAIN}},
     false},
    {"blur 5x3",
     S3(17, 6, 7),
     {.resample = {TO(17, 6, 7), .step = {1, 1}, .kernel = {5, 3}, .sigma_y = 1.25, .sigma_x = 0.75,
                   .scale = 1, .mode = RESAMPLE_BLUR}},
     true},
    {"blur 4x9 of less, back",
     S3(3, 5, 4),
     {.resample = {TO(3, 5, 4), .step = {1, 1}, .kernel = {4, 9}, .sigma_y = 1, .sigma_x = 2.25,
                   .scale = 0.5, .mode = RESAMPLE_BLUR, .adjoint = true}},
     true},
    {"blur 3x5, squares, back",
     S3(5, 4, 7),
     {.resample = {TO(5, 4, 7), .step = {1, 1}, .kernel = {3, 5}, .sigma_y = 0.75, .sigma_x = 1.25,
                   .scale = 0.25, .mode = RESAMPLE_BLUR, .adjoint = true, .squares = true}},
     true},
    {"nearest back",
     S3(16, 6, 9),
     {.resample = {TO(16, 3, 3), .mode = RESAMPLE_NEAREST, .adjoint = true, PLAIN}},
     false},
    {"bilinear back",
     S3(5, 7, 6),
     {.resample = {TO(5, 3, 4), .mode = RESAMPLE_BILINEAR, .adjoint = true, PLAIN}},
     true},
    {"reflected back",
     S3(4, 7, 6),
     {.resample = {TO(4, 4, 3), .from_y = -2, .from_x = -1, .border = BORDER_REFLECT,
                   .adjoint = true, PLAIN}},
     false},
    {"maps shifted back", S3(32, 2, 2), {.resample = {TO(16, 2, 2), .first = 8, PLAIN}}, false},
};

#define ORDER(how)                                                                                 \
    {                                                                                              \
        .permute = { ORDER_##how }                                                                 \
    }
static const WindowCase transpose_case[] = {
    {"chw", S3(3, 4, 5), ORDER(CHW), false},      {"cwh", S3(3, 4, 5), ORDER(CWH), false},
    {"hcw", S3(17, 4, 5), ORDER(HCW), false},     {"hwc", S3(3, 20, 5), ORDER(HWC), false},
    {"wch", S3(16, 4, 5), ORDER(WCH), false},     {"whc", S3(33, 4, 18), ORDER(WHC), false},
    {"one cell", S3(1, 1, 1), ORDER(HWC), false}, {"hwc", S3(20, 33, 2), ORDER(HWC), false},
};
static const WindowCase shuffle_case[] = {
    {"1 of 1", S3(1, 1, 1), {.shuffle = {1}}, false},
    {"2 of 6", S3(6, 2, 3), {.shuffle = {2}}, false},
    {"3 of 6", S3(6, 2, 3), {.shuffle = {3}}, false},
    {"4 of 16", S3(16, 3, 3), {.shuffle = {4}}, false},
    {"8 of 64", S3(64, 2, 2), {.shuffle = {8}}, false},
    {"3 of 33", S3(33, 2, 2), {.shuffle = {3}}, false},
    {"17 of 17", S3(17, 1, 2), {.shuffle = {17}}, false},
    {"1 of 5", S3(5, 2, 2), {.shuffle = {1}}, false},
};
#define AS(c, h, w)                                                                                \
    {                                                                                              \
        .reshape = { c, {h, w} }                                                                   \
    }
static const WindowCase reshape_case[] = {
    {"one cell", S3(1, 1, 1), AS(1, 1, 1), false},  {"to rows", S3(3, 4, 5), AS(1, 3, 20), false},
    {"vector", {1, {48}}, AS(3, 4, 4), false},      {"to maps", S3(1, 6, 6), AS(36, 1, 1), false},
    {"17 maps", S3(17, 2, 2), AS(4, 1, 17), false}, {"same", S3(3, 4, 5), AS(3, 4, 5), false},
    {"33", {1, {33}}, AS(33, 1, 1), false},         {"halves", S3(16, 4, 2), AS(32, 2, 2), false},
};

#define LP(kh, kw, power, sh, sw, t, b, l, r, how)                                                 \
    {                                                                                              \
        .lp = {                                                                                    \
            .kernel = {kh, kw},                                                                    \
            .stride = {sh, sw},                                                                    \
            .pad = {t, b, l, r},                                                                   \
            .p = power,                                                                            \
            .round = how                                                                           \
        }                                                                                          \
    }
static const WindowCase lp_case[] = {
    {"one cell", S3(1, 1, 1), LP(1, 1, 2, 1, 1, 0, 0, 0, 0, 0), true},
    {"2x2", S3(3, 4, 6), LP(2, 2, 2, 2, 2, 0, 0, 0, 0, 0), true},
    {"2x2, p 1", S3(17, 4, 4), LP(2, 2, 1, 2, 2, 0, 0, 0, 0, 0), true},
    {"3x3 stride 2, p 3", S3(16, 7, 7), LP(3, 3, 3, 2, 2, 0, 0, 0, 0, 0), true},
    {"3x3 stride 2 pad 1, p 4", S3(5, 8, 7), LP(3, 3, 4, 2, 2, 1, 1, 1, 1, 0), true},
    {"3x2 stride 2x3, ceil", S3(4, 8, 9), LP(3, 2, 2, 2, 3, 0, 0, 0, 0, POOL_ROUND_CEIL), true},
    {"2x2, p 1.5", S3(33, 4, 2), LP(2, 2, 1.5, 2, 2, 0, 0, 0, 0, 0), true},
    {"5x5 overlapping", S3(2, 7, 6), LP(5, 5, 2, 1, 1, 2, 2, 2, 2, 0), true},
};

#define CONTRAST(kh, kw, width)                                                                    \
    {                                                                                              \
        .contrast = {.kernel = {kh, kw}, .sigma = width, .eps = 1e-4 }                             \
    }
static const WindowCase contrast_case[] = {
    {"1x1", S3(2, 3, 3), CONTRAST(1, 1, 0), true},
    {"3x3", S3(3, 5, 6), CONTRAST(3, 3, 0), true},
    {"9x9 larger than the image", S3(4, 5, 6), CONTRAST(9, 9, 0), true},
    {"5x3, 17 maps", S3(17, 6, 5), CONTRAST(5, 3, 0), true},
    {"7x7 sigma 3, 16 maps", S3(16, 9, 8), CONTRAST(7, 7, 3), true},
    {"one map", S3(1, 12, 9), CONTRAST(5, 5, 1), true},
    {"one row", S3(5, 1, 9), CONTRAST(3, 5, 0), true},
    {"33 maps", S3(33, 3, 4), CONTRAST(3, 3, 0.8), true},
};

static const struct {
    int op;
    const WindowCase *at;
    int count;
    size_t attrs;
} family[] = {
    {OP_GLOBAL_AVGPOOL, global_case, COUNT(global_case), 0},
    {OP_GLOBAL_MAXPOOL, global_case, COUNT(global_case), 0},
    {OP_MEAN, axis_case, COUNT(axis_case), sizeof(AxisAttrs)},
    {OP_MAX, axis_case, COUNT(axis_case), sizeof(AxisAttrs)},
    {OP_CROP, crop_case, COUNT(crop_case), sizeof(CropAttrs)},
    {OP_PAD, pad_case, COUNT(pad_case), sizeof(PadAttrs)},
    {OP_DOWNSAMPLE, down_case, COUNT(down_case), sizeof(CropAttrs)},
    {OP_UPSAMPLE, up_case, COUNT(up_case), sizeof(ResizeAttrs)},
    {OP_RESIZE, resize_case, COUNT(resize_case), sizeof(ResizeAttrs)},
    {OP_LP_POOL, lp_case, COUNT(lp_case), sizeof(LpPoolAttrs)},
    {OP_SUBTRACTIVE_NORM, contrast_case, COUNT(contrast_case), sizeof(ContrastAttrs)},
    {OP_DIVISIVE_NORM, contrast_case, COUNT(contrast_case), sizeof(ContrastAttrs)},
    {OP_TRANSPOSE, transpose_case, COUNT(transpose_case), sizeof(PermuteAttrs)},
    {OP_CHANNEL_SHUFFLE, shuffle_case, COUNT(shuffle_case), sizeof(ShuffleAttrs)},
    {OP_RESHAPE, reshape_case, COUNT(reshape_case), sizeof(ReshapeAttrs)},
    {OP_RESAMPLE, resample_case, COUNT(resample_case), sizeof(ResampleAttrs)},
};

static int family_of(int op) {
    for (int f = 0; f < COUNT(family); f++)
        if (family[f].op == op)
            return f;
    return -1;
}

int ref_window_count(int op) {
    int f = family_of(op);
    return f < 0 ? 0 : family[f].count;
}

RefCase ref_window_case(Arena *keep, int op, int i) {
    int f = family_of(op);
    BUG_IF(f < 0 || i >= family[f].count, "no such case");
    const WindowCase *c = &family[f].at[i];
    RefCase r = {.what = c->what, .nin = 1, .kind = {REF_DATA}, .rounds = c->rounds};
    r.in[0] = c->src;
    if (family[f].attrs) {
        void *a = arena_alloc(keep, family[f].attrs);
        memcpy(a, &c->a, family[f].attrs);
        r.attrs = a;
    }
    return r;
}
