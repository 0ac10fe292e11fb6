/* test_band.c: convolutions that make their source themselves, band by band (Kernel.source).
 *
 * Each case of the table is planned twice, with and without the pass band, for three vector widths
 * and batches of 1, 2 and 5.  Both are held against the double-precision loops (compiled.h says
 * what is checked), then their results against each other, bit by bit.  A second table: what must
 * not be fused.  At the end VGG's slab, for which all this is.
 * ctest-labels: kernels
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "front/model.h"
#include "front/parse.h"
#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "targets.h"

enum { NOTHING, RELU, SIGMOID, RELU_SCALE }; /* chain behind the source's convolution */
enum {
    POOL = 1,   /* behind the second convolution */
    KEEP = 2,   /* the source is kept */
    TWICE = 4,  /* somebody else reads the source */
    DIRECT = 8, /* the second convolution goes the direct way */
    LOOK = 16,  /* not the forward program */
    NO_BIAS = 32,
};

typedef struct Case {
    int64_t c, h, w;
    int64_t o, kernel, stride, pad, dilation; /* makes the source */
    int64_t maps, window, around;             /* reads it */
    int chain, flags;
} Case;

static const Case fused[] = {
    {3, 24, 24, 32, 3, 1, 1, 1, 32, 3, 1, RELU, 0},
    {3, 24, 24, 64, 3, 1, 1, 1, 64, 3, 1, RELU, POOL},
    {3, 37, 41, 64, 3, 1, 1, 1, 64, 3, 1, RELU, POOL},
    {1, 33, 15, 17, 3, 1, 1, 1, 16, 3, 1, SIGMOID, 0}, /* lanes without a channel */
    {2, 18, 29, 40, 5, 1, 2, 1, 33, 3, 1, RELU_SCALE, 0},
    {4, 27, 26, 24, 3, 1, 0, 1, 48, 3, 0, RELU, POOL},
    {3, 45, 39, 48, 7, 2, 3, 1, 32, 3, 1, RELU, 0},
    {3, 31, 30, 32, 3, 1, 1, 1, 32, 5, 2, RELU, 0},
    {3, 26, 35, 35, 3, 1, 1, 1, 19, 5, 1, NOTHING, NO_BIAS},
    {3, 25, 25, 64, 3, 1, 2, 2, 130, 3, 2, SIGMOID, POOL},
    {3, 7, 6, 16, 3, 1, 1, 1, 16, 3, 1, RELU, 0},
    {3, 70, 66, 16, 1, 1, 0, 1, 16, 3, 1, RELU, 0},
};
enum { NCASES = sizeof fused / sizeof *fused };

static const Case refused[] = {
    {3, 24, 24, 32, 3, 1, 1, 1, 32, 3, 1, RELU, KEEP},
    {3, 24, 24, 32, 3, 1, 1, 1, 32, 3, 1, RELU, TWICE},
    {3, 24, 24, 32, 3, 1, 1, 1, 32, 3, 1, RELU, DIRECT},
    {3, 24, 24, 32, 3, 1, 1, 1, 32, 3, 1, RELU, LOOK},
    {5, 24, 24, 32, 3, 1, 1, 1, 32, 3, 1, RELU, 0},
};
enum { NREFUSED = sizeof refused / sizeof *refused };

typedef struct Rig {
    Graph *g;
    ParamList params;
    ValueId source, result;
} Rig;

static ValueId add_conv(Arena *keep, Graph *g, ValueId src, const ConvAttrs *a, const char *name) {
    Shape w = {4, {a->maps, graph_v(g, src)->shape.dim[0], a->kernel[0], a->kernel[1]}};
    ValueId in[3] = {src, ref_param(g, arena_printf(keep, "%s.weight", name), w), 0};
    if (a->bias)
        in[2] = ref_param(g, arena_printf(keep, "%s.bias", name), (Shape){1, {a->maps}});
    ValueId v = graph_op(g, OP_CONV2D, a, a->bias ? 3 : 2, in);
    graph_n(g, graph_v(g, v)->def)->label = name;
    return v;
}

static ConvAttrs conv_of(int64_t maps, int64_t kernel, int64_t stride, int64_t pad) {
    return (ConvAttrs){.maps = maps,
                       .kernel = {kernel, kernel},
                       .stride = {stride, stride},
                       .pad = {pad, pad, pad, pad},
                       .dilation = {1, 1},
                       .groups = 1,
                       .bias = true};
}

