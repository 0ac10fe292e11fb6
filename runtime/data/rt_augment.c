/* rt_augment.c: random changes of training samples (rt_augment.h).
 *
 * Each amount is uniform between its bounds, those of PCA colour are normal.  Counters of the
 * stream RT_RNG_AUGMENT: 0 mirroring (rt_feed.c), 1 and 2 affine and colours, 3 sound, 4 PCA
 * colour, 5 to 15 places (rt_place.c), from 2^16 on elastic: a new kind of change never alters the
 * others. Source: Simard, Steinkraus and Platt 2003 (affine and elastic distortions); Howard 2013
 * (contrast, brightness, colour as blends with grey); Krizhevsky, Sutskever, Hinton 2012,
 * section 4.1 (PCA).
 */
#include "rt_augment.h"

#include <math.h>
#include <string.h>

#include "rt_abi.h"
#include "rt_place.h"
#include "rt_rng.h"

enum { COUNTER_AFFINE = 1, COUNTER_SOUND = 3, COUNTER_PCA = 4, COUNTER_ELASTIC = 1 << 16 };
enum { MAX_RADIUS = 192 }; /* of the Gaussian: 3 x the largest sigma */

static int moves(const float *a) {
    return a[RT_AUGMENT_TRANSLATE] != 0 || a[RT_AUGMENT_SCALE_LO] != 0 ||
           a[RT_AUGMENT_ROTATE] != 0 || a[RT_AUGMENT_SHEAR] != 0 || a[RT_AUGMENT_ELASTIC] != 0;
}

static int colours_asked(const float *a) {
    return a[RT_AUGMENT_BRIGHTNESS] != 0 || a[RT_AUGMENT_CONTRAST] != 0 ||
           a[RT_AUGMENT_COLOUR] != 0 || a[RT_AUGMENT_PCA] != 0;
}

int rt_augment_here(const float *a) {
    float lo = a[RT_AUGMENT_SCALE_LO], hi = a[RT_AUGMENT_SCALE_HI];
    float b[RT_AUGMENT_COUNT];
    memcpy(b, a, sizeof b);
    if ((lo == 0 || lo == 1) && (hi == 0 || hi == 1))
        b[RT_AUGMENT_SCALE_LO] = 0;
    return moves(b) || colours_asked(b);
}

int rt_augment_any(const float *a) {
    return rt_augment_here(a) || a[RT_AUGMENT_CROP] != 0 || rt_place_fresh(a) ||
           a[RT_AUGMENT_SHIFT] != 0 || a[RT_AUGMENT_GAIN] != 0;
}

int64_t rt_augment_room(const struct rt_prep *p) {
    return (2 + (p->channels < 4 ? p->channels : 4)) * (int64_t)p->height * p->width;
}

