/* rt_spectrum.h: pictures given by their frequencies and by colours that do not hang together.
 *
 *   pixel = 255 / (1 + exp(-M H(s c)))
 * c: the numbers that an optimisation moves, as many as pixels; s = 1 / (4 max(f, 1 / longer side)),
 * f the frequency in cycles per pixel, so that all frequencies have the energy that they have in
 * photographs; H the Hartley transform (its own adjoint); M maps grey, orange-blue and green-purple to
 * red, green, blue.  A step along a gradient in c then is a step in another metric of the same
 * pictures: Olah, Mordvintsev and Schubert 2017, "Preconditioning and parameterization".
 * The canvas is a torus of at least `spare` pixels more than the picture, which is cut out anywhere.
 */
#ifndef RT_SPECTRUM_H
#define RT_SPECTRUM_H

#include "rt_fft.h"
#include "rt_pixels.h"

typedef struct rt_spectrum {
    rt_planes size;      /* of a picture */
    int64_t h, w;        /* of the canvas */
    int bgr;
    rt_fft rows, columns;
    float *scale;        /* s */
    int64_t light_room, room_room;
    float *light;        /* per thread: room for c planes */
    rt_complex *room;    /* per thread */
} rt_spectrum;

/* bgr: planes are blue, green, red.  threads: how many may call the two functions below at once, each
 * with a number of its own. */
int rt_spectrum_open(rt_spectrum *s, rt_planes size, int64_t spare, int bgr, int threads,
                     rt_error *err);
void rt_spectrum_close(rt_spectrum *s);
int64_t rt_spectrum_count(const rt_spectrum *s); /* numbers in c */

/* The picture at (dy, dx) of the canvas, 0 .. 255. */
void rt_spectrum_paint(const rt_spectrum *s, int thread, const float *c, int64_t dy, int64_t dx,
                       float *pixel);
/* From gradients per pixel of the picture that was painted to gradients per number of c. */
void rt_spectrum_back(const rt_spectrum *s, int thread, const float *pixel, const float *g, int64_t dy,
                      int64_t dx, float *gc);

#endif
