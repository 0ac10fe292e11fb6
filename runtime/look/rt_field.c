/* rt_field.c: what a unit can see: the receptive field of each layer's strongest unit as a frame on a
 * picture, and sizes and steps of the fields of all layers as a table.
 *
 * The field of one layer behind another: size += (kernel - 1) * step, start -= pad * step,
 * step *= stride (compiled in, rt_seed).  It is what could matter; what does is smaller, mostly
 * around its middle (Luo, Li, Urtasun, Zemel 2016).
 * requires: nothing; a layer that sees everything has the whole picture.
 */
#include <stdio.h>

#include "rt_alloc.h"
#include "rt_viz.h"

enum { WANTED = 160, LAYERS_MAX = 40 };
#define LIGHT 0xffb000u
#define DARK 0x202020u

typedef struct Fields {
    rt_viz *v;
    rt_feed feed;
    int64_t at;
    int zoom;
    rt_image picture, tile;
    rt_sheet sheet;
    int columns;
} Fields;

static void frame(rt_image *tile, rt_rect r, int zoom, int inset, unsigned color) {
    int x = (int)r.x * zoom + inset, y = (int)r.y * zoom + inset;
    int w = (int)r.w * zoom - 2 * inset, h = (int)r.h * zoom - 2 * inset;
    rt_canvas_rect(tile, x, y, w, 1, color);
    rt_canvas_rect(tile, x, y + h - 1, w, 1, color);
    rt_canvas_rect(tile, x, y, 1, h, color);
    rt_canvas_rect(tile, x + w - 1, y, 1, h, color);
}

/* The field that a layer's table entry and frame speak of; whole: it sees everything. */
static rt_rect field_of(const Fields *f, int seed, rt_unit u, int *whole) {
    const rt_seed *s = &f->v->m->model->program[RT_LOOK].seed[seed];
    *whole = s->rf_size[0] <= 0 || s->rf_size[1] <= 0;
    return rt_unit_field(f->v->m->model, seed, u.y, u.x);
}

/* The strongest unit of the layer, among the maps asked for. */
static int strongest(Fields *f, int seed, rt_unit *unit, float *value, rt_error *err) {
    int64_t chw[3], best = -1;
    rt_seed_shape(f->v->m->model, seed, chw);
    int64_t plane = chw[1] * chw[2];
    const float *x = f->v->look.seed;
    rt_look_values(&f->v->look, seed, 0, f->v->look.seed);
    for (int64_t i = 0; i < chw[0] * plane; i++)
        if (rt_viz_wants_map(f->v, i / plane) && (best < 0 || x[i] > x[best]))
            best = i;
    if (best < 0)
        return rt_fail(err, NETRT_EUSAGE, "--maps=%s names no map of layer %s\nhelp: it has 0 to %lld",
                       f->v->maps, f->v->m->model->program[RT_LOOK].seed[seed].label,
                       (long long)chw[0] - 1);
    *unit = (rt_unit){best / plane, best % plane / chw[2], best % chw[2]};
    *value = x[best];
    return NETRT_OK;
}

static int draw_layer(Fields *f, int seed, int slot, rt_error *err) {
    rt_unit u = {0};
    float value = 0;
    int whole;
    char caption[200];
    if (strongest(f, seed, &u, &value, err))
        return err->code;
    rt_rect r = field_of(f, seed, u, &whole);
    if (rt_canvas_new(&f->tile, f->picture.width * f->zoom, f->picture.height * f->zoom, DARK, err))
        return err->code;
    rt_canvas_blit(&f->tile, 0, 0, &f->picture, f->zoom);
    frame(&f->tile, r, f->zoom, 0, LIGHT);
    frame(&f->tile, r, f->zoom, 1, DARK);
    if (whole)
        snprintf(caption, sizeof caption, "%.60s map %lld\nsees everything",
                 f->v->m->model->program[RT_LOOK].seed[seed].label, (long long)u.c);
    else
        snprintf(caption, sizeof caption, "%.60s map %lld\n%lldx%lld at (%lld, %lld)",
                 f->v->m->model->program[RT_LOOK].seed[seed].label, (long long)u.c, (long long)r.h,
                 (long long)r.w, (long long)r.y, (long long)r.x);
    rt_sheet_put(&f->sheet, slot % f->columns, slot / f->columns, &f->tile, caption);
    return NETRT_OK;
}

