/* op.c: the tables that ops.def expands to, the only two ways to look an operator up, and what all
 * operators share: shapes of clips, equality of attributes.
 *
 * requires: each row `OP(NAME, spelling, ...)` has a `const OpDef opdef_<spelling>` in ops/.
 * ensures: op_def, op_name, op_flags, op_nin and op_nout are indexed by enum Op; entry 0 is unused.
 */
#include "ir/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ir/text.h"
#include "ops/attrs.h"

#define OP(NAME, name, nin, nout, flags) extern const OpDef opdef_##name;
#include "ir/ops.def"
#undef OP

const OpDef *const op_def[OP_COUNT] = {
    NULL,
#define OP(NAME, name, nin, nout, flags) &opdef_##name,
#include "ir/ops.def"
#undef OP
};

const char *const op_name[OP_COUNT] = {
    "none",
#define OP(NAME, name, nin, nout, flags) #name,
#include "ir/ops.def"
#undef OP
};

const uint32_t op_flags[OP_COUNT] = {
    0,
#define OP(NAME, name, nin, nout, flags) (flags),
#include "ir/ops.def"
#undef OP
};

const int8_t op_nin[OP_COUNT] = {
    0,
#define OP(NAME, name, nin, nout, flags) nin,
#include "ir/ops.def"
#undef OP
};

const int8_t op_nout[OP_COUNT] = {
    0,
#define OP(NAME, name, nin, nout, flags) nout,
#include "ir/ops.def"
#undef OP
};

int op_find(const char *name) {
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (strcmp(op_name[op], name) == 0)
            return op;
    return OP_NONE;
}

static bool same_table(const ConnTable *a, const ConnTable *b) {
    if (!a || !b)
        return a == b;
    return a->outputs == b->outputs && a->inputs == b->inputs &&
           memcmp(a->link, b->link, (size_t)a->outputs * (size_t)a->inputs) == 0;
}

bool op_same_attrs(int op, const void *a, const void *b) {
    const OpDef *def = op_def[op];
    for (int i = 0; i < def->nattrs; i++) {
        const AttrDesc *d = &def->attrs[i];
        const char *x = (const char *)a + d->offset, *y = (const char *)b + d->offset;
        bool same = memcmp(x, y, attr_bytes(d->type)) == 0;
        if (!same && d->type == AT_TABLE)
            same = same_table(*(const ConnTable *const *)x, *(const ConnTable *const *)y);
        if (!same && d->type == AT_STR) {
            const char *s = *(const char *const *)x, *t = *(const char *const *)y;
            same = s && t && strcmp(s, t) == 0;
        }
        if (!same)
            return false;
    }
    return true;
}

static bool refuse(Infer *inf, int input, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool refuse(Infer *inf, int input, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(inf->bad.text, sizeof inf->bad.text, format, args);
    va_end(args);
    inf->bad.code = "E0332";
    inf->bad.input = input;
    snprintf(inf->bad.help, sizeof inf->bad.help,
             "dense reads all frames; mean(axis = time) and max(axis = time) make one image of them");
    return false;
}

/* An operator that sees images: what it makes of one frame, for each frame. */
static bool infer_frames(int op, Infer *inf) {
    enum { MOST = 256 };
    Shape image[MOST];
    const Shape *in = inf->in;
    int64_t frames = 0;
    for (int i = 0; i < inf->nin && i < MOST; i++) {
        image[i] = shape_clip(in[i], 1);
        int64_t f = shape_frames(&in[i]);
        if (f > 1 && frames && frames != f)
            return refuse(inf, i, "clips of %lld and of %lld frames", (long long)frames,
                          (long long)f);
        frames = f > 1 ? f : frames;
    }
    inf->in = image;
    bool good = op_def[op]->infer(inf);
    inf->in = in;
    for (int k = 0; good && !inf->unbatched && k < op_nout[op]; k++) {
        if (inf->out[k].rank == 0)
            return refuse(inf, 0, "takes one image, got a clip of %lld frames", (long long)frames);
        inf->out[k] = shape_clip(inf->out[k], frames);
    }
    return good;
}

bool op_infer(int op, Infer *inf) {
    memset(&inf->bad, 0, sizeof inf->bad);
    memset(&inf->warn, 0, sizeof inf->warn);
    inf->unbatched = false;
    inf->bad.attr = inf->bad.input = -1;
    for (int i = 0; i < inf->nin && !op_is(op, OPF_F); i++)
        if (shape_frames(&inf->in[i]) > 1)
            return infer_frames(op, inf);
    return op_def[op]->infer(inf);
}
