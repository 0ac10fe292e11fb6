/* op.h: what an operator is: one row of ops.def plus one OpDef with its hooks.
 *
 * Nothing else in the compiler lists operators.  Passes reach an operator only through its flags
 * and hooks.  An OpDef lives with its family in ops/; ops/attrs.h holds the attribute structs.
 */
#ifndef IR_OP_H
#define IR_OP_H

#include "base/diag.h"
#include "ir/graph.h"

typedef enum Op {
    OP_NONE,
#define OP(NAME, name, nin, nout, flags) OP_##NAME,
#include "ir/ops.def"
#undef OP
    OP_COUNT
} Op;

/* flags (letters as in ops.def's legend) */
enum {
    OPF_E = 1 << 0,  /* elementwise: dst[i] depends on in[*][i] only; has .scalar */
    OPF_Z = 1 << 1,  /* f(0, ..) = 0 in the first input: keeps padding lanes zero */
    OPF_I = 1 << 2,  /* may write its first output over its first input */
    OPF_A = 1 << 3,  /* anchor: its kernel accepts a fused elementwise chain on output 0 */
    OPF_N = 1 << 4,  /* not differentiable (has no vjp) */
    OPF_U = 1 << 5,  /* usable in a spec (DSL operation) */
    OPF_P = 1 << 6,  /* has parameters (weights, bias): .params hook */
    OPF_S = 1 << 7,  /* result depends on random numbers or on training mode */
    OPF_L = 1 << 8,  /* a loss: output is one number per image; vjp takes the implied seed */
    OPF_V = 1 << 9,  /* a view or front-end convenience that `fold` must remove before fuse */
    OPF_W = 1 << 10, /* window op: .window gives kernel, stride, pad for receptive fields */
    OPF_X = 1 << 11, /* effect: updates a parameter; never dead */
    OPF_C = 1 << 12, /* commutes: its two inputs may trade places */
    OPF_K = 1 << 13, /* elementwise, but inputs from 1 on may have extent 1 where input 0 has more, and
                        are repeated there: [C], [C, 1, 1], [1, H, W], [1]; the same for all images
                        (not batched) or one for each */
    OPF_T = 1 << 14, /* a loss that also compares two layers (input 1 is no label) */
    OPF_F = 1 << 15, /* sees the frames of a clip; all others see each frame as an image */
};

typedef enum { AT_INT, AT_BOOL, AT_FLOAT, AT_EXTENT, AT_PADS, AT_ENUM, AT_TABLE, AT_STR } AttrType;

/* One attribute.  Drives argument checking, `netc explain`, printing, parsing and the manual.
 * AT_INT int64_t; AT_BOOL bool; AT_FLOAT double; AT_EXTENT int64_t[2] (h, w; a scalar broadcasts);
 * AT_PADS int64_t[4] (top, bottom, left, right; a scalar or HxW broadcasts); AT_ENUM int (index
 * into choices "floor|ceil|exact"); AT_TABLE `const ConnTable *`; AT_STR const char *.
 * A default that is the name of an earlier attribute means that attribute's value.
 * A field without a row is read by nobody: text and comparison know the rows alone. */
typedef struct AttrDesc {
    const char *name;
    AttrType type;
    uint16_t offset;      /* offsetof in the op's attribute struct */
    bool positional;      /* may be given without name=, in table order */
    const char *dflt;     /* text of the default as one would write it; NULL = required */
    const char *choices;  /* AT_ENUM */
    double min, max;      /* inclusive range for numbers; min > max: unchecked */
    const char *doc;
    bool internal;        /* set by the compiler only: never accepted in a spec, not documented */
} AttrDesc;

/* infer: shapes from inputs and attributes.  On a user error fill `bad`. */
typedef struct InferError {
    const char *code;     /* "E0301" */
    int attr;             /* index of the attribute to blame, -1 = the operation */
    int input;            /* index of the input to blame, -1 */
    char text[256];       /* "kernel 7x7 exceeds the padded input 5x5" */
    char help[256];       /* "" or the way out */
    char fix[64];         /* "" or replacement text for the blamed attribute's value */
} InferError;
typedef struct InferWarn { /* window ops: discarded real cells */
    int attr;
    char text[256];
    char help[256];
} InferWarn;
typedef struct Infer {
    const void *attrs;
    int nin;
    const Shape *in;       /* logical shapes; not batched inputs included (weights) */
    Shape out[4];          /* result */
    DType out_type[4];
    bool unbatched;        /* outputs are sums over the batch: a parameter's gradient */
    InferError bad;
    InferWarn warn;        /* text[0] != 0: W0207 */
} Infer;

/* params: which parameters the op owns, given attributes and its data inputs' shapes. */
typedef struct ParamSpec {
    const char *suffix;    /* "weight", "bias", "centers" */
    Shape shape, split;    /* split: see Param.split */
    int64_t fan_in, fan_out;
    bool frozen;
    bool statistic;        /* written by training, but not trained: saved, not counted */
    bool plain;            /* train { init = .. } is not meant for it; not decayed unless said */
    InitKind init;         /* default rule if the spec says nothing */
    double init_a, init_b;
    int64_t ones_from, ones_to; /* unless the spec gives an init, these numbers begin as 1 */
} ParamSpec;

