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
#include "codegen/share.h"
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

static void write_code(KernelCtx *k) {
    k->n = em_load_i64(k->e, k->a.frame, (int64_t)offsetof(rt_frame, n));
    k->cap = em_load_i64(k->e, k->a.frame, (int64_t)offsetof(rt_frame, cap));
    void (*lower)(KernelCtx *) = op_is(k->node->op, OPF_E) ? lower_map : op_def[k->node->op]->lower;
    if (k->k->lanes)
        lower = lower_lanes;
    BUG_IF(!lower, "no code generator for operation '%s'", op_name[k->node->op]);
    bug_context(k->k->name);
    lower(k);
    em_kernel_end(k->e);
    bug_context(NULL);
}

static KernelCtx kernel_ctx(Emit *e, const Graph *g, const Target *t, int index) {
    KernelCtx k = {.e = e, .g = g, .k = &g->kernels[index], .t = t};
    k.node = graph_n(g, k.k->anchor);
    k.attrs = k.node->attrs;
    return k;
}

void codegen_kernel(Emit *e, const Graph *g, const Target *t, int index, const char *prefix) {
    KernelCtx k = kernel_ctx(e, g, t, index);
    k.a = em_kernel_begin(e, codegen_kernel_name(g->keep, g, index, prefix));
    write_code(&k);
}

void codegen_body(Emit *e, const Graph *g, const Target *t, int index, const char *name) {
    ValueId slot[KERNEL_SLOTS_MAX];
    KernelCtx k = kernel_ctx(e, g, t, index);
    k.nslots = kernel_slots(g, k.k, slot);
    k.slot = slot;
    k.a = em_body_begin(e, name);
    k.table = k.k->lanes ? NULL : k.a.table; /* a whole network: nothing to share it with */
    write_code(&k);
}

void codegen_kernels(Emit *e, const Graph *g, const Target *t, const char *prefix) {
    for (int i = 0; i < g->nkernels; i++)
        codegen_kernel(e, g, t, i, prefix);
}

/* ---- a model ---- */

typedef struct Body {
    const Graph *g;
    int index; /* of the kernel that it was written for */
    const char *name;
} Body;

typedef struct Writer {
    const CodegenInput *in;
    Emit *const *part;
    Body *body;
    int count;
} Writer;

/* Bodies are visible to the linker when there are several modules, hence unique among models that
 * are linked together. */
static const char *body_name(const Writer *w, const Graph *g, int index) {
    const char *prefix = g->name;
    if (w->in->parts > 1)
        prefix = arena_printf(g->keep, "%s_%s", w->in->symbol, g->name);
    return codegen_kernel_name(g->keep, g, index, arena_printf(g->keep, "code_%s", prefix));
}

/* The code for kernel `index` of g, written now unless an equal kernel came before.  Bodies are
 * dealt out to the parts in turn: neighbours are alike in size, so the parts come out alike. */
static const Body *body_for(Writer *w, const Graph *g, int index) {
    for (int i = 0; i < w->count; i++) {
        const Body *b = &w->body[i];
        if (kernel_same_code(b->g, &b->g->kernels[b->index], g, &g->kernels[index]))
            return b;
    }
    Body *b = &w->body[w->count];
    Emit *e = w->part[w->count++ % w->in->parts];
    *b = (Body){g, index, body_name(w, g, index)};
    codegen_body(e, g, w->in->target, index, b->name);
    if (e != w->part[0])
        em_body_declare(w->part[0], b->name);
    return b;
}

static void write_kernel(Writer *w, const Graph *g, int index) {
    ValueId slot[KERNEL_SLOTS_MAX];
    int64_t table[KERNEL_SLOTS_MAX + 1] = {0};
    int n = kernel_slots(g, &g->kernels[index], slot);
    if (g->kernels[index].lanes) {
        n = 1;
    } else if (n == 0) { /* too many tensors (a wide concat): its own code, with constants */
        codegen_kernel(w->part[0], g, w->in->target, index, g->name);
        return;
    }
    for (int i = 0; i < n && !g->kernels[index].lanes; i++)
        table[i] = slot_offset(g, slot[i]);
    const char *name = codegen_kernel_name(g->keep, g, index, g->name);
    em_kernel_of(w->part[0], name, body_for(w, g, index)->name, table, n);
}

static void write_model(Arena *keep, Emit *const *part, const CodegenInput *in) {
    Writer w = {.in = in, .part = part};
    int kernels = 0;
    for (int mode = 0; mode < MODEL_MODES; mode++)
        if (in->model->mode[mode].graph)
            kernels += in->model->mode[mode].graph->nkernels;
    w.body = ARENA_ARRAY(keep, kernels, Body);
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        const Graph *g = in->model->mode[mode].graph;
        for (int i = 0; g && i < g->nkernels; i++)
            write_kernel(&w, g, i);
    }
}

void codegen_modules(Arena *keep, const CodegenInput *in, Emit **part) {
    BUG_IF(in->parts < 1, "a model without modules");
    for (int i = 0; i < in->parts; i++) {
        part[i] = emit_new(keep, in->target, in->model->name);
        if (in->parts > 1)
            emit_share(part[i]);
    }
    write_model(keep, part, in);
    descriptor_emit(part[0], keep, in);
}

Emit *codegen_module(Arena *keep, const CodegenInput *in) {
    CodegenInput one = *in;
    Emit *e = NULL;
    one.parts = 1;
    codegen_modules(keep, &one, &e);
    return e;
}
