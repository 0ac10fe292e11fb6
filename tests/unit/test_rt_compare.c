/* test_rt_compare.c: measures of how far apart two answers are, on cases known exactly. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "rt_augment.h"
#include "rt_compare.h"
#include "rt_rng.h"

/* Equal vectors: 0; opposite ones: 1; 0 is a sign of its own; independent symmetric signs: 1/2. */
static void signs(void) {
    enum { N = 40000 };
    static signed char a[N], b[N];
    for (uint32_t i = 0; i < N; i++) {
        uint32_t bits[4];
        rt_rng_block(rt_rng_make(1, RT_RNG_TEST), i, 0, 0, 0, bits);
        a[i] = bits[0] & 1 ? 1 : -1;
        b[i] = bits[1] & 1 ? 1 : -1;
    }
    CU_ASSERT_EQUAL(rt_sign_change(a, a, N), 0);
    CU_ASSERT_DOUBLE_EQUAL(rt_sign_change(a, b, N), 0.5, 4 * 0.5 / sqrt(N));
    for (int i = 0; i < N; i++)
        b[i] = (signed char)-a[i];
    CU_ASSERT_EQUAL(rt_sign_change(a, b, N), 1);
    const signed char x[4] = {0, 1, -1, 0}, y[4] = {0, 0, -1, 1};
    CU_ASSERT_EQUAL(rt_sign_change(x, y, 4), 0.5);
}

static void distances(void) {
    const float a[3] = {1, 2, 3}, b[3] = {1, 5, 7};
    CU_ASSERT_EQUAL(rt_distance(a, b, 3), 5);
    CU_ASSERT_EQUAL(rt_distance(a, a, 3), 0);
}

/* Maps moved down by one cell: what fits is equal, and only what fits counts. */
static void moves(void) {
    const int64_t chw[3] = {2, 4, 3};
    float a[24], b[24];
    for (int i = 0; i < 24; i++)
        a[i] = (float)(i * i % 17);
    for (int c = 0; c < 2; c++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 3; x++)
                b[(c * 4 + y) * 3 + x] = y ? a[(c * 4 + y - 1) * 3 + x] : 99;
    int64_t cells = 0;
    CU_ASSERT_EQUAL(rt_moved_distance(a, b, chw, 1, 0, (rt_rect){0, 0, 4, 3}, &cells), 0);
    CU_ASSERT_EQUAL(cells, 18);
    CU_ASSERT(rt_moved_distance(a, b, chw, 0, 0, (rt_rect){1, 0, 3, 3}, &cells) > 0);
    CU_ASSERT_EQUAL(cells, 18);
    b[3] += 3;
    CU_ASSERT_EQUAL(rt_moved_distance(a, b, chw, 1, 0, (rt_rect){0, 0, 4, 3}, &cells), 3);
}

/* A constant has no power but at frequency 0; +1 -1 all at 1/2; a single pixel the same everywhere. */
static void powers(void) {
    float flat[32 * 32], stripes[32 * 32], dot[25] = {0};
    for (int i = 0; i < 32 * 32; i++) {
        flat[i] = 1;
        stripes[i] = i % 2 ? -1 : 1;
    }
    dot[7] = 3;
    CU_ASSERT_DOUBLE_EQUAL(rt_power_above(flat, 1, 32, 32, 0.01), 0, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(rt_power_above(stripes, 1, 32, 32, 0.49), 1, 1e-12);
    /* of 32 frequencies 17 lie at or below 1/4: the share above is 1 - (17/32)^2 */
    CU_ASSERT_DOUBLE_EQUAL(rt_power_above(dot, 1, 5, 5, 0.25), 1 - 17.0 * 17 / 1024, 1e-9);
    memset(flat, 0, sizeof flat);
    CU_ASSERT_EQUAL(rt_power_above(flat, 1, 32, 32, 0.25), 0);
}

/* The identity is exact; whole cells move exactly; a quarter turn of a square sends rows to columns. */
static void affine(void) {
    enum { N = 5 };
    float x[2 * N * N], y[2 * N * N];
    const float outside[2] = {-1, -2};
    for (int i = 0; i < 2 * N * N; i++)
        x[i] = (float)i * 0.37f;
    rt_affine_planes(x, 2, N, N, 0, 1, 0, 0, outside, y);
    CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
    rt_affine_planes(x, 2, N, N, 0, 1, 2, 0, outside, y);
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < N * N; i++)
            CU_ASSERT_EQUAL(y[c * N * N + i], i < 2 * N ? outside[c] : x[c * N * N + i - 2 * N]);
    rt_affine_planes(x, 1, N, N, 90, 1, 0, 0, outside, y);
    for (int r = 0; r < N; r++) /* counter-clockwise: the right column becomes the top row */
        for (int q = 0; q < N; q++)
            CU_ASSERT_DOUBLE_EQUAL(y[r * N + q], x[q * N + N - 1 - r], 1e-5);
    rt_affine_planes(x, 1, N, N, 0, 2, 0, 0, outside, y);
    CU_ASSERT_EQUAL(y[2 * N + 2], x[2 * N + 2]);
    CU_ASSERT_DOUBLE_EQUAL(y[2 * N + 4], x[2 * N + 3], 1e-6); /* twice as large */
}

SUITE_MAIN(TEST(signs), TEST(distances), TEST(moves), TEST(powers), TEST(affine))
