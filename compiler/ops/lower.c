/* lower.c: the toolkit of every lowering: views of tensors, the fused chain, halos, tasks.
 *
 * requires: a graph whose values have layouts and places (memplan, params_place).
 * ensures: addresses are base + constant strides; the chain is applied in the order of
 * Kernel.chain; halo cells and padding lanes of every stored output are zero.
 * The frame's field offsets are pinned against runtime/rt_abi.h in codegen.
 */
#include "ops/lower.h"

#include "base/bug.h"
#include "base/limits.h"

enum { /* offsets of rt_frame, runtime/rt_abi.h */
    FRAME_ACT = 0,
    FRAME_FIX = 8,
    FRAME_PARAM = 16,
    FRAME_STATE = 24,
    FRAME_SCALAR = 48,
    FRAME_INPUT = 96,
    FRAME_LABEL = 128,
};

static int64_t element_size(DType t) { return t == DT_U8 ? 1 : 4; }

/* Bytes from the start of v's pool: from the kernel's table when its code is shared. */
static Val offset_of(KernelCtx *k, const Value *v, int64_t offset) {
    for (int i = 0; k->table && i < k->nslots; i++)
        if (graph_v(k->g, k->slot[i]) == v)
            return em_load_i64(k->e, k->table, 8 * i);
    BUG_IF(k->table, "kernel %s uses a value that it does not name", k->k->name);
    return em_i64(k->e, offset);
}

/* Pointer to the first byte of a value's storage (image 0). */
static Val storage_of(KernelCtx *k, const Value *v) {
    Emit *e = k->e;
    const Param *param = &k->g->params->at[v->slot];
    switch (v->kind) {
    case VK_PARAM:
        return em_ptr_bytes(e, em_load_ptr(e, k->a.frame, FRAME_PARAM),
                            offset_of(k, v, param->offset));
    case VK_STATE:
        return em_ptr_bytes(e, em_load_ptr(e, k->a.frame, FRAME_STATE),
                            offset_of(k, v, param->state_offset));
    case VK_INPUT:
    case VK_LABEL:
    case VK_NONE:
        BUG("value '%s' has no storage of its own", v->name ? v->name : "?");
    case VK_RESULT:
    case VK_SEED:
        break;
    }
    Val offset = offset_of(k, v, v->offset);
    if (v->pool == POOL_FIX)
        return em_ptr_bytes(e, em_load_ptr(e, k->a.frame, FRAME_FIX), offset);
    if (v->pool != POOL_ACT)
        BUG("value '%s' was never placed", v->name ? v->name : "?");
    return em_ptr_bytes(e, em_load_ptr(e, k->a.frame, FRAME_ACT), em_mul(e, offset, k->cap));
}

static const Layout *layout_of(const Graph *g, const Value *v) {
    if (v->kind == VK_PARAM || v->kind == VK_STATE)
        return &g->params->at[v->slot].layout;
    return &v->layout;
}

View view_of(KernelCtx *k, ValueId id) {
    const Value *v = graph_v(k->g, id);
    View w = {.layout = *layout_of(k->g, v), .dtype = v->dtype};
    const Layout *l = &w.layout;
    if (l->kind != LAYOUT_PLAIN && l->kind != LAYOUT_BLOCKED)
        BUG("value '%s' is not laid out as a tensor", v->name ? v->name : "?");
    shape_chw(&v->shape, &w.c, &w.h, &w.w);
    w.block = l->kind == LAYOUT_BLOCKED ? l->block : 1;
    w.cblocks = (w.c + w.block - 1) / w.block;
    w.pixel = w.block;
    w.row = (w.w + l->halo[2] + l->halo[3]) * w.block;
    w.cblock = (w.h + l->halo[0] + l->halo[1]) * w.row;
    w.image = v->batched ? v->bytes / shape_frames(&v->shape) / element_size(v->dtype) : 0;
    w.aligned = l->kind == LAYOUT_BLOCKED;
    int64_t inside = l->halo[0] * w.row + l->halo[2] * w.pixel;
    Val first = storage_of(k, v);
    w.base = em_ptr_bytes(k->e, first, em_i64(k->e, inside * element_size(v->dtype)));
    return w;
}

View operand_of(KernelCtx *k, ValueId v, ValueId of) {
    View w = view_of(k, v);
    int64_t c, height, width;
    shape_chw(&graph_v(k->g, of)->shape, &c, &height, &width);
    if (w.h < height)
        w.row = 0;
    if (w.w < width)
        w.pixel = 0;
    if (w.c < c) {
        w.cblock = 0;
        w.one_map = true;
    }
    return w;
}

Val operand_load(Emit *e, const View *v, Val at, int64_t off) {
    return v->one_map ? em_bcast(e, at, off) : em_load(e, at, off, v->aligned);
}

