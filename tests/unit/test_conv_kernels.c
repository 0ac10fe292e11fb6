/* test_conv_kernels.c: convolution and dense kernels against straightforward double loops.
 *
 * For every case of the table and every target this host runs: one graph with forward (+ relu),
 * transposed weights, backward data, backward weights and bias gradient, layouts as the operators
 * ask, everything else filled with NaN; tasks run in scrambled order.  Checked: all logical values,
 * zero halos and padding lanes, equal bits of an image whatever the batch.
 * ctest-labels: kernels
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "emit/target.h"
#include "ops/hooks.h"
#include "ops/lower.h"
#include "rt_abi.h"
#include "targets.h"

typedef struct Case {
    const char *name;
    int n;
    int64_t c, h, w, o, kernel[2], stride[2], pad[4], dilation[2], groups;
    int flags;
} Case;
enum { PLAIN = 1, DENSE = 2, VECTOR = 4 /* dense over rank 1 */, HALO = 8 /* outputs have one */ };

static const Case cases[] = {
    {"1x1 channels odd", 2, 19, 5, 7, 21, {1, 1}, {1, 1}, {0}, {1, 1}, 1, 0},
    {"3x3 same", 2, 16, 14, 14, 32, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, HALO},
    {"3x3 remainder columns", 1, 20, 9, 29, 40, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, 0},
    {"3x3 many outputs", 1, 33, 6, 13, 112, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, HALO},
    {"5x5 stride 2", 2, 12, 15, 13, 24, {5, 5}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 1, 0},
    {"stride over kernel", 2, 6, 17, 16, 10, {2, 2}, {3, 3}, {0}, {1, 1}, 1, HALO},
    {"stride over extent", 1, 5, 4, 9, 7, {1, 1}, {5, 4}, {0}, {1, 1}, 1, 0},
    {"asymmetric pad", 5, 7, 9, 8, 18, {3, 4}, {1, 1}, {2, 0, 1, 2}, {1, 1}, 1, HALO},
    {"unequal strides", 1, 9, 12, 11, 17, {3, 2}, {2, 1}, {1, 1, 0, 1}, {1, 1}, 1, 0},
    {"dilation", 2, 8, 12, 13, 16, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}, 1, 0},
    {"dilation and stride", 1, 6, 16, 15, 12, {3, 3}, {2, 3}, {2, 1, 3, 3}, {2, 3}, 1, HALO},
    {"dilation 3 stride 2", 1, 4, 14, 14, 8, {2, 3}, {2, 2}, {1, 1, 1, 1}, {3, 3}, 1, 0},
    {"groups", 2, 32, 7, 7, 64, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2, 0},
    {"groups of 3 tiles", 1, 48, 6, 6, 144, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 3, 0},
    {"small rows", 2, 18, 7, 7, 48, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, HALO},
    {"six by six", 3, 16, 6, 6, 50, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, 0},
    {"first layer 3x3", 2, 3, 20, 18, 34, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, PLAIN},
    {"first layer 7x7 s2", 2, 3, 31, 33, 48, {7, 7}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1, PLAIN | HALO},
    {"first layer 11x11 s4", 1, 3, 47, 47, 33, {11, 11}, {4, 4}, {2, 2, 2, 2}, {1, 1}, 1, PLAIN},
    {"image, two vectors and a bit", 2, 3, 9, 71, 20, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, HALO},
    {"image, 4 channels s2", 1, 4, 14, 67, 19, {5, 3}, {2, 2}, {2, 1, 0, 2}, {1, 1}, 1, PLAIN},
    {"image, 2 channels dilated", 2, 2, 21, 40, 33, {3, 3}, {2, 1}, {4, 0, 2, 3}, {3, 2}, 1, HALO},
    {"image, stride over kernel", 1, 3, 19, 50, 16, {2, 1}, {3, 4}, {0}, {1, 1}, 1, 0},
    {"image, long rows", 1, 1, 5, 300, 7, {1, 9}, {1, 1}, {0, 0, 4, 4}, {1, 1}, 1, PLAIN},
    {"lenet c1", 5, 1, 32, 32, 6, {5, 5}, {1, 1}, {0}, {1, 1}, 1, PLAIN},
    {"lenet c3", 5, 6, 14, 14, 16, {5, 5}, {1, 1}, {0}, {1, 1}, 1, 0},
    {"one pixel out", 5, 16, 5, 5, 120, {5, 5}, {1, 1}, {0}, {1, 1}, 1, HALO},
    {"one pixel out, odd", 3, 19, 3, 4, 21, {3, 4}, {1, 1}, {0}, {1, 1}, 1, 0},
    {"one pixel out, padded", 2, 9, 3, 3, 20, {5, 5}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1, 0},
    {"one pixel out, dilated", 2, 9, 5, 5, 20, {3, 3}, {1, 1}, {0}, {2, 2}, 1, 0},
    {"one pixel out, groups", 3, 32, 3, 3, 32, {3, 3}, {1, 1}, {0}, {1, 1}, 2, 0},
    {"one pixel in and out", 4, 5, 1, 1, 3, {1, 1}, {1, 1}, {0}, {1, 1}, 1, 0},
    {"dense", 16, 84, 1, 1, 10, {0}, {0}, {0}, {0}, 1, DENSE | VECTOR},
    {"dense prime", 7, 131, 1, 1, 37, {0}, {0}, {0}, {0}, 1, DENSE | VECTOR},
    {"dense image", 5, 50, 4, 4, 100, {0}, {0}, {0}, {0}, 1, DENSE | HALO},
    {"dense image whole blocks", 2, 32, 3, 5, 65, {0}, {0}, {0}, {0}, 1, DENSE},
    {"dense plain", 3, 1, 9, 8, 12, {0}, {0}, {0}, {0}, 1, DENSE | PLAIN},
    {"dense long", 70, 2050, 1, 1, 68, {0}, {0}, {0}, {0}, 1, DENSE | VECTOR},
    {"dense long image", 131, 64, 6, 7, 130, {0}, {0}, {0}, {0}, 1, DENSE},
    {"dense long image, odd", 5, 69, 7, 6, 1030, {0}, {0}, {0}, {0}, 1, DENSE},
};
enum { NCASES = sizeof cases / sizeof *cases };

