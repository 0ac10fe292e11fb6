/* tune.c: measures the candidates of kernels on this machine (tune.h).
 *
 * Each kernel is compiled once per candidate and run on memory laid out as the plan says, with the
 * planned number of images, tasks handed to all threads as the runtime does.  Where the whole
 * program does not fit into the L3, caches are emptied before each run and the layers' data read
 * once: in the program, too, a kernel finds the data that its predecessor wrote, and its weights in
 * main memory.  The least of several interleaved runs counts; who is far behind drops out.
 * theory: Frigo, Johnson 2005, "The Design and Implementation of FFTW3" (planner and wisdom).
 */
#define _GNU_SOURCE
#include "codegen/tune.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/bug.h"
#include "base/str.h"
#include "codegen/codegen.h"
#include "ir/op.h"
#include "rt_abi.h"

enum { THREADS_MAX = 256, VALUES_MAX = 64, RUNS_MAX = 15, CANDIDATES_MAX = 64, OPT_LEVEL = 3 };
static const double default_limit = 0.6, hopeless = 2, far_behind = 1.6, behind = 1.25;
static const double run_seconds = 0.04; /* a run longer than that takes fewer images than planned */
static const int64_t touched_most = INT64_C(1) << 30; /* bytes of one kernel's data */

typedef struct Job {
    rt_kernel_fn fn; /* NULL: read memory */
    int64_t tasks;
    bool alone;
    const char *read[2 + VALUES_MAX];
    int64_t bytes[2 + VALUES_MAX];
    int nread;
} Job;

typedef struct Tuner {
    Graph *g;
    const Target *t;
    rt_frame frame;
    char *block; /* all slabs */
    size_t block_bytes;
    char *inputs; /* frame.input, to write */
    char *scratch;
    int64_t scratch_stride;
    char *flush; /* larger than the caches */
    int64_t flush_bytes;
    bool cold;
    int threads;
    Job job;
    _Atomic int turn, left;   /* number of the job; threads that still work on it */
    _Atomic int64_t next[THREADS_MAX], done; /* tasks: begun of each thread's share; done */
    _Atomic bool stop;
    _Atomic unsigned sink;
} Tuner;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- memory ---- */

static int64_t align64(int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Addresses without pages: only what kernels touch takes memory. */
static char *reserve(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    madvise(at, bytes, MADV_HUGEPAGE);
    return at;
}

static int64_t input_bytes(const Value *x) {
    return 4 * shape_elems(&x->shape);
}

static bool make_slabs(Tuner *u) {
    const Graph *g = u->g;
    int64_t n = plan_batch(g), inputs = 0;
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_INPUT)
            inputs = inputs > input_bytes(graph_v(g, v)) ? inputs : input_bytes(graph_v(g, v));
    u->frame.cap = n;
    int64_t act, size[] = {0, align64(g->fix_bytes) + 4096, align64(g->params->bytes) + 4096,
                           align64(g->params->state_bytes) + 4096, align64(inputs * n) + 4096,
                           align64(4 * n) + 4096};
    if (__builtin_mul_overflow(g->act_bytes, n, &act))
        return false;
    size[0] = align64(act) + 4096;
    char *part[6];
    int64_t total = 0;
    for (int i = 0; i < 6; i++)
        total += size[i];
    u->block_bytes = (size_t)total;
    u->block = reserve(u->block_bytes);
    if (!u->block)
        return false;
    part[0] = u->block;
    for (int i = 1; i < 6; i++)
        part[i] = part[i - 1] + size[i - 1];
    u->frame.act = part[0];
    u->frame.fix = part[1];
    u->frame.param = part[2];
    u->frame.state = part[3];
    u->inputs = part[4];
    for (int i = 0; i < 4; i++)
        u->frame.input[i] = (const float *)(const void *)part[4];
    for (int i = 0; i < 2; i++)
        u->frame.label[i] = (const int32_t *)(const void *)part[5];
    return true;
}

static void free_slabs(Tuner *u) {
    if (u->block)
        munmap(u->block, u->block_bytes);
    if (u->flush)
        munmap(u->flush, (size_t)u->flush_bytes);
}

