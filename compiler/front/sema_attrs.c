/* sema_attrs.c: the arguments of a call against the operator's attribute table.
 *
 * There is no code per operator here: names, types, ranges, defaults and positions come from
 * OpDef.attrs.  Sources, strongest first: `set layer.attr`, the call, the defaults section, the
 * table.  Layers that own parameters also take init, bias_init, frozen, share, lr_mult, decay_mult.
 *
 * requires: op is usable in a spec.  ensures: either every attribute has a value of its type within
 * its range, or each mistake was reported at its argument.
 */
#include <math.h>
#include <string.h>

#include "front/sema.h"
#include "ir/text.h"

/* Arguments of every layer with parameters. */
typedef enum {
    C_INIT,
    C_BIAS_INIT,
    C_CENTERS,
    C_FROZEN,
    C_SHARE,
    C_WEIGHT,
    C_REUSE,
    C_FLIP,
    C_LR,
    C_DECAY,
    C_COUNT
} Common;
static const char *const common_name[C_COUNT] = {"init",    "bias_init", "centers", "frozen",
                                                 "share",   "weight",    "reuse",   "flip",
                                                 "lr_mult", "decay_mult"};
static const char *const common_text[C_COUNT] = {
    "init=..",   "bias_init=..", "centers=..", "frozen=no", "share=..",
    "weight=..", "reuse=..",     "flip=no",    "lr_mult=1", "decay_mult=1"};

typedef struct Binder {
    Build *b;
    Scope *s;
    const Ast *at;
    const OpDef *def;
    Bound *out;
    bool given[ARG_MAX], given_common[C_COUNT];
    bool ok, unknown; /* unknown: a name was wrong, so positions and gaps mean little */
} Binder;

static bool takes_common(int op, int c) {
    if (!op_is(op, OPF_P))
        return false;
    if (c == C_CENTERS)
        return op == OP_RBF;
    if (c == C_SHARE && op_is(op, OPF_S)) /* it keeps statistics of its own input */
        return false;
    if (c == C_WEIGHT)
        return op == OP_CONV2D || op == OP_DENSE || op == OP_DECONV;
    if (c == C_REUSE || c == C_FLIP)
        return op == OP_CONV2D;
    if (op == OP_RBF)
        return c != C_INIT && c != C_BIAS_INIT;
    return true;
}

const char *op_signature(Arena *arena, int op) {
    const OpDef *def = op_def[op];
    StrBuf t = sb_new(arena);
    int n = 0;
    sb_putc(&t, '(');
    for (int i = 0; i < def->nattrs; i++) {
        const AttrDesc *a = &def->attrs[i];
        if (a->internal)
            continue;
        sb_printf(&t, "%s%s", n++ ? ", " : "", a->name);
        if (a->dflt)
            sb_printf(&t, "=%s", a->dflt);
    }
    for (int c = 0; c < C_COUNT; c++)
        if (takes_common(op, c))
            sb_printf(&t, "%s%s", n++ ? ", " : "", common_text[c]);
    sb_putc(&t, ')');
    return t.text;
}

static int attr_find(const OpDef *def, const char *name) {
    for (int i = 0; i < def->nattrs && i < ARG_MAX; i++)
        if (!def->attrs[i].internal && eq(def->attrs[i].name, name))
            return i;
    return -1;
}

/* ---- one value into the struct ---- */

static const char *what(Binder *x, const AttrDesc *a) {
    return arena_printf(x->b->arena, "%s of %s", a->name, op_name[x->out->op]);
}

static bool in_range(Binder *x, const AttrDesc *a, double v, LocRange loc) {
    if (a->min > a->max || (v >= a->min && v <= a->max))
        return true;
    Diag *d = diag_error(x->b->diag, loc, "E0303", "%s must be between %.10g and %.10g, got %.10g",
                         what(x, a), a->min, a->max, v);
    diag_note(d, LOC_NONE, "%s: %s", a->name, a->doc);
    if (a->max <= 1 && a->max > 0.9 && v > 1 && v <= 100)
        diag_help(d, "a share of the whole can be written %.10g%%", v);
    return false;
}

