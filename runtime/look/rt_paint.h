/* rt_paint.h: pictures that an optimisation paints: between the pixels that rules of the literature
 * are stated in and the numbers that a network reads.
 *
 * A picture is held in pixel units (0 .. 255) less `zero`, the pixel that the network reads as 0 (or
 * the nearest there is): the centred pixels of networks that subtract a mean.  So a rate, a blur or
 * a threshold means the same for every network, whatever range it was trained on.
 */
#ifndef RT_PAINT_H
#define RT_PAINT_H

#include "rt_objective.h"
#include "rt_pixels.h"
#include "rt_viz.h"

typedef struct rt_paint {
    rt_viz *v;
    rt_objective objective;
    rt_planes size;      /* of a picture */
    int64_t n, count;    /* pictures; numbers in each */
    float *scale, *base; /* of each number: input units per pixel unit; input at 0 */
    float *zero;         /* pixel that 0 stands for */
    float *x, *g;        /* n pictures; gradients per pixel unit */
    float *input, *room; /* n pictures; one for each thread (rt_paint_room) */
    double *value;       /* n */
} rt_paint;

static inline float *rt_paint_room(const rt_paint *p, int thread) {
    return p->room + thread * p->count;
}

/* n pictures at a time, at most the look program's capacity.  Fails for networks of several inputs. */
int rt_paint_open(rt_paint *p, rt_viz *v, const rt_term *term, int nterms, int64_t n,
                  rt_error *err);
void rt_paint_close(rt_paint *p);

/* Starts: all zero; normal noise of `sigma` pixels (seeded; picture i has noise i); picture i is what
 * the network reads as `input`. */
void rt_paint_clear(rt_paint *p);
void rt_paint_noise(rt_paint *p, double sigma);
void rt_paint_from(rt_paint *p, int64_t i, const float *input);
/* Picture i as the network reads it: p->count numbers. */
void rt_paint_input(const rt_paint *p, int64_t i, float *input);

/* p->value and, if wanted, p->g at p->x. */
int rt_paint_eval(rt_paint *p, int gradient, rt_error *err);
void rt_paint_clamp(rt_paint *p); /* to pixels that exist */

/* For display: numbers in units of p->x; picture i. */
int rt_paint_show(const rt_paint *p, const float *x, rt_image *out, rt_error *err);
int rt_paint_image(const rt_paint *p, int64_t i, rt_image *out, rt_error *err);

/* One picture as the network reads it, in units of p->x. */
void rt_paint_from_input(const rt_paint *p, const float *input, float *x);

#endif
