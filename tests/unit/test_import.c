/* test_import.c: importing networks and weights (compiler/import).
 *
 * The vectors of tests/import come from make_vectors.py there; NAME.net beside them is the spec
 * that they must give (NETC_BLESS=1 rewrites it).  Numbers are compared where another program
 * computed them: prog/import.sh runs the networks against onnxruntime and plain loops.  Hostile
 * files: ten thousand mutations of the vectors, each a clean answer or a spec that parses.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/diag.h"
#include "front/parse.h"
#include "import/im.h"
#include "import/import.h"
#include "import/wire.h"
#include "rt_safetensors.h"
#include "rt_files.h"
#include "suite.h"

static const char *vector(Arena *arena, const char *name) {
    const char *root = getenv("NETC_SOURCE_DIR");
    return arena_printf(arena, "%s/tests/import/%s", root ? root : ".", name);
}

static char *read_all(Arena *arena, const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    *size = 0;
    if (!f)
        return NULL;
    char *data = arena_alloc(arena, 1 << 20);
    *size = fread(data, 1, (1 << 20) - 1, f);
    fclose(f);
    return data;
}

static void write_all(const char *path, const void *data, size_t size) {
    FILE *f = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(data, 1, size, f), size);
    fclose(f);
}

static const char *in_folder(Arena *arena, const char *name) {
    return arena_strdup(arena, in_dir(name));
}

/* ---- specs ---- */
static void golden(const char *name, ImportOptions options, const char *golden_name) {
    Arena *arena = arena_new();
    ImportResult r;
    const char *spec;
    size_t size;
    options.path = vector(arena, name);
    int code = import_text(arena, &options, &r, &spec);
    if (code)
        printf("\n%s\n", r.text);
    CU_ASSERT_EQUAL_FATAL(code, NETC_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(spec);
    const char *path = vector(arena, golden_name);
    if (getenv("NETC_BLESS"))
        write_all(path, spec, strlen(spec));
    const char *want = read_all(arena, path, &size);
    if (!want || strcmp(want, spec) != 0)
        printf("\n%s differs (NETC_BLESS=1 rewrites it):\n%s\n", golden_name, spec);
    CU_ASSERT(want && strcmp(want, spec) == 0);
    arena_free(arena);
    intern_reset();
}

static void specs(void) {
    golden("small_caffe.caffemodel", (ImportOptions){0}, "small_caffe.net");
    golden("small_v1.caffemodel", (ImportOptions){0}, "small_v1.net");
    golden("torch.onnx", (ImportOptions){0}, "torch.net");
    golden("residual.onnx", (ImportOptions){0}, "residual.net");
    golden("residual.onnx", (ImportOptions){.plain = true}, "residual_plain.net");
    golden("later.onnx", (ImportOptions){0}, "later.net");
    Arena *arena = arena_new();
    golden("weights_only.caffemodel",
           (ImportOptions){.prototxt = vector(arena, "small.prototxt"), .mean = "33.5"},
           "described.net");
    arena_free(arena);
}

/* What the options say overrules the file. */
static void options(void) {
    Arena *arena = arena_new();
    ImportResult r;
    const char *spec;
    ImportOptions o = {.path = vector(arena, "small_caffe.caffemodel"),
                       .order = IMPORT_ORDER_RGB,
                       .mean = "1,2,3"};
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(spec, "mean = [1, 2, 3]; std = 2; order = rgb"));
    o.mean = "1,2";
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_USAGE);
    o.mean = NULL;
    o.input = "3x12x12"; /* contradicts the dense layer */
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_DATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "layer 'dense' (dense)"));
    o.input = "3x9";
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "\nhelp: "));
    arena_free(arena);
    intern_reset();
}

/* ---- weights ---- */
static void expect_tensor(const char *path, const char *name, int rank, const int64_t *dim,
                          const float *values) {
    st_file file;
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(st_open(&file, path, 0, &err), 0);
    const st_tensor *t = st_find(&file, name);
    CU_ASSERT_PTR_NOT_NULL(t);
    if (t) {
        float read[64] = {0};
        CU_ASSERT_EQUAL(t->rank, rank);
        CU_ASSERT_EQUAL(t->dtype, ST_F32);
        for (int i = 0; i < rank; i++)
            CU_ASSERT_EQUAL(t->dims[i], dim[i]);
        CU_ASSERT_EQUAL(st_read_part(&file, t, read, 0, t->count < 64 ? t->count : 64, &err), 0);
        for (int64_t i = 0; i < t->count && i < 64; i++)
            CU_ASSERT_EQUAL(read[i], values[i]);
    }
    st_close(&file);
}

