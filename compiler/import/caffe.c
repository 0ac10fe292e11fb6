/* caffe.c: layers of Caffe become layers of the language.
 *
 * Blobs that a layer overwrites (in-place ReLU) are followed by name.  BatchNorm and the Scale
 * behind it become one `bn`; Split, Silence and accuracy disappear; a loss marks the score.  Pools
 * round up and average over the clipped window, as Caffe's do. Source: Caffe's layer catalogue and
 * the layers' Reshape functions for sizes.
 */
#include "import/caffe.h"

#include <math.h>
#include <string.h>

enum { LABEL = -2 }; /* what the data layer's second blob holds */

typedef struct Caffe {
    Im *im;
    ImNet *net;
    Map blob;            /* name -> Place */
    const CaffeLayer *l; /* being converted */
    int64_t stretch[2];  /* height and width that an ImageData layer gives pictures, 0: as they are */
} Caffe;
typedef struct Place {
    int layer;
} Place;

static bool refuse(Caffe *c, const char *what) {
    im_fail(c->im, NETC_DATA, "layer '%s' (%s): %s", c->l->name, c->l->type, what);
    im_help(c->im, "describe the network otherwise in a prototxt and give --prototxt=FILE");
    return false;
}

static void put_blob(Caffe *c, const char *name, int layer) {
    Place *p = ARENA_NEW(c->im->arena, Place);
    p->layer = layer;
    map_put(&c->blob, name, p);
}

/* Number of the layer that bottom i holds now. */
static bool bottom(Caffe *c, int i, int *layer) {
    const Place *p = i < c->l->bottom.len ? map_get(&c->blob, c->l->bottom.data[i]) : NULL;
    *layer = p ? p->layer : 0;
    if (!p)
        return refuse(c, i < c->l->bottom.len
                             ? arena_printf(c->im->arena, "nothing makes its input '%s'",
                                            c->l->bottom.data[i])
                             : "it lacks an input");
    if (p->layer == LABEL)
        return refuse(c, "it reads the label");
    return true;
}

/* Channels of a layer's result before any shape is known; 0: not known either. */
static int64_t channels(ImNet *net, int layer) {
    const ImLayer *l = im_at(net, layer);
    while (l->op != IM_INPUT && l->op != IM_CONV && l->op != IM_DECONV && l->op != IM_DENSE &&
           l->op != IM_CONCAT)
        l = im_at(net, l->in[0]);
    return l->op == IM_INPUT || l->op == IM_CONCAT ? l->dim[0] : l->maps;
}

/* A layer that reads bottom 0 and makes top 0. */
static ImLayer *add(Caffe *c, ImOp op) {
    int in;
    if (!bottom(c, 0, &in))
        return NULL;
    int layer = im_add(c->im, c->net, op, c->l->name, 1, &in);
    if (c->im->code)
        return NULL;
    put_blob(c, c->l->top.len ? c->l->top.data[0] : c->l->name, layer);
    return im_at(c->net, layer);
}

/* kernel_size: 1 or 2 numbers, or kernel_h and kernel_w, and so on. */
static bool pair(Caffe *c, Span s, uint32_t both, uint32_t h, uint32_t w, int64_t absent,
                 int64_t out[2]) {
    int64_t v[2] = {absent, absent};
    int n = span_ints(s, both, v, 2);
    if (n > 2)
        return refuse(c, "more than two dimensions of space");
    out[0] = span_int(s, h, v[0]);
    out[1] = span_int(s, w, n == 2 ? v[1] : v[0]);
    return true;
}

static void pads(ImLayer *l, const int64_t pad[2]) {
    l->pad[0] = l->pad[1] = pad[0];
    l->pad[2] = l->pad[3] = pad[1];
}

/* ---- layers with weights ---- */
static bool need_blobs(Caffe *c, int least) {
    if (c->l->blobs >= least)
        return true;
    refuse(c, "the file holds no weights for it");
    im_help(c->im, "was the caffemodel trained with this description?");
    return false;
}

static bool take_bias(Caffe *c, ImLayer *l, bool wanted) {
    l->bias = wanted && c->l->blobs > 1;
    if (wanted && !need_blobs(c, 2))
        return false;
    if (!l->bias)
        return true;
    int64_t n = c->l->blob[1].count;
    ImTensor bias = im_tensor_shaped(&c->l->blob[1], 1, &n);
    im_param(l, "bias", &bias);
    return true;
}

