/* test_rt_data_files.c: CIFAR-100, label pictures, spectrograms in hertz, moved and louder sound,
 * the mean of every pixel; truncated, lying and hostile files of each. */
#include <math.h>
#include <png.h>
#include <string.h>

#include "rt_sources.h"
#include "rt_toy.h"

#include "rt_feed.h"

static const char *uri_of(const char *kind, const char *dir, const char *keys) {
    static char uri[700];
    snprintf(uri, sizeof uri, "%s:%s%s", kind, in_dir(dir), keys);
    return uri;
}

/* ---- CIFAR-100 ---- */

static void cifar100(void) {
    enum { RECORD = 2 + 3072 };
    static unsigned char batch[3 * RECORD];
    rt_image img = {0};
    rt_error err = {0};
    noise_bytes(batch, sizeof batch);
    for (int i = 0; i < 3; i++) {
        batch[i * RECORD] = (unsigned char)(19 - i);
        batch[i * RECORD + 1] = (unsigned char)(99 - i);
    }
    make_dir("c100");
    put_file("c100/train.bin", batch, sizeof batch);
    refuses(in_dir("c100"), "test", NETRT_EDATA, "no test.bin");
    put_file("c100/test.bin", batch, RECORD);
    rt_dataset *ds = open_ok(in_dir("c100"), "train");
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_classes(ds) == 100);
    CU_ASSERT(rt_data_label(ds, 0) == 99 && rt_data_label(ds, 2) == 97);
    CU_ASSERT_EQUAL(rt_data_item(ds, 1, &img, &err), 0);
    CU_ASSERT(img.width == 32 && img.channels == 3 && img.data[0] == batch[RECORD + 2] &&
              img.data[3 * 33 + 2] == batch[RECORD + 2 + 2048 + 33]);
    rt_data_close(ds);
    static char names[2000];
    size_t n = 0;
    for (int i = 0; i < 20; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "kind %d\r\n", i);
    put_file("c100/coarse_label_names.txt", names, n);
    ds = open_ok(uri_of("cifar100", "c100", "?labels=coarse"), "test");
    CU_ASSERT(rt_data_count(ds) == 1 && rt_data_classes(ds) == 20 && rt_data_label(ds, 0) == 19);
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 19), "kind 19");
    rt_data_close(ds);
    put_file("c100/coarse_label_names.txt", names, n - 9); /* not one for each: not taken */
    ds = open_ok(uri_of("cifar100", "c100", "?labels=coarse"), "test");
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 19), "19");
    rt_data_close(ds);
    refuses(uri_of("cifar100", "c100", "?labels=some"), "test", NETRT_EUSAGE, "fine or coarse");
    batch[RECORD] = 20;
    put_file("c100/train.bin", batch, sizeof batch);
    refuses(in_dir("c100"), "train", NETRT_EDATA, "record 1 has label 20");
    batch[RECORD] = 1;
    batch[RECORD + 1] = 100;
    put_file("c100/train.bin", batch, sizeof batch);
    refuses(in_dir("c100"), "train", NETRT_EDATA, "label 100, CIFAR-100 has 0 to 99");
    put_file("c100/train.bin", batch, sizeof batch - 1); /* test.bin still says what it is */
    refuses(in_dir("c100"), "train", NETRT_EDATA, "no whole number of 3074-byte");
    put_file("c100/train.bin", batch, 0);
    refuses(uri_of("cifar100", "c100", ""), "train", NETRT_EDATA, "truncated");
    refuses(uri_of("cifar100", "", ""), "train", NETRT_EDATA, "holds no train.bin");
    rt_image_free(&img);
}

/* ---- label pictures ---- */

