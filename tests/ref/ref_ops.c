/* ref_ops.c: every operator as an obviously correct loop in double precision (see ref_ops.h).
 *
 * Gradients are written as the forward loop with the assignment turned round (scatter), never as the
 * clever gather that compiled code uses, so that the two cannot share a mistake.
 */
#include "ref_ops.h"

#include <math.h>
#include <stdlib.h>

#include "base/bug.h"
#include "ops/attrs.h"
#include "ref_algebra.h"
#include "ref_clip.h"
#include "ref_loss.h"
#include "ref_recur.h"
#include "ref_norm.h"
#include "ref_objective.h"
#include "ref_params.h"
#include "ref_window.h"

/* ---- access ---- */

static int64_t image_elems(const RefTensor *t) { return shape_elems(&t->shape); }

int64_t ref_elems(const RefTensor *t) { return t->n * image_elems(t); }

static int64_t dim(const RefTensor *t, int d) {
    return d < t->shape.rank ? t->shape.dim[d] : 1;
}

/* element (n, c, y, x) of a batched tensor of rank 0, 1 or 3 */
static double *at(const RefTensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    return &t->at[((n * dim(t, 0) + c) * dim(t, 1) + y) * dim(t, 2) + x];
}

/* element (o, i, ky, kx) of weights of rank 2 or 4 */
static double *wat(const RefTensor *t, int64_t o, int64_t i, int64_t ky, int64_t kx) {
    return &t->at[((o * dim(t, 1) + i) * dim(t, 2) + ky) * dim(t, 3) + kx];
}

static bool inside(const RefTensor *t, int64_t y, int64_t x) {
    return y >= 0 && y < dim(t, 1) && x >= 0 && x < dim(t, 2);
}


/* ---- convolution ---- */

/* One weight and a row of cells that meet it: `count` output cells side by side, their source cells
 * `step` apart. */
typedef void (*RowFn)(double *src, int64_t step, double *weight, double *dst, int64_t count);

/* Visits every (source cell, weight, output cell) triple of a convolution, padding left out.  Output
 * cells lo .. hi - 1 of a row have their source cell inside the image; inlined, because these loops
 * take most of the time of tests that compare networks. */
static inline __attribute__((always_inline)) void conv_taps(const RefCall *r, const RefTensor *src,
                                                            const RefTensor *weights,
                                                            const RefTensor *dst, RowFn fn) {
    const ConvAttrs *a = r->attrs;
    int64_t per_in = dim(src, 0) / a->groups, per_out = a->maps / a->groups, step = a->stride[1];
    FOR(n, r->n) FOR(o, a->maps) FOR(i, per_in) FOR(ky, a->kernel[0]) FOR(kx, a->kernel[1]) {
        int64_t c = o / per_out * per_in + i, lo = 0, hi = dim(dst, 2);
        int64_t left = kx * a->dilation[1] - a->pad[2]; /* the source cell of output cell 0 */
        while (lo < hi && left + lo * step < 0)
            lo++;
        while (lo < hi && left + (hi - 1) * step >= dim(src, 2))
            hi--;
        FOR(y, dim(dst, 1)) {
            int64_t sy = y * a->stride[0] + ky * a->dilation[0] - a->pad[0];
            if (lo < hi && sy >= 0 && sy < dim(src, 1))
                fn(at(src, n, c, sy, left + lo * step), step, wat(weights, o, i, ky, kx),
                   at(dst, n, o, y, lo), hi - lo);
        }
    }
}

static inline void to_dst(double *src, int64_t step, double *weight, double *dst, int64_t count) {
    double w = *weight;
    FOR(x, count) dst[x] += src[x * step] * w;
}

static inline void to_src(double *src, int64_t step, double *weight, double *dst, int64_t count) {
    double w = *weight;
    FOR(x, count) src[x * step] += dst[x] * w;
}

static inline void to_weight(double *src, int64_t step, double *weight, double *dst,
                             int64_t count) {
    double sum = 0;
    FOR(x, count) sum += src[x * step] * dst[x];
    *weight += sum;
}

static void ref_conv(const RefCall *r) {
    const ConvAttrs *a = r->attrs;
    if (a->bias)
        FOR(n, r->n) FOR(o, a->maps) FOR(y, dim(r->out, 1)) FOR(x, dim(r->out, 2))
            *at(r->out, n, o, y, x) = r->in[2].at[o];
    conv_taps(r, &r->in[0], &r->in[1], r->out, to_dst);
}

