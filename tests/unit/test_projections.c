/* test_projections.c: compiled projections whose result is exactly known.
 *
 * The look program is run as the runtime runs it (record, then project_*), on every vector width.
 * Cases: the rectifier table of Springenberg et al. 2015, figure 1; a whole net worked by hand; the
 * places of unpooling, with overlaps; <A x, y> = <x, A' y> in integers for every linear operator;
 * equal rules where nothing is negative; zero seeds; receptive fields; homogeneity of nets without
 * bias (Simonyan et al. 2014: first-order Taylor; here it is exact); walks after a recording that
 * stopped where nothing more is read.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

static const char *const targets[] = {"native", "x86-64-v3", "x86-64-v2", NULL};
enum { MOST_PARAMS = 16, IMAGES = 2 };

/* A look program under construction, then compiled, then running. */
typedef struct Look {
    Arena *keep;
    Target target;
    ParamList params;
    PassCtx ctx;
    Graph *g;
    ValueId image, score;
    double *param[MOST_PARAMS];
    Emit *e;
    Compiled c;
    RefRun data;
    Slabs slabs;
} Look;

static Look *look_new(const char *target, int64_t c, int64_t h, int64_t w) {
    Arena *keep = arena_new();
    Look *l = ARENA_NEW(keep, Look);
    l->keep = keep;
    if (!compiled_target(keep, target, &l->target)) {
        arena_free(keep);
        return NULL;
    }
    l->g = graph_new(keep, "look", "test", &l->params);
    ValueId user = graph_input(l->g, VK_INPUT, DT_F32, (Shape){3, {c, h, w}}, true, 0, "pixels");
    l->image = graph_op(l->g, OP_LOAD_INPUT, NULL, 1, &user);
    return l;
}

static void look_free(Look *l) {
    Arena *keep = l->keep;
    slabs_free(&l->slabs);
    if (l->e)
        emit_free(l->e);
    arena_free(l->ctx.tmp);
    arena_free(keep);
}

static ValueId op(Look *l, int code, const void *attrs, int nin, const ValueId *in) {
    return graph_op(l->g, code, attrs, nin, in);
}

static ValueId op1(Look *l, int code, const void *attrs, ValueId a) {
    return op(l, code, attrs, 1, &a);
}

/* A parameter whose numbers are at `from` (a copy is made), or small integers when NULL. */
static ValueId param(Look *l, Shape s, const double *from) {
    int slot = l->params.count;
    ValueId v = ref_param(l->g, arena_printf(l->keep, "w%d", slot), s);
    int64_t n = shape_elems(&s);
    l->param[slot] = arena_array(l->keep, n, sizeof(double));
    if (from)
        memcpy(l->param[slot], from, (size_t)n * sizeof(double));
    else
        ref_fill_int(l->param[slot], n, -3, 3, 11 + (uint32_t)slot);
    return v;
}

static ValueId conv(Look *l, ValueId src, ConvAttrs a, const double *weights) {
    const Shape *s = &graph_v(l->g, src)->shape;
    Shape shape = {4, {a.maps, s->dim[0] / a.groups, a.kernel[0], a.kernel[1]}};
    ValueId in[2] = {src, param(l, shape, weights)};
    return op(l, OP_CONV2D, &a, 2, in);
}

static ValueId dense(Look *l, ValueId src, int64_t units, const double *weights) {
    const Shape *s = &graph_v(l->g, src)->shape;
    DenseAttrs a = {.units = units};
    Shape shape = {4, {units, s->dim[0], s->dim[1], s->dim[2]}};
    if (s->rank == 1)
        shape = (Shape){2, {units, s->dim[0]}};
    ValueId in[2] = {src, param(l, shape, weights)};
    return op(l, OP_DENSE, &a, 2, in);
}

