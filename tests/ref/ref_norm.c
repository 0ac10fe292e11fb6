/* ref_norm.c: normalisation over batches and images as loops in double precision (see ref_ops.h).
 *
 * bn and instancenorm are written from their definitions, each number visited as often as it takes;
 * their parts apart from that, from what each part says it computes.
 */
#include "ref_norm.h"

#include <math.h>

#include "ops/attrs.h"


static int64_t channels(const RefTensor *t) { return t->shape.dim[0]; }

static int64_t cells(const RefTensor *t) {
    return t->shape.rank == 3 ? t->shape.dim[1] * t->shape.dim[2] : 1;
}

static double *cell(const RefTensor *t, int64_t n, int64_t c, int64_t i) {
    return &t->at[(n * channels(t) + c) * cells(t) + i];
}

/* Channel c of a vector: for image n, or the same for all. */
static double *channel(const RefTensor *t, int64_t n, int64_t c) {
    return &t->at[(t->n == 1 ? 0 : n) * channels(t) + c];
}

static double deviation(double variance, double eps) { return sqrt(fmax(variance, 0) + eps); }

/* Mean and variance of channel c over images [from, to). */
static void statistics(const RefTensor *s, int64_t c, int64_t from, int64_t to, double *mean,
                       double *variance) {
    double count = (double)((to - from) * cells(s));
    *mean = *variance = 0;
    for (int64_t n = from; n < to; n++)
        FOR(i, cells(s)) *mean += *cell(s, n, c, i) / count;
    for (int64_t n = from; n < to; n++)
        FOR(i, cells(s)) {
            double d = *cell(s, n, c, i) - *mean;
            *variance += d * d / count;
        }
}

static void normalise(const RefCall *r, int64_t n, int64_t c, double mean, double variance) {
    const BnAttrs *a = r->attrs;
    FOR(i, cells(&r->in[0]))
        *cell(r->out, n, c, i) = r->in[1].at[c] * (*cell(&r->in[0], n, c, i) - mean) /
                                     deviation(variance, a->eps) + r->in[2].at[c];
}

void ref_bn(const RefCall *r) {
    const BnAttrs *a = r->attrs;
    FOR(c, channels(r->out)) {
        double mean = r->in[3].at[c], variance = r->in[4].at[c];
        if (!a->infer)
            statistics(&r->in[0], c, 0, r->n, &mean, &variance);
        FOR(n, r->n) normalise(r, n, c, mean, variance);
    }
}

void ref_instancenorm(const RefCall *r) {
    FOR(n, r->n) FOR(c, channels(r->out)) {
        double mean, variance;
        statistics(&r->in[0], c, n, n + 1, &mean, &variance);
        normalise(r, n, c, mean, variance);
    }
}

/* ---- parts ---- */

void ref_moments(const RefCall *r) {
    FOR(n, r->n) FOR(c, channels(r->out)) {
        double mean, variance;
        statistics(&r->in[0], c, n, n + 1, &mean, &variance);
        *channel(&r->out[0], n, c) = mean;
        *channel(&r->out[1], n, c) = variance;
    }
}

void ref_bn_combine(const RefCall *r) {
    const BnAttrs *a = r->attrs;
    double images = (double)r->n;
    FOR(c, channels(r->out)) {
        double mean = 0, variance = 0;
        FOR(n, r->n) mean += *cell(&r->in[0], n, c, 0) / images;
        FOR(n, r->n) {
            double d = *cell(&r->in[0], n, c, 0) - mean;
            variance += (*cell(&r->in[1], n, c, 0) + d * d) / images;
        }
        r->out[0].at[c] = mean;
        r->out[1].at[c] = variance;
        r->out[2].at[c] = r->in[2].at[c] / deviation(variance, a->eps);
        r->out[3].at[c] = r->in[3].at[c] - mean * r->out[2].at[c];
    }
}

void ref_bn_scale(const RefCall *r) {
    const BnAttrs *a = r->attrs;
    FOR(n, r->out->n) FOR(c, channels(r->out)) {
        double scale = *channel(&r->in[2], n, c) / deviation(*channel(&r->in[1], n, c), a->eps);
        *channel(&r->out[0], n, c) = scale;
        *channel(&r->out[1], n, c) = *channel(&r->in[3], n, c) - *channel(&r->in[0], n, c) * scale;
    }
}

void ref_bn_running(const RefCall *r) {
    const BnAttrs *a = r->attrs;
    double count = (double)(r->n * a->cells);
    FOR(c, channels(r->out)) {
        double now = r->in[1].at[c];
        if (a->cells > 0)
            now *= count / fmax(count - 1, 1);
        r->out->at[c] = (1 - a->momentum) * r->in[0].at[c] + a->momentum * now;
    }
}

void ref_scale_shift(const RefCall *r) {
    FOR(n, r->n) FOR(c, channels(r->out)) FOR(i, cells(r->out))
        *cell(r->out, n, c, i) = *cell(&r->in[0], n, c, i) * *channel(&r->in[1], n, c) +
                                 *channel(&r->in[2], n, c);
}

void ref_channel_mul(const RefCall *r) {
    FOR(n, r->n) FOR(c, channels(r->out)) FOR(i, cells(r->out))
        *cell(r->out, n, c, i) = *cell(&r->in[0], n, c, i) * *channel(&r->in[1], n, c);
}

void ref_bn_bwd_sums(const RefCall *r) {
    const BnAttrs *a = r->attrs;
    FOR(n, r->n) FOR(c, channels(r->out)) FOR(i, cells(&r->in[0])) {
        double variance = *channel(&r->in[3], n, c);
        double dy = *cell(&r->in[0], n, c, i);
        double d = *cell(&r->in[1], n, c, i) - *channel(&r->in[2], n, c);
        r->out[0].at[n * channels(r->out) + c] += dy;
        r->out[1].at[n * channels(r->out) + c] += dy * d / deviation(variance, a->eps);
    }
}

void ref_bn_bwd_coef(const RefCall *r) {
    const BnAttrs *a = r->attrs;
    bool each = r->in[0].n == r->n; /* sums of images; with one image both are the same */
    double count = (double)a->cells * (each ? 1 : (double)r->n);
    FOR(n, r->out->n) FOR(c, channels(r->out)) {
        double s = deviation(*channel(&r->in[3], n, c), a->eps), p = *channel(&r->in[4], n, c) / s;
        double q = -p * *channel(&r->in[0], n, c) / (s * count);
        *channel(&r->out[0], n, c) = p;
        *channel(&r->out[1], n, c) = q;
        *channel(&r->out[2], n, c) =
            -p * *channel(&r->in[1], n, c) / count - q * *channel(&r->in[2], n, c);
    }
}

void ref_bn_bwd_data(const RefCall *r) {
    FOR(n, r->n) FOR(c, channels(r->out)) FOR(i, cells(r->out))
        *cell(r->out, n, c, i) = *channel(&r->in[2], n, c) * *cell(&r->in[0], n, c, i) +
                                 *channel(&r->in[3], n, c) * *cell(&r->in[1], n, c, i) +
                                 *channel(&r->in[4], n, c);
}
