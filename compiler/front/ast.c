/* ast.c: tree nodes: making, visiting, comparing, flattening.
 *
 * requires: nodes filled as ast.h says (a NULL child is skipped, so half-built trees may be visited).
 * ensures:  visits go in source order; nothing here changes a tree.
 */
#include "front/ast.h"

#include <string.h>

#include "base/bug.h"
#include "base/vec.h"

Ast *ast_new(Arena *arena, AstKind kind, LocRange loc) {
    Ast *ast = ARENA_NEW(arena, Ast);

    ast->kind = kind;
    ast->loc = loc;
    ast->depth = 1;
    return ast;
}

const char *ast_kind_text(AstKind kind) {
    static const char *const texts[] = {
#define X(NAME, text) text,
        AST_KINDS(X)
#undef X
    };

    BUG_IF((unsigned)kind >= AST_KIND_COUNT, "node kind %d", (int)kind);
    return texts[kind];
}

const char *ast_op_text(AstOp op) {
    static const char *const texts[] = {"-", "!", "||", "&&", "==", "!=", "<=", ">=",
                                        "<", ">", "+",  "-",  "*",  "/",  "%"};

    BUG_IF((unsigned)op > AST_OP_MOD, "operator %d", (int)op);
    return texts[op];
}

const char *const *ast_units(int *count) {
    static const char *const units[] = {"%",  "epoch", "epochs", "step", "steps", "KiB",
                                        "MiB", "GiB",  "ms",     "s",    "min",   "h"};

    *count = (int)(sizeof units / sizeof *units);
    return units;
}

typedef struct Visitor {
    void (*visit)(Ast *child, void *data);
    void *data;
} Visitor;

static void visit_one(const Visitor *v, Ast *child) {
    if (child)
        v->visit(child, v->data);
}

static void visit_list(const Visitor *v, AstList list) {
    for (int i = 0; i < list.count; i++)
        visit_one(v, list.items[i]);
}

static void visit_declaration(const Ast *ast, const Visitor *v) {
    switch (ast->kind) {
    case AST_FILE:
        visit_list(v, ast->file.items);
        break;
    case AST_INCLUDE:
        visit_one(v, ast->include.file);
        break;
    case AST_CONST:
        visit_one(v, ast->constant.value);
        break;
    case AST_BLOCK:
        visit_list(v, ast->block.formals);
        visit_one(v, ast->block.body);
        break;
    case AST_NET:
        visit_list(v, ast->net.formals);
        visit_list(v, ast->net.base_args);
        visit_list(v, ast->net.members);
        break;
    case AST_VARIANTS:
        visit_list(v, ast->variants.cases);
        break;
    case AST_VARIANT:
        visit_list(v, ast->variant.members);
        break;
    case AST_FORMAL:
        visit_one(v, ast->formal.value);
        break;
    case AST_INPUT:
        visit_one(v, ast->input.type);
        break;
    case AST_OUTPUT:
        visit_list(v, ast->output.args);
        break;
    case AST_PARAM:
        visit_one(v, ast->param.type);
        visit_one(v, ast->param.value);
        break;
    case AST_LOSS:
    case AST_METRIC:
        visit_one(v, ast->loss.call);
        break;
    case AST_TYPE:
        visit_list(v, ast->type.dims);
        break;
    default:
        BUG("visit of node kind %d", (int)ast->kind);
    }
}

static void visit_statement(const Ast *ast, const Visitor *v) {
    switch (ast->kind) {
    case AST_BODY:
        visit_list(v, ast->body.items);
        break;
    case AST_STMT:
        visit_one(v, ast->stmt.label);
        visit_one(v, ast->stmt.chain);
        break;
    case AST_REPEAT:
        visit_one(v, ast->repeat.count);
        visit_one(v, ast->repeat.body);
        break;
    case AST_IF:
        visit_one(v, ast->branch.cond);
        visit_one(v, ast->branch.then);
        visit_one(v, ast->branch.otherwise);
        break;
    case AST_CHAIN:
        visit_list(v, ast->chain.stages);
        break;
    case AST_STAGE:
        visit_one(v, ast->stage.prim);
        visit_one(v, ast->stage.as);
        break;
    case AST_FORK:
        visit_list(v, ast->fork.branches);
        break;
    case AST_REMOVE:
    case AST_FREEZE:
        visit_list(v, ast->edit.targets);
        break;
    case AST_TARGET:
        visit_one(v, ast->target.from);
        visit_one(v, ast->target.to);
        break;
    case AST_SET:
        visit_one(v, ast->set.path);
        visit_one(v, ast->set.value);
        break;
    case AST_REPLACE:
        visit_one(v, ast->splice.path);
        visit_one(v, ast->splice.chain);
        break;
    case AST_INSERT:
        visit_one(v, ast->splice.chain);
        visit_one(v, ast->splice.path);
        break;
    case AST_SECTION:
        visit_list(v, ast->section.entries);
        break;
    case AST_SETTING:
        visit_one(v, ast->setting.path);
        visit_one(v, ast->setting.value);
        break;
    case AST_JOB:
        visit_one(v, ast->job.path);
        visit_one(v, ast->job.call);
        break;
    default:
        visit_declaration(ast, v);
    }
}

