/* test_rt_model.c: opening, inference, strict weights, steps without allocation, ranks, schedules,
 * command lines, thread limits. */
#include "rt_program.h"

#include <errno.h>

#include "rt_alloc.h"
#include "rt_args.h"
#include "rt_data.h"
#include "rt_feed.h"
#include "rt_io.h"
#include "rt_model.h"
#include "rt_par.h"
#include "rt_safetensors.h"
#include "rt_schedule.h"
#include "rt_svg.h"

static netrt *open_toy(int threads, int64_t batch) {
    netrt *m = NULL;
    rt_error err = {0};
    netrt_options o = {threads, batch, 3};
    CU_ASSERT_EQUAL_FATAL(netrt_open(&toy_model, &o, &m, &err), 0);
    return m;
}

static void pictures(float *x, int64_t n) {
    uint32_t s = 7;
    for (int64_t i = 0; i < n * TOY_PIXELS; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(s >> 24) / 255.0f;
    }
}

static void refusals(void) {
    netrt *m = (netrt *)&toy_model;
    rt_error err = {0};
    rt_model other = toy_model;
    other.abi = 99;
    CU_ASSERT_EQUAL(netrt_open(&other, NULL, &m, &err), NETRT_EUSAGE);
    CU_ASSERT_PTR_NULL(m);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "99"));
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx512bw")) {
        other = toy_model;
        other.cpu_needs = "sse3,avx512bw";
        rt_error e = {0};
        CU_ASSERT_EQUAL(netrt_open(&other, NULL, &m, &e), NETRT_EUSAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "avx512bw"));
    }
#endif
    rt_param bad[2] = {toy_param[0], toy_param[1]};
    bad[1].layout.axis[0].extent = 1 << 20;
    other = toy_model;
    other.param = bad;
    rt_error e = {0};
    CU_ASSERT_EQUAL(netrt_open(&other, NULL, &m, &e), NETRT_EBUG);
    rt_error huge = {0};
    m = open_toy(1, INT64_C(1) << 61);
    CU_ASSERT_EQUAL(rt_program_ready(m, RT_FORWARD, 0, &huge), NETRT_ELIMIT);
    rt_error none = {0};
    CU_ASSERT_EQUAL(netrt_run(m, RT_LOOK, "record", -1, 1, &none), NETRT_EUSAGE);
    netrt_close(m);
    netrt_close(NULL);
}

/* Scores do not depend on batch splitting or threads, and equal a naive product. */
static void forward(void) {
    enum { N = 37 };
    static float x[N * TOY_PIXELS], s[3][N * TOY_CLASSES], p[N * TOY_CLASSES];
    rt_error err = {0};
    pictures(x, N);
    const int threads[3] = {1, 2, 5};
    const int64_t batch[3] = {64, 1, 8};
    for (int k = 0; k < 3; k++) {
        netrt *m = open_toy(threads[k], batch[k]);
        CU_ASSERT_EQUAL(netrt_forward(m, x, N, s[k], p, &err), 0);
        if (k == 0) {
            static float w[TOY_CLASSES * TOY_PIXELS];
            rt_param_read(m, 0, w);
            for (int c = 0; c < TOY_CLASSES; c++) {
                double sum = 0;
                for (int i = 0; i < TOY_PIXELS; i++)
                    sum += (double)x[5 * TOY_PIXELS + i] * (double)w[c * TOY_PIXELS + i];
                CU_ASSERT_DOUBLE_EQUAL(sum, (double)s[0][5 * TOY_CLASSES + c], 1e-5);
            }
        }
        netrt_close(m);
    }
    CU_ASSERT_EQUAL(memcmp(s[0], s[1], sizeof s[0]), 0);
    CU_ASSERT_EQUAL(memcmp(s[0], s[2], sizeof s[0]), 0);
    float sum = 0;
    for (int c = 0; c < TOY_CLASSES; c++)
        sum += p[c];
    CU_ASSERT_DOUBLE_EQUAL((double)sum, 1, 1e-5);
}

