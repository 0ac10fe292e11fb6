/* test_ops_infer.c: what operators say about shapes: sizes, refusals, warnings, parameters, halos.
 *
 * Parameter counts and receptive fields of the published networks are exact equality tests; the
 * texts are part of the language (LANGUAGE.md).
 */
#include <string.h>

#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

#define S1(c) {1, {c}}
#define S3(c, h, w) {3, {c, h, w}}

static Infer infer(int op, const void *attrs, int nin, const Shape *in) {
    Infer inf = {.attrs = attrs, .nin = nin, .in = in};
    bool ok = op_infer(op, &inf);
    CU_ASSERT_EQUAL(ok, inf.bad.code == NULL);
    return inf;
}

static ConvAttrs conv(int64_t maps, int64_t k, int64_t s, int64_t p) {
    return (ConvAttrs){.maps = maps, .kernel = {k, k}, .stride = {s, s}, .pad = {p, p, p, p},
                       .dilation = {1, 1}, .groups = 1, .bias = true};
}

static PoolAttrs pool(int64_t k, int64_t s, int64_t p, int round) {
    return (PoolAttrs){.kernel = {k, k}, .stride = {s, s}, .pad = {p, p, p, p}, .round = round};
}

static int64_t conv_size(int64_t in, int64_t k, int64_t s, int64_t p) {
    ConvAttrs a = conv(8, k, s, p);
    return infer(OP_CONV2D, &a, 1, &(Shape)S3(3, in, in)).out[0].dim[1];
}

static int64_t pool_size(int64_t in, int64_t k, int64_t s, int64_t p, int round) {
    PoolAttrs a = pool(k, s, p, round);
    return infer(OP_MAXPOOL, &a, 1, &(Shape)S3(3, in, in)).out[0].dim[2];
}

/* ---- sizes of the published networks ---- */

static void published_sizes(void) {
    CU_ASSERT_EQUAL(conv_size(32, 5, 1, 0), 28); /* LeNet C1 */
    CU_ASSERT_EQUAL(conv_size(224, 7, 2, 1), 110); /* Zeiler-Fergus: 110 55 26 13 13 13 13 6 */
    CU_ASSERT_EQUAL(pool_size(110, 3, 2, 0, POOL_ROUND_CEIL), 55);
    CU_ASSERT_EQUAL(pool_size(110, 3, 2, 1, POOL_ROUND_FLOOR), 55);
    CU_ASSERT_EQUAL(conv_size(55, 5, 2, 0), 26);
    CU_ASSERT_EQUAL(pool_size(26, 3, 2, 0, POOL_ROUND_CEIL), 13);
    CU_ASSERT_EQUAL(conv_size(13, 3, 1, 1), 13);
    CU_ASSERT_EQUAL(pool_size(13, 3, 2, 0, POOL_ROUND_FLOOR), 6);
    CU_ASSERT_EQUAL(conv_size(227, 11, 4, 0), 55); /* AlexNet */
    CU_ASSERT_EQUAL(conv_size(224, 11, 4, 2), 55);
    CU_ASSERT_EQUAL(conv_size(224, 7, 2, 3), 112); /* ResNet stem */
    CU_ASSERT_EQUAL(pool_size(112, 3, 2, 1, POOL_ROUND_FLOOR), 56);
    CU_ASSERT_EQUAL(pool_size(112, 3, 2, 0, POOL_ROUND_CEIL), 56); /* GoogLeNet */
    CU_ASSERT_EQUAL(conv_size(89, 11, 3, 0), 27); /* two-stream: 27 14 7 */
    CU_ASSERT_EQUAL(pool_size(27, 2, 2, 0, POOL_ROUND_CEIL), 14);
    /* Caffe's clip: a rounded-up window that would start beyond the image does not exist */
    CU_ASSERT_EQUAL(pool_size(4, 2, 2, 1, POOL_ROUND_CEIL), 3);
    CU_ASSERT_EQUAL(pool_size(5, 2, 2, 1, POOL_ROUND_CEIL), 3);
    CU_ASSERT_EQUAL(pool_size(3, 1, 3, 0, POOL_ROUND_CEIL), 1);
}

/* ---- parameters ---- */

static int64_t count(int op, const void *attrs, Shape in) {
    ParamSpec spec[4];
    int64_t sum = 0;
    int n = op_def[op]->params(attrs, &in, spec);
    for (int i = 0; i < n; i++) {
        CU_ASSERT_EQUAL(shape_elems(&spec[i].shape), shape_elems(&spec[i].split));
        sum += shape_elems(&spec[i].shape);
    }
    return sum;
}

