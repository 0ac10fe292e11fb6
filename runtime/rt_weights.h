/* rt_weights.h: the parts of loading and saving that checkpoints share (rt_weights.c). */
#ifndef RT_WEIGHTS_H
#define RT_WEIGHTS_H

#include "rt_model.h"
#include "rt_safetensors.h"

/* Loads from an open file; flags as netrt_load.  *loaded (may be NULL): tensors that fit. */
int rt_weights_take(netrt *m, const st_file *file, int flags, int *loaded, rt_error *err);

/* Every difference between network and file, a line each; how many, 0 when a failure of
 * rt_weights_load names them all. */
struct rt_text;
int rt_weights_differences(const netrt *m, const char *path, struct rt_text *out);

/* Adds all parameters (and momenta) and the describing metadata to a writer, which reads them while
 * it finishes: they must not change before.  *hold must be released after the writer is done,
 * whatever the result. */
struct rt_weights_hold;
int rt_weights_add(const netrt *m, st_writer *w, int with_state, struct rt_weights_hold **hold,
                   rt_error *err);
void rt_weights_release(struct rt_weights_hold *hold);

/* "channels=3 height=227 .. bgr=1": how pictures become the first input. */
void rt_preprocess_text(const rt_model *model, char *buf, size_t size);

#endif
