/* build_clip.c: layers of clips: windows that reach over frames as well as rows and columns.
 *
 * A kernel DxHxW over a clip is a window over D frames (ops/frames.c) and a layer of images: conv
 * reads the window's frames as maps, in the order map * D + frame; a pool of images is followed by
 * one over frames.  HxW works on each frame alone; one number means all three extents.  Numbers
 * that say nothing about frames are 1 (pad: 0), the stride of pools is their kernel.
 *
 * requires: arguments that sema_attrs.c has checked.  ensures: a window that fits, or diagnostics;
 * frames that no window reads are reported like rows and columns.
 */
#include "front/sema.h"

static bool is_pool(int op) {
    return op == OP_MAXPOOL || op == OP_AVGPOOL;
}

bool clip_takes_depth(int op) {
    return op == OP_CONV2D || is_pool(op);
}

bool clip_boxed(const Bound *bound, int64_t frames) {
    int given = bound->depth[DEPTH_KERNEL].given;
    return given == 3 || (given == 1 && frames > 1);
}

/* A number of the window; otherwise what it is when nothing was said about frames. */
static int64_t number(const Bound *bound, int which, bool boxed, int64_t otherwise, int side) {
    const Depth *d = &bound->depth[which];
    bool own = d->given == 3 || d->given == 6 || (d->given == 1 && boxed);
    return own ? d->at[side] : otherwise;
}

static int round_of(const Bound *bound) {
    static const RoundMode conv[] = {ROUND_FLOOR, ROUND_EXACT},
                           pool[] = {ROUND_FLOOR, ROUND_CEIL, ROUND_EXACT};
    if (is_pool(bound->op))
        return (int)pool[((const PoolAttrs *)bound->attrs)->round];
    return (int)conv[((const ConvAttrs *)bound->attrs)->round];
}

static bool misfit(Build *b, const Ast *at, const char *title, const Tensor *src, const char *code,
                   const char *text) {
    Diag *d = diag_error(b->diag, at->loc, code, "%s: %s", title, text);
    note_derivation(b, d, src, "input");
    return false;
}

static bool window_fits(Build *b, const Ast *at, const Bound *bound, const char *title,
                        const Tensor *src, const int64_t pad[2], FramesAttrs *a) {
    int64_t frames = shape_frames(&src->shape), lost = 0, span = (a->taps - 1) * a->apart + 1;
    bool pool = is_pool(bound->op);
    int mode = round_of(bound);
    if (pool && (pad[0] >= a->taps || pad[1] >= a->taps))
        return misfit(b, at, title, src, "E0307",
                      arena_printf(b->arena, "padding of %lld frames beside a window of %lld",
                                   (long long)(pad[0] > pad[1] ? pad[0] : pad[1]),
                                   (long long)a->taps));
    if (span > frames + pad[0] + pad[1])
        return misfit(b, at, title, src, "E0301",
                      arena_printf(b->arena, "a kernel of %lld frames exceeds the %lld of the %s",
                                   (long long)span, (long long)(frames + pad[0] + pad[1]),
                                   pad[0] + pad[1] ? "padded input" : "input"));
    if (!window_extent(frames, a->taps, a->step, pad[0], pad[1], a->apart, (RoundMode)mode, pool,
                       &a->count, &lost))
        return misfit(b, at, title, src, "E0306",
                      arena_printf(b->arena,
                                   "windows of %lld frames, stride %lld, do not fit the "
                                   "%lld exactly",
                                   (long long)span, (long long)a->step, (long long)frames));
    if (lost == 0 || bound->rounded)
        return true;
    const char *text = arena_printf(b->arena, "%s discards %lld frame%s of the input", title,
                                    (long long)lost, lost == 1 ? "" : "s");
    Diag *d = b->opt->strict_shapes ? diag_error(b->diag, at->loc, "E0207", "%s", text)
                                    : diag_warning(b->diag, at->loc, "W0207", "%s", text);
    note_derivation(b, d, src, "input");
    diag_help(d, "write round = floor to silence this");
    return true;
}

/* Beside a kernel HxW over images a number for frames is a mistake. */
static bool no_frames(Build *b, const Ast *at, const Bound *bound, const char *title,
                      const Tensor *src) {
    static const char *const name[DEPTHS] = {"kernel", "stride", "pad", "dilation"};
    for (int i = 0; i < DEPTHS; i++) {
        int given = bound->depth[i].given;
        if (given != 3 && given != 6)
            continue;
        Diag *d = diag_error(b->diag, at->loc, "E0111", "%s: %s with %d numbers, but no frames",
                             title, name[i], given);
        note_derivation(b, d, src, "input");
        return false;
    }
    return true;
}

bool clip_window(Build *b, const Ast *at, const Bound *bound, const char *title, const Tensor *src,
                 FramesAttrs *out) {
    int64_t frames = shape_frames(&src->shape), pad[2];
    bool boxed = clip_boxed(bound, frames);
    if (frames == 1 && !boxed && !no_frames(b, at, bound, title, src))
        return false;
    FramesAttrs a = {.src = frames};
    a.taps = number(bound, DEPTH_KERNEL, boxed, 1, 0);
    a.step = number(bound, DEPTH_STRIDE, boxed, boxed && is_pool(bound->op) ? a.taps : 1, 0);
    a.apart = number(bound, DEPTH_DILATION, boxed, 1, 0);
    pad[0] = number(bound, DEPTH_PAD, boxed, 0, 0);
    pad[1] = number(bound, DEPTH_PAD, boxed, 0, 1);
    a.from = -pad[0];
    if (!window_fits(b, at, bound, title, src, pad, &a))
        return false;
    int64_t last = (a.count - 1) * a.step + a.from + (a.taps - 1) * a.apart;
    a.border = a.from < 0 || last >= frames;
    *out = a;
    return true;
}

