/* rt_pnm.c: PGM and PPM, plain (P2, P3) and raw (P5, P6), maximum 1..65535.
 *
 * ensures: sizes are checked against the bytes present before memory is taken, so a short file with
 * a huge header costs nothing; samples above the maximum are an error.
 * Format: netpbm's pgm(5), ppm(5); values are scaled linearly to 0..255.
 */
#include "rt_image.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <stdio.h>

struct reader {
    const unsigned char *p, *end;
};

static int is_space(unsigned char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Skips blanks and comments, reads a decimal number <= limit; -1 when there is none. */
static int64_t number(struct reader *r, int64_t limit) {
    while (r->p < r->end && (is_space(*r->p) || *r->p == '#')) {
        if (*r->p == '#')
            while (r->p < r->end && *r->p != '\n')
                r->p++;
        else
            r->p++;
    }
    if (r->p == r->end || *r->p < '0' || *r->p > '9')
        return -1;
    int64_t v = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
        v = v * 10 + (*r->p++ - '0');
        if (v > limit)
            return -1;
    }
    return v;
}

static int decode_samples(rt_image *img, struct reader *r, int plain, int64_t max, const char *name,
                          rt_error *err) {
    size_t n = (size_t)img->width * (size_t)img->height * (size_t)img->channels;
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        if (plain) {
            v = number(r, max);
        } else if (max > 255) {
            v = (int64_t)r->p[0] << 8 | r->p[1];
            r->p += 2;
        } else {
            v = *r->p++;
        }
        if (v < 0 || v > max)
            return rt_fail(err, NETRT_EDATA, "%s: sample %zu is missing or above the maximum %lld",
                           name, i, (long long)max);
        img->data[i] = (unsigned char)((v * 255 + max / 2) / max);
    }
    return NETRT_OK;
}

int rt_pnm_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                  rt_error *err) {
    if (rt_image_sniff(data, size) != RT_FORMAT_PNM)
        return rt_fail(err, NETRT_EDATA, "%s is no PGM or PPM picture", name);
    struct reader r = {data + 2, data + size};
    int plain = data[1] <= '3', channels = data[1] == '3' || data[1] == '6' ? 3 : 1;
    int64_t width = number(&r, INT32_MAX), height = number(&r, INT32_MAX), max = number(&r, 65535);
    if (width < 1 || height < 1 || max < 1 || r.p == r.end || !is_space(*r.p))
        return rt_fail(err, NETRT_EDATA, "%s: malformed PGM or PPM header", name);
    r.p++; /* exactly one blank before the samples */
    if (width > RT_IMAGE_MAX_SIDE || height > RT_IMAGE_MAX_SIDE)
        return rt_fail(err, NETRT_ELIMIT, "%s: %lld x %lld pixels, a side may have %d", name,
                       (long long)width, (long long)height, RT_IMAGE_MAX_SIDE);
    /* A plain sample takes at least a digit and a blank (the last one only the digit). */
    int64_t samples = width * height * channels, have = r.end - r.p;
    int64_t need = plain ? 2 * samples - 1 : max > 255 ? 2 * samples : samples;
    if (have < need)
        return rt_fail(err, NETRT_EDATA,
                       "%s is truncated: %lld x %lld pixels need %lld bytes, %lld are there", name,
                       (long long)width, (long long)height, (long long)need, (long long)have);
    int code = rt_image_reserve_for(img, (int)width, (int)height, channels, name, err);
    return code == NETRT_OK ? decode_samples(img, &r, plain, max, name, err) : code;
}

int rt_pnm_write(const rt_image *img, const char *path, rt_error *err) {
    char header[64];
    int n = snprintf(header, sizeof header, "P%c\n%d %d\n255\n", img->channels == 3 ? '6' : '5',
                     img->width, img->height);
    struct rt_out out;
    int code = rt_out_begin(&out, path, err);
    if (code != NETRT_OK)
        return code;
    code = rt_out_write(&out, header, (size_t)n, err);
    if (code == NETRT_OK)
        code = rt_out_write(&out, img->data,
                            (size_t)img->width * (size_t)img->height * (size_t)img->channels, err);
    if (code == NETRT_OK)
        return rt_out_finish(&out, err);
    rt_out_abort(&out);
    return code;
}
