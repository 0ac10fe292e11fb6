/* test_lanes.c: block kernels (passes/lanes.c) against the double-precision reference.
 *
 * Random networks and LeNet-5 of 1998, forward and one step of training, on blocks of 16, 8 and 4
 * lanes, with batches that fill no block, one, several, and several and a part.  The same bits must
 * come out however the tasks are dealt out and whatever the slabs held before.
 * ctest-labels: kernels
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ir/lanes.h"
#include "nets.h"
#include "ops/attrs.h"
#include "random_net.h"
#include "ref_cases.h"
#include "suite.h"

static const char *const targets[] = {"native", "x86-64-v4", "x86-64-v3", "x86-64-v2"};
static const char *const programs[] = {"forward", "train"};
static const char *const entries[] = {"forward", "step"};

static int blocks_made;

/* ---- comparing ---- */

static int far(const char *what, const char *name, const double *got, const double *want,
               int64_t n, double bound) {
    double most = 1e-3;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(want[i]))
            most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : !(fabs(got[i] - want[i]) <= bound * most)) {
            printf("  %s: %s [%lld] is %.9g, should be %.9g\n", what, name, (long long)i, got[i],
                   want[i]);
            return 1;
        }
    return 0;
}

static int check_kept(const Slabs *a, const Slabs *b, const RefRun *r, const char *what) {
    const Graph *g = r->g;
    int bad = 0;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind != VK_RESULT || x->same_as || !x->keep)
            continue;
        int64_t n = ref_value_elems(r, v);
        double *one = calloc((size_t)n, sizeof *one), *two = calloc((size_t)n, sizeof *two);
        if (!one || !two)
            abort();
        if (slabs_read(a, v, one) || slabs_read(b, v, two))
            bad += 1 + 0 * printf("  %s: padding of %s is not zero\n", what, x->name);
        if (memcmp(one, two, (size_t)n * sizeof *one) != 0)
            bad += 1 + 0 * printf("  %s: %s has other bits when tasks are split\n", what, x->name);
        bad += far(what, x->name ? x->name : "?", one, r->value[v], n, 3e-5);
        free(one), free(two);
    }
    return bad;
}

static int check_updates(const Slabs *a, const Slabs *b, const RefRun *r, const char *what) {
    const Graph *g = r->g;
    int bad = 0;
    bool kink = near_tie(g, r->value, r->n);
    if (memcmp(a->param.at, b->param.at, (size_t)a->param.bytes) != 0 ||
        memcmp(a->state.at, b->state.at, (size_t)a->state.bytes) != 0)
        bad += 1 + 0 * printf("  %s: other weights when tasks are split\n", what);
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        bool state = x->kind == VK_STATE;
        if ((x->kind != VK_PARAM && !state) || !r->new_param[x->slot])
            continue;
        const Param *p = &g->params->at[x->slot];
        int64_t n = shape_elems(&p->shape);
        double *got = calloc((size_t)n, sizeof *got);
        if (!got)
            abort();
        if (slabs_read(a, v, got))
            bad += 1 + 0 * printf("  %s: padding of %s is not zero\n", what, p->name);
        if (!kink)
            bad += far(what, p->name, got, state ? r->new_state[x->slot] : r->new_param[x->slot],
                       n, 2e-4);
        free(got);
    }
    return bad;
}

/* The entry on two slabs, tasks dealt out differently, against the reference. */
static int check_run(const Compiled *c, RefRun *r, const char *entry, const char *what) {
    int bad = 0;
    Slabs a = slabs_new(c->g, r, r->n), b = slabs_new(c->g, r, r->n + 3);
    if (!ref_run(r)) {
        printf("  %s: %s\n", what, r->error);
        return 1;
    }
    for (int i = 0; i < c->g->nentries; i++) {
        const Entry *e = &c->g->entry[i];
        for (int k = e->first; k < e->first + e->count && strcmp(e->name, entry) == 0; k++) {
            slabs_run(&a, c, k, 1, false);
            slabs_run(&b, c, k, r->n > 4 ? 3 : 2, true);
        }
    }
    bad += check_kept(&a, &b, r, what);
    bad += check_updates(&a, &b, r, what);
    slabs_free(&a);
    slabs_free(&b);
    ref_run_free(r);
    return bad;
}

