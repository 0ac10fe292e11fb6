/* graph_verify.c: the invariants of a Graph, as far as the passes have brought it.
 *
 * requires: handles may be anything (the graph may come from a text).
 * ensures: true means: one definition per value, arity and shapes as the operators say, inputs
 * before readers; with kernels: they partition the nodes and store what others read; with layouts:
 * sizes and halos suffice; with entries and places: running the plan on paper (plan_check.c) finds
 * every value intact when it is read.  False leaves one sentence in `why`.
 */
#include <stdarg.h>
#include <string.h>

#include "base/map.h"
#include "ir/lanes.h"
#include "ir/op.h"
#include "ir/verify.h"

bool check_fail(Check *c, const char *format, ...) {
    va_list args;
    int used = snprintf(c->why, c->size, "graph '%s' after %s: ", c->g->name, c->after);
    if (used < 0 || (size_t)used >= c->size)
        return false;
    va_start(args, format);
    vsnprintf(c->why + used, c->size - (size_t)used, format, args);
    va_end(args);
    return false;
}

const char *check_value(Check *c, ValueId v) {
    const char *name = v < c->g->nvalue ? graph_v(c->g, v)->name : NULL;
    return name ? arena_printf(c->tmp, "%%%u (%s)", v, name) : arena_printf(c->tmp, "%%%u", v);
}

/* ---- nodes and values ---- */

static bool check_arity(Check *c, NodeId id) {
    const Graph *g = c->g;
    const Node *n = graph_n(g, id);
    if (n->op <= OP_NONE || n->op >= OP_COUNT)
        return check_fail(c, "node %u has no operator", id);
    if (op_nin[n->op] < 0 ? n->nin < 1 : n->nin != op_nin[n->op])
        return check_fail(c, "%s has %d inputs", op_name[n->op], n->nin);
    if (n->nout != op_nout[n->op])
        return check_fail(c, "%s has %d results", op_name[n->op], n->nout);
    if (!n->out[0])
        return check_fail(c, "%s has no first result", op_name[n->op]);
    for (int i = 0; i < n->nin; i++) {
        ValueId v = n->in[i];
        if (v == 0 || v >= g->nvalue || graph_v(g, v)->kind == VK_NONE)
            return check_fail(c, "%s reads %%%u, which does not exist", op_name[n->op], v);
        if (!c->defined[v])
            return check_fail(c, "%s reads %s before its definition", op_name[n->op],
                              check_value(c, v));
    }
    for (int k = 0; k < n->nout; k++) {
        ValueId v = n->out[k];
        if (v == 0)
            continue;
        if (v >= g->nvalue || graph_v(g, v)->kind != VK_RESULT)
            return check_fail(c, "%s makes %%%u, which is no result", op_name[n->op], v);
        if (c->defined[v])
            return check_fail(c, "%s is defined twice", check_value(c, v));
        if (graph_v(g, v)->def != id || graph_v(g, v)->def_index != k)
            return check_fail(c, "%s does not know its definition", check_value(c, v));
        c->defined[v] = true;
    }
    return true;
}

static bool check_shapes(Check *c, NodeId id) {
    const Graph *g = c->g;
    const Node *n = graph_n(g, id);
    Shape *in = ARENA_ARRAY(c->tmp, n->nin, Shape);
    bool batched = false;
    char is[64], should[64];
    for (int i = 0; i < n->nin; i++) {
        in[i] = graph_v(g, n->in[i])->shape;
        batched |= graph_v(g, n->in[i])->batched;
    }
    Infer inf = {.attrs = n->attrs, .nin = n->nin, .in = in};
    if (!op_infer(n->op, &inf))
        return check_fail(c, "%s %s refuses its inputs: %s", op_name[n->op],
                          check_value(c, n->out[0]), inf.bad.text);
    for (int k = 0; k < n->nout; k++) {
        if (!n->out[k])
            continue;
        const Value *v = graph_v(g, n->out[k]);
        shape_print(&v->shape, is, sizeof is);
        shape_print(&inf.out[k], should, sizeof should);
        if (!shape_equal(&v->shape, &inf.out[k]))
            return check_fail(c, "%s of %s is %s instead of %s", check_value(c, n->out[k]),
                              op_name[n->op], is, should);
        if (v->dtype != inf.out_type[k])
            return check_fail(c, "%s has the wrong type", check_value(c, n->out[k]));
        if (v->batched != (batched && !inf.unbatched))
            return check_fail(c, "%s must %shave a batch", check_value(c, n->out[k]),
                              v->batched ? "not " : "");
    }
    return true;
}

