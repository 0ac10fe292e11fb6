/* test_rt_data_real.c: sources of real numbers and of lists: npy, npz, CSV, .ts, WAV, letters; what
 * is wrong with a row is said once, and no damaged file does more than fail. */
#include "rt_sources.h"

#include <math.h>
#include <zlib.h>

static const char *put_text(const char *name, const char *text) {
    return put_file(name, text, strlen(text));
}

/* Value k of sample i; NAN and the text in why when the sample is bad. */
static char why[1024];
static float value(const rt_dataset *ds, int64_t i, int c, int h, int w, int k) {
    static float v[1 << 16];
    rt_error e = {0};
    why[0] = 0;
    if (rt_data_values(ds, i, c, h, w, v, &e) == 0)
        return v[k];
    CU_ASSERT_EQUAL(e.code, NETRT_EDATA);
    strcpy(why, e.text);
    return NAN;
}

/* ---- npy ---- */

static size_t make_npy(unsigned char *p, const char *descr, const char *shape, const void *data,
                       size_t bytes) {
    char head[128];
    int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                     descr, shape);
    while ((10 + n + 1) % 64)
        head[n++] = ' ';
    head[n++] = '\n';
    memcpy(p, "\x93NUMPY\1\0", 8);
    p[8] = (unsigned char)n;
    p[9] = 0;
    memcpy(p + 10, head, (size_t)n);
    memcpy(p + 10 + n, data, bytes);
    return 10 + (size_t)n + bytes;
}

/* Clips [N, C, D, H, W]: the frames of a map stand below each other. */
static void npy_clips(void) {
    unsigned char b[2000];
    float x[24];
    rt_error e = {0};
    for (int i = 0; i < 24; i++)
        x[i] = (float)i;
    rt_dataset *ds = open_ok(put_file("c.npy", b, make_npy(b, "<f4", "2, 2, 3, 1, 2", x, sizeof x)), "any");
    CU_ASSERT_EQUAL(rt_data_fit(ds, 2, 3, 2, NULL, &e), 0);
    CU_ASSERT_EQUAL(rt_data_fit(ds, 2, 3, 3, NULL, &e), NETRT_EDATA);
    CU_ASSERT_EQUAL(value(ds, 1, 2, 3, 2, 7), 19);
    rt_data_close(ds);
    refuses(put_file("d.npy", b, make_npy(b, "<f4", "2, 1, 2, 1, 2, 3", x, sizeof x)), "any",
            NETRT_EDATA, "axes");
}