Val view_at(KernelCtx *k, const View *v, Val n, Val cb, Val y, Val x) {
    Emit *e = k->e;
    Val index = em_mul(e, n, em_i64(e, v->image));
    index = em_add(e, index, em_mul(e, cb, em_i64(e, v->cblock)));
    index = em_add(e, index, em_mul(e, y, em_i64(e, v->row)));
    index = em_add(e, index, em_mul(e, x, em_i64(e, v->pixel)));
    if (v->dtype == DT_U8)
        return em_ptr_bytes(e, v->base, index);
    return em_ptr(e, v->base, index);
}

WeightView weights_of(KernelCtx *k, ValueId id) {
    const Value *v = graph_v(k->g, id);
    WeightView w = {.layout = *layout_of(k->g, v)};
    if (w.layout.kind != LAYOUT_WEIGHTS)
        BUG("value '%s' is not laid out as weights", v->name ? v->name : "?");
    const Shape *s = &v->shape;
    if (v->kind == VK_PARAM || v->kind == VK_STATE)
        s = &k->g->params->at[v->slot].split;
    /* The physical axes tell every stride; see layout_axes for their order. */
    Axis axis[LAYOUT_MAX_AXES];
    int count = layout_axes(&w.layout, s, axis);
    if (count != 7)
        BUG("weights layout has %d axes instead of 7", count);
    w.o_tiles = axis[1].extent;
    w.i_blocks = axis[2].extent;
    w.kh = axis[3].extent;
    w.kw = axis[4].extent;
    w.row = axis[6].extent;
    w.tap = axis[5].extent * w.row;
    w.block = w.kh * w.kw * w.tap;
    w.tile = w.i_blocks * w.block;
    w.group = w.o_tiles * w.tile;
    w.base = storage_of(k, v);
    w.bf16 = v->kind == VK_PARAM && k->g->params->at[v->slot].bf16;
    return w;
}

Val weights_ptr(Emit *e, bool bf16, Val base, Val index) {
    return bf16 ? em_ptr_bytes(e, base, em_mul(e, index, em_i64(e, 2))) : em_ptr(e, base, index);
}

Val weights_load(Emit *e, bool bf16, Val base, int64_t off) {
    return bf16 ? em_load_bf16(e, base, off) : em_load(e, base, off, true);
}

void weights_fetch(Emit *e, bool bf16, Val base, int64_t off) {
    em_prefetch(e, base, bf16 ? off / 2 : off);
}

Val flat_at(KernelCtx *k, ValueId id, int64_t *floats) {
    const Value *v = graph_v(k->g, id);
    bool owned = v->kind == VK_PARAM || v->kind == VK_STATE;
    *floats = (owned ? k->g->params->at[v->slot].bytes : v->bytes) / 4;
    return storage_of(k, v);
}

Val bias_at(KernelCtx *k, ValueId bias) { return storage_of(k, graph_v(k->g, bias)); }

/* ---- the fused chain ---- */

static void epi_add(KernelCtx *k, Epi *ep, ValueId v) {
    for (int i = 0; i < ep->n; i++)
        if (ep->t[i].value == v)
            return;
    if (ep->n == EPI_MAX)
        BUG("kernel %s: more than %d tensors in the fused chain", k->k->name, EPI_MAX);
    ep->t[ep->n].value = v;
    ep->t[ep->n].view = operand_of(k, v, k->node->out[0]);
    ep->must_mask |= ep->t[ep->n].view.one_map; /* padding lanes see it too */
    ep->n++;
}

static struct EpiTensor *epi_find(Epi *ep, ValueId v) {
    for (int i = 0; i < ep->n; i++)
        if (ep->t[i].value == v)
            return &ep->t[i];
    BUG("tensor %u is not part of the fused chain", v);
}

/* Is v computed inside the kernel (the running value of the chain)? */
static bool epi_running(const KernelCtx *k, ValueId v) {
    if (v == k->node->out[0])
        return true;
    for (int i = 0; i < k->k->nchain; i++)
        if (graph_n(k->g, k->k->chain[i])->out[0] == v)
            return true;
    return false;
}

void epi_open(KernelCtx *k, Epi *ep) {
    *ep = (Epi){0};
    ValueId result = k->node->out[0];
    int64_t h, w;
    shape_chw(&graph_v(k->g, result)->shape, &ep->channels, &h, &w);
    if (graph_v(k->g, result)->stored)
        epi_add(k, ep, result);
    for (int i = 0; i < k->k->nchain; i++) {
        const Node *node = graph_n(k->g, k->k->chain[i]);
        for (int j = 0; j < node->nin; j++)
            if (!epi_running(k, node->in[j]))
                epi_add(k, ep, node->in[j]);
        if (graph_v(k->g, node->out[0])->stored)
            epi_add(k, ep, node->out[0]);
        if (!op_is(node->op, OPF_Z))
            ep->must_mask = true;
    }
}

