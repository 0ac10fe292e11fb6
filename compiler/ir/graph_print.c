/* graph_print.c: a Graph as text, one node per line, that graph_parse reads back to the same graph.
 *
 * requires: graph_toposort has run (nodes appear in that order; after fuse, in their kernels).
 * ensures: handles of values are the printed %numbers, so two dumps of one run can be compared;
 * nothing depends on addresses.  Nothing of LocRange is printed.
 *
 *   %12 = conv(%3, @c1.weight, @c1.bias) {maps=6, kernel=5x5} : f32[6,28,28] n "c1"  # c1
 *   kernel 3 "conv1+relu" ... { nodes }     entry "step" 0 18     memory ...
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "ir/lanes.h"
#include "ir/plan.h"
#include "ir/text.h"
#include "ops/attrs.h"

void print_float(FILE *out, double x) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    fputs(text, out);
}

void print_quoted(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 32)
            fprintf(out, "\\x%02x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void print_shape(FILE *out, const Shape *s) {
    fputc('[', out);
    for (int d = 0; d < s->rank; d++)
        fprintf(out, "%s%lld", d ? "," : "", (long long)s->dim[d]);
    fputc(']', out);
}

/* ---- attributes ---- */

static void print_choice(FILE *out, const char *choices, int index) {
    const char *c = choices;
    for (; index > 0 && c; index--) {
        c = strchr(c, '|');
        if (c)
            c++;
    }
    if (c)
        fprintf(out, "%.*s", (int)strcspn(c, "|"), c);
    else
        fputc('?', out);
}

static void print_attr(FILE *out, const AttrDesc *d, const void *attrs) {
    const void *at = (const char *)attrs + d->offset;
    fprintf(out, "%s=", d->name);
    switch (d->type) {
    case AT_INT:
        fprintf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case AT_BOOL:
        fputs(*(const bool *)at ? "yes" : "no", out);
        break;
    case AT_FLOAT:
        print_float(out, *(const double *)at);
        break;
    case AT_EXTENT:
        fprintf(out, "%lldx%lld", (long long)((const int64_t *)at)[0],
                (long long)((const int64_t *)at)[1]);
        break;
    case AT_PADS:
        for (int i = 0; i < 4; i++)
            fprintf(out, "%s%lld", i ? "," : "", (long long)((const int64_t *)at)[i]);
        break;
    case AT_ENUM:
        if (d->choices)
            print_choice(out, d->choices, *(const int *)at);
        else
            fprintf(out, "%d", *(const int *)at);
        break;
    case AT_TABLE: {
        const ConnTable *t = *(const ConnTable *const *)at;
        if (!t) {
            fputs("none", out);
            break;
        }
        fprintf(out, "%dx%d:", t->outputs, t->inputs);
        for (int64_t i = 0; i < (int64_t)t->outputs * t->inputs; i++)
            fputc(t->link[i] ? '1' : '0', out);
        break;
    }
    case AT_STR: {
        const char *s = *(const char *const *)at;
        if (s)
            print_quoted(out, s);
        else
            fputs("none", out);
        break;
    }
    }
}

/* Attributes at their default are left out. */
void attrs_print(FILE *out, const Graph *g, const Node *n) {
    const OpDef *def = op_def[n->op];
    bool first = true;
    if (!n->attrs || def->nattrs == 0)
        return;
    char *like = arena_alloc(g->keep, def->attr_size);
    for (int i = 0; i < def->nattrs; i++) {
        const AttrDesc *d = &def->attrs[i];
        memcpy(like, n->attrs, def->attr_size);
        if (attr_default(g->keep, def, i, like) &&
            memcmp(like + d->offset, (const char *)n->attrs + d->offset, attr_bytes(d->type)) == 0)
            continue;
        fputs(first ? " {" : ", ", out);
        print_attr(out, d, n->attrs);
        first = false;
    }
    if (!first)
        fputc('}', out);
}

/* ---- values ---- */

static bool plain_name(const char *name) {
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-[]/", *c))
            return false;
    return *name != 0;
}

/* Values from outside go by name where they have one that needs no quotes. */
static void print_ref(FILE *out, const Graph *g, ValueId v) {
    const Value *x = graph_v(g, v);
    if ((x->kind == VK_PARAM || x->kind == VK_STATE) && x->name && plain_name(x->name))
        fprintf(out, "@%s", x->name);
    else
        fprintf(out, "%%%u", v);
}

static void print_halo(FILE *out, const int halo[4]) {
    if (halo[0] || halo[1] || halo[2] || halo[3])
        fprintf(out, " halo %d,%d,%d,%d", halo[0], halo[1], halo[2], halo[3]);
}

