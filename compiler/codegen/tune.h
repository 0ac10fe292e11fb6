/* tune.h: measures the candidates of kernels on this machine: `netc build --tune`. */
#ifndef CODEGEN_TUNE_H
#define CODEGEN_TUNE_H

#include "ir/cost.h"
#include "ir/wisdom.h"

typedef struct TuneOptions {
    bool again;               /* also what the wisdom knows already */
    double limit;             /* seconds of running per kernel; 0: the default */
    /* Called after each kernel that was measured, with its line of text, winner first. */
    void (*tell)(void *context, int at, int of, const char *kernel, const char *times);
    void *context;
} TuneOptions;

/* Measures every choice of `r` that was made for graph g and puts the winners into w.
 * requires: g went through all passes, its parameters are placed, code for t runs here.
 * ensures: g is as it was; returns how many kernels were measured, -1 when memory or threads cannot
 * be had (then w keeps what was measured before). */
int tune_graph(Graph *g, const PlanRecord *r, const Target *t, Wisdom *w, const TuneOptions *o);

#endif
