/* suite.h: the few lines that turn a file of CUnit tests into one ctest program.
 *
 *     #include "suite.h"
 *     static void sums(void) { CU_ASSERT_EQUAL(1 + 1, 2); }
 *     SUITE_MAIN(TEST(sums), TEST(products))
 *
 * The program prints every failed assertion and exits 1 when one failed, when a test could not be
 * registered, or when no assertion ran at all.  A test that cannot run here (a missing processor
 * feature or data file) calls suite_skip(); when nothing failed and every test skipped, the program
 * exits 77, which ctest reports as skipped.  With arguments, only the tests named are run.
 * NETC_TEST_BRIEF=1 leaves out tests called avx2, sse, .._avx2 and .._sse: the same shapes for other
 * vector widths, which under sanitizers take minutes and run the same compiler code.
 */
#ifndef SUITE_H
#define SUITE_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct suite_test {
    const char *name;
    void (*run)(void);
} suite_test;

#define TEST(function)                                                                             \
    { #function, function }
/* The whole main(): arguments name the tests to run, none runs all. */
#define SUITE_MAIN(...)                                                                            \
    int main(int argc, char **argv) {                                                              \
        return suite_run(__FILE__, (const suite_test[]){__VA_ARGS__, {NULL, NULL}}, argc, argv);   \
    }

static int suite_skipped;

/* Says why the calling test does nothing here; the test returns right after. */
__attribute__((unused)) static void suite_skip(const char *why) {
    suite_skipped++;
    printf("skipped: %s\n", why);
}

static int suite_wanted(const char *name, int argc, char **argv) {
    const char *last = strrchr(name, '_');
    last = last ? last + 1 : name;
    if (argc < 2)
        return !getenv("NETC_TEST_BRIEF") || (strcmp(last, "avx2") && strcmp(last, "sse"));
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return 0;
}

static int suite_run(const char *file, const suite_test *tests, int argc, char **argv) {
    const char *slash = strrchr(file, '/');
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite(slash ? slash + 1 : file, NULL, NULL);
    int added = 0;
    for (; suite && tests->name; tests++) {
        if (!suite_wanted(tests->name, argc, argv))
            continue;
        if (!CU_add_test(suite, tests->name, tests->run)) {
            fprintf(stderr, "cannot register %s: %s\n", tests->name, CU_get_error_msg());
            return 1;
        }
        added++;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_ErrorCode error = CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    unsigned asserts = CU_get_number_of_asserts();
    CU_cleanup_registry();
    printf("\n");
    if (error != CUE_SUCCESS || failures > 0 || added == 0)
        return 1;
    if (suite_skipped >= added)
        return 77;
    if (asserts == 0) {
        fprintf(stderr, "no assertion ran\n");
        return 1;
    }
    return 0;
}

#endif