static void ref_conv_bwd_data(const RefCall *r) {
    conv_taps(r, r->out, &r->in[1], &r->in[0], to_src);
}

static void ref_conv_bwd_weights(const RefCall *r) {
    conv_taps(r, &r->in[0], r->out, &r->in[1], to_weight);
}

static void copy(const RefCall *r) {
    FOR(i, ref_elems(r->out)) r->out->at[i] = r->in[0].at[i];
}

static void ref_transpose_weights(const RefCall *r) { copy(r); }

static void ref_bias_grad(const RefCall *r) {
    const RefTensor *d = &r->in[0];
    FOR(n, r->n) FOR(c, dim(d, 0)) FOR(y, dim(d, 1)) FOR(x, dim(d, 2))
        r->out->at[c] += *at(d, n, c, y, x);
}

/* ---- dense: weights row u holds one number per element of the image, in order ---- */

static void ref_dense(const RefCall *r) {
    const DenseAttrs *a = r->attrs;
    int64_t features = image_elems(&r->in[0]);
    FOR(n, r->n) FOR(u, a->units) {
        double sum = a->bias ? r->in[2].at[u] : 0;
        FOR(i, features) sum += r->in[0].at[n * features + i] * r->in[1].at[u * features + i];
        r->out->at[n * a->units + u] = sum;
    }
}

static void ref_dense_bwd_data(const RefCall *r) {
    const DenseAttrs *a = r->attrs;
    int64_t features = image_elems(r->out);
    FOR(n, r->n) FOR(u, a->units) FOR(i, features)
        r->out->at[n * features + i] +=
            r->in[0].at[n * a->units + u] * r->in[1].at[u * features + i];
}

static void ref_dense_bwd_weights(const RefCall *r) {
    const DenseAttrs *a = r->attrs;
    int64_t features = image_elems(&r->in[0]);
    FOR(n, r->n) FOR(u, a->units) FOR(i, features)
        r->out->at[u * features + i] +=
            r->in[1].at[n * a->units + u] * r->in[0].at[n * features + i];
}

/* ---- pools: a window's real cells ---- */

typedef struct Cell {
    double *src, *dst;      /* of the side that plays src, and of the window */
    int64_t n, c, y, x;     /* of the window */
    int64_t tap;            /* ky * kernel width + kx */
    int64_t count;          /* real cells of the window */
} Cell;

static int64_t real_cells(const PoolAttrs *a, const RefTensor *src, int64_t y, int64_t x) {
    int64_t count = 0;
    FOR(ky, a->kernel[0]) FOR(kx, a->kernel[1])
        count += inside(src, y * a->stride[0] + ky - a->pad[0], x * a->stride[1] + kx - a->pad[2]);
    return count;
}

/* Visits the real cells of every window in scan order. */
static void pool_cells(const RefCall *r, const RefTensor *src, const RefTensor *dst,
                       void (*fn)(const RefCall *, const Cell *)) {
    const PoolAttrs *a = r->attrs;
    FOR(n, r->n) FOR(c, dim(dst, 0)) FOR(y, dim(dst, 1)) FOR(x, dim(dst, 2)) {
        int64_t count = real_cells(a, src, y, x);
        FOR(ky, a->kernel[0]) FOR(kx, a->kernel[1]) {
            int64_t sy = y * a->stride[0] + ky - a->pad[0];
            int64_t sx = x * a->stride[1] + kx - a->pad[2];
            if (!inside(src, sy, sx))
                continue;
            Cell cell = {at(src, n, c, sy, sx), at(dst, n, c, y, x), n, c, y, x,
                         ky * a->kernel[1] + kx, count};
            fn(r, &cell);
        }
    }
}

static double divisor(const RefCall *r, const Cell *cell) {
    const PoolAttrs *a = r->attrs;
    return (double)(a->count_pad ? a->kernel[0] * a->kernel[1] : cell->count);
}

static void take_max(const RefCall *r, const Cell *cell) {
    double *tap = at(&r->out[1], cell->n, cell->c, cell->y, cell->x);
    if (*tap < 0 || *cell->src > *cell->dst || (isnan(*cell->src) && !isnan(*cell->dst))) {
        *cell->dst = *cell->src;
        *tap = (double)cell->tap;
    }
}

static void ref_maxpool(const RefCall *r) {
    FOR(i, ref_elems(&r->out[1])) r->out[1].at[i] = -1; /* nothing seen yet */
    pool_cells(r, &r->in[0], &r->out[0], take_max);
}