void ast_children(const Ast *ast, void (*visit)(Ast *child, void *data), void *data) {
    const Visitor visitor = {visit, data}, *v = &visitor;

    switch (ast->kind) {
    case AST_NAME:
    case AST_IN:
    case AST_NUM:
    case AST_EXTENT:
    case AST_STR:
        break;
    case AST_PATH:
        visit_list(v, ast->path.parts);
        break;
    case AST_INDEX:
        visit_one(v, ast->index.value);
        break;
    case AST_CALL:
        visit_one(v, ast->call.callee);
        visit_list(v, ast->call.args);
        break;
    case AST_ARG:
        visit_one(v, ast->arg.value);
        break;
    case AST_LIST:
        visit_list(v, ast->list.items);
        break;
    case AST_UNARY:
    case AST_BINARY:
    case AST_RANGE:
        visit_one(v, ast->expr.left);
        visit_one(v, ast->expr.right);
        break;
    default:
        visit_statement(ast, v);
    }
}

typedef struct ItemVec {
    Arena *arena;
    VEC(Ast *) items;
} ItemVec;

static void flatten(ItemVec *out, const Ast *file) {
    AST_EACH(item, file->file.items) {
        if (item->kind != AST_INCLUDE)
            vec_push(out->arena, &out->items, item);
        else if (item->include.file)
            flatten(out, item->include.file);
    }
}

AstList ast_flatten_items(Arena *arena, const Ast *file) {
    ItemVec out = {.arena = arena};

    BUG_IF(file->kind != AST_FILE, "a %s where a file belongs", ast_kind_text(file->kind));
    flatten(&out, file);
    return (AstList){out.items.data ? out.items.data : ARENA_NEW(arena, Ast *), out.items.len};
}

/* ---- equality: own fields first, then the children pairwise ---- */
static bool same_fields(const Ast *a, const Ast *b) {
    if (a->kind != b->kind || a->name != b->name)
        return false;
    switch (a->kind) {
    case AST_NUM:
        return a->num.value == b->num.value && a->num.integer == b->num.integer &&
               a->num.is_int == b->num.is_int && strcmp(a->num.unit, b->num.unit) == 0;
    case AST_EXTENT:
        return a->extent.count == b->extent.count &&
               memcmp(a->extent.dims, b->extent.dims,
                      (size_t)a->extent.count * sizeof *a->extent.dims) == 0;
    case AST_UNARY:
    case AST_BINARY:
        return a->expr.op == b->expr.op;
    case AST_NET:
        return a->net.base == b->net.base && a->net.formals.count == b->net.formals.count &&
               a->net.base_args.count == b->net.base_args.count;
    case AST_BLOCK:
        return a->block.formals.count == b->block.formals.count;
    case AST_VARIANTS:
        return a->variants.of == b->variants.of;
    case AST_VARIANT:
        return a->variant.quoted == b->variant.quoted;
    case AST_SECTION:
        return a->section.title == b->section.title;
    case AST_STMT:
        return a->stmt.is_out == b->stmt.is_out && !a->stmt.label == !b->stmt.label;
    case AST_IF:
        return !a->branch.otherwise == !b->branch.otherwise;
    case AST_INSERT:
        return a->splice.before == b->splice.before;
    default:
        return true;
    }
}

typedef struct ChildList {
    Arena *arena;
    VEC(Ast *) list;
} ChildList;

static void collect(Ast *child, void *data) {
    ChildList *children = data;

    vec_push(children->arena, &children->list, child);
}

static bool equal_in(Arena *arena, const Ast *a, const Ast *b) {
    ChildList x = {.arena = arena}, y = {.arena = arena};

    if (!same_fields(a, b))
        return false;
    ast_children(a, collect, &x);
    ast_children(b, collect, &y);
    if (x.list.len != y.list.len)
        return false;
    for (int i = 0; i < x.list.len; i++)
        if (!equal_in(arena, x.list.data[i], y.list.data[i]))
            return false;
    return true;
}

bool ast_equal(const Ast *a, const Ast *b) {
    Arena *arena = arena_new();
    bool equal = equal_in(arena, a, b);

    arena_free(arena);
    return equal;
}