/* ---- one graph with five kernels ---- */
enum { FORWARD, TRANSPOSE, BACK_DATA, BACK_WEIGHTS, BIAS, DOTS, NKERNELS };

typedef struct Rig {
    Arena *keep;
    Target target;
    Graph *g;
    ParamList params;
    ValueId src, dd, w, bias, fwd, dst, wt, dsrc, dw, db;
    ValueId dots; /* dense: backward data from the forward weights */
    int kernels;
    Shape wshape;
    ConvAttrs conv;
    DenseAttrs dense;
    Kernel kernel[NKERNELS];
    int64_t act_bytes, fix_bytes;
    Emit *e;
    rt_kernel_fn fn[NKERNELS];
    rt_frame frame;
    void *scratch;
} Rig;

static int64_t round64(int64_t x) {
    return (x + 63) / 64 * 64;
}

static void place(Rig *r, ValueId id, Layout l) {
    Value *v = graph_v(r->g, id);
    v->layout = l;
    v->stored = true;
    v->bytes = round64(4 * layout_elems(&l, &v->shape));
    v->pool = v->batched ? POOL_ACT : POOL_FIX;
    int64_t *at = v->batched ? &r->act_bytes : &r->fix_bytes;
    v->offset = *at;
    *at += v->bytes;
}

static Layout tensor_layout(const Rig *r, bool plain, const int halo[4]) {
    Layout l = {.kind = plain ? LAYOUT_PLAIN : LAYOUT_BLOCKED,
                .block = plain ? 0 : r->target.vector};
    if (halo)
        memcpy(l.halo, halo, sizeof l.halo);
    return l;
}

