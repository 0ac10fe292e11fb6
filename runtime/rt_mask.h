/* rt_mask.h: weights held at zero: which weights of a network exist, as pruning leaves them.
 *
 * A mask has one byte per weight in logical order, 1 = kept.  Files keep it beside the weights as
 * NAME_mask (BOOL); what is 0 there is 0 after every step of training.  What a network computes is
 * not told of masks: the zeros are in its weights.
 */
#ifndef RT_MASK_H
#define RT_MASK_H

#include "rt_model.h"
#include "rt_safetensors.h"

#define RT_MASK_SUFFIX "_mask"

/* Holds the weights of `param` where keep is 0 at zero from now on, and makes them zero. */
int rt_mask_set(netrt *m, int param, const unsigned char *keep, rt_error *err);
/* NULL: all weights of the parameter are kept. */
const unsigned char *rt_mask_of(const netrt *m, int param);
void rt_mask_clear(netrt *m); /* all weights are kept again */

/* Makes all that is not kept zero: after every change of parameters. */
void rt_mask_apply(netrt *m);

/* One more step of pruning: of the kept weights of `param` the share that is smallest in magnitude,
 * rounded to whole weights, is cleared in keep (all 1 at first); of equal ones the earlier.  Returns
 * how many are kept.  theory: Han et al. 2015; Frankle and Carbin 2019, section 2. */
int64_t rt_mask_prune(const float *w, int64_t n, double share, unsigned char *keep, rt_error *err);

/* Are weights of this parameter pruned: those of convolutions and dense layers, not biases? */
int rt_mask_wanted(const rt_param *p);

/* Files: is `name` the mask of tensor `base`; writes and reads all masks. */
int rt_mask_names(const char *name, const char *base);
int rt_mask_type(const st_tensor *t); /* one byte per weight */
int rt_mask_write(const netrt *m, st_writer *w, rt_error *err);
int rt_mask_read(netrt *m, int param, const st_file *file, const char *base, rt_error *err);

#endif