static void draw(uint64_t seed, int64_t epoch, int64_t sample, uint32_t counter, uint32_t r[4]) {
    rt_rng_block(rt_rng_make(seed, RT_RNG_AUGMENT), (uint32_t)epoch, (uint32_t)sample,
                 (uint32_t)(sample >> 32), counter, r);
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

/* Half of a Gaussian that sums to 1 and ends at 3 sigma; returns its radius. */
static int gaussian(float sigma, float weight[MAX_RADIUS + 1]) {
    int radius = (int)ceil(3 * (double)sigma);
    double sum = 0, w[MAX_RADIUS + 1];
    radius = radius > MAX_RADIUS ? MAX_RADIUS : radius;
    for (int k = 0; k <= radius; k++) {
        w[k] = sigma > 0 ? exp(-0.5 * k * k / ((double)sigma * (double)sigma)) : 1;
        sum += k ? 2 * w[k] : w[k];
    }
    for (int k = 0; k <= radius; k++)
        weight[k] = (float)(w[k] / sum);
    return radius;
}

/* dst = src filtered along y (rows of w) and, from tmp, along x; zeros around it.  Sums run over k
 * in the order of distance for all pixels alike. */
static void blur(float *field, float *tmp, int h, int w, const float *weight, int radius) {
    for (int y = 0; y < h; y++) {
        float *d = tmp + (int64_t)y * w;
        const float *s = field + (int64_t)y * w;
        for (int x = 0; x < w; x++)
            d[x] = s[x] * weight[0];
        for (int k = 1; k <= radius; k++) {
            const float *up = y - k >= 0 ? s - (int64_t)k * w : NULL;
            const float *down = y + k < h ? s + (int64_t)k * w : NULL;
            for (int x = 0; up && x < w; x++)
                d[x] += up[x] * weight[k];
            for (int x = 0; down && x < w; x++)
                d[x] += down[x] * weight[k];
        }
    }
    for (int y = 0; y < h; y++) {
        float *d = field + (int64_t)y * w;
        const float *s = tmp + (int64_t)y * w;
        for (int x = 0; x < w; x++)
            d[x] = s[x] * weight[0];
        for (int k = 1; k <= radius && k < w; k++) {
            for (int x = k; x < w; x++)
                d[x] += s[x - k] * weight[k];
            for (int x = 0; x < w - k; x++)
                d[x] += s[x + k] * weight[k];
        }
    }
}

/* Displacements in pixels: uniform noise of -1 .. 1 per pixel, filtered, times alpha.  field: two
 * planes, x before y; tmp: one.  A series is not bent along its height. */
static void elastic(const float *a, const struct rt_prep *p, uint64_t seed, int64_t epoch,
                    int64_t sample, float *field, float *tmp) {
    int64_t plane = (int64_t)p->height * p->width;
    float weight[MAX_RADIUS + 1], alpha = a[RT_AUGMENT_ELASTIC];
    int radius = gaussian(a[RT_AUGMENT_SIGMA], weight);
    for (int64_t i = 0; i < 2 * plane; i += 4) {
        uint32_t r[4];
        draw(seed, epoch, sample, COUNTER_ELASTIC + (uint32_t)(i / 4), r);
        for (int k = 0; k < 4 && i + k < 2 * plane; k++)
            field[i + k] = 2 * rt_rng_unit(r[k]) - 1;
    }
    for (int axis = 0; axis < 2; axis++) {
        float *f = field + axis * plane;
        int still = axis == 1 && p->height == 1;
        blur(f, tmp, p->height, p->width, weight, radius);
        for (int64_t i = 0; i < plane; i++)
            f[i] = still ? 0 : f[i] * alpha;
    }
}

/* Where the pixel (x, y) of the result comes from: m ((x, y) - centre - t) + centre + bend. */
struct warp {
    double m[4], tx, ty;
    const float *bend; /* two planes or NULL */
};

static void source(const struct warp *q, int h, int w, int x, int y, double *sx, double *sy) {
    double cx = (w - 1) / 2.0, cy = (h - 1) / 2.0, dx = x - cx - q->tx, dy = y - cy - q->ty;
    int64_t i = (int64_t)y * w + x;
    *sx = q->m[0] * dx + q->m[1] * dy + cx + (q->bend ? (double)q->bend[i] : 0);
    *sy = q->m[2] * dx + q->m[3] * dy + cy + (q->bend ? (double)q->bend[i + (int64_t)h * w] : 0);
}

/* floor() of a number above -1; a call of the C library per pixel would cost more than the rest. */
static int floor_of(double v) {
    int i = (int)v;
    return i - (v < (double)i);
}

/* All planes of src (planes of h * w) to dst; outside[plane] around them. */
static void warp(const struct warp *q, const float *src, float *dst, int planes, int h, int w,
                 const float *outside) {
    int64_t plane = (int64_t)h * w;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, dst++) {
            double sx, sy;
            source(q, h, w, x, y, &sx, &sy);
            int inside = sx > -1 && sx < w && sy > -1 && sy < h;
            int ix = inside ? floor_of(sx) : 0, iy = inside ? floor_of(sy) : 0;
            float fx = (float)(sx - ix), fy = (float)(sy - iy);
            for (int c = 0; c < planes; c++) {
                const float *s = src + c * plane;
                float out = outside[c];
                if (!inside) {
                    dst[c * plane] = out;
                    continue;
                }
                float top = at(s, h, w, iy, ix, out) * (1 - fx) + at(s, h, w, iy, ix + 1, out) * fx;
                float low =
                    at(s, h, w, iy + 1, ix, out) * (1 - fx) + at(s, h, w, iy + 1, ix + 1, out) * fx;
                dst[c * plane] = top * (1 - fy) + low * fy;
            }
        }
}

