/* emit_data.c: constants of the object: the model descriptor and what it points to (see emit.h).
 *
 * requires: items of one array have one type.  ensures: everything but the exported symbol is
 * private; C layout rules (no packed structs), so that runtime/rt_abi.h describes the bytes.
 */
#include <string.h>

#include "emit/emit_private.h"

Val em_c_u8(Emit *e, int x) {
    return LLVMConstInt(e->i8, (unsigned long long)(uint8_t)x, 0);
}

Val em_c_i32(Emit *e, int64_t x) {
    BUG_IF(x != (int32_t)x && x != (uint32_t)x, "%lld does not fit an int32_t", (long long)x);
    return LLVMConstInt(e->i32, (unsigned long long)x, 1);
}

Val em_c_i64(Emit *e, int64_t x) {
    return em_i64(e, x);
}

Val em_c_f32(Emit *e, double x) {
    return em_f32(e, x);
}

Val em_c_f64(Emit *e, double x) {
    return LLVMConstReal(e->f64, x);
}

Val em_c_null(Emit *e) {
    return LLVMConstNull(e->ptr);
}

/* A private constant global holding init. */
static Val private_global(Emit *e, Val init, int align) {
    Val g = LLVMAddGlobal(e->mod, LLVMTypeOf(init), "");
    LLVMSetInitializer(g, init);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
    if (align > 0)
        LLVMSetAlignment(g, (unsigned)align);
    return g;
}

Val em_c_string(Emit *e, const char *s) {
    if (!s)
        return em_c_null(e);
    return private_global(e, LLVMConstStringInContext2(e->ctx, s, strlen(s), 0), 1);
}

/* Bytes as an i8 array: building float constants one by one costs gigabytes for large tables. */
Val em_c_bytes(Emit *e, const void *data, size_t n, int align) {
    if (n == 0)
        return em_c_null(e);
    return private_global(e, LLVMConstStringInContext2(e->ctx, data, n, 1), align);
}

Val em_c_struct(Emit *e, const Val *field, int n) {
    return LLVMConstStructInContext(e->ctx, (LLVMValueRef *)(uintptr_t)field, (unsigned)n, 0);
}

Val em_c_fixed(Emit *e, const Val *item, int n) {
    (void)e;
    BUG_IF(n <= 0, "empty array in a struct");
    for (int i = 1; i < n; ++i)
        BUG_IF(LLVMTypeOf(item[i]) != LLVMTypeOf(item[0]), "array items 0 and %d differ in type",
               i);
    return LLVMConstArray2(LLVMTypeOf(item[0]), (LLVMValueRef *)(uintptr_t)item, (uint64_t)n);
}

Val em_c_array(Emit *e, const Val *item, int n) {
    return n == 0 ? em_c_null(e) : private_global(e, em_c_fixed(e, item, n), 0);
}

Val em_c_func(Emit *e, const char *name) {
    Val f = LLVMGetNamedFunction(e->mod, name);
    BUG_IF(!f, "no function %s", name);
    return f;
}

void em_c_export(Emit *e, const char *symbol, Val init) {
    Val g = LLVMAddGlobal(e->mod, LLVMTypeOf(init), symbol);
    LLVMSetInitializer(g, init);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMExternalLinkage);
    LLVMSetAlignment(g, 64);
}
