/* test_passes.c: what each pass must do to hand-built networks, and random networks through all.
 *
 * Gradients are checked against central differences, projections from a middle layer against
 * projections of the net cut off at that layer; both with the double-precision reference.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "nets.h"
#include "ref_cases.h"
#include "ref_run.h"
#include "suite.h"

static void run_to(Net *n, const char *stop) {
    n->ctx.stop_after = stop;
    passes_run(n->g, &n->ctx);
}

static const Node *def(const Graph *g, const char *name) {
    ValueId v = graph_find(g, name);
    BUG_IF(!v, "no value '%s'", name);
    return graph_n(g, graph_v(g, v)->def);
}

/* ---- fold, dce, cse ---- */

static void folding(void) {
    static const char *const program[] = {"forward", "train", "look"};
    ParamList params = {0};
    Net n[3];
    for (int p = 0; p < 3; p++) {
        n[p] = net_lenet(program[p], &params);
        run_to(&n[p], "dce");
        const Graph *g = n[p].g;
        CU_ASSERT_EQUAL(net_count(g, OP_FLATTEN), 0); /* training: sunk below dropout first */
        CU_ASSERT_EQUAL(net_count(g, OP_DROPOUT), p == 1);
        const Node *f1 = def(g, "f1");
        CU_ASSERT_EQUAL(graph_v(g, f1->in[0])->shape.rank, 3);
        CU_ASSERT_EQUAL(graph_v(g, f1->in[1])->shape.rank, 4);
        Shape want = {4, {40, 20, 3, 3}}, flat = {2, {40, 180}};
        CU_ASSERT(shape_equal(&params.at[4].split, &want));
        CU_ASSERT(shape_equal(&params.at[4].shape, &flat));
    }
    for (int p = 0; p < 3; p++)
        net_free(&n[p]);
}

static void folding_identities(void) {
    Net n = net_new("forward", NULL, 16, 4, 4);
    ValueId one = net_op(&n, "one", OP_CONCAT, n.image, 0);
    ValueId drop = net_dropout(&n, "drop", one, 0.5, true);
    PoolAttrs cell = {.kernel = {1, 1}, .stride = {1, 1}};
    ValueId pool = graph_op(n.g, OP_AVGPOOL, &cell, 1, &drop);
    ValueId f = net_dense(&n, "f", pool, 3);
    ValueId again = net_op(&n, "again", OP_FLATTEN, f, 0);
    net_end(&n, again);
    run_to(&n, "fold");
    CU_ASSERT_EQUAL(net_count(n.g, OP_CONCAT) + net_count(n.g, OP_DROPOUT), 0);
    CU_ASSERT_EQUAL(net_count(n.g, OP_AVGPOOL) + net_count(n.g, OP_FLATTEN), 0);
    CU_ASSERT_EQUAL(graph_find(n.g, "drop"), n.image);
    CU_ASSERT_EQUAL(graph_find(n.g, "again"), f);
    CU_ASSERT(graph_v(n.g, f)->keep); /* handed over by the kept value that went away */
    CU_ASSERT_EQUAL(graph_resolve(n.g, again), f);
    net_free(&n);
}

/* Dense weights read once as an image and once as a vector must not get the split form. */
static void folding_conflict(void) {
    Net n = net_new("forward", NULL, 16, 2, 2);
    ValueId flat = net_op(&n, "flat", OP_FLATTEN, n.image, 0);
    ValueId f = net_dense(&n, "f", flat, 64);
    DenseAttrs a = {.units = 64, .bias = true};
    ValueId in[3] = {f, graph_find(n.g, "f.weight"), graph_find(n.g, "f.bias")};
    ValueId f2 = graph_op(n.g, OP_DENSE, &a, 3, in);
    net_end(&n, f2);
    run_to(&n, "fold");
    CU_ASSERT_EQUAL(n.g->params->at[0].split.rank, 2);
    CU_ASSERT_EQUAL(net_count(n.g, OP_FLATTEN), 1);
    net_free(&n);
}

static void dead_code(void) {
    Net n = net_lenet("forward", NULL);
    net_conv(&n, "unused", graph_find(n.g, "p1"), 8, 3, 1, 1);
    run_to(&n, "dce");
    CU_ASSERT_EQUAL(graph_find(n.g, "unused"), 0);
    CU_ASSERT_EQUAL(net_count(n.g, OP_CONV2D), 2);
    CU_ASSERT_EQUAL(def(n.g, "p1")->out[1], 0); /* no switches without a backward pass */
    net_free(&n);
    n = net_lenet("train", NULL);
    run_to(&n, "dce");
    CU_ASSERT(def(n.g, "p1")->out[1] != 0);
    net_free(&n);
}

/* Equal attributes merge two nodes, whatever lies in the padding between them. */
static void common_nodes(void) {
    Net n = net_new("forward", NULL, 16, 8, 8);
    PoolAttrs a[3];
    ValueId out[3], in[3];
    for (int i = 0; i < 3; i++) {
        memset(&a[i], i == 1 ? 0xff : 0, sizeof a[i]);
        for (int d = 0; d < 2; d++)
            a[i].kernel[d] = a[i].stride[d] = 2;
        memset(a[i].pad, 0, sizeof a[i].pad);
        memset(a[i].src_size, 0, sizeof a[i].src_size);
        a[i].round = POOL_ROUND_FLOOR;
        a[i].count_pad = i == 2; /* an attribute: not the same pool */
        in[i] = n.image;
        out[i] = graph_op(n.g, OP_AVGPOOL, &a[i], 1, &in[i]);
    }
    CU_ASSERT(memcmp(&a[0], &a[1], sizeof a[0]) != 0);
    ValueId joined = graph_op(n.g, OP_CONCAT, NULL, 3, out);
    net_end(&n, net_dense(&n, "f", joined, 3));
    run_to(&n, "cse");
    CU_ASSERT_EQUAL(net_count(n.g, OP_AVGPOOL), 2);
    const Node *join = graph_n(n.g, graph_v(n.g, joined)->def);
    CU_ASSERT_EQUAL(join->in[0], join->in[1]);
    CU_ASSERT_NOT_EQUAL(join->in[0], join->in[2]);
    net_free(&n);
}

