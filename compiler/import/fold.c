/* fold.c: parts of an imported network that repeat become blocks of the language.
 *
 * A part is what its labels say: "fire2.squeeze1x1" and "fire2.expand1x1" belong to "fire2".  It
 * can be an instance of a block when its statements stand together, read one value from outside,
 * and only the last is read from outside.  Parts that differ in numbers alone are instances of one
 * block, whose parameters are these numbers.  Names of parameters stay what they were.
 */
#include <ctype.h>
#include <string.h>

#include "import/spec.h"

enum { MAX_DEPTH = 4, MAX_STATEMENTS = 4000 /* above, nobody reads the spec anyway */ };

/* ---- finding parts ---- */
/* Length of the first `depth` components of a label that has more; 0: it has not. */
static size_t part_length(const char *label, int depth) {
    const char *p = label;
    for (int i = 0; i < depth; i++) {
        p = strchr(p, '.');
        if (!p)
            return 0;
        p++;
    }
    return (size_t)(p - label) - 1;
}

static bool in_part(const char *label, const char *part) {
    size_t n = strlen(part);
    return strncmp(label, part, n) == 0 && (label[n] == '.' || !label[n]);
}

/* The label inside of the block, or NULL when the language would not take it there. */
static const char *inner_label(Im *im, const ImNet *net, const Statement *s, const Instance *f) {
    const char *label = s->label + strlen(f->label) + 1;
    size_t n = strcspn(label, ".");
    if (im_is_index(label, n))
        return NULL;
    if (!label[n] && im_is_reserved(label))
        return net->layer.data[s->head].params ? NULL : arena_printf(im->arena, "%s_", label);
    return label;
}

/* A number in the text of a stage: "20", "5x5", "0.75", "5e-5".  Its length, 0 for none. */
static size_t number_length(const char *p, const char *start) {
    if (!isdigit((unsigned char)*p) ||
        (p > start && (isalnum((unsigned char)p[-1]) || p[-1] == '_')))
        return 0;
    size_t n = 1;
    while (isdigit((unsigned char)p[n]) || p[n] == '.' || p[n] == 'x' ||
           (p[n] == 'e' && (isdigit((unsigned char)p[n + 1]) || p[n + 1] == '-')) ||
           (p[n] == '-' && p[n - 1] == 'e'))
        n++;
    return n;
}

static void put_stages(Im *im, const char *stages, Instance *f, StrBuf *shape) {
    for (const char *p = stages; *p;) {
        size_t n = number_length(p, stages);
        if (n) {
            vec_push(im->arena, &f->number, arena_strndup(im->arena, p, n));
            sb_putc(shape, '#');
        } else {
            sb_putc(shape, *p);
        }
        p += n ? n : 1;
    }
}

/* Describes the part; false when it cannot be an instance. */
static bool describe(Im *im, const ImNet *net, const Statements *all, const int *of,
                     const Folds *folds, Instance *f) {
    StrBuf shape = sb_new(im->arena);
    int last = f->first + f->count - 1;
    bool has_input = false;
    for (int i = f->first; i <= last; i++) {
        const Statement *s = &all->data[i];
        const ImLayer *head = &net->layer.data[s->head];
        const char *label = inner_label(im, net, s, f);
        if (!label || folds->at[i] >= 0)
            return false;
        sb_printf(&shape, "%s:", label);
        for (int k = 0; k < head->nin; k++) {
            int source = of[head->in[k]];
            bool inside = source >= f->first && source < i;
            if (!inside && has_input && source != f->input)
                return false;
            if (!inside) {
                f->input = source;
                has_input = true;
            }
            sb_printf(&shape, "%d ", inside ? source - f->first : -1);
        }
        put_stages(im, s->stages, f, &shape);
        sb_putc(&shape, '\n');
    }
    for (int i = last + 1; i < all->len; i++) { /* only the last may be read from outside */
        const ImLayer *head = &net->layer.data[all->data[i].head];
        for (int k = 0; k < head->nin; k++)
            if (of[head->in[k]] >= f->first && of[head->in[k]] < last)
                return false;
    }
    f->shape = shape.text;
    for (int i = 0; i < net->layer.len; i++)
        if (im_is_score(net, i) && of[i] >= f->first && of[i] < last)
            return false;
    return true;
}

/* Is a label outside of the run in the part too? */
static bool scattered(const Statements *all, const Instance *f) {
    for (int i = 0; i < all->len; i++)
        if ((i < f->first || i >= f->first + f->count) && in_part(all->data[i].label, f->label))
            return true;
    return strcmp(all->data[f->first].label, f->label) == 0;
}

