/* rt_export.c: `NAME export`: weights as safetensors or npz, network and weights as ONNX.
 *
 * The compiler left the network's nodes in the program, as the body of a GraphProto
 * (compiler/ops/onnx_write.h); here the model around it and the parameters are written.  Large
 * parameters pass in parts.  ensures: a file appears complete or not at all.
 * Source: onnx.proto (field numbers), the encoding document of Protocol Buffers.
 */
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_io.h"
#include "rt_npz.h"
#include "rt_weights.h"

enum { AS_ONNX, AS_SAFETENSORS, AS_NPZ, AS_NONE };
static const char *const ending[] = {".onnx", ".safetensors", ".npz"};

/* ---- parts of a parameter ---- */
typedef struct Parts {
    const netrt *m;
    const rt_param *p;
    float *room; /* rt_part_room() numbers */
} Parts;

/* An rt_npz_parts. */
static int64_t next_part(void *context, int64_t first, const float **data) {
    const Parts *s = context;
    int64_t rows = rt_param_rows(s->p), size = rt_param_count(s->p) / rows, row = first / size;
    int64_t n = rt_param_part(s->p) < rows - row ? rt_param_part(s->p) : rows - row;
    rt_param_unpack(s->p, s->m->param + s->p->offset, s->room, row, n, s->m->threads);
    *data = s->room;
    return n * size;
}

/* ---- ONNX ---- */
enum { VARINT = 0, BYTES = 2 };
enum { MODEL_IR = 1, MODEL_PRODUCER, MODEL_VERSION, MODEL_GRAPH = 7, MODEL_SET, MODEL_META = 14 };
enum { GRAPH_INITIALIZER = 5, IR_VERSION = 8, TYPE_FLOAT = 1 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9 };

static void put_varint(rt_text *t, uint64_t v) {
    unsigned char b[10];
    size_t n = 0;
    for (; v > 127; v >>= 7)
        b[n++] = (unsigned char)((v & 127) | 128);
    b[n++] = (unsigned char)v;
    rt_text_bytes(t, b, n);
}

static void put_int(rt_text *t, int field, int64_t v) {
    put_varint(t, (uint64_t)field << 3 | VARINT);
    put_varint(t, (uint64_t)v);
}

/* The head of a field of n bytes, which follow. */
static void put_head(rt_text *t, int field, uint64_t n) {
    put_varint(t, (uint64_t)field << 3 | BYTES);
    put_varint(t, n);
}

static void put_bytes(rt_text *t, int field, const void *data, size_t n) {
    put_head(t, field, n);
    rt_text_bytes(t, data, n);
}

static void put_text(rt_text *t, int field, const char *s) {
    put_bytes(t, field, s, strlen(s));
}

static void put_meta(rt_text *t, const char *key, const char *value) {
    rt_text pair = {0};
    put_text(&pair, 1, key);
    put_text(&pair, 2, value);
    put_bytes(t, MODEL_META, pair.data, pair.size);
    t->failed |= pair.failed;
    rt_text_free(&pair);
}

/* Everything of an initializer in front of its numbers; bytes of these. */
static uint64_t tensor_head(rt_text *t, const rt_model *model, const rt_onnx_tensor *x) {
    uint64_t bytes = (uint64_t)rt_param_count(&model->param[x->param]) * sizeof(float);
    for (int i = 0; i < x->rank; i++)
        put_int(t, TENSOR_DIMS, x->dim[i]);
    put_int(t, TENSOR_TYPE, TYPE_FLOAT);
    put_text(t, TENSOR_NAME, x->name);
    put_head(t, TENSOR_RAW, bytes);
    return bytes;
}

static uint64_t varint_size(uint64_t v) {
    uint64_t n = 1;
    for (; v > 127; v >>= 7)
        n++;
    return n;
}

