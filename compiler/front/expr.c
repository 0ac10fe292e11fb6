/* expr.c: static evaluation of expressions: numbers with units, extents, lists, words, functions.
 *
 * Everything in a spec is known when it is compiled.  Words that name nothing stay words (V_NAME)
 * for the attribute that knows them; calls of unknown functions stay descriptions (V_CALL).
 *
 * requires: a scope chain.  ensures: each mistake is reported once and gives V_BAD; recursion is
 * bounded by the height of the tree and by LAZY_MAX names that refer to names.
 */
#include <math.h>
#include <string.h>

#include "front/sema.h"

enum { LAZY_MAX = 256 };

/* ---- scopes ---- */

Scope *scope_new(Build *b, Scope *up) {
    Scope *s = ARENA_NEW(b->arena, Scope);
    s->up = up;
    s->names = map_new(b->arena);
    s->counters = map_new(b->arena);
    s->prefix = up ? up->prefix : "";
    s->suffix = up ? up->suffix : "";
    s->instance = up ? up->instance : s;
    s->trace = up ? up->trace : NULL;
    s->in = up ? up->in : NULL;
    return s;
}

void scope_bind(Build *b, Scope *s, const char *name, Binding binding) {
    Binding *copy = ARENA_NEW(b->arena, Binding);
    *copy = binding;
    map_put(&s->names, name, copy);
}

void scope_num(Build *b, Scope *s, const char *name, double value) {
    Val v = {.kind = V_NUM, .num = value, .integer = value == floor(value), .unit = ""};
    scope_bind(b, s, name, (Binding){.kind = B_VAL, .val = v});
}

Binding *scope_find(Scope *s, const char *name) {
    for (; s; s = s->up) {
        Binding *found = map_get(&s->names, name);
        if (found)
            return found;
    }
    return NULL;
}

/* A label declared in the k-th turn of a repeat is called x.k; inside that turn plain x finds it.
 */
LabelInfo *label_find(Build *b, Scope *s, const char *name) {
    for (; s; s = s->up) {
        const char *full = *s->prefix || *s->suffix
                               ? arena_printf(b->arena, "%s%s%s", s->prefix, name, s->suffix)
                               : name;
        LabelInfo *found = map_get(&b->labels, full);
        if (found)
            return found;
        if (s->barrier)
            break;
    }
    return NULL;
}

bool expand_count(Build *b, LocRange loc) {
    if (++b->expansion <= LIMIT_EXPANSION)
        return true;
    if (!b->limit_hit) {
        Diag *d =
            diag_error(b->diag, loc, "E0130",
                       "the net expands to more than %d statements and stages", LIMIT_EXPANSION);
        diag_help(d, "look for a repeat with a large count, or blocks that multiply each other");
    }
    b->limit_hit = true;
    return false;
}

/* ---- values ---- */

static Val bad(LocRange loc) {
    return (Val){.kind = V_BAD, .loc = loc};
}

static Val number(double x, bool integer, const char *unit, LocRange loc) {
    if (fabs(x) > 9e15)
        integer = false;
    return (Val){.kind = V_NUM, .loc = loc, .num = x, .integer = integer, .unit = unit};
}

static Val boolean(bool x, LocRange loc) {
    return (Val){.kind = V_BOOL, .loc = loc, .num = x ? 1 : 0};
}

const char *val_kind_text(const Val *v) {
    switch (v->kind) {
    case V_BAD:
        return "an error";
    case V_NUM:
        return v->integer ? "a whole number" : "a number";
    case V_EXTENT:
        return "an extent";
    case V_STR:
        return "a string";
    case V_BOOL:
        return "yes or no";
    case V_LIST:
        return "a list";
    case V_NAME:
        return "a word";
    case V_CALL:
        return "a call";
    case V_RANGE:
        return "a range";
    case V_TENSOR:
        return "a layer";
    }
    return "?";
}

