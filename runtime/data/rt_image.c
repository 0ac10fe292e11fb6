/* rt_image.c: the picture struct, reading by content, crop, colour, turning, preparation.
 *
 * requires: nothing of its input; every dimension is checked before memory is taken.
 * ensures: an rt_image that a function returned with 0 has width, height >= 1, channels 1 or 3 and
 * data of exactly that many bytes.  See rt_image.h for the order of steps in rt_prep_apply.
 */
#include "rt_image.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <math.h>
#include <string.h>

int rt_image_reserve(rt_image *img, int width, int height, int channels, rt_error *err) {
    if (width < 1 || height < 1 || (channels != 1 && channels != 3 && channels != 4))
        return rt_fail(err, NETRT_EDATA, "picture of %d x %d pixels, %d channels", width, height,
                       channels);
    if (width > RT_IMAGE_MAX_SIDE || height > RT_IMAGE_MAX_SIDE)
        return rt_fail(err, NETRT_ELIMIT, "picture of %d x %d pixels: a side may have %d", width,
                       height, RT_IMAGE_MAX_SIDE);
    int64_t bytes = (int64_t)width * height * channels; /* < 2^34: cannot overflow */
    if (bytes > RT_IMAGE_MAX_BYTES)
        return rt_fail(err, NETRT_ELIMIT,
                       "picture of %d x %d x %d needs %lld bytes, the limit is %lld", width, height,
                       channels, (long long)bytes, (long long)RT_IMAGE_MAX_BYTES);
    if (!img->data || img->capacity < (size_t)bytes) {
        unsigned char *data = rt_alloc((size_t)bytes, 1, "picture", err);
        if (!data)
            return NETRT_ELIMIT;
        rt_free(img->data);
        img->data = data;
        img->capacity = (size_t)bytes;
    }
    img->width = width;
    img->height = height;
    img->channels = channels;
    return NETRT_OK;
}

int rt_image_reserve_for(rt_image *img, int width, int height, int channels, const char *name,
                         rt_error *err) {
    rt_error local = {0};
    if (rt_image_reserve(img, width, height, channels, &local) == NETRT_OK)
        return NETRT_OK;
    return rt_fail(err, local.code, "%s: %s", name, local.text);
}

void rt_image_free(rt_image *img) {
    rt_free(img->data);
    *img = (rt_image){0};
}

enum rt_image_format rt_image_sniff(const unsigned char *data, size_t size) {
    static const unsigned char png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    if (size >= 8 && memcmp(data, png, 8) == 0)
        return RT_FORMAT_PNG;
    if (size >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF)
        return RT_FORMAT_JPEG;
    if (size >= 3 && data[0] == 'P' && data[1] >= '2' && data[1] <= '6' && data[1] != '4' &&
        (data[2] == ' ' || data[2] == '#' || (data[2] >= '\t' && data[2] <= '\r')))
        return RT_FORMAT_PNM;
    return RT_FORMAT_UNKNOWN;
}

/* Names the formats users try most, so that the message can say what the file is. */
static const char *foreign_format(const unsigned char *p, size_t n) {
    if (n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0)
        return "a WebP picture";
    if (n >= 4 && memcmp(p, "GIF8", 4) == 0)
        return "a GIF picture";
    if (n >= 2 && p[0] == 'B' && p[1] == 'M')
        return "a BMP picture";
    if (n >= 4 && (memcmp(p, "II*\0", 4) == 0 || memcmp(p, "MM\0*", 4) == 0))
        return "a TIFF picture";
    if (n >= 12 && memcmp(p + 4, "ftyp", 4) == 0)
        return "a HEIC, AVIF or MP4 file";
    if (n >= 5 && memcmp(p, "%PDF-", 5) == 0)
        return "a PDF document";
    return n == 0 ? "empty" : "no picture";
}

int rt_image_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                    rt_error *err) {
    switch (rt_image_sniff(data, size)) {
    case RT_FORMAT_PNG:
        return rt_png_decode(img, data, size, name, err);
    case RT_FORMAT_JPEG:
        return rt_jpeg_decode(img, data, size, name, err);
    case RT_FORMAT_PNM:
        return rt_pnm_decode(img, data, size, name, err);
    default:
        break;
    }
    return rt_fail(err, NETRT_EDATA, "%s is %s\nhelp: PNG, JPEG, PGM and PPM can be read", name,
                   foreign_format(data, size));
}