static ConvAttrs plain_conv(int64_t maps, int64_t k, int64_t pad) {
    return (ConvAttrs){.maps = maps, .kernel = {k, k}, .stride = {1, 1}, .dilation = {1, 1},
                       .pad = {pad, pad, pad, pad}, .groups = 1};
}

static PoolAttrs plain_pool(int64_t k, int64_t stride) {
    return (PoolAttrs){.kernel = {k, k}, .stride = {stride, stride}};
}

static void add_seed(Look *l, ValueId v, const char *label) {
    l->ctx.seeds[l->ctx.nseeds] = v;
    l->ctx.seed_label[l->ctx.nseeds++] = label;
    graph_set_name(l->g, v, label);
}

static bool look_compile(Look *l, ValueId score) {
    l->score = score;
    graph_v(l->g, score)->keep = true;
    l->ctx.tmp = arena_new();
    l->ctx.target = &l->target;
    l->ctx.look = l->ctx.verify = true;
    l->ctx.project_from = score;
    CU_ASSERT_TRUE_FATAL(passes_run(l->g, &l->ctx));
    params_place(&l->params);
    l->e = compiled_begin(l->keep, &l->target);
    l->c = compiled_add(l->e, l->g, "look");
    bool linked = compiled_link(l->e, &l->c, 1, 2);
    CU_ASSERT_TRUE(linked);
    return linked;
}

/* Runs prepare and record on n images. */
static void record(Look *l, const double *image, int64_t n) {
    slabs_free(&l->slabs);
    l->data = (RefRun){.g = l->g, .n = n, .input = {image}, .param = l->param};
    l->slabs = slabs_new(l->g, &l->data, n + 1);
    slabs_entry(&l->slabs, &l->c, "prepare");
    slabs_entry(&l->slabs, &l->c, "record");
}

static int64_t count(const Look *l, ValueId v) {
    return shape_elems(&graph_v(l->g, v)->shape);
}

static double *read_value(Look *l, ValueId v) {
    double *at = arena_array(l->keep, count(l, v) * l->data.n, sizeof *at);
    CU_ASSERT_EQUAL(slabs_read(&l->slabs, v, at), 0);
    return at;
}

static const char *const entry_name[] = {"", "project_gradient", "project_deconvnet",
                                         "project_guided"};

/* From the score down to the image. */
static double *project(Look *l, Rule rule, const double *seed) {
    CU_ASSERT_PTR_NULL_FATAL(l->ctx.refused[rule]);
    for (ValueId v = 1; v < l->g->nvalue; v++)
        if (graph_v(l->g, v)->kind == VK_SEED && graph_v(l->g, v)->slot == (int)rule)
            slabs_write(&l->slabs, v, seed);
    slabs_entry(&l->slabs, &l->c, entry_name[rule]);
    return read_value(l, l->ctx.image_diff[rule]);
}

/* From seed layer `at` down: as the runtime starts in the middle. */
static double *project_from(Look *l, Rule rule, int at, const double *seed) {
    const struct SeedInfo *info = &l->ctx.seed_info[rule][at];
    CU_ASSERT_NOT_EQUAL_FATAL(info->diff, 0);
    for (int i = 0; i < info->nlive; i++)
        slabs_write(&l->slabs, info->live[i], NULL);
    if (info->rectified) {
        int64_t size = count(l, info->diff) * l->data.n;
        const double *y = read_value(l, l->ctx.seeds[at]);
        double *passed = arena_array(l->keep, size, sizeof *passed);
        for (int64_t i = 0; i < size; i++)
            if ((rule == RULE_DECONVNET || y[i] > 0) && (rule == RULE_GRADIENT || seed[i] > 0))
                passed[i] = seed[i];
        seed = passed;
    }
    slabs_write(&l->slabs, info->diff, seed);
    for (int i = 0; i < l->g->nentries; i++) {
        const Entry *e = &l->g->entry[i];
        if (strcmp(e->name, entry_name[rule]) == 0)
            for (int k = info->first_kernel; k < e->first + e->count; k++)
                slabs_run(&l->slabs, &l->c, k, 2, true);
    }
    return read_value(l, l->ctx.image_diff[rule]);
}

