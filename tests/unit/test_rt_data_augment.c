/* test_rt_data_augment.c: random changes of training samples: what each does, that they depend on
 * (seed, epoch, sample) alone, and that batches come out the same for any number of threads. */
#include <math.h>
#include <string.h>

#include "rt_files.h"
#include "rt_toy.h"

#include "rt_augment.h"
#include "rt_feed.h"

enum { SIDE = 9, N = SIDE * SIDE };
static float scratch[6 * N];

static struct rt_prep prep(int channels, int h, int w) {
    struct rt_prep p = {.channels = channels, .height = h, .width = w, .lo = 0, .hi = 1};
    for (int i = 0; i < 4; i++)
        p.std[i] = 1;
    return p;
}

/* A bright pixel at the centre, and one right of it of half the brightness. */
static void cross(float *v) {
    memset(v, 0, N * sizeof *v);
    v[4 * SIDE + 4] = 1;
    v[4 * SIDE + 7] = 0.5f;
}

static void same_for_same_key(void) {
    float a[RT_AUGMENT_COUNT] = {3, 0.8f, 1.2f, 20, 10, 0.2f, 0.3f, 0.4f};
    struct rt_prep p = prep(3, SIDE, SIDE);
    float v[4][3 * N];
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < 3 * N; i++)
            v[k][i] = (float)(i % 17) / 17;
        rt_augment_apply(a, &p, 0, 0, 5, k == 2, 7 + (k == 3), v[k], NULL, scratch);
        for (int i = 0; i < 3 * N; i++)
            CU_ASSERT(v[k][i] >= 0 && v[k][i] <= 1);
    }
    CU_ASSERT(memcmp(v[0], v[1], sizeof v[0]) == 0);
    CU_ASSERT(memcmp(v[0], v[2], sizeof v[0]) != 0 && memcmp(v[0], v[3], sizeof v[0]) != 0);
    float none[RT_AUGMENT_COUNT] = {0};
    CU_ASSERT(!rt_augment_any(none) && rt_augment_any(a));
    float before[3 * N];
    memcpy(before, v[0], sizeof before);
    rt_augment_apply(none, &p, 0, 0, 5, 1, 1, v[0], NULL, scratch);
    CU_ASSERT(memcmp(before, v[0], sizeof before) == 0);
}

/* Centre of brightness of the cross before and after: shifts within the bounds, both ways. */
static void moves(void) {
    struct rt_prep p = prep(1, SIDE, SIDE);
    double least = 9, most = -9;
    for (int k = 0; k < 200; k++) {
        float a[RT_AUGMENT_COUNT] = {1}, v[N];
        double sum = 0, x = 0, y = 0;
        cross(v);
        rt_augment_apply(a, &p, 0, 0, 1, 0, k, v, NULL, scratch);
        for (int i = 0; i < N; i++) {
            sum += (double)v[i];
            x += (double)v[i] * (i % SIDE - 5);
            y += (double)v[i] * (i / SIDE - 4);
        }
        CU_ASSERT(fabs(sum - 1.5) < 1e-5 && fabs(x / sum) <= 1.0001 && fabs(y / sum) <= 1.0001);
        least = fmin(least, x / sum);
        most = fmax(most, x / sum);
    }
    CU_ASSERT(least < -0.9 && most > 0.9);
}

/* A turn keeps the centre and the distance of the second pixel; its angle is within the bound. */
static void turns(void) {
    struct rt_prep p = prep(1, SIDE, SIDE);
    double least = 9, most = -9;
    for (int k = 0; k < 200; k++) {
        float a[RT_AUGMENT_COUNT] = {0, 0, 0, 90}, v[N];
        double sum = 0, x = 0, y = 0;
        cross(v);
        rt_augment_apply(a, &p, 0, 0, 1, 0, k, v, NULL, scratch);
        CU_ASSERT(fabs((double)v[4 * SIDE + 4] - 1) < 1e-5);
        for (int i = 0; i < N; i++)
            if (i != 4 * SIDE + 4 && (abs(i % SIDE - 4) > 1 || abs(i / SIDE - 4) > 1)) {
                sum += (double)v[i];
                x += (double)v[i] * (i % SIDE - 4);
                y += (double)v[i] * (i / SIDE - 4);
            }
        CU_ASSERT(sum > 0.2 && fabs(hypot(x, y) / sum - 3) < 0.45);
        CU_ASSERT(x / sum > -0.3);
        least = fmin(least, y / sum);
        most = fmax(most, y / sum);
    }
    CU_ASSERT(least < -2.5 && most > 2.5);
}