/* Bytes of the graph message. */
static uint64_t graph_size(const rt_model *model) {
    uint64_t total = (uint64_t)model->onnx_bytes;
    for (int64_t i = 0; i < model->onnx_tensors; i++) {
        rt_text head = {0};
        uint64_t n = tensor_head(&head, model, &model->onnx_tensor[i]);
        n += head.size;
        total += 1 + varint_size(n) + n;
        rt_text_free(&head);
    }
    return total;
}

static void model_head(rt_text *t, const netrt *m) {
    const rt_model *model = m->model;
    char text[512], number[24];
    rt_text set = {0}, names = {0};
    put_int(t, MODEL_IR, IR_VERSION);
    put_text(t, MODEL_PRODUCER, "netc");
    put_text(t, MODEL_VERSION, model->version);
    put_text(&set, 1, "");
    put_int(&set, 2, model->onnx_set);
    put_bytes(t, MODEL_SET, set.data, set.size);
    t->failed |= set.failed;
    rt_text_free(&set);
    put_meta(t, "netc.model", model->name);
    put_meta(t, "netc.spec", model->spec_hash);
    rt_preprocess_text(model, text, sizeof text);
    put_meta(t, "netc.preprocess", text);
    for (int64_t c = 0; m->class_names && c < model->classes; c++)
        rt_text_printf(&names, "%s%s", c ? "\n" : "", netrt_class_name(m, c, number));
    if (m->class_names)
        put_meta(t, "netc.classes", names.data ? names.data : "");
    t->failed |= names.failed;
    rt_text_free(&names);
}

static int write_tensor(struct rt_out *out, const netrt *m, const rt_onnx_tensor *x, float *room,
                        rt_error *err) {
    rt_text head = {0}, field = {0};
    Parts parts = {m, &m->model->param[x->param], room};
    uint64_t bytes = tensor_head(&head, m->model, x);
    int64_t count = (int64_t)(bytes / sizeof(float));
    put_head(&field, GRAPH_INITIALIZER, head.size + bytes);
    if (rt_text_ok(&head, err) && rt_text_ok(&field, err)) {
        rt_out_write(out, field.data, field.size, err);
        rt_out_write(out, head.data, head.size, err);
        for (int64_t first = 0; first < count && !err->code;) {
            const float *data;
            int64_t n = next_part(&parts, first, &data);
            rt_out_write(out, data, (size_t)n * sizeof *data, err);
            first += n;
        }
    }
    rt_text_free(&head);
    rt_text_free(&field);
    return err->code;
}

static int write_onnx(const netrt *m, const char *path, float *room, rt_error *err) {
    const rt_model *model = m->model;
    uint64_t size = model->onnx_refused ? 0 : graph_size(model);
    rt_text head = {0};
    struct rt_out out;
    if (model->onnx_refused)
        return rt_fail(err, NETRT_EUSAGE,
                       "%s cannot be said in ONNX: %s\n"
                       "help: --as=safetensors writes the weights alone",
                       model->name, model->onnx_refused);
    if (size > (uint64_t)INT32_MAX - (1 << 20))
        return rt_fail(err, NETRT_ELIMIT,
                       "%s is larger than the 2 GiB of an ONNX file\n"
                       "help: --as=safetensors writes the weights alone",
                       model->name);
    model_head(&head, m);
    put_head(&head, MODEL_GRAPH, size);
    if (rt_text_ok(&head, err) && rt_out_begin(&out, path, err) == 0) {
        rt_out_write(&out, head.data, head.size, err);
        rt_out_write(&out, model->onnx, (size_t)model->onnx_bytes, err);
        for (int64_t i = 0; i < model->onnx_tensors && !err->code; i++)
            write_tensor(&out, m, &model->onnx_tensor[i], room, err);
        if (err->code)
            rt_out_abort(&out);
        else
            rt_out_finish(&out, err);
    }
    rt_text_free(&head);
    return err->code;
}

