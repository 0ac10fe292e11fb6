/* winograd_plan.h: the shape of a Winograd kernel of forward or backward data, shared by its choice
 * (winograd_choose.c) and its code (winograd_lower.c).
 *
 * A task owns a block of tiles (m x m outputs each; whole tile rows of one image, or several whole
 * images) and a part of the output channels.  In the kernel's Tile: ow = tiles per register tile of
 * the products, oh = parts that the output channels of a group are split into, oc = vectors, rows =
 * tile rows per block, ic = channels per pass over the weights; tasks_block = images per block.
 * In scratch, in this order:
 *     the block whose inputs lie behind it (a number; the runtime starts it as none)
 *     V [product][group][channel block][tile of the group][lane]  transformed inputs of the block
 *     U [product][channel of the pass][o_tile]       transformed weights of one tile of outputs
 *     M [product][tile][o_tile]                      sums over channels
 *     sink: rows for a fused pool
 * A group of tiles is what shares the registers; its inputs lie side by side, as they are read.
 * Products lie an odd number of cache lines apart, lest all of a tile fall into one set.
 */
#ifndef OPS_WINOGRAD_PLAN_H
#define OPS_WINOGRAD_PLAN_H

#include "ops/conv.h"
#include "ops/winograd.h"

enum { WINO_HEAD = 16 }; /* floats in front of V */

typedef struct WinoPlan {
    int m, r, n;                /* outputs, taps, products along one axis */
    int products;               /* n * n */
    int64_t channels, produced; /* per group: summed over, made */
    int64_t groups;
    int64_t extent[2], pad[2]; /* computed rows, columns of the result; zeros before the source */
    int64_t blocks;            /* of channels */
    int64_t pass;              /* blocks per pass over the weights */
    int64_t o_tile, o_tiles;   /* floats per tile of outputs; tiles per group */
    int64_t parts, part;       /* tasks that share a group's tiles of outputs; tiles in one */
    int64_t th, tw;            /* tile rows, columns of an image */
    int64_t images, rows;      /* of a block: images, tile rows in each */
    int64_t bands;             /* blocks per image (1 when a block has several images) */
    int64_t tiles, slots;      /* of a whole block; with room for whole register tiles */
    int group, rest;           /* tiles per register tile; what is left of a whole block */
    int64_t v_block, v_group;  /* steps in floats: V per channel block, per group of tiles; */
    int64_t v, u, m_;          /* V, U, M per product */
    int64_t at_u, at_m, at_sink, floats; /* places in scratch; its size without the sink */
    int64_t sink_rows;                   /* 0: no sink */
} WinoPlan;

/* Of kernel k with winograd, tile and tasks_block filled in; o_tile: of the weights' layout. */
WinoPlan wino_plan(const Graph *g, const ConvProblem *p, const Kernel *k, const Target *t,
                   bool backward, int64_t o_tile);

/* The first tile row of a block whose number within its image is `band`: blocks differ by one row
 * at most, the same way from both ends, so that threads have equal work. */
static inline int64_t wino_band_start(const WinoPlan *w, int64_t band) {
    return (band * w->th + w->bands / 2) / w->bands;
}

/* Rows of the source that a block reads, at most. */
static inline int64_t wino_band_rows(const WinoPlan *w) {
    return w->rows * w->m + w->r - 1;
}

#endif
