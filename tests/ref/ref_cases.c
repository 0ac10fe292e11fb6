/* ref_cases.c: the shapes every operator is tested with (see ref_cases.h). */
#include "ref_cases.h"

#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "ops/attrs.h"
#include "ref_algebra.h"
#include "ref_clip.h"
#include "ref_loss.h"
#include "ref_recur.h"
#include "ref_objective.h"
#include "ref_params.h"
#include "ref_window.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* ---- convolution ---- */

static const uint8_t table_link[4 * 3] = {1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1};
static const ConnTable table = {4, 3, table_link};

typedef struct ConvCase {
    const char *what;
    Shape src;
    ConvAttrs a;
} ConvCase;

#define CONV(maps_, kh, kw, sh, sw, t, b, l, r, dh, dw, g, bias_)                                  \
    {.maps = maps_, .kernel = {kh, kw}, .stride = {sh, sw}, .pad = {t, b, l, r},                   \
     .dilation = {dh, dw}, .groups = g, .bias = bias_}

static const ConvCase conv_case[] = {
    {"1x1 on one pixel", S3(1, 1, 1), CONV(1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, true)},
    {"3x3 pad 1", S3(3, 5, 6), CONV(4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, true)},
    {"5x5 without bias", S3(2, 7, 7), CONV(3, 5, 5, 1, 1, 0, 0, 0, 0, 1, 1, 1, false)},
    {"kernel as large as the input", S3(3, 4, 5), CONV(2, 4, 5, 1, 1, 0, 0, 0, 0, 1, 1, 1, true)},
    {"3x3 stride 2 pad 1, remainder", S3(2, 8, 9), CONV(5, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, true)},
    {"1x1 stride 3 (stride above kernel)", S3(4, 7, 8),
     CONV(3, 1, 1, 3, 3, 0, 0, 0, 0, 1, 1, 1, true)},
    {"2x2 stride 3x4", S3(2, 8, 10), CONV(3, 2, 2, 3, 4, 0, 0, 0, 0, 1, 1, 1, true)},
    {"3x2 asymmetric pad 2 0 1 3", S3(2, 5, 4), CONV(3, 3, 2, 1, 2, 2, 0, 1, 3, 1, 1, 1, true)},
    {"3x3 dilation 2", S3(2, 7, 8), CONV(3, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2, 1, true)},
    {"3x3 dilation 2x3 stride 2x3", S3(2, 9, 12), CONV(2, 3, 3, 2, 3, 1, 2, 3, 0, 2, 3, 1, false)},
    {"groups 2", S3(4, 5, 5), CONV(6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2, true)},
    {"depthwise", S3(5, 5, 4), CONV(5, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 5, true)},
    {"connection table", S3(3, 6, 6), CONV(4, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 1, true)},
    {"17 maps of 19", S3(19, 3, 4), CONV(17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, true)},
    {"pad larger than the kernel", S3(2, 3, 3), CONV(2, 2, 2, 2, 2, 3, 3, 3, 3, 1, 1, 1, true)},
    {"7x7 stride 2 pad 3 (a stem)", S3(3, 14, 13), CONV(4, 7, 7, 2, 2, 3, 3, 3, 3, 1, 1, 1, true)},
};
enum { CONV_TABLE_CASE = 12 };

static Shape conv_weight(const ConvCase *c) {
    return (Shape){4, {c->a.maps, c->src.dim[0] / c->a.groups, c->a.kernel[0], c->a.kernel[1]}};
}

static Shape conv_dst(const ConvCase *c) {
    Shape s = {3, {c->a.maps, 0, 0}};
    int64_t lost;
    for (int d = 0; d < 2; d++)
        if (!window_extent(c->src.dim[1 + d], c->a.kernel[d], c->a.stride[d], c->a.pad[2 * d],
                           c->a.pad[2 * d + 1], c->a.dilation[d], ROUND_FLOOR, false,
                           &s.dim[1 + d], &lost))
            BUG("case '%s' has no output", c->what);
    return s;
}

static void add_input(RefCase *c, RefInput kind, Shape s) {
    c->kind[c->nin] = kind;
    c->in[c->nin++] = s;
}

