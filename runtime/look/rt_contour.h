/* rt_contour.h: pictures of the plane as SVG: lines with no more points than they need, the borders
 * between areas of a grid, and areas as an embedded PNG.
 */
#ifndef RT_CONTOUR_H
#define RT_CONTOUR_H

#include <stdint.h>

#include "rt_image.h"
#include "rt_text.h"

/* Appends a path's data ("M1 2L3 4") through n points (x, y), n >= 1: those without which it would
 * leave the way by more than `tolerance` (Douglas and Peucker 1973). */
int rt_svg_line(rt_text *o, const double *at, int64_t n, double tolerance, rt_error *err);

/* The same for all borders between cells of different id, h rows of w cells of side 1, the first cell's
 * corner at x, y: from one meeting of borders to the next, straightened by about a cell. */
int rt_svg_borders(rt_text *o, const uint64_t *id, int64_t w, int64_t h, double x, double y,
                   rt_error *err);

/* An <image> of the picture's own size, which needs no other file. */
int rt_svg_picture(rt_text *o, const rt_image *img, double x, double y, rt_error *err);

#endif
