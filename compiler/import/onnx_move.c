/* onnx_move.c: nodes of an ONNX graph that move cells or reduce axes: reshaping, transposing,
 * padding, resizing, slicing, splitting, means and maxima.
 *
 * requires: shapes of all layers so far.  ensures: what is made computes what the operator's schema
 * says, for images [N, C, H, W] and vectors [N, C]; all else is refused with the node's name.
 * Source: the operator schemas of onnx.ai, versions 7 to 22.
 */
#include "import/onnx.h"

#include <math.h>
#include <string.h>

ImLayer *onnx_behind(Onnx *o, ImOp op, int in) {
    const char *name = o->node->name;
    int layer = im_add(o->im, o->net, op, name[0] == '/' ? "" : name, 1, &in);
    if (o->im->code)
        return NULL;
    onnx_put_layer(o, layer);
    return im_at(o->net, layer);
}

static int last(const Onnx *o) {
    return o->net->layer.len - 1;
}

/* ---- shapes ---- */
/* Flattening, or maps and their size anew, or nothing. */
static bool reshaped(Onnx *o, int rank, const int64_t *dim) {
    int in;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    int64_t cells = 1;
    bool same = rank == l->rank + 1;
    for (int i = 0; i < l->rank; i++) {
        cells *= l->dim[i];
        same = same && dim[1 + i] == l->dim[i];
    }
    if (same && dim[0] == o->batch)
        return onnx_identity(o);
    if (rank == 3 && l->rank == 3 && l->dim[1] == 1 && dim[1] == l->dim[0] && dim[2] == l->dim[2]) {
        onnx_put(o, 0, (OnnxValue){.layer = in, .axes = "NCL"}); /* a row without its row */
        return true;
    }
    bool framed = rank == 5 && l->rank == 3 && dim[0] == o->batch && dim[1] == l->dim[0] &&
                  dim[2] == 1 && dim[3] == l->dim[1] && dim[4] == l->dim[2];
    if (framed) { /* a clip of this frame */
        onnx_put(o, 0, (OnnxValue){.layer = in, .clip = true});
        return true;
    }
    if (rank == 2 && dim[0] == o->batch && dim[1] == cells)
        return onnx_unary(o, IM_FLATTEN, 0);
    if (rank != 4 || dim[0] != o->batch)
        return onnx_refuse(o, "only vectors and images can be made, not %s",
                           im_shape_text(o->im, rank, dim));
    ImLayer *made = onnx_add(o, IM_RESHAPE, NULL);
    if (!made)
        return false;
    made->maps = dim[1];
    memcpy(made->extent, dim + 2, sizeof made->extent);
    return onnx_done(o);
}