static int64_t conv_count(int64_t in, int64_t maps, int64_t k, int64_t groups) {
    ConvAttrs a = conv(maps, k, 1, 0);
    a.groups = groups;
    return count(OP_CONV2D, &a, (Shape)S3(in, 64, 64));
}

static int64_t dense_count(Shape in, int64_t units) {
    DenseAttrs a = {.units = units, .bias = true};
    return count(OP_DENSE, &a, in);
}

static const char *const lenet_c3[16] = {
    "012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125",
    "0134", "1245", "0235", "012345"};

static ConnTable lenet_table(uint8_t link[16 * 6]) {
    memset(link, 0, 16 * 6);
    for (int o = 0; o < 16; o++)
        for (const char *p = lenet_c3[o]; *p; p++)
            link[o * 6 + (*p - '0')] = 1;
    return (ConnTable){16, 6, link};
}

static void lenet_has_60000_parameters(void) {
    uint8_t link[16 * 6];
    ConnTable table = lenet_table(link);
    PoolAttrs s = pool(2, 2, 0, 0);
    RbfAttrs rbf = {10};
    ConvAttrs c3 = conv(16, 5, 1, 0);
    c3.connect = &table;
    int64_t links = 0;
    for (int i = 0; i < 96; i++)
        links += link[i];
    int64_t c3_count = links * 25 + 16; /* the hook counts places, the mask real weights */
    int64_t c1 = conv_count(1, 6, 5, 1), s2 = count(OP_SUBSAMPLE, &s, (Shape)S3(6, 28, 28));
    int64_t s4 = count(OP_SUBSAMPLE, &s, (Shape)S3(16, 10, 10)), c5 = conv_count(16, 120, 5, 1);
    int64_t f6 = dense_count((Shape)S3(120, 1, 1), 84);
    CU_ASSERT_EQUAL(links, 60);
    CU_ASSERT_EQUAL(c1, 156);
    CU_ASSERT_EQUAL(s2, 12);
    CU_ASSERT_EQUAL(c3_count, 1516);
    CU_ASSERT_EQUAL(count(OP_CONV2D, &c3, (Shape)S3(6, 14, 14)), 16 * 6 * 25 + 16);
    CU_ASSERT_EQUAL(s4, 32);
    CU_ASSERT_EQUAL(c5, 48120);
    CU_ASSERT_EQUAL(f6, 10164);
    CU_ASSERT_EQUAL(c1 + s2 + c3_count + s4 + c5 + f6, 60000);
    CU_ASSERT_EQUAL(count(OP_RBF, &rbf, (Shape)S1(84)), 840);
    /* the modern variant: max pools, full C3 */
    CU_ASSERT_EQUAL(c1 + conv_count(6, 16, 5, 1) + c5 + f6 + dense_count((Shape)S1(84), 10),
                    61706);
}

static void zeiler_fergus_and_alexnet_parameters(void) {
    int64_t zf = conv_count(3, 96, 7, 1) + conv_count(96, 256, 5, 1) + conv_count(256, 384, 3, 1) +
                 conv_count(384, 384, 3, 1) + conv_count(384, 256, 3, 1);
    int64_t fc = dense_count((Shape)S3(256, 6, 6), 4096) + dense_count((Shape)S1(4096), 4096) +
                 dense_count((Shape)S1(4096), 1000);
    CU_ASSERT_EQUAL(zf + fc, 62357608);
    int64_t alex = conv_count(3, 96, 11, 1) + conv_count(96, 256, 5, 2) +
                   conv_count(256, 384, 3, 1) + conv_count(384, 384, 3, 2) +
                   conv_count(384, 256, 3, 2);
    CU_ASSERT_EQUAL(alex + fc, 60965224);
}

