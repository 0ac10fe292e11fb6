/* lower.h: what an op's lowering works with: its kernel, views of its tensors, the fused chain.
 *
 * A lowering emits `void kernel(frame, lo, hi, scratch)`: a loop over tasks lo..hi that writes its
 * share of the output.  Tasks are independent; their number is Kernel.tasks_per * ceil(n / block).
 * It must keep the storage invariants (halo and padding lanes zero) through epi_row / epi_emit.
 */
#ifndef OPS_LOWER_H
#define OPS_LOWER_H

#include "emit/emit.h"
#include "ir/op.h"
#include "ir/plan.h"
#include "ops/attrs.h"

struct KernelCtx {
    Emit *e;
    const Graph *g;
    const Kernel *k;
    const Target *t;
    Node *node;          /* the anchor */
    const void *attrs;   /* the anchor's */
    KernelArgs a;        /* frame, lo, hi, scratch */
    Val n, cap;          /* images in this call, each frame one; capacity of the slab */
    Val table;           /* i64 offsets of the values slot[0 .. nslots); NULL: constants */
    const ValueId *slot;
    int nslots;
    const char *const *step; /* block kernels: functions that it calls; NULL: all in one */
};

/* Frame f of clip n is image n * frames + f.
 * A tensor in memory: base points at logical (n=0, c=0, y=0, x=0), inside the halo.
 * Strides are in elements and compile-time constants.  Element address of (n, c, y, x):
 *   base + n*image + (c / block)*cblock + y*row + x*pixel + c % block      (PLAIN: block = 1)  */
typedef struct View {
    Val base;
    Layout layout;
    DType dtype;
    int64_t c, h, w;                 /* logical (rank 1: h = w = 1) */
    int64_t cblocks;                 /* ceil(c / block) */
    int64_t image, cblock, row, pixel;
    int block;
    bool aligned;                    /* vectors of `block` lanes are vector-aligned */
    bool one_map;                    /* an operand whose only map all maps share: operand_load */
} View;

View view_of(KernelCtx *k, ValueId v);
/* pointer to element (n, first channel of block cb, y, x); any of them may be constant */
Val view_at(KernelCtx *k, const View *v, Val n, Val cb, Val y, Val x);
/* same for a weights value: pointer to (group, o-tile, i-block) */
typedef struct WeightView {
    Val base;
    Layout layout;
    int64_t o_tiles, i_blocks;       /* per group */
    int64_t kh, kw;
    int64_t group, tile, block, tap, row; /* steps in numbers: group, o-tile, i-block, (kh,kw), i */
    bool bf16;                       /* the numbers are bfloat16, else float */
} WeightView;
WeightView weights_of(KernelCtx *k, ValueId v);
/* &base[index], base[off..off + vector), towards L2: base[off], in numbers of the weights */
Val weights_ptr(Emit *e, bool bf16, Val base, Val index);
Val weights_load(Emit *e, bool bf16, Val base, int64_t off);
void weights_fetch(Emit *e, bool bf16, Val base, int64_t off);
/* first float of an unbatched value (parameter, gradient, state) and how many floats it stores */
Val flat_at(KernelCtx *k, ValueId v, int64_t *floats);
Val bias_at(KernelCtx *k, ValueId bias); /* base of a bias / per-channel vector (rank 1, blocked, padded) */

/* The fused chain.  Usage, once per kernel:  Epi ep; epi_open(k, &ep);
 * per produced row of `ncb` channel blocks:  epi_row(k, &ep, n, cb, ncb, y)   -- zeroes halos
 * per register tile:   epi_tile(k, &ep, n, cb, y, x)   -- addresses of the tile's origin
 * per vector:          epi_emit(k, &ep, acc, dn, dcb, dy, dx)  -- constants relative to the origin:
 *     loads the chain's other operands there, applies it, stores every stored output.
 * Outputs in PLAIN layout are handled for c <= block by masked lanes only in epi_emit1. */
