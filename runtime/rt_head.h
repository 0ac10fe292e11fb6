/* rt_head.h: linear classifiers on rows of features: softmax, and support vector machines with the
 * squared hinge loss, every class against all others.
 *
 * Trained by stochastic gradient descent with momentum in plain C.  Every number is computed by one
 * thread in one order: the same bits for any number of threads and any vector width.
 */
#ifndef RT_HEAD_H
#define RT_HEAD_H

#include <stdint.h>

#include "rt_error.h"

enum { RT_HEAD_SOFTMAX, RT_HEAD_SVM, RT_HEADS };
extern const char *const rt_head_names[RT_HEADS]; /* "softmax", "svm" */

typedef struct rt_head {
    int kind;
    int64_t dim, classes;
    float *w, *b; /* classes * dim, classes */
    float *speed, *speed_b;
} rt_head;

int rt_head_open(rt_head *h, int kind, int64_t dim, int64_t classes, rt_error *err); /* zeros */
void rt_head_close(rt_head *h);

/* scores[i * classes + c] of n rows x[i * dim ..]. */
void rt_head_scores(const rt_head *h, const float *x, int64_t n, float *scores, int threads);
/* One step on n rows.  decay: of the weights, not the biases.  room: n * classes floats. */
void rt_head_step(rt_head *h, const float *x, const int32_t *label, int64_t n, double rate,
                  double decay, float *room, int threads);
/* The rate to begin with, for rows whose mean squared length is 1. */
double rt_head_rate(int kind);

#endif
