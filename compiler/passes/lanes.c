/* lanes.c: small networks run whole, block by block, with the images side by side in the lanes.
 *
 * Layers of a few channels fill only a part of a vector, and their kernels are so short that going
 * from one to the next costs as much.  Where a block's activations and the weights fit the caches,
 * a kernel of its own (ops/lanes.c) takes a block of images through all layers.
 * requires: schedule (the kernels found so far become its steps).  ensures: forward: one more entry
 * "forward"; the ordinary kernels remain as "forward_few", for batches that would leave most lanes
 * empty.  Training: a block kernel and an update replace all others; each gradient is stored
 * Lanes.slots times.  Otherwise nothing changes; looking needs stored layers and is left alone.
 * theory: batch-innermost layouts, cuda-convnet (Krizhevsky 2012); fusion through caches, Alwani et
 * al. 2016, "Fused-layer CNN accelerators".
 */
#include <string.h>

#include "base/bug.h"
#include "ir/cost.h"
#include "ir/lanes.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "ops/hooks.h"
#include "passes/pass.h"

enum { ALIGN = 64, SLOTS_MIN = 4, SLOTS_MAX = 16, SLOTS_BYTES = 16 << 20 };

typedef struct Former {
    Graph *g;
    PassCtx *ctx;
    Lanes *block, *update;
    UseTable uses;
    int *step_of; /* per node: 1 + step of the block; 0: none */
    bool *late;   /* per node: part of the update */
    Kernel *wait; /* kernels of these nodes */
    int nwait;
    int64_t weights, gradients; /* bytes */
    double seconds, ordinary;   /* per image, all threads at work */
} Former;

