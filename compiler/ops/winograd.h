/* winograd.h: small transforms for fast correlation (Toom, Cook; Winograd), shared by forward,
 * backward data and backward weights.
 *
 * F(m, r): m outputs of a filter of r taps from n = m + r - 1 products instead of m * r:
 *     y = AT [(G g) .* (BT d)],   d: n inputs, g: r taps, y: m outputs;
 * in two dimensions each matrix is applied from both sides (Y = AT M A, U = G g GT, V = BT d B).
 * The gradient of the taps is the adjoint in g: dg = GT [(BT d) .* (A dy)].
 * theory: Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, "Fast
 * algorithms for convolutional neural networks"; Barabasz et al. 2020, "Error analysis and
 * improving the accuracy of Winograd convolution" (which points).
 */
#ifndef OPS_WINOGRAD_H
#define OPS_WINOGRAD_H

#include "emit/emit.h"

enum { WINO_MAX = 8 };

typedef struct WinoMatrix {
    int rows, cols;
    double at[WINO_MAX][WINO_MAX];
} WinoMatrix;

typedef struct WinoMatrices {
    int m, r, n;      /* outputs, taps, products */
    WinoMatrix bt;    /* n x n: inputs */
    WinoMatrix g, gt; /* n x r: taps; r x n */
    WinoMatrix a, at; /* n x m; m x n: outputs */
    int one;          /* the product at point 1: adding b to it adds b to every output; -1: none */
} WinoMatrices;

/* The matrices of F(m, r); n = m + r - 1 must be 4, 6 or 8 (points 0, 1, -1, 2, -2, 1/2, -1/2 and
 * infinity, as many as needed; for the gradient of the taps and n = 6: 0, 3/4, -3/4, 3/2, -3/2 and
 * infinity, which round less, but have no product `one`). */
WinoMatrices wino_matrices(int m, int r, bool gradient);

/* out[i * out_step] = sum over k of matrix[i][k] * in[k * in_step], in few operations.  An input
 * that is NULL stands for zero; an output all of whose inputs are zero or meet zeros is NULL.
 * in and out must not overlap. */
void wino_apply(Emit *e, const WinoMatrix *matrix, const Val *in, int in_step, Val *out,
                int out_step);
/* out = matrix * in * transpose(matrix): in is cols x cols (row-major), out rows x rows.  NULLs as
 * above. */
void wino_apply2(Emit *e, const WinoMatrix *matrix, const Val *in, Val *out);
/* Vector instructions of wino_apply and wino_apply2, for the cost model. */
int wino_ops(const WinoMatrix *matrix);
int wino_ops2(const WinoMatrix *matrix);

#endif
