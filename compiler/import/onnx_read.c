/* onnx_read.c: a ModelProto from its bytes (onnx.h).
 *
 * requires: nothing of the bytes.  ensures: tensors hold as many numbers as their shapes say.
 * Weights in separate files are read only from a plain file in the model's own folder: no path, no
 * link (CVE-2022-25882, CVE-2024-27318).
 */
#define _GNU_SOURCE
#include "import/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_NODES = 100000 };

static bool text_is(const WireField *f, const char *text) {
    return f->type == WIRE_BYTES && f->size == strlen(text) && memcmp(f->data, text, f->size) == 0;
}

static const char *text_of(Im *im, const WireField *f) {
    return f->type == WIRE_BYTES ? im_clean(im, (const char *)f->data, f->size) : "";
}

/* ---- tensors ---- */
static bool type_of(int64_t code, ImType *type) {
    static const int codes[IM_TYPES] = {
        [IM_F32] = 1,  [IM_U8] = 2,   [IM_I8] = 3,    [IM_U16] = 4,  [IM_I16] = 5,
        [IM_I32] = 6,  [IM_I64] = 7,  [IM_BOOL] = 9,  [IM_F16] = 10, [IM_F64] = 11,
        [IM_U32] = 12, [IM_U64] = 13, [IM_BF16] = 16,
    };
    for (int t = 0; t < IM_TYPES; t++)
        if (codes[t] == code) {
            *type = (ImType)t;
            return true;
        }
    return false;
}

typedef struct Parts { /* of a TensorProto */
    int64_t type;
    OnnxBytes raw;
    bool has_raw, external;
    uint32_t list; /* number of the field that lists the elements; 0 none */
    int64_t listed;
    VEC(OnnxBytes) where; /* external_data entries */
} Parts;

/* Which field lists elements of a type, and how many bytes one has there (0: varint). */
static uint32_t list_field(ImType type, int *size) {
    *size = type == IM_F32 ? 4 : type == IM_F64 ? 8 : 0;
    switch (type) {
    case IM_F32:
        return 4;
    case IM_F64:
        return 10;
    case IM_I64:
        return 7;
    case IM_U32:
    case IM_U64:
        return 11;
    default:
        return 5;
    }
}

static bool read_parts(Im *im, OnnxBytes bytes, ImTensor *t, Parts *p) {
    Wire w = wire_of(bytes.data, bytes.size);
    WireField f;
    while (wire_next(&w, &f)) {
        Wire packed = wire_of(f.data, f.size);
        uint64_t v = f.value;
        if (f.number == 1) { /* dims, packed or not */
            while (f.type == WIRE_VARINT ||
                   (f.type == WIRE_BYTES && packed.at < packed.end && wire_varint(&packed, &v))) {
                if (t->rank == IM_MAX_RANK)
                    return false;
                memcpy(&t->dim[t->rank++], &v, sizeof v);
                if (f.type == WIRE_VARINT)
                    break;
            }
        } else if (f.number == 2)
            p->type = wire_int(&f);
        else if (f.number == 8)
            t->name = text_of(im, &f);
        else if (f.number == 9 && f.type == WIRE_BYTES) {
            p->raw = (OnnxBytes){f.data, f.size};
            p->has_raw = true;
        } else if (f.number == 13 && f.type == WIRE_BYTES)
            vec_push(im->arena, &p->where, ((OnnxBytes){f.data, f.size}));
        else if (f.number == 14)
            p->external = wire_int(&f) == 1;
    }
    return !w.bad;
}

/* Elements that the message lists one by one, or packed. */
static bool gather(Im *im, OnnxBytes bytes, ImTensor *t) {
    int wide;
    uint32_t number = list_field(t->type, &wide);
    int size = im_type_size(t->type);
    Wire w = wire_of(bytes.data, bytes.size);
    WireField f;
    int64_t n = 0;
    while (wire_next(&w, &f))
        if (f.number == number) {
            int64_t more = wire_count(&f, wide);
            if (more < 0)
                return false;
            n += more;
        }
    if (n != t->count)
        return false;
    unsigned char *out = arena_array(im->arena, n, (size_t)size), *at = out;
    w = wire_of(bytes.data, bytes.size);
    while (wire_next(&w, &f)) {
        if (f.number != number)
            continue;
        if (wide) {
            memcpy(at, f.data, f.size);
            at += f.size;
            continue;
        }
        Wire packed = wire_of(f.data, f.size);
        uint64_t v = f.value;
        while (f.type == WIRE_VARINT || (packed.at < packed.end && wire_varint(&packed, &v))) {
            if (at + size > out + (size_t)n * (size_t)size)
                return false;
            memcpy(at, &v, (size_t)size);
            at += size;
            if (f.type == WIRE_VARINT)
                break;
        }
        if (packed.bad)
            return false;
    }
    t->data = out;
    return true;
}

