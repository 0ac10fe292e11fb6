/* kernels.c: how fast is one layer's kernel: GFLOP/s and % of the measured multiply-add peak.
 *
 *     kernels [--target=native] [--batch=1] [--threads=2] [--force=direct] [--time=0.3] [--asm=FILE]
 *             LAYER... [forward] [data] [weights]
 *
 * LAYER is a name of tests/unit/layer.c, the beginning of several ("vgg"), or C,H,W,O,KHxKW[,stride
 * [,pad[,groups]]].  The layer is planned and compiled as in a network (forward with a rectifier
 * behind, images of up to 4 channels through load_input), its tasks are shared as the runtime shares
 * them, and the median of the runs counts.  Data stay in the cache from run to run where they fit,
 * so a layer whose weights come from main memory is slower in its network than here.
 */
#define _GNU_SOURCE
#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "compiled.h"
#include "layer.h"
#include "rt_peak.h"

typedef struct Job {
    const char *target, *force, *assembly;
    int batch, threads;
    double seconds;
} Job;

/* ---- running ---- */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(int64_t bytes) {
    size_t size = ((size_t)bytes + (2 << 20)) & ~(size_t)((2 << 20) - 1);
    float *at = aligned_alloc(2 << 20, size);
    if (!at)
        exit(6);
    madvise(at, size, MADV_HUGEPAGE);
    for (size_t i = 0; i < size / 4; i++)
        at[i] = (float)((i * 2654435761u >> 8) % 1000) * 1e-3f - 0.5f;
    return at;
}

