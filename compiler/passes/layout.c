/* layout.c: physical layouts and sizes of stored values, algorithms and tiles, costs of kernels.
 *
 * requires: fuse; ctx->target.  ensures: each stored value and each parameter has a layout and a
 * size (multiple of 64 bytes); each kernel has its task split, FLOPs and bytes.
 * Rules: images and vectors are blocked by the vector width, with the halo their readers ask for;
 * a thin loaded image that only convolutions and dense layers read stays plain; one number per
 * image is plain; weights are laid out as the layer that reads them wants, and their gradients
 * alike; vectors beside weights (bias) are padded to whole tiles.
 * theory: Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD
 * architectures", section II (blocked formats).
 */
#include <string.h>

#include "base/bug.h"
#include "ir/cost.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "ops/hooks.h"
#include "passes/pass.h"

enum { ALIGN = 64, PLAIN_CHANNELS = 4, KERNEL_VALUES = 300 };

static int64_t align(int64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int64_t elem_size(DType t) {
    return t == DT_U8 ? 1 : 4;
}

bool is_update(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->kind == VK_RESULT && op_is(graph_n(g, x->def)->op, OPF_X);
}

/* ---- batched values ---- */

static bool reads_plain(int op, int input) {
    return input == 0 && (op == OP_CONV2D || op == OP_DENSE || op == OP_CONV2D_BWD_WEIGHTS ||
                          op == OP_DENSE_BWD_WEIGHTS);
}

static bool may_be_plain(const Graph *g, const UseTable *uses, ValueId v) {
    const Value *x = graph_v(g, v);
    bool loaded = x->kind == VK_RESULT && (graph_n(g, x->def)->op == OP_LOAD_INPUT ||
                                           graph_n(g, x->def)->op == OP_LOAD_SQUARE);
    if (!loaded || x->shape.rank != 3 ||
        x->shape.dim[0] > PLAIN_CHANNELS || uses->first[v] == uses->first[v + 1])
        return false;
    const Node *def = graph_n(g, x->def);
    if (g->kernels[def->kernel - 1].nchain > 0)
        return false;
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        const Node *n = graph_n(g, uses->user[u]);
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] == v && !reads_plain(n->op, i))
                return false;
    }
    return true;
}

/* Per side the largest margin that any reader in another kernel wants. */
static void find_halo(const Graph *g, const UseTable *uses, ValueId v, int halo[4]) {
    const Value *x = graph_v(g, v);
    uint32_t own = x->kind == VK_RESULT ? graph_n(g, x->def)->kernel : 0;
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        NodeId id = uses->user[u];
        const Node *n = graph_n(g, id);
        if (n->kernel == own || !op_def[n->op]->halo)
            continue;
        for (int i = 0; i < n->nin; i++) {
            int wish[4] = {0, 0, 0, 0};
            if (n->in[i] != v)
                continue;
            op_def[n->op]->halo(g, id, i, wish);
            for (int side = 0; side < 4; side++)
                halo[side] = wish[side] > halo[side] ? wish[side] : halo[side];
        }
    }
}

static void layout_batched(Graph *g, const UseTable *uses, const Target *t, ValueId v) {
    Value *x = graph_v(g, v);
    Layout l = {.kind = LAYOUT_BLOCKED, .block = t->vector};
    if (x->shape.rank == 0) {
        l = (Layout){.kind = LAYOUT_PLAIN};
    } else {
        if (may_be_plain(g, uses, v))
            l = (Layout){.kind = LAYOUT_PLAIN};
        if (x->shape.rank == 3)
            find_halo(g, uses, v, l.halo);
    }
    x->layout = l;
}

/* A chain's last result may lie over an operand that dies there (life.c) if both have the same
 * halo: it costs a few zeros per row and saves a whole value.  Rectifiers' masks in training. */
static void match_halos(Graph *g) {
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        if (k->nchain == 0 || k->tail)
            continue;
        const Node *last = graph_n(g, k->chain[k->nchain - 1]);
        Value *out = graph_v(g, last->out[0]);
        for (int j = 0; j < last->nin; j++) {
            const Value *in = graph_v(g, last->in[j]);
            bool room = in->stored && out->stored && in->kind == VK_RESULT && !in->keep &&
                        graph_n(g, in->def)->kernel != (uint32_t)i + 1 &&
                        in->layout.kind == LAYOUT_BLOCKED && out->layout.kind == LAYOUT_BLOCKED;
            for (int side = 0; side < 4; side++)
                room = room && in->layout.halo[side] >= out->layout.halo[side];
            if (room)
                memcpy(out->layout.halo, in->layout.halo, sizeof out->layout.halo);
        }
    }
}

