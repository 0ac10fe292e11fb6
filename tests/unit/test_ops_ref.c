/* test_ops_ref.c: walks ops.def: every operator must be documented, checked, referenced and right.
 *
 * Gradients: the nodes that vjp builds, interpreted in double, against central differences of the
 * interpreted forward pass (h = 1e-5, kinks avoided by distinct inputs), 1e-6 of the largest
 * magnitude.  Adjoints: <f x, y> = <x, f' y> exactly, in integers.
 * An operator without an entry fails.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/attrs.h"
#include "ref_cases.h"
#include "suite.h"

enum { BATCH = 2, SAMPLES = 40, MIN_CASES = 8, LABELS = 64 /* of an image */ };
#define FOR_OPS(op) for (int op = OP_NONE + 1; op < OP_COUNT; op++)
#define CHECK(ok, ...)                                                                             \
    do {                                                                                           \
        bool check_ok = (ok);                                                                      \
        if (!check_ok) {                                                                           \
            printf("  ");                                                                          \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
        CU_ASSERT(check_ok);                                                                       \
    } while (0)

/* ---- the table ---- */

static bool text_ok(const char *s) { return s && strlen(s) > 2; }

static size_t attr_size(AttrType t) {
    static const size_t size[] = {[AT_INT] = 8,   [AT_BOOL] = 1, [AT_FLOAT] = 8, [AT_EXTENT] = 16,
                                  [AT_PADS] = 32, [AT_ENUM] = 4, [AT_TABLE] = 8, [AT_STR] = 8};
    return size[t];
}

static void check_attrs(int op) {
    const OpDef *d = op_def[op];
    CHECK((d->attr_size == 0) == (d->nattrs == 0), "%s: struct without schema", op_name[op]);
    for (int i = 0; i < d->nattrs; i++) {
        const AttrDesc *a = &d->attrs[i];
        CHECK(a->offset + attr_size(a->type) <= d->attr_size, "%s.%s outside the struct",
              op_name[op], a->name);
        CHECK(a->internal || text_ok(a->doc), "%s.%s has no doc", op_name[op], a->name);
        CHECK((a->type == AT_ENUM) == (a->choices != NULL), "%s.%s choices", op_name[op], a->name);
        CHECK(!a->positional || i == 0 || d->attrs[i - 1].positional,
              "%s.%s: positional attributes come first", op_name[op], a->name);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(a->name, d->attrs[j].name) != 0, "%s.%s twice", op_name[op], a->name);
    }
}

/* Equality of attributes: every attribute counts, what lies between them does not. */
static void attributes_are_compared_one_by_one(void) {
    enum { ROOM = 512 };
    static const uint8_t links[2][2] = {{1, 1}, {1, 0}};
    static const ConnTable table[3] = {{1, 2, links[0]}, {1, 2, links[0]}, {1, 2, links[1]}};
    char text[2][3] = {"ab", "ab"};
    FOR_OPS(op) {
        const OpDef *d = op_def[op];
        _Alignas(16) unsigned char clean[ROOM] = {0}, other[ROOM];
        CHECK(d->attr_size <= ROOM, "%s: the test wants more room", op_name[op]);
        memset(other, 0xa5, sizeof other);
        for (int i = 0; i < d->nattrs; i++)
            memset(other + d->attrs[i].offset, 0, attr_size(d->attrs[i].type));
        CHECK(op_same_attrs(op, clean, other), "%s: padding counts", op_name[op]);
        for (int i = 0; i < d->nattrs; i++) {
            const AttrDesc *a = &d->attrs[i];
            const void *one = &table[0], *same = &table[1], *differs = &table[2];
            if (a->type == AT_STR)
                one = text[0], same = text[1], differs = "ac";
            bool pointer = a->type == AT_TABLE || a->type == AT_STR;
            memset(other + a->offset, 1, attr_size(a->type));
            if (pointer)
                memcpy(other + a->offset, &one, sizeof one);
            CHECK(!op_same_attrs(op, clean, other), "%s.%s does not count", op_name[op], a->name);
            CHECK(!op_same_attrs(op, other, clean), "%s.%s does not count", op_name[op], a->name);
            if (pointer) {
                memcpy(clean + a->offset, &same, sizeof same);
                CHECK(op_same_attrs(op, clean, other), "%s.%s: by address", op_name[op], a->name);
                memcpy(clean + a->offset, &differs, sizeof differs);
                CHECK(!op_same_attrs(op, clean, other), "%s.%s: contents", op_name[op], a->name);
            }
            memset(clean + a->offset, 0, attr_size(a->type));
            memset(other + a->offset, 0, attr_size(a->type));
        }
    }
}

