/* test_rt_contour.c: lines of an SVG without needless points, and the borders of small grids. */
#include "rt_alloc.h"
#include "rt_contour.h"
#include "suite.h"

static void line_is(const double *at, int64_t n, double tolerance, const char *want) {
    rt_text o = {0};
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(rt_svg_line(&o, at, n, tolerance, &err), 0);
    CU_ASSERT_STRING_EQUAL(o.data, want);
    rt_text_free(&o);
}

static void lines(void) {
    line_is((double[]){1, 2}, 1, 0.1, "M1 2");
    line_is((double[]){0, 0, 1, 1, 2, 2, 3, 3}, 4, 0.1, "M0 0L3 3");
    line_is((double[]){0, 0, 1, 0.05, 2, -0.05, 3, 0}, 4, 0.1, "M0 0L3 0");
    line_is((double[]){0, 0, 1, 0, 2, 0, 2, 1, 2, 2}, 5, 0.1, "M0 0L2 0L2 2");
    line_is((double[]){0, 0, 5, 0, 2, 0}, 3, 0.1, "M0 0L5 0L2 0"); /* there and back */
    line_is((double[]){0, 0, 4, 0, 4, 4, 0, 4, 0, 0}, 5, 0.1, "M0 0L4 0L4 4L0 4L0 0");
}

static void borders_are(const char *cells, int64_t w, const char *want) {
    int64_t n = (int64_t)strlen(cells);
    uint64_t id[64];
    rt_text o = {0};
    rt_error err = {0};
    for (int64_t i = 0; i < n; i++)
        id[i] = (uint64_t)cells[i];
    CU_ASSERT_EQUAL_FATAL(rt_svg_borders(&o, id, w, n / w, 0, 0, &err), 0);
    CU_ASSERT_STRING_EQUAL(o.data ? o.data : "", want);
    rt_text_free(&o);
}

static void borders(void) {
    borders_are("aaaa", 2, "");
    borders_are("a", 1, "");
    borders_are("aabb" "aabb", 4, "M2 0L2 2");
    borders_are("abcd", 2, "M1 0L1 1M0 1L1 1M1 1L2 1M1 1L1 2"); /* four meet in the middle */
    borders_are("aaaaa" "abbba" "abbba" "abbba" "aaaaa", 5, "M1 1L4 1L4 4L1 4L1 1"); /* a loop */
    borders_are("aaaa" "aabb" "bbbb", 4, "M4 1L0 2"); /* a step of one cell is a slope */
}

static void no_memory(void) {
    int failed = 0;
    for (int64_t nth = 1;; nth++) {
        static const uint64_t id[] = {1, 2, 3, 4};
        rt_text o = {0};
        rt_error err = {0};
        size_t live = rt_alloc_live();
        rt_alloc_inject(nth, 0);
        int code = rt_svg_borders(&o, id, 2, 2, 0, 0, &err);
        rt_alloc_inject(0, 0);
        int whole = !code && !o.failed;
        rt_text_free(&o);
        CU_ASSERT_EQUAL(rt_alloc_live(), live);
        if (whole)
            break;
        failed++;
    }
    CU_ASSERT(failed >= 5);
}

SUITE_MAIN(TEST(lines), TEST(borders), TEST(no_memory))