/* Initial numbers belong to logical elements: another blocking gives the same ones. */
static void init_ignores_layout(void) {
    static float a[7840], b[7840];
    rt_param other[2] = {toy_param[0], toy_param[1]};
    rt_model model = toy_model;
    other[0].layout = (rt_layout){2, 2, {10, 784}, {{0, 0, 10, 1, 0}, {1, 0, 784, 1, 0}}};
    model.param = other;
    netrt *m = open_toy(1, 1), *q = NULL;
    netrt_options o = {1, 1, 3};
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, &o, &q, NULL), 0);
    rt_param_read(m, 0, a);
    rt_param_read(q, 0, b);
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    CU_ASSERT(a[0] != a[1] && a[0] >= -0.02f && a[0] < 0.02f);
    rt_init_params(q, 4, NULL);
    rt_param_read(q, 0, b);
    CU_ASSERT(memcmp(a, b, sizeof a) != 0);
    netrt_close(m);
    netrt_close(q);
}

static void weights_round_trip(void) {
    static float a[7840], b[7840];
    netrt *m = open_toy(1, 1), *q = open_toy(2, 1);
    rt_error err = {0};
    const char *path = in_dir("w.safetensors");
    char *names[10], text[10][16], number[24];
    for (int i = 0; i < 10; i++) {
        snprintf(text[i], sizeof text[i], "n%d", i);
        names[i] = text[i];
    }
    rt_init_params(q, 99, &err);
    rt_set_class_names(m, names, 10);
    CU_ASSERT_EQUAL(netrt_save(m, path, &err), 0);
    CU_ASSERT_EQUAL(netrt_load(q, path, 0, &err), 0);
    rt_param_read(m, 0, a);
    rt_param_read(q, 0, b);
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    CU_ASSERT_STRING_EQUAL(netrt_class_name(q, 9, number), "n9");
    netrt_close(m);
    netrt_close(q);
}

static const char *write_tensors(const char *name, int64_t rows, int with_bias, int extra) {
    static float zero[12 * 784];
    const char *path = in_dir(name);
    st_writer *w;
    rt_error err = {0};
    const int64_t dims[2] = {rows, 784}, ten[1] = {10}, one[1] = {1};
    st_writer_begin(&w, &err);
    for (int i = 0; i < 12 * 784; i++)
        zero[i] = 0.5f;
    st_writer_add(w, "fc.weight", ST_F32, 2, dims, zero, &err);
    if (with_bias)
        st_writer_add(w, "fc.bias", ST_F32, 1, ten, zero, &err);
    if (extra)
        st_writer_add(w, "other", ST_F32, 1, one, zero, &err);
    CU_ASSERT_EQUAL(st_writer_finish(w, path, &err), 0);
    return path;
}

static void weights_strict(void) {
    static float before[7840], after[7840];
    netrt *m = open_toy(1, 1);
    rt_param_read(m, 0, before);
    const char *wrong[] = {write_tensors("a.st", 12, 1, 0), write_tensors("b.st", 10, 0, 0),
                           write_tensors("c.st", 10, 1, 1), in_dir("missing.st")};
    const char *say[] = {"12x784", "1 missing", "1 unused", "missing.st"};
    for (int i = 0; i < 4; i++) {
        rt_error err = {0};
        CU_ASSERT_EQUAL(netrt_load(m, wrong[i], 0, &err), i < 3 ? NETRT_EDATA : NETRT_EIO);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, say[i]));
        rt_param_read(m, 0, after);
        CU_ASSERT_EQUAL(memcmp(before, after, sizeof before), 0);
    }
    rt_error err = {0};
    CU_ASSERT_EQUAL(netrt_load(m, wrong[1], NETRT_LOAD_PARTIAL, &err), 0);
    rt_param_read(m, 0, after);
    CU_ASSERT_EQUAL(after[0], 0.5f);
    /* A failure in the middle of reading: memory for one tensor is refused. */
    rt_param_write(m, 0, before);
    int64_t start = rt_alloc_calls();
    netrt_load(m, write_tensors("d.st", 10, 1, 0), 0, &err);
    int64_t calls = rt_alloc_calls() - start;
    rt_param_write(m, 0, before);
    for (int64_t nth = 1; nth <= calls; nth++) {
        rt_error e = {0};
        rt_alloc_inject(nth, 0);
        int code = netrt_load(m, in_dir("d.st"), 0, &e);
        rt_alloc_inject(0, 0);
        rt_param_read(m, 0, after);
        CU_ASSERT(code == NETRT_ELIMIT ? memcmp(before, after, sizeof before) == 0 : code == 0);
        rt_param_write(m, 0, before);
    }
    netrt_close(m);
}