/* ---- weights and other values without a batch ---- */

/* What the reader (n, input) of weights wants; false: it has no opinion. */
static bool ask(const Graph *g, NodeId n, int input, const Target *t, Layout *out) {
    const OpDef *def = op_def[graph_n(g, n)->op];
    memset(out, 0, sizeof *out);
    return def->weights && def->weights(g, n, input, t, out);
}

static bool equal_layout(const Layout *a, const Layout *b) {
    return a->kind == b->kind && a->block == b->block && a->transposed == b->transposed &&
           a->o_tile == b->o_tile && a->i_block == b->i_block && a->groups == b->groups &&
           memcmp(a->halo, b->halo, sizeof a->halo) == 0;
}

static void check_groups(const Value *x, const Layout *l) {
    if (l->kind != LAYOUT_WEIGHTS || l->groups <= 1)
        return;
    int64_t per_group = x->shape.dim[0] / l->groups;
    /* Otherwise a tile's padding would alias the next group's weights (see layout_axes). */
    BUG_IF(per_group % (l->transposed ? l->i_block : l->o_tile) != 0, "'%s': tiles straddle groups",
           x->name ? x->name : "?");
}

/* The readers' common wish.  Forward operators come first in the order and decide; the others must
 * agree (they derive their wish from the same attributes). */
static bool wished_layout(const Graph *g, const UseTable *uses, const Target *t, ValueId v,
                          Layout *out) {
    bool found = false;
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        NodeId id = uses->user[u];
        const Node *n = graph_n(g, id);
        for (int i = 0; i < n->nin; i++) {
            Layout l;
            if (n->in[i] != v || !ask(g, id, i, t, &l))
                continue;
            BUG_IF(found && !equal_layout(&l, out), "two readers of '%s' want different layouts",
                   graph_v(g, v)->name ? graph_v(g, v)->name : "?");
            *out = l;
            found = true;
        }
    }
    return found;
}

/* A mask has the layout of the weights, or of their gradient, that the same node reads. */
static bool sibling_layout(const Graph *g, const UseTable *uses, const Target *t, ValueId v,
                           Layout *out) {
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        NodeId id = uses->user[u];
        const Node *n = graph_n(g, id);
        for (int i = 0; i < n->nin; i++) {
            const Value *other = graph_v(g, n->in[i]);
            if (n->in[i] == v || !shape_equal(&other->shape, &graph_v(g, v)->shape))
                continue;
            if (ask(g, id, i, t, out) ||
                (other->kind == VK_RESULT && ask(g, other->def, -1, t, out)))
                return true;
        }
    }
    return false;
}

/* Vectors beside weights end on a whole tile of output channels, so that a tile can be loaded. */
static int64_t padded_vector(const Graph *g, const UseTable *uses, const Target *t, ValueId v) {
    int64_t c = graph_v(g, v)->shape.dim[0], best = 0;
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        NodeId id = uses->user[u];
        const Node *n = graph_n(g, id);
        for (int i = 0; i < n->nin; i++) {
            Layout l;
            if (n->in[i] == v || !ask(g, id, i, t, &l) || l.kind != LAYOUT_WEIGHTS || l.transposed)
                continue;
            int64_t per_group = c / l.groups;
            int64_t padded = c - per_group + (per_group + l.o_tile - 1) / l.o_tile * l.o_tile;
            best = padded > best ? padded : best;
        }
    }
    return best;
}

static Layout default_layout(const Value *x, const Target *t) {
    if (x->shape.rank == 1)
        return (Layout){.kind = LAYOUT_BLOCKED, .block = t->vector};
    return (Layout){.kind = LAYOUT_PLAIN};
}

static int64_t bytes_of(const Value *x) {
    int64_t elems = layout_elems(&x->layout, &x->shape), bytes;
    BUG_IF(elems < 0 || __builtin_mul_overflow(elems, elem_size(x->dtype), &bytes),
           "'%s' is too large", x->name ? x->name : "?");
    bytes = align(bytes);
    BUG_IF(__builtin_mul_overflow(bytes, shape_frames(&x->shape), &bytes), "'%s' is too large",
           x->name ? x->name : "?");
    return bytes;
}

/* May the parameter be kept as bfloat16?  Weights that only dense layers and their backward data
 * read; nobody changes them. */
static bool keep_bf16(const Graph *g, const UseTable *uses, ValueId v) {
    if (!g->options || !g->options->bf16)
        return false;
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        const Node *n = graph_n(g, uses->user[u]);
        if ((n->op != OP_DENSE && n->op != OP_DENSE_BWD_DATA) || n->in[0] == v || n->in[1] != v)
            return false;
        if (n->nin > 2 && n->in[2] == v)
            return false;
    }
    return true;
}

