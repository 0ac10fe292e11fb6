/* rt_io.c: whole-file reading, atomic writing, directories (see rt_io.h).
 *
 * ensures: an interrupted or failed write leaves the previous file as it was; EINTR and short
 * transfers are continued; no size found in the file system is trusted without a limit.
 * Reliability rules 2, 3 and 7, goals R14 to R16.
 */
#define _GNU_SOURCE
#include "rt_io.h"

#include "rt_alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUT_BUFFER = 1 << 16, MAX_TEMPORARIES = 1000 };

static int system_open(const char *path, int flags, mode_t mode) {
    return open(path, flags | O_CLOEXEC, mode);
}

static int system_fstat(int fd, struct stat *st) {
    return fstat(fd, st);
}

#define SYSTEM_TABLE                                                                               \
    { system_open, close, system_fstat, read, pread, write, fsync, rename, unlink, mkdir }
const struct rt_io_table rt_io_system = SYSTEM_TABLE;
struct rt_io_table rt_io = SYSTEM_TABLE;

static int io_fail(rt_error *err, const char *verb, const char *path) {
    int saved = errno;
    return rt_fail(err, NETRT_EIO, "cannot %s %s: %s", verb, path, strerror(saved));
}

void rt_io_close(int fd) {
    if (fd > 2)
        rt_io.close(fd);
}