static void expect(const char *what, const double *got, const double *want, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        CU_ASSERT_EQUAL(got[i], want[i]);
        if (got[i] != want[i]) {
            printf("  %s: [%lld] is %g, want %g\n", what, (long long)i, got[i], want[i]);
            return;
        }
    }
}

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

#define EACH_TARGET for (int t_ = 0; targets[t_]; t_++)
#define TARGET targets[t_]

/* ---- the tables ---- */

static void rectifier_table(void) {
    static const double x[] = {1, -1, 5, 2, -5, -7, -3, 2, 4};
    static const double signal[] = {-2, 3, -1, 6, -3, 1, 2, -1, 3};
    static const double want[4][9] = {{0},
                                      {-2, 0, -1, 6, 0, 0, 0, -1, 3},
                                      {0, 3, 0, 6, 0, 1, 2, 0, 3},
                                      {0, 0, 0, 6, 0, 0, 0, 0, 3}};
    EACH_TARGET {
        Look *l = look_new(TARGET, 1, 3, 3);
        if (!l || !look_compile(l, op1(l, OP_RELU, NULL, l->image)))
            continue;
        record(l, x, 1);
        for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
            expect(entry_name[rule], project(l, (Rule)rule, signal), want[rule], 9);
        look_free(l);
    }
}

static const double hand_x[] = {1, 2, 1, 0, 1, 1, 0, 2, 0, 1, 0, 0, 1,
                                0, 2, 0, 1, 1, 1, 0, 0, 1, 1, 2, 1};

static void hand_worked_net(void) {
    static const double w[] = {1, -1, 2, -2}, v[] = {1, -1, 1, 2}, one = 1;
    static const double z[] = {1, -3, 5, -3, 1, -4, 4, -5, -2, -1, 1, 0, -3, 0, -2, 3};
    static const double p[] = {1, 5, 0, 3}, taps[] = {0, 0, 0, 3}, two = 2;
    /* the switches (0,0) (0,2) (2,0) (3,3) as cells of their windows: the window at the lower left
     * holds relu(-2), relu(-1), relu(-3), 0: all zero, the first wins */
    static const double want[4][25] = {
        {0},
        {1, -1, -1, 1, 0, 2, -2, -2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, -2, 0, 0, 0, 4, -4},
        {1, -1, 0, 0, 0, 2, -2, 0, 0, 0, 1, -1, 0, 0, 0, 2, -2, 0, 2, -2, 0, 0, 0, 4, -4},
        {1, -1, 0, 0, 0, 2, -2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, -2, 0, 0, 0, 4, -4}};
    EACH_TARGET {
        Look *l = look_new(TARGET, 1, 5, 5);
        if (!l)
            continue;
        ValueId c = conv(l, l->image, plain_conv(1, 2, 0), w);
        PoolAttrs pool = plain_pool(2, 2);
        add_seed(l, c, "conv");
        ValueId m = op1(l, OP_MAXPOOL, &pool, op1(l, OP_RELU, NULL, c));
        add_seed(l, m, "pool");
        if (!look_compile(l, dense(l, m, 1, v)))
            continue;
        record(l, hand_x, 1);
        expect("z", read_value(l, c), z, 16);
        expect("pooled", read_value(l, m), p, 4);
        expect("switches", read_value(l, graph_n(l->g, graph_v(l->g, m)->def)->out[1]), taps, 4);
        expect("score", read_value(l, l->score), &two, 1);
        for (int round = 0; round < 2; round++) /* projections repeat */
            for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++) {
                const double *got = project(l, (Rule)rule, &one);
                expect(entry_name[rule], got, want[rule], 25);
                CU_ASSERT_EQUAL(rule != RULE_GRADIENT || dot(got, hand_x, 25) == 2, true);
                /* v at the pooled map is what a seed of one at the score becomes there */
                expect("from the pool", project_from(l, (Rule)rule, 1, v), want[rule], 25);
            }
        look_free(l);
    }
}