static int64_t align(int64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- may we, can we ---- */

static bool reads_images(const Graph *g, const Node *n) {
    for (int i = 0; i < n->nin; i++)
        if (graph_v(g, n->in[i])->batched)
            return true;
    return false;
}

static bool has_code(const Graph *g, NodeId id) {
    const Node *n = graph_n(g, id);
    if (!reads_images(g, n)) /* weights turned round: read where they are; sums of gradients: map */
        return op_is(n->op, OPF_E | OPF_X) || n->op == OP_TRANSPOSE_WEIGHTS;
    for (int i = 0; i < n->nin && op_is(n->op, OPF_K); i++)
        if (!graph_v(g, n->in[i])->batched ||
            !shape_equal(&graph_v(g, n->in[i])->shape, &graph_v(g, n->out[0])->shape))
            return false; /* repeated numbers are not spread over the lanes */
    if (n->op == OP_CONV2D && ((const ConvAttrs *)n->attrs)->algorithm != CONV_AUTO)
        return false; /* somebody wants it in a certain way */
    if (op_def[n->op]->lanes_can && !op_def[n->op]->lanes_can(g, id))
        return false;
    return op_is(n->op, OPF_E) ? op_def[n->op]->scalar != NULL : op_def[n->op]->lanes != NULL;
}

static bool has_frames(const Graph *g, NodeId id) {
    const Node *n = graph_n(g, id);
    return n->out[0] && shape_frames(&graph_v(g, n->out[0])->shape) > 1;
}

static bool trains(const Graph *g) {
    for (uint32_t i = 0; i < g->norder; i++)
        if (op_is(graph_n(g, g->order[i])->op, OPF_X))
            return true;
    return false;
}

static bool possible(const Graph *g, const PassCtx *ctx) {
    const PlanOptions *o = ctx->options;
    bool asked = o && o->force && strcmp(o->force, "lanes") == 0;
    if (ctx->look || is_look(g) || (o && o->bf16) || (ctx->train && !trains(g)))
        return false;
    if (!asked && (!ctx->lanes || (o && o->force)))
        return false;
    for (uint32_t i = 0; i < g->norder; i++)
        if (!has_code(g, g->order[i]) || has_frames(g, g->order[i]))
            return false;
    return true;
}

/* ---- steps ---- */

static Kernel *add_step(Former *f, NodeId anchor, const Kernel *of) {
    Kernel *s = &f->block->step[f->block->nsteps++];
    *s = (Kernel){.anchor = anchor, .label = of->label, .name = of->name,
                  .winograd = lanes_winograd(f->g, graph_n(f->g, anchor))};
    f->step_of[anchor] = f->block->nsteps;
    return s;
}

/* Gradients that sum over images rather than pixels wait for the update: all images are summed at
 * once and meet their weights in registers.  A copy per task would be written, read back and,
 * worse, carried from core to core. */
static bool waits(Former *f, const Kernel *k) {
    NodeId node[KERNEL_MAX_NODES];
    const Node *n = graph_n(f->g, k->anchor);
    if (!f->ctx->train || !lanes_late(f->g, k))
        return false;
    for (int i = 0; i < n->nin; i++)
        if (!graph_v(f->g, n->in[i])->stored)
            return false;
    for (int i = kernel_nodes(k, node); i-- > 0;)
        f->late[node[i]] = true;
    f->wait[f->nwait++] = *k;
    return true;
}

static void take_kernel(Former *f, const Kernel *k) {
    Graph *g = f->g;
    if (waits(f, k))
        return;
    if (!reads_images(g, graph_n(g, k->anchor)))
        return;
    Kernel *s = add_step(f, k->anchor, k);
    for (int i = 0; i < k->nchain; i++) {
        s->chain[s->nchain++] = k->chain[i];
        f->step_of[k->chain[i]] = f->block->nsteps;
    }
    if (k->tail) {
        s->tail = k->tail;
        f->step_of[k->tail] = f->block->nsteps;
        if (k->nbehind || !lanes_pools(g, s, f->block->target)) {
            s->tail = 0;
            s = add_step(f, k->tail, k);
        }
        for (int i = 0; i < k->nbehind; i++) {
            s->chain[s->nchain++] = k->behind[i];
            f->step_of[k->behind[i]] = f->block->nsteps;
        }
    }
    if (k->bias_grad)
        add_step(f, k->bias_grad, k);
}

/* Does anything outside its step, or the runtime, read v? */
static bool leaves_step(const Former *f, ValueId v) {
    const Value *x = graph_v(f->g, v);
    if (x->keep)
        return true;
    for (uint32_t u = f->uses.first[v]; u < f->uses.first[v + 1]; u++)
        if (f->step_of[f->uses.user[u]] != f->step_of[x->def])
            return true;
    return false;
}

static void place_value(Former *f, ValueId v, Life *life) {
    const Graph *g = f->g;
    const Value *x = graph_v(g, v);
    LanesPlace *p = &f->block->place[v];
    int64_t c, h, w;
    life->value = v;
    life->from = life->to = f->step_of[x->def] - 1;
    for (uint32_t u = f->uses.first[v]; u < f->uses.first[v + 1]; u++) {
        NodeId id = f->uses.user[u];
        const Node *n = graph_n(g, id);
        int step = f->step_of[id] - 1;
        if (step < 0)
            continue; /* reads what the block stores for it in the slab */
        life->to = step > life->to ? step : life->to;
        for (int i = 0; i < n->nin && op_def[n->op]->lanes_halo; i++) {
            int wish[4] = {0, 0, 0, 0};
            if (n->in[i] != v)
                continue;
            op_def[n->op]->lanes_halo(g, id, i, f->block->target, wish);
            for (int side = 0; side < 4; side++)
                p->halo[side] = wish[side] > p->halo[side] ? wish[side] : p->halo[side];
        }
    }
    shape_chw(&x->shape, &c, &h, &w);
    int64_t cells = c * (h + p->halo[0] + p->halo[1]) * (w + p->halo[2] + p->halo[3]);
    p->bytes = align(cells * f->block->target->vector * (x->dtype == DT_U8 ? 1 : 4));
    life->bytes = p->bytes;
}

/* Places in scratch for everything that goes from one step to another, and for the work of each. */
static int64_t place_values(Former *f) {
    Graph *g = f->g;
    int n = 0, steps = f->block->nsteps;
    Life *lives = ARENA_ARRAY(f->ctx->tmp, g->nvalue + (uint32_t)steps, Life);
    f->block->place = ARENA_ARRAY(g->keep, g->nvalue, LanesPlace);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        f->block->place[v].offset = -1;
        if (x->kind == VK_RESULT && !x->same_as && x->batched && !graph_n(g, x->def)->dead &&
            f->step_of[x->def] && leaves_step(f, v))
            place_value(f, v, &lives[n++]);
    }
    for (int i = 0; i < steps; i++) {
        const Node *anchor = graph_n(g, f->block->step[i].anchor);
        int64_t work = lanes_workspace(g, anchor, f->block->target);
        if (work)
            lives[n++] = (Life){.from = i, .to = i, .bytes = align(work)};
    }
    int64_t *offset = ARENA_ARRAY(f->ctx->tmp, n, int64_t);
    int64_t bytes = memplan_pack(f->ctx->tmp, lives, n, offset);
    f->block->work = ARENA_ARRAY(g->keep, steps, int64_t);
    for (int i = 0; i < n; i++)
        if (lives[i].value)
            f->block->place[lives[i].value].offset = offset[i];
        else
            f->block->work[lives[i].from] = offset[i];
    return bytes;
}

