/* emit_math.c: exp, log, tanh, powers and random bits as inline vector code (see emit.h).
 *
 * Own polynomials (interpolation at Chebyshev nodes, computed with 60 digits) instead of a libm:
 * LLVM would call libm once per lane, and every libm rounds differently.  Argument reduction after
 * Cody and Waite, "Software Manual for the Elementary Functions" (1980).  Philox4x32-10: Salmon et
 * al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
 * ensures: error bounds as stated at each function (measured in tests/unit/test_emit.c); NaN in,
 * NaN out.  Works on scalars and vectors alike.
 */
#include <math.h>

#include "emit/emit_private.h"

/* log 2 = HI + LO, HI exact in 9 bits so that n * HI is exact without FMA */
#define LN2_HI 0.693359375
#define LN2_LO -2.1219444005469057e-4

static Val poly(Emit *e, Val x, const double *c, int n) {
    Val y = emit_like(x, c[n - 1]);
    for (int i = n - 2; i >= 0; --i)
        y = em_fma(e, y, x, emit_like(x, c[i]));
    return y;
}

static Val as_int(Emit *e, Val x) {
    return LLVMBuildBitCast(e->b, x, emit_int_type_like(e, x), "");
}

static Val as_float(Emit *e, Val i, Val like) {
    return LLVMBuildBitCast(e->b, i, LLVMTypeOf(like), "");
}

/* 2^n for integers -126 <= n <= 127, as i32 */
static Val power_of_two(Emit *e, Val n, Val like) {
    Val biased = LLVMBuildAdd(e->b, n, emit_int_like(e, n, 127), "");
    return as_float(e, LLVMBuildShl(e->b, biased, emit_int_like(e, n, 23), ""), like);
}

/* exp(x) = 2^n exp(r), |r| <= log(2)/2; n is split in two so that subnormals and overflow round
 * like the real thing.  <= 2 ulp. */
Val em_exp(Emit *e, Val x) {
    static const double c[] = {0.5000000014,   0.1666666668,   0.0416664642,
                               0.008333310845, 0.001393373072, 0.0001989108046};
    const double shift = 12582912; /* 1.5 * 2^23: adding it rounds to an integer */
    /* written so that NaN passes: fmin(a, b) gives b when either is NaN */
    x = em_fmin(e, emit_like(x, 89), x);
    x = em_fmax(e, emit_like(x, -104), x);
    Val n = em_fma(e, x, emit_like(x, 1.4426950408889634), emit_like(x, shift));
    n = em_fsub(e, n, emit_like(x, shift));
    Val r = em_fma(e, n, emit_like(x, -LN2_HI), x);
    r = em_fma(e, n, emit_like(x, -LN2_LO), r);
    Val y = em_fma(e, poly(e, r, c, 6), em_fmul(e, r, r), r);
    y = em_fadd(e, y, emit_like(x, 1));
    /* a NaN makes the conversion poison: replace it first, y carries the NaN on */
    Val safe = em_select(e, em_fcmp(e, EM_LE, n, emit_like(x, 200)), n, emit_like(x, 0));
    Val i = LLVMBuildFPToSI(e->b, safe, emit_int_type_like(e, x), "");
    Val half = LLVMBuildAShr(e->b, i, emit_int_like(e, i, 1), "");
    Val rest = LLVMBuildSub(e->b, i, half, "");
    y = em_fmul(e, y, power_of_two(e, half, x));
    return em_fmul(e, y, power_of_two(e, rest, x));
}

/* x = m 2^k with sqrt(1/2) <= m < sqrt(2); log x = k log 2 + log m.  <= 2 ulp for x > 0;
 * 0 gives -inf, negative NaN, inf inf. */
Val em_log(Emit *e, Val x) {
    static const double c[] = {0.3333333118,  -0.2499999696, 0.2000071575,
                               -0.1666780232, 0.1424905765,  -0.1242568733,
                               0.1168541992,  -0.1147973385, 0.06971611471};
    Val tiny = em_fcmp(e, EM_LT, x, emit_like(x, 0x1p-126));
    Val y = em_select(e, tiny, em_fmul(e, x, emit_like(x, 0x1p23)), x);
    Val bits = as_int(e, y);
    /* subtracting the bits of sqrt(1/2) puts the exponent of m's interval into the high bits */
    Val off = LLVMBuildSub(e->b, bits, emit_int_like(e, bits, 0x3f3504f3), "");
    Val k = LLVMBuildAShr(e->b, off, emit_int_like(e, bits, 23), "");
    Val m = LLVMBuildSub(e->b, bits, LLVMBuildShl(e->b, k, emit_int_like(e, k, 23), ""), "");
    Val kf = LLVMBuildSIToFP(e->b, k, LLVMTypeOf(x), "");
    kf = em_fsub(e, kf, em_select(e, tiny, emit_like(x, 23), emit_like(x, 0)));
    Val f = em_fsub(e, as_float(e, m, x), emit_like(x, 1));
    Val f2 = em_fmul(e, f, f);
    Val r = em_fmul(e, em_fmul(e, poly(e, f, c, 9), f), f2);
    r = em_fma(e, kf, emit_like(x, LN2_LO), r);
    r = em_fma(e, f2, emit_like(x, -0.5), r);
    r = em_fadd(e, f, r);
    r = em_fma(e, kf, emit_like(x, LN2_HI), r);
    r = em_select(e, em_fcmp(e, EM_LT, x, emit_like(x, INFINITY)), r, x); /* inf and NaN */
    Val edge = em_select(e, em_fcmp(e, EM_LT, x, emit_like(x, 0)), emit_like(x, NAN),
                         emit_like(x, -INFINITY));
    return em_select(e, em_fcmp(e, EM_LE, x, emit_like(x, 0)), edge, r);
}

