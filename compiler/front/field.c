/* field.c: receptive fields, and the rows of the layer table.
 *
 * A field is the part of the image that one output cell sees: size += (k - 1) * jump, jump *=
 * stride, start -= pad * jump.  Where branches meet, the largest field counts. theory: Araujo,
 * Norris, Sim, "Computing receptive fields of convolutional neural networks", Distill 2019,
 * equations (2) to (5); the same recursion as in Dumoulin and Visin 2016.
 */
#include <string.h>

#include "front/sema.h"

enum { DETAIL_MAX = 60 };

static Field join(const Field *a, const Field *c) {
    Field f = *a;
    f.all = a->all || c->all;
    for (int d = 0; d < 2; d++) {
        if (c->size[d] > f.size[d])
            f.size[d] = c->size[d];
        if (c->jump[d] > f.jump[d])
            f.jump[d] = c->jump[d];
        if (c->start[d] < f.start[d])
            f.start[d] = c->start[d];
    }
    return f;
}

/* A transposed window: cell u of the output reads the cells x with pad + u - kernel < stride * x <=
 * pad + u; the first one's field begins where u = 0 may begin. */
static void spread(Field *f, const int64_t kernel[2], const int64_t stride[2],
                   const int64_t pad[4]) {
    for (int d = 0; d < 2; d++) {
        int64_t reads = (kernel[d] + stride[d] - 1) / stride[d], grow, back;
        int64_t first = pad[2 * d] - kernel[d] + 1; /* round up: towards zero if negative */
        first = first > 0 ? (first + stride[d] - 1) / stride[d] : -(-first / stride[d]);
        if (__builtin_mul_overflow(reads - 1, f->jump[d], &grow) ||
            __builtin_add_overflow(f->size[d], grow, &f->size[d]))
            f->size[d] = INT64_MAX / 4;
        if (__builtin_mul_overflow(first, f->jump[d], &back) ||
            __builtin_add_overflow(f->start[d], back, &f->start[d]))
            f->start[d] = -INT64_MAX / 4;
        f->jump[d] = f->jump[d] > stride[d] ? f->jump[d] / stride[d] : 1;
    }
}

void field_of(Build *b, Tensor *out, int op, const void *attrs) {
    int64_t kernel[2], stride[2], pad[4];
    Field f = {{1, 1}, {1, 1}, {0, 0}, false};
    (void)b;
    for (int i = 0; i < out->nin; i++)
        if (out->in[i]->kind != TENSOR_CLASS)
            f = i ? join(&f, &out->in[i]->field) : out->in[i]->field;
    if (op_def[op]->sees_all || op == OP_DENSE || (op == OP_FLATTEN && out->in[0]->shape.rank == 3))
        f.all = true;
    if (op_def[op]->spreads && op_def[op]->window(attrs, kernel, stride, pad)) {
        spread(&f, kernel, stride, pad);
        out->field = f;
        return;
    }
    if (op_def[op]->window && op_def[op]->window(attrs, kernel, stride, pad))
        for (int d = 0; d < 2; d++) {
            int64_t grow, back;
            /* A hostile stack of strides saturates instead of overflowing. */
            if (__builtin_mul_overflow(kernel[d] - 1, f.jump[d], &grow) ||
                __builtin_add_overflow(f.size[d], grow, &f.size[d]))
                f.size[d] = INT64_MAX / 4;
            if (__builtin_mul_overflow(pad[2 * d], f.jump[d], &back) ||
                __builtin_sub_overflow(f.start[d], back, &f.start[d]))
                f.start[d] = -INT64_MAX / 4;
            if (__builtin_mul_overflow(f.jump[d], stride[d], &f.jump[d]))
                f.jump[d] = INT64_MAX / 4;
        }
    out->field = f;
}

static double pixels(const Shape *s) {
    int64_t c, h, w;
    shape_chw(s, &c, &h, &w);
    return (double)h * (double)w * (double)shape_frames(s);
}

/* Where t comes from: a row, -1 - k for input k; false: from parameters alone. */
static bool row_of(const Build *b, const Tensor *t, int *row) {
    while (t->row == 0 && t->kind == TENSOR_LAYER && t->nin > 0)
        t = t->in[0]; /* what has no row of its own: frames of a clip */
    *row = t->row - 1;
    for (int k = 0; t->kind == TENSOR_IMAGE && k < b->m->ninputs; k++)
        if (eq(b->m->input[k].name, t->name))
            *row = -1 - k;
    return t->row > 0 || t->kind == TENSOR_IMAGE;
}

static void row_inputs(Build *b, ModelLayer *row, const Tensor *out, const LayerParams *params) {
    int *in = ARENA_ARRAY(b->arena, out->nin + 1, int);
    for (int i = 0; i <= out->nin; i++) {
        const Tensor *t = i < out->nin ? out->in[i] : params ? params->made : NULL;
        int known = 0;
        if (!t || !row_of(b, t, &in[row->nin]))
            continue;
        while (in[known] != in[row->nin])
            known++;
        row->nin += known == row->nin;
    }
    row->in = in;
}

void row_add(Build *b, int op, Tensor *out, const Naming *naming, const void *attrs,
             const LayerParams *params, LocRange loc) {
    const char *detail = line_text(b->arena, attr_detail(b->arena, op, attrs),
                                   out->line || (out->nin && out->in[0]->line));
    Tensor *in = out->nin ? out->in[0] : NULL;
    ModelLayer *last = b->rows.len ? &vec_last(&b->rows) : NULL;
    bool joins = out->nin != 1 || op_is(op, OPF_P | OPF_W);
    bool behind = last && in && in->row == b->rows.len;
    bool same = behind && (eq(last->label, naming->row) || shape_equal(&last->out, &out->shape));
    if (!joins && !naming->starts_row && same) { /* others would hide the layer's own shape */
        size_t n = strlen(last->detail);
        if (n < DETAIL_MAX)
            last->detail = arena_printf(b->arena, "%s + %s", last->detail, detail);
        else if (!strstr(last->detail, " + .."))
            last->detail = arena_printf(b->arena, "%s + ..", last->detail);
        last->out = out->shape;
        last->line = out->line;
        last->field = out->field;
        out->row = b->rows.len;
        return;
    }
    bool follows = last && eq(last->label, naming->row);
    ModelLayer *row = vec_add(b->arena, &b->rows);
    row->label = naming->row;
    row->op = op_name[op];
    row->detail = detail;
    row->follows = follows;
    row->out = out->shape;
    row->line = out->line;
    row->field = out->field;
    row->loc = loc;
    row_inputs(b, row, out, params);
    if (params) {
        row->params = params->count;
        for (int i = 0; i < params->n; i++)
            if (!b->m->params.at[params->index[i]].frozen)
                row->trainable += b->m->params.at[params->index[i]].trainable;
        if (op_def[op]->spreads || op_def[op]->recurrent) /* every input cell meets every weight */
            row->macs = (double)params->weights * pixels(&in->shape);
        else if (!op_def[op]->expand) /* a normalisation's line per channel joins its producer */
            row->macs = (double)params->weights * pixels(&out->shape);
    }
    out->row = b->rows.len;
}
