/* grad.c: reverse mode.  Order and accumulation only: each operator's rule is its vjp hook.
 *
 * requires: fold and dce have run; ctx names the losses (train) or the score and the seeds (look).
 * ensures, train: one SGD node per trainable parameter that a loss depends on, reading the sum of
 * its gradient's parts.  look: per rule a chain from a VK_SEED value of the score's shape down to
 * the image's diff, every seed layer's diff kept and named "<rule>.<layer>"; of a rectified layer
 * the diff behind its rectifier's rule, which so joins the kernel that makes the signal (a seed is
 * one number, whose writer can apply the rule); a rule that some operator on the way does not have
 * leaves ctx->refused[rule] and no nodes.  curvature: one CURVATURE node per parameter.  attack:
 * the losses' gradient at the first image, kept; none at parameters. leaves alone: the forward
 * nodes. theory: reverse accumulation, Linnainmaa 1976; Griewank and Walther 2008, section 3.2; the
 * three projections: Zeiler and Fergus 2014, Springenberg et al. 2015, Simonyan et al. 2014.
 */
#include <string.h>

#include "base/bug.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "ops/curvature.h"
#include "passes/pass.h"

typedef struct Reverse {
    Graph *g;
    PassCtx *ctx;
    Rule rule;
    uint32_t nforward; /* nodes and order of the forward part, before anything was added */
    const NodeId *order;
    ValueId *diff;   /* per forward value: sum of what flowed in so far */
    bool *need;      /* per forward value */
    uint32_t nvalue; /* forward values: 1 .. nvalue-1 */
    bool *forked;    /* per value (of any age): this diff was handed to two inputs as it is */
    uint32_t cap_forked;
    ValueId *seed_diff; /* look: per seed */
    const ValueId
        *slope; /* curvature: per forward value its gradient; NULL: this finds gradients */
    bool image; /* gradients are wanted at the loaded image, not at parameters */
    const char *refused;
} Reverse;

static const char *const rule_name[] = {"train", "gradient", "deconvnet", "guided"};

static const char *text(Graph *g, const char *a, const char *b) {
    return arena_printf(g->keep, "%s.%s", a, b);
}

/* Attacks change the first input alone. */
static bool is_image(const Reverse *r, const Node *n) {
    if (!r->image || !op_is(n->op, OPF_N))
        return false;
    for (int i = 0; i < n->nin; i++) {
        const Value *in = graph_v(r->g, n->in[i]);
        if (in->kind == VK_INPUT && (r->rule != RULE_TRAIN || in->slot == 0))
            return true;
    }
    return false;
}

/* Values that some gradient is wanted for, or that lie between those and the roots. */
static void find_need(Reverse *r) {
    const Graph *g = r->g;
    for (ValueId v = 1; v < r->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (!r->image && x->kind == VK_PARAM) {
            const Param *p = &g->params->at[x->slot];
            r->need[v] = !p->frozen && !p->constant;
        }
    }
    for (uint32_t o = 0; o < r->nforward; o++) {
        const Node *n = graph_n(g, r->order[o]);
        bool need = false;
        for (int i = 0; i < n->nin; i++)
            need |= r->need[n->in[i]];
        need |= is_image(r, n); /* the result of the first node behind an input */
        for (int k = 0; k < n->nout; k++)
            if (n->out[k])
                r->need[n->out[k]] = need;
    }
}

/* Nodes that the pass makes carry the layer's label. */
static void label_from(Graph *g, uint32_t first, const char *label) {
    for (NodeId id = first; id < g->nnode; id++)
        if (!graph_n(g, id)->label)
            graph_n(g, id)->label = label;
}

static void accumulate(Reverse *r, ValueId v, ValueId dx) {
    if (!dx)
        return;
    if (r->diff[v]) {
        ValueId in[2] = {r->diff[v], dx};
        dx = graph_op(r->g, OP_ADD, NULL, 2, in);
    }
    r->diff[v] = dx;
}

