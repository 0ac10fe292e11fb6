/* ref_params.c: transposed convolution and arithmetic among parameters as loops in double
 * precision, and their cases (see ref_ops.h).
 *
 * Written from its definition: every input cell is spread over the output.  Nothing is shared with
 * the loops of convolution, whose adjoint the compiler makes of it.
 */
#include "ref_params.h"

#include <string.h>

#include "base/bug.h"
#include "ops/attrs.h"


static double *cell(const RefTensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    const int64_t *d = t->shape.dim;
    return &t->at[((n * d[0] + c) * d[1] + y) * d[2] + x];
}

/* ---- transposed convolution ---- */

static void spread(const RefCall *r, int64_t n, int64_t i, int64_t y, int64_t x) {
    const DeconvAttrs *a = r->attrs;
    const RefTensor *src = &r->in[0], *weights = &r->in[1];
    int64_t maps = a->maps / a->groups, part = i / (src->shape.dim[0] / a->groups);
    FOR(o, maps) FOR(ky, a->kernel[0]) FOR(kx, a->kernel[1]) {
        int64_t v = y * a->stride[0] + ky * a->dilation[0] - a->pad[0];
        int64_t u = x * a->stride[1] + kx * a->dilation[1] - a->pad[2];
        if (v < 0 || u < 0 || v >= r->out->shape.dim[1] || u >= r->out->shape.dim[2])
            continue;
        double w = weights->at[((i * maps + o) * a->kernel[0] + ky) * a->kernel[1] + kx];
        *cell(r->out, n, part * maps + o, v, u) += w * *cell(src, n, i, y, x);
    }
}

void ref_deconv(const RefCall *r) {
    const DeconvAttrs *a = r->attrs;
    const int64_t *s = r->in[0].shape.dim, *d = r->out->shape.dim;
    FOR(n, r->n) {
        FOR(o, d[0])
            FOR(y, d[1]) FOR(x, d[2]) * cell(r->out, n, o, y, x) = a->bias ? r->in[2].at[o] : 0;
        FOR(i, s[0]) FOR(y, s[1]) FOR(x, s[2]) spread(r, n, i, y, x);
    }
}

void ref_channel_add(const RefCall *r) {
    const Shape *s = &r->in[0].shape;
    int64_t cells = s->rank == 3 ? s->dim[1] * s->dim[2] : 1, channels = s->dim[0];
    FOR(i, ref_elems(r->out)) r->out->at[i] = r->in[0].at[i] + r->in[1].at[i / cells % channels];
}

typedef struct DeconvCase {
    const char *what;
    Shape src;
    DeconvAttrs a;
} DeconvCase;

#define DECONV(maps_, kh, kw, sh, sw, t, b, l, r, oh, ow, dh, dw, g, bias_)                        \
    {                                                                                              \
        .maps = maps_, .kernel = {kh, kw}, .stride = {sh, sw}, .pad = {t, b, l, r},                \
        .output_pad = {oh, ow}, .dilation = {dh, dw}, .groups = g, .bias = bias_                   \
    }

static const DeconvCase deconv_case[REF_DECONV_CASES] = {
    {"1x1 on one pixel", S3(1, 1, 1), DECONV(1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, true)},
    {"4x4 stride 2 pad 1 (doubles)", S3(3, 4, 5),
     DECONV(4, 4, 4, 2, 2, 1, 1, 1, 1, 0, 0, 1, 1, 1, true)},
    {"3x3 stride 2 pad 1 output_pad 1", S3(5, 3, 4),
     DECONV(2, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, false)},
    {"3x3 stride 1", S3(2, 5, 6), DECONV(3, 3, 3, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, true)},
    {"4x4 from a vector (DCGAN)", S3(20, 1, 1),
     DECONV(6, 4, 4, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, false)},
    {"8x8 stride 4 pad 2", S3(3, 3, 2), DECONV(3, 8, 8, 4, 4, 2, 2, 2, 2, 0, 0, 1, 1, 1, false)},
    {"2x2 stride 3x4 (gaps)", S3(2, 3, 3), DECONV(3, 2, 2, 3, 4, 0, 0, 0, 0, 2, 3, 1, 1, 1, true)},
    {"3x2 asymmetric pad 1 0 2 1", S3(2, 5, 4),
     DECONV(3, 3, 2, 1, 2, 1, 0, 2, 1, 0, 1, 1, 1, 1, true)},
    {"3x3 dilation 2", S3(2, 4, 5), DECONV(3, 3, 3, 1, 1, 2, 2, 2, 2, 0, 0, 2, 2, 1, true)},
    {"3x3 dilation 2x3 stride 2x3", S3(2, 4, 4),
     DECONV(2, 3, 3, 2, 3, 1, 2, 3, 0, 1, 2, 2, 3, 1, false)},
    {"groups 3 of 16 to 32", S3(48, 2, 2), DECONV(96, 2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 3, true)},
    {"groups 2 of 16 to 16", S3(32, 2, 3), DECONV(32, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 1, 1, 2, true)},
    {"17 maps of 19", S3(19, 3, 4), DECONV(17, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, true)},
    {"into an image, 5x5 stride 2", S3(16, 4, 5),
     DECONV(3, 5, 5, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, true)},
};

