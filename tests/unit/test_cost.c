/* test_cost.c: the cost model's arithmetic, the choice between candidates, what is remembered of
 * measurements, and the measurement itself on a small network. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>

#include "codegen/tune.h"
#include "emit/machine.h"
#include "emit/target.h"
#include "ir/cost.h"
#include "nets.h"
#include "suite.h"

/* 4 lanes; round numbers: 1 GFLOP/s a thread, L2 10, L3 5 GB/s, memory 4, one thread 3 GB/s. */
static Target toy(int threads) {
    Target t = {.name = "toy", .vector = 4, .registers = 16, .l1 = 1 << 15, .l2 = 1 << 20,
                .l3 = 8 << 20};
    t.speed = (struct Speed){.flops = 1e9, .l2 = 10e9, .l3 = 5e9, .dram = 4e9, .dram_one = 3e9,
                             .threads = threads};
    return t;
}

static double above_start(const Target *t, Cost c) {
    Cost nothing = {.tasks = 1000};
    return cost_seconds(t, &c) - cost_seconds(t, &nothing);
}

#define NEAR(got, want) CU_ASSERT_DOUBLE_EQUAL(got, want, 1e-3 * (want))

static void roofline(void) {
    Target one = toy(1), four = toy(4);
    /* arithmetic, divided among threads that have work */
    NEAR(above_start(&one, (Cost){.flops = 1e9, .tasks = 100}), 1);
    NEAR(above_start(&four, (Cost){.flops = 1e9, .tasks = 100}), 0.25);
    NEAR(above_start(&four, (Cost){.flops = 1e9, .tasks = 2}), 0.5);
    NEAR(above_start(&four, (Cost){.flops = 1e9, .tasks = 5}), 0.4); /* one thread does two of 5 */
    NEAR(above_start(&one, (Cost){.flops = 1e9, .efficiency = 0.5, .tasks = 1}), 2);
    NEAR(above_start(&one, (Cost){.vector_ops = 1e8, .tasks = 1}), 0.8); /* 4 lanes, as FMAs */
    /* transfers: the slowest level rules, memory is shared */
    NEAR(above_start(&four, (Cost){.l2_bytes = 10e9, .l3_bytes = 10e9, .tasks = 4}), 0.5);
    NEAR(above_start(&four, (Cost){.dram_bytes = 8e9, .l3_bytes = 10e9, .tasks = 4}), 2);
    NEAR(above_start(&four, (Cost){.dram_bytes = 6e9, .tasks = 1}), 2); /* one thread's rate */
    NEAR(above_start(&four, (Cost){.flops = 16e9, .dram_bytes = 8e9, .tasks = 400}), 4);
    /* a target without speeds predicts nothing, and no NaN */
    Target none = {.name = "none", .vector = 4};
    CU_ASSERT_EQUAL(cost_seconds(&none, &(Cost){.flops = 1}), 0);
}

/* ---- choosing ---- */

typedef struct Choice {
    Net n;
    Target t;
    PlanOptions o;
    Kernel candidate[3], k;
    NodeId anchor;
} Choice;

static void choice_new(Choice *c) {
    static const char *const algorithm[] = {"direct", "winograd2", "winograd4"};
    static const double seconds[] = {3e-3, 1e-3, 2e-3};
    memset(c, 0, sizeof *c);
    c->n = net_lenet("forward", NULL);
    c->t = toy(2);
    c->n.g->options = &c->o;
    for (NodeId id = 1; id < c->n.g->nnode && !c->anchor; id++)
        if (graph_n(c->n.g, id)->op == OP_CONV2D)
            c->anchor = id;
    for (int i = 0; i < 3; i++)
        c->candidate[i] = (Kernel){.anchor = c->anchor,
                                   .name = "c1",
                                   .algorithm = algorithm[i],
                                   .why = "because",
                                   .tile = {.ow = 6, .oh = 1, .oc = 2, .rows = i},
                                   .tasks_per = 4,
                                   .tasks_block = 1,
                                   .seconds = seconds[i]};
}

static const char *choose(Choice *c) {
    c->k = c->candidate[0];
    plan_choose(c->n.g, &c->k, &c->t, c->candidate, 3);
    return c->k.algorithm;
}

/* What was not chosen, as text. */
static const char *others(const Kernel *k) {
    static char text[256];
    int at = 0;
    for (int i = 0; i < k->nrejected; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s%s%s %.3g ms", i ? ", " : "",
                       k->rejected[i].algorithm, k->rejected[i].other_sizes ? " in other sizes" : "",
                       1e3 * k->rejected[i].seconds);
    return text;
}

