/* test_graph.c: shapes, layouts, building, text round trip, and that the verifier sees mistakes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<jansson.h>)
#include <jansson.h>
#endif

#include "base/bug.h"
#include "nets.h"
#include "suite.h"

/* ---- shapes and layouts ---- */

static void extent(int64_t in, int64_t k, int64_t s, int64_t p, RoundMode mode, int64_t want,
                   int64_t want_lost) {
    int64_t out = -1, lost = -1;
    CU_ASSERT(window_extent(in, k, s, p, p, 1, mode, false, &out, &lost));
    CU_ASSERT_EQUAL(out, want);
    CU_ASSERT_EQUAL(lost, want_lost);
}

static void windows(void) {
    int64_t out, lost;
    extent(32, 5, 1, 0, ROUND_FLOOR, 28, 0);
    extent(227, 11, 4, 0, ROUND_FLOOR, 55, 0);
    extent(224, 11, 4, 0, ROUND_FLOOR, 54, 1);
    extent(224, 7, 2, 1, ROUND_FLOOR, 110, 0);
    extent(110, 3, 2, 0, ROUND_FLOOR, 54, 1);
    extent(110, 3, 2, 0, ROUND_CEIL, 55, 0);
    extent(5, 5, 3, 0, ROUND_EXACT, 1, 0);
    CU_ASSERT_FALSE(window_extent(110, 3, 2, 0, 0, 1, ROUND_EXACT, false, &out, &lost));
    CU_ASSERT_FALSE(window_extent(4, 5, 1, 0, 0, 1, ROUND_FLOOR, false, &out, &lost));
    CU_ASSERT_FALSE(window_extent(INT64_MAX, 3, 1, 1, 1, 1, ROUND_FLOOR, false, &out, &lost));
    CU_ASSERT_FALSE(
        window_extent(9, INT64_MAX, 1, 0, 0, INT64_MAX, ROUND_FLOOR, false, &out, &lost));
    /* dilation 2 makes a 3-tap kernel span 5 */
    CU_ASSERT(window_extent(7, 3, 1, 0, 0, 2, ROUND_FLOOR, false, &out, &lost) && out == 3);
    /* Caffe: with padding 1 a rounded-up last window would start behind the image */
    CU_ASSERT(window_extent(4, 2, 2, 1, 1, 1, ROUND_CEIL, true, &out, &lost) && out == 3);
    CU_ASSERT(window_extent(5, 2, 2, 1, 1, 1, ROUND_CEIL, false, &out, &lost) && out == 4);
    CU_ASSERT(window_extent(5, 2, 2, 1, 1, 1, ROUND_CEIL, true, &out, &lost) && out == 3);
}

/* Every logical element has exactly one physical place; the rest is padding. */
static void covers(const Layout *l, Shape s, int64_t want_elems) {
    Axis axis[LAYOUT_MAX_AXES];
    int n = layout_axes(l, &s, axis);
    int64_t elems = layout_elems(l, &s), logical = shape_elems(&s), product = 1, found = 0;
    CU_ASSERT_EQUAL(elems, want_elems);
    for (int i = 0; i < n; i++)
        product *= axis[i].extent;
    CU_ASSERT_EQUAL(product, elems);
    char *seen = calloc((size_t)logical, 1);
    for (int64_t p = 0; p < elems; p++) {
        int64_t index[SHAPE_MAX_RANK] = {0}, rest = p, at = 0;
        bool inside = true;
        for (int i = n; i-- > 0; rest /= axis[i].extent)
            index[axis[i].dim] += rest % axis[i].extent * axis[i].mult + axis[i].offset;
        for (int d = 0; d < s.rank; d++) {
            inside &= index[d] >= 0 && index[d] < s.dim[d];
            at = at * s.dim[d] + index[d];
        }
        if (!inside)
            continue;
        found += !seen[at];
        CU_ASSERT_FALSE(seen[at]);
        seen[at] = 1;
    }
    CU_ASSERT_EQUAL(found, logical);
    free(seen);
}

