/* rt_image.h: pictures in and out.
 *
 * An rt_image is 8-bit, rows from the top, channels interleaved (HWC), 1 (grey) or 3 (RGB)
 * channels, no padding between rows.  Decoders look at the first bytes, never at the file name;
 * they check every size before they take memory (side <= 65,535, decoded <= 1 GiB) and always apply
 * the EXIF orientation.  Transparent pixels are laid over white.
 */
#ifndef RT_IMAGE_H
#define RT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "rt_error.h"

typedef struct rt_image {
    int width, height, channels;
    unsigned char *data; /* height * width * channels bytes */
    size_t capacity;     /* bytes allocated: a second use of the struct need not allocate again */
} rt_image;

#define RT_IMAGE_MAX_SIDE 65535
#define RT_IMAGE_MAX_BYTES ((int64_t)1 << 30)

/* Start from rt_image img = {0}.  Makes room for a picture of this size (pixels undefined). */
int rt_image_reserve(rt_image *img, int width, int height, int channels, rt_error *err);
/* The same for a decoder: messages begin with the file's name. */
int rt_image_reserve_for(rt_image *img, int width, int height, int channels, const char *name,
                         rt_error *err);
void rt_image_free(rt_image *img); /* leaves {0}, may be called twice */

enum rt_image_format { RT_FORMAT_UNKNOWN, RT_FORMAT_PNG, RT_FORMAT_JPEG, RT_FORMAT_PNM };
enum rt_image_format rt_image_sniff(const unsigned char *data, size_t size);

/* Decodes bytes in memory; name is used in messages.  EDATA: malformed or truncated.
 * ELIMIT: too large.  On failure img stays valid to free, contents undefined. */
int rt_image_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                    rt_error *err);
int rt_image_read(rt_image *img, const char *path, rt_error *err);

/* The parts, for tests. */
int rt_png_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                  rt_error *err);
/* Palette indices, or grey values of up to 8 bits as they are: one channel.  EDATA: colours. */
int rt_png_decode_indices(rt_image *img, const unsigned char *data, size_t size, const char *name,
                          rt_error *err);
int rt_jpeg_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                   rt_error *err);
int rt_pnm_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                  rt_error *err);

/* Facts from the markers of a JPEG: orientation 1..8 (1 when absent or malformed), 1 if an Adobe
 * marker is present (its CMYK is inverted). */
void rt_exif_scan_jpeg(const unsigned char *data, size_t size, int *orientation, int *adobe);
/* Orientation from a bare TIFF block (an eXIf chunk of a PNG), 1 when absent or malformed. */
int rt_exif_orientation(const unsigned char *tiff, size_t size);
/* Turns and mirrors img so that orientation 1 results. */
int rt_image_orient(rt_image *img, int orientation, rt_error *err);

/* PNG, 8-bit grey or RGB; the same pixels always give the same bytes (same zlib).  The memory form
 * allocates *out, released with rt_free. */
int rt_png_encode(const rt_image *img, unsigned char **out, size_t *size, rt_error *err);
int rt_png_write(const rt_image *img, const char *path, rt_error *err);
/* PGM or PPM (binary). */
int rt_pnm_write(const rt_image *img, const char *path, rt_error *err);

/* Antialiased bilinear: the triangle filter is stretched by the reduction factor, 22-bit fixed
 * point weights, horizontal pass first: equal to Pillow's Image.BILINEAR bit for bit. */
int rt_image_resize(rt_image *dst, const rt_image *src, int width, int height, rt_error *err);

/* The rectangle at (x, y); parts outside src are filled with fill. */
int rt_image_crop(rt_image *dst, const rt_image *src, int x, int y, int width, int height,
                  unsigned char fill, rt_error *err);

/* 1 channel <-> 3 channels; grey = (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R 601, Pillow's
 * rounding). */
int rt_image_convert(rt_image *dst, const rt_image *src, int channels, rt_error *err);

/* How a picture becomes the input of a network; part of the spec and stored with the weights.
 * Order: convert to channels; resize; crop or pad; scale; normalise; flip; channel order.
 * Geometry: resize_short > 0 makes the shorter side that long (aspect kept, longer side rounded
 * down); then crop takes the centre, and pad surrounds with pixel value 0 (which becomes lo).
 * Where neither applies and the size still differs, the picture is resized to height x width
 * without keeping the aspect. */
struct rt_prep {
    int channels, height, width; /* of the network's input, channels 1 or 3 */
    int resize_short;            /* 0 none */
    int crop;                    /* cut the centre when larger than height x width */
    int pad;                     /* surround when smaller, picture in the centre */
    float lo, hi;                /* pixel 0 -> lo, pixel 255 -> hi */
    float mean[4], std[4]; /* then (v - mean[c]) / std[c], c in RGB order; std 0 counts as 1 */
    int bgr;               /* channel planes in the order blue, green, red */
    int flip;              /* mirrored left-right (augmentation, set per sample) */
    int stretch;           /* rt_prep_invert: the least number is black, the largest white */
    const float *mean_image; /* at last this much is subtracted from every pixel, before the division
                                by std; channels * height * width numbers in planes, or NULL */
};

/* The last step by itself: chw -= mean / std. */
void rt_prep_subtract(const struct rt_prep *prep, const float *mean, float *chw);

/* Writes channels * height * width floats, planes first (CHW).  scratch may be NULL; reusing two
 * images over many calls saves allocations (one pair per thread). */
int rt_prep_apply(const struct rt_prep *prep, const rt_image *in, float *chw, rt_image scratch[2],
                  rt_error *err);

/* Size that makes the shorter side `side` pixels, as resize_short does. */
void rt_short_side(int width, int height, int side, int *new_width, int *new_height);

/* The same for a part of a picture: converted to the input's channels; the part (part_x, part_y,
 * part_w, part_h) is resized to w x h; the input's window begins at (x, y) of that, pixel value 0
 * where it reaches outside.  prep's own resize, crop and pad are not used. */
struct rt_place {
    int part_x, part_y, part_w, part_h;
    int w, h;
    int x, y;
};
int rt_prep_apply_at(const struct rt_prep *prep, const struct rt_place *place, const rt_image *in,
                     float *chw, rt_image scratch[2], rt_error *err);

/* Number i of an input (CHW, as the network reads it): what pixel 0 becomes there, and in *scale how
 * much a pixel more adds; the pixel 0..255, whole or not, that becomes 0 or comes nearest to it. */
float rt_prep_tone(const struct rt_prep *prep, int64_t i, float *scale);
float rt_prep_zero(const struct rt_prep *prep, int64_t i);

/* Back to pixels for display: inverse of scale, normalisation and channel order, rounded and
 * clamped to 0..255. */
int rt_prep_invert(const struct rt_prep *prep, const float *chw, rt_image *out, rt_error *err);

#endif