static void npy_arrays(void) {
    unsigned char b[2000];
    float x[2 * 3 * 4];
    int64_t y[3] = {2, 0, 1};
    for (int i = 0; i < 24; i++)
        x[i] = (float)i / 2;
    make_dir("n");
    put_file("n/x_train.npy", b, make_npy(b, "<f4", "3, 2, 4", x, sizeof x));
    put_file("n/y_train.npy", b, make_npy(b, "<i8", "3,", y, sizeof y));
    rt_dataset *ds = open_ok(in_dir("n"), "train");
    rt_error e = {0};
    CU_ASSERT(rt_data_real(ds) && rt_data_count(ds) == 3 && rt_data_classes(ds) == 3);
    CU_ASSERT(rt_data_label(ds, 0) == 2 && rt_data_label(ds, 2) == 1);
    CU_ASSERT_EQUAL(rt_data_fit(ds, 1, 2, 4, NULL, &e), 0);
    CU_ASSERT_EQUAL(rt_data_fit(ds, 2, 1, 4, NULL, &e), 0); /* the same numbers */
    CU_ASSERT_EQUAL(rt_data_fit(ds, 1, 2, 5, NULL, &e), NETRT_EDATA);
    CU_ASSERT(strstr(e.text, "f32[1, 2, 4]") != NULL);
    CU_ASSERT_EQUAL(value(ds, 1, 2, 1, 4, 5), 6.5f);
    rt_image img = {0};
    e.code = 0;
    CU_ASSERT_EQUAL(rt_data_item(ds, 1, &img, &e), 0);
    CU_ASSERT(img.width == 4 && img.height == 2 && img.data[0] == 0 && img.data[7] == 255);
    rt_image_free(&img);
    rt_data_close(ds);
    refuses(in_dir("n"), "test", NETRT_EDATA, "no separate test part");
    unsigned char px[2 * 2 * 2 * 3];
    for (size_t i = 0; i < sizeof px; i++)
        px[i] = (unsigned char)i;
    ds = open_ok(put_file("p.npy", b, make_npy(b, "|u1", "2, 2, 2, 3", px, sizeof px)), "any");
    CU_ASSERT(!rt_data_real(ds) && rt_data_count(ds) == 2 && rt_data_label(ds, 0) == -1);
    CU_ASSERT_EQUAL(rt_data_item(ds, 1, &img, &e), 0);
    CU_ASSERT(img.channels == 3 && img.data[4] == 16);
    rt_data_close(ds);
    ds = open_ok(put_file("q.npy", b, make_npy(b, "|u1", "2, 3, 2, 2", px, sizeof px)), "any");
    CU_ASSERT_EQUAL(rt_data_item(ds, 1, &img, &e), 0);
    CU_ASSERT(img.channels == 3 && img.data[4] == 12 + 5); /* pixel 1, plane 1 */
    rt_image_free(&img);
    rt_data_close(ds);
    unsigned char big[8] = {0x3f, 0x80, 0, 0, 0xbf, 0x80, 0, 0};
    ds = open_ok(put_file("b.npy", b, make_npy(b, ">f4", "1, 2", big, 8)), "any");
    CU_ASSERT(value(ds, 0, 1, 1, 2, 0) == 1 && value(ds, 0, 1, 1, 2, 1) == -1);
    rt_data_close(ds);
    refuses(put_file("f.npy", b, make_npy(b, "<f2", "1, 2", big, 8)), "any", NETRT_EDATA,
            "float32");
    refuses(put_file("f.npy", b, make_npy(b, "<f4", "9, 2", big, 8)), "any", NETRT_EDATA,
            "truncated");
    refuses(put_file("f.npy", b, make_npy(b, "<f4", "4611686018427387904, 8", big, 8)), "any",
            NETRT_EDATA, "shape");
    refuses(put_file("f.npy", b, make_npy(b, "<f4", "0, 2", big, 8)), "any", NETRT_EDATA,
            "no samples");
}

/* ---- npz ---- */