static void choosing(void) {
    Choice c;
    choice_new(&c);
    CU_ASSERT_STRING_EQUAL(choose(&c), "winograd2"); /* least time */
    CU_ASSERT_STRING_EQUAL(c.k.why, "because");
    CU_ASSERT_STRING_EQUAL(others(&c.k), "direct 3 ms, winograd4 2 ms");
    c.candidate[0].seconds = 1e-3;
    CU_ASSERT_STRING_EQUAL(choose(&c), "direct"); /* the first among equals */
    c.o.force = "winograd4";
    CU_ASSERT_STRING_EQUAL(choose(&c), "winograd4");
    c.o.force = "fft"; /* nobody is called so */
    CU_ASSERT_STRING_EQUAL(choose(&c), "direct");
    plan_choose(c.n.g, &c.k, &c.t, c.candidate, 1);
    CU_ASSERT_EQUAL(c.k.nrejected, 0);
    /* other sizes of the winner are one alternative */
    c.o.force = NULL;
    c.candidate[2].algorithm = "direct";
    CU_ASSERT_STRING_EQUAL(choose(&c), "direct");
    CU_ASSERT_STRING_EQUAL(others(&c.k), "winograd2 1 ms, direct in other sizes 2 ms");
    net_free(&c.n);
}

static void measured(void) {
    Choice c;
    choice_new(&c);
    Wisdom *w = wisdom_new(c.n.keep, "here");
    const char *key = plan_key(c.n.g, &c.candidate[0], &c.t, c.n.keep);
    c.o.wisdom = w;
    CU_ASSERT_STRING_EQUAL(choose(&c), "winograd2");
    wisdom_put(w, key, plan_candidate_name(&c.candidate[2], c.n.keep), "x");
    CU_ASSERT_STRING_EQUAL(choose(&c), "winograd4");
    CU_ASSERT_STRING_EQUAL(c.k.why, "measured best; because");
    wisdom_put(w, key, "strassen 1x1", "x"); /* a candidate of another netc */
    CU_ASSERT_STRING_EQUAL(choose(&c), "winograd2");
    CU_ASSERT_STRING_EQUAL(c.k.why, "because");
    /* the force of tests is stronger */
    wisdom_put(w, key, plan_candidate_name(&c.candidate[2], c.n.keep), "x");
    c.o.force = "direct";
    CU_ASSERT_STRING_EQUAL(choose(&c), "direct");
    net_free(&c.n);
}

/* Everything that changes the problem changes its key. */
static void keys(void) {
    Choice c;
    choice_new(&c);
    Kernel k = c.candidate[0];
    const char *key = plan_key(c.n.g, &k, &c.t, c.n.keep);
    CU_ASSERT_STRING_EQUAL(key, plan_key(c.n.g, &c.candidate[1], &c.t, c.n.keep));
    CU_ASSERT_PTR_NULL(strpbrk(key, "\t\n"));
    c.o.batch = 16;
    CU_ASSERT_STRING_NOT_EQUAL(key, plan_key(c.n.g, &k, &c.t, c.n.keep));
    c.o = (PlanOptions){.exact = true};
    CU_ASSERT_STRING_NOT_EQUAL(key, plan_key(c.n.g, &k, &c.t, c.n.keep));
    c.o = (PlanOptions){.bf16 = true};
    CU_ASSERT_STRING_NOT_EQUAL(key, plan_key(c.n.g, &k, &c.t, c.n.keep));
    c.o = (PlanOptions){.exact = false};
    CU_ASSERT_STRING_EQUAL(key, plan_key(c.n.g, &k, &c.t, c.n.keep));
    ((ConvAttrs *)graph_n(c.n.g, c.anchor)->attrs)->pad[0] += 1; /* same shapes, other padding */
    CU_ASSERT_STRING_NOT_EQUAL(key, plan_key(c.n.g, &k, &c.t, c.n.keep));
    for (int i = 1; i < 3; i++)
        CU_ASSERT_STRING_NOT_EQUAL(plan_candidate_name(&c.candidate[0], c.n.keep),
                                   plan_candidate_name(&c.candidate[i], c.n.keep));
    net_free(&c.n);
}

/* ---- what programs are told ---- */

static void other_batches(void) {
    Target t = toy(2);
    static const int batch[] = {1, 4, 64};
    for (int b = 0; b < 3; b++) {
        PlanOptions o = {.batch = batch[b]};
        Net n = net_lenet("train", NULL);
        n.ctx.target = &t;
        n.ctx.options = &o;
        CU_ASSERT_FATAL(passes_run(n.g, &n.ctx));
        for (int i = 0; i < n.g->nkernels; i++) {
            const Kernel *k = &n.g->kernels[i];
            double images = k->seconds_image * batch[b];
            CU_ASSERT(isfinite(k->seconds) && k->seconds > 0);
            CU_ASSERT(k->seconds_image > 0 && k->seconds_fixed >= 0);
            NEAR(images > k->seconds_fixed ? images : k->seconds_fixed, k->seconds);
        }
        net_free(&n);
    }
}

