/* lines.c: the lines of an imported spec (spec.h).
 *
 * A line whose first stage reads the line above leaves that out; joins are written as calls.
 * Instances of blocks are one line; three or more lines that differ in a label's index alone become
 * a `repeat`.
 */
#include <stdlib.h>
#include <string.h>

#include "import/spec.h"

enum { COMMENT_COLUMN = 58 }; /* where the sizes stand */

const char *spec_chain(Im *im, const ImNet *net, const int *of, const Statement *s, int before,
                       SpecName name, void *context, const char *stages) {
    const ImLayer *l = &net->layer.data[s->head];
    if (!(im_flags[l->op] & IM_JOIN)) {
        int source = of[l->in[0]];
        return source == before
                   ? stages
                   : arena_printf(im->arena, "%s -> %s", name(context, source), stages);
    }
    StrBuf out = sb_new(im->arena);
    sb_printf(&out, "%s(", im_spelling[l->op]);
    for (int i = 0; i < l->nin; i++)
        sb_printf(&out, "%s%s", i ? ", " : "", name(context, of[l->in[i]]));
    const char *rest = stages + strlen(im_spelling[l->op]);
    if (*rest == '(') /* arguments behind the layers: concat(a, b, axis = frames) */
        sb_printf(&out, ", %s", rest + 1);
    else
        sb_printf(&out, ")%s", rest);
    return out.text;
}

typedef struct Line {
    const char *label; /* full */
    const char *text;  /* chain */
    const char *size;
    bool reads_above; /* leaves its source out */
} Line;
typedef VEC(Line) Lines;

typedef struct Names {
    Im *im;
    const Statements *all;
    const Folds *folds;
} Names;

/* An instance is called by its own label. */
static const char *name_of(void *context, int statement) {
    const Names *n = context;
    if (statement < 0)
        return "image";
    int fold = n->folds->at[statement];
    return im_label_text(n->im,
                         fold < 0 ? n->all->data[statement].label : n->folds->all.data[fold].label);
}

static const char *size_of(Im *im, const ImNet *net, const Statement *s) {
    const ImLayer *tail = &net->layer.data[s->tail];
    if (tail->line) /* without its row */
        return im_shape_text(im, 2, (const int64_t[]){tail->dim[0], tail->dim[2]});
    return im_layer_text(im, tail);
}

static void collect(Im *im, ImNet *net, const Statements *all, const int *of, const Folds *folds,
                    Lines *out) {
    Names names = {im, all, folds};
    for (int i = 0; i < all->len; i++) {
        const Statement *s = &all->data[i];
        const Instance *f = folds->at[i] < 0 ? NULL : &folds->all.data[folds->at[i]];
        Line line = {.label = s->label};
        if (f) {
            line.label = f->label;
            line.reads_above = f->input == i - 1;
            line.text = line.reads_above ? f->call
                                         : arena_printf(im->arena, "%s -> %s",
                                                        name_of(&names, f->input), f->call);
            i = f->first + f->count - 1;
            s = &all->data[i];
        } else {
            line.text = spec_chain(im, net, of, s, i - 1, name_of, &names, s->stages);
            line.reads_above = line.text == s->stages;
        }
        line.size = size_of(im, net, s);
        vec_push(im->arena, out, line);
    }
}

/* "layer1.3" -> 3 and the length of "layer1"; -1: no index at the end. */
static long index_of(const char *label, size_t *stem) {
    const char *dot = strrchr(label, '.');
    if (!dot || !im_is_index(dot + 1, strlen(dot + 1)))
        return -1;
    *stem = (size_t)(dot - label);
    return strtol(dot + 1, NULL, 10);
}

/* How many lines from i on say the same of label[k], label[k + 1], .., each reading the one above.
 */
static int repeats(const Lines *lines, int i) {
    const Line *first = &lines->data[i];
    size_t stem, other;
    long index = index_of(first->label, &stem);
    int n = 1;
    for (; index >= 0 && i + n < lines->len; n++) {
        const Line *l = &lines->data[i + n];
        if (!l->reads_above || strcmp(l->text, first->text) != 0 ||
            index_of(l->label, &other) != index + n || other != stem ||
            strncmp(l->label, first->label, stem) != 0)
            break;
    }
    return first->reads_above ? n : 1;
}

static void put_line(const char *label, const Line *l, StrBuf *out) {
    size_t start = out->length;
    sb_printf(out, "  %s: %s", label, l->text);
    sb_repeat(out, ' ', COMMENT_COLUMN - 2 - (int)(out->length - start));
    sb_printf(out, "  # %s\n", l->size);
}

void spec_body(Im *im, ImNet *net, const Statements *all, const int *of, StrBuf *blocks,
               StrBuf *out) {
    Folds folds = {0};
    Lines lines = {0};
    folds.at = ARENA_ARRAY(im->arena, all->len, int);
    for (int i = 0; i < all->len; i++)
        folds.at[i] = -1;
    if (!im->options->plain)
        spec_fold(im, net, all, of, &folds, blocks);
    collect(im, net, all, of, &folds, &lines);
    for (int i = 0; i < lines.len; i++) {
        int n = im->options->plain ? 1 : repeats(&lines, i);
        const Line *l = &lines.data[i];
        if (n < 3) {
            put_line(im_label_text(im, l->label), l, out);
            continue;
        }
        size_t stem, start = out->length;
        long index = index_of(l->label, &stem);
        sb_printf(out, "  repeat i in %ld..%ld { %s[i]: %s }", index, index + n - 1,
                  im_label_text(im, arena_strndup(im->arena, l->label, stem)), l->text);
        sb_repeat(out, ' ', COMMENT_COLUMN - 2 - (int)(out->length - start));
        sb_printf(out, "  # %s\n", l->size);
        i += n - 1;
    }
}
