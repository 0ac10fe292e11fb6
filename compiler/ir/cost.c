/* cost.c: predicted time of kernels and the choice between candidates (see cost.h).
 *
 * requires: Target.speed.  ensures: pure functions of graph, target, options and wisdom.
 * A call takes as long as the slowest of: arithmetic, each cache level's transfers, main memory's.
 * Arithmetic and caches divide among the threads that have work; main memory is shared.
 */
#define _GNU_SOURCE
#include "ir/cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/str.h"
#include "ir/op.h"
#include "ir/text.h"

int64_t plan_batch(const Graph *g) {
    return g->options && g->options->batch > 0 ? g->options->batch : 1;
}

double cost_seconds(const Target *t, const Cost *c) {
    double threads = t->speed.threads > 1 ? t->speed.threads : 1;
    double tasks = c->tasks > 1 ? c->tasks : 1;
    /* The thread that does most has ceil(tasks / threads) pieces. */
    double rounds = (double)(int64_t)((tasks + threads - 1) / threads);
    double share = rounds / tasks;
    double flops_per_op = 2.0 * t->vector; /* a vector instruction costs what an FMA costs */
    double start = 0.5e-6;                 /* handing a kernel to the threads */
    if (t->speed.flops <= 0)
        return 0; /* a target made by hand: nothing is known, the first candidate wins */
    double work = c->flops / (c->efficiency > 0 ? c->efficiency : 1) + c->vector_ops * flops_per_op;
    double most = work * share / t->speed.flops;
    double l2 = c->l2_bytes * share / t->speed.l2, l3 = c->l3_bytes * share / t->speed.l3;
    double memory = t->speed.dram;
    if (tasks < threads && t->speed.dram_one > 0 && tasks * t->speed.dram_one < memory)
        memory = tasks * t->speed.dram_one;
    double dram = c->dram_bytes / memory;
    most = l2 > most ? l2 : most;
    most = l3 > most ? l3 : most;
    return start + (dram > most ? dram : most);
}

/* ---- kernels that nobody chooses ---- */

/* Of a kernel that no hook predicts: what its inner loops reach of the multiply-add peak when data
 * are near, and of the reading rate when they are not (measured on the networks of specs/, AVX-512;
 * elementwise loops do one operation per load and store, others compare, divide or gather). */
typedef struct Rate {
    double flops, bytes;
} Rate;

static Rate op_rate(int op) {
    switch (op) {
    case OP_CONV2D: case OP_CONV2D_BWD_DATA: case OP_CONV2D_BWD_WEIGHTS:
        return (Rate){0.85, 1};
    case OP_DENSE:
        return (Rate){0.88, 0.95};
    case OP_DENSE_BWD_DATA:
        return (Rate){0.68, 0.95};
    case OP_DENSE_BWD_WEIGHTS: /* half of the bytes are written, beside the other half */
        return (Rate){0.8, 1.4};
    case OP_LRN:
        return (Rate){0.2, 1};
    case OP_LCN:
        return (Rate){0.32, 1};
    case OP_LRN_BWD: case OP_LCN_BWD:
        return (Rate){0.21, 1};
    case OP_LOAD_INPUT:
        return (Rate){0.1, 0.3};
    case OP_TRANSPOSE_WEIGHTS:
        return (Rate){0.1, 0.55};
    case OP_MAXPOOL_BWD:
        return (Rate){0.1, 0.65};
    default:
        return (Rate){0.1, 0.8};
    }
}

/* Bytes that were last touched `distance` bytes ago come from the level that holds so many. */
static void add_bytes(const Target *t, Cost *c, double bytes, double distance) {
    if (distance <= (double)t->l2)
        c->l2_bytes += bytes;
    else if (distance <= (double)t->l3)
        c->l3_bytes += bytes;
    else
        c->dram_bytes += bytes;
}

static double kernel_tasks(const Kernel *k, double n) {
    double block = (double)k->tasks_block;
    n *= (double)kernel_frames(k);
    return (double)k->tasks_per * (block > 0 ? (double)(int64_t)((n + block - 1) / block) : 1);
}

/* n images; 0: only what is done whatever their number. */
static double roofline(const Graph *g, const Kernel *k, const Target *t, double n,
                       double call_bytes) {
    double moved = k->bytes_image * n + k->bytes_fixed;
    Rate rate = op_rate(graph_n(g, k->anchor)->op);
    Cost c = {.flops = k->flops_image * n + k->flops_fixed,
              .efficiency = rate.flops,
              .tasks = kernel_tasks(k, n > 0 ? n : 1)};
    add_bytes(t, &c, k->bytes_image * n / rate.bytes, moved);
    add_bytes(t, &c, k->bytes_fixed / rate.bytes, call_bytes);
    return cost_seconds(t, &c);
}

void plan_seconds(const Graph *g, Kernel *k, const Target *t, double call_bytes) {
    double n = (double)plan_batch(g), fixed = roofline(g, k, t, 0, call_bytes);
    double image = roofline(g, k, t, n, call_bytes) / n;
    if (k->seconds <= 0)
        k->seconds = image * n;
    if (k->lanes && k->tasks_block > 1) { /* every thread takes a block, full or not: a round */
        double blocks = ceil(n / (double)k->tasks_block);
        double threads = t->speed.threads > 1 ? t->speed.threads : 1;
        k->seconds_fixed = k->seconds / ceil(blocks / threads);
        k->seconds_image = k->seconds_fixed / (threads * (double)k->tasks_block);
        return;
    }
    /* Reading the weights takes its time however few images there are; only what exceeds it is
     * known to grow with them. */
    k->seconds_fixed = fixed < k->seconds ? fixed : k->seconds;
    if (k->seconds_fixed < 0.9 * k->seconds) {
        k->seconds_image = k->seconds / n;
        return;
    }
    Kernel images = *k;
    images.flops_fixed = images.bytes_fixed = 0;
    image = roofline(g, &images, t, n, call_bytes) / n;
    k->seconds_image = image * n < k->seconds ? image : k->seconds / n;
    k->seconds_fixed = k->seconds;
}

