/* rt_svg.c: plots as SVG text (rt_svg.h).  Layout constants are in CSS pixels; coordinates have one
 * decimal.  Long series are thinned to at most two points per pixel column (the extremes), so a
 * file stays small whatever the length of the run.
 */
#include "rt_svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *rt_svg_color(int i) {
    static const char *const color[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                        "#e69f00", "#56b4e9", "#000000", "#999999"};
    return color[(i % 8 + 8) % 8];
}

static const char *dash(int i) {
    static const char *const pattern[] = {"", "6 3", "2 2", "8 3 2 3"};
    return pattern[i % 4];
}

int rt_svg_ticks(double lo, double hi, int max, double *tick) {
    if (!(hi > lo) || !isfinite(lo) || !isfinite(hi) || max < 2) {
        tick[0] = lo;
        return 1;
    }
    double raw = (hi - lo) / (max - 1), power = pow(10, floor(log10(raw))), step = power;
    static const double nice[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++) {
        step = nice[i] * power;
        if (step >= raw * (1 - 1e-9))
            break;
    }
    int n = 0;
    double first = ceil(lo / step - 1e-9);
    for (double k = first; k * step <= hi + step * 1e-9 && n < max; k++)
        tick[n++] = k == 0 ? 0 : k * step;
    return n;
}

typedef struct Scale {
    double lo, hi;   /* data (log10 when log) */
    double from, to; /* pixels */
    int log;
} Scale;

static double at(const Scale *s, double v) {
    if (s->log)
        v = log10(v);
    return s->hi > s->lo ? s->from + (v - s->lo) / (s->hi - s->lo) * (s->to - s->from)
                         : (s->from + s->to) / 2;
}

enum { LEFT = 62, RIGHT = 62, TOP = 44, BOTTOM = 46 };

static int range_of(const rt_plot *p, int right, int of_x, double *lo, double *hi) {
    int any = 0;
    for (int s = 0; s < p->nseries; s++)
        for (int64_t i = 0; i < p->series[s].n; i++) {
            double v = of_x ? p->series[s].x[i] : p->series[s].y[i];
            if ((!of_x && p->series[s].right != right) || !isfinite(v))
                continue;
            *lo = any ? fmin(*lo, v) : v;
            *hi = any ? fmax(*hi, v) : v;
            any = 1;
        }
    return any;
}

void rt_svg_text(rt_text *o, double x, double y, const char *more, const char *text) {
    rt_text_printf(o, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, more);
    rt_text_xml(o, text);
    rt_text_add(o, "</text>\n");
}

static void text_at(rt_text *o, double x, double y, const char *anchor, const char *extra,
                    const char *text) {
    char more[200];
    snprintf(more, sizeof more, " text-anchor=\"%s\"%s", anchor, extra);
    rt_svg_text(o, x, y, more, text);
}

