/* ast_print.c: the canonical source text of a tree: `netc emit --as=ast`.
 *
 * requires: a finished tree.  ensures: the text parses back to an equal tree and printing that gives
 * the same bytes again.  Comments and line breaks of the original are not kept; parentheses are
 * written where precedence needs them.
 */
#include "front/ast.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"

typedef struct Printer {
    StrBuf *out;
    int indent;
    bool one_line; /* for messages: newlines become blanks */
} Printer;

static void print(Printer *p, const Ast *ast);

static void newline(Printer *p) {
    if (p->one_line) {
        sb_putc(p->out, ' ');
        return;
    }
    sb_putc(p->out, '\n');
    sb_repeat(p->out, ' ', 2 * p->indent);
}

static void print_list(Printer *p, AstList list, const char *between) {
    for (int i = 0; i < list.count; i++) {
        if (i > 0)
            sb_puts(p->out, between);
        print(p, list.items[i]);
    }
}

/* "{", one item a line, "}"; on one line items are separated by ';'. */
static void print_block(Printer *p, AstList items) {
    if (items.count == 0) {
        sb_puts(p->out, "{ }");
        return;
    }
    sb_putc(p->out, '{');
    p->indent++;
    for (int i = 0; i < items.count; i++) {
        if (i > 0 && p->one_line)
            sb_putc(p->out, ';');
        newline(p);
        print(p, items.items[i]);
    }
    p->indent--;
    newline(p);
    sb_putc(p->out, '}');
}

static void print_string(Printer *p, const char *text) {
    sb_putc(p->out, '"');
    for (; *text; text++) {
        switch (*text) {
        case '\n':
            sb_puts(p->out, "\\n");
            break;
        case '\t':
            sb_puts(p->out, "\\t");
            break;
        case '"':
        case '\\':
            sb_putc(p->out, '\\');
            sb_putc(p->out, *text);
            break;
        default:
            sb_putc(p->out, *text);
        }
    }
    sb_putc(p->out, '"');
}

/* Binding strength as in net.y; non-associative operators need parentheses on both sides. */
static int strength(const Ast *ast) {
    if (ast->kind == AST_RANGE)
        return 1;
    if (ast->kind == AST_UNARY)
        return 7;
    if (ast->kind != AST_BINARY)
        return 8;
    switch (ast->expr.op) {
    case AST_OP_OR:
        return 2;
    case AST_OP_AND:
        return 3;
    case AST_OP_ADD:
    case AST_OP_SUB:
        return 5;
    case AST_OP_MUL:
    case AST_OP_DIV:
    case AST_OP_MOD:
        return 6;
    default:
        return 4;
    }
}

static bool is_nonassociative(int level) {
    return level == 1 || level == 4;
}

static void print_operand(Printer *p, const Ast *operand, int least) {
    bool wrap = strength(operand) < least;

    if (wrap)
        sb_putc(p->out, '(');
    print(p, operand);
    if (wrap)
        sb_putc(p->out, ')');
}

static void print_operator(Printer *p, const Ast *ast) {
    int level = strength(ast);

    if (ast->kind == AST_UNARY) {
        sb_puts(p->out, ast_op_text(ast->expr.op));
        print_operand(p, ast->expr.left, level);
        return;
    }
    print_operand(p, ast->expr.left, is_nonassociative(level) ? level + 1 : level);
    if (ast->kind == AST_RANGE)
        sb_puts(p->out, "..");
    else
        sb_printf(p->out, " %s ", ast_op_text(ast->expr.op));
    print_operand(p, ast->expr.right, level + 1);
}

static void print_path(Printer *p, const Ast *path) {
    for (int i = 0; i < path->path.parts.count; i++) {
        const Ast *part = path->path.parts.items[i];
        if (part->kind == AST_INDEX) {
            sb_putc(p->out, '[');
            print(p, part->index.value);
            sb_putc(p->out, ']');
        } else {
            sb_printf(p->out, "%s%s", i > 0 ? "." : "", part->name);
        }
    }
}

