/* compiled.c: see compiled.h. */
#define _GNU_SOURCE
#include "compiled.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "ir/lanes.h"
#include "ops/attrs.h"

enum { GUARD = 1024, MAX_VALUES = 64 };
static const uint32_t nan_bits = 0x7fc0beef; /* quiet, and not what arithmetic makes */

/* ---- compiling ---- */

Emit *compiled_begin(Arena *keep, const Target *t) {
    return emit_new(keep, t, "compiled");
}

Compiled compiled_add(Emit *e, Graph *g, const char *prefix) {
    codegen_kernels(e, g, emit_target(e), prefix);
    return (Compiled){.g = g, .prefix = prefix};
}

bool compiled_link(Emit *e, Compiled *at, int count, int level) {
    char why[512] = "";
    bool good = emit_finish(e, level, why, sizeof why);
    for (int i = 0; i < count && good; i++) {
        Graph *g = at[i].g;
        at[i].fn = ARENA_ARRAY(g->keep, g->nkernels, rt_kernel_fn);
        for (int k = 0; k < g->nkernels && good; k++) {
            void *f = emit_jit(e, codegen_kernel_name(g->keep, g, k, at[i].prefix), why,
                               sizeof why);
            good = f != NULL;
            memcpy(&at[i].fn[k], &f, sizeof f);
        }
    }
    if (!good)
        printf("cannot compile: %s\n", why);
    return good;
}

bool compiled_target(Arena *keep, const char *name, Target *out) {
    char why[256];
    return target_find(keep, name, out, why, sizeof why) && target_runs_here(out);
}

/* ---- slabs ---- */

static void fill_nan(char *at, int64_t bytes) {
    for (int64_t i = 0; i + 4 <= bytes; i += 4)
        memcpy(at + i, &nan_bits, 4);
}

static Slab slab_new(int64_t bytes) {
    Slab s = {.bytes = (bytes + 63) / 64 * 64};
    s.block = aligned_alloc(64, (size_t)(s.bytes + 2 * GUARD));
    if (!s.block)
        fatal(NETC_LIMIT, "out of memory in a test");
    s.at = s.block + GUARD;
    fill_nan(s.block, s.bytes + 2 * GUARD);
    return s;
}

static bool guards_stand(const Slab *s) {
    for (int64_t i = 0; i < GUARD; i += 4)
        if (memcmp(s->block + i, &nan_bits, 4) != 0 ||
            memcmp(s->at + s->bytes + i, &nan_bits, 4) != 0)
            return false;
    return true;
}

static Layout layout_of(const Graph *g, const Value *v) {
    if (v->kind == VK_PARAM || v->kind == VK_STATE)
        return g->params->at[v->slot].layout;
    return v->layout;
}

/* The parameter itself when v is the result of its update. */
static ValueId storage_value(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    if (x->kind == VK_RESULT && op_is(graph_n(g, x->def)->op, OPF_X))
        return graph_n(g, x->def)->in[0];
    return v;
}

/* First byte of v, distance between images, images. */
static char *place_of(const Slabs *s, ValueId v, int64_t *step, int64_t *images) {
    const Value *x = graph_v(s->g, v);
    *step = 0;
    *images = 1;
    if (x->kind == VK_PARAM)
        return s->param.at + s->g->params->at[x->slot].offset;
    if (x->kind == VK_STATE)
        return s->state.at + s->g->params->at[x->slot].state_offset;
    BUG_IF(!x->stored, "value %u is not stored", v);
    if (x->pool == POOL_FIX)
        return s->fix.at + x->offset;
    BUG_IF(x->pool != POOL_ACT, "value %u has no place", v);
    *step = x->bytes / shape_frames(&x->shape); /* frames are images */
    *images = s->frame.n * shape_frames(&x->shape);
    return s->act.at + x->offset * s->frame.cap;
}

/* Of one frame. */
static Shape shape_of(const Graph *g, const Value *x) {
    return x->kind == VK_PARAM || x->kind == VK_STATE ? g->params->at[x->slot].split
                                                      : shape_clip(x->shape, 1);
}

