/* test_onnx.c: every ONNX operator that netc imports computes what onnxruntime computes.
 *
 * tests/import/operators.bin (from make_operators.py there) holds one tiny model per operator and
 * operator set, and its output.  Each is imported to a spec and weights, the spec is parsed and
 * built, and the reference interpreter runs its graph on the weights: double precision, so what is
 * compared is the import.  Compiled code is held against the same interpreter elsewhere.
 * Then the network is exported, imported again and must compute the same: so every operator that
 * both ways share is held against onnxruntime in both.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/diag.h"
#include "front/model.h"
#include "front/parse.h"
#include "import/import.h"
#include "ops/onnx_write.h"
#include "ref_cases.h"
#include "ref_run.h"
#include "rt_files.h"
#include "rt_safetensors.h"
#include "suite.h"

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        bool good_ = (cond);                                                                       \
        if (!good_) {                                                                              \
            printf("\n  ");                                                                        \
            printf(__VA_ARGS__);                                                                   \
        }                                                                                          \
        CU_ASSERT(good_);                                                                          \
    } while (0)

typedef struct Record {
    char name[64];
    int opset, bytes, rank, dim[5];
    const char *model;
    const float *want; /* may be unaligned */
    int64_t count;
} Record;

static char *read_all(Arena *arena, const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    *size = 0;
    if (!f)
        return NULL;
    char *data = arena_alloc(arena, 1 << 21);
    *size = fread(data, 1, (1 << 21) - 1, f);
    data[*size] = 0;
    fclose(f);
    return data;
}

static const char *vectors(Arena *arena) {
    const char *root = getenv("NETC_SOURCE_DIR");
    return arena_printf(arena, "%s/tests/import/operators.bin", root ? root : "../..");
}

/* The next record; steps over it. */
static bool next_record(const char **at, const char *end, Record *r) {
    int used = 0;
    if (*at >= end ||
        sscanf(*at, "%63s %d %d %d%n", r->name, &r->opset, &r->bytes, &r->rank, &used) != 4)
        return false;
    const char *p = *at + used;
    r->count = 1;
    for (int i = 0; i < r->rank && i < 5; i++) {
        char *stop;
        r->dim[i] = (int)strtol(p, &stop, 10);
        r->count *= r->dim[i];
        p = stop;
    }
    if (r->rank < 0)
        r->count = 0;
    r->model = p + 1;
    r->want = (const float *)(const void *)(r->model + r->bytes);
    *at = r->model + r->bytes + r->count * 4;
    return *at <= end;
}

static Model *build(Arena *arena, const char *path, const char *text) {
    Sources *s = sources_new(arena);
    DiagCtx *d = diag_ctx_new(arena, s);
    Ast *file = parse_text(arena, s, d, path, text, strlen(text), NULL);
    ModelOptions options = {.sources = s, .forward_only = true, .strict_shapes = false};
    Model *m = file ? model_build(arena, d, file, &options) : NULL;
    if (!m)
        diag_render(d, stdout, DIAG_TEXT, false);
    return m;
}

/* The weights file must hold exactly the network's parameters. */
static bool load(const Model *m, const char *path, double **param) {
    st_file file;
    rt_error err = {0};
    int found = 0;
    if (st_open(&file, path, 0, &err))
        return false;
    for (int i = 0; i < m->params.count; i++) {
        const Param *p = &m->params.at[i];
        const st_tensor *t = st_find(&file, p->name);
        int64_t n = shape_elems(&p->shape), wide = n;
        if (p->constant)
            continue;
        if (!t)
            break;
        float *v = malloc((size_t)n * sizeof *v);
        bool same = t->count == n && st_read(&file, t, v, n, &err) == 0;
        if (same)
            for (int64_t k = 0; k < n; k++)
                param[i][k] = (double)v[k];
        else if (p->links && t->count < n && st_read(&file, t, v, t->count, &err) == 0) {
            wide = 0; /* groups: the numbers stand where links are */
            int64_t cell = n / (p->shape.dim[0] * p->shape.dim[1]);
            for (int64_t k = 0; k < n; k++)
                param[i][k] = p->links[k / cell] ? (double)v[wide++] : 0;
            same = wide == t->count;
        }
        found += same;
        free(v);
    }
    int want = 0;
    for (int i = 0; i < m->params.count; i++)
        want += !m->params.at[i].constant;
    bool all = found == want && file.tensors == want;
    st_close(&file);
    return all;
}

