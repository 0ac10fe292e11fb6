/* line.c: sequences, f32[C, L]: what a spec calls rank 2 is an image [C, 1, L] for the compiler.
 *
 * A layer is a line when it is made of a line and still has one row.  An operation that reads one
 * takes scalar extents for its columns alone: kernel = 25 is 1x25, pad = [2, 1] is left and right.
 * Messages and tables leave the row out, and saved weights have PyTorch's form, [O, I, K].
 *
 * requires: attributes as sema_attrs.c binds them, where a scalar has been given to rows too.
 * ensures: extents of rows are the smallest that the attribute allows: they change nothing.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "front/sema.h"

bool line_of(Tensor *const *in, int nin, const Shape *out) {
    bool any = false;
    for (int i = 0; i < nin; i++)
        any |= in[i]->line;
    return any && out->rank == 3 && out->dim[1] == 1;
}

Shape line_shape(const Shape *s, bool line) {
    Shape out = *s;
    if (!line || s->rank < 3)
        return out;
    out.rank--;
    out.dim[out.rank - 1] = s->dim[out.rank];
    return out;
}

Shape line_saved(const Shape *s, bool line) {
    return line_shape(s, line && s->rank == 4 && s->dim[2] == 1);
}

/* The extents at p, "16x1x57"; returns what lies behind them. */
static const char *put_extents(StrBuf *t, const char *p, bool open) {
    const char *part[4];
    size_t len[4];
    int n = 0, skip = -1;
    for (;; p++) {
        size_t digits = strspn(p, "0123456789");
        if (n < 4) {
            part[n] = p;
            len[n] = digits;
        }
        n++;
        p += digits;
        if (*p != 'x' || !isdigit((unsigned char)p[1]))
            break;
    }
    if (open && n >= 2 && n <= 4 && len[n - 2] == 1 && part[n - 2][0] == '1')
        skip = n - 2;
    for (int i = 0; i < n && n <= 4; i++)
        if (i != skip)
            sb_printf(t, "%s%.*s", i > (skip == 0) ? "x" : "", (int)len[i], part[i]);
    return n <= 4 ? p : NULL;
}

const char *line_text(Arena *arena, const char *text, bool line) {
    StrBuf t = sb_new(arena);
    char last = ' ';
    if (!line)
        return text;
    for (const char *p = text; *p;) {
        if (isdigit((unsigned char)*p)) {
            bool open = !isalnum((unsigned char)last) && last != '.' && last != '_';
            p = put_extents(&t, p, open);
            if (!p)
                return text;
            last = '0';
        } else if (strncmp(p, "column", 6) == 0) {
            sb_puts(&t, "step");
            p += 6;
            last = 'n';
        } else {
            last = *p++;
            sb_putc(&t, last);
        }
    }
    return t.text;
}

Shape tensor_shape(const Tensor *t) {
    return line_shape(&t->shape, t->line);
}

/* ---- arguments ---- */

static bool two_extents(Build *b, const Bound *bound, const AttrDesc *a, const Val *v) {
    Diag *d = diag_error(b->diag, v->loc, "E0111",
                         "%s of %s: a sequence has one extent, steps in time; got %s", a->name,
                         op_name[bound->op], val_text(b->arena, v));
    diag_help(d, "write %s = %s", a->name,
              v->n > 0 ? val_text(b->arena, &v->at[v->n - 1]) : "a number");
    return false;
}

/* Rows of attribute a become `none`; numbers given one by one must say that already. */
static bool one_row(Build *b, Scope *s, const Bound *bound, const AttrDesc *a, const Ast *arg,
                    int64_t none, int64_t *at) {
    Val v = arg ? expr_eval(b, s, arg->arg.value) : (Val){.kind = V_BAD};
    bool pads = a->type == AT_PADS, list = v.kind == V_EXTENT || v.kind == V_LIST;
    if (pads && v.kind == V_LIST && v.n == 2) { /* left, right */
        at[2] = at[0];
        at[0] = at[1] = none;
        return expr_int(b, &v.at[1], a->name, 0, LIMIT_DIM, &at[3]);
    }
    if (list && v.n > 1 && (at[0] != none || (pads && at[1] != none)))
        return two_extents(b, bound, a, &v);
    at[0] = none;
    if (pads)
        at[1] = none;
    return true;
}

bool line_bind(Build *b, Scope *s, Bound *bound, Tensor *const *in, int nin) {
    const OpDef *def = op_def[bound->op];
    bool line = false;
    for (int i = 0; i < nin; i++)
        line |= in[i]->line;
    bound->line = line;
    for (int i = 0; line && i < def->nattrs && i < ARG_MAX; i++) {
        const AttrDesc *a = &def->attrs[i];
        if (a->internal || (a->type != AT_EXTENT && a->type != AT_PADS))
            continue;
        Val v = bound->arg[i] ? expr_eval(b, s, bound->arg[i]->arg.value) : (Val){.kind = V_BAD};
        if (bound->op == OP_RESHAPE && v.kind == V_EXTENT)
            continue; /* an image of it */
        int64_t *at = (int64_t *)((char *)bound->attrs + a->offset);
        if (!one_row(b, s, bound, a, bound->arg[i], a->min > 0 ? (int64_t)a->min : 0, at))
            return false;
    }
    return true;
}
