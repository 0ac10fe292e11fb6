/* test_rt_mask.c: pruning: exact shares, nested masks; weights that are masked stay exactly zero
 * through training, weights files and checkpoints. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_ckpt.h"
#include "rt_files.h"
#include "rt_mask.h"
#include "rt_toy.h"

enum { N = TOY_PIXELS * TOY_CLASSES };

static void shares(void) {
    /* LeNet-300-100: 80.0376, 64.0639, 51.2815, 41.0526, 32.8667 % before whole weights */
    static const int64_t size[3] = {235200, 30000, 1000};
    static const double want[5] = {80.0376, 64.0639, 51.2815, 41.0526, 32.8667};
    static unsigned char keep[3][235200], before[235200];
    float *w = malloc(sizeof *w * 235200);
    rt_error err = {0};
    memset(keep, 1, sizeof keep);
    for (int round = 0; round < 5; round++) {
        int64_t kept = 0;
        for (int k = 0; k < 3; k++) {
            for (int64_t i = 0; i < size[k]; i++) /* another order in every round */
                w[i] = (float)((i * 7919 + round * 31) % 10007) * (i % 2 ? -1 : 1);
            memcpy(before, keep[k], sizeof before);
            int64_t was = 0, now = 0, back = 0;
            float largest_gone = 0, smallest_kept = 1e9f;
            int64_t left = rt_mask_prune(w, size[k], k == 2 ? 0.1 : 0.2, keep[k], &err);
            for (int64_t i = 0; i < size[k]; i++) {
                float a = w[i] < 0 ? -w[i] : w[i];
                was += before[i];
                now += keep[k][i];
                back += keep[k][i] > before[i];
                if (before[i] && !keep[k][i])
                    largest_gone = a > largest_gone ? a : largest_gone;
                if (keep[k][i])
                    smallest_kept = a < smallest_kept ? a : smallest_kept;
            }
            CU_ASSERT_EQUAL(back, 0); /* nested */
            CU_ASSERT_EQUAL(left, now);
            CU_ASSERT_TRUE(largest_gone <= smallest_kept);
            CU_ASSERT_DOUBLE_EQUAL((double)now, (double)was * (k == 2 ? 0.9 : 0.8), 0.5);
            kept += now;
        }
        CU_ASSERT_DOUBLE_EQUAL(100.0 * (double)kept / 266200, want[round], 1e-3);
    }
    free(w);
    /* equal ones: the earlier goes; all may go */
    float equal[4] = {1, -1, 1, 2};
    unsigned char four[4] = {1, 1, 1, 1};
    CU_ASSERT_EQUAL(rt_mask_prune(equal, 4, 0.5, four, &err), 2);
    CU_ASSERT_TRUE(!four[0] && !four[1] && four[2] && four[3]);
    CU_ASSERT_EQUAL(rt_mask_prune(equal, 4, 1, four, &err), 0);
}

static netrt *open_toy(void) {
    netrt *m = NULL;
    rt_error err = {0};
    netrt_options o = {2, 8, 7};
    CU_ASSERT_EQUAL_FATAL(netrt_open(&toy_model, &o, &m, &err), 0);
    netrt_set_sgd(m, 0.05, 0.9, 1e-3);
    return m;
}

static void steps(netrt *m, int count) {
    static float x[8 * TOY_PIXELS];
    static int32_t label[8];
    rt_error err = {0};
    for (int s = 0; s < count; s++) {
        for (int i = 0; i < 8 * TOY_PIXELS; i++)
            x[i] = (float)((i * 37 + s * 101) % 97) / 97;
        for (int i = 0; i < 8; i++)
            label[i] = (i + s) % 10;
        CU_ASSERT_EQUAL_FATAL(netrt_step(m, x, label, 8, NULL, &err), 0);
    }
}

/* Every third weight goes. */
static void thirds(unsigned char *keep) {
    for (int i = 0; i < N; i++)
        keep[i] = i % 3 != 0;
}

static int zeros_hold(netrt *m) {
    static float w[N];
    int others = 0;
    uint32_t bits;
    rt_param_read(m, 0, w);
    for (int i = 0; i < N; i++) {
        memcpy(&bits, &w[i], sizeof bits);
        if (i % 3 == 0 && bits != 0)
            return 0;
        others += i % 3 != 0 && bits != 0;
    }
    return others > N / 2;
}

static void training(void) {
    static unsigned char keep[N];
    static float plain[N], masked[N];
    rt_error err = {0};
    netrt *m = open_toy();
    thirds(keep);
    CU_ASSERT_EQUAL_FATAL(rt_mask_set(m, 0, keep, &err), 0);
    CU_ASSERT_TRUE(zeros_hold(m));
    steps(m, 5);
    CU_ASSERT_TRUE(zeros_hold(m));
    CU_ASSERT_PTR_NULL(rt_mask_of(m, 1));
    rt_mask_clear(m);
    steps(m, 1);
    CU_ASSERT_FALSE(zeros_hold(m));
    netrt_close(m);
    for (int way = 0; way < 2; way++) { /* a mask that keeps everything changes no bit */
        m = open_toy();
        memset(keep, 1, sizeof keep);
        if (way)
            CU_ASSERT_EQUAL_FATAL(rt_mask_set(m, 0, keep, &err), 0);
        steps(m, 4);
        rt_param_read(m, 0, way ? masked : plain);
        netrt_close(m);
    }
    CU_ASSERT_EQUAL(memcmp(plain, masked, sizeof plain), 0);
}

static void files(void) {
    static unsigned char keep[N];
    char path[300], bare[300];
    rt_error err = {0};
    rt_run_state s = {.samples = 8, .batch = 8};
    netrt *m = open_toy(), *other = open_toy();
    thirds(keep);
    snprintf(path, sizeof path, "%s/ticket.safetensors", files_root());
    snprintf(bare, sizeof bare, "%s/bare.safetensors", files_root());
    CU_ASSERT_EQUAL(netrt_save(m, bare, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_mask_set(m, 0, keep, &err), 0);
    for (int way = 0; way < 2; way++) {
        if (way)
            CU_ASSERT_EQUAL(rt_program_ready(m, RT_TRAIN, 8, &err), 0);
        CU_ASSERT_EQUAL_FATAL(way ? rt_ckpt_save(m, path, &s, &err) : netrt_save(m, path, &err), 0);
        CU_ASSERT_EQUAL_FATAL(way ? rt_ckpt_load(other, path, &s, &err)
                                  : netrt_load(other, path, 0, &err), 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rt_mask_of(other, 0));
        CU_ASSERT_EQUAL(memcmp(rt_mask_of(other, 0), keep, N), 0);
        steps(other, 2);
        CU_ASSERT_TRUE(zeros_hold(other));
        /* a file without masks keeps all weights again */
        CU_ASSERT_EQUAL(netrt_load(other, bare, 0, &err), 0);
        CU_ASSERT_PTR_NULL(rt_mask_of(other, 0));
    }
    unlink(path);
    unlink(bare);
    netrt_close(m);
    netrt_close(other);
}

SUITE_MAIN(TEST(shares), TEST(training), TEST(files))
