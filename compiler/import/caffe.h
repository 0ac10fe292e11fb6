/* caffe.h: what is read of Caffe's NetParameter, before it becomes a network (private).
 *
 * Field numbers are those of BVLC's caffe.proto.  The settings of a layer stay encoded and are
 * looked up by number; the two layer formats number the settings differently, their contents are
 * the same.
 */
#ifndef IMPORT_CAFFE_H
#define IMPORT_CAFFE_H

#include "import/im.h"
#include "import/wire.h"

/* Settings of layers: name in prototxt, number in LayerParameter, number in V1LayerParameter. */
#define CAFFE_PARTS(X)                                                                             \
    X(TRANSFORM, "transform_param", 100, 36)                                                       \
    X(CONCAT, "concat_param", 104, 9)                                                              \
    X(CONV, "convolution_param", 106, 10)                                                          \
    X(DATA, "data_param", 107, 11)                                                                 \
    X(DROPOUT, "dropout_param", 108, 12)                                                           \
    X(ELTWISE, "eltwise_param", 110, 24)                                                           \
    X(IMAGE_DATA, "image_data_param", 115, 15)                                                     \
    X(DENSE, "inner_product_param", 117, 17)                                                       \
    X(LRN, "lrn_param", 118, 18)                                                                   \
    X(MEMORY, "memory_data_param", 119, 22)                                                        \
    X(POOL, "pooling_param", 121, 19)                                                              \
    X(POWER, "power_param", 122, 21)                                                               \
    X(RELU, "relu_param", 123, 30)                                                                 \
    X(SOFTMAX, "softmax_param", 125, 39)                                                           \
    X(SLICE, "slice_param", 126, 31)                                                               \
    X(RESHAPE, "reshape_param", 133, 0)                                                            \
    X(FLATTEN, "flatten_param", 135, 0)                                                            \
    X(BN, "batch_norm_param", 139, 0)                                                              \
    X(ELU, "elu_param", 140, 0)                                                                    \
    X(SCALE, "scale_param", 142, 0)                                                                \
    X(INPUT, "input_param", 143, 0)                                                                \
    X(CROP, "crop_param", 144, 0)                                                                  \
    X(CLIP, "clip_param", 148, 0)
typedef enum CaffePart {
#define X(NAME, text, now, before) PART_##NAME,
    CAFFE_PARTS(X)
#undef X
        CAFFE_PART_COUNT
} CaffePart;

typedef struct Span { /* an encoded message; data NULL: absent */
    const unsigned char *data;
    size_t size;
} Span;

enum { CAFFE_MAX_BLOBS = 8 };
typedef struct CaffeLayer {
    const char *name, *type; /* cleaned; type in today's spelling: "Convolution" */
    VEC(const char *) bottom, top;
    ImTensor blob[CAFFE_MAX_BLOBS];
    int blobs;
    Span part[CAFFE_PART_COUNT];
    bool train_only, test_only;
} CaffeLayer;

typedef struct CaffeNet {
    const char *name;
    VEC(CaffeLayer) layer;
    VEC(const char *) input;
    VEC(int64_t) input_dim; /* four for each input */
} CaffeNet;

bool caffe_parse(Im *im, const unsigned char *data, size_t size, CaffeNet *net);
/* Today's name of a type of the older format (0..39), or NULL. */
const char *caffe_v1_type(int64_t type);
int caffe_v1_number(const char *type); /* "CONVOLUTION" -> 4; -1 */

/* Look-ups in encoded settings; the last of several counts. */
int64_t span_int(Span s, uint32_t number, int64_t absent);
double span_float(Span s, uint32_t number, double absent);
bool span_has(Span s, uint32_t number);
Span span_message(Span s, uint32_t number);
int span_ints(Span s, uint32_t number, int64_t *out, int most); /* repeated; how many there are */
int span_floats(Span s, uint32_t number, double *out, int most);

#endif
