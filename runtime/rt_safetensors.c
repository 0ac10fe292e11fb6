/* rt_safetensors.c: reading weight files (see rt_safetensors.h; writing is in rt_st_write.c).
 *
 * requires: nothing of the file.  ensures: every tensor of an opened file lies inside it, its bytes
 * equal its shape times its type, and together they cover the data exactly once.
 * Format: the safetensors README and its reference reader's validation rules.
 */
#define _GNU_SOURCE
#include "rt_safetensors.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_json.h"
#include "rt_st.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file format is little-endian");

enum { MAX_DEPTH = 4, MAX_JSON_VALUES = 4000000, CONVERT_BYTES = 1 << 14 };
#define MAX_TENSOR_BYTES ((uint64_t)1 << 40)

static const struct {
    const char *name;
    int size;
} dtypes[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I8", 1},  {"I16", 2}, {"I32", 4},
              {"I64", 8}, {"U8", 1},  {"U16", 2}, {"U32", 4},  {"U64", 8}, {"BOOL", 1}};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };
_Static_assert(DTYPES == ST_BOOL + 1, "one row per st_dtype");

const char *st_dtype_name(st_dtype dtype) {
    return dtypes[dtype].name;
}

int st_dtype_size(st_dtype dtype) {
    return dtypes[dtype].size;
}

/* --- header --------------------------------------------------------------------------------------
 */

static int bad_tensor(const st_file *file, const char *name, const char *what, rt_error *err) {
    char shown[200];
    return rt_fail(err, NETRT_EDATA, "%s: tensor \"%s\": %s", file->path,
                   rt_clean_name(shown, sizeof shown, name), what);
}

static int parse_shape(const st_file *file, const rt_json *doc, const rt_json_node *shape,
                       st_tensor *t, rt_error *err) {
    if (!shape || shape->kind != RT_JSON_ARRAY)
        return bad_tensor(file, t->name, "shape is missing", err);
    if (shape->count > ST_MAX_RANK)
        return bad_tensor(file, t->name, "more than 8 dimensions", err);
    uint64_t count = 1;
    for (int32_t i = shape->first; i >= 0; i = doc->node[i].next) {
        const rt_json_node *d = &doc->node[i];
        if (d->kind != RT_JSON_NUMBER || d->number > MAX_TENSOR_BYTES ||
            __builtin_mul_overflow(count, d->number, &count) || count > MAX_TENSOR_BYTES)
            return bad_tensor(file, t->name, "shape is malformed or too large", err);
        t->dims[t->rank++] = (int64_t)d->number;
    }
    t->count = (int64_t)count;
    return NETRT_OK;
}

/* Offsets relative to the start of the data; data_size is what the file has. */
static int parse_offsets(const st_file *file, const rt_json *doc, const rt_json_node *range,
                         uint64_t data_size, st_tensor *t, rt_error *err) {
    if (!range || range->kind != RT_JSON_ARRAY || range->count != 2)
        return bad_tensor(file, t->name, "data_offsets are missing", err);
    const rt_json_node *b = &doc->node[range->first], *e = &doc->node[b->next];
    if (b->kind != RT_JSON_NUMBER || e->kind != RT_JSON_NUMBER || b->number > e->number)
        return bad_tensor(file, t->name, "data_offsets are malformed", err);
    if (e->number > data_size)
        return bad_tensor(file, t->name, "its data lies beyond the end of the file (truncated?)",
                          err);
    if (e->number - b->number != (uint64_t)t->count * (uint64_t)dtypes[t->dtype].size)
        return bad_tensor(file, t->name, "its data size does not match shape and dtype", err);
    t->offset = (int64_t)b->number;
    t->nbytes = (int64_t)(e->number - b->number);
    return NETRT_OK;
}

static int parse_tensor(const st_file *file, const rt_json *doc, const rt_json_node *node,
                        uint64_t data_size, st_tensor *t, rt_error *err) {
    *t = (st_tensor){.name = node->key};
    if (!*node->key)
        return rt_fail(err, NETRT_EDATA, "%s: a tensor has no name", file->path);
    if (node->kind != RT_JSON_OBJECT || node->count != 3)
        return bad_tensor(file, t->name, "expected dtype, shape and data_offsets", err);
    const rt_json_node *dtype = rt_json_get(doc, node, "dtype");
    if (!dtype || dtype->kind != RT_JSON_STRING)
        return bad_tensor(file, t->name, "dtype is missing", err);
    int k = 0;
    while (k < DTYPES && strcmp(dtypes[k].name, dtype->string) != 0)
        k++;
    if (k == DTYPES)
        return bad_tensor(file, t->name, "unknown dtype", err);
    t->dtype = (st_dtype)k;
    int code = parse_shape(file, doc, rt_json_get(doc, node, "shape"), t, err);
    if (code == NETRT_OK)
        code = parse_offsets(file, doc, rt_json_get(doc, node, "data_offsets"), data_size, t, err);
    return code;
}

