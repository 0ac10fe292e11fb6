/* rt_deconv.c: what excites a map: its nine strongest activations over a data set, each projected
 * to pixels with its own switches, beside the image patch that its receptive field sees.
 *
 * theory: Zeiler and Fergus 2014, figure 2 and section 2.1; layout after that figure.  Each
 * projection tile has its own scale (written to the CSV): 0 is mid-grey, the largest absolute value
 * white or black.  A patch that reaches over the border is filled up with mid-grey.
 */
#include "rt_viz.h"

#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"

enum { MAPS_MAX = 64 }; /* of a layer, unless --maps says which */
enum { SIDE = 3, TILE_MIN = 40, TILE_MAX = 96, GAP = 2, BLOCK_GAP = 10, CAPTION = 12 };
#define PAPER 0xffffffu
#define INK 0x222222u

typedef struct Sheet {
    rt_viz *v;
    rt_feed *feed;
    int rule, seed;
    const rt_peak *top;     /* maps * RT_TOP */
    int64_t chw[3], shown;
    char title[160], note[300];
    int tile;               /* side of a tile in pixels */
    int columns, rows, block_w, block_h;
    rt_image canvas;
    rt_text csv;
    float *diff;            /* RT_TOP images */
    rt_image input, part, scaled;
} Sheet;

/* The tile of a patch: cut out, then to `tile` pixels: small ones by whole factors, large ones by
 * antialiased reduction. */
static int to_tile(Sheet *s, const rt_image *img, rt_rect r, rt_error *err) {
    if (rt_image_crop(&s->part, img, (int)r.x, (int)r.y, (int)r.w, (int)r.h, 128, err))
        return err->code;
    int zoom = (int)(s->tile / (r.h > r.w ? r.h : r.w));
    if (zoom >= 1) {
        if (rt_canvas_new(&s->scaled, s->tile, s->tile, 0x808080u, err))
            return err->code;
        rt_canvas_blit(&s->scaled, (s->tile - (int)r.w * zoom) / 2,
                       (s->tile - (int)r.h * zoom) / 2, &s->part, zoom);
        return NETRT_OK;
    }
    return rt_image_resize(&s->scaled, &s->part, s->tile, s->tile, err);
}

static void csv_row(Sheet *s, int64_t map, int rank, const rt_peak *p, rt_rect r, float scale) {
    char name[256], clean[256];
    rt_data_name(s->feed->ds, p->sample, name, sizeof name);
    rt_clean_name(clean, sizeof clean, name);
    for (char *c = clean; *c; c++)
        if (*c == '"')
            *c = '\'';
    rt_text_printf(&s->csv,
                   "%s,%lld,%d,%.9g,%lld,\"%s\",%d,%lld,%lld,%lld,%lld,%lld,%lld,%.9g\n",
                   s->v->m->model->program[RT_LOOK].seed[s->seed].label, (long long)map, rank,
                   (double)p->value, (long long)p->sample, clean,
                   rt_data_label(s->feed->ds, p->sample), (long long)p->y, (long long)p->x,
                   (long long)r.y, (long long)r.x, (long long)r.h, (long long)r.w, (double)scale);
}

/* Records the winners of one map and projects them; n of them. */
static int project_map(Sheet *s, int64_t map, int n, rt_error *err) {
    const rt_peak *top = s->top + map * RT_TOP;
    int64_t want[RT_TOP];
    rt_unit unit[RT_TOP];
    float value[RT_TOP], *layer = s->v->look.seed;
    for (int i = 0; i < n; i++) {
        want[i] = top[i].sample;
        unit[i] = (rt_unit){map, top[i].y, top[i].x};
        value[i] = top[i].value;
    }
    if (rt_feed_load(s->feed, want, n, -1, rt_cli_skipped, &s->v->cli) != n)
        return rt_fail(err, NETRT_EDATA, "a picture that was read before cannot be read again");
    if (rt_look_record(&s->v->look, n, err))
        return err->code;
    int tensor = s->v->m->model->program[RT_LOOK].seed[s->seed].tensor;
    int64_t count = s->chw[0] * s->chw[1] * s->chw[2];
    for (int i = 0; i < n; i++) { /* the second recording must repeat the first bit for bit */
        rt_tensor_read(s->v->m, RT_LOOK, tensor, i, layer);
        float again = layer[(map * s->chw[1] + top[i].y) * s->chw[2] + top[i].x];
        if (memcmp(&again, &top[i].value, sizeof again) != 0)
            rt_fail(err, NETRT_EBUG, "activation of map %lld changed from %.9g to %.9g between two "
                    "runs", (long long)map, (double)top[i].value, (double)again);
    }
    memset(layer, 0, (size_t)count * sizeof *layer);
    return err->code ? err->code
                     : rt_look_project(&s->v->look, s->rule, s->seed, unit, value, n, s->diff, err);
}