static void unpooling(void) {
    double x[25], seed[4] = {6, 8, 14, 16}, want[25] = {0};
    static const double ones[4] = {1, 1, 1, 1};
    EACH_TARGET {
        PoolAttrs two = plain_pool(2, 2), three = plain_pool(3, 2);
        Look *l = look_new(TARGET, 1, 4, 4);
        if (!l || !look_compile(l, op1(l, OP_MAXPOOL, &two, l->image)))
            continue;
        for (int i = 0; i < 16; i++) {
            x[i] = i + 1;
            want[i] = i / 4 % 2 && i % 2 ? i + 1 : 0;
        }
        record(l, x, 1);
        expect("pool of 1..16", read_value(l, l->score), seed, 4);
        for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
            expect("unpool", project(l, (Rule)rule, seed), want, 16);
        look_free(l);
        l = look_new(TARGET, 1, 5, 5);
        if (!l || !look_compile(l, op1(l, OP_MAXPOOL, &three, l->image)))
            continue;
        memset(x, 0, sizeof x);
        memset(want, 0, sizeof want);
        x[12] = 1;
        want[12] = 4; /* four windows share the cell: they add */
        record(l, x, 1);
        expect("overlapping unpool", project(l, RULE_DECONVNET, ones), want, 25);
        look_free(l);
    }
}

/* ---- several outputs ---- */

enum { TRUNK, FIRST, SECOND };

/* A trunk with two heads, of which `heads` (bits of FIRST, SECOND) are outputs. */
static Look *two_heads(const char *target, int heads) {
    Look *l = look_new(target, 2, 6, 6);
    if (!l)
        return NULL;
    ValueId trunk = op1(l, OP_RELU, NULL, conv(l, l->image, plain_conv(4, 3, 1), NULL));
    ValueId first = dense(l, trunk, 3, NULL);
    PoolAttrs pool = plain_pool(2, 2);
    ValueId map = op1(l, OP_MAXPOOL, &pool, conv(l, trunk, plain_conv(5, 3, 1), NULL));
    ValueId second = conv(l, map, plain_conv(2, 3, 0), NULL);
    add_seed(l, trunk, "trunk");
    if (heads & 1 << FIRST)
        add_seed(l, first, "first");
    if (heads & 1 << SECOND)
        add_seed(l, second, "second");
    if (heads == (1 << FIRST | 1 << SECOND))
        l->ctx.also_from[l->ctx.nalso++] = second;
    return look_compile(l, heads & 1 << FIRST ? first : second) ? l : NULL;
}

/* From every output the projection of a network that has that output alone; also right after one
 * from the other, whose diffs must not be seen. */
static void several_outputs(void) {
    double image[72 * IMAGES], seed[144 * IMAGES];
    static const int turn[] = {FIRST, SECOND, FIRST, TRUNK, SECOND, TRUNK};
    ref_fill_int(image, 72 * IMAGES, -4, 4, 3);
    ref_fill_int(seed, 144 * IMAGES, -2, 3, 4);
    Look *both = two_heads("native", 1 << FIRST | 1 << SECOND);
    Look *one[3] = {NULL, two_heads("native", 1 << FIRST), two_heads("native", 1 << SECOND)};
    if (!both || !one[FIRST] || !one[SECOND])
        return;
    record(both, image, IMAGES);
    record(one[FIRST], image, IMAGES);
    record(one[SECOND], image, IMAGES);
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
        for (size_t t = 0; t < sizeof turn / sizeof *turn; t++) {
            int at = turn[t];
            Look *alone = one[at == TRUNK ? FIRST : at];
            const double *got = project_from(both, (Rule)rule, at, seed);
            const double *want = at == TRUNK ? project_from(alone, (Rule)rule, 0, seed)
                                             : project(alone, (Rule)rule, seed);
            expect(entry_name[rule], got, want, 72 * IMAGES);
            CU_ASSERT(dot(want, want, 72 * IMAGES) > 0);
        }
    look_free(both);
    look_free(one[FIRST]);
    look_free(one[SECOND]);
}