/* Logical index of every physical element, -1 for padding.  Each logical one occurs once. */
static int64_t *index_map(const Graph *g, ValueId v, int64_t *count) {
    const Value *x = graph_v(g, v);
    Layout l = layout_of(g, x);
    Shape s = shape_of(g, x);
    Axis axis[LAYOUT_MAX_AXES];
    int naxes = layout_axes(&l, &s, axis);
    *count = layout_elems(&l, &s);
    int64_t *map = malloc((size_t)*count * sizeof *map), seen = 0;
    if (!map)
        fatal(NETC_LIMIT, "out of memory in a test");
    for (int64_t p = 0; p < *count; p++) {
        int64_t rest = p, at[SHAPE_MAX_RANK] = {0}, index = 0;
        for (int a = naxes - 1; a >= 0; a--) {
            at[axis[a].dim] += rest % axis[a].extent * axis[a].mult + axis[a].offset;
            rest /= axis[a].extent;
        }
        for (int d = 0; d < s.rank && index >= 0; d++)
            index = at[d] < 0 || at[d] >= s.dim[d] ? -1 : index * s.dim[d] + at[d];
        map[p] = index;
        seen += index >= 0;
    }
    BUG_IF(seen != shape_elems(&s), "layout of value %u shows %lld of %lld elements", v,
           (long long)seen, (long long)shape_elems(&s));
    return map;
}

static bool is_bf16(const Graph *g, const Value *x) {
    return x->kind == VK_PARAM && g->params->at[x->slot].bf16;
}

/* Numbers of tests for bfloat16 are rounded already. */
static void put_bf16(char *at, double d) {
    float f = (float)d;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    BUG_IF(bits & 0xffff, "%.9g is no bfloat16", d);
    uint16_t half = (uint16_t)(bits >> 16);
    memcpy(at, &half, 2);
}

void slabs_write(Slabs *s, ValueId v, const double *from) {
    const Value *x = graph_v(s->g, v);
    Shape shape = shape_of(s->g, x);
    int64_t step, images, count, *map = index_map(s->g, v, &count);
    char *at = place_of(s, v, &step, &images);
    for (int64_t n = 0; n < images; n++)
        for (int64_t p = 0; p < count; p++) {
            double d = map[p] < 0 || !from ? 0 : from[n * shape_elems(&shape) + map[p]];
            if (is_bf16(s->g, x))
                put_bf16(at + 2 * p, d);
            else if (x->dtype == DT_U8)
                at[n * step + p] = (char)(unsigned char)d;
            else
                ((float *)(void *)(at + n * step))[p] = (float)d;
        }
    free(map);
}

static double element(const Graph *g, const Value *x, const char *at, int64_t p) {
    if (is_bf16(g, x)) {
        float wide;
        uint32_t bits = 0;
        memcpy((char *)&bits + 2, at + 2 * p, 2);
        memcpy(&wide, &bits, 4);
        return (double)wide;
    }
    if (x->dtype == DT_U8)
        return (unsigned char)at[p];
    float f;
    memcpy(&f, at + 4 * p, 4);
    return (double)f;
}

/* A block kernel leaves a gradient in several parts: how many, and how far apart. */
static int64_t parts_of(const Slabs *s, const Value *x, int64_t *step) {
    const Graph *g = s->g;
    *step = 0;
    if (x->kind != VK_RESULT || x->batched || !graph_n(g, x->def)->kernel)
        return 1;
    const Lanes *l = g->kernels[graph_n(g, x->def)->kernel - 1].lanes;
    if (!l || !l->slots)
        return 1;
    *step = x->bytes / l->slots;
    int64_t blocks = (s->frame.n + l->target->vector - 1) / l->target->vector;
    return blocks < l->slots ? blocks : l->slots;
}

int64_t slabs_read(const Slabs *s, ValueId v, double *to) {
    v = storage_value(s->g, v);
    const Value *x = graph_v(s->g, v);
    Shape shape = shape_of(s->g, x);
    int64_t step, images, count, *map = index_map(s->g, v, &count), dirty = 0, part;
    int64_t parts = parts_of(s, x, &part);
    const char *at = place_of(s, v, &step, &images);
    for (int64_t n = 0; n < images; n++)
        for (int64_t p = 0; p < count; p++) {
            double d = 0;
            for (int64_t i = 0; i < parts; i++)
                d += element(s->g, x, at + n * step + i * part, p);
            if (map[p] >= 0)
                to[n * shape_elems(&shape) + map[p]] = d;
            else
                dirty += !(d == 0);
        }
    free(map);
    return dirty;
}

