/* rt_idx.c: idx files (MNIST layout), plain or gzip; data sets that are one table in memory.
 *
 * All samples stay in memory as bytes, so items are thread-safe copies.  requires: nothing of the
 * files.  ensures: the header is checked against the file's real size before memory is taken (for
 * gzip: against the most deflate can expand to); counts of pictures and labels agree; a gzip stream
 * is read to its checksum.
 * Format: the table at the end of Y. LeCun's MNIST page.
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_table.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum {
    DEFLATE_RATIO = 1032 /* zlib's technical notes: no deflate stream expands more */
};
#define MAX_ROWS 10000000u /* default limit for label files */

/* --- reading a file that may be gzip ------------------------------------------------------------
 */

struct source {
    const char *path;
    unsigned char *file; /* the bytes on disk */
    size_t file_size, at;
    int gzip;
    z_stream z;
};

static int source_open(struct source *s, const char *path, rt_error *err) {
    *s = (struct source){.path = path};
    int code = rt_io_read_file(path, RT_IO_MAX_FILE, &s->file, &s->file_size, err);
    if (code != NETRT_OK)
        return code;
    s->gzip = s->file_size >= 2 && s->file[0] == 0x1F && s->file[1] == 0x8B;
    if (s->gzip && inflateInit2(&s->z, 15 + 16) != Z_OK) {
        s->gzip = 0;
        return rt_fail(err, NETRT_ELIMIT, "out of memory: gzip reader");
    }
    return NETRT_OK;
}

static void source_close(struct source *s) {
    if (s->gzip)
        inflateEnd(&s->z);
    rt_free(s->file);
}

/* zlib counts in 32 bits: feeds and drains at most 1 GiB a time. */
static uInt piece(size_t n) {
    return (uInt)(n < ((size_t)1 << 30) ? n : (size_t)1 << 30);
}

/* The next n bytes of content; *got < n only at the end of a sound file. */
static int source_read(struct source *s, unsigned char *dst, size_t n, size_t *got, rt_error *err) {
    *got = 0;
    if (!s->gzip) {
        size_t left = s->file_size - s->at;
        *got = n < left ? n : left;
        memcpy(dst, s->file + s->at, *got);
        s->at += *got;
        return NETRT_OK;
    }
    while (*got < n) {
        uInt in = piece(s->file_size - s->at), out = piece(n - *got);
        s->z.next_in = s->file + s->at;
        s->z.avail_in = in;
        s->z.next_out = dst + *got;
        s->z.avail_out = out;
        int status = inflate(&s->z, Z_NO_FLUSH);
        s->at += in - s->z.avail_in;
        *got += out - s->z.avail_out;
        if (status == Z_STREAM_END)
            return NETRT_OK;
        if (status == Z_BUF_ERROR || (status == Z_OK && s->at == s->file_size && *got < n))
            return rt_fail(err, NETRT_EDATA, "%s is truncated: the gzip data ends too early",
                           s->path);
        if (status != Z_OK)
            return rt_fail(err, status == Z_MEM_ERROR ? NETRT_ELIMIT : NETRT_EDATA,
                           "%s is damaged: %s", s->path,
                           s->z.msg ? s->z.msg : "the gzip data cannot be decoded");
    }
    return NETRT_OK;
}

/* --- idx -----------------------------------------------------------------------------------------
 */

struct idx_header {
    int rank;
    uint32_t dim[4];
};

static uint32_t be32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int read_header(struct source *s, struct idx_header *h, rt_error *err) {
    unsigned char buf[16];
    size_t got;
    int code = source_read(s, buf, 4, &got, err);
    if (code != NETRT_OK)
        return code;
    if (got < 4 || buf[0] != 0 || buf[1] != 0 || buf[2] != 8 || buf[3] < 1 || buf[3] > 4)
        return rt_fail(err, NETRT_EDATA,
                       "%s is no idx file of bytes: it begins with %02x %02x %02x %02x\n"
                       "help: pictures begin with 00 00 08 03, labels with 00 00 08 01",
                       s->path, got > 0 ? buf[0] : 0, got > 1 ? buf[1] : 0, got > 2 ? buf[2] : 0,
                       got > 3 ? buf[3] : 0);
    h->rank = buf[3];
    code = source_read(s, buf, 4 * (size_t)h->rank, &got, err);
    if (code == NETRT_OK && got < 4 * (size_t)h->rank)
        code = rt_fail(err, NETRT_EDATA, "%s is truncated inside its header", s->path);
    for (int i = 0; code == NETRT_OK && i < h->rank; i++)
        h->dim[i] = be32(buf + 4 * i);
    return code;
}