static ValueId add_param(Rig *r, Shape shape, Layout l) {
    Param *p = &r->params.at[r->params.count];
    *p = (Param){.name = "p", .shape = shape, .split = shape, .layout = l};
    p->offset = r->params.bytes;
    p->bytes = round64(4 * layout_elems(&l, &shape));
    r->params.bytes += p->bytes;
    ValueId v = graph_input(r->g, VK_PARAM, DT_F32, shape, false, r->params.count++, NULL);
    graph_v(r->g, v)->layout = l;
    return v;
}

static void set_kernel(Rig *r, int index, NodeId anchor, NodeId chain, const char *name) {
    r->kernel[index] = (Kernel){.anchor = anchor, .name = name, .label = name};
    if (chain)
        r->kernel[index].chain[r->kernel[index].nchain++] = chain;
}

static NodeId def_of(const Rig *r, ValueId v) {
    return graph_v(r->g, v)->def;
}

static void build_nodes(Rig *r, const Case *c) {
    bool dense = c->flags & DENSE;
    Shape s = {3, {c->c, c->h, c->w}};
    if (c->flags & VECTOR)
        s = (Shape){1, {c->c}};
    r->conv = (ConvAttrs){.maps = c->o,
                          .groups = c->groups,
                          .bias = true,
                          .src_maps = c->c,
                          .src_size = {c->h, c->w}};
    memcpy(r->conv.kernel, c->kernel, sizeof c->kernel);
    memcpy(r->conv.stride, c->stride, sizeof c->stride);
    memcpy(r->conv.pad, c->pad, sizeof c->pad);
    memcpy(r->conv.dilation, c->dilation, sizeof c->dilation);
    r->dense = (DenseAttrs){
        .units = c->o, .bias = true, .src_dim = {c->c, c->h, c->w}, .src_rank = s.rank};
    r->wshape =
        dense ? (s.rank == 1 ? (Shape){2, {c->o, c->c}} : (Shape){4, {c->o, c->c, c->h, c->w}})
              : (Shape){4, {c->o, c->c / c->groups, c->kernel[0], c->kernel[1]}};
    void *attrs = dense ? (void *)&r->dense : (void *)&r->conv;
    r->src = graph_input(r->g, VK_SEED, DT_F32, s, true, 0, NULL);
    r->w = add_param(r, r->wshape, (Layout){.kind = LAYOUT_PLAIN});
    r->bias = add_param(r, (Shape){1, {c->o}}, tensor_layout(r, false, NULL));
    r->fwd =
        graph_op(r->g, dense ? OP_DENSE : OP_CONV2D, attrs, 3, (ValueId[]){r->src, r->w, r->bias});
    r->dst = graph_op(r->g, OP_RELU, NULL, 1, &r->fwd);
    r->dd = graph_input(r->g, VK_SEED, DT_F32, graph_v(r->g, r->fwd)->shape, true, 0, NULL);
    TransposeWeightsAttrs *ta = ARENA_NEW(r->keep, TransposeWeightsAttrs);
    ta->groups = c->groups;
    r->wt = graph_op(r->g, OP_TRANSPOSE_WEIGHTS, ta, 1, &r->w);
    r->dsrc = graph_op(r->g, dense ? OP_DENSE_BWD_DATA : OP_CONV2D_BWD_DATA, attrs, 2,
                       (ValueId[]){r->dd, r->wt});
    r->dw = graph_op(r->g, dense ? OP_DENSE_BWD_WEIGHTS : OP_CONV2D_BWD_WEIGHTS, attrs, 2,
                     (ValueId[]){r->src, r->dd});
    r->db = graph_op(r->g, OP_BIAS_GRAD, NULL, 1, &r->dd);
    if (dense)
        r->dots = graph_op(r->g, OP_DENSE_BWD_DATA, attrs, 2, (ValueId[]){r->dd, r->w});
    r->kernels = dense ? NKERNELS : DOTS;
    graph_v(r->g, r->dw)->batched = graph_v(r->g, r->db)->batched = false;
    graph_v(r->g, r->wt)->batched = false;
}