/* x P(x^2) / Q(x^2), degrees 4 and 4, fitted to tanh(x) / x in relative error on |x| <= 9, beyond
 * which tanh rounds to 1 (Lawson's weighted least squares; error of the fit 2.1e-8).  The last two
 * operations keep rounding from leaving [-1, 1].  <= 7 ulp (6 with FMA), 4e-7 absolute; half the
 * operations of a form with exp, which small networks spend a quarter of their time on. */
Val em_tanh(Emit *e, Val x) {
    static const double p[] = {0.999999979784, 0.133809619211, 0.00349551010415,
                               2.06077268146e-5, 1.33526884299e-8};
    static const double q[] = {1, 0.467142776532, 0.0258766911708, 0.000328550385166,
                               7.77576884926e-7};
    const double end = 9;
    /* written so that NaN passes: fmin(a, b) gives b when either is NaN */
    x = em_fmax(e, emit_like(x, -end), em_fmin(e, emit_like(x, end), x));
    Val z = em_fmul(e, x, x);
    Val y = em_fdiv(e, em_fmul(e, x, poly(e, z, p, 5)), poly(e, z, q, 5));
    return em_fmax(e, emit_like(x, -1), em_fmin(e, emit_like(x, 1), y));
}

/* 1 / (1 + exp(-x)).  <= 4 ulp where the result is normal. */
Val em_sigmoid(Emit *e, Val x) {
    Val one = emit_like(x, 1);
    return em_fdiv(e, one, em_fadd(e, one, em_exp(e, em_fneg(e, x))));
}

/* x^-1/2 or x^-3/4 from the exponent's bits (x^p is a straight line in the logarithm, which the bits
 * nearly are; off by 4 % at most) and two steps of third order on y: with u = x^-1/2 of y's making
 * and e = 1 - u^2 x, the error left, (1 - e)^-1/2 or ^-1/4 is expanded to e^2.  Half the time of
 * square roots and a division.  Jarratt 1966; Lomont 2003 on the bits. */
static Val root_power(Emit *e, Val x, bool quarters) {
    x = em_fmin(e, emit_like(x, 0x1.fffffep127), x); /* NaN passes */
    Val i = as_int(e, x), one = emit_like(x, 1), y;
    Val part = LLVMBuildLShr(e->b, i, emit_int_like(e, i, quarters ? 2 : 1), "");
    Val power = quarters ? LLVMBuildSub(e->b, i, part, "") : part;
    int64_t line = quarters ? 0x6f146740 : 0x5f3759df;
    y = as_float(e, LLVMBuildSub(e->b, emit_int_like(e, i, line), power, ""), x);
    for (int step = 0; step < 2; ++step) {
        Val u = em_fmul(e, x, y), v;
        if (quarters) {
            u = em_fmul(e, u, y);
            v = em_fma(e, em_fneg(e, em_fmul(e, u, u)), x, one);
        } else {
            v = em_fma(e, em_fneg(e, u), y, one);
        }
        Val t = em_fma(e, v, emit_like(x, quarters ? 5.0 / 32 : 3.0 / 8),
                       emit_like(x, quarters ? 1.0 / 4 : 1.0 / 2));
        y = em_fma(e, y, em_fmul(e, t, v), y);
    }
    return y;
}

/* x^-beta for normal positive x.  The root forms and the division are within 2 ulp; the general form
 * within 2 + beta |log x| * 3 ulp. */
Val em_pow_neg(Emit *e, Val x, double beta) {
    if (beta == 1)
        return em_fdiv(e, emit_like(x, 1), x);
    if (beta == 0.5 || beta == 0.75)
        return root_power(e, x, beta == 0.75);
    return em_exp(e, em_fmul(e, em_log(e, x), emit_like(x, -beta)));
}

Val em_pow_neg_inverse(Emit *e, Val x, double beta, Val power) {
    if (beta == 1)
        return power;
    if (beta == 0.5)
        return em_fmul(e, power, power);
    if (beta == 0.75) {
        Val u = em_fmul(e, em_fmul(e, x, power), power);
        return em_fmul(e, u, u);
    }
    return em_fdiv(e, emit_like(x, 1), x);
}

void em_philox(Emit *e, Val key[2], Val counter[4], Val out[4]) {
    Val m0 = emit_int_like(e, counter[0], (int32_t)0xD2511F53);
    Val m1 = emit_int_like(e, counter[0], (int32_t)0xCD9E8D57);
    Val w0 = emit_int_like(e, counter[0], (int32_t)0x9E3779B9);
    Val w1 = emit_int_like(e, counter[0], (int32_t)0xBB67AE85);
    Val k0 = key[0], k1 = key[1];
    Val c[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int round = 0; round < 10; ++round) {
        Val h0 = em_mulhi_u32(e, c[0], m0), l0 = em_mul(e, c[0], m0);
        Val h1 = em_mulhi_u32(e, c[2], m1), l1 = em_mul(e, c[2], m1);
        Val n0 = em_xor(e, em_xor(e, h1, c[1]), k0);
        Val n2 = em_xor(e, em_xor(e, h0, c[3]), k1);
        c[0] = n0, c[1] = l1, c[2] = n2, c[3] = l0;
        k0 = em_add(e, k0, w0);
        k1 = em_add(e, k1, w1);
    }
    for (int i = 0; i < 4; ++i)
        out[i] = c[i];
}