/* read() that continues after a signal. */
static ssize_t read_some(int fd, void *buf, size_t n) {
    ssize_t got;
    do
        got = rt_io.read(fd, buf, n);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Reads from fd to its end.  hint is the expected size (0 unknown); the buffer starts there and
 * only grows, in doubling steps, while bytes really arrive. */
static int read_to_end(int fd, const char *path, int64_t hint, int64_t limit, unsigned char **data,
                       size_t *size, rt_error *err) {
    size_t cap = hint > 0 ? (size_t)hint + 1 : 4096, n = 0;
    unsigned char *buf = rt_alloc(cap, 1, path, err);
    if (!buf)
        return err ? err->code : NETRT_ELIMIT;
    for (;;) {
        if (n == cap) {
            unsigned char *bigger = rt_realloc(buf, cap * 2, 1, path, err);
            if (!bigger) {
                rt_free(buf);
                return NETRT_ELIMIT;
            }
            buf = bigger;
            cap *= 2;
        }
        ssize_t got = read_some(fd, buf + n, cap - n);
        if (got < 0) {
            int code = io_fail(err, "read", path);
            rt_free(buf);
            return code;
        }
        if (got == 0)
            break;
        n += (size_t)got;
        if ((int64_t)n > limit) {
            rt_free(buf);
            return rt_fail(err, NETRT_ELIMIT, "%s is larger than the limit of %lld bytes", path,
                           (long long)limit);
        }
    }
    if (n == cap) { /* room for the 0 byte; cap > n unless the last read filled it exactly */
        unsigned char *bigger = rt_realloc(buf, cap + 1, 1, path, err);
        if (!bigger) {
            rt_free(buf);
            return NETRT_ELIMIT;
        }
        buf = bigger;
    }
    buf[n] = 0;
    *data = buf;
    *size = n;
    return NETRT_OK;
}

int rt_io_read_file(const char *path, int64_t limit, unsigned char **data, size_t *size,
                    rt_error *err) {
    *data = NULL;
    *size = 0;
    if (strcmp(path, "-") == 0)
        return read_to_end(0, "standard input", 0, limit, data, size, err);
    int fd = rt_io.open(path, O_RDONLY, 0);
    if (fd < 0)
        return io_fail(err, "open", path);
    struct stat st;
    int code;
    if (rt_io.fstat(fd, &st) < 0)
        code = io_fail(err, "examine", path);
    else if (S_ISDIR(st.st_mode))
        code = rt_fail(err, NETRT_EIO, "cannot read %s: it is a directory", path);
    else if (S_ISREG(st.st_mode) && st.st_size > limit)
        code = rt_fail(err, NETRT_ELIMIT, "%s has %lld bytes, the limit is %lld", path,
                       (long long)st.st_size, (long long)limit);
    else
        code = read_to_end(fd, path, S_ISREG(st.st_mode) ? st.st_size : 0, limit, data, size, err);
    rt_io_close(fd);
    return code;
}

int rt_io_open_read(const char *path, int *fd, int64_t *size, rt_error *err) {
    *fd = rt_io.open(path, O_RDONLY | O_NONBLOCK, 0); /* a fifo must not block the open */
    if (*fd < 0)
        return io_fail(err, "open", path);
    struct stat st;
    int code = NETRT_OK;
    if (rt_io.fstat(*fd, &st) < 0)
        code = io_fail(err, "examine", path);
    else if (!S_ISREG(st.st_mode))
        code = rt_fail(err, NETRT_EIO, "cannot read %s: %s", path,
                       S_ISDIR(st.st_mode) ? "it is a directory" : "it is no regular file");
    if (code != NETRT_OK) {
        rt_io_close(*fd);
        *fd = -1;
        return code;
    }
    *size = st.st_size;
    return NETRT_OK;
}

int rt_io_pread(int fd, const char *path, void *buf, size_t n, int64_t at, rt_error *err) {
    unsigned char *p = buf;
    while (n > 0) {
        size_t want = n < ((size_t)1 << 30) ? n : (size_t)1 << 30;
        ssize_t got = rt_io.pread(fd, p, want, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return io_fail(err, "read", path);
        if (got == 0)
            return rt_fail(err, NETRT_EDATA, "%s ends at byte %lld, %zu more were expected", path,
                           (long long)at, n);
        p += got;
        at += got;
        n -= (size_t)got;
    }
    return NETRT_OK;
}

size_t rt_io_head(const char *path, void *head, size_t n) {
    int fd;
    int64_t size;
    rt_error ignored = {0};
    memset(head, 0, n);
    if (rt_io_open_read(path, &fd, &size, &ignored))
        return 0;
    size_t there = size < (int64_t)n ? (size_t)size : n;
    int code = rt_io_pread(fd, path, head, there, 0, &ignored);
    rt_io_close(fd);
    return code == NETRT_OK ? there : 0;
}

/* --- atomic writing ----------------------------------------------------------------------------
 */

static int write_all(struct rt_out *out, const unsigned char *p, size_t n, rt_error *err) {
    while (n > 0) {
        ssize_t put = rt_io.write(out->fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0) { /* POSIX allows it; without this a broken device would hang us */
            errno = EIO;
            put = -1;
        }
        if (put < 0) {
            out->failed = 1;
            return io_fail(err, "write", out->path);
        }
        p += put;
        n -= (size_t)put;
    }
    return NETRT_OK;
}

static void out_release(struct rt_out *out) {
    rt_io_close(out->fd);
    rt_free(out->path);
    rt_free(out->tmp);
    rt_free(out->buffer);
    *out = (struct rt_out){.fd = -1};
}

void rt_out_abort(struct rt_out *out) {
    if (out->tmp && out->fd >= 0)
        rt_io.unlink(out->tmp);
    out_release(out);
}

/* Where a path really leads: a symbolic link is followed so that the link itself stays. */
static char *resolve_target(const char *path, rt_error *err) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        char *real = realpath(path, NULL);
        if (real) {
            char *copy = rt_strdup(real, err);
            free(real);
            return copy;
        }
    }
    return rt_strdup(path, err);
}

