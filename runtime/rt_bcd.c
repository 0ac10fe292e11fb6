/* rt_bcd.c: block coordinate descent (rt_bcd.h): the blocks.
 *
 * Samples are apart from each other in all blocks but W: they go by in panels of 8, a sample a lane.
 * U and V are kept as floats and every block is solved in double: rounding a block's best value moves F
 * by the square of the rounding only.
 * theory: Zeng, Lau, Lin, Yao 2019 (closed forms of the steps).
 */
#include "rt_bcd.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"
#include "rt_solve.h"

enum { L = RT_LANES, PANELS = 4, CHUNK = L * PANELS };

int64_t rt_bcd_columns(const rt_bcd *b, int64_t i) { return b->width[i - 1] + b->bias[i]; }

static int64_t chunks(const rt_bcd *b) { return (b->n + CHUNK - 1) / CHUNK; }

/* The largest system: columns of a layer, or its units. */
static int64_t largest(const rt_bcd *b) {
    int64_t most = 1;
    for (int64_t i = 1; i <= b->layers; i++) {
        most = rt_bcd_columns(b, i) > most ? rt_bcd_columns(b, i) : most;
        most = b->width[i] > most ? b->width[i] : most;
    }
    return most;
}

double rt_bcd_bytes(const rt_bcd *b) {
    double most = (double)largest(b), sum = 0;
    for (int64_t i = 1; i <= b->layers; i++)
        sum += 8.0 * (double)b->n * (double)b->width[i] +
               8.0 * (double)b->width[i] * (double)rt_bcd_columns(b, i);
    return sum + 32 * most * most;
}

int rt_bcd_open(rt_bcd *b, rt_error *err) {
    int64_t most = b->most = largest(b), count;
    memset(b->w, 0, sizeof b->w);
    memset(b->u, 0, sizeof b->u);
    memset(b->v, 0, sizeof b->v);
    b->factor = b->first = b->right = b->turned = b->room = b->part = NULL;
    b->have_first = 0;
    if (b->layers < 1 || b->layers > RT_BCD_LAYERS)
        return rt_fail(err, NETRT_EUSAGE, "%lld layers; from 1 to %d can be trained by blocks",
                       (long long)b->layers, RT_BCD_LAYERS);
    if (__builtin_mul_overflow(most, b->n, &count) || __builtin_mul_overflow(most, most + L, &count))
        return rt_fail(err, NETRT_ELIMIT, "layers of %lld numbers are too large", (long long)most);
    for (int64_t i = 1; i <= b->layers; i++) {
        size_t unknowns = (size_t)(b->n * b->width[i]);
        b->w[i] = rt_alloc_zero((size_t)(b->width[i] * rt_bcd_columns(b, i)), sizeof *b->w[i],
                                "weights", err);
        b->u[i] = rt_alloc(unknowns, sizeof *b->u[i], "the layers' sums", err);
        b->v[i] = rt_alloc(unknowns, sizeof *b->v[i], "the layers' values", err);
    }
    b->factor = rt_alloc((size_t)(most * most), sizeof *b->factor, "a system", err);
    b->first = rt_alloc((size_t)(rt_bcd_columns(b, 1) * rt_bcd_columns(b, 1)), sizeof *b->first,
                        "a system", err);
    b->right = rt_alloc((size_t)(most * (most + L)), sizeof *b->right, "right sides", err);
    b->turned = rt_alloc((size_t)(most * most), sizeof *b->turned, "weights", err);
    b->room = rt_alloc((size_t)b->threads, (size_t)(2 * CHUNK * most) * sizeof *b->room, "panels", err);
    b->part = rt_alloc((size_t)chunks(b), 2 * sizeof *b->part, "sums", err);
    return err->code;
}

void rt_bcd_close(rt_bcd *b) {
    for (int64_t i = 0; i <= RT_BCD_LAYERS; i++) {
        rt_free(b->w[i]);
        rt_free(b->u[i]);
        rt_free(b->v[i]);
        b->w[i] = NULL;
        b->u[i] = b->v[i] = NULL;
    }
    rt_free(b->factor);
    rt_free(b->first);
    rt_free(b->right);
    rt_free(b->turned);
    rt_free(b->room);
    rt_free(b->part);
    b->factor = b->first = b->right = b->turned = b->room = b->part = NULL;
}

/* ---- samples in panels ---- */