RefCase ref_deconv_case(Arena *keep, int op, int i) {
    const DeconvCase *c = &deconv_case[i];
    RefCase r = {.what = c->what, .nin = 2, .kind = {REF_DATA, REF_WEIGHT, REF_WEIGHT}};
    DeconvAttrs *a = ARENA_NEW(keep, DeconvAttrs);
    (void)op;
    *a = c->a;
    r.attrs = a;
    r.in[0] = c->src;
    r.in[1] = (Shape){4, {c->src.dim[0], c->a.maps / c->a.groups, c->a.kernel[0], c->a.kernel[1]}};
    if (a->bias)
        r.in[r.nin++] = (Shape){1, {a->maps}};
    return r;
}

/* ---- what has no images ---- */

void ref_vdense(const RefCall *r) {
    int64_t inputs = r->in[0].shape.dim[0];
    FOR(u, r->out->shape.dim[0]) {
        r->out->at[u] = r->nin > 2 ? r->in[2].at[u] : 0;
        FOR(i, inputs) r->out->at[u] += r->in[1].at[u * inputs + i] * r->in[0].at[i];
    }
}

void ref_vdense_bwd_data(const RefCall *r) {
    int64_t inputs = r->out->shape.dim[0];
    FOR(u, r->in[0].shape.dim[0])
    FOR(i, inputs) r->out->at[i] += r->in[1].at[u * inputs + i] * r->in[0].at[u];
}

void ref_vdense_bwd_weights(const RefCall *r) {
    int64_t inputs = r->in[0].shape.dim[0];
    FOR(u, r->in[1].shape.dim[0])
    FOR(i, inputs) r->out->at[u * inputs + i] = r->in[1].at[u] * r->in[0].at[i];
}

/* Numbers of the source in their order, each to where it goes. */
void ref_repack(const RefCall *r) {
    const RepackAttrs *a = r->attrs;
    int64_t d[4] = {1, 1, 1, 1};
    FOR(i, a->rank) d[i] = a->dim[i];
    bool turn = a->how == REPACK_TRANSPOSE, flip = a->how == REPACK_FLIP;
    int64_t outer = turn ? d[1] : d[0], inner = turn ? d[0] : d[1], from = 0;
    FOR(o, outer) FOR(i, inner) FOR(y, d[2]) FOR(x, d[3]) {
        int64_t row = turn ? i : o, column = turn ? o : i;
        int64_t v = flip ? d[2] - 1 - y : y, u = flip ? d[3] - 1 - x : x;
        r->out->at[((row * d[1] + column) * d[2] + v) * d[3] + u] = r->in[0].at[from++];
    }
}

RefCase ref_param_case(Arena *keep, int op, int i) {
    static const int64_t size[REF_PARAM_CASES][2] = {{1, 1},  {7, 5},  {16, 16}, {17, 33},
                                                     {40, 1}, {1, 20}, {33, 16}, {100, 70}};
    RefCase r = {.what = "vectors", .kind = {REF_WEIGHT, REF_WEIGHT, REF_WEIGHT}};
    Shape in = {1, {size[i][0]}}, out = {1, {size[i][1]}}, w = {2, {size[i][1], size[i][0]}};
    if (op == OP_VDENSE) {
        DenseAttrs *a = ARENA_NEW(keep, DenseAttrs);
        a->units = size[i][1];
        a->bias = i % 3 != 1;
        r.attrs = a;
        r.nin = a->bias ? 3 : 2;
        r.in[0] = in, r.in[1] = w, r.in[2] = out;
        return r;
    }
    r.nin = 2;
    r.in[0] = op == OP_VDENSE_BWD_DATA ? out : in;
    r.in[1] = op == OP_VDENSE_BWD_DATA ? w : out;
    return r;
}

RefCase ref_repack_case(Arena *keep, int op, int i) {
    static const Shape from[REF_REPACK_CASES] = {
        {1, {1}},          {1, {150}},        {2, {6, 25}}, {4, {5, 3, 3, 2}},  {2, {7, 18}},
        {4, {3, 4, 2, 5}}, {4, {4, 3, 2, 2}}, {2, {1, 33}}, {4, {17, 5, 1, 3}}, {4, {6, 4, 2, 2}}};
    static const RepackAttrs to[REF_REPACK_CASES] = {
        {{1, 1, 1, 1}, 4, REPACK_RESHAPE},    {{6, 1, 5, 5}, 4, REPACK_RESHAPE},
        {{6, 1, 5, 5}, 4, REPACK_RESHAPE},    {{5, 3, 3, 2}, 4, REPACK_FLIP},
        {{18, 7, 1, 1}, 2, REPACK_TRANSPOSE}, {{4, 3, 2, 5}, 4, REPACK_TRANSPOSE},
        {{12, 4, 1, 1}, 2, REPACK_TRANSPOSE}, {{33, 1, 1, 1}, 2, REPACK_TRANSPOSE},
        {{17, 5, 1, 3}, 4, REPACK_FLIP},      {{96, 1, 1, 1}, 1, REPACK_RESHAPE}};
    (void)keep, (void)op;
    return (RefCase){
        .what = "weights", .attrs = &to[i], .nin = 1, .kind = {REF_WEIGHT}, .in = {from[i]}};
}
