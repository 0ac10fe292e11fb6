/* rt_svg.h: line plots, bar charts and heat tables as SVG text, written by hand.
 *
 * Self-contained (no script, no font file, no external reference), readable in greyscale: series
 * differ by dash pattern as well as by colour.  Numbers are printed with fixed rounding, so the
 * same data always give the same bytes.
 */
#ifndef RT_SVG_H
#define RT_SVG_H

#include <stdint.h>

#include "rt_text.h"

typedef struct rt_series {
    const char *name;
    const double *x, *y; /* n points, x ascending; points with NaN are left out */
    int64_t n;
    int right;  /* drawn on the right axis */
    int points; /* draw markers */
} rt_series;

typedef struct rt_plot {
    const char *title, *xlabel, *ylabel, *rlabel; /* any may be NULL */
    int log_y;         /* left axis logarithmic (ignored unless all values are positive) */
    int log_x;         /* the same of the other */
    int width, height; /* 0: 720 x 400 */
    const rt_series *series;
    int nseries;
} rt_plot;

/* Appends one <svg> element.  xmlns: 1 for a file of its own, 0 inside HTML. */
void rt_svg_plot(rt_text *out, const rt_plot *plot, int xmlns);

/* Table of counts as a heat map (confusion): rows = true class, columns = predicted. */
void rt_svg_confusion(rt_text *out, const char *title, const int64_t *count, int64_t classes,
                      const char *(*name)(void *context, int64_t i, char buf[24]), void *context,
                      int xmlns);

/* One text; more: further attributes, each with a blank in front. */
void rt_svg_text(rt_text *o, double x, double y, const char *more, const char *text);
/* "Nice" axis ticks: step 1, 2 or 5 times a power of ten; returns how many (at most max). */
int rt_svg_ticks(double lo, double hi, int max, double *tick);
/* The colour-blind safe palette: "#0072b2", ... (Okabe and Ito), i modulo its size. */
const char *rt_svg_color(int i);

#endif
