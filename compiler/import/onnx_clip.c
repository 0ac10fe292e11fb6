/* onnx_clip.c: clips and volumes in ONNX: values [N, C, D, H, W].
 *
 * Such a value is marked; its layer has D frames, and one of a single frame is an image to the
 * language.  Windows have three numbers.  Most nodes mean the same for clips as for images and are
 * converted in onnx.c; here are those that move, drop or make the axis of frames, and refusals of
 * those that treat frames otherwise than the language does.
 * requires: constants are folded.  ensures: what is made computes what the operator's schema says.
 * Source: the operator schemas of onnx.ai, versions 7 to 22; LANGUAGE.md, "Clips".
 */
#include "import/onnx.h"

#include <string.h>

static bool type_is(const Onnx *o, const char *type) {
    return strcmp(o->node->type, type) == 0;
}

bool onnx_is_clip(const Onnx *o, int i) {
    const OnnxValue *v = onnx_in(o, i);
    return v && !v->constant && v->clip;
}

bool onnx_clip_input(Onnx *o, const OnnxInput *in, OnnxValue *v) {
    ImLayer *l = im_at(o->net, 0);
    int64_t size[4];
    memcpy(size, in->dim + 1, sizeof size);
    v->clip = true;
    if (o->im->options->input && !im_parse_size(o->im, o->im->options->input, 4, size))
        return false;
    for (int i = 0; i < 4; i++)
        if (size[i] < 1) {
            im_fail(o->im, NETC_DATA, "its input '%s' has no fixed size", in->name);
            im_help(o->im, "say which: --input=%lldx16x112x112 (channels, frames, height, width)",
                    (long long)(size[0] ? size[0] : 3));
            return false;
        }
    l->dim[0] = size[0];
    l->frames = size[1];
    l->dim[1] = size[2];
    l->dim[2] = size[3];
    return im_infer(o->im, o->net, 0);
}

/* ---- windows ---- */
/* The first of three numbers is for frames. */
static bool three(Onnx *o, const char *name, int64_t *deep, int64_t flat[2]) {
    int64_t v[IM_MAX_RANK];
    int n = onnx_ints(o->node, name, v, IM_MAX_RANK);
    if (n < 0)
        return true;
    if (n != 3)
        return onnx_refuse(o, "%s has %d numbers, a clip has three axes", name, n);
    *deep = v[0];
    flat[0] = v[1];
    flat[1] = v[2];
    return true;
}

/* What the language does with every frame alone: the window must not reach over frames. */
static bool each_frame(Onnx *o, ImLayer *l) {
    const ImDeep *d = &l->deep;
    if (d->kernel != 1 || d->stride != 1 || d->pad[0] || d->pad[1] || d->out_pad)
        return onnx_refuse(o, "over frames it cannot be imported, in each frame it can");
    l->deep = (ImDeep){.stride = 1, .dilation = 1};
    return true;
}

bool onnx_clip_window(Onnx *o, ImLayer *l) {
    int64_t p[IM_MAX_RANK];
    int n = onnx_ints(o->node, "pads", p, IM_MAX_RANK);
    l->deep.kernel = l->deep.kernel ? l->deep.kernel : 1;
    if (!three(o, "kernel_shape", &l->deep.kernel, l->kernel) ||
        !three(o, "strides", &l->deep.stride, l->stride) ||
        !three(o, "dilations", &l->deep.dilation, l->dilation) ||
        (l->op == IM_DECONV && !three(o, "output_padding", &l->deep.out_pad, l->out_pad)))
        return false;
    if (n >= 0 && n != 6)
        return onnx_refuse(o, "pads has %d numbers, a clip has three axes", n);
    if (n == 6) {
        l->deep.pad[0] = p[0], l->deep.pad[1] = p[3];
        l->pad[0] = p[1], l->pad[1] = p[4];
        l->pad[2] = p[2], l->pad[3] = p[5];
    }
    return (l->op != IM_DECONV && l->op != IM_LP_POOL) || each_frame(o, l);
}

/* ---- axes that come and go ---- */
static void put_image(Onnx *o, int layer) {
    onnx_put(o, 0, (OnnxValue){.layer = layer});
}

static int last(const Onnx *o) {
    return o->net->layer.len - 1;
}

/* dim: what the result is to be.  The same; all but the batch as one; frames as maps; without its
 * only frame. */
