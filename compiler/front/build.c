/* build.c: statements to graph: implicit flow, labels, chains, forks, blocks, repeat and if.
 *
 * The same walk runs once per mode.  Labels of a block instance get the instance's prefix
 * ("r2.0."), labels inside a repeat the turn's suffix (".1") unless they carry an index of their
 * own.
 *
 * requires: sema_net's items.  ensures: every label is unique; expansion, nesting of blocks and
 * repetition are bounded (base/limits.h).
 */
#include <string.h>

#include "front/sema.h"

enum { BLOCK_DEPTH_MAX = 32 };

/* What the stages of one chain have in common. */
typedef struct Chain {
    Build *b;
    Scope *s;
    const char *label; /* full label of the statement, NULL */
    int parametric;    /* stages with parameters of their own */
    int blocks;
    int skip;     /* stages at the front that have been run already */
    bool started; /* an operation of this chain has been built */
} Chain;

static Tensor *run_block(Chain *c, const Ast *at, const Ast *block, Flow flow,
                         const char *instance);
static Flow run_chain(Chain *c, const Ast *chain, Flow flow);

int spec_op(const char *name) {
    int op = op_find(name);
    return op != OP_NONE && op_is(op, OPF_U) ? op : OP_NONE;
}

Tensor *tensor_poison(Build *b, LocRange loc) {
    Tensor *t = ARENA_NEW(b->arena, Tensor);
    t->poison = true;
    t->name = t->text = "?";
    t->loc = loc;
    return t;
}

static Flow flow_one(Build *b, Tensor *t) {
    Flow f = {.at = ARENA_ARRAY(b->arena, 1, Tensor *), .n = t ? 1 : 0};
    f.at[0] = t;
    return f;
}

static bool flow_poison(const Flow *f) {
    for (int i = 0; i < f->n; i++)
        if (f->at[i]->poison)
            return true;
    return false;
}

/* ---- labels ---- */

LabelInfo *label_declare(Build *b, const char *full, LocRange loc, Tensor *t) {
    LabelInfo *first = map_get(&b->labels, full);
    if (first) {
        Diag *d = diag_error(b->diag, loc, "E0113", "label '%s' is defined twice", full);
        diag_note(d, first->loc, "first defined here");
        return first;
    }
    LabelInfo *l = ARENA_NEW(b->arena, LabelInfo);
    const LabelInfo *own = map_get(&b->owners, full);
    if (own)
        *l = *own;
    l->name = full;
    l->tensor = t;
    l->loc = loc;
    map_put(&b->labels, full, l);
    vec_push(b->arena, &b->order, l);
    if (t && !t->poison && t->name == t->text && t->kind == TENSOR_LAYER)
        t->name = full;
    if (t && t->v && !graph_v(b->g, t->v)->name)
        graph_set_name(b->g, t->v, full);
    return l;
}

/* Full label for a path declared in scope s; NULL after an error. */
static const char *full_label(Build *b, Scope *s, const Ast *path) {
    bool indexed;
    const char *text = path_text(b, s, path, &indexed);
    if (!text)
        return NULL;
    if (path->name && (spec_op(path->name) != OP_NONE || map_has(&b->blocks, path->name))) {
        diag_error(b->diag, path->loc, "E0112", "'%s' is the name of %s, it cannot be a label",
                   text, spec_op(path->name) != OP_NONE ? "an operation" : "a block");
        return NULL;
    }
    if (eq(path->name, "weight") || eq(path->name, "bias")) {
        diag_error(b->diag, path->loc, "E0112",
                   "'%s' names a layer's parameters, it cannot be a "
                   "label",
                   path->name);
        return NULL;
    }
    return intern_z(arena_printf(b->arena, "%s%s%s", s->prefix, text, indexed ? "" : s->suffix));
}

/* conv1, conv2, ..: for stages that own parameters and have no label of their own. */
static const char *anonymous(Chain *c, const char *word) {
    Build *b = c->b;
    const char *stem = intern_z(c->label ? arena_printf(b->arena, "%s.%s", c->label, word)
                                         : arena_printf(b->arena, "%s%s", c->s->prefix, word));
    Map *counters = &c->s->instance->counters;
    for (intptr_t k = (intptr_t)map_get(counters, stem) + 1;; k++) {
        const char *name = intern_z(arena_printf(b->arena, "%s%d", stem, (int)k));
        map_put(counters, stem, (void *)k);
        if (!map_has(&b->labels, name) && !map_has(&b->owners, name))
            return name;
    }
}