static RefCase conv_family(Arena *keep, int op, int i) {
    const ConvCase *c = &conv_case[i];
    RefCase r = {.what = c->what};
    ConvAttrs *a = ARENA_NEW(keep, ConvAttrs);
    *a = c->a;
    a->connect = i == CONV_TABLE_CASE ? &table : NULL;
    r.attrs = a;
    if (op == OP_CONV2D_BWD_DATA) {
        a->src_maps = c->src.dim[0];
        a->src_size[0] = c->src.dim[1];
        a->src_size[1] = c->src.dim[2];
        add_input(&r, REF_DATA, conv_dst(c));
    }
    if (op == OP_CONV2D || op == OP_CONV2D_BWD_WEIGHTS)
        add_input(&r, REF_DATA, c->src);
    if (op == OP_CONV2D || op == OP_CONV2D_BWD_DATA)
        add_input(&r, REF_WEIGHT, conv_weight(c));
    if (op == OP_CONV2D && a->bias)
        add_input(&r, REF_WEIGHT, (Shape)S1(a->maps));
    if (op == OP_CONV2D && a->connect)
        add_input(&r, REF_MASK, conv_weight(c));
    if (op == OP_CONV2D_BWD_WEIGHTS || op == OP_BIAS_GRAD)
        add_input(&r, REF_DATA, conv_dst(c));
    if (op == OP_BIAS_GRAD)
        r.attrs = NULL;
    if (op == OP_TRANSPOSE_WEIGHTS) {
        TransposeWeightsAttrs *t = ARENA_NEW(keep, TransposeWeightsAttrs);
        t->groups = c->a.groups;
        r.attrs = t;
        add_input(&r, REF_WEIGHT, conv_weight(c));
    }
    return r;
}

/* ---- dense, rbf ---- */

typedef struct DenseCase {
    const char *what;
    Shape src;
    int64_t units;
    bool bias;
} DenseCase;

static const DenseCase dense_case[] = {
    {"1 -> 1", S1(1), 1, true},
    {"7 -> 5", S1(7), 5, true},
    {"16 -> 16", S1(16), 16, true},
    {"17 -> 33", S1(17), 33, true},
    {"40 -> 1 without bias", S1(40), 1, false},
    {"1 -> 20", S1(1), 20, true},
    {"image 3x2x4 -> 6", S3(3, 2, 4), 6, true},
    {"image 1x1x1 -> 3", S3(1, 1, 1), 3, false},
    {"image 17x3x3 -> 10", S3(17, 3, 3), 10, true},
    {"image 20x1x1 -> 18", S3(20, 1, 1), 18, true},
};

static Shape dense_weight(const DenseCase *c) {
    if (c->src.rank == 3)
        return (Shape){4, {c->units, c->src.dim[0], c->src.dim[1], c->src.dim[2]}};
    return (Shape){2, {c->units, c->src.dim[0]}};
}

static RefCase dense_family(Arena *keep, int op, int i) {
    const DenseCase *c = &dense_case[i];
    RefCase r = {.what = c->what};
    DenseAttrs *a = ARENA_NEW(keep, DenseAttrs);
    *a = (DenseAttrs){.units = c->units, .bias = c->bias, .src_rank = c->src.rank};
    for (int d = 0; d < 3; d++)
        a->src_dim[d] = d < c->src.rank ? c->src.dim[d] : 1;
    r.attrs = a;
    if (op != OP_DENSE_BWD_DATA)
        add_input(&r, REF_DATA, c->src);
    if (op != OP_DENSE)
        add_input(&r, REF_DATA, (Shape)S1(c->units));
    if (op != OP_DENSE_BWD_WEIGHTS)
        add_input(&r, REF_WEIGHT, dense_weight(c));
    if (op == OP_DENSE && c->bias)
        add_input(&r, REF_WEIGHT, (Shape)S1(c->units));
    return r;
}

static const int64_t rbf_case[][2] = {/* features, units */
                                      {1, 1},  {84, 10}, {7, 3},  {16, 16},
                                      {17, 5}, {5, 17},  {33, 2}, {2, 33}};

static RefCase rbf_family(Arena *keep, int op, int i) {
    RefCase r = {.what = "features -> units"};
    RbfAttrs *a = ARENA_NEW(keep, RbfAttrs);
    a->units = rbf_case[i][1];
    r.attrs = a;
    if (op != OP_RBF)
        add_input(&r, REF_DATA, (Shape)S1(a->units));
    add_input(&r, REF_DATA, (Shape)S1(rbf_case[i][0]));
    add_input(&r, REF_WEIGHT, (Shape){2, {a->units, rbf_case[i][0]}});
    return r;
}

/* ---- pools ---- */

typedef struct PoolCase {
    const char *what;
    Shape src;
    PoolAttrs a;
} PoolCase;

#define POOL(kh, kw, sh, sw, t, b, l, r, mode, whole)                                              \
    {.kernel = {kh, kw}, .stride = {sh, sw}, .pad = {t, b, l, r}, .round = mode, .count_pad = whole}

