/* rt_climb.c: step rules and L-BFGS (rt_climb.h). */
#include "rt_climb.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_pixels.h"

/* ---- step rules ---- */

int rt_climb_open(rt_climb *c, int rule, double rate, int64_t n, rt_error *err) {
    *c = (rt_climb){.rule = rule, .rate = rate, .keep = 0.9, .limit = INFINITY, .n = n};
    if (rule == RT_STEP_MOMENTUM || rule == RT_STEP_ADAM || rule == RT_STEP_ADAGRAD)
        c->v = rt_alloc_zero((size_t)n, sizeof *c->v, "an optimizer's sums", err);
    if (!err->code && (rule == RT_STEP_ADAM || rule == RT_STEP_ADAGRAD))
        c->g2 = rt_alloc_zero((size_t)n, sizeof *c->g2, "an optimizer's sums", err);
    return err->code;
}

void rt_climb_close(rt_climb *c) {
    rt_free(c->v);
    rt_free(c->g2);
    c->v = c->g2 = NULL;
}

static void adam(rt_climb *c, float *x, const float *g) {
    const double beta2 = 0.999, eps = 1e-8;
    double first = 1 / (1 - pow(c->keep, (double)c->step));
    double second = 1 / (1 - pow(beta2, (double)c->step));
    for (int64_t i = 0; i < c->n; i++) {
        double v = c->keep * (double)c->v[i] + (1 - c->keep) * (double)g[i];
        double s = beta2 * (double)c->g2[i] + (1 - beta2) * (double)g[i] * (double)g[i];
        c->v[i] = (float)v;
        c->g2[i] = (float)s;
        x[i] += (float)(c->rate * v * first / (sqrt(s * second) + eps));
    }
}

static void adagrad(rt_climb *c, float *x, const float *g) {
    for (int64_t i = 0; i < c->n; i++) {
        double s = c->keep * (double)c->g2[i] + (double)g[i] * (double)g[i];
        double v = c->keep * (double)c->v[i] + (double)g[i] / (1 / c->rate + sqrt(s));
        c->g2[i] = (float)s;
        c->v[i] = (float)v;
        x[i] += (float)v;
    }
}

void rt_climb_step(rt_climb *c, float *x, const float *g) {
    double size = 0, rate = c->rate;
    c->step++;
    switch (c->rule) {
    case RT_STEP_ADAM:
        adam(c, x, g);
        return;
    case RT_STEP_ADAGRAD:
        adagrad(c, x, g);
        return;
    case RT_STEP_MOMENTUM:
        for (int64_t i = 0; i < c->n; i++) {
            c->v[i] = (float)(c->keep * (double)c->v[i] + rate * (double)g[i]);
            x[i] += c->v[i];
        }
        return;
    case RT_STEP_SIGN:
        for (int64_t i = 0; i < c->n; i++)
            x[i] += (float)(g[i] > 0 ? rate : g[i] < 0 ? -rate : 0);
        return;
    case RT_STEP_MEAN:
        size = rt_mean_abs(g, c->n);
        break;
    case RT_STEP_NORM:
        size = rt_norm2(g, c->n);
        break;
    case RT_STEP_PROGRESS:
        size = rt_norm2(g, c->n);
        size *= size;
        break;
    default:
        size = 1;
    }
    if (!(size > 0))
        return;
    rate /= size;
    rate = rate > c->limit ? c->limit : rate;
    for (int64_t i = 0; i < c->n; i++)
        x[i] += (float)(rate * (double)g[i]);
}

/* ---- L-BFGS ---- */

static double dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

int rt_lbfgs_open(rt_lbfgs *l, rt_value_fn f, void *context, float *x, int64_t n, int keep,
                  double first, rt_error *err) {
    keep = keep < 1 ? 1 : keep > RT_LBFGS_MAX ? RT_LBFGS_MAX : keep;
    *l = (rt_lbfgs){.f = f, .context = context, .n = n, .keep = keep, .first = first, .x = x};
    float **part[] = {&l->g, &l->try_x, &l->try_g, &l->direction};
    for (int i = 0; i < 4 && !err->code; i++)
        *part[i] = rt_alloc((size_t)n, sizeof(float), "an optimizer's vectors", err);
    int64_t pairs;
    if (__builtin_mul_overflow(n, (int64_t)keep, &pairs))
        return rt_fail(err, NETRT_ELIMIT, "an optimizer's vectors are too large");
    if (!err->code)
        l->s = rt_alloc((size_t)pairs, sizeof(float), "an optimizer's vectors", err);
    if (!err->code)
        l->y = rt_alloc((size_t)pairs, sizeof(float), "an optimizer's vectors", err);
    if (!err->code)
        l->rho = rt_alloc((size_t)keep, sizeof(double), "an optimizer's vectors", err);
    if (!err->code) {
        l->evaluations++;
        f(context, x, &l->value, l->g, err);
    }
    return err->code;
}