static void import_weights(const char *name, const char *out) {
    Arena *arena = arena_new();
    ImportResult r;
    ImportOptions o = {.path = vector(arena, name), .output = in_folder(arena, out)};
    int code = import_file(arena, &o, &r);
    if (code)
        printf("\n%s\n", r.text);
    CU_ASSERT_EQUAL(code, NETC_OK);
    arena_free(arena);
    intern_reset();
}

/* Values printed by make_vectors.py. */
static void arrays(void) {
    static const float weight[] = {-0.078125f, -0.9375f, -0.9375f, -0.375f, 0.53125f, 0.15625f};
    static const float bias[] = {-0.078125f, -0.59375f, 0.5625f, 0.8125f}, zero[64] = {0};
    Arena *arena = arena_new();
    import_weights("stored.npz", "stored");
    const char *path = in_folder(arena, "stored.safetensors");
    expect_tensor(path, "fc.weight", 2, (int64_t[]){2, 3}, weight);
    expect_tensor(path, "fc.bias", 1, (int64_t[]){4}, bias);
    import_weights("deflated.npz", "deflated");
    path = in_folder(arena, "deflated.safetensors");
    expect_tensor(path, "fc.weight", 2, (int64_t[]){8, 64}, zero);
    expect_tensor(path, "n", 1, (int64_t[]){1}, (float[]){7});
    import_weights("columns.npy", "columns.safetensors"); /* Fortran order: turned */
    expect_tensor(in_folder(arena, "columns.safetensors"), "columns", 2, (int64_t[]){2, 3}, weight);
    arena_free(arena);
}

/* PyTorch's names stay, counters of batches and the prefix of data-parallel training go. */
static void torch_names(void) {
    static const float x[4] = {1, 2, 3, 4};
    static const int64_t n = 7, four = 4;
    Arena *arena = arena_new();
    rt_error err = {0};
    st_writer *w;
    const char *path = in_folder(arena, "torch_in.safetensors"), *text;
    st_writer_begin(&w, &err);
    st_writer_add(w, "module.bn1.running_mean", ST_F32, 1, &four, x, &err);
    st_writer_add(w, "module.layer1.0.conv1.weight", ST_F32, 1, &four, x, &err);
    st_writer_add(w, "module.bn1.num_batches_tracked", ST_I64, 0, NULL, &n, &err);
    CU_ASSERT_EQUAL(st_writer_finish(w, path, &err), 0);
    ImportResult r;
    ImportOptions o = {.path = path, .output = in_folder(arena, "torch_out")};
    CU_ASSERT_EQUAL(import_file(arena, &o, &r), NETC_OK);
    CU_ASSERT_EQUAL(r.trained, 4);
    CU_ASSERT_EQUAL(r.statistics, 4);
    CU_ASSERT_EQUAL(r.tensors, 2);
    CU_ASSERT_PTR_NULL(r.spec);
    text = in_folder(arena, "torch_out.safetensors");
    expect_tensor(text, "layer1.0.conv1.weight", 1, &four, x);
    expect_tensor(text, "bn1.running_mean", 1, &four, x);
    arena_free(arena);
    intern_reset();
}

/* ---- refusing ---- */
static void refuse_bytes(const char *name, const void *bytes, size_t size, const char *says) {
    Arena *arena = arena_new();
    ImportResult r;
    const char *spec;
    ImportOptions o = {.path = in_folder(arena, name)};
    write_all(o.path, bytes, size);
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_DATA);
    bool told = strstr(r.text, says) && strstr(r.text, "\nhelp: ") && strstr(r.text, o.path);
    if (!told)
        printf("\n%s: %s\n", name, r.text);
    CU_ASSERT(told);
    arena_free(arena);
    intern_reset();
}

