/* test_optim.c: the optimizers' kernels against PyTorch's (optim_vectors.h), several steps with the
 * runtime's own scalars; DessiLBI, which PyTorch has not, against its definition; other cuts of the tasks give the same bits; what the second number of the
 * state holds; gradients that are not finite show.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiled.h"
#include "ops/attrs.h"
#include "passes/passes.h"
#include "ref_cases.h"
#include "rt_optim.h"
#include "targets.h"

#include "optim_vectors.h"

enum { TORCH = sizeof vectors / sizeof *vectors, NVECTORS = TORCH + 3 };
static const double kappa = 1.5; /* slbi */
static Vector all[NVECTORS];

/* The weight closest to z where lambda |gamma| is to be paid: the best of three candidates. */
static double shrunk(double z, double lambda) {
    double best = 0, least = z * z / 2;
    for (int side = -1; side <= 1; side += 2) {
        double at = z + side * lambda, cost = (at - z) * (at - z) / 2 + lambda * fabs(at);
        if (cost < least && side * at < 0) {
            best = at;
            least = cost;
        }
    }
    return best;
}

/* The iteration as the paper has it: gradients of L + |w - gamma|^2 / (2 nu) in w and in gamma, z goes
 * along the second, gamma is what is nearest to z.  The first parameter alone has a gamma. */
static void follow(Vector *v, double nu) {
    double z[ALL] = {0}, gamma[ALL] = {0}, speed[ALL] = {0};
    memcpy(v->want, start, sizeof start);
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < ALL; i++) {
            double w = v->want[i], g = grads[step][i] + v->decay * w;
            if (v->clip == RT_CLIP_VALUE)
                g = fmax(-v->clip_at, fmin(v->clip_at, grads[step][i])) + v->decay * w;
            speed[i] = v->momentum * speed[i] + g;
            double in_w = (w - gamma[i]) / nu, in_gamma = -in_w;
            v->want[i] -= v->lr * kappa * (speed[i] + (i < FIRST ? in_w : 0));
            z[i] -= v->lr * in_gamma;
            gamma[i] = kappa * shrunk(z[i], v->eps);
        }
}

static void all_vectors(void) {
    static const Vector split[] = {
        {.name = "slbi", .optimizer = RT_SLBI, .lr = 0.05, .second = 0.5, .eps = 0.02},
        {.name = "slbi_momentum", .optimizer = RT_SLBI, .lr = 0.03, .momentum = 0.9, .second = -1,
         .decay = 0.01, .eps = 0.05},
        {.name = "slbi_value", .optimizer = RT_SLBI, .lr = 0.1, .second = 0.75, .eps = 0.01,
         .clip = RT_CLIP_VALUE, .clip_at = 0.5}};
    memcpy(all, vectors, sizeof vectors);
    memcpy(all + TORCH, split, sizeof split);
    for (int i = TORCH; i < NVECTORS; i++)
        follow(&all[i], 1 / (1 - all[i].second));
}

typedef struct Rig {
    Graph *g;
    ParamList params;
    ValueId w[2], grad[2];
} Rig;

static void build(Rig *r, Arena *keep, const Vector *v) {
    static const int64_t size[2] = {FIRST, SECOND};
    static const int op[] = {[RT_SGD] = OP_SGD, [RT_ADAM] = OP_ADAM, [RT_RMSPROP] = OP_RMSPROP,
                             [RT_SLBI] = OP_SLBI};
    Graph *g = r->g = graph_new(keep, "case", v->name, &r->params);
    ValueId sums[2], factor = 0;
    for (int i = 0; i < 2; i++) {
        r->w[i] = ref_param(g, i ? "w2" : "w1", (Shape){1, {size[i]}});
        r->grad[i] = ref_param(g, i ? "g2" : "g1", (Shape){1, {size[i]}});
        sums[i] = v->clip == RT_CLIP_NORM ? graph_op(g, OP_SQUARE_SUMS, NULL, 1, &r->grad[i]) : 0;
    }
    if (sums[0])
        factor = graph_op(g, OP_CLIP_FACTOR, &(ClipFactorAttrs){false}, 2, sums);
    for (int i = 0; i < 2; i++) {
        int slot = graph_v(g, r->w[i])->slot;
        SgdAttrs a = {.param = slot,
                      .lr_mult = 1,
                      .decay_mult = 1,
                      .eps = v->eps,
                      .nesterov = v->nesterov,
                      .decoupled = v->decoupled,
                      .clip = v->clip == RT_CLIP_VALUE,
                      .coupled = v->optimizer == RT_SLBI && i == 0};
        ValueId state = graph_input(g, VK_STATE, DT_F32, (Shape){1, {size[i]}}, false, slot, NULL);
        ValueId in[4] = {r->w[i], r->grad[i], state, factor};
        graph_node(g, op[v->optimizer], &a, factor ? 4 : 3, in);
    }
    r->params.states = op_def[op[v->optimizer]]->states;
}

