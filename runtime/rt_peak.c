/* rt_peak.c: measures the multiply-add peak (rt_peak.h).
 *
 * A chain of dependent FMAs hides its latency (4 cycles, two pipes) only with at least 8
 * independent accumulators; 24 reach the peak on AVX-512, 12 fill AVX2's sixteen registers.  Vector
 * types and contraction of a * b + c give the instruction, the target attribute the width, so that
 * one baseline object measures every width.
 */
#include "rt_peak.h"

#include <omp.h>
#include <string.h>

#include "rt_par.h"

#define EACH12(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define EACH24(F) EACH12(F) F(12) F(13) F(14) F(15) F(16) F(17) F(18) F(19) F(20) F(21) F(22) F(23)
#define START(i) V a##i = (V){(float)i};
#define FMA(i) a##i = a##i * x + y;
#define SUM(i) s += a##i;

typedef float V4 __attribute__((vector_size(16)));
typedef float V8 __attribute__((vector_size(32)));
typedef float V16 __attribute__((vector_size(64)));

/* A function of `rounds` rounds; the result only keeps the work alive. */
#define CHAINS(name, type, each, attribute)                                                        \
    attribute static float name(long rounds, float xs, float ys) {                                 \
        typedef type V;                                                                            \
        V x = (V){0} + xs, y = (V){0} + ys, s = (V){0};                                            \
        each(START) for (long r = 0; r < rounds; r++){each(FMA)} each(SUM) return s[0];            \
    }

#if defined(__x86_64__)
CHAINS(chains16, V16, EACH24, __attribute__((target("avx512f,avx512vl,avx2,fma"), noinline)))
CHAINS(chains8, V8, EACH12, __attribute__((target("avx2,fma"), noinline)))
CHAINS(chains4, V4, EACH12, __attribute__((noinline)))
static const double count16 = 24, count8 = 12, count4 = 12;
#else
CHAINS(chains4, V4, EACH24, __attribute__((noinline)))
static const double count4 = 24;
#endif

int rt_peak_lanes(const rt_model *model) {
    const char *needs = model->cpu_needs ? model->cpu_needs : "";
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strstr(needs, "avx512f") && __builtin_cpu_supports("avx512f"))
        return 16;
    if (strstr(needs, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 8;
#endif
    (void)needs;
    return 4;
}

static double flops_of(int lanes, long rounds, float *keep) {
#if defined(__x86_64__)
    if (lanes == 16) {
        *keep += chains16(rounds, 0.999f, 0.001f);
        return 2.0 * 16 * count16 * (double)rounds;
    }
    if (lanes == 8) {
        *keep += chains8(rounds, 0.999f, 0.001f);
        return 2.0 * 8 * count8 * (double)rounds;
    }
#endif
    *keep += chains4(rounds, 0.999f, 0.001f);
    return 2.0 * 4 * count4 * (double)rounds;
}

/* Best rate of one thread over many short attempts: on a busy machine some attempt finds its core
 * free, which an attempt that waits for all threads would not. */
static double best_rate(int lanes, float *keep) {
    double best = 0;
    long rounds = 1 << 14;
    for (int attempt = 0; attempt < 40;) {
        double begun = rt_seconds();
        double flops = flops_of(lanes, rounds, keep);
        double spent = rt_seconds() - begun;
        if (spent < 5e-4) {
            rounds *= 2; /* too short to time; not counted */
            continue;
        }
        best = flops / spent > best ? flops / spent : best;
        attempt++;
    }
    return best;
}

double rt_peak_flops(int lanes, int threads) {
    static volatile float sink; /* nobody reads it: it keeps the chains from being removed */
    double rate[RT_MAX_THREADS] = {0}, sum = 0;
#pragma omp parallel num_threads(threads)
    {
        float keep = 0;
        rate[omp_get_thread_num()] = best_rate(lanes, &keep); /* all at once: they share the clock */
#pragma omp critical
        sink += keep;
    }
    for (int t = 0; t < threads; t++)
        sum += rate[t];
    return sum;
}