static Layout wanted(const Rig *r, ValueId reader, int input) {
    Layout l;
    NodeId n = def_of(r, reader);
    const OpDef *def = op_def[graph_n(r->g, n)->op];
    CU_ASSERT_FATAL(def->weights(r->g, n, input, &r->target, &l));
    return l;
}

static void build_layouts(Rig *r, const Case *c) {
    int src_halo[4] = {0}, dd_halo[4] = {0}, extra[4] = {1, 2, 1, 3};
    NodeId fwd = def_of(r, r->fwd), back = def_of(r, r->dsrc);
    if (op_def[graph_n(r->g, fwd)->op]->halo)
        op_def[graph_n(r->g, fwd)->op]->halo(r->g, fwd, 0, src_halo);
    if (op_def[graph_n(r->g, back)->op]->halo)
        op_def[graph_n(r->g, back)->op]->halo(r->g, back, 0, dd_halo);
    Layout lw = wanted(r, r->fwd, 1), ldw = wanted(r, r->dw, -1);
    CU_ASSERT_EQUAL(memcmp(&lw, &ldw, sizeof lw), 0);
    r->params.at[0].layout = lw;
    r->params.at[0].bytes = round64(4 * layout_elems(&lw, &r->wshape));
    r->params.at[1].offset = r->params.at[0].bytes;
    r->params.bytes = r->params.at[0].bytes + r->params.at[1].bytes;
    graph_v(r->g, r->w)->layout = lw;
    bool rank1 = c->flags & DENSE;
    place(r, r->src, tensor_layout(r, c->flags & PLAIN, src_halo));
    place(r, r->dd, tensor_layout(r, false, dd_halo));
    place(r, r->fwd, tensor_layout(r, false, NULL));
    place(r, r->dst, tensor_layout(r, false, c->flags & HALO && !rank1 ? extra : NULL));
    place(r, r->dsrc, tensor_layout(r, false, c->flags & HALO ? extra : NULL));
    if (r->dots) {
        Layout l = wanted(r, r->dots, 1);
        CU_ASSERT_EQUAL(memcmp(&lw, &l, sizeof lw), 0);
        place(r, r->dots, tensor_layout(r, false, c->flags & HALO ? extra : NULL));
    }
    place(r, r->wt, wanted(r, r->dsrc, 1));
    place(r, r->dw, ldw);
    place(r, r->db, tensor_layout(r, false, NULL));
    CU_ASSERT_TRUE(wanted(r, r->wt, -1).o_tile == graph_v(r->g, r->wt)->layout.o_tile);
}

static void emit_kernels(Rig *r) {
    static const char *const name[] = {"forward",      "transpose", "back_data",
                                       "back_weights", "bias",      "dots"};
    ValueId out[] = {r->fwd, r->wt, r->dsrc, r->dw, r->db, r->dots};
    r->e = emit_new(r->keep, &r->target, "conv");
    for (int i = 0; i < r->kernels; ++i) {
        Kernel *kernel = &r->kernel[i];
        set_kernel(r, i, def_of(r, out[i]), i == FORWARD ? def_of(r, r->dst) : 0, name[i]);
        KernelCtx k = {.e = r->e, .g = r->g, .k = kernel, .t = &r->target};
        k.node = graph_n(r->g, kernel->anchor);
        k.attrs = k.node->attrs;
        op_def[k.node->op]->choose(r->g, kernel, &r->target);
        k.a = em_kernel_begin(r->e, name[i]);
        k.n = em_load_i64(r->e, k.a.frame, 32);
        k.cap = em_load_i64(r->e, k.a.frame, 40);
        op_def[k.node->op]->lower(&k);
        em_kernel_end(r->e);
    }
    char why[1024] = "";
    bool ok = emit_finish(r->e, 2, why, sizeof why);
    for (int i = 0; i < r->kernels && ok; ++i)
        r->fn[i] = (rt_kernel_fn)(uintptr_t)emit_jit(r->e, name[i], why, sizeof why);
    if (why[0])
        printf("%s\n", why);
    CU_ASSERT_FATAL(ok);
}

