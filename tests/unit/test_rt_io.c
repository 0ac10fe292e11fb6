/* test_rt_io.c: allocator hook, reading, atomic writing under faults, folders, names. */
#define _GNU_SOURCE
#include "rt_files.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

static int count_entries(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static void first_error_wins(void) {
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_fail(&e, NETRT_EIO, "one %d", 1), NETRT_EIO);
    CU_ASSERT_EQUAL(rt_fail(&e, NETRT_EDATA, "two"), NETRT_EIO);
    CU_ASSERT_STRING_EQUAL(e.text, "one 1");
    char wide[3000];
    for (int i = 0; i < 1499; i++)
        memcpy(wide + 2 * i, "\xC3\xA4", 2);
    wide[2998] = 0;
    e = (rt_error){0};
    rt_fail(&e, NETRT_EIO, "x%s", wide);
    CU_ASSERT(strlen(e.text) >= 1020 && strlen(e.text) < sizeof e.text);
    CU_ASSERT_EQUAL((unsigned char)e.text[strlen(e.text) - 1], 0xA4); /* no half character */
    CU_ASSERT_EQUAL(rt_fail(NULL, NETRT_EIO, "nobody listens"), NETRT_EIO);
}

static void allocator_counts_and_limits(void) {
    rt_error e = {0};
    size_t before = rt_alloc_live();
    char *p = rt_alloc(1000, 1, "test", &e);
    CU_ASSERT_EQUAL(rt_alloc_live() - before, 1016);
    CU_ASSERT_EQUAL((uintptr_t)p % 16, 0);
    memset(p, 7, 1000);
    p = rt_realloc(p, 2000, 1, "test", &e);
    CU_ASSERT(p && p[999] == 7);
    CU_ASSERT_EQUAL(rt_alloc_live() - before, 2016);
    CU_ASSERT_PTR_NULL(rt_alloc(SIZE_MAX / 2, 3, "overflow", &e));
    CU_ASSERT_EQUAL(e.code, NETRT_ELIMIT);
    e = (rt_error){0};
    rt_alloc_set_limit(rt_alloc_live() + 5000);
    CU_ASSERT_PTR_NULL(rt_alloc(5000, 1, "too much", &e));
    CU_ASSERT(strstr(e.text, "too much") != NULL);
    CU_ASSERT_PTR_NULL(rt_realloc(p, 9000, 1, "too much", &e));
    CU_ASSERT_EQUAL(p[999], 7); /* untouched */
    rt_alloc_set_limit(0);
    rt_free(p);
    CU_ASSERT_EQUAL(rt_alloc_live(), before);
}

static void allocator_injects(void) {
    rt_error e = {0};
    rt_alloc_inject(2, 0);
    void *a = rt_alloc(1, 1, "a", &e), *b = rt_alloc(1, 1, "b", &e), *c = rt_alloc(1, 1, "c", &e);
    CU_ASSERT(a && !b && c);
    rt_alloc_inject(1, 1);
    CU_ASSERT(!rt_alloc(1, 1, "d", &e) && !rt_alloc(1, 1, "e", &e));
    rt_alloc_inject(0, 0);
    rt_free(a);
    rt_free(c);
}

static void slabs_are_aligned_and_zero(void) {
    rt_error e = {0};
    size_t before = rt_alloc_live();
    size_t sizes[] = {0, 1, 64, 4000, (2u << 20) - 1, 2u << 20, (5u << 20) + 3};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *p = rt_slab_alloc(sizes[i], "slab", &e);
        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        CU_ASSERT_EQUAL((uintptr_t)p % (sizes[i] >= 2u << 20 ? 2u << 20 : 64), 0);
        if (sizes[i])
            CU_ASSERT(p[0] == 0 && p[sizes[i] - 1] == 0);
        rt_slab_free(p, sizes[i]);
    }
    CU_ASSERT_EQUAL(rt_alloc_live(), before);
}

