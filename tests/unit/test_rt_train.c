/* test_rt_train.c: the program NAME from the outside: it learns, the bits do not depend on threads
 * or interruptions, the exit codes are right, pipes stay free of control characters. */
#include "rt_program.h"

#include <jansson.h>
#include <math.h>

static double json_number(const char *text, const char *key) {
    json_t *root = json_loads(text, 0, NULL), *v = json_object_get(root, key);
    double d = json_is_number(v) ? json_number_value(v) : NAN;
    json_decref(root);
    return d;
}

static void learns(void) {
    CU_ASSERT_EQUAL(program("train", out_option("a"), "--json", NULL), 0);
    CU_ASSERT(json_number(out_text, "test_error") < 0.2); /* chance: 0.9 */
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "epoch 3/3"));
    for (const char *c = err_text; *c; c++)
        if ((*c < 32 && *c != '\n') || *c == 127)
            CU_FAIL("a control character in a pipe");
    CU_ASSERT_EQUAL(program("eval", out_option("a"), "--json", NULL), 0);
    CU_ASSERT(json_number(out_text, "error") < 0.2);
    CU_ASSERT_EQUAL(json_number(out_text, "images"), 166);
    CU_ASSERT_EQUAL(program("eval", out_option("a"), NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "recall"));
    long n;
    unsigned char *svg = get_file(in_dir("a/loss.svg"), &n);
    CU_ASSERT(n > 500 && strstr((char *)svg, "</svg>"));
    free(svg);
}

static void threads_do_not_matter(void) {
    CU_ASSERT_EQUAL(program("train", out_option("t1"), "--threads=1", "-q", NULL), 0);
    CU_ASSERT_EQUAL(program("train", out_option("t2"), "--threads=2", "-q", NULL), 0);
    CU_ASSERT_EQUAL(program("train", out_option("t3"), "--threads=3", "-q", NULL), 0);
    CU_ASSERT(same_file(in_dir("t1/last.safetensors"), in_dir("t2/last.safetensors")));
    CU_ASSERT(same_file(in_dir("t1/last.safetensors"), in_dir("t3/last.safetensors")));
    CU_ASSERT(same_file(in_dir("t1/best.safetensors"), in_dir("t2/best.safetensors")));
    CU_ASSERT_EQUAL(program("train", out_option("t4"), "--seed=8", "-q", NULL), 0);
    CU_ASSERT(!same_file(in_dir("t1/last.safetensors"), in_dir("t4/last.safetensors")));
}

/* Drops the columns that are times. */
static char *log_without_times(const char *path) {
    long n;
    char *text = (char *)get_file(path, &n), *to = text;
    if (!text)
        return strdup("");
    text[n] = 0;
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n'), *p = line;
        for (int commas = 0; p < end && commas < 8; p++)
            commas += *p == ',';
        memmove(to, line, (size_t)(p - line));
        to += p - line;
        *to++ = '\n';
        line = end + 1;
    }
    *to = 0;
    return text;
}

static void resume_bit_for_bit(void) {
    CU_ASSERT_EQUAL(program("train", out_option("whole"), "-q", NULL), 0);
    /* In the middle of an epoch, at its end, in the first step; continued more than once. */
    const char *stop[] = {"--steps=1", "--steps=45", "--steps=64", "--steps=65"};
    CU_ASSERT_EQUAL(program("train", out_option("parts"), "-q", "--resume", stop[0], NULL), 0);
    for (int i = 1; i < 4; i++)
        CU_ASSERT_EQUAL(program("train", out_option("parts"), "-q", "--resume", stop[i], NULL), 0);
    CU_ASSERT(!same_file(in_dir("whole/last.safetensors"), in_dir("parts/last.safetensors")));
    CU_ASSERT_EQUAL(program("train", out_option("parts"), "-q", "--resume", "-t3", NULL), 0);
    CU_ASSERT(same_file(in_dir("whole/last.safetensors"), in_dir("parts/last.safetensors")));
    CU_ASSERT(same_file(in_dir("whole/best.safetensors"), in_dir("parts/best.safetensors")));
    char *a = log_without_times(in_dir("whole/log.csv"));
    char *b = log_without_times(in_dir("parts/log.csv"));
    CU_ASSERT_STRING_EQUAL(a, b);
    free(a);
    free(b);
    /* All done: nothing happens, and another command is refused. */
    CU_ASSERT_EQUAL(program("train", out_option("parts"), "--resume", NULL), 0);
    CU_ASSERT(same_file(in_dir("whole/last.safetensors"), in_dir("parts/last.safetensors")));
    CU_ASSERT_EQUAL(program("train", out_option("parts"), "--resume", "--seed=9", NULL), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "its seed is 7"));
    CU_ASSERT_EQUAL(program("train", out_option("parts"), "--resume", "--batch=8", NULL), 2);
}

/* A crash between checkpoint and log rows: rows after the checkpoint are cut off. */
static void log_is_cut_back(void) {
    CU_ASSERT_EQUAL(program("train", out_option("cut"), "-q", "--steps=40", NULL), 0);
    FILE *f = fopen(in_dir("cut/log.csv"), "a");
    fputs("train,41,1,32,9,9,9,9,9,9\ntrain,42,", f);
    fclose(f);
    CU_ASSERT_EQUAL(program("train", out_option("cut"), "-q", "--resume", NULL), 0);
    char *a = log_without_times(in_dir("whole/log.csv"));
    char *b = log_without_times(in_dir("cut/log.csv"));
    CU_ASSERT_STRING_EQUAL(a, b);
    free(a);
    free(b);
}

