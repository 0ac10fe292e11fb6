/* test_rt_data.c: every kind of data source, what its errors say, damaged and truncated files; the
 * real MNIST, Fashion-MNIST and CIFAR files where NETC_DATA_DIR names them. */
#include "rt_sources.h"

#include <zlib.h>

#include "rt_digits.h"

/* --- making files --------------------------------------------------------------------------------
 */

static size_t make_idx(unsigned char *p, int count, int h, int w) {
    const unsigned char head[16] = {0, 0, 8, h ? 3 : 1,        0, 0, 0, (unsigned char)count,
                                    0, 0, 0, (unsigned char)h, 0, 0, 0, (unsigned char)w};
    size_t n = h ? 16 : 8, body = (size_t)(h ? count * h * w : count);
    memcpy(p, head, n);
    for (size_t i = 0; i < body; i++)
        p[n + i] = (unsigned char)(h ? i : i % 10);
    return n + body;
}

static const char *put_gzip(const char *name, const unsigned char *data, size_t n) {
    const char *path = in_dir(name);
    gzFile f = gzopen(path, "wb9");
    if (!f || gzwrite(f, data, (unsigned)n) != (int)n || gzclose(f) != Z_OK)
        exit(1);
    return path;
}

static void put_pgm(const char *name, unsigned char value) {
    char bytes[32];
    int n = snprintf(bytes, sizeof bytes, "P5 2 1 255 ");
    bytes[n] = bytes[n + 1] = (char)value;
    put_file(name, bytes, (size_t)n + 2);
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void drawn_digits(void) {
    rt_dataset *ds = open_ok("digits:600:7", "train"), *test = open_ok("digits:600:7", "test");
    CU_ASSERT(rt_data_count(ds) == 600 && rt_data_count(test) == 100 && rt_data_classes(ds) == 10);
    int c, h, w;
    CU_ASSERT(rt_data_shape(ds, &c, &h, &w) && c == 1 && h == 28 && w == 28);
    rt_image img = {0};
    rt_error e = {0};
    unsigned char px[28 * 28];
    rt_digits d = rt_digits_make(7, 1);
    rt_digits_draw(&d, 42, px);
    CU_ASSERT_EQUAL(rt_data_item(test, 42, &img, &e), 0);
    CU_ASSERT(memcmp(img.data, px, sizeof px) == 0);
    CU_ASSERT_EQUAL(rt_data_label(test, 42), rt_digits_label(&d, 42));
    CU_ASSERT_EQUAL(rt_data_label(test, 100), -1);
    char name[64];
    CU_ASSERT_STRING_EQUAL(rt_data_name(ds, 3, name, sizeof name), "digits:600:7[3]");
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 4), "4");
    CU_ASSERT_EQUAL(rt_data_item(ds, 600, &img, &e), NETRT_EBUG);
    rt_image_free(&img);
    rt_data_close(ds);
    rt_data_close(test);
    rt_data_close(NULL);
    refuses_both("digits:", "train", NETRT_EUSAGE, "digits:COUNT", "");
    refuses_both("digits:0", "train", NETRT_EUSAGE, "digits:0", "");
    refuses_both("digits:-5", "train", NETRT_EUSAGE, "help", "");
    refuses_both("digits:10:x", "train", NETRT_EUSAGE, "help", "");
    refuses_both("digits:99999999999999999999", "train", NETRT_EUSAGE, "help", "");
    refuses_both("digits:10", "half", NETRT_EUSAGE, "half", "train");
}

