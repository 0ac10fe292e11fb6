/* test_rt_image.c: PNG, JPEG, PNM in every form, damaged files, EXIF, resize against values
 * computed with Pillow, preparation. */
#include "rt_files.h"

#include <math.h>
#include <png.h>
#include <turbojpeg.h>
#include <zlib.h>

#include "rt_image.h"

/* --- making files --------------------------------------------------------------------------------
 */

struct bytes {
    unsigned char p[1 << 16];
    size_t n;
};

static void png_append(png_structp png, png_bytep src, size_t n) {
    struct bytes *b = png_get_io_ptr(png);
    if (n > sizeof b->p - b->n)
        png_error(png, "test buffer");
    memcpy(b->p + b->n, src, n);
    b->n += n;
}
static void png_flush_nothing(png_structp png) {
    (void)png;
}

/* Writes width x height samples row by row as libpng wants them; palette of 4 colours for type 3.
 */
static void make_png(struct bytes *b, int width, int height, int depth, int type, int interlace,
                     const unsigned char *samples, size_t stride, const unsigned char *exif,
                     size_t exif_size) {
    b->n = 0;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, b, png_append, png_flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type, interlace, 0, 0);
    png_color palette[4] = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {10, 20, 30}};
    png_byte alpha[4] = {255, 255, 128, 0};
    if (type == PNG_COLOR_TYPE_PALETTE) {
        int colours = depth == 1 ? 2 : 4;
        png_set_PLTE(png, info, palette, colours);
        png_set_tRNS(png, info, alpha, colours, NULL);
    }
    if (exif)
        png_set_eXIf_1(png, info, (png_uint_32)exif_size, (png_bytep)(uintptr_t)exif);
    png_bytep rows[64];
    for (int y = 0; y < height; y++)
        rows[y] = (png_bytep)(uintptr_t)(samples + (size_t)y * stride);
    png_write_info(png, info);
    png_write_image(png, rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
}

static void make_jpeg(struct bytes *b, int width, int height, int format, int subsampling,
                      int flags, const unsigned char *pixels) {
    tjhandle h = tjInitCompress();
    unsigned char *out = NULL;
    unsigned long n = 0;
    if (tjCompress2(h, pixels, width, 0, height, format, &out, &n, subsampling, 95, flags) != 0 ||
        n > sizeof b->p)
        exit(1);
    memcpy(b->p, out, n);
    b->n = n;
    tjFree(out);
    tjDestroy(h);
}

/* A minimal TIFF block with the orientation tag. */
static size_t make_exif(unsigned char *p, int big, int orientation) {
    static const unsigned char ii[] = {'I', 'I', 42, 0, 8, 0,  0, 0, 2, 0,    0x0F, 1, 2,
                                       0,   1,   0,  0, 0, 65, 0, 0, 0, 0x12, 1,    3, 0,
                                       1,   0,   0,  0, 0, 0,  0, 0, 0, 0,    0,    0};
    static const unsigned char mm[] = {'M', 'M', 0, 42, 0, 0,  0, 8, 0, 2, 1,    0x0F, 0,
                                       2,   0,   0, 0,  1, 65, 0, 0, 0, 1, 0x12, 0,    3,
                                       0,   0,   0, 1,  0, 0,  0, 0, 0, 0, 0,    0};
    memcpy(p, big ? mm : ii, sizeof ii);
    p[big ? 31 : 30] = (unsigned char)orientation;
    return sizeof ii;
}

static void insert_exif(struct bytes *b, int big, int orientation) {
    unsigned char app1[64] = {0xFF, 0xE1, 0, 0, 'E', 'x', 'i', 'f', 0, 0};
    size_t n = 10 + make_exif(app1 + 10, big, orientation);
    app1[3] = (unsigned char)(n - 2);
    memmove(b->p + 2 + n, b->p + 2, b->n - 2);
    memcpy(b->p + 2, app1, n);
    b->n += n;
}

/* --- reading -------------------------------------------------------------------------------------
 */

