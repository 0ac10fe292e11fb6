/* rt_jobs.h: techniques run one after the other: what a spec's visualize section asks for, or what
 * every network can show.  A job is a command line of NAME-viz with a name; its files go to OUT/name.
 */
#ifndef RT_JOBS_H
#define RT_JOBS_H

#include "rt_viz.h"

/* What became of a job. */
typedef struct rt_done {
    rt_job job;
    const rt_technique *technique;
    char command[700]; /* that makes the same files by itself */
    rt_error error;    /* code NETRT_OK, or why there is nothing to see */
    int first, count;  /* its files among v->made */
} rt_done;

/* The spec's jobs, else those that suit every network; *own: 1 if they are the spec's. */
const rt_job *rt_jobs_of(const rt_model *model, int *count, int *own);

/* Runs one job with v's common options (v itself is not opened) and adds its files to v->made. */
void rt_job_run(rt_viz *v, const rt_job *job, rt_done *done);
/* All of them; room for rt_jobs_of's count in `done`.  Jobs that a network does not allow are noted;
 * with the spec's own jobs the first of them is the result.  Other failures end it. */
int rt_jobs_run(rt_viz *v, rt_done *done, rt_error *err);

/* Names the weights file in v->cli.weights, the default one too, in `room`. */
int rt_jobs_weights(rt_viz *v, char *room, size_t size, rt_error *err);

#endif
