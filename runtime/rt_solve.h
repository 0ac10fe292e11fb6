/* rt_solve.h: dense linear algebra in double precision: products of two tables of samples, Cholesky's
 * factorisation, and systems with many right sides.
 *
 * Right sides stand in panels of RT_LANES columns, x[row * RT_LANES + column], so that a column is a
 * lane of a vector register.  Every number is summed by one thread in one order, products and sums
 * rounded one by one: the same bits for any number of threads and any vector width.
 * theory: Golub, Van Loan, "Matrix computations", section 4.2; Goto and van de Geijn 2008 (tiles).
 */
#ifndef RT_SOLVE_H
#define RT_SOLVE_H

#include <stdint.h>

#include "rt_error.h"

enum { RT_LANES = 8 };

/* A table: n rows of `columns` floats, and behind them, where one is set, a 1. */
typedef struct rt_table {
    const float *at;
    int64_t columns;
    int one;
} rt_table;

/* out[i * (columns of b, with the one) + j] = sum over n rows of a[row][i] * b[row][j].  Of a table
 * with itself (a.at == b.at) only what is not above the diagonal.  ELIMIT: no memory. */
int rt_products(rt_table a, rt_table b, int64_t n, double *out, int threads, rt_error *err);

/* out[r][lane] = sum over k < inner of a[r * step + k] * b[k][lane], r < rows, for `panels` of them:
 * b and out are inner and rows rows of RT_LANES, panel after panel. */
void rt_panels_mul(const double *a, int64_t step, int64_t rows, int64_t inner, const double *b,
                   double *out, int64_t panels);

/* a (n x n, what is not above the diagonal): becomes L with a = L L^T, and above the diagonal L^T.
 * EDIVERGED: a is not positive definite, or not finite. */
int rt_cholesky(double *a, int64_t n, int threads, rt_error *err);
/* x: panels of n rows, in place x := (L L^T)^-1 x. */
void rt_cholesky_solve(const double *l, int64_t n, double *x, int64_t panels);

#endif
