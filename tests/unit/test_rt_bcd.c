/* test_rt_bcd.c: block coordinate descent: sums, factors and solutions against plain loops; every block
 * is the best one given the others; the objective never grows; a linear chain ends in ridge regression.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_bcd.h"
#include "rt_solve.h"
#include "suite.h"

static double number(int64_t i) { return sin(1 + 1.7 * (double)i); }

/* ---- linear algebra ---- */

static void products(void) {
    enum { N = 300, A = 7, B = 53 };
    static float a[N * A], b[N * B];
    static double out[(A + 1) * (B + 1)], again[(A + 1) * (B + 1)], square[(B + 1) * (B + 1)];
    rt_error err = {0};
    for (int i = 0; i < N * A; i++)
        a[i] = (float)number(i);
    for (int i = 0; i < N * B; i++)
        b[i] = (float)number(7 * i + 3);
    CU_ASSERT_EQUAL_FATAL(rt_products((rt_table){a, A, 1}, (rt_table){b, B, 1}, N, out, 1, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_products((rt_table){a, A, 1}, (rt_table){b, B, 1}, N, again, 3, &err), 0);
    CU_ASSERT_EQUAL(memcmp(out, again, sizeof out), 0);
    CU_ASSERT_EQUAL_FATAL(rt_products((rt_table){b, B, 1}, (rt_table){b, B, 1}, N, square, 2, &err), 0);
    for (int i = 0; i <= B; i++)
        for (int j = 0; j <= B; j++) {
            double sum = 0, own = 0;
            for (int s = 0; s < N; s++) {
                double x = i < A ? (double)a[s * A + i] : 1, y = j < B ? (double)b[s * B + j] : 1;
                sum += x * y;
                own += (i < B ? (double)b[s * B + i] : 1) * y;
            }
            if (i <= A)
                CU_ASSERT_DOUBLE_EQUAL(out[i * (B + 1) + j], sum, 1e-11);
            if (j <= i)
                CU_ASSERT_DOUBLE_EQUAL(square[i * (B + 1) + j], own, 1e-11);
        }
}

static void factors(void) {
    static const int64_t size[] = {1, 5, 8, 23, 64};
    for (int k = 0; k < 5; k++) {
        int64_t n = size[k];
        double *a = calloc((size_t)(n * n), sizeof *a), *l = calloc((size_t)(n * n), sizeof *l);
        double *x = calloc((size_t)(n * RT_LANES * 3), sizeof *x), worst = 0;
        rt_error err = {0};
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                for (int64_t s = 0; s < n + 2; s++)
                    a[i * n + j] += number(s * n + i) * number(s * n + j) + (i == j) * 0.1;
        memcpy(l, a, (size_t)(n * n) * sizeof *l);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                l[i * n + j] = NAN; /* nobody reads it */
        CU_ASSERT_EQUAL_FATAL(rt_cholesky(l, n, 2, &err), 0);
        for (int64_t i = 0; i < n * RT_LANES * 3; i++)
            x[i] = number(i);
        rt_cholesky_solve(l, n, x, 3);
        for (int64_t p = 0; p < 3; p++)
            for (int64_t i = 0; i < n; i++)
                for (int64_t c = 0; c < RT_LANES; c++) {
                    double sum = 0;
                    for (int64_t j = 0; j < n; j++)
                        sum += a[i * n + j] * x[(p * n + j) * RT_LANES + c];
                    worst = fmax(worst, fabs(sum - number((p * n + i) * RT_LANES + c)));
                }
        CU_ASSERT(worst < 1e-9);
        a[n * n - 1] = -1;
        CU_ASSERT_EQUAL(rt_cholesky(a, n, 1, &err), NETRT_EDIVERGED);
        free(a);
        free(l);
        free(x);
    }
}

/* ---- the blocks ---- */

enum { N = 37, IN = 5, MID = 6, OUT = 3 };
static float x[N * IN];
static int32_t label[N];

static void start(rt_bcd *b, int64_t layers, int threads) {
    static const int64_t width[] = {IN, MID, MID + 1, OUT};
    rt_error err = {0};
    *b = (rt_bcd){.n = N, .layers = layers, .gamma = 0.7, .rho = 1.3, .alpha = 0.4, .decay = 0.05,
                  .threads = threads, .x = x, .label = label};
    for (int64_t i = 0; i <= layers; i++) {
        b->width[i] = i == layers ? OUT : width[i];
        b->bias[i] = i != 2;
    }
    for (int i = 0; i < N * IN; i++)
        x[i] = (float)number(i);
    for (int i = 0; i < N; i++)
        label[i] = i * i % OUT;
    CU_ASSERT_EQUAL_FATAL(rt_bcd_open(b, &err), 0);
    for (int64_t i = 1; i <= layers; i++)
        for (int64_t k = 0; k < b->width[i] * rt_bcd_columns(b, i); k++)
            b->w[i][k] = 0.6 * number(11 * k + i);
    rt_bcd_forward(b);
}

/* The objective in plain loops, from the definition. */
static double plain(const rt_bcd *b) {
    double all = 0;
    for (int64_t s = 0; s < b->n; s++)
        for (int64_t i = 1; i <= b->layers; i++) {
            int64_t wide = b->width[i - 1], columns = wide + b->bias[i];
            const float *below = i > 1 ? b->v[i - 1] + s * wide : b->x + s * wide;
            for (int64_t k = 0; k < b->width[i]; k++) {
                double u = (double)b->u[i][s * b->width[i] + k], v = (double)b->v[i][s * b->width[i] + k];
                double sum = b->bias[i] ? b->w[i][k * columns + wide] : 0;
                for (int64_t j = 0; j < wide; j++)
                    sum += b->w[i][k * columns + j] * (double)below[j];
                double made = i < b->layers ? fmax(u, 0) : u, want = k == b->label[s];
                all += b->gamma / 2 * (v - made) * (v - made) + b->rho / 2 * (u - sum) * (u - sum);
                all += i == b->layers ? (v - want) * (v - want) / 2 : 0;
            }
        }
    for (int64_t i = 1; i <= b->layers; i++)
        for (int64_t k = 0; k < b->width[i] * rt_bcd_columns(b, i); k++)
            if (k % rt_bcd_columns(b, i) < b->width[i - 1])
                all += b->decay / 2 * b->w[i][k] * b->w[i][k];
    return all;
}

/* Never more than before, at any block of any sweep; and what each block pays for its way is gained. */
static void falls(void) {
    for (int64_t layers = 1; layers <= 3; layers++) {
        rt_bcd b;
        rt_error err = {0};
        double loss, before, first;
        start(&b, layers, 1);
        before = first = plain(&b);
        CU_ASSERT_DOUBLE_EQUAL(rt_bcd_objective(&b, &loss), first, 1e-10 * first);
        for (int sweep = 0; sweep < 30; sweep++)
            for (int64_t i = layers; i > 0; i--)
                for (int block = 0; block < 3; block++) {
                    CU_ASSERT_EQUAL(block == 0   ? rt_bcd_update_v(&b, i, &err)
                                    : block == 1 ? (rt_bcd_update_u(&b, i), 0)
                                                 : rt_bcd_update_w(&b, i, &err), 0);
                    double after = rt_bcd_objective(&b, &loss);
                    CU_ASSERT(after <= before * (1 + 1e-12));
                    before = after;
                }
        CU_ASSERT(before < 0.5 * first);
        CU_ASSERT_DOUBLE_EQUAL(before, plain(&b), 1e-10 * first);
        CU_ASSERT(loss > 0 && loss < before);
        rt_bcd_close(&b);
    }
}

/* A block's numbers moved one by one, and all together, never make F plus the way cheaper. */
static void moved(rt_bcd *b, float *at, const float *was, double *wide, const double *wide_was,
                  int64_t n, double alpha) {
    double best = plain(b);
    for (int64_t k = 0; k < n; k++)
        best += alpha / 2 * (at ? ((double)at[k] - (double)was[k]) * ((double)at[k] - (double)was[k])
                                : (wide[k] - wide_was[k]) * (wide[k] - wide_was[k]));
    for (int64_t trial = 0; trial <= n; trial++)
        for (int side = -2; side <= 2; side++) {
            double cost;
            float kept[N * (MID + 1)];
            double wide_kept[(MID + 1) * (MID + 2)];
            memcpy(at ? (void *)kept : wide_kept, at ? (const void *)at : wide,
                   (size_t)n * (at ? sizeof *at : sizeof *wide));
            for (int64_t k = 0; k < n; k++) {
                double by = trial < n ? (k == trial) * side * 0.05 : 0.02 * side * number(31 * k);
                if (at)
                    at[k] += (float)by;
                else
                    wide[k] += by;
            }
            cost = plain(b);
            for (int64_t k = 0; k < n; k++)
                cost += alpha / 2 *
                        (at ? ((double)at[k] - (double)was[k]) * ((double)at[k] - (double)was[k])
                            : (wide[k] - wide_was[k]) * (wide[k] - wide_was[k]));
            CU_ASSERT(cost >= best - 1e-9);
            memcpy(at ? (void *)at : wide, at ? (const void *)kept : wide_kept,
                   (size_t)n * (at ? sizeof *at : sizeof *wide));
        }
}

static void best(void) {
    rt_bcd b;
    rt_error err = {0};
    start(&b, 3, 1);
    for (int sweep = 0; sweep < 2; sweep++)
        for (int64_t i = 3; i > 0; i--) {
            float was[N * (MID + 1)];
            double wide_was[(MID + 1) * (MID + 2)];
            int64_t n = N * b.width[i], weights = b.width[i] * rt_bcd_columns(&b, i);
            memcpy(was, b.v[i], (size_t)n * sizeof *was);
            CU_ASSERT_EQUAL_FATAL(rt_bcd_update_v(&b, i, &err), 0);
            moved(&b, b.v[i], was, NULL, NULL, n, i == 3 ? b.alpha : 0);
            memcpy(was, b.u[i], (size_t)n * sizeof *was);
            rt_bcd_update_u(&b, i);
            moved(&b, b.u[i], was, NULL, NULL, n, i < 3 ? b.alpha : 0);
            memcpy(wide_was, b.w[i], (size_t)weights * sizeof *wide_was);
            CU_ASSERT_EQUAL_FATAL(rt_bcd_update_w(&b, i, &err), 0);
            moved(&b, NULL, NULL, b.w[i], wide_was, weights, b.alpha);
        }
    rt_bcd_close(&b);
}

/* The rectifier's step against a fine scan of all u. */
static void prox(void) {
    for (int k = 0; k < 200; k++) {
        double v = 2 * number(k), q = 2 * number(3 * k + 1), gamma = 0.1 + fabs(number(5 * k)), weight = 0.6;
        double got = rt_bcd_prox(v, q, gamma, weight), least = INFINITY;
        for (int i = -40000; i <= 40000; i++) {
            double u = i * 1e-4, r = fmax(u, 0);
            least = fmin(least, gamma * (v - r) * (v - r) + weight * (u - q) * (u - q));
        }
        double paid = gamma * pow(v - fmax(got, 0), 2) + weight * (got - q) * (got - q);
        CU_ASSERT(paid <= least + 1e-12 && paid > least - 1e-7);
    }
    CU_ASSERT(rt_bcd_prox(1, -1, 1, 1) == -1); /* staying costs 1, crossing 2 */
    CU_ASSERT(rt_bcd_prox(3, -1, 1, 1) == 1);  /* staying costs 9, crossing 8 */
    CU_ASSERT(rt_bcd_prox(-2, 0.5, 1, 3) == 0);
}

/* One layer: V and U can be solved away, c/2 |Y - W X|^2 + decay/2 |W|^2 is left, c the parallel of 1,
 * gamma and rho.  Its gradient is 0 where the sweeps end. */
static void ridge(void) {
    rt_bcd b;
    rt_error err = {0};
    double worst = 0;
    start(&b, 1, 1);
    for (int sweep = 0; sweep < 400; sweep++)
        CU_ASSERT_EQUAL_FATAL(rt_bcd_sweep(&b, NULL, NULL, &err), 0);
    double c = 1 / (1 + 1 / b.gamma + 1 / b.rho);
    for (int64_t k = 0; k < OUT; k++)
        for (int64_t j = 0; j <= IN; j++) {
            double slope = j < IN ? b.decay * b.w[1][k * (IN + 1) + j] : 0;
            for (int64_t s = 0; s < N; s++) {
                double sum = b.w[1][k * (IN + 1) + IN];
                for (int64_t i = 0; i < IN; i++)
                    sum += b.w[1][k * (IN + 1) + i] * (double)x[s * IN + i];
                slope += c * (sum - (k == label[s])) * (j < IN ? (double)x[s * IN + j] : 1);
            }
            worst = fmax(worst, fabs(slope));
        }
    CU_ASSERT(worst < 1e-5);
    rt_bcd_close(&b);
}

static void threads(void) {
    rt_bcd a, b;
    rt_error err = {0};
    start(&a, 3, 1);
    start(&b, 3, 3);
    for (int sweep = 0; sweep < 4; sweep++) {
        CU_ASSERT_EQUAL_FATAL(rt_bcd_sweep(&a, NULL, NULL, &err), 0);
        CU_ASSERT_EQUAL_FATAL(rt_bcd_sweep(&b, NULL, NULL, &err), 0);
    }
    for (int64_t i = 1; i <= 3; i++) {
        size_t n = (size_t)(N * a.width[i]);
        CU_ASSERT_EQUAL(memcmp(a.u[i], b.u[i], n * sizeof *a.u[i]), 0);
        CU_ASSERT_EQUAL(memcmp(a.v[i], b.v[i], n * sizeof *a.v[i]), 0);
        CU_ASSERT_EQUAL(memcmp(a.w[i], b.w[i],
                               (size_t)(a.width[i] * rt_bcd_columns(&a, i)) * sizeof *a.w[i]), 0);
    }
    rt_bcd_close(&a);
    rt_bcd_close(&b);
}

SUITE_MAIN(TEST(products), TEST(factors), TEST(falls), TEST(best), TEST(prox), TEST(ridge),
           TEST(threads))
