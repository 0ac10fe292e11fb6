/* onnx_write.c: protobuf messages of an ONNX graph (onnx_write.h).
 *
 * requires: the forward graph as the front end built it.  ensures: names are unique; a node's name
 * is its layer's label, so that an import finds the labels again; nodes stand in the order in which
 * they read each other.
 * Source: onnx.proto (field numbers), the encoding document of Protocol Buffers.
 */
#include "ops/onnx_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"

/* ---- the wire ---- */
enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { NODE_INPUT = 1, NODE_OUTPUT, NODE_NAME, NODE_TYPE, NODE_ATTRIBUTE };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9 };
enum { TYPE_FLOAT = 1, TYPE_INT64 = 7 };

static void varint(StrBuf *b, uint64_t v) {
    for (; v > 127; v >>= 7)
        sb_putc(b, (char)(unsigned char)((v & 127) | 128));
    sb_putc(b, (char)(unsigned char)v);
}

static void put_int(StrBuf *b, int field, int64_t v) {
    varint(b, (uint64_t)field << 3 | VARINT);
    varint(b, (uint64_t)v);
}

static void put_bytes(StrBuf *b, int field, const void *data, size_t n) {
    varint(b, (uint64_t)field << 3 | BYTES);
    varint(b, n);
    sb_write(b, data, n);
}

static void put_text(StrBuf *b, int field, const char *text) {
    put_bytes(b, field, text, strlen(text));
}

static void put_message(StrBuf *b, int field, const StrBuf *m) {
    put_bytes(b, field, m->length ? m->text : "", m->length);
}

/* ---- names ---- */
static const char *unique(Ox *o, Map *taken, const char *wanted) {
    const char *name = wanted;
    for (int i = 2; map_has(taken, name); i++)
        name = arena_printf(o->arena, "%s.%d", wanted, i);
    map_put(taken, name, o);
    return name;
}

static const char *temporary(Ox *o) {
    return unique(o, &o->taken, arena_printf(o->arena, "_%d", ++o->temps));
}

bool ox_refuse(Ox *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(o->why, sizeof o->why, format, args);
    va_end(args);
    return false;
}

const Shape *ox_shape(const Ox *o, int input) {
    return &graph_v(o->g, o->node->in[input])->shape;
}

const Shape *ox_result(const Ox *o) {
    return &graph_v(o->g, o->node->out[0])->shape;
}

static const char *initializer(Ox *o, const char *name, int param, int rank, const int64_t *dim) {
    OnnxTensor *t = vec_add(o->arena, &o->tensor);
    t->name = unique(o, &o->taken, name);
    t->param = param;
    t->rank = rank;
    for (int i = 0; i < rank && i < 5; i++)
        t->dim[i] = dim[i];
    return t->name;
}

const char *ox_in(Ox *o, int input) {
    ValueId id = o->node->in[input];
    const Value *v = graph_v(o->g, id);
    if (!o->value[id] && v->kind == VK_PARAM)
        o->value[id] =
            initializer(o, o->params->at[v->slot].name, v->slot, v->shape.rank, v->shape.dim);
    BUG_IF(!o->value[id], "a value of '%s' was not said before", op_name[o->node->op]);
    return o->value[id];
}

const char *ox_as(Ox *o, int input, int rank, const int64_t *dim) {
    const Value *v = graph_v(o->g, o->node->in[input]);
    bool same = v->shape.rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = v->shape.dim[i] == dim[i];
    if (same)
        return ox_in(o, input);
    if (v->kind == VK_PARAM && !o->value[o->node->in[input]])
        return o->value[o->node->in[input]] =
                   initializer(o, o->params->at[v->slot].name, v->slot, rank, dim);
    if (v->kind == VK_PARAM) /* read in two forms */
        return initializer(o, o->params->at[v->slot].name, v->slot, rank, dim);
    return ox_two(o, "Reshape", ox_in(o, input), ox_ints(o, rank, dim), false);
}

const char *ox_over(Ox *o, int input) {
    const Value *v = graph_v(o->g, o->node->in[input]);
    int64_t c = v->shape.dim[0];
    int clip = ox_clip(o, 0);
    if (v->shape.rank == 3 && clip && !v->batched)
        return ox_as(o, input, 4, (const int64_t[]){c, 1, v->shape.dim[1], v->shape.dim[2]});
    if (v->shape.rank != 1 || ox_shape(o, 0)->rank != 3)
        return ox_in(o, input);
    if (!v->batched)
        return ox_as(o, input, 3 + clip, (const int64_t[]){c, 1, 1, 1});
    return ox_two(o, "Reshape", ox_in(o, input),
                  ox_ints(o, 4 + clip, (const int64_t[]){0, c, 1, 1, 1}), false);
}