struct pair {
    const char *key, *value;
};

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static int parse_meta(st_file *file, const rt_json *doc, const rt_json_node *meta, rt_error *err) {
    if (meta->kind != RT_JSON_OBJECT)
        return rt_fail(err, NETRT_EDATA, "%s: __metadata__ is no object", file->path);
    size_t n = (size_t)meta->count;
    struct pair *pairs = rt_alloc(n, sizeof *pairs, "metadata", err);
    file->meta_key = rt_alloc(n, sizeof(char *), "metadata", err);
    file->meta_value = rt_alloc(n, sizeof(char *), "metadata", err);
    int code = pairs && file->meta_key && file->meta_value ? NETRT_OK : NETRT_ELIMIT;
    size_t k = 0;
    for (int32_t i = meta->first; code == NETRT_OK && i >= 0; i = doc->node[i].next) {
        if (doc->node[i].kind != RT_JSON_STRING)
            code = rt_fail(err, NETRT_EDATA, "%s: __metadata__ holds something else than text",
                           file->path);
        pairs[k++] = (struct pair){doc->node[i].key, doc->node[i].string};
    }
    if (code == NETRT_OK && n > 0)
        qsort(pairs, n, sizeof *pairs, by_key);
    for (size_t i = 0; code == NETRT_OK && i < n; i++) {
        file->meta_key[i] = (char *)(uintptr_t)pairs[i].key; /* both live in file->memory */
        file->meta_value[i] = (char *)(uintptr_t)pairs[i].value;
        file->metas = (int)n;
    }
    rt_free(pairs);
    return code;
}

static int by_offset(const void *a, const void *b) {
    const st_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->nbytes < y->nbytes ? -1 : x->nbytes > y->nbytes;
}

static int by_tensor_name(const void *a, const void *b) {
    return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name);
}

/* No overlap, no hole, nothing behind the last tensor. */
static int check_cover(st_file *file, int64_t data_size, rt_error *err) {
    int64_t at = 0;
    if (file->tensors > 1)
        qsort(file->tensor, (size_t)file->tensors, sizeof(st_tensor), by_offset);
    for (int i = 0; i < file->tensors; i++) {
        const st_tensor *t = &file->tensor[i];
        if (t->offset != at)
            return bad_tensor(file, t->name,
                              t->offset < at ? "its data overlaps another tensor's"
                                             : "there is a hole before its data",
                              err);
        at += t->nbytes;
    }
    if (at != data_size)
        return rt_fail(err, NETRT_EDATA, "%s: %lld bytes follow the last tensor", file->path,
                       (long long)(data_size - at));
    if (file->tensors > 1)
        qsort(file->tensor, (size_t)file->tensors, sizeof(st_tensor), by_tensor_name);
    return NETRT_OK;
}

static int parse_header(st_file *file, const char *header, size_t n, rt_error *err) {
    int64_t data_start = 8 + (int64_t)n, data_size = file->size - data_start;
    rt_json doc;
    if (header[0] != '{')
        return rt_fail(err, NETRT_EDATA, "%s: the header does not begin with '{'", file->path);
    int code = rt_json_parse(&doc, header, n, MAX_DEPTH, MAX_JSON_VALUES, file->path, err);
    if (code != NETRT_OK)
        return code;
    file->memory = doc.text; /* names and metadata point into it */
    doc.text = NULL;
    const rt_json_node *root = &doc.node[0];
    if (root->count > ST_MAX_TENSORS + 1)
        code = rt_fail(err, NETRT_ELIMIT, "%s: %d tensors, the limit is %d", file->path,
                       root->count, ST_MAX_TENSORS);
    if (code == NETRT_OK &&
        !(file->tensor = rt_alloc((size_t)root->count, sizeof(st_tensor), "tensor table", err)))
        code = NETRT_ELIMIT;
    for (int32_t i = root->first; code == NETRT_OK && i >= 0; i = doc.node[i].next) {
        if (strcmp(doc.node[i].key, "__metadata__") == 0)
            code = parse_meta(file, &doc, &doc.node[i], err);
        else
            code = parse_tensor(file, &doc, &doc.node[i], (uint64_t)data_size,
                                &file->tensor[file->tensors++], err);
    }
    if (code == NETRT_OK)
        code = check_cover(file, data_size, err);
    for (int i = 0; i < file->tensors; i++)
        file->tensor[i].offset += data_start;
    rt_json_free(&doc);
    return code;
}