/* First byte and size of a value's memory for the frame's images; NULL: it has none of its own. */
static char *place_of(const Tuner *u, ValueId v, int64_t *bytes) {
    const Value *x = graph_v(u->g, v);
    const Param *p = &u->g->params->at[x->slot];
    if (x->kind == VK_RESULT && op_is(graph_n(u->g, x->def)->op, OPF_X))
        return place_of(u, graph_n(u->g, x->def)->in[0], bytes);
    *bytes = x->batched ? x->bytes * u->frame.n : x->bytes;
    switch (x->kind) {
    case VK_INPUT:
        *bytes = input_bytes(x) * u->frame.n;
        return u->inputs;
    case VK_PARAM:
        *bytes = p->bytes;
        return u->frame.param + p->offset;
    case VK_STATE:
        *bytes = p->bytes;
        return u->frame.state + p->state_offset;
    case VK_RESULT:
    case VK_SEED:
        if (x->pool == POOL_ACT)
            return u->frame.act + x->offset * u->frame.cap;
        return x->pool == POOL_FIX ? u->frame.fix + x->offset : NULL;
    default:
        return NULL;
    }
}

/* Plausible numbers: never denormal, never growing; switches stay 0. */
static void fill(char *at, int64_t bytes, DType type) {
    if (type != DT_F32) {
        memset(at, 0, (size_t)bytes);
        return;
    }
    float *f = (float *)(void *)at;
    uint32_t bits = 12345;
    for (int64_t i = 0; i < bytes / 4; i++) {
        bits = bits * 1664525u + 1013904223u;
        f[i] = ((float)(bits >> 16) - 32767.5f) * (1.0f / 65536);
    }
}

/* Puts numbers where kernel k reads and writes; notes what its predecessors would have written. */
static void prepare(Tuner *u, const Kernel *k, Job *warm) {
    ValueId v[2 * VALUES_MAX];
    int in = kernel_inputs(u->g, k, v, VALUES_MAX);
    in = in < VALUES_MAX ? in : VALUES_MAX;
    int out = kernel_outputs(u->g, k, v + in, VALUES_MAX);
    out = out < VALUES_MAX ? out : VALUES_MAX;
    *warm = (Job){.fn = NULL};
    for (int i = 0; i < in + out; i++) {
        int64_t bytes;
        char *at = place_of(u, v[i], &bytes);
        if (!at)
            continue;
        fill(at, bytes, graph_v(u->g, v[i])->dtype);
        if (i < in && graph_v(u->g, v[i])->batched) {
            warm->read[warm->nread] = at;
            warm->bytes[warm->nread++] = bytes;
        }
    }
}

/* ---- threads ---- */

static void read_share(Tuner *u, int id) {
    unsigned sum = 0;
    for (int i = 0; i < u->job.nread; i++) {
        int64_t lo = u->job.bytes[i] / u->threads * id, hi = lo + u->job.bytes[i] / u->threads;
        for (int64_t at = lo; at < hi; at += 64)
            sum += (unsigned char)u->job.read[i][at];
    }
    atomic_fetch_add_explicit(&u->sink, sum, memory_order_relaxed);
}

/* As rt_run.c: a thread's own share in chunks of an eighth, then what others have left. */
static void run_share(Tuner *u, int id) {
    const Job *j = &u->job;
    if (!j->fn) {
        read_share(u, id);
        return;
    }
    char *scratch = u->scratch + id * u->scratch_stride;
    memset(scratch, 0xff, sizeof(int64_t)); /* fresh, see rt_abi.h */
    if (j->alone) {
        if (id == 0) {
            j->fn(&u->frame, 0, j->tasks, scratch);
            atomic_store_explicit(&u->done, j->tasks, memory_order_relaxed);
        }
        return;
    }
    for (int i = 0; i < u->threads; i++) {
        int owner = (id + i) % u->threads;
        int64_t from = j->tasks * owner / u->threads, to = j->tasks * (owner + 1) / u->threads;
        int64_t chunk = (to - from + 7) / 8;
        while (from < to) {
            int64_t lo = from + atomic_fetch_add_explicit(&u->next[owner], chunk,
                                                          memory_order_relaxed);
            if (lo >= to)
                break;
            int64_t hi = lo + chunk < to ? lo + chunk : to;
            j->fn(&u->frame, lo, hi, scratch);
            atomic_fetch_add_explicit(&u->done, hi - lo, memory_order_release);
        }
    }
}

static void pause_a_little(int spins) {
    if (spins > 4000)
        sched_yield();
#if defined(__x86_64__)
    else
        __builtin_ia32_pause();
#endif
}

typedef struct Helper {
    Tuner *u;
    int id;
    pthread_t thread;
} Helper;