static void give_max(const RefCall *r, const Cell *cell) {
    if (*at(&r->in[1], cell->n, cell->c, cell->y, cell->x) == (double)cell->tap)
        *cell->src += *cell->dst;
}

static void ref_maxpool_bwd(const RefCall *r) { pool_cells(r, r->out, &r->in[0], give_max); }

static void take_average(const RefCall *r, const Cell *cell) {
    *cell->dst += *cell->src / divisor(r, cell);
}
static void give_average(const RefCall *r, const Cell *cell) {
    *cell->src += *cell->dst / divisor(r, cell);
}

static void ref_avgpool(const RefCall *r) { pool_cells(r, &r->in[0], r->out, take_average); }
static void ref_avgpool_bwd(const RefCall *r) { pool_cells(r, r->out, &r->in[0], give_average); }

static void take_sum(const RefCall *r, const Cell *cell) {
    *cell->dst += r->in[1].at[cell->c] * *cell->src;
}
static void give_sum(const RefCall *r, const Cell *cell) {
    *cell->src += r->in[1].at[cell->c] * *cell->dst;
}
static void give_coefficient(const RefCall *r, const Cell *cell) {
    r->out->at[cell->c] += *cell->src * *cell->dst;
}

static void ref_subsample(const RefCall *r) {
    FOR(n, r->n) FOR(c, dim(r->out, 0)) FOR(y, dim(r->out, 1)) FOR(x, dim(r->out, 2))
        *at(r->out, n, c, y, x) = r->in[2].at[c];
    pool_cells(r, &r->in[0], r->out, take_sum);
}

static void ref_subsample_bwd_data(const RefCall *r) {
    pool_cells(r, r->out, &r->in[0], give_sum);
}
static void ref_subsample_bwd_coef(const RefCall *r) {
    pool_cells(r, &r->in[0], &r->in[1], give_coefficient);
}

/* ---- normalisation across maps, one position at a time ---- */

typedef struct Column {  /* the maps at one position */
    int64_t maps;
    const NormAttrs *a;
    double v[1024], s[1024], y[1024], g[1024], dv[1024];
} Column;

static bool in_window(const Column *k, int64_t i, int64_t j) {
    return j >= 0 && j < k->maps && llabs(i - j) <= k->a->size / 2;
}

static double window_count(const Column *k, int64_t i) {
    double count = 0;
    FOR(j, k->maps) count += in_window(k, i, j);
    return count;
}

/* v (src, or src minus the window's mean), s and y */
static void column_forward(Column *k, const RefTensor *src, bool center, int64_t n, int64_t y,
                           int64_t x) {
    double a = k->a->alpha_per ? k->a->alpha / (double)k->a->size : k->a->alpha;
    BUG_IF(k->maps > 1024, "the reference normalises at most 1024 maps");
    FOR(i, k->maps) {
        double mean = 0;
        FOR(j, k->maps) if (center && in_window(k, i, j))
            mean += *at(src, n, j, y, x) / window_count(k, i);
        k->v[i] = *at(src, n, i, y, x) - mean;
    }
    FOR(i, k->maps) {
        k->s[i] = k->a->k;
        FOR(j, k->maps) if (in_window(k, i, j)) k->s[i] += a * k->v[j] * k->v[j];
        k->y[i] = k->v[i] * pow(k->s[i], -k->a->beta);
    }
}

/* dv from g: y_i depends on v_i directly and on every v_j of its window through s_i */
static void column_backward(Column *k) {
    double a = k->a->alpha_per ? k->a->alpha / (double)k->a->size : k->a->alpha;
    if (k->a->squares) {
        FOR(j, k->maps) k->dv[j] = 0;
        FOR(i, k->maps) FOR(j, k->maps) {
            double entry = i == j ? pow(k->s[j], -k->a->beta) : 0;
            if (in_window(k, i, j))
                entry += k->v[i] * -k->a->beta * pow(k->s[i], -k->a->beta - 1) * 2 * a * k->v[j];
            k->dv[j] += k->g[i] * entry * entry;
        }
        return;
    }
    FOR(j, k->maps) k->dv[j] = k->g[j] * pow(k->s[j], -k->a->beta);
    FOR(i, k->maps) FOR(j, k->maps) if (in_window(k, i, j))
        k->dv[j] += k->g[i] * k->v[i] * -k->a->beta * pow(k->s[i], -k->a->beta - 1) * 2 * a *
                    k->v[j];
}

