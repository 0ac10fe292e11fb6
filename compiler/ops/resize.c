/* resize.c: images of another size: upsample by a factor, resize to a size (facts; code: resample).
 *
 * theory: Odena, Dumoulin, Olah, "Deconvolution and checkerboard artifacts", Distill 2016 (nearest,
 * then a convolution); bilinear interpolation with PyTorch's conventions.
 */
#include "ops/facts.h"
#include "ops/resample.h"

static const AttrDesc up_attrs[] = {
    ATTR_EXTENT(ResizeAttrs, factor, true, NULL, 1, "times more rows x columns"),
    ATTR_ENUM(ResizeAttrs, mode, "nearest", "nearest|bilinear", "how cells in between are found"),
    ATTR_BOOL(ResizeAttrs, align, "no",
              "bilinear: the outermost cells' centres stay in the corners (align_corners)"),
};
static const AttrDesc resize_attrs[] = {
    ATTR_EXTENT(ResizeAttrs, size, true, NULL, 1, "height x width of the result"),
    ATTR_ENUM(ResizeAttrs, mode, "bilinear", "nearest|bilinear", "how cells in between are found"),
    ATTR_BOOL(ResizeAttrs, align, "no",
              "bilinear: the outermost cells' centres stay in the corners (align_corners)"),
};

static bool infer_sizes(Infer *inf, const int64_t size[2]) {
    static const char *const what[] = {"height", "width"};
    for (int d = 0; d < 2; d++)
        if (size[d] < 1 || size[d] > IMAGE_SIDE_MAX)
            return infer_fail(inf, "E0305", 0, -1, NULL, "%s %lld: an image's side is 1 to %d",
                              what[d], (long long)size[d], IMAGE_SIDE_MAX);
    return infer_out(inf, 0, shape_of3(inf->in[0].dim[0], size[0], size[1]), DT_F32);
}

static bool infer_upsample(Infer *inf) {
    const ResizeAttrs *a = inf->attrs;
    int64_t size[2];
    if (!infer_rank(inf, 0, 3))
        return false;
    for (int d = 0; d < 2; d++)
        if (__builtin_mul_overflow(inf->in[0].dim[1 + d], a->factor[d], &size[d]))
            return infer_fail(inf, "E0305", 0, -1, NULL, "the result is too large");
    return infer_sizes(inf, size);
}

static bool infer_resize(Infer *inf) {
    return infer_rank(inf, 0, 3) && infer_sizes(inf, ((const ResizeAttrs *)inf->attrs)->size);
}

static ValueId resized(Graph *g, const ResizeAttrs *a, const ValueId *in, int64_t h, int64_t w) {
    ResampleAttrs r = resample_same(&graph_v(g, in[0])->shape);
    r.size[0] = h;
    r.size[1] = w;
    r.mode = a->mode ? RESAMPLE_BILINEAR : RESAMPLE_NEAREST;
    r.align = a->align;
    return graph_op(g, OP_RESAMPLE, &r, 1, in);
}

static ValueId parts_upsample(Graph *g, const void *attrs, const ValueId *in) {
    const ResizeAttrs *a = attrs;
    const Shape *s = &graph_v(g, in[0])->shape;
    return resized(g, a, in, s->dim[1] * a->factor[0], s->dim[2] * a->factor[1]);
}

static ValueId parts_resize(Graph *g, const void *attrs, const ValueId *in) {
    const ResizeAttrs *a = attrs;
    return resized(g, a, in, a->size[0], a->size[1]);
}

/* Four products per cell at most. */
static double flops_resize(const Graph *g, NodeId n) {
    return 8 * out_elems(g, n);
}

/* As a transposed window: of the factor's size, nearest; twice that, bilinear. */
static bool window_up(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    const ResizeAttrs *a = attrs;
    for (int d = 0; d < 2; d++) {
        stride[d] = a->factor[d];
        kernel[d] = a->mode && a->factor[d] > 1 ? 2 * a->factor[d] : a->factor[d];
        pad[2 * d] = pad[2 * d + 1] = (kernel[d] - a->factor[d]) / 2;
    }
    return true;
}

const OpDef opdef_upsample = {
    .title = "enlarging by a factor",
    .formula = "nearest: dst[c,y,x] = src[c, y / factor, x / factor], rounded down",
    .doc = "upsample(2) repeats every cell in a block of 2x2; mode = bilinear interpolates between "
           "the cells' centres, or, with align = yes, stretches corner to corner.  All projections "
           "use the adjoint: sums over what a cell became.",
    .theory = "Odena, Dumoulin, Olah 2016",
    .attr_size = sizeof(ResizeAttrs),
    .attrs = up_attrs,
    .nattrs = COUNT_OF(up_attrs),
    .part = PART_MOVES,
    .infer = infer_upsample,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_upsample,
    .flops = flops_resize,
    .window = window_up,
    .spreads = true,
};

const OpDef opdef_resize = {
    .title = "enlarging or shrinking to a size",
    .formula =
        "bilinear: dst[c,y,x] = src[c] at ((y + 1/2) * H/height - 1/2, (x + 1/2) * W/width - "
        "1/2), interpolated",
    .doc = "resize(14x14) makes maps of 14 rows and 14 columns, bilinear unless mode = nearest.  "
           "Shrinking skips cells: average first where that matters.  All projections use the "
           "adjoint.",
    .theory = "bilinear interpolation; align = yes as align_corners in PyTorch",
    .attr_size = sizeof(ResizeAttrs),
    .attrs = resize_attrs,
    .nattrs = COUNT_OF(resize_attrs),
    .part = PART_MOVES,
    .infer = infer_resize,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_resize,
    .flops = flops_resize,
};
