/* rt_style.h: what the two files of `style` and `texture` share: rt_style.c (command line, pictures
 * in and out) and rt_style_run.c (the loss, iterations, stopping and resuming).
 */
#ifndef RT_STYLE_H
#define RT_STYLE_H

#include "rt_mimic.h"
#include "rt_paint.h"
#include "rt_resume.h"

enum { RT_STYLE_MAX = 8 };               /* style pictures */
enum { RT_STYLE_LBFGS, RT_STYLE_ADAM };  /* optimisers */
enum { RT_STYLE_PAIRS = 20 };            /* of L-BFGS, as in the authors' code */

typedef struct rt_style_picture {
    float *input;   /* as the network reads it */
    char name[120]; /* without folder and ending */
} rt_style_picture;

/* history: numbers per iteration */
enum { RT_STYLE_EVALUATIONS, RT_STYLE_CONTENT, RT_STYLE_STYLE, RT_STYLE_SMOOTH, RT_STYLE_RANGE,
       RT_STYLE_HISTORY };

typedef struct rt_style {
    rt_viz *v;
    int texture, optimizer;
    int64_t steps;
    double smooth, rate;     /* weight of total variation; rate of Adam, pixels */
    double range;            /* weight of squared pixels beyond 0..255: their mean, times this */
    rt_mimic mimic;
    rt_style_picture picture[RT_STYLE_MAX], content;
    double share[RT_STYLE_MAX];
    int nstyles;
    char name[160], state[4400];
    rt_paint p;              /* p.x: the picture */
    rt_lbfgs lbfgs;
    rt_climb adam;
    float *g;                /* of Adam's steps */
    double *part;            /* of each term, of smoothness, of pixels out of range */
    double *history;         /* (steps + 1) * RT_STYLE_HISTORY */
    int64_t step, evaluations;
    int ended;               /* no step makes the loss smaller */
} rt_style;

/* From p.x, which holds the start, or with `resume` from the file s->state: opens the optimiser,
 * goes on until s->steps or the end or a signal.  Terms are open. */
int rt_style_run(rt_style *s, int resume, rt_error *err);
/* Writes s->state: all that rt_style_run needs to go on to the same bits. */
int rt_style_save(rt_style *s, rt_error *err);
void rt_style_run_close(rt_style *s);

#endif
