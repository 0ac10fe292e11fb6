/* cost.h: how long will this kernel take: the roofline that chooses between algorithms and tiles.
 *
 * A `choose` hook makes one Kernel per way of doing the work (a candidate: algorithm, tile, tasks,
 * scratch), fills `seconds` with cost_seconds, and lets plan_choose take the best: the one that
 * measurement found (wisdom), or the one with the least predicted time, the first among equals.
 *
 * theory: Williams, Waterman, Patterson 2009, "Roofline"; the machine's numbers are measured once
 * per machine for target native and fixed for the others, so that the same spec gives the same code.
 */
#ifndef IR_COST_H
#define IR_COST_H

#include "ir/graph.h"
#include "ir/plan.h"
#include "ir/wisdom.h"

/* One call of a kernel, all images, all threads together. */
typedef struct Cost {
    double flops;      /* really executed (Winograd: the products in the transformed domain) */
    double efficiency; /* of the peak that the inner loop reaches while data are at hand; 0: 1 */
    double vector_ops; /* other vector instructions (transforms, epilogues): one per cycle-pair */
    double l2_bytes, l3_bytes, dram_bytes; /* moved from or to each level */
    double tasks;      /* equal pieces of work; few of them leave threads idle */
} Cost;

/* What plan_choose was asked, for --tune: in the order of the questions. */
typedef struct PlanChoice {
    NodeId anchor;           /* names the kernel: its index changes until the plan is done */
    const char *key;         /* plan_key */
    const Kernel *candidate; /* copies, as predicted */
    int n;
} PlanChoice;
typedef struct PlanRecord {
    PlanChoice *at;
    int count, cap;
} PlanRecord;

/* Images per call the plan is made for, at least 1. */
int64_t plan_batch(const Graph *g);
double cost_seconds(const Target *t, const Cost *c);
/* *k = the chosen candidate, with `rejected` and `why` completed.  n >= 1; all fields of *k that are
 * not algorithm, tile, tasks, scratch, winograd, seconds, why are equal in all candidates. */
void plan_choose(const Graph *g, Kernel *k, const Target *t, const Kernel *candidate, int n);
/* Fills k->seconds if no hook has (a roofline of the kernel's flops and bytes), and what is told of
 * other batches: seconds_image and seconds_fixed.  call_bytes: what one call of the whole program
 * moves, which says whether parameters are still in a cache when they are needed again.
 * requires: flops, bytes and tasks of *k. */
void plan_seconds(const Graph *g, Kernel *k, const Target *t, double call_bytes);
/* The name of the problem: operation, shapes, attributes, fused chain, target, batch class. */
const char *plan_key(const Graph *g, const Kernel *k, const Target *t, Arena *a);

/* Name of a candidate, unique among its kernel's: algorithm, tile, rows, images per task. */
const char *plan_candidate_name(const Kernel *k, Arena *a);

#endif
