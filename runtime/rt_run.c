/* rt_run.c: runs a program's kernels.  One parallel region per run; inside it every thread walks
 * the list of units (a kernel worth sharing, or a row of kernels too small for that) and takes
 * chunks of tasks.
 *
 * A thread goes on to the next unit when all *tasks* of this one are done, not when all threads
 * have arrived: on a busy machine one that the system has put aside delays nobody.  Each begins
 * with its own contiguous share (the same share of every kernel, so that what it wrote is still in
 * its cache) and then helps the others.  Tasks are independent, so who runs one changes nothing. An
 * entry that is tiny as a whole runs without a parallel region.
 */
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_model.h"
#include "rt_optim.h"
#include "rt_par.h"
#include "rt_run.h"

/* Per kernel one row of threads + 1 counters: tasks finished, then per share the next chunk. */
struct rt_turn {
    _Alignas(64) _Atomic int64_t count;
};

static size_t turn_bytes(const rt_model *model, int threads) {
    int most = 1;
    for (int i = 0; i < RT_PROGRAMS; i++)
        if (model->program[i].nkernels > most)
            most = model->program[i].nkernels;
    return (size_t)most * (size_t)(threads + 1) * sizeof(struct rt_turn);
}

struct rt_turn *rt_turn_new(const rt_model *model, int threads, rt_error *err) {
    return rt_slab_alloc(turn_bytes(model, threads), "task counters", err);
}

void rt_turn_free(struct rt_turn *turn, const rt_model *model, int threads) {
    rt_slab_free(turn, turn_bytes(model, threads));
}

static int64_t kernel_tasks(const rt_kernel *k, int64_t n) {
    n *= k->frames > 1 ? k->frames : 1;
    return k->tasks_block > 0 ? k->tasks_per * ((n + k->tasks_block - 1) / k->tasks_block)
                              : k->tasks_per;
}

/* Nanoseconds on one thread: the plan's prediction, which is for its own threads and counts 500 ns
 * for handing over; without a prediction 50 flops or 16 bytes per nanosecond. */
static double kernel_ns(const rt_program *p, const rt_kernel *k, int64_t n) {
    double images = (double)n, seconds = k->seconds_image * images;
    if (seconds <= 0)
        return (k->flops_image * images + k->flops_fixed) * 0.02 +
               (k->bytes_image * images + k->bytes_fixed) * 0.06;
    int64_t tasks = kernel_tasks(k, n);
    seconds = seconds > k->seconds_fixed ? seconds : k->seconds_fixed;
    return (seconds * 1e9 - 500) * (double)(tasks < p->plan_threads ? tasks : p->plan_threads);
}

/* Less than this is not worth another thread: the cores need 100 to 500 ns to hear of each other,
 * and their data follow. */
static const double alone_kernel_ns = 1000, alone_entry_ns = 5000;

static bool kernel_alone(const rt_program *p, const rt_kernel *k, int64_t n) {
    return kernel_tasks(k, n) < 2 || kernel_ns(p, k, n) < alone_kernel_ns;
}

/* ---- scratch memory: in the slab, where no tensor lives while the kernel runs ---- */

enum { SCRATCH_PAGE = 4096 }; /* threads share nothing that a prefetcher would fetch */

static int64_t page_up(int64_t bytes) {
    return (bytes + SCRATCH_PAGE - 1) / SCRATCH_PAGE * SCRATCH_PAGE;
}

/* Offset of thread 0's scratch in a slab of cap images. */
static int64_t scratch_at(const rt_kernel *k, int threads, int64_t cap) {
    int64_t at = page_up(k->gap * cap);
    bool fits = at + threads * page_up(k->scratch) <= (k->gap + k->gap_bytes) * cap;
    return fits ? at : page_up(k->top * cap);
}

/* Thread t's, marked as fresh.  Only for a thread that has tasks of the kernel: when these are
 * done, others go on, and tensors may lie here. */
static void *scratch_begin(const netrt *m, const rt_kernel *k, int t) {
    char *at = m->frame.act + scratch_at(k, m->threads, m->frame.cap) + t * page_up(k->scratch);
    if (k->scratch > 0)
        memset(at, 0xff, sizeof(int64_t));
    return at;
}

