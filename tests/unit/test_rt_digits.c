/* test_rt_digits.c: the drawn digits: fixed bits, layout, variety, and that they can be told apart.
 */
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <zlib.h>

#include "rt_digits.h"

enum { PIXELS = RT_DIGITS_SIDE * RT_DIGITS_SIDE };

static void bits_are_fixed(void) {
    rt_digits d = rt_digits_make(1, 0);
    unsigned char a[PIXELS], b[PIXELS];
    unsigned long sum = crc32(0, NULL, 0);
    for (int64_t i = 0; i < 500; i++) {
        rt_digits_draw(&d, i, a);
        sum = crc32(sum, a, PIXELS);
    }
    CU_ASSERT_EQUAL(sum, 0x9657a8d8ul); /* the same for every compiler, level and machine */
    rt_digits_draw(&d, 123456789012345, a);
    rt_digits_draw(&d, 0, b);
    rt_digits_draw(&d, 123456789012345, b); /* order does not matter */
    CU_ASSERT_EQUAL(memcmp(a, b, PIXELS), 0);
}

static void every_ten_hold_each_digit(void) {
    rt_digits d = rt_digits_make(5, 0);
    int orders = 0;
    for (int64_t g = 0; g < 200; g++) {
        int seen = 0;
        for (int64_t k = 0; k < 10; k++)
            seen |= 1 << rt_digits_label(&d, 10 * g + k);
        CU_ASSERT_EQUAL(seen, 1023);
        orders += rt_digits_label(&d, 10 * g) == 0;
    }
    CU_ASSERT(orders > 5 && orders < 50);
}

static void train_and_test_differ(void) {
    rt_digits a = rt_digits_make(1, 0), b = rt_digits_make(1, 1), c = rt_digits_make(2, 0);
    unsigned char x[PIXELS], y[PIXELS], z[PIXELS];
    rt_digits_draw(&a, 3, x);
    rt_digits_draw(&b, 3, y);
    rt_digits_draw(&c, 3, z);
    CU_ASSERT(memcmp(x, y, PIXELS) != 0 && memcmp(x, z, PIXELS) != 0);
}

static void looks_like_mnist(void) {
    rt_digits d = rt_digits_make(9, 0);
    double ink = 0;
    int n = 2000;
    for (int64_t i = 0; i < n; i++) {
        unsigned char p[PIXELS];
        rt_digits_draw(&d, i, p);
        double sum = 0, sx = 0, sy = 0;
        int most = 0, border = 0;
        for (int y = 0; y < RT_DIGITS_SIDE; y++)
            for (int x = 0; x < RT_DIGITS_SIDE; x++) {
                int v = p[y * RT_DIGITS_SIDE + x];
                sum += v;
                sx += v * (x + 0.5);
                sy += v * (y + 0.5);
                most = v > most ? v : most;
                border += v && (x == 0 || y == 0 || x == 27 || y == 27);
            }
        CU_ASSERT(fabs(sx / sum - 14) < 3.2 && fabs(sy / sum - 14) < 3.2);
        CU_ASSERT(most > 120);
        CU_ASSERT_EQUAL(border, 0);
        ink += sum / (double)PIXELS / 255 / n;
    }
    CU_ASSERT(ink > 0.08 && ink < 0.18); /* MNIST's mean is 0.1307 */
}

static void hands_are_different(void) {
    for (int digit = 0; digit < 10; digit++) {
        int hands = rt_digits_hands(digit);
        CU_ASSERT(hands >= 4);
        for (int a = 0; a < hands; a++)
            for (int b = 0; b < a; b++) {
                unsigned char x[PIXELS], y[PIXELS];
                long diff = 0;
                rt_digits_draw_plain(digit, a, x);
                rt_digits_draw_plain(digit, b, y);
                for (int i = 0; i < PIXELS; i++)
                    diff += labs((long)x[i] - y[i]);
                CU_ASSERT(diff > 17 * 255);
            }
    }
}

/* Nearest of 2,000 neighbours: learnable, but not solved by looking up. */
static void can_be_told_apart(void) {
    enum { TRAIN = 2000, TEST_COUNT = 300 };
    rt_digits train = rt_digits_make(1, 0), test = rt_digits_make(1, 1);
    unsigned char(*x)[PIXELS] = malloc(TRAIN * sizeof *x), y[PIXELS];
    for (int64_t i = 0; i < TRAIN; i++)
        rt_digits_draw(&train, i, x[i]);
    int right = 0;
    for (int64_t t = 0; t < TEST_COUNT; t++) {
        rt_digits_draw(&test, t, y);
        long best = 1l << 40, at = 0;
        for (long i = 0; i < TRAIN; i++) {
            long d = 0;
            for (int k = 0; k < PIXELS; k++)
                d += (x[i][k] - y[k]) * (x[i][k] - y[k]);
            if (d < best) {
                best = d;
                at = i;
            }
        }
        right += rt_digits_label(&train, at) == rt_digits_label(&test, t);
    }
    free(x);
    printf("nearest neighbour %.1f %% ", 100.0 * right / (double)TEST_COUNT);
    CU_ASSERT(right > TEST_COUNT * 75 / 100 && right < TEST_COUNT * 99 / 100);
}

SUITE_MAIN(TEST(bits_are_fixed), TEST(every_ten_hold_each_digit), TEST(train_and_test_differ),
           TEST(looks_like_mnist), TEST(hands_are_different), TEST(can_be_told_apart))