static void png_of_every_kind(void) {
    static unsigned char noise[64 * 64 * 8];
    noise_bytes(noise, sizeof noise);
    static const struct {
        int depth, type, channels;
    } kinds[] = {{1, 0, 1}, {2, 0, 1}, {4, 0, 1}, {8, 0, 1}, {16, 0, 1}, {8, 2, 3}, {16, 2, 3},
                 {1, 3, 3}, {2, 3, 3}, {8, 3, 3}, {8, 4, 1}, {16, 4, 1}, {8, 6, 3}, {16, 6, 3}};
    static const int samples_of[] = {1, 0, 3, 1, 2, 0, 4};
    struct bytes b;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int interlace = 0; interlace < 2; interlace++) {
            int w = 13, h = 9, depth = kinds[k].depth, ch = samples_of[kinds[k].type];
            size_t stride = ((size_t)(w * ch * depth) + 7) / 8;
            if (kinds[k].type == 3 && depth == 8)
                for (size_t i = 0; i < stride * (size_t)h; i++)
                    noise[i] &= 3;
            make_png(&b, w, h, depth, kinds[k].type, interlace, noise, stride, NULL, 0);
            noise_bytes(noise, sizeof noise);
            rt_image img = {0};
            rt_error e = {0};
            CU_ASSERT_EQUAL(rt_image_decode(&img, b.p, b.n, "x.png", &e), 0);
            CU_ASSERT(img.width == w && img.height == h && img.channels == kinds[k].channels);
            if (depth == 8 && (kinds[k].type == 0 || kinds[k].type == 2))
                CU_ASSERT(memcmp(img.data, noise, stride * (size_t)h) == 0);
            if (depth == 16 && kinds[k].type == 0)
                CU_ASSERT(abs(img.data[5] - noise[10]) <= 1);
            if (depth == 1 && kinds[k].type == 0)
                CU_ASSERT(img.data[0] == (noise[0] & 128 ? 255 : 0));
            if (depth == 8 && kinds[k].type == 4) /* grey over white */
                CU_ASSERT_EQUAL(img.data[0],
                                (noise[0] * noise[1] + 255 * (255 - noise[1]) + 127) / 255);
            rt_image_free(&img);
        }
}

static void palette_with_transparency(void) {
    const unsigned char index[4] = {0, 1, 2, 3};
    struct bytes b;
    make_png(&b, 4, 1, 8, PNG_COLOR_TYPE_PALETTE, 0, index, 4, NULL, 0);
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_EQUAL_FATAL(rt_image_decode(&img, b.p, b.n, "p.png", &e), 0);
    const unsigned char want[12] = {0, 0, 0, 255, 0, 0, 127, 255, 127, 255, 255, 255};
    CU_ASSERT(memcmp(img.data, want, 12) == 0);
    rt_image_free(&img);
}

/* Pillow's Image.new("CMYK", (8, 8), (0, 255, 255, 0)) saved as JPEG: red, with Adobe's marker. */
static const unsigned char cmyk_jpeg[177] = {
    255, 216, 255, 238, 0,  14, 65, 100, 111, 98,  101, 0,   100, 0,   0,   0,   0,  0,  255, 219,
    0,   67,  0,   3,   2,  2,  3,  2,   2,   3,   3,   3,   3,   4,   3,   3,   4,  5,  8,   5,
    5,   4,   4,   5,   10, 7,  7,  6,   8,   12,  10,  12,  12,  11,  10,  11,  11, 13, 14,  18,
    16,  13,  14,  17,  14, 11, 11, 16,  22,  16,  17,  19,  20,  21,  21,  21,  12, 15, 23,  24,
    22,  20,  24,  18,  20, 21, 20, 255, 192, 0,   20,  8,   0,   8,   0,   8,   4,  67, 17,  0,
    77,  17,  0,   89,  17, 0,  75, 17,  0,   255, 196, 0,   20,  0,   1,   0,   0,  0,  0,   0,
    0,   0,   0,   0,   0,  0,  0,  0,   0,   0,   9,   255, 196, 0,   20,  16,  1,  0,  0,   0,
    0,   0,   0,   0,   0,  0,  0,  0,   0,   0,   0,   0,   0,   255, 218, 0,   14, 4,  67,  0,
    77,  0,   89,  0,   75, 0,  0,  63,  0,   84,  197, 80,  170, 42,  111, 255, 217};

