/* rt_nc.c: neural collapse (rt_nc.h).
 *
 * S_B^+ needs no d x d matrix: M = U L V^T from the eigenvectors V of the C x C products of means,
 * and tr(S_W S_B^+) is the mean over samples of sum_k (u_k . (h - mu_c))^2 / lambda_k over the C - 1
 * largest eigenvalues lambda of S_B.
 */
#include "rt_nc.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"
#include "rt_pca.h"

typedef struct Work {
    const float *x;
    const int32_t *label, *answer;
    int64_t n, d, c, k; /* rows, numbers, classes present, directions */
    int32_t *place;     /* class -> place among those present, -1 */
    double *mean;       /* c x d, minus their mean */
    double *middle;     /* d */
    double *axis;       /* k x d, u_k / sqrt(lambda_k) */
    double *scatter;    /* n: sum of squares along the axes */
    int32_t *near;      /* n: class place of the nearest mean */
} Work;

static double dot(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static void means(Work *w, int64_t *count) {
    memset(w->mean, 0, (size_t)(w->c * w->d) * sizeof *w->mean);
    memset(w->middle, 0, (size_t)w->d * sizeof *w->middle);
    for (int64_t i = 0; i < w->n; i++) {
        int32_t c = w->place[w->label[i]];
        count[c]++;
        for (int64_t j = 0; j < w->d; j++)
            w->mean[c * w->d + j] += (double)w->x[i * w->d + j];
    }
    for (int64_t c = 0; c < w->c; c++)
        for (int64_t j = 0; j < w->d; j++) {
            w->mean[c * w->d + j] /= (double)count[c];
            w->middle[j] += w->mean[c * w->d + j] / (double)w->c;
        }
    for (int64_t i = 0; i < w->c * w->d; i++)
        w->mean[i] -= w->middle[i % w->d];
}

static void sample(void *context, int64_t lo, int64_t hi, int thread) {
    const Work *w = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++) {
        const float *h = w->x + i * w->d;
        const double *own = w->mean + w->place[w->label[i]] * w->d;
        double sum = 0, least = INFINITY;
        for (int64_t k = 0; k < w->k; k++) {
            double s = 0;
            for (int64_t j = 0; j < w->d; j++)
                s += w->axis[k * w->d + j] * ((double)h[j] - w->middle[j] - own[j]);
            sum += s * s;
        }
        w->scatter[i] = sum;
        for (int64_t c = 0; c < w->c; c++) {
            double distance = 0;
            for (int64_t j = 0; j < w->d; j++) {
                double v = (double)h[j] - w->middle[j] - w->mean[c * w->d + j];
                distance += v * v;
            }
            if (distance < least) {
                least = distance;
                w->near[i] = (int32_t)c;
            }
        }
    }
}

/* NC2 of c rows of d. */
static void regularity(const double *row, int64_t c, int64_t d, double *spread, double *angle) {
    double sum = 0, square = 0, off = 0;
    for (int64_t i = 0; i < c; i++)
        sum += sqrt(dot(row + i * d, row + i * d, d));
    for (int64_t i = 0; i < c; i++) {
        double length = sqrt(dot(row + i * d, row + i * d, d)), v = length - sum / (double)c;
        square += v * v;
        for (int64_t k = 0; k < c; k++)
            if (k != i)
                off += fabs(dot(row + i * d, row + k * d, d) /
                                (length * sqrt(dot(row + k * d, row + k * d, d))) +
                            1 / (double)(c - 1));
    }
    *spread = sqrt(square / (double)(c - 1)) / (sum / (double)c);
    *angle = off / (double)(c * (c - 1));
}

/* NC3. */
static double duality(const double *a, const double *b, int64_t n) {
    double la = sqrt(dot(a, a, n)), lb = sqrt(dot(b, b, n)), sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = a[i] / la - b[i] / lb;
        sum += v * v;
    }
    return sum;
}