/* Where an argument's number for frames goes; NULL: the operation has none. */
static Depth *depth_of(Binder *x, const AttrDesc *a) {
    static const char *const name[DEPTHS] = {"kernel", "stride", "pad", "dilation"};
    for (int i = 0; i < DEPTHS && clip_takes_depth(x->out->op); i++)
        if (eq(a->name, name[i]))
            return &x->out->depth[i];
    return NULL;
}

/* The first number, or of [front, back, top, bottom, left, right] the first two. */
static bool take_depth(Binder *x, const AttrDesc *a, const Val *at, int given, Depth *depth) {
    depth->given = given;
    for (int i = 0; i < 2; i++)
        if (!expr_int(x->b, &at[given == 6 ? i : 0], what(x, a), -(INT64_C(1) << 52),
                      INT64_C(1) << 52, &depth->at[i]) ||
            !in_range(x, a, (double)depth->at[i], at->loc))
            return false;
    return true;
}

/* N, HxW or a list into n numbers: 2 for extents, 4 for pads (top, bottom, left, right). */
static bool set_numbers(Binder *x, const AttrDesc *a, const Val *v, int n, int64_t *out) {
    Val one = *v;
    int given = 1;
    const Val *at = &one;
    if (v->kind == V_EXTENT || v->kind == V_LIST) {
        given = v->n;
        at = v->at;
    }
    Depth *depth = depth_of(x, a);
    bool deep = depth && (given == 3 || (n == 4 && given == 6));
    if (given != 1 && given != 2 && given != n && !deep) {
        diag_error(x->b->diag, v->loc, "E0111", "%s takes N%s or HxW%s, got %d numbers", what(x, a),
                   depth ? ", DxHxW" : "", n == 4 ? " or [top, bottom, left, right]" : "", given);
        return false;
    }
    if (depth && !take_depth(x, a, at, given, depth))
        return false;
    if (deep) { /* the rest is about rows and columns */
        at += given == 3 ? 1 : 2;
        given -= given == 3 ? 1 : 2;
    }
    for (int i = 0; i < n; i++) {
        int from = given == 1 ? 0 : given == n ? i : i / 2;
        if (!expr_int(x->b, &at[from], what(x, a), -(INT64_C(1) << 52), INT64_C(1) << 52, &out[i]))
            return false;
        if (!in_range(x, a, (double)out[i], v->loc))
            return false;
    }
    return true;
}

static bool set_enum(Binder *x, const AttrDesc *a, const Val *v, int *out) {
    const char *word = v->kind == V_NAME || v->kind == V_STR ? v->text : NULL, *at = a->choices;
    VEC(const char *) all = {0};
    for (int i = 0; at; i++) {
        size_t n = strcspn(at, "|");
        const char *choice = intern(at, n);
        vec_push(x->b->arena, &all, choice);
        if (eq(word, choice)) {
            *out = i;
            return true;
        }
        at = at[n] ? at + n + 1 : NULL;
    }
    if (v->kind == V_BAD)
        return false;
    StrBuf list = sb_new(x->b->arena);
    for (int i = 0; i < all.len; i++)
        sb_printf(&list, "%s%s", i == 0 ? "" : i == all.len - 1 ? " or " : ", ", all.data[i]);
    Diag *d = diag_error(x->b->diag, v->loc, "E0111", "%s must be %s, got %s", what(x, a),
                         list.text, val_text(x->b->arena, v));
    if (word)
        diag_suggest(d, v->loc, nearest_name(word, all.data, all.len));
    return false;
}