static void find_parts(Im *im, const ImNet *net, const Statements *all, const int *of,
                       const Folds *folds, int depth, Folds *found) {
    for (int i = 0; i < all->len;) {
        size_t n = part_length(all->data[i].label, depth);
        Instance f = {.first = i, .count = 1, .input = -1};
        if (n == 0) {
            i++;
            continue;
        }
        f.label = arena_strndup(im->arena, all->data[i].label, n);
        while (i + f.count < all->len && part_length(all->data[i + f.count].label, depth) &&
               in_part(all->data[i + f.count].label, f.label))
            f.count++;
        i += f.count;
        if (f.count > 1 && !scattered(all, &f) && describe(im, net, all, of, folds, &f))
            vec_push(im->arena, &found->all, f);
    }
}

/* ---- making blocks ---- */
typedef struct Block {
    Im *im;
    const char *name;
    int column; /* next number of the shape */
    int columns;
    const char **formal; /* of each column: the parameter's name, or NULL: always the same number */
    VEC(const char *) list; /* parameters in order */
    VEC(int) first;         /* a column of each */
    VEC(const char *) label;
} Block;

static bool word_is(const char *list, const char *word) {
    return strcmp(list, word) == 0;
}

static bool name_taken(const Block *b, const char *name) {
    for (int i = 0; i < b->list.len; i++)
        if (word_is(b->list.data[i], name))
            return true;
    for (int i = 0; i < b->label.len; i++)
        if (word_is(b->label.data[i], name))
            return true;
    return im_is_reserved(name) || word_is(b->name, name);
}

/* "squeeze1x1" -> "squeeze"; behind "stride = " it is the stride; else maps. */
static const char *formal_name(Block *b, const char *label, const char *stages, const char *at) {
    Arena *arena = b->im->arena;
    const char *name = "maps", *word = at;
    if (at - stages > 3 && strncmp(at - 3, " = ", 3) == 0) {
        word = at - 3;
        while (word > stages && (isalpha((unsigned char)word[-1]) || word[-1] == '_'))
            word--;
        name = arena_strndup(arena, word, (size_t)(at - 3 - word));
    } else if (at > stages && at[-1] == '(') {
        size_t n = strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
        name = n > 1 ? arena_strndup(arena, label, n) : name;
    } else {
        name = "size";
    }
    if (im_is_reserved(name))
        name = "maps";
    const char *tried = name;
    for (int i = 2; name_taken(b, tried); i++)
        tried = arena_printf(arena, "%s%d", name, i);
    return tried;
}

static bool same_column(const Folds *f, const int *member, int n, int a, int b) {
    for (int i = 0; i < n; i++)
        if (strcmp(f->all.data[member[i]].number.data[a], f->all.data[member[i]].number.data[b]))
            return false;
    return true;
}

static bool constant_column(const Folds *f, const int *member, int n, int column) {
    for (int i = 1; i < n; i++)
        if (strcmp(f->all.data[member[i]].number.data[column],
                   f->all.data[member[0]].number.data[column]))
            return false;
    return true;
}

/* Gives every column that differs between members a parameter; equal columns share one. */
static void choose_formals(Block *b, const ImNet *net, const Statements *all, const Folds *f,
                           const int *member, int n) {
    const Instance *one = &f->all.data[member[0]];
    int column = 0;
    for (int i = 0; i < one->count; i++)
        vec_push(b->im->arena, &b->label, inner_label(b->im, net, &all->data[one->first + i], one));
    for (int i = 0; i < one->count; i++) {
        const char *stages = all->data[one->first + i].stages;
        for (const char *p = stages; *p;) {
            size_t length = number_length(p, stages);
            if (length && !constant_column(f, member, n, column)) {
                for (int k = 0; k < b->first.len && !b->formal[column]; k++)
                    if (same_column(f, member, n, b->first.data[k], column))
                        b->formal[column] = b->list.data[k];
                if (!b->formal[column]) {
                    b->formal[column] = formal_name(b, b->label.data[i], stages, p);
                    vec_push(b->im->arena, &b->list, b->formal[column]);
                    vec_push(b->im->arena, &b->first, column);
                }
            }
            column += length > 0;
            p += length ? length : 1;
        }
    }
}

typedef struct Inside {
    Im *im;
    const ImNet *net;
    const Statements *all;
    const Instance *f;
} Inside;

static const char *inside_name(void *context, int statement) {
    const Inside *in = context;
    if (statement < in->f->first)
        return "in";
    return im_label_text(in->im, inner_label(in->im, in->net, &in->all->data[statement], in->f));
}

