/* emit_core.c: modules, functions, attributes, constants, integers of i64 (see emit.h).
 *
 * requires: a Target.  ensures: every function carries the target's features, is position
 * independent and never unwinds; kernels are internal and keep their names.
 */
#include <stdio.h>
#include <string.h>

#include "emit/emit_private.h"

static LLVMAttributeRef enum_attr(Emit *e, const char *name, uint64_t value) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    BUG_IF(kind == 0, "LLVM has no attribute %s", name);
    return LLVMCreateEnumAttribute(e->ctx, kind, value);
}

static void add_fn_attr(Emit *e, LLVMAttributeRef a) {
    e->fn_attr[e->nfn_attr++] = a;
}

static LLVMAttributeRef text_attr(Emit *e, const char *key, const char *value) {
    return LLVMCreateStringAttribute(e->ctx, key, (unsigned)strlen(key), value,
                                     (unsigned)strlen(value));
}

static void make_attributes(Emit *e) {
    char width[16];
    snprintf(width, sizeof width, "%d", e->target->vector * 32);
    add_fn_attr(e, enum_attr(e, "nounwind", 0));
    add_fn_attr(e, text_attr(e, "target-cpu", e->target->cpu));
    if (e->target->features[0])
        add_fn_attr(e, text_attr(e, "target-features", e->target->features));
    add_fn_attr(e, text_attr(e, "tune-cpu", "generic"));
    add_fn_attr(e, text_attr(e, "prefer-vector-width", width));
}

static LLVMMetadataRef loop_hint(Emit *e, const char *name, bool has_value) {
    LLVMMetadataRef item[2] = {LLVMMDStringInContext2(e->ctx, name, strlen(name)), NULL};
    if (has_value)
        item[1] = LLVMValueAsMetadata(LLVMConstInt(e->i1, 0, 0));
    return LLVMMDNodeInContext2(e->ctx, item, has_value ? 2 : 1);
}

static void make_vectors(Emit *e) {
    unsigned w = (unsigned)e->target->vector;
    e->vf32 = LLVMVectorType(e->f32, w);
    e->vi32 = LLVMVectorType(e->i32, w);
    e->vi8 = LLVMVectorType(e->i8, w);
}

static void make_types(Emit *e) {
    e->f32 = LLVMFloatTypeInContext(e->ctx);
    e->f64 = LLVMDoubleTypeInContext(e->ctx);
    e->i1 = LLVMInt1TypeInContext(e->ctx);
    e->i8 = LLVMInt8TypeInContext(e->ctx);
    e->i16 = LLVMInt16TypeInContext(e->ctx);
    e->i32 = LLVMInt32TypeInContext(e->ctx);
    e->i64 = LLVMInt64TypeInContext(e->ctx);
    e->ptr = LLVMPointerTypeInContext(e->ctx, 0);
    make_vectors(e);
}

Emit *emit_new(Arena *keep, const struct Target *t, const char *module_name) {
    Emit *e = ARENA_NEW(keep, Emit);
    char why[256];
    e->keep = keep;
    e->target = t;
    e->module_name = arena_strdup(keep, module_name);
    e->tsc = LLVMOrcCreateNewThreadSafeContext();
    e->ctx = LLVMOrcThreadSafeContextGetContext(e->tsc);
    emit_set_diag(e);
    make_types(e);
    e->mod = LLVMModuleCreateWithNameInContext(module_name, e->ctx);
    LLVMSetSourceFileName(e->mod, module_name, strlen(module_name));
    e->tm = emit_target_machine(t, why, sizeof why);
    BUG_IF(!e->tm, "no code generator for target %s: %s", t->name, why);
    LLVMSetTarget(e->mod, t->triple);
    LLVMTargetDataRef data = LLVMCreateTargetDataLayout(e->tm);
    LLVMSetModuleDataLayout(e->mod, data);
    LLVMDisposeTargetData(data);
    e->b = LLVMCreateBuilderInContext(e->ctx);
    e->loop_kind = LLVMGetMDKindIDInContext(e->ctx, "llvm.loop", 9);
    e->no_unroll[0] = loop_hint(e, "llvm.loop.unroll.disable", false);
    e->no_unroll[1] = loop_hint(e, "llvm.loop.vectorize.enable", true);
    make_attributes(e);
    return e;
}

