/* passes.h: the pass manager's interface; passes.def is the ordered list. */
#ifndef PASSES_H
#define PASSES_H

#include "ir/graph.h"
#include "ir/plan.h"

/* What the three programs of a model need from reverse mode. */
enum { PASS_SEEDS_MAX = 1024 }; /* layers a projection may start from; the front end drops more */
enum { PASS_ROOTS_MAX = 8 };    /* outputs */
typedef struct PassCtx {
    Arena *tmp;               /* reset after each pass */
    const Target *target;
    const PlanOptions *options; /* NULL: defaults; becomes Graph.options */
    bool train;               /* run grad with RULE_TRAIN and append SGD updates */
    struct PassUpdate {       /* train: the optimizer; op 0: OP_SGD */
        int op;
        bool nesterov, decoupled, eps_inside; /* SgdAttrs */
        double eps;
        bool clip_value, clip_norm;           /* gradients are cut; scaled together */
    } update;
    bool curvature;           /* append the second derivatives of parameters (ops/curvature.h) */
    bool attack;              /* append the gradient of the losses at the image */
    bool look;                /* build projections under the three rules */
    bool lanes;               /* small networks may run in whole blocks of images (passes/lanes.c) */
    ValueId losses[8];        /* batched rank-0 values, already weighted by their attrs */
    int nlosses;
    ValueId project_from;     /* look: the pre-softmax score (or last differentiable value) */
    ValueId also_from[PASS_ROOTS_MAX]; /* look: the scores of further outputs */
    int nalso;
    ValueId seeds[PASS_SEEDS_MAX]; /* look: layer values a projection may start from ... */
    const char *seed_label[PASS_SEEDS_MAX];
    int nseeds;
    struct SeedInfo {         /* ... and, per rule, where the seed goes (filled by grad/schedule) */
        ValueId diff;         /* stored value to write the seed into; 0: not possible */
        bool rectified;       /* diff is that behind the layer's rectifier: whoever writes the seed
                                 applies the rule to it (rt_abi.h, rt_seed.rule) */
        int first_kernel;     /* start executing at this kernel index */
        int record_end;       /* kernels of "record" from here on make nothing that it reads */
        ValueId live[16];     /* values alive across that point: zero them first */
        int nlive;
    } *seed_info[4];          /* [Rule][nseeds] */
    ValueId image_diff[4];    /* [Rule]: gradient at the image; attack: [RULE_TRAIN] */
    const char *refused[4];   /* [Rule]: why this rule does not exist for this net, or NULL */
    struct PassMemory {       /* recompute: what options->memory led to */
        int64_t before, after; /* bytes of the whole plan; after = 0: nothing had to be dropped */
        int64_t least;         /* of all plans that were looked at */
        double flops, slower;  /* per step, and the predicted share of it, that recomputing adds */
        bool failed;           /* no plan fits */
    } memory;
    /* debugging */
    const char *dump;         /* "grad,fuse" or "all": print the graph after these passes */
    const char *stop_after;   /* stop after this pass */
    bool time, verify, no_fuse;
    FILE *dump_file;
} PassCtx;

/* Runs every pass of passes.def on g.  BUG()s if a pass breaks an invariant (verify).
 * Returns false when stopped early by stop_after. */
bool passes_run(Graph *g, PassCtx *ctx);
void passes_help(FILE *out); /* --help-passes: the list with one line each */
bool pass_exists(const char *name);
/* Text in, one pass, text out: netc --run-pass=fuse x.ir (tests). */
bool pass_run_one(Graph *g, PassCtx *ctx, const char *name);
/* Adds parameters' layouts and pool offsets; call once after all programs ran `layout`. */
void params_place(ParamList *params);

#endif