static void layout_param(Graph *g, const UseTable *uses, const Target *t, ValueId v) {
    Value *x = graph_v(g, v);
    Param *p = &g->params->at[x->slot];
    Layout l;
    if (uses->first[v] == uses->first[v + 1])
        return; /* a program that does not read it has no opinion */
    if (!wished_layout(g, uses, t, v, &l) && !sibling_layout(g, uses, t, v, &l))
        l = default_layout(x, t);
    check_groups(x, &l);
    BUG_IF(p->layout.kind != LAYOUT_UNSET && !equal_layout(&p->layout, &l),
           "parameter '%s' would be laid out in two ways", p->name);
    bool bf16 = keep_bf16(g, uses, v);
    BUG_IF(p->layout.kind != LAYOUT_UNSET && p->bf16 != bf16,
           "parameter '%s' would be stored in two ways", p->name);
    p->layout = x->layout = l;
    p->bf16 = bf16;
    int64_t bytes = p->bf16 ? align(bytes_of(x) / 2) : bytes_of(x);
    if (x->shape.rank == 1 && align(padded_vector(g, uses, t, v) * 4) > bytes)
        bytes = align(padded_vector(g, uses, t, v) * 4);
    p->bytes = bytes > p->bytes ? bytes : p->bytes;
    x->bytes = p->bytes;
}

/* The parameter that v is (a part of) the gradient of: the way leads through sums and masks. */
static ValueId updated_by(const Graph *g, const UseTable *uses, ValueId v, int depth) {
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1] && depth < 64; u++) {
        const Node *n = graph_n(g, uses->user[u]);
        if (op_is(n->op, OPF_X) && n->in[1] == v)
            return n->in[0];
        ValueId p = op_is(n->op, OPF_E) ? updated_by(g, uses, n->out[0], depth + 1) : 0;
        if (p)
            return p;
    }
    return 0;
}

static void layout_unbatched(Graph *g, const UseTable *uses, const Target *t, ValueId v) {
    Value *x = graph_v(g, v);
    ValueId param = is_update(g, v) ? graph_n(g, x->def)->in[0] : updated_by(g, uses, v, 0);
    Layout l;
    if (param) {
        /* Gradients share their parameter's layout and size: the update walks both as flat arrays.
         */
        x->layout = graph_v(g, param)->layout;
        x->bytes = graph_v(g, param)->bytes;
        return;
    }
    if (!ask(g, x->def, -1, t, &l) && !wished_layout(g, uses, t, v, &l))
        l = default_layout(x, t);
    check_groups(x, &l);
    x->layout = l;
    x->bytes = bytes_of(x);
}

/* ---- kernels ---- */

/* Images that the kernel sees for each of the batch: frames of what it makes, or of what it sums. */
static int64_t frames_of(const Graph *g, const Node *n) {
    int64_t frames = 1;
    for (int k = 0; k < n->nout; k++)
        if (n->out[k] && graph_v(g, n->out[k])->batched)
            return shape_frames(&graph_v(g, n->out[k])->shape);
    for (int i = 0; i < n->nin; i++)
        if (shape_frames(&graph_v(g, n->in[i])->shape) > frames)
            frames = shape_frames(&graph_v(g, n->in[i])->shape);
    return frames;
}

static void choose(const Graph *g, Kernel *k, const Target *t) {
    const Node *n = graph_n(g, k->anchor);
    k->tasks_per = 1; /* one task per image, or one task in all: what needs no thought */
    k->tasks_block = n->out[0] && graph_v(g, n->out[0])->batched;
    if (op_is(n->op, OPF_E)) {
        k->algorithm = "map";
        if (choose_map)
            choose_map(g, k, t);
    } else {
        k->algorithm = "plain";
        if (op_def[n->op]->choose)
            op_def[n->op]->choose(g, k, t);
    }
}

/* Frames are images to the one who chooses. */
static void choose_for_frames(Graph *g, Kernel *k, const Target *t) {
    const PlanOptions *options = g->options;
    PlanOptions more = options ? *options : (PlanOptions){0};
    k->frames = frames_of(g, graph_n(g, k->anchor));
    if (k->frames > 1 && plan_batch(g) <= INT32_MAX / k->frames) {
        more.batch = (int)(plan_batch(g) * k->frames);
        g->options = &more;
    }
    choose(g, k, t);
    g->options = options;
}