static int good_reads;

static ssize_t failing_pread(int fd, void *buf, size_t n, off_t at) {
    if (good_reads-- > 0)
        return rt_io_system.pread(fd, buf, n, at);
    errno = EIO;
    return -1;
}

/* Initial weights are overwritten in place and made again when reading fails half way; nothing as
 * large as the weights is allocated. */
static void weights_in_place(void) {
    static float before[7840], after[7840];
    netrt *m = open_toy(1, 1);
    const char *path = write_tensors("e.st", 10, 1, 0);
    size_t live = rt_alloc_live();
    int code = NETRT_EIO;
    rt_param_read(m, 0, before);
    for (int reads = 0; code != 0 && reads < 100; reads++) {
        rt_error e = {0};
        good_reads = reads;
        rt_io.pread = failing_pread;
        code = netrt_load(m, path, 0, &e);
        rt_io = rt_io_system;
        rt_param_read(m, 0, after);
        CU_ASSERT(code == NETRT_EIO ? memcmp(before, after, sizeof before) == 0
                                    : code == 0 && after[0] == 0.5f);
    }
    CU_ASSERT_EQUAL(code, 0);
    CU_ASSERT_EQUAL(rt_alloc_live(), live);
    netrt_close(m);
}

static void steps(void) {
    enum { N = 16 };
    static float x[N * TOY_PIXELS], a[7840], b[7840];
    int32_t label[N];
    rt_error err = {0};
    double first = 0, last = 0;
    pictures(x, N);
    for (int i = 0; i < N; i++)
        label[i] = i % 10;
    netrt *m = open_toy(1, N), *q = open_toy(2, N);
    CU_ASSERT_EQUAL(netrt_step(m, x, label, N, &first, &err), 0);
    netrt_step(q, x, label, N, NULL, &err);
    int64_t calls = rt_alloc_calls();
    for (int k = 0; k < 30; k++) {
        netrt_step(m, x, label, N - k % 3, &last, &err);
        netrt_step(q, x, label, N - k % 3, NULL, &err);
    }
    CU_ASSERT_EQUAL(rt_alloc_calls(), calls); /* a steady step allocates nothing */
    CU_ASSERT(last < first);
    CU_ASSERT_EQUAL(err.code, 0);
    rt_param_read(m, 0, a);
    rt_param_read(q, 0, b);
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    label[0] = 10;
    CU_ASSERT_EQUAL(netrt_step(m, x, label, N, NULL, &err), NETRT_EDATA);
    netrt_close(m);
    netrt_close(q);
}

/* Forward and training share a slab: growing it for one must not leave the other too little. */
static void shared_slab(void) {
    static float x[4 * TOY_PIXELS];
    int32_t label[4] = {1, 2, 3, 4};
    rt_model model = toy_model;
    netrt *m = NULL;
    rt_error err = {0};
    netrt_options o = {1, 4, 0};
    model.program[RT_TRAIN].act_bytes = 3 * TOY_ACT;
    pictures(x, 4);
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, &o, &m, &err), 0);
    CU_ASSERT_EQUAL(netrt_step(m, x, label, 4, NULL, &err), 0);
    CU_ASSERT_EQUAL(rt_program_ready(m, RT_FORWARD, 11, &err), 0);
    CU_ASSERT_EQUAL(netrt_step(m, x, label, 4, NULL, &err), 0);
    CU_ASSERT(m->act_cap[0] == 11 && m->act_size[0] >= 11 * 3 * TOY_ACT);
    netrt_close(m);
}