/* Reads what the header promises, which must be exactly what the file holds. */
static int read_body(struct source *s, const struct idx_header *h, unsigned char **body,
                     rt_error *err) {
    uint64_t bytes = 1;
    for (int i = 0; i < h->rank; i++)
        if (__builtin_mul_overflow(bytes, (uint64_t)h->dim[i], &bytes))
            bytes = UINT64_MAX;
    uint64_t most = s->gzip ? (uint64_t)s->file_size * DEFLATE_RATIO : s->file_size;
    if (bytes > most)
        return rt_fail(err, NETRT_EDATA,
                       "%s promises %llu bytes of data in its header, the file has %zu bytes%s",
                       s->path, (unsigned long long)bytes, s->file_size, s->gzip ? " of gzip" : "");
    if (bytes > (uint64_t)RT_IO_MAX_FILE)
        return rt_fail(err, NETRT_ELIMIT, "%s holds %llu bytes, the limit is %lld", s->path,
                       (unsigned long long)bytes, (long long)RT_IO_MAX_FILE);
    size_t got, extra;
    unsigned char *data = rt_alloc((size_t)bytes, 1, s->path, err), beyond;
    if (!data)
        return NETRT_ELIMIT;
    int code = source_read(s, data, (size_t)bytes, &got, err);
    if (code == NETRT_OK && got < bytes)
        code = rt_fail(err, NETRT_EDATA, "%s is truncated: %zu of %llu bytes of data", s->path, got,
                       (unsigned long long)bytes);
    /* One byte more: finds surplus data, and makes zlib check its checksum. */
    if (code == NETRT_OK)
        code = source_read(s, &beyond, 1, &extra, err);
    if (code == NETRT_OK && extra > 0)
        code = rt_fail(err, NETRT_EDATA, "%s holds more data than its header says", s->path);
    if (code != NETRT_OK)
        rt_free(data);
    else
        *body = data;
    return code;
}

static int load_images(rt_dataset *ds, struct rt_table *t, const char *path, rt_error *err) {
    struct source s;
    struct idx_header h = {0};
    int code = source_open(&s, path, err);
    if (code == NETRT_OK)
        code = read_header(&s, &h, err);
    if (code == NETRT_OK && h.rank != 3 && !(h.rank == 4 && (h.dim[3] == 1 || h.dim[3] == 3)))
        code =
            rt_fail(err, NETRT_EDATA, "%s holds %s, not pictures (expected: count, height, width)",
                    path, h.rank == 1 ? "labels" : "arrays of another rank");
    if (code == NETRT_OK && h.dim[0] == 0)
        code = rt_fail(err, NETRT_EDATA, "%s holds no pictures", path);
    if (code == NETRT_OK && (h.dim[1] < 1 || h.dim[2] < 1 || h.dim[1] > RT_IMAGE_MAX_SIDE ||
                             h.dim[2] > RT_IMAGE_MAX_SIDE))
        code = rt_fail(err, NETRT_EDATA, "%s: pictures of %u x %u pixels; a side may have 1 to %d",
                       path, h.dim[1], h.dim[2], RT_IMAGE_MAX_SIDE);
    if (code == NETRT_OK)
        code = read_body(&s, &h, &t->pixels, err);
    source_close(&s);
    if (code != NETRT_OK)
        return code;
    ds->count = h.dim[0];
    ds->height = (int)h.dim[1];
    ds->width = (int)h.dim[2];
    ds->channels = h.rank == 4 ? (int)h.dim[3] : 1;
    t->item_bytes = (size_t)ds->height * (size_t)ds->width * (size_t)ds->channels;
    const char *slash = strrchr(path, '/');
    t->name = rt_strdup(slash ? slash + 1 : path, err);
    return t->name ? NETRT_OK : NETRT_ELIMIT;
}

static int load_labels(rt_dataset *ds, struct rt_table *t, const char *path, const char *images,
                       rt_error *err) {
    struct source s;
    struct idx_header h = {0};
    int code = source_open(&s, path, err);
    if (code == NETRT_OK)
        code = read_header(&s, &h, err);
    if (code == NETRT_OK && h.rank != 1)
        code = rt_fail(err, NETRT_EDATA, "%s holds no labels (expected: one number per picture)",
                       path);
    if (code == NETRT_OK && h.dim[0] > MAX_ROWS)
        code =
            rt_fail(err, NETRT_ELIMIT, "%s: %u labels, the limit is %u", path, h.dim[0], MAX_ROWS);
    if (code == NETRT_OK && h.dim[0] != ds->count)
        code = rt_fail(err, NETRT_EDATA, "%s has %u labels, but %s has %lld pictures", path,
                       h.dim[0], images, (long long)ds->count);
    if (code == NETRT_OK)
        code = read_body(&s, &h, &t->labels, err);
    source_close(&s);
    if (code != NETRT_OK)
        return code;
    int most = 0;
    for (int64_t i = 0; i < ds->count; i++)
        most = t->labels[i] > most ? t->labels[i] : most;
    ds->classes = most + 1;
    return NETRT_OK;
}

/* --- data set operations -------------------------------------------------------------------------
 */

int rt_table_label(const rt_dataset *ds, int64_t i) {
    const struct rt_table *t = ds->state;
    return t->labels ? t->labels[i] : -1;
}