static void le_bytes(unsigned char *p, uint32_t v, int n) {
    for (int i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

/* One archive of up to four members; returns its size. */
static size_t make_npz(unsigned char *z, int n, const char *const *name, unsigned char (*data)[400],
                       const size_t *size, int deflated) {
    size_t at = 0, local[4], packed[4];
    for (int i = 0; i < n; i++) {
        unsigned char body[800], *h = z + at;
        size_t len = strlen(name[i]);
        local[i] = at;
        memcpy(body, data[i], size[i]);
        packed[i] = size[i];
        if (deflated) {
            z_stream s = {.next_in = data[i],
                          .avail_in = (uInt)size[i],
                          .next_out = body,
                          .avail_out = sizeof body};
            deflateInit2(&s, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
            deflate(&s, Z_FINISH);
            packed[i] = s.total_out;
            deflateEnd(&s);
        }
        memset(h, 0, 30);
        memcpy(h, "PK\3\4", 4);
        le_bytes(h + 26, (uint32_t)len, 2);
        memcpy(h + 30, name[i], len);
        memcpy(h + 30 + len, body, packed[i]);
        at += 30 + len + packed[i];
    }
    size_t start = at;
    for (int i = 0; i < n; i++) {
        unsigned char *h = z + at;
        size_t len = strlen(name[i]);
        memset(h, 0, 46);
        memcpy(h, "PK\1\2", 4);
        h[10] = deflated ? 8 : 0;
        le_bytes(h + 16, (uint32_t)crc32(0, data[i], (uInt)size[i]), 4);
        le_bytes(h + 20, (uint32_t)packed[i], 4);
        le_bytes(h + 24, (uint32_t)size[i], 4);
        le_bytes(h + 28, (uint32_t)len, 2);
        le_bytes(h + 42, (uint32_t)local[i], 4);
        memcpy(h + 46, name[i], len);
        at += 46 + len;
    }
    memset(z + at, 0, 22);
    memcpy(z + at, "PK\5\6", 4);
    le_bytes(z + at + 10, (uint32_t)n, 2);
    le_bytes(z + at + 16, (uint32_t)start, 4);
    return at + 22;
}

static size_t small_npz(unsigned char *z, int deflated) {
    static const char *const names[4] = {"x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"};
    static unsigned char m[4][400];
    size_t n[4];
    unsigned char px[3 * 4], y[3] = {0, 4, 1};
    for (size_t i = 0; i < sizeof px; i++)
        px[i] = (unsigned char)(3 * i);
    n[0] = make_npy(m[0], "|u1", "3, 2, 2", px, 12);
    n[1] = make_npy(m[1], "|u1", "3,", y, 3);
    n[2] = make_npy(m[2], "|u1", "1, 2, 2", px + 4, 4);
    n[3] = make_npy(m[3], "|u1", "1,", y + 1, 1);
    return make_npz(z, 4, names, m, n, deflated);
}

static void npz_archives(void) {
    static unsigned char z[4000];
    for (int deflated = 0; deflated < 2; deflated++) {
        const char *path = put_file("a.npz", z, small_npz(z, deflated));
        rt_dataset *ds = open_ok(path, "train"), *test = open_ok(path, "test");
        rt_image img = {0};
        rt_error e = {0};
        CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 5 && rt_data_label(ds, 1) == 4);
        CU_ASSERT(rt_data_count(test) == 1 && rt_data_label(test, 0) == 4);
        CU_ASSERT_EQUAL(rt_data_item(test, 0, &img, &e), 0);
        CU_ASSERT(img.width == 2 && img.channels == 1 && img.data[3] == 21);
        rt_image_free(&img);
        rt_data_close(ds);
        rt_data_close(test);
    }
    refuses(put_file("cut.npz", z, 300), "any", NETRT_EDATA, "directory");
}

/* ---- CSV ---- */

static void csv_numbers(void) {
    make_dir("c");
    put_text("c/train.csv", "sepal,petal,class\n1,2.5,setosa\n3, -4e-1 ,virginica\r\n\n5,x,setosa\n"
                            "5,6\n7,8,\"setosa\"\n");
    put_text("c/test.csv", "sepal,petal,class\n9,8,virginica\n9,8,rose\n");
    rt_dataset *ds = open_ok(in_dir("c"), "train"), *test = open_ok(in_dir("c"), "test");
    char name[64];
    CU_ASSERT(rt_data_count(ds) == 5 && rt_data_classes(ds) == 2 && rt_data_label(ds, 1) == 1);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 0), "setosa");
    CU_ASSERT(value(ds, 0, 1, 1, 2, 1) == 2.5f && value(ds, 1, 1, 1, 2, 1) == -0.4f);
    CU_ASSERT(isnan(value(ds, 2, 1, 1, 2, 0)) && strstr(why, "train.csv:5: a field is no finite"));
    CU_ASSERT(isnan(value(ds, 3, 1, 1, 2, 0)) && strstr(why, "train.csv:6: not the number of col"));
    CU_ASSERT_EQUAL(value(ds, 4, 1, 1, 2, 0), 7);
    CU_ASSERT_STRING_EQUAL(rt_data_name(ds, 4, name, sizeof name), "train.csv:7");
    CU_ASSERT(rt_data_count(test) == 2 && rt_data_classes(test) == 2 &&
              rt_data_label(test, 0) == 1);
    CU_ASSERT(isnan(value(test, 1, 1, 1, 2, 0)) && strstr(why, "class"));
    rt_data_close(ds);
    rt_data_close(test);
    ds =
        open_ok(put_text("m.csv", "5;0;255\n3;1;2\n0;1;2\n"), "any"); /* MNIST's way: class first */
    CU_ASSERT(rt_data_classes(ds) == 6 && rt_data_label(ds, 0) == 5 &&
              value(ds, 0, 1, 2, 1, 1) == 255);
    rt_data_close(ds);
    char uri[700];
    snprintf(uri, sizeof uri, "csv:%s?label=last", in_dir("m.csv"));
    ds = open_ok(uri, "any"); /* 2, 255: not from 0, so ranks; names are kept */
    CU_ASSERT(rt_data_classes(ds) == 2 && rt_data_label(ds, 0) == 1);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 1), "255");
    rt_data_close(ds);
    snprintf(uri, sizeof uri, "csv:%s?label=colour", in_dir("m.csv"));
    refuses(uri, "any", NETRT_EDATA, "no column 'colour'");
    refuses(put_text("t.csv", "a,b\n"), "any", NETRT_EDATA, "holds no samples");
    refuses(put_text("t.csv", "a,b\nx,y\nu,v\n"), "any", NETRT_EDATA, "no line holds");
    snprintf(uri, sizeof uri, "csv:%s", put_text("t.csv", "\n \n"));
    refuses(uri, "any", NETRT_EDATA, "is empty");
    refuses(put_text("t.csv", "1,1e99,0\n1,nan,0\n1,0x10,2\n"), "any", NETRT_EDATA,
            "no line holds");
    refuses(in_dir("m.csv"), "test", NETRT_EDATA, "no separate test part");
}

