/* rt_pca.c: principal components (rt_pca.h).
 *
 * Of n rows of d numbers the smaller of two matrices is decomposed: the covariance, d x d, or the
 * products of centred rows, n x n, whose eigenvectors u give the axes X^T u / |X^T u|.  Eigenvectors
 * come from block iteration: Q becomes an orthonormal basis of A Q, the small matrix Q^T A Q is
 * diagonalised by Jacobi's rotations, which turns Q to the eigenvectors within its span.  A block as
 * large as the matrix needs one such step.
 */
#include "rt_pca.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"
#include "rt_rng.h"

enum { MORE = 10, ROUNDS = 300, SWEEPS = 60 };

static double dot(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

/* ---- symmetric matrices ---- */

static void rotate(double *a, int64_t n, int64_t p, int64_t q, double c, double s) {
    double *x = a + p * n, *y = a + q * n;
    for (int64_t i = 0; i < n; i++) {
        double u = x[i], w = y[i];
        x[i] = c * u - s * w;
        y[i] = s * u + c * w;
    }
}

/* Jacobi: a (m x m) becomes diagonal, rows of v (m rows of n) are turned alike. */
static void diagonalise(double *a, int64_t m, double *v, int64_t n) {
    double all = sqrt(dot(a, a, m * m));
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0;
        for (int64_t p = 0; p < m; p++)
            for (int64_t q = p + 1; q < m; q++) {
                double apq = a[p * m + q];
                off = fabs(apq) > off ? fabs(apq) : off;
                if (fabs(apq) <= all * 1e-18)
                    continue;
                double theta = (a[q * m + q] - a[p * m + p]) / (2 * apq);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                rotate(a, m, p, q, c, s); /* rows, then columns */
                for (int64_t i = 0; i < m; i++) {
                    double u = a[i * m + p], w = a[i * m + q];
                    a[i * m + p] = c * u - s * w;
                    a[i * m + q] = s * u + c * w;
                }
                rotate(v, n, p, q, c, s);
            }
        if (off <= all * 1e-16)
            break;
    }
}

typedef struct Times {
    const double *a, *q;
    double *out;
    int64_t m, b;
} Times;

/* out = q a: rows of q are vectors, a is symmetric. */
static void times(void *context, int64_t lo, int64_t hi, int thread) {
    const Times *t = context;
    (void)thread;
    for (int64_t j = lo; j < hi; j++) /* element j of every product */
        for (int64_t i = 0; i < t->b; i++)
            t->out[i * t->m + j] = dot(t->a + j * t->m, t->q + i * t->m, t->m);
}

/* Rows of q become orthonormal (Gram and Schmidt, twice); what has no length left becomes 0. */
static void orthonormal(double *q, int64_t b, int64_t m) {
    for (int64_t i = 0; i < b; i++) {
        double *x = q + i * m, before = sqrt(dot(x, x, m));
        for (int twice = 0; twice < 2; twice++)
            for (int64_t k = 0; k < i; k++) {
                double s = dot(x, q + k * m, m);
                for (int64_t j = 0; j < m; j++)
                    x[j] -= s * q[k * m + j];
            }
        double after = sqrt(dot(x, x, m));
        for (int64_t j = 0; j < m; j++)
            x[j] = after > before * 1e-13 ? x[j] / after : 0;
    }
}

/* One step: q turned to the Ritz vectors of a in its span, sorted; value: theirs. */
static void ritz(Times *t, double *small, double *value, int threads) {
    rt_parallel_for(threads, t->m, 16, times, t);
    for (int64_t i = 0; i < t->b; i++)
        for (int64_t k = i; k < t->b; k++)
            small[i * t->b + k] = small[k * t->b + i] =
                dot(t->out + i * t->m, t->q + k * t->m, t->m);
    double *q = (double *)(uintptr_t)t->q;
    diagonalise(small, t->b, q, t->m);
    for (int64_t i = 0; i < t->b; i++)
        value[i] = small[i * t->b + i];
    for (int64_t i = 0; i < t->b; i++) { /* selection: the blocks are small */
        int64_t best = i;
        for (int64_t k = i + 1; k < t->b; k++)
            best = value[k] > value[best] ? k : best;
        double v = value[i];
        value[i] = value[best];
        value[best] = v;
        for (int64_t j = 0; j < t->m && best != i; j++) {
            double x = q[i * t->m + j];
            q[i * t->m + j] = q[best * t->m + j];
            q[best * t->m + j] = x;
        }
    }
}