static const PoolCase pool_case[] = {
    {"1x1 on one pixel", S3(1, 1, 1), POOL(1, 1, 1, 1, 0, 0, 0, 0, POOL_ROUND_FLOOR, false)},
    {"2x2", S3(3, 6, 8), POOL(2, 2, 2, 2, 0, 0, 0, 0, POOL_ROUND_EXACT, false)},
    {"2x2 with a remainder", S3(2, 7, 5), POOL(2, 2, 2, 2, 0, 0, 0, 0, POOL_ROUND_FLOOR, false)},
    {"3x3 stride 2, overlapping", S3(17, 7, 9),
     POOL(3, 3, 2, 2, 0, 0, 0, 0, POOL_ROUND_FLOOR, false)},
    {"3x3 stride 2, rounded up", S3(2, 8, 6), POOL(3, 3, 2, 2, 0, 0, 0, 0, POOL_ROUND_CEIL, false)},
    {"3x3 stride 2 pad 1, rounded up and clipped", S3(2, 7, 8),
     POOL(3, 3, 2, 2, 1, 1, 1, 1, POOL_ROUND_CEIL, false)},
    {"3x3 stride 1 pad 1, whole windows", S3(5, 4, 4),
     POOL(3, 3, 1, 1, 1, 1, 1, 1, POOL_ROUND_FLOOR, true)},
    {"2x3 asymmetric pad 1 0 2 1", S3(3, 5, 6),
     POOL(2, 3, 1, 2, 1, 0, 2, 1, POOL_ROUND_FLOOR, false)},
    {"stride above kernel", S3(2, 9, 8), POOL(2, 1, 3, 4, 0, 0, 0, 0, POOL_ROUND_FLOOR, false)},
    {"stride above kernel, rounded up", S3(2, 3, 6),
     POOL(1, 1, 3, 4, 0, 0, 0, 0, POOL_ROUND_CEIL, false)},
    {"the whole image", S3(20, 5, 7), POOL(5, 7, 5, 7, 0, 0, 0, 0, POOL_ROUND_FLOOR, false)},
};

static RefCase pool_family(Arena *keep, int op, int i) {
    static const RoundMode mode[] = {ROUND_FLOOR, ROUND_CEIL, ROUND_EXACT};
    const PoolCase *c = &pool_case[i];
    RefCase r = {.what = c->what, .limit = c->a.kernel[0] * c->a.kernel[1]};
    PoolAttrs *a = ARENA_NEW(keep, PoolAttrs);
    *a = c->a;
    r.attrs = a;
    Shape dst = c->src, map = S1(c->src.dim[0]);
    int64_t lost;
    for (int d = 0; d < 2; d++) {
        if (!window_extent(c->src.dim[1 + d], a->kernel[d], a->stride[d], a->pad[2 * d],
                           a->pad[2 * d + 1], 1, mode[a->round], true, &dst.dim[1 + d], &lost))
            BUG("case '%s' has no output", c->what);
        a->src_size[d] = c->src.dim[1 + d];
    }
    bool forward = op == OP_MAXPOOL || op == OP_AVGPOOL || op == OP_SUBSAMPLE;
    if (forward || op == OP_SUBSAMPLE_BWD_COEF)
        add_input(&r, REF_DATA, c->src);
    if (!forward)
        add_input(&r, REF_DATA, dst);
    if (op == OP_MAXPOOL_BWD)
        add_input(&r, REF_SWITCH, dst);
    if (op == OP_SUBSAMPLE || op == OP_SUBSAMPLE_BWD_DATA)
        add_input(&r, REF_WEIGHT, map);
    if (op == OP_SUBSAMPLE)
        add_input(&r, REF_WEIGHT, map);
    return r;
}

/* ---- normalisation ---- */

static const struct NormCase {
    const char *what;
    Shape src;
    NormAttrs a;
} norm_case[] = {
    {"one map", S3(1, 2, 3), {1, 1, 1, 0.5, 0, NORM_ACROSS, false}},
    {"AlexNet's constants", S3(9, 2, 3), {5, 2, 1e-4, 0.75, 0, NORM_ACROSS, false}},
    {"strong, per sum", S3(9, 3, 2), {5, 1, 0.7, 0.75, 0, NORM_ACROSS, false}},
    {"strong, per size", S3(9, 3, 2), {5, 1, 0.7, 0.75, 1, NORM_ACROSS, false}},
    {"window wider than the maps", S3(3, 2, 2), {7, 1, 1, 0.5, 1, NORM_ACROSS, false}},
    {"17 maps, window 3", S3(17, 1, 5), {3, 1, 0.5, 1, 0, NORM_ACROSS, false}},
    {"window 1", S3(4, 2, 2), {1, 0.5, 1, 0.5, 0, NORM_ACROSS, false}},
    {"33 maps, window 9", S3(33, 1, 1), {9, 2, 1, 0.75, 1, NORM_ACROSS, false}},
    {"beta 0", S3(6, 2, 1), {3, 1, 1, 0, 0, NORM_ACROSS, false}},
    /* within maps: lrn alone, its gradient goes through its parts */
    {"within, one cell", S3(3, 1, 1), {3, 1, 1, 0.75, 1, NORM_WITHIN, false}},
    {"within, Caffe's", S3(32, 7, 5), {3, 1, 5e-5, 0.75, 1, NORM_WITHIN, false}},
    {"within, strong, per size", S3(9, 4, 6), {3, 1, 2, 0.75, 1, NORM_WITHIN, false}},
    {"within, strong, per sum", S3(5, 6, 3), {5, 2, 0.3, 0.5, 0, NORM_WITHIN, false}},
    {"within, larger than the map", S3(17, 3, 2), {7, 0.5, 1, 1, 1, NORM_WITHIN, false}},
    {"within, window 1", S3(4, 3, 3), {1, 1, 0.5, 0.75, 0, NORM_WITHIN, false}},
    {"within, one row", S3(33, 1, 9), {5, 1, 1, 0.75, 0, NORM_WITHIN, false}},
    {"within, 16 maps", S3(16, 8, 8), {3, 1, 0.1, 2, 1, NORM_WITHIN, false}},
};
enum { NORM_WITHIN_CASES = 8 };