static void csv_pictures(void) {
    make_dir("l");
    put_text("l/a.pgm", "P5 2 1 255 xy");
    put_text("l/b.pgm", "P5 2 1 255 zz");
    put_text("l/list.csv", "image,label\na.pgm,cat\nmissing.pgm,dog\n\"b.pgm\",cat\n");
    rt_dataset *ds = open_ok(in_dir("l/list.csv"), "train");
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT(!rt_data_real(ds) && rt_data_count(ds) == 3 && rt_data_classes(ds) == 2);
    CU_ASSERT(rt_data_label(ds, 0) == 0 && rt_data_label(ds, 1) == 1);
    CU_ASSERT_EQUAL(rt_data_item(ds, 2, &img, &e), 0);
    CU_ASSERT_EQUAL(img.data[0], 'z');
    CU_ASSERT_EQUAL(rt_data_item(ds, 1, &img, &e), NETRT_EIO);
    rt_image_free(&img);
    rt_data_close(ds);
    ds = open_ok(put_text("l/plain.csv", "cat,a.pgm\ndog,b.pgm\n"), "any"); /* no line of names */
    CU_ASSERT(rt_data_count(ds) == 2 && rt_data_classes(ds) == 2 && rt_data_label(ds, 1) == 1);
    rt_data_close(ds);
    refuses(put_text("l/bad.csv", "a.pgm,cat\nb.pgm\n"), "any", NETRT_EDATA, "bad.csv:2");
}

/* ---- .ts and letters ---- */

static const char ts_text[] = "# about\n@problemName Toy\n@univariate false\n@classLabel true b a\n"
                              "@data\n1,2,3:4,5,6:a\n7,8:9:b\n1,?,3:4,5,6:a\n1,2:a\n1:2:z\n";

static void time_series(void) {
    make_dir("ts");
    put_text("ts/Toy_TRAIN.ts", ts_text);
    put_text("ts/Toy_TEST.ts", "@problemName Toy\n@classLabel true b a\n@data\n1,1,1:2,2,2:b\n");
    rt_dataset *ds = open_ok(in_dir("ts"), "train"), *test = open_ok(in_dir("ts/Toy"), "test");
    CU_ASSERT(rt_data_count(ds) == 5 && rt_data_classes(ds) == 2);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 0), "b"); /* the order of the head */
    CU_ASSERT(rt_data_label(ds, 0) == 1 && rt_data_label(ds, 1) == 0);
    CU_ASSERT(value(ds, 0, 2, 1, 3, 4) == 5 && value(ds, 1, 2, 1, 3, 2) == 0 &&
              value(ds, 1, 2, 1, 3, 3) == 9);
    CU_ASSERT(isnan(value(ds, 2, 2, 1, 3, 0)) && strstr(why, "Toy_TRAIN.ts:8"));
    CU_ASSERT(isnan(value(ds, 3, 2, 1, 3, 0)) && isnan(value(ds, 4, 2, 1, 3, 0)));
    CU_ASSERT(rt_data_count(test) == 1 && rt_data_label(test, 0) == 0);
    rt_data_close(ds);
    rt_data_close(test);
    refuses(put_text("x.ts", "@problemName a\n1,2:3\n"), "any", NETRT_EDATA, "x.ts:2");
    refuses(put_text("x.ts", "@problemName a\n@timestamps true\n@data\n"), "any", NETRT_EDATA,
            "time stamps");
    refuses(put_text("x.ts", "@problemName a\n@data\n"), "any", NETRT_EDATA, "no samples");
}

