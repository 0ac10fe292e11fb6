/* rt_npy.c: arrays of NumPy: .npy files and .npz archives (zip, stored or deflated).
 *
 * Bytes [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W] are pictures; anything else is samples of
 * floating point numbers [N, ..], one to five dimensions.  Labels are integers [N]: in the archive
 * y_train beside x_train (y_test beside x_test, y beside x), as a file y_train.npy beside
 * x_train.npy, train-labels.npy beside train-images.npy.
 * ensures: what a header claims is compared with the bytes that are there before memory is taken.
 * Format: NumPy enhancement proposal 1 (NPY 1.0 to 3.0); PKWARE APPNOTE 6.3, sections 4.3 and 4.4.
 */
#define _GNU_SOURCE
#include "rt_reals.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_table.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { NPY_DIMS = 5, MAX_MEMBERS = 4096 };

struct array {
    const unsigned char *data;
    int64_t dim[NPY_DIMS], count;
    int rank, size, big; /* bytes of a number; big-endian */
    char kind;           /* f, i, u or b as in descr */
};

static uint64_t number_le(const unsigned char *p, int n) {
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static double element(const struct array *a, int64_t i) {
    unsigned char b[8];
    const unsigned char *p = a->data + i * a->size;
    for (int k = 0; k < a->size; k++)
        b[k] = p[a->big ? a->size - 1 - k : k];
    uint64_t v = number_le(b, a->size);
    if (a->kind == 'f' && a->size == 4) {
        float x;
        uint32_t bits = (uint32_t)v;
        memcpy(&x, &bits, sizeof x);
        return (double)x;
    }
    if (a->kind == 'f') {
        double x;
        memcpy(&x, &v, sizeof x);
        return x;
    }
    int shift = 64 - 8 * a->size;
    return a->kind == 'i' ? (double)((int64_t)(v << shift) >> shift) : (double)v;
}

/* The text behind 'key': in the dictionary of the header. */
static const char *value_of(const char *head, const char *key) {
    const char *p = strstr(head, key);
    p = p ? p + strlen(key) : NULL;
    if (!p || (*p != '\'' && *p != '"'))
        return NULL;
    p++;
    p += strspn(p, " ");
    if (*p != ':')
        return NULL;
    return p + 1 + strspn(p + 1, " ");
}

static int parse_shape(const char *p, struct array *a) {
    if (!p || *p++ != '(')
        return 0;
    a->count = 1;
    for (;;) {
        p += strspn(p, " ,");
        if (*p == ')')
            return 1;
        if (*p < '0' || *p > '9' || a->rank == NPY_DIMS)
            return 0;
        int64_t v = 0;
        for (; *p >= '0' && *p <= '9'; p++)
            if (__builtin_mul_overflow(v, (int64_t)10, &v) ||
                __builtin_add_overflow(v, (int64_t)(*p - '0'), &v))
                return 0;
        if (*p == 'L')
            p++;
        if (__builtin_mul_overflow(a->count, v, &a->count))
            return 0;
        a->dim[a->rank++] = v;
    }
}

static int parse_type(const char *p, struct array *a) {
    if (!p || (*p != '\'' && *p != '"'))
        return 0;
    p++;
    if (!strchr("<>|=", *p) || !*p || !p[1] || !p[2] || (p[3] != '\'' && p[3] != '"'))
        return 0;
    a->big = *p == '>';
    a->kind = p[1];
    a->size = p[2] - '0';
    if (a->kind == 'f')
        return a->size == 4 || a->size == 8;
    if (a->kind == 'b')
        return a->size == 1;
    return (a->kind == 'i' || a->kind == 'u') &&
           (a->size == 1 || a->size == 2 || a->size == 4 || a->size == 8);
}

static int npy_parse(const unsigned char *data, size_t size, const char *name, struct array *a,
                     rt_error *err) {
    char head[4096];
    *a = (struct array){0};
    if (size < 12 || memcmp(data, "\x93NUMPY", 6) != 0)
        return rt_fail(err, NETRT_EDATA, "%s is no NumPy array", name);
    size_t at = data[6] == 1 ? 10 : 12, n = (size_t)number_le(data + 8, data[6] == 1 ? 2 : 4);
    if (data[6] < 1 || data[6] > 3)
        return rt_fail(err, NETRT_EDATA, "%s: NPY version %d, known are 1 to 3", name, data[6]);
    if (n >= sizeof head || n > size - at)
        return rt_fail(err, NETRT_EDATA, "%s is truncated: its header has %zu bytes", name, n);
    memcpy(head, data + at, n);
    head[n] = 0;
    const char *order = value_of(head, "fortran_order");
    if (!parse_type(value_of(head, "descr"), a))
        return rt_fail(err, NETRT_EDATA,
                       "%s: numbers of a kind that is not read\n"
                       "help: numpy.save(FILE, array.astype('float32'))",
                       name);
    if (!parse_shape(value_of(head, "shape"), a))
        return rt_fail(err, NETRT_EDATA, "%s: the shape cannot be read, or has more than %d axes",
                       name, NPY_DIMS);
    if (a->rank > 1 && (!order || *order != 'F'))
        return rt_fail(err, NETRT_EDATA,
                       "%s is in Fortran order\n"
                       "help: numpy.save(FILE, numpy.ascontiguousarray(array))",
                       name);
    int64_t bytes;
    if (__builtin_mul_overflow(a->count, (int64_t)a->size, &bytes) ||
        (uint64_t)bytes > size - at - n)
        return rt_fail(err, NETRT_EDATA, "%s is truncated: it promises %lld numbers of %d bytes",
                       name, (long long)a->count, a->size);
    a->data = data + at + n;
    return NETRT_OK;
}

/* ---- zip ---- */

struct member {
    char name[64];
    int64_t at, packed, size;
    int method;
    uint32_t crc;
};

static int64_t find_directory(const unsigned char *z, int64_t size) {
    for (int64_t i = size - 22; i >= 0 && i >= size - 22 - 65535; i--)
        if (memcmp(z + i, "PK\5\6", 4) == 0)
            return i;
    return -1;
}

/* Sizes of entries beyond 4 GiB: extra field 1 (zip64), in the order in which they are needed. */
static void wide_sizes(struct member *m, const unsigned char *p, int64_t n) {
    while (n >= 4) {
        int64_t id = (int64_t)number_le(p, 2), len = (int64_t)number_le(p + 2, 2);
        if (len > n - 4)
            return;
        const unsigned char *q = p + 4, *end = q + len;
        int64_t *want[3] = {&m->size, &m->packed, &m->at};
        for (int k = 0; id == 1 && k < 3; k++)
            if (*want[k] == 0xFFFFFFFF && end - q >= 8) {
                *want[k] = (int64_t)(number_le(q, 8) & INT64_MAX);
                q += 8;
            }
        p += 4 + len;
        n -= 4 + len;
    }
}

static int list_members(const unsigned char *z, int64_t size, const char *path, struct member *m,
                        int *n, rt_error *err) {
    int64_t end = find_directory(z, size);
    *n = 0;
    if (end < 0)
        return rt_fail(err, NETRT_EDATA, "%s is truncated: a zip archive without a directory",
                       path);
    int64_t count = (int64_t)number_le(z + end + 10, 2), at = (int64_t)number_le(z + end + 16, 4);
    for (int64_t i = 0; i < count && i < MAX_MEMBERS; i++) {
        if (at < 0 || at > size - 46 || memcmp(z + at, "PK\1\2", 4) != 0)
            return rt_fail(err, NETRT_EDATA, "%s: the directory of the archive is damaged", path);
        const unsigned char *p = z + at;
        int64_t name = (int64_t)number_le(p + 28, 2), extra = (int64_t)number_le(p + 30, 2);
        int64_t all = 46 + name + extra + (int64_t)number_le(p + 32, 2);
        if (all > size - at)
            return rt_fail(err, NETRT_EDATA, "%s: the directory of the archive is damaged", path);
        struct member *e = &m[*n];
        *e = (struct member){.method = (int)number_le(p + 10, 2),
                             .crc = (uint32_t)number_le(p + 16, 4),
                             .packed = (int64_t)number_le(p + 20, 4),
                             .size = (int64_t)number_le(p + 24, 4),
                             .at = (int64_t)number_le(p + 42, 4)};
        wide_sizes(e, p + 46 + name, extra);
        if (name > 4 && name < 64 && memcmp(p + 46 + name - 4, ".npy", 4) == 0) {
            memcpy(e->name, p + 46, (size_t)name - 4);
            ++*n;
        }
        at += all;
    }
    return NETRT_OK;
}

/* The bytes of a member in new memory. */
static int unpack(const unsigned char *z, int64_t size, const struct member *m, const char *path,
                  unsigned char **out, rt_error *err) {
    *out = NULL;
    if (m->at < 0 || m->at > size - 30 || memcmp(z + m->at, "PK\3\4", 4) != 0)
        return rt_fail(err, NETRT_EDATA, "%s: member %s is damaged", path, m->name);
    int64_t from =
        m->at + 30 + (int64_t)number_le(z + m->at + 26, 2) + (int64_t)number_le(z + m->at + 28, 2);
    /* deflate shrinks at most 1032 times */
    if (from > size || m->packed < 0 || m->packed > size - from || m->size < 0 ||
        m->size > RT_IO_MAX_FILE || m->size / 1032 > m->packed + 1 ||
        (m->method == 0 && m->size != m->packed))
        return rt_fail(err, NETRT_EDATA, "%s: member %s is truncated", path, m->name);
    if (m->method != 0 && m->method != 8)
        return rt_fail(err, NETRT_EDATA,
                       "%s: member %s is packed with method %d\n"
                       "help: numpy.savez and numpy.savez_compressed write what is read",
                       path, m->name, m->method);
    if (m->packed > UINT_MAX || m->size > UINT_MAX)
        return rt_fail(err, NETRT_ELIMIT, "%s: member %s has more than 4 GiB", path, m->name);
    if (!(*out = rt_alloc((size_t)m->size, 1, "array", err)))
        return err->code;
    int good = 1;
    if (m->method == 0)
        memcpy(*out, z + from, (size_t)m->size);
    else {
        z_stream s = {.next_in = (unsigned char *)(uintptr_t)(z + from),
                      .avail_in = (uInt)m->packed,
                      .next_out = *out,
                      .avail_out = (uInt)m->size};
        good = inflateInit2(&s, -15) == Z_OK;
        if (good) {
            good = inflate(&s, Z_FINISH) == Z_STREAM_END && s.avail_out == 0;
            inflateEnd(&s);
        }
    }
    if (good && crc32(0, *out, (uInt)m->size) == m->crc)
        return NETRT_OK;
    rt_free(*out);
    *out = NULL;
    return rt_fail(err, NETRT_EDATA, "%s: member %s is damaged (checksum)", path, m->name);
}

/* ---- arrays to samples ---- */

static int take_labels(rt_dataset *ds, const struct array *y, const char *path, unsigned char *byte,
                       int32_t *wide, const rt_dataset *known, rt_error *err) {
    int64_t most = 0, limit = byte ? 255 : 65535;
    if (y->count != ds->count || y->dim[0] != ds->count)
        return rt_fail(err, NETRT_EDATA, "%s: %lld labels for %lld samples", path,
                       (long long)y->count, (long long)ds->count);
    for (int64_t i = 0; i < y->count; i++) {
        double v = element(y, i);
        if (!(v >= 0 && v <= (double)limit) || v != floor(v))
            return rt_fail(err, NETRT_EDATA, "%s: label %lld is %g, not 0 to %lld", path,
                           (long long)i, v, (long long)limit);
        if (byte)
            byte[i] = (unsigned char)v;
        else
            wide[i] = (int32_t)v;
        most = (int64_t)v > most ? (int64_t)v : most;
    }
    ds->classes = (int)most + 1;
    if (known && known->classes > ds->classes)
        ds->classes = known->classes;
    return NETRT_OK;
}

/* [N, L] beside samples of numbers: a class for each step; a negative number: none. */
static int take_steps(rt_dataset *ds, const struct array *y, const char *path, rt_error *err) {
    struct rt_reals *t = ds->state;
    int most = 0;
    if (rt_reals_steps(ds, y->count / y->dim[0], err))
        return err->code;
    for (int64_t i = 0; i < y->count; i++) {
        double v = element(y, i);
        if (!(v >= -2147483648.0 && v <= 255) || v != floor(v))
            return rt_fail(err, NETRT_EDATA,
                           "%s: label %lld is %g, not a class of 0 to 254, or -1 or 255 for none",
                           path, (long long)i, v);
        t->steps[i] = v < 0 ? 255 : (unsigned char)v;
        most = v < 255 && v > most ? (int)v : most;
    }
    ds->classes = most + 1;
    return NETRT_OK;
}

static const struct rt_data_ops picture_ops = {"npy", rt_table_label, rt_table_item, rt_table_name,
                                               rt_table_close, NULL};

static int colour(int64_t n) {
    return n == 1 || n == 3;
}

static int bytes_are_pictures(const struct array *x) {
    if (x->kind != 'u' || x->size != 1 || x->rank < 3 || x->rank > 4)
        return 0;
    return x->rank == 3 || colour(x->dim[3]) || colour(x->dim[1]);
}

static int take_pictures(rt_dataset *ds, const struct array *x, const char *name, rt_error *err) {
    int last = x->rank == 4 && colour(x->dim[3]);
    int64_t c = x->rank == 3 ? 1 : x->dim[last ? 3 : 1];
    int64_t h = x->dim[x->rank == 3 || last ? 1 : 2], w = x->dim[x->rank == 3 || last ? 2 : 3];
    if (h < 1 || w < 1 || h > RT_IMAGE_MAX_SIDE || w > RT_IMAGE_MAX_SIDE)
        return rt_fail(err, NETRT_EDATA, "%s: pictures of %lld x %lld", name, (long long)w,
                       (long long)h);
    struct rt_table *t = rt_table_new(ds, &picture_ops, err);
    if (!t)
        return err->code;
    t->planar = !last && c == 3;
    t->item_bytes = (size_t)(c * h * w);
    t->name = rt_strdup(name, err);
    t->pixels = rt_alloc((size_t)x->count, 1, "pictures", err);
    t->labels = rt_alloc_zero((size_t)x->dim[0], 1, "labels", err);
    if (t->pixels)
        memcpy(t->pixels, x->data, (size_t)x->count);
    ds->count = x->dim[0];
    ds->channels = (int)c;
    ds->height = (int)h;
    ds->width = (int)w;
    return err->code;
}

static int take_reals(rt_dataset *ds, const struct array *x, const char *path, rt_error *err) {
    int64_t d[3] = {1, 1, 1};
    int r = x->rank - 1, last = r == 3 && x->dim[3] <= 4 && x->dim[1] > 4;
    if (r < 1 || r > 4)
        return rt_fail(err, NETRT_EDATA,
                       "%s has %d axes: samples are [N, L], [N, C, L], [N, H, W], [N, C, H, W] or "
                       "[N, C, D, H, W]",
                       path, x->rank);
    /* [N, L]: [1, 1, L]; [N, A, B]: [1, A, B], the same order as [A, 1, B] */
    for (int k = 0; k < r && r < 4; k++)
        d[3 - r + k] = x->dim[1 + k];
    if (r == 4) { /* frames below each other; their product is a part of x->count, which was checked */
        d[0] = x->dim[1];
        d[1] = x->dim[2] * x->dim[3];
        d[2] = x->dim[4];
    }
    for (int k = 0; k < 3; k++)
        if (d[k] < 1 || d[k] > INT_MAX / 2)
            return rt_fail(err, NETRT_EDATA, "%s: samples of %lld x %lld x %lld", path,
                           (long long)d[0], (long long)d[1], (long long)d[2]);
    struct rt_reals *t = rt_reals_new(ds, "npy", path, x->dim[0], (int)d[last ? 2 : 0],
                                      (int)d[last ? 0 : 1], (int)d[last ? 1 : 2], err);
    if (!t)
        return err->code;
    t->channels_last = last;
    for (int64_t i = 0; i < x->count; i++)
        t->values[i] = (float)element(x, i);
    return NETRT_OK;
}

static int take(rt_dataset *ds, const struct array *x, const struct array *y, const char *path,
                const rt_dataset *known, rt_error *err) {
    char name[256];
    const char *slash = strrchr(path, '/');
    rt_clean_name(name, sizeof name, slash ? slash + 1 : path);
    if (x->rank < 2 || x->count < 1)
        return rt_fail(err, NETRT_EDATA, "%s holds no samples: an array [N, ..] is expected", path);
    int bytes = bytes_are_pictures(x);
    if (bytes ? take_pictures(ds, x, name, err) : take_reals(ds, x, path, err))
        return err->code;
    if (bytes && !y->data) {
        struct rt_table *t = ds->state;
        rt_free(t->labels);
        t->labels = NULL;
    }
    if (!y->data)
        return NETRT_OK;
    if (!bytes && y->rank == 2 && y->dim[0] == ds->count && y->dim[1] > 1)
        return take_steps(ds, y, path, err);
    return take_labels(ds, y, path, bytes ? ((struct rt_table *)ds->state)->labels : NULL,
                       bytes ? NULL : ((struct rt_reals *)ds->state)->label, known, err);
}

/* ---- files ---- */

static const struct member *find_member(const struct member *m, int n, const char *const *names) {
    for (int k = 0; names[k]; k++)
        for (int i = 0; i < n; i++)
            if (strcmp(m[i].name, names[k]) == 0)
                return &m[i];
    return NULL;
}

static int open_npz(rt_dataset *ds, const unsigned char *z, int64_t size, const char *path,
                    const char *split, const rt_dataset *known, rt_error *err) {
    static const char *const x_train[] = {"x_train", "X_train", "train_x", "train_images", NULL},
                             *const y_train[] = {"y_train", "Y_train", "train_y", "train_labels",
                                                 NULL},
                             *const x_test[] = {"x_test", "X_test",     "test_x", "test_images",
                                                "x_val",  "val_images", NULL},
                             *const y_test[] = {"y_test", "Y_test",     "test_y", "test_labels",
                                                "y_val",  "val_labels", NULL},
                             *const x_any[] = {"x", "X", "data", "images", "arr_0", NULL},
                             *const y_any[] = {"y",      "Y",     "label", "labels",
                                               "target", "arr_1", NULL};
    struct member *m = rt_alloc(MAX_MEMBERS, sizeof *m, "archive", err);
    unsigned char *bytes[2] = {NULL, NULL};
    struct array a[2] = {{0}, {0}};
    int n = 0;
    if (m && list_members(z, size, path, m, &n, err) == NETRT_OK) {
        const struct member *x = find_member(m, n, x_any), *y = find_member(m, n, y_any);
        const struct member *test = find_member(m, n, x_test), *train = find_member(m, n, x_train);
        int second = strcmp(split, "train") != 0 && test;
        if (second || train) {
            x = second ? test : train;
            y = find_member(m, n, second ? y_test : y_train);
        }
        if (strcmp(split, "test") == 0 && !second && !known)
            rt_fail(err, NETRT_EDATA, "%s has no separate test part: no array x_test", path);
        else if (!x)
            rt_fail(err, NETRT_EDATA,
                    "%s has no array of samples\n"
                    "help: numpy.savez(FILE, x_train=.., y_train=.., x_test=.., y_test=..)",
                    path);
        for (int k = 0; k < 2 && !err->code; k++) {
            const struct member *e = k ? y : x;
            if (e && unpack(z, size, e, path, &bytes[k], err) == NETRT_OK)
                npy_parse(bytes[k], (size_t)e->size, path, &a[k], err);
        }
        if (!err->code)
            take(ds, &a[0], &a[1], path, known, err);
    }
    rt_free(bytes[0]);
    rt_free(bytes[1]);
    rt_free(m);
    return err->code;
}

/* x_train.npy -> y_train.npy, train-images.npy -> train-labels.npy; 0: no such file. */
static int labels_beside(const char *path, char *out) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *images = strstr(base, "images");
    struct stat st;
    if (strlen(path) >= PATH_MAX - 8)
        return 0;
    snprintf(out, PATH_MAX, "%s", path);
    if (base[0] == 'x' || base[0] == 'X')
        out[base - path]++; /* y follows x, Y follows X */
    else if (images)
        memcpy(out + (images - path), "labels", 6);
    else
        return 0;
    return stat(out, &st) == 0 && S_ISREG(st.st_mode);
}

