/* rt_pixels.c: terms and changes of a picture in an optimisation (rt_pixels.h). */
#include "rt_pixels.h"

#include <math.h>
#include <string.h>

#include "rt_canvas.h"

void rt_plane_max(const float *x, rt_planes p, float *out) {
    int64_t plane = p.h * p.w;
    for (int64_t i = 0; i < plane; i++) {
        float top = 0;
        for (int64_t c = 0; c < p.c; c++)
            top = fmaxf(top, fabsf(x[c * plane + i]));
        out[i] = top;
    }
}

double rt_mean_abs(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)x[i]);
    return n > 0 ? sum / (double)n : 0;
}

double rt_norm2(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

double rt_tv(const float *x, rt_planes p, double beta, double weight, float *grad) {
    double total = 0;
    for (int64_t k = 0; k < p.c; k++)
        for (int64_t i = 0; i < p.h; i++)
            for (int64_t j = 0; j < p.w; j++) {
                int64_t at = (k * p.h + i) * p.w + j;
                double right = j + 1 < p.w ? (double)x[at + 1] - (double)x[at] : 0;
                double below = i + 1 < p.h ? (double)x[at + p.w] - (double)x[at] : 0;
                double square = right * right + below * below;
                if (square == 0)
                    continue;
                double value = beta == 2 ? square : pow(square, beta / 2);
                total += value;
                if (!grad)
                    continue;
                double slope = weight * beta * value / square;
                grad[at] -= (float)(slope * (right + below));
                if (j + 1 < p.w)
                    grad[at + 1] += (float)(slope * right);
                if (i + 1 < p.h)
                    grad[at + p.w] += (float)(slope * below);
            }
    return total;
}

double rt_alpha_norm(const float *x, int64_t n, double alpha, double weight, float *grad) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        double size = fabs((double)x[i]);
        if (size == 0)
            continue;
        double below = alpha == 2   ? size
                       : alpha == 6 ? size * size * size * size * size
                                    : pow(size, alpha - 1);
        total += below * size;
        if (grad)
            grad[i] += (float)(weight * alpha * (x[i] < 0 ? -below : below));
    }
    return total;
}

static double pixel_square(const float *x, rt_planes p, int64_t i) {
    double square = 0;
    for (int64_t k = 0; k < p.c; k++)
        square += (double)x[k * p.h * p.w + i] * (double)x[k * p.h * p.w + i];
    return square;
}

double rt_pixel_norm6(const float *x, rt_planes p, double weight, float *grad) {
    double total = 0;
    int64_t plane = p.h * p.w;
    for (int64_t i = 0; i < plane; i++) {
        double square = pixel_square(x, p, i);
        total += square * square * square;
        for (int64_t k = 0; grad && k < p.c; k++)
            grad[k * plane + i] += (float)(weight * 6 * square * square * (double)x[k * plane + i]);
    }
    return total;
}

void rt_pixel_box(float *x, rt_planes p, double most) {
    int64_t plane = p.h * p.w;
    for (int64_t i = 0; i < plane; i++) {
        double square = pixel_square(x, p, i);
        for (int64_t k = 0; k < p.c && square > most * most; k++)
            x[k * plane + i] *= (float)(most / sqrt(square));
    }
}

/* ---- blur ---- */

enum { BLUR_REACH = 256 };

/* Index at `i` of a line of n cells that is mirrored at both ends, edge cells twice. */
static int64_t mirrored(int64_t i, int64_t n) {
    int64_t turn = i % (2 * n);
    turn = turn < 0 ? turn + 2 * n : turn;
    return turn < n ? turn : 2 * n - 1 - turn;
}

/* dst line = src line blurred; cells lie `step` apart. */
static void blur_line(const float *src, float *dst, int64_t n, int64_t step, const double *tap,
                      int64_t reach) {
    for (int64_t i = 0; i < n; i++) {
        double sum = tap[0] * (double)src[i * step];
        for (int64_t k = 1; k <= reach; k++)
            sum += tap[k] * ((double)src[mirrored(i - k, n) * step] +
                             (double)src[mirrored(i + k, n) * step]);
        dst[i * step] = (float)sum;
    }
}

void rt_blur(float *x, rt_planes p, double sigma, float *room) {
    double tap[BLUR_REACH + 1], sum = 0;
    if (!(sigma > 0))
        return;
    int64_t reach = (int64_t)(4 * sigma + 0.5);
    reach = reach > BLUR_REACH ? BLUR_REACH : reach;
    for (int64_t k = 0; k <= reach; k++) {
        tap[k] = exp(-0.5 * (double)(k * k) / (sigma * sigma));
        sum += k ? 2 * tap[k] : tap[k];
    }
    for (int64_t k = 0; k <= reach; k++)
        tap[k] /= sum;
    for (int64_t k = 0; k < p.c; k++) {
        float *plane = x + k * p.h * p.w;
        for (int64_t i = 0; i < p.h; i++)
            blur_line(plane + i * p.w, room + i * p.w, p.w, 1, tap, reach);
        for (int64_t j = 0; j < p.w; j++)
            blur_line(room + j, plane + j, p.h, p.w, tap, reach);
    }
}

