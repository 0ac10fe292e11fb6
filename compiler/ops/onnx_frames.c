/* onnx_frames.c: clips in ONNX: windows over frames, frames taken, joined, averaged.
 *
 * To the graph a three-dimensional layer is two nodes, one along time and one of images
 * (front/build_clip.c); ONNX has one.  So a window whose only reader is a convolution is absorbed
 * by that, a pool of images by the pool over frames that belongs to the same layer, and the sum of
 * clips placed behind each other is said as one Concat.
 * requires: values of one frame are [N, C, H, W], others [N, C, D, H, W].
 * Source: the operator schemas of onnx.ai, operator set 18.
 */
#include <string.h>

#include "ops/onnx_write.h"

/* A node whose results are read in the graph: who makes value v, or NULL. */
static const Node *maker(const Ox *o, ValueId v) {
    const Value *x = graph_v(o->g, v);
    return x->kind == VK_RESULT ? graph_n(o->g, x->def) : NULL;
}

static int64_t frames_in(const Ox *o, const Node *n) {
    return shape_frames(&graph_v(o->g, n->in[0])->shape);
}

/* The node's window as one of ONNX, which begins and ends with padding; false: it is none. */
static bool as_window(const Ox *o, const Node *n, OxDeep *deep) {
    const FramesAttrs *a = n->attrs;
    int64_t frames = frames_in(o, n), span = (a->taps - 1) * a->apart + 1;
    int64_t last = a->from + (a->count - 1) * a->step + span; /* behind the last frame read */
    *deep = (OxDeep){a->taps, a->step, a->apart, {-a->from, last > frames ? last - frames : 0}};
    int64_t room = frames + deep->pad[0] + deep->pad[1] - span;
    return !a->adjoint && a->from <= 0 && room >= 0 && room / a->step + 1 == a->count;
}

static bool is_whole(const Ox *o, const Node *n) {
    const FramesAttrs *a = n->attrs;
    return !a->adjoint && a->count == 1 && a->from == 0 && a->apart == 1 &&
           a->taps == frames_in(o, n);
}

/* ---- what is absorbed ---- */
const Node *ox_window(const Ox *o, const Node *conv, OxDeep *deep) {
    const Node *n = maker(o, conv->in[0]);
    const ConvAttrs *a = conv->attrs;
    const FramesAttrs *f = n && n->op == OP_FRAMES ? n->attrs : NULL;
    bool own = f && a->depth == f->taps && f->mode == FRAMES_MAPS && n->label == conv->label &&
               o->reader[conv->in[0]] == graph_v(o->g, conv->out[0])->def;
    return own && as_window(o, n, deep) ? n : NULL;
}

static bool is_pool(int op) {
    return op == OP_MAXPOOL || op == OP_AVGPOOL || op == OP_GLOBAL_MAXPOOL ||
           op == OP_GLOBAL_AVGPOOL;
}

/* The pool of images in front of a pool over frames, when both are one layer. */
static const Node *same_pool(const Ox *o, const Node *n) {
    const Node *pool = maker(o, n->in[0]);
    const FramesAttrs *a = n->attrs;
    OxDeep deep;
    bool max = n->op == OP_FRAMES_MAX;
    if (!pool || !is_pool(pool->op) || pool->label != n->label || a->apart != 1 ||
        o->reader[n->in[0]] != graph_v(o->g, n->out[0])->def ||
        max != (pool->op == OP_MAXPOOL || pool->op == OP_GLOBAL_MAXPOOL))
        return NULL;
    bool global = pool->op == OP_GLOBAL_MAXPOOL || pool->op == OP_GLOBAL_AVGPOOL;
    if (!max && a->mode != FRAMES_MEAN)
        return NULL;
    return (global ? is_whole(o, n) : as_window(o, n, &deep)) ? pool : NULL;
}

/* A clip among others in a longer one that is empty elsewhere. */
static bool is_placed(const Node *n) {
    const FramesAttrs *a = n && n->op == OP_FRAMES ? n->attrs : NULL;
    return a && a->adjoint && a->mode == FRAMES_MAPS && a->taps == 1 && a->step == 1;
}

enum { MOST_JOINED = 255 };
typedef struct Joined {
    const Node *part[MOST_JOINED];
    int parts;
    int64_t end;
} Joined;

/* Is value v a sum of placed clips, behind each other from frame 0 on? */
static bool placed_sum(const Ox *o, ValueId v, Joined *out) {
    const Node *n = maker(o, v), *sum[MOST_JOINED];
    int sums = 0;
    *out = (Joined){.parts = 0};
    for (; n && n->op == OP_ADD && sums < MOST_JOINED - 1; n = maker(o, n->in[0]))
        sum[sums++] = n;
    for (; n; n = sums > 0 ? maker(o, sum[--sums]->in[1]) : NULL) {
        const FramesAttrs *a = n->attrs;
        if (!is_placed(n) || a->from != out->end)
            return false;
        out->part[out->parts++] = n;
        out->end += a->count;
        if (sums == 0)
            return true;
    }
    return false;
}

static bool joins_frames(const Ox *o, ValueId v, Joined *j) {
    const Value *x = graph_v(o->g, v);
    const Node *n = maker(o, v);
    return n && n->op == OP_ADD && placed_sum(o, v, j) && j->end == shape_frames(&x->shape);
}