/* ---- reverse mode: structure ---- */

/* Transposed weights of convolutions (labels c...); dense layers may do without. */
static int conv_transposes(const Graph *g) {
    int count = 0;
    for (uint32_t o = 0; o < g->norder; o++) {
        const Node *n = graph_n(g, g->order[o]);
        count += n->op == OP_TRANSPOSE_WEIGHTS && n->label[0] == 'c';
    }
    return count;
}

static void training_structure(void) {
    Net n = net_lenet("train", NULL);
    n.g->params->at[2].frozen = true; /* c2.weight */
    n.ctx.update.nesterov = true;
    run_to(&n, "fuse");
    const Graph *g = n.g;
    CU_ASSERT_EQUAL(net_count(g, OP_SGD), 7);
    for (uint32_t o = 0; o < g->norder; o++)
        if (graph_n(g, g->order[o])->op == OP_SGD)
            CU_ASSERT(((const SgdAttrs *)graph_n(g, g->order[o])->attrs)->nesterov);
    CU_ASSERT_EQUAL(net_count(g, OP_CONV2D_BWD_WEIGHTS), 1);
    CU_ASSERT_EQUAL(net_count(g, OP_CONV2D_BWD_DATA), 1); /* none to the image */
    CU_ASSERT_EQUAL(net_count(g, OP_DENSE_BWD_DATA), 2);
    CU_ASSERT_EQUAL(net_count(g, OP_MAXPOOL_BWD), 2);
    CU_ASSERT_EQUAL(net_count(g, OP_RELU_BWD), 3);
    CU_ASSERT_EQUAL(net_count(g, OP_BIAS_GRAD), 4);
    CU_ASSERT_EQUAL(net_count(g, OP_ADD), 0);
    CU_ASSERT_EQUAL(graph_find(g, "d.c2.weight"), 0);
    CU_ASSERT(graph_find(g, "d.c1.weight") != 0);
    CU_ASSERT_EQUAL(graph_v(g, graph_find(g, "c1.weight.state"))->slot, 0);
    CU_ASSERT_STRING_EQUAL(def(g, "d.c1.weight")->label, "c1");
    net_free(&n);

    n = net_shared("train", NULL);
    run_to(&n, "fuse");
    CU_ASSERT_EQUAL(net_count(n.g, OP_SGD), 4);
    CU_ASSERT_EQUAL(net_count(n.g, OP_ADD), 2); /* weights and bias, two parts each */
    CU_ASSERT_EQUAL(conv_transposes(n.g), 1);   /* c2 only: no gradient to the image */
    net_free(&n);
}

static void projections_share_transposes(void) {
    Net n = net_residual("look", NULL);
    run_to(&n, "dce");
    CU_ASSERT_EQUAL(conv_transposes(n.g), 3); /* not 9 */
    CU_ASSERT_EQUAL(net_count(n.g, OP_CONV2D_BWD_DATA), 9);
    CU_ASSERT_EQUAL(net_count(n.g, OP_BIAS_GRAD), 0);
    CU_ASSERT_EQUAL(net_count(n.g, OP_SGD), 0);
    CU_ASSERT_EQUAL(net_count(n.g, OP_RELU), 3 + 3 + 3); /* forward, deconvnet, guided */
    CU_ASSERT_EQUAL(net_count(n.g, OP_RELU_BWD), 3 + 3); /* gradient, guided */
    CU_ASSERT(graph_find(n.g, "guided.image") == n.ctx.image_diff[RULE_GUIDED]);
    CU_ASSERT(graph_find(n.g, "deconvnet.r1") != 0);
    net_free(&n);
}

