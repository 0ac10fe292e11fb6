/* plan_print.c: the plan as a person reads it: a row per kernel, why it is so, and memory.
 *
 * requires: memplan.  Columns: number, name, algorithm, register tile (rows x pixels x vectors),
 * tasks, MFLOP and KB per image (and fixed part behind a +), FLOP per byte, predicted milliseconds
 * of one call and their share of the entry, layouts read and written.  At most 200 columns.
 * theory: arithmetic intensity against bandwidth, Williams, Waterman, Patterson 2009, "Roofline".
 */

#include <string.h>

#include "base/str.h"
#include "ir/cost.h"
#include "ir/lanes.h"
#include "ir/op.h"

void plan_layout_text(const Value *v, char *buf, size_t n) {
    const Layout *l = &v->layout;
    char halo[40] = "";
    if (l->halo[0] || l->halo[1] || l->halo[2] || l->halo[3])
        snprintf(halo, sizeof halo, "+%d,%d,%d,%d", l->halo[0], l->halo[1], l->halo[2], l->halo[3]);
    switch (l->kind) {
    case LAYOUT_UNSET:
        snprintf(buf, n, "user");
        break;
    case LAYOUT_PLAIN:
        snprintf(buf, n, "plain%s", halo);
        break;
    case LAYOUT_BLOCKED:
        snprintf(buf, n, "c%d%s", l->block, halo);
        break;
    case LAYOUT_WEIGHTS:
        snprintf(buf, n, "%s%dx%d", l->transposed ? "i" : "o", l->o_tile, l->i_block);
        break;
    }
}

static void add_layouts(const Graph *g, const ValueId *v, int n, StrBuf *b) {
    for (int i = 0; i < n; i++) {
        char text[64];
        plan_layout_text(graph_v(g, v[i]), text, sizeof text);
        sb_printf(b, "%s%s", i ? " " : "", text);
    }
}

static const char *amount(Arena *a, double image, double fixed, double unit) {
    if (fixed == 0)
        return arena_printf(a, "%.4g", image / unit);
    if (image == 0)
        return arena_printf(a, "+%.4g", fixed / unit);
    return arena_printf(a, "%.4g+%.4g", image / unit, fixed / unit);
}

static const char *tasks(Arena *a, const Kernel *k) {
    if (k->tasks_block == 0)
        return arena_printf(a, "%lld", (long long)k->tasks_per);
    if (k->tasks_block == 1)
        return arena_printf(a, "%lld n", (long long)k->tasks_per);
    return arena_printf(a, "%lld n/%lld", (long long)k->tasks_per, (long long)k->tasks_block);
}

static const char *tile(Arena *a, const Tile *t) {
    if (!t->ow && !t->oc)
        return "-";
    if (!t->ow)
        return arena_printf(a, "%d rows x%d", t->rows, t->oc);
    if (t->oh > 1)
        return arena_printf(a, "%dx%dx%d", t->oh, t->ow, t->oc);
    return arena_printf(a, "%dx%d", t->ow, t->oc);
}

enum { COLUMNS = 200, INDENT = 5 };

