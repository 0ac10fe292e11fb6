/* codegen.c: walks the plans and lets every operator write its kernels.
 *
 * requires: graphs after memplan, parameters placed.  ensures: one internal function per kernel and,
 * in codegen_part, one exported constant that describes the model (descriptor.c).
 */
#include "codegen/codegen.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "base/bug.h"
#include "codegen/descriptor.h"
#include "codegen/share.h"
#include "ir/lanes.h"
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
                   (int)SCALAR_DECAY == (int)RT_SCALAR_DECAY &&
                   (int)SCALAR_SECOND == (int)RT_SCALAR_SECOND &&
                   (int)SCALAR_CORRECT2 == (int)RT_SCALAR_CORRECT2 &&
                   (int)SCALAR_CLIP == (int)RT_SCALAR_CLIP,
               "frame scalars");

const char *codegen_kernel_name(Arena *a, const Graph *g, int index, const char *prefix) {
    char *name = arena_printf(a, "%s_%d_%s", prefix, index, g->kernels[index].name);
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p))
            *p = '_';
    return name;
}

enum { WHOLE = -1 };

/* The kernel's code, or that of one step of a block kernel. */
static void write_code(KernelCtx *k, int step) {
    k->n = em_load_i64(k->e, k->a.frame, (int64_t)offsetof(rt_frame, n));
    k->n = em_mul(k->e, k->n, em_i64(k->e, kernel_frames(k->k)));
    k->cap = em_load_i64(k->e, k->a.frame, (int64_t)offsetof(rt_frame, cap));
    void (*lower)(KernelCtx *) = op_is(k->node->op, OPF_E) ? lower_map : op_def[k->node->op]->lower;
    if (k->k->lanes)
        lower = lower_lanes;
    BUG_IF(!lower, "no code generator for operation '%s'", op_name[k->node->op]);
    bug_context(k->k->name);
    if (step == WHOLE)
        lower(k);
    else
        lower_lanes_step(k, step);
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
    write_code(&k, WHOLE);
}

/* steps: names of the functions that run a block's steps, or NULL; or else it is `step` itself. */
static void write_body(Emit *e, const Graph *g, const Target *t, int index, const char *name,
                       const char *const *steps, int step) {
    ValueId slot[KERNEL_SLOTS_MAX];
    KernelCtx k = kernel_ctx(e, g, t, index);
    k.nslots = kernel_slots(g, k.k, slot);
    k.slot = slot;
    k.a = em_body_begin(e, name);
    k.table = k.k->lanes ? NULL : k.a.table; /* a whole network: nothing to share it with */
    k.step = steps;
    write_code(&k, step);
}

void codegen_body(Emit *e, const Graph *g, const Target *t, int index, const char *name) {
    write_body(e, g, t, index, name, NULL, WHOLE);
}

void codegen_kernels(Emit *e, const Graph *g, const Target *t, const char *prefix) {
    for (int i = 0; i < g->nkernels; i++)
        codegen_kernel(e, g, t, i, prefix);
}

/* ---- a model ---- */

/* Code of one or more equal kernels, or of one step of a block kernel. */
typedef struct Body {
    const Graph *g;
    int index; /* of the kernel that it is written for */
    const char *name;
    int part;
    int weight;               /* about how long its compilation takes */
    int step;                 /* of the block kernel, or WHOLE */
    const char *const *steps; /* a block kernel or update: the bodies that it calls */
} Body;

/* Kernel `index` of g and its code; NULL: its own, with constants in place of a table. */
typedef struct Use {
    const Graph *g;
    int index;
    Body *body;
} Use;

struct CodegenParts {
    const CodegenInput *in;
    Body *body;
    Use *use;
    int bodies, uses;
    int home; /* the part that holds the kernels and the descriptor */
};

/* Bodies are visible to the linker when there are several modules, hence unique among models that
 * are linked together. */
static const char *body_name(Arena *keep, const CodegenInput *in, const Graph *g, int index) {
    const char *prefix = g->name;
    if (in->parts > 1)
        prefix = arena_printf(keep, "%s_%s", in->symbol, g->name);
    return codegen_kernel_name(keep, g, index, arena_printf(keep, "code_%s", prefix));
}

/* Shares of compile time by kind of kernel; only the balance of the parts depends on them. */
static int body_weight(const Graph *g, const Kernel *k) {
    const char *way = k->algorithm ? k->algorithm : "";
    if (k->lanes)
        return k->lanes->update ? 20 : 1;
    if (op_is(graph_n(g, k->anchor)->op, OPF_E))
        return 1;
    return strncmp(way, "winograd", 8) == 0 || strcmp(way, "gemm") == 0 ||
                   strcmp(way, "direct") == 0 || strcmp(way, "dots") == 0 ||
                   strcmp(way, "pixels") == 0
               ? 12
               : 2;
}

/* A step has no algorithm in the plan; what sums over channels takes most. */
static int step_weight(const Graph *g, const Kernel *step) {
    int op = graph_n(g, step->anchor)->op;
    return op == OP_CONV2D || op == OP_CONV2D_BWD_DATA || op == OP_CONV2D_BWD_WEIGHTS ? 12
           : op == OP_DENSE || op == OP_DENSE_BWD_DATA                                ? 4
                                                                                      : 2;
}

/* Functions that a kernel in lanes calls: its steps, or the late kernels of an update. */
static int functions_of(const Lanes *l) {
    return !l ? 0 : l->update ? l->nlate : l->nsteps;
}

/* Each step of a block becomes a function: as one they would keep one thread busy while the others
 * have nothing left to do. */
