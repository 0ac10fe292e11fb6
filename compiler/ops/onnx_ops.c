/* onnx_ops.c: how ONNX says each operation (onnx_write.h): one function per kind, one table.
 *
 * requires: what onnx_write.c promises.  ensures: the nodes compute the operation's definition in
 * ops/, at inference.  Pools that round up get the cells beyond the image as padding behind it, so
 * that no two programs round differently.
 * Source: the operator schemas of onnx.ai, operator set 18.
 */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "ops/onnx_write.h"
#include "ops/resample.h"

#define ATTRS(type) const type *a = o->node->attrs

static bool ready(const char *result) {
    return result != NULL;
}

/* ---- one input ---- */
static bool named(Ox *o, const char *type) {
    return ready(ox_one(o, type, ox_in(o, 0), true));
}

#define NAMED(op, type)                                                                            \
    static bool say_##op(Ox *o) {                                                                  \
        return named(o, type);                                                                     \
    }
NAMED(relu, "Relu")
NAMED(tanh, "Tanh")
NAMED(sigmoid, "Sigmoid")
NAMED(softplus, "Softplus")
NAMED(abs, "Abs")
NAMED(neg, "Neg")
NAMED(sqrt, "Sqrt")
NAMED(exp, "Exp")
NAMED(log, "Log")

/* Of a clip every frame alone; with all of them it is absorbed (onnx_frames.c). */
static bool global(Ox *o, const char *type, const char *reduce) {
    static const int64_t plane[2] = {3, 4};
    if (!ox_clip(o, 0))
        return named(o, type);
    const char *axes = ox_ints(o, 2, plane);
    ox_begin(o, reduce);
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, axes);
    ox_attr_int(o, "keepdims", 1);
    return ready(ox_end(o, true));
}
static bool say_global_avgpool(Ox *o) {
    return global(o, "GlobalAveragePool", "ReduceMean");
}
static bool say_global_maxpool(Ox *o) {
    return global(o, "GlobalMaxPool", "ReduceMax");
}

static bool say_load_input(Ox *o) {
    return ox_same(o, ox_in(o, 0));
}

/* x * by + shift */
static const char *line(Ox *o, const char *x, double by, double shift, bool last) {
    if (by != 1 || shift == 0)
        x = ox_two(o, "Mul", x, ox_number(o, by), last && shift == 0);
    return shift == 0 ? x : ox_two(o, "Add", x, ox_number(o, shift), last);
}

static bool say_scale(Ox *o) {
    ATTRS(CurveAttrs);
    return ready(line(o, ox_in(o, 0), a->by, a->shift, true));
}

static bool say_stanh(Ox *o) {
    const char *x = ox_one(o, "Tanh", line(o, ox_in(o, 0), 2.0 / 3, 0, false), false);
    return ready(line(o, x, 1.7159, 0, true));
}

static bool say_square(Ox *o) {
    return ready(ox_two(o, "Mul", ox_in(o, 0), ox_in(o, 0), true));
}

static bool say_pow(Ox *o) {
    ATTRS(CurveAttrs);
    return ready(ox_two(o, "Pow", ox_in(o, 0), ox_number(o, a->p), true));
}

static bool with_alpha(Ox *o, const char *type, double alpha) {
    ox_begin(o, type);
    ox_arg(o, ox_in(o, 0));
    ox_attr_float(o, "alpha", alpha);
    return ready(ox_end(o, true));
}

static bool say_leaky_relu(Ox *o) {
    ATTRS(CurveAttrs);
    return with_alpha(o, "LeakyRelu", a->slope);
}

static bool say_elu(Ox *o) {
    ATTRS(CurveAttrs);
    return with_alpha(o, "Elu", a->alpha);
}

static bool say_prelu(Ox *o) {
    return ready(ox_two(o, "PRelu", ox_in(o, 0), ox_over(o, 1), true));
}

static bool say_swish(Ox *o) {
    return ready(ox_two(o, "Mul", ox_in(o, 0), ox_one(o, "Sigmoid", ox_in(o, 0), false), true));
}

