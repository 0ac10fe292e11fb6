/* lanes_update.c: training's second kernel: adds the slots' gradients in order, then SGD.
 *
 * A task is a range of one parameter.  The gradient is a sum over the slots that were used, which
 * follow from the number of images alone, then whatever stands between it and the update (the mask
 * of a connection table, sums of a shared parameter's parts); arithmetic of the step: optim_lower.c.
 * All parameters whose gradient is a plain sum share one piece of code and a table.
 */
#include <stddef.h>

#include "ops/lanes.h"
#include "ops/optim.h"

enum { CHUNK = 2048 }; /* floats per task */

typedef struct Row { /* of the table; bytes from the pools' begin */
    int64_t param, state, grad, from, to; /* floats from..to */
    int64_t kind;                         /* 0: plain; 1 + index of the SGD node; -1 - index of a
                                             late kernel, whose tasks are from..to */
    int64_t slot;                         /* bytes between copies of the gradient */
    int64_t next;                         /* bytes between the numbers of a weight's state */
    float lr_mult, decay_mult, coupled, pad;
} Row;

static int64_t floats_of(const Graph *g, const Node *sgd) {
    return g->params->at[graph_v(g, sgd->in[0])->slot].bytes / 4;
}

bool lanes_late(const Graph *g, const Kernel *k) {
    const Node *n = graph_n(g, k->anchor);
    if (n->op != OP_DENSE_BWD_WEIGHTS && n->op != OP_CONV2D_BWD_WEIGHTS)
        return false;
    ConvProblem p = conv_problem(g, n);
    return conv_by_images(&p) && k->update && k->tasks_block == 0 && k->nchain == 0 && !k->tail &&
           (k->bias_grad == 0) == (k->bias_update == 0);
}

int64_t lanes_update_tasks(const Graph *g, const Lanes *update) {
    int64_t tasks = 0;
    for (int i = 0; i < update->nlate; i++)
        tasks += update->late[i].tasks_per;
    for (int i = 0; i < update->nsteps; i++)
        tasks += ceil_div(floats_of(g, graph_n(g, update->step[i].anchor)), CHUNK);
    return tasks;
}

static bool is_leaf(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    return x->kind == VK_RESULT && x->stored;
}

/* Each source of rows is spread over the whole table, so that every thread's share, the same in
 * each step, has its part of all: what it changed is still in its cache. */
typedef struct Spread {
    Row *row;
    double *key;
    int64_t n;
} Spread;

static void spread(Spread *s, int64_t index, int64_t of, Row row) {
    double key = ((double)index + 0.5) / (double)of;
    int64_t at = s->n++;
    for (; at > 0 && s->key[at - 1] > key; at--) {
        s->key[at] = s->key[at - 1];
        s->row[at] = s->row[at - 1];
    }
    s->key[at] = key;
    s->row[at] = row;
}

static Row *make_table(KernelCtx *k, const Lanes *plan, int64_t rows) {
    const Graph *g = k->g;
    Spread s = {.row = ARENA_ARRAY(g->keep, rows, Row), .key = ARENA_ARRAY(g->keep, rows, double)};
    for (int i = 0; i < plan->nlate; i++)
        for (int64_t t = 0; t < plan->late[i].tasks_per; t++)
            spread(&s, t, plan->late[i].tasks_per, (Row){.from = t, .to = t + 1, .kind = -1 - i});
    for (int i = 0; i < plan->nsteps; i++) {
        const Node *n = graph_n(g, plan->step[i].anchor);
        const SgdAttrs *a = n->attrs;
        const Param *p = &g->params->at[graph_v(g, n->in[0])->slot];
        const Value *grad = graph_v(g, n->in[1]);
        int64_t floats = floats_of(g, n);
        bool plain = is_leaf(g, n->in[1]);
        for (int64_t from = 0; from < floats; from += CHUNK)
            spread(&s, from / CHUNK, ceil_div(floats, CHUNK),
                   (Row){.param = p->offset,
                         .state = p->state_offset,
                         .grad = plain ? grad->offset : 0,
                         .from = from,
                         .to = min64(from + CHUNK, floats),
                         .kind = plain ? 0 : 1 + i,
                         .slot = p->bytes,
                         .next = param_state_step(p),
                         .lr_mult = (float)a->lr_mult,
                         .decay_mult = (float)a->decay_mult,
                         .coupled = a->coupled});
    }
    return s.row;
}

typedef struct Update {
    KernelCtx *k;
    Emit *e;
    const Lanes *plan;
    Val slots;             /* used ones */
    Val row;               /* of the table */
} Update;

static Val field(const Update *u, size_t offset) {
    return em_load_i64(u->e, u->row, (int64_t)offset);
}

enum { TOGETHER = 4 }; /* vectors whose slots are summed in one go */

/* Sums over the slots of n neighbouring vectors, the first one at `first`. */
static void sum_slots(const Update *u, Val first, Val slot_bytes, int n, Val *sum) {
    Emit *e = u->e;
    int width = em_width(e);
    for (int j = 0; j < n; j++)
        sum[j] = em_load(e, first, j * width, true);
    Loop s = em_for(e, em_i64(e, 1), u->slots, 1, "slot", sum, n);
    Val at = em_ptr_bytes(e, first, em_mul(e, s.i, slot_bytes));
    for (int j = 0; j < n; j++)
        sum[j] = em_fadd(e, sum[j], em_load(e, at, j * width, true));
    em_for_end(e, &s, sum, n);
}

