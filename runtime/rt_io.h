/* rt_io.h: files.  All reading and writing of the runtime goes through one table of functions, so
 * that a test can inject a full disk, an I/O error or a short write at any call.
 *
 * Writing is atomic: the bytes go to PATH.tmp.PID.N in the same directory, are fsynced, renamed
 * over PATH, and the directory is fsynced.  A reader sees the old file or the new one, never half.
 * A PATH that exists and is no regular file (/dev/full, a pipe) is written directly.
 */
#ifndef RT_IO_H
#define RT_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "rt_error.h"

/* The system calls, with the meaning and errno of their POSIX namesakes. */
struct rt_io_table {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat *st);
    ssize_t (*read)(int fd, void *buf, size_t n);
    ssize_t (*pread)(int fd, void *buf, size_t n, off_t at);
    ssize_t (*write)(int fd, const void *buf, size_t n);
    int (*fsync)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
};

/* The table in force; tests overwrite rows and later assign rt_io_system back. */
extern struct rt_io_table rt_io;
extern const struct rt_io_table rt_io_system;

/* Most bytes rt_io_read_file accepts when the caller has no narrower limit. */
#define RT_IO_MAX_FILE ((int64_t)4 << 30)

/* Reads a whole file.  The size is checked against limit before memory is taken; files without a
 * size (pipes, "-" = standard input) are read in growing steps up to limit.  A 0 byte is appended
 * after the data and not counted.  *data is released with rt_free.
 * NETRT_EIO: cannot be opened or read.  NETRT_ELIMIT: larger than limit. */
int rt_io_read_file(const char *path, int64_t limit, unsigned char **data, size_t *size,
                    rt_error *err);

/* Opens for pread and gives the size; refuses directories and anything that is no regular file. */
int rt_io_open_read(const char *path, int *fd, int64_t *size, rt_error *err);
void rt_io_close(int fd);

/* Exactly n bytes at offset at, else NETRT_EIO (error) or NETRT_EDATA (the file ends before). */
int rt_io_pread(int fd, const char *path, void *buf, size_t n, int64_t at, rt_error *err);
/* The first n bytes of a file, to tell what it is; zeros behind a shorter one's end.  Returns how
 * many there are, 0 where it cannot be read. */
size_t rt_io_head(const char *path, void *head, size_t n);

/* Replaces path atomically by these bytes. */
int rt_io_write_file(const char *path, const void *data, size_t n, rt_error *err);

/* The same in pieces: begin, any number of writes, then finish (publishes) or abort (leaves the old
 * file).  After begin failed nothing needs releasing; finish and abort release everything. */
struct rt_out {
    int fd;
    int direct;  /* 1: path is a device or pipe, written without a temporary file */
    int failed;  /* 1: a write failed, finish will only clean up */
    char *path;  /* where it will appear (symbolic links resolved) */
    char *tmp;   /* where it is being written; NULL when direct */
    size_t fill; /* bytes waiting in buffer */
    unsigned char *buffer;
};
int rt_out_begin(struct rt_out *out, const char *path, rt_error *err);
int rt_out_write(struct rt_out *out, const void *data, size_t n, rt_error *err);
int rt_out_finish(struct rt_out *out, rt_error *err);
void rt_out_abort(struct rt_out *out);

/* mkdir -p. */
int rt_io_make_dirs(const char *dir, rt_error *err);

/* Creates dir when missing and proves that a file can be written there: the question to ask before
 * the first training step, not at the first checkpoint. */
int rt_io_probe_dir(const char *dir, rt_error *err);

/* Deletes temporary files in dir whose writer is dead (or was an earlier process with our id, so
 * call it before the first write).  Returns how many; a missing directory counts 0. */
int rt_io_remove_stale(const char *dir);

/* Length in bytes of the valid UTF-8 sequence at s, 0 when there is none (RFC 3629: shortest form
 * only, no surrogates, at most U+10FFFF).  s must end with a 0 byte, which itself has length 1. */
int rt_utf8_length(const unsigned char *s);

/* Copies s with control bytes, and bytes that are no valid UTF-8, replaced by '?': file and class
 * names are untrusted and must not reach a terminal raw.  dst always ends with 0. */
char *rt_clean_name(char *dst, size_t cap, const char *s);

#endif
