/* import.c: what a file is, who reads it, and what is written (import.h).
 *
 * A format is recognised by its first bytes, protobuf files (which have none) by their name and
 * their first field.  requires: options.  ensures: the spec's text is complete before the first
 * byte is written; weights and spec are renamed into place one after the other, the spec last.
 */
#define _GNU_SOURCE
#include "import/im.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/outfile.h"

typedef enum Format {
    FORMAT_UNKNOWN,
    FORMAT_CAFFE,
    FORMAT_ONNX,
    FORMAT_SAFETENSORS,
    FORMAT_NPY,
    FORMAT_NPZ
} Format;

/* ---- recognising ---- */
static bool has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcasecmp(path + n - m, ending) == 0;
}

/* Formats that are known and not read, and what to do instead. */
static const struct Refused {
    const char *magic; /* first bytes, or NULL */
    size_t at, length;
    const char *ending; /* of the name, or NULL */
    const char *what, *help;
} refused[] = {
    {"\x89HDF\r\n\x1a\n", 0, 8, NULL, "an HDF5 file (Keras, .h5)",
     "in Python: write model.get_weights() with numpy.savez(\"w.npz\", ...), or convert the model "
     "with "
     "tf2onnx; both are read"},
    {"TFL3", 4, 4, NULL, "a TensorFlow Lite file", "convert it with tf2onnx --tflite"},
    {"GGUF", 0, 4, NULL, "a GGUF file", "convert its tensors to safetensors"},
    {"\x80\x02", 0, 2, NULL, "a Python pickle (PyTorch .pt, .pth): reading it would run its code",
     "in Python: safetensors.torch.save_file(torch.load(F, weights_only=True), \"w.safetensors\"), "
     "or "
     "torch.onnx.export for the network too"},
    {"\x80\x03", 0, 2, NULL, "a Python pickle: reading it would run its code",
     "in Python: load it and write safetensors or npz"},
    {"\x80\x04", 0, 2, NULL, "a Python pickle: reading it would run its code",
     "in Python: load it and write safetensors or npz"},
    {"\x80\x05", 0, 2, NULL, "a Python pickle: reading it would run its code",
     "in Python: load it and write safetensors or npz"},
    {NULL, 0, 0, ".prototxt", "a description without weights",
     "import the caffemodel: netc import NET.caffemodel --prototxt=FILE"},
    {NULL, 0, 0, ".pb", "a TensorFlow graph", "convert it with tf2onnx"},
    {NULL, 0, 0, ".weights", "a Darknet file", "convert it to ONNX"},
    {NULL, 0, 0, ".net", "a spec", "netc build compiles it"},
};

static bool refuse_known(Im *im, const ImBytes *f) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct Refused *r = &refused[i];
        bool magic = r->magic && f->size >= r->at + r->length &&
                     memcmp(f->data + r->at, r->magic, r->length) == 0;
        if (magic || (r->ending && has_ending(im->options->path, r->ending))) {
            im_fail(im, NETC_DATA, "this is %s", r->what);
            im_help(im, "%s", r->help);
            return false;
        }
    }
    return true;
}

static Format recognise(Im *im, const ImBytes *f) {
    const char *path = im->options->path;
    uint64_t n = 0;
    if (f->size >= 8)
        memcpy(&n, f->data, 8);
    if (f->size >= 6 && memcmp(f->data, "\x93NUMPY", 6) == 0)
        return FORMAT_NPY;
    if (f->size >= 4 && memcmp(f->data, "PK\x03\x04", 4) == 0)
        return FORMAT_NPZ;
    if (has_ending(path, ".caffemodel"))
        return FORMAT_CAFFE;
    if (has_ending(path, ".onnx"))
        return FORMAT_ONNX;
    if (has_ending(path, ".safetensors") || (f->size > 8 && f->data[8] == '{' && n < f->size))
        return FORMAT_SAFETENSORS;
    if (!refuse_known(im, f))
        return FORMAT_UNKNOWN;
    if (f->size > 2 && f->data[0] == 0x08 && f->data[1] < 32)
        return FORMAT_ONNX; /* ir_version */
    if (f->size > 2 && f->data[0] == 0x0a)
        return FORMAT_CAFFE; /* name */
    im_fail(im, NETC_DATA, f->size ? "this is no format that netc knows" : "the file is empty");
    im_help(im, "netc import reads .caffemodel, .onnx, .safetensors, .npz and .npy");
    return FORMAT_UNKNOWN;
}

