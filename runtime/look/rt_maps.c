/* rt_maps.c: sheets of activations: every map of every labelled layer for one picture, one scale per
 * layer.
 */
#include "rt_viz.h"

#include <string.h>

#include "rt_alloc.h"

enum { GAP = 2, TILE_WANTED = 32 };
#define PAPER 0xffffffu

static int at_least(int x, int low) {
    return x > low ? x : low;
}

/* Whole-number zoom that makes a side about TILE_WANTED pixels. */
static int zoom_for(int64_t side) {
    return side >= TILE_WANTED ? 1 : (int)((TILE_WANTED + side - 1) / side);
}

/* A grid of equally large tiles; tile(i) fills `img`. */
typedef struct Grid {
    int columns, rows, tile_w, tile_h, zoom;
} Grid;

static int grid_canvas(rt_image *canvas, const Grid *g, const char *title, const char *note,
                       rt_error *err) {
    int64_t w = 16 + (int64_t)g->columns * (g->tile_w * g->zoom + GAP);
    int64_t h = RT_SHEET_HEADER + 8 + (int64_t)g->rows * (g->tile_h * g->zoom + GAP);
    int text = at_least(rt_text_width(title, 2), rt_text_width(note, 1)) + 16;
    if (w > 20000 || h > 20000)
        return rt_fail(err, NETRT_ELIMIT, "the sheet would be %lld x %lld pixels\n"
                       "help: choose fewer maps with --maps=0-63", (long long)w, (long long)h);
    if (rt_canvas_new(canvas, at_least(at_least((int)w, text), RT_SHEET_MIN_WIDTH), (int)h, PAPER,
                      err))
        return err->code;
    rt_sheet_header(canvas, title, note);
    return NETRT_OK;
}

static void grid_put(rt_image *canvas, const Grid *g, int column, int row, const rt_image *tile) {
    rt_canvas_blit(canvas, 8 + column * (g->tile_w * g->zoom + GAP),
                   RT_SHEET_HEADER + row * (g->tile_h * g->zoom + GAP), tile, g->zoom);
}

static int columns_for(int64_t n) {
    int c = 1;
    while ((int64_t)c * c < n * 2 && c < 32)
        c++;
    return c;
}

int rt_viz_listed(const char *list, const char *label) {
    size_t n = strlen(label);
    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : "")
        if (strncmp(p, label, n) == 0 && (p[n] == 0 || p[n] == ','))
            return 1;
    return list == NULL;
}

static int nothing(const rt_viz *v, const char *what, rt_error *err) {
    return rt_fail(err, NETRT_EUSAGE, "--layer=%s --maps=%s: there is no such %s\n"
                   "help: leave out --layer or --maps to see all of them",
                   v->layers ? v->layers : "(all)", v->maps ? v->maps : "(all)", what);
}

/* ---- activations ---- */

static int activation_sheet(rt_viz *v, int seed, const float *values, rt_error *err) {
    int64_t chw[3];
    rt_seed_shape(v->m->model, seed, chw);
    int64_t shown = rt_viz_count_maps(v, chw[0]);
    int64_t plane = chw[1] * chw[2];
    float low = 0, top = rt_max_abs(values, chw[0] * plane);
    for (int64_t i = 0; i < chw[0] * plane; i++)
        low = values[i] < low ? values[i] : low;
    int tone = low < 0 ? RT_TONE_SIGNED : RT_TONE_POSITIVE;
    const char *label = v->m->model->program[RT_LOOK].seed[seed].label;
    Grid g = {.columns = columns_for(shown), .tile_w = (int)chw[2], .tile_h = (int)chw[1],
              .zoom = zoom_for(chw[1] > chw[2] ? chw[1] : chw[2])};
    g.rows = (int)((shown + g.columns - 1) / g.columns);
    char title[160], note[200], name[128];
    snprintf(title, sizeof title, "activations of %s", label);
    snprintf(note, sizeof note, "%lld maps %lldx%lld, %s, white = %+.4g", (long long)chw[0],
             (long long)chw[1], (long long)chw[2],
             tone == RT_TONE_SIGNED ? "mid-grey = 0" : "black = 0", (double)top);
    rt_image canvas = {0}, tile = {0};
    int k = 0;
    if (grid_canvas(&canvas, &g, title, note, err) == 0)
        for (int64_t c = 0; c < chw[0] && !err->code; c++) {
            if (!rt_viz_wants_map(v, c))
                continue;
            rt_canvas_tone(&tile, values + c * plane, 1, (int)chw[1], (int)chw[2], 0, tone, top,
                           err);
            if (!err->code)
                grid_put(&canvas, &g, k % g.columns, k / g.columns, &tile);
            k++;
        }
    snprintf(name, sizeof name, "activations-%s", label);
    if (!err->code && rt_viz_write(v, &canvas, name, title, note, err) == 0)
        rt_viz_write_raw(v, values, 3, chw, name, err);
    rt_image_free(&tile);
    rt_image_free(&canvas);
    return err->code;
}

static int wants_layer(const rt_viz *v, int seed) {
    int64_t chw[3];
    rt_seed_shape(v->m->model, seed, chw);
    if ((!v->layers && chw[1] * chw[2] == 1 && chw[0] > 4096) || rt_viz_count_maps(v, chw[0]) == 0)
        return 0;
    return rt_viz_listed(v->layers, v->m->model->program[RT_LOOK].seed[seed].label);
}

int rt_viz_activations(rt_viz *v, rt_feed *feed, int64_t at, rt_error *err) {
    if (rt_viz_record(v, feed, at, err))
        return err->code;
    const rt_program *p = &v->m->model->program[RT_LOOK];
    int shown = 0;
    for (int s = 0; s < p->nseeds && !err->code; s++) {
        if (!wants_layer(v, s))
            continue;
        rt_tensor_read(v->m, RT_LOOK, p->seed[s].tensor, 0, v->look.seed);
        activation_sheet(v, s, v->look.seed, err);
        shown++;
    }
    if (!shown && !err->code)
        nothing(v, "layer or map", err);
    return err->code;
}
