/* rt_canvas.c: drawing for contact sheets (rt_canvas.h). */
#include "rt_canvas.h"

#include <math.h>

static void put_pixel(rt_image *canvas, int x, int y, unsigned color) {
    if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height)
        return;
    unsigned char *p = canvas->data + ((size_t)y * (size_t)canvas->width + (size_t)x) * 3;
    p[0] = (unsigned char)(color >> 16);
    p[1] = (unsigned char)(color >> 8);
    p[2] = (unsigned char)color;
}

void rt_canvas_rect(rt_image *canvas, int x, int y, int w, int h, unsigned color) {
    for (int j = y < 0 ? 0 : y; j < y + h && j < canvas->height; j++)
        for (int i = x < 0 ? 0 : x; i < x + w && i < canvas->width; i++)
            put_pixel(canvas, i, j, color);
}

int rt_canvas_new(rt_image *canvas, int width, int height, unsigned color, rt_error *err) {
    if (rt_image_reserve(canvas, width, height, 3, err))
        return err->code;
    rt_canvas_rect(canvas, 0, 0, width, height, color);
    return NETRT_OK;
}

void rt_canvas_blit(rt_image *canvas, int x, int y, const rt_image *src, int zoom) {
    for (int j = 0; j < src->height; j++)
        for (int i = 0; i < src->width; i++) {
            size_t at = (size_t)j * (size_t)src->width + (size_t)i;
            const unsigned char *p = src->data + at * (size_t)src->channels;
            unsigned color = src->channels == 1 ? p[0] * 0x010101u
                                                : (unsigned)p[0] << 16 | (unsigned)p[1] << 8 | p[2];
            rt_canvas_rect(canvas, x + i * zoom, y + j * zoom, zoom, zoom, color);
        }
}

float rt_max_abs(const float *x, int64_t n) {
    float top = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabsf(x[i]) > top)
            top = fabsf(x[i]);
    return top;
}

static unsigned char tone_of(float v, int tone, float scale) {
    float t = tone == RT_TONE_SIGNED ? 128 + 127 * v / scale : 255 * v / scale;
    if (!(t > 0)) /* NaN too */
        return 0;
    return t >= 255 ? 255 : (unsigned char)lrintf(t);
}

int rt_canvas_tone(rt_image *out, const float *planes, int c, int h, int w, int bgr, int tone,
                   float scale, rt_error *err) {
    int channels = c == 3 ? 3 : 1;
    if (!(scale > 0) || !isfinite(scale))
        scale = 1;
    if (rt_image_reserve(out, w, h, channels, err))
        return err->code;
    size_t plane = (size_t)w * (size_t)h;
    for (size_t i = 0; i < plane; i++)
        for (int k = 0; k < channels; k++) {
            int from = channels == 3 && bgr ? 2 - k : k;
            out->data[i * (size_t)channels + (size_t)k] =
                tone_of(planes[(size_t)from * plane + i], tone, scale);
        }
    return NETRT_OK;
}
