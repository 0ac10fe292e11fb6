/* test_spills.c: the loops that multiply keep everything in registers: the generated assembly of the
 * large layers' kernels, for every target.
 *
 * An innermost loop is the code between a label and a branch back to it without another such pair
 * inside.  Those with at least eight multiplications and no store of a vector are the summing loops
 * of convolutions, dense layers, weights' gradients and Winograd's products; Winograd's transforms
 * store, and hold more than a register file on purpose.  In the summing loops any access to the
 * stack is a failure, and so is a low share of multiply-adds among the instructions (which is how
 * scheduling for one processor model shows: moves, reloads, addresses in registers of their own).
 * ctest-labels: slow
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "emit/target.h"
#include "layer.h"
#include "suite.h"

enum { LINES = 60000, LABELS = 4000, LOOPS = 4000 };

/* One function's instructions; labels and branches by instruction number. */
typedef struct Code {
    char *line[LINES];
    int count;
    struct {
        const char *name;
        int at;
    } label[LABELS];
    int labels;
    struct {
        int from, to;
    } loop[LOOPS];
    int loops;
    bool frame; /* rbp points into the stack */
} Code;

static bool starts(const char *line, const char *word) {
    return strncmp(line, word, strlen(word)) == 0;
}

static bool arm(const Target *t) {
    return starts(t->triple, "aarch64");
}

static bool is_branch(const Target *t, const char *line) {
    static const char *const word[] = {"b.", "b\t", "cb", "tb", NULL};
    if (!arm(t))
        return line[0] == 'j';
    for (int i = 0; word[i]; i++)
        if (starts(line, word[i]))
            return true;
    return false;
}

static int label_at(const Code *c, const char *name, size_t n) {
    for (int i = 0; i < c->labels; i++)
        if (strlen(c->label[i].name) == n && strncmp(c->label[i].name, name, n) == 0)
            return c->label[i].at;
    return -1;
}

/* Cuts the function `name` out of the text, which is changed. */
static void read_code(Code *c, const Target *t, char *text, const char *name) {
    size_t n = strlen(name);
    bool inside = false;
    *c = (Code){0};
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        if (!inside) {
            inside = strncmp(line, name, n) == 0 && line[n] == ':';
            continue;
        }
        char *colon = strchr(line, ':');
        if (starts(line, ".Lfunc_end"))
            return;
        if (line[0] == '.' && colon) {
            if (c->labels == LABELS)
                break;
            *colon = 0;
            c->label[c->labels].name = line;
            c->label[c->labels++].at = c->count;
            continue;
        }
        if (line[0] != '\t' || line[1] == '.' || line[1] == '#' || line[1] == '/')
            continue;
        ++line;
        c->frame |= starts(line, "movq\t%rsp, %rbp");
        if (c->count == LINES || c->loops == LOOPS)
            break;
        const char *to = is_branch(t, line) ? strstr(line, ".LBB") : NULL;
        int at = to ? label_at(c, to, strcspn(to, " \t#/")) : -1;
        if (at >= 0) {
            c->loop[c->loops].from = at;
            c->loop[c->loops++].to = c->count;
        }
        c->line[c->count++] = line;
    }
    CU_FAIL("a function does not end, or is larger than expected");
}

static bool innermost(const Code *c, int index) {
    int from = c->loop[index].from, to = c->loop[index].to;
    for (int i = 0; i < c->loops; i++) {
        bool within = c->loop[i].from >= from && c->loop[i].to <= to;
        if (within && c->loop[i].to - c->loop[i].from < to - from)
            return false;
    }
    return true;
}

static bool on_stack(const Code *c, const Target *t, const char *line) {
    if (arm(t))
        return strstr(line, "[sp") != NULL;
    return strstr(line, "(%rsp") || (c->frame && strstr(line, "(%rbp"));
}

static bool multiplies(const Target *t, const char *line) {
    if (arm(t))
        return starts(line, "fmla") || starts(line, "fmls");
    return starts(line, "vfmadd") || starts(line, "vfnmadd") || starts(line, "mulps") ||
           starts(line, "vmulps");
}

static bool stores_vector(const Code *c, const Target *t, const char *line) {
    if (on_stack(c, t, line))
        return false;
    if (arm(t))
        return starts(line, "str\tq") || starts(line, "stp\tq") || starts(line, "stur\tq");
    const char *comma = strstr(line, "mm");
    const char *to = strrchr(line, ',');
    bool move = starts(line, "vmov") || starts(line, "mov");
    return move && comma && to && comma < to && strchr(line, '(') && !strstr(to, "mm");
}

typedef struct Found {
    int loops, spills;
    double density; /* least share of multiplications */
} Found;

