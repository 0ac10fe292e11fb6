/* rt_rng.h: counter-based random numbers.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
 * 2011).  A number is a pure function of key = (seed, purpose) and counter = (a, b, c, d), so there
 * is no state to save and the result does not depend on threads, order or resume point.
 * Convention: a = epoch or step, b = sample or layer, c:d = element (c low word).
 */
#ifndef RT_RNG_H
#define RT_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct rt_rng {
    uint32_t key[2];
} rt_rng;

/* One stream per use; new uses get new numbers, numbers are never reused (they fix the bits). */
enum rt_purpose {
    RT_RNG_INIT = 1,    /* weight initialisation: a = 0, b = parameter index */
    RT_RNG_SHUFFLE = 2, /* order of samples: a = epoch */
    RT_RNG_DROPOUT = 3, /* a = step, b = node, c = element */
    RT_RNG_AUGMENT = 4, /* a = epoch, b = sample */
    RT_RNG_DIGITS_TRAIN = 5,
    RT_RNG_DIGITS_TEST = 6,
    RT_RNG_VIZ = 7, /* visualization: noise, start images */
    RT_RNG_SPLIT = 8,
    RT_RNG_CURVATURE = 9, /* samples that curvatures are found on: a = epoch */
    RT_RNG_RBM = 10,      /* pretraining: a = step, b = image of the batch; weights: a = UINT32_MAX */
    RT_RNG_ATTACK = 11,   /* where attacks begin: a = step, b = image of the batch; eval: a =
                             UINT32_MAX, b = sample */
    RT_RNG_TEST = 99
};

/* key = (low 32 bits of seed, purpose), the high bits of seed mixed into the second word. */
rt_rng rt_rng_make(uint64_t seed, uint32_t purpose);

/* The raw block: four 32-bit words. */
void rt_rng_block(rt_rng rng, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t out[4]);

/* 32 random bits to [0, 1) with 24 bits: every value is exact in float, 1 never occurs. */
static inline float rt_rng_unit(uint32_t bits) {
    return (float)(bits >> 8) * 0x1p-24f;
}

/* 32 random bits to 0..n-1 (n > 0) by multiplication; bias below n / 2^32. */
static inline uint32_t rt_rng_below(uint32_t bits, uint32_t n) {
    return (uint32_t)(((uint64_t)bits * n) >> 32);
}

/* Two words to two independent N(0,1) numbers: Box-Muller with polynomials of our own, so that the
 * bits do not depend on the C library. */
void rt_rng_normal2(uint32_t bits0, uint32_t bits1, float out[2]);

/* Elements first..first+n-1 of stream (a, b): dst[i] is a function of (a, b, first + i) only. */
void rt_rng_fill_uniform(rt_rng rng, uint32_t a, uint32_t b, uint64_t first, float lo, float hi,
                         float *dst, size_t n);
void rt_rng_fill_normal(rt_rng rng, uint32_t a, uint32_t b, uint64_t first, float mean, float std,
                        float *dst, size_t n);

/* A pseudo-random permutation of 0..n-1 that needs no memory: a Feistel network over the next power
 * of four, walked until it lands below n (Black, Rogaway: "Ciphers with arbitrary finite domains",
 * CT-RSA 2002).  Every epoch is another permutation. */
typedef struct rt_perm {
    uint64_t n;
    uint32_t half_bits;
    uint32_t round_key[8];
} rt_perm;
rt_perm rt_perm_make(uint64_t n, uint64_t seed, uint32_t purpose, uint32_t epoch);
uint64_t rt_perm_at(const rt_perm *perm, uint64_t i); /* requires i < n */

#endif