/* ---- gradients ---- */

/* Values that the block leaves for the update: sums over its images, laid out as the parameter. */
static void store_gradient(Former *f, ValueId v, const Value *param) {
    Value *x = graph_v(f->g, v);
    if (x->kind != VK_RESULT)
        return;
    const Node *def = graph_n(f->g, x->def);
    if (!reads_images(f->g, def)) {
        x->stored = false;
        for (int i = 0; i < def->nin; i++)
            store_gradient(f, def->in[i], param);
        return;
    }
    x->stored = true;
    x->layout = param->layout;
    x->bytes = param->bytes;
}

static void store_gradients(Former *f) {
    Graph *g = f->g;
    for (ValueId v = 1; v < g->nvalue; v++) {
        Value *x = graph_v(g, v);
        if (x->kind == VK_RESULT && !x->same_as && !is_update(g, v))
            x->stored = x->keep;
    }
    for (uint32_t i = 0; i < g->norder; i++) {
        const Node *n = graph_n(g, g->order[i]);
        if (op_is(n->op, OPF_X) && !f->late[g->order[i]])
            store_gradient(f, n->in[1], graph_v(g, n->in[0]));
    }
    for (int i = 0; i < f->nwait; i++) {
        const Node *n = graph_n(g, f->wait[i].anchor);
        for (int j = 0; j < n->nin; j++)
            graph_v(g, n->in[j])->stored = true;
    }
    for (ValueId v = 1; v < g->nvalue; v++) {
        Value *x = graph_v(g, v);
        if (x->kind == VK_RESULT && !x->same_as && !x->batched && x->stored && !is_update(g, v))
            x->bytes *= f->block->slots;
    }
}

/* ---- the size of it ---- */

static void count_weights(Former *f) {
    const Graph *g = f->g;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        f->weights += x->kind == VK_PARAM && f->uses.first[v] < f->uses.first[v + 1] ? x->bytes : 0;
        f->gradients += x->kind == VK_STATE ? x->bytes : 0;
    }
}

static bool small_enough(const Former *f, int64_t scratch) {
    return scratch + f->weights + f->gradients <= 2 * f->block->target->l2;
}

/* ---- is it quicker ---- */

/* Shares of the peak, measured on LeNet-5 and on convolutions of full vectors; Winograd's is less
 * because its transforms are not counted. */
static const double lanes_share = 0.83, ordinary_share = 0.9, winograd_share = 0.6;

static int threads_of(const Target *t) {
    return t->speed.threads > 1 ? t->speed.threads : 1;
}

/* Channels that the kernel's vectors hold for each that exists. */
static double padding(const Graph *g, const Kernel *k, const Target *t) {
    const Node *n = graph_n(g, k->anchor);
    const Value *x = graph_v(g, n->out[0]);
    int64_t c, h, w;
    if (!x->batched)
        x = graph_v(g, n->in[n->nin - 1]); /* weights' gradient: diff_dst */
    if (!x->batched || x->dtype != DT_F32)
        return 1;
    shape_chw(&x->shape, &c, &h, &w);
    return (double)((c + t->vector - 1) / t->vector * t->vector) / (double)c;
}

/* Multiplications of F(m, k) for each of the direct way. */
static double winograd_work(const Graph *g, const Kernel *k) {
    const ConvAttrs *a = graph_n(g, k->anchor)->attrs;
    double m = k->winograd, work = 1;
    for (int d = 0; d < 2; d++)
        work *= (m + (double)a->kernel[d] - 1) / (m * (double)a->kernel[d]);
    return work;
}

