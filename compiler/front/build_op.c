/* build_op.c: one operation: inputs, attributes, shape inference, parameters, graph node, table
 * row.
 *
 * requires: a call (or a bare name) of a usable operation.  ensures: either a node whose shapes the
 * operator accepted, or diagnostics and a poison value; a poison input gives a poison result and no
 * further message.
 */
#include <string.h>

#include "front/sema.h"

enum {
    GROUP_UNIT = 16, /* groups of fewer channels become a masked dense conv: fixed,
                        so that weight files do not depend on the target */
};
#define MASK_MAX (INT64_C(1) << 26) /* numbers in a masked weight */

typedef struct OpCall {
    Build *b;
    Scope *s;
    const Ast *at;
    const Naming *naming;
    Bound bound;
    Tensor **in;
    int nin;
    FramesAttrs time; /* conv and pools: the window over frames */
    bool deep;        /* ... which has something to say */
} OpCall;

static Tensor *result(OpCall *o, ValueId v);

static const char *op_title(const OpCall *o) {
    if (o->naming->anonymous)
        return op_name[o->bound.op];
    return arena_printf(o->b->arena, "%s '%s'", op_name[o->bound.op], o->naming->row);
}

/* Joins two or more layers as a chain: add, mul, maximum, minimum. */
static bool is_nary(int op) {
    return op_is(op, OPF_U) && op_is(op, OPF_E) && op_is(op, OPF_C);
}

/* ---- inputs ---- */

static bool wrong_count(OpCall *o, int want) {
    const char *name = op_name[o->bound.op];
    Diag *d;
    if (o->nin == 0) {
        d = diag_error(o->b->diag, o->at->loc, "E0121", "%s has no input: nothing stands before it",
                       name);
        diag_help(d,
                  "declare an input, `input image: f32[1, 28, 28]`, or begin the chain with a "
                  "layer: x -> %s",
                  name);
        return false;
    }
    d = diag_error(o->b->diag, o->at->loc, "E0119", "%s takes %d input%s, got %d", name, want,
                   want == 1 ? "" : "s", o->nin);
    if (o->nin > want)
        diag_help(d, "join the branches first: [..] -> concat -> %s, or -> add", name);
    else if (op_is(o->bound.op, OPF_L))
        diag_help(d, "it compares: %s(LAYER, LABEL)%s", name,
                  op_is(o->bound.op, OPF_T) ? " or two layers" : "");
    return false;
}

/* Values made of parameters alone: dense, functions, and operands that serve all images. */
static bool has_images(OpCall *o) {
    int op = o->bound.op, none = -1;
    bool any = false;
    for (int i = 0; i < o->nin; i++)
        if (graph_v(o->b->g, o->in[i]->v)->batched)
            any = true;
        else
            none = i;
    bool function = op_is(op, OPF_E) && !op_is(op, OPF_S | OPF_K);
    if (op_is(op, OPF_T) && none == 1 && any) { /* what all images are compared with */
        if (o->in[1]->shape.rank == 1)
            return true;
        diag_help(diag_error(o->b->diag, o->at->loc, "E0122", "%s compares with '%s', which is no vector",
                             op_name[op], o->in[1]->name),
                  "compare flatten(..) with a param of one extent");
        return false;
    }
    if (none < 0 || (any ? op_is(op, OPF_K) : op == OP_DENSE || function))
        return true;
    Diag *d = diag_error(o->b->diag, o->at->loc, "E0122",
                         "%s cannot read '%s', which belongs to no image", op_name[op],
                         o->in[none]->name);
    diag_help(d, "dense and functions such as tanh can; weight = %s makes it a layer's weights",
              o->in[none]->name);
    return false;
}