static void jpeg_of_every_kind(void) {
    unsigned char rgb[32 * 24 * 3], grey[32 * 24];
    for (int i = 0; i < 32 * 24; i++) {
        rgb[3 * i] = (unsigned char)(i % 32 * 8);
        rgb[3 * i + 1] = (unsigned char)(i / 32 * 10);
        rgb[3 * i + 2] = 128;
        grey[i] = (unsigned char)(i % 32 * 8);
    }
    struct bytes b;
    for (int k = 0; k < 4; k++) {
        if (k < 2)
            make_jpeg(&b, 32, 24, TJPF_RGB, k ? TJSAMP_420 : TJSAMP_444, 0, rgb);
        else if (k == 2)
            make_jpeg(&b, 32, 24, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE, rgb);
        else
            make_jpeg(&b, 32, 24, TJPF_GRAY, TJSAMP_GRAY, 0, grey);
        rt_image img = {0};
        rt_error e = {0};
        CU_ASSERT_EQUAL_FATAL(rt_image_decode(&img, b.p, b.n, "x.jpg", &e), 0);
        CU_ASSERT(img.width == 32 && img.height == 24 && img.channels == (k == 3 ? 1 : 3));
        int worst = 0, n = 32 * 24 * img.channels;
        for (int i = 0; i < n; i++) {
            int d = abs(img.data[i] - (k == 3 ? grey[i] : rgb[i]));
            worst = d > worst ? d : worst;
        }
        CU_ASSERT(worst <= 16);
        rt_image_free(&img);
    }
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_image_decode(&img, cmyk_jpeg, sizeof cmyk_jpeg, "cmyk.jpg", &e), 0);
    CU_ASSERT(img.channels == 3 && img.data[0] > 250 && img.data[1] < 5 && img.data[2] < 5);
    rt_image_free(&img);
}

/* An 8 x 16 picture whose left upper quarter is white, stored turned and tagged. */
static void exif_orientation_is_applied(void) {
    for (int o = 1; o <= 8; o++)
        for (int big = 0; big < 3; big++) {
            /* Upright picture: w = 16, h = 8, white where x < 8 and y < 4. */
            int swap = o >= 5, w = swap ? 8 : 16, h = swap ? 16 : 8;
            unsigned char stored[16 * 8];
            for (int y = 0; y < 8; y++)
                for (int x = 0; x < 16; x++) {
                    int sx = swap ? y : x, sy = swap ? x : y; /* where the tag puts (x, y) */
                    if (o == 2 || o == 3 || o == 7 || o == 8)
                        sx = w - 1 - sx;
                    if (o == 3 || o == 4 || o == 6 || o == 7)
                        sy = h - 1 - sy;
                    stored[sy * w + sx] = x < 8 && y < 4 ? 255 : 0;
                }
            struct bytes b;
            unsigned char exif[64];
            if (big == 2) {
                make_png(&b, w, h, 8, 0, 0, stored, (size_t)w, exif, make_exif(exif, 0, o));
            } else {
                make_jpeg(&b, w, h, TJPF_GRAY, TJSAMP_GRAY, 0, stored);
                insert_exif(&b, big, o);
            }
            rt_image img = {0};
            rt_error e = {0};
            CU_ASSERT_EQUAL_FATAL(rt_image_decode(&img, b.p, b.n, "o", &e), 0);
            CU_ASSERT(img.width == 16 && img.height == 8);
            CU_ASSERT(img.data[0] > 200 && img.data[15] < 50 && img.data[7 * 16] < 50 &&
                      img.data[7 * 16 + 15] < 50);
            rt_image_free(&img);
        }
    /* Orientation 6 by hand: stored row 0 is the right edge of the upright picture. */
    rt_image img = {0};
    rt_error e = {0};
    rt_image_reserve(&img, 3, 2, 1, &e);
    memcpy(img.data, "abcdef", 6);
    rt_image_orient(&img, 6, &e);
    CU_ASSERT(img.width == 2 && img.height == 3 && memcmp(img.data, "daebfc", 6) == 0);
    rt_image_orient(&img, 8, &e);
    CU_ASSERT(img.width == 3 && memcmp(img.data, "abcdef", 6) == 0);
    rt_image_free(&img);
}

