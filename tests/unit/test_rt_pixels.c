/* test_rt_pixels.c: terms and changes of a picture in an optimisation, the steps of optimizers:
 * cases whose results are known exactly, every gradient against central differences. */
#include "suite.h"

#include <math.h>
#include <string.h>

#include "rt_climb.h"
#include "rt_pixels.h"

enum { C = 3, H = 7, W = 5, N = C * H * W };
static const rt_planes size = {C, H, W};

static float noise(unsigned i) {
    i = i * 2654435761u ^ 0x9e3779b9u;
    i = (i ^ i >> 15) * 2246822519u;
    return (float)((i >> 8) % 20001) / 10000 - 1;
}

static void fill(float *x, int n, unsigned seed) {
    for (int i = 0; i < n; i++)
        x[i] = noise((unsigned)i + seed);
}

/* ---- terms ---- */

static double tv_of(const float *x, double power, float *g) {
    return rt_tv(x, size, power, 1, g);
}

static double alpha_of(const float *x, double power, float *g) {
    return rt_alpha_norm(x, N, power, 1, g);
}

static double norm6_of(const float *x, double power, float *g) {
    (void)power;
    return rt_pixel_norm6(x, size, 1, g);
}

static void slopes(double (*term)(const float *, double, float *), double power) {
    float x[N], g[N] = {0};
    fill(x, N, 3);
    term(x, power, g);
    for (int i = 0; i < N; i++) {
        float keep = x[i];
        x[i] = keep + 1e-3f;
        double up = term(x, power, NULL), width = (double)x[i];
        x[i] = keep - 1e-3f;
        double down = term(x, power, NULL);
        width -= (double)x[i];
        x[i] = keep;
        CU_ASSERT_DOUBLE_EQUAL((up - down) / width, (double)g[i], 2e-4 * (1 + fabs((double)g[i])));
    }
}

static void gradients(void) {
    slopes(tv_of, 2);
    slopes(tv_of, 1);
    slopes(tv_of, 3);
    slopes(alpha_of, 2);
    slopes(alpha_of, 6);
    slopes(alpha_of, 3.5);
    slopes(norm6_of, 6);
}

static void variation_known(void) {
    float x[N], g[N] = {0};
    for (int i = 0; i < N; i++)
        x[i] = 0.75f;
    CU_ASSERT_EQUAL(rt_tv(x, size, 2, 1, g), 0);
    CU_ASSERT_EQUAL(rt_tv(x, size, 1, 1, g), 0);
    for (int i = 0; i < N; i++)
        CU_ASSERT_EQUAL(g[i], 0);
    for (int i = 0; i < N; i++) /* a ramp of slope 1/2 to the right: |s|^beta per cell */
        x[i] = 0.5f * (float)(i % W);
    CU_ASSERT_EQUAL(rt_tv(x, size, 2, 1, g), 0.25 * (double)(C * H * (W - 1)));
    CU_ASSERT_DOUBLE_EQUAL(rt_tv(x, size, 1, 1, NULL), 0.5 * (double)(C * H * (W - 1)), 1e-12);
    for (int i = 0; i < N; i++)
        if (i % W > 0 && i % W < W - 1)
            CU_ASSERT_EQUAL(g[i], 0); /* inside, for beta 2 */
    float y[2] = {-2, 3}, h[2] = {1, 1};
    CU_ASSERT_EQUAL(rt_alpha_norm(y, 2, 6, 1, h), 64 + 729);
    CU_ASSERT_EQUAL(h[0], 1 - 6 * 32);
    CU_ASSERT_EQUAL(h[1], 1 + 6 * 243);
    CU_ASSERT_EQUAL(rt_alpha_norm(y, 2, 2, 10, h), 13);
    CU_ASSERT_EQUAL(h[1], 1 + 6 * 243 + 60);
}

/* ---- changes ---- */