static bool gather_inputs(OpCall *o, Flow flow) {
    Build *b = o->b;
    int op = o->bound.op, n = flow.implicit && o->bound.nin ? 0 : flow.n;
    int want = op_is(op, OPF_P) ? 1 : op_nin[op];
    if (op == OP_CONV2D)
        want = 1;
    o->nin = n + o->bound.nin;
    o->in = ARENA_ARRAY(b->arena, o->nin, Tensor *);
    for (int i = 0; i < o->nin; i++)
        o->in[i] = i < n ? flow.at[i] : o->bound.in[i - n];
    bool many = is_nary(op);
    if (want < 0 ? o->nin < 1 : many ? o->nin < 2 : o->nin != want)
        return wrong_count(o, want < 0 ? 1 : want);
    if (o->nin > 255) {
        diag_error(b->diag, o->at->loc, "E0130", "%s joins at most 255 layers", op_name[op]);
        return false;
    }
    for (int i = 0; i < o->nin; i++) {
        if (o->in[i]->poison)
            return false;
        bool label = o->in[i]->kind == TENSOR_CLASS, wanted = op_is(op, OPF_L) && i == 1;
        if (label == wanted || (wanted && op_is(op, OPF_T)))
            continue;
        Diag *d = diag_error(b->diag, o->at->loc, "E0122",
                             label ? "%s cannot read '%s', a class label"
                                   : "%s compares with a class label, '%s' is a layer",
                             op_name[op], o->in[i]->name);
        if (op_is(op, OPF_L))
            diag_help(d, "write %s(LAYER, LABEL)", op_name[op]);
        return false;
    }
    return has_images(o);
}

/* ---- clips ---- */

/* Operands for all frames, if the operation repeats what is smaller (flag K). */
static bool equal_frames(OpCall *o) {
    int64_t frames = 1;
    int op = o->bound.op;
    if (op == OP_CONCAT && ((const ConcatAttrs *)o->bound.attrs)->axis == CONCAT_FRAMES)
        return true;
    for (int i = 0; i < o->nin; i++)
        if (shape_frames(&o->in[i]->shape) > frames)
            frames = shape_frames(&o->in[i]->shape);
    for (int i = 0; i < o->nin && frames > 1; i++) {
        Tensor *t = o->in[i];
        int64_t own = shape_frames(&t->shape);
        if (own == frames || t->kind == TENSOR_CLASS || !graph_v(o->b->g, t->v)->batched)
            continue;
        if (own == 1 && op_is(op, OPF_K) && t->shape.rank == 3) {
            o->in[i] = clip_repeat(o->b, o->at, t, frames, o->naming);
            continue;
        }
        Diag *d = diag_error(o->b->diag, o->at->loc, "E0332",
                             "%s: clips of %lld and of %lld frames", op_title(o),
                             (long long)frames, (long long)own);
        note_derivation(o->b, d, t, "input");
        return false;
    }
    return true;
}

/* Groups are of maps; weights that are made otherwise know nothing of frames. */
static bool plain_weights(OpCall *o) {
    const Bound *bound = &o->bound;
    const ConvAttrs *a = bound->op == OP_CONV2D && o->deep ? bound->attrs : NULL;
    int64_t maps = o->in[0]->shape.dim[0];
    if (a && a->groups > 1 && maps % a->groups != 0) { /* the frames of a map are not for two */
        Diag *d = diag_error(o->b->diag, o->at->loc, "E0302",
                             "%s: groups %lld do not divide the %lld input maps", op_title(o),
                             (long long)a->groups, (long long)maps);
        note_derivation(o->b, d, o->in[0], "input");
        return false;
    }
    if (!a || (!bound->connect && !bound->flip && !bound->weight && !bound->reuse))
        return true;
    diag_help(diag_error(o->b->diag, o->at->loc, "E0801",
                         "not built yet: %s over frames with connect, flip, weight or reuse",
                         op_title(o)),
              "a kernel HxW works on each frame and takes all of them");
    return false;
}