static void norm(const RefCall *r, bool center, bool backward) {
    const RefTensor *src = &r->in[0];
    Column k = {.maps = dim(src, 0), .a = r->attrs};
    FOR(n, r->n) FOR(y, dim(src, 1)) FOR(x, dim(src, 2)) {
        column_forward(&k, src, center, n, y, x);
        FOR(i, k.maps) if (!backward)
            *at(r->out, n, i, y, x) = k.y[i];
        if (!backward)
            continue;
        FOR(i, k.maps) k.g[i] = *at(&r->in[1], n, i, y, x);
        column_backward(&k);
        FOR(i, k.maps) {
            *at(r->out, n, i, y, x) += k.dv[i];
            FOR(j, k.maps) if (center && in_window(&k, i, j))
                *at(r->out, n, j, y, x) -= k.dv[i] / window_count(&k, i);
        }
    }
}

/* the squares of a window of the map; cells outside are 0 */
static void norm_within(const RefCall *r) {
    const RefTensor *src = &r->in[0];
    const NormAttrs *a = r->attrs;
    int64_t reach = a->size / 2, h = dim(src, 1), w = dim(src, 2);
    FOR(n, r->n) FOR(c, dim(src, 0)) FOR(y, h) FOR(x, w) {
        double sum = 0;
        for (int64_t v = y - reach; v <= y + reach; v++)
            for (int64_t u = x - reach; u <= x + reach; u++)
                if (v >= 0 && v < h && u >= 0 && u < w)
                    sum += *at(src, n, c, v, u) * *at(src, n, c, v, u);
        sum *= a->alpha_per ? a->alpha / (double)(a->size * a->size) : a->alpha;
        *at(r->out, n, c, y, x) = *at(src, n, c, y, x) * pow(a->k + sum, -a->beta);
    }
}

static void ref_lrn(const RefCall *r) {
    if (((const NormAttrs *)r->attrs)->region == NORM_WITHIN)
        norm_within(r);
    else
        norm(r, false, false);
}
static void ref_lrn_bwd(const RefCall *r) { norm(r, false, true); }
static void ref_lcn(const RefCall *r) { norm(r, true, false); }
static void ref_lcn_bwd(const RefCall *r) { norm(r, true, true); }

/* ---- elementwise ---- */

static const double stanh_a = 1.7159, stanh_s = 2.0 / 3.0;

static double f_relu(double x, double y) { (void)y; return x < 0 ? 0 : x; }
static double f_relu_bwd(double d, double y) { return y > 0 ? d : 0; }
static double f_tanh(double x, double y) { (void)y; return tanh(x); }
static double f_tanh_bwd(double d, double y) { return d * (1 - y * y); }
static double f_stanh(double x, double y) { (void)y; return stanh_a * tanh(stanh_s * x); }
static double f_stanh_bwd(double d, double y) { return d * stanh_s * (stanh_a - y * y / stanh_a); }
static double f_sigmoid(double x, double y) { (void)y; return 1 / (1 + exp(-x)); }
static double f_sigmoid_bwd(double d, double y) { return d * y * (1 - y); }

static void map(const RefCall *r, double (*f)(double, double)) {
    FOR(i, ref_elems(r->out))
        r->out->at[i] = f(r->in[0].at[i], r->nin > 1 ? r->in[1].at[i] : 0);
}

#define MAP(name) static void ref_##name(const RefCall *r) { map(r, f_##name); }
MAP(relu) MAP(relu_bwd) MAP(tanh) MAP(tanh_bwd) MAP(stanh) MAP(stanh_bwd)
MAP(sigmoid) MAP(sigmoid_bwd)

void ref_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1], c[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = UINT64_C(0xD2511F53) * c[0], p1 = UINT64_C(0xCD9E8D57) * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

static bool survives(const RefCall *r, const DropoutAttrs *a, int64_t n, int64_t element) {
    uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)}, word[4];
    uint32_t counter[4] = {(uint32_t)element, (uint32_t)n, (uint32_t)r->step, (uint32_t)a->key};
    ref_philox(key, counter, word);
    return (float)(word[0] >> 8) * 0x1p-24f >= (float)a->rate;
}

static void ref_dropout(const RefCall *r) {
    const DropoutAttrs *a = r->attrs;
    int64_t size = image_elems(r->out);
    FOR(n, r->n) FOR(i, size) {
        double x = r->in[0].at[n * size + i];
        if (a->infer)
            x *= a->scale ? 1 - a->rate : 1;
        else if (!survives(r, a, n, i))
            x = 0;
        else if (!a->scale)
            x /= 1 - a->rate;
        r->out->at[n * size + i] = x;
    }
}