int ox_clip(const Ox *o, int input) {
    return shape_frames(input < 0 ? ox_result(o) : ox_shape(o, input)) > 1;
}

/* ---- constants ---- */
static const char *constant(Ox *o, int type, int rank, int64_t n, const void *data, size_t bytes) {
    StrBuf t = sb_new(o->arena);
    const char *name = temporary(o);
    if (rank)
        put_int(&t, TENSOR_DIMS, n);
    put_int(&t, TENSOR_TYPE, type);
    put_text(&t, TENSOR_NAME, name);
    put_bytes(&t, TENSOR_RAW, data, bytes);
    put_message(&o->body, GRAPH_INITIALIZER, &t);
    return name;
}

const char *ox_number(Ox *o, double x) {
    float f = (float)x;
    return constant(o, TYPE_FLOAT, 0, 1, &f, sizeof f);
}

const char *ox_ints(Ox *o, int n, const int64_t *v) {
    return constant(o, TYPE_INT64, 1, n, v, (size_t)n * sizeof *v);
}

/* ---- nodes ---- */
void ox_begin(Ox *o, const char *type) {
    o->node_text = sb_new(o->arena);
    put_text(&o->node_text, NODE_TYPE, type);
}

void ox_arg(Ox *o, const char *name) {
    put_text(&o->node_text, NODE_INPUT, name);
}

enum {
    ATTR_NAME = 1,
    ATTR_FLOAT_ = 2,
    ATTR_INT_ = 3,
    ATTR_TEXT = 4,
    ATTR_INTS = 8,
    ATTR_KIND = 20
};
enum { KIND_FLOAT = 1, KIND_INT = 2, KIND_TEXT = 3, KIND_INTS = 7 };

void ox_attr_int(Ox *o, const char *name, int64_t x) {
    StrBuf a = sb_new(o->arena);
    put_text(&a, ATTR_NAME, name);
    put_int(&a, ATTR_INT_, x);
    put_int(&a, ATTR_KIND, KIND_INT);
    put_message(&o->node_text, NODE_ATTRIBUTE, &a);
}

void ox_attr_ints(Ox *o, const char *name, int n, const int64_t *v) {
    StrBuf a = sb_new(o->arena);
    put_text(&a, ATTR_NAME, name);
    for (int i = 0; i < n; i++)
        put_int(&a, ATTR_INTS, v[i]);
    put_int(&a, ATTR_KIND, KIND_INTS);
    put_message(&o->node_text, NODE_ATTRIBUTE, &a);
}

void ox_attr_float(Ox *o, const char *name, double x) {
    StrBuf a = sb_new(o->arena);
    float f = (float)x;
    put_text(&a, ATTR_NAME, name);
    varint(&a, (uint64_t)ATTR_FLOAT_ << 3 | FIXED32);
    sb_write(&a, (const char *)&f, sizeof f);
    put_int(&a, ATTR_KIND, KIND_FLOAT);
    put_message(&o->node_text, NODE_ATTRIBUTE, &a);
}

void ox_attr_text(Ox *o, const char *name, const char *text) {
    StrBuf a = sb_new(o->arena);
    put_text(&a, ATTR_NAME, name);
    put_text(&a, ATTR_TEXT, text);
    put_int(&a, ATTR_KIND, KIND_TEXT);
    put_message(&o->node_text, NODE_ATTRIBUTE, &a);
}

const char *ox_end(Ox *o, bool last) {
    const Value *v = graph_v(o->g, o->node->out[0]);
    const char *name = o->value[o->node->out[0]], *label = o->node->label;
    if (!last)
        name = temporary(o);
    else if (!name)
        name = v->name ? unique(o, &o->taken, v->name) : temporary(o);
    if (last)
        o->value[o->node->out[0]] = name;
    put_text(&o->node_text, NODE_OUTPUT, name);
    if (last && label) { /* the first node of a layer has its name alone */
        if (map_has(&o->nodes, label))
            label = arena_printf(o->arena, "%s.%s", label, op_name[o->node->op]);
        put_text(&o->node_text, NODE_NAME, unique(o, &o->nodes, label));
    }
    put_message(&o->body, GRAPH_NODE, &o->node_text);
    return name;
}

