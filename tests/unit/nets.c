/* nets.c: small networks built by hand (nets.h). */
#define _GNU_SOURCE
#include "nets.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"

const Target net_target = {.name = "x86-64-v4",
                           .vector = 16,
                           .registers = 32,
                           .fma = true,
                           .broadcast_load = true,
                           .l1 = 32768,
                           .l2 = 1 << 20};

Net net_new(const char *program, ParamList *params, int64_t c, int64_t h, int64_t w) {
    Net n = {.keep = arena_new(), .tmp = arena_new()};
    if (!params)
        params = ARENA_NEW(n.keep, ParamList);
    n.g = graph_new(n.keep, program, "test", params);
    n.ctx.tmp = n.tmp;
    n.ctx.target = &net_target;
    n.ctx.verify = true;
    n.ctx.train = strcmp(program, "train") == 0;
    n.ctx.look = strcmp(program, "look") == 0;
    ValueId user = graph_input(n.g, VK_INPUT, DT_F32, (Shape){3, {c, h, w}}, true, 0, "pixels");
    n.label = graph_input(n.g, VK_LABEL, DT_I32, (Shape){0, {0}}, true, 0, "class");
    n.image = net_op(&n, "image", OP_LOAD_INPUT, user, 0);
    return n;
}

void net_free(Net *n) {
    arena_free(n->keep);
    arena_free(n->tmp);
}

static ValueId finish(Net *n, ValueId v, const char *label) {
    graph_n(n->g, graph_v(n->g, v)->def)->label = label;
    graph_set_name(n->g, v, label);
    return v;
}

/* The parameter "label.suffix", made on first sight (another program may have made it). */
static ValueId param(Net *n, const char *label, const ParamSpec *spec) {
    ParamList *list = n->g->params;
    const char *name = arena_printf(n->keep, "%s.%s", label, spec->suffix);
    int slot = 0;
    while (slot < list->count && strcmp(list->at[slot].name, name) != 0)
        slot++;
    if (slot == list->count) {
        if (list->count == list->cap) {
            Param *bigger = ARENA_ARRAY(n->keep, list->cap * 2 + 8, Param);
            if (list->count)
                memcpy(bigger, list->at, (size_t)list->count * sizeof(Param));
            list->at = bigger;
            list->cap = list->cap * 2 + 8;
        }
        list->at[list->count++] = (Param){.name = name,
                                          .label = label,
                                          .shape = spec->shape,
                                          .split = spec->split,
                                          .init = spec->init,
                                          .init_a = spec->init_a,
                                          .init_b = spec->init_b,
                                          .lr_mult = 1,
                                          .decay_mult = 1,
                                          .trainable = shape_elems(&spec->shape)};
    }
    ValueId have = graph_find(n->g, name);
    return have ? have : graph_input(n->g, VK_PARAM, DT_F32, spec->shape, false, slot, name);
}

static ValueId with_params(Net *n, const char *label, const char *owner, int op, const void *attrs,
                           ValueId src) {
    ParamSpec spec[4];
    ValueId in[5] = {src};
    int count = op_def[op]->params(attrs, &graph_v(n->g, src)->shape, spec);
    for (int i = 0; i < count; i++)
        in[1 + i] = param(n, owner, &spec[i]);
    return finish(n, graph_op(n->g, op, attrs, 1 + count, in), label);
}

static ConvAttrs conv_attrs(int64_t maps, int64_t k, int64_t stride, int64_t pad) {
    return (ConvAttrs){.maps = maps,
                       .kernel = {k, k},
                       .stride = {stride, stride},
                       .pad = {pad, pad, pad, pad},
                       .dilation = {1, 1},
                       .groups = 1,
                       .bias = true};
}

ValueId net_conv(Net *n, const char *label, ValueId src, int64_t maps, int64_t k, int64_t stride,
                 int64_t pad) {
    ConvAttrs a = conv_attrs(maps, k, stride, pad);
    return with_params(n, label, label, OP_CONV2D, &a, src);
}

ValueId net_dense(Net *n, const char *label, ValueId src, int64_t units) {
    DenseAttrs a = {.units = units, .bias = true};
    return with_params(n, label, label, OP_DENSE, &a, src);
}

ValueId net_maxpool(Net *n, const char *label, ValueId src, int64_t k, int64_t stride) {
    PoolAttrs a = {.kernel = {k, k}, .stride = {stride, stride}};
    return finish(n, graph_op(n->g, OP_MAXPOOL, &a, 1, &src), label);
}

ValueId net_dropout(Net *n, const char *label, ValueId src, double rate, bool infer) {
    DropoutAttrs a = {.rate = rate, .key = 7, .infer = infer};
    return finish(n, graph_op(n->g, OP_DROPOUT, &a, 1, &src), label);
}

ValueId net_op(Net *n, const char *label, int op, ValueId a, ValueId b) {
    ValueId in[2] = {a, b};
    return finish(n, graph_op(n->g, op, NULL, b ? 2 : 1, in), label);
}

void net_seed(Net *n, ValueId v) {
    n->ctx.seeds[n->ctx.nseeds] = v;
    n->ctx.seed_label[n->ctx.nseeds++] = graph_v(n->g, v)->name;
    graph_v(n->g, v)->keep = true;
}

