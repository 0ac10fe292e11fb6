/* test_ops_compiled.c: every operator of ops.def as compiled code against its reference loop.
 *
 * Shapes come from ref_cases.h; an operator without cases fails.  Batched inputs stand in the slab as
 * projection seeds do, so that an operator is alone with its input, halo and padding included; in a
 * second variant the first image enters through load_input.  Targets of 16, 8 and 4 lanes; batches
 * of 1, 2 and 5.  With small integers the results must be bit for bit those of the reference.
 * What is checked beyond the numbers: compiled.h.
 * ctest-labels: kernels
 */
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

enum { CASES = 40, INPUTS = 8, LABELS = 64 /* of an image */ };
static const char *const targets[] = {"native", "x86-64-v3", "x86-64-v2", NULL};

/* One case under construction. */
typedef struct Build {
    Arena *keep;
    Graph *g;
    const Target *t;
    RefCase c;
    bool loaded;             /* the first image comes through load_input */
    ValueId seed[INPUTS];    /* VK_SEED values and how to fill them */
    RefInput kind[INPUTS], param_kind[INPUTS];
    int nseeds;
    int64_t channels;        /* image behind load_input: VK_INPUT slot 0 */
    bool has_image;
} Build;

static bool pow2(int64_t x) {
    return (x & (x - 1)) == 0;
}

/* ---- graphs ---- */

static ValueId seed(Build *b, RefInput kind, Shape s) {
    DType type = kind == REF_SWITCH ? DT_U8 : DT_F32;
    ValueId v = graph_input(b->g, VK_SEED, type, s, true, RULE_GRADIENT, NULL);
    b->kind[b->nseeds] = kind;
    b->seed[b->nseeds++] = v;
    return v;
}

static ValueId input(Build *b, int i) {
    const RefCase *c = &b->c;
    Graph *g = b->g;
    if (c->kind[i] == REF_CLASS)
        return graph_input(g, VK_LABEL, DT_I32, c->in[i], true, 0, NULL);
    if (ref_unbatched(c->kind[i])) {
        b->param_kind[g->params->count] = c->kind[i];
        return ref_param(g, arena_printf(b->keep, "p%d", i), c->in[i]);
    }
    if (i == 0 && b->loaded && c->in[0].rank == 3) {
        ValueId image = graph_input(g, VK_INPUT, DT_F32, c->in[0], true, 0, NULL);
        b->has_image = true;
        return graph_op(g, OP_LOAD_INPUT, NULL, 1, &image);
    }
    return seed(b, c->kind[i], c->in[i]);
}

static void keep_result(Build *b, NodeId id) {
    for (int k = 0; k < graph_n(b->g, id)->nout; k++)
        if (graph_n(b->g, id)->out[k])
            graph_v(b->g, graph_n(b->g, id)->out[k])->keep = true;
}

/* A layer whose parameters are read by its forward operator too, which decides their layout. */
static void build_bwd_data(Build *b, int op, ValueId dy, ValueId weights) {
    Graph *g = b->g;
    ValueId in[2] = {0, weights};
    TransposeWeightsAttrs turn = {.groups = 1};
    Shape src = {3, {0, 0, 0}};
    int forward;
    if (op == OP_CONV2D_BWD_DATA) {
        ConvAttrs a = *(const ConvAttrs *)b->c.attrs;
        src = (Shape){3, {a.src_maps, a.src_size[0], a.src_size[1]}};
        turn.groups = a.groups;
        a.bias = false;
        a.connect = NULL;
        forward = OP_CONV2D;
        in[0] = seed(b, REF_DATA, src);
        keep_result(b, graph_node(g, forward, &a, 2, in));
    } else {
        DenseAttrs a = *(const DenseAttrs *)b->c.attrs;
        src = (Shape){a.src_rank, {a.src_dim[0], a.src_dim[1], a.src_dim[2]}};
        a.bias = false;
        forward = OP_DENSE;
        in[0] = seed(b, REF_DATA, src);
        keep_result(b, graph_node(g, forward, &a, 2, in));
    }
    ValueId turned = graph_op(g, OP_TRANSPOSE_WEIGHTS, &turn, 1, &weights);
    graph_v(g, turned)->keep = true;
    ValueId back[2] = {dy, turned};
    keep_result(b, graph_node(g, op, b->c.attrs, 2, back));
}

static void build_load(Build *b, int op) {
    ValueId image = graph_input(b->g, VK_INPUT, DT_F32, b->c.in[0], true, 0, NULL);
    b->has_image = true;
    keep_result(b, graph_node(b->g, op, NULL, 1, &image));
}

static void build_update(Build *b, int op) {
    ValueId in[3];
    in[0] = ref_param(b->g, "w", b->c.in[0]);
    in[1] = ref_param(b->g, "g", b->c.in[1]);
    in[2] = graph_input(b->g, VK_STATE, DT_F32, b->c.in[2], false, 0, "m");
    b->g->params->states = op_def[op]->states;
    graph_node(b->g, op, b->c.attrs, 3, in);
}

