/* pool.c: max and average pooling and their adjoints (facts; code in pool_lower.c).
 *
 * A switch is one byte per output: ky * kernel width + kx of the first maximum in scan order inside
 * the unclipped window.  Padding never wins a maximum.  Rounded-up windows must start inside the
 * image or its leading padding (Caffe's clip), so every window sees a real cell.
 * theory: Jarrett et al. 2009; Krizhevsky et al. 2012, section 3.4 (overlapping pooling); Zeiler,
 * Fergus 2014, section 2.1 (switches; windows that share one add up).
 */
#include <string.h>

#include "ops/curvature.h"
#include "ops/facts.h"

enum { A_KERNEL, A_STRIDE, A_PAD, A_ROUND };
enum { SWITCH_MAX = 256 };

#define POOL_ATTRS                                                                                 \
    ATTR_EXTENT(PoolAttrs, kernel, true, NULL, 1, "window, height x width"),                       \
    ATTR_EXTENT(PoolAttrs, stride, false, "kernel", 1, "step of the window"),                      \
    ATTR_PADS(PoolAttrs, pad, "cells around the input that never win and count as zero"),          \
    ATTR_ENUM(PoolAttrs, round, "floor", "floor|ceil|exact",                                       \
              "what becomes of a remainder: drop it, add a clipped window, or refuse")

static const AttrDesc max_attrs[] = {POOL_ATTRS};
static const AttrDesc max_grad_attrs[] = {
    POOL_ATTRS,
    ATTR_HIDDEN(PoolAttrs, src_size, AT_EXTENT, "0"),
};
#define AVERAGE_ATTRS                                                                              \
    POOL_ATTRS, ATTR_BOOL(PoolAttrs, count_pad, "no",                                              \
                          "divide by the whole window, cells outside the image included")
static const AttrDesc avg_attrs[] = {AVERAGE_ATTRS};
static const AttrDesc avg_grad_attrs[] = {
    AVERAGE_ATTRS,
    ATTR_HIDDEN(PoolAttrs, src_size, AT_EXTENT, "0"),
};

static bool pool_extents(Infer *inf, const PoolAttrs *a, const int64_t in[2], int64_t out[2]) {
    static const RoundMode mode[] = {ROUND_FLOOR, ROUND_CEIL, ROUND_EXACT};
    WindowCheck w = {.kernel = a->kernel, .stride = a->stride, .pad = a->pad,
                     .round = mode[a->round], .pool = true, .at_kernel = A_KERNEL,
                     .at_stride = A_STRIDE, .at_pad = A_PAD, .at_dilation = -1,
                     .at_round = A_ROUND};
    return infer_window(inf, &w, in, out);
}

static bool infer_pool(Infer *inf) {
    int64_t out[2];
    if (!infer_rank(inf, 0, 3) || !pool_extents(inf, inf->attrs, &inf->in[0].dim[1], out))
        return false;
    return infer_out(inf, 0, shape_of3(inf->in[0].dim[0], out[0], out[1]), DT_F32);
}

static bool infer_maxpool(Infer *inf) {
    const PoolAttrs *a = inf->attrs;
    if (!infer_pool(inf))
        return false;
    if (a->kernel[0] * a->kernel[1] > SWITCH_MAX)
        return infer_fail(inf, "E0303", A_KERNEL, -1,
                          "two pools behind each other see the same window",
                          "a max pool's window may have at most %d cells, %lldx%lld has %lld",
                          SWITCH_MAX, (long long)a->kernel[0], (long long)a->kernel[1],
                          (long long)(a->kernel[0] * a->kernel[1]));
    return infer_out(inf, 1, inf->out[0], DT_U8);
}

/* Adjoint: diff_dst has the shape that the pool makes of [C, src_size]. */
static bool infer_pool_bwd(Infer *inf) {
    const PoolAttrs *a = inf->attrs;
    int64_t out[2];
    if (!infer_rank(inf, 0, 3))
        return false;
    if (a->src_size[0] < 1 || a->src_size[1] < 1)
        return infer_fail(inf, "E0303", -1, -1, NULL, "a pool's gradient needs src_size");
    if (!pool_extents(inf, a, a->src_size, out))
        return false;
    inf->warn.text[0] = 0; /* the forward node has said it */
    int64_t c = inf->in[0].dim[0];
    if (!infer_param(inf, 0, "diff_dst", shape_of3(c, out[0], out[1]), NULL) ||
        !infer_param(inf, 1, "the switches", inf->in[0], NULL))
        return false;
    return infer_out(inf, 0, shape_of3(c, a->src_size[0], a->src_size[1]), DT_F32);
}

static PoolAttrs with_src(const Vjp *v) {
    const Node *node = vjp_node(v);
    PoolAttrs a = *(const PoolAttrs *)node->attrs;
    const Shape *s = &graph_v(v->g, node->in[0])->shape;
    a.src_size[0] = s->dim[1];
    a.src_size[1] = s->dim[2];
    return a;
}

static bool vjp_maxpool(Vjp *v) {
    PoolAttrs a = with_src(v);
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_MAXPOOL_BWD, &a, v->dy[0], vjp_node(v)->out[1]);
    return true;
}

static bool vjp_avgpool(Vjp *v) {
    PoolAttrs a = with_src(v);
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_AVGPOOL_BWD, &a, v->dy[0]);
    return true;
}

/* Each cell counts 1 / cells in its window, squared.  Where windows differ, a pool of ones tells
 * how many cells each has. */