/* ---- names of what is written ---- */
static const char *last_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "nets/lenet.caffemodel" -> "lenet" */
static const char *base_of(Arena *arena, const char *path) {
    const char *name = last_of(path), *dot = strrchr(name, '.');
    size_t n = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    char *text = arena_strndup(arena, n ? name : "net", n ? n : 3);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 33 || *p == '"' || *p == '\\' || *p == 127)
            *p = '_';
    return text;
}

/* -o bin/ and -o FOLDER keep the usual name; -o NAME, NAME.net and NAME.safetensors are the same.
 */
static const char *output_stem(Im *im) {
    const char *given = im->options->output, *usual = base_of(im->arena, im->options->path);
    size_t n = given ? strlen(given) : 0;
    struct stat info;
    if (n == 0)
        return usual;
    if (given[n - 1] == '/') {
        if (mkdir(given, 0777) != 0 && errno != EEXIST) {
            im_fail(im, NETC_IO, "cannot make the folder '%s': %s", given, strerror(errno));
            im_help(im, "choose another place with -o");
        }
        return arena_printf(im->arena, "%s%s", given, usual);
    }
    if (stat(given, &info) == 0 && S_ISDIR(info.st_mode))
        return arena_printf(im->arena, "%s/%s", given, usual);
    if (has_ending(given, ".net"))
        return arena_strndup(im->arena, given, n - 4);
    if (has_ending(given, ".safetensors"))
        return arena_strndup(im->arena, given, n - 12);
    return given;
}

/* A spec that somebody may have edited is not replaced; one that we wrote is. */
static bool may_replace(Im *im, const char *path) {
    char line[256] = "";
    FILE *file = fopen(path, "re");
    if (!file)
        return true;
    bool ours = fgets(line, sizeof line, file) && strstr(line, "by netc import");
    fclose(file);
    if (!ours) {
        im_fail(im, NETC_IO, "'%s' exists and was not made by netc import", path);
        im_help(im, "write elsewhere with -o NAME");
    }
    return ours;
}

/* ---- reading ---- */
typedef struct Read {
    Format format;
    ImNet net;
    ImOut out;
    bool has_net;
} Read;

static void option_prep(Im *im, ImNet *net) {
    const char *p = im->options->mean;
    if (im->options->order)
        net->prep.bgr = im->options->order == IMPORT_ORDER_BGR;
    if (!p)
        return;
    int n = 0;
    for (; n < 3; n++) {
        char *end;
        net->prep.mean[n] = strtod(p, &end);
        if (end == p || !(net->prep.mean[n] >= -1e6 && net->prep.mean[n] <= 1e6))
            break;
        p = end;
        if (*p == ',')
            p++;
        else if (!*p && ++n)
            break;
    }
    if (*p || (n != 1 && n != 3)) {
        im_fail(im, NETC_USAGE, "'%s' is no mean",
                im_clean(im, im->options->mean, strlen(im->options->mean)));
        im_help(im, "one number, or those of red, green and blue: --mean=123,117,104");
        return;
    }
    net->prep.means = n;
    net->prep.known = true;
    net->prep.comment = NULL;
}

/* Classes behind each other as maps of one pixel become a vector. */
static void flatten_score(Im *im, ImNet *net) {
    const ImLayer *l = im_at(net, net->score);
    if (l->rank != 3 || l->dim[1] != 1 || l->dim[2] != 1 || l->dim[0] < 2)
        return;
    int flat = im_add(im, net, IM_FLATTEN, "", 1, &net->score);
    if (im->code)
        return;
    if (net->prob >= 0)
        im_at(net, net->prob)->in[0] = flat;
    net->score = flat;
    im_infer(im, net, flat);
}