const char *plan_candidate_name(const Kernel *k, Arena *a) {
    const Tile *t = &k->tile;
    return arena_printf(a, "%s %dx%dx%dx%d/%d n%lld%s", k->algorithm, t->oh, t->ow, t->oc, t->ic,
                        t->rows, (long long)k->tasks_block, k->oc_outer ? " outer" : "");
}

static void add_attrs(StrBuf *b, const Graph *g, const Node *n) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return;
    attrs_print(f, g, n);
    fclose(f);
    sb_puts(b, text);
    free(text);
}

static void add_value(StrBuf *b, const Graph *g, ValueId v, const char *before) {
    const Value *x = graph_v(g, v);
    char shape[128];
    shape_print(&x->shape, shape, sizeof shape);
    sb_printf(b, "%s%s%s", before, shape, x->layout.kind == LAYOUT_PLAIN ? "p" : "");
}

const char *plan_key(const Graph *g, const Kernel *k, const Target *t, Arena *a) {
    StrBuf b = sb_new(a);
    const Node *n = graph_n(g, k->anchor);
    const PlanOptions *o = g->options;
    ValueId stored[64];
    NodeId node[KERNEL_MAX_NODES];
    int count = kernel_nodes(k, node), outputs = kernel_outputs(g, k, stored, 64);
    sb_puts(&b, op_name[n->op]);
    for (int i = 0; i < n->nin; i++)
        add_value(&b, g, n->in[i], " ");
    add_value(&b, g, n->out[0], " > ");
    add_attrs(&b, g, n);
    for (int i = k->nsource + 1; i < count; i++) {
        sb_printf(&b, " +%s", op_name[graph_n(g, node[i])->op]);
        if (node[i] == k->tail)
            add_attrs(&b, g, graph_n(g, node[i]));
    }
    sb_printf(&b, " stores %d b%lld %s%s%s", outputs, (long long)plan_batch(g), t->name,
              o && o->exact ? " exact" : "", o && o->bf16 ? " bf16" : "");
    return b.text;
}

static int forced(const Graph *g, const Kernel *candidate, int n) {
    const char *force = g->options ? g->options->force : NULL;
    for (int i = 0; force && i < n; i++)
        if (strncmp(candidate[i].algorithm, force, strlen(force)) == 0)
            return i;
    return -1;
}

static int measured(const Graph *g, const Kernel *k, const Target *t, const Kernel *candidate,
                    int n) {
    if (!g->options || !g->options->wisdom)
        return -1;
    const char *name = wisdom_find(g->options->wisdom, plan_key(g, k, t, g->keep));
    for (int i = 0; name && i < n; i++)
        if (strcmp(name, plan_candidate_name(&candidate[i], g->keep)) == 0)
            return i;
    return -1;
}

/* For the one who will measure. */
static void record(const Graph *g, const Kernel *k, const Target *t, const Kernel *candidate,
                   int n) {
    PlanRecord *r = g->options ? g->options->record : NULL;
    if (!r || n < 2)
        return;
    if (r->count == r->cap) {
        PlanChoice *at = ARENA_ARRAY(g->keep, 2 * r->cap + 16, PlanChoice);
        for (int i = 0; i < r->count; i++)
            at[i] = r->at[i];
        r->at = at;
        r->cap = 2 * r->cap + 16;
    }
    Kernel *copy = ARENA_ARRAY(g->keep, n, Kernel);
    memcpy(copy, candidate, (size_t)n * sizeof *copy);
    r->at[r->count++] = (PlanChoice){k->anchor, plan_key(g, k, t, g->keep), copy, n};
}

/* The best of each algorithm, the chosen one's other sizes included. */
static void list_rejected(const Graph *g, Kernel *k, const Kernel *candidate, int n, int best) {
    Rejected *at = ARENA_ARRAY(g->keep, n, Rejected);
    int count = 0;
    for (int i = 0; i < n; i++) {
        const char *name = candidate[i].algorithm;
        int least = -1;
        bool seen = false;
        for (int j = 0; j < n; j++) {
            if (j == best || strcmp(candidate[j].algorithm, name) != 0)
                continue;
            seen |= j < i;
            if (least < 0 || candidate[j].seconds < candidate[least].seconds)
                least = j;
        }
        if (seen || i == best || least < 0)
            continue;
        at[count++] = (Rejected){.algorithm = name,
                                 .seconds = candidate[least].seconds,
                                 .other_sizes = strcmp(name, candidate[best].algorithm) == 0};
    }
    k->rejected = at;
    k->nrejected = count;
}

void plan_choose(const Graph *g, Kernel *k, const Target *t, const Kernel *candidate, int n) {
    BUG_IF(n < 1, "no way to compute '%s'", k->name);
    record(g, k, t, candidate, n);
    int best = forced(g, candidate, n), known = -1;
    if (best < 0)
        best = known = measured(g, k, t, candidate, n);
    if (best < 0) {
        best = 0;
        for (int i = 1; i < n; i++)
            if (candidate[i].seconds < candidate[best].seconds)
                best = i;
    }
    *k = candidate[best];
    list_rejected(g, k, candidate, n, best);
    if (known >= 0)
        k->why = arena_printf(g->keep, "measured best; %s", k->why ? k->why : "");
}
