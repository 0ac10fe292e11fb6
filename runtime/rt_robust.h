/* rt_robust.h: errors of a classifier on pictures that an attack has changed (`eval --attack`). */
#ifndef RT_ROBUST_H
#define RT_ROBUST_H

#include "rt_attack.h"
#include "rt_cli.h"

typedef struct rt_robust {
    rt_adversary how;             /* pgd: eps, step, steps */
    int64_t limit;                /* samples at most; 0: all */
    int64_t images, clean, wrong; /* seen; wrong as they are; wrong when changed */
    double loss;                  /* cross-entropy of the changed ones, mean */
} rt_robust;

/* Fills in the counts.  The network works as in prediction: running statistics, no dropout.
 * EUSAGE: it has no classes, or several inputs, or a class per pixel; EDATA: the data are no pictures. */
int rt_robust_count(rt_cli *cli, rt_feed *feed, rt_robust *r, rt_error *err);

#endif
