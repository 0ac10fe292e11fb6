/* net.c: the network under construction: layers, shapes, and what follows from them.
 *
 * requires: readers add layers in an order in which inputs come first.  ensures: behind im_infer
 * every layer has a shape that its weights fit; a file whose shapes contradict each other is
 * refused with the layer's name.  Sizes follow LANGUAGE.md, "Sizes"; the clipping of padded pools
 * is Caffe's.
 */
#include "import/im.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

const char *const im_spelling[IM_OPS] = {
    [IM_NONE] = "?",
#define IM_OP(NAME, spelling, flags) [IM_##NAME] = spelling,
#include "import/im_ops.def"
#undef IM_OP
};
const unsigned char im_flags[IM_OPS] = {
#define IM_OP(NAME, spelling, flags) [IM_##NAME] = flags,
#include "import/im_ops.def"
#undef IM_OP
};

void im_net_begin(Im *im, ImNet *net) {
    *net = (ImNet){.name = "", .prob = -1, .prep = {.scale = 1, .std = {1, 1, 1, 1}}};
    ImLayer *input = vec_add(im->arena, &net->layer);
    input->op = IM_INPUT;
    input->name = "image";
    input->rank = 3;
    input->frames = 1;
}

ImLayer *im_at(ImNet *net, int layer) {
    BUG_IF(layer < 0 || layer >= net->layer.len, "layer %d of %d", layer, net->layer.len);
    return &net->layer.data[layer];
}

int im_add(Im *im, ImNet *net, ImOp op, const char *name, int nin, const int *in) {
    if (net->layer.len >= IM_MAX_LAYERS) {
        im_fail(im, NETC_LIMIT, "more than %d layers", IM_MAX_LAYERS);
        return 0;
    }
    ImLayer *l = vec_add(im->arena, &net->layer);
    *l = (ImLayer){.op = op,
                   .name = name ? name : "",
                   .nin = nin,
                   .groups = 1,
                   .frames = 1,
                   .stride = {1, 1},
                   .dilation = {1, 1},
                   .kernel = {1, 1},
                   .deep = {.stride = 1, .dilation = 1}};
    l->in = ARENA_ARRAY(im->arena, nin, int);
    for (int i = 0; i < nin; i++)
        l->in[i] = in[i];
    return net->layer.len - 1;
}

void im_param(ImLayer *l, const char *suffix, const ImTensor *t) {
    BUG_IF(l->params == IM_MAX_PARAMS, "too many parameters");
    bool statistic = strncmp(suffix, "running_", 8) == 0;
    l->param[l->params++] = (ImParam){suffix, *t, statistic};
}

const char *im_shape_text(Im *im, int rank, const int64_t *dim) {
    StrBuf text = sb_new(im->arena);
    for (int i = 0; i < rank; i++)
        sb_printf(&text, "%s%lld", i ? "x" : "", (long long)dim[i]);
    return rank ? text.text : "one number";
}

const char *im_layer_text(Im *im, const ImLayer *l) {
    const int64_t clip[4] = {l->dim[0], l->frames, l->dim[1], l->dim[2]};
    return l->rank == 3 && l->frames > 1 ? im_shape_text(im, 4, clip)
                                         : im_shape_text(im, l->rank, l->dim);
}

static bool bad_layer(Im *im, const ImLayer *l, const char *why) {
    return im_fail(im, NETC_DATA, "layer '%s' (%s): %s", l->name, im_spelling[l->op], why);
}

/* The parameter must have these dimensions; -1 is any. */
static bool has_shape(Im *im, const ImLayer *l, const char *suffix, int rank, const int64_t *dim) {
    for (int p = 0; p < l->params; p++) {
        const ImTensor *t = &l->param[p].tensor;
        if (strcmp(l->param[p].suffix, suffix) != 0)
            continue;
        bool same = t->rank == rank;
        for (int i = 0; same && i < rank; i++)
            same = dim[i] < 0 || t->dim[i] == dim[i];
        if (same)
            return true;
        return bad_layer(im, l,
                         arena_printf(im->arena, "%s is %s, %s is wanted", suffix,
                                      im_shape_text(im, t->rank, t->dim),
                                      im_shape_text(im, rank, dim)));
    }
    return true;
}