void net_end(Net *n, ValueId score) {
    n->score = score;
    graph_v(n->g, score)->keep = true;
    if (n->ctx.look) {
        n->ctx.project_from = score;
        return;
    }
    LossAttrs a = {.weight = 1, .on = 1};
    ValueId in[2] = {score, n->label};
    n->loss = finish(n, graph_op(n->g, OP_CROSS_ENTROPY, &a, 2, in), "loss.ce");
    graph_v(n->g, n->loss)->keep = true;
    n->ctx.losses[n->ctx.nlosses++] = n->loss;
    if (n->ctx.train)
        return;
    ValueId prob = net_op(n, "prob", OP_SOFTMAX, score, 0);
    graph_v(n->g, prob)->keep = true;
}

static void seeds(Net *n, const ValueId *v, int count) {
    for (int i = 0; i < count && n->ctx.look; i++)
        net_seed(n, v[i]);
}

Net net_lenet(const char *program, ParamList *params) {
    Net n = net_new(program, params, 1, 18, 18);
    ValueId c1 = net_conv(&n, "c1", n.image, 6, 5, 1, 2);
    ValueId r1 = net_op(&n, "r1", OP_RELU, c1, 0);
    ValueId p1 = net_maxpool(&n, "p1", r1, 2, 2);
    ValueId c2 = net_conv(&n, "c2", p1, 20, 3, 1, 0);
    ValueId r2 = net_op(&n, "r2", OP_RELU, c2, 0);
    ValueId p2 = net_maxpool(&n, "p2", r2, 3, 2);
    ValueId flat = net_op(&n, "flat", OP_FLATTEN, p2, 0);
    ValueId drop = net_dropout(&n, "drop", flat, 0.5, !n.ctx.train);
    ValueId f1 = net_dense(&n, "f1", drop, 40);
    ValueId r3 = net_op(&n, "r3", OP_RELU, f1, 0);
    ValueId f2 = net_dense(&n, "f2", r3, 10);
    seeds(&n, (ValueId[]){r1, p1, c2, r2, p2, r3, f2}, 7);
    net_end(&n, f2);
    return n;
}

Net net_residual(const char *program, ParamList *params) {
    Net n = net_new(program, params, 3, 12, 12);
    ValueId c0 = net_conv(&n, "c0", n.image, 16, 3, 1, 1);
    ValueId r0 = net_op(&n, "r0", OP_RELU, c0, 0);
    ValueId c1 = net_conv(&n, "c1", r0, 16, 3, 1, 1);
    ValueId r1 = net_op(&n, "r1", OP_RELU, c1, 0);
    ValueId c2 = net_conv(&n, "c2", r1, 16, 3, 1, 1);
    ValueId sum = net_op(&n, "sum", OP_ADD, r0, c2);
    ValueId r2 = net_op(&n, "r2", OP_RELU, sum, 0);
    ValueId p = net_maxpool(&n, "p", r2, 2, 2);
    ValueId f = net_dense(&n, "f", p, 5);
    seeds(&n, (ValueId[]){r0, r1, c2, sum, r2, p}, 6);
    net_end(&n, f);
    return n;
}

Net net_fork(const char *program, ParamList *params) {
    Net n = net_new(program, params, 3, 10, 10);
    ValueId r0 = net_op(&n, "r0", OP_RELU, net_conv(&n, "c0", n.image, 16, 3, 1, 1), 0);
    ValueId ra = net_op(&n, "ra", OP_RELU, net_conv(&n, "ca", r0, 16, 1, 1, 0), 0);
    ValueId rb = net_op(&n, "rb", OP_RELU, net_conv(&n, "cb", r0, 32, 3, 1, 1), 0);
    ValueId cat = net_op(&n, "cat", OP_CONCAT, ra, rb);
    ValueId p = net_maxpool(&n, "p", cat, 2, 2);
    ValueId f = net_dense(&n, "f", p, 5);
    seeds(&n, (ValueId[]){r0, ra, rb, cat, p}, 5);
    net_end(&n, f);
    return n;
}

Net net_shared(const char *program, ParamList *params) {
    Net n = net_new(program, params, 16, 9, 9);
    ConvAttrs a = conv_attrs(16, 3, 1, 1);
    ValueId c1 = with_params(&n, "c1", "c", OP_CONV2D, &a, n.image);
    ValueId r1 = net_op(&n, "r1", OP_RELU, c1, 0);
    ValueId c2 = with_params(&n, "c2", "c", OP_CONV2D, &a, r1);
    ValueId r2 = net_op(&n, "r2", OP_RELU, c2, 0);
    ValueId f = net_dense(&n, "f", r2, 5);
    seeds(&n, (ValueId[]){r1, r2}, 2);
    net_end(&n, f);
    return n;
}

Net net_tanh(const char *program, ParamList *params) {
    Net n = net_new(program, params, 1, 8, 8);
    ValueId c1 = net_conv(&n, "c1", n.image, 4, 3, 1, 0);
    ValueId t1 = net_op(&n, "t1", OP_TANH, c1, 0);
    ValueId f = net_dense(&n, "f", t1, 3);
    seeds(&n, (ValueId[]){c1, t1}, 2);
    net_end(&n, f);
    return n;
}

int net_count(const Graph *g, int op) {
    int count = 0;
    for (uint32_t o = 0; o < g->norder; o++)
        count += graph_n(g, g->order[o])->op == op;
    return count;
}

const Kernel *net_kernel(const Graph *g, const char *name) {
    for (int i = 0; i < g->nkernels; i++)
        if (strcmp(g->kernels[i].name, name) == 0)
            return &g->kernels[i];
    return NULL;
}

char *net_text(const Graph *g, Arena *keep) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    graph_print(g, f);
    fclose(f);
    char *copy = arena_strndup(keep, text, size);
    free(text);
    return copy;
}
