/* onnx_line.c: sequences in ONNX, and the LSTM and GRU that read them.
 *
 * The language has one order, [C, L]; ONNX has several: a value carries the letters of its axes, "NCL"
 * behind a one-dimensional convolution, "LNC" around these, "LDNC" what it gives for one or two
 * directions D.  Nodes that only move axes change the letters; a joined "DC" becomes a concat.
 * Values without letters are vectors and images as everywhere else.
 * requires: constants are folded.  ensures: what is made computes what the operator's schema says.
 * Source: the operator schemas of onnx.ai, LSTM and GRU versions 7, 14 and 22 (gates i, o, f, c and
 * z, r, h).
 */
#include "import/onnx.h"

#include <stdio.h>
#include <string.h>

static bool type_is(const Onnx *o, const char *type) {
    return strcmp(o->node->type, type) == 0;
}

bool onnx_is_line(const Onnx *o, int i) {
    const OnnxValue *v = onnx_in(o, i);
    return v && strcmp(v->axes, "NCL") == 0;
}

int onnx_line_axis(const OnnxValue *v, char letter) {
    const char *at = strchr(v->axes, letter);
    return at && letter ? (int)(at - v->axes) : -1;
}

/* ---- the input ---- */
/* A network's input of three axes is [N, C, L], but for one that an LSTM or a GRU reads, perhaps
 * transposed. */
static void axes_of_input(const OnnxModel *m, const char *name, char axes[4]) {
    int64_t perm[4], at[3] = {0, 1, 2}, next[3];
    memcpy(axes, "NCL", 4);
    for (int i = 0; i < m->node.len; i++) {
        const OnnxNode *n = &m->node.data[i];
        if (n->in.len < 1 || n->out.len < 1 || strcmp(n->in.data[0], name) != 0)
            continue;
        bool turn = strcmp(n->type, "Transpose") == 0;
        if (strcmp(n->type, "LSTM") == 0 || strcmp(n->type, "GRU") == 0) {
            const char *want = onnx_int(n, "layout", 0) ? "NLC" : "LNC";
            for (int k = 0; k < 3; k++)
                axes[at[k]] = want[k];
            return;
        }
        if (!turn && strcmp(n->type, "Identity") != 0 && strcmp(n->type, "Dropout") != 0)
            return;
        for (int k = 0; turn && k < 3; k++) {
            if (onnx_ints(n, "perm", perm, 4) != 3 || perm[k] < 0 || perm[k] > 2)
                return;
            next[k] = at[perm[k]];
        }
        if (turn)
            memcpy(at, next, sizeof at);
        name = n->out.data[0];
    }
}

bool onnx_line_input(Onnx *o, const OnnxInput *in, OnnxValue *v) {
    ImLayer *l = im_at(o->net, 0);
    axes_of_input(o->model, in->name, v->axes);
    l->rank = 3;
    l->line = true;
    l->dim[1] = 1;
    l->dim[0] = in->dim[onnx_line_axis(v, 'C')];
    l->dim[2] = in->dim[onnx_line_axis(v, 'L')];
    o->batch = in->dim[onnx_line_axis(v, 'N')];
    o->batch = o->batch ? o->batch : 1;
    if (l->dim[0] < 1 || l->dim[2] < 1) {
        im_fail(o->im, NETC_DATA, "its input '%s' has no fixed size", in->name);
        im_help(o->im, "export it for sequences of one length");
        return false;
    }
    if (strcmp(v->axes, "NCL") != 0)
        im_note(o->im, "its input '%s' is [%c, %c, %c] there; here it is f32[C, L], channels first",
                in->name, v->axes[0], v->axes[1], v->axes[2]);
    return im_infer(o->im, o->net, 0);
}

/* ---- axes that move ---- */
static bool put_as(Onnx *o, const OnnxValue *v, const char *axes) {
    OnnxValue made = *v;
    bool plain = strcmp(axes, "NC") == 0;
    snprintf(made.axes, sizeof made.axes, "%s", plain ? "" : axes);
    if (plain && im_at(o->net, v->layer)->rank == 3) { /* one step is left */
        int flat = im_add(o->im, o->net, IM_FLATTEN, "", 1, &made.layer);
        if (o->im->code || !onnx_done(o))
            return false;
        made.layer = flat;
    }
    onnx_put(o, 0, made);
    return true;
}

