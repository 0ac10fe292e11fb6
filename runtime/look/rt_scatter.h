/* rt_scatter.h: points in the plane, coloured by class, as SVG and on a canvas.
 *
 * Classes differ by colour (the palette of rt_svg.h, which is safe for the colour-blind) and, from
 * the ninth on, by shape as well: disc, square, triangle, diamond.  The name of each class stands
 * among its points.  Both axes have one scale.
 */
#ifndef RT_SCATTER_H
#define RT_SCATTER_H

#include "rt_canvas.h"
#include "rt_text.h"

typedef struct rt_scatter { /* one panel */
    const char *title;      /* what is drawn, and what the axes are */
    const double *at;       /* n x 2: to the right, up */
    int64_t n;
} rt_scatter;

typedef struct rt_classes {
    const int32_t *of; /* class of every point, -1: none */
    int64_t count;
    const char *(*name)(void *context, int64_t c, char buf[24]);
    void *context;
} rt_classes;

unsigned rt_class_color(int64_t c); /* 0xRRGGBB; -1: grey */
/* Where point i of a panel lies in a square of `side` pixels: to the right, down. */
typedef struct rt_scatter_fit {
    double middle[2], scale;
} rt_scatter_fit;
rt_scatter_fit rt_scatter_fit_of(const double *at, int64_t n, double side);
void rt_scatter_place(const rt_scatter_fit *fit, double side, const double at[2], double out[2]);

/* Panels beside each other under a title and a line on how to read them. */
void rt_scatter_svg(rt_text *o, const char *title, const char *note, const rt_scatter *panel,
                    int panels, const rt_classes *classes);
int rt_scatter_canvas(rt_image *canvas, const char *title, const char *note,
                      const rt_scatter *panel, int panels, const rt_classes *classes,
                      rt_error *err);
/* One point of class c in an SVG, on a canvas. */
void rt_scatter_mark_svg(rt_text *o, double x, double y, int64_t c);
void rt_scatter_mark(rt_image *canvas, int x, int y, int radius, int64_t c);

#endif