static bool check_source(Check *c, ValueId id) {
    const Graph *g = c->g;
    const Value *v = graph_v(g, id);
    bool owned = v->kind == VK_PARAM || v->kind == VK_STATE;
    if (owned && (v->slot < 0 || v->slot >= g->params->count))
        return check_fail(c, "%s belongs to no parameter", check_value(c, id));
    if (owned) {
        const Param *p = &g->params->at[v->slot];
        if (v->batched)
            return check_fail(c, "parameter %s has a batch", check_value(c, id));
        if (!shape_equal(&v->shape, &p->shape) && !shape_equal(&v->shape, &p->split))
            return check_fail(c, "%s has not its parameter's shape", check_value(c, id));
    } else if (!v->batched) {
        return check_fail(c, "%s comes from outside without a batch", check_value(c, id));
    }
    if (v->kind == VK_LABEL && (v->dtype != DT_I32 || (v->shape.rank != 0 && v->shape.rank != 2)))
        return check_fail(c, "label %s is not one i32 per image or pixel", check_value(c, id));
    c->defined[id] = true;
    return true;
}

static bool check_names(Check *c) {
    const Graph *g = c->g;
    Map names = map_new(c->tmp);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const char *name = graph_v(g, v)->name;
        if (name && c->defined[v] && !map_put(&names, name, NULL))
            return check_fail(c, "two values are called '%s'", name);
    }
    return true;
}

static bool check_nodes(Check *c) {
    const Graph *g = c->g;
    bool *ordered = ARENA_ARRAY(c->tmp, g->nnode, bool);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind != VK_NONE && x->kind != VK_RESULT && !x->same_as && !check_source(c, v))
            return false;
    }
    for (uint32_t o = 0; o < g->norder; o++) {
        NodeId id = g->order[o];
        if (id == 0 || id >= g->nnode || graph_n(g, id)->dead || ordered[id])
            return check_fail(c, "the order names node %u wrongly", id);
        ordered[id] = true;
        if (!check_arity(c, id) || !check_shapes(c, id))
            return false;
    }
    for (NodeId id = 1; id < g->nnode; id++)
        if (!graph_n(g, id)->dead && !ordered[id])
            return check_fail(c, "node %u is not in the order", id);
    return check_names(c);
}

/* A parameter's update runs after everything that reads the parameter. */
static bool check_updates(Check *c) {
    const Graph *g = c->g;
    bool *updated = ARENA_ARRAY(c->tmp, g->nvalue, bool);
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        for (int i = 0; i < n->nin; i++)
            if (updated[n->in[i]])
                return check_fail(c, "%s reads %s after its update", op_name[n->op],
                                  check_value(c, n->in[i]));
        if (op_is(n->op, OPF_X)) {
            if (graph_v(g, n->in[0])->kind != VK_PARAM)
                return check_fail(c, "%s updates %s, which is no parameter", op_name[n->op],
                                  check_value(c, n->in[0]));
            updated[n->in[0]] = true;
        }
    }
    return true;
}

/* ---- kernels ---- */

static bool claim(Check *c, bool *taken, NodeId id, int kernel) {
    if (id == 0 || id >= c->g->nnode || graph_n(c->g, id)->dead || taken[id])
        return check_fail(c, "kernel %d names node %u wrongly", kernel, id);
    if (graph_n(c->g, id)->kernel != (uint32_t)kernel + 1)
        return check_fail(c, "node %u does not know its kernel %d", id, kernel);
    taken[id] = true;
    return true;
}