static void every_op_has_its_facts(void) {
    FOR_OPS(op) {
        const OpDef *d = op_def[op];
        const char *name = op_name[op];
        CHECK(text_ok(d->title), "%s has no title", name);
        CHECK(text_ok(d->formula), "%s has no formula", name);
        CHECK(text_ok(d->doc), "%s has no doc", name);
        CHECK(text_ok(d->theory), "%s has no theory", name);
        CHECK(d->infer != NULL, "%s has no infer", name);
        CHECK(d->flops != NULL, "%s has no flops", name);
        CHECK(ref_op[op] != NULL, "%s has no reference", name);
        CHECK(ref_tolerance[op] >= 0 && ref_tolerance[op] <= 1e-4, "%s: tolerance", name);
        CHECK((d->params != NULL) == op_is(op, OPF_P), "%s: params and flag P", name);
        CHECK(d->window != NULL || !op_is(op, OPF_W), "%s: flag W without a window", name);
        CHECK((d->vjp == NULL) == op_is(op, OPF_N), "%s: vjp and flag N", name);
        CHECK(ref_case_count(op) >= MIN_CASES, "%s has %d cases", name, ref_case_count(op));
        check_attrs(op);
    }
}

/* The hooks are weak: a name misspelt in hooks.h would silently be a null pointer. */
static void every_op_has_its_code(void) {
    FOR_OPS(op) {
        const OpDef *d = op_def[op];
        CHECK(d->lower != NULL || d->expand != NULL, "%s: no lowering and no parts", op_name[op]);
        CHECK(d->choose != NULL || d->expand, "%s has no task split", op_name[op]);
        CHECK((d->scalar != NULL) == op_is(op, OPF_E), "%s: scalar and flag E", op_name[op]);
    }
}

/* Exact operators are those that only move or mask; a forgotten tolerance reads as exact. */
static void exact_ops_are_the_movers(void) {
    int exact = 0;
    FOR_OPS(op) exact += ref_tolerance[op] == 0;
    CU_ASSERT_EQUAL(exact, 10);
}

/* ---- running one case ---- */

typedef struct Run {
    Arena *keep;
    RefCase c;
    RefCaseGraph g;
    RefRun r;
    double *data[REF_INPUTS]; /* numbers of each input, whatever its kind */
    double **params;
    int32_t label[BATCH * LABELS];
} Run;

static int64_t input_elems(const Run *x, int i) {
    int64_t n = shape_elems(&x->c.in[i]);
    return ref_unbatched(x->c.kind[i]) ? n : n * BATCH;
}

/* Numbers that stay the same when operators are added. */
static uint32_t seed_of(int op) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (const char *p = op_name[op]; *p; p++)
        h = (h ^ (uint8_t)*p) * 16777619u;
    return h;
}

static void run_open(Run *x, int op, int i) {
    memset(x, 0, sizeof *x);
    x->keep = arena_new();
    x->c = ref_case(x->keep, op, i);
    x->g = ref_case_graph(x->keep, op, &x->c);
    x->params = ref_params_new(x->g.g->params);
    x->r = (RefRun){.g = x->g.g, .n = BATCH, .param = x->params, .lr = 0.1, .momentum = 0.9,
                    .decay = 0.01, .seed = 0x123456789ABCDEFull, .step = 5};
    x->r.label[0] = x->label;
    for (int k = 0; k < x->c.nin; k++) {
        int64_t n = input_elems(x, k);
        uint32_t seed = seed_of(op) + (uint32_t)(i * 8 + k);
        if (x->g.param[k] >= 0)
            x->data[k] = x->params[x->g.param[k]];
        else
            x->data[k] = calloc((size_t)n, sizeof(double));
        x->r.input[k] = x->data[k];
        if (x->c.kind[k] == REF_DATA || x->c.kind[k] == REF_WEIGHT)
            ref_fill_distinct(x->data[k], n, 1.9, seed);
        else if (x->c.kind[k] == REF_FIXED || x->c.kind[k] == REF_POSITIVE)
            ref_fill_positive(x->data[k], n, seed);
        else
            ref_fill_int(x->data[k], n, 0, x->c.kind[k] == REF_MASK ? 1 : (int)x->c.limit - 1,
                         seed);
        for (int64_t j = 0; x->c.kind[k] == REF_CLASS && j < n; j++)
            x->label[j] = (int32_t)x->data[k][j];
    }
}