static void layouts(void) {
    covers(&(Layout){.kind = LAYOUT_PLAIN}, (Shape){0, {0}}, 1);
    covers(&(Layout){.kind = LAYOUT_PLAIN, .halo = {1, 2, 3, 4}}, (Shape){3, {3, 4, 5}},
           3 * 7 * 12);
    covers(&(Layout){.kind = LAYOUT_BLOCKED, .block = 16, .halo = {1, 0, 2, 0}},
           (Shape){3, {20, 3, 4}}, 32 * 4 * 6);
    covers(&(Layout){.kind = LAYOUT_BLOCKED, .block = 8}, (Shape){1, {10}}, 16);
    covers(&(Layout){.kind = LAYOUT_WEIGHTS, .o_tile = 32, .i_block = 16, .groups = 1},
           (Shape){4, {40, 20, 3, 2}}, 64 * 32 * 6);
    covers(
        &(Layout){
            .kind = LAYOUT_WEIGHTS, .o_tile = 16, .i_block = 16, .groups = 1, .transposed = true},
        (Shape){4, {40, 20, 3, 2}}, 48 * 32 * 6);
    covers(&(Layout){.kind = LAYOUT_WEIGHTS, .o_tile = 16, .i_block = 3, .groups = 1},
           (Shape){2, {10, 7}}, 16 * 9);
    covers(&(Layout){.kind = LAYOUT_WEIGHTS, .o_tile = 16, .i_block = 16, .groups = 2},
           (Shape){4, {64, 16, 3, 3}}, 64 * 16 * 9);
    covers(
        &(Layout){
            .kind = LAYOUT_WEIGHTS, .o_tile = 16, .i_block = 16, .groups = 2, .transposed = true},
        (Shape){4, {64, 16, 3, 3}}, 64 * 16 * 9);
    Shape huge = {3, {INT64_C(1) << 40, INT64_C(1) << 40, 4}};
    CU_ASSERT_EQUAL(shape_elems(&huge), -1);
    CU_ASSERT_EQUAL(layout_elems(&(Layout){.kind = LAYOUT_PLAIN}, &huge), -1);
    char text[32];
    shape_print(&(Shape){3, {96, 55, 55}}, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "96x55x55");
    shape_print(&(Shape){0, {0}}, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "1");
    shape_print(&(Shape){3, {123456, 123456, 123456}}, text, 8); /* must not overflow */
    CU_ASSERT_EQUAL(strlen(text), 7);
}

/* ---- building ---- */

static void building(void) {
    Net n = net_residual("forward", NULL);
    Graph *g = n.g;
    ValueId r0 = graph_find(g, "r0"), c0 = graph_find(g, "c0"), sum = graph_find(g, "sum");
    NodeId users[8];
    CU_ASSERT_EQUAL(graph_uses(g, r0, users, 8), 2);
    CU_ASSERT_EQUAL(graph_n(g, users[0])->op, OP_CONV2D);
    CU_ASSERT_EQUAL(graph_n(g, users[1])->op, OP_ADD);
    CU_ASSERT_EQUAL(graph_uses(g, r0, NULL, 0), 2);
    CU_ASSERT_EQUAL(graph_find(g, "nobody"), 0);

    /* order: by creation among ready nodes, and creation was topological here */
    graph_toposort(g);
    for (uint32_t o = 1; o < g->norder; o++)
        CU_ASSERT(g->order[o - 1] < g->order[o]);

    Graph *c = graph_clone(g, "copy");
    graph_replace_uses(g, r0, c0); /* skip the relu */
    CU_ASSERT_EQUAL(graph_uses(g, r0, NULL, 0), 0);
    CU_ASSERT_EQUAL(graph_uses(g, c0, NULL, 0), 3);
    CU_ASSERT_EQUAL(graph_resolve(g, r0), c0);
    CU_ASSERT_EQUAL(graph_find(g, "r0"), c0);
    CU_ASSERT_EQUAL(graph_uses(c, r0, NULL, 0), 2); /* the clone is untouched */
    CU_ASSERT_EQUAL(c->params, g->params);
    graph_n(g, graph_v(g, r0)->def)->dead = true;
    graph_toposort(g);
    char why[256];
    CU_ASSERT(graph_verify(g, "replacing", why, sizeof why));
    CU_ASSERT(graph_verify(c, "cloning", why, sizeof why));
    CU_ASSERT(graph_v(g, sum)->batched);
    net_free(&n);
}