static void print_layout(FILE *out, const Layout *l) {
    switch (l->kind) {
    case LAYOUT_UNSET:
        return;
    case LAYOUT_PLAIN:
        fputs(" <plain", out);
        print_halo(out, l->halo);
        break;
    case LAYOUT_BLOCKED:
        fprintf(out, " <blocked %d", l->block);
        print_halo(out, l->halo);
        break;
    case LAYOUT_WEIGHTS:
        fprintf(out, " <%s o%d i%d g%d", l->transposed ? "weights^T" : "weights", l->o_tile,
                l->i_block, l->groups);
        break;
    }
    fputc('>', out);
}

static const char *const type_name[] = {"f32", "i32", "u8"};
static const char *const pool_name[] = {"none", "act", "fix", "param", "state"};

static void print_type(FILE *out, const Value *v) {
    fprintf(out, "%s", type_name[v->dtype]);
    print_shape(out, &v->shape);
    if (v->batched)
        fputs(" n", out);
    if (shape_frames(&v->shape) > 1)
        fprintf(out, "*%lld", (long long)shape_frames(&v->shape));
    if (v->name) {
        fputc(' ', out);
        print_quoted(out, v->name);
    }
    if (v->keep)
        fputs(" keep", out);
    if (v->stored && v->kind != VK_SEED)
        fputs(" stored", out);
    print_layout(out, &v->layout);
    if (v->pool != POOL_NONE || v->bytes)
        fprintf(out, " %s@%lld:%lld", pool_name[v->pool], (long long)v->offset,
                (long long)v->bytes);
}

static void print_source(FILE *out, const Graph *g, ValueId id) {
    static const char *const kind[] = {[VK_INPUT] = "input",
                                       [VK_LABEL] = "label",
                                       [VK_PARAM] = "param",
                                       [VK_STATE] = "state",
                                       [VK_SEED] = "seed"};
    const Value *v = graph_v(g, id);
    if (v->kind == VK_NONE || v->kind == VK_RESULT || v->same_as)
        return;
    fprintf(out, "%%%u = %s %d : ", id, kind[v->kind], v->slot);
    print_type(out, v);
    fputc('\n', out);
}

static void print_node(FILE *out, const Graph *g, NodeId id, const char *indent) {
    const Node *n = graph_n(g, id);
    fputs(indent, out);
    for (int k = 0; k < n->nout; k++) {
        fputs(k ? ", " : "", out);
        if (n->out[k])
            fprintf(out, "%%%u", n->out[k]);
        else
            fputc('_', out);
    }
    fprintf(out, " = %s(", op_name[n->op]);
    for (int i = 0; i < n->nin; i++) {
        fputs(i ? ", " : "", out);
        print_ref(out, g, n->in[i]);
    }
    fputc(')', out);
    attrs_print(out, g, n);
    fputs(" : ", out);
    for (int k = 0; k < n->nout; k++) {
        fputs(k ? ", " : "", out);
        if (n->out[k])
            print_type(out, graph_v(g, n->out[k]));
        else
            fputc('_', out);
    }
    if (n->label)
        fprintf(out, "  # %s", n->label);
    fputc('\n', out);
}

/* ---- parameters ---- */

static void print_table(FILE *out, const Param *p) {
    int64_t n = shape_elems(&p->shape);
    fputs(" table", out);
    for (int64_t i = 0; i < n;) {
        int64_t run = 1;
        while (i + run < n && p->table[i + run] == p->table[i])
            run++;
        fputc(i ? ',' : ' ', out);
        if (run > 1)
            fprintf(out, "%lld*", (long long)run);
        print_float(out, (double)p->table[i]);
        i += run;
    }
}