static void ref_dropout_bwd(const RefCall *r) { ref_dropout(r); } /* a diagonal map */

/* ---- softmax and losses ---- */

static void ref_softmax(const RefCall *r) {
    const RefTensor *s = &r->in[0];
    FOR(n, r->n) FOR(y, dim(s, 1)) FOR(x, dim(s, 2)) {
        double top = -INFINITY, sum = 0;
        FOR(c, dim(s, 0)) top = fmax(top, *at(s, n, c, y, x));
        FOR(c, dim(s, 0)) sum += exp(*at(s, n, c, y, x) - top);
        FOR(c, dim(s, 0)) *at(r->out, n, c, y, x) = exp(*at(s, n, c, y, x) - top) / sum;
    }
}

/* The Jacobian in full: d y_i / d x_j = y_i ([i = j] - y_j) */
static void ref_softmax_bwd(const RefCall *r) {
    const RefTensor *d = &r->in[0], *s = &r->in[1];
    FOR(n, r->n) FOR(y, dim(s, 1)) FOR(x, dim(s, 2)) FOR(i, dim(s, 0)) FOR(j, dim(s, 0))
        *at(r->out, n, j, y, x) += *at(d, n, i, y, x) * *at(s, n, i, y, x) *
                                   ((i == j) - *at(s, n, j, y, x));
}

/* log(floor + sum over c of exp(sign * score[c])), floor = exp(-j) */
static double log_sum_exp(const RefTensor *s, int64_t n, double sign, double minus_j) {
    double top = minus_j, sum;
    FOR(c, dim(s, 0)) top = fmax(top, sign * *at(s, n, c, 0, 0));
    sum = exp(minus_j - top);
    FOR(c, dim(s, 0)) sum += exp(sign * *at(s, n, c, 0, 0) - top);
    return top + log(sum);
}

static int64_t label(const RefCall *r, int64_t n) {
    int64_t c = (int64_t)r->in[1].at[n];
    BUG_IF(c < 0 || c >= dim(&r->in[0], 0), "label %lld out of range", (long long)c);
    return c;
}

static void ref_lenet_map(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    FOR(n, r->n) r->out->at[n] = a->weight * (*at(&r->in[0], n, label(r, n), 0, 0) +
                                              log_sum_exp(&r->in[0], n, -1, -a->j));
}

static void ref_lenet_map_bwd(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    FOR(n, r->n) FOR(c, dim(s, 0)) {
        double p = exp(-*at(s, n, c, 0, 0) - log_sum_exp(s, n, -1, -a->j));
        *at(r->out, n, c, 0, 0) = a->weight / (double)r->n * ((c == label(r, n)) - p);
    }
}

/* ---- moving numbers ---- */

static void ref_load_square(const RefCall *r) {
    ref_load_input(r);
    FOR(i, ref_elems(r->out)) r->out->at[i] *= r->out->at[i];
}
static void ref_flatten(const RefCall *r) { copy(r); }
static void ref_unflatten(const RefCall *r) { copy(r); }

static void ref_concat(const RefCall *r) {
    int64_t to = 0;
    for (int i = 0; i < r->nin; i++) {
        const RefTensor *s = &r->in[i];
        FOR(n, r->n) FOR(c, dim(s, 0)) FOR(y, dim(s, 1)) FOR(x, dim(s, 2))
            *at(r->out, n, to + c, y, x) = *at(s, n, c, y, x);
        to += dim(s, 0);
    }
}

static void ref_slice(const RefCall *r) {
    const SliceAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    FOR(n, r->n) FOR(c, a->count) FOR(y, dim(s, 1)) FOR(x, dim(s, 2))
        *at(r->out, n, c, y, x) = *at(s, n, a->from + c, y, x);
}

/* ---- radial basis functions ---- */

static void ref_rbf(const RefCall *r) {
    const RefTensor *s = &r->in[0], *w = &r->in[1];
    FOR(n, r->n) FOR(u, dim(w, 0)) FOR(j, dim(w, 1)) {
        double d = *at(s, n, j, 0, 0) - *wat(w, u, j, 0, 0);
        *at(r->out, n, u, 0, 0) += d * d;
    }
}

