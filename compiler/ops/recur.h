/* recur.h: facts that lstm and gru share: sequences [C, 1, L] read step by step (code in scan.h).
 *
 * Both are composites: a 1x1 convolution makes the inputs' share of all gates of all steps at once,
 * a scan walks through time, and return = last takes its last step.  `gates` is how many rows of
 * `units` the weights have.  The four parameters have PyTorch's names, which end in _l0.
 */
#ifndef OPS_RECUR_H
#define OPS_RECUR_H

#include "ops/facts.h"

enum { RECUR_ATTRS = 3, RECUR_SCAN_ATTRS = 2 };
extern const AttrDesc recur_attrs[RECUR_ATTRS];           /* of a layer */
extern const AttrDesc recur_scan_attrs[RECUR_SCAN_ATTRS]; /* of its steps */

bool recur_units(Infer *inf, int64_t gates); /* in range? */
/* Input i is [maps, 1, L] (maps 0: any number); L, 0 after a refusal. */
int64_t recur_steps(Infer *inf, int i, int64_t maps);
bool recur_infer(Infer *inf, int64_t gates); /* a layer: src and four parameters */
int recur_params(const RecurAttrs *a, int64_t gates, int64_t inputs, ParamSpec out[4]);
/* src and four parameters, as a convolution and the steps by `scan`. */
ValueId recur_parts(Graph *g, const RecurAttrs *a, int scan, int64_t gates, const ValueId *in);
/* Gradients of the recurrent weight and bias, where needed: from h of the step before and the
 * gradient of the recurrent sums. */
void recur_gradients(Vjp *v, ValueId before, ValueId dsums);
/* Products with the weights; about 60 operations for a unit's curves. */
double recur_flops(const Graph *g, NodeId n, int64_t gates, bool layer);

#endif
