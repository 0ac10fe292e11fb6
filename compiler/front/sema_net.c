/* sema_net.c: which net, and what it is after `extends`, a variant and all edits.
 *
 * A net is flattened into a list of items (statements), base first; set, remove, replace, insert
 * and freeze change that list before anything is evaluated, so a changed constant or a removed
 * layer re-infers everything behind it.
 *
 * requires: a file without syntax errors.  ensures: names of nets, blocks and consts are unique and
 * do not hide operations; every edit's target exists.
 */
#include <string.h>

#include "front/parse.h"
#include "front/sema.h"

enum { EXTENDS_MAX = 64 };

typedef struct Lists {
    VEC(const Ast *) nets, variants;
    Map net, variant;
} Lists;

/* ---- file level ---- */

static bool reserved(Build *b, const Ast *item) {
    if (spec_op(item->name) == OP_NONE)
        return false;
    diag_error(b->diag, item->name_loc, "E0112", "'%s' is the name of an operation", item->name);
    return true;
}

static void collect_one(Build *b, Lists *l, Map *seen, Scope *file, const Ast *item) {
    const Ast *first = map_get(seen, item->name);
    if (first) {
        Diag *d = diag_error(b->diag, item->name_loc, "E0113", "'%s' is defined twice", item->name);
        diag_note(d, first->name_loc, "first defined here");
        return;
    }
    map_put(seen, item->name, (void *)(uintptr_t)item);
    if (reserved(b, item))
        return;
    switch (item->kind) {
    case AST_CONST:
        scope_bind(b, file, item->name,
                   (Binding){.kind = B_LAZY,
                             .ast = item->constant.value,
                             .scope = file,
                             .loc = item->name_loc,
                             .global = true});
        break;
    case AST_BLOCK:
        map_put(&b->blocks, item->name, (void *)(uintptr_t)item);
        break;
    case AST_NET:
        vec_push(b->arena, &l->nets, item);
        map_put(&l->net, item->name, (void *)(uintptr_t)item);
        break;
    case AST_VARIANTS:
        vec_push(b->arena, &l->variants, item);
        map_put(&l->variant, item->name, (void *)(uintptr_t)item);
        break;
    default:
        BUG("item of kind %s", ast_kind_text(item->kind));
    }
}

static void collect(Build *b, Lists *l, Scope *file) {
    Map seen = map_new(b->arena);
    l->net = map_new(b->arena);
    l->variant = map_new(b->arena);
    AST_EACH(item, b->file)
    collect_one(b, l, &seen, file, item);
}

/* ---- which net ---- */

static bool own(const Build *b, const Ast *net) {
    AST_EACH(item, b->ast->file.items)
    if (item == net)
        return true;
    return false;
}

/* The net that no other extends; those of the file itself before those that it includes. */
static const Ast *default_net(Build *b, const Lists *l) {
    const Ast *found = NULL, *first = NULL;
    int leaves = 0;
    StrBuf names = sb_new(b->arena);
    bool any = false;
    for (int i = 0; i < l->nets.len; i++)
        any = any || own(b, l->nets.data[i]);
    for (int i = 0; i < l->nets.len; i++) {
        bool base = false;
        for (int j = 0; j < l->nets.len; j++)
            base = base || (j != i && eq(l->nets.data[j]->net.base, l->nets.data[i]->name));
        if (base || (any && !own(b, l->nets.data[i])))
            continue;
        sb_printf(&names, "%s%s", leaves ? ", " : "", l->nets.data[i]->name);
        found = l->nets.data[i];
        first = first ? first : found;
        leaves++;
    }
    if (leaves == 1)
        return found;
    if (l->nets.len == 0)
        diag_help(diag_error(b->diag, LOC_NONE, "E0120", "the spec defines no net"),
                  "a net is written: net NAME { input image: f32[1, 28, 28] .. }");
    else if (leaves == 0)
        diag_error(b->diag, l->nets.data[0]->name_loc, "E0123", "the nets extend each other");
    else {
        Diag *d = diag_error(b->diag, first->name_loc, "E0120", "the spec defines %d nets: %s",
                             leaves, names.text);
        diag_help(d, "choose one with --net=NAME");
    }
    return NULL;
}