/* Seconds per image, all threads at work, of the kernels as they are. */
static double ordinary_seconds(const Graph *g, const Target *t) {
    double seconds = 0;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        double flops = k->flops_image * (k->winograd ? winograd_work(g, k) / winograd_share
                                                     : padding(g, k, t) / ordinary_share);
        seconds += flops / t->speed.flops + k->bytes_image / t->speed.l2;
    }
    return seconds / threads_of(t);
}

static double lanes_seconds(const Graph *g, const Target *t) {
    double flops = 0;
    for (int i = 0; i < g->nkernels; i++)
        flops += g->kernels[i].flops_image * lanes_work(g, graph_n(g, g->kernels[i].anchor));
    return flops / (lanes_share * t->speed.flops * threads_of(t));
}

static bool worth_it(const Former *f, int64_t scratch) {
    const PlanOptions *o = f->ctx->options;
    if (f->block->nsteps == 0)
        return false;
    return (o && o->force) ||
           (small_enough(f, scratch) && f->seconds < f->ordinary);
}

/* ---- kernels ---- */

static Kernel *new_kernel(Former *f, Kernel *k, Lanes *l, const char *name) {
    *k = (Kernel){.anchor = l->nsteps ? l->step[0].anchor : l->late[0].anchor,
                  .name = name,
                  .label = name,
                  .algorithm = arena_printf(f->g->keep, "lanes x%d", f->block->target->vector),
                  .lanes = l};
    return k;
}

static void block_kernel(Former *f, Kernel *k, int64_t scratch) {
    const Target *t = f->block->target;
    new_kernel(f, k, f->block, f->update ? "block" : "net");
    k->why = arena_printf(f->g->keep,
                          "%d layers per block of %d images: %lld KB of activations, %lld KB of "
                          "weights%s, L2 %lld KB; %.3g us per image where blocks are full, %.3g "
                          "with one kernel per layer",
                          f->block->nsteps, t->vector, (long long)(scratch + 1023) / 1024,
                          (long long)(f->weights + f->gradients + 1023) / 1024,
                          f->gradients ? " and gradients" : "", (long long)t->l2 / 1024,
                          1e6 * f->seconds, 1e6 * f->ordinary);
    k->scratch = scratch;
    k->tasks_per = f->update ? f->block->slots : 1;
    k->tasks_block = f->update ? 0 : t->vector;
    /* A block takes as long as if all its lanes had an image, and one thread. */
    int64_t n = plan_batch(f->g), blocks = (n + t->vector - 1) / t->vector;
    int64_t threads = threads_of(t), rounds = (blocks + threads - 1) / threads;
    k->seconds = f->seconds * (double)(rounds * t->vector * threads);
}

static void finish(Former *f, Kernel *k) {
    kernel_cost(f->g, k);
    plan_seconds(f->g, k, f->ctx->target, k->bytes_fixed);
    if (k->scratch > f->g->scratch_bytes)
        f->g->scratch_bytes = k->scratch;
}

static void add_entry(Graph *g, const char *name, int first) {
    BUG_IF(g->nentries == 8, "too many entries");
    g->entry[g->nentries++] = (Entry){name, first, 1};
}

static void add_forward(Former *f, int64_t scratch) {
    Graph *g = f->g;
    Kernel *all = ARENA_ARRAY(g->keep, g->nkernels + 1, Kernel);
    memcpy(all, g->kernels, (size_t)g->nkernels * sizeof *all);
    f->block->again = true;
    block_kernel(f, &all[g->nkernels], scratch);
    g->kernels = all;
    g->nkernels++;
    const char *name = g->entry[g->nentries - 1].name; /* "forward", "attack" */
    g->entry[0] = (Entry){arena_printf(g->keep, "%s_few", name), 0,
                          g->nkernels - 1}; /* with what parameters alone make */
    g->nentries = 1;
    add_entry(g, name, g->nkernels - 1);
    finish(f, &all[g->nkernels - 1]);
}

static bool in_update(const Former *f, NodeId id) {
    const Node *n = graph_n(f->g, id);
    return f->late[id] || (!reads_images(f->g, n) && op_is(n->op, OPF_E | OPF_X));
}

