/* param_lower.c: code of what has no images: vdense and its gradients, repack (facts in param.c).
 *
 * Vectors lie flat, padded with zeros to whole vectors; matrices that only vdense reads are plain,
 * row after row.  Repack walks its destination number by number, in the order of memory, and finds
 * each number's place in the source: layers have up to a few million weights, and this happens once
 * per call.
 * ensures: everything behind the last number and all padding of weights is zero.
 */
#include "base/bug.h"
#include "ops/hooks.h"
#include "ops/lower.h"

enum { REPACK_CHUNK = 4096, REPACK_RUN = 64 }; /* numbers per task; at most in a run */

static int64_t extent(KernelCtx *k, ValueId v, int d) {
    return graph_v(k->g, v)->shape.dim[d];
}

/* Tasks are vectors of what is made; rows of it for the weights' gradient. */
void choose_vdense(const Graph *g, Kernel *k, const Target *t) {
    const Value *v = graph_v(g, graph_n(g, k->anchor)->out[0]);
    k->algorithm = "vector";
    k->why = "once per call, not per image";
    k->tasks_block = 0;
    k->tasks_per =
        v->shape.rank == 2 ? v->shape.dim[0] : (v->shape.dim[0] + t->vector - 1) / t->vector;
}

static void check_plain(KernelCtx *k, ValueId matrix) {
    const Value *v = graph_v(k->g, matrix);
    const Layout *l = v->kind == VK_PARAM ? &k->g->params->at[v->slot].layout : &v->layout;
    BUG_IF(l->kind != LAYOUT_PLAIN, "kernel %s: its matrix is not plain", k->k->name);
}

void lower_vdense(KernelCtx *k) {
    Emit *e = k->e;
    int64_t size, inputs = extent(k, k->node->in[0], 0), units = extent(k, k->node->out[0], 0);
    int64_t width = em_width(e), whole = inputs / width * width;
    check_plain(k, k->node->in[1]);
    Val src = flat_at(k, k->node->in[0], &size), weights = flat_at(k, k->node->in[1], &size);
    Val bias = k->node->nin > 2 ? flat_at(k, k->node->in[2], &size) : NULL;
    Val dst = flat_at(k, k->node->out[0], &size);
    Loop task = task_loop(k);
    Val first = em_mul(e, task.i, em_i64(e, width));
    Val last = em_imin(e, em_add(e, first, em_i64(e, width)), em_i64(e, units));
    em_store(e, em_ptr(e, dst, first), 0, em_vec(e, 0), true);
    Loop u = em_for(e, first, last, 1, "unit", NULL, 0);
    Val row = em_ptr(e, weights, em_mul(e, u.i, em_i64(e, inputs)));
    Val sum[1] = {em_vec(e, 0)};
    Loop i = em_for(e, em_i64(e, 0), em_i64(e, whole), width, "i", sum, 1);
    sum[0] = em_fma(e, em_load(e, em_ptr(e, row, i.i), 0, false),
                    em_load(e, em_ptr(e, src, i.i), 0, true), sum[0]);
    em_for_end(e, &i, sum, 1);
    Val total = sum[0];
    if (whole < inputs)
        total = em_fma(e, em_load_masked(e, row, whole, em_i64(e, inputs - whole)),
                       em_load(e, src, whole, true), total);
    total = em_reduce_add(e, total);
    if (bias)
        total = em_fadd(e, total, em_load1(e, em_ptr(e, bias, u.i), 0));
    em_store1(e, em_ptr(e, dst, u.i), 0, total);
    em_for_end(e, &u, NULL, 0);
    task_end(k, &task);
}

void lower_vdense_bwd_data(KernelCtx *k) {
    Emit *e = k->e;
    int64_t size, inputs = extent(k, k->node->out[0], 0), units = extent(k, k->node->in[0], 0);
    int64_t width = em_width(e);
    check_plain(k, k->node->in[1]);
    Val dy = flat_at(k, k->node->in[0], &size), weights = flat_at(k, k->node->in[1], &size);
    Val dx = flat_at(k, k->node->out[0], &size);
    Loop task = task_loop(k);
    Val first = em_mul(e, task.i, em_i64(e, width));
    Val count = em_imin(e, em_sub(e, em_i64(e, inputs), first), em_i64(e, width));
    Val column = em_ptr(e, weights, first), sum[1] = {em_vec(e, 0)};
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, units), 1, "unit", sum, 1);
    Val row = em_ptr(e, column, em_mul(e, u.i, em_i64(e, inputs)));
    sum[0] =
        em_fma(e, em_load_masked(e, row, 0, count), em_bcast(e, em_ptr(e, dy, u.i), 0), sum[0]);
    em_for_end(e, &u, sum, 1);
    em_store(e, em_ptr(e, dx, first), 0, sum[0], true);
    task_end(k, &task);
}