static RefCase norm_family(Arena *keep, int op, int i) {
    enum { ACROSS = COUNT(norm_case) - NORM_WITHIN_CASES };
    bool squares = op == OP_LRN_BWD && i >= ACROSS;
    i -= squares ? ACROSS : 0;
    NormAttrs *a = ARENA_NEW(keep, NormAttrs);
    *a = norm_case[i].a;
    a->squares = squares;
    RefCase r = {.what = norm_case[i].what, .attrs = a};
    add_input(&r, REF_DATA, norm_case[i].src);
    if (op == OP_LRN_BWD || op == OP_LCN_BWD)
        add_input(&r, REF_DATA, norm_case[i].src);
    return r;
}

/* ---- normalisation over the batch or over an image ---- */

static const Shape bn_src[] = {S3(1, 1, 2), S3(3, 4, 5),  S3(16, 3, 2), S3(17, 2, 5), S3(5, 1, 7),
                               S3(2, 9, 8), S3(1, 40, 9), S3(33, 1, 3), S1(1),        S1(10),
                               S1(16),      S1(37)};
enum { BN_IMAGES = 8 }; /* of these are images */

/* What an operator of the family reads: one letter per input, the data's first.  d data, c a number
 * per channel and image, w a parameter per channel, f one without a gradient. */
static const char *bn_inputs(int op, int i) {
    bool each = i % 2; /* of every image, as instancenorm has them; else of the batch */
    switch (op) {
    case OP_BN: return "dwwff";
    case OP_MOMENTS: return "d";
    case OP_INSTANCENORM: return "dww";
    case OP_BN_COMBINE: return "ccww";
    case OP_BN_SCALE: return each ? "ccww" : "wfww";
    case OP_BN_RUNNING: return "ww";
    case OP_SCALE_SHIFT: return each ? "dcc" : "dww";
    case OP_CHANNEL_ADD: return "dw";
    case OP_CHANNEL_MUL: return each ? "dc" : "dw";
    case OP_BN_BWD_SUMS: return each ? "ddcc" : "ddwf";
    case OP_BN_BWD_COEF: return each ? "ccccw" : "wwwfw";
    default: return each ? "ddccc" : "ddwww";
    }
}

static RefCase bn_family(Arena *keep, int op, int i) {
    RefCase r = {.what = "channels"};
    Shape s = bn_src[i];
    if (op_def[op]->attr_size > 0) {
        BnAttrs *a = ARENA_NEW(keep, BnAttrs);
        *a = (BnAttrs){.eps = i % 3 ? 1e-5 : 0.1, .momentum = i % 3 ? 0.1 : 0.3, .cells = i % 4};
        if (op == OP_BN_BWD_COEF)
            a->cells++;
        a->infer = op == OP_BN && i % 4 == 3;
        r.attrs = a;
    }
    for (const char *p = bn_inputs(op, i); *p; p++)
        add_input(&r, *p == 'w' ? REF_WEIGHT : *p == 'f' ? REF_FIXED : REF_DATA,
                  *p == 'd' ? s : (Shape)S1(s.dim[0]));
    return r;
}

/* ---- elementwise, softmax, moves ---- */

static const Shape any_shape[] = {S1(1),       S1(10),      S1(16),      S1(37),     S3(1, 1, 1),
                                  S3(3, 4, 5), S3(16, 3, 2), S3(17, 2, 5), S3(5, 1, 7)};

static const DropoutAttrs dropout_case[] = {
    {0.5, 0, 1, false}, {0.5, 1, 1, false}, {0.2, 0, 7, false}, {0, 0, 2, false},
    {0.5, 0, 1, true},  {0.4, 1, 1, true},  {0.9, 0, 3, false}, {0.3, 1, 9, false},
    {0.5, 0, 4, false}};

static RefCase map_family(Arena *keep, int op, int i) {
    RefCase r = {.what = "elementwise"};
    (void)keep;
    if (op == OP_DROPOUT || op == OP_DROPOUT_BWD)
        r.attrs = &dropout_case[i];
    for (int k = 0; k < op_nin[op]; k++)
        add_input(&r, REF_DATA, any_shape[i]);
    return r;
}