/* Every name takes the first rule, "OLD:NEW", whose OLD is a part of it. */
static const char *renamed(Im *im, const char *name, const char *rules) {
    while (*rules) {
        size_t n = strcspn(rules, ","), from = strcspn(rules, ":");
        const char *old = arena_strndup(im->arena, rules, from);
        const char *at = strstr(name, old);
        if (at)
            return arena_printf(im->arena, "%.*s%.*s%s", (int)(at - name), name,
                                (int)(n - from - 1), rules + from + 1, at + from);
        rules += n + (rules[n] == ',');
    }
    return name;
}

static bool rename_tensors(Im *im, ImOut *out) {
    const char *rules = im->options->rename;
    if (!rules)
        return true;
    for (const char *p = rules; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
        size_t colon = strcspn(p, ":");
        if (colon > 0 && colon < strcspn(p, ","))
            continue;
        im_fail(im, NETC_USAGE, "'%s' renames nothing", im_clean(im, rules, strlen(rules)));
        im_help(im, "write old and new parts of names: --rename=gamma:weight,beta:bias");
        return false;
    }
    for (int i = 0; i < out->tensor.len; i++) {
        ImOutTensor *t = &out->tensor.data[i];
        const char *name = renamed(im, t->name, rules);
        t->original = name != t->name && !t->original ? t->name : t->original;
        t->name = name;
    }
    return true;
}

static bool read_net(Im *im, const ImBytes *file, Read *r) {
    bool ok = r->format == FORMAT_CAFFE ? im_read_caffe(im, file, &r->net)
                                        : im_read_onnx(im, file, &r->net);
    if (!ok)
        return false;
    option_prep(im, &r->net);
    flatten_score(im, &r->net);
    if (im->code)
        return false;
    im_label(im, &r->net);
    im_net_weights(im, &r->net, &r->out);
    r->has_net = true;
    return true;
}

static bool read_file(Im *im, Read *r) {
    struct stat info;
    const ImBytes *file;
    const char *path = im->options->path;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return im_fail(im, NETC_IO, "is a folder");
    if (has_ending(path, ".safetensors")) { /* never whole in memory */
        r->format = FORMAT_SAFETENSORS;
        return im_store_read(im, &r->out);
    }
    file = im_load(im, path, IM_MAX_FILE);
    r->format = file ? recognise(im, file) : FORMAT_UNKNOWN;
    switch (r->format) {
    case FORMAT_CAFFE:
    case FORMAT_ONNX:
        return read_net(im, file, r);
    case FORMAT_SAFETENSORS:
        return im_store_read(im, &r->out);
    case FORMAT_NPY:
        return im_read_npy(im, base_of(im->arena, path), file->data, file->size, &r->out);
    case FORMAT_NPZ:
        return im_read_npz(im, file, &r->out);
    case FORMAT_UNKNOWN:
        break;
    }
    return false;
}

/* ---- writing ---- */
static void add_meta(Im *im, Read *r, const char *key, const char *value) {
    vec_push(im->arena, &r->out.meta, ((struct ImMeta){key, value}));
}

static void add_metas(Im *im, Read *r) {
    static const char *const names[] = {"", "Caffe", "ONNX", "safetensors", "npy", "npz"};
    const char *file = last_of(im->path);
    add_meta(im, r, "format", "pt");
    add_meta(im, r, "netc.kind", "weights");
    add_meta(im, r, "netc.imported", arena_printf(im->arena, "%s %s", names[r->format], file));
    for (int i = 0; i < r->out.tensor.len; i++)
        if (r->out.tensor.data[i].original)
            add_meta(im, r, arena_printf(im->arena, "netc.original.%s", r->out.tensor.data[i].name),
                     r->out.tensor.data[i].original);
    if (!r->has_net)
        return;
    const ImPrep *p = &r->net.prep;
    const int64_t *d = r->net.layer.data[0].dim;
    add_meta(im, r, "netc.preprocess",
             arena_printf(im->arena,
                          "channels=%lld height=%lld width=%lld resize_short=%lld crop=%d lo=0 hi=%.9g "
                          "mean=%.9g,%.9g,%.9g std=%.9g,%.9g,%.9g bgr=%d",
                          (long long)d[0], (long long)d[1], (long long)d[2],
                          (long long)p->resize, p->crop > 0, 255 * p->scale,
                          p->mean[0] * p->scale, p->mean[1] * p->scale, p->mean[2] * p->scale,
                          p->std[0], p->std[1], p->std[2], p->bgr));
}

