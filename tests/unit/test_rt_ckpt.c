/* test_rt_ckpt.c: checkpoints: round trip, refusal of strangers, every flipped byte in a sample of
 * places, and disks that fail at any call. */
#include "rt_program.h"

#include "rt_ckpt.h"

static const char *sample(const char *name, rt_run_state *s) {
    netrt *m = NULL;
    rt_error err = {0};
    static char path[600];
    snprintf(path, sizeof path, "%s", in_dir(name));
    netrt_open(&toy_model, NULL, &m, &err);
    rt_program_ready(m, RT_TRAIN, 4, &err);
    *s = (rt_run_state){.step = 12,
                        .epoch = 1,
                        .position = 64,
                        .samples = 1000,
                        .batch = 32,
                        .seed = UINT64_C(18446744073709551615),
                        .lr = 0.1,
                        .momentum = 0.9,
                        .decay = 1e-4,
                        .best_error = 1.0 / 3,
                        .plateau = {0.1, 1e300 * 1e300, 2},
                        .row = {1.0 / 7, 3, 2},
                        .log_size = {100, 200}};
    float v[10] = {1, 2, 3};
    rt_state_write(m, 1, 0, v);
    CU_ASSERT_EQUAL(rt_ckpt_save(m, path, s, &err), 0);
    netrt_close(m);
    return path;
}

static void round_trip(void) {
    rt_run_state s, r;
    netrt *m = NULL;
    rt_error err = {0};
    float v[10];
    const char *path = sample("c.st", &s);
    memset(&r, 0, sizeof r);
    netrt_open(&toy_model, NULL, &m, &err);
    rt_program_ready(m, RT_TRAIN, 4, &err);
    CU_ASSERT_EQUAL(rt_ckpt_load(m, path, &r, &err), 0);
    CU_ASSERT_EQUAL(memcmp(&s, &r, sizeof s), 0);
    rt_state_read(m, 1, 0, v);
    CU_ASSERT_EQUAL(v[2], 3);
    /* A checkpoint serves as weights; weights are no checkpoint. */
    CU_ASSERT_EQUAL(netrt_load(m, path, 0, &err), 0);
    CU_ASSERT_EQUAL(netrt_save(m, in_dir("w.st"), &err), 0);
    CU_ASSERT_EQUAL(rt_ckpt_load(m, in_dir("w.st"), &r, &err), NETRT_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "--weights"));
    netrt_close(m);
    rt_model other = toy_model;
    rt_error e = {0};
    other.spec_hash = "ffffffffffffffffffffffffffffffff";
    netrt_open(&other, NULL, &m, &e);
    rt_program_ready(m, RT_TRAIN, 4, &e);
    CU_ASSERT_EQUAL(rt_ckpt_load(m, path, &r, &e), NETRT_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "ffffffff"));
    netrt_close(m);
}

static void damage(void) {
    rt_run_state s;
    long n;
    const char *path = sample("good.st", &s);
    unsigned char *data = get_file(path, &n);
    netrt *m = NULL;
    rt_error err = {0};
    int accepted = 0;
    netrt_open(&toy_model, NULL, &m, &err);
    rt_program_ready(m, RT_TRAIN, 4, &err);
    for (long i = 0; i < n; i += 1 + n / 300) {
        rt_error e = {0};
        data[i] ^= 0x10;
        put_file("bad.st", data, (size_t)n);
        data[i] ^= 0x10;
        accepted += rt_ckpt_load(m, in_dir("bad.st"), &s, &e) != NETRT_EDATA;
        rt_error t = {0};
        put_file("short.st", data, (size_t)i);
        accepted += rt_ckpt_load(m, in_dir("short.st"), &s, &t) != NETRT_EDATA;
    }
    CU_ASSERT_EQUAL(accepted, 0);
    netrt_close(m);
    free(data);
}