static void not_finite(void) {
    static float x[TOY_PIXELS];
    int32_t label[1] = {0};
    rt_error err = {0};
    netrt *m = open_toy(1, 1);
    pictures(x, 1);
    x[3] = NAN;
    CU_ASSERT_EQUAL(netrt_step(m, x, label, 1, NULL, &err), NETRT_EDIVERGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "image")); /* the first place it appears */
    CU_ASSERT_FALSE(rt_params_finite(m, 0, TOY_PARAM_BYTES / 4));
    netrt_close(m);
}

/* max_rms: filters beyond the radius come back to it, others keep their bits. */
static void constraint(void) {
    static float x[TOY_PIXELS], a[7840];
    int32_t label[1] = {4};
    rt_param limited[2] = {toy_param[0], toy_param[1]};
    rt_model model = toy_model;
    netrt *m = NULL;
    limited[0].max_rms = 0.05;
    model.param = limited;
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, NULL, &m, NULL), 0);
    pictures(x, 1);
    netrt_set_sgd(m, 50, 0, 0);
    CU_ASSERT_EQUAL(netrt_step(m, x, label, 1, NULL, NULL), 0);
    rt_param_read(m, 0, a);
    double most = 0;
    for (int c = 0; c < 10; c++) {
        double sum = 0;
        for (int i = 0; i < 784; i++)
            sum += (double)a[c * 784 + i] * (double)a[c * 784 + i];
        most = sqrt(sum / 784) > most ? sqrt(sum / 784) : most;
    }
    CU_ASSERT_DOUBLE_EQUAL(most, 0.05, 1e-6);
    netrt_close(m);
}

static void ranks(void) {
    rt_model m = toy_model;
    const float s[10] = {1, 5, 5, NAN, -2, 9, 0, 0, 0, 0};
    int64_t top[4];
    CU_ASSERT_EQUAL(rt_best(&m, s), 5);
    CU_ASSERT_EQUAL(rt_rank(&m, s, 5), 0);
    CU_ASSERT_EQUAL(rt_rank(&m, s, 1), 2); /* a tie counts against it */
    CU_ASSERT_EQUAL(rt_rank(&m, s, 3), 9);
    rt_top(&m, s, 4, top);
    CU_ASSERT(top[0] == 5 && top[1] == 1 && top[2] == 2 && top[3] == 0);
    m.smallest_wins = 1;
    CU_ASSERT_EQUAL(rt_best(&m, s), 4);
    rt_top(&m, s, 2, top);
    CU_ASSERT(top[0] == 4 && top[1] == 6);
}

/* Figures by the formulas, in C's own functions. */
static void falling_schedules(void) {
    rt_plateau p;
    rt_plateau_start(&p);
    rt_schedule s = {.kind = RT_SCHEDULE_COSINE, .factor = 0.1};
    for (int i = 0; i <= 40; i++) {
        double at = i / 4.0, want = 0.1 + 0.9 * (1 + cos(acos(-1) * at / 10)) / 2;
        CU_ASSERT_DOUBLE_EQUAL(rt_schedule_rate(&s, 1, 1, at, 10, &p), want, 1e-15);
    }
    CU_ASSERT_EQUAL(rt_schedule_rate(&s, 1, 1, 12, 10, &p), 0.1);
    s = (rt_schedule){.kind = RT_SCHEDULE_POLY, .every = 8};
    for (int k = 0; k < 4; k++) {
        static const double power[] = {1, 0.9, 2, 3.7};
        s.power = power[k];
        for (int i = 0; i <= 32; i++)
            CU_ASSERT_DOUBLE_EQUAL(rt_schedule_rate(&s, 0.5, 1, i / 4.0, 10, &p),
                                   0.5 * pow(1 - i / 32.0, power[k]), 1e-14);
    }
    s = (rt_schedule){.kind = RT_SCHEDULE_STEP, .every = 1, .factor = 0.5, .warmup = 2,
                      .warmup_from = 0.25};
    CU_ASSERT_EQUAL(rt_schedule_rate(&s, 1, 1, 0, 10, &p), 0.25);
    CU_ASSERT_EQUAL(rt_schedule_rate(&s, 1, 1, 1, 10, &p), 0.5 * 0.625);
    CU_ASSERT_EQUAL(rt_schedule_rate(&s, 1, 1, 2.5, 10, &p), 0.25);
}