static Net (*const makers[])(const char *, ParamList *) = {net_lenet, net_residual, net_fork,
                                                           net_shared, net_tanh};
static const char *const programs[] = {"forward", "train", "look"};
static const char *const stages[] = {"fold", "grad", "dce", "fuse", "layout", "schedule", NULL};

/* print(parse(print(g))) == print(g), and the parsed graph verifies, after every pass. */
static void round_trip(void) {
    for (size_t m = 0; m < sizeof makers / sizeof *makers; m++)
        for (int p = 0; p < 3; p++)
            for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
                Net n = makers[m](programs[p], NULL);
                n.ctx.stop_after = stages[s];
                CU_ASSERT_EQUAL(passes_run(n.g, &n.ctx), stages[s] == NULL);
                params_place(n.g->params);
                char *first = net_text(n.g, n.keep), why[256];
                const char *error = NULL;
                Graph *back = graph_parse(n.keep, first, &error);
                CU_ASSERT_PTR_NOT_NULL_FATAL(back);
                CU_ASSERT_STRING_EQUAL(net_text(back, n.keep), first);
                CU_ASSERT(graph_verify(back, "parsing", why, sizeof why));
                CU_ASSERT_EQUAL(back->nkernels, n.g->nkernels);
                net_free(&n);
            }
}

static void refuse_text(const char *text, const char *say) {
    Arena *a = arena_new();
    const char *error = NULL;
    CU_ASSERT_PTR_NULL(graph_parse(a, text, &error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(error);
    if (!strstr(error, say))
        printf("'%s' does not say '%s'\n", error, say);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, say));
    arena_free(a);
}

#define HEAD "graph \"g\" net \"n\"\n%1 = input 0 : f32[1,4,4] n\n"
static void bad_text(void) {
    refuse_text("", "expected 'graph'");
    refuse_text("graph \"g", "string without end");
    refuse_text(HEAD "%2 = load_input(%9) : f32[1,4,4] n\n", "line 3: %9 is used before");
    refuse_text(HEAD "%2 = magic(%1) : f32[1,4,4] n\n", "no operator 'magic'");
    refuse_text(HEAD "%1 = load_input(%1) : f32[1,4,4] n\n", "defined twice");
    refuse_text(HEAD "%2 = maxpool(%1) {size=3} : f32[1,4,4] n\n", "no attribute 'size'");
    refuse_text(HEAD "%2 = maxpool(%1) {kernel=a} : f32[1,4,4] n\n", "bad value for 'kernel'");
    refuse_text(HEAD "%2 = load_input(@w) : f32[1,4,4] n\n", "no parameter is called 'w'");
    refuse_text(HEAD "%2 = param 0 : f32[1]\n", "no parameter 0");
    refuse_text(HEAD "%2 = load_input(%1) : f32[1,4,0] n\n", "extent out of range");
    refuse_text(HEAD "%2 = load_input(%1) : f32[2147483647,2147483647] n\n", "too large");
    refuse_text(HEAD "%2 = load_input(%1) : f32[1,1,1,1,1,1] n\n", "more than 5");
    refuse_text(HEAD "%99999999 = load_input(%1) : f32[1,4,4] n\n", "not between");
    refuse_text(HEAD "kernel 0 \"k\" {\n", "without end");
    refuse_text(HEAD "}\n", "closes no kernel");
    refuse_text(HEAD "kernel 1 \"k\" {\n", "numbered");
    refuse_text(HEAD "entry \"e\" 0 1\n", "not between");
    refuse_text(HEAD "param 0 \"w\" [2] init table 0 0 table 1,2,3\n", "too long");
    refuse_text(HEAD "param 0 \"w\" [2] init table 0 0 table 1\n", "too short");
    refuse_text(HEAD "param 0 \"w\" [2,2] links 010\n", "4 digits");
    refuse_text(HEAD "nonsense\n", "unexpected");
}