static bool set_attr(Binder *x, int i, const Val *v) {
    const AttrDesc *a = &x->def->attrs[i];
    void *at = (char *)x->out->attrs + a->offset;
    double num;
    if (v->kind == V_BAD || (v->kind == V_TENSOR && v->tensor->poison))
        return false;
    switch (a->type) {
    case AT_INT:
        return expr_num(x->b, v, what(x, a), &num) && in_range(x, a, num, v->loc) &&
               expr_int(x->b, v, what(x, a), INT64_MIN / 2, INT64_MAX / 2, at);
    case AT_BOOL:
        return expr_bool(x->b, v, what(x, a), at);
    case AT_FLOAT:
        if (!expr_num(x->b, v, what(x, a), &num) || !in_range(x, a, num, v->loc))
            return false;
        *(double *)at = num;
        return true;
    case AT_EXTENT:
        return set_numbers(x, a, v, 2, at);
    case AT_PADS:
        return set_numbers(x, a, v, 4, at);
    case AT_ENUM:
        return set_enum(x, a, v, at);
    case AT_TABLE:
        if (v->kind == V_NAME && eq(v->text, "all"))
            return true;
        if (v->kind != V_LIST) {
            diag_error(x->b->diag, v->loc, "E0308",
                       "%s must be `all` or one list of input maps per output map, got %s",
                       what(x, a), val_kind_text(v));
            return false;
        }
        Val *copy = ARENA_NEW(x->b->arena, Val);
        *copy = *v;
        x->out->connect = copy;
        return true;
    case AT_STR:
        if (v->kind == V_STR) {
            *(const char **)at = v->text;
            return true;
        }
        diag_error(x->b->diag, v->loc, "E0111", "%s must be a string, got %s", what(x, a),
                   val_kind_text(v));
        return false;
    }
    return false;
}

static bool set_common(Binder *x, int c, const Ast *value, Scope *scope) {
    Bound *o = x->out;
    Val v;
    switch (c) {
    case C_INIT:
    case C_CENTERS:
        *(c == C_INIT ? &o->init : &o->centers) = value;
        o->init_scope = scope;
        return true;
    case C_BIAS_INIT:
        o->bias_init = value;
        o->bias_scope = scope;
        return true;
    case C_SHARE:
        o->share = value;
        return true;
    case C_WEIGHT:
        o->weight = value;
        o->init_scope = o->init ? o->init_scope : scope;
        return true;
    case C_REUSE:
        o->reuse = value;
        return true;
    case C_FLIP:
        v = expr_eval(x->b, scope, value);
        return expr_bool(x->b, &v, "flip", &o->flip);
    case C_FROZEN:
        v = expr_eval(x->b, scope, value);
        o->has_frozen = true;
        return expr_bool(x->b, &v, "frozen", &o->frozen);
    default:
        o->has_decay |= c == C_DECAY;
        v = expr_eval(x->b, scope, value);
        return expr_num(x->b, &v, common_name[c], c == C_LR ? &o->lr_mult : &o->decay_mult);
    }
}

/* ---- arguments ---- */

static void unknown_argument(Binder *x, const Ast *arg) {
    int op = x->out->op;
    const char *all[ARG_MAX + C_COUNT];
    int n = 0;
    for (int i = 0; i < x->def->nattrs && i < ARG_MAX; i++)
        if (!x->def->attrs[i].internal)
            all[n++] = x->def->attrs[i].name;
    for (int c = 0; c < C_COUNT; c++)
        if (takes_common(op, c))
            all[n++] = common_name[c];
    Diag *d =
        diag_error(x->b->diag, arg->name_loc, "E0107", "%s has no parameter '%s'; it takes %s",
                   op_name[op], arg->name, op_signature(x->b->arena, op));
    diag_suggest(d, arg->name_loc, nearest_name(arg->name, all, n));
    if (eq(arg->name, "activation"))
        diag_help(d, "write the activation behind an arrow: %s(..) -> relu", op_name[op]);
    if (eq(arg->name, "padding"))
        diag_help(d, "padding is called pad");
}