/* The first layer with weights says how many channels the picture has. */
static void note_channels(Caffe *c, const ImLayer *l, int64_t n) {
    int from = l->in[0];
    while (from > 0 && im_at(c->net, from)->op != IM_SLICE &&
           (im_flags[im_at(c->net, from)->op] & (IM_UNARY | IM_SAME)))
        from = im_at(c->net, from)->in[0];
    if (from == 0 && c->net->layer.data[0].dim[0] == 0)
        c->net->layer.data[0].dim[0] = n;
}

static bool convert_conv(Caffe *c, ImOp op) {
    Span s = c->l->part[PART_CONV];
    int64_t pad[2];
    ImLayer *l = add(c, op);
    if (!l || !need_blobs(c, 1))
        return false;
    l->maps = span_int(s, 1, 0);
    l->groups = span_int(s, 5, 1);
    if (!pair(c, s, 4, 11, 12, 0, l->kernel) || !pair(c, s, 6, 13, 14, 1, l->stride) ||
        !pair(c, s, 18, 0, 0, 1, l->dilation) || !pair(c, s, 3, 9, 10, 0, pad))
        return false;
    pads(l, pad);
    const ImTensor *blob = &c->l->blob[0];
    int64_t in_maps = blob->rank == 4 ? blob->dim[1] : 0, dim[4];
    int64_t first = op == IM_CONV ? l->maps : blob->rank == 4 ? blob->dim[0] : 0;
    if (blob->rank != 4 || l->maps < 1 || l->groups < 1 || l->groups > l->maps)
        return refuse(c, "its settings and its weights do not fit");
    dim[0] = first, dim[1] = in_maps, dim[2] = l->kernel[0], dim[3] = l->kernel[1];
    for (int i = 0; i < 4; i++)
        if (dim[i] != blob->dim[i])
            return refuse(c, arena_printf(c->im->arena, "its weights are %s, its settings want %s",
                                          im_shape_text(c->im, 4, blob->dim),
                                          im_shape_text(c->im, 4, dim)));
    if (op == IM_CONV && in_maps <= IM_MAX_MAPS && l->groups <= IM_MAX_MAPS)
        note_channels(c, l, in_maps * l->groups);
    im_param(l, "weight", blob);
    return take_bias(c, l, span_int(s, 2, 1) != 0);
}

static bool convert_dense(Caffe *c) {
    Span s = c->l->part[PART_DENSE];
    ImLayer *l = add(c, IM_DENSE);
    if (!l || !need_blobs(c, 1))
        return false;
    ImTensor w = c->l->blob[0];
    l->maps = span_int(s, 1, 0);
    if (span_int(s, 5, 1) != 1)
        return refuse(c, "it is applied along another axis than the first");
    if (l->maps < 1 || l->maps > IM_MAX_MAPS || w.count % l->maps)
        return refuse(c, "its settings and its weights do not fit");
    int64_t dim[2] = {l->maps, w.count / l->maps};
    if (span_int(s, 6, 0)) { /* transpose: the file holds [inputs, units] */
        float *out;
        ImTensor turned = im_tensor_new(c->im, 2, dim, &out);
        for (int64_t i = 0; i < dim[1]; i++)
            for (int64_t u = 0; u < dim[0]; u++)
                out[u * dim[1] + i] = (float)im_tensor_at(&w, i * dim[0] + u);
        w = turned;
    }
    w = im_tensor_shaped(&w, 2, dim);
    im_param(l, "weight", &w);
    return take_bias(c, l, span_int(s, 2, 1) != 0);
}

static ImTensor constant(Im *im, int64_t n, float value) {
    float *v;
    ImTensor t = im_tensor_new(im, 1, &n, &v);
    for (int64_t i = 0; i < n; i++)
        v[i] = value;
    return t;
}

