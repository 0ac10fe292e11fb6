/* emit_private.h: the inside of the wall; only emit_*.c include it (and LLVM).
 *
 * requires: LLVM 19 exactly: functions of its C API come and go between major versions.
 */
#ifndef EMIT_PRIVATE_H
#define EMIT_PRIVATE_H

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/TargetMachine.h>
#include <llvm/Config/llvm-config.h>

#include "base/bug.h"
#include "emit/emit.h"
#include "ir/plan.h"

#if LLVM_VERSION_MAJOR != 19
#error "netc's emit layer is written for LLVM 19"
#endif

struct Emit {
    Arena *keep;
    const struct Target *target;
    const char *module_name;
    LLVMOrcThreadSafeContextRef tsc; /* owns ctx: LLJIT wants it that way */
    LLVMContextRef ctx;
    LLVMModuleRef mod;
    LLVMBuilderRef b;
    LLVMTargetMachineRef tm;
    LLVMOrcLLJITRef jit;
    LLVMTypeRef f32, f64, i1, i8, i16, i32, i64, ptr, vf32, vi32, vi8;
    LLVMValueRef fn;             /* the function being written */
    LLVMBasicBlockRef entry;     /* its entry block: allocas only */
    LLVMBasicBlockRef body;      /* where the code begins */
    LLVMAttributeRef fn_attr[8]; /* attributes of every function */
    int nfn_attr;
    LLVMMetadataRef no_unroll[2]; /* loop metadata operands */
    unsigned loop_kind;           /* "llvm.loop" */
    bool shared;                  /* emit_share */
    const char *next_name;        /* em_comment */
    char diag[512];               /* last error LLVM reported */
};

/* The name given by em_comment for the next value, once. */
const char *emit_name(Emit *e);
/* Calls an overloaded intrinsic; BUG if LLVM does not know it. */
LLVMValueRef emit_intrinsic(Emit *e, const char *name, LLVMTypeRef *over, unsigned nover,
                            LLVMValueRef *args, unsigned nargs);
bool emit_is_vector(Val v);
/* f32 constant c in the shape (scalar or vector) of v; i32 likewise */
LLVMValueRef emit_like(Val v, double c);
LLVMValueRef emit_int_like(Emit *e, Val v, int64_t c);
LLVMTypeRef emit_int_type_like(Emit *e, Val v); /* i32 or vector of i32, as v is shaped */
/* ((float *)ptr) + off */
LLVMValueRef emit_at(Emit *e, Val ptr, int64_t off);
LLVMTargetMachineRef emit_target_machine(const struct Target *t, char *why, size_t n);
void emit_set_diag(Emit *e);
void emit_init(void); /* LLVM's tables, once; before threads */
unsigned emit_vector_bytes(const Emit *e);

#endif