static void set_forked(Reverse *r, ValueId v) {
    if (v >= r->cap_forked) {
        uint32_t cap = r->g->nvalue * 2;
        bool *bigger = ARENA_ARRAY(r->ctx->tmp, cap, bool);
        memcpy(bigger, r->forked, r->cap_forked * sizeof(bool));
        r->forked = bigger;
        r->cap_forked = cap;
    }
    r->forked[v] = true;
}

/* An idle dropout is the copy among the operators; fold, which would remove it, has run before. */
static ValueId copy(Reverse *r, ValueId v) {
    DropoutAttrs a = {.rate = 0, .scale = 0, .infer = true};
    return graph_op(r->g, OP_DROPOUT, &a, 1, &v);
}

static int readers_of(const Reverse *r, ValueId v) {
    int readers = 0;
    for (uint32_t o = 0; o < r->nforward; o++)
        for (int i = 0; i < graph_n(r->g, r->order[o])->nin; i++)
            readers += graph_n(r->g, r->order[o])->in[i] == v;
    return readers;
}

/* The rectifier that made v, if nobody else reads what it rectifies: then the diff of that value is
 * what the rule made of v's, and nothing else. */
static NodeId sole_rectifier(const Reverse *r, ValueId v) {
    const Graph *g = r->g;
    NodeId relu = graph_v(g, v)->kind == VK_RESULT ? graph_v(g, v)->def : 0;
    if (!relu || graph_n(g, relu)->op != OP_RELU)
        return 0;
    ValueId in = graph_n(g, relu)->in[0];
    return r->need[in] && readers_of(r, in) == 1 ? relu : 0;
}

/* The rectifier whose rule a seed in v meets first.  In a deconvnet a normalisation has no rule:
 * the diffs in front of it and behind are one value. */
static NodeId next_rectifier(const Reverse *r, ValueId v) {
    while (r->rule == RULE_DECONVNET && graph_v(r->g, v)->kind == VK_RESULT) {
        const Node *n = graph_n(r->g, graph_v(r->g, v)->def);
        if (n->nin != 1 || n->in[0] >= r->nvalue || !r->diff[v] ||
            r->diff[v] != r->diff[n->in[0]] || readers_of(r, n->in[0]) != 1)
            break;
        v = n->in[0];
    }
    return sole_rectifier(r, v);
}

/* The diff of forward value v is complete.  A seed may be written over it, and the seed must not
 * leak into other branches: behind an `add` both branches share one diff, so a seed layer there
 * gets its own copy. */
static void complete(Reverse *r, ValueId v) {
    if (!r->diff[v] || r->rule == RULE_TRAIN)
        return;
    for (int i = 0; i < r->ctx->nseeds; i++) {
        if (r->ctx->seeds[i] != v || sole_rectifier(r, v))
            continue;
        if (r->diff[v] < r->cap_forked && r->forked[r->diff[v]])
            r->diff[v] = copy(r, r->diff[v]);
        r->seed_diff[i] = r->diff[v];
    }
}

/* Same diff handed to two inputs unchanged?  Remember it. */
static void note_forks(Reverse *r, const ValueId *dx, int nin) {
    for (int i = 0; i < nin; i++)
        for (int j = i + 1; j < nin; j++)
            if (dx[i] && dx[i] == dx[j])
                set_forked(r, dx[i]);
}

static bool is_root_loss(const Reverse *r, const Node *n) {
    for (int i = 0; r->rule == RULE_TRAIN && i < r->ctx->nlosses; i++)
        if (op_is(n->op, OPF_L) && n->out[0] == r->ctx->losses[i])
            return true;
    return false;
}

static bool refuse(Reverse *r, const Node *n) {
    r->refused = arena_printf(r->g->keep, "'%s'%s%s%s has no rule in the %s projection",
                              op_name[n->op], n->label ? " (layer " : "", n->label ? n->label : "",
                              n->label ? ")" : "", rule_name[r->rule]);
    return false;
}