/* Blobs: sum of means, sum of variances, and how much both are scaled. */
static bool convert_bn(Caffe *c) {
    static const char *const suffix[] = {"running_mean", "running_var"};
    ImLayer *l = add(c, IM_BN);
    if (!l || !need_blobs(c, 3))
        return false;
    int64_t n = c->l->blob[0].count;
    if (c->l->blob[1].count != n || n < 1 || c->l->blob[2].count < 1)
        return refuse(c, "its statistics do not fit each other");
    double factor = im_tensor_at(&c->l->blob[2], 0);
    factor = factor == 0 ? 0 : 1 / factor; /* == 0: never trained */
    l->number[0] = span_float(c->l->part[PART_BN], 3, (double)1e-5f);
    ImTensor one = constant(c->im, n, 1), zero = constant(c->im, n, 0);
    im_param(l, "weight", &one);
    im_param(l, "bias", &zero);
    for (int k = 0; k < 2; k++) {
        float *v;
        ImTensor t = im_tensor_new(c->im, 1, &n, &v);
        for (int64_t i = 0; i < n; i++)
            v[i] = (float)(im_tensor_at(&c->l->blob[k], i) * factor);
        im_param(l, suffix[k], &t);
    }
    return true;
}

/* Behind a BatchNorm: its weight and bias.  Elsewhere: a convolution of each channel on its own. */
static bool convert_scale(Caffe *c) {
    int in;
    bool bias = span_int(c->l->part[PART_SCALE], 4, 0) != 0;
    if (!bottom(c, 0, &in) || !need_blobs(c, bias ? 2 : 1))
        return false;
    int64_t n = c->l->blob[0].count;
    if (n < 1 || span_int(c->l->part[PART_SCALE], 1, 1) != 1 || (bias && c->l->blob[1].count != n))
        return refuse(c, "only one factor per channel can be imported");
    ImLayer *bn = im_at(c->net, in);
    const char *top = c->l->top.len ? c->l->top.data[0] : c->l->name;
    if (bn->op == IM_BN && bn->param[0].tensor.count == n) {
        bn->param[0].tensor = im_tensor_shaped(&c->l->blob[0], 1, &n);
        if (bias)
            bn->param[1].tensor = im_tensor_shaped(&c->l->blob[1], 1, &n);
        put_blob(c, top, in);
        return true;
    }
    put_blob(c, top,
             im_affine(c->im, c->net, c->l->name, in, false,
                       im_tensor_floats(c->im, &c->l->blob[0]),
                       bias ? im_tensor_floats(c->im, &c->l->blob[1]) : NULL, n));
    return true;
}

/* (shift + scale x)^power */
static bool convert_power(Caffe *c) {
    Span s = c->l->part[PART_POWER];
    double shift = span_float(s, 3, 0), scale = span_float(s, 2, 1), power = span_float(s, 1, 1);
    bool line = scale != 1 || shift != 0 || power == 1;
    ImLayer *l = add(c, line ? IM_SCALE : IM_POW);
    if (!l)
        return false;
    l->number[0] = line ? scale : power;
    l->number[1] = line ? shift : 0;
    if (!line || power == 1)
        return true;
    int in = c->net->layer.len - 1, layer = im_add(c->im, c->net, IM_POW, "", 1, &in);
    im_at(c->net, layer)->number[0] = power;
    put_blob(c, c->l->top.len ? c->l->top.data[0] : c->l->name, layer);
    return true;
}

static bool convert_prelu(Caffe *c) {
    ImLayer *l = add(c, IM_PRELU);
    if (!l || !need_blobs(c, 1))
        return false;
    int64_t n = c->l->blob[0].count;
    ImTensor w = im_tensor_shaped(&c->l->blob[0], 1, &n);
    im_param(l, "weight", &w);
    return true;
}

/* ---- layers without weights ---- */
static bool convert_pool(Caffe *c) {
    Span s = c->l->part[PART_POOL];
    int64_t kind = span_int(s, 1, 0), pad[2];
    ImLayer *l = kind == 0 || kind == 1 ? add(c, kind ? IM_AVGPOOL : IM_MAXPOOL) : NULL;
    if (!l)
        return c->im->code ? false : refuse(c, "stochastic pooling cannot be imported");
    if (!pair(c, s, 2, 5, 6, 0, l->kernel) || !pair(c, s, 3, 7, 8, 1, l->stride) ||
        !pair(c, s, 4, 9, 10, 0, pad))
        return false;
    pads(l, pad);
    l->ceil = span_int(s, 13, 0) == 0;
    l->count_pad = kind == 1 && (pad[0] > 0 || pad[1] > 0);
    if (span_int(s, 12, 0))
        l->global = true;
    return true;
}