static void exif_reader_is_bounded(void) {
    unsigned char exif[64];
    size_t n = make_exif(exif, 1, 6);
    CU_ASSERT_EQUAL(rt_exif_orientation(exif, n), 6);
    for (size_t cut = 0; cut < n; cut++) {
        unsigned char *exact = malloc(cut ? cut : 1); /* the sanitizer sees any byte too far */
        memcpy(exact, exif, cut);
        int o = rt_exif_orientation(exact, cut);
        CU_ASSERT(o == 1 || o == 6);
        free(exact);
    }
    for (size_t at = 0; at < n; at++)
        for (int bit = 0; bit < 8; bit++) {
            exif[at] = (unsigned char)(exif[at] ^ 1 << bit);
            int o = rt_exif_orientation(exif, n);
            CU_ASSERT(o >= 1 && o <= 8);
            exif[at] = (unsigned char)(exif[at] ^ 1 << bit);
        }
    int o, adobe;
    const unsigned char endless[] = {0xFF, 0xD8, 0xFF, 0xE1, 0xFF, 0xFF, 'E', 'x'};
    rt_exif_scan_jpeg(endless, sizeof endless, &o, &adobe);
    CU_ASSERT(o == 1 && adobe == 0);
}

static void pnm_of_every_kind(void) {
    static const struct {
        const char *bytes;
        size_t n;
        int w, h, c;
        const char *want;
    } good[] = {
        {"P5\n2 2\n255\nabcd", 15, 2, 2, 1, "abcd"},
        {"P5 #note\n1 # and\n 2 255 ab", 26, 1, 2, 1, "ab"},
        {"P6\n1 1\n255\nxyz", 14, 1, 1, 3, "xyz"},
        {"P2 3 1 4  0 2 4", 15, 3, 1, 1, "\0\x80\xff"},
        {"P3 1 1 255 1 2 3\n", 17, 1, 1, 3, "\1\2\3"},
        {"P5 1 1 65535\n\xff\xff", 15, 1, 1, 1, "\xff"},
        {"P5 2 1 1\n\0\1", 11, 2, 1, 1, "\0\xff"},
    };
    for (size_t k = 0; k < sizeof good / sizeof good[0]; k++) {
        rt_image img = {0};
        rt_error e = {0};
        CU_ASSERT_EQUAL_FATAL(
            rt_image_decode(&img, (const unsigned char *)good[k].bytes, good[k].n, "x", &e), 0);
        CU_ASSERT(img.width == good[k].w && img.height == good[k].h && img.channels == good[k].c);
        CU_ASSERT(memcmp(img.data, good[k].want, (size_t)(good[k].w * good[k].h * good[k].c)) == 0);
        rt_image_free(&img);
    }
    static const char *const bad[] = {"P5\n2 2\n255\nabc",
                                      "P5\n0 2\n255\nabc",
                                      "P5\n2 2\n0\nabcd",
                                      "P5\n2 2\n65536\nabcd",
                                      "P5\n99999 99999\n255\na",
                                      "P2 2 1 4 1 5",
                                      "P2 2 1 4 1 x",
                                      "P5",
                                      "P5 1",
                                      "P5 1 1 255",
                                      "P6\n1 1\n255\nxy",
                                      "P5 -1 1 255 a",
                                      "P5 99999999999999999999 1 255 a"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        rt_image img = {0};
        rt_error e = {0};
        int code = rt_image_decode(&img, (const unsigned char *)bad[k], strlen(bad[k]), "x", &e);
        CU_ASSERT(code == NETRT_EDATA || code == NETRT_ELIMIT);
        rt_image_free(&img);
    }
}

