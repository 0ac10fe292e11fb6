/* onnx_write.h: a network in the terms of ONNX, for `NAME export --as=onnx`.
 *
 * onnx_graph writes the body of a GraphProto: nodes, inputs, the declared outputs and small
 * constants.  The parameters it reads are listed; the program appends them with its own weights
 * (runtime/rt_export.c).  A function in the table of onnx_ops.c says an operation; one without
 * a row there, or whose function refuses, makes the whole network one that cannot be exported, and
 * `refused` says which layer and why.
 *
 * Values: images are [N, C, H, W], vectors [N, C], N symbolic; values without images have no N.
 * Sequences are [N, C, L] where they come in and go out, images of one row between; clips of
 * several frames are [N, C, D, H, W] (onnx_frames.c).
 * Source: onnx.proto; the operator schemas of onnx.ai, operator set 18.
 */
#ifndef OPS_ONNX_WRITE_H
#define OPS_ONNX_WRITE_H

#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"
#include "ir/op.h"
#include "ops/attrs.h"

enum { ONNX_SET = 18 };

typedef struct OnnxTensor { /* a parameter as an initializer */
    const char *name;
    int param; /* index in the ParamList */
    int rank;
    int64_t dim[5];
} OnnxTensor;

typedef struct OnnxGraph {
    const char *body;
    size_t size;
    const OnnxTensor *tensor;
    int tensors;
    const char *refused; /* NULL: it can be exported */
} OnnxGraph;

typedef struct OnnxEnd { /* an output */
    const char *name;
    ValueId value;
    bool line; /* a sequence, [N, C, L] outside */
} OnnxEnd;
typedef struct OnnxStart { /* an input, by its slot */
    const char *name;
    bool line;
} OnnxStart;

/* g: the forward graph before any pass; end: the declared outputs. */
OnnxGraph onnx_graph(Arena *arena, const Graph *g, const ParamList *params, const OnnxEnd *end,
                     int ends, const OnnxStart *start);

/* ---- for onnx_ops.c ---- */
typedef struct Ox {
    Arena *arena;
    const Graph *g;
    const ParamList *params;
    StrBuf body, node_text;
    const char **value; /* per ValueId: its name, or NULL so far */
    NodeId *reader; /* per ValueId: the only node that reads it, or 0 */
    Map taken, nodes; /* names of values; of nodes, which are others */
    VEC(OnnxTensor) tensor;
    const Node *node; /* being said */
    char why[160];
    int temps;
} Ox;

typedef bool (*OxSay)(Ox *);
extern const OxSay ox_say[OP_COUNT];

bool ox_refuse(Ox *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
const Shape *ox_shape(const Ox *o, int input);
const Shape *ox_result(const Ox *o);
/* Names of inputs: as they are; with other dimensions (of values without images only: dim); so that
 * they repeat over input 0. */
const char *ox_in(Ox *o, int input);
const char *ox_as(Ox *o, int input, int rank, const int64_t *dim);
const char *ox_over(Ox *o, int input);
int ox_clip(const Ox *o, int input); /* 1: input, or the result (-1), has several frames, else 0 */
/* Constants. */
const char *ox_number(Ox *o, double x);
const char *ox_ints(Ox *o, int n, const int64_t *v);
/* A node: begin, arguments and attributes in any order, end.  last: it makes the value of the
 * graph's node; else a value of its own, whose name is the result. */
void ox_begin(Ox *o, const char *type);
void ox_arg(Ox *o, const char *name); /* "": left out */
void ox_attr_int(Ox *o, const char *name, int64_t x);
void ox_attr_ints(Ox *o, const char *name, int n, const int64_t *v);
void ox_attr_float(Ox *o, const char *name, double x);
void ox_label(Ox *o);     /* the node begun has the layer's name, not the last of several */
void ox_no_output(Ox *o); /* the next output of the node begun is not wanted */
void ox_attr_text(Ox *o, const char *name, const char *text);
const char *ox_end(Ox *o, bool last);
const char *ox_one(Ox *o, const char *type, const char *a, bool last);
const char *ox_two(Ox *o, const char *type, const char *a, const char *b, bool last);
/* Numbers about rows and columns; of a clip `deep` about frames in front of them. */
void ox_attr_window(Ox *o, const char *name, bool clip, int64_t deep, const int64_t v[2]);
/* Front and back of frames, or NULL; top, bottom, left, right. */
void ox_attr_pads(Ox *o, const int64_t *deep, const int64_t pad[4]);
/* x[N, C, H, W] as [N, C, 1, H, W], and back. */
const char *ox_framed(Ox *o, const char *x);
const char *ox_unframed(Ox *o, const char *x, bool last);

/* onnx_frames.c */
/* A window over frames that a convolution or a pool takes into its own. */
typedef struct OxDeep {
    int64_t kernel, stride, dilation, pad[2];
} OxDeep;
bool ox_say_frames(Ox *o);
bool ox_say_frames_max(Ox *o);
/* Is the node part of the one that reads it, or already said by others? */
bool ox_absorbed(const Ox *o, NodeId id);
/* The window behind the input of a convolution, whose node is absorbed; NULL: there is none. */
const Node *ox_window(const Ox *o, const Node *conv, OxDeep *deep);
/* A sum that puts clips behind each other: said, as one Concat. */
bool ox_joined_frames(Ox *o);

/* onnx_ops.c: a pool of x, whose shape is src; a: rows and columns; deep: frames, or NULL. */
const char *ox_pool(Ox *o, const char *type, const char *x, const Shape *src, const PoolAttrs *a,
                    const OxDeep *deep, bool whole, bool last);

/* The result is that value itself. */
bool ox_same(Ox *o, const char *name);

#endif
