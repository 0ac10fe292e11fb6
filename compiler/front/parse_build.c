/* parse_build.c: makes tree nodes for scanner and grammar, and words the scanner's errors.
 *
 * requires: locations inside st->file.  ensures: every node's depth is right and at most
 * LIMIT_AST_DEPTH; a number, extent or string that is wrong is reported and replaced by a harmless one.
 */
#include "front/parse_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists and nodes ---- */
AstVec vec_none(void) {
    return (AstVec){0};
}

AstVec vec_with(ParseState *st, AstVec list, Ast *item) {
    if (item)
        vec_push(st->run->arena, &list, item);
    return list;
}

AstList list_of(ParseState *st, AstVec list) {
    if (!list.data)
        list.data = ARENA_NEW(st->run->arena, Ast *);
    return (AstList){list.data, list.len};
}

Ast *node(ParseState *st, AstKind kind, LocRange loc) {
    return ast_new(st->run->arena, kind, loc);
}

Ast *named(ParseState *st, AstKind kind, LocRange loc, const char *name, LocRange name_loc) {
    Ast *ast = node(st, kind, loc);

    ast->name = name;
    ast->name_loc = name_loc;
    return ast;
}

static void raise_depth(Ast *child, void *data) {
    int *depth = data;

    if (child->depth >= *depth)
        *depth = child->depth + 1;
}

/* Height of the finished node.  A tree over the limit is cut by cutting the text: the scanner stops,
 * the parser ends, and nothing taller than the limit plus the grammar's own steps is ever made. */
Ast *done(ParseState *st, Ast *ast) {
    ast->depth = 1;
    ast_children(ast, raise_depth, &ast->depth);
    if (ast->depth > LIMIT_AST_DEPTH)
        report_too_deep(st, ast->loc);
    return ast;
}

Ast *node_path(ParseState *st, LocRange loc, AstVec parts) {
    Ast *path = node(st, AST_PATH, loc);
    StrBuf dotted = sb_new(st->run->arena);

    path->path.parts = list_of(st, parts);
    if (parts.len == 1) {
        path->name = path->path.dotted = parts.data[0]->name;
        path->name_loc = parts.data[0]->loc;
        return done(st, path);
    }
    for (int i = 0; i < parts.len; i++) {
        if (parts.data[i]->kind == AST_INDEX)
            return done(st, path);
        sb_printf(&dotted, "%s%s", i ? "." : "", parts.data[i]->name);
    }
    path->path.dotted = intern(dotted.text, dotted.length);
    return done(st, path);
}

Ast *node_call(ParseState *st, LocRange loc, Ast *callee, AstVec args) {
    Ast *call = named(st, AST_CALL, loc, callee->name, callee->loc);

    call->call.callee = callee;
    call->call.args = list_of(st, args);
    return done(st, call);
}

Ast *node_expr(ParseState *st, AstKind kind, LocRange loc, AstOp op, Ast *left, Ast *right) {
    Ast *expr = node(st, kind, loc);

    expr->expr.op = op;
    expr->expr.left = left;
    expr->expr.right = right;
    return done(st, expr);
}

Ast *node_stmt(ParseState *st, LocRange loc, Ast *label, Ast *chain, bool is_out) {
    Ast *stmt = node(st, AST_STMT, loc);

    stmt->stmt.label = label;
    stmt->stmt.chain = chain;
    stmt->stmt.is_out = is_out;
    if (label) {
        stmt->name = label->name;
        stmt->name_loc = label->loc;
    }
    return done(st, stmt);
}

void bad_section(ParseState *st, LocRange loc, const char *name) {
    static const char *const sections[] = {"defaults", "data", "train", "predict", "visualize"};
    Diag *diag = diag_error(st->run->diag, loc, "E0017", "unknown section '%s'", name);

    diag_suggest(diag, loc, nearest_name(name, sections, 5));
    diag_note(diag, LOC_NONE, "sections of a net are defaults, data, train, predict and visualize");
}

/* ---- scanner side ---- */

