/* conv.h: what the files of convolution and dense layers share (private to them).
 *
 * Every one of these ops is seen as one problem: `o` output channels per group are sums over `i`
 * input channels and kernel taps, for every pixel of an image; a dense layer is a convolution whose
 * kernel covers the whole source, so its output has one pixel and the images take the pixels'
 * place. Register tiles follow Goto and van de Geijn, "Anatomy of high-performance matrix
 * multiplication" (2008), and Georganas et al., "Anatomy of high-performance deep learning
 * convolutions on SIMD architectures" (2018): pixels x output vectors of accumulators, one
 * broadcast per pixel.
 */
#ifndef OPS_CONV_H
#define OPS_CONV_H

#include "base/bug.h"
#include "ir/cost.h"
#include "ops/hooks.h"
#include "ops/lower.h"

typedef struct ConvProblem {
    int64_t groups, i, o;   /* channels per group: of src, of dst (forward's meaning) */
    int64_t src[2], dst[2]; /* height, width */
    int64_t kernel[2], stride[2], pad[2] /* top, left */, dilation[2];
    bool bias;
} ConvProblem;
/* The problem behind a CONV2D*, DENSE* node. */
ConvProblem conv_problem(const Graph *g, const Node *node);
/* One output pixel per image: images are the pixels of the register tile. */
bool conv_by_images(const ConvProblem *p);
bool conv_back_by_images(const ConvProblem *p);

static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}
static inline int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t max64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* ---- tiles (conv_tiles.c) ---- */
enum { TILE_MAX_PIXELS = 28, TILE_MAX_VECTORS = 4, TILE_MAX_ACC = 32 };
/* Pixels per register tile with `oc` output vectors: accumulators + oc + one broadcast fit. */
int tile_max_pixels(const Target *t, int oc);
/* Rough cycles of one step (one input channel of one tap) of a tile. */
double tile_cycles(int pixels, int oc);
/* Images per register tile with oc output vectors. */
int tile_images(const Target *t, int oc);
/* Input channels unrolled in the innermost body: divides every trip count that can occur. */
int tile_unroll(const Target *t, int64_t channels, int64_t block);
/* Backward weights: accumulators are kernel columns x input channels. */
typedef struct BwwTile {
    int cols, channels;
} BwwTile;
BwwTile tile_bww(const Target *t, int oc, int64_t kw, int64_t channels);

/* Layout of the forward weights of any of these nodes. */
void conv_forward_layout(const Graph *g, const Node *node, const Target *t, Layout *out);
void conv_problem_layout(const ConvProblem *p, const Target *t, Layout *out); /* the same */
/* Output vectors of a tile whose pixels are images. */
int conv_vectors_by_images(const Target *t, int64_t channels);

/* ---- the register tile (tile.c) ---- */
typedef struct NestLoop {
    Val extent;
    int64_t src, wgt; /* steps in floats */
} NestLoop;
/* acc[p][j] += sum over loops and channels of src[pixel p] * weights[vector j].
 * loop[0] is the loop over channel blocks when `partial`: its last pass has last_channels. */
typedef struct Nest {
    NestLoop loop[3];
    int n;
    int64_t channels, last_channels; /* of a block; of the last block */
    bool partial;
    int64_t src, wgt; /* steps per channel */
    int unroll;
    Val from, to;     /* range of loop[0]; of the channels if there is no loop */
    Val blocks;       /* partial: the number of blocks */
    int64_t prefetch; /* weights ahead to prefetch, 0: none */
    bool bf16;        /* weights are bfloat16 */
} Nest;
typedef struct RegTile {
    int pixels, oc;
    const int64_t *offset; /* of each pixel, floats from src */
    Val acc[TILE_MAX_ACC]; /* [pixel * oc + vector] */
} RegTile;
void tile_sum(Emit *e, RegTile *t, const Nest *nest, Val src, Val weights);
/* acc = bias vectors, or zero when bias is NULL */
void tile_start(Emit *e, RegTile *t, Val bias);
/* Adds a loop to the nest; a loop of one pass disappears. */
void nest_loop(Nest *nest, Val extent, int64_t src, int64_t wgt);

/* ---- gathers (conv_lower.c): dst[q * phases + r] sums src[first(r) + q * step + j * tap] ---- */

/* One phase along one axis: its number of taps, the first one, the source index it meets at q = 0.
 */
typedef struct Phase {
    int64_t taps, first_tap, first;
} Phase;
enum { PHASE_TAPS, PHASE_FIRST_TAP, PHASE_FIRST };