static bool check_chain(Check *c, const Kernel *k) {
    const Graph *g = c->g;
    ValueId v = graph_n(g, k->anchor)->out[0];
    for (int i = 0; i < k->nchain; i++) {
        const Node *n = graph_n(g, k->chain[i]);
        if (!op_is(n->op, OPF_E))
            return check_fail(c, "kernel %s: %s is not elementwise", k->name, op_name[n->op]);
        if (n->in[0] != v)
            return check_fail(c, "kernel %s: the chain breaks before %s", k->name,
                              check_value(c, n->out[0]));
        v = n->out[0];
    }
    const Node *tail = graph_n(g, k->tail);
    if (k->tail && (!op_is(tail->op, OPF_W) || op_is(tail->op, OPF_P) || tail->nin != 1 ||
                    !op_is(graph_n(g, k->anchor)->op, OPF_A)))
        return check_fail(c, "kernel %s: %s cannot follow a chain", k->name, op_name[tail->op]);
    if (k->tail && tail->in[0] != v)
        return check_fail(c, "kernel %s: the pool does not read the chain", k->name);
    for (int i = 0; i < k->nbehind; i++) {
        const Node *n = graph_n(g, k->behind[i]);
        ValueId pooled = graph_n(g, i ? k->behind[i - 1] : k->tail)->out[0];
        if (!k->tail || !op_is(n->op, OPF_E) || n->nin != 1 || n->in[0] != pooled)
            return check_fail(c, "kernel %s: %s is no function of what the pool makes", k->name,
                              op_name[n->op]);
    }
    return true;
}

/* What makes the anchor's source: a convolution and functions of one operand, all of them inside. */
static bool check_band(Check *c, const Kernel *k) {
    const Graph *g = c->g;
    const Node *anchor = graph_n(g, k->anchor);
    for (int i = 0; i < k->nsource; i++) {
        const Node *n = graph_n(g, k->source[i]);
        ValueId before = i ? graph_n(g, k->source[i - 1])->out[0] : 0;
        if (i ? !op_is(n->op, OPF_E) || n->nin != 1 || n->in[0] != before : n->op != OP_CONV2D)
            return check_fail(c, "kernel %s: %s cannot make a band of its source", k->name,
                              op_name[n->op]);
        if (graph_v(g, n->out[0])->stored)
            return check_fail(c, "kernel %s: %s is made in scratch and stored", k->name,
                              check_value(c, n->out[0]));
    }
    if (k->nsource && (anchor->op != OP_CONV2D ||
                       anchor->in[0] != graph_n(g, k->source[k->nsource - 1])->out[0]))
        return check_fail(c, "kernel %s does not read the band it makes", k->name);
    return true;
}

/* The update reads the anchor's result, the bias' part the anchor's second input. */
static bool check_fused_update(Check *c, const Kernel *k) {
    const Graph *g = c->g;
    const Node *anchor = graph_n(g, k->anchor), *update = graph_n(g, k->update);
    const Node *bias = graph_n(g, k->bias_grad), *second = graph_n(g, k->bias_update);
    if (k->update && (!op_is(update->op, OPF_X) || update->in[1] != anchor->out[0]))
        return check_fail(c, "kernel %s: %s does not update what the anchor derives", k->name,
                          op_name[update->op]);
    if (k->bias_grad &&
        (bias->op != OP_BIAS_GRAD || anchor->nin != 2 || bias->in[0] != anchor->in[1]))
        return check_fail(c, "kernel %s: %s is not the bias' gradient", k->name, op_name[bias->op]);
    if (k->bias_update &&
        (!k->bias_grad || !op_is(second->op, OPF_X) || second->in[1] != bias->out[0]))
        return check_fail(c, "kernel %s: %s does not update the bias", k->name,
                          op_name[second->op]);
    if ((k->update || k->bias_grad) && (k->nchain || k->tail))
        return check_fail(c, "kernel %s: a chain behind an updated gradient", k->name);
    return true;
}