Slabs slabs_new(const Graph *g, const RefRun *r, int64_t cap) {
    Slabs s = {.g = g};
    s.act = slab_new(g->act_bytes * cap);
    s.fix = slab_new(g->fix_bytes);
    s.param = slab_new(g->params->bytes);
    s.state = slab_new(g->params->state_bytes);
    s.scratch = slab_new(g->scratch_bytes);
    memset(s.param.at, 0, (size_t)s.param.bytes);
    memset(s.state.at, 0, (size_t)s.state.bytes);
    s.frame = (rt_frame){.act = s.act.at, .fix = s.fix.at, .param = s.param.at,
                         .state = s.state.at, .n = r->n, .cap = cap, .seed = r->seed,
                         .step = r->step};
    s.frame.scalar[RT_SCALAR_INV_N] = 1 / (float)r->n;
    s.frame.scalar[RT_SCALAR_LR] = (float)r->lr;
    s.frame.scalar[RT_SCALAR_MOMENTUM] = (float)r->momentum;
    s.frame.scalar[RT_SCALAR_DECAY] = (float)r->decay;
    s.frame.scalar[RT_SCALAR_SECOND] = (float)REF_SECOND;
    s.frame.scalar[RT_SCALAR_CORRECT1] = (float)REF_CORRECT1;
    s.frame.scalar[RT_SCALAR_CORRECT2] = (float)REF_CORRECT2;
    s.frame.scalar[RT_SCALAR_CLIP] = (float)REF_CLIP;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        int64_t elems = shape_elems(&x->shape) * r->n;
        if (x->kind == VK_INPUT && r->input[x->slot] && !s.input[x->slot]) {
            float *at = s.input[x->slot] = malloc((size_t)elems * sizeof(float));
            for (int64_t i = 0; at && i < elems; i++)
                at[i] = (float)r->input[x->slot][i];
            s.frame.input[x->slot] = at;
        }
        if (x->kind == VK_LABEL)
            s.frame.label[x->slot] = r->label[x->slot];
        bool used = (x->kind == VK_PARAM || x->kind == VK_STATE) &&
                    g->params->at[x->slot].layout.kind != LAYOUT_UNSET;
        if (used && x->kind == VK_PARAM)
            slabs_write(&s, v, r->param[x->slot]);
        if (used && x->kind == VK_STATE)
            slabs_write(&s, v, r->state ? r->state[x->slot] : NULL);
    }
    return s;
}

void slabs_free(Slabs *s) {
    free(s->act.block);
    free(s->fix.block);
    free(s->param.block);
    free(s->state.block);
    free(s->scratch.block);
    for (int i = 0; i < 4; i++)
        free(s->input[i]);
    *s = (Slabs){0};
}

/* ---- running ---- */

int64_t kernel_tasks(const Kernel *k, int64_t n) {
    n *= kernel_frames(k);
    return k->tasks_per * (k->tasks_block ? (n + k->tasks_block - 1) / k->tasks_block : 1);
}

void slabs_run(Slabs *s, const Compiled *c, int k, int pieces, bool reverse) {
    int64_t tasks = kernel_tasks(&c->g->kernels[k], s->frame.n);
    for (int i = 0; i < pieces; i++) {
        int piece = reverse ? pieces - 1 - i : i;
        int64_t lo = tasks * piece / pieces, hi = tasks * (piece + 1) / pieces;
        fill_nan(s->scratch.at, s->scratch.bytes);
        c->fn[k](&s->frame, lo, hi, s->scratch.at);
    }
}

void slabs_entry(Slabs *s, const Compiled *c, const char *entry) {
    for (int i = 0; i < c->g->nentries; i++) {
        const Entry *e = &c->g->entry[i];
        if (strcmp(e->name, entry) != 0)
            continue;
        for (int k = e->first; k < e->first + e->count; k++)
            slabs_run(s, c, k, 1, false);
        return;
    }
    BUG("no entry '%s'", entry);
}

/* ---- ties ---- */

static bool window_tie(const Graph *g, const Node *n, const double *x, int64_t images, double most) {
    const PoolAttrs *a = n->attrs;
    int64_t c, h, w, oc, oh, ow;
    shape_chw(&graph_v(g, n->in[0])->shape, &c, &h, &w);
    shape_chw(&graph_v(g, n->out[0])->shape, &oc, &oh, &ow);
    for (int64_t p = 0; p < images * c * oh * ow; p++) {
        double first = -INFINITY, second = -INFINITY;
        for (int64_t k = 0; k < a->kernel[0] * a->kernel[1]; k++) {
            int64_t y = p / ow % oh * a->stride[0] - a->pad[0] + k / a->kernel[1];
            int64_t z = p % ow * a->stride[1] - a->pad[2] + k % a->kernel[1];
            if (y < 0 || y >= h || z < 0 || z >= w)
                continue;
            double v = x[(p / (oh * ow) * h + y) * w + z];
            second = v > first ? first : v > second ? v : second;
            first = v > first ? v : first;
        }
        /* zeros of a rectifier tie exactly, and on both sides the first wins */
        if (first - second < 1e-5 * most && first > 0)
            return true;
    }
    return false;
}