/* Every truncation is refused; a flipped bit is refused or gives some picture, without a fault. */
static void damage(const unsigned char *bytes, size_t n, int every_cut_fails, int flips_detected) {
    size_t live = rt_alloc_live();
    int accepted = 0;
    for (size_t cut = 0; cut < n; cut++) {
        unsigned char *exact = malloc(cut ? cut : 1);
        memcpy(exact, bytes, cut);
        rt_image img = {0};
        rt_error e = {0};
        int code = rt_image_decode(&img, exact, cut, "cut", &e);
        if (every_cut_fails)
            CU_ASSERT_EQUAL(code, NETRT_EDATA);
        CU_ASSERT(code == 0 || (e.text[0] && strstr(e.text, "cut") != NULL));
        rt_image_free(&img);
        free(exact);
    }
    unsigned char *copy = malloc(n);
    memcpy(copy, bytes, n);
    for (size_t at = 0; at < n; at++)
        for (int bit = 0; bit < 8; bit += 1) {
            copy[at] = (unsigned char)(copy[at] ^ 1 << bit);
            rt_image img = {0};
            rt_error e = {0};
            int code = rt_image_decode(&img, copy, n, "flip", &e);
            accepted += code == 0;
            CU_ASSERT(code == 0 || code == NETRT_EDATA || code == NETRT_ELIMIT);
            rt_image_free(&img);
            copy[at] = (unsigned char)(copy[at] ^ 1 << bit);
        }
    if (flips_detected)
        CU_ASSERT_EQUAL(accepted, 0);
    free(copy);
    CU_ASSERT_EQUAL(rt_alloc_live(), live);
}

static void damaged_files(void) {
    static unsigned char noise[16 * 16 * 4];
    noise_bytes(noise, sizeof noise);
    struct bytes b;
    make_png(&b, 8, 8, 8, PNG_COLOR_TYPE_RGB, 0, noise, 24, NULL, 0);
    damage(b.p, b.n, 1, 0); /* flips in the case bits of chunk names may stay unnoticed */
    make_png(&b, 9, 7, 8, PNG_COLOR_TYPE_RGB_ALPHA, 1, noise, 36, NULL, 0);
    damage(b.p, b.n, 1, 0);
    make_png(&b, 8, 8, 2, PNG_COLOR_TYPE_PALETTE, 0, noise, 2, NULL, 0);
    damage(b.p, b.n, 1, 0);
    make_jpeg(&b, 16, 16, TJPF_RGB, TJSAMP_420, 0, noise);
    insert_exif(&b, 1, 6);
    damage(b.p, b.n, 1, 0);
    make_jpeg(&b, 16, 16, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE, noise);
    damage(b.p, b.n, 0, 0);
    damage(cmyk_jpeg, sizeof cmyk_jpeg, 1, 0);
    damage((const unsigned char *)"P6\n2 2\n255\nabcdefghijkl", 23, 1, 0);
    damage((const unsigned char *)"P2\n2 2\n9\n1 2 3 4", 16, 1, 0);
}

static void lying_headers_cost_nothing(void) {
    unsigned char pixel[3] = {1, 2, 3};
    struct bytes b;
    make_png(&b, 1, 1, 8, PNG_COLOR_TYPE_RGB, 0, pixel, 3, NULL, 0);
    /* 17,000 x 17,000 in 70 bytes: IHDR with a right CRC. */
    unsigned char ihdr[17] = {'I', 'H',  'D',  'R', 0, 0, 0x42, 0x68, 0,
                              0,   0x42, 0x68, 8,   2, 0, 0,    0};
    unsigned long crc = crc32(crc32(0, NULL, 0), ihdr, 17);
    memcpy(b.p + 12, ihdr, 17);
    for (int i = 0; i < 4; i++)
        b.p[29 + i] = (unsigned char)(crc >> (24 - 8 * i));
    rt_image img = {0};
    rt_error e = {0};
    rt_alloc_set_limit(rt_alloc_live() + (4 << 20));
    CU_ASSERT_EQUAL(rt_image_decode(&img, b.p, b.n, "bomb.png", &e), NETRT_EDATA);
    CU_ASSERT(strstr(e.text, "17000 x 17000") != NULL);
    rt_alloc_set_limit(0);
    rt_image_free(&img);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_image_reserve(&img, 65536, 1, 1, &e), NETRT_ELIMIT);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_image_reserve(&img, 65535, 65535, 1, &e), NETRT_ELIMIT);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_image_reserve(&img, 0, 5, 1, &e), NETRT_EDATA);
}

