/* rt_exif.c: the two facts wanted from a JPEG's markers: orientation and Adobe's presence.
 *
 * Bounded by construction: every offset is compared with the end of its block before use, nothing
 * is followed but IFD0, and a malformed block counts as absent, because a wrong tag must not lose a
 * good picture.  Exif 2.3 (JEITA CP-3451C) section 4.6, tag 0x0112.
 */
#include "rt_image.h"

#include <string.h>

struct tiff {
    const unsigned char *p;
    size_t n;
    int big; /* 1: Motorola byte order */
};

/* Callers have checked that at + 2 (or + 4) <= t->n. */
static unsigned u16_at(const struct tiff *t, size_t at) {
    unsigned a = t->p[at], b = t->p[at + 1];
    return t->big ? a << 8 | b : b << 8 | a;
}

static size_t u32_at(const struct tiff *t, size_t at) {
    size_t a = u16_at(t, at), b = u16_at(t, at + 2);
    return t->big ? a << 16 | b : b << 16 | a;
}

int rt_exif_orientation(const unsigned char *tiff, size_t size) {
    struct tiff t = {tiff, size, 0};
    if (size < 8)
        return 1;
    if (memcmp(tiff, "MM", 2) == 0)
        t.big = 1;
    else if (memcmp(tiff, "II", 2) != 0)
        return 1;
    size_t ifd = u32_at(&t, 4);
    if (u16_at(&t, 2) != 42 || ifd > size - 2)
        return 1;
    size_t entries = u16_at(&t, ifd), room = (size - ifd - 2) / 12;
    for (size_t i = 0; i < entries && i < room; i++) {
        size_t at = ifd + 2 + 12 * i;
        if (u16_at(&t, at) != 0x0112)
            continue;
        if (u16_at(&t, at + 2) != 3 || u32_at(&t, at + 4) != 1) /* one SHORT */
            return 1;
        unsigned value = u16_at(&t, at + 8);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

void rt_exif_scan_jpeg(const unsigned char *data, size_t size, int *orientation, int *adobe) {
    *orientation = 1;
    *adobe = 0;
    int seen_exif = 0;
    size_t at = 2; /* after SOI */
    while (at + 4 <= size && data[at] == 0xFF) {
        unsigned marker = data[at + 1];
        if (marker == 0xFF) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xDA || marker == 0xD9) /* start of scan, end of image */
            break;
        if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) { /* no length follows */
            at += 2;
            continue;
        }
        size_t length = (size_t)data[at + 2] << 8 | data[at + 3];
        if (length < 2 || length > size - at - 2)
            break;
        const unsigned char *body = data + at + 4;
        size_t n = length - 2;
        if (marker == 0xE1 && !seen_exif && n >= 6 && memcmp(body, "Exif\0\0", 6) == 0) {
            *orientation = rt_exif_orientation(body + 6, n - 6);
            seen_exif = 1;
        } else if (marker == 0xEE && n >= 12 && memcmp(body, "Adobe", 5) == 0) {
            *adobe = 1;
        }
        at += 2 + length;
    }
}
