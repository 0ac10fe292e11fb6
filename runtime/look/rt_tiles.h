/* rt_tiles.h: an objective on a picture of any size, by a network that reads one size.
 *
 * The picture is a torus: what leaves it on one side comes in on the other.  Where it is larger than
 * the network's input, tiles of that input's size cover it, evenly spread, and a pixel's gradient is
 * the mean over the tiles that see it; where it is smaller, it is repeated until one tile is full.
 * Shifting the tiles from step to step hides their borders (and is DeepDream's jitter).
 */
#ifndef RT_TILES_H
#define RT_TILES_H

#include "rt_paint.h"

typedef struct rt_tiles {
    rt_paint p;       /* a batch of tiles */
    int64_t most;     /* tiles per batch */
    float *cover;     /* of each pixel of the largest picture: tiles that see it */
} rt_tiles;

/* Terms must hold for every picture of a batch (image = -1).  largest: pixels of the largest picture,
 * all planes. */
int rt_tiles_open(rt_tiles *t, rt_viz *v, const rt_term *term, int nterms, int64_t largest,
                  rt_error *err);
void rt_tiles_close(rt_tiles *t);

/* How many tiles cover a picture of that size. */
int64_t rt_tiles_count(const rt_tiles *t, rt_planes size);

/* pixel: 0 .. 255, planes as the network reads them.  The first tile's corner lies at (dy, dx).
 * *value: sum over tiles; g: gradients per pixel. */
int rt_tiles_eval(rt_tiles *t, const float *pixel, rt_planes size, int64_t dy, int64_t dx,
                  double *value, float *g, rt_error *err);

#endif