/* One step backwards over node id; false: this rule does not exist for it. */
static bool reverse_node(Reverse *r, NodeId id) {
    Graph *g = r->g;
    const Node *n = graph_n(g, id);
    const ValueId *in = n->in, *out = n->out; /* these arrays never move; g->node may */
    int nin = n->nin, nout = n->nout;
    bool any = is_root_loss(r, n), wanted = false;
    for (int k = 0; k < nout; k++) {
        complete(r, out[k]);
        any |= out[k] && r->diff[out[k]];
    }
    n = graph_n(g, id); /* complete() may have added a node */
    for (int i = 0; i < nin; i++)
        wanted |= r->need[in[i]];
    if (!any || !wanted || is_image(r, n))
        return true;
    if (op_is(n->op, OPF_N) || !op_def[n->op]->vjp)
        return refuse(r, n);
    ValueId *dy = ARENA_ARRAY(r->ctx->tmp, nout, ValueId);
    ValueId *dx = ARENA_ARRAY(r->ctx->tmp, nin, ValueId);
    bool *need = ARENA_ARRAY(r->ctx->tmp, nin, bool);
    for (int k = 0; k < nout; k++)
        dy[k] = out[k] && !op_is(n->op, OPF_L) ? r->diff[out[k]] : 0;
    for (int i = 0; i < nin; i++)
        need[i] = r->need[in[i]];
    Vjp v = {.g = g, .node = id, .rule = r->rule, .dy = dy, .need = need, .dx = dx};
    ValueId *gy = r->slope ? ARENA_ARRAY(r->ctx->tmp, nout, ValueId) : NULL;
    for (int k = 0; gy && k < nout; k++)
        gy[k] = out[k] && !op_is(n->op, OPF_L) ? r->slope[out[k]] : 0;
    v.gy = gy;
    if (!(gy ? curvature_rule(&v) : op_def[n->op]->vjp(&v)))
        return refuse(r, graph_n(g, id));
    note_forks(r, dx, nin);
    for (int i = 0; i < nin; i++)
        if (need[i])
            accumulate(r, in[i], dx[i]);
    return true;
}

static bool reverse_all(Reverse *r) {
    for (uint32_t o = r->nforward; o-- > 0;) {
        uint32_t first = r->g->nnode;
        const char *label = graph_n(r->g, r->order[o])->label;
        bool good = reverse_node(r, r->order[o]);
        label_from(r->g, first, label);
        if (!good)
            return false;
    }
    return true;
}

static Reverse reverse_new(Graph *g, PassCtx *ctx, Rule rule, const NodeId *order,
                           uint32_t nforward, uint32_t nvalue) {
    Reverse r = {.g = g,
                 .ctx = ctx,
                 .rule = rule,
                 .image = rule != RULE_TRAIN || ctx->attack,
                 .order = order,
                 .nforward = nforward,
                 .nvalue = nvalue,
                 .cap_forked = g->nvalue};
    r.diff = ARENA_ARRAY(ctx->tmp, nvalue, ValueId);
    r.need = ARENA_ARRAY(ctx->tmp, nvalue, bool);
    r.forked = ARENA_ARRAY(ctx->tmp, r.cap_forked, bool);
    r.seed_diff = ARENA_ARRAY(ctx->tmp, ctx->nseeds, ValueId);
    find_need(&r);
    return r;
}

/* ---- training ---- */

/* The factor that keeps the norm of all gradients below a bound: sums per gradient, then a tree. */
static ValueId clip_factor(Graph *g, Arena *tmp, const ValueId *grad, int n) {
    enum { TOGETHER = 8 };
    ValueId *sum = ARENA_ARRAY(tmp, n, ValueId);
    for (int i = 0; i < n; i++)
        sum[i] = graph_op(g, OP_SQUARE_SUMS, NULL, 1, &grad[i]);
    for (ClipFactorAttrs a = {.partial = true}; a.partial;) {
        int left = 0;
        a.partial = n > TOGETHER;
        for (int i = 0; i < n; i += TOGETHER)
            sum[left++] =
                graph_op(g, OP_CLIP_FACTOR, &a, n - i < TOGETHER ? n - i : TOGETHER, sum + i);
        n = left;
    }
    return sum[0];
}

