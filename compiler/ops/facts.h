/* facts.h: small helpers shared by the families' fact files (x.c): shapes, refusals, window sizes.
 *
 * Order of the hooks: infer(data inputs) first, then params, then infer again with the parameters
 * appended (graph_node does that); params and flops may therefore trust what infer has checked.
 * Error codes: E0301 kernel exceeds input; E0302 groups; E0303 attribute out of range; E0304 rank or
 * extent of an input; E0305 too large; E0306 round = exact; E0307 padding; E0308 connection table;
 * E0309 shape of a parameter; E0310 missing input; E0331 concat; E0332 add and mul.
 */
#ifndef OPS_FACTS_H
#define OPS_FACTS_H

#include "base/limits.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "ops/hooks.h"

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define IMAGE_SIDE_MAX 65535 /* extent of a kernel, stride, padding or dilation in a spec */

/* ---- infer ---- */
/* Fills inf->bad and returns false: `return infer_fail(...)`.  help may be NULL. */
bool infer_fail(Infer *inf, const char *code, int attr, int input, const char *help,
                const char *format, ...) __attribute__((format(printf, 6, 7)));
/* Input `input` exists and has this rank; `who` names what is wanted: "an image [channels, ...]". */
bool infer_rank(Infer *inf, int input, int rank);
/* Inputs 0 and i (if present) have equal shapes. */
bool infer_same(Infer *inf, int i, const char *what);
/* Input i has the shape of input 0, or extent 1 where that has more (flag K). */
bool infer_repeated(Infer *inf, int i);
/* Parameter input i, if already present, has shape `want` or, with equal element count, `split`. */
bool infer_param(Infer *inf, int i, const char *what, Shape want, const Shape *split);
/* Sets output k after checking extents and element count against base/limits.h. */
bool infer_out(Infer *inf, int k, Shape s, DType type);

typedef struct WindowCheck {
    const int64_t *kernel, *stride, *pad, *dilation; /* dilation NULL = 1 */
    RoundMode round;
    bool pool;  /* windows must see real cells: pad < kernel, Caffe's clip; help speaks of `round` */
    int at_kernel, at_stride, at_pad, at_dilation, at_round; /* attribute indices */
} WindowCheck;
/* Output extents of a window over in[2]; fills inf->warn when real cells are discarded. */
bool infer_window(Infer *inf, const WindowCheck *w, const int64_t in[2], int64_t out[2]);

Shape shape_of0(void);
Shape shape_of1(int64_t c);
Shape shape_of2(int64_t o, int64_t i);
Shape shape_of3(int64_t c, int64_t h, int64_t w);
Shape shape_of4(int64_t o, int64_t i, int64_t h, int64_t w);
bool shape_product(const Shape *s, int64_t *elems); /* false: beyond LIMIT_ELEMENTS */

/* The default initialisation of weights when a spec says nothing: uniform with variance 1 / fan_in,
 * bounds -/+ sqrt(3 / fan_in) (LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998, eq. 16).
 * Deep rectifier nets do better with `init = he`. */
ParamSpec param_weight(const char *suffix, Shape shape, int64_t fan_in, int64_t fan_out);
ParamSpec param_zero(const char *suffix, int64_t n);

/* ---- vjp ---- */
static inline const Node *vjp_node(const Vjp *v) { return graph_n(v->g, v->node); }
static inline bool rule_true(const Vjp *v) {
    return v->rule == RULE_TRAIN || v->rule == RULE_GRADIENT;
}
/* The packing of weights with inputs and outputs exchanged: v->transposed, or a new node. */
ValueId vjp_transposed(Vjp *v, ValueId weights, int64_t groups);
/* op(a, b) with attributes (NULL allowed): first output.  Node pointers become invalid. */
ValueId vjp_op1(Vjp *v, int op, const void *attrs, ValueId a);
ValueId vjp_op2(Vjp *v, int op, const void *attrs, ValueId a, ValueId b);
ValueId vjp_op3(Vjp *v, int op, const void *attrs, ValueId a, ValueId b, ValueId c);
bool vjp_identity(Vjp *v); /* dx[0] = dy[0] */
/* The gradient of `like` from that of what its repetition was: sums over what was repeated and, if
 * `like` is one for all images, over the images. */
ValueId vjp_repeated(Vjp *v, ValueId diff, ValueId like);
/* Composites that are chains of other operators (OpDef.parts): composite.c.  vjp_parts is an
 * OpDef.curvature too, where all parts have one. */
void expand_parts(Graph *g, NodeId id);
bool vjp_parts(Vjp *v);

/* ---- losses (softmax_loss.c) ---- */
enum { TARGET_CLASS = 1, TARGET_LAYER = 2, TARGET_MAP = 4 }; /* a label, a layer, a label per pixel */
bool infer_target(Infer *inf, int takes); /* scores or layer, and what they are compared with */
bool infer_loss_value(Infer *inf);        /* one number per image */
bool vjp_loss(Vjp *v, int op);            /* dx[0] = op(in[0], in[1]) with the loss's attributes */
bool vjp_error(Vjp *v, int kind);         /* the same between two layers, ERROR_.. */
double flops_loss(const Graph *g, NodeId n);

/* ---- flops: per image when an input is batched, else per call ---- */
double value_elems(const Graph *g, ValueId v);
double out_elems(const Graph *g, NodeId n);
double flops_out1(const Graph *g, NodeId n);  /* 1 per output element */
double flops_out2(const Graph *g, NodeId n);
double flops_out10(const Graph *g, NodeId n); /* a transcendental function per element */
double flops_none(const Graph *g, NodeId n);

/* Families with one attribute struct for forward and gradient share their tables. */
#define ATTR_INT(type, field, pos, dflt, lo, hi, text)                                             \
    { #field, AT_INT, offsetof(type, field), pos, dflt, NULL, lo, hi, text, false }
#define ATTR_EXTENT(type, field, pos, dflt, lo, text)                                              \
    { #field, AT_EXTENT, offsetof(type, field), pos, dflt, NULL, lo, IMAGE_SIDE_MAX, text, false }
#define ATTR_PADS(type, field, text)                                                               \
    { #field, AT_PADS, offsetof(type, field), false, "0", NULL, 0, IMAGE_SIDE_MAX, text, false }
#define ATTR_BOOL(type, field, dflt, text)                                                         \
    { #field, AT_BOOL, offsetof(type, field), false, dflt, NULL, 1, 0, text, false }
#define ATTR_FLOAT(type, field, pos, dflt, lo, hi, text)                                           \
    { #field, AT_FLOAT, offsetof(type, field), pos, dflt, NULL, lo, hi, text, false }
#define ATTR_ENUM(type, field, dflt, choices, text)                                                \
    { #field, AT_ENUM, offsetof(type, field), false, dflt, choices, 1, 0, text, false }
#define ATTR_HIDDEN(type, field, attr_type, dflt)                                                  \
    { #field, attr_type, offsetof(type, field), false, dflt, NULL, 1, 0, "", true }

#endif