void ox_label(Ox *o) {
    if (o->node->label)
        put_text(&o->node_text, NODE_NAME, unique(o, &o->nodes, o->node->label));
}

void ox_no_output(Ox *o) {
    put_text(&o->node_text, NODE_OUTPUT, "");
}

const char *ox_one(Ox *o, const char *type, const char *a, bool last) {
    ox_begin(o, type);
    ox_arg(o, a);
    return ox_end(o, last);
}

const char *ox_two(Ox *o, const char *type, const char *a, const char *b, bool last) {
    ox_begin(o, type);
    ox_arg(o, a);
    ox_arg(o, b);
    return ox_end(o, last);
}

void ox_attr_window(Ox *o, const char *name, bool clip, int64_t deep, const int64_t v[2]) {
    const int64_t all[3] = {deep, v[0], v[1]};
    ox_attr_ints(o, name, clip ? 3 : 2, clip ? all : v);
}

/* ONNX: all that comes before, then all that comes behind. */
void ox_attr_pads(Ox *o, const int64_t *deep, const int64_t pad[4]) {
    int64_t v[6], n = 0;
    for (int side = 0; side < 2; side++) {
        if (deep)
            v[n++] = deep[side];
        v[n++] = pad[side];
        v[n++] = pad[2 + side];
    }
    ox_attr_ints(o, "pads", (int)n, v);
}

static const int64_t frame_axis = 2;

const char *ox_framed(Ox *o, const char *x) {
    return ox_two(o, "Unsqueeze", x, ox_ints(o, 1, &frame_axis), false);
}

const char *ox_unframed(Ox *o, const char *x, bool last) {
    return ox_two(o, "Squeeze", x, ox_ints(o, 1, &frame_axis), last);
}

bool ox_same(Ox *o, const char *name) {
    if (o->value[o->node->out[0]]) /* the graph's output has its name already */
        ox_one(o, "Identity", name, true);
    else
        o->value[o->node->out[0]] = name;
    return true;
}

/* ---- the graph ---- */
/* ValueInfoProto: name 1, type 2 {tensor_type 1 {elem_type 1, shape 2 {dim 1 {value 1, param 2}}}}
 */
static void put_value(Ox *o, int field, const char *name, const Value *v, bool line) {
    StrBuf dims = sb_new(o->arena), tensor = sb_new(o->arena), type = sb_new(o->arena);
    StrBuf info = sb_new(o->arena);
    for (int i = v->batched ? -1 : 0; i < v->shape.rank; i++) {
        if (line && i == 1) /* its only row */
            continue;
        if (i == 1 && shape_frames(&v->shape) > 1) {
            StrBuf frames = sb_new(o->arena);
            put_int(&frames, 1, shape_frames(&v->shape));
            put_message(&dims, 1, &frames);
        }
        StrBuf d = sb_new(o->arena);
        if (i < 0)
            put_text(&d, 2, "N");
        else
            put_int(&d, 1, v->shape.dim[i]);
        put_message(&dims, 1, &d);
    }
    put_int(&tensor, 1, TYPE_FLOAT);
    put_message(&tensor, 2, &dims);
    put_message(&type, 1, &tensor);
    put_text(&info, 1, name);
    put_message(&info, 2, &type);
    put_message(&o->body, field, &info);
}

/* need: the declared outputs at first; reader: 0 of them too. */
static void mark(const Graph *g, bool *need, NodeId *reader) {
    const NodeId many = UINT32_MAX;
    for (ValueId v = 1; v < g->nvalue; v++)
        reader[v] = need[v] ? many : 0;
    for (NodeId id = g->nnode; id-- > 1;) { /* inputs come before their readers */
        const Node *n = graph_n(g, id);
        bool any = false;
        for (int k = 0; k < n->nout; k++)
            any |= n->out[k] && need[n->out[k]];
        for (int i = 0; any && !n->dead && i < n->nin; i++) {
            NodeId *r = &reader[n->in[i]];
            *r = *r == 0 ? id : many;
            need[n->in[i]] = true;
        }
    }
    for (ValueId v = 1; v < g->nvalue; v++)
        reader[v] = reader[v] == many ? 0 : reader[v];
}