static bool check_kernels(Check *c) {
    const Graph *g = c->g;
    bool *taken = ARENA_ARRAY(c->tmp, g->nnode, bool);
    uint32_t total = 0;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        if (k->nchain < 0 || k->nchain > KERNEL_MAX_CHAIN || k->nbehind < 0 ||
            k->nbehind > KERNEL_MAX_BEHIND || k->nsource < 0 ||
            k->nsource > KERNEL_MAX_SOURCE || !k->name)
            return check_fail(c, "kernel %d is malformed", i);
        NodeId buffer[KERNEL_MAX_NODES];
        int count;
        const NodeId *node = kernel_members(k, buffer, &count);
        if (k->lanes && k->lanes->again) /* its nodes are those of the ordinary kernels */
            continue;
        for (int j = 0; j < count; j++)
            if (!claim(c, taken, node[j], i))
                return false;
        total += (uint32_t)count;
        if (!check_chain(c, k) || !check_band(c, k) || !check_fused_update(c, k))
            return false;
    }
    if (total != g->norder)
        return check_fail(c, "kernels hold %u of %u nodes", total, g->norder);
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        for (int i = 0; i < n->nin; i++) {
            const Value *v = graph_v(g, n->in[i]);
            if (v->kind == VK_RESULT && graph_n(g, v->def)->kernel != n->kernel && !v->stored)
                return check_fail(c, "%s is read by another kernel but not stored",
                                  check_value(c, n->in[i]));
        }
        for (int k = 0; k < n->nout; k++)
            if (n->out[k] && graph_v(g, n->out[k])->keep && !graph_v(g, n->out[k])->stored)
                return check_fail(c, "%s is kept but not stored", check_value(c, n->out[k]));
    }
    return true;
}

/* ---- layouts ---- */

static bool check_halos(Check *c, NodeId id) {
    const Graph *g = c->g;
    const Node *n = graph_n(g, id);
    for (int i = 0; i < n->nin && op_def[n->op]->halo; i++) {
        const Value *v = graph_v(g, n->in[i]);
        int wish[4] = {0, 0, 0, 0};
        if (v->kind != VK_RESULT || graph_n(g, v->def)->kernel == n->kernel)
            continue;
        op_def[n->op]->halo(g, id, i, wish);
        for (int side = 0; side < 4; side++)
            if (v->layout.halo[side] < wish[side])
                return check_fail(c, "%s has a halo of %d where %s needs %d",
                                  check_value(c, n->in[i]), v->layout.halo[side], op_name[n->op],
                                  wish[side]);
    }
    return true;
}

static bool layout_possible(const Layout *l, const Shape *s) {
    switch (l->kind) {
    case LAYOUT_BLOCKED:
        return l->block > 0 && (s->rank == 1 || s->rank == 3);
    case LAYOUT_WEIGHTS:
        return l->o_tile > 0 && l->i_block > 0 && l->groups > 0 && s->rank >= 1;
    case LAYOUT_PLAIN:
        return true;
    case LAYOUT_UNSET:
        break;
    }
    return false;
}

static bool check_layouts(Check *c) {
    const Graph *g = c->g;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (!c->defined[v] || !x->stored)
            continue;
        if (!layout_possible(&x->layout, &x->shape))
            return check_fail(c, "%s has no possible layout", check_value(c, v));
        int64_t elems = layout_elems(&x->layout, &x->shape);
        int64_t need = elems < INT64_MAX / 4 ? elems * (x->dtype == DT_U8 ? 1 : 4) : -1;
        if (need < 0 || x->bytes < need || x->bytes % 64 != 0)
            return check_fail(c, "%s has %lld bytes but needs %lld, rounded up to 64",
                              check_value(c, v), (long long)x->bytes, (long long)need);
    }
    for (uint32_t o = 0; o < g->norder; o++)
        if (!check_halos(c, g->order[o]))
            return false;
    return true;
}

static bool has_layouts(const Graph *g, bool *placed) {
    bool laid_out = false;
    *placed = false;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind != VK_RESULT || !x->stored)
            continue;
        laid_out |= x->layout.kind != LAYOUT_UNSET;
        *placed |= x->pool != POOL_NONE;
    }
    return laid_out;
}

bool graph_verify(const Graph *g, const char *after, char *why, size_t n) {
    Check c = {.g = g, .after = after, .why = why, .size = n, .tmp = arena_new()};
    bool placed;
    c.defined = ARENA_ARRAY(c.tmp, g->nvalue, bool);
    if (n > 0)
        why[0] = 0;
    bool good = check_nodes(&c) && check_updates(&c);
    if (good && g->nkernels > 0) {
        good = check_kernels(&c);
        if (good && has_layouts(g, &placed))
            good = check_layouts(&c) && (g->nentries == 0 || check_plan(&c, placed));
    }
    arena_free(c.tmp);
    return good;
}
