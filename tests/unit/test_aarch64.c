/* test_aarch64.c: kernels cross-compiled for AArch64, run under qemu, against the reference.
 *
 * The object of a network's program (random ones; one with Winograd's convolutions, images in the
 * lanes or bfloat16 weights forced upon it) is linked with tests/prog/aarch64_driver.c by the
 * cross compiler; the driver dumps all slabs after every kernel; each stored value is compared with
 * ref_run (1e-5 of the tensor's largest forward, 1e-4 for gradients), padding included.  Skipped when
 * the cross compiler or qemu is not installed.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compiled.h"
#include "nets.h"
#include "random_net.h"
#include "ref_cases.h"
#include "suite.h"

static const char *source_dir(void) {
    static char here[4096];
    const char *dir = getenv("NETC_SOURCE_DIR");
    return dir ? dir : getcwd(here, sizeof here) ? here : "."; /* by hand: run from the root */
}

static bool have_tools(void) {
    return system("command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null") ==
           0;
}

/* Emits g's kernels and a table of them; false with a message. */
static bool write_object(Arena *keep, Graph *g, const Target *t, const char *path) {
    char why[512] = "";
    Emit *e = emit_new(keep, t, "aarch64");
    codegen_kernels(e, g, t, "k");
    Val *f = arena_array(keep, g->nkernels, sizeof *f);
    for (int k = 0; k < g->nkernels; k++)
        f[k] = em_c_func(e, codegen_kernel_name(keep, g, k, "k"));
    em_c_export(e, "kernels", em_c_fixed(e, f, g->nkernels));
    bool good = emit_finish(e, 2, why, sizeof why) && emit_object(e, path, why, sizeof why);
    if (!good)
        printf("  %s\n", why);
    emit_free(e);
    return good;
}

static bool put(FILE *f, const void *at, int64_t bytes) {
    return fwrite(at, 1, (size_t)bytes, f) == (size_t)bytes;
}

/* The format that the driver reads. */
static bool write_job(const char *path, const Graph *g, const Slabs *s, const RefRun *r,
                      int64_t pixels) {
    FILE *f = fopen(path, "wb");
    if (!f)
        return false;
    int64_t size[8] = {g->nkernels,      s->act.bytes,       s->fix.bytes,
                       s->param.bytes,   s->state.bytes,     s->scratch.bytes,
                       pixels * r->n * 4, r->n * 4};
    bool good = put(f, size, sizeof size);
    for (int k = 0; k < g->nkernels; k++) {
        int64_t tasks = kernel_tasks(&g->kernels[k], r->n);
        good = good && put(f, &tasks, sizeof tasks);
    }
    good = good && put(f, &s->frame, sizeof s->frame) && put(f, s->act.at, size[1]) &&
           put(f, s->fix.at, size[2]) && put(f, s->param.at, size[3]) &&
           put(f, s->state.at, size[4]) && put(f, s->scratch.at, size[5]) &&
           put(f, s->frame.input[0], size[6]) && put(f, s->frame.label[0], size[7]);
    return fclose(f) == 0 && good;
}

static bool link_and_run(Arena *keep, const char *dir) {
    const char *command = arena_printf(
        keep,
        "cd %s && aarch64-linux-gnu-gcc -O1 -static -I'%s/runtime' -o driver "
        "'%s/tests/prog/aarch64_driver.c' net.o && qemu-aarch64 ./driver job result",
        dir, source_dir(), source_dir());
    return system(command) == 0;
}

static bool is_gradient(const Graph *g, const Node *n) {
    return op_is(n->op, OPF_N) && n->op != OP_LOAD_INPUT && n->op != OP_TRANSPOSE_WEIGHTS && g;
}

/* Value v as the other processor left it. */
static int compare_value(Slabs *s, const RefRun *r, ValueId v, double bound, double floor,
                         const char *what) {
    int64_t n = ref_value_elems(r, v), wrong = 0;
    double *got = calloc((size_t)n + 1, sizeof *got), most = floor;
    if (!got)
        return 1;
    int64_t dirty = slabs_read(s, v, got);
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(r->value[v][i]));
    for (int64_t i = 0; i < n; i++)
        wrong += !(fabs(got[i] - r->value[v][i]) <= bound * most);
    if (wrong || dirty)
        printf("  %s, %s (%%%u): %lld of %lld wrong, %lld padding elements not zero\n", what,
               op_name[graph_n(s->g, graph_v(s->g, v)->def)->op], v, (long long)wrong,
               (long long)n, (long long)dirty);
    free(got);
    return wrong || dirty;
}

