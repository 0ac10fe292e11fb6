/* emit_mem.c: loads, stores, stack arrays (see emit.h).
 *
 * requires: pointers inside live allocations; `aligned` only where the address is a multiple of the
 * vector's size.  ensures: offsets are in elements of the accessed type unless the name says bytes.
 */
#include <string.h>

#include "emit/emit_private.h"

Val em_ptr_bytes(Emit *e, Val ptr, Val byte_offset) {
    int64_t x;
    if (em_const_i64(byte_offset, &x) && x == 0)
        return ptr;
    return LLVMBuildInBoundsGEP2(e->b, e->i8, ptr, &byte_offset, 1, emit_name(e));
}

Val em_ptr(Emit *e, Val ptr, Val f32_index) {
    int64_t x;
    if (em_const_i64(f32_index, &x) && x == 0)
        return ptr;
    return LLVMBuildInBoundsGEP2(e->b, e->f32, ptr, &f32_index, 1, emit_name(e));
}

Val em_opaque(Emit *e, Val ptr) {
    char text[] = "", constraints[] = "=r,0"; /* an instruction of no bytes: output = input */
    LLVMTypeRef type = LLVMFunctionType(e->ptr, &e->ptr, 1, 0);
    LLVMValueRef nothing = LLVMGetInlineAsm(type, text, 0, constraints, strlen(constraints), 0, 0,
                                            LLVMInlineAsmDialectATT, 0);
    return LLVMBuildCall2(e->b, type, nothing, &ptr, 1, emit_name(e));
}

LLVMValueRef emit_at(Emit *e, Val ptr, int64_t off) {
    return em_ptr(e, ptr, em_i64(e, off));
}

static Val load(Emit *e, LLVMTypeRef type, Val at, unsigned align) {
    Val v = LLVMBuildLoad2(e->b, type, at, emit_name(e));
    LLVMSetAlignment(v, align);
    return v;
}

static void store(Emit *e, Val v, Val at, unsigned align) {
    LLVMSetAlignment(LLVMBuildStore(e->b, v, at), align);
}

static Val byte_at(Emit *e, Val ptr, int64_t byte_off) {
    return em_ptr_bytes(e, ptr, em_i64(e, byte_off));
}

Val em_load(Emit *e, Val ptr, int64_t off, bool aligned) {
    return load(e, e->vf32, emit_at(e, ptr, off), aligned ? emit_vector_bytes(e) : 4);
}

void em_store(Emit *e, Val ptr, int64_t off, Val vec, bool aligned) {
    store(e, vec, emit_at(e, ptr, off), aligned ? emit_vector_bytes(e) : 4);
}

Val em_load_bf16(Emit *e, Val ptr, int64_t off) {
    const char *name = emit_name(e);
    LLVMTypeRef half = LLVMVectorType(e->i16, (unsigned)em_width(e));
    Val v = load(e, half, byte_at(e, ptr, 2 * off), emit_vector_bytes(e) / 2);
    Val wide = LLVMBuildZExt(e->b, v, e->vi32, "");
    wide = LLVMBuildShl(e->b, wide, em_splat_i32(e, em_i64(e, 16)), "");
    return LLVMBuildBitCast(e->b, wide, e->vf32, name);
}

/* lanes < count */
static Val lane_mask(Emit *e, Val count) {
    return em_icmp(e, EM_LT, em_lane_index(e), em_splat_i32(e, count));
}

Val em_load_masked(Emit *e, Val ptr, int64_t off, Val count) {
    int64_t n;
    if (em_const_i64(count, &n)) {
        if (n >= e->target->vector)
            return em_load(e, ptr, off, false);
        if (n <= 0)
            return em_vec(e, 0);
    }
    LLVMTypeRef over[] = {e->vf32, e->ptr};
    LLVMValueRef args[] = {emit_at(e, ptr, off), em_i32(e, 4), lane_mask(e, count), em_vec(e, 0)};
    return emit_intrinsic(e, "llvm.masked.load", over, 2, args, 4);
}

void em_store_masked(Emit *e, Val ptr, int64_t off, Val vec, Val count) {
    int64_t n;
    if (em_const_i64(count, &n)) {
        if (n >= e->target->vector)
            em_store(e, ptr, off, vec, false);
        if (n >= e->target->vector || n <= 0)
            return;
    }
    LLVMTypeRef over[] = {e->vf32, e->ptr};
    LLVMValueRef args[] = {vec, emit_at(e, ptr, off), em_i32(e, 4), lane_mask(e, count)};
    emit_intrinsic(e, "llvm.masked.store", over, 2, args, 4);
}

Val em_load1(Emit *e, Val ptr, int64_t off) {
    return load(e, e->f32, emit_at(e, ptr, off), 4);
}

void em_store1(Emit *e, Val ptr, int64_t off, Val scalar) {
    store(e, scalar, emit_at(e, ptr, off), 4);
}

Val em_bcast(Emit *e, Val ptr, int64_t off) {
    const char *name = emit_name(e);
    Val x = em_load1(e, ptr, off);
    em_comment(e, name);
    return em_splat(e, x);
}

Val em_load_u8(Emit *e, Val ptr, int64_t off) {
    Val bytes = LLVMBuildLoad2(e->b, e->vi8, byte_at(e, ptr, off), "");
    LLVMSetAlignment(bytes, 1);
    return LLVMBuildZExt(e->b, bytes, e->vi32, emit_name(e));
}

void em_store_u8(Emit *e, Val ptr, int64_t off, Val i32vec) {
    store(e, LLVMBuildTrunc(e->b, i32vec, e->vi8, ""), byte_at(e, ptr, off), 1);
}

Val em_load_i64(Emit *e, Val ptr, int64_t byte_off) {
    return load(e, e->i64, byte_at(e, ptr, byte_off), 8);
}

Val em_load_i32(Emit *e, Val ptr, int64_t byte_off) {
    const char *name = emit_name(e);
    Val v = load(e, e->i32, byte_at(e, ptr, byte_off), 4);
    return LLVMBuildSExt(e->b, v, e->i64, name);
}

Val em_load_f32_at(Emit *e, Val ptr, int64_t byte_off) {
    return load(e, e->f32, byte_at(e, ptr, byte_off), 4);
}

Val em_load_ptr(Emit *e, Val ptr, int64_t byte_off) {
    return load(e, e->ptr, byte_at(e, ptr, byte_off), 8);
}

static Val bytes_of(Emit *e, Val f32_count) {
    return em_mul(e, f32_count, em_i64(e, 4));
}

void em_zero(Emit *e, Val ptr, Val f32_count) {
    LLVMBuildMemSet(e->b, ptr, LLVMConstInt(e->i8, 0, 0), bytes_of(e, f32_count), 4);
}

void em_copy(Emit *e, Val dst, Val src, Val f32_count) {
    LLVMBuildMemCpy(e->b, dst, 4, src, 4, bytes_of(e, f32_count));
}

void em_prefetch(Emit *e, Val ptr, int64_t off) {
    LLVMTypeRef over = e->ptr;
    LLVMValueRef args[] = {emit_at(e, ptr, off), em_i32(e, 0), em_i32(e, 2), em_i32(e, 1)};
    emit_intrinsic(e, "llvm.prefetch", &over, 1, args, 4);
}

Val em_stack(Emit *e, int64_t f32_count) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
    LLVMPositionBuilderAtEnd(e->b, e->entry);
    Val array = LLVMBuildAlloca(e->b, LLVMArrayType2(e->f32, (uint64_t)f32_count), emit_name(e));
    LLVMSetAlignment(array, 64);
    LLVMPositionBuilderAtEnd(e->b, here);
    return array;
}
