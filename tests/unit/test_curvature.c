/* test_curvature.c: sdlm's second derivatives against the paper's formulas, connection by connection.
 *
 * The reference knows nothing of layers: a network is a list of units, each the function of a sum
 * over connections, and connections may share a weight.  Backwards: h_a = f'(a)^2 h_x, h_x = sum of
 * w^2 h_a over the connections that leave a unit, h of a weight = sum of x^2 h_a over its
 * connections (LeCun et al. 1998, appendix C).  At the top second derivatives of the loss are
 * differences.  The last dense layer's h is, besides, the loss's own second derivative.  Other layers
 * are taken one by one, as functions whose Jacobians are differences: h of an input is the sum of
 * squared entries times h of the outputs; statistics of a batch count as constants.  Compiled code
 * gives the same, in one call or two.  Layers without rules are refused by name.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "front/model.h"
#include "front/parse.h"
#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

enum { IMAGES = 5, UNITS = 4096, CONNECTIONS = 40000 };
typedef enum { F_NONE, F_STANH, F_TANH, F_RELU, F_SIGMOID, F_MAX } Function;

typedef struct Connection {
    int from;      /* unit, -1: a constant 1 */
    int slot, elem; /* of the parameter; slot -1: the weight is `fixed` */
    double fixed;
} Connection;

typedef struct Net {
    const Model *m;
    double *const *param;
    Connection c[CONNECTIONS];
    int first[UNITS + 1]; /* unit u has connections first[u] .. first[u + 1] */
    Function f[UNITS];
    double a[UNITS], x[UNITS], h[UNITS];
    int units, connections, inputs;
    double **hw; /* per parameter */
} Net;

/* ---- units ---- */

static double apply(Function f, double a, double *slope) {
    double y;
    switch (f) {
    case F_STANH: y = tanh(2 * a / 3); *slope = 1.7159 * 2 / 3 * (1 - y * y); return 1.7159 * y;
    case F_TANH: y = tanh(a); *slope = 1 - y * y; return y;
    case F_RELU: *slope = a > 0; return a > 0 ? a : 0;
    case F_SIGMOID: y = 1 / (1 + exp(-a)); *slope = y * (1 - y); return y;
    default: *slope = 1; return a;
    }
}

static int unit(Net *n, Function f) {
    if (n->units == UNITS)
        abort();
    n->f[n->units] = f;
    n->first[n->units] = n->connections;
    return n->units++;
}

static void connect(Net *n, int from, int slot, int elem, double fixed) {
    if (n->connections == CONNECTIONS)
        abort();
    n->c[n->connections++] = (Connection){from, slot, elem, fixed};
    n->first[n->units] = n->connections;
}

static int slot_of(const Net *n, const char *label, const char *suffix) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", label, suffix);
    for (int i = 0; i < n->m->params.count; i++)
        if (strcmp(n->m->params.at[i].name, name) == 0)
            return i;
    printf("no parameter %s\n", name);
    abort();
}

/* Maps at unit `src`, [c][h][w] each; the result likewise. */
static int conv(Net *n, const char *label, int src, const int s[3], int maps, int k, int pad,
                const char *const *links, Function f) {
    int w = slot_of(n, label, "weight"), b = slot_of(n, label, "bias"), at = n->units;
    int oh = s[1] + 2 * pad - k + 1, ow = s[2] + 2 * pad - k + 1;
    for (int o = 0; o < maps; o++)
        for (int p = 0; p < oh * ow; p++) {
            unit(n, f);
            connect(n, -1, b, o, 0);
            for (int i = 0; i < s[0]; i++)
                for (int t = 0; t < k * k; t++) {
                    int y = p / ow + t / k - pad, x = p % ow + t % k - pad;
                    if (y < 0 || x < 0 || y >= s[1] || x >= s[2] ||
                        (links && !strchr(links[o], '0' + i)))
                        continue;
                    connect(n, src + (i * s[1] + y) * s[2] + x, w, (o * s[0] + i) * k * k + t, 0);
                }
        }
    return at;
}