/* ---- npz ---- */
static int write_npz(const netrt *m, const char *path, float *room, rt_error *err) {
    rt_npz *z;
    if (rt_npz_begin(&z, path, err))
        return err->code;
    for (int i = 0; i < m->model->nparams && !err->code; i++) {
        const rt_param *p = &m->model->param[i];
        Parts parts = {m, p, room};
        if (rt_param_saved(p))
            rt_npz_add(z, p->name, p->rank, p->dim, next_part, &parts, err);
    }
    if (err->code) {
        rt_npz_abort(z);
        return err->code;
    }
    return rt_npz_finish(z, err);
}

/* ---- the verb ---- */
static int kind_of(const char *path) {
    size_t n = path ? strlen(path) : 0;
    for (int k = 0; k < AS_NONE; k++) {
        size_t e = strlen(ending[k]);
        if (n > e && strcmp(path + n - e, ending[k]) == 0)
            return k;
    }
    return AS_NONE;
}

/* "specs/lenet.net" -> "lenet.onnx" */
static void usual_name(const rt_model *model, int kind, char *path, size_t size) {
    const char *slash = strrchr(model->spec_file, '/');
    const char *name = slash ? slash + 1 : model->spec_file;
    size_t n = strcspn(name, ".");
    snprintf(path, size, "%.*s%s", (int)(n < 200 ? n : 200), n ? name : "net", ending[kind]);
}

static int run(rt_cli *cli, int kind, int untrained, const char *path) {
    rt_error err = {0};
    netrt *m = NULL;
    float *room = NULL;
    rt_text line = {0};
    cli->batch = 1;
    if (rt_cli_open(cli, !untrained, &m, &err) == 0)
        room = rt_alloc((size_t)rt_part_room(m->model), sizeof *room, "weights to write", &err);
    if (room) {
        if (kind == AS_ONNX)
            write_onnx(m, path, room, &err);
        else if (kind == AS_NPZ)
            write_npz(m, path, room, &err);
        else
            netrt_save(m, path, &err);
    }
    if (err.code == NETRT_EIO)
        rt_advise(&err, "choose another place with -o FILE");
    if (!err.code && !cli->quiet) {
        rt_text_printf(&line, "%s\n", path);
        rt_cli_print(&line, &err);
    }
    rt_report(&cli->progress, &err);
    rt_text_free(&line);
    rt_free(room);
    netrt_close(m);
    return err.code;
}

int rt_verb_export(rt_cli *cli, int argc, char **argv) {
    int kind = AS_NONE, untrained = 0;
    const char *path = NULL;
    char usual[256];
    const rt_arg table[] = {
        {"as", 0, RT_ARG_CHOICE, "onnx|safetensors|npz", &kind, 0, 0,
         "network and weights (onnx), or weights alone; without it, as FILE ends"},
        {"output", 'o', RT_ARG_TEXT, "FILE", &path, 0, 0, "where to (default: the spec's name)"},
        RT_OPT_WEIGHTS(cli),
        {"untrained", 0, RT_ARG_FLAG, NULL, &untrained, 0, 0, "initial weights will do"},
        RT_OPT_PARTIAL(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_QUIET(cli)};
    static const rt_verb verb = {"export", "writes the network or its weights for other programs",
                                 "[OPTIONS]",
                                 "export --as=onnx\nexport -w run/best.safetensors -o net.onnx\n"
                                 "export --as=npz -o weights.npz"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    rt_error err = {0};
    kind = kind == AS_NONE ? kind_of(path) : kind;
    if (n > 0)
        rt_fail(&err, NETRT_EUSAGE,
                "export takes no operand, not '%s'\nhelp: name the file with -o", operands[0]);
    else if (kind == AS_NONE)
        rt_fail(&err, NETRT_EUSAGE,
                "export needs to know as what\nhelp: --as=onnx, --as=safetensors or --as=npz");
    if (err.code)
        return rt_report(&cli->progress, &err);
    if (!path)
        usual_name(cli->model, kind, usual, sizeof usual);
    return run(cli, kind, untrained, path ? path : usual);
}