bool near_tie(const Graph *g, double *const *value, int64_t images) {
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *n = graph_n(g, id);
        if (n->dead || (n->op != OP_RELU && n->op != OP_MAXPOOL) || !value[n->in[0]])
            continue;
        const double *x = value[n->in[0]];
        int64_t count = shape_elems(&graph_v(g, n->in[0])->shape) * images;
        double most = 0;
        for (int64_t i = 0; i < count; i++)
            most = fmax(most, fabs(x[i]));
        for (int64_t i = 0; i < count && n->op == OP_RELU; i++)
            if (x[i] != 0 && fabs(x[i]) < 1e-5 * most)
                return true;
        if (n->op == OP_MAXPOOL && window_tie(g, n, x, images, most))
            return true;
    }
    return false;
}

/* ---- comparing ---- */

typedef struct Checker {
    const Compiled *c;
    const Graph *g;
    Check *how;
    Slabs a, b;
    double **got;      /* per value: what was stored, as read back */
    double **cur;      /* per value: numbers that the reference of this kernel works with */
    double **momentum; /* per parameter: after its update */
    double reach;      /* of this kernel's sums: largest sum of magnitudes, 0: no sums */
    double rms;        /* 0, or how far off its numbers may be on the whole, of theirs */
    double floor;      /* a tensor is judged as if one of its numbers were as large as this */
    int failures;
    const char *kernel;
} Checker;

static void failure(Checker *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void failure(Checker *t, const char *format, ...) {
    if (t->failures++ >= 4)
        return;
    va_list args;
    va_start(args, format);
    printf("  %s, program %s, kernel %s: ", t->how->what, t->g->name, t->kernel);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

static int64_t elems_of(const Checker *t, ValueId v) {
    const Value *x = graph_v(t->g, v);
    return shape_elems(&x->shape) * (x->batched ? t->how->data->n : 1);
}

static double *numbers(int64_t n) {
    double *at = calloc((size_t)(n > 0 ? n : 1), sizeof *at);
    if (!at)
        fatal(NETC_LIMIT, "out of memory in a test");
    return at;
}

static const char *value_name(const Checker *t, ValueId v) {
    static char name[96];
    const Value *x = graph_v(t->g, v);
    char shape[64];
    shape_print(&x->shape, shape, sizeof shape);
    const char *op = x->kind == VK_RESULT ? op_name[graph_n(t->g, x->def)->op] : "input";
    snprintf(name, sizeof name, "%s (%%%u = %s, %s)", x->name ? x->name : "value", v, op, shape);
    return name;
}

static bool close_to(double got, double want, double bound, bool exact) {
    if (isnan(want))
        return isnan(got);
    if (exact || isinf(want))
        return got == want;
    return fabs(got - want) <= bound;
}

/* Rounding of a sum whose terms cancel: relative to the sum of their magnitudes. */
static const double few_ulps = 2e-7;

/* What all numbers of a Winograd kernel together stay within (test_winograd.c has the table); each
 * of them is held like a plain sum's. */
static const double winograd_rms = 5e-6;

static double rms(const double *x, const double *less, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] - (less ? less[i] : 0);
        sum += isfinite(d) ? d * d : 0; /* others are held one by one */
    }
    return sqrt(sum / (double)n);
}

/* Numbers of one tensor: got against want, relative to the largest of want. */
static void compare(Checker *t, ValueId v, const double *got, const double *want, double bound,
                    bool exact, const char *which) {
    int64_t n = elems_of(t, v), wrong = 0, first = -1;
    double most = t->floor;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i]) && fabs(want[i]) > most)
            most = fabs(want[i]);
    for (int64_t i = 0; i < n; i++)
        if (!close_to(got[i], want[i], bound * most + few_ulps * t->reach + 1e-30, exact)) {
            first = first < 0 ? i : first;
            wrong++;
        }
    double off = rms(got, want, n), size = rms(want, NULL, n) + t->floor;
    if (wrong)
        failure(t,
                "%s %s: %lld of %lld wrong, first [%lld]: %.9g, want %.9g (max %.3g, off %.2e; "
                "rms error %.2e of max)",
                value_name(t, v), which, (long long)wrong, (long long)n, (long long)first,
                got[first], want[first], most, fabs(got[first] - want[first]) / most,
                off / most);
    if (t->rms > 0 && off > t->rms * size + few_ulps * t->reach)
        failure(t, "%s %s: rms error %.2e of %.2e", value_name(t, v), which, off, size);
}