/* ---- stages ---- */

static const char *prim_word(const Ast *prim) {
    return prim->kind == AST_CALL || prim->kind == AST_PATH ? prim->name : NULL;
}

static void count_chain(Build *b, Chain *c, const Ast *chain) {
    AST_EACH(stage, chain->chain.stages) {
        if (stage->kind == AST_FORK) {
            AST_EACH(branch, stage->fork.branches)
            count_chain(b, c, branch);
            continue;
        }
        const char *word = prim_word(stage->stage.prim);
        int op = word ? spec_op(word) : OP_NONE;
        if (op != OP_NONE && op_is(op, OPF_P) && !stage->stage.as)
            c->parametric++;
        if (word && op == OP_NONE && map_has(&b->blocks, word))
            c->blocks++;
    }
}

static Naming name_stage(Chain *c, int op, const char *as) {
    Naming n = {.starts_row = !c->started};
    bool own = op_is(op, OPF_P);
    if (as) {
        n.param = n.row = as;
        n.starts_row = true;
        return n;
    }
    if (c->label && !(own && c->parametric > 1)) {
        n.param = n.row = c->label;
        return n;
    }
    n.param = anonymous(c, op_name[op]);
    n.row = c->label ? c->label : n.param;
    n.anonymous = !c->label;
    return n;
}

/* A layer, an input or a formal that holds one: the only paths that may begin a chain. */
static Tensor *begin_with(Chain *c, const Ast *path) {
    Build *b = c->b;
    Val v = expr_eval(b, c->s, path);
    if (v.kind == V_TENSOR)
        return v.tensor;
    if (v.kind == V_BAD)
        return tensor_poison(b, path->loc);
    if (v.kind != V_NAME) {
        diag_error(b->diag, path->loc, "E0122", "'%s' is %s, not a layer", ast_text(b->arena, path),
                   val_kind_text(&v));
        return tensor_poison(b, path->loc);
    }
    if (planned_operation(b, path->loc, v.text))
        return tensor_poison(b, path->loc);
    VEC(const char *) all = {0};
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (op_is(op, OPF_U))
            vec_push(b->arena, &all, op_name[op]);
    for (int i = 0; i < b->blocks.count; i++)
        vec_push(b->arena, &all, b->blocks.entries[i].key);
    for (int i = 0; i < b->order.len; i++)
        vec_push(b->arena, &all, b->order.data[i]->name);
    Diag *d = diag_error(b->diag, path->loc, "E0103", "unknown layer or operation '%s'", v.text);
    for (int i = 0; i < b->net->items.len && !c->s->trace; i++)
        if (eq(b->net->items.data[i].label, v.text)) {
            diag_note(d, b->net->items.data[i].stmt->loc,
                      "a layer can read only what stands above");
            return tensor_poison(b, path->loc);
        }
    diag_suggest(d, path->loc, nearest_name(v.text, all.data, all.len));
    return tensor_poison(b, path->loc);
}

static Flow run_fork(Chain *c, const Ast *fork, Flow flow, bool first) {
    Build *b = c->b;
    int n = fork->fork.branches.count;
    Flow out = {.at = ARENA_ARRAY(b->arena, n, Tensor *), .n = 0};
    Scope *inner = scope_new(b, c->s);
    if ((!first || !inner->in) && flow.n == 1)
        inner->in = flow.at[0];
    AST_EACH(branch, fork->fork.branches) {
        Chain sub = *c;
        sub.s = inner;
        sub.skip = 0;
        sub.started = false;
        Flow copy = flow;
        copy.implicit = true;
        Flow r = run_chain(&sub, branch, copy);
        if (r.n != 1) {
            diag_error(b->diag, branch->loc, "E0119", "a branch of a fork must end in one value");
            out.at[out.n++] = tensor_poison(b, branch->loc);
        } else {
            out.at[out.n++] = r.at[0];
        }
    }
    c->started = true;
    return out;
}

