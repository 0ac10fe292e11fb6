/* rt_fft.h: a small discrete Fourier transform for sizes that are products of small primes.
 *
 *   out[k] = sum over j of in[j] exp(-2 pi i j k / n)
 * theory: Cooley and Tukey 1965, any radix: one prime factor of n after the other, n log n
 * operations.  Sums have one order: the same bits for any number of threads.
 */
#ifndef RT_FFT_H
#define RT_FFT_H

#include <stdint.h>

#include "rt_error.h"

typedef struct rt_complex {
    float re, im;
} rt_complex;

typedef struct rt_fft {
    int64_t n;
    rt_complex *turn; /* exp(-2 pi i k / n), rounded once from double */
} rt_fft;

enum { RT_FFT_PRIME = 64 }; /* largest prime factor */
/* The least size of n or more whose factors are 2, 3 and 5. */
int64_t rt_fft_size(int64_t n);
/* ELIMIT: a prime factor beyond RT_FFT_PRIME. */
int rt_fft_open(rt_fft *f, int64_t n, rt_error *err);
void rt_fft_close(rt_fft *f);
/* out: n numbers, not in; `step` lies between two numbers of in. */
void rt_fft_run(const rt_fft *f, const rt_complex *in, int64_t step, rt_complex *out);

/* The Hartley transform of h x w real numbers, its own inverse and adjoint:
 *   x[k] <- 1 / sqrt(h w) sum over j of x[j] cas(2 pi (k . j)),  cas = cos + sin
 * room: 2 h w + the longer side. */
void rt_hartley(const rt_fft *rows, const rt_fft *columns, float *x, rt_complex *room);

#endif
