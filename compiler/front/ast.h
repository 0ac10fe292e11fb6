/* ast.h: the syntax tree of a .net file, exactly as written: no names resolved, nothing expanded.
 *
 * A node is a tagged struct; the kind decides which member of the union is valid (table below).
 * Every child pointer is non-NULL and every list valid unless its line says "or NULL": sema never
 * sees a tree with syntax errors.  All text is interned (base/str.h): compare names by pointer with
 * intern_z("...").  Height is at most LIMIT_AST_DEPTH, so recursion over a tree is safe.
 *
 * requires: nodes come from parse.h or ast_new on one arena.  ensures: ast_print's text parses back
 * to an equal tree (ast_equal).
 */
#ifndef FRONT_AST_H
#define FRONT_AST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/source.h"
#include "base/str.h"

typedef struct Ast Ast;

typedef struct AstList {
    Ast **items;
    int count;
} AstList;

/* AST_EACH(child, list) { use(child); }   child is an Ast *; break and continue work */
#define AST_EACH(child, list)                                                                      \
    for (Ast **child##_at = (list).items, *child = NULL;                                           \
         (list).count && child##_at < (list).items + (list).count && (child = *child##_at, true);  \
         child##_at++)

/* Kind, spelling for messages ("a fork").  Order is the order of the legend below. */
#define AST_KINDS(X)                                                                               \
    X(FILE, "file")                                                                                \
    X(INCLUDE, "include")                                                                          \
    X(CONST, "const")                                                                              \
    X(BLOCK, "block")                                                                              \
    X(NET, "net")                                                                                  \
    X(VARIANTS, "variants")                                                                        \
    X(VARIANT, "variant")                                                                          \
    X(FORMAL, "formal")                                                                            \
    X(INPUT, "input")                                                                              \
    X(OUTPUT, "output")                                                                            \
    X(PARAM, "param")                                                                              \
    X(LOSS, "loss")                                                                                \
    X(METRIC, "metric")                                                                            \
    X(TYPE, "type")                                                                                \
    X(BODY, "body")                                                                                \
    X(STMT, "statement")                                                                           \
    X(REPEAT, "repeat")                                                                            \
    X(IF, "if")                                                                                    \
    X(CHAIN, "chain")                                                                              \
    X(STAGE, "stage")                                                                              \
    X(FORK, "fork")                                                                                \
    X(REMOVE, "remove")                                                                            \
    X(FREEZE, "freeze")                                                                            \
    X(TARGET, "target")                                                                            \
    X(SET, "set")                                                                                  \
    X(REPLACE, "replace")                                                                          \
    X(INSERT, "insert")                                                                            \
    X(SECTION, "section")                                                                          \
    X(SETTING, "setting")                                                                          \
    X(JOB, "job")                                                                                  \
    X(PATH, "path")                                                                                \
    X(NAME, "name")                                                                                \
    X(INDEX, "index")                                                                              \
    X(CALL, "call")                                                                                \
    X(ARG, "argument")                                                                             \
    X(IN, "in")                                                                                    \
    X(NUM, "number")                                                                               \
    X(EXTENT, "extent")                                                                            \
    X(STR, "string")                                                                               \
    X(LIST, "list")                                                                                \
    X(UNARY, "unary expression")                                                                   \
    X(BINARY, "expression")                                                                        \
    X(RANGE, "range")

typedef enum AstKind {
#define X(NAME, text) AST_##NAME,
    AST_KINDS(X)
#undef X
    AST_KIND_COUNT
} AstKind;

typedef enum AstOp {
    AST_OP_NEG, AST_OP_NOT,                                           /* UNARY */
    AST_OP_OR, AST_OP_AND,                                            /* BINARY from here on */
    AST_OP_EQ, AST_OP_NE, AST_OP_LE, AST_OP_GE, AST_OP_LT, AST_OP_GT,
    AST_OP_ADD, AST_OP_SUB, AST_OP_MUL, AST_OP_DIV, AST_OP_MOD
} AstOp;

/* "expr" below is one of PATH CALL IN NUM EXTENT STR LIST UNARY BINARY RANGE. */
struct Ast {
    AstKind kind;
    int depth;          /* height of the tree below, leaves are 1 */
    LocRange loc;       /* the whole construct; `source_pos` maps it to a line */
    const char *name;   /* the word that names the construct, where the table says so, else NULL */
    LocRange name_loc;  /* that word */
    union {
        /* FILE: one file.  items: INCLUDE CONST BLOCK NET VARIANTS.  Files included are reached
         * through their INCLUDE node; ast_flatten_items gives all items in one list. */
        struct { AstList items; const char *path; } file;
        /* INCLUDE "name": file is the parsed FILE, or NULL when it had been included before (a file
         * counts once, wherever it is named again). */
        struct { Ast *file; } include;
        /* CONST name = value */
        struct { Ast *value; } constant;
        /* BLOCK name(formals) body.  formals: FORMAL; body: BODY */
        struct { AstList formals; Ast *body; } block;
        /* NET name(formals) extends base(args) { members }
         * formals: FORMAL, may be empty.  base: interned name or NULL; base_args: ARG.
         * members in source order: CONST STMT REPEAT IF REMOVE FREEZE SET REPLACE INSERT SECTION
         * INPUT OUTPUT PARAM LOSS METRIC */
        struct {
            AstList formals, base_args, members;
            const char *base;
            LocRange base_loc;
        } net;
        /* VARIANTS name of net { cases }.  cases: VARIANT */
        struct { AstList cases; const char *of; LocRange of_loc; } variants;
        /* VARIANT name { members }: as NET.members.  quoted: the name was written as a string */
        struct { AstList members; bool quoted; } variant;
        /* FORMAL name = value; value is NULL without a default */
        struct { Ast *value; } formal;
        /* INPUT name: type */
        struct { Ast *type; } input;
        /* OUTPUT args: ARG list; `output prob = softmax(fc8)` gives ARG name "prob" */
        struct { AstList args; } output;
        /* PARAM name: type = value */
        struct { Ast *type, *value; } param;
        /* LOSS name: call, METRIC name: call */
        struct { Ast *call; } loss;
        /* TYPE name[dims]: name is "f32", "class", ..., or NULL; dims: expr */
        struct { AstList dims; } type;
        /* BODY { items }: CONST STMT REPEAT IF */
        struct { AstList items; } body;
        /* STMT label: chain.  label: PATH or NULL; name: the label when it is a single word.
         * is_out: `out chain`, the result of a block (then label is NULL) */
        struct { Ast *label, *chain; bool is_out; } stmt;
        /* REPEAT count body, REPEAT name in range body.  count: expr (a RANGE with `in`, usually);
         * name: loop variable or NULL */
        struct { Ast *count, *body; } repeat;
        /* IF cond then else.  then: BODY; otherwise: BODY, IF (else if) or NULL */
        struct { Ast *cond, *then, *otherwise; } branch;
        /* CHAIN: stages joined by ->; stages: STAGE FORK, at least one */
        struct { AstList stages; } chain;
        /* STAGE prim as path.  prim: PATH CALL IN; as: PATH or NULL */
        struct { Ast *prim, *as; } stage;
        /* FORK [chain, chain]: branches: CHAIN, at least one */
        struct { AstList branches; } fork;
        /* REMOVE targets, FREEZE targets: TARGET, at least one */
        struct { AstList targets; } edit;
        /* TARGET: from; from..to; or a glob "conv*" (then name is the glob, from is NULL).
         * from, to: PATH; to is NULL without a range */
        struct { Ast *from, *to; } target;
        /* SET path = value */
        struct { Ast *path, *value; } set;
        /* REPLACE path with chain; INSERT chain after|before path */
        struct { Ast *path, *chain; bool before; } splice;
        /* SECTION name title { entries }: name is defaults data train predict visualize;
         * title: interned or NULL; entries: SETTING JOB */
        struct { AstList entries; const char *title; LocRange title_loc; } section;
        /* SETTING path = value.  name: the dotted path, "conv.init", NULL when it has an index */
        struct { Ast *path, *value; } setting;
        /* JOB path: call.  name as SETTING */
        struct { Ast *path, *call; } job;
        /* PATH a.b[expr].c: parts: NAME INDEX, the first is a NAME.
         * name: the word when the path is one word ("relu"), else NULL.
         * dotted: "conv.init" when it has no index, else NULL */
        struct { AstList parts; const char *dotted; } path;
        /* NAME: name.  INDEX [value] */
        struct { Ast *value; } index;
        /* CALL callee(args): callee: PATH; name: the callee when it is one word, else NULL.
         * args: ARG, in source order */
        struct { Ast *callee; AstList args; } call;
        /* ARG name = value; name is NULL for a positional argument */
        struct { Ast *value; } arg;
        /* NUM: value as written (50% is 50 with unit "%"); is_int: written without '.' and exponent,
         * then `integer` is exact; text: as written without unit; unit: "" or one of ast_units */
        struct { double value; int64_t integer; bool is_int; const char *text, *unit; } num;
        /* EXTENT 3x3: count >= 2 numbers */
        struct { int64_t dims[5]; int count; } extent;
        /* STR: name is the text, escapes resolved (no NUL inside) */
        /* LIST [items]: items: expr, may be empty */
        struct { AstList items; } list;
        /* UNARY op left (AST_OP_NEG, AST_OP_NOT); BINARY left op right; RANGE left..right */
        struct { AstOp op; Ast *left, *right; } expr;
    };
};

Ast *ast_new(Arena *arena, AstKind kind, LocRange loc);
const char *ast_kind_text(AstKind kind); /* "fork" */
const char *ast_op_text(AstOp op);       /* "<=" */

/* Units a number may carry ("%", "epoch", "step", "MiB", "s", ...); *count receives their number. */
const char *const *ast_units(int *count);

/* Calls visit(child, data) for each direct child in source order. */
void ast_children(const Ast *ast, void (*visit)(Ast *child, void *data), void *data);

/* All items of a file, included files in place of their include statements, as one list without
 * INCLUDE nodes. */
AstList ast_flatten_items(Arena *arena, const Ast *file);

/* Same tree up to locations. */
bool ast_equal(const Ast *a, const Ast *b);

/* Canonical source text of any node (a FILE, an expression, a chain, ...). */
void ast_print(const Ast *ast, FILE *out);
void ast_print_to(const Ast *ast, StrBuf *out);
const char *ast_text(Arena *arena, const Ast *ast); /* on one line: for messages and reports */

#endif
