/* share.c: compares planned kernels (share.h).
 *
 * requires: plans after memplan.  ensures: kernel_same_code implies equal code for any target
 * (tests/unit/test_share.c holds the written code of every shared pair against each other).
 */
#include "codegen/share.h"

#include <string.h>

#include "ir/cost.h"
#include "ir/op.h"
#include "ops/attrs.h"

enum { NODES_MAX = KERNEL_MAX_NODES };

static int nodes_of(const Kernel *k, NodeId node[NODES_MAX]) {
    int n = 0;
    for (int i = 0; i < KERNEL_MAX_SOURCE; i++)
        node[n++] = k->source[i];
    node[n++] = k->anchor;
    for (int i = 0; i < k->nchain; i++)
        node[n++] = k->chain[i];
    node[n++] = k->tail; /* absent ones stay as 0: a place means a part */
    for (int i = 0; i < k->nbehind; i++)
        node[n++] = k->behind[i];
    node[n++] = k->update;
    node[n++] = k->bias_grad;
    node[n++] = k->bias_update;
    return n;
}

/* Place of v among the slots; a new one if need be, -1 when there is no room. */
static int place(ValueId slot[KERNEL_SLOTS_MAX], int *n, ValueId v) {
    for (int i = 0; i < *n; i++)
        if (slot[i] == v)
            return i;
    if (*n == KERNEL_SLOTS_MAX)
        return -1;
    slot[(*n)++] = v;
    return *n - 1;
}

int kernel_slots(const Graph *g, const Kernel *k, ValueId slot[KERNEL_SLOTS_MAX]) {
    NodeId node[NODES_MAX];
    int n = 0;
    for (int i = 0, count = nodes_of(k, node); i < count; i++) {
        const Node *x = graph_n(g, node[i]);
        for (int j = 0; node[i] && j < x->nin + x->nout; j++) {
            ValueId v = j < x->nin ? x->in[j] : x->out[j - x->nin];
            if (v && place(slot, &n, v) < 0)
                return 0;
        }
    }
    return n;
}

int64_t slot_offset(const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    if (x->kind == VK_PARAM)
        return g->params->at[x->slot].offset;
    return x->kind == VK_STATE ? g->params->at[x->slot].state_offset : x->offset;
}

static bool same_layout(const Layout *a, const Layout *b) {
    return a->kind == b->kind && a->block == b->block && a->transposed == b->transposed &&
           a->o_tile == b->o_tile && a->i_block == b->i_block && a->groups == b->groups &&
           memcmp(a->halo, b->halo, sizeof a->halo) == 0;
}

/* What optimizers and layouts read of a parameter; not its name, numbers and place. */
static bool same_param(const Param *a, const Param *b) {
    return shape_equal(&a->shape, &b->shape) && shape_equal(&a->split, &b->split) &&
           same_layout(&a->layout, &b->layout) && a->table == b->table && a->links == b->links &&
           a->frozen == b->frozen && a->constant == b->constant && a->bf16 == b->bf16 &&
           a->bytes == b->bytes && !(a->max_rms < b->max_rms || a->max_rms > b->max_rms) &&
           !(a->lr_mult < b->lr_mult || a->lr_mult > b->lr_mult) &&
           !(a->decay_mult < b->decay_mult || a->decay_mult > b->decay_mult);
}

static bool same_value(const Graph *g, ValueId v, const Graph *h, ValueId w) {
    const Value *a = graph_v(g, v), *b = graph_v(h, w);
    bool number = a->kind == VK_INPUT || a->kind == VK_LABEL; /* of the user's buffer */
    if (a->kind != b->kind || a->dtype != b->dtype || !shape_equal(&a->shape, &b->shape) ||
        a->batched != b->batched || a->stored != b->stored || a->pool != b->pool ||
        a->bytes != b->bytes || !same_layout(&a->layout, &b->layout) ||
        (number && a->slot != b->slot))
        return false;
    if (a->kind != VK_PARAM && a->kind != VK_STATE)
        return true;
    return same_param(&g->params->at[a->slot], &h->params->at[b->slot]);
}

