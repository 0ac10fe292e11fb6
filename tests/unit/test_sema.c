/* test_sema.c: semantic analysis and the graphs it builds: exact parameter counts, sizes and
 * receptive fields of published networks, edits and variants, sharing and freezing, the three
 * graphs of a model through all passes, hostile specs.
 *
 * Known numbers: LeCun et al. 1998 (60,000 and table I), Zeiler and Fergus 2014 (table 3),
 * Simonyan and Zisserman 2015 (table 2, exact sums by hand).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/vec.h"
#include "emit/target.h"
#include "front/model.h"
#include "front/parse.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "suite.h"

typedef struct Run {
    Arena *arena;
    Sources *sources;
    DiagCtx *diag;
    Model *m;
} Run;

static Run run_ast(Arena *a, Sources *s, DiagCtx *d, Ast *file, ModelOptions opt) {
    Run r = {a, s, d, NULL};
    opt.sources = s;
    if (file)
        r.m = model_build(a, d, file, &opt);
    return r;
}

static Run spec(const char *name, ModelOptions opt) {
    const char *root = getenv("NETC_SOURCE_DIR");
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    const char *path = arena_printf(a, "%s/specs/%s", root ? root : "../..", name);
    Run r = run_ast(a, s, d, parse_file(a, s, d, path, NULL), opt);
    if (!r.m)
        diag_render(d, stderr, DIAG_TEXT, false);
    return r;
}

static Run text(const char *source, ModelOptions opt) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    return run_ast(a, s, d, parse_text(a, s, d, "t.net", source, strlen(source), NULL), opt);
}

static void done(Run *r) {
    arena_free(r->arena);
}

static const char *first_code(const Run *r) {
    int n;
    Diag *const *all = diag_sorted(r->diag, &n);
    for (int i = 0; i < n; i++)
        if (all[i]->severity == SEVERITY_ERROR)
            return all[i]->code;
    return "";
}

static int64_t count(const char *name, const char *variant) {
    Run r = spec(name, (ModelOptions){.variant = variant, .forward_only = true});
    int64_t n = r.m ? r.m->trainable : -1;
    CU_ASSERT_EQUAL(diag_warnings(r.diag), 0);
    done(&r);
    return n;
}

static const ModelLayer *layer(const Model *m, const char *label) {
    for (int i = 0; i < m->nlayers; i++)
        if (strcmp(m->layer[i].label, label) == 0)
            return &m->layer[i];
    return NULL;
}

static const Param *param(const Model *m, const char *name) {
    for (int i = 0; i < m->params.count; i++)
        if (strcmp(m->params.at[i].name, name) == 0)
            return &m->params.at[i];
    return NULL;
}

static void is_layer(const Model *m, const char *label, const char *shape, int64_t params,
                     int64_t field, int64_t jump) {
    char buf[64];
    const ModelLayer *l = layer(m, label);
    CU_ASSERT_PTR_NOT_NULL_FATAL(l);
    shape_print(&l->out, buf, sizeof buf);
    if (strcmp(buf, shape) || l->params != params || (!l->field.all && l->field.size[0] != field) ||
        (!l->field.all && l->field.jump[0] != jump))
        printf("\n%s: %s, %lld parameters, field %lld/%lld\n", label, buf, (long long)l->params,
               (long long)l->field.size[0], (long long)l->field.jump[0]);
    CU_ASSERT_STRING_EQUAL(buf, shape);
    CU_ASSERT_EQUAL(l->params, params);
    CU_ASSERT_TRUE(l->field.all || l->field.size[0] == field);
    CU_ASSERT_TRUE(l->field.all || l->field.jump[0] == jump);
}

/* ---- published networks ---- */

