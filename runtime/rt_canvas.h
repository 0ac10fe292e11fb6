/* rt_canvas.h: pictures made of pictures: contact sheets with captions, on an RGB rt_image.
 *
 * Coordinates are pixels from the top left; drawing outside the canvas is clipped.  Text has letters
 * of one width for printable ASCII, of our own (rt_font.c); other bytes show as a box.
 */
#ifndef RT_CANVAS_H
#define RT_CANVAS_H

#include "rt_image.h"

enum { RT_FONT_W = 6, RT_FONT_H = 13 }; /* advance and line height at scale 1 */

/* A canvas of one colour (0xRRGGBB). */
int rt_canvas_new(rt_image *canvas, int width, int height, unsigned color, rt_error *err);
void rt_canvas_rect(rt_image *canvas, int x, int y, int w, int h, unsigned color);
/* scale 1: captions; 2: titles, half as large again.  (x, y): left end, top of capitals. */
void rt_canvas_text(rt_image *canvas, int x, int y, int scale, unsigned color, const char *text);
int rt_text_width(const char *text, int scale);
/* Copies src (grey or RGB), each pixel as a square of `zoom` pixels. */
void rt_canvas_blit(rt_image *canvas, int x, int y, const rt_image *src, int zoom);

/* How numbers become brightness.  SIGNED: 0 -> mid-grey 128, +-scale -> 255 and 1.  POSITIVE:
 * 0 -> 0, scale -> 255. */
enum { RT_TONE_SIGNED, RT_TONE_POSITIVE };
/* planes: c * h * w floats, planes first; c = 3 gives colour (bgr: planes are blue, green, red),
 * c = 1 grey; other counts show the first plane.  scale <= 0: 1. */
int rt_canvas_tone(rt_image *out, const float *planes, int c, int h, int w, int bgr, int tone,
                   float scale, rt_error *err);
float rt_max_abs(const float *x, int64_t n); /* NaN counts as 0 */

#endif
