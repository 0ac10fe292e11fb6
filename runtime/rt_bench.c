/* rt_bench.c: `NAME bench`: times of an entry, whole and kernel by kernel, as rates and as a share
 * of the measured multiply-add peak of this machine.
 *
 * The whole entry is timed undisturbed; kernels are timed in separate runs with a barrier after
 * each.  Medians, with minimum and maximum beside them: times on shared machines scatter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_par.h"
#include "rt_peak.h"
#include "rt_rng.h"

enum { ENTRY_FORWARD, ENTRY_TRAIN, ENTRY_PROJECT };

typedef struct Bench {
    netrt *m;
    int entry, program;
    const char *name; /* of the entry run */
    int first, end;   /* kernels */
    int64_t n, runs;
    double *time;  /* kernel-major: (end - first) * runs */
    double *whole; /* runs */
    int64_t run;
    double peak;
    float *input[4];
    int32_t *label;
} Bench;

typedef struct Stat {
    double min, median, max;
} Stat;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static Stat stat_of(double *t, int64_t n) {
    qsort(t, (size_t)n, sizeof *t, ascending);
    return (Stat){t[0], n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2, t[n - 1]};
}

static void observe(void *context, int kernel, double seconds) {
    Bench *b = context;
    if (kernel >= b->first && kernel < b->end)
        b->time[(kernel - b->first) * b->runs + b->run] = seconds;
}

/* ---- preparing ---- */

static int make_inputs(Bench *b, rt_error *err) {
    const rt_model *model = b->m->model;
    rt_rng rng = rt_rng_make(b->m->seed, RT_RNG_TEST);
    for (int s = 0; s < model->ninputs; s++) {
        int64_t size = rt_input_count(model, s) * b->n;
        b->input[s] = rt_alloc((size_t)size, sizeof(float), "input pictures", err);
        if (!b->input[s])
            return err->code;
        rt_rng_fill_uniform(rng, 0, (uint32_t)s, 0, model->input[s].lo, model->input[s].hi,
                            b->input[s], (size_t)size);
        b->m->frame.input[s] = b->input[s];
    }
    int64_t labels = b->n * (model->label_cells > 1 ? model->label_cells : 1);
    b->label = rt_alloc((size_t)labels, sizeof *b->label, "labels", err);
    for (int64_t i = 0; b->label && i < labels; i++)
        b->label[i] = (int32_t)(i % (model->classes > 0 ? model->classes : 1));
    b->m->frame.label[0] = b->m->frame.label[1] = b->label;
    return err->code;
}

/* Writes ones into the seed layer's gradient and points the run at the right kernel. */
static int choose_seed(Bench *b, const char *layer, int rule, rt_error *err) {
    const rt_program *p = &b->m->model->program[RT_LOOK];
    const rt_seed *seed = NULL;
    for (int i = 0; i < p->nseeds; i++) {
        const rt_seed *s = &p->seed[i];
        if (s->rule[rule].diff < 0)
            continue;
        if (layer ? strcmp(s->label, layer) == 0 : p->tensor[s->tensor].layout.rank == 3)
            seed = s;
    }
    if (!seed)
        return rt_fail(err, NETRT_EUSAGE, "no projection can start at layer '%s'",
                       layer ? layer : "(last with a map)");
    const rt_tensor *t = &p->tensor[seed->rule[rule].diff];
    int64_t count = rt_tensor_count(t);
    float *ones = rt_alloc((size_t)count, sizeof *ones, "seed", err);
    if (!ones)
        return err->code;
    for (int64_t i = 0; i < count; i++)
        ones[i] = 1;
    for (int i = 0; i < seed->rule[rule].nlive; i++)
        rt_tensor_zero(b->m, RT_LOOK, seed->rule[rule].live[i], b->n);
    for (int64_t i = 0; i < b->n; i++)
        rt_tensor_write(b->m, RT_LOOK, seed->rule[rule].diff, i, ones);
    rt_free(ones);
    b->first = seed->rule[rule].first;
    return NETRT_OK;
}

static int prepare(Bench *b, const char *layer, int rule, rt_error *err) {
    static const char *const project[] = {"project_gradient", "project_deconvnet",
                                          "project_guided"};
    b->program = b->entry == ENTRY_FORWARD ? RT_FORWARD
                 : b->entry == ENTRY_TRAIN ? RT_TRAIN
                                           : RT_LOOK;
    b->name = b->entry == ENTRY_FORWARD ? "forward"
              : b->entry == ENTRY_TRAIN ? "step"
                                        : project[rule];
    netrt_set_sgd(b->m, 0, 0, 0); /* rate 0: thousands of steps must not leave the plausible */
    if (make_inputs(b, err) || rt_program_ready(b->m, b->program, b->n, err))
        return err->code;
    if (b->entry == ENTRY_PROJECT && netrt_run(b->m, RT_LOOK, "record", -1, b->n, err))
        return err->code;
    const rt_entry *e = rt_entry_for(&b->m->model->program[b->program], b->name, b->n);
    if (!e) /* the runner has the better message */
        return netrt_run(b->m, b->program, b->name, -1, b->n, err);
    b->first = e->first;
    b->end = e->first + e->count;
    return b->entry == ENTRY_PROJECT ? choose_seed(b, layer, rule, err) : NETRT_OK;
}