static void reads_whole_files(void) {
    unsigned char content[10000], *data;
    size_t n;
    noise_bytes(content, sizeof content);
    const char *path = put_file("whole", content, sizeof content);
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_io_read_file(path, 10000, &data, &n, &e), 0);
    CU_ASSERT(n == 10000 && memcmp(data, content, n) == 0 && data[n] == 0);
    rt_free(data);
    CU_ASSERT_EQUAL(rt_io_read_file(path, 9999, &data, &n, &e), NETRT_ELIMIT);
    CU_ASSERT_PTR_NULL(data);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_read_file(in_dir("absent"), 1, &data, &n, &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "absent") && strstr(e.text, "No such file"));
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_read_file(files_root(), 100, &data, &n, &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "directory") != NULL);
    e = (rt_error){0}; /* an endless file without a size stops at the limit */
    CU_ASSERT_EQUAL(rt_io_read_file("/dev/zero", 100000, &data, &n, &e), NETRT_ELIMIT);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_read_file(put_file("empty", "", 0), 0, &data, &n, &e), 0);
    CU_ASSERT(n == 0 && data && data[0] == 0);
    rt_free(data);
}

static void pread_finds_the_end(void) {
    rt_error e = {0};
    int fd;
    int64_t size;
    char buf[8];
    const char *path = put_file("ten", "0123456789", 10);
    CU_ASSERT_EQUAL_FATAL(rt_io_open_read(path, &fd, &size, &e), 0);
    CU_ASSERT_EQUAL(size, 10);
    fault_arm(0, 0, 0); /* short reads */
    CU_ASSERT_EQUAL(rt_io_pread(fd, path, buf, 8, 2, &e), 0);
    CU_ASSERT(memcmp(buf, "23456789", 8) == 0);
    CU_ASSERT_EQUAL(rt_io_pread(fd, path, buf, 8, 3, &e), NETRT_EDATA);
    e = (rt_error){0};
    fault_arm(2, 0, EIO);
    CU_ASSERT_EQUAL(rt_io_pread(fd, path, buf, 8, 2, &e), NETRT_EIO);
    fault_arm(2, 0, EINTR); /* a signal is no failure */
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_pread(fd, path, buf, 8, 2, &e), 0);
    fault_disarm();
    rt_io_close(fd);
    CU_ASSERT_EQUAL(rt_io_open_read("/dev/zero", &fd, &size, &e), NETRT_EIO);
}

/* Every call of an atomic write fails once, and from there on for ever: either the write succeeds
 * and the new file is there, or it fails and the old one is; never a temporary file is left. */
static void atomic_write_survives_faults(void) {
    static unsigned char old[300], new[200000];
    noise_bytes(new, sizeof new);
    memset(old, 'o', sizeof old);
    make_dir("atomic");
    char path[600];
    strcpy(path, in_dir("atomic/file"));
    int errors[] = {ENOSPC, EIO, EDQUOT, EINTR};
    for (int k = 0; k < 8; k++) {
        int failures = 0;
        for (int nth = 1; nth < 200; nth++) {
            rt_error e = {0};
            put_file("atomic/file", old, sizeof old);
            fault_arm(nth, k & 1, errors[k / 2]);
            if (errors[k / 2] == EINTR && (k & 1)) { /* an endless signal storm is no test */
                fault_disarm();
                break;
            }
            int code = rt_io_write_file(path, new, sizeof new, &e);
            int calls = fault_calls;
            fault_disarm();
            long n;
            unsigned char *now = get_file(path, &n);
            int is_new = n == sizeof new &&memcmp(now, new, sizeof new) == 0;
            int is_old = n == sizeof old && memcmp(now, old, sizeof old) == 0;
            free(now);
            CU_ASSERT(is_new || is_old);
            CU_ASSERT(code != 0 || is_new);
            CU_ASSERT(code == 0 || (code == NETRT_EIO && strstr(e.text, "atomic") != NULL));
            CU_ASSERT_EQUAL(count_entries(in_dir("atomic")), 1);
            failures += code != 0;
            if (calls < nth)
                break;
        }
        CU_ASSERT(failures >= (errors[k / 2] == EINTR ? 0 : 10));
    }
}

static void full_disk_is_told(void) {
    rt_error e = {0};
    if (access("/dev/full", W_OK) != 0) {
        suite_skip("/dev/full is not here");
        return;
    }
    CU_ASSERT_EQUAL(rt_io_write_file("/dev/full", "abc", 3, &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "/dev/full") && strstr(e.text, "No space left"));
    struct stat st;
    CU_ASSERT(stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode)); /* not replaced by a file */
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_write_file("/dev/null", "abc", 3, &e), 0);
}