static void refused_rules(void) {
    Net n = net_tanh("look", NULL);
    run_to(&n, NULL);
    CU_ASSERT_PTR_NULL(n.ctx.refused[RULE_GRADIENT]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(n.ctx.refused[RULE_DECONVNET]);
    CU_ASSERT_PTR_NOT_NULL(strstr(n.ctx.refused[RULE_DECONVNET], "'tanh' (layer t1)"));
    CU_ASSERT_PTR_NOT_NULL(n.ctx.refused[RULE_GUIDED]);
    CU_ASSERT_EQUAL(n.ctx.image_diff[RULE_GUIDED], 0);
    CU_ASSERT_EQUAL(n.ctx.seed_info[RULE_GUIDED][0].diff, 0);
    CU_ASSERT_EQUAL(n.g->nentries, 3);
    CU_ASSERT_STRING_EQUAL(n.g->entry[0].name, "prepare");
    CU_ASSERT_STRING_EQUAL(n.g->entry[1].name, "record");
    CU_ASSERT_STRING_EQUAL(n.g->entry[2].name, "project_gradient");
    net_free(&n);
}

/* ---- reverse mode: numbers ---- */

enum { BATCH = 2 };

static double **random_params(const ParamList *params, uint32_t seed) {
    double **at = ref_params_new(params);
    for (int i = 0; i < params->count; i++)
        if (!params->at[i].constant)
            ref_fill_distinct(at[i], shape_elems(&params->at[i].shape), 0.3, seed + (uint32_t)i);
    return at;
}

typedef struct Data {
    double *image;
    int32_t label[BATCH];
    double **param;
    int nparams;
} Data;

static Data data_new(const Net *n, uint32_t seed) {
    const Shape *s = &graph_v(n->g, n->image)->shape;
    int64_t elems = shape_elems(s) * BATCH;
    Data d = {.image = calloc((size_t)elems, sizeof(double)),
              .label = {1, 2},
              .param = random_params(n->g->params, seed),
              .nparams = n->g->params->count};
    ref_fill_distinct(d.image, elems, 1.0, seed + 77);
    return d;
}

static void data_free(Data *d) {
    free(d->image);
    ref_params_free(d->param, d->nparams);
}

static RefRun run_new(const Graph *g, const Data *d) {
    return (RefRun){.g = g,
                    .n = BATCH,
                    .input = {d->image},
                    .label = {d->label},
                    .param = d->param,
                    .seed = 5,
                    .step = 1};
}

static double mean_loss(const Net *n, const Data *d) {
    RefRun r = run_new(n->g, d);
    BUG_IF(!ref_run(&r), "reference: %s", r.error);
    double sum = 0;
    for (int i = 0; i < BATCH; i++)
        sum += r.value[graph_resolve(n->g, n->loss)][i];
    ref_run_free(&r);
    return sum / (double)BATCH;
}

static void check_gradients(Net (*make)(const char *, ParamList *)) {
    Net n = make("train", NULL);
    run_to(&n, NULL);
    Data d = data_new(&n, 11);
    RefRun r = run_new(n.g, &d);
    CU_ASSERT_FATAL(ref_run(&r));
    int checked = 0;
    for (uint32_t o = 0; o < n.g->norder; o++) {
        const Node *sgd = graph_n(n.g, n.g->order[o]);
        if (sgd->op != OP_SGD)
            continue;
        int slot = graph_v(n.g, sgd->in[0])->slot;
        int64_t count = shape_elems(&n.g->params->at[slot].shape);
        for (int64_t i = 0; i < count; i += count / 2 + 1, checked++) {
            double *at = &d.param[slot][i], old = *at, h = 1e-5;
            *at = old + h;
            double up = mean_loss(&n, &d);
            *at = old - h;
            double down = mean_loss(&n, &d);
            *at = old;
            double want = (up - down) / (2 * h), got = r.value[sgd->in[1]][i];
            if (fabs(want - got) > 1e-6 + 1e-4 * fabs(want))
                printf("%s[%lld]: %g, differences say %g\n", n.g->params->at[slot].name,
                       (long long)i, got, want);
            CU_ASSERT(fabs(want - got) <= 1e-6 + 1e-4 * fabs(want));
        }
    }
    CU_ASSERT(checked >= 8);
    ref_run_free(&r);
    data_free(&d);
    net_free(&n);
}

static void gradients(void) {
    check_gradients(net_lenet);
    check_gradients(net_residual);
    check_gradients(net_fork);
    check_gradients(net_shared);
    check_gradients(net_tanh);
}

/* Turns the planned look program into what the runtime does when it starts at a seed: kernels
 * before first_kernel do not run, the values in `live` are zero, `diff` is written from outside. */
static void start_at(Graph *g, const struct SeedInfo *info, const Entry *e) {
    for (int k = e->first; k < info->first_kernel; k++) {
        const Kernel *kernel = &g->kernels[k];
        graph_n(g, kernel->anchor)->dead = true;
        for (int i = 0; i < kernel->nchain; i++)
            graph_n(g, kernel->chain[i])->dead = true;
        if (kernel->tail)
            graph_n(g, kernel->tail)->dead = true;
    }
    for (int i = 0; i < info->nlive; i++) {
        graph_v(g, info->live[i])->kind = VK_SEED;
        graph_v(g, info->live[i])->slot = 7; /* zeros */
    }
    graph_v(g, info->diff)->kind = VK_SEED;
    graph_v(g, info->diff)->slot = 0;
}

static Graph *reparse(const Net *n) {
    const char *error = NULL;
    Graph *g = graph_parse(n->keep, net_text(n->g, n->keep), &error);
    BUG_IF(!g, "%s", error);
    return g;
}

/* The image's diff when rule's projection starts at ctx's seed i: by plan, or (cut) by a net that
 * ends at that layer. */
static double *image_by_plan(const Net *n, const Data *d, int rule, int i, const double *signal,
                             int64_t count) {
    static const char *const entry[] = {"", "project_gradient", "project_deconvnet",
                                        "project_guided"};
    Graph *g = reparse(n);
    const double *seed[8] = {signal};
    const Entry *e = NULL;
    for (int k = 0; k < g->nentries; k++)
        if (strcmp(g->entry[k].name, entry[rule]) == 0)
            e = &g->entry[k];
    BUG_IF(!e, "no entry %s", entry[rule]);
    /* The other projections have seeds of their own, which nobody writes here: zeros. */
    start_at(g, &n->ctx.seed_info[rule][i], e);
    RefRun r = run_new(g, d);
    r.seed_value = seed;
    BUG_IF(!ref_run(&r), "reference: %s", r.error);
    double *image = calloc((size_t)count, sizeof(double));
    memcpy(image, r.value[n->ctx.image_diff[rule]], (size_t)count * sizeof(double));
    ref_run_free(&r);
    return image;
}

/* What a rectified layer's writer makes of its signal (SeedInfo.rectified). */
static void rectify(const Net *n, const Data *d, int rule, int i, double *signal, int64_t size) {
    RefRun r = run_new(n->g, d);
    BUG_IF(!ref_run(&r), "reference: %s", r.error);
    const double *y = r.value[n->ctx.seeds[i]];
    for (int64_t k = 0; k < size; k++)
        if ((rule != RULE_DECONVNET && !(y[k] > 0)) || (rule != RULE_GRADIENT && !(signal[k] > 0)))
            signal[k] = 0;
    ref_run_free(&r);
}

static double *image_by_cut(Net (*make)(const char *, ParamList *), const Data *d, int rule, int i,
                            const double *signal, int64_t count) {
    Net n = make("look", NULL);
    n.ctx.project_from = n.ctx.seeds[i];
    run_to(&n, NULL);
    const double *seed[8] = {NULL};
    seed[rule] = signal;
    RefRun r = run_new(n.g, d);
    r.seed_value = seed;
    BUG_IF(!ref_run(&r), "reference: %s", r.error);
    double *image = calloc((size_t)count, sizeof(double));
    memcpy(image, r.value[n.ctx.image_diff[rule]], (size_t)count * sizeof(double));
    ref_run_free(&r);
    net_free(&n);
    return image;
}

static int check_starts(Net (*make)(const char *, ParamList *)) {
    Net n = make("look", NULL);
    run_to(&n, NULL);
    Data d = data_new(&n, 23);
    int checked = 0;
    int64_t count = shape_elems(&graph_v(n.g, n.image)->shape) * BATCH;
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
        for (int i = 0; i < n.ctx.nseeds && !n.ctx.refused[rule]; i++) {
            const struct SeedInfo *info = &n.ctx.seed_info[rule][i];
            if (!info->diff) /* a layer that the score does not depend on */
                continue;
            checked++;
            int64_t size = shape_elems(&graph_v(n.g, info->diff)->shape) * BATCH;
            double *signal = calloc((size_t)size, sizeof(double)), sum = 0, off = 0;
            ref_fill_distinct(signal, size, 1.0, 31);
            double *b = image_by_cut(make, &d, rule, i, signal, count);
            if (info->rectified)
                rectify(&n, &d, rule, i, signal, size);
            double *a = image_by_plan(&n, &d, rule, i, signal, count);
            for (int64_t p = 0; p < count; p++) {
                sum += fabs(b[p]);
                off += fabs(a[p] - b[p]);
            }
            if (off > 1e-12 * sum)
                printf("rule %d, seed %s: off by %g of %g\n", rule, n.ctx.seed_label[i], off, sum);
            CU_ASSERT(sum > 0);
            CU_ASSERT(off <= 1e-12 * sum);
            free(signal);
            free(a);
            free(b);
        }
    data_free(&d);
    net_free(&n);
    return checked;
}

static void starts(void) {
    CU_ASSERT(check_starts(net_lenet) > 1);
    CU_ASSERT(check_starts(net_residual) > 1);
    CU_ASSERT(check_starts(net_fork) > 1);
    CU_ASSERT(check_starts(net_shared) > 1);
    CU_ASSERT(check_starts(net_tanh) > 1);
}

static void live_lists(void) {
    Net n = net_residual("look", NULL);
    run_to(&n, NULL);
    const struct SeedInfo *info = n.ctx.seed_info[RULE_GRADIENT];
    ValueId sum = info[3].diff; /* the sum's diff flows into both branches */
    CU_ASSERT_STRING_EQUAL(n.ctx.seed_label[3], "sum");
    CU_ASSERT_EQUAL(info[3].nlive, 0);
    CU_ASSERT_STRING_EQUAL(n.ctx.seed_label[2], "c2");
    CU_ASSERT_NOT_EQUAL(info[2].diff, sum); /* its own copy */
    CU_ASSERT_EQUAL(info[2].nlive, 1);
    CU_ASSERT_EQUAL(info[2].live[0], sum); /* the skip connection's part must be zero */
    CU_ASSERT_EQUAL(info[0].nlive, 0);     /* r0: both branches have met */
    net_free(&n);
}

/* ---- fuse ---- */

static void has_kernel(const Graph *g, const char *name) {
    if (!net_kernel(g, name)) {
        printf("no kernel '%s' among:", name);
        for (int i = 0; i < g->nkernels; i++)
            printf(" %s", g->kernels[i].name);
        printf("\n");
    }
    CU_ASSERT_PTR_NOT_NULL(net_kernel(g, name));
}

static void fusion(void) {
    Net n = net_fork("train", NULL);
    run_to(&n, "fuse");
    has_kernel(n.g, "c0+r0");
    has_kernel(n.g, "ca+ra");
    has_kernel(n.g, "relu_bwd.rb"); /* slices take no chain */
    /* the two parts of d.r0 are added, and masked, behind the second convolution */
    has_kernel(n.g, "conv_bwd_data.ca+add+relu_bwd");
    CU_ASSERT_FALSE(graph_v(n.g, graph_find(n.g, "c0"))->stored);
    CU_ASSERT(graph_v(n.g, graph_find(n.g, "r0"))->stored);
    net_free(&n);

    n = net_residual("forward", NULL);
    run_to(&n, "fuse");
    const Kernel *k = net_kernel(n.g, "c2+sum+r2+p");
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    CU_ASSERT_EQUAL(k->nchain, 2);
    CU_ASSERT_EQUAL(k->tail, graph_v(n.g, graph_find(n.g, "p"))->def);
    CU_ASSERT_EQUAL(graph_n(n.g, k->chain[0])->in[0], graph_find(n.g, "c2")); /* exchanged */
    CU_ASSERT_EQUAL(graph_n(n.g, k->chain[0])->in[1], graph_find(n.g, "r0"));
    CU_ASSERT(graph_v(n.g, graph_find(n.g, "r0"))->stored);
    CU_ASSERT_FALSE(graph_v(n.g, graph_find(n.g, "sum"))->stored);
    ValueId v[8];
    CU_ASSERT_EQUAL(kernel_outputs(n.g, k, v, 8), 1);
    CU_ASSERT_EQUAL(v[0], graph_find(n.g, "p"));
    CU_ASSERT_FALSE(graph_v(n.g, graph_find(n.g, "r2"))->stored);
    CU_ASSERT_EQUAL(kernel_inputs(n.g, k, v, 8), 4); /* r1, weight, bias, r0 */
    net_free(&n);
}

static void fusion_through_kept(void) {
    Net n = net_residual("look", NULL);
    run_to(&n, "fuse");
    const Kernel *k = net_kernel(n.g, "c2+sum+r2+p"); /* recorded values are stored on the way */
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    CU_ASSERT_EQUAL(kernel_outputs(n.g, k, NULL, 0), 5); /* the switches too */
    /* a projection that starts at r1 starts behind its mask, which joins the convolution */
    has_kernel(n.g, "gradient.conv_bwd_data.c2+relu_bwd");
    has_kernel(n.g, "guided.conv_bwd_data.c2+relu_bwd+relu");
    CU_ASSERT(n.ctx.seed_info[RULE_GRADIENT][1].rectified);  /* r1 */
    CU_ASSERT(!n.ctx.seed_info[RULE_GRADIENT][2].rectified); /* c2 */
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED; rule++)
        for (int i = 0; i < n.ctx.nseeds; i++) {
            const Value *d = graph_v(n.g, n.ctx.seed_info[rule][i].diff);
            if (d->kind == VK_SEED)
                continue;
            const Node *node = graph_n(n.g, d->def);
            const Kernel *of = &n.g->kernels[node->kernel - 1];
            NodeId last = of->nchain ? of->chain[of->nchain - 1] : of->anchor;
            CU_ASSERT_EQUAL(last, d->def);
        }
    net_free(&n);
}