/* ---- recording no further than a walk needs ---- */

/* Branches, a sum, a product and overlapping pools; a seed in every branch and behind each meeting. */
static Look *branched_net(void) {
    Look *l = look_new("native", 2, 8, 8);
    if (!l)
        return NULL;
    PoolAttrs pool = plain_pool(3, 1), half = plain_pool(2, 2);
    ValueId trunk = op1(l, OP_RELU, NULL, conv(l, l->image, plain_conv(4, 3, 1), NULL));
    ValueId left = op1(l, OP_RELU, NULL, conv(l, trunk, plain_conv(4, 3, 1), NULL));
    ValueId right = op1(l, OP_SIGMOID, NULL, conv(l, trunk, plain_conv(4, 1, 0), NULL));
    ValueId gate[2] = {left, right};
    ValueId mixed = op(l, OP_MUL, NULL, 2, gate);
    ValueId sum[2] = {mixed, trunk};
    ValueId joined = op1(l, OP_MAXPOOL, &half, op(l, OP_ADD, NULL, 2, sum));
    ValueId top = op1(l, OP_MAXPOOL, &pool, conv(l, joined, plain_conv(3, 3, 1), NULL));
    add_seed(l, trunk, "trunk");
    add_seed(l, left, "left");
    add_seed(l, right, "right");
    add_seed(l, joined, "joined");
    add_seed(l, top, "top");
    return look_compile(l, dense(l, top, 3, NULL)) ? l : NULL;
}

/* As rt_look_record_for does it; memory holds garbage where nothing was recorded. */
static void record_to(Look *l, const double *image, int64_t n, int end) {
    slabs_free(&l->slabs);
    l->data = (RefRun){.g = l->g, .n = n, .input = {image}, .param = l->param};
    l->slabs = slabs_new(l->g, &l->data, n + 1);
    slabs_entry(&l->slabs, &l->c, "prepare");
    for (int i = 0; i < l->g->nentries; i++)
        for (int k = l->g->entry[i].first; k < end && strcmp(l->g->entry[i].name, "record") == 0; k++)
            slabs_run(&l->slabs, &l->c, k, 2, true);
}

static void partial_records(void) {
    double image[128 * IMAGES], seed[256 * IMAGES];
    ref_fill_int(image, 128 * IMAGES, -4, 4, 3);
    ref_fill_int(seed, 256 * IMAGES, -2, 3, 4);
    Look *l = branched_net();
    if (!l)
        return;
    int last = -1, shorter = 0;
    for (int at = 0; at < l->ctx.nseeds; at++)
        for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++) {
            ValueId v = graph_resolve(l->g, l->ctx.seeds[at]);
            if (l->ctx.refused[rule])
                continue;
            int end = l->ctx.seed_info[rule][at].record_end;
            int own = (int)graph_n(l->g, graph_v(l->g, v)->def)->kernel;
            end = end > own ? end : own;
            record(l, image, IMAGES);
            const double *want = project_from(l, (Rule)rule, at, seed), *values = read_value(l, v);
            record_to(l, image, IMAGES, end);
            expect("a layer after a part of it", read_value(l, v), values, count(l, v) * IMAGES);
            expect(entry_name[rule], project_from(l, (Rule)rule, at, seed), want, 128 * IMAGES);
            shorter += rule == RULE_GRADIENT && end > last;
            last = rule == RULE_GRADIENT ? end : last;
        }
    CU_ASSERT(shorter >= 3); /* the recordings do end at different places */
    look_free(l);
}

/* ---- adjoints ---- */