void rt_lbfgs_close(rt_lbfgs *l) {
    float **part[] = {&l->g, &l->try_x, &l->try_g, &l->direction, &l->s, &l->y};
    for (int i = 0; i < 6; i++) {
        rt_free(*part[i]);
        *part[i] = NULL;
    }
    rt_free(l->rho);
    l->rho = NULL;
}

/* direction = -H g by the pairs kept (two loops, algorithm 7.4) */
static void find_direction(rt_lbfgs *l) {
    double alpha[RT_LBFGS_MAX];
    float *d = l->direction;
    for (int64_t i = 0; i < l->n; i++)
        d[i] = -l->g[i];
    for (int k = 0; k < l->have; k++) {
        int at = (l->newest - k + l->keep) % l->keep;
        const float *s = l->s + at * l->n, *y = l->y + at * l->n;
        alpha[k] = l->rho[at] * dot(s, d, l->n);
        for (int64_t i = 0; i < l->n; i++)
            d[i] -= (float)(alpha[k] * (double)y[i]);
    }
    if (l->have) {
        const float *y = l->y + l->newest * l->n;
        double scale = 1 / (l->rho[l->newest] * dot(y, y, l->n));
        for (int64_t i = 0; i < l->n; i++)
            d[i] = (float)(scale * (double)d[i]);
    }
    for (int k = l->have - 1; k >= 0; k--) {
        int at = (l->newest - k + l->keep) % l->keep;
        const float *s = l->s + at * l->n, *y = l->y + at * l->n;
        double beta = l->rho[at] * dot(y, d, l->n);
        for (int64_t i = 0; i < l->n; i++)
            d[i] += (float)((alpha[k] - beta) * (double)s[i]);
    }
}

/* Keeps the pair of the step just found, if it curves upwards. */
static void keep_pair(rt_lbfgs *l) {
    int at = l->have ? (l->newest + 1) % l->keep : 0;
    float *s = l->s + at * l->n, *y = l->y + at * l->n;
    for (int64_t i = 0; i < l->n; i++) {
        s[i] = l->try_x[i] - l->x[i];
        y[i] = l->try_g[i] - l->g[i];
    }
    double curve = dot(s, y, l->n);
    if (!(curve > 1e-10 * dot(y, y, l->n)))
        return;
    l->rho[at] = 1 / curve;
    l->newest = at;
    l->have += l->have < l->keep;
}

int rt_lbfgs_step(rt_lbfgs *l, int *moved, rt_error *err) {
    enum { TRIES = 20 };
    const double enough = 1e-4, flat = 0.9; /* Armijo, Wolfe */
    *moved = 0;
    find_direction(l);
    double slope = dot(l->g, l->direction, l->n), low = 0, high = INFINITY, t = 1;
    if (!(slope < 0)) { /* the pairs mislead: start anew */
        l->have = 0;
        find_direction(l);
        slope = -dot(l->g, l->g, l->n);
    }
    if (slope == 0)
        return NETRT_OK;
    if (!l->have)
        t = l->first / sqrt(-slope);
    double value = INFINITY;
    for (int k = 0; k < TRIES; k++) {
        for (int64_t i = 0; i < l->n; i++)
            l->try_x[i] = l->x[i] + (float)(t * (double)l->direction[i]);
        l->evaluations++;
        if (l->f(l->context, l->try_x, &value, l->try_g, err))
            return err->code;
        bool small = value <= l->value + enough * t * slope;
        if (small && dot(l->try_g, l->direction, l->n) >= flat * slope)
            break;
        if (small)
            low = t;
        else
            high = t;
        t = isinf(high) ? 2 * t : (low + high) / 2;
    }
    if (!(value < l->value)) {
        if (!l->have)
            return NETRT_OK;
        l->have = 0; /* once more along the gradient alone */
        return rt_lbfgs_step(l, moved, err);
    }
    keep_pair(l);
    memcpy(l->x, l->try_x, (size_t)l->n * sizeof *l->x);
    memcpy(l->g, l->try_g, (size_t)l->n * sizeof *l->g);
    l->value = value;
    *moved = 1;
    return NETRT_OK;
}