static void foreign_formats(void) {
    static const char zip[] =
        "PK\3\4\24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\22\0\0\0"
        "archive/data.pkl\0\0"
        "PK\1\2\24\0\24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\22\0\0\0\0\0"
        "\0\0\0\0\0\0\0\0\0\0\0\0yyarchive/data.pkl"
        "PK\5\6\0\0\0\0\1\0\1\0\100\0\0\0\60\0\0\0\0\0";
    refuse_bytes("keras.h5", "\x89HDF\r\n\x1a\n....", 12, "HDF5");
    refuse_bytes("old.pt", "\x80\x02}q\0.", 6, "pickle");
    refuse_bytes("new.pkl", "\x80\x04\x95.", 4, "pickle");
    refuse_bytes("zip.pth", zip, sizeof zip - 1, "pickle");
    refuse_bytes("x.tflite", "\x1c\0\0\0TFL3", 8, "TensorFlow Lite");
    refuse_bytes("x.gguf", "GGUF\3\0\0\0", 8, "GGUF");
    refuse_bytes("x.prototxt", "name: \"x\"", 9, "--prototxt");
    refuse_bytes("x.net", "net N { }", 9, "netc build");
    refuse_bytes("x.bin", "hello world", 11, "no format");
    refuse_bytes("x.onnx", "", 0, "no graph");
    refuse_bytes("x.caffemodel", "\x0a\x7f", 2, "cut short");
    refuse_bytes("pickled.npy",
                 "\x93NUMPY\1\0\66\0{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 64,
                 "'|O'");
    Arena *arena = arena_new();
    ImportResult r;
    const char *spec;
    ImportOptions o = {.path = vector(arena, "first_format.caffemodel")};
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_DATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "upgrade_net_proto_binary"));
    o.path = in_folder(arena, "missing.onnx");
    CU_ASSERT_EQUAL(import_text(arena, &o, &r, &spec), NETC_IO);
    arena_free(arena);
    intern_reset();
}

/* Sizes that only claim to be there must not be believed. */
static void lying_sizes(void) {
    static const char huge_npy[] = "\x93NUMPY\1\0\106\0{'descr': '<f4', 'fortran_order': False, "
                                   "'shape': (65536, 65536, 9), }  ";
    refuse_bytes("huge.npy", huge_npy, sizeof huge_npy - 1, "malformed");
    /* a blob of 2^40 x 1 with no data: layer { name "c" type "Convolution" blobs { shape } } */
    static const char blob[] = "\xa2\6\x1f\x0a\1c\x12\x0b"
                               "Convolution:\x0d:\x0b\x0a\x09\x80\x80\x80\x80\x80\x80\x80\x80\x40";
    refuse_bytes("blob.caffemodel", blob, sizeof blob - 1, "layer");
    /* dims 2^62 */
    static const char dims[] = "\x42\4\x0a\0\x10\x0d:\x0e*\x0c\x08\x80\x80\x80\x80\x80\x80\x80\x80"
                               "\x40\x10\1";
    refuse_bytes("dims.onnx", dims, sizeof dims - 1, "tensor");
}

static void external_weights(void) {
    /* ir 8, opset 13, graph { initializer { dims 1 type 1 external ../x } } */
    static const char model[] =
        "\x42\4\x0a\0\x10\x0d:\x1b*\x19\x08\1\x10\1j\x11\x0a\x08location\x12\5"
        "../up\x70\1";
    refuse_bytes("external.onnx", model, sizeof model - 1, "beside the model");
}

/* ---- the wire ---- */
static void wire(void) {
    static const unsigned char ten[] = {8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1};
    static const unsigned char eleven[] = {8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 127};
    static const unsigned char past[] = {10, 5, 'a', 'b'}, group[] = {11}, zero[] = {0, 1};
    WireField f;
    Wire w = wire_of(ten, sizeof ten);
    CU_ASSERT(wire_next(&w, &f) && f.number == 1 && wire_int(&f) == -1);
    CU_ASSERT(!wire_next(&w, &f) && !w.bad);
    w = wire_of(eleven, sizeof eleven);
    CU_ASSERT(!wire_next(&w, &f) && w.bad);
    w = wire_of(past, sizeof past);
    CU_ASSERT(!wire_next(&w, &f) && w.bad);
    w = wire_of(group, sizeof group);
    CU_ASSERT(!wire_next(&w, &f) && w.bad);
    w = wire_of(zero, sizeof zero);
    CU_ASSERT(!wire_next(&w, &f) && w.bad);
    w = wire_of(NULL, 0);
    CU_ASSERT(!wire_next(&w, &f) && !w.bad);
}