/* ---- moving and cutting ---- */

void rt_roll(float *x, rt_planes p, int64_t dy, int64_t dx, float *room) {
    dy = (dy % p.h + p.h) % p.h;
    dx = (dx % p.w + p.w) % p.w;
    if (dy == 0 && dx == 0)
        return;
    size_t head = (size_t)dx * sizeof *x, tail = (size_t)(p.w - dx) * sizeof *x;
    for (int64_t k = 0; k < p.c; k++)
        for (int64_t i = 0; i < p.h; i++) {
            const float *from = x + (k * p.h + i) * p.w;
            float *to = room + (k * p.h + (i + dy) % p.h) * p.w;
            memcpy(to + dx, from, tail);
            memcpy(to, from + (p.w - dx), head);
        }
    memcpy(x, room, (size_t)rt_planes_count(p) * sizeof *x);
}

/* The magnitude of rank k, from 0, of n numbers: the bits of floats that are not negative are ordered
 * as they are, and are found from the upper ones down, RADIX at a time. */
static float ranked(const float *x, int64_t n, int64_t k) {
    enum { RADIX = 8 };
    uint32_t found = 0, known = 0;
    for (int shift = 32 - RADIX; shift >= 0; shift -= RADIX) {
        int64_t count[1 << RADIX] = {0}, digit = 0;
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &x[i], sizeof bits);
            bits &= INT32_MAX; /* no sign */
            if ((bits & known) == found)
                count[bits >> shift & ((1u << RADIX) - 1)]++;
        }
        for (; k >= count[digit]; digit++)
            k -= count[digit];
        found |= (uint32_t)digit << shift;
        known |= ((1u << RADIX) - 1) << shift;
    }
    float value;
    memcpy(&value, &found, sizeof value);
    return value;
}

/* Value below which `percent` of the n numbers lie, linear between two ranks. */
static float percentile(const float *x, int64_t n, double percent) {
    double at = percent / 100 * (double)(n - 1);
    int64_t low = (int64_t)at;
    if (low >= n - 1)
        return ranked(x, n, n - 1);
    double part = at - (double)low;
    return (float)((1 - part) * (double)ranked(x, n, low) + part * (double)ranked(x, n, low + 1));
}

float rt_shown_scale(const float *x, int64_t n) {
    float bound = n < RT_SHOWN_LARGE ? 0 : ranked(x, n, n - 1 - n / 100);
    return bound > 0 ? bound : rt_max_abs(x, n);
}

void rt_cut_pixels(float *x, const float *grad, rt_planes p, int key, double percent, float *room) {
    int64_t plane = p.h * p.w;
    float *size = room;
    if (!(percent > 0) || plane < 1)
        return;
    for (int64_t i = 0; i < plane; i++) {
        double sum = 0;
        for (int64_t k = 0; k < p.c; k++) {
            double v = (double)x[k * plane + i];
            sum += key == RT_CUT_NORM ? v * v : v * (double)grad[k * plane + i];
        }
        size[i] = (float)(key == RT_CUT_NORM ? sqrt(sum) : fabs(sum));
    }
    float bound = percentile(size, plane, percent > 100 ? 100 : percent);
    for (int64_t i = 0; i < plane; i++)
        for (int64_t k = 0; k < p.c && size[i] < bound; k++)
            x[k * plane + i] = 0;
}

void rt_clamp(float *x, rt_planes p, const float *lo, const float *hi) {
    int64_t plane = p.h * p.w;
    for (int64_t k = 0; k < p.c; k++)
        for (int64_t i = k * plane; i < (k + 1) * plane; i++)
            x[i] = x[i] < lo[k] ? lo[k] : x[i] > hi[k] ? hi[k] : x[i];
}

/* Where cell `i` of a line resized from n to m cells reads: two cells and the second one's share.
 */
static double source_of(int64_t i, int64_t n, int64_t m, int64_t *a, int64_t *b) {
    double at = ((double)i + 0.5) * (double)n / (double)m - 0.5;
    at = at < 0 ? 0 : at > (double)(n - 1) ? (double)(n - 1) : at;
    *a = (int64_t)at;
    *b = *a + 1 < n ? *a + 1 : *a;
    return at - (double)*a;
}

void rt_planes_resize(const float *src, rt_planes p, float *dst, int64_t h, int64_t w) {
    for (int64_t k = 0; k < p.c; k++)
        for (int64_t i = 0; i < h; i++) {
            int64_t y0, y1, x0, x1;
            double fy = source_of(i, p.h, h, &y0, &y1);
            const float *up = src + (k * p.h + y0) * p.w, *down = src + (k * p.h + y1) * p.w;
            for (int64_t j = 0; j < w; j++) {
                double fx = source_of(j, p.w, w, &x0, &x1);
                double a = (1 - fx) * (double)up[x0] + fx * (double)up[x1];
                double b = (1 - fx) * (double)down[x0] + fx * (double)down[x1];
                dst[(k * h + i) * w + j] = (float)((1 - fy) * a + fy * b);
            }
        }
}
