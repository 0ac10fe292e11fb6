/* build_ends.c: where a net begins and ends: inputs, outputs, losses, metrics; and one whole walk.
 *
 * requires: sema_net's lists.  ensures: the score (what the softmax or argmin is taken of) is
 * known; values that the runtime reads are marked keep; layers that nothing uses are reported
 * (W0401).
 */
#include <string.h>

#include "front/sema.h"

enum { INPUTS_MAX = 4 }; /* rt_frame.input */

static Tensor *leaf(Build *b, TensorKind kind, ValueId v, const char *name, LocRange loc) {
    Tensor *t = ARENA_NEW(b->arena, Tensor);
    t->kind = kind;
    t->v = v;
    t->shape = graph_v(b->g, v)->shape;
    t->name = t->text = name;
    t->loc = loc;
    t->field = (Field){{1, 1}, {1, 1}, {0, 0}, false};
    return t;
}

/* ---- inputs ---- */

static void size_wanted(Build *b, const Val *v) {
    Diag *d = diag_error(b->diag, v->loc, "E0110",
                         "the size '%s' is chosen when a program is built", v->text);
    diag_help(d,
              "netc build -D %s=224 makes the program for one size; other sizes are builds of "
              "their own with the same weights",
              v->text);
}

/* dim(H, multiple = 32, default = 224) */
static bool symbolic_dim(Build *b, const Val *call, int64_t *out) {
    static const char *const names[] = {"name", "multiple", "default"};
    Val a[3];
    int64_t multiple = 1;
    if (!call_args(b, call, names, 3, 1, a) ||
        (a[1].kind != V_BAD && !expr_int(b, &a[1], "multiple of dim", 1, LIMIT_DIM, &multiple)))
        return false;
    if (a[0].kind == V_NAME) {
        size_wanted(b, &a[0]);
        return false;
    }
    if (!expr_int(b, &a[0], "an extent of an input", 1, LIMIT_DIM, out))
        return false;
    if (*out % multiple == 0)
        return true;
    Diag *d =
        diag_error(b->diag, call->loc, "E0303", "the size must be a multiple of %lld, got %lld",
                   (long long)multiple, (long long)*out);
    diag_help(d, "the nearest that fits is %lld",
              (long long)((*out + multiple - 1) / multiple * multiple));
    return false;
}

static bool dim_value(Build *b, Scope *s, const Ast *e, int64_t *out) {
    Val v = expr_eval(b, s, e);
    if (v.kind == V_CALL && eq(v.text, "dim"))
        return symbolic_dim(b, &v, out);
    if (v.kind == V_NAME && map_has(&b->net->dims, v.text)) {
        size_wanted(b, &v);
        return false;
    }
    return expr_int(b, &v, "an extent of an input", 1, LIMIT_DIM, out);
}

static bool shape_rank(Build *b, const Ast *type, int rank) {
    if (rank >= 1 && rank <= 4)
        return true;
    Diag *d = diag_error(b->diag, type->loc, "E0304",
                         "an input has 1 to 4 extents, as in f32[channels, height, width], got %d",
                         rank);
    diag_help(d, "images are f32[channels, height, width], sequences f32[channels, length], clips "
                 "f32[channels, frames, height, width]; the batch is never written");
    return false;
}

/* [C, H, W] or [C, D, H, W] of an input, from its type or from `set image.shape = [..]`; *line: it
 * was [C, L]. */
static bool input_shape(Build *b, const Member *m, Shape *shape, bool *line) {
    const Ast *type = m->ast->input.type;
    const AstList *dims = &type->type.dims;
    Scope *s = m->scope;
    const Ast *at = type;
    const Member *set = map_get(&b->net->shapes, m->ast->name);
    if (set) {
        at = set->ast->kind == AST_SET ? set->ast->set.value : set->ast;
        s = set->scope;
        if (at->kind != AST_LIST) {
            diag_error(b->diag, at->loc, "E0111", "a shape is a list: [3, 224, 224]");
            return false;
        }
        dims = &at->list.items;
    }
    if (!shape_rank(b, at, dims->count))
        return false;
    *line = dims->count == 2;
    *shape = (Shape){.rank = dims->count + *line, .dim = {1, 1, 1}};
    int64_t elems = 1;
    for (int i = 0; i < dims->count; i++) {
        int64_t *dim = &shape->dim[*line ? 2 * i : i];
        if (!dim_value(b, s, dims->items[i], dim))
            return false;
        if (__builtin_mul_overflow(elems, *dim, &elems) || elems > LIMIT_ELEMENTS) {
            diag_error(b->diag, at->loc, "E0305", "an image of more than %lld numbers",
                       (long long)LIMIT_ELEMENTS);
            return false;
        }
    }
    if (shape->rank == 4) /* [C, D, H, W]: a clip of D images */
        *shape = shape_clip(
            (Shape){3, {shape->dim[0], shape->dim[2], shape->dim[3]}}, shape->dim[1]);
    return true;
}