static bool convert_lrn(Caffe *c) {
    Span s = c->l->part[PART_LRN];
    ImLayer *l = add(c, IM_LRN);
    if (!l)
        return false;
    l->size = span_int(s, 1, 5);
    l->within = span_int(s, 4, 0) == 1;
    l->number[0] = l->within ? 1 : span_float(s, 5, 1);
    l->number[1] = span_float(s, 2, 1);
    l->number[2] = span_float(s, 3, 0.75);
    l->alpha_per_size = true;
    if (l->size < 1 || l->size > 255 || l->size % 2 == 0)
        return refuse(c, "its window is not odd");
    return true;
}

static bool convert_simple(Caffe *c, ImOp op, double number) {
    ImLayer *l = add(c, op);
    if (l)
        l->number[0] = number;
    return l != NULL;
}

static bool convert_join(Caffe *c, ImOp op) {
    int n = c->l->bottom.len, *in = ARENA_ARRAY(c->im->arena, n + 1, int);
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        if (!bottom(c, i, &in[i]))
            return false;
        sum += channels(c->net, in[i]);
    }
    if (n < 1)
        return refuse(c, "it joins nothing");
    int layer = in[0];
    if (n > 1) {
        layer = im_add(c->im, c->net, op, c->l->name, n, in);
        im_at(c->net, layer)->dim[0] = op == IM_CONCAT ? sum : 0;
    }
    put_blob(c, c->l->top.len ? c->l->top.data[0] : c->l->name, layer);
    return true;
}

static bool convert_eltwise(Caffe *c) {
    Span s = c->l->part[PART_ELTWISE];
    double coeff[2] = {1, 1};
    int64_t kind = span_int(s, 1, 1);
    int n = span_floats(s, 2, coeff, 2);
    if (n > 2 || kind < 0 || kind > 2 || coeff[0] != 1 || fabs(coeff[1]) != 1)
        return refuse(c, "only sums, differences, products and maxima without factors can be "
                         "imported");
    return convert_join(c, kind == 0      ? IM_MUL
                           : kind == 2    ? IM_MAX
                           : coeff[1] < 0 ? IM_SUB
                                          : IM_ADD);
}

static bool convert_concat(Caffe *c) {
    Span s = c->l->part[PART_CONCAT];
    if (span_int(s, 2, span_int(s, 1, 1)) != 1)
        return refuse(c, "only channels can be joined");
    return convert_join(c, IM_CONCAT);
}

/* Parts of the maps: between slice points, or as many equal ones as tops. */
static bool convert_slice(Caffe *c) {
    enum { MOST = 64 };
    Span s = c->l->part[PART_SLICE];
    int64_t point[MOST], from = 0;
    int parts = c->l->top.len, in, n = span_ints(s, 2, point, MOST);
    if (span_int(s, 3, span_int(s, 1, 1)) != 1)
        return refuse(c, "only channels can be cut into parts");
    if (parts < 1 || parts > MOST || (n > 0 && n != parts - 1))
        return refuse(c, "its slice points do not fit its tops");
    for (int i = 0; i < parts; i++) {
        if (!bottom(c, 0, &in))
            return false;
        int layer = im_add(c->im, c->net, IM_SLICE, c->l->name, 1, &in);
        if (c->im->code)
            return false;
        ImLayer *l = im_at(c->net, layer);
        int64_t to = i < n ? point[i] : 0;
        if (i < n && (to <= from || to > IM_MAX_MAPS))
            return refuse(c, "its slice points do not grow");
        l->at[0] = from;
        l->maps = to - from;
        l->parts = n > 0 || parts == 1 ? 0 : parts;
        l->part = i;
        l->to_end = !l->parts && i == parts - 1;
        from = to;
        put_blob(c, c->l->top.data[i], layer);
    }
    return true;
}