/* Words in lines of at most COLUMNS, indented. */
static void wrapped(FILE *out, const char *text) {
    int column = 0;
    for (const char *p = text; *p;) {
        int n = (int)strcspn(p, " ");
        if (column > 0 && column + 1 + n > COLUMNS) {
            fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%*s%.*s", column ? 1 : INDENT, "", n, p);
        p += n;
        p += strspn(p, " ");
    }
    fputc('\n', out);
}

/* A layer inside a block kernel: what it computes, where its result lies. */
static void step_row(const Graph *g, const Lanes *l, int index, Arena *tmp, FILE *out) {
    const Kernel *s = &l->step[index];
    NodeId node[KERNEL_MAX_NODES];
    int count = kernel_nodes(s, node);
    StrBuf ops = sb_new(tmp), where = sb_new(tmp);
    double flops = 0;
    for (int i = 0; i < count; i++) {
        const Node *n = graph_n(g, node[i]);
        sb_printf(&ops, "%s%s", i ? "+" : "", op_name[n->op]);
        flops += op_def[n->op]->flops ? op_def[n->op]->flops(g, node[i]) : 0;
        for (int j = 0; j < n->nout; j++) {
            const LanesPlace *p = l->place && n->out[j] ? &l->place[n->out[j]] : NULL;
            if (p && p->offset >= 0)
                sb_printf(&where, " %lld+%lld", (long long)p->offset, (long long)p->bytes);
        }
    }
    fprintf(out, "     . %-32s %-33s %12s  scratch%s\n", s->name ? s->name : "", ops.text,
            amount(tmp, flops, 0, 1e6), where.length ? where.text : " -");
}

static void kernel_row(const Graph *g, int index, double whole, Arena *tmp, FILE *out) {
    const Kernel *k = &g->kernels[index];
    ValueId v[64];
    StrBuf layouts = sb_new(tmp), why = sb_new(tmp);
    int n = kernel_inputs(g, k, v, 64);
    add_layouts(g, v, n < 64 ? n : 64, &layouts);
    sb_puts(&layouts, " -> ");
    n = kernel_outputs(g, k, v, 64);
    add_layouts(g, v, n < 64 ? n : 64, &layouts);
    double flops = k->flops_image + k->flops_fixed, bytes = k->bytes_image + k->bytes_fixed;
    int at = fprintf(out, "%4d %-34s %-12s %9s %10s %12s %14s %7.3g %9.4g %4.1f  ", index, k->name,
                     k->algorithm ? k->algorithm : "-", tile(tmp, &k->tile), tasks(tmp, k),
                     amount(tmp, k->flops_image, k->flops_fixed, 1e6),
                     amount(tmp, k->bytes_image, k->bytes_fixed, 1024),
                     bytes > 0 ? flops / bytes : 0, 1e3 * k->seconds,
                     whole > 0 ? 100 * k->seconds / whole : 0);
    if (at + (int)layouts.length > COLUMNS) { /* many inputs */
        fputc('\n', out);
        wrapped(out, layouts.text);
    } else {
        fprintf(out, "%s\n", layouts.text);
    }
    if (k->why)
        sb_printf(&why, "%s", k->why);
    for (int i = 0; i < k->nrejected; i++)
        sb_printf(&why, "%s%s%s %.3g ms", i ? ", " : k->why ? "; else " : "else ",
                  k->rejected[i].algorithm, k->rejected[i].other_sizes ? " in other sizes" : "",
                  1e3 * k->rejected[i].seconds);
    if (why.length)
        wrapped(out, why.text);
    for (int i = 0; k->lanes && i < k->lanes->nsteps; i++)
        step_row(g, k->lanes, i, tmp, out);
}

static void slab_row(FILE *out, const char *name, int64_t bytes, int64_t least) {
    fprintf(out, "%s %12lld bytes, lower bound %lld", name, (long long)bytes, (long long)least);
    if (least > 0)
        fprintf(out, " (%.1f %% above)", 100.0 * (double)(bytes - least) / (double)least);
    fputc('\n', out);
}

static double entry_seconds(const Graph *g, const Entry *e) {
    double seconds = 0;
    for (int k = e->first; k < e->first + e->count; k++)
        seconds += g->kernels[k].seconds;
    return seconds;
}

/* What the predictions rest on. */
static void head(const Graph *g, const Target *t, FILE *out) {
    long long n = (long long)plan_batch(g);
    fprintf(out, "plan of %s, program %s", g->net, g->name);
    if (t)
        fprintf(out,
                ", target %s: %d lanes, %d registers\n"
                "times of one call with %lld image%s on %d threads of %.4g GFLOP/s; L2 %.4g GB/s, "
                "L3 %.4g GB/s a thread; memory %.4g GB/s",
                t->name, t->vector, t->registers, n, n == 1 ? "" : "s", t->speed.threads,
                t->speed.flops * 1e-9, t->speed.l2 * 1e-9, t->speed.l3 * 1e-9,
                t->speed.dram * 1e-9);
    fprintf(out, "\n%4s %-34s %-12s %9s %10s %12s %14s %7s %9s %4s  %s\n", "#", "kernel",
            "algorithm", "tile", "tasks", "MFLOP", "KB", "FLOP/B", "ms", "%", "layouts; why");
}

/* What --memory costs: kernels that make results of others again. */
static void again_row(const Graph *g, FILE *out) {
    double flops[2] = {0, 0}, seconds[2] = {0, 0};
    int count = 0;
    for (int i = 0; i < g->nkernels; i++) {
        const Kernel *k = &g->kernels[i];
        bool again = graph_n(g, k->anchor)->twin != 0;
        count += again;
        flops[0] += again ? k->flops_image : 0;
        flops[1] += k->flops_image;
        seconds[0] += again ? k->seconds : 0;
        seconds[1] += k->seconds;
    }
    if (count > 0)
        fprintf(out, "made again     %12d kernels, %.4g of %.4g MFLOP per image, %.1f %% of the time\n",
                count, flops[0] * 1e-6, flops[1] * 1e-6, 100 * seconds[0] / seconds[1]);
}

void plan_print(const Graph *g, const Target *t, FILE *out) {
    Arena *tmp = arena_new();
    double total[5] = {0, 0, 0, 0, 0};
    head(g, t, out);
    for (int e = 0; e < g->nentries; e++) {
        const Entry *entry = &g->entry[e];
        double whole = entry_seconds(g, entry);
        if (entry->count > 0)
            fprintf(out, "entry %s: %.4g ms\n", entry->name, 1e3 * whole);
        for (int k = entry->first; k < entry->first + entry->count; k++) {
            kernel_row(g, k, whole, tmp, out);
            total[0] += g->kernels[k].flops_image;
            total[1] += g->kernels[k].flops_fixed;
            total[2] += g->kernels[k].bytes_image;
            total[3] += g->kernels[k].bytes_fixed;
        }
        total[4] += whole;
    }
    fprintf(out, "all  %-34s %-12s %9s %10s %12s %14s %7s %9.4g\n", "", "", "", "",
            amount(tmp, total[0], total[1], 1e6), amount(tmp, total[2], total[3], 1024), "",
            1e3 * total[4]);
    again_row(g, out);
    slab_row(out, "slab per image", g->act_bytes, g->act_lower_bound);
    slab_row(out, "slab fixed    ", g->fix_bytes, g->fix_lower_bound);
    fprintf(out, "parameters     %12lld bytes, state %lld, scratch per thread %lld\n",
            (long long)g->params->bytes, (long long)g->params->state_bytes,
            (long long)g->scratch_bytes);
    arena_free(tmp);
}
