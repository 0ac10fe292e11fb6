/* resample.c: cells moved and mixed: the one operator behind crop, pad, upsample and the like.
 *
 * dst = R src C^T for each map, R and C sparse matrices of rows and columns given by a rule, with a
 * shift of maps (zeros beyond) or the sum of all maps.  The adjoint is the same operator with
 * transposed matrices, the opposite shift, or copies of the one map.
 * Nearest: cell floor(i * in / out).  Bilinear: position (i + 1/2) * in / out - 1/2, not below 0,
 * or with align i * (in - 1) / (out - 1).  Reflect does not repeat the border's cell. theory:
 * separable linear maps; conventions of PyTorch's interpolate and pad.
 */
#include "ops/resample.h"

#include <math.h>
#include <string.h>

#include "ops/facts.h"

static const AttrDesc resample_attrs[] = {
    ATTR_HIDDEN(ResampleAttrs, size, AT_EXTENT, NULL),
    ATTR_HIDDEN(ResampleAttrs, maps, AT_INT, NULL),
    ATTR_HIDDEN(ResampleAttrs, first, AT_INT, "0"),
    ATTR_HIDDEN(ResampleAttrs, from_y, AT_INT, "0"),
    ATTR_HIDDEN(ResampleAttrs, from_x, AT_INT, "0"),
    ATTR_HIDDEN(ResampleAttrs, step, AT_EXTENT, "1"),
    ATTR_HIDDEN(ResampleAttrs, kernel, AT_EXTENT, "1"),
    ATTR_HIDDEN(ResampleAttrs, sigma_y, AT_FLOAT, "1"),
    ATTR_HIDDEN(ResampleAttrs, sigma_x, AT_FLOAT, "1"),
    ATTR_HIDDEN(ResampleAttrs, scale, AT_FLOAT, "1"),
    {"mode", AT_ENUM, offsetof(ResampleAttrs, mode), false, "copy", "copy|nearest|bilinear|blur", 1,
     0, "", true},
    {"border", AT_ENUM, offsetof(ResampleAttrs, border), false, "zero", "zero|reflect|edge", 1, 0,
     "", true},
    {"gather", AT_ENUM, offsetof(ResampleAttrs, gather), false, "shift", "shift|sum", 1, 0, "",
     true},
    ATTR_HIDDEN(ResampleAttrs, align, AT_BOOL, "no"),
    ATTR_HIDDEN(ResampleAttrs, adjoint, AT_BOOL, "no"),
    ATTR_HIDDEN(ResampleAttrs, squares, AT_BOOL, "no"),
};

ResampleAttrs resample_same(const Shape *src) {
    ResampleAttrs a = {.mode = RESAMPLE_COPY};
    shape_chw(src, &a.maps, &a.size[0], &a.size[1]);
    a.step[0] = a.step[1] = a.kernel[0] = a.kernel[1] = 1;
    a.sigma_y = a.sigma_x = a.scale = 1;
    return a;
}

/* ---- the matrices ---- */

static int copy_tap(const ResampleAttrs *a, int axis, int64_t i, int64_t in, ResampleTap *out) {
    int64_t at = i * a->step[axis] + (axis ? a->from_x : a->from_y), period = 2 * (in - 1);
    if (at < 0 || at >= in) {
        if (a->border == BORDER_ZERO)
            return 0;
        if (a->border == BORDER_EDGE || period == 0)
            at = at < 0 ? 0 : in - 1;
        else {
            at = (at % period + period) % period;
            at = at < in ? at : period - at;
        }
    }
    out[0] = (ResampleTap){at, 1};
    return 1;
}

static int bilinear_taps(const ResampleAttrs *a, int64_t i, int64_t in, int64_t out_n,
                         ResampleTap *out) {
    double at = ((double)i + 0.5) * (double)in / (double)out_n - 0.5;
    if (a->align)
        at = out_n > 1 ? (double)i * (double)(in - 1) / (double)(out_n - 1) : 0;
    at = fmin(fmax(at, 0), (double)(in - 1));
    int64_t low = (int64_t)at;
    double w = at - (double)low;
    out[0] = (ResampleTap){low, 1 - w};
    if (w == 0)
        return 1;
    out[1] = (ResampleTap){low + 1, w};
    return 2;
}

static int blur_taps(const ResampleAttrs *a, int axis, int64_t i, int64_t in, ResampleTap *out) {
    int64_t kernel = a->kernel[axis];
    double sigma = axis ? a->sigma_x : a->sigma_y, sum = 0, middle = (double)(kernel - 1) / 2;
    int n = 0;
    for (int64_t k = 0; k < kernel; k++) {
        int64_t at = i + k - (kernel - 1) / 2;
        double d = ((double)k - middle) / sigma;
        if (at < 0 || at >= in)
            continue;
        out[n++] = (ResampleTap){at, exp(-d * d / 2)};
        sum += out[n - 1].weight;
    }
    for (int k = 0; k < n; k++)
        out[k].weight /= sum;
    return n;
}

