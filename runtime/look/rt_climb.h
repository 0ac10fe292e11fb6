/* rt_climb.h: how a vector of floats goes uphill (or downhill) on an objective, one step at a time.
 *
 * Step rules change x by the gradient alone; L-BFGS keeps pairs of changes and asks for values and
 * gradients itself.  All sums in double precision and fixed order: the same steps for any number of
 * threads.
 */
#ifndef RT_CLIMB_H
#define RT_CLIMB_H

#include "netrt.h"

/* x += direction of the rule.
 *   PLAIN     rate g
 *   MEAN      rate g / mean |g|                                 (DeepDream)
 *   NORM      rate g / |g|                                      (length of the step = rate)
 *   SIGN      rate sign g                                       (FGSM, PGD)
 *   PROGRESS  min(limit, rate / |g|^2) g    (Yosinski: to first order the value grows by `rate`)
 *   MOMENTUM  v = keep v + rate g; x += v
 *   ADAM      Kingma and Ba 2015, eps beside the root, with bias correction
 *   ADAGRAD   G = keep G + g^2; v = keep v + g / (1/rate + sqrt G); x += v
 *                                                    (Mahendran and Vedaldi 2016, section 4.5)
 * A gradient of zeros moves nothing. */
enum { RT_STEP_PLAIN, RT_STEP_MEAN, RT_STEP_NORM, RT_STEP_SIGN, RT_STEP_PROGRESS, RT_STEP_MOMENTUM,
       RT_STEP_ADAM, RT_STEP_ADAGRAD };

typedef struct rt_climb {
    int rule;
    double rate, keep, limit; /* keep: MOMENTUM, ADAGRAD 0.9; ADAM beta1 */
    int64_t n, step;
    float *v, *g2;            /* moving sums of the rules that have them */
} rt_climb;

int rt_climb_open(rt_climb *c, int rule, double rate, int64_t n, rt_error *err);
void rt_climb_close(rt_climb *c);
void rt_climb_step(rt_climb *c, float *x, const float *g);

/* Limited-memory BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 7.5): `f` gives
 * value and gradient of what is to become small.  A step is accepted by the conditions of Armijo and
 * of Wolfe (weak), found by halving and doubling; first step of length `first`. */
typedef int (*rt_value_fn)(void *context, const float *x, double *value, float *g, rt_error *err);
typedef struct rt_lbfgs {
    rt_value_fn f;
    void *context;
    int64_t n;
    int keep, have, evaluations; /* keep: pairs, at most RT_LBFGS_MAX */
    double first, value;
    float *x, *g, *try_x, *try_g, *direction;
    float *s, *y;   /* keep * n */
    double *rho;
    int newest;
} rt_lbfgs;
enum { RT_LBFGS_MAX = 32 };

/* x: the start, changed in place, the caller's.  One evaluation of f. */
int rt_lbfgs_open(rt_lbfgs *l, rt_value_fn f, void *context, float *x, int64_t n, int keep,
                  double first, rt_error *err);
void rt_lbfgs_close(rt_lbfgs *l);
/* One step: *moved 0 when no step makes the value smaller (the end).  l->value is at x. */
int rt_lbfgs_step(rt_lbfgs *l, int *moved, rt_error *err);

#endif