static void zero_floats(KernelCtx *k, Val ptr, int64_t count) {
    Emit *e = k->e;
    int width = em_width(e);
    if (count <= 0)
        return;
    if (count % width == 0) {
        em_zero(e, ptr, em_i64(e, count));
        return;
    }
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, count), 1, "zero", NULL, 0);
    em_store1(e, em_ptr(e, ptr, l.i), 0, em_f32(e, 0));
    em_for_end(e, &l, NULL, 0);
}

void halo_row(KernelCtx *k, const View *v, Val n, Val cb, int64_t ncb, Val y) {
    Emit *e = k->e;
    const int *halo = v->layout.halo;
    if (!halo[0] && !halo[1] && !halo[2] && !halo[3])
        return;
    Val left = em_i64(e, -halo[2]);
    Loop l = em_for(e, em_i64(e, 0), em_i64(e, ncb), 1, "halo", NULL, 0);
    Val block = em_add(e, cb, l.i);
    zero_floats(k, view_at(k, v, n, block, y, left), halo[2] * v->pixel);
    zero_floats(k, view_at(k, v, n, block, y, em_i64(e, v->w)), halo[3] * v->pixel);
    if (halo[0]) {
        If f = em_if(e, em_icmp(e, EM_EQ, y, em_i64(e, 0)));
        zero_floats(k, view_at(k, v, n, block, em_i64(e, -halo[0]), left), halo[0] * v->row);
        em_endif(e, &f);
    }
    if (halo[1]) {
        If f = em_if(e, em_icmp(e, EM_EQ, y, em_i64(e, v->h - 1)));
        zero_floats(k, view_at(k, v, n, block, em_i64(e, v->h), left), halo[1] * v->row);
        em_endif(e, &f);
    }
    em_for_end(e, &l, NULL, 0);
}

void epi_row(KernelCtx *k, Epi *ep, Val n, Val cb, int64_t ncb, Val y) {
    for (int i = 0; i < ep->n; i++)
        if (epi_running(k, ep->t[i].value))
            halo_row(k, &ep->t[i].view, n, cb, ncb, y);
}

void epi_tile(KernelCtx *k, Epi *ep, Val n, Val cb, Val y, Val x) {
    ep->origin_n = n;
    ep->origin_cb = cb;
    ep->origin_y = y;
    ep->origin_x = x;
    for (int i = 0; i < ep->n; i++)
        ep->t[i].at = em_opaque(k->e, view_at(k, &ep->t[i].view, n, cb, y, x));
    if (ep->has_sink)
        ep->sink_at = view_at(k, &ep->sink, em_i64(k->e, 0), em_sub(k->e, cb, ep->sink_cb),
                              em_sub(k->e, y, ep->sink_y), x);
}

static int64_t delta(const View *v, int64_t dn, int64_t dcb, int64_t dy, int64_t dx) {
    return dn * v->image + dcb * v->cblock + dy * v->row + dx * v->pixel;
}

/* Zero in the lanes at and beyond the last real channel. */
static Val mask_lanes(KernelCtx *k, const Epi *ep, Val vec, int64_t dcb) {
    Emit *e = k->e;
    int width = em_width(e);
    if (ep->channels % width == 0)
        return vec;
    Val cb = em_add(e, ep->origin_cb, em_i64(e, dcb));
    Val first = em_splat_i32(e, em_mul(e, cb, em_i64(e, width)));
    Val channel = em_add(e, first, em_lane_index(e));
    Val real = em_icmp(e, EM_LT, channel, em_splat_i32(e, em_i64(e, ep->channels)));
    return em_select(e, real, vec, em_vec(e, 0));
}

static void epi_store(KernelCtx *k, Epi *ep, ValueId v, Val vec, int64_t off[4]) {
    if (!graph_v(k->g, v)->stored)
        return;
    struct EpiTensor *t = epi_find(ep, v);
    if (ep->must_mask)
        vec = mask_lanes(k, ep, vec, off[1]);
    em_store(k->e, t->at, delta(&t->view, off[0], off[1], off[2], off[3]), vec, t->view.aligned);
}