static Tensor *image_input(Build *b, const Member *m) {
    const Ast *in = m->ast;
    Shape shape;
    bool line;
    if (!input_shape(b, m, &shape, &line))
        return tensor_poison(b, in->loc);
    int slot = b->inputs++;
    if (slot == INPUTS_MAX) {
        diag_error(b->diag, in->loc, "E0130", "a net has at most %d inputs of numbers", INPUTS_MAX);
        return tensor_poison(b, in->loc);
    }
    ValueId raw = graph_input(b->g, VK_INPUT, DT_F32, shape, true, slot, NULL);
    ValueId v = graph_op(b->g, OP_LOAD_INPUT, NULL, 1, &raw);
    Node *n = graph_n(b->g, graph_v(b->g, v)->def);
    n->label = in->name;
    n->loc = in->loc;
    graph_set_name(b->g, v, in->name);
    if (slot == 0)
        b->mg->image = v;
    if (b->mode == MODEL_FORWARD) {
        if (slot == 0)
            b->m->input = ARENA_ARRAY(b->arena, INPUTS_MAX, ModelInput);
        b->m->input[slot] = (ModelInput){.name = in->name, .shape = shape, .line = line};
        b->m->ninputs = slot + 1;
    }
    Tensor *t = leaf(b, TENSOR_IMAGE, v, in->name, in->loc);
    t->line = line;
    return t;
}

/* [H, W] of a class per pixel: from `class[21, H, W]` or `set label.shape = [H, W]`; [1, L] of one
 * per step of a sequence, from `class[5, L]` or [L]; rank 0: one class per image. */
static bool label_shape(Build *b, const Member *m, Shape *shape) {
    const AstList *dims = &m->ast->input.type->type.dims;
    const Member *set = map_get(&b->net->shapes, m->ast->name);
    const Ast *value = set ? set->ast->kind == AST_SET ? set->ast->set.value : set->ast : NULL;
    *shape = (Shape){.rank = 0};
    if (!set && dims->count == 1)
        return true;
    int first = set ? 0 : 1;
    const AstList *list = set && value->kind == AST_LIST ? &value->list.items : dims;
    int extents = list->count - first;
    if ((set && value->kind != AST_LIST) || extents < 1 || extents > 2) {
        Diag *d = diag_error(b->diag, value ? value->loc : m->ast->input.type->loc, "E0304",
                             "a class label is one number per image or a map of them");
        diag_help(d,
                  "class[10] is one of 10; class[21, 224, 224] or set %s.shape = [224, 224] one "
                  "for each pixel; class[5, 98] one for each step of a sequence",
                  m->ast->name);
        return false;
    }
    *shape = (Shape){2, {1, 1}};
    for (int i = 0; i < extents; i++)
        if (!dim_value(b, set ? set->scope : m->scope, list->items[first + i],
                       &shape->dim[2 - extents + i]))
            return false;
    return true;
}

static bool same_cells(Build *b, const Ast *in, const Shape *shape) {
    int64_t cells = shape_elems(shape);
    if (b->m->label_cells == 0 || b->m->label_cells == cells) {
        b->m->label_cells = cells;
        return true;
    }
    diag_error(b->diag, in->loc, "E0801",
               "not built yet: a class per pixel beside one per image, or of another size");
    return false;
}

static Tensor *class_input(Build *b, const Member *m) {
    const Ast *in = m->ast;
    const AstList *dims = &in->input.type->type.dims;
    int64_t classes;
    Shape shape;
    if (dims->count < 1) {
        diag_error(b->diag, in->input.type->loc, "E0304", "class takes one number: class[10]");
        return tensor_poison(b, in->loc);
    }
    if (!dim_value(b, m->scope, dims->items[0], &classes) || !label_shape(b, m, &shape))
        return tensor_poison(b, in->loc);
    int slot = b->mode == MODEL_FORWARD ? b->m->nlabels : 0;
    if (b->mode == MODEL_FORWARD) {
        if (slot == 2) {
            diag_error(b->diag, in->loc, "E0801", "not built yet: more than two class labels");
            return tensor_poison(b, in->loc);
        }
        if (!same_cells(b, in, &shape))
            return tensor_poison(b, in->loc);
        if (!b->m->label)
            b->m->label = ARENA_ARRAY(b->arena, 2, ModelLabel);
        b->m->label[b->m->nlabels++] = (ModelLabel){in->name, classes};
    }
    for (int i = 0; i < b->m->nlabels; i++)
        if (eq(b->m->label[i].name, in->name))
            slot = i;
    ValueId v = graph_input(b->g, VK_LABEL, DT_I32, shape, true, slot, in->name);
    Tensor *t = leaf(b, TENSOR_CLASS, v, in->name, in->loc);
    t->classes = classes;
    return t;
}