static bool clip_shaped(Onnx *o, const OnnxValue *v, int rank, const int64_t *dim) {
    int64_t from[IM_MAX_RANK], cells = 1;
    onnx_shape(o, v, from);
    for (int i = 1; i < 5; i++)
        cells *= from[i];
    if (rank == 5 && memcmp(dim, from, 5 * sizeof *dim) == 0) {
        onnx_put(o, 0, *v);
        return true;
    }
    if (rank < 2 || dim[0] != from[0] || rank > 4 || rank == 3)
        return onnx_refuse(o, "a clip cannot be given the shape %s",
                           im_shape_text(o->im, rank, dim));
    bool one =
        from[2] == 1 && rank == 4 && dim[1] == from[1] && dim[2] == from[3] && dim[3] == from[4];
    if (one) {
        put_image(o, v->layer);
        return true;
    }
    if (!onnx_behind(o, IM_FLATTEN, v->layer) || !onnx_done(o))
        return false;
    if (rank == 2)
        return dim[1] == cells || onnx_refuse(o, "its new shape has another number of cells");
    ImLayer *l = onnx_behind(o, IM_RESHAPE, last(o));
    if (!l)
        return false;
    l->maps = dim[1];
    memcpy(l->extent, dim + 2, sizeof l->extent);
    return onnx_done(o);
}

static bool clip_reshape(Onnx *o, const OnnxValue *v) {
    int64_t dim[IM_MAX_RANK], from[IM_MAX_RANK], known = 1, all = 1;
    int unknown = -1, rank = onnx_shape(o, v, from);
    ImTensor t;
    if (!onnx_constant_in(o, 1, "new shape", &t) || t.count > IM_MAX_RANK)
        return onnx_refuse(o, "its new shape is not known");
    for (int i = 0; i < rank; i++)
        all *= from[i];
    for (int i = 0; i < t.count; i++) {
        dim[i] = im_tensor_int(&t, i);
        dim[i] = dim[i] == 0 && i < rank ? from[i] : dim[i];
        unknown = dim[i] < 0 ? i : unknown;
        if (dim[i] >= 0 && __builtin_mul_overflow(known, dim[i], &known))
            return onnx_refuse(o, "its new shape is too large");
    }
    if (unknown >= 0)
        dim[unknown] = known > 0 ? all / known : 0;
    return clip_shaped(o, v, (int)t.count, dim);
}

static bool clip_squeeze(Onnx *o, const OnnxValue *v) {
    int64_t axes[IM_MAX_RANK], dim[IM_MAX_RANK], from[IM_MAX_RANK];
    int n = onnx_list(o, 1, "axes", axes), rank = onnx_shape(o, v, from), kept = 0;
    for (int i = 0; i < rank; i++) {
        bool gone = n < 0 && i > 0 && from[i] == 1;
        for (int k = 0; k < n; k++)
            gone |= (axes[k] < 0 ? axes[k] + rank : axes[k]) == i;
        if (gone && from[i] != 1)
            return onnx_refuse(o, "only axes of one cell can be squeezed");
        if (!gone)
            dim[kept++] = from[i];
    }
    return clip_shaped(o, v, kept, dim);
}

/* Maps, rows and columns trade places in every frame. */
static bool clip_transpose(Onnx *o, const OnnxValue *v) {
    static const char *const order[] = {"chw", "cwh", "hcw", "hwc", "wch", "whc"};
    int64_t perm[IM_MAX_RANK];
    char want[4] = "";
    int n = onnx_ints(o->node, "perm", perm, IM_MAX_RANK);
    if (n != 5 || perm[0] != 0 || perm[2] != 2)
        return onnx_refuse(o, "the frames of a clip stay where they are");
    for (int i = 0, k = 0; i < 5; i++)
        if (i == 1 || i > 2)
            want[k++] = perm[i] == 1 ? 'c' : perm[i] == 3 ? 'h' : perm[i] == 4 ? 'w' : '?';
    for (int i = 0; i < 6; i++) {
        if (strcmp(want, order[i]) != 0)
            continue;
        ImLayer *l = i ? onnx_behind(o, IM_TRANSPOSE, v->layer) : NULL;
        if (l)
            l->mode = order[i];
        OnnxValue made = {.layer = i ? last(o) : v->layer, .clip = true};
        onnx_put(o, 0, made);
        return i == 0 || (l && onnx_done(o));
    }
    return onnx_refuse(o, "its order of dimensions is malformed");
}

