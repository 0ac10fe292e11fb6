/* machine.c: the speeds of this machine (see machine.h).
 *
 * Three loops are written with the emit layer, so that they have the width and the instructions
 * that kernels have: independent multiply-add chains in registers, and a sum over memory whose size
 * decides which cache it comes from.  All threads run at once, because they share the clock, the L3
 * and the memory; each number is the best of many short attempts, which finds the machine's own
 * speed even while something else runs.
 * theory: Williams, Waterman, Patterson 2009, "Roofline": these are its ceilings.
 */
#define _GNU_SOURCE
#include "emit/machine.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/cachedir.h"
#include "base/outfile.h"
#include "emit/emit.h"

enum { THREADS_MAX = 256, LINES_MAX = 64, READS = 8 };

/* ---- names ---- */

/* The value behind "key : " in /proc/cpuinfo's first processor, or "". */
static const char *cpuinfo(Arena *a, const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, n) != 0 || !colon ||
            strspn(line + n, " \t") != (size_t)(colon - line) - n)
            continue;
        colon += 1 + strspn(colon + 1, " ");
        return arena_strndup(a, colon, strcspn(colon, "\n\t"));
    }
    return "";
}

const char *machine_name(Arena *a, const Target *t) {
    char *text = arena_alloc(a, 8192);
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (f) {
        text[fread(text, 1, 8191, f)] = 0;
        fclose(f);
    }
    const char *model = cpuinfo(a, text, "model name");
    if (!*model)
        model = cpuinfo(a, text, "CPU part");
    return arena_printf(a, "%s %s.%s.%s %s %dx%d netc-%s", *model ? model : "processor",
                        cpuinfo(a, text, "cpu family"), cpuinfo(a, text, "model"),
                        cpuinfo(a, text, "stepping"), cpuinfo(a, text, "microcode"), t->vector,
                        t->speed.threads, NETC_VERSION);
}

/* "200000 100000": a container that gets two processors' time on a larger machine. */
static int quota(void) {
    long long time = 0, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    bool found = f && fscanf(f, "%lld %lld", &time, &period) == 2;
    if (f)
        fclose(f);
    return found && time > 0 && period > 0 ? (int)((time + period - 1) / period) : 0;
}

int machine_threads(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1, limit = quota();
    if (limit > 0 && limit < n)
        n = limit;
    return n < 1 ? 1 : n;
}

/* ---- the loops ---- */

/* void chains(long rounds, float *out): most of the register file as independent sums. */
static int write_chains(Emit *e, const Target *t) {
    Val arg[2], sum[24];
    int n = t->registers >= 32 ? 24 : 12;
    em_func_begin(e, "chains", "ip", arg, true);
    for (int i = 0; i < n; i++)
        sum[i] = em_vec(e, i);
    Loop l = em_for(e, em_i64(e, 0), arg[0], 1, "round", sum, n);
    for (int i = 0; i < n; i++)
        sum[i] = em_fma(e, sum[i], em_vec(e, 0.999), em_vec(e, 0.001));
    em_for_end(e, &l, sum, n);
    for (int i = 1; i < n; i++)
        sum[0] = em_fadd(e, sum[0], sum[i]);
    em_store(e, arg[1], 0, sum[0], false);
    em_func_end(e);
    return n;
}

/* void reads(const float *from, long floats, float *out): floats a multiple of READS vectors. */
static void write_reads(Emit *e, const Target *t) {
    Val arg[3], sum[READS];
    em_func_begin(e, "reads", "pip", arg, true);
    for (int i = 0; i < READS; i++)
        sum[i] = em_vec(e, 0);
    Loop l = em_for(e, em_i64(e, 0), arg[1], READS * t->vector, "at", sum, READS);
    Val from = em_ptr(e, arg[0], l.i);
    for (int i = 0; i < READS; i++)
        sum[i] = em_fadd(e, sum[i], em_load(e, from, i * t->vector, true));
    em_for_end(e, &l, sum, READS);
    for (int i = 1; i < READS; i++)
        sum[0] = em_fadd(e, sum[0], sum[i]);
    em_store(e, arg[2], 0, sum[0], false);
    em_func_end(e);
}

/* ---- measuring ---- */

typedef struct Probe {
    const Target *t;
    void (*chains)(long rounds, float *out);
    void (*reads)(const float *from, long floats, float *out);
    int nchains, threads;
    char *memory;       /* threads regions of `region` bytes */
    int64_t region, l2, l3;
    pthread_barrier_t barrier;
    double begun[THREADS_MAX], rate[THREADS_MAX][3]; /* flops, l2, l3 */
    double dram, dram_one;
} Probe;

