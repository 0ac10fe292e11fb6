/* resample.h: what resampling's facts and code share, and how composites ask for it. */
#ifndef OPS_RESAMPLE_H
#define OPS_RESAMPLE_H

#include "base/arena.h"
#include "ir/graph.h"
#include "ops/attrs.h"

/* Copies everything: all else is changed from here.  An image, or a vector as one pixel. */
ResampleAttrs resample_same(const Shape *src);
/* The matrix from `in` cells to `out` ones along axis 0 (rows) or 1 (columns). */
ResampleAxis resample_axis(Arena *keep, const ResampleAttrs *a, int axis, int64_t in, int64_t out);

/* First row and column of a crop. */
void crop_from(const CropAttrs *a, const Shape *src, int64_t from[2]);

#endif