static Flow run_call(Chain *c, const Ast *prim, Flow flow, const char *as) {
    Build *b = c->b;
    const char *word = prim_word(prim);
    int op = word ? spec_op(word) : OP_NONE;
    Tensor *t;
    if (op != OP_NONE) {
        Naming naming = name_stage(c, op, as);
        Naming *keep = ARENA_NEW(b->arena, Naming);
        *keep = naming;
        t = build_op(b, c->s, prim, op, flow, keep);
    } else if (word && map_has(&b->blocks, word)) {
        const char *instance = as ? as : c->label && c->blocks == 1 ? c->label : anonymous(c, word);
        t = run_block(c, prim, map_get(&b->blocks, word), flow, instance);
    } else {
        Val v = {.kind = V_BAD};
        if (word && prim->kind == AST_CALL)
            v.text = word;
        unknown_operation(b, prim, v.text ? v.text : ast_text(b->arena, prim->call.callee));
        t = tensor_poison(b, prim->loc);
    }
    c->started = true;
    return flow_one(b, t);
}

static Flow run_prim(Chain *c, const Ast *prim, Flow flow, bool first, const char *as) {
    Build *b = c->b;
    const char *word = prim_word(prim);
    bool runs =
        prim->kind == AST_CALL || (word && (spec_op(word) != OP_NONE || map_has(&b->blocks, word)));
    if (runs)
        return run_call(c, prim, flow, as);
    if (!first) {
        const char *text = ast_text(b->arena, prim);
        if (prim->kind == AST_PATH && word && !label_find(b, c->s, text) &&
            !scope_find(c->s, text)) {
            unknown_operation(b, prim, text);
        } else {
            Diag *d = diag_error(b->diag, prim->loc, "E0122",
                                 "'%s' is a layer; only an operation can stand behind ->", text);
            diag_help(d, "a chain begins with the layer it reads: %s -> ..", text);
        }
        return flow_one(b, tensor_poison(b, prim->loc));
    }
    if (prim->kind == AST_IN) {
        Val v = expr_eval(b, c->s, prim);
        return flow_one(b, v.kind == V_TENSOR ? v.tensor : tensor_poison(b, prim->loc));
    }
    return flow_one(b, begin_with(c, prim));
}

static Flow run_chain(Chain *c, const Ast *chain, Flow flow) {
    Build *b = c->b;
    bool first = true;
    int skip = c->skip;
    c->skip = 0;
    AST_EACH(stage, chain->chain.stages) {
        if (skip-- > 0)
            continue;
        if (!expand_count(b, stage->loc))
            return flow_one(b, tensor_poison(b, stage->loc));
        if (stage->kind == AST_FORK) {
            flow = run_fork(c, stage, flow, first);
        } else {
            const char *as = stage->stage.as ? full_label(b, c->s, stage->stage.as) : NULL;
            flow = run_prim(c, stage->stage.prim, flow, first, as);
            if (as && flow.n == 1)
                label_declare(b, as, stage->stage.as->loc, flow.at[0]);
        }
        if (flow_poison(&flow)) /* the rest would only repeat the complaint */
            return flow_one(b, tensor_poison(b, chain->loc));
        flow.implicit = false;
        first = false;
    }
    return flow;
}

/* ---- statements ---- */

static Tensor *end_of(Build *b, Flow flow, const Ast *chain) {
    if (flow.n == 1)
        return flow.at[0];
    if (flow.n > 1) {
        Diag *d = diag_error(b->diag, chain->loc, "E0119",
                             "the fork is left open: its %d branches must be joined", flow.n);
        diag_help(d, "end it with -> concat or -> add");
    }
    return tensor_poison(b, chain->loc);
}

static Flow implicit_flow(Build *b) {
    Flow f = flow_one(b, b->flow);
    f.implicit = true;
    return f;
}

static void run_statement(Build *b, Scope *s, const Ast *stmt) {
    const char *label = stmt->stmt.label ? full_label(b, s, stmt->stmt.label) : NULL;
    Chain c = {.b = b, .s = s, .label = label};
    count_chain(b, &c, stmt->stmt.chain);
    Tensor *t = end_of(b, run_chain(&c, stmt->stmt.chain, implicit_flow(b)), stmt->stmt.chain);
    b->flow = t;
    if (label)
        label_declare(b, label, stmt->stmt.label->loc, t);
    if (!stmt->stmt.is_out)
        return;
    Scope *instance = s->instance;
    if (map_has(&instance->names, "out"))
        diag_error(b->diag, stmt->loc, "E0113", "the block has two `out`");
    scope_bind(b, instance, "out", (Binding){.kind = B_TENSOR, .tensor = t, .loc = stmt->loc});
}

static void run_body(Build *b, Scope *s, const Ast *body);

