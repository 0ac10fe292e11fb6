/* build_params.c: the parameters of a layer: names, shapes, initial values, sharing, freezing,
 * links.
 *
 * The first walk makes them; later walks find them again by name.  Names follow PyTorch: the label
 * of the layer, a dot, the operator's suffix ("c1.weight").
 *
 * requires: the operator's infer has accepted the data inputs.  ensures: every parameter has a rule
 * of initialisation; init of the call beats `defaults`, which beats train { init = .. }.
 */
#include <math.h>
#include <string.h>

#include "front/sema.h"

/* ---- descriptions ---- */

bool call_args(Build *b, const Val *call, const char *const *names, int n, int required, Val *out) {
    bool ok = true, given[16] = {false};
    int next = 0;
    for (int i = 0; i < n; i++)
        out[i] = (Val){.kind = V_BAD, .loc = call->loc};
    AST_EACH(a, call->ast->call.args) {
        int i = next;
        if (a->name)
            for (i = 0; i < n && !eq(names[i], a->name); i++)
                ;
        else
            next++;
        if (i >= n) {
            Diag *d =
                diag_error(b->diag, a->loc, a->name ? "E0107" : "E0108",
                           a->name ? "%s has no parameter '%s'" : "%s: too many arguments%.0s",
                           call->text, a->name ? a->name : "");
            if (a->name)
                diag_suggest(d, a->name_loc, nearest_name(a->name, names, n));
            StrBuf list = sb_new(b->arena);
            for (int k = 0; k < n; k++)
                sb_printf(&list, "%s%s", k ? ", " : "", names[k]);
            diag_help(d, n ? "it takes %s" : "it takes nothing%.0s", n ? list.text : "");
            ok = false;
            continue;
        }
        if (given[i]) {
            diag_error(b->diag, a->loc, "E0109", "%s is given twice", names[i]);
            ok = false;
        }
        given[i] = true;
        out[i] = expr_eval(b, call->scope, a->arg.value);
        ok = ok && out[i].kind != V_BAD;
    }
    for (int i = 0; i < required && ok; i++)
        if (!given[i]) {
            diag_error(b->diag, call->loc, "E0110", "%s needs %s", call->text, names[i]);
            ok = false;
        }
    return ok;
}

static bool finite_arg(Build *b, const Val *v, const char *name, double *out) {
    if (!expr_num(b, v, name, out))
        return false;
    if (isfinite((float)*out))
        return true;
    diag_error(b->diag, v->loc, "E0303", "%s must fit a 32-bit float, got %g", name, *out);
    return false;
}

static bool init_call(Build *b, const Val *v, Param *p) {
    static const char *const uniform[] = {"low", "high"}, *const gauss[] = {"mean", "deviation"},
                             *const fill[] = {"value"};
    static const char *const known[] = {"uniform", "gaussian", "fill"};
    static const char *const planned[] = {"orthogonal", "truncated", "file"};
    Val a[2];
    if (is_bank(v->text))
        return init_bank(b, v, p);
    if (eq(v->text, "uniform")) {
        p->init = INIT_UNIFORM;
        if (!call_args(b, v, uniform, 2, 2, a) || !finite_arg(b, &a[0], "low", &p->init_a) ||
            !finite_arg(b, &a[1], "high", &p->init_b))
            return false;
        if (p->init_a <= p->init_b)
            return true;
        diag_error(b->diag, v->loc, "E0303", "uniform(low, high) needs low <= high");
        return false;
    }
    if (eq(v->text, "gaussian")) {
        p->init = INIT_GAUSSIAN;
        if (!call_args(b, v, gauss, 2, 2, a) || !finite_arg(b, &a[0], "mean", &p->init_a) ||
            !finite_arg(b, &a[1], "deviation", &p->init_b))
            return false;
        if (p->init_b >= 0)
            return true;
        diag_error(b->diag, v->loc, "E0303", "the deviation of a gaussian must not be negative");
        return false;
    }
    if (eq(v->text, "fill")) {
        p->init = INIT_FILL;
        return call_args(b, v, fill, 1, 1, a) && finite_arg(b, &a[0], "value", &p->init_a);
    }
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (eq(v->text, planned[i])) {
            diag_help(diag_error(b->diag, v->loc, "E0801", "not built yet: init = %s", v->text),
                      "uniform, gaussian, fill, zero, he, glorot and tables of numbers are built");
            return false;
        }
    Diag *d = diag_error(b->diag, v->loc, "E0106", "unknown initialisation '%s'", v->text);
    diag_suggest(d, v->ast->call.callee->loc, nearest_name(v->text, known, 3));
    return false;
}