static void print_param(FILE *out, const Graph *g, int index) {
    static const char *const rule[] = {"zero", "fill", "uniform", "gaussian", "table"};
    const Param *p = &g->params->at[index];
    fprintf(out, "param %d ", index);
    print_quoted(out, p->name ? p->name : "");
    fputc(' ', out);
    print_shape(out, &p->shape);
    if (!shape_equal(&p->shape, &p->split)) {
        fputs(" split ", out);
        print_shape(out, &p->split);
    }
    fprintf(out, " init %s ", rule[p->init]);
    print_float(out, p->init_a);
    fputc(' ', out);
    print_float(out, p->init_b);
    fputs(" lr ", out);
    print_float(out, p->lr_mult);
    fputs(" decay ", out);
    print_float(out, p->decay_mult);
    fprintf(out, " trainable %lld", (long long)p->trainable);
    if (p->max_rms > 0) {
        fputs(" max_rms ", out);
        print_float(out, p->max_rms);
    }
    fputs(p->frozen ? " frozen" : "", out);
    fputs(p->constant ? " constant" : "", out);
    if (p->label) {
        fputs(" label ", out);
        print_quoted(out, p->label);
    }
    print_layout(out, &p->layout);
    if (p->bytes)
        fprintf(out, " at %lld state %lld size %lld", (long long)p->offset,
                (long long)p->state_offset, (long long)p->bytes);
    if (p->links) {
        fputs(" links ", out);
        int64_t n = p->shape.rank >= 2 ? p->shape.dim[0] * p->shape.dim[1] : 0;
        for (int64_t i = 0; i < n; i++)
            fputc(p->links[i] ? '1' : '0', out);
    }
    if (p->table)
        print_table(out, p);
    fputc('\n', out);
}

/* ---- kernels ---- */

static void print_text(FILE *out, const char *key, const char *text) {
    if (!text)
        return;
    fprintf(out, " %s ", key);
    print_quoted(out, text);
}

static void print_pair(FILE *out, const char *key, double image, double fixed) {
    if (image == 0 && fixed == 0)
        return;
    fprintf(out, " %s ", key);
    print_float(out, image);
    fputc('+', out);
    print_float(out, fixed);
}

void kernel_print(const Graph *g, const Kernel *k, FILE *out) {
    const Tile *t = &k->tile;
    fprintf(out, "kernel %d ", (int)(k - g->kernels));
    print_quoted(out, k->name ? k->name : "");
    print_text(out, "label", k->label);
    print_text(out, "algorithm", k->algorithm);
    if (t->ow || t->oh || t->oc || t->ic || t->unroll || t->rows)
        fprintf(out, " tile %d,%d,%d,%d,%d,%d", t->ow, t->oh, t->oc, t->ic, t->unroll, t->rows);
    t = &k->source_tile;
    if (k->nsource)
        fprintf(out, " source %d,%d,%d,%d,%d", k->nsource, t->ow, t->oh, t->oc, t->unroll);
    fputs(k->oc_outer ? " oc_outer" : "", out);
    if (k->tasks_per)
        fprintf(out, " tasks %lld/%lld", (long long)k->tasks_per, (long long)k->tasks_block);
    print_pair(out, "flops", k->flops_image, k->flops_fixed);
    print_pair(out, "bytes", k->bytes_image, k->bytes_fixed);
    if (k->scratch)
        fprintf(out, " scratch %lld", (long long)k->scratch);
    if (k->scratch && (k->gap_bytes || k->top))
        fprintf(out, " room %lld+%lld,%lld", (long long)k->gap, (long long)k->gap_bytes,
                (long long)k->top);
    print_text(out, "why", k->why);
    fputs(" {\n", out);
    NodeId buffer[KERNEL_MAX_NODES];
    int count;
    const NodeId *node = kernel_members(k, buffer, &count);
    for (int i = 0; i < count && !(k->lanes && k->lanes->again); i++)
        print_node(out, g, node[i], "    ");
    fputs("}\n", out);
}

void graph_print(const Graph *g, FILE *out) {
    fputs("graph ", out);
    print_quoted(out, g->name ? g->name : "");
    fputs(" net ", out);
    print_quoted(out, g->net ? g->net : "");
    fputc('\n', out);
    if (g->params->bytes || g->params->state_bytes)
        fprintf(out, "pools %lld %lld\n", (long long)g->params->bytes,
                (long long)g->params->state_bytes);
    for (int i = 0; i < g->params->count; i++)
        print_param(out, g, i);
    for (ValueId v = 1; v < g->nvalue; v++)
        print_source(out, g, v);
    if (g->nkernels == 0)
        for (uint32_t o = 0; o < g->norder; o++)
            print_node(out, g, g->order[o], "");
    for (int k = 0; k < g->nkernels; k++)
        kernel_print(g, &g->kernels[k], out);
    for (int i = 0; i < g->nentries; i++) {
        fputs("entry ", out);
        print_quoted(out, g->entry[i].name);
        fprintf(out, " %d %d\n", g->entry[i].first, g->entry[i].count);
    }
    if (g->act_bytes || g->fix_bytes || g->scratch_bytes)
        fprintf(out, "memory act %lld lower %lld fix %lld lower %lld scratch %lld\n",
                (long long)g->act_bytes, (long long)g->act_lower_bound, (long long)g->fix_bytes,
                (long long)g->fix_lower_bound, (long long)g->scratch_bytes);
}
