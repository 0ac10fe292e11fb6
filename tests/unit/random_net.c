/* random_net.c: see random_net.h. */
#define _GNU_SOURCE
#include "random_net.h"

#include <math.h>
#include <string.h>

#include "base/bug.h"
#include "ops/attrs.h"
#include "ref_cases.h"

enum { MOST_CELLS = 3000, MOST_CHANNELS = 40 };

typedef struct Gen {
    Arena *keep;
    Graph *g;
    ParamList *params;
    uint32_t state;
    bool infer;
    int layer;
    RandomNet *net;
} Gen;

static int64_t pick(Gen *r, int64_t n) {
    return (ref_random(&r->state) >> 7) % (uint32_t)n;
}

static bool chance(Gen *r, int percent) {
    return pick(r, 100) < percent;
}

static const Shape *shape(const Gen *r, ValueId v) {
    return &graph_v(r->g, v)->shape;
}

static const char *label(Gen *r, const char *kind) {
    return arena_printf(r->keep, "%s%d", kind, ++r->layer);
}

static ValueId layer(Gen *r, const char *name, int op, const void *attrs, int nin,
                     const ValueId *in) {
    ValueId v = graph_op(r->g, op, attrs, nin, in);
    graph_n(r->g, graph_v(r->g, v)->def)->label = name;
    graph_set_name(r->g, v, name);
    PassCtx *c = &r->net->ctx;
    if (chance(r, 40) && c->nseeds < 6) {
        c->seed_label[c->nseeds] = name;
        c->seeds[c->nseeds++] = v;
    }
    return v;
}

/* ---- parameters ---- */

static int find_param(Gen *r, const char *name, Shape s, Shape split) {
    for (int i = 0; i < r->params->count; i++)
        if (strcmp(r->params->at[i].name, name) == 0)
            return i;
    graph_v(r->g, ref_param(r->g, name, s))->kind = VK_NONE; /* only its entry is wanted */
    r->params->at[r->params->count - 1].split = split;
    return r->params->count - 1;
}

static int with_params(Gen *r, const char *name, int op, const void *attrs, ValueId *in) {
    ParamSpec spec[4];
    int n = op_def[op]->params(attrs, shape(r, in[0]), spec);
    for (int i = 0; i < n; i++) {
        const char *full = arena_printf(r->keep, "%s.%s", name, spec[i].suffix);
        int slot = find_param(r, full, spec[i].shape, spec[i].split);
        r->params->at[slot].decay_mult = i == 0;
        r->params->at[slot].lr_mult = i == 0 ? 1 : 2;
        r->params->at[slot].frozen = spec[i].statistic;
        in[1 + i] = graph_input(r->g, VK_PARAM, DT_F32, spec[i].shape, false, slot, full);
    }
    return 1 + n;
}

/* ---- layers over images ---- */

static ConvAttrs conv_attrs(Gen *r, ValueId src) {
    static const int64_t maps[] = {1, 3, 6, 16, 17, 35, 8, 20, 32, 5};
    const Shape *s = shape(r, src);
    ConvAttrs a = {.maps = maps[pick(r, 10)], .groups = 1, .bias = chance(r, 75)};
    for (int d = 0; d < 2; d++) {
        int64_t side = s->dim[1 + d];
        a.dilation[d] = chance(r, 20) ? 2 : 1;
        a.kernel[d] = 1 + pick(r, side < 5 ? side : 5);
        a.stride[d] = chance(r, 60) ? 1 : 1 + pick(r, 3);
        for (int e = 0; e < 2; e++)
            a.pad[2 * d + e] = chance(r, 50) ? a.kernel[d] / 2 : pick(r, 3);
        int64_t span = (a.kernel[d] - 1) * a.dilation[d] + 1;
        if (span > side + a.pad[2 * d] + a.pad[2 * d + 1])
            a.dilation[d] = 1;
    }
    return a;
}

/* A random table, or the block diagonal of groups that are too small to be native. */
static ValueId links_of(Gen *r, const char *name, ConvAttrs *a, int64_t inputs, int weight) {
    uint8_t *link = ARENA_ARRAY(r->keep, a->maps * inputs, uint8_t);
    int64_t groups = chance(r, 50) && inputs % 2 == 0 && a->maps % 2 == 0 ? 2 : 1;
    for (int64_t o = 0; o < a->maps; o++)
        for (int64_t i = 0; i < inputs; i++)
            link[o * inputs + i] = groups == 2 ? (uint8_t)(o * 2 / a->maps == i * 2 / inputs)
                                               : (uint8_t)(o % inputs == i || chance(r, 60));
    ConnTable *t = ARENA_NEW(r->keep, ConnTable);
    *t = (ConnTable){(int)a->maps, (int)inputs, link};
    a->connect = t;
    Param *w = &r->params->at[weight];
    int64_t count = shape_elems(&w->shape), taps = w->shape.dim[2] * w->shape.dim[3];
    float *table = ARENA_ARRAY(r->keep, count, float);
    for (int64_t i = 0; i < count; i++)
        table[i] = link[i / taps];
    w->links = link;
    Shape s = w->shape;
    const char *full = arena_printf(r->keep, "%s.weight.links", name);
    int slot = find_param(r, full, s, s);
    Param *p = &r->params->at[slot];
    p->init = INIT_TABLE;
    p->table = table;
    p->constant = p->frozen = true;
    return graph_input(r->g, VK_PARAM, DT_F32, s, false, slot, full);
}