static int dense(Net *n, const char *label, int src, int count, int units, Function f) {
    int w = slot_of(n, label, "weight"), b = slot_of(n, label, "bias"), at = n->units;
    for (int o = 0; o < units; o++) {
        unit(n, f);
        connect(n, -1, b, o, 0);
        for (int i = 0; i < count; i++)
            connect(n, src + i, w, o * count + i, 0);
    }
    return at;
}

/* Windows of 2x2 apart: F_MAX, or sums with this weight. */
static int pool(Net *n, int src, const int s[3], Function f, double weight) {
    int at = n->units;
    for (int c = 0; c < s[0]; c++)
        for (int p = 0; p < s[1] / 2 * (s[2] / 2); p++) {
            unit(n, f);
            for (int t = 0; t < 4; t++) {
                int y = p / (s[2] / 2) * 2 + t / 2, x = p % (s[2] / 2) * 2 + t % 2;
                connect(n, src + (c * s[1] + y) * s[2] + x, -1, 0, weight);
            }
        }
    return at;
}

/* The sum is a unit, the coefficient a connection from it. */
static int subsample(Net *n, const char *label, int src, const int s[3], Function f) {
    int w = slot_of(n, label, "coefficient"), b = slot_of(n, label, "bias");
    int sums = pool(n, src, s, F_NONE, 1), cells = s[1] / 2 * (s[2] / 2), at = n->units;
    for (int u = 0; u < s[0] * cells; u++) {
        unit(n, f);
        connect(n, sums + u, w, u / cells, 0);
        connect(n, -1, b, u / cells, 0);
    }
    return at;
}

static int sum(Net *n, int a, int b, int count) {
    int at = n->units;
    for (int i = 0; i < count; i++) {
        unit(n, F_NONE);
        connect(n, a + i, -1, 0, 1);
        connect(n, b + i, -1, 0, 1);
    }
    return at;
}

static double weight_of(const Net *n, const Connection *c) {
    return c->slot < 0 ? c->fixed : n->param[c->slot][c->elem];
}

static void forward(Net *n, const double *image) {
    memcpy(n->x, image, (size_t)n->inputs * sizeof *image);
    for (int u = n->inputs; u < n->units; u++) {
        double slope;
        n->a[u] = n->f[u] == F_MAX ? -1e30 : 0;
        for (int i = n->first[u]; i < n->first[u + 1]; i++) {
            const Connection *c = &n->c[i];
            double x = c->from < 0 ? 1 : n->x[c->from];
            if (n->f[u] == F_MAX)
                n->a[u] = fmax(n->a[u], x);
            else
                n->a[u] += weight_of(n, c) * x;
        }
        n->x[u] = apply(n->f[u], n->a[u], &slope);
    }
}

static void backward(Net *n) { /* h of the top units is set */
    for (int u = n->units; u-- > n->inputs;) {
        double slope;
        apply(n->f[u], n->a[u], &slope);
        double h = slope * slope * n->h[u];
        for (int i = n->first[u]; i < n->first[u + 1]; i++) {
            const Connection *c = &n->c[i];
            double w = weight_of(n, c), x = c->from < 0 ? 1 : n->x[c->from];
            if (n->f[u] == F_MAX)
                w = x == n->a[u];
            if (c->from >= 0)
                n->h[c->from] += w * w * h;
            if (c->slot >= 0)
                n->hw[c->slot][c->elem] += x * x * h / (double)IMAGES;
        }
    }
}

/* ---- losses at the top ---- */

enum { CLASSES = 4 };

static double lenet_loss(const double *y, int label) {
    double sum = exp(-0.1);
    for (int i = 0; i < CLASSES; i++)
        sum += exp(-y[i]);
    return y[label] + log(sum);
}
static double entropy(const double *y, int label) {
    double sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += exp(y[i]);
    return 0.7 * (log(sum) - y[label]);
}
static double squares(const double *y, int label) {
    double sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += (y[i] - (i == label ? 1 : -1)) * (y[i] - (i == label ? 1 : -1)) / (double)CLASSES;
    return sum;
}
typedef double Loss(const double *y, int label);