static void lenet5_table(void) {
    Run r = spec("lenet5.net", (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_EQUAL(r.m->trainable, 60000);
    CU_ASSERT_EQUAL(r.m->frozen, 840);
    is_layer(r.m, "c1", "6x28x28", 156, 5, 1);
    is_layer(r.m, "s2", "6x14x14", 12, 6, 2);
    is_layer(r.m, "c3", "16x10x10", 1516, 14, 2);
    is_layer(r.m, "s4", "16x5x5", 32, 16, 4);
    is_layer(r.m, "c5", "120x1x1", 48120, 32, 4);
    is_layer(r.m, "f6", "84", 10164, 0, 0);
    is_layer(r.m, "y", "10", 840, 0, 0);
    CU_ASSERT_TRUE(r.m->smallest_wins);
    CU_ASSERT_EQUAL(r.m->classes, 10);
    CU_ASSERT_EQUAL(r.m->mode[MODEL_FORWARD].prob, 0);
    CU_ASSERT_EQUAL(r.m->input[0].prep.pad, 1);
    CU_ASSERT_DOUBLE_EQUAL(r.m->input[0].prep.lo, -0.1, 1e-7);
    CU_ASSERT_EQUAL(r.m->train.schedule.kind, RT_SCHEDULE_TABLE);
    CU_ASSERT_EQUAL(r.m->train.schedule.ntable, 5);
    const Param *c3 = param(r.m, "c3.weight"), *y = param(r.m, "y.centers");
    CU_ASSERT_PTR_NOT_NULL_FATAL(c3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(y);
    CU_ASSERT_EQUAL(c3->trainable, 1500);
    int links = 0, reads[6] = {0};
    for (int i = 0; i < 96; i++) {
        links += c3->links[i];
        reads[i % 6] += c3->links[i];
    }
    CU_ASSERT_EQUAL(links, 60);
    for (int i = 0; i < 6; i++) /* each S2 map feeds ten C3 maps */
        CU_ASSERT_EQUAL(reads[i], 10);
    CU_ASSERT_TRUE(y->frozen);
    CU_ASSERT_EQUAL(y->init, INIT_TABLE);
    bool equal = false;
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < i; j++)
            equal |= memcmp(y->table + 84 * i, y->table + 84 * j, 84 * sizeof(float)) == 0;
    CU_ASSERT_FALSE(equal);
    for (int i = 0; i < 840; i++)
        CU_ASSERT_TRUE(y->table[i] == 1 || y->table[i] == -1);
    CU_ASSERT_DOUBLE_EQUAL(param(r.m, "c1.weight")->init_b, 2.4 / 25, 1e-12);
    CU_ASSERT_PTR_NOT_NULL(param(r.m, "c3.weight.links"));
    CU_ASSERT_TRUE(param(r.m, "c3.weight.links")->constant);
    done(&r);
}

/* What the table of bitmaps in lenet5.net means, spelt out for two digits. */
static void lenet5_bitmaps(void) {
    Run r = spec("lenet5.net", (ModelOptions){.forward_only = true});
    const float *t = param(r.m, "y.centers")->table;
    const char *one = "...#..."
                      "..##..."
                      ".#.#...",
               *seven = "#######"
                        "......#"
                        ".....#.";
    for (int i = 0; i < 21; i++) {
        CU_ASSERT_EQUAL(t[84 + i], one[i] == '#' ? 1 : -1);
        CU_ASSERT_EQUAL(t[7 * 84 + i], seven[i] == '#' ? 1 : -1);
    }
    done(&r);
}

static void lenet_counts(void) {
    CU_ASSERT_EQUAL(count("lenet.net", NULL), 80202);
}

static void zfnet_table(void) {
    Run r = spec("zfnet.net", (ModelOptions){.forward_only = true});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    is_layer(r.m, "conv1", "96x110x110", 14208, 7, 2);
    is_layer(r.m, "pool1", "96x55x55", 0, 11, 4);
    is_layer(r.m, "conv2", "256x26x26", 614656, 27, 8);
    is_layer(r.m, "pool2", "256x13x13", 0, 43, 16);
    is_layer(r.m, "conv3", "384x13x13", 885120, 75, 16);
    is_layer(r.m, "conv4", "384x13x13", 1327488, 107, 16);
    is_layer(r.m, "conv5", "256x13x13", 884992, 139, 16);
    is_layer(r.m, "pool5", "256x6x6", 0, 171, 32);
    is_layer(r.m, "fc6", "4096", 37752832, 0, 0);
    is_layer(r.m, "fc7", "4096", 16781312, 0, 0);
    is_layer(r.m, "fc8", "1000", 4097000, 0, 0);
    CU_ASSERT_DOUBLE_EQUAL(param(r.m, "conv3.weight")->max_rms, 0.1, 1e-12);
    CU_ASSERT_EQUAL(param(r.m, "fc6.weight")->max_rms, 0);
    CU_ASSERT_EQUAL(param(r.m, "fc6.weight")->init, INIT_GAUSSIAN);
    CU_ASSERT_EQUAL(param(r.m, "fc6.bias")->init, INIT_ZERO);
    CU_ASSERT_EQUAL(param(r.m, "fc6.weight")->split.rank, 4);
    done(&r);
}

static void zfnet_variants(void) {
    const int64_t conv5_from_256 = 256 * 256 * 9 + 256, head = 4097000;
    const int64_t features = 14208 + 614656 + 885120 + 1327488 + 884992;
    const int64_t no34 = 14208 + 614656 + conv5_from_256, in = 9216;
    const int64_t wide = 14208 + 614656 + (512 * 256 * 9 + 512) + (1024 * 512 * 9 + 1024) +
                         (512 * 1024 * 9 + 512),
                  in512 = 512 * 36;
    CU_ASSERT_EQUAL(count("zfnet.net", "Table3.base"), 62357608);
    CU_ASSERT_EQUAL(count("zfnet.net", "no34"), no34 + 37752832 + 16781312 + head);
    CU_ASSERT_EQUAL(count("zfnet.net", "no7"), 62357608 - 16781312);
    CU_ASSERT_EQUAL(count("zfnet.net", "no67"), features + in * 1000 + 1000);
    CU_ASSERT_EQUAL(count("zfnet.net", "no3467"), no34 + in * 1000 + 1000);
    CU_ASSERT_EQUAL(count("zfnet.net", "fc2048"),
                    features + (in + 1) * 2048 + 2049 * 2048 + 2049 * 1000);
    CU_ASSERT_EQUAL(count("zfnet.net", "fc8192"),
                    features + (in + 1) * 8192 + INT64_C(8193) * 8192 + 8193 * 1000);
    CU_ASSERT_EQUAL(count("zfnet.net", "wide345"), 107627624);
    CU_ASSERT_EQUAL(count("zfnet.net", "both"),
                    wide + (in512 + 1) * 8192 + INT64_C(8193) * 8192 + 8193 * 1000);
}

static void vgg_table(void) {
    CU_ASSERT_EQUAL(count("vgg.net", "A"), 132863336);
    CU_ASSERT_EQUAL(count("vgg.net", "B"), 133047848);
    CU_ASSERT_EQUAL(count("vgg.net", "C"), 133638952);
    CU_ASSERT_EQUAL(count("vgg.net", "D"), 138357544);
    CU_ASSERT_EQUAL(count("vgg.net", "Table1.E"), 143667240);
    CU_ASSERT_EQUAL(count("vgg.net", NULL), 138357544);
}

/* Names and numbers of torchvision's resnet18; running statistics are not counted. */
static void resnet18(void) {
    Run r = spec("resnet.net", (ModelOptions){.variant = "18"});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_EQUAL(r.m->trainable, 11689512);
    CU_ASSERT_EQUAL(r.m->frozen, 0);
    is_layer(r.m, "layer4.1.conv2", "512x7x7", 2359296, 435, 32);
    const Param *weight = param(r.m, "layer2.0.downsample.1.weight");
    CU_ASSERT_TRUE(weight->init == INIT_FILL && weight->init_a == 1 && weight->decay_mult == 0);
    const Param *variance = param(r.m, "layer2.0.downsample.1.running_var");
    CU_ASSERT_TRUE(variance->frozen && !variance->constant && variance->trainable == 0);
    done(&r);
}

static void vgg_fields(void) {
    Run r = spec("vgg.net", (ModelOptions){.variant = "D", .forward_only = true});
    is_layer(r.m, "s1.c.2", "64x224x224", 36928, 5, 1);
    is_layer(r.m, "s2.c.2", "128x112x112", 147584, 14, 2);
    is_layer(r.m, "s3.c.3", "256x56x56", 590080, 40, 4);
    is_layer(r.m, "s4.c.3", "512x28x28", 2359808, 92, 8);
    is_layer(r.m, "s5.c.3", "512x14x14", 2359808, 196, 16);
    is_layer(r.m, "s5.pool", "512x7x7", 0, 212, 32);
    CU_ASSERT_DOUBLE_EQUAL(r.m->macs, 15470264320.0, 0.5); /* 15.5 G, the usual figure */
    done(&r);
    r = spec("vgg.net", (ModelOptions){.variant = "E", .forward_only = true});
    is_layer(r.m, "s5.c.4", "512x14x14", 2359808, 252, 16);
    is_layer(r.m, "s5.pool", "512x7x7", 0, 268, 32);
    done(&r);
}

/* AlexNet with its groups: 60,965,224; and the groups as separate weights or as a mask. */
#define ALEX(G)                                                                                    \
    "net Alex { input image: f32[3, 227, 227]; input label: class[1000]\n"                         \
    "c1: conv(96, 11x11, stride = 4) -> relu -> lrn(5)\n p1: maxpool(3x3, stride = 2)\n"           \
    "c2: conv(256, 5x5, pad = 2, groups = " G ") -> relu -> lrn(5)\n"                              \
    "p2: maxpool(3x3, stride = 2)\n c3: conv(384, 3x3, pad = 1) -> relu\n"                         \
    "c4: conv(384, 3x3, pad = 1, groups = " G ") -> relu\n"                                        \
    "c5: conv(256, 3x3, pad = 1, groups = " G ") -> relu\n p5: maxpool(3x3, stride = 2)\n"         \
    "f6: dense(4096) -> relu -> dropout(50%)\n f7: dense(4096) -> relu -> dropout(50%)\n"          \
    "f8: dense(1000)\n loss ce: cross_entropy(f8, label) }"

static void alexnet(void) {
    Run r = text(ALEX("2"), (ModelOptions){.forward_only = true});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_EQUAL(r.m->trainable, 60965224);
    is_layer(r.m, "c2", "256x27x27", 307456, 51, 8);
    is_layer(r.m, "p2", "256x13x13", 0, 67, 16);
    is_layer(r.m, "c5", "256x13x13", 442624, 163, 16);
    is_layer(r.m, "p5", "256x6x6", 0, 195, 32);
    CU_ASSERT_EQUAL(param(r.m, "c2.weight")->shape.dim[1], 48);
    done(&r);
    r = text(ALEX("1"), (ModelOptions){.forward_only = true});
    CU_ASSERT_EQUAL(r.m->trainable, 62378344);
    done(&r);
}

static void masked_groups(void) {
    Run r = text("net G { input x: f32[6, 8, 8]\n c: conv(4, 3x3, groups = 2)\n output c }",
                 (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    const Param *w = param(r.m, "c.weight");
    CU_ASSERT_EQUAL(w->shape.dim[1], 6);
    CU_ASSERT_EQUAL(w->trainable, 4 * 3 * 9);
    CU_ASSERT_EQUAL(r.m->trainable, 4 * 3 * 9 + 4);
    CU_ASSERT_EQUAL(r.m->macs, 4 * 3 * 9 * 36);
    for (int o = 0; o < 4; o++)
        for (int i = 0; i < 6; i++)
            CU_ASSERT_EQUAL(w->links[o * 6 + i], o / 2 == i / 3);
    done(&r);
}

/* GoogLeNet's module 3a: 163,696 parameters; branches join at 256 maps. */
static void inception(void) {
    Run r =
        text("block cbr(c, k, pad = 0) { conv(c, k, pad = pad) -> relu }\n"
             "block inception(c1, r3, c3, r5, c5, pp) {\n"
             "  [ in -> cbr(c1, 1x1), in -> cbr(r3, 1x1) -> cbr(c3, 3x3, pad = 1),\n"
             "    in -> cbr(r5, 1x1) -> cbr(c5, 5x5, pad = 2),\n"
             "    in -> maxpool(3x3, stride = 1, pad = 1) -> cbr(pp, 1x1) ] -> concat\n}\n"
             "net I { input x: f32[192, 28, 28]\n a: inception(64, 96,128, 16,32, 32)\n output a }",
             (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_EQUAL(r.m->trainable, 163696);
    const ModelLayer *l = &r.m->layer[r.m->nlayers - 1];
    CU_ASSERT_EQUAL(l->out.dim[0], 256);
    CU_ASSERT_EQUAL(l->field.size[0], 5);
    CU_ASSERT_PTR_NOT_NULL(param(r.m, "a.cbr1.conv1.weight"));
    done(&r);
}

/* ---- the language ---- */

#define HEAD "net N(n = 4) { input x: f32[3, 16, 16]; input t: class[10]\n"
#define TAIL "\n f: dense(10)\n output p = softmax(f)\n loss ce: cross_entropy(f, t) }"

static void flow_and_labels(void) {
    Run r = text(HEAD "a: conv(n, 3x3) -> relu\n b: x -> conv(n, 3x3)\n c: add(a, b)\n"
                      "d: [c, c -> conv(n, 1x1)] -> concat\n repeat i in 1..2 { r: conv(i, 1x1) }\n"
                      "e: r[1] -> conv(channels(r[2]) + 1, 1x1) as k -> conv(5, 1x1) as m" TAIL,
                 (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_EQUAL(param(r.m, "d.weight")->shape.dim[0], 4);
    CU_ASSERT_EQUAL(param(r.m, "r.1.weight")->shape.dim[1], 8);
    CU_ASSERT_EQUAL(param(r.m, "r.2.weight")->shape.dim[1], 1);
    CU_ASSERT_EQUAL(param(r.m, "k.weight")->shape.dim[0], 3);
    CU_ASSERT_EQUAL(param(r.m, "k.weight")->shape.dim[1], 1);
    CU_ASSERT_EQUAL(param(r.m, "m.weight")->shape.dim[1], 3);
    done(&r);
}

/* A bottleneck of ResNet without batch normalisation: `in`, if, out, labels of instances. */
static void residual(void) {
    Run r = text(
        "block res(c, stride = 1) {\n"
        "  main: in -> conv(c, 1x1) as k1 -> relu -> conv(c, 3x3, stride = stride, pad = 1) as k2\n"
        "        -> relu -> conv(4*c, 1x1) as k3\n"
        "  if stride != 1 || channels(in) != 4*c { skip: in -> conv(4*c, 1x1, stride = stride)\n"
        "  } else { skip: in }\n"
        "  out add(main, skip) -> relu\n}\n"
        "net R { input x: f32[16, 8, 8]\n r2[0]: res(4)\n repeat i in 1..2 { r2[i]: res(4) }\n"
        "  r3[0]: res(8, stride = 2)\n output r3[0] }",
        (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_PTR_NOT_NULL(param(r.m, "r2.0.k1.weight"));
    CU_ASSERT_PTR_NULL(param(r.m, "r2.0.skip.weight"));
    CU_ASSERT_PTR_NOT_NULL(param(r.m, "r2.2.k3.bias"));
    CU_ASSERT_EQUAL(param(r.m, "r3.0.skip.weight")->shape.dim[0], 32);
    const Graph *g = r.m->mode[MODEL_FORWARD].graph;
    CU_ASSERT_EQUAL(graph_v(g, graph_find(g, "r3.0"))->shape.dim[1], 4);
    done(&r);
}

static void edits(void) {
    static const char base[] =
        "net B(w = 8) { input x: f32[3, 16, 16]; input t: class[10]\n"
        "a: conv(w, 3x3) -> relu\n b: conv(w, 3x3) -> relu\n c: b -> conv(w, 3x3) -> relu\n"
        "f: dense(10)\n output p = softmax(f)\n loss ce: cross_entropy(f, t)\n"
        "train { optimizer = sgd(lr = 0.1); batch = 8 } }\n";
    Arena *a = arena_new();
    Run r = text(arena_printf(a,
                              "%s net D extends B(w = 4) { remove b; set c.stride = 2\n"
                              "replace a with conv(6, 5x5) -> tanh\n"
                              "insert maxpool(2x2) before f\n"
                              "insert conv(7, 1x1) after c\n freeze a\n"
                              "set train.batch = 16; train { epochs = 3 } }",
                              base),
                 (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_STRING_EQUAL(r.m->name, "D");
    CU_ASSERT_EQUAL(param(r.m, "a.weight")->shape.dim[2], 5);
    CU_ASSERT_TRUE(param(r.m, "a.bias")->frozen);
    CU_ASSERT_FALSE(param(r.m, "c.weight")->frozen);
    CU_ASSERT_PTR_NULL(param(r.m, "b.weight"));
    CU_ASSERT_EQUAL(param(r.m, "c.weight")->shape.dim[0], 4);
    CU_ASSERT_EQUAL(param(r.m, "c.weight")->shape.dim[1], 6); /* reads a, where b was */
    CU_ASSERT_EQUAL(param(r.m, "c.conv1.weight")->shape.dim[0], 7);
    CU_ASSERT_EQUAL(param(r.m, "f.weight")->shape.dim[1], 7 * 2 * 2); /* 16-12-5-pool 2 */
    CU_ASSERT_EQUAL(r.m->train.batch, 16);
    CU_ASSERT_EQUAL(r.m->train.epochs, 3);
    CU_ASSERT_DOUBLE_EQUAL(r.m->train.lr, 0.1, 1e-12);
    done(&r);
    static const ModelDefine w = {"w", "2 * w"};
    r = text(base, (ModelOptions){.define = &w, .ndefine = 1});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_EQUAL(param(r.m, "a.weight")->shape.dim[0], 16);
    done(&r);
    arena_free(a);
}

static void freezing(void) {
    Run r =
        text("block st(n) { repeat i in 1..n { c[i]: conv(2, 3x3) } }\n"
             "net F { input x: f32[3, 16, 16]\n s1: st(2)\n s2: st(1)\n s3: st(1)\n d: dense(4)\n"
             "output d\n freeze s1..s2, \"s3.c*\" }",
             (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_TRUE(param(r.m, "s1.c.2.weight")->frozen);
    CU_ASSERT_TRUE(param(r.m, "s2.c.1.bias")->frozen);
    CU_ASSERT_TRUE(param(r.m, "s3.c.1.weight")->frozen);
    CU_ASSERT_FALSE(param(r.m, "d.weight")->frozen);
    CU_ASSERT_EQUAL(r.m->trainable, 4 * 2 * 8 * 8 + 4);
    done(&r);
}

static void sharing(void) {
    Run r = text(HEAD "a: x -> conv(4, 3x3)\n b: x -> avgpool(2x2) -> conv(4, 3x3, share = a)\n"
                      "c: concat(flatten(a), flatten(b))" TAIL,
                 (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_PTR_NULL(param(r.m, "b.weight"));
    CU_ASSERT_EQUAL(layer(r.m, "a")->params, 112);
    int64_t sum = 0;
    for (int i = 0; i < r.m->nlayers; i++)
        sum += r.m->layer[i].params;
    CU_ASSERT_EQUAL(sum, r.m->trainable);
    done(&r);
}

static void reads_are(const Model *m, const char *label, int nin, const int *in) {
    const ModelLayer *l = layer(m, label);
    CU_ASSERT_PTR_NOT_NULL_FATAL(l);
    CU_ASSERT_EQUAL_FATAL(l->nin, nin);
    for (int i = 0; i < nin; i++)
        CU_ASSERT_EQUAL(l->in[i], in[i]);
}

/* What each row of the table reads: rows, inputs (-1, -2), each once. */
static void reads(void) {
    Run r = text("net G { input x: f32[3, 8, 8]\n input y: f32[3, 8, 8]\n"
                 "a: x -> conv(3, 3x3, pad = 1) -> relu\n b: y -> conv(3, 3x3, pad = 1)\n"
                 "c: add(a, b, y)\n d: mul(c, c)\n e: concat(d, a) -> relu\n"
                 "param w: f32[8] = gaussian(0, 1)\n v: w -> dense(12) -> tanh\n"
                 "f: e -> conv(2, 1x1, weight = v, bias = no)\n output f }",
                 (ModelOptions){.forward_only = true});
    if (!r.m)
        diag_render(r.diag, stdout, DIAG_TEXT, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    reads_are(r.m, "a", 1, (int[]){-1});
    reads_are(r.m, "b", 1, (int[]){-2});
    reads_are(r.m, "c", 3, (int[]){0, 1, -2});
    reads_are(r.m, "d", 1, (int[]){2});
    reads_are(r.m, "e", 2, (int[]){3, 0});
    reads_are(r.m, "v", 0, NULL);
    reads_are(r.m, "f", 2, (int[]){4, 5});
    done(&r);
}

static void modes(void) {
    Run r = text(HEAD "a: conv(n, 3x3) -> relu\n q: dense(8) -> relu -> dropout(50%) as drop" TAIL,
                 (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    CU_ASSERT_PTR_NULL(r.m->mode[MODEL_CURVATURE].graph);
    for (int k = 0; k < MODEL_CURVATURE; k++) {
        const Graph *g = r.m->mode[k].graph;
        int drops = 0, losses = 0;
        CU_ASSERT_PTR_NOT_NULL_FATAL(g);
        for (NodeId n = 1; n < g->nnode; n++) {
            losses += op_is(graph_n(g, n)->op, OPF_L);
            if (graph_n(g, n)->op != OP_DROPOUT)
                continue;
            const DropoutAttrs *d = graph_n(g, n)->attrs;
            CU_ASSERT_EQUAL(d->infer, k != MODEL_TRAIN);
            CU_ASSERT_EQUAL(d->key, 1);
            drops++;
        }
        CU_ASSERT_EQUAL(drops, 1);
        CU_ASSERT_EQUAL(losses, k != MODEL_LOOK);
        CU_ASSERT_TRUE(graph_v(g, r.m->mode[k].score)->keep);
        CU_ASSERT_STRING_EQUAL(graph_v(g, r.m->mode[k].score)->name, "f");
    }
    const ModelGraph *look = &r.m->mode[MODEL_LOOK];
    CU_ASSERT_EQUAL(look->nseeds, 3); /* a, q (its dropout has the same value), f */
    CU_ASSERT_STRING_EQUAL(look->seed[0].label, "a");
    CU_ASSERT_TRUE(graph_v(look->graph, look->seed[0].value)->keep);
    CU_ASSERT_EQUAL(look->seed[0].field.size[0], 3);
    CU_ASSERT_STRING_EQUAL(r.m->mode[MODEL_TRAIN].loss_name[0], "ce");
    CU_ASSERT_EQUAL(strlen(r.m->hash), 32);
    done(&r);
}

/* Everything that the front end makes is acceptable to every pass. */
static void through_passes(void) {
    static const struct {
        const char *file, *variant;
    } at[] = {{"lenet.net", NULL}, {"lenet5.net", NULL}, {"zfnet.net", "no34"}, {"vgg.net", "C"}};
    for (int i = 0; i < 4; i++) {
        Run r = spec(at[i].file, (ModelOptions){.variant = at[i].variant});
        Target target;
        char why[200];
        CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
        CU_ASSERT_TRUE_FATAL(target_find(r.arena, "x86-64-v3", &target, why, sizeof why));
        for (int k = 0; k < MODEL_CURVATURE; k++) {
            PassCtx ctx = {.tmp = arena_new(), .target = &target, .verify = true};
            model_pass_ctx(r.m, k, &ctx);
            CU_ASSERT_TRUE(passes_run(r.m->mode[k].graph, &ctx));
            CU_ASSERT_TRUE(graph_verify(r.m->mode[k].graph, "test", why, sizeof why));
            arena_free(ctx.tmp);
        }
        done(&r);
    }
}

static Run train_text(const char *settings) {
    char spec[1024];
    snprintf(spec, sizeof spec, HEAD "a: conv(2, 3x3)" TAIL "\nnet M extends N { train { %s } }",
             settings);
    return text(spec, (ModelOptions){0});
}

static void optimizers(void) {
    Run r = train_text("optimizer = adamw(2e-3, beta2 = 0.95)\n clip = norm(5)\n"
                       "schedule = cosine(last = 0.01); warmup = linear(2epoch, from = 0.1)");
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    const rt_train_spec *t = &r.m->train;
    CU_ASSERT(t->optimizer == RT_ADAM && t->decoupled && t->clip == RT_CLIP_NORM);
    CU_ASSERT_DOUBLE_EQUAL(t->lr, 2e-3, 0);
    CU_ASSERT_DOUBLE_EQUAL(t->momentum, 0.9, 0);
    CU_ASSERT_DOUBLE_EQUAL(t->second, 0.95, 0);
    CU_ASSERT_DOUBLE_EQUAL(t->decay, 0.01, 0);
    CU_ASSERT_DOUBLE_EQUAL(t->clip_at, 5, 0);
    CU_ASSERT(t->schedule.kind == RT_SCHEDULE_COSINE && t->schedule.every == 0);
    CU_ASSERT_DOUBLE_EQUAL(t->schedule.factor, 0.01, 0);
    CU_ASSERT(t->schedule.warmup == 2);
    done(&r);
    r = train_text("optimizer = rmsprop(0.045, alpha = 0.9, eps = 1, eps_inside = yes)\n"
                   "clip = value(0.1); schedule = exponential(0.94); warmup = 1epoch");
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    t = &r.m->train;
    CU_ASSERT(t->optimizer == RT_RMSPROP && t->eps_inside && t->clip == RT_CLIP_VALUE);
    CU_ASSERT_DOUBLE_EQUAL(t->eps, 1, 0);
    CU_ASSERT(t->schedule.kind == RT_SCHEDULE_STEP && t->schedule.every == 1);
    done(&r);
    r = train_text("optimizer = sdlm(5e-4, samples = 300); no_decay = \"*.bias\"\n"
                   "load = weights(\"w.safetensors\", map = [\"x.* -> a.*\", \"y -> f.bias\"], "
                   "skip = \"f.*\", partial = yes)");
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    t = &r.m->train;
    CU_ASSERT(t->optimizer == RT_SDLM && t->curvature == 300 && t->load_partial);
    CU_ASSERT_DOUBLE_EQUAL(t->eps, 0.02, 0);
    CU_ASSERT_STRING_EQUAL(t->load, "w.safetensors");
    CU_ASSERT_STRING_EQUAL(t->load_map, "x.* -> a.*,y -> f.bias");
    CU_ASSERT_STRING_EQUAL(t->load_skip, "f.*");
    CU_ASSERT_PTR_NOT_NULL(r.m->mode[MODEL_CURVATURE].graph);
    for (int i = 0; i < r.m->params.count; i++) {
        const Param *p = &r.m->params.at[i];
        CU_ASSERT_EQUAL(p->decay_mult, strstr(p->name, ".bias") ? 0 : 1);
    }
    done(&r);
    r = train_text("optimizer = dessilbi(0.1, kappa = 2, nu = 50, lambda = 0.25, momentum = 0.9)");
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    t = &r.m->train;
    CU_ASSERT(t->optimizer == RT_SLBI && t->kappa == 2 && t->eps == 0.25 && t->momentum == 0.9);
    CU_ASSERT_DOUBLE_EQUAL(t->second, 1 - 1 / 50.0, 1e-15);
    done(&r);
    r = train_text("optimizer = dessilbi(0.1, filters = yes)");
    CU_ASSERT(r.m && r.m->train.optimizer == RT_SLBI_GROUPS && r.m->train.eps == 1);
    done(&r);
    static const char *const wrong[] = {"optimizer = dessilbi(0.1, nu = 0)",
                                        "optimizer = dessilbi(0.1, filters = 2)",
                                        "optimizer = dessilbi(lambda = 1)",
                                        "optimizer = sdlm(1e-3, mu = 0)", "no_decay = \"z.*\"",
                                        "load = \"w\"", "load = weights(3)",
                                        "load = weights(\"w\", map = \"a.*\")"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r = train_text(wrong[i]);
        CU_ASSERT_PTR_NULL(r.m);
        done(&r);
    }
    r = train_text("optimizer = adam(1e-3, eps = 0)");
    CU_ASSERT_PTR_NULL(r.m);
    done(&r);
    r = train_text("optimizer = adagrad(1e-3)");
    CU_ASSERT_PTR_NULL(r.m);
    done(&r);
}

static void settings(void) {
    Run r = text(HEAD "a: conv(2, 3x3, init = he, bias_init = 0.5, lr_mult = 2)" TAIL
                      "\nnet M extends N { metric e: error_rate(argmax(f), t)\n"
                      "data { train = digits(600, seed = 7); val = folder(\"pics\"); flip = yes\n"
                      "  mean = [1, 2, 3]; std = 2; order = bgr; resize = short(20); crop = 16x16\n"
                      "  pixels = range(-1, 1) }\n"
                      "train { optimizer = sgd(0.1, momentum = 0.9, nesterov = yes, decay = 1e-4)\n"
                      "  batch = 7; epochs = 3epoch; seed = 9; checkpoint = every(2epoch)\n"
                      "  schedule = plateau(val.e, factor = 0.2, patience = 4) }\n"
                      "visualize { w: filters(a, maps = [0, 3]); m: occlude(\"a.png\", side = 7) } }",
                 (ModelOptions){0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.m);
    const rt_train_spec *t = &r.m->train;
    CU_ASSERT_STRING_EQUAL(t->train_data, "digits:600:7");
    CU_ASSERT_STRING_EQUAL(t->test_data, "pics");
    CU_ASSERT_DOUBLE_EQUAL(t->lr, 0.1, 0);
    CU_ASSERT_DOUBLE_EQUAL(t->momentum, 0.9, 0);
    CU_ASSERT_DOUBLE_EQUAL(t->decay, 1e-4, 0);
    CU_ASSERT(t->schedule.kind == RT_SCHEDULE_PLATEAU && t->schedule.watch == 0);
    CU_ASSERT_TRUE(r.m->nesterov);
    CU_ASSERT_EQUAL(t->batch, 7);
    CU_ASSERT_EQUAL(t->epochs, 3);
    CU_ASSERT_EQUAL(t->seed, 9);
    CU_ASSERT_EQUAL(t->checkpoint_epochs, 2);
    CU_ASSERT_EQUAL(t->schedule.kind, RT_SCHEDULE_PLATEAU);
    CU_ASSERT_EQUAL(t->schedule.every, 4);
    CU_ASSERT_DOUBLE_EQUAL(t->schedule.factor, 0.2, 0);
    const rt_input_spec *p = &r.m->input[0].prep;
    CU_ASSERT_EQUAL(p->resize_short, 20);
    CU_ASSERT_TRUE(p->crop && p->flip && p->bgr && !p->pad);
    const ModelJob *job = r.m->job;
    CU_ASSERT_EQUAL_FATAL(r.m->njobs, 2);
    CU_ASSERT_EQUAL_FATAL(job[0].nargs, 3);
    CU_ASSERT_STRING_EQUAL(job[0].name, "w");
    CU_ASSERT_STRING_EQUAL(job[0].arg[0], "filters");
    CU_ASSERT_STRING_EQUAL(job[0].arg[1], "--maps=0,3");
    CU_ASSERT_STRING_EQUAL(job[0].arg[2], "--layer=a");
    CU_ASSERT_EQUAL_FATAL(job[1].nargs, 3);
    CU_ASSERT_STRING_EQUAL(job[1].arg[1], "a.png");
    CU_ASSERT_STRING_EQUAL(job[1].arg[2], "--side=7");
    CU_ASSERT_EQUAL(p->mean[2], 3);
    CU_ASSERT_EQUAL(p->std[2], 2);
    CU_ASSERT_EQUAL(p->lo, -1);
    CU_ASSERT_EQUAL(r.m->nmetrics, 1);
    const Param *w = param(r.m, "a.weight");
    CU_ASSERT_EQUAL(w->init, INIT_GAUSSIAN);
    CU_ASSERT_DOUBLE_EQUAL(w->init_b * w->init_b, 2.0 / 27, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(param(r.m, "a.bias")->init_a, 0.5, 0);
    CU_ASSERT_DOUBLE_EQUAL(w->lr_mult, 2, 0);
    done(&r);
}

/* ---- hostile specs: an error with a code, quickly, without much memory ---- */

static void refused(const char *source, const char *code) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    Run r = text(source, (ModelOptions){0});
    clock_gettime(CLOCK_MONOTONIC, &b);
    CU_ASSERT_PTR_NULL(r.m);
    if (strcmp(first_code(&r), code) != 0) {
        printf("\nwanted %s for %.200s\n", code, source);
        diag_render(r.diag, stdout, DIAG_TEXT, false);
    }
    CU_ASSERT_STRING_EQUAL(first_code(&r), code);
    CU_ASSERT_TRUE(b.tv_sec - a.tv_sec < 5);
    done(&r);
}

static const char *grow(Arena *a, int n, const char *format, const char *before,
                        const char *after) {
    StrBuf t = sb_new(a);
    sb_puts(&t, before);
    for (int i = 0; i < n; i++) {
        sb_printf(&t, "%.0s", format);
        for (const char *p = format; *p; p++)
            if (*p == '@')
                sb_printf(&t, "%d", i);
            else if (*p == '$')
                sb_printf(&t, "%d", i + 1);
            else
                sb_putc(&t, *p);
    }
    sb_puts(&t, after);
    return t.text;
}

static void hostile_growth(void) {
    Arena *a = arena_new();
    refused(HEAD "repeat 1000000 { relu }" TAIL, "E0303");
    refused(HEAD "repeat 100000 { relu }" TAIL, "E0130");
    refused(HEAD "repeat 1000 { repeat 1000 { relu } }" TAIL, "E0130");
    refused(HEAD "repeat 90000 { repeat 90000 { } }" TAIL, "E0130");
    refused(
        grow(a, 25, "block b$() { b@() -> b@() }\n", "block b0() { relu }\n", HEAD "a: b25()" TAIL),
        "E0130");
    refused(grow(a, 40, "block b$() { b@() }\n", "block b0() { relu }\n", HEAD "a: b40()" TAIL),
            "E0130");
    refused(grow(a, 5000, "const c@ = c$\n", "", "const c5000 = 1\n" HEAD "a: conv(c0, 1x1)" TAIL),
            "E0130");
    refused(grow(a, 100, "net M@ extends M$ { }\n", "", "net M100 { input x: f32[1, 8, 8] }\n"),
            "E0130");
    refused(grow(a, 300, "x, ", HEAD "a: concat(", "x)" TAIL), "E0130");
    refused("net A extends A { }", "E0123");
    arena_free(a);
}

static void hostile_sizes(void) {
    refused("net N { input x: f32[3, 0, 1]; c: relu }", "E0303");
    refused("net N { input x: f32[3, -1, 1]; c: relu }", "E0303");
    refused("net N { input x: f32[3, 2147483648, 1]; c: relu }", "E0303");
    refused("net N { input x: f32[3, 9223372036854775807, 1]; c: relu }", "E0303");
    refused("net N { input x: f32[2147483647, 2147483647, 2147483647]; c: relu }", "E0305");
    refused("net N { input x: f32[]; c: relu }", "E0304");
    refused("net N { input x: f32[1,1,1,1,1,1]; c: relu }", "E0304");
    refused(HEAD "a: conv(2147483647, 3x3)" TAIL, "E0305");
    refused(HEAD "a: conv(2147483647, 16x16)" TAIL, "E0305");
    refused(HEAD "a: dense(2147483647) -> dense(2147483647)" TAIL, "E0305");
    refused(HEAD "a: conv(4, 3x3, stride = 9223372036854775807)" TAIL, "E0303");
    refused(HEAD "a: conv(4, 3x3, pad = 2147483647)" TAIL, "E0303");
    refused(HEAD "a: conv(4, 3x3, stride = 0)" TAIL, "E0303");
    refused(HEAD "a: conv(4, 3x3, dilation = 65535)" TAIL, "E0301");
    refused(HEAD "a: conv(4, 17x17)" TAIL, "E0301");
    refused(HEAD "a: conv(4, 3x3, groups = 2)" TAIL, "E0302");
    refused(HEAD "a: conv(4, 3x3, groups = 0)" TAIL, "E0303");
    refused(HEAD "a: conv(100000, 1x1) -> conv(100000, 1x1, groups = 100000)" TAIL, "E0801");
    refused(HEAD "a: conv(2, 3x3, connect = [[9223372036854775807], [0]])" TAIL, "E0303");
    refused(HEAD "a: conv(2, 3x3, connect = [[-1], [0]])" TAIL, "E0308");
    refused(HEAD "a: conv(1e308 * 10, 3x3)" TAIL, "E0303");
    refused(HEAD "a: conv(4, 3x3, init = fill(1e300))" TAIL, "E0303");
    refused(HEAD "a: lrn(4)" TAIL, "E0303");
    refused("net N { }", "E0121");
    refused("", "E0120");
    refused("block b() { relu }", "E0120");
}

/* Large and right: a stack of 20,000 rectifiers, 5,000 labels, 255 branches. */
static void large_and_right(void) {
    Arena *a = arena_new();
    static const struct {
        int n;
        const char *format, *before, *after;
    } at[] = {
        {20000, "relu\n", HEAD, TAIL},
        {5000, "l@: relu\n", HEAD, TAIL},
        {254, "x, ", HEAD "a: concat(", "x)" TAIL},
        {100, "const c@ = c$\n", "", "const c100 = 2\n" HEAD "a: conv(c0, 1x1)" TAIL},
    };
    for (int i = 0; i < 4; i++) {
        Run r = text(grow(a, at[i].n, at[i].format, at[i].before, at[i].after), (ModelOptions){0});
        if (!r.m)
            diag_render(r.diag, stdout, DIAG_TEXT, false);
        CU_ASSERT_PTR_NOT_NULL(r.m);
        done(&r);
    }
#if !defined(__SANITIZE_ADDRESS__) /* whose shadow memory and quarantine are counted too */
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    CU_ASSERT_TRUE(use.ru_maxrss < 512 * 1024);
#endif
    arena_free(a);
}

/* One mistake, one message: what stands behind a refused layer is silent. */
static void poison(void) {
    Run r = text(HEAD "a: cnov(4, 3x3)\n b: conv(4, 3x3) -> relu\n c: add(a, b)\n"
                      "d: [a, b] -> concat -> maxpool(2x2)" TAIL,
                 (ModelOptions){0});
    CU_ASSERT_EQUAL(diag_errors(r.diag), 1);
    CU_ASSERT_EQUAL(diag_warnings(r.diag), 0);
    CU_ASSERT_STRING_EQUAL(first_code(&r), "E0104");
    done(&r);
    r = text(HEAD "a: cnov(4, 3x3)\n b: x -> conv(4, 33x33)\n c: x -> conv(4, 3x3, foo = 1)" TAIL,
             (ModelOptions){0});
    CU_ASSERT_EQUAL(diag_errors(r.diag), 3);
    done(&r);
}

static void names_of_models(void) {
    Run r = spec("zfnet.net", (ModelOptions){.variant = "no7", .forward_only = true});
    CU_ASSERT_STRING_EQUAL(r.m->name, "ZF.no7");
    CU_ASSERT_EQUAL(r.m->nvariants, 9);
    CU_ASSERT_STRING_EQUAL(r.m->variants[1], "Table3.no34");
    char hash[33];
    strcpy(hash, r.m->hash);
    done(&r);
    r = spec("zfnet.net", (ModelOptions){.net = "Table3.no34", .forward_only = true});
    CU_ASSERT_STRING_EQUAL(r.m->name, "ZF.no34");
    CU_ASSERT_STRING_NOT_EQUAL(r.m->hash, hash);
    done(&r);
}

SUITE_MAIN(TEST(lenet5_table), TEST(lenet5_bitmaps), TEST(lenet_counts), TEST(zfnet_table),
           TEST(zfnet_variants), TEST(vgg_table), TEST(vgg_fields), TEST(resnet18), TEST(alexnet),
           TEST(masked_groups), TEST(inception), TEST(flow_and_labels), TEST(residual), TEST(edits),
           TEST(freezing), TEST(sharing), TEST(reads), TEST(modes), TEST(through_passes), TEST(settings), TEST(optimizers),
           TEST(hostile_growth), TEST(hostile_sizes), TEST(large_and_right), TEST(poison),
           TEST(names_of_models))