/* ---- text ---- */
static void prototxt_mistakes(void) {
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"layer { name: \"a\"", "1: '}' is missing"},
        {"name: \"a", "1: a string does not end"},
        {"\n\nlayer {\n pooling_param { pool: MOST } }", "4: unknown value 'MOST'"},
        {"layer { convolution_param { num_output: many } }", "1: a number is expected"},
        {"name \"x\"", "':' or '{' is expected"},
        {"}", "'}' without '{'"},
        {"a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a {", "too deeply"},
        {"a: [[[[[[[[[[[[[[[[[[[[[[[[[[[", "too deeply"},
        {"layer: 3", "'{' is expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arena *arena = arena_new();
        size_t size;
        ImportOptions o = {.path = "x.caffemodel"};
        Im im = {.arena = arena, .options = &o, .path = "x.caffemodel", .notes = sb_new(arena)};
        CU_ASSERT_PTR_NULL(im_prototxt_text(&im, "p", cases[i].text, strlen(cases[i].text), &size));
        if (!strstr(im.text, cases[i].says))
            printf("\n%s -> %s\n", cases[i].text, im.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(im.text, cases[i].says));
        arena_free(arena);
    }
}

/* ---- hostile files ---- */
static uint64_t state;

static uint32_t dice(uint32_t n) { /* xorshift64*: the same files everywhere */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * UINT64_C(2685821657736338717)) >> 33) % n;
}

static size_t mutate(unsigned char *d, size_t n, size_t room) {
    static const unsigned char odd[] = {0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x12, 'x', '.', '/'};
    for (uint32_t k = 1 + dice(6); k > 0 && n > 4; k--) {
        uint32_t at = dice((uint32_t)n), length = 1 + dice(12);
        length = at + length > n ? (uint32_t)n - at : length;
        switch (dice(6)) {
        case 0:
            d[at] ^= (unsigned char)(1u << dice(8));
            break;
        case 1:
            d[at] = odd[dice(sizeof odd)];
            break;
        case 2:
            memset(d + at, odd[dice(sizeof odd)], length);
            break;
        case 3: /* taken out */
            memmove(d + at, d + at + length, n - at - length);
            n -= length;
            break;
        case 4: /* twice */
            if (n + length <= room) {
                memmove(d + at + length, d + at, n - at);
                n += length;
            }
            break;
        default:
            if (dice(4) == 0)
                n = at + 1;
        }
    }
    return n;
}

/* What a successful import gives must at least parse. */
static void parses(Arena *arena, const char *spec) {
    Sources *sources = sources_new(arena);
    DiagCtx *diag = diag_ctx_new(arena, sources);
    parse_text(arena, sources, diag, "mutated", spec, strlen(spec), NULL);
    if (diag_errors(diag)) {
        diag_render(diag, stdout, DIAG_TEXT, false);
        printf("%s\n", spec);
    }
    CU_ASSERT_EQUAL(diag_errors(diag), 0);
}

static int attack(const char *name, int times, size_t front) {
    static unsigned char buffer[1 << 17];
    Arena *keep = arena_new();
    size_t size;
    int survived = 0;
    const char *file = vector(keep, name), *dot = strrchr(name, '.');
    const char *data = read_all(keep, file, &size);
    const char *path = in_folder(keep, arena_printf(keep, "mutated%s", dot));
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    for (int i = 0; i < times; i++) {
        Arena *arena = arena_new();
        ImportResult r;
        const char *spec;
        ImportOptions o = {.path = path};
        memcpy(buffer, data, size);
        /* most of a file is weights: half of the attacks keep to the first `front` bytes */
        size_t part = i % 2 && size > front ? front : size;
        size_t n = mutate(buffer, part, part);
        memmove(buffer + n, data + part, size - part);
        write_all(path, buffer, n + size - part);
        int code = import_text(arena, &o, &r, &spec);
        CU_ASSERT(code == NETC_OK || code == NETC_DATA || code == NETC_LIMIT || code == NETC_IO ||
                  code == NETC_USAGE);
        CU_ASSERT(code == NETC_OK || (r.text[0] && strstr(r.text, "\nhelp: ")));
        if (code == NETC_OK && spec)
            parses(arena, spec);
        survived += code == NETC_OK;
        arena_free(arena);
        intern_reset();
    }
    arena_free(keep);
    return survived;
}