const char *val_text(Arena *arena, const Val *v) {
    StrBuf t = sb_new(arena);
    switch (v->kind) {
    case V_NUM:
        sb_printf(&t, "%.10g%s", v->num, v->unit);
        break;
    case V_BOOL:
        sb_puts(&t, v->num != 0 ? "yes" : "no");
        break;
    case V_STR:
        sb_printf(&t, "\"%s\"", v->text);
        break;
    case V_NAME:
        sb_puts(&t, v->text);
        break;
    case V_CALL:
        sb_printf(&t, "%s(..)", v->text);
        break;
    case V_TENSOR:
        sb_puts(&t, v->tensor->name);
        break;
    case V_EXTENT:
        for (int i = 0; i < v->n; i++)
            sb_printf(&t, "%s%.10g", i ? "x" : "", v->at[i].num);
        break;
    case V_LIST:
        sb_printf(&t, "a list of %d", v->n);
        break;
    case V_RANGE:
        sb_printf(&t, "%s..%s", val_text(arena, &v->at[0]), val_text(arena, &v->at[1]));
        break;
    case V_BAD:
        sb_puts(&t, "?");
        break;
    }
    return t.text;
}

bool expr_num(Build *b, const Val *v, const char *what, double *out) {
    if (v->kind == V_NUM && !*v->unit) {
        *out = v->num;
        return true;
    }
    if (v->kind == V_NUM) {
        diag_error(b->diag, v->loc, "E0125", "%s takes a plain number, not one in '%s'", what,
                   v->unit);
    } else if (v->kind == V_NAME) {
        Diag *d = diag_error(b->diag, v->loc, "E0103", "unknown name '%s': %s must be a number",
                             v->text, what);
        if (eq(v->text, "same") && strncmp(what, "pad of", 6) == 0)
            diag_help(d, "at stride 1 half of kernel - 1 keeps the size: pad = 1 for 3x3");
    } else if (v->kind == V_CALL) {
        diag_error(b->diag, v->loc, "E0106", "unknown function '%s': %s must be a number", v->text,
                   what);
    } else if (v->kind != V_BAD) {
        diag_error(b->diag, v->loc, "E0111", "%s must be a number, got %s", what, val_kind_text(v));
    }
    return false;
}

bool expr_int(Build *b, const Val *v, const char *what, int64_t lo, int64_t hi, int64_t *out) {
    double x;
    if (!expr_num(b, v, what, &x))
        return false;
    if (!v->integer) {
        diag_error(b->diag, v->loc, fabs(x) > 9e15 ? "E0303" : "E0111",
                   "%s must be a whole number%s, got %.15g", what,
                   fabs(x) > 9e15 ? " of reasonable size" : "", x);
        return false;
    }
    if (x < (double)lo || x > (double)hi) {
        diag_error(b->diag, v->loc, "E0303", "%s must be between %lld and %lld, got %.15g", what,
                   (long long)lo, (long long)hi, x);
        return false;
    }
    *out = (int64_t)x;
    return true;
}

bool expr_bool(Build *b, const Val *v, const char *what, bool *out) {
    if (v->kind == V_BOOL) {
        *out = v->num != 0;
        return true;
    }
    if (v->kind != V_BAD)
        diag_error(b->diag, v->loc, "E0111", "%s must be yes or no, got %s", what,
                   v->kind == V_NAME || v->kind == V_NUM ? val_text(b->arena, v) : val_kind_text(v));
    return false;
}

/* ---- paths ---- */

const char *path_text(Build *b, Scope *s, const Ast *path, bool *indexed) {
    StrBuf t = sb_new(b->arena);
    if (indexed)
        *indexed = false;
    AST_EACH(part, path->path.parts) {
        if (part->kind == AST_NAME) {
            sb_printf(&t, "%s%s", t.length ? "." : "", part->name);
            continue;
        }
        Val v = expr_eval(b, s, part->index.value);
        int64_t i;
        if (!expr_int(b, &v, "an index", 0, LIMIT_EXPANSION, &i))
            return NULL;
        sb_printf(&t, ".%lld", (long long)i);
        if (indexed)
            *indexed = true;
    }
    return intern_z(t.text);
}

static Val eval_binding(Build *b, Binding *found, const char *name, LocRange loc) {
    if (found->kind == B_TENSOR)
        return (Val){.kind = V_TENSOR, .loc = loc, .tensor = found->tensor};
    if (found->kind == B_LAZY) {
        if (found->busy || b->lazy_depth >= LAZY_MAX) {
            if (found->busy)
                diag_error(b->diag, loc, "E0124", "'%s' is defined in terms of itself", name);
            else
                diag_error(b->diag, loc, "E0130", "more than %d names that refer to names",
                           LAZY_MAX);
            return bad(loc);
        }
        found->busy = true;
        b->lazy_depth++;
        found->val = expr_eval(b, found->scope, found->ast);
        b->lazy_depth--;
        found->busy = false;
        found->kind = B_VAL;
        if (found->global && found->val.kind == V_TENSOR) {
            diag_error(b->diag, found->loc, "E0111", "'%s' must be a value, not a layer", name);
            found->val = bad(loc);
        }
    }
    Val v = found->val;
    v.loc = loc;
    return v;
}