/* Classes have no mean: the nearest pixel's, -1 outside.  src: a copy of map. */
static void warp_map(const struct warp *q, const int32_t *src, int32_t *map, int h, int w) {
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double sx, sy;
            source(q, h, w, x, y, &sx, &sy);
            int inside = sx > -0.5 && sx < w - 0.5 && sy > -0.5 && sy < h - 0.5;
            int64_t from = inside ? (int64_t)floor(sy + 0.5) * w + (int64_t)floor(sx + 0.5) : 0;
            map[(int64_t)y * w + x] = inside ? src[from] : -1;
        }
}

void rt_affine_planes(const float *src, int planes, int h, int w, double degrees, double scale,
                      double ty, double tx, const float *outside, float *dst) {
    double turn = degrees * (3.14159265358979323846 / 180), c = cos(turn), d = sin(turn);
    struct warp q = {.m = {c / scale, -d / scale, d / scale, c / scale}, .tx = tx, .ty = ty};
    warp(&q, src, dst, planes, h, w, outside);
}

static void affine(const float *a, int line, const uint32_t r[2][4], struct warp *q) {
    const double degree = 3.14159265358979323846 / 180;
    double lo = a[RT_AUGMENT_SCALE_LO] > 0 ? (double)a[RT_AUGMENT_SCALE_LO] : 1;
    double hi = a[RT_AUGMENT_SCALE_HI] > 0 ? (double)a[RT_AUGMENT_SCALE_HI] : 1;
    double s = lo + (hi - lo) * (double)rt_rng_unit(r[0][2]);
    double turn = line ? 0 : around(r[0][3], a[RT_AUGMENT_ROTATE]) * degree;
    double k = line ? 0 : tan(around(r[1][0], a[RT_AUGMENT_SHEAR]) * degree);
    double c = cos(turn), d = sin(turn);
    q->tx = around(r[0][0], a[RT_AUGMENT_TRANSLATE]);
    q->ty = line ? 0 : around(r[0][1], a[RT_AUGMENT_TRANSLATE]);
    /* the inverse of s * turn * shear, whose determinant is s^2 */
    q->m[0] = (k * d + c) / s;
    q->m[1] = (d - k * c) / s;
    q->m[2] = -d / s;
    q->m[3] = line ? 1 : c / s;
}

/* scratch: two planes of bends, then a copy of as many planes as are moved at a time. */
static void move(const struct rt_prep *p, int real, float outside, const struct warp *q, float *chw,
                 int32_t *map, float *scratch) {
    int64_t plane = (int64_t)p->height * p->width;
    float *copy = scratch + 2 * plane, out[4];
    for (int first = 0; first < p->channels; first += 4) {
        int n = p->channels - first < 4 ? p->channels - first : 4;
        for (int c = 0; c < n; c++)
            out[c] =
                ((real ? outside : p->lo) - p->mean[channel(p, first + c)]) / std_of(p, first + c);
        memcpy(copy, chw + first * plane, (size_t)(n * plane) * sizeof *chw);
        warp(q, copy, chw + first * plane, n, p->height, p->width, out);
    }
    if (map) {
        memcpy(copy, map, (size_t)plane * sizeof *map);
        warp_map(q, (const int32_t *)(const void *)copy, map, p->height, p->width);
    }
}

/* What PCA colour adds to each colour: sum over k of matrix[colour][k] * N(0, std). */
static void pca_shift(const float *a, const struct rt_prep *p, uint64_t seed, int64_t epoch,
                      int64_t sample, float add[3]) {
    uint32_t r[4];
    float n[4];
    add[0] = add[1] = add[2] = 0;
    if (a[RT_AUGMENT_PCA] == 0 || p->channels != 3)
        return;
    draw(seed, epoch, sample, COUNTER_PCA, r);
    rt_rng_normal2(r[0], r[1], n);
    rt_rng_normal2(r[2], r[3], n + 2);
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 3; k++)
            add[c] += a[RT_AUGMENT_PCA_MATRIX + 3 * c + k] * (n[k] * a[RT_AUGMENT_PCA]);
}