/* Reads what the kernel is about to read; stored values must be as their kernel left them. */
static void gather_inputs(Checker *t, const Kernel *k) {
    ValueId in[MAX_VALUES];
    int n = kernel_inputs(t->g, k, in, MAX_VALUES);
    BUG_IF(n > MAX_VALUES, "kernel reads %d values", n);
    for (int i = 0; i < n; i++) {
        const Value *x = graph_v(t->g, in[i]);
        double *at = numbers(elems_of(t, in[i]));
        if (x->kind == VK_INPUT) {
            for (int64_t j = 0; j < elems_of(t, in[i]); j++)
                at[j] = (double)(float)t->how->data->input[x->slot][j];
        } else if (x->kind == VK_LABEL) {
            for (int64_t j = 0; j < elems_of(t, in[i]); j++)
                at[j] = t->how->data->label[x->slot][j];
        } else {
            slabs_read(&t->a, in[i], at);
            const double *was = t->got[in[i]];
            if (was && memcmp(was, at, (size_t)elems_of(t, in[i]) * sizeof *at) != 0)
                failure(t, "input %s was overwritten before this kernel", value_name(t, in[i]));
        }
        free(t->cur[in[i]]);
        t->cur[in[i]] = at;
    }
}

static RefTensor tensor_of(const Checker *t, ValueId v, int op) {
    const Value *x = graph_v(t->g, v);
    RefTensor r = {x->shape, x->batched ? t->how->data->n : 1, t->cur[v]};
    ref_see(&r, op);
    return r;
}

/* The operators whose results are sums of products (or plain sums) of their inputs. */
static bool is_sum(int op) {
    switch (op) {
    case OP_CONV2D: case OP_CONV2D_BWD_DATA: case OP_CONV2D_BWD_WEIGHTS:
    case OP_DENSE: case OP_DENSE_BWD_DATA: case OP_DENSE_BWD_WEIGHTS:
    case OP_BIAS_GRAD: case OP_SUBSAMPLE: case OP_SUBSAMPLE_BWD_DATA: case OP_SUBSAMPLE_BWD_COEF:
    case OP_AVGPOOL: case OP_AVGPOOL_BWD: case OP_MAXPOOL_BWD: case OP_ADD:
    case OP_SUM_TO: case OP_FRAMES: case OP_FRAMES_MAX_BWD:
    case OP_MOMENTS: case OP_BN_COMBINE: case OP_BN_SCALE: case OP_BN_BWD_SUMS: case OP_BN_BWD_COEF:
    case OP_SCALE_SHIFT: case OP_BN_BWD_DATA:
    case OP_SGD: case OP_ADAM: case OP_RMSPROP: case OP_SDLM: case OP_SLBI:
    case OP_SLBI_GROUPS:
        return true;
    default:
        return false;
    }
}

/* The same sums over magnitudes: what their rounding errors are measured by. */
static void find_reach(Checker *t, const Node *n, const RefTensor *in, const RefTensor *out) {
    RefTensor size[MAX_VALUES], sum = out[0], sums[4];
    if (!is_sum(n->op))
        return;
    for (int i = 0; i < n->nin; i++) {
        int64_t count = ref_elems(&in[i]);
        size[i] = in[i];
        size[i].at = numbers(count);
        for (int64_t j = 0; j < count; j++)
            size[i].at[j] = fabs(in[i].at[j]);
    }
    for (int k = 0; k < op_nout[n->op]; k++) {
        sums[k] = out[k];
        sums[k].at = numbers(REF_SPARE * ref_elems(&out[k]));
    }
    RefCall call = {.attrs = n->attrs, .n = ref_images(n->op, in, n->nin, out, t->how->data->n),
                    .nin = n->nin, .in = size, .out = sums};
    ref_op[n->op](&call);
    sum.at = sums[0].at;
    if (op_def[n->op]->update) /* w - lr v */
        memcpy(sum.at, size[0].at, (size_t)ref_elems(&sum) * sizeof *sum.at);
    for (int k = 0; k < op_nout[n->op]; k++)
        for (int64_t j = 0; j < ref_elems(&sums[k]); j++)
            t->reach = fmax(t->reach, fabs(sums[k].at[j]));
    for (int i = 0; i < n->nin; i++)
        free(size[i].at);
    for (int k = 0; k < op_nout[n->op]; k++)
        free(sums[k].at);
}

