/* test_share.c: kernels that share code (codegen/share.h) would have written equal code.
 *
 * Networks are planned as programs over common parameters.  For every pair of kernels that
 * kernel_same_code calls equal, both bodies are written, each into a module of its own, and the
 * modules' texts compared.  A second test changes one thing at a time: none may go unnoticed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "codegen/codegen.h"
#include "codegen/share.h"
#include "emit/target.h"
#include "nets.h"
#include "suite.h"

enum { PROGRAMS = 3, ROOM = 1 << 22 };

static char *code_of(Arena *tmp, const Graph *g, int index, const Target *t) {
    char path[] = "/tmp/netc-share-XXXXXX", why[512];
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
    Emit *e = emit_new(tmp, t, "one");
    codegen_body(e, g, t, index, "code");
    CU_ASSERT_TRUE_FATAL(emit_ll(e, path, why, sizeof why));
    emit_free(e);
    FILE *f = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    char *text = malloc(ROOM);
    size_t n = fread(text, 1, ROOM - 1, f);
    text[n] = 0;
    fclose(f);
    unlink(path);
    return text;
}

static bool written_alike(const Graph *g, int i, const Graph *h, int j, const Target *t) {
    Arena *tmp = arena_new();
    char *a = code_of(tmp, g, i, t), *b = code_of(tmp, h, j, t);
    bool same = strcmp(a, b) == 0;
    free(a);
    free(b);
    arena_free(tmp);
    return same;
}

/* Seven equal convolutions, pools and chains, so that much is shared. */
static Net repeated(const char *program, ParamList *params) {
    Net n = net_new(program, params, 16, 12, 12);
    ValueId v = n.image;
    for (int i = 0; i < 6; i++) {
        v = net_conv(&n, arena_printf(n.keep, "c%d", i), v, 16, 3, 1, 1);
        v = net_op(&n, arena_printf(n.keep, "r%d", i), OP_RELU, v, 0);
        if (n.ctx.look)
            net_seed(&n, v);
        if (i == 2)
            v = net_op(&n, "skip", OP_ADD, v, n.image);
    }
    v = net_maxpool(&n, "p", v, 2, 2);
    v = net_dense(&n, "f0", v, 24);
    v = net_dropout(&n, "d0", v, 0.5, !n.ctx.train);
    v = net_dense(&n, "f1", v, 24);
    v = net_dropout(&n, "d1", v, 0.5, !n.ctx.train);
    net_end(&n, net_dense(&n, "f2", v, 24));
    return n;
}

static int check_pairs(Net (*make)(const char *, ParamList *), const char *target) {
    static const char *const program[PROGRAMS] = {"forward", "train", "look"};
    ParamList params = {0};
    Net n[PROGRAMS];
    char why[256];
    int shared = 0;
    Arena *keep = arena_new();
    Target t;
    CU_ASSERT_TRUE_FATAL(target_find(keep, target, &t, why, sizeof why));
    for (int p = 0; p < PROGRAMS; p++) {
        n[p] = make(program[p], &params);
        n[p].ctx.target = &t;
        CU_ASSERT_TRUE_FATAL(passes_run(n[p].g, &n[p].ctx));
    }
    params_place(&params);
    for (int p = 0; p < PROGRAMS; p++)
        for (int i = 0; i < n[p].g->nkernels; i++)
            for (int q = p, j = i + 1, found = 0; q < PROGRAMS && !found; q++, j = 0)
                for (; j < n[q].g->nkernels && !found; j++) {
                    const Graph *g = n[p].g, *h = n[q].g;
                    if (!kernel_same_code(g, &g->kernels[i], h, &h->kernels[j]))
                        continue;
                    found = 1; /* the next equal one is compared with this */
                    bool good = written_alike(g, i, h, j, &t);
                    if (!good)
                        printf("  %s %s and %s %s\n", g->name, g->kernels[i].name, h->name,
                               h->kernels[j].name);
                    CU_ASSERT(good);
                    shared++;
                }
    for (int p = 0; p < PROGRAMS; p++)
        net_free(&n[p]);
    arena_free(keep);
    return shared;
}

static void pairs(void) {
    CU_ASSERT(check_pairs(repeated, "x86-64-v4") > 40);
    CU_ASSERT(check_pairs(repeated, "x86-64-v2") > 40);
    CU_ASSERT(check_pairs(net_residual, "x86-64-v3") > 10);
    CU_ASSERT(check_pairs(net_lenet, "x86-64-v3") > 5);
    CU_ASSERT(check_pairs(net_fork, "x86-64-v4") > 5);
    CU_ASSERT(check_pairs(net_tanh, "x86-64-v4") > 0);
}

static void differences(void) {
    Net n = repeated("train", NULL);
    n.ctx.stop_after = NULL;
    CU_ASSERT_TRUE_FATAL(passes_run(n.g, &n.ctx));
    Graph *g = n.g;
    const Kernel *a = net_kernel(g, "c3+r3"), *b = net_kernel(g, "c4+r4");
    CU_ASSERT_TRUE_FATAL(a && b);
    CU_ASSERT(kernel_same_code(g, a, g, b));
    CU_ASSERT(!kernel_same_code(g, a, g, net_kernel(g, "c5+r5+p")));
    Kernel other = *b;
    other.tile.oh++;
    CU_ASSERT(!kernel_same_code(g, a, g, &other));
    ConvAttrs *attrs = graph_n(g, b->anchor)->attrs;
    attrs->algorithm++;
    CU_ASSERT(!kernel_same_code(g, a, g, b));
    attrs->algorithm--;
    Value *out = graph_v(g, graph_n(g, b->chain[0])->out[0]);
    out->layout.halo[2]++;
    CU_ASSERT(!kernel_same_code(g, a, g, b));
    out->layout.halo[2]--;
    out->stored = false;
    CU_ASSERT(!kernel_same_code(g, a, g, b));
    out->stored = true;
    Node *conv = graph_n(g, b->anchor);
    ValueId bias = conv->in[2];
    conv->in[2] = conv->in[0]; /* another pattern of operands */
    CU_ASSERT(!kernel_same_code(g, a, g, b));
    conv->in[2] = bias;
    Param *p = &g->params->at[graph_v(g, bias)->slot];
    p->bytes += 64;
    CU_ASSERT(!kernel_same_code(g, a, g, b));
    p->bytes -= 64;
    CU_ASSERT(kernel_same_code(g, a, g, b));
    net_free(&n);
}

SUITE_MAIN(TEST(pairs), TEST(differences))
