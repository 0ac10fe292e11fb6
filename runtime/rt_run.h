/* rt_run.h: what rt_model.c needs from rt_run.c. */
#ifndef RT_RUN_H
#define RT_RUN_H

#include "rt_abi.h"
#include "rt_error.h"

struct rt_turn;
struct rt_turn *rt_turn_new(const rt_model *model, int threads, rt_error *err);
void rt_turn_free(struct rt_turn *turn, const rt_model *model, int threads);

/* Bytes of the batch slab for cap images: tensors, and every kernel's scratch where nothing lives
 * while it runs, or behind all that does.  -1: too many. */
int64_t rt_slab_bytes(const rt_program *p, int threads, int64_t cap);

#endif
