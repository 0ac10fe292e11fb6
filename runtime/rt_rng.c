/* rt_rng.c: Philox4x32-10, normal numbers, permutations (see rt_rng.h).
 *
 * ensures: the same bits on every machine: the runtime is built with -ffp-contract=off, and the
 * logarithm and sine are our own polynomials in double, rounded once to float at the end.
 * theory: Salmon et al., SC 2011 (Philox); Box, Muller 1958; Luby, Rackoff 1988 (Feistel).
 */
#include "rt_rng.h"

enum { PHILOX_ROUNDS = 10, FEISTEL_ROUNDS = 8 };

rt_rng rt_rng_make(uint64_t seed, uint32_t purpose) {
    uint32_t high = (uint32_t)(seed >> 32);
    return (rt_rng){{(uint32_t)seed, purpose ^ (high * 0x9E3779B1u)}};
}

void rt_rng_block(rt_rng rng, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t out[4]) {
    uint32_t x0 = a, x1 = b, x2 = c, x3 = d, k0 = rng.key[0], k1 = rng.key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * x0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

/* ln(m * 2^e) for m in [1,2): with s = (m-1)/(m+1) after centring m on 1, ln m = 2 artanh s.
 * |s| <= 0.1716, so eleven odd powers leave an error below 1e-17. */
static double log_exact(double x) {
    int e = 0;
    while (x < 1.0) { /* x >= 2^-33: at most 33 exact doublings */
        x *= 2.0;
        e--;
    }
    if (x > 1.4142135623730951) {
        x *= 0.5;
        e++;
    }
    double s = (x - 1.0) / (x + 1.0), z = s * s, sum = 0.0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * z + 1.0 / (double)k;
    return 2.0 * s * sum + (double)e * 0.69314718055994530942;
}

/* cos and sin of 2 pi u, u in [0,1): quadrant first, then Taylor on |t| <= pi/4. */
static void cos_sin_turn(double u, double *c, double *s) {
    int quadrant = (int)(u * 4.0 + 0.5);
    double t = (u - (double)quadrant * 0.25) * 6.28318530717958647693, z = t * t;
    double sn = 1.0, cs = 1.0;
    for (int k = 17; k >= 3; k -= 2)
        sn = 1.0 - sn * z / (double)(k * (k - 1));
    for (int k = 18; k >= 2; k -= 2)
        cs = 1.0 - cs * z / (double)(k * (k - 1));
    sn *= t;
    switch (quadrant & 3) {
    case 0:
        *c = cs;
        *s = sn;
        break;
    case 1:
        *c = -sn;
        *s = cs;
        break;
    case 2:
        *c = -cs;
        *s = -sn;
        break;
    default:
        *c = sn;
        *s = -cs;
        break;
    }
}

void rt_rng_normal2(uint32_t bits0, uint32_t bits1, float out[2]) {
    /* (bits + 1/2) / 2^32 lies strictly inside (0,1): the logarithm is finite. */
    double u = ((double)bits0 + 0.5) * 0x1p-32, v = (double)bits1 * 0x1p-32, c, s;
    double r = __builtin_sqrt(-2.0 * log_exact(u)); /* IEEE: exactly rounded everywhere */
    cos_sin_turn(v, &c, &s);
    out[0] = (float)(r * c);
    out[1] = (float)(r * s);
}

/* Element i lives in word i & 3 of block i >> 2; the block number is split over c and d. */
void rt_rng_fill_uniform(rt_rng rng, uint32_t a, uint32_t b, uint64_t first, float lo, float hi,
                         float *dst, size_t n) {
    uint32_t word[4];
    for (size_t i = 0; i < n; i++) {
        uint64_t at = first + i;
        if (i == 0 || (at & 3) == 0)
            rt_rng_block(rng, a, b, (uint32_t)(at >> 2), (uint32_t)(at >> 34), word);
        dst[i] = lo + (hi - lo) * rt_rng_unit(word[at & 3]);
    }
}

void rt_rng_fill_normal(rt_rng rng, uint32_t a, uint32_t b, uint64_t first, float mean, float std,
                        float *dst, size_t n) {
    float value[4];
    for (size_t i = 0; i < n; i++) {
        uint64_t at = first + i;
        if (i == 0 || (at & 3) == 0) {
            uint32_t word[4];
            rt_rng_block(rng, a, b, (uint32_t)(at >> 2), (uint32_t)(at >> 34), word);
            rt_rng_normal2(word[0], word[1], value);
            rt_rng_normal2(word[2], word[3], value + 2);
        }
        dst[i] = mean + std * value[at & 3];
    }
}

rt_perm rt_perm_make(uint64_t n, uint64_t seed, uint32_t purpose, uint32_t epoch) {
    rt_perm perm = {.n = n, .half_bits = 1};
    while (perm.half_bits < 32 && n > (uint64_t)1 << (2 * perm.half_bits))
        perm.half_bits++;
    rt_rng rng = rt_rng_make(seed, purpose);
    rt_rng_block(rng, epoch, 0xFE157E1u, 0, 0, perm.round_key);
    rt_rng_block(rng, epoch, 0xFE157E1u, 1, 0, perm.round_key + 4);
    return perm;
}

/* Murmur3's finaliser: each output bit depends on each input bit. */
static uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x85EBCA6Bu;
    x ^= x >> 13;
    x *= 0xC2B2AE35u;
    return x ^ (x >> 16);
}

uint64_t rt_perm_at(const rt_perm *perm, uint64_t i) {
    uint32_t mask = perm->half_bits == 32 ? 0xFFFFFFFFu : ((uint32_t)1 << perm->half_bits) - 1;
    do {
        uint32_t left = (uint32_t)(i >> perm->half_bits) & mask, right = (uint32_t)i & mask;
        for (int r = 0; r < FEISTEL_ROUNDS; r++) {
            uint32_t next = left ^ (mix(right + perm->round_key[r]) & mask);
            left = right;
            right = next;
        }
        i = (uint64_t)left << perm->half_bits | right;
    } while (i >= perm->n); /* on average below four steps; a cycle through i < n always ends */
    return i;
}