static void run_close(Run *x) {
    ref_run_free(&x->r);
    for (int k = 0; k < x->c.nin; k++)
        if (x->g.param[k] < 0)
            free(x->data[k]);
    ref_params_free(x->params, x->g.g->params->count);
    arena_free(x->keep);
}

static bool run_go(Run *x) {
    bool ok = ref_run(&x->r);
    CHECK(ok, "%s", x->r.error);
    return ok;
}

static ValueId run_out(const Run *x, int k) { return graph_n(x->g.g, x->g.node)->out[k]; }

static void every_case_runs(void) {
    FOR_OPS(op) for (int i = 0; i < ref_case_count(op); i++) {
        Run x;
        run_open(&x, op, i);
        if (run_go(&x)) {
            ValueId out = run_out(&x, 0);
            double flops = op_def[op]->flops(x.g.g, x.g.node), largest = 0;
            CHECK(flops >= 0 && isfinite(flops), "%s: flops", op_name[op]);
            for (int64_t k = 0; k < ref_value_elems(&x.r, out); k++) {
                CHECK(isfinite(x.r.value[out][k]), "%s case %d: not finite", op_name[op], i);
                largest = fmax(largest, fabs(x.r.value[out][k]));
            }
            if (i > 0 && op != OP_RELU && op != OP_MAXPOOL_BWD && op != OP_LCN && op != OP_LCN_BWD)
                CHECK(largest > 0, "%s case %d ('%s'): all zero", op_name[op], i, x.c.what);
        }
        run_close(&x);
    }
}

/* ---- gradients against central differences ---- */

/* sum over everything of out * signal; a loss counts its batch mean */
static double objective(Run *x, ValueId out, const double *signal) {
    double sum = 0;
    if (!run_go(x))
        return NAN;
    for (int64_t i = 0; i < ref_value_elems(&x->r, out); i++)
        sum += x->r.value[out][i] * (signal ? signal[i] : 1.0 / (double)BATCH);
    return sum;
}

/* The numeric derivatives are taken on a graph without the gradient nodes: `forward`. */
static void compare_gradient(int op, int i, Run *forward, int input, const double *gradient,
                             const double *signal) {
    int64_t n = input_elems(forward, input), step = n / SAMPLES + 1;
    double h = 1e-5, worst = 0, largest = 1e-3;
    for (int64_t k = 0; k < n; k++)
        largest = fmax(largest, fabs(gradient[k]));
    for (int64_t k = 0; k < n; k += step) {
        double *at = &forward->data[input][k], x = *at;
        *at = x + h;
        double up = objective(forward, run_out(forward, 0), signal);
        *at = x - h;
        double down = objective(forward, run_out(forward, 0), signal);
        *at = x;
        worst = fmax(worst, fabs((up - down) / (2 * h) - gradient[k]));
    }
    CHECK(worst <= 1e-6 * largest, "%s case %d ('%s'), input %d: gradient off by %g of %g",
          op_name[op], i, forward->c.what, input, worst, largest);
}

