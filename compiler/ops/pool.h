/* pool.h: the maximum of a window, and a pool fused behind another kernel's chain (Kernel.tail):
 * what that kernel's lowering calls.
 *
 * The kernel leaves rows of the pool's source somewhere in memory, then asks for the pooled rows
 * whose windows they fill.  Formulas and order of additions are those of the pool's own kernel.
 */
#ifndef OPS_POOL_H
#define OPS_POOL_H

#include "ops/lower.h"

/* Averages of windows wider than this sum each row by itself, here and in lanes: the error of a
 * window of a whole map stays small. */
enum { POOL_WIDE_ROW = 16 };

/* A NaN wins over every number, for good: a maximum never hides one.  state: value and tap (i32);
 * start with -infinity and 0.  A tap that nobody reads costs nothing. */
void pool_take_max(Emit *e, Val x, Val tap, Val state[2]);
/* The same of all n cells of a window at once, taps 0 .. n - 1 in scan order; state is only
 * written.  Without `taps` (state[1] is left alone) half as many comparisons. */
void pool_max_of(Emit *e, const Val *x, int n, bool taps, Val state[2]);

typedef struct PoolTail PoolTail;

/* src: where the kernel leaves the source of the pool k->k->tail (its shape, blocked). */
PoolTail *pool_tail_open(KernelCtx *k, const View *src);
/* Pooled rows [from, to) of blocks [cb, cb + ncb) of image n, halo and switches included.  The view
 * of the source begins with its block src_cb and row src_y; NULL, NULL: with the whole value. */
void pool_tail_rows(PoolTail *t, Val n, Val cb, int64_t ncb, Val from, Val to, Val src_cb,
                    Val src_y);

#endif