static void *help(void *arg) {
    Helper *h = arg;
    Tuner *u = h->u;
    for (int seen = 0;;) {
        for (int spins = 0; atomic_load_explicit(&u->turn, memory_order_acquire) == seen; spins++)
            pause_a_little(spins);
        seen++;
        if (atomic_load_explicit(&u->stop, memory_order_relaxed))
            return NULL;
        run_share(u, h->id);
        atomic_fetch_sub_explicit(&u->left, 1, memory_order_release);
    }
}

/* Seconds until all tasks were done.  A thread that the system has put aside and that has no task
 * is waited for, too, but not counted. */
static double run_job(Tuner *u, const Job *job) {
    u->job = *job;
    for (int i = 0; i < u->threads; i++)
        atomic_store(&u->next[i], 0);
    atomic_store(&u->done, 0);
    atomic_store(&u->left, u->threads - 1);
    double begun = now();
    atomic_fetch_add_explicit(&u->turn, 1, memory_order_release);
    run_share(u, 0);
    for (int spins = 0;
         job->fn && atomic_load_explicit(&u->done, memory_order_acquire) < job->tasks; spins++)
        pause_a_little(spins);
    double spent = now() - begun;
    for (int spins = 0; atomic_load_explicit(&u->left, memory_order_acquire) > 0; spins++)
        pause_a_little(spins);
    return spent;
}

/* Helpers live while one kernel is measured: they spin, and compilation wants the processors. */
static void start_helpers(Tuner *u, Helper *helper) {
    atomic_store(&u->turn, 0);
    atomic_store(&u->stop, false);
    for (int i = 1; i < u->threads; i++) {
        helper[i] = (Helper){.u = u, .id = i};
        if (pthread_create(&helper[i].thread, NULL, help, &helper[i]) != 0) {
            u->threads = i; /* go on with those there are */
            break;
        }
    }
}

static void stop_helpers(Tuner *u, Helper *helper) {
    atomic_store(&u->stop, true);
    atomic_fetch_add_explicit(&u->turn, 1, memory_order_release);
    for (int i = 1; i < u->threads; i++)
        pthread_join(helper[i].thread, NULL);
}

/* ---- one kernel ---- */

typedef struct Entrant {
    Kernel kernel;
    const char *name;
    rt_kernel_fn fn;
    double best;
    int runs;
    bool out;
} Entrant;

static int64_t tasks_of(const Kernel *k, int64_t n) {
    n *= kernel_frames(k);
    return k->tasks_block > 0 ? k->tasks_per * ((n + k->tasks_block - 1) / k->tasks_block)
                              : k->tasks_per;
}

/* rt_run.c hands a kernel to one thread when it takes less than about two microseconds. */
static bool runs_alone(const Kernel *k, int64_t n) {
    double ns = (k->flops_image * (double)n + k->flops_fixed) * 0.02 +
                (k->bytes_image * (double)n + k->bytes_fixed) * 0.06;
    return tasks_of(k, n) < 2 || ns < 2000;
}

/* The candidate as a kernel of the finished plan. */
static Kernel as_kernel(const Kernel *planned, const Kernel *candidate) {
    Kernel k = *candidate;
    k.name = planned->name;
    k.flops_image = planned->flops_image;
    k.flops_fixed = planned->flops_fixed;
    k.bytes_image = planned->bytes_image;
    k.bytes_fixed = planned->bytes_fixed;
    return k;
}

/* One module with a function per candidate. */
static bool compile(Tuner *u, Arena *tmp, int index, Entrant *at, int n, Emit **module) {
    Emit *e = *module = emit_new(tmp, u->t, "tune");
    Kernel planned = u->g->kernels[index];
    char why[512];
    for (int i = 0; i < n; i++) {
        u->g->kernels[index] = at[i].kernel;
        codegen_kernel(e, u->g, u->t, index, arena_printf(tmp, "tune%d", i));
    }
    u->g->kernels[index] = planned;
    if (!emit_finish(e, OPT_LEVEL, why, sizeof why))
        BUG("%s", why);
    for (int i = 0; i < n; i++) {
        const char *prefix = arena_printf(tmp, "tune%d", i);
        void *fn = emit_jit(e, codegen_kernel_name(tmp, u->g, index, prefix), why, sizeof why);
        if (!fn)
            return false;
        memcpy(&at[i].fn, &fn, sizeof fn);
    }
    return true;
}

