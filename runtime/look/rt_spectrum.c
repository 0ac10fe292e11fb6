/* rt_spectrum.c: pictures by frequencies and independent colours (rt_spectrum.h). */
#include "rt_spectrum.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"

/* Columns: the directions in which colours of photographs vary (eigenvectors of the covariance of
 * red, green and blue, times the square roots of their eigenvalues, the largest column of length 1);
 * rows red, green, blue.  Computed by us from 12 photographs, 128 x 128 pixels of each. */
static const double colours[3][3] = {{0.5597, 0.2654, 0.0527},
                                     {0.5760, -0.0327, -0.1397},
                                     {0.5958, -0.2176, 0.0854}};

int rt_spectrum_open(rt_spectrum *s, rt_planes size, int64_t spare, int bgr, int threads,
                     rt_error *err) {
    *s = (rt_spectrum){.size = size, .bgr = bgr};
    s->h = rt_fft_size(size.h + spare);
    s->w = rt_fft_size(size.w + spare);
    int64_t plane = s->h * s->w, longer = s->h > s->w ? s->h : s->w;
    if (rt_fft_open(&s->rows, s->w, err) || rt_fft_open(&s->columns, s->h, err))
        return err->code;
    s->light_room = plane * size.c;
    s->room_room = 2 * plane + longer;
    s->scale = rt_alloc((size_t)plane, sizeof *s->scale, "frequencies", err);
    if (s->scale)
        s->light = rt_alloc((size_t)(s->light_room * threads), sizeof *s->light, "a picture", err);
    if (s->light)
        s->room = rt_alloc((size_t)(s->room_room * threads), sizeof *s->room, "frequencies", err);
    for (int64_t i = 0; !err->code && i < plane; i++) {
        int64_t ky = i / s->w, kx = i % s->w;
        double fy = (double)(ky < s->h - ky ? ky : s->h - ky) / (double)s->h;
        double fx = (double)(kx < s->w - kx ? kx : s->w - kx) / (double)s->w;
        s->scale[i] = (float)(1 / (4 * fmax(sqrt(fy * fy + fx * fx), 1 / (double)longer)));
    }
    return err->code;
}

void rt_spectrum_close(rt_spectrum *s) {
    rt_fft_close(&s->rows);
    rt_fft_close(&s->columns);
    rt_free(s->scale);
    rt_free(s->light);
    rt_free(s->room);
    s->scale = s->light = NULL;
    s->room = NULL;
}

int64_t rt_spectrum_count(const rt_spectrum *s) {
    return s->size.c * s->h * s->w;
}

static double mix(const rt_spectrum *s, int64_t plane, int64_t k) {
    if (s->size.c != 3)
        return plane == k;
    return colours[s->bgr ? 2 - plane : plane][k];
}

/* to[plane] = sum over k of M[plane][k] x[k], or of M[k][plane] x[k], in place. */
static void mix_planes(const rt_spectrum *s, float *x, int back) {
    int64_t plane = s->h * s->w, n = s->size.c;
    if (n != 3)
        return;
    for (int64_t i = 0; i < plane; i++) {
        double in[3] = {(double)x[i], (double)x[plane + i], (double)x[2 * plane + i]};
        for (int64_t c = 0; c < 3; c++) {
            double sum = 0;
            for (int64_t k = 0; k < 3; k++)
                sum += (back ? mix(s, k, c) : mix(s, c, k)) * in[k];
            x[c * plane + i] = (float)sum;
        }
    }
}

static int64_t cell(const rt_spectrum *s, int64_t k, int64_t y, int64_t x) {
    return (k * s->h + y % s->h) * s->w + x % s->w;
}

void rt_spectrum_paint(const rt_spectrum *s, int thread, const float *c, int64_t dy, int64_t dx,
                       float *pixel) {
    int64_t plane = s->h * s->w;
    float *all = s->light + thread * s->light_room;
    for (int64_t k = 0; k < s->size.c; k++) {
        float *light = all + k * plane;
        for (int64_t i = 0; i < plane; i++)
            light[i] = s->scale[i] * c[k * plane + i];
        rt_hartley(&s->rows, &s->columns, light, s->room + thread * s->room_room);
    }
    mix_planes(s, all, 0);
    for (int64_t k = 0; k < s->size.c; k++)
        for (int64_t y = 0; y < s->size.h; y++)
            for (int64_t x = 0; x < s->size.w; x++)
                pixel[(k * s->size.h + y) * s->size.w + x] =
                    (float)(255 / (1 + exp(-(double)all[cell(s, k, y + dy, x + dx)])));
}

void rt_spectrum_back(const rt_spectrum *s, int thread, const float *pixel, const float *g, int64_t dy,
                      int64_t dx, float *gc) {
    int64_t plane = s->h * s->w;
    memset(gc, 0, (size_t)(plane * s->size.c) * sizeof *gc);
    for (int64_t k = 0; k < s->size.c; k++)
        for (int64_t y = 0; y < s->size.h; y++)
            for (int64_t x = 0; x < s->size.w; x++) { /* d pixel / d light = pixel (1 - pixel / 255) */
                int64_t at = (k * s->size.h + y) * s->size.w + x;
                double p = (double)pixel[at];
                gc[cell(s, k, y + dy, x + dx)] = (float)((double)g[at] * p * (1 - p / 255));
            }
    mix_planes(s, gc, 1);
    for (int64_t k = 0; k < s->size.c; k++) {
        rt_hartley(&s->rows, &s->columns, gc + k * plane, s->room + thread * s->room_room);
        for (int64_t i = 0; i < plane; i++)
            gc[k * plane + i] *= s->scale[i];
    }
}