static void letters(void) {
    const char *path =
        put_text("p.data", "+,S10,\t\ttactagcaatacgcttgcg\n-,X,\ttactagcaatacgcttgcN\n"
                           "-,Y,tactagcaatacgcttgcz\n");
    rt_dataset *ds = open_ok(path, "any");
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 2);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 0), "+");
    int c, h, w;
    CU_ASSERT(rt_data_shape(ds, &c, &h, &w) && c == 4 && h == 1 && w == 19);
    CU_ASSERT(value(ds, 0, 4, 1, 19, 3 * 19) == 1 && value(ds, 0, 4, 1, 19, 1) == 1 &&
              value(ds, 0, 4, 1, 19, 0) == 0);
    CU_ASSERT_EQUAL(value(ds, 1, 4, 1, 19, 18), 0); /* n is no letter */
    CU_ASSERT(isnan(value(ds, 2, 4, 1, 19, 0)) && strstr(why, "alphabet"));
    rt_data_close(ds);
    char uri[700];
    snprintf(uri, sizeof uri, "text:%s?alphabet=abz", put_text("w.txt", "x abba\ny zz\n"));
    ds = open_ok(uri, "any");
    CU_ASSERT(value(ds, 0, 3, 1, 4, 5) == 1 && value(ds, 1, 3, 1, 4, 9) == 1);
    rt_data_close(ds);
}

/* ---- WAV ---- */

static size_t make_wav(unsigned char *p, int rate, int n, double hz, int channels) {
    memcpy(p, "RIFF....WAVEfmt ", 16);
    le_bytes(p + 4, (uint32_t)(36 + 2 * n * channels), 4);
    le_bytes(p + 16, 16, 4);
    le_bytes(p + 20, 1, 2);
    le_bytes(p + 22, (uint32_t)channels, 2);
    le_bytes(p + 24, (uint32_t)rate, 4);
    le_bytes(p + 28, (uint32_t)(rate * 2 * channels), 4);
    le_bytes(p + 32, (uint32_t)(2 * channels), 2);
    le_bytes(p + 34, 16, 2);
    memcpy(p + 36, "data", 4);
    le_bytes(p + 40, (uint32_t)(2 * n * channels), 4);
    for (int i = 0; i < n * channels; i++)
        le_bytes(p + 44 + 2 * i,
                 (uint32_t)(int)(16000 * sin(6.283185307 * hz * (i / channels) / rate)), 2);
    return 44 + (size_t)(2 * n * channels);
}

static void sound(void) {
    static unsigned char b[20000];
    make_dir("w");
    put_file("w/0_ann_1.wav", b, make_wav(b, 8000, 2000, 500, 1));
    put_file("w/7_ann_1.wav", b, make_wav(b, 8000, 900, 2000, 2));
    put_file("w/7_bob_1.wav", b, 700);
    rt_dataset *ds = open_ok(in_dir("w"), "any");
    rt_error e = {0};
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 8 && rt_data_label(ds, 1) == 7);
    CU_ASSERT_EQUAL(rt_data_fit(ds, 3, 20, 8, NULL, &e), NETRT_EDATA);
    e.code = 0;
    CU_ASSERT_EQUAL(rt_data_fit(ds, 1, 20, 8, "wav:x?window=128&hop=64", &e), 0);
    /* the loudest band is the one nearest to the tone on the mel scale */
    for (int i = 0; i < 2; i++) {
        double hz = i ? 2000 : 500, mel = log10(1 + hz / 700) / log10(1 + 4000.0 / 700) * 21 - 1;
        int best = 0;
        for (int k = 1; k < 20; k++)
            if (value(ds, i, 1, 20, 8, k * 8 + 4) > value(ds, i, 1, 20, 8, best * 8 + 4))
                best = k;
        CU_ASSERT(fabs(best - mel) <= 1);
    }
    /* 900 samples: 13 frames, so the middle 8 of them; in 40 the silence is around them */
    CU_ASSERT_EQUAL(rt_data_fit(ds, 1, 20, 40, NULL, &e), 0);
    CU_ASSERT(value(ds, 1, 1, 20, 40, 0) < -13.8f && value(ds, 1, 1, 20, 40, 14 * 40 + 20) > -5);
    CU_ASSERT(isnan(value(ds, 2, 1, 20, 40, 0)) && strstr(why, "7_bob_1.wav is truncated"));
    rt_data_close(ds);
    char uri[700];
    snprintf(uri, sizeof uri, "wav:%s?window=9999999", in_dir("w"));
    refuses(uri, "any", NETRT_EUSAGE, "window");
    refuses(in_dir("w"), "test", NETRT_EDATA, "no separate test part");
    ds = open_ok(in_dir("w/0_ann_1.wav"), "any");
    CU_ASSERT(rt_data_count(ds) == 1 && rt_data_label(ds, 0) == -1);
    rt_data_close(ds);
}

