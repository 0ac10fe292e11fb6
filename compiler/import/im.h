/* im.h: what the files of the importer share (private to compiler/import).
 *
 * Order of work:  import.c recognises the format;  store.c holds the bytes;  wire.c, caffe_text.c,
 * zip.c and npy.c take them apart;  caffe*.c and onnx*.c make an ImNet of them, whose operations
 * are the language's;  net.c infers and checks shapes;  spec.c names the layers and prints the
 * spec; fold.c finds what repeats;  store.c writes the weights.
 *
 * Failing: im_fail records the first failure and returns false, which callers pass on.
 */
#ifndef IMPORT_IM_H
#define IMPORT_IM_H

#include "base/arena.h"
#include "base/bug.h"
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"
#include "import/import.h"

enum {
    IM_MAX_RANK = 8,
    IM_MAX_LAYERS = 20000,   /* of a network */
    IM_MAX_TENSORS = 100000, /* as in rt_safetensors.h */
    IM_MAX_NAME = 200,       /* bytes of a name that we keep */
};
#define IM_MAX_FILE (INT64_C(2) << 30)     /* protobuf's own limit for one message */
#define IM_MAX_ELEMENTS (INT64_C(1) << 31) /* of one tensor */
#define IM_MAX_SIDE INT64_C(65536)         /* of an image */
#define IM_MAX_MAPS INT64_C(16777216)      /* channels, units */

/* ---- failing, telling ---- */
typedef struct Im {
    Arena *arena;
    const ImportOptions *options;
    const char *path; /* as shown in messages */
    int code;
    char text[1024];
    StrBuf notes;          /* lines for the user */
    struct ImBytes *held;  /* files in memory, released by im_end */
    struct ImStore *store; /* an open safetensors file, or NULL */
} Im;