static uint32_t next_random(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

/* Damaged dumps must be refused by the parser or the verifier, or be harmless; never crash. */
static void damaged_text(void) {
    Net n = net_fork("look", NULL);
    passes_run(n.g, &n.ctx);
    char *text = net_text(n.g, n.keep), why[256];
    size_t size = strlen(text);
    uint32_t seed = 1;
    int refused = 0;
    for (int round = 0; round < 1500; round++) {
        Arena *a = arena_new();
        char *copy = arena_strdup(a, text);
        for (int i = 0; i <= round % 4; i++) {
            size_t at = next_random(&seed) % size, from = next_random(&seed) % size;
            if (round % 3 == 0)
                copy[at] = (char)(32 + next_random(&seed) % 95);
            else if (round % 3 == 1)
                copy[at] = copy[from];
            else
                memmove(copy + at, copy + at + 1, strlen(copy) > at ? strlen(copy) - at : 0);
        }
        const char *error = NULL;
        Graph *g = graph_parse(a, copy, &error);
        refused += !g || !graph_verify(g, "damage", why, sizeof why);
        arena_free(a);
    }
    CU_ASSERT(refused > 500);
    net_free(&n);
}

/* ---- the verifier ---- */

typedef void (*Damage)(Net *n);

static ValueId find(Net *n, const char *name) {
    ValueId v = graph_find(n->g, name);
    BUG_IF(!v, "no value '%s'", name);
    return v;
}

static void wrong_shape(Net *n) {
    graph_v(n->g, find(n, "r1"))->shape.dim[0]++;
}
static void wrong_type(Net *n) {
    graph_v(n->g, find(n, "r1"))->dtype = DT_I32;
}
static void wrong_batch(Net *n) {
    graph_v(n->g, find(n, "r1"))->batched = false;
}
static void wrong_def(Net *n) {
    graph_v(n->g, find(n, "r1"))->def = 1;
}
static void wrong_arity(Net *n) {
    graph_n(n->g, graph_v(n->g, find(n, "r1"))->def)->nin = 0;
}
static void same_name(Net *n) {
    graph_v(n->g, find(n, "r1"))->name = "c2";
}
static void two_outputs(Net *n) {
    graph_n(n->g, graph_v(n->g, find(n, "r1"))->def)->out[0] = find(n, "c1");
}
static void wrong_order(Net *n) {
    NodeId t = n->g->order[2];
    n->g->order[2] = n->g->order[3];
    n->g->order[3] = t;
}
static void lost_node(Net *n) {
    n->g->norder--;
}
static void wrong_input(Net *n) {
    graph_n(n->g, graph_v(n->g, find(n, "r1"))->def)->in[0] = 9999;
}
static void dead_input(Net *n) {
    graph_v(n->g, find(n, "p1"))->kind = VK_NONE;
}
static void no_param(Net *n) {
    graph_v(n->g, find(n, "c1.weight"))->slot = 99;
}
static void not_stored(Net *n) {
    graph_v(n->g, find(n, "p1"))->stored = false;
}
static void kernel_twice(Net *n) {
    n->g->kernels[1].anchor = n->g->kernels[2].anchor;
}
static void kernel_less(Net *n) {
    n->g->nkernels--;
}
static void chain_breaks(Net *n) {
    for (int i = 0; i < n->g->nkernels; i++)
        if (n->g->kernels[i].nchain == 1) {
            n->g->kernels[i].anchor = n->g->kernels[i].chain[0];
            return;
        }
}
static Kernel *with_tail(Net *n) {
    for (int i = 0; i < n->g->nkernels; i++)
        if (n->g->kernels[i].tail)
            return &n->g->kernels[i];
    BUG("no kernel pools");
}
static void tail_early(Net *n) {
    with_tail(n)->nchain--;
}
static void tail_no_pool(Net *n) {
    Kernel *k = with_tail(n);
    k->tail = k->chain[--k->nchain];
}
static void no_layout(Net *n) {
    graph_v(n->g, find(n, "p1"))->layout.kind = LAYOUT_UNSET;
}
static void thin_halo(Net *n) {
    graph_v(n->g, find(n, "image"))->layout.halo[1] = 0;
}
static void few_bytes(Net *n) {
    graph_v(n->g, find(n, "p1"))->bytes -= 64;
}
static void no_place(Net *n) {
    graph_v(n->g, find(n, "p1"))->pool = POOL_NONE;
}
static void wrong_slab(Net *n) {
    graph_v(n->g, find(n, "p1"))->pool = POOL_FIX;
}
static void outside(Net *n) {
    graph_v(n->g, find(n, "p1"))->offset = n->g->act_bytes;
}
static void crooked(Net *n) {
    graph_v(n->g, find(n, "p1"))->offset += 4;
}
static void overwritten(Net *n) {
    graph_v(n->g, find(n, "p2"))->offset = graph_v(n->g, find(n, "p1"))->offset;
}
static void entry_gap(Net *n) {
    n->g->entry[0].count--;
}
static void swapped_kernels(Net *n) {
    Kernel k = n->g->kernels[1];
    n->g->kernels[1] = n->g->kernels[2];
    n->g->kernels[2] = k;
    for (int i = 1; i < 3; i++) {
        const Kernel *now = &n->g->kernels[i];
        NodeId node[KERNEL_MAX_NODES];
        int count = kernel_nodes(now, node);
        for (int c = 0; c < count; c++)
            graph_n(n->g, node[c])->kernel = (uint32_t)i + 1;
    }
}

static void sees(const char *stop, Damage damage, const char *say) {
    Net n = net_lenet("train", NULL);
    char why[512];
    n.ctx.stop_after = stop;
    passes_run(n.g, &n.ctx);
    CU_ASSERT(graph_verify(n.g, "nothing", why, sizeof why));
    damage(&n);
    bool good = graph_verify(n.g, "damage", why, sizeof why);
    if (good || !strstr(why, say))
        printf("wanted '%s', got '%s'\n", say, why);
    CU_ASSERT_FALSE(good);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, say));
    net_free(&n);
}

