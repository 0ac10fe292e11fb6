/* onnx.c: nodes of an ONNX graph become layers of the language.
 *
 * What exporters write for inference: the nodes of the table at the end.  A value is a constant, or
 * the result of a layer whose shape is known at once, because some nodes ask for it.  Names: a
 * layer is called like its weights without ".weight", as PyTorch has them; else like its node.
 * Source: the operator schemas of onnx.ai, versions 7 to 22.
 */
#include "import/onnx.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool onnx_refuse(Onnx *o, const char *format, ...) {
    char why[300];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    im_fail(o->im, NETC_DATA, "node '%s' (%s): %s",
            *o->node->name || !o->node->out.len ? o->node->name : o->node->out.data[0],
            o->node->type, why);
    im_help(o->im,
            "export the network for inference and simplified (onnxsim), or write the spec by "
            "hand and import the weights as safetensors");
    return false;
}

const OnnxValue *onnx_in(const Onnx *o, int i) {
    if (i >= o->node->in.len || !*o->node->in.data[i])
        return NULL;
    return map_get(&o->value, o->node->in.data[i]);
}

void onnx_put(Onnx *o, int output, OnnxValue v) {
    if (output >= o->node->out.len)
        return;
    OnnxValue *kept = ARENA_NEW(o->im->arena, OnnxValue);
    *kept = v;
    map_put(&o->value, o->node->out.data[output], kept);
}

void onnx_put_layer(Onnx *o, int layer) {
    onnx_put(o, 0, (OnnxValue){.layer = layer});
}

int onnx_shape(const Onnx *o, const OnnxValue *v, int64_t dim[IM_MAX_RANK]) {
    if (v->constant) {
        memcpy(dim, v->tensor.dim, sizeof v->tensor.dim);
        return v->tensor.rank;
    }
    const ImLayer *l = im_at(o->net, v->layer);
    dim[0] = o->batch;
    for (int i = 0; i < l->rank; i++)
        dim[1 + i] = l->dim[i];
    return l->rank + 1;
}

/* ---- inputs of nodes ---- */
static bool layer_in(Onnx *o, int i, int *layer) {
    const OnnxValue *v = onnx_in(o, i);
    *layer = v ? v->layer : 0;
    if (!v)
        return onnx_refuse(o, "nothing makes its input %d", i + 1);
    return !v->constant || onnx_refuse(o, "its input %d is a constant", i + 1);
}

static bool constant_in(Onnx *o, int i, const char *what, ImTensor *t) {
    const OnnxValue *v = onnx_in(o, i);
    if (!v || !v->constant)
        return onnx_refuse(o, "its %s is not a constant", what);
    *t = v->tensor;
    return true;
}

static int readers(const Onnx *o, const char *name) {
    const int *n = map_get(&o->readers, name);
    return n ? *n : 0;
}

/* ---- names ---- */
/* "/layer1/layer1.0/conv1/Conv" -> "layer1.0.conv1": PyTorch's exporter names the modules on the
 * way, a member of a list with the list's name in front. */
static const char *node_name(Im *im, const OnnxNode *node) {
    const char *name = node->name, *last = strrchr(name, '/'), *before = NULL;
    StrBuf out = sb_new(im->arena);
    size_t start = 0, length = 0; /* of the component before */
    if (name[0] != '/' || last == name)
        return name[0] == '/' ? name + 1 : name;
    for (const char *p = name + 1; p < last; p += length + 1) {
        size_t n = strcspn(p, "/");
        if (before && n > length && memcmp(p, before, length) == 0 && p[length] == '.')
            out.length = start;
        else
            sb_puts(&out, before ? "." : "");
        start = out.length;
        sb_write(&out, p, n);
        before = p;
        length = n;
    }
    return out.text;
}

/* Joins inside of a module: "layer1.0" -> "layer1.0.add". */
static const char *join_name(Onnx *o, ImOp op) {
    const char *name = node_name(o->im, o->node);
    const char *last = strrchr(o->node->name, '/');
    return last > o->node->name && o->node->name[0] == '/'
               ? arena_printf(o->im->arena, "%s.%s", name, im_spelling[op])
               : name;
}

/* The layer's name: of its weights ("fc.weight" -> "fc"), if that says more than a number. */
static const char *layer_name(Onnx *o, const ImTensor *weight) {
    size_t n = weight ? strlen(weight->name) : 0;
    if (n > 7 && (strcmp(weight->name + n - 7, ".weight") == 0 ||
                  strcmp(weight->name + n - 7, "_weight") == 0))
        return arena_strndup(o->im->arena, weight->name, n - 7);
    return node_name(o->im, o->node);
}

/* A layer that reads input 0 and makes output 0; im_infer follows in done(). */
static ImLayer *add(Onnx *o, ImOp op, const ImTensor *weight) {
    int in;
    if (!layer_in(o, 0, &in))
        return NULL;
    int layer = im_add(o->im, o->net, op, layer_name(o, weight), 1, &in);
    if (o->im->code)
        return NULL;
    onnx_put_layer(o, layer);
    return im_at(o->net, layer);
}