void emit_free(Emit *e) {
    if (!e)
        return;
    if (e->jit)
        LLVMConsumeError(LLVMOrcDisposeLLJIT(e->jit));
    LLVMDisposeBuilder(e->b);
    LLVMDisposeModule(e->mod);
    LLVMDisposeTargetMachine(e->tm);
    LLVMOrcDisposeThreadSafeContext(e->tsc);
}

const struct Target *emit_target(const Emit *e) {
    return e->target;
}

int em_width(const Emit *e) {
    return e->target->vector;
}

void em_set_width(Emit *e, int lanes) {
    if (lanes == e->target->vector)
        return;
    struct Target *t = ARENA_NEW(e->keep, struct Target);
    *t = *e->target;
    t->vector = lanes;
    e->target = t;
    make_vectors(e);
}

unsigned emit_vector_bytes(const Emit *e) {
    return (unsigned)e->target->vector * 4;
}

/* ---- functions ---- */
static void begin_function(Emit *e, const char *name, LLVMTypeRef type, bool exported) {
    BUG_IF(e->fn, "function %s begins inside another", name);
    BUG_IF(LLVMGetNamedFunction(e->mod, name) != NULL, "two functions are called %s", name);
    e->fn = LLVMAddFunction(e->mod, name, type);
    LLVMSetLinkage(e->fn, exported ? LLVMExternalLinkage : LLVMInternalLinkage);
    for (int i = 0; i < e->nfn_attr; ++i)
        LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                                e->fn_attr[i]);
    e->entry = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "entry");
    e->body = LLVMAppendBasicBlockInContext(e->ctx, e->fn, "body");
    LLVMPositionBuilderAtEnd(e->b, e->body);
}

static void end_function(Emit *e) {
    LLVMBuildRetVoid(e->b);
    LLVMPositionBuilderAtEnd(e->b, e->entry);
    LLVMBuildBr(e->b, e->body);
    e->fn = NULL;
}

static void arg_attr(Emit *e, int index, const char *name, uint64_t value) {
    LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)(index + 1), enum_attr(e, name, value));
}

void emit_share(Emit *e) {
    e->shared = true;
}

static LLVMTypeRef kernel_type(Emit *e, bool table) {
    LLVMTypeRef arg[] = {e->ptr, e->i64, e->i64, e->ptr, e->ptr};
    return LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), arg, table ? 5 : 4, 0);
}

void em_body_declare(Emit *e, const char *name) {
    LLVMValueRef f = LLVMAddFunction(e->mod, name, kernel_type(e, true));
    LLVMSetVisibility(f, LLVMHiddenVisibility);
}

static KernelArgs begin_kernel(Emit *e, const char *name, bool table) {
    static const char *const arg_name[] = {"frame", "lo", "hi", "scratch", "table"};
    bool shared = table && e->shared;
    begin_function(e, name, kernel_type(e, table), shared);
    if (shared)
        LLVMSetVisibility(e->fn, LLVMHiddenVisibility);
    arg_attr(e, 0, "noalias", 0);
    arg_attr(e, 0, "nocapture", 0);
    arg_attr(e, 0, "nonnull", 0);
    arg_attr(e, 0, "readonly", 0);
    arg_attr(e, 0, "align", 8);
    arg_attr(e, 0, "dereferenceable", 96);
    arg_attr(e, 3, "noalias", 0);
    arg_attr(e, 3, "nocapture", 0);
    arg_attr(e, 3, "align", 64);
    if (table) {
        arg_attr(e, 4, "noalias", 0);
        arg_attr(e, 4, "nocapture", 0);
        arg_attr(e, 4, "readonly", 0);
        arg_attr(e, 4, "align", 8);
    }
    Val v[5] = {NULL};
    for (unsigned i = 0; i < (table ? 5u : 4u); ++i) {
        v[i] = LLVMGetParam(e->fn, i);
        LLVMSetValueName2(v[i], arg_name[i], strlen(arg_name[i]));
    }
    return (KernelArgs){e->fn, v[0], v[1], v[2], v[3], v[4]};
}

KernelArgs em_kernel_begin(Emit *e, const char *name) {
    return begin_kernel(e, name, false);
}