static void write_errors_name_the_path(void) {
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_io_write_file(in_dir("no/such/dir"), "x", 1, &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "no/such/dir") != NULL);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_write_file(make_dir("isdir"), "x", 1, &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "directory") != NULL);
}

static void links_stay_links(void) {
    rt_error e = {0};
    const char *target = put_file("target", "old", 3), *link = in_dir("link");
    CU_ASSERT_EQUAL(symlink("target", link), 0);
    CU_ASSERT_EQUAL(rt_io_write_file(link, "newer", 5, &e), 0);
    struct stat st;
    CU_ASSERT(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    CU_ASSERT(stat(target, &st) == 0 && st.st_size == 5);
}

static void makes_and_probes_folders(void) {
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_io_make_dirs(in_dir("a//b/c/"), &e), 0);
    CU_ASSERT_EQUAL(rt_io_make_dirs(in_dir("a/b/c"), &e), 0);
    CU_ASSERT_EQUAL(rt_io_probe_dir(in_dir("a/b/d"), &e), 0);
    CU_ASSERT_EQUAL(count_entries(in_dir("a/b/d")), 0);
    put_file("a/plain", "x", 1);
    CU_ASSERT_EQUAL(rt_io_probe_dir(in_dir("a/plain"), &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "a file has that name") != NULL);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_io_probe_dir("/proc/nothing/here", &e), NETRT_EIO);
    e = (rt_error){0};
    for (int nth = 1; nth <= 3; nth++) { /* open, write, fsync */
        e = (rt_error){0};
        fault_arm(nth, 0, ENOSPC);
        CU_ASSERT_EQUAL(rt_io_probe_dir(in_dir("a/b/d"), &e), NETRT_EIO);
        fault_disarm();
        CU_ASSERT_EQUAL(count_entries(in_dir("a/b/d")), 0);
    }
}

static void removes_stale_files(void) {
    make_dir("stale");
    pid_t dead = fork();
    if (dead == 0)
        _exit(0);
    waitpid(dead, NULL, 0);
    char name[100];
    snprintf(name, sizeof name, "stale/w.safetensors.tmp.%d.3", (int)dead);
    put_file(name, "x", 1);
    snprintf(name, sizeof name, "stale/own.tmp.%d.0", (int)getpid());
    put_file(name, "x", 1);
    snprintf(name, sizeof name, "stale/alive.tmp.%d.0", (int)getppid());
    put_file(name, "x", 1);
    put_file("stale/keep.tmp.12x.3", "x", 1);
    put_file("stale/keep.tmp.", "x", 1);
    put_file("stale/keep.tmp.999999.", "x", 1);
    CU_ASSERT_EQUAL(rt_io_remove_stale(in_dir("stale")), 2);
    CU_ASSERT_EQUAL(count_entries(in_dir("stale")), 4);
    CU_ASSERT_EQUAL(rt_io_remove_stale(in_dir("absent")), 0);
}

static void cleans_names(void) {
    char out[64], tiny[4];
    CU_ASSERT_STRING_EQUAL(rt_clean_name(out, sizeof out, "a\x1b[31m\n\x7f"), "a?[31m??");
    CU_ASSERT_STRING_EQUAL(rt_clean_name(out, sizeof out, "gr\xC3\xBC\xC3\x9F"),
                           "gr\xC3\xBC\xC3\x9F");
    CU_ASSERT_STRING_EQUAL(rt_clean_name(out, sizeof out, "\xC0\x80\xED\xA0\x80"), "?????");
    CU_ASSERT_STRING_EQUAL(rt_clean_name(out, sizeof out,
                                         "\xC2\x9B"
                                         "5n"),
                           "?5n");
    CU_ASSERT_STRING_EQUAL(rt_clean_name(tiny, sizeof tiny, "ab\xC3\xBC"), "ab");
}

SUITE_MAIN(TEST(first_error_wins), TEST(allocator_counts_and_limits), TEST(allocator_injects),
           TEST(slabs_are_aligned_and_zero), TEST(reads_whole_files), TEST(pread_finds_the_end),
           TEST(atomic_write_survives_faults), TEST(full_disk_is_told),
           TEST(write_errors_name_the_path), TEST(links_stay_links), TEST(makes_and_probes_folders),
           TEST(removes_stale_files), TEST(cleans_names))