static void differences(Loss *loss, const double *y, int label, double *first, double *second) {
    double t[CLASSES], e = 1e-4, at = loss(y, label);
    memcpy(t, y, sizeof t);
    for (int i = 0; i < CLASSES; i++) {
        t[i] = y[i] + e;
        double up = loss(t, label);
        t[i] = y[i] - e;
        double down = loss(t, label);
        t[i] = y[i];
        first[i] = (up - down) / (2 * e);
        second[i] = (up - 2 * at + down) / (e * e);
    }
}

static void top(Net *n, int at, Loss *loss, int label) {
    double first[CLASSES];
    differences(loss, n->x + at, label, first, n->h + at);
}

/* Distances to the centres, and the loss of them. */
static void top_rbf(Net *n, int at, int count, int label) {
    const double *c = n->param[slot_of(n, "y", "centers")];
    double y[CLASSES] = {0}, first[CLASSES], second[CLASSES], bend = 0;
    for (int i = 0; i < CLASSES; i++)
        for (int j = 0; j < count; j++)
            y[i] += (n->x[at + j] - c[i * count + j]) * (n->x[at + j] - c[i * count + j]);
    differences(lenet_loss, y, label, first, second);
    for (int i = 0; i < CLASSES; i++)
        bend += 2 * first[i];
    for (int j = 0; j < count; j++) {
        n->h[at + j] = fmax(bend, 0);
        for (int i = 0; i < CLASSES; i++)
            n->h[at + j] += second[i] * 4 * (n->x[at + j] - c[i * count + j]) *
                            (n->x[at + j] - c[i * count + j]);
    }
}

/* ---- three networks ---- */

/* build NULL: by Jacobians. */
typedef struct Case {
    const char *text;
    int s[3];
    int (*build)(Net *n); /* the unit where the loss begins */
    int features;         /* rbf: that many units */
    Loss *loss;
} Case;

static int build_lenet(Net *n) {
    static const char *const links[] = {"01", "12", "02", "012"};
    int c1 = conv(n, "c1", 0, (int[]){1, 9, 9}, 3, 2, 0, NULL, F_STANH);
    int s2 = subsample(n, "s2", c1, (int[]){3, 8, 8}, F_STANH);
    int c3 = conv(n, "c3", s2, (int[]){3, 4, 4}, 4, 3, 0, links, F_STANH);
    return dense(n, "f4", c3, 16, 6, F_STANH);
}

static int build_modern(Net *n) {
    int c1 = conv(n, "c1", 0, (int[]){3, 8, 8}, 5, 3, 1, NULL, F_RELU);
    int p1 = pool(n, c1, (int[]){5, 8, 8}, F_MAX, 0);
    int c2 = conv(n, "c2", p1, (int[]){5, 4, 4}, 5, 3, 1, NULL, F_TANH);
    int p2 = pool(n, sum(n, p1, c2, 80), (int[]){5, 4, 4}, F_NONE, 0.25);
    int f3 = dense(n, "f3", p2, 20, 7, F_SIGMOID);
    return dense(n, "f4", f3, 7, CLASSES, F_NONE);
}

static int build_plain(Net *n) {
    int f1 = dense(n, "f1", 0, 18, 19, F_TANH);
    return dense(n, "f2", f1, 19, CLASSES, F_NONE);
}

