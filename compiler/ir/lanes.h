/* lanes.h: a block kernel: the whole of a small network for as many images as a vector has lanes.
 *
 * Activations lie as [channel][row][column][lane] in the thread's scratch memory and never leave
 * the caches; every step is what would else be a kernel of its own (anchor, chain, tail).  Training
 * has two such kernels: the block kernel leaves gradients, one copy per task ("slot"), and the
 * update adds the copies in order and applies SGD; gradients that sum over images rather than
 * pixels are made there.
 * requires: made by passes/lanes.c; ensures: read by ops/lanes*.c and the printers only.
 */
#ifndef IR_LANES_H
#define IR_LANES_H

#include "ir/plan.h"

typedef struct LanesPlace {
    int64_t offset; /* bytes in the block's scratch memory; -1: not stored there */
    int64_t bytes;
    int halo[4];    /* zero rows/columns at top, bottom, left, right */
} LanesPlace;

typedef struct Lanes {
    const Target *target; /* .vector = images side by side */
    int full;             /* lanes of the ordinary kernels: they sum over channels in trees */
    const NodeId *node;   /* all nodes, in order */
    int nnodes;
    Kernel *step;         /* what runs per block, one after the other */
    int nsteps;
    LanesPlace *place;    /* per ValueId */
    int64_t *work;        /* per step: offset of its work space */
    int slots;            /* training: copies of every weights' gradient */
    const Kernel *late;   /* update: ordinary kernels that run as parts of it */
    int nlate;
    bool update;          /* training's second kernel; `step` holds its SGD nodes */
    bool again;           /* other kernels of the program compute the same for another entry */
} Lanes;

#endif