static void schedules(void) {
    rt_plateau p;
    rt_schedule s = {.kind = RT_SCHEDULE_STEP, .every = 10, .factor = 0.5};
    rt_plateau_start(&p);
    CU_ASSERT_EQUAL(rt_schedule_lr(&s, 0.1, 0.1, 9, &p), 0.1);
    CU_ASSERT_EQUAL(rt_schedule_lr(&s, 0.1, 0.1, 20, &p), 0.025);
    s = (rt_schedule){.kind = RT_SCHEDULE_TABLE, .ntable = 2, .table = {{2, 0.5}, {3, 0.25}}};
    CU_ASSERT_EQUAL(rt_schedule_lr(&s, 0.5, 0.5, 1, &p), 0.5);
    CU_ASSERT_EQUAL(rt_schedule_lr(&s, 0.5, 0.5, 2, &p), 0.25);
    CU_ASSERT_EQUAL(rt_schedule_lr(&s, 0.5, 0.5, 99, &p), 0.25);
    CU_ASSERT_EQUAL(rt_schedule_lr(&s, 1.0, 0.5, 0, &p), 1.0);
    s = (rt_schedule){.kind = RT_SCHEDULE_PLATEAU, .every = 2, .factor = 0.1};
    CU_ASSERT_EQUAL(rt_plateau_epoch(&p, &s, 0.5), 0);
    CU_ASSERT_EQUAL(rt_plateau_epoch(&p, &s, 0.5), 0);
    CU_ASSERT_EQUAL(rt_plateau_epoch(&p, &s, 0.4), 0); /* better: counting starts again */
    CU_ASSERT_EQUAL(rt_plateau_epoch(&p, &s, 0.4), 0);
    CU_ASSERT_EQUAL(rt_plateau_epoch(&p, &s, 0.6), 1);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_lr(&s, 1, 1, 5, &p), 0.1, 1e-15);
}

static void threads(void) {
    CU_ASSERT_EQUAL(rt_cgroup_cpus("max 100000\n"), 0);
    CU_ASSERT_EQUAL(rt_cgroup_cpus("200000 100000\n"), 2);
    CU_ASSERT_EQUAL(rt_cgroup_cpus("150000 100000\n"), 2);
    CU_ASSERT_EQUAL(rt_cgroup_cpus("1000 100000\n"), 1);
    CU_ASSERT_EQUAL(rt_cgroup_cpus("-1\n"), 0);
    CU_ASSERT_EQUAL(rt_cgroup_cpus(""), 0);
    CU_ASSERT(rt_default_threads() >= 1);
}