static void build(Rig *r, Arena *keep, const Case *c) {
    Graph *g = r->g = graph_new(keep, c->flags & LOOK ? "look" : "forward", "case", &r->params);
    ValueId in = graph_input(g, VK_INPUT, DT_F32, (Shape){3, {c->c, c->h, c->w}}, true, 0, NULL);
    ValueId v = graph_op(g, OP_LOAD_INPUT, NULL, 1, &in);
    ConvAttrs a = conv_of(c->o, c->kernel, c->stride, c->pad);
    a.dilation[0] = a.dilation[1] = c->dilation;
    a.bias = !(c->flags & NO_BIAS);
    v = add_conv(keep, g, v, &a, "c1");
    if (c->chain == SIGMOID)
        v = graph_op(g, OP_SIGMOID, NULL, 1, &v);
    else if (c->chain != NOTHING)
        v = graph_op(g, OP_RELU, NULL, 1, &v);
    if (c->chain == RELU_SCALE)
        v = graph_op(g, OP_SIGMOID, NULL, 1, &v);
    r->source = v;
    graph_v(g, v)->keep = c->flags & KEEP;
    ConvAttrs b = conv_of(c->maps, c->window, 1, c->around);
    b.algorithm = c->flags & DIRECT ? CONV_DIRECT : CONV_WINOGRAD;
    v = add_conv(keep, g, v, &b, "c2");
    v = graph_op(g, OP_RELU, NULL, 1, &v);
    if (c->flags & POOL) {
        PoolAttrs p = {.kernel = {2, 2}, .stride = {2, 2}};
        NodeId pool = graph_node(g, OP_MAXPOOL, &p, 1, &v);
        graph_n(g, pool)->out[1] = 0;
        v = graph_n(g, pool)->out[0];
    }
    r->result = v;
    graph_v(g, v)->keep = true;
    if (c->flags & TWICE) {
        ConvAttrs d = conv_of(4, 1, 1, 0);
        graph_v(g, add_conv(keep, g, r->source, &d, "c3"))->keep = true;
    }
}

static void plan(Rig *r, const Target *t, bool band) {
    /* Without the way for few maps ("pixels"); Winograd is asked for by attribute. */
    static const PlanOptions direct = {.force = "direct"}, always = {.force = "band"};
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true, .options = &always};
    static const char *const pass[] = {"fuse", "layout", "schedule", "lanes", "band", "memplan"};
    graph_toposort(r->g);
    for (int i = 0; i < 6; i++) {
        ctx.options = i < 2 ? &direct : &always;
        if (band || i != 4)
            CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    }
    params_place(r->g->params);
    arena_free(ctx.tmp);
}

static const Kernel *band_kernel(const Rig *r) {
    for (int i = 0; i < r->g->nkernels; i++)
        if (r->g->kernels[i].nsource)
            return &r->g->kernels[i];
    return NULL;
}