static void *bytes64(int64_t n) {
    void *p = aligned_alloc(2 << 20, (size_t)(n + (2 << 20)) & ~(size_t)((2 << 20) - 1));
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    memset(p, 0xff, (size_t)n); /* NaN everywhere */
    return p;
}

static const PlanOptions direct = {.exact = true}; /* Winograd's kernels: test_winograd.c */

static void rig_open(Rig *r, const Case *c, const char *target) {
    char why[256];
    *r = (Rig){.keep = arena_new()};
    CU_ASSERT_FATAL(target_find(r->keep, target, &r->target, why, sizeof why));
    r->params.at = ARENA_ARRAY(r->keep, 4, Param);
    r->g = graph_new(r->keep, "test", "test", &r->params);
    r->g->options = &direct;
    build_nodes(r, c);
    build_layouts(r, c);
    emit_kernels(r);
    int64_t scratch = 64;
    for (int i = 0; i < r->kernels; ++i)
        scratch = r->kernel[i].scratch > scratch ? r->kernel[i].scratch : scratch;
    int cap = c->n + 1;
    r->frame = (rt_frame){.act = bytes64(r->act_bytes * cap),
                          .fix = bytes64(r->fix_bytes),
                          .param = bytes64(r->params.bytes),
                          .n = c->n,
                          .cap = cap};
    r->scratch = bytes64(scratch);
}

static void rig_close(Rig *r) {
    free(r->frame.act);
    free(r->frame.fix);
    free(r->frame.param);
    free(r->scratch);
    emit_free(r->e);
    arena_free(r->keep);
}

/* ---- data in and out ---- */
static float *storage(const Rig *r, ValueId id, int64_t n) {
    const Value *v = graph_v(r->g, id);
    if (v->kind == VK_PARAM)
        return (float *)(void *)(r->frame.param + r->params.at[v->slot].offset);
    if (v->pool == POOL_FIX)
        return (float *)(void *)(r->frame.fix + v->offset);
    return (float *)(void *)(r->frame.act + v->offset * r->frame.cap + n * v->bytes);
}

/* Walks the physical elements; fn gets the logical index or -1 for padding. */
typedef void (*Visit)(float *cell, int64_t logical, void *user);
static void walk(const Rig *r, ValueId id, int64_t n, Visit fn, void *user) {
    const Value *v = graph_v(r->g, id);
    Axis axis[LAYOUT_MAX_AXES];
    int count = layout_axes(&v->layout, &v->shape, axis);
    int64_t total = layout_elems(&v->layout, &v->shape);
    float *data = storage(r, id, n);
    for (int64_t i = 0; i < total; ++i) {
        int64_t dim[SHAPE_MAX_RANK] = {0}, rest = i, logical = 0, in_group = 0;
        bool inside = true;
        for (int a = count - 1; a >= 0; --a) {
            int64_t p = rest % axis[a].extent;
            rest /= axis[a].extent;
            dim[axis[a].dim] += p * axis[a].mult + axis[a].offset;
            if (v->layout.kind == LAYOUT_WEIGHTS && a != 0 && axis[a].dim == 0)
                in_group += p * axis[a].mult;
        }
        for (int d = 0; d < v->shape.rank; ++d) {
            inside = inside && dim[d] >= 0 && dim[d] < v->shape.dim[d];
            logical = logical * v->shape.dim[d] + dim[d];
        }
        /* output channels beyond a group are padding, not the next group's */
        if (v->layout.kind == LAYOUT_WEIGHTS && in_group >= v->shape.dim[0] / v->layout.groups)
            inside = false;
        fn(&data[i], inside ? logical : -1, user);
    }
}

static void put(float *cell, int64_t logical, void *user) {
    *cell = logical < 0 ? 0 : ((float *)user)[logical];
}