static void update(Graph *g, ValueId param, ValueId grad, ValueId factor,
                   const struct PassUpdate *how) {
    int slot = graph_v(g, param)->slot;
    const Param *p = &g->params->at[slot];
    const char *name = graph_v(g, param)->name ? graph_v(g, param)->name : p->name;
    if (!graph_v(g, grad)->name)
        graph_set_name(g, grad, text(g, "d", name));
    ValueId state = graph_input(g, VK_STATE, DT_F32, graph_v(g, param)->shape, false, slot,
                                text(g, name, "state"));
    SgdAttrs a = {.param = slot,
                  .lr_mult = how->op == OP_CURVATURE ? 1 : p->lr_mult,
                  .decay_mult = p->decay_mult,
                  .eps = how->eps,
                  .nesterov = how->nesterov,
                  .decoupled = how->decoupled,
                  .eps_inside = how->eps_inside,
                  .clip = how->clip_value,
                  .coupled =
                      (how->op == OP_SLBI || how->op == OP_SLBI_GROUPS) && p->shape.rank > 1};
    ValueId in[4] = {param, grad, state, factor};
    NodeId id = graph_node(g, how->op ? how->op : OP_SGD, &a, factor ? 4 : 3, in);
    graph_n(g, id)->label = p->label;
}

static void name_diffs(const Reverse *r) {
    Graph *g = r->g;
    for (ValueId v = 1; v < r->nvalue; v++) {
        const char *name = graph_v(g, v)->name;
        if (name && r->diff[v] && !graph_v(g, r->diff[v])->name)
            graph_set_name(g, r->diff[v], text(g, "d", name));
    }
}

/* All gradients of the losses; slope: of an earlier sweep, for second derivatives, or NULL. */
static Reverse reverse_losses(Graph *g, PassCtx *ctx, const NodeId *order, uint32_t n,
                              uint32_t nvalue, const ValueId *slope) {
    Reverse r = reverse_new(g, ctx, RULE_TRAIN, order, n, nvalue);
    r.slope = slope;
    if (!reverse_all(&r))
        BUG("%s", r.refused);
    return r;
}

/* Sweeps append to g->order; this is what was there before. */
static const NodeId *forward_order(const Graph *g, PassCtx *ctx) {
    NodeId *order = ARENA_ARRAY(ctx->tmp, g->norder, NodeId);
    memcpy(order, g->order, g->norder * sizeof(NodeId));
    return order;
}

static void grad_train(Graph *g, PassCtx *ctx) {
    uint32_t nvalue = g->nvalue;
    Reverse r = reverse_losses(g, ctx, g->order, g->norder, nvalue, NULL);
    name_diffs(&r);
    ValueId *param = ARENA_ARRAY(ctx->tmp, nvalue, ValueId),
            *grad = ARENA_ARRAY(ctx->tmp, nvalue, ValueId);
    int n = 0;
    for (ValueId v = 1; v < nvalue; v++)
        if (graph_v(g, v)->kind == VK_PARAM && r.need[v] && r.diff[v]) {
            param[n] = v;
            grad[n++] = r.diff[v];
        }
    ValueId factor = ctx->update.clip_norm && n ? clip_factor(g, ctx->tmp, grad, n) : 0;
    for (int i = 0; i < n; i++)
        update(g, param[i], grad[i], factor, &ctx->update);
    g->params->states = op_def[ctx->update.op ? ctx->update.op : OP_SGD]->states;
}

/* ---- curvature ---- */

/* Two sweeps over the same forward nodes: gradients, of which most are never read, then second
 * derivatives.  What a parameter gets becomes its optimizer's state. */
static void grad_curvature(Graph *g, PassCtx *ctx) {
    uint32_t nforward = g->norder, nvalue = g->nvalue;
    const NodeId *order = forward_order(g, ctx);
    Reverse slope = reverse_losses(g, ctx, order, nforward, nvalue, NULL);
    Reverse r = reverse_losses(g, ctx, order, nforward, nvalue, slope.diff);
    struct PassUpdate how = {.op = OP_CURVATURE};
    for (ValueId v = 1; v < nvalue; v++)
        if (graph_v(g, v)->kind == VK_PARAM && r.need[v] && r.diff[v])
            update(g, v, r.diff[v], 0, &how);
}

/* ---- attack ---- */