/* type: PNG_COLOR_TYPE_.., depth 1 to 16; values row by row, one byte each. */
static void put_png(const char *name, int w, int h, int type, int depth, const unsigned char *v) {
    FILE *f = fopen(in_dir(name), "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_color palette[256];
    static unsigned char row[1000];
    for (int i = 0; i < 256; i++)
        palette[i] = (png_color){(png_byte)(255 - i), (png_byte)(i * 3), (png_byte)(i * 7)};
    png_init_io(png, f);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, depth, type, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 1 << depth);
    png_write_info(png, info);
    if (depth < 8)
        png_set_packing(png);
    for (int y = 0; y < h; y++) {
        int bytes = type == PNG_COLOR_TYPE_RGB ? 3 : depth == 16 ? 2 : 1;
        for (int x = 0; x < w * bytes; x++)
            row[x] = v[y * w + x / bytes];
        png_write_row(png, row);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(f);
}

enum { S = 28 };
/* A picture whose brightness is its class times 80: halves, turned by k. */
static void halves(unsigned char *v, int w, int h, int k) {
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            v[y * w + x] = k & 1 ? y >= h / 2 : x >= w / 2 + 3;
}

static void put_pair(const char *dir, const char *stem, int w, int h, int k) {
    static unsigned char v[64 * 64];
    char name[100];
    halves(v, w, h, k);
    snprintf(name, sizeof name, "%s/labels/%s.png", dir, stem);
    put_png(name, w, h, k == 0 ? PNG_COLOR_TYPE_PALETTE : PNG_COLOR_TYPE_GRAY, k == 2 ? 8 : 2, v);
    for (int i = 0; i < w * h; i++)
        v[i] = (unsigned char)(40 + 80 * v[i]);
    snprintf(name, sizeof name, "%s/images/%s.png", dir, stem);
    put_png(name, w, h, PNG_COLOR_TYPE_GRAY, 8, v);
}

/* A toy whose label has a class per pixel: only its inputs are looked at. */
static rt_model pixel_model(const rt_input_spec *input, int64_t cells) {
    rt_model model = toy_model;
    model.input = input;
    model.label_cells = cells;
    model.classes = 10;
    return model;
}

/* Every counted class is that of the pixel that the input shows. */
static int agrees(const rt_feed *f, int64_t n, int64_t *none) {
    int good = 1;
    *none = 0;
    for (int64_t i = 0; i < n * S * S; i++) {
        double grey = (double)f->input[0][i] * 255;
        *none += f->map[i] < 0;
        good &= f->map[i] < 0 || fabs(grey - (40 + 80 * f->map[i])) < 60.5;
        good &= f->map[i] >= 0 || grey < 60.1; /* borders are mixed */
    }
    return good;
}

static void load_maps(rt_input_spec *input, int threads, int epoch, int expect_none,
                      int32_t *labels) {
    rt_model model = pixel_model(input, S * S);
    netrt_options o = {threads, 3, 0};
    netrt *m = NULL;
    rt_feed f;
    rt_error err = {0};
    rt_dataset *ds = open_ok(in_dir("seg"), "train");
    int64_t want[3] = {2, 0, 1}, none;
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, &o, &m, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_feed_open(&f, m, ds, 3, 1 << 20, 1, &err), 0);
    CU_ASSERT_EQUAL(rt_feed_load(&f, want, 3, epoch, NULL, NULL), 3);
    CU_ASSERT(agrees(&f, 3, &none));
    CU_ASSERT(expect_none ? none > 10 && none < 2 * S * S : none == 0);
    memcpy(labels, f.map, 3 * S * S * sizeof *labels);
    rt_feed_close(&f);
    rt_data_close(ds);
    netrt_close(m);
}

