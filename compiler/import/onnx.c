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
#include <stdlib.h>
#include <string.h>

#define LARGEST 3.4e38 /* of single precision, nearly */

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
    for (int i = 0; v->axes[i]; i++)
        dim[i] = v->axes[i] == 'N'   ? o->batch
                 : v->axes[i] == 'D' ? (v->second ? 2 : 1)
                 : v->axes[i] == 'C' ? l->dim[0]
                                     : (l->rank == 3 ? l->dim[2] : 1);
    if (v->axes[0])
        return (int)strlen(v->axes);
    int rank = 0;
    dim[rank++] = o->batch;
    for (int i = 0; i < l->rank; i++) {
        if (v->clip && i == 1)
            dim[rank++] = l->frames;
        dim[rank++] = l->dim[i];
    }
    return rank;
}

/* ---- inputs of nodes ---- */
bool onnx_layer_in(Onnx *o, int i, int *layer) {
    const OnnxValue *v = onnx_in(o, i);
    *layer = v ? v->layer : 0;
    if (!v)
        return onnx_refuse(o, "nothing makes its input %d", i + 1);
    return !v->constant || onnx_refuse(o, "its input %d is a constant", i + 1);
}

bool onnx_constant_in(Onnx *o, int i, const char *what, ImTensor *t) {
    const OnnxValue *v = onnx_in(o, i);
    if (!v || !v->constant)
        return onnx_refuse(o, "its %s is not a constant", what);
    *t = v->tensor;
    return true;
}