static void parameter_order_and_defaults(void) {
    ParamSpec p[4];
    ConvAttrs c = conv(16, 5, 1, 0);
    DenseAttrs d = {.units = 7, .bias = false};
    PoolAttrs s = pool(2, 2, 0, 0);
    RbfAttrs rbf = {10};
    uint8_t link[16 * 6];
    ConnTable table = lenet_table(link);
    c.connect = &table;
    CU_ASSERT_EQUAL(op_def[OP_CONV2D]->params(&c, &(Shape)S3(6, 14, 14), p), 2);
    CU_ASSERT_STRING_EQUAL(p[0].suffix, "weight");
    CU_ASSERT_STRING_EQUAL(p[1].suffix, "bias");
    CU_ASSERT_EQUAL(p[0].fan_in, 94); /* 60 links * 25 / 16 maps = 93.75 */
    CU_ASSERT_EQUAL(p[0].init, INIT_UNIFORM);
    CU_ASSERT_DOUBLE_EQUAL(p[0].init_b * p[0].init_b * 94, 3, 1e-12);
    CU_ASSERT_EQUAL(p[1].init, INIT_ZERO);
    CU_ASSERT_EQUAL(op_def[OP_DENSE]->params(&d, &(Shape)S3(3, 4, 5), p), 1);
    CU_ASSERT(shape_equal(&p[0].shape, &(Shape){2, {7, 60}}));
    CU_ASSERT(shape_equal(&p[0].split, &(Shape){4, {7, 3, 4, 5}}));
    CU_ASSERT_EQUAL(p[0].fan_in, 60);
    CU_ASSERT_EQUAL(op_def[OP_SUBSAMPLE]->params(&s, &(Shape)S3(6, 28, 28), p), 2);
    CU_ASSERT_STRING_EQUAL(p[0].suffix, "coefficient");
    CU_ASSERT(p[0].init == INIT_FILL && p[0].init_a == 0.25 && p[0].fan_in == 4);
    CU_ASSERT_EQUAL(op_def[OP_RBF]->params(&rbf, &(Shape)S1(84), p), 1);
    CU_ASSERT_STRING_EQUAL(p[0].suffix, "centers");
    CU_ASSERT(p[0].frozen);
}

/* ---- refusals ---- */

static void refuses(int op, const void *attrs, int nin, const Shape *in, const char *code,
                    const char *text, const char *help) {
    Infer inf = {.attrs = attrs, .nin = nin, .in = in};
    bool refused = !op_infer(op, &inf);
    CU_ASSERT(refused);
    if (!refused)
        return;
    bool same = strcmp(inf.bad.code, code) == 0 && strcmp(inf.bad.text, text) == 0 &&
                strcmp(inf.bad.help, help) == 0;
    if (!same)
        printf("  got %s: %s\n       help: %s\n", inf.bad.code, inf.bad.text, inf.bad.help);
    CU_ASSERT(same);
}

static void conv_refusals(void) {
    Shape img = S3(3, 5, 5);
    ConvAttrs a = conv(8, 7, 1, 0);
    refuses(OP_CONV2D, &a, 1, &img, "E0301", "kernel 7x7 exceeds the input 5x5",
            "a kernel up to 5x5 fits, or pad = 1");
    a = conv(8, 9, 1, 1);
    refuses(OP_CONV2D, &a, 1, &img, "E0301", "kernel 9x9 exceeds the padded input 7x7",
            "a kernel up to 7x7 fits, or pad = 2");
    a = conv(8, 3, 1, 0);
    a.dilation[0] = a.dilation[1] = 3;
    refuses(OP_CONV2D, &a, 1, &img, "E0301",
            "kernel 3x3 with dilation 3x3 spans 7x7 and exceeds the input 5x5",
            "use a smaller dilation");
    a = conv(8, 3, 0, 0);
    refuses(OP_CONV2D, &a, 1, &img, "E0303", "stride 0x0: each side must be between 1 and 65535",
            "a window moves by at least one cell: stride = 1");
    a = conv(8, 3, 1, -1);
    refuses(OP_CONV2D, &a, 1, &img, "E0303", "pad -1: must be between 0 and 65535", "");
    a = conv(8, 3, 1, 0);
    a.groups = 2;
    refuses(OP_CONV2D, &a, 1, &img, "E0302", "groups 2 do not divide the 3 input maps",
            "groups that divide both: 1");
}