static void options(void) {
    int flag = 0, choice = -1, help = 0, n = 0;
    int64_t whole = 0;
    double real = 0;
    const char *text = NULL, *maybe = NULL, *operand[16];
    const rt_arg table[] = {{"flag", 'f', RT_ARG_FLAG, NULL, &flag, 0, 0, ""},
                            {"whole", 'w', RT_ARG_INT, "N", &whole, 1, 9000, ""},
                            {"real", 0, RT_ARG_REAL, "X", &real, 0, 1, ""},
                            {"text", 't', RT_ARG_TEXT, "T", &text, 0, 0, ""},
                            {"maybe", 0, RT_ARG_MAYBE, "F", &maybe, 0, 0, ""},
                            {"choice", 0, RT_ARG_CHOICE, "one|two", &choice, 0, 0, ""}};
    char *good[] = {"a",       "-fw3", "--real",       "1e-3", "--text=x=y",
                    "--maybe", "-",    "--choice=two", "--",   "--flag"};
    rt_error err = {0};
    CU_ASSERT_EQUAL(rt_args_parse(table, 6, 10, good, operand, &n, &help, &err), 0);
    CU_ASSERT(flag == 1 && whole == 3 && real == 1e-3 && choice == 1 && n == 3 && !help);
    CU_ASSERT_STRING_EQUAL(text, "x=y");
    CU_ASSERT_STRING_EQUAL(maybe, "");
    CU_ASSERT_STRING_EQUAL(operand[1], "-");
    CU_ASSERT_STRING_EQUAL(operand[2], "--flag");
    char *bad[] = {"--whole=x",  "--whole=0",      "--whole", "--flag=1",    "--real=-1",
                   "--real=nan", "--choice=three", "-z",      "--chioce=one"};
    const char *say[] = {"whole number", "1 to 9000",    "needs a value",
                         "no value",     "non-negative", "number",
                         "one|two",      "-z",           "did you mean --choice"};
    for (int i = 0; i < 9; i++) {
        rt_error e = {0};
        CU_ASSERT_EQUAL(rt_args_parse(table, 6, 1, &bad[i], operand, &n, &help, &e), NETRT_EUSAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, say[i]));
    }
    const char *const words[] = {"train", "eval", "h"};
    CU_ASSERT_STRING_EQUAL(rt_nearest("trian", words, 3), "train");
    CU_ASSERT_PTR_NULL(rt_nearest("zzzzz", words, 3));
    CU_ASSERT_PTR_NULL(rt_nearest("g", words, 3));
}

/* A cached sample has the bits of a fresh one; another epoch mirrors other samples. */
static void feeding(void) {
    rt_dataset *ds = NULL;
    rt_feed fresh, cached;
    rt_error err = {0};
    rt_input_spec input = toy_input[0];
    rt_model model = toy_model;
    netrt *m = NULL;
    int64_t want[20];
    input.flip = 1;
    input.mean[0] = 0.13f;
    input.std[0] = 0.31f;
    model.input = &input;
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, NULL, &m, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_data_open("digits:40", "train", &ds, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_feed_open(&fresh, m, ds, 20, 0, 1, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_feed_open(&cached, m, ds, 20, 1 << 20, 1, &err), 0);
    CU_ASSERT_PTR_NOT_NULL(cached.cache[0]);
    int differ = 0;
    for (int epoch = 0; epoch < 3; epoch++) {
        for (int i = 0; i < 20; i++)
            want[i] = (i * 7 + 1) % 20;
        CU_ASSERT_EQUAL(rt_feed_load(&fresh, want, 20, epoch, NULL, NULL), 20);
        CU_ASSERT_EQUAL(rt_feed_load(&cached, want, 20, epoch, NULL, NULL), 20);
        differ |= memcmp(fresh.input[0], cached.input[0], 20 * TOY_PIXELS * 4);
        differ |= memcmp(fresh.label, cached.label, 20 * 4);
    }
    CU_ASSERT_EQUAL(differ, 0);
    CU_ASSERT_EQUAL(cached.status[3], 1);
    int64_t calls = rt_alloc_calls();
    rt_feed_load(&cached, want, 20, 5, NULL, NULL);
    CU_ASSERT_EQUAL(rt_alloc_calls(), calls);
    rt_feed_close(&fresh);
    rt_feed_close(&cached);
    rt_data_close(ds);
    netrt_close(m);
}

static void ticks(void) {
    double t[16];
    int n = rt_svg_ticks(0, 0.73, 7, t);
    CU_ASSERT(n >= 3 && t[0] == 0 && t[n - 1] <= 0.73);
    CU_ASSERT_EQUAL(rt_svg_ticks(1, 1, 7, t), 1);
    n = rt_svg_ticks(-3, 1e6, 9, t);
    CU_ASSERT(n >= 3 && n <= 9);
}

SUITE_MAIN(TEST(refusals), TEST(forward), TEST(init_ignores_layout), TEST(weights_round_trip),
           TEST(weights_strict), TEST(weights_in_place), TEST(steps), TEST(shared_slab), TEST(not_finite), TEST(constraint),
           TEST(ranks), TEST(schedules), TEST(falling_schedules), TEST(threads), TEST(options), TEST(feeding), TEST(ticks))