/* Own share in eighths, then what others have left: as in runtime/rt_run.c. */
static void run(rt_kernel_fn fn, const rt_frame *frame, int64_t tasks, int threads,
                char *const *scratch) {
    static _Alignas(64) atomic_long turn[64][8];
    for (int t = 0; t < threads; t++)
        atomic_store(&turn[t][0], 0);
#pragma omp parallel num_threads(threads)
    {
        int t = omp_get_thread_num();
        memset(scratch[t], 0xff, 8);
        for (int i = 0; i < threads; i++) {
            int owner = (t + i) % threads;
            int64_t lo = tasks * owner / threads, hi = tasks * (owner + 1) / threads;
            int64_t chunk = (hi - lo + 7) / 8;
            while (lo < hi) {
                int64_t at = lo + chunk * atomic_fetch_add(&turn[owner][0], 1);
                if (at >= hi)
                    break;
                fn(frame, at, at + chunk < hi ? at + chunk : hi, scratch[t]);
            }
        }
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds per call, median. */
static double measure(const Job *job, const Graph *g, rt_kernel_fn fn, const Kernel *k) {
    enum { RUNS = 2000 };
    static double seconds[RUNS];
    rt_frame f = {.n = job->batch, .cap = job->batch};
    f.act = memory(g->act_bytes * job->batch);
    f.fix = memory(g->fix_bytes);
    f.param = memory(g->params->bytes);
    f.state = memory(g->params->state_bytes);
    for (int i = 0; i < RT_SCALAR_COUNT; i++)
        f.scalar[i] = 1e-6f;
    char *scratch[64];
    for (int t = 0; t < job->threads; t++)
        scratch[t] = memory(g->scratch_bytes + 8);
    int runs = 0;
    double start = now();
    while (runs < RUNS && (runs < 5 || now() - start < job->seconds)) {
        double from = now();
        run(fn, &f, kernel_tasks(k, job->batch), job->threads, scratch);
        seconds[runs++] = now() - from;
    }
    free(f.act), free(f.fix), free(f.param), free(f.state);
    for (int t = 0; t < job->threads; t++)
        free(scratch[t]);
    qsort(seconds, (size_t)runs, sizeof *seconds, by_value);
    return seconds[runs / 2];
}

static void one(const Job *job, const Layer *l, int direction, double peak) {
    Arena *keep = arena_new();
    Target t;
    if (!compiled_target(keep, job->target, &t)) {
        printf("target %s does not run here\n", job->target);
        exit(2);
    }
    t.speed.threads = job->threads;
    PlanOptions options = {.batch = job->batch, .force = job->force};
    Graph *g = layer_graph(keep, l, (LayerDirection)direction, &options, &t);
    char why[512] = "";
    Emit *e = compiled_begin(keep, &t);
    Compiled c = compiled_add(e, g, "k");
    bool ok = emit_finish(e, 2, why, sizeof why);
    if (ok && job->assembly)
        ok = emit_asm(e, job->assembly, why, sizeof why);
    int index = layer_kernel(g);
    const Kernel *k = &g->kernels[index];
    void *f = ok ? emit_jit(e, codegen_kernel_name(keep, g, index, c.prefix), why, sizeof why)
                 : NULL;
    if (f) {
        rt_kernel_fn fn;
        memcpy(&fn, &f, sizeof fn);
        double s = measure(job, g, fn, k);
        double flops = k->flops_image * job->batch + k->flops_fixed;
        printf("%-8s %-8s b%-3d %-10s %2dx%dx%-2d u%d band %3d tasks %4lld%s  %8.3f ms %7.1f "
               "GFLOP/s %5.1f %%  (guess %.3f ms)\n",
               l->name, g->name, job->batch, k->algorithm, k->tile.ow, k->tile.oh, k->tile.oc,
               k->tile.unroll, k->tile.rows, (long long)kernel_tasks(k, job->batch),
               k->oc_outer ? " oc" : "   ", 1e3 * s, 1e-9 * flops / s, 100 * flops / s / peak,
               1e3 * k->seconds);
    }
    if (why[0])
        printf("%s\n", why);
    emit_free(e);
    arena_free(keep);
}

/* ---- the command line ---- */
static bool option(const char *arg, const char *name, const char **value) {
    size_t n = strlen(name);
    if (strncmp(arg, name, n) != 0 || arg[n] != '=')
        return false;
    *value = arg + n + 1;
    return true;
}

static bool custom(const char *text, Layer *l) {
    long long v[9] = {0, 0, 0, 0, 0, 0, 1, 0, 1};
    if (sscanf(text, "%lld,%lld,%lld,%lld,%lldx%lld,%lld,%lld,%lld", &v[0], &v[1], &v[2], &v[3],
               &v[4], &v[5], &v[6], &v[7], &v[8]) < 6)
        return false;
    *l = (Layer){"custom", v[0], v[1], v[2], v[3], {v[4], v[5]}, v[6], v[7], v[8]};
    return true;
}

int main(int argc, char **argv) {
    Job job = {.target = "native", .batch = 1, .threads = 2, .seconds = 0.3};
    bool wanted[3] = {false, false, false};
    const char *value;
    for (int i = 1; i < argc; i++) {
        if (option(argv[i], "--target", &value))
            job.target = value;
        else if (option(argv[i], "--force", &value))
            job.force = value;
        else if (option(argv[i], "--asm", &value))
            job.assembly = value;
        else if (option(argv[i], "--batch", &value))
            job.batch = atoi(value);
        else if (option(argv[i], "--threads", &value))
            job.threads = atoi(value);
        else if (option(argv[i], "--time", &value))
            job.seconds = atof(value);
        for (int d = 0; d < 3; d++)
            wanted[d] |= strcmp(argv[i], layer_direction[d]) == 0;
    }
    if (job.batch < 1 || job.threads < 1 || job.threads > 64)
        return 2;
    if (!wanted[0] && !wanted[1] && !wanted[2])
        wanted[0] = wanted[1] = true;
    setvbuf(stdout, NULL, _IOLBF, 0);
    Arena *keep = arena_new();
    Target t;
    if (!compiled_target(keep, job.target, &t))
        return 2;
    double peak = rt_peak_flops(t.vector, job.threads);
    for (int i = 1; i < argc; i++) {
        Layer l;
        size_t n = strlen(argv[i]);
        if (custom(argv[i], &l))
            for (int d = 0; d < 3; d++)
                if (wanted[d])
                    one(&job, &l, d, peak);
        for (size_t j = 0; layers[j].name; j++)
            for (int d = 0; d < 3; d++)
                if (wanted[d] && (strncmp(layers[j].name, argv[i], n) == 0 ||
                                  strcmp(argv[i], "all") == 0))
                    one(&job, &layers[j], d, peak);
    }
    arena_free(keep);
    return 0;
}
