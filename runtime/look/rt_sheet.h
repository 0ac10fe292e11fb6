/* rt_sheet.h: a sheet of pictures: title, how to read it, a grid of equally large tiles with
 * captions; heat colours and overlays.
 *
 * Tiles are enlarged by whole factors only, so that a pixel of a small picture stays a square.
 */
#ifndef RT_SHEET_H
#define RT_SHEET_H

#include "rt_canvas.h"

/* Draws title and sub-title at the top of a canvas at least so wide; what follows begins at
 * RT_SHEET_HEADER. */
void rt_sheet_header(rt_image *canvas, const char *title, const char *note);
enum { RT_SHEET_HEADER = 44, RT_SHEET_MIN_WIDTH = 520 };

typedef struct rt_sheet {
    rt_image canvas;
    int columns, rows, tile_w, tile_h, zoom;
    int captions;       /* lines of text under each tile */
    int step_x, step_y; /* of the grid, pixels */
} rt_sheet;

/* tile_w x tile_h pixels each, enlarged to about `wanted` pixels (0: 96) when smaller.  ELIMIT: a sheet of more than 20,000 pixels a side. */
int rt_sheet_open(rt_sheet *s, const char *title, const char *note, int columns, int rows,
                  int tile_w, int tile_h, int wanted, int captions, rt_error *err);
void rt_sheet_close(rt_sheet *s);
/* caption: lines divided by \n, cut to the tile's width; NULL: none.  A tile of another size is put
 * at its corner, at the sheet's zoom. */
void rt_sheet_put(rt_sheet *s, int column, int row, const rt_image *tile, const char *caption);
/* A frame around a tile, in the gap between tiles. */
void rt_sheet_frame(rt_sheet *s, int column, int row, unsigned color);
/* A scale in line `line` of a tile's caption, which that caption leaves free: lo, the colours from lo
 * to hi, hi.  HEAT: rt_heat_color; GREY: black to white. */
enum { RT_BAR_HEAT, RT_BAR_GREY };
void rt_sheet_bar(rt_sheet *s, int column, int row, int line, int kind, double lo, double hi);
/* About twice as many columns as rows, at most `most`. */
int rt_sheet_columns(int64_t tiles, int most);

/* Heat: lo dark violet, hi light yellow, lightness rising evenly, so that it reads in grey and for
 * every kind of colour vision; NaN is mid-grey. */
unsigned rt_heat_color(double share); /* 0..1 -> 0xRRGGBB */
int rt_heat(rt_image *out, const float *x, int h, int w, float lo, float hi, rt_error *err);
/* picture (grey) under heat: each pixel share * heat + (1 - share) * brightness; of equal size. */
int rt_heat_over(rt_image *out, const rt_image *picture, const rt_image *heat, double share,
                 rt_error *err);
#endif