static void run_turn(Build *b, Scope *s, const Ast *stmt, int64_t i) {
    Scope *inner = scope_new(b, s);
    inner->suffix = arena_printf(b->arena, "%s.%lld", s->suffix, (long long)i);
    if (stmt->name)
        scope_num(b, inner, stmt->name, (double)i);
    run_body(b, inner, stmt->repeat.body);
}

static void run_repeat(Build *b, Scope *s, const Ast *stmt) {
    Val v = expr_eval(b, s, stmt->repeat.count);
    int64_t from = 1, to = 0;
    bool ok = v.kind == V_RANGE
                  ? expr_int(b, &v.at[0], "the start of a repeat", 0, LIMIT_EXPANSION, &from) &&
                        expr_int(b, &v.at[1], "the end of a repeat", 0, LIMIT_EXPANSION, &to)
                  : expr_int(b, &v, "the count of a repeat", 0, LIMIT_EXPANSION, &to);
    if (!ok) {
        b->flow = tensor_poison(b, stmt->loc);
        return;
    }
    for (int64_t i = from; i <= to; i++) {
        if (!expand_count(b, stmt->loc))
            return;
        run_turn(b, s, stmt, i);
    }
}

static void run_if(Build *b, Scope *s, const Ast *stmt) {
    Val v = expr_eval(b, s, stmt->branch.cond);
    bool yes;
    if (!expr_bool(b, &v, "the condition of an if", &yes)) {
        b->flow = tensor_poison(b, stmt->loc);
        return;
    }
    const Ast *chosen = yes ? stmt->branch.then : stmt->branch.otherwise;
    if (!chosen)
        return;
    if (chosen->kind == AST_IF)
        run_if(b, s, chosen);
    else
        run_body(b, scope_new(b, s), chosen);
}

static void run_inner(Build *b, Scope *s, const Ast *stmt) {
    if (!expand_count(b, stmt->loc))
        return;
    switch (stmt->kind) {
    case AST_STMT:
        run_statement(b, s, stmt);
        break;
    case AST_REPEAT:
        run_repeat(b, s, stmt);
        break;
    case AST_IF:
        run_if(b, s, stmt);
        break;
    case AST_CONST:
        if (map_has(&s->names, stmt->name))
            diag_error(b->diag, stmt->name_loc, "E0113", "'%s' is defined twice", stmt->name);
        scope_bind(b, s, stmt->name,
                   (Binding){.kind = B_LAZY,
                             .ast = stmt->constant.value,
                             .scope = s,
                             .loc = stmt->name_loc,
                             .global = true});
        break;
    default:
        BUG("statement of kind %s", ast_kind_text(stmt->kind));
    }
}

static void run_body(Build *b, Scope *s, const Ast *body) {
    AST_EACH(stmt, body->body.items) {
        if (b->limit_hit)
            return;
        run_inner(b, s, stmt);
    }
}

/* ---- blocks ---- */

static const char *block_signature(Build *b, const Ast *block) {
    StrBuf t = sb_new(b->arena);
    sb_putc(&t, '(');
    for (int i = 0; i < block->block.formals.count; i++) {
        const Ast *f = block->block.formals.items[i];
        sb_printf(&t, "%s%s", i ? ", " : "", f->name);
        if (f->formal.value)
            sb_printf(&t, "=%s", ast_text(b->arena, f->formal.value));
    }
    sb_putc(&t, ')');
    return t.text;
}

static bool bind_arg(Chain *c, const Ast *block, Scope *inner, const Ast *arg, int *next) {
    Build *b = c->b;
    const AstList *formals = &block->block.formals;
    const char *name = arg->name;
    const char **all = ARENA_ARRAY(b->arena, formals->count + 1, const char *);
    bool known = false;
    for (int i = 0; i < formals->count; i++) {
        all[i] = formals->items[i]->name;
        known |= eq(all[i], name);
    }
    if (!name && *next < formals->count) {
        name = formals->items[(*next)++]->name;
        known = true;
    }
    if (!known) {
        Diag *d = diag_error(b->diag, arg->loc, name ? "E0107" : "E0108",
                             name ? "block %s has no parameter '%s'; it takes %s"
                                  : "block %s: argument %s is one too many; it takes %s",
                             block->name, name ? name : ast_text(b->arena, arg),
                             block_signature(b, block));
        if (name)
            diag_suggest(d, arg->name_loc, nearest_name(name, all, formals->count));
        return false;
    }
    if (map_has(&inner->names, name)) {
        diag_error(b->diag, arg->loc, "E0109", "%s is given twice", name);
        return false;
    }
    Val v = expr_eval(b, c->s, arg->arg.value);
    scope_bind(b, inner, name, (Binding){.kind = B_VAL, .val = v, .loc = arg->loc, .formal = true});
    return v.kind != V_BAD;
}

