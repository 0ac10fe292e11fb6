/* rt_rbm.h: a convolutional restricted Boltzmann machine with probabilistic max pooling.
 *
 * Visible maps v [channels][h][w] and hidden maps [maps][oh][ow] of 0 and 1, joined by kernels as a
 * convolution is; of each block of pool x pool hidden cells at most one is on:
 *   I[k,y,x] = bias[k] + sum of weight[k,c,i,j] v[c,y+i,x+j]
 *   E(v, h)  = -sum of h I(v) - sum of visible[c] v        binary v: 0 and 1
 *              -sum of h I(v) + sum of (v - visible[c])^2 / 2   Gaussian v, deviation 1
 * theory: Lee, Grosse, Ranganath, Ng 2009, "Convolutional deep belief networks", sections 3.1 to
 * 3.4; Hinton 2002 (contrastive divergence).  Hidden cells beyond the last whole block are left out.
 */
#ifndef RT_RBM_H
#define RT_RBM_H

#include "rt_error.h"
#include "rt_rng.h"

typedef struct rt_rbm {
    int64_t channels, h, w;         /* visible */
    int64_t maps, kh, kw, pool;
    int gaussian;
    int64_t oh, ow;                 /* hidden: made by open, as what follows */
    float *weight, *bias, *visible; /* [maps][channels][kh][kw], [maps], [channels]: zeros */
} rt_rbm;

/* ELIMIT: no memory.  EUSAGE: the kernel does not fit, or not one block. */
int rt_rbm_open(rt_rbm *r, rt_error *err);
void rt_rbm_close(rt_rbm *r);
int64_t rt_rbm_weights(const rt_rbm *r);
int64_t rt_rbm_seen(const rt_rbm *r);   /* numbers of v */
int64_t rt_rbm_hidden(const rt_rbm *r); /* numbers of h */

/* p[k,y,x] = P(h = 1 | v) = exp(I) / (1 + sum over its block of exp(I)) */
void rt_rbm_expect(const rt_rbm *r, const float *v, float *p);
/* One cell of each block, or none, by those probabilities: stream (a, b) of rng. */
void rt_rbm_draw(const rt_rbm *r, const float *p, rt_rng rng, uint32_t a, uint32_t b, float *h);
/* v = the mean of P(v | h) */
void rt_rbm_dream(const rt_rbm *r, const float *h, float *v);
/* F(v) = -log of the sum over all h of exp(-E(v, h)); p: room for the hidden numbers. */
double rt_rbm_free_energy(const rt_rbm *r, const float *v, float *p);
/* Adds sign times -dF/d(weight, bias, visible) at v, p being P(h = 1 | v). */
void rt_rbm_gather(const rt_rbm *r, const float *v, const float *p, float sign, float *weight,
                   float *bias, float *visible);

/* CD-1: the gradient at v less that at its reconstruction (the mean of v given one drawn h), written
 * over the three sums.  room: 2 hidden + 1 visible numbers.  on[k]: mean of P(h = 1 | v) in map k.
 * Returns the sum of (v - reconstruction)^2. */
double rt_rbm_contrast(const rt_rbm *r, const float *v, rt_rng rng, uint32_t a, uint32_t b,
                       float *room, float *weight, float *bias, float *visible, float *on);

#endif
