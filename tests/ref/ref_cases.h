/* ref_cases.h: at least eight shapes per operator, odd ones included, for every test that walks ops.def.
 *
 * 1x1, kernels as large as the input, strides larger than the kernel, asymmetric padding, dilation,
 * groups, rounded-up windows, channel counts that are no multiple of any vector width.  Small enough
 * for central differences.
 */
#ifndef REF_CASES_H
#define REF_CASES_H

#include "ref_run.h"

typedef enum {
    REF_DATA,   /* batched numbers */
    REF_POSITIVE, /* batched positive numbers */
    REF_WEIGHT, /* unbatched numbers */
    REF_MASK,   /* unbatched zeros and ones, no gradient */
    REF_FIXED,  /* unbatched positive numbers, no gradient */
    REF_CLASS,  /* batched class index below `limit` */
    REF_SWITCH, /* batched window cell below `limit` */
} RefInput;

enum { REF_INPUTS = 5 }; /* inputs of a case */
typedef struct RefCase {
    const char *what;    /* "5x5 stride 2, pad 1 2 0 1" */
    const void *attrs;
    int nin;
    RefInput kind[REF_INPUTS];
    Shape in[REF_INPUTS];
    int64_t limit;
    bool rounds;         /* whole numbers in do not give exact numbers out */
} RefCase;

int ref_case_count(int op);
/* Case i of `op`; attributes and texts live in keep. */
RefCase ref_case(Arena *keep, int op, int i);

/* The graph of one case: one node of `op`.  Batched inputs are VK_INPUT slot i (VK_LABEL slot 0 for
 * classes), unbatched ones parameters in the order of the inputs. */
typedef struct RefCaseGraph {
    Graph *g;
    ValueId in[REF_INPUTS];
    int param[REF_INPUTS]; /* index in g->params of an unbatched input, else -1 */
    NodeId node;
} RefCaseGraph;
RefCaseGraph ref_case_graph(Arena *keep, int op, const RefCase *c);

static inline bool ref_unbatched(RefInput k) {
    return k == REF_WEIGHT || k == REF_MASK || k == REF_FIXED;
}

/* Appends a parameter and makes its value. */
ValueId ref_param(Graph *g, const char *name, Shape s);

/* Distinct numbers in random order, spread evenly over (-reach, reach) and never 0: no ties for a
 * maximum, no rectifier at its kink.  Deterministic in `seed`. */
void ref_fill_distinct(double *at, int64_t n, double reach, uint32_t seed);
/* The same, over (0.5, 1.5). */
void ref_fill_positive(double *at, int64_t n, uint32_t seed);
/* Random integers lo..hi. */
void ref_fill_int(double *at, int64_t n, int lo, int hi, uint32_t seed);
uint32_t ref_random(uint32_t *state);

/* Reverse mode in its plainest form, for tests: from `top` with signal `dy` (0 at a loss) down to
 * all values, in reverse order of node creation, sums made with `add`.  diff[v] = gradient value or
 * 0.  False when the rule is undefined for a node on the way. */
bool ref_backward(Graph *g, ValueId top, ValueId dy, Rule rule, ValueId *diff, size_t ndiff);

#endif