/* Every complaint of the scanner: a file full of them is not read to its end. */
static Diag *complain(ParseState *st, LocRange loc, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static Diag *complain(ParseState *st, LocRange loc, const char *code, const char *format, ...) {
    va_list args;

    va_start(args, format);
    Diag *diag = diag_error(st->run->diag, loc, code, "%s",
                            arena_vprintf(st->run->arena, format, args));
    va_end(args);
    if (diag_full(st->run->diag))
        st->stop = true;
    return diag;
}

static char *copy_text(ParseState *st, LocRange loc) {
    int length;
    const char *text = token_text(st, loc, &length);

    return arena_strndup(st->run->arena, text, (size_t)length);
}

const char *scan_word(ParseState *st, LocRange loc) {
    int length;
    const char *text = token_text(st, loc, &length);

    if (length > LIMIT_IDENTIFIER) {
        complain(st, loc, "E0016", "name of %d letters; at most %d are allowed", length,
                   LIMIT_IDENTIFIER);
        length = LIMIT_IDENTIFIER;
    }
    return intern(text, (size_t)length);
}

static Ast *number_node(ParseState *st, LocRange loc) {
    Ast *num = node(st, AST_NUM, loc);

    num->depth = 1;
    num->num.is_int = true;
    num->num.text = num->num.unit = "";
    return num;
}

static void check_unit(ParseState *st, Ast *num, LocRange loc, const char *unit) {
    int count;
    const char *const *units = ast_units(&count);

    for (int i = 0; i < count; i++) {
        if (strcmp(unit, units[i]) == 0) {
            num->num.unit = intern_z(unit);
            return;
        }
    }
    StrBuf all = sb_new(st->run->arena);
    for (int i = 0; i < count; i++)
        sb_printf(&all, "%s%s", i ? ", " : "", units[i]);
    LocRange where = {loc.end - (Loc)strlen(unit), loc.end};
    Diag *diag = complain(st, where, "E0006", "unknown unit '%s'", unit);
    diag_suggest(diag, where, nearest_name(unit, units, count));
    diag_note(diag, LOC_NONE, "units are %s", all.text);
    if (unit[0] == 'x' || unit[0] == 'X')
        diag_help(diag, "an extent is written 3x3, with digits on both sides of a small x");
}

Ast *scan_number(ParseState *st, LocRange loc) {
    Ast *num = number_node(st, loc);
    char *text = copy_text(st, loc);
    char *end = text;
    const char *behind = st->file->text + (loc.end - st->file->base);

    if (loc.end - loc.begin > LIMIT_NUMBER_TEXT) {
        complain(st, loc, "E0007", "number of %u characters; at most %d are allowed",
                   loc.end - loc.begin, LIMIT_NUMBER_TEXT);
        return num;
    }
    if (behind[0] == '.' && behind[1] != '.') {
        LocRange dotted = {loc.begin, loc.end + 1};
        Diag *diag = complain(st, dotted, "E0005", "malformed number '%s.'", text);
        diag_help(diag, "write digits on both sides of the point: %s.0", text);
        st->bad_text = true;
        diag_fixit(diag, dotted, arena_printf(st->run->arena, "%s.0", text));
    }
    num->num.value = strtod(text, &end); /* the compiler never leaves the "C" locale */
    if (strcspn(text, ".eE") < (size_t)(end - text))
        num->num.is_int = false;
    if (*end)
        check_unit(st, num, loc, end);
    *end = 0;
    num->num.text = intern_z(text);
    errno = 0;
    if (num->num.is_int)
        num->num.integer = strtoll(text, NULL, 10);
    if (errno == ERANGE || !isfinite(num->num.value)) {
        complain(st, loc, "E0007", "number '%s' is too large", text);
        num->num.value = 0;
        num->num.integer = 0;
    }
    return num;
}

Ast *scan_extent(ParseState *st, LocRange loc) {
    Ast *extent = node(st, AST_EXTENT, loc);
    char *text = copy_text(st, loc), *part = text;
    enum { MOST = (int)(sizeof extent->extent.dims / sizeof *extent->extent.dims) };
    int count = 0;

    extent->depth = 1;
    extent->extent.count = 2;
    extent->extent.dims[0] = extent->extent.dims[1] = 1;
    for (bool more = true; more; count++) {
        char *end = part + strspn(part, "0123456789");
        more = *end == 'x';
        *end = 0;
        errno = 0;
        long long value = strtoll(part, NULL, 10);
        if (errno == ERANGE || value > LIMIT_DIM) {
            complain(st, loc, "E0007", "extent '%s' is larger than %lld", part,
                       (long long)LIMIT_DIM);
            value = 1;
        }
        if (count < MOST)
            extent->extent.dims[count] = value;
        part = end + 1;
    }
    if (count > MOST) {
        complain(st, loc, "E0007", "extent of %d numbers; at most %d are allowed",
                   count, MOST);
        count = MOST;
    }
    extent->extent.count = count;
    return extent;
}

void scan_bad_number(ParseState *st, LocRange loc) {
    const char *text = copy_text(st, loc);
    Diag *diag = complain(st, loc, "E0005", "malformed number '%.40s'", text);

    st->bad_text = true;
    if (text[0] == '.')
        diag_help(diag, "write digits on both sides of the point: 0%.40s", text);
    else if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        diag_help(diag, "there are no hexadecimal numbers: 3x3 is an extent");
    else
        diag_help(diag, "a name cannot begin with a digit, and a unit holds no digits");
}

/* The byte an escape stands for, or -1. */
static int escape_value(char c) {
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '"':
    case '\\':
        return c;
    }
    return -1;
}