bool ox_absorbed(const Ox *o, NodeId id) {
    const Node *n = graph_n(o->g, id), *next;
    NodeId reader = n->nout && n->out[0] ? o->reader[n->out[0]] : 0;
    OxDeep deep;
    if (!reader)
        return false;
    next = graph_n(o->g, reader);
    if (n->op == OP_FRAMES && next->op == OP_CONV2D)
        return ox_window(o, next, &deep) == n;
    if (next->op == OP_FRAMES || next->op == OP_FRAMES_MAX)
        return is_pool(n->op) && same_pool(o, next) == n;
    Joined j;
    for (; next->op == OP_ADD && (is_placed(n) || n->op == OP_ADD); next = graph_n(o->g, reader)) {
        if (joins_frames(o, next->out[0], &j))
            return true;
        reader = o->reader[next->out[0]];
        if (!reader)
            return false;
    }
    return false;
}

bool ox_joined_frames(Ox *o) {
    const Node *sum = o->node;
    const char *name[MOST_JOINED];
    Joined j;
    if (!joins_frames(o, sum->out[0], &j))
        return false;
    for (int i = 0; i < j.parts; i++) {
        o->node = j.part[i];
        name[i] = ox_clip(o, 0) ? ox_in(o, 0) : ox_framed(o, ox_in(o, 0));
    }
    o->node = sum;
    ox_begin(o, "Concat");
    for (int i = 0; i < j.parts; i++)
        ox_arg(o, name[i]);
    ox_attr_int(o, "axis", 2);
    return ox_end(o, true) != NULL;
}

/* ---- frames alone ---- */
/* The result of a node that gives clips, which may be an image here. */
static bool ended(Ox *o) {
    if (ox_clip(o, -1))
        return ox_end(o, true) != NULL;
    ox_label(o);
    return ox_unframed(o, ox_end(o, false), true) != NULL;
}

static bool taken(Ox *o) {
    const FramesAttrs *a = o->node->attrs;
    if (!ox_clip(o, 0))
        return ox_same(o, ox_in(o, 0)); /* the only frame that there is */
    int64_t end = a->from + (a->count - 1) * a->step + 1, axis = 2;
    const char *from = ox_ints(o, 1, &a->from), *to = ox_ints(o, 1, &end);
    const char *axes = ox_ints(o, 1, &axis), *step = ox_ints(o, 1, &a->step);
    ox_begin(o, "Slice");
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, from);
    ox_arg(o, to);
    ox_arg(o, axes);
    ox_arg(o, step);
    return ended(o);
}

static bool reduced(Ox *o, const char *type) {
    static const int64_t axis = 2;
    const char *axes = ox_ints(o, 1, &axis);
    ox_begin(o, type);
    ox_arg(o, ox_in(o, 0));
    ox_arg(o, axes);
    ox_attr_int(o, "keepdims", 0);
    return ox_end(o, true) != NULL;
}

/* A pool over frames, together with that of images in front of it. */
static bool pooled(Ox *o, const char *type, const char *over_all, const char *reduce, bool whole) {
    const Node *n = o->node, *pool = same_pool(o, n);
    PoolAttrs each = {.kernel = {1, 1}, .stride = {1, 1}};
    OxDeep deep;
    bool global = pool && (pool->op == OP_GLOBAL_AVGPOOL || pool->op == OP_GLOBAL_MAXPOOL);
    if (!pool && is_whole(o, n))
        return reduced(o, reduce);
    if (!as_window(o, n, &deep) || deep.dilation != 1)
        return ox_refuse(o, "this window over frames is not written");
    if (pool)
        o->node = pool;
    const char *x = ox_clip(o, 0) ? ox_in(o, 0) : ox_framed(o, ox_in(o, 0));
    const Shape *src = ox_shape(o, 0);
    o->node = n;
    bool clip = ox_clip(o, -1);
    x = global ? ox_one(o, over_all, x, false)
               : ox_pool(o, type, x, src, pool ? pool->attrs : &each, &deep, whole, clip);
    return (clip ? x : ox_unframed(o, x, true)) != NULL;
}

bool ox_say_frames(Ox *o) {
    const FramesAttrs *a = o->node->attrs;
    const Shape *src = ox_shape(o, 0);
    if (a->mode == FRAMES_MEAN && !a->adjoint)
        return pooled(o, "AveragePool", "GlobalAveragePool", "ReduceMean", a->whole);
    if (a->mode == FRAMES_SUM && a->adjoint && a->count == 1) { /* repeated: by who reads it */
        static const int64_t axis = 2;
        return ox_two(o, "Unsqueeze", ox_in(o, 0), ox_ints(o, 1, &axis), true) != NULL;
    }
    if (is_placed(o->node) && a->count == a->src)
        return ox_same(o, ox_in(o, 0));
    if (a->mode == FRAMES_MAPS && !a->adjoint && a->taps == 1)
        return taken(o);
    if (a->mode == FRAMES_MAPS && is_whole(o, o->node)) {
        const int64_t dim[4] = {0, src->dim[0] * a->taps, src->dim[1], src->dim[2]};
        return ox_two(o, "Reshape", ox_in(o, 0), ox_ints(o, 4, dim), true) != NULL;
    }
    return ox_refuse(o, "this window over frames is not written");
}

bool ox_say_frames_max(Ox *o) {
    return pooled(o, "MaxPool", "GlobalMaxPool", "ReduceMax", false);
}