int64_t rt_slab_bytes(const rt_program *p, int threads, int64_t cap) {
    int64_t most, end;
    if (__builtin_mul_overflow(p->act_bytes, cap, &most) || most < 0 || most > INT64_MAX / 2)
        return -1;
    for (int i = 0; i < p->nkernels; i++) {
        const rt_kernel *k = &p->kernel[i];
        if (k->scratch < 0 || __builtin_mul_overflow(page_up(k->scratch), threads, &end) ||
            __builtin_add_overflow(end, scratch_at(k, threads, cap), &end) || end > INT64_MAX / 2)
            return -1;
        most = end > most && k->scratch > 0 ? end : most;
    }
    return most;
}

/* ---- sharing ---- */

/* Where chunk number `chunk` of the tasks lo..hi-1 begins: each chunk is a quarter of what is left,
 * at least 1/64 of all.  Large ones first keep neighbouring tasks together, small ones last let the
 * threads end at the same time (guided self-scheduling, Polychronopoulos and Kuck 1987). */
static int64_t chunk_start(int64_t lo, int64_t hi, int64_t chunk) {
    int64_t least = (hi - lo + 63) / 64;
    for (int64_t i = 0; i < chunk && lo < hi; i++) {
        int64_t step = (hi - lo) / 4;
        lo += step > least ? step : least;
    }
    return lo < hi ? lo : hi;
}

/* Thread t's part of a kernel: its own share first, then what others have left. */
static void run_share(const netrt *m, const rt_kernel *k, struct rt_turn *row, int t, int threads) {
    int64_t tasks = kernel_tasks(k, m->frame.n);
    void *scratch = NULL;
    for (int i = 0; i < threads; i++) {
        int owner = t + i < threads ? t + i : t + i - threads;
        int64_t lo = tasks * owner / threads, hi = tasks * (owner + 1) / threads;
        while (lo < hi) {
            int64_t chunk =
                atomic_fetch_add_explicit(&row[1 + owner].count, 1, memory_order_relaxed);
            int64_t at = chunk_start(lo, hi, chunk), end = chunk_start(lo, hi, chunk + 1);
            if (at >= hi)
                break;
            if (!scratch)
                scratch = scratch_begin(m, k, t);
            k->fn(&m->frame, at, end, scratch);
            atomic_fetch_add_explicit(&row[0].count, end - at, memory_order_release);
        }
    }
}

/* Kernels first..end-1, all small: whoever comes first runs them all. */
static void run_small(const netrt *m, const rt_kernel *k, int count, struct rt_turn *row, int t) {
    if (atomic_fetch_add_explicit(&row[1].count, 1, memory_order_relaxed) != 0)
        return;
    for (int i = 0; i < count; i++)
        k[i].fn(&m->frame, 0, kernel_tasks(&k[i], m->frame.n), scratch_begin(m, &k[i], t));
    atomic_fetch_add_explicit(&row[0].count, 1, memory_order_release);
}

static void wait_for(struct rt_turn *row, int64_t target) {
    enum { SPINS = 4000 };
    for (int i = 0; atomic_load_explicit(&row[0].count, memory_order_acquire) < target; i++) {
        if (i > SPINS)
            sched_yield();
#if defined(__x86_64__)
        else
            __builtin_ia32_pause();
#endif
    }
}

static void run_alone(netrt *m, const rt_kernel *k, int index) {
    double start = m->observer ? rt_seconds() : 0;
    k->fn(&m->frame, 0, kernel_tasks(k, m->frame.n), scratch_begin(m, k, 0));
    if (m->observer)
        m->observer(m->observer_context, index, rt_seconds() - start);
}

static void run_parallel(netrt *m, const rt_program *p, int first, int end) {
    int64_t n = m->frame.n;
    size_t stride = (size_t)m->threads + 1;
    for (size_t i = 0; i < (size_t)(end - first) * stride; i++)
        atomic_store_explicit(&m->turn[i].count, 0, memory_order_relaxed);
#pragma omp parallel num_threads(m->threads)
    {
        int t = omp_get_thread_num(), threads = omp_get_num_threads();
        double start = m->observer ? rt_seconds() : 0;
        for (int i = first, next; i < end; i = next) {
            const rt_kernel *k = &p->kernel[i];
            struct rt_turn *row = m->turn + (size_t)(i - first) * stride;
            bool alone = kernel_alone(p, k, n);
            next = i + 1;
            while (alone && next < end && !m->observer && kernel_alone(p, &p->kernel[next], n))
                next++;
            if (alone)
                run_small(m, k, next - i, row, t);
            else
                run_share(m, k, row, t, threads);
            if (next < end) /* the end of the region waits for the last */
                wait_for(row, alone ? 1 : kernel_tasks(k, n));
            if (m->observer) { /* timing: everybody begins the next kernel together */
#pragma omp barrier
            }
            if (m->observer && t == 0) {
                double now = rt_seconds();
                m->observer(m->observer_context, i, now - start);
                start = now;
            }
        }
    }
}