/* The text of the graph gives the same graph again. */
static void check_text(Arena *keep, const Graph *g) {
    char *text[2] = {NULL, NULL}, why[256];
    size_t size;
    const char *error = NULL;
    const Graph *at = g;
    for (int i = 0; i < 2; i++) {
        FILE *f = open_memstream(&text[i], &size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        graph_print(at, f);
        fclose(f);
        if (i == 0)
            at = graph_parse(keep, text[0], &error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    }
    CU_ASSERT_STRING_EQUAL(text[0], text[1]);
    CU_ASSERT_TRUE(graph_verify(at, "parsing", why, sizeof why));
    free(text[0]);
    free(text[1]);
}

static void check_plan(Arena *keep, const Rig r[2]) {
    const Kernel *k = band_kernel(&r[0]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    CU_ASSERT_PTR_NULL(band_kernel(&r[1]));
    CU_ASSERT_FALSE(graph_v(r[0].g, r[0].source)->stored);
    CU_ASSERT_TRUE(graph_v(r[1].g, r[1].source)->stored);
    CU_ASSERT_EQUAL(r[0].g->nkernels, r[1].g->nkernels - 1);
    CU_ASSERT_EQUAL(r[0].g->entry[0].count, r[0].g->nkernels);
    CU_ASSERT_TRUE(r[0].g->act_bytes < r[1].g->act_bytes);
    CU_ASSERT_TRUE(k->scratch <= r[0].g->scratch_bytes);
    CU_ASSERT_PTR_NOT_NULL(strstr(k->why, "makes its source"));
    check_text(keep, r[0].g);
}

/* ---- numbers ---- */

static double *numbers(Arena *keep, int64_t n, double scale, uint32_t seed) {
    double *at = ARENA_ARRAY(keep, n, double);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525U + 1013904223U;
        at[i] = (double)(float)(scale * ((double)(seed >> 8) / (1 << 23) - 1));
    }
    return at;
}

static void check_equal(const Rig r[2], const Compiled made[2], const RefRun *data,
                        const char *what) {
    const Shape *s = &graph_v(r[0].g, r[0].result)->shape;
    int64_t n = shape_elems(s) * data->n;
    double *at[2];
    for (int i = 0; i < 2; i++) {
        RefRun one = *data;
        one.g = r[i].g;
        Slabs slabs = slabs_new(r[i].g, &one, data->n);
        at[i] = calloc((size_t)n, sizeof(double));
        slabs_entry(&slabs, &made[i], "forward");
        CU_ASSERT_EQUAL(slabs_read(&slabs, r[i].result, at[i]), 0);
        slabs_free(&slabs);
    }
    bool same = memcmp(at[0], at[1], (size_t)n * sizeof(double)) == 0, any = false;
    for (int64_t i = 0; i < n; i++)
        any |= at[0][i] > 0;
    if (!same)
        printf("  %s: other bits when fused\n", what);
    CU_ASSERT_TRUE(same && any);
    free(at[0]);
    free(at[1]);
}

static void run_case(const Rig rig[2], const Compiled made[2], const Case *c, int64_t n,
                     const char *what) {
    Arena *keep = arena_new();
    double *param[4];
    for (int p = 0; p < rig[0].params.count; p++)
        param[p] = numbers(keep, shape_elems(&rig[0].params.at[p].shape), 0.5, 7 + (uint32_t)p);
    RefRun r = {.n = n, .input = {numbers(keep, n * c->c * c->h * c->w, 1, 3)}, .param = param};
    for (int i = 0; i < 2; i++) {
        r.g = rig[i].g;
        Check check = {.data = &r, .local = 1, .what = what};
        CU_ASSERT_EQUAL(compiled_check(&made[i], &check), 0);
    }
    check_equal(rig, made, &r, what);
    arena_free(keep);
}

static void run_target(const char *name) {
    static const int64_t batch[] = {1, 2, 5};
    static Rig rig[NCASES][2];
    Compiled made[2 * NCASES];
    Arena *keep = arena_new();
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    Emit *e = compiled_begin(keep, &t);
    memset(rig, 0, sizeof rig);
    for (int i = 0; i < NCASES; i++) {
        for (int plain = 0; plain < 2; plain++) {
            build(&rig[i][plain], keep, &fused[i]);
            plan(&rig[i][plain], &t, !plain);
            made[2 * i + plain] =
                compiled_add(e, rig[i][plain].g, arena_printf(keep, "case%d_%d", i, plain));
        }
        check_plan(keep, rig[i]);
    }
    bool good = compiled_link(e, made, 2 * NCASES, 2);
    CU_ASSERT_TRUE(good);
    for (int i = 0; i < NCASES && good; i++)
        for (int k = 0; k < 3; k++) {
            char what[80];
            snprintf(what, sizeof what, "case %d on %s, %d images", i, t.name, (int)batch[k]);
            run_case(rig[i], &made[2 * i], &fused[i], batch[k], what);
        }
    emit_free(e);
    arena_free(keep);
}

ON_TARGETS(run_target)

static void not_fused(void) {
    Arena *keep = arena_new();
    char why[256];
    Target t;
    CU_ASSERT_TRUE_FATAL(target_find(keep, "x86-64-v4", &t, why, sizeof why));
    for (int i = 0; i < NREFUSED; i++) {
        Rig r = {0};
        build(&r, keep, &refused[i]);
        plan(&r, &t, true);
        CU_ASSERT_PTR_NULL(band_kernel(&r));
    }
    arena_free(keep);
}

/* Without its first layer's value VGG-16 needs 10 MB of slab per image instead of 16.4. */
static void vgg(void) {
    static const char *const cpu[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
    const char *root = getenv("NETC_SOURCE_DIR");
    char why[256];
    for (int i = 0; i < 3; i++) {
        Arena *a = arena_new();
        Sources *s = sources_new(a);
        DiagCtx *d = diag_ctx_new(a, s);
        Target t;
        const char *path = arena_printf(a, "%s/specs/vgg.net", root ? root : "../..");
        Ast *ast = parse_file(a, s, d, path, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(ast);
        Model *m = model_build(a, d, ast, &(ModelOptions){.sources = s});
        CU_ASSERT_PTR_NOT_NULL_FATAL(m);
        CU_ASSERT_TRUE_FATAL(target_find(a, cpu[i], &t, why, sizeof why));
        for (int mode = 0; mode < MODEL_MODES; mode++) {
            if (!m->mode[mode].graph) /* second derivatives */
                continue;
            PassCtx ctx = {
                .tmp = arena_new(), .target = &t, .options = &(PlanOptions){0}, .verify = true};
            model_pass_ctx(m, mode, &ctx);
            CU_ASSERT_TRUE(passes_run(m->mode[mode].graph, &ctx));
            Rig r = {.g = m->mode[mode].graph};
            CU_ASSERT_EQUAL(band_kernel(&r) != NULL, mode == MODEL_FORWARD);
            if (mode == MODEL_FORWARD)
                CU_ASSERT_TRUE(r.g->act_bytes < 10000000);
            arena_free(ctx.tmp);
        }
        arena_free(a);
    }
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse), TEST(not_fused), TEST(vgg))