/* 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
static bool say_gelu(Ox *o) {
    const char *x = ox_in(o, 0), *half = line(o, x, 0.5, 0, false);
    const char *cube = ox_two(o, "Mul", x, ox_two(o, "Mul", x, x, false), false);
    const char *sum = ox_two(o, "Add", x, line(o, cube, 0.044715, 0, false), false);
    const char *t = ox_one(o, "Tanh", line(o, sum, 0.7978845608028654, 0, false), false);
    return ready(ox_two(o, "Mul", half, line(o, t, 1, 1, false), true));
}

static bool say_clip(Ox *o) {
    ATTRS(CurveAttrs);
    const char *lo = ox_number(o, a->lo), *hi = ox_number(o, a->hi);
    ox_begin(o, "Clip");
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, lo);
    ox_arg(o, hi);
    return ready(ox_end(o, true));
}

static const char *tau_of(Ox *o) {
    ATTRS(ThresholdAttrs);
    return o->node->nin > 1 ? ox_over(o, 1) : ox_number(o, a->tau);
}

/* max(x - tau, 0) - max(-x - tau, 0) */
static bool say_soft_threshold(Ox *o) {
    ATTRS(ThresholdAttrs);
    const char *tau = tau_of(o), *x = ox_in(o, 0);
    const char *up = ox_one(o, "Relu", ox_two(o, "Sub", x, tau, false), !a->is_signed);
    if (!a->is_signed)
        return ready(up);
    const char *minus = ox_one(o, "Neg", x, false);
    const char *down = ox_one(o, "Relu", ox_two(o, "Sub", minus, tau, false), false);
    return ready(ox_two(o, "Sub", up, down, true));
}

static bool say_hard_threshold(Ox *o) {
    ATTRS(ThresholdAttrs);
    const char *tau = tau_of(o), *x = ox_in(o, 0), *zero = ox_number(o, 0);
    const char *size = a->is_signed ? ox_one(o, "Abs", x, false) : x;
    const char *passes = ox_two(o, "Greater", size, tau, false);
    ox_begin(o, "Where");
    ox_arg(o, passes);
    ox_arg(o, x);
    ox_arg(o, zero);
    return ready(ox_end(o, true));
}

static bool say_dropout(Ox *o) {
    ATTRS(DropoutAttrs);
    if (a->scale == 1)
        return ready(line(o, ox_in(o, 0), 1 - a->rate, 0, true));
    return ox_same(o, ox_in(o, 0));
}

static bool say_softmax(Ox *o) {
    ox_begin(o, "Softmax");
    ox_arg(o, ox_in(o, 0));
    ox_attr_int(o, "axis", 1);
    return ready(ox_end(o, true));
}

static const char *flat(Ox *o, bool last) {
    ox_begin(o, "Flatten");
    ox_arg(o, ox_in(o, 0));
    ox_attr_int(o, "axis", 1);
    return ox_end(o, last);
}

static bool say_flatten(Ox *o) {
    return ox_shape(o, 0)->rank == 1 ? ox_same(o, ox_in(o, 0)) : ready(flat(o, true));
}

/* ---- several inputs ---- */
static bool joined(Ox *o, const char *type) {
    return ready(ox_two(o, type, ox_in(o, 0), ox_over(o, 1), true));
}
static bool say_add(Ox *o) {
    return ox_joined_frames(o) || joined(o, "Add");
}
static bool say_sub(Ox *o) {
    return joined(o, "Sub");
}
static bool say_mul(Ox *o) {
    return joined(o, "Mul");
}
static bool say_div(Ox *o) {
    return joined(o, "Div");
}
static bool say_maximum(Ox *o) {
    return joined(o, "Max");
}
static bool say_minimum(Ox *o) {
    return joined(o, "Min");
}

static bool say_concat(Ox *o) {
    ox_begin(o, "Concat");
    for (int i = 0; i < o->node->nin; i++)
        ox_arg(o, ox_in(o, i));
    ox_attr_int(o, "axis", 1);
    return ready(ox_end(o, true));
}