static void no_fusion(void) {
    Net n = net_residual("train", NULL);
    n.ctx.no_fuse = true;
    run_to(&n, NULL);
    CU_ASSERT_EQUAL(n.g->nkernels, (int)n.g->norder);
    net_free(&n);
}

/* ---- layout ---- */

static void data_layouts(void) {
    Net n = net_residual("train", NULL);
    run_to(&n, "layout");
    const Graph *g = n.g;
    const Layout *image = &graph_v(g, graph_find(g, "image"))->layout;
    CU_ASSERT_EQUAL(image->kind, LAYOUT_PLAIN); /* 3 channels, read by convolutions only */
    CU_ASSERT_EQUAL(image->halo[0], 1);
    CU_ASSERT_EQUAL(image->halo[3], 1);
    const Layout *r0 = &graph_v(g, graph_find(g, "r0"))->layout;
    CU_ASSERT_EQUAL(r0->kind, LAYOUT_BLOCKED);
    CU_ASSERT_EQUAL(r0->block, 16);
    CU_ASSERT_EQUAL(r0->halo[2], 1);
    CU_ASSERT_EQUAL(graph_v(g, graph_find(g, "r0"))->bytes, 14 * 14 * 16 * 4);
    CU_ASSERT_EQUAL(graph_v(g, graph_find(g, "r2"))->layout.halo[0], 0); /* only pooled */
    CU_ASSERT_EQUAL(graph_v(g, graph_find(g, "loss.ce"))->layout.kind, LAYOUT_PLAIN);
    CU_ASSERT_EQUAL(graph_v(g, graph_find(g, "loss.ce"))->bytes, 64);
    net_free(&n);

    n = net_shared("forward", NULL);
    run_to(&n, "layout");
    CU_ASSERT_EQUAL(graph_v(n.g, n.image)->layout.kind, LAYOUT_BLOCKED); /* 16 channels */
    net_free(&n);
}