typedef struct Step {
    rt_bcd *b;
    int64_t i;
    int forward; /* of rt_bcd_forward */
} Step;

static const float *values(const rt_bcd *b, int64_t i) { return i ? b->v[i] : b->x; }

/* Number k of sample s of a chunk. */
static int64_t place(int64_t width, int64_t s, int64_t k) {
    return (s / L * width + k) * L + s % L;
}

static int64_t samples(const rt_bcd *b, int64_t chunk) {
    return b->n - chunk * CHUNK < CHUNK ? b->n - chunk * CHUNK : CHUNK;
}

/* V_{i-1}, and a 1 for the bias, of a chunk; samples beyond the last are zeros. */
static void load(const rt_bcd *b, int64_t i, int64_t chunk, double *to) {
    int64_t wide = b->width[i - 1], columns = rt_bcd_columns(b, i), n = samples(b, chunk);
    for (int64_t s = 0; s < CHUNK; s++) {
        const float *from = values(b, i - 1) + (chunk * CHUNK + s) * wide;
        for (int64_t k = 0; k < wide; k++)
            to[place(columns, s, k)] = s < n ? (double)from[k] : 0;
        if (columns > wide)
            to[place(columns, s, wide)] = s < n;
    }
}

/* sums[k] = (W_i V_{i-1} + b_i)[k] of a chunk. */
static void drive(const rt_bcd *b, int64_t i, int64_t chunk, double *room, double *sums) {
    int64_t columns = rt_bcd_columns(b, i);
    load(b, i, chunk, room);
    rt_panels_mul(b->w[i], columns, b->width[i], columns, room, sums, PANELS);
}

static double rectified(const rt_bcd *b, int64_t i, double u) { return i < b->layers && u < 0 ? 0 : u; }

/* ---- U ---- */

double rt_bcd_prox(double v, double q, double gamma, double weight) {
    double on = fmax(0, (gamma * v + weight * q) / (gamma + weight)), off = fmin(0, q);
    double if_on = gamma * (v - on) * (v - on) + weight * (on - q) * (on - q);
    double if_off = gamma * v * v + weight * (off - q) * (off - q);
    return if_on < if_off ? on : off;
}

static void of_u(void *context, int64_t lo, int64_t hi, int thread) {
    const Step *t = context;
    const rt_bcd *b = t->b;
    int64_t width = b->width[t->i];
    double *room = b->room + thread * 2 * CHUNK * b->most, *sums = room + CHUNK * b->most;
    for (int64_t c = lo; c < hi; c++) {
        drive(b, t->i, c, room, sums);
        for (int64_t s = 0; s < samples(b, c); s++) {
            float *u = b->u[t->i] + (c * CHUNK + s) * width, *v = b->v[t->i] + (c * CHUNK + s) * width;
            for (int64_t k = 0; k < width; k++) {
                double p = sums[place(width, s, k)], weight = b->rho + b->alpha;
                if (t->forward) {
                    u[k] = (float)p;
                    v[k] = (float)rectified(b, t->i, p);
                } else if (t->i == b->layers) {
                    u[k] = (float)((b->gamma * (double)v[k] + b->rho * p) / (b->gamma + b->rho));
                } else {
                    double q = (b->rho * p + b->alpha * (double)u[k]) / weight;
                    u[k] = (float)rt_bcd_prox((double)v[k], q, b->gamma, weight);
                }
            }
        }
    }
}

void rt_bcd_update_u(rt_bcd *b, int64_t i) {
    Step t = {.b = b, .i = i};
    rt_parallel_for(b->threads, chunks(b), 1, of_u, &t);
}

void rt_bcd_forward(rt_bcd *b) {
    for (int64_t i = 1; i <= b->layers; i++) {
        Step t = {.b = b, .i = i, .forward = 1};
        rt_parallel_for(b->threads, chunks(b), 1, of_u, &t);
    }
}

/* ---- V ---- */

/* V_N: nearest to its class and to U_N. */
static void of_last_v(void *context, int64_t lo, int64_t hi, int thread) {
    const Step *t = context;
    const rt_bcd *b = t->b;
    int64_t width = b->width[t->i];
    (void)thread;
    for (int64_t s = lo; s < hi; s++) {
        const float *u = b->u[t->i] + s * width;
        float *v = b->v[t->i] + s * width;
        for (int64_t k = 0; k < width; k++)
            v[k] = (float)(((k == b->label[s]) + b->gamma * (double)u[k] + b->alpha * (double)v[k]) /
                           (1 + b->gamma + b->alpha));
    }
}