static void more_refusals(void) {
    Shape img = S3(12, 5, 5), vec = S1(84);
    ConvAttrs a = conv(18, 3, 1, 0);
    a.groups = 4;
    refuses(OP_CONV2D, &a, 1, &img, "E0302", "groups 4 do not divide the 18 output maps",
            "groups that divide both: 1, 2, 3, 6");
    a = conv(8, 3, 1, 0);
    refuses(OP_CONV2D, &a, 1, &vec, "E0304", "needs an image [channels, height, width], got 84",
            "a layer behind `dense` or `flatten` has no height and width any more; move it before "
            "them");
    a = conv(INT64_C(2000000000), 3, 1, 1);
    refuses(OP_CONV2D, &a, 1, &(Shape)S3(2000, 100, 100), "E0305",
            "the weights would have more than 1099511627776 elements", "");
    a = conv(INT64_MAX, 3, 1, 1);
    refuses(OP_CONV2D, &a, 1, &img, "E0303",
            "9223372036854775807 maps: must be between 1 and 2147483647", "");
    a = conv(2000000000, 1, 1, 0);
    refuses(OP_CONV2D, &a, 1, &(Shape)S3(1, 3000, 3000), "E0305",
            "the result has more than 1099511627776 elements", "");
    uint8_t link[16 * 6];
    ConnTable table = lenet_table(link);
    a = conv(15, 5, 1, 0);
    a.connect = &table;
    refuses(OP_CONV2D, &a, 1, &(Shape)S3(6, 14, 14), "E0308",
            "the connection table has 16 rows for 15 output maps", "one list per output map");
    a.maps = 16;
    refuses(OP_CONV2D, &a, 1, &(Shape)S3(5, 14, 14), "E0308",
            "the connection table is for 6 input maps, the input has 5", "");
    memset(link + 3 * 6, 0, 6);
    refuses(OP_CONV2D, &a, 1, &(Shape)S3(6, 14, 14), "E0308", "output map 3 reads no input map", "");
    a = conv(8, 3, 1, 0);
    Shape shared[2] = {S3(12, 5, 5), {4, {8, 11, 3, 3}}};
    refuses(OP_CONV2D, &a, 2, shared, "E0309", "the weight must be 8x12x3x3, got 8x11x3x3", "");
}

static void other_refusals(void) {
    Shape img = S3(12, 6, 6);
    PoolAttrs p = pool(2, 2, 2, POOL_ROUND_FLOOR);
    refuses(OP_MAXPOOL, &p, 1, &img, "E0307",
            "with pad 2 some windows of 2 cells would see padding only",
            "padding must be smaller than the kernel");
    p = pool(3, 2, 0, POOL_ROUND_EXACT);
    refuses(OP_AVGPOOL, &p, 1, &img, "E0306", "the windows do not fit exactly: (6 - 3) / 2 = 1.5",
            "round = floor or round = ceil accept a remainder");
    p = pool(7, 1, 0, POOL_ROUND_FLOOR);
    refuses(OP_SUBSAMPLE, &p, 1, &img, "E0301", "kernel 7x7 exceeds the input 6x6",
            "the input is 6x6 here; remove a pool or a stride before");
    p = pool(17, 17, 0, POOL_ROUND_FLOOR);
    refuses(OP_MAXPOOL, &p, 1, &(Shape)S3(1, 40, 40), "E0303",
            "a max pool's window may have at most 256 cells, 17x17 has 289",
            "two pools behind each other see the same window");
    NormAttrs n = {4, 2, 1e-4, 0.75, 0, NORM_ACROSS, false};
    refuses(OP_LRN, &n, 1, &img, "E0303", "window size 4: must be odd and positive",
            "the window is centred on its map");
    Shape branches[2] = {S3(64, 28, 28), S3(32, 26, 26)};
    refuses(OP_CONCAT, NULL, 2, branches, "E0331",
            "concat needs equal H,W: branch 1 is 64x28x28, branch 2 is 32x26x26",
            "padding or stride of one branch differs");
    refuses(OP_ADD, NULL, 2, branches, "E0332",
            "the inputs must have equal shapes: 64x28x28 and 32x26x26 differ",
            "conv(maps, 1x1) changes the maps, pad or stride height and width");
    DropoutAttrs d = {.rate = 1};
    refuses(OP_DROPOUT, &d, 1, &img, "E0303", "dropout rate 1: must be at least 0 and below 1",
            "0.5 and 50% mean the same");
    RbfAttrs rbf = {10};
    refuses(OP_RBF, &rbf, 1, &img, "E0304", "needs a vector, got 12x6x6",
            "put `flatten` or `dense` in between");
    LossAttrs loss = {.weight = 1};
    refuses(OP_CROSS_ENTROPY, &loss, 2, (Shape[]){S3(12, 6, 6), {0, {0}}}, "E0304",
            "needs a vector, got 12x6x6", "put `flatten` or `dense` in between");
    refuses(OP_CROSS_ENTROPY, &loss, 1, &(Shape)S1(10), "E0310", "needs 2 inputs, got 1", "");
    DenseAttrs dense = {.units = 0};
    refuses(OP_DENSE, &dense, 1, &img, "E0303", "0 units: must be between 1 and 2147483647", "");
}

