/* resample_lower.c: the kernel of resample.c: one pass over rows of the result.
 *
 * Rows and columns whose matrices have at most a single 1 per row are copies: contiguous or strided
 * ranges without a table, or by a table of indices (nearest, reflected borders).  Other matrices
 * are tables of (index, weight); sums run over rows, then columns, in the order of the cells.  Maps
 * that do not begin at a block of the vector's width are shifted together from two blocks.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"
#include "ops/resample.h"

typedef struct Side { /* one axis */
    ResampleAxis m;
    bool copies; /* at most one tap per row, of weight 1 */
    bool range;  /* copies, and row i is cell i * step + from for lo <= i < hi, else 0 */
    int64_t lo, hi, step, from;
    Val start, index, weight; /* tables */
} Side;

typedef struct Resample {
    const ResampleAttrs *a;
    View src;
    Epi epi;
    Side side[2];
    int64_t w, cblocks; /* of the result */
} Resample;

static void find_range(Side *s) {
    const ResampleAxis *m = &s->m;
    s->copies = true;
    for (int64_t i = 0; i < m->n; i++) {
        int64_t n = m->start[i + 1] - m->start[i];
        s->copies &= n == 0 || (n == 1 && m->at[m->start[i]].weight == 1);
    }
    if (!s->copies)
        return;
    while (s->lo < m->n && m->start[s->lo + 1] == m->start[s->lo])
        s->lo++;
    for (s->hi = s->lo; s->hi < m->n && m->start[s->hi + 1] > m->start[s->hi];)
        s->hi++;
    int64_t first = s->lo < m->n ? m->at[m->start[s->lo]].index : 0;
    s->step = s->hi - s->lo > 1 ? m->at[m->start[s->lo + 1]].index - first : 1;
    s->from = first - s->lo * s->step;
    s->range = s->step > 0;
    for (int64_t i = s->lo; i < s->hi; i++)
        s->range &= m->at[m->start[i]].index == i * s->step + s->from;
    for (int64_t i = s->hi; i < m->n; i++)
        s->range &= m->start[i + 1] == m->start[i];
}

/* Copies: one index per row, -1 for none; else lists. */
static void side_open(KernelCtx *k, Side *s, Arena *tmp, int axis, int64_t in, int64_t out) {
    s->m = resample_axis(tmp, k->attrs, axis, in, out);
    find_range(s);
    if (s->range)
        return;
    int64_t taps = s->m.start[out], n = s->copies ? out : taps;
    int32_t *start = ARENA_ARRAY(tmp, out + 1, int32_t), *index = ARENA_ARRAY(tmp, n + 1, int32_t);
    float *weight = ARENA_ARRAY(tmp, n + 1, float);
    for (int64_t i = 0; i <= out; i++)
        start[i] = (int32_t)s->m.start[i];
    for (int64_t i = 0; i < n; i++) {
        bool none = s->copies && start[i] == start[i + 1];
        const ResampleTap *t = &s->m.at[s->copies ? start[i] : i];
        index[i] = none ? -1 : (int32_t)t->index;
        weight[i] = none ? 0 : (float)t->weight;
    }
    s->index = em_c_bytes(k->e, index, (size_t)(n + 1) * sizeof *index, 4);
    if (s->copies)
        return;
    s->start = em_c_bytes(k->e, start, (size_t)(out + 1) * sizeof *start, 4);
    s->weight = em_c_bytes(k->e, weight, (size_t)(n + 1) * sizeof *weight, 4);
}

static Val table(KernelCtx *k, Val base, Val i) {
    return em_load_i32(k->e, em_ptr(k->e, base, i), 0);
}

/* Cell that row i of a copying side copies. */
static Val copied(KernelCtx *k, const Side *s, Val i) {
    Emit *e = k->e;
    if (s->range)
        return em_add(e, em_mul(e, i, em_i64(e, s->step)), em_i64(e, s->from));
    return table(k, s->index, i);
}

/* ---- maps ---- */

