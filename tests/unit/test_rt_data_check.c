/* test_rt_data_check.c: the verb `data check`: what it counts and what it complains about. */
#include "rt_program.h"

static char put_pixel[800];
static void put_square(const char *name, int value) { /* 28 x 28 of one grey */
    int n = snprintf(put_pixel, sizeof put_pixel, "P5 28 28 255 ");
    for (int i = 0; i < 784; i++)
        put_pixel[n + i > 799 ? 799 : n + i] = (char)value;
    put_file(name, put_pixel, (size_t)n + 784);
}

static void pictures(void) {
    static const char *const dirs[] = {"d",      "d/train",  "d/train/a", "d/train/b",
                                       "d/test", "d/test/a", "d/test/b"};
    for (size_t i = 0; i < 7; i++)
        make_dir(dirs[i]);
    put_square("d/train/a/1.pgm", 0);
    put_square("d/train/a/2.pgm", 51);
    put_square("d/train/b/1.pgm", 102);
    put_square("d/test/a/1.pgm", 153);
    put_square("d/test/b/1.pgm", 204);
    CU_ASSERT_EQUAL(program("data", "check", in_dir("d"), NULL), 0);
    CU_ASSERT(strstr(out_text, "train: 3 samples (folder)") != NULL);
    CU_ASSERT(strstr(out_text, "size 1 x 28 x 28, values 0 .. 102") != NULL);
    CU_ASSERT(strstr(out_text, "mean = 0.2; std = 0.1633") != NULL);
    CU_ASSERT(strstr(out_text, "nothing found that is wrong") != NULL);
    put_square("d/test/b/2.pgm", 0); /* of the training part, in another class */
    put_square("d/train/b/3.pgm", 0);
    CU_ASSERT_EQUAL(program("data", "check", in_dir("d"), NULL), 1);
    CU_ASSERT(strstr(out_text, "1 samples of the test part are in the training part") != NULL);
    CU_ASSERT(strstr(out_text, "train: 1 samples are copies") != NULL);
    put_file("d/train/b/4.png", "rubbish", 7);
    CU_ASSERT_EQUAL(program("data", "check", in_dir("d"), NULL), 4);
    CU_ASSERT(strstr(err_text, "4.png") && strstr(err_text, "more than 1%"));
    CU_ASSERT_EQUAL(program("data", "check", "--max-bad=30", in_dir("d"), NULL), 1);
    CU_ASSERT(strstr(out_text, "1 cannot be read") != NULL);
}

static void numbers(void) {
    put_file("t.csv", "1,2,x\n3,4,y\n", 12);
    CU_ASSERT_EQUAL(program("data", "check", in_dir("t.csv"), NULL), 1);
    CU_ASSERT(strstr(out_text, "help: declare the input as f32[1, 1, 2]") != NULL);
    CU_ASSERT(strstr(out_text, "values 1 .. 4") && strstr(out_text, "mean = 2.5; std = 1.118"));
}

static void usage(void) {
    CU_ASSERT_EQUAL(program("data", NULL), 2);
    CU_ASSERT_EQUAL(program("data", "look", NULL), 2);
    CU_ASSERT_EQUAL(program("data", "check", "/nowhere/at/all", NULL), 5);
    CU_ASSERT_EQUAL(program("data", "--help", NULL), 0);
    CU_ASSERT_EQUAL(program("data", "check", "-q", NULL), 0); /* digits:1000 */
    CU_ASSERT(strstr(out_text, "train: 1000 samples (digits)") != NULL);
}

SUITE_MAIN(TEST(pictures), TEST(numbers), TEST(usage))