#define TRAIN " train { optimizer = sdlm(1e-3) } }"
static const Case cases[] = {
    {"net A { input image: f32[1, 9, 9]\n input label: class[4]\n"
     "c1: conv(3, 2x2) -> stanh\n s2: subsample(2x2) -> stanh\n"
     "c3: conv(4, 3x3, connect = [[0, 1], [1, 2], [0, 2], [0, 1, 2]]) -> stanh\n"
     "f4: dense(6) -> stanh\n y: rbf(4)\n output best = argmin(y)\n"
     "loss map: lenet_map(y, label, j = 0.1)\n" TRAIN,
     {1, 9, 9}, build_lenet, 6, NULL},
    {"net B { input image: f32[3, 8, 8]\n input label: class[4]\n"
     "c1: conv(5, 3x3, pad = 1) -> relu -> maxpool(2x2)\n"
     "c2: conv(5, 3x3, pad = 1) -> tanh\n a: add(c1, c2) -> avgpool(2x2)\n"
     "f3: dense(7) -> sigmoid\n f4: dense(4)\n"
     "loss ce: cross_entropy(f4, label, weight = 0.7)\n" TRAIN,
     {3, 8, 8}, build_modern, 0, entropy},
    {"net C { input image: f32[2, 3, 3]\n input label: class[4]\n"
     "f1: dense(19) -> tanh\n f2: dense(4)\n loss e: mse(f2, label, on = 1, off = -1)\n" TRAIN,
     {2, 3, 3}, build_plain, 0, squares},
    {"net D { input image: f32[2, 6, 6]\n input label: class[4]\n"
     "c1: conv(6, 3x3, pad = 1, bias = no) -> bn -> relu -> lrn(3, alpha = 0.4)\n"
     "c2: conv(4, 2x2, stride = 2) -> instancenorm -> avgpool(2x2, stride = 1, pad = 1) -> tanh\n"
     "f: dense(4)\n loss h: hinge(f, label, weight = 0.7)\n" TRAIN,
     {2, 6, 6}, NULL, 0, NULL},
    {"net E { input image: f32[2, 5, 4]\n"
     "c1: conv(3, 3x3) -> softplus -> lp_pool(2x2, stride = 1)\n d1: deconv(4, 2x3, stride = 2, groups = 1) -> tanh\n"
     "u: resize(5x4) -> subtractive_norm(3) -> lrn(3, region = within, alpha = 0.3)\n"
     "d2: deconv(2, 1x1, bias = no)\n"
     "v: image -> conv(4, 3x3, pad = 1)\n"
     "loss l: logistic(d2, image, weight = 0.6)\n loss m: mse(u, v)\n" TRAIN,
     {2, 5, 4}, NULL, 0, NULL},
    {"net F { input image: f32[3, 4, 4]\n input label: class[4]\n"
     "a: conv(4, 3x3, pad = 1) -> prelu\n b: conv(4, 1x1) -> softplus\n"
     "q: div(a, b)\n s: sub(q, b)\n m: maximum(s, a)\n"
     "param t: f32[4] = uniform(0.05, 0.1)\n th: t -> softplus\n z: soft_threshold(m, th) -> softmax\n"
     "g: global_avgpool(q) -> flatten\n f: z -> dense(4)\n y: add(f, g)\n"
     "loss l: logistic(y, label)\n loss h: hinge(y, label, kind = crammer_singer)\n" TRAIN,
     {3, 4, 4}, NULL, 0, NULL},
    {"net G { input image: f32[1, 4, 4]\n input label: class[4]\n param z: f32[5] = gaussian(0, 1)\n"
     "w: z -> dense(27) -> tanh\n c: image -> conv(3, 3x3, pad = 1, weight = w) -> tanh\n"
     "f1: dense(6) -> tanh\n f2: dense(48, weight = transpose(f1.weight)) -> tanh\n"
     "f3: dense(4)\n loss ce: cross_entropy(f3, label)\n" TRAIN,
     {1, 4, 4}, NULL, 0, NULL}};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- comparing ---- */

typedef struct Rig {
    Arena *keep;
    const Case *c;
    Model *m;
    double image[IMAGES * 256], **param, **want;
    int32_t label[IMAGES];
    Net *net;
    int64_t size; /* of an image */
} Rig;