bool im_fail(Im *im, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds "help: ..." to the failure. */
void im_help(Im *im, const char *format, ...) __attribute__((format(printf, 2, 3)));
void im_note(Im *im, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A file's name or text for a message or a comment: valid UTF-8 without control bytes, at most
 * IM_MAX_NAME bytes. */
const char *im_clean(Im *im, const char *text, size_t length);

/* ---- tensors ---- */
typedef enum ImType {
    IM_F32,
    IM_F64,
    IM_F16,
    IM_BF16,
    IM_I8,
    IM_U8,
    IM_I16,
    IM_U16,
    IM_I32,
    IM_U32,
    IM_I64,
    IM_U64,
    IM_BOOL,
    IM_TYPES
} ImType;

/* Elements lie in the file's bytes, row-major and little-endian, perhaps unaligned; or, where
 * `data` is NULL, in the safetensors file `store` at index `slot`. */
typedef struct ImTensor {
    const char *name;
    ImType type;
    int rank;
    int64_t dim[IM_MAX_RANK];
    int64_t count;
    const unsigned char *data;
    int slot;
} ImTensor;

int im_type_size(ImType type);
const char *im_type_name(ImType type);
bool im_type_is_float(ImType type);
/* Sets count; false when negative, too large or of too high rank. */
bool im_tensor_count(ImTensor *t);
double im_tensor_at(const ImTensor *t, int64_t i); /* data must not be NULL */
int64_t im_tensor_int(const ImTensor *t, int64_t i);
/* A new tensor of floats (zeros). */
ImTensor im_tensor_new(Im *im, int rank, const int64_t *dim, float **values);
/* All elements as floats in memory of the arena. */
float *im_tensor_floats(Im *im, const ImTensor *t);
/* The same elements under another shape; the count must fit. */
ImTensor im_tensor_shaped(const ImTensor *t, int rank, const int64_t *dim);

/* ---- networks ---- */
typedef enum ImOp {
    IM_NONE,
#define IM_OP(NAME, spelling, flags) IM_##NAME,
#include "import/im_ops.def"
#undef IM_OP
    IM_OPS
} ImOp;
enum { IM_UNARY = 1, IM_JOIN = 2, IM_WINDOW = 4, IM_SAME = 8 };
extern const char *const im_spelling[IM_OPS];
extern const unsigned char im_flags[IM_OPS];

enum { IM_MAX_PARAMS = 4 };
typedef struct ImParam {
    const char *suffix; /* "weight": the tensor is called LABEL.weight */
    ImTensor tensor;
    bool statistic; /* a running mean or variance: not trained */
} ImParam;

typedef struct ImDeep { /* a window over frames; kernel 0: every frame alone */
    int64_t kernel, stride, dilation, pad[2] /* before, after */, out_pad;
} ImDeep;

typedef struct ImLayer {
    ImOp op;
    const char *name; /* in the file, cleaned; "" */
    int *in, nin;     /* numbers of layers; 0 is the input image */
    ImParam param[IM_MAX_PARAMS];
    int params;
    /* settings, used as far as the operation has them */
    int64_t maps; /* conv, deconv, dense: outputs */
    int64_t kernel[2], stride[2], dilation[2], pad[4] /* top bottom left right */, out_pad[2];
    ImDeep deep;
    int64_t groups, size;
    bool ceil, count_pad, bias;
    bool global;                 /* pools: the window is the whole image */
    bool alpha_per_size, within; /* lrn */
    int64_t at[2];               /* crop: top, left; slice: first map; pad: maps before, after */
    int64_t extent[2];           /* crop, resize, reshape: height, width */
    int parts, part;             /* slice: one of so many equal ones; crop of two: columns alone */
    bool to_end;                 /* slice: all maps from the first on */
    bool align;                  /* upsample, resize: corner to corner */
    bool all, reverse;           /* lstm, gru: outputs of all steps; from the last step on */
    bool line;                   /* a sequence [C, L] in the spec: dim is [C, 1, L] */
    bool affine;                 /* bn: a factor and a term per channel, no statistics */
    double number[4]; /* lrn: k alpha beta; bn: eps; leaky_relu: slope; clip: low high; ... */
    const char *mode; /* pad: "reflect", "edge", NULL zeros; upsample, resize: "bilinear",
                         "nearest"; transpose: "hwc"; mean, max, concat: the axis */
    /* shape of the result: rank 1 or 3, of a clip that of one of its frames */
    int rank;
    int64_t dim[3], frames; /* frames: 1 of all but clips */
    /* spec.c */
    const char *label; /* full: "features.0" */
    int uses;
    bool ragged; /* the window leaves a remainder of real cells */
} ImLayer;

typedef struct ImPrep { /* from pixels 0..255 to what the network reads */
    bool known;
    double scale;   /* (pixel - mean) * scale */
    double mean[4]; /* R G B; grey: [0] */
    double std[4];  /* then divided by it; 1 */
    int means;      /* 0, 1 or 3 */
    bool bgr;
    int64_t crop;        /* side of the square that is cut out, 0: none */
    int64_t resize;      /* before that the shorter side gets so many pixels, 0: none */
    const char *comment; /* or NULL */
    const char *size_comment; /* where resize and crop come from, or NULL */
} ImPrep;

typedef struct ImEnd { /* a further output */
    const char *name; /* in the file, cleaned */
    int score, prob;  /* as of the first */
} ImEnd;

typedef struct ImNet {
    const char *name; /* of the graph in the file, "" */
    const char *format;
    VEC(ImLayer) layer; /* in topological order; [0] is the input */
    int score, prob;    /* layers; prob < 0: no softmax at the end */
    VEC(ImEnd) more;    /* outputs beside that */
    bool has_loss;
    ImPrep prep;
} ImNet;

void im_net_begin(Im *im, ImNet *net);
/* Appends a layer with defaults (stride 1, dilation 1, groups 1) reading `in`; its number. */
int im_add(Im *im, ImNet *net, ImOp op, const char *name, int nin, const int *in);
ImLayer *im_at(ImNet *net, int layer);
void im_param(ImLayer *l, const char *suffix, const ImTensor *t);
/* Shape of layer i from those of its inputs and its weights; false with im's failure. */
bool im_infer(Im *im, ImNet *net, int i);
bool im_infer_all(Im *im, ImNet *net);
/* Makes a layer whose scale and shift per channel are these (NULL: 1, 0): a bn of mean 0 and
 * variance 1, which costs nothing behind a convolution.  Behind another such layer (alone: nobody
 * else reads it) the two become one. */
int im_affine(Im *im, ImNet *net, const char *name, int in, bool alone, const float *scale,
              const float *shift, int64_t channels);
/* Size of the input from the weights of the first dense layer, where the file has none. */
bool im_deduce_input(Im *im, ImNet *net, int64_t channels);
/* "3x227x227", n numbers; false with im's failure. */
bool im_parse_size(Im *im, const char *text, int n, int64_t *dim);
const char *im_shape_text(Im *im, int rank, const int64_t *dim);
const char *im_layer_text(Im *im, const ImLayer *l); /* of its result, frames included */
/* Drops what the language does by itself: flattening before dense, zeros around a convolution. */
void im_simplify(ImNet *net);
bool im_is_score(const ImNet *net, int layer); /* of any output */
bool im_is_prob(const ImNet *net, int layer);  /* the softmax behind it, which makes no statement */
/* Removes layers that no output needs; renumbers. */
void im_prune(Im *im, ImNet *net);

/* ---- files ---- */
typedef struct ImBytes {
    const unsigned char *data;
    size_t size;
    const char *path;
    struct ImBytes *next;
} ImBytes;
/* Whole file in memory until im_end.  NULL with im's failure. */
const ImBytes *im_load(Im *im, const char *path, int64_t limit);
void im_end(Im *im);

/* The named tensors of what is being imported, in the order they will be written. */
typedef struct ImOutTensor {
    const char *name, *original; /* original: name in the file when it differs, else NULL */
    ImTensor tensor;
    bool statistic;
} ImOutTensor;
typedef struct ImOut {
    VEC(ImOutTensor) tensor;
    VEC(struct ImMeta {
        const char *key;
        const char *value;
    })
    meta;
} ImOut;
/* Writes PATH atomically. */
bool im_store_write(Im *im, const ImOut *out, const char *path);
/* Opens a safetensors file: all its tensors but num_batches_tracked. */
bool im_store_read(Im *im, ImOut *out);

/* ---- formats ---- */
bool im_read_caffe(Im *im, const ImBytes *file, ImNet *net);
bool im_read_onnx(Im *im, const ImBytes *file, ImNet *net);
bool im_read_npy(Im *im, const char *name, const unsigned char *data, size_t size, ImOut *out);
bool im_read_npz(Im *im, const ImBytes *file, ImOut *out);
/* A prototxt as the bytes of the NetParameter it describes; NULL with im's failure. */
const ImBytes *im_prototxt(Im *im, const char *path);
const unsigned char *im_prototxt_text(Im *im, const char *path, const char *text, size_t length,
                                      size_t *size);

/* ---- result ---- */
/* Gives every layer that has parameters, or that a spec must name, its label. */
void im_label(Im *im, ImNet *net);
bool im_is_reserved(const char *word);             /* cannot be a label */
bool im_is_index(const char *text, size_t length); /* "12": written [12] in a spec */
const char *im_label_text(Im *im, const char *label);
const char *im_spec(Im *im, ImNet *net, const char *name, const char *weights);
void im_net_weights(Im *im, ImNet *net, ImOut *out);

#endif
