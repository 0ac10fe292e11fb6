/* graph_dot.c: a Graph as Graphviz text: one box per node, coloured by family, kernels as clusters.
 *
 * requires: topological order.  ensures: the same graph gives the same text.
 * Colours tell what kind of work a node is: weights' work warm, elementwise green, windows blue,
 * losses red, gradients the same hue but paler, updates grey.
 */

#include "ir/lanes.h"
#include "ir/op.h"
#include "ir/plan.h"

static const char *colour(const Node *n) {
    bool backward = op_is(n->op, OPF_N);
    if (op_is(n->op, OPF_X))
        return "#c9c9c9";
    if (op_is(n->op, OPF_L))
        return "#f28b82";
    if (op_is(n->op, OPF_E))
        return backward ? "#dff3e1" : "#a5d6a7";
    if (op_is(n->op, OPF_P))
        return "#ffb74d";
    if (op_def[n->op]->weights || n->op == OP_BIAS_GRAD)
        return "#ffe0b2";
    if (op_is(n->op, OPF_W))
        return "#90caf9";
    if (op_is(n->op, OPF_A))
        return backward ? "#dbeafe" : "#ce93d8";
    return backward ? "#f3e5f5" : "#fff59d";
}

static void quote(FILE *out, const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void dot_node(const Graph *g, NodeId id, FILE *out) {
    const Node *n = graph_n(g, id);
    char shape[96] = "";
    const Value *v = graph_v(g, n->out[0]);
    shape_print(&v->shape, shape, sizeof shape);
    fprintf(out, "  n%u [label=\"%s", id, op_name[n->op]);
    if (n->label) {
        fputs("\\n", out);
        quote(out, n->label);
    }
    fprintf(out, "\\n%s%s\", fillcolor=\"%s\"%s];\n", v->batched ? "n x " : "", shape, colour(n),
            v->keep ? ", penwidth=2" : "");
}

static void dot_edges(const Graph *g, NodeId id, FILE *out) {
    const Node *n = graph_n(g, id);
    for (int i = 0; i < n->nin; i++) {
        const Value *v = graph_v(g, n->in[i]);
        if (v->kind == VK_RESULT)
            fprintf(out, "  n%u -> n%u%s;\n", v->def, id, v->stored ? " [style=bold]" : "");
        else
            fprintf(out, "  v%u -> n%u [color=\"#9e9e9e\"];\n", n->in[i], id);
    }
}

static void dot_sources(const Graph *g, FILE *out) {
    static const char *const kind[] = {[VK_INPUT] = "input",
                                       [VK_LABEL] = "label",
                                       [VK_PARAM] = "param",
                                       [VK_STATE] = "state",
                                       [VK_SEED] = "seed"};
    bool *used = arena_array(g->keep, g->nvalue, sizeof(bool));
    for (uint32_t o = 0; o < g->norder; o++)
        for (int i = 0; i < graph_n(g, g->order[o])->nin; i++)
            used[graph_n(g, g->order[o])->in[i]] = true;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        char shape[96];
        if (!used[v] || x->kind == VK_RESULT || x->kind == VK_NONE)
            continue;
        shape_print(&x->shape, shape, sizeof shape);
        fprintf(out, "  v%u [shape=ellipse, fillcolor=\"#eeeeee\", label=\"", v);
        quote(out, x->name ? x->name : kind[x->kind]);
        fprintf(out, "\\n%s\"];\n", shape);
    }
}

void graph_dot(const Graph *g, FILE *out) {
    fputs("digraph \"", out);
    quote(out, g->net ? g->net : "");
    fputs(
        "\" {\n  rankdir=TB;\n  node [shape=box, style=\"filled,rounded\", fontname=\"Helvetica\","
        " fontsize=10];\n  edge [arrowsize=0.6];\n",
        out);
    dot_sources(g, out);
    if (g->nkernels == 0)
        for (uint32_t o = 0; o < g->norder; o++)
            dot_node(g, g->order[o], out);
    for (int k = 0; k < g->nkernels; k++) {
        const Kernel *kernel = &g->kernels[k];
        if (kernel->lanes && kernel->lanes->again)
            continue; /* its nodes are drawn in the other kernels */
        fprintf(out, "  subgraph cluster_%d {\n  label=\"", k);
        quote(out, kernel->name);
        fputs("\"; fontsize=9; color=\"#bdbdbd\";\n", out);
        NodeId buffer[KERNEL_MAX_NODES];
        int count;
        const NodeId *node = kernel_members(kernel, buffer, &count);
        for (int i = 0; i < count; i++)
            dot_node(g, node[i], out);
        fputs("  }\n", out);
    }
    for (uint32_t o = 0; o < g->norder; o++)
        dot_edges(g, g->order[o], out);
    fputs("}\n", out);
}