static ValueId table_conv(Look *l, ValueId src) { /* LeNet's third layer, table I */
    static const uint16_t reads[16] = {0x07, 0x0e, 0x1c, 0x38, 0x31, 0x23, 0x0f, 0x1e,
                                       0x3c, 0x39, 0x33, 0x27, 0x1b, 0x36, 0x2d, 0x3f};
    static uint8_t link[96];
    double mask[96 * 9], weights[96 * 9];
    ref_fill_int(weights, 96 * 9, -3, 3, 5);
    for (int i = 0; i < 96; i++) {
        link[i] = reads[i / 6] >> i % 6 & 1;
        for (int k = 0; k < 9; k++) {
            mask[9 * i + k] = link[i];
            weights[9 * i + k] *= link[i];
        }
    }
    ConnTable *table = ARENA_NEW(l->keep, ConnTable);
    *table = (ConnTable){16, 6, link};
    ConvAttrs a = plain_conv(16, 3, 0);
    a.connect = table;
    Shape s = {4, {16, 6, 3, 3}};
    ValueId in[3] = {src, param(l, s, weights), 0};
    in[2] = param(l, s, mask);
    l->params.at[l->params.count - 1].constant = true;
    return op(l, OP_CONV2D, &a, 3, in);
}

enum { LINEAR_OPS = 11 };

/* Linear operator number `which` on the image of 6 maps. */
static ValueId linear(Look *l, int which) {
    PoolAttrs p = {.kernel = {2, 2}, .stride = {2, 2}, .round = POOL_ROUND_CEIL};
    ConvAttrs a = plain_conv(5, 3, 1);
    ValueId in[3];
    switch (which) {
    case 0:
        return table_conv(l, l->image);
    case 1:
        return op1(l, OP_MAXPOOL, &p, l->image);
    case 2:
        p.kernel[0] = p.kernel[1] = 3;
        p.pad[0] = p.pad[3] = 1;
        return op1(l, OP_MAXPOOL, &p, l->image);
    case 3:
        p.count_pad = true;
        return op1(l, OP_AVGPOOL, &p, l->image);
    case 4:
        p.round = POOL_ROUND_FLOOR;
        in[0] = l->image;
        in[1] = param(l, (Shape){1, {6}}, NULL);
        in[2] = param(l, (Shape){1, {6}}, (const double[6]){0});
        return op(l, OP_SUBSAMPLE, &p, 3, in);
    case 5:
        in[0] = conv(l, l->image, a, NULL);
        a.maps = 17;
        in[1] = conv(l, l->image, a, NULL);
        in[2] = l->image;
        return op(l, OP_CONCAT, NULL, 3, in);
    case 6:
        in[0] = conv(l, l->image, plain_conv(6, 3, 1), NULL);
        in[1] = l->image;
        return op(l, OP_ADD, NULL, 2, in);
    case 7:
        return dense(l, l->image, 18, NULL);
    case 8:
        return dense(l, op1(l, OP_FLATTEN, NULL, l->image), 33, NULL);
    case 9: { /* groups that fill vectors */
        ValueId wide = conv(l, l->image, plain_conv(32, 1, 0), NULL);
        a.maps = 32;
        a.groups = 2;
        a.stride[0] = 2;
        return conv(l, wide, a, NULL);
    }
    default: /* a kernel as large as the image, then one pixel */
        a = (ConvAttrs){.maps = 19, .kernel = {9, 7}, .stride = {1, 1}, .dilation = {1, 1},
                        .groups = 1};
        return conv(l, l->image, a, NULL);
    }
}

