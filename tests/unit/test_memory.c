/* test_memory.c: slabs near their lower bound in every program of every spec; training that makes
 * results again computes the same numbers in less memory, and says so when it cannot.
 */
#include <math.h>
#include <stdlib.h>

#include "emit/target.h"
#include "front/model.h"
#include "front/parse.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "ref_run.h"
#include "suite.h"

typedef struct Plan {
    Arena *arena;
    Model *m;
    Target target;
    PlanOptions options;
    PassCtx ctx;
} Plan;

static const char *spec_path(Arena *a, const char *name) {
    const char *root = getenv("NETC_SOURCE_DIR");
    return arena_printf(a, "%s/specs/%s", root ? root : "../..", name);
}

/* file: a spec's name, or the text of a net (if it has a line end). */
static Plan plan_open(const char *file, const char *net, const char *cpu) {
    Plan p = {.arena = arena_new()};
    char why[256];
    Sources *s = sources_new(p.arena);
    DiagCtx *d = diag_ctx_new(p.arena, s);
    Ast *ast = strchr(file, '\n') ? parse_text(p.arena, s, d, "t.net", file, strlen(file), NULL)
                                  : parse_file(p.arena, s, d, spec_path(p.arena, file), NULL);
    ModelOptions o = {.sources = s, .net = net};
    p.m = ast ? model_build(p.arena, d, ast, &o) : NULL;
    if (!p.m)
        diag_render(d, stderr, DIAG_TEXT, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p.m);
    CU_ASSERT_TRUE_FATAL(target_find(p.arena, cpu, &p.target, why, sizeof why));
    return p;
}

static const Graph *plan_mode(Plan *p, int mode, int64_t memory) {
    int64_t batch = p->m->train.batch;
    p->options = (PlanOptions){.memory = memory, .batch = mode == MODEL_TRAIN ? (int)batch : 1};
    p->ctx =
        (PassCtx){.tmp = arena_new(), .target = &p->target, .options = &p->options, .verify = true};
    model_pass_ctx(p->m, mode, &p->ctx);
    CU_ASSERT_TRUE(passes_run(p->m->mode[mode].graph, &p->ctx));
    arena_free(p->ctx.tmp);
    return p->m->mode[mode].graph;
}

static void plan_close(Plan *p) {
    arena_free(p->arena);
}

/* ---- slabs ---- */

static bool near(int64_t bytes, int64_t least) {
    return bytes >= least && (double)bytes <= 1.05 * (double)least;
}

static void check_slabs(const char *file, const char *net, const char *cpu) {
    Plan p = plan_open(file, net, cpu);
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        if (!p.m->mode[mode].graph) /* second derivatives: only where the optimizer asks for them */
            continue;
        const Graph *g = plan_mode(&p, mode, 0);
        if (!near(g->act_bytes, g->act_lower_bound) || !near(g->fix_bytes, g->fix_lower_bound))
            printf("%s %s %s: slabs %lld of %lld, %lld of %lld\n", file, net ? net : "", g->name,
                   (long long)g->act_bytes, (long long)g->act_lower_bound, (long long)g->fix_bytes,
                   (long long)g->fix_lower_bound);
        CU_ASSERT(near(g->act_bytes, g->act_lower_bound));
        CU_ASSERT(near(g->fix_bytes, g->fix_lower_bound));
    }
    plan_close(&p);
}

static void slabs_near_bound(void) {
    static const char *const file[] = {"alexnet.net", "lenet.net", "lenet5.net", "vgg.net",
                                       "zfnet.net"};
    for (size_t f = 0; f < sizeof file / sizeof *file; f++) {
        Arena *a = arena_new();
        Sources *s = sources_new(a);
        DiagCtx *d = diag_ctx_new(a, s);
        const char **names;
        int n = model_names(a, parse_file(a, s, d, spec_path(a, file[f]), NULL), &names);
        CU_ASSERT(n > 0);
        for (int i = 0; i < n; i++)
            check_slabs(file[f], names[i], i % 2 ? "x86-64-v4" : "x86-64-v3");
        arena_free(a);
    }
}

/* What a step of VGG-16 keeps: no gradient of weights, one transposed layer at a time, and no
 * unpooled layer in front of a pool. */
