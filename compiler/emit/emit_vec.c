/* emit_vec.c: arithmetic on floats and on vectors (see emit.h).
 *
 * requires: operands of equal type.  ensures: exactly the written operations in the written order;
 * no fast-math flag is ever set, so NaNs and infinities survive and sums are never reassociated.
 */
#include "emit/emit_private.h"

Val em_fadd(Emit *e, Val a, Val b) {
    return LLVMBuildFAdd(e->b, a, b, emit_name(e));
}

Val em_fsub(Emit *e, Val a, Val b) {
    return LLVMBuildFSub(e->b, a, b, emit_name(e));
}

Val em_fmul(Emit *e, Val a, Val b) {
    return LLVMBuildFMul(e->b, a, b, emit_name(e));
}

Val em_fdiv(Emit *e, Val a, Val b) {
    return LLVMBuildFDiv(e->b, a, b, emit_name(e));
}

Val em_fneg(Emit *e, Val a) {
    return LLVMBuildFNeg(e->b, a, emit_name(e));
}

/* llvm.fma without hardware becomes one library call per lane, hence the two plain operations. */
Val em_fma(Emit *e, Val a, Val b, Val c) {
    if (!e->target->fma)
        return LLVMBuildFAdd(e->b, LLVMBuildFMul(e->b, a, b, ""), c, emit_name(e));
    LLVMTypeRef over = LLVMTypeOf(a);
    LLVMValueRef args[] = {a, b, c};
    return emit_intrinsic(e, "llvm.fma", &over, 1, args, 3);
}

/* compare + select is what maxps does, NaN rule included; llvm.maxnum would cost three more */
Val em_fmax(Emit *e, Val a, Val b) {
    return LLVMBuildSelect(e->b, em_fcmp(e, EM_GT, a, b), a, b, emit_name(e));
}

Val em_fmin(Emit *e, Val a, Val b) {
    return LLVMBuildSelect(e->b, em_fcmp(e, EM_LT, a, b), a, b, emit_name(e));
}

static Val unary(Emit *e, const char *name, Val a) {
    LLVMTypeRef over = LLVMTypeOf(a);
    return emit_intrinsic(e, name, &over, 1, &a, 1);
}

Val em_fabs(Emit *e, Val a) {
    return unary(e, "llvm.fabs", a);
}

Val em_sqrt(Emit *e, Val a) {
    return unary(e, "llvm.sqrt", a);
}

Val em_fcmp(Emit *e, EmPred p, Val a, Val b) {
    static const LLVMRealPredicate map[] = {LLVMRealOEQ, LLVMRealONE, LLVMRealOLT,
                                            LLVMRealOLE, LLVMRealOGT, LLVMRealOGE};
    return LLVMBuildFCmp(e->b, map[p], a, b, emit_name(e));
}

Val em_ford(Emit *e, Val a, Val b) {
    return LLVMBuildFCmp(e->b, LLVMRealORD, a, b, emit_name(e));
}

Val em_fgt_or_nan(Emit *e, Val a, Val b) {
    return LLVMBuildFCmp(e->b, LLVMRealUGT, a, b, emit_name(e));
}

Val em_select(Emit *e, Val cond, Val a, Val b) {
    return LLVMBuildSelect(e->b, cond, a, b, emit_name(e));
}

static Val splat(Emit *e, Val scalar, LLVMTypeRef vector) {
    Val one = LLVMBuildInsertElement(e->b, LLVMGetPoison(vector), scalar, em_i32(e, 0), "");
    return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(vector), LLVMConstNull(e->vi32),
                                  emit_name(e));
}

Val em_splat(Emit *e, Val scalar) {
    return splat(e, scalar, e->vf32);
}

Val em_splat_i32(Emit *e, Val v) {
    return splat(e, LLVMTypeOf(v) == e->i64 ? LLVMBuildTrunc(e->b, v, e->i32, "") : v, e->vi32);
}

Val em_extract(Emit *e, Val vec, int lane) {
    return LLVMBuildExtractElement(e->b, vec, em_i32(e, lane), emit_name(e));
}

Val em_insert(Emit *e, Val vec, Val scalar, int lane) {
    return LLVMBuildInsertElement(e->b, vec, scalar, em_i32(e, lane), emit_name(e));
}

/* Lanes [from, from + n) as a vector of n. */
static Val part(Emit *e, Val vec, unsigned from, unsigned n) {
    LLVMValueRef mask[64];
    for (unsigned i = 0; i < n; ++i)
        mask[i] = em_i32(e, (int32_t)(from + i));
    return LLVMBuildShuffleVector(e->b, vec, LLVMGetPoison(LLVMTypeOf(vec)),
                                  LLVMConstVector(mask, n), "");
}