static Val eval_path(Build *b, Scope *s, const Ast *e) {
    if (e->name) {
        Binding *found = scope_find(s, e->name);
        if (found)
            return eval_binding(b, found, e->name, e->loc);
        if (eq(e->name, "yes") || eq(e->name, "true"))
            return boolean(true, e->loc);
        if (eq(e->name, "no") || eq(e->name, "false"))
            return boolean(false, e->loc);
    }
    const char *text = path_text(b, s, e, NULL);
    if (!text)
        return bad(e->loc);
    LabelInfo *label = label_find(b, s, text);
    if (label && label->tensor)
        return (Val){.kind = V_TENSOR, .loc = e->loc, .tensor = label->tensor, .text = text};
    return (Val){.kind = V_NAME, .loc = e->loc, .text = text, .ast = e, .scope = s};
}

/* ---- operators ---- */

static Val eval_list(Build *b, Scope *s, const Ast *e) {
    Val v = {.kind = V_LIST, .loc = e->loc, .n = e->list.items.count, .ast = e};
    v.at = ARENA_ARRAY(b->arena, v.n, Val);
    for (int i = 0; i < v.n; i++) {
        v.at[i] = expr_eval(b, s, e->list.items.items[i]);
        if (v.at[i].kind == V_BAD)
            v.kind = V_BAD;
    }
    return v;
}

static Val eval_extent(Build *b, const Ast *e) {
    Val v = {.kind = V_EXTENT, .loc = e->loc, .n = e->extent.count, .ast = e};
    v.at = ARENA_ARRAY(b->arena, v.n, Val);
    for (int i = 0; i < v.n; i++)
        v.at[i] = number((double)e->extent.dims[i], true, "", e->loc);
    return v;
}

static Val eval_unary(Build *b, Scope *s, const Ast *e) {
    Val v = expr_eval(b, s, e->expr.left);
    if (v.kind == V_BAD)
        return v;
    v.loc = e->loc;
    if (e->expr.op == AST_OP_NOT) {
        bool x;
        return expr_bool(b, &v, "the operand of !", &x) ? boolean(!x, e->loc) : bad(e->loc);
    }
    if (v.kind == V_NUM)
        return number(-v.num, v.integer, v.unit, e->loc);
    double ignored;
    expr_num(b, &v, "the operand of -", &ignored);
    return bad(e->loc);
}

static Val eval_logic(Build *b, Scope *s, const Ast *e) {
    bool left, right, is_or = e->expr.op == AST_OP_OR;
    Val l = expr_eval(b, s, e->expr.left);
    if (!expr_bool(b, &l, is_or ? "the left side of ||" : "the left side of &&", &left))
        return bad(e->loc);
    if (left == is_or)
        return boolean(left, e->loc);
    Val r = expr_eval(b, s, e->expr.right);
    if (!expr_bool(b, &r, is_or ? "the right side of ||" : "the right side of &&", &right))
        return bad(e->loc);
    return boolean(right, e->loc);
}

static bool same_word(const Val *l, const Val *r, bool *equal) {
    if (l->kind != r->kind || (l->kind != V_STR && l->kind != V_NAME && l->kind != V_BOOL))
        return false;
    *equal = l->kind == V_BOOL ? (l->num != 0) == (r->num != 0) : eq(l->text, r->text);
    return true;
}