static int measure(Bench *b, rt_error *err) {
    size_t kernels = (size_t)(b->end - b->first);
    b->time = rt_alloc_zero((kernels + 1) * (size_t)b->runs, sizeof(double), "times", err);
    b->whole = rt_alloc_zero((size_t)b->runs, sizeof(double), "times", err);
    if (err->code)
        return err->code;
    for (int warm = 0; warm < 3; warm++)
        if (netrt_run(b->m, b->program, b->name, b->first, b->n, err))
            return err->code;
    for (b->run = 0; b->run < b->runs; b->run++) {
        double start = rt_seconds();
        netrt_run(b->m, b->program, b->name, b->first, b->n, err);
        b->whole[b->run] = rt_seconds() - start;
    }
    b->m->observer = observe;
    b->m->observer_context = b;
    for (b->run = 0; b->run < b->runs; b->run++)
        netrt_run(b->m, b->program, b->name, b->first, b->n, err);
    b->m->observer = NULL;
    b->peak = rt_peak_flops(rt_peak_lanes(b->m->model), b->m->threads);
    return err->code;
}

/* ---- printing ---- */

static double kernel_flops(const Bench *b, const rt_kernel *k) {
    return k->flops_image * (double)b->n + k->flops_fixed;
}

static double kernel_bytes(const Bench *b, const rt_kernel *k) {
    return k->bytes_image * (double)b->n + k->bytes_fixed;
}

/* What the plan expected of this many images with its own number of threads. */
static double predicted(const Bench *b, const rt_kernel *k) {
    double images = k->seconds_image * (double)b->n;
    return images > k->seconds_fixed ? images : k->seconds_fixed;
}

static void plan_text(const Bench *b, rt_text *o) {
    const rt_program *p = &b->m->model->program[b->program];
    rt_text_printf(o, "planned for %d image%s, %d threads, target %s\n", p->plan_batch,
                   p->plan_batch == 1 ? "" : "s", p->plan_threads, b->m->model->target);
}

static void as_text(Bench *b, rt_text *o) {
    double total = 0, plan = 0;
    Stat w = stat_of(b->whole, b->runs);
    rt_text_printf(o, "%-28s %-16s %9s %9s %9s %9s %8s %7s %6s\n", "kernel", "algorithm", "ms min",
                   "median", "max", "plan", "GFLOP/s", "GB/s", "peak");
    for (int i = b->first; i < b->end; i++) {
        const rt_kernel *k = &b->m->model->program[b->program].kernel[i];
        Stat s = stat_of(b->time + (i - b->first) * b->runs, b->runs);
        double f = kernel_flops(b, k), t = s.median > 0 ? s.median : 1e-12;
        total += f;
        plan += predicted(b, k);
        rt_text_printf(o, "%-28.28s %-16.16s %9.4f %9.4f %9.4f %9.4f %8.1f %7.1f %5.1f%%\n",
                       k->name, k->algorithm, s.min * 1e3, s.median * 1e3, s.max * 1e3,
                       predicted(b, k) * 1e3, f / t * 1e-9, kernel_bytes(b, k) / t * 1e-9,
                       100 * f / t / b->peak);
    }
    rt_text_printf(o, "%-28.28s %-16s %9.4f %9.4f %9.4f %9.4f %8.1f %7s %5.1f%%\n", b->name,
                   "whole entry", w.min * 1e3, w.median * 1e3, w.max * 1e3, plan * 1e3,
                   total / w.median * 1e-9, "", 100 * total / w.median / b->peak);
    rt_text_printf(o,
                   "batch %lld, %d threads, %lld runs, %.1f images/s, peak %.1f GFLOP/s "
                   "(%d lanes, measured)\n",
                   (long long)b->n, b->m->threads, (long long)b->runs, (double)b->n / w.median,
                   b->peak * 1e-9, rt_peak_lanes(b->m->model));
    plan_text(b, o);
}

static void json_stat(rt_text *o, Stat s) {
    rt_text_printf(o, "\"ms_min\":%.6f,\"ms_median\":%.6f,\"ms_max\":%.6f", s.min * 1e3,
                   s.median * 1e3, s.max * 1e3);
}

