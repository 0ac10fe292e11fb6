/* rt_layout.c: walks a nest of axes and copies between physical and logical order (rt_layout.h).
 *
 * The walk goes over physical places in order; each axis adds p * mult + offset to one logical
 * index.  A dimension is checked at each axis that contributes to it, against what deeper ones can
 * still add, so padding and rows outside a part are skipped as whole subtrees, and the innermost
 * axis becomes one loop without tests.
 * theory: blocked formats as nests of axes, after oneDNN's "understanding memory formats".
 */
#include "rt_layout.h"

#include <stdbool.h>
#include <string.h>

#include "rt_par.h"

typedef struct Walk {
    const rt_layout *l;
    int64_t stride[RT_MAX_DIMS]; /* logical, row-major */
    int64_t inner[RT_MAX_AXES];  /* physical elements below one step of this axis */
    int64_t least[RT_MAX_AXES], most[RT_MAX_AXES]; /* what deeper axes add to the same dimension */
    int64_t from, to;            /* indices of dimension 0 that are wanted */
    void (*row)(const struct Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n);
    const void *physical;
    float *logical;
    int64_t base; /* logical number of the element that `logical` points to */
    void *out; /* pack: the physical side */
    int dtype;
} Walk;

int64_t rt_layout_count(const rt_layout *l) {
    int64_t n = 1;
    if (l->rank < 0 || l->rank > RT_MAX_DIMS)
        return -1;
    for (int d = 0; d < l->rank; d++)
        if (l->dim[d] < 1 || __builtin_mul_overflow(n, l->dim[d], &n))
            return -1;
    return n;
}

int64_t rt_layout_physical(const rt_layout *l) {
    int64_t n = 1;
    if (l->naxes < 0 || l->naxes > RT_MAX_AXES)
        return -1;
    for (int a = 0; a < l->naxes; a++) {
        const rt_axis *x = &l->axis[a];
        if (x->dim < 0 || x->dim >= l->rank || x->extent < 1 || x->mult < 1 ||
            __builtin_mul_overflow(n, x->extent, &n))
            return -1;
    }
    return n;
}

static void walk_prepare(Walk *w, const rt_layout *l) {
    memset(w, 0, sizeof *w);
    w->l = l;
    int64_t s = 1;
    for (int d = l->rank - 1; d >= 0; d--) {
        w->stride[d] = s;
        s *= l->dim[d];
    }
    s = 1;
    int64_t least[RT_MAX_DIMS] = {0}, most[RT_MAX_DIMS] = {0};
    for (int a = l->naxes - 1; a >= 0; a--) {
        const rt_axis *x = &l->axis[a];
        w->inner[a] = s;
        s *= x->extent;
        w->least[a] = least[x->dim];
        w->most[a] = most[x->dim];
        least[x->dim] += x->offset;
        most[x->dim] += (x->extent - 1) * x->mult + x->offset;
    }
    w->to = l->rank > 0 ? l->dim[0] : 1;
}

/* The places p of axis a from which some index of its dimension that is wanted can be reached. */
static void valid_range(const Walk *w, int a, int64_t index, int64_t *from, int64_t *to) {
    const rt_axis *x = &w->l->axis[a];
    int64_t start = index + x->offset, dim = w->l->dim[x->dim];
    int64_t below = (x->dim == 0 ? w->from : 0) - w->most[a] - start;
    int64_t above = (x->dim == 0 ? w->to : dim) - w->least[a] - start;
    int64_t lo = below <= 0 ? 0 : (below + x->mult - 1) / x->mult;
    int64_t hi = above <= 0 ? 0 : (above + x->mult - 1) / x->mult;
    *from = lo > *from ? lo : *from;
    *to = hi < *to ? hi : *to;
}

