/* rt_scatter.c: points in the plane (rt_scatter.h). */
#include "rt_scatter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_sheet.h"
#include "rt_svg.h"

enum { SIDE = 560, EDGE = 8, CAPTION = 14, NAMED = 40, RADIUS = 3 };

unsigned rt_class_color(int64_t c) {
    return c < 0 ? 0x999999u : (unsigned)strtoul(rt_svg_color((int)(c % 7)) + 1, NULL, 16);
}

/* Seven colours (the palette's grey is for points without a class), four shapes. */
static int shape_of(int64_t c) {
    return c < 0 ? 0 : (int)(c / 7 % 4);
}

rt_scatter_fit rt_scatter_fit_of(const double *at, int64_t n, double side) {
    rt_scatter_fit fit = {{0, 0}, 1};
    double wide = 0;
    for (int k = 0; k < 2; k++) {
        double lo = INFINITY, hi = -INFINITY;
        for (int64_t i = 0; i < n; i++) {
            lo = at[2 * i + k] < lo ? at[2 * i + k] : lo;
            hi = at[2 * i + k] > hi ? at[2 * i + k] : hi;
        }
        fit.middle[k] = n > 0 ? (lo + hi) / 2 : 0;
        wide = n > 0 && hi - lo > wide ? hi - lo : wide;
    }
    fit.scale = wide > 0 ? 0.94 * side / wide : 1;
    return fit;
}

void rt_scatter_place(const rt_scatter_fit *fit, double side, const double at[2], double out[2]) {
    out[0] = side / 2 + (at[0] - fit->middle[0]) * fit->scale;
    out[1] = side / 2 - (at[1] - fit->middle[1]) * fit->scale;
}

/* Where a class's name goes: the point of it that is nearest to its mean; -1: it has none. */
static int64_t centre_of(const rt_scatter *p, const rt_classes *classes, int64_t c) {
    double mean[2] = {0, 0}, least = INFINITY;
    int64_t count = 0, best = -1;
    for (int64_t i = 0; i < p->n; i++)
        if (classes->of[i] == c) {
            mean[0] += p->at[2 * i];
            mean[1] += p->at[2 * i + 1];
            count++;
        }
    for (int64_t i = 0; i < p->n && count; i++) {
        double dx = p->at[2 * i] - mean[0] / (double)count;
        double dy = p->at[2 * i + 1] - mean[1] / (double)count;
        if (classes->of[i] == c && dx * dx + dy * dy < least) {
            least = dx * dx + dy * dy;
            best = i;
        }
    }
    return best;
}

/* Are there few enough classes among the points to write their names? */
static int named(const rt_scatter *p, const rt_classes *classes) {
    int64_t seen[NAMED], n = 0;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t k = 0;
        while (k < n && seen[k] != classes->of[i])
            k++;
        if (k == NAMED)
            return 0;
        if (k == n)
            seen[n++] = classes->of[i];
    }
    return 1;
}

/* ---- SVG ---- */

void rt_scatter_mark_svg(rt_text *o, double x, double y, int64_t c) {
    char color[16];
    snprintf(color, sizeof color, "#%06x", rt_class_color(c));
    switch (shape_of(c)) {
    case 0:
        rt_text_printf(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\" fill=\"%s\"/>\n", x, y, color);
        break;
    case 1:
        rt_text_printf(o, "<path d=\"M%.1f %.1fh5v5h-5z\" fill=\"%s\"/>\n", x - 2.5, y - 2.5, color);
        break;
    case 2:
        rt_text_printf(o, "<path d=\"M%.1f %.1fl3.2 5.6h-6.4z\" fill=\"%s\"/>\n", x, y - 3.4, color);
        break;
    default:
        rt_text_printf(o, "<path d=\"M%.1f %.1fl3.4 3.4l-3.4 3.4l-3.4-3.4z\" fill=\"%s\"/>\n", x,
                       y - 3.4, color);
    }
}

static void svg_panel(rt_text *o, const rt_scatter *p, const rt_classes *classes, double x0,
                      double y0) {
    rt_scatter_fit fit = rt_scatter_fit_of(p->at, p->n, SIDE);
    double at[2];
    char buf[24];
    int names = named(p, classes);
    rt_svg_text(o, x0, y0 - 5, " font-size=\"13\"", p->title);
    rt_text_printf(o, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"none\" "
                      "stroke=\"#bbb\"/>\n", x0, y0, SIDE, SIDE);
    for (int64_t i = 0; i < p->n; i++) {
        rt_scatter_place(&fit, SIDE, p->at + 2 * i, at);
        rt_scatter_mark_svg(o, x0 + at[0], y0 + at[1], classes->of[i]);
    }
    for (int64_t c = 0; c < classes->count && names; c++) {
        int64_t i = centre_of(p, classes, c);
        if (i < 0)
            continue;
        rt_scatter_place(&fit, SIDE, p->at + 2 * i, at);
        rt_svg_text(o, x0 + at[0], y0 + at[1] + 4,
                 " text-anchor=\"middle\" font-weight=\"bold\" stroke=\"#fff\" stroke-width=\"3\" "
                 "paint-order=\"stroke\"", classes->name(classes->context, c, buf));
    }
}