void lower_vdense_bwd_weights(KernelCtx *k) {
    Emit *e = k->e;
    int64_t size, floats, inputs = extent(k, k->node->in[0], 0);
    int64_t units = extent(k, k->node->in[1], 0), width = em_width(e);
    check_plain(k, k->node->out[0]);
    Val src = flat_at(k, k->node->in[0], &size), dy = flat_at(k, k->node->in[1], &size);
    Val dw = flat_at(k, k->node->out[0], &floats);
    Loop task = task_loop(k);
    Val row = em_ptr(e, dw, em_mul(e, task.i, em_i64(e, inputs)));
    Val factor = em_bcast(e, em_ptr(e, dy, task.i), 0);
    Loop i = em_for(e, em_i64(e, 0), em_i64(e, inputs), width, "i", NULL, 0);
    Val count = em_imin(e, em_sub(e, em_i64(e, inputs), i.i), em_i64(e, width));
    em_store_masked(e, em_ptr(e, row, i.i), 0,
                    em_fmul(e, factor, em_load(e, em_ptr(e, src, i.i), 0, true)), count);
    em_for_end(e, &i, NULL, 0);
    If last = em_if(e, em_icmp(e, EM_EQ, task.i, em_i64(e, units - 1)));
    Loop rest = em_for(e, em_i64(e, units * inputs), em_i64(e, floats), 1, "rest", NULL, 0);
    em_store1(e, em_ptr(e, dw, rest.i), 0, em_f32(e, 0));
    em_for_end(e, &rest, NULL, 0);
    em_endif(e, &last);
    task_end(k, &task);
}

/* ---- repack ---- */

typedef struct Nest { /* a value's physical order */
    Shape shape;
    Axis axis[LAYOUT_MAX_AXES];
    int64_t stride[LAYOUT_MAX_AXES], floats;
    int n;
} Nest;

static Nest nest_of(const Graph *g, ValueId id) {
    const Value *v = graph_v(g, id);
    const Layout *l = v->kind == VK_PARAM ? &g->params->at[v->slot].layout : &v->layout;
    Nest nest = {.shape = v->shape, .floats = 1};
    nest.n = layout_axes(l, &v->shape, nest.axis);
    for (int i = nest.n; i-- > 0;) {
        nest.stride[i] = nest.floats;
        nest.floats *= nest.axis[i].extent;
    }
    return nest;
}

/* Logical index of the number at position p; *inside: it is one, not padding. */
static void index_at(Emit *e, const Nest *nest, Val p, Val *index, Val *inside) {
    for (int d = 0; d < nest->shape.rank; d++)
        index[d] = em_i64(e, 0);
    for (int i = 0; i < nest->n; i++) {
        const Axis *a = &nest->axis[i];
        Val at = em_rem(e, em_div(e, p, em_i64(e, nest->stride[i])), em_i64(e, a->extent));
        index[a->dim] = em_add(e, index[a->dim], em_mul(e, at, em_i64(e, a->mult)));
    }
    *inside = em_i64(e, 1);
    for (int d = 0; d < nest->shape.rank; d++) {
        Val room = em_sub(e, em_i64(e, nest->shape.dim[d]), index[d]); /* at least 1 inside */
        *inside = em_imin(e, *inside, room);
    }
}

/* Position of the number with this index.  Axes of one dimension come with falling multiples. */
static Val place_of(Emit *e, const Nest *nest, const Val *index) {
    Val rest[SHAPE_MAX_RANK], at = em_i64(e, 0);
    for (int d = 0; d < nest->shape.rank; d++)
        rest[d] = index[d];
    for (int i = 0; i < nest->n; i++) {
        const Axis *a = &nest->axis[i];
        if (a->mult == 0)
            continue;
        Val steps = em_div(e, rest[a->dim], em_i64(e, a->mult));
        rest[a->dim] = em_rem(e, rest[a->dim], em_i64(e, a->mult));
        at = em_add(e, at, em_mul(e, steps, em_i64(e, nest->stride[i])));
    }
    return at;
}

/* The index in the source of what has this index in the destination. */
static void source_index(KernelCtx *k, const Nest *dst, const Nest *src, Val *index) {
    Emit *e = k->e;
    const RepackAttrs *a = k->attrs;
    int64_t dim[SHAPE_MAX_RANK];
    int rank = dst->shape.rank;
    for (int d = 0; d < rank; d++)
        dim[d] = dst->shape.dim[d];
    for (int d = 2; d < rank && a->how == REPACK_FLIP; d++)
        index[d] = em_sub(e, em_i64(e, dim[d] - 1), index[d]);
    if (a->how == REPACK_TRANSPOSE) {
        Val swap = index[0];
        index[0] = index[1];
        index[1] = swap;
        dim[0] = dst->shape.dim[1];
        dim[1] = dst->shape.dim[0];
    }
    Val flat = em_i64(e, 0);
    for (int d = 0; d < rank; d++)
        flat = em_add(e, em_mul(e, flat, em_i64(e, dim[d])), index[d]);
    for (int d = src->shape.rank; d-- > 0;) {
        index[d] = em_rem(e, flat, em_i64(e, src->shape.dim[d]));
        flat = em_div(e, flat, em_i64(e, src->shape.dim[d]));
    }
}