static Val eval_arithmetic(Build *b, const Ast *e, const Val *l, const Val *r) {
    double x = l->num, y = r->num;
    bool whole = l->integer && r->integer;
    const char *unit = *l->unit ? l->unit : r->unit;
    switch (e->expr.op) {
    case AST_OP_EQ:
        return boolean(x == y, e->loc);
    case AST_OP_NE:
        return boolean(x != y, e->loc);
    case AST_OP_LE:
        return boolean(x <= y, e->loc);
    case AST_OP_GE:
        return boolean(x >= y, e->loc);
    case AST_OP_LT:
        return boolean(x < y, e->loc);
    case AST_OP_GT:
        return boolean(x > y, e->loc);
    case AST_OP_ADD:
        return number(x + y, whole, unit, e->loc);
    case AST_OP_SUB:
        return number(x - y, whole, unit, e->loc);
    case AST_OP_MUL:
        return number(x * y, whole, unit, e->loc);
    case AST_OP_DIV:
    case AST_OP_MOD:
        if (y == 0) {
            diag_error(b->diag, e->loc, "E0126", "division by zero");
            return bad(e->loc);
        }
        if (e->expr.op == AST_OP_MOD)
            return number(fmod(x, y), whole, unit, e->loc);
        return number(x / y, whole && fmod(x, y) == 0, unit, e->loc);
    default:
        BUG("operator %d", (int)e->expr.op);
    }
}

static Val eval_binary(Build *b, Scope *s, const Ast *e) {
    if (e->expr.op == AST_OP_OR || e->expr.op == AST_OP_AND)
        return eval_logic(b, s, e);
    Val l = expr_eval(b, s, e->expr.left), r = expr_eval(b, s, e->expr.right);
    bool equal;
    if (l.kind == V_BAD || r.kind == V_BAD)
        return bad(e->loc);
    if ((e->expr.op == AST_OP_EQ || e->expr.op == AST_OP_NE) && same_word(&l, &r, &equal))
        return boolean(equal == (e->expr.op == AST_OP_EQ), e->loc);
    const char *op = ast_op_text(e->expr.op);
    const Val *side[2] = {&l, &r};
    for (int i = 0; i < 2; i++)
        if (side[i]->kind != V_NUM) {
            double ignored;
            expr_num(b, side[i],
                     arena_printf(b->arena, "the %s side of %s", i ? "right" : "left", op),
                     &ignored);
            return bad(e->loc);
        }
    if (*l.unit && *r.unit && !eq(l.unit, r.unit)) {
        diag_error(b->diag, e->loc, "E0125", "'%s' and '%s' cannot be combined with %s", l.unit,
                   r.unit, op);
        return bad(e->loc);
    }
    return eval_arithmetic(b, e, &l, &r);
}

/* ---- functions ---- */

static double fn_round(double x) {
    return floor(x + 0.5);
}
typedef struct Function1 {
    const char *name;
    double (*f)(double);
} Function1;
static const Function1 functions1[] = {
    {"sqrt", sqrt},      {"abs", fabs}, {"floor", floor}, {"ceil", ceil},
    {"round", fn_round}, {"exp", exp},  {"log", log},
};
static const char *const function_names[] = {
    "min", "max", "sqrt",     "abs",    "floor", "ceil", "round",   "exp",
    "log", "pow", "channels", "height", "width", "len",  "bitmaps", "length",
};
enum { FUNCTIONS = (int)(sizeof function_names / sizeof *function_names) };

static bool is_function(const char *name) {
    for (int i = 0; i < FUNCTIONS; i++)
        if (eq(name, function_names[i]))
            return true;
    return false;
}

static Val wrong_count(Build *b, const Ast *e, const char *want) {
    diag_error(b->diag, e->loc, "E0108", "%s takes %s, got %d arguments", e->name, want,
               e->call.args.count);
    return bad(e->loc);
}

static Val eval_shape_of(Build *b, const Ast *e, const Val *v) {
    if (v->kind != V_TENSOR || v->tensor->kind == TENSOR_CLASS) {
        diag_error(b->diag, v->loc, "E0111", "%s takes a layer, got %s", e->name,
                   v->kind == V_TENSOR ? "a class label" : val_text(b->arena, v));
        return bad(e->loc);
    }
    if (v->tensor->poison)
        return bad(e->loc);
    int64_t c, h, w;
    shape_chw(&v->tensor->shape, &c, &h, &w);
    return number((double)(e->name[0] == 'c' ? c : e->name[0] == 'h' ? h : w), true, "", e->loc);
}

/* bitmaps(7x12, ["..#.. .###.", ..]): glyphs side by side, one string per row; '#' is 1, '.' -1.
 * Result: one list of width * height numbers per glyph, row by row. */