static void start(double *q, int64_t b, int64_t m) {
    rt_rng rng = rt_rng_make(1, RT_RNG_VIZ);
    for (int64_t i = 0; i < b * m; i++) {
        uint32_t bits[4];
        rt_rng_block(rng, 0xe16e, 0, (uint32_t)i, (uint32_t)(i >> 32), bits);
        q[i] = (double)bits[0] * 0x1p-31 - 1;
    }
    if (b == m) /* the whole space: any basis will do, and this one is exact */
        for (int64_t i = 0; i < b * m; i++)
            q[i] = i / m == i % m;
}

static void fix_sign(double *axis, int64_t d) {
    int64_t top = 0;
    for (int64_t i = 1; i < d; i++)
        top = fabs(axis[i]) > fabs(axis[top]) ? i : top;
    for (int64_t i = 0; i < d && axis[top] < 0; i++)
        axis[i] = i == top ? axis[i] : -axis[i];
    axis[top] = fabs(axis[top]);
}

int rt_eigen(const double *a, int64_t m, int64_t k, double *value, double *vector, int threads,
             rt_error *err) {
    int64_t b = k + MORE < m ? k + MORE : m;
    double *q = rt_alloc((size_t)b * 2, (size_t)m * sizeof *q, "eigenvectors", err);
    double *small = rt_alloc((size_t)(b + 2), (size_t)b * sizeof *small, "eigenvectors", err);
    if (q && small) {
        Times t = {a, q, q + b * m, m, b};
        double *now = small + b * b, *last = now + b;
        start(q, b, m);
        orthonormal(q, b, m);
        memset(last, 0, (size_t)b * sizeof *last);
        for (int round = 0; round < ROUNDS; round++) {
            ritz(&t, small, now, threads);
            double change = 0;
            for (int64_t i = 0; i < k; i++)
                change = fabs(now[i] - last[i]) > change ? fabs(now[i] - last[i]) : change;
            memcpy(last, now, (size_t)b * sizeof *last);
            if (b == m || change <= fabs(now[0]) * 1e-12)
                break;
            rt_parallel_for(threads, m, 16, times, &t);
            memcpy(q, t.out, (size_t)(b * m) * sizeof *q);
            orthonormal(q, b, m);
        }
        memcpy(value, now, (size_t)k * sizeof *value);
        memcpy(vector, q, (size_t)(k * m) * sizeof *vector);
        for (int64_t i = 0; i < k; i++)
            fix_sign(vector + i * m, m);
    }
    rt_free(q);
    rt_free(small);
    return err->code;
}

/* ---- components ---- */

typedef struct Products { /* of centred columns or rows */
    const double *x;      /* vectors */
    double *out;
    int64_t m, length;
} Products;

static void products(void *context, int64_t lo, int64_t hi, int thread) {
    const Products *p = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t k = 0; k <= i; k++)
            p->out[i * p->m + k] = dot(p->x + i * p->length, p->x + k * p->length, p->length);
}

/* What the axes are made from: m vectors of `length`, the centred rows or the centred columns. */
static double *centred(rt_pca *p, const float *x, int64_t n, int by_rows, rt_error *err) {
    double *c = rt_alloc((size_t)n, (size_t)p->d * sizeof *c, "centred rows", err);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < p->d; j++)
            p->mean[j] += (double)x[i * p->d + j];
    for (int64_t j = 0; j < p->d; j++)
        p->mean[j] /= (double)n;
    for (int64_t i = 0; c && i < n; i++)
        for (int64_t j = 0; j < p->d; j++)
            c[by_rows ? i * p->d + j : j * n + i] = (double)x[i * p->d + j] - p->mean[j];
    return c;
}