/* Directions between the classes, each divided by its deviation. */
static int find_axes(Work *w, int threads, rt_error *err) {
    int64_t c = w->c, d = w->d;
    double *g = rt_alloc((size_t)c, 2 * (size_t)c * sizeof *g, "class means", err);
    double *value = rt_alloc((size_t)c, sizeof *value, "class means", err);
    if (!err->code) {
        for (int64_t i = 0; i < c; i++)
            for (int64_t k = 0; k < c; k++)
                g[i * c + k] = dot(w->mean + i * d, w->mean + k * d, d) / (double)c;
        rt_eigen(g, c, c, value, g + c * c, threads, err);
    }
    for (int64_t k = 0; !err->code && k < c - 1; k++) {
        double *axis = w->axis + w->k * d;
        if (!(value[k] > value[0] * 1e-12))
            break;
        memset(axis, 0, (size_t)d * sizeof *axis);
        for (int64_t i = 0; i < c; i++) /* u = M v / sqrt(C lambda), then / sqrt(lambda) */
            for (int64_t j = 0; j < d; j++)
                axis[j] += g[c * c + k * c + i] * w->mean[i * d + j] / (sqrt((double)c) * value[k]);
        w->k++;
    }
    rt_free(g);
    rt_free(value);
    return err->code;
}

static int open_work(Work *w, rt_error *err) {
    size_t n = (size_t)w->n, d = (size_t)w->d, c = (size_t)(w->c > 0 ? w->c : 1);
    w->mean = rt_alloc(c, d * sizeof *w->mean, "class means", err);
    w->middle = rt_alloc(d, sizeof *w->middle, "class means", err);
    w->axis = rt_alloc(c, d * sizeof *w->axis, "class means", err);
    w->scatter = rt_alloc(n, sizeof *w->scatter, "distances", err);
    w->near = rt_alloc(n, sizeof *w->near, "distances", err);
    return err->code;
}

static void close_work(Work *w) {
    rt_free(w->place);
    rt_free(w->mean);
    rt_free(w->middle);
    rt_free(w->axis);
    rt_free(w->scatter);
    rt_free(w->near);
}

static int weights_too(const Work *w, rt_nc *out, const float *weights, int64_t classes,
                       rt_error *err) {
    double *row = rt_alloc((size_t)w->c, (size_t)w->d * sizeof *row, "weights", err);
    if (!row)
        return err->code;
    for (int64_t c = 0; c < classes; c++)
        for (int64_t j = 0; j < w->d && w->place[c] >= 0; j++)
            row[w->place[c] * w->d + j] = (double)weights[c * w->d + j];
    regularity(row, w->c, w->d, &out->norm_weights, &out->angle_weights);
    out->duality = duality(row, w->mean, w->c * w->d);
    rt_free(row);
    return NETRT_OK;
}

int rt_nc_measure(rt_nc *out, const float *x, int64_t n, int64_t d, const int32_t *label,
                  int64_t classes, const float *weights, const int32_t *answer, int threads,
                  rt_error *err) {
    Work w = {.x = x, .label = label, .answer = answer, .n = n, .d = d};
    *out = (rt_nc){NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0};
    int64_t *count = rt_alloc_zero((size_t)classes, sizeof *count, "classes", err);
    w.place = rt_alloc((size_t)classes, sizeof *w.place, "classes", err);
    if (!err->code) {
        memset(w.place, -1, (size_t)classes * sizeof *w.place);
        for (int64_t i = 0; i < n; i++)
            w.place[label[i]] = 0;
        for (int64_t c = 0; c < classes; c++)
            if (w.place[c] == 0)
                w.place[c] = (int32_t)w.c++;
        if (w.c < 2)
            rt_fail(err, NETRT_EDATA, "the samples are of one class only\nhelp: more samples with "
                    "--limit, or other data");
    }
    if (!err->code && open_work(&w, err) == 0) {
        out->classes = w.c;
        means(&w, count);
        if (find_axes(&w, threads, err) == 0) {
            double sum = 0;
            int64_t wrong = 0;
            rt_parallel_for(threads, n, 16, sample, &w);
            for (int64_t i = 0; i < n; i++) {
                sum += w.scatter[i];
                wrong += answer && (answer[i] < 0 || w.place[answer[i]] != w.near[i]);
            }
            out->within = w.k > 0 ? sum / (double)n / (double)w.c : NAN;
            out->nearest = answer ? (double)wrong / (double)n : NAN;
            regularity(w.mean, w.c, d, &out->norm_means, &out->angle_means);
            if (weights)
                weights_too(&w, out, weights, classes, err);
        }
    }
    close_work(&w);
    rt_free(count);
    return err->code;
}