static Model *parse(Arena *keep, const char *text, FILE *out) {
    Sources *s = sources_new(keep);
    DiagCtx *d = diag_ctx_new(keep, s);
    Ast *file = parse_text(keep, s, d, "curvature.net", text, strlen(text), NULL);
    ModelOptions options = {.sources = s};
    Model *m = file ? model_build(keep, d, file, &options) : NULL;
    if (!m)
        diag_render(d, out, DIAG_TEXT, false);
    return m;
}

static void rig_new(Rig *r, const Case *c) {
    *r = (Rig){.keep = arena_new(), .c = c};
    r->size = c->s[0] * c->s[1] * c->s[2];
    r->m = parse(r->keep, c->text, stdout);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r->m);
    r->param = ref_params_new(&r->m->params);
    r->want = ref_params_new(&r->m->params);
    for (int i = 0; i < r->m->params.count; i++) {
        const Param *p = &r->m->params.at[i];
        int64_t elems = shape_elems(&p->shape);
        memset(r->want[i], 0, (size_t)elems * sizeof(double));
        for (int64_t k = 0; k < elems && p->links; k++) /* of missing connections: 0 */
            r->param[i][k] = p->links[k / (p->shape.dim[2] * p->shape.dim[3])];
        if (p->constant)
            continue;
        double *random = ARENA_ARRAY(r->keep, elems, double);
        ref_fill_distinct(random, elems, 0.8, (uint32_t)i + 1);
        for (int64_t k = 0; k < elems; k++)
            r->param[i][k] = p->links && r->param[i][k] == 0 ? 0 : (double)(float)random[k];
    }
    ref_fill_distinct(r->image, IMAGES * r->size, 1.2, 9);
    for (int i = 0; i < IMAGES * r->size; i++)
        r->image[i] = (double)(float)r->image[i];
    for (int i = 0; i < IMAGES; i++)
        r->label[i] = i * 3 % CLASSES;
}

static void rig_free(Rig *r) {
    ref_params_free(r->param, r->m->params.count);
    ref_params_free(r->want, r->m->params.count);
    arena_free(r->keep);
}

/* ---- layers one by one ---- */

/* Every node's operands and result in logical order; h of every value, as many numbers. */
typedef struct Chain {
    RefRun run;
    double **h;
    bool *trained; /* values that depend on a trained parameter */
} Chain;

/* The node's result with `add` on number e of input i, in each image if it has images. */
static void moved(const Chain *c, const Node *node, int i, int64_t e, double add, double *result) {
    const Graph *g = c->run.g;
    RefTensor in[8], out[2] = {{.n = 0}};
    int64_t part = shape_elems(&graph_v(g, node->in[i])->shape), images = 1;
    for (int k = 0; k < node->nin; k++) {
        const Value *x = graph_v(g, node->in[k]);
        in[k] = (RefTensor){x->shape, x->batched ? IMAGES : 1, c->run.value[node->in[k]]};
    }
    images = in[i].n;
    for (int64_t n = 0; n < images; n++)
        in[i].at[n * part + e] += add;
    const Value *y = graph_v(g, node->out[0]);
    out[0] = (RefTensor){y->shape, y->batched ? IMAGES : 1, result};
    out[1] = out[0]; /* switches: as many */
    out[1].at = calloc((size_t)ref_elems(&out[0]), sizeof(double));
    memset(result, 0, (size_t)ref_elems(&out[0]) * sizeof(double));
    RefCall call = {.attrs = node->attrs, .n = out[0].n, .nin = node->nin, .in = in, .out = out};
    ref_op[node->op](&call);
    for (int64_t n = 0; n < images; n++)
        in[i].at[n * part + e] -= add;
    free(out[1].at);
}

