/* test_random_nets.c: random networks, compiled, against the double-precision interpreter.
 *
 * Each seed makes one model: inference, training (losses, gradients, one step of SGD) and looking
 * (all projections under the three rules), with fused kernels and without, on the three vector
 * widths in turn.  compiled.h says what is checked after every kernel.  What the passes make of a
 * graph is also held against the graph as it was built, with gradients by the plainest reverse mode.
 * ctest-labels: slow pair
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compiled.h"
#include "random_net.h"
#include "ref_cases.h"
#include "suite.h"

enum { NETS = 100 };
static const char *const programs[] = {"forward", "train", "look"};
static const char *const targets[] = {"native", "x86-64-v3", "x86-64-v2"};

typedef struct TestModel {
    Arena *keep, *tmp;
    Target target;
    ParamList params;
    RandomNet net[3];
    Compiled compiled[3];
    Emit *e;
    int first, count; /* programs first .. count - 1 exist */
} TestModel;

static int64_t checked, kinky, judged;

/* Every third model may use Winograd's transforms, whose rounding errors are a few times larger. */
static const PlanOptions exact = {.exact = true};
static bool winograd(uint32_t seed) {
    return seed % 3 == 1;
}

static bool make(TestModel *m, uint32_t seed, bool fused, bool look) {
    m->first = fused && seed % 2 ? 0 : 1; /* inference shows little that training does not */
    m->count = look && fused ? 3 : 2;
    for (int p = m->first; p < m->count; p++) {
        RandomNet *net = &m->net[p];
        *net = random_net(m->keep, programs[p], &m->params, seed);
        net->ctx.tmp = m->tmp;
        net->ctx.target = &m->target;
        net->ctx.verify = true;
        net->ctx.no_fuse = !fused;
        net->ctx.options = winograd(seed) ? NULL : &exact;
        if (!passes_run(net->g, &net->ctx))
            return false;
    }
    params_place(&m->params);
    Emit *e = compiled_begin(m->keep, &m->target);
    for (int p = m->first; p < m->count; p++)
        m->compiled[p] = compiled_add(e, m->net[p].g, programs[p]);
    m->e = e;
    return compiled_link(e, m->compiled + m->first, m->count - m->first, 2);
}

/* ---- what the passes may not change ---- */

/* Numbers of the planned graph against those of the graph as it was built, both in double. */
static int same(const char *what, const char *name, const double *got, const double *want,
                int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-9 * most + 1e-14)) {
            printf("  %s: passes changed %s: [%lld] %g, was %g\n", what, name, (long long)i, got[i],
                   want[i]);
            return 1;
        }
    return 0;
}

/* Gradients by the plainest reverse mode; a parameter's is their sum. */
typedef struct Sums {
    ValueId part[16][8]; /* per parameter, per loss */
} Sums;

static void train_backward(const RandomNet *net, Sums *sums) {
    Graph *g = net->g;
    ValueId values = g->nvalue, diff[1024];
    for (int l = 0; l < net->ctx.nlosses; l++) {
        if (!ref_backward(g, net->ctx.losses[l], 0, RULE_TRAIN, diff, 1024))
            continue;
        for (ValueId v = 1; v < values; v++)
            if (graph_v(g, v)->kind == VK_PARAM && graph_v(g, v)->slot < 16)
                sums->part[graph_v(g, v)->slot][l] = diff[v];
    }
}

/* w and v after one step from the plain gradients, against those of the planned program. */
static int same_updates(const TestModel *m, const Sums *sums, const RefRun *plain,
                        const RefRun *planned, const char *what) {
    int bad = 0;
    for (int p = 0; p < m->params.count && p < 16; p++) {
        const Param *param = &m->params.at[p];
        int64_t n = shape_elems(&param->shape);
        double *want = arena_array(m->keep, n, sizeof *want);
        bool any = false;
        for (int l = 0; l < 8; l++)
            for (int64_t i = 0; sums->part[p][l] && i < n; i++) {
                want[i] += plain->value[sums->part[p][l]][i];
                any = true;
            }
        if (param->constant || param->frozen || !any)
            continue;
        for (int64_t i = 0; i < n; i++) {
            double w = plain->param[p][i];
            double grad = want[i] + plain->decay * param->decay_mult * w;
            want[i] = w - plain->lr * param->lr_mult *
                              (plain->momentum * plain->state[p][i] + grad);
        }
        if (planned->new_param[p])
            bad += same(what, param->name, planned->new_param[p], want, n);
        else
            bad += 1 + 0 * printf("  %s: %s is not updated\n", what, param->name);
    }
    return bad;
}