static void walk(const Walk *w, int a, int64_t from, int64_t to, int64_t physical,
                 int64_t index[RT_MAX_DIMS]) {
    const rt_axis *x = &w->l->axis[a];
    int64_t saved = index[x->dim];
    valid_range(w, a, saved, &from, &to);
    if (from >= to)
        return;
    if (a == w->l->naxes - 1) {
        int64_t logical = from * x->mult * w->stride[x->dim] + x->offset * w->stride[x->dim];
        for (int d = 0; d < w->l->rank; d++)
            logical += index[d] * w->stride[d];
        w->row(w, physical + from, logical, x->mult * w->stride[x->dim], to - from);
        return;
    }
    for (int64_t p = from; p < to; p++) {
        index[x->dim] = saved + p * x->mult + x->offset;
        walk(w, a + 1, 0, w->l->axis[a + 1].extent, physical + p * w->inner[a], index);
    }
    index[x->dim] = saved;
}

static void row_unpack(const Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n) {
    const float *src = (const float *)w->physical + physical;
    float *dst = w->logical + (logical - w->base);
    if (step == 1)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else
        for (int64_t i = 0; i < n; i++)
            dst[i * step] = src[i];
}

static void row_pack(const Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n) {
    float *dst = (float *)w->out + physical;
    const float *src = w->logical + (logical - w->base);
    if (step == 1)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[i * step];
}

static void row_unpack16(const Walk *w, int64_t physical, int64_t logical, int64_t step,
                         int64_t n) {
    const uint16_t *src = (const uint16_t *)w->physical + physical;
    float *dst = w->logical + (logical - w->base);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)src[i] << 16;
        memcpy(&dst[i * step], &bits, sizeof bits);
    }
}

static uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* rounding must not make infinity of NaN */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void row_pack16(const Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n) {
    uint16_t *dst = (uint16_t *)w->out + physical;
    const float *src = w->logical + (logical - w->base);
    for (int64_t i = 0; i < n; i++)
        dst[i] = to_bf16(src[i * step]);
}

static void row_read(const Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n) {
    float *dst = w->logical + (logical - w->base);
    if (w->dtype == RT_U8) {
        const uint8_t *src = (const uint8_t *)w->physical + physical;
        for (int64_t i = 0; i < n; i++)
            dst[i * step] = (float)src[i];
    } else {
        const int32_t *src = (const int32_t *)w->physical + physical;
        for (int64_t i = 0; i < n; i++)
            dst[i * step] = (float)src[i];
    }
}

static void walk_piece(void *context, int64_t lo, int64_t hi, int thread) {
    const Walk *w = context;
    int64_t index[RT_MAX_DIMS] = {0};
    (void)thread;
    walk(w, 0, lo, hi, 0, index);
}

enum { WALK_PARALLEL = 1 << 20 }; /* elements from which a second thread pays */

static void walk_all(Walk *w, int threads) {
    if (w->l->naxes == 0) { /* rank 0: one number */
        w->row(w, 0, 0, 1, 1);
        return;
    }
    int64_t outer = w->l->axis[0].extent;
    if (threads > 1 && outer > 1 && outer * w->inner[0] >= WALK_PARALLEL)
        rt_parallel_for(threads, outer, (outer + threads - 1) / threads, walk_piece, w);
    else
        walk_piece(w, 0, outer, 0);
}

void rt_layout_unpack(const rt_layout *l, const float *physical, float *logical, int threads) {
    Walk w;
    walk_prepare(&w, l);
    w.row = row_unpack;
    w.physical = physical;
    w.logical = logical;
    walk_all(&w, threads);
}

void rt_layout_pack(const rt_layout *l, const float *logical, float *physical, int threads) {
    Walk w;
    walk_prepare(&w, l);
    w.row = row_pack;
    w.out = physical;
    w.logical = (float *)(uintptr_t)logical; /* only read by row_pack */
    int64_t n = rt_layout_physical(l);
    if (n > rt_layout_count(l))
        memset(physical, 0, (size_t)n * sizeof *physical);
    walk_all(&w, threads);
}

/* ---- a part: rows of the outermost logical dimension ---- */

typedef struct Part {
    const Walk *w;
    int64_t first;
} Part;

static void part_piece(void *context, int64_t lo, int64_t hi, int thread) {
    const Part *part = context;
    Walk w = *part->w;
    int64_t index[RT_MAX_DIMS] = {0};
    (void)thread;
    w.from = part->first + lo;
    w.to = part->first + hi;
    if (w.l->naxes == 0)
        w.row(&w, 0, 0, 1, 1);
    else
        walk(&w, 0, 0, w.l->axis[0].extent, 0, index);
}

