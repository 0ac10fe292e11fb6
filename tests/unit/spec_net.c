/* spec_net.c: see spec_net.h. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compiled.h"
#include "front/parse.h"
#include "ref_cases.h"
#include "spec_net.h"

enum { IMAGES = 2, DIRECTIONS = 64, DIRECTIONS_LEAST = 4 };
#define GRADIENT_BOUND 1e-6 /* of a derivative along a direction, relative */
#define BOUND_FORWARD 1e-4  /* a whole network, float against double */
#define BOUND_BACKWARD 1e-3 /* gradients, where no rectifier is near zero */

typedef struct Job {
    Arena *keep, *tmp;
    const char *path, *net, *what;
    Shrink how;
    Target target;
    int64_t n;
    double **param; /* of the model's list */
    double *input[4];
    int32_t *label[2];
    double budget; /* seconds for directions */
    int directions, failures;
} Job;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void failed(Job *j, const char *text) {
    printf("  %s: %s\n", j->what, text);
    j->failures++;
}

/* ---- numbers ---- */

static void round_to_float(double *at, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)at[i];
}

/* As large as the spec has it, in a shrunk net as He's rule has it; what starts at a constant stays
 * near it. */
static double *param_numbers(Arena *keep, const Param *p, bool shrunk, uint32_t seed) {
    int64_t count = shape_elems(&p->shape), taps = 1, fan = count / p->shape.dim[0];
    double *at = arena_array(keep, count, sizeof *at), center = 0, reach = sqrt(6.0 / (double)fan);
    for (int k = 2; k < p->shape.rank; k++)
        taps *= p->shape.dim[k];
    if (p->init == INIT_GAUSSIAN && !shrunk)
        reach = sqrt(3) * p->init_b;
    if (p->init == INIT_UNIFORM && !shrunk)
        reach = p->init_b;
    if (p->init == INIT_FILL || p->init == INIT_ZERO) {
        center = p->init == INIT_FILL ? p->init_a : 0;
        reach = center != 0 ? 0.2 * fabs(center) : 0.1;
    }
    ref_fill_distinct(at, count, reach, seed);
    for (int64_t k = 0; k < count; k++)
        at[k] = p->init == INIT_TABLE && p->table ? (double)p->table[k]
                : p->links && !p->links[k / taps] ? 0
                                                  : center + at[k];
    round_to_float(at, count);
    return at;
}

static void fill_numbers(Job *j, const Model *m) {
    j->param = ARENA_ARRAY(j->keep, m->params.count + 1, double *);
    for (int p = 0; p < m->params.count; p++)
        j->param[p] =
            param_numbers(j->keep, &m->params.at[p], j->how.divisor > 1, 31u * (uint32_t)p + 7);
    for (int i = 0; i < m->ninputs; i++) {
        int64_t cells = shape_elems(&m->input[i].shape) * j->n;
        j->input[i] = arena_array(j->keep, cells, sizeof(double));
        ref_fill_distinct(j->input[i], cells, 1.2, 5 + (uint32_t)i);
        round_to_float(j->input[i], cells);
    }
    uint32_t state = 77;
    for (int i = 0; i < m->nlabels; i++) {
        int64_t cells = (m->label_cells > 1 ? m->label_cells : 1) * j->n;
        j->label[i] = arena_array(j->keep, cells, sizeof(int32_t));
        for (int64_t k = 0; k < cells; k++)
            j->label[i][k] = (int32_t)((ref_random(&state) >> 8) % (uint32_t)m->label[i].classes);
    }
}

static RefRun run_of(const Job *j, const Graph *g, double *const *param) {
    RefRun r = {.g = g, .n = j->n, .param = param, .lr = 1, .seed = 0x9e3779b97f4a7c15u, .step = 3};
    for (int i = 0; i < 4; i++)
        r.input[i] = j->input[i];
    for (int i = 0; i < 2; i++)
        r.label[i] = j->label[i];
    return r;
}

/* ---- gradients ---- */

/* Of the training program as it was built; parameters may be anybody's. */
static double loss_at(Job *j, const Model *built, double *const *param) {
    const ModelGraph *g = &built->mode[MODEL_TRAIN];
    RefRun r = run_of(j, g->graph, param);
    double sum = 0;
    if (!ref_run(&r)) {
        failed(j, r.error);
        return NAN;
    }
    for (int l = 0; l < g->nlosses; l++)
        for (int64_t i = 0; i < j->n; i++)
            sum += r.value[g->loss[l]][i] / (double)j->n;
    ref_run_free(&r);
    return sum;
}

static double **copy_params(Arena *keep, const Model *m, double *const *from) {
    double **to = ARENA_ARRAY(keep, m->params.count + 1, double *);
    for (int p = 0; p < m->params.count; p++) {
        int64_t n = shape_elems(&m->params.at[p].shape);
        to[p] = arena_array(keep, n, sizeof(double));
        if (from)
            memcpy(to[p], from[p], (size_t)n * sizeof(double));
    }
    return to;
}