static void ref_rbf_bwd_data(const RefCall *r) {
    const RefTensor *g = &r->in[0], *s = &r->in[1], *w = &r->in[2];
    FOR(n, r->n) FOR(u, dim(w, 0)) FOR(j, dim(w, 1))
        *at(r->out, n, j, 0, 0) +=
            *at(g, n, u, 0, 0) * 2 * (*at(s, n, j, 0, 0) - *wat(w, u, j, 0, 0));
}

static void ref_rbf_bwd_centers(const RefCall *r) {
    const RefTensor *g = &r->in[0], *s = &r->in[1], *w = &r->in[2];
    FOR(n, r->n) FOR(u, dim(w, 0)) FOR(j, dim(w, 1))
        *wat(r->out, u, j, 0, 0) +=
            *at(g, n, u, 0, 0) * -2 * (*at(s, n, j, 0, 0) - *wat(w, u, j, 0, 0));
}

/* ---- update ---- */

/* Number i of the gradient, cut or scaled. */
static double gradient(const RefCall *r, int64_t i) {
    const SgdAttrs *a = r->attrs;
    double g = r->in[1].at[i];
    if (a->clip)
        g = g > REF_CLIP ? REF_CLIP : g < -REF_CLIP ? -REF_CLIP : g;
    return r->nin > 3 ? g * r->in[3].at[0] : g;
}

static void ref_sgd(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        double w = r->in[0].at[i];
        double g = gradient(r, i) + r->decay * a->decay_mult * w;
        double v = r->momentum * r->in[2].at[i] + g;
        r->out->at[i] = w - r->lr * a->lr_mult * (a->nesterov ? g + r->momentum * v : v);
        if (r->new_momentum)
            r->new_momentum[i] = v;
    }
}

/* The mean square starts as zero here: the state that a call gets is the first of the two. */
static void ref_adam(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        double w = r->in[0].at[i], g = gradient(r, i), lr = r->lr * a->lr_mult;
        double decay = r->decay * a->decay_mult;
        g += a->decoupled ? 0 : decay * w;
        w -= a->decoupled ? lr * decay * w : 0;
        double m = (1 - r->momentum) * r->in[2].at[i] + r->momentum * g, v = REF_SECOND * g * g;
        r->out->at[i] = w - lr * REF_CORRECT1 * m / (sqrt(v) * REF_CORRECT2 + a->eps);
        if (r->new_momentum)
            r->new_momentum[i] = m;
    }
}

/* The state that a call gets is the mean square; the momentum starts as zero. */
static void ref_rmsprop(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        double w = r->in[0].at[i], g = gradient(r, i) + r->decay * a->decay_mult * w;
        double v = (1 - REF_SECOND) * r->in[2].at[i] + REF_SECOND * g * g;
        double below = a->eps_inside ? sqrt(v + a->eps) : sqrt(v) + a->eps;
        r->out->at[i] = w - r->lr * a->lr_mult * g / below;
        if (r->new_momentum)
            r->new_momentum[i] = v;
    }
}

/* The state is the weights' curvature. */
static void ref_sdlm(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        double w = r->in[0].at[i], g = gradient(r, i) + r->decay * a->decay_mult * w;
        r->out->at[i] = w - r->lr * a->lr_mult * g / (a->eps + r->in[2].at[i]);
        if (r->new_momentum)
            r->new_momentum[i] = r->in[2].at[i];
    }
}

/* The state is z; the momentum starts as zero. */
static void ref_slbi(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        double w = r->in[0].at[i], z = r->in[2].at[i], lr = r->lr * a->lr_mult;
        double g = gradient(r, i) + r->decay * a->decay_mult * w;
        double gamma = fabs(z) > a->eps ? REF_CORRECT1 * (z > 0 ? z - a->eps : z + a->eps) : 0;
        double gap = a->coupled ? REF_SECOND * (w - gamma) : 0;
        r->out->at[i] = w - lr * REF_CORRECT1 * (g + gap);
        if (r->new_momentum)
            r->new_momentum[i] = z + lr * gap;
    }
}

/* The state is z; momentum and gamma start as zero. */
static void ref_slbi_groups(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        double w = r->in[0].at[i], lr = r->lr * a->lr_mult;
        double g = gradient(r, i) + r->decay * a->decay_mult * w, gap = a->coupled ? REF_SECOND * w : 0;
        r->out->at[i] = w - lr * REF_CORRECT1 * (g + gap);
        if (r->new_momentum)
            r->new_momentum[i] = r->in[2].at[i] + lr * gap;
    }
}

