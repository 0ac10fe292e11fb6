/* rt_npz.c: writing .npy files and .npz archives (rt_npz.h).
 *
 * requires: a little-endian machine, as the generated code does.  ensures: an archive appears
 * complete or not at all (rt_io.h).
 */
#include "rt_npz.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_text.h"

void rt_npy_head(unsigned char head[RT_NPY_HEAD], int rank, const int64_t *dim) {
    char text[RT_NPY_HEAD];
    int n = snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < rank && i < 5; i++)
        n +=
            snprintf(text + n, sizeof text - (size_t)n, "%s%lld", i ? ", " : "", (long long)dim[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, rank == 1 ? ",), }" : "), }");
    memset(head, ' ', RT_NPY_HEAD);
    memcpy(head, "\x93NUMPY\x01", 7);
    head[7] = 0;
    head[8] = RT_NPY_HEAD - 10;
    head[9] = 0;
    memcpy(head + 10, text, (size_t)n < RT_NPY_HEAD - 11 ? (size_t)n : RT_NPY_HEAD - 11);
    head[RT_NPY_HEAD - 1] = '\n';
}

static int64_t count_of(int rank, const int64_t *dim) {
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= dim[i];
    return n;
}

int rt_npy_write(const char *path, int rank, const int64_t *dim, const float *data, rt_error *err) {
    unsigned char head[RT_NPY_HEAD];
    struct rt_out out;
    rt_npy_head(head, rank, dim);
    if (rt_out_begin(&out, path, err))
        return err->code;
    rt_out_write(&out, head, sizeof head, err);
    rt_out_write(&out, data, (size_t)count_of(rank, dim) * sizeof *data, err);
    return rt_out_finish(&out, err);
}

/* ---- archives ---- */
struct rt_npz {
    struct rt_out out;
    rt_text directory; /* the central directory so far */
    int64_t at;        /* bytes written */
    int64_t members;
};

enum { LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50 };
enum { END64 = 0x06064b50, LOCATE64 = 0x07064b50, VERSION = 45, DAY = 0x21 /* 1 January 1980 */ };
#define FULL32 UINT64_C(0xffffffff)

typedef struct Record { /* of numbers, little-endian */
    unsigned char at[96];
    size_t n;
} Record;

static void put(Record *r, int bytes, uint64_t v) {
    for (int i = 0; i < bytes; i++)
        r->at[r->n++] = (unsigned char)(v >> 8 * i);
}

static int write_record(rt_npz *z, const Record *r, rt_error *err) {
    z->at += (int64_t)r->n;
    return rt_out_write(&z->out, r->at, r->n, err);
}

int rt_npz_begin(rt_npz **out, const char *path, rt_error *err) {
    rt_npz *z = *out = rt_alloc_zero(1, sizeof *z, "an archive", err);
    if (!z)
        return err->code;
    if (rt_out_begin(&z->out, path, err)) {
        rt_free(z);
        *out = NULL;
    }
    return err->code;
}

/* What local and central headers have in common; sizes always in the zip64 field behind the name.
 */
static void common(Record *r, uint32_t crc, size_t name, int extra) {
    put(r, 2, VERSION);
    put(r, 2, 0x800); /* the name is UTF-8 */
    put(r, 2, 0);     /* stored */
    put(r, 2, 0);
    put(r, 2, DAY);
    put(r, 4, crc);
    put(r, 4, FULL32);
    put(r, 4, FULL32);
    put(r, 2, name);
    put(r, 2, (uint64_t)extra);
}

static void sizes64(Record *r, uint64_t size, int64_t at) {
    put(r, 2, 1);
    put(r, 2, at < 0 ? 16 : 24);
    put(r, 8, size);
    put(r, 8, size);
    if (at >= 0)
        put(r, 8, (uint64_t)at);
}