static void take_named(Binder *x, const Ast *arg) {
    int i = attr_find(x->def, arg->name), c = 0;
    bool *given = NULL;
    for (c = 0; i < 0 && c < C_COUNT; c++)
        if (takes_common(x->out->op, c) && eq(common_name[c], arg->name))
            break;
    if (i < 0 && c == C_COUNT) {
        unknown_argument(x, arg);
        x->ok = false;
        x->unknown = true;
        return;
    }
    given = i >= 0 ? &x->given[i] : &x->given_common[c];
    if (*given) {
        diag_error(x->b->diag, arg->loc, "E0109", "%s is given twice", arg->name);
        x->ok = false;
        return;
    }
    *given = true;
    if (i < 0) {
        if (c == C_SHARE)
            x->out->share_arg = arg;
        x->ok &= set_common(x, c, arg->arg.value, x->s);
        return;
    }
    x->out->arg[i] = arg;
    Val v = expr_eval(x->b, x->s, arg->arg.value);
    x->ok &= set_attr(x, i, &v);
}

static void take_input(Binder *x, Tensor *t, LocRange loc) {
    if (x->out->nin == 255) {
        diag_error(x->b->diag, loc, "E0130", "%s joins at most 255 layers", op_name[x->out->op]);
        x->ok = false;
        return;
    }
    x->out->in[x->out->nin++] = t;
}

static void take_positional(Binder *x, const Ast *arg) {
    Val v = expr_eval(x->b, x->s, arg->arg.value);
    if (v.kind == V_BAD || (x->unknown && v.kind != V_TENSOR))
        x->ok = false; /* it takes its place in silence */
    if (v.kind == V_TENSOR) {
        take_input(x, v.tensor, arg->loc);
        return;
    }
    for (int i = 0; i < x->def->nattrs && i < ARG_MAX; i++) {
        if (!x->def->attrs[i].positional || x->given[i])
            continue;
        x->given[i] = true;
        x->out->arg[i] = arg;
        x->ok = x->ok && !x->unknown && set_attr(x, i, &v);
        return;
    }
    x->ok = false;
    if (v.kind == V_BAD || x->unknown)
        return;
    if (v.kind == V_NAME) {
        const char **all = ARENA_ARRAY(x->b->arena, x->b->order.len + 1, const char *);
        for (int i = 0; i < x->b->order.len; i++)
            all[i] = x->b->order.data[i]->name;
        Diag *d = diag_error(x->b->diag, v.loc, "E0103", "unknown layer '%s'", v.text);
        diag_suggest(d, v.loc, nearest_name(v.text, all, x->b->order.len));
        return;
    }
    diag_error(x->b->diag, arg->loc, "E0108", "one argument too many: %s takes %s",
               op_name[x->out->op], op_signature(x->b->arena, x->out->op));
}

/* ---- other sources ---- */

/* defaults { dense.init = conv.init } refers to another default */
static const Ast *follow_default(Binder *x, const Setting *s, Scope **scope) {
    for (int hops = 0; s; hops++) {
        *scope = s->scope;
        const char *dotted = s->value->kind == AST_PATH ? s->value->path.dotted : NULL;
        if (!dotted || !strchr(dotted, '.'))
            return s->value;
        const Setting *next = net_setting(x->b, "defaults", dotted);
        if (!next || hops > 16) {
            diag_error(x->b->diag, s->value->loc, next ? "E0124" : "E0103",
                       next ? "'%s' is defined in terms of itself" : "no default '%s'", dotted);
            return NULL;
        }
        s = next;
    }
    return NULL;
}

static void take_default(Binder *x, int i, int c) {
    const char *name = i >= 0 ? x->def->attrs[i].name : common_name[c];
    const Setting *s = net_setting(x->b, "defaults",
                                   arena_printf(x->b->arena, "%s.%s", op_name[x->out->op], name));
    Scope *scope = NULL;
    const Ast *value = s ? follow_default(x, s, &scope) : NULL;
    if (!value)
        return;
    if (i < 0) {
        x->ok &= set_common(x, c, value, scope);
        return;
    }
    x->given[i] = true;
    Val v = expr_eval(x->b, scope, value);
    x->ok &= set_attr(x, i, &v);
}