static bool init_word(Build *b, const Val *v, double in, double out, Param *p) {
    static const char *const known[] = {"zero", "he", "glorot", "lecun"};
    if (eq(v->text, "bilinear"))
        return init_bank(b, v, p);
    if (eq(v->text, "zero")) {
        p->init = INIT_ZERO;
    } else if (eq(v->text, "he")) { /* He et al. 2015, equation (10) */
        p->init = INIT_GAUSSIAN;
        p->init_a = 0;
        p->init_b = sqrt(2 / in);
    } else if (eq(v->text, "glorot") || eq(v->text, "lecun")) {
        double n = v->text[0] == 'g' ? (in + out) / 2 : in; /* Glorot, Bengio 2010, equation (16) */
        p->init = INIT_UNIFORM;
        p->init_b = sqrt(3 / n);
        p->init_a = -p->init_b;
    } else {
        Diag *d = diag_error(b->diag, v->loc, "E0106", "unknown initialisation '%s'", v->text);
        diag_suggest(d, v->loc, nearest_name(v->text, known, 4));
        return false;
    }
    return true;
}

static bool flatten_list(Build *b, const Val *v, int64_t want, float *out, int64_t *at) {
    for (int i = 0; i < v->n; i++) {
        const Val *e = &v->at[i];
        double x;
        if (e->kind == V_LIST) {
            if (!flatten_list(b, e, want, out, at))
                return false;
            continue;
        }
        if (!finite_arg(b, e, "an entry of the table", &x))
            return false;
        if (*at < want)
            out[*at] = (float)x;
        ++*at;
    }
    return true;
}

static bool init_table(Build *b, const Val *v, Param *p) {
    int64_t want = shape_elems(&p->shape), n = 0;
    int64_t room = want < LIMIT_FILE_BYTES ? want : LIMIT_FILE_BYTES; /* more cannot be written */
    float *table = ARENA_ARRAY(b->arena, room, float);
    if (!flatten_list(b, v, room, table, &n))
        return false;
    if (n != want) {
        diag_error(b->diag, v->loc, "E0309", "%s is %s, %lld numbers; the table has %lld", p->name,
                   shape_text(b->arena, &p->shape), (long long)want, (long long)n);
        return false;
    }
    p->init = INIT_TABLE;
    p->table = table;
    return true;
}

static bool init_eval(Build *b, Scope *scope, const Ast *ast, const ParamSpec *spec, Param *p) {
    Scope *s = scope_new(b, scope);
    double in = spec->fan_in > 0 ? (double)spec->fan_in : 1;
    double out = spec->fan_out > 0 ? (double)spec->fan_out : 1;
    scope_num(b, s, "fan_in", in);
    scope_num(b, s, "fan_out", out);
    Val v = expr_eval(b, s, ast);
    switch (v.kind) {
    case V_BAD:
        return false;
    case V_NUM:
        p->init = INIT_FILL;
        return finite_arg(b, &v, "an initial value", &p->init_a);
    case V_NAME:
        return init_word(b, &v, in, out, p);
    case V_CALL:
        return init_call(b, &v, p);
    case V_LIST:
        return init_table(b, &v, p);
    default:
        diag_error(b->diag, v.loc, "E0111",
                   "an initial value is a number, a table or uniform(..), gaussian(..), got %s",
                   val_kind_text(&v));
        return false;
    }
}

/* ---- freezing ---- */

static bool marked_frozen(Build *b, const char *label) {
    bool hit = b->item && b->item->frozen;
    for (int i = 0; i < b->net->freezes.len; i++) {
        FreezeMark *m = &b->net->freezes.data[i];
        size_t n = strlen(m->pattern);
        bool inside = strncmp(label, m->pattern, n) == 0 && (label[n] == '.' || !label[n]);
        if (m->glob ? glob_match(m->pattern, label) : inside)
            hit = m->used = true;
    }
    return hit;
}