int rt_image_read(rt_image *img, const char *path, rt_error *err) {
    unsigned char *data;
    size_t size;
    int code = rt_io_read_file(path, RT_IMAGE_MAX_BYTES, &data, &size, err);
    if (code == NETRT_OK)
        code = rt_image_decode(img, data, size, path, err);
    rt_free(data);
    return code;
}

/* --- geometry and colour -----------------------------------------------------------------------
 */

int rt_image_crop(rt_image *dst, const rt_image *src, int x, int y, int width, int height,
                  unsigned char fill, rt_error *err) {
    int code = rt_image_reserve(dst, width, height, src->channels, err);
    if (code != NETRT_OK)
        return code;
    size_t ch = (size_t)src->channels;
    /* Columns from..to of the result lie inside src. */
    int64_t from = x < 0 ? -(int64_t)x : 0, to = (int64_t)src->width - x;
    from = from < width ? from : width;
    to = to < from ? from : to < width ? to : width;
    for (int j = 0; j < height; j++) {
        unsigned char *row = dst->data + (size_t)j * (size_t)width * ch;
        int64_t sy = (int64_t)y + j;
        if (sy < 0 || sy >= src->height) {
            memset(row, fill, (size_t)width * ch);
            continue;
        }
        memset(row, fill, (size_t)from * ch);
        memcpy(row + (size_t)from * ch,
               src->data + ((size_t)sy * (size_t)src->width + (size_t)(x + from)) * ch,
               (size_t)(to - from) * ch);
        memset(row + (size_t)to * ch, fill, (size_t)(width - to) * ch);
    }
    return NETRT_OK;
}

static unsigned char luma(const unsigned char *p) {
    return (unsigned char)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 32768u) >> 16);
}

int rt_image_convert(rt_image *dst, const rt_image *src, int channels, rt_error *err) {
    int code = rt_image_reserve(dst, src->width, src->height, channels, err);
    if (code != NETRT_OK)
        return code;
    size_t n = (size_t)src->width * (size_t)src->height;
    if (channels == src->channels) {
        memcpy(dst->data, src->data, n * (size_t)channels);
    } else if (channels == 1) {
        for (size_t i = 0; i < n; i++)
            dst->data[i] = luma(src->data + 3 * i);
    } else {
        for (size_t i = 0; i < n; i++)
            memset(dst->data + 3 * i, src->data[i], 3);
    }
    return NETRT_OK;
}

/* EXIF: 1 upright, 2 mirrored, 3 turned by 180, 4 flipped, 5..8 the same with the axes swapped. */
int rt_image_orient(rt_image *img, int orientation, rt_error *err) {
    if (orientation < 2 || orientation > 8)
        return NETRT_OK;
    int swap = orientation >= 5, w = img->width, h = img->height;
    int mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    int mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    rt_image out = {0};
    int code = rt_image_reserve(&out, swap ? h : w, swap ? w : h, img->channels, err);
    if (code != NETRT_OK)
        return code;
    size_t ch = (size_t)img->channels;
    for (int y = 0; y < out.height; y++) {
        for (int x = 0; x < out.width; x++) {
            int sx = swap ? y : x, sy = swap ? x : y;
            sx = mirror_x ? w - 1 - sx : sx;
            sy = mirror_y ? h - 1 - sy : sy;
            memcpy(out.data + ((size_t)y * (size_t)out.width + (size_t)x) * ch,
                   img->data + ((size_t)sy * (size_t)w + (size_t)sx) * ch, ch);
        }
    }
    rt_image_free(img);
    *img = out;
    return NETRT_OK;
}

/* --- preparation -------------------------------------------------------------------------------
 */

void rt_short_side(int w, int h, int side, int *nw, int *nh) {
    int64_t longer = (int64_t)side * (w > h ? w : h) / (w > h ? h : w);
    longer = longer > RT_IMAGE_MAX_SIDE ? RT_IMAGE_MAX_SIDE : longer;
    *nw = w > h ? (int)longer : side;
    *nh = w > h ? side : (int)longer;
}