static Val block_or_zero(KernelCtx *k, const Resample *r, Val n, Val cb, int64_t shift, Val y,
                         Val x) {
    Emit *e = k->e;
    const View *v = &r->src;
    Val b = em_add(e, cb, em_i64(e, shift));
    if (shift >= 0 && r->cblocks - 1 + shift < v->cblocks)
        return em_load(e, view_at(k, v, n, b, y, x), 0, v->aligned);
    Val there = em_imax(e, em_i64(e, 0), em_imin(e, b, em_i64(e, v->cblocks - 1)));
    Val got = em_load(e, view_at(k, v, n, there, y, x), 0, v->aligned);
    return em_select(e, em_icmp(e, EM_EQ, b, there), got, em_vec(e, 0));
}

/* Vector cb of the result's maps, taken from pixel (y, x) of src. */
static Val pixel(KernelCtx *k, const Resample *r, Val n, Val cb, Val y, Val x) {
    Emit *e = k->e;
    const View *v = &r->src;
    if (r->a->gather == MAPS_SUM && r->a->adjoint)
        return em_bcast(e, view_at(k, v, n, em_i64(e, 0), y, x), 0);
    if (r->a->gather == MAPS_SUM) {
        Val sum[1] = {em_vec(e, 0)};
        Loop b = em_for(e, em_i64(e, 0), em_i64(e, v->cblocks), 1, "maps", sum, 1);
        sum[0] = em_fadd(e, sum[0], em_load(e, view_at(k, v, n, b.i, y, x), 0, v->aligned));
        em_for_end(e, &b, sum, 1);
        return em_insert(e, em_vec(e, 0), em_reduce_add(e, sum[0]), 0);
    }
    int64_t width = em_width(e), lane = (r->a->first % width + width) % width;
    int64_t shift = (r->a->first - lane) / width;
    Val low = block_or_zero(k, r, n, cb, shift, y, x);
    if (lane == 0)
        return low;
    return em_shift(e, low, block_or_zero(k, r, n, cb, shift + 1, y, x), (int)lane);
}

/* ---- columns ---- */

static void emit_cell(KernelCtx *k, Resample *r, Val n, Val cb, Val y, Val x, Val value) {
    Emit *e = k->e;
    epi_tile(k, &r->epi, n, cb, y, x);
    if (value && r->a->scale != 1)
        value = em_fmul(e, value, em_vec(e, r->a->scale));
    epi_emit(k, &r->epi, value ? value : em_vec(e, 0), 0, 0, 0, 0);
}

static void zeros(KernelCtx *k, Resample *r, Val n, Val cb, Val y, int64_t from, int64_t to) {
    Emit *e = k->e;
    if (from >= to)
        return;
    Loop x = em_for(e, em_i64(e, from), em_i64(e, to), 1, "x", NULL, 0);
    emit_cell(k, r, n, cb, y, x.i, NULL);
    em_for_end(e, &x, NULL, 0);
}

/* Row y of the result from row sy of src, both sides copies. */
static void copy_columns(KernelCtx *k, Resample *r, Val n, Val cb, Val y, Val sy) {
    Emit *e = k->e;
    const Side *s = &r->side[1];
    int64_t lo = s->range ? s->lo : 0, hi = s->range ? s->hi : r->w;
    zeros(k, r, n, cb, y, 0, lo);
    if (lo < hi) {
        Loop x = em_for(e, em_i64(e, lo), em_i64(e, hi), 1, "x", NULL, 0);
        Val sx = copied(k, s, x.i);
        if (s->range) {
            emit_cell(k, r, n, cb, y, x.i, pixel(k, r, n, cb, sy, sx));
        } else {
            Val there = em_imax(e, sx, em_i64(e, 0));
            Val got = pixel(k, r, n, cb, sy, there);
            emit_cell(k, r, n, cb, y, x.i,
                      em_select(e, em_icmp(e, EM_GE, sx, em_i64(e, 0)), got, em_vec(e, 0)));
        }
        em_for_end(e, &x, NULL, 0);
    }
    zeros(k, r, n, cb, y, hi, r->w);
}

