/* rt_st_write.c: writing weight files (see rt_safetensors.h), and the checksum.
 *
 * ensures: the same tensors and metadata give the same bytes in whatever order they were added: the
 * header is sorted by name, data by element size (large first, so that all are aligned) and name,
 * the header is padded to 8 bytes.  The file appears whole or not at all.
 * theory: XXH3 is Y. Collet's; the checksum field counts as zeros while it is computed, as in IP.
 */
#define _GNU_SOURCE
#include "rt_safetensors.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_st.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

/* --- checksum ------------------------------------------------------------------------------------
 */

struct st_hash {
    void *block; /* what rt_alloc gave; state is aligned inside it */
    XXH3_state_t *state;
};

struct st_hash *st_hash_begin(rt_error *err) {
    size_t align = 64, bytes = sizeof(struct st_hash) + sizeof(XXH3_state_t) + align;
    unsigned char *block = rt_alloc_zero(bytes, 1, "checksum", err);
    if (!block)
        return NULL;
    struct st_hash *hash = (struct st_hash *)block;
    uintptr_t at = ((uintptr_t)(block + sizeof *hash) + align - 1) / align * align;
    hash->block = block;
    hash->state = (XXH3_state_t *)at;
    XXH3_128bits_reset(hash->state);
    return hash;
}

void st_hash_add(struct st_hash *hash, const void *data, size_t n) {
    XXH3_128bits_update(hash->state, data, n);
}

void st_hash_end(struct st_hash *hash, char digits[ST_HASH_DIGITS + 1]) {
    XXH128_hash_t h = {0, 0};
    if (hash) {
        h = XXH3_128bits_digest(hash->state);
        rt_free(hash->block);
    }
    snprintf(digits, ST_HASH_DIGITS + 1, "%016llx%016llx", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
}

int rt_file_digest(const char *path, char digits[ST_HASH_DIGITS + 1], rt_error *err) {
    int fd = -1;
    int64_t size = 0;
    if (rt_io_open_read(path, &fd, &size, err))
        return err->code;
    struct st_hash *hash = st_hash_begin(err);
    unsigned char *chunk = rt_alloc(ST_CHUNK, 1, "checksum", err);
    for (int64_t at = 0; at < size && !err->code; at += ST_CHUNK) {
        size_t n = size - at < ST_CHUNK ? (size_t)(size - at) : ST_CHUNK;
        if (rt_io_pread(fd, path, chunk, n, at, err) == 0)
            st_hash_add(hash, chunk, n);
    }
    st_hash_end(hash, digits);
    rt_free(chunk);
    rt_io_close(fd);
    return err->code;
}

/* --- collecting ----------------------------------------------------------------------------------
 */

struct entry {
    char *name;
    st_dtype dtype;
    int rank;
    int64_t dims[ST_MAX_RANK], nbytes, offset;
    const void *data;
    st_source source; /* NULL: data */
    void *context;
};

struct meta {
    char *key, *value;
};

struct st_writer {
    struct entry *entry;
    struct meta *meta;
    int entries, entry_cap, metas, meta_cap;
    rt_error first; /* of add or meta: reported again by finish */
};

int st_writer_begin(st_writer **writer, rt_error *err) {
    *writer = rt_alloc_zero(1, sizeof **writer, "weights writer", err);
    return *writer ? NETRT_OK : NETRT_ELIMIT;
}

void st_writer_abort(st_writer *writer) {
    if (!writer)
        return;
    for (int i = 0; i < writer->entries; i++)
        rt_free(writer->entry[i].name);
    for (int i = 0; i < writer->metas; i++) {
        rt_free(writer->meta[i].key);
        rt_free(writer->meta[i].value);
    }
    rt_free(writer->entry);
    rt_free(writer->meta);
    rt_free(writer);
}

/* Makes room for one more element; NULL when memory is short. */
static void *grow(void *array, int n, int *cap, size_t size, rt_error *err) {
    if (n < *cap)
        return array;
    int bigger = *cap ? *cap * 2 : 32;
    void *p = rt_realloc(array, (size_t)bigger, size, "weights writer", err);
    if (p)
        *cap = bigger;
    return p;
}

static int valid_utf8(const char *s) {
    const unsigned char *p = (const unsigned char *)s;
    while (*p) {
        int n = rt_utf8_length(p);
        if (n == 0)
            return 0;
        p += n;
    }
    return 1;
}

static int check_entry(struct entry *e, const char *name, rt_error *err) {
    if (!*name || strcmp(name, "__metadata__") == 0 || !valid_utf8(name))
        return rt_fail(err, NETRT_EBUG, "a tensor cannot be called \"%s\"", name);
    if (e->rank < 0 || e->rank > ST_MAX_RANK)
        return rt_fail(err, NETRT_EBUG, "tensor %s has %d dimensions", name, e->rank);
    e->nbytes = st_dtype_size(e->dtype);
    for (int i = 0; i < e->rank; i++)
        if (e->dims[i] < 0 || __builtin_mul_overflow(e->nbytes, e->dims[i], &e->nbytes))
            return rt_fail(err, NETRT_EBUG, "tensor %s is too large", name);
    return NETRT_OK;
}

static int keep_error(st_writer *writer, const rt_error *err) {
    if (writer->first.code == NETRT_OK)
        writer->first = *err;
    return err->code;
}

static int add(st_writer *writer, const char *name, struct entry e, const int64_t *dims,
               rt_error *err) {
    rt_error local = {0};
    for (int i = 0; i < e.rank && i < ST_MAX_RANK; i++)
        e.dims[i] = dims[i];
    struct entry *room = NULL;
    if (check_entry(&e, name, &local) == NETRT_OK &&
        (room = grow(writer->entry, writer->entries, &writer->entry_cap, sizeof e, &local))) {
        writer->entry = room;
        if ((e.name = rt_strdup(name, &local)))
            room[writer->entries++] = e;
    }
    if (local.code == NETRT_OK)
        return NETRT_OK;
    keep_error(writer, &local);
    return rt_fail(err, local.code, "%s", local.text);
}

int st_writer_add(st_writer *writer, const char *name, st_dtype dtype, int rank,
                  const int64_t *dims, const void *data, rt_error *err) {
    struct entry e = {.dtype = dtype, .rank = rank, .data = data};
    return add(writer, name, e, dims, err);
}

int st_writer_add_source(st_writer *writer, const char *name, st_dtype dtype, int rank,
                         const int64_t *dims, st_source source, void *context, rt_error *err) {
    struct entry e = {.dtype = dtype, .rank = rank, .source = source, .context = context};
    return add(writer, name, e, dims, err);
}

int st_writer_meta(st_writer *writer, const char *key, const char *value, rt_error *err) {
    rt_error local = {0};
    struct meta m = {NULL, NULL}, *room = NULL;
    if (!valid_utf8(key) || !valid_utf8(value))
        rt_fail(&local, NETRT_EBUG, "metadata %s is no valid UTF-8", key);
    else if ((room = grow(writer->meta, writer->metas, &writer->meta_cap, sizeof m, &local)))
        writer->meta = room;
    if (room && (m.key = rt_strdup(key, &local)) && (m.value = rt_strdup(value, &local)))
        room[writer->metas++] = m;
    if (local.code == NETRT_OK)
        return NETRT_OK;
    rt_free(m.key);
    keep_error(writer, &local);
    return rt_fail(err, local.code, "%s", local.text);
}

/* --- header --------------------------------------------------------------------------------------
 */

struct text {
    char *p;
    size_t n, cap;
    rt_error *err;
    int code;
};

static void put(struct text *t, const char *s, size_t n) {
    if (t->code != NETRT_OK)
        return;
    if (n > t->cap - t->n) {
        size_t cap = (t->cap + n) * 2;
        char *p = rt_realloc(t->p, cap, 1, "header", t->err);
        if (!p) {
            t->code = NETRT_ELIMIT;
            return;
        }
        t->p = p;
        t->cap = cap;
    }
    memcpy(t->p + t->n, s, n);
    t->n += n;
}

static void puts_text(struct text *t, const char *s) {
    put(t, s, strlen(s));
}

static void put_string(struct text *t, const char *s) {
    puts_text(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        char escaped[8];
        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
        else
            snprintf(escaped, sizeof escaped, "%c", c);
        puts_text(t, escaped);
    }
    puts_text(t, "\"");
}

static void put_number(struct text *t, int64_t v) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)v);
    puts_text(t, digits);
}