/* The reference loop of one node on t->cur. */
static void evaluate(Checker *t, const Node *n) {
    const RefRun *d = t->how->data;
    RefTensor in[MAX_VALUES], out[4];
    double *spare[4] = {NULL};
    for (int i = 0; i < n->nin; i++)
        in[i] = tensor_of(t, n->in[i], n->op);
    for (int k = 0; k < op_nout[n->op]; k++) {
        ValueId v = k < n->nout ? n->out[k] : 0;
        if (v) {
            free(t->cur[v]);
            t->cur[v] = numbers(elems_of(t, v));
            out[k] = tensor_of(t, v, n->op);
        } else {
            out[k] = out[0];
            out[k].at = spare[k] = numbers(REF_SPARE * ref_elems(&out[0]));
        }
    }
    /* float, as in the frame: their rounding is not the kernel's fault */
    RefCall call = {.attrs = n->attrs, .n = ref_images(n->op, in, n->nin, out, d->n),
                    .nin = n->nin, .in = in, .out = out,
                    .lr = (double)(float)d->lr, .momentum = (double)(float)d->momentum,
                    .decay = (double)(float)d->decay, .seed = d->seed, .step = d->step};
    if (op_def[n->op]->update) {
        int slot = graph_v(t->g, n->in[2])->slot;
        free(t->momentum[slot]);
        call.new_momentum = t->momentum[slot] = numbers(ref_elems(&in[0]));
    }
    ref_op[n->op](&call);
    find_reach(t, n, in, out);
    for (int k = 0; k < 4; k++)
        free(spare[k]);
}

/* ---- after a kernel ---- */

/* Marks the bytes of v in a picture of slab s. */
static void mark(const Slabs *s, const Slab *slab, ValueId v, char *may_change) {
    int64_t step, images;
    v = storage_value(s->g, v);
    const char *at = place_of(s, v, &step, &images);
    const Value *x = graph_v(s->g, v);
    bool owned = x->kind == VK_PARAM || x->kind == VK_STATE;
    int64_t bytes = owned ? s->g->params->at[x->slot].bytes : x->bytes / shape_frames(&x->shape);
    if (x->kind == VK_STATE && s->g->params->states > 1)
        bytes += (s->g->params->states - 1) * param_state_step(&s->g->params->at[x->slot]);
    if (at < slab->at || at >= slab->at + slab->bytes)
        return;
    BUG_IF(at + bytes * images > slab->at + slab->bytes, "value %u ends outside its slab", v);
    memset(may_change + (at - slab->at), 1, (size_t)(bytes * images));
}

static void check_untouched(Checker *t, const Kernel *k, const Slab *slab, const char *before,
                            const char *what) {
    char *may = calloc((size_t)slab->bytes + 1, 1);
    ValueId out[MAX_VALUES];
    int n = kernel_outputs(t->g, k, out, MAX_VALUES);
    for (int i = 0; may && i < n; i++)
        mark(&t->a, slab, out[i], may);
    NodeId buffer[KERNEL_MAX_NODES];
    int nodes;
    const NodeId *node = kernel_members(k, buffer, &nodes);
    for (int i = 0; may && i < nodes; i++)
        if (op_def[graph_n(t->g, node[i])->op]->update)
            mark(&t->a, slab, graph_n(t->g, node[i])->in[2], may);
    for (int64_t i = 0; may && i < slab->bytes; i++)
        if (!may[i] && slab->at[i] != before[i]) {
            failure(t, "byte %lld of the %s slab changed", (long long)i, what);
            break;
        }
    free(may);
    if (!guards_stand(slab))
        failure(t, "wrote outside the %s slab", what);
}

static void check_output(Checker *t, ValueId v, double *want, double bound) {
    int64_t n = elems_of(t, v);
    double *got = numbers(n), *other = numbers(n);
    int64_t dirty = slabs_read(&t->a, v, got);
    if (dirty)
        failure(t, "%s: %lld padding elements are not zero", value_name(t, v), (long long)dirty);
    if (slabs_read(&t->b, v, other))
        failure(t, "%s: padding not zero in split run", value_name(t, v));
    if (memcmp(got, other, (size_t)n * sizeof *got) != 0)
        failure(t, "%s: other bits when tasks are split", value_name(t, v));
    compare(t, v, got, want, bound, t->how->exact || bound == 0, "local");
    free(other);
    free(t->got[v]);
    t->got[v] = got;
}

