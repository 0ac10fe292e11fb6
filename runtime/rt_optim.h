/* rt_optim.h: what the runtime knows of the optimizers: the names of what they keep per weight, and
 * the numbers of a step that their kernels read in the frame.
 */
#ifndef RT_OPTIM_H
#define RT_OPTIM_H

#include "rt_model.h"

/* How many numbers per weight the model's optimizer keeps, and the prefix of their names in a
 * checkpoint: "momentum." + parameter; adam: "exp_avg.", "exp_avg_sq."; rmsprop: "square_avg.",
 * "momentum."; sdlm: "curvature." */
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

#endif