KernelArgs em_body_begin(Emit *e, const char *name) {
    return begin_kernel(e, name, true);
}

void em_body_call(Emit *e, const char *name, Val frame, Val lo, Val hi, Val scratch, Val table) {
    LLVMValueRef f = LLVMGetNamedFunction(e->mod, name), arg[] = {frame, lo, hi, scratch, table};
    BUG_IF(!f, "no function %s", name);
    LLVMBuildCall2(e->b, kernel_type(e, true), f, arg, 5, "");
}

void em_kernel_of(Emit *e, const char *name, const char *body, const int64_t *table, int n) {
    LLVMValueRef f = LLVMGetNamedFunction(e->mod, body);
    BUG_IF(!f, "no function %s", body);
    Val where = em_c_bytes(e, table, (size_t)n * sizeof *table, 8);
    KernelArgs a = begin_kernel(e, name, false);
    LLVMValueRef arg[] = {a.frame, a.lo, a.hi, a.scratch, where};
    LLVMSetTailCall(LLVMBuildCall2(e->b, kernel_type(e, true), f, arg, 5, ""), 1);
    em_kernel_end(e);
}

void em_kernel_end(Emit *e) {
    end_function(e);
}

Val em_func_begin(Emit *e, const char *name, const char *arg_types, Val *args, bool exported) {
    LLVMTypeRef type[16];
    unsigned n = (unsigned)strlen(arg_types);
    BUG_IF(n > 16, "too many arguments of %s", name);
    for (unsigned i = 0; i < n; ++i)
        type[i] = arg_types[i] == 'p'   ? e->ptr
                  : arg_types[i] == 'i' ? e->i64
                  : arg_types[i] == 'f' ? e->f32
                                        : e->vf32;
    begin_function(e, name, LLVMFunctionType(LLVMVoidTypeInContext(e->ctx), type, n, 0), exported);
    for (unsigned i = 0; i < n; ++i)
        args[i] = LLVMGetParam(e->fn, i);
    return e->fn;
}

void em_func_end(Emit *e) {
    end_function(e);
}

void em_comment(Emit *e, const char *value_name) {
    e->next_name = value_name;
}

const char *emit_name(Emit *e) {
    const char *name = e->next_name ? e->next_name : "";
    e->next_name = NULL;
    return name;
}

/* ---- constants ---- */
Val em_i64(Emit *e, int64_t x) {
    return LLVMConstInt(e->i64, (unsigned long long)x, 1);
}

Val em_i32(Emit *e, int32_t x) {
    return LLVMConstInt(e->i32, (unsigned long long)(int64_t)x, 1);
}

Val em_f32(Emit *e, double x) {
    return LLVMConstReal(e->f32, (double)(float)x);
}

bool em_const_i64(Val v, int64_t *x) {
    if (!LLVMIsAConstantInt(v))
        return false;
    *x = LLVMConstIntGetSExtValue(v);
    return true;
}

bool emit_is_vector(Val v) {
    return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind;
}

static LLVMValueRef splat_const(LLVMValueRef scalar, unsigned n) {
    LLVMValueRef item[64];
    for (unsigned i = 0; i < n; ++i)
        item[i] = scalar;
    return LLVMConstVector(item, n);
}

Val em_vec(Emit *e, double x) {
    return splat_const(em_f32(e, x), (unsigned)e->target->vector);
}

Val em_lane_index(Emit *e) {
    LLVMValueRef item[64];
    for (int i = 0; i < e->target->vector; ++i)
        item[i] = em_i32(e, i);
    return LLVMConstVector(item, (unsigned)e->target->vector);
}

Val em_lanes_f32(Emit *e, const float *x) {
    LLVMValueRef item[64];
    for (int i = 0; i < e->target->vector; ++i)
        item[i] = em_f32(e, (double)x[i]);
    return LLVMConstVector(item, (unsigned)e->target->vector);
}

LLVMValueRef emit_like(Val v, double c) {
    LLVMTypeRef t = LLVMTypeOf(v);
    if (LLVMGetTypeKind(t) != LLVMVectorTypeKind)
        return LLVMConstReal(t, (double)(float)c);
    return splat_const(LLVMConstReal(LLVMGetElementType(t), (double)(float)c),
                       LLVMGetVectorSize(t));
}