static int compare_all(const char *path, Slabs *s, const RefRun *r, double slack, const char *what,
                       int *compared) {
    const Graph *g = s->g;
    FILE *f = fopen(path, "rb");
    int bad = f ? 0 : 1;
    for (int k = 0; f && k < g->nkernels; k++) {
        Slab *slab[4] = {&s->act, &s->fix, &s->param, &s->state};
        for (int i = 0; i < 4; i++)
            bad += fread(slab[i]->at, 1, (size_t)slab[i]->bytes, f) != (size_t)slab[i]->bytes;
        ValueId out[32];
        int n = kernel_outputs(g, &g->kernels[k], out, 32);
        bool back = is_gradient(g, graph_n(g, g->kernels[k].anchor));
        for (int i = 0; i < n; i++, ++*compared)
            bad += compare_value(s, r, out[i], slack * (back ? 1e-4 : 1e-5), back ? 0.01 : 0.1,
                                 what);
    }
    if (f)
        fclose(f);
    return bad;
}

/* Is a kink of the reference so near that float may fall on the other side? */
static bool near_kink(const Graph *g, const RefRun *r) {
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *n = graph_n(g, id);
        if (n->dead || n->op != OP_RELU)
            continue;
        for (int64_t i = 0; i < ref_value_elems(r, n->in[0]); i++)
            if (r->value[n->in[0]][i] != 0 && fabs(r->value[n->in[0]][i]) < 2e-6)
                return true;
    }
    return false;
}

/* What is run: a planned network, and what was forced upon it. */
typedef struct Trial {
    const char *what, *program;
    uint32_t seed;
    PlanOptions options;
    bool no_fuse, own; /* own: the network below instead of a random one */
    int64_t images;
    double slack; /* bounds are this many times as wide */
} Trial;

typedef struct Tally {
    int judged, compared, bf16, lanes;
    int winograd[OP_COUNT]; /* kernels by their anchors */
} Tally;

/* Convolutions of 3x3 and 5x5 wide enough for every algorithm, padded and pooled; a dense end. */
static RandomNet own_net(Net *n, const char *program, ParamList *params) {
    *n = net_new(program, params, 4, 12, 10);
    ValueId v = net_op(n, "r1", OP_RELU, net_conv(n, "c1", n->image, 16, 3, 1, 1), 0);
    v = net_op(n, "r2", OP_RELU, net_conv(n, "c2", v, 24, 3, 1, 1), 0);
    v = net_maxpool(n, "p2", v, 2, 2);
    v = net_op(n, "r3", OP_RELU, net_conv(n, "c3", v, 16, 5, 1, 2), 0);
    v = net_op(n, "r4", OP_RELU, net_dense(n, "f4", v, 21), 0);
    net_end(n, net_dense(n, "f5", v, 7));
    return (RandomNet){.g = n->g, .ctx = n->ctx, .image = {3, {4, 12, 10}}, .classes = 7,
                       .score = n->score};
}

static double round_bf16(double d) {
    float f = (float)d;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &bits, 4);
    return (double)f;
}

static void count_ways(const Graph *g, Tally *tally) {
    for (int k = 0; k < g->nkernels; k++) {
        tally->lanes += g->kernels[k].lanes != NULL;
        if (g->kernels[k].winograd)
            tally->winograd[graph_n(g, g->kernels[k].anchor)->op]++;
    }
    for (int p = 0; p < g->params->count; p++)
        tally->bf16 += g->params->at[p].bf16;
}

