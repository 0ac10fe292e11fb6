/* rt_schedule.h: the learning rate over the epochs. */
#ifndef RT_SCHEDULE_H
#define RT_SCHEDULE_H

#include "rt_abi.h"

/* What a plateau schedule remembers; saved in checkpoints.  Start: rt_plateau_start. */
typedef struct rt_plateau {
    double factor; /* product of all reductions so far */
    double best;   /* smallest test error (or loss) seen */
    int64_t bad;   /* epochs since then or since the last reduction */
} rt_plateau;

void rt_plateau_start(rt_plateau *p);
/* Tell it the figure of a finished epoch: 1 if the rate was reduced. */
int rt_plateau_epoch(rt_plateau *p, const rt_schedule *s, double figure);

/* Rate in this epoch (0 = first).  base: the spec's or --lr.  TABLE rates are absolute in the
 * spec's terms: they are scaled by base / spec_lr. */
double rt_schedule_lr(const rt_schedule *s, double base, double spec_lr, int64_t epoch,
                      const rt_plateau *p);
/* Rate of a step: `at` epochs of `epochs` are done (2.5: half of the third).  COSINE and POLY fall
 * from step to step, over `every` epochs or the whole run, then stay; the warm-up multiplies any
 * schedule, which goes on below it. */
double rt_schedule_rate(const rt_schedule *s, double base, double spec_lr, double at,
                        int64_t epochs, const rt_plateau *p);

#endif