/* Every layer's field and the step from one unit's to the next one's; 0: the whole picture. */
static int write_table(Fields *f, rt_error *err) {
    const rt_program *p = &f->v->m->model->program[RT_LOOK];
    rt_text csv = {0};
    rt_text_add(&csv, "layer,maps,height,width,field_h,field_w,step_y,step_x,start_y,start_x\n");
    for (int i = 0; i < p->nseeds; i++) {
        const rt_seed *s = &p->seed[i];
        int64_t chw[3];
        rt_seed_shape(f->v->m->model, i, chw);
        rt_text_printf(&csv, "%s,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld\n", s->label,
                       (long long)chw[0], (long long)chw[1], (long long)chw[2],
                       (long long)s->rf_size[0], (long long)s->rf_size[1], (long long)s->rf_jump[0],
                       (long long)s->rf_jump[1], (long long)s->rf_start[0],
                       (long long)s->rf_start[1]);
    }
    rt_viz_write_text(f->v, &csv, "field", "receptive fields of all layers", err);
    rt_text_free(&csv);
    return err->code;
}

static int draw(Fields *f, rt_error *err) {
    int seed[LAYERS_MAX], n = 0, more = 1;
    const char *list = f->v->layers;
    char name[64], what[256], note[400];
    while (list && n < LAYERS_MAX && (more = rt_viz_next_layer(f->v, &list, &seed[n], err)) == 1)
        n++;
    if (!f->v->layers)
        n = rt_viz_conv_layers(f->v, seed, LAYERS_MAX);
    if (err->code || n == 0)
        return err->code;
    f->columns = rt_sheet_columns(n, 6);
    rt_viz_sample_name(&f->feed, f->at, what, sizeof what);
    snprintf(note, sizeof note, "%.200s; frames: what the strongest unit of each layer can see", what);
    if (rt_sheet_open(&f->sheet, "receptive fields", note, f->columns,
                      (n + f->columns - 1) / f->columns, f->picture.width * f->zoom,
                      f->picture.height * f->zoom, WANTED, 2, err))
        return err->code;
    for (int i = 0; i < n && !err->code; i++)
        draw_layer(f, seed[i], i, err);
    snprintf(name, sizeof name, "field-%lld", (long long)f->at);
    return err->code ? err->code
                     : rt_viz_write(f->v, &f->sheet.canvas, name, "receptive fields", note, err);
}

static int run_field(rt_viz *v, const char **operands, int n, rt_error *err) {
    Fields f = {.v = v};
    if (rt_viz_open(v, 0, err) == 0 && rt_viz_feed(v, operands, n, &f.feed, err) == 0 &&
        rt_viz_one(v, &f.feed, &f.at, err) == 0 &&
        rt_prep_invert(&v->prep, f.feed.input[0], &f.picture, err) == 0) {
        int side = f.picture.width > f.picture.height ? f.picture.width : f.picture.height;
        f.zoom = side >= WANTED ? 1 : (WANTED + side - 1) / side;
        if (draw(&f, err) == 0)
            write_table(&f, err);
    }
    rt_sheet_close(&f.sheet);
    rt_image_free(&f.picture);
    rt_image_free(&f.tile);
    rt_viz_feed_close(v, &f.feed);
    return err->code;
}

const rt_technique rt_technique_field = {
    {"field", "what the units of each layer can see", "[OPTIONS] [PICTURE]",
     "field cat.jpg\nfield --image=7 --layer=conv1,conv5"},
    run_field, NULL, 0};
