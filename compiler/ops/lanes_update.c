/* lanes_update.c: training's second kernel: adds the slots' gradients in order, then SGD.
 *
 * A task is a range of one parameter.  The gradient is a sum over the slots that were used, which
 * follow from the number of images alone, then whatever stands between it and the update (the mask
 * of a connection table, sums of a shared parameter's parts); arithmetic of the step: optim_lower.c.
 * All parameters whose gradient is a plain sum share one piece of code and a table.
 */
#include <stddef.h>

#include "ops/lanes.h"

enum { CHUNK = 2048 }; /* floats per task */

typedef struct Row { /* of the table; bytes from the pools' begin */
    int64_t param, state, grad, from, to; /* floats from..to */
    int64_t kind;                         /* 0: plain; else 1 + index of the SGD node */
    int64_t slot;                         /* bytes between copies of the gradient */
    float lr_mult, decay_mult;
} Row;

static int64_t floats_of(const Graph *g, const Node *sgd) {
    return g->params->at[graph_v(g, sgd->in[0])->slot].bytes / 4;
}

int64_t lanes_update_tasks(const Graph *g, const Lanes *update) {
    int64_t tasks = 0;
    for (int i = 0; i < update->nsteps; i++)
        tasks += ceil_div(floats_of(g, graph_n(g, update->step[i].anchor)), CHUNK);
    return tasks;
}

static bool is_leaf(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->kind == VK_RESULT && x->stored;
}

static Row *make_table(KernelCtx *k, const Lanes *plan, int64_t rows) {
    const Graph *g = k->g;
    Row *table = ARENA_ARRAY(g->keep, rows, Row), *r = table;
    for (int i = 0; i < plan->nsteps; i++) {
        const Node *n = graph_n(g, plan->step[i].anchor);
        const SgdAttrs *a = n->attrs;
        const Param *p = &g->params->at[graph_v(g, n->in[0])->slot];
        const Value *grad = graph_v(g, n->in[1]);
        int64_t floats = floats_of(g, n);
        bool plain = is_leaf(g, n->in[1]);
        for (int64_t from = 0; from < floats; from += CHUNK)
            *r++ = (Row){.param = p->offset,
                         .state = p->state_offset,
                         .grad = plain ? grad->offset : 0,
                         .from = from,
                         .to = min64(from + CHUNK, floats),
                         .kind = plain ? 0 : 1 + i,
                         .slot = p->bytes,
                         .lr_mult = (float)a->lr_mult,
                         .decay_mult = (float)a->decay_mult};
    }
    return table;
}

typedef struct Update {
    KernelCtx *k;
    Emit *e;
    const Lanes *plan;
    Val slots;             /* used ones */
    Val row;               /* of the table */
    Val lr, momentum, decay; /* scalars */
    bool nesterov;
} Update;

static Val field(const Update *u, size_t offset) {
    return em_load_i64(u->e, u->row, (int64_t)offset);
}

/* Sum over the slots of the vector at `first`. */
static Val sum_slots(const Update *u, Val first, Val slot_bytes) {
    Emit *e = u->e;
    Val sum[1] = {em_load(e, first, 0, true)};
    Loop s = em_for(e, em_i64(e, 1), u->slots, 1, "slot", sum, 1);
    Val at = em_ptr_bytes(e, first, em_mul(e, s.i, slot_bytes));
    sum[0] = em_fadd(e, sum[0], em_load(e, at, 0, true));
    em_for_end(e, &s, sum, 1);
    return sum[0];
}

/* Gradient v at float i: slots, parameters, and what elementwise operators make of them. */
static Val gradient(const Update *u, ValueId v, Val i) {
    Emit *e = u->e;
    const Graph *g = u->k->g;
    const Value *x = graph_v(g, v);
    int64_t floats;
    if (x->kind != VK_RESULT)
        return em_load(e, em_ptr(e, flat_at(u->k, v, &floats), i), 0, true);
    if (x->stored) {
        Val first = em_ptr(e, flat_at(u->k, v, &floats), i);
        return sum_slots(u, first, em_i64(e, x->bytes / u->plan->slots));
    }
    const Node *n = graph_n(g, x->def);
    ScalarCtx s = {.k = u->k, .e = e, .g = g, .node = n, .attrs = n->attrs};
    for (int j = 0; j < n->nin; j++)
        s.in[j] = gradient(u, n->in[j], i);
    s.n = s.cb = s.y = s.x = em_i64(e, 0);
    s.height = s.width = 1;
    return op_def[n->op]->scalar(&s);
}

