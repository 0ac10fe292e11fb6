/* rt_contour.c: lines, borders and areas as SVG (rt_contour.h).
 *
 * Borders run along the edges of cells.  Corners where other than two edges meet end a line; what is
 * left after all lines between such corners are closed loops.
 */
#include "rt_contour.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"

static double distance(const double *p, const double *a, const double *b) {
    double dx = b[0] - a[0], dy = b[1] - a[1], all = dx * dx + dy * dy;
    double t = all > 0 ? ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / all : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy);
}

static double tenth(double x) { return round(10 * x) / 10 + 0.0; }

int rt_svg_line(rt_text *o, const double *at, int64_t n, double tolerance, rt_error *err) {
    char *keep = rt_alloc_zero((size_t)n, 1, "line", err);
    int64_t *open = rt_alloc((size_t)n, sizeof *open, "line", err); /* ends of parts to look at */
    int64_t depth = 0, from = 0;
    if (keep && open) {
        keep[0] = keep[n - 1] = 1;
        open[depth++] = n - 1;
    }
    while (depth > 0) { /* the part from `from` to the top of the stack */
        int64_t to = open[depth - 1], far = 0;
        double most = tolerance;
        for (int64_t i = from + 1; i < to; i++) {
            double d = distance(at + 2 * i, at + 2 * from, at + 2 * to);
            if (d > most) {
                most = d;
                far = i;
            }
        }
        if (far) {
            keep[far] = 1;
            open[depth++] = far;
        } else {
            from = to;
            depth--;
        }
    }
    for (int64_t i = 0; i < n && !err->code; i++)
        if (keep[i])
            rt_text_printf(o, "%c%g %g", i ? 'L' : 'M', tenth(at[2 * i]), tenth(at[2 * i + 1]));
    rt_free(keep);
    rt_free(open);
    return err->code;
}

/* ---- borders ---- */

enum { RIGHT = 1, DOWN = 2, LEFT = 4, UP = 8 };

typedef struct Borders {
    int64_t w, h;        /* corners in a row, rows of them */
    unsigned char *edge; /* per corner: directions in which a border leads on */
    double *at;          /* the line at hand */
    double x, y;
    rt_text *o;
} Borders;

static int degree(unsigned edges) {
    return (edges & RIGHT ? 1 : 0) + (edges & DOWN ? 1 : 0) + (edges & LEFT ? 1 : 0) +
           (edges & UP ? 1 : 0);
}

static void find_edges(Borders *b, const uint64_t *id) {
    int64_t w = b->w - 1, h = b->h - 1;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            const uint64_t *cell = id + y * w + x;
            unsigned char *corner = b->edge + y * b->w + x;
            if (x > 0 && cell[0] != cell[-1]) {
                corner[0] |= DOWN;
                corner[b->w] |= UP;
            }
            if (y > 0 && cell[0] != cell[-w]) {
                corner[0] |= RIGHT;
                corner[1] |= LEFT;
            }
        }
}

/* Follows the border from corner c until it ends, meets others or comes back; its edges are used up.
 * ends: where lines end, as all edges were before. */
static int follow(Borders *b, int64_t c, const unsigned char *ends, rt_error *err) {
    static const struct { int way, back, dx, dy; } step[] = {
        {RIGHT, LEFT, 1, 0}, {DOWN, UP, 0, 1}, {LEFT, RIGHT, -1, 0}, {UP, DOWN, 0, -1}};
    int64_t n = 0, first = c;
    for (;;) {
        b->at[2 * n] = b->x + (double)(c % b->w);
        b->at[2 * n + 1] = b->y + (double)(c / b->w);
        n++;
        int k = 0;
        while (k < 4 && !(b->edge[c] & step[k].way))
            k++;
        if (k == 4 || (n > 1 && (ends[c] || c == first)))
            break;
        b->edge[c] = (unsigned char)(b->edge[c] & ~step[k].way);
        c += step[k].dx + step[k].dy * b->w;
        b->edge[c] = (unsigned char)(b->edge[c] & ~step[k].back);
    }
    return rt_svg_line(b->o, b->at, n, 1.05, err);
}

int rt_svg_borders(rt_text *o, const uint64_t *id, int64_t w, int64_t h, double x, double y,
                   rt_error *err) {
    Borders b = {.w = w + 1, .h = h + 1, .x = x, .y = y, .o = o};
    size_t corners = (size_t)(b.w * b.h);
    unsigned char *ends = rt_alloc_zero(corners, 1, "borders", err);
    b.edge = rt_alloc_zero(corners, 1, "borders", err);
    b.at = rt_alloc(2 * corners + 2, 2 * sizeof *b.at, "borders", err); /* every edge once */
    if (!err->code) {
        find_edges(&b, id);
        for (size_t c = 0; c < corners; c++)
            ends[c] = b.edge[c] && degree(b.edge[c]) != 2;
    }
    for (int loops = 0; loops < 2; loops++)
        for (int64_t c = 0; c < b.w * b.h && !err->code; c++)
            while (!err->code && b.edge[c] && (loops || ends[c]))
                follow(&b, c, ends, err);
    rt_free(ends);
    rt_free(b.edge);
    rt_free(b.at);
    return err->code;
}

int rt_svg_picture(rt_text *o, const rt_image *img, double x, double y, rt_error *err) {
    unsigned char *png = NULL;
    size_t size;
    if (rt_png_encode(img, &png, &size, err))
        return err->code;
    rt_text_printf(o, "<image x=\"%g\" y=\"%g\" width=\"%d\" height=\"%d\" "
                      "href=\"data:image/png;base64,", tenth(x), tenth(y), img->width, img->height);
    rt_text_base64(o, png, size);
    rt_text_add(o, "\"/>\n");
    rt_free(png);
    return NETRT_OK;
}