static const char *say(Ox *o, NodeId id) {
    o->node = graph_n(o->g, id);
    if (ox_absorbed(o, id))
        return NULL;
    const char *label = o->node->label ? o->node->label : "";
    for (int i = -1; i < o->node->nin; i++) {
        const Shape *s = i < 0 ? ox_result(o) : ox_shape(o, i);
        bool images = graph_v(o->g, i < 0 ? o->node->out[0] : o->node->in[i])->batched;
        if (images ? s->rank != 1 && s->rank != 3 : s->rank > 4)
            return arena_printf(o->arena, "layer '%s' (%s) has more axes than images", label,
                                op_name[o->node->op]);
    }
    o->why[0] = 0;
    if (!ox_say[o->node->op])
        ox_refuse(o, "this operation is not written to ONNX yet");
    else if (ox_say[o->node->op](o))
        return NULL;
    return arena_printf(o->arena, "layer '%s' (%s): %s", label, op_name[o->node->op], o->why);
}

/* A node of one input beside the graph's own: result = type(from). */
static void side_node(Ox *o, const char *type, const char *from, bool row, const char *result) {
    static const int64_t axis = 2;
    const char *axes = row ? ox_ints(o, 1, &axis) : NULL;
    StrBuf node = sb_new(o->arena);
    put_text(&node, NODE_TYPE, type);
    put_text(&node, NODE_INPUT, from);
    if (axes)
        put_text(&node, NODE_INPUT, axes);
    put_text(&node, NODE_OUTPUT, result);
    put_text(&node, NODE_NAME, unique(o, &o->nodes, result));
    put_message(&o->body, GRAPH_NODE, &node);
}

static void name_starts(Ox *o, const bool *need, const OnnxStart *start) {
    for (ValueId v = 1; v < o->g->nvalue; v++) {
        const Value *x = graph_v(o->g, v);
        if (x->kind != VK_INPUT || !need[v])
            continue;
        const char *name = unique(o, &o->taken, start[x->slot].name);
        bool line = start[x->slot].line;
        put_value(o, GRAPH_INPUT, name, x, line);
        o->value[v] = line ? temporary(o) : name;
        if (line)
            side_node(o, "Unsqueeze", name, true, o->value[v]);
    }
}

/* Outputs have the names that the spec gives them; a value with two names gets the second from a
 * node that copies. */
static void name_ends(Ox *o, const OnnxEnd *end, int ends, const char **name) {
    for (int i = 0; i < ends; i++) {
        name[i] = unique(o, &o->taken, end[i].name);
        if (!o->value[end[i].value] && !end[i].line)
            o->value[end[i].value] = name[i];
    }
}

static void put_ends(Ox *o, const OnnxEnd *end, int ends, const char *const *name) {
    for (int i = 0; i < ends; i++) {
        const char *made = o->value[end[i].value];
        if (made != name[i])
            side_node(o, end[i].line ? "Squeeze" : "Identity", made, end[i].line, name[i]);
        put_value(o, GRAPH_OUTPUT, name[i], graph_v(o->g, end[i].value), end[i].line);
    }
}

OnnxGraph onnx_graph(Arena *arena, const Graph *g, const ParamList *params, const OnnxEnd *end,
                     int ends, const OnnxStart *start) {
    Ox o = {.arena = arena, .g = g, .params = params, .body = sb_new(arena)};
    OnnxGraph r = {.refused = NULL};
    bool *need = ARENA_ARRAY(arena, g->nvalue, bool);
    const char **name = ARENA_ARRAY(arena, ends + 1, const char *);
    o.value = ARENA_ARRAY(arena, g->nvalue, const char *);
    o.taken = map_new(arena);
    o.nodes = map_new(arena);
    if (ends == 0)
        return (OnnxGraph){.refused = "it declares no output"};
    for (int i = 0; i < ends; i++)
        need[end[i].value] = true;
    o.reader = ARENA_ARRAY(arena, g->nvalue, NodeId);
    mark(g, need, o.reader);
    put_text(&o.body, GRAPH_NAME, g->net ? g->net : "net");
    name_starts(&o, need, start);
    name_ends(&o, end, ends, name);
    for (NodeId id = 1; id < g->nnode && !r.refused; id++) {
        const Node *n = graph_n(g, id);
        bool wanted = !n->dead && n->nout && n->out[0] && need[n->out[0]];
        r.refused = wanted ? say(&o, id) : NULL;
    }
    put_ends(&o, end, ends, name);
    r.body = o.body.text;
    r.size = o.body.length;
    r.tensor = o.tensor.data;
    r.tensors = o.tensor.len;
    return r;
}