static void put_entry(struct text *t, const struct entry *e) {
    puts_text(t, ",");
    put_string(t, e->name);
    puts_text(t, ":{\"dtype\":\"");
    puts_text(t, st_dtype_name(e->dtype));
    puts_text(t, "\",\"shape\":[");
    for (int i = 0; i < e->rank; i++) {
        puts_text(t, i ? "," : "");
        put_number(t, e->dims[i]);
    }
    puts_text(t, "],\"data_offsets\":[");
    put_number(t, e->offset);
    puts_text(t, ",");
    put_number(t, e->offset + e->nbytes);
    puts_text(t, "]}");
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int by_place(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    int order = st_dtype_size(y->dtype) - st_dtype_size(x->dtype);
    return order ? order : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct meta *)a)->key, ((const struct meta *)b)->key);
}

/* Gives every tensor its place, leaves entries sorted by name; EBUG for equal names. */
static int place_entries(st_writer *w, rt_error *err) {
    int64_t at = 0;
    if (w->entries > 1)
        qsort(w->entry, (size_t)w->entries, sizeof *w->entry, by_place);
    for (int i = 0; i < w->entries; i++) {
        w->entry[i].offset = at;
        if (__builtin_add_overflow(at, w->entry[i].nbytes, &at))
            return rt_fail(err, NETRT_ELIMIT, "weights are too large for one file");
    }
    if (w->entries > 1)
        qsort(w->entry, (size_t)w->entries, sizeof *w->entry, by_name);
    for (int i = 1; i < w->entries; i++)
        if (strcmp(w->entry[i - 1].name, w->entry[i].name) == 0)
            return rt_fail(err, NETRT_EBUG, "two tensors are called %s", w->entry[i].name);
    if (w->metas > 1)
        qsort(w->meta, (size_t)w->metas, sizeof *w->meta, by_key);
    for (int i = 1; i < w->metas; i++)
        if (strcmp(w->meta[i - 1].key, w->meta[i].key) == 0)
            return rt_fail(err, NETRT_EBUG, "metadata %s is given twice", w->meta[i].key);
    return NETRT_OK;
}