static void plan(Rig *r, const Target *t) {
    static const char *const pass[] = {"fuse", "layout", "schedule", "memplan"};
    PassCtx ctx = {.tmp = arena_new(), .target = t, .verify = true};
    graph_toposort(r->g);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE_FATAL(pass_run_one(r->g, &ctx, pass[i]));
    params_place(r->g->params);
    arena_free(ctx.tmp);
}

/* The frame's scalars of step number `step`, as the runtime makes them. */
static void scalars(rt_frame *f, const Vector *v, int step) {
    rt_model model = {.train = {.optimizer = v->optimizer, .eps = v->eps, .kappa = kappa}};
    netrt m = {.model = &model,
               .lr = v->lr,
               .momentum = v->momentum,
               .second = v->second,
               .decay = v->decay,
               .clip = v->clip ? v->clip_at : HUGE_VAL};
    m.frame.step = step;
    rt_optim_scalars(&m);
    memcpy(&f->scalar[RT_SCALAR_LR], &m.frame.scalar[RT_SCALAR_LR],
           (RT_SCALAR_COUNT - RT_SCALAR_LR) * sizeof(float));
}

static void run(const Rig *r, const Compiled *c, const Vector *v, int pieces, double *out) {
    double *zero[4] = {NULL}, *at[4];
    for (int i = 0; i < 4; i++)
        zero[i] = at[i] = calloc(ALL, sizeof **at);
    RefRun data = {.g = r->g, .n = 1, .param = at, .state = NULL};
    Slabs s = slabs_new(r->g, &data, 1);
    slabs_write(&s, r->w[0], start);
    slabs_write(&s, r->w[1], start + FIRST);
    for (int step = 0; step < STEPS; step++) {
        slabs_write(&s, r->grad[0], grads[step]);
        slabs_write(&s, r->grad[1], grads[step] + FIRST);
        scalars(&s.frame, v, step);
        for (int k = 0; k < r->g->nkernels; k++)
            slabs_run(&s, c, k, pieces, pieces > 1);
    }
    CU_ASSERT_EQUAL(slabs_read(&s, r->w[0], out), 0);
    CU_ASSERT_EQUAL(slabs_read(&s, r->w[1], out + FIRST), 0);
    slabs_free(&s);
    for (int i = 0; i < 4; i++)
        free(zero[i]);
}

static void run_target(const char *name) {
    Arena *keep = arena_new();
    Rig rig[NVECTORS];
    Compiled made[NVECTORS];
    Target t;
    if (!target_or_skip(keep, name, &t))
        return;
    all_vectors();
    memset(rig, 0, sizeof rig);
    Emit *e = compiled_begin(keep, &t);
    for (int i = 0; i < NVECTORS; i++) {
        build(&rig[i], keep, &all[i]);
        plan(&rig[i], &t);
        made[i] = compiled_add(e, rig[i].g, all[i].name);
    }
    CU_ASSERT_TRUE_FATAL(compiled_link(e, made, NVECTORS, 2));
    for (int i = 0; i < NVECTORS; i++) {
        double got[ALL], again[ALL], worst = 0;
        run(&rig[i], &made[i], &all[i], 1, got);
        run(&rig[i], &made[i], &all[i], 3, again);
        CU_ASSERT_EQUAL(memcmp(got, again, sizeof got), 0);
        for (int k = 0; k < ALL; k++)
            worst = fmax(worst, fabs(got[k] - all[i].want[k]));
        if (!(worst < 1e-6))
            printf("  %s on %s: %.3g from what it should be\n", all[i].name, t.name, worst);
        CU_ASSERT(worst < 1e-6);
    }
    emit_free(e);
    arena_free(keep);
}

ON_TARGETS(run_target)

/* A norm that is not finite makes weights that are not: the run must see it. */
static void not_finite(void) {
    Arena *keep = arena_new();
    Rig r = {0};
    Compiled made;
    Target t;
    CU_ASSERT_TRUE_FATAL(compiled_target(keep, "native", &t));
    Emit *e = compiled_begin(keep, &t);
    const Vector *v = &vectors[TORCH - 1];
    CU_ASSERT_EQUAL_FATAL(v->clip, RT_CLIP_NORM);
    build(&r, keep, v);
    plan(&r, &t);
    made = compiled_add(e, r.g, "case");
    CU_ASSERT_TRUE_FATAL(compiled_link(e, &made, 1, 1));
    for (int kind = 0; kind < 2; kind++) {
        double *at[4], bad[FIRST] = {0}, w[FIRST];
        for (int i = 0; i < 4; i++)
            at[i] = arena_array(keep, ALL, sizeof **at);
        bad[3] = kind ? NAN : INFINITY;
        RefRun data = {.g = r.g, .n = 1, .param = at};
        Slabs s = slabs_new(r.g, &data, 1);
        slabs_write(&s, r.grad[0], bad);
        scalars(&s.frame, v, 0);
        for (int k = 0; k < r.g->nkernels; k++)
            slabs_run(&s, &made, k, 1, false);
        slabs_read(&s, r.w[0], w);
        CU_ASSERT(!isfinite(w[3]));
        slabs_free(&s);
    }
    emit_free(e);
    arena_free(keep);
}