Ast *scan_string(ParseState *st, LocRange loc, bool closed) {
    Ast *str = named(st, AST_STR, loc, "", loc);
    int length;
    const char *text = token_text(st, loc, &length);
    StrBuf out = sb_new(st->run->arena);
    int end = closed ? length - 1 : length;

    str->depth = 1;
    if (!closed) {
        Diag *diag = complain(st, loc, "E0003", "string without closing '\"'");
        diag_label(diag, "begins here and ends with the line");
        st->bad_text = true;
        token_drop_parens(st);
    }
    for (int i = 1; i < end; i++) {
        Loc at = loc.begin + (Loc)i;
        if (text[i] != '\\') {
            if ((unsigned char)text[i] < 0x20 && text[i] != '\t')
                complain(st, (LocRange){at, at + 1}, "E0004",
                           "control character 0x%02x in a string", (unsigned char)text[i]);
            else
                sb_putc(&out, text[i]);
            continue;
        }
        int value = i + 1 < end ? escape_value(text[i + 1]) : '\\';
        if (value < 0) {
            Diag *diag = complain(st, (LocRange){at, at + 2}, "E0004",
                                    "unknown escape '\\%c' in a string", text[i + 1]);
            diag_help(diag, "escapes are \\n \\t \\\" and \\\\; folders are separated by /");
        } else {
            sb_putc(&out, (char)value);
        }
        i++;
    }
    str->name = intern(out.text, out.length);
    return str;
}

void scan_bad_characters(ParseState *st, LocRange loc) {
    int length;
    const char *text = token_text(st, loc, &length);
    int count = utf8_length(text, (size_t)length);
    const char *quoted = arena_strndup(st->run->arena, text, (size_t)(count ? count : 1));
    Diag *diag;

    st->bad_text = true;
    if ((unsigned char)text[0] < 0x20 || text[0] == 0x7f)
        diag = complain(st, loc, "E0002", "unexpected control character 0x%02x",
                          (unsigned char)text[0]);
    else
        diag = complain(st, loc, "E0002", "unexpected character '%s'", quoted);
    if (strncmp(text, "//", 2) == 0 || strncmp(text, "/*", 2) == 0)
        diag_help(diag, "comments begin with # and end with the line");
    else if (text[0] == '\'' || text[0] == '`' || strcmp(quoted, "\u201c") == 0 ||
             strcmp(quoted, "\u201d") == 0)
        diag_help(diag, "strings are written in straight double quotes: \"text\"");
    else if (text[0] == '\r')
        diag_help(diag, "lines end with a line feed, or carriage return and line feed");
    else if (text[0] == '&' || text[0] == '|')
        diag_help(diag, "the logical operators are && and ||");
    else if (strcmp(quoted, "\u00d7") == 0)
        diag_help(diag, "extents are written with the letter x: 3x3");
    else if (strcmp(quoted, "\u2192") == 0)
        diag_help(diag, "arrows are written ->");
}