static void vgg_is_small(void) {
    Plan p = plan_open("vgg.net", "Table1.D", "x86-64-v4");
    const Graph *g = plan_mode(&p, MODEL_TRAIN, 0);
    CU_ASSERT(g->act_bytes < 45000000);
    CU_ASSERT(g->fix_bytes < 20000000);
    plan_close(&p);
}

/* Scratch memory of two threads finds its place in the slab where nothing lives, but for one kernel
 * whose tensors fill it; over a living tensor the verifier does not let it. */
static void scratch_in_slab(void) {
    enum { THREADS = 2 };
    Plan p = plan_open("vgg.net", "Table1.D", "x86-64-v4");
    Graph *g = (Graph *)plan_mode(&p, MODEL_FORWARD, 0);
    char why[256];
    int64_t most = g->act_bytes;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        int64_t need = THREADS * ((k->scratch + 4095) / 4096 * 4096);
        int64_t end = need <= k->gap_bytes ? k->gap + need : k->top + need;
        most = need && end > most ? end : most;
    }
    CU_ASSERT(most < 19500000);
    CU_ASSERT_TRUE(graph_verify(g, "memplan", why, sizeof why));
    for (int i = 0; i < g->nkernels; i++) {
        Kernel *k = &g->kernels[i], kept = *k;
        if (!k->scratch)
            continue;
        k->top -= 64;
        CU_ASSERT_FALSE(graph_verify(g, "memplan", why, sizeof why));
        *k = kept;
        k->gap_bytes += k->gap + k->gap_bytes < g->act_bytes ? 64 : 0;
        k->gap -= k->gap_bytes == kept.gap_bytes && k->gap > 0 ? 64 : 0;
        if (k->gap != kept.gap || k->gap_bytes != kept.gap_bytes)
            CU_ASSERT_FALSE(graph_verify(g, "memplan", why, sizeof why));
        *k = kept;
    }
    plan_close(&p);
}

/* ---- making results again ---- */

static const char *const ends = "  f7: dense(10)\n"
                                "  output prob = softmax(f7)\n"
                                "  loss ce: cross_entropy(f7, t)\n"
                                "  train { optimizer = sgd(lr = 0.1, momentum = 0.9); batch = 3 }\n"
                                "}\n";
static const char *const bodies[] = {
    /* a chain */
    "  repeat i in 1..5 { a[i]: conv(6, 3x3, pad = 1) -> relu }\n"
    "  p: maxpool(2x2)\n"
    "  repeat i in 1..4 { b[i]: conv(7, 3x3, pad = 1) -> tanh }\n"
    "  f6: dense(9) -> relu -> dropout(50%)\n",
    /* branches, normalisations, pools that overlap, groups */
    "  c1: conv(8, 3x3, pad = 1) -> relu -> lrn(3, k = 2, alpha = 1e-4, beta = 0.75)\n"
    "  p1: maxpool(3x3, stride = 2, round = ceil)\n"
    "  c2: conv(16, 3x3, pad = 1, groups = 2) -> relu -> lcn(3)\n"
    "  c3: conv(16, 3x3, pad = 1) -> sigmoid -> dropout(25%)\n"
    "  a3: add(c2, c3) -> relu\n"
    "  m4: [ a3 -> avgpool(2x2), a3 -> subsample(2x2) -> stanh ] -> concat\n"
    "  c5: m4 -> conv(12, 3x3, pad = 1) -> relu\n"};

enum { SIDE = 12, BATCH = 3 };

static double noise(uint32_t *s) {
    *s = *s * 1664525u + 1013904223u;
    return (double)(*s >> 8) / (1 << 24) - 0.5;
}

/* One step of the planned graph, in double. */
static RefRun step(const Graph *g, double **param) {
    static double image[BATCH * SIDE * SIDE];
    static const int32_t label[BATCH] = {3, 0, 9};
    uint32_t s = 5;
    for (int i = 0; i < BATCH * SIDE * SIDE; i++)
        image[i] = noise(&s);
    RefRun r = {.g = g,
                .n = BATCH,
                .input = {image},
                .label = {label},
                .param = param,
                .lr = 0.1,
                .momentum = 0.9,
                .seed = 11,
                .step = 4};
    CU_ASSERT_TRUE_FATAL(ref_run(&r));
    return r;
}