static Val eval_bitmaps(Build *b, const Ast *e, const Val *size, const Val *rows) {
    if (size->kind != V_EXTENT || size->n != 2 || rows->kind != V_LIST) {
        diag_error(b->diag, e->loc, "E0111",
                   "bitmaps takes the size of a glyph and a list of strings: bitmaps(7x12, [..])");
        return bad(e->loc);
    }
    int64_t w = (int64_t)size->at[0].num, h = (int64_t)size->at[1].num;
    if (w < 1 || h < 1 || h != rows->n || w > 1000) {
        diag_error(b->diag, e->loc, "E0111", "glyphs of %lldx%lld need %lld strings, got %d",
                   (long long)w, (long long)h, (long long)h, rows->n);
        return bad(e->loc);
    }
    int64_t length = rows->at[0].kind == V_STR ? (int64_t)strlen(rows->at[0].text) : 0;
    int64_t count = (length + 1) / (w + 1);
    Val v = {.kind = V_LIST, .loc = e->loc, .n = (int)count, .ast = e};
    v.at = ARENA_ARRAY(b->arena, count, Val);
    for (int g = 0; g < v.n; g++) {
        v.at[g] = (Val){.kind = V_LIST, .loc = e->loc, .n = (int)(w * h)};
        v.at[g].at = ARENA_ARRAY(b->arena, w * h, Val);
    }
    for (int y = 0; y < rows->n; y++) {
        const Val *row = &rows->at[y];
        if (row->kind != V_STR || (int64_t)strlen(row->text) != length ||
            count * (w + 1) - 1 != length) {
            diag_error(b->diag, row->loc, "E0111",
                       "row %d of the bitmaps must be a string of %lld characters and single "
                       "spaces between the glyphs",
                       y + 1, (long long)(count * (w + 1) - 1));
            return bad(e->loc);
        }
        for (int64_t i = 0; i < length; i++) {
            int64_t g = i / (w + 1), x = i % (w + 1);
            char c = row->text[i];
            if (x == w ? c != ' ' : c != '#' && c != '.') {
                diag_error(b->diag, row->loc, "E0111",
                           "character %lld of row %d is '%c': glyphs are drawn with # and .",
                           (long long)i + 1, y + 1, c);
                return bad(e->loc);
            }
            if (x < w)
                v.at[g].at[y * w + x] = number(c == '#' ? 1 : -1, true, "", e->loc);
        }
    }
    return v;
}

static Val eval_min_max(Build *b, const Ast *e, const Val *arg, int n) {
    double best = 0, x;
    bool whole = true;
    for (int i = 0; i < n; i++) {
        if (!expr_num(b, &arg[i], "an argument of min and max", &x))
            return bad(e->loc);
        if (i == 0 || (e->name[1] == 'i' ? x < best : x > best))
            best = x;
        whole = whole && arg[i].integer;
    }
    return number(best, whole, "", e->loc);
}

static Val eval_function(Build *b, Scope *s, const Ast *e) {
    int n = e->call.args.count;
    if (n > 64)
        return wrong_count(b, e, "at most 64");
    Val *arg = ARENA_ARRAY(b->arena, n, Val);
    for (int i = 0; i < n; i++) {
        const Ast *a = e->call.args.items[i];
        if (a->name) {
            diag_error(b->diag, a->loc, "E0107", "%s takes no named arguments", e->name);
            return bad(e->loc);
        }
        arg[i] = expr_eval(b, s, a->arg.value);
        if (arg[i].kind == V_BAD)
            return bad(e->loc);
    }
    if (eq(e->name, "min") || eq(e->name, "max"))
        return n ? eval_min_max(b, e, arg, n) : wrong_count(b, e, "numbers");
    if (eq(e->name, "bitmaps") && n == 1 && arg[0].kind == V_STR) {
        Diag *d = diag_error(b->diag, e->loc, "E0801", "not built yet: bitmaps from a file");
        diag_help(d, "draw them: bitmaps(7x12, [\"..###..\", ..]), one string per row");
        return bad(e->loc);
    }
    if (eq(e->name, "pow") || eq(e->name, "bitmaps")) {
        double x, y;
        if (n != 2)
            return wrong_count(b, e, "two");
        if (e->name[0] == 'b')
            return eval_bitmaps(b, e, &arg[0], &arg[1]);
        if (!expr_num(b, &arg[0], "the base", &x) || !expr_num(b, &arg[1], "the exponent", &y))
            return bad(e->loc);
        x = pow(x, y);
        return number(x, arg[0].integer && arg[1].integer && y >= 0, "", e->loc);
    }
    if (n != 1)
        return wrong_count(b, e, "one");
    if (eq(e->name, "channels") || eq(e->name, "height") || eq(e->name, "width") ||
        eq(e->name, "length"))
        return eval_shape_of(b, e, &arg[0]);
    if (eq(e->name, "len")) {
        if (arg[0].kind == V_LIST || arg[0].kind == V_EXTENT)
            return number(arg[0].n, true, "", e->loc);
        diag_error(b->diag, arg[0].loc, "E0111", "len takes a list, got %s",
                   val_kind_text(&arg[0]));
        return bad(e->loc);
    }
    for (size_t i = 0; i < sizeof functions1 / sizeof *functions1; i++)
        if (eq(e->name, functions1[i].name)) {
            double x;
            if (!expr_num(b, &arg[0], "the argument", &x))
                return bad(e->loc);
            x = functions1[i].f(x);
            if (isfinite(x))
                return number(x, x == floor(x), "", e->loc);
            diag_error(b->diag, e->loc, "E0126", "%s has no value here", e->name);
            return bad(e->loc);
        }
    BUG("function %s", e->name);
}