/* One layout per parameter in all three programs; gradients and states like their parameter. */
static void param_layouts(void) {
    static Net (*const make[])(const char *, ParamList *) = {net_lenet, net_residual, net_fork};
    for (int m = 0; m < 3; m++) {
        ParamList params = {0};
        Net n[3];
        Layout first[16];
        for (int p = 0; p < 3; p++) {
            n[p] = make[m](p == 0 ? "forward" : p == 1 ? "train" : "look", &params);
            run_to(&n[p], NULL);
            for (int i = 0; i < params.count; i++) {
                CU_ASSERT_NOT_EQUAL(params.at[i].layout.kind, LAYOUT_UNSET);
                CU_ASSERT(params.at[i].bytes >= shape_elems(&params.at[i].shape) * 4);
                if (p == 0)
                    first[i] = params.at[i].layout;
                CU_ASSERT_EQUAL(memcmp(&first[i], &params.at[i].layout, sizeof first[i]), 0);
            }
        }
        for (uint32_t o = 0; o < n[1].g->norder; o++) {
            const Node *sgd = graph_n(n[1].g, n[1].g->order[o]);
            if (sgd->op != OP_SGD)
                continue;
            const Value *w = graph_v(n[1].g, sgd->in[0]);
            for (int i = 1; i < 3; i++) {
                const Value *x = graph_v(n[1].g, sgd->in[i]);
                if (x->kind == VK_RESULT && !x->stored)
                    continue; /* the update is part of the gradient's kernel */
                CU_ASSERT_EQUAL(x->bytes, w->bytes);
                CU_ASSERT_EQUAL(memcmp(&x->layout, &w->layout, sizeof w->layout), 0);
            }
        }
        params_place(&params);
        int64_t end = 0;
        for (int i = 0; i < params.count; i++) {
            CU_ASSERT_EQUAL(params.at[i].offset, end);
            CU_ASSERT_EQUAL(params.at[i].offset % 64, 0);
            end += params.at[i].bytes;
        }
        CU_ASSERT_EQUAL(params.bytes, end);
        CU_ASSERT_EQUAL(params.state_bytes, end);
        for (int p = 0; p < 3; p++)
            net_free(&n[p]);
    }
}