/* What the operation reads of a clip: a window's frames as maps, or all frames as one image. */
static bool clip_inputs(OpCall *o) {
    int op = o->bound.op;
    Tensor *src = o->in[0];
    if (!equal_frames(o))
        return false;
    if (op_def[op]->recurrent && shape_frames(&src->shape) > 1) {
        Diag *d = diag_error(o->b->diag, o->at->loc, "E0332", "%s reads a sequence, not a clip",
                             op_title(o));
        diag_help(d, "mean(axis = time) or frames(0, 1) make an image of it");
        return false;
    }
    if (op == OP_FRAMES) {
        FramesAttrs *a = o->bound.attrs;
        a->taps = a->apart = 1;
    }
    if (op == OP_DENSE || op == OP_FLATTEN || op == OP_RBF)
        o->in[0] = clip_whole(o->b, o->at, src, o->naming);
    if (!clip_takes_depth(op) || src->kind == TENSOR_CLASS || src->shape.rank != 3)
        return true;
    if (!clip_window(o->b, o->at, &o->bound, op_title(o), src, &o->time))
        return false;
    o->deep = clip_boxed(&o->bound, shape_frames(&src->shape)) || !clip_trivial(&o->time);
    if (!plain_weights(o))
        return false;
    if (op != OP_CONV2D || !o->deep)
        return true;
    ConvAttrs *a = o->bound.attrs;
    a->depth = clip_boxed(&o->bound, shape_frames(&src->shape)) ? o->time.taps : 0;
    if (!clip_trivial(&o->time))
        o->in[0] = clip_frames(o->b, o->at, src, OP_FRAMES, &o->time, o->naming);
    return true;
}

/* The same layer's part along time: a pool's window, or all frames. */
static Tensor *clip_outputs(OpCall *o, Tensor *t) {
    Build *b = o->b;
    int op = o->bound.op, row = t->row;
    bool all = op == OP_GLOBAL_AVGPOOL || op == OP_GLOBAL_MAXPOOL;
    Tensor *last = t;
    if (o->deep)
        clip_detail(b, row, &o->bound, &o->time);
    if (all) {
        last = clip_over_time(b, o->at, t, op == OP_GLOBAL_MAXPOOL, o->naming);
    } else if (o->deep && op != OP_CONV2D && !clip_trivial(&o->time)) {
        FramesAttrs a = o->time;
        a.mode = op == OP_AVGPOOL ? FRAMES_MEAN : FRAMES_MAPS;
        a.whole = op == OP_AVGPOOL && ((const PoolAttrs *)o->bound.attrs)->count_pad;
        last = clip_frames(b, o->at, t, op == OP_AVGPOOL ? OP_FRAMES : OP_FRAMES_MAX, &a,
                           o->naming);
    }
    if (last != t) {
        last->name = last->text = t->text;
        last->from = t->from;
        if (row > 0)
            b->rows.data[row - 1].out = last->shape;
    }
    return last;
}

/* mean, max along time, concat of frames: nodes of their own; NULL: it is none of these. */
static Tensor *clip_alone(OpCall *o) {
    int op = o->bound.op;
    Tensor *t = NULL;
    bool along = (op == OP_MEAN || op == OP_MAX) &&
                 ((const AxisAttrs *)o->bound.attrs)->axis == AXIS_TIME;
    if (along && shape_frames(&o->in[0]->shape) > 1)
        t = clip_over_time(o->b, o->at, o->in[0], op == OP_MAX, o->naming);
    if (op == OP_CONCAT && ((const ConcatAttrs *)o->bound.attrs)->axis == CONCAT_FRAMES) {
        for (int i = 1; i < o->nin; i++) {
            Shape one = shape_clip(o->in[0]->shape, 1), other = shape_clip(o->in[i]->shape, 1);
            if (one.rank == 3 && shape_equal(&one, &other))
                continue;
            Diag *d = diag_error(o->b->diag, o->at->loc, "E0331",
                                 "frames of different size: %s and %s",
                                 shape_text(o->b->arena, &one), shape_text(o->b->arena, &other));
            note_derivation(o->b, d, o->in[i], "input");
            return tensor_poison(o->b, o->at->loc);
        }
        t = result(o, clip_concat(o->b, o->at, o->in, o->nin, o->naming));
    }
    if (t && !t->poison) {
        t->name = t->text = ast_text(o->b->arena, o->at);
        if (o->b->mode == MODEL_FORWARD)
            row_add(o->b, op, t, o->naming, o->bound.attrs, NULL, o->at->loc);
    }
    return t;
}