static bool curvature_avgpool(Vjp *v) {
    ValueId src = vjp_node(v)->in[0], each;
    PoolAttrs all = *(const PoolAttrs *)vjp_node(v)->attrs;
    double cells = (double)(all.kernel[0] * all.kernel[1]);
    CurveAttrs share = {.by = 1 / cells}, one = {.by = 0, .shift = 1}, count = {.by = cells};
    if (!v->need[0])
        return true;
    if (all.count_pad || whole_windows(v->g, v->node)) {
        each = vjp_op1(v, OP_SCALE, &share, v->dy[0]);
    } else {
        all.count_pad = true;
        ValueId ones = vjp_op1(v, OP_AVGPOOL, &all, vjp_op1(v, OP_SCALE, &one, src));
        each = vjp_op2(v, OP_DIV, NULL, v->dy[0], vjp_op1(v, OP_SCALE, &count, ones));
    }
    PoolAttrs a = with_src(v);
    v->dx[0] = vjp_op1(v, OP_AVGPOOL_BWD, &a, each);
    return true;
}

/* One operation per cell of every window, on the side of dst. */
static double flops_pool(const Graph *g, NodeId n) {
    const PoolAttrs *a = graph_n(g, n)->attrs;
    return out_elems(g, n) * (double)(a->kernel[0] * a->kernel[1]);
}

static double flops_pool_bwd(const Graph *g, NodeId n) {
    const Node *node = graph_n(g, n);
    const PoolAttrs *a = node->attrs;
    return value_elems(g, node->in[0]) * (double)(a->kernel[0] * a->kernel[1]);
}

static bool window_pool(const void *attrs, int64_t kernel[2], int64_t stride[2], int64_t pad[4]) {
    const PoolAttrs *a = attrs;
    memcpy(kernel, a->kernel, sizeof a->kernel);
    memcpy(stride, a->stride, sizeof a->stride);
    memcpy(pad, a->pad, sizeof a->pad);
    return true;
}

const OpDef opdef_maxpool = {
    .title = "max pooling",
    .formula = "dst[c,y,x] = max over ky, kx of src[c, y*stride + ky - pad, x*stride + kx - pad]",
    .doc = "Keeps the largest number of every window and, where a gradient or a projection needs "
           "it, its place (the switch; ties: the first in scan order).  The stride defaults to the "
           "kernel.  round = floor drops a remainder and warns when real cells are lost; ceil adds "
           "a last, clipped window.",
    .theory = "Krizhevsky, Sutskever, Hinton 2012, section 3.4; Zeiler, Fergus 2014, section 2.1",
    .attr_size = sizeof(PoolAttrs),
    .attrs = max_attrs,
    .nattrs = COUNT_OF(max_attrs),
    .part = PART_MAX,
    .infer = infer_maxpool,
    .vjp = vjp_maxpool,
    .curvature = vjp_maxpool,
    .flops = flops_pool,
    .window = window_pool,
    .lower = lower_maxpool,
    .lanes = lanes_maxpool,
    .choose = choose_rows,
};

const OpDef opdef_maxpool_bwd = {
    .title = "unpooling with switches, the adjoint of max pooling",
    .formula = "diff_src[c,u,v] = sum of diff_dst[c,y,x] over the windows whose switch is (u,v)",
    .doc = "Puts every number back at the place its maximum came from; windows that share a place "
           "add, in scan order; all other cells are zero.",
    .theory = "Zeiler, Fergus 2014, section 2.1, unpooling",
    .attr_size = sizeof(PoolAttrs),
    .attrs = max_grad_attrs,
    .nattrs = COUNT_OF(max_grad_attrs),
    .infer = infer_pool_bwd,
    .flops = flops_pool_bwd,
    .lower = lower_maxpool_bwd,
    .lanes = lanes_maxpool_bwd,
    .choose = choose_rows,
};

const OpDef opdef_avgpool = {
    .title = "average pooling",
    .formula = "dst[c,y,x] = sum of the window's real cells / their number",
    .doc = "The mean of every window.  Cells outside the image are not counted unless count_pad = "
           "yes, which always divides by kernel height * width.",
    .theory = "LeCun et al. 1989 (averaging); Lin, Chen, Yan 2014, section 3.2 (global average)",
    .attr_size = sizeof(PoolAttrs),
    .attrs = avg_attrs,
    .nattrs = COUNT_OF(avg_attrs),
    .part = PART_SUM,
    .infer = infer_pool,
    .vjp = vjp_avgpool,
    .curvature = curvature_avgpool,
    .flops = flops_pool,
    .window = window_pool,
    .lower = lower_avgpool,
    .lanes = lanes_avgpool,
    .choose = choose_rows,
};

const OpDef opdef_avgpool_bwd = {
    .title = "adjoint of average pooling",
    .formula = "diff_src[c,u,v] = sum of diff_dst[c,y,x] / count[y,x] over the windows that cover "
               "(u,v)",
    .doc = "Spreads every number evenly over its window.",
    .theory = "the transpose of a linear map",
    .attr_size = sizeof(PoolAttrs),
    .attrs = avg_grad_attrs,
    .nattrs = COUNT_OF(avg_grad_attrs),
    .infer = infer_pool_bwd,
    .flops = flops_pool_bwd,
    .lower = lower_avgpool_bwd,
    .lanes = lanes_avgpool_bwd,
    .choose = choose_rows,
};
