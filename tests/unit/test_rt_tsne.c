/* test_rt_tsne.c: principal components and t-SNE: cases whose results are known exactly, the gradient
 * against differences, the tree against all pairs. */
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_pca.h"
#include "rt_tsne.h"

static double noise(unsigned i) {
    i = i * 2654435761u ^ 0x9e3779b9u;
    i = (i ^ i >> 15) * 2246822519u;
    return (double)((i >> 8) % 20001) / 10000 - 1;
}

/* ---- components ---- */

static void eigen_known(void) {
    /* 2 on the diagonal, -1 beside it: 2 - 2 cos(j pi / (m + 1)) */
    enum { M = 40 };
    static double a[M * M], value[M], vector[M * M];
    rt_error err = {0};
    for (int i = 0; i < M; i++)
        for (int k = 0; k < M; k++)
            a[i * M + k] = i == k ? 2 : abs(i - k) == 1 ? -1 : 0;
    for (int k = 5; k <= M; k += M - 5) { /* a block of 15, and the whole */
        CU_ASSERT_EQUAL_FATAL(rt_eigen(a, M, k, value, vector, 2, &err), 0);
        for (int j = 0; j < k; j++) {
            double want = 2 - 2 * cos((M - j) * acos(-1.0) / (M + 1));
            CU_ASSERT_DOUBLE_EQUAL(value[j], want, k == M ? 1e-12 : 1e-9);
            double error = 0;
            for (int r = 0; r < M; r++) {
                double av = 0;
                for (int c = 0; c < M; c++)
                    av += a[r * M + c] * vector[j * M + c];
                error = fmax(error, fabs(av - value[j] * vector[j * M + r]));
            }
            CU_ASSERT_TRUE(error < (k == M ? 1e-12 : 1e-4));
        }
    }
}