static void gradient_case(int op, int i, Rule rule) {
    Run x, forward;
    run_open(&x, op, i);
    run_open(&forward, op, i);
    Graph *g = x.g.g;
    ValueId out = run_out(&x, 0), dy[4] = {0}, dx[REF_INPUTS] = {0};
    bool need[REF_INPUTS], loss = op_is(op, OPF_L);
    double *signal = NULL;
    for (int k = 0; k < x.c.nin; k++)
        need[k] = x.c.kind[k] == REF_DATA || x.c.kind[k] == REF_WEIGHT ||
                  x.c.kind[k] == REF_POSITIVE;
    if (!loss) {
        Shape s = graph_v(g, out)->shape;
        int64_t n = shape_elems(&s) * BATCH;
        dy[0] = graph_input(g, VK_INPUT, DT_F32, s, true, 7, NULL);
        signal = calloc((size_t)n, sizeof *signal);
        ref_fill_distinct(signal, n, 1, 999);
        x.r.input[7] = signal;
    }
    Vjp v = {.g = g, .node = x.g.node, .rule = rule, .dy = dy, .need = need, .dx = dx};
    CHECK(op_def[op]->vjp(&v), "%s refuses rule %d", op_name[op], rule);
    if (run_go(&x))
        for (int k = 0; k < x.c.nin; k++) {
            CHECK((dx[k] != 0) == need[k], "%s case %d: gradient %d", op_name[op], i, k);
            if (dx[k])
                compare_gradient(op, i, &forward, k, x.r.value[dx[k]], signal);
        }
    free(signal);
    run_close(&x);
    run_close(&forward);
}

/* A masked weight's gradient is masked as well, which differences do not see: mask them too. */
static void gradients_match_differences(void) {
    FOR_OPS(op) for (int i = 0; !op_is(op, OPF_N) && i < ref_case_count(op); i++) {
        Run x;
        run_open(&x, op, i);
        bool masked = false;
        for (int k = 0; k < x.c.nin; k++)
            masked |= x.c.kind[k] == REF_MASK;
        run_close(&x);
        if (!masked)
            gradient_case(op, i, RULE_TRAIN);
        if (!masked && !op_is(op, OPF_L) && !op_is(op, OPF_S))
            gradient_case(op, i, RULE_GRADIENT);
    }
}

/* Gradient of the weights under a connection table = unmasked gradient times the mask. */
static void missing_links_get_no_gradient(void) {
    for (int i = 0; i < ref_case_count(OP_CONV2D); i++) {
        Run x;
        run_open(&x, OP_CONV2D, i);
        int last = x.c.nin - 1;
        if (x.c.kind[last] == REF_MASK) {
            Graph *g = x.g.g;
            const ConvAttrs *a = x.c.attrs;
            Shape s = graph_v(g, run_out(&x, 0))->shape;
            double *signal = calloc((size_t)(shape_elems(&s) * BATCH), sizeof *signal);
            ref_fill_distinct(signal, shape_elems(&s) * BATCH, 1, 5);
            for (int o = 0; o < a->connect->outputs * a->connect->inputs * 9; o++)
                x.data[last][o] = a->connect->link[o / 9];
            ValueId dy = graph_input(g, VK_INPUT, DT_F32, s, true, 7, NULL), dx[4] = {0};
            bool need[4] = {false, true, false, false};
            x.r.input[7] = signal;
            Vjp v = {.g = g, .node = x.g.node, .dy = &dy, .need = need, .dx = dx};
            CU_ASSERT(op_def[OP_CONV2D]->vjp(&v));
            CU_ASSERT_EQUAL(graph_n(g, graph_v(g, dx[1])->def)->op, OP_MUL);
            CU_ASSERT(dx[0] == 0 && dx[2] == 0);
            if (run_go(&x)) {
                ValueId open = graph_n(g, graph_v(g, dx[1])->def)->in[0];
                for (int64_t k = 0; k < ref_value_elems(&x.r, dx[1]); k++)
                    CU_ASSERT_EQUAL(x.r.value[dx[1]][k],
                                    x.r.value[open][k] * a->connect->link[k / 9]);
            }
            free(signal);
        }
        run_close(&x);
    }
}