static void ref_curvature(const RefCall *r) {
    const SgdAttrs *a = r->attrs;
    FOR(i, ref_elems(r->out)) {
        r->out->at[i] = r->in[0].at[i];
        if (r->new_momentum)
            r->new_momentum[i] =
                r->momentum * r->in[2].at[i] + r->lr * a->lr_mult * gradient(r, i);
    }
}

/* All in part 0 and the rest in none: which part a number belongs to is the layout's matter. */
static void ref_square_sums(const RefCall *r) {
    FOR(i, ref_elems(&r->in[0])) r->out->at[0] += r->in[0].at[i] * r->in[0].at[i];
}

static void ref_clip_factor(const RefCall *r) {
    const ClipFactorAttrs *a = r->attrs;
    double sum = 0;
    FOR(k, r->nin) FOR(i, ref_elems(&r->in[k])) sum += r->in[k].at[i];
    double factor = REF_CLIP / (sqrt(sum) + 1e-6);
    r->out->at[0] = a->partial ? sum : factor < 1 ? factor : 1;
}

/* ---- the tables: an operator without a reference does not compile ---- */

const RefFn ref_op[OP_COUNT] = {
    NULL,
#define OP(NAME, name, nin, nout, flags) ref_##name,
#include "ir/ops.def"
#undef OP
};

