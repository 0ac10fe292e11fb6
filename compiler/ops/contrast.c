/* contrast.c: local contrast normalisation over a window and all maps: subtractive and divisive
 * (facts; made of means over maps, Gaussian windows and elementwise functions).
 *
 * The window's weights sum to 1 over maps and over the cells that exist: at borders it is clipped
 * and its weights grow (as in Torch's SpatialSubtractiveNormalization).  sigma is a quarter of the
 * kernel unless given.  The across-map `lcn` is another thing. Projections: under the deconvnet
 * rule both pass the signal unchanged, as lrn does. theory: Jarrett, Kavukcuoglu, Ranzato, LeCun,
 * "What is the best multi-stage architecture for object recognition?", ICCV 2009, section 2.1 (N
 * layer).
 */
#include <float.h>

#include "ops/facts.h"
#include "ops/resample.h"

enum { A_KERNEL };
static const AttrDesc subtractive_attrs[] = {
    ATTR_EXTENT(ContrastAttrs, kernel, true, "9", 1, "window, height x width, odd"),
    ATTR_FLOAT(ContrastAttrs, sigma, false, "0", 0, 1e6,
               "the Gaussian's deviation in cells; 0: a quarter of the kernel"),
};
static const AttrDesc divisive_attrs[] = {
    ATTR_EXTENT(ContrastAttrs, kernel, true, "9", 1, "window, height x width, odd"),
    ATTR_FLOAT(ContrastAttrs, sigma, false, "0", 0, 1e6,
               "the Gaussian's deviation in cells; 0: a quarter of the kernel"),
    ATTR_FLOAT(ContrastAttrs, eps, false, "1e-4", 1e-15, 1e6, "the smallest divisor"),
};

static bool infer_contrast(Infer *inf) {
    const ContrastAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    for (int d = 0; d < 2; d++)
        if (a->kernel[d] < 1 || a->kernel[d] > 255 || a->kernel[d] % 2 == 0)
            return infer_fail(inf, "E0303", A_KERNEL, -1, "9x9 is Jarrett's",
                              "window %lldx%lld: both sides must be odd, 1 to 255",
                              (long long)a->kernel[0], (long long)a->kernel[1]);
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

/* The window's mean over all maps: [1, H, W]. */
static ValueId local_mean(Graph *g, const ContrastAttrs *a, ValueId x) {
    ResampleAttrs maps = resample_same(&graph_v(g, x)->shape);
    double count = (double)maps.maps;
    maps.maps = 1;
    maps.gather = MAPS_SUM;
    maps.scale = 1 / count;
    x = graph_op(g, OP_RESAMPLE, &maps, 1, &x);
    for (int d = 0; d < 2; d++) {
        ResampleAttrs blur = resample_same(&graph_v(g, x)->shape);
        double sigma = a->sigma > 0 ? a->sigma : 0.25 * (double)a->kernel[d];
        blur.mode = RESAMPLE_BLUR;
        blur.kernel[d] = a->kernel[d];
        *(d ? &blur.sigma_x : &blur.sigma_y) = sigma;
        if (a->kernel[d] > 1)
            x = graph_op(g, OP_RESAMPLE, &blur, 1, &x);
    }
    return x;
}

static ValueId two(Graph *g, int op, ValueId a, ValueId b) {
    ValueId in[2] = {a, b};
    return graph_op(g, op, NULL, 2, in);
}

static ValueId parts_subtractive(Graph *g, const void *attrs, const ValueId *in) {
    return two(g, OP_SUB, in[0], local_mean(g, attrs, in[0]));
}

static ValueId parts_divisive(Graph *g, const void *attrs, const ValueId *in) {
    const ContrastAttrs *a = attrs;
    CurveAttrs floor = {.lo = a->eps * a->eps, .hi = FLT_MAX};
    ValueId square = graph_op(g, OP_SQUARE, NULL, 1, in), energy = local_mean(g, a, square);
    energy = graph_op(g, OP_CLIP, &floor, 1, &energy);
    ValueId spread = graph_op(g, OP_SQRT, NULL, 1, &energy);
    const Shape *s = &graph_v(g, spread)->shape;
    PoolAttrs whole = {.kernel = {s->dim[1], s->dim[2]}, .stride = {s->dim[1], s->dim[2]}};
    ValueId usual = graph_op(g, OP_AVGPOOL, &whole, 1, &spread);
    return two(g, OP_DIV, in[0], two(g, OP_MAXIMUM, spread, usual));
}

static bool vjp_contrast(Vjp *v) {
    Rule rule = v->rule;
    if (rule == RULE_DECONVNET)
        return vjp_identity(v);
    if (rule == RULE_GUIDED) /* differs in rectifiers alone */
        v->rule = RULE_GRADIENT;
    bool good = vjp_parts(v);
    v->rule = rule;
    return good;
}

static double flops_contrast(const Graph *g, NodeId n) {
    const ContrastAttrs *a = graph_n(g, n)->attrs;
    const int64_t *d = graph_v(g, graph_n(g, n)->out[0])->shape.dim;
    return 4 * out_elems(g, n) + 2 * (double)(a->kernel[0] + a->kernel[1]) * (double)(d[1] * d[2]);
}

static bool window_contrast(const void *attrs, int64_t kernel[2], int64_t stride[2],
                            int64_t pad[4]) {
    const ContrastAttrs *a = attrs;
    for (int d = 0; d < 2; d++) {
        kernel[d] = a->kernel[d];
        stride[d] = 1;
        pad[2 * d] = pad[2 * d + 1] = (a->kernel[d] - 1) / 2;
    }
    return true;
}

#define CONTRAST(name)                                                                             \
    .attr_size = sizeof(ContrastAttrs), .attrs = name##_attrs, .nattrs = COUNT_OF(name##_attrs),   \
    .infer = infer_contrast, .vjp = vjp_contrast, .curvature = vjp_parts, .expand = expand_parts,  \
    .parts = parts_##name, .flops = flops_contrast, .window = window_contrast

const OpDef opdef_subtractive_norm = {
    .title = "subtractive local contrast normalisation",
    .formula = "dst[c,y,x] = src[c,y,x] - sum over i, p, q of w[p,q] * src[i, y+p, x+q] / maps",
    .doc = "Takes away the mean of all maps under a Gaussian window of odd size.  The window is "
           "clipped at borders; its weights always sum to 1.  Guided projections use the adjoint, "
           "deconvnet projections pass through unchanged.",
    .theory = "Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, section 2.1",
    CONTRAST(subtractive),
};

const OpDef opdef_divisive_norm = {
    .title = "divisive local contrast normalisation",
    .formula = "dst = src / max(s, mean of s, eps), s[y,x] = sqrt(sum over i, p, q of w[p,q] * "
               "src[i, y+p, x+q]^2 / maps)",
    .doc = "Divides by the deviation of all maps under a Gaussian window, but at least by its mean "
           "over the image: subtractive_norm(9) -> divisive_norm(9) is the N layer.  Guided "
           "projections use the derivative, deconvnet projections pass through unchanged.",
    .theory = "Jarrett, Kavukcuoglu, Ranzato, LeCun 2009, section 2.1",
    CONTRAST(divisive),
};