/* A sum of gradients behind a tie: what the update then works with. */
static void keep_output(Checker *t, ValueId v) {
    free(t->got[v]);
    t->got[v] = numbers(elems_of(t, v));
    if (slabs_read(&t->a, v, t->got[v]))
        failure(t, "%s: padding is not zero", value_name(t, v));
}

static char *copy_slab(const Slab *s) {
    char *copy = malloc((size_t)s->bytes + 1);
    if (!copy)
        fatal(NETC_LIMIT, "out of memory in a test");
    return memcpy(copy, s->at, (size_t)s->bytes);
}

/* The momentum that an update wrote. */
static void check_momentum(Checker *t, const Node *n, double bound) {
    ValueId v = n->in[2];
    double *got = numbers(elems_of(t, v));
    if (slabs_read(&t->a, v, got))
        failure(t, "momentum: padding is not zero");
    compare(t, v, got, t->momentum[graph_v(t->g, v)->slot], bound, t->how->exact, "momentum");
    free(got);
}

static void check_kernel(Checker *t, int index) {
    const Graph *g = t->g;
    const Kernel *k = &g->kernels[index];
    t->kernel = k->name;
    t->reach = 0;
    gather_inputs(t, k);
    NodeId buffer[KERNEL_MAX_NODES];
    int nodes;
    const NodeId *node = kernel_members(k, buffer, &nodes);
    for (int i = 0; i < nodes; i++)
        evaluate(t, graph_n(g, node[i]));
    bool tie = k->lanes && near_tie(g, t->cur, t->how->data->n);
    char *act = copy_slab(&t->a.act), *fix = copy_slab(&t->a.fix);
    char *param = copy_slab(&t->a.param), *state = copy_slab(&t->a.state);
    slabs_run(&t->a, t->c, index, 1, false);
    int pieces = index % 3 == 0 ? 2 : 3;
    if (kernel_tasks(k, t->a.frame.n) < 64 && index % 3 == 2)
        pieces = (int)kernel_tasks(k, t->a.frame.n);
    slabs_run(&t->b, t->c, index, pieces, true);
    check_untouched(t, k, &t->a.act, act, "batch");
    check_untouched(t, k, &t->a.fix, fix, "fixed");
    check_untouched(t, k, &t->a.param, param, "parameter");
    check_untouched(t, k, &t->a.state, state, "state");
    if (!guards_stand(&t->a.scratch) || !guards_stand(&t->b.scratch) ||
        !guards_stand(&t->b.act))
        failure(t, "wrote outside its scratch memory");
    ValueId out[MAX_VALUES];
    int n = kernel_outputs(g, k, out, MAX_VALUES);
    double bound = 0;
    for (int i = 0; i < nodes; i++)
        bound += t->how->local * ref_tolerance[graph_n(g, node[i])->op];
    t->rms = k->winograd ? winograd_rms : 0;
    for (int i = 0; i < n; i++)
        if (tie && !graph_v(g, out[i])->batched && !k->lanes->update)
            keep_output(t, out[i]);
        else
            check_output(t, out[i], t->cur[out[i]], bound);
    t->rms = 0;
    for (int i = 0; i < nodes; i++) {
        const Node *sgd = graph_n(g, node[i]);
        if (!op_is(sgd->op, OPF_X))
            continue;
        if (op_def[sgd->op]->update)
            check_momentum(t, sgd, bound);
        free(t->got[sgd->in[0]]);
        t->got[sgd->in[0]] = NULL; /* new parameter */
    }
    free(act), free(fix), free(param), free(state);
}

/* Seeds lie in memory from the start of their projection on. */
static void write_seeds(Checker *t, int index) {
    static const char *const name[] = {"", "project_gradient", "project_deconvnet",
                                       "project_guided"};
    for (ValueId v = 1; v < t->g->nvalue; v++) {
        const Value *x = graph_v(t->g, v);
        if (x->kind != VK_SEED || x->pool == POOL_NONE)
            continue;
        for (int i = 0; i < t->g->nentries; i++) {
            const Entry *e = &t->g->entry[i];
            if (strcmp(e->name, name[x->slot]) != 0 || e->first != index)
                continue;
            const double *from = t->how->seed_at ? t->how->seed_at[v] : NULL;
            slabs_write(&t->a, v, from);
            slabs_write(&t->b, v, from);
        }
    }
}

/* ---- the whole chain ---- */

