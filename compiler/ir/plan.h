/* plan.h: what will run: kernels in order, each an anchor node with the elementwise chain fused
 * behind it, its algorithm and tiles, and its cost.
 *
 * `fuse` makes the kernels, `layout` fills algorithm and tiles, `schedule` orders them and makes the
 * entries, `memplan` places values.  `netc emit --as=plan` prints this; codegen reads it.
 */
#ifndef IR_PLAN_H
#define IR_PLAN_H

#include "ir/graph.h"

/* The machine the code is for.  One source for every width: nothing else asks about the CPU. */
typedef struct Target {
    const char *name;      /* "native", "x86-64-v4", "aarch64" */
    const char *triple, *cpu, *features;
    int vector;            /* f32 lanes per vector register: 16, 8, 4 */
    int registers;         /* vector registers: 32, 16 */
    int lanes;             /* f32 lanes of the narrowest vectors that compute at full speed (Zen 4
                              does 512 bits in two steps): images side by side; 0: vector */
    bool fma;              /* hardware fused multiply-add */
    bool broadcast_load;   /* an arithmetic operand may be a broadcast from memory (AVX-512) */
    int64_t l1, l2;        /* bytes, per core */
    int64_t l3;            /* bytes, shared */
    bool bf16_dot;         /* dot products of bfloat16 pairs (vdpbf16ps) */
    struct Speed {         /* what the cost model divides by; measured for "native" (cost.h) */
        double flops;      /* per second and thread, f32 */
        double l2, l3;     /* bytes per second and thread, read */
        double dram;       /* bytes per second, all threads together */
        double dram_one;   /* bytes per second, one thread alone */
        int threads;
    } speed;
} Target;

/* What the person who builds asked for; the same for all programs of a model. */
typedef struct PlanOptions {
    bool exact;            /* --exact: every sum as its definition writes it, no Winograd */
    bool bf16;             /* --weights=bf16: inference reads dense weights as bfloat16 */
    int64_t memory;        /* --memory: bytes that training may take in all; 0: no limit */
    int batch;             /* images per call that the plan is made for; 0: 1 */
    const char *force;     /* tests: take the candidate whose algorithm begins with this */
    const struct Wisdom *wisdom; /* measured winners (wisdom.h), or NULL */
    struct PlanRecord *record;   /* --tune: every choice with its candidates (cost.h), or NULL */
} PlanOptions;

typedef struct Tile {
    int ow, oh;   /* pixels (or images, for dense) along a row and rows per register tile */
    int oc;       /* output vectors per register tile */
    int ic;       /* backward weights: input channels per register tile */
    int unroll;   /* input channels unrolled in the innermost body */
    int rows;     /* output rows per task or per cache block */
} Tile;

/* The best candidate of an algorithm that was not chosen (of the chosen one: in other sizes). */
typedef struct Rejected {
    const char *algorithm;
    double seconds;
    bool other_sizes;
} Rejected;

enum { KERNEL_MAX_CHAIN = 8, KERNEL_MAX_BEHIND = 3, KERNEL_MAX_SOURCE = 4 };

typedef struct Kernel {
    NodeId anchor;             /* the node whose lowering makes the loops; an elementwise node
                                  when the whole kernel is a map */
    NodeId chain[KERNEL_MAX_CHAIN]; /* elementwise nodes applied to the anchor's output 0, in order */
    int nchain;
    NodeId tail;               /* optional pooling node fused behind the chain */
    NodeId behind[KERNEL_MAX_BEHIND]; /* functions of one operand applied to what the tail pools */
    int nbehind;
    NodeId update;             /* weights' gradient: the SGD node applied to it at once; then the
                                  gradient itself is not stored */
    NodeId bias_grad;          /* weights' gradient: the BIAS_GRAD node computed beside it ... */
    NodeId bias_update;        /* ... and its SGD node */
    NodeId source[KERNEL_MAX_SOURCE]; /* a convolution and its chain that make the anchor's source a
                                  band of rows at a time, in scratch (passes/band.c); its register
                                  tile */
    int nsource;
    Tile source_tile;
    const char *name;          /* "conv1+relu+pool" : unique within the graph */
    const char *label;         /* layer, for reports */
    const char *algorithm;     /* "direct", "gemm", "map", ... */
    const char *why;           /* one short sentence for the plan */
    Tile tile;
    bool oc_outer;             /* tasks: output-channel tiles outermost (weights larger than data) */
    int64_t tasks_per, tasks_block; /* tasks per call = per * ceil(n / block); block 0: per */
    int64_t frames;            /* images that it sees for each of the batch: n counts them; 0: 1 */
    double flops_image, flops_fixed;
    double bytes_image, bytes_fixed; /* read + written */
    int64_t scratch;           /* bytes of per-thread scratch it needs */
    int64_t gap, gap_bytes;    /* memplan: the largest part of the ACT slab, per image, in which */
    int64_t top;               /* ... nothing lives meanwhile; beyond `top` nothing lives at all */
    int winograd;              /* output pixels per tile side, F(winograd, kernel); 0: direct */
    double seconds;            /* the cost model's guess for one call of options->batch images */
    double seconds_image, seconds_fixed; /* for n images: the larger of image * n and fixed */
    const Rejected *rejected;  /* what else was possible */
    int nrejected;
    const struct Lanes *lanes; /* a block kernel, made of other kernels' nodes (lanes.h), or NULL */
} Kernel;

void kernel_print(const Graph *g, const Kernel *k, FILE *out);
void plan_print(const Graph *g, const Target *t, FILE *out); /* the text of `emit --as=plan` */
/* The same facts as one JSON object, a kernel per line; times in seconds, sizes in bytes. */
void plan_json(const Graph *g, const Target *t, FILE *out);
/* Where and how a value lies: "c16+1,1,1,1", "plain", "o32x16". */
void plan_layout_text(const Value *v, char *buf, size_t n);

static inline int64_t kernel_frames(const Kernel *k) { return k->frames > 1 ? k->frames : 1; }
/* All nodes of the kernel, in the order of their computation; returns how many. */
enum { KERNEL_MAX_NODES = KERNEL_MAX_SOURCE + KERNEL_MAX_CHAIN + KERNEL_MAX_BEHIND + 5 };
int kernel_nodes(const Kernel *k, NodeId out[KERNEL_MAX_NODES]);
/* The same for block kernels as well, whose number has no bound: where they lie. */
const NodeId *kernel_members(const Kernel *k, NodeId buffer[KERNEL_MAX_NODES], int *count);
/* Values stored by the kernel: the anchor's / chain's / tail's outputs that have Value.stored. */
int kernel_outputs(const Graph *g, const Kernel *k, ValueId *out, int cap);
/* Values read from memory by the kernel (stored or inputs or parameters), each once. */
int kernel_inputs(const Graph *g, const Kernel *k, ValueId *in, int cap);

#endif