/* One frame, as an image or as a clip of one. */
static bool clip_gather(Onnx *o, const OnnxValue *v) {
    ImTensor t;
    const ImLayer *l = im_at(o->net, v->layer);
    int64_t axis = onnx_int(o->node, "axis", 0);
    axis += axis < 0 ? 5 : 0;
    if (!onnx_constant_in(o, 1, "index", &t) || t.count != 1 || axis != 2)
        return onnx_refuse(o, "only one frame can be picked, by a number known now");
    int64_t at = im_tensor_int(&t, 0), frames = l->frames;
    at += at < 0 ? frames : 0;
    if (at < 0 || at >= frames)
        return onnx_refuse(o, "the clip has no frame %lld", (long long)at);
    const OnnxPart p[4] = {{0, 1, l->dim[0]}, {0, 1, l->dim[1]}, {0, 1, l->dim[2]}, {at, 1, 1}};
    int made = onnx_cut(o, v->layer, p);
    onnx_put(o, 0, (OnnxValue){.layer = made, .clip = t.rank > 0});
    return made >= 0;
}

/* ---- along axes ---- */
/* Means and maxima of all frames, of all rows and columns, of both, or of one axis in every frame;
 * sums are means times the number of cells. */
static bool clip_reduce(Onnx *o, const OnnxValue *v) {
    static const char *const word[5] = {NULL, "maps", "time", "height", "width"};
    int64_t axes[IM_MAX_RANK], from[IM_MAX_RANK], cells = 1;
    bool max = type_is(o, "ReduceMax"), keep = onnx_int(o->node, "keepdims", 1) != 0;
    int n = onnx_list(o, 1, "axes", axes), over = 0;
    onnx_shape(o, v, from);
    for (int i = 0; i < n; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + 5 : axes[i];
        if (a < 1 || a > 4)
            return onnx_refuse(o, "it runs over images of the batch");
        cells *= over >> a & 1 ? 1 : from[a];
        over |= 1 << a;
    }
    bool all = over == (1 << 2 | 1 << 3 | 1 << 4), plane = over == (1 << 3 | 1 << 4);
    int axis = over == 2 ? 1 : over == 4 ? 2 : over == 8 ? 3 : over == 16 ? 4 : 0;
    if (!axis && !all && !plane)
        return onnx_refuse(o, "only maps, frames, rows, columns, or rows and columns, or all but "
                              "maps can be reduced");
    if (!keep && !all && axis != 2)
        return onnx_refuse(o, "what is left of a clip has no counterpart: export with keepdims");
    int layer = v->layer;
    if (axis != 2 || from[2] > 1) {
        ImOp pool = max ? IM_MAXPOOL : IM_AVGPOOL, line = max ? IM_MAX_OVER : IM_MEAN;
        ImLayer *l = onnx_behind(o, axis ? line : pool, v->layer);
        if (!l)
            return false;
        l->global = all;
        l->mode = word[axis];
        for (int a = 0; plane && a < 2; a++)
            l->kernel[a] = l->stride[a] = from[3 + a];
        l->deep.kernel = plane;
        layer = last(o);
        if (!onnx_done(o))
            return false;
    }
    if (type_is(o, "ReduceSum")) {
        ImLayer *l = onnx_behind(o, IM_SCALE, layer);
        if (!l)
            return false;
        l->number[0] = (double)cells;
        layer = last(o);
        if (!onnx_done(o))
            return false;
    }
    onnx_put(o, 0, (OnnxValue){.layer = layer, .clip = keep});
    return keep || !all || (onnx_behind(o, IM_FLATTEN, layer) && onnx_done(o));
}

/* ---- which node is which ---- */
static const struct {
    const char *type;
    bool (*convert)(Onnx *, const OnnxValue *);
} moves[] = {{"Reshape", clip_reshape}, {"Squeeze", clip_squeeze},   {"Transpose", clip_transpose},
             {"Gather", clip_gather},   {"ReduceMean", clip_reduce}, {"ReduceMax", clip_reduce},
             {"ReduceSum", clip_reduce}};

bool onnx_clip(Onnx *o, bool *done) {
    const OnnxValue *v = onnx_in(o, 0);
    bool any = false;
    *done = true;
    for (int i = 0; i < o->node->in.len; i++)
        any |= onnx_is_clip(o, i);
    for (int i = 0; any && i < o->node->in.len; i++) {
        const OnnxValue *w = onnx_in(o, i);
        if (w && !w->constant && !w->clip)
            return onnx_refuse(o, "it joins a clip with what is none");
    }
    for (size_t i = 0; v && v->clip && i < sizeof moves / sizeof *moves; i++)
        if (type_is(o, moves[i].type))
            return moves[i].convert(o, v);
    *done = false;
    if (!v || v->constant || !v->clip)
        return true;
    if (type_is(o, "Unsqueeze") || type_is(o, "Pad") || type_is(o, "Upsample"))
        return onnx_refuse(o, "of a clip it cannot be imported");
    if (type_is(o, "InstanceNormalization") && im_at(o->net, v->layer)->frames > 1)
        return onnx_refuse(o, "here every frame of a clip would be normalised on its own");
    return true;
}