static void colours(const float *a, const struct rt_prep *p, const uint32_t r[2][4],
                    const float add[3], float *chw) {
    int64_t plane = (int64_t)p->height * p->width;
    int n = p->channels;
    float range = p->hi - p->lo, low = fminf(p->lo, p->hi), high = fmaxf(p->lo, p->hi);
    float bright = (float)around(r[1][1], a[RT_AUGMENT_BRIGHTNESS]) * range;
    float contrast = 1 + (float)around(r[1][2], a[RT_AUGMENT_CONTRAST]);
    float colour = 1 + (float)around(r[1][3], a[RT_AUGMENT_COLOUR]);
    double sum = 0;
    for (int q = 0; q < n; q++) { /* back to the scale of pixels */
        float pca = n == 3 ? add[channel(p, q)] * range : 0;
        for (int64_t i = 0; i < plane; i++) {
            float *v = &chw[q * plane + i];
            *v = *v * std_of(p, q) + p->mean[channel(p, q)] + pca;
            sum += (double)*v;
        }
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

void rt_augment_apply(const float *a, const struct rt_prep *prep, int real, float outside,
                      uint64_t seed, int64_t epoch, int64_t sample, float *chw, int32_t *map,
                      float *scratch) {
    uint32_t r[2][4];
    int64_t plane = (int64_t)prep->height * prep->width;
    draw(seed, epoch, sample, COUNTER_AFFINE, r[0]);
    draw(seed, epoch, sample, COUNTER_AFFINE + 1, r[1]);
    if (moves(a)) {
        struct warp q = {.bend = a[RT_AUGMENT_ELASTIC] != 0 ? scratch : NULL};
        affine(a, prep->height == 1, (const uint32_t(*)[4])r, &q);
        if (q.bend)
            elastic(a, prep, seed, epoch, sample, scratch, scratch + 2 * plane);
        move(prep, real, outside, &q, chw, map, scratch);
    }
    if (!real && colours_asked(a)) {
        float add[3];
        pca_shift(a, prep, seed, epoch, sample, add);
        colours(a, prep, (const uint32_t(*)[4])r, add, chw);
    }
}

void rt_augment_sound(const float *a, uint64_t seed, int64_t epoch, int64_t sample, double *seconds,
                      double *gain) {
    uint32_t r[4];
    draw(seed, epoch, sample, COUNTER_SOUND, r);
    *seconds = around(r[0], a[RT_AUGMENT_SHIFT]);
    *gain = pow(10, around(r[1], a[RT_AUGMENT_GAIN]) / 20);
}

/* Jacobi's rotations: 3 x 3 needs few sweeps. */
void rt_augment_pca(const double covariance[3][3], float matrix[9]) {
    double s[3][3], v[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    memcpy(s, covariance, sizeof s);
    for (int sweep = 0; sweep < 32; sweep++)
        for (int i = 0; i < 2; i++)
            for (int j = i + 1; j < 3; j++) {
                if (s[i][j] == 0)
                    continue;
                double theta = (s[j][j] - s[i][i]) / (2 * s[i][j]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), d = t * c;
                for (int k = 0; k < 3; k++) { /* columns of s and v */
                    double x = s[k][i], y = s[k][j], e = v[k][i], f = v[k][j];
                    s[k][i] = c * x - d * y;
                    s[k][j] = d * x + c * y;
                    v[k][i] = c * e - d * f;
                    v[k][j] = d * e + c * f;
                }
                for (int k = 0; k < 3; k++) { /* rows of s */
                    double x = s[i][k], y = s[j][k];
                    s[i][k] = c * x - d * y;
                    s[j][k] = d * x + c * y;
                }
            }
    for (int k = 0; k < 3; k++) {
        double sign = v[0][k] + v[1][k] + v[2][k] < 0 ? -1 : 1;
        for (int c = 0; c < 3; c++)
            matrix[3 * c + k] = (float)(sign * v[c][k] * s[k][k]);
    }
}
