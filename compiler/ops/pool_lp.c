/* pool_lp.c: pooling by a p-norm: p = 1 adds magnitudes, p = 2 is the root of the energy, and large
 * p approach the maximum (facts; made of an average pool and powers).
 *
 * Padding counts as 0.  Sums below 1e-30 are 1e-30 and have the gradient 0, so a window of zeros
 * does not make the gradient NaN. theory: Sermanet, Chintala, LeCun, "Convolutional neural networks
 * applied to house numbers digit classification", 2012, section 2.2.
 */
#include <float.h>
#include <string.h>

#include "ops/facts.h"

#define SMALLEST 1e-30 /* of a sum */
enum { A_KERNEL, A_P, A_STRIDE, A_PAD, A_ROUND };

static const AttrDesc lp_attrs[] = {
    ATTR_EXTENT(LpPoolAttrs, kernel, true, NULL, 1, "window, height x width"),
    ATTR_FLOAT(LpPoolAttrs, p, true, "2", 1, 64, "exponent"),
    ATTR_EXTENT(LpPoolAttrs, stride, false, "kernel", 1, "step of the window"),
    ATTR_PADS(LpPoolAttrs, pad, "cells around the input that count as zero"),
    ATTR_ENUM(LpPoolAttrs, round, "floor", "floor|ceil|exact",
              "what becomes of a remainder: drop it, add a clipped window, or refuse"),
};

static bool infer_lp(Infer *inf) {
    static const RoundMode mode[] = {ROUND_FLOOR, ROUND_CEIL, ROUND_EXACT};
    const LpPoolAttrs *a = inf->attrs;
    int64_t out[2];
    WindowCheck w = {.kernel = a->kernel,
                     .stride = a->stride,
                     .pad = a->pad,
                     .round = mode[a->round],
                     .pool = true,
                     .at_kernel = A_KERNEL,
                     .at_stride = A_STRIDE,
                     .at_pad = A_PAD,
                     .at_dilation = -1,
                     .at_round = A_ROUND};
    if (!infer_rank(inf, 0, 3) || !infer_window(inf, &w, &inf->in[0].dim[1], out))
        return false;
    if (!(a->p >= 1 && a->p <= 64))
        return infer_fail(inf, "E0303", A_P, -1, "maxpool is the limit", "p %g: must be 1 to 64",
                          a->p);
    return infer_out(inf, 0, shape_of3(inf->in[0].dim[0], out[0], out[1]), DT_F32);
}

static ValueId curve(Graph *g, int op, CurveAttrs a, ValueId x) {
    return graph_op(g, op, &a, 1, &x);
}

static ValueId parts_lp(Graph *g, const void *attrs, const ValueId *in) {
    const LpPoolAttrs *a = attrs;
    PoolAttrs pool;
    memset(&pool, 0, sizeof pool);
    memcpy(pool.kernel, a->kernel, sizeof pool.kernel);
    memcpy(pool.stride, a->stride, sizeof pool.stride);
    memcpy(pool.pad, a->pad, sizeof pool.pad);
    pool.round = a->round;
    pool.count_pad = true;
    ValueId x = in[0];
    if (a->p == 2) {
        x = graph_op(g, OP_SQUARE, NULL, 1, &x);
    } else {
        x = graph_op(g, OP_ABS, NULL, 1, &x);
        if (a->p != 1)
            x = curve(g, OP_POW, (CurveAttrs){.p = a->p}, x);
    }
    x = graph_op(g, OP_AVGPOOL, &pool, 1, &x);
    x = curve(g, OP_SCALE, (CurveAttrs){.by = (double)(a->kernel[0] * a->kernel[1])}, x);
    if (a->p == 1)
        return x;
    x = curve(g, OP_CLIP, (CurveAttrs){.lo = SMALLEST, .hi = FLT_MAX}, x);
    return a->p == 2 ? graph_op(g, OP_SQRT, NULL, 1, &x)
                     : curve(g, OP_POW, (CurveAttrs){.p = 1 / a->p}, x);
}

static double flops_lp(const Graph *g, NodeId n) {
    const LpPoolAttrs *a = graph_n(g, n)->attrs;
    return 3 * out_elems(g, n) * (double)(a->kernel[0] * a->kernel[1]);
}

static bool window_lp(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    const LpPoolAttrs *a = attrs;
    memcpy(kernel, a->kernel, sizeof a->kernel);
    memcpy(stride, a->stride, sizeof a->stride);
    memcpy(pad, a->pad, sizeof a->pad);
    return true;
}

const OpDef opdef_lp_pool = {
    .title = "pooling by a p-norm",
    .formula =
        "dst[c,y,x] = (sum over ky, kx of |src[c, y*stride + ky - pad, x*stride + kx - pad]|^p)"
        "^(1/p)",
    .doc =
        "lp_pool(2x2) is the root of the sum of squares; p = 1 adds magnitudes, large p come near "
        "maxpool.  A sum, not a mean.  The deconvnet and guided rules do not exist for it.",
    .theory = "Sermanet, Chintala, LeCun 2012, section 2.2",
    .attr_size = sizeof(LpPoolAttrs),
    .attrs = lp_attrs,
    .nattrs = COUNT_OF(lp_attrs),
    .infer = infer_lp,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_lp,
    .flops = flops_lp,
    .window = window_lp,
};
