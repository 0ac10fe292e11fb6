/* facts.c: shapes, refusals, window arithmetic and graph building shared by the operator families.
 *
 * requires: attributes as the front end or graph_parse read them, possibly hostile numbers.
 * ensures: no arithmetic on sizes overflows; every refusal has a code, a text and, where one exists,
 * a way out; a window that discards real input cells leaves a warning.
 */
#include "ops/facts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"

/* ---- shapes ---- */

Shape shape_of0(void) { return (Shape){0, {0}}; }
Shape shape_of1(int64_t c) { return (Shape){1, {c}}; }
Shape shape_of2(int64_t o, int64_t i) { return (Shape){2, {o, i}}; }
Shape shape_of3(int64_t c, int64_t h, int64_t w) { return (Shape){3, {c, h, w}}; }
Shape shape_of4(int64_t o, int64_t i, int64_t h, int64_t w) { return (Shape){4, {o, i, h, w}}; }

bool shape_product(const Shape *s, int64_t *elems) {
    int64_t n = shape_frames(s);
    for (int d = 0; d < s->rank; d++)
        if (__builtin_mul_overflow(n, s->dim[d], &n) || n > LIMIT_ELEMENTS)
            return false;
    *elems = n;
    return true;
}

/* ---- infer ---- */

bool infer_fail(Infer *inf, const char *code, int attr, int input, const char *help,
                const char *format, ...) {
    va_list args;
    memset(&inf->bad, 0, sizeof inf->bad);
    inf->bad.code = code;
    inf->bad.attr = attr;
    inf->bad.input = input;
    va_start(args, format);
    vsnprintf(inf->bad.text, sizeof inf->bad.text, format, args);
    va_end(args);
    if (help)
        snprintf(inf->bad.help, sizeof inf->bad.help, "%s", help);
    return false;
}

bool infer_rank(Infer *inf, int input, int rank) {
    static const char *const want[] = {
        "one number per image", "a vector", "a matrix", "an image [channels, height, width]",
        "a tensor of rank 4", "a tensor of rank 5"};
    if (input >= inf->nin)
        return infer_fail(inf, "E0310", -1, input, NULL, "needs %d inputs, got %d", input + 1,
                          inf->nin);
    const Shape *s = &inf->in[input];
    char text[96];
    if (s->rank == rank)
        return true;
    shape_print(s, text, sizeof text);
    return infer_fail(inf, "E0304", -1, input,
                      rank == 3 && s->rank == 1 ? "a layer behind `dense` or `flatten` has no "
                                                  "height and width any more; move it before them"
                      : rank == 1 && s->rank == 3 ? "put `flatten` or `dense` in between"
                                                  : NULL,
                      "needs %s, got %s", want[rank], text);
}

static bool repeats(const Shape *big, const Shape *small) {
    int64_t b[3], s[3];
    if ((big->rank != 1 && big->rank != 3) || (small->rank != 1 && small->rank != 3) ||
        small->rank > big->rank)
        return false;
    shape_chw(big, &b[0], &b[1], &b[2]);
    shape_chw(small, &s[0], &s[1], &s[2]);
    for (int d = 0; d < 3; d++)
        if (s[d] != b[d] && s[d] != 1)
            return false;
    return true;
}

bool infer_repeated(Infer *inf, int i) {
    if (i < inf->nin && repeats(&inf->in[0], &inf->in[i]))
        return true;
    return infer_same(inf, i, "the inputs must have equal shapes");
}

bool infer_same(Infer *inf, int i, const char *what) {
    char a[96], b[96];
    if (i >= inf->nin)
        return infer_fail(inf, "E0310", -1, i, NULL, "needs %d inputs, got %d", i + 1, inf->nin);
    if (shape_equal(&inf->in[0], &inf->in[i]))
        return true;
    shape_print(&inf->in[0], a, sizeof a);
    shape_print(&inf->in[i], b, sizeof b);
    bool maps = inf->in[0].rank == 3 && inf->in[i].rank == 3;
    return infer_fail(inf, "E0332", -1, i,
                      maps ? "conv(maps, 1x1) changes the maps, pad or stride height and width" : NULL,
                      "%s: %s and %s differ", what, a, b);
}