/* The rows and columns of bottom 0 that lie on bottom 1, whose size net.c finds. */
static bool convert_crop(Caffe *c) {
    Span s = c->l->part[PART_CROP];
    int64_t axis = span_int(s, 1, 2), offset[2] = {0};
    int in[2], n = span_ints(s, 2, offset, 2);
    axis += axis < 0 ? 4 : 0;
    if (axis != 2 && axis != 3)
        return refuse(c, "only rows and columns can be cropped");
    if (n > 1 && n != 4 - axis)
        return refuse(c, "one offset, or one for each axis");
    if (!bottom(c, 0, &in[0]) || !bottom(c, 1, &in[1]))
        return false;
    int layer = im_add(c->im, c->net, IM_CROP, c->l->name, 2, in);
    if (c->im->code)
        return false;
    ImLayer *l = im_at(c->net, layer);
    l->at[0] = axis == 2 ? offset[0] : 0;
    l->at[1] = n == 2 ? offset[1] : offset[0];
    l->part = axis == 3; /* columns alone */
    put_blob(c, c->l->top.len ? c->l->top.data[0] : c->l->name, layer);
    return true;
}

static bool convert_same(Caffe *c) { /* Split: all tops are the bottom */
    int in;
    if (!bottom(c, 0, &in))
        return false;
    for (int i = 0; i < c->l->top.len; i++)
        put_blob(c, c->l->top.data[i], in);
    return true;
}

static bool convert_reshape(Caffe *c) {
    int64_t dim[8] = {0};
    int n = span_ints(span_message(c->l->part[PART_RESHAPE], 1), 1, dim, 8);
    bool flat = (n == 2 || (n == 4 && dim[2] == 1 && dim[3] == 1)) && dim[1] != 0;
    if (!flat)
        return refuse(c, "only flattening can be imported");
    return convert_simple(c, IM_FLATTEN, 0);
}

/* ---- ends ---- */
static bool convert_softmax(Caffe *c, bool loss) {
    int in;
    if (!bottom(c, 0, &in))
        return false;
    c->net->score = in;
    c->net->has_loss |= loss;
    int prob = im_add(c->im, c->net, IM_SOFTMAX, "", 1, &in);
    c->net->prob = prob;
    if (!loss)
        put_blob(c, c->l->top.len ? c->l->top.data[0] : c->l->name, prob);
    return true;
}

static bool convert_loss(Caffe *c) {
    int in;
    if (!bottom(c, 0, &in))
        return false;
    c->net->score = in;
    return true;
}

static void take_transform(Caffe *c) {
    Span t = c->l->part[PART_TRANSFORM], d = c->l->part[PART_DATA];
    ImPrep *p = &c->net->prep;
    double mean[4];
    int n = span_floats(t, 5, mean, 3);
    if (!d.data)
        d = c->l->part[PART_IMAGE_DATA];
    p->known |= t.data != NULL || span_has(d, 2);
    p->scale = span_float(t, 1, span_float(d, 2, p->scale));
    p->crop = span_int(t, 3, span_int(d, 5, p->crop));
    c->stretch[0] = span_int(c->l->part[PART_IMAGE_DATA], 9, c->stretch[0]);
    c->stretch[1] = span_int(c->l->part[PART_IMAGE_DATA], 10, c->stretch[1]);
    if (n == 1 || n == 3) {
        p->means = n; /* in the file's order: B G R; turned in finish_prep */
        memcpy(p->mean, mean, sizeof p->mean);
    }
    Span file = span_message(t, 4);
    if (!file.data)
        file = span_message(d, 3);
    if (file.data)
        p->comment = arena_printf(c->im->arena, "mean image %s",
                                  im_clean(c->im, (const char *)file.data, file.size));
}

static bool take_input(Caffe *c, const char *name, const int64_t *dim, int n) {
    ImLayer *input = im_at(c->net, 0);
    put_blob(c, name, 0);
    for (int i = 1; i < n && i < 4; i++)
        input->dim[i - 1] = dim[i] >= 1 && dim[i] <= IM_MAX_SIDE ? dim[i] : 0;
    return true;
}

static bool convert_data(Caffe *c) {
    int64_t dim[4] = {0};
    Span memory = c->l->part[PART_MEMORY];
    int n = span_ints(span_message(c->l->part[PART_INPUT], 1), 1, dim, 4);
    if (memory.data) {
        for (int i = 1; i < 4; i++)
            dim[i] = span_int(memory, (uint32_t)i + 1, 0);
        n = 4;
    }
    take_transform(c);
    for (int i = 0; i < c->l->top.len; i++)
        if (i == 0)
            take_input(c, c->l->top.data[i], dim, n);
        else
            put_blob(c, c->l->top.data[i], LABEL);
    return true;
}

