/* conv_band.c: may a convolution make its source itself, a band of rows at a time in scratch
 * (Kernel.source), instead of reading it from memory?
 *
 * A source of few input channels is made of few operations per number: with 64 maps of 224 x 224
 * rows it costs less to make the rows that two bands share twice than to carry all of them to
 * memory and back, and its memory is not needed (fusion in depth: Alwani et al. 2016, "Fused-layer
 * CNN accelerators").
 *
 * requires: both kernels as the layout pass chose them.  ensures: sums have the order that they
 * have in two kernels, hence the same bits.
 */
#include <string.h>

#include "ops/winograd_plan.h"

enum {
    SOURCE_CHANNELS = 4,
    SCRATCH_MOST = 24 << 20,
};
/* The memory alone is worth this share of both kernels' time. */
static const double memory_share = 0.02;

int64_t conv_band_floats(const Graph *g, const Kernel *k, const Target *t, int64_t rows) {
    const Value *v = graph_v(g, graph_n(g, k->source[k->nsource - 1])->out[0]);
    int64_t width = v->shape.dim[2] + v->layout.halo[2] + v->layout.halo[3];
    return k->source_tile.oc * rows * width * t->vector;
}

/* Made of few channels by a direct convolution, and all of its kernel's results stay inside. */
static bool makes_bands(const Graph *g, const Kernel *s) {
    const Node *n = graph_n(g, s->anchor);
    if (n->op != OP_CONV2D || s->tail || s->nsource || s->nchain >= KERNEL_MAX_SOURCE ||
        strcmp(s->algorithm, "direct") != 0)
        return false;
    ConvProblem p = conv_problem(g, n);
    for (int i = 0; i < s->nchain; i++) {
        const Node *c = graph_n(g, s->chain[i]);
        if (c->nin != 1 || op_is(c->op, OPF_S) || graph_v(g, c->in[0])->stored)
            return false;
    }
    return p.groups == 1 && p.i <= SOURCE_CHANNELS && !conv_by_images(&p);
}

static bool reads_bands(const Graph *g, const Kernel *k, const Kernel *s) {
    const Node *n = graph_n(g, k->anchor),
               *last = graph_n(g, s->nchain ? s->chain[s->nchain - 1] : s->anchor);
    NodeId reader[2];
    return n->op == OP_CONV2D && k->winograd && k->tasks_block == 1 && !k->nsource &&
           n->in[0] == last->out[0] && !graph_v(g, n->in[0])->keep &&
           graph_uses(g, n->in[0], reader, 2) == 1 && conv_problem(g, n).groups == 1;
}

/* Rows of the source that all tasks of an image make, over those there are. */
static double rows_made(const WinoPlan *w, int64_t height, double threads) {
    int64_t rows = 0;
    for (int64_t band = 0; band < w->bands; ++band) {
        int64_t y = wino_band_start(w, band) * w->m - w->pad[0];
        rows += min64(height, y + wino_band_rows(w)) - max64(0, y); /* whole blocks are made */
    }
    double bands = (double)w->bands, again = w->parts > 1 ? (threads - 1) / bands : 0;
    double most = (double)w->parts - 1;
    return (double)rows / (double)height * (1 + (again < most ? again : most));
}

/* One call's arithmetic of the source, each row made once. */
static double source_seconds(const Graph *g, const Kernel *s, const Target *t, double tasks) {
    double n = (double)plan_batch(g), acc = s->tile.ow * s->tile.oh * s->tile.oc;
    Cost c = {.flops = n * s->flops_image,
              .efficiency = (t->fma ? 1 : 0.6) * (acc > 8 ? 1 : acc / 8) * acc / (acc + 0.8),
              .tasks = tasks};
    return cost_seconds(t, &c);
}

bool conv_takes_source(const Graph *g, const Kernel *k, const Kernel *s, const Target *t,
                       Kernel *f) {
    if (!makes_bands(g, s) || !reads_bands(g, k, s))
        return false;
    ConvProblem p = conv_problem(g, graph_n(g, k->anchor));
    const Value *source = graph_v(g, graph_n(g, k->anchor)->in[0]);
    double n = (double)plan_batch(g), threads = (double)max64(1, t->speed.threads);
    WinoPlan w = wino_plan(g, &p, k, t, false, k->tile.oc * t->vector);
    *f = *k;
    f->source[f->nsource++] = s->anchor;
    for (int i = 0; i < s->nchain; i++)
        f->source[f->nsource++] = s->chain[i];
    f->source_tile = s->tile;
    f->scratch = max64(k->scratch, 4 * (w.at_u + conv_band_floats(g, f, t, wino_band_rows(&w))));
    double made = rows_made(&w, p.src[0], threads);
    double once = source_seconds(g, s, t, (double)k->tasks_per * n);
    double bytes = (double)source->bytes * n;
    bool forced = g->options && g->options->force && strcmp(g->options->force, "band") == 0;
    f->seconds = k->seconds + made * once;
    f->why = arena_printf(
        g->keep, "%s; makes its source %lld rows at a time (%.2f times), saves %.3g MB", k->why,
        (long long)wino_band_rows(&w), made, (double)source->bytes * 1e-6);
    bool pays =
        (made - 1) * once <= 2 * bytes / t->speed.dram + memory_share * (k->seconds + s->seconds);
    return f->scratch <= SCRATCH_MOST && (forced || (bytes > threads * (double)t->l2 && pays));
}