static void by_jacobian(const Chain *c, const Node *node, int i) {
    const Graph *g = c->run.g;
    const Value *x = graph_v(g, node->in[i]), *y = graph_v(g, node->out[0]);
    int64_t many = ref_value_elems(&c->run, node->out[0]), each = shape_elems(&y->shape);
    int64_t part = shape_elems(&x->shape);
    bool loss = op_is(node->op, OPF_L);
    double e = loss ? 1e-4 : 1e-6, *up = calloc((size_t)many * 3, sizeof *up), *down = up + many;
    for (int64_t k = 0; k < part; k++) {
        moved(c, node, i, k, e, up);
        moved(c, node, i, k, -e, down);
        for (int64_t o = 0; o < many; o++) {
            double d = (up[o] - down[o]) / (2 * e);
            double bend = (up[o] - 2 * c->run.value[node->out[0]][o] + down[o]) / (e * e);
            c->h[node->in[i]][(x->batched ? o / each * part : 0) + k] +=
                loss ? bend : d * d * c->h[node->out[0]][o];
        }
    }
    free(up);
}

/* bn, instancenorm: a line of fixed statistics per channel. */
static void by_line(const Chain *c, const Node *node) {
    const Shape *s = &graph_v(c->run.g, node->in[0])->shape;
    int64_t channels = s->dim[0], cells = shape_elems(s) / channels;
    int64_t together = node->op == OP_BN ? IMAGES : 1;
    const double *x = c->run.value[node->in[0]], *h = c->h[node->out[0]];
    for (int64_t k = 0; k < channels; k++)
        for (int64_t from = 0; from < IMAGES; from += together) {
            double mean = 0, variance = 0, count = (double)(together * cells);
            double weight = c->run.value[node->in[1]][k];
            for (int64_t i = 0; i < together * cells; i++)
                mean += x[((from + i / cells) * channels + k) * cells + i % cells] / count;
            for (int64_t i = 0; i < together * cells; i++) {
                double d = x[((from + i / cells) * channels + k) * cells + i % cells] - mean;
                variance += d * d / count;
            }
            variance += ((const BnAttrs *)node->attrs)->eps;
            for (int64_t i = 0; i < together * cells; i++) {
                int64_t at = ((from + i / cells) * channels + k) * cells + i % cells;
                c->h[node->in[0]][at] += weight * weight / variance * h[at];
                c->h[node->in[1]][k] += (x[at] - mean) * (x[at] - mean) / variance * h[at];
                c->h[node->in[2]][k] += h[at];
            }
        }
}

/* Composites that are several layers become those. */
static void split_composites(Graph *g) {
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *n = graph_n(g, id);
        if (!n->dead && op_def[n->op]->parts)
            op_def[n->op]->expand(g, id);
    }
    graph_toposort(g);
}

static void by_layers(Rig *r) {
    Model *m = parse(r->keep, r->c->text, stdout);
    Graph *g = m->mode[MODEL_CURVATURE].graph;
    split_composites(g);
    Chain c = {.run = {.g = g, .n = IMAGES, .param = r->param, .input = {r->image},
                       .label = {r->label, r->label}}};
    CU_ASSERT_TRUE_FATAL(ref_run(&c.run));
    c.h = ARENA_ARRAY(r->keep, g->nvalue, double *);
    c.trained = ARENA_ARRAY(r->keep, g->nvalue, bool);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        c.h[v] = c.run.value[v] ? ARENA_ARRAY(r->keep, ref_value_elems(&c.run, v), double) : NULL;
        c.trained[v] = x->kind == VK_PARAM && !m->params.at[x->slot].frozen;
    }
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        for (int i = 0; i < n->nin; i++)
            c.trained[n->out[0]] |= c.trained[n->in[i]];
    }
    for (uint32_t o = g->norder; o-- > 0;) {
        const Node *n = graph_n(g, g->order[o]);
        if ((n->op == OP_BN || n->op == OP_INSTANCENORM) && c.trained[n->out[0]])
            by_line(&c, n);
        else
            for (int i = 0; i < n->nin; i++)
                if (c.trained[n->in[i]])
                    by_jacobian(&c, n, i);
    }
    for (ValueId v = 1; v < g->nvalue; v++) {
        int slot = graph_v(g, v)->slot;
        for (int64_t k = 0; c.trained[v] && graph_v(g, v)->kind == VK_PARAM &&
                            k < shape_elems(&graph_v(g, v)->shape); k++)
            r->want[slot][k] += c.h[v][k] / (double)IMAGES;
    }
    ref_run_free(&c.run);
}

