/* rt_schedule.c: constant, stepwise, by plateau, by table, along a cosine or a power; warm-up
 * (rt_schedule.h).
 *
 * plateau: Krizhevsky 2012 and Zeiler-Fergus 2014 divide the rate by ten "when the validation error
 * stopped improving"; here: no new smallest figure for `every` epochs.  table: LeCun et al. 1998,
 * section III (0.0005 twice, 0.0002 three times, ...).  cosine: Loshchilov, Hutter 2017, equation
 * (5); warm-up: Goyal et al. 2017, section 2.2.  Everything is made of sums, products and roots:
 * the same on every C library.
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

/* cos(pi x), 0 <= x <= 1 */
static double cos_pi(double x) {
    const double pi = 3.14159265358979323846;
    double y = pi * (x > 0.5 ? 1 - x : x), term = 1, sum = 1;
    for (int k = 1; k < 12; k++) {
        term *= -y * y / ((2 * k - 1) * (2 * k));
        sum += term;
    }
    return x > 0.5 ? -sum : sum;
}

/* x^power, 0 <= x <= 1, 0 < power: whole powers are products, the rest halved again and again. */
static double power_of(double x, double power) {
    double y = 1, root = x;
    for (; power >= 1; power -= 1)
        y *= x;
    for (int k = 0; k < 52 && power > 0; k++) {
        root = sqrt(root);
        power *= 2;
        if (power >= 1) {
            y *= root;
            power -= 1;
        }
    }
    return y;
}

static double falling(const rt_schedule *s, double at, int64_t epochs) {
    double length = (double)(s->every > 0 ? s->every : epochs);
    double x = length > 0 && at < length ? at / length : 1;
    double share = s->kind == RT_SCHEDULE_COSINE ? (1 + cos_pi(x)) / 2 : power_of(1 - x, s->power);
    return s->factor + (1 - s->factor) * share;
}

double rt_schedule_rate(const rt_schedule *s, double base, double spec_lr, double at,
                        int64_t epochs, const rt_plateau *p) {
    double rate = s->kind == RT_SCHEDULE_COSINE || s->kind == RT_SCHEDULE_POLY
                      ? base * falling(s, at, epochs)
                      : rt_schedule_lr(s, base, spec_lr, (int64_t)at, p);
    if (at < (double)s->warmup)
        rate *= s->warmup_from + (1 - s->warmup_from) * at / (double)s->warmup;
    return rate;
}