int onnx_readers(const Onnx *o, const char *name) {
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

/* A layer that reads input 0 and makes output 0; im_infer follows in onnx_done(). */
ImLayer *onnx_add(Onnx *o, ImOp op, const ImTensor *weight) {
    int in;
    if (!onnx_layer_in(o, 0, &in))
        return NULL;
    int layer = im_add(o->im, o->net, op, layer_name(o, weight), 1, &in);
    if (o->im->code)
        return NULL;
    onnx_put_layer(o, layer);
    return im_at(o->net, layer);
}

bool onnx_done(Onnx *o) {
    return im_infer(o->im, o->net, o->net->layer.len - 1);
}

/* ---- windows ---- */
/* Two numbers of an attribute, of a sequence the second; absent, they stay. */
static void two(const Onnx *o, const char *name, int64_t out[2]) {
    int64_t v[2];
    int n = onnx_ints(o->node, name, v, 2);
    if (n == 2)
        memcpy(out, v, sizeof v);
    else if (n == 1 && onnx_is_line(o, 0))
        out[1] = v[0];
}

/* SAME: as many results as strides fit; an odd cell goes behind (UPPER) or in front. */
static bool same_pad(Onnx *o, ImOp op, int64_t n, const ImDeep *w, bool upper, int64_t pad[2]) {
    if (w->stride < 1 || n < 1 || w->kernel < 1 || w->kernel > IM_MAX_SIDE || w->dilation < 1 ||
        w->dilation > IM_MAX_SIDE)
        return onnx_refuse(o, "its window has no sensible size");
    int64_t span = (w->kernel - 1) * w->dilation + 1;
    int64_t total = ((n - 1) / w->stride) * w->stride + span - n;
    if (op == IM_DECONV)
        total = span + w->out_pad - w->stride;
    total = total > 0 ? total : 0;
    pad[0] = upper ? total / 2 : total - total / 2;
    pad[1] = total - pad[0];
    return true;
}

static bool same_pads(Onnx *o, ImLayer *l, bool upper) {
    const ImLayer *src = im_at(o->net, l->in[0]);
    for (int a = 0; a < 2; a++) {
        ImDeep w = {l->kernel[a], l->stride[a], l->dilation[a], {0}, l->out_pad[a]};
        if (!same_pad(o, l->op, src->rank == 3 ? src->dim[1 + a] : 0, &w, upper, l->pad + 2 * a))
            return false;
    }
    return l->deep.kernel == 0 || same_pad(o, l->op, src->frames, &l->deep, upper, l->deep.pad);
}

static bool window(Onnx *o, ImLayer *l) {
    int64_t pads[4] = {0};
    int n = onnx_ints(o->node, "pads", pads, 4);
    const char *mode = onnx_text(o->im, o->node, "auto_pad", "NOTSET");
    two(o, "kernel_shape", l->kernel);
    two(o, "strides", l->stride);
    two(o, "dilations", l->dilation);
    if (onnx_is_clip(o, 0) && !onnx_clip_window(o, l))
        return false;
    if (strcmp(mode, "SAME_UPPER") == 0 || strcmp(mode, "SAME_LOWER") == 0)
        return same_pads(o, l, mode[5] == 'U');
    if (onnx_is_clip(o, 0))
        return true;
    if (n == 2 && onnx_is_line(o, 0)) {
        l->pad[2] = pads[0];
        l->pad[3] = pads[1];
        return true;
    }
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
    if (!onnx_constant_in(o, i, "bias", &b))
        return false;
    b = im_tensor_shaped(&b, 1, &b.count);
    im_param(l, "bias", &b);
    return l->bias = true;
}

static bool convert_conv(Onnx *o, ImOp op) {
    ImTensor w;
    if (!onnx_constant_in(o, 1, "weight", &w))
        return false;
    if (w.rank == 3 && onnx_is_line(o, 0)) { /* [maps, maps, kernel] */
        const char *name = w.name;
        w = im_tensor_shaped(&w, 4, (const int64_t[]){w.dim[0], w.dim[1], 1, w.dim[2]});
        w.name = name;
    }
    bool deep = onnx_is_clip(o, 0);
    if (w.rank != 4 + deep || (onnx_is_line(o, 0) && w.dim[2] != 1))
        return onnx_refuse(o, "its weights are %s, which do not fit what it reads",
                           im_shape_text(o->im, w.rank, w.dim));
    ImLayer *l = onnx_add(o, op, &w);
    if (!l)
        return false;
    l->groups = onnx_int(o->node, "group", 1);
    if (l->groups < 1 || l->groups > IM_MAX_MAPS || w.dim[1] > IM_MAX_MAPS)
        return onnx_refuse(o, "its groups do not divide the maps");
    l->maps = op == IM_CONV ? w.dim[0] : w.dim[1] * l->groups;
    l->deep.kernel = deep ? w.dim[2] : 0;
    l->kernel[0] = w.dim[2 + deep];
    l->kernel[1] = w.dim[3 + deep];
    if (op == IM_DECONV)
        two(o, "output_padding", l->out_pad);
    if (op == IM_DECONV && onnx_has(o->node, "output_shape"))
        return onnx_refuse(o, "output_shape cannot be imported");
    if (!window(o, l))
        return false;
    if (deep && !l->deep.kernel) { /* [maps, maps, 1, rows, columns], every frame alone */
        const char *name = w.name;
        w = im_tensor_shaped(&w, 4, (const int64_t[]){w.dim[0], w.dim[1], w.dim[3], w.dim[4]});
        w.name = name;
    }
    im_param(l, "weight", &w);
    return bias_in(o, l, 2) && onnx_done(o);
}

static bool convert_pool(Onnx *o, ImOp op) {
    ImLayer *l = onnx_add(o, op, NULL);
    if (!l || !window(o, l))
        return false;
    if (l->dilation[0] != 1 || l->dilation[1] != 1 || l->deep.dilation != 1)
        return onnx_refuse(o, "pools with dilation cannot be imported");
    l->number[0] = onnx_has(o->node, "p") ? (double)onnx_int(o->node, "p", 2) : 2;
    l->ceil = onnx_int(o->node, "ceil_mode", 0) != 0;
    bool padded = l->pad[0] || l->pad[1] || l->pad[2] || l->pad[3] || l->deep.pad[0] ||
                  l->deep.pad[1];
    l->count_pad = op == IM_AVGPOOL && padded && onnx_int(o->node, "count_include_pad", 0) != 0;
    return onnx_done(o);
}

static bool convert_global(Onnx *o, ImOp op) {
    ImLayer *l = onnx_add(o, op, NULL);
    if (!l)
        return false;
    l->global = true;
    return onnx_done(o);
}

/* ---- dense ---- */
/* w is [units, inputs] already. */
static bool put_dense(Onnx *o, ImOp op, const char *name, ImTensor w, const ImTensor *bias) {
    int in;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    int layer = im_add(o->im, o->net, op, name, 1, &in);
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
    return onnx_done(o);
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
    return l->rank == 1;
}

static ImTensor scaled(Onnx *o, const ImTensor *t, double factor) {
    float *out;
    ImTensor r = im_tensor_new(o->im, t->rank, t->dim, &out);
    for (int64_t i = 0; i < t->count; i++)
        out[i] = (float)(factor * im_tensor_at(t, i));
    return r;
}

static bool convert_gemm(Onnx *o, ImOp op) {
    ImTensor w, c;
    double alpha = onnx_float(o->node, "alpha", 1), beta = onnx_float(o->node, "beta", 1);
    int in;
    if (!onnx_layer_in(o, 0, &in) || !onnx_constant_in(o, 1, "weight", &w))
        return false;
    if (onnx_int(o->node, "transA", 0) || w.rank != 2 || !is_vector(o, in))
        return onnx_refuse(o, "only a dense layer can be imported");
    const char *name = layer_name(o, &w);
    if (!onnx_int(o->node, "transB", 0))
        w = turned(o, &w, alpha);
    else if (alpha != 1)
        w = scaled(o, &w, alpha);
    if (!onnx_in(o, 2))
        return put_dense(o, op, name, w, NULL);
    if (!onnx_constant_in(o, 2, "bias", &c))
        return false;
    if (c.count != w.dim[0])
        return onnx_refuse(o, "its bias has %lld numbers, not %lld", (long long)c.count,
                           (long long)w.dim[0]);
    c = beta == 1 ? im_tensor_shaped(&c, 1, &c.count) : scaled(o, &c, beta);
    c = im_tensor_shaped(&c, 1, &c.count);
    return put_dense(o, op, name, w, &c);
}

static bool convert_matmul(Onnx *o, ImOp op) {
    ImTensor w;
    int in;
    if (!onnx_layer_in(o, 0, &in) || !onnx_constant_in(o, 1, "weight", &w))
        return false;
    if (w.rank != 2 || !is_vector(o, in))
        return onnx_refuse(o, "only a dense layer can be imported");
    return put_dense(o, op, layer_name(o, &w), turned(o, &w, 1), NULL);
}

/* ---- arithmetic ---- */
/* A constant that holds one number, or one per channel of the layer; NULL: neither. */
static float *per_channel(Onnx *o, const ImTensor *t, const ImLayer *l) {
    int64_t channels = l->dim[0];
    int axis = t->rank - l->rank; /* where channels stand, the batch perhaps in front */
    for (int i = 0; i < 2; i++) {
        const OnnxValue *v = onnx_in(o, i);
        axis -= v && !v->constant && v->clip;
        if (v && !v->constant && v->axes[0])
            axis = t->rank - (int)strlen(v->axes) + onnx_line_axis(v, 'C');
    }
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
    if ((l->op != IM_CONV && l->op != IM_DENSE) || onnx_readers(o, read_as) != 1 || product || l->bias)
        return false;
    float *out;
    ImTensor b = im_tensor_new(o->im, 1, &l->maps, &out);
    memcpy(out, v, (size_t)l->maps * sizeof *out);
    im_param(l, "bias", &b);
    l->bias = true;
    onnx_put_layer(o, layer);
    return true;
}

/* Ends beyond single precision are none. */
static bool clip(Onnx *o, ImOp op, double low, double high) {
    low = low > -LARGEST ? low : -LARGEST;
    high = high < LARGEST ? high : LARGEST;
    if (!(low <= high))
        return onnx_refuse(o, "its ends are no range");
    if (low == -LARGEST && high == LARGEST)
        return onnx_identity(o);
    if (low == 0 && high == LARGEST)
        return onnx_unary(o, IM_RELU, 0);
    ImLayer *l = onnx_add(o, op, NULL);
    if (!l)
        return false;
    l->number[0] = low;
    l->number[1] = high;
    return onnx_done(o);
}

/* a x + b with one number each; a line in front that nobody else reads takes it in. */
static bool with_line(Onnx *o, int layer, const char *read_as, double a, double b) {
    ImLayer *l = im_at(o->net, layer);
    if (l->op == IM_SCALE && onnx_readers(o, read_as) == 1) {
        l->number[0] *= a;
        l->number[1] = l->number[1] * a + b;
        onnx_put_layer(o, layer);
        return true;
    }
    if (a == 1 && b == 0) {
        onnx_put_layer(o, layer);
        return true;
    }
    int line = im_add(o->im, o->net, a == -1 && b == 0 ? IM_NEG : IM_SCALE,
                      node_name(o->im, o->node), 1, &layer);
    im_at(o->net, line)->number[0] = a;
    im_at(o->net, line)->number[1] = b;
    onnx_put_layer(o, line);
    return !o->im->code && onnx_done(o);
}

/* c / x = c x^-1 */
static int inverse(Onnx *o, int layer) {
    int power = im_add(o->im, o->net, IM_POW, "", 1, &layer);
    im_at(o->net, power)->number[0] = -1;
    return o->im->code || !onnx_done(o) ? 0 : power;
}

/* x op c, or c op x (which = 1), as a x + b. */
static void line_of(ImOp op, int which, double c, double *a, double *b) {
    *a = op == IM_MUL ? c : op == IM_DIV ? (which ? c : 1 / c) : op == IM_SUB && which ? -1 : 1;
    *b = op == IM_ADD ? c : op == IM_SUB ? (which ? c : -c) : 0;
}

static bool with_constant(Onnx *o, int which, ImOp op) {
    int layer;
    ImTensor t;
    double a, b;
    if (!onnx_layer_in(o, which, &layer) || !onnx_constant_in(o, !which, "other operand", &t))
        return false;
    const char *read_as = o->node->in.data[which];
    float *v = t.data ? per_channel(o, &t, im_at(o->net, layer)) : NULL;
    if (!v || (t.count != 1 && (op == IM_MAX || op == IM_MIN)))
        return onnx_refuse(o, "a constant operand is one number, or one per channel");
    if (op == IM_MAX || op == IM_MIN) {
        const char *swap = o->node->in.data[0];
        o->node->in.data[0] = read_as; /* the constant may come first */
        bool ok = op == IM_MAX ? clip(o, IM_CLIP, (double)v[0], LARGEST)
                               : clip(o, IM_CLIP, -LARGEST, (double)v[0]);
        o->node->in.data[0] = swap;
        return ok;
    }
    if (op == IM_DIV && which) {
        layer = inverse(o, layer);
        read_as = "";
        if (layer == 0)
            return false;
    }
    int64_t channels = im_at(o->net, layer)->dim[0];
    line_of(op, which, t.count == 1 ? im_tensor_at(&t, 0) : 1, &a, &b);
    float *factor = ARENA_ARRAY(o->im->arena, channels, float);
    float *term = ARENA_ARRAY(o->im->arena, channels, float);
    bool product = false;
    for (int64_t c = 0; c < channels; c++) {
        double x, y;
        line_of(op, which, (double)v[c], &x, &y);
        factor[c] = (float)x;
        term[c] = (float)y;
        product |= factor[c] != 1;
    }
    if (absorb(o, layer, read_as, term, product))
        return true;
    if (t.count == 1)
        return with_line(o, layer, read_as, a, b);
    int made = o->net->layer.len;
    int line = im_affine(o->im, o->net, node_name(o->im, o->node), layer, onnx_readers(o, read_as) == 1,
                         factor, term, channels);
    onnx_put_layer(o, line);
    return !o->im->code && (line != made || onnx_done(o));
}

/* The larger operand first; the other is repeated.  Differences and quotients cannot swap. */
static bool larger_first(Onnx *o, ImOp op, int in[2]) {
    const ImLayer *a = im_at(o->net, in[0]), *b = im_at(o->net, in[1]);
    if (a->rank != 3 || b->rank != 3 ||
        a->frames * a->dim[0] * a->dim[1] * a->dim[2] >=
            b->frames * b->dim[0] * b->dim[1] * b->dim[2])
        return true;
    if (op == IM_SUB || op == IM_DIV)
        return onnx_refuse(o, "its first operand is the smaller one");
    int swap = in[0];
    in[0] = in[1];
    in[1] = swap;
    return true;
}

static int64_t concat_axis(const Onnx *o) {
    int64_t dim[IM_MAX_RANK], axis = onnx_int(o->node, "axis", 1);
    return axis < 0 ? axis + onnx_shape(o, onnx_in(o, 0), dim) : axis;
}

static bool convert_join(Onnx *o, ImOp op) {
    int n = o->node->in.len, *in = ARENA_ARRAY(o->im->arena, n + 1, int);
    if (n == 2 && op != IM_CONCAT)
        for (int i = 0; i < 2; i++)
            if (onnx_in(o, i) && onnx_in(o, i)->constant)
                return with_constant(o, !i, op);
    for (int i = 0; i < n; i++)
        if (!onnx_layer_in(o, i, &in[i]))
            return false;
    if (n == 1) {
        onnx_put_layer(o, in[0]);
        return true;
    }
    if (n < 1)
        return onnx_refuse(o, "it joins nothing");
    if (n == 2 && op != IM_CONCAT && !larger_first(o, op, in))
        return false;
    int layer = im_add(o->im, o->net, op, join_name(o, op), n, in);
    if (op == IM_CONCAT && !o->im->code && concat_axis(o) != 1)
        im_at(o->net, layer)->mode = "frames";
    onnx_put_layer(o, layer);
    return !o->im->code && onnx_done(o);
}

static bool convert_concat(Onnx *o, ImOp op) {
    int layer;
    if (!onnx_layer_in(o, 0, &layer))
        return false;
    int64_t axis = concat_axis(o);
    if (axis != 1 && !(axis == 2 && onnx_is_clip(o, 0)))
        return onnx_refuse(o, "only channels can be joined, and frames of clips");
    return convert_join(o, op);
}

/* ---- one input, no weights ---- */
bool onnx_unary(Onnx *o, ImOp op, double number) {
    ImLayer *l = onnx_add(o, op, NULL);
    if (!l)
        return false;
    l->number[0] = number;
    return onnx_done(o);
}

static bool convert_clip(Onnx *o, ImOp op) {
    double low = onnx_float(o->node, "min", -LARGEST), high = onnx_float(o->node, "max", LARGEST);
    ImTensor t;
    if (onnx_in(o, 1) && (!onnx_constant_in(o, 1, "lower end", &t) || t.count != 1))
        return onnx_refuse(o, "its lower end is not one number");
    low = onnx_in(o, 1) ? im_tensor_at(&t, 0) : low;
    if (onnx_in(o, 2) && (!onnx_constant_in(o, 2, "upper end", &t) || t.count != 1))
        return onnx_refuse(o, "its upper end is not one number");
    high = onnx_in(o, 2) ? im_tensor_at(&t, 0) : high;
    return clip(o, op, low, high);
}

static bool convert_dropout(Onnx *o, ImOp op) {
    double rate = onnx_float(o->node, "ratio", 0.5);
    const OnnxValue *v = onnx_in(o, 1);
    if (v && v->constant && v->tensor.count == 1)
        rate = im_tensor_at(&v->tensor, 0);
    if (rate > 0 && rate < 1)
        return onnx_unary(o, op, rate);
    int in;
    bool ok = onnx_layer_in(o, 0, &in);
    onnx_put_layer(o, in);
    return ok;
}

static bool convert_lrn(Onnx *o, ImOp op) {
    ImLayer *l = onnx_add(o, op, NULL);
    if (!l)
        return false;
    l->size = onnx_int(o->node, "size", 5);
    l->number[0] = onnx_float(o->node, "bias", 1);
    l->number[1] = onnx_float(o->node, "alpha", 1e-4);
    l->number[2] = onnx_float(o->node, "beta", 0.75);
    l->alpha_per_size = true;
    if (l->size < 1 || l->size > 255 || l->size % 2 == 0)
        return onnx_refuse(o, "its window is not odd");
    return onnx_done(o);
}

static bool convert_norm(Onnx *o, ImOp op) {
    static const char *const suffix[] = {"weight", "bias", "running_mean", "running_var"};
    ImTensor t[4];
    int n = op == IM_BN ? 4 : 2;
    if (onnx_int(o->node, "training_mode", 0) || !onnx_int(o->node, "spatial", 1))
        return onnx_refuse(o, "only running statistics of whole channels can be imported");
    for (int i = 0; i < n; i++) {
        if (!onnx_constant_in(o, 1 + i, suffix[i], &t[i]))
            return false;
        t[i] = im_tensor_shaped(&t[i], 1, &t[i].count);
    }
    ImLayer *l = onnx_add(o, op, &t[0]);
    if (!l)
        return false;
    l->number[0] = onnx_float(o->node, "epsilon", (double)1e-5f);
    for (int i = 0; i < n; i++)
        im_param(l, suffix[i], &t[i]);
    return onnx_done(o);
}

static bool convert_prelu(Onnx *o, ImOp op) {
    ImTensor w;
    if (!onnx_constant_in(o, 1, "slope", &w))
        return false;
    ImLayer *l = onnx_add(o, op, &w);
    if (!l)
        return false;
    const ImLayer *src = im_at(o->net, l->in[0]);
    if (w.count != 1 && !per_channel(o, &w, src))
        return onnx_refuse(o, "its slopes are not one number, or one per channel");
    w = im_tensor_shaped(&w, 1, &w.count);
    im_param(l, "weight", &w);
    return onnx_done(o);
}

/* Before version 13 all axes from the first one on are one. */
static bool convert_softmax(Onnx *o, ImOp op) {
    int64_t axis = onnx_int(o->node, "axis", o->model->opset < 13 ? 1 : -1);
    int in;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    const OnnxValue *v = onnx_in(o, 0);
    if (v->axes[0]) {
        axis += axis < 0 ? (int64_t)strlen(v->axes) : 0;
        return axis == onnx_line_axis(v, 'C') && o->model->opset >= 13
                   ? onnx_unary(o, op, 0)
                   : onnx_refuse(o, "only a softmax over channels can be imported");
    }
    axis += axis < 0 ? l->rank + 1 + v->clip : 0;
    if (axis != 1 ||
        (o->model->opset < 13 && l->rank == 3 && l->frames * l->dim[1] * l->dim[2] != 1))
        return onnx_refuse(o, "only a softmax over channels can be imported");
    return onnx_unary(o, op, 0);
}

/* ---- nothing to do ---- */
bool onnx_identity(Onnx *o) {
    int in;
    bool ok = onnx_layer_in(o, 0, &in);
    onnx_put_layer(o, in);
    return ok;
}

/* To another kind of floating point number. */
static bool convert_cast(Onnx *o, ImOp op) {
    int64_t to = onnx_int(o->node, "to", 1);
    (void)op;
    if (to != 1 && to != 10 && to != 11 && to != 16)
        return onnx_refuse(o, "only floating point numbers can be computed with");
    return onnx_identity(o);
}

static bool convert_identity(Onnx *o, ImOp op) {
    (void)op;
    return onnx_identity(o);
}

/* ---- which node is which ---- */
/* Two layers behind each other, of one number each. */
static bool two_unary(Onnx *o, ImOp first, double a, double b, ImOp second, double c, double d) {
    int in, layer;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    layer = im_add(o->im, o->net, first, "", 1, &in);
    im_at(o->net, layer)->number[0] = a;
    im_at(o->net, layer)->number[1] = b;
    if (o->im->code || !onnx_done(o))
        return false;
    int last = im_add(o->im, o->net, second, node_name(o->im, o->node), 1, &layer);
    im_at(o->net, last)->number[0] = c;
    im_at(o->net, last)->number[1] = d;
    onnx_put_layer(o, last);
    return !o->im->code && onnx_done(o);
}

/* f(x) = x * (the layer made last): the pieces of HardSwish and Softsign. */
static bool with_input(Onnx *o, ImOp op) {
    int in[2];
    if (!onnx_layer_in(o, 0, &in[0]))
        return false;
    in[1] = o->net->layer.len - 1;
    onnx_put_layer(o, im_add(o->im, o->net, op, node_name(o->im, o->node), 2, in));
    return !o->im->code && onnx_done(o);
}

static bool convert_curve(Onnx *o, ImOp op) {
    switch (op) {
    case IM_LEAKY_RELU:
        return onnx_unary(o, op, onnx_float(o->node, "alpha", (double)0.01f));
    case IM_ELU:
        return onnx_unary(o, op, onnx_float(o->node, "alpha", 1));
    case IM_POW: /* Reciprocal */
        return onnx_unary(o, op, -1);
    case IM_GELU:
        if (strcmp(onnx_text(o->im, o->node, "approximate", "none"), "tanh") != 0)
            return onnx_refuse(o, "only the form with tanh can be imported (approximate = 'tanh')");
        return onnx_unary(o, op, 0);
    default:
        return onnx_unary(o, op, 0);
    }
}

static bool convert_selu(Onnx *o, ImOp op) {
    double alpha = onnx_float(o->node, "alpha", (double)1.67326319217681884765625f);
    double gamma = onnx_float(o->node, "gamma", (double)1.05070102214813232421875f);
    return two_unary(o, op, alpha, 0, IM_SCALE, gamma, 0);
}

static bool convert_hard(Onnx *o, ImOp op) {
    bool swish = op == IM_MUL;
    double alpha = swish ? 1.0 / 6 : onnx_float(o->node, "alpha", (double)0.2f);
    double beta = swish ? 0.5 : onnx_float(o->node, "beta", 0.5);
    return two_unary(o, IM_SCALE, alpha, beta, IM_CLIP, 0, 1) && (!swish || with_input(o, IM_MUL));
}

static bool convert_softsign(Onnx *o, ImOp op) {
    (void)op;
    return two_unary(o, IM_ABS, 0, 0, IM_SCALE, 1, 1) && with_input(o, IM_DIV);
}

static bool convert_log_softmax(Onnx *o, ImOp op) {
    if (!convert_softmax(o, op))
        return false;
    int in = o->net->layer.len - 1;
    onnx_put_layer(o, im_add(o->im, o->net, IM_LOG, node_name(o->im, o->node), 1, &in));
    return !o->im->code && onnx_done(o);
}

static bool convert_pow(Onnx *o, ImOp op) {
    ImTensor t;
    if (!onnx_constant_in(o, 1, "exponent", &t))
        return false;
    if (t.count != 1)
        return onnx_refuse(o, "its exponent is not one number");
    double p = im_tensor_at(&t, 0);
    if (p == 1)
        return onnx_identity(o);
    return p == 2     ? onnx_unary(o, IM_SQUARE, 0)
           : p == 0.5 ? onnx_unary(o, IM_SQRT, 0)
                      : onnx_unary(o, op, p);
}

static const struct {
    const char *type;
    bool (*convert)(Onnx *, ImOp);
    ImOp op;
} table[] = {
    {"Conv", convert_conv, IM_CONV},
    {"ConvTranspose", convert_conv, IM_DECONV},
    {"Gemm", convert_gemm, IM_DENSE},
    {"MatMul", convert_matmul, IM_DENSE},
    {"Relu", convert_curve, IM_RELU},
    {"LeakyRelu", convert_curve, IM_LEAKY_RELU},
    {"Elu", convert_curve, IM_ELU},
    {"Selu", convert_selu, IM_ELU},
    {"Sigmoid", convert_curve, IM_SIGMOID},
    {"HardSigmoid", convert_hard, IM_CLIP},
    {"HardSwish", convert_hard, IM_MUL},
    {"Softplus", convert_curve, IM_SOFTPLUS},
    {"Softsign", convert_softsign, IM_DIV},
    {"Tanh", convert_curve, IM_TANH},
    {"Gelu", convert_curve, IM_GELU},
    {"Abs", convert_curve, IM_ABS},
    {"Neg", convert_curve, IM_NEG},
    {"Sqrt", convert_curve, IM_SQRT},
    {"Exp", convert_curve, IM_EXP},
    {"Log", convert_curve, IM_LOG},
    {"Reciprocal", convert_curve, IM_POW},
    {"Pow", convert_pow, IM_POW},
    {"Clip", convert_clip, IM_CLIP},
    {"PRelu", convert_prelu, IM_PRELU},
    {"MaxPool", convert_pool, IM_MAXPOOL},
    {"AveragePool", convert_pool, IM_AVGPOOL},
    {"LpPool", convert_pool, IM_LP_POOL},
    {"GlobalAveragePool", convert_global, IM_AVGPOOL},
    {"GlobalMaxPool", convert_global, IM_MAXPOOL},
    {"ReduceMean", onnx_reduce, IM_MEAN},
    {"ReduceSum", onnx_reduce, IM_SCALE},
    {"ReduceMax", onnx_reduce, IM_MAX_OVER},
    {"LRN", convert_lrn, IM_LRN},
    {"BatchNormalization", convert_norm, IM_BN},
    {"InstanceNormalization", convert_norm, IM_INSTANCE_NORM},
    {"Dropout", convert_dropout, IM_DROPOUT},
    {"Identity", convert_identity, IM_NONE},
    {"Cast", convert_cast, IM_NONE},
    {"Concat", convert_concat, IM_CONCAT},
    {"Add", convert_join, IM_ADD},
    {"Sum", convert_join, IM_ADD},
    {"Sub", convert_join, IM_SUB},
    {"Mul", convert_join, IM_MUL},
    {"Div", convert_join, IM_DIV},
    {"Max", convert_join, IM_MAX},
    {"Min", convert_join, IM_MIN},
    {"Softmax", convert_softmax, IM_SOFTMAX},
    {"LogSoftmax", convert_log_softmax, IM_SOFTMAX},
    {"Pad", onnx_pad, IM_PAD},
    {"Flatten", onnx_flatten, IM_FLATTEN},
    {"Reshape", onnx_reshape, IM_RESHAPE},
    {"Squeeze", onnx_squeeze, IM_FLATTEN},
    {"Unsqueeze", onnx_squeeze, IM_RESHAPE},
    {"Upsample", onnx_resize, IM_UPSAMPLE},
    {"Resize", onnx_resize, IM_RESIZE},
    {"Slice", onnx_slice, IM_SLICE},
    {"Split", onnx_split, IM_SLICE},
    {"Transpose", onnx_transpose, IM_TRANSPOSE},
};

/* What does not move axes keeps them. */
static bool keep_axes(Onnx *o) {
    const OnnxValue *first = NULL;
    for (int i = 0; i < o->node->in.len && !first; i++)
        first = onnx_in(o, i) && !onnx_in(o, i)->constant ? onnx_in(o, i) : NULL;
    for (int k = 0; first && (first->axes[0] || first->clip) && k < o->node->out.len; k++) {
        OnnxValue *v = map_get(&o->value, o->node->out.data[k]);
        if (v && !v->constant && im_at(o->net, v->layer)->rank == 3) {
            memcpy(v->axes, first->axes, sizeof v->axes);
            v->clip = first->clip;
        }
    }
    return true;
}

static bool convert_node(Onnx *o) {
    bool folded;
    if (o->node->foreign)
        return onnx_refuse(o, "operators of other domains cannot be imported");
    if (!onnx_fold(o, &folded) || folded)
        return !o->im->code;
    if (!onnx_line(o, &folded) || folded)
        return !o->im->code;
    if (!onnx_clip(o, &folded) || folded)
        return !o->im->code;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(o->node->type, table[i].type) == 0)
            return table[i].convert(o, table[i].op) && !o->im->code && keep_axes(o);
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
        l->rank = 1;
        l->dim[0] = picture->dim[1];
        l->dim[1] = l->dim[2] = 1;
    } else if (picture->rank == 3) {
        return onnx_line_input(o, picture, v);
    } else if (picture->rank == 5) {
        return onnx_clip_input(o, picture, v);
    } else if (picture->rank == 4) {
        memcpy(l->dim, picture->dim + 1, sizeof l->dim);
    } else if (picture->rank >= 0 || !o->im->options->input) {
        return im_fail(o->im, NETC_DATA, "its input '%s' has %d dimensions; pictures have four",
                       picture->name, picture->rank);
    }
    if (o->im->options->input && l->rank == 3)
        return im_parse_size(o->im, o->im->options->input, 3, l->dim) && im_infer(o->im, o->net, 0);
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

