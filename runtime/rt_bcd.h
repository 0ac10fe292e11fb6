/* rt_bcd.h: training a chain of dense layers and rectifiers by block coordinate descent, without
 * gradients through the chain: every layer's sums U and values V become unknowns of their own, tied to
 * each other by squares, and each block of unknowns in turn takes its best value given all others:
 *   F = 1/2 |V_N - Y|^2 + sum over i of gamma/2 |V_i - s_i(U_i)|^2 + rho/2 |U_i - W_i V_{i-1} - b_i|^2
 *       + decay/2 |W_i|^2
 * over all samples; V_0 the images, Y 1 for a sample's class and 0 for the others, s_i the rectifier,
 * s_N the identity.  Blocks go V_N, U_N, W_N, V_{N-1}, .., W_1; V_N, W_i and the U_i of rectifiers also
 * pay alpha/2 times the square of their way from where they were.  So F never grows.
 * theory: Zeng, Lau, Lin, Yao 2019, "Global convergence of block coordinate descent in deep learning",
 * algorithm 2 (three splittings).
 */
#ifndef RT_BCD_H
#define RT_BCD_H

#include <stdint.h>

#include "rt_error.h"

enum { RT_BCD_LAYERS = 32 };

typedef struct rt_bcd {
    /* the caller's, before open */
    int64_t n, layers;
    int64_t width[RT_BCD_LAYERS + 1]; /* width[0]: numbers of an image; width[i]: of layer i */
    int bias[RT_BCD_LAYERS + 1];      /* layer i has one (1 or 0) */
    double gamma, rho, alpha, decay;  /* above 0; alpha, decay: 0 and more */
    int threads;
    const float *x;                   /* n rows of width[0] */
    const int32_t *label;             /* n */
    /* made by open, index 1 .. layers; u and v hold n rows of width[i] */
    double *w[RT_BCD_LAYERS + 1];     /* width[i] rows of width[i - 1] weights and the bias: zeros */
    float *u[RT_BCD_LAYERS + 1], *v[RT_BCD_LAYERS + 1];
    double *factor, *first, *right, *turned; /* a system, the first layer's, right sides, W^T */
    double *room, *part;              /* of a thread; sums over chunks of samples */
    int64_t most, have_first;
} rt_bcd;

/* EUSAGE: no layer, or too many.  ELIMIT: no memory. */
int rt_bcd_open(rt_bcd *b, rt_error *err);
void rt_bcd_close(rt_bcd *b);
/* Numbers of a row of w[i]: width[i - 1] and the bias. */
int64_t rt_bcd_columns(const rt_bcd *b, int64_t i);
/* Bytes that open takes. */
double rt_bcd_bytes(const rt_bcd *b);

/* U and V become what the weights make of the images. */
void rt_bcd_forward(rt_bcd *b);
double rt_bcd_objective(rt_bcd *b, double *loss); /* F; *loss: its first term */

/* One block each; EDIVERGED: a system without a solution. */
void rt_bcd_update_u(rt_bcd *b, int64_t i);
int rt_bcd_update_v(rt_bcd *b, int64_t i, rt_error *err);
int rt_bcd_update_w(rt_bcd *b, int64_t i, rt_error *err);
/* All blocks once.  stop (or NULL) is asked before each layer and may answer an error code. */
int rt_bcd_sweep(rt_bcd *b, int (*stop)(void *context, int64_t layer), void *context, rt_error *err);

/* The u nearest to all: least gamma/2 (v - max(u, 0))^2 + weight/2 (u - q)^2. */
double rt_bcd_prox(double v, double q, double gamma, double weight);

#endif