static void count(const Read *r, ImportResult *result) {
    for (int i = 0; i < r->out.tensor.len; i++) {
        const ImOutTensor *t = &r->out.tensor.data[i];
        *(t->statistic ? &result->statistics : &result->trained) += t->tensor.count;
    }
    result->tensors = r->out.tensor.len;
    result->layers = r->has_net ? r->net.layer.len - 1 : 0;
}

static bool write_spec(Im *im, const char *path, const char *spec, const ImOut *weights,
                       const char *weights_path) {
    OutFile out;
    char why[4400];
    if (!outfile_open(&out, path, why, sizeof why))
        return im_fail(im, NETC_IO, "%s", why);
    fputs(spec, out.stream);
    bool ok = fflush(out.stream) == 0 && im_store_write(im, weights, weights_path);
    if (!ok) { /* nothing is left of the spec */
        fclose(out.stream);
        remove(out.temp[0] ? out.temp : path);
        return im_fail(im, NETC_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    return outfile_close(&out, why, sizeof why) || im_fail(im, NETC_IO, "%s", why);
}

static bool finish(Im *im, ImportResult *result, const char **spec, bool write) {
    Read r = {.format = FORMAT_UNKNOWN};
    static const char *const names[] = {"", "Caffe", "ONNX", "safetensors", "npy", "npz"};
    if (!read_file(im, &r))
        return false;
    if (r.has_net && im->options->rename) {
        im_fail(im, NETC_USAGE, "--rename is for files without a network");
        im_help(im, "the labels of the spec are the names of its weights");
        return false;
    }
    if (!rename_tensors(im, &r.out))
        return false;
    if (r.out.tensor.len == 0 && !r.has_net)
        return im_fail(im, NETC_DATA, "there are no weights in it");
    const char *stem = write ? output_stem(im) : base_of(im->arena, im->options->path);
    if (im->code)
        return false;
    const char *weights = arena_printf(im->arena, "%s.safetensors", stem);
    const char *path = arena_printf(im->arena, "%s.net", stem);
    if (r.has_net)
        *spec = im_spec(im, &r.net, last_of(stem), last_of(im->path));
    add_metas(im, &r);
    count(&r, result);
    result->format = names[r.format];
    result->weights = weights;
    result->spec = r.has_net ? path : NULL;
    if (im->code || !write)
        return !im->code;
    if (!r.has_net)
        return im_store_write(im, &r.out, weights);
    return may_replace(im, path) && write_spec(im, path, *spec, &r.out, weights);
}

static int run(Arena *arena, const ImportOptions *options, ImportResult *result, const char **spec,
               bool write) {
    Im im = {.arena = arena, .options = options, .notes = sb_new(arena)};
    *result = (ImportResult){.notes = ""};
    *spec = NULL;
    im.path = im_clean(&im, options->path, strlen(options->path));
    bool ok = finish(&im, result, spec, write);
    im_end(&im);
    BUG_IF(!ok && !im.code, "a failure without a reason");
    if (!ok) {
        im_help(&im, im.code == NETC_IO ? "check the path and the permissions"
                                        : "is the file complete? download it again");
        memcpy(result->text, im.text, sizeof result->text);
    }
    result->notes = im.notes.length ? im.notes.text : "";
    return im.code;
}

int import_file(Arena *arena, const ImportOptions *options, ImportResult *result) {
    const char *spec;
    return run(arena, options, result, &spec, true);
}

int import_text(Arena *arena, const ImportOptions *options, ImportResult *result,
                const char **spec) {
    return run(arena, options, result, spec, false);
}