static int64_t product(const ImLayer *l) {
    int64_t n = l->frames;
    for (int i = 0; i < l->rank; i++)
        n *= l->dim[i]; /* each was checked to be at most IM_MAX_SIDE or a weight's dimension */
    return n;
}

static bool sensible(int64_t n, int64_t least) {
    return n >= least && n <= IM_MAX_SIDE;
}

/* Window along an axis of n cells, w about it: size of the result; -1 when it does not fit. */
static int64_t window_size(ImLayer *l, int64_t n, const ImDeep *w) {
    int64_t k = w->kernel, s = w->stride, d = w->dilation, before = w->pad[0], after = w->pad[1];
    if (!sensible(k, 1) || !sensible(s, 1) || !sensible(d, 1) || !sensible(before, 0) ||
        !sensible(after, 0))
        return -1;
    int64_t room = n + before + after - ((k - 1) * d + 1);
    if (room < 0)
        return -1;
    int64_t out = room / s + 1, rest = room % s;
    if (rest > after)
        l->ragged = true; /* real cells are left over */
    if (rest && l->ceil && out * s < n + before)
        out++;
    return out;
}

/* What a window says about rows (0), columns (1) or frames (2). */
static ImDeep axis_of(const ImLayer *l, int a) {
    return a == 2 ? l->deep
                  : (ImDeep){l->kernel[a],   l->stride[a],
                             l->dilation[a], {l->pad[2 * a], l->pad[2 * a + 1]},
                             l->out_pad[a]};
}

static const char *window_text(Im *im, const ImLayer *l) {
    const int64_t k[3] = {l->deep.kernel, l->kernel[0], l->kernel[1]};
    return l->deep.kernel ? im_shape_text(im, 3, k) : im_shape_text(im, 2, l->kernel);
}

/* Weights of windows over frames have an axis for them. */
static bool has_weights(Im *im, const ImLayer *l, int64_t first, int64_t second) {
    const int64_t deep[5] = {first, second, l->deep.kernel, l->kernel[0], l->kernel[1]};
    const int64_t flat[4] = {first, second, l->kernel[0], l->kernel[1]};
    return (l->deep.kernel ? has_shape(im, l, "weight", 5, deep)
                           : has_shape(im, l, "weight", 4, flat)) &&
           has_shape(im, l, "bias", 1, &l->maps);
}

static bool infer_window(Im *im, ImLayer *l, const ImLayer *src) {
    if (src->rank != 3)
        return bad_layer(im, l, "its input is no image");
    l->ragged = false;
    l->rank = 3;
    for (int a = 0; l->global && a < 2; a++) {
        l->kernel[a] = src->dim[1 + a];
        l->stride[a] = 1;
    }
    l->dim[0] = l->op == IM_CONV ? l->maps : src->dim[0];
    l->frames = l->global ? 1 : src->frames;
    for (int a = 0; a < (l->deep.kernel ? 3 : 2); a++) {
        ImDeep w = axis_of(l, a);
        int64_t from = a == 2 ? src->frames : src->dim[1 + a], n = window_size(l, from, &w);
        *(a == 2 ? &l->frames : &l->dim[1 + a]) = n;
        if (n < 1 || n > IM_MAX_SIDE)
            return bad_layer(im, l,
                             arena_printf(im->arena, "window %s does not fit %s",
                                          window_text(im, l), im_layer_text(im, src)));
        if (l->count_pad && (n - 1) * w.stride + w.kernel > from + w.pad[0] + w.pad[1])
            return bad_layer(im, l,
                             "its last window reaches beyond its padding and is divided by "
                             "a number of cells of its own");
    }
    if (l->op != IM_CONV)
        return true;
    if (l->groups < 1 || l->maps < 1 || src->dim[0] % l->groups || l->maps % l->groups)
        return bad_layer(im, l, "its groups do not divide the maps");
    return has_weights(im, l, l->maps, src->dim[0] / l->groups);
}