static bool line_transpose(Onnx *o, const OnnxValue *v) {
    int64_t perm[IM_MAX_RANK];
    char axes[sizeof v->axes] = "";
    int n = onnx_ints(o->node, "perm", perm, IM_MAX_RANK), rank = (int)strlen(v->axes), seen = 0;
    for (int i = 0; n < 0 && i < rank; i++)
        perm[i] = rank - 1 - i;
    n = n < 0 ? rank : n;
    for (int i = 0; i < n && n == rank; i++)
        if (perm[i] >= 0 && perm[i] < rank) {
            axes[i] = v->axes[perm[i]];
            seen |= 1 << perm[i];
        }
    if (n != rank || seen != (1 << rank) - 1)
        return onnx_refuse(o, "its order of dimensions is malformed");
    return put_as(o, v, axes);
}

/* Axes of one cell disappear. */
static bool line_squeeze(Onnx *o, const OnnxValue *v) {
    int64_t axis[IM_MAX_RANK], dim[IM_MAX_RANK];
    int n = onnx_list(o, 1, "axes", axis), rank = onnx_shape(o, v, dim);
    char axes[sizeof v->axes] = "", *to = axes;
    for (int i = 0; i < rank; i++) {
        bool gone = n < 0 && dim[i] == 1 && v->axes[i] != 'N';
        for (int k = 0; k < n; k++)
            gone |= (axis[k] < 0 ? axis[k] + rank : axis[k]) == i;
        if (gone && (dim[i] != 1 || v->axes[i] == 'N' || v->axes[i] == 'C'))
            return onnx_refuse(o, "only axes of one cell can be squeezed");
        if (!gone)
            *to++ = v->axes[i];
    }
    return put_as(o, v, axes);
}

/* [N, C, L] -> [N, C, 1, L], an image of one row; [N, 1, C, L], one with rows of channels. */
static bool line_unsqueeze(Onnx *o, const OnnxValue *v) {
    int64_t axis[IM_MAX_RANK];
    int n = onnx_list(o, 1, "axes", axis);
    if (n != 1 || strcmp(v->axes, "NCL") != 0)
        return onnx_refuse(o, "its axes cannot be imported");
    axis[0] += axis[0] < 0 ? 4 : 0;
    if (axis[0] == 2) {
        onnx_put_layer(o, v->layer);
        return true;
    }
    ImLayer *l = axis[0] == 1 ? onnx_add(o, IM_RESHAPE, NULL) : NULL;
    if (!l)
        return onnx_refuse(o, "its axes cannot be imported");
    const ImLayer *src = im_at(o->net, v->layer);
    l->maps = 1;
    l->extent[0] = src->dim[0];
    l->extent[1] = src->dim[2];
    onnx_put_layer(o, o->net->layer.len - 1);
    return onnx_done(o);
}

/* Both directions behind each other as channels. */
static bool join_directions(Onnx *o, const OnnxValue *v, const char *axes) {
    OnnxValue made = *v;
    if (v->second) {
        int in[2] = {v->layer, v->second};
        made.layer = im_add(o->im, o->net, IM_CONCAT, "", 2, in);
        made.second = 0;
        if (o->im->code || !onnx_done(o))
            return false;
    }
    return put_as(o, &made, axes);
}

/* The same axes; directions and channels as one; all but the batch as one. */
static bool line_reshape(Onnx *o, const OnnxValue *v) {
    ImTensor t;
    int64_t dim[IM_MAX_RANK], want[IM_MAX_RANK], known = 1, all = 1;
    char axes[sizeof v->axes] = "";
    int rank = onnx_shape(o, v, dim), unknown = -1;
    if (!onnx_constant_in(o, 1, "new shape", &t) || t.count > IM_MAX_RANK)
        return onnx_refuse(o, "its new shape is not known");
    int n = (int)t.count;
    for (int i = 0; i < rank; i++)
        all *= dim[i];
    for (int i = 0; i < n; i++) {
        want[i] = im_tensor_int(&t, i);
        want[i] = want[i] == 0 && i < rank ? dim[i] : want[i];
        unknown = want[i] < 0 ? i : unknown;
        if (want[i] >= 0 && __builtin_mul_overflow(known, want[i], &known))
            return onnx_refuse(o, "its new shape is too large");
    }
    if (unknown >= 0)
        want[unknown] = known > 0 ? all / known : 0;
    bool same = n == rank, joined = n == rank - 1 && strcmp(v->axes + rank - 2, "DC") == 0;
    for (int i = 0; i < n; i++) {
        same = same && want[i] == dim[i];
        joined = joined && want[i] == (i < n - 1 ? dim[i] : dim[rank - 2] * dim[rank - 1]);
    }
    if (same)
        return put_as(o, v, v->axes);
    if (joined) {
        memcpy(axes, v->axes, (size_t)rank - 2);
        axes[rank - 2] = 'C';
        return join_directions(o, v, axes);
    }
    bool flat = n == 2 && strcmp(v->axes, "NCL") == 0 && want[0] == dim[0] && want[1] == dim[1] * dim[2];
    return flat ? onnx_unary(o, IM_FLATTEN, 0)
                : onnx_refuse(o, "a sequence cannot be given the shape %s",
                              im_shape_text(o->im, n, want));
}