/* All elements: into the checksum, or into the file. */
static int pass(rt_npz *z, int64_t count, rt_npz_parts parts, void *context, uint32_t *crc,
                rt_error *err) {
    const float *data;
    for (int64_t first = 0; first < count && !err->code;) {
        int64_t n = parts(context, first, &data);
        n = n < count - first ? n : count - first;
        if (crc)
            *crc = (uint32_t)crc32_z(*crc, (const unsigned char *)data, (size_t)n * sizeof *data);
        else
            rt_out_write(&z->out, data, (size_t)n * sizeof *data, err);
        first += n;
    }
    return err->code;
}

int rt_npz_add(rt_npz *z, const char *name, int rank, const int64_t *dim, rt_npz_parts parts,
               void *context, rt_error *err) {
    unsigned char head[RT_NPY_HEAD];
    char member[400];
    int64_t count = count_of(rank, dim), start = z->at;
    size_t n = (size_t)snprintf(member, sizeof member, "%s.npy", name);
    if (n >= sizeof member)
        return rt_fail(err, NETRT_ELIMIT, "the name '%.40s...' is too long for an archive", name);
    rt_npy_head(head, rank, dim);
    uint64_t size = sizeof head + (uint64_t)count * sizeof(float);
    uint32_t crc = (uint32_t)crc32_z(0, head, sizeof head);
    pass(z, count, parts, context, &crc, err);
    Record local = {0}, extra = {0}, central = {0}, more = {0};
    put(&local, 4, LOCAL);
    common(&local, crc, n, 20);
    sizes64(&extra, size, -1);
    write_record(z, &local, err);
    rt_out_write(&z->out, member, n, err);
    write_record(z, &extra, err);
    rt_out_write(&z->out, head, sizeof head, err);
    pass(z, count, parts, context, NULL, err);
    z->at += (int64_t)(n + size);
    put(&central, 4, CENTRAL);
    put(&central, 2, VERSION);
    common(&central, crc, n, 28);
    put(&central, 2, 0); /* comment */
    put(&central, 2, 0); /* disk */
    put(&central, 2, 0);
    put(&central, 4, 0);
    put(&central, 4, FULL32);
    sizes64(&more, size, start);
    rt_text_bytes(&z->directory, central.at, central.n);
    rt_text_bytes(&z->directory, member, n);
    rt_text_bytes(&z->directory, more.at, more.n);
    z->members++;
    return err->code;
}

void rt_npz_abort(rt_npz *z) {
    if (!z)
        return;
    rt_out_abort(&z->out);
    rt_text_free(&z->directory);
    rt_free(z);
}

int rt_npz_finish(rt_npz *z, rt_error *err) {
    Record end = {0};
    uint64_t start = (uint64_t)z->at, size = z->directory.size;
    if (!rt_text_ok(&z->directory, err)) {
        rt_npz_abort(z);
        return err->code;
    }
    rt_out_write(&z->out, z->directory.data, size, err);
    put(&end, 4, END64);
    put(&end, 8, 44);
    put(&end, 2, VERSION);
    put(&end, 2, VERSION);
    put(&end, 8, 0); /* disks */
    put(&end, 8, (uint64_t)z->members);
    put(&end, 8, (uint64_t)z->members);
    put(&end, 8, size);
    put(&end, 8, start);
    put(&end, 4, LOCATE64);
    put(&end, 4, 0);
    put(&end, 8, start + size);
    put(&end, 4, 1);
    rt_out_write(&z->out, end.at, end.n, err);
    Record last = {0};
    put(&last, 4, END);
    put(&last, 4, 0);
    put(&last, 2, 0xffff);
    put(&last, 2, 0xffff);
    put(&last, 4, FULL32);
    put(&last, 4, FULL32);
    put(&last, 2, 0);
    rt_out_write(&z->out, last.at, last.n, err);
    int code = rt_out_finish(&z->out, err);
    rt_text_free(&z->directory);
    rt_free(z);
    return code;
}