typedef struct Get {
    float *out;
    bool dirty;
} Get;
static void get(float *cell, int64_t logical, void *user) {
    Get *g = user;
    if (logical >= 0)
        g->out[logical] = *cell;
    else if (*cell != 0 || isnan(*cell))
        g->dirty = true;
}

static int64_t elems(const Rig *r, ValueId v) {
    return shape_elems(&graph_v(r->g, v)->shape);
}

static uint32_t seed = 1;
static float noise(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed * 0x1p-31f;
}

/* Random numbers for n images, kept in logical order as well. */
static float *fill(Rig *r, ValueId v, int n) {
    int64_t count = elems(r, v);
    float *x = malloc((size_t)(count * n) * 4);
    for (int64_t i = 0; i < count * n; ++i)
        x[i] = noise();
    for (int i = 0; i < n; ++i)
        walk(r, v, i, put, x + i * count);
    return x;
}

static float *fetch(Rig *r, ValueId v, int n, bool *clean) {
    int64_t count = elems(r, v);
    Get g = {malloc((size_t)(count * n) * 4), false};
    float *x = g.out;
    for (int i = 0; i < n; ++i, g.out += count)
        walk(r, v, i, get, &g);
    *clean = !g.dirty;
    return x;
}

/* All tasks, the odd ones last and in pairs where possible: order must not matter. */
static void run(Rig *r, int kernel, int n) {
    const Kernel *k = &r->kernel[kernel];
    int64_t tasks = k->tasks_per;
    if (k->tasks_block)
        tasks *= (n + k->tasks_block - 1) / k->tasks_block;
    r->frame.n = n;
    int64_t half = tasks / 2;
    memset(r->scratch, 0xff, 8);
    for (int64_t i = half; i < tasks; i += 2)
        r->fn[kernel](&r->frame, i, i + 2 < tasks ? i + 2 : tasks, r->scratch);
    for (int64_t i = half; i-- > 0;)
        r->fn[kernel](&r->frame, i, i + 1, r->scratch);
}

/* ---- reference ---- */
typedef struct Ref {
    double *dst, *dsrc, *dw, *db;
} Ref;

static Ref reference(const Case *c0, const float *x, const float *w, const float *b,
                     const float *dd, int64_t oh, int64_t ow) {
    Case c = *c0;
    if (c.flags & DENSE) {
        c.kernel[0] = c.h, c.kernel[1] = c.w;
        c.stride[0] = c.stride[1] = c.dilation[0] = c.dilation[1] = 1;
    }
    int64_t kk = c.kernel[0] * c.kernel[1], ig = c.c / c.groups, og = c.o / c.groups;
    size_t ns = (size_t)(c.n * c.c * c.h * c.w), nd = (size_t)(c.n * c.o * oh * ow);
    Ref r = {calloc(nd, 8), calloc(ns, 8), calloc((size_t)(c.o * ig * kk), 8),
             calloc((size_t)c.o, 8)};
    for (int64_t n = 0; n < c.n; ++n)
        for (int64_t o = 0; o < c.o; ++o)
            for (int64_t y = 0; y < oh; ++y)
                for (int64_t xx = 0; xx < ow; ++xx) {
                    int64_t at = ((n * c.o + o) * oh + y) * ow + xx;
                    double sum = (double)b[o], d = (double)dd[at];
                    for (int64_t i = 0; i < ig; ++i)
                        for (int64_t t = 0; t < kk; ++t) {
                            int64_t iy =
                                y * c.stride[0] + t / c.kernel[1] * c.dilation[0] - c.pad[0];
                            int64_t ix =
                                xx * c.stride[1] + t % c.kernel[1] * c.dilation[1] - c.pad[2];
                            if (iy < 0 || ix < 0 || iy >= c.h || ix >= c.w)
                                continue;
                            int64_t s = ((n * c.c + o / og * ig + i) * c.h + iy) * c.w + ix;
                            int64_t wi = (o * ig + i) * kk + t;
                            sum += (double)x[s] * (double)w[wi];
                            r.dsrc[s] += d * (double)w[wi];
                            r.dw[wi] += d * (double)x[s];
                        }
                    r.dst[at] = sum;
                    r.db[o] += d;
                }
    return r;
}

