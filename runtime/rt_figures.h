/* rt_figures.h: what is told of a net beside its loss and the error and top-5 error of its first
 * output: each of several losses ("loss.ce"), the error and top-5 error of every further output that
 * a loss compares with a class ("side.error", "side.top5"), and each metric of the spec that says
 * something else, under its own name.  The same names stand in what `eval` prints and in the logs.
 */
#ifndef RT_FIGURES_H
#define RT_FIGURES_H

#include "rt_model.h"

enum { RT_FIGURES_MAX = 8 + 2 * RT_MAX_OUTPUTS + RT_MAX_METRICS };
typedef struct rt_figure {
    char name[96];
    int32_t loss;      /* index of a loss, its mean; else -1: ... */
    int32_t output, k; /* ... share of the images whose class is not among the k best of it */
} rt_figure;

/* mapped: a class for every pixel, of which only losses are told.  Returns how many. */
int rt_figures(const rt_model *model, int mapped, rt_figure at[RT_FIGURES_MAX]);

/* After a run of "forward" on images whose classes are label[0 .. n - 1]: adds to wrong[i] how many
 * of them figure i counts, nothing for losses.  first: n rows of scores of the first output (NULL:
 * it is left out); room: rt_figures_room() floats. */
void rt_figures_count(const netrt *m, const rt_figure *at, int count, const int32_t *label,
                      int64_t n, const float *first, float *room, int64_t *wrong);
int64_t rt_figures_room(const rt_model *model);

/* Index of the figure that is the metric, -1: it is the first output's error (k = 1) or top-5 error,
 * or not told. */
int rt_figures_find(const rt_figure *at, int count, const rt_metric *metric);

#endif