/* sqrt(c1), pow(c1, 2): functions of numbers that are operations too, with a layer in front.  Looks
 * at the text alone, so that nothing is built twice. */
static bool is_layer_call(Build *b, Scope *s, const Ast *e) {
    if (spec_op(e->name) == OP_NONE || e->call.args.count == 0)
        return false;
    const Ast *first = e->call.args.items[0]->arg.value;
    if (first->kind == AST_PATH)
        return expr_eval(b, s, first).kind == V_TENSOR;
    if (first->kind == AST_CALL && first->name)
        return is_function(first->name) ? is_layer_call(b, s, first)
                                        : spec_op(first->name) != OP_NONE;
    return first->kind == AST_IN;
}

static Val eval_call(Build *b, Scope *s, const Ast *e) {
    const char *name = e->name;
    if (name && is_function(name) && !is_layer_call(b, s, e))
        return eval_function(b, s, e);
    if (name && (spec_op(name) != OP_NONE || map_has(&b->blocks, name))) {
        Tensor *t = build_call(b, s, e);
        return (Val){.kind = V_TENSOR, .loc = e->loc, .tensor = t, .ast = e};
    }
    return (Val){.kind = V_CALL,
                 .loc = e->loc,
                 .ast = e,
                 .scope = s,
                 .text = name ? name : ast_text(b->arena, e->call.callee)};
}

Val expr_eval(Build *b, Scope *s, const Ast *e) {
    switch (e->kind) {
    case AST_NUM:
        if (eq(e->num.unit, "%"))
            return number(e->num.value / 100, false, "", e->loc);
        return number(e->num.is_int ? (double)e->num.integer : e->num.value,
                      e->num.value == floor(e->num.value), e->num.unit, e->loc);
    case AST_STR:
        return (Val){.kind = V_STR, .loc = e->loc, .text = e->name};
    case AST_EXTENT:
        return eval_extent(b, e);
    case AST_LIST:
        return eval_list(b, s, e);
    case AST_PATH:
        return eval_path(b, s, e);
    case AST_CALL:
        return eval_call(b, s, e);
    case AST_UNARY:
        return eval_unary(b, s, e);
    case AST_BINARY:
        return eval_binary(b, s, e);
    case AST_RANGE: {
        Val v = {.kind = V_RANGE, .loc = e->loc, .n = 2, .ast = e, .scope = s};
        v.at = ARENA_ARRAY(b->arena, 2, Val);
        v.at[0] = expr_eval(b, s, e->expr.left);
        v.at[1] = expr_eval(b, s, e->expr.right);
        return v.at[0].kind == V_BAD || v.at[1].kind == V_BAD ? bad(e->loc) : v;
    }
    case AST_IN:
        if (s->in)
            return (Val){.kind = V_TENSOR, .loc = e->loc, .tensor = s->in};
        diag_error(b->diag, e->loc, "E0121", "`in` has a meaning only inside a block or a fork");
        return bad(e->loc);
    default:
        BUG("expression of kind %s", ast_kind_text(e->kind));
    }
}