static bool is_data(const char *type) {
    static const char *const kinds[] = {"Data",       "ImageData", "Input",     "HDF5Data",
                                        "MemoryData", "DummyData", "WindowData"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i]) == 0)
            return true;
    return false;
}

static bool is(const Caffe *c, const char *type) {
    return strcmp(c->l->type, type) == 0;
}

static bool convert_activation(Caffe *c) {
    double slope = span_float(c->l->part[PART_RELU], 1, 0);
    if (is(c, "ReLU"))
        return slope == 0 ? convert_simple(c, IM_RELU, 0) : convert_simple(c, IM_LEAKY_RELU, slope);
    if (is(c, "Sigmoid"))
        return convert_simple(c, IM_SIGMOID, 0);
    if (is(c, "TanH"))
        return convert_simple(c, IM_TANH, 0);
    if (is(c, "ELU"))
        return convert_simple(c, IM_ELU, span_float(c->l->part[PART_ELU], 1, 1));
    if (is(c, "AbsVal"))
        return convert_simple(c, IM_ABS, 0);
    if (is(c, "BNLL"))
        return convert_simple(c, IM_SOFTPLUS, 0);
    if (is(c, "Dropout"))
        return convert_simple(c, IM_DROPOUT, span_float(c->l->part[PART_DROPOUT], 1, 0.5));
    if (is(c, "Flatten"))
        return convert_simple(c, IM_FLATTEN, 0);
    if (is(c, "PReLU"))
        return convert_prelu(c);
    if (is(c, "Reshape"))
        return convert_reshape(c);
    return refuse(c, "layers of this type cannot be imported");
}

static bool convert_layer(Caffe *c) {
    size_t n = strlen(c->l->type);
    if (is_data(c->l->type))
        return convert_data(c);
    if (is(c, "Convolution"))
        return convert_conv(c, IM_CONV);
    if (is(c, "Deconvolution"))
        return convert_conv(c, IM_DECONV);
    if (is(c, "InnerProduct"))
        return convert_dense(c);
    if (is(c, "Pooling"))
        return convert_pool(c);
    if (is(c, "LRN"))
        return convert_lrn(c);
    if (is(c, "BatchNorm"))
        return convert_bn(c);
    if (is(c, "Scale"))
        return convert_scale(c);
    if (is(c, "Power"))
        return convert_power(c);
    if (is(c, "Eltwise"))
        return convert_eltwise(c);
    if (is(c, "Concat"))
        return convert_concat(c);
    if (is(c, "Slice"))
        return convert_slice(c);
    if (is(c, "Crop"))
        return convert_crop(c);
    if (is(c, "Split"))
        return convert_same(c);
    if (is(c, "Softmax") || is(c, "SoftmaxWithLoss"))
        return convert_softmax(c, is(c, "SoftmaxWithLoss"));
    if (n > 4 && strcmp(c->l->type + n - 4, "Loss") == 0)
        return convert_loss(c);
    if (is(c, "Accuracy") || is(c, "Silence") || is(c, "ArgMax") || is(c, "HDF5Output"))
        return true;
    return convert_activation(c);
}

/* ---- the whole ---- */
/* The description's layers take the blobs of the weights' layers of the same name. */
static void take_blobs(Im *im, CaffeNet *desc, const CaffeNet *weights) {
    Map by_name = map_new(im->arena);
    for (int i = 0; i < weights->layer.len; i++)
        if (weights->layer.data[i].blobs)
            map_put(&by_name, weights->layer.data[i].name, &weights->layer.data[i]);
    for (int i = 0; i < desc->layer.len; i++) {
        CaffeLayer *l = &desc->layer.data[i];
        const CaffeLayer *w = map_get(&by_name, l->name);
        if (w) {
            l->blobs = w->blobs;
            memcpy(l->blob, w->blob, sizeof l->blob);
        }
    }
}

/* Which part of a picture the network sees.  A description may name the square (crop_size) and what
 * pictures are stretched to before (new_height, new_width); data bases hold pictures that somebody
 * has resized, so the rest is custom: Caffe's ImageNet nets are fed the middle of pictures of 256
 * pixels, and small nets, where nothing is cut off, the whole picture (the program's default). */