static void grad_attack(Graph *g, PassCtx *ctx) {
    uint32_t nforward = g->norder;
    const NodeId *order = forward_order(g, ctx);
    Reverse r = reverse_losses(g, ctx, order, nforward, g->nvalue, NULL);
    name_diffs(&r);
    for (uint32_t o = 0; o < nforward; o++)
        if (is_image(&r, graph_n(g, order[o])))
            ctx->image_diff[RULE_TRAIN] = r.diff[graph_n(g, order[o])->out[0]];
    BUG_IF(!ctx->image_diff[RULE_TRAIN], "no loss depends on the image");
    graph_v(g, ctx->image_diff[RULE_TRAIN])->keep = true;
}

/* ---- looking ---- */

static void kill_from(Graph *g, uint32_t first_node, uint32_t first_value) {
    for (NodeId id = first_node; id < g->nnode; id++)
        graph_n(g, id)->dead = true;
    for (ValueId v = first_value; v < g->nvalue; v++)
        graph_v(g, v)->kind = VK_NONE;
}

static void keep_as(Graph *g, ValueId v, Rule rule, const char *name) {
    graph_v(g, v)->keep = true;
    if (graph_v(g, v)->name || !name)
        return;
    const char *full = text(g, rule_name[rule], name);
    if (!graph_find(g, full))
        graph_set_name(g, v, full);
}

/* What v is made from, and v. */
static const bool *leading_to(const Reverse *r, ValueId v) {
    bool *leads = ARENA_ARRAY(r->ctx->tmp, r->nvalue, bool);
    leads[v] = true;
    for (uint32_t o = r->nforward; o-- > 0;) {
        const Node *n = graph_n(r->g, r->order[o]);
        bool any = false;
        for (int k = 0; k < n->nout; k++)
            any |= n->out[k] && leads[n->out[k]];
        for (int i = 0; any && i < n->nin; i++)
            leads[n->in[i]] = true;
    }
    return leads;
}

/* A seed for every output that no other output is made from: the others get their diffs from those
 * behind them.  Returns the score's own, or 0. */
static ValueId plant_roots(Reverse *r, bool all) {
    ValueId from[1 + PASS_ROOTS_MAX] = {r->ctx->project_from}, own = 0;
    int n = 1;
    for (int i = 0; all && i < r->ctx->nalso; i++)
        from[n++] = r->ctx->also_from[i];
    for (int i = 0; i < n; i++) {
        bool inner = false;
        for (int k = 0; k < n; k++)
            inner |= from[k] != from[i] && leading_to(r, from[k])[from[i]];
        if (inner || r->diff[from[i]])
            continue;
        ValueId root = graph_input(r->g, VK_SEED, DT_F32, graph_v(r->g, from[i])->shape, true,
                                   (int)r->rule, NULL);
        graph_v(r->g, root)->keep = true;
        r->diff[from[i]] = root;
        own = i == 0 ? root : own;
    }
    return own;
}

/* Class activation mapping (Selvaraju et al. 2017) asks for the gradient at the last layer of maps
 * that is no pooling, behind its rectifier; projections keep the one in front of it.  cam:LABEL. */
static void keep_cam(Graph *g, PassCtx *ctx, const Reverse *r) {
    const bool *leads = leading_to(r, ctx->project_from);
    for (int i = ctx->nseeds; i-- > 0;) {
        const Value *v = graph_v(g, ctx->seeds[i]);
        const Shape *shape = &v->shape;
        ValueId diff = r->diff[ctx->seeds[i]];
        if (!diff || !leads[ctx->seeds[i]] || ctx->seeds[i] == ctx->project_from ||
            shape->rank != 3 || shape->dim[1] * shape->dim[2] == 1 || v->kind != VK_RESULT)
            continue;
        int op = graph_n(g, v->def)->op;
        if (op == OP_MAXPOOL || op == OP_AVGPOOL)
            continue;
        graph_v(g, diff)->keep = true;
        if (!graph_v(g, diff)->name)
            graph_set_name(g, diff, arena_printf(g->keep, "cam:%s", ctx->seed_label[i]));
        return;
    }
}