static void check_adjoint(Look *l, ValueId score, const char *what) {
    enum { MOST = 8192 };
    static double x[MOST], y[MOST];
    if (!look_compile(l, score))
        return;
    int64_t nx = count(l, l->image), ny = count(l, l->score);
    CU_ASSERT_TRUE_FATAL(nx * IMAGES <= MOST && ny * IMAGES <= MOST);
    ref_fill_int(x, nx * IMAGES, -4, 4, 3);
    ref_fill_int(y, ny * IMAGES, -4, 4, 4);
    record(l, x, IMAGES);
    const double *ax = read_value(l, l->score), *ay = project(l, RULE_GRADIENT, y);
    for (int n = 0; n < IMAGES; n++) {
        double one = dot(ax + n * ny, y + n * ny, ny), two = dot(x + n * nx, ay + n * nx, nx);
        CU_ASSERT_EQUAL(one, two);
        if (one != two)
            printf("  %s on %s: <Ax, y> = %g, <x, A'y> = %g\n", what, l->target.name, one, two);
    }
}

static void adjoints(void) {
    EACH_TARGET {
        for (int which = 0; which < LINEAR_OPS; which++) {
            Look *l = look_new(TARGET, 6, 9, 7);
            if (!l)
                break;
            check_adjoint(l, linear(l, which), arena_printf(l->keep, "linear operator %d", which));
            look_free(l);
        }
        uint32_t state = 77; /* strides, paddings, dilations, kernels */
        for (int i = 0; i < 24; i++) {
            Look *l = look_new(TARGET, i % 3 ? 6 : 3, 9, 7);
            if (!l)
                break;
            ConvAttrs a = plain_conv(1 + (ref_random(&state) >> 5) % 20, 1, 0);
            for (int d = 0; d < 2; d++) {
                a.kernel[d] = 1 + (ref_random(&state) >> 5) % 4;
                a.stride[d] = 1 + (ref_random(&state) >> 5) % 4;
                a.dilation[d] = 1 + (ref_random(&state) >> 5) % 2;
                a.pad[2 * d] = (ref_random(&state) >> 5) % 4;
                a.pad[2 * d + 1] = (ref_random(&state) >> 5) % 4;
            }
            check_adjoint(l, conv(l, l->image, a, NULL), arena_printf(l->keep, "conv %d", i));
            look_free(l);
        }
    }
}

/* ---- properties of whole nets ---- */

/* conv relu pool conv relu dense, without bias; weights in (lo, hi) */
static Look *small_net(const char *target, double lo, double hi) {
    static double w[4096];
    Look *l = look_new(target, 3, 12, 10);
    if (!l)
        return NULL;
    PoolAttrs p = plain_pool(2, 2);
    ref_fill_distinct(w, 4096, (hi - lo) / 2, 21);
    for (int i = 0; i < 4096; i++)
        w[i] = (double)(float)(w[i] + (hi + lo) / 2);
    ValueId x = op1(l, OP_RELU, NULL, conv(l, l->image, plain_conv(7, 3, 1), w));
    add_seed(l, x, "r1");
    x = op1(l, OP_MAXPOOL, &p, x);
    add_seed(l, x, "p1");
    x = op1(l, OP_RELU, NULL, conv(l, x, plain_conv(18, 3, 0), w + 500));
    add_seed(l, x, "r2");
    if (!look_compile(l, dense(l, x, 3, w + 2000)))
        return NULL;
    return l;
}

static void fill_image(double *x, int64_t n, double shift) {
    ref_fill_distinct(x, n, 1, 31);
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(x[i] + shift);
}

static void equal_rules(void) {
    static double x[720];
    static const double seed[6] = {1, 2, 0.5, 1, 0, 3}, zero[6] = {0};
    EACH_TARGET {
        Look *l = small_net(TARGET, 0.001, 0.2);
        if (!l)
            continue;
        fill_image(x, 720, 1.5);
        record(l, x, IMAGES);
        const double *gradient = project(l, RULE_GRADIENT, seed);
        expect("deconvnet", project(l, RULE_DECONVNET, seed), gradient, 720);
        expect("guided", project(l, RULE_GUIDED, seed), gradient, 720);
        double none[720] = {0};
        for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
            expect("zero seed", project(l, (Rule)rule, zero), none, 720);
        look_free(l);
    }
}