/* Step `at` of a sequence, or direction `at`, alone; its axis stays or not. */
static bool pick(Onnx *o, const OnnxValue *v, int axis, int64_t at, bool stays) {
    OnnxValue made = *v;
    int64_t dim[IM_MAX_RANK];
    char axes[sizeof v->axes] = "", letter = v->axes[axis];
    onnx_shape(o, v, dim);
    at += at < 0 ? dim[axis] : 0;
    if (at < 0 || at >= dim[axis] || (letter != 'L' && letter != 'D'))
        return onnx_refuse(o, "only a step or a direction of a sequence can be picked");
    if (letter == 'D') {
        made.layer = at ? v->second : v->layer;
        made.second = 0;
    } else if (v->second) {
        return onnx_refuse(o, "a step of two directions at once cannot be picked");
    } else {
        made.layer = im_add(o->im, o->net, IM_CROP, "", 1, &v->layer);
        if (o->im->code)
            return false;
        ImLayer *l = im_at(o->net, made.layer);
        l->extent[0] = l->extent[1] = 1;
        l->at[1] = at;
        if (!onnx_done(o))
            return false;
    }
    for (int i = 0, k = 0; v->axes[i]; i++)
        if (i != axis || stays)
            axes[k++] = v->axes[i];
    return put_as(o, &made, axes);
}

static bool line_gather(Onnx *o, const OnnxValue *v) {
    ImTensor t;
    int64_t axis = onnx_int(o->node, "axis", 0), rank = (int64_t)strlen(v->axes);
    axis += axis < 0 ? rank : 0;
    if (!onnx_constant_in(o, 1, "index", &t) || t.count != 1 || axis < 0 || axis >= rank)
        return onnx_refuse(o, "only one step can be picked, by a number known now");
    return pick(o, v, (int)axis, im_tensor_int(&t, 0), t.rank > 0);
}

static bool line_slice(Onnx *o, const OnnxValue *v) {
    int64_t from[IM_MAX_RANK], to[IM_MAX_RANK], axes[IM_MAX_RANK], steps[IM_MAX_RANK], count;
    int64_t dim[IM_MAX_RANK], rank = onnx_shape(o, v, dim);
    int n = onnx_list(o, 1, "starts", from), named = onnx_list(o, 3, "axes", axes);
    int stepped = onnx_list(o, 4, "steps", steps);
    int64_t axis = named == 1 ? axes[0] + (axes[0] < 0 ? rank : 0) : 0;
    if (n != 1 || onnx_list(o, 2, "ends", to) != 1 || axis < 0 || axis >= rank ||
        (stepped == 1 && steps[0] != 1) || !onnx_range(dim[axis], &from[0], to[0], 1, &count))
        return onnx_refuse(o, "this part of a sequence cannot be cut out");
    if (count == dim[axis])
        return put_as(o, v, v->axes);
    return count == 1 ? pick(o, v, (int)axis, from[0], true)
                      : onnx_refuse(o, "only one step of a sequence can be cut out");
}

/* ---- one step at a time ---- */
/* Numbers of the last axis, the channels of every step: a convolution of one step. */
static bool line_matmul(Onnx *o, const OnnxValue *v) {
    ImTensor w;
    const ImLayer *src = im_at(o->net, v->layer);
    size_t rank = strlen(v->axes);
    if (!onnx_constant_in(o, 1, "weight", &w))
        return false;
    if (w.rank != 2 || v->second || rank != 3 || v->axes[2] != 'C' || w.dim[0] != src->dim[0])
        return onnx_refuse(o, "only a dense layer of every step can be imported");
    int64_t dim[4] = {w.dim[1], w.dim[0], 1, 1};
    float *out;
    ImTensor t = im_tensor_new(o->im, 4, dim, &out);
    for (int64_t u = 0; u < dim[0]; u++)
        for (int64_t i = 0; i < dim[1]; i++)
            out[u * dim[1] + i] = (float)im_tensor_at(&w, i * dim[0] + u);
    ImLayer *l = onnx_add(o, IM_CONV, &w);
    if (!l)
        return false;
    l->maps = dim[0];
    l->kernel[0] = l->kernel[1] = 1;
    im_param(l, "weight", &t);
    if (!onnx_done(o))
        return false;
    OnnxValue made = {.layer = o->net->layer.len - 1};
    memcpy(made.axes, v->axes, sizeof made.axes);
    onnx_put(o, 0, made);
    return true;
}