static const Ast *named_net(Build *b, const Lists *l, const char *name) {
    const Ast *net = map_get(&l->net, name);
    if (net)
        return net;
    const char **all = ARENA_ARRAY(b->arena, l->nets.len + 1, const char *);
    for (int i = 0; i < l->nets.len; i++)
        all[i] = l->nets.data[i]->name;
    Diag *d = diag_error(b->diag, LOC_NONE, "E0120", "the spec has no net '%s'", name);
    diag_suggest(d, LOC_NONE, nearest_name(name, all, l->nets.len));
    return NULL;
}

/* "Table3.no34" or "no34" (when only one family has it); *family receives the VARIANTS node. */
static const Ast *find_case(const Lists *l, const char *name, const Ast *net, const Ast **family) {
    const char *dot = strchr(name, '.');
    const Ast *found = NULL;
    for (int i = 0; i < l->variants.len; i++) {
        const Ast *v = l->variants.data[i];
        if (net && !eq(v->variants.of, net->name))
            continue;
        if (dot && (strlen(v->name) != (size_t)(dot - name) ||
                    strncmp(v->name, name, (size_t)(dot - name)) != 0))
            continue;
        AST_EACH(c, v->variants.cases)
        if (eq(c->name, dot ? dot + 1 : name) && !found) {
            found = c;
            *family = v;
        }
    }
    return found;
}

static const Ast *choose_variant(Build *b, const Lists *l, const Ast *net, const char *name,
                                 const Ast **family) {
    const Ast *found = find_case(l, name, net, family);
    if (found)
        return found;
    VEC(const char *) all = {0};
    for (int i = 0; i < l->variants.len; i++)
        AST_EACH(c, l->variants.data[i]->variants.cases) {
            if (strchr(name, '.'))
                vec_push(b->arena, &all,
                         arena_printf(b->arena, "%s.%s", l->variants.data[i]->name, c->name));
            else
                vec_push(b->arena, &all, c->name);
        }
    Diag *d = diag_error(b->diag, LOC_NONE, "E0120", "the spec has no variant '%s'", name);
    diag_suggest(d, LOC_NONE, nearest_name(name, all.data, all.len));
    if (all.len && all.len <= 20) {
        StrBuf list = sb_new(b->arena);
        for (int i = 0; i < all.len; i++)
            sb_printf(&list, "%s%s", i ? ", " : "", all.data[i]);
        diag_help(d, "it has %s", list.text);
    }
    return NULL;
}

/* ---- items ---- */

