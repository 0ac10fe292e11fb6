/* emit.h: the wall around LLVM: a thin, typed vocabulary for writing kernels.
 *
 * Begin/end pairs on the stack, no second IR.  A Val is an LLVM value; vectors of f32 have the
 * target's width unless a function says otherwise.  Every helper's comment shows the C it stands
 * for.  Integers are i64.  Constants fold.  Loads and stores state their alignment in elements'
 * terms: `aligned` means to the full vector (64 bytes on AVX-512).
 *
 * requires: a Target (ir/plan.h) at emit_new.  ensures: emit_finish() has verified and optimised the
 * module; the same calls make byte-identical objects.  Summation order is exactly as written: no
 * reassociation, contraction only through em_fma (LLVM 19, no fast-math flags).
 */
#ifndef EMIT_H
#define EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct Target;
typedef struct Emit Emit;
typedef struct LLVMOpaqueValue *Val;

/* ---- module ---- */
Emit *emit_new(Arena *keep, const struct Target *t, const char *module_name);
bool emit_finish(Emit *e, int opt_level, char *why, size_t n); /* verify + optimise (0..3) */
bool emit_object(Emit *e, const char *path, char *why, size_t n); /* temp + rename */
/* The modules of one model: made by `make`, finished and written by several threads; equal files
 * whatever their number.  make(user, keep, i) is called once per module, by any thread. */
typedef struct EmitJob {
    Emit *(*make)(void *user, Arena *keep, int module);
    void *user;
    const char *const *path;
    int count, level; /* modules; of optimisation */
} EmitJob;
bool emit_objects(const EmitJob *job, char *why, size_t n);
void emit_share(Emit *e); /* bodies of this module can be named by the model's other modules */
bool emit_asm(Emit *e, const char *path, char *why, size_t n);    /* "-" = stdout */
bool emit_ll(Emit *e, const char *path, char *why, size_t n);     /* also before emit_finish */
void *emit_jit(Emit *e, const char *symbol, char *why, size_t n); /* tests: LLJIT, takes the module */
void emit_free(Emit *e);
const struct Target *emit_target(const Emit *e);
int em_width(const Emit *e);               /* f32 lanes per vector */
void em_set_width(Emit *e, int lanes);     /* vectors of this many lanes from here on */
void emit_host_cpu(char *cpu, size_t n, char *features, size_t m); /* LLVM's host detection */

/* ---- functions ---- */
/* static void name(const rt_frame *frame, i64 lo, i64 hi, void *scratch) { ...  (noalias where true) */
typedef struct KernelArgs { Val fn, frame, lo, hi, scratch, table; } KernelArgs;
KernelArgs em_kernel_begin(Emit *e, const char *name);
/* The same with a fifth argument, a table of i64: code that several kernels share (em_kernel_end). */
KernelArgs em_body_begin(Emit *e, const char *name);
void em_body_declare(Emit *e, const char *name); /* a body in another module of the model */
/* Calls that body, which may be in another module. */
void em_body_call(Emit *e, const char *name, Val frame, Val lo, Val hi, Val scratch, Val table);
/* Kernel `name`: that body with this table of n numbers. */
void em_kernel_of(Emit *e, const char *name, const char *body, const int64_t *table, int n);
void em_kernel_end(Emit *e);               /* return; } */
/* Any function for tests and helpers: types "p" pointer, "i" i64, "f" f32, "v" vector; ret 0 = void */
Val em_func_begin(Emit *e, const char *name, const char *arg_types, Val *args, bool exported);
void em_func_end(Emit *e);                 /* return; } */
void em_comment(Emit *e, const char *value_name); /* name the next value */

/* ---- constants ---- */
Val em_i64(Emit *e, int64_t x);
Val em_i32(Emit *e, int32_t x);
Val em_f32(Emit *e, double x);             /* scalar */
Val em_vec(Emit *e, double x);             /* {x, x, ...} */
Val em_lane_index(Emit *e);                /* i32 vector {0, 1, 2, ...} */
Val em_lanes_f32(Emit *e, const float *x); /* vector constant, em_width numbers */
bool em_const_i64(Val v, int64_t *x);      /* is it a known constant? */

