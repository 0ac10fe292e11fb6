/* codegen.c: walks the plans and lets every operator write its kernels.
 *
 * requires: graphs after memplan, parameters placed.  ensures: one internal function per kernel and,
 * in codegen_modules, one exported constant that describes the model (descriptor.c).
 */
#include "codegen/codegen.h"

#include <ctype.h>
#include <stddef.h>

#include "base/bug.h"
#include "codegen/descriptor.h"
#include "ops/hooks.h"
#include "ops/lower.h"
#include "rt_abi.h"

/* ops/lower.c reads frames by these offsets */
_Static_assert(offsetof(rt_frame, act) == 0, "rt_frame.act");
_Static_assert(offsetof(rt_frame, fix) == 8, "rt_frame.fix");
_Static_assert(offsetof(rt_frame, param) == 16, "rt_frame.param");
_Static_assert(offsetof(rt_frame, state) == 24, "rt_frame.state");
_Static_assert(offsetof(rt_frame, n) == 32, "rt_frame.n");
_Static_assert(offsetof(rt_frame, cap) == 40, "rt_frame.cap");
_Static_assert(offsetof(rt_frame, scalar) == 48, "rt_frame.scalar");
_Static_assert(offsetof(rt_frame, seed) == 80, "rt_frame.seed");
_Static_assert(offsetof(rt_frame, step) == 88, "rt_frame.step");
_Static_assert(offsetof(rt_frame, input) == 96, "rt_frame.input");
_Static_assert(offsetof(rt_frame, label) == 128, "rt_frame.label");
_Static_assert((int)SCALAR_INV_N == (int)RT_SCALAR_INV_N && (int)SCALAR_LR == (int)RT_SCALAR_LR &&
                   (int)SCALAR_MOMENTUM == (int)RT_SCALAR_MOMENTUM &&
                   (int)SCALAR_DECAY == (int)RT_SCALAR_DECAY,
               "frame scalars");

const char *codegen_kernel_name(Arena *a, const Graph *g, int index, const char *prefix) {
    char *name = arena_printf(a, "%s_%d_%s", prefix, index, g->kernels[index].name);
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p))
            *p = '_';
    return name;
}

void codegen_kernel(Emit *e, const Graph *g, const Target *t, int index, const char *prefix) {
    const Kernel *kernel = &g->kernels[index];
    KernelCtx k = {.e = e, .g = g, .k = kernel, .t = t};
    k.node = graph_n(g, kernel->anchor);
    k.attrs = k.node->attrs;
    bug_context(kernel->name);
    k.a = em_kernel_begin(e, codegen_kernel_name(g->keep, g, index, prefix));
    k.n = em_load_i64(e, k.a.frame, (int64_t)offsetof(rt_frame, n));
    k.cap = em_load_i64(e, k.a.frame, (int64_t)offsetof(rt_frame, cap));
    void (*lower)(KernelCtx *) = op_is(k.node->op, OPF_E) ? lower_map : op_def[k.node->op]->lower;
    BUG_IF(!lower, "no code generator for operation '%s'", op_name[k.node->op]);
    lower(&k);
    em_kernel_end(e);
    bug_context(NULL);
}

const char *codegen_prefix(const CodegenInput *in, const Graph *g) {
    /* several modules: visible to the linker, hence unique among models linked together */
    return in->parts > 1 ? arena_printf(g->keep, "%s_%s", in->symbol, g->name) : g->name;
}

void codegen_kernels(Emit *e, const Graph *g, const Target *t, const char *prefix) {
    for (int i = 0; i < g->nkernels; i++)
        codegen_kernel(e, g, t, i, prefix);
}

/* Kernel i of all programs goes into part i mod parts: neighbours (the three projections of a dense
 * layer) are alike in size, so the parts come out alike. */
static void write_parts(Emit *const *part, const CodegenInput *in) {
    int number = 0;
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        const Graph *g = in->model->mode[mode].graph;
        for (int i = 0; g && i < g->nkernels; i++, number++) {
            const char *prefix = codegen_prefix(in, g);
            Emit *e = part[number % in->parts];
            codegen_kernel(e, g, in->target, i, prefix);
            if (e != part[0])
                em_kernel_declare(part[0], codegen_kernel_name(g->keep, g, i, prefix));
        }
    }
}

void codegen_modules(Arena *keep, const CodegenInput *in, Emit **part) {
    BUG_IF(in->parts < 1, "a model without modules");
    for (int i = 0; i < in->parts; i++) {
        part[i] = emit_new(keep, in->target, in->model->name);
        if (in->parts > 1)
            emit_share(part[i]);
    }
    write_parts(part, in);
    descriptor_emit(part[0], keep, in);
}

Emit *codegen_module(Arena *keep, const CodegenInput *in) {
    CodegenInput one = *in;
    Emit *e = NULL;
    one.parts = 1;
    codegen_modules(keep, &one, &e);
    return e;
}