bool clip_trivial(const FramesAttrs *a) {
    return a->taps == 1 && a->step == 1 && a->from == 0 && a->count == a->src;
}

/* "conv 3x3x3/1x2x2" of a row of its own. */
void clip_detail(Build *b, int row, const Bound *bound, const FramesAttrs *a) {
    int64_t k[2], s[2], p[4];
    if (row == 0 || !op_def[bound->op]->window(bound->attrs, k, s, p))
        return;
    const char *stride = "";
    if (a->step != 1 || s[0] != 1 || s[1] != 1)
        stride = a->step == s[0] && s[0] == s[1]
                     ? arena_printf(b->arena, "/%lld", (long long)s[0])
                     : arena_printf(b->arena, "/%lldx%lldx%lld", (long long)a->step,
                                    (long long)s[0], (long long)s[1]);
    b->rows.data[row - 1].detail = arena_printf(b->arena, "%s %lldx%lldx%lld%s", op_name[bound->op],
                                                (long long)((a->taps - 1) * a->apart + 1),
                                                (long long)k[0], (long long)k[1], stride);
}

/* ---- nodes ---- */

static ValueId node(Build *b, int op, const void *attrs, int nin, const ValueId *in,
                    const Naming *naming, LocRange loc) {
    ValueId v = graph_op(b->g, op, attrs, nin, in);
    Node *n = graph_n(b->g, graph_v(b->g, v)->def);
    n->label = naming->row;
    n->loc = loc;
    return v;
}

Tensor *clip_frames(Build *b, const Ast *at, Tensor *src, int op, const FramesAttrs *a,
                    const Naming *naming) {
    Tensor *t = ARENA_NEW(b->arena, Tensor);
    *t = *src;
    t->v = node(b, op, a, 1, &src->v, naming, at->loc);
    t->shape = graph_v(b->g, t->v)->shape;
    t->kind = TENSOR_LAYER;
    t->name = t->text = arena_printf(b->arena, "%lld frames", (long long)a->taps);
    t->from = src;
    t->in = ARENA_ARRAY(b->arena, 1, Tensor *);
    t->in[0] = src;
    t->nin = 1;
    vec_push(b->arena, &b->tensors, t);
    return t;
}

Tensor *clip_whole(Build *b, const Ast *at, Tensor *src, const Naming *naming) {
    int64_t frames = shape_frames(&src->shape);
    FramesAttrs a = {.count = 1, .step = 1, .taps = frames, .apart = 1, .src = frames};
    return frames > 1 ? clip_frames(b, at, src, OP_FRAMES, &a, naming) : src;
}

Tensor *clip_repeat(Build *b, const Ast *at, Tensor *src, int64_t frames, const Naming *naming) {
    FramesAttrs a = {.count = 1,
                     .step = 1,
                     .taps = frames,
                     .apart = 1,
                     .src = frames,
                     .mode = FRAMES_SUM,
                     .adjoint = true};
    return clip_frames(b, at, src, OP_FRAMES, &a, naming);
}

ValueId clip_concat(Build *b, const Ast *at, Tensor *const *in, int nin, const Naming *naming) {
    int64_t total = 0, from = 0;
    ValueId sum = 0;
    for (int i = 0; i < nin; i++)
        total += shape_frames(&in[i]->shape);
    for (int i = 0; i < nin; i++) {
        int64_t frames = shape_frames(&in[i]->shape);
        FramesAttrs a = {.from = from,
                         .count = frames,
                         .step = 1,
                         .taps = 1,
                         .apart = 1,
                         .src = total,
                         .adjoint = true};
        ValueId placed = node(b, OP_FRAMES, &a, 1, &in[i]->v, naming, at->loc);
        sum = sum ? node(b, OP_ADD, NULL, 2, (ValueId[]){sum, placed}, naming, at->loc) : placed;
        from += frames;
    }
    return sum;
}

/* ---- all frames as one ---- */

/* max over more frames than a byte can number: pools of pools */
static Tensor *largest(Build *b, const Ast *at, Tensor *t, const Naming *naming) {
    enum { MOST = 256 };
    while (shape_frames(&t->shape) > 1) {
        int64_t frames = shape_frames(&t->shape), taps = frames < MOST ? frames : MOST;
        FramesAttrs a = {.count = (frames + taps - 1) / taps,
                         .step = taps,
                         .taps = taps,
                         .apart = 1,
                         .src = frames};
        a.border = a.count * taps > frames;
        t = clip_frames(b, at, t, OP_FRAMES_MAX, &a, naming);
    }
    return t;
}

Tensor *clip_over_time(Build *b, const Ast *at, Tensor *src, bool max, const Naming *naming) {
    int64_t frames = shape_frames(&src->shape);
    FramesAttrs a = {
        .count = 1, .step = 1, .taps = frames, .apart = 1, .src = frames, .mode = FRAMES_MEAN};
    if (max)
        return largest(b, at, src, naming);
    return frames > 1 ? clip_frames(b, at, src, OP_FRAMES, &a, naming) : src;
}