/* location, offset, length */
static bool external(Im *im, const Parts *p, ImTensor *t) {
    const char *location = NULL;
    uint64_t offset = 0, length = 0;
    bool has_length = false;
    for (int i = 0; i < p->where.len; i++) {
        Wire w = wire_of(p->where.data[i].data, p->where.data[i].size);
        WireField f, key = {0}, value = {0};
        while (wire_next(&w, &f))
            *(f.number == 1 ? &key : &value) = f;
        const char *text = text_of(im, &value);
        if (text_is(&key, "location"))
            location = text;
        else if (text_is(&key, "offset"))
            offset = strtoull(text, NULL, 10);
        else if (text_is(&key, "length")) {
            length = strtoull(text, NULL, 10);
            has_length = true;
        }
    }
    if (!location || !*location || strchr(location, '/') || strchr(location, '\\') ||
        location[0] == '.')
        return im_fail(im, NETC_DATA,
                       "tensor '%s' lies in '%s': only a file beside the model is "
                       "read",
                       t->name, location ? location : "");
    const char *slash = strrchr(im->options->path, '/');
    const char *path = slash ? arena_printf(im->arena, "%.*s/%s", (int)(slash - im->options->path),
                                            im->options->path, location)
                             : location;
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink != 1)
        return im_fail(im, NETC_IO, "its weights file '%s' is missing, or a link", location);
    const ImBytes *file = NULL;
    for (const ImBytes *b = im->held; b && !file; b = b->next)
        if (b->path && strcmp(b->path, path) == 0)
            file = b;
    if (!file && !(file = im_load(im, path, (int64_t)1 << 36)))
        return false;
    uint64_t bytes = (uint64_t)t->count * (uint64_t)im_type_size(t->type);
    if (offset > file->size || bytes > file->size - offset || (has_length && length != bytes))
        return im_fail(im, NETC_DATA, "tensor '%s' lies beyond the end of '%s'", t->name, location);
    t->data = file->data + offset;
    return true;
}

static bool read_tensor(Im *im, OnnxBytes bytes, ImTensor *t) {
    Parts p = {0};
    *t = (ImTensor){.name = ""};
    if (!read_parts(im, bytes, t, &p))
        return im_fail(im, NETC_DATA, "tensor '%s' is malformed", t->name);
    if (!type_of(p.type, &t->type))
        return im_fail(im, NETC_DATA, "tensor '%s' has elements of an unknown type, %lld", t->name,
                       (long long)p.type);
    if (!im_tensor_count(t))
        return im_fail(im, NETC_DATA, "tensor '%s' is too large", t->name);
    if (p.external)
        return external(im, &p, t);
    size_t bytes_wanted = (size_t)t->count * (size_t)im_type_size(t->type);
    if (p.has_raw && p.raw.size == bytes_wanted) {
        t->data = p.raw.data;
        return true;
    }
    if (p.has_raw || !gather(im, bytes, t))
        return im_fail(im, NETC_DATA, "tensor '%s' is %s but does not hold as many numbers",
                       t->name, im_shape_text(im, t->rank, t->dim));
    return true;
}

/* ---- attributes ---- */
static bool find(const OnnxNode *node, const char *name, Wire *out) {
    Wire w = wire_of(node->bytes.data, node->bytes.size);
    WireField f, g;
    while (wire_next(&w, &f)) {
        if (f.number != 5 || f.type != WIRE_BYTES)
            continue;
        Wire a = wire_of(f.data, f.size);
        while (wire_next(&a, &g))
            if (g.number == 1 && text_is(&g, name)) {
                *out = wire_of(f.data, f.size);
                return true;
            }
    }
    return false;
}