/* ---- adjoints, exactly, in integers (visualizations: <f x, y> = <x, f' y>) ---- */

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void adjoint_case(int op, int i) {
    Run x;
    run_open(&x, op, i);
    Graph *g = x.g.g;
    ValueId out = run_out(&x, 0), dx[4] = {0};
    Shape s = graph_v(g, out)->shape;
    int64_t n = shape_elems(&s) * BATCH;
    bool need[4] = {true, true, true, true};
    double *signal = calloc((size_t)n, sizeof *signal), y = 0, back = 0;
    ref_fill_int(signal, n, -9, 9, 3);
    for (int k = 0; k < x.c.nin; k++) {
        bool bias = k > 0 && shape_elems(&x.c.in[k]) == x.c.in[k].dim[0] && op != OP_CONCAT &&
                    op != OP_ADD && (op != OP_SUBSAMPLE || k == 2);
        if (x.c.kind[k] != REF_MASK)
            ref_fill_int(x.data[k], input_elems(&x, k), bias ? 0 : -9, bias ? 0 : 9,
                         (uint32_t)(7 * i + k));
        need[k] = x.c.kind[k] == REF_DATA || (op == OP_ADD && x.c.kind[k] == REF_WEIGHT);
    }
    ValueId dy = graph_input(g, VK_INPUT, DT_F32, s, true, 7, NULL);
    x.r.input[7] = signal;
    Vjp v = {.g = g, .node = x.g.node, .rule = RULE_DECONVNET, .dy = &dy, .need = need, .dx = dx};
    CHECK(op_def[op]->vjp(&v), "%s refuses the deconvnet rule", op_name[op]);
    if (run_go(&x)) {
        y = dot(x.r.value[out], signal, n);
        for (int k = 0; k < x.c.nin; k++)
            if (need[k])
                back += dot(x.data[k], x.r.value[dx[k]], input_elems(&x, k));
        CHECK(y == back, "%s case %d ('%s'): <f x, y> = %g, <x, f' y> = %g", op_name[op], i,
              x.c.what, y, back);
    }
    free(signal);
    run_close(&x);
}

/* Linear in their data, with all biases zero: every rule uses the same adjoint.  Average pooling
 * divides, so it is exact only where counts are powers of two: its first three cases. */
static void adjoints_are_exact(void) {
    static const int linear[] = {OP_CONV2D, OP_DENSE, OP_SUBSAMPLE, OP_MAXPOOL, OP_FLATTEN,
                                 OP_CONCAT, OP_ADD};
    for (size_t k = 0; k < sizeof linear / sizeof *linear; k++)
        for (int i = 0; i < ref_case_count(linear[k]); i++)
            adjoint_case(linear[k], i);
    for (int i = 0; i < 3; i++)
        adjoint_case(OP_AVGPOOL, i);
}

/* All strides, paddings and dilations of one row of small sizes, exactly. */
static void conv_adjoint_grid(void) {
    int tried = 0;
    for (int code = 0; code < 4 * 3 * 3 * 4 * 3; code++) {
        int q = code;
        int64_t k = q % 4 + 1, s = (q /= 4) % 3 + 1, dil = (q /= 3) % 3 + 1;
        int64_t pad = (q /= 3) % 4, in = 5 + (q / 4) % 3 * 2, span = (k - 1) * dil + 1;
        if (span > in + 2 * pad - pad / 2)
            continue;
        Arena *keep = arena_new();
        ParamList params = {0};
        Graph *g = graph_new(keep, "grid", "grid", &params);
        ConvAttrs a = {.maps = 2, .kernel = {k, 1}, .stride = {s, 1}, .pad = {pad, pad - pad / 2},
                       .dilation = {dil, 1}, .groups = 1};
        Shape src = {3, {2, in, 1}};
        ValueId x = graph_input(g, VK_INPUT, DT_F32, src, true, 0, NULL);
        ValueId ins[2] = {x, ref_param(g, "w", (Shape){4, {2, 2, k, 1}})};
        NodeId node = graph_node(g, OP_CONV2D, &a, 2, ins);
        ValueId y = graph_n(g, node)->out[0], dx[2] = {0};
        ValueId dy = graph_input(g, VK_INPUT, DT_F32, graph_v(g, y)->shape, true, 1, NULL);
        Vjp v = {.g = g, .node = node, .dy = &dy, .need = (bool[]){true, true}, .dx = dx};
        CU_ASSERT(op_def[OP_CONV2D]->vjp(&v));
        double xs[2 * 9], ys[2 * 32], **w = ref_params_new(&params);
        int64_t ny = shape_elems(&graph_v(g, y)->shape), nw = 4 * k;
        ref_fill_int(xs, 2 * in, -9, 9, 1);
        ref_fill_int(ys, ny, -9, 9, 2);
        ref_fill_int(w[0], nw, -9, 9, 3);
        RefRun r = {.g = g, .n = 1, .input = {xs, ys}, .param = w};
        CU_ASSERT(ref_run(&r));
        double forward = dot(r.value[y], ys, ny);
        CHECK(forward == dot(r.value[dx[0]], xs, 2 * in), "k %d s %d d %d p %d", (int)k, (int)s,
              (int)dil, (int)pad);
        CHECK(forward == dot(r.value[dx[1]], w[0], nw), "weights: k %d s %d d %d p %d", (int)k,
              (int)s, (int)dil, (int)pad);
        ref_run_free(&r);
        ref_params_free(w, 1);
        arena_free(keep);
        tried++;
    }
    CU_ASSERT(tried > 300);
}

