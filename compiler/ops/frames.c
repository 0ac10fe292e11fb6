/* frames.c: what clips have beside images: windows over their frames (facts; code in
 * frames_lower.c).
 *
 * All other operators see a clip as a batch of images.  `frames` in its three modes is what the
 * front end makes three-dimensional layers of: a convolution over kd frames is one over kd times as
 * many maps, in the order map * kd + frame, so that its weights [O, C, kd, kh, kw] are those of the
 * two-dimensional one, number for number; a mean or maximum over a box is one over the window, then
 * one over the frames.  Maxima: ties go to the earliest frame.
 * theory: Ji, Xu, Yang, Yu 2013, "3D convolutional neural networks for human action recognition",
 * equation (2); Tran et al. 2015, section 3.
 */
#include "ops/facts.h"

enum { A_FROM, A_COUNT, A_STEP };

#define HIDDEN_ATTRS                                                                               \
    ATTR_HIDDEN(FramesAttrs, taps, AT_INT, "1"), ATTR_HIDDEN(FramesAttrs, apart, AT_INT, "1"),     \
        ATTR_HIDDEN(FramesAttrs, src, AT_INT, "0"),                                                \
        {"mode", AT_ENUM, offsetof(FramesAttrs, mode), false, "maps", "maps|sum|mean", 1, 0,       \
         "",     true},                                                                            \
        ATTR_HIDDEN(FramesAttrs, whole, AT_BOOL, "no"),                                            \
        ATTR_HIDDEN(FramesAttrs, border, AT_BOOL, "no"),                                           \
        ATTR_HIDDEN(FramesAttrs, adjoint, AT_BOOL, "no")

static const AttrDesc frames_attrs[] = {
    ATTR_INT(FramesAttrs, from, true, NULL, 0, IMAGE_SIDE_MAX, "the first frame to take"),
    ATTR_INT(FramesAttrs, count, true, NULL, 1, IMAGE_SIDE_MAX, "how many"),
    ATTR_INT(FramesAttrs, step, false, "1", 1, IMAGE_SIDE_MAX, "every step-th"),
    HIDDEN_ATTRS,
};

static const AttrDesc max_attrs[] = {
    ATTR_HIDDEN(FramesAttrs, from, AT_INT, "0"),
    ATTR_HIDDEN(FramesAttrs, count, AT_INT, "1"),
    ATTR_HIDDEN(FramesAttrs, step, AT_INT, "1"),
    HIDDEN_ATTRS,
};

static bool in_range(int64_t x, int64_t lo) {
    return x >= lo && x <= IMAGE_SIDE_MAX;
}

/* Attributes, and that every frame wanted exists unless the window may reach beyond. */
static bool check(Infer *inf, int64_t frames) {
    const FramesAttrs *a = inf->attrs;
    if (!in_range(a->from, -IMAGE_SIDE_MAX) || !in_range(a->count, 1) || !in_range(a->step, 1) ||
        !in_range(a->taps, 1) || !in_range(a->apart, 1) || !in_range(a->src, 0))
        return infer_fail(inf, "E0303", A_FROM, -1, NULL, "frames: a number is out of range");
    int64_t last = a->from + (a->count - 1) * a->step + (a->taps - 1) * a->apart;
    if (a->border || (a->from >= 0 && last < frames))
        return true;
    return infer_fail(inf, "E0303", A_COUNT, -1, NULL,
                      "frames %lld to %lld do not exist: the clip has 0 to %lld",
                      (long long)a->from, (long long)last, (long long)frames - 1);
}

static bool infer_frames(Infer *inf) {
    const FramesAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    Shape s = inf->in[0];
    if (!a->adjoint) {
        if (a->src && a->src != shape_frames(&s))
            return infer_fail(inf, "E0304", -1, 0, NULL, "needs a clip of %lld frames",
                              (long long)a->src);
        if (!check(inf, shape_frames(&s)))
            return false;
        if (a->mode == FRAMES_MAPS)
            s.dim[0] *= a->taps;
        return infer_out(inf, 0, shape_clip(s, a->count), DT_F32);
    }
    if (!check(inf, a->src))
        return false;
    if (shape_frames(&s) != a->count || (a->mode == FRAMES_MAPS && s.dim[0] % a->taps))
        return infer_fail(inf, "E0304", -1, 0, NULL, "this is no result of these frames");
    if (a->mode == FRAMES_MAPS)
        s.dim[0] /= a->taps;
    return infer_out(inf, 0, shape_clip(s, a->src), DT_F32);
}

