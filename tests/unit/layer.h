/* layer.h: the large layers of the papers' networks, one at a time: as a graph, planned. */
#ifndef LAYER_H
#define LAYER_H

#include "ir/plan.h"

typedef struct Layer {
    const char *name;
    int64_t c, h, w, o, kernel[2]; /* kernel 0: a dense layer */
    int64_t stride, pad, groups;
} Layer;

extern const Layer layers[]; /* convolutions, then dense layers; ends with a NULL name */

typedef enum { LAYER_FORWARD, LAYER_DATA, LAYER_WEIGHTS } LayerDirection;
extern const char *const layer_direction[]; /* "forward", "data", "weights" */

/* Forward with a rectifier behind it, or the one gradient; images of up to 4 channels come through
 * load_input.  All passes from fuse to memplan have run. */
Graph *layer_graph(Arena *keep, const Layer *l, LayerDirection d, const PlanOptions *options,
                   const Target *t);
/* The kernel that does the work. */
int layer_kernel(const Graph *g);
#endif