enum { EPI_MAX = 12 };
typedef struct Epi {
    int n;
    struct EpiTensor { ValueId value; View view; Val at; } t[EPI_MAX]; /* operands and outputs */
    Val origin_n, origin_cb, origin_y, origin_x;
    int64_t channels;    /* logical channels of the output, for masking padding lanes */
    bool must_mask;      /* chain does not keep zeros: mask padding lanes of the last block; a
                            lowering whose own result dirties padding lanes sets it too */
    bool has_sink;       /* the chain's last result also goes to `sink`, which begins with block */
    View sink;           /* sink_cb and row sink_y of the image at hand (for Kernel.tail) */
    Val sink_cb, sink_y, sink_at;
} Epi;
void epi_open(KernelCtx *k, Epi *ep);
void epi_row(KernelCtx *k, Epi *ep, Val n, Val cb, int64_t ncb, Val y);
void epi_tile(KernelCtx *k, Epi *ep, Val n, Val cb, Val y, Val x);
void epi_emit(KernelCtx *k, Epi *ep, Val acc, int64_t dn, int64_t dcb, int64_t dy, int64_t dx);
/* Zeroes the halo rows/columns of value v that belong to row y of (n, cb..cb+ncb): epi_row's core. */
void halo_row(KernelCtx *k, const View *v, Val n, Val cb, int64_t ncb, Val y);

enum { SCALAR_INPUTS = 5 };
/* v as the operand of an elementwise op with result `of`, repeated along the axes in which it has
 * extent 1 and `of` more: a vector beside an image is the same in all rows and columns. */
View operand_of(KernelCtx *k, ValueId v, ValueId of);
Val operand_load(Emit *e, const View *v, Val at, int64_t off);

/* What an elementwise op's .scalar hook sees: its inputs as vectors, and where they are. */
struct ScalarCtx {
    KernelCtx *k;
    Emit *e;
    const Graph *g;
    const Node *node;
    const void *attrs;
    Val in[SCALAR_INPUTS]; /* vectors (f32) */
    Val n, cb, y, x;     /* image, channel block, row, column of the vector, for random numbers;
                            all i64 */
    int64_t width, height; /* of the tensor, to number its elements */
    Val element, image;  /* block kernels: number of the element; images of the lanes (i32 vectors);
                            then n, cb, y, x mean nothing */
};

/* for (task = lo; task < hi; ++task): decode helpers */
Loop task_loop(KernelCtx *k);            /* .i = task; close with task_end */
void task_end(KernelCtx *k, Loop *l);
/* Walks the rows of a [c, h, w] tensor that this kernel's tasks lo..hi cover, as choose_rows split
 * them: each task is Kernel.tile.oc channel blocks by Kernel.tile.rows rows of one image. */
typedef void (*RowFn)(KernelCtx *k, void *user, Val n, Val cb, Val y);
void rows_for_each(KernelCtx *k, int64_t cblocks, int64_t height, RowFn row, void *user);
void rows_split(int64_t cblocks, int64_t height, int64_t width, struct Kernel *k);
/* x^p (algebra_lower.c); where p is no whole number, x > 0 */
Val vec_power(Emit *e, Val x, double p);
/* i / extent and i % extent with constant extent */
void split_index(Emit *e, Val i, int64_t extent, Val *quot, Val *rem);

/* rt_frame fields; the scalars are numbered as in rt_abi.h (codegen asserts it) */
enum { SCALAR_INV_N, SCALAR_LR, SCALAR_MOMENTUM, SCALAR_DECAY, SCALAR_SECOND, SCALAR_CORRECT1,
       SCALAR_CORRECT2, SCALAR_CLIP };
Val frame_scalar(KernelCtx *k, int index);
Val frame_label(KernelCtx *k, int slot, Val n);  /* class index of image n, i64 */
Val frame_input(KernelCtx *k, int slot);         /* const float *: NCHW images */

#endif