static void print_expression(Printer *p, const Ast *ast) {
    switch (ast->kind) {
    case AST_PATH:
        print_path(p, ast);
        break;
    case AST_NAME:
        sb_puts(p->out, ast->name);
        break;
    case AST_INDEX:
        print(p, ast->index.value);
        break;
    case AST_CALL:
        print(p, ast->call.callee);
        sb_putc(p->out, '(');
        print_list(p, ast->call.args, ", ");
        sb_putc(p->out, ')');
        break;
    case AST_ARG:
        if (ast->name)
            sb_printf(p->out, "%s = ", ast->name);
        print(p, ast->arg.value);
        break;
    case AST_IN:
        sb_puts(p->out, "in");
        break;
    case AST_NUM:
        sb_printf(p->out, "%s%s", ast->num.text, ast->num.unit);
        break;
    case AST_EXTENT:
        for (int i = 0; i < ast->extent.count; i++)
            sb_printf(p->out, "%s%lld", i ? "x" : "", (long long)ast->extent.dims[i]);
        break;
    case AST_STR:
        print_string(p, ast->name);
        break;
    case AST_LIST:
        sb_putc(p->out, '[');
        print_list(p, ast->list.items, ", ");
        sb_putc(p->out, ']');
        break;
    case AST_UNARY:
    case AST_BINARY:
    case AST_RANGE:
        print_operator(p, ast);
        break;
    default:
        BUG("no text for a %s", ast_kind_text(ast->kind));
    }
}

static void print_if(Printer *p, const Ast *ast) {
    sb_puts(p->out, "if ");
    print(p, ast->branch.cond);
    sb_putc(p->out, ' ');
    print(p, ast->branch.then);
    if (ast->branch.otherwise) {
        sb_puts(p->out, " else ");
        print(p, ast->branch.otherwise);
    }
}

static void print_statement(Printer *p, const Ast *ast) {
    switch (ast->kind) {
    case AST_BODY:
        print_block(p, ast->body.items);
        break;
    case AST_STMT:
        if (ast->stmt.is_out)
            sb_puts(p->out, "out ");
        if (ast->stmt.label) {
            print(p, ast->stmt.label);
            sb_puts(p->out, ": ");
        }
        print(p, ast->stmt.chain);
        break;
    case AST_REPEAT:
        sb_puts(p->out, "repeat ");
        if (ast->name)
            sb_printf(p->out, "%s in ", ast->name);
        print(p, ast->repeat.count);
        sb_putc(p->out, ' ');
        print(p, ast->repeat.body);
        break;
    case AST_IF:
        print_if(p, ast);
        break;
    case AST_CHAIN:
        print_list(p, ast->chain.stages, " -> ");
        break;
    case AST_STAGE:
        print(p, ast->stage.prim);
        if (ast->stage.as) {
            sb_puts(p->out, " as ");
            print(p, ast->stage.as);
        }
        break;
    case AST_FORK:
        sb_putc(p->out, '[');
        print_list(p, ast->fork.branches, ", ");
        sb_putc(p->out, ']');
        break;
    default:
        print_expression(p, ast);
    }
}

static void print_edit(Printer *p, const Ast *ast) {
    switch (ast->kind) {
    case AST_REMOVE:
    case AST_FREEZE:
        sb_puts(p->out, ast->kind == AST_REMOVE ? "remove " : "freeze ");
        print_list(p, ast->edit.targets, ", ");
        break;
    case AST_TARGET:
        if (!ast->target.from) {
            print_string(p, ast->name);
            break;
        }
        print(p, ast->target.from);
        if (ast->target.to) {
            sb_puts(p->out, "..");
            print(p, ast->target.to);
        }
        break;
    case AST_SET:
        sb_puts(p->out, "set ");
        print(p, ast->set.path);
        sb_puts(p->out, " = ");
        print(p, ast->set.value);
        break;
    case AST_REPLACE:
        sb_puts(p->out, "replace ");
        print(p, ast->splice.path);
        sb_puts(p->out, " with ");
        print(p, ast->splice.chain);
        break;
    case AST_INSERT:
        sb_puts(p->out, "insert ");
        print(p, ast->splice.chain);
        sb_puts(p->out, ast->splice.before ? " before " : " after ");
        print(p, ast->splice.path);
        break;
    default:
        print_statement(p, ast);
    }
}

