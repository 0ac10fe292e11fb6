/* plan_json.c: the plan as JSON, for programs that read it (`netc emit --as=plan --json`).
 *
 * requires: memplan.  ensures: one object; the same target, spec and options give the same bytes.
 * Times are the cost model's, in seconds for one call of `batch` images; `per_image` grows with the
 * batch, `per_call` does not.
 */
#include <math.h>

#include "base/str.h"
#include "ir/cost.h"
#include "ir/lanes.h"
#include "ir/op.h"

static void text(StrBuf *b, const char *key, const char *value) {
    sb_printf(b, "\"%s\": ", key);
    if (value)
        sb_json(b, value);
    else
        sb_puts(b, "null");
}

/* A target without speeds predicts no time. */
static void time_of(StrBuf *b, double seconds) {
    if (isfinite(seconds))
        sb_printf(b, "\"seconds\": %.6g", seconds);
    else
        sb_puts(b, "\"seconds\": null");
}

static void pair(StrBuf *b, const char *key, double image, double call) {
    sb_printf(b, ", \"%s\": {\"per_image\": %.9g, \"per_call\": %.9g}", key, image, call);
}

static void add_values(StrBuf *b, const char *key, const Graph *g, const ValueId *v, int n) {
    sb_printf(b, ", \"%s\": [", key);
    for (int i = 0; i < n; i++) {
        char layout[64];
        const Value *x = graph_v(g, v[i]);
        plan_layout_text(x, layout, sizeof layout);
        sb_printf(b, "%s{", i ? ", " : "");
        text(b, "name",
             x->kind == VK_PARAM || x->kind == VK_STATE ? g->params->at[x->slot].name : x->name);
        sb_puts(b, ", ");
        text(b, "layout", layout);
        sb_puts(b, "}");
    }
    sb_puts(b, "]");
}

static void add_nodes(StrBuf *b, const Graph *g, const Kernel *k) {
    NodeId node[KERNEL_MAX_NODES];
    int count = kernel_nodes(k, node);
    sb_puts(b, ", \"nodes\": [");
    for (int i = 0; i < count; i++)
        sb_printf(b, "%s\"%s\"", i ? ", " : "", op_name[graph_n(g, node[i])->op]);
    sb_puts(b, "]");
}

/* Tasks of one call of the planned batch, and how many of them the busiest thread has. */
static void add_split(StrBuf *b, const Graph *g, const Target *t, const Kernel *k) {
    int64_t n = plan_batch(g), threads = t && t->speed.threads > 0 ? t->speed.threads : 1;
    int64_t tasks = k->tasks_per * (k->tasks_block ? (n + k->tasks_block - 1) / k->tasks_block : 1);
    sb_printf(b,
              ", \"tasks\": {\"count\": %lld, \"per_block\": %lld, \"images_per_block\": %lld, "
              "\"most_per_thread\": %lld}",
              (long long)tasks, (long long)k->tasks_per, (long long)k->tasks_block,
              (long long)((tasks + threads - 1) / threads));
}

static void add_rejected(StrBuf *b, const Kernel *k) {
    sb_puts(b, ", \"rejected\": [");
    for (int i = 0; i < k->nrejected; i++) {
        sb_printf(b, "%s{", i ? ", " : "");
        text(b, "algorithm", k->rejected[i].algorithm);
        sb_printf(b, ", \"other_sizes\": %s, ", k->rejected[i].other_sizes ? "true" : "false");
        time_of(b, k->rejected[i].seconds);
        sb_puts(b, "}");
    }
    sb_puts(b, "]");
}

/* The layers inside a block kernel. */
static void add_steps(StrBuf *b, const Graph *g, const Lanes *l) {
    sb_puts(b, ", \"steps\": [");
    for (int i = 0; l && i < l->nsteps; i++) {
        sb_printf(b, "%s{", i ? ", " : "");
        text(b, "name", l->step[i].name);
        add_nodes(b, g, &l->step[i]);
        sb_puts(b, "}");
    }
    sb_puts(b, "]");
}