/* ---- wisdom as text ---- */

static char *wisdom_text(const Wisdom *w) {
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    wisdom_print(w, f);
    fclose(f);
    return text;
}

static void round_trip(void) {
    Arena *a = arena_new();
    Wisdom *w = wisdom_new(a, "here"), *other = wisdom_new(a, "there"), *back;
    int line;
    wisdom_put(w, "conv 1x2 {pad=1}", "direct 1", "direct 1 2 ms, winograd2 3 ms");
    wisdom_put(w, "dense 5", "gemm", "gemm 1 ms");
    wisdom_put(w, "dense 5", "dots", "dots 0.5 ms"); /* replaces */
    CU_ASSERT_EQUAL(wisdom_count(w), 2);
    char *text = wisdom_text(w);
    back = wisdom_new(a, "here");
    CU_ASSERT_EQUAL(wisdom_parse(back, text, &line), WISDOM_READ);
    CU_ASSERT_STRING_EQUAL(wisdom_find(back, "conv 1x2 {pad=1}"), "direct 1");
    CU_ASSERT_STRING_EQUAL(wisdom_find(back, "dense 5"), "dots");
    CU_ASSERT_PTR_NULL(wisdom_find(back, "dense"));
    char *again = wisdom_text(back);
    CU_ASSERT_STRING_EQUAL(text, again);
    CU_ASSERT_EQUAL(wisdom_parse(other, text, &line), WISDOM_FOREIGN);
    CU_ASSERT_EQUAL(wisdom_count(other), 0);
    CU_ASSERT_EQUAL(wisdom_parse(other, "netc-wisdom 1 *\nk\tn\tn 1 ms\n", &line), WISDOM_READ);
    CU_ASSERT_EQUAL(wisdom_count(other), 1);
    free(text);
    free(again);
    arena_free(a);
}

static void corrupt(void) {
    static const struct {
        const char *text;
        int line;
    } bad[] = {
        {"", 1},
        {"netc-wisdom 1 here", 1},                               /* cut */
        {"netc-wisdom 2 here\n", 1},
        {"hello\n", 1},
        {"netc-wisdom 1 here\nkey\tname\tname 1 ms", 2},         /* cut */
        {"netc-wisdom 1 here\nkey\tname\n", 2},
        {"netc-wisdom 1 here\na\tb\tb 1 ms\n\tname\tname\n", 3},
        {"netc-wisdom 1 here\nkey\t\tname\n", 2},
        {"netc-wisdom 1 here\nkey\tname\tother 1 ms\n", 2},
        {"netc-wisdom 1 here\nkey\tname\tname\tmore\n", 2},
        {"netc-wisdom 1 here\nk\x01y\tname\tname 1\n", 2},
        {"netc-wisdom 1 here\n\n", 2},
    };
    Arena *a = arena_new();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Wisdom *w = wisdom_new(a, "here");
        int line = 0;
        CU_ASSERT_EQUAL(wisdom_parse(w, bad[i].text, &line), WISDOM_CORRUPT);
        CU_ASSERT_EQUAL(line, bad[i].line);
        CU_ASSERT_EQUAL(wisdom_count(w), 0);
    }
    arena_free(a);
}

/* ---- the machine ---- */

static void machine_lines(void) {
    struct Speed s = {.threads = 7};
    const char *text = "x 1\tflops=2e9 l2=3e9 l3=4e9 dram=5e9 dram_one=6e9 threads=8\n"
                       "y\tflops=1e9 l2=nonsense\n"
                       "z\tflops=-1 l2=1e9 l3=1e9 dram=1e9 dram_one=1e9 threads=1\n";
    CU_ASSERT_FALSE(machine_parse(text, "x", &s));
    CU_ASSERT_FALSE(machine_parse(text, "y", &s));
    CU_ASSERT_FALSE(machine_parse(text, "z", &s));
    CU_ASSERT_EQUAL(s.threads, 7);
    CU_ASSERT_TRUE(machine_parse(text, "x 1", &s));
    CU_ASSERT(s.flops == 2e9 && s.l2 == 3e9 && s.l3 == 4e9 && s.dram == 5e9 && s.dram_one == 6e9);
    CU_ASSERT_EQUAL(s.threads, 8);
    CU_ASSERT_TRUE(machine_parse("*\tflops=2e9 l2=3e9 l3=4e9 dram=5e9 dram_one=6e9 threads=2\n",
                                 "any machine", &s));
    CU_ASSERT_EQUAL(s.threads, 2);
}