void rt_scatter_svg(rt_text *o, const char *title, const char *note, const rt_scatter *panel,
                    int panels, const rt_classes *classes) {
    int w = panels * (SIDE + 16) + 16, h = SIDE + 86;
    rt_text_printf(o, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                      "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\" "
                      "fill=\"#222\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", w, h,
                   w, h, w, h);
    rt_svg_text(o, 16, 20, " font-size=\"15\" font-weight=\"bold\"", title);
    rt_svg_text(o, 16, 38, " fill=\"#666\"", note);
    for (int i = 0; i < panels; i++)
        svg_panel(o, &panel[i], classes, (double)(16 + i * (SIDE + 16)), 66);
    rt_text_add(o, "</svg>\n");
}

/* ---- canvas ---- */

void rt_scatter_mark(rt_image *canvas, int x, int y, int radius, int64_t c) {
    unsigned color = rt_class_color(c);
    for (int j = -radius; j <= radius; j++) {
        int half = radius; /* square */
        if (shape_of(c) == 0)
            half = (int)lround(sqrt((radius + 0.3) * (radius + 0.3) - j * j));
        else if (shape_of(c) == 2)
            half = (j + radius) / 2;
        else if (shape_of(c) == 3)
            half = radius - abs(j);
        rt_canvas_rect(canvas, x - half, y + j, 2 * half + 1, 1, color);
    }
}

static void canvas_panel(rt_image *canvas, const rt_scatter *p, const rt_classes *classes, int x0,
                         int y0) {
    rt_scatter_fit fit = rt_scatter_fit_of(p->at, p->n, SIDE);
    double at[2];
    char buf[24];
    int names = named(p, classes);
    rt_canvas_text(canvas, x0, y0 - CAPTION + 2, 1, 0x222222u, p->title);
    rt_canvas_rect(canvas, x0 - 1, y0 - 1, SIDE + 2, SIDE + 2, 0xbbbbbbu);
    rt_canvas_rect(canvas, x0, y0, SIDE, SIDE, 0xffffffu);
    for (int64_t i = 0; i < p->n; i++) {
        rt_scatter_place(&fit, SIDE, p->at + 2 * i, at);
        rt_scatter_mark(canvas, x0 + (int)lrint(at[0]), y0 + (int)lrint(at[1]), RADIUS,
                        classes->of[i]);
    }
    for (int64_t c = 0; c < classes->count && names; c++) {
        int64_t i = centre_of(p, classes, c);
        if (i < 0)
            continue;
        rt_scatter_place(&fit, SIDE, p->at + 2 * i, at);
        char name[20];
        snprintf(name, sizeof name, "%.14s", classes->name(classes->context, c, buf));
        int w = rt_text_width(name, 2) - 2, x = x0 + (int)lrint(at[0]) - w / 2;
        int y = y0 + (int)lrint(at[1]) - RT_FONT_H;
        x = x < x0 + 2 ? x0 + 2 : x + w > x0 + SIDE - 2 ? x0 + SIDE - 2 - w : x;
        for (int k = 0; k < 9; k++) /* a white rim, so that points around stay visible */
            rt_canvas_text(canvas, x + 2 * (k % 3 - 1), y + 2 * (k / 3 - 1), 2, 0xffffffu, name);
        rt_canvas_text(canvas, x, y, 2, 0x222222u, name);
    }
}

int rt_scatter_canvas(rt_image *canvas, const char *title, const char *note,
                      const rt_scatter *panel, int panels, const rt_classes *classes,
                      rt_error *err) {
    int w = panels * (SIDE + EDGE) + EDGE, text = rt_text_width(note, 1) + 2 * EDGE;
    int head = rt_text_width(title, 2) + 2 * EDGE;
    w = w < text ? text : w;
    w = w < head ? head : w;
    if (rt_canvas_new(canvas, w, RT_SHEET_HEADER + CAPTION + SIDE + EDGE, 0xffffffu, err))
        return err->code;
    rt_sheet_header(canvas, title, note);
    for (int i = 0; i < panels; i++)
        canvas_panel(canvas, &panel[i], classes, EDGE + i * (SIDE + EDGE),
                     RT_SHEET_HEADER + CAPTION);
    return NETRT_OK;
}