static void add_kernel(StrBuf *b, const Graph *g, const Target *t, const char *entry, int index) {
    const Kernel *k = &g->kernels[index];
    const Tile *tile = &k->tile;
    ValueId v[64];
    sb_printf(b, "    {\"index\": %d, ", index);
    text(b, "entry", entry);
    sb_puts(b, ", ");
    text(b, "name", k->name);
    sb_puts(b, ", ");
    text(b, "layer", k->label);
    sb_puts(b, ", ");
    text(b, "algorithm", k->algorithm);
    add_nodes(b, g, k);
    sb_printf(b,
              ", \"tile\": {\"rows\": %d, \"columns\": %d, \"vectors\": %d, \"inputs\": %d, "
              "\"rows_per_task\": %d}",
              tile->oh, tile->ow, tile->oc, tile->ic, tile->rows);
    add_split(b, g, t, k);
    pair(b, "flops", k->flops_image, k->flops_fixed);
    pair(b, "bytes", k->bytes_image, k->bytes_fixed);
    sb_printf(b, ", \"scratch_bytes\": %lld, ", (long long)k->scratch);
    time_of(b, k->seconds);
    int n = kernel_inputs(g, k, v, 64);
    add_values(b, "reads", g, v, n < 64 ? n : 64);
    n = kernel_outputs(g, k, v, 64);
    add_values(b, "writes", g, v, n < 64 ? n : 64);
    sb_puts(b, ", ");
    text(b, "why", k->why);
    add_rejected(b, k);
    sb_printf(b, ", \"made_again\": %s", graph_n(g, k->anchor)->twin ? "true" : "false");
    add_steps(b, g, k->lanes);
    sb_puts(b, "}");
}

static void add_target(StrBuf *b, const Target *t) {
    sb_puts(b, "  \"target\": {");
    text(b, "name", t->name);
    sb_printf(b, ", \"lanes\": %d, \"registers\": %d, \"threads\": %d,\n", t->vector, t->registers,
              t->speed.threads);
    sb_printf(b,
              "    \"flops_per_second\": %.6g, \"l2_bytes_per_second\": %.6g, "
              "\"l3_bytes_per_second\": %.6g, \"memory_bytes_per_second\": %.6g},\n",
              t->speed.flops, t->speed.l2, t->speed.l3, t->speed.dram);
}

static void add_memory(StrBuf *b, const Graph *g) {
    const struct {
        const char *key;
        int64_t bytes;
    } row[] = {{"per_image", g->act_bytes},
               {"per_image_lower_bound", g->act_lower_bound},
               {"fixed", g->fix_bytes},
               {"fixed_lower_bound", g->fix_lower_bound},
               {"parameters", g->params->bytes},
               {"state", g->params->state_bytes},
               {"scratch_per_thread", g->scratch_bytes}};
    sb_puts(b, "  \"memory\": {");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        sb_printf(b, "%s\"%s\": %lld", i ? ", " : "", row[i].key, (long long)row[i].bytes);
    sb_puts(b, "}\n");
}

void plan_json(const Graph *g, const Target *t, FILE *out) {
    Arena *tmp = arena_new();
    StrBuf b = sb_new(tmp);
    sb_puts(&b, "{\n  ");
    text(&b, "net", g->net);
    sb_puts(&b, ", ");
    text(&b, "program", g->name);
    sb_printf(&b, ", \"batch\": %lld,\n", (long long)plan_batch(g));
    if (t)
        add_target(&b, t);
    sb_puts(&b, "  \"kernels\": [\n");
    for (int e = 0, first = 1; e < g->nentries; e++)
        for (int k = g->entry[e].first; k < g->entry[e].first + g->entry[e].count; k++, first = 0) {
            sb_puts(&b, first ? "" : ",\n");
            add_kernel(&b, g, t, g->entry[e].name, k);
        }
    sb_puts(&b, "\n  ],\n  \"entries\": [");
    for (int e = 0; e < g->nentries; e++) {
        double seconds = 0;
        for (int k = g->entry[e].first; k < g->entry[e].first + g->entry[e].count; k++)
            seconds += g->kernels[k].seconds;
        sb_printf(&b, "%s{", e ? ", " : "");
        text(&b, "name", g->entry[e].name);
        sb_printf(&b, ", \"kernels\": %d, ", g->entry[e].count);
        time_of(&b, seconds);
        sb_puts(&b, "}");
    }
    sb_puts(&b, "],\n");
    add_memory(&b, g);
    sb_puts(&b, "}\n");
    fwrite(b.text, 1, b.length, out);
    arena_free(tmp);
}
