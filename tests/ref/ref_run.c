/* ref_run.c: interprets a whole Graph in double precision (see ref_run.h).
 *
 * Values are computed on demand and remembered, so no order is needed; a cycle is an error.
 */
#include "ref_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "ops/attrs.h"

static bool fail(RefRun *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(RefRun *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->error, sizeof r->error, format, args);
    va_end(args);
    return false;
}

static double *zeros(int64_t n) {
    double *x = calloc((size_t)(n > 0 ? n : 1), sizeof *x);
    if (!x)
        fatal(NETC_LIMIT, "out of memory in the reference interpreter");
    return x;
}

static double *copy_of(const double *x, int64_t n) {
    double *y = zeros(n);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

int64_t ref_value_elems(const RefRun *r, ValueId v) {
    const Value *x = graph_v(r->g, v);
    return shape_elems(&x->shape) * (x->batched ? r->n : 1);
}

/* ---- values that come from outside ---- */

static bool given(RefRun *r, ValueId v) {
    const Value *x = graph_v(r->g, v);
    int64_t n = ref_value_elems(r, v);
    const double *from = NULL;
    switch (x->kind) {
    case VK_INPUT:
        from = x->slot < REF_SLOTS ? r->input[x->slot] : NULL;
        break;
    case VK_LABEL:
        if (x->slot >= REF_SLOTS || !r->label[x->slot])
            return fail(r, "value %u: no labels for slot %d", v, x->slot);
        r->value[v] = zeros(n);
        for (int64_t i = 0; i < n; i++)
            r->value[v][i] = r->label[x->slot][i];
        return true;
    case VK_PARAM:
        from = r->param ? r->param[x->slot] : NULL;
        break;
    case VK_STATE:
        r->value[v] = r->state && r->state[x->slot] ? copy_of(r->state[x->slot], n) : zeros(n);
        return true;
    case VK_SEED:
        r->value[v] = r->seed_value && r->seed_value[x->slot]
                          ? copy_of(r->seed_value[x->slot], n)
                          : zeros(n);
        return true;
    default:
        break;
    }
    if (!from)
        return fail(r, "value %u (%s) has no numbers", v, x->name ? x->name : "unnamed");
    r->value[v] = copy_of(from, n);
    return true;
}

/* ---- nodes ---- */

static bool evaluate(RefRun *r, uint8_t *busy, ValueId v);

/* To an operator that sees no frames they are images. */
static RefTensor tensor_of(const RefRun *r, ValueId v, int op) {
    const Value *x = graph_v(r->g, v);
    RefTensor t = {x->shape, x->batched ? r->n : 1, r->value[v]};
    ref_see(&t, op);
    return t;
}

static void keep_update(RefRun *r, const Node *node, double *new_momentum) {
    int64_t slot = op_def[node->op]->update ? ((const SgdAttrs *)node->attrs)->param
                                      : graph_v(r->g, node->in[0])->slot;
    if (slot < 0 || slot >= r->g->params->count) {
        free(new_momentum);
        return;
    }
    ValueId out = node->out[0];
    free(r->new_param[slot]);
    free(r->new_state[slot]);
    r->new_param[slot] = copy_of(r->value[out], ref_value_elems(r, out));
    r->new_state[slot] = new_momentum;
}

/* All inputs known: runs the loop.  Outputs nobody wants (0) get a place that is thrown away. */
static void run_node(RefRun *r, const Node *node) {
    RefTensor in[256], out[4];
    double *spare[4] = {0};
    int nout = op_nout[node->op] > node->nout ? op_nout[node->op] : node->nout;
    for (int i = 0; i < node->nin; i++)
        in[i] = tensor_of(r, node->in[i], node->op);
    for (int k = 0; k < nout; k++) {
        ValueId v = k < node->nout ? node->out[k] : 0;
        if (v) {
            r->value[v] = zeros(ref_value_elems(r, v));
            out[k] = tensor_of(r, v, node->op);
        } else { /* switches of maxpool, gates of lstm */
            out[k] = out[0];
            out[k].at = spare[k] = zeros(REF_SPARE * ref_elems(&out[0]));
        }
    }
    RefCall call = {.attrs = node->attrs, .n = ref_images(node->op, in, node->nin, out, r->n), .nin = node->nin,
                    .in = in, .out = out,
                    .lr = r->lr, .momentum = r->momentum, .decay = r->decay, .seed = r->seed,
                    .step = r->step};
    if (op_def[node->op]->update)
        call.new_momentum = zeros(ref_elems(&in[0]));
    ref_op[node->op](&call);
    if (op_is(node->op, OPF_X))
        keep_update(r, node, call.new_momentum);
    for (int k = 0; k < nout; k++)
        free(spare[k]);
}

static bool evaluate_node(RefRun *r, uint8_t *busy, NodeId n) {
    const Node *node = graph_n(r->g, n);
    if (busy[n])
        return fail(r, "node %u (%s) depends on itself", n, op_name[node->op]);
    busy[n] = 1;
    for (int i = 0; i < node->nin; i++)
        if (!evaluate(r, busy, node->in[i]))
            return false;
    if (!node->out[0])
        return fail(r, "node %u (%s) has no first output", n, op_name[node->op]);
    run_node(r, node);
    return true;
}

static bool evaluate(RefRun *r, uint8_t *busy, ValueId v) {
    if (v == 0 || v >= r->g->nvalue)
        return fail(r, "value %u does not exist", v);
    if (r->value[v])
        return true;
    const Value *x = graph_v(r->g, v);
    if (x->kind != VK_RESULT)
        return given(r, v);
    return evaluate_node(r, busy, x->def);
}

bool ref_run(RefRun *r) {
    ref_run_free(r);
    size_t params = r->g->params ? (size_t)r->g->params->count : 0;
    r->value = calloc(r->g->nvalue + 1, sizeof *r->value);
    r->new_param = calloc(params + 1, sizeof *r->new_param);
    r->new_state = calloc(params + 1, sizeof *r->new_state);
    uint8_t *busy = calloc(r->g->nnode + 1, 1);
    if (!r->value || !r->new_param || !r->new_state || !busy)
        fatal(NETC_LIMIT, "out of memory in the reference interpreter");
    r->error[0] = 0;
    bool ok = true;
    for (NodeId n = 1; ok && n < r->g->nnode; n++) {
        const Node *node = graph_n(r->g, n);
        bool done = node->dead || (node->out[0] && r->value[node->out[0]]);
        ok = done || evaluate_node(r, busy, n);
    }
    for (ValueId v = 1; ok && v < r->g->nvalue; v++) /* inputs that no node reads: if given */
        if (!r->value[v] && graph_v(r->g, v)->kind != VK_RESULT && !given(r, v))
            r->error[0] = 0;
    free(busy);
    return ok;
}

static void free_all(double **at, size_t count) {
    for (size_t i = 0; at && i < count; i++)
        free(at[i]);
    free(at);
}

void ref_run_free(RefRun *r) {
    size_t params = r->g->params ? (size_t)r->g->params->count : 0;
    free_all(r->value, r->g->nvalue);
    free_all(r->new_param, params);
    free_all(r->new_state, params);
    r->value = r->new_param = r->new_state = NULL;
}

/* ---- parameters ---- */

double **ref_params_new(const ParamList *params) {
    double **at = calloc((size_t)params->count + 1, sizeof *at);
    if (!at)
        fatal(NETC_LIMIT, "out of memory in the reference interpreter");
    for (int p = 0; p < params->count; p++) {
        const Param *param = &params->at[p];
        int64_t n = shape_elems(&param->shape);
        at[p] = zeros(n);
        for (int64_t i = 0; i < n; i++)
            at[p][i] = param->init == INIT_TABLE && param->table ? param->table[i]
                       : param->init == INIT_FILL                ? param->init_a
                                                                 : 0;
    }
    return at;
}

void ref_params_free(double **at, int count) { free_all(at, (size_t)count); }