/* train { only = "conv2" }: everything else keeps its values. */
static bool left_out(Build *b, const char *label) {
    const Setting *s = net_setting(b, "train", "only");
    Val v = s ? expr_eval(b, s->scope, s->value) : (Val){.kind = V_BAD};
    const Val *at = v.kind == V_LIST ? v.at : &v;
    if (!s || v.kind == V_BAD)
        return false;
    for (int i = 0; i < (v.kind == V_LIST ? v.n : 1); i++) {
        size_t n = at[i].kind == V_STR ? strlen(at[i].text) : 0;
        bool inside = n && strncmp(label, at[i].text, n) == 0 && label[n] == '.';
        if (inside || (n && glob_match(at[i].text, label)))
            return false;
    }
    return true;
}

/* ---- making ---- */

static Param *param_add(Build *b, const char *name, int *index) {
    ParamList *list = &b->m->params;
    if (list->count == list->cap) {
        int cap = list->cap ? list->cap * 2 : 32;
        Param *at = ARENA_ARRAY(b->arena, cap, Param);
        if (list->count)
            memcpy(at, list->at, (size_t)list->count * sizeof *at);
        list->at = at;
        list->cap = cap;
    }
    *index = list->count++;
    map_put(&b->param_index, name, (void *)(intptr_t)(*index + 1));
    Param *p = &list->at[*index];
    p->name = name;
    p->lr_mult = p->decay_mult = 1;
    return p;
}

/* The links of a parameter as it is saved: one per map, not one per frame of its window. */
static ConnTable saved_links(Build *b, const ConnTable *t, const ParamSpec *spec) {
    int64_t depth = spec->shape.rank == 5 ? spec->shape.dim[2] : 1;
    ConnTable s = {.outputs = t->outputs, .inputs = (int)(t->inputs / depth)};
    uint8_t *link = ARENA_ARRAY(b->arena, (int64_t)s.outputs * s.inputs, uint8_t);
    for (int64_t i = 0; i < (int64_t)s.outputs * s.inputs; i++)
        link[i] = t->link[i * depth];
    s.link = link;
    return s;
}

static int64_t count_links(const ConnTable *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < (int64_t)t->outputs * t->inputs; i++)
        n += t->link[i];
    return n;
}

/* The parameter as op (OP_NONE: nobody yet) reads it: a convolution reads reused dense weights in
 * their split form. */
static ValueId param_value(Build *b, int index, int op) {
    const Param *p = &b->m->params.at[index];
    bool split = op == OP_CONV2D || op == OP_DECONV || (op && op_def[op]->recurrent);
    const Shape *form = split ? &p->split : &p->shape;
    ValueId v = (ValueId)(uintptr_t)map_get(&b->values, p->name);
    if (!v || graph_v(b->g, v)->slot != index) {
        v = graph_input(b->g, VK_PARAM, DT_F32, *form, false, index, p->name);
        map_put(&b->values, p->name, (void *)(uintptr_t)v);
    }
    return v;
}

static const ConnTable *connections(const Bound *bound) {
    if (bound->op == OP_DECONV)
        return ((const DeconvAttrs *)bound->attrs)->connect;
    return bound->op == OP_CONV2D ? ((const ConvAttrs *)bound->attrs)->connect : NULL;
}

/* bias, bias_ih_l0 */
static bool is_bias(const ParamSpec *spec) {
    return strncmp(spec->suffix, "bias", 4) == 0;
}

static void init_ones(Build *b, const ParamSpec *spec, Param *p) {
    float *table = ARENA_ARRAY(b->arena, shape_elems(&p->shape), float);
    for (int64_t i = spec->ones_from; i < spec->ones_to; i++)
        table[i] = 1;
    p->init = INIT_TABLE;
    p->table = table;
}

