/* layer.c: see layer.h. */
#include "layer.h"

#include "base/bug.h"
#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"

const Layer layers[] = {
    {"alex1", 3, 227, 227, 96, {11, 11}, 4, 0, 1},  {"alex2", 96, 27, 27, 256, {5, 5}, 1, 2, 2},
    {"alex3", 256, 13, 13, 384, {3, 3}, 1, 1, 1},   {"alex4", 384, 13, 13, 384, {3, 3}, 1, 1, 2},
    {"alex5", 384, 13, 13, 256, {3, 3}, 1, 1, 2},   {"zf1", 3, 224, 224, 96, {7, 7}, 2, 1, 1},
    {"zf2", 96, 55, 55, 256, {5, 5}, 2, 0, 1},      {"zf3", 256, 13, 13, 384, {3, 3}, 1, 1, 1},
    {"zf4", 384, 13, 13, 384, {3, 3}, 1, 1, 1},     {"zf5", 384, 13, 13, 256, {3, 3}, 1, 1, 1},
    {"vgg1_1", 3, 224, 224, 64, {3, 3}, 1, 1, 1},   {"vgg1_2", 64, 224, 224, 64, {3, 3}, 1, 1, 1},
    {"vgg2_1", 64, 112, 112, 128, {3, 3}, 1, 1, 1}, {"vgg2_2", 128, 112, 112, 128, {3, 3}, 1, 1, 1},
    {"vgg3_1", 128, 56, 56, 256, {3, 3}, 1, 1, 1},  {"vgg3_2", 256, 56, 56, 256, {3, 3}, 1, 1, 1},
    {"vgg4_1", 256, 28, 28, 512, {3, 3}, 1, 1, 1},  {"vgg4_2", 512, 28, 28, 512, {3, 3}, 1, 1, 1},
    {"vgg5_1", 512, 14, 14, 512, {3, 3}, 1, 1, 1},  {"fc6", 256, 6, 6, 4096, {0, 0}, 1, 0, 1},
    {"fc7", 4096, 1, 1, 4096, {0, 0}, 1, 0, 1},     {"fc8", 4096, 1, 1, 1000, {0, 0}, 1, 0, 1},
    {NULL, 0, 0, 0, 0, {0, 0}, 0, 0, 0},
};

const char *const layer_direction[] = {"forward", "data", "weights"};

typedef struct Ops {
    int forward, data, weights;
} Ops;

static void *attrs_of(Arena *keep, const Layer *l, const Shape *image) {
    if (l->kernel[0] == 0) {
        DenseAttrs *a = ARENA_NEW(keep, DenseAttrs);
        *a = (DenseAttrs){.units = l->o, .bias = true, .src_dim = {l->c, l->h, l->w},
                          .src_rank = image->rank};
        return a;
    }
    ConvAttrs *a = ARENA_NEW(keep, ConvAttrs);
    *a = (ConvAttrs){.maps = l->o,
                     .kernel = {l->kernel[0], l->kernel[1]},
                     .stride = {l->stride, l->stride},
                     .pad = {l->pad, l->pad, l->pad, l->pad},
                     .dilation = {1, 1},
                     .groups = l->groups,
                     .bias = true,
                     .src_maps = l->c,
                     .src_size = {l->h, l->w}};
    return a;
}

static void build(Graph *g, const Layer *l, LayerDirection d) {
    bool dense = l->kernel[0] == 0;
    Ops op = dense ? (Ops){OP_DENSE, OP_DENSE_BWD_DATA, OP_DENSE_BWD_WEIGHTS}
                   : (Ops){OP_CONV2D, OP_CONV2D_BWD_DATA, OP_CONV2D_BWD_WEIGHTS};
    Shape image = {l->h * l->w > 1 ? 3 : 1, {l->c, l->h, l->w}};
    Shape shape = {4, {l->o, l->c / l->groups, l->kernel[0], l->kernel[1]}};
    if (dense)
        shape = image.rank == 1 ? (Shape){2, {l->o, l->c}} : (Shape){4, {l->o, l->c, l->h, l->w}};
    void *a = attrs_of(g->keep, l, &image);
    ValueId src = graph_input(g, l->c <= 4 ? VK_INPUT : VK_SEED, DT_F32, image, true,
                              l->c <= 4 ? 0 : RULE_GRADIENT, NULL);
    if (l->c <= 4)
        src = graph_op(g, OP_LOAD_INPUT, NULL, 1, &src);
    ValueId w = ref_param(g, "w", shape), bias = ref_param(g, "b", (Shape){1, {l->o}});
    ValueId y = graph_op(g, op.forward, a, 3, (ValueId[]){src, w, bias});
    ValueId result = graph_op(g, OP_RELU, NULL, 1, &y);
    graph_v(g, result)->keep = true;
    if (d == LAYER_FORWARD)
        return;
    Shape out = graph_v(g, y)->shape;
    ValueId dy = graph_input(g, VK_SEED, DT_F32, out, true, RULE_GRADIENT, NULL);
    if (d == LAYER_DATA) {
        TransposeWeightsAttrs *turn = ARENA_NEW(g->keep, TransposeWeightsAttrs);
        turn->groups = l->groups;
        ValueId turned = graph_op(g, OP_TRANSPOSE_WEIGHTS, turn, 1, &w);
        result = graph_op(g, op.data, a, 2, (ValueId[]){dy, turned});
    } else {
        result = graph_op(g, op.weights, a, 2, (ValueId[]){src, dy});
    }
    graph_v(g, result)->keep = true;
}

Graph *layer_graph(Arena *keep, const Layer *l, LayerDirection d, const PlanOptions *options,
                   const Target *t) {
    static const char *const pass[] = {"fuse", "layout", "schedule", "memplan"};
    Graph *g = graph_new(keep, layer_direction[d], l->name, ARENA_NEW(keep, ParamList));
    g->options = options;
    build(g, l, d);
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true, .options = options};
    graph_toposort(g);
    for (int i = 0; i < 4; i++)
        BUG_IF(!pass_run_one(g, &ctx, pass[i]), "pass %s refuses %s", pass[i], l->name);
    params_place(g->params);
    arena_free(ctx.tmp);
    return g;
}

int layer_kernel(const Graph *g) {
    static const int ops[3][2] = {{OP_CONV2D, OP_DENSE},
                                  {OP_CONV2D_BWD_DATA, OP_DENSE_BWD_DATA},
                                  {OP_CONV2D_BWD_WEIGHTS, OP_DENSE_BWD_WEIGHTS}};
    int d = g->name == layer_direction[LAYER_FORWARD] ? 0
            : g->name == layer_direction[LAYER_DATA]  ? 1
                                                      : 2;
    for (int i = 0; i < g->nkernels; i++) {
        int op = graph_n(g, g->kernels[i].anchor)->op;
        if (op == ops[d][0] || op == ops[d][1])
            return i;
    }
    BUG("no kernel computes %s of %s", g->name, g->net);
}