static bool infer_deconv(Im *im, ImLayer *l, const ImLayer *src) {
    if (src->rank != 3)
        return bad_layer(im, l, "its input is no image");
    if (l->groups < 1 || l->maps < 1 || src->dim[0] % l->groups || l->maps % l->groups)
        return bad_layer(im, l, "its groups do not divide the maps");
    l->rank = 3;
    l->dim[0] = l->maps;
    l->frames = src->frames;
    for (int a = 0; a < (l->deep.kernel ? 3 : 2); a++) {
        ImDeep w = axis_of(l, a);
        if (!sensible(w.kernel, 1) || !sensible(w.stride, 1) || !sensible(w.dilation, 1) ||
            !sensible(w.out_pad, 0) || !sensible(w.pad[0], 0) || !sensible(w.pad[1], 0))
            return bad_layer(im, l, "a window of no sensible size");
        int64_t from = a == 2 ? src->frames : src->dim[1 + a];
        int64_t n = (from - 1) * w.stride + (w.kernel - 1) * w.dilation + 1 + w.out_pad -
                    w.pad[0] - w.pad[1];
        if (n < 1 || n > IM_MAX_SIDE)
            return bad_layer(im, l, "its padding leaves nothing");
        *(a == 2 ? &l->frames : &l->dim[1 + a]) = n;
    }
    return has_weights(im, l, src->dim[0], l->maps / l->groups);
}

static bool infer_dense(Im *im, ImLayer *l, const ImLayer *src) {
    int64_t w[2] = {l->maps, product(src)};
    l->rank = 1;
    l->dim[0] = l->maps;
    if (l->maps < 1)
        return bad_layer(im, l, "it has no units");
    return has_shape(im, l, "weight", 2, w) && has_shape(im, l, "bias", 1, w);
}

static bool infer_recurrent(Im *im, ImLayer *l, const ImLayer *src) {
    int64_t rows = (l->op == IM_GRU ? 3 : 4) * l->maps;
    int64_t w[2] = {rows, src->dim[0]}, r[2] = {rows, l->maps};
    if (src->rank != 3 || src->dim[1] != 1 || src->frames != 1)
        return bad_layer(im, l, "its input is no sequence");
    l->rank = l->all ? 3 : 1;
    l->dim[0] = l->maps;
    l->dim[1] = 1;
    l->dim[2] = src->dim[2];
    return has_shape(im, l, "weight_ih_l0", 2, w) && has_shape(im, l, "weight_hh_l0", 2, r) &&
           has_shape(im, l, "bias_ih_l0", 1, w) && has_shape(im, l, "bias_hh_l0", 1, w);
}

static bool infer_join(Im *im, ImNet *net, ImLayer *l) {
    const ImLayer *first = im_at(net, l->in[0]);
    bool concat = l->op == IM_CONCAT, in_time = concat && l->mode;
    l->rank = first->rank;
    l->frames = first->frames;
    memcpy(l->dim, first->dim, sizeof l->dim);
    for (int i = 1; i < l->nin; i++) {
        const ImLayer *next = im_at(net, l->in[i]);
        bool same = next->rank == l->rank && (in_time || next->frames == l->frames ||
                                              (!concat && next->frames == 1));
        for (int d = concat && !in_time; same && d < l->rank; d++) /* one cell is repeated */
            same = next->dim[d] == l->dim[d] || (!concat && l->rank == 3 && next->dim[d] == 1);
        if (!same)
            return bad_layer(im, l,
                             arena_printf(im->arena, "it joins %s and %s", im_layer_text(im, first),
                                          im_layer_text(im, next)));
        if (in_time)
            l->frames += next->frames; /* as the maps */
        else if (concat)
            l->dim[0] += next->dim[0]; /* each at most IM_MAX_ELEMENTS, at most IM_MAX_LAYERS */
    }
    return l->frames <= IM_MAX_SIDE || bad_layer(im, l, "its size is out of range");
}