static void no_memory_no_leak(void) {
    static unsigned char noise[16 * 16 * 4];
    noise_bytes(noise, sizeof noise);
    struct bytes png, jpeg;
    make_png(&png, 9, 7, 8, PNG_COLOR_TYPE_RGB_ALPHA, 1, noise, 36, NULL, 0);
    make_jpeg(&jpeg, 16, 16, TJPF_RGB, TJSAMP_420, 0, noise);
    insert_exif(&jpeg, 1, 6);
    size_t live = rt_alloc_live();
    for (int which = 0; which < 3; which++)
        for (int nth = 1; nth < 100; nth++) {
            rt_image img = {0}, small = {0};
            rt_error e = {0};
            rt_alloc_inject(nth, 0);
            int code = which == 1 ? rt_image_decode(&img, jpeg.p, jpeg.n, "j", &e)
                                  : rt_image_decode(&img, png.p, png.n, "p", &e);
            if (which == 2 && code == 0)
                code = rt_image_resize(&small, &img, 4, 5, &e);
            if (which == 0 && code == 0) {
                unsigned char *out;
                size_t n;
                code = rt_png_encode(&img, &out, &n, &e);
                rt_free(out);
            }
            rt_alloc_inject(0, 0);
            rt_image_free(&img);
            rt_image_free(&small);
            CU_ASSERT_EQUAL(rt_alloc_live(), live);
            CU_ASSERT(code == 0 || code == NETRT_ELIMIT);
            if (code == 0 && nth > 60)
                break;
        }
}

static void sniffs_by_content(void) {
    rt_image img = {0};
    rt_error e = {0};
    CU_ASSERT_EQUAL(rt_image_decode(&img, (const unsigned char *)"GIF89a......", 12, "a.png", &e),
                    NETRT_EDATA);
    CU_ASSERT(strstr(e.text, "a.png") && strstr(e.text, "GIF"));
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_image_read(&img, put_file("none.jpg", "", 0), &e), NETRT_EDATA);
    CU_ASSERT(strstr(e.text, "empty") != NULL);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_image_read(&img, in_dir("missing.png"), &e), NETRT_EIO);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_image_read(&img, put_file("pgm.jpg", "P5 1 1 255 x", 12), &e), 0);
    rt_image_free(&img);
}

/* --- writing -------------------------------------------------------------------------------------
 */

static void png_round_trip(void) {
    for (int c = 1; c <= 3; c += 2) {
        rt_image img = {0}, back = {0};
        rt_error e = {0};
        rt_image_reserve(&img, 37, 21, c, &e);
        noise_bytes(img.data, (size_t)(37 * 21 * c));
        unsigned char *a, *b;
        size_t na, nb;
        CU_ASSERT_EQUAL_FATAL(rt_png_encode(&img, &a, &na, &e), 0);
        CU_ASSERT_EQUAL_FATAL(rt_png_encode(&img, &b, &nb, &e), 0);
        CU_ASSERT(na == nb && memcmp(a, b, na) == 0);
        CU_ASSERT_EQUAL(rt_image_decode(&back, a, na, "back", &e), 0);
        CU_ASSERT(back.channels == c && memcmp(back.data, img.data, (size_t)(37 * 21 * c)) == 0);
        CU_ASSERT_EQUAL(rt_png_write(&img, in_dir("w.png"), &e), 0);
        CU_ASSERT_EQUAL(rt_pnm_write(&img, in_dir("w.pnm"), &e), 0);
        CU_ASSERT_EQUAL(rt_image_read(&back, in_dir("w.png"), &e), 0);
        CU_ASSERT_EQUAL(rt_image_read(&back, in_dir("w.pnm"), &e), 0);
        CU_ASSERT(back.channels == c && memcmp(back.data, img.data, (size_t)(37 * 21 * c)) == 0);
        CU_ASSERT_EQUAL(rt_png_write(&img, "/dev/full", &e), NETRT_EIO);
        rt_free(a);
        rt_free(b);
        rt_image_free(&img);
        rt_image_free(&back);
    }
}