/* ---- weights ---- */
static const OxDeep each_frame = {1, 1, 1, {0, 0}};

static void arg_weights(Ox *o, const char *x, bool bias) {
    const char *w = ox_in(o, 1), *b = bias ? ox_in(o, 2) : NULL;
    ox_arg(o, x);
    ox_arg(o, w);
    if (b)
        ox_arg(o, b);
}

/* Weights of a window over `taps` frames: [first, second * taps, h, w] -> [first, second, taps, h, w] */
static const char *deep_weights(Ox *o, int64_t taps) {
    const int64_t *w = ox_shape(o, 1)->dim;
    return ox_as(o, 1, 5, (const int64_t[]){w[0], w[1] / taps, taps, w[2], w[3]});
}

/* Over frames: the window's node stands between, and what it reads is what the layer reads. */
static bool say_conv(Ox *o) {
    ATTRS(ConvAttrs);
    OxDeep deep = each_frame;
    const Node *conv = o->node, *window = ox_window(o, conv, &deep);
    int64_t groups = ox_shape(o, 0)->dim[0] / ox_shape(o, 1)->dim[1];
    bool clip = window || ox_clip(o, 0);
    const char *w = clip ? deep_weights(o, deep.kernel) : ox_in(o, 1);
    const char *b = a->bias ? ox_in(o, 2) : NULL;
    if (window)
        o->node = window;
    const char *x = clip && !ox_clip(o, 0) ? ox_framed(o, ox_in(o, 0)) : ox_in(o, 0);
    o->node = conv;
    ox_begin(o, "Conv");
    ox_arg(o, x);
    ox_arg(o, w);
    if (b)
        ox_arg(o, b);
    ox_attr_int(o, "group", groups);
    ox_attr_window(o, "kernel_shape", clip, deep.kernel, a->kernel);
    ox_attr_window(o, "strides", clip, deep.stride, a->stride);
    ox_attr_window(o, "dilations", clip, deep.dilation, a->dilation);
    ox_attr_pads(o, clip ? deep.pad : NULL, a->pad);
    if (!clip || ox_clip(o, -1))
        return ready(ox_end(o, true));
    ox_label(o);
    return ready(ox_unframed(o, ox_end(o, false), true));
}

static bool say_deconv(Ox *o) {
    ATTRS(DeconvAttrs);
    bool clip = ox_clip(o, 0);
    const char *x = ox_in(o, 0), *w = clip ? deep_weights(o, 1) : ox_in(o, 1);
    ox_begin(o, "ConvTranspose");
    ox_arg(o, x);
    ox_arg(o, w);
    if (a->bias)
        ox_arg(o, ox_in(o, 2));
    ox_attr_int(o, "group", a->maps / ox_shape(o, 1)->dim[1]);
    ox_attr_window(o, "kernel_shape", clip, 1, a->kernel);
    ox_attr_window(o, "strides", clip, 1, a->stride);
    ox_attr_window(o, "dilations", clip, 1, a->dilation);
    ox_attr_window(o, "output_padding", clip, 0, a->output_pad);
    ox_attr_pads(o, clip ? each_frame.pad : NULL, a->pad);
    return ready(ox_end(o, true));
}

static bool say_dense(Ox *o) {
    ATTRS(DenseAttrs);
    const char *x = ox_shape(o, 0)->rank == 1 ? ox_in(o, 0) : flat(o, false);
    ox_begin(o, "Gemm");
    arg_weights(o, x, a->bias);
    ox_attr_int(o, "transB", 1);
    return ready(ox_end(o, true));
}

static bool say_bn(Ox *o) {
    ATTRS(BnAttrs);
    ox_begin(o, "BatchNormalization");
    for (int i = 0; i < 5; i++)
        ox_arg(o, ox_in(o, i));
    ox_attr_float(o, "epsilon", a->eps);
    return ready(ox_end(o, true));
}