static void mnist_layout(void) {
    unsigned char buf[4000];
    make_dir("mnist");
    put_gzip("mnist/train-images-idx3-ubyte.gz", buf, make_idx(buf, 20, 5, 6));
    put_file("mnist/train-labels-idx1-ubyte", buf, make_idx(buf, 20, 0, 0));
    put_file("mnist/t10k-images.idx3-ubyte", buf, make_idx(buf, 3, 5, 6));
    put_gzip("mnist/t10k-labels.idx1-ubyte.gz", buf, make_idx(buf, 3, 0, 0));
    rt_dataset *ds = open_ok(in_dir("mnist"), "train"), *test = open_ok(in_dir("mnist"), "test");
    rt_dataset *any = open_ok(in_dir("mnist"), "any");
    CU_ASSERT(rt_data_count(ds) == 20 && rt_data_classes(ds) == 10 && rt_data_label(ds, 13) == 3);
    CU_ASSERT(rt_data_count(test) == 3 && rt_data_classes(test) == 3 && rt_data_count(any) == 3);
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_data_item(ds, 2, &img, &e), 0);
    CU_ASSERT(img.width == 6 && img.height == 5 && img.data[0] == 60 && img.data[29] == 89);
    char name[64];
    CU_ASSERT_STRING_EQUAL(rt_data_name(ds, 2, name, sizeof name), "train-images-idx3-ubyte.gz[2]");
    rt_image_free(&img);
    rt_data_close(ds);
    rt_data_close(test);
    rt_data_close(any);
    ds = open_ok(in_dir("mnist/t10k-images.idx3-ubyte"), "any"); /* labels found beside it */
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_label(ds, 2) == 2);
    rt_data_close(ds);
    refuses_both(in_dir("mnist/t10k-images.idx3-ubyte"), "test", NETRT_EDATA, "no separate test",
                 "");
    ds = open_ok(put_file("lonely", buf, make_idx(buf, 4, 2, 2)), "any");
    CU_ASSERT(rt_data_classes(ds) == 0 && rt_data_label(ds, 0) == -1);
    rt_data_close(ds);
}

static void mnist_errors(void) {
    unsigned char buf[4000];
    make_dir("bad");
    char dir[600];
    strcpy(dir, in_dir("bad"));
    put_file("bad/train-images-idx3-ubyte", buf, make_idx(buf, 20, 5, 6));
    refuses_both(dir, "train", NETRT_EDATA, "labels", "train-labels-idx1-ubyte");
    refuses_both(dir, "test", NETRT_EDATA, "no test pictures", "t10k-images");
    put_file("bad/train-labels-idx1-ubyte", buf, make_idx(buf, 19, 0, 0));
    refuses_both(dir, "train", NETRT_EDATA, "19 labels", "20 pictures");
    put_file("bad/train-labels-idx1-ubyte", buf, make_idx(buf, 20, 5, 6));
    refuses_both(dir, "train", NETRT_EDATA, "no labels", "");
    put_file("bad/train-labels-idx1-ubyte", buf, make_idx(buf, 20, 0, 0));
    put_file("bad/train-images-idx3-ubyte", buf, make_idx(buf, 20, 0, 0));
    refuses_both(dir, "train", NETRT_EDATA, "not pictures", "");
    size_t n = make_idx(buf, 20, 5, 6);
    put_file("bad/train-images-idx3-ubyte", buf, n + 1);
    refuses_both(dir, "train", NETRT_EDATA, "more data", "");
    buf[4] = 0x7F; /* two billion pictures */
    put_file("bad/train-images-idx3-ubyte", buf, n);
    refuses_both(dir, "train", NETRT_EDATA, "promises", "train-images");
    put_gzip("bad/train-images-idx3-ubyte", buf, n);
    refuses_both(dir, "train", NETRT_EDATA, "promises", "gzip");
    memset(buf + 4, 0xFF, 12);
    put_file("bad/train-images-idx3-ubyte", buf, n);
    refuses_both(dir, "train", NETRT_EDATA, "65535", "");
    memset(buf + 4, 0, 4);
    put_file("bad/train-images-idx3-ubyte", buf, n);
    refuses_both(dir, "train", NETRT_EDATA, "no pictures", "");
    put_file("bad/train-images-idx3-ubyte", "<html>", 6);
    refuses_both(dir, "train", NETRT_EDATA, "3c 68 74 6d", "00 00 08 03");
    refuses_both(in_dir("nothing"), "train", NETRT_EIO, "nothing", "No such file");
}