void epi_emit(KernelCtx *k, Epi *ep, Val acc, int64_t dn, int64_t dcb, int64_t dy, int64_t dx) {
    Emit *e = k->e;
    int64_t off[4] = {dn, dcb, dy, dx};
    Val running = acc;
    ValueId running_id = k->node->out[0];
    epi_store(k, ep, running_id, running, off);
    for (int i = 0; i < k->k->nchain; i++) {
        const Node *node = graph_n(k->g, k->k->chain[i]);
        ScalarCtx s = {.k = k, .e = e, .g = k->g, .node = node, .attrs = node->attrs};
        for (int j = 0; j < node->nin; j++) {
            if (node->in[j] == running_id) {
                s.in[j] = running;
                continue;
            }
            struct EpiTensor *t = epi_find(ep, node->in[j]);
            s.in[j] = operand_load(e, &t->view, t->at, delta(&t->view, dn, dcb, dy, dx));
        }
        s.n = em_add(e, ep->origin_n, em_i64(e, dn));
        s.cb = em_add(e, ep->origin_cb, em_i64(e, dcb));
        s.y = em_add(e, ep->origin_y, em_i64(e, dy));
        s.x = em_add(e, ep->origin_x, em_i64(e, dx));
        int64_t c;
        shape_chw(&graph_v(k->g, node->out[0])->shape, &c, &s.height, &s.width);
        running = op_def[node->op]->scalar(&s);
        running_id = node->out[0];
        epi_store(k, ep, running_id, running, off);
    }
    if (ep->has_sink) {
        if (ep->must_mask)
            running = mask_lanes(k, ep, running, dcb);
        em_store(e, ep->sink_at, delta(&ep->sink, 0, dcb, dy, dx), running, true);
    }
}

/* ---- tasks and frame ---- */

Loop task_loop(KernelCtx *k) { return em_for(k->e, k->a.lo, k->a.hi, 1, "task", NULL, 0); }

void task_end(KernelCtx *k, Loop *l) { em_for_end(k->e, l, NULL, 0); }

/* About this many vectors per task: enough to hide the cost of starting one, few enough to share. */
enum { ROWS_TASK_VECTORS = 512 };

void rows_split(int64_t cblocks, int64_t height, int64_t width, Kernel *k) {
    int64_t plane = height * width;
    int64_t rows = height, blocks = 1;
    if (plane >= 2 * ROWS_TASK_VECTORS)
        rows = (ROWS_TASK_VECTORS + width - 1) / width;
    else
        blocks = (ROWS_TASK_VECTORS + plane - 1) / plane;
    if (blocks > cblocks)
        blocks = cblocks;
    k->tile.rows = (int)rows;
    k->tile.oc = (int)blocks;
    k->tasks_per = ((cblocks + blocks - 1) / blocks) * ((height + rows - 1) / rows);
    k->tasks_block = 1;
}

void rows_for_each(KernelCtx *k, int64_t cblocks, int64_t height, RowFn row, void *user) {
    Emit *e = k->e;
    int64_t rows = k->k->tile.rows, blocks = k->k->tile.oc;
    int64_t bands = (height + rows - 1) / rows, groups = (cblocks + blocks - 1) / blocks;
    Loop task = task_loop(k);
    Val rest, band, n, group;
    split_index(e, task.i, bands, &rest, &band);
    split_index(e, rest, groups, &n, &group);
    Val cb_lo = em_mul(e, group, em_i64(e, blocks));
    Val cb_hi = em_imin(e, em_add(e, cb_lo, em_i64(e, blocks)), em_i64(e, cblocks));
    Val y_lo = em_mul(e, band, em_i64(e, rows));
    Val y_hi = em_imin(e, em_add(e, y_lo, em_i64(e, rows)), em_i64(e, height));
    Loop cb = em_for(e, cb_lo, cb_hi, 1, "cb", NULL, 0);
    Loop y = em_for(e, y_lo, y_hi, 1, "y", NULL, 0);
    row(k, user, n, cb.i, y.i);
    em_for_end(e, &y, NULL, 0);
    em_for_end(e, &cb, NULL, 0);
    task_end(k, &task);
}

void split_index(Emit *e, Val i, int64_t extent, Val *quot, Val *rem) {
    *quot = em_div(e, i, em_i64(e, extent));
    *rem = em_rem(e, i, em_i64(e, extent));
}

Val frame_scalar(KernelCtx *k, int index) {
    return em_load_f32_at(k->e, k->a.frame, FRAME_SCALAR + 4 * index);
}

Val frame_label(KernelCtx *k, int slot, Val n) {
    Val labels = em_load_ptr(k->e, k->a.frame, FRAME_LABEL + 8 * slot);
    Val at = em_ptr_bytes(k->e, labels, em_mul(k->e, n, em_i64(k->e, 4)));
    return em_load_i32(k->e, at, 0);
}

Val frame_input(KernelCtx *k, int slot) {
    return em_load_ptr(k->e, k->a.frame, FRAME_INPUT + 8 * slot);
}
