/* rt_nc.h: neural collapse: the four measures of how far the features of a trained classifier have
 * shrunk to the corners of a simplex.
 *
 * theory: Papyan, Han, Donoho 2020 (PNAS 117).  With class means mu_c, M their differences from the
 * mean of the class means as columns, S_W the covariance within the classes (mean over all samples),
 * S_B = M M^T / C and W the classifier's weights, a row per class:
 *   NC1  tr(S_W S_B^+) / C                         variation within classes goes to 0
 *   NC2  std / mean of |M_c|, of |W_c|; mean over pairs of |cos + 1 / (C - 1)| for M and W
 *   NC3  |W / |W| - M^T / |M||^2 (Frobenius)       the classifier becomes the means
 *   NC4  share of samples whose answer is not the class of the nearest mean
 */
#ifndef RT_NC_H
#define RT_NC_H

#include <stdint.h>

#include "rt_error.h"

typedef struct rt_nc {
    double within;                 /* NC1 */
    double norm_means, norm_weights;
    double angle_means, angle_weights;
    double duality;                /* NC3 */
    double nearest;                /* NC4 */
    int64_t classes;               /* those with samples, 2 or more */
} rt_nc;

/* x: n rows of d features, of class label[i] in 0 .. classes - 1 (others are left out); w: classes
 * rows of d, or NULL: what needs them is NaN; answer: the classes predicted, or NULL.  EDATA: fewer
 * than two classes have samples. */
int rt_nc_measure(rt_nc *out, const float *x, int64_t n, int64_t d, const int32_t *label,
                  int64_t classes, const float *w, const int32_t *answer, int threads,
                  rt_error *err);

#endif