/* ---- and back ---- */
static void put_varint(FILE *f, uint64_t v) {
    for (; v > 127; v >>= 7)
        fputc((int)(v & 127) | 128, f);
    fputc((int)v, f);
}
static void put_field(FILE *f, int field, const void *data, size_t n) {
    put_varint(f, (uint64_t)field << 3 | 2);
    put_varint(f, n);
    fwrite(data, 1, n, f);
}

/* The parameters as TensorProtos in memory: `text` is released by the caller. */
static char *initializers(const OnnxGraph *x, double *const *param, size_t *size) {
    char *text, *one;
    size_t n;
    FILE *all = open_memstream(&text, size);
    for (int i = 0; i < x->tensors; i++) {
        const OnnxTensor *t = &x->tensor[i];
        FILE *f = open_memstream(&one, &n);
        int64_t count = 1;
        for (int d = 0; d < t->rank; d++) {
            put_varint(f, 1 << 3);
            put_varint(f, (uint64_t)t->dim[d]);
            count *= t->dim[d];
        }
        put_varint(f, 2 << 3);
        put_varint(f, 1);
        put_field(f, 8, t->name, strlen(t->name));
        put_varint(f, 9 << 3 | 2);
        put_varint(f, (uint64_t)count * 4);
        for (int64_t k = 0; k < count; k++) {
            float v = (float)param[t->param][k];
            fwrite(&v, 4, 1, f);
        }
        fclose(f);
        put_field(all, 5, one, n);
        free(one);
    }
    fclose(all);
    return text;
}

/* Writes the network as an ONNX file; false: it cannot be said. */
static bool export_model(Arena *arena, const Model *m, double *const *param, const char *path) {
    const ModelGraph *g = &m->mode[MODEL_FORWARD];
    const OnnxStart inputs[] = {{m->input[0].name, m->input[0].line}};
    OnnxEnd end[OUTPUTS_MAX];
    for (int i = 0; i < m->noutputs; i++)
        end[i] = (OnnxEnd){i ? m->output[i].name : "y", m->output[i].value[MODEL_FORWARD],
                           m->output[i].shape.rank == 2};
    OnnxGraph x = onnx_graph(arena, g->graph, &m->params, end, m->noutputs, inputs);
    if (x.refused) {
        printf("\n  %s", x.refused);
        return false;
    }
    size_t size;
    char *numbers = initializers(&x, param, &size);
    FILE *f = fopen(path, "wb");
    put_varint(f, 1 << 3);
    put_varint(f, 8);
    const unsigned char set[] = {0x10, ONNX_SET};
    put_field(f, 8, set, sizeof set);
    put_varint(f, 7 << 3 | 2);
    put_varint(f, x.size + size);
    fwrite(x.body, 1, x.size, f);
    fwrite(numbers, 1, size, f);
    free(numbers);
    return fclose(f) == 0;
}

static void compare(const Record *r, const Model *m, const RefRun *run) {
    const ModelGraph *g = &m->mode[MODEL_FORWARD];
    ValueId v = g->prob ? g->prob : g->score;
    double most = 1, worst = 0;
    int64_t n = ref_value_elems(run, v);
    const Shape *s = &graph_v(g->graph, v)->shape;
    int64_t frames = shape_frames(s), cells = s->rank == 3 ? s->dim[1] * s->dim[2] : 1;
    for (int64_t k = 0; n == r->count && k < n; k++) {
        int64_t c = k / cells / frames, f = k / cells % frames; /* kept frame by frame */
        double have = run->value[v][frames > 1 ? (f * s->dim[0] + c) * cells + k % cells : k];
        float want;
        memcpy(&want, (const char *)r->want + 4 * k, 4);
        most = fabs((double)want) > most ? fabs((double)want) : most;
        worst = fmax(worst, fabs((double)want - have));
    }
    CHECK(n == r->count, "%s in set %d gives %lld numbers, not %lld", r->name, r->opset,
          (long long)n, (long long)r->count);
    CHECK(worst <= 1e-5 * most, "%s in set %d is off by %g of %g", r->name, r->opset, worst, most);
}

