/* codegen.h: from three planned graphs to one LLVM module, and from an object file to programs. */
#ifndef CODEGEN_H
#define CODEGEN_H

#include "emit/emit.h"
#include "front/model.h"
#include "ir/plan.h"

/* One model ready for code: its graphs went through all passes and its parameters have places. */
typedef struct CodegenInput {
    const Model *model;
    const PassCtx *ctx;       /* [MODEL_MODES]: seeds, image gradients, refusals */
    const Target *target;
    const char *symbol;       /* exported rt_model: "netc_model", "lenet_model" */
    const char *cpu_needs;    /* rt_model.cpu_needs */
    int parts;                /* modules to make, at least 1 */
    const struct OnnxGraph *onnx; /* ops/onnx_write.h, or NULL */
} CodegenInput;

/* The code of all kernels, dealt out to in->parts modules of about equal work, heavy parts first.
 * Kernels are internal functions PROGRAM_INDEX_NAME of the first module, where the descriptor is too:
 * each calls a body, which equal kernels share (share.h), with its own table. */
typedef struct CodegenParts CodegenParts;
CodegenParts *codegen_split(Arena *keep, const CodegenInput *in);
/* Writes a part; the caller finishes (optimises) and writes it out.  Threads may write different
 * parts at the same time, each into an arena of its own. */
Emit *codegen_part(Arena *keep, const CodegenParts *parts, int part);
Emit *codegen_module(Arena *keep, const CodegenInput *in); /* one module, whatever in->parts says */

/* Kernel `index` of g, as it stands in the plan. */
void codegen_kernel(Emit *e, const Graph *g, const Target *t, int index, const char *prefix);
/* The kernels of one graph only (tests, `emit`): returns exported names kernel_0, kernel_1, ... */
void codegen_kernels(Emit *e, const Graph *g, const Target *t, const char *prefix);
const char *codegen_kernel_name(Arena *a, const Graph *g, int index, const char *prefix);

/* The code of kernel `index` with the places of its tensors in a table (slots as in share.h). */
void codegen_body(Emit *e, const Graph *g, const Target *t, int index, const char *name);

/* ---- link.c ---- */
typedef struct LinkPlan {
    const char *const *object; /* the model's object files */
    int objects;
    const char *runtime;      /* folder with libnetrt.a; NULL: beside the running netc */
    const char *output;       /* program or library to write */
    bool verbose;
} LinkPlan;
typedef enum { LINK_MAIN, LINK_VIZ, LINK_SHARED, LINK_STATIC } LinkKind;
/* Runs cc or ar without a shell; false with the reason (last lines of the tool's output) in why. */
bool link_model(const LinkPlan *plan, LinkKind kind, char *why, size_t n);
/* Folder with libnetrt.a: the build tree's or the installation's; NULL when there is none. */
const char *link_runtime_dir(Arena *a);
const char *link_header_dir(Arena *a); /* netrt.h, rt_abi.h, rt_error.h */
/* Text of NAME.h for a library: typed handle and inline functions over netrt.h. */
void header_print(const Model *m, const char *name, FILE *out);

#endif