/* Random and extreme attributes never crash infer, and what it accepts has sane extents. */
static void hostile_numbers(void) {
    static const int64_t odd[] = {INT64_MIN, -1, 0, 1, 2, 3, 7, 65535, 65536, 2147483647,
                                  2147483648, INT64_MAX};
    uint32_t state = 7;
    int accepted = 0;
    for (int round = 0; round < 20000; round++) {
        int64_t v[12];
        for (int i = 0; i < 12; i++)
            v[i] = ref_random(&state) % 3 ? 1 + (int64_t)(ref_random(&state) % 4)
                                          : odd[ref_random(&state) % 12];
        ConvAttrs a = {.maps = v[0], .kernel = {v[1], v[2]}, .stride = {v[3], v[4]},
                       .pad = {v[5], v[6], v[7], v[8]}, .dilation = {v[9], v[10]},
                       .groups = v[11], .bias = true};
        PoolAttrs p = {.kernel = {v[1], v[2]}, .stride = {v[3], v[4]},
                       .pad = {v[5], v[6], v[7], v[8]}, .round = round % 3};
        Shape in = S3(1 + round % 5, round % 7 ? 40 : 2147483647, 9);
        Infer conv_inf = {.attrs = &a, .nin = 1, .in = &in}, pool_inf = conv_inf;
        pool_inf.attrs = &p;
        if (op_infer(OP_CONV2D, &conv_inf)) {
            accepted++;
            CU_ASSERT(shape_elems(&conv_inf.out[0]) > 0);
        }
        if (op_infer(OP_MAXPOOL, &pool_inf)) {
            accepted++;
            CU_ASSERT(shape_elems(&pool_inf.out[0]) > 0);
        }
    }
    CU_ASSERT(accepted > 100);
}

/* ---- warnings ---- */

static void warns(int op, const void *attrs, Shape in, const char *text, const char *help) {
    Infer inf = infer(op, attrs, 1, &in);
    bool same = strcmp(inf.warn.text, text) == 0 && strcmp(inf.warn.help, help) == 0;
    if (!same)
        printf("  got '%s'\n      '%s'\n", inf.warn.text, inf.warn.help);
    CU_ASSERT(same);
}

static void discarded_cells_warn(void) {
    PoolAttrs p = pool(3, 2, 0, POOL_ROUND_FLOOR);
    warns(OP_MAXPOOL, &p, (Shape)S3(96, 110, 110),
          "discards 1 row and 1 column of real input: (110 - 3) / 2 = 53.5",
          "write round = ceil to get 55 (Zeiler-Fergus), or round = floor to silence this");
    p = pool(2, 2, 0, POOL_ROUND_FLOOR);
    warns(OP_AVGPOOL, &p, (Shape)S3(96, 27, 28), "discards 1 row of real input: (27 - 2) / 2 = 12.5",
          "write round = ceil to get 14, or round = floor to silence this");
    p = pool(3, 3, 0, POOL_ROUND_FLOOR);
    warns(OP_SUBSAMPLE, &p, (Shape)S3(1, 9, 11),
          "discards 2 columns of real input: (11 - 3) / 3 = 2.666666667",
          "write round = ceil to get 3x4, or round = floor to silence this");
    ConvAttrs a = conv(96, 11, 4, 0);
    warns(OP_CONV2D, &a, (Shape)S3(3, 224, 224),
          "discards 1 row and 1 column of real input: (224 - 11) / 4 = 53.25",
          "3 more rows of padding at the bottom would use all of it, round = floor says that the "
          "loss is meant");
    /* silent: only padding is lost; or the stride skips such cells everywhere; or rounding up */
    a = conv(64, 7, 2, 3);
    warns(OP_CONV2D, &a, (Shape)S3(3, 224, 224), "", "");
    a = conv(96, 7, 2, 1);
    warns(OP_CONV2D, &a, (Shape)S3(3, 224, 224), "", "");
    a = conv(256, 1, 2, 0);
    warns(OP_CONV2D, &a, (Shape)S3(64, 56, 56), "", "");
    p = pool(3, 2, 0, POOL_ROUND_CEIL);
    warns(OP_MAXPOOL, &p, (Shape)S3(96, 110, 110), "", "");
}

/* ---- halos ---- */