/* ---- facts of single operators ---- */

/* Philox4x32-10 known answers of the Random123 distribution. */
static void philox_known_answers(void) {
    uint32_t zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u}, out[4];
    ref_philox(zero, zero, out);
    CU_ASSERT(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c &&
              out[3] == 0x9b00dbd8);
    ref_philox(ones, ones, out);
    CU_ASSERT(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 &&
              out[3] == 0x6d5451fd);
}

static void dropout_of(const DropoutAttrs *a, int64_t step, double *x, double *y, int64_t n) {
    RefTensor in = {{1, {n}}, 1, x}, out = {{1, {n}}, 1, y};
    RefCall call = {.attrs = a, .n = 1, .nin = 1, .in = &in, .out = &out, .seed = 42, .step = step};
    ref_op[OP_DROPOUT](&call);
}

static void dropout_keeps_the_mean(void) {
    enum { N = 20000 };
    double *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y), *z = calloc(N, sizeof *z);
    DropoutAttrs train = {.rate = 0.3, .key = 1}, test = {.rate = 0.3, .scale = 1, .infer = true};
    double mean = 0, kept = 0, same = 0;
    for (int i = 0; i < N; i++)
        x[i] = 1;
    dropout_of(&train, 0, x, y, N);
    dropout_of(&train, 1, x, z, N);
    for (int i = 0; i < N; i++) {
        mean += y[i] / (double)N;
        kept += (y[i] != 0) / (double)N;
        same += (y[i] == z[i]) / (double)N;
    }
    CU_ASSERT_DOUBLE_EQUAL(mean, 1, 0.02);
    CU_ASSERT_DOUBLE_EQUAL(kept, 0.7, 0.01);
    CU_ASSERT_DOUBLE_EQUAL(same, 0.58, 0.015); /* another step, another mask: .7^2 + .3^2 */
    dropout_of(&test, 0, x, y, N);
    CU_ASSERT_DOUBLE_EQUAL(y[17], 0.7, 1e-15);
    free(x);
    free(y);
    free(z);
}

