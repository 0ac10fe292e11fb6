/* rt_pixels.h: what is done to a picture of floats between two steps of an optimisation: terms that
 * prefer natural pictures, blurs, shifts, thresholds.
 *
 * A picture is c planes of h x w floats in the network's input units.  Sums run in double precision
 * in a fixed order.  Formulas and their sources stand at each function; tests/unit/test_rt_pixels.c
 * holds the cases whose results are known exactly and compares every gradient with differences.
 */
#ifndef RT_PIXELS_H
#define RT_PIXELS_H

#include <stdint.h>

typedef struct rt_planes {
    int64_t c, h, w;
} rt_planes;

static inline int64_t rt_planes_count(rt_planes p) {
    return p.c * p.h * p.w;
}

/* Sum over cells of ((x right - x)^2 + (x below - x)^2)^(beta/2); over the border: 0.  grad, unless
 * NULL, gets weight times the gradient added.  Mahendran and Vedaldi 2015, equation 3; where a
 * square is 0 and beta < 2, the gradient there is taken as 0.  Returns the unweighted sum. */
double rt_tv(const float *x, rt_planes p, double beta, double weight, float *grad);

/* Sum of |x|^alpha, likewise (alpha 2: energy; 6: Mahendran and Vedaldi). */
double rt_alpha_norm(const float *x, int64_t n, double alpha, double weight, float *grad);

/* Sum over pixels of |p|^6, p all planes of one: Mahendran and Vedaldi 2016, equation 8; likewise.
 * Pixels longer than `most` made that long. */
double rt_pixel_norm6(const float *x, rt_planes p, double weight, float *grad);
void rt_pixel_box(float *x, rt_planes p, double most);

/* Gaussian blur of every plane: kernel cut at 4 sigma, sums to 1, the picture mirrored at its
 * borders (edge cells twice).  room: c*h*w floats.  sigma 0: nothing. */
void rt_blur(float *x, rt_planes p, double sigma, float *room);

/* Rolls every plane down by dy and right by dx, cells that leave come in on the other side. */
void rt_roll(float *x, rt_planes p, int64_t dy, int64_t dx, float *room);

/* The magnitude that white stands for where a picture of n numbers is shown: the largest; of
 * RT_SHOWN_LARGE the one that a hundredth exceeds, or a few outliers would leave all else dark (Smilkov et
 * al. 2017, section 3.1).  NaN counts as large in these. */
enum { RT_SHOWN_LARGE = 10000 };
float rt_shown_scale(const float *x, int64_t n);

/* Sets to 0 the `percent` of pixels (all planes of one) with the smallest key: NORM the length of
 * the pixel, BENEFIT |sum over planes of x * grad| (Yosinski et al. 2015, section 3.2).  A pixel
 * falls when its key is below the percentile (linear between ranks).  room: h*w floats. */
enum { RT_CUT_NORM, RT_CUT_BENEFIT };
void rt_cut_pixels(float *x, const float *grad, rt_planes p, int key, double percent, float *room);

/* Bilinear, centres of pixels on centres, clamped at the border: src of p to dst of p.c x h x w. */
void rt_planes_resize(const float *src, rt_planes p, float *dst, int64_t h, int64_t w);

/* Every value into lo[plane] .. hi[plane]. */
void rt_clamp(float *x, rt_planes p, const float *lo, const float *hi);

/* out[cell] = max over planes of |x|; out may be x. */
void rt_plane_max(const float *x, rt_planes p, float *out);

double rt_mean_abs(const float *x, int64_t n);
double rt_norm2(const float *x, int64_t n); /* square root of the sum of squares */

#endif