/* Rows of diff_dst that conv_bwd_data reads, by listing every (row of src, tap) that divides. */
static void listed_reach(const ConvAttrs *a, const Shape *src, const Shape *dst, int d, int out[2]) {
    int64_t lowest = 0, highest = dst->dim[1 + d] - 1;
    for (int64_t i = 0; i < src->dim[1 + d]; i++)
        for (int64_t tap = 0; tap < a->kernel[d]; tap++) {
            int64_t at = i + a->pad[2 * d] - tap * a->dilation[d];
            if (at % a->stride[d] != 0)
                continue;
            at /= a->stride[d];
            lowest = at < lowest ? at : lowest;
            highest = at > highest ? at : highest;
        }
    out[0] = (int)-lowest;
    out[1] = (int)(highest - (dst->dim[1 + d] - 1));
}

static void halo_of_backward_data(void) {
    for (int i = 0; i < ref_case_count(OP_CONV2D_BWD_DATA); i++) {
        Arena *keep = arena_new();
        RefCase c = ref_case(keep, OP_CONV2D_BWD_DATA, i);
        RefCaseGraph g = ref_case_graph(keep, OP_CONV2D_BWD_DATA, &c);
        const Shape *src = &graph_v(g.g, graph_n(g.g, g.node)->out[0])->shape;
        int halo[4], want[4];
        op_def[OP_CONV2D_BWD_DATA]->halo(g.g, g.node, 0, halo);
        listed_reach(c.attrs, src, &c.in[0], 0, want);
        listed_reach(c.attrs, src, &c.in[0], 1, want + 2);
        if (memcmp(halo, want, sizeof halo) != 0)
            printf("  '%s': %d %d %d %d, want %d %d %d %d\n", c.what, halo[0], halo[1], halo[2],
                   halo[3], want[0], want[1], want[2], want[3]);
        CU_ASSERT(memcmp(halo, want, sizeof halo) == 0);
        op_def[OP_CONV2D_BWD_DATA]->halo(g.g, g.node, 1, halo);
        CU_ASSERT(halo[0] == 0 && halo[1] == 0 && halo[2] == 0 && halo[3] == 0);
        arena_free(keep);
    }
}

static void halo_of_conv_holds_every_tap(void) {
    for (int i = 0; i < ref_case_count(OP_CONV2D); i++) {
        Arena *keep = arena_new();
        RefCase c = ref_case(keep, OP_CONV2D, i);
        RefCaseGraph g = ref_case_graph(keep, OP_CONV2D, &c);
        const ConvAttrs *a = c.attrs;
        const Shape *dst = &graph_v(g.g, graph_n(g.g, g.node)->out[0])->shape;
        int halo[4];
        op_def[OP_CONV2D]->halo(g.g, g.node, 0, halo);
        for (int d = 0; d < 2; d++) {
            int64_t last = (dst->dim[1 + d] - 1) * a->stride[d] +
                           (a->kernel[d] - 1) * a->dilation[d] - a->pad[2 * d];
            CU_ASSERT(-a->pad[2 * d] >= -halo[2 * d]);
            CU_ASSERT(last <= c.in[0].dim[1 + d] - 1 + halo[2 * d + 1]);
        }
        arena_free(keep);
    }
}

/* Receptive fields of LeNet-5 through the window hooks: C1 5, S2 6, C3 14, S4 16, C5 32. */
static void receptive_fields(void) {
    ConvAttrs c = conv(6, 5, 1, 0);
    PoolAttrs s = pool(2, 2, 0, 0);
    const struct { int op; const void *attrs; int64_t rf, jump; } layer[] = {
        {OP_CONV2D, &c, 5, 1}, {OP_SUBSAMPLE, &s, 6, 2}, {OP_CONV2D, &c, 14, 2},
        {OP_SUBSAMPLE, &s, 16, 4}, {OP_CONV2D, &c, 32, 4}};
    int64_t rf = 1, jump = 1;
    for (int i = 0; i < 5; i++) {
        int64_t kernel[2], stride[2], pad[4];
        CU_ASSERT(op_def[layer[i].op]->window(layer[i].attrs, kernel, stride, pad));
        rf += (kernel[0] - 1) * jump;
        jump *= stride[0];
        CU_ASSERT(rf == layer[i].rf && jump == layer[i].jump);
    }
}

SUITE_MAIN(TEST(published_sizes), TEST(lenet_has_60000_parameters),
           TEST(zeiler_fergus_and_alexnet_parameters), TEST(parameter_order_and_defaults),
           TEST(conv_refusals), TEST(more_refusals), TEST(other_refusals), TEST(hostile_numbers),
           TEST(discarded_cells_warn), TEST(halo_of_backward_data),
           TEST(halo_of_conv_holds_every_tap), TEST(receptive_fields))