/* (gamma + rho W^T W) V_i = gamma s(U_i) + rho W^T (U_{i+1} - b), W and b those of layer i + 1. */
static void of_v(void *context, int64_t lo, int64_t hi, int thread) {
    const Step *t = context;
    const rt_bcd *b = t->b;
    int64_t i = t->i, width = b->width[i], above = b->width[i + 1], columns = rt_bcd_columns(b, i + 1);
    double *rest = b->room + thread * 2 * CHUNK * b->most, *x = rest + CHUNK * b->most;
    for (int64_t c = lo; c < hi; c++) {
        int64_t n = samples(b, c);
        for (int64_t s = 0; s < CHUNK; s++)
            for (int64_t k = 0; k < above; k++)
                rest[place(above, s, k)] =
                    s >= n ? 0
                           : (double)b->u[i + 1][(c * CHUNK + s) * above + k] -
                                 (columns > width ? b->w[i + 1][k * columns + width] : 0);
        rt_panels_mul(b->turned, above, width, above, rest, x, PANELS);
        for (int64_t s = 0; s < CHUNK; s++)
            for (int64_t k = 0; k < width; k++) {
                double *at = &x[place(width, s, k)];
                double u = s < n ? (double)b->u[i][(c * CHUNK + s) * width + k] : 0;
                *at = b->rho * *at + b->gamma * rectified(b, i, u);
            }
        rt_cholesky_solve(b->factor, width, x, PANELS);
        for (int64_t s = 0; s < n; s++)
            for (int64_t k = 0; k < width; k++)
                b->v[i][(c * CHUNK + s) * width + k] = (float)x[place(width, s, k)];
    }
}

/* Columns 8 at a time of gamma + rho W^T W. */
static void of_system(void *context, int64_t lo, int64_t hi, int thread) {
    const Step *t = context;
    const rt_bcd *b = t->b;
    int64_t width = b->width[t->i], above = b->width[t->i + 1];
    double *panel = b->room + thread * 2 * CHUNK * b->most, *out = panel + CHUNK * b->most;
    for (int64_t p = lo; p < hi; p++) {
        for (int64_t k = 0; k < above; k++)
            for (int64_t l = 0; l < L; l++)
                panel[k * L + l] = p * L + l < width ? b->turned[(p * L + l) * above + k] : 0;
        rt_panels_mul(b->turned, above, width, above, panel, out, 1);
        for (int64_t r = 0; r < width; r++)
            for (int64_t l = 0; l < L && p * L + l < width; l++)
                b->factor[r * width + p * L + l] =
                    b->rho * out[r * L + l] + (r == p * L + l ? b->gamma : 0);
    }
}

int rt_bcd_update_v(rt_bcd *b, int64_t i, rt_error *err) {
    Step t = {.b = b, .i = i};
    if (i == b->layers) {
        rt_parallel_for(b->threads, b->n, 256, of_last_v, &t);
        return NETRT_OK;
    }
    int64_t width = b->width[i], above = b->width[i + 1], columns = rt_bcd_columns(b, i + 1);
    for (int64_t k = 0; k < above; k++)
        for (int64_t c = 0; c < width; c++)
            b->turned[c * above + k] = b->w[i + 1][k * columns + c];
    rt_parallel_for(b->threads, (width + L - 1) / L, 1, of_system, &t);
    if (rt_cholesky(b->factor, width, b->threads, err))
        return err->code;
    rt_parallel_for(b->threads, chunks(b), 1, of_v, &t);
    return NETRT_OK;
}

/* ---- W and b ---- */

typedef struct Solve {
    const rt_bcd *b;
    const double *factor;
    int64_t i;
} Solve;

