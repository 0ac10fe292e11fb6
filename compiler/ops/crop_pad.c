/* crop_pad.c: parts of images, borders around them, every n-th cell (facts; code: resample).
 *
 * theory: selection matrices; Karpathy et al. 2014, section 3.1 (the fovea's crop); He et al. 2016,
 * section 4.2 (option A: shortcuts take every second cell and gain maps of zeros).
 */
#include <string.h>

#include "ops/facts.h"
#include "ops/resample.h"

#define ADJOINT "All projections use the adjoint."
enum { A_SIZE, A_AT, A_TOP, A_LEFT };

/* ---- crop ---- */

static const AttrDesc crop_attrs[] = {
    ATTR_EXTENT(CropAttrs, size, true, NULL, 1, "height x width of the part"),
    ATTR_ENUM(CropAttrs, at, "center", "center|top_left|top_right|bottom_left|bottom_right",
              "where the part lies; center rounds up and to the left"),
    {"top", AT_INT, offsetof(CropAttrs, top), false, "-1", NULL, -1, IMAGE_SIDE_MAX,
     "rows left out above; -1: as `at` says", false},
    {"left", AT_INT, offsetof(CropAttrs, left), false, "-1", NULL, -1, IMAGE_SIDE_MAX,
     "columns left out at the left; -1: as `at` says", false},
};

void crop_from(const CropAttrs *a, const Shape *src, int64_t from[2]) {
    int64_t rest[2] = {src->dim[1] - a->size[0], src->dim[2] - a->size[1]};
    bool bottom = a->at == CROP_BOTTOM_LEFT || a->at == CROP_BOTTOM_RIGHT;
    bool right = a->at == CROP_TOP_RIGHT || a->at == CROP_BOTTOM_RIGHT;
    from[0] = a->at == CROP_CENTER ? rest[0] / 2 : bottom ? rest[0] : 0;
    from[1] = a->at == CROP_CENTER ? rest[1] / 2 : right ? rest[1] : 0;
    if (a->top >= 0)
        from[0] = a->top;
    if (a->left >= 0)
        from[1] = a->left;
}

static bool infer_crop(Infer *inf) {
    static const char *const side[] = {"height", "width"};
    const CropAttrs *a = inf->attrs;
    int64_t from[2];
    if (!infer_rank(inf, 0, 3))
        return false;
    const Shape *s = &inf->in[0];
    crop_from(a, s, from);
    for (int d = 0; d < 2; d++)
        if (a->size[d] < 1 || a->size[d] > s->dim[1 + d] || from[d] > s->dim[1 + d] - a->size[d])
            return infer_fail(inf, "E0303", A_SIZE, -1, "pad the image first, or crop less",
                              "a crop of %s %lld from cell %lld on does not fit: the input %s is "
                              "%lld",
                              side[d], (long long)a->size[d],
                              (long long)(from[d] > 0 ? from[d] : 0), side[d],
                              (long long)s->dim[1 + d]);
    return infer_out(inf, 0, shape_of3(s->dim[0], a->size[0], a->size[1]), DT_F32);
}

static ValueId parts_crop(Graph *g, const void *attrs, const ValueId *in) {
    const CropAttrs *a = attrs;
    const Shape *src = &graph_v(g, in[0])->shape;
    ResampleAttrs r = resample_same(src);
    int64_t from[2];
    crop_from(a, src, from);
    r.from_y = from[0];
    r.from_x = from[1];
    memcpy(r.size, a->size, sizeof r.size);
    return graph_op(g, OP_RESAMPLE, &r, 1, in);
}

const OpDef opdef_crop = {
    .title = "part of an image",
    .formula = "dst[c,y,x] = src[c, top + y, left + x]",
    .doc = "Cuts a window of the same size out of every map, from the middle unless told where: "
           "crop(89x89), crop(24x24, at = top_left), crop(24x24, top = 2, left = 5).  " ADJOINT,
    .theory = "Karpathy, Toderici, Shetty, Leung, Sukthankar, Fei-Fei 2014, section 3.1",
    .attr_size = sizeof(CropAttrs),
    .attrs = crop_attrs,
    .nattrs = COUNT_OF(crop_attrs),
    .part = PART_MOVES,
    .infer = infer_crop,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_crop,
    .flops = flops_none,
};

/* ---- every n-th cell ---- */

static const AttrDesc down_attrs[] = {
    ATTR_EXTENT(CropAttrs, factor, true, NULL, 1, "which cells stay: every factor-th"),
};

static bool infer_down(Infer *inf) {
    const CropAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    const int64_t *s = inf->in[0].dim;
    if (a->factor[0] < 1 || a->factor[1] < 1)
        return infer_fail(inf, "E0303", 0, -1, NULL, "a factor is at least 1");
    return infer_out(inf, 0,
                     shape_of3(s[0], (s[1] - 1) / a->factor[0] + 1, (s[2] - 1) / a->factor[1] + 1),
                     DT_F32);
}

