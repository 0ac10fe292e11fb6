/* shrink.h: the nets of a spec with fewer maps and smaller images, so that the reference
 * interpreter can run them; which operations follow which stays as it is.
 *
 * The rule, on the syntax tree: a whole number n of 16 or more that counts maps, units or classes
 * becomes max(6, n / divisor, rounded up); extents of inputs from 32 on are multiplied by a factor.
 * Kernels, strides, paddings, lists, tables and counts of `repeat` stay.  Of the divisors 1, 2, 4,
 * .. the first is taken for which the net needs at most SHRINK_MACS multiply-adds and SHRINK_PARAMS
 * parameters with the smallest image that fits: nothing empty, no batch normalisation over fewer
 * than 4 numbers per image.  Where no divisor is enough, the cheapest net is taken.  Small nets
 * stay as they are.
 */
#ifndef SHRINK_H
#define SHRINK_H

#include "front/model.h"

#define SHRINK_MACS 2e6
#define SHRINK_PARAMS 250000

typedef struct Shrink {
    int64_t divisor;   /* of maps */
    double input, set; /* factors: sizes of `input`; of `set x.shape` and `dim` */
} Shrink;

/* How much of a net of a file in specs/ is to be shrunk; false: it does not build at all. */
bool shrink_find(const char *path, const char *net, Shrink *how);
/* The net, in `keep`; NULL when it does not build that way (what diag says is discarded unless
 * `loud`). */
Model *shrink_build(Arena *keep, const char *path, const char *net, const Shrink *how,
                    bool forward_only, bool loud);
#endif
