/* test_rt_layout.c: logical <-> physical order against a second, naive implementation. */
#include "suite.h"

#include <stdlib.h>

#include "rt_layout.h"

static const rt_layout blocked =
    {/* 20x5x3 as blocks of 8 channels, halo 1, 0, 2, 1 */
     3,
     4,
     {20, 5, 3},
     {{0, 0, 3, 8, 0}, {1, 0, 6, 1, -1}, {2, 0, 6, 1, -2}, {0, 0, 8, 1, 0}}};
static const rt_layout weights = {/* [O=10, I=6, 3, 2]: o tile 4, i block 4 */
                                  4,
                                  6,
                                  {10, 6, 3, 2},
                                  {{0, 0, 3, 4, 0},
                                   {1, 0, 2, 4, 0},
                                   {2, 0, 3, 1, 0},
                                   {3, 0, 2, 1, 0},
                                   {1, 0, 4, 1, 0},
                                   {0, 0, 4, 1, 0}}};
static const rt_layout grouped =
    {/* 2 groups of 4 channels, tiles of 2 */
     2,
     5,
     {8, 3},
     {{0, 0, 2, 4, 0}, {0, 0, 2, 2, 0}, {1, 0, 1, 4, 0}, {1, 0, 4, 1, 0}, {0, 0, 2, 1, 0}}};
static const rt_layout plain = {
    3, 3, {2, 3, 4}, {{0, 0, 2, 1, 0}, {1, 0, 3, 1, 0}, {2, 0, 4, 1, 0}}};
static const rt_layout scalar = {0, 0, {0}, {{0}}};
static const rt_layout *const all[] = {&blocked, &weights, &grouped, &plain, &scalar};

/* The definition, one physical place at a time: its logical number, or -1. */
static int64_t logical_of(const rt_layout *l, int64_t place) {
    int64_t index[RT_MAX_DIMS] = {0}, n = 0;
    for (int a = l->naxes - 1; a >= 0; a--) {
        const rt_axis *x = &l->axis[a];
        index[x->dim] += place % x->extent * x->mult + x->offset;
        place /= x->extent;
    }
    for (int d = 0; d < l->rank; d++) {
        if (index[d] < 0 || index[d] >= l->dim[d])
            return -1;
        n = n * l->dim[d] + index[d];
    }
    return n;
}

static void counts(void) {
    CU_ASSERT_EQUAL(rt_layout_count(&blocked), 300);
    CU_ASSERT_EQUAL(rt_layout_physical(&blocked), 3 * 6 * 6 * 8);
    CU_ASSERT_EQUAL(rt_layout_physical(&scalar), 1);
    rt_layout huge = {2,
                      2,
                      {INT64_C(1) << 40, INT64_C(1) << 40},
                      {{0, 0, INT64_C(1) << 40, 1, 0}, {1, 0, INT64_C(1) << 40, 1, 0}}};
    CU_ASSERT_EQUAL(rt_layout_count(&huge), -1);
    CU_ASSERT_EQUAL(rt_layout_physical(&huge), -1);
    huge.dim[0] = 0;
    CU_ASSERT_EQUAL(rt_layout_count(&huge), -1);
    huge.axis[0].dim = 7;
    CU_ASSERT_EQUAL(rt_layout_physical(&huge), -1);
    huge.naxes = 99;
    CU_ASSERT_EQUAL(rt_layout_physical(&huge), -1);
}

static void unpack_and_pack(void) {
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const rt_layout *l = all[k];
        int64_t n = rt_layout_count(l), p = rt_layout_physical(l), bad = 0, seen = 0;
        float *phys = malloc((size_t)p * 4), *back = malloc((size_t)p * 4);
        float *logical = malloc((size_t)n * 4);
        for (int64_t i = 0; i < p; i++)
            phys[i] = (float)(i + 1);
        for (int64_t i = 0; i < n; i++)
            logical[i] = -1;
        rt_layout_unpack(l, phys, logical, 2);
        for (int64_t i = 0; i < p; i++) {
            int64_t at = logical_of(l, i);
            seen += at >= 0;
            bad += at >= 0 && logical[at] != (float)(i + 1);
        }
        CU_ASSERT_EQUAL(bad, 0);
        CU_ASSERT_EQUAL(seen, n);
        rt_layout_pack(l, logical, back, 2);
        for (int64_t i = 0; i < p; i++)
            bad += back[i] != (logical_of(l, i) >= 0 ? phys[i] : 0);
        CU_ASSERT_EQUAL(bad, 0); /* and padding is zero */
        free(phys);
        free(back);
        free(logical);
    }
}

