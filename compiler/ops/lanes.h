/* lanes.h: inside a block kernel (private to lanes*.c): images lie side by side in the lanes.
 *
 * A tensor is [channel][row][column][lane] in scratch memory, so every load and store is one whole
 * vector, and a weight is one number for all images: a broadcast from where the parameter lies.
 * requires: Lanes from passes/lanes.c; the emitter's width is Lanes.target->vector.
 */
#ifndef OPS_LANES_H
#define OPS_LANES_H

#include "ir/lanes.h"
#include "ops/conv.h"

typedef struct LanesCtx {
    KernelCtx *k;
    Emit *e;
    const Graph *g;
    const Lanes *plan;
    const Target *t;    /* the plan's: vector = lanes */
    const Kernel *step; /* at hand, and its anchor */
    const Node *node;
    const void *attrs;
    Val image, count;   /* first image of the block; images in it, 1 .. lanes */
    Val index;          /* i32 vector: the image of each lane; the last one repeats */
    int64_t work;       /* the step's work space: bytes into scratch memory */
    Val slot, first;    /* training: where the task's gradients go; is it the task's first block? */
} LanesCtx;

/* A value in scratch; strides in elements, constants.  base is element (0, 0, 0), inside the halo. */
typedef struct LanesTensor {
    Val base;
    DType dtype;
    int64_t c, h, w;
    int64_t plane, row, pixel;
    const int *halo;
} LanesTensor;
LanesTensor lanes_tensor(LanesCtx *l, ValueId v);
bool lanes_stored(const LanesCtx *l, ValueId v);
Val lanes_at(LanesCtx *l, const LanesTensor *t, Val c, Val y, Val x);

/* What is fused behind a step's anchor: as Epi (lower.h), over tensors of the block. */
typedef struct LanesEpi {
    int n;
    struct LanesEpiTensor { ValueId value; LanesTensor t; Val at; } at[EPI_MAX + 2];
    Val c, y, x; /* origin */
} LanesEpi;
void lanes_epi_open(LanesCtx *l, LanesEpi *ep);
void lanes_epi_tile(LanesCtx *l, LanesEpi *ep, Val c, Val y, Val x);
/* Applies the chain to the anchor's result there and stores what others read; the last result. */
Val lanes_epi_emit(LanesCtx *l, LanesEpi *ep, Val result, int64_t dc, int64_t dy, int64_t dx);

/* Channels [0, total) in tiles that never cross a multiple of `block` (where addresses jump):
 * `pick` says how many channels a tile takes of n in a row.  Tiles may overlap unless `exact`. */
typedef int (*LanesPick)(const void *user, int64_t n);
typedef void (*LanesTileFn)(LanesCtx *l, void *user, Val block, Val inside, int count);
void lanes_tiles(LanesCtx *l, int64_t total, int64_t block, bool exact, LanesPick pick,
                 LanesTileFn fn, void *user);
/* for (i = 0; i < extent; i += step) where the last step may overlap the one before; a loop of one
 * pass disappears.  Close with lanes_span_end. */
Val lanes_span(LanesCtx *l, Loop *loop, int64_t extent, int64_t step, const char *name);
void lanes_span_end(LanesCtx *l, Loop *loop);

/* The copy of an unbatched result (a gradient) that the task at hand adds to: first float; cleared
 * before the task's first block when *cleared comes back true, else the first block must write. */
Val lanes_gradient(LanesCtx *l, ValueId v, bool *cleared);
/* Same for weights: w->base is the copy. */
WeightView lanes_gradient_weights(LanesCtx *l, ValueId v, bool *cleared);
/* For who writes whole rows, padding outputs included: only rows beyond the last of `inputs` input
 * channels are cleared, and the first block must write the others. */
WeightView lanes_gradient_rows(LanesCtx *l, ValueId v, int64_t inputs);
/* What the gradient held at ptr + off before this block: vector or scalar. */
Val lanes_before(LanesCtx *l, Val ptr, int64_t off, bool cleared, bool scalar);
/* Sums over the lanes of n <= lanes vectors: lane i of the result is the sum of v[i]. */
Val lanes_sums(LanesCtx *l, const Val *v, int n);
/* Class index of each lane: i32 vector. */
Val lanes_labels(LanesCtx *l, int slot);
/* For lanes beyond the last image: i1 vector, true where there is an image. */
Val lanes_real(LanesCtx *l);

/* Pooling of a register tile (lanes_pool.c): result[rows x cols] -> windows of the tail. */
typedef struct LanesPool {
    const PoolAttrs *a;
    bool max, record;
    LanesTensor dst, switches;
} LanesPool;
void lanes_pool_open(LanesCtx *l, LanesPool *p);
void lanes_pool_tile(LanesCtx *l, const LanesPool *p, const Val *result, int rows, int cols, Val c,
                     Val y, Val x);

/* ---- which register tile (lanes_conv.c, lanes_bww.c) ---- */
/* Channels per tile of n in a row, for tiles of so many pixels, at *cost cycles; 0: none fits. */
int lanes_pick_channels(const Target *t, int64_t n, int pixels, double *cost);
/* Outer products: na of `a` beside nb of `b` accumulators, exact tiles. */
void lanes_pick_pair(const Target *t, int64_t a, int64_t b, int *na, int *nb);

/* ---- Winograd (lanes_winograd.c), where lanes_winograd() is not 0 ---- */
void lanes_winograd_conv(LanesCtx *l);
void lanes_winograd_bwd_data(LanesCtx *l, ValueId weights);
/* The weights as the forward kernel reads them, from the input of a backward one. */
ValueId lanes_forward_weights(const Graph *g, ValueId v);
void lanes_winograd_bwd_weights(LanesCtx *l);

void lower_lanes_update(KernelCtx *k);
void lower_lanes_late(const KernelCtx *update, const Kernel *late);

#endif
