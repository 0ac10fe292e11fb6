/* test_emit.c: the emit layer against plain C, for every vector width this host can run.
 *
 * Each test writes small functions, runs them through the JIT and compares bits, or ulps for the
 * elementary functions (against the double-precision libm).
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "emit/emit.h"
#include "emit/target.h"
#include "suite.h"

static Arena *keep;
static Target target;

/* Runs the block once for each target that runs here. */
#define EACH_TARGET                                                                                \
    for (int t_ = 0; target_names[t_]; ++t_)                                                       \
        if (pick(target_names[t_]))

static bool pick(const char *name) {
    char why[256];
    if (!keep)
        keep = arena_new();
    CU_ASSERT_FATAL(target_find(keep, name, &target, why, sizeof why));
    return target_runs_here(&target);
}

static Emit *begin(void) {
    return emit_new(keep, &target, "test");
}

/* Finishes at level 2 and finds `name`. */
static void *done(Emit *e, const char *name) {
    char why[512] = "";
    bool ok = emit_finish(e, 2, why, sizeof why);
    void *f = ok ? emit_jit(e, name, why, sizeof why) : NULL;
    if (!f)
        printf("%s: %s\n", target.name, why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    return f;
}

typedef void (*Fn1)(const float *, float *);
typedef void (*FnN)(const float *, float *, int64_t);

static void targets(void) {
    Target t;
    char why[256] = "";
    Arena *a = arena_new();
    CU_ASSERT_FALSE(target_find(a, "pentium", &t, why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "x86-64-v3"));
    CU_ASSERT_FATAL(target_find(a, "native", &t, why, sizeof why));
    CU_ASSERT_TRUE(t.vector == 4 || t.vector == 8 || t.vector == 16);
    CU_ASSERT_TRUE(t.l1 >= 4096 && t.l2 >= t.l1);
    CU_ASSERT_TRUE(target_runs_here(&t));
    CU_ASSERT_FATAL(target_find(a, "aarch64", &t, why, sizeof why));
    CU_ASSERT_EQUAL(t.registers, 32);
    arena_free(a);
}

/* y[i] = a * x[i] + 1, x negated first; min and max; scalar and vector */
static void arithmetic(void) {
    EACH_TARGET {
        Emit *e = begin();
        Val a[2];
        em_func_begin(e, "f", "pp", a, true);
        Val x = em_load(e, a[0], 0, false);
        em_store(e, a[1], 0, em_fma(e, em_fneg(e, x), em_vec(e, 3), em_vec(e, 1)), false);
        em_store1(e, a[1], 16, em_reduce_add(e, x));
        em_store1(e, a[1], 17, em_reduce_max(e, x));
        em_store1(e, a[1], 18, em_fdiv(e, em_load1(e, a[0], 1), em_f32(e, 3)));
        em_store1(e, a[1], 19, em_sqrt(e, em_load1(e, a[0], 2)));
        em_store1(e, a[1], 20, em_extract(e, em_fmin(e, x, em_bcast(e, a[0], 1)), 3));
        em_store1(e, a[1], 21, em_fmax(e, em_f32(e, NAN), em_f32(e, 2)));
        em_func_end(e);
        Fn1 f = (Fn1)(uintptr_t)done(e, "f");
        float in[16], out[24];
        for (int i = 0; i < 16; ++i)
            in[i] = 1.25f * (float)i + 0.1f;
        f(in, out);
        int w = target.vector;
        for (int i = 0; i < w; ++i)
            CU_ASSERT_DOUBLE_EQUAL(out[i], -3 * in[i] + 1, 1e-5);
        float tree[16];
        memcpy(tree, in, sizeof tree);
        for (int n = w / 2; n >= 1; n /= 2) /* the documented order */
            for (int i = 0; i < n; ++i)
                tree[i] += tree[i + n];
        CU_ASSERT_EQUAL(out[16], tree[0]);
        CU_ASSERT_EQUAL(out[17], in[w - 1]);
        CU_ASSERT_EQUAL(out[18], in[1] / 3);
        CU_ASSERT_EQUAL(out[19], sqrtf(in[2]));
        CU_ASSERT_EQUAL(out[20], in[1]);
        CU_ASSERT_EQUAL(out[21], 2);
        emit_free(e);
    }
}

static int64_t loop_ref(int64_t n) {
    int64_t s = 0;
    for (int64_t i = 0; i < n; i += 3)
        for (int64_t j = 0; j < i; ++j)
            s += i % 5 + j / 2;
    return s;
}

/* nested loops, carried integers and vectors, run-time and constant trips, zero trips, if/else */
static void flow(void) {
    EACH_TARGET {
        Emit *e = begin();
        Val a[2], s[1];
        em_func_begin(e, "f", "pi", a, true);
        s[0] = em_i64(e, 0);
        Loop i = em_for(e, em_i64(e, 0), a[1], 3, "i", s, 1);
        Loop j = em_for(e, em_i64(e, 0), i.i, 1, "j", s, 1);
        s[0] =
            em_add(e, s[0], em_add(e, em_rem(e, i.i, em_i64(e, 5)), em_div(e, j.i, em_i64(e, 2))));
        em_for_end(e, &j, s, 1);
        em_for_end(e, &i, s, 1);
        If big = em_if(e, em_icmp(e, EM_GT, a[1], em_i64(e, 4)));
        em_store1(e, a[0], 1, em_f32(e, 1));
        em_else(e, &big);
        em_store1(e, a[0], 1, em_f32(e, -1));
        em_endif(e, &big);
        em_store1(e, a[0], 0, em_i64_to_f32(e, s[0]));
        Val v[1] = {em_vec(e, 0)};
        Loop c = em_for(e, em_i64(e, 0), em_i64(e, 7), 1, "c", v, 1);
        v[0] = em_fadd(e, v[0], em_vec(e, 2));
        em_for_end(e, &c, v, 1);
        Loop never = em_for(e, em_i64(e, 3), em_i64(e, 3), 1, "never", v, 1);
        v[0] = em_vec(e, 99);
        em_for_end(e, &never, v, 1);
        em_store1(e, a[0], 2, em_extract(e, v[0], 0));
        em_store1(e, a[0], 3,
                  em_i64_to_f32(e, em_imax(e, em_imin(e, a[1], em_i64(e, 9)), em_i64(e, -2))));
        em_func_end(e);
        void (*f)(float *, int64_t) = (void (*)(float *, int64_t))(uintptr_t)done(e, "f");
        for (int64_t n = 0; n < 20; n += 3) {
            float out[4];
            f(out, n);
            CU_ASSERT_EQUAL(out[0], (float)loop_ref(n));
            CU_ASSERT_EQUAL(out[1], n > 4 ? 1.f : -1.f);
            CU_ASSERT_EQUAL(out[2], 14);
            CU_ASSERT_EQUAL(out[3], n < 9 ? (float)n : 9.f);
        }
        emit_free(e);
    }
}

static void memory(void) {
    EACH_TARGET {
        Emit *e = begin();
        Val a[3];
        em_func_begin(e, "f", "ppi", a, true);
        Val x = em_load_masked(e, a[0], 1, a[2]);
        em_store(e, a[1], 0, x, false);
        em_store_masked(e, a[1], 32, em_vec(e, 5), a[2]);
        em_store_u8(e, a[1], 4 * 64, em_load_u8(e, a[0], 3));
        Val stack = em_stack(e, 64);
        em_zero(e, stack, em_i64(e, 64));
        em_store1(e, stack, 2, em_f32(e, 7));
        em_copy(e, em_ptr(e, a[1], em_i64(e, 80)), stack, em_i64(e, 16));
        em_prefetch(e, a[0], 8);
        em_func_end(e);
        FnN f = (FnN)(uintptr_t)done(e, "f");
        int w = target.vector;
        for (int64_t n = 0; n <= w + 3; ++n) {
            float in[40], out[100];
            for (int i = 0; i < 40; ++i)
                in[i] = (float)(i + 1) * 1.7f;
            for (int i = 0; i < 100; ++i)
                out[i] = -1;
            f(in, out, n);
            for (int i = 0; i < w; ++i) {
                CU_ASSERT_EQUAL(out[i], i < n ? in[i + 1] : 0);
                CU_ASSERT_EQUAL(out[32 + i], i < n ? 5.f : -1.f);
                CU_ASSERT_EQUAL(((uint8_t *)(out + 64))[i], ((uint8_t *)in)[3 + i]);
                CU_ASSERT_EQUAL(out[80 + i], i == 2 ? 7.f : 0.f);
            }
            CU_ASSERT_EQUAL(out[32 + w], -1);
        }
        emit_free(e);
    }
}

/* distance of got from the exact value, in units of the last place of want */
static double ulps(float got, double want) {
    float w = (float)want;
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : 1e9;
    if (isinf(w) || isinf(got))
        return w == got ? 0 : 1e9;
    double unit = ldexp(1, ilogb(fabs(want) > 0x1p-126 ? want : 0x1p-126) - 23);
    return fabs((double)got - want) / unit;
}

typedef struct Unary {
    const char *name;
    Val (*emit)(Emit *, Val);
    double (*ref)(double);
    double lo, hi, bound;
} Unary;

static double ref_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double ref_pow75(double x) {
    return pow(x, -0.75);
}

static double ref_pow07(double x) {
    return pow(x, -0.7);
}

static Val pow75(Emit *e, Val x) {
    return em_pow_neg(e, x, 0.75);
}

static double ref_pow05(double x) {
    return pow(x, -0.5);
}

static double ref_inverse(double x) {
    return 1 / x;
}

static Val pow05(Emit *e, Val x) {
    return em_pow_neg(e, x, 0.5);
}

static Val inverse05(Emit *e, Val x) {
    return em_pow_neg_inverse(e, x, 0.5, em_pow_neg(e, x, 0.5));
}

static Val inverse75(Emit *e, Val x) {
    return em_pow_neg_inverse(e, x, 0.75, em_pow_neg(e, x, 0.75));
}

static Val pow07(Emit *e, Val x) {
    return em_pow_neg(e, x, 0.7);
}

static void math(void) {
    static const Unary table[] = {
        {"exp", em_exp, exp, -103, 88.7, 2},
        {"log", em_log, log, 1e-6, 4, 2},
        {"log", em_log, log, 1e-38, 1e38, 2},
        {"tanh", em_tanh, tanh, -12, 12, 7},
        {"tanh", em_tanh, tanh, 1e-30, 1e10, 7},
        {"sigmoid", em_sigmoid, ref_sigmoid, -80, 30, 4},
        {"pow -0.75", pow75, ref_pow75, 0.01, 1e4, 2},
        {"pow -0.75", pow75, ref_pow75, 1e-37, 1e38, 2},
        {"pow -0.5", pow05, ref_pow05, 1e-37, 1e38, 2},
        {"1 / x by -0.5", inverse05, ref_inverse, 1e-30, 1e30, 3.6}, /* see inverses() */
        {"1 / x by -0.75", inverse75, ref_inverse, 1e-30, 1e30, 9.5},
        {"pow -0.7", pow07, ref_pow07, 0.5, 100, 12},
    };
    EACH_TARGET for (size_t k = 0; k < sizeof table / sizeof *table; ++k) {
        const Unary *u = &table[k];
        Emit *e = begin();
        Val a[2];
        em_func_begin(e, "f", "pp", a, true);
        em_store(e, a[1], 0, u->emit(e, em_load(e, a[0], 0, false)), false);
        em_store1(e, a[1], 16, u->emit(e, em_load1(e, a[0], 0)));
        em_func_end(e);
        Fn1 f = (Fn1)(uintptr_t)done(e, "f");
        double worst = 0, at = 0;
        bool geometric = u->lo > 0 && u->hi / u->lo > 1e6;
        for (int i = 0; i < 40000; ++i) {
            float in[16], out[17];
            for (int j = 0; j < 16; ++j) {
                double r = (i + j / 16.0) / 40000;
                in[j] = (float)(geometric ? u->lo * pow(u->hi / u->lo, r)
                                          : u->lo + (u->hi - u->lo) * r);
            }
            f(in, out);
            for (int j = 0; j < target.vector; ++j) {
                double d = ulps(out[j], u->ref((double)in[j]));
                if (d > worst)
                    worst = d, at = (double)in[j];
            }
            if (memcmp(&out[0], &out[16], 4) != 0)
                worst = 1e9;
        }
        if (worst > u->bound)
            printf("%s %s: %g ulp at %.9g\n", target.name, u->name, worst, at);
        CU_ASSERT_TRUE(worst <= u->bound);
        emit_free(e);
    }
}

/* 1 / x from the power p that is there already, for every float of a period: from x to 16 x all
 * steps are the same but for exponents (root_power's line moves by whole ones), so [1, 16) stands
 * for all.  Why more than a division's half ulp: with eps = 2^-24, p is off by 2.1 eps at most (its
 * last fma rounds, and so do the products in front); u = x p p has twice that and two roundings,
 * u u four times and five: 4 * 2.1 + 5 = 13.4 eps, which is 13.4 ulp for a result just below a
 * power of two and half of it just above.  The worst that occurs is 11.0 eps and 9.350 ulp, at
 * 0x1.01770ep1, on all targets (AVX-512, AVX2 and NEON do the same operations; SSE rounds products
 * apart).  By -1/2 it is p p: 2 * 1.7 + 1 = 4.4 eps; 3.495 ulp occur without fma and 2.550 with. */
static void inverses(void) {
    static const double most[2][2] = {{3.5, 9.36}, {2.56, 9.36}}; /* [fma][by -1/2, by -3/4] */
    EACH_TARGET {
        Emit *e = begin();
        Val a[2];
        em_func_begin(e, "f", "pp", a, true);
        Val x = em_load(e, a[0], 0, false);
        em_store(e, a[1], 0, inverse05(e, x), false);
        em_store(e, a[1], 16, inverse75(e, x), false);
        em_func_end(e);
        Fn1 f = (Fn1)(uintptr_t)done(e, "f");
        double worst[2] = {0, 0};
        for (uint32_t bits = 0x3f800000; bits < 0x41800000; bits += (uint32_t)target.vector) {
            float in[16], out[32];
            for (uint32_t i = 0; i < (uint32_t)target.vector; i++)
                memcpy(&in[i], &(uint32_t){bits + i}, 4);
            f(in, out);
            for (int i = 0; i < target.vector; i++) {
                double want = 1 / (double)in[i], unit = 0x1p-23;
                for (float end = 1; end < in[i]; end *= 2)
                    unit /= 2;
                for (int k = 0; k < 2; k++)
                    worst[k] = fmax(worst[k], fabs((double)out[16 * k + i] - want) / unit);
            }
        }
        bool good = worst[0] <= most[target.fma][0] && worst[1] <= most[target.fma][1];
        if (!good)
            printf("%s: 1 / x is off by %.3f and %.3f ulp\n", target.name, worst[0], worst[1]);
        CU_ASSERT_TRUE(good);
        emit_free(e);
    }
}

static void math_edges(void) {
    EACH_TARGET {
        Emit *e = begin();
        Val a[2];
        em_func_begin(e, "f", "pp", a, true);
        Val x = em_load1(e, a[0], 0);
        em_store1(e, a[1], 0, em_exp(e, x));
        em_store1(e, a[1], 1, em_log(e, x));
        em_store1(e, a[1], 2, em_tanh(e, x));
        em_store1(e, a[1], 3, em_sigmoid(e, x));
        em_func_end(e);
        Fn1 f = (Fn1)(uintptr_t)done(e, "f");
        static const float in[] = {0, -0.f, INFINITY, -INFINITY, NAN, 1e-41f, -200, 200, 1};
        for (size_t i = 0; i < sizeof in / sizeof *in; ++i) {
            float out[4];
            double v = (double)in[i];
            f(&in[i], out);
            CU_ASSERT_TRUE(ulps(out[0], exp(v)) <= 2);
            CU_ASSERT_TRUE(ulps(out[1], log(v)) <= 2);
            CU_ASSERT_TRUE(ulps(out[2], tanh(v)) <= 7);
            CU_ASSERT_TRUE(ulps(out[3], 1 / (1 + exp(-v))) <= 4);
        }
        emit_free(e);
    }
}

/* Known answers of Random123 (kat_vectors): philox4x32, 10 rounds. */
static void philox(void) {
    static const uint32_t known[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    EACH_TARGET {
        Emit *e = begin();
        Val a[2], key[2], counter[4], out[4];
        em_func_begin(e, "f", "pp", a, true);
        for (int i = 0; i < 4; ++i)
            counter[i] = em_splat_i32(e, em_load_i32(e, a[0], 4 * i));
        for (int i = 0; i < 2; ++i)
            key[i] = em_splat_i32(e, em_load_i32(e, a[0], 16 + 4 * i));
        em_philox(e, key, counter, out);
        for (int i = 0; i < 4; ++i)
            for (int byte = 0; byte < 4; ++byte) /* bytes through the u8 store: bits as they are */
                em_store_u8(e, a[1], 16 * (4 * i + byte),
                            em_shr(e, out[i], em_splat_i32(e, em_i64(e, 8 * byte))));
        em_store(e, a[1], 64, em_u32_to_unit(e, out[0]), false);
        em_func_end(e);
        Fn1 f = (Fn1)(uintptr_t)done(e, "f");
        for (int k = 0; k < 3; ++k) {
            uint8_t got[16 * 16 + 64];
            float in[6];
            memcpy(in, known[k], sizeof in);
            f(in, (float *)(void *)got);
            for (int i = 0; i < 4; ++i)
                for (int lane = 0; lane < target.vector; ++lane) {
                    uint32_t v = 0;
                    for (int byte = 0; byte < 4; ++byte)
                        v |= (uint32_t)got[16 * (4 * i + byte) + lane] << (8 * byte);
                    CU_ASSERT_EQUAL(v, known[k][6 + i]);
                }
            float unit;
            memcpy(&unit, got + 256, 4);
            CU_ASSERT_EQUAL(unit, (float)(known[k][6] >> 8) * 0x1p-24f);
        }
        emit_free(e);
    }
}

/* A descriptor with nested constants reads back as the C struct it describes. */
typedef struct Item {
    int32_t a;
    double b;
    uint8_t c[3];
    const char *name;
    void (*fn)(const void *, int64_t, int64_t, void *);
} Item;
typedef struct Descriptor {
    int32_t n;
    const Item *item;
    const void *none;
    int64_t big;
    float f;
} Descriptor;

static Val item(Emit *e, int k) {
    Val c[3] = {em_c_u8(e, k), em_c_u8(e, k + 1), em_c_u8(e, 255)};
    char name[8];
    snprintf(name, sizeof name, "item%d", k);
    Val f[] = {em_c_i32(e, -k), em_c_f64(e, 0.1 * k), em_c_fixed(e, c, 3), em_c_string(e, name),
               em_c_func(e, "kernel")};
    return em_c_struct(e, f, 5);
}

static void data(void) {
    EACH_TARGET {
        Emit *e = begin();
        KernelArgs k = em_kernel_begin(e, "kernel");
        Loop l = em_for(e, k.lo, k.hi, 1, "task", NULL, 0);
        em_store1(e, em_ptr(e, k.scratch, l.i), 0, em_i64_to_f32(e, em_load_i64(e, k.frame, 32)));
        em_for_end(e, &l, NULL, 0);
        em_kernel_end(e);
        Val items[] = {item(e, 0), item(e, 1), item(e, 2)};
        Val f[] = {em_c_i32(e, 3), em_c_array(e, items, 3), em_c_null(e), em_c_i64(e, 1ll << 40),
                   em_c_f32(e, 0.1)};
        em_c_export(e, "model", em_c_struct(e, f, 5));
        const Descriptor *d = done(e, "model");
        CU_ASSERT_EQUAL(d->n, 3);
        CU_ASSERT_PTR_NULL(d->none);
        CU_ASSERT_EQUAL(d->big, 1ll << 40);
        CU_ASSERT_EQUAL(d->f, 0.1f);
        CU_ASSERT_EQUAL(d->item[2].a, -2);
        CU_ASSERT_EQUAL(d->item[2].b, 0.1 * 2);
        CU_ASSERT_EQUAL(d->item[1].c[1], 2);
        CU_ASSERT_STRING_EQUAL(d->item[1].name, "item1");
        int64_t frame[16] = {0, 0, 0, 0, 42};
        float scratch[16] __attribute__((aligned(64))) = {0};
        d->item[0].fn(frame, 2, 4, scratch);
        CU_ASSERT_TRUE(scratch[1] == 0 && scratch[2] == 42 && scratch[3] == 42 && scratch[4] == 0);
        emit_free(e);
    }
}

static char *slurp(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    char *text = calloc(1, 1 << 20);
    *size = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    return text;
}

static void write_saxpy(const char *object, const char *text) {
    char why[512] = "";
    Emit *e = begin();
    Val a[3];
    em_func_begin(e, "saxpy", "ppi", a, true);
    Loop l = em_for(e, em_i64(e, 0), a[2], em_width(e), "i", NULL, 0);
    Val x = em_load(e, em_ptr(e, a[0], l.i), 0, true), y = em_ptr(e, a[1], l.i);
    em_store(e, y, 0, em_fma(e, x, em_vec(e, 3), em_load(e, y, 0, true)), true);
    em_for_end(e, &l, NULL, 0);
    em_func_end(e);
    CU_ASSERT_TRUE(emit_finish(e, 2, why, sizeof why));
    CU_ASSERT_TRUE(emit_object(e, object, why, sizeof why));
    CU_ASSERT_TRUE(emit_asm(e, text, why, sizeof why));
    CU_ASSERT_FALSE(emit_asm(e, "/nonexistent/x.s", why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "/nonexistent/x.s"));
    emit_free(e);
}

/* Objects for all targets (also those that do not run here) are reproducible, and the code uses the
 * full register width with one fused multiply-add per vector: nothing was unrolled or split. */
static void objects(void) {
    static const char *const fma[] = {"vfmadd", "mulps", "vfmadd", "vfmadd", "fmla"};
    for (int t = 0; target_names[t]; ++t) {
        pick(target_names[t]);
        write_saxpy("test_emit_1.o", "test_emit_1.s");
        write_saxpy("test_emit_2.o", "test_emit_1.s");
        size_t n1, n2, n3;
        char *a = slurp("test_emit_1.o", &n1), *b = slurp("test_emit_2.o", &n2);
        CU_ASSERT_TRUE(n1 > 100 && n1 == n2 && memcmp(a, b, n1) == 0);
        char *s = slurp("test_emit_1.s", &n3);
        const char *want = t == 0 && !target.fma ? "mulps" : fma[t];
        const char *first = strstr(s, want);
        CU_ASSERT_PTR_NOT_NULL_FATAL(first);
        CU_ASSERT_PTR_NULL(strstr(first + 1, want));
        if (target.vector == 16)
            CU_ASSERT_PTR_NOT_NULL(strstr(s, "zmm"));
        free(a);
        free(b);
        free(s);
    }
    remove("test_emit_1.o");
    remove("test_emit_2.o");
    remove("test_emit_1.s");
}

static void transpose(void) {
    EACH_TARGET {
        Emit *e = begin();
        Val a[2], rows[64];
        em_func_begin(e, "f", "pp", a, true);
        int w = target.vector;
        for (int i = 0; i < w; ++i)
            rows[i] = em_load(e, a[0], i * w, false);
        em_transpose(e, rows);
        for (int i = 0; i < w; ++i)
            em_store(e, a[1], i * w, rows[i], false);
        em_func_end(e);
        Fn1 f = (Fn1)(uintptr_t)done(e, "f");
        float in[256], out[256];
        for (int i = 0; i < 256; ++i)
            in[i] = (float)i;
        f(in, out);
        for (int i = 0; i < w * w; ++i)
            CU_ASSERT_EQUAL(out[i], in[i % w * w + i / w]);
        emit_free(e);
    }
}

/* A symbol that does not exist is reported by its name. */
static void missing_symbol(void) {
    EACH_TARGET {
        Emit *e = begin();
        Val a[2];
        char why[512] = "";
        em_func_begin(e, "f", "pf", a, true);
        em_fadd(e, em_vec(e, 1), em_vec(e, 2));
        em_func_end(e);
        CU_ASSERT_TRUE(emit_finish(e, 0, why, sizeof why));
        CU_ASSERT_PTR_NULL(emit_jit(e, "absent", why, sizeof why));
        CU_ASSERT_PTR_NOT_NULL(strstr(why, "absent"));
        emit_free(e);
    }
}

SUITE_MAIN(TEST(targets), TEST(arithmetic), TEST(flow), TEST(memory), TEST(math), TEST(inverses),
           TEST(math_edges), TEST(philox), TEST(data), TEST(objects), TEST(transpose),
           TEST(missing_symbol))
