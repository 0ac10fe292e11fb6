/* rt_compare.h: what analyses of several pictures or models share: the pictures, the layers, and
 * measures of how far apart two answers are.
 */
#ifndef RT_COMPARE_H
#define RT_COMPARE_H

#include "rt_viz.h"

/* Some pictures as the network reads them. */
typedef struct rt_set {
    rt_viz *v;
    rt_feed feed;
    int64_t n, pixels; /* pictures; numbers of each */
    float *x;          /* n * pixels */
    int64_t *sample;   /* number of each in its data */
} rt_set;
/* The pictures named, else the first `most` of the data (--limit: so many).  EUSAGE: the network
 * reads more than one input; fewer than `least` pictures. */
int rt_set_open(rt_set *s, rt_viz *v, const char **operands, int n, int64_t least, int64_t most,
                rt_error *err);
void rt_set_close(rt_set *s);
/* Name of picture i for captions. */
void rt_set_name(const rt_set *s, int64_t i, char *name, size_t size);
/* Records n pictures at x (at most look.cap). */
int rt_set_record(rt_set *s, const float *x, int64_t n, rt_error *err);

/* The layers of --layer, else all with weights (convolutions and dense layers); at most max. */
int rt_viz_weighted_layers(rt_viz *v, int *seed, int max, rt_error *err);

/* A convolution's filters: how many are weak, dominant or (where top, RT_TOP peaks of each map, is
 * not NULL) dead, as rt_filters.c says; RMS of the median one and of the largest. */
typedef struct rt_filters {
    int64_t count, maps, h, w; /* filters; extents of one as a picture */
    int64_t dead, weak, dominant;
    double median, largest;
    float *weights;            /* count * maps * h * w, to be released by rt_free */
} rt_filters;
int rt_filter_counts(rt_viz *v, int param, const rt_peak *top, rt_filters *out, rt_error *err);

/* Share of the n coordinates in which two vectors of signs (-1, 0, 1) differ: Hamming distance / n.
 * Equal vectors: 0; independent symmetric +-1: 1/2. */
double rt_sign_change(const signed char *a, const signed char *b, int64_t n);
double rt_distance(const float *a, const float *b, int64_t n); /* Euclidean */
/* The distance of maps a to maps b moved down by dy and right by dx cells, over the cells of b in
 * the area whose counterparts in a exist; *cells: how many (all maps). */
double rt_moved_distance(const float *a, const float *b, const int64_t chw[3], int64_t dy,
                         int64_t dx, rt_rect area, int64_t *cells);

/* Of the power of a filter (c planes of h x w, zero-padded discrete Fourier transform, 32 x 32
 * frequencies, the mean included) the share above so many cycles per pixel along either axis.  At a
 * stride of s what lies above 1 / (2 s) comes back as another frequency. */
double rt_power_above(const float *w, int64_t c, int64_t h, int64_t width, double frequency);

#endif
