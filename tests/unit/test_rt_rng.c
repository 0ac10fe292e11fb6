/* test_rt_rng.c: Philox against the library random123, normal numbers against libm, permutations.
 */
#include "suite.h"

#include <math.h>
#include <stdlib.h>

#include "rt_rng.h"

#if __has_include(<Random123/philox.h>)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <Random123/philox.h>
#pragma GCC diagnostic pop
#define HAVE_RANDOM123 1
#endif

/* The known answers published with the algorithm (kat_vectors of random123). */
static void known_answers(void) {
    uint32_t out[4];
    rt_rng_block((rt_rng){{0, 0}}, 0, 0, 0, 0, out);
    CU_ASSERT(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c &&
              out[3] == 0x9b00dbd8);
    rt_rng_block((rt_rng){{~0u, ~0u}}, ~0u, ~0u, ~0u, ~0u, out);
    CU_ASSERT(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 &&
              out[3] == 0x6d5451fd);
    rt_rng_block((rt_rng){{0xa4093822, 0x299f31d0}}, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344,
                 out);
    CU_ASSERT(out[0] == 0xd16cfe09 && out[1] == 0x94fdcceb && out[2] == 0x5001e420 &&
              out[3] == 0x24126ea1);
}

static void agrees_with_random123(void) {
#ifdef HAVE_RANDOM123
    for (uint32_t i = 0; i < 1000; i++) {
        philox4x32_ctr_t c = {{i, i * 7919u, ~i, i << 20}};
        philox4x32_key_t k = {{i * 31u, 5}};
        philox4x32_ctr_t want = philox4x32(c, k);
        uint32_t got[4];
        rt_rng_block(rt_rng_make(i * 31u, 5), i, i * 7919u, ~i, i << 20, got);
        CU_ASSERT_EQUAL(memcmp(got, want.v, 16), 0);
    }
#else
    suite_skip("random123 is not installed");
#endif
}

static void seeds_and_purposes_differ(void) {
    uint32_t a[4], b[4];
    rt_rng_block(rt_rng_make(1, RT_RNG_INIT), 0, 0, 0, 0, a);
    rt_rng_block(rt_rng_make(1, RT_RNG_SHUFFLE), 0, 0, 0, 0, b);
    CU_ASSERT(memcmp(a, b, 16) != 0);
    rt_rng_block(rt_rng_make(1 + (1ull << 32), RT_RNG_INIT), 0, 0, 0, 0, b);
    CU_ASSERT(memcmp(a, b, 16) != 0);
    CU_ASSERT_EQUAL(rt_rng_unit(0xFFFFFFFFu), 0x1.fffffep-1f);
    CU_ASSERT_EQUAL(rt_rng_unit(255), 0.0f);
    CU_ASSERT_EQUAL(rt_rng_below(0xFFFFFFFFu, 10), 9);
}

/* dst[i] depends on first + i only: any cut gives the same numbers. */
static void fills_do_not_depend_on_cuts(void) {
    float whole[103], part[103];
    rt_rng rng = rt_rng_make(7, RT_RNG_TEST);
    for (int normal = 0; normal < 2; normal++) {
        for (size_t cut = 0; cut <= 103; cut += 17) {
            if (normal) {
                rt_rng_fill_normal(rng, 3, 4, 5, 1, 2, whole, 103);
                rt_rng_fill_normal(rng, 3, 4, 5, 1, 2, part, cut);
                rt_rng_fill_normal(rng, 3, 4, 5 + cut, 1, 2, part + cut, 103 - cut);
            } else {
                rt_rng_fill_uniform(rng, 3, 4, 5, -1, 1, whole, 103);
                rt_rng_fill_uniform(rng, 3, 4, 5, -1, 1, part, cut);
                rt_rng_fill_uniform(rng, 3, 4, 5 + cut, -1, 1, part + cut, 103 - cut);
            }
            CU_ASSERT_EQUAL(memcmp(whole, part, sizeof whole), 0);
        }
    }
}

static void normal_agrees_with_libm(void) {
    double worst = 0;
    uint32_t edges[] = {0, 1, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (int i = 0; i < 20000; i++) {
        uint32_t w[4];
        rt_rng_block(rt_rng_make(1, RT_RNG_TEST), (uint32_t)i, 0, 0, 0, w);
        if (i < 49) {
            w[0] = edges[i / 7];
            w[1] = edges[i % 7];
        }
        float got[2];
        rt_rng_normal2(w[0], w[1], got);
        double u = ((double)w[0] + 0.5) / 4294967296.0, v = (double)w[1] / 4294967296.0;
        double r = sqrt(-2 * log(u)), turn = 2 * acos(-1.0) * v;
        double dx = fabs(got[0] - r * cos(turn)), dy = fabs(got[1] - r * sin(turn));
        worst = fmax(worst, fmax(dx, dy));
    }
    CU_ASSERT(worst < 5e-7); /* half a unit in the last place of the largest values */
}

static void normal_moments(void) {
    enum { N = 200000 };
    float *x = malloc(N * sizeof *x);
    rt_rng_fill_normal(rt_rng_make(3, RT_RNG_TEST), 0, 0, 0, 0, 1, x, N);
    double m[5] = {0};
    for (int i = 0; i < N; i++)
        for (int k = 1; k <= 4; k++)
            m[k] += pow((double)x[i], k) / (double)N;
    CU_ASSERT(fabs(m[1]) < 0.012 && fabs(m[2] - 1) < 0.02);
    CU_ASSERT(fabs(m[3]) < 0.06 && fabs(m[4] - 3) < 0.12);
    free(x);
}

static void permutations_are_permutations(void) {
    uint64_t sizes[] = {1, 2, 3, 4, 5, 10, 16, 17, 1000, 60000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t n = sizes[s];
        unsigned char *seen = calloc(n, 1);
        rt_perm p = rt_perm_make(n, 42, RT_RNG_SHUFFLE, 3),
                q = rt_perm_make(n, 42, RT_RNG_SHUFFLE, 4);
        uint64_t same = 0;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = rt_perm_at(&p, i);
            CU_ASSERT_FATAL(j < n && !seen[j]);
            seen[j] = 1;
            same += j == rt_perm_at(&q, i);
        }
        if (n >= 1000)
            CU_ASSERT(same < 12); /* two permutations meet about once */
        free(seen);
    }
}

/* First and second place, over many epochs: each of ten values about a tenth of the time. */
static void permutations_are_fair(void) {
    int count[2][10] = {{0}}, pairs = 0;
    for (uint32_t epoch = 0; epoch < 10000; epoch++) {
        rt_perm p = rt_perm_make(10, 1, RT_RNG_SHUFFLE, epoch);
        uint64_t a = rt_perm_at(&p, 0), b = rt_perm_at(&p, 1);
        count[0][a]++;
        count[1][b]++;
        pairs += b == (a + 1) % 10;
    }
    for (int k = 0; k < 10; k++)
        CU_ASSERT(abs(count[0][k] - 1000) < 150 && abs(count[1][k] - 1000) < 150);
    CU_ASSERT(abs(pairs - 1111) < 150);
}

SUITE_MAIN(TEST(known_answers), TEST(agrees_with_random123), TEST(seeds_and_purposes_differ),
           TEST(fills_do_not_depend_on_cuts), TEST(normal_agrees_with_libm), TEST(normal_moments),
           TEST(permutations_are_permutations), TEST(permutations_are_fair))
