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
    static const char *const planned[] = {"bilinear", "gabor", "orthogonal", "truncated", "file"};
    Val a[2];
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

static int64_t count_links(const ConnTable *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < (int64_t)t->outputs * t->inputs; i++)
        n += t->link[i];
    return n;
}

static ValueId param_value(Build *b, int index) {
    const Param *p = &b->m->params.at[index];
    ValueId v = (ValueId)(uintptr_t)map_get(&b->values, p->name);
    if (!v || graph_v(b->g, v)->slot != index) {
        v = graph_input(b->g, VK_PARAM, DT_F32, p->shape, false, index, p->name);
        map_put(&b->values, p->name, (void *)(uintptr_t)v);
    }
    return v;
}

static const ConnTable *connections(const Bound *bound) {
    if (bound->op == OP_DECONV)
        return ((const DeconvAttrs *)bound->attrs)->connect;
    return bound->op == OP_CONV2D ? ((const ConvAttrs *)bound->attrs)->connect : NULL;
}

static bool one_param(Build *b, const Bound *bound, const ParamSpec *spec, const char *name,
                      const char *label, LocRange loc, int *index) {
    const Ast *ast = NULL;
    Scope *scope = NULL;
    bool bias = eq(spec->suffix, "bias");
    const ConnTable *links = bias ? NULL : connections(bound);
    Param *p = param_add(b, name, index);
    p->shape = spec->shape;
    p->split = spec->split;
    p->init = spec->init;
    p->init_a = spec->init_a;
    p->init_b = spec->init_b;
    p->label = label;
    p->loc = loc;
    p->lr_mult = bound->lr_mult;
    p->decay_mult = spec->plain && !bound->has_decay ? 0 : bound->decay_mult;
    bool marked = marked_frozen(b, label);
    p->frozen = (bound->has_frozen ? bound->frozen : spec->frozen) || marked;
    if (spec->statistic) {
        p->frozen = true;
        return true; /* none of its numbers is trained: not counted, `init` is not for it */
    }
    p->trainable = shape_elems(&p->shape);
    if (links) {
        int64_t maps = p->shape.dim[0] * p->shape.dim[1];
        p->links = links->link;
        p->trainable = p->trainable / maps * count_links(links);
    }
    if (eq(spec->suffix, "centers")) {
        ast = bound->centers;
        scope = bound->init_scope;
    } else if (bias) {
        ast = bound->bias_init;
        scope = bound->bias_scope;
    } else {
        ast = bound->init;
        scope = bound->init_scope;
        const Setting *all = ast || spec->plain ? NULL : net_setting(b, "train", "init");
        if (all) {
            ast = all->value;
            scope = all->scope;
        }
    }
    return !ast || init_eval(b, scope, ast, spec, p);
}

/* The link mask as a constant: dW is multiplied by it, so missing weights stay zero. */
static int links_param(Build *b, int weight, const ConnTable *t) {
    const Param *w = &b->m->params.at[weight];
    const char *name = arena_printf(b->arena, "%s.links", w->name);
    Shape shape = w->shape;
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

static bool same_links(const Bound *bound, const Param *p, bool bias) {
    const ConnTable *t = bias ? NULL : connections(bound);
    if (!t || !p->links)
        return !t == !p->links;
    return memcmp(t->link, p->links, (size_t)t->outputs * (size_t)t->inputs) == 0;
}

static void share_mismatch(Build *b, const Bound *bound, const Param *p, const Tensor *src,
                           const LabelInfo *t, const char *label) {
    const Ast *at = bound->share_arg ? bound->share_arg : bound->share;
    StrBuf shape = sb_new(b->arena);
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
                       op_name[bound->op], label, p->name, shape.text,
                       shape_text(b->arena, &src->shape));
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
        bool bias = eq(spec[i].suffix, "bias");
        if (!p) {
            diag_error(b->diag, bound->share->loc, "E0312",
                       "'%s' has no %s to share; write %s = no", t->name, spec[i].suffix,
                       spec[i].suffix);
            return false;
        }
        if (!shape_equal(&p->shape, &spec[i].shape) || !shape_equal(&p->split, &spec[i].split) ||
            !same_links(bound, p, bias)) {
            share_mismatch(b, bound, p, src, t, label);
            return false;
        }
        if (!bias)
            out->weights += p->trainable;
    }
    return true;
}

bool build_params(Build *b, Scope *s, const Ast *at, const Bound *bound, const Tensor *src,
                  const Naming *naming, LayerParams *out) {
    ParamSpec spec[4];
    bool ok = true;
    memset(out, 0, sizeof *out);
    int n = op_def[bound->op]->params(bound->attrs, &src->shape, spec);
    if (bound->share) {
        if (!share_params(b, s, bound, src, spec, n, naming->param, out))
            return false;
    } else {
        for (int i = 0; i < n; i++) {
            const char *name = arena_printf(b->arena, "%s.%s", naming->param, spec[i].suffix);
            intptr_t known = (intptr_t)map_get(&b->param_index, name);
            /* A name known in the first walk is a label defined twice, which is reported. */
            if (known && b->mode != MODEL_FORWARD)
                out->index[i] = (int)known - 1;
            else
                ok &= one_param(b, bound, &spec[i], name, naming->param, at->loc, &out->index[i]);
            const Param *p = &b->m->params.at[out->index[i]];
            out->count += p->trainable;
            if (!eq(spec[i].suffix, "bias"))
                out->weights += p->trainable;
        }
    }
    out->n = n;
    for (int i = 0; i < n; i++)
        out->value[i] = param_value(b, out->index[i]);
    const ConnTable *links = connections(bound);
    if (links && ok) {
        out->index[out->n] = links_param(b, out->index[0], links);
        out->value[out->n] = param_value(b, out->index[out->n]);
        out->n++;
    }
    return ok;
}