/* ---- connection tables ---- */

static ConnTable *table_new(Build *b, int64_t outputs, int64_t inputs) {
    ConnTable *t = ARENA_NEW(b->arena, ConnTable);
    t->outputs = (int)outputs;
    t->inputs = (int)inputs;
    t->link = ARENA_ARRAY(b->arena, outputs * inputs, uint8_t);
    return t;
}

static bool table_row(OpCall *o, const Val *row, int index, int64_t inputs, uint8_t *link) {
    Build *b = o->b;
    if (row->kind != V_LIST) {
        diag_error(b->diag, row->loc, "E0308",
                   "row %d of the connection table must be a list of "
                   "input maps, got %s",
                   index, val_kind_text(row));
        return false;
    }
    for (int i = 0; i < row->n; i++) {
        int64_t map;
        if (!expr_int(b, &row->at[i], "an input map", INT64_MIN / 4, INT64_MAX / 4, &map))
            return false;
        if (map < 0 || map >= inputs) {
            diag_error(b->diag, row->at[i].loc, "E0308",
                       "row %d of the connection table reads map %lld, but the input has maps 0 to "
                       "%lld",
                       index, (long long)map, (long long)inputs - 1);
            return false;
        }
        if (link[map]) {
            diag_error(b->diag, row->at[i].loc, "E0308",
                       "row %d of the connection table names map %lld twice", index,
                       (long long)map);
            return false;
        }
        link[map] = 1;
    }
    return true;
}

static bool connect_table(OpCall *o) {
    const Val *list = o->bound.connect;
    if (!list || o->in[0]->shape.rank != 3)
        return true; /* a wrong rank is infer's to report */
    ConvAttrs *a = o->bound.attrs;
    int64_t inputs = o->in[0]->shape.dim[0];
    if (list->n != a->maps) {
        diag_error(o->b->diag, list->loc, "E0308",
                   "the connection table has %d rows for %lld output maps", list->n,
                   (long long)a->maps);
        return false;
    }
    if (inputs * list->n > MASK_MAX) {
        diag_error(o->b->diag, list->loc, "E0130", "connection tables end at %lld links",
                   (long long)MASK_MAX);
        return false;
    }
    ConnTable *t = table_new(o->b, list->n, inputs);
    uint8_t *link = ARENA_ARRAY(o->b->arena, list->n * inputs, uint8_t);
    for (int i = 0; i < list->n; i++)
        if (!table_row(o, &list->at[i], i, inputs, link + i * inputs))
            return false;
    t->link = link;
    a->connect = t;
    return true;
}

/* Groups whose channels do not fill vectors become one dense conv with a block-diagonal mask of
 * maps x inputs links. */