/* A kernel that makes results again must take its twin's algorithm, for the same bits. */
static void choose_like_twin(Graph *g, Kernel *k, const Target *t) {
    const Kernel *twin = kernel_twin(g, k);
    const PlanOptions *options = g->options;
    PlanOptions like = options ? *options : (PlanOptions){0};
    like.force = twin->algorithm;
    g->options = &like;
    choose_for_frames(g, k, t);
    g->options = options;
}

static void add_flops(const Graph *g, Kernel *k, NodeId id) {
    const Node *n = graph_n(g, id);
    bool batched = false;
    if (!op_def[n->op]->flops)
        return;
    for (int i = 0; i < n->nin; i++)
        batched |= graph_v(g, n->in[i])->batched;
    double flops = op_def[n->op]->flops(g, id);
    *(batched ? &k->flops_image : &k->flops_fixed) += flops;
}

static void add_bytes(const Graph *g, Kernel *k, ValueId v) {
    const Value *x = graph_v(g, v);
    double bytes = (double)x->bytes;
    if (x->bytes == 0) { /* the user's own buffers */
        int64_t elems = shape_elems(&x->shape);
        bytes = (double)(elems * elem_size(x->dtype));
    }
    *(x->batched ? &k->bytes_image : &k->bytes_fixed) += bytes;
}

void kernel_cost(const Graph *g, Kernel *k) {
    ValueId values[KERNEL_VALUES];
    k->flops_image = k->flops_fixed = k->bytes_image = k->bytes_fixed = 0;
    NodeId buffer[KERNEL_MAX_NODES];
    int count;
    const NodeId *node = kernel_members(k, buffer, &count);
    for (int i = 0; i < count; i++)
        add_flops(g, k, node[i]);
    int n = kernel_inputs(g, k, values, KERNEL_VALUES);
    for (int i = 0; i < n && i < KERNEL_VALUES; i++)
        add_bytes(g, k, values[i]);
    n = kernel_outputs(g, k, values, KERNEL_VALUES);
    for (int i = 0; i < n && i < KERNEL_VALUES; i++)
        add_bytes(g, k, values[i]);
}

void pass_layout(Graph *g, PassCtx *ctx) {
    const Target *t = ctx->target;
    UseTable uses = graph_use_table(g, ctx->tmp);
    BUG_IF(!t, "layout needs a target");
    /* Data first: a convolution's wish for its weights depends on the layout of its source. */
    for (ValueId v = 1; v < g->nvalue; v++) {
        Value *x = graph_v(g, v);
        if (x->same_as || !x->stored || !x->batched || x->kind == VK_NONE)
            continue;
        layout_batched(g, &uses, t, v);
    }
    if (ctx->train)
        match_halos(g);
    for (ValueId v = 1; v < g->nvalue; v++) {
        Value *x = graph_v(g, v);
        if (!x->same_as && x->stored && x->batched && x->kind != VK_NONE)
            x->bytes = bytes_of(x);
    }
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_PARAM)
            layout_param(g, &uses, t, v);
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_STATE) {
            graph_v(g, v)->layout = g->params->at[graph_v(g, v)->slot].layout;
            graph_v(g, v)->bytes = g->params->at[graph_v(g, v)->slot].bytes;
        }
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        for (int k = 0; k < n->nout; k++)
            if (n->out[k] && graph_v(g, n->out[k])->stored && !graph_v(g, n->out[k])->batched)
                layout_unbatched(g, &uses, t, n->out[k]);
    }
    double call_bytes = 0;
    g->scratch_bytes = 0;
    for (int i = 0; i < g->nkernels; i++) {
        Kernel *k = &g->kernels[i];
        k->seconds = 0;
        if (graph_n(g, k->anchor)->twin)
            choose_like_twin(g, k, t);
        else
            choose_for_frames(g, k, t);
        kernel_cost(g, k);
        call_bytes += k->bytes_image * (double)plan_batch(g) + k->bytes_fixed;
        if (k->scratch > g->scratch_bytes)
            g->scratch_bytes = k->scratch;
    }
    for (int i = 0; i < g->nkernels; i++)
        plan_seconds(g, &g->kernels[i], t, call_bytes);
}

void params_place(ParamList *params) {
    params->bytes = params->state_bytes = 0;
    for (int i = 0; i < params->count; i++) {
        Param *p = &params->at[i];
        if (p->layout.kind == LAYOUT_UNSET) { /* of a layer that no program computes */
            p->layout = (Layout){.kind = LAYOUT_PLAIN};
            p->bytes = align(layout_elems(&p->layout, &p->split) * 4);
        }
        p->offset = params->bytes;
        params->bytes += align(p->bytes);
        if (p->frozen || p->constant)
            continue;
        p->state_offset = params->state_bytes;
        params->state_bytes += param_state_step(p) * (params->states > 1 ? params->states : 1);
    }
}