static int draw_map(Sheet *s, int64_t map, int slot, rt_error *err) {
    const rt_peak *top = s->top + map * RT_TOP;
    const struct rt_prep *prep = &s->v->prep;
    int64_t pixels = (int64_t)prep->channels * prep->height * prep->width;
    int n = 0;
    while (n < RT_TOP && top[n].sample >= 0 && top[n].value > 0)
        n++;
    int x0 = 8 + slot % s->columns * s->block_w;
    int y0 = RT_SHEET_HEADER + slot / s->columns * s->block_h;
    char caption[96];
    snprintf(caption, sizeof caption, n ? "map %lld  max %.3g" : "map %lld  never active",
             (long long)map, (double)top[0].value);
    rt_canvas_text(&s->canvas, x0, y0, 1, INK, caption);
    if (n && project_map(s, map, n, err))
        return err->code;
    for (int i = 0; i < n && !err->code; i++) {
        rt_rect r = rt_unit_field(s->v->m->model, s->seed, top[i].y, top[i].x);
        float *diff = s->diff + i * pixels, scale = rt_max_abs(diff, pixels);
        int x = x0 + i % SIDE * (s->tile + GAP), y = y0 + CAPTION + i / SIDE * (s->tile + GAP);
        if (rt_canvas_tone(&s->input, diff, prep->channels, prep->height, prep->width, prep->bgr,
                           RT_TONE_SIGNED, scale, err) || to_tile(s, &s->input, r, err))
            break;
        rt_canvas_blit(&s->canvas, x, y, &s->scaled, 1);
        if (rt_prep_invert(prep, s->feed->input[0] + i * pixels, &s->input, err) ||
            to_tile(s, &s->input, r, err))
            break;
        rt_canvas_blit(&s->canvas, x + SIDE * (s->tile + GAP) + 4, y, &s->scaled, 1);
        csv_row(s, map, i + 1, &top[i], r, scale);
    }
    return err->code;
}

static void sheet_texts(Sheet *s, int64_t scanned) {
    const char *label = s->v->m->model->program[RT_LOOK].seed[s->seed].label;
    rt_rect r = rt_unit_field(s->v->m->model, s->seed, 0, 0);
    char part[64] = "";
    if (s->shown < s->chw[0])
        snprintf(part, sizeof part, "; %lld of %lld maps", (long long)s->shown,
                 (long long)s->chw[0]);
    snprintf(s->title, sizeof s->title, "%.60s: %s, top 9 of each map", label,
             rt_rule_names[s->rule]);
    snprintf(s->note, sizeof s->note,
             "left projections (0 = mid-grey, own scale each), right patches %lldx%lld; "
             "%lld images%s",
             (long long)r.h, (long long)r.w, (long long)scanned, part);
}

static int sheet_size(Sheet *s, rt_error *err) {
    rt_rect r = rt_unit_field(s->v->m->model, s->seed, 0, 0);
    int64_t side = r.h > r.w ? r.h : r.w;
    s->tile = side > TILE_MAX ? TILE_MAX : (int)((TILE_MIN + side - 1) / side * side);
    s->tile = s->tile > TILE_MAX ? TILE_MAX : s->tile;
    s->block_w = 2 * SIDE * (s->tile + GAP) + 4 + BLOCK_GAP;
    s->block_h = SIDE * (s->tile + GAP) + CAPTION + BLOCK_GAP;
    s->columns = 1600 / s->block_w < 1 ? 1 : 1600 / s->block_w;
    if (s->columns > s->shown)
        s->columns = (int)s->shown;
    s->rows = (int)((s->shown + s->columns - 1) / s->columns);
    int text = rt_text_width(s->note, 1) + 16, title = rt_text_width(s->title, 2) + 16;
    text = text < title ? title : text;
    int64_t w = 16 + (int64_t)s->columns * s->block_w;
    int64_t h = RT_SHEET_HEADER + (int64_t)s->rows * s->block_h;
    if (h > 30000)
        return rt_fail(err, NETRT_ELIMIT, "a sheet of %lld maps is too tall\n"
                       "help: choose maps with --maps=0-63", (long long)s->shown);
    return rt_canvas_new(&s->canvas, w < text ? text : (int)w, (int)h, PAPER, err);
}