static int open_temporary(struct rt_out *out, rt_error *err) {
    static atomic_uint counter;
    size_t cap = strlen(out->path) + 48;
    out->tmp = rt_alloc(cap, 1, "file name", err);
    if (!out->tmp)
        return NETRT_ELIMIT;
    for (int attempt = 0; attempt < MAX_TEMPORARIES; attempt++) {
        snprintf(out->tmp, cap, "%s.tmp.%ld.%u", out->path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        out->fd = rt_io.open(out->tmp, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (out->fd >= 0)
            return NETRT_OK;
        if (errno != EEXIST)
            break;
    }
    return io_fail(err, "create", out->path);
}

int rt_out_begin(struct rt_out *out, const char *path, rt_error *err) {
    *out = (struct rt_out){.fd = -1};
    out->path = resolve_target(path, err);
    out->buffer = out->path ? rt_alloc(OUT_BUFFER, 1, "output buffer", err) : NULL;
    if (!out->buffer) {
        out_release(out);
        return NETRT_ELIMIT;
    }
    struct stat st;
    int exists = stat(out->path, &st) == 0;
    int code = NETRT_OK;
    if (exists && S_ISDIR(st.st_mode)) {
        code = rt_fail(err, NETRT_EIO, "cannot write %s: it is a directory", path);
    } else if (exists && !S_ISREG(st.st_mode)) {
        out->direct = 1;
        out->fd = rt_io.open(out->path, O_WRONLY, 0666);
        if (out->fd < 0)
            code = io_fail(err, "open for writing", path);
    } else {
        code = open_temporary(out, err);
    }
    if (code != NETRT_OK)
        out_release(out);
    return code;
}

static int out_flush(struct rt_out *out, rt_error *err) {
    size_t n = out->fill;
    out->fill = 0;
    return write_all(out, out->buffer, n, err);
}

int rt_out_write(struct rt_out *out, const void *data, size_t n, rt_error *err) {
    if (out->failed)
        return rt_fail(err, NETRT_EIO, "cannot write %s: an earlier write failed", out->path);
    if (n >= OUT_BUFFER - out->fill) {
        int code = out_flush(out, err);
        if (code == NETRT_OK && n >= OUT_BUFFER)
            return write_all(out, data, n, err);
        if (code != NETRT_OK)
            return code;
    }
    if (n > 0) {
        memcpy(out->buffer + out->fill, data, n);
        out->fill += n;
    }
    return NETRT_OK;
}

/* Makes the rename itself survive a power loss.  File systems that cannot fsync a directory say
 * EINVAL: nothing more can be done there. */
static int sync_directory(const char *path, rt_error *err) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? rt_strndup(path, slash == path ? 1 : (size_t)(slash - path), err)
                      : rt_strdup(".", err);
    if (!dir)
        return NETRT_ELIMIT;
    int code = NETRT_OK;
    int fd = rt_io.open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        /* A directory we may write but not read: the file is in place, only the sync is missing. */
        if (errno != EACCES)
            code = io_fail(err, "open", dir);
    } else {
        if (rt_io.fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
            code = io_fail(err, "sync", dir);
        rt_io_close(fd);
    }
    rt_free(dir);
    return code;
}

int rt_out_finish(struct rt_out *out, rt_error *err) {
    int code =
        out->failed ? rt_fail(err, NETRT_EIO, "cannot write %s", out->path) : out_flush(out, err);
    if (code == NETRT_OK && !out->direct && rt_io.fsync(out->fd) < 0)
        code = io_fail(err, "sync", out->path);
    if (code == NETRT_OK && out->fd > 2) {
        int fd = out->fd;
        out->fd = -1;
        /* NFS and quota systems report a full disk only here. */
        if (rt_io.close(fd) < 0 && errno != EINTR)
            code = io_fail(err, "close", out->path);
    }
    if (code == NETRT_OK && out->tmp && rt_io.rename(out->tmp, out->path) < 0)
        code = io_fail(err, "replace", out->path);
    if (code == NETRT_OK && out->tmp)
        code = sync_directory(out->path, err);
    else if (code != NETRT_OK && out->tmp)
        rt_io.unlink(out->tmp);
    out_release(out);
    return code;
}

int rt_io_write_file(const char *path, const void *data, size_t n, rt_error *err) {
    struct rt_out out;
    int code = rt_out_begin(&out, path, err);
    if (code != NETRT_OK)
        return code;
    code = rt_out_write(&out, data, n, err);
    if (code != NETRT_OK) {
        rt_out_abort(&out);
        return code;
    }
    return rt_out_finish(&out, err);
}

/* --- directories -------------------------------------------------------------------------------
 */

static int make_one(const char *dir, rt_error *err) {
    if (rt_io.mkdir(dir, 0777) == 0)
        return NETRT_OK;
    int saved = errno;
    struct stat st;
    if (stat(dir, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return NETRT_OK;
        return rt_fail(err, NETRT_EIO, "cannot create directory %s: a file has that name", dir);
    }
    errno = saved;
    return io_fail(err, "create directory", dir);
}

int rt_io_make_dirs(const char *dir, rt_error *err) {
    if (!*dir)
        return rt_fail(err, NETRT_EIO, "cannot create a directory without a name");
    char *path = rt_strdup(dir, err);
    if (!path)
        return NETRT_ELIMIT;
    int code = NETRT_OK;
    for (char *p = path + 1; *p && code == NETRT_OK; p++) {
        if (*p == '/' && p[-1] != '/') {
            *p = 0;
            code = make_one(path, err);
            *p = '/';
        }
    }
    if (code == NETRT_OK)
        code = make_one(path, err);
    rt_free(path);
    return code;
}

int rt_io_probe_dir(const char *dir, rt_error *err) {
    int code = rt_io_make_dirs(dir, err);
    if (code != NETRT_OK)
        return code;
    size_t cap = strlen(dir) + 48;
    char *path = rt_alloc(cap, 1, "file name", err);
    if (!path)
        return NETRT_ELIMIT;
    snprintf(path, cap, "%s/probe.tmp.%ld.p", dir, (long)getpid());
    rt_io.unlink(path);
    int fd = rt_io.open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd < 0) {
        code = io_fail(err, "write into", dir);
    } else {
        static const char block[4096];
        ssize_t put = rt_io.write(fd, block, sizeof block);
        if (put >= 0 && put < (ssize_t)sizeof block) {
            errno = ENOSPC;
            put = -1;
        }
        if (put < 0 || rt_io.fsync(fd) < 0)
            code = io_fail(err, "write into", dir);
        rt_io_close(fd);
        rt_io.unlink(path);
    }
    rt_free(path);
    return code;
}

/* The process id in "NAME.tmp.PID.N", 0 when name has not that form. */
static long temporary_owner(const char *name) {
    const char *at = NULL;
    for (const char *p = name; (p = strstr(p, ".tmp.")) != NULL; p++)
        at = p;
    if (!at)
        return 0;
    char *end;
    errno = 0;
    long pid = strtol(at + 5, &end, 10);
    if (errno || end == at + 5 || *end != '.' || pid <= 0 || pid > INT_MAX)
        return 0;
    const char *serial = end + 1;
    if (strcmp(serial, "p") == 0)
        return pid;
    size_t digits = strspn(serial, "0123456789");
    return digits > 0 && serial[digits] == 0 ? pid : 0;
}

int rt_io_remove_stale(const char *dir) {
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    int removed = 0;
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        long pid = temporary_owner(entry->d_name);
        if (pid == 0)
            continue;
        if (pid != (long)getpid() && (kill((pid_t)pid, 0) == 0 || errno != ESRCH))
            continue;
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (n > 0 && n < (int)sizeof path && rt_io.unlink(path) == 0)
            removed++;
    }
    closedir(d);
    return removed;
}

/* --- names -------------------------------------------------------------------------------------
 */

int rt_utf8_length(const unsigned char *s) {
    if (s[0] < 0x80)
        return 1;
    int n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

char *rt_clean_name(char *dst, size_t cap, const char *s) {
    const unsigned char *p = (const unsigned char *)s;
    size_t n = 0;
    while (*p && cap > 0) {
        int len = rt_utf8_length(p);
        /* C1 controls (U+0080..U+009F) also steer some terminals. */
        int control = len == 1 ? *p < 0x20 || *p == 0x7F : len == 2 && p[0] == 0xC2 && p[1] < 0xA0;
        size_t put = len == 0 || control ? 1 : (size_t)len;
        if (n + put + 1 > cap)
            break;
        if (len == 0 || control)
            dst[n] = '?';
        else
            memcpy(dst + n, p, put);
        n += put;
        p += len == 0 ? 1 : len;
    }
    if (cap > 0)
        dst[n] = 0;
    return dst;
}