static void run_trial(const Trial *trial, const char *dir, Tally *tally) {
    Arena *keep = arena_new();
    ParamList params = {0};
    Target t;
    char why[256];
    CU_ASSERT_FATAL(target_find(keep, "aarch64", &t, why, sizeof why));
    Net own;
    RandomNet net = trial->own ? own_net(&own, trial->program, &params)
                               : random_net(keep, trial->program, &params, trial->seed);
    net.ctx.tmp = arena_new();
    net.ctx.target = &t;
    net.ctx.no_fuse = trial->no_fuse;
    net.ctx.options = &trial->options;
    CU_ASSERT_TRUE_FATAL(passes_run(net.g, &net.ctx));
    params_place(&params);
    RandomData d = random_data(keep, &net, &params, trial->images, trial->seed);
    for (int p = 0; p < params.count; p++)
        for (int64_t i = 0; params.at[p].bf16 && i < shape_elems(&params.at[p].shape); i++)
            d.param[p][i] = round_bf16(d.param[p][i]);
    RefRun r = {.g = net.g, .n = trial->images, .input = {d.image}, .label = {d.label},
                .param = d.param, .state = d.state, .lr = 0.125, .momentum = 0.875,
                .decay = 0.0009765625, .seed = trial->seed, .step = 2};
    const char *what = arena_printf(keep, "%s, seed %u", trial->what, trial->seed);
    bool ran = ref_run(&r);
    CU_ASSERT_TRUE(ran);
    if (ran && !near_kink(net.g, &r)) {
        Slabs s = slabs_new(net.g, &r, trial->images + 1);
        bool good = write_object(keep, net.g, &t, arena_printf(keep, "%s/net.o", dir)) &&
                    write_job(arena_printf(keep, "%s/job", dir), net.g, &s, &r,
                              shape_elems(&net.image)) &&
                    link_and_run(keep, dir);
        CU_ASSERT_TRUE(good);
        if (good)
            CU_ASSERT_EQUAL(compare_all(arena_printf(keep, "%s/result", dir), &s, &r, trial->slack,
                                        what, &tally->compared),
                            0);
        tally->judged++;
        count_ways(net.g, tally);
        slabs_free(&s);
    }
    ref_run_free(&r);
    arena_free(net.ctx.tmp);
    if (trial->own)
        net_free(&own);
    arena_free(keep);
}

/* One trial per seed from `first` on. */
static Tally run_trials(Trial trial, uint32_t first, uint32_t last) {
    Tally tally = {0};
    if (!have_tools()) {
        suite_skip("aarch64-linux-gnu-gcc and qemu-aarch64 are needed");
        return tally;
    }
    char dir[] = "/tmp/netc-aarch64-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    for (trial.seed = first; trial.seed <= last; trial.seed++) {
        trial.no_fuse = !trial.own && !trial.options.force && trial.seed % 3 == 0;
        run_trial(&trial, dir, &tally);
    }
    printf("  %d networks, %d values\n", tally.judged, tally.compared);
    static const char *const file[] = {"net.o", "job", "driver", "result"};
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, file[i]);
        unlink(path);
    }
    rmdir(dir);
    return tally;
}

static void random_networks(void) {
    Tally t = run_trials((Trial){"random", "train", .images = 3, .slack = 1}, 1, 8);
    if (have_tools())
        CU_ASSERT_TRUE(t.judged >= 5 && t.compared > 100);
}

/* Forward, backward data and backward weights, tiles of 2x2 and 4x4. */
static void winograd(void) {
    static const char *const force[] = {"winograd2", "winograd4"};
    for (int i = 0; i < 2; i++) {
        Trial trial = {force[i], "train", .own = true, .images = 3, .slack = 5};
        trial.options = (PlanOptions){.force = force[i], .batch = 3};
        Tally t = run_trials(trial, 1, 3);
        if (!have_tools())
            continue;
        CU_ASSERT_TRUE(t.judged >= 1);
        CU_ASSERT_TRUE(t.winograd[OP_CONV2D] >= t.judged);
        CU_ASSERT_TRUE(t.winograd[OP_CONV2D_BWD_DATA] >= t.judged);
        CU_ASSERT_TRUE(t.winograd[OP_CONV2D_BWD_WEIGHTS] >= t.judged);
    }
}

/* Images in the lanes: a whole block and a part of one. */
static void lanes(void) {
    static const char *const program[] = {"forward", "train"};
    for (int i = 0; i < 2; i++)
        for (int own = 0; own < 2; own++) {
            Trial trial = {"lanes", program[i], .own = own, .images = 6, .slack = 5};
            trial.options = (PlanOptions){.force = "lanes", .batch = 6};
            Tally t = run_trials(trial, 1, own ? 2 : 4);
            if (have_tools())
                CU_ASSERT_TRUE(t.judged >= 1 && t.lanes >= 1);
        }
}

/* Dense weights as bfloat16 are the numbers that they were rounded to. */
static void bf16(void) {
    Trial trial = {"bf16", "forward", .own = true, .images = 3, .slack = 1};
    trial.options = (PlanOptions){.bf16 = true, .batch = 3};
    Tally t = run_trials(trial, 1, 2);
    trial.images = trial.options.batch = 1;
    Tally one = run_trials(trial, 3, 4);
    if (have_tools())
        CU_ASSERT_TRUE(t.bf16 >= 1 && one.bf16 >= 1);
}

SUITE_MAIN(TEST(random_networks), TEST(winograd), TEST(lanes), TEST(bf16))