/* ---- integers (i64; i32 vectors where said) ---- */
Val em_add(Emit *e, Val a, Val b);         /* also i32 vectors, and xor/and/or/shifts below */
Val em_sub(Emit *e, Val a, Val b);
Val em_mul(Emit *e, Val a, Val b);
Val em_div(Emit *e, Val a, Val b);         /* both non-negative */
Val em_rem(Emit *e, Val a, Val b);
Val em_imin(Emit *e, Val a, Val b);        /* signed */
Val em_imax(Emit *e, Val a, Val b);
Val em_and(Emit *e, Val a, Val b);
Val em_or(Emit *e, Val a, Val b);
Val em_xor(Emit *e, Val a, Val b);
Val em_shl(Emit *e, Val a, Val b);
Val em_shr(Emit *e, Val a, Val b);         /* logical */
typedef enum { EM_EQ, EM_NE, EM_LT, EM_LE, EM_GT, EM_GE } EmPred;
Val em_icmp(Emit *e, EmPred p, Val a, Val b); /* signed; i1 or vector of i1 */
Val em_mulhi_u32(Emit *e, Val a, Val b);   /* i32 vectors: high half of the 64-bit product */
Val em_splat_i32(Emit *e, Val i64_or_i32); /* i32 vector, truncating */
Val em_u32_to_unit(Emit *e, Val v);        /* i32 vector -> f32 vector in [0,1): (v >> 8) * 2^-24 */

/* ---- floats: scalars or vectors alike ---- */
Val em_fadd(Emit *e, Val a, Val b);
Val em_fsub(Emit *e, Val a, Val b);
Val em_fmul(Emit *e, Val a, Val b);
Val em_fdiv(Emit *e, Val a, Val b);
Val em_fneg(Emit *e, Val a);
Val em_fma(Emit *e, Val a, Val b, Val c);  /* a * b + c: one rounding with FMA, else mul then add */
Val em_fmax(Emit *e, Val a, Val b);        /* a > b ? a : b (b if either is NaN) */
Val em_fmin(Emit *e, Val a, Val b);
Val em_fabs(Emit *e, Val a);
Val em_sqrt(Emit *e, Val a);
Val em_fcmp(Emit *e, EmPred p, Val a, Val b);  /* ordered */
Val em_ford(Emit *e, Val a, Val b);            /* neither is NaN */
Val em_fgt_or_nan(Emit *e, Val a, Val b);      /* a > b, or one of them is NaN */
Val em_select(Emit *e, Val cond, Val a, Val b);
Val em_splat(Emit *e, Val scalar);         /* broadcast to a vector */
Val em_extract(Emit *e, Val vec, int lane);
Val em_insert(Emit *e, Val vec, Val scalar, int lane);
Val em_reduce_add(Emit *e, Val vec);       /* fixed tree: halves, quarters, ...: same bits always */
Val em_reduce_max(Emit *e, Val vec);
Val em_slice(Emit *e, Val vec, int from, int count); /* {vec[from], ..., 0, 0} */
Val em_place(Emit *e, Val into, Val vec, int at, int count); /* into[at + i] = vec[i] */
Val em_shift(Emit *e, Val a, Val b, int n);          /* lanes n .. n + width - 1 of {a, b} */
Val em_pick(Emit *e, Val a, Val b, const int *lane); /* lane[l] of {a, b}, for each lane l */
void em_transpose(Emit *e, Val *rows);     /* em_width vectors: rows[i][j] <-> rows[j][i] */
Val em_i64_to_f32(Emit *e, Val i);
Val em_i32v_to_f32v(Emit *e, Val v);

/* ---- elementary functions (emit_math.c; own polynomials, documented error bounds) ---- */
Val em_exp(Emit *e, Val x);                /* <= 2 ulp */
Val em_log(Emit *e, Val x);                /* x > 0; <= 2 ulp */
Val em_tanh(Emit *e, Val x);               /* <= 7 ulp */
Val em_sigmoid(Emit *e, Val x);
Val em_pow_neg(Emit *e, Val x, double beta); /* x^-beta, x > 0: roots for .5, .75, 1; else exp/log */
Val em_pow_neg_inverse(Emit *e, Val x, double beta, Val power); /* 1 / x, given power = x^-beta */
/* Philox4x32-10: four i32 vectors of random bits; key and counter are i32 vectors */
void em_philox(Emit *e, Val key[2], Val counter[4], Val out[4]);