/* Small kernels at both ends need no second thread: the region is what lies between. */
static void run_range(netrt *m, const rt_program *p, int first, int end) {
    int64_t n = m->frame.n;
    int from = end, to = first;
    double ns = 0;
    for (int i = first; i < end && m->threads > 1; i++) {
        if (kernel_alone(p, &p->kernel[i], n))
            continue;
        from = from < i ? from : i;
        to = i + 1;
        ns += kernel_ns(p, &p->kernel[i], n);
    }
    if (ns < alone_entry_ns)
        from = to = end;
    for (int i = first; i < from; i++)
        run_alone(m, &p->kernel[i], i);
    if (from < to)
        run_parallel(m, p, from, to);
    for (int i = to; i < end; i++)
        run_alone(m, &p->kernel[i], i);
}

/* Points the frame at the program's slabs. */
static void bind(netrt *m, int program, int64_t n) {
    int slab = program == RT_LOOK;
    m->frame.act = m->act[slab];
    m->frame.cap = m->act_cap[slab];
    m->frame.fix = m->space[program].fix;
    m->frame.param = m->param;
    m->frame.state = m->state;
    m->frame.n = n;
    m->frame.scalar[RT_SCALAR_INV_N] = program == RT_CURVATURE ? 1 : (float)(1.0 / (double)n);
    rt_optim_scalars(m);
    m->frame.seed = m->seed;
    if (m->model->ninputs == 1)
        m->frame.input[1] = m->input1 ? m->input1 : m->frame.input[0];
    for (int i = 0; i < 2; i++)
        if (!m->frame.label[i])
            m->frame.label[i] = m->no_label;
}

static int no_entry(const netrt *m, const rt_program *p, const char *entry, rt_error *err) {
    static const char *const rule[3] = {"project_gradient", "project_deconvnet", "project_guided"};
    for (int i = 0; i < 3; i++)
        if (strcmp(entry, rule[i]) == 0 && p->refused[i])
            return rt_fail(err, NETRT_EUSAGE, "%s has no %s: %s", m->model->name, entry + 8,
                           p->refused[i]);
    return rt_fail(err, NETRT_EUSAGE, "%s was compiled without the program '%s'", m->model->name,
                   entry);
}

/* The slab may have been made for the other program that shares it. */
static bool slab_fits(const netrt *m, int program, int64_t n) {
    int slab = program == RT_LOOK;
    const rt_space *s = &m->space[program];
    return s->fix && m->act[slab] && n <= m->act_cap[slab] && s->need_cap == m->act_cap[slab] &&
           (uint64_t)s->need + 64 <= m->act_size[slab];
}

int rt_run_part(netrt *m, int program, const char *entry, int first_kernel, int stop, int64_t n,
                rt_error *err) {
    const rt_program *p = &m->model->program[program];
    const rt_entry *e = rt_entry_for(p, entry, n);
    if (!e)
        return no_entry(m, p, entry, err);
    if (!slab_fits(m, program, n)) {
        int code = rt_program_ready(m, program, n > m->cap ? n : m->cap, err);
        if (code)
            return code;
    }
    int end = e->first + e->count, first = first_kernel < 0 ? e->first : first_kernel;
    if (stop >= 0 && stop < end)
        end = stop;
    if (n < 1 || first < e->first || first > end)
        return rt_fail(err, NETRT_EBUG, "run of %s with %lld images from kernel %d", entry,
                       (long long)n, first);
    bind(m, program, n);
    const rt_entry *prepare = rt_find_entry(p, "prepare");
    if (prepare && prepare != e && m->space[program].prepared != m->param_version)
        run_range(m, p, prepare->first, prepare->first + prepare->count);
    m->space[program].prepared = m->param_version;
    run_range(m, p, first, end);
    return NETRT_OK;
}

int netrt_run(netrt *m, int program, const char *entry, int first_kernel, int64_t n,
              rt_error *err) {
    return rt_run_part(m, program, entry, first_kernel, -1, n, err);
}