static bool done(Onnx *o) {
    return im_infer(o->im, o->net, o->net->layer.len - 1);
}

/* ---- windows ---- */
static void two(const Onnx *o, const char *name, int64_t absent, int64_t out[2]) {
    int64_t v[2];
    out[0] = out[1] = absent;
    if (onnx_ints(o->node, name, v, 2) == 2)
        memcpy(out, v, sizeof v);
}

/* SAME: as many results as strides fit; an odd cell goes behind (UPPER) or in front. */
static bool same_pads(Onnx *o, ImLayer *l, bool upper) {
    const ImLayer *src = im_at(o->net, l->in[0]);
    for (int a = 0; a < 2; a++) {
        int64_t n = src->rank == 3 ? src->dim[1 + a] : 0, s = l->stride[a], span = 0;
        if (s < 1 || n < 1 || l->kernel[a] < 1 || l->kernel[a] > IM_MAX_SIDE ||
            l->dilation[a] < 1 || l->dilation[a] > IM_MAX_SIDE)
            return onnx_refuse(o, "its window has no sensible size");
        span = (l->kernel[a] - 1) * l->dilation[a] + 1;
        int64_t total = ((n - 1) / s) * s + span - n;
        if (l->op == IM_DECONV)
            total = span + l->out_pad[a] - s;
        total = total > 0 ? total : 0;
        l->pad[2 * a] = upper ? total / 2 : total - total / 2;
        l->pad[2 * a + 1] = total - l->pad[2 * a];
    }
    return true;
}

static bool window(Onnx *o, ImLayer *l) {
    int64_t pads[4] = {0};
    int n = onnx_ints(o->node, "pads", pads, 4);
    const char *mode = onnx_text(o->im, o->node, "auto_pad", "NOTSET");
    two(o, "kernel_shape", l->kernel[0], l->kernel);
    two(o, "strides", 1, l->stride);
    two(o, "dilations", 1, l->dilation);
    if (strcmp(mode, "SAME_UPPER") == 0 || strcmp(mode, "SAME_LOWER") == 0)
        return same_pads(o, l, mode[5] == 'U');
    if (n > 0 && n != 4)
        return onnx_refuse(o, "only images can be imported: two dimensions of space");
    l->pad[0] = pads[0];
    l->pad[1] = pads[2];
    l->pad[2] = pads[1];
    l->pad[3] = pads[3];
    return true;
}

static bool bias_in(Onnx *o, ImLayer *l, int i) {
    ImTensor b;
    if (!onnx_in(o, i))
        return true;
    if (!constant_in(o, i, "bias", &b))
        return false;
    b = im_tensor_shaped(&b, 1, &b.count);
    im_param(l, "bias", &b);
    return l->bias = true;
}

static bool convert_conv(Onnx *o, ImOp op) {
    ImTensor w;
    if (!constant_in(o, 1, "weight", &w))
        return false;
    if (w.rank != 4)
        return onnx_refuse(o, "only two-dimensional ones can be imported, its weights are %s",
                           im_shape_text(o->im, w.rank, w.dim));
    ImLayer *l = add(o, op, &w);
    if (!l)
        return false;
    l->groups = onnx_int(o->node, "group", 1);
    if (l->groups < 1 || l->groups > IM_MAX_MAPS || w.dim[1] > IM_MAX_MAPS)
        return onnx_refuse(o, "its groups do not divide the maps");
    l->maps = op == IM_CONV ? w.dim[0] : w.dim[1] * l->groups;
    l->kernel[0] = w.dim[2];
    l->kernel[1] = w.dim[3];
    if (op == IM_DECONV)
        two(o, "output_padding", 0, l->out_pad);
    if (op == IM_DECONV && onnx_has(o->node, "output_shape"))
        return onnx_refuse(o, "output_shape cannot be imported");
    if (!window(o, l))
        return false;
    im_param(l, "weight", &w);
    return bias_in(o, l, 2) && done(o);
}

static bool convert_pool(Onnx *o, ImOp op) {
    ImLayer *l = add(o, op, NULL);
    if (!l || !window(o, l))
        return false;
    if (l->dilation[0] != 1 || l->dilation[1] != 1)
        return onnx_refuse(o, "pools with dilation cannot be imported");
    l->ceil = onnx_int(o->node, "ceil_mode", 0) != 0;
    bool padded = l->pad[0] || l->pad[1] || l->pad[2] || l->pad[3];
    l->count_pad = op == IM_AVGPOOL && padded && onnx_int(o->node, "count_include_pad", 0) != 0;
    return done(o);
}

static bool convert_global(Onnx *o, ImOp op) {
    ImLayer *l = add(o, op, NULL);
    if (!l)
        return false;
    l->global = true;
    return done(o);
}