/* The trap: alpha per sum (the paper) is not alpha per size (Caffe, PyTorch). */
static void lrn_alpha(void) {
    double x[5] = {1, 2, 3, 4, 5}, y[5];
    RefTensor in = {{3, {5, 1, 1}}, 1, x}, out = {{3, {5, 1, 1}}, 1, y};
    NormAttrs a = {5, 2, 0.1, 0.75, 0, NORM_ACROSS, false};
    RefCall call = {.attrs = &a, .n = 1, .nin = 1, .in = &in, .out = &out};
    ref_op[OP_LRN](&call);
    CU_ASSERT_DOUBLE_EQUAL(y[2], 3 / pow(2 + 0.1 * 55, 0.75), 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(y[0], 1 / pow(2 + 0.1 * 14, 0.75), 1e-14); /* clipped to maps 0..2 */
    a.alpha_per = 1;
    ref_op[OP_LRN](&call);
    CU_ASSERT_DOUBLE_EQUAL(y[2], 3 / pow(2 + 0.02 * 55, 0.75), 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(y[0], 1 / pow(2 + 0.02 * 14, 0.75), 1e-14); /* still / 5, as Caffe */
}

static void sgd_by_hand(void) {
    double w = 1, g = 0.5, m = 0.2, out = 0, v = 0;
    RefTensor in[3] = {{{1, {1}}, 1, &w}, {{1, {1}}, 1, &g}, {{1, {1}}, 1, &m}};
    RefTensor result = {{1, {1}}, 1, &out};
    SgdAttrs a = {.lr_mult = 2, .decay_mult = 1};
    RefCall call = {.attrs = &a, .n = 1, .nin = 3, .in = in, .out = &result, .lr = 0.1,
                    .momentum = 0.9, .decay = 0.01, .new_momentum = &v};
    ref_op[OP_SGD](&call);
    CU_ASSERT_DOUBLE_EQUAL(v, 0.9 * 0.2 + 0.51, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(out, 1 - 0.2 * 0.69, 1e-15);
    a.nesterov = true;
    ref_op[OP_SGD](&call);
    CU_ASSERT_DOUBLE_EQUAL(out, 1 - 0.2 * (0.51 + 0.9 * 0.69), 1e-15);
}

/* lenet_map with j -> infinity is the cross-entropy over -src. */
static void lenet_map_limit(void) {
    double x[4] = {0.3, 2, -1, 0.5}, minus[4] = {-0.3, -2, 1, -0.5}, cls = 2, a = 0, b = 0;
    RefTensor in[2] = {{{1, {4}}, 1, x}, {{0, {0}}, 1, &cls}}, out = {{0, {0}}, 1, &a};
    LossAttrs attrs = {.weight = 1, .j = 1e6};
    RefCall call = {.attrs = &attrs, .n = 1, .nin = 2, .in = in, .out = &out};
    ref_op[OP_LENET_MAP](&call);
    in[0].at = minus;
    out.at = &b;
    ref_op[OP_CROSS_ENTROPY](&call);
    CU_ASSERT_DOUBLE_EQUAL(a, b, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(a, -1 + log(exp(-0.3) + exp(-2) + exp(1) + exp(-0.5)), 1e-14);
}

/* Two maps of 2x2 that meet in no cell; a picture with one edge of height 3 between two columns. */
static void objectives_by_hand(void) {
    double x[8] = {1, 0, 0, 2, 0, 3, 0, 0}, gram[4] = {0}, edge[4] = {0, 3, 0, 3}, y = 0;
    RefTensor maps = {{3, {2, 2, 2}}, 1, x}, matrix = {{3, {2, 1, 2}}, 1, gram};
    RefTensor picture = {{3, {1, 2, 2}}, 1, edge}, number = {{1, {1}}, 1, &y};
    GramAttrs plain = {false}, scaled = {true};
    RefCall call = {.attrs = &plain, .n = 1, .nin = 1, .in = &maps, .out = &matrix};
    ref_op[OP_GRAM](&call);
    CU_ASSERT(gram[0] == 5 && gram[1] == 0 && gram[2] == 0 && gram[3] == 9); /* Gatys */
    memset(gram, 0, sizeof gram);
    call.attrs = &scaled;
    ref_op[OP_GRAM](&call);
    CU_ASSERT(gram[0] == 5.0 / 8 && gram[3] == 9.0 / 8); /* Johnson: by C H W */
    for (int power = 1; power <= 3; power++) {           /* two steps of 3, two cells of 3 */
        PowerAttrs a = {.alpha = power, .beta = power};
        RefCall of = {.attrs = &a, .n = 1, .nin = 1, .in = &picture, .out = &number};
        y = 0;
        ref_op[OP_TV](&of);
        CU_ASSERT_DOUBLE_EQUAL(y, 2 * pow(3, power), 1e-12);
        y = 0;
        ref_op[OP_ALPHA_NORM](&of);
        CU_ASSERT_DOUBLE_EQUAL(y, 2 * pow(3, power), 1e-12);
    }
}

SUITE_MAIN(TEST(attributes_are_compared_one_by_one), TEST(every_op_has_its_facts), TEST(every_op_has_its_code),
           TEST(exact_ops_are_the_movers), TEST(every_case_runs),
           TEST(gradients_match_differences), TEST(missing_links_get_no_gradient),
           TEST(adjoints_are_exact), TEST(conv_adjoint_grid), TEST(philox_known_answers),
           TEST(dropout_keeps_the_mean), TEST(lrn_alpha), TEST(sgd_by_hand), TEST(lenet_map_limit),
           TEST(objectives_by_hand))