static void same_numbers(const ParamList *params, const RefRun *a, const RefRun *b) {
    int updated = 0;
    for (int i = 0; i < params->count; i++) {
        size_t n = (size_t)shape_elems(&params->at[i].shape) * sizeof(double);
        CU_ASSERT_EQUAL(!a->new_param[i], !b->new_param[i]);
        if (!a->new_param[i] || !b->new_param[i])
            continue;
        updated++;
        CU_ASSERT_EQUAL(memcmp(a->new_param[i], b->new_param[i], n), 0);
        CU_ASSERT_EQUAL(memcmp(a->new_state[i], b->new_state[i], n), 0);
    }
    CU_ASSERT(updated > 2);
}

static double **some_params(const ParamList *params) {
    double **at = ref_params_new(params);
    uint32_t s = 1;
    for (int i = 0; i < params->count; i++)
        for (int64_t k = 0; !params->at[i].constant && k < shape_elems(&params->at[i].shape); k++)
            at[i][k] = 0.5 * noise(&s);
    return at;
}

static void again_in(const char *source, int64_t memory, const RefRun *want, double **param) {
    Plan p = plan_open(source, NULL, "x86-64-v3");
    const Graph *g = plan_mode(&p, MODEL_TRAIN, memory);
    CU_ASSERT_FALSE(p.ctx.memory.failed);
    CU_ASSERT(p.ctx.memory.after > 0 && p.ctx.memory.after <= memory);
    CU_ASSERT_EQUAL(plan_total_bytes(g, &p.target), p.ctx.memory.after);
    int again = 0;
    for (int k = 0; k < g->nkernels; k++) {
        const Kernel *twin = kernel_twin(g, &g->kernels[k]);
        again += twin != NULL;
        if (twin)
            CU_ASSERT_STRING_EQUAL(twin->algorithm, g->kernels[k].algorithm);
    }
    CU_ASSERT(again > 0);
    RefRun r = step(g, param);
    same_numbers(g->params, want, &r);
    ref_run_free(&r);
    plan_close(&p);
}

static void same_numbers_in_less(void) {
    for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
        Arena *a = arena_new();
        const char *source =
            arena_printf(a, "net N {\n  input image: f32[1, %d, %d]\n  input t: class[10]\n%s%s",
                         SIDE, SIDE, bodies[b], ends);
        Plan p = plan_open(source, NULL, "x86-64-v3");
        const Graph *g = plan_mode(&p, MODEL_TRAIN, 0);
        int64_t whole = plan_total_bytes(g, &p.target);
        double **param = some_params(g->params);
        RefRun want = step(g, param);
        Plan tight = plan_open(source, NULL, "x86-64-v3");
        plan_mode(&tight, MODEL_TRAIN, 1);
        CU_ASSERT_TRUE(tight.ctx.memory.failed);
        CU_ASSERT_EQUAL(tight.ctx.memory.before, whole);
        int64_t least = tight.ctx.memory.least;
        CU_ASSERT(least > 0 && least < whole);
        plan_close(&tight);
        again_in(source, whole - 64, &want, param);
        again_in(source, (whole + least) / 2, &want, param);
        again_in(source, least, &want, param);
        ref_run_free(&want);
        ref_params_free(param, g->params->count);
        plan_close(&p);
        arena_free(a);
    }
}

/* A limit that is met anyway changes nothing. */
static void roomy(void) {
    Plan p = plan_open("lenet.net", NULL, "x86-64-v3");
    const Graph *g = plan_mode(&p, MODEL_TRAIN, (int64_t)1 << 30);
    CU_ASSERT_FALSE(p.ctx.memory.failed);
    CU_ASSERT_EQUAL(p.ctx.memory.after, 0);
    CU_ASSERT_EQUAL(p.ctx.memory.before, plan_total_bytes(g, &p.target));
    for (int k = 0; k < g->nkernels; k++)
        CU_ASSERT_PTR_NULL(kernel_twin(g, &g->kernels[k]));
    plan_close(&p);
}

SUITE_MAIN(TEST(slabs_near_bound), TEST(vgg_is_small), TEST(scratch_in_slab),
           TEST(same_numbers_in_less), TEST(roomy))