static void label_pictures(void) {
    static int32_t a[3 * S * S], b[3 * S * S];
    make_dir("seg");
    make_dir("seg/images");
    make_dir("seg/labels");
    put_pair("seg", "one", S, S, 0);
    put_pair("seg", "three", 40, 33, 2);
    put_pair("seg", "two", S, S, 1);
    put_file("seg/classes.txt", "sky\nearth\n", 10);
    rt_dataset *ds = open_ok(in_dir("seg"), "train");
    int ignore;
    rt_image map = {0};
    rt_error err = {0};
    char name[40];
    CU_ASSERT(rt_data_count(ds) == 3 && rt_data_mapped(ds, &ignore) && ignore == 255);
    CU_ASSERT_STRING_EQUAL(rt_data_name(ds, 2, name, sizeof name), "two");
    CU_ASSERT_STRING_EQUAL(rt_data_class_name(ds, 1), "earth");
    CU_ASSERT(rt_data_map(ds, 0, &map, &err) == 0 && map.width == S && map.channels == 1);
    CU_ASSERT(map.data[0] == 0 && map.data[S - 1] == 1); /* indices, not colours */
    CU_ASSERT(rt_data_map(ds, 2, &map, &err) == 0 && map.data[S * S - 1] == 1); /* 2 bits of grey */
    rt_data_close(ds);
    rt_image_free(&map);
    rt_input_spec input = toy_input[0];
    load_maps(&input, 1, -1, 0, a); /* one of the pictures is shrunk */
    CU_ASSERT(a[0] == 0 && a[S * S] == 0 && a[S * S + S - 1] == 1);
    input.pad = input.crop = 1;
    load_maps(&input, 1, -1, 0, a);
    input.flip = 1;
    input.augment[RT_AUGMENT_CROP] = 5;
    input.augment[RT_AUGMENT_ROTATE] = 20;
    load_maps(&input, 1, 4, 1, a);
    load_maps(&input, 2, 4, 1, b);
    CU_ASSERT(memcmp(a, b, sizeof a) == 0);
    input.augment[RT_AUGMENT_CROP] = 0;
    input.augment[RT_AUGMENT_AREA_LO] = 0.3f;
    input.augment[RT_AUGMENT_AREA_HI] = 0.9f;
    input.augment[RT_AUGMENT_ROTATE] = 0;
    load_maps(&input, 2, 1, 0, a);
}

/* Each broken pair is one skipped sample; the others come. */
static int64_t skipped;
static char reasons[2000];
static void count_skipped(void *context, int64_t sample, const char *why) {
    (void)context;
    (void)sample;
    skipped++;
    snprintf(reasons + strlen(reasons), sizeof reasons - strlen(reasons), "%s\n", why);
}