static void mutations(void) {
    const char *seed = getenv("NETC_SEED"); /* other files than usual */
    state = 88172645463325252u + (seed ? strtoull(seed, NULL, 10) : 0);
    int ok = attack("small_caffe.caffemodel", 2500, 600);
    ok += attack("small_v1.caffemodel", 1000, 200);
    ok += attack("torch.onnx", 2000, 2900);
    ok += attack("residual.onnx", 1500, 6000);
    ok += attack("later.onnx", 1500, 1800);
    ok += attack("stored.npz", 500, 500);
    ok += attack("deflated.npz", 600, 500);
    ok += attack("columns.npy", 400, 150);
    CU_ASSERT(ok > 100); /* else the mutations do not get behind the first check */
    printf(" %d of 10000 still import ", ok);
}

static void text_mutations(void) {
    static unsigned char buffer[8192];
    size_t size;
    Arena *keep = arena_new();
    const char *text = read_all(keep, vector(keep, "small.prototxt"), &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (int i = 0; i < 2000; i++) {
        Arena *arena = arena_new();
        ImportOptions o = {.path = "x"};
        Im im = {.arena = arena, .options = &o, .path = "x", .notes = sb_new(arena)};
        size_t out;
        memcpy(buffer, text, size);
        size_t n = mutate(buffer, size, sizeof buffer);
        const void *bytes = im_prototxt_text(&im, "x", (char *)buffer, n, &out);
        CU_ASSERT(bytes || im.code == NETC_DATA);
        arena_free(arena);
        intern_reset();
    }
    arena_free(keep);
}

/* ---- Caffe's layers that cut ---- */
static int described(Arena *arena, const char *more, ImportResult *r, const char **spec) {
    const char *path = in_folder(arena, "cut.prototxt");
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fprintf(f,
            "name: 'cut' input: 'data' input_dim: 1 input_dim: 1 input_dim: 28 input_dim: 28\n"
            "layer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'conv1'\n"
            "  convolution_param { num_output: 4 kernel_size: 5 } }\n%s"
            "layer { name: 'ip' type: 'InnerProduct' bottom: 'sum' top: 'ip'\n"
            "  inner_product_param { num_output: 3 } }\n",
            more);
    fclose(f);
    ImportOptions o = {.path = vector(arena, "weights_only.caffemodel"), .prototxt = path};
    return import_text(arena, &o, r, spec);
}

#define PARTS                                                                                      \
    "layer { name: 's' type: 'Slice' bottom: 'conv1' top: 'a' top: 'b' }\n"                        \
    "layer { name: 'j' type: 'Concat' bottom: 'b' bottom: 'a' top: 'j' }\n"                        \
    "layer { name: 'p' type: 'Pooling' bottom: 'j' top: 'p' pooling_param { kernel_size: 2 "       \
    "stride: 2 } }\n"                                                                              \
    "layer { name: 't' type: 'Slice' bottom: 'conv1' top: 'c' top: 'd'\n"                          \
    "  slice_param { axis: 1 slice_point: 1 } }\n"                                                 \
    "layer { name: 'k' type: 'Concat' bottom: 'd' bottom: 'c' top: 'k' }\n"
#define SUM "layer { name: 'sum' type: 'Eltwise' bottom: 'p' bottom: 'q' top: 'sum' }\n"

static void cuts(void) {
    static const char *const said[] = {"slice(0, 2)", "slice(2, 2)", "slice(0, 1)", "slice(1, 3)",
                                       "crop(12x12, top = 3, left = 5)"};
    static const struct {
        const char *layers, *why;
    } bad[] = {
        {"layer { name: 'q' type: 'Crop' bottom: 'k' bottom: 'p' top: 'q' crop_param { offset: 13 "
         "} }\n" SUM,
         "more than there is"},
        {"layer { name: 'q' type: 'Crop' bottom: 'k' bottom: 'p' top: 'q' crop_param { axis: 1 } "
         "}\n" SUM,
         "only rows and columns"},
        {"layer { name: 'q' type: 'Crop' bottom: 'k' top: 'q' }\n" SUM, "q"},
        {"layer { name: 'q' type: 'Slice' bottom: 'k' top: 'q' top: 'r' top: 'w' }\n" SUM,
         "not equal"},
        {"layer { name: 'q' type: 'Slice' bottom: 'k' top: 'q' top: 'r'\n"
         "  slice_param { slice_point: 0 } }\n" SUM,
         "do not grow"},
        {"layer { name: 'q' type: 'Slice' bottom: 'k' top: 'q' slice_param { axis: 2 } }\n" SUM,
         "only channels"}};
    Arena *arena = arena_new();
    ImportResult r;
    const char *spec = NULL;
    CU_ASSERT_EQUAL_FATAL(
        described(arena,
                  PARTS "layer { name: 'q' type: 'Crop' bottom: 'k' bottom: 'p' top: 'q'\n"
                        "  crop_param { axis: 2 offset: 3 offset: 5 } }\n" SUM,
                  &r, &spec),
        NETC_OK);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(spec, said[i]));
        if (!strstr(spec, said[i]))
            printf("  no %s in\n%s", said[i], spec);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *layers = arena_printf(arena, "%s%s", PARTS, bad[i].layers);
        CU_ASSERT_EQUAL(described(arena, layers, &r, &spec), NETC_DATA);
        CU_ASSERT_PTR_NOT_NULL(strstr(r.text, bad[i].why));
        if (!strstr(r.text, bad[i].why))
            printf("  %s: %s\n", bad[i].why, r.text);
    }
    arena_free(arena);
    intern_reset();
}