/* --- resize, crop, colour ------------------------------------------------------------------------
 */

/* CRC-32 of Pillow 9 to 13's Image.resize((W, H), BILINEAR) of noise_bytes pictures. */
static void resize_equals_pillow(void) {
    static const struct {
        int w, h, c, to_w, to_h;
        unsigned long crc;
    } want[] = {
        {37, 23, 1, 16, 16, 0x571bf6ebu},     {37, 23, 3, 16, 16, 0x4eb00fa0u},
        {16, 16, 3, 37, 23, 0x6f3de9a2u},     {100, 7, 3, 9, 64, 0xee84425fu},
        {5, 5, 1, 5, 9, 0xd6e15f4bu},         {5, 5, 1, 9, 5, 0x128ecdf1u},
        {64, 64, 3, 1, 1, 0x3577255cu},       {1, 1, 3, 4, 4, 0x4faf15a5u},
        {300, 200, 3, 224, 149, 0xddc5996au}, {33, 65, 1, 32, 64, 0x5764cd99u},
    };
    for (size_t k = 0; k < sizeof want / sizeof want[0]; k++) {
        rt_image src = {0}, dst = {0};
        rt_error e = {0};
        rt_image_reserve(&src, want[k].w, want[k].h, want[k].c, &e);
        noise_bytes(src.data, (size_t)(want[k].w * want[k].h * want[k].c));
        CU_ASSERT_EQUAL(rt_image_resize(&dst, &src, want[k].to_w, want[k].to_h, &e), 0);
        unsigned n = (unsigned)(want[k].to_w * want[k].to_h * want[k].c);
        CU_ASSERT_EQUAL(crc32(crc32(0, NULL, 0), dst.data, n), want[k].crc);
        rt_image_free(&src);
        rt_image_free(&dst);
    }
    rt_image rgb = {0}, grey = {0};
    rt_error e = {0};
    rt_image_reserve(&rgb, 64, 64, 3, &e);
    noise_bytes(rgb.data, 64 * 64 * 3);
    CU_ASSERT_EQUAL(rt_image_convert(&grey, &rgb, 1, &e), 0);
    CU_ASSERT_EQUAL(crc32(crc32(0, NULL, 0), grey.data, 64 * 64), 0x8dcf214ful); /* convert("L") */
    rt_image_free(&rgb);
    rt_image_free(&grey);
}

static void crops_inside_and_outside(void) {
    rt_image src = {0}, dst = {0};
    rt_error e = {0};
    rt_image_reserve(&src, 3, 2, 1, &e);
    memcpy(src.data, "abcdef", 6);
    rt_image_crop(&dst, &src, 1, 1, 2, 1, '.', &e);
    CU_ASSERT(memcmp(dst.data, "ef", 2) == 0);
    rt_image_crop(&dst, &src, -1, -1, 5, 4, '.', &e);
    CU_ASSERT(memcmp(dst.data, "......abc..def......", 20) == 0);
    rt_image_crop(&dst, &src, 50, 0, 2, 2, '.', &e);
    CU_ASSERT(memcmp(dst.data, "....", 4) == 0);
    rt_image_crop(&dst, &src, -50, 0, 2, 2, '.', &e);
    CU_ASSERT(memcmp(dst.data, "....", 4) == 0);
    rt_image_free(&src);
    rt_image_free(&dst);
}