/* ---- memory: pointers are bytes underneath; offsets in elements ---- */
Val em_ptr_bytes(Emit *e, Val ptr, Val byte_offset);
Val em_ptr(Emit *e, Val ptr, Val f32_index);          /* &((float *)ptr)[index] */
/* The same pointer, of unknown origin: addresses behind it stay one register plus constants.  LLVM
 * otherwise sees through the loops around an inner loop and may make a variable of each address. */
Val em_opaque(Emit *e, Val ptr);
Val em_load(Emit *e, Val ptr, int64_t off, bool aligned);        /* vector from ((float*)ptr)[off..] */
void em_store(Emit *e, Val ptr, int64_t off, Val vec, bool aligned);
Val em_load_bf16(Emit *e, Val ptr, int64_t off); /* vector from ((bfloat16 *)ptr)[off..], aligned */
Val em_load_masked(Emit *e, Val ptr, int64_t off, Val count);    /* lanes < count, others 0 */
void em_store_masked(Emit *e, Val ptr, int64_t off, Val vec, Val count);
Val em_load1(Emit *e, Val ptr, int64_t off);          /* scalar float */
void em_store1(Emit *e, Val ptr, int64_t off, Val scalar);
Val em_bcast(Emit *e, Val ptr, int64_t off);          /* splat(((float*)ptr)[off]) */
Val em_load_u8(Emit *e, Val ptr, int64_t off);        /* width bytes -> i32 vector */
void em_store_u8(Emit *e, Val ptr, int64_t off, Val i32vec); /* truncating */
Val em_load_i64(Emit *e, Val ptr, int64_t byte_off);  /* fields of rt_frame and tables */
Val em_load_i32(Emit *e, Val ptr, int64_t byte_off);  /* -> i64, sign extended */
Val em_load_f32_at(Emit *e, Val ptr, int64_t byte_off);
Val em_load_ptr(Emit *e, Val ptr, int64_t byte_off);
void em_zero(Emit *e, Val ptr, Val f32_count);        /* memset to 0, count multiple of the vector */
void em_copy(Emit *e, Val dst, Val src, Val f32_count);
void em_prefetch(Emit *e, Val ptr, int64_t off);      /* towards L2 */
Val em_stack(Emit *e, int64_t f32_count);             /* aligned array in the entry block */

/* ---- flow ---- */
/* for (i = from; i < to; i += step) with carried values: carried[k] is replaced by the phi inside
 * and by the final value after the end.  Unrolling and vectorising by LLVM are switched off: the code
 * is what is written.  A constant trip count of at least one makes a bottom-tested loop. */
typedef struct Loop { Val i; void *impl; } Loop;
Loop em_for(Emit *e, Val from, Val to, int64_t step, const char *name, Val *carried, int ncarried);
void em_for_end(Emit *e, Loop *l, Val *carried, int ncarried);
/* if (cond) { ... } else { ... }  (no values flow out; use memory or em_select) */
typedef struct If { void *impl; } If;
If em_if(Emit *e, Val cond);
void em_else(Emit *e, If *f);
void em_endif(Emit *e, If *f);

/* ---- static data for the model descriptor ---- */
Val em_c_u8(Emit *e, int x);
Val em_c_i32(Emit *e, int64_t x);
Val em_c_i64(Emit *e, int64_t x);
Val em_c_f32(Emit *e, double x);
Val em_c_f64(Emit *e, double x);
Val em_c_null(Emit *e);
Val em_c_string(Emit *e, const char *s);              /* pointer to a private string; NULL -> null */
Val em_c_bytes(Emit *e, const void *data, size_t n, int align); /* pointer to private constant bytes */
Val em_c_struct(Emit *e, const Val *field, int n);    /* C layout, not packed */
Val em_c_array(Emit *e, const Val *item, int n);      /* pointer to a private array of equal items; null if n = 0 */
Val em_c_fixed(Emit *e, const Val *item, int n);      /* the array itself, as a struct member */
Val em_c_func(Emit *e, const char *name);             /* address of a kernel */
void em_c_export(Emit *e, const char *symbol, Val init); /* const global with external linkage */
#endif