static void axis_y(rt_text *o, const Scale *s, double x0, double x1, int right, const char *label) {
    double tick[16];
    char buf[32];
    int n;
    if (s->log) {
        n = 0;
        for (double k = ceil(s->lo - 1e-9); k <= s->hi + 1e-9 && n < 16; k++)
            tick[n++] = pow(10, k);
    } else {
        n = rt_svg_ticks(s->lo, s->hi, 7, tick);
    }
    for (int i = 0; i < n; i++) {
        double y = at(s, tick[i]);
        if (!right)
            rt_text_printf(o, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#ddd\"/>\n", x0, y, x1);
        snprintf(buf, sizeof buf, "%.6g", tick[i]);
        text_at(o, right ? x1 + 6 : x0 - 6, y + 4, right ? "start" : "end", "", buf);
    }
    if (label) {
        double x = right ? x1 + 48 : x0 - 48, y = (s->from + s->to) / 2;
        char turn[80];
        snprintf(turn, sizeof turn, " transform=\"rotate(%d %.1f %.1f)\"", right ? 90 : -90, x, y);
        text_at(o, x, y, "middle", turn, label);
    }
}

static void axis_x(rt_text *o, const Scale *s, double y, const char *label) {
    double tick[16];
    char buf[32];
    int n = 0;
    for (double k = floor(s->lo); s->log && k <= s->hi; k++)
        for (int i = 0; i < 3 && n < 16; i++) {
            double v = pow(10, k) * (i == 0 ? 1 : i == 1 ? 2 : 5);
            if (log10(v) >= s->lo - 1e-9 && log10(v) <= s->hi + 1e-9)
                tick[n++] = v;
        }
    if (n < 3) /* less than a decade */
        n = s->log ? rt_svg_ticks(pow(10, s->lo), pow(10, s->hi), 9, tick)
                   : rt_svg_ticks(s->lo, s->hi, 9, tick);
    for (int i = 0; i < n; i++) {
        double x = at(s, tick[i]);
        rt_text_printf(o, "<path d=\"M%.1f %.1fv5\" stroke=\"#444\"/>\n", x, y);
        snprintf(buf, sizeof buf, s->log ? "%.3g" : "%.7g", tick[i]);
        text_at(o, x, y + 18, "middle", "", buf);
    }
    if (label)
        text_at(o, (s->from + s->to) / 2, y + 36, "middle", "", label);
}

/* One polyline; where several points share a pixel column only their extremes are drawn. */
static void curve(rt_text *o, const rt_series *s, const Scale *sx, const Scale *sy, int index) {
    int open = 0;
    rt_text_printf(o,
                   "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" "
                   "stroke-dasharray=\"%s\" d=\"",
                   rt_svg_color(index), dash(index));
    for (int64_t i = 0; i < s->n;) {
        double column = floor(at(sx, s->x[i])), lo = NAN, hi = NAN;
        int64_t low_at = i, high_at = i, k = i;
        for (; k < s->n && floor(at(sx, s->x[k])) == column; k++) {
            if (!isfinite(s->y[k]))
                continue;
            if (!(s->y[k] >= lo))
                lo = s->y[low_at = k];
            if (!(s->y[k] <= hi))
                hi = s->y[high_at = k];
        }
        int64_t first = low_at < high_at ? low_at : high_at;
        int64_t second = low_at < high_at ? high_at : low_at;
        for (int64_t j = first; isfinite(lo) && j <= second;
             j += second > first ? second - first : 1) {
            rt_text_printf(o, "%s%.1f %.1f", open ? "L" : "M", at(sx, s->x[j]), at(sy, s->y[j]));
            open = 1;
        }
        i = k;
    }
    rt_text_add(o, "\"/>\n");
    for (int64_t i = 0; s->points && s->n <= 400 && i < s->n; i++)
        if (isfinite(s->y[i]))
            rt_text_printf(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.4\" fill=\"%s\"/>\n",
                           at(sx, s->x[i]), at(sy, s->y[i]), rt_svg_color(index));
}

static void svg_open(rt_text *o, int w, int h, const char *title, int xmlns) {
    rt_text_printf(o,
                   "<svg%s width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
                   "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
                   xmlns ? " xmlns=\"http://www.w3.org/2000/svg\"" : "", w, h, w, h, w, h);
    if (title)
        text_at(o, w / 2.0, 18, "middle", " font-size=\"14\" font-weight=\"bold\"", title);
}

static void scale_y(const rt_plot *p, int right, int height, Scale *s, int *present) {
    double lo = 0, hi = 1;
    *present = range_of(p, right, 0, &lo, &hi);
    s->log = !right && p->log_y && lo > 0;
    if (s->log) {
        lo = log10(lo);
        hi = log10(hi);
    } else if (lo > 0 && lo < hi * 0.5) {
        lo = 0;
    }
    double pad = (hi - lo) * 0.05;
    *s = (Scale){lo == 0 ? 0 : lo - pad, hi > lo ? hi + pad : hi + 1, height - BOTTOM, TOP, s->log};
}

void rt_svg_plot(rt_text *o, const rt_plot *p, int xmlns) {
    int w = p->width ? p->width : 720, h = p->height ? p->height : 400, left, right;
    Scale sx = {0, 1, LEFT, w - RIGHT, 0}, sy[2] = {{0}};
    range_of(p, 0, 1, &sx.lo, &sx.hi);
    if (p->log_x && sx.lo > 0) {
        sx.log = 1;
        sx.lo = log10(sx.lo);
        sx.hi = log10(sx.hi);
    }
    scale_y(p, 0, h, &sy[0], &left);
    scale_y(p, 1, h, &sy[1], &right);
    svg_open(o, w, h, p->title, xmlns);
    if (left || !right)
        axis_y(o, &sy[0], LEFT, w - RIGHT, 0, p->ylabel);
    if (right)
        axis_y(o, &sy[1], LEFT, w - RIGHT, 1, p->rlabel);
    axis_x(o, &sx, h - BOTTOM, p->xlabel);
    rt_text_printf(o, "<path fill=\"none\" stroke=\"#444\" d=\"M%d %dV%dH%d%s\"/>\n", LEFT, TOP,
                   h - BOTTOM, w - RIGHT, right ? "V44" : "");
    double x = LEFT;
    for (int i = 0; i < p->nseries; i++) {
        curve(o, &p->series[i], &sx, &sy[p->series[i].right != 0], i);
        rt_text_printf(o,
                       "<path d=\"M%.1f 32h22\" stroke=\"%s\" stroke-width=\"2\" "
                       "stroke-dasharray=\"%s\"/>\n",
                       x, rt_svg_color(i), dash(i));
        text_at(o, x + 27, 36, "start", "", p->series[i].name);
        x += 48 + 6.6 * (double)strlen(p->series[i].name);
    }
    rt_text_add(o, "</svg>\n");
}

void rt_svg_confusion(rt_text *o, const char *title, const int64_t *count, int64_t classes,
                      const char *(*name)(void *, int64_t, char[24]), void *context, int xmlns) {
    double cell = classes <= 20 ? 34 : classes <= 100 ? 12 : 1200.0 / (double)classes;
    int side = (int)(cell * (double)classes), margin = 92;
    svg_open(o, side + margin + 20, side + margin + 30, title, xmlns);
    for (int64_t r = 0; r < classes; r++) {
        int64_t total = 0;
        char buf[24];
        for (int64_t c = 0; c < classes; c++)
            total += count[r * classes + c];
        double y = 30 + cell * (double)r;
        if (cell >= 12)
            text_at(o, margin - 6, y + cell / 2 + 4, "end", "", name(context, r, buf));
        for (int64_t c = 0; c < classes; c++) {
            int64_t v = count[r * classes + c];
            double x = margin + cell * (double)c, share = total ? (double)v / (double)total : 0;
            int shade = 255 - (int)(share * 200);
            rt_text_printf(o,
                           "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                           "fill=\"rgb(%d,%d,255)\" stroke=\"#fff\"/>\n",
                           x, y, cell, cell, shade, shade);
            if (cell >= 30 && v) {
                char text[24];
                snprintf(text, sizeof text, "%lld", (long long)v);
                text_at(o, x + cell / 2, y + cell / 2 + 4, "middle",
                        share > 0.6 ? " fill=\"#fff\" font-size=\"11\"" : " font-size=\"11\"",
                        text);
            }
        }
    }
    for (int64_t c = 0; c < classes && cell >= 12; c++) {
        char buf[24];
        double x = margin + cell * ((double)c + 0.5), y = 30.0 + side + 16;
        text_at(o, x, y, "middle", "", name(context, c, buf));
    }
    text_at(o, margin + side / 2.0, 30.0 + side + 44, "middle", "", "predicted");
    rt_text_add(o, "</svg>\n");
}