/* The field `number` of attribute `name`. */
static bool find_field(const OnnxNode *node, const char *name, uint32_t number, WireField *out) {
    Wire a;
    WireField f;
    bool found = false;
    if (!find(node, name, &a))
        return false;
    while (wire_next(&a, &f))
        if (f.number == number) {
            *out = f;
            found = true;
        }
    return found;
}

bool onnx_has(const OnnxNode *node, const char *name) {
    Wire a;
    return find(node, name, &a);
}

int64_t onnx_int(const OnnxNode *node, const char *name, int64_t absent) {
    WireField f;
    return find_field(node, name, 3, &f) ? wire_int(&f) : absent;
}

double onnx_float(const OnnxNode *node, const char *name, double absent) {
    WireField f;
    return find_field(node, name, 2, &f) ? (double)wire_float(&f) : absent;
}

const char *onnx_text(Im *im, const OnnxNode *node, const char *name, const char *absent) {
    WireField f;
    return find_field(node, name, 4, &f) ? text_of(im, &f) : absent;
}

int onnx_floats(const OnnxNode *node, const char *name, float *out, int most) {
    Wire a;
    WireField f;
    int n = 0;
    if (!find(node, name, &a))
        return -1;
    while (wire_next(&a, &f)) {
        if (f.number != 7 || (f.type != WIRE_32 && f.type != WIRE_BYTES))
            continue;
        size_t size = f.type == WIRE_32 ? 4 : f.size;
        for (size_t i = 0; i + 4 <= size && n <= most; i += 4, n++)
            if (n < most)
                memcpy(&out[n], f.data + i, 4);
    }
    return n;
}

int onnx_ints(const OnnxNode *node, const char *name, int64_t *out, int most) {
    Wire a;
    WireField f;
    int n = 0;
    if (!find(node, name, &a))
        return -1;
    while (wire_next(&a, &f)) {
        Wire packed = wire_of(f.data, f.size);
        uint64_t v = f.value;
        if (f.number != 8)
            continue;
        while (f.type == WIRE_VARINT ||
               (f.type == WIRE_BYTES && packed.at < packed.end && wire_varint(&packed, &v))) {
            if (n < most)
                memcpy(&out[n], &v, sizeof v);
            n += n <= most;
            if (f.type == WIRE_VARINT)
                break;
        }
    }
    return n;
}

bool onnx_tensor(Im *im, const OnnxNode *node, const char *name, ImTensor *t) {
    WireField f;
    return find_field(node, name, 5, &f) && f.type == WIRE_BYTES &&
           read_tensor(im, (OnnxBytes){f.data, f.size}, t);
}

/* ---- graph ---- */
static bool read_node(Im *im, const WireField *message, OnnxModel *m) {
    Wire w = wire_of(message->data, message->size);
    WireField f;
    OnnxNode n = {.name = "", .type = "", .bytes = {message->data, message->size}};
    while (wire_next(&w, &f)) {
        if (f.number == 1)
            vec_push(im->arena, &n.in, text_of(im, &f));
        else if (f.number == 2)
            vec_push(im->arena, &n.out, text_of(im, &f));
        else if (f.number == 3)
            n.name = text_of(im, &f);
        else if (f.number == 4)
            n.type = text_of(im, &f);
        else if (f.number == 7)
            n.foreign = f.size > 0 && !text_is(&f, "ai.onnx");
    }
    if (w.bad)
        return im_fail(im, NETC_DATA, "node %d is malformed", m->node.len + 1);
    if (m->node.len >= MAX_NODES)
        return im_fail(im, NETC_LIMIT, "more than %d nodes", MAX_NODES);
    vec_push(im->arena, &m->node, n);
    return true;
}

/* Enters nested messages: the last field `number` of the message. */
static bool enter(OnnxBytes *b, uint32_t number) {
    Wire w = wire_of(b->data, b->size);
    WireField f;
    bool found = false;
    while (wire_next(&w, &f))
        if (f.number == number && f.type == WIRE_BYTES) {
            *b = (OnnxBytes){f.data, f.size};
            found = true;
        }
    return found;
}