static void hostile_maps(void) {
    static unsigned char v[S * S];
    rt_input_spec input = toy_input[0];
    rt_model model = pixel_model(&input, S * S);
    netrt_options o = {2, 8, 0};
    netrt *m = NULL;
    rt_feed f;
    rt_error err = {0};
    long n;
    make_dir("bad");
    make_dir("bad/train");
    make_dir("bad/train/images");
    make_dir("bad/train/labels");
    static const char *const stems[] = {"a_good", "b_size",  "c_class", "d_colour",
                                        "e_16",   "f_alone", "g_cut",   "h_junk"};
    for (int k = 0; k < 8; k++)
        put_pair("bad/train", stems[k], S, S, k % 3);
    put_png("bad/train/labels/b_size.png", S, S - 1, PNG_COLOR_TYPE_GRAY, 8, v);
    v[5] = 10; /* the net knows 0 to 9 */
    put_png("bad/train/labels/c_class.png", S, S, PNG_COLOR_TYPE_GRAY, 8, v);
    v[5] = 255; /* not counted: no fault */
    put_png("bad/train/labels/a_good.png", S, S, PNG_COLOR_TYPE_PALETTE, 8, v);
    put_png("bad/train/labels/d_colour.png", S, S, PNG_COLOR_TYPE_RGB, 8, v);
    put_png("bad/train/labels/e_16.png", S, S, PNG_COLOR_TYPE_GRAY, 16, v);
    CU_ASSERT_EQUAL(remove(in_dir("bad/train/images/f_alone.png")), 0);
    unsigned char *png = get_file(in_dir("bad/train/labels/g_cut.png"), &n);
    put_file("bad/train/labels/g_cut.png", png, (size_t)n * 2 / 3);
    free(png);
    put_file("bad/train/labels/h_junk.png", "\xff\xd8\xff\xe0junk", 8);
    rt_dataset *ds = open_ok(in_dir("bad"), "any");
    int64_t want[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    CU_ASSERT_EQUAL(rt_data_count(ds), 8);
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, &o, &m, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_feed_open(&f, m, ds, 8, 0, 1, &err), 0);
    CU_ASSERT_EQUAL(rt_feed_load(&f, want, 1, -1, count_skipped, NULL), 1);
    for (int i = 1; i < 8; i++)
        CU_ASSERT_EQUAL(rt_feed_load(&f, want + i, 1, -1, count_skipped, NULL), 0);
    CU_ASSERT_EQUAL(skipped, 7);
    CU_ASSERT_EQUAL(rt_feed_load(&f, want, 8, -1, count_skipped, NULL), 1);
    CU_ASSERT(skipped == 7 && f.broken == 7); /* told once */
    static const char *const why[] = {"28 x 28, its label picture 28 x 27",
                                      "a pixel of class 10",
                                      "palette or grey values",
                                      "without its picture",
                                      "g_cut.png",
                                      "h_junk.png: a label picture is a PNG"};
    for (size_t i = 0; i < sizeof why / sizeof *why; i++) {
        if (!strstr(reasons, why[i]))
            printf("no '%s' in\n%s", why[i], reasons);
        CU_ASSERT(strstr(reasons, why[i]) != NULL);
    }
    rt_feed_close(&f);
    netrt_close(m);
    /* every shortening of a label picture is refused or read, never worse */
    png = get_file(in_dir("bad/train/labels/a_good.png"), &n);
    for (long len = 0; len < n; len++) {
        rt_image map = {0};
        rt_error e = {0};
        CU_ASSERT_EQUAL(rt_png_decode_indices(&map, png, (size_t)len, "cut", &e), NETRT_EDATA);
        rt_image_free(&map);
        unsigned char kept = png[len];
        png[len] ^= 0x5a;
        memset(&e, 0, sizeof e);
        rt_png_decode_indices(&map, png, (size_t)n, "flipped", &e);
        png[len] = kept;
        rt_image_free(&map);
    }
    free(png);
    rt_data_close(ds);
    refuses(in_dir("bad"), "test", NETRT_EDATA, "no separate test part");
    refuses(uri_of("maps", "bad", "?ignore=300"), "train", NETRT_EUSAGE, "ignore = 300");
    refuses(uri_of("maps", "", ""), "train", NETRT_EDATA, "holds no label pictures");
    make_dir("none");
    make_dir("none/images");
    make_dir("none/masks");
    refuses(in_dir("none"), "train", NETRT_EDATA, "holds no label pictures");
    ds = open_ok(in_dir("seg"), "train"); /* a net with one class for a picture */
    model = toy_model;
    CU_ASSERT_EQUAL_FATAL(netrt_open(&model, &o, &m, &err), 0);
    CU_ASSERT_EQUAL(rt_feed_open(&f, m, ds, 8, 0, 1, &err), NETRT_EDATA);
    CU_ASSERT(strstr(err.text, "class for every pixel") != NULL);
    rt_data_close(ds);
    netrt_close(m);
}

