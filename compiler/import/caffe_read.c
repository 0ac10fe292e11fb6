/* caffe_read.c: a NetParameter from its bytes (caffe.h).
 *
 * requires: nothing of the bytes.  ensures: blobs lie inside the file and hold as many numbers as
 * their shapes say.  Both layer formats are understood; the first one of 2013 (layers within
 * layers) is refused with the tool that rewrites it.
 */
#include "import/caffe.h"

#include <string.h>

enum { /* field numbers */
       NET_NAME = 1,
       NET_LAYERS_V1 = 2,
       NET_INPUT = 3,
       NET_INPUT_DIM = 4,
       NET_INPUT_SHAPE = 8,
       NET_LAYER = 100,
       BLOB_NUM = 1,
       BLOB_WIDTH = 4,
       BLOB_DATA = 5,
       BLOB_SHAPE = 7,
       BLOB_DOUBLE = 8,
};

/* ---- settings ---- */
static bool find(Span s, uint32_t number, WireField *out) {
    Wire w = wire_of(s.data, s.size);
    WireField f;
    bool found = false;
    while (wire_next(&w, &f))
        if (f.number == number) {
            *out = f;
            found = true;
        }
    return found;
}

int64_t span_int(Span s, uint32_t number, int64_t absent) {
    WireField f;
    return find(s, number, &f) && f.type == WIRE_VARINT ? wire_int(&f) : absent;
}

double span_float(Span s, uint32_t number, double absent) {
    WireField f;
    return find(s, number, &f) && f.type == WIRE_32 ? (double)wire_float(&f) : absent;
}

bool span_has(Span s, uint32_t number) {
    WireField f;
    return find(s, number, &f);
}

Span span_message(Span s, uint32_t number) {
    WireField f;
    if (!find(s, number, &f) || f.type != WIRE_BYTES)
        return (Span){0};
    return (Span){f.data, f.size};
}

int span_ints(Span s, uint32_t number, int64_t *out, int most) {
    Wire w = wire_of(s.data, s.size);
    WireField f;
    int n = 0;
    while (wire_next(&w, &f)) {
        if (f.number != number)
            continue;
        Wire packed = wire_of(f.data, f.size);
        uint64_t v = f.value;
        while (f.type == WIRE_VARINT ||
               (f.type == WIRE_BYTES && packed.at < packed.end && wire_varint(&packed, &v))) {
            if (n < most)
                memcpy(&out[n], &v, sizeof v);
            n += n < most + 1;
            if (f.type == WIRE_VARINT)
                break;
        }
    }
    return n;
}

int span_floats(Span s, uint32_t number, double *out, int most) {
    Wire w = wire_of(s.data, s.size);
    WireField f;
    int n = 0;
    while (wire_next(&w, &f)) {
        if (f.number != number || (f.type != WIRE_32 && f.type != WIRE_BYTES))
            continue;
        for (size_t i = 0; i + 4 <= f.size; i += 4) {
            float x;
            memcpy(&x, f.data + i, 4);
            if (n < most)
                out[n] = (double)x;
            n += n < most + 1;
        }
    }
    return n;
}

/* ---- types of the older format ---- */
static const struct {
    const char *before, *now;
} v1_types[] = {
    {"NONE", NULL},
    {"ACCURACY", "Accuracy"},
    {"BNLL", "BNLL"},
    {"CONCAT", "Concat"},
    {"CONVOLUTION", "Convolution"},
    {"DATA", "Data"},
    {"DROPOUT", "Dropout"},
    {"EUCLIDEAN_LOSS", "EuclideanLoss"},
    {"FLATTEN", "Flatten"},
    {"HDF5_DATA", "HDF5Data"},
    {"HDF5_OUTPUT", "HDF5Output"},
    {"IM2COL", "Im2col"},
    {"IMAGE_DATA", "ImageData"},
    {"INFOGAIN_LOSS", "InfogainLoss"},
    {"INNER_PRODUCT", "InnerProduct"},
    {"LRN", "LRN"},
    {"MULTINOMIAL_LOGISTIC_LOSS", "MultinomialLogisticLoss"},
    {"POOLING", "Pooling"},
    {"RELU", "ReLU"},
    {"SIGMOID", "Sigmoid"},
    {"SOFTMAX", "Softmax"},
    {"SOFTMAX_LOSS", "SoftmaxWithLoss"},
    {"SPLIT", "Split"},
    {"TANH", "TanH"},
    {"WINDOW_DATA", "WindowData"},
    {"ELTWISE", "Eltwise"},
    {"POWER", "Power"},
    {"SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"},
    {"HINGE_LOSS", "HingeLoss"},
    {"MEMORY_DATA", "MemoryData"},
    {"ARGMAX", "ArgMax"},
    {"THRESHOLD", "Threshold"},
    {"DUMMY_DATA", "DummyData"},
    {"SLICE", "Slice"},
    {"MVN", "MVN"},
    {"ABSVAL", "AbsVal"},
    {"SILENCE", "Silence"},
    {"CONTRASTIVE_LOSS", "ContrastiveLoss"},
    {"EXP", "Exp"},
    {"DECONVOLUTION", "Deconvolution"},
};
enum { V1_TYPES = sizeof v1_types / sizeof *v1_types };