bool onnx_reshape(Onnx *o, ImOp op) {
    ImTensor t;
    int64_t dim[IM_MAX_RANK], from[IM_MAX_RANK], known = 1, all = 1;
    int free_axis = -1;
    (void)op;
    if (!onnx_in(o, 0) || !onnx_constant_in(o, 1, "new shape", &t) || t.count > IM_MAX_RANK)
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

bool onnx_flatten(Onnx *o, ImOp op) {
    int in;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    int rank = im_at(o->net, in)->rank;
    int64_t axis = onnx_int(o->node, "axis", 1);
    if (axis != 1 && axis != -rank - onnx_is_clip(o, 0))
        return onnx_refuse(o, "only axis 1 can be imported");
    return rank == 1 ? onnx_identity(o) : onnx_unary(o, op, 0);
}

/* Axes of one cell come and go: what is left must be a vector or an image. */
bool onnx_squeeze(Onnx *o, ImOp op) {
    int64_t from[IM_MAX_RANK], axes[IM_MAX_RANK], dim[IM_MAX_RANK] = {0};
    int in, at = 0, read = 0, count = onnx_list(o, 1, "axes", axes);
    bool grow = op == IM_RESHAPE, named[2 * IM_MAX_RANK] = {false};
    if (!onnx_layer_in(o, 0, &in))
        return false;
    int rank = onnx_shape(o, onnx_in(o, 0), from), most = grow ? rank + count : rank;
    if ((grow && count < 1) || count > 4 || most > IM_MAX_RANK)
        return onnx_refuse(o, "its axes are not known");
    for (int i = 0; i < count; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + most : axes[i];
        if (a < 0 || a >= most)
            return onnx_refuse(o, "its axes do not exist");
        named[a] = true;
    }
    for (int i = 0; i < most; i++) {
        bool one = count < 0 ? i > 0 && from[i] == 1 : named[i];
        if (!grow && one && from[i] != 1)
            return onnx_refuse(o, "only axes of one cell can be squeezed");
        if (grow)
            dim[at++] = one ? 1 : from[read++];
        else if (!one)
            dim[at++] = from[i];
    }
    return reshaped(o, at, dim);
}

/* The network's own input may stand as [N, H, W, C]. */
bool onnx_transpose(Onnx *o, ImOp op) {
    static const char *const order[] = {"chw", "cwh", "hcw", "hwc", "wch", "whc"};
    int64_t perm[4], d[3];
    char want[4] = "";
    int in, n = onnx_ints(o->node, "perm", perm, 4);
    if (!onnx_layer_in(o, 0, &in))
        return false;
    ImLayer *l = im_at(o->net, in);
    if (n == 4 && in == 0 && o->net->layer.len == 1 && perm[0] == 0 && perm[1] == 3 &&
        perm[2] == 1 && perm[3] == 2) {
        memcpy(d, l->dim, sizeof d);
        l->dim[0] = d[2], l->dim[1] = d[0], l->dim[2] = d[1];
        return onnx_identity(o);
    }
    if (l->rank == 1 && n == 2 && perm[0] == 0)
        return onnx_identity(o);
    for (int i = 0; n == 4 && i < 3; i++)
        want[i] = perm[1 + i] >= 1 && perm[1 + i] <= 3 ? "chw"[perm[1 + i] - 1] : '?';
    for (size_t i = 0; l->rank == 3 && n == 4 && perm[0] == 0 && i < 6; i++)
        if (strcmp(want, order[i]) == 0 && i > 0) {
            ImLayer *made = onnx_add(o, op, NULL);
            if (made)
                made->mode = order[i];
            return made && onnx_done(o);
        } else if (strcmp(want, order[i]) == 0) {
            return onnx_identity(o);
        }
    return onnx_refuse(o, "only the three axes of an image can trade places");
}

/* ---- borders, other sizes ---- */
bool onnx_pad(Onnx *o, ImOp op) {
    int64_t pads[IM_MAX_RANK] = {0};
    int n = onnx_list(o, 1, "pads", pads);
    double value = onnx_float(o->node, "value", 0);
    const char *mode = onnx_text(o->im, o->node, "mode", "constant");
    const OnnxValue *fill = onnx_in(o, 2);
    if (fill && fill->constant && fill->tensor.count == 1)
        value = im_tensor_at(&fill->tensor, 0);
    if (n != 8 || pads[0] || pads[4] || onnx_in(o, 3) || (fill && !fill->constant))
        return onnx_refuse(o, "only images can be padded, by numbers known now");
    bool zeros = strcmp(mode, "constant") == 0;
    if (zeros ? value != 0 : strcmp(mode, "reflect") != 0 && strcmp(mode, "edge") != 0)
        return onnx_refuse(o, "only zeros, mirrored and repeated cells can be padded");
    for (int i = 0; i < 8; i++)
        if (pads[i] < 0)
            return onnx_refuse(o, "a border that cuts cells away cannot be imported");
    if (!zeros && (pads[1] || pads[5]))
        return onnx_refuse(o, "maps are padded with zeros alone");
    ImLayer *l = onnx_add(o, op, NULL);
    if (!l)
        return false;
    l->at[0] = pads[1], l->at[1] = pads[5];
    l->pad[0] = pads[2], l->pad[1] = pads[6], l->pad[2] = pads[3], l->pad[3] = pads[7];
    l->mode = zeros ? NULL : mode;
    return onnx_done(o);
}

/* How a resize finds its cells, in the language's words; false: it has none. */
static bool resize_words(Onnx *o, const double factor[2], ImLayer *set) {
    const char *kind = onnx_text(o->im, o->node, "mode", "nearest");
    const char *at = onnx_text(o->im, o->node, "coordinate_transformation_mode", "half_pixel");
    const char *round = onnx_text(o->im, o->node, "nearest_mode", "round_prefer_floor");
    bool old = o->model->opset < 11; /* no words: asymmetric, and down */
    bool asymmetric = old || strcmp(at, "asymmetric") == 0, whole = true;
    for (int a = 0; a < 2; a++)
        whole = whole && factor[a] >= 1 && factor[a] == floor(factor[a]);
    if (onnx_int(o->node, "antialias", 0) || onnx_int(o->node, "exclude_outside", 0))
        return onnx_refuse(o, "smoothed resizing cannot be imported");
    if (strcmp(kind, "linear") == 0) {
        set->mode = "bilinear";
        set->align = !old && strcmp(at, "align_corners") == 0;
        bool centres =
            !old && (strcmp(at, "half_pixel") == 0 || strcmp(at, "pytorch_half_pixel") == 0);
        return set->align || centres ||
               onnx_refuse(o, "linear resizing by the rule '%s' cannot be imported",
                           old ? "asymmetric" : at);
    }
    if (strcmp(kind, "nearest") != 0)
        return onnx_refuse(o, "only nearest and linear can be imported, not '%s'", kind);
    bool down = old || strcmp(round, "floor") == 0;
    bool prefer = strcmp(round, "round_prefer_floor") == 0;
    bool halves = strcmp(at, "half_pixel") == 0 || strcmp(at, "pytorch_half_pixel") == 0;
    set->mode = "nearest"; /* its cell is floor(y * old / new) */
    if (asymmetric && (down || (prefer && whole && factor[0] <= 2 && factor[1] <= 2)))
        return true;
    if (halves && whole && strncmp(round, "round_", 6) == 0)
        return true;
    return onnx_refuse(o, "its way of rounding (%s, %s) cannot be imported", at, round);
}

bool onnx_resize(Onnx *o, ImOp op) {
    bool old = strcmp(o->node->type, "Upsample") == 0 || o->model->opset < 11;
    const OnnxValue *scales = onnx_in(o, old ? 1 : 2), *sizes = old ? NULL : onnx_in(o, 3);
    double factor[2] = {0};
    int64_t axes[IM_MAX_RANK], size[2];
    ImLayer words = {.op = IM_NONE};
    int in, n = onnx_ints(o->node, "axes", axes, IM_MAX_RANK);
    float attribute[4];
    (void)op;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    const OnnxValue *v = scales && scales->constant && scales->tensor.count ? scales : sizes;
    int clip = onnx_is_clip(o, 0);
    bool inner = n == 2 && axes[0] == 2 + clip && axes[1] == 3 + clip; /* height and width alone */
    int first = inner ? 0 : 2 + clip;
    int64_t want = first + 2;
    bool listed = !v && !clip && onnx_floats(o->node, "scales", attribute, 4) == 4; /* version 7 */
    if ((!listed && (!v || !v->constant || v->tensor.count != want)) || l->rank != 3 ||
        (n > 0 && !inner))
        return onnx_refuse(o, "its factors are not known");
    for (int i = 0; i < first; i++) { /* images and maps keep their number */
        double x = listed ? (double)attribute[i] : im_tensor_at(&v->tensor, i);
        int64_t old_count = i == 2 ? l->frames : i ? l->dim[0] : o->batch;
        if (x != (v == sizes && v ? (double)old_count : 1))
            return onnx_refuse(o, "only height and width can be resized");
    }
    for (int a = 0; a < 2; a++) {
        double x = listed ? (double)attribute[2 + a] : im_tensor_at(&v->tensor, first + a);
        double old_size = (double)l->dim[1 + a],
               new_size = v == sizes && v ? x : floor(old_size * x);
        if (!(new_size >= 1 && new_size <= (double)IM_MAX_SIDE))
            return onnx_refuse(o, "its size is out of range");
        size[a] = (int64_t)new_size;
        factor[a] = new_size / old_size;
        if (!(v == sizes && v) && fabs(factor[a] - x) > 1e-6 * x)
            return onnx_refuse(o, "its factors do not give whole sizes");
    }
    if (!resize_words(o, factor, &words))
        return false;
    bool whole = factor[0] == floor(factor[0]) && factor[1] == floor(factor[1]);
    ImLayer *made = onnx_add(o, whole ? IM_UPSAMPLE : IM_RESIZE, NULL);
    if (!made)
        return false;
    for (int a = 0; a < 2; a++) {
        made->stride[a] = whole ? (int64_t)factor[a] : 1;
        made->extent[a] = size[a];
    }
    bool usual = whole == (strcmp(words.mode, "nearest") == 0);
    made->mode = usual ? NULL : words.mode; /* upsample: nearest, resize: bilinear */
    made->align = words.align;
    return onnx_done(o);
}

/* ---- parts ---- */
/* Is it every step-th cell of all n? */
static bool is_all(const OnnxPart *p, int64_t n) {
    return p->first == 0 && (n - 1) / p->step + 1 == p->count;
}

int onnx_cut(Onnx *o, int in, const OnnxPart p[4]) {
    const ImLayer *l = im_at(o->net, in);
    int64_t dim[3], rank = l->rank, frames = l->frames;
    memcpy(dim, l->dim, sizeof dim);
    bool crop = false, steps = false;
    onnx_put_layer(o, in);
    for (int d = 0; d < rank; d++) {
        if (p[d].count < 1 || p[d].step < 1 || (d == 0 && p[d].step > 1)) {
            onnx_refuse(o, "only every n-th row and column, and runs of maps, can be cut out");
            return -1;
        }
        crop |= d > 0 && !is_all(&p[d], dim[d]);
        steps |= d > 0 && p[d].step > 1;
    }
    if (!is_all(&p[0], dim[0])) {
        ImLayer *made = onnx_behind(o, IM_SLICE, in);
        if (!made)
            return -1;
        made->at[0] = p[0].first;
        made->maps = p[0].count;
        in = last(o);
        if (!onnx_done(o))
            return -1;
    }
    ImLayer *made = crop ? onnx_behind(o, IM_CROP, in) : NULL;
    for (int a = 0; made && a < 2; a++) {
        bool all = is_all(&p[1 + a], dim[1 + a]);
        made->at[a] = p[1 + a].first;
        made->extent[a] = all ? dim[1 + a] : (p[1 + a].count - 1) * p[1 + a].step + 1;
    }
    in = made ? last(o) : in;
    if (made && !onnx_done(o))
        return -1;
    made = steps ? onnx_behind(o, IM_DOWNSAMPLE, in) : NULL;
    for (int a = 0; made && a < 2; a++)
        made->stride[a] = p[1 + a].step;
    in = made ? last(o) : in;
    if (o->im->code || (made && !onnx_done(o)))
        return -1;
    if (is_all(&p[3], frames) && p[3].step == 1)
        return in;
    made = onnx_behind(o, IM_FRAMES, in);
    if (!made)
        return -1;
    made->at[0] = p[3].first;
    made->maps = p[3].count;
    made->stride[0] = p[3].step;
    return onnx_done(o) ? last(o) : -1;
}

/* Axis `axis` of ONNX as a part of onnx_cut: 0 the batch, 1 maps, 2 rows, 3 columns, 4 frames. */
static int64_t part_of(const Onnx *o, int64_t axis) {
    int64_t dim[IM_MAX_RANK], rank = onnx_shape(o, onnx_in(o, 0), dim);
    axis += axis < 0 ? rank : 0;
    if (axis < 0 || axis >= rank)
        return -1;
    if (onnx_is_clip(o, 0))
        return axis < 2 ? axis : axis == 2 ? 4 : axis - 1;
    return axis == 2 && onnx_is_line(o, 0) ? 3 : axis;
}

bool onnx_slice(Onnx *o, ImOp op) {
    int64_t from[IM_MAX_RANK], to[IM_MAX_RANK], axes[IM_MAX_RANK], steps[IM_MAX_RANK];
    OnnxPart p[5];
    int in, n = onnx_list(o, 1, "starts", from), named = onnx_list(o, 3, "axes", axes);
    int stepped = onnx_list(o, 4, "steps", steps);
    (void)op;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    for (int d = 0; d < 4; d++)
        p[d] = (OnnxPart){0, 1, d == 0 ? o->batch : d <= l->rank ? l->dim[d - 1] : 1};
    p[4] = (OnnxPart){0, 1, l->frames};
    bool ok = n >= 1 && n <= 5 && onnx_list(o, 2, "ends", to) == n && (named < 0 || named == n) &&
              (stepped < 0 || stepped == n);
    for (int i = 0; ok && i < n; i++) {
        int64_t axis = part_of(o, named < 0 ? i : axes[i]);
        ok = axis >= 0 && (axis == 4 || axis <= l->rank);
        if (!ok)
            break;
        OnnxPart *q = &p[axis];
        int64_t size = q->count;
        q->first = from[i];
        q->step = stepped < 0 ? 1 : steps[i];
        ok = onnx_range(size, &q->first, to[i], q->step, &q->count) &&
             (axis > 0 || (q->first == 0 && q->count == size));
    }
    return ok ? onnx_cut(o, in, p + 1) >= 0 : onnx_refuse(o, "this part cannot be cut out");
}

bool onnx_split(Onnx *o, ImOp op) {
    int64_t sizes[IM_MAX_RANK], axis = onnx_int(o->node, "axis", 0), at = 0;
    int in, layer[64], parts = o->node->out.len, n = onnx_list(o, 1, "split", sizes);
    (void)op;
    if (!onnx_layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    int64_t all = 0, dim[4] = {l->dim[0], l->dim[1], l->dim[2], l->frames};
    axis = part_of(o, axis);
    if (axis < 1 || (axis < 4 && axis > l->rank) || parts < 1 || parts > 64 || (n >= 0 && n != parts))
        return onnx_refuse(o, "only maps, rows and columns can be split");
    int64_t size = dim[axis - 1], each = (size + parts - 1) / parts;
    for (int i = 0; i < parts; i++) {
        int64_t count = n >= 0 ? sizes[i] : each < size - at ? each : size - at;
        OnnxPart p[4] = {{0, 1, dim[0]}, {0, 1, dim[1]}, {0, 1, dim[2]}, {0, 1, dim[3]}};
        if (count < 1 || count > size - at)
            return onnx_refuse(o, "its parts are not those of %lld", (long long)size);
        p[axis - 1] = (OnnxPart){at, 1, count};
        int made = onnx_cut(o, in, p);
        if (made < 0)
            return false;
        layer[i] = made;
        at += count;
        all += count;
    }
    for (int i = 0; i < parts; i++) /* cut speaks of the first output */
        onnx_put(o, i, (OnnxValue){.layer = layer[i]});
    return all == size || onnx_refuse(o, "its parts are not all of %lld", (long long)size);
}

/* ---- along axes ---- */
static const char *axis_word(const bool axis[4]) {
    int sum = axis[1] + 2 * axis[2] + 4 * axis[3];
    return sum == 1 ? "maps" : sum == 2 ? "height" : sum == 4 ? "width" : sum == 6 ? "time" : NULL;
}

/* op: MEAN, MAX_OVER, or SCALE for sums */
bool onnx_reduce(Onnx *o, ImOp op) {
    int64_t axes[IM_MAX_RANK], cells = 1;
    bool over[4] = {false}, keep = onnx_int(o->node, "keepdims", 1) != 0;
    int in, n = onnx_list(o, 1, "axes", axes);
    if (!onnx_layer_in(o, 0, &in))
        return false;
    const ImLayer *l = im_at(o->net, in);
    bool line = onnx_is_line(o, 0);
    for (int i = 0; l->rank == 3 && i < n; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + (line ? 3 : 4) : axes[i];
        if (line && a == 2) {
            over[2] = true; /* its only row */
            a = 3;
        }
        if (a < 1 || a > 3)
            return onnx_refuse(o, "it runs over images of the batch");
        over[a] = true;
        cells *= l->dim[a - 1];
    }
    const char *word = axis_word(over);
    bool time = word && strcmp(word, "time") == 0;
    if (!word || (!keep && !time))
        return onnx_refuse(o, "only maps, rows, columns, or rows and columns can be reduced%s",
                           word ? ", with keepdims" : "");
    ImOp kind = op == IM_MAX_OVER ? (time ? IM_MAXPOOL : op) : time ? IM_AVGPOOL : IM_MEAN;
    ImLayer *made = onnx_behind(o, kind, in);
    if (!made)
        return false;
    made->global = time;
    made->mode = time ? NULL : word;
    if (!onnx_done(o))
        return false;
    if (op == IM_SCALE) {
        made = onnx_behind(o, op, last(o));
        if (!made)
            return false;
        made->number[0] = (double)cells;
        if (!onnx_done(o))
            return false;
    }
    return keep || (onnx_behind(o, IM_FLATTEN, last(o)) && onnx_done(o));
}
