/* test_rt_nc.c: the measures of neural collapse: the exact simplex, where all are 0, and small cases
 * computed by hand. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "rt_nc.h"

/* Means on the simplex sqrt(C / (C - 1)) (I - 11^T / C), moved somewhere, no scatter, W = 3 M. */
static void simplex(void) {
    enum { C = 5, D = 7, N = 15 };
    float x[N * D], w[C * D];
    int32_t label[N], answer[N];
    rt_nc nc;
    rt_error err = {0};
    for (int i = 0; i < N; i++) {
        label[i] = answer[i] = i % C;
        for (int j = 0; j < D; j++) {
            double c = C, m = j < C ? sqrt(c / (c - 1)) * ((j == i % C) - 1 / c) : 0;
            x[i * D + j] = (float)(m + 0.25 * j);
            if (i < C)
                w[i * D + j] = (float)(3 * m);
        }
    }
    for (int threads = 1; threads < 3; threads++) {
        CU_ASSERT_EQUAL_FATAL(rt_nc_measure(&nc, x, N, D, label, C, w, answer, threads, &err), 0);
        CU_ASSERT_EQUAL(nc.classes, C);
        CU_ASSERT_DOUBLE_EQUAL(nc.within, 0, 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(nc.norm_means, 0, 1e-6); /* inputs are floats */
        CU_ASSERT_DOUBLE_EQUAL(nc.norm_weights, 0, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(nc.angle_means, 0, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(nc.angle_weights, 0, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(nc.duality, 0, 1e-12);
        CU_ASSERT_EQUAL(nc.nearest, 0);
    }
    answer[4] = 1; /* an answer that is not the nearest mean */
    CU_ASSERT_EQUAL_FATAL(rt_nc_measure(&nc, x, N, D, label, C, NULL, answer, 1, &err), 0);
    CU_ASSERT_DOUBLE_EQUAL(nc.nearest, 1.0 / 15, 1e-15);
    CU_ASSERT_TRUE(isnan(nc.duality) && isnan(nc.norm_weights));
}

/* Two classes at +-(2, 0), samples one unit to either side along x and two along y.  S_B = diag(4, 0),
 * S_W = diag(1, 4): tr(S_W S_B^+) / C = 1/4 / 2. */
static void by_hand(void) {
    static const float x[] = {3, 2, 1, -2, -1, 2, -3, -2};
    static const int32_t label[] = {2, 2, 0, 0}; /* class 1 has no sample */
    static const float w[] = {-1, 0, 9, 9, 0, 1};
    rt_nc nc;
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(rt_nc_measure(&nc, x, 4, 2, label, 3, w, label, 1, &err), 0);
    CU_ASSERT_EQUAL(nc.classes, 2);
    CU_ASSERT_DOUBLE_EQUAL(nc.within, 0.125, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(nc.norm_means, 0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(nc.angle_means, 0, 1e-15);   /* cos = -1 = -1 / (C - 1) */
    CU_ASSERT_DOUBLE_EQUAL(nc.angle_weights, 1, 1e-15); /* orthogonal rows */
    /* rows (-1, 0), (0, 1) against (-2, 0), (2, 0), each divided by its length:
     * |(0, 0)|^2 + |(-1, 1) / sqrt 2|^2 */
    CU_ASSERT_DOUBLE_EQUAL(nc.duality, 1, 1e-15);
    CU_ASSERT_EQUAL(nc.nearest, 0);
    int32_t one[] = {1, 1, 1, 1};
    CU_ASSERT_EQUAL(rt_nc_measure(&nc, x, 4, 2, one, 3, w, label, 1, &err), NETRT_EDATA);
}

SUITE_MAIN(TEST(simplex), TEST(by_hand))
