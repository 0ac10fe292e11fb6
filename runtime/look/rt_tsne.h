/* rt_tsne.h: t-SNE: points of many dimensions laid out in the plane so that neighbours stay
 * neighbours; exact, or with the repulsion of far groups summed up (Barnes and Hut).
 *
 * theory: van der Maaten and Hinton 2008 (JMLR 9); van der Maaten 2014 (JMLR 15: Barnes-Hut, and the
 * constants used here: those of his program).  The gradient here is the true one,
 * 4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2); that program leaves out the 4, so that
 * its rate of 200 is 50 here; of fewer than 600 points it is n / 12, or some would be thrown out.
 */
#ifndef RT_TSNE_H
#define RT_TSNE_H

#include <stdint.h>

#include "rt_error.h"

/* Joint probabilities p_ij of pairs, symmetric, their sum is 1: row i is entries
 * row[i] .. row[i + 1] - 1, columns rising. */
typedef struct rt_pairs {
    int64_t n, *row;
    int32_t *column;
    double *p;
    double *beta; /* of each point: 1 / (2 variance), in the scale of x */
} rt_pairs;

/* x: n rows of d.  Each point sees its `neighbours` nearest others (all of them: n - 1), with a
 * width that makes the perplexity of its probabilities the one asked for. */
int rt_pairs_make(rt_pairs *p, const double *x, int64_t n, int64_t d, double perplexity,
                  int64_t neighbours, int threads, rt_error *err);
void rt_pairs_free(rt_pairs *p);
/* Probabilities of m others at squared distances d2; the width found. */
double rt_tsne_row(const double *d2, int64_t m, double perplexity, double *p);

/* Sum of p log(p / q) at y (n x 2), and its gradient (n x 2, or NULL), with all p times `boost` in
 * the gradient.  tree: repulsion through a tree, cells of side / distance below theta as one;
 * else over all pairs. */
int rt_tsne_slope(const rt_pairs *p, const double *y, double boost, int tree, double theta,
                  int threads, double *gradient, double *kl, rt_error *err);

typedef struct rt_tsne {
    double perplexity;  /* cut to (n - 1) / 3 */
    double theta;       /* 0: exact */
    int64_t iterations;
    uint64_t seed;
    int threads;
    int (*tick)(void *context, int64_t iteration, double kl); /* not 0: stop; NULL: none */
    void *context;
    double kl;          /* out: at the end */
} rt_tsne;
/* y: n x 2, centred.  x is divided by its largest magnitude first, as the paper's program does. */
int rt_tsne_run(rt_tsne *t, const double *x, int64_t n, int64_t d, double *y, rt_error *err);

#endif