/* Mean over both axes of an image. */
static bool convert_mean(Onnx *o) {
    int64_t axes[4] = {0}, sum = 0;
    int n = onnx_ints(o->node, "axes", axes, 4);
    ImTensor t;
    if (onnx_in(o, 1) && constant_in(o, 1, "axes", &t) && t.count <= 4)
        for (n = 0; n < t.count; n++)
            axes[n] = im_tensor_int(&t, n);
    for (int i = 0; i < n && i < 4; i++)
        sum += axes[i] < 0 ? axes[i] + 4 : axes[i];
    if (o->im->code || n != 2 || sum != 5)
        return onnx_refuse(o, "only means over height and width can be imported");
    if (!convert_global(o, IM_AVGPOOL) || onnx_int(o->node, "keepdims", 1) != 0)
        return !o->im->code;
    int in = o->net->layer.len - 1, flat = im_add(o->im, o->net, IM_FLATTEN, "", 1, &in);
    onnx_put_layer(o, flat);
    return !o->im->code && done(o);
}

/* ---- dense ---- */
/* w is [units, inputs] already. */
static bool put_dense(Onnx *o, const char *name, ImTensor w, const ImTensor *bias) {
    int in;
    if (!layer_in(o, 0, &in))
        return false;
    int layer = im_add(o->im, o->net, IM_DENSE, name, 1, &in);
    if (o->im->code)
        return false;
    ImLayer *l = im_at(o->net, layer);
    l->maps = w.dim[0];
    im_param(l, "weight", &w);
    if (bias) {
        im_param(l, "bias", bias);
        l->bias = true;
    }
    onnx_put_layer(o, layer);
    return done(o);
}

static ImTensor turned(Onnx *o, const ImTensor *w, double factor) {
    int64_t dim[2] = {w->dim[1], w->dim[0]};
    float *out;
    ImTensor t = im_tensor_new(o->im, 2, dim, &out);
    for (int64_t u = 0; u < dim[0]; u++)
        for (int64_t i = 0; i < dim[1]; i++)
            out[u * dim[1] + i] = (float)(factor * im_tensor_at(w, i * dim[0] + u));
    return t;
}

static bool is_vector(const Onnx *o, int layer) {
    const ImLayer *l = im_at(o->net, layer);
    return l->rank == 1 || layer == 0;
}

static ImTensor scaled(Onnx *o, const ImTensor *t, double factor) {
    float *out;
    ImTensor r = im_tensor_new(o->im, t->rank, t->dim, &out);
    for (int64_t i = 0; i < t->count; i++)
        out[i] = (float)(factor * im_tensor_at(t, i));
    return r;
}

static bool convert_gemm(Onnx *o) {
    ImTensor w, c;
    double alpha = onnx_float(o->node, "alpha", 1), beta = onnx_float(o->node, "beta", 1);
    int in;
    if (!layer_in(o, 0, &in) || !constant_in(o, 1, "weight", &w))
        return false;
    if (onnx_int(o->node, "transA", 0) || w.rank != 2 || !is_vector(o, in))
        return onnx_refuse(o, "only a dense layer can be imported");
    const char *name = layer_name(o, &w);
    if (!onnx_int(o->node, "transB", 0))
        w = turned(o, &w, alpha);
    else if (alpha != 1)
        w = scaled(o, &w, alpha);
    if (!onnx_in(o, 2))
        return put_dense(o, name, w, NULL);
    if (!constant_in(o, 2, "bias", &c))
        return false;
    if (c.count != w.dim[0])
        return onnx_refuse(o, "its bias has %lld numbers, not %lld", (long long)c.count,
                           (long long)w.dim[0]);
    c = beta == 1 ? im_tensor_shaped(&c, 1, &c.count) : scaled(o, &c, beta);
    c = im_tensor_shaped(&c, 1, &c.count);
    return put_dense(o, name, w, &c);
}

static bool convert_matmul(Onnx *o) {
    ImTensor w;
    int in;
    if (!layer_in(o, 0, &in) || !constant_in(o, 1, "weight", &w))
        return false;
    if (w.rank != 2 || !is_vector(o, in))
        return onnx_refuse(o, "only a dense layer can be imported");
    return put_dense(o, layer_name(o, &w), turned(o, &w, 1), NULL);
}

/* ---- arithmetic ---- */
/* A constant that holds one number, or one per channel of the layer; NULL: neither. */
static float *per_channel(Onnx *o, const ImTensor *t, const ImLayer *l) {
    int64_t channels = l->dim[0];
    int axis = t->rank - l->rank; /* where channels stand, the batch perhaps in front */
    if (t->count != 1 && (axis < 0 || t->count != channels || t->dim[axis] != channels))
        return NULL;
    float *v = ARENA_ARRAY(o->im->arena, channels, float);
    for (int64_t c = 0; c < channels; c++)
        v[c] = (float)im_tensor_at(t, t->count == 1 ? 0 : c);
    return v;
}