static void verifier(void) {
    sees("grad", wrong_shape, "instead of");
    sees("grad", wrong_type, "wrong type");
    sees("grad", wrong_batch, "batch");
    sees("grad", wrong_def, "does not know its definition");
    sees("grad", wrong_arity, "has 0 inputs");
    sees("grad", same_name, "two values are called 'c2'");
    sees("grad", two_outputs, "defined twice");
    sees("grad", wrong_order, "before its definition");
    sees("grad", lost_node, "not in the order");
    sees("grad", wrong_input, "does not exist");
    sees("grad", dead_input, "is no result");
    sees("grad", no_param, "belongs to no parameter");
    sees("fuse", not_stored, "not stored");
    sees("fuse", kernel_twice, "does not know its kernel 1");
    sees("fuse", kernel_less, "kernels hold");
    sees("fuse", chain_breaks, "wrongly");
    sees("fuse", tail_early, "does not read the chain");
    sees("fuse", tail_no_pool, "cannot follow a chain");
    sees("layout", no_layout, "no possible layout");
    sees("layout", thin_halo, "halo of 0");
    sees("layout", few_bytes, "bytes but needs");
    sees(NULL, no_place, "has no place");
    sees(NULL, wrong_slab, "slab");
    sees(NULL, outside, "outside its slab");
    sees(NULL, crooked, "outside its slab");
    sees(NULL, overwritten, "(p1)");
    sees("schedule", entry_gap, "entries cover");
    sees("schedule", swapped_kernels, "not made yet");
}