/* --- checksum ------------------------------------------------------------------------------------
 */

/* Compares the digits in the metadata with the hash of the file; header is blanked on the way. */
static int verify(st_file *file, char *header, size_t n, rt_error *err) {
    const char *told = st_meta(file, ST_HASH_KEY);
    if (!told) {
        if (st_meta(file, ST_FORMAT_KEY))
            return rt_fail(err, NETRT_EDATA, "%s: its checksum is missing: the file was changed",
                           file->path);
        return NETRT_OK; /* written by another program */
    }
    static const char pattern[] = "\"" ST_HASH_KEY "\":\"";
    char *at = memmem(header, n, pattern, sizeof pattern - 1), found[ST_HASH_DIGITS + 1];
    size_t digits_at = at ? (size_t)(at - header) + sizeof pattern - 1 : 0;
    if (!at || n - digits_at < ST_HASH_DIGITS || strlen(told) != ST_HASH_DIGITS)
        return rt_fail(err, NETRT_EDATA, "%s: its checksum is malformed: the file was changed",
                       file->path);
    memset(header + digits_at, '0', ST_HASH_DIGITS);
    struct st_hash *hash = st_hash_begin(err);
    unsigned char *chunk = rt_alloc(ST_CHUNK, 1, "checksum buffer", err);
    int code = hash && chunk ? NETRT_OK : NETRT_ELIMIT;
    if (code == NETRT_OK) {
        uint64_t n64 = n;
        st_hash_add(hash, &n64, sizeof n64);
        st_hash_add(hash, header, n);
    }
    for (int64_t pos = 8 + (int64_t)n; code == NETRT_OK && pos < file->size; pos += ST_CHUNK) {
        size_t take = file->size - pos < ST_CHUNK ? (size_t)(file->size - pos) : ST_CHUNK;
        code = rt_io_pread(file->fd, file->path, chunk, take, pos, err);
        if (code == NETRT_OK)
            st_hash_add(hash, chunk, take);
    }
    rt_free(chunk);
    st_hash_end(hash, found);
    if (code == NETRT_OK && strcmp(found, told) != 0)
        code = rt_fail(err, NETRT_EDATA,
                       "%s: checksum differs: the file was damaged or changed after it was written",
                       file->path);
    file->verified = code == NETRT_OK;
    return code;
}

/* --- opening -------------------------------------------------------------------------------------
 */

static int open_body(st_file *file, int flags, rt_error *err) {
    uint64_t n;
    if (file->size < 8)
        return rt_fail(err, NETRT_EDATA, "%s is no safetensors file: %lld bytes", file->path,
                       (long long)file->size);
    int code = rt_io_pread(file->fd, file->path, &n, sizeof n, 0, err);
    if (code != NETRT_OK)
        return code;
    if (n > (uint64_t)ST_MAX_HEADER)
        return rt_fail(err, NETRT_EDATA,
                       "%s is no safetensors file: its header would have %llu bytes\n"
                       "help: PyTorch .pt and .bin files must be converted to safetensors first",
                       file->path, (unsigned long long)n);
    if (n < 2 || (int64_t)n > file->size - 8)
        return rt_fail(err, NETRT_EDATA,
                       "%s is truncated: a header of %llu bytes in a file of %lld", file->path,
                       (unsigned long long)n, (long long)file->size);
    char *header = rt_alloc((size_t)n, 1, "header", err);
    if (!header)
        return NETRT_ELIMIT;
    code = rt_io_pread(file->fd, file->path, header, (size_t)n, 8, err);
    if (code == NETRT_OK)
        code = parse_header(file, header, (size_t)n, err);
    if (code == NETRT_OK && !(flags & ST_OPEN_NO_CHECKSUM))
        code = verify(file, header, (size_t)n, err);
    rt_free(header);
    return code;
}