/* From eigenvectors of products of rows to axes. */
static void axes_of_rows(rt_pca *p, const double *c, const double *u, int64_t n) {
    for (int64_t k = 0; k < p->k; k++) {
        double *axis = p->axis + k * p->d;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < p->d; j++)
                axis[j] += u[k * n + i] * c[i * p->d + j];
        double length = sqrt(dot(axis, axis, p->d));
        for (int64_t j = 0; j < p->d; j++)
            axis[j] = p->variance[k] > p->variance[0] * 1e-14 ? axis[j] / length : 0;
        fix_sign(axis, p->d);
    }
}

static int decompose(rt_pca *p, double *c, int64_t m, int64_t length, double *vector, int by_rows,
                     int threads, rt_error *err) {
    double *a = rt_alloc((size_t)m, (size_t)m * sizeof *a, "products of rows", err);
    if (a) {
        Products t = {c, a, m, length};
        int64_t n = by_rows ? m : length;
        rt_parallel_for(threads, m, 4, products, &t);
        for (int64_t i = 0; i < m; i++)
            for (int64_t k = i + 1; k < m; k++)
                a[i * m + k] = a[k * m + i];
        for (int64_t i = 0; i < m; i++)
            p->total += a[i * m + i] / (double)(n > 1 ? n - 1 : 1);
        rt_eigen(a, m, p->k, p->variance, by_rows ? vector : p->axis, threads, err);
        for (int64_t k = 0; k < p->k; k++) {
            double v = p->variance[k] / (double)(n > 1 ? n - 1 : 1);
            p->variance[k] = v > 0 ? v : 0;
        }
        if (by_rows && !err->code)
            axes_of_rows(p, c, vector, n);
    }
    rt_free(a);
    return err->code;
}

int rt_pca_fit(rt_pca *p, const float *x, int64_t n, int64_t d, int64_t k, int threads,
               rt_error *err) {
    int64_t m = n < d ? n : d;
    int by_rows = n < d;
    *p = (rt_pca){.d = d, .k = k < m ? k : m};
    if (m > RT_PCA_MAX)
        return rt_fail(err, NETRT_ELIMIT, "%lld rows of %lld numbers are too many for components\n"
                       "help: --limit=%d takes the first rows", (long long)n, (long long)d,
                       RT_PCA_MAX);
    p->mean = rt_alloc_zero((size_t)d, sizeof *p->mean, "components", err);
    p->axis = rt_alloc_zero((size_t)(p->k + 1), (size_t)d * sizeof *p->axis, "components", err);
    p->variance = rt_alloc_zero((size_t)(p->k + 1), sizeof *p->variance, "components", err);
    if (err->code)
        return err->code;
    double *c = centred(p, x, n, by_rows, err);
    double *vector = c ? rt_alloc((size_t)(p->k + 1), (size_t)m * sizeof *vector, "components", err)
                       : NULL;
    if (vector)
        decompose(p, c, m, by_rows ? d : n, vector, by_rows, threads, err);
    rt_free(vector);
    rt_free(c);
    return err->code;
}

void rt_pca_close(rt_pca *p) {
    rt_free(p->mean);
    rt_free(p->axis);
    rt_free(p->variance);
    *p = (rt_pca){0};
}

typedef struct Apply {
    const rt_pca *p;
    const float *x;
    double *y;
} Apply;

static void apply(void *context, int64_t lo, int64_t hi, int thread) {
    const Apply *a = context;
    int64_t d = a->p->d;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t k = 0; k < a->p->k; k++) {
            double s = 0;
            for (int64_t j = 0; j < d; j++)
                s += ((double)a->x[i * d + j] - a->p->mean[j]) * a->p->axis[k * d + j];
            a->y[i * a->p->k + k] = s;
        }
}

void rt_pca_apply(const rt_pca *p, const float *x, int64_t n, double *y, int threads) {
    Apply a = {p, x, y};
    rt_parallel_for(threads, n, 16, apply, &a);
}

double rt_pca_ratio(const rt_pca *p, int64_t i) {
    return p->total > 0 ? p->variance[i] / p->total : 0;
}