static bool one_param(Build *b, const Bound *bound, const ParamSpec *spec, const char *name,
                      const char *label, LocRange loc, int *index) {
    const Ast *ast = NULL;
    Scope *scope = NULL;
    bool bias = is_bias(spec);
    const ConnTable *links = bias ? NULL : connections(bound);
    Param *p = param_add(b, name, index);
    p->shape = line_saved(&spec->shape, bound->line);
    p->split = spec->split;
    p->init = spec->init;
    p->init_a = spec->init_a;
    p->init_b = spec->init_b;
    p->label = label;
    p->loc = loc;
    p->lr_mult = bound->lr_mult;
    p->decay_mult = spec->plain && !bound->has_decay ? 0 : bound->decay_mult;
    bool frozen = marked_frozen(b, label), left = left_out(b, label); /* both note their use */
    p->frozen = (bound->has_frozen ? bound->frozen : spec->frozen) || frozen || left;
    if (spec->statistic) {
        p->frozen = true;
        return true; /* none of its numbers is trained: not counted, `init` is not for it */
    }
    p->trainable = shape_elems(&p->shape);
    if (links) {
        int64_t maps = p->shape.dim[0] * p->shape.dim[1];
        ConnTable saved = saved_links(b, links, spec);
        p->links = saved.link;
        p->trainable = p->trainable / maps * count_links(&saved);
    }
    if (eq(spec->suffix, "centers")) {
        ast = bound->centers;
        scope = bound->init_scope;
    } else if (bias) {
        ast = bound->bias_init;
        scope = bound->bias_scope;
    } else {
        ast = bound->weight && !bound->reuse ? bound->weight : bound->init;
        scope = bound->init_scope;
        const Setting *all = ast || spec->plain ? NULL : net_setting(b, "train", "init");
        if (all) {
            ast = all->value;
            scope = all->scope;
        }
    }
    if (!ast && spec->ones_to > spec->ones_from)
        init_ones(b, spec, p);
    return !ast || init_eval(b, scope, ast, spec, p);
}

/* The link mask as a constant: dW is multiplied by it, so missing weights stay zero. */
static int links_param(Build *b, int weight, const ConnTable *t) {
    const Param *w = &b->m->params.at[weight];
    const char *name = arena_printf(b->arena, "%s.links", w->name);
    Shape shape = w->split;
    LocRange loc = w->loc;
    const char *label = w->label;
    int64_t taps = shape.dim[2] * shape.dim[3];
    int index = 0;
    intptr_t known = (intptr_t)map_get(&b->param_index, name);
    if (known && b->mode != MODEL_FORWARD)
        return (int)known - 1;
    float *table = ARENA_ARRAY(b->arena, shape_elems(&shape), float);
    for (int64_t i = 0; i < (int64_t)t->outputs * t->inputs; i++)
        for (int64_t k = 0; k < taps; k++)
            table[i * taps + k] = t->link[i] ? 1 : 0;
    Param *p = param_add(b, name, &index);
    p->shape = p->split = shape;
    p->init = INIT_TABLE;
    p->table = table;
    p->frozen = p->constant = true;
    p->label = label;
    p->loc = loc;
    return index;
}

/* ---- sharing ---- */

static const LabelInfo *share_target(Build *b, Scope *s, const Bound *bound, const char *label) {
    const Ast *at = bound->share;
    const char *name = at->kind == AST_PATH ? path_text(b, s, at, NULL) : NULL;
    if (!name) {
        diag_error(b->diag, at->loc, "E0111", "share takes the label of a layer");
        return NULL;
    }
    const LabelInfo *t = label_find(b, s, name);
    if (t && t->nparams && t->op == bound->op)
        return t;
    if (t && t->tensor && t->tensor->poison)
        return NULL; /* reported there */
    if (t && t->removed) {
        Diag *d = diag_error(b->diag, at->loc, "E0114", "'%s' was removed: nothing to share", name);
        diag_help(d, "give '%s' its own weights", label);
    } else if (t && !t->nparams) {
        diag_error(b->diag, at->loc, "E0312", "'%s' has no weights of its own to share", name);
    } else if (t) {
        diag_error(b->diag, at->loc, "E0312", "%s '%s' cannot share the weights of %s '%s'",
                   op_name[bound->op], label, op_name[t->op], name);
    } else {
        const char **all = ARENA_ARRAY(b->arena, b->order.len + 1, const char *);
        for (int i = 0; i < b->order.len; i++)
            all[i] = b->order.data[i]->name;
        Diag *d = diag_error(b->diag, at->loc, "E0103", "unknown layer '%s'", name);
        diag_suggest(d, at->loc, nearest_name(name, all, b->order.len));
        diag_help(d, "a layer shares weights with one that stands before it");
    }
    return NULL;
}