int st_open(st_file *file, const char *path, int flags, rt_error *err) {
    *file = (st_file){.fd = -1};
    file->path = rt_strdup(path, err);
    int code = file->path ? rt_io_open_read(path, &file->fd, &file->size, err) : NETRT_ELIMIT;
    if (code == NETRT_OK)
        code = open_body(file, flags, err);
    if (code != NETRT_OK)
        st_close(file);
    return code;
}

void st_close(st_file *file) {
    if (file->path && file->fd >= 0)
        rt_io_close(file->fd);
    rt_free(file->path);
    rt_free(file->tensor);
    rt_free(file->meta_key);
    rt_free(file->meta_value);
    rt_free(file->memory);
    *file = (st_file){.fd = -1};
}

/* --- questions -----------------------------------------------------------------------------------
 */

const st_tensor *st_find(const st_file *file, const char *name) {
    st_tensor key = {.name = name};
    return file->tensors
               ? bsearch(&key, file->tensor, (size_t)file->tensors, sizeof key, by_tensor_name)
               : NULL;
}

const char *st_meta(const st_file *file, const char *key) {
    for (int lo = 0, hi = file->metas; lo < hi;) {
        int mid = lo + (hi - lo) / 2, order = strcmp(file->meta_key[mid], key);
        if (order == 0)
            return file->meta_value[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

int st_read_raw(const st_file *file, const st_tensor *tensor, void *dst, int64_t first,
                int64_t count, rt_error *err) {
    if (first < 0 || count < 0 || first > tensor->count || count > tensor->count - first)
        return rt_fail(err, NETRT_EBUG, "%s: elements %lld + %lld of %s", file->path,
                       (long long)first, (long long)count, tensor->name);
    int64_t size = dtypes[tensor->dtype].size;
    return rt_io_pread(file->fd, file->path, dst, (size_t)(count * size),
                       tensor->offset + first * size, err);
}

/* IEEE binary16 to binary32: exact.  A subnormal is a 10-bit integer times 2^-24. */
static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    uint32_t bits;
    if (exponent == 31)
        bits = sign | 0x7F800000u | fraction << 13;
    else if (exponent > 0)
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        float tiny = (float)fraction * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void convert(st_dtype dtype, const unsigned char *src, float *dst, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (dtype == ST_F64) {
            double d;
            memcpy(&d, src + 8 * i, 8);
            dst[i] = (float)d;
        } else {
            uint16_t h;
            memcpy(&h, src + 2 * i, 2);
            if (dtype == ST_F16) {
                dst[i] = half_to_float(h);
            } else {
                uint32_t bits = (uint32_t)h << 16;
                memcpy(&dst[i], &bits, 4);
            }
        }
    }
}

int st_read_part(const st_file *file, const st_tensor *tensor, float *dst, int64_t first,
                 int64_t count, rt_error *err) {
    if (tensor->dtype == ST_F32)
        return st_read_raw(file, tensor, dst, first, count, err);
    if (tensor->dtype != ST_F64 && tensor->dtype != ST_F16 && tensor->dtype != ST_BF16) {
        char shown[200];
        rt_clean_name(shown, sizeof shown, tensor->name);
        return rt_fail(err, NETRT_EDATA, "%s: tensor \"%s\" holds %s, a floating type is wanted",
                       file->path, shown, dtypes[tensor->dtype].name);
    }
    unsigned char chunk[CONVERT_BYTES];
    int64_t step = CONVERT_BYTES / dtypes[tensor->dtype].size;
    for (int64_t i = 0; i < count; i += step) {
        int64_t n = count - i < step ? count - i : step;
        int code = st_read_raw(file, tensor, chunk, first + i, n, err);
        if (code != NETRT_OK)
            return code;
        convert(tensor->dtype, chunk, dst + i, n);
    }
    return NETRT_OK;
}

int st_read(const st_file *file, const st_tensor *tensor, float *dst, int64_t count,
            rt_error *err) {
    if (count == tensor->count)
        return st_read_part(file, tensor, dst, 0, count, err);
    char shown[200];
    rt_clean_name(shown, sizeof shown, tensor->name);
    return rt_fail(err, NETRT_EDATA, "%s: tensor \"%s\" has %lld elements, %lld are wanted",
                   file->path, shown, (long long)tensor->count, (long long)count);
}
