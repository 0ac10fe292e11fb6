/* label.c: names of layers that the language takes, as near to the file's as it allows.
 *
 * "features.0" and "fire2/squeeze1x1" are paths already: features[0], fire2.squeeze1x1.  What no
 * path can hold becomes "_"; words of the language get a "_" behind; equal names are numbered.  The
 * name in weights files is the path with dots, so PyTorch's names stay what they were.
 */
#include "import/im.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "ir/op.h"

bool im_is_reserved(const char *word) {
    static const char *const words[] = {
        "include",
        "const",
        "block",
        "net",
        "variants",
        "extends",
        "input",
        "output",
        "param",
        "repeat",
        "if",
        "else",
        "in",
        "out",
        "remove",
        "freeze",
        "replace",
        "insert",
        "loss",
        "metric",
        "set",
        "defaults",
        "data",
        "train",
        "predict",
        "visualize",
        "of",
        "as",
        "with",
        "after",
        "before",
        "yes",
        "no",
        "true",
        "false",
        "weight",
        "bias",
        "image",
        "label",
        "prob",
        "batchnorm",
        "global_avgpool",
        "global_maxpool",
        "crop",
        "transpose",
        "reshape",
        "lstm",
        "gru",
        "gelu",
        "hinge",
        "min",
        "abs",
        "floor",
        "ceil",
        "round",
        "sqrt",
        "exp",
        "log",
        "pow",
        "len",
        "channels",
        "height",
        "width",
        "bitmaps",
        "ce",
        "err",
        "argmax",
        "argmin",
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    for (int i = 0; i < IM_OPS; i++)
        if (strcmp(word, im_spelling[i]) == 0)
            return true;
    for (int i = OP_NONE + 1; i < OP_COUNT; i++)
        if (strcmp(word, op_name[i]) == 0)
            return true;
    return false;
}

bool im_is_index(const char *text, size_t n) {
    if (n < 1 || n > 6 || (n > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return true;
}

/* One component of a path. */
static void put_component(StrBuf *out, const char *text, size_t n, bool first) {
    if (im_is_index(text, n)) {
        sb_puts(out, first ? "layer." : "");
        sb_write(out, text, n);
        return;
    }
    size_t start = out->length;
    if (isdigit((unsigned char)text[0]))
        sb_putc(out, '_');
    for (size_t i = 0; i < n; i++)
        sb_putc(out, isalnum((unsigned char)text[i]) ? text[i] : '_');
    if (first && im_is_reserved(out->text + start)) /* behind a dot every word is a name */
        sb_putc(out, '_');
}

static const char *sanitised(Im *im, const char *name) {
    StrBuf out = sb_new(im->arena);
    bool first = true;
    size_t total = strlen(name);
    for (size_t i = 0; i < total;) {
        size_t n = strcspn(name + i, "./");
        if (n > 0) {
            if (!first)
                sb_putc(&out, '.');
            put_component(&out, name + i, n, first);
            first = false;
        }
        i += n + 1;
    }
    return out.length ? out.text : NULL;
}

/* "features.0" is features[0] in a spec. */
const char *im_label_text(Im *im, const char *label) {
    StrBuf out = sb_new(im->arena);
    for (const char *p = label; *p;) {
        size_t n = strcspn(p, ".");
        bool index = p > label && im_is_index(p, n);
        if (p > label && !index)
            sb_putc(&out, '.');
        if (index)
            sb_putc(&out, '[');
        sb_write(&out, p, n);
        if (index)
            sb_putc(&out, ']');
        p += n + (p[n] == '.');
    }
    return out.text;
}

/* Equal names are told apart by a number; behind an index it is a component of its own. */
static const char *unique(Im *im, Map *taken, const char *label) {
    const char *tried = label, *dot = strrchr(label, '.');
    bool index = dot && im_is_index(dot + 1, strlen(dot + 1));
    int *count = map_get(taken, label);
    while (map_has(taken, tried)) {
        *count += 1; /* how often the name was wanted: no number is tried twice */
        tried = arena_printf(im->arena, "%s%s%d", label, index ? ".n" : "_", *count);
    }
    int *first = ARENA_NEW(im->arena, int);
    *first = 1;
    map_put(taken, tried, first);
    return tried;
}

void im_label(Im *im, ImNet *net) {
    Map taken = map_new(im->arena);
    int numbers[IM_OPS] = {0};
    net->layer.data[0].label = "image";
    for (int pass = 0; pass < 2; pass++) /* layers with weights choose first */
        for (int i = 1; i < net->layer.len; i++) {
            ImLayer *l = &net->layer.data[i];
            if ((l->params == 0) != (pass == 1))
                continue;
            const char *label = sanitised(im, l->name);
            if (!label || strlen(label) > 200)
                label = arena_printf(im->arena, "%s%d", im_spelling[l->op], ++numbers[l->op]);
            l->label = unique(im, &taken, label);
        }
}

void im_net_weights(Im *im, ImNet *net, ImOut *out) {
    for (int i = 0; i < net->layer.len; i++) {
        const ImLayer *l = &net->layer.data[i];
        for (int p = 0; p < l->params; p++) {
            const ImParam *param = &l->param[p];
            ImTensor tensor = param->tensor;
            /* what reads a sequence keeps [maps, maps, kernel] */
            if ((l->op == IM_CONV || l->op == IM_DECONV) && tensor.rank == 4 &&
                tensor.dim[2] == 1 && im_at(net, l->in[0])->line)
                tensor = im_tensor_shaped(
                    &tensor, 3, (const int64_t[]){tensor.dim[0], tensor.dim[1], tensor.dim[3]});
            bool same = strcmp(l->name, l->label) == 0;
            ImOutTensor t = {arena_printf(im->arena, "%s.%s", l->label, param->suffix),
                             same ? NULL : l->name, tensor, param->statistic};
            vec_push(im->arena, &out->tensor, t);
        }
    }
}
