/* test_random_specs.c: random `.net` texts through the whole compiler, under every way of computing.
 *
 * Each spec is compiled for inference and training under one choice of algorithm (the cost model's,
 * direct sums, Winograd, lanes), fused or not, for one of three vector widths; the combinations take
 * turns.  NETC_TEST_ALL=1 takes every spec through every combination; a combination whose module is,
 * letter by letter, that of one before it is not judged twice.  Kernels are judged one by one
 * against the double-precision loops (compiled.h); a whole network in lanes by what it leaves
 * behind: scores, losses, updated parameters.
 * Stated bounds, of the largest number of a tensor: see BOUND_*.
 * ctest-labels: slow pair
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiled.h"
#include "front/parse.h"
#include "random_net.h"
#include "random_spec.h"
#include "ref_cases.h"
#include "suite.h"

enum { SPECS = 1000 };
static const char *const forces[] = {NULL, "direct", "winograd", "lanes"};
static const char *const targets[] = {"native", "x86-64-v3", "x86-64-v2"};
enum { FORCES = 4, TARGETS = 3, CHOICES = FORCES * TARGETS * 2 };

#define BOUND_FORWARD 1e-4  /* a whole network, float against double */
#define BOUND_BACKWARD 1e-3 /* parameters' change in one step, where no rectifier is near zero */

typedef struct Tally {
    int64_t bad, checked, winograd, lanes, kinky, judged, same, finished;
} Tally;

typedef struct Seen { /* the modules of one spec, as hashes of their texts */
    uint64_t module[CHOICES];
    int n;
} Seen;

typedef struct Way { /* one combination */
    const char *force, *target;
    bool fused;
} Way;

static Way way_of(uint32_t choice) {
    return (Way){forces[choice % FORCES], targets[choice / FORCES % TARGETS],
                 choice / (FORCES * TARGETS) % 2 == 0};
}

typedef struct Job {
    Arena *keep, *tmp;
    Target target;
    PlanOptions options;
    Model *model;
    PassCtx ctx[MODEL_MODES];
    Compiled compiled[MODEL_MODES];
    const char *what;
    Tally *tally;
} Job;

static Model *parse(Job *j, const char *text) {
    Sources *s = sources_new(j->keep);
    DiagCtx *d = diag_ctx_new(j->keep, s);
    Ast *file = parse_text(j->keep, s, d, "random.net", text, strlen(text), NULL);
    ModelOptions options = {.sources = s};
    Model *m = file ? model_build(j->keep, d, file, &options) : NULL;
    if (!m)
        diag_render(d, stdout, DIAG_TEXT, false);
    return m;
}

static bool plan(Job *j, bool fused) {
    for (int mode = MODEL_FORWARD; mode <= MODEL_TRAIN; mode++) {
        PassCtx *ctx = &j->ctx[mode];
        model_pass_ctx(j->model, mode, ctx);
        ctx->tmp = j->tmp;
        ctx->target = &j->target;
        ctx->options = &j->options;
        ctx->verify = true;
        ctx->no_fuse = !fused;
        if (!passes_run(j->model->mode[mode].graph, ctx))
            return false;
    }
    params_place(&j->model->params);
    return true;
}

/* The module that `netc build` makes, equal kernels sharing code; without the projections. */
static Emit *module_of(Job *j) {
    CodegenInput in = {.model = j->model, .ctx = j->ctx, .target = &j->target,
                       .symbol = "netc_model", .cpu_needs = "", .parts = 1};
    j->model->mode[MODEL_LOOK].graph = NULL;
    return codegen_module(j->keep, &in);
}

static bool compile(Job *j, Emit *e) {
    for (int mode = MODEL_FORWARD; mode <= MODEL_TRAIN; mode++) {
        Graph *g = j->model->mode[mode].graph;
        j->compiled[mode] = (Compiled){.g = g, .prefix = g->name};
    }
    return compiled_link(e, j->compiled, 2, 1);
}

static void count_algorithms(const Graph *g, Tally *t) {
    for (int k = 0; k < g->nkernels; k++) {
        t->winograd += g->kernels[k].winograd > 0;
        t->lanes += strncmp(g->kernels[k].algorithm, "lanes", 5) == 0;
    }
    t->checked += g->nkernels;
}

static int judge(Job *j, int mode, const RandomData *d, int64_t n, uint32_t seed) {
    Graph *g = j->model->mode[mode].graph;
    RefRun r = {.g = g, .n = n, .input = {d->image}, .label = {d->label}, .param = d->param,
                .state = d->state, .lr = 0.125, .momentum = 0.875, .decay = 0.0009765625,
                .seed = 0x9e3779b97f4a7c15u * (seed + 1), .step = 7};
    double **seeds = arena_array(j->keep, g->nvalue, sizeof *seeds);
    Check check = {.data = &r, .seed_at = seeds, .local = 1, .global = true,
                   .forward = BOUND_FORWARD, .backward = BOUND_BACKWARD, .what = j->what};
    int failures = compiled_check(&j->compiled[mode], &check);
    count_algorithms(g, j->tally);
    j->tally->kinky += mode == MODEL_TRAIN && check.kinky;
    j->tally->judged += mode == MODEL_TRAIN;
    ref_run_free(&r);
    return failures;
}