static ValueId conv_with(Gen *r, ValueId src, ConvAttrs a, bool table) {
    const char *name = label(r, "conv");
    ValueId in[4] = {src};
    int n = with_params(r, name, OP_CONV2D, &a, in);
    if (table) {
        int slot = graph_v(r->g, in[1])->slot;
        in[n] = links_of(r, name, &a, shape(r, src)->dim[0], slot);
        n++;
    }
    return layer(r, name, OP_CONV2D, &a, n, in);
}

static ValueId conv(Gen *r, ValueId src) {
    ConvAttrs a = conv_attrs(r, src);
    int64_t inputs = shape(r, src)->dim[0];
    if (inputs % 32 == 0 && chance(r, 70)) { /* native for 16, 8 and 4 lanes */
        a.groups = 2;
        a.maps = 32;
    }
    return conv_with(r, src, a, a.groups == 1 && chance(r, 20));
}

/* Same height and width, given maps. */
static ValueId conv_same(Gen *r, ValueId src, int64_t maps) {
    int64_t k = chance(r, 60) ? 3 : 1;
    ConvAttrs a = {.maps = maps, .kernel = {k, k}, .stride = {1, 1}, .dilation = {1, 1},
                   .pad = {k / 2, k / 2, k / 2, k / 2}, .groups = 1, .bias = chance(r, 50)};
    return conv_with(r, src, a, false);
}

static ValueId pool(Gen *r, ValueId src) {
    const Shape *s = shape(r, src);
    int op = chance(r, 55) ? OP_MAXPOOL : chance(r, 60) ? OP_AVGPOOL : OP_SUBSAMPLE;
    PoolAttrs a = {.round = chance(r, 50) ? POOL_ROUND_CEIL : POOL_ROUND_FLOOR,
                   .count_pad = chance(r, 50)};
    for (int d = 0; d < 2; d++) {
        int64_t side = s->dim[1 + d];
        a.kernel[d] = 1 + pick(r, side < 4 ? side : 4);
        a.stride[d] = chance(r, 40) ? a.kernel[d] : 1 + pick(r, 3);
        if (chance(r, 30))
            for (int e = 0; e < 2; e++)
                a.pad[2 * d + e] = pick(r, a.kernel[d]);
    }
    if (op == OP_SUBSAMPLE)
        memset(a.pad, 0, sizeof a.pad), a.round = POOL_ROUND_FLOOR;
    const char *name = label(r, "pool");
    ValueId in[3] = {src};
    int n = op == OP_SUBSAMPLE ? with_params(r, name, op, &a, in) : 1;
    return layer(r, name, op, &a, n, in);
}

/* Over the batch; a frozen one, or one of each image, now and then. */
static ValueId batch_norm(Gen *r, ValueId src) {
    const Shape *s = shape(r, src);
    bool each = s->rank == 3 && s->dim[1] * s->dim[2] > 3 && chance(r, 25);
    int op = each ? OP_INSTANCENORM : OP_BN;
    bool frozen = chance(r, 15);
    BnAttrs a = {.eps = chance(r, 50) ? 1e-3 : 0.1, .momentum = each ? 0 : 0.1,
                 .infer = !each && (r->infer || frozen)};
    const char *name = label(r, op_name[op]);
    ValueId in[5] = {src};
    int n = with_params(r, name, op, &a, in);
    for (int i = 1; i < n && frozen; i++)
        r->params->at[graph_v(r->g, in[i])->slot].frozen = true;
    return layer(r, name, op, &a, n, in);
}

static ValueId norm(Gen *r, ValueId src) {
    if (chance(r, 55))
        return batch_norm(r, src);
    NormAttrs a = {.size = 1 + 2 * pick(r, 4), .k = 1 + (double)pick(r, 2),
                   .alpha = chance(r, 50) ? 1e-4 : 0.5, .beta = chance(r, 60) ? 0.75 : 0.5,
                   .alpha_per = chance(r, 50)};
    bool lcn = chance(r, 35);
    return layer(r, label(r, "norm"), lcn ? OP_LCN : OP_LRN, &a, 1, &src);
}