static bool say_instancenorm(Ox *o) {
    ATTRS(BnAttrs);
    if (ox_shape(o, 0)->rank != 3 || ox_clip(o, 0))
        return ox_refuse(o, "of a vector, or of each frame, it is none");
    ox_begin(o, "InstanceNormalization");
    for (int i = 0; i < 3; i++)
        ox_arg(o, ox_in(o, i));
    ox_attr_float(o, "epsilon", a->eps);
    return ready(ox_end(o, true));
}

/* sum over the last axis of (x[N, 1, K] - centers[U, K])^2 */
static bool say_rbf(Ox *o) {
    const char *one = ox_ints(o, 1, (const int64_t[]){1}),
               *two = ox_ints(o, 1, (const int64_t[]){2});
    const char *x = ox_two(o, "Unsqueeze", ox_in(o, 0), one, false);
    const char *d = ox_two(o, "Sub", x, ox_in(o, 1), false);
    const char *square = ox_two(o, "Mul", d, d, false);
    ox_begin(o, "ReduceSum");
    ox_arg(o, square);
    ox_arg(o, two);
    ox_attr_int(o, "keepdims", 0);
    return ready(ox_end(o, true));
}

/* ---- weights made elsewhere: no images ---- */
static bool say_vdense(Ox *o) {
    bool bias = o->node->nin > 2;
    const char *y = ox_two(o, "MatMul", ox_in(o, 1), ox_in(o, 0), !bias);
    return ready(bias ? ox_two(o, "Add", y, ox_in(o, 2), true) : y);
}

static bool say_repack(Ox *o) {
    ATTRS(RepackAttrs);
    int64_t dim[4], perm[4] = {1, 0, 2, 3};
    memcpy(dim, a->dim, sizeof dim);
    if (a->how == REPACK_RESHAPE)
        return ready(ox_two(o, "Reshape", ox_in(o, 0), ox_ints(o, (int)a->rank, dim), true));
    if (a->how == REPACK_TRANSPOSE) {
        dim[0] = a->dim[1];
        dim[1] = a->dim[0];
    }
    const char *x = ox_as(o, 0, (int)a->rank, dim);
    if (a->how == REPACK_TRANSPOSE) {
        ox_begin(o, "Transpose");
        ox_arg(o, x);
        ox_attr_ints(o, "perm", (int)a->rank, perm);
        return ready(ox_end(o, true));
    }
    const char *from = ox_ints(o, 2, (const int64_t[]){-1, -1});
    const char *to = ox_ints(o, 2, (const int64_t[]){INT_MIN, INT_MIN});
    const char *axes = ox_ints(o, 2, (const int64_t[]){2, 3});
    ox_begin(o, "Slice");
    ox_arg(o, x);
    ox_arg(o, from);
    ox_arg(o, to);
    ox_arg(o, axes);
    ox_arg(o, from);
    return ready(ox_end(o, true));
}

/* ---- windows ---- */
/* Padding behind grows to what the last window reaches. */
static void full_pads(const Ox *o, const Shape *src, const int64_t kernel[2],
                      const int64_t stride[2], const int64_t pad[4], int64_t out[4]) {
    memcpy(out, pad, 4 * sizeof *out);
    for (int d = 0; d < 2; d++) {
        int64_t reach = (ox_result(o)->dim[1 + d] - 1) * stride[d] + kernel[d];
        int64_t behind = reach - src->dim[1 + d] - pad[2 * d];
        out[2 * d + 1] = behind > pad[2 * d + 1] ? behind : pad[2 * d + 1];
    }
}

const char *ox_pool(Ox *o, const char *type, const char *x, const Shape *src, const PoolAttrs *a,
                    const OxDeep *deep, bool whole, bool last) {
    int64_t pad[4];
    full_pads(o, src, a->kernel, a->stride, a->pad, pad);
    ox_begin(o, type);
    ox_arg(o, x);
    ox_attr_window(o, "kernel_shape", deep, deep ? deep->kernel : 0, a->kernel);
    ox_attr_window(o, "strides", deep, deep ? deep->stride : 0, a->stride);
    ox_attr_pads(o, deep ? deep->pad : NULL, pad);
    if (whole)
        ox_attr_int(o, "count_include_pad", 1);
    return ox_end(o, last);
}