static void run_input(Build *b, const Member *m) {
    static const char *const types[] = {"f32", "class"};
    const char *type = m->ast->input.type->name;
    Tensor *t;
    if (spec_op(m->ast->name) != OP_NONE || map_has(&b->blocks, m->ast->name)) {
        diag_error(b->diag, m->ast->name_loc, "E0112", "'%s' is the name of an operation",
                   m->ast->name);
        return;
    }
    if (eq(type, "f32")) {
        t = image_input(b, m);
        if (!b->flow)
            b->flow = t;
    } else if (eq(type, "class")) {
        t = class_input(b, m);
    } else {
        const Ast *at = m->ast->input.type;
        Diag *d = diag_error(b->diag, at->loc, "E0103",
                             type ? "unknown type '%s'; an input is f32[C, H, W] or class[N]"
                                  : "an input needs a type: f32[C, H, W] or class[N]%.0s",
                             type ? type : "");
        if (type)
            diag_suggest(d, at->name_loc, nearest_name(type, types, 2));
        t = tensor_poison(b, at->loc);
        if (!b->flow)
            b->flow = t;
    }
    label_declare(b, m->ast->name, m->ast->name_loc, t);
}

/* ---- parameters of the net itself ---- */

static void run_param(Build *b, const Member *m) {
    const Ast *p = m->ast, *type = p->param.type;
    const AstList *dims = &type->type.dims;
    Shape shape = {.rank = dims->count};
    int64_t elems = 1;
    Tensor *t = NULL;
    if (spec_op(p->name) != OP_NONE || map_has(&b->blocks, p->name)) {
        diag_error(b->diag, p->name_loc, "E0112", "'%s' is the name of an operation", p->name);
        return;
    }
    if (!eq(type->name, "f32") || dims->count < 1 || dims->count > 4) {
        Diag *d = diag_error(b->diag, type->loc, "E0304", "a param has 1 to 4 extents: f32[16, 9]");
        diag_help(d, "the batch is never written: one tensor serves all images");
        t = tensor_poison(b, type->loc);
    }
    for (int i = 0; i < dims->count && !t; i++)
        if (!dim_value(b, m->scope, dims->items[i], &shape.dim[i]))
            t = tensor_poison(b, type->loc);
        else if (__builtin_mul_overflow(elems, shape.dim[i], &elems) || elems > LIMIT_ELEMENTS) {
            diag_error(b->diag, type->loc, "E0305", "a param of more than %lld numbers",
                       (long long)LIMIT_ELEMENTS);
            t = tensor_poison(b, type->loc);
        }
    if (!t)
        t = build_param(b, m->scope, p, &shape);
    label_declare(b, p->name, p->name_loc, t);
}

/* ---- outputs ---- */

/* A name that is no layer's may be an output's. */
static void output_is_no_layer(Build *b, Diag *d, const char *name) {
    for (int i = 0; i < b->outputs && name; i++)
        for (int k = 0; k < b->order.len && eq(b->m->output[i].name, name); k++) {
            const Tensor *t = b->order.data[k]->tensor;
            if (t && t->v && t->v == b->m->output[i].score[b->mode]) {
                diag_help(d, "'%s' is an output; the layer behind it is '%s'", name,
                          b->order.data[k]->name);
                return;
            }
        }
}

/* argmax(x), argmin(x): which value decides, and in which direction. */
static Tensor *winner(Build *b, const Val *v, bool *smallest) {
    static const char *const one[] = {"value"};
    Val x;
    *smallest = v->text[3] == 'm' && v->text[4] == 'i';
    if (!call_args(b, v, one, 1, 1, &x))
        return NULL;
    if (x.kind == V_TENSOR && x.tensor->kind == TENSOR_LAYER)
        return x.tensor;
    Diag *d = diag_error(b->diag, x.loc, "E0111", "%s takes a layer, got %s", v->text,
                         x.kind == V_NAME ? arena_printf(b->arena, "the unknown name '%s'", x.text)
                                          : val_kind_text(&x));
    if (x.kind == V_NAME)
        output_is_no_layer(b, d, x.text);
    return NULL;
}

static bool is_winner(const Val *v) {
    return v->kind == V_CALL && (eq(v->text, "argmax") || eq(v->text, "argmin"));
}