static int block_winograd(const Lanes *l) {
    int n = 0;
    for (int i = 0; l && i < l->nsteps; i++)
        n += l->step[i].winograd > 0;
    return n;
}

static bool direct_only(const Graph *g) {
    for (int k = 0; k < g->nkernels; k++)
        if (g->kernels[k].winograd || block_winograd(g->kernels[k].lanes))
            return false;
    return true;
}

/* A few images go another way and must not come to other results for it. */
static int same_as_few(const Compiled *c, RefRun *r, const char *what) {
    const Graph *g = c->g;
    Slabs a = slabs_new(g, r, r->n), b = slabs_new(g, r, r->n);
    int bad = 0;
    slabs_entry(&a, c, "forward");
    slabs_entry(&b, c, "forward_few");
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->kind != VK_RESULT || x->same_as || !x->keep)
            continue;
        int64_t n = shape_elems(&x->shape) * r->n;
        double *one = calloc((size_t)n, sizeof *one), *two = calloc((size_t)n, sizeof *two);
        if (!one || !two)
            abort();
        slabs_read(&a, v, one);
        slabs_read(&b, v, two);
        for (int64_t i = 0; i < n; i++)
            if (one[i] != two[i]) {
                printf("  %s: %s [%lld] is %.9g, with few images %.9g\n", what, x->name,
                       (long long)i, one[i], two[i]);
                bad++;
                break;
            }
        free(one), free(two);
    }
    slabs_free(&a);
    slabs_free(&b);
    return bad;
}

/* Cells of the last image that are NaN: what the reference makes NaN is NaN, and nothing else. */
static int check_nan(const Compiled *c, RefRun *r, double *image, const char *what) {
    const Graph *g = r->g;
    int64_t cells = 0;
    for (ValueId v = 1; v < g->nvalue && !cells; v++)
        if (graph_v(g, v)->kind == VK_INPUT)
            cells = shape_elems(&graph_v(g, v)->shape);
    for (int64_t i = cells / 2; i < cells; i += 7)
        image[(r->n - 1) * cells + i] = NAN;
    return check_run(c, r, "forward", what);
}

static bool has_block(const Graph *g) {
    for (int k = 0; k < g->nkernels; k++)
        if (g->kernels[k].lanes)
            return true;
    return false;
}

/* ---- random networks ---- */

static int run_seed(uint32_t seed, const char *name) {
    static const int64_t batch[] = {1, 5, 16, 17, 3, 33, 8, 70};
    Arena *keep = arena_new(), *tmp = arena_new();
    Target target;
    ParamList params = {0};
    RandomNet net[2];
    Compiled c[2];
    PlanOptions options = {.force = "lanes"};
    char what[96];
    int bad = 0;
    if (!compiled_target(keep, name, &target))
        compiled_target(keep, "native", &target);
    for (int p = 0; p < 2; p++) {
        net[p] = random_net(keep, programs[p], &params, seed);
        net[p].ctx.tmp = tmp;
        net[p].ctx.target = &target;
        net[p].ctx.verify = true;
        net[p].ctx.options = &options;
        passes_run(net[p].g, &net[p].ctx);
    }
    params_place(&params);
    if (has_block(net[1].g)) {
        Emit *e = compiled_begin(keep, &target);
        for (int p = 0; p < 2; p++)
            c[p] = compiled_add(e, net[p].g, programs[p]);
        CU_ASSERT_TRUE_FATAL(compiled_link(e, c, 2, 1));
        int64_t n = batch[seed % 8];
        RandomData d = random_data(keep, &net[0], &params, n, seed + 1000);
        for (int p = 1; p >= 0; p--) { /* forward last: it spoils the image */
            RefRun r = {.g = net[p].g, .n = n, .input = {d.image}, .label = {d.label},
                        .param = d.param, .state = d.state, .lr = 0.125, .momentum = 0.875,
                        .decay = 0.0009765625, .seed = 77 * (seed + 1), .step = 11};
            snprintf(what, sizeof what, "seed %u, %s, %lld images, %s", seed, programs[p],
                     (long long)n, target.name);
            bad += check_run(&c[p], &r, entries[p], what);
            if (p == 0 && direct_only(net[p].g))
                bad += same_as_few(&c[p], &r, what);
            if (p == 0)
                bad += check_nan(&c[p], &r, d.image, what);
            blocks_made++;
        }
        emit_free(e);
    }
    arena_free(keep);
    arena_free(tmp);
    return bad;
}