static bool mask_of(OpCall *o, int64_t maps, int64_t inputs, const int64_t kernel[2],
                    int64_t *groups, const ConnTable **connect) {
    int64_t taps = kernel[0] * kernel[1], n;
    int64_t in_part = inputs / *groups, out_part = maps / *groups;
    if (*groups == 1 || (in_part % GROUP_UNIT == 0 && out_part % GROUP_UNIT == 0))
        return true;
    if (__builtin_mul_overflow(inputs, maps, &n) || __builtin_mul_overflow(n, taps, &n) ||
        n > MASK_MAX) {
        Diag *d = diag_error(o->b->diag, o->at->loc, "E0801",
                             "not built yet: %lld groups of %lld to %lld maps at this size",
                             (long long)*groups, (long long)in_part, (long long)out_part);
        diag_help(d, "groups with a multiple of %d maps on both sides have no such limit",
                  GROUP_UNIT);
        return false;
    }
    ConnTable *t = table_new(o->b, maps, inputs);
    uint8_t *link = ARENA_ARRAY(o->b->arena, maps * inputs, uint8_t);
    for (int64_t m = 0; m < maps; m++)
        for (int64_t i = 0; i < in_part; i++)
            link[m * inputs + m / out_part * in_part + i] = 1;
    t->link = link;
    *connect = t;
    *groups = 1;
    return true;
}

static bool mask_groups(OpCall *o) {
    if (o->bound.op == OP_DECONV) { /* weights [input maps, maps]: those of the adjoint's conv */
        DeconvAttrs *a = o->bound.attrs;
        return mask_of(o, o->in[0]->shape.dim[0], a->maps, a->kernel, &a->groups, &a->connect);
    }
    if (o->bound.op != OP_CONV2D)
        return true;
    ConvAttrs *a = o->bound.attrs;
    return mask_of(o, a->maps, o->in[0]->shape.dim[0], a->kernel, &a->groups, &a->connect);
}

/* ---- shape inference and its complaints ---- */

static LocRange blame(const OpCall *o, int attr, bool *exact) {
    if (attr >= 0 && attr < ARG_MAX && o->bound.arg[attr]) {
        *exact = true;
        return o->bound.arg[attr]->loc;
    }
    *exact = false;
    return o->at->loc;
}

static void refuse(OpCall *o, const Infer *inf) {
    Build *b = o->b;
    bool exact;
    LocRange loc = blame(o, inf->bad.attr, &exact);
    const char *name = op_name[o->bound.op], *text = inf->bad.text;
    bool named = strncmp(text, name, strlen(name)) == 0; /* "concat needs equal H,W: .." */
    text = line_text(b->arena, text, o->bound.line);
    Diag *d = diag_error(b->diag, loc, inf->bad.code, "%s%s%s", named ? "" : op_title(o),
                         named ? "" : ": ", text);
    int blamed = inf->bad.input >= 0 && inf->bad.input < o->nin ? inf->bad.input : 0;
    if (o->nin > 1 && (o->bound.op == OP_CONCAT || op_is(o->bound.op, OPF_E)))
        for (int i = 0; i < o->nin && i < 4; i++)
            note_derivation(b, d, o->in[i], arena_printf(b->arena, "branch %d", i + 1));
    else
        note_derivation(b, d, o->in[blamed], "input");
    note_trace(d, o->s->trace);
    if (inf->bad.help[0])
        diag_help(d, "%s", line_text(b->arena, inf->bad.help, o->bound.line));
    if (inf->bad.fix[0] && exact)
        diag_fixit(d, o->bound.arg[inf->bad.attr]->arg.value->loc,
                   line_text(b->arena, inf->bad.fix, o->bound.line));
}

static bool rounding_chosen(const OpCall *o) {
    const OpDef *def = op_def[o->bound.op];
    for (int i = 0; i < def->nattrs && i < ARG_MAX; i++)
        if (eq(def->attrs[i].name, "round") && o->bound.arg[i])
            return true;
    return false;
}

static void warn_discarded(OpCall *o, const Infer *inf) {
    bool exact;
    if (!inf->warn.text[0] || rounding_chosen(o))
        return;
    LocRange loc = blame(o, inf->warn.attr, &exact);
    const char *text = arena_printf(o->b->arena, "%s %s", op_title(o),
                                    line_text(o->b->arena, inf->warn.text, o->bound.line));
    Diag *d = o->b->opt->strict_shapes ? diag_error(o->b->diag, loc, "E0207", "%s", text)
                                       : diag_warning(o->b->diag, loc, "W0207", "%s", text);
    note_derivation(o->b, d, o->in[0], "input");
    note_trace(d, o->s->trace);
    if (inf->warn.help[0])
        diag_help(d, "%s", line_text(o->b->arena, inf->warn.help, o->bound.line));
}

