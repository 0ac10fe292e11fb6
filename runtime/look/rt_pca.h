/* rt_pca.h: principal components, and the eigenvalues of symmetric matrices behind them.
 *
 * theory: Pearson 1901; Halko, Martinsson, Tropp 2011 (block iteration with Rayleigh-Ritz).  The sign
 * of a component is free: the loading of largest magnitude is made positive, so that two runs agree.
 */
#ifndef RT_PCA_H
#define RT_PCA_H

#include <stdint.h>

#include "rt_error.h"

/* The k largest eigenvalues of the symmetric m x m matrix a, falling, and unit eigenvectors as rows of
 * vector (k x m).  With k + 10 >= m to rounding errors, else to about 1e-10 of the largest.  The
 * same bits for any number of threads. */
int rt_eigen(const double *a, int64_t m, int64_t k, double *value, double *vector, int threads,
             rt_error *err);

typedef struct rt_pca {
    int64_t d, k;
    double *mean;     /* d */
    double *axis;     /* k rows of d: unit vectors, or zeros where no variance is left */
    double *variance; /* k, falling; divided by n - 1 */
    double total;     /* of all d */
} rt_pca;

/* Of n rows of d numbers; k is cut to min(n, d).  ELIMIT: min(n, d) above RT_PCA_MAX. */
enum { RT_PCA_MAX = 4096 };
int rt_pca_fit(rt_pca *p, const float *x, int64_t n, int64_t d, int64_t k, int threads,
               rt_error *err);
void rt_pca_close(rt_pca *p);
/* y: n rows of k coordinates. */
void rt_pca_apply(const rt_pca *p, const float *x, int64_t n, double *y, int threads);
/* Share of the variance that component i explains; 0 of rows that are all equal. */
double rt_pca_ratio(const rt_pca *p, int64_t i);

#endif
