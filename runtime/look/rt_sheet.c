/* rt_sheet.c: grids of pictures with captions; heat colours (rt_sheet.h).
 *
 * The heat colours follow five anchors of the map viridis (Smith and van der Walt 2015), straight
 * lines between them.
 */
#include "rt_sheet.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PAPER 0xffffffu
#define INK 0x222222u
#define FAINT 0x666666u

enum { MARGIN = 8, GAP = 4, SIDE_MAX = 20000, WANTED = 96 };

void rt_sheet_header(rt_image *canvas, const char *title, const char *note) {
    rt_canvas_text(canvas, MARGIN, 7, 2, INK, title);
    rt_canvas_text(canvas, MARGIN, 28, 1, FAINT, note);
}

static int larger(int a, int b) {
    return a > b ? a : b;
}

int rt_sheet_columns(int64_t tiles, int most) {
    int c = 1;
    while ((int64_t)c * c < tiles * 2 && c < most)
        c++;
    return (int64_t)c > tiles ? larger((int)tiles, 1) : c;
}

int rt_sheet_open(rt_sheet *s, const char *title, const char *note, int columns, int rows,
                  int tile_w, int tile_h, int wanted, int captions, rt_error *err) {
    int side = larger(tile_w, tile_h);
    wanted = wanted ? wanted : WANTED;
    *s = (rt_sheet){.columns = columns, .rows = rows, .tile_w = tile_w, .tile_h = tile_h,
                    .captions = captions};
    s->zoom = side >= wanted ? 1 : (wanted + side - 1) / side;
    s->step_x = tile_w * s->zoom + GAP;
    s->step_y = tile_h * s->zoom + GAP + captions * RT_FONT_H + (captions ? 2 : 0);
    int64_t w = 2 * MARGIN + (int64_t)columns * s->step_x;
    int64_t h = RT_SHEET_HEADER + MARGIN + (int64_t)rows * s->step_y;
    int text = larger(rt_text_width(title, 2), rt_text_width(note, 1)) + 2 * MARGIN;
    if (w > SIDE_MAX || h > SIDE_MAX)
        return rt_fail(err, NETRT_ELIMIT, "the sheet would be %lld x %lld pixels\n"
                       "help: choose fewer maps with --maps=0-63", (long long)w, (long long)h);
    if (rt_canvas_new(&s->canvas, larger(larger((int)w, text), RT_SHEET_MIN_WIDTH), (int)h, PAPER, err))
        return err->code;
    rt_sheet_header(&s->canvas, title, note);
    return NETRT_OK;
}

void rt_sheet_close(rt_sheet *s) {
    rt_image_free(&s->canvas);
}

void rt_sheet_put(rt_sheet *s, int column, int row, const rt_image *tile, const char *caption) {
    int x = MARGIN + column * s->step_x, y = RT_SHEET_HEADER + row * s->step_y;
    rt_canvas_blit(&s->canvas, x, y, tile, s->zoom);
    y += s->tile_h * s->zoom + 2;
    int letters = (s->step_x - 1) / RT_FONT_W;
    for (int i = 0; i < s->captions && caption && *caption; i++, y += RT_FONT_H) {
        char line[256];
        int n = (int)strcspn(caption, "\n"), shown = n < letters ? n : letters;
        snprintf(line, sizeof line, "%.*s", shown < 255 ? shown : 255, caption);
        rt_canvas_text(&s->canvas, x, y, 1, INK, line);
        caption += n + (caption[n] == '\n');
    }
}

void rt_sheet_frame(rt_sheet *s, int column, int row, unsigned color) {
    int x = MARGIN + column * s->step_x - 2, y = RT_SHEET_HEADER + row * s->step_y - 2;
    int w = s->tile_w * s->zoom + 4, h = s->tile_h * s->zoom + 4;
    rt_canvas_rect(&s->canvas, x, y, w, 2, color);
    rt_canvas_rect(&s->canvas, x, y + h - 2, w, 2, color);
    rt_canvas_rect(&s->canvas, x, y, 2, h, color);
    rt_canvas_rect(&s->canvas, x + w - 2, y, 2, h, color);
}

void rt_sheet_bar(rt_sheet *s, int column, int row, int line, int kind, double lo, double hi) {
    int x = MARGIN + column * s->step_x, width = s->step_x - GAP - RT_FONT_W;
    int y = RT_SHEET_HEADER + row * s->step_y + s->tile_h * s->zoom + 2 + line * RT_FONT_H;
    char low[16], high[16];
    snprintf(low, sizeof low, "%.4g", lo);
    snprintf(high, sizeof high, "%.4g", hi);
    int left = rt_text_width(low, 1) + 3, right = rt_text_width(high, 1) + 3;
    int n = width - left - right;
    if (n < 8) /* no room for colours: the numbers alone, if they fit */
        low[0] = n < -6 ? 0 : low[0];
    rt_canvas_text(&s->canvas, x, y, 1, INK, low);
    rt_canvas_text(&s->canvas, x + width - right + 3, y, 1, INK, high);
    for (int i = 0; n >= 8 && i < n; i++) {
        double share = (double)i / (double)(n - 1);
        unsigned grey = (unsigned)lrint(255 * share);
        rt_canvas_rect(&s->canvas, x + left + i, y, 1, RT_FONT_H - 2,
                       kind == RT_BAR_HEAT ? rt_heat_color(share) : grey << 16 | grey << 8 | grey);
    }
}

/* ---- heat ---- */

unsigned rt_heat_color(double share) {
    static const double anchor[5][3] = {
        {68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}};
    if (isnan(share))
        return 0x808080u;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    int i = share >= 1 ? 3 : (int)(share * 4);
    double part = share * 4 - i;
    unsigned color = 0;
    for (int k = 0; k < 3; k++)
        color = color << 8 |
                (unsigned)lrint(anchor[i][k] + part * (anchor[i + 1][k] - anchor[i][k]));
    return color;
}

static void set_pixel(rt_image *img, size_t at, unsigned color) {
    img->data[3 * at] = (unsigned char)(color >> 16);
    img->data[3 * at + 1] = (unsigned char)(color >> 8);
    img->data[3 * at + 2] = (unsigned char)color;
}

int rt_heat(rt_image *out, const float *x, int h, int w, float lo, float hi, rt_error *err) {
    if (rt_image_reserve(out, w, h, 3, err))
        return err->code;
    double range = (double)hi - (double)lo;
    for (size_t i = 0; i < (size_t)h * (size_t)w; i++)
        set_pixel(out, i, rt_heat_color(range > 0 ? ((double)x[i] - (double)lo) / range : 0));
    return NETRT_OK;
}

int rt_heat_over(rt_image *out, const rt_image *picture, const rt_image *heat, double share,
                 rt_error *err) {
    rt_image grey = {0};
    if (rt_image_convert(&grey, picture, 1, err) == 0 &&
        rt_image_reserve(out, heat->width, heat->height, 3, err) == 0)
        for (int y = 0; y < heat->height; y++)
            for (int x = 0; x < heat->width; x++)
                for (int k = 0; k < 3; k++) {
                    size_t at = (size_t)y * (size_t)heat->width + (size_t)x;
                    double below = y < grey.height && x < grey.width
                                       ? grey.data[(size_t)y * (size_t)grey.width + (size_t)x]
                                       : 255;
                    double v = share * heat->data[3 * at + (size_t)k] + (1 - share) * below;
                    out->data[3 * at + (size_t)k] = (unsigned char)lrint(v);
                }
    rt_image_free(&grey);
    return err->code;
}