const char *caffe_v1_type(int64_t type) {
    return type >= 0 && type < V1_TYPES ? v1_types[type].now : NULL;
}

int caffe_v1_number(const char *type) {
    for (int i = 0; i < V1_TYPES; i++)
        if (strcmp(type, v1_types[i].before) == 0)
            return i;
    return -1;
}

/* ---- blobs ---- */
/* Numbers that do not lie together are gathered; count is known to be what the shape says. */
static void gather(Im *im, Span message, uint32_t number, ImTensor *t) {
    size_t size = (size_t)im_type_size(t->type), at = 0;
    Wire w = wire_of(message.data, message.size);
    WireField f, only = {0};
    int pieces = 0;
    while (wire_next(&w, &f))
        if (f.number == number && f.size > 0) {
            only = f;
            pieces++;
        }
    if (pieces <= 1) {
        t->data = pieces ? only.data : (const unsigned char *)"";
        return;
    }
    unsigned char *all = arena_array(im->arena, t->count, size);
    w = wire_of(message.data, message.size);
    while (wire_next(&w, &f))
        if (f.number == number && f.size > 0) {
            memcpy(all + at, f.data, f.size); /* the sum of all sizes is count * size */
            at += f.size;
        }
    t->data = all;
}

static bool blob_shape(Span message, Span shape, int legacy, ImTensor *t) {
    if (shape.data) {
        t->rank = span_ints(shape, 1, t->dim, IM_MAX_RANK);
    } else if (legacy) {
        t->rank = 4;
        for (int i = 0; i < 4; i++)
            t->dim[i] = span_int(message, (uint32_t)(BLOB_NUM + i), 1);
    }
    return im_tensor_count(t);
}

static bool read_blob(Im *im, Span message, const char *layer, ImTensor *t) {
    Wire w = wire_of(message.data, message.size);
    WireField f;
    Span shape = {0};
    int64_t floats = 0, doubles = 0;
    int legacy = 0;
    *t = (ImTensor){.name = layer};
    while (wire_next(&w, &f)) {
        int64_t n = f.number == BLOB_DATA     ? wire_count(&f, 4)
                    : f.number == BLOB_DOUBLE ? wire_count(&f, 8)
                                              : 0;
        if (n < 0)
            w.bad = true;
        floats += f.number == BLOB_DATA ? n : 0;
        doubles += f.number == BLOB_DOUBLE ? n : 0;
        if (f.number == BLOB_SHAPE && f.type == WIRE_BYTES)
            shape = (Span){f.data, f.size};
        legacy |= f.number >= BLOB_NUM && f.number <= BLOB_WIDTH;
        if (w.bad)
            break;
    }
    t->type = doubles && !floats ? IM_F64 : IM_F32;
    int64_t n = t->type == IM_F64 ? doubles : floats;
    if (w.bad || !blob_shape(message, shape, legacy, t))
        return im_fail(im, NETC_DATA, "a blob of layer '%s' is malformed", layer);
    if (!shape.data && !legacy) {
        t->rank = 1; /* neither: a plain list */
        t->dim[0] = t->count = n;
    }
    if (t->count != n)
        return im_fail(im, NETC_DATA, "a blob of layer '%s' is %s but holds %lld numbers", layer,
                       im_shape_text(im, t->rank, t->dim), (long long)n);
    gather(im, message, t->type == IM_F64 ? BLOB_DOUBLE : BLOB_DATA, t);
    return true;
}

/* ---- layers ---- */
/* What the fields of a layer are called in each of the two formats. */
typedef struct Format {
    uint32_t name, type, bottom, top, blobs, include, exclude;
    bool v1;
} Format;
static const Format now = {
    .name = 1, .type = 2, .bottom = 3, .top = 4, .blobs = 7, .include = 8, .exclude = 9};
static const Format before = {.name = 4,
                              .type = 5,
                              .bottom = 2,
                              .top = 3,
                              .blobs = 6,
                              .include = 32,
                              .exclude = 33,
                              .v1 = true};

static const struct {
    uint32_t now, before;
} part_numbers[CAFFE_PART_COUNT] = {
#define X(NAME, text, now_, before_) {now_, before_},
    CAFFE_PARTS(X)
#undef X
};

