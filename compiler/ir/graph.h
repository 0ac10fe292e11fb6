/* graph.h: the intermediate representation: an SSA graph of tensor operations with static shapes.
 *
 * A Graph holds nodes (operations) and values (tensors), both named by 32-bit handles; 0 is "none".
 * Shapes never mention the batch: a value is `batched` or not.  Passes turn the same Graph step by
 * step into a plan: `fuse` groups nodes into kernels (plan.h), `layout` gives every stored value a
 * physical layout, `schedule` orders kernels, `memplan` gives each stored value a place.
 *
 * requires: nothing but base/.  ensures: graph_verify() states all invariants.
 * Physical layouts are nests of axes, after the blocked formats of oneDNN (nChw16c, OIhw16i16o).
 */
#ifndef IR_GRAPH_H
#define IR_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/source.h" /* Loc, LocRange */

typedef uint32_t NodeId;
typedef uint32_t ValueId;

typedef enum { DT_F32, DT_I32, DT_U8 } DType;

enum { SHAPE_MAX_RANK = 5 };

/* Logical extents without the batch.  rank 3: channels, height, width.  rank 1: channels.
 * rank 0: one number per image (batched) or one number (not batched).
 * A clip is a row of `frames` images (2 or more), each of this rank and these extents, one behind
 * the other in memory: operators that know nothing of frames see a batch of n * frames images. */
typedef struct Shape {
    int rank;
    int64_t dim[SHAPE_MAX_RANK + 1]; /* behind the extents: frames, 0 is one image */
} Shape;
static inline int64_t shape_frames(const Shape *s) {
    return s->dim[SHAPE_MAX_RANK] > 1 ? s->dim[SHAPE_MAX_RANK] : 1;
}
/* The same image in another number of frames. */
static inline Shape shape_clip(Shape s, int64_t frames) {
    s.dim[SHAPE_MAX_RANK] = frames > 1 ? frames : 0;
    return s;
}

typedef enum {
    VK_NONE,
    VK_INPUT,  /* the image: user's float NCHW buffer number `slot` */
    VK_LABEL,  /* class index per image, i32, rank 0, batched: buffer `slot` */
    VK_PARAM,  /* weights, biases, frozen tables: entry `slot` of the model's parameter list */
    VK_STATE,  /* optimizer state that belongs to parameter `slot` */
    VK_RESULT, /* output `def_index` of node `def` */
    VK_SEED,   /* look: written by the runtime before a projection starts (in POOL_ACT); `slot` is
                  the Rule of the projection it starts */
} ValueKind;

typedef enum {
    LAYOUT_UNSET,
    LAYOUT_PLAIN,   /* c, h, w row-major, halo around h and w; also every rank-0 value */
    LAYOUT_BLOCKED, /* c/block, h, w, block: nChw{block}c, halo around h and w; rank 1: h = w = 1 */
    LAYOUT_WEIGHTS, /* [group][o / o_tile][i / i_block][kh][kw][i_block][o_tile]; zero-padded */
} LayoutKind;

/* The physical form of a value.  Invariants that every kernel may rely on and must keep:
 * halo cells and padding lanes (channels beyond C up to the block) of a stored value are zero. */
typedef struct Layout {
    LayoutKind kind;
    int block;         /* BLOCKED: channels per block = target vector width */
    int halo[4];       /* PLAIN, BLOCKED: zero rows/columns at top, bottom, left, right */
    bool transposed;   /* WEIGHTS: o and i trade places (for backward data): o_tile tiles the
                          input channels, i_block blocks the output channels */
    int o_tile;        /* WEIGHTS: floats per tile of output channels (a multiple of the vector) */
    int i_block;       /* WEIGHTS: input channels per block (vector width, or all if PLAIN src) */
    int groups;        /* WEIGHTS: groups; tiles and blocks never straddle a group */
} Layout;

/* One axis of a physical layout, outermost first.  Element index p along this axis adds
 * p * mult + offset to logical dimension `dim`; a logical index out of range is padding. */
typedef struct Axis {
    int dim;
    int64_t extent, mult, offset;
} Axis;
enum { LAYOUT_MAX_AXES = 8 };

typedef enum {
    POOL_NONE,  /* not stored (fused away) or not placed yet */
    POOL_ACT,   /* slab that grows with the batch; offset is bytes per image, times capacity */
    POOL_FIX,   /* slab of fixed size: weight gradients, transposed weights */
    POOL_PARAM, /* the model's parameters */
    POOL_STATE, /* optimizer state */
} PoolKind;