static const char *pooled(Ox *o, const char *type, const char *x, const PoolAttrs *a, bool whole,
                          bool last) {
    return ox_pool(o, type, x, ox_shape(o, 0), a, ox_clip(o, 0) ? &each_frame : NULL, whole, last);
}

static bool say_maxpool(Ox *o) {
    ATTRS(PoolAttrs);
    return ready(pooled(o, "MaxPool", ox_in(o, 0), a, false, true));
}

static bool say_avgpool(Ox *o) {
    ATTRS(PoolAttrs);
    return ready(pooled(o, "AveragePool", ox_in(o, 0), a, a->count_pad, true));
}

static bool say_lp_pool(Ox *o) {
    ATTRS(LpPoolAttrs);
    int64_t pad[4];
    if (a->p != floor(a->p))
        return ox_refuse(o, "its exponent %g is no whole number", a->p);
    full_pads(o, ox_shape(o, 0), a->kernel, a->stride, a->pad, pad);
    bool clip = ox_clip(o, 0);
    ox_begin(o, "LpPool");
    ox_arg(o, ox_in(o, 0));
    ox_attr_window(o, "kernel_shape", clip, 1, a->kernel);
    ox_attr_window(o, "strides", clip, 1, a->stride);
    ox_attr_pads(o, clip ? each_frame.pad : NULL, pad);
    ox_attr_int(o, "p", (int64_t)a->p);
    return ready(ox_end(o, true));
}

/* coefficient * (sum of the window) + bias */
static bool say_subsample(Ox *o) {
    ATTRS(PoolAttrs);
    const char *mean = pooled(o, "AveragePool", ox_in(o, 0), a, true, false);
    const char *sum = line(o, mean, (double)(a->kernel[0] * a->kernel[1]), 0, false);
    const char *y = ox_two(o, "Mul", sum, ox_over(o, 1), false);
    return ready(ox_two(o, "Add", y, ox_over(o, 2), true));
}

/* ONNX divides alpha by the size, and so does alpha_per. */
static bool say_lrn(Ox *o) {
    ATTRS(NormAttrs);
    double size = (double)a->size;
    if (a->region == NORM_WITHIN) {
        int64_t reach = (a->size - 1) / 2;
        PoolAttrs window = {
            .kernel = {a->size, a->size}, .stride = {1, 1}, .pad = {reach, reach, reach, reach}};
        const char *x = ox_in(o, 0), *s = ox_two(o, "Mul", x, x, false);
        s = pooled(o, "AveragePool", s, &window, true, false);
        s = line(o, s, a->alpha_per ? a->alpha : a->alpha * size * size, a->k, false);
        s = ox_two(o, "Pow", s, ox_number(o, -a->beta), false);
        return ready(ox_two(o, "Mul", x, s, true));
    }
    if (ox_clip(o, 0))
        return ox_refuse(o, "across the maps of each frame, it is not written");
    ox_begin(o, "LRN");
    ox_arg(o, ox_in(o, 0));
    ox_attr_int(o, "size", a->size);
    ox_attr_float(o, "alpha", a->alpha_per ? a->alpha : a->alpha * size);
    ox_attr_float(o, "beta", a->beta);
    ox_attr_float(o, "bias", a->k);
    return ready(ox_end(o, true));
}

/* ---- along axes ---- */
static bool reduced(Ox *o, const char *type, const char *over) {
    ATTRS(AxisAttrs);
    if (a->axis == AXIS_TIME)
        return named(o, over);
    int64_t axis = a->axis == AXIS_MAPS ? 1 : (a->axis == AXIS_HEIGHT ? 2 : 3) + ox_clip(o, 0);
    const char *axes = ox_ints(o, 1, &axis);
    ox_begin(o, type);
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, axes);
    ox_attr_int(o, "keepdims", 1);
    return ready(ox_end(o, true));
}
static bool say_mean(Ox *o) {
    return reduced(o, "ReduceMean", "GlobalAveragePool");
}
static bool say_max(Ox *o) {
    return reduced(o, "ReduceMax", "GlobalMaxPool");
}

