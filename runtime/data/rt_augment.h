/* rt_augment.h: random changes of training samples, a pure function of (seed, epoch, sample). */
#ifndef RT_AUGMENT_H
#define RT_AUGMENT_H

#include <stdint.h>

#include "rt_image.h"

/* Does a (RT_AUGMENT_COUNT numbers of rt_abi.h) change anything?  The first: what rt_augment_apply
 * does; the second: at all. */
int rt_augment_here(const float *a);
int rt_augment_any(const float *a);

/* Floats that rt_augment_apply needs as scratch. */
int64_t rt_augment_room(const struct rt_prep *prep);

/* Changes one normalised sample in place.  real: numbers that are no picture: moved, stretched and
 * bent, but not coloured; outside: what lies around them.  Order: the picture is turned, sheared,
 * scaled, moved and bent (one bilinear look-up; outside is pixel 0), then PCA colour, colour,
 * contrast and brightness, at last held in the range of pixels.  map (may be NULL): the class of
 * every pixel, moved along by the nearest pixel; -1 where it comes from outside. */
void rt_augment_apply(const float *a, const struct rt_prep *prep, int real, float outside,
                      uint64_t seed, int64_t epoch, int64_t sample, float *chw, int32_t *map,
                      float *scratch);

/* Planes of h * w as they look turned by so many degrees (counter-clockwise as displayed), enlarged by scale, both
 * about the centre, then moved by (ty, tx) cells: bilinear, outside[plane] around them; 0, 1, 0, 0 is
 * the identity, exactly.  src and dst do not overlap. */
void rt_affine_planes(const float *src, int planes, int h, int w, double degrees, double scale,
                      double ty, double tx, const float *outside, float *dst);

/* Sound: moved by so many seconds, and its amplitude times gain. */
void rt_augment_sound(const float *a, uint64_t seed, int64_t epoch, int64_t sample, double *seconds,
                      double *gain);

/* The matrix of RT_AUGMENT_PCA_MATRIX (eigenvectors as columns times eigenvalues, row = colour) of
 * a symmetric 3 x 3 covariance; of each pair of signs the one whose sum of the column is not
 * negative. */
void rt_augment_pca(const double covariance[3][3], float matrix[9]);

#endif