static void diverges(void) {
    CU_ASSERT_EQUAL(program("train", out_option("d"), "-q", "--steps=10", NULL), 0);
    char *before = strdup(in_dir("d/checkpoint.safetensors"));
    long n, k;
    unsigned char *old = get_file(before, &n);
    CU_ASSERT_EQUAL(program("train", out_option("d"), "--resume", "--lr=1e38", NULL), 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "layer fc"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "step 10 is kept"));
    unsigned char *now = get_file(before, &k);
    CU_ASSERT(n == k && memcmp(old, now, (size_t)n) == 0);
    free(old);
    free(now);
    free(before);
}

static void exit_codes(void) {
    CU_ASSERT_EQUAL(program(NULL), 2);
    CU_ASSERT_EQUAL(program("--help", NULL), 0);
    CU_ASSERT_EQUAL(program("--version", NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "netc 0.1"));
    CU_ASSERT_EQUAL(program("trian", NULL), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "did you mean 'train'"));
    CU_ASSERT_EQUAL(program("train", "surplus", NULL), 2);
    CU_ASSERT_EQUAL(program("train", "--out=/proc/nothing", NULL), 5);
    CU_ASSERT_EQUAL(program("eval", out_option("empty"), NULL), 5);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "train first"));
    CU_ASSERT_EQUAL(program("eval", "--weights", put_file("junk", "junk!", 5), NULL), 4);
    CU_ASSERT_EQUAL(program("train", out_option("e"), "--data=/nonexistent", NULL), 5);
    CU_ASSERT_EQUAL(program("train", out_option("e"), "--resume=/nonexistent", NULL), 5);
    CU_ASSERT_EQUAL(program("predict", NULL), 2);
    CU_ASSERT_EQUAL(program("bench", "--entry=project", NULL), 2);
}

static void predicts(void) {
    rt_image img = {0};
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(program("train", out_option("p"), "-q", NULL), 0);
    make_dir("pics");
    rt_image_reserve(&img, 28, 28, 1, &err);
    memset(img.data, 0, 784);
    rt_png_write(&img, in_dir("pics/a.png"), &err);
    rt_png_write(&img, in_dir("pics/b.png"), &err);
    rt_image_free(&img);
    put_file("pics/broken.png", "\x89PNG\r\n\x1a\n nonsense", 17);
    CU_ASSERT_EQUAL(err.code, 0);
    CU_ASSERT_EQUAL(program("predict", out_option("p"), in_dir("pics/a.png"), NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "%"));
    CU_ASSERT_EQUAL(program("predict", out_option("p"), "--json", "--top=2", in_dir("pics"), NULL),
                    1);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "broken.png"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "1 skipped"));
    json_t *list = json_loads(out_text, 0, NULL);
    CU_ASSERT_EQUAL(json_array_size(list), 2);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(json_array_get(list, 0), "top")), 2);
    json_decref(list);
    CU_ASSERT_EQUAL(program("predict", out_option("p"), "--json", in_dir("nothing"), NULL), 1);
    list = json_loads(out_text, 0, NULL);
    CU_ASSERT(list && json_array_size(list) == 0);
    json_decref(list);
}

static void gradients(void) {
    CU_ASSERT_EQUAL(program("gradcheck", "--json", NULL), 0);
    CU_ASSERT_EQUAL(json_number(out_text, "wrong"), 0);
    toy_gradient_factor = 1.05f; /* a gradient five percent too long must be found */
    CU_ASSERT_EQUAL(program("gradcheck", "--json", NULL), 1);
    CU_ASSERT_EQUAL(json_number(out_text, "wrong"), 1);
    toy_gradient_factor = 1;
}

static void others(void) {
    CU_ASSERT_EQUAL(program("info", NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "7,850"));
    CU_ASSERT_EQUAL(program("info", "--json", NULL), 0);
    CU_ASSERT_EQUAL(json_number(out_text, "parameters"), 7850);
    CU_ASSERT_EQUAL(program("info", "--spec", NULL), 0);
    CU_ASSERT_STRING_EQUAL(out_text, toy_model.spec_text);
    CU_ASSERT_EQUAL(program("bench", "--json", "--runs=2", "--batch=4", NULL), 0);
    CU_ASSERT(json_number(out_text, "ms_median") > 0);
    CU_ASSERT(json_number(out_text, "peak_gflops") > 0);
    CU_ASSERT_EQUAL(program("bench", "--entry=train", "--runs=2", NULL), 0);
    const char *verbs[] = {"train", "eval", "predict", "info", "gradcheck", "bench"};
    for (int i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(program(verbs[i], "-h", NULL), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "Examples:"));
        for (char *line = strtok(out_text, "\n"); line; line = strtok(NULL, "\n"))
            CU_ASSERT(strlen(line) <= 80);
    }
}

static void progress_json(void) {
    CU_ASSERT_EQUAL(program("train", out_option("pj"), "--progress=json", "--epochs=1", NULL), 0);
    int lines = 0;
    for (char *line = strtok(err_text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_t *o = json_loads(line, 0, NULL);
        CU_ASSERT_PTR_NOT_NULL(o);
        json_decref(o);
    }
    CU_ASSERT(lines > 3);
}

SUITE_MAIN(TEST(learns), TEST(threads_do_not_matter), TEST(resume_bit_for_bit),
           TEST(log_is_cut_back), TEST(diverges), TEST(exit_codes), TEST(predicts), TEST(gradients),
           TEST(others), TEST(progress_json))