static ValueId function(Gen *r, ValueId src) {
    static const int op[] = {OP_RELU, OP_RELU, OP_RELU, OP_TANH, OP_STANH, OP_SIGMOID};
    int which = op[pick(r, 6)];
    return layer(r, label(r, op_name[which]), which, NULL, 1, &src);
}

static ValueId dropout(Gen *r, ValueId src) {
    DropoutAttrs a = {.rate = 0.1 * (double)(1 + pick(r, 6)), .scale = chance(r, 40),
                      .infer = r->infer};
    const char *name = label(r, "drop");
    a.key = r->layer;
    return layer(r, name, OP_DROPOUT, &a, 1, &src);
}

static ValueId residual(Gen *r, ValueId src) {
    int64_t maps = shape(r, src)->dim[0];
    ValueId x = conv_same(r, src, maps);
    if (chance(r, 40))
        x = batch_norm(r, x);
    if (chance(r, 60))
        x = layer(r, label(r, "relu"), OP_RELU, NULL, 1, &x);
    if (chance(r, 40))
        x = conv_same(r, x, maps);
    ValueId in[2] = {chance(r, 50) ? x : src, 0};
    in[1] = in[0] == x ? src : x;
    x = layer(r, label(r, "sum"), chance(r, 85) ? OP_ADD : OP_MUL, NULL, 2, in);
    return chance(r, 60) ? layer(r, label(r, "relu"), OP_RELU, NULL, 1, &x) : x;
}

static ValueId branches(Gen *r, ValueId src) {
    ValueId in[3];
    int n = 2 + (int)pick(r, 2);
    for (int i = 0; i < n; i++) {
        in[i] = i == 0 && chance(r, 25) ? src : conv_same(r, src, 1 + pick(r, 18));
        if (chance(r, 50))
            in[i] = function(r, in[i]);
    }
    return layer(r, label(r, "concat"), OP_CONCAT, NULL, n, in);
}

static ValueId image_layer(Gen *r, ValueId x) {
    const Shape *s = shape(r, x);
    int64_t c = s->dim[0];
    bool large = c > MOST_CHANNELS || shape_elems(s) > MOST_CELLS;
    int64_t what = large ? pick(r, 55) : pick(r, 100);
    if (what < 30)
        return conv(r, x);
    if (what < 50)
        return pool(r, x);
    if (what < 66)
        return function(r, x);
    if (what < 76)
        return norm(r, x);
    if (what < 82)
        return dropout(r, x);
    return what < 92 ? residual(r, x) : branches(r, x);
}

/* ---- vectors ---- */

static ValueId dense(Gen *r, ValueId src, int64_t units) {
    DenseAttrs a = {.units = units, .bias = chance(r, 80)};
    const char *name = label(r, "dense");
    ValueId in[3] = {src};
    int n = with_params(r, name, OP_DENSE, &a, in);
    return layer(r, name, OP_DENSE, &a, n, in);
}

static ValueId flatten(Gen *r, ValueId x) {
    return layer(r, label(r, "flat"), OP_FLATTEN, NULL, 1, &x);
}

static ValueId head(Gen *r, ValueId x, int64_t classes) {
    static const int64_t units[] = {1, 7, 16, 33, 50};
    if (shape(r, x)->rank == 3 && chance(r, 50))
        x = flatten(r, x);
    int hidden = (int)pick(r, 5) / 2;
    for (int i = 0; i < hidden; i++) {
        x = dense(r, x, units[pick(r, 5)]);
        if (chance(r, 20))
            x = batch_norm(r, x);
        if (chance(r, 80))
            x = function(r, x);
        if (chance(r, 15))
            x = dropout(r, x);
    }
    return dense(r, x, classes);
}

/* ---- ends ---- */

static void add_loss(Gen *r, int op, LossAttrs a, ValueId score, ValueId labels) {
    ValueId in[2] = {score, labels};
    PassCtx *c = &r->net->ctx;
    const char *name = label(r, "loss");
    ValueId v = graph_op(r->g, op, &a, 2, in);
    graph_n(r->g, graph_v(r->g, v)->def)->label = name;
    graph_set_name(r->g, v, name);
    graph_v(r->g, v)->keep = true;
    c->losses[c->nlosses++] = v;
}