/* Colour and geometry; *out points at in or at one of the two scratch pictures. */
static int prepare_pixels(const struct rt_prep *prep, const rt_image *in, rt_image tmp[2],
                          const rt_image **out, rt_error *err) {
    const rt_image *cur = in;
    int code = NETRT_OK, slot = 0;
    if (cur->channels != prep->channels) {
        code = rt_image_convert(&tmp[slot], cur, prep->channels, err);
        cur = &tmp[slot];
        slot ^= 1;
    }
    if (code == NETRT_OK && prep->resize_short > 0 &&
        prep->resize_short != (cur->width < cur->height ? cur->width : cur->height)) {
        int w, h;
        rt_short_side(cur->width, cur->height, prep->resize_short, &w, &h);
        code = rt_image_resize(&tmp[slot], cur, w, h, err);
        cur = &tmp[slot];
        slot ^= 1;
    }
    if (code == NETRT_OK) {
        int w = cur->width, h = cur->height;
        int nw =
            (prep->crop && w > prep->width) || (prep->pad && w < prep->width) ? prep->width : w;
        int nh =
            (prep->crop && h > prep->height) || (prep->pad && h < prep->height) ? prep->height : h;
        if (nw != w || nh != h) {
            /* Floor division for both signs: an odd pixel goes to the right and bottom. */
            int x = w >= nw ? (w - nw) / 2 : -((nw - w) / 2);
            int y = h >= nh ? (h - nh) / 2 : -((nh - h) / 2);
            code = rt_image_crop(&tmp[slot], cur, x, y, nw, nh, 0, err);
            cur = &tmp[slot];
            slot ^= 1;
        }
    }
    if (code == NETRT_OK && (cur->width != prep->width || cur->height != prep->height)) {
        code = rt_image_resize(&tmp[slot], cur, prep->width, prep->height, err);
        cur = &tmp[slot];
    }
    *out = cur;
    return code;
}

/* The same by a place of the caller's. */
static int place_pixels(const struct rt_prep *prep, const struct rt_place *p, const rt_image *in,
                        rt_image tmp[2], const rt_image **out, rt_error *err) {
    const rt_image *cur = in;
    int slot = 0;
    if (cur->channels != prep->channels) {
        if (rt_image_convert(&tmp[slot], cur, prep->channels, err))
            return err->code;
        cur = &tmp[slot];
        slot ^= 1;
    }
    if (p->part_x || p->part_y || p->part_w != cur->width || p->part_h != cur->height) {
        if (rt_image_crop(&tmp[slot], cur, p->part_x, p->part_y, p->part_w, p->part_h, 0, err))
            return err->code;
        cur = &tmp[slot];
        slot ^= 1;
    }
    if (p->w != cur->width || p->h != cur->height) {
        if (rt_image_resize(&tmp[slot], cur, p->w, p->h, err))
            return err->code;
        cur = &tmp[slot];
        slot ^= 1;
    }
    if (p->x || p->y || prep->width != cur->width || prep->height != cur->height) {
        if (rt_image_crop(&tmp[slot], cur, p->x, p->y, prep->width, prep->height, 0, err))
            return err->code;
        cur = &tmp[slot];
    }
    *out = cur;
    return NETRT_OK;
}

static float std_or_one(const struct rt_prep *prep, int c) {
    return prep->std[c] != 0.0f ? prep->std[c] : 1.0f;
}

/* value[c][p]: what pixel p of channel c becomes.  One table per call keeps the pixel loop free of
 * divisions and makes every path give the same bits. */
static void build_table(const struct rt_prep *prep, int c, float table[256]) {
    double lo = prep->lo, hi = prep->hi, mean = prep->mean[c], std = std_or_one(prep, c);
    for (int p = 0; p < 256; p++)
        table[p] = (float)((lo + (hi - lo) * (double)p / 255.0 - mean) / std);
}

static int valid_prep(const struct rt_prep *prep, rt_error *err) {
    if (prep->channels != 1 && prep->channels != 3)
        return rt_fail(err, NETRT_EUSAGE,
                       "the network's input has %d channels, pictures have 1 or 3", prep->channels);
    if (prep->height < 1 || prep->width < 1 || prep->height > RT_IMAGE_MAX_SIDE ||
        prep->width > RT_IMAGE_MAX_SIDE || prep->resize_short > RT_IMAGE_MAX_SIDE)
        return rt_fail(err, NETRT_ELIMIT, "input of %d x %d: a side may have %d pixels",
                       prep->height, prep->width, RT_IMAGE_MAX_SIDE);
    return NETRT_OK;
}

void rt_prep_subtract(const struct rt_prep *prep, const float *mean, float *chw) {
    int64_t plane = (int64_t)prep->width * prep->height;
    for (int c = 0; c < prep->channels; c++) {
        int k = prep->bgr && prep->channels == 3 ? 2 - c : c < 4 ? c : 0;
        float std = std_or_one(prep, k);
        for (int64_t i = 0; i < plane; i++)
            chw[c * plane + i] -= mean[c * plane + i] / std;
    }
}