static bool read_by_layers(const ImNet *net, int layer) {
    for (int i = 0; i < net->layer.len; i++)
        for (int k = 0; k < net->layer.data[i].nin; k++)
            if (net->layer.data[i].in[k] == layer)
                return true;
    return false;
}

/* A softmax that nothing else reads belongs to the output. */
static ImEnd end_at(const Onnx *o, const char *name, int layer) {
    ImLayer *l = im_at(o->net, layer);
    bool prob = l->op == IM_SOFTMAX && l->in[0] > 0 && !read_by_layers(o->net, layer);
    return (ImEnd){name, prob ? l->in[0] : layer, prob ? layer : -1};
}

enum { MOST_OUTPUTS = 8 }; /* of a spec */

static bool take_outputs(Onnx *o) {
    for (int i = 0; i < o->model->output.len; i++) {
        const char *name = o->model->output.data[i];
        const OnnxValue *v = map_get(&o->value, name);
        bool made = v && !v->constant && v->layer > 0 && !v->second;
        if (!made && i == 0)
            return im_fail(o->im, NETC_DATA, "no node makes its output '%s'", name);
        if (!made || i == MOST_OUTPUTS) {
            im_note(o->im, "its output '%s' is left out: %s", name,
                    made ? "a network has at most 8" : "it is no layer's");
            if (made)
                break;
            continue;
        }
        ImEnd end = end_at(o, name, v->layer);
        if (i == 0) {
            o->net->score = end.score;
            o->net->prob = end.prob;
        } else {
            vec_push(o->im->arena, &o->net->more, end);
        }
    }
    if (o->model->output.len == 0)
        return im_fail(o->im, NETC_DATA, "no node makes its output ''");
    return o->net->score > 0 || im_fail(o->im, NETC_DATA, "the network computes nothing");
}