static void run_once(Tuner *u, Entrant *x, const Job *flush, const Job *warm) {
    int64_t n = u->frame.n;
    Job job = {.fn = x->fn, .tasks = tasks_of(&x->kernel, n), .alone = runs_alone(&x->kernel, n)};
    if (u->cold) {
        run_job(u, flush);
        run_job(u, warm);
    }
    double spent = run_job(u, &job);
    x->best = x->runs == 0 || spent < x->best ? spent : x->best;
    x->runs++;
}

/* Rounds over all entrants until the time is up. */
static void race(Tuner *u, Entrant *at, int n, const Job *warm, double limit) {
    Job flush = {.nread = 1, .read = {u->flush}, .bytes = {u->flush_bytes}};
    double end = now() + limit;
    for (int round = 0; round < RUNS_MAX && (round < 3 || now() < end); round++) {
        double best = 0;
        for (int i = 0; i < n; i++)
            if (!at[i].out)
                run_once(u, &at[i], &flush, warm);
        for (int i = 0; i < n; i++)
            best = best == 0 || at[i].best < best ? at[i].best : best;
        for (int i = 0; i < n; i++) /* the first round also waited for pages and code */
            at[i].out = at[i].best > (round == 0 ? far_behind : behind) * best;
    }
}

static int by_time(Entrant *at, int n, int *order) {
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && at[order[j]].best < at[order[j - 1]].best; j--) {
            int other = order[j];
            order[j] = order[j - 1];
            order[j - 1] = other;
        }
    return order[0];
}

/* The first `most` of them. */
static const char *times_text(Arena *tmp, const Entrant *at, int n, const int *order,
                              int64_t images, int most) {
    StrBuf b = sb_new(tmp);
    for (int i = 0; i < n && i < most; i++)
        sb_printf(&b, "%s%s %.4g ms", i ? ", " : "", at[order[i]].name, 1e3 * at[order[i]].best);
    if (n > most)
        sb_printf(&b, ", %d more", n - most);
    sb_printf(&b, ", %lld image%s", (long long)images, images == 1 ? "" : "s");
    return b.text;
}

/* Candidates worth a measurement: not those that the model thinks hopeless. */
static int enter(Tuner *u, Arena *tmp, const PlanChoice *c, const Kernel *planned, Entrant *at) {
    int n = 0;
    double least = c->candidate[0].seconds;
    for (int i = 1; i < c->n; i++)
        least = c->candidate[i].seconds < least ? c->candidate[i].seconds : least;
    for (int i = 0; i < c->n && n < CANDIDATES_MAX; i++) {
        if (c->candidate[i].seconds > hopeless * least)
            continue;
        at[n++] = (Entrant){.kernel = as_kernel(planned, &c->candidate[i]),
                            .name = plan_candidate_name(&c->candidate[i], tmp)};
    }
    int64_t scratch = 0;
    for (int i = 0; i < n; i++)
        scratch = at[i].kernel.scratch > scratch ? at[i].kernel.scratch : scratch;
    u->scratch_stride = (scratch + 4095) / 4096 * 4096 + 4096;
    return n;
}

/* As many images as planned, or fewer where that would take long, but several blocks of each
 * candidate for every thread. */
static int64_t images_for(const Tuner *u, const PlanChoice *c, const Kernel *planned) {
    int64_t batch = u->frame.cap, block = 4;
    double each = 0;
    for (int i = 0; i < c->n; i++) {
        const Kernel *k = &c->candidate[i];
        each = each == 0 || k->seconds < each ? k->seconds : each;
        block = k->tasks_block > block ? k->tasks_block : block;
    }
    if (c->candidate[0].tasks_block == 0)
        block = 8; /* sums over all images: what is done once should not rule */
    each /= (double)batch;
    int64_t n = each > 0 ? (int64_t)(run_seconds / each) : batch;
    n = n < 2 * block ? 2 * block : n;
    int64_t most = touched_most / ((int64_t)planned->bytes_image + 1);
    n = n < most ? n : most;
    return n < 1 ? 1 : n < batch ? n : batch;
}