void choose_repack(const Graph *g, Kernel *k, const Target *t) {
    const Value *v = graph_v(g, graph_n(g, k->anchor)->out[0]);
    (void)t;
    k->algorithm = "gather";
    k->why = "once per call, not per image";
    k->tasks_block = 0;
    k->tasks_per = (v->bytes / 4 + REPACK_CHUNK - 1) / REPACK_CHUNK;
}

/* The source's dimension in which a step along dimension `dim` of the destination is one step, -1:
 * none.  Both say a number's place in the same row-major order. */
static int same_steps(const Nest *dst, const Nest *src, int dim, bool transposed) {
    int64_t along = 1, there = 1;
    for (int d = dst->shape.rank; d-- > 0;) /* transposed: (1, 0) */
        along *= (transposed ? d < dim : d > dim) ? dst->shape.dim[d] : 1;
    for (int d = src->shape.rank; d-- > 0; there *= src->shape.dim[d])
        if (there == along && src->shape.dim[d] > 1)
            return d;
    return -1;
}

/* Length of the runs of neighbours in the destination that stand at equal steps (*step) in the
 * source, a power of two; 1 where the two orders do not allow it.  A run starts at a multiple of its
 * length and lies within one dimension and one block of the source where these are such multiples. */
static int64_t run_length(KernelCtx *k, const Nest *dst, const Nest *src, int64_t *step) {
    const RepackAttrs *a = k->attrs;
    const Axis *in = &dst->axis[dst->n - 1];
    int axes = 0, inner = -1, dim = same_steps(dst, src, in->dim, a->how == REPACK_TRANSPOSE);
    *step = 0;
    if (in->mult != 1 || dim < 0 || (a->how == REPACK_FLIP && in->dim >= 2))
        return 1;
    for (int i = 0; i < src->n; i++) {
        axes += src->axis[i].dim == dim && src->axis[i].mult > 0 && src->axis[i].extent > 1;
        inner = src->axis[i].dim == dim && src->axis[i].mult == 1 ? i : inner;
    }
    if (inner < 0)
        return 1;
    bool whole = src->shape.dim[dim] == dst->shape.dim[in->dim];
    int64_t run = 1, block = src->axis[inner].extent;
    *step = src->stride[inner];
    while (run < REPACK_RUN && in->extent % (2 * run) == 0 &&
           (whole || src->shape.dim[dim] % (2 * run) == 0) && (axes == 1 || block % (2 * run) == 0))
        run *= 2;
    return run;
}

/* The run from position p on, not past `last`: what lies outside the value is 0. */
static void copy_run(KernelCtx *k, const Nest *dst, const Nest *src, Val to, Val from, Val p,
                     Val last, int64_t run, int64_t step) {
    Emit *e = k->e;
    int dim = dst->axis[dst->n - 1].dim;
    Val index[SHAPE_MAX_RANK], inside;
    index_at(e, dst, p, index, &inside);
    Val real = em_sub(e, em_i64(e, dst->shape.dim[dim]), index[dim]);
    real = em_imin(e, em_imin(e, real, em_i64(e, run)), em_sub(e, em_i64(e, dst->floats), p));
    real = em_select(e, em_icmp(e, EM_LT, em_i64(e, 0), inside), real, em_i64(e, 0));
    real = em_imax(e, real, em_i64(e, 0));
    If some = em_if(e, em_icmp(e, EM_LT, em_i64(e, 0), real));
    source_index(k, dst, src, index);
    Val at = em_ptr(e, from, place_of(e, src, index)), row = em_ptr(e, to, p);
    Loop j = em_for(e, em_i64(e, 0), real, 1, "j", NULL, 0);
    Val number = em_load1(e, em_ptr(e, at, em_mul(e, j.i, em_i64(e, step))), 0);
    em_store1(e, em_ptr(e, row, j.i), 0, number);
    em_for_end(e, &j, NULL, 0);
    em_endif(e, &some);
    Val end = em_imin(e, em_i64(e, run), em_sub(e, last, p));
    Loop pad = em_for(e, real, end, 1, "pad", NULL, 0);
    em_store1(e, em_ptr(e, to, em_add(e, p, pad.i)), 0, em_f32(e, 0));
    em_for_end(e, &pad, NULL, 0);
}

void lower_repack(KernelCtx *k) {
    Emit *e = k->e;
    int64_t floats, size, step;
    Nest dst = nest_of(k->g, k->node->out[0]), src = nest_of(k->g, k->node->in[0]);
    Val to = flat_at(k, k->node->out[0], &floats), from = flat_at(k, k->node->in[0], &size);
    int64_t run = run_length(k, &dst, &src, &step);
    Loop task = task_loop(k);
    Val first = em_mul(e, task.i, em_i64(e, REPACK_CHUNK));
    Val last = em_imin(e, em_add(e, first, em_i64(e, REPACK_CHUNK)), em_i64(e, floats));
    Loop p = em_for(e, first, last, run, "p", NULL, 0);
    copy_run(k, &dst, &src, to, from, p.i, last, run, step);
    em_for_end(e, &p, NULL, 0);
    task_end(k, &task);
}