typedef struct Direction {
    int64_t phases, extent; /* dst index = q * phases + r < extent */
    int64_t step, tap;      /* source steps per q, per tap */
    int64_t tap_step;       /* kernel taps between two of a phase */
    Phase *phase;
    Val table; /* the phases as data, when there are several */
} Direction;
Direction backward_direction(const ConvProblem *p, int d, Arena *keep);
/* BUGs unless all reads stay inside the source's halo. */
void direction_check(const Direction *a, int64_t extent, int before, int after);
/* A field of phase r: a constant when r is. */
Val phase_field(Emit *e, Direction *a, Val r, int field);
/* Taps [from, to) of phase r that meet one of `extent` source rows for any of the rows
 * q .. q + rows - 1: the others would multiply zeros of the halo. */
void tap_range(Emit *e, Direction *a, Val r, Val q, int rows, int64_t extent, Val *from, Val *to);
/* A loop that disappears when it has one pass. */
Val loop_begin(Emit *e, Loop *l, int64_t from, int64_t to, int64_t step, const char *name);
void loop_end(Emit *e, Loop *l);

/* ---- a pool behind the chain (conv_tail.c) ---- */
typedef struct ConvTail {
    bool present;
    bool in_memory;       /* the pool's source is stored: no scratch */
    bool rolling;         /* windows share rows or leave the source: scratch rows are carried on */
    int64_t computed[2];  /* rows and columns of the convolution that somebody reads */
    int64_t stride, fill; /* rows from window to window; of these, rows that are computed */
    int64_t kernel, pad;  /* rows of a window; rows above the source */
    int64_t pooled;       /* rows of the pool's output */
} ConvTail;
ConvTail conv_tail(const Graph *g, const Kernel *k);
/* With register tiles of oh rows: rows from one chunk, pooled at once, to the next (whole windows);
 * of these, rows that are computed (rolling: that scratch holds). */
int64_t conv_tail_step(const ConvTail *t, int oh);
int64_t conv_tail_rows(const ConvTail *t, int oh);

/* ---- the source made inside the kernel, in bands (conv_band.c, conv_lower.c) ---- */
typedef struct ConvBand ConvBand;
/* Floats of scratch for `rows` rows of one tile of channels of the source of k, which k->source
 * makes. */
int64_t conv_band_floats(const Graph *g, const Kernel *k, const Target *t, int64_t rows);
/* To be asked once per kernel; NULL if the source is stored. */
ConvBand *conv_band_open(KernelCtx *k, Val scratch, int64_t rows);
/* Makes rows y .. y + rows - 1 of image n, a few channel blocks at a time, and hands them to `use`,
 * which reads blocks [from, to) through *source as if all of it were there.  Rows outside and the
 * halo beside the rows are zero. */
typedef void (*BandFn)(void *user, const View *source, Val from, Val to);
void conv_band(ConvBand *b, Val n, Val y, BandFn use, void *user);

/* ---- Winograd (winograd*.c) ---- */
/* Candidates of kernel k (CONV2D, CONV2D_BWD_DATA or CONV2D_BWD_WEIGHTS, by its anchor) that form
 * the sums after Winograd: copies of *direct with algorithm, winograd, tile, tasks, scratch,
 * seconds, why replaced.  Returns their number, 0 where the options or the spec forbid it. */
int winograd_candidates(const Graph *g, const ConvProblem *p, const Kernel *direct, const Target *t,
                        Kernel *candidate, int cap);
void lower_winograd(KernelCtx *k, const ConvProblem *p, bool backward);
/* The same for CONV2D_BWD_WEIGHTS (winograd_bww_lower.c). */
__attribute__((weak)) int winograd_bww_candidates(const Graph *g, const ConvProblem *p,
                                                  const Kernel *direct, const Target *t,
                                                  Kernel *candidate, int cap);
__attribute__((weak)) void lower_winograd_bww(KernelCtx *k, const ConvProblem *p);

/* ---- lowerings ---- */
/* Backward data into few channels (the image): conv_few_lower.c */
bool conv_back_to_few(const ConvProblem *p, const Target *t);
void choose_few(const Graph *g, const ConvProblem *p, Kernel *k, const Target *t);
void lower_few(KernelCtx *k, const ConvProblem *p);
/* Forward from few to few channels: conv_few_forward.c.  *k, a copy of the direct kernel, becomes
 * the candidate "pixels"; false: impossible. */
bool few_forward_candidate(const Graph *g, const ConvProblem *p, Kernel *k, const Target *t);
void lower_few_forward(KernelCtx *k, const ConvProblem *p);
/* Vector instructions of the chain behind one vector of results. */
double conv_chain_ops(const Graph *g, const Kernel *k);

void lower_images(KernelCtx *k, const ConvProblem *p, bool backward); /* dense_lower.c */
void choose_images_tile(const ConvProblem *p, Kernel *k, const Target *t, int o_tile,
                        bool backward);
void choose_bww(const Graph *g, Kernel *k, const Target *t); /* conv_bww_lower.c */
bool epi_has_halo(const Epi *ep);

#endif