static void line(void) {
    enum { N = 7, D = 3 };
    float x[N * D];
    rt_pca p;
    rt_error err = {0};
    for (int i = 0; i < N; i++) {
        x[i * D] = 5 - 2 * (float)i;
        x[i * D + 1] = 1 + (float)i;
        x[i * D + 2] = 4 + 2 * (float)i;
    }
    CU_ASSERT_EQUAL_FATAL(rt_pca_fit(&p, x, N, D, D, 1, &err), 0);
    CU_ASSERT_DOUBLE_EQUAL(rt_pca_ratio(&p, 0), 1, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(rt_pca_ratio(&p, 1), 0, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(rt_pca_ratio(&p, 2), 0, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(p.total, 9 * 28.0 / 6, 1e-12); /* steps of 3; sum of squares 28 */
    /* the loadings -2/3, 1/3, 2/3 or the other sign: the first largest one is positive */
    CU_ASSERT_DOUBLE_EQUAL(fabs(p.axis[0]), 2.0 / 3, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(p.axis[1] * p.axis[0], -2.0 / 9, 1e-14);
    double largest = 0;
    for (int j = 0; j < D; j++)
        largest = fabs(p.axis[j]) > fabs(largest) ? p.axis[j] : largest;
    CU_ASSERT_TRUE(largest > 0);
    rt_pca_close(&p);
}

/* All components together are a turn of the space: what is put back is what was there. */
static void round_trip(int n, int d) {
    float *x = malloc(sizeof *x * (size_t)(n * d));
    double *y = malloc(sizeof *y * (size_t)(n * d)), sum = 0;
    rt_pca p;
    rt_error err = {0};
    for (int i = 0; i < n * d; i++)
        x[i] = (float)noise((unsigned)i);
    CU_ASSERT_EQUAL_FATAL(rt_pca_fit(&p, x, n, d, d, 2, &err), 0);
    rt_pca_apply(&p, x, n, y, 2);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) {
            double back = p.mean[j];
            for (int64_t k = 0; k < p.k; k++)
                back += y[i * p.k + k] * p.axis[k * d + j];
            CU_ASSERT_DOUBLE_EQUAL(back, (double)x[i * d + j], 1e-12);
        }
    for (int64_t k = 0; k < p.k; k++) {
        sum += rt_pca_ratio(&p, k);
        CU_ASSERT_TRUE(k == 0 || p.variance[k] <= p.variance[k - 1]);
    }
    CU_ASSERT_DOUBLE_EQUAL(sum, n > 1, 1e-12); /* one row has no variance */
    rt_pca_close(&p);
    free(x);
    free(y);
}

static void round_trips(void) {
    round_trip(30, 6);
    round_trip(6, 30); /* fewer rows than columns: the other matrix */
    round_trip(1, 3);
}

/* ---- t-SNE ---- */

enum { N = 60, D = 4 };
static double points[N * D], plane[2 * N];

static void scatter(void) {
    for (int i = 0; i < N * D; i++)
        points[i] = noise((unsigned)i) + (i / D % 3) * 2;
    for (int i = 0; i < 2 * N; i++)
        plane[i] = 3 * noise((unsigned)i + 9000);
}

static void probabilities(void) {
    rt_pairs p;
    rt_error err = {0};
    scatter();
    for (int64_t m = 15; m < N; m += N - 16) {
        CU_ASSERT_EQUAL_FATAL(rt_pairs_make(&p, points, N, D, 5, m, 2, &err), 0);
        double sum = 0;
        for (int64_t i = 0; i < N; i++)
            for (int64_t e = p.row[i]; e < p.row[i + 1]; e++) {
                int64_t k = p.column[e], twin = p.row[k];
                while (twin < p.row[k + 1] && p.column[twin] != i)
                    twin++;
                CU_ASSERT_TRUE(twin < p.row[k + 1] && p.p[twin] == p.p[e] && k != i);
                sum += p.p[e];
            }
        CU_ASSERT_DOUBLE_EQUAL(sum, 1, 1e-13);
        rt_pairs_free(&p);
    }
    for (int i = 0; i < N; i++) {
        double d2[N - 1], row[N - 1], entropy = 0;
        int m = 0;
        for (int k = 0; k < N; k++)
            for (int j = (k == i) ? D : (d2[m++] = 0, 0); j < D; j++)
                d2[m - 1] += pow(points[i * D + j] - points[k * D + j], 2);
        rt_tsne_row(d2, m, 12.5, row);
        for (int k = 0; k < m; k++)
            entropy -= row[k] > 0 ? row[k] * log(row[k]) : 0;
        CU_ASSERT_DOUBLE_EQUAL(exp(entropy), 12.5, 1e-5);
    }
}

static void two_points(void) {
    double x[4] = {0, 1, 5, 5}, y[4] = {0.3, -2, 4, 1}, g[4], kl = 1;
    rt_pairs p;
    rt_error err = {0};
    for (int tree = 0; tree < 2; tree++) {
        CU_ASSERT_EQUAL_FATAL(rt_pairs_make(&p, x, 2, 2, 1, 1, 1, &err), 0);
        CU_ASSERT_EQUAL_FATAL(rt_tsne_slope(&p, y, 1, tree, 0.5, 1, g, &kl, &err), 0);
        CU_ASSERT_DOUBLE_EQUAL(kl, 0, 1e-13);
        for (int i = 0; i < 4; i++)
            CU_ASSERT_DOUBLE_EQUAL(g[i], 0, 1e-13);
        rt_pairs_free(&p);
    }
}

static void gradient(void) {
    rt_pairs p;
    rt_error err = {0};
    double g[2 * N], tree[2 * N], kl, kl2, sum[2] = {0, 0}, up, down;
    scatter();
    CU_ASSERT_EQUAL_FATAL(rt_pairs_make(&p, points, N, D, 8, N - 1, 1, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_tsne_slope(&p, plane, 1, 0, 0, 1, g, &kl, &err), 0);
    for (int i = 0; i < 2 * N; i++) {
        double keep = plane[i];
        sum[i % 2] += g[i];
        plane[i] = keep + 1e-5;
        rt_tsne_slope(&p, plane, 1, 0, 0, 1, NULL, &up, &err);
        plane[i] = keep - 1e-5;
        rt_tsne_slope(&p, plane, 1, 0, 0, 1, NULL, &down, &err);
        plane[i] = keep;
        CU_ASSERT_DOUBLE_EQUAL((up - down) / 2e-5, g[i], 1e-8);
    }
    CU_ASSERT_DOUBLE_EQUAL(sum[0], 0, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(sum[1], 0, 1e-14);
    /* every cell opened: the tree is all pairs; two points at one place are in one leaf */
    for (int twins = 0; twins < 2; twins++) {
        if (twins) {
            memcpy(plane + 2 * 7, plane + 2 * 31, 2 * sizeof *plane);
            rt_tsne_slope(&p, plane, 1, 0, 0, 1, g, &kl, &err);
        }
        CU_ASSERT_EQUAL_FATAL(rt_tsne_slope(&p, plane, 1, 1, 0, 2, tree, &kl2, &err), 0);
        CU_ASSERT_DOUBLE_EQUAL(kl, kl2, 1e-13);
        for (int i = 0; i < 2 * N; i++)
            CU_ASSERT_DOUBLE_EQUAL(g[i], tree[i], 1e-13);
    }
    /* theta 0.5 is near, and not the same */
    double most = 0;
    CU_ASSERT_EQUAL_FATAL(rt_tsne_slope(&p, plane, 1, 1, 0.5, 2, tree, &kl2, &err), 0);
    for (int i = 0; i < 2 * N; i++)
        most = fmax(most, fabs(g[i] - tree[i]));
    CU_ASSERT_TRUE(most > 1e-9 && most < 2e-3);
    rt_pairs_free(&p);
}

/* Three far groups: the exact way and the tree both keep neighbours together, same bits for 1 and 3
 * threads. */
static void groups(void) {
    static double y[3][2 * N];
    rt_error err = {0};
    for (int i = 0; i < N * D; i++)
        points[i] = noise((unsigned)i) / 4 + (i / D % 3) * 2;
    for (int way = 0; way < 3; way++) {
        rt_tsne t = {.perplexity = 8, .theta = way ? 0.5 : 0, .iterations = 400, .seed = 3,
                     .threads = way == 2 ? 3 : 1};
        CU_ASSERT_EQUAL_FATAL(rt_tsne_run(&t, points, N, D, y[way], &err), 0);
        CU_ASSERT_TRUE(t.kl > 0 && t.kl < 0.25);
        int wrong = 0;
        for (int i = 0; i < N; i++) {
            int best = -1;
            double least = INFINITY;
            for (int k = 0; k < N; k++) {
                double dx = y[way][2 * i] - y[way][2 * k], dy = y[way][2 * i + 1] - y[way][2 * k + 1];
                if (k != i && dx * dx + dy * dy < least) {
                    least = dx * dx + dy * dy;
                    best = k;
                }
            }
            wrong += best % 3 != i % 3;
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
    CU_ASSERT_EQUAL(memcmp(y[1], y[2], sizeof y[1]), 0);
}

SUITE_MAIN(TEST(eigen_known), TEST(line), TEST(round_trips), TEST(probabilities), TEST(two_points),
           TEST(gradient), TEST(groups))