/* all: from every output, else from the score alone.  false: the rule does not exist for them. */
static bool project(Graph *g, PassCtx *ctx, Rule rule, const NodeId *order, uint32_t nforward,
                    uint32_t nvalue, bool all) {
    uint32_t first_node = g->nnode, first_value = g->nvalue;
    Reverse r = reverse_new(g, ctx, rule, order, nforward, nvalue);
    ValueId root = plant_roots(&r, all);
    bool good = reverse_all(&r);
    ValueId image = 0;
    for (uint32_t o = 0; o < nforward && good && !image; o++)
        if (is_image(&r, graph_n(g, order[o])))
            image = graph_n(g, order[o])->out[0];
    if (good && (!image || !r.diff[image])) {
        r.refused = "nothing leads from the score back to the image";
        good = false;
    }
    ctx->refused[rule] = r.refused;
    ctx->image_diff[rule] = good ? r.diff[image] : 0;
    for (int i = 0; i < ctx->nseeds; i++) {
        NodeId relu = next_rectifier(&r, ctx->seeds[i]);
        if (relu)
            r.seed_diff[i] = r.diff[graph_n(g, relu)->in[0]];
        ctx->seed_info[rule][i] =
            (struct SeedInfo){.diff = good ? r.seed_diff[i] : 0, .rectified = relu != 0};
    }
    if (!good) {
        kill_from(g, first_node, first_value);
        return false;
    }
    /* The score's own seed and the image first: their names are what everybody asks for. */
    keep_as(g, r.diff[image], rule, "image");
    for (int i = 0; i < ctx->nseeds; i++)
        if (r.seed_diff[i])
            keep_as(g, r.seed_diff[i], rule, ctx->seed_label[i]);
    if (root)
        keep_as(g, root, rule, "score");
    if (rule == RULE_GRADIENT)
        keep_cam(g, ctx, &r);
    return true;
}

static void grad_look(Graph *g, PassCtx *ctx) {
    uint32_t nforward = g->norder, nvalue = g->nvalue;
    NodeId *order = ARENA_ARRAY(ctx->tmp, nforward, NodeId);
    memcpy(order, g->order, nforward * sizeof(NodeId));
    for (int i = 0; i < ctx->nseeds; i++)
        graph_v(g, ctx->seeds[i])->keep = true;
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++) {
        ctx->seed_info[rule] = ARENA_ARRAY(g->keep, ctx->nseeds, struct SeedInfo);
        /* An output behind an operator without this rule takes it from nobody else. */
        if (!project(g, ctx, (Rule)rule, order, nforward, nvalue, true) && ctx->nalso)
            project(g, ctx, (Rule)rule, order, nforward, nvalue, false);
    }
}

/* dce has dropped results that nobody reads yet; rules may want them (switches of max pooling). */
static void restore_results(Graph *g, PassCtx *ctx) {
    for (uint32_t o = 0; o < g->norder; o++) {
        NodeId id = g->order[o];
        for (int k = 1; k < graph_n(g, id)->nout; k++) {
            const Node *n = graph_n(g, id);
            if (n->out[k])
                continue;
            Shape *in = ARENA_ARRAY(ctx->tmp, n->nin, Shape);
            for (int i = 0; i < n->nin; i++)
                in[i] = graph_v(g, n->in[i])->shape;
            Infer inf = {.attrs = n->attrs, .nin = n->nin, .in = in};
            BUG_IF(!op_infer(n->op, &inf), "%s refuses its inputs", op_name[n->op]);
            ValueId *out = n->out;
            bool batched = graph_v(g, out[0])->batched;
            out[k] = graph_input(g, VK_RESULT, inf.out_type[k], inf.out[k], batched, 0, NULL);
            graph_v(g, out[k])->def = id;
            graph_v(g, out[k])->def_index = k;
        }
    }
}

void pass_grad(Graph *g, PassCtx *ctx) {
    graph_toposort(g);
    if (ctx->train || ctx->look || ctx->curvature || ctx->attack)
        restore_results(g, ctx);
    if (ctx->train)
        grad_train(g, ctx);
    if (ctx->curvature)
        grad_curvature(g, ctx);
    if (ctx->attack)
        grad_attack(g, ctx);
    if (ctx->look && ctx->project_from)
        grad_look(g, ctx);
    graph_toposort(g);
}