static bool infer_data(OpCall *o, Tensor *const *in, int nin) {
    Shape *shapes = ARENA_ARRAY(o->b->arena, nin, Shape);
    for (int i = 0; i < nin; i++)
        shapes[i] = in[i]->shape;
    Infer inf = {.attrs = o->bound.attrs, .nin = nin, .in = shapes};
    if (!op_infer(o->bound.op, &inf)) {
        refuse(o, &inf);
        return false;
    }
    warn_discarded(o, &inf);
    return true;
}

/* ---- nodes ---- */

/* An attribute that the compiler sets, or NULL. */
static void *mode_attr(const OpCall *o, const char *name) {
    const OpDef *def = op_def[o->bound.op];
    for (int i = 0; i < def->nattrs && op_is(o->bound.op, OPF_S); i++)
        if (def->attrs[i].internal && eq(def->attrs[i].name, name))
            return (char *)o->bound.attrs + def->attrs[i].offset;
    return NULL;
}

static void set_mode(OpCall *o) {
    int64_t *key = mode_attr(o, "key");
    bool *infer = mode_attr(o, "infer");
    if (key)
        *key = ++o->b->dropouts;
    if (infer)
        *infer = !mode_trains(o->b->mode);
    if (o->bound.op == OP_BN && mode_trains(o->b->mode) && o->b->mode != MODEL_TRAIN)
        ((BnAttrs *)o->bound.attrs)->momentum = 0; /* running statistics are training's */
}

/* A layer whose parameters are frozen works in training as it does elsewhere. */
static void set_frozen(OpCall *o, const LayerParams *params) {
    bool *infer = mode_attr(o, "infer");
    if (infer && params->n > 0 && o->b->m->params.at[params->index[0]].frozen)
        *infer = true;
}

static ValueId add_node(OpCall *o, int nin, const ValueId *in) {
    Graph *g = o->b->g;
    NodeId id = graph_node(g, o->bound.op, o->bound.attrs, nin, in);
    Node *n = graph_n(g, id);
    n->label = o->naming->row;
    n->loc = o->at->loc;
    return n->out[0];
}

static Tensor *result(OpCall *o, ValueId v) {
    Build *b = o->b;
    Tensor *t = ARENA_NEW(b->arena, Tensor);
    t->v = v;
    t->shape = graph_v(b->g, v)->shape;
    t->line = line_of(o->in, o->nin, &t->shape);
    t->text = ast_text(b->arena, o->at);
    if (o->s->trace) /* a block's text has the names of its parameters, not their values */
        t->text =
            line_text(b->arena, attr_detail(b->arena, o->bound.op, o->bound.attrs), o->bound.line);
    if (strlen(t->text) > 48)
        t->text = arena_printf(b->arena, "%s(..)", op_name[o->bound.op]);
    t->name = t->text;
    t->loc = o->at->loc;
    t->in = o->in;
    t->nin = o->nin;
    t->from = o->in[0];
    vec_push(b->arena, &b->tensors, t);
    field_of(b, t, o->bound.op, o->bound.attrs);
    return t;
}

static void remember_owner(OpCall *o, const LayerParams *params) {
    LabelInfo *own = ARENA_NEW(o->b->arena, LabelInfo);
    own->name = o->naming->param;
    own->op = o->bound.op;
    own->nparams = params->n;
    own->src = o->in[0]->shape;
    memcpy(own->param, params->index, sizeof params->index);
    map_put(&o->b->owners, own->name, own);
}

