/* onnx.h: what is read of an ONNX model, before it becomes a network (private).
 *
 * Field numbers are those of onnx.proto.  Attributes stay encoded and are looked up by name.
 */
#ifndef IMPORT_ONNX_H
#define IMPORT_ONNX_H

#include "import/im.h"
#include "import/wire.h"

typedef struct OnnxBytes {
    const unsigned char *data;
    size_t size;
} OnnxBytes;

typedef struct OnnxNode {
    const char *name, *type; /* cleaned */
    VEC(const char *) in, out;
    OnnxBytes bytes;
    bool foreign; /* of another domain than ONNX's own */
} OnnxNode;

typedef struct OnnxInput {
    const char *name;
    int rank;                 /* -1: no shape given */
    int64_t dim[IM_MAX_RANK]; /* 0: symbolic */
} OnnxInput;

typedef struct OnnxModel {
    const char *graph, *producer;
    int64_t opset;
    VEC(OnnxNode) node;
    VEC(ImTensor) initializer;
    VEC(OnnxInput) input;
    VEC(const char *) output;
    const char *pixel_format, *pixel_range, *preprocess; /* metadata, or NULL */
} OnnxModel;

bool onnx_parse(Im *im, const unsigned char *data, size_t size, OnnxModel *model);

/* Attributes of a node. */
int64_t onnx_int(const OnnxNode *node, const char *name, int64_t absent);
double onnx_float(const OnnxNode *node, const char *name, double absent);
const char *onnx_text(Im *im, const OnnxNode *node, const char *name, const char *absent);
int onnx_ints(const OnnxNode *node, const char *name, int64_t *out, int most); /* -1: absent */
int onnx_floats(const OnnxNode *node, const char *name, float *out, int most);
bool onnx_has(const OnnxNode *node, const char *name);
bool onnx_tensor(Im *im, const OnnxNode *node, const char *name,
                 ImTensor *t); /* false: absent or bad */

/* ---- values while converting ---- */
typedef struct OnnxValue {
    bool constant;
    ImTensor tensor; /* constant */
    int layer;       /* else */
    int second;      /* axes with a D of two: the other direction's layer, or 0 */
    char axes[8];    /* letters of a sequence's axes (onnx_line.c), "": a vector or an image */
    bool clip;       /* [N, C, D, H, W] */
} OnnxValue;

typedef struct Onnx {
    Im *im;
    ImNet *net;
    OnnxModel *model;
    const OnnxNode *node; /* being converted */
    Map value;            /* name -> OnnxValue */
    Map readers;          /* name -> int */
    int64_t batch;
} Onnx;

bool onnx_refuse(Onnx *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Input i of the node: NULL when absent. */
const OnnxValue *onnx_in(const Onnx *o, int i);
void onnx_put(Onnx *o, int output, OnnxValue v);
void onnx_put_layer(Onnx *o, int layer);
/* The shape that ONNX sees: the batch first. */
int onnx_shape(const Onnx *o, const OnnxValue *v, int64_t dim[IM_MAX_RANK]);
/* Input i must be a layer, or a constant. */
bool onnx_layer_in(Onnx *o, int i, int *layer);
bool onnx_constant_in(Onnx *o, int i, const char *what, ImTensor *t);
/* A layer that reads input 0 and makes output 0, named after its weight or its node; its settings
 * come next, then onnx_done, which infers its shape. */
ImLayer *onnx_add(Onnx *o, ImOp op, const ImTensor *weight);
bool onnx_done(Onnx *o);
bool onnx_unary(Onnx *o, ImOp op, double number);
bool onnx_identity(Onnx *o);

int onnx_readers(const Onnx *o, const char *name);

/* onnx_line.c: sequences. */
bool onnx_line_input(Onnx *o, const OnnxInput *in, OnnxValue *v);
bool onnx_is_line(const Onnx *o, int i); /* input i is [N, C, L] */
int onnx_line_axis(const OnnxValue *v, char letter); /* -1: none */
/* Nodes that only sequences have, and refusals of what they cannot do.  *done: it was one. */
bool onnx_line(Onnx *o, bool *done);

/* onnx_clip.c: clips, values with an axis for frames behind that for maps. */
bool onnx_clip_input(Onnx *o, const OnnxInput *in, OnnxValue *v);
bool onnx_is_clip(const Onnx *o, int i); /* input i is one */
/* Three numbers each, of a node that reads a clip; what it says about rows and columns is kept as of
 * an image.  false: refused. */
bool onnx_clip_window(Onnx *o, ImLayer *l);
/* Nodes that move or drop the axis of frames, and refusals of what clips cannot do. */
bool onnx_clip(Onnx *o, bool *done);

/* onnx_move.c: cells in other places. */
typedef struct OnnxPart { /* of one axis: cells first, first + step, .. */
    int64_t first, step, count;
} OnnxPart;
/* Cuts the part [maps, rows, columns, frames] out of layer in, as output 0; its number, -1: refused. */
int onnx_cut(Onnx *o, int in, const OnnxPart p[4]);
/* Layer `in` becomes the input of another one, which makes output 0. */
ImLayer *onnx_behind(Onnx *o, ImOp op, int in);
bool onnx_reshape(Onnx *o, ImOp op);
bool onnx_flatten(Onnx *o, ImOp op);
bool onnx_squeeze(Onnx *o, ImOp op); /* and Unsqueeze */
bool onnx_transpose(Onnx *o, ImOp op);
bool onnx_pad(Onnx *o, ImOp op);
bool onnx_resize(Onnx *o, ImOp op);
bool onnx_slice(Onnx *o, ImOp op);
bool onnx_split(Onnx *o, ImOp op);
bool onnx_reduce(Onnx *o, ImOp op);

/* onnx_fold.c */
/* Numbers of input `i`, or of the attribute of older versions; how many, -1: not known. */
int onnx_list(Onnx *o, int i, const char *name, int64_t out[IM_MAX_RANK]);
/* First index and number of indices of a part from..to by step of an axis with n cells. */
bool onnx_range(int64_t n, int64_t *from, int64_t to, int64_t step, int64_t *count);
/* Nodes whose result is known now: shapes, constants and sums of them.  *done: it was one. */
bool onnx_fold(Onnx *o, bool *done);

#endif