bool glob_match(const char *glob, const char *text) {
    const char *star = NULL, *back = NULL;
    while (*text) {
        if (*glob == '*') {
            star = glob++;
            back = text;
        } else if (*glob == '?' || *glob == *text) {
            glob++;
            text++;
        } else if (star) {
            glob = star + 1;
            text = ++back;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

static int item_find(const Net *net, const char *label) {
    for (int i = 0; i < net->items.len; i++)
        if (eq(net->items.data[i].label, label))
            return i;
    return -1;
}

static int item_at(Build *b, Scope *s, const Ast *path, const char *verb) {
    Net *net = b->net;
    const char *label = path_text(b, s, path, NULL);
    if (!label)
        return -1;
    int i = item_find(net, label);
    if (i >= 0)
        return i;
    const char *dot = strchr(label, '.');
    if (dot && item_find(net, arena_strndup(b->arena, label, (size_t)(dot - label))) >= 0) {
        diag_error(b->diag, path->loc, "E0801", "not built yet: `%s` inside a block", verb);
        return -1;
    }
    const char **all = ARENA_ARRAY(b->arena, net->items.len + 1, const char *);
    int n = 0;
    for (int k = 0; k < net->items.len; k++)
        if (net->items.data[k].label)
            all[n++] = net->items.data[k].label;
    Diag *d = diag_error(b->diag, path->loc, "E0114", "no layer '%s' to %s", label, verb);
    diag_suggest(d, path->loc, nearest_name(label, all, n));
    return -1;
}

static void add_item(Build *b, Scope *s, const Ast *stmt) {
    Item *item = vec_add(b->arena, &b->net->items);
    item->stmt = stmt;
    item->scope = item->chain_scope = s;
    if (stmt->kind != AST_STMT)
        return;
    item->chain = stmt->stmt.chain;
    if (stmt->stmt.label)
        item->label = path_text(b, s, stmt->stmt.label, NULL);
    if (stmt->stmt.is_out)
        diag_error(b->diag, stmt->loc, "E0118", "`out` belongs to blocks; a net has `output`");
}

/* ---- edits ---- */

typedef void (*ItemEdit)(Build *b, Item *item, LocRange at);

static void mark_removed(Build *b, Item *item, LocRange at) {
    if (item->removed)
        diag_error(b->diag, at, "E0115", "'%s' was removed before", item->label);
    item->removed = true;
    item->removed_at = at;
}

static void mark_frozen(Build *b, Item *item, LocRange at) {
    (void)b;
    (void)at;
    item->frozen = true;
}

static void edit_range(Build *b, Scope *s, const Ast *target, const char *verb, ItemEdit edit) {
    int from = item_at(b, s, target->target.from, verb);
    int to = item_at(b, s, target->target.to, verb);
    if (from < 0 || to < 0)
        return;
    if (from > to) {
        diag_error(b->diag, target->loc, "E0115", "'%s' stands before '%s': the range is empty",
                   b->net->items.data[to].label, b->net->items.data[from].label);
        return;
    }
    for (int i = from; i <= to; i++)
        edit(b, &b->net->items.data[i], target->loc);
}

static void edit_targets(Build *b, Scope *s, const Ast *ast) {
    bool freeze = ast->kind == AST_FREEZE;
    const char *verb = freeze ? "freeze" : "remove";
    ItemEdit edit = freeze ? mark_frozen : mark_removed;
    AST_EACH(t, ast->edit.targets) {
        if (t->target.from && t->target.to) {
            edit_range(b, s, t, verb, edit);
        } else if (freeze) {
            const char *pattern = t->target.from ? path_text(b, s, t->target.from, NULL) : t->name;
            if (pattern)
                vec_push(b->arena, &b->net->freezes,
                         ((FreezeMark){pattern, t->loc, !t->target.from, false}));
        } else if (t->target.from) {
            int i = item_at(b, s, t->target.from, verb);
            if (i >= 0)
                edit(b, &b->net->items.data[i], t->loc);
        } else {
            int hits = 0;
            for (int i = 0; i < b->net->items.len; i++) {
                Item *item = &b->net->items.data[i];
                if (item->label && !item->removed && glob_match(t->name, item->label)) {
                    edit(b, item, t->loc);
                    hits++;
                }
            }
            if (!hits)
                diag_error(b->diag, t->loc, "E0114", "no layer matches \"%s\"", t->name);
        }
    }
}

/* The stage where a chain begins when it is a layer or `in`; NULL when an operation begins it. */
static const Ast *chain_source(Build *b, const Ast *chain) {
    const Ast *first = chain->chain.stages.items[0];
    if (first->kind != AST_STAGE)
        return NULL;
    const Ast *prim = first->stage.prim;
    if (prim->kind == AST_IN)
        return first;
    if (prim->kind != AST_PATH)
        return NULL;
    bool op = prim->name && (spec_op(prim->name) != OP_NONE || map_has(&b->blocks, prim->name));
    return op ? NULL : first;
}

static void edit_replace(Build *b, Scope *s, const Ast *ast) {
    int i = item_at(b, s, ast->splice.path, "replace");
    if (i < 0)
        return;
    Item *item = &b->net->items.data[i];
    if (item->removed) {
        diag_error(b->diag, ast->loc, "E0115", "'%s' was removed before", item->label);
        return;
    }
    const Ast *source = chain_source(b, item->chain);
    item->source = source ? source : item->source;
    item->chain = ast->splice.chain;
    item->chain_scope = s;
    item->sets = NULL;
}

static void edit_insert(Build *b, Scope *s, const Ast *ast) {
    int i = item_at(b, s, ast->splice.path, "insert at");
    if (i < 0)
        return;
    Item *item = &b->net->items.data[i];
    if (item->removed) {
        diag_error(b->diag, ast->loc, "E0115", "'%s' was removed before", item->label);
        return;
    }
    Insertion *new = ARENA_NEW(b->arena, Insertion), **at = &item->after;
    new->chain = ast->splice.chain;
    new->scope = s;
    if (ast->splice.before) /* next to the layer: behind what was inserted before */
        for (at = &item->before; *at; at = &(*at)->next)
            ;
    new->next = *at;
    *at = new;
}

static bool is_section(const char *name) {
    return eq(name, "defaults") || eq(name, "data") || eq(name, "train") || eq(name, "predict");
}

static void set_formal(Build *b, Scope *s, const Ast *path, const Ast *value) {
    Binding *old = scope_find(s, path->name);
    if (!old || old->kind == B_TENSOR) {
        VEC(const char *) all = {0};
        for (Scope *up = s; up; up = up->up)
            for (int i = 0; i < up->names.count; i++)
                vec_push(b->arena, &all, up->names.entries[i].key);
        Diag *d = diag_error(b->diag, path->loc, "E0116",
                             "'%s' is neither a parameter nor a const of net %s", path->name,
                             b->net->decl->name);
        diag_suggest(d, path->loc, nearest_name(path->name, all.data, all.len));
        return;
    }
    Scope *before = scope_new(b, s); /* `set m = 2 * m` speaks of the old m */
    Binding *copy = ARENA_NEW(b->arena, Binding);
    *copy = *old;
    map_put(&before->names, path->name, copy);
    *old = (Binding){.kind = B_LAZY,
                     .ast = value,
                     .scope = before,
                     .loc = path->loc,
                     .formal = old->formal,
                     .global = true};
}

/* dim(H, multiple = 32) in a shape: H is a name of the net from here on; -D H=64 gives it a value.
 */
static void declare_dims(Build *b, Scope *s, const AstList *dims) {
    AST_EACH(d, *dims) {
        if (d->kind != AST_CALL || !eq(d->name, "dim") || d->call.args.count < 1)
            continue;
        const Ast *name = d->call.args.items[0]->arg.value, *value = NULL;
        AST_EACH(a, d->call.args)
        if (eq(a->name, "default"))
            value = a->arg.value;
        if (name->kind != AST_PATH || !name->name || map_has(&s->names, name->name))
            continue;
        Val word = {.kind = V_NAME, .loc = name->loc, .text = name->name, .ast = name, .scope = s};
        map_put(&b->net->dims, name->name, (void *)(uintptr_t)name);
        scope_bind(b, s, name->name,
                   value ? (Binding){.kind = B_LAZY, .ast = value, .scope = s, .loc = name->loc}
                         : (Binding){.kind = B_VAL, .val = word, .loc = name->loc});
    }
}

static void edit_set(Build *b, Scope *s, const Ast *path, const Ast *value, const Ast *set) {
    if (path->name) {
        set_formal(b, s, path, value);
        return;
    }
    const char *text = path_text(b, s, path, NULL);
    if (!text)
        return;
    const char *head = path->path.parts.items[0]->name, *dot = strrchr(text, '.');
    const char *front = intern(text, (size_t)(dot - text)), *last = intern_z(dot + 1);
    if (is_section(head)) {
        vec_push(b->arena, &b->net->settings,
                 ((Setting){.section = head,
                            .key = intern_z(strchr(text, '.') + 1),
                            .ast = path,
                            .value = value,
                            .scope = s,
                            .key_loc = path->loc}));
        return;
    }
    for (int i = 0; i < b->net->inputs.len; i++)
        if (eq(b->net->inputs.data[i].ast->name, front) && eq(last, "shape")) {
            if (value && value->kind == AST_LIST)
                declare_dims(b, s, &value->list.items);
            Member *m = ARENA_NEW(b->arena, Member);
            *m = (Member){set ? set : path, s};
            map_put(&b->net->shapes, front, m);
            return;
        }
    int i = item_find(b->net, front);
    if (i < 0) {
        Ast *label = ARENA_NEW(b->arena, Ast);
        *label = *path; /* only for its location and parts without the last */
        label->path.parts.count--;
        item_at(b, s, label, "set");
        return;
    }
    LabelSet *ls = ARENA_NEW(b->arena, LabelSet);
    *ls = (LabelSet){.attr = last,
                     .value = value,
                     .scope = s,
                     .loc = path->loc,
                     .next = b->net->items.data[i].sets};
    b->net->items.data[i].sets = ls;
}

/* ---- members ---- */

static void add_section(Build *b, Scope *s, const Ast *section) {
    Map seen = map_new(b->arena);
    if (section->section.title)
        diag_error(b->diag, section->section.title_loc, "E0801",
                   "not built yet: sections with a name");
    AST_EACH(e, section->section.entries) {
        bool job = e->kind == AST_JOB;
        const Ast *path = job ? e->job.path : e->setting.path;
        const char *key = e->name ? e->name : path_text(b, s, path, NULL);
        if (!key)
            continue;
        const Ast *first = job ? NULL : map_get(&seen, key);
        if (first) {
            Diag *d = diag_error(b->diag, path->loc, "E0113", "'%s' is set twice", key);
            diag_note(d, first->loc, "first set here");
        }
        if (!job)
            map_put(&seen, key, (void *)(uintptr_t)path);
        vec_push(b->arena, &b->net->settings,
                 ((Setting){.section = section->name,
                            .key = key,
                            .ast = e,
                            .job = job,
                            .value = job ? e->job.call : e->setting.value,
                            .scope = s,
                            .key_loc = path->loc}));
    }
}

/* The same name in a derived net replaces the base's; twice in one level is a mistake. */
static void add_member(Build *b, MemberVec *list, Scope *s, const Ast *ast) {
    for (int i = 0; i < list->len && ast->name; i++)
        if (eq(list->data[i].ast->name, ast->name)) {
            if (list->data[i].scope == s) {
                Diag *d = diag_error(b->diag, ast->name_loc, "E0113", "%s '%s' is defined twice",
                                     ast_kind_text(ast->kind), ast->name);
                diag_note(d, list->data[i].ast->name_loc, "first defined here");
            }
            list->data[i] = (Member){ast, s};
            return;
        }
    vec_push(b->arena, list, ((Member){ast, s}));
}

static void add_members(Build *b, Scope *s, const AstList *members) {
    Net *net = b->net;
    AST_EACH(m, *members) {
        switch (m->kind) {
        case AST_CONST:
            if (map_has(&s->names, m->name))
                diag_error(b->diag, m->name_loc, "E0113", "'%s' is defined twice", m->name);
            scope_bind(b, s, m->name,
                       (Binding){.kind = B_LAZY,
                                 .ast = m->constant.value,
                                 .scope = s,
                                 .loc = m->name_loc,
                                 .global = true});
            break;
        case AST_STMT:
        case AST_REPEAT:
        case AST_IF:
            add_item(b, s, m);
            break;
        case AST_REMOVE:
        case AST_FREEZE:
            edit_targets(b, s, m);
            break;
        case AST_SET:
            edit_set(b, s, m->set.path, m->set.value, m);
            break;
        case AST_REPLACE:
            edit_replace(b, s, m);
            break;
        case AST_INSERT:
            edit_insert(b, s, m);
            break;
        case AST_SECTION:
            add_section(b, s, m);
            break;
        case AST_INPUT:
            declare_dims(b, s, &m->input.type->type.dims);
            add_member(b, &net->inputs, s, m);
            break;
        case AST_OUTPUT:
            if (net->outputs.len && net->outputs.data[0].scope != s)
                net->outputs.len = 0; /* those of the base give way to all of this level */
            vec_push(b->arena, &net->outputs, ((Member){m, s}));
            break;
        case AST_LOSS:
            add_member(b, &net->losses, s, m);
            break;
        case AST_METRIC:
            add_member(b, &net->metrics, s, m);
            break;
        case AST_PARAM:
            add_member(b, &net->params, s, m);
            break;
        default:
            BUG("member of kind %s", ast_kind_text(m->kind));
        }
    }
}

/* ---- levels: base first ---- */

static void bind_formals(Build *b, Scope *s, const AstList *formals, const Ast *net) {
    AST_EACH(f, *formals) {
        if (map_has(&s->names, f->name)) {
            diag_error(b->diag, f->name_loc, "E0113", "parameter '%s' is defined twice", f->name);
            continue;
        }
        if (!f->formal.value)
            diag_help(diag_error(b->diag, f->loc, "E0110",
                                 "parameter '%s' of net %s needs a default", f->name, net->name),
                      "write %s = VALUE; -D %s=VALUE changes it", f->name, f->name);
        else
            scope_bind(b, s, f->name,
                       (Binding){.kind = B_LAZY,
                                 .ast = f->formal.value,
                                 .scope = s,
                                 .loc = f->name_loc,
                                 .formal = true,
                                 .global = true});
    }
}

/* extends Base(classes = 21): positional in the order of the formals, or by name. */
static void bind_base_args(Build *b, Scope *base, Scope *derived, const Ast *basedecl,
                           const Ast *net) {
    int next = 0;
    AST_EACH(a, net->net.base_args) {
        const AstList *formals = &basedecl->net.formals;
        const char *name = a->name;
        if (!name && next < formals->count)
            name = formals->items[next++]->name;
        Binding *old = name ? map_get(&base->names, name) : NULL;
        if (!old || !old->formal) {
            const char **all = ARENA_ARRAY(b->arena, formals->count + 1, const char *);
            for (int i = 0; i < formals->count; i++)
                all[i] = formals->items[i]->name;
            Diag *d = diag_error(b->diag, a->loc, "E0107", "net %s has no %s'%s'", basedecl->name,
                                 name ? "parameter " : "further parameter for ",
                                 name ? name : ast_text(b->arena, a));
            if (name)
                diag_suggest(d, a->name_loc, nearest_name(name, all, formals->count));
            continue;
        }
        *old = (Binding){.kind = B_LAZY,
                         .ast = a->arg.value,
                         .scope = derived,
                         .loc = a->loc,
                         .formal = true,
                         .global = true};
    }
}

static bool levels_of(Build *b, const Lists *l, const Ast *net, const Ast **level, int *count) {
    int n = 0;
    for (const Ast *at = net; at;) {
        for (int i = 0; i < n; i++)
            if (level[i] == at) {
                diag_error(b->diag, at->net.base_loc, "E0123", "net '%s' extends itself", at->name);
                return false;
            }
        if (n == EXTENDS_MAX) {
            diag_error(b->diag, at->loc, "E0130", "more than %d nets extend each other",
                       EXTENDS_MAX);
            return false;
        }
        level[n++] = at;
        if (!at->net.base)
            break;
        const Ast *base = map_get(&l->net, at->net.base);
        if (!base) {
            const char **all = ARENA_ARRAY(b->arena, l->nets.len + 1, const char *);
            for (int i = 0; i < l->nets.len; i++)
                all[i] = l->nets.data[i]->name;
            Diag *d =
                diag_error(b->diag, at->net.base_loc, "E0103", "unknown net '%s'", at->net.base);
            diag_suggest(d, at->net.base_loc, nearest_name(at->net.base, all, l->nets.len));
            return false;
        }
        at = base;
    }
    for (int i = 0; i < n / 2; i++) {
        const Ast *t = level[i];
        level[i] = level[n - 1 - i];
        level[n - 1 - i] = t;
    }
    *count = n;
    return true;
}

static void apply_defines(Build *b) {
    for (int i = 0; i < b->opt->ndefine; i++) {
        const ModelDefine *d = &b->opt->define[i];
        if (!b->opt->sources)
            BUG("-D without sources");
        const char *label = arena_printf(b->arena, "<-D %s>", d->name);
        Ast *path = parse_expression(b->arena, b->opt->sources, b->diag, label, d->name);
        Ast *value = parse_expression(b->arena, b->opt->sources, b->diag, label, d->value);
        if (!path || !value)
            continue;
        if (path->kind == AST_PATH)
            edit_set(b, b->net->scope, path, value, NULL);
        else
            diag_error(b->diag, path->loc, "E0116", "-D takes NAME=VALUE, got '%s'", d->name);
    }
}

static void check_variants(Build *b, const Lists *l) {
    for (int i = 0; i < l->variants.len; i++) {
        const Ast *v = l->variants.data[i];
        Map seen = map_new(b->arena);
        if (!map_has(&l->net, v->variants.of))
            diag_error(b->diag, v->variants.of_loc, "E0103", "unknown net '%s'", v->variants.of);
        AST_EACH(c, v->variants.cases)
        if (!map_put(&seen, c->name, NULL))
            diag_error(b->diag, c->name_loc, "E0113", "variant '%s' is defined twice", c->name);
    }
}

static void list_variants(Build *b, const Lists *l, const Ast *net) {
    VEC(const char *) all = {0};
    for (int i = 0; i < l->variants.len; i++)
        if (eq(l->variants.data[i]->variants.of, net->name))
            AST_EACH(c, l->variants.data[i]->variants.cases)
    vec_push(b->arena, &all, arena_printf(b->arena, "%s.%s", l->variants.data[i]->name, c->name));
    b->m->variants = all.data;
    b->m->nvariants = all.len;
}

/* The net and variant that the options name. */
static const Ast *choose(Build *b, const Lists *l, const Ast **variant, const Ast **family) {
    const char *name = b->opt->net, *case_name = b->opt->variant;
    const Ast *net = NULL;
    if (name && !map_has(&l->net, name) && find_case(l, name, NULL, family)) {
        case_name = name;
        name = NULL;
    }
    if (name && !(net = named_net(b, l, name)))
        return NULL;
    if (case_name) {
        *variant = choose_variant(b, l, net, case_name, family);
        if (!*variant)
            return NULL;
        return net ? net : named_net(b, l, (*family)->variants.of);
    }
    return net ? net : default_net(b, l);
}

Net *sema_net(Build *b) {
    Lists l = {0};
    Net *net = ARENA_NEW(b->arena, Net);
    const Ast *level[EXTENDS_MAX], *variant = NULL, *family = NULL;
    Scope *scope[EXTENDS_MAX + 1];
    int n = 0;
    b->net = net;
    net->file = scope_new(b, NULL);
    net->shapes = map_new(b->arena);
    net->dims = map_new(b->arena);
    collect(b, &l, net->file);
    check_variants(b, &l);
    const Ast *decl = choose(b, &l, &variant, &family);
    if (!decl || !levels_of(b, &l, decl, level, &n))
        return NULL;
    net->decl = decl;
    net->name = variant ? arena_printf(b->arena, "%s.%s", decl->name, variant->name) : decl->name;
    Scope *root = scope_new(b, net->file);
    root->instance = root;
    for (int i = 0; i < n; i++) {
        scope[i] = scope_new(b, i ? scope[i - 1] : root);
        bind_formals(b, scope[i], &level[i]->net.formals, level[i]);
        if (i)
            bind_base_args(b, scope[i - 1], scope[i], level[i - 1], level[i]);
    }
    net->scope = scope[n - 1];
    for (int i = 0; i < n; i++)
        add_members(b, scope[i], &level[i]->net.members);
    if (variant) {
        net->scope = scope_new(b, net->scope);
        add_members(b, net->scope, &variant->variant.members);
    }
    apply_defines(b);
    list_variants(b, &l, decl);
    return net;
}

const Setting *net_setting(Build *b, const char *section, const char *key) {
    Setting *found = NULL;
    for (int i = 0; i < b->net->settings.len; i++) {
        Setting *s = &b->net->settings.data[i];
        if (eq(s->section, section) && eq(s->key, key)) {
            s->used = true;
            found = s;
        }
    }
    return found;
}

static bool names_net(AstList items, const char *name) {
    AST_EACH(item, items)
    if (item->kind == AST_NET && eq(item->name, name))
        return true;
    return false;
}

int model_names(Arena *arena, Ast *file, const char ***names) {
    AstList items = ast_flatten_items(arena, file);
    VEC(const char *) all = {0};
    AST_EACH(item, items)
    if (item->kind == AST_NET)
        vec_push(arena, &all, item->name);
    AST_EACH(item, items)
    if (item->kind == AST_VARIANTS && names_net(items, item->variants.of))
        AST_EACH(c, item->variants.cases)
    vec_push(arena, &all, arena_printf(arena, "%s.%s", item->name, c->name));
    *names = all.data;
    return all.len;
}