/* The row's range; v: the gradient, 0: a plain one, found through the table. */
static void update_range(const Update *u, ValueId v) {
    Emit *e = u->e;
    KernelCtx *k = u->k;
    Val w = em_ptr_bytes(e, em_load_ptr(e, k->a.frame, 16), field(u, offsetof(Row, param)));
    Val m = em_ptr_bytes(e, em_load_ptr(e, k->a.frame, 24), field(u, offsetof(Row, state)));
    Val g = em_ptr_bytes(e, em_load_ptr(e, k->a.frame, 8), field(u, offsetof(Row, grad)));
    Val slot = field(u, offsetof(Row, slot));
    Val lr_mult = em_load_f32_at(e, u->row, offsetof(Row, lr_mult));
    Val decay_mult = em_load_f32_at(e, u->row, offsetof(Row, decay_mult));
    Val step = em_splat(e, em_fmul(e, u->lr, em_fneg(e, lr_mult)));
    Val decay = em_splat(e, em_fmul(e, u->decay, decay_mult));
    Val momentum = em_splat(e, u->momentum);
    Loop i = em_for(e, field(u, offsetof(Row, from)), field(u, offsetof(Row, to)), em_width(e), "i",
                    NULL, 0);
    Val pw = em_ptr(e, w, i.i), pm = em_ptr(e, m, i.i);
    Val sum = v ? gradient(u, v, i.i) : sum_slots(u, em_ptr(e, g, i.i), slot);
    Val weight = em_load(e, pw, 0, true), grad = em_fma(e, decay, weight, sum);
    Val speed = em_fma(e, momentum, em_load(e, pm, 0, true), grad);
    em_store(e, pm, 0, speed, true);
    Val along = u->nesterov ? em_fma(e, momentum, speed, grad) : speed;
    em_store(e, pw, 0, em_fma(e, step, along, weight), true);
    em_for_end(e, &i, NULL, 0);
}

void lower_lanes_update(KernelCtx *k) {
    Emit *e = k->e;
    const Lanes *plan = k->k->lanes;
    Update u = {.k = k, .e = e, .plan = plan};
    int64_t rows = lanes_update_tasks(k->g, plan);
    Val table = em_c_bytes(e, make_table(k, plan, rows), (size_t)rows * sizeof(Row), 8);
    Val lanes = em_i64(e, plan->target->vector);
    Val blocks = em_div(e, em_add(e, k->n, em_i64(e, plan->target->vector - 1)), lanes);
    u.slots = em_imin(e, blocks, em_i64(e, plan->slots));
    u.lr = frame_scalar(k, SCALAR_LR);
    u.momentum = frame_scalar(k, SCALAR_MOMENTUM);
    u.decay = frame_scalar(k, SCALAR_DECAY);
    bool plain = false;
    Loop task = task_loop(k);
    u.row = em_ptr_bytes(e, table, em_mul(e, task.i, em_i64(e, sizeof(Row))));
    Val kind = field(&u, offsetof(Row, kind));
    for (int i = 0; i < plan->nsteps; i++) {
        const Node *n = graph_n(k->g, plan->step[i].anchor);
        bool leaf = is_leaf(k->g, n->in[1]);
        u.nesterov = ((const SgdAttrs *)n->attrs)->nesterov;
        if (leaf && plain)
            continue;
        plain |= leaf;
        If f = em_if(e, em_icmp(e, EM_EQ, kind, em_i64(e, leaf ? 0 : 1 + i)));
        update_range(&u, leaf ? 0 : n->in[1]);
        em_endif(e, &f);
    }
    task_end(k, &task);
}