/* ---- cells in other places ---- */
static bool sliced(Ox *o, int n, const int64_t *from, const int64_t *to, const int64_t *axes,
                   const int64_t *steps) {
    const char *f = ox_ints(o, n, from), *t = ox_ints(o, n, to), *x = ox_ints(o, n, axes);
    const char *s = steps ? ox_ints(o, n, steps) : NULL;
    ox_begin(o, "Slice");
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, f);
    ox_arg(o, t);
    ox_arg(o, x);
    if (s)
        ox_arg(o, s);
    return ready(ox_end(o, true));
}

static bool say_slice(Ox *o) {
    ATTRS(SliceAttrs);
    int64_t axis = 1, end = a->from + a->count;
    return sliced(o, 1, &a->from, &end, &axis, NULL);
}

static bool say_crop(Ox *o) {
    ATTRS(CropAttrs);
    int64_t from[2];
    crop_from(a, ox_shape(o, 0), from);
    const int64_t to[2] = {from[0] + a->size[0], from[1] + a->size[1]};
    const int64_t axes[2] = {2 + ox_clip(o, 0), 3 + ox_clip(o, 0)};
    return sliced(o, 2, from, to, axes, NULL);
}

static bool say_downsample(Ox *o) {
    ATTRS(CropAttrs);
    const int64_t from[2] = {0, 0}, axes[2] = {2 + ox_clip(o, 0), 3 + ox_clip(o, 0)};
    return sliced(o, 2, from, ox_shape(o, 0)->dim + 1, axes, a->factor);
}

static bool say_pad(Ox *o) {
    ATTRS(PadAttrs);
    static const char *const mode[] = {"constant", "reflect", "edge"};
    const int64_t pads[8] = {0, a->maps,       a->pad[0], a->pad[2],
                             0, a->maps_after, a->pad[1], a->pad[3]};
    const int64_t deep[10] = {0, pads[1], 0, pads[2], pads[3], 0, pads[5], 0, pads[6], pads[7]};
    const char *p = ox_clip(o, 0) ? ox_ints(o, 10, deep) : ox_ints(o, 8, pads);
    ox_begin(o, "Pad");
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, p);
    ox_attr_text(o, "mode", mode[a->mode]);
    return ready(ox_end(o, true));
}

static bool resized(Ox *o, bool bilinear, bool align) {
    const char *sizes = ox_ints(o, 2, ox_result(o)->dim + 1);
    ox_begin(o, "Resize");
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, "");
    ox_arg(o, "");
    ox_arg(o, sizes);
    ox_attr_ints(o, "axes", 2, (const int64_t[]){2 + ox_clip(o, 0), 3 + ox_clip(o, 0)});
    ox_attr_text(o, "mode", bilinear ? "linear" : "nearest");
    ox_attr_text(o, "coordinate_transformation_mode",
                 !bilinear ? "asymmetric"
                 : align   ? "align_corners"
                           : "half_pixel");
    if (!bilinear)
        ox_attr_text(o, "nearest_mode", "floor");
    return ready(ox_end(o, true));
}

static bool say_upsample(Ox *o) {
    ATTRS(ResizeAttrs);
    return resized(o, a->mode == 1, a->align);
}

static bool say_resize(Ox *o) {
    ATTRS(ResizeAttrs);
    return resized(o, a->mode == 1, a->align);
}

static bool say_transpose(Ox *o) {
    ATTRS(PermuteAttrs);
    static const char *const order[] = {"chw", "cwh", "hcw", "hwc", "wch", "whc"};
    int64_t perm[5] = {0};
    int clip = ox_clip(o, 0);
    for (int i = 0; i < 3; i++) {
        int64_t from = strchr("chw", order[a->order][i]) - "chw" + 1;
        perm[i ? 1 + clip + i : 1] = from > 1 ? from + clip : from;
    }
    if (clip)
        perm[2] = 2;
    ox_begin(o, "Transpose");
    ox_arg(o, ox_in(o, 0));
    ox_attr_ints(o, "perm", 4 + clip, perm);
    return ready(ox_end(o, true));
}