static int finish_sheet(Sheet *s, rt_error *err) {
    const char *label = s->v->m->model->program[RT_LOOK].seed[s->seed].label;
    char name[128];
    rt_sheet_header(&s->canvas, s->title, s->note);
    snprintf(name, sizeof name, "%s-%s", s->rule == RT_RULE_DECONVNET ? "deconv" :
             rt_rule_names[s->rule], label);
    if (rt_viz_write(s->v, &s->canvas, name, s->title, s->note, err) == 0)
        rt_viz_write_text(s->v, &s->csv, name, s->title, err);
    return err->code;
}

static int one_sheet(rt_viz *v, rt_feed *feed, int rule, int seed, const rt_peak *top,
                     int64_t scanned, rt_error *err) {
    Sheet s = {.v = v, .feed = feed, .rule = rule, .seed = seed, .top = top};
    const struct rt_prep *prep = &v->prep;
    int64_t slot = 0;
    rt_seed_shape(v->m->model, seed, s.chw);
    s.shown = rt_viz_count_maps(v, s.chw[0]);
    if (!v->maps && s.shown > MAPS_MAX)
        s.shown = MAPS_MAX;
    sheet_texts(&s, scanned);
    if (s.shown == 0)
        return rt_fail(err, NETRT_EUSAGE, "--maps=%s names no map of layer %s\nhelp: it has 0 to %lld",
                       v->maps, v->m->model->program[RT_LOOK].seed[seed].label,
                       (long long)s.chw[0] - 1);
    rt_text_add(&s.csv, "layer,map,rank,value,image,name,class,y,x,field_y,field_x,field_h,field_w,"
                        "projection_max\n");
    s.diff = rt_alloc((size_t)(RT_TOP * prep->channels) * (size_t)(prep->height * prep->width),
                      sizeof *s.diff, "projections", err);
    if (s.diff)
        sheet_size(&s, err);
    for (int64_t c = 0; slot < s.shown && !err->code && !rt_cli_signal; c++) {
        if (!rt_viz_wants_map(v, c))
            continue;
        draw_map(&s, c, (int)slot++, err);
        if (rt_progress_due(&v->cli.progress))
            rt_progress_tick(&v->cli.progress, "projecting", slot, s.shown, "", -1);
    }
    rt_progress_clear(&v->cli.progress);
    if (rt_cli_signal)
        rt_fail(err, 128 + rt_cli_signal, "stopped while projecting");
    if (!err->code)
        finish_sheet(&s, err);
    rt_free(s.diff);
    rt_text_free(&s.csv);
    rt_image_free(&s.canvas);
    rt_image_free(&s.input);
    rt_image_free(&s.part);
    rt_image_free(&s.scaled);
    return err->code;
}

int rt_viz_deconv(rt_viz *v, rt_feed *feed, int rule, const int *seed, int nseeds, rt_error *err) {
    rt_peak *top[64] = {0};
    if (nseeds > 64)
        nseeds = 64;
    for (int k = 0; k < nseeds && !err->code; k++) {
        int64_t chw[3];
        rt_seed_shape(v->m->model, seed[k], chw);
        top[k] = rt_alloc((size_t)chw[0] * RT_TOP, sizeof **top, "strongest activations", err);
    }
    int64_t total = rt_data_count(feed->ds);
    total = v->limit > 0 && v->limit < total ? v->limit : total;
    if (!err->code)
        rt_look_scan(&v->cli, &v->look, feed, v->limit, seed, nseeds, top, err);
    for (int k = 0; k < nseeds && !err->code; k++)
        one_sheet(v, feed, rule, seed[k], top[k], total, err);
    for (int k = 0; k < nseeds; k++)
        rt_free(top[k]);
    return err->code;
}