/* NETC_TEST_SEED=17 runs this net alone. */
static void random_networks(void) {
    const char *from = getenv("NETC_TEST_SEED");
    uint32_t first = from ? (uint32_t)strtoul(from, NULL, 10) : 1;
    uint32_t last = from ? first : 150; /* two of three normalise over the batch: no block */
    int bad = 0;
    for (uint32_t seed = first; seed <= last; seed++)
        bad += run_seed(seed, targets[seed % 4]) != 0;
    CU_ASSERT_EQUAL(bad, 0);
    if (!from)
        CU_ASSERT_TRUE(blocks_made >= 40);
}

/* ---- several steps ---- */

typedef struct Trained {
    Arena *keep;
    Net net;
    Emit *e;
    Compiled c;
    Slabs slabs;
} Trained;

/* `steps` steps of a small LeNet on n images, planned with or without blocks. */
static Trained train(const char *target, const char *force, RefRun *r, int steps, int pieces) {
    static const PlanOptions direct = {.force = "direct"}, lanes = {.force = "lanes"};
    Trained t = {.keep = arena_new()};
    Target *to = ARENA_NEW(t.keep, Target);
    if (!compiled_target(t.keep, target, to))
        compiled_target(t.keep, "native", to);
    t.net = net_lenet("train", NULL);
    Graph *g = t.net.g;
    t.net.ctx.target = to;
    t.net.ctx.options = strcmp(force, "lanes") == 0 ? &lanes : &direct;
    t.net.ctx.verify = true;
    passes_run(g, &t.net.ctx);
    params_place(g->params);
    CU_ASSERT_EQUAL(has_block(g), strcmp(force, "lanes") == 0);
    t.e = compiled_begin(t.keep, to);
    t.c = compiled_add(t.e, g, "train");
    CU_ASSERT_TRUE_FATAL(compiled_link(t.e, &t.c, 1, 1));
    r->g = g;
    double **param = arena_array(t.keep, g->params->count + 1, sizeof *param);
    for (int i = 0; i < g->params->count; i++) {
        int64_t count = shape_elems(&g->params->at[i].shape);
        param[i] = arena_array(t.keep, count, sizeof(double));
        ref_fill_distinct(param[i], count, 0.2, 5 + (uint32_t)i);
    }
    r->param = param;
    t.slabs = slabs_new(g, r, r->n);
    for (int s = 0; s < steps; s++) {
        t.slabs.frame.step = s;
        for (int k = 0; k < g->nkernels; k++)
            slabs_run(&t.slabs, &t.c, k, pieces, s % 2 == 1);
    }
    return t;
}

static void finish(Trained *t) {
    slabs_free(&t->slabs);
    emit_free(t->e);
    net_free(&t->net);
    arena_free(t->keep);
}

/* Largest difference of a parameter, as a share of the largest number in it. */
static double apart(const Trained *a, const Trained *b) {
    double worst = 0;
    for (ValueId v = 1; v < a->net.g->nvalue; v++) {
        const Value *x = graph_v(a->net.g, v);
        if (x->kind != VK_PARAM)
            continue;
        int64_t n = shape_elems(&x->shape);
        double *one = calloc((size_t)n, sizeof *one), *two = calloc((size_t)n, sizeof *two);
        double most = 1e-9, off = 0;
        if (!one || !two)
            abort();
        slabs_read(&a->slabs, v, one);
        slabs_read(&b->slabs, graph_find(b->net.g, x->name), two);
        for (int64_t i = 0; i < n; i++) {
            most = fmax(most, fabs(one[i]));
            off = fmax(off, fabs(one[i] - two[i]));
        }
        worst = fmax(worst, off / most);
        free(one), free(two);
    }
    return worst;
}