/* Imports PATH, runs it, compares; again: exports it and does the same with that. */
static void run_model(Arena *arena, const Record *r, const char *model, const char *stem,
                      bool again) {
    ImportResult result;
    ImportOptions options = {.path = model, .output = stem};
    int code = import_file(arena, &options, &result);
    if (r->rank < 0) {
        CHECK(code == NETC_DATA && strstr(result.text, r->name) && strstr(result.text, "\nhelp: "),
              "%s in set %d is not refused well: %d %s", r->name, r->opset, code, result.text);
        return;
    }
    CHECK(code == NETC_OK, "%s in set %d is not imported: %s", r->name, r->opset, result.text);
    size_t size;
    char *spec = code ? NULL : read_all(arena, result.spec, &size);
    Model *m = spec ? build(arena, result.spec, spec) : NULL;
    if (spec && !m)
        printf("%s in set %d:\n%s", r->name, r->opset, spec);
    CHECK(code || m, "%s in set %d gives a spec that is refused", r->name, r->opset);
    if (!m)
        return;
    double **param = ref_params_new(&m->params);
    CHECK(load(m, result.weights, param), "%s in set %d: weights and spec differ", r->name,
          r->opset);
    const int64_t *d = m->input[0].shape.dim;
    int64_t n = shape_elems(&m->input[0].shape);
    double *x = malloc((size_t)n * sizeof *x);
    const int32_t label[1] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i; /* of pictures whose maps come last: [height, width, maps] */
        if (strcmp(r->name, "TransposeInput") == 0)
            at = i % (d[1] * d[2]) * d[0] + i / (d[1] * d[2]);
        if (strstr(r->name, "TimeFirst")) /* of sequences: [steps, channels] */
            at = i % d[2] * d[0] + i / d[2];
        x[i] = ((double)(37 * at % 64) - 31.5) / 16;
    }
    RefRun run = {
        .g = m->mode[MODEL_FORWARD].graph, .n = 1, .input = {x}, .label = {label}, .param = param};
    bool ran = ref_run(&run);
    CHECK(ran, "%s in set %d: %s", r->name, r->opset, run.error);
    if (ran)
        compare(r, m, &run);
    if (again) {
        const char *back = arena_printf(arena, "%s_back.onnx", stem);
        CHECK(export_model(arena, m, param, back), "%s is not exported", r->name);
        run_model(arena, r, back, arena_printf(arena, "%s_back", stem), false);
    }
    ref_run_free(&run);
    ref_params_free(param, m->params.count);
    free(x);
}

static void one(const Record *r) {
    Arena *arena = arena_new();
    const char *stem = arena_strdup(arena, in_dir("op"));
    const char *model = arena_printf(arena, "%s.onnx", stem);
    FILE *f = fopen(model, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(r->model, 1, (size_t)r->bytes, f), (size_t)r->bytes);
    fclose(f);
    run_model(arena, r, model, stem, true);
    arena_free(arena);
    intern_reset();
}

static void operators(void) {
    Arena *arena = arena_new();
    size_t size;
    const char *at = read_all(arena, vectors(arena), &size), *end = at + size;
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    Record r;
    int models = 0;
    for (; next_record(&at, end, &r); models++)
        one(&r);
    CU_ASSERT_PTR_EQUAL(at, end);
    CU_ASSERT(models > 300);
    arena_free(arena);
}

/* Changed bytes: each model is refused with a next step, or gives a spec that parses.  A number in
 * NETC_TEST_TURNS asks for more than six changes of each. */