static RefCase loss_family(Arena *keep, int op, int i) {
    static const int64_t classes[] = {1, 2, 3, 10, 16, 17, 33, 100};
    static const double weight[] = {1, 1, 0.3, 1, 2, 1, 1, 0.5};
    RefCase r = {.what = "classes", .limit = classes[i]};
    LossAttrs *a = ARENA_NEW(keep, LossAttrs);
    (void)op;
    *a = (LossAttrs){.weight = weight[i], .j = i % 2 ? 0.1 : 3, .on = 1, .off = i % 2 ? 0 : -1};
    r.attrs = a;
    add_input(&r, REF_DATA, (Shape)S1(classes[i]));
    add_input(&r, REF_CLASS, (Shape)S0);
    return r;
}

static const Shape image_shape[] = {S3(1, 1, 1), S3(2, 1, 3),  S3(16, 2, 2), S3(17, 2, 3),
                                    S3(3, 5, 4), S3(33, 1, 1), S3(5, 6, 1),  S3(4, 3, 3)};

static RefCase move_family(Arena *keep, int op, int i) {
    RefCase r = {.what = "moves"};
    Shape s = image_shape[i];
    if (op == OP_UNFLATTEN) {
        UnflattenAttrs *a = ARENA_NEW(keep, UnflattenAttrs);
        memcpy(a->dim, s.dim, sizeof a->dim);
        r.attrs = a;
        s = (Shape)S1(s.dim[0] * s.dim[1] * s.dim[2]);
    }
    if (op == OP_SLICE) {
        SliceAttrs *a = ARENA_NEW(keep, SliceAttrs);
        a->from = s.dim[0] / 3;
        a->count = (s.dim[0] - a->from + 1) / 2;
        r.attrs = a;
    }
    add_input(&r, REF_DATA, s);
    return r;
}

/* Channels of up to four branches, and their common height and width (0: vectors). */
static const int64_t concat_case[][6] = {{1, 1, 0, 0, 2, 3},   {3, 4, 0, 0, 2, 2},
                                         {16, 16, 0, 0, 3, 1}, {5, 0, 0, 0, 2, 2},
                                         {1, 17, 2, 0, 2, 3},  {4, 6, 2, 3, 3, 3},
                                         {7, 9, 0, 0, 0, 0},   {16, 3, 16, 1, 0, 0}};

static RefCase concat_family(Arena *keep, int op, int i) {
    RefCase r = {.what = "branches"};
    const int64_t *c = concat_case[i];
    (void)keep, (void)op;
    for (int k = 0; k < 4 && c[k]; k++)
        add_input(&r, REF_DATA, c[4] ? (Shape)S3(c[k], c[4], c[5]) : (Shape)S1(c[k]));
    return r;
}

static RefCase sgd_family(Arena *keep, int op, int i) {
    static const Shape shape[] = {S1(1), S1(16), S1(37), {2, {5, 7}}, {2, {16, 16}},
                                  {4, {3, 2, 3, 3}}, {4, {17, 5, 1, 1}}, {4, {6, 1, 5, 5}}};
    RefCase r = {.what = "parameter"};
    SgdAttrs *a = ARENA_NEW(keep, SgdAttrs);
    *a = (SgdAttrs){.param = 0, .lr_mult = i % 3 ? 1 : 2, .decay_mult = i % 2, .eps = 0.1};
    a->nesterov = op == OP_SGD && i > 4;
    a->decoupled = op == OP_ADAM && i % 4 > 1;
    a->eps_inside = op == OP_RMSPROP && i % 4 > 1;
    a->clip = i == 2 || i == 5;
    a->coupled = (op == OP_SLBI || op == OP_SLBI_GROUPS) && i != 4;
    r.attrs = a;
    r.rounds = op != OP_SGD;
    add_input(&r, REF_WEIGHT, shape[i]);
    add_input(&r, REF_WEIGHT, shape[i]);
    add_input(&r, op == OP_RMSPROP || op == OP_SDLM ? REF_FIXED : REF_WEIGHT, shape[i]);
    return r;
}

static RefCase clip_family(Arena *keep, int op, int i) {
    static const Shape shape[] = {S1(1), S1(16), S1(37), {2, {5, 7}}, {2, {16, 16}},
                                  {4, {3, 2, 3, 3}}, {4, {17, 5, 1, 1}}, {4, {6, 1, 5, 5}}};
    RefCase r = {.what = "gradients"};
    if (op == OP_SQUARE_SUMS) {
        add_input(&r, REF_WEIGHT, shape[i]);
        return r;
    }
    ClipFactorAttrs *a = ARENA_NEW(keep, ClipFactorAttrs);
    a->partial = i % 3 == 0;
    r.attrs = a;
    r.rounds = !a->partial;
    for (int k = 0; k < 1 + i % 4; k++)
        add_input(&r, REF_FIXED, (Shape)S1(1 + 3 * i + k));
    return r;
}

/* ---- which family an operator belongs to ---- */

typedef RefCase (*Family)(Arena *keep, int op, int i);

