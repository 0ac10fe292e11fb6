/* rt_layout.c: walks a nest of axes and copies between physical and logical order (rt_layout.h).
 *
 * The walk goes over physical places in order; each axis adds p * mult + offset to one logical
 * index.  A dimension is checked at the last axis that contributes to it, so padding is skipped as
 * whole subtrees, and the innermost axis becomes one loop without tests.
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
    bool last[RT_MAX_AXES];      /* no deeper axis touches the same dimension */
    void (*row)(const struct Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n);
    const void *physical;
    float *logical;
    float *out; /* pack: the physical side */
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
    bool seen[RT_MAX_DIMS] = {false};
    for (int a = l->naxes - 1; a >= 0; a--) {
        w->inner[a] = s;
        s *= l->axis[a].extent;
        w->last[a] = !seen[l->axis[a].dim];
        seen[l->axis[a].dim] = true;
    }
}

/* The places p of axis x for which index + p * mult + offset lies in 0..dim-1. */
static void valid_range(const rt_axis *x, int64_t dim, int64_t index, int64_t *from, int64_t *to) {
    int64_t start = index + x->offset;
    int64_t lo = start >= 0 ? 0 : (-start + x->mult - 1) / x->mult;
    int64_t hi = dim - start <= 0 ? 0 : (dim - start + x->mult - 1) / x->mult;
    *from = lo;
    *to = hi < x->extent ? hi : x->extent;
}

static void walk(const Walk *w, int a, int64_t from, int64_t to, int64_t physical,
                 int64_t index[RT_MAX_DIMS]) {
    const rt_axis *x = &w->l->axis[a];
    int64_t saved = index[x->dim];
    if (w->last[a]) {
        int64_t lo, hi;
        valid_range(x, w->l->dim[x->dim], saved, &lo, &hi);
        from = lo > from ? lo : from;
        to = hi < to ? hi : to;
    }
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
    float *dst = w->logical + logical;
    if (step == 1)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else
        for (int64_t i = 0; i < n; i++)
            dst[i * step] = src[i];
}

static void row_pack(const Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n) {
    float *dst = w->out + physical;
    const float *src = w->logical + logical;
    if (step == 1)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[i * step];
}

static void row_read(const Walk *w, int64_t physical, int64_t logical, int64_t step, int64_t n) {
    float *dst = w->logical + logical;
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