static bool infer_max(Infer *inf) {
    const FramesAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    Shape s = inf->in[0];
    if (a->src != shape_frames(&s) || a->taps > 256)
        return infer_fail(inf, "E0304", -1, 0, NULL, "needs a clip of %lld frames, windows of 256",
                          (long long)a->src);
    return check(inf, a->src) && infer_out(inf, 0, shape_clip(s, a->count), DT_F32) &&
           infer_out(inf, 1, shape_clip(s, a->count), DT_U8);
}

static bool infer_max_bwd(Infer *inf) { /* diff_dst switches */
    const FramesAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3) || !infer_same(inf, 1, "diff_dst and switches"))
        return false;
    Shape s = inf->in[0];
    if (shape_frames(&s) != a->count || a->taps > 256)
        return infer_fail(inf, "E0304", -1, 0, NULL, "this is no result of these frames");
    return check(inf, a->src) && infer_out(inf, 0, shape_clip(s, a->src), DT_F32);
}

static bool vjp_frames(Vjp *v) {
    const Node *node = vjp_node(v);
    FramesAttrs a = *(const FramesAttrs *)node->attrs;
    if (!a.adjoint)
        a.src = shape_frames(&graph_v(v->g, node->in[0])->shape);
    a.adjoint = !a.adjoint;
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_FRAMES, &a, v->dy[0]);
    return true;
}

static bool vjp_max(Vjp *v) {
    const Node *node = vjp_node(v);
    FramesAttrs a = *(const FramesAttrs *)node->attrs;
    if (v->need[0])
        v->dx[0] = vjp_op2(v, OP_FRAMES_MAX_BWD, &a, v->dy[0], node->out[1]);
    return true;
}

static double flops_frames(const Graph *g, NodeId n) {
    const FramesAttrs *a = graph_n(g, n)->attrs;
    return a->mode == FRAMES_MAPS ? 0 : out_elems(g, n) * (double)a->taps;
}

const OpDef opdef_frames = {
    .title = "some frames of a clip",
    .formula = "dst[c,f,y,x] = src[c, from + f * step, y, x], f = 0 .. count - 1",
    .doc =
        "frames(0, 4) takes the first four frames, frames(9, 1) the tenth as an image, frames(0, "
        "5, step = 2) every second one.  All projections use the adjoint.",
    .theory = "a selection matrix",
    .attr_size = sizeof(FramesAttrs),
    .attrs = frames_attrs,
    .nattrs = COUNT_OF(frames_attrs),
    .infer = infer_frames,
    .vjp = vjp_frames,
    .flops = flops_frames,
    .lower = lower_frames,
    .choose = choose_frames,
};

const OpDef opdef_frames_max = {
    .title = "maximum over windows of frames",
    .formula = "dst[c,f,y,x] = max over k of src[c, f * step + from + k * apart, y, x]",
    .doc =
        "The part of a three-dimensional maxpool that runs along time.  Frames outside never win; "
        "ties: the earliest.",
    .theory = "Tran, Bourdev, Fergus, Torresani, Paluri 2015, section 3.1",
    .attr_size = sizeof(FramesAttrs),
    .attrs = max_attrs,
    .nattrs = COUNT_OF(max_attrs),
    .infer = infer_max,
    .vjp = vjp_max,
    .flops = flops_frames,
    .lower = lower_frames_max,
    .choose = choose_frames,
};

const OpDef opdef_frames_max_bwd = {
    .title = "gradient of the maximum over windows of frames",
    .formula = "diff_src[c,t,y,x] = sum of diff_dst[c,f,y,x] over the windows f that t won",
    .doc = "Every number goes to the frame that its switch names.",
    .theory = "Zeiler, Fergus 2014, section 2.1 (switches)",
    .attr_size = sizeof(FramesAttrs),
    .attrs = max_attrs,
    .nattrs = COUNT_OF(max_attrs),
    .infer = infer_max_bwd,
    .flops = flops_frames,
    .lower = lower_frames_max_bwd,
    .choose = choose_frames,
};
