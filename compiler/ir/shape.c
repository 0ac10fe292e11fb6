/* shape.c: arithmetic on logical shapes, window extents and physical layouts.
 *
 * requires: extents may be hostile (they come from specs); every product is checked.
 * ensures: layout_axes() and layout_elems() agree: the product of the axes' extents is the size.
 * theory: blocked layouts nChw{b}c and OIhw{i}i{o}o as in oneDNN; output extents of windows as in
 * Dumoulin and Visin, "A guide to convolution arithmetic", 2016, relationships 5 to 8; clipping of
 * rounded-up pooling windows as in Caffe (the last window must start inside the padded image).
 */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "ir/graph.h"

int64_t shape_elems(const Shape *s) {
    int64_t n = shape_frames(s);
    for (int d = 0; d < s->rank; d++)
        if (s->dim[d] < 0 || __builtin_mul_overflow(n, s->dim[d], &n))
            return -1;
    return n;
}

bool shape_equal(const Shape *a, const Shape *b) {
    if (a->rank != b->rank || shape_frames(a) != shape_frames(b))
        return false;
    for (int d = 0; d < a->rank; d++)
        if (a->dim[d] != b->dim[d])
            return false;
    return true;
}

void shape_print(const Shape *s, char *buf, size_t n) {
    size_t used = 0;
    if (n == 0)
        return;
    buf[0] = 0;
    if (s->rank == 0)
        snprintf(buf, n, "1");
    for (int d = 0; d < s->rank && used < n; d++) {
        used +=
            (size_t)snprintf(buf + used, n - used, "%s%lld", d ? "x" : "", (long long)s->dim[d]);
        if (d == 0 && shape_frames(s) > 1 && used < n) /* channels, frames, height, width */
            used += (size_t)snprintf(buf + used, n - used, "x%lld",
                                     (long long)shape_frames(s));
    }
}

void shape_chw(const Shape *s, int64_t *c, int64_t *h, int64_t *w) {
    BUG_IF(s->rank != 0 && s->rank != 1 && s->rank != 3,
           "rank %d has no channels-height-width view", s->rank);
    *c = s->rank >= 1 ? s->dim[0] : 1;
    *h = s->rank == 3 ? s->dim[1] : 1;
    *w = s->rank == 3 ? s->dim[2] : 1;
}

bool window_extent(int64_t in, int64_t k, int64_t s, int64_t pad0, int64_t pad1, int64_t dil,
                   RoundMode round, bool clip, int64_t *out, int64_t *lost) {
    int64_t span, padded;
    if (in < 1 || k < 1 || s < 1 || dil < 1 || pad0 < 0 || pad1 < 0)
        return false;
    if (__builtin_mul_overflow(k - 1, dil, &span) || __builtin_add_overflow(span, 1, &span) ||
        __builtin_add_overflow(in, pad0, &padded) || __builtin_add_overflow(padded, pad1, &padded))
        return false;
    if (span > padded)
        return false;
    int64_t slack = padded - span;
    if (round == ROUND_EXACT && slack % s != 0)
        return false;
    *out = slack / s + 1;
    if (round == ROUND_CEIL && slack % s != 0)
        ++*out;
    if (clip && *out > 1 && (*out - 1) * s >= in + pad0)
        --*out;
    int64_t end = (*out - 1) * s + span; /* first padded cell that no window reads */
    *lost = pad0 + in > end ? pad0 + in - end : 0;
    return true;
}

/* ---- layouts ---- */

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int push_axis(Axis *axes, int n, int dim, int64_t extent, int64_t mult, int64_t offset) {
    axes[n] = (Axis){dim, extent, mult, offset};
    return n + 1;
}

static int weights_axes(const Layout *l, const Shape *s, Axis *axes) {
    int64_t o = s->rank > 0 ? s->dim[0] : 1, i = s->rank > 1 ? s->dim[1] : 1;
    int64_t kh = s->rank > 2 ? s->dim[2] : 1, kw = s->rank > 3 ? s->dim[3] : 1;
    int64_t og = o / (l->groups > 0 ? l->groups : 1);
    BUG_IF(l->o_tile < 1 || l->i_block < 1 || l->groups < 1, "weights layout without tiles");
    int tile_dim = l->transposed ? 1 : 0, block_dim = l->transposed ? 0 : 1;
    int64_t tiled = l->transposed ? i : og, blocked = l->transposed ? og : i;
    int n = push_axis(axes, 0, 0, l->groups, og, 0);
    n = push_axis(axes, n, tile_dim, ceil_div(tiled, l->o_tile), l->o_tile, 0);
    n = push_axis(axes, n, block_dim, ceil_div(blocked, l->i_block), l->i_block, 0);
    /* A dense layer's kernel has no height and width: extent 1, moving nothing. */
    n = push_axis(axes, n, s->rank > 2 ? 2 : 0, kh, s->rank > 2, 0);
    n = push_axis(axes, n, s->rank > 3 ? 3 : 0, kw, s->rank > 3, 0);
    n = push_axis(axes, n, block_dim, l->i_block, 1, 0);
    return push_axis(axes, n, tile_dim, l->o_tile, 1, 0);
}

static int blocked_axes(const Layout *l, const Shape *s, Axis *axes) {
    BUG_IF(l->block < 1 || (s->rank != 1 && s->rank != 3), "blocked layout of rank %d", s->rank);
    const int *halo = l->halo;
    int n = push_axis(axes, 0, 0, ceil_div(s->dim[0], l->block), l->block, 0);
    if (s->rank == 3) {
        n = push_axis(axes, n, 1, s->dim[1] + halo[0] + halo[1], 1, -halo[0]);
        n = push_axis(axes, n, 2, s->dim[2] + halo[2] + halo[3], 1, -halo[2]);
    }
    return push_axis(axes, n, 0, l->block, 1, 0);
}

int layout_axes(const Layout *l, const Shape *s, Axis axes[LAYOUT_MAX_AXES]) {
    int n = 0;
    switch (l->kind) {
    case LAYOUT_WEIGHTS:
        return weights_axes(l, s, axes);
    case LAYOUT_BLOCKED:
        return blocked_axes(l, s, axes);
    case LAYOUT_PLAIN:
        for (int d = 0; d < s->rank; d++) {
            const int *halo = s->rank == 3 && d > 0 ? &l->halo[2 * (d - 1)] : NULL;
            n = push_axis(axes, n, d, s->dim[d] + (halo ? halo[0] + halo[1] : 0), 1,
                          halo ? -halo[0] : 0);
        }
        return n;
    case LAYOUT_UNSET:
        break;
    }
    BUG("a value without a layout has no axes");
}

int64_t layout_elems(const Layout *l, const Shape *s) {
    Axis axes[LAYOUT_MAX_AXES];
    int n = layout_axes(l, s, axes);
    int64_t elems = 1;
    for (int i = 0; i < n; i++)
        if (__builtin_mul_overflow(elems, axes[i].extent, &elems))
            return -1;
    return elems;
}