/* Largest difference relative to the largest number. */
static double worst(const float *got, const double *want, int64_t n, bool relu) {
    double diff = 0, most = 1e-30;
    for (int64_t i = 0; i < n; ++i) {
        double v = relu && want[i] < 0 ? 0 : want[i];
        double d = fabs((double)got[i] - v);
        if (!(d <= diff)) /* NaN counts */
            diff = isnan(d) ? 1e9 : d;
        if (fabs(want[i]) > most)
            most = fabs(want[i]);
    }
    return diff / most;
}

static void check(Rig *r, const Case *c, const char *what, ValueId v, const double *want, int n,
                  bool relu) {
    bool clean;
    float *got = fetch(r, v, n, &clean);
    double d = worst(got, want, elems(r, v) * n, relu);
    if (d > 1e-5 || !clean)
        printf("%s, %s, %s: error %.2g%s\n", r->target.name, c->name, what, d,
               clean ? "" : ", dirty padding");
    CU_ASSERT_TRUE(d <= 1e-5);
    CU_ASSERT_TRUE(clean);
    free(got);
}

/* Image 0 alone has the bits it had among others. */
static void check_batch(Rig *r, const Case *c) {
    ValueId out[] = {r->dst, r->dsrc, r->dots};
    int kernel[] = {FORWARD, BACK_DATA, DOTS};
    for (int k = 0; k < (r->dots ? 3 : 2); ++k) {
        bool clean;
        int64_t n = elems(r, out[k]);
        float *before = fetch(r, out[k], c->n, &clean);
        run(r, kernel[k], 1);
        float *after = fetch(r, out[k], c->n, &clean);
        CU_ASSERT_EQUAL(memcmp(before, after, (size_t)n * 4), 0);
        free(before);
        free(after);
    }
}

static void run_case(const Case *c, const char *target) {
    Rig r;
    rig_open(&r, c, target);
    float *x = fill(&r, r.src, c->n), *dd = fill(&r, r.dd, c->n);
    float *w = fill(&r, r.w, 1), *b = fill(&r, r.bias, 1);
    for (int k = 0; k < r.kernels; ++k)
        run(&r, k, c->n);
    int64_t ch, oh, ow;
    shape_chw(&graph_v(r.g, r.dst)->shape, &ch, &oh, &ow);
    Ref ref = reference(c, x, w, b, dd, oh, ow);
    check(&r, c, "before relu", r.fwd, ref.dst, c->n, false);
    check(&r, c, "forward", r.dst, ref.dst, c->n, true);
    check(&r, c, "backward data", r.dsrc, ref.dsrc, c->n, false);
    check(&r, c, "backward weights", r.dw, ref.dw, 1, false);
    check(&r, c, "bias gradient", r.db, ref.db, 1, false);
    if (r.dots)
        check(&r, c, "backward data, dots", r.dots, ref.dsrc, c->n, false);
    check_batch(&r, c);
    float *all[] = {x, dd, w, b};
    double *refs[] = {ref.dst, ref.dsrc, ref.dw, ref.db};
    for (int i = 0; i < 4; ++i) {
        free(all[i]);
        free(refs[i]);
    }
    rig_close(&r);
}

static void run_cases(const char *target) {
    Arena *a = arena_new();
    Target t;
    char why[256];
    CU_ASSERT_FATAL(target_find(a, target, &t, why, sizeof why));
    bool here = target_runs_here(&t);
    arena_free(a);
    if (!here) {
        suite_skip(target);
        return;
    }
    for (int i = 0; i < NCASES; ++i)
        run_case(&cases[i], target);
}

ON_TARGETS(run_cases)

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse))