static void print_member(Printer *p, const Ast *ast) {
    switch (ast->kind) {
    case AST_INPUT:
        sb_printf(p->out, "input %s: ", ast->name);
        print(p, ast->input.type);
        break;
    case AST_OUTPUT:
        sb_puts(p->out, "output ");
        print_list(p, ast->output.args, ", ");
        break;
    case AST_PARAM:
        sb_printf(p->out, "param %s: ", ast->name);
        print(p, ast->param.type);
        sb_puts(p->out, " = ");
        print(p, ast->param.value);
        break;
    case AST_LOSS:
    case AST_METRIC:
        sb_printf(p->out, "%s %s: ", ast->kind == AST_LOSS ? "loss" : "metric", ast->name);
        print(p, ast->loss.call);
        break;
    case AST_TYPE:
        sb_printf(p->out, "%s[", ast->name ? ast->name : "");
        print_list(p, ast->type.dims, ", ");
        sb_putc(p->out, ']');
        break;
    case AST_SECTION:
        sb_puts(p->out, ast->name);
        sb_printf(p->out, "%s%s ", ast->section.title ? " " : "",
                  ast->section.title ? ast->section.title : "");
        print_block(p, ast->section.entries);
        break;
    case AST_SETTING:
        print(p, ast->setting.path);
        sb_puts(p->out, " = ");
        print(p, ast->setting.value);
        break;
    case AST_JOB:
        print(p, ast->job.path);
        sb_puts(p->out, ": ");
        print(p, ast->job.call);
        break;
    default:
        print_edit(p, ast);
    }
}

static void print_formals(Printer *p, AstList formals) {
    sb_putc(p->out, '(');
    print_list(p, formals, ", ");
    sb_putc(p->out, ')');
}

static void print_net(Printer *p, const Ast *ast) {
    sb_printf(p->out, "net %s", ast->name);
    if (ast->net.formals.count)
        print_formals(p, ast->net.formals);
    if (ast->net.base) {
        sb_printf(p->out, " extends %s", ast->net.base);
        if (ast->net.base_args.count)
            print_formals(p, ast->net.base_args);
    }
    sb_putc(p->out, ' ');
    print_block(p, ast->net.members);
}

static void print_file(Printer *p, const Ast *ast) {
    for (int i = 0; i < ast->file.items.count; i++) {
        const Ast *item = ast->file.items.items[i];
        bool short_item = item->kind == AST_INCLUDE || item->kind == AST_CONST;
        if (i > 0 && (!short_item || ast->file.items.items[i - 1]->kind != item->kind))
            newline(p);
        print(p, item);
        newline(p);
    }
}

static void print(Printer *p, const Ast *ast) {
    switch (ast->kind) {
    case AST_FILE:
        print_file(p, ast);
        break;
    case AST_INCLUDE:
        sb_puts(p->out, "include ");
        print_string(p, ast->name);
        break;
    case AST_CONST:
        sb_printf(p->out, "const %s = ", ast->name);
        print(p, ast->constant.value);
        break;
    case AST_BLOCK:
        sb_printf(p->out, "block %s", ast->name);
        print_formals(p, ast->block.formals);
        sb_putc(p->out, ' ');
        print(p, ast->block.body);
        break;
    case AST_NET:
        print_net(p, ast);
        break;
    case AST_VARIANTS:
        sb_printf(p->out, "variants %s of %s ", ast->name, ast->variants.of);
        print_block(p, ast->variants.cases);
        break;
    case AST_VARIANT:
        if (ast->variant.quoted)
            print_string(p, ast->name);
        else
            sb_puts(p->out, ast->name);
        sb_putc(p->out, ' ');
        print_block(p, ast->variant.members);
        break;
    case AST_FORMAL:
        sb_puts(p->out, ast->name);
        if (ast->formal.value) {
            sb_puts(p->out, " = ");
            print(p, ast->formal.value);
        }
        break;
    default:
        print_member(p, ast);
    }
}

void ast_print_to(const Ast *ast, StrBuf *out) {
    Printer printer = {.out = out};

    print(&printer, ast);
}

void ast_print(const Ast *ast, FILE *out) {
    Arena *arena = arena_new();
    StrBuf text = sb_new(arena);

    ast_print_to(ast, &text);
    fwrite(text.text, 1, text.length, out);
    arena_free(arena);
}

const char *ast_text(Arena *arena, const Ast *ast) {
    StrBuf text = sb_new(arena);
    Printer printer = {.out = &text, .one_line = true};

    print(&printer, ast);
    return text.text;
}