/* The numbers stand in an order that every machine obeys. */
static void machine_measured(void) {
    Arena *a = arena_new();
    Target t;
    struct Speed s;
    char why[256];
    CU_ASSERT_FATAL(target_find(a, "native", &t, why, sizeof why));
    CU_ASSERT_FATAL(machine_measure(a, &t, &s));
    CU_ASSERT(s.flops > 1e8 && s.flops < 1e13);
    CU_ASSERT(s.l2 >= s.l3 && s.l3 * s.threads >= 0.99 * s.dram && s.dram >= s.dram_one);
    CU_ASSERT(s.dram_one > 1e8);
    CU_ASSERT_EQUAL(s.threads, t.speed.threads);
    arena_free(a);
}

/* ---- measuring candidates ---- */

/* Two 3x3 layers that Winograd could take, one of them with a pool. */
static Net small_net(const char *program, const Target *t, PlanOptions *o, PlanRecord *r) {
    Net n = net_new(program, NULL, 3, 16, 16);
    ValueId v = net_conv(&n, "c1", n.image, 32, 3, 1, 1);
    v = net_op(&n, "r1", OP_RELU, v, 0);
    v = net_conv(&n, "c2", v, 32, 3, 1, 1);
    v = net_op(&n, "r2", OP_RELU, v, 0);
    v = net_maxpool(&n, "p2", v, 2, 2);
    net_end(&n, net_dense(&n, "f3", v, 10));
    o->record = r;
    o->batch = 4;
    n.ctx.target = t;
    n.ctx.options = o;
    return n;
}

static int told;
static void tell(void *context, int at, int of, const char *kernel, const char *times) {
    told++;
    CU_ASSERT(at >= 1 && at <= of && kernel[0] && strstr(times, " ms"));
    CU_ASSERT_EQUAL(*(int *)context, 77);
}

static void tuning(void) {
    Arena *a = arena_new();
    Target t;
    char why[256];
    int seventy_seven = 77;
    CU_ASSERT_FATAL(target_find(a, "native", &t, why, sizeof why));
    PlanOptions o = {0};
    PlanRecord r = {0};
    Wisdom *w = wisdom_new(a, "here");
    TuneOptions how = {.limit = 0.02, .tell = tell, .context = &seventy_seven};
    Net n = small_net("train", &t, &o, &r);
    CU_ASSERT_FATAL(passes_run(n.g, &n.ctx));
    params_place(n.g->params);
    CU_ASSERT_FATAL(r.count >= 2);
    char *before = net_text(n.g, a);
    int done = tune_graph(n.g, &r, &t, w, &how);
    CU_ASSERT_STRING_EQUAL(net_text(n.g, a), before);
    CU_ASSERT(done >= 2 && done <= r.count);
    CU_ASSERT_EQUAL(told, done);
    CU_ASSERT_EQUAL(wisdom_count(w), done);
    for (int i = 0; i < r.count; i++) /* each winner is one of those there were */
        for (int j = 0, found = 0; j <= r.at[i].n && !found; j++) {
            CU_ASSERT_FATAL(j < r.at[i].n);
            found = strcmp(wisdom_find(w, r.at[i].key),
                           plan_candidate_name(&r.at[i].candidate[j], a)) == 0;
        }
    /* what is known is not measured again, unless asked */
    CU_ASSERT_EQUAL(tune_graph(n.g, &r, &t, w, &how), 0);
    how.again = true;
    CU_ASSERT_EQUAL(tune_graph(n.g, &r, &t, w, &how), done);
    net_free(&n);
    /* and the next plan says so */
    PlanOptions next = {.wisdom = w};
    n = small_net("train", &t, &next, NULL);
    CU_ASSERT_FATAL(passes_run(n.g, &n.ctx));
    int measured_best = 0;
    for (int i = 0; i < n.g->nkernels; i++) {
        const char *reason = n.g->kernels[i].why;
        measured_best += reason && strncmp(reason, "measured best", 13) == 0;
    }
    CU_ASSERT(measured_best >= done);
    net_free(&n);
    arena_free(a);
}

SUITE_MAIN(TEST(roofline), TEST(choosing), TEST(measured), TEST(keys), TEST(other_batches),
           TEST(round_trip), TEST(corrupt), TEST(machine_lines), TEST(machine_measured),
           TEST(tuning))