/* Adds to the bias, or multiplies the weights, of the layer in front, which nobody else reads. */
static bool absorb(Onnx *o, int layer, const char *read_as, const float *v, bool product) {
    ImLayer *l = im_at(o->net, layer);
    if ((l->op != IM_CONV && l->op != IM_DENSE) || readers(o, read_as) != 1 || product || l->bias)
        return false;
    float *out;
    ImTensor b = im_tensor_new(o->im, 1, &l->maps, &out);
    memcpy(out, v, (size_t)l->maps * sizeof *out);
    im_param(l, "bias", &b);
    l->bias = true;
    onnx_put_layer(o, layer);
    return true;
}

static bool with_constant(Onnx *o, int which, ImOp op) {
    int layer;
    ImTensor t;
    if (!layer_in(o, which, &layer) || !constant_in(o, !which, "other operand", &t))
        return false;
    const ImLayer *l = im_at(o->net, layer);
    float *v = t.data ? per_channel(o, &t, l) : NULL;
    if (!v || (which == 1 && (op == IM_SUB || op == IM_DIV)))
        return onnx_refuse(o, "only one number, or one per channel, can be %s",
                           op == IM_MUL || op == IM_DIV ? "a factor" : "added");
    bool product = op == IM_MUL || op == IM_DIV, idle = true;
    for (int64_t c = 0; c < l->dim[0]; c++) {
        v[c] = op == IM_SUB ? -v[c] : op == IM_DIV ? 1 / v[c] : v[c];
        idle = idle && v[c] == (product ? 1.0f : 0.0f);
    }
    if (idle) {
        onnx_put_layer(o, layer);
        return true;
    }
    if (absorb(o, layer, o->node->in.data[which], v, product))
        return true;
    if (l->rank != 3)
        return onnx_refuse(o, "of a vector, this cannot be imported");
    onnx_put_layer(o, im_affine(o->im, o->net, node_name(o->im, o->node), layer, product ? v : NULL,
                                product ? NULL : v, l->dim[0]));
    return !o->im->code && done(o);
}

static bool convert_join(Onnx *o, ImOp op) {
    int n = o->node->in.len, *in = ARENA_ARRAY(o->im->arena, n + 1, int);
    if (n == 2 && op != IM_CONCAT && op != IM_MAX)
        for (int i = 0; i < 2; i++)
            if (onnx_in(o, i) && onnx_in(o, i)->constant)
                return with_constant(o, !i, op);
    for (int i = 0; i < n; i++)
        if (!layer_in(o, i, &in[i]))
            return false;
    if (n == 1) {
        onnx_put_layer(o, in[0]);
        return true;
    }
    if (n < 1)
        return onnx_refuse(o, "it joins nothing");
    int layer = im_add(o->im, o->net, op, join_name(o, op), n, in);
    onnx_put_layer(o, layer);
    return !o->im->code && done(o);
}

static bool convert_concat(Onnx *o) {
    int layer;
    int64_t axis = onnx_int(o->node, "axis", 1);
    if (!layer_in(o, 0, &layer))
        return false;
    if (axis != 1 && axis != -im_at(o->net, layer)->rank)
        return onnx_refuse(o, "only channels can be joined");
    return convert_join(o, IM_CONCAT);
}

/* ---- one input, no weights ---- */
static bool convert_unary(Onnx *o, ImOp op, double number) {
    ImLayer *l = add(o, op, NULL);
    if (!l)
        return false;
    l->number[0] = number;
    return done(o);
}

static bool convert_clip(Onnx *o) {
    double low = onnx_float(o->node, "min", -3.4e38), high = onnx_float(o->node, "max", 3.4e38);
    ImTensor t;
    if (onnx_in(o, 1) && (!constant_in(o, 1, "lower end", &t) || t.count != 1))
        return onnx_refuse(o, "its lower end is not one number");
    low = onnx_in(o, 1) ? im_tensor_at(&t, 0) : low;
    if (onnx_in(o, 2) && (!constant_in(o, 2, "upper end", &t) || t.count != 1))
        return onnx_refuse(o, "its upper end is not one number");
    high = onnx_in(o, 2) ? im_tensor_at(&t, 0) : high;
    if (low == 0 && high > 1e38)
        return convert_unary(o, IM_RELU, 0);
    ImLayer *l = add(o, IM_CLIP, NULL);
    if (!l)
        return false;
    l->number[0] = low;
    l->number[1] = high;
    return done(o);
}

static bool convert_dropout(Onnx *o) {
    double rate = onnx_float(o->node, "ratio", 0.5);
    const OnnxValue *v = onnx_in(o, 1);
    if (v && v->constant && v->tensor.count == 1)
        rate = im_tensor_at(&v->tensor, 0);
    if (rate > 0 && rate < 1)
        return convert_unary(o, IM_DROPOUT, rate);
    int in;
    bool ok = layer_in(o, 0, &in);
    onnx_put_layer(o, in);
    return ok;
}