static void damaged_idx(void) {
    unsigned char buf[400];
    size_t n = make_idx(buf, 4, 3, 3);
    int unnoticed = 0;
    long gz;
    char path[600];
    strcpy(path, put_gzip("cut.gz", buf, n));
    unsigned char *packed = get_file(path, &gz);
    for (int zipped = 0; zipped < 2; zipped++) {
        const unsigned char *src = zipped ? packed : buf;
        size_t size = zipped ? (size_t)gz : n;
        for (size_t cut = 4; cut < size; cut++) {
            rt_dataset *ds;
            rt_error e = {0};
            CU_ASSERT_EQUAL(rt_data_open(put_file("cut.gz", src, cut), "any", &ds, &e),
                            NETRT_EDATA);
            CU_ASSERT(strstr(e.text, "cut.gz") != NULL);
        }
        for (size_t at = 0; at < size; at++)
            for (int bit = 0; bit < 8; bit++) {
                unsigned char copy[400];
                memcpy(copy, src, size);
                copy[at] = (unsigned char)(copy[at] ^ 1 << bit);
                rt_dataset *ds;
                rt_error e = {0};
                int code = rt_data_open(put_file("cut.gz", copy, size), "any", &ds, &e);
                CU_ASSERT(code == 0 || code == NETRT_EDATA || code == NETRT_ELIMIT);
                unnoticed += zipped && at >= 10 && code == 0;
                if (!zipped && at >= 16)
                    CU_ASSERT_EQUAL(code, 0); /* plain idx has no checksum */
                rt_data_close(ds);
            }
    }
    CU_ASSERT(unnoticed <= 7); /* bits that fill the last byte of the deflate stream */
    free(packed);
}

static void class_folders(void) {
    make_dir("pets");
    make_dir("pets/dog");
    make_dir("pets/cat");
    make_dir("pets/.git");
    put_pgm("pets/dog/b.pgm", 2);
    put_pgm("pets/dog/a", 1);                      /* no ending: found by content */
    put_file("pets/dog/notes.txt", "hello", 5);    /* not a picture */
    put_file("pets/dog/broken.png", "garbage", 7); /* called a picture: reported when read */
    put_pgm("pets/cat/x.JPG", 3);
    rt_dataset *ds = open_ok(in_dir("pets"), "train");
    CU_ASSERT(rt_data_count(ds) == 4 && rt_data_classes(ds) == 2);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 0), "cat");
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 1), "dog");
    char name[64];
    static const char *const want[] = {"cat/x.JPG", "dog/a", "dog/b.pgm", "dog/broken.png"};
    int c, h, w;
    CU_ASSERT_EQUAL(rt_data_shape(ds, &c, &h, &w), 0);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_STRING_EQUAL(rt_data_name(ds, i, name, sizeof name), want[i]);
        CU_ASSERT_EQUAL(rt_data_label(ds, i), i > 0);
    }
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_data_item(ds, 1, &img, &e), 0);
    CU_ASSERT(img.width == 2 && img.data[0] == 1);
    CU_ASSERT_EQUAL(rt_data_item(ds, 3, &img, &e), NETRT_EDATA);
    CU_ASSERT(strstr(e.text, "broken.png") != NULL);
    rt_image_free(&img);
    rt_data_close(ds);
    refuses_both(in_dir("pets"), "test", NETRT_EDATA, "no separate test part", "pets/test/<class>");
    ds = open_ok(in_dir("pets/dog"), "any"); /* a flat folder */
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 0 && rt_data_label(ds, 0) == -1);
    rt_data_close(ds);
    refuses_both(in_dir("pets/dog"), "train", NETRT_EDATA, "no class folders", "found 3 pictures");
    ds = open_ok(in_dir("pets/dog"), "bare"); /* to train on without classes */
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 0);
    rt_data_close(ds);
    ds = open_ok(in_dir("pets"), "bare");
    CU_ASSERT_EQUAL(rt_data_classes(ds), 2);
    rt_data_close(ds);
    make_dir("pets/fish");
    refuses_both(in_dir("pets"), "train", NETRT_EDATA, "fish", "no pictures");
}