/* Writes to files whose name begins like the one of a checkpoint fail from some moment on. */
static int full_after, opened;
static int full_fd = -1;
static int full_open(const char *path, int flags, mode_t mode) {
    int fd = rt_io_system.open(path, flags, mode);
    if (strstr(path, "checkpoint.safetensors") && (flags & O_ACCMODE) != O_RDONLY &&
        ++opened > full_after)
        full_fd = fd;
    return fd;
}
static ssize_t full_write(int fd, const void *p, size_t n) {
    if (fd == full_fd) {
        errno = ENOSPC;
        return -1;
    }
    return rt_io_system.write(fd, p, n);
}
static int full_close(int fd) {
    if (fd == full_fd)
        full_fd = -1;
    return rt_io_system.close(fd);
}

static void disk_full(void) {
    CU_ASSERT_EQUAL(program("train", out_option("sound"), "-q", NULL), 0);
    /* Checkpoints after epoch 1 and 2 and at the end: the second fails, the run goes on. */
    rt_io.open = full_open;
    rt_io.write = full_write;
    rt_io.close = full_close;
    full_after = 1;
    opened = 0;
    int code = program("train", out_option("full"), NULL);
    rt_io = rt_io_system;
    CU_ASSERT_EQUAL(code, NETRT_EIO); /* the last one failed too */
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "warning: checkpoint at step 64 not written"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "Kept step 32"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "epoch 3/3"));
    /* The kept one is whole: the same command with --resume ends where the sound run ended. */
    CU_ASSERT_EQUAL(program("train", out_option("full"), "--resume", NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "at step 32"));
    CU_ASSERT(same_file(in_dir("sound/last.safetensors"), in_dir("full/last.safetensors")));
}

#define SMALL "--data=digits:100"

/* Like fault_write, but whole: the probe of the output folder takes a short write for a full disk.
 */
static ssize_t whole_write(int fd, const void *p, size_t n) {
    return fault_now() ? -1 : rt_io_system.write(fd, p, n);
}

static void arm(int nth, int code) {
    fault_arm(nth, 0, code);
    rt_io.write = whole_write;
}

/* Every I/O call in turn fails once: a clean exit code, and what is left can be resumed. */
static void every_call(void) {
    arm(0, EIO);
    CU_ASSERT_EQUAL(program("train", out_option("count"), "--epochs=2", "-q", "-t1", SMALL, NULL),
                    0);
    int calls = fault_calls, unclean = 0, lost = 0, differ = 0;
    fault_disarm();
    CU_ASSERT(calls > 50);
    for (int nth = 1; nth <= calls; nth += 1 + calls / 80) {
        char name[32];
        snprintf(name, sizeof name, "f%d", nth);
        char *out = strdup(out_option(name));
        arm(nth, nth % 2 ? ENOSPC : EIO);
        int code = program("train", out, "--epochs=2", "-q", "-t1", SMALL, NULL);
        fault_disarm();
        unclean += code != 0 && code != NETRT_EIO;
        code = program("train", out, "--epochs=2", "-q", "-t1", SMALL, "--resume", NULL);
        lost += code != 0;
        char path[64];
        snprintf(path, sizeof path, "%s/last.safetensors", name);
        differ += !same_file(in_dir("count/last.safetensors"), in_dir(path));
        free(out);
    }
    CU_ASSERT_EQUAL(unclean, 0);
    CU_ASSERT_EQUAL(lost, 0);
    CU_ASSERT_EQUAL(differ, 0);
}

/* The same for memory. */
static void every_allocation(void) {
    int unclean = 0;
    for (int nth = 1; nth < 400; nth += nth < 60 ? 1 : 13) {
        rt_alloc_inject(nth, nth % 2);
        int code = program("train", out_option("mem"), "--epochs=1", "-q", "-t1", SMALL, NULL);
        rt_alloc_inject(0, 0);
        unclean += code != 0 && code != NETRT_ELIMIT;
    }
    CU_ASSERT_EQUAL(unclean, 0);
}

SUITE_MAIN(TEST(round_trip), TEST(damage), TEST(disk_full), TEST(every_call),
           TEST(every_allocation))