/* ---- parts of an undivided source ---- */

static void held_parts(void) {
    char uri[700], text[2000] = "", name[64];
    for (int i = 0; i < 50; i++)
        snprintf(text + strlen(text), 40, "%d,%d\n", i % 2, i);
    put_text("h.csv", text);
    for (int k = 0; k < 3; k++) {
        int seen[50] = {0};
        static const char *const rule[] = {"hold=20", "fold=3/7", "hold=*:1[0-9]"};
        static const int64_t want[] = {10, 7, 10};
        snprintf(uri, sizeof uri, "csv:%s?%s", in_dir("h.csv"), rule[k]);
        rt_dataset *train = open_ok(uri, "train"), *test = open_ok(uri, "test");
        CU_ASSERT(rt_data_count(test) == want[k] && rt_data_count(train) == 50 - want[k]);
        for (int part = 0; part < 2; part++) {
            rt_dataset *ds = part ? test : train;
            CU_ASSERT(rt_data_real(ds) && rt_data_classes(ds) == 2);
            for (int64_t i = 0; i < rt_data_count(ds); i++) {
                int v = (int)value(ds, i, 1, 1, 1, 0);
                seen[v]++;
                CU_ASSERT_EQUAL(rt_data_label(ds, i), v % 2);
                if (k == 2 && part)
                    CU_ASSERT(strstr(rt_data_name(ds, i, name, sizeof name), "h.csv:1") != NULL);
            }
        }
        for (int i = 0; i < 50; i++)
            CU_ASSERT_EQUAL(seen[i], 1);
        rt_data_close(train);
        rt_data_close(test);
    }
    snprintf(uri, sizeof uri, "csv:%s?fold=8/7", in_dir("h.csv"));
    refuses(uri, "train", NETRT_EUSAGE, "fold = 1/10");
    snprintf(uri, sizeof uri, "csv:%s?hold=120", in_dir("h.csv"));
    refuses(uri, "train", NETRT_EUSAGE, "between");
    snprintf(uri, sizeof uri, "csv:%s?hold=nothing*", in_dir("h.csv"));
    refuses(uri, "test", NETRT_EDATA, "no sample is left");
}

/* ---- damage ---- */

static void read_all(const char *uri) {
    rt_dataset *ds;
    rt_error e = {0};
    size_t live = rt_alloc_live();
    int code = rt_data_open(uri, "any", &ds, &e), c, h, w;
    CU_ASSERT(code == 0 || code == NETRT_EDATA || code == NETRT_ELIMIT);
    CU_ASSERT(code == 0 || strstr(e.text, "dam") != NULL);
    if (code == 0 && rt_data_real(ds) && rt_data_shape(ds, &c, &h, &w) &&
        (int64_t)c * h * w <= 1 << 16)
        for (int64_t i = 0; i < rt_data_count(ds) && i < 10; i++)
            value(ds, i, c, h, w, 0);
    rt_data_close(ds);
    CU_ASSERT_EQUAL(rt_alloc_live(), live);
}

