/* rt_gram.h: Gram matrices of a layer's maps, G = F F^T, and the gradients of what is made of them,
 * D F, at the rate of the convolutions: register tiles over packed pieces of the layer.
 *
 * F has C rows (maps) of M numbers (cells).  Both read F where kernels left it.  Each number of a
 * result is one chain of multiply-adds in an order that neither threads nor the width of vectors
 * changes; 2 C^2 M operations for D F, about half of that for G.
 */
#ifndef RT_GRAM_H
#define RT_GRAM_H

#include "rt_model.h"

/* Maps in memory: (c, y, x) is at[c / lanes * block + y * row + x * lanes + c % lanes]. */
typedef struct rt_maps {
    float *at;
    int64_t maps, h, w;
    int64_t lanes, block, row;
} rt_maps;
rt_maps rt_maps_plain(float *at, int64_t maps, int64_t h, int64_t w); /* plane after plane */
/* A tensor's place for one image of the look program; 0: its layout has no such form. */
int rt_maps_of(const netrt *m, int tensor, int64_t image, rt_maps *out);

/* How the two below compute: threads; fma: with fused multiply-adds (rt_gram_fma of the network:
 * the bits follow the program's target, not the machine). */
typedef struct rt_gram_how {
    int threads, fma;
    float *room; /* rt_gram_room() floats of the largest layer */
} rt_gram_how;
int rt_gram_fma(const rt_model *model);
/* -1: too large. */
int64_t rt_gram_room(int64_t maps, int64_t cells, int threads);

/* gram: C*C numbers, symmetric to the bit. */
void rt_gram(const rt_maps *f, float *gram, const rt_gram_how *how);
/* diff = D F, or diff += D F where `add`; where `rectified`, D F counts only where F > 0.  d: C*C
 * numbers, symmetric.  diff: as many maps and cells as f. */
void rt_gram_back(const rt_maps *f, const float *d, const rt_maps *diff, int add, int rectified,
                  const rt_gram_how *how);

#endif