static bool infer_same(Im *im, ImLayer *l, const ImLayer *src) {
    l->rank = src->rank;
    l->frames = src->frames;
    memcpy(l->dim, src->dim, sizeof l->dim);
    if (l->op == IM_PRELU) {
        int64_t one = 1;
        return l->param[0].tensor.count == 1 ? has_shape(im, l, "weight", 1, &one)
                                             : has_shape(im, l, "weight", 1, src->dim);
    }
    return has_shape(im, l, "weight", 1, src->dim) && has_shape(im, l, "bias", 1, src->dim) &&
           has_shape(im, l, "running_mean", 1, src->dim) &&
           has_shape(im, l, "running_var", 1, src->dim);
}

static bool infer_resized(Im *im, ImNet *net, ImLayer *l, const ImLayer *src) {
    if (src->rank != 3)
        return bad_layer(im, l, "its input is no image");
    if (l->nin == 2) { /* as large as the other */
        const ImLayer *like = im_at(net, l->in[1]);
        if (like->rank != 3)
            return bad_layer(im, l, "its second input is no image");
        l->extent[0] = l->part ? src->dim[1] : like->dim[1];
        l->extent[1] = like->dim[2];
    }
    l->rank = 3;
    l->frames = src->frames;
    l->dim[0] = src->dim[0];
    for (int a = 0; a < 2; a++) {
        int64_t n = src->dim[1 + a];
        if (l->op == IM_UPSAMPLE)
            n *= sensible(l->stride[a], 1) ? l->stride[a] : 0;
        else if (l->op == IM_DOWNSAMPLE)
            n = sensible(l->stride[a], 1) ? (n - 1) / l->stride[a] + 1 : 0;
        else if (l->op == IM_RESIZE || l->op == IM_CROP)
            n = l->extent[a];
        else if (__builtin_add_overflow(n, l->pad[2 * a], &n) ||
                 __builtin_add_overflow(n, l->pad[2 * a + 1], &n))
            n = 0;
        if (n < 1 || n > IM_MAX_SIDE)
            return bad_layer(im, l, "its size is out of range");
        if (l->op == IM_CROP && (l->at[a] < 0 || l->at[a] > src->dim[1 + a] - n))
            return bad_layer(im, l, "it cuts out more than there is");
        l->dim[1 + a] = n;
    }
    if (l->op != IM_PAD)
        return true;
    bool maps =
        l->at[0] >= 0 && l->at[0] <= IM_MAX_MAPS && l->at[1] >= 0 && l->at[1] <= IM_MAX_MAPS;
    l->dim[0] += maps ? l->at[0] + l->at[1] : 0;
    return maps || bad_layer(im, l, "its size is out of range");
}