/* Groups are native only when a group fills whole vectors: blow the case up to that. */
static void widen_groups(Build *b, int op) {
    bool conv = op == OP_CONV2D || op == OP_CONV2D_BWD_DATA || op == OP_CONV2D_BWD_WEIGHTS;
    const ConvAttrs *old = conv ? b->c.attrs : NULL;
    if (!old || old->groups == 1)
        return;
    int64_t groups = old->groups, width = b->t->vector;
    ConvAttrs *a = ARENA_NEW(b->keep, ConvAttrs);
    *a = *old;
    a->maps = groups * 2 * width;
    a->src_maps = groups * width;
    for (int i = 0; i < b->c.nin; i++) {
        Shape *s = &b->c.in[i];
        bool dst = i == (op == OP_CONV2D_BWD_WEIGHTS) && op != OP_CONV2D;
        if (s->rank == 4)
            *s = (Shape){4, {a->maps, width, a->kernel[0], a->kernel[1]}};
        else if (s->rank == 1 || dst)
            s->dim[0] = a->maps;
        else
            s->dim[0] = a->src_maps;
    }
    b->c.attrs = a;
}

static void build_case(Build *b, int op) {
    ParamList *params = ARENA_NEW(b->keep, ParamList);
    b->g = graph_new(b->keep, "case", op_name[op], params);
    ValueId in[REF_INPUTS];
    widen_groups(b, op);
    if (op == OP_LOAD_INPUT || op == OP_LOAD_SQUARE) {
        build_load(b, op);
        return;
    }
    if (op_def[op]->update) {
        build_update(b, op);
        return;
    }
    for (int i = 0; i < b->c.nin; i++)
        in[i] = input(b, i);
    if (op == OP_CONV2D_BWD_DATA || op == OP_DENSE_BWD_DATA)
        build_bwd_data(b, op, in[0], in[1]);
    else if (op_is(op, OPF_X))
        graph_node(b->g, op, b->c.attrs, b->c.nin, in);
    else
        keep_result(b, graph_node(b->g, op, b->c.attrs, b->c.nin, in));
}

static void plan(Build *b) {
    static const PlanOptions direct = {.exact = true}; /* Winograd's kernels: test_winograd.c */
    PassCtx ctx = {.tmp = arena_new(), .target = b->t, .verify = true, .options = &direct};
    static const char *const pass[] = {"expand", "fuse", "layout", "schedule", "memplan"};
    graph_toposort(b->g);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(b->g, &ctx, pass[i]));
    params_place(b->g->params);
    arena_free(ctx.tmp);
}

/* ---- numbers ---- */

static void fill(double *at, int64_t n, RefInput kind, int64_t limit, bool whole, double reach,
                 uint32_t number) {
    if (kind == REF_CLASS || kind == REF_SWITCH)
        ref_fill_int(at, n, 0, (int)limit - 1, number);
    else if (kind == REF_MASK)
        ref_fill_int(at, n, 0, 1, number);
    else if (kind == REF_FIXED || kind == REF_POSITIVE)
        ref_fill_positive(at, n, number);
    else if (whole)
        ref_fill_int(at, n, -5, 5, number);
    else
        ref_fill_distinct(at, n, reach, number);
    for (int64_t i = 0; i < n; i++)
        at[i] = (double)(float)at[i];
}

static double *filled(Arena *keep, const Shape *s, int64_t n, RefInput kind, const Build *b,
                      bool whole, uint32_t number) {
    int64_t count = shape_elems(s) * n;
    double *at = arena_array(keep, count, sizeof *at);
    fill(at, count, kind, b->c.limit, whole, 1.5, number);
    return at;
}

/* Runs one compiled case for a batch of n. */
static int run_case(const Build *b, const Compiled *c, int64_t n, bool whole,
                    const char *what) {
    Arena *keep = arena_new();
    const Graph *g = b->g;
    int32_t labels[8 * LABELS] = {0};
    double drawn[8 * LABELS];
    uint32_t number = 17;
    RefRun r = {.g = g, .n = n, .lr = 0.05, .momentum = 0.9, .decay = 0.01, .step = 3,
                .seed = 0x123456789abcdef};
    if (whole)
        r.lr = 2, r.momentum = 1, r.decay = 4;
    double **param = arena_array(keep, g->params->count + 1, sizeof *param);
    double **state = arena_array(keep, g->params->count + 1, sizeof *state);
    double **seeds = arena_array(keep, g->nvalue, sizeof *seeds);
    for (int p = 0; p < g->params->count; p++) {
        RefInput kind = b->param_kind[p] == REF_FIXED ? REF_FIXED : REF_WEIGHT;
        param[p] = filled(keep, &g->params->at[p].shape, 1, kind, b, whole, number++);
        kind = graph_n(g, 1)->op == OP_SDLM ? REF_FIXED : REF_WEIGHT; /* curvatures are positive */
        state[p] = filled(keep, &g->params->at[p].shape, 1, kind, b, whole, number++);
    }
    for (int i = 0; i < b->nseeds; i++)
        seeds[b->seed[i]] = filled(keep, &graph_v(g, b->seed[i])->shape, n, b->kind[i], b, whole,
                                   number++);
    if (b->has_image)
        r.input[0] = filled(keep, &b->c.in[0], n, REF_DATA, b, whole, number++);
    if (b->c.limit > 0) {
        int64_t count = n;
        for (int i = 0; i < b->c.nin; i++)
            count *= b->c.kind[i] == REF_CLASS ? shape_elems(&b->c.in[i]) : 1;
        ref_fill_int(drawn, count, 0, (int)b->c.limit - 1, number);
        for (int64_t i = 0; i < count; i++)
            labels[i] = (int32_t)drawn[i];
        r.label[0] = labels;
    }
    r.param = param;
    r.state = state;
    Check check = {.data = &r, .seed_at = seeds, .local = 1, .exact = whole,
                   .what = what};
    int failures = compiled_check(c, &check);
    arena_free(keep);
    return failures;
}