/* Has this module been judged in another way?  The text names the target and places every tensor. */
static bool seen_before(Emit *e, Seen *seen) {
    char path[] = "/tmp/netc-random-XXXXXX", why[256];
    int fd = mkstemp(path);
    bool good = fd >= 0 && emit_ll(e, path, why, sizeof why), found = false;
    FILE *f = good ? fopen(path, "rb") : NULL;
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (int c; f && (c = getc_unlocked(f)) != EOF;)
        hash = (hash ^ (uint64_t)c) * 0x100000001b3u;
    for (int i = 0; i < seen->n && f; i++)
        found |= seen->module[i] == hash;
    if (f)
        fclose(f), seen->module[seen->n++] = hash;
    if (fd >= 0)
        close(fd), unlink(path);
    return found;
}

/* One spec in one way; the number of failures. */
static int run_spec(uint32_t seed, Way way, Seen *seen, Tally *tally) {
    static const int64_t batch[] = {1, 2, 3, 5, 17};
    Job j = {.keep = arena_new(), .tmp = arena_new(), .tally = tally};
    if (!compiled_target(j.keep, way.target, &j.target))
        compiled_target(j.keep, "native", &j.target);
    j.options.force = way.force;
    j.what = arena_printf(j.keep, "spec %u, %s, %s, %s", seed, way.force ? way.force : "auto",
                          way.fused ? "fused" : "not fused", j.target.name);
    const char *text = random_spec(j.keep, seed);
    if (getenv("NETC_TEST_TRACE"))
        printf("%s\n%s", j.what, text);
    j.model = parse(&j, text);
    Emit *e = j.model && plan(&j, way.fused) ? module_of(&j) : NULL;
    bool same = e && seen && seen_before(e, seen);
    int failures = !e || (!same && !compile(&j, e));
    tally->same += same;
    if (!failures && !same) {
        int64_t n = batch[seed % 5];
        RandomNet net = {.g = j.model->mode[MODEL_FORWARD].graph,
                         .image = j.model->input[0].shape,
                         .classes = j.model->classes};
        RandomData d = random_data(j.keep, &net, &j.model->params, n, seed + 1000);
        for (int mode = MODEL_FORWARD; mode <= MODEL_TRAIN; mode++)
            failures += judge(&j, mode, &d, n, seed);
    }
    if (e)
        emit_free(e);
    if (failures)
        printf("  %s failed:\n%s", j.what, text);
    arena_free(j.keep);
    arena_free(j.tmp);
    return failures;
}

/* ---- workers: specs are dealt to processes, because compiling is what takes the time ---- */

static Tally run_specs(uint32_t first, uint32_t last, uint32_t step) {
    Tally t = {0};
    bool all = getenv("NETC_TEST_ALL") != NULL;
    for (uint32_t seed = first; seed < last; seed += step) {
        Seen seen = {.n = 0};
        for (uint32_t c = 0; c < (all ? CHOICES : 1); c++)
            t.bad += run_spec(seed, way_of(all ? c : seed), all ? &seen : NULL, &t) != 0;
    }
    t.finished = 1;
    return t;
}

/* Starts a worker; its tally comes through the pipe returned. */
static int start(uint32_t first, uint32_t last, uint32_t step) {
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    fflush(stdout);
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        Tally t = run_specs(first, last, step);
        fflush(stdout);
        ssize_t wrote = write(ends[1], &t, sizeof t);
        _exit(wrote == (ssize_t)sizeof t ? 0 : 1);
    }
    close(ends[1]);
    return ends[0];
}

/* NETC_TEST_SEED=17 runs this spec alone, 17+5 the five specs from 17 on. */
static void random_specs(void) {
    enum { WORKERS_MAX = 8 };
    const char *from = getenv("NETC_TEST_SEED");
    const char *more = from ? strchr(from, '+') : NULL;
    uint32_t first = from ? (uint32_t)strtoul(from, NULL, 10) : 1;
    uint32_t specs = more ? (uint32_t)strtoul(more + 1, NULL, 10) : from ? 1 : SPECS;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t workers = cpus < 1 ? 1 : cpus > WORKERS_MAX ? WORKERS_MAX : (uint32_t)cpus;
    int from_worker[WORKERS_MAX];
    Tally sum = {0};
    for (uint32_t w = 0; w < workers; w++)
        from_worker[w] = start(first + w, first + specs, workers);
    for (uint32_t w = 0; w < workers; w++) {
        Tally t = {0};
        ssize_t got = read(from_worker[w], &t, sizeof t);
        close(from_worker[w]);
        CU_ASSERT_TRUE(got == (ssize_t)sizeof t && t.finished); /* else it crashed */
        sum.bad += t.bad, sum.checked += t.checked, sum.winograd += t.winograd;
        sum.lanes += t.lanes, sum.kinky += t.kinky, sum.judged += t.judged, sum.same += t.same;
    }
    while (wait(NULL) > 0)
        ;
    printf("  %u specs, %lld kernels (%lld Winograd, %lld in lanes), %lld runs bad, %lld the same "
           "code as one before; gradients of the whole left to the local check: %lld of %lld\n",
           specs, (long long)sum.checked, (long long)sum.winograd, (long long)sum.lanes,
           (long long)sum.bad, (long long)sum.same, (long long)sum.kinky,
           (long long)sum.judged);
    CU_ASSERT_EQUAL(sum.bad, 0);
    CU_ASSERT_TRUE(specs < 100 || (sum.winograd > 100 && sum.lanes > 100));
}

SUITE_MAIN(TEST(random_specs))