static const struct {
    Family family;
    int count;
} family_of[OP_COUNT] = {
    [OP_LOAD_INPUT] = {move_family, COUNT(image_shape)},
    [OP_LOAD_SQUARE] = {move_family, COUNT(image_shape)},
    [OP_CONV2D] = {conv_family, COUNT(conv_case)},
    [OP_CONV2D_BWD_DATA] = {conv_family, COUNT(conv_case)},
    [OP_CONV2D_BWD_WEIGHTS] = {conv_family, COUNT(conv_case)},
    [OP_DECONV] = {ref_deconv_case, REF_DECONV_CASES},
    [OP_CHANNEL_ADD] = {bn_family, COUNT(bn_src)},
    [OP_VDENSE] = {ref_param_case, REF_PARAM_CASES},
    [OP_VDENSE_BWD_DATA] = {ref_param_case, REF_PARAM_CASES},
    [OP_VDENSE_BWD_WEIGHTS] = {ref_param_case, REF_PARAM_CASES},
    [OP_REPACK] = {ref_repack_case, REF_REPACK_CASES},
    [OP_DENSE] = {dense_family, COUNT(dense_case)},
    [OP_DENSE_BWD_DATA] = {dense_family, COUNT(dense_case)},
    [OP_DENSE_BWD_WEIGHTS] = {dense_family, COUNT(dense_case)},
    [OP_TRANSPOSE_WEIGHTS] = {conv_family, COUNT(conv_case)},
    [OP_BIAS_GRAD] = {conv_family, COUNT(conv_case)},
    [OP_SUBSAMPLE] = {pool_family, COUNT(pool_case)},
    [OP_SUBSAMPLE_BWD_DATA] = {pool_family, COUNT(pool_case)},
    [OP_SUBSAMPLE_BWD_COEF] = {pool_family, COUNT(pool_case)},
    [OP_MAXPOOL] = {pool_family, COUNT(pool_case)},
    [OP_MAXPOOL_BWD] = {pool_family, COUNT(pool_case)},
    [OP_AVGPOOL] = {pool_family, COUNT(pool_case)},
    [OP_AVGPOOL_BWD] = {pool_family, COUNT(pool_case)},
    [OP_LRN] = {norm_family, COUNT(norm_case)},
    [OP_LRN_BWD] = {norm_family, 2 * (COUNT(norm_case) - NORM_WITHIN_CASES)}, /* plain, squares */
    [OP_LCN] = {norm_family, COUNT(norm_case) - NORM_WITHIN_CASES},
    [OP_LCN_BWD] = {norm_family, COUNT(norm_case) - NORM_WITHIN_CASES},
    [OP_BN] = {bn_family, COUNT(bn_src)},
    [OP_INSTANCENORM] = {bn_family, BN_IMAGES},
    [OP_MOMENTS] = {bn_family, COUNT(bn_src)},
    [OP_BN_COMBINE] = {bn_family, COUNT(bn_src)},
    [OP_BN_SCALE] = {bn_family, COUNT(bn_src)},
    [OP_BN_RUNNING] = {bn_family, COUNT(bn_src)},
    [OP_SCALE_SHIFT] = {bn_family, COUNT(bn_src)},
    [OP_CHANNEL_MUL] = {bn_family, COUNT(bn_src)},
    [OP_BN_BWD_SUMS] = {bn_family, COUNT(bn_src)},
    [OP_BN_BWD_COEF] = {bn_family, COUNT(bn_src)},
    [OP_BN_BWD_DATA] = {bn_family, COUNT(bn_src)},
    [OP_RELU] = {map_family, COUNT(any_shape)},
    [OP_RELU_BWD] = {map_family, COUNT(any_shape)},
    [OP_TANH] = {map_family, COUNT(any_shape)},
    [OP_TANH_BWD] = {map_family, COUNT(any_shape)},
    [OP_STANH] = {map_family, COUNT(any_shape)},
    [OP_STANH_BWD] = {map_family, COUNT(any_shape)},
    [OP_SIGMOID] = {map_family, COUNT(any_shape)},
    [OP_SIGMOID_BWD] = {map_family, COUNT(any_shape)},
    [OP_DROPOUT] = {map_family, COUNT(any_shape)},
    [OP_DROPOUT_BWD] = {map_family, COUNT(any_shape)},
    [OP_LEAKY_RELU] = {ref_curve_case, REF_CURVE_CASES},
    [OP_LEAKY_RELU_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_PRELU] = {ref_curve_case, REF_CURVE_CASES},
    [OP_PRELU_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_ELU] = {ref_curve_case, REF_CURVE_CASES},
    [OP_ELU_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SOFTPLUS] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SOFTPLUS_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SWISH] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SWISH_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_GELU] = {ref_curve_case, REF_CURVE_CASES},
    [OP_GELU_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_ABS] = {ref_curve_case, REF_CURVE_CASES},
    [OP_ABS_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_NEG] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SCALE] = {ref_curve_case, REF_CURVE_CASES},
    [OP_CLIP] = {ref_curve_case, REF_CURVE_CASES},
    [OP_CLIP_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SQUARE] = {ref_curve_case, REF_CURVE_CASES},
    [OP_SQRT] = {ref_curve_case, REF_CURVE_CASES},
    [OP_EXP] = {ref_curve_case, REF_CURVE_CASES},
    [OP_LOG] = {ref_curve_case, REF_CURVE_CASES},
    [OP_POW] = {ref_curve_case, REF_CURVE_CASES},
    [OP_POW_BWD] = {ref_curve_case, REF_CURVE_CASES},
    [OP_ADD] = {ref_arith_case, REF_ARITH_CASES},
    [OP_MUL] = {ref_arith_case, REF_ARITH_CASES},
    [OP_SUB] = {ref_arith_case, REF_ARITH_CASES},
    [OP_DIV] = {ref_arith_case, REF_ARITH_CASES},
    [OP_MAXIMUM] = {ref_arith_case, REF_ARITH_CASES},
    [OP_MINIMUM] = {ref_arith_case, REF_ARITH_CASES},
    [OP_PASS_GE] = {ref_arith_case, REF_ARITH_CASES},
    [OP_PASS_LT] = {ref_arith_case, REF_ARITH_CASES},
    [OP_SUM_TO] = {ref_arith_case, REF_ARITH_CASES},
    [OP_SOFTMAX] = {map_family, COUNT(any_shape)},
    [OP_SOFTMAX_BWD] = {map_family, COUNT(any_shape)},
    [OP_FLATTEN] = {move_family, COUNT(image_shape)},
    [OP_UNFLATTEN] = {move_family, COUNT(image_shape)},
    [OP_CONCAT] = {concat_family, COUNT(concat_case)},
    [OP_SLICE] = {move_family, COUNT(image_shape)},
    [OP_LSTM] = {ref_recur_case, REF_RECUR_CASES},
    [OP_LSTM_SCAN] = {ref_recur_case, REF_RECUR_CASES},
    [OP_LSTM_SCAN_BWD] = {ref_recur_case, REF_RECUR_CASES},
    [OP_GRU] = {ref_recur_case, REF_GRU_CASES},
    [OP_GRU_SCAN] = {ref_recur_case, REF_GRU_CASES},
    [OP_GRU_SCAN_BWD] = {ref_recur_case, REF_GRU_CASES},
    [OP_RBF] = {rbf_family, COUNT(rbf_case)},
    [OP_RBF_BWD_DATA] = {rbf_family, COUNT(rbf_case)},
    [OP_RBF_BWD_CENTERS] = {rbf_family, COUNT(rbf_case)},
    [OP_CROSS_ENTROPY] = {ref_loss_case, REF_LOSS_CASES},
    [OP_CROSS_ENTROPY_BWD] = {ref_loss_case, REF_LOSS_CASES},
    [OP_MSE] = {ref_loss_case, REF_LOSS_CASES},
    [OP_MSE_BWD] = {ref_loss_case, REF_LOSS_CASES},
    [OP_MAE] = {ref_loss_case, REF_LOSS_CASES},
    [OP_ERROR_BWD] = {ref_loss_case, REF_LOSS_CASES},
    [OP_KL] = {ref_loss_case, 8},
    [OP_KL_BWD] = {ref_loss_case, 8},
    [OP_LOGISTIC] = {ref_loss_case, REF_LOSS_CASES},
    [OP_LOGISTIC_BWD] = {ref_loss_case, REF_LOSS_CASES},
    [OP_HINGE] = {ref_loss_case, REF_LOSS_CASES},
    [OP_HINGE_BWD] = {ref_loss_case, REF_LOSS_CASES},
    [OP_SOFT_THRESHOLD] = {ref_threshold_case, REF_THRESHOLD_CASES},
    [OP_HARD_THRESHOLD] = {ref_threshold_case, REF_THRESHOLD_CASES},
    [OP_THRESHOLD_BWD] = {ref_threshold_case, REF_THRESHOLD_CASES},
    [OP_LENET_MAP] = {loss_family, 8},
    [OP_LENET_MAP_BWD] = {loss_family, 8},
    [OP_GRAM] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_GRAM_BWD] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_TV] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_TV_BWD] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_ALPHA_NORM] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_ALPHA_NORM_BWD] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_PENALTY] = {ref_objective_case, REF_OBJECTIVE_CASES},
    [OP_SGD] = {sgd_family, 8},
    [OP_ADAM] = {sgd_family, 8},
    [OP_RMSPROP] = {sgd_family, 8},
    [OP_SDLM] = {sgd_family, 8},
    [OP_SLBI] = {sgd_family, 8},
    [OP_SLBI_GROUPS] = {sgd_family, 8},
    [OP_CURVATURE] = {sgd_family, 8},
    [OP_SQUARE_SUMS] = {clip_family, 8},
    [OP_CLIP_FACTOR] = {clip_family, 8},
};

