/* rt_epochs.h: weights that training kept beside its checkpoints: DIR/epoch-5.safetensors, after
 * epoch 5 (0: as initialised), for analyses of how a network came about.
 */
#ifndef RT_EPOCHS_H
#define RT_EPOCHS_H

#include <stddef.h>
#include <stdint.h>

#include "rt_error.h"

enum { RT_EPOCHS_MAX = 1000 };
typedef struct rt_epochs {
    int64_t epoch[RT_EPOCHS_MAX]; /* rising */
    int n;
} rt_epochs;

/* What lies in dir; nothing there is no failure.  ELIMIT: more than RT_EPOCHS_MAX. */
int rt_epochs_find(const char *dir, rt_epochs *e, rt_error *err);
/* The file of an epoch. */
void rt_epochs_path(const char *dir, int64_t epoch, char *path, size_t size);
/* Removes those of an earlier run. */
void rt_epochs_remove(const char *dir);

#endif
