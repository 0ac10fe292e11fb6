/* verify.h: what graph_verify.c and plan_check.c share. */
#ifndef IR_VERIFY_H
#define IR_VERIFY_H

#include "ir/plan.h"

typedef struct Check {
    const Graph *g;
    const char *after;
    char *why;
    size_t size;
    Arena *tmp;
    bool *defined; /* per value */
} Check;

/* Writes "graph 'train' after fuse: ..." and returns false. */
bool check_fail(Check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *check_value(Check *c, ValueId v); /* "%12 (c1)" */

/* plan_check.c: entries are ranges, kernels come after what they read; with `placed`, no value is
 * overwritten before its last reader. */
bool check_plan(Check *c, bool placed);

#endif