/* A part of the maps, other axes, another shape. */
static bool infer_moved(Im *im, ImLayer *l, const ImLayer *src) {
    l->rank = src->rank;
    l->frames = src->frames;
    memcpy(l->dim, src->dim, sizeof l->dim);
    if (l->op == IM_SLICE) {
        if (l->parts && src->dim[0] % l->parts)
            return bad_layer(im, l, "its parts are not equal");
        if (l->parts) {
            l->maps = src->dim[0] / l->parts;
            l->at[0] = l->part * l->maps;
        }
        if (l->to_end)
            l->maps = src->dim[0] - l->at[0];
        l->dim[0] = l->maps;
        return (l->at[0] >= 0 && l->maps >= 1 && l->at[0] <= src->dim[0] - l->maps) ||
               bad_layer(im, l, "it cuts out more than there is");
    }
    if (l->op == IM_RESHAPE) {
        l->rank = 3;
        l->frames = 1;
        l->dim[0] = l->maps;
        memcpy(l->dim + 1, l->extent, sizeof l->extent);
        return (sensible(l->extent[0], 1) && sensible(l->extent[1], 1) && l->maps >= 1 &&
                l->maps <= IM_MAX_MAPS && product(l) == product(src)) ||
               bad_layer(im, l, "its new shape has another number of cells");
    }
    if (src->rank != 3)
        return bad_layer(im, l, "its input is no image");
    for (int d = 0; l->op == IM_TRANSPOSE && d < 3; d++)
        l->dim[d] = src->dim[strchr("chw", l->mode[d]) - "chw"];
    if (l->op == IM_TRANSPOSE)
        return true;
    if (l->op == IM_FRAMES) {
        int64_t last = src->frames - 1 - l->at[0];
        l->frames = l->maps;
        return (l->at[0] >= 0 && sensible(l->maps, 1) && sensible(l->stride[0], 1) && last >= 0 &&
                (l->maps - 1) * l->stride[0] <= last) ||
               bad_layer(im, l, "it takes frames that do not exist");
    }
    if (strcmp(l->mode, "time") == 0) {
        l->frames = 1;
        return src->frames > 1 || bad_layer(im, l, "its input is no clip");
    }
    bool maps = strcmp(l->mode, "maps") == 0;
    l->dim[0] = maps ? 1 : l->dim[0];
    l->dim[1] = strcmp(l->mode, "height") == 0 ? 1 : l->dim[1];
    l->dim[2] = strcmp(l->mode, "width") == 0 ? 1 : l->dim[2];
    return true;
}

static bool infer_one(Im *im, ImNet *net, ImLayer *l) {
    const ImLayer *src = l->nin ? im_at(net, l->in[0]) : NULL;
    switch (l->op) {
    case IM_INPUT:
        return true;
    case IM_CONV:
    case IM_MAXPOOL:
    case IM_AVGPOOL:
    case IM_LP_POOL:
        return infer_window(im, l, src);
    case IM_DECONV:
        return infer_deconv(im, l, src);
    case IM_DENSE:
        return infer_dense(im, l, src);
    case IM_LSTM:
    case IM_GRU:
        return infer_recurrent(im, l, src);
    case IM_FLATTEN:
        l->rank = 1;
        l->dim[0] = product(src);
        return true;
    case IM_UPSAMPLE:
    case IM_RESIZE:
    case IM_DOWNSAMPLE:
    case IM_CROP:
    case IM_PAD:
        return infer_resized(im, net, l, src);
    case IM_SLICE:
    case IM_TRANSPOSE:
    case IM_RESHAPE:
    case IM_FRAMES:
    case IM_MEAN:
    case IM_MAX_OVER:
        return infer_moved(im, l, src);
    default:
        return im_flags[l->op] & IM_JOIN ? infer_join(im, net, l) : infer_same(im, l, src);
    }
}

bool im_infer(Im *im, ImNet *net, int i) {
    ImLayer *l = im_at(net, i);
    if (im->code || !infer_one(im, net, l))
        return false;
    for (int k = 0; k < l->nin; k++)
        l->line |= im_at(net, l->in[k])->line;
    l->line = l->line && l->rank == 3 && l->dim[1] == 1;
    int64_t cells = l->frames; /* a batch of them fits 64 bits */
    for (int d = 0; d < l->rank; d++)
        if (l->dim[d] < 1 || __builtin_mul_overflow(cells, l->dim[d], &cells))
            cells = LIMIT_ELEMENTS + 1;
    return cells <= LIMIT_ELEMENTS || bad_layer(im, l, "its size is out of range");
}