static void hostile(void) {
    const char *asked = getenv("NETC_TEST_TURNS");
    int turns = asked ? atoi(asked) : 6;
    Arena *all = arena_new();
    size_t size;
    const char *at = read_all(all, vectors(all), &size), *end = at + size;
    uint64_t random = 88172645463325252u;
    Record r;
    while (next_record(&at, end, &r))
        for (int turn = 0; turn < turns; turn++) {
            Arena *arena = arena_new();
            unsigned char *bytes = (unsigned char *)arena_strndup(arena, r.model, (size_t)r.bytes);
            for (int i = 0; i <= turn % 3; i++) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                unsigned char *byte = &bytes[random % (uint64_t)r.bytes];
                *byte = (unsigned char)(turn & 1 ? *byte ^ 1u << (random >> 40) % 8 : random >> 48);
            }
            const char *path = put_file("hostile.onnx", bytes, (size_t)r.bytes), *spec;
            ImportResult result;
            ImportOptions options = {.path = path};
            int code = import_text(arena, &options, &result, &spec);
            CHECK(code ? strstr(result.text, "\nhelp: ") != NULL : spec != NULL,
                  "%s in set %d, turn %d: %d %s", r.name, r.opset, turn, code, result.text);
            if (!code && spec) {
                Sources *s = sources_new(arena);
                DiagCtx *d = diag_ctx_new(arena, s);
                Ast *file = parse_text(arena, s, d, "x.net", spec, strlen(spec), NULL);
                CHECK(file, "%s in set %d, turn %d does not parse", r.name, r.opset, turn);
            }
            arena_free(arena);
            intern_reset();
        }
    arena_free(all);
}

/* ---- several outputs ---- */

static const char heads_net[] =
    "net Heads {\n  input image: f32[3, 9, 9]\n"
    "  c: conv(4, 3x3) -> relu\n"
    "  repeat i in 0..3 { r[i]: conv(4, 3x3, pad = 1) -> relu }\n" /* an import folds these ... */
    "  f: dense(5)\n  side: r[1] -> maxpool(7x7)\n  g: side -> dense(3)\n"
    "  output prob = softmax(f), f, between = r[1]\n" /* ... but for what is an output */
    "  output again = f, two = softmax(g)\n  output r_out = side\n}\n";

static RefRun run_net(const Model *m, double **param, double *image) {
    static const int32_t label[1]; /* an imported net has one */
    RefRun run = {.g = m->mode[MODEL_FORWARD].graph,
                  .n = 1,
                  .input = {image},
                  .label = {label},
                  .param = param};
    bool ran = ref_run(&run);
    CHECK(ran, "%s", run.error);
    return run;
}

/* Exported and imported, a network has as many outputs, and they are the same numbers. */
static void outputs(void) {
    Arena *arena = arena_new();
    Model *m = build(arena, "heads.net", heads_net);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_EQUAL(m->noutputs, 6);
    double **param = ref_params_new(&m->params), image[243];
    ref_fill_int(image, 243, -4, 4, 1);
    for (int i = 0; i < m->params.count; i++) {
        int64_t n = shape_elems(&m->params.at[i].shape);
        ref_fill_int(param[i], n, -8, 8, 10 + (uint32_t)i);
        for (int64_t k = 0; k < n; k++)
            param[i][k] /= 32; /* floats without rounding */
    }
    const char *stem = arena_strdup(arena, in_dir("heads"));
    const char *path = arena_printf(arena, "%s.onnx", stem);
    CU_ASSERT_FATAL(export_model(arena, m, param, path));
    ImportResult result;
    ImportOptions options = {.path = path, .output = stem};
    CU_ASSERT_EQUAL_FATAL(import_file(arena, &options, &result), NETC_OK);
    size_t size;
    char *spec = read_all(arena, result.spec, &size);
    Model *back = build(arena, result.spec, spec);
    CU_ASSERT_PTR_NOT_NULL_FATAL(back);
    double **loaded = ref_params_new(&back->params);
    CU_ASSERT(load(back, result.weights, loaded));
    CHECK(back->noutputs == 6, "%d outputs:\n%s", back->noutputs, spec);
    RefRun a = run_net(m, param, image), b = run_net(back, loaded, image);
    for (int i = 0; i < m->noutputs && i < back->noutputs; i++) {
        const ModelOutput *x = &m->output[i], *y = &back->output[i];
        CHECK(shape_equal(&x->shape, &y->shape) && x->softmax == y->softmax, "output %s", x->name);
        CHECK(i != 2 || strcmp(y->name, "between") == 0, "%s", y->name);
        for (int64_t k = 0; k < shape_elems(&x->shape); k++)
            CU_ASSERT_EQUAL(a.value[x->value[MODEL_FORWARD]][k],
                            b.value[y->value[MODEL_FORWARD]][k]);
    }
    ref_run_free(&a);
    ref_run_free(&b);
    ref_params_free(param, m->params.count);
    ref_params_free(loaded, back->params.count);
    arena_free(arena);
    intern_reset();
}

SUITE_MAIN(TEST(operators), TEST(outputs), TEST(hostile))