static void add_steps(CodegenParts *p, Arena *keep, Body *block) {
    const Lanes *l = block->g->kernels[block->index].lanes;
    int n = functions_of(l);
    const char **name = ARENA_ARRAY(keep, n, const char *);
    for (int i = 0; i < n; i++) {
        int weight = l->update ? 12 : step_weight(block->g, &l->step[i]);
        name[i] = arena_printf(keep, "%s_step%d", block->name, i);
        p->body[p->bodies++] = (Body){block->g, block->index, name[i], 0, weight, i, NULL};
    }
    block->steps = name;
}

/* The code for kernel `index` of g: that of an equal kernel if one came before. */
static Body *body_for(CodegenParts *p, Arena *keep, const Graph *g, int index) {
    for (int i = 0; i < p->bodies; i++) {
        Body *b = &p->body[i];
        if (b->step == WHOLE && kernel_same_code(b->g, &b->g->kernels[b->index], g, &g->kernels[index]))
            return b;
    }
    Body *b = &p->body[p->bodies++];
    const Kernel *k = &g->kernels[index];
    *b = (Body){g, index, body_name(keep, p->in, g, index), 0, body_weight(g, k), WHOLE, NULL};
    if (functions_of(k->lanes) > 0)
        add_steps(p, keep, b);
    return b;
}

/* The heaviest first, each to the part that has least to do. */
static void deal_out(CodegenParts *p, Arena *keep) {
    int *load = ARENA_ARRAY(keep, p->in->parts, int);
    load[p->home] = p->uses / 20;
    for (int weight = 100; weight > 0; weight--)
        for (int i = 0; i < p->bodies; i++) {
            Body *b = &p->body[i];
            if (b->weight != weight)
                continue;
            b->part = b->steps ? p->home : 0; /* at home all bodies are declared */
            for (int part = 0; !b->steps && part < p->in->parts; part++)
                b->part = load[part] < load[b->part] ? part : b->part;
            load[b->part] += weight;
        }
}

static int kernels_and_steps(const Graph *g) {
    int n = 0;
    for (int i = 0; g && i < g->nkernels; i++)
        n += 1 + functions_of(g->kernels[i].lanes);
    return n;
}

CodegenParts *codegen_split(Arena *keep, const CodegenInput *in) {
    CodegenParts *p = ARENA_NEW(keep, CodegenParts);
    CodegenInput *copy = ARENA_NEW(keep, CodegenInput);
    ValueId slot[KERNEL_SLOTS_MAX];
    int kernels = 0;
    BUG_IF(in->parts < 1, "a model without modules");
    for (int mode = 0; mode < MODEL_MODES; mode++)
        kernels += kernels_and_steps(in->model->mode[mode].graph);
    *copy = *in;
    p->in = copy;
    p->home = 0;
    p->body = ARENA_ARRAY(keep, kernels, Body);
    p->use = ARENA_ARRAY(keep, kernels, Use);
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        const Graph *g = in->model->mode[mode].graph;
        for (int i = 0; g && i < g->nkernels; i++) {
            const Kernel *k = &g->kernels[i];
            bool own = !k->lanes && kernel_slots(g, k, slot) == 0; /* a wide concat */
            p->use[p->uses++] = (Use){g, i, own ? NULL : body_for(p, keep, g, i)};
        }
    }
    deal_out(p, keep);
    return p;
}

static void write_kernel(const CodegenParts *p, Emit *e, const Graph *g, const Use *u) {
    ValueId slot[KERNEL_SLOTS_MAX];
    int64_t table[KERNEL_SLOTS_MAX + 1] = {0};
    int n = 1;
    if (!u->body) {
        codegen_kernel(e, g, p->in->target, u->index, g->name);
        return;
    }
    if (!g->kernels[u->index].lanes) {
        n = kernel_slots(g, &g->kernels[u->index], slot);
        for (int i = 0; i < n; i++)
            table[i] = slot_offset(g, slot[i]);
    }
    em_kernel_of(e, codegen_kernel_name(g->keep, g, u->index, g->name), u->body->name, table, n);
}

/* A graph as one part sees it: what lowerings allocate lies in that part's arena. */
static Graph own_graph(const Graph *g, Arena *keep) {
    Graph own = *g;
    own.keep = keep;
    return own;
}

/* Block kernels come behind what they call. */
static void write_bodies(const CodegenParts *p, Emit *e, Arena *keep, int part, bool blocks) {
    for (int i = 0; i < p->bodies; i++) {
        const Body *b = &p->body[i];
        Graph g = own_graph(b->g, keep);
        if (b->part == part && blocks == (b->steps != NULL))
            write_body(e, &g, p->in->target, b->index, b->name, b->steps, b->step);
    }
}

Emit *codegen_part(Arena *keep, const CodegenParts *p, int part) {
    Emit *e = emit_new(keep, p->in->target, p->in->model->name);
    if (p->in->parts > 1)
        emit_share(e);
    write_bodies(p, e, keep, part, false);
    if (part != p->home)
        return e;
    for (int i = 0; i < p->bodies; i++)
        if (p->body[i].part != part)
            em_body_declare(e, p->body[i].name);
    write_bodies(p, e, keep, part, true);
    for (int i = 0; i < p->uses; i++) {
        Graph g = own_graph(p->use[i].g, keep);
        write_kernel(p, e, &g, &p->use[i]);
    }
    descriptor_emit(e, keep, p->in);
    return e;
}

Emit *codegen_module(Arena *keep, const CodegenInput *in) {
    CodegenInput one = *in;
    one.parts = 1;
    return codegen_part(keep, codegen_split(keep, &one), 0);
}