static bool convert_lrn(Onnx *o) {
    ImLayer *l = add(o, IM_LRN, NULL);
    if (!l)
        return false;
    l->size = onnx_int(o->node, "size", 5);
    l->number[0] = onnx_float(o->node, "bias", 1);
    l->number[1] = onnx_float(o->node, "alpha", 1e-4);
    l->number[2] = onnx_float(o->node, "beta", 0.75);
    l->alpha_per_size = true;
    if (l->size < 1 || l->size > 255 || l->size % 2 == 0)
        return onnx_refuse(o, "its window is not odd");
    return done(o);
}

static bool convert_norm(Onnx *o, ImOp op) {
    static const char *const suffix[] = {"weight", "bias", "running_mean", "running_var"};
    ImTensor t[4];
    int n = op == IM_BN ? 4 : 2;
    for (int i = 0; i < n; i++) {
        if (!constant_in(o, 1 + i, suffix[i], &t[i]))
            return false;
        t[i] = im_tensor_shaped(&t[i], 1, &t[i].count);
    }
    ImLayer *l = add(o, op, &t[0]);
    if (!l)
        return false;
    l->number[0] = onnx_float(o->node, "epsilon", (double)1e-5f);
    for (int i = 0; i < n; i++)
        im_param(l, suffix[i], &t[i]);
    return done(o);
}

static bool convert_prelu(Onnx *o) {
    ImTensor w;
    if (!constant_in(o, 1, "slope", &w))
        return false;
    ImLayer *l = add(o, IM_PRELU, &w);
    if (!l)
        return false;
    w = im_tensor_shaped(&w, 1, &w.count);
    im_param(l, "weight", &w);
    return done(o);
}

static bool convert_softmax(Onnx *o) {
    int64_t axis = onnx_int(o->node, "axis", o->model->opset < 13 ? 1 : -1);
    int in;
    if (!layer_in(o, 0, &in))
        return false;
    int rank = im_at(o->net, in)->rank;
    if (axis != 1 && axis != -rank)
        return onnx_refuse(o, "only a softmax over channels can be imported");
    return convert_unary(o, IM_SOFTMAX, 0);
}

/* ---- shapes ---- */
static bool convert_identity(Onnx *o) {
    int in;
    bool ok = layer_in(o, 0, &in);
    onnx_put_layer(o, in);
    return ok;
}