static bool same_attrs(const Node *a, const Node *b) {
    if (!op_def[a->op]->update)
        return op_same_attrs(a->op, a->attrs, b->attrs);
    SgdAttrs x = *(const SgdAttrs *)a->attrs, y = *(const SgdAttrs *)b->attrs;
    return x.nesterov == y.nesterov && x.decoupled == y.decoupled && x.eps_inside == y.eps_inside &&
           x.clip == y.clip && !(x.eps < y.eps || x.eps > y.eps) &&
           !(x.lr_mult < y.lr_mult || x.lr_mult > y.lr_mult) &&
           !(x.decay_mult < y.decay_mult || x.decay_mult > y.decay_mult);
}

static bool same_node(const Graph *g, NodeId n, const Graph *h, NodeId m) {
    if (!n || !m)
        return n == m;
    const Node *a = graph_n(g, n), *b = graph_n(h, m);
    return a->op == b->op && a->nin == b->nin && a->nout == b->nout && same_attrs(a, b);
}

/* Equal nodes name equal values in the same pattern. */
static bool same_operands(const Graph *g, const Kernel *k, const Graph *h, const Kernel *l) {
    NodeId one[NODES_MAX], two[NODES_MAX];
    ValueId slot[2][KERNEL_SLOTS_MAX];
    int n[2] = {0, 0}, count = nodes_of(k, one);
    nodes_of(l, two);
    for (int i = 0; i < count; i++) {
        if (!same_node(g, one[i], h, two[i]))
            return false;
        const Node *a = graph_n(g, one[i]), *b = graph_n(h, two[i]);
        for (int j = 0; one[i] && j < a->nin + a->nout; j++) {
            ValueId v = j < a->nin ? a->in[j] : a->out[j - a->nin];
            ValueId w = j < b->nin ? b->in[j] : b->out[j - b->nin];
            if (!v || !w) {
                if (v != w)
                    return false;
                continue;
            }
            int at = place(slot[0], &n[0], v);
            if (at < 0 || at != place(slot[1], &n[1], w) || !same_value(g, v, h, w))
                return false;
        }
    }
    return true;
}

/* The kernel without what says where it stands and how it was chosen. */
static Kernel shape_of(const Kernel *k) {
    Kernel s;
    memcpy(&s, k, sizeof s);
    s.anchor = s.tail = s.update = s.bias_grad = s.bias_update = 0;
    memset(s.source, 0, sizeof s.source);
    memset(s.chain, 0, sizeof s.chain);
    memset(s.behind, 0, sizeof s.behind);
    s.name = s.label = s.algorithm = s.why = NULL;
    s.rejected = NULL;
    s.nrejected = 0;
    s.flops_image = s.flops_fixed = s.bytes_image = s.bytes_fixed = 0;
    s.seconds = s.seconds_image = s.seconds_fixed = 0;
    s.gap = s.gap_bytes = s.top = 0; /* the runtime's matter */
    return s;
}

bool kernel_same_code(const Graph *g, const Kernel *k, const Graph *h, const Kernel *l) {
    const PlanOptions none = {0}, *a = g->options ? g->options : &none;
    const PlanOptions *b = h->options ? h->options : &none;
    if (a->exact != b->exact || a->bf16 != b->bf16 || plan_batch(g) != plan_batch(h) ||
        g->params != h->params || k->nchain != l->nchain || k->nbehind != l->nbehind ||
        !k->algorithm != !l->algorithm || (k->algorithm && strcmp(k->algorithm, l->algorithm) != 0))
        return false;
    Kernel one = shape_of(k), two = shape_of(l); /* as bytes: new fields count by themselves */
    return memcmp(&one, &two, sizeof one) == 0 && same_operands(g, k, h, l);
}