static void take_sets(Binder *x, const char *label) {
    Item *item = x->b->item;
    if (!item || !label || !eq(item->label, label))
        return;
    for (LabelSet *l = item->sets; l; l = l->next) {
        int i = attr_find(x->def, l->attr), c = C_COUNT;
        for (int k = 0; i < 0 && k < C_COUNT; k++)
            if (takes_common(x->out->op, k) && eq(common_name[k], l->attr))
                c = k;
        if (l->used || (i < 0 && c == C_COUNT))
            continue;
        l->used = true;
        if (i < 0) {
            x->given_common[c] = true;
            x->ok &= set_common(x, c, l->value, l->scope);
            continue;
        }
        x->given[i] = true;
        Val v = expr_eval(x->b, l->scope, l->value);
        x->ok &= set_attr(x, i, &v);
    }
}

static void fill_rest(Binder *x) {
    for (int i = 0; i < x->def->nattrs && i < ARG_MAX; i++) {
        const AttrDesc *a = &x->def->attrs[i];
        if (a->internal || x->given[i])
            continue;
        take_default(x, i, -1);
        if (x->given[i] || a->type == AT_TABLE)
            continue;
        if (a->dflt && attr_default(x->b->arena, x->def, i, x->out->attrs))
            continue;
        x->ok = false;
        if (x->unknown)
            continue;
        Diag *d = diag_error(x->b->diag, x->at->loc, "E0110", "%s needs %s (%s)",
                             op_name[x->out->op], a->name, a->doc);
        diag_note(d, LOC_NONE, "it takes %s", op_signature(x->b->arena, x->out->op));
    }
    for (int c = 0; c < C_COUNT; c++)
        if (takes_common(x->out->op, c) && !x->given_common[c])
            take_default(x, -1, c);
}

bool sema_bind(Build *b, Scope *s, const Ast *at, int op, const char *label, Bound *out) {
    Binder x = {.b = b, .s = s, .at = at, .def = op_def[op], .out = out, .ok = true};
    memset(out, 0, sizeof *out);
    out->op = op;
    out->attrs = arena_alloc(b->arena, op_def[op]->attr_size);
    out->lr_mult = out->decay_mult = 1;
    out->frozen = false;
    if (at->kind == AST_CALL)
        AST_EACH(arg, at->call.args) {
            if (arg->name)
                take_named(&x, arg);
            else
                take_positional(&x, arg);
        }
    take_sets(&x, label);
    fill_rest(&x);
    for (int i = 0; i < x.def->nattrs && i < ARG_MAX; i++)
        out->rounded |= eq(x.def->attrs[i].name, "round") && out->arg[i];
    return x.ok;
}

/* ---- "5x5/2, pad 1" for tables ---- */

static void put_extent(StrBuf *t, const int64_t v[2]) {
    if (v[0] == v[1])
        sb_printf(t, "%lld", (long long)v[0]);
    else
        sb_printf(t, "%lldx%lld", (long long)v[0], (long long)v[1]);
}

const char *attr_detail(Arena *arena, int op, const void *attrs) {
    const OpDef *def = op_def[op];
    StrBuf t = sb_new(arena);
    sb_puts(&t, op_name[op == OP_VDENSE ? OP_DENSE : op]);
    int64_t kernel[2], stride[2], pad[4];
    if (op_is(op, OPF_W) && def->window && def->window(attrs, kernel, stride, pad)) {
        sb_printf(&t, " %lldx%lld", (long long)kernel[0], (long long)kernel[1]);
        if (stride[0] != 1 || stride[1] != 1) {
            sb_putc(&t, '/');
            put_extent(&t, stride);
        }
    }
    if (op == OP_DROPOUT)
        sb_printf(&t, " %.4g%%", 100 * ((const DropoutAttrs *)attrs)->rate);
    if (op == OP_CONV2D && ((const ConvAttrs *)attrs)->groups > 1)
        sb_printf(&t, " g%lld", (long long)((const ConvAttrs *)attrs)->groups);
    return t.text;
}
