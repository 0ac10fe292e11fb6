/* rt_optim.h: what the runtime knows of the optimizers: the names of what they keep per weight, and
 * the numbers of a step that their kernels read in the frame.
 */
#ifndef RT_OPTIM_H
#define RT_OPTIM_H

#include "rt_model.h"

/* How many numbers per weight the model's optimizer keeps, and the prefix of their names in a
 * checkpoint: "momentum." + parameter; adam: "exp_avg.", "exp_avg_sq."; rmsprop: "square_avg.",
 * "momentum."; sdlm: "curvature."; slbi: "split_z.", "momentum.", and over filters "split_gamma." */
int rt_states(const rt_model *model);
const char *rt_state_prefix(const rt_model *model, int which);
/* Is this the name of optimizer state, of whatever optimizer? */
int rt_is_state(const char *name);
/* Byte in the state pool where number `which` of the parameter's weights begins. */
int64_t rt_state_offset(const rt_param *p, int which);

/* Fills the scalars of m->frame for its step and rates. */
void rt_optim_scalars(netrt *m);
/* Rates by which every optimizer, from an empty state, goes -rate * gradient: for gradient checks.
 */
void rt_optim_plain(netrt *m, double rate);

/* slbi (Fu et al. 2020): Gamma, the sparse copy of the weights (parameters of more than one
 * dimension), is not 0 where the state's |z| > lambda; over filters: where their |z| is above lambda times the root
 * of their size, a filter all that has one index of the first dimension, in parameters of more than two.  Is parameter
 * `param` of those? */
int rt_optim_is_split(const rt_model *model, int param);
/* Over filters: behind a step, makes Gamma, which the state keeps, of z. */
void rt_optim_groups(netrt *m);
/* The share of these weights whose Gamma is not 0; NAN: no such weights, another optimizer. */
double rt_optim_kept(const netrt *m);
/* Filters whose Gamma is not 0, and all: 0 where the optimizer knows none. */
void rt_optim_filters(const netrt *m, int64_t *kept, int64_t *all);
/* Those whose Gamma is 0 become 0. */
void rt_optim_prune(netrt *m);

#endif