static bool same_links(Build *b, const Bound *bound, const Param *p, const ParamSpec *spec) {
    const ConnTable *t = is_bias(spec) ? NULL : connections(bound);
    if (!t || !p->links)
        return !t == !p->links;
    ConnTable s = saved_links(b, t, spec);
    return memcmp(s.link, p->links, (size_t)s.outputs * (size_t)s.inputs) == 0;
}

static void share_mismatch(Build *b, const Bound *bound, const Param *p, const Tensor *src,
                           const LabelInfo *t, const char *label) {
    const Ast *at = bound->share_arg ? bound->share_arg : bound->share;
    StrBuf shape = sb_new(b->arena);
    Shape seen = tensor_shape(src);
    for (int i = 0; i < p->shape.rank; i++)
        sb_printf(&shape, "%s%lld", i ? ", " : "", (long long)p->shape.dim[i]);
    Diag *d;
    if (bound->op == OP_DENSE)
        d = diag_error(
            b->diag, at->loc, "E0312",
            "dense '%s' shares the weight of '%s', [%s], but its input has %lld elements", label,
            t->name, shape.text, (long long)shape_elems(&src->shape));
    else
        d = diag_error(b->diag, at->loc, "E0312",
                       "%s '%s' shares %s, [%s], which does not fit its input %s and arguments",
                       op_name[bound->op], label, p->name, shape.text, shape_text(b->arena, &seen));
    diag_label(d, "weight shape is fixed by %s", t->name);
    diag_note(d, t->loc, "%s is defined here", t->name);
    note_derivation(b, d, src, "its input");
}

static bool share_params(Build *b, Scope *s, const Bound *bound, const Tensor *src,
                         const ParamSpec *spec, int n, const char *label, LayerParams *out) {
    const LabelInfo *t = share_target(b, s, bound, label);
    if (!t)
        return false;
    for (int i = 0; i < n; i++) {
        const Param *p = NULL;
        for (int k = 0; k < t->nparams; k++) {
            const Param *q = &b->m->params.at[t->param[k]];
            if (eq(strrchr(q->name, '.') + 1, spec[i].suffix) && !q->constant) {
                out->index[i] = t->param[k];
                p = q;
            }
        }
        bool bias = is_bias(&spec[i]);
        if (!p) {
            diag_error(b->diag, bound->share->loc, "E0312",
                       "'%s' has no %s to share; write %s = no", t->name, spec[i].suffix,
                       spec[i].suffix);
            return false;
        }
        /* A dense layer of a vector and one of an image have the same numbers in one order. */
        bool split = bound->op == OP_DENSE || shape_equal(&p->split, &spec[i].split);
        Shape saved = line_saved(&spec[i].shape, bound->line);
        if (!shape_equal(&p->shape, &saved) || !split || !same_links(b, bound, p, &spec[i])) {
            share_mismatch(b, bound, p, src, t, label);
            return false;
        }
        if (!bias)
            out->weights += p->trainable;
    }
    return true;
}

/* ---- weights in another form ---- */

/* v's numbers as weights of shape `want`. */
static ValueId repack(Build *b, ValueId v, const Shape *want, int how, const Naming *naming,
                      LocRange loc) {
    RepackAttrs a = {.dim = {1, 1, 1, 1}, .rank = want->rank, .how = how};
    for (int d = 0; d < want->rank; d++)
        a.dim[d] = want->dim[d];
    RepackAttrs *keep = ARENA_NEW(b->arena, RepackAttrs);
    *keep = a;
    ValueId out = graph_op(b->g, OP_REPACK, keep, 1, &v);
    Node *n = graph_n(b->g, graph_v(b->g, out)->def);
    n->label = naming->row;
    n->loc = loc;
    return out;
}

/* The form in which a layer reads weights of windows over frames is that of the graph. */
static const Shape *packed(const ParamSpec *spec) {
    return spec->shape.rank == 5 ? &spec->split : &spec->shape;
}

