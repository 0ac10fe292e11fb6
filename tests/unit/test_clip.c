/* test_clip.c: clips, f32[C, D, H, W]: three-dimensional convolutions and pools.
 *
 * What the front end makes of a spec, interpreted in double, against loops over all six indices
 * (tests/ref/ref_clip.c); winners of maxima and gradients to the frame; gradients of whole nets
 * against central differences, 1e-6; compiled nets against the reference, three vector widths;
 * frames taken, joined and averaged; refusals.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>

#include "compiled.h"
#include "front/model.h"
#include "front/parse.h"
#include "passes/passes.h"
#include "random_net.h"
#include "ref_clip.h"
#include "suite.h"

enum { N = 2, DY = 7 /* slot of a signal */ };

/* ---- nets from text ---- */

typedef struct Net {
    Arena *a;
    Model *m;
    const char *code; /* of the first mistake, or "" */
    int warnings;
} Net;

static Net net_of(const char *text, bool forward_only) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    ModelOptions opt = {.sources = s, .forward_only = forward_only};
    Ast *ast = parse_text(a, s, d, "t.net", text, strlen(text), NULL);
    Net n = {.a = a, .m = ast ? model_build(a, d, ast, &opt) : NULL, .code = ""};
    int count;
    Diag *const *all = diag_sorted(d, &count);
    if (count > 0 && !n.m)
        n.code = all[0]->code;
    if (getenv("NETC_TEST_TRACE"))
        diag_render(d, stdout, DIAG_TEXT, false);
    n.warnings = diag_warnings(d);
    return n;
}

/* A net whose only layer `c` is `layer`, which reads a clip. */
static Net one_layer(const int64_t chw[4], const char *layer) {
    char text[600];
    snprintf(text, sizeof text,
             "net T {\n input v: f32[%lld, %lld, %lld, %lld]\n c: %s\n output y = c\n}\n",
             (long long)chw[0], (long long)chw[1], (long long)chw[2], (long long)chw[3], layer);
    return net_of(text, true);
}

/* ---- running ---- */

typedef struct Run {
    Net net;
    Graph *g;
    RefRun r;
    double **param, *x; /* x: [n][c][d][h][w] */
    ValueId in, out;    /* what load_input makes; the layer `name` */
} Run;

static Run run_open(Net net, const char *name) {
    Run x = {.net = net};
    CU_ASSERT_PTR_NOT_NULL_FATAL(net.m);
    x.g = net.m->mode[MODEL_FORWARD].graph;
    RandomNet shape = {.image = net.m->input[0].shape, .classes = 3};
    RandomData d = random_data(net.a, &shape, &net.m->params, N, 11);
    x.param = d.param;
    x.x = d.image;
    x.r = (RefRun){.g = x.g, .n = N, .input = {d.image}, .label = {d.label}, .param = d.param};
    x.in = graph_find(x.g, "v");
    x.out = graph_find(x.g, name);
    CU_ASSERT_TRUE_FATAL(x.in && x.out);
    return x;
}

static void run_close(Run *x) {
    ref_run_free(&x->r);
    arena_free(x->net.a);
}

/* Number i of value v in the user's order, [n][c][frame][h][w]. */
static double at(const Run *x, ValueId v, int64_t i) {
    const Shape *s = &graph_v(x->g, v)->shape;
    int64_t frames = shape_frames(s), maps = s->dim[0], cells = shape_elems(s) / frames / maps;
    int64_t cell = i % cells, f = i / cells % frames, c = i / cells / frames % maps;
    int64_t n = i / cells / frames / maps;
    return x->r.value[v][((n * frames + f) * maps + c) * cells + cell];
}

static void compare(const Run *x, ValueId v, const double *want, const char *what) {
    double worst = 0;
    FOR(i, ref_value_elems(&x->r, v)) worst = fmax(worst, fabs(at(x, v, i) - want[i]));
    if (!(worst < 1e-12))
        printf("\n%s: off by %g\n", what, worst);
    CU_ASSERT_TRUE(worst < 1e-12);
}

/* ---- layers against their definition ---- */

typedef struct Layer {
    const char *text;
    int64_t in[4]; /* c, d, h, w */
    RefBox b;      /* kernel, stride, pad, apart, o; dst */
} Layer;

#define BOX(...)                                                                                   \
    { __VA_ARGS__ }
