/* rt_par.c: how many threads, and a plain parallel loop (rt_par.h).
 *
 * The default respects both the affinity mask and the cgroup quota: a container with two CPUs'
 * worth of time on a machine of 64 would otherwise run 64 spinning threads on it.
 */
#define _GNU_SOURCE
#include "rt_par.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int rt_cgroup_cpus(const char *text) {
    char *end;
    if (strncmp(text, "max", 3) == 0)
        return 0;
    long long quota = strtoll(text, &end, 10);
    if (end == text || quota <= 0)
        return 0;
    char *start = end;
    long long period = strtoll(start, &end, 10);
    if (end == start || period <= 0)
        period = 100000;
    long long n = (quota + period - 1) / period;
    return n < 1 ? 1 : n > RT_MAX_THREADS ? RT_MAX_THREADS : (int)n;
}

static int read_small(const char *path, char *buf, size_t size) {
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t n = fread(buf, 1, size - 1, f);
    fclose(f);
    buf[n] = 0;
    return n > 0;
}

/* The smallest quota on the way from our cgroup (v2) up to the root, else cgroup v1's. */
static int cgroup_limit(void) {
    char self[4096], path[4600], text[128];
    int best = 0;
    if (read_small("/proc/self/cgroup", self, sizeof self)) {
        char *line = strstr(self, "0::");
        char *dir = line ? line + 3 : NULL;
        if (dir)
            dir[strcspn(dir, "\n")] = 0;
        while (dir) {
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", strcmp(dir, "/") ? dir : "");
            if (read_small(path, text, sizeof text)) {
                int n = rt_cgroup_cpus(text);
                if (n > 0 && (best == 0 || n < best))
                    best = n;
            }
            char *slash = strrchr(dir, '/');
            if (!slash || dir[1] == 0)
                break;
            slash[slash == dir ? 1 : 0] = 0;
        }
    }
    if (best == 0 && read_small("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text)) {
        char period[64];
        if (read_small("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period)) {
            snprintf(path, sizeof path, "%s %s", text, period);
            best = rt_cgroup_cpus(path);
        }
    }
    return best;
}

int rt_default_threads(void) {
    int n = 1;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    /* Under OMP_PROC_BIND the first thread is already tied to one CPU; OpenMP knows the mask from
     * before that. */
    if (omp_get_num_procs() > n)
        n = omp_get_num_procs();
    int quota = cgroup_limit();
    if (quota > 0 && quota < n)
        n = quota;
    return n < 1 ? 1 : n > RT_MAX_THREADS ? RT_MAX_THREADS : n;
}

void rt_parallel_for(int threads, int64_t n, int64_t grain, rt_body body, void *context) {
    if (n <= 0)
        return;
    if (grain < 1)
        grain = 1;
    int64_t pieces = (n + grain - 1) / grain;
    if (threads > pieces)
        threads = (int)pieces;
    if (threads <= 1) {
        body(context, 0, n, 0);
        return;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t i = 0; i < pieces; i++) {
        int64_t lo = i * grain, hi = lo + grain < n ? lo + grain : n;
        body(context, lo, hi, omp_get_thread_num());
    }
}

double rt_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