bool infer_param(Infer *inf, int i, const char *what, Shape want, const Shape *split) {
    char a[96], b[96];
    if (i >= inf->nin || shape_equal(&inf->in[i], &want) ||
        (split && shape_equal(&inf->in[i], split)))
        return true;
    shape_print(&want, a, sizeof a);
    shape_print(&inf->in[i], b, sizeof b);
    return infer_fail(inf, "E0309", -1, i, NULL, "%s must be %s, got %s", what, a, b);
}

bool infer_out(Infer *inf, int k, Shape s, DType type) {
    int64_t elems;
    for (int d = 0; d < s.rank; d++)
        if (s.dim[d] < 1 || s.dim[d] > LIMIT_DIM)
            return infer_fail(inf, "E0305", -1, -1, NULL, "result extent %lld is out of range",
                              (long long)s.dim[d]);
    if (!shape_product(&s, &elems))
        return infer_fail(inf, "E0305", -1, -1, NULL, "the result has more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    inf->out[k] = s;
    inf->out_type[k] = type;
    return true;
}

/* ---- windows ---- */

static const char *const side_name[2] = {"row", "column"};

/* Ranges first, so that the arithmetic below cannot overflow. */
static bool window_ranges(Infer *inf, const WindowCheck *w) {
    for (int d = 0; d < 2; d++) {
        if (w->kernel[d] < 1 || w->kernel[d] > IMAGE_SIDE_MAX)
            return infer_fail(inf, "E0303", w->at_kernel, -1, NULL,
                              "kernel %lldx%lld: each side must be between 1 and %d",
                              (long long)w->kernel[0], (long long)w->kernel[1], IMAGE_SIDE_MAX);
        if (w->stride[d] < 1 || w->stride[d] > IMAGE_SIDE_MAX)
            return infer_fail(inf, "E0303", w->at_stride, -1,
                              "a window moves by at least one cell: stride = 1",
                              "stride %lldx%lld: each side must be between 1 and %d",
                              (long long)w->stride[0], (long long)w->stride[1], IMAGE_SIDE_MAX);
        if (w->dilation && (w->dilation[d] < 1 || w->dilation[d] > IMAGE_SIDE_MAX))
            return infer_fail(inf, "E0303", w->at_dilation, -1,
                              "dilation = 1 is the dense kernel",
                              "dilation %lldx%lld: each side must be between 1 and %d",
                              (long long)w->dilation[0], (long long)w->dilation[1],
                              IMAGE_SIDE_MAX);
        for (int side = 0; side < 2; side++)
            if (w->pad[2 * d + side] < 0 || w->pad[2 * d + side] > IMAGE_SIDE_MAX)
                return infer_fail(inf, "E0303", w->at_pad, -1, NULL,
                                  "pad %lld: must be between 0 and %d",
                                  (long long)w->pad[2 * d + side], IMAGE_SIDE_MAX);
    }
    return true;
}

static bool window_fits(Infer *inf, const WindowCheck *w, const int64_t in[2],
                        const int64_t span[2], const int64_t padded[2]) {
    char dilated[96] = "", help[160];
    if (span[0] <= padded[0] && span[1] <= padded[1])
        return true;
    if (span[0] != w->kernel[0] || span[1] != w->kernel[1])
        snprintf(dilated, sizeof dilated, " with dilation %lldx%lld spans %lldx%lld and",
                 (long long)w->dilation[0], (long long)w->dilation[1], (long long)span[0],
                 (long long)span[1]);
    int64_t lack0 = span[0] > padded[0] ? span[0] - padded[0] : 0;
    int64_t lack1 = span[1] > padded[1] ? span[1] - padded[1] : 0;
    int64_t lack = lack0 > lack1 ? lack0 : lack1;
    if (dilated[0])
        snprintf(help, sizeof help, "use a smaller dilation");
    else if (w->pool)
        snprintf(help, sizeof help, "the input is %lldx%lld here; remove a pool or a stride before",
                 (long long)in[0], (long long)in[1]);
    else
        snprintf(help, sizeof help, "a kernel up to %lldx%lld fits, or pad = %lld",
                 (long long)padded[0], (long long)padded[1],
                 (long long)(w->pad[0] + (lack + 1) / 2));
    infer_fail(inf, "E0301", w->at_kernel, -1, help,
               "kernel %lldx%lld%s exceeds the %sinput %lldx%lld", (long long)w->kernel[0],
               (long long)w->kernel[1], dilated,
               padded[0] != in[0] || padded[1] != in[1] ? "padded " : "", (long long)padded[0],
               (long long)padded[1]);
    if (!dilated[0])
        snprintf(inf->bad.fix, sizeof inf->bad.fix, "%lldx%lld",
                 (long long)(span[0] < padded[0] ? span[0] : padded[0]),
                 (long long)(span[1] < padded[1] ? span[1] : padded[1]));
    return false;
}

/* "(110 - 3) / 2 = 53.5" of dimension d */
static void window_division(char *buf, size_t n, const WindowCheck *w, int64_t padded, int64_t in,
                            int64_t span, int d) {
    char size[64];
    if (padded == in)
        snprintf(size, sizeof size, "%lld", (long long)in);
    else
        snprintf(size, sizeof size, "%lld + %lld", (long long)in, (long long)(padded - in));
    snprintf(buf, n, "(%s - %lld) / %lld = %.10g", size, (long long)span, (long long)w->stride[d],
             (double)(padded - span) / (double)w->stride[d]);
}

static void window_warn(Infer *inf, const WindowCheck *w, const int64_t in[2],
                        const int64_t span[2], const int64_t padded[2], const int64_t lost[2]) {
    char what[96] = "", division[128], up[64];
    size_t used = 0;
    int first = lost[0] ? 0 : 1;
    for (int d = 0; d < 2; d++)
        if (lost[d])
            used += (size_t)snprintf(what + used, sizeof what - used, "%s%lld %s%s",
                                     used ? " and " : "", (long long)lost[d], side_name[d],
                                     lost[d] > 1 ? "s" : "");
    window_division(division, sizeof division, w, padded[first], in[first], span[first], first);
    inf->warn.attr = w->at_stride;
    snprintf(inf->warn.text, sizeof inf->warn.text, "discards %s of real input: %s", what,
             division);
    if (!w->pool) {
        int64_t more = w->stride[first] - (padded[first] - span[first]) % w->stride[first];
        snprintf(inf->warn.help, sizeof inf->warn.help,
                 "%lld more %s%s of padding at the %s would use all of it, round = floor says that "
                 "the loss is meant",
                 (long long)more, side_name[first], more > 1 ? "s" : "",
                 first ? "right" : "bottom");
        return;
    }
    int64_t ceil_out[2] = {0, 0}, ignored = 0;
    for (int d = 0; d < 2; d++)
        window_extent(in[d], w->kernel[d], w->stride[d], w->pad[2 * d], w->pad[2 * d + 1], 1,
                      ROUND_CEIL, true, &ceil_out[d], &ignored);
    if (ceil_out[0] == ceil_out[1])
        snprintf(up, sizeof up, "%lld", (long long)ceil_out[0]);
    else
        snprintf(up, sizeof up, "%lldx%lld", (long long)ceil_out[0], (long long)ceil_out[1]);
    bool overlap3 = w->kernel[0] == 3 && w->stride[0] == 2;
    snprintf(inf->warn.help, sizeof inf->warn.help,
             "write round = ceil to get %s%s, or round = floor to silence this", up,
             overlap3 ? " (Zeiler-Fergus)" : "");
}

bool infer_window(Infer *inf, const WindowCheck *w, const int64_t in[2], int64_t out[2]) {
    int64_t span[2], padded[2], lost[2];
    if (!window_ranges(inf, w))
        return false;
    for (int d = 0; d < 2; d++) {
        int64_t dil = w->dilation ? w->dilation[d] : 1;
        span[d] = (w->kernel[d] - 1) * dil + 1;
        padded[d] = in[d] + w->pad[2 * d] + w->pad[2 * d + 1];
        if (w->pool && (w->pad[2 * d] >= w->kernel[d] || w->pad[2 * d + 1] >= w->kernel[d]))
            return infer_fail(inf, "E0307", w->at_pad, -1,
                              "padding must be smaller than the kernel",
                              "with pad %lld some windows of %lld cells would see padding only",
                              (long long)(w->pad[2 * d] > w->pad[2 * d + 1] ? w->pad[2 * d]
                                                                            : w->pad[2 * d + 1]),
                              (long long)w->kernel[d]);
    }
    if (!window_fits(inf, w, in, span, padded))
        return false;
    for (int d = 0; d < 2; d++) {
        int64_t dil = w->dilation ? w->dilation[d] : 1;
        if (w->round == ROUND_EXACT && (padded[d] - span[d]) % w->stride[d] != 0) {
            char division[128];
            window_division(division, sizeof division, w, padded[d], in[d], span[d], d);
            return infer_fail(inf, "E0306", w->at_round, -1,
                              "round = floor or round = ceil accept a remainder",
                              "the windows do not fit exactly: %s", division);
        }
        if (!window_extent(in[d], w->kernel[d], w->stride[d], w->pad[2 * d], w->pad[2 * d + 1], dil,
                           w->round, w->pool, &out[d], &lost[d]))
            return infer_fail(inf, "E0305", w->at_kernel, -1, NULL, "the window has no size here");
        /* Cells that the stride would skip between windows anyway are no accident. */
        if (lost[d] <= w->stride[d] - span[d])
            lost[d] = 0;
    }
    if (lost[0] > 0 || lost[1] > 0)
        window_warn(inf, w, in, span, padded, lost);
    return true;
}

/* ---- parameters ---- */

ParamSpec param_weight(const char *suffix, Shape shape, int64_t fan_in, int64_t fan_out) {
    double bound = sqrt(3.0 / (double)fan_in);
    return (ParamSpec){.suffix = suffix, .shape = shape, .split = shape, .fan_in = fan_in,
                       .fan_out = fan_out, .init = INIT_UNIFORM, .init_a = -bound,
                       .init_b = bound};
}

ParamSpec param_zero(const char *suffix, int64_t n) {
    return (ParamSpec){.suffix = suffix, .shape = shape_of1(n), .split = shape_of1(n), .fan_in = 1,
                       .fan_out = 1, .init = INIT_ZERO};
}

/* ---- vjp ---- */

ValueId vjp_op1(Vjp *v, int op, const void *attrs, ValueId a) {
    return graph_op(v->g, op, attrs, 1, &a);
}

ValueId vjp_op2(Vjp *v, int op, const void *attrs, ValueId a, ValueId b) {
    ValueId in[2] = {a, b};
    return graph_op(v->g, op, attrs, 2, in);
}

ValueId vjp_op3(Vjp *v, int op, const void *attrs, ValueId a, ValueId b, ValueId c) {
    ValueId in[3] = {a, b, c};
    return graph_op(v->g, op, attrs, 3, in);
}

ValueId vjp_transposed(Vjp *v, ValueId weights, int64_t groups) {
    if (v->transposed)
        return v->transposed(v, weights);
    TransposeWeightsAttrs attrs = {groups};
    return vjp_op1(v, OP_TRANSPOSE_WEIGHTS, &attrs, weights);
}

bool vjp_identity(Vjp *v) {
    v->dx[0] = v->dy[0];
    return true;
}

/* ---- flops ---- */

double value_elems(const Graph *g, ValueId v) {
    const Shape *s = &graph_v(g, v)->shape;
    double n = 1;
    for (int d = 0; d < s->rank; d++)
        n *= (double)s->dim[d];
    return n;
}

double out_elems(const Graph *g, NodeId n) { return value_elems(g, graph_n(g, n)->out[0]); }
double flops_out1(const Graph *g, NodeId n) { return out_elems(g, n); }
double flops_out2(const Graph *g, NodeId n) { return 2 * out_elems(g, n); }
double flops_out10(const Graph *g, NodeId n) { return 10 * out_elems(g, n); }

double flops_none(const Graph *g, NodeId n) {
    (void)g;
    (void)n;
    return 0;
}
