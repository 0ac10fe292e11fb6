/* plan_print.c: the plan as a person reads it: one line per kernel, memory at the end.
 *
 * requires: memplan.  Columns: number, name, algorithm, register tile (rows x pixels x vectors),
 * tasks, MFLOP and KB per image (and fixed part behind a +), FLOP per byte, layouts read and
 * written, why.
 * theory: arithmetic intensity against bandwidth, Williams, Waterman, Patterson 2009, "Roofline".
 */

#include "base/str.h"
#include "ir/plan.h"

static void layout_text(const Value *v, char *buf, size_t n) {
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
        layout_text(graph_v(g, v[i]), text, sizeof text);
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

static void kernel_row(const Graph *g, int index, Arena *tmp, FILE *out) {
    const Kernel *k = &g->kernels[index];
    ValueId v[64];
    StrBuf layouts = sb_new(tmp);
    int n = kernel_inputs(g, k, v, 64);
    add_layouts(g, v, n < 64 ? n : 64, &layouts);
    sb_puts(&layouts, " -> ");
    n = kernel_outputs(g, k, v, 64);
    add_layouts(g, v, n < 64 ? n : 64, &layouts);
    double flops = k->flops_image + k->flops_fixed, bytes = k->bytes_image + k->bytes_fixed;
    fprintf(out, "%4d %-34s %-10s %8s %10s %12s %14s %7.3g  %s", index, k->name,
            k->algorithm ? k->algorithm : "-", tile(tmp, &k->tile), tasks(tmp, k),
            amount(tmp, k->flops_image, k->flops_fixed, 1e6),
            amount(tmp, k->bytes_image, k->bytes_fixed, 1024), bytes > 0 ? flops / bytes : 0,
            layouts.text);
    fprintf(out, "%s%s\n", k->why ? "; " : "", k->why ? k->why : "");
}

static void slab_row(FILE *out, const char *name, int64_t bytes, int64_t least) {
    fprintf(out, "%s %12lld bytes, lower bound %lld", name, (long long)bytes, (long long)least);
    if (least > 0)
        fprintf(out, " (%.1f %% above)", 100.0 * (double)(bytes - least) / (double)least);
    fputc('\n', out);
}

void plan_print(const Graph *g, const Target *t, FILE *out) {
    Arena *tmp = arena_new();
    double total[4] = {0, 0, 0, 0};
    fprintf(out, "plan of %s, program %s", g->net, g->name);
    if (t)
        fprintf(out, ", target %s: %d lanes, %d registers", t->name, t->vector, t->registers);
    fprintf(out, "\n%4s %-34s %-10s %8s %10s %12s %14s %7s  %s\n", "#", "kernel", "algorithm",
            "tile", "tasks", "MFLOP", "KB", "FLOP/B", "layouts; why");
    for (int e = 0; e < g->nentries; e++) {
        const Entry *entry = &g->entry[e];
        if (entry->count > 0)
            fprintf(out, "entry %s\n", entry->name);
        for (int k = entry->first; k < entry->first + entry->count; k++) {
            kernel_row(g, k, tmp, out);
            total[0] += g->kernels[k].flops_image;
            total[1] += g->kernels[k].flops_fixed;
            total[2] += g->kernels[k].bytes_image;
            total[3] += g->kernels[k].bytes_fixed;
        }
    }
    fprintf(out, "all  %-34s %-10s %8s %10s %12s %14s\n", "", "", "", "",
            amount(tmp, total[0], total[1], 1e6), amount(tmp, total[2], total[3], 1024));
    slab_row(out, "slab per image", g->act_bytes, g->act_lower_bound);
    slab_row(out, "slab fixed    ", g->fix_bytes, g->fix_lower_bound);
    fprintf(out, "parameters     %12lld bytes, state %lld, scratch per thread %lld\n",
            (long long)g->params->bytes, (long long)g->params->state_bytes,
            (long long)g->scratch_bytes);
    arena_free(tmp);
}
