/* test_rt_spectrum.c: the Fourier transform against plain sums, the Hartley transform its own inverse
 * and adjoint, the gradient of pictures by frequencies against differences, colours by hand. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "rt_spectrum.h"

static float noise(unsigned i) {
    i = i * 2654435761u ^ 0x9e3779b9u;
    i = (i ^ i >> 15) * 2246822519u;
    return (float)((i >> 8) % 20001) / 10000 - 1;
}

static void against_sums(void) {
    static const int sizes[] = {1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 28, 30, 35, 49, 61, 77, 128, 243};
    static rt_complex in[2 * 243], out[243];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int n = sizes[s];
        rt_fft f;
        rt_error err = {0};
        CU_ASSERT_EQUAL_FATAL(rt_fft_open(&f, n, &err), 0);
        for (int i = 0; i < 2 * n; i++)
            in[i] = (rt_complex){noise((unsigned)i), noise((unsigned)i + 999)};
        rt_fft_run(&f, in, 2, out);
        double worst = 0;
        for (int k = 0; k < n; k++) {
            double re = 0, im = 0;
            for (int j = 0; j < n; j++) {
                double a = -2 * acos(-1.0) * (double)(j * k % n) / n, c = cos(a), z = sin(a);
                re += (double)in[2 * j].re * c - (double)in[2 * j].im * z;
                im += (double)in[2 * j].re * z + (double)in[2 * j].im * c;
            }
            worst = fmax(worst, fmax(fabs(re - (double)out[k].re), fabs(im - (double)out[k].im)));
        }
        CU_ASSERT(worst < 2e-6 * sqrt((double)n) * log2(2.0 * n));
        rt_fft_close(&f);
    }
    rt_fft f;
    rt_error err = {0};
    CU_ASSERT_EQUAL(rt_fft_open(&f, 2 * 67, &err), NETRT_ELIMIT);
    CU_ASSERT_EQUAL(rt_fft_size(28), 30);
    CU_ASSERT_EQUAL(rt_fft_size(227), 240);
    CU_ASSERT_EQUAL(rt_fft_size(0), 1);
}

enum { H = 12, W = 10, AREA = H * W };

static double dot(const float *a, const float *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void hartley(void) {
    rt_fft rows, columns;
    rt_error err = {0};
    static rt_complex room[2 * AREA + H];
    static float x[AREA], y[AREA], tx[AREA], ty[AREA];
    rt_fft_open(&rows, W, &err);
    rt_fft_open(&columns, H, &err);
    for (unsigned i = 0; i < AREA; i++) {
        tx[i] = x[i] = noise(i);
        ty[i] = y[i] = noise(i + 5000);
    }
    rt_hartley(&rows, &columns, tx, room);
    rt_hartley(&rows, &columns, ty, room);
    double plain = 0; /* number (3, 4) by its definition */
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++) {
            double a = 2 * acos(-1.0) * (3.0 * i / (double)H + 4.0 * j / (double)W);
            plain += (double)x[i * W + j] * (cos(a) + sin(a));
        }
    CU_ASSERT_DOUBLE_EQUAL(tx[3 * W + 4], plain / sqrt((double)AREA), 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(dot(tx, y, AREA), dot(x, ty, AREA), 1e-5); /* its own adjoint */
    CU_ASSERT_DOUBLE_EQUAL(dot(tx, tx, AREA), dot(x, x, AREA), 1e-4);
    rt_hartley(&rows, &columns, tx, room);
    for (int i = 0; i < AREA; i++)
        CU_ASSERT_DOUBLE_EQUAL(tx[i], x[i], 2e-6); /* and inverse */
    rt_fft_close(&rows);
    rt_fft_close(&columns);
}

/* Sum of v times the picture, and its gradient, along random directions. */
static void slopes(int64_t planes, int bgr) {
    enum { N = 3 * AREA, P = 3 * 9 * 7 };
    rt_spectrum s;
    rt_error err = {0};
    static float c[N], d[N], other[N], g[N], pixel[P], v[P];
    CU_ASSERT_EQUAL_FATAL(rt_spectrum_open(&s, (rt_planes){planes, 9, 7}, 3, bgr, 2, &err), 0);
    int n = (int)rt_spectrum_count(&s), pixels = (int)planes * 63;
    CU_ASSERT_EQUAL_FATAL(n, planes * AREA);
    for (int i = 0; i < n; i++)
        c[i] = noise((unsigned)i + 77);
    for (int i = 0; i < pixels; i++)
        v[i] = noise((unsigned)i + 7777);
    rt_spectrum_paint(&s, 1, c, 2, 3, pixel);
    rt_spectrum_back(&s, 1, pixel, v, 2, 3, g);
    for (int trial = 0; trial < 3; trial++) {
        double rise = 0;
        for (int i = 0; i < n; i++)
            d[i] = noise((unsigned)(i + 1000 * trial));
        for (int side = -1; side <= 1; side += 2) {
            for (int i = 0; i < n; i++)
                other[i] = c[i] + (float)side * 0.01f * d[i];
            rt_spectrum_paint(&s, 0, other, 2, 3, pixel);
            rise += side * dot(pixel, v, pixels) / 0.02;
        }
        double want = dot(g, d, n);
        CU_ASSERT_DOUBLE_EQUAL(rise, want, 3e-3 * (fabs(want) + 100));
    }
    /* one number: the mean of the first colour, light everywhere the same */
    memset(c, 0, sizeof c);
    c[0] = 1;
    rt_spectrum_paint(&s, 1, c, 0, 0, pixel);
    double level = (planes == 3 ? bgr ? 0.5958 : 0.5597 : 1) * 12 / 4 / sqrt((double)AREA);
    for (int i = 0; i < 63; i++)
        CU_ASSERT_DOUBLE_EQUAL(pixel[i], 255 / (1 + exp(-level)), 1e-3);
    rt_spectrum_close(&s);
}

static void gradients(void) {
    slopes(3, 0);
    slopes(3, 1);
    slopes(1, 0);
}

SUITE_MAIN(TEST(against_sums), TEST(hartley), TEST(gradients))