int rt_table_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    const struct rt_table *t = ds->state;
    int code = rt_image_reserve(img, ds->width, ds->height, ds->channels, err);
    if (code != NETRT_OK)
        return code;
    const unsigned char *src = t->pixels + (size_t)i * t->item_bytes;
    if (!t->planar) {
        memcpy(img->data, src, t->item_bytes);
        return NETRT_OK;
    }
    size_t plane = t->item_bytes / 3;
    for (size_t p = 0; p < plane; p++)
        for (size_t c = 0; c < 3; c++)
            img->data[3 * p + c] = src[c * plane + p];
    return NETRT_OK;
}

const char *rt_table_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    const struct rt_table *t = ds->state;
    snprintf(buf, cap, "%s[%lld]", t->name, (long long)i);
    return buf;
}

void rt_table_close(rt_dataset *ds) {
    struct rt_table *t = ds->state;
    rt_free(t->pixels);
    rt_free(t->labels);
    rt_free(t->name);
    rt_free(t);
}

static const struct rt_data_ops idx_ops = {"idx", rt_table_label, rt_table_item, rt_table_name,
                                           rt_table_close, NULL};

struct rt_table *rt_table_new(rt_dataset *ds, const struct rt_data_ops *ops, rt_error *err) {
    struct rt_table *t = rt_alloc_zero(1, sizeof *t, "data table", err);
    ds->state = t;
    ds->ops = ops;
    return t;
}

int rt_idx_sniff(const char *path) {
    unsigned char p[4];
    int whole = rt_io_head(path, p, sizeof p) == sizeof p, gzip = p[0] == 0x1F && p[1] == 0x8B;
    return whole && (gzip || (p[0] == 0 && p[1] == 0 && p[2] == 8));
}

/* The first of the spellings of FILE in dir that exists; NULL when none does. */
static char *find_file(const char *dir, const char *prefix, const char *what, const char *idx,
                       rt_error *err) {
    size_t cap = strlen(dir) + strlen(prefix) + strlen(what) + 40;
    char *path = rt_alloc(cap, 1, "file name", err);
    if (!path)
        return NULL;
    for (int form = 0; form < 4; form++) {
        snprintf(path, cap, "%s/%s-%s%s%s-ubyte%s", dir, prefix, what, form & 2 ? "." : "-", idx,
                 form & 1 ? ".gz" : "");
        struct stat st;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            return path;
    }
    rt_free(path);
    return NULL;
}

int rt_idx_open_dir(rt_dataset *ds, const char *dir, const char *split, int *found, rt_error *err) {
    char *train = find_file(dir, "train", "images", "idx3", err);
    char *test = find_file(dir, "t10k", "images", "idx3", err);
    if (!test)
        test = find_file(dir, "test", "images", "idx3", err);
    *found = train || test;
    int want_train = strcmp(split, "train") == 0 || (strcmp(split, "any") == 0 && !test);
    char *images = want_train ? train : test;
    int code = NETRT_OK;
    if (*found && !images)
        code =
            rt_fail(err, NETRT_EDATA, "%s has no %s pictures: expected %s-images-idx3-ubyte[.gz]",
                    dir, want_train ? "training" : "test", want_train ? "train" : "t10k");
    if (code == NETRT_OK && images)
        code = rt_idx_open_file(ds, images, err);
    /* A folder in this layout without labels is a mistake; a single file without is not. */
    if (code == NETRT_OK && images && ds->classes == 0)
        code =
            rt_fail(err, NETRT_EDATA, "%s: the labels of %s are missing: expected %s", dir, images,
                    want_train ? "train-labels-idx1-ubyte[.gz]" : "t10k-labels-idx1-ubyte[.gz]");
    rt_free(train);
    rt_free(test);
    return err && err->code ? err->code : code;
}

/* "a/train-images-idx3-ubyte.gz" -> the labels beside it, NULL when there are none. */
static char *labels_beside(const char *images, rt_error *err) {
    const char *slash = strrchr(images, '/');
    const char *base = slash ? slash + 1 : images;
    const char *at = strstr(base, "-images");
    if (!at)
        return NULL;
    char *dir = slash ? rt_strndup(images, (size_t)(slash - images), err) : rt_strdup(".", err);
    char *prefix = dir ? rt_strndup(base, (size_t)(at - base), err) : NULL;
    char *path = prefix ? find_file(dir, prefix, "labels", "idx1", err) : NULL;
    rt_free(dir);
    rt_free(prefix);
    return path;
}

int rt_idx_open_file(rt_dataset *ds, const char *path, rt_error *err) {
    struct rt_table *t = rt_table_new(ds, &idx_ops, err);
    if (!t)
        return NETRT_ELIMIT;
    int code = load_images(ds, t, path, err);
    char *labels = code == NETRT_OK ? labels_beside(path, err) : NULL;
    if (labels)
        code = load_labels(ds, t, labels, path, err);
    else if (code == NETRT_OK && err && err->code)
        code = err->code;
    rt_free(labels);
    return code;
}