LLVMTypeRef emit_int_type_like(Emit *e, Val v) {
    LLVMTypeRef t = LLVMTypeOf(v);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMVectorType(e->i32, LLVMGetVectorSize(t))
                                                    : e->i32;
}

LLVMValueRef emit_int_like(Emit *e, Val v, int64_t c) {
    LLVMTypeRef t = LLVMTypeOf(v);
    LLVMValueRef one = em_i32(e, (int32_t)c);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? splat_const(one, LLVMGetVectorSize(t)) : one;
}

LLVMValueRef emit_intrinsic(Emit *e, const char *name, LLVMTypeRef *over, unsigned nover,
                            LLVMValueRef *args, unsigned nargs) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    BUG_IF(id == 0, "LLVM has no intrinsic %s", name);
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->mod, id, over, nover);
    LLVMTypeRef t = LLVMIntrinsicGetType(e->ctx, id, over, nover);
    bool is_void = LLVMGetTypeKind(LLVMGetReturnType(t)) == LLVMVoidTypeKind;
    return LLVMBuildCall2(e->b, t, f, args, nargs, is_void ? "" : emit_name(e));
}

/* ---- integers ---- */
static bool is_int(Val v, int64_t want) {
    int64_t x;
    return em_const_i64(v, &x) && x == want;
}

/* Address arithmetic never wraps, which lets LLVM hoist and combine it; i32 vectors may wrap
 * (random numbers), hence NSW only on i64. */
static Val nsw(Emit *e, Val v) {
    if (LLVMTypeOf(v) == e->i64 && LLVMIsAInstruction(v))
        LLVMSetNSW(v, 1);
    return v;
}

Val em_add(Emit *e, Val a, Val b) {
    if (is_int(b, 0))
        return a;
    if (is_int(a, 0))
        return b;
    return nsw(e, LLVMBuildAdd(e->b, a, b, emit_name(e)));
}

Val em_sub(Emit *e, Val a, Val b) {
    if (is_int(b, 0))
        return a;
    return nsw(e, LLVMBuildSub(e->b, a, b, emit_name(e)));
}

Val em_mul(Emit *e, Val a, Val b) {
    if (is_int(b, 1))
        return a;
    if (is_int(a, 1))
        return b;
    if (is_int(a, 0))
        return a;
    if (is_int(b, 0))
        return b;
    return nsw(e, LLVMBuildMul(e->b, a, b, emit_name(e)));
}

Val em_div(Emit *e, Val a, Val b) {
    return is_int(b, 1) ? a : LLVMBuildUDiv(e->b, a, b, emit_name(e));
}

Val em_rem(Emit *e, Val a, Val b) {
    return is_int(b, 1) ? LLVMConstNull(LLVMTypeOf(a)) : LLVMBuildURem(e->b, a, b, emit_name(e));
}

Val em_and(Emit *e, Val a, Val b) {
    return LLVMBuildAnd(e->b, a, b, emit_name(e));
}

Val em_or(Emit *e, Val a, Val b) {
    return LLVMBuildOr(e->b, a, b, emit_name(e));
}

Val em_xor(Emit *e, Val a, Val b) {
    return LLVMBuildXor(e->b, a, b, emit_name(e));
}

Val em_shl(Emit *e, Val a, Val b) {
    return LLVMBuildShl(e->b, a, b, emit_name(e));
}

Val em_shr(Emit *e, Val a, Val b) {
    return LLVMBuildLShr(e->b, a, b, emit_name(e));
}

Val em_icmp(Emit *e, EmPred p, Val a, Val b) {
    static const LLVMIntPredicate map[] = {LLVMIntEQ,  LLVMIntNE,  LLVMIntSLT,
                                           LLVMIntSLE, LLVMIntSGT, LLVMIntSGE};
    return LLVMBuildICmp(e->b, map[p], a, b, emit_name(e));
}

Val em_imin(Emit *e, Val a, Val b) {
    return LLVMBuildSelect(e->b, em_icmp(e, EM_LT, a, b), a, b, emit_name(e));
}

Val em_imax(Emit *e, Val a, Val b) {
    return LLVMBuildSelect(e->b, em_icmp(e, EM_GT, a, b), a, b, emit_name(e));
}