/* Gradient v at float i, n vectors: slots, parameters, and what elementwise operators make of them. */
static void gradient(const Update *u, ValueId v, Val i, int n, Val *out) {
    Emit *e = u->e;
    const Graph *g = u->k->g;
    const Value *x = graph_v(g, v);
    int64_t floats;
    if (x->kind != VK_RESULT) {
        Val at = em_ptr(e, flat_at(u->k, v, &floats), i);
        for (int j = 0; j < n; j++)
            out[j] = em_load(e, at, j * em_width(e), true);
        return;
    }
    if (x->stored) {
        Val first = em_ptr(e, flat_at(u->k, v, &floats), i);
        sum_slots(u, first, em_i64(e, x->bytes / u->plan->slots), n, out);
        return;
    }
    const Node *node = graph_n(g, x->def);
    Val in[4][TOGETHER];
    for (int j = 0; j < node->nin; j++)
        gradient(u, node->in[j], i, n, in[j]);
    for (int k = 0; k < n; k++) {
        ScalarCtx s = {.k = u->k, .e = e, .g = g, .node = node, .attrs = node->attrs};
        for (int j = 0; j < node->nin; j++)
            s.in[j] = in[j][k];
        s.n = s.cb = s.y = s.x = em_i64(e, 0);
        s.height = s.width = 1;
        out[k] = op_def[node->op]->scalar(&s);
    }
}

typedef struct Rates {
    UpdateRates update;
    Val weights, state, grads, slot;
} Rates;

/* n vectors from float i on; v: the gradient, 0: a plain one, found through the table. */
static void update_vectors(const Update *u, const Rates *r, ValueId v, Val i, int n) {
    Emit *e = u->e;
    int width = em_width(e);
    Val weights = em_ptr(e, r->weights, i), state = em_ptr(e, r->state, i), sum[TOGETHER];
    if (v)
        gradient(u, v, i, n, sum);
    else
        sum_slots(u, em_ptr(e, r->grads, i), r->slot, n, sum);
    for (int j = 0; j < n; j++)
        update_apply(e, &r->update, weights, state, j * width, sum[j]);
}

/* The row's range; node: one of the updates that it stands for, v: as above. */
static void update_range(const Update *u, const Node *node, ValueId v) {
    Emit *e = u->e;
    Val frame = u->k->a.frame;
    int width = em_width(e);
    UpdateOwn own = {.lr_mult = em_load_f32_at(e, u->row, offsetof(Row, lr_mult)),
                     .decay_mult = em_load_f32_at(e, u->row, offsetof(Row, decay_mult)),
                     .coupled = em_load_f32_at(e, u->row, offsetof(Row, coupled)),
                     .next = field(u, offsetof(Row, next))};
    Rates r = {.update = update_rates_with(u->k, node, &own),
               .slot = field(u, offsetof(Row, slot))};
    r.weights = em_ptr_bytes(e, em_load_ptr(e, frame, 16), field(u, offsetof(Row, param)));
    r.state = em_ptr_bytes(e, em_load_ptr(e, frame, 24), field(u, offsetof(Row, state)));
    r.grads = em_ptr_bytes(e, em_load_ptr(e, frame, 8), field(u, offsetof(Row, grad)));
    Val from = field(u, offsetof(Row, from)), to = field(u, offsetof(Row, to));
    Val several = em_i64(e, TOGETHER * width);
    Val whole = em_mul(e, em_div(e, em_sub(e, to, from), several), several);
    Val middle = em_add(e, from, whole);
    Loop i = em_for(e, from, middle, TOGETHER * width, "i", NULL, 0);
    update_vectors(u, &r, v, i.i, TOGETHER);
    em_for_end(e, &i, NULL, 0);
    i = em_for(e, middle, to, width, "rest", NULL, 0);
    update_vectors(u, &r, v, i.i, 1);
    em_for_end(e, &i, NULL, 0);
}

/* Tasks k.a.lo .. k.a.hi - 1 of the update's late kernel, written as it always is. */
void lower_lanes_late(const KernelCtx *update, const Kernel *late) {
    KernelCtx k = *update;
    k.k = late;
    k.node = graph_n(k.g, late->anchor);
    k.attrs = k.node->attrs;
    op_def[k.node->op]->lower(&k);
}

/* The row's tasks of late kernel i, which has a function of its own if the update is given some. */
static void run_late(const Update *u, int i) {
    KernelCtx k = *u->k;
    k.a.lo = field(u, offsetof(Row, from));
    k.a.hi = field(u, offsetof(Row, to));
    if (k.step)
        em_body_call(u->e, k.step[i], k.a.frame, k.a.lo, k.a.hi, k.a.scratch, em_c_null(u->e));
    else
        lower_lanes_late(&k, &u->plan->late[i]);
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
    bool plain = false;
    Loop task = task_loop(k);
    u.row = em_ptr_bytes(e, table, em_mul(e, task.i, em_i64(e, sizeof(Row))));
    Val kind = field(&u, offsetof(Row, kind));
    for (int i = 0; i < plan->nlate; i++) {
        If f = em_if(e, em_icmp(e, EM_EQ, kind, em_i64(e, -1 - i)));
        run_late(&u, i);
        em_endif(e, &f);
    }
    for (int i = 0; i < plan->nsteps; i++) {
        const Node *n = graph_n(k->g, plan->step[i].anchor);
        bool leaf = is_leaf(k->g, n->in[1]);
        if (leaf && plain)
            continue;
        plain |= leaf;
        If f = em_if(e, em_icmp(e, EM_EQ, kind, em_i64(e, leaf ? 0 : 1 + i)));
        update_range(&u, n, leaf ? 0 : n->in[1]);
        em_endif(e, &f);
    }
    task_end(k, &task);
}
