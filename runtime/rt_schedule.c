/* rt_schedule.c: constant, stepwise, by plateau, by table (rt_schedule.h).
 *
 * plateau: Krizhevsky 2012 and Zeiler-Fergus 2014 divide the rate by ten "when the validation error
 * stopped improving"; here: no new smallest figure for `every` epochs.  table: LeCun et al. 1998,
 * section III (0.0005 twice, 0.0002 three times, ...).
 */
#include "rt_schedule.h"

#include <math.h>

void rt_plateau_start(rt_plateau *p) {
    p->factor = 1;
    p->best = HUGE_VAL;
    p->bad = 0;
}

int rt_plateau_epoch(rt_plateau *p, const rt_schedule *s, double figure) {
    if (figure < p->best) {
        p->best = figure;
        p->bad = 0;
        return 0;
    }
    if (s->kind != RT_SCHEDULE_PLATEAU || ++p->bad < (s->every > 0 ? s->every : 1))
        return 0;
    p->factor *= s->factor;
    p->bad = 0;
    return 1;
}

double rt_schedule_lr(const rt_schedule *s, double base, double spec_lr, int64_t epoch,
                      const rt_plateau *p) {
    if (s->kind == RT_SCHEDULE_STEP && s->every > 0) {
        double lr = base;
        for (int64_t k = epoch / s->every; k > 0 && lr > 0; k--)
            lr *= s->factor; /* repeated products: the same on every C library */
        return lr;
    }
    if (s->kind == RT_SCHEDULE_PLATEAU)
        return base * p->factor;
    if (s->kind == RT_SCHEDULE_TABLE && s->ntable > 0) {
        int i = 0;
        while (i + 1 < s->ntable && epoch >= s->table[i].epochs) {
            epoch -= s->table[i].epochs;
            i++;
        }
        return spec_lr > 0 ? s->table[i].lr * (base / spec_lr) : s->table[i].lr;
    }
    return base;
}