static Tensor *make(OpCall *o) {
    Build *b = o->b;
    ValueId in[260];
    int n = 0;
    LayerParams params;
    bool owner = op_is(o->bound.op, OPF_P);
    if (owner) {
        if (!build_params(b, o->s, o->at, &o->bound, o->in[0], o->naming, &params))
            return tensor_poison(b, o->at->loc);
        remember_owner(o, &params);
        set_frozen(o, &params);
        if (o->bound.share)
            params.count = params.n = 0; /* counted where they were made */
    }
    for (int i = 0; i < o->nin; i++)
        in[n++] = o->in[i]->v;
    if (owner)
        for (int i = 0; i < 4 && params.value[i]; i++)
            in[n++] = params.value[i];
    bool image = false; /* made of parameters alone? */
    for (int i = 0; i < o->nin; i++)
        image |= graph_v(b->g, in[i])->batched;
    if (!image && o->bound.op == OP_DENSE)
        o->bound.op = OP_VDENSE;
    ValueId v;
    if (is_nary(o->bound.op) && n > 2) {
        v = in[0];
        for (int i = 1; i < n; i++)
            v = add_node(o, 2, (ValueId[]){v, in[i]});
    } else {
        v = add_node(o, n, in);
    }
    Tensor *t = result(o, v);
    t->weight = owner ? params.made : NULL;
    if (b->mode == MODEL_FORWARD && !op_is(o->bound.op, OPF_L))
        row_add(b, o->bound.op, t, o->naming, o->bound.attrs, owner ? &params : NULL, o->at->loc);
    return t;
}

/* Of operands that may trade places the largest comes first; smaller ones are repeated (flag K). */
static void largest_first(OpCall *o) {
    int best = 0;
    for (int i = 1; i < o->nin; i++)
        if (shape_elems(&o->in[i]->shape) > shape_elems(&o->in[best]->shape))
            best = i;
    if (!is_nary(o->bound.op) || best == 0)
        return;
    int64_t big[3], small[3];
    int ranks = 1 << o->in[best]->shape.rank | 1 << o->in[0]->shape.rank;
    if (ranks & ~(1 << 1 | 1 << 3))
        return;
    shape_chw(&o->in[best]->shape, &big[0], &big[1], &big[2]);
    shape_chw(&o->in[0]->shape, &small[0], &small[1], &small[2]);
    for (int d = 0; d < 3; d++)
        if (small[d] != 1 && small[d] != big[d])
            return; /* infer refuses them as they were written */
    Tensor *first = o->in[0];
    o->in[0] = o->in[best];
    o->in[best] = first;
}

static bool infer_all(OpCall *o) {
    largest_first(o);
    if (!is_nary(o->bound.op) || o->nin <= 2)
        return infer_data(o, o->in, o->nin);
    for (int i = 1; i < o->nin; i++)
        if (!infer_data(o, (Tensor *[]){o->in[0], o->in[i]}, 2))
            return false;
    return true;
}

Tensor *build_op(Build *b, Scope *s, const Ast *at, int op, Flow flow, const Naming *naming) {
    OpCall *o = ARENA_NEW(b->arena, OpCall);
    *o = (OpCall){.b = b, .s = s, .at = at, .naming = naming};
    if (!expand_count(b, at->loc))
        return tensor_poison(b, at->loc);
    bool bound = sema_bind(b, s, at, op, naming->row, &o->bound);
    if (!bound || !gather_inputs(o, flow) || !line_bind(b, s, &o->bound, o->in, o->nin) ||
        !clip_inputs(o))
        return tensor_poison(b, at->loc);
    Tensor *alone = clip_alone(o);
    if (alone)
        return alone;
    if (op == OP_CONV2D && !connect_table(o))
        return tensor_poison(b, at->loc);
    if (!infer_all(o) || !mask_groups(o))
        return tensor_poison(b, at->loc);
    set_mode(o);
    Tensor *t = make(o);
    return t->poison ? t : clip_outputs(o, t);
}
