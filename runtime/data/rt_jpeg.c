/* rt_jpeg.c: JPEG through TurboJPEG: grey, YCbCr, RGB, CMYK, YCCK; baseline and progressive.
 *
 * ensures: dimensions are checked before memory is taken; at most 500 scans; damage that libjpeg
 * only warns about (a truncated file) is an error, since half a picture must not be trained on; the
 * EXIF orientation is applied.  The accurate integer DCT keeps the bits equal on every machine.
 */
#include "rt_image.h"

#include "rt_alloc.h"

#include <turbojpeg.h>

/* Adobe stores CMYK inverted (255 = no ink), others as it is named. */
static void cmyk_to_rgb(const unsigned char *src, size_t pixels, int adobe, unsigned char *dst) {
    for (size_t i = 0; i < pixels; i++, src += 4, dst += 3) {
        unsigned white = adobe ? src[3] : 255u - src[3];
        for (int c = 0; c < 3; c++) {
            unsigned light = adobe ? src[c] : 255u - src[c];
            dst[c] = (unsigned char)((light * white + 127u) / 255u);
        }
    }
}

static int decode_pixels(tjhandle handle, rt_image *img, const unsigned char *data, size_t size,
                         int colour, int adobe, const char *name, rt_error *err) {
    int cmyk = colour == TJCS_CMYK || colour == TJCS_YCCK;
    int format = cmyk ? TJPF_CMYK : colour == TJCS_GRAY ? TJPF_GRAY : TJPF_RGB;
    int flags = TJFLAG_LIMITSCANS | TJFLAG_STOPONWARNING | TJFLAG_ACCURATEDCT;
    size_t pixels = (size_t)img->width * (size_t)img->height;
    unsigned char *into = img->data;
    if (cmyk && !(into = rt_alloc(pixels, 4, "CMYK picture", err)))
        return NETRT_ELIMIT;
    int code = NETRT_OK;
    if (tjDecompress2(handle, data, (unsigned long)size, into, img->width, 0, img->height, format,
                      flags) < 0)
        code = rt_fail(err, NETRT_EDATA, "%s: %s", name, tjGetErrorStr2(handle));
    else if (cmyk)
        cmyk_to_rgb(into, pixels, adobe, img->data);
    if (cmyk)
        rt_free(into);
    return code;
}

int rt_jpeg_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                   rt_error *err) {
    tjhandle handle = tjInitDecompress();
    if (!handle)
        return rt_fail(err, NETRT_ELIMIT, "out of memory: JPEG decoder");
    int width = 0, height = 0, subsampling = 0, colour = 0, orientation, adobe, code;
    rt_exif_scan_jpeg(data, size, &orientation, &adobe);
    if (tjDecompressHeader3(handle, data, (unsigned long)size, &width, &height, &subsampling,
                            &colour) < 0)
        code = rt_fail(err, NETRT_EDATA, "%s: %s", name, tjGetErrorStr2(handle));
    else
        code = rt_image_reserve_for(img, width, height, colour == TJCS_GRAY ? 1 : 3, name, err);
    if (code == NETRT_OK)
        code = decode_pixels(handle, img, data, size, colour, adobe, name, err);
    tjDestroy(handle);
    return code == NETRT_OK ? rt_image_orient(img, orientation, err) : code;
}
