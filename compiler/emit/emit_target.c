/* emit_target.c: from a finished module to code: passes, object, assembly, IR text, JIT.
 *
 * The pass list is short and explicit: kernels are written in their final shape, so LLVM's part is
 * cleaning up (CSE, hoisting, peepholes), instruction selection and register allocation.  The stock
 * pipelines would run the vectorisers and unrollers whatever the options say.
 * ensures: the same calls give byte-identical objects.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/outfile.h"
#include "emit/emit_private.h"

#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>

static const char *const pipeline[] = {
    "verify",
    "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)",
    "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),"
    "early-cse<memssa>,adce,simplifycfg)",
    "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),gvn,"
    "instcombine<no-verify-fixpoint>,adce,simplifycfg)",
};

void emit_init(void) {
    static bool done;
    if (done)
        return;
    done = true;
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeAArch64AsmParser();
}

void emit_host_cpu(char *cpu, size_t n, char *features, size_t m) {
    char *c = LLVMGetHostCPUName(), *f = LLVMGetHostCPUFeatures();
    snprintf(cpu, n, "%s", c);
    snprintf(features, m, "%s", f);
    LLVMDisposeMessage(c);
    LLVMDisposeMessage(f);
}

LLVMTargetMachineRef emit_target_machine(const struct Target *t, char *why, size_t n) {
    emit_init();
    LLVMTargetRef found = NULL;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(t->triple, &found, &message)) {
        snprintf(why, n, "%s", message ? message : "unknown triple");
        LLVMDisposeMessage(message);
        return NULL;
    }
    LLVMTargetMachineOptionsRef o = LLVMCreateTargetMachineOptions();
    LLVMTargetMachineOptionsSetCPU(o, t->cpu);
    LLVMTargetMachineOptionsSetFeatures(o, t->features);
    LLVMTargetMachineOptionsSetCodeGenOptLevel(o, LLVMCodeGenLevelDefault);
    LLVMTargetMachineOptionsSetRelocMode(o, LLVMRelocPIC);
    LLVMTargetMachineOptionsSetCodeModel(o, LLVMCodeModelDefault);
    LLVMTargetMachineRef tm = LLVMCreateTargetMachineWithOptions(found, t->triple, o);
    LLVMDisposeTargetMachineOptions(o);
    if (!tm)
        snprintf(why, n, "LLVM cannot make code for %s", t->triple);
    return tm;
}

/* Keeps errors for the caller; drops remarks and warnings, which would reach stderr. */
static void on_diag(LLVMDiagnosticInfoRef info, void *user) {
    Emit *e = user;
    if (LLVMGetDiagInfoSeverity(info) != LLVMDSError)
        return;
    char *text = LLVMGetDiagInfoDescription(info);
    snprintf(e->diag, sizeof e->diag, "%s", text);
    LLVMDisposeMessage(text);
}

void emit_set_diag(Emit *e) {
    LLVMContextSetDiagnosticHandler(e->ctx, on_diag, e);
}

static bool failed(LLVMErrorRef error, char *why, size_t n) {
    if (!error)
        return false;
    char *text = LLVMGetErrorMessage(error);
    snprintf(why, n, "%s", text);
    LLVMDisposeErrorMessage(text);
    return true;
}

bool emit_finish(Emit *e, int opt_level, char *why, size_t n) {
    BUG_IF(e->fn, "module finished inside a function");
    char *message = NULL;
    bool bad = LLVMVerifyModule(e->mod, LLVMReturnStatusAction, &message);
    if (bad)
        snprintf(why, n, "%s", message);
    LLVMDisposeMessage(message);
    if (bad)
        return false;
    int level = opt_level < 0 ? 0 : opt_level > 3 ? 3 : opt_level;
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(e->mod, pipeline[level], e->tm, o);
    LLVMDisposePassBuilderOptions(o);
    return !failed(error, why, n);
}

/* Writes size bytes to path (base/outfile.h); "-" is standard output. */
static bool write_out(const char *path, const char *data, size_t size, char *why, size_t n) {
    OutFile out;
    if (!outfile_open(&out, path, why, n))
        return false;
    if (size)
        (void)!fwrite(data, 1, size, out.stream); /* a failure stays in ferror */
    return outfile_close(&out, why, n);
}

static bool code_to(Emit *e, LLVMCodeGenFileType kind, const char *path, char *why, size_t n) {
    char *message = NULL;
    LLVMMemoryBufferRef buffer = NULL;
    /* a clone: code generation changes the module, which may still be printed or emitted again */
    LLVMModuleRef copy = LLVMCloneModule(e->mod);
    bool bad = LLVMTargetMachineEmitToMemoryBuffer(e->tm, copy, kind, &message, &buffer);
    LLVMDisposeModule(copy);
    if (bad || e->diag[0]) {
        snprintf(why, n, "%s", message ? message : e->diag);
        LLVMDisposeMessage(message);
        return false;
    }
    bool ok = write_out(path, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer), why, n);
    LLVMDisposeMemoryBuffer(buffer);
    return ok;
}

bool emit_object(Emit *e, const char *path, char *why, size_t n) {
    return code_to(e, LLVMObjectFile, path, why, n);
}

bool emit_asm(Emit *e, const char *path, char *why, size_t n) {
    return code_to(e, LLVMAssemblyFile, path, why, n);
}

bool emit_ll(Emit *e, const char *path, char *why, size_t n) {
    char *text = LLVMPrintModuleToString(e->mod);
    bool ok = write_out(path, text, strlen(text), why, n);
    LLVMDisposeMessage(text);
    return ok;
}

/* The JIT gets a copy in which every function is visible by name. */
static bool make_jit(Emit *e, char *why, size_t n) {
    LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
    char message[256];
    LLVMTargetMachineRef tm = emit_target_machine(e->target, message, sizeof message);
    BUG_IF(!tm, "%s", message);
    LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(
        builder, LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(tm));
    if (failed(LLVMOrcCreateLLJIT(&e->jit, builder), why, n))
        return false;
    LLVMModuleRef copy = LLVMCloneModule(e->mod);
    for (LLVMValueRef f = LLVMGetFirstFunction(copy); f; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f))
            LLVMSetLinkage(f, LLVMExternalLinkage);
    LLVMOrcDefinitionGeneratorRef process = NULL;
    LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(e->jit);
    if (failed(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                   &process, LLVMOrcLLJITGetGlobalPrefix(e->jit), NULL, NULL),
               why, n))
        return false;
    LLVMOrcJITDylibAddGenerator(lib, process);
    return !failed(
        LLVMOrcLLJITAddLLVMIRModule(e->jit, lib, LLVMOrcCreateNewThreadSafeModule(copy, e->tsc)),
        why, n);
}

void *emit_jit(Emit *e, const char *symbol, char *why, size_t n) {
    if (!e->jit && !make_jit(e, why, n))
        return NULL;
    LLVMOrcExecutorAddress at = 0;
    if (failed(LLVMOrcLLJITLookup(e->jit, &at, symbol), why, n))
        return NULL;
    return (void *)(uintptr_t)at;
}