/* Rows of the outermost dimension, in parts of three, give what the whole gives. */
static void parts(void) {
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const rt_layout *l = all[k];
        int64_t n = rt_layout_count(l), p = rt_layout_physical(l);
        int64_t rows = l->rank ? l->dim[0] : 1, size = n / rows;
        float *phys = calloc((size_t)p, 4), *want = malloc((size_t)p * 4);
        float *logical = malloc((size_t)n * 4), *back = malloc((size_t)n * 4);
        for (int64_t i = 0; i < n; i++)
            logical[i] = (float)(i + 1);
        rt_layout_pack(l, logical, want, 1);
        for (int64_t first = 0; first < rows; first += 3) {
            int64_t some = rows - first < 3 ? rows - first : 3;
            rt_layout_pack_rows(l, logical + first * size, phys, first, some, 2);
            rt_layout_unpack_rows(l, want, back + first * size, first, some, 2);
        }
        CU_ASSERT_EQUAL(memcmp(phys, want, (size_t)p * 4), 0);
        CU_ASSERT_EQUAL(memcmp(back, logical, (size_t)n * 4), 0);
        free(phys);
        free(want);
        free(logical);
        free(back);
    }
}

/* bfloat16: nearest, ties to even; infinity and NaN stay what they are. */
static void half_precision(void) {
    static const uint32_t from[] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf807fff,
                                    0x7f800000, 0x7f800001, 0x7f7fffff, 0x80000000, 0x00007fff};
    static const uint16_t want[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf80,
                                    0x7f80, 0x7fc0, 0x7f80, 0x8000, 0x0000};
    enum { COUNT = sizeof from / sizeof *from };
    rt_layout l = {.rank = 1, .naxes = 1, .dim = {COUNT}, .axis = {{.extent = COUNT, .mult = 1}}};
    float rows[COUNT], back[COUNT];
    uint16_t at[COUNT] = {0};
    memcpy(rows, from, sizeof rows);
    rt_layout_pack_rows16(&l, rows, at, 0, 4, 1);
    rt_layout_pack_rows16(&l, rows + 4, at, 4, COUNT - 4, 1);
    CU_ASSERT_EQUAL(memcmp(at, want, sizeof at), 0);
    rt_layout_unpack_rows16(&l, at, back, 0, COUNT, 1);
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits;
        memcpy(&bits, &back[i], sizeof bits);
        CU_ASSERT_EQUAL(bits, (uint32_t)want[i] << 16);
    }
}

static void places(void) {
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const rt_layout *l = all[k];
        int64_t bad = 0;
        for (int64_t i = 0; i < rt_layout_physical(l); i++) {
            int64_t index[RT_MAX_DIMS] = {0}, at = logical_of(l, i);
            if (at < 0)
                continue;
            for (int d = l->rank - 1; d >= 0; d--) {
                index[d] = at % l->dim[d];
                at /= l->dim[d];
            }
            bad += rt_layout_at(l, index) != i;
        }
        CU_ASSERT_EQUAL(bad, 0);
    }
    CU_ASSERT_EQUAL(rt_layout_at(&plain, (int64_t[RT_MAX_DIMS]){2, 0, 0}), -1);
    CU_ASSERT_EQUAL(rt_layout_at(&plain, (int64_t[RT_MAX_DIMS]){0, -1, 0}), -1);
}

static void other_types(void) {
    uint8_t u8[24];
    int32_t i32[24];
    float a[24], b[24];
    for (int i = 0; i < 24; i++) {
        u8[i] = (uint8_t)(i * 10);
        i32[i] = i * 10;
    }
    rt_layout_read(&plain, RT_U8, u8, a);
    rt_layout_read(&plain, RT_I32, i32, b);
    CU_ASSERT_EQUAL(a[23], 230);
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
}

/* Large enough for the parallel path: 1,024 x 1,100 in tiles of 16 x 16. */
static void large(void) {
    rt_layout l = {2,
                   4,
                   {1024, 1100},
                   {{0, 0, 64, 16, 0}, {1, 0, 69, 16, 0}, {1, 0, 16, 1, 0}, {0, 0, 16, 1, 0}}};
    int64_t n = rt_layout_count(&l), p = rt_layout_physical(&l), bad = 0;
    float *logical = malloc((size_t)n * 4), *phys = malloc((size_t)p * 4),
          *again = malloc((size_t)n * 4);
    for (int64_t i = 0; i < n; i++)
        logical[i] = (float)i;
    rt_layout_pack(&l, logical, phys, 3);
    rt_layout_unpack(&l, phys, again, 3);
    CU_ASSERT_EQUAL(memcmp(logical, again, (size_t)n * 4), 0);
    for (int64_t i = 0; i < p; i += 977)
        bad += phys[i] != (logical_of(&l, i) >= 0 ? (float)logical_of(&l, i) : 0);
    CU_ASSERT_EQUAL(bad, 0);
    free(logical);
    free(phys);
    free(again);
}

SUITE_MAIN(TEST(counts), TEST(unpack_and_pack), TEST(parts), TEST(half_precision), TEST(places),
           TEST(other_types), TEST(large))
