/* share.h: which kernels are the same code on other memory.
 *
 * Layers repeat (VGG's three equal convolutions of a stage, the three projections, a layer that the
 * forward and the looking program compute alike).  Such kernels differ in nothing but the places of
 * their tensors, so the code takes those from a table and is made once.
 */
#ifndef CODEGEN_SHARE_H
#define CODEGEN_SHARE_H

#include "ir/plan.h"

enum { KERNEL_SLOTS_MAX = 64 };

/* The values that kernel k names, each once, in the order in which its nodes name them; their number,
 * or 0 when there are too many to share.  Slot i of the table is the offset of value i. */
int kernel_slots(const Graph *g, const Kernel *k, ValueId slot[KERNEL_SLOTS_MAX]);
int64_t slot_offset(const Graph *g, ValueId v);
/* Would both lowerings write the same code?  Everything that a lowering may look at is compared:
 * operators, attributes, shapes, layouts, what is stored, tiles, options.  false when in doubt. */
bool kernel_same_code(const Graph *g, const Kernel *k, const Graph *h, const Kernel *l);

#endif