static int taps_of(const ResampleAttrs *a, int axis, int64_t i, int64_t in, int64_t out_n,
                   ResampleTap *out) {
    switch (a->mode) {
    case RESAMPLE_NEAREST:
        out[0] = (ResampleTap){i * in / out_n, 1};
        return 1;
    case RESAMPLE_BILINEAR:
        return bilinear_taps(a, i, in, out_n, out);
    case RESAMPLE_BLUR:
        return blur_taps(a, axis, i, in, out);
    default:
        return copy_tap(a, axis, i, in, out);
    }
}

static ResampleAxis transposed(Arena *keep, const ResampleAxis *m, int64_t n) {
    int64_t count = m->start[m->n];
    ResampleAxis t = {n, ARENA_ARRAY(keep, n + 1, int64_t),
                      ARENA_ARRAY(keep, count + 1, ResampleTap)};
    int64_t *next = ARENA_ARRAY(keep, n + 1, int64_t);
    for (int64_t k = 0; k < count; k++)
        t.start[m->at[k].index + 1]++;
    for (int64_t i = 0; i < n; i++)
        next[i + 1] = t.start[i + 1] += t.start[i];
    for (int64_t i = 0; i < m->n; i++)
        for (int64_t k = m->start[i]; k < m->start[i + 1]; k++)
            t.at[next[m->at[k].index]++] = (ResampleTap){i, m->at[k].weight};
    return t;
}

ResampleAxis resample_axis(Arena *keep, const ResampleAttrs *a, int axis, int64_t in, int64_t out) {
    int64_t from = a->adjoint ? out : in, to = a->adjoint ? in : out;
    int64_t most = a->mode == RESAMPLE_BLUR ? a->kernel[axis] : 2;
    ResampleAxis m = {to, ARENA_ARRAY(keep, to + 1, int64_t),
                      ARENA_ARRAY(keep, to * most + 1, ResampleTap)};
    for (int64_t i = 0; i < to; i++)
        m.start[i + 1] = m.start[i] + taps_of(a, axis, i, from, to, m.at + m.start[i]);
    for (int64_t k = 0; k < m.start[to] && a->squares; k++)
        m.at[k].weight *= m.at[k].weight;
    return a->adjoint ? transposed(keep, &m, out) : m;
}

/* ---- the operator ---- */

static bool infer_resample(Infer *inf) {
    const ResampleAttrs *a = inf->attrs;
    if (inf->nin < 1 || inf->in[0].rank != 1)
        if (!infer_rank(inf, 0, 3))
            return false;
    for (int d = 0; d < 2; d++)
        if (a->kernel[d] < 1 || a->kernel[d] > LIMIT_DIM || a->step[d] < 1)
            return infer_fail(inf, "E0303", -1, -1, NULL, "kernel or step out of range");
    if (!(a->sigma_y > 0) || !(a->sigma_x > 0))
        return infer_fail(inf, "E0303", -1, -1, NULL, "a window needs a width above 0");
    Shape s = shape_of3(a->maps, a->size[0], a->size[1]);
    if (inf->in[0].rank == 1 && (a->size[0] != 1 || a->size[1] != 1))
        return infer_fail(inf, "E0304", -1, 0, NULL, "a vector has no rows");
    s.rank = inf->in[0].rank;
    return infer_out(inf, 0, s, DT_F32);
}

static bool vjp_resample(Vjp *v) {
    const Node *node = vjp_node(v);
    ResampleAttrs a = *(const ResampleAttrs *)node->attrs;
    const Shape *src = &graph_v(v->g, node->in[0])->shape;
    shape_chw(src, &a.maps, &a.size[0], &a.size[1]);
    a.first = -a.first;
    a.adjoint = !a.adjoint;
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_RESAMPLE, &a, v->dy[0]);
    return true;
}

/* A product of rows' and columns' taps is squared where both are. */
static bool curvature_resample(Vjp *v) {
    Node *node = graph_n(v->g, v->node);
    ResampleAttrs once = *(const ResampleAttrs *)node->attrs, a = once;
    a.squares = true;
    a.scale *= a.scale;
    memcpy(node->attrs, &a, sizeof a);
    bool good = vjp_resample(v);
    memcpy(graph_n(v->g, v->node)->attrs, &once, sizeof once);
    return good;
}

const OpDef opdef_resample = {
    .title = "cells moved and mixed along rows and columns",
    .formula = "dst[c,y,x] = scale * sum over v, u of R[y,v] * C[x,u] * src[c + first, v, u]",
    .doc = "What crop, pad, upsample, means over maps and their gradients become.",
    .theory = "separable linear maps",
    .attr_size = sizeof(ResampleAttrs),
    .attrs = resample_attrs,
    .nattrs = COUNT_OF(resample_attrs),
    .infer = infer_resample,
    .vjp = vjp_resample,
    .curvature = curvature_resample,
    .flops = flops_out2,
    .lower = lower_resample,
    .choose = choose_rows,
};
