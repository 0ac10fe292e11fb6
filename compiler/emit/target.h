/* target.h: which machines netc can make code for, and what their vector units look like.
 *
 * requires: nothing.  ensures: a Target whose fields are the only thing that kernels ask about the
 * machine.  "native" takes the host's instruction set with generic tuning: the schedulers' models
 * of single processors were measured to double register pressure (spills) in the convolution tiles.
 */
#ifndef EMIT_TARGET_H
#define EMIT_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "ir/plan.h"

/* Finds the target called `name`: native, x86-64-v2, x86-64-v3, x86-64-v4, aarch64.
 * False and a sentence in `why` (known names included) when there is none. */
bool target_find(Arena *keep, const char *name, Target *out, char *why, size_t n);

/* Does this host run code made for t? */
bool target_runs_here(const Target *t);

/* Known names, NULL-terminated. */
extern const char *const target_names[];

#endif