bool im_infer_all(Im *im, ImNet *net) {
    for (int i = 0; i < net->layer.len; i++)
        if (!im_infer(im, net, i))
            return false;
    return true;
}

/* The variance that, with eps, is 1 in single precision. */
static float unit_variance(float eps) {
    float v = 1 - eps;
    while (v + eps < 1)
        v = nextafterf(v, 2);
    while (v + eps > 1)
        v = nextafterf(v, 0);
    return v;
}

int im_affine(Im *im, ImNet *net, const char *name, int in, bool alone, const float *scale,
              const float *shift, int64_t channels) {
    static const char *const suffix[] = {"weight", "bias", "running_mean", "running_var"};
    float *v[4];
    ImLayer *before = im_at(net, in);
    if (alone && before->op == IM_BN && before->affine &&
        before->param[0].tensor.count == channels) {
        float *w = im_tensor_floats(im, &before->param[0].tensor);
        float *b = im_tensor_floats(im, &before->param[1].tensor);
        for (int64_t c = 0; c < channels; c++) {
            w[c] *= scale ? scale[c] : 1;
            b[c] = b[c] * (scale ? scale[c] : 1) + (shift ? shift[c] : 0);
        }
        before->param[0].tensor.data = (const unsigned char *)w;
        before->param[1].tensor.data = (const unsigned char *)b;
        return in;
    }
    int layer = im_add(im, net, IM_BN, name, 1, &in);
    ImLayer *l = im_at(net, layer);
    l->affine = true;
    l->number[0] = (double)1e-5f;
    for (int k = 0; k < 4 && !im->code; k++) {
        ImTensor t = im_tensor_new(im, 1, &channels, &v[k]);
        im_param(l, suffix[k], &t);
    }
    for (int64_t c = 0; c < channels && !im->code; c++) {
        v[0][c] = scale ? scale[c] : 1;
        v[1][c] = shift ? shift[c] : 0;
        v[3][c] = unit_variance(1e-5f);
    }
    return layer;
}

/* ---- the input's size ---- */
bool im_parse_size(Im *im, const char *text, int n, int64_t *dim) {
    const char *p = text;
    for (int i = 0; i < n; i++) {
        char *end;
        dim[i] = *p >= '0' && *p <= '9' ? strtoll(p, &end, 10) : 0;
        if (dim[i] < 1 || dim[i] > IM_MAX_SIDE || *end != (i < n - 1 ? 'x' : 0)) {
            im_fail(im, NETC_USAGE, "'%s' is no size of %s", im_clean(im, text, strlen(text)),
                    n == 4 ? "a clip" : "an image");
            im_help(im, n == 4 ? "write channels x frames x height x width: --input=3x16x112x112"
                               : "write channels x height x width: --input=3x224x224");
            return false;
        }
        p = end + 1;
    }
    return true;
}

/* How well a square input of side n fits: -1 not at all, else the number of windows that leave real
 * cells over. */
static int fit(Im *im, ImNet *net, int64_t n) {
    Im quiet = *im;
    int ragged = 0;
    net->layer.data[0].dim[1] = net->layer.data[0].dim[2] = n;
    if (!im_infer_all(&quiet, net))
        return -1;
    for (int i = 0; i < net->layer.len; i++)
        ragged += net->layer.data[i].ragged;
    return ragged;
}