static void copy_row(KernelCtx *k, Resample *r, Val n, Val cb, Val y) {
    Emit *e = k->e;
    const Side *s = &r->side[0];
    if (s->range && s->lo == 0 && s->hi == s->m.n) {
        copy_columns(k, r, n, cb, y, copied(k, s, y));
        return;
    }
    Val sy = copied(k, s, y), real;
    if (s->range)
        real = em_and(e, em_icmp(e, EM_GE, y, em_i64(e, s->lo)),
                      em_icmp(e, EM_LT, y, em_i64(e, s->hi)));
    else
        real = em_icmp(e, EM_GE, sy, em_i64(e, 0));
    If f = em_if(e, real);
    copy_columns(k, r, n, cb, y, sy);
    em_else(e, &f);
    zeros(k, r, n, cb, y, 0, r->w);
    em_endif(e, &f);
}

/* ---- sums ---- */

typedef struct Taps {
    Loop loop;
    Val at, weight; /* weight NULL: 1 */
    bool one;
} Taps;

/* Walks the cells of row i; sums in *acc. */
static Taps taps_open(KernelCtx *k, const Side *s, Val i, Val *acc) {
    Emit *e = k->e;
    Taps t = {.one = s->range && s->lo == 0 && s->hi == s->m.n};
    if (t.one) {
        t.at = copied(k, s, i);
        return t;
    }
    if (s->range || s->copies) {
        Val at = copied(k, s, i), real;
        if (s->range)
            real = em_and(e, em_icmp(e, EM_GE, i, em_i64(e, s->lo)),
                          em_icmp(e, EM_LT, i, em_i64(e, s->hi)));
        else
            real = em_icmp(e, EM_GE, at, em_i64(e, 0));
        Val count = em_select(e, real, em_i64(e, 1), em_i64(e, 0));
        t.loop = em_for(e, em_i64(e, 0), count, 1, "tap", acc, 1);
        t.at = at;
        return t;
    }
    Val from = table(k, s->start, i), to = table(k, s->start, em_add(e, i, em_i64(e, 1)));
    t.loop = em_for(e, from, to, 1, "tap", acc, 1);
    t.at = table(k, s->index, t.loop.i);
    t.weight = em_bcast(e, em_ptr(e, s->weight, t.loop.i), 0);
    return t;
}

static void taps_close(KernelCtx *k, Taps *t, Val value, Val *acc) {
    Emit *e = k->e;
    acc[0] = t->one      ? value
             : t->weight ? em_fma(e, t->weight, value, acc[0])
                         : em_fadd(e, acc[0], value);
    if (!t->one)
        em_for_end(e, &t->loop, acc, 1);
}

static void sum_row(KernelCtx *k, Resample *r, Val n, Val cb, Val y) {
    Emit *e = k->e;
    Loop x = em_for(e, em_i64(e, 0), em_i64(e, r->w), 1, "x", NULL, 0);
    Val total[1] = {em_vec(e, 0)};
    Taps rows = taps_open(k, &r->side[0], y, total);
    Val row[1] = {em_vec(e, 0)};
    Taps columns = taps_open(k, &r->side[1], x.i, row);
    taps_close(k, &columns, pixel(k, r, n, cb, rows.at, columns.at), row);
    taps_close(k, &rows, row[0], total);
    emit_cell(k, r, n, cb, y, x.i, total[0]);
    em_for_end(e, &x, NULL, 0);
}

static void resample_row(KernelCtx *k, void *user, Val n, Val cb, Val y) {
    Resample *r = user;
    epi_row(k, &r->epi, n, cb, 1, y);
    if (r->side[0].copies && r->side[1].copies)
        copy_row(k, r, n, cb, y);
    else
        sum_row(k, r, n, cb, y);
}

void lower_resample(KernelCtx *k) {
    Resample r = {.a = k->attrs, .src = view_of(k, k->node->in[0])};
    int64_t c, h, width = em_width(k->e);
    epi_open(k, &r.epi);
    shape_chw(&graph_v(k->g, k->node->out[0])->shape, &c, &h, &r.w);
    r.cblocks = (c + width - 1) / width;
    if (r.a->gather == MAPS_SUM ? r.a->adjoint : r.a->first + c < r.src.c)
        r.epi.must_mask |= c % width != 0; /* maps beyond the result's last are real */
    Arena *tmp = arena_new();              /* the graph's is for one thread */
    side_open(k, &r.side[0], tmp, 0, r.src.h, h);
    side_open(k, &r.side[1], tmp, 1, r.src.w, r.w);
    rows_for_each(k, r.cblocks, h, resample_row, &r);
    arena_free(tmp);
}
