/* build_notes.c: the notes that explain a refused layer: where its input's shape comes from, in
 * which block instance it stands, and which operation may have been meant.
 */
#include <string.h>
#include <strings.h>

#include "front/sema.h"

const char *shape_text(Arena *arena, const Shape *s) {
    char buf[128];
    shape_print(s, buf, sizeof buf);
    return arena_strdup(arena, buf);
}

/* "input: pool2 256x13x13 <- conv2 256x26x26 <- .. <- image 3x224x224"; stages that neither have a
 * label nor change the shape are left out. */
void note_derivation(Build *b, Diag *d, const Tensor *t, const char *title) {
    StrBuf text = sb_new(b->arena);
    const Tensor *last = NULL;
    int hops = 0;
    for (; t && !t->poison; t = t->from) {
        bool inner = t->from && t->name == t->text && shape_equal(&t->shape, &t->from->shape);
        if (inner ||
            (last && shape_equal(&t->shape, &last->shape) && t->name == t->text && t->from))
            continue;
        if (hops == 5 && t->from)
            continue;
        if (last)
            sb_puts(&text, hops == 5 ? " <- .. <- " : " <- ");
        Shape shape = tensor_shape(t);
        sb_printf(&text, "%s %s", t->name, shape_text(b->arena, &shape));
        last = t;
        hops += hops < 5;
    }
    if (last)
        diag_note(d, LOC_NONE, "%s: %s", title, text.text);
}

void note_trace(Diag *d, const Trace *trace) {
    for (int shown = 0; trace && shown < 4; trace = trace->up, shown++)
        diag_note(d, trace->at, "in block '%s' instantiated here", trace->block);
}

typedef struct Later {
    const char *name, *instead;
} Later;
/* Operations that the language plans and that are not built. */
static const Later later[] = {
    {"dwt", NULL},
    {"gabor", NULL},
};

bool planned_operation(Build *b, LocRange loc, const char *name) {
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (eq(name, later[i].name)) {
            Diag *d = diag_error(b->diag, loc, "E0801", "not built yet: operation '%s'", name);
            if (later[i].instead)
                diag_help(d, "%s", later[i].instead);
            return true;
        }
    return false;
}

/* What other tools call operations that are built. */
static const Later elsewhere[] = {
    {"batchnorm", "bn"},
    {"batch_norm", "bn"},
    {"batchnormalization", "bn"},
    {"instance_norm", "instancenorm"},
    {"l1", "mae"},
    {"bce", "logistic"},
    {"silu", "swish"},
    {"affine", "scale"},
    {"lppool", "lp_pool"},
    {"linear", "dense"},
    {"fc", "dense"},
    {"fully_connected", "dense"},
    {"inner_product", "dense"},
    {"conv2d", "conv"},
    {"convolution", "conv"},
    {"conv_transpose", "deconv"},
    {"pool", "maxpool` or `avgpool"},
    {"pooling", "maxpool` or `avgpool"},
    {"maxpool2d", "maxpool"},
    {"max_pool", "maxpool"},
    {"avgpool2d", "avgpool"},
    {"avg_pool", "avgpool"},
    {"global_pool", "global_avgpool"},
    {"gap", "global_avgpool"},
    {"upsampling", "upsample"},
    {"concatenate", "concat"},
    {"cat", "concat"},
    {"view", "reshape"},
    {"permute", "transpose"},
    {"local_response_norm", "lrn"},
};

void unknown_operation(Build *b, const Ast *at, const char *name) {
    LocRange loc = at->kind == AST_CALL ? at->call.callee->loc : at->loc;
    if (planned_operation(b, loc, name))
        return;
    VEC(const char *) all = {0};
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (op_is(op, OPF_U))
            vec_push(b->arena, &all, op_name[op]);
    for (int i = 0; i < b->blocks.count; i++)
        vec_push(b->arena, &all, b->blocks.entries[i].key);
    Diag *d = diag_error(b->diag, loc, "E0104", "unknown operation '%s'", name);
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcasecmp(name, elsewhere[i].name) == 0) {
            diag_help(d, "it is called `%s`", elsewhere[i].instead);
            return;
        }
    diag_suggest(d, loc, nearest_name(name, all.data, all.len));
}