/* The nodes of the block, then those of the update. */
static void split_order(Former *f) {
    Graph *g = f->g;
    NodeId *order = ARENA_ARRAY(g->keep, g->norder, NodeId);
    uint32_t n = 0;
    for (int update = 0; update < 2; update++) {
        uint32_t from = n;
        for (uint32_t i = 0; i < g->norder; i++) {
            Node *node = graph_n(g, g->order[i]);
            if (in_update(f, g->order[i]) != update)
                continue;
            node->kernel = (uint32_t)update + 1;
            order[n++] = g->order[i];
        }
        Lanes *l = update ? f->update : f->block;
        l->node = order + from;
        l->nnodes = (int)(n - from);
    }
    g->order = order;
}

static void replace_training(Former *f, int64_t scratch) {
    Graph *g = f->g;
    Kernel *all = ARENA_ARRAY(g->keep, 2, Kernel);
    split_order(f);
    f->update->step = ARENA_ARRAY(g->keep, f->update->nnodes, Kernel);
    for (int i = 0; i < f->update->nnodes; i++) {
        const Node *n = graph_n(g, f->update->node[i]);
        if (op_is(n->op, OPF_X) && !f->late[f->update->node[i]])
            f->update->step[f->update->nsteps++] =
                (Kernel){.anchor = f->update->node[i], .label = n->label, .name = n->label};
    }
    block_kernel(f, &all[0], scratch);
    new_kernel(f, &all[1], f->update, "update");
    all[1].why = f->nwait ? "dense layers: sums over the images, weights and momentum pass once; "
                            "others: adds the tasks' gradients in order; SGD"
                          : "adds the tasks' gradients in order; SGD";
    for (int i = 0; i < f->nwait; i++)
        all[1].scratch = f->wait[i].scratch > all[1].scratch ? f->wait[i].scratch : all[1].scratch;
    all[1].tasks_per = lanes_update_tasks(g, f->update);
    g->kernels = all;
    g->nkernels = 2;
    g->entry[0].count = 2;
    g->scratch_bytes = 0;
    finish(f, &all[0]);
    finish(f, &all[1]);
}

static Lanes *new_lanes(const Former *f) {
    Graph *g = f->g;
    Lanes *l = ARENA_NEW(g->keep, Lanes);
    Target *t = ARENA_NEW(g->keep, Target);
    *t = *f->ctx->target;
    l->full = t->vector;
    t->vector = t->lanes ? t->lanes : t->vector;
    l->target = t;
    return l;
}

void pass_lanes(Graph *g, PassCtx *ctx) {
    if (!lanes_pools || !possible(g, ctx))
        return;
    Former f = {.g = g, .ctx = ctx, .uses = graph_use_table(g, ctx->tmp)};
    f.block = new_lanes(&f);
    f.block->step = ARENA_ARRAY(g->keep, g->norder, Kernel);
    f.step_of = ARENA_ARRAY(ctx->tmp, g->nnode, int);
    f.late = ARENA_ARRAY(ctx->tmp, g->nnode, bool);
    f.wait = ARENA_ARRAY(g->keep, g->nkernels, Kernel);
    for (int i = 0; i < g->nkernels; i++)
        take_kernel(&f, &g->kernels[i]);
    count_weights(&f);
    int64_t scratch = place_values(&f);
    f.seconds = lanes_seconds(g, ctx->target);
    f.ordinary = ordinary_seconds(g, ctx->target);
    if (!worth_it(&f, scratch))
        return;
    if (!ctx->train) {
        NodeId *node = ARENA_ARRAY(g->keep, g->norder, NodeId);
        memcpy(node, g->order, g->norder * sizeof *node);
        f.block->node = node;
        f.block->nnodes = (int)g->norder;
        add_forward(&f, scratch);
        return;
    }
    int64_t slots = f.gradients > 0 ? SLOTS_BYTES / f.gradients : SLOTS_MAX;
    f.block->slots = slots < SLOTS_MIN ? SLOTS_MIN : slots > SLOTS_MAX ? SLOTS_MAX : (int)slots;
    f.update = ARENA_NEW(g->keep, Lanes);
    *f.update = (Lanes){.target = f.block->target, .slots = f.block->slots, .update = true,
                        .late = f.wait, .nlate = f.nwait};
    store_gradients(&f);
    replace_training(&f, scratch);
}
