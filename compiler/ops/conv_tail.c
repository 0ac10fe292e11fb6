/* conv_tail.c: a pool behind a convolution's chain, computed by the convolution's kernel
 * (Kernel.tail).
 *
 * A task computes a few rows of the convolution, pools them while they are in the cache, and goes
 * on (fusion by tiles: Alwani et al. 2016, "Fused-layer CNN accelerators").  Rows lie in scratch
 * memory, or in the value itself when somebody else reads that.  Windows that share rows, or reach
 * over the border, roll: the rows that the next window needs too move to the front of the scratch,
 * and only the first rows of a band are computed twice (by the band above as well).
 *
 * requires: stride >= kernel, no padding and all windows inside the source; or nobody but the pool
 * reads what the kernel makes (a row computed twice must not be stored twice).
 */
#include "ir/op.h"
#include "ops/conv.h"

/* fuse has no target: the bounds hold for every row of the target table. */
enum {
    SCRATCH_MOST = 256 << 10,            /* half of the smallest L2 */
    WIDEST_TILE = TILE_MAX_VECTORS * 16, /* channels */
    THREADS = 16,
    SMALL_FLOPS = 4000000, /* less than some 100 us on one core */
};

/* Are windows apart and inside the source? */
static bool windows_fit(const PoolAttrs *a, const Shape *src, const Shape *dst) {
    for (int d = 0; d < 2; ++d)
        if (a->pad[2 * d] || a->pad[2 * d + 1] || a->stride[d] < a->kernel[d] ||
            (dst->dim[1 + d] - 1) * a->stride[d] + a->kernel[d] > src->dim[1 + d])
            return false;
    return true;
}

static bool only_reader(const Graph *g, ValueId v) {
    NodeId reader[2];
    return !graph_v(g, v)->keep && graph_uses(g, v, reader, 2) == 1;
}

/* Does the kernel store nothing but what the pool makes? */
static bool feeds_only_the_pool(const Graph *g, const Kernel *k) {
    bool only = only_reader(g, graph_n(g, k->anchor)->out[0]);
    for (int i = 0; i < k->nchain; ++i)
        only &= only_reader(g, graph_n(g, k->chain[i])->out[0]);
    return only;
}

/* Winograd's kernel pools whole windows only, and saves more than a pass over a small plane costs:
 * where it may be chosen, the pool stays outside. */
static bool may_be_winograd(const Graph *g, const Node *conv, const ConvProblem *p) {
    const ConvAttrs *a = conv->attrs;
    if ((g->options && g->options->exact) || a->algorithm == CONV_DIRECT)
        return false;
    for (int d = 0; d < 2; ++d)
        if (p->stride[d] != 1 || p->dilation[d] != 1)
            return false;
    return p->kernel[0] == p->kernel[1] && (p->kernel[0] == 3 || p->kernel[0] == 5) &&
           p->i >= 16 && p->o >= 16;
}

/* Bands of rows are whole windows: a global pool leaves one band, and one task per tile of output
 * channels.  That is refused where a single image would then not occupy the threads. */
static bool shares_well(const ConvProblem *p, const Shape *dst) {
    double flops = 2.0 * (double)(p->groups * p->o * p->i) * (double)(p->kernel[0] * p->kernel[1]) *
                   (double)(p->dst[0] * p->dst[1]);
    return p->groups * ceil_div(p->o, WIDEST_TILE) * dst->dim[1] >= THREADS ||
           flops < (double)SMALL_FLOPS;
}

bool conv_accepts_tail(const Graph *g, const Kernel *k, NodeId pool) {
    const Node *anchor = graph_n(g, k->anchor), *node = graph_n(g, pool);
    if (anchor->op != OP_CONV2D || (node->op != OP_MAXPOOL && node->op != OP_AVGPOOL))
        return false;
    ConvProblem p = conv_problem(g, anchor);
    const PoolAttrs *a = node->attrs;
    const Shape *src = &graph_v(g, node->in[0])->shape, *dst = &graph_v(g, node->out[0])->shape;
    bool fit = windows_fit(a, src, dst);
    if (!fit && (!feeds_only_the_pool(g, k) || may_be_winograd(g, anchor, &p)))
        return false;
    int64_t rows = a->stride[0] > a->kernel[0] ? a->stride[0] : a->kernel[0];
    return !conv_by_images(&p) && shares_well(&p, dst) &&
           4 * rows * src->dim[2] * WIDEST_TILE <= SCRATCH_MOST;
}

static int64_t gcd(int64_t a, int64_t b) {
    return b ? gcd(b, a % b) : a;
}

ConvTail conv_tail(const Graph *g, const Kernel *k) {
    if (!k->tail)
        return (ConvTail){0};
    const Node *node = graph_n(g, k->tail);
    const PoolAttrs *a = node->attrs;
    const Shape *src = &graph_v(g, node->in[0])->shape, *dst = &graph_v(g, node->out[0])->shape;
    bool all = graph_v(g, graph_n(g, k->anchor)->out[0])->stored;
    for (int i = 0; i < k->nchain; ++i)
        all |= graph_v(g, graph_n(g, k->chain[i])->out[0])->stored;
    ConvTail t = {.present = true,
                  .in_memory = graph_v(g, node->in[0])->stored,
                  .rolling = !windows_fit(a, src, dst),
                  .stride = a->stride[0],
                  .kernel = a->kernel[0],
                  .pad = a->pad[0],
                  .pooled = dst->dim[1]};
    t.fill = all || t.rolling ? a->stride[0] : a->kernel[0];
    for (int d = 0; d < 2; ++d) {
        int64_t last = (dst->dim[1 + d] - 1) * a->stride[d] - a->pad[2 * d] + a->kernel[d];
        t.computed[d] = all ? src->dim[1 + d] : min64(last, src->dim[1 + d]);
    }
    BUG_IF(all && t.rolling, "kernel %s stores rows that two tasks compute", k->name);
    return t;
}

int64_t conv_tail_step(const ConvTail *t, int oh) {
    return t->fill < t->stride ? t->stride : oh / gcd(oh, t->stride) * t->stride;
}

int64_t conv_tail_rows(const ConvTail *t, int oh) {
    int64_t shared = t->rolling ? max64(t->kernel - t->stride, 0) : 0;
    return t->fill < t->stride ? t->fill : conv_tail_step(t, oh) + shared;
}