/* --- preparation ---------------------------------------------------------------------------------
 */

static void lenet_preparation(void) {
    struct rt_prep prep = {
        .channels = 1, .height = 32, .width = 32, .pad = 1, .lo = -0.1f, .hi = 1.175f};
    rt_image img = {0}, scratch[2] = {{0}, {0}}, back = {0};
    rt_error e = {0};
    float x[32 * 32];
    rt_image_reserve(&img, 28, 28, 1, &e);
    noise_bytes(img.data, 28 * 28);
    img.data[0] = 0;
    img.data[1] = 255;
    CU_ASSERT_EQUAL(rt_prep_apply(&prep, &img, x, scratch, &e), 0);
    CU_ASSERT(x[0] == -0.1f && x[1023] == -0.1f && x[2 * 32 + 2] == -0.1f);
    CU_ASSERT(x[2 * 32 + 3] == 1.175f);
    CU_ASSERT(fabsf(x[5 * 32 + 9] - (-0.1f + 1.275f * (float)img.data[3 * 28 + 7] / 255.0f)) <
              1e-6f);
    CU_ASSERT_EQUAL(rt_prep_invert(&prep, x, &back, &e), 0);
    CU_ASSERT(back.data[2 * 32 + 3] == 255 && back.data[5 * 32 + 9] == img.data[3 * 28 + 7]);
    prep.flip = 1;
    CU_ASSERT_EQUAL(rt_prep_apply(&prep, &img, x, NULL, &e), 0);
    CU_ASSERT(x[2 * 32 + 28] == 1.175f);
    rt_image_free(&img);
    rt_image_free(&back);
    rt_image_free(&scratch[0]);
    rt_image_free(&scratch[1]);
}

static void colour_preparation(void) {
    struct rt_prep prep = {.channels = 3,
                           .height = 4,
                           .width = 4,
                           .resize_short = 8,
                           .crop = 1,
                           .lo = 0,
                           .hi = 255,
                           .mean = {10, 20, 30},
                           .std = {1, 2, 0},
                           .bgr = 1};
    rt_image img = {0};
    rt_error e = {0};
    float x[3 * 16];
    rt_image_reserve(&img, 30, 20, 3, &e);
    for (int i = 0; i < 600; i++)
        memcpy(img.data + 3 * i, "\x64\x32\xC8", 3);
    CU_ASSERT_EQUAL(rt_prep_apply(&prep, &img, x, NULL, &e), 0);
    CU_ASSERT(x[0] == 170.0f && x[16] == 15.0f && x[32] == 90.0f); /* blue, green, red */
    rt_image back = {0};
    CU_ASSERT_EQUAL(rt_prep_invert(&prep, x, &back, &e), 0);
    CU_ASSERT(memcmp(back.data, "\x64\x32\xC8", 3) == 0);
    rt_image_reserve(&img, 7, 5, 1, &e); /* grey picture, colour network; too small: warped */
    memset(img.data, 77, 35);
    prep.resize_short = 0;
    prep.crop = 0;
    CU_ASSERT_EQUAL(rt_prep_apply(&prep, &img, x, NULL, &e), 0);
    CU_ASSERT(x[0] == 47.0f && x[47] == 67.0f);
    prep.channels = 2;
    CU_ASSERT_EQUAL(rt_prep_apply(&prep, &img, x, NULL, &e), NETRT_EUSAGE);
    rt_image_free(&img);
    rt_image_free(&back);
}

SUITE_MAIN(TEST(png_of_every_kind), TEST(palette_with_transparency), TEST(jpeg_of_every_kind),
           TEST(exif_orientation_is_applied), TEST(exif_reader_is_bounded), TEST(pnm_of_every_kind),
           TEST(damaged_files), TEST(lying_headers_cost_nothing), TEST(no_memory_no_leak),
           TEST(sniffs_by_content), TEST(png_round_trip), TEST(resize_equals_pillow),
           TEST(crops_inside_and_outside), TEST(lenet_preparation), TEST(colour_preparation))
