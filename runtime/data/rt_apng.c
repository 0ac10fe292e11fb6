/* rt_apng.c: frames that are PNG files already become one animation: their compressed data are copied
 * as they are (rt_apng.h).
 */
#include "rt_apng.h"

#include <string.h>
#include <zlib.h>

#include "rt_alloc.h"
#include "rt_io.h"

enum { SIGNATURE = 8, HEAD = 13, FRAME_MAX = 1 << 30 };

typedef struct Apng {
    struct rt_out out;
    unsigned char head[HEAD]; /* of the first frame: size, depth, kind */
    uint32_t sequence;
    int frames, ms;
} Apng;

static void put32(unsigned char *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static uint32_t get32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A chunk of two parts, either may be empty. */
static int chunk(Apng *a, const char *kind, const unsigned char *first, size_t n,
                 const unsigned char *second, size_t m, rt_error *err) {
    unsigned char word[4];
    uLong crc = crc32(crc32(0, NULL, 0), (const unsigned char *)kind, 4);
    crc = n ? crc32(crc, first, (uInt)n) : crc;
    crc = m ? crc32(crc, second, (uInt)m) : crc;
    put32(word, (uint32_t)(n + m));
    if (rt_out_write(&a->out, word, 4, err) || rt_out_write(&a->out, kind, 4, err) ||
        (n && rt_out_write(&a->out, first, n, err)) || (m && rt_out_write(&a->out, second, m, err)))
        return err->code;
    put32(word, (uint32_t)crc);
    return rt_out_write(&a->out, word, 4, err);
}

static int begin(Apng *a, rt_error *err) {
    static const unsigned char signature[SIGNATURE] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    unsigned char control[8] = {0}; /* frames; 0: for ever */
    put32(control, (uint32_t)a->frames);
    if (rt_out_write(&a->out, signature, SIGNATURE, err) ||
        chunk(a, "IHDR", a->head, HEAD, NULL, 0, err))
        return err->code;
    return chunk(a, "acTL", control, 8, NULL, 0, err);
}

static int frame_control(Apng *a, rt_error *err) {
    unsigned char c[26] = {0}; /* sequence, size, place 0 0, delay; no disposal, no blending */
    put32(c, a->sequence++);
    memcpy(c + 4, a->head, 8);
    c[20] = (unsigned char)(a->ms >> 8);
    c[21] = (unsigned char)a->ms;
    c[22] = 1000 >> 8;
    c[23] = 1000 & 255;
    return chunk(a, "fcTL", c, 26, NULL, 0, err);
}

static int frame_data(Apng *a, int frame, const unsigned char *data, size_t n, rt_error *err) {
    unsigned char sequence[4];
    if (frame == 0)
        return chunk(a, "IDAT", data, n, NULL, 0, err);
    put32(sequence, a->sequence++);
    return chunk(a, "fdAT", sequence, 4, data, n, err);
}

/* All of one frame's file. */
static int add_frame(Apng *a, int frame, const char *path, rt_error *err) {
    unsigned char *file = NULL;
    size_t size = 0, at = SIGNATURE, found = 0;
    if (rt_io_read_file(path, FRAME_MAX, &file, &size, err))
        return err->code;
    int png = size > SIGNATURE + 8 + HEAD && memcmp(file + 1, "PNG", 3) == 0 &&
              memcmp(file + SIGNATURE + 4, "IHDR", 4) == 0;
    if (png && frame == 0)
        memcpy(a->head, file + SIGNATURE + 8, HEAD);
    if (!png || memcmp(a->head, file + SIGNATURE + 8, HEAD) != 0)
        rt_fail(err, NETRT_EDATA, "%s: %s", path, png ? "of another size than the first frame" : "not a PNG file");
    if (!err->code && frame == 0)
        begin(a, err);
    if (!err->code)
        frame_control(a, err);
    while (!err->code && size - at >= 12) {
        size_t n = get32(file + at);
        if (n > size - at - 12) {
            rt_fail(err, NETRT_EDATA, "%s: ends inside a chunk", path);
        } else if (memcmp(file + at + 4, "IDAT", 4) == 0) {
            frame_data(a, frame, file + at + 8, n, err);
            found++;
        }
        at += n + 12;
        if (at > size)
            break;
    }
    if (!err->code && !found)
        rt_fail(err, NETRT_EDATA, "%s: holds no picture", path);
    rt_free(file);
    return err->code;
}

int rt_apng_write(const char *path, rt_apng_name name, void *context, int frames, int ms,
                  rt_error *err) {
    Apng a = {.frames = frames, .ms = ms};
    char file[4400];
    if (frames < 1 || frames > RT_APNG_FRAMES || ms < 0 || ms > 65535)
        return rt_fail(err, NETRT_ELIMIT, "an animation of %d frames", frames);
    if (rt_out_begin(&a.out, path, err))
        return err->code;
    for (int i = 0; i < frames && !err->code; i++) {
        name(context, i, file, sizeof file);
        add_frame(&a, i, file, err);
    }
    if (!err->code)
        chunk(&a, "IEND", NULL, 0, NULL, 0, err);
    if (err->code) {
        rt_out_abort(&a.out);
        return err->code;
    }
    return rt_out_finish(&a.out, err);
}