static void read_input(Im *im, const WireField *message, OnnxModel *m) {
    OnnxInput in = {.name = "", .rank = -1};
    OnnxBytes b = {message->data, message->size};
    Wire w = wire_of(b.data, b.size);
    WireField f;
    while (wire_next(&w, &f))
        if (f.number == 1)
            in.name = text_of(im, &f);
    if (enter(&b, 2) && enter(&b, 1) && enter(&b, 2)) { /* type, tensor_type, shape */
        w = wire_of(b.data, b.size);
        in.rank = 0;
        while (wire_next(&w, &f)) {
            if (f.number != 1 || f.type != WIRE_BYTES || in.rank == IM_MAX_RANK)
                continue;
            Wire d = wire_of(f.data, f.size);
            WireField g;
            int64_t n = 0;
            while (wire_next(&d, &g))
                n = g.number == 1 ? wire_int(&g) : n;
            in.dim[in.rank++] = n > 0 && n <= IM_MAX_MAPS ? n : 0;
        }
    }
    vec_push(im->arena, &m->input, in);
}

static bool read_graph(Im *im, OnnxBytes bytes, OnnxModel *m) {
    Wire w = wire_of(bytes.data, bytes.size);
    WireField f;
    while (wire_next(&w, &f)) {
        bool ok = true, is_bytes = f.type == WIRE_BYTES;
        if (is_bytes && f.number == 1)
            ok = read_node(im, &f, m);
        else if (f.number == 2)
            m->graph = text_of(im, &f);
        else if (is_bytes && f.number == 5) {
            if (m->initializer.len >= IM_MAX_TENSORS)
                return im_fail(im, NETC_LIMIT, "more than %d tensors", IM_MAX_TENSORS);
            ok = read_tensor(im, (OnnxBytes){f.data, f.size}, vec_add(im->arena, &m->initializer));
        } else if (is_bytes && f.number == 11)
            read_input(im, &f, m);
        else if (is_bytes && f.number == 12) {
            OnnxModel one = {0};
            read_input(im, &f, &one);
            vec_push(im->arena, &m->output, one.input.data[0].name);
        } else if (f.number == 15)
            return im_fail(im, NETC_DATA, "sparse weights cannot be imported");
        if (!ok)
            return false;
    }
    return !w.bad || im_fail(im, NETC_DATA, "the graph is cut short or malformed");
}

static void read_opset(const WireField *message, OnnxModel *m) {
    Wire w = wire_of(message->data, message->size);
    WireField f;
    int64_t version = 0;
    bool own = true;
    while (wire_next(&w, &f)) {
        if (f.number == 1)
            own = f.size == 0 || text_is(&f, "ai.onnx");
        else if (f.number == 2)
            version = wire_int(&f);
    }
    if (own)
        m->opset = version;
}

static void read_metadata(Im *im, const WireField *message, OnnxModel *m) {
    Wire w = wire_of(message->data, message->size);
    WireField f, key = {0}, value = {0};
    while (wire_next(&w, &f))
        *(f.number == 1 ? &key : &value) = f;
    if (text_is(&key, "Image.BitmapPixelFormat"))
        m->pixel_format = text_of(im, &value);
    else if (text_is(&key, "Image.NominalPixelRange"))
        m->pixel_range = text_of(im, &value);
    else if (text_is(&key, "netc.preprocess") && value.type == WIRE_BYTES && value.size < 600)
        m->preprocess = arena_strndup(im->arena, (const char *)value.data, value.size);
}

bool onnx_parse(Im *im, const unsigned char *data, size_t size, OnnxModel *m) {
    Wire w = wire_of(data, size);
    WireField f;
    OnnxBytes graph = {0};
    *m = (OnnxModel){.graph = "", .producer = ""};
    while (wire_next(&w, &f)) {
        bool is_bytes = f.type == WIRE_BYTES;
        if (f.number == 2)
            m->producer = text_of(im, &f);
        else if (is_bytes && f.number == 7)
            graph = (OnnxBytes){f.data, f.size};
        else if (is_bytes && f.number == 8)
            read_opset(&f, m);
        else if (is_bytes && f.number == 14)
            read_metadata(im, &f, m);
    }
    if (w.bad)
        return im_fail(im, NETC_DATA, "the file is cut short or no ONNX model");
    if (!graph.data)
        return im_fail(im, NETC_DATA, "there is no graph in it: not an ONNX model?");
    if (m->opset < 7) {
        im_fail(im, NETC_DATA, "it uses operator set %lld; 7 and later are read",
                (long long)m->opset);
        im_help(im, "in Python: onnx.version_converter.convert_version(model, 13)");
        return false;
    }
    return read_graph(im, graph, m);
}