typedef struct Worker {
    Probe *p;
    int id;
    pthread_t thread;
} Worker;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double best_flops(const Probe *p, double budget) {
    float out[64];
    long rounds = 1 << 10;
    double best = 0, end = now() + budget;
    for (double begun = now(); begun < end; begun = now()) {
        p->chains(rounds, out);
        double spent = now() - begun;
        double flops = 2.0 * p->t->vector * p->nchains * (double)rounds;
        if (spent < 2e-4) {
            rounds *= 2; /* too short to time */
            continue;
        }
        best = flops / spent > best ? flops / spent : best;
    }
    return best;
}

/* Bytes per second over `bytes` of own memory, again and again. */
static double best_bytes(const Probe *p, const char *from, int64_t bytes, double budget) {
    float out[64];
    int passes = 1;
    double best = 0, end = now() + budget;
    for (double begun = now(); begun < end; begun = now()) {
        for (int i = 0; i < passes; i++)
            p->reads((const float *)(const void *)from, (long)(bytes / 4), out);
        double spent = now() - begun, rate = (double)bytes * passes / spent;
        if (spent < 1e-4)
            passes *= 2;
        else
            best = rate > best ? rate : best;
    }
    return best;
}

/* All threads read their regions once; the time from the first start to the last end. */
static void shared_pass(Worker *w) {
    Probe *p = w->p;
    float out[64];
    pthread_barrier_wait(&p->barrier);
    p->begun[w->id] = now();
    p->reads((const float *)(const void *)(p->memory + w->id * p->region), (long)(p->region / 4),
             out);
    pthread_barrier_wait(&p->barrier);
    double end = now();
    if (w->id != 0)
        return;
    double begun = p->begun[0];
    for (int i = 1; i < p->threads; i++)
        begun = p->begun[i] < begun ? p->begun[i] : begun;
    double rate = (double)p->region * p->threads / (end - begun);
    p->dram = rate > p->dram ? rate : p->dram;
}

static void *work(void *arg) {
    Worker *w = arg;
    Probe *p = w->p;
    char *own = p->memory + w->id * p->region;
    double *rate = p->rate[w->id];
    memset(own, 0, (size_t)p->region); /* pages exist and lie near this thread */
    pthread_barrier_wait(&p->barrier);
    rate[0] = best_flops(p, 0.03);
    pthread_barrier_wait(&p->barrier);
    rate[1] = best_bytes(p, own, p->l2, 0.02);
    pthread_barrier_wait(&p->barrier);
    rate[2] = best_bytes(p, own, p->l3, 0.03);
    for (int pass = 0; pass < 12; pass++)
        shared_pass(w);
    pthread_barrier_wait(&p->barrier);
    if (w->id == 0)
        p->dram_one = best_bytes(p, p->memory, p->region, 0.04);
    return NULL;
}

/* Sizes of the regions: half the L2; beyond the L2s but inside the L3; four times the L3. */
static void choose_regions(Probe *p) {
    const Target *t = p->t;
    int64_t unit = READS * 64 * (int64_t)4, all = 4 * t->l3;
    all = all < (INT64_C(64) << 20) ? INT64_C(64) << 20 : all;
    all = all > (INT64_C(512) << 20) ? INT64_C(512) << 20 : all;
    p->l2 = t->l2 / 2 / unit * unit;
    p->l3 = t->l3 / 2 / p->threads;
    if (p->l3 < 2 * t->l2)
        p->l3 = 2 * t->l2;
    p->l3 = p->l3 / unit * unit;
    p->region = all / p->threads;
    if (p->region < p->l3)
        p->region = p->l3;
    p->region = (p->region + unit - 1) / unit * unit;
}

static bool run_threads(Probe *p) {
    static Worker worker[THREADS_MAX];
    if (pthread_barrier_init(&p->barrier, NULL, (unsigned)p->threads))
        return false;
    for (int i = 0; i < p->threads; i++) {
        worker[i] = (Worker){.p = p, .id = i};
        if (i > 0 && pthread_create(&worker[i].thread, NULL, work, &worker[i]))
            return false; /* those that run wait for ever; the process goes on without them */
    }
    work(&worker[0]);
    for (int i = 1; i < p->threads; i++)
        pthread_join(worker[i].thread, NULL);
    pthread_barrier_destroy(&p->barrier);
    return true;
}

static bool find_code(Emit *e, Probe *p) {
    char why[256];
    if (!emit_finish(e, 2, why, sizeof why))
        return false;
    void *chains = emit_jit(e, "chains", why, sizeof why);
    void *reads = chains ? emit_jit(e, "reads", why, sizeof why) : NULL;
    memcpy(&p->chains, &chains, sizeof chains);
    memcpy(&p->reads, &reads, sizeof reads);
    return chains && reads;
}

/* As the file keeps it, so that the first build's plan is the second's. */
static double rounded(double x) {
    char text[40];
    snprintf(text, sizeof text, "%.4g", x);
    return strtod(text, NULL);
}