static const Layer layers[] = {
    {"conv(4, 3x3x3, pad = 1)",
     {3, 5, 6, 7},
     {.o = 4,
      .kernel = BOX(3, 3, 3),
      .stride = BOX(1, 1, 1),
      .pad = BOX(1, 1, 1),
      .apart = BOX(1, 1, 1),
      .dst = BOX(5, 6, 7)}},
    {"conv(2, 3)",
     {1, 4, 5, 5},
     {.o = 2,
      .kernel = BOX(3, 3, 3),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(2, 3, 3)}},
    {"conv(3, 2x3x1, stride = 2x1x3)",
     {2, 7, 4, 7},
     {.o = 3,
      .kernel = BOX(2, 3, 1),
      .stride = BOX(2, 1, 3),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(3, 2, 3)}},
    {"conv(3, 3x2x2, dilation = 2x1x2, round = floor)",
     {2, 6, 4, 5},
     {.o = 3,
      .kernel = BOX(3, 2, 2),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(2, 1, 2),
      .dst = BOX(2, 3, 3)}},
    {"conv(2, 3x3x3, stride = 2, pad = [2, 1, 1, 0, 0, 1], round = floor)",
     {2, 5, 6, 6},
     {.o = 2,
      .kernel = BOX(3, 3, 3),
      .stride = BOX(2, 2, 2),
      .pad = BOX(2, 1, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(3, 3, 3)}},
    {"conv(2, 5x3x3)",
     {3, 5, 4, 4},
     {.o = 2,
      .kernel = BOX(5, 3, 3),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(1, 2, 2)}},
    {"conv(3, 3x3, stride = 2, pad = 1)",
     {2, 4, 6, 6},
     {.o = 3,
      .kernel = BOX(1, 3, 3),
      .stride = BOX(1, 2, 2),
      .pad = BOX(0, 1, 1),
      .apart = BOX(1, 1, 1),
      .dst = BOX(4, 3, 3)}},
    {"conv(3, 1x3x3, stride = 3x1x1, round = floor)",
     {2, 5, 4, 4},
     {.o = 3,
      .kernel = BOX(1, 3, 3),
      .stride = BOX(3, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(2, 2, 2)}},
};
static const Layer pools[] = {
    {"maxpool(2x2x2)",
     {3, 4, 4, 6},
     {.kernel = BOX(2, 2, 2),
      .stride = BOX(2, 2, 2),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(2, 2, 3)}},
    {"maxpool(3, stride = 2, pad = 1)",
     {2, 5, 7, 7},
     {.kernel = BOX(3, 3, 3),
      .stride = BOX(2, 2, 2),
      .pad = BOX(1, 1, 1),
      .apart = BOX(1, 1, 1),
      .dst = BOX(3, 4, 4)}},
    {"maxpool(3x1x1)",
     {2, 6, 3, 2},
     {.kernel = BOX(3, 1, 1),
      .stride = BOX(3, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(2, 3, 2)}},
    {"maxpool(2x2, round = floor)",
     {2, 3, 4, 5},
     {.kernel = BOX(1, 2, 2),
      .stride = BOX(1, 2, 2),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(3, 2, 2)}},
    {"maxpool(2x2x2, round = ceil)",
     {2, 5, 3, 5},
     {.kernel = BOX(2, 2, 2),
      .stride = BOX(2, 2, 2),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(3, 2, 3)}},
    {"global_maxpool",
     {2, 3, 3, 4},
     {.kernel = BOX(3, 3, 4),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(1, 1, 1)}},
    {"max(axis = time)",
     {2, 5, 3, 2},
     {.kernel = BOX(5, 1, 1),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(1, 3, 2)}},
    {"avgpool(2x2x2)",
     {3, 4, 4, 6},
     {.kernel = BOX(2, 2, 2),
      .stride = BOX(2, 2, 2),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(2, 2, 3)}},
    {"avgpool(3, stride = 2, pad = 1)",
     {2, 5, 7, 7},
     {.kernel = BOX(3, 3, 3),
      .stride = BOX(2, 2, 2),
      .pad = BOX(1, 1, 1),
      .apart = BOX(1, 1, 1),
      .dst = BOX(3, 4, 4)}},
    {"global_avgpool",
     {2, 3, 3, 4},
     {.kernel = BOX(3, 3, 4),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(1, 1, 1)}},
    {"mean(axis = time)",
     {2, 5, 3, 2},
     {.kernel = BOX(5, 1, 1),
      .stride = BOX(1, 1, 1),
      .pad = BOX(0, 0, 0),
      .apart = BOX(1, 1, 1),
      .dst = BOX(1, 3, 2)}},
};
enum { LAYERS = sizeof layers / sizeof *layers, POOLS = sizeof pools / sizeof *pools };

static RefBox box_of(const Layer *l, bool pool) {
    RefBox b = l->b;
    b.n = N;
    b.c = l->in[0];
    b.o = pool ? b.c : b.o;
    FOR(d, 3) b.src[d] = l->in[1 + d];
    return b;
}

static bool expected_shape(const Run *x, const RefBox *b) {
    Shape want = shape_clip((Shape){3, {b->o, b->dst[1], b->dst[2]}}, b->dst[0]);
    return shape_equal(&graph_v(x->g, x->out)->shape, &want);
}

static void convolutions(void) {
    FOR(i, LAYERS) {
        RefBox b = box_of(&layers[i], false);
        Run x = run_open(one_layer(layers[i].in, layers[i].text), "c");
        double *want = calloc((size_t)(N * b.o * b.dst[0] * b.dst[1] * b.dst[2]), sizeof *want);
        CU_ASSERT_TRUE_FATAL(expected_shape(&x, &b));
        CU_ASSERT_TRUE_FATAL(ref_run(&x.r));
        ref_conv3d(&b, x.x, x.param[0], x.param[1], want);
        compare(&x, x.out, want, layers[i].text);
        free(want);
        run_close(&x);
    }
}

/* Forward, and where the gradient of a maximum goes, whole numbers with many ties. */
static void one_pool(const Layer *l) {
    RefBox b = box_of(l, true);
    bool max = strstr(l->text, "max") != NULL;
    Run x = run_open(one_layer(l->in, l->text), "c");
    int64_t cells = N * b.c * b.dst[0] * b.dst[1] * b.dst[2];
    int64_t inputs = N * b.c * b.src[0] * b.src[1] * b.src[2];
    double *want = calloc((size_t)cells, sizeof *want), *dx = calloc((size_t)inputs, sizeof *dx);
    double *dy = calloc((size_t)cells, sizeof *dy);
    int64_t *from = calloc((size_t)cells, sizeof *from);
    CU_ASSERT_TRUE_FATAL(expected_shape(&x, &b));
    if (max)
        ref_fill_int(x.x, inputs, -2, 2, 3);
    ref_fill_distinct(dy, cells, 1, 4);
    ref_pool3d(&b, max, x.x, want, from);
    Shape s = graph_v(x.g, x.out)->shape;
    ValueId signal = graph_input(x.g, VK_INPUT, DT_F32, s, true, DY, NULL), diff[64];
    x.r.input[DY] = dy;
    CU_ASSERT_TRUE_FATAL(x.g->nvalue < 40);
    CU_ASSERT_TRUE_FATAL(ref_backward(x.g, x.out, signal, RULE_DECONVNET, diff, 64));
    CU_ASSERT_TRUE_FATAL(ref_run(&x.r));
    compare(&x, x.out, want, l->text);
    FOR(i, cells) if (max) dx[from[i]] += at(&x, signal, i);
    if (max)
        compare(&x, diff[x.in], dx, arena_printf(x.net.a, "%s, back", l->text));
    free(want), free(dx), free(dy), free(from);
    run_close(&x);
}

static void box_pools(void) {
    FOR(i, POOLS) one_pool(&pools[i]);
}

/* ---- frames as they are ---- */

static void frames_by_hand(void) {
    static const int64_t in[4] = {2, 5, 2, 3};
    enum { CELLS = 6 };
    Run x = run_open(one_layer(in, "frames(1, 2, step = 3)"), "c");
    CU_ASSERT_TRUE_FATAL(ref_run(&x.r));
    CU_ASSERT_EQUAL(shape_frames(&graph_v(x.g, x.out)->shape), 2);
    FOR(i, N * 2 * 2 * CELLS) {
        int64_t cell = i % CELLS, f = i / CELLS % 2, rest = i / CELLS / 2;
        CU_ASSERT_EQUAL(at(&x, x.out, i), x.x[(rest * 5 + 1 + 3 * f) * CELLS + cell]);
    }
    run_close(&x);
    x = run_open(one_layer(in, "concat(frames(v, 3, 2), frames(v, 0, 1), axis = frames)"), "c");
    CU_ASSERT_TRUE_FATAL(ref_run(&x.r));
    CU_ASSERT_EQUAL(shape_frames(&graph_v(x.g, x.out)->shape), 3);
    FOR(i, N * 2 * 3 * CELLS) {
        static const int64_t of[3] = {3, 4, 0};
        int64_t cell = i % CELLS, f = i / CELLS % 3, rest = i / CELLS / 3;
        CU_ASSERT_EQUAL(at(&x, x.out, i), x.x[(rest * 5 + of[f]) * CELLS + cell]);
    }
    run_close(&x);
    /* an image beside a clip is the same for all frames; dense reads [C, D, H, W] in this order */
    x = run_open(one_layer(in, "sub(v, frames(v, 0, 1))"), "c");
    CU_ASSERT_TRUE_FATAL(ref_run(&x.r));
    FOR(i, N * 2 * 5 * CELLS)
    CU_ASSERT_EQUAL(at(&x, x.out, i), x.x[i] - x.x[i / CELLS / 5 * 5 * CELLS + i % CELLS]);
    run_close(&x);
    x = run_open(one_layer(in, "flatten"), "c");
    CU_ASSERT_TRUE_FATAL(ref_run(&x.r));
    FOR(i, N * 60) CU_ASSERT_EQUAL(x.r.value[x.out][i], x.x[i]);
    run_close(&x);
}

/* ---- whole nets ---- */

#define HEAD(c, d, h, w)                                                                           \
    "net T {\n input v: f32[" #c ", " #d ", " #h ", " #w "]\n"                                     \
    " input label: class[3]\n"
#define TAIL " f: dense(3)\n output prob = softmax(f)\n loss ce: cross_entropy(f, label)\n}\n"
static const char *const nets[] = {
    HEAD(3, 6, 9, 11) " a: conv(6, 3x3x3, pad = 1, groups = 3) -> tanh\n"
                      " p: maxpool(1x2x2, round = floor)\n"
                      " b: conv(18, 2x3x3, stride = 2x1x1, pad = 0x1x1, groups = 2) -> bn -> tanh\n"
                      " c: avgpool(3x2x2, round = floor) -> conv(4, 1x1) -> sigmoid\n" TAIL,
    HEAD(1, 7, 8, 6) " a: conv(17, 3x3x3, stride = 2x1x1) -> relu\n"
                     " b: [ conv(16, 3x3x3, pad = 1), conv(16, 1x1) ] -> add -> relu\n"
                     " c: maxpool(2x2x2, round = ceil) -> lrn(3) -> dropout(30%)\n" TAIL,
    HEAD(2, 5, 6, 6) " a: conv(8, 3x3, pad = 1) -> relu -> conv(32, 5x1x1) -> relu\n"
                     " b: conv(16, 3x3, pad = 1) -> relu -> maxpool(2x2)\n" TAIL,
    HEAD(4, 9, 5, 5) " a: conv(16, 3x3x3, pad = 1, groups = 1) -> relu\n"
                     " b: mul(a, mean(a, axis = time)) -> max(axis = time)\n"
                     " c: concat(b, frames(a, 8, 1)) -> conv(7, 3x3) -> relu\n" TAIL,
    HEAD(2, 10, 4, 4) " a: conv(6, 10x3x3, pad = 0x1x1) -> relu\n" TAIL,
    HEAD(3, 4, 8,
         8) " a: conv(16, 3x3x3, pad = 1, dilation = 2x1x1) -> relu -> global_avgpool\n" TAIL,
    HEAD(1, 4, 6, 6) " a: concat(frames(v, 0, 2), frames(v, 2, 2)) -> conv(32, 2x3x3) -> relu\n"
                     " b: instancenorm -> lcn(3) -> upsample(2)\n"
                     " c: conv(5, 3x3, stride = 2) -> global_maxpool\n" TAIL,
};
enum { NETS = sizeof nets / sizeof *nets };

static double loss_of(Run *x) {
    double sum = 0;
    x->r.g = x->g;
    if (!ref_run(&x->r))
        return NAN;
    ValueId loss = graph_find(x->g, "loss.ce");
    FOR(i, N) sum += x->r.value[loss][i];
    return sum / (double)N;
}

/* Parameters of the first nets, smooth ones, against central differences of the loss. */
static void gradients(void) {
    static const int smooth[] = {0, 5};
    FOR(k, 2) {
        Run x = run_open(net_of(nets[smooth[k]], false), "f");
        Graph *g = x.net.m->mode[MODEL_TRAIN].graph;
        ValueId diff[400];
        CU_ASSERT_TRUE_FATAL(g->nvalue < 300);
        CU_ASSERT_TRUE_FATAL(ref_backward(g, graph_find(g, "loss.ce"), 0, RULE_TRAIN, diff, 400));
        RefRun train = x.r;
        train.g = g;
        CU_ASSERT_TRUE_FATAL(ref_run(&train));
        Net again = net_of(nets[smooth[k]], false); /* without gradient nodes, bn as in training */
        x.g = again.m->mode[MODEL_TRAIN].graph;
        for (int p = 0; p < x.net.m->params.count; p++) {
            const Param *param = &x.net.m->params.at[p];
            int64_t n = shape_elems(&param->shape);
            ValueId v = graph_find(g, param->name), d = v ? diff[v] : 0;
            double worst = 0, largest = 1e-3;
            if (!d || param->frozen)
                continue;
            int64_t area = param->links ? n / (param->shape.dim[0] * param->shape.dim[1]) : 1;
            FOR(i, n) largest = fmax(largest, fabs(train.value[d][i]));
            for (int64_t i = 0; i < n; i += n / 12 + 1) {
                double was = x.param[p][i], h = 1e-5;
                if (param->links && !param->links[i / area]) { /* another group's map */
                    CU_ASSERT_EQUAL(train.value[d][i], 0);
                    continue;
                }
                x.param[p][i] = was + h;
                double up = loss_of(&x);
                x.param[p][i] = was - h;
                double down = loss_of(&x);
                x.param[p][i] = was;
                worst = fmax(worst, fabs((up - down) / (2 * h) - train.value[d][i]));
            }
            if (!(worst <= 1e-6 * largest))
                printf("\nnet %d, %s: gradient off by %g of %g\n", smooth[k], param->name, worst,
                       largest);
            CU_ASSERT_TRUE(worst <= 1e-6 * largest);
        }
        ref_run_free(&train);
        ref_run_free(&x.r);
        x.r.g = g;
        arena_free(again.a);
        run_close(&x);
    }
}

/* One net on one target; the number of failures. */
static int compiled_net(int index, const char *name, bool fused, const char *force, int64_t n) {
    Net net = net_of(nets[index], false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(net.m);
    Arena *keep = net.a, *tmp = arena_new();
    Target target;
    PlanOptions options = {.force = force};
    PassCtx ctx[MODEL_MODES] = {0};
    Compiled c[2];
    if (!compiled_target(keep, name, &target))
        compiled_target(keep, "native", &target);
    for (int mode = MODEL_FORWARD; mode <= MODEL_TRAIN; mode++) {
        model_pass_ctx(net.m, mode, &ctx[mode]);
        ctx[mode].tmp = tmp;
        ctx[mode].target = &target;
        ctx[mode].options = &options;
        ctx[mode].verify = true;
        ctx[mode].no_fuse = !fused;
        CU_ASSERT_TRUE_FATAL(passes_run(net.m->mode[mode].graph, &ctx[mode]));
    }
    params_place(&net.m->params);
    net.m->mode[MODEL_LOOK].graph = NULL;
    CodegenInput in = {.model = net.m,
                       .ctx = ctx,
                       .target = &target,
                       .symbol = "netc_model",
                       .cpu_needs = "",
                       .parts = 1};
    Emit *e = codegen_module(keep, &in);
    for (int mode = MODEL_FORWARD; mode <= MODEL_TRAIN; mode++) {
        Graph *g = net.m->mode[mode].graph;
        c[mode] = (Compiled){.g = g, .prefix = g->name};
    }
    int failures = !compiled_link(e, c, 2, 1);
    RandomNet shape = {.image = net.m->input[0].shape, .classes = 3};
    RandomData d = random_data(keep, &shape, &net.m->params, n, 23);
    for (int mode = MODEL_FORWARD; mode <= MODEL_TRAIN && !failures; mode++) {
        Graph *g = net.m->mode[mode].graph;
        RefRun r = {.g = g,
                    .n = n,
                    .input = {d.image},
                    .label = {d.label},
                    .param = d.param,
                    .state = d.state,
                    .lr = 0.125,
                    .momentum = 0.875,
                    .seed = 99,
                    .step = 7};
        Check check = {.data = &r,
                       .seed_at = arena_array(keep, g->nvalue, sizeof(double *)),
                       .local = 1,
                       .global = true,
                       .forward = 1e-4,
                       .backward = 1e-3,
                       .what = arena_printf(keep, "net %d, %s", index, name)};
        failures += compiled_check(&c[mode], &check);
        ref_run_free(&r);
    }
    emit_free(e);
    arena_free(tmp);
    arena_free(keep);
    return failures;
}

static void compiled(void) {
    static const char *const targets[] = {"native", "x86-64-v3", "x86-64-v2"};
    static const char *const forces[] = {NULL, "direct", "winograd"};
    FOR(i, NETS)
    FOR(t, 3) CU_ASSERT_EQUAL(
        compiled_net((int)i, targets[t], (i + t) % 3 != 2, forces[(i + t) % 3], 1 + (i + t) % 3),
        0);
}

/* ---- counts and refusals ---- */

static void saved_shapes(void) {
    static const int64_t in[4] = {3, 16, 112, 112};
    Net n = one_layer(in, "conv(64, 3x3x3, pad = 1)");
    CU_ASSERT_PTR_NOT_NULL_FATAL(n.m);
    const Shape *s = &n.m->params.at[0].shape;
    CU_ASSERT_TRUE(s->rank == 5 && s->dim[0] == 64 && s->dim[1] == 3 && s->dim[2] == 3 &&
                   s->dim[3] == 3 && s->dim[4] == 3);
    CU_ASSERT_EQUAL(n.m->trainable, 64 * 81 + 64);
    CU_ASSERT_EQUAL(n.m->macs, 64.0 * 81 * 16 * 112 * 112);
    arena_free(n.a);
    n = one_layer(in, "conv(6, 3x3x3, pad = 1, groups = 3)");
    CU_ASSERT_EQUAL(n.m->params.at[0].shape.rank, 5);
    CU_ASSERT_EQUAL(n.m->params.at[0].shape.dim[1], 3); /* the other maps' numbers are masked */
    CU_ASSERT_EQUAL(n.m->trainable, 6 * 27 + 6);
    arena_free(n.a);
    n = one_layer(in, "conv(64, 3x3, pad = 1)");
    CU_ASSERT_EQUAL(n.m->params.at[0].shape.rank, 4);
    CU_ASSERT_EQUAL(n.m->macs, 64.0 * 27 * 16 * 112 * 112);
    arena_free(n.a);
}

static void refusals(void) {
    static const struct {
        const char *layer, *code;
    } row[] = {
        {"conv(4, 6x3x3)", "E0301"},
        {"conv(4, 6x3x3, pad = 1)", ""},
        {"maxpool(2x2x2, pad = [2, 0, 0, 0, 0, 0])", "E0307"},
        {"maxpool(2x2x2, round = exact)", "E0306"},
        {"conv(4, 3x3x3x3)", "E0111"},
        {"frames(4, 2)", "E0303"},
        {"frames(4, 1) -> frames(1, 1)", "E0303"},
        {"add(v, frames(v, 0, 3))", "E0332"},
        {"concat(v, frames(v, 0, 3))", "E0332"},
        {"concat(v, maxpool(v, 1x2x2), axis = frames)", "E0331"},
        {"upsample(2x2x2)", "E0111"},
        {"conv(4, 3x3x3, groups = 2)", ""},
        {"conv(6, 3x3x3, groups = 3)", "E0302"}, /* of two maps with three frames each */
        {"conv(4, 3x3x3, flip = yes)", "E0801"},
        {"deconv(4, 3x3x3)", "E0111"},
    };
    static const int64_t in[4] = {2, 5, 6, 6};
    FOR(i, (int64_t)(sizeof row / sizeof *row)) {
        Net n = one_layer(in, row[i].layer);
        if (strcmp(n.code, row[i].code) != 0)
            printf("\n%s: '%s' instead of '%s'\n", row[i].layer, n.code, row[i].code);
        CU_ASSERT_STRING_EQUAL(n.code, row[i].code);
        arena_free(n.a);
    }
    Net n = one_layer(in, "maxpool(2x2x2)"); /* a frame is lost */
    CU_ASSERT_EQUAL(n.warnings, 1);
    arena_free(n.a);
}

SUITE_MAIN(TEST(convolutions), TEST(box_pools), TEST(frames_by_hand), TEST(gradients),
           TEST(compiled), TEST(saved_shapes), TEST(refusals))