/* Six steps with momentum and decay: the ordinary plan's weights up to rounding, and the same bits
 * for one thread, two and three. */
static void several_steps(void) {
    static const int64_t batch[] = {1, 5, 16, 17, 64};
    for (int i = 0; i < 5; i++) {
        int64_t n = batch[i], cells;
        Net shape = net_lenet("train", NULL);
        cells = shape_elems(&graph_v(shape.g, shape.image)->shape) * n;
        net_free(&shape);
        double *image = calloc((size_t)cells, sizeof *image);
        int32_t *label = calloc((size_t)n, sizeof *label);
        if (!image || !label)
            abort();
        ref_fill_distinct(image, cells, 1, 3);
        for (int64_t k = 0; k < n; k++)
            label[k] = (int32_t)(k % 5);
        RefRun r = {.n = n, .input = {image}, .label = {label}, .lr = 0.02, .momentum = 0.9,
                    .decay = 1e-3, .seed = 7};
        const char *target = targets[i % 4];
        Trained direct = train(target, "direct", &r, 6, 1), lanes = train(target, "lanes", &r, 6, 1);
        Trained two = train(target, "lanes", &r, 6, 2), three = train(target, "lanes", &r, 6, 3);
        CU_ASSERT_TRUE(apart(&direct, &lanes) < 2e-4);
        size_t bytes = (size_t)lanes.slabs.param.bytes;
        CU_ASSERT_EQUAL(memcmp(lanes.slabs.param.at, two.slabs.param.at, bytes), 0);
        CU_ASSERT_EQUAL(memcmp(lanes.slabs.param.at, three.slabs.param.at, bytes), 0);
        finish(&direct), finish(&lanes), finish(&two), finish(&three);
        free(image), free(label);
    }
}

/* ---- Winograd inside a block ---- */

typedef struct WinoCase {
    int64_t c, size, maps, kernel, pad;
    int steps; /* that go by Winograd: forward and backward of the second layer, weights of both */
    int64_t n;
} WinoCase;

/* Root mean square of got - want, as a share of want's. */
static double rms(const double *got, const double *want, int64_t n) {
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        off += (got[i] - want[i]) * (got[i] - want[i]);
        all += want[i] * want[i];
    }
    return sqrt(off / fmax(all, 1e-300));
}

/* The largest of such shares among kept values and momenta, which begin as the gradients. */
static double worst_rms(const Slabs *s, const RefRun *r) {
    const Graph *g = r->g;
    double worst = 0;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        bool state = x->kind == VK_STATE && r->new_state[x->slot];
        if (!state && (x->kind != VK_RESULT || x->same_as || !x->keep))
            continue;
        int64_t n = state ? shape_elems(&x->shape) : ref_value_elems(r, v);
        double *got = calloc((size_t)n, sizeof *got);
        if (!got)
            abort();
        slabs_read(s, v, got);
        worst = fmax(worst, rms(got, state ? r->new_state[x->slot] : r->value[v], n));
        free(got);
    }
    return worst;
}