int rt_npy_sniff(const char *path) {
    unsigned char p[6];
    return rt_io_head(path, p, sizeof p) == sizeof p &&
           (memcmp(p, "\x93NUMPY", 6) == 0 || memcmp(p, "PK\3\4", 4) == 0 ||
            memcmp(p, "PK\5\6", 4) == 0);
}

int rt_npy_image(const char *path, int c, int h, int w, float *chw, rt_error *err) {
    unsigned char *data = NULL;
    size_t size;
    struct array a;
    if (rt_io_read_file(path, RT_IO_MAX_FILE, &data, &size, err))
        return err->code;
    if (npy_parse(data, size, path, &a, err) == NETRT_OK) {
        const int64_t *d = a.dim;
        int planes = (a.rank == 3 && d[0] == c && d[1] == h && d[2] == w) ||
                     (a.rank == 2 && c == 1 && d[0] == h && d[1] == w);
        int last = a.rank == 3 && d[0] == h && d[1] == w && d[2] == c;
        if (!planes && !last)
            rt_fail(err, NETRT_EDATA, "%s: an array of %d x %d x %d or %d x %d x %d is expected",
                    path, c, h, w, h, w, c);
        int64_t plane = (int64_t)h * w;
        for (int64_t i = 0; i < c * plane && !err->code; i++) {
            chw[i] = (float)element(&a, planes ? i : i % plane * c + i / plane);
            if (!isfinite(chw[i]))
                rt_fail(err, NETRT_EDATA, "%s: number %lld is not finite", path, (long long)i);
        }
    }
    rt_free(data);
    return err->code;
}

int rt_npy_open_file(rt_dataset *ds, const char *path, const char *split, const rt_dataset *known,
                     rt_error *err) {
    unsigned char *data[2] = {NULL, NULL};
    size_t size[2];
    char beside[PATH_MAX];
    struct array a[2] = {{0}, {0}};
    if (rt_io_read_file(path, RT_IO_MAX_FILE, &data[0], &size[0], err))
        return err->code;
    if (size[0] >= 22 && memcmp(data[0], "PK", 2) == 0)
        open_npz(ds, data[0], (int64_t)size[0], path, split, known, err);
    else if (strcmp(split, "test") == 0 && !known)
        rt_fail(err, NETRT_EDATA, "%s is a single file: it has no separate test part", path);
    else if (npy_parse(data[0], size[0], path, &a[0], err) == NETRT_OK) {
        if (labels_beside(path, beside) &&
            rt_io_read_file(beside, RT_IO_MAX_FILE, &data[1], &size[1], err) == NETRT_OK)
            npy_parse(data[1], size[1], beside, &a[1], err);
        if (!err->code)
            take(ds, &a[0], &a[1], data[1] ? beside : path, known, err);
    }
    rt_free(data[0]);
    rt_free(data[1]);
    return err->code;
}