/* Builds the header with 32 zeros as checksum; *digits_at says where they are. */
static int build_header(st_writer *w, struct text *t, size_t *digits_at, rt_error *err) {
    int code = st_writer_meta(w, ST_FORMAT_KEY, "1", err);
    if (code == NETRT_OK)
        code = st_writer_meta(w, ST_HASH_KEY, "00000000000000000000000000000000", err);
    if (code == NETRT_OK)
        code = place_entries(w, err);
    if (code != NETRT_OK)
        return code;
    *digits_at = 0;
    puts_text(t, "{\"__metadata__\":{");
    for (int i = 0; i < w->metas; i++) {
        puts_text(t, i ? "," : "");
        put_string(t, w->meta[i].key);
        puts_text(t, ":");
        if (strcmp(w->meta[i].key, ST_HASH_KEY) == 0)
            *digits_at = t->n + 1;
        put_string(t, w->meta[i].value);
    }
    puts_text(t, "}");
    for (int i = 0; i < w->entries; i++)
        put_entry(t, &w->entry[i]);
    puts_text(t, "}");
    while (t->n % 8 != 0 && t->code == NETRT_OK)
        puts_text(t, " ");
    if (t->code == NETRT_OK && t->n > (size_t)ST_MAX_HEADER)
        return rt_fail(err, NETRT_ELIMIT, "the header would have %zu bytes", t->n);
    return t->code;
}

/* --- file ----------------------------------------------------------------------------------------
 */

/* The bytes of one tensor go to the hash, or to out. */
static int send(const struct entry *e, struct st_hash *hash, struct rt_out *out, rt_error *err) {
    int code = NETRT_OK;
    for (int64_t at = 0; at < e->nbytes && code == NETRT_OK;) {
        const void *data = e->data;
        int64_t n = e->nbytes, size = st_dtype_size(e->dtype);
        if (e->source)
            n = e->source(e->context, at / size, &data) * size;
        if (n < 1 || n > e->nbytes - at)
            return rt_fail(err, NETRT_EBUG, "tensor %s: %lld bytes at %lld", e->name, (long long)n,
                           (long long)at);
        if (hash)
            st_hash_add(hash, data, (size_t)n);
        else
            code = rt_out_write(out, data, (size_t)n, err);
        at += n;
    }
    return code;
}

static int write_checked(st_writer *w, struct text *t, size_t digits_at, const char *path,
                         rt_error *err) {
    uint64_t n = t->n;
    char digits[ST_HASH_DIGITS + 1];
    struct st_hash *hash = st_hash_begin(err);
    if (!hash)
        return NETRT_ELIMIT;
    st_hash_add(hash, &n, sizeof n);
    st_hash_add(hash, t->p, t->n);
    int code = NETRT_OK;
    for (int i = 0; i < w->entries && code == NETRT_OK; i++)
        code = send(&w->entry[i], hash, NULL, err);
    st_hash_end(hash, digits);
    memcpy(t->p + digits_at, digits, ST_HASH_DIGITS);
    struct rt_out out;
    if (code == NETRT_OK)
        code = rt_out_begin(&out, path, err);
    if (code != NETRT_OK)
        return code;
    code = rt_out_write(&out, &n, sizeof n, err);
    if (code == NETRT_OK)
        code = rt_out_write(&out, t->p, t->n, err);
    for (int i = 0; i < w->entries && code == NETRT_OK; i++)
        code = send(&w->entry[i], NULL, &out, err);
    if (code == NETRT_OK)
        return rt_out_finish(&out, err);
    rt_out_abort(&out);
    return code;
}

int st_writer_finish(st_writer *writer, const char *path, rt_error *err) {
    if (!writer)
        return rt_fail(err, NETRT_EBUG, "weights writer was not begun");
    struct text t = {.err = err};
    size_t digits_at = 0;
    int code = writer->first.code;
    if (code != NETRT_OK)
        rt_fail(err, code, "%s", writer->first.text);
    else
        code = build_header(writer, &t, &digits_at, err);
    if (code == NETRT_OK) {
        /* From here on in the order of the data. */
        if (writer->entries > 1)
            qsort(writer->entry, (size_t)writer->entries, sizeof *writer->entry, by_place);
        code = write_checked(writer, &t, digits_at, path, err);
    }
    rt_free(t.p);
    st_writer_abort(writer);
    return code;
}
