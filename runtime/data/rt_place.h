/* rt_place.h: which part of a picture a sample shows: a random place in training, one of the ten
 * crops of a test.
 *
 * Everything is a pure function of (seed, epoch, sample) or of the number of the view.
 */
#ifndef RT_PLACE_H
#define RT_PLACE_H

#include <stdint.h>

#include "rt_image.h"

/* What happens to a picture of this size in training, by the numbers of RT_AUGMENT_..:
 *   RT_PLACE_USUAL  what rt_prep_apply does;
 *   RT_PLACE_SHIFT  that, then moved by (-x, -y) whole pixels: rt_place_shift;
 *   RT_PLACE_PART   rt_prep_apply_at with the place given. */
enum { RT_PLACE_USUAL, RT_PLACE_SHIFT, RT_PLACE_PART };
int rt_place_random(const float *a, const struct rt_prep *prep, int width, int height,
                    uint64_t seed, int64_t epoch, int64_t sample, struct rt_place *place);

/* 1: a prepared picture kept from another epoch does not serve (its size is drawn anew). */
int rt_place_fresh(const float *a);
/* 1: a picture of this size is as large as the input after `resize`, so that a random crop of it is
 * the prepared picture moved by whole pixels. */
int rt_place_same_size(const struct rt_prep *prep, int width, int height);

/* The classes of a label picture of the picture's size, seen as rt_prep_apply (place NULL) or
 * rt_prep_apply_at sees the picture: height * width numbers, each that of the nearest pixel, -1 for
 * `ignore` and where no picture is. */
void rt_place_map(const struct rt_prep *prep, const struct rt_place *place, const rt_image *map,
                  int ignore, int32_t *classes);

/* View 1 to 10 of a test: the four corners and the centre of the resized picture, then the same to
 * be mirrored (view > 5).  Source: Krizhevsky, Sutskever, Hinton 2012, section 4.1. */
void rt_place_view(const struct rt_prep *prep, int width, int height, int view,
                   struct rt_place *place);

/* chw[y][x] = chw[y + dy][x + dx] in every plane; outside[plane] where that is not in the picture.
 * scratch: one plane. */
void rt_place_shift(float *chw, int channels, int height, int width, int dx, int dy,
                    const float *outside, float *scratch);

#endif