static void choose_view(Caffe *c) {
    enum { SMALL = 200, USUAL = 256 }; /* sides: inputs of 224 and 227 lie between */
    ImPrep *p = &c->net->prep;
    const int64_t *dim = im_at(c->net, 0)->dim, high = c->stretch[0], wide = c->stretch[1];
    bool square = dim[1] == dim[2], said = square && p->crop == dim[1];
    bool usual = square && dim[1] >= SMALL && dim[1] <= USUAL;
    if (!said && (!usual || high > 0)) {
        p->crop = 0;
        return;
    }
    const char *cut = said ? "the file says crop" : "the file says neither resize nor crop";
    p->crop = dim[1];
    if (high >= p->crop && wide >= p->crop) {
        p->resize = high < wide ? high : wide;
        p->size_comment = arena_printf(
            c->im->arena, "%s and stretches pictures to %lldx%lld; here their sides keep their ratio",
            cut, (long long)high, (long long)wide);
    } else if (usual) {
        p->resize = USUAL;
        p->size_comment = arena_printf(c->im->arena, "%s; %s usual for nets of this size", cut,
                                       said ? "resize is what is" : "they are what is");
    }
}

static void finish_prep(Caffe *c) {
    ImPrep *p = &c->net->prep;
    const ImLayer *input = im_at(c->net, 0);
    choose_view(c);
    p->bgr = input->dim[0] == 3;
    if (p->bgr && p->means == 3) {
        double b = p->mean[0];
        p->mean[0] = p->mean[2];
        p->mean[2] = b;
    }
    if (!isfinite(p->scale) || p->scale <= 0)
        p->scale = 1;
}

static bool finish(Caffe *c) {
    ImLayer *input = im_at(c->net, 0);
    ImPrep *p = &c->net->prep;
    if (c->net->layer.len < 2)
        return im_fail(c->im, NETC_DATA, "the network computes nothing");
    if (c->net->score == 0)
        c->net->score = c->net->layer.len - 1;
    im_simplify(c->net);
    im_prune(c->im, c->net);
    if (p->crop > 0 && p->crop <= IM_MAX_SIDE && !input->dim[1])
        input->dim[1] = input->dim[2] = p->crop;
    if (c->im->options->input && !im_parse_size(c->im, c->im->options->input, 3, input->dim))
        return false;
    input = im_at(c->net, 0);
    if (input->dim[0] < 1)
        input->dim[0] = 1;
    if (!input->dim[1] || !input->dim[2])
        return im_deduce_input(c->im, c->net, input->dim[0]) && im_infer_all(c->im, c->net);
    return im_infer_all(c->im, c->net);
}

bool im_read_caffe(Im *im, const ImBytes *file, ImNet *net) {
    CaffeNet weights, desc;
    im_net_begin(im, net);
    net->format = "Caffe";
    if (!caffe_parse(im, file->data, file->size, &weights))
        return false;
    desc = weights;
    if (im->options->prototxt) {
        const ImBytes *text = im_prototxt(im, im->options->prototxt);
        if (!text || !caffe_parse(im, text->data, text->size, &desc))
            return false;
        take_blobs(im, &desc, &weights);
    }
    net->name = desc.name;
    Caffe c = {.im = im, .net = net, .blob = map_new(im->arena)};
    for (int i = 0; i < desc.input.len; i++) {
        const int64_t *dim = desc.input_dim.data + 4 * i;
        take_input(&c, desc.input.data[i], dim, desc.input_dim.len >= 4 * i + 4 ? 4 : 0);
    }
    for (int i = 0; i < desc.layer.len; i++) {
        c.l = &desc.layer.data[i];
        if (c.l->train_only && im->options->prototxt && !is_data(c.l->type))
            continue;
        if (!convert_layer(&c) || im->code)
            return false;
    }
    if (!finish(&c))
        return false;
    for (int i = 0; i < net->layer.len; i++) /* sizes are known: what they were read off may go */
        if (net->layer.data[i].op == IM_CROP)
            net->layer.data[i].nin = 1;
    im_prune(im, net);
    finish_prep(&c);
    return true;
}