static void voc(void) {
    make_dir("voc");
    make_dir("voc/JPEGImages");
    make_dir("voc/SegmentationClass");
    make_dir("voc/ImageSets");
    make_dir("voc/ImageSets/Segmentation");
    static unsigned char v[4];
    static const char *const stems[] = {"2007_1", "2007_2", "2007_3"};
    for (int k = 0; k < 3; k++) {
        char name[80];
        snprintf(name, sizeof name, "voc/JPEGImages/%s.png", stems[k]);
        put_png(name, 2, 2, PNG_COLOR_TYPE_GRAY, 8, v);
        snprintf(name, sizeof name, "voc/SegmentationClass/%s.png", stems[k]);
        put_png(name, 2, 2, PNG_COLOR_TYPE_PALETTE, 8, v);
    }
    put_file("voc/ImageSets/Segmentation/train.txt", "2007_3\r\n2007_1  1\r\n", 19);
    put_file("voc/ImageSets/Segmentation/val.txt", "2007_2", 6);
    char name[20];
    rt_dataset *ds = open_ok(in_dir("voc"), "train");
    CU_ASSERT(rt_data_count(ds) == 2);
    CU_ASSERT_STRING_EQUAL(rt_data_name(ds, 1, name, sizeof name), "2007_1");
    rt_data_close(ds);
    ds = open_ok(in_dir("voc"), "test");
    CU_ASSERT(rt_data_count(ds) == 1);
    rt_data_close(ds);
    put_file("voc/ImageSets/Segmentation/val.txt", "../../secret\n", 13);
    refuses(in_dir("voc"), "test", NETRT_EDATA, "only names");
    put_file("voc/ImageSets/Segmentation/val.txt", "\n\n", 2);
    refuses(in_dir("voc"), "test", NETRT_EDATA, "holds no label pictures");
}

/* ---- sound ---- */