static const char *shaped(Ox *o, const char *x, int rank, const int64_t *dim, bool last) {
    return ox_two(o, "Reshape", x, ox_ints(o, rank, dim), last);
}

static bool say_reshape(Ox *o) {
    ATTRS(ReshapeAttrs);
    const int64_t dim[4] = {0, a->maps, a->size[0], a->size[1]};
    if (ox_clip(o, 0))
        return ox_refuse(o, "of each frame, it is not written");
    return ready(shaped(o, ox_in(o, 0), 4, dim, true));
}

static bool say_channel_shuffle(Ox *o) {
    ATTRS(ShuffleAttrs);
    if (ox_clip(o, 0))
        return ox_refuse(o, "of each frame, it is not written");
    const int64_t *d = ox_shape(o, 0)->dim, perm[5] = {0, 2, 1, 3, 4};
    const int64_t table[5] = {0, a->groups, d[0] / a->groups, d[1], d[2]};
    const char *x = shaped(o, ox_in(o, 0), 5, table, false);
    ox_begin(o, "Transpose");
    ox_arg(o, x);
    ox_attr_ints(o, "perm", 5, perm);
    x = ox_end(o, false);
    return ready(shaped(o, x, 4, (const int64_t[]){0, d[0], d[1], d[2]}, true));
}

/* ---- lstm, gru ---- */
/* Rows of gates i, f, c, o in ONNX's order i, o, f, c, or r, z, n as z, r, h; in front an axis for
 * its one direction. */
static const char *gates(Ox *o, const char *rows, const char *order) {
    return ox_two(o, "Gather", rows, order, false);
}

static const char *one_direction(Ox *o, const char *rows) {
    static const int64_t front = 0;
    return ox_two(o, "Unsqueeze", rows, ox_ints(o, 1, &front), false);
}

static const char *turned(Ox *o, const char *x, const int64_t perm[3]) {
    ox_begin(o, "Transpose");
    ox_arg(o, x);
    ox_attr_ints(o, "perm", 3, perm);
    return ox_end(o, false);
}

static const char *gate_order(Ox *o, const int64_t *from, int64_t gates, int64_t units) {
    int64_t *row = ARENA_ARRAY(o->arena, gates * units, int64_t);
    for (int64_t i = 0; i < gates * units; i++)
        row[i] = from[i / units] * units + i % units;
    return ox_ints(o, (int)(gates * units), row);
}

/* Steps come first there: [L, N, C]; results are [L, 1, N, units], and [1, N, units] of the last. */
static bool say_recurrent(Ox *o, const char *type, const int64_t *from, int64_t gate_count) {
    static const int64_t row = 2, first = 0, second = 1, in[3] = {2, 0, 1}, back[3] = {1, 2, 0};
    const RecurAttrs *a = o->node->attrs;
    int64_t units = a->units, rows = gate_count * units;
    int64_t w[2] = {rows, ox_shape(o, 0)->dim[0]}, r[2] = {rows, units};
    const char *x = ox_two(o, "Squeeze", ox_in(o, 0), ox_ints(o, 1, &row), false);
    const char *order = gate_order(o, from, gate_count, units);
    x = turned(o, x, in);
    const char *weight = one_direction(o, gates(o, ox_as(o, 1, 2, w), order));
    const char *recurrent = one_direction(o, gates(o, ox_as(o, 2, 2, r), order));
    const char *bias[2] = {gates(o, ox_in(o, 3), order), gates(o, ox_in(o, 4), order)};
    ox_begin(o, "Concat");
    ox_arg(o, bias[0]);
    ox_arg(o, bias[1]);
    ox_attr_int(o, "axis", 0);
    const char *biases = one_direction(o, ox_end(o, false));
    ox_begin(o, type);
    ox_label(o);
    ox_arg(o, x);
    ox_arg(o, weight);
    ox_arg(o, recurrent);
    ox_arg(o, biases);
    ox_attr_int(o, "hidden_size", units);
    ox_attr_text(o, "direction", a->reverse ? "reverse" : "forward");
    if (gate_count == 3)
        ox_attr_int(o, "linear_before_reset", 1);
    if (!a->all)
        ox_no_output(o);
    const char *y = ox_end(o, false);
    y = ox_two(o, "Squeeze", y, ox_ints(o, 1, a->all ? &second : &first), !a->all);
    if (a->all)
        ox_two(o, "Unsqueeze", turned(o, y, back), ox_ints(o, 1, &row), true);
    return true;
}