/* False: no memory. */
static bool measure(Tuner *u, Arena *tmp, const PlanChoice *c, int index, Wisdom *w,
                    const TuneOptions *o, const char **times) {
    const Kernel *planned = &u->g->kernels[index];
    Entrant *at = ARENA_ARRAY(tmp, CANDIDATES_MAX, Entrant);
    Helper *helper = ARENA_ARRAY(tmp, u->threads, Helper);
    int order[CANDIDATES_MAX], n = enter(u, tmp, c, planned, at);
    Emit *module;
    Job warm;
    u->frame.n = images_for(u, c, planned);
    u->frame.scalar[RT_SCALAR_INV_N] = 1.0f / (float)u->frame.n;
    size_t scratch = (size_t)u->scratch_stride * (size_t)u->threads;
    u->scratch = reserve(scratch);
    if (!u->scratch)
        return false;
    bool made = compile(u, tmp, index, at, n, &module);
    if (made) {
        prepare(u, planned, &warm);
        start_helpers(u, helper);
        race(u, at, n, &warm, o->limit > 0 ? o->limit : default_limit);
        stop_helpers(u, helper);
        const Entrant *best = &at[by_time(at, n, order)];
        wisdom_put(w, c->key, best->name,
                   times_text(tmp, at, n, order, u->frame.n, CANDIDATES_MAX));
        *times = times_text(tmp, at, n, order, u->frame.n, 3);
    }
    emit_free(module);
    munmap(u->scratch, scratch);
    madvise(u->block, u->block_bytes, MADV_DONTNEED);
    return made;
}

/* ---- all of a graph ---- */

static int kernel_of(const Graph *g, NodeId anchor) {
    for (int i = 0; i < g->nkernels; i++)
        if (g->kernels[i].anchor == anchor)
            return i;
    return -1;
}

static bool known(const Wisdom *w, const PlanChoice *c, Arena *tmp) {
    const char *name = wisdom_find(w, c->key);
    for (int i = 0; name && i < c->n; i++)
        if (strcmp(name, plan_candidate_name(&c->candidate[i], tmp)) == 0)
            return true;
    return false;
}

/* The choices to measure, each problem once; plans that were only tried out are not among them. */
static int select_choices(const Graph *g, const PlanRecord *r, const Target *t, const Wisdom *w,
                          bool again, Arena *tmp, int *out) {
    int n = 0;
    for (int i = 0; i < r->count; i++) {
        int index = kernel_of(g, r->at[i].anchor);
        bool skip = index < 0 || (!again && known(w, &r->at[i], tmp)) ||
                    strcmp(plan_key(g, &g->kernels[index], t, tmp), r->at[i].key) != 0;
        for (int j = 0; j < n && !skip; j++)
            skip = strcmp(r->at[out[j]].key, r->at[i].key) == 0;
        if (!skip)
            out[n++] = i;
    }
    return n;
}

static bool prepare_flush(Tuner *u) {
    double moved = 0;
    for (int i = 0; i < u->g->nkernels; i++)
        moved += u->g->kernels[i].bytes_image * (double)plan_batch(u->g) +
                 u->g->kernels[i].bytes_fixed;
    u->cold = moved > (double)u->t->l3;
    u->flush_bytes = 2 * u->t->l3 < (INT64_C(512) << 20) ? 2 * u->t->l3 : INT64_C(512) << 20;
    if (!u->cold)
        return true;
    u->flush = reserve((size_t)u->flush_bytes);
    if (u->flush)
        memset(u->flush, 1, (size_t)u->flush_bytes);
    return u->flush != NULL;
}

int tune_graph(Graph *g, const PlanRecord *r, const Target *t, Wisdom *w, const TuneOptions *o) {
    Tuner u = {.g = g, .t = t};
    Arena *tmp = arena_new();
    int *choice = ARENA_ARRAY(tmp, r->count + 1, int), done = 0;
    int n = select_choices(g, r, t, w, o->again, tmp, choice);
    u.threads = t->speed.threads < THREADS_MAX ? t->speed.threads : THREADS_MAX;
    u.threads = u.threads < 1 ? 1 : u.threads;
    bool good = n == 0 || (make_slabs(&u) && prepare_flush(&u));
    for (int i = 0; i < n && good; i++) {
        const PlanChoice *c = &r->at[choice[i]];
        const char *times = "";
        int index = kernel_of(g, c->anchor);
        Arena *one = arena_new();
        bug_context(g->kernels[index].name);
        good = measure(&u, one, c, index, w, o, &times);
        done += good;
        if (good && o->tell)
            o->tell(o->context, i + 1, n, g->kernels[index].name, times);
        bug_context(NULL);
        arena_free(one);
    }
    free_slabs(&u);
    arena_free(tmp);
    return good ? done : -1;
}