static void split_folders(void) {
    const char *dirs[] = {"s",         "s/train", "s/train/a", "s/train/b",
                          "s/train/c", "s/val",   "s/val/a",   "s/val/c"};
    for (size_t i = 0; i < 8; i++)
        make_dir(dirs[i]);
    put_pgm("s/train/a/1.pgm", 1);
    put_pgm("s/train/b/1.pgm", 1);
    put_pgm("s/train/c/1.pgm", 1);
    put_pgm("s/val/c/2.pgm", 9);
    rt_dataset *ds = open_ok(in_dir("s"), "train"), *val = open_ok(in_dir("s"), "test");
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_count(val) == 1 && rt_data_classes(val) == 3);
    CU_ASSERT_EQUAL(rt_data_label(val, 0), 2); /* b is missing in val, c stays number 2 */
    rt_data_close(ds);
    rt_data_close(val);
    make_dir("s/val/z");
    refuses_both(in_dir("s"), "test", NETRT_EDATA, "s/val/z", "no class of that name");
    make_dir("t"); /* a class called train beside bus is a class */
    make_dir("t/train");
    make_dir("t/bus");
    put_pgm("t/train/1.pgm", 1);
    put_pgm("t/bus/1.pgm", 1);
    ds = open_ok(in_dir("t"), "train");
    CU_ASSERT(rt_data_classes(ds) == 2 && rt_data_count(ds) == 2);
    rt_data_close(ds);
    refuses_both(make_dir("hollow"), "any", NETRT_EDATA, "no pictures", "PNG");
    refuses_both(in_dir("hollow"), "train", NETRT_EDATA, "no class folders", "hollow/<class>");
}

static void hostile_names(void) {
    make_dir("names");
    make_dir("names/<script>");
    put_pgm("names/<script>/a\x1b[31m b\xff.pgm", 5);
    rt_dataset *ds = open_ok(in_dir("names"), "train");
    char name[64];
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_STRING_EQUAL(rt_data_name(ds, 0, name, sizeof name), "<script>/a?[31m b?.pgm");
    CU_ASSERT_EQUAL(rt_data_item(ds, 0, &img, &e), 0);
    rt_image_free(&img);
    rt_data_close(ds);
}

static void single_pictures(void) {
    put_pgm("one.pgm", 200);
    rt_dataset *ds = open_ok(in_dir("one.pgm"), "any");
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT(rt_data_count(ds) == 1 && rt_data_label(ds, 0) == -1);
    CU_ASSERT_EQUAL(rt_data_item(ds, 0, &img, &e), 0);
    CU_ASSERT_EQUAL(img.data[1], 200);
    rt_image_free(&img);
    rt_data_close(ds);
    refuses_both(put_file("text", "hello world", 11), "any", NETRT_EDATA, "no picture", "PNG");
    refuses_both("/dev/null", "any", NETRT_EIO, "neither", "");
}

static void cifar_batches(void) {
    static unsigned char batch[3 * 3073];
    make_dir("cifar");
    noise_bytes(batch, sizeof batch);
    for (int i = 0; i < 3; i++)
        batch[i * 3073] = (unsigned char)(7 - i);
    put_file("cifar/data_batch_2.bin", batch, 3073);
    put_file("cifar/data_batch_1.bin", batch + 3073, 2 * 3073);
    rt_dataset *ds = open_ok(in_dir("cifar"), "train");
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 10 && rt_data_label(ds, 0) == 6 &&
              rt_data_label(ds, 2) == 7);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 7), "horse");
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_data_item(ds, 2, &img, &e), 0);
    CU_ASSERT(img.channels == 3 && img.data[3 * 5 + 1] == batch[1 + 1024 + 5]);
    rt_image_free(&img);
    rt_data_close(ds);
    refuses_both(in_dir("cifar"), "test", NETRT_EDATA, "no test_batch.bin", "");
    put_file("cifar/data_batch_2.bin", batch, 3072);
    refuses_both(in_dir("cifar"), "train", NETRT_EDATA, "data_batch_2", "3073");
    batch[0] = 10;
    put_file("cifar/data_batch_2.bin", batch, 3073);
    refuses_both(in_dir("cifar"), "train", NETRT_EDATA, "label 10", "");
}