/* A matrix is pruned where |z| <= lambda; a vector is left alone. */
static void pruned(void) {
    static float w[32], z[64];
    rt_param param[2] = {{.rank = 2, .offset = 0, .state_offset = 0, .bytes = 24, .trainable = 6},
                         {.rank = 1, .offset = 64, .state_offset = 128, .bytes = 8, .trainable = 2}};
    rt_model model = {.train = {.optimizer = RT_SLBI, .eps = 0.5}, .nparams = 2, .param = param};
    netrt m = {.model = &model, .param = (char *)w, .state = (char *)z};
    for (int i = 0; i < 32; i++)
        w[i] = 1;
    z[0] = 0.75f, z[1] = -0.75f, z[2] = 0.5f, z[3] = -0.25f;
    CU_ASSERT_DOUBLE_EQUAL(rt_optim_kept(&m), 2.0 / 6, 1e-15);
    rt_optim_prune(&m);
    for (int i = 0; i < 32; i++)
        CU_ASSERT(w[i] == (i < 2 || i > 5 ? 1.0f : 0.0f));
    model.train.optimizer = RT_SGD;
    CU_ASSERT(isnan(rt_optim_kept(&m)));
}

/* Three filters of four numbers in blocks of two filters: |z| = 5, 0.5 and 2 with lambda = 1/2, so 1 for a
 * filter, kappa = 1.5; a matrix goes number by number, a vector has no gamma. */
static void filters(void) {
    static float w[64], at[192];
    static double room[3];
    static const rt_layout tall = {4, 3, {3, 1, 2, 2},
                                   {{.dim = 0, .extent = 2, .mult = 2}, {.dim = 3, .extent = 4, .mult = 1},
                                    {.dim = 0, .extent = 2, .mult = 1}}};
    rt_param param[3] = {{.rank = 4, .dim = {3, 1, 2, 2}, .layout = tall, .bytes = 64, .trainable = 12},
                         {.rank = 2, .dim = {2, 2}, .offset = 64, .state_offset = 192, .bytes = 16,
                          .trainable = 4},
                         {.rank = 1, .dim = {4}, .offset = 128, .state_offset = 384, .bytes = 16,
                          .trainable = 4}};
    rt_model model = {.train = {.optimizer = RT_SLBI_GROUPS, .eps = 0.5, .kappa = 1.5}, .nparams = 3,
                      .param = param};
    netrt m = {.model = &model, .param = (char *)w, .state = (char *)at, .filter = room};
    float *z = at, *gamma = at + 32, *matrix = at + 48;
    int64_t some, all;
    for (int i = 0; i < 64; i++)
        w[i] = 1;
    z[0] = 3, z[2] = 0, z[4] = -4, z[6] = 0;     /* filter 0: every second place of the first 8 */
    z[1] = 0.5f;                                 /* filter 1 */
    z[8] = z[10] = z[12] = 1, z[14] = -1;        /* filter 2; places 9, 11, .. would be filter 3's */
    matrix[0] = 3, matrix[1] = -1, matrix[2] = 0.5f, matrix[3] = 0;
    at[96] = 7;
    rt_optim_groups(&m);
    static const double want[16] = {3.6, 0, 0, 0, -4.8, 0, 0, 0, 0.75, 0, 0.75, 0, 0.75, 0, -0.75, 0};
    for (int i = 0; i < 16; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)gamma[i], want[i], 1e-6);
    CU_ASSERT(matrix[32] == 3.75f && matrix[33] == -0.75f && matrix[34] == 0 && matrix[35] == 0);
    CU_ASSERT(at[96] == 7 && at[128] == 0);
    rt_optim_filters(&m, &some, &all);
    CU_ASSERT(some == 2 && all == 3);
    CU_ASSERT_DOUBLE_EQUAL(rt_optim_kept(&m), 8.0 / 16, 1e-15);
    rt_optim_prune(&m);
    for (int i = 0; i < 16; i++)
        CU_ASSERT(w[i] == (want[i] != 0 ? 1.0f : 0.0f));
    CU_ASSERT(w[16] == 1 && w[17] == 1 && w[18] == 0 && w[32] == 1);
    model.train.optimizer = RT_SLBI;
    rt_optim_filters(&m, &some, &all);
    CU_ASSERT(some == 0 && all == 0);
}

SUITE_MAIN(TEST(native), TEST(avx2), TEST(sse), TEST(not_finite), TEST(pruned), TEST(filters))