/* ---- LSTM, GRU ---- */
typedef struct Recur {
    ImTensor w, r, b;
    bool has_b, all;
    ImOp op;
    int64_t gates, units, inputs;
} Recur;

/* Rows of gates in the order i, o, f, c become i, f, c, o, and z, r, h become r, z, h; `from` of a
 * matrix. */
static ImTensor gates(Onnx *o, const Recur *s, const ImTensor *t, int64_t from, int64_t width) {
    static const int lstm[4] = {0, 2, 3, 1}, gru[3] = {1, 0, 2};
    const int *order = s->op == IM_GRU ? gru : lstm;
    int64_t dim[2] = {s->gates * s->units, width};
    float *out;
    ImTensor made = im_tensor_new(o->im, width ? 2 : 1, dim, &out);
    width = width ? width : 1;
    for (int g = 0; g < s->gates; g++)
        for (int64_t u = 0; u < s->units * width; u++)
            out[g * s->units * width + u] =
                t ? (float)im_tensor_at(t, (from + order[g] * s->units) * width + u) : 0;
    return made;
}

static bool zeros(const Onnx *o, int i) {
    const OnnxValue *v = onnx_in(o, i);
    if (!v)
        return true;
    for (int64_t k = 0; v->constant && k < v->tensor.count; k++)
        if (im_tensor_at(&v->tensor, k) != 0)
            return false;
    return v->constant;
}

static bool recur_given(Onnx *o, const OnnxValue *x, Recur *s, int64_t dirs) {
    const char *want = onnx_int(o->node, "layout", 0) ? "NLC" : "LNC";
    if (strcmp(x->axes, want) != 0)
        return onnx_refuse(o, "its input is no sequence of that order of axes");
    if (!onnx_constant_in(o, 1, "weight", &s->w) || !onnx_constant_in(o, 2, "weight", &s->r))
        return false;
    s->has_b = onnx_in(o, 3) != NULL;
    if (s->has_b && !onnx_constant_in(o, 3, "bias", &s->b))
        return false;
    if (!zeros(o, 5) || !zeros(o, 6) || onnx_in(o, 4) || onnx_in(o, 7))
        return onnx_refuse(o, "only zeros as first state, one length and no peepholes can be imported");
    if (onnx_has(o->node, "activations") || onnx_has(o->node, "clip") ||
        onnx_int(o->node, "input_forget", 0))
        return onnx_refuse(o, "only the usual curves can be imported, without clip");
    if (s->op == IM_GRU && !onnx_int(o->node, "linear_before_reset", 0))
        return onnx_refuse(o, "only linear_before_reset = 1 can be imported (PyTorch; Keras with "
                              "reset_after)");
    s->inputs = im_at(o->net, x->layer)->dim[0];
    s->units = onnx_int(o->node, "hidden_size", s->r.rank == 3 ? s->r.dim[2] : 0);
    int64_t rows = s->units >= 1 && s->units <= IM_MAX_SIDE ? s->gates * s->units : 0;
    bool fits = rows && s->w.rank == 3 && s->r.rank == 3 &&
                s->w.dim[0] == dirs && s->w.dim[1] == rows && s->w.dim[2] == s->inputs &&
                s->r.dim[0] == dirs && s->r.dim[1] == rows && s->r.dim[2] == s->units &&
                (!s->has_b || s->b.count == dirs * 2 * rows);
    return fits || onnx_refuse(o, "its weights do not fit its input");
}

static int recur_layer(Onnx *o, const Recur *s, int in, int64_t dir, bool reverse) {
    const char *name = o->node->name;
    int layer = im_add(o->im, o->net, s->op, name[0] == '/' ? "" : name, 1, &in);
    if (o->im->code)
        return 0;
    ImLayer *l = im_at(o->net, layer);
    int64_t rows = s->gates * s->units;
    const ImTensor *b = s->has_b ? &s->b : NULL;
    ImTensor p[4] = {gates(o, s, &s->w, dir * rows, s->inputs),
                     gates(o, s, &s->r, dir * rows, s->units), gates(o, s, b, dir * 2 * rows, 0),
                     gates(o, s, b, dir * 2 * rows + rows, 0)};
    static const char *const suffix[4] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0",
                                          "bias_hh_l0"};
    for (int i = 0; i < 4; i++)
        im_param(l, suffix[i], &p[i]);
    l->maps = s->units;
    l->all = s->all;
    l->reverse = reverse;
    return onnx_done(o) ? layer : 0;
}

