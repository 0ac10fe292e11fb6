/* test_rt_rbm.c: the machine against enumeration of all its states: what each v makes probable, free
 * energies and their derivatives, and the mean of CD-1 of a machine of two units.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_rbm.h"
#include "suite.h"

enum { MAPS = 2, SIDE = 3, SEEN = SIDE * SIDE, KERNEL = 4, CELLS = 4 };

static double number(int i) { return sin(1 + 1.7 * i); }

static void small(rt_rbm *r, int gaussian) {
    rt_error err = {0};
    *r = (rt_rbm){.channels = 1, .h = SIDE, .w = SIDE, .maps = MAPS, .kh = 2, .kw = 2, .pool = 2,
                  .gaussian = gaussian};
    CU_ASSERT_EQUAL_FATAL(rt_rbm_open(r, &err), 0);
    CU_ASSERT(r->oh == 2 && r->ow == 2);
    for (int i = 0; i < MAPS * KERNEL; i++)
        r->weight[i] = (float)number(i);
    for (int k = 0; k < MAPS; k++)
        r->bias[k] = (float)number(20 + k);
    r->visible[0] = 0.375f;
}

/* E of a picture and, per map, the cell that is on (CELLS: none); d: its derivatives -dE. */
static double energy(const rt_rbm *r, const float *v, const int on[MAPS], double *d) {
    double e = 0, c = (double)r->visible[0];
    memset(d, 0, (MAPS * KERNEL + MAPS + 1) * sizeof *d);
    for (int i = 0; i < SEEN; i++) {
        double x = (double)v[i];
        e += r->gaussian ? (x - c) * (x - c) / 2 : -c * x;
        d[MAPS * KERNEL + MAPS] += r->gaussian ? x - c : x;
    }
    for (int k = 0; k < MAPS; k++) {
        if (on[k] == CELLS)
            continue;
        for (int t = 0; t < KERNEL; t++) {
            double x = (double)v[(on[k] / 2 + t / 2) * SIDE + on[k] % 2 + t % 2];
            e -= (double)r->weight[k * KERNEL + t] * x;
            d[k * KERNEL + t] += x;
        }
        e -= (double)r->bias[k];
        d[MAPS * KERNEL + k] += 1;
    }
    return e;
}

static void enumerated(void) {
    enum { ALL = MAPS * KERNEL + MAPS + 1 };
    for (int gaussian = 0; gaussian < 2; gaussian++) {
        rt_rbm r;
        small(&r, gaussian);
        for (int picture = 0; picture < 20; picture++) {
            float v[SEEN], p[MAPS * CELLS], got[ALL] = {0};
            double all = 0, want[MAPS * CELLS] = {0}, slope[ALL] = {0}, d[ALL];
            for (int i = 0; i < SEEN; i++)
                v[i] = gaussian ? (float)number(picture * 10 + i) : (float)((picture * 25 >> i) & 1);
            for (int a = 0; a <= CELLS; a++)
                for (int b = 0; b <= CELLS; b++) {
                    double weight = exp(-energy(&r, v, (int[]){a, b}, d));
                    all += weight;
                    for (int i = 0; i < ALL; i++)
                        slope[i] += weight * d[i];
                    if (a < CELLS)
                        want[a] += weight;
                    if (b < CELLS)
                        want[CELLS + b] += weight;
                }
            CU_ASSERT_DOUBLE_EQUAL(rt_rbm_free_energy(&r, v, p), -log(all), 2e-6);
            rt_rbm_expect(&r, v, p);
            for (int i = 0; i < MAPS * CELLS; i++)
                CU_ASSERT_DOUBLE_EQUAL((double)p[i], want[i] / all, 1e-6);
            rt_rbm_gather(&r, v, p, 1, got, got + MAPS * KERNEL, got + MAPS * KERNEL + MAPS);
            for (int i = 0; i < ALL; i++)
                CU_ASSERT_DOUBLE_EQUAL((double)got[i], slope[i] / all, 3e-6);
        }
        rt_rbm_close(&r);
    }
}

/* One cell at most in a block, as often as it should be; v is the mean of what h makes probable. */
static void drawn(void) {
    enum { DRAWS = 20000 };
    rt_rbm r;
    float v[SEEN] = {1, 0, 1, 1, 0, 0, 1, 1, 1}, p[MAPS * CELLS], h[MAPS * CELLS], again[SEEN];
    int count[MAPS * CELLS] = {0};
    small(&r, 0);
    rt_rbm_expect(&r, v, p);
    for (uint32_t i = 0; i < DRAWS; i++) {
        rt_rbm_draw(&r, p, rt_rng_make(3, RT_RNG_TEST), i, 5, h);
        for (int k = 0; k < MAPS; k++) {
            int on = 0;
            for (int q = 0; q < CELLS; q++) {
                on += h[k * CELLS + q] > 0;
                count[k * CELLS + q] += h[k * CELLS + q] > 0;
            }
            CU_ASSERT(on <= 1);
        }
    }
    for (int i = 0; i < MAPS * CELLS; i++) {
        double want = (double)p[i], deviation = sqrt(want * (1 - want) / (double)DRAWS);
        CU_ASSERT(fabs(count[i] / (double)DRAWS - want) < 4 * deviation);
    }
    memset(h, 0, sizeof h);
    h[3] = 1; /* map 0, cell (1, 1): its kernel lies on rows and columns 1 and 2 */
    rt_rbm_dream(&r, h, again);
    CU_ASSERT_DOUBLE_EQUAL(again[0], 1 / (1 + exp(-0.375)), 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(again[5], 1 / (1 + exp(-0.375 - (double)r.weight[1])), 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(again[8], 1 / (1 + exp(-0.375 - (double)r.weight[3])), 1e-6);
    rt_rbm_close(&r);
}

/* Two units, v = 1: CD-1's mean is P(h) - sum over h of P(h | v) v'(h) P(h | v'(h)). */
static void two_units(void) {
    enum { DRAWS = 20000 };
    rt_error err = {0};
    rt_rbm r = {.channels = 1, .h = 1, .w = 1, .maps = 1, .kh = 1, .kw = 1, .pool = 1};
    CU_ASSERT_EQUAL_FATAL(rt_rbm_open(&r, &err), 0);
    r.weight[0] = 1.25f, r.bias[0] = -0.5f, r.visible[0] = 0.25f;
    double p = 1 / (1 + exp(-0.75)), want = p, square = 0, mean = 0;
    for (int h = 0; h < 2; h++) {
        double v = 1 / (1 + exp(-0.25 - 1.25 * h));
        want -= (h ? p : 1 - p) * v / (1 + exp(0.5 - 1.25 * v));
    }
    for (uint32_t i = 0; i < DRAWS; i++) {
        float v = 1, room[3], w, b, c, on;
        rt_rbm_contrast(&r, &v, rt_rng_make(4, RT_RNG_TEST), i, 0, room, &w, &b, &c, &on);
        CU_ASSERT_DOUBLE_EQUAL((double)on, p, 1e-6);
        mean += (double)w / (double)DRAWS;
        square += (double)w * (double)w / (double)DRAWS;
    }
    CU_ASSERT(fabs(mean - want) < 4 * sqrt((square - mean * mean) / (double)DRAWS));
    rt_rbm_close(&r);
}

SUITE_MAIN(TEST(enumerated), TEST(drawn), TEST(two_units))