/* The weight of a layer, by the path "enc.weight"; -1: it is none. */
static int weight_of_layer(Build *b, Scope *s, const Ast *path) {
    const char *text = path_text(b, s, path, NULL), *dot = text ? strrchr(text, '.') : NULL;
    if (!dot || !eq(dot, ".weight"))
        return -1;
    const LabelInfo *t = label_find(b, s, arena_strndup(b->arena, text, (size_t)(dot - text)));
    for (int i = 0; t && i < t->nparams; i++)
        if (eq(strrchr(b->m->params.at[t->param[i]].name, '.'), ".weight"))
            return t->param[i];
    return -1;
}

/* What `weight = W`, `weight = enc.weight` or transpose(..) of them names. */
static ValueId named_weight(Build *b, const Bound *bound, bool *turned, Tensor **made) {
    const Ast *ast = bound->weight;
    Scope *s = bound->init_scope;
    *turned = ast->kind == AST_CALL && eq(ast->name, "transpose") && ast->call.args.count == 1;
    if (*turned)
        ast = ast->call.args.items[0]->arg.value;
    int index = ast->kind == AST_PATH ? weight_of_layer(b, s, ast) : -1;
    if (index >= 0)
        return param_value(b, index, b->m->params.at[index].split.rank == 4 ? OP_CONV2D : OP_DENSE);
    Val v = expr_eval(b, s, ast);
    if (v.kind == V_BAD || (v.kind == V_TENSOR && v.tensor->poison))
        return 0;
    if (v.kind == V_TENSOR && v.tensor->v && !graph_v(b->g, v.tensor->v)->batched) {
        *made = v.tensor;
        return v.tensor->v;
    }
    Diag *d = diag_error(
        b->diag, ast->loc, "E0312",
        "weight = takes a param, a layer's weight "
        "(enc.weight) or what a net makes of params, got %s",
        v.kind == V_NAME ? arena_printf(b->arena, "the unknown name '%s'", v.text)
        : v.kind == V_TENSOR
            ? arena_printf(b->arena, "'%s', which every image has of its own", v.tensor->name)
            : val_kind_text(&v));
    diag_help(d, "param W: f32[..] = gaussian(0, 0.1) makes one; init = .. sets starting values");
    return 0;
}

/* The value that `weight = ..` gives, in the form that spec wants; 0 after an error. */
static ValueId given_weight(Build *b, const Bound *bound, const ParamSpec *spec,
                            const Naming *naming, LocRange loc, Tensor **made) {
    bool turned;
    ValueId v = named_weight(b, bound, &turned, made);
    if (!v)
        return 0;
    const Shape *have = &graph_v(b->g, v)->shape, *want = &spec->shape;
    Shape from = *want;
    if (turned && want->rank >= 2) {
        from.dim[0] = want->dim[1];
        from.dim[1] = want->dim[0];
    }
    /* A vector is computed weights in row-major order; else first extents must agree. */
    bool fits =
        shape_elems(have) == shape_elems(want) && (have->rank == 1 || have->dim[0] == from.dim[0]);
    if (!fits) {
        diag_error(b->diag, bound->weight->loc, "E0312", "'%s' needs weights %s, these are %s%s",
                   naming->row, shape_text(b->arena, want), shape_text(b->arena, have),
                   turned ? ", transposed" : "");
        return 0;
    }
    if (connections(bound)) {
        diag_error(b->diag, bound->weight->loc, "E0312",
                   "a layer with missing connections has weights of its own");
        return 0;
    }
    return repack(b, v, want, turned ? REPACK_TRANSPOSE : REPACK_RESHAPE, naming, loc);
}

/* ---- reuse = fc6: weights of a dense layer as a convolution ---- */

/* The net that this one extends, or whose variant it is, built as it is. */
static const Model *base_model(Build *b) {
    if (b->base || b->base_failed)
        return b->base;
    ModelOptions opt = {.sources = b->opt->sources, .forward_only = true};
    opt.net = eq(b->net->name, b->net->decl->name) ? b->net->decl->net.base : b->net->decl->name;
    if (opt.net)
        b->base = model_build(b->arena, diag_ctx_new(b->arena, NULL), b->ast, &opt);
    b->base_failed = !b->base;
    return b->base;
}

