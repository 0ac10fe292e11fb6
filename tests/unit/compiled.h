/* compiled.h: runs the compiled kernels of a planned graph and holds every number they store against
 * the double-precision reference.
 *
 * compiled_check() fills all slabs with NaN, runs the kernels in order and verifies after each one:
 *   - every output, read back through layout_axes, against the reference loops applied to the very
 *     inputs that the kernel read (local bound: no error is inherited);
 *   - padding lanes and halos are zero;
 *   - nothing else in any slab, no guard zone and no foreign scratch byte changed;
 *   - the same bits come out of a second slab with another capacity, its tasks cut into ranges that
 *     run in another order with dirty scratch memory in between;
 *   - inputs still hold what their kernel wrote (the memory plan is right).
 * At the end, if asked, kept values against ref_run's own chain of doubles (global bounds).
 */
#ifndef COMPILED_H
#define COMPILED_H

#include "codegen/codegen.h"
#include "emit/target.h"
#include "ref_run.h"
#include "rt_abi.h"

typedef struct Compiled {
    Graph *g;
    const char *prefix;
    rt_kernel_fn *fn; /* per kernel, after compiled_link */
} Compiled;

/* Several graphs share one module (the JIT is slow to start). */
Emit *compiled_begin(Arena *keep, const Target *t);
Compiled compiled_add(Emit *e, Graph *g, const char *prefix);
/* Optimises (level 0..3) and finds the kernels; prints why not. */
bool compiled_link(Emit *e, Compiled *at, int count, int level);

/* Target by name; false when this host cannot run it. */
bool compiled_target(Arena *keep, const char *name, Target *out);

/* ---- slabs ---- */
typedef struct Slab {
    char *block, *at; /* with guard zones around at[0 .. bytes) */
    int64_t bytes;
} Slab;
typedef struct Slabs {
    const Graph *g;
    rt_frame frame;
    Slab act, fix, param, state, scratch;
    float *input[4];
} Slabs;

/* For r->n images in a slab of capacity cap: ACT, FIX and scratch are NaN; parameters, momenta and
 * inputs come from r (rounded to float), padding zero. */
Slabs slabs_new(const Graph *g, const RefRun *r, int64_t cap);
void slabs_free(Slabs *s);
/* Logical numbers of a stored value, a parameter or a momentum; labels and inputs not.  A gradient
 * that lies in several parts (ir/lanes.h) is their sum. */
void slabs_write(Slabs *s, ValueId v, const double *from);
/* Returns the number of padding elements that are not zero. */
int64_t slabs_read(const Slabs *s, ValueId v, double *to);
/* Tasks of kernel k cut into `pieces` ranges, run last range first if `reverse`. */
void slabs_run(Slabs *s, const Compiled *c, int k, int pieces, bool reverse);
/* All kernels of an entry, one thread. */
void slabs_entry(Slabs *s, const Compiled *c, const char *entry);
int64_t kernel_tasks(const Kernel *k, int64_t n);

/* Is a rectifier or a maximum so near a tie that float may decide otherwise?  value: per ValueId. */
bool near_tie(const Graph *g, double *const *value, int64_t images);

/* ---- the comparison ---- */
typedef struct Check {
    RefRun *data;            /* inputs, labels, parameters, rates; ref_run is called if global */
    double *const *seed_at;  /* per ValueId: numbers of VK_SEED values; NULL = zeros */
    double local;            /* |compiled - reference| / max |reference| may be this many times the
                                sum of ref_tolerance over the kernel's nodes; 0: exact */
    bool exact;              /* integers: the bits must be equal */
    bool global;
    double forward, backward;/* global bounds */
    const char *what;        /* printed with every failure */
    int64_t kinky;           /* out: global gradients were skipped, a kink was too near */
} Check;
/* Number of failures, each printed (the first few). */
int compiled_check(const Compiled *c, Check *check);

#endif