/* ---- the walk ---- */

/* Does integer arithmetic stay exact in this operator? */
static bool exact_op(int op, const RefCase *c) {
    if (c->rounds)
        return false;
    switch (op) {
    case OP_AVGPOOL: case OP_AVGPOOL_BWD: {
        const PoolAttrs *a = c->attrs;
        bool pad = a->pad[0] || a->pad[1] || a->pad[2] || a->pad[3];
        return pow2(a->kernel[0] * a->kernel[1]) && !pad && a->round != POOL_ROUND_CEIL;
    }
    case OP_LRN: case OP_LRN_BWD: case OP_LCN: case OP_LCN_BWD:
    case OP_TANH: case OP_TANH_BWD: case OP_STANH: case OP_STANH_BWD:
    case OP_SIGMOID: case OP_SIGMOID_BWD: case OP_DROPOUT: case OP_DROPOUT_BWD:
    case OP_SOFTMAX: case OP_SOFTMAX_BWD: case OP_CROSS_ENTROPY: case OP_CROSS_ENTROPY_BWD:
    case OP_BN: case OP_INSTANCENORM: case OP_MOMENTS: case OP_BN_COMBINE: case OP_BN_SCALE:
    case OP_BN_RUNNING: case OP_BN_BWD_SUMS: case OP_BN_BWD_COEF:
    case OP_MSE: case OP_MSE_BWD: case OP_LENET_MAP: case OP_LENET_MAP_BWD:
        return false;
    default:
        return true;
    }
}

static int64_t cases_run, runs;

/* All cases of one operator on one target, in one module. */
static void run_op(int op, const Target *t) {
    static const int64_t batch[] = {1, 2, 5};
    Arena *keep = arena_new();
    Build *b = arena_array(keep, CASES, sizeof *b);
    Compiled *c = arena_array(keep, CASES, sizeof *c);
    Emit *e = compiled_begin(keep, t);
    int count = 0;
    /* transposed weights exist for those who read them */
    int as = op == OP_TRANSPOSE_WEIGHTS ? OP_CONV2D_BWD_DATA : op;
    for (int i = 0; i < 2 * ref_case_count(op) && count < CASES; i++) {
        RefCase rc = ref_case(keep, as, i / 2);
        bool image = rc.kind[0] == REF_DATA && rc.in[0].rank == 3 && as != OP_LOAD_INPUT && as != OP_LOAD_SQUARE;
        if (i % 2 && !image)
            continue;
        b[count] = (Build){.keep = keep, .t = t, .c = rc, .loaded = i % 2 == 1};
        build_case(&b[count], as);
        plan(&b[count]);
        c[count] = compiled_add(e, b[count].g, arena_printf(keep, "case%d", count));
        count++;
    }
    bool linked = compiled_link(e, c, count, 2);
    CU_ASSERT_TRUE(linked);
    for (int i = 0; linked && i < count; i++)
        for (int k = 0; k < 3; k++)
            for (int whole = 0; whole <= exact_op(op, &b[i].c); whole++) {
                char what[160];
                snprintf(what, sizeof what, "%s \"%s\" on %s, %lld images%s%s", op_name[op],
                         b[i].c.what, t->name, (long long)batch[k], whole ? ", integers" : "",
                         b[i].loaded ? ", loaded" : "");
                CU_ASSERT_EQUAL(run_case(&b[i], &c[i], batch[k], whole, what), 0);
                runs++;
            }
    cases_run += count;
    emit_free(e);
    arena_free(keep);
}

static void every_operator(void) {
    const char *only = getenv("NETC_TEST_OP"); /* for debugging */
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        CU_ASSERT_TRUE(ref_case_count(op) >= 8);
        if (ref_case_count(op) < 8)
            printf("  operator '%s' has %d cases\n", op_name[op], ref_case_count(op));
        if (only && strcmp(only, op_name[op]) != 0)
            continue;
        for (int i = 0; targets[i]; i++) {
            Arena *keep = arena_new();
            Target t;
            if (compiled_target(keep, targets[i], &t))
                run_op(op, &t);
            arena_free(keep);
        }
    }
    printf("  %lld compiled cases, %lld runs\n", (long long)cases_run, (long long)runs);
}

SUITE_MAIN(TEST(every_operator))