typedef struct Value {
    ValueKind kind;
    DType dtype;
    Shape shape;
    bool batched;
    bool stored;      /* fuse: this value lives in memory */
    bool keep;        /* an entry point's result, a recorded layer, a projection seed: must be
                         stored and must survive to the end of the entry that makes it */
    const char *name; /* "c1", "c1.weight", "d.c1": unique when set, else NULL */
    NodeId def;       /* VK_RESULT */
    int def_index;
    int slot;         /* VK_INPUT, VK_LABEL, VK_PARAM, VK_STATE, VK_SEED */
    ValueId same_as;  /* graph_replace_uses: this value gave way to that one; 0 = it stands */
    Layout layout;
    PoolKind pool;
    int64_t offset;   /* bytes; POOL_ACT: bytes per image of capacity (multiple of 64) */
    int64_t bytes;    /* bytes, per image if batched (multiple of 64 for each frame) */
} Value;

typedef struct Node {
    uint16_t op;           /* enum Op, ir/op.h */
    uint8_t nin, nout;
    ValueId *in, *out;     /* out[k] may be 0 when nobody wants that output */
    void *attrs;           /* the op's attribute struct (ops/attrs.h), never NULL if it has one */
    const char *label;     /* layer label from the spec ("conv1"), shared by all nodes it made */
    LocRange loc;          /* where in the spec; {0,0} for nodes made by passes */
    uint32_t kernel;       /* fuse: 1 + index into Graph.kernels, 0 = none yet */
    uint32_t twin;         /* recompute: the node whose results this one makes again, 0 = none */
    bool dead;
} Node;

/* One parameter of the model, shared by all programs (forward, training, looking). */
typedef enum { INIT_ZERO, INIT_FILL, INIT_UNIFORM, INIT_GAUSSIAN, INIT_TABLE } InitKind;
typedef struct Param {
    const char *name;      /* "c1.weight" (PyTorch's convention) */
    Shape shape;           /* logical: conv [O, I/groups, kh, kw]; dense [O, I]; bias [O] */
    Shape split;           /* dense over a [C,H,W] source: [O, C, H, W]; else equal to shape */
    Layout layout;         /* chosen once for all programs */
    InitKind init;
    double init_a, init_b; /* fill value; uniform low, high; gaussian mean, deviation */
    const float *table;    /* INIT_TABLE: product(shape) numbers in logical order */
    const uint8_t *links;  /* optional mask [O * I]: 0 = no connection (weight stays 0) */
    bool frozen;           /* not trained */
    bool constant;         /* not a weight at all: not saved, not counted (masks) */
    bool bf16;             /* kept as bfloat16 (programs that do not train) */
    double max_rms;        /* > 0: Zeiler-Fergus filter renormalisation */
    double lr_mult, decay_mult;
    int64_t trainable;     /* how many numbers really exist (links respected) */
    int64_t offset, state_offset, bytes; /* bytes in POOL_PARAM / POOL_STATE */
    LocRange loc;
    const char *label;     /* layer */
} Param;

/* Distance in bytes of the numbers that the optimizer keeps for one weight. */
static inline int64_t param_state_step(const Param *p) { return (p->bytes + 63) / 64 * 64; }

typedef struct ParamList {
    Param *at;
    int count, cap;
    int64_t bytes, state_bytes; /* pool sizes */
    int states;                 /* numbers that the optimizer keeps per weight; 0 is 1 */
} ParamList;

struct Kernel; /* plan.h */
typedef struct Entry {
    const char *name;       /* "forward", "step", "record", "prepare", "project_deconvnet" */
    int first, count;       /* range of kernels after schedule */
} Entry;

typedef struct Graph {
    const char *name;       /* "forward", "train", "look" */
    const char *net;        /* the network's name */
    Arena *keep;            /* everything in the graph lives here */
    Node *node;             /* 1 .. nnode-1 */
    Value *value;           /* 1 .. nvalue-1 */
    uint32_t nnode, nvalue, cap_node, cap_value;
    NodeId *order;          /* topological order of live nodes (graph_toposort) */
    uint32_t norder;
    ParamList *params;      /* shared */
    const struct PlanOptions *options; /* plan.h; NULL: all defaults */
    struct Kernel *kernels;
    int nkernels;
    Entry entry[8];
    int nentries;
    int64_t act_bytes;      /* memplan: slab bytes per image of batch capacity */
    int64_t act_lower_bound;/* largest sum of live tensors, per image */
    int64_t fix_bytes, fix_lower_bound;
    int64_t scratch_bytes;  /* largest per-thread scratch of any kernel */
} Graph;