int rt_prep_apply(const struct rt_prep *prep, const rt_image *in, float *chw, rt_image scratch[2],
                  rt_error *err) {
    return rt_prep_apply_at(prep, NULL, in, chw, scratch, err);
}

int rt_prep_apply_at(const struct rt_prep *prep, const struct rt_place *place, const rt_image *in,
                     float *chw, rt_image scratch[2], rt_error *err) {
    int code = valid_prep(prep, err);
    if (code != NETRT_OK)
        return code;
    rt_image own[2] = {{0}, {0}};
    const rt_image *img = in;
    rt_image *tmp = scratch ? scratch : own;
    code = place ? place_pixels(prep, place, in, tmp, &img, err)
                 : prepare_pixels(prep, in, tmp, &img, err);
    if (code == NETRT_OK) {
        size_t ch = (size_t)prep->channels, w = (size_t)prep->width, h = (size_t)prep->height;
        for (size_t c = 0; c < ch; c++) {
            float table[256];
            build_table(prep, (int)c, table);
            float *plane = chw + (prep->bgr && ch == 3 ? 2 - c : c) * w * h;
            for (size_t y = 0; y < h; y++) {
                const unsigned char *row = img->data + y * w * ch + c;
                float *dst = plane + y * w;
                if (prep->flip)
                    for (size_t x = 0; x < w; x++)
                        dst[w - 1 - x] = table[row[x * ch]];
                else
                    for (size_t x = 0; x < w; x++)
                        dst[x] = table[row[x * ch]];
            }
        }
    }
    if (code == NETRT_OK && prep->mean_image)
        rt_prep_subtract(prep, prep->mean_image, chw);
    rt_image_free(&own[0]);
    rt_image_free(&own[1]);
    return code;
}

/* Numbers that are no pixels: one plane, black to white between its extremes. */
static int stretched(const float *x, size_t n, rt_image *out) {
    float lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        lo = fminf(lo, x[i]); /* a NaN counts for neither */
        hi = fmaxf(hi, x[i]);
    }
    for (size_t i = 0; i < n; i++) {
        float v = hi > lo ? 255.0f * ((x[i] - lo) / (hi - lo)) : 0.0f;
        out->data[i] = (unsigned char)(v > 0.0f ? fminf(v, 255.0f) : 0.0f);
    }
    return NETRT_OK;
}

float rt_prep_tone(const struct rt_prep *prep, int64_t i, float *scale) {
    int k = (int)(i / ((int64_t)prep->height * prep->width));
    int color = prep->bgr && prep->channels == 3 ? 2 - k : k;
    float std = std_or_one(prep, color);
    *scale = (prep->hi - prep->lo) / 255 / std;
    return (prep->lo - prep->mean[color] - (prep->mean_image ? prep->mean_image[i] : 0)) / std;
}

float rt_prep_zero(const struct rt_prep *prep, int64_t i) {
    float scale, at0 = rt_prep_tone(prep, i, &scale), zero = scale != 0 ? -at0 / scale : 0;
    return zero < 0 ? 0 : zero > 255 ? 255 : zero;
}

int rt_prep_invert(const struct rt_prep *prep, const float *chw, rt_image *out, rt_error *err) {
    int code = valid_prep(prep, err);
    if (code == NETRT_OK)
        code = rt_image_reserve(out, prep->width, prep->height, prep->channels, err);
    if (code != NETRT_OK)
        return code;
    size_t ch = (size_t)prep->channels, n = (size_t)prep->width * (size_t)prep->height;
    if (prep->stretch)
        return stretched(chw, ch * n, out);
    float range = prep->hi != prep->lo ? 255.0f / (prep->hi - prep->lo) : 1.0f;
    for (size_t c = 0; c < ch; c++) {
        size_t at = (prep->bgr && ch == 3 ? 2 - c : c) * n;
        const float *plane = chw + at, *mean = prep->mean_image ? prep->mean_image + at : NULL;
        float std = std_or_one(prep, (int)c);
        for (size_t i = 0; i < n; i++) {
            float v =
                (plane[i] * std + (mean ? mean[i] : 0) + prep->mean[c] - prep->lo) * range;
            /* NaN fails both comparisons and becomes 0. */
            out->data[i * ch + c] = (unsigned char)(v >= 255.0f ? 255.0f
                                                    : v > 0.0f  ? v + 0.5f
                                                                : 0.0f);
        }
    }
    return NETRT_OK;
}