/* Is a rectifier or a maximum of the reference so near a tie that float may decide otherwise? */
static bool near_kink(const Checker *t) {
    const RefRun *r = t->how->data;
    for (NodeId id = 1; id < t->g->nnode; id++) {
        const Node *n = graph_n(t->g, id);
        if (n->dead || (n->op != OP_RELU && n->op != OP_MAXPOOL))
            continue;
        const double *x = r->value[n->in[0]];
        int64_t elems = ref_value_elems(r, n->in[0]);
        double most = 0;
        for (int64_t i = 0; i < elems; i++)
            most = fmax(most, fabs(x[i]));
        if (n->op == OP_RELU)
            for (int64_t i = 0; i < elems; i++)
                if (x[i] != 0 && fabs(x[i]) < 1e-5 * most)
                    return true;
        /* the tap that won in the compiled code, if it was recorded, must be the reference's */
        ValueId taps = n->op == OP_MAXPOOL && n->nout > 1 ? n->out[1] : 0;
        if (taps && t->got[taps] &&
            memcmp(t->got[taps], r->value[taps],
                   (size_t)ref_value_elems(r, taps) * sizeof(double)) != 0)
            return true;
    }
    return false;
}

/* Everything behind the first gradient or seed is judged as a gradient. */
static bool *find_backward(const Graph *g) {
    bool *back = calloc(g->nvalue, sizeof *back);
    for (uint32_t o = 0; back && o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        bool is = op_is(n->op, OPF_N) && n->op != OP_LOAD_INPUT && n->op != OP_TRANSPOSE_WEIGHTS;
        for (int i = 0; i < n->nin; i++)
            is |= back[n->in[i]] || graph_v(g, n->in[i])->kind == VK_SEED;
        for (int k = 0; k < n->nout; k++)
            back[n->out[k]] = is;
    }
    return back;
}

static int64_t float_elems(const Checker *t, ValueId v) {
    return graph_v(t->g, v)->dtype == DT_F32 ? elems_of(t, v) : 0;
}

static void check_global(Checker *t) {
    RefRun *r = t->how->data;
    t->kernel = "(global)";
    t->reach = 0;
    if (!ref_run(r)) {
        failure(t, "reference: %s", r->error);
        return;
    }
    bool *back = find_backward(t->g);
    double floor[2] = {0, 0};
    bool lanes = t->g->nkernels > 0 && t->g->kernels[0].lanes; /* records no switches */
    t->how->kinky = near_kink(t) || (lanes && near_tie(t->g, r->value, r->n));
    for (ValueId v = 1; v < t->g->nvalue && back; v++)
        for (int64_t i = 0; t->got[v] && r->value[v] && i < float_elems(t, v); i++)
            floor[back[v]] = fmax(floor[back[v]], fabs(r->value[v][i]));
    for (ValueId v = 1; v < t->g->nvalue && back; v++) {
        const Value *x = graph_v(t->g, v);
        if (!t->got[v] || x->dtype != DT_F32 || !r->value[v] || (t->how->kinky && back[v]))
            continue;
        /* what cancels entirely (a bias in front of a normalisation) is judged by the size of what
         * went in */
        t->floor = back[v] ? 2e-3 * floor[1] : 0.1 * floor[0];
        compare(t, v, t->got[v], r->value[v], back[v] ? t->how->backward : t->how->forward,
                t->how->exact, "global");
    }
    free(back);
}

static void free_all(double **at, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(at[i]);
    free(at);
}

int compiled_check(const Compiled *c, Check *how) {
    const Graph *g = c->g;
    Checker t = {.c = c, .g = g, .how = how};
    t.a = slabs_new(g, how->data, how->data->n);
    t.b = slabs_new(g, how->data, how->data->n + 2);
    size_t nparams = (size_t)g->params->count + 1;
    t.got = calloc(g->nvalue, sizeof *t.got);
    t.cur = calloc(g->nvalue, sizeof *t.cur);
    t.momentum = calloc(nparams, sizeof *t.momentum);
    if (!t.got || !t.cur || !t.momentum)
        fatal(NETC_LIMIT, "out of memory in a test");
    for (int k = 0; k < g->nkernels; k++) {
        write_seeds(&t, k);
        check_kernel(&t, k);
    }
    if (how->global)
        check_global(&t);
    free_all(t.got, g->nvalue);
    free_all(t.cur, g->nvalue);
    free_all(t.momentum, nparams);
    slabs_free(&t.a);
    slabs_free(&t.b);
    return t.failures;
}