static void brute_force(Rig *r) {
    if (!r->c->build) {
        by_layers(r);
        return;
    }
    Net *n = r->net = ARENA_NEW(r->keep, Net);
    n->m = r->m;
    n->param = r->param;
    n->hw = r->want;
    n->units = n->inputs = (int)r->size;
    int at = r->c->build(n);
    for (int i = 0; i < IMAGES; i++) {
        memset(n->h, 0, sizeof n->h);
        forward(n, r->image + i * r->size);
        if (r->c->features)
            top_rbf(n, at, r->c->features, r->label[i]);
        else
            top(n, at, r->c->loss, r->label[i]);
        backward(n);
    }
}

static void compile(Rig *r, const Target *t, Compiled *out, Emit **e) {
    Arena *tmp = arena_new();
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        PassCtx ctx;
        if (!r->m->mode[mode].graph)
            continue; /* attack: only nets that train against one have it */
        memset(&ctx, 0, sizeof ctx);
        model_pass_ctx(r->m, mode, &ctx);
        ctx.tmp = tmp;
        ctx.target = t;
        ctx.verify = true;
        CU_ASSERT_TRUE_FATAL(passes_run(r->m->mode[mode].graph, &ctx));
    }
    params_place(&r->m->params);
    *e = compiled_begin(r->keep, t);
    *out = compiled_add(*e, r->m->mode[MODEL_CURVATURE].graph, "curvature");
    CU_ASSERT_TRUE_FATAL(compiled_link(*e, out, 1, 2));
    arena_free(tmp);
}

/* Images first .. first + n - 1 join the means over those before them. */
static void add_images(Rig *r, const Compiled *c, int first, int n, double **state) {
    RefRun data = {.g = c->g, .n = n, .param = r->param, .state = state, .lr = 1.0 / (first + n),
                   .momentum = (double)first / (first + n)};
    data.input[0] = r->image + first * r->size;
    data.label[0] = r->label + first;
    Slabs s = slabs_new(c->g, &data, n + 1);
    s.frame.scalar[RT_SCALAR_INV_N] = 1;
    slabs_entry(&s, c, "curvature");
    for (ValueId v = 1; v < c->g->nvalue; v++) {
        const Value *x = graph_v(c->g, v);
        if (x->kind == VK_STATE)
            CU_ASSERT_EQUAL(slabs_read(&s, v, state[x->slot]), 0);
        if (x->kind == VK_PARAM && r->m->params.at[x->slot].frozen) { /* a statistic: stays */
            double *now = ARENA_ARRAY(r->keep, shape_elems(&x->shape), double);
            CU_ASSERT_EQUAL(slabs_read(&s, v, now), 0);
            CU_ASSERT_EQUAL(
                memcmp(now, r->param[x->slot], (size_t)shape_elems(&x->shape) * sizeof *now), 0);
        }
    }
    slabs_free(&s);
}

static void compare(const Rig *r, double *const *got, double bound, const char *what) {
    int compared = 0;
    for (int i = 0; i < r->m->params.count; i++) {
        const Param *p = &r->m->params.at[i];
        double most = 0, worst = 0;
        if (p->frozen || p->constant)
            continue;
        for (int64_t k = 0; k < shape_elems(&p->shape); k++) {
            bool missing = p->links && !p->links[k / (p->shape.dim[2] * p->shape.dim[3])];
            double size = fabs(r->want[i][k]), far = fabs(r->want[i][k] - got[i][k]);
            if (!(size <= most)) /* so, a NaN stays */
                most = size;
            if (!missing && !(far <= worst))
                worst = far;
        }
        if (!(worst <= bound * most) || !(most > 0))
            printf("  %s, %s: %s differs by %.3g of %.3g\n", r->m->name, what, p->name, worst, most);
        CU_ASSERT(worst <= bound * most);
        CU_ASSERT(most > 0);
        compared++;
    }
    CU_ASSERT(compared >= 4);
}