static void summarize(const Probe *p, struct Speed *out) {
    struct Speed s = {.dram = p->dram, .dram_one = p->dram_one, .threads = p->threads};
    for (int i = 0; i < p->threads; i++) {
        s.flops += p->rate[i][0] / p->threads;
        s.l2 += p->rate[i][1] / p->threads;
        s.l3 += p->rate[i][2] / p->threads;
    }
    /* On a busy machine a nearer level may look slower than a farther one. */
    s.l3 = s.l3 > s.dram / p->threads ? s.l3 : s.dram / p->threads;
    s.l2 = s.l2 > s.l3 ? s.l2 : s.l3;
    s.dram_one = s.dram_one < s.dram ? s.dram_one : s.dram;
    *out = (struct Speed){.flops = rounded(s.flops),
                          .l2 = rounded(s.l2),
                          .l3 = rounded(s.l3),
                          .dram = rounded(s.dram),
                          .dram_one = rounded(s.dram_one),
                          .threads = s.threads};
}

bool machine_measure(Arena *a, const Target *t, struct Speed *out) {
    static Probe probe; /* large; one measurement at a time */
    Probe *p = &probe;
    *p = (Probe){.t = t, .threads = t->speed.threads};
    p->threads = p->threads < THREADS_MAX ? p->threads : THREADS_MAX;
    Emit *e = emit_new(a, t, "machine");
    p->nchains = write_chains(e, t);
    write_reads(e, t);
    choose_regions(p);
    size_t size = (size_t)p->region * (size_t)p->threads;
    bool done = find_code(e, p);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = done ? mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0) : MAP_FAILED;
    done = memory != MAP_FAILED;
    if (done) {
        madvise(memory, size, MADV_HUGEPAGE);
        p->memory = memory;
        done = run_threads(p);
    }
    if (done)
        summarize(p, out);
    if (done && munmap(memory, size) == 0) /* else threads that wait may still use both */
        emit_free(e);
    return done;
}

/* ---- the file ---- */

static bool valid(const struct Speed *s) {
    const double v[] = {s->flops, s->l2, s->l3, s->dram, s->dram_one};
    for (int i = 0; i < 5; i++)
        if (!(v[i] > 1e6 && v[i] < 1e18))
            return false;
    return s->threads > 0;
}

static bool parse_line(const char *line, const char *name, struct Speed *out) {
    size_t n = strcspn(line, "\t\n");
    struct Speed s = {0};
    bool any = n == 1 && line[0] == '*';
    if (line[n] != '\t' || !(any || (n == strlen(name) && strncmp(line, name, n) == 0)))
        return false;
    if (sscanf(line + n, " flops=%lf l2=%lf l3=%lf dram=%lf dram_one=%lf threads=%d", &s.flops,
               &s.l2, &s.l3, &s.dram, &s.dram_one, &s.threads) != 6 || !valid(&s))
        return false;
    *out = s;
    return true;
}

bool machine_parse(const char *text, const char *name, struct Speed *out) {
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (parse_line(line, name, out))
            return true;
    }
    return false;
}

/* Lines of other machines stay (a home folder may be shared), the newest first. */
static bool remember(const char *path, const char *old, const char *name,
                     const struct Speed *s) {
    OutFile out;
    char why[4400];
    size_t n = strlen(name);
    int lines = 1;
    if (!outfile_open(&out, path, why, sizeof why))
        return false;
    fprintf(out.stream, "%s\tflops=%.4g l2=%.4g l3=%.4g dram=%.4g dram_one=%.4g threads=%d\n", name,
            s->flops, s->l2, s->l3, s->dram, s->dram_one, s->threads);
    for (const char *line = old; line && *line && lines < LINES_MAX;) {
        size_t length = strcspn(line, "\n");
        bool whole = line[length] == '\n' && memchr(line, '\t', length);
        if (whole && !(strncmp(line, name, n) == 0 && line[n] == '\t')) {
            fprintf(out.stream, "%.*s\n", (int)length, line);
            lines++;
        }
        line += length + (line[length] == '\n');
    }
    return outfile_close(&out, why, sizeof why);
}

MachineNews machine_speed(Arena *a, Target *t) {
    const char *name = machine_name(a, t), *path = cache_file(a, "NETC_MACHINE", "machine");
    char *text = path ? cache_read(a, path) : NULL;
    if (text && machine_parse(text, name, &t->speed))
        return MACHINE_REMEMBERED;
    struct Speed s;
    if (!machine_measure(a, t, &s) || !valid(&s))
        return MACHINE_UNKNOWN;
    t->speed = s;
    return path && remember(path, text, name, &s) ? MACHINE_MEASURED : MACHINE_UNSAVED;
}
