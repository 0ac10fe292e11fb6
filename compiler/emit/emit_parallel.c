/* emit_parallel.c: several modules of one model are written and become objects at the same time.
 *
 * requires: modules that share nothing (an LLVM context and an arena each) and whose kernels are
 * visible to each other (emit_share).  ensures: each object is a function of its module alone, so neither the number
 * of threads nor their order can be seen in the files.
 * Why: instruction selection takes most of a compilation and runs on one thread per context.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "emit/emit_private.h"

enum { THREADS_MOST = 16 };

typedef struct Work {
    const EmitJob *job;
    atomic_int next;
    atomic_int failed; /* 1 + the first module that somebody saw fail */
    char why[THREADS_MOST][512];
} Work;

typedef struct Worker {
    Work *work;
    int number;
} Worker;

static bool make_object(const EmitJob *job, int module, char *why, size_t n) {
    Arena *keep = arena_new();
    Emit *e = job->make(job->user, keep, module);
    bool ok = emit_finish(e, job->level, why, n) && emit_object(e, job->path[module], why, n);
    emit_free(e);
    arena_free(keep);
    return ok;
}

static void *run(void *arg) {
    Worker *me = arg;
    Work *w = me->work;
    for (int i; (i = atomic_fetch_add(&w->next, 1)) < w->job->count;) {
        int none = 0;
        if (make_object(w->job, i, w->why[me->number], sizeof w->why[0]))
            continue;
        atomic_compare_exchange_strong(&w->failed, &none, me->number + 1);
        break;
    }
    return NULL;
}

bool emit_objects(const EmitJob *job, char *why, size_t n) {
    Work w = {.job = job};
    Worker worker[THREADS_MOST];
    pthread_t thread[THREADS_MOST];
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = online < job->count ? (int)online : job->count, started = 0;
    threads = threads > THREADS_MOST ? THREADS_MOST : threads;
    for (int i = 0; i < THREADS_MOST; i++)
        worker[i] = (Worker){&w, i};
    emit_init();
    /* this thread is one of them; a thread that cannot start leaves its share to the others */
    while (started + 1 < threads &&
           pthread_create(&thread[started], NULL, run, &worker[started + 1]) == 0)
        started++;
    run(&worker[0]);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    int failed = atomic_load(&w.failed);
    if (failed)
        snprintf(why, n, "%s", w.why[failed - 1]);
    return !failed;
}