static void le_bytes(unsigned char *p, uint32_t v, int n) {
    for (int i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

enum { RATE = 8000, SOUND = 4000, BANDS = 31, FRAMES = 30 };

/* A tone of 2 kHz that begins at sample `from`. */
static void put_tone(const char *name, int from, double loud) {
    static unsigned char p[44 + 2 * SOUND];
    memcpy(p, "RIFF....WAVEfmt ", 16);
    le_bytes(p + 4, 36 + 2 * SOUND, 4);
    le_bytes(p + 16, 16, 4);
    le_bytes(p + 20, 1, 2);
    le_bytes(p + 22, 1, 2);
    le_bytes(p + 24, RATE, 4);
    le_bytes(p + 28, RATE * 2, 4);
    le_bytes(p + 32, 2, 2);
    le_bytes(p + 34, 16, 2);
    memcpy(p + 36, "data", 4);
    le_bytes(p + 40, 2 * SOUND, 4);
    for (int i = 0; i < SOUND; i++)
        le_bytes(p + 44 + 2 * i,
                 i < from ? 0
                          : (uint32_t)(int)(loud * sin(6.283185307 * 2000 * (i - from) / 8000.0)),
                 2);
    put_file(name, p, sizeof p);
}

static void spectrum(const char *keys, double seconds, double gain, const char *file, float *v) {
    rt_error err = {0};
    rt_dataset *ds = open_ok(uri_of("wav", file, keys), "any");
    CU_ASSERT_EQUAL(rt_data_fit(ds, 1, BANDS, FRAMES, NULL, &err), 0);
    CU_ASSERT_EQUAL(rt_data_sound(ds, 0, 1, BANDS, FRAMES, seconds, gain, v, &err), 0);
    rt_data_close(ds);
}

static int loudest(const float *v, int frame) {
    int best = 0;
    for (int b = 1; b < BANDS; b++)
        if (v[b * FRAMES + frame] > v[best * FRAMES + frame])
            best = b;
    return best;
}

static void sound(void) {
    static float a[BANDS * FRAMES], b[BANDS * FRAMES];
    double worst = 0;
    put_tone("tone.wav", 0, 8000);
    spectrum("?scale=linear&window=256&hop=128", 0, 1, "tone.wav", a);
    CU_ASSERT_EQUAL(loudest(a, 10), 15); /* 32 spaces of 125 Hz, band k at 125 (k + 1) */
    spectrum("?scale=linear&low=1000&high=3000", 0, 1, "tone.wav", a);
    CU_ASSERT_EQUAL(loudest(a, 10), 15);                       /* the middle again */
    spectrum("?scale=linear&high=16000", 0, 1, "tone.wav", a); /* there is nothing above 4 kHz */
    CU_ASSERT_EQUAL(loudest(a, 10), 15);
    spectrum("?scale=linear&low=2500&high=4000", 0, 1, "tone.wav", a);
    CU_ASSERT(a[20 * FRAMES + 10] < -2); /* the tone is not in it */
    /* twice as loud is four times the power, whatever way it became so */
    put_tone("loud.wav", 0, 16000);
    spectrum("", 0, 2, "tone.wav", a);
    spectrum("", 0, 1, "loud.wav", b);
    for (int i = 0; i < BANDS * FRAMES; i++)
        worst = fmax(worst, b[i] > -5 ? fabs((double)a[i] - (double)b[i]) : 0);
    CU_ASSERT(worst < 0.02);
    /* later by 0.1 s as if recorded so; back again over the same samples */
    put_tone("late.wav", 800, 8000);
    spectrum("", 0.1, 1, "tone.wav", a);
    spectrum("", 0, 1, "late.wav", b);
    worst = 0;
    for (int i = 0; i < BANDS * FRAMES; i++)
        worst = fmax(worst, i % FRAMES > 7 ? fabs((double)a[i] - (double)b[i]) : 0);
    CU_ASSERT(worst < 1e-3);
    CU_ASSERT(fabsf(a[0] - logf(1e-6f)) < 1e-4f); /* silence before it */
    refuses(uri_of("wav", "tone.wav", "?scale=bark"), "any", NETRT_EUSAGE, "mel or linear");
    refuses(uri_of("wav", "tone.wav", "?low=300&high=200"), "any", NETRT_EUSAGE, "300 to 200 Hz");
    rt_error err = {0};
    rt_dataset *ds = open_ok(uri_of("wav", "tone.wav", "?low=4000"), "any");
    CU_ASSERT_EQUAL(rt_data_values(ds, 0, 1, BANDS, FRAMES, a, &err), NETRT_EDATA);
    rt_data_close(ds);
}

/* ---- the mean of every pixel ---- */

static netrt *mean_net(const rt_model *model, int threads) {
    netrt_options o = {threads, 16, 0};
    netrt *m = NULL;
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(netrt_open(model, &o, &m, &err), 0);
    return m;
}

static void mean_image(void) {
    rt_input_spec input = toy_input[0];
    rt_model model = toy_model;
    rt_error err = {0};
    rt_feed f;
    float *first = NULL;
    int64_t size = rt_input_count(&model, 0), want[16];
    const char *file = in_dir("mean.safetensors");
    model.input = &input;
    input.mean_image = RT_MEAN_TRAINING;
    input.std[0] = 0.5f;
    rt_dataset *ds = open_ok("digits:40", "train");
    for (int i = 0; i < 16; i++)
        want[i] = i;
    for (int k = 0; k < 4; k++) {
        netrt *m = mean_net(&model, k & 1 ? 3 : 1);
        CU_ASSERT_EQUAL_FATAL(rt_feed_open(&f, m, ds, 16, k & 2 ? 1 << 20 : 0, 1, &err), 0);
        CU_ASSERT_EQUAL_FATAL(rt_feed_learn(&f, NULL, NULL, &err), 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(m->data_mean);
        if (!first) { /* a plain mean of bytes */
            rt_image img = {0};
            double *sum = calloc((size_t)size, sizeof *sum), worst = 0;
            for (int i = 0; i < 40; i++) {
                CU_ASSERT_EQUAL(rt_data_item(ds, i, &img, &err), 0);
                for (int64_t p = 0; p < size; p++)
                    sum[p] += img.data[p] / 255.0 / 40;
            }
            for (int64_t p = 0; p < size; p++)
                worst = fmax(worst, fabs(sum[p] - (double)m->data_mean[p]));
            CU_ASSERT(worst < 1e-6);
            CU_ASSERT_EQUAL(rt_feed_load(&f, want, 16, -1, NULL, NULL), 16);
            CU_ASSERT_EQUAL(rt_data_item(ds, 3, &img, &err), 0);
            worst = 0;
            for (int64_t p = 0; p < size; p++)
                worst = fmax(worst, fabs((img.data[p] / 255.0 - sum[p]) / 0.5 -
                                         (double)f.input[0][3 * size + p]));
            CU_ASSERT(worst < 1e-5);
            first = malloc((size_t)size * sizeof *first);
            memcpy(first, m->data_mean, (size_t)size * sizeof *first);
            CU_ASSERT_EQUAL(netrt_save(m, file, &err), 0);
            free(sum);
            rt_image_free(&img);
        }
        CU_ASSERT(memcmp(first, m->data_mean, (size_t)size * sizeof *first) == 0);
        rt_feed_close(&f);
        netrt_close(m);
    }
    netrt *m = mean_net(&model, 1); /* it travels with the weights */
    CU_ASSERT_EQUAL(netrt_load(m, file, 0, &err), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m->data_mean);
    CU_ASSERT(memcmp(first, m->data_mean, (size_t)size * sizeof *first) == 0);
    netrt_close(m);
    input.mean_image = RT_MEAN_CHANNELS; /* a net without one has no use for it */
    m = mean_net(&model, 1);
    CU_ASSERT_EQUAL(netrt_load(m, file, 0, &err), NETRT_EDATA);
    CU_ASSERT(strstr(err.text, "data.mean") != NULL);
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL(netrt_save(m, file, &err), 0);
    netrt_close(m);
    input.mean_image = RT_MEAN_TRAINING;
    m = mean_net(&model, 1);
    CU_ASSERT_EQUAL(netrt_load(m, file, 0, &err), NETRT_EDATA); /* and this one needs one */
    netrt_close(m);
    rt_data_close(ds);
    free(first);
}

/* "\x93NUMPY" with a header of 118 bytes. */
static const char *put_npy(const char *name, const char *shape, const float *v, size_t n) {
    static unsigned char p[128 + 4 * 4000];
    char head[119];
    snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    memset(p, ' ', 128);
    memcpy(p, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(p + 10, head, strlen(head));
    p[127] = '\n';
    memcpy(p + 128, v, n * 4);
    return put_file(name, p, 128 + 4 * n);
}

static void mean_file(void) {
    static float v[12], got[12];
    rt_error err = {0};
    for (int i = 0; i < 12; i++)
        v[i] = (float)i;
    const char *path = put_npy("m.npy", "3, 2, 2", v, 12);
    CU_ASSERT_EQUAL(rt_npy_image(path, 3, 2, 2, got, &err), 0);
    CU_ASSERT(memcmp(v, got, sizeof v) == 0);
    put_npy("m.npy", "2, 2, 3", v, 12);
    CU_ASSERT_EQUAL(rt_npy_image(path, 3, 2, 2, got, &err), 0);
    CU_ASSERT(got[0] == 0 && got[1] == 3 && got[4] == 1 && got[11] == 11);
    CU_ASSERT_EQUAL(rt_npy_image(path, 3, 4, 1, got, &err), NETRT_EDATA);
    put_npy("m.npy", "3, 2, 2", v, 11);
    CU_ASSERT_EQUAL(rt_npy_image(path, 3, 2, 2, got, &err), NETRT_EDATA);
    v[7] = NAN;
    put_npy("m.npy", "3, 2, 2", v, 12);
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL(rt_npy_image(path, 3, 2, 2, got, &err), NETRT_EDATA);
    CU_ASSERT(strstr(err.text, "not finite") != NULL);
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL(rt_npy_image(in_dir("missing.npy"), 3, 2, 2, got, &err), NETRT_EIO);
}

SUITE_MAIN(TEST(cifar100), TEST(label_pictures), TEST(hostile_maps), TEST(voc), TEST(sound),
           TEST(mean_image), TEST(mean_file))