static int same_projections(const TestModel *m, const RandomNet *net, const ValueId *image,
                            const RefRun *plain, const RefRun *planned, const char *what) {
    const PassCtx *ctx = &m->net[2].ctx;
    int bad = 0;
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++) {
        if (!image[rule] != (ctx->refused[rule] != NULL))
            bad += 1 + 0 * printf("  %s: rule %d exists or not?\n", what, rule);
        else if (image[rule])
            bad += same(what, "a projection", planned->value[ctx->image_diff[rule]],
                        plain->value[image[rule]], shape_elems(&net->image) * plain->n);
    }
    return bad;
}

static int same_as_built(const TestModel *m, int p, const RefRun *planned, uint32_t seed,
                         const char *what) {
    ParamList *params = (ParamList *)(uintptr_t)&m->params;
    RandomNet net = random_net(m->keep, programs[p], params, seed);
    Graph *g = net.g;
    ValueId values = g->nvalue, image[4] = {0}, diff[1024], loaded = graph_find(g, "image");
    Sums sums = {0};
    if (p == 1)
        train_backward(&net, &sums);
    for (int rule = RULE_GRADIENT; p == 2 && rule <= RULE_GUIDED; rule++) {
        ValueId dy = graph_input(g, VK_SEED, DT_F32, graph_v(g, net.score)->shape, true, rule,
                                 NULL);
        bool exists = ref_backward(g, net.score, dy, (Rule)rule, diff, 1024);
        image[rule] = exists ? diff[loaded] : 0;
    }
    RefRun plain = *planned;
    plain.g = g;
    plain.value = plain.new_param = plain.new_state = NULL;
    if (!ref_run(&plain)) {
        printf("  %s: %s\n", what, plain.error);
        return 1;
    }
    int bad = 0;
    for (ValueId v = 1; v < values; v++) {
        const Value *x = graph_v(g, v);
        ValueId now = x->name && x->kind == VK_RESULT ? graph_find(m->net[p].g, x->name) : 0;
        if (now && planned->value[now])
            bad += same(what, x->name, planned->value[now], plain.value[v],
                        ref_value_elems(&plain, v));
        if (!now && x->keep)
            bad += 1 + 0 * printf("  %s: passes lost %s\n", what, x->name);
    }
    if (p == 1)
        bad += same_updates(m, &sums, &plain, planned, what);
    if (p == 2)
        bad += same_projections(m, &net, image, &plain, planned, what);
    ref_run_free(&plain);
    return bad;
}

/* ---- one model ---- */

static int judge(TestModel *m, int p, const RandomData *d, int64_t n, uint32_t seed, const char *what) {
    const Graph *g = m->net[p].g;
    RefRun r = {.g = g, .n = n, .input = {d->image}, .label = {d->label}, .param = d->param,
                .state = d->state, .lr = 0.125, .momentum = 0.875, .decay = 0.0009765625,
                .seed = 0x9e3779b97f4a7c15u * (seed + 1), .step = 11};
    double **seeds = arena_array(m->keep, g->nvalue, sizeof *seeds);
    const double *by_rule[4] = {0};
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind != VK_SEED)
            continue;
        int64_t count = shape_elems(&x->shape) * n;
        double *at = arena_array(m->keep, count, sizeof *at);
        ref_fill_distinct(at, count, 1, seed + v);
        for (int64_t i = 0; i < count; i++)
            at[i] = (double)(float)at[i];
        by_rule[x->slot] = seeds[v] = at;
    }
    r.seed_value = by_rule;
    double reach = winograd(seed) ? 4 : 1;
    Check check = {.data = &r, .seed_at = seeds, .local = reach, .global = true,
                   .forward = 1e-5 * reach, .backward = 1e-4 * reach, .what = what};
    int failures = compiled_check(&m->compiled[p], &check);
    failures += same_as_built(m, p, &r, seed, what);
    ref_run_free(&r);
    kinky += p > 0 && check.kinky;
    judged += p > 0;
    checked += g->nkernels;
    return failures;
}