/* ---- which part of a picture a Caffe network sees ---- */
static void views(void) {
    static const struct {
        const char *input, *said, *why; /* NULL: not in the spec */
    } cases[] = {
        {"input: 'data' input_dim: 1 input_dim: 1 input_dim: 227 input_dim: 227",
         "resize = short(256); crop = 227x227 }", "neither resize nor crop"},
        {"layer { name: 'd' type: 'Data' top: 'data' transform_param { crop_size: 224 } }",
         "resize = short(256); crop = 224x224 }", "the file says crop; resize is what is usual"},
        {"layer { name: 'd' type: 'ImageData' top: 'data' transform_param { crop_size: 64 }\n"
         "  image_data_param { new_height: 80 new_width: 72 } }",
         "resize = short(72); crop = 64x64 }", "the file says crop and stretches pictures to 80x72"},
        {"layer { name: 'd' type: 'ImageData' top: 'data' image_data_param { crop_size: 200\n"
         "  new_height: 300 new_width: 300 } }",
         "resize = short(300); crop = 200x200 }", "stretches pictures to 300x300"},
        {"layer { name: 'd' type: 'Data' top: 'data' transform_param { crop_size: 28 } }",
         "; crop = 28x28 }", NULL},
        {"input: 'data' input_dim: 1 input_dim: 1 input_dim: 32 input_dim: 32", NULL, NULL},
        {"input: 'data' input_dim: 1 input_dim: 1 input_dim: 227 input_dim: 200", NULL, NULL},
        {"input: 'data' input_dim: 1 input_dim: 1 input_dim: 500 input_dim: 500", NULL, NULL}};
    Arena *arena = arena_new();
    const char *path = in_folder(arena, "view.prototxt"), *spec = NULL;
    ImportOptions o = {.path = vector(arena, "weights_only.caffemodel"), .prototxt = path};
    ImportResult r;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *f = fopen(path, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        fprintf(f,
                "name: 'view' %s\nlayer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'c'\n"
                "  convolution_param { num_output: 4 kernel_size: 5 } }\n"
                "layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p'\n"
                "  pooling_param { pool: AVE global_pooling: true } }\n",
                cases[i].input);
        fclose(f);
        CU_ASSERT_EQUAL_FATAL(import_text(arena, &o, &r, &spec), NETC_OK);
        bool good = cases[i].said ? strstr(spec, cases[i].said) != NULL
                                  : !strstr(spec, "crop") && !strstr(spec, "resize");
        good &= cases[i].why ? strstr(spec, cases[i].why) != NULL : !strstr(spec, "resize");
        CU_ASSERT(good);
        if (!good)
            printf("\n  %s:\n%s", cases[i].input, spec);
    }
    arena_free(arena);
    intern_reset();
}

SUITE_MAIN(TEST(specs), TEST(cuts), TEST(views), TEST(options), TEST(arrays), TEST(torch_names), TEST(foreign_formats),
           TEST(lying_sizes), TEST(external_weights), TEST(wire), TEST(prototxt_mistakes),
           TEST(mutations), TEST(text_mutations))