static bool trained(const Param *p) {
    return !p->frozen && !p->constant && p->lr_mult != 0;
}

/* What one step of plain descent at rate 1 takes away. */
static double **gradient(Job *j, Model *planned) {
    PassCtx ctx = {.tmp = j->tmp, .target = &j->target, .verify = true};
    model_pass_ctx(planned, MODEL_TRAIN, &ctx);
    ctx.update = (struct PassUpdate){0};
    Graph *g = planned->mode[MODEL_TRAIN].graph;
    if (!passes_run(g, &ctx)) {
        failed(j, "the passes stopped");
        return NULL;
    }
    RefRun r = run_of(j, g, j->param);
    if (!ref_run(&r)) {
        failed(j, r.error);
        return NULL;
    }
    double **grad = copy_params(j->keep, planned, NULL);
    for (int p = 0; p < planned->params.count; p++) {
        const Param *x = &planned->params.at[p];
        int64_t n = shape_elems(&x->shape);
        if (trained(x) && !r.new_param[p])
            failed(j, arena_printf(j->keep, "%s is not updated", x->name));
        for (int64_t i = 0; trained(x) && r.new_param[p] && i < n; i++)
            grad[p][i] = (j->param[p][i] - r.new_param[p][i]) / x->lr_mult;
        for (int64_t i = 0; r.new_param[p] && i < n; i++)
            if (!isfinite(r.new_param[p][i])) {
                failed(j, arena_printf(j->keep, "%s is not finite after a step", x->name));
                break;
            }
    }
    ref_run_free(&r);
    return grad;
}

/* A direction in the space of all trained numbers, or of one parameter (only >= 0). */
static void direction(const Model *m, double **u, int only, uint32_t seed) {
    for (int p = 0; p < m->params.count; p++) {
        const Param *x = &m->params.at[p];
        int64_t n = shape_elems(&x->shape), taps = 1;
        for (int k = 2; k < x->shape.rank; k++)
            taps *= x->shape.dim[k];
        bool moves = trained(x) && (only < 0 || only == p);
        if (moves)
            ref_fill_distinct(u[p], n, sqrt(3.0 / (double)n), seed + 101u * (uint32_t)p);
        for (int64_t i = 0; i < n; i++)
            if (!moves || (x->links && !x->links[i / taps]))
                u[p][i] = 0;
    }
}

static double along(const Model *m, double *const *a, double *const *b) {
    double sum = 0;
    for (int p = 0; p < m->params.count; p++)
        for (int64_t i = 0; i < shape_elems(&m->params.at[p].shape); i++)
            sum += a[p][i] * b[p][i];
    return sum;
}

static double loss_moved(Job *j, const Model *m, double **place, double *const *u, double h) {
    for (int p = 0; p < m->params.count; p++)
        for (int64_t i = 0; i < shape_elems(&m->params.at[p].shape); i++)
            place[p][i] = j->param[p][i] + h * u[p][i];
    return loss_at(j, m, place);
}

static int any_trained(const Model *m, int from) {
    for (int p = 0; p < m->params.count; p++)
        if (trained(&m->params.at[(from + p) % m->params.count]))
            return (from + p) % m->params.count;
    return -1;
}

/* A smaller step steps over fewer kinks; a wrong derivative agrees at none.  ResNet-152 needs the
 * smallest, at which rounding shows: its loss is known to about 5e-15 of its typical slope. */
static void check_directions(Job *j, const Model *m, double *const *grad) {
    static const double step[] = {1e-5, 1e-6, 1e-7, 1e-8, 1e-9};
    double **u = copy_params(j->keep, m, NULL), **place = copy_params(j->keep, m, NULL);
    double typical = 0, start = seconds();
    for (int d = 0; d < DIRECTIONS; d++) {
        if (d >= DIRECTIONS_LEAST && seconds() - start > j->budget)
            break;
        j->directions++;
        int only = d % 2 ? any_trained(m, d / 2 * 7 % m->params.count) : -1;
        direction(m, u, only, (uint32_t)d * 977 + 13);
        double want = along(m, grad, u), best = INFINITY, got = 0;
        typical = fmax(typical, fabs(want));
        double bound = GRADIENT_BOUND * fmax(fabs(want), 1e-2 * typical);
        for (size_t k = 0; k < sizeof step / sizeof *step && best > bound; k++) {
            double h = step[k];
            bound += h < 5e-9 ? 5e-15 * typical / h : 0;
            double slope =
                (loss_moved(j, m, place, u, h) - loss_moved(j, m, place, u, -h)) / (2 * h);
            if (fabs(slope - want) < best || k == 0) {
                best = fabs(slope - want);
                got = slope;
            }
        }
        if (!(best <= bound))
            failed(j, arena_printf(j->keep, "direction %d (%s): derivative %.9g, differences %.9g",
                                   d, only < 0 ? "all" : m->params.at[only].name, want, got));
    }
    double size = along(m, grad, grad), before = loss_at(j, m, j->param), h = -1;
    bool lower = false;
    for (int k = 0; k < 12 && !lower && size > 0; k++) {
        h = -1e-2 * fmax(before, 1e-3) / size * pow(0.1, k);
        lower = loss_moved(j, m, place, grad, h) < before;
    }
    if (!isfinite(before) || !lower)
        failed(j, arena_printf(j->keep, "no step lowers the loss %.9g", before));
}