static Tensor *score_of(Build *b, const Val *v, bool *smallest) {
    *smallest = false;
    if (is_winner(v))
        return winner(b, v, smallest);
    if (v->kind == V_TENSOR && v->tensor->kind == TENSOR_LAYER)
        return v->tensor;
    if (v->kind == V_TENSOR && v->tensor->poison)
        return v->tensor;
    if (v->kind == V_NAME || v->kind == V_CALL) {
        const char **all = ARENA_ARRAY(b->arena, b->order.len + 3, const char *);
        int n = 0;
        for (; n < b->order.len; n++)
            all[n] = b->order.data[n]->name;
        if (v->kind == V_CALL) {
            all[n++] = "argmax";
            all[n++] = "argmin";
            all[n++] = "softmax";
        }
        Diag *d = diag_error(b->diag, v->loc, v->kind == V_NAME ? "E0103" : "E0104",
                             v->kind == V_NAME ? "unknown layer '%s'" : "unknown operation '%s'",
                             v->text);
        diag_suggest(d, v->kind == V_CALL ? v->ast->call.callee->loc : v->loc,
                     nearest_name(v->text, all, n));
        output_is_no_layer(b, d, v->kind == V_NAME ? v->text : NULL);
    } else if (v->kind != V_BAD) {
        diag_error(b->diag, v->loc, "E0111", "a layer is wanted here, got %s", val_kind_text(v));
    }
    return NULL;
}

/* Marks t and all it depends on; values were made in topological order. */
static void reach(Build *b, Tensor *t) {
    t->reached = true;
    for (int i = b->tensors.len - 1; i >= 0; i--) {
        const Tensor *at = b->tensors.data[i];
        for (int k = 0; at->reached && k < at->nin; k++)
            at->in[k]->reached = true;
        if (at->reached && at->weight)
            at->weight->reached = true;
    }
}

static void keep(Build *b, Tensor *t) {
    if (t && t->v)
        graph_v(b->g, t->v)->keep = true;
}

/* Of a softmax what it is taken of, else t. */
static Tensor *before_softmax(Build *b, Tensor *t) {
    const Node *def = t->v ? graph_n(b->g, graph_v(b->g, t->v)->def) : NULL;
    return def && def->op == OP_SOFTMAX ? t->in[0] : t;
}