static void no_memory_no_leak(void) {
    char path[600];
    static const char *const uris[] = {"mnist", "pets/dog", "s", "one.pgm", "cifar2", "digits:10"};
    static unsigned char batch[3073];
    make_dir("cifar2");
    put_file("cifar2/data_batch_1.bin", batch, sizeof batch);
    for (size_t k = 0; k < 6; k++) {
        strcpy(path, k == 5 ? uris[k] : in_dir(uris[k]));
        size_t live = rt_alloc_live();
        for (int nth = 1; nth < 80; nth++) {
            rt_dataset *ds;
            rt_error e = {0};
            rt_alloc_inject(nth, nth & 1);
            int code = rt_data_open(path, k == 2 ? "train" : "any", &ds, &e);
            rt_alloc_inject(0, 0);
            CU_ASSERT(code == 0 || code == NETRT_ELIMIT);
            CU_ASSERT((ds != NULL) == (code == 0));
            rt_data_close(ds);
            CU_ASSERT_EQUAL(rt_alloc_live(), live);
        }
    }
}

/* The real files: counts and a few known facts (mean of MNIST's pixels 0.1307). */
static void real_files(void) {
    const char *base = getenv("NETC_DATA_DIR");
    char path[600];
    if (!base) {
        suite_skip("NETC_DATA_DIR is not set");
        return;
    }
    snprintf(path, sizeof path, "%s/mnist", base);
    rt_dataset *ds = open_ok(path, "train");
    CU_ASSERT(rt_data_count(ds) == 60000 && rt_data_label(ds, 0) == 5);
    rt_image img = {0};
    rt_error e = {0};
    double sum = 0;
    for (int64_t i = 0; i < 60000; i++) {
        rt_data_item(ds, i, &img, &e);
        for (int p = 0; p < 784; p++)
            sum += img.data[p];
    }
    sum /= 255.0 * 784 * 60000;
    CU_ASSERT(sum > 0.1306 && sum < 0.1308);
    rt_data_close(ds);
    snprintf(path, sizeof path, "%s/fashion-mnist", base);
    ds = open_ok(path, "test");
    CU_ASSERT(rt_data_count(ds) == 10000 && rt_data_label(ds, 0) == 9);
    rt_data_close(ds);
    snprintf(path, sizeof path, "%s/cifar10-subset", base);
    ds = open_ok(path, "test");
    CU_ASSERT(rt_data_count(ds) == 1000 && rt_data_label(ds, 0) == 3); /* a cat */
    rt_data_close(ds);
    snprintf(path, sizeof path, "%s/photos", base);
    ds = open_ok(path, "any");
    CU_ASSERT_EQUAL(rt_data_count(ds), 12);
    for (int64_t i = 0; i < 12; i++) {
        CU_ASSERT_EQUAL(rt_data_item(ds, i, &img, &e), 0);
        CU_ASSERT(img.width >= 200 && img.channels == 3);
    }
    rt_data_close(ds);
    rt_image_free(&img);
}

SUITE_MAIN(TEST(drawn_digits), TEST(mnist_layout), TEST(mnist_errors), TEST(damaged_idx),
           TEST(class_folders), TEST(split_folders), TEST(hostile_names), TEST(single_pictures),
           TEST(cifar_batches), TEST(no_memory_no_leak), TEST(real_files))