static Val reduce(Emit *e, Val vec, Val (*join)(Emit *, Val, Val)) {
    unsigned n = LLVMGetVectorSize(LLVMTypeOf(vec));
    for (n /= 2; n >= 2; n /= 2)
        vec = join(e, part(e, vec, 0, n), part(e, vec, n, n));
    return join(e, em_extract(e, vec, 0), em_extract(e, vec, 1));
}

Val em_reduce_add(Emit *e, Val vec) {
    return reduce(e, vec, em_fadd);
}

Val em_reduce_max(Emit *e, Val vec) {
    return reduce(e, vec, em_fmax);
}

Val em_i64_to_f32(Emit *e, Val i) {
    return LLVMBuildSIToFP(e->b, i, e->f32, emit_name(e));
}

Val em_i32v_to_f32v(Emit *e, Val v) {
    return LLVMBuildSIToFP(e->b, v, e->vf32, emit_name(e));
}

Val em_mulhi_u32(Emit *e, Val a, Val b) {
    LLVMTypeRef wide = LLVMVectorType(e->i64, (unsigned)e->target->vector);
    Val x = LLVMBuildZExt(e->b, a, wide, ""), y = LLVMBuildZExt(e->b, b, wide, "");
    LLVMValueRef shift[64];
    for (int i = 0; i < e->target->vector; ++i)
        shift[i] = em_i64(e, 32);
    Val high = LLVMBuildLShr(e->b, LLVMBuildMul(e->b, x, y, ""),
                             LLVMConstVector(shift, (unsigned)e->target->vector), "");
    return LLVMBuildTrunc(e->b, high, e->vi32, emit_name(e));
}

Val em_u32_to_unit(Emit *e, Val v) {
    Val top = LLVMBuildLShr(e->b, v, emit_int_like(e, v, 8), "");
    return em_fmul(e, LLVMBuildSIToFP(e->b, top, e->vf32, ""), em_vec(e, 0x1p-24));
}

Val em_slice(Emit *e, Val vec, int from, int count) {
    int w = e->target->vector;
    LLVMValueRef lane[64];
    for (int l = 0; l < w; ++l)
        lane[l] = em_i32(e, l < count ? from + l : w);
    return LLVMBuildShuffleVector(e->b, vec, LLVMConstNull(LLVMTypeOf(vec)),
                                  LLVMConstVector(lane, (unsigned)w), emit_name(e));
}

Val em_place(Emit *e, Val into, Val vec, int at, int count) {
    int w = e->target->vector;
    LLVMValueRef lane[64];
    for (int l = 0; l < w; ++l)
        lane[l] = em_i32(e, l >= at && l < at + count ? w + l - at : l);
    return LLVMBuildShuffleVector(e->b, into, vec, LLVMConstVector(lane, (unsigned)w),
                                  emit_name(e));
}

Val em_shift(Emit *e, Val a, Val b, int n) {
    int w = e->target->vector;
    LLVMValueRef lane[64];
    if (n == 0 || n == w)
        return n ? b : a;
    for (int l = 0; l < w; ++l)
        lane[l] = em_i32(e, l + n);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(lane, (unsigned)w), emit_name(e));
}

/* Eklundh's method: exchange the off-diagonal quarters, then inside each quarter, and so on. */
/* Squares of s x s lanes change places across the diagonal. */
static void transpose_squares(Emit *e, Val *rows, int s) {
    int w = e->target->vector;
    LLVMValueRef upper[64], lower[64];
    for (int l = 0; l < w; ++l) {
        upper[l] = em_i32(e, l & s ? w + l - s : l);
        lower[l] = em_i32(e, l & s ? w + l : l + s);
    }
    for (int r = 0; r < w; ++r) {
        if (r & s)
            continue;
        Val a = rows[r], b = rows[r + s];
        rows[r] = LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(upper, (unsigned)w), "");
        rows[r + s] = LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(lower, (unsigned)w), "");
    }
}

/* Large squares first: halves of loaded vectors are loads.  But where the last rows are zeros they
 * come last: until then those rows fold, and LLVM need not find out what is left of the shuffles,
 * which took it longer than all the rest of a kernel. */
void em_transpose(Emit *e, Val *rows) {
    int w = e->target->vector;
    if (LLVMIsNull(rows[w - 1]))
        for (int s = 1; s < w; s *= 2)
            transpose_squares(e, rows, s);
    else
        for (int s = w / 2; s >= 1; s /= 2)
            transpose_squares(e, rows, s);
}
