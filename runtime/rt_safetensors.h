/* rt_safetensors.h: the native weight and checkpoint file.
 *
 * u64 little-endian N, N bytes of JSON, then packed little-endian data (huggingface/safetensors).
 * The reader is strict: header <= 100 MB, offsets checked against dtype, shape and file size with
 * overflow checks, no overlap, no hole, no duplicate name.  It uses pread, never mmap (a file cut
 * while mapped kills the process).  Files written here carry an XXH3-128 checksum of the whole file
 * in __metadata__ ("netc.xxh3_128"; its own 32 digits count as '0'): any flipped bit is found.
 */
#ifndef RT_SAFETENSORS_H
#define RT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "rt_error.h"

#define ST_MAX_RANK 8
#define ST_MAX_TENSORS 100000
#define ST_MAX_HEADER ((int64_t)100000000)

typedef enum st_dtype {
    ST_F32,
    ST_F64,
    ST_F16,
    ST_BF16,
    ST_I8,
    ST_I16,
    ST_I32,
    ST_I64,
    ST_U8,
    ST_U16,
    ST_U32,
    ST_U64,
    ST_BOOL
} st_dtype;
const char *st_dtype_name(st_dtype dtype); /* "F32" */
int st_dtype_size(st_dtype dtype);         /* bytes per element */

typedef struct st_tensor {
    const char *name;
    st_dtype dtype;
    int rank;
    int64_t dims[ST_MAX_RANK];
    int64_t count;  /* product of dims; 1 for rank 0 */
    int64_t offset; /* from the start of the file */
    int64_t nbytes;
} st_tensor;

typedef struct st_file {
    char *path;
    int fd;
    int64_t size;
    int tensors;
    st_tensor *tensor; /* sorted by name (byte order) */
    int metas;
    char **meta_key, **meta_value; /* sorted by key */
    int verified;                  /* 1: carried a checksum and it is right */
    void *memory;
} st_file;

enum { ST_OPEN_NO_CHECKSUM = 1 }; /* flag: do not read the data to verify it */

/* EIO: missing or unreadable.  EDATA: malformed, truncated or changed. */
int st_open(st_file *file, const char *path, int flags, rt_error *err);
void st_close(st_file *file); /* file may be {0} */

const st_tensor *st_find(const st_file *file, const char *name); /* NULL: absent */
const char *st_meta(const st_file *file, const char *key);       /* NULL: absent */

/* All elements as float; F64, F16, BF16 are converted (round to nearest even), integer types are
 * EDATA.  count must equal tensor->count. */
int st_read(const st_file *file, const st_tensor *tensor, float *dst, int64_t count, rt_error *err);
/* The same for elements first..first+count-1. */
int st_read_part(const st_file *file, const st_tensor *tensor, float *dst, int64_t first,
                 int64_t count, rt_error *err);
/* The bytes as they are: elements first..first+count-1 of any type. */
int st_read_raw(const st_file *file, const st_tensor *tensor, void *dst, int64_t first,
                int64_t count, rt_error *err);

/* Writing: begin, add and meta in any order, finish.  Names and metadata are copied, data is not:
 * it must stay unchanged until finish.  finish writes atomically (rt_io.h) and releases everything
 * whether it succeeds or not; abort releases without writing.  Errors of add and meta are kept and
 * reported again by finish, so that only its result must be checked. */
typedef struct st_writer st_writer;
int st_writer_begin(st_writer **writer, rt_error *err);
int st_writer_add(st_writer *writer, const char *name, st_dtype dtype, int rank,
                  const int64_t *dims, const void *data, rt_error *err);
/* A tensor that does not lie in memory as it is to be written: source gives its elements from number
 * `first` on, as many as it likes (the result, at least 1); they are used before the next call.
 * finish reads every tensor twice, for the checksum and for the file. */
typedef int64_t (*st_source)(void *context, int64_t first, const void **data);
int st_writer_add_source(st_writer *writer, const char *name, st_dtype dtype, int rank,
                         const int64_t *dims, st_source source, void *context, rt_error *err);
int st_writer_meta(st_writer *writer, const char *key, const char *value, rt_error *err);
int st_writer_finish(st_writer *writer, const char *path, rt_error *err);
void st_writer_abort(st_writer *writer);

#endif