static const Param *base_param(Build *b, const char *name) {
    const Model *m = base_model(b);
    for (int i = 0; m && i < m->params.count; i++)
        if (eq(m->params.at[i].name, name))
            return &m->params.at[i];
    return NULL;
}

static bool reuse_fits(Build *b, const Bound *bound, const Param *p, const ParamSpec *spec,
                       const char *label) {
    if (p->shape.dim[0] == spec->shape.dim[0] &&
        shape_elems(&p->shape) == shape_elems(&spec->shape))
        return true;
    Diag *d = diag_error(
        b->diag, bound->reuse->loc, "E0312", "'%s' needs %s %s, %s is %s: the counts differ", label,
        spec->suffix, shape_text(b->arena, &spec->shape), p->name, shape_text(b->arena, &p->shape));
    diag_help(d, "the kernel must cover what the dense layer read, with as many maps as units");
    return false;
}

/* Parameter i of a layer that reuses those of the layer `from`: that layer itself where it still
 * stands, else the name and the saved shape it has in the net that this one extends. */
static bool reuse_param(Build *b, Scope *s, const Bound *bound, const ParamSpec *spec,
                        const char *from, const Naming *naming, LocRange loc, LayerParams *out,
                        int i) {
    const char *name = arena_printf(b->arena, "%s.%s", from, spec->suffix);
    const LabelInfo *live = label_find(b, s, from);
    intptr_t known = (intptr_t)map_get(&b->param_index, name);
    if (live && live->nparams && known) {
        out->index[i] = (int)known - 1;
        const Param *p = &b->m->params.at[out->index[i]];
        if (!reuse_fits(b, bound, p, spec, naming->row))
            return false;
        ValueId v = param_value(b, out->index[i], p->split.rank == 4 ? OP_CONV2D : OP_DENSE);
        out->value[i] =
            spec->shape.rank > 1 ? repack(b, v, packed(spec), REPACK_RESHAPE, naming, loc) : v;
        return true;
    }
    if (known && b->mode != MODEL_FORWARD) {
        out->index[i] = (int)known - 1;
    } else {
        const Param *old = base_param(b, name);
        if (!old) {
            Diag *d = diag_error(b->diag, bound->reuse->loc, "E0114",
                                 "no layer '%s' with a %s to reuse", from, spec->suffix);
            diag_help(d, "it is a layer above, or one of the net that this one extends");
            return false;
        }
        if (!reuse_fits(b, bound, old, spec, naming->row) ||
            !one_param(b, bound, spec, name, naming->param, loc, &out->index[i]))
            return false;
        b->m->params.at[out->index[i]].shape = old->shape;
    }
    out->value[i] = param_value(b, out->index[i], bound->op);
    out->count += b->m->params.at[out->index[i]].trainable;
    return true;
}

/* ---- all of a layer ---- */

static bool own_params(Build *b, const Bound *bound, const ParamSpec *spec, int n,
                       const Naming *naming, LocRange loc, LayerParams *out) {
    bool ok = true;
    for (int i = 0; i < n; i++) {
        const char *name = arena_printf(b->arena, "%s.%s", naming->param, spec[i].suffix);
        intptr_t known = (intptr_t)map_get(&b->param_index, name);
        /* A name known in the first walk is a label defined twice, which is reported. */
        if (known && b->mode != MODEL_FORWARD)
            out->index[i] = (int)known - 1;
        else
            ok &= one_param(b, bound, &spec[i], name, naming->param, loc, &out->index[i]);
        const Param *p = &b->m->params.at[out->index[i]];
        out->count += p->trainable;
        if (!is_bias(&spec[i]))
            out->weights += p->trainable;
    }
    out->n = n;
    return ok;
}

/* weight = W: only the bias is the layer's own. */
static bool with_given_weight(Build *b, const Ast *at, const Bound *bound, const ParamSpec *spec,
                              int n, const Naming *naming, LayerParams *out) {
    ValueId v = given_weight(b, bound, &spec[0], naming, at->loc, &out->made);
    if (!v || !own_params(b, bound, spec + 1, n - 1, naming, at->loc, out))
        return false;
    for (int i = 0; i < out->n; i++)
        out->value[1 + i] = param_value(b, out->index[i], bound->op);
    out->value[0] = v;
    out->weights = shape_elems(&spec[0].shape);
    return true;
}