/* Arguments, then `set LABEL.formal = ..`, then defaults. */
static bool bind_block(Chain *c, const Ast *at, const Ast *block, Scope *inner,
                       const char *instance) {
    Build *b = c->b;
    bool ok = true;
    int next = 0;
    if (at->kind == AST_CALL)
        AST_EACH(arg, at->call.args)
    ok &= bind_arg(c, block, inner, arg, &next);
    LabelSet *sets = b->item && eq(b->item->label, instance) ? b->item->sets : NULL;
    AST_EACH(f, block->block.formals) {
        for (LabelSet *l = sets; l; l = l->next)
            if (eq(l->attr, f->name) && !l->used) {
                l->used = true;
                scope_bind(b, inner, f->name,
                           (Binding){.kind = B_LAZY,
                                     .ast = l->value,
                                     .scope = l->scope,
                                     .loc = l->loc,
                                     .formal = true});
            }
        if (map_has(&inner->names, f->name))
            continue;
        if (f->formal.value) {
            scope_bind(b, inner, f->name,
                       (Binding){.kind = B_LAZY,
                                 .ast = f->formal.value,
                                 .scope = inner,
                                 .loc = f->loc,
                                 .formal = true});
            continue;
        }
        Diag *d = diag_error(b->diag, at->loc, "E0110", "block %s needs %s; it takes %s",
                             block->name, f->name, block_signature(b, block));
        diag_note(d, f->loc, "the parameter");
        ok = false;
    }
    return ok;
}

static bool block_allowed(Chain *c, const Ast *at, const Ast *block, Flow flow) {
    Build *b = c->b;
    int depth = 0;
    for (const Trace *t = c->s->trace; t; t = t->up, depth++)
        if (eq(t->block, block->name)) {
            Diag *d =
                diag_error(b->diag, at->loc, "E0123", "block '%s' contains itself", block->name);
            diag_help(d, "repeat stacks layers; there is no recursion");
            note_trace(d, c->s->trace);
            return false;
        }
    if (depth >= BLOCK_DEPTH_MAX) {
        diag_error(b->diag, at->loc, "E0130", "blocks inside blocks, more than %d deep",
                   BLOCK_DEPTH_MAX);
        return false;
    }
    if (flow.n == 1 && !flow.at[0]->poison)
        return expand_count(b, at->loc);
    if (flow.n > 1)
        diag_help(diag_error(b->diag, at->loc, "E0119", "block %s takes one input, got %d",
                             block->name, flow.n),
                  "join the branches first, with concat or add");
    else if (flow.n == 0)
        diag_error(b->diag, at->loc, "E0121", "block %s has no input: nothing stands before it",
                   block->name);
    return false;
}

static Tensor *run_block(Chain *c, const Ast *at, const Ast *block, Flow flow,
                         const char *instance) {
    Build *b = c->b;
    if (!block_allowed(c, at, block, flow))
        return tensor_poison(b, at->loc);
    Scope *inner = scope_new(b, b->net->file);
    Trace *trace = ARENA_NEW(b->arena, Trace);
    *trace = (Trace){.up = c->s->trace, .block = block->name, .at = at->loc};
    inner->prefix = arena_printf(b->arena, "%s.", instance);
    inner->suffix = "";
    inner->instance = inner;
    inner->barrier = true;
    inner->trace = trace;
    inner->in = flow.at[0];
    if (!bind_block(c, at, block, inner, instance))
        return tensor_poison(b, at->loc);
    Tensor *before = b->flow;
    b->flow = flow.at[0];
    run_body(b, inner, block->block.body);
    Binding *out = map_get(&inner->names, "out");
    Tensor *result = out && out->kind == B_TENSOR ? out->tensor : b->flow;
    b->flow = before;
    return result;
}

Tensor *build_call(Build *b, Scope *s, const Ast *call) {
    Chain c = {.b = b, .s = s, .parametric = 2, .blocks = 2, .started = true};
    Flow none = {0};
    if (spec_op(call->name) == OP_NONE) /* a block in an expression reads what flows here */
        none = flow_one(b, b->flow);
    Flow r = run_call(&c, call, none, NULL);
    return r.at[0];
}