static void damage_one(const char *uri, const char *name, const unsigned char *data, size_t size) {
    unsigned char copy[4000];
    for (size_t cut = 0; cut < size; cut += 1 + size / 300) {
        put_file(name, data, cut);
        read_all(uri);
    }
    for (size_t at = 0; at < size; at += 1 + size / 400)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, data, size);
            copy[at] = (unsigned char)(copy[at] ^ 1 << bit);
            put_file(name, copy, size);
            read_all(uri);
        }
    put_file(name, data, size);
    for (int nth = 1; nth < 40; nth++) { /* no memory: no leak */
        rt_dataset *ds;
        rt_error e = {0};
        size_t live = rt_alloc_live();
        rt_alloc_inject(nth, nth & 1);
        int code = rt_data_open(uri, "any", &ds, &e);
        rt_alloc_inject(0, 0);
        CU_ASSERT(code == 0 || code == NETRT_ELIMIT);
        CU_ASSERT((ds != NULL) == (code == 0));
        rt_data_close(ds);
        CU_ASSERT_EQUAL(rt_alloc_live(), live);
    }
}

static void damaged_files(void) {
    static unsigned char b[4000];
    static const char csv[] = "a,b,class\n1,2,x\n3,4,y\n\"5\",6,x\n";
    static const char dna[] = "+,S10,\t\ttactagcaatacgcttgcg\n-,X,\ttactagcaatacgcttgcN\n";
    float x[6] = {1, 2, 3, 4, 5, 6};
    char uri[700];
    static const char *const kinds[] = {"npy", "npy", "npy", "csv", "ts", "text", "wav"};
    for (int k = 0; k < 7; k++) {
        size_t n = k < 2 ? small_npz(b, k) : 0;
        const char *text = k == 3 ? csv : k == 4 ? ts_text : dna;
        if (k == 2)
            n = make_npy(b, "<f4", "2, 3", x, sizeof x);
        else if (k == 6)
            n = make_wav(b, 8000, 300, 440, 1);
        else if (k >= 3)
            memcpy(b, text, n = strlen(text));
        snprintf(uri, sizeof uri, "%s:%s", kinds[k], in_dir("dam"));
        damage_one(uri, "dam", b, n);
    }
}

/* ---- the real files ---- */

static void real_files(void) {
    const char *base = getenv("NETC_DATA_DIR");
    char path[600];
    if (!base) {
        suite_skip("NETC_DATA_DIR is not set");
        return;
    }
    snprintf(path, sizeof path, "%s/time-series/GunPoint", base);
    rt_dataset *ds = open_ok(path, "train");
    int c, h, w;
    CU_ASSERT(rt_data_count(ds) == 50 && rt_data_classes(ds) == 2);
    CU_ASSERT(rt_data_shape(ds, &c, &h, &w) && c == 1 && w == 150);
    CU_ASSERT(isfinite(value(ds, 49, 1, 1, 150, 149)));
    rt_data_close(ds);
    snprintf(path, sizeof path, "%s/dna-promoters/promoters.data", base);
    ds = open_ok(path, "any");
    CU_ASSERT(rt_data_count(ds) == 106 && rt_data_classes(ds) == 2);
    CU_ASSERT(rt_data_shape(ds, &c, &h, &w) && c == 4 && w == 57);
    for (int i = 0; i < 106; i++)
        CU_ASSERT(isfinite(value(ds, i, 4, 1, 57, 0)));
    rt_data_close(ds);
    snprintf(path, sizeof path, "%s/free-spoken-digits/wav", base);
    ds = open_ok(path, "any");
    CU_ASSERT(rt_data_count(ds) == 600 && rt_data_classes(ds) == 10);
    for (int i = 0; i < 600; i += 7)
        CU_ASSERT(isfinite(value(ds, i, 1, 40, 64, 100)));
    rt_data_close(ds);
}

SUITE_MAIN(TEST(npy_arrays), TEST(npy_clips), TEST(npz_archives), TEST(csv_numbers), TEST(csv_pictures),
           TEST(time_series), TEST(letters), TEST(sound), TEST(held_parts), TEST(damaged_files),
           TEST(real_files))
