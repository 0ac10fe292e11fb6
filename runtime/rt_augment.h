/* rt_augment.h: random changes of training samples, a pure function of (seed, epoch, sample). */
#ifndef RT_AUGMENT_H
#define RT_AUGMENT_H

#include <stdint.h>

#include "rt_image.h"

/* Does a (RT_AUGMENT_COUNT numbers of rt_abi.h) change anything? */
int rt_augment_any(const float *a);

/* Changes one normalised sample in place; scratch: as many floats as a sample has.  real: numbers
 * that are no picture: moved and stretched, but not coloured.  Order: the picture is turned,
 * sheared, scaled and moved (one bilinear look-up; outside is pixel 0), then colour, contrast and
 * brightness, at last held in the range of pixels. */
void rt_augment_apply(const float *a, const struct rt_prep *prep, int real, uint64_t seed,
                      int64_t epoch, int64_t sample, float *chw, float *scratch);

#endif