/* Families of their own file need no rows above. */
int ref_case_count(int op) {
    int own = ref_clip_count(op);
    return family_of[op].count ? family_of[op].count : own ? own : ref_window_count(op);
}

RefCase ref_case(Arena *keep, int op, int i) {
    BUG_IF(i < 0 || i >= ref_case_count(op), "%s has no case %d", op_name[op], i);
    if (!family_of[op].count && ref_clip_count(op))
        return ref_clip_case(keep, op, i);
    if (!family_of[op].count)
        return ref_window_case(keep, op, i);
    return family_of[op].family(keep, op, i);
}

/* ---- graphs ---- */

ValueId ref_param(Graph *g, const char *name, Shape s) {
    ParamList *list = g->params;
    if (list->count == list->cap) {
        int cap = list->cap ? 2 * list->cap : 8;
        Param *at = ARENA_ARRAY(g->keep, cap, Param);
        if (list->count)
            memcpy(at, list->at, (size_t)list->count * sizeof *at);
        list->at = at;
        list->cap = cap;
    }
    int slot = list->count++;
    list->at[slot] = (Param){.name = name, .shape = s, .split = s, .lr_mult = 1, .decay_mult = 1,
                             .trainable = shape_elems(&s)};
    return graph_input(g, VK_PARAM, DT_F32, s, false, slot, name);
}