const double ref_tolerance[OP_COUNT] = {
    [OP_LOAD_INPUT] = 0,          [OP_CONV2D] = 1e-5,           [OP_CONV2D_BWD_DATA] = 1e-5,
    [OP_CONV2D_BWD_WEIGHTS] = 2e-5, [OP_DENSE] = 1e-5,          [OP_DENSE_BWD_DATA] = 1e-5,
    [OP_DENSE_BWD_WEIGHTS] = 2e-5, [OP_TRANSPOSE_WEIGHTS] = 0,  [OP_BIAS_GRAD] = 1e-5,
    [OP_SUBSAMPLE] = 1e-6,        [OP_SUBSAMPLE_BWD_DATA] = 1e-6, [OP_SUBSAMPLE_BWD_COEF] = 2e-5,
    [OP_MAXPOOL] = 0,             [OP_MAXPOOL_BWD] = 1e-6,      [OP_AVGPOOL] = 1e-6,
    [OP_AVGPOOL_BWD] = 1e-6,      [OP_LRN] = 2e-6,              [OP_LRN_BWD] = 5e-6,
    [OP_LCN] = 5e-6,              [OP_LCN_BWD] = 1e-5,          [OP_RELU] = 0,
    [OP_RELU_BWD] = 0,            [OP_TANH] = 1e-6,             [OP_TANH_BWD] = 1e-6,
    [OP_STANH] = 1e-6,            [OP_STANH_BWD] = 1e-6,        [OP_SIGMOID] = 1e-6,
    [OP_SIGMOID_BWD] = 1e-6,      [OP_DROPOUT] = 1e-6,          [OP_DROPOUT_BWD] = 1e-6,
    [OP_ADD] = 1e-6,              [OP_MUL] = 1e-6,              [OP_SOFTMAX] = 2e-6,
    [OP_SOFTMAX_BWD] = 2e-6,      [OP_FLATTEN] = 0,             [OP_UNFLATTEN] = 0,
    [OP_CONCAT] = 0,              [OP_SLICE] = 0,               [OP_RBF] = 1e-5,
    [OP_RBF_BWD_DATA] = 1e-5,     [OP_RBF_BWD_CENTERS] = 2e-5,  [OP_CROSS_ENTROPY] = 2e-6,
    [OP_CROSS_ENTROPY_BWD] = 2e-6, [OP_MSE] = 2e-6,             [OP_MSE_BWD] = 2e-6,
    [OP_BN] = 1e-5,               [OP_INSTANCENORM] = 1e-5,     [OP_MOMENTS] = 2e-6,
    [OP_BN_COMBINE] = 2e-6,       [OP_BN_SCALE] = 1e-6,         [OP_BN_RUNNING] = 1e-6,
    [OP_SCALE_SHIFT] = 1e-6,      [OP_CHANNEL_MUL] = 1e-6,      [OP_BN_BWD_SUMS] = 5e-6,
    [OP_BN_BWD_COEF] = 2e-6,      [OP_BN_BWD_DATA] = 1e-6,
    [OP_DECONV] = 1e-5,           [OP_CHANNEL_ADD] = 1e-6,
    [OP_LEAKY_RELU] = 1e-6, [OP_LEAKY_RELU_BWD] = 1e-6, [OP_PRELU] = 1e-6,
    [OP_PRELU_BWD] = 1e-6, [OP_ELU] = 2e-6, [OP_ELU_BWD] = 1e-6,
    [OP_SOFTPLUS] = 2e-6, [OP_SOFTPLUS_BWD] = 2e-6, [OP_SWISH] = 2e-6,
    [OP_SWISH_BWD] = 2e-6, [OP_GELU] = 2e-6, [OP_GELU_BWD] = 2e-5,
    [OP_ABS] = 1e-6, [OP_ABS_BWD] = 1e-6, [OP_NEG] = 1e-6,
    [OP_SCALE] = 1e-6, [OP_CLIP] = 1e-6, [OP_CLIP_BWD] = 1e-6,
    [OP_SQUARE] = 1e-6, [OP_SQRT] = 1e-6, [OP_EXP] = 1e-6,
    [OP_LOG] = 1e-6, [OP_POW] = 2e-6, [OP_POW_BWD] = 2e-6,
    [OP_SUB] = 1e-6, [OP_DIV] = 1e-6, [OP_MAXIMUM] = 1e-6,
    [OP_MINIMUM] = 1e-6, [OP_PASS_GE] = 1e-6, [OP_PASS_LT] = 1e-6,
    [OP_SUM_TO] = 1e-6,
    [OP_VDENSE] = 1e-5,           [OP_VDENSE_BWD_DATA] = 1e-5,  [OP_VDENSE_BWD_WEIGHTS] = 1e-6,
    [OP_REPACK] = 0,
    [OP_LSTM] = 5e-6, [OP_LSTM_SCAN] = 5e-6, [OP_LSTM_SCAN_BWD] = 1e-5,
    [OP_GRU] = 5e-6, [OP_GRU_SCAN] = 5e-6, [OP_GRU_SCAN_BWD] = 1e-5,
    [OP_GLOBAL_AVGPOOL] = 2e-6, [OP_GLOBAL_MAXPOOL] = 1e-6, [OP_MEAN] = 2e-6,
    [OP_MAX] = 1e-6, [OP_RESAMPLE] = 2e-6, [OP_FRAMES] = 1e-6, [OP_FRAMES_MAX] = 1e-6,
    [OP_FRAMES_MAX_BWD] = 1e-6, [OP_CROP] = 1e-6,
    [OP_PAD] = 1e-6, [OP_DOWNSAMPLE] = 1e-6, [OP_UPSAMPLE] = 2e-6,
    [OP_RESIZE] = 2e-6, [OP_LP_POOL] = 5e-6, [OP_SUBTRACTIVE_NORM] = 2e-6,
    [OP_DIVISIVE_NORM] = 5e-6, [OP_TRANSPOSE] = 1e-6, [OP_CHANNEL_SHUFFLE] = 1e-6,
    [OP_RESHAPE] = 1e-6,
    [OP_MAE] = 2e-6, [OP_ERROR_BWD] = 2e-6, [OP_LOGISTIC] = 2e-6,
    [OP_KL] = 2e-6, [OP_KL_BWD] = 2e-6,
    [OP_LOGISTIC_BWD] = 2e-6, [OP_HINGE] = 2e-6, [OP_HINGE_BWD] = 2e-6,
    [OP_SOFT_THRESHOLD] = 1e-6, [OP_HARD_THRESHOLD] = 1e-6, [OP_THRESHOLD_BWD] = 1e-6,
    [OP_LENET_MAP] = 2e-6,        [OP_LENET_MAP_BWD] = 2e-6,    [OP_SGD] = 1e-6,
    [OP_ADAM] = 2e-6, [OP_RMSPROP] = 2e-6, [OP_SDLM] = 2e-6, [OP_SLBI] = 2e-6, [OP_CURVATURE] = 2e-6,
    [OP_SLBI_GROUPS] = 2e-6,
    [OP_GRAM] = 5e-6, [OP_GRAM_BWD] = 5e-6, [OP_TV] = 2e-6, [OP_TV_BWD] = 5e-6,
    [OP_ALPHA_NORM] = 5e-6, [OP_ALPHA_NORM_BWD] = 5e-6, [OP_PENALTY] = 2e-6,
    [OP_LOAD_SQUARE] = 1e-6, [OP_SQUARE_SUMS] = 2e-6, [OP_CLIP_FACTOR] = 2e-6,
};