bool im_deduce_input(Im *im, ImNet *net, int64_t channels) {
    static const int64_t usual[] = {28, 32, 224, 227, 64, 96, 48, 128, 256, 299, 160, 192};
    enum { USUAL = sizeof usual / sizeof *usual, LARGEST = 1024 };
    int64_t side = 0, best = 0;
    int least = -1;
    bool dense = false;
    ImLayer *input = im_at(net, 0);
    input->dim[0] = channels;
    for (int i = 0; i < net->layer.len; i++)
        dense |= net->layer.data[i].op == IM_DENSE;
    for (int i = 0; dense && i < USUAL && !side; i++)
        if (fit(im, net, usual[i]) >= 0)
            side = usual[i];
    for (int64_t n = 1; dense && !side && n <= LARGEST; n++) {
        int ragged = fit(im, net, n);
        if (ragged >= 0 && (least < 0 || ragged < least)) {
            least = ragged;
            best = n;
        }
    }
    side = side ? side : best;
    if (side == 0) {
        im_fail(im, NETC_DATA, "the file does not say how large its input is");
        im_help(im, "give the size, for example --input=%lldx224x224%s", (long long)channels,
                im->options->prototxt ? "" : ", or the network's --prototxt=FILE");
        return false;
    }
    input->dim[1] = input->dim[2] = side;
    im_note(im,
            "the file does not say how large its input is: %lldx%lldx%lld fits the dense layers; "
            "--input=CxHxW says otherwise",
            (long long)channels, (long long)side, (long long)side);
    return true;
}

/* ---- what nobody needs ---- */
static void merge_pad(ImLayer *l, const ImLayer *pad) {
    bool own = l->pad[0] || l->pad[1] || l->pad[2] || l->pad[3], grows = true;
    for (int i = 0; i < 4; i++)
        grows = grows && pad->pad[i] >= 0;
    if (pad->mode || pad->uses != 1 || !grows || (l->op == IM_AVGPOOL && own))
        return;
    for (int i = 0; i < 4; i++)
        l->pad[i] += pad->pad[i];
    l->count_pad |= l->op == IM_AVGPOOL;
    l->in[0] = pad->in[0];
}

void im_simplify(ImNet *net) {
    for (int i = 0; i < net->layer.len; i++)
        for (int k = 0; k < net->layer.data[i].nin; k++)
            net->layer.data[net->layer.data[i].in[k]].uses++;
    for (int i = 1; i < net->layer.len; i++) {
        ImLayer *l = &net->layer.data[i];
        const ImLayer *src = l->nin ? &net->layer.data[l->in[0]] : NULL;
        if (l->op == IM_DENSE && src->op == IM_FLATTEN)
            l->in[0] = src->in[0];
        else if ((l->op == IM_CONV || l->op == IM_AVGPOOL) && src->op == IM_PAD)
            merge_pad(l, src);
    }
}

bool im_is_score(const ImNet *net, int layer) {
    bool is = layer == net->score;
    for (int i = 0; i < net->more.len; i++)
        is |= layer == net->more.data[i].score;
    return is;
}

bool im_is_prob(const ImNet *net, int layer) {
    bool is = layer == net->prob;
    for (int i = 0; i < net->more.len; i++)
        is |= layer == net->more.data[i].prob;
    return is;
}

void im_prune(Im *im, ImNet *net) {
    bool *live = ARENA_ARRAY(im->arena, net->layer.len, bool);
    int *place = ARENA_ARRAY(im->arena, net->layer.len, int), n = 0;
    live[0] = true;
    for (int i = net->layer.len - 1; i > 0; i--) { /* inputs come before their readers */
        live[i] = live[i] || im_is_score(net, i) || im_is_prob(net, i);
        for (int k = 0; live[i] && k < net->layer.data[i].nin; k++)
            live[net->layer.data[i].in[k]] = true;
    }
    for (int i = 0; i < net->layer.len; i++) {
        if (!live[i])
            continue;
        ImLayer l = net->layer.data[i];
        for (int k = 0; k < l.nin; k++)
            l.in[k] = place[l.in[k]];
        place[i] = n;
        net->layer.data[n++] = l;
    }
    net->layer.len = n;
    net->score = place[net->score];
    net->prob = net->prob >= 0 ? place[net->prob] : -1;
    for (int i = 0; i < net->more.len; i++) {
        ImEnd *e = &net->more.data[i];
        e->score = place[e->score];
        e->prob = e->prob >= 0 ? place[e->prob] : -1;
    }
}