static void scales_and_series(void) {
    struct rt_prep p = prep(1, 1, 100);
    float a[RT_AUGMENT_COUNT] = {0, 2, 2, 90, 30, 0.5f}, v[100];
    for (int i = 0; i < 100; i++)
        v[i] = (float)i;
    rt_augment_apply(a, &p, 1, 0, 1, 0, 0, v, NULL, scratch); /* stretched to twice its length, no colour */
    for (int i = 0; i < 100; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)v[i], (i - 49.5) / 2 + 49.5, 1e-4);
    p.mean[0] = 2;
    p.std[0] = 4;
    float far[RT_AUGMENT_COUNT] = {10000};
    int zeros = 0;
    rt_augment_apply(far, &p, 1, 0, 1, 0, 3, v, NULL, scratch);
    for (int i = 0; i < 100; i++)
        zeros += v[i] == -0.5f; /* (0 - mean) / std */
    CU_ASSERT_EQUAL(zeros, 100);
}

static void colours(void) {
    struct rt_prep p = prep(3, 1, 2);
    int grey = 0, brighter = 0;
    for (int k = 0; k < 100; k++) {
        float v[6] = {0.4f, 0.5f, 0.5f, 0.5f, 0.6f, 0.5f}, w[6];
        float c[RT_AUGMENT_COUNT] = {0}, b[RT_AUGMENT_COUNT] = {0};
        c[RT_AUGMENT_COLOUR] = 0.5f;
        b[RT_AUGMENT_BRIGHTNESS] = 0.1f;
        memcpy(w, v, sizeof w);
        rt_augment_apply(c, &p, 0, 0, 1, 0, k, v, NULL, scratch);
        CU_ASSERT(fabsf(v[0] + v[4] - 1) < 1e-5f && fabsf(v[1] - 0.5f) < 1e-6f); /* grey stays */
        CU_ASSERT(v[0] >= 0.3499f && v[0] <= 0.4501f);
        grey += v[0] > 0.4f;
        rt_augment_apply(b, &p, 0, 0, 1, 0, k, w, NULL, scratch);
        CU_ASSERT(fabsf((w[4] - w[0]) - 0.2f) < 1e-5f && fabsf(w[1] - 0.5f) <= 0.1001f);
        brighter += w[1] > 0.5f;
    }
    CU_ASSERT(grey > 25 && grey < 75 && brighter > 25 && brighter < 75);
}

static void batches(void) {
    rt_input_spec input = toy_input[0];
    rt_model model = toy_model;
    float *first = NULL;
    rt_error err = {0};
    input.flip = 1;
    input.augment[RT_AUGMENT_TRANSLATE] = 2;
    input.augment[RT_AUGMENT_CONTRAST] = 0.3f;
    model.input = &input;
    size_t bytes = 20 * (size_t)rt_input_count(&model, 0) * sizeof(float);
    for (int k = 0; k < 4; k++) { /* one thread or three, with and without a cache */
        netrt_options o = {k & 1 ? 3 : 1, 20, 0};
        netrt *m = NULL;
        rt_dataset *ds = NULL;
        rt_feed f;
        int64_t want[20];
        CU_ASSERT_EQUAL_FATAL(netrt_open(&model, &o, &m, &err), 0);
        CU_ASSERT_EQUAL_FATAL(rt_data_open("digits:40", "train", &ds, &err), 0);
        CU_ASSERT_EQUAL_FATAL(rt_feed_open(&f, m, ds, 20, k & 2 ? 1 << 20 : 0, 1, &err), 0);
        for (int i = 0; i < 20; i++)
            want[i] = 19 - i;
        CU_ASSERT_EQUAL(rt_feed_load(&f, want, 20, 0, NULL, NULL), 20);
        CU_ASSERT_EQUAL(rt_feed_load(&f, want, 20, 3, NULL, NULL), 20);
        if (!first)
            first = memcpy(malloc(bytes), f.input[0], bytes);
        else
            CU_ASSERT(memcmp(first, f.input[0], bytes) == 0);
        rt_feed_load(&f, want, 20, -1, NULL, NULL); /* not in a test */
        CU_ASSERT(memcmp(first, f.input[0], bytes) != 0);
        rt_feed_close(&f);
        rt_data_close(ds);
        netrt_close(m);
    }
    free(first);
}

SUITE_MAIN(TEST(same_for_same_key), TEST(moves), TEST(turns), TEST(scales_and_series),
           TEST(colours), TEST(batches))