static ValueId parts_down(Graph *g, const void *attrs, const ValueId *in) {
    const CropAttrs *a = attrs;
    ResampleAttrs r = resample_same(&graph_v(g, in[0])->shape);
    for (int d = 0; d < 2; d++) {
        r.size[d] = (r.size[d] - 1) / a->factor[d] + 1;
        r.step[d] = a->factor[d];
    }
    return graph_op(g, OP_RESAMPLE, &r, 1, in);
}

static bool window_down(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    kernel[0] = kernel[1] = 1;
    memcpy(stride, ((const CropAttrs *)attrs)->factor, 2 * sizeof *stride);
    memset(pad, 0, 4 * sizeof *pad);
    return true;
}

const OpDef opdef_downsample = {
    .title = "every n-th row and column",
    .formula = "dst[c,y,x] = src[c, y*factor, x*factor]",
    .doc = "Keeps the first of every factor rows and columns and computes nothing.  Output = "
           "ceil(input / factor).  " ADJOINT,
    .theory = "He, Zhang, Ren, Sun 2016, section 4.2, option A",
    .attr_size = sizeof(CropAttrs),
    .attrs = down_attrs,
    .nattrs = COUNT_OF(down_attrs),
    .part = PART_MOVES,
    .infer = infer_down,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_down,
    .flops = flops_none,
    .window = window_down,
};

/* ---- pad ---- */

enum { P_PAD, P_MODE, P_MAPS, P_AFTER };
static const AttrDesc pad_attrs[] = {
    {"pad", AT_PADS, offsetof(PadAttrs, pad), true, "0", NULL, 0, IMAGE_SIDE_MAX,
     "cells added at each side", false},
    ATTR_ENUM(PadAttrs, mode, "zero", "zero|reflect|edge",
              "what they hold: 0, the image mirrored at its outermost cell, or that cell again"),
    ATTR_INT(PadAttrs, maps, false, "0", 0, (double)IMAGE_SIDE_MAX, "maps of zeros in front"),
    ATTR_INT(PadAttrs, maps_after, false, "maps", 0, (double)IMAGE_SIDE_MAX,
             "maps of zeros behind"),
};

static bool infer_pad(Infer *inf) {
    const PadAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    Shape s = inf->in[0];
    for (int i = 0; i < 4; i++)
        if (a->pad[i] < 0 || a->pad[i] > IMAGE_SIDE_MAX)
            return infer_fail(inf, "E0303", P_PAD, -1, NULL, "padding is between 0 and %d",
                              IMAGE_SIDE_MAX);
    if (a->maps < 0 || a->maps_after < 0 || a->maps > IMAGE_SIDE_MAX ||
        a->maps_after > IMAGE_SIDE_MAX)
        return infer_fail(inf, "E0303", P_MAPS, -1, NULL, "added maps are between 0 and %d",
                          IMAGE_SIDE_MAX);
    for (int d = 0; d < 2; d++)
        for (int i = 2 * d; i < 2 * d + 2; i++)
            if (a->mode == BORDER_REFLECT && a->pad[i] >= s.dim[1 + d])
                return infer_fail(inf, "E0307", P_PAD, -1, "mode = edge has no limit",
                                  "a reflected border must be thinner than the image: %lld cells, "
                                  "the input has %lld",
                                  (long long)a->pad[i], (long long)s.dim[1 + d]);
    s.dim[0] += a->maps + a->maps_after;
    s.dim[1] += a->pad[0] + a->pad[1];
    s.dim[2] += a->pad[2] + a->pad[3];
    return infer_out(inf, 0, s, DT_F32);
}

static ValueId parts_pad(Graph *g, const void *attrs, const ValueId *in) {
    const PadAttrs *a = attrs;
    ResampleAttrs r = resample_same(&graph_v(g, in[0])->shape);
    r.size[0] += a->pad[0] + a->pad[1];
    r.size[1] += a->pad[2] + a->pad[3];
    r.from_y = -a->pad[0];
    r.from_x = -a->pad[2];
    r.maps += a->maps + a->maps_after;
    r.first = -a->maps;
    r.border = a->mode;
    return graph_op(g, OP_RESAMPLE, &r, 1, in);
}

static bool window_pad(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    kernel[0] = kernel[1] = stride[0] = stride[1] = 1;
    memcpy(pad, ((const PadAttrs *)attrs)->pad, 4 * sizeof *pad);
    return true;
}

const OpDef opdef_pad = {
    .title = "a border around images, or maps of zeros",
    .formula = "dst[maps + c, top + y, left + x] = src[c,y,x]; elsewhere 0, or what mode says",
    .doc = "pad(3, mode = reflect) before a convolution without padding of its own (style "
           "transfer), or pad(maps = 8): 8 maps of zeros in front and 8 behind, for a shortcut "
           "into a wider layer.  A convolution's own zeros, pad = 1, cost nothing: prefer them. "
           " " ADJOINT,
    .theory = "He, Zhang, Ren, Sun 2016, section 4.2, option A",
    .attr_size = sizeof(PadAttrs),
    .attrs = pad_attrs,
    .nattrs = COUNT_OF(pad_attrs),
    .part = PART_MOVES,
    .infer = infer_pad,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_pad,
    .flops = flops_none,
    .window = window_pad,
};