/* ---- the net's own statements ---- */

static Flow run_insertions(Build *b, const Item *item, const Insertion *list, Flow flow) {
    for (; list; list = list->next) {
        Chain c = {.b = b, .s = list->scope, .label = item->label, .parametric = 2, .blocks = 2};
        flow.implicit = true;
        flow = flow_one(b, end_of(b, run_chain(&c, list->chain, flow), list->chain));
    }
    return flow;
}

/* Does the chain begin with a layer or `in` rather than with an operation? */
static bool begins_with_layer(Build *b, const Ast *chain) {
    const Ast *first = chain->chain.stages.items[0];
    if (first->kind != AST_STAGE || first->stage.prim->kind == AST_CALL)
        return false;
    const char *word = prim_word(first->stage.prim);
    return !word || (spec_op(word) == OP_NONE && !map_has(&b->blocks, word));
}

/* The value that a removed layer read, which now takes its place. */
static Tensor *splice(Build *b, const Item *item) {
    const Ast *first = item->stmt->stmt.chain->chain.stages.items[0];
    if (begins_with_layer(b, item->stmt->stmt.chain)) {
        Chain c = {.b = b, .s = item->scope};
        return run_prim(&c, first->stage.prim, implicit_flow(b), true, NULL).at[0];
    }
    const char *word = first->kind == AST_STAGE ? prim_word(first->stage.prim) : NULL;
    int op = word ? spec_op(word) : OP_NONE;
    if (first->kind == AST_STAGE && (op == OP_NONE || (op_is(op, OPF_P) || op_nin[op] == 1)))
        return b->flow;
    Diag *d = diag_error(b->diag, item->removed_at, "E0115",
                         "'%s' cannot be removed: it joins several layers", item->label);
    diag_help(d, "replace %s with the branch that should remain", item->label);
    return tensor_poison(b, item->stmt->loc);
}

static void run_item(Build *b, Item *item) {
    if (item->removed) {
        Tensor *t = splice(b, item);
        LabelInfo *l = label_declare(b, intern_z(item->label), item->stmt->stmt.label->loc, t);
        l->removed = true;
        b->flow = t;
        return;
    }
    if (!item->label || (!item->before && !item->after && item->chain == item->stmt->stmt.chain)) {
        run_inner(b, item->scope, item->stmt);
        return;
    }
    const char *label = full_label(b, item->scope, item->stmt->stmt.label);
    Chain c = {.b = b, .s = item->chain_scope, .label = label};
    Flow flow = implicit_flow(b);
    count_chain(b, &c, item->chain);
    if (item->source) { /* replaced: the new chain begins where the old one began */
        Chain old = {.b = b, .s = item->scope};
        flow = run_prim(&old, item->source->stage.prim, flow, true, NULL);
        flow.implicit = true;
    }
    if (item->before) {
        if (begins_with_layer(b, item->chain)) {
            const Ast *first = item->chain->chain.stages.items[0];
            flow = run_prim(&c, first->stage.prim, flow, true, NULL);
            c.skip = 1;
        }
        flow = run_insertions(b, item, item->before, flow);
        flow.implicit = true;
    }
    Tensor *t = end_of(b, run_chain(&c, item->chain, flow), item->chain);
    if (item->after)
        t = end_of(b, run_insertions(b, item, item->after, flow_one(b, t)), item->chain);
    b->flow = t;
    if (label)
        label_declare(b, label, item->stmt->stmt.label->loc, t);
}

static void check_sets(Build *b, const Item *item) {
    for (const LabelSet *l = item->sets; l; l = l->next) {
        if (l->used || item->removed)
            continue;
        diag_error(b->diag, l->loc, "E0107", "'%s' has no parameter '%s' to set", item->label,
                   l->attr);
    }
}

void build_items(Build *b) {
    for (int i = 0; i < b->net->items.len && !b->limit_hit; i++) {
        Item *item = &b->net->items.data[i];
        b->item = item;
        for (LabelSet *l = item->sets; l; l = l->next)
            l->used = false;
        run_item(b, item);
        if (b->mode == MODEL_FORWARD && !(b->flow && b->flow->poison))
            check_sets(b, item);
    }
    b->item = NULL;
}