Graph *graph_new(Arena *keep, const char *name, const char *net, ParamList *params);
Graph *graph_clone(const Graph *g, const char *name); /* before fuse only; params stay shared */

/* Builder.  Shapes are the caller's duty in *_raw; graph_node() runs the op's infer hook and BUG()s
 * if it refuses (passes use it); the front end calls op_infer() first to report user errors. */
ValueId graph_input(Graph *g, ValueKind kind, DType t, Shape s, bool batched, int slot,
                    const char *name);
NodeId graph_node_raw(Graph *g, int op, const void *attrs, int nin, const ValueId *in, int nout,
                      const Shape *out_shape, const DType *out_type, bool batched);
NodeId graph_node(Graph *g, int op, const void *attrs, int nin, const ValueId *in);
ValueId graph_op(Graph *g, int op, const void *attrs, int nin, const ValueId *in); /* first output */

static inline Node *graph_n(const Graph *g, NodeId n) { return &g->node[n]; }
static inline Value *graph_v(const Graph *g, ValueId v) { return &g->value[v]; }

void graph_replace_uses(Graph *g, ValueId from, ValueId to);
int graph_uses(const Graph *g, ValueId v, NodeId *out, int cap); /* returns the number of uses */
void graph_toposort(Graph *g);     /* stable: by creation order among ready nodes */
void graph_set_name(Graph *g, ValueId v, const char *name);
ValueId graph_find(const Graph *g, const char *name); /* resolved; 0 = nobody has that name */
/* The value that took v's place (through any number of replacements), or v itself. */
ValueId graph_resolve(const Graph *g, ValueId v);

/* Who reads what, as of now: user[first[v] .. first[v + 1]) are the live nodes that read v, in
 * creation order, one entry per input.  Stale as soon as the graph changes. */
typedef struct UseTable {
    uint32_t *first;
    NodeId *user;
} UseTable;
UseTable graph_use_table(const Graph *g, Arena *tmp);
/* Where in the order of programs a node belongs (schedule.c makes entries of it). */
enum { SECTION_PREPARE, SECTION_RECORD, SECTION_PROJECT /* + Rule */ };
/* Section per value (parameters and kernels that read nothing else: PREPARE; what depends on a
 * VK_SEED: PROJECT + its rule; all else: RECORD).  Requires graph_toposort. */
uint8_t *graph_sections(const Graph *g, Arena *tmp);

/* Shapes and layouts (shape.c, layout math only) */
int64_t shape_elems(const Shape *s);              /* of all frames; -1 on overflow */
bool shape_equal(const Shape *a, const Shape *b);
void shape_print(const Shape *s, char *buf, size_t n); /* "96x55x55", "10", "1" */
/* "channels, height, width" view of rank 1 and 3 shapes (rank 1: h = w = 1; rank 0: c = 1) */
void shape_chw(const Shape *s, int64_t *c, int64_t *h, int64_t *w);
/* Output extent of a window: floor, ceil or exact; sets *lost to unread real cells. */
typedef enum { ROUND_FLOOR, ROUND_CEIL, ROUND_EXACT } RoundMode;
bool window_extent(int64_t in, int64_t k, int64_t s, int64_t pad0, int64_t pad1, int64_t dil,
                   RoundMode round, bool clip, int64_t *out, int64_t *lost);
/* Physical size in elements, and the axes, of one frame of a value with shape s (weights:
 * Param.split). */
int64_t layout_elems(const Layout *l, const Shape *s);
int layout_axes(const Layout *l, const Shape *s, Axis axes[LAYOUT_MAX_AXES]);

/* Text and back (graph_print.c, graph_parse.c), invariants (graph_verify.c) */
void graph_print(const Graph *g, FILE *out);
Graph *graph_parse(Arena *keep, const char *text, const char **error); /* *error set on failure */
bool graph_verify(const Graph *g, const char *after, char *why, size_t n);
void graph_dot(const Graph *g, FILE *out);

#endif