/* Rows of W_i 8 at a time. */
static void of_w(void *context, int64_t lo, int64_t hi, int thread) {
    const Solve *t = context;
    const rt_bcd *b = t->b;
    int64_t columns = rt_bcd_columns(b, t->i), rows = b->width[t->i];
    double *x = b->room + thread * 2 * CHUNK * b->most;
    for (int64_t p = lo; p < hi; p++) {
        for (int64_t l = 0; l < L; l++)
            for (int64_t k = 0; k < columns; k++) {
                int64_t at = (p * L + l) * columns + k;
                x[k * L + l] =
                    p * L + l < rows ? b->rho * b->right[at] + b->alpha * b->w[t->i][at] : 0;
            }
        rt_cholesky_solve(t->factor, columns, x, 1);
        for (int64_t l = 0; l < L && p * L + l < rows; l++)
            for (int64_t k = 0; k < columns; k++)
                b->w[t->i][(p * L + l) * columns + k] = x[k * L + l];
    }
}

/* W (rho V V^T + alpha + decay) = rho U V^T + alpha W', V with a row of ones for the bias. */
int rt_bcd_update_w(rt_bcd *b, int64_t i, rt_error *err) {
    int64_t columns = rt_bcd_columns(b, i), wide = b->width[i - 1];
    rt_table below = {values(b, i - 1), wide, b->bias[i]}, sums = {b->u[i], b->width[i], 0};
    double *factor = i == 1 ? b->first : b->factor; /* the first layer's never changes */
    if (rt_products(sums, below, b->n, b->right, b->threads, err))
        return err->code;
    if (i > 1 || !b->have_first) {
        if (rt_products(below, below, b->n, factor, b->threads, err))
            return err->code;
        for (int64_t r = 0; r < columns; r++)
            for (int64_t k = 0; k <= r; k++)
                factor[r * columns + k] =
                    b->rho * factor[r * columns + k] +
                    (r != k ? 0 : r < wide ? b->alpha + b->decay : b->alpha);
        if (rt_cholesky(factor, columns, b->threads, err))
            return err->code;
        b->have_first |= i == 1;
    }
    Solve t = {b, factor, i};
    rt_parallel_for(b->threads, (b->width[i] + L - 1) / L, 1, of_w, &t);
    return NETRT_OK;
}

/* ---- all ---- */

int rt_bcd_sweep(rt_bcd *b, int (*stop)(void *context, int64_t layer), void *context, rt_error *err) {
    for (int64_t i = b->layers; i > 0; i--) {
        int code = stop ? stop(context, i) : 0;
        if (code)
            return rt_fail(err, code, "stopped");
        if (rt_bcd_update_v(b, i, err))
            return err->code;
        rt_bcd_update_u(b, i);
        if (rt_bcd_update_w(b, i, err))
            return err->code;
    }
    return NETRT_OK;
}

/* Of a chunk and a layer: what F pays for it; of the last one also the loss. */
static void of_objective(void *context, int64_t lo, int64_t hi, int thread) {
    const Step *t = context;
    const rt_bcd *b = t->b;
    int64_t width = b->width[t->i];
    double *room = b->room + thread * 2 * CHUNK * b->most, *sums = room + CHUNK * b->most;
    for (int64_t c = lo; c < hi; c++) {
        double ties = 0, loss = 0;
        drive(b, t->i, c, room, sums);
        for (int64_t s = 0; s < samples(b, c); s++)
            for (int64_t k = 0; k < width; k++) {
                int64_t at = (c * CHUNK + s) * width + k;
                double u = (double)b->u[t->i][at], v = (double)b->v[t->i][at];
                double apart = v - rectified(b, t->i, u), missing = u - sums[place(width, s, k)];
                double wrong = t->i < b->layers ? 0 : v - (k == b->label[c * CHUNK + s]);
                ties += b->gamma * apart * apart + b->rho * missing * missing;
                loss += wrong * wrong;
            }
        b->part[2 * c] = ties / 2;
        b->part[2 * c + 1] = loss / 2;
    }
}

double rt_bcd_objective(rt_bcd *b, double *loss) {
    double all = 0;
    *loss = 0;
    for (int64_t i = 1; i <= b->layers; i++) {
        Step t = {.b = b, .i = i};
        rt_parallel_for(b->threads, chunks(b), 1, of_objective, &t);
        for (int64_t c = 0; c < chunks(b); c++) {
            all += b->part[2 * c];
            *loss += b->part[2 * c + 1];
        }
        int64_t columns = rt_bcd_columns(b, i);
        for (int64_t k = 0; k < b->width[i] * columns; k++)
            all += k % columns < b->width[i - 1] ? b->decay / 2 * b->w[i][k] * b->w[i][k] : 0;
    }
    return all + *loss;
}