/* The update of a parameter before its last reader. */
static void early_update(void) {
    Net n = net_lenet("train", NULL);
    char why[512];
    n.ctx.stop_after = "grad";
    passes_run(n.g, &n.ctx);
    Graph *g = n.g;
    uint32_t update = 0;
    while (graph_n(g, g->order[update])->op != OP_SGD ||
           strcmp(graph_v(g, graph_n(g, g->order[update])->in[0])->name, "f2.weight") != 0)
        update++;
    CU_ASSERT_EQUAL(update > 0, true);
    /* Make an earlier node depend on nothing new but read the weights after the update. */
    NodeId sgd = g->order[update];
    ValueId w = graph_n(g, sgd)->in[0];
    ValueId late = graph_op(g, OP_TRANSPOSE_WEIGHTS, &(TransposeWeightsAttrs){1}, 1, &w);
    NodeId *order = ARENA_ARRAY(n.keep, g->norder + 1, NodeId);
    memcpy(order, g->order, g->norder * sizeof *order);
    order[g->norder++] = graph_v(g, late)->def;
    g->order = order;
    CU_ASSERT_FALSE(graph_verify(g, "damage", why, sizeof why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "after its update"));
    graph_toposort(g); /* which repairs it */
    CU_ASSERT(graph_verify(g, "repair", why, sizeof why));
    net_free(&n);
}

static void pictures(void) {
    Net n = net_fork("train", NULL);
    char *text = NULL;
    passes_run(n.g, &n.ctx);
    text = ARENA_ARRAY(n.keep, 1 << 18, char);
    FILE *f = fmemopen(text, 1 << 18, "w");
    graph_dot(n.g, f);
    plan_print(n.g, &net_target, f);
    fclose(f);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "digraph"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "subgraph cluster_0"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "slab per image"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "lower bound"));
    net_free(&n);
}

/* A judge of our JSON: values of the kinds that readers of the plan rely on. */
static void plan_as_json(void) {
#if __has_include(<jansson.h>)
    Net n = net_fork("train", NULL);
    char *text = NULL;
    size_t size;
    passes_run(n.g, &n.ctx);
    FILE *f = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    plan_json(n.g, &net_target, f);
    fclose(f);
    json_error_t wrong = {0};
    json_t *plan = json_loads(text, JSON_REJECT_DUPLICATES, &wrong), *kernel;
    if (!plan)
        printf("  line %d, column %d: %s\n", wrong.line, wrong.column, wrong.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plan);
    size_t count = json_array_size(json_object_get(plan, "kernels")), nodes = 0, i;
    CU_ASSERT_EQUAL(count, (size_t)n.g->nkernels);
    json_t *memory = json_object_get(plan, "memory");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(memory, "per_image")), n.g->act_bytes);
    json_array_foreach(json_object_get(plan, "kernels"), i, kernel) {
        const Kernel *k = &n.g->kernels[i];
        CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(kernel, "name")), k->name);
        CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(kernel, "algorithm")),
                               k->algorithm);
        CU_ASSERT_EQUAL(json_array_size(json_object_get(kernel, "rejected")),
                        (size_t)k->nrejected);
        CU_ASSERT_PTR_NOT_NULL(json_object_get(kernel, "seconds"));
        nodes += json_array_size(json_object_get(kernel, "nodes"));
    }
    CU_ASSERT_EQUAL(nodes, n.g->norder);
    json_decref(plan);
    free(text);
    net_free(&n);
#else
    suite_skip("jansson is not installed");
#endif
}

SUITE_MAIN(TEST(windows), TEST(layouts), TEST(building), TEST(round_trip), TEST(bad_text),
           TEST(damaged_text), TEST(verifier), TEST(early_update), TEST(pictures),
           TEST(plan_as_json))