static Found judge(const Code *c, const Target *t) {
    Found f = {0, 0, 1};
    for (int i = 0; i < c->loops; i++) {
        int products = 0, stack = 0, stores = 0, from = c->loop[i].from, to = c->loop[i].to;
        if (!innermost(c, i))
            continue;
        for (int k = from; k <= to; k++) {
            products += multiplies(t, c->line[k]);
            stack += on_stack(c, t, c->line[k]);
            stores += stores_vector(c, t, c->line[k]);
        }
        if (products < 8 || stores)
            continue;
        double density = products / (double)(to - from + 1);
        f.loops++;
        f.spills += stack;
        f.density = density < f.density ? density : f.density;
    }
    return f;
}

static char *assembly(Emit *e) {
    char path[] = "/tmp/netc-spills-XXXXXX", why[512] = "";
    int file = mkstemp(path);
    CU_ASSERT_FATAL(file >= 0);
    CU_ASSERT_TRUE_FATAL(emit_asm(e, path, why, sizeof why));
    close(file);
    FILE *f = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = calloc((size_t)size + 1, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_EQUAL(fread(text, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    unlink(path);
    return text;
}

/* The least share of multiplications that a clean loop of the target has: one broadcast for one or
 * two products; without multiply-adds an addition and often a move for each product. */
static double least_density(const Target *t, const Layer *l) {
    if (!t->fma)
        return 0.18;
    return l->kernel[0] ? 0.4 : 0.25;
}

static void check(const Layer *l, LayerDirection d, const Target *t, const PlanOptions *options) {
    Arena *keep = arena_new();
    char why[512] = "";
    Graph *g = layer_graph(keep, l, d, options, t);
    Emit *e = emit_new(keep, t, "spills");
    codegen_kernels(e, g, t, "k");
    CU_ASSERT_TRUE_FATAL(emit_finish(e, 2, why, sizeof why));
    int index = layer_kernel(g);
    char *text = assembly(e);
    Code *c = calloc(1, sizeof *c);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    read_code(c, t, text, codegen_kernel_name(keep, g, index, "k"));
    Found f = judge(c, t);
    bool good = f.loops > 0 && f.spills == 0 && f.density >= least_density(t, l);
    if (!good || getenv("NETC_SPILLS"))
        printf("  %s %s of %s, b%d, %s: %d loops, %d stack accesses, density %.2f\n", t->name,
               layer_direction[d], l->name, options->batch, g->kernels[index].algorithm, f.loops,
               f.spills, f.density);
    CU_ASSERT_TRUE(good);
    free(c);
    free(text);
    emit_free(e);
    arena_free(keep);
}

static bool same_shape(const Layer *a, const Layer *b) {
    return a->c == b->c && a->h == b->h && a->o == b->o && a->groups == b->groups &&
           a->kernel[0] == b->kernel[0];
}

static void all_layers(const char *target) {
    static const PlanOptions plan[] = {{.batch = 1, .exact = true},
                                       {.batch = 16, .force = "winograd"}};
    static const PlanOptions pixels = {.batch = 1, .force = "pixels"};
    static const Layer few[] = {{"lenet1", 1, 32, 32, 6, {5, 5}, 1, 0, 1},
                                {"few of 3", 3, 32, 48, 8, {3, 3}, 1, 1, 1},
                                {"few of 4, stride", 4, 48, 60, 3, {7, 7}, 2, 3, 1}};
    Arena *keep = arena_new();
    Target t;
    char why[256];
    CU_ASSERT_TRUE_FATAL(target_find(keep, target, &t, why, sizeof why));
    for (int i = 0; layers[i].name; i++) {
        const Layer *l = &layers[i];
        bool again = false;
        for (int k = 0; k < i; k++)
            again |= same_shape(l, &layers[k]);
        bool three = l->kernel[0] == 3 && l->c > 4;
        for (int d = 0; d < 3 && !again; d++) {
            check(l, (LayerDirection)d, &t, &plan[0]);
            if (three || !l->kernel[0]) /* dense: the kernels for many images */
                check(l, (LayerDirection)d, &t, &plan[1]);
        }
    }
    for (int i = 0; i < (int)(sizeof few / sizeof *few); i++)
        check(&few[i], LAYER_FORWARD, &t, &pixels);
    arena_free(keep);
}

static void native(void) {
    all_layers("native");
}

static void avx512(void) {
    all_layers("x86-64-v4");
}

static void avx2(void) {
    all_layers("x86-64-v3");
}

static void sse(void) {
    all_layers("x86-64-v2");
}

static void neon(void) {
    all_layers("aarch64");
}

SUITE_MAIN(TEST(native), TEST(avx512), TEST(avx2), TEST(sse), TEST(neon))