/* What commands and files call it: `name`, or the layer's; "output2" where that is no name. */
static const char *output_name(Build *b, const Tensor *t, const char *name) {
    const char *text = name ? name : t->name;
    bool word = text && *text;
    for (const char *p = text; word && *p; p++)
        word = *p == '_' || *p == '.' || (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
               (*p >= 'A' && *p <= 'Z');
    if (word)
        return text;
    return b->outputs ? arena_printf(b->arena, "output%d", b->outputs + 1) : "output";
}

/* The next output: t. */
static void add_output(Build *b, Tensor *t, bool smallest, const char *name) {
    Tensor *score = before_softmax(b, t);
    ModelOutput *o = &b->m->output[b->outputs];
    if (b->mode == MODEL_FORWARD)
        *o = (ModelOutput){.name = output_name(b, t, name),
                           .shape = tensor_shape(t),
                           .softmax = score != t,
                           .smallest_wins = smallest};
    o->value[b->mode] = t->v;
    o->score[b->mode] = score->v;
    b->m->noutputs = ++b->outputs;
    reach(b, t);
    if (b->mode == MODEL_FORWARD)
        keep(b, t);
}

/* The first output, or what stands for it where none is declared. */
static void set_score(Build *b, Tensor *t, bool smallest, const char *name) {
    if (t->poison)
        return;
    b->score = before_softmax(b, t);
    b->prob = b->score != t ? t : NULL;
    add_output(b, t, smallest, name);
    if (b->mode != MODEL_FORWARD)
        return;
    b->m->smallest_wins = smallest;
    b->m->output_name = name ? name : t->name;
    bool pixels = b->score->shape.rank == 3 && b->m->label_cells > 1;
    b->m->classes = b->score->shape.rank == 1 || pixels ? b->score->shape.dim[0] : 0;
}

static bool output_is_new(Build *b, const Ast *arg, const Tensor *t) {
    const char *name = output_name(b, t, arg->name);
    if (arg->name && map_has(&b->labels, arg->name)) {
        diag_error(b->diag, arg->name_loc, "E0113", "'%s' is a layer's label already", arg->name);
        return false;
    }
    for (int i = 0; i < b->outputs; i++)
        if (eq(b->m->output[i].name, name)) {
            Diag *d = diag_error(b->diag, arg->loc, "E0113", "output '%s' is declared twice", name);
            diag_help(d, "output NAME = .. gives it another name");
            return false;
        }
    if (b->outputs == OUTPUTS_MAX)
        diag_error(b->diag, arg->loc, "E0130", "more than %d outputs", OUTPUTS_MAX);
    return b->outputs < OUTPUTS_MAX;
}

static void run_output(Build *b, const Member *m) {
    AST_EACH(arg, m->ast->output.args) {
        Val v = expr_eval(b, m->scope, arg->arg.value);
        bool smallest;
        Tensor *t = score_of(b, &v, &smallest);
        if (!t || t->poison || !output_is_new(b, arg, t))
            continue;
        if (b->score)
            add_output(b, t, smallest, arg->name);
        else
            set_score(b, t, smallest, arg->name);
    }
}

/* ---- losses and metrics ---- */

static void unknown_loss(Build *b, const Ast *call) {
    const char *all[OP_COUNT];
    int n = 0;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (op_is(op, OPF_U) && op_is(op, OPF_L))
            all[n++] = op_name[op];
    const char *name = call->name ? call->name : ast_text(b->arena, call->call.callee);
    Diag *d = diag_error(b->diag, call->call.callee->loc, "E0104", "'%s' is not a loss", name);
    diag_suggest(d, call->call.callee->loc, nearest_name(name, all, n));
    StrBuf list = sb_new(b->arena);
    for (int i = 0; i < n; i++)
        sb_printf(&list, "%s%s", i ? ", " : "", all[i]);
    diag_help(d, "losses: %s", list.text);
}

static void check_loss(Build *b, const Ast *call, const Tensor *loss) {
    const Tensor *x = loss->in[0], *label = loss->nin > 1 ? loss->in[1] : x;
    const Node *def = graph_n(b->g, graph_v(b->g, x->v)->def);
    int64_t n = x->shape.rank > 0 && label->kind == TENSOR_CLASS ? x->shape.dim[0] : 0;
    if (n && n != label->classes) {
        Diag *d = diag_error(b->diag, call->loc, "E0334",
                             "%s: '%s' has %lld values, '%s' has %lld classes", call->name, x->name,
                             (long long)n, label->name, (long long)label->classes);
        diag_note(d, label->loc, "the label is declared here");
        note_derivation(b, d, x, "derivation");
        diag_help(d, "there is one value for each class: make %lld values, or declare class[%lld]",
                  (long long)label->classes, (long long)n);
    }
    if (def->op == OP_SOFTMAX && eq(call->name, "cross_entropy")) {
        Diag *d = diag_warning(b->diag, call->loc, "W0402",
                               "cross_entropy contains the softmax; '%s' is one already", x->name);
        diag_help(d, "give it '%s'", x->in[0]->name);
    }
}

static void run_loss(Build *b, const Member *m) {
    const Ast *call = m->ast->loss.call;
    int op = call->name ? spec_op(call->name) : OP_NONE;
    if (op == OP_NONE || !op_is(op, OPF_L)) {
        unknown_loss(b, call);
        return;
    }
    if (b->mg->nlosses == 8) {
        diag_error(b->diag, m->ast->loc, "E0130", "more than 8 losses");
        return;
    }
    Naming naming = {.param = m->ast->name, .row = m->ast->name};
    Tensor *t = build_op(b, m->scope, call, op, (Flow){0}, &naming);
    if (t->poison)
        return;
    check_loss(b, call, t);
    reach(b, t);
    graph_set_name(b->g, t->v, arena_printf(b->arena, "loss.%s", m->ast->name));
    keep(b, t);
    b->mg->loss_name[b->mg->nlosses] = m->ast->name;
    b->mg->loss[b->mg->nlosses++] = t->v;
    if (!b->score) /* no output declared: the first loss says what the net computes */
        set_score(b, before_softmax(b, t->in[0]), op == OP_LENET_MAP, NULL);
}

/* Which output a metric of t judges; -1: none is made from it. */
static int judged_output(const Build *b, const Tensor *t, bool smallest) {
    int found = -1;
    for (int i = 0; i < b->outputs; i++) {
        const ModelOutput *o = &b->m->output[i];
        if (o->value[b->mode] != t->v && o->score[b->mode] != t->v)
            continue;
        if (found < 0 || (o->smallest_wins == smallest &&
                          b->m->output[found].smallest_wins != smallest))
            found = i;
    }
    return found;
}

/* eval reads the output's score: a number for each class. */
static void measure(Build *b, int output) {
    ModelOutput *o = &b->m->output[output];
    o->measured = true;
    graph_v(b->g, o->score[b->mode])->keep = true;
}

static void metric_value(Build *b, const Ast *call, const Val *v, const Val *label,
                         rt_metric *out) {
    bool smallest;
    Tensor *t = score_of(b, v, &smallest);
    if (!t || t->poison)
        return;
    reach(b, t);
    if (label->kind != V_TENSOR || label->tensor->kind != TENSOR_CLASS) {
        if (label->kind != V_TENSOR || !label->tensor->poison)
            diag_error(b->diag, label->loc, "E0111", "%s compares with a class label, got %s",
                       call->name, label->kind == V_NAME ? label->text : val_kind_text(label));
        return;
    }
    if (!b->score)
        set_score(b, t, smallest, NULL);
    int at = judged_output(b, t, smallest);
    const ModelOutput *o = &b->m->output[at < 0 ? 0 : at];
    const Tensor *class = label->tensor;
    out->smallest_wins = smallest;
    out->output = at < 0 ? 0 : at;
    if (at < 0) {
        Diag *d = diag_error(b->diag, v->loc, "E0111",
                             "a metric of '%s', which no output is made from", t->name);
        diag_help(d, "metrics judge outputs; write output NAME = %s beside the others", t->name);
    } else if (smallest != o->smallest_wins) {
        diag_error(b->diag, v->loc, "E0111", "the output takes the %s value, this metric the %s",
                   o->smallest_wins ? "smallest" : "largest", smallest ? "smallest" : "largest");
    } else if (at > 0 && (o->shape.rank != 1 || o->shape.dim[0] != class->classes)) {
        Diag *d = diag_error(b->diag, v->loc, "E0334",
                             "%s: '%s' has %lld values, '%s' has %lld classes", call->name, t->name,
                             (long long)shape_elems(&o->shape), class->name,
                             (long long)class->classes);
        diag_note(d, class->loc, "the label is declared here");
    } else if (at > 0) {
        measure(b, at);
    }
}

static void run_metric(Build *b, const Member *m, rt_metric *out) {
    static const char *const error_args[] = {"value", "label"},
                             *const top_args[] = {"value", "label", "k"},
                             *const known[] = {"error_rate", "topk"};
    const Ast *call = m->ast->loss.call;
    Val v = {.kind = V_CALL, .loc = call->loc, .text = call->name, .ast = call, .scope = m->scope};
    Val a[3];
    int64_t k = 1;
    out->name = m->ast->name;
    if (eq(call->name, "error_rate")) {
        out->kind = RT_METRIC_ERROR_RATE;
        if (!call_args(b, &v, error_args, 2, 2, a))
            return;
        if (!is_winner(&a[0]) && a[0].kind == V_TENSOR && !a[0].tensor->poison) {
            diag_help(diag_error(b->diag, a[0].loc, "E0111",
                                 "error_rate compares a decision with the label"),
                      "write argmax(%s), or argmin where the smallest value wins",
                      a[0].tensor->name);
            return;
        }
    } else if (eq(call->name, "topk")) {
        out->kind = RT_METRIC_TOPK;
        if (!call_args(b, &v, top_args, 3, 3, a) ||
            !expr_int(b, &a[2], "k of topk", 1, LIMIT_DIM, &k))
            return;
    } else {
        Diag *d = diag_error(b->diag, call->call.callee->loc, "E0104", "'%s' is not a metric",
                             call->name ? call->name : ast_text(b->arena, call->call.callee));
        if (call->name)
            diag_suggest(d, call->call.callee->loc, nearest_name(call->name, known, 2));
        diag_help(d, "metrics: error_rate(argmax(x), label), topk(x, label, k = 5)");
        return;
    }
    out->k = (int32_t)k;
    metric_value(b, call, &a[0], &a[1], out);
    int64_t classes = out->output ? b->m->output[out->output].shape.dim[0] : b->m->classes;
    if (out->kind == RT_METRIC_TOPK && classes && k > classes)
        diag_error(b->diag, a[2].loc, "E0303", "k = %lld, but the output has %lld values",
                   (long long)k, (long long)classes);
}

static void run_metrics(Build *b) {
    int n = b->net->metrics.len;
    if (b->mode != MODEL_FORWARD)
        return;
    if (n > RT_MAX_METRICS) {
        diag_error(b->diag, b->net->metrics.data[RT_MAX_METRICS].ast->loc, "E0130",
                   "more than %d metrics", RT_MAX_METRICS);
        n = RT_MAX_METRICS;
    }
    b->m->metric = ARENA_ARRAY(b->arena, n, rt_metric);
    b->m->nmetrics = n;
    for (int i = 0; i < n; i++)
        run_metric(b, &b->net->metrics.data[i], &b->m->metric[i]);
}

/* Outputs beside the first whose score a loss compares with a class: eval tells their errors. */
static void judge_outputs(Build *b) {
    for (int k = 0; k < b->mg->nlosses && b->mode == MODEL_FORWARD; k++) {
        const Node *loss = graph_n(b->g, graph_v(b->g, b->mg->loss[k])->def);
        bool class = loss->nin > 1 && graph_v(b->g, loss->in[1])->kind == VK_LABEL &&
                     b->m->label_cells <= 1;
        for (int i = 0; class && i < b->outputs; i++) {
            ModelOutput *o = &b->m->output[i];
            if (o->score[b->mode] != loss->in[0] || o->shape.rank != 1)
                continue;
            o->judged = true;
            if (i > 0)
                measure(b, i);
            break;
        }
    }
}

/* ---- after the walk ---- */

static void warn_dead(Build *b) {
    const char *outputs = b->score ? b->score->name : NULL;
    for (int i = 0; i < b->order.len && outputs; i++) {
        LabelInfo *l = b->order.data[i];
        if (!l->tensor || l->tensor->poison || l->tensor->reached || l->removed)
            continue;
        Diag *d = diag_warning(b->diag, l->loc, "W0401", "'%s' is never used", l->name);
        diag_note(d, LOC_NONE, "reachable outputs: %s",
                  b->m->output_name ? b->m->output_name : outputs);
    }
}

/* Never below zero: behind a rectifier, or moved, pooled or added from there. */
static bool not_negative(const Graph *g, ValueId v, int depth) {
    const Value *x = graph_v(g, v);
    if (x->kind != VK_RESULT || depth > 64)
        return false;
    const Node *n = graph_n(g, x->def);
    OpPart part = op_def[n->op]->part;
    if (n->op == OP_RELU)
        return true;
    if (n->op == OP_SUB || n->op == OP_NEG || n->op == OP_SCALE ||
        (part != PART_MOVES && part != PART_SUM && part != PART_MAX))
        return false;
    for (int i = 0; i < n->nin; i++)
        if (graph_v(g, n->in[i])->batched && !not_negative(g, n->in[i], depth + 1))
            return false;
    return true;
}

static int find_seed(const ModelSeed *seed, int n, ValueId value) {
    for (int k = 0; k < n; k++)
        if (seed[k].value == value)
            return k;
    return -1;
}

static int readers_of(const Graph *g, ValueId v) {
    int readers = 0;
    for (NodeId id = 1; id < g->nnode; id++)
        for (int i = 0; i < graph_n(g, id)->nin; i++)
            readers += graph_n(g, id)->in[i] == v;
    return readers;
}

/* What lies between a seed and the seeds or the sum below it (parts), and whether that is one
 * weighted sum of numbers that are not negative, with at most a bn right behind it: then base. */
static void find_parts(const Graph *g, ModelSeed *seed, int n, int of) {
    ModelSeed *s = &seed[of];
    const Node *norm = NULL, *x = NULL;
    ValueId v = s->value;
    for (bool more = true; more && graph_v(g, v)->kind == VK_RESULT;) {
        x = graph_n(g, graph_v(g, v)->def);
        OpPart part = op_def[x->op]->part;
        s->parts |= 1 << part;
        norm = part == PART_NORM ? x : norm;
        v = x->in[0];
        more = part != PART_WEIGHTS && part != PART_SUM && part != PART_OTHER &&
               (x->nin == 1 || part == PART_NORM) && find_seed(seed, n, v) < 0;
    }
    int below = find_seed(seed, n, v);
    if (norm && norm == x && below >= 0 && below < of && seed[below].base == below &&
        seed[below].parts == RT_PART_WEIGHTS && readers_of(g, v) == 1 &&
        norm->label && strcmp(norm->label, s->label) == 0)
        s->base = below;
    if (!(s->parts & RT_PART_WEIGHTS))
        return;
    if (!not_negative(g, v, 0))
        s->parts |= RT_PART_SIGNED;
    const Value *in = graph_v(g, v); /* kept, or stored because its rectifier's gradient reads it */
    bool there = in->keep || (in->kind == VK_RESULT && graph_n(g, in->def)->op == OP_RELU);
    if (there && !(s->parts & ~(RT_PART_WEIGHTS | RT_PART_NORM | RT_PART_MOVES)) && x->label &&
        strcmp(x->label, s->label) == 0 &&
        (!norm || (norm->in[0] == x->out[0] && norm->label && strcmp(norm->label, s->label) == 0)))
        s->base = of;
}

typedef VEC(ModelSeed) SeedVec;

static void add_seed(Build *b, SeedVec *seeds, const char *label, const Tensor *t) {
    for (int k = 0; k < seeds->len; k++)
        if (seeds->data[k].value == t->v)
            return;
    Field field = t->field;
    field.all |= shape_frames(&graph_v(b->g, b->mg->image)->shape) > 1; /* of which frame? */
    vec_push(b->arena, seeds,
             ((ModelSeed){label, t->v, field, 0, -1, t->leads}));
    graph_v(b->g, t->v)->keep = true;
}

static void collect_seeds(Build *b) {
    SeedVec seeds = {0};
    if (b->score)
        b->score->leads = true;
    for (int i = b->tensors.len - 1; i >= 0; i--) /* in topological order */
        for (int k = 0; b->tensors.data[i]->leads && k < b->tensors.data[i]->nin; k++)
            b->tensors.data[i]->in[k]->leads = true;
    for (int i = 0; i < b->order.len && seeds.len < 256; i++) {
        const LabelInfo *l = b->order.data[i];
        const Tensor *t = l->tensor;
        if (t && !t->poison && t->kind == TENSOR_LAYER && t->reached && !l->removed &&
            graph_v(b->g, t->v)->batched)
            add_seed(b, &seeds, l->name, t);
    }
    for (int i = 0; i < b->tensors.len; i++) /* scores without a label have the output's name */
        for (int k = 0; k < b->outputs; k++)
            if (b->outputs > 1 && b->tensors.data[i]->v == b->m->output[k].score[b->mode] &&
                graph_v(b->g, b->tensors.data[i]->v)->batched)
                add_seed(b, &seeds, b->m->output[k].name, b->tensors.data[i]);
    for (int i = 0; i < seeds.len; i++)
        find_parts(b->g, seeds.data, seeds.len, i);
    b->mg->seed = seeds.data;
    b->mg->nseeds = seeds.len;
}

static void need_ends(Build *b) {
    if (b->score || b->mode != MODEL_FORWARD)
        return;
    if (b->net->outputs.len || b->net->losses.len || b->net->metrics.len)
        return; /* they have errors of their own */
    if (diag_errors(b->diag) > 0)
        return;
    if (!b->flow || b->flow->kind != TENSOR_LAYER) {
        if (!b->flow || !b->flow->poison)
            diag_error(b->diag, b->net->decl->name_loc, "E0121", "net '%s' has no layer",
                       b->net->decl->name);
        return;
    }
    Diag *d = diag_warning(b->diag, b->net->decl->name_loc, "W0403",
                           "net '%s' has neither output nor loss: '%s' is taken as the output",
                           b->net->decl->name, b->flow->name);
    diag_help(d, "write output y = softmax(%s)", b->flow->name);
}

static void check_freezes(Build *b) {
    for (int i = 0; i < b->net->freezes.len; i++) {
        const FreezeMark *m = &b->net->freezes.data[i];
        if (m->used || map_has(&b->labels, m->pattern))
            continue;
        const char **all = ARENA_ARRAY(b->arena, b->order.len + 1, const char *);
        for (int k = 0; k < b->order.len; k++)
            all[k] = b->order.data[k]->name;
        Diag *d =
            diag_error(b->diag, m->loc, "E0114",
                       m->glob ? "no layer matches \"%s\"" : "no layer '%s' to freeze", m->pattern);
        if (!m->glob)
            diag_suggest(d, m->loc, nearest_name(m->pattern, all, b->order.len));
    }
}

void build_walk(Build *b) {
    Net *net = b->net;
    static const char *const names[MODEL_MODES] = {"forward", "train", "look", "curvature", "attack"};
    b->g = graph_new(b->arena, names[b->mode], net->name, &b->m->params);
    b->mg = &b->m->mode[b->mode];
    b->mg->graph = b->g;
    b->labels = map_new(b->arena);
    b->values = map_new(b->arena);
    b->owners = map_new(b->arena);
    b->order.len = b->tensors.len = 0;
    b->dropouts = b->expansion = 0;
    b->inputs = b->outputs = 0;
    b->flow = b->score = b->prob = NULL;
    net->scope->instance->counters = map_new(b->arena);
    net->file->counters = map_new(b->arena);
    for (int i = 0; i < net->inputs.len; i++)
        run_input(b, &net->inputs.data[i]);
    for (int i = 0; i < net->params.len; i++)
        run_param(b, &net->params.data[i]);
    build_items(b);
    if (b->limit_hit)
        return;
    for (int i = 0; i < net->outputs.len; i++)
        run_output(b, &net->outputs.data[i]);
    for (int i = 0; i < net->losses.len && b->mode != MODEL_LOOK; i++)
        run_loss(b, &net->losses.data[i]);
    judge_outputs(b);
    build_attack(b);
    run_metrics(b);
    need_ends(b);
    if (!b->score && b->flow && b->flow->kind == TENSOR_LAYER && !b->flow->poison)
        set_score(b, b->flow, false, NULL);
    if (b->mode == MODEL_FORWARD) {
        check_freezes(b);
        if (diag_errors(b->diag) == 0)
            warn_dead(b);
    }
    if (b->mode == MODEL_LOOK)
        collect_seeds(b);
    keep(b, b->score);
    b->mg->score = b->score ? b->score->v : 0;
    if (b->mode == MODEL_FORWARD && b->prob) {
        keep(b, b->prob);
        b->mg->prob = b->prob->v;
        if (!graph_v(b->g, b->prob->v)->name)
            graph_set_name(b->g, b->prob->v, b->m->output_name);
    }
}