/* One model, fused or not; the numbers of failures. */
static int run_seed(uint32_t seed, bool fused) {
    static const int64_t batch[] = {1, 2, 3, 5};
    TestModel m = {.keep = arena_new(), .tmp = arena_new()};
    char what[96];
    int failures = 0;
    const char *target = targets[(seed + !fused) % 3];
    if (!compiled_target(m.keep, target, &m.target))
        compiled_target(m.keep, "native", &m.target);
    snprintf(what, sizeof what, "seed %u %s on %s", seed, fused ? "fused" : "not fused",
             m.target.name);
    if (getenv("NETC_TEST_TRACE"))
        printf("%s\n", what);
    bool made = make(&m, seed, fused, (seed / 3) % 6 == 0);
    failures += !made;
    int64_t n = batch[seed % 4];
    RandomData d = random_data(m.keep, &m.net[m.first], &m.params, n, seed + 1000);
    for (int p = m.first; made && p < m.count; p++)
        failures += judge(&m, p, &d, n, seed, what);
    if (m.e)
        emit_free(m.e);
    arena_free(m.keep);
    arena_free(m.tmp);
    return failures;
}

/* ---- workers: seeds are dealt to processes, because compiling is what takes the time ---- */

typedef struct Tally {
    int64_t bad, checked, kinky, judged, finished;
} Tally;

static Tally run_seeds(uint32_t first, uint32_t last, uint32_t step) {
    Tally t = {0};
    for (uint32_t seed = first; seed < last; seed += step)
        for (int fused = 1; fused >= 0; fused--)
            t.bad += run_seed(seed, fused) != 0;
    t.checked = checked, t.kinky = kinky, t.judged = judged, t.finished = 1;
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
        Tally t = run_seeds(first, last, step);
        fflush(stdout);
        ssize_t wrote = write(ends[1], &t, sizeof t);
        _exit(wrote == (ssize_t)sizeof t ? 0 : 1);
    }
    close(ends[1]);
    return ends[0];
}

/* NETC_TEST_SEED=17 runs this net alone, 17+5 the five nets from 17 on. */
static void random_networks(void) {
    enum { WORKERS_MAX = 8 };
    const char *from = getenv("NETC_TEST_SEED");
    const char *more = from ? strchr(from, '+') : NULL;
    uint32_t first = from ? (uint32_t)strtoul(from, NULL, 10) : 1;
    uint32_t nets = more ? (uint32_t)strtoul(more + 1, NULL, 10) : from ? 1 : NETS;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t workers = cpus < 1 ? 1 : cpus > WORKERS_MAX ? WORKERS_MAX : (uint32_t)cpus;
    int from_worker[WORKERS_MAX];
    Tally sum = {0};
    for (uint32_t w = 0; w < workers; w++)
        from_worker[w] = start(first + w, first + nets, workers);
    for (uint32_t w = 0; w < workers; w++) {
        Tally t = {0};
        ssize_t got = read(from_worker[w], &t, sizeof t);
        close(from_worker[w]);
        CU_ASSERT_TRUE(got == (ssize_t)sizeof t && t.finished); /* else it crashed */
        sum.bad += t.bad, sum.checked += t.checked;
        sum.kinky += t.kinky, sum.judged += t.judged;
    }
    while (wait(NULL) > 0)
        ;
    printf("  %u nets, %lld kernels, %lld runs bad; gradients left to the local check: %lld of %lld\n",
           nets, (long long)sum.checked, (long long)sum.bad, (long long)sum.kinky,
           (long long)sum.judged);
    CU_ASSERT_EQUAL(sum.bad, 0);
    CU_ASSERT_TRUE(sum.kinky * 4 <= sum.judged || nets < 10);
}

SUITE_MAIN(TEST(random_networks))