/* Reverse mode.  Rules: RULE_TRAIN is the true gradient of the losses; RULE_GRADIENT the true
 * gradient of one seeded activation; RULE_DECONVNET (Zeiler-Fergus) and RULE_GUIDED
 * (Springenberg) differ in the rectifiers and in the normalisations. */
typedef enum { RULE_TRAIN, RULE_GRADIENT, RULE_DECONVNET, RULE_GUIDED, RULE_COUNT } Rule;
typedef struct Vjp {
    Graph *g;
    NodeId node;
    Rule rule;
    const ValueId *dy;     /* per output; 0 = no gradient flows in (losses: always 0, implied) */
    const ValueId *gy;     /* curvature rules: the gradients of the outputs, 0 = none */
    const bool *need;      /* per input */
    ValueId *dx;           /* out: per input; 0 = none */
    ValueId (*transposed)(struct Vjp *, ValueId weights); /* transposed packing, made once */
    void *user;
} Vjp;

typedef struct KernelCtx KernelCtx;  /* ops/lower.h */
typedef struct ScalarCtx ScalarCtx;  /* ops/lower.h */
struct LanesCtx;                     /* ops/lanes.h */
struct UpdateStep;                   /* ops/optim.h */
struct LLVMOpaqueValue;
struct Target;

/* What a layer-wise rule of looking (relevance) must know of an operation. */
typedef enum { PART_OTHER, PART_MOVES, PART_WEIGHTS, PART_NORM, PART_SUM, PART_MAX } OpPart;

typedef struct OpDef {
    const char *title;     /* "2-D convolution (cross-correlation)" */
    const char *formula;   /* "dst[o,y,x] = bias[o] + sum ..." */
    const char *doc;       /* one paragraph for `netc explain conv` and LANGUAGE.md */
    const char *theory;    /* paper, section, equation */
    size_t attr_size;
    const AttrDesc *attrs;
    int nattrs;
    bool (*infer)(Infer *);                                        /* false: .bad is filled */
    int (*params)(const void *attrs, const Shape *in, ParamSpec out[4]);
    OpPart part;              /* rectifiers and what moves numbers; sums with weights; .. */
    bool (*vjp)(Vjp *);       /* false: this rule is undefined for this op (tanh + deconvnet) */
    /* second derivatives backwards (ops/curvature.h): dy and dx are curvatures.  NULL: functions of
     * one operand have their squared derivative, others none.  curvature_can: this node, NULL: yes */
    bool (*curvature)(Vjp *);
    bool (*curvature_can)(const Graph *, NodeId);
    const char *curvature_else; /* where it has none: what has, a user's next step; or NULL */
    /* composites have no code: after grad the node becomes another one (and new ones before it) */
    void (*expand)(Graph *, NodeId); /* may leave the node where `lower` has code for it */
    /* or: builds those parts from the node's inputs and returns the result; then expand is
     * expand_parts and vjp may be vjp_parts, which goes back through the parts (ops/composite.c) */
    ValueId (*parts)(Graph *, const void *attrs, const ValueId *in);
    double (*flops)(const Graph *, NodeId);                        /* per image */
    bool spreads; /* .window is that of the adjoint: a stride makes the output larger (deconv) */
    bool sees_all; /* every output cell depends on whole maps */
    bool recurrent; /* reads a sequence step by step: the weights meet every step, in split form */
    bool (*window)(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]);
    struct LLVMOpaqueValue *(*scalar)(ScalarCtx *);                /* OPF_E */
    void (*lower)(KernelCtx *);                                    /* all others */
    /* layout wishes: halo that input i needs (top,bottom,left,right); NULL = none */
    void (*halo)(const Graph *, NodeId, int input, int halo[4]);
    /* algorithm, tiles, why, oc_outer, task split (tasks = per * ceil(n / block), or per when block
     * is 0) and scratch of a kernel whose anchor this op is; runs inside the layout pass, after all
     * data layouts are known. */
    void (*choose)(const Graph *, struct Kernel *, const struct Target *);
    /* layout of weights-like input (or, input = -1, of output 0); false: not weights-like */
    bool (*weights)(const Graph *, NodeId, int input, const struct Target *, Layout *out);
    /* An optimizer: one vector's step (ops/optim.h), and how many numbers per weight it keeps. */
    void (*update)(struct UpdateStep *);
    int states;
    /* The op inside a block kernel, images in the lanes (ops/lanes.h); NULL: networks with it have
     * no block kernel.  Elementwise ops need none.  lanes_halo: what input i needs there. */
    void (*lanes)(struct LanesCtx *);
    void (*lanes_halo)(const Graph *, NodeId, int input, const struct Target *, int halo[4]);
    bool (*lanes_can)(const Graph *, NodeId); /* this node too?  NULL: always */
} OpDef;

extern const OpDef *const op_def[OP_COUNT];   /* ir/op.c */
extern const char *const op_name[OP_COUNT];
extern const uint32_t op_flags[OP_COUNT];
extern const int8_t op_nin[OP_COUNT];  /* -1: one or more */
extern const int8_t op_nout[OP_COUNT];

int op_find(const char *name);         /* OP_NONE if unknown */
bool op_infer(int op, Infer *inf);
/* Are two attribute structs of `op` equal, attribute by attribute?  Padding does not count, floats
 * count by their bits, connection tables and strings by what they hold.  NULL only without attributes. */
bool op_same_attrs(int op, const void *a, const void *b);
static inline bool op_is(int op, uint32_t flag) { return (op_flags[op] & flag) != 0; }

#endif