static void run_target(const char *name, int ncases) {
    for (int k = 0; k < ncases; k++) {
        Rig r;
        Target t;
        Compiled c;
        Emit *e;
        rig_new(&r, &cases[k]);
        if (!compiled_target(r.keep, name, &t)) {
            suite_skip(name);
            rig_free(&r);
            return;
        }
        brute_force(&r);
        compile(&r, &t, &c, &e);
        double **once = ref_params_new(&r.m->params), **twice = ref_params_new(&r.m->params);
        add_images(&r, &c, 0, IMAGES, once);
        compare(&r, once, 2e-5, "one call");
        if (!strstr(r.c->text, "-> bn")) { /* other batches have other statistics */
            add_images(&r, &c, 0, 3, twice);
            add_images(&r, &c, 3, IMAGES - 3, twice);
            compare(&r, twice, 2e-5, "two calls");
        }
        ref_params_free(once, r.m->params.count);
        ref_params_free(twice, r.m->params.count);
        emit_free(e);
        rig_free(&r);
    }
}

static void native(void) { run_target("native", CASES); }
static void avx2(void) { run_target("x86-64-v3", 3); }
static void sse(void) { run_target("x86-64-v2", 3); }

/* d2 E / d w2 of the last layer, whose sums are linear in its weights. */
static void last_layer(void) {
    static const char *const label[] = {NULL, "f4", "f2"};
    for (int k = 1; k < 3; k++) {
        Rig r;
        rig_new(&r, &cases[k]);
        brute_force(&r);
        Net *n = r.net;
        int w = slot_of(n, label[k], "weight"), at = n->units - CLASSES;
        for (int i = 0; i < 8; i++) {
            double e = 1e-3, keep = r.param[w][i], sum = 0;
            for (int image = 0; image < IMAGES; image++)
                for (int d = -1; d <= 1; d++) {
                    r.param[w][i] = keep + d * e;
                    forward(n, r.image + image * r.size);
                    sum += (d ? 1 : -2) * cases[k].loss(n->x + at, r.label[image]) / (e * e) / (double)IMAGES;
                }
            r.param[w][i] = keep;
            CU_ASSERT_DOUBLE_EQUAL(sum, r.want[w][i], 1e-5);
        }
        rig_free(&r);
    }
}

static void refusal(const char *layer, const char *loss, const char *who, const char *help) {
    Arena *keep = arena_new();
    char *said = NULL, text[400];
    size_t size = 0;
    FILE *out = open_memstream(&said, &size);
    snprintf(text, sizeof text,
             "net R { input image: f32[3, 8, 8]\n input label: class[4]\n"
             "c1: conv(4, 3x3) -> %s -> relu\n f: dense(4)\n"
             "output prob = softmax(f)\n loss ce: %s\n" TRAIN, layer, loss);
    Model *m = parse(keep, text, out);
    fclose(out);
    CU_ASSERT_PTR_NULL(m);
    if (!strstr(said, who) || !strstr(said, help))
        printf("%s", said);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "E0801"));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, who));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, help));
    free(said);
    arena_free(keep);
}

static void refused(void) {
    refusal("lcn(3)", "cross_entropy(f, label)", "lcn 'c1'", "sgd(..)");
    refusal("bn", "hinge(f, label, power = 1)", "hinge 'ce'", "hinge(power = 2)");
    refusal("lrn(3)", "mae(f, f)", "mae 'ce'", "mse(a, b)");
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse), TEST(last_layer), TEST(refused))
