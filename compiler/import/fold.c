/* fold.c: the lines of an imported spec (spec.h).
 *
 * A statement whose first stage reads the statement above leaves that out; joins are written as
 * calls.
 */
#include "import/spec.h"

#include <string.h>

/* Where a line's comment stands. */
enum { COMMENT_COLUMN = 56 };

static const char *source_text(Im *im, const Statements *all, const int *of, int layer) {
    return of[layer] < 0 ? "image" : im_label_text(im, all->data[of[layer]].label);
}

/* "add(a, b) -> relu": the join's sources stand in its call. */
static const char *join_text(Im *im, const ImNet *net, const Statements *all, const int *of,
                             const Statement *s) {
    const ImLayer *l = &net->layer.data[s->head];
    StrBuf out = sb_new(im->arena);
    size_t word = strlen(im_spelling[l->op]);
    sb_printf(&out, "%s(", im_spelling[l->op]);
    for (int i = 0; i < l->nin; i++)
        sb_printf(&out, "%s%s", i ? ", " : "", source_text(im, all, of, l->in[i]));
    sb_printf(&out, ")%s", s->stages + word);
    return out.text;
}

static void put_line(Im *im, ImNet *net, const Statements *all, const int *of, int i, StrBuf *out) {
    const Statement *s = &all->data[i];
    const ImLayer *head = &net->layer.data[s->head], *tail = &net->layer.data[s->tail];
    size_t start = out->length;
    sb_printf(out, "  %s: ", im_label_text(im, s->label));
    if (im_flags[head->op] & IM_JOIN)
        sb_puts(out, join_text(im, net, all, of, s));
    else if (of[head->in[0]] == i - 1)
        sb_puts(out, s->stages);
    else
        sb_printf(out, "%s -> %s", source_text(im, all, of, head->in[0]), s->stages);
    sb_repeat(out, ' ', COMMENT_COLUMN - (int)(out->length - start));
    sb_printf(out, "  # %s\n", im_shape_text(im, tail->rank, tail->dim));
}

void spec_body(Im *im, ImNet *net, const Statements *all, const int *of, StrBuf *blocks,
               StrBuf *out) {
    (void)blocks;
    for (int i = 0; i < all->len; i++)
        put_line(im, net, all, of, i, out);
}