/* One unit of layer `at` (side h x w) reaches no further than its field: size, stride, start. */
static void check_field(Look *l, int at, int64_t c, int64_t y, int64_t x, const int64_t field[3]) {
    const Shape *s = &graph_v(l->g, l->ctx.seeds[at])->shape;
    int64_t n = shape_elems(s);
    double *seed = arena_array(l->keep, n * IMAGES, sizeof *seed);
    seed[n + (c * s->dim[1] + y) * s->dim[2] + x] = 1; /* of the second image */
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++) {
        const double *got = project_from(l, (Rule)rule, at, seed);
        int64_t y0 = y * field[1] + field[2], x0 = x * field[1] + field[2];
        bool outside = false, inside = false;
        for (int64_t i = 0; i < 720; i++) {
            int64_t iy = i % 120 / 10, ix = i % 10;
            bool in = i >= 360 && iy >= y0 && iy < y0 + field[0] && ix >= x0 && ix < x0 + field[0];
            outside |= !in && got[i] != 0;
            inside |= in && got[i] != 0;
        }
        CU_ASSERT_FALSE(outside);
        CU_ASSERT_TRUE(inside || rule != RULE_DECONVNET); /* linear from above: never masked out */
    }
}

static void receptive_fields(void) {
    static double x[720];
    EACH_TARGET {
        Look *l = small_net(TARGET, -0.2, 0.25);
        if (!l)
            continue;
        fill_image(x, 720, 0.1);
        record(l, x, IMAGES);
        check_field(l, 0, 3, 5, 4, (const int64_t[]){3, 1, -1});
        check_field(l, 0, 0, 0, 0, (const int64_t[]){3, 1, -1});
        check_field(l, 1, 6, 2, 3, (const int64_t[]){4, 2, -1});
        check_field(l, 2, 17, 1, 2, (const int64_t[]){8, 2, -1});
        look_free(l);
    }
}

static void homogeneity(void) {
    static double x[720], twice[720], thrice[720];
    static const double seed[6] = {0, 1, 0, 0, 0, 1};
    EACH_TARGET {
        Look *l = small_net(TARGET, -0.2, 0.22);
        if (!l)
            continue;
        fill_image(x, 720, 0);
        for (int i = 0; i < 720; i++)
            twice[i] = 2 * x[i], thrice[i] = (double)(float)(0.7 * x[i]);
        record(l, x, IMAGES);
        const double *s = read_value(l, l->score), *g = project(l, RULE_GRADIENT, seed);
        CU_ASSERT_DOUBLE_EQUAL(dot(x, g, 360), s[1], 1e-5 * fmax(1, fabs(s[1])));
        CU_ASSERT_DOUBLE_EQUAL(dot(x + 360, g + 360, 360), s[5], 1e-5 * fmax(1, fabs(s[5])));
        CU_ASSERT_NOT_EQUAL(s[1], 0);
        ValueId pool = l->ctx.seeds[1];
        ValueId taps = graph_n(l->g, graph_v(l->g, pool)->def)->out[1];
        const double *switches = read_value(l, taps);
        record(l, twice, IMAGES);
        const double *s2 = read_value(l, l->score);
        for (int i = 0; i < 6; i++)
            CU_ASSERT_EQUAL(s2[i], 2 * s[i]);
        expect("gradient at 2x", project(l, RULE_GRADIENT, seed), g, 720);
        expect("switches at 2x", read_value(l, taps), switches, count(l, taps) * IMAGES);
        record(l, thrice, IMAGES); /* any point of the path of integrated gradients */
        expect("gradient at 0.7x", project(l, RULE_GRADIENT, seed), g, 720);
        look_free(l);
    }
}

SUITE_MAIN(TEST(rectifier_table), TEST(hand_worked_net), TEST(unpooling), TEST(several_outputs), TEST(partial_records),
           TEST(adjoints),
           TEST(equal_rules), TEST(receptive_fields), TEST(homogeneity))
