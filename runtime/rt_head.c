/* rt_head.c: linear classifiers on features (rt_head.h).
 *
 * theory: Bridle 1990 (softmax); Tang 2013, equation (8), and Fan et al. 2008 (LIBLINEAR) for the
 * squared hinge; Polyak 1964.
 */
#include "rt_head.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"

const char *const rt_head_names[RT_HEADS] = {"softmax", "svm"};

enum { LANES = 16, TOGETHER = 4, CHUNK = 256 };
static const double momentum = 0.9;

int rt_head_open(rt_head *h, int kind, int64_t dim, int64_t classes, rt_error *err) {
    int64_t n;
    *h = (rt_head){.kind = kind, .dim = dim, .classes = classes};
    if (__builtin_mul_overflow(dim, classes, &n))
        return rt_fail(err, NETRT_ELIMIT, "a classifier of %lld features is too large",
                       (long long)dim);
    h->w = rt_alloc_zero((size_t)n, sizeof *h->w, "a classifier", err);
    h->speed = rt_alloc_zero((size_t)n, sizeof *h->w, "a classifier", err);
    h->b = rt_alloc_zero((size_t)classes, sizeof *h->b, "a classifier", err);
    h->speed_b = rt_alloc_zero((size_t)classes, sizeof *h->b, "a classifier", err);
    return h->w && h->speed && h->b && h->speed_b ? NETRT_OK : err->code;
}

void rt_head_close(rt_head *h) {
    rt_free(h->w);
    rt_free(h->b);
    rt_free(h->speed);
    rt_free(h->speed_b);
    memset(h, 0, sizeof *h);
}

double rt_head_rate(int kind) {
    return kind == RT_HEAD_SOFTMAX ? 1 : 0.25;
}

/* ---- inner loops: sixteen sums side by side, products and sums rounded one by one, so that the
 * same numbers come out whatever the vectors' width ---- */

static inline __attribute__((always_inline)) void dots(const float *x, const float *w, int64_t dim,
                                                       int rows, float *out) {
    float sum[TOGETHER][LANES] = {{0}};
    int64_t whole = dim / LANES * LANES;
    for (int64_t j = 0; j < whole; j += LANES)
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < LANES; k++)
                sum[r][k] += x[j + k] * w[r * dim + j + k];
    for (int r = 0; r < rows; r++) {
        float all = 0;
        for (int k = 0; k < LANES; k++)
            all += sum[r][k];
        for (int64_t j = whole; j < dim; j++)
            all += x[j] * w[r * dim + j];
        out[r] = all;
    }
}

static inline __attribute__((always_inline)) void add_row(float *sum, const float *x, float by,
                                                          int64_t n) {
    for (int64_t k = 0; k < n; k++)
        sum[k] += by * x[k];
}

#define LOOPS(name, how)                                                                           \
    how static void dots_##name(const float *x, const float *w, int64_t dim, int rows,            \
                                float *out) {                                                      \
        if (rows == TOGETHER)                                                                      \
            dots(x, w, dim, TOGETHER, out);                                                        \
        else                                                                                       \
            dots(x, w, dim, rows, out);                                                            \
    }                                                                                              \
    how static void add_##name(float *sum, const float *x, float by, int64_t n) {                 \
        add_row(sum, x, by, n);                                                                    \
    }
LOOPS(plain, )
#if defined(__x86_64__)
LOOPS(avx2, __attribute__((target("avx2"))))
#endif

static int wide(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

/* ---- scores ---- */

typedef struct Job {
    const rt_head *h;
    rt_head *change;
    const float *x;
    float *d; /* scores, then slopes */
    int64_t n;
    float rate, decay;
} Job;

static void score_rows(void *context, int64_t lo, int64_t hi, int thread) {
    const Job *job = context;
    const rt_head *h = job->h;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t c = 0; c < h->classes; c += TOGETHER) {
            int rows = (int)(h->classes - c < TOGETHER ? h->classes - c : TOGETHER);
            float *out = job->d + i * h->classes + c;
            const float *x = job->x + i * h->dim, *w = h->w + c * h->dim;
#if defined(__x86_64__)
            if (wide())
                dots_avx2(x, w, h->dim, rows, out);
            else
#endif
                dots_plain(x, w, h->dim, rows, out);
            for (int r = 0; r < rows; r++)
                out[r] += h->b[c + r];
        }
}

void rt_head_scores(const rt_head *h, const float *x, int64_t n, float *scores, int threads) {
    Job job = {.h = h, .x = x, .d = scores, .n = n};
    rt_parallel_for(threads, n, 8, score_rows, &job);
}

/* ---- a step ---- */

/* Scores of one row become the slopes of the mean loss. */
static void slopes(const rt_head *h, float *s, int32_t label, double share) {
    double most = (double)s[0], sum = 0;
    if (h->kind == RT_HEAD_SVM) {
        for (int64_t c = 0; c < h->classes; c++) {
            double side = c == label ? 1 : -1, missing = 1 - side * (double)s[c];
            s[c] = (float)(missing > 0 ? -2 * side * missing * share : 0);
        }
        return;
    }
    for (int64_t c = 1; c < h->classes; c++)
        most = (double)s[c] > most ? (double)s[c] : most;
    for (int64_t c = 0; c < h->classes; c++)
        sum += exp((double)s[c] - most);
    for (int64_t c = 0; c < h->classes; c++)
        s[c] = (float)((exp((double)s[c] - most) / sum - (c == label)) * share);
}

/* Features lo * CHUNK .. of every class: gradient, momentum, weight. */
static void step_columns(void *context, int64_t lo, int64_t hi, int thread) {
    const Job *job = context;
    rt_head *h = job->change;
    float grad[CHUNK];
    (void)thread;
    for (int64_t at = lo * CHUNK; at < hi * CHUNK && at < h->dim; at += CHUNK) {
        int64_t n = h->dim - at < CHUNK ? h->dim - at : CHUNK;
        for (int64_t c = 0; c < h->classes; c++) {
            float *w = h->w + c * h->dim + at, *speed = h->speed + c * h->dim + at;
            for (int64_t k = 0; k < n; k++)
                grad[k] = job->decay * w[k];
            for (int64_t i = 0; i < job->n; i++) {
                float by = job->d[i * h->classes + c];
                const float *x = job->x + i * h->dim + at;
                if (by == 0)
                    continue;
#if defined(__x86_64__)
                if (wide())
                    add_avx2(grad, x, by, n);
                else
#endif
                    add_plain(grad, x, by, n);
            }
            for (int64_t k = 0; k < n; k++) {
                speed[k] = (float)momentum * speed[k] + grad[k];
                w[k] -= job->rate * speed[k];
            }
        }
    }
}

void rt_head_step(rt_head *h, const float *x, const int32_t *label, int64_t n, double rate,
                  double decay, float *room, int threads) {
    Job job = {.h = h, .change = h, .x = x, .d = room, .n = n, .rate = (float)rate,
               .decay = (float)decay};
    rt_head_scores(h, x, n, room, threads);
    for (int64_t i = 0; i < n; i++)
        slopes(h, room + i * h->classes, label[i], 1 / (double)n);
    rt_parallel_for(threads, (h->dim + CHUNK - 1) / CHUNK, 1, step_columns, &job);
    for (int64_t c = 0; c < h->classes; c++) {
        float sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += room[i * h->classes + c];
        h->speed_b[c] = (float)momentum * h->speed_b[c] + sum;
        h->b[c] -= job.rate * h->speed_b[c];
    }
}
