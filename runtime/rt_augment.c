/* rt_augment.c: random changes of training samples (rt_augment.h).
 *
 * Each amount is uniform between its bounds.  The numbers come from counters 1 and 2 of the stream
 * whose counter 0 decides about mirroring (rt_feed.c), so a new kind of change never alters the
 * others.
 * Source: Simard, Steinkraus and Platt 2003 (affine distortions); Howard 2013 (contrast,
 * brightness, colour as blends with grey).
 */
#include "rt_augment.h"

#include <math.h>
#include <string.h>

#include "rt_abi.h"
#include "rt_rng.h"

int rt_augment_any(const float *a) {
    for (int k = 0; k < RT_AUGMENT_COUNT; k++)
        if (k == RT_AUGMENT_SCALE_LO || k == RT_AUGMENT_SCALE_HI ? a[k] != 0 && a[k] != 1
                                                                 : a[k] != 0)
            return 1;
    return 0;
}

/* -most .. most */
static double around(uint32_t bits, float most) {
    return (2.0 * (double)rt_rng_unit(bits) - 1.0) * (double)most;
}

static int channel(const struct rt_prep *p, int plane) {
    return p->bgr && p->channels == 3 ? 2 - plane : plane < 4 ? plane : 0;
}

static float std_of(const struct rt_prep *p, int plane) {
    float s = p->std[channel(p, plane)];
    return s != 0 ? s : 1.0f;
}

static float at(const float *src, int h, int w, int y, int x, float outside) {
    return x >= 0 && x < w && y >= 0 && y < h ? src[(int64_t)y * w + x] : outside;
}

/* dst(x, y) = src(m (x - cx - tx, y - cy - ty) + (cx, cy)), bilinear. */
static void warp(const float *src, float *dst, int h, int w, const double m[4], double tx,
                 double ty, float outside) {
    double cx = (w - 1) / 2.0, cy = (h - 1) / 2.0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, dst++) {
            double dx = x - cx - tx, dy = y - cy - ty;
            double sx = m[0] * dx + m[1] * dy + cx, sy = m[2] * dx + m[3] * dy + cy;
            if (!(sx > -1 && sx < w && sy > -1 && sy < h)) {
                *dst = outside;
                continue;
            }
            int ix = (int)floor(sx), iy = (int)floor(sy);
            float fx = (float)(sx - ix), fy = (float)(sy - iy);
            float top =
                at(src, h, w, iy, ix, outside) * (1 - fx) + at(src, h, w, iy, ix + 1, outside) * fx;
            float low = at(src, h, w, iy + 1, ix, outside) * (1 - fx) +
                        at(src, h, w, iy + 1, ix + 1, outside) * fx;
            *dst = top * (1 - fy) + low * fy;
        }
}

static void move(const float *a, const struct rt_prep *p, int real, const uint32_t r[2][4],
                 float *chw, float *scratch) {
    const double degree = 3.14159265358979323846 / 180;
    int64_t plane = (int64_t)p->height * p->width;
    int line = p->height == 1; /* a series can only be moved and stretched */
    double lo = a[RT_AUGMENT_SCALE_LO] > 0 ? (double)a[RT_AUGMENT_SCALE_LO] : 1;
    double hi = a[RT_AUGMENT_SCALE_HI] > 0 ? (double)a[RT_AUGMENT_SCALE_HI] : 1;
    double s = lo + (hi - lo) * (double)rt_rng_unit(r[0][2]);
    double turn = line ? 0 : around(r[0][3], a[RT_AUGMENT_ROTATE]) * degree;
    double k = line ? 0 : tan(around(r[1][0], a[RT_AUGMENT_SHEAR]) * degree);
    double c = cos(turn), d = sin(turn), tx = around(r[0][0], a[RT_AUGMENT_TRANSLATE]),
           ty = line ? 0 : around(r[0][1], a[RT_AUGMENT_TRANSLATE]);
    /* the inverse of s * turn * shear, whose determinant is s^2 */
    double m[4] = {(k * d + c) / s, (d - k * c) / s, -d / s, c / s};
    if (line)
        m[3] = 1;
    for (int q = 0; q < p->channels; q++, chw += plane) {
        float zero = real ? 0 : p->lo, outside = (zero - p->mean[channel(p, q)]) / std_of(p, q);
        memcpy(scratch, chw, (size_t)plane * sizeof *chw);
        warp(scratch, chw, p->height, p->width, m, tx, ty, outside);
    }
}

static void colours(const float *a, const struct rt_prep *p, const uint32_t r[2][4], float *chw) {
    int64_t plane = (int64_t)p->height * p->width;
    int n = p->channels;
    float range = p->hi - p->lo, low = fminf(p->lo, p->hi), high = fmaxf(p->lo, p->hi);
    float bright = (float)around(r[1][1], a[RT_AUGMENT_BRIGHTNESS]) * range;
    float contrast = 1 + (float)around(r[1][2], a[RT_AUGMENT_CONTRAST]);
    float colour = 1 + (float)around(r[1][3], a[RT_AUGMENT_COLOUR]);
    double sum = 0;
    for (int q = 0; q < n; q++) /* back to the scale of pixels */
        for (int64_t i = 0; i < plane; i++) {
            float *v = &chw[q * plane + i];
            *v = *v * std_of(p, q) + p->mean[channel(p, q)];
            sum += (double)*v;
        }
    float mean = (float)(sum / (double)(plane * n));
    for (int64_t i = 0; i < plane; i++) {
        float grey = 0;
        for (int q = 0; q < n; q++)
            grey += chw[q * plane + i] / (float)n;
        for (int q = 0; q < n; q++) {
            float v = grey + (chw[q * plane + i] - grey) * colour;
            v = fminf(fmaxf(mean + (v - mean) * contrast + bright, low), high);
            chw[q * plane + i] = (v - p->mean[channel(p, q)]) / std_of(p, q);
        }
    }
}

void rt_augment_apply(const float *a, const struct rt_prep *prep, int real, uint64_t seed,
                      int64_t epoch, int64_t sample, float *chw, float *scratch) {
    uint32_t r[2][4];
    rt_rng rng = rt_rng_make(seed, RT_RNG_AUGMENT);
    for (uint32_t k = 0; k < 2; k++)
        rt_rng_block(rng, (uint32_t)epoch, (uint32_t)sample, (uint32_t)(sample >> 32), k + 1, r[k]);
    if (a[RT_AUGMENT_TRANSLATE] != 0 || a[RT_AUGMENT_SCALE_LO] != 0 || a[RT_AUGMENT_ROTATE] != 0 ||
        a[RT_AUGMENT_SHEAR] != 0)
        move(a, prep, real, (const uint32_t(*)[4])r, chw, scratch);
    if (!real &&
        (a[RT_AUGMENT_BRIGHTNESS] != 0 || a[RT_AUGMENT_CONTRAST] != 0 || a[RT_AUGMENT_COLOUR] != 0))
        colours(a, prep, (const uint32_t(*)[4])r, chw);
}