static void read_phase(const WireField *f, bool include, CaffeLayer *l) {
    int64_t phase = span_int((Span){f->data, f->size}, 1, -1);
    if (phase == 0 || phase == 1) /* TRAIN, TEST */
        *((phase == 0) == include ? &l->train_only : &l->test_only) = true;
}

static bool read_field(Im *im, const Format *as, const WireField *f, CaffeLayer *l, Span *blobs) {
    bool bytes = f->type == WIRE_BYTES;
    const char *text = bytes ? (const char *)f->data : NULL;
    if (bytes && f->number == as->name)
        l->name = im_clean(im, text, f->size);
    else if (f->number == as->type && as->v1)
        l->type = caffe_v1_type(wire_int(f));
    else if (bytes && f->number == as->type)
        l->type = im_clean(im, text, f->size);
    else if (bytes && f->number == as->bottom)
        vec_push(im->arena, &l->bottom, im_clean(im, text, f->size));
    else if (bytes && f->number == as->top)
        vec_push(im->arena, &l->top, im_clean(im, text, f->size));
    else if (bytes && f->number == as->blobs) {
        if (l->blobs == CAFFE_MAX_BLOBS)
            return im_fail(im, NETC_DATA, "layer '%s' has more than %d blobs", l->name,
                           CAFFE_MAX_BLOBS);
        blobs[l->blobs++] = (Span){f->data, f->size};
    } else if (bytes && f->number == as->include)
        read_phase(f, true, l);
    else if (bytes && f->number == as->exclude)
        read_phase(f, false, l);
    else if (bytes && f->number == 1 && as->v1) {
        im_fail(im, NETC_DATA, "this is Caffe's first layer format, of 2013");
        im_help(im, "rewrite it with Caffe's tools upgrade_net_proto_text and "
                    "upgrade_net_proto_binary, then import the result");
        return false;
    }
    for (int p = 0; bytes && p < CAFFE_PART_COUNT; p++)
        if (f->number == (as->v1 ? part_numbers[p].before : part_numbers[p].now))
            l->part[p] = (Span){f->data, f->size};
    return true;
}

static bool read_layer(Im *im, const Format *as, const WireField *message, CaffeNet *net) {
    Wire w = wire_of(message->data, message->size);
    WireField f;
    Span blobs[CAFFE_MAX_BLOBS];
    if (net->layer.len >= IM_MAX_LAYERS)
        return im_fail(im, NETC_LIMIT, "more than %d layers", IM_MAX_LAYERS);
    CaffeLayer *l = vec_add(im->arena, &net->layer);
    l->name = "";
    while (wire_next(&w, &f))
        if (!read_field(im, as, &f, l, blobs))
            return false;
    if (w.bad)
        return im_fail(im, NETC_DATA, "layer %d '%s' is cut short or malformed", net->layer.len,
                       l->name);
    if (!l->type)
        return im_fail(im, NETC_DATA, "layer %d '%s' has no known type", net->layer.len, l->name);
    for (int i = 0; i < l->blobs; i++)
        if (!read_blob(im, blobs[i], l->name, &l->blob[i]))
            return false;
    return true;
}

static void add_dims(Im *im, CaffeNet *net, Span message, uint32_t number) {
    int64_t dim[4] = {0};
    int n = span_ints(message, number, dim, 4);
    for (int i = 0; i < n && i < 4 && net->input_dim.len < 64; i++)
        vec_push(im->arena, &net->input_dim, dim[i]);
}

bool caffe_parse(Im *im, const unsigned char *data, size_t size, CaffeNet *net) {
    Wire w = wire_of(data, size);
    WireField f;
    *net = (CaffeNet){.name = ""};
    while (wire_next(&w, &f)) {
        bool bytes = f.type == WIRE_BYTES, ok = true;
        if (bytes && f.number == NET_NAME)
            net->name = im_clean(im, (const char *)f.data, f.size);
        else if (bytes && f.number == NET_LAYER)
            ok = read_layer(im, &now, &f, net);
        else if (bytes && f.number == NET_LAYERS_V1)
            ok = read_layer(im, &before, &f, net);
        else if (bytes && f.number == NET_INPUT && net->input.len < 16)
            vec_push(im->arena, &net->input, im_clean(im, (const char *)f.data, f.size));
        else if (bytes && f.number == NET_INPUT_SHAPE)
            add_dims(im, net, (Span){f.data, f.size}, 1);
        if (!ok)
            return false;
    }
    if (w.bad)
        return im_fail(im, NETC_DATA, "the file is cut short or no caffemodel");
    add_dims(im, net, (Span){data, size}, NET_INPUT_DIM);
    if (net->layer.len == 0)
        return im_fail(im, NETC_DATA, "no layers in it: not a caffemodel?");
    return true;
}