/* Contrast normalisations become their parts: the reference of the whole sums every window again
 * for every map, which takes minutes. */
static void expand_slow_ones(Job *j, Graph *g) {
    PassCtx ctx = {.tmp = j->tmp, .target = &j->target, .verify = true};
    bool any = false;
    for (NodeId n = 1; n < g->nnode; n++)
        any = any || graph_n(g, n)->op == OP_SUBTRACTIVE_NORM ||
              graph_n(g, n)->op == OP_DIVISIVE_NORM;
    if (any && !pass_run_one(g, &ctx, "expand"))
        failed(j, "cannot expand");
}

static void check_gradient(Job *j) {
    Model *built = shrink_build(j->keep, j->path, j->net, &j->how, false, true);
    Model *planned = shrink_build(j->keep, j->path, j->net, &j->how, false, true);
    if (!built || !planned) {
        failed(j, "does not build");
        return;
    }
    fill_numbers(j, built);
    if (!built->mode[MODEL_TRAIN].graph)
        return;
    expand_slow_ones(j, built->mode[MODEL_TRAIN].graph);
    double **grad = gradient(j, planned);
    if (grad)
        check_directions(j, built, grad);
}

/* ---- compiled code ---- */

static void check_compiled(Job *j) {
    Model *m = shrink_build(j->keep, j->path, j->net, &j->how, false, true);
    PassCtx ctx[MODEL_MODES] = {0};
    Compiled compiled[2];
    int modes = m && m->mode[MODEL_TRAIN].graph ? 2 : m ? 1 : 0;
    for (int mode = 0; mode < modes; mode++) {
        ctx[mode] = (PassCtx){.tmp = j->tmp, .target = &j->target, .verify = true};
        model_pass_ctx(m, mode, &ctx[mode]);
        if (ctx[mode].update.op !=
            OP_SGD) /* a first step of the others is as large for a gradient */
            ctx[mode].update = (struct PassUpdate){0}; /* that rounding alone has made */
        if (!passes_run(m->mode[mode].graph, &ctx[mode]))
            modes = 0;
    }
    if (modes == 0) {
        failed(j, "does not build");
        return;
    }
    params_place(&m->params);
    CodegenInput in = {.model = m,
                       .ctx = ctx,
                       .target = &j->target,
                       .symbol = "netc_model",
                       .cpu_needs = "",
                       .parts = 1};
    m->mode[MODEL_LOOK].graph = NULL;
    Emit *e = codegen_module(j->keep, &in);
    for (int mode = 0; mode < modes; mode++)
        compiled[mode] = (Compiled){.g = m->mode[mode].graph, .prefix = m->mode[mode].graph->name};
    if (!compiled_link(e, compiled, modes, 1))
        failed(j, "does not compile");
    else
        for (int mode = 0; mode < modes; mode++) {
            RefRun r = run_of(j, m->mode[mode].graph, j->param);
            r.lr = 0.125, r.momentum = 0.875, r.decay = 0.0009765625;
            Check check = {.data = &r,
                           .local = 1,
                           .global = true,
                           .forward = BOUND_FORWARD,
                           .backward = BOUND_BACKWARD,
                           .what = j->what};
            j->failures += compiled_check(&compiled[mode], &check);
            ref_run_free(&r);
        }
    emit_free(e);
}

/* ---- one net ---- */

int spec_net(const char *path, const char *net, double budget, SpecCompile compile) {
    Job j = {.keep = arena_new(),
             .tmp = arena_new(),
             .path = path,
             .net = net,
             .n = IMAGES,
             .budget = budget};
    j.what = arena_printf(j.keep, "%s %s", strrchr(path, '/') + 1, net);
    double start = seconds();
    if (!compiled_target(j.keep, "native", &j.target) || !shrink_find(path, net, &j.how))
        failed(&j, "does not build");
    if (!j.failures)
        check_gradient(&j);
    double slopes = seconds();
    if (!j.failures && (compile == SPEC_COMPILE || (compile == SPEC_SMALL && j.how.divisor == 1)))
        check_compiled(&j);
    if (getenv("NETC_TEST_TRACE"))
        printf("%-40s maps / %lld, sides * %g %g, %d directions, %.2f + %.2f s%s\n", j.what,
               (long long)j.how.divisor, j.how.input, j.how.set, j.directions, slopes - start,
               seconds() - slopes, j.failures ? " FAILED" : "");
    int failures = j.failures;
    arena_free(j.keep);
    arena_free(j.tmp);
    return failures;
}