/* What is left is a flattening, or nothing. */
static bool reshaped(Onnx *o, int rank, const int64_t *dim) {
    int in;
    if (!layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    int64_t cells = 1;
    bool same = rank == l->rank + 1;
    for (int i = 0; i < l->rank; i++) {
        cells *= l->dim[i];
        same = same && dim[1 + i] == l->dim[i];
    }
    if (same)
        return convert_identity(o);
    if (rank == 2 && dim[0] == o->batch && dim[1] == cells)
        return convert_unary(o, IM_FLATTEN, 0);
    if (rank == 4 && dim[0] == o->batch && dim[1] == cells && dim[2] == 1 && dim[3] == 1)
        return convert_unary(o, IM_FLATTEN, 0); /* a vector, whatever it is called */
    return onnx_refuse(o, "only flattening can be imported, not to %s",
                       im_shape_text(o->im, rank, dim));
}

static bool convert_reshape(Onnx *o) {
    ImTensor t;
    int64_t dim[IM_MAX_RANK], from[IM_MAX_RANK], known = 1, all = 1;
    int free_axis = -1;
    if (!onnx_in(o, 0) || !constant_in(o, 1, "new shape", &t) || t.count > IM_MAX_RANK)
        return onnx_refuse(o, "its new shape is not known");
    int rank = onnx_shape(o, onnx_in(o, 0), from);
    for (int i = 0; i < rank; i++)
        all *= from[i]; /* of a layer: checked when it was made */
    for (int i = 0; i < t.count; i++) {
        dim[i] = im_tensor_int(&t, i);
        if (dim[i] == 0 && i < rank)
            dim[i] = from[i];
        if (dim[i] < 0)
            free_axis = i;
        else if (__builtin_mul_overflow(known, dim[i], &known))
            return onnx_refuse(o, "its new shape is too large");
    }
    if (free_axis >= 0)
        dim[free_axis] = known > 0 ? all / known : 0;
    return reshaped(o, (int)t.count, dim);
}

static bool convert_flatten(Onnx *o) {
    int in;
    if (!layer_in(o, 0, &in))
        return false;
    if (onnx_int(o->node, "axis", 1) != 1)
        return onnx_refuse(o, "only axis 1 can be imported");
    return im_at(o->net, in)->rank == 1 ? convert_identity(o) : convert_unary(o, IM_FLATTEN, 0);
}

/* Axes of one cell disappear: an image of 1x1 becomes a vector. */
static bool convert_squeeze(Onnx *o) {
    int in;
    if (!layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    if (l->rank == 3 && l->dim[1] == 1 && l->dim[2] == 1)
        return convert_unary(o, IM_FLATTEN, 0);
    return onnx_refuse(o, "only images of one cell can be squeezed");
}

/* NHWC input: only where it reads the picture itself. */
static bool convert_transpose(Onnx *o) {
    int64_t perm[4], d[3];
    int in, n = onnx_ints(o->node, "perm", perm, 4);
    if (!layer_in(o, 0, &in))
        return false;
    ImLayer *l = im_at(o->net, in);
    if (n == 4 && in == 0 && o->net->layer.len == 1 && perm[0] == 0 && perm[1] == 3 &&
        perm[2] == 1 && perm[3] == 2) {
        memcpy(d, l->dim, sizeof d);
        l->dim[0] = d[2], l->dim[1] = d[0], l->dim[2] = d[1];
        return convert_identity(o);
    }
    return onnx_refuse(o, "only the transposition of the input picture can be imported");
}

static bool convert_pad(Onnx *o) {
    int64_t pads[8] = {0};
    int n = onnx_ints(o->node, "pads", pads, 8);
    double value = onnx_float(o->node, "value", 0);
    const char *mode = onnx_text(o->im, o->node, "mode", "constant");
    ImTensor t;
    if (onnx_in(o, 1)) {
        if (!constant_in(o, 1, "padding", &t))
            return false;
        for (n = 0; n < t.count && n < 8; n++)
            pads[n] = im_tensor_int(&t, n);
    }
    const OnnxValue *fill = onnx_in(o, 2);
    if (fill && fill->constant && fill->tensor.count == 1)
        value = im_tensor_at(&fill->tensor, 0);
    if (n != 8 || pads[0] || pads[1] || pads[4] || pads[5] || onnx_in(o, 3))
        return onnx_refuse(o, "only height and width can be padded");
    if (strcmp(mode, "constant") == 0 ? value != 0
                                      : strcmp(mode, "reflect") != 0 && strcmp(mode, "edge") != 0)
        return onnx_refuse(o, "only zeros, mirrored and repeated cells can be padded");
    ImLayer *l = add(o, IM_PAD, NULL);
    if (!l)
        return false;
    l->pad[0] = pads[2], l->pad[1] = pads[6], l->pad[2] = pads[3], l->pad[3] = pads[7];
    l->mode = strcmp(mode, "constant") == 0 ? NULL : mode;
    return done(o);
}

/* Nearest neighbour by whole factors, however its rounding is described. */
static bool nearest(Onnx *o, const double factor[2]) {
    const char *kind = onnx_text(o->im, o->node, "mode", "nearest");
    const char *at = onnx_text(o->im, o->node, "coordinate_transformation_mode", "half_pixel");
    const char *round = onnx_text(o->im, o->node, "nearest_mode", "round_prefer_floor");
    bool old = strcmp(o->node->type, "Upsample") == 0, asymmetric = strcmp(at, "asymmetric") == 0;
    if (strcmp(kind, "nearest") != 0)
        return onnx_refuse(o, "only nearest neighbours can be imported, not '%s'", kind);
    for (int a = 0; a < 2; a++)
        if (!(factor[a] >= 1 && factor[a] <= 1024) || factor[a] != floor(factor[a]))
            return onnx_refuse(o, "only whole factors can be imported");
    bool down = strcmp(round, "floor") == 0;
    bool two_wide = strcmp(round, "round_prefer_floor") == 0 && factor[0] == 2 && factor[1] == 2;
    if (!old && !(asymmetric ? down || two_wide : strncmp(round, "round_", 6) == 0))
        return onnx_refuse(o, "its way of rounding (%s, %s) cannot be imported", at, round);
    ImLayer *l = add(o, IM_UPSAMPLE, NULL);
    if (!l)
        return false;
    for (int a = 0; a < 2; a++)
        l->stride[a] = (int64_t)factor[a];
    return done(o);
}

static bool convert_resize(Onnx *o) {
    bool old = strcmp(o->node->type, "Upsample") == 0 || o->model->opset < 11;
    const OnnxValue *scales = onnx_in(o, old ? 1 : 2), *sizes = old ? NULL : onnx_in(o, 3);
    double factor[2] = {0};
    int in;
    if (!layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    const OnnxValue *v = scales && scales->constant && scales->tensor.count == 4 ? scales : sizes;
    if (!v || !v->constant || v->tensor.count != 4 || l->rank != 3)
        return onnx_refuse(o, "its factors are not known");
    for (int a = 0; a < 2; a++) {
        factor[a] = im_tensor_at(&v->tensor, 2 + a);
        if (v == sizes)
            factor[a] /= (double)l->dim[1 + a];
    }
    return nearest(o, factor);
}

/* Every s-th row and column: a pool whose window is one cell. */
static bool convert_slice(Onnx *o) {
    int64_t step[2] = {1, 1};
    ImTensor t[4]; /* starts, ends, axes, steps */
    int in, n = 0;
    bool ok = layer_in(o, 0, &in) && o->node->in.len == 5;
    for (int i = 0; ok && i < 4; i++) {
        ok = constant_in(o, 1 + i, "part", &t[i]);
        n = i ? n : (int)t[0].count;
        ok = ok && t[i].count == n && n <= 4;
    }
    const ImLayer *l = im_at(o->net, in);
    for (int i = 0; ok && i < n; i++) {
        int64_t axis = im_tensor_int(&t[2], i), end = im_tensor_int(&t[1], i);
        axis += axis < 0 ? l->rank + 1 : 0;
        ok = l->rank == 3 && axis >= 1 && axis < 4 && im_tensor_int(&t[0], i) == 0 &&
             end >= l->dim[axis - 1];
        int64_t s = im_tensor_int(&t[3], i);
        ok = ok && s >= 1 && s <= IM_MAX_SIDE && (axis > 1 || s == 1);
        if (ok && axis > 1)
            step[axis - 2] = s;
    }
    if (!ok) {
        o->im->code = 0; /* constant_in's reason is less clear */
        return onnx_refuse(o, "only every n-th row and column can be cut out");
    }
    ImLayer *pool = add(o, IM_AVGPOOL, NULL);
    if (!pool)
        return false;
    memcpy(pool->stride, step, sizeof step);
    return done(o);
}

/* ---- which node is which ---- */
static bool to_relu(Onnx *o) {
    return convert_unary(o, IM_RELU, 0);
}
static bool to_leaky(Onnx *o) {
    return convert_unary(o, IM_LEAKY_RELU, onnx_float(o->node, "alpha", (double)0.01f));
}
static bool to_elu(Onnx *o) {
    return convert_unary(o, IM_ELU, onnx_float(o->node, "alpha", 1));
}
static bool to_sigmoid(Onnx *o) {
    return convert_unary(o, IM_SIGMOID, 0);
}
static bool to_tanh(Onnx *o) {
    return convert_unary(o, IM_TANH, 0);
}
static bool to_conv(Onnx *o) {
    return convert_conv(o, IM_CONV);
}
static bool to_deconv(Onnx *o) {
    return convert_conv(o, IM_DECONV);
}
static bool to_maxpool(Onnx *o) {
    return convert_pool(o, IM_MAXPOOL);
}
static bool to_avgpool(Onnx *o) {
    return convert_pool(o, IM_AVGPOOL);
}
static bool to_global_avg(Onnx *o) {
    return convert_global(o, IM_AVGPOOL);
}
static bool to_global_max(Onnx *o) {
    return convert_global(o, IM_MAXPOOL);
}
static bool to_bn(Onnx *o) {
    return convert_norm(o, IM_BN);
}
static bool to_instance(Onnx *o) {
    return convert_norm(o, IM_INSTANCE_NORM);
}
static bool to_add(Onnx *o) {
    return convert_join(o, IM_ADD);
}
static bool to_sub(Onnx *o) {
    return convert_join(o, IM_SUB);
}
static bool to_mul(Onnx *o) {
    return convert_join(o, IM_MUL);
}
static bool to_div(Onnx *o) {
    return convert_join(o, IM_DIV);
}
static bool to_max(Onnx *o) {
    return convert_join(o, IM_MAX);
}

static const struct {
    const char *type;
    bool (*convert)(Onnx *);
} table[] = {
    {"Conv", to_conv},
    {"ConvTranspose", to_deconv},
    {"Gemm", convert_gemm},
    {"MatMul", convert_matmul},
    {"Relu", to_relu},
    {"LeakyRelu", to_leaky},
    {"Elu", to_elu},
    {"Sigmoid", to_sigmoid},
    {"Tanh", to_tanh},
    {"Clip", convert_clip},
    {"PRelu", convert_prelu},
    {"MaxPool", to_maxpool},
    {"AveragePool", to_avgpool},
    {"GlobalAveragePool", to_global_avg},
    {"GlobalMaxPool", to_global_max},
    {"ReduceMean", convert_mean},
    {"LRN", convert_lrn},
    {"BatchNormalization", to_bn},
    {"InstanceNormalization", to_instance},
    {"Dropout", convert_dropout},
    {"Identity", convert_identity},
    {"Cast", convert_identity},
    {"Concat", convert_concat},
    {"Add", to_add},
    {"Sum", to_add},
    {"Sub", to_sub},
    {"Mul", to_mul},
    {"Div", to_div},
    {"Max", to_max},
    {"Pad", convert_pad},
    {"Flatten", convert_flatten},
    {"Reshape", convert_reshape},
    {"Squeeze", convert_squeeze},
    {"Softmax", convert_softmax},
    {"Upsample", convert_resize},
    {"Resize", convert_resize},
    {"Slice", convert_slice},
    {"Transpose", convert_transpose},
};

static bool convert_node(Onnx *o) {
    bool folded;
    if (o->node->foreign)
        return onnx_refuse(o, "operators of other domains cannot be imported");
    if (!onnx_fold(o, &folded) || folded)
        return !o->im->code;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(o->node->type, table[i].type) == 0)
            return table[i].convert(o) && !o->im->code;
    return onnx_refuse(o, "this operator cannot be imported");
}

/* ---- the whole ---- */
static bool take_input(Onnx *o) {
    const OnnxInput *picture = NULL;
    ImLayer *l = im_at(o->net, 0);
    for (int i = 0; i < o->model->input.len; i++) {
        const OnnxInput *in = &o->model->input.data[i];
        if (map_has(&o->value, in->name)) /* an initializer, listed as input in older files */
            continue;
        if (picture)
            return im_fail(o->im, NETC_DATA,
                           "it has several inputs, '%s' and '%s'; one picture "
                           "can be imported",
                           picture->name, in->name);
        picture = in;
    }
    if (!picture)
        return im_fail(o->im, NETC_DATA, "it has no input");
    OnnxValue *v = ARENA_NEW(o->im->arena, OnnxValue);
    map_put(&o->value, picture->name, v);
    o->batch = picture->rank > 0 && picture->dim[0] ? picture->dim[0] : 1;
    for (int i = 0; i < picture->rank; i++)
        if (picture->dim[i] > IM_MAX_SIDE)
            return im_fail(o->im, NETC_LIMIT, "its input '%s' is too large", picture->name);
    if (picture->rank == 2) {
        l->dim[0] = l->dim[1] = 1;
        l->dim[2] = picture->dim[1];
    } else if (picture->rank == 4) {
        memcpy(l->dim, picture->dim + 1, sizeof l->dim);
    } else if (picture->rank >= 0 || !o->im->options->input) {
        return im_fail(o->im, NETC_DATA, "its input '%s' has %d dimensions; pictures have four",
                       picture->name, picture->rank);
    }
    if (o->im->options->input)
        return im_parse_size(o->im, o->im->options->input, l->dim) && im_infer(o->im, o->net, 0);
    if (l->dim[0] && l->dim[1] && l->dim[2])
        return im_infer(o->im, o->net, 0);
    im_fail(o->im, NETC_DATA, "its input '%s' has no fixed size", picture->name);
    im_help(o->im, "say which: --input=%lldx224x224", (long long)(l->dim[0] ? l->dim[0] : 3));
    return false;
}

static void count_readers(Onnx *o) {
    Arena *arena = o->im->arena;
    for (int i = 0; i <= o->model->node.len; i++) {
        bool ends = i == o->model->node.len;
        int n = ends ? o->model->output.len : o->model->node.data[i].in.len;
        for (int k = 0; k < n; k++) {
            const char *name = ends ? o->model->output.data[k] : o->model->node.data[i].in.data[k];
            int *count = map_get(&o->readers, name);
            if (!count)
                map_put(&o->readers, name, count = ARENA_NEW(arena, int));
            ++*count;
        }
    }
}

static bool take_output(Onnx *o) {
    const char *name = o->model->output.len ? o->model->output.data[0] : "";
    const OnnxValue *v = map_get(&o->value, name);
    if (!v || v->constant || v->layer == 0)
        return im_fail(o->im, NETC_DATA, "no node makes its output '%s'", name);
    if (o->model->output.len > 1)
        im_note(o->im, "it has %d outputs; '%s' is imported", o->model->output.len, name);
    o->net->score = v->layer;
    const ImLayer *l = im_at(o->net, v->layer);
    if (l->op == IM_SOFTMAX) {
        o->net->prob = v->layer;
        o->net->score = l->in[0];
    }
    return o->net->score > 0 || im_fail(o->im, NETC_DATA, "the network computes nothing");
}

static void take_prep(Onnx *o) {
    ImPrep *p = &o->net->prep;
    const char *range = o->model->pixel_range, *format = o->model->pixel_format;
    p->bgr = format && strncmp(format, "Bgr", 3) == 0;
    p->scale = range && strcmp(range, "NominalRange_0_255") == 0 ? 1 : 1.0 / 255;
    p->known = range != NULL;
}

bool im_read_onnx(Im *im, const ImBytes *file, ImNet *net) {
    OnnxModel model;
    Onnx o = {.im = im,
              .net = net,
              .model = &model,
              .value = map_new(im->arena),
              .readers = map_new(im->arena)};
    im_net_begin(im, net);
    net->format = "ONNX";
    if (!onnx_parse(im, file->data, file->size, &model))
        return false;
    net->name = model.graph;
    for (int i = 0; i < model.initializer.len; i++) {
        OnnxValue *v = ARENA_NEW(im->arena, OnnxValue);
        *v = (OnnxValue){.constant = true, .tensor = model.initializer.data[i]};
        map_put(&o.value, v->tensor.name, v);
    }
    if (!take_input(&o))
        return false;
    count_readers(&o);
    for (int i = 0; i < model.node.len; i++) {
        o.node = &model.node.data[i];
        if (!convert_node(&o))
            return false;
    }
    if (!take_output(&o))
        return false;
    take_prep(&o);
    im_simplify(net);
    im_prune(im, net);
    return im_infer_all(im, net);
}