/* A weight that other layers of another size read too has its layout from its first reader. */
static bool reads_otherwise(const Build *b, Scope *s, const Bound *bound, const Tensor *src) {
    const char *name = path_text((Build *)b, s, bound->share, NULL);
    const LabelInfo *t = name ? label_find((Build *)b, s, name) : NULL;
    return t && !shape_equal(&t->src, &src->shape);
}

/* Weights as the operation reads them. */
static const Shape *form_of(const Bound *bound, const ParamSpec *spec) {
    return op_def[bound->op]->recurrent ? &spec->split : packed(spec);
}

bool build_params(Build *b, Scope *s, const Ast *at, const Bound *bound, const Tensor *src,
                  const Naming *naming, LayerParams *out) {
    ParamSpec spec[4];
    bool ok = true;
    memset(out, 0, sizeof *out);
    int n = op_def[bound->op]->params(bound->attrs, &src->shape, spec);
    bool given =
        bound->weight && !(bound->weight->kind == AST_LIST ||
                           (bound->weight->kind == AST_CALL && is_bank(bound->weight->name)));
    if (given)
        return with_given_weight(b, at, bound, spec, n, naming, out);
    if (bound->reuse) {
        const Ast *path = bound->reuse;
        const char *from = path->kind == AST_PATH ? path_text(b, s, path, NULL) : NULL;
        if (!from)
            diag_error(b->diag, path->loc, "E0111", "reuse takes the label of a layer");
        for (int i = 0; i < n && from; i++)
            if (!reuse_param(b, s, bound, &spec[i], from, naming, at->loc, out, i))
                return false;
        out->n = n;
        out->weights = shape_elems(&spec[0].shape);
        return from != NULL;
    }
    if (bound->share) {
        if (!share_params(b, s, bound, src, spec, n, naming->param, out))
            return false;
        out->n = n;
    } else {
        ok = own_params(b, bound, spec, n, naming, at->loc, out);
    }
    for (int i = 0; i < n; i++)
        out->value[i] = param_value(b, out->index[i], bound->op);
    for (int i = 0; bound->share && i < n; i++)
        if (spec[i].shape.rank > 1 && reads_otherwise(b, s, bound, src))
            out->value[i] =
                repack(b, out->value[i], form_of(bound, &spec[i]), REPACK_RESHAPE, naming, at->loc);
    if (bound->flip)
        out->value[0] = repack(b, out->value[0], packed(&spec[0]), REPACK_FLIP, naming, at->loc);
    const ConnTable *links = connections(bound);
    if (links && ok) {
        out->index[out->n] = links_param(b, out->index[0], links);
        out->value[out->n] = param_value(b, out->index[out->n], bound->op);
        out->n++;
    }
    return ok;
}

Tensor *build_param(Build *b, Scope *s, const Ast *param, const Shape *shape) {
    const char *name = param->name;
    intptr_t known = (intptr_t)map_get(&b->param_index, name);
    int index = (int)known - 1;
    int64_t rest = 1;
    for (int d = shape->rank > 1; d < shape->rank; d++)
        rest *= shape->dim[d];
    if (!known || b->mode == MODEL_FORWARD) {
        ParamSpec spec = {.suffix = "param",
                          .shape = *shape,
                          .split = *shape,
                          .fan_in = rest,
                          .fan_out = shape->dim[0]};
        Param *p = param_add(b, name, &index);
        p->shape = p->split = *shape;
        p->label = name;
        p->loc = param->loc;
        p->trainable = shape_elems(shape);
        p->frozen = marked_frozen(b, name);
        if (!init_eval(b, s, param->param.value, &spec, p))
            return tensor_poison(b, param->loc);
    }
    Tensor *t = ARENA_NEW(b->arena, Tensor);
    t->kind = TENSOR_LAYER;
    t->v = param_value(b, index, OP_NONE);
    t->shape = *shape;
    t->name = t->text = name;
    t->loc = param->loc;
    t->field = (Field){{1, 1}, {1, 1}, {0, 0}, false};
    return t;
}