static void end(Gen *r, ValueId x, ValueId labels) {
    int64_t classes = r->net->classes;
    LossAttrs a = {.weight = chance(r, 70) ? 1 : 0.3, .j = 2, .on = 1, .off = chance(r, 50) ? -1 : 0};
    int64_t what = pick(r, 100);
    ValueId score = head(r, x, what < 15 ? 12 : classes);
    if (what < 15) {
        RbfAttrs rbf = {.units = classes};
        ValueId in[2] = {function(r, score)};
        const char *name = label(r, "rbf");
        int n = with_params(r, name, OP_RBF, &rbf, in);
        score = layer(r, name, OP_RBF, &rbf, n, in);
        add_loss(r, OP_LENET_MAP, a, score, labels);
    } else if (what < 40) {
        if (chance(r, 50))
            score = function(r, score);
        add_loss(r, OP_MSE, a, score, labels);
    } else {
        add_loss(r, OP_CROSS_ENTROPY, a, score, labels);
        ValueId p = graph_op(r->g, OP_SOFTMAX, NULL, 1, &score);
        graph_v(r->g, p)->keep = true;
        graph_set_name(r->g, p, "prob");
    }
    r->net->score = score;
    graph_v(r->g, score)->keep = true;
    r->net->ctx.project_from = score;
}

RandomNet random_net(Arena *keep, const char *program, ParamList *params, uint32_t seed) {
    static const int64_t channels[] = {1, 2, 3, 4, 5, 16, 17, 35};
    RandomNet net = {.classes = 0};
    Gen r = {.keep = keep, .params = params, .state = seed * 747796405u + 2891336453u,
             .infer = strcmp(program, "train") != 0, .net = &net};
    for (int i = 0; i < 8; i++)
        ref_random(&r.state);
    r.g = net.g = graph_new(keep, program, "random", params);
    net.ctx.train = strcmp(program, "train") == 0;
    net.ctx.look = strcmp(program, "look") == 0;
    net.classes = 1 + pick(&r, 20);
    net.image = (Shape){3, {channels[pick(&r, 8)], 3 + pick(&r, 9), 3 + pick(&r, 9)}};
    ValueId user = graph_input(r.g, VK_INPUT, DT_F32, net.image, true, 0, "pixels");
    ValueId labels = graph_input(r.g, VK_LABEL, DT_I32, (Shape){0, {0}}, true, 0, "class");
    ValueId x = graph_op(r.g, OP_LOAD_INPUT, NULL, 1, &user);
    graph_set_name(r.g, x, "image");
    int layers = 2 + (int)pick(&r, 8);
    for (int i = 0; i < layers; i++) {
        x = image_layer(&r, x);
        if (i == layers / 2 && chance(&r, 15) && shape_elems(shape(&r, x)) < 600) {
            LossAttrs a = {.weight = 0.5, .on = 1};
            add_loss(&r, OP_CROSS_ENTROPY, a, dense(&r, x, net.classes), labels);
        }
    }
    end(&r, x, labels);
    return net;
}

/* ---- numbers ---- */

static void round_to_float(double *at, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)at[i];
}

RandomData random_data(Arena *keep, const RandomNet *net, const ParamList *params, int64_t n,
                       uint32_t seed) {
    RandomData d = {0};
    d.param = arena_array(keep, params->count + 1, sizeof *d.param);
    d.state = arena_array(keep, params->count + 1, sizeof *d.state);
    for (int i = 0; i < params->count; i++) {
        const Param *p = &params->at[i];
        int64_t count = shape_elems(&p->shape), taps = 1, fan = count / p->shape.dim[0];
        for (int k = 2; k < p->shape.rank; k++)
            taps *= p->shape.dim[k];
        d.param[i] = arena_array(keep, count, sizeof(double));
        d.state[i] = arena_array(keep, count, sizeof(double));
        double reach = p->shape.rank == 1 ? 0.5 : sqrt(4.0 / (double)fan);
        ref_fill_distinct(d.param[i], count, reach, seed + 31 * (uint32_t)i);
        ref_fill_distinct(d.state[i], count, 0.02, seed + 31 * (uint32_t)i + 7);
        for (int64_t k = 0; k < count; k++) {
            bool linked = !p->links || p->links[k / taps];
            d.param[i][k] = p->table ? p->table[k] : linked ? d.param[i][k] : 0;
            d.state[i][k] = linked ? d.state[i][k] : 0;
            if (strstr(p->name, ".running_var"))
                d.param[i][k] += 1;
        }
        round_to_float(d.param[i], count);
        round_to_float(d.state[i], count);
    }
    int64_t cells = shape_elems(&net->image) * n;
    d.image = arena_array(keep, cells, sizeof(double));
    d.label = arena_array(keep, n, sizeof(int32_t));
    ref_fill_distinct(d.image, cells, 1.2, seed + 5);
    round_to_float(d.image, cells);
    uint32_t state = seed * 69069u + 77;
    for (int64_t i = 0; i < n; i++)
        d.label[i] = (int32_t)(ref_random(&state) % (uint32_t)net->classes);
    return d;
}
