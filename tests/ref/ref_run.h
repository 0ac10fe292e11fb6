/* ref_run.h: interprets a whole Graph in double precision, one reference loop per node.
 *
 * Works on any graph before or after any pass (layouts, kernels and places are ignored; dead nodes
 * are skipped), forward and backward alike, so that compiled code can be compared value by value.
 *
 *     RefRun r = {.g = g, .n = 2, .input = {image}, .label = {digits}, .param = params};
 *     if (!ref_run(&r)) ...;  r.value[v] ...;  ref_run_free(&r);
 */
#ifndef REF_RUN_H
#define REF_RUN_H

#include "ref_ops.h"

enum {
    REF_SLOTS = 8,
    REF_SPARE = 8 /* an output nobody wants has at most so many times the numbers of output 0 */
};

typedef struct RefRun {
    const Graph *g;
    int64_t n;                        /* images in the batch */
    const double *input[REF_SLOTS];   /* VK_INPUT slots: n images in logical order */
    const int32_t *label[REF_SLOTS];  /* VK_LABEL slots: n classes */
    double *const *param;             /* per ParamList index, logical order */
    double *const *state;             /* momentum per parameter; NULL = zeros */
    const double *const *seed_value;  /* VK_SEED by slot; NULL (array or entry) = zeros */
    double lr, momentum, decay;
    uint64_t seed;
    int64_t step;
    /* results */
    double **value;                   /* per ValueId: its numbers (labels, switches too), or NULL */
    double **new_param, **new_state;  /* per ParamList index, when an sgd node updated it */
    char error[160];
} RefRun;

/* Evaluates all live nodes; false (with error set) when an input is missing or a value undefined.
 * Earlier results of r are freed first. */
bool ref_run(RefRun *r);
void ref_run_free(RefRun *r);
int64_t ref_value_elems(const RefRun *r, ValueId v); /* numbers in r->value[v] */

/* A parameter list's numbers: product(shape) each; tables and fills filled in, all else zero. */
double **ref_params_new(const ParamList *params);
void ref_params_free(double **at, int count);

#endif