/* Threads share the rows in multiples of 16, so that they do not meet in a cache line. */
static void walk_rows(const Walk *w, int64_t first, int64_t rows, int64_t elems, int threads) {
    enum { TOGETHER = 16 };
    Part part = {w, first};
    int64_t grain = (rows + threads - 1) / threads;
    grain = (grain + TOGETHER - 1) / TOGETHER * TOGETHER;
    rt_parallel_for(elems < WALK_PARALLEL / 4 ? 1 : threads, rows, grain, part_piece, &part);
}

static int64_t row_size(const rt_layout *l) {
    return l->rank > 0 ? rt_layout_count(l) / l->dim[0] : 1;
}

static void unpack_rows(const rt_layout *l, const void *physical, float *rows, int64_t first,
                        int64_t n, int threads, bool bf16) {
    Walk w;
    walk_prepare(&w, l);
    w.row = bf16 ? row_unpack16 : row_unpack;
    w.physical = physical;
    w.logical = rows;
    w.base = first * row_size(l);
    walk_rows(&w, first, n, n * row_size(l), threads);
}

static void pack_rows(const rt_layout *l, const float *rows, void *physical, int64_t first,
                      int64_t n, int threads, bool bf16) {
    Walk w;
    walk_prepare(&w, l);
    w.row = bf16 ? row_pack16 : row_pack;
    w.out = physical;
    w.logical = (float *)(uintptr_t)rows; /* only read by row_pack */
    w.base = first * row_size(l);
    walk_rows(&w, first, n, n * row_size(l), threads);
}

void rt_layout_unpack_rows(const rt_layout *l, const float *physical, float *rows, int64_t first,
                           int64_t n, int threads) {
    unpack_rows(l, physical, rows, first, n, threads, false);
}

void rt_layout_pack_rows(const rt_layout *l, const float *rows, float *physical, int64_t first,
                         int64_t n, int threads) {
    pack_rows(l, rows, physical, first, n, threads, false);
}

void rt_layout_unpack_rows16(const rt_layout *l, const uint16_t *physical, float *rows,
                             int64_t first, int64_t n, int threads) {
    unpack_rows(l, physical, rows, first, n, threads, true);
}

void rt_layout_pack_rows16(const rt_layout *l, const float *rows, uint16_t *physical,
                           int64_t first, int64_t n, int threads) {
    pack_rows(l, rows, physical, first, n, threads, true);
}

void rt_layout_read(const rt_layout *l, int dtype, const void *physical, float *logical) {
    if (dtype == RT_F32) {
        rt_layout_unpack(l, physical, logical, 1);
        return;
    }
    Walk w;
    walk_prepare(&w, l);
    w.row = row_read;
    w.physical = physical;
    w.logical = logical;
    w.dtype = dtype;
    walk_all(&w, 1);
}

int64_t rt_layout_at(const rt_layout *l, const int64_t index[RT_MAX_DIMS]) {
    /* Divide from the outermost axis of each dimension: an axis's share is what deeper axes of
     * the same dimension cannot reach. */
    int64_t rest[RT_MAX_DIMS], place = 0, inner[RT_MAX_AXES], s = 1;
    for (int a = l->naxes - 1; a >= 0; a--) {
        inner[a] = s;
        s *= l->axis[a].extent;
    }
    for (int d = 0; d < l->rank; d++) {
        if (index[d] < 0 || index[d] >= l->dim[d])
            return -1;
        rest[d] = index[d];
        for (int a = 0; a < l->naxes; a++)
            if (l->axis[a].dim == d)
                rest[d] -= l->axis[a].offset;
    }
    for (int a = 0; a < l->naxes; a++) {
        int64_t p = rest[l->axis[a].dim] / l->axis[a].mult;
        if (p < 0 || p >= l->axis[a].extent)
            return -1;
        rest[l->axis[a].dim] -= p * l->axis[a].mult;
        place += p * inner[a];
    }
    return place;
}