/* conv, conv, dense: one step on random numbers; returns how many steps went by Winograd. */
static int wino_net(const WinoCase *c, const char *target, bool exact, double *worst) {
    const PlanOptions options = {.force = "lanes", .exact = exact};
    Target to;
    Net net = net_new("train", NULL, c->c, c->size, c->size);
    Graph *g = net.g;
    if (!compiled_target(net.keep, target, &to))
        compiled_target(net.keep, "native", &to);
    ValueId a = net_conv(&net, "a", net.image, c->maps, c->kernel, 1, c->pad);
    ValueId b = net_conv(&net, "b", a, c->maps + 2, c->kernel, 1, c->pad);
    net_end(&net, net_dense(&net, "f", b, 10));
    net.ctx.target = &to;
    net.ctx.options = &options;
    passes_run(g, &net.ctx);
    params_place(g->params);
    CU_ASSERT_TRUE_FATAL(has_block(g));
    Emit *e = compiled_begin(net.keep, &to);
    Compiled code = compiled_add(e, g, "train");
    CU_ASSERT_TRUE_FATAL(compiled_link(e, &code, 1, 1));
    int64_t cells = c->c * c->size * c->size * c->n;
    double *image = arena_array(net.keep, cells, sizeof *image);
    int32_t *label = arena_array(net.keep, c->n, sizeof *label);
    double **param = arena_array(net.keep, g->params->count + 1, sizeof *param);
    ref_fill_distinct(image, cells, 1, 3);
    for (int64_t i = 0; i < c->n; i++)
        label[i] = (int32_t)(i % 10);
    for (int i = 0; i < g->params->count; i++) {
        int64_t count = shape_elems(&g->params->at[i].shape);
        param[i] = arena_array(net.keep, count, sizeof(double));
        ref_fill_distinct(param[i], count, 0.1, 5 + (uint32_t)i);
    }
    RefRun r = {.g = g,
                .n = c->n,
                .input = {image},
                .label = {label},
                .param = param,
                .lr = 0.02,
                .momentum = 0.9,
                .seed = 7};
    Slabs slabs = slabs_new(g, &r, r.n);
    CU_ASSERT_TRUE_FATAL(ref_run(&r));
    for (int k = 0; k < g->nkernels; k++)
        slabs_run(&slabs, &code, k, 2, true);
    *worst = fmax(*worst, worst_rms(&slabs, &r));
    int steps = 0;
    for (int k = 0; k < g->nkernels; k++)
        steps += block_winograd(g->kernels[k].lanes);
    slabs_free(&slabs);
    ref_run_free(&r);
    emit_free(e);
    net_free(&net);
    return steps;
}

/* Against double precision: scores, losses and all gradients stay within 5e-6 rms of what they are
 * (direct sums: within 2e-6), and --exact keeps Winograd out. */
static void winograd(void) {
    static const WinoCase cases[] = {
        {6, 14, 16, 5, 0, 5, 16}, {8, 12, 8, 5, 2, 5, 5}, {4, 10, 12, 3, 1, 4, 9},
        {8, 16, 9, 3, 1, 5, 3},   {6, 12, 8, 3, 2, 4, 8}, {8, 11, 8, 5, 2, 0, 8},
    };
    double worst = 0, direct = 0;
    for (int i = 0; i < 12; i++) { /* each on two targets, one of which is this machine */
        const char *target = targets[i < 6 ? 0 : 1 + i % 3];
        int steps = wino_net(&cases[i % 6], target, false, &worst);
        if (steps != cases[i % 6].steps)
            printf("  case %d: %d steps by Winograd instead of %d\n", i % 6, steps,
                   cases[i % 6].steps);
        CU_ASSERT_EQUAL(steps, cases[i % 6].steps);
        CU_ASSERT_EQUAL(wino_net(&cases[i % 6], target, true, &direct), 0);
    }
    printf(" rms %.1e (direct %.1e) ", worst, direct);
    CU_ASSERT_TRUE(worst < 5e-6);
    CU_ASSERT_TRUE(direct < 2e-6);
}

/* ---- when ---- */

/* Nothing changes unless somebody asks; then small networks get blocks and large ones do not. */
static void when(void) {
    Arena *keep = arena_new();
    static const PlanOptions direct = {.force = "direct"};
    Target target;
    CU_ASSERT_TRUE(compiled_target(keep, "x86-64-v2", &target));
    for (int way = 0; way < 4; way++) {
        Net n = way == 3 ? net_new("forward", NULL, 3, 224, 224) : net_tanh("forward", NULL);
        if (way == 3)
            net_end(&n, net_dense(&n, "f", net_conv(&n, "c", n.image, 64, 3, 1, 1), 10));
        n.ctx.target = &target;
        n.ctx.lanes = way > 0;
        n.ctx.options = way == 2 ? &direct : NULL;
        passes_run(n.g, &n.ctx);
        CU_ASSERT_EQUAL(has_block(n.g), way == 1);
        CU_ASSERT_EQUAL(n.g->nentries, way == 1 ? 2 : 1);
        net_free(&n);
    }
    arena_free(keep);
}

SUITE_MAIN(TEST(random_networks), TEST(several_steps), TEST(winograd), TEST(when))