/* The stages with parameters in place of numbers. */
static const char *with_formals(Block *b, const char *stages) {
    StrBuf out = sb_new(b->im->arena);
    for (const char *p = stages; *p;) {
        size_t n = number_length(p, stages);
        if (n && b->formal[b->column])
            sb_puts(&out, b->formal[b->column]);
        else
            sb_write(&out, p, n ? n : 1);
        b->column += n > 0;
        p += n ? n : 1;
    }
    return out.text;
}

static void print_block(Block *b, const ImNet *net, const Statements *all, const int *of,
                        const Instance *f, StrBuf *out) {
    Inside inside = {b->im, net, all, f};
    sb_printf(out, "block %s(", b->name);
    for (int i = 0; i < b->list.len; i++)
        sb_printf(out, "%s%s", i ? ", " : "", b->list.data[i]);
    sb_puts(out, ") {\n");
    for (int i = 0; i < f->count; i++) {
        const Statement *s = &all->data[f->first + i];
        const char *stages = with_formals(b, s->stages);
        sb_printf(
            out, "  %s: %s\n", im_label_text(b->im, b->label.data[i]),
            spec_chain(b->im, net, of, s, i ? f->first + i - 1 : -2, inside_name, &inside, stages));
    }
    sb_puts(out, "}\n\n");
}

static const char *call_text(const Block *b, const Instance *f) {
    StrBuf out = sb_new(b->im->arena);
    sb_printf(&out, "%s(", b->name);
    for (int i = 0; i < b->first.len; i++)
        sb_printf(&out, "%s%s", i ? ", " : "", f->number.data[b->first.data[i]]);
    sb_putc(&out, ')');
    return out.text;
}

/* What the instances' labels begin with: "fire2", "fire3" -> "fire". */
static const char *block_name(Im *im, const Statements *all, const Folds *f, const int *member,
                              int n, Map *taken) {
    const char *first = f->all.data[member[0]].label;
    size_t length = strlen(first);
    for (int i = 1; i < n; i++) {
        size_t k = 0;
        while (k < length && first[k] == f->all.data[member[i]].label[k])
            k++;
        length = k;
    }
    length = strcspn(arena_strndup(im->arena, first, length), ".");
    while (length && (isdigit((unsigned char)first[length - 1]) || first[length - 1] == '_'))
        length--;
    const char *stem = length ? arena_strndup(im->arena, first, length) : "part", *name = stem;
    for (int i = 1;; i++) {
        bool clash = im_is_reserved(name) || map_has(taken, name);
        for (int k = 0; k < all->len && !clash; k++)
            clash = in_part(all->data[k].label, name);
        if (!clash)
            break;
        name = i == 1 ? arena_printf(im->arena, "%s_block", stem)
                      : arena_printf(im->arena, "%s_block%d", stem, i);
    }
    map_put(taken, name, NULL);
    return name;
}

static void make_block(Im *im, const ImNet *net, const Statements *all, const int *of,
                       const Folds *found, const int *member, int n, Map *taken, Folds *out,
                       StrBuf *text) {
    const Instance *one = &found->all.data[member[0]];
    Block b = {.im = im, .name = block_name(im, all, found, member, n, taken)};
    b.formal = ARENA_ARRAY(im->arena, one->number.len, const char *);
    choose_formals(&b, net, all, found, member, n);
    print_block(&b, net, all, of, one, text);
    for (int i = 0; i < n; i++) {
        Instance f = found->all.data[member[i]];
        f.call = call_text(&b, &f);
        for (int k = 0; k < f.count; k++)
            out->at[f.first + k] = out->all.len;
        vec_push(im->arena, &out->all, f);
    }
}

void spec_fold(Im *im, const ImNet *net, const Statements *all, const int *of, Folds *out,
               StrBuf *blocks) {
    Map taken = map_new(im->arena);
    for (int depth = 1; depth <= MAX_DEPTH && all->len <= MAX_STATEMENTS; depth++) {
        Folds found = {0};
        find_parts(im, net, all, of, out, depth, &found);
        int *member = ARENA_ARRAY(im->arena, found.all.len + 1, int);
        for (int i = 0; i < found.all.len; i++) {
            int n = 0;
            for (int k = i; k < found.all.len && out->at[found.all.data[i].first] < 0; k++)
                if (strcmp(found.all.data[k].shape, found.all.data[i].shape) == 0)
                    member[n++] = k;
            if (n > 1)
                make_block(im, net, all, of, &found, member, n, &taken, out, blocks);
        }
    }
}
