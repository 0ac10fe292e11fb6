/* rt_par.h: threads.  The number of them never changes a result: work is cut into pieces whose
 * results do not depend on who computes them. */
#ifndef RT_PAR_H
#define RT_PAR_H

#include <stdint.h>

/* min(CPUs in the affinity mask, ceil(cgroup cpu.max)), at least 1, at most RT_MAX_THREADS. */
enum { RT_MAX_THREADS = 256 };
int rt_default_threads(void);
/* The cgroup part alone, from the text of a cpu.max file: "200000 100000" -> 2; 0: no limit. */
int rt_cgroup_cpus(const char *text);

/* Calls body on pieces of 0..n-1 of at most grain items.  thread: 0 .. threads-1. */
typedef void (*rt_body)(void *context, int64_t lo, int64_t hi, int thread);
void rt_parallel_for(int threads, int64_t n, int64_t grain, rt_body body, void *context);

double rt_seconds(void); /* monotonic clock */

#endif