static double number_of(const char *text, const char *key, double absent) {
    const char *at = strstr(text, key);
    char *end;
    double x = at ? strtod(at + strlen(key), &end) : absent;
    return isfinite(x) ? x : absent;
}

/* What `NAME export` says: value = lo + pixel (hi - lo) / 255, then (value - mean) / std. */
static void own_prep(const char *text, ImPrep *p, const int64_t dim[3]) {
    double lo = number_of(text, " lo=", 0), hi = number_of(text, " hi=", 1);
    double mean[3] = {0}, std[3] = {1, 1, 1};
    const char *at = strstr(text, " mean=");
    if (at && sscanf(at, " mean=%lf,%lf,%lf", &mean[0], &mean[1], &mean[2]) < 1)
        mean[0] = 0;
    at = strstr(text, " std=");
    if (at && sscanf(at, " std=%lf,%lf,%lf", &std[0], &std[1], &std[2]) < 1)
        std[0] = 1;
    p->known = true;
    p->scale = hi > lo ? (hi - lo) / 255 : 1;
    p->bgr = number_of(text, " bgr=", 0) != 0;
    p->crop = number_of(text, " crop=", 0) != 0 ? dim[1] : 0;
    double side = number_of(text, " resize_short=", 0);
    p->resize = p->crop && side >= 1 && side <= IM_MAX_SIDE ? (int64_t)side : 0;
    for (int c = 0; c < 3; c++) {
        p->mean[c] = (mean[c] - lo) / p->scale;
        p->std[c] = std[c] > 0 ? std[c] : 1;
        p->means = p->mean[c] != 0 ? 3 : p->means;
        if (!isfinite(p->mean[c]))
            p->mean[c] = 0;
    }
    if (dim[0] == 1 && p->means) {
        p->means = 1;
        p->std[1] = p->std[2] = p->std[0];
    }
}

static void take_prep(Onnx *o) {
    ImPrep *p = &o->net->prep;
    if (o->model->preprocess) {
        own_prep(o->model->preprocess, p, o->net->layer.data[0].dim);
        return;
    }
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
    if (!take_outputs(&o))
        return false;
    take_prep(&o);
    im_simplify(net);
    im_prune(im, net);
    return im_infer_all(im, net);
}
