/* pass.h: what the passes share among themselves: their signatures and a few small questions. */
#ifndef PASSES_PASS_H
#define PASSES_PASS_H

#include "passes/passes.h"

/* States of a graph, as bits: what a pass requires and what it leaves behind. */
enum {
    P_GRAPH = 1 << 0,    /* nodes and values only */
    P_FUSED = 1 << 1,    /* kernels partition the live nodes */
    P_LAYOUT = 1 << 2,   /* stored values have layouts and sizes */
    P_ORDER = 1 << 3,    /* kernels are in running order, entries exist */
    P_PLANNED = 1 << 4,  /* stored values have places */
};

#define PASS(name, function, requires, help) void function(Graph *g, PassCtx *ctx);
#include "passes/passes.def"
#undef PASS

unsigned graph_state(const Graph *g); /* one of the bits above: the furthest reached */

/* Is v written by the update of a parameter (SGD's result: the parameter itself)? */
bool is_update(const Graph *g, ValueId v);
/* Cost of kernel k: fills flops and bytes (layout.c). */
void kernel_cost(const Graph *g, Kernel *k);

/* recompute.c: the kernel whose results k makes again, with the same bits, or NULL. */
const Kernel *kernel_twin(const Graph *g, const Kernel *k);
/* Bytes of the planned program's training: parameters, state, slabs, scratch, one batch. */
int64_t plan_total_bytes(const Graph *g, const Target *t);

/* ---- life.c: how long stored values must stay ---- */

/* One stored value of POOL_ACT or POOL_FIX, alive from position `from` to position `to` of the
 * kernel order, both included: it may share memory with no value of a common position. */
typedef struct Life {
    ValueId value;
    int from, to;
    int64_t bytes; /* per image in POOL_ACT */
    PoolKind pool;
    bool lasting;  /* kept, or read by entries that run again: its last reader must not destroy it */
} Life;

/* order[p] = index into g->kernels of the kernel that runs p-th (NULL: as they lie). */
Life *find_lives(const Graph *g, const int *order, Arena *tmp, int *count);
/* Values that kernel k may write its last result over if nobody reads them afterwards: it reads
 * each of their elements once, in the step that writes the element of *out in the same place.
 * Returns how many (at most cap are written); *out: that result, 0 if there is none. */
int kernel_overwrites(const Graph *g, const Kernel *k, ValueId *out, ValueId *in, int cap);
/* shares[i] = the life whose memory life i takes over (i itself: none), for lives of that order. */
void share_lives(const Graph *g, const int *order, const Life *lives, int n, int *shares,
                 Arena *tmp);
/* Places for n buffers of which those with a common position do not overlap; returns their size. */
int64_t memplan_pack(Arena *tmp, const Life *lives, int n, int64_t *offset);
/* SECTION_* of kernel k; programs without projections are one section, RECORD. */
int kernel_section(const Graph *g, const uint8_t *sections, const Kernel *k);
bool is_look(const Graph *g);
bool has_sections(const Graph *g); /* entries beside one: look, and what forward prepares */

#endif
