/* rt_files.h: what the tests of the runtime's files share: a scratch folder, small files in it,
 * deterministic bytes, and faults in the I/O table. */
#ifndef RT_FILES_H
#define RT_FILES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "suite.h"

/* A fresh folder under TMPDIR, removed at exit. */
static char files_dir[200];

static void files_remove(void) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf -- '%s'", files_dir);
    if (files_dir[0] && system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", files_dir);
}

__attribute__((unused)) static const char *files_root(void) {
    if (!files_dir[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(files_dir, sizeof files_dir, "%s/netc-test-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(files_dir)) {
            perror("mkdtemp");
            exit(1);
        }
        atexit(files_remove);
    }
    return files_dir;
}

/* "DIR/name"; one of eight rotating buffers. */
__attribute__((unused)) static const char *in_dir(const char *name) {
    static char path[8][600];
    static int turn;
    char *p = path[turn++ & 7];
    snprintf(p, sizeof path[0], "%s/%s", files_root(), name);
    return p;
}

/* Writes with stdio, so that the code under test is not used to test itself. */
__attribute__((unused)) static const char *put_file(const char *name, const void *data, size_t n) {
    const char *path = in_dir(name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(data, 1, n, f) != n) || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

__attribute__((unused)) static const char *make_dir(const char *name) {
    const char *path = in_dir(name);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        perror(path);
        exit(1);
    }
    return path;
}

/* The bytes of a file in new memory (free), *n = -1 and NULL when it is missing. */
__attribute__((unused)) static unsigned char *get_file(const char *path, long *n) {
    *n = -1;
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = ftell(f);
    rewind(f);
    unsigned char *p = malloc((size_t)*n + 1);
    if (!p || fread(p, 1, (size_t)*n, f) != (size_t)*n)
        exit(1);
    fclose(f);
    return p;
}

/* Reproducible bytes: the high byte of a linear congruential generator. */
__attribute__((unused)) static void noise_bytes(unsigned char *p, size_t n) {
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (unsigned char)(x >> 24);
    }
}

/* --- faults: call number fault_at (from 1) of the writing functions fails with fault_errno
 * -------- */

static int fault_at, fault_forever, fault_errno, fault_calls;

__attribute__((unused)) static int fault_now(void) {
    fault_calls++;
    if (fault_at && (fault_calls == fault_at || (fault_forever && fault_calls > fault_at))) {
        errno = fault_errno;
        return 1;
    }
    return 0;
}
static int fault_open(const char *path, int flags, mode_t mode) {
    return fault_now() ? -1 : rt_io_system.open(path, flags, mode);
}
static int fault_close(int fd) {
    int failed = fault_now(), code = rt_io_system.close(fd);
    if (failed)
        errno = fault_errno;
    return failed ? -1 : code;
}
static int fault_fstat(int fd, struct stat *st) {
    return fault_now() ? -1 : rt_io_system.fstat(fd, st);
}
static ssize_t fault_read(int fd, void *p, size_t n) {
    return fault_now() ? -1 : rt_io_system.read(fd, p, n > 7 ? n / 2 : n);
}
static ssize_t fault_pread(int fd, void *p, size_t n, off_t at) {
    return fault_now() ? -1 : rt_io_system.pread(fd, p, n > 7 ? n / 2 : n, at);
}
static ssize_t fault_write(int fd, const void *p, size_t n) {
    return fault_now() ? -1 : rt_io_system.write(fd, p, n > 7 ? n / 2 : n);
}
static int fault_fsync(int fd) {
    return fault_now() ? -1 : rt_io_system.fsync(fd);
}
static int fault_rename(const char *a, const char *b) {
    return fault_now() ? -1 : rt_io_system.rename(a, b);
}
/* unlink and mkdir stay sound: cleaning up is not what is tested. */

/* Arms the table: transfers become short, and the nth call fails (0: none). */
__attribute__((unused)) static void fault_arm(int nth, int forever, int code) {
    fault_at = nth;
    fault_forever = forever;
    fault_errno = code;
    fault_calls = 0;
    rt_io.open = fault_open;
    rt_io.close = fault_close;
    rt_io.fstat = fault_fstat;
    rt_io.read = fault_read;
    rt_io.pread = fault_pread;
    rt_io.write = fault_write;
    rt_io.fsync = fault_fsync;
    rt_io.rename = fault_rename;
}
__attribute__((unused)) static void fault_disarm(void) {
    rt_io = rt_io_system;
}

#endif