static bool say_lstm(Ox *o) {
    static const int64_t from[4] = {0, 3, 1, 2};
    return say_recurrent(o, "LSTM", from, 4);
}

static bool say_gru(Ox *o) {
    static const int64_t from[3] = {1, 0, 2};
    return say_recurrent(o, "GRU", from, 3);
}

const OxSay ox_say[OP_COUNT] = {
    [OP_LOAD_INPUT] = say_load_input,
    [OP_CONV2D] = say_conv,
    [OP_DECONV] = say_deconv,
    [OP_DENSE] = say_dense,
    [OP_VDENSE] = say_vdense,
    [OP_REPACK] = say_repack,
    [OP_SUBSAMPLE] = say_subsample,
    [OP_MAXPOOL] = say_maxpool,
    [OP_AVGPOOL] = say_avgpool,
    [OP_LP_POOL] = say_lp_pool,
    [OP_GLOBAL_AVGPOOL] = say_global_avgpool,
    [OP_GLOBAL_MAXPOOL] = say_global_maxpool,
    [OP_MEAN] = say_mean,
    [OP_MAX] = say_max,
    [OP_CROP] = say_crop,
    [OP_PAD] = say_pad,
    [OP_DOWNSAMPLE] = say_downsample,
    [OP_UPSAMPLE] = say_upsample,
    [OP_RESIZE] = say_resize,
    [OP_LRN] = say_lrn,
    [OP_BN] = say_bn,
    [OP_INSTANCENORM] = say_instancenorm,
    [OP_RELU] = say_relu,
    [OP_TANH] = say_tanh,
    [OP_STANH] = say_stanh,
    [OP_SIGMOID] = say_sigmoid,
    [OP_LEAKY_RELU] = say_leaky_relu,
    [OP_PRELU] = say_prelu,
    [OP_ELU] = say_elu,
    [OP_SOFTPLUS] = say_softplus,
    [OP_SWISH] = say_swish,
    [OP_GELU] = say_gelu,
    [OP_ABS] = say_abs,
    [OP_NEG] = say_neg,
    [OP_SCALE] = say_scale,
    [OP_CLIP] = say_clip,
    [OP_SQUARE] = say_square,
    [OP_SQRT] = say_sqrt,
    [OP_EXP] = say_exp,
    [OP_LOG] = say_log,
    [OP_POW] = say_pow,
    [OP_SOFT_THRESHOLD] = say_soft_threshold,
    [OP_HARD_THRESHOLD] = say_hard_threshold,
    [OP_DROPOUT] = say_dropout,
    [OP_ADD] = say_add,
    [OP_MUL] = say_mul,
    [OP_SUB] = say_sub,
    [OP_DIV] = say_div,
    [OP_MAXIMUM] = say_maximum,
    [OP_MINIMUM] = say_minimum,
    [OP_SOFTMAX] = say_softmax,
    [OP_FLATTEN] = say_flatten,
    [OP_CONCAT] = say_concat,
    [OP_SLICE] = say_slice,
    [OP_TRANSPOSE] = say_transpose,
    [OP_CHANNEL_SHUFFLE] = say_channel_shuffle,
    [OP_RESHAPE] = say_reshape,
    [OP_RBF] = say_rbf,
    [OP_LSTM] = say_lstm,
    [OP_GRU] = say_gru,
    [OP_FRAMES] = ox_say_frames,
    [OP_FRAMES_MAX] = ox_say_frames_max,
};