static void costs(void) {
    Net n = net_lenet("train", NULL);
    run_to(&n, NULL);
    const Kernel *c1 = net_kernel(n.g, "c1+r1+p1");
    CU_ASSERT_PTR_NOT_NULL_FATAL(c1);
    CU_ASSERT_EQUAL(c1->flops_image, 2.0 * 6 * 18 * 18 * 25 + 6 * 18 * 18 + 6 * 9 * 9 * 4);
    CU_ASSERT_EQUAL(c1->flops_fixed, 0);
    const Value *image = graph_v(n.g, graph_find(n.g, "image"));
    const Value *r1 = graph_v(n.g, graph_find(n.g, "r1"));
    const Value *p1 = graph_v(n.g, graph_find(n.g, "p1"));
    const Value *taps = graph_v(n.g, graph_n(n.g, p1->def)->out[1]);
    CU_ASSERT_EQUAL(c1->bytes_image,
                    (double)(image->bytes + r1->bytes + p1->bytes + taps->bytes));
    CU_ASSERT(c1->bytes_fixed > 0);
    const Kernel *dw = net_kernel(n.g, "conv_bwd_weights.c1+bias+sgd");
    CU_ASSERT_PTR_NOT_NULL_FATAL(dw);
    CU_ASSERT_EQUAL(dw->flops_fixed, 6 * (6.0 * 25 + 6)); /* both updates */
    CU_ASSERT_EQUAL(dw->tasks_block, 0);
    net_free(&n);

    n = net_lenet("train", NULL);
    n.ctx.no_fuse = true;
    run_to(&n, NULL);
    const Kernel *sgd = net_kernel(n.g, "sgd.c1.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(sgd);
    CU_ASSERT_EQUAL(sgd->flops_image, 0);
    CU_ASSERT(sgd->flops_fixed > 0);
    CU_ASSERT_EQUAL(sgd->tasks_block, 0);
    net_free(&n);
}

/* ---- schedule and memplan ---- */

/* Independent of life.c: first writer and last reader by scanning kernels; kept values stay. */
static void check_overlaps(const Graph *g) {
    int n = g->nkernels, in_place = 0;
    int *from = calloc(g->nvalue, sizeof(int)), *to = calloc(g->nvalue, sizeof(int));
    for (ValueId v = 0; v < g->nvalue; v++)
        from[v] = to[v] = -1;
    for (int k = 0; k < n; k++) {
        ValueId v[64];
        for (int i = kernel_outputs(g, &g->kernels[k], v, 64); i-- > 0;)
            from[v[i]] = to[v[i]] = k;
        for (int i = kernel_inputs(g, &g->kernels[k], v, 64); i-- > 0;)
            to[v[i]] = k;
    }
    for (ValueId a = 1; a < g->nvalue; a++)
        for (ValueId b = 1; b < g->nvalue; b++) {
            const Value *x = graph_v(g, a), *y = graph_v(g, b);
            if (a == b || from[a] < 0 || from[b] < 0 || x->pool != y->pool ||
                (x->pool != POOL_ACT && x->pool != POOL_FIX) || from[a] > from[b])
                continue;
            int last = x->keep ? n : to[a];
            if (x->offset >= y->offset + y->bytes || y->offset >= x->offset + x->bytes)
                continue;
            CU_ASSERT(last <= from[b]);
            in_place += last == from[b];
        }
    free(from);
    free(to);
    CU_ASSERT(in_place >= 0);
}

static void memory(void) {
    static Net (*const make[])(const char *, ParamList *) = {net_lenet, net_residual, net_fork,
                                                             net_shared};
    for (int m = 0; m < 4; m++)
        for (int p = 0; p < 2; p++)
            for (int f = 0; f < 2; f++) {
                Net n = make[m](p ? "train" : "forward", NULL);
                n.ctx.no_fuse = f;
                run_to(&n, NULL);
                check_overlaps(n.g);
                CU_ASSERT(n.g->act_bytes >= n.g->act_lower_bound);
                CU_ASSERT(n.g->act_bytes <= n.g->act_lower_bound * 5 / 4);
                CU_ASSERT(n.g->fix_bytes >= n.g->fix_lower_bound);
                CU_ASSERT_EQUAL(n.g->nentries, 1);
                CU_ASSERT_EQUAL(n.g->entry[0].count, n.g->nkernels);
                net_free(&n);
            }
}

static void in_place(void) {
    Net n = net_lenet("forward", NULL);
    n.ctx.no_fuse = true;
    run_to(&n, NULL);
    const Value *c1 = graph_v(n.g, graph_find(n.g, "c1")),
                *r1 = graph_v(n.g, graph_find(n.g, "r1"));
    CU_ASSERT_EQUAL(c1->offset, r1->offset); /* relu over its input */
    net_free(&n);

    n = net_residual("forward", NULL); /* r1's result is padded, c1 is not read with a halo */
    n.ctx.no_fuse = true;
    run_to(&n, NULL);
    c1 = graph_v(n.g, graph_find(n.g, "c1"));
    r1 = graph_v(n.g, graph_find(n.g, "r1"));
    CU_ASSERT(c1->offset + c1->bytes <= r1->offset || r1->offset + r1->bytes <= c1->offset);
    net_free(&n);
}

/* Gradients of parameters are used up as soon as they exist, so the fixed slab does not hold all.
 */
static void updates_early(void) {
    Net n = net_lenet("train", NULL);
    n.ctx.no_fuse = true;
    run_to(&n, NULL);
    int64_t all = 0;
    for (uint32_t o = 0; o < n.g->norder; o++)
        if (graph_n(n.g, n.g->order[o])->op == OP_SGD)
            all += graph_v(n.g, graph_n(n.g, n.g->order[o])->in[1])->bytes;
    CU_ASSERT(n.g->fix_bytes < 2 * all);
    CU_ASSERT_STRING_EQUAL(n.g->entry[0].name, "step");
    net_free(&n);
}

/* What the fused kernel of parameter `name` is called, or NULL. */
static const Kernel *updater(const Graph *g, const char *name) {
    for (int i = 0; i < g->nkernels; i++) {
        NodeId node[KERNEL_MAX_NODES];
        int count = kernel_nodes(&g->kernels[i], node);
        for (int j = 0; j < count; j++)
            if (graph_n(g, node[j])->op == OP_SGD &&
                strcmp(graph_v(g, graph_n(g, node[j])->in[0])->name, name) == 0)
                return &g->kernels[i];
    }
    return NULL;
}

/* An update is part of its gradient's kernel unless somebody else wants the gradient. */
static void updates_fused(void) {
    Net n = net_lenet("train", NULL);
    run_to(&n, NULL);
    for (int i = 0; i < n.g->nkernels; i++) {
        const Kernel *k = &n.g->kernels[i];
        CU_ASSERT_NOT_EQUAL(graph_n(n.g, k->anchor)->op, OP_SGD);
        CU_ASSERT_NOT_EQUAL(graph_n(n.g, k->anchor)->op, OP_BIAS_GRAD);
    }
    for (uint32_t o = 0; o < n.g->norder; o++)
        if (graph_n(n.g, n.g->order[o])->op == OP_SGD)
            CU_ASSERT(!graph_v(n.g, graph_n(n.g, n.g->order[o])->in[1])->stored);
    net_free(&n);

    n = net_lenet("train", NULL); /* kept gradients: of a weight, of a bias */
    run_to(&n, "grad");
    graph_v(n.g, graph_find(n.g, "d.c2.weight"))->keep = true;
    graph_v(n.g, graph_find(n.g, "d.c1.bias"))->keep = true;
    CU_ASSERT(pass_run_one(n.g, &n.ctx, "fuse"));
    CU_ASSERT_EQUAL(graph_n(n.g, updater(n.g, "c2.weight")->anchor)->op, OP_SGD);
    CU_ASSERT_EQUAL(graph_n(n.g, updater(n.g, "c2.bias")->anchor)->op, OP_SGD);
    CU_ASSERT_EQUAL(updater(n.g, "c1.weight")->bias_grad, 0);
    CU_ASSERT_EQUAL(graph_n(n.g, updater(n.g, "c1.bias")->anchor)->op, OP_SGD);
    CU_ASSERT(graph_v(n.g, graph_find(n.g, "d.c2.weight"))->stored);
    net_free(&n);

    n = net_shared("train", NULL); /* gradients in two parts */
    run_to(&n, NULL);
    int alone = 0;
    for (int i = 0; i < n.g->nkernels; i++)
        alone += graph_n(n.g, n.g->kernels[i].anchor)->op == OP_SGD;
    CU_ASSERT_EQUAL(alone, 2);
    net_free(&n);
}

static void look_entries(void) {
    static const char *const name[] = {"prepare", "record", "project_gradient", "project_deconvnet",
                                       "project_guided"};
    Net n = net_fork("look", NULL);
    run_to(&n, NULL);
    CU_ASSERT_EQUAL_FATAL(n.g->nentries, 5);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_STRING_EQUAL(n.g->entry[i].name, name[i]);
    CU_ASSERT_EQUAL(n.g->entry[0].count, net_count(n.g, OP_TRANSPOSE_WEIGHTS));
    for (int i = 0; i < n.ctx.nseeds; i++) {
        const struct SeedInfo *s = &n.ctx.seed_info[RULE_GUIDED][i];
        CU_ASSERT(s->first_kernel >= n.g->entry[4].first);
        CU_ASSERT(graph_v(n.g, s->diff)->stored && graph_v(n.g, s->diff)->keep);
        CU_ASSERT(graph_v(n.g, n.ctx.seeds[i])->stored);
    }
    net_free(&n);
}

/* ---- the manager ---- */

static void manager(void) {
    CU_ASSERT(pass_exists("fuse"));
    CU_ASSERT_FALSE(pass_exists("fus"));
    Net n = net_fork("train", NULL);
    char *dump = NULL;
    size_t size = 0;
    n.ctx.dump = "grad,layout";
    n.ctx.time = true;
    n.ctx.dump_file = open_memstream(&dump, &size);
    CU_ASSERT_FALSE(pass_run_one(n.g, &n.ctx, "memplan")); /* nothing is scheduled yet */
    CU_ASSERT_FALSE(pass_run_one(n.g, &n.ctx, "nonsense"));
    CU_ASSERT(passes_run(n.g, &n.ctx));
    passes_help(n.ctx.dump_file);
    fclose(n.ctx.dump_file);
    CU_ASSERT_PTR_NOT_NULL(strstr(dump, "; program train after pass grad"));
    CU_ASSERT_PTR_NOT_NULL(strstr(dump, "; program train after pass layout"));
    CU_ASSERT_PTR_NULL(strstr(dump, "after pass fuse"));
    CU_ASSERT_PTR_NOT_NULL(strstr(dump, " ms  "));
    CU_ASSERT_PTR_NOT_NULL(strstr(dump, "reverse mode"));
    free(dump);
    CU_ASSERT_EQUAL(arena_used(n.tmp), 0);
    net_free(&n);
}

/* ---- golden texts: one pass, text in, text out ---- */

static char *slurp(Arena *a, const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *text = ARENA_ARRAY(a, 1 << 20, char);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

/* tests/golden/pass/NAME/PASS.ir -> PASS.out; with NETC_BLESS set the .out files are rewritten. */
static void golden_case(const char *root, const char *name, const char *pass) {
    Net n = {.keep = arena_new(), .tmp = arena_new()};
    const char *error = NULL;
    char *base = arena_printf(n.keep, "%s/tests/golden/pass/%s/%s", root, name, pass);
    char *text = slurp(n.keep, arena_printf(n.keep, "%s.ir", base));
    char *out = arena_printf(n.keep, "%s.out", base);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    Graph *g = graph_parse(n.keep, text, &error);
    if (!g)
        printf("%s.ir: %s\n", base, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    PassCtx ctx = {.tmp = n.tmp,
                   .target = &net_target,
                   .verify = true,
                   .train = strcmp(g->name, "train") == 0};
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->keep && graph_v(g, v)->name &&
            strncmp(graph_v(g, v)->name, "loss", 4) == 0)
            ctx.losses[ctx.nlosses++] = v;
    CU_ASSERT(pass_run_one(g, &ctx, pass));
    char *got = net_text(g, n.keep), *want = slurp(n.keep, out);
    if (getenv("NETC_BLESS")) {
        FILE *f = fopen(out, "wb");
        fputs(got, f);
        fclose(f);
    } else {
        CU_ASSERT_PTR_NOT_NULL_FATAL(want);
        if (strcmp(got, want) != 0)
            printf("%s.out differs; now:\n%s", base, got);
        CU_ASSERT_STRING_EQUAL(got, want);
    }
    arena_free(n.keep);
    arena_free(n.tmp);
}

static void golden(void) {
    const char *root = getenv("NETC_SOURCE_DIR");
    if (!root) {
        suite_skip("NETC_SOURCE_DIR is not set");
        return;
    }
    golden_case(root, "residual", "grad");
    golden_case(root, "residual", "fuse");
    golden_case(root, "residual", "schedule");
    golden_case(root, "residual", "memplan");
    golden_case(root, "mlp", "fold");
    golden_case(root, "mlp", "dce");
    golden_case(root, "mlp", "cse");
    golden_case(root, "pooled", "mask");
}

/* ---- random networks ---- */

static uint32_t rnd(uint32_t *x, uint32_t n) {
    *x = *x * 1664525u + 1013904223u;
    return (*x >> 10) % n;
}

enum { POOL_LIVE = 6 };

static Net random_net(const char *program, uint32_t seed) {
    uint32_t x = seed * 2654435761u + 1;
    int64_t channels = rnd(&x, 2) ? 3 : 16;
    Net n = net_new(program, NULL, channels, 8, 8);
    ValueId live[POOL_LIVE] = {net_conv(&n, "stem", n.image, 16, 3, 1, 1)}, last = live[0];
    int count = 1, layers = 4 + (int)rnd(&x, 10);
    for (int i = 0; i < layers; i++) {
        const char *label = arena_printf(n.keep, "l%d", i);
        ValueId a = live[rnd(&x, (uint32_t)count)], b = live[rnd(&x, (uint32_t)count)];
        const Shape *s = &graph_v(n.g, a)->shape, *t = &graph_v(n.g, b)->shape;
        switch (rnd(&x, 7)) {
        case 0:
        case 1:
            last = net_conv(&n, label, a, 16, rnd(&x, 2) ? 3 : 1, 1, 1);
            break;
        case 2:
            last = net_op(&n, label, OP_RELU, a, 0);
            break;
        case 3:
            last = shape_equal(s, t) ? net_op(&n, label, OP_ADD, a, b)
                                     : net_op(&n, label, OP_RELU, b, 0);
            break;
        case 4:
            last = s->dim[1] == t->dim[1] && a != b && s->dim[0] + t->dim[0] < 80
                       ? net_op(&n, label, OP_CONCAT, a, b)
                       : net_op(&n, label, OP_RELU, a, 0);
            break;
        case 5:
            last =
                s->dim[1] >= 4 ? net_maxpool(&n, label, a, 2, 2) : net_op(&n, label, OP_RELU, a, 0);
            break;
        default:
            last = net_dropout(&n, label, a, 0.5, !n.ctx.train);
            break;
        }
        live[count < POOL_LIVE ? count++ : (int)rnd(&x, POOL_LIVE)] = last;
        if (n.ctx.look && rnd(&x, 2))
            net_seed(&n, last);
        else if (!n.ctx.look)
            rnd(&x, 2);
    }
    net_end(&n, net_dense(&n, "score", last, 10));
    return n;
}

static void random_nets(void) {
    static const char *const program[] = {"forward", "train", "look"};
    double above = 0;
    int nets = 0;
    for (uint32_t seed = 0; seed < 120; seed++)
        for (int p = 0; p < 3; p++) {
            Net n = random_net(program[p], seed);
            n.ctx.no_fuse = seed % 8 == 7;
            CU_ASSERT(passes_run(n.g, &n.ctx)); /* verified after every pass */
            char why[256];
            CU_ASSERT(graph_verify(n.g, "all", why, sizeof why));
            if (p < 2)
                check_overlaps(n.g);
            above += (double)n.g->act_bytes / (double)n.g->act_lower_bound - 1;
            nets++;
            net_free(&n);
        }
    printf("(slab %.2f %% above the lower bound) ", 100 * above / nets);
    CU_ASSERT(above / nets < 0.05);
}

static uint32_t random_seed;
static Net random_current(const char *program, ParamList *params) {
    (void)params;
    return random_net(program, random_seed);
}
static void random_starts(void) {
    int checked = 0;
    for (random_seed = 200; random_seed < 208; random_seed++)
        checked += check_starts(random_current);
    CU_ASSERT(checked > 30);
}

SUITE_MAIN(TEST(folding), TEST(folding_identities), TEST(folding_conflict), TEST(dead_code),
           TEST(common_nodes), TEST(training_structure), TEST(projections_share_transposes), TEST(refused_rules),
           TEST(gradients), TEST(starts), TEST(live_lists), TEST(fusion), TEST(fusion_through_kept),
           TEST(no_fusion), TEST(data_layouts), TEST(param_layouts), TEST(costs), TEST(memory),
           TEST(in_place), TEST(updates_early), TEST(updates_fused), TEST(look_entries), TEST(manager), TEST(golden),
           TEST(random_nets), TEST(random_starts))