RefCaseGraph ref_case_graph(Arena *keep, int op, const RefCase *c) {
    RefCaseGraph r = {0};
    ParamList *params = ARENA_NEW(keep, ParamList);
    r.g = graph_new(keep, "case", op_name[op], params);
    for (int i = 0; i < c->nin; i++) {
        r.param[i] = -1;
        if (c->kind[i] == REF_CLASS) {
            r.in[i] = graph_input(r.g, VK_LABEL, DT_I32, c->in[i], true, 0, NULL);
        } else if (ref_unbatched(c->kind[i])) {
            r.param[i] = params->count;
            r.in[i] = ref_param(r.g, arena_printf(keep, "p%d", i), c->in[i]);
        } else {
            DType t = c->kind[i] == REF_SWITCH ? DT_U8 : DT_F32;
            r.in[i] = graph_input(r.g, VK_INPUT, t, c->in[i], true, i, NULL);
        }
    }
    r.node = graph_node(r.g, op, c->attrs, c->nin, r.in);
    return r;
}

/* ---- numbers ---- */

/* Marsaglia's xorshift32 */
uint32_t ref_random(uint32_t *state) {
    uint32_t x = *state ? *state : 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

void ref_fill_distinct(double *at, int64_t n, double reach, uint32_t seed) {
    uint32_t state = seed * 2654435761u + 1;
    double gap = 2 * reach / (double)n;
    /* An odd count would put one number exactly at 0: shift by a quarter gap. */
    for (int64_t i = 0; i < n; i++)
        at[i] = ((double)i + (n % 2 ? 0.25 : 0.5)) * gap - reach;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)(ref_random(&state) % (uint32_t)(i + 1));
        double swap = at[i];
        at[i] = at[j];
        at[j] = swap;
    }
}

void ref_fill_positive(double *at, int64_t n, uint32_t seed) {
    ref_fill_distinct(at, n, 0.5, seed);
    for (int64_t i = 0; i < n; i++)
        at[i] += 1;
}

void ref_fill_int(double *at, int64_t n, int lo, int hi, uint32_t seed) {
    uint32_t state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++)
        at[i] = lo + (int)((ref_random(&state) >> 8) % (uint32_t)(hi - lo + 1));
}

/* ---- reverse mode ---- */

static void accumulate(Graph *g, ValueId *diff, ValueId v, ValueId dx) {
    ValueId in[2] = {diff[v], dx};
    if (dx)
        diff[v] = diff[v] ? graph_op(g, OP_ADD, NULL, 2, in) : dx;
}

bool ref_backward(Graph *g, ValueId top, ValueId dy, Rule rule, ValueId *diff, size_t ndiff) {
    NodeId last = graph_v(g, top)->def;
    memset(diff, 0, ndiff * sizeof *diff);
    diff[top] = dy;
    for (NodeId n = last; n >= 1; n--) {
        Node node = *graph_n(g, n);
        ValueId signal[4] = {0}, dx[256] = {0};
        bool need[256], live = n == last;
        for (int k = 0; k < node.nout; k++) {
            BUG_IF(node.out[k] >= ndiff, "diff is too small");
            signal[k] = node.out[k] ? diff[node.out[k]] : 0;
            live |= signal[k] != 0;
        }
        if (!live || node.op == OP_LOAD_INPUT)
            continue;
        for (int i = 0; i < node.nin; i++) {
            const Value *x = graph_v(g, node.in[i]);
            need[i] = x->dtype == DT_F32 && x->kind != VK_LABEL &&
                      (x->kind != VK_PARAM || rule == RULE_TRAIN);
        }
        Vjp v = {.g = g, .node = n, .rule = rule, .dy = signal, .need = need, .dx = dx};
        if (!op_def[node.op]->vjp || !op_def[node.op]->vjp(&v))
            return false;
        for (int i = 0; i < node.nin; i++)
            accumulate(g, diff, node.in[i], dx[i]);
    }
    return true;
}