static void blurs(void) {
    float x[N], y[N], room[N];
    for (int i = 0; i < N; i++)
        x[i] = 1.25f;
    rt_blur(x, size, 1.3, room);
    for (int i = 0; i < N; i++)
        CU_ASSERT_DOUBLE_EQUAL(x[i], 1.25, 1e-6);
    fill(x, N, 1);
    memcpy(y, x, sizeof y);
    rt_blur(x, size, 0, room);
    CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
    rt_blur(x, size, 0.8, room); /* mirrored borders keep the sum of each plane */
    for (int k = 0; k < C; k++) {
        double before = 0, after = 0;
        for (int i = k * H * W; i < (k + 1) * H * W; i++) {
            before += (double)y[i];
            after += (double)x[i];
        }
        CU_ASSERT_DOUBLE_EQUAL(before, after, 1e-5);
    }
    /* one line, written out: sigma 0.5 reaches 2 cells */
    float line[5] = {0, 0, 1, 0, 0};
    rt_blur(line, (rt_planes){1, 1, 5}, 0.5, room);
    double e1 = exp(-2), e2 = exp(-8), sum = 1 + 2 * e1 + 2 * e2;
    CU_ASSERT_DOUBLE_EQUAL(line[2], 1 / sum, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL(line[1], e1 / sum, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL(line[4], e2 / sum, 1e-7);
}

static void rolls(void) {
    float x[N], y[N], room[N];
    fill(x, N, 9);
    memcpy(y, x, sizeof y);
    rt_roll(x, size, 2, -1, room);
    CU_ASSERT_EQUAL(x[(2 + 0) * W + 3], y[0 * W + 4]);
    CU_ASSERT_EQUAL(x[(2 + 0) * W + 4], y[0 * W + 0]);
    rt_roll(x, size, -2, 1, room);
    CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
    rt_roll(x, size, 3 * H, -4 * W, room);
    CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
}

/* 1 to n in another order, signs in turn: a hundredth lies beyond n - n / 100 + 1. */
static void scales(void) {
    enum { LARGE = 20000 };
    static float x[LARGE];
    for (int i = 0; i < LARGE; i++)
        x[i] = (float)(i * 7919 % LARGE + 1) * (i % 2 ? -0.25f : 0.25f);
    CU_ASSERT_EQUAL(rt_shown_scale(x, LARGE), 0.25f * (float)(LARGE - LARGE / 100));
    for (int i = 0; i < LARGE; i++)
        x[i] = i < 100 ? -3 : 0; /* nearly all silent: the largest */
    CU_ASSERT_EQUAL(rt_shown_scale(x, LARGE), 3);
    const float few[3] = {1, -7, 2};
    CU_ASSERT_EQUAL(rt_shown_scale(few, 3), 7);
}

static void clips(void) {
    /* four pixels of two planes, lengths 5, 1, 2, 0; the median lies at 1.5 */
    float x[8] = {3, 1, 0, 0, 4, 0, -2, 0}, room[8];
    rt_cut_pixels(x, NULL, (rt_planes){2, 2, 2}, RT_CUT_NORM, 50, room);
    const float want[8] = {3, 0, 0, 0, 4, 0, -2, 0};
    CU_ASSERT_EQUAL(memcmp(x, want, sizeof x), 0);
    /* benefits |3 - 4|, 0, |-2 * 2|, 0 */
    float g[8] = {1, 9, 9, 9, -1, 9, 2, 9};
    rt_cut_pixels(x, g, (rt_planes){2, 2, 2}, RT_CUT_BENEFIT, 99, room);
    const float left[8] = {0, 0, 0, 0, 0, 0, -2, 0};
    CU_ASSERT_EQUAL(memcmp(x, left, sizeof x), 0);
    const float lo[2] = {-1, -1}, hi[2] = {1, 0.5f};
    float z[8] = {-3, 0, 1, 2, -3, 0, 1, 2};
    rt_clamp(z, (rt_planes){2, 2, 2}, lo, hi);
    const float in[8] = {-1, 0, 1, 1, -1, 0, 0.5f, 0.5f};
    CU_ASSERT_EQUAL(memcmp(z, in, sizeof z), 0);
}

static void resizes(void) {
    float x[N], y[4 * N];
    fill(x, N, 4);
    rt_planes_resize(x, size, y, H, W);
    CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
    const float line[2] = {0, 1};
    rt_planes_resize(line, (rt_planes){1, 1, 2}, y, 1, 4);
    const float want[4] = {0, 0.25f, 0.75f, 1};
    CU_ASSERT_EQUAL(memcmp(y, want, sizeof want), 0);
}

/* ---- steps ---- */

static void step_once(int rule, double rate, double limit, const float *g, float *x) {
    rt_climb c;
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(rt_climb_open(&c, rule, rate, 3, &err), 0);
    c.limit = limit;
    memset(x, 0, 3 * sizeof *x);
    rt_climb_step(&c, x, g);
    rt_climb_close(&c);
}

static void steps(void) {
    const float g[3] = {3, 0, -4}, none[3] = {0, 0, 0};
    float x[3];
    step_once(RT_STEP_PLAIN, 0.5, INFINITY, g, x);
    CU_ASSERT(x[0] == 1.5f && x[1] == 0 && x[2] == -2);
    step_once(RT_STEP_MEAN, 1.5, INFINITY, g, x); /* mean |step| is the rate */
    CU_ASSERT_DOUBLE_EQUAL(rt_mean_abs(x, 3), 1.5, 1e-6);
    step_once(RT_STEP_NORM, 2, INFINITY, g, x);
    CU_ASSERT_DOUBLE_EQUAL(rt_norm2(x, 3), 2, 1e-6);
    step_once(RT_STEP_SIGN, 0.25, INFINITY, g, x);
    CU_ASSERT(x[0] == 0.25f && x[1] == 0 && x[2] == -0.25f);
    step_once(RT_STEP_PROGRESS, 2, INFINITY, g, x); /* the value grows by 2 = <g, x> */
    CU_ASSERT_DOUBLE_EQUAL(3 * (double)x[0] - 4 * (double)x[2], 2, 1e-6);
    step_once(RT_STEP_PROGRESS, 2, 0.01, g, x);
    CU_ASSERT_DOUBLE_EQUAL(x[0], 0.03, 1e-8);
    step_once(RT_STEP_ADAM, 0.1, INFINITY, g, x); /* the first step has the length of the rate */
    CU_ASSERT_DOUBLE_EQUAL(x[0], 0.1, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(x[2], -0.1, 1e-6);
    step_once(RT_STEP_ADAGRAD, 0.5, INFINITY, g, x);
    CU_ASSERT_DOUBLE_EQUAL(x[0], 3 / (2.0 + 3), 1e-6);
    for (int rule = RT_STEP_PLAIN; rule <= RT_STEP_ADAGRAD; rule++) {
        step_once(rule, 1, INFINITY, none, x);
        CU_ASSERT(x[0] == 0 && x[1] == 0 && x[2] == 0);
    }
}

/* f = 100 (b - a^2)^2 + (1 - a)^2 of each pair */
static int rosenbrock(void *context, const float *x, double *value, float *g, rt_error *err) {
    int n = *(const int *)context;
    (void)err;
    *value = 0;
    for (int i = 0; i < n; i += 2) {
        double a = (double)x[i], b = (double)x[i + 1], bend = b - a * a;
        *value += 100 * bend * bend + (1 - a) * (1 - a);
        g[i] = (float)(-400 * a * bend - 2 * (1 - a));
        g[i + 1] = (float)(200 * bend);
    }
    return 0;
}

static void quasi_newton(void) {
    enum { PAIRS = 10 };
    float x[PAIRS];
    int n = PAIRS, moved = 1, steps = 0;
    for (int i = 0; i < n; i++)
        x[i] = i % 2 ? 1 : -1.2f;
    rt_lbfgs l;
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(rt_lbfgs_open(&l, rosenbrock, &n, x, n, 5, 0.1, &err), 0);
    double before = l.value;
    for (; moved && steps < 200; steps++) {
        CU_ASSERT_EQUAL(rt_lbfgs_step(&l, &moved, &err), 0);
        CU_ASSERT(l.value <= before);
        before = l.value;
    }
    CU_ASSERT(steps < 100);
    CU_ASSERT(l.value < 1e-7);
    for (int i = 0; i < n; i++)
        CU_ASSERT_DOUBLE_EQUAL(x[i], 1, 1e-3);
    rt_lbfgs_close(&l);
}

SUITE_MAIN(TEST(gradients), TEST(variation_known), TEST(blurs), TEST(rolls), TEST(scales),
           TEST(clips), TEST(resizes), TEST(steps), TEST(quasi_newton))