/* What the process holds; pages count from when they are first written. */
static void json_memory(const Bench *b, rt_text *o) {
    const netrt *m = b->m;
    struct rusage usage;
    int64_t inputs = 0;
    getrusage(RUSAGE_SELF, &usage);
    for (int s = 0; s < m->model->ninputs; s++)
        inputs += rt_input_count(m->model, s) * b->n * (int64_t)sizeof(float);
    rt_text_printf(o,
                   "\"peak_rss_mb\":%.1f,\"bytes\":{\"parameters\":%lld,\"momentum\":%lld,"
                   "\"activations\":%lld,\"fixed\":%lld,\"scratch\":%lld,\"inputs\":%lld},",
                   (double)usage.ru_maxrss / 1024.0, (long long)m->model->param_bytes,
                   (long long)(m->state ? m->model->state_bytes : 0),
                   (long long)(m->model->program[b->program].act_bytes * b->n),
                   (long long)m->model->program[b->program].fix_bytes,
                   (long long)(m->space[b->program].need -
                               m->model->program[b->program].act_bytes * b->n),
                   (long long)inputs);
}

static void as_json(Bench *b, rt_text *o) {
    double total = 0, plan = 0;
    rt_text_add(o, "{\"model\":");
    rt_text_json(o, b->m->model->name);
    rt_text_add(o, ",\"target\":");
    rt_text_json(o, b->m->model->target);
    rt_text_printf(o,
                   ",\"entry\":\"%s\",\"batch\":%lld,\"threads\":%d,\"runs\":%lld,"
                   "\"peak_gflops\":%.2f,\"plan_batch\":%d,\"plan_threads\":%d,",
                   b->name, (long long)b->n, b->m->threads, (long long)b->runs, b->peak * 1e-9,
                   b->m->model->program[b->program].plan_batch,
                   b->m->model->program[b->program].plan_threads);
    json_memory(b, o);
    rt_text_add(o, "\"kernels\":[");
    for (int i = b->first; i < b->end; i++) {
        const rt_kernel *k = &b->m->model->program[b->program].kernel[i];
        rt_text_add(o, i > b->first ? ",\n{\"name\":" : "\n{\"name\":");
        rt_text_json(o, k->name);
        rt_text_add(o, ",\"layer\":");
        rt_text_json(o, k->label ? k->label : "");
        rt_text_add(o, ",\"algorithm\":");
        rt_text_json(o, k->algorithm);
        rt_text_printf(o, ",\"flops\":%.0f,\"bytes\":%.0f,\"ms_predicted\":%.6f,",
                       kernel_flops(b, k), kernel_bytes(b, k), predicted(b, k) * 1e3);
        json_stat(o, stat_of(b->time + (i - b->first) * b->runs, b->runs));
        rt_text_add(o, "}");
        total += kernel_flops(b, k);
        plan += predicted(b, k);
    }
    rt_text_printf(o, "],\n\"flops\":%.0f,\"ms_predicted\":%.6f,", total, plan * 1e3);
    json_stat(o, stat_of(b->whole, b->runs));
    rt_text_add(o, "}\n");
}

static int run(rt_cli *cli, Bench *b, const char *layer, int rule) {
    rt_error err = {0};
    rt_text o = {0};
    int load = cli->weights != NULL;
    if (b->n < 1)
        b->n = cli->model->train.batch > 0 ? cli->model->train.batch : 1;
    cli->batch = b->n;
    if (!rt_cli_open(cli, load, &b->m, &err) && !prepare(b, layer, rule, &err) &&
        !measure(b, &err)) {
        if (cli->json)
            as_json(b, &o);
        else
            as_text(b, &o);
        rt_cli_print(&o, &err);
    }
    rt_report(&cli->progress, &err);
    for (int s = 0; s < 4; s++)
        rt_free(b->input[s]);
    rt_free(b->label);
    rt_free(b->time);
    rt_free(b->whole);
    netrt_close(b->m);
    return err.code;
}

int rt_verb_bench(rt_cli *cli, int argc, char **argv) {
    Bench b;
    const char *layer = NULL;
    int rule = 1;
    memset(&b, 0, sizeof b);
    b.runs = 25;
    const rt_arg table[] = {
        {"entry", 0, RT_ARG_CHOICE, "forward|train|project", &b.entry, 0, 0,
         "what to time (default forward)"},
        {"batch", 'b', RT_ARG_INT, "N", &b.n, 1, 1 << 20, "images at a time (default: the spec's)"},
        {"runs", 'n', RT_ARG_INT, "N", &b.runs, 1, 100000, "timed runs (default 25)"},
        {"layer", 'l', RT_ARG_TEXT, "LABEL", &layer, 0, 0,
         "project: the layer to start from (default: the last with a map)"},
        {"rule", 0, RT_ARG_CHOICE, "gradient|deconvnet|guided", &rule, 0, 0,
         "project: how (default deconvnet)"},
        {"weights", 'w', RT_ARG_TEXT, "FILE", &cli->weights, 0, 0,
         "weights (default: the initial ones)"},
        RT_OPT_THREADS(cli),
        RT_OPT_JSON(cli)};
    static const rt_verb verb = {"bench", "times of each kernel and of the whole", "[OPTIONS]",
                                 "bench\nbench --entry=train --batch=64\n"
                                 "bench --entry=project --layer=conv5 --batch=1 --json"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    return run(cli, &b, layer, rule);
}