/* The last step in the direction of time, a vector. */
static int last_step(Onnx *o, int layer) {
    const ImLayer *l = im_at(o->net, layer);
    int64_t at = l->reverse ? 0 : l->dim[2] - 1;
    if (!l->all)
        return layer;
    int step = im_add(o->im, o->net, IM_CROP, "", 1, &layer);
    if (o->im->code)
        return 0;
    ImLayer *made = im_at(o->net, step);
    made->extent[0] = made->extent[1] = 1;
    made->at[1] = at;
    if (!onnx_done(o))
        return 0;
    int flat = im_add(o->im, o->net, IM_FLATTEN, "", 1, &step);
    return !o->im->code && onnx_done(o) ? flat : 0;
}

static bool convert_recurrent(Onnx *o, const OnnxValue *x) {
    const char *direction = onnx_text(o->im, o->node, "direction", "forward");
    bool both = strcmp(direction, "bidirectional") == 0, back = strcmp(direction, "reverse") == 0;
    bool layout = onnx_int(o->node, "layout", 0) != 0;
    int read[2] = {0};
    bool gru = type_is(o, "GRU");
    Recur s = {.op = gru ? IM_GRU : IM_LSTM, .gates = gru ? 3 : 4};
    if (!both && !back && strcmp(direction, "forward") != 0)
        return onnx_refuse(o, "its direction cannot be imported");
    if (!recur_given(o, x, &s, both ? 2 : 1))
        return false;
    for (int i = 0; i < 2 && i < o->node->out.len; i++)
        read[i] = onnx_readers(o, o->node->out.data[i]);
    s.all = read[0] > 0;
    OnnxValue y = {.axes = ""}, last = {.axes = ""};
    int from = x->layer;
    for (int d = 0; d < 1 + both; d++) {
        int layer = recur_layer(o, &s, from, d, back || d);
        int end = layer && read[1] ? last_step(o, layer) : layer;
        if (!layer || !end)
            return false;
        *(d ? &y.second : &y.layer) = layer;
        *(d ? &last.second : &last.layer) = end;
    }
    memcpy(y.axes, layout ? "NLDC" : "LDNC", 5);
    memcpy(last.axes, layout ? "NDC" : "DNC", 4);
    if (read[0])
        onnx_put(o, 0, y);
    if (read[1])
        onnx_put(o, 1, last);
    return true;
}

/* ---- which node is which ---- */
static const char *const anywhere[] = {
    "Relu", "LeakyRelu", "Elu",  "Sigmoid", "Tanh", "Softplus", "Gelu",     "Abs", "Neg",
    "Sqrt", "Exp",       "Clip", "Dropout", "Add",  "Sub",      "Identity", "Mul", "Cast"};

static bool keeps_axes(const Onnx *o) {
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++)
        if (type_is(o, anywhere[i]))
            return true;
    return false;
}

static const struct {
    const char *type;
    bool (*convert)(Onnx *, const OnnxValue *);
} moves[] = {{"Transpose", line_transpose}, {"Squeeze", line_squeeze}, {"Unsqueeze", line_unsqueeze},
             {"Reshape", line_reshape},     {"Gather", line_gather},   {"LSTM", convert_recurrent},
             {"GRU", convert_recurrent},    {"MatMul", line_matmul}};

bool onnx_line(Onnx *o, bool *done) {
    const OnnxValue *v = onnx_in(o, 0);
    *done = true;
    for (int i = 1; i < o->node->in.len; i++) { /* operands share their order of axes */
        const OnnxValue *w = onnx_in(o, i);
        bool same = v && w && (v->constant || strcmp(w->axes, v->axes) == 0);
        if (w && !w->constant && (!same || w->second))
            return onnx_refuse(o, "its inputs have axes in different orders");
    }
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++)
        if (v && v->axes[0] && type_is(o, moves[i].type))
            return moves[i].convert(o, v);
    if (type_is(o, "LSTM") || type_is(o, "GRU"))
        return onnx_refuse(o, "its input is no sequence");
    *done = false;
    if (!v || !v->axes[0])
        return true;
    if (type_is(o, "Slice") && strcmp(v->axes, "NCL") != 0) {
        *done = true;
        return line_slice(o, v);
    }
    if (v->second || (strcmp(v->axes, "NCL") != 0 && !keeps_axes(o) && !type_is(o, "Softmax")))
        return onnx_refuse(o, "it cannot read axes in the order %s", v->axes);
    return true;
}
