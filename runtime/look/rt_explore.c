/* rt_explore.c: the explorer's answers (rt_explore.h): maps of a layer as one picture of tiles, one
 * map, one unit's projection, the nine strongest units of a map with their projections in one batch.
 *
 * The picture asked about last stays recorded, so that walking through its layers costs no forward
 * pass.  Tiles larger than TILE are made smaller, each cell the largest of its square, so that no
 * peak is lost.
 */
#include "rt_explore.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_diagram.h"

enum { TILE = 64, COLUMNS = 32, PATCH = 96, MAPS_MOST = 4096, LABELS_MOST = 1000,
       KEEP_BYTES = 64 << 20, KEEP_MOST = 1024 };
struct rt_explore {
    rt_viz *v;
    rt_feed feed;
    int64_t pixels, recorded; /* numbers of an input; the picture recorded, if `have` */
    int have;
    float *input;             /* what the network was given */
    float *drop[RT_EXPLORE_DROPS];
    int64_t drops;            /* taken so far; the newest replace the oldest */
    float *diff;              /* RT_TOP inputs */
    rt_nines *nines;
    /* pictures as the network reads them, the ones asked for last: decoding a photograph takes as
     * long as looking at it */
    struct Kept {
        int64_t id, turn; /* of the sample; when it was asked for, 0: empty */
        float *input;
    } * kept;
    int64_t nkept, turn;
    float *batch; /* RT_TOP inputs */
};

/* ---- opening ---- */

rt_explore *rt_explore_open(rt_viz *v, const char **operands, int n, rt_nines *nines,
                            rt_error *err) {
    rt_explore *x = rt_alloc_zero(1, sizeof *x, "explorer", err);
    if (!x)
        return NULL;
    x->v = v;
    x->nines = nines;
    v->cli.batch = RT_TOP;
    if (rt_viz_open(v, 1, err) == 0 && rt_viz_feed(v, operands, n, &x->feed, err) == 0) {
        x->pixels = (int64_t)v->prep.channels * v->prep.height * v->prep.width;
        x->input = rt_alloc((size_t)x->pixels, sizeof *x->input, "a picture", err);
        x->diff = rt_alloc((size_t)(RT_TOP * x->pixels), sizeof *x->diff, "projections", err);
        x->batch = rt_alloc((size_t)(RT_TOP * x->pixels), sizeof *x->batch, "pictures", err);
        x->nkept = KEEP_BYTES / (x->pixels * (int64_t)sizeof(float)) + RT_TOP;
        x->nkept = x->nkept < KEEP_MOST ? x->nkept : KEEP_MOST;
        x->kept = rt_alloc_zero((size_t)x->nkept, sizeof *x->kept, "pictures", err);
    }
    if (!err->code && rt_data_count(v->cli.ds) < 1)
        rt_fail(err, NETRT_EDATA, "%s holds no pictures", rt_data_uri(v->cli.ds));
    return x;
}

void rt_explore_close(rt_explore *x) {
    if (!x)
        return;
    rt_viz_feed_close(x->v, &x->feed);
    for (int i = 0; i < RT_EXPLORE_DROPS; i++)
        rt_free(x->drop[i]);
    for (int64_t i = 0; x->kept && i < x->nkept; i++)
        rt_free(x->kept[i].input);
    rt_free(x->kept);
    rt_free(x->batch);
    rt_free(x->input);
    rt_free(x->diff);
    rt_free(x);
}

/* ---- parameters ---- */

static const rt_program *look_of(const rt_explore *x) {
    return &x->v->m->model->program[RT_LOOK];
}

/* A whole number lo..hi; without one: `missing`, unless that lies outside. */
static int64_t number(const rt_question *q, const char *key, int64_t lo, int64_t hi, int64_t missing,
                      rt_error *err) {
    const char *s = q->get(q->context, key);
    int64_t v = missing;
    if ((s && !rt_parse_int(s, &v)) || v < lo || v > hi) {
        rt_fail(err, NETRT_EUSAGE, "%s must be %lld to %lld", key, (long long)lo, (long long)hi);
        return lo;
    }
    return v;
}

/* Layer, and its extents. */
static int layer_of(const rt_explore *x, const rt_question *q, int64_t chw[3], rt_error *err) {
    int layer = (int)number(q, "layer", 0, look_of(x)->nseeds - 1, -1, err);
    if (!err->code)
        rt_seed_shape(x->v->m->model, layer, chw);
    return layer;
}

/* The picture among those kept, or the place of the one that nobody asked for longest (id: not it). */
static struct Kept *place_of(rt_explore *x, int64_t id) {
    struct Kept *oldest = &x->kept[0];
    for (int64_t i = 0; i < x->nkept; i++) {
        if (x->kept[i].turn && x->kept[i].id == id)
            return &x->kept[i];
        oldest = x->kept[i].turn < oldest->turn ? &x->kept[i] : oldest;
    }
    return oldest;
}

/* Loads samples that nobody has asked for lately. */
static int fetch(rt_explore *x, const int64_t *want, int n, rt_error *err) {
    if (n > 0 && rt_feed_load(&x->feed, want, n, -1, rt_cli_skipped, &x->v->cli) != n)
        return rt_fail(err, NETRT_EDATA, "a picture cannot be read");
    const float *input = x->v->m->frame.input[0];
    for (int i = 0; i < n; i++) {
        struct Kept *k = place_of(x, want[i]);
        k->turn = 0;
        if (!k->input)
            k->input = rt_alloc((size_t)x->pixels, sizeof *k->input, "a picture", err);
        if (!k->input)
            return err->code;
        memcpy(k->input, input + i * x->pixels, (size_t)x->pixels * sizeof *input);
        k->id = want[i];
        k->turn = ++x->turn;
    }
    return NETRT_OK;
}

/* Points the network at n samples. */
static int load(rt_explore *x, const int64_t *want, int n, rt_error *err) {
    int64_t missing[RT_TOP];
    int misses = 0;
    if (x->v->m->model->ninputs != 1)
        return rt_feed_load(&x->feed, want, n, -1, rt_cli_skipped, &x->v->cli) == n
                   ? NETRT_OK
                   : rt_fail(err, NETRT_EDATA, "a picture cannot be read");
    for (int i = 0; i < n; i++) {
        struct Kept *k = place_of(x, want[i]);
        if (k->turn && k->id == want[i])
            k->turn = ++x->turn;
        else
            missing[misses++] = want[i];
    }
    if (fetch(x, missing, misses, err))
        return err->code;
    for (int i = 0; i < n; i++)
        memcpy(x->batch + i * x->pixels, place_of(x, want[i])->input,
               (size_t)x->pixels * sizeof *x->batch);
    x->v->m->frame.input[0] = x->batch;
    return NETRT_OK;
}

/* Records the picture that the question names. */
static int show(rt_explore *x, const rt_question *q, rt_error *err) {
    int64_t count = rt_data_count(x->v->cli.ds);
    int64_t kept = x->drops < RT_EXPLORE_DROPS ? x->drops : RT_EXPLORE_DROPS;
    int64_t id = number(q, "image", -kept, count - 1, count > 0 ? 0 : -1, err);
    if (err->code || (x->have && x->recorded == id))
        return err->code;
    x->have = 0;
    if (id < 0)
        x->v->m->frame.input[0] = x->drop[-1 - id];
    else if (load(x, &id, 1, err))
        return err->code;
    if (rt_look_record(&x->v->look, 1, err))
        return err->code;
    memcpy(x->input, x->v->m->frame.input[0], (size_t)x->pixels * sizeof *x->input);
    x->recorded = id;
    x->have = 1;
    return NETRT_OK;
}

/* Values of a layer of the recorded picture, in v->look.seed. */
static const float *values_of(rt_explore *x, int layer) {
    rt_look_values(&x->v->look, layer, 0, x->v->look.seed);
    return x->v->look.seed;
}

/* The unit named, or the strongest of its map, or of its layer. */
static int unit_of(rt_explore *x, const rt_question *q, int layer, const int64_t chw[3], rt_unit *u,
                   float *value, rt_error *err) {
    const float *at = values_of(x, layer);
    int64_t plane = chw[1] * chw[2];
    int64_t map = number(q, "map", -1, chw[0] - 1, -1, err);
    int64_t y = number(q, "y", -1, chw[1] - 1, -1, err), c = number(q, "x", -1, chw[2] - 1, -1, err);
    if (err->code)
        return err->code;
    int64_t from = map < 0 ? 0 : map * plane, to = map < 0 ? chw[0] * plane : from + plane;
    int64_t best = from;
    if (map >= 0 && y >= 0 && c >= 0)
        best = from + y * chw[2] + c;
    else
        for (int64_t i = from; i < to; i++)
            best = at[i] > at[best] ? i : best;
    *u = (rt_unit){best / plane, best % plane / chw[2], best % chw[2]};
    *value = at[best];
    return NETRT_OK;
}

/* ---- answers as text ---- */

static int give_text(rt_answer *a, rt_text *t, rt_error *err) {
    a->type = "application/json";
    if (rt_text_ok(t, err)) {
        a->data = (unsigned char *)t->data;
        a->size = t->size;
        *t = (rt_text){0};
    }
    rt_text_free(t);
    return err->code;
}

static void key_number(rt_text *t, const char *key, double v) {
    rt_text_printf(t, "\"%s\":", key);
    rt_text_number(t, v);
}

static void layer_json(rt_explore *x, rt_text *t, int s) {
    const rt_seed *seed = &look_of(x)->seed[s];
    int64_t chw[3];
    rt_seed_shape(x->v->m->model, s, chw);
    rt_text_add(t, s ? ",{\"label\":" : "{\"label\":");
    rt_text_json(t, seed->label);
    rt_text_printf(t, ",\"maps\":%lld,\"height\":%lld,\"width\":%lld,\"rules\":[", (long long)chw[0],
                   (long long)chw[1], (long long)chw[2]);
    for (int r = 0; r < RT_RULES; r++)
        rt_text_printf(t, "%s%d", r ? "," : "",
                       look_of(x)->image_diff[r] >= 0 && seed->rule[r].diff >= 0);
    rt_text_add(t, "]}");
}

static int ask_model(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    (void)q;
    const rt_model *m = x->v->m->model;
    rt_text t = {0};
    char room[24];
    rt_text_add(&t, "{\"name\":");
    rt_text_json(&t, m->name);
    rt_text_printf(&t, ",\"parameters\":%lld,\"images\":%lld,\"channels\":%d,\"height\":%d,"
                       "\"width\":%d,\"weights\":", (long long)m->param_count,
                   (long long)rt_data_count(x->v->cli.ds), x->v->prep.channels, x->v->prep.height,
                   x->v->prep.width);
    rt_text_json(&t, x->v->cli.weights ? x->v->cli.weights : "");
    rt_text_add(&t, ",\"data\":");
    rt_text_json(&t, rt_data_uri(x->v->cli.ds));
    rt_text_add(&t, ",\"classes\":[");
    for (int64_t i = 0; i < m->classes && i < LABELS_MOST; i++) {
        rt_text_add(&t, i ? "," : "");
        rt_text_json(&t, netrt_class_name(x->v->m, i, room));
    }
    rt_text_add(&t, "],\"rules\":[");
    for (int r = 0; r < RT_RULES; r++) {
        rt_text_add(&t, r ? "," : "");
        rt_text_json(&t, rt_rule_names[r]);
    }
    rt_text_add(&t, "],\"layers\":[");
    for (int s = 0; s < look_of(x)->nseeds; s++)
        layer_json(x, &t, s);
    rt_text_add(&t, "]}");
    return give_text(a, &t, err);
}

enum { ANSWERS = 5 };

/* Indices of the strongest classes. */
static int strongest(const rt_model *m, const float *p, int64_t *best) {
    int n = 0;
    for (int64_t i = 0; i < m->classes; i++) {
        int at = n < ANSWERS ? n++ : ANSWERS;
        for (; at > 0 && p[i] > p[best[at - 1]]; at--)
            if (at < ANSWERS)
                best[at] = best[at - 1];
        if (at < ANSWERS)
            best[at] = i;
    }
    return n;
}

static int ask_answer(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    (void)q;
    const rt_model *m = x->v->m->model;
    rt_text t = {0};
    char name[512] = "a picture dropped in", room[24];
    int label = -1;
    if (x->recorded >= 0) {
        rt_viz_sample_name(&x->feed, x->recorded, name, sizeof name);
        label = rt_data_label(x->v->cli.ds, x->recorded);
    }
    rt_text_add(&t, "{\"name\":");
    rt_text_json(&t, name);
    rt_text_printf(&t, ",\"label\":%d,\"top\":[", label);
    float *p = m->classes > 1 ? rt_alloc((size_t)m->classes, sizeof *p, "answers", err) : NULL;
    if (p && rt_viz_answer(x->v, 0, p)) {
        int64_t best[ANSWERS];
        int n = strongest(m, p, best);
        for (int i = 0; i < n; i++) {
            rt_text_printf(&t, "%s{\"class\":%lld,\"name\":", i ? "," : "", (long long)best[i]);
            rt_text_json(&t, netrt_class_name(x->v->m, best[i], room));
            rt_text_add(&t, ",");
            key_number(&t, "p", (double)p[best[i]]);
            rt_text_add(&t, "}");
        }
    }
    rt_free(p);
    rt_text_add(&t, "]}");
    return give_text(a, &t, err);
}

/* How the tiles of "maps" lie, and the peak of each map. */
typedef struct Grid {
    int64_t maps, columns, rows, shrink, h, w;
} Grid;

static Grid grid_of(const int64_t chw[3]) {
    Grid g = {.maps = chw[0] < MAPS_MOST ? chw[0] : MAPS_MOST};
    int64_t side = chw[1] > chw[2] ? chw[1] : chw[2];
    g.shrink = (side + TILE - 1) / TILE;
    g.h = (chw[1] + g.shrink - 1) / g.shrink;
    g.w = (chw[2] + g.shrink - 1) / g.shrink;
    g.columns = g.maps < COLUMNS ? g.maps : COLUMNS;
    g.rows = (g.maps + g.columns - 1) / g.columns;
    return g;
}

static int ask_layer(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    int64_t chw[3];
    int layer = layer_of(x, q, chw, err);
    if (err->code)
        return err->code;
    Grid g = grid_of(chw);
    const float *at = values_of(x, layer);
    int64_t plane = chw[1] * chw[2];
    rt_text t = {0};
    rt_text_printf(&t, "{\"maps\":%lld,\"columns\":%lld,\"tileHeight\":%lld,\"tileWidth\":%lld,",
                   (long long)g.maps, (long long)g.columns, (long long)g.h, (long long)g.w);
    key_number(&t, "scale", (double)rt_max_abs(at, chw[0] * plane));
    rt_text_add(&t, ",\"peaks\":[");
    for (int64_t c = 0; c < g.maps; c++) {
        float most = at[c * plane];
        for (int64_t i = 1; i < plane; i++)
            most = fmaxf(most, at[c * plane + i]);
        rt_text_add(&t, c ? "," : "");
        rt_text_number(&t, (double)most);
    }
    rt_text_add(&t, "]}");
    return give_text(a, &t, err);
}

static int ask_unit(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    int64_t chw[3];
    rt_unit u = {0};
    float value = 0;
    int layer = layer_of(x, q, chw, err);
    if (err->code || unit_of(x, q, layer, chw, &u, &value, err))
        return err->code;
    rt_rect r = rt_unit_field(x->v->m->model, layer, u.y, u.x);
    rt_text t = {0};
    rt_text_printf(&t, "{\"map\":%lld,\"y\":%lld,\"x\":%lld,", (long long)u.c, (long long)u.y,
                   (long long)u.x);
    key_number(&t, "value", (double)value);
    rt_text_printf(&t, ",\"field\":{\"y\":%lld,\"x\":%lld,\"h\":%lld,\"w\":%lld}}", (long long)r.y,
                   (long long)r.x, (long long)r.h, (long long)r.w);
    return give_text(a, &t, err);
}

/* ---- answers as pictures ---- */

static int give_image(rt_answer *a, const rt_image *img, rt_error *err) {
    a->type = "image/png";
    return rt_png_encode(img, &a->data, &a->size, err);
}

/* The largest number, by amount, of a square of `shrink` cells. */
static float cell_of(const float *plane, const int64_t chw[3], int64_t y, int64_t x, int64_t shrink) {
    float best = 0;
    for (int64_t i = y; i < y + shrink && i < chw[1]; i++)
        for (int64_t k = x; k < x + shrink && k < chw[2]; k++) {
            float v = plane[i * chw[2] + k];
            best = fabsf(v) > fabsf(best) ? v : best;
        }
    return best;
}

/* Maps from..from+n-1 as tiles, n > 1 with one scale for all of them unless each = 1. */
static int tiles(rt_explore *x, int layer, const int64_t chw[3], Grid g, int64_t from, int each,
                 rt_answer *a, rt_error *err) {
    const float *at = values_of(x, layer);
    int64_t plane = chw[1] * chw[2], width = g.columns * g.w;
    rt_image canvas = {0};
    float low = 0, top = rt_max_abs(at, chw[0] * plane);
    if (g.columns * g.w > 20000 || g.rows * g.h > 20000)
        return rt_fail(err, NETRT_ELIMIT, "this layer is too large to be shown");
    if (rt_image_reserve(&canvas, (int)width, (int)(g.rows * g.h), 1, err))
        return err->code;
    memset(canvas.data, 0, (size_t)(width * g.rows * g.h));
    for (int64_t i = 0; i < chw[0] * plane; i++)
        low = fminf(low, at[i]);
    for (int64_t c = 0; c < g.maps; c++) {
        const float *map = at + (from + c) * plane;
        float scale = each ? rt_max_abs(map, plane) : top;
        scale = scale > 0 ? scale : 1;
        for (int64_t y = 0; y < g.h; y++)
            for (int64_t k = 0; k < g.w; k++) {
                float v = cell_of(map, chw, y * g.shrink, k * g.shrink, g.shrink) / scale;
                float tone = low < 0 ? 128 + 127 * v : 255 * v;
                canvas.data[(c / g.columns * g.h + y) * width + c % g.columns * g.w + k] =
                    (unsigned char)(tone > 255 ? 255 : tone > 0 ? tone + 0.5F : 0);
            }
    }
    snprintf(a->scale, sizeof a->scale, "%.6g", (double)top);
    give_image(a, &canvas, err);
    rt_image_free(&canvas);
    return err->code;
}

static int ask_maps(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    int64_t chw[3];
    int layer = layer_of(x, q, chw, err);
    int each = (int)number(q, "each", 0, 1, 0, err);
    return err->code ? err->code : tiles(x, layer, chw, grid_of(chw), 0, each, a, err);
}

static int ask_map(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    int64_t chw[3] = {1, 1, 1};
    int layer = layer_of(x, q, chw, err);
    int64_t map = number(q, "map", 0, chw[0] - 1, -1, err);
    Grid g = {1, 1, 1, 1, chw[1], chw[2]};
    return err->code ? err->code : tiles(x, layer, chw, g, map, 1, a, err);
}

static int ask_picture(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    (void)q;
    rt_image img = {0};
    if (rt_prep_invert(&x->v->prep, x->input, &img, err) == 0)
        give_image(a, &img, err);
    rt_image_free(&img);
    return err->code;
}

static int ask_projection(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    const struct rt_prep *prep = &x->v->prep;
    int64_t chw[3];
    rt_unit u = {0};
    float value = 0, one = 1;
    int layer = layer_of(x, q, chw, err), rule = (int)number(q, "rule", 0, RT_RULES - 1, 0, err);
    if (err->code || unit_of(x, q, layer, chw, &u, &value, err))
        return err->code;
    const float *start = rule == RT_RULE_GRADIENT ? &one : &value;
    x->have = 0; /* a second projection needs a recording of its own */
    if (rt_look_project(&x->v->look, rule, layer, &u, start, 1, x->diff, err))
        return err->code;
    rt_image img = {0};
    float scale = rt_max_abs(x->diff, x->pixels);
    snprintf(a->scale, sizeof a->scale, "%.6g", (double)scale);
    if (rt_canvas_tone(&img, x->diff, prep->channels, prep->height, prep->width, prep->bgr,
                       RT_TONE_SIGNED, scale, err) == 0)
        give_image(a, &img, err);
    rt_image_free(&img);
    return err->code;
}

/* ---- the nine strongest ---- */

static int ask_top(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    static const char *const word[] = {"none", "wanted", "runs", "done", "failed"};
    int64_t chw[3] = {1, 1, 1};
    rt_peak top[RT_TOP];
    char name[512];
    int layer = layer_of(x, q, chw, err);
    int64_t map = number(q, "map", 0, chw[0] - 1, -1, err);
    if (err->code)
        return err->code;
    int n = rt_nines_of(x->nines, layer, map, top);
    rt_text t = {0};
    int64_t done, total;
    char why[200];
    int state = rt_nines_state(x->nines, &done, &total, why);
    rt_text_printf(&t, "{\"state\":\"%s\",\"done\":%lld,\"total\":%lld,\"why\":", word[state],
                   (long long)done, (long long)total);
    rt_text_json(&t, why);
    rt_text_add(&t, ",\"top\":[");
    for (int i = 0; i < n; i++) {
        rt_viz_sample_name(&x->feed, top[i].sample, name, sizeof name);
        rt_text_printf(&t, "%s{\"image\":%lld,\"y\":%lld,\"x\":%lld,\"label\":%d,\"name\":", i ? "," : "",
                       (long long)top[i].sample, (long long)top[i].y, (long long)top[i].x,
                       rt_data_label(x->v->cli.ds, top[i].sample));
        rt_text_json(&t, name);
        rt_text_add(&t, ",");
        key_number(&t, "value", (double)top[i].value);
        rt_text_add(&t, "}");
    }
    rt_text_add(&t, "]}");
    return give_text(a, &t, err);
}

/* The part of img that a unit sees, PATCH pixels a side, at (column, row) of the canvas. */
static int put_patch(rt_image *canvas, const rt_image *img, rt_rect r, int column, int row,
                     rt_error *err) {
    rt_image part = {0}, scaled = {0};
    if (rt_image_crop(&part, img, (int)r.x, (int)r.y, (int)r.w, (int)r.h, 128, err) == 0) {
        int64_t side = r.h > r.w ? r.h : r.w;
        int zoom = (int)(PATCH / side), h = PATCH, w = PATCH;
        if (zoom < 1) {
            h = (int)(PATCH * r.h / side) > 0 ? (int)(PATCH * r.h / side) : 1;
            w = (int)(PATCH * r.w / side) > 0 ? (int)(PATCH * r.w / side) : 1;
            rt_image_resize(&scaled, &part, w, h, err);
        } else {
            h = (int)r.h * zoom;
            w = (int)r.w * zoom;
        }
        if (!err->code)
            rt_canvas_blit(canvas, column * PATCH + (PATCH - w) / 2, row * PATCH + (PATCH - h) / 2,
                           zoom < 1 ? &scaled : &part, zoom < 1 ? 1 : zoom);
    }
    rt_image_free(&part);
    rt_image_free(&scaled);
    return err->code;
}

/* First row: what the units see; second: their projections, each with its own scale. */
static int draw_nine(rt_explore *x, int layer, int64_t map, int rule, const rt_peak *top, int n,
                     rt_image *canvas, rt_error *err) {
    const struct rt_prep *prep = &x->v->prep;
    const rt_program *p = look_of(x);
    int64_t want[RT_TOP];
    rt_unit unit[RT_TOP];
    float start[RT_TOP];
    rt_rect field[RT_TOP];
    rt_image img = {0};
    int projects = p->image_diff[rule] >= 0 && p->seed[layer].rule[rule].diff >= 0;
    for (int i = 0; i < n; i++) {
        want[i] = top[i].sample;
        unit[i] = (rt_unit){map, top[i].y, top[i].x};
        start[i] = rule == RT_RULE_GRADIENT ? 1 : top[i].value;
        field[i] = rt_unit_field(x->v->m->model, layer, top[i].y, top[i].x);
    }
    x->have = 0;
    if (load(x, want, n, err))
        return err->code;
    if (projects && (rt_look_record_for(&x->v->look, &layer, 1, n, err) ||
                     rt_look_project(&x->v->look, rule, layer, unit, start, n, x->diff, err)))
        return err->code;
    for (int i = 0; i < n && !err->code; i++) {
        const float *diff = x->diff + i * x->pixels, *input = x->v->m->frame.input[0] + i * x->pixels;
        if (rt_prep_invert(prep, input, &img, err) || put_patch(canvas, &img, field[i], i, 0, err))
            break;
        if (projects && rt_canvas_tone(&img, diff, prep->channels, prep->height, prep->width, prep->bgr,
                                       RT_TONE_SIGNED, rt_max_abs(diff, x->pixels), err) == 0)
            put_patch(canvas, &img, field[i], i, 1, err);
    }
    rt_image_free(&img);
    return err->code;
}

static int ask_tops(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    int64_t chw[3] = {1, 1, 1};
    rt_peak top[RT_TOP];
    rt_image canvas = {0};
    int layer = layer_of(x, q, chw, err), rule = (int)number(q, "rule", 0, RT_RULES - 1, 0, err);
    int64_t map = number(q, "map", 0, chw[0] - 1, -1, err);
    int n = err->code ? -1 : rt_nines_of(x->nines, layer, map, top);
    if (n < 0)
        return rt_fail(err, NETRT_EUSAGE, "no scan has looked at this layer");
    if (rt_canvas_new(&canvas, RT_TOP * PATCH, 2 * PATCH, 0x808080u, err) == 0 &&
        (n == 0 || draw_nine(x, layer, map, rule, top, n, &canvas, err) == 0))
        give_image(a, &canvas, err);
    rt_image_free(&canvas);
    return err->code;
}

static int ask_diagram(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err) {
    rt_text t = {0};
    (void)q;
    if (rt_diagram(&t, x->v->m->model, 1, err)) {
        rt_text_free(&t);
        return err->code;
    }
    if (give_text(a, &t, err) == 0)
        a->type = "image/svg+xml";
    return err->code;
}

/* ---- questions ---- */

int rt_explore_ask(rt_explore *x, const char *what, const rt_question *q, rt_answer *a,
                   rt_error *err) {
    static const struct {
        const char *what;
        int picture; /* 1: about a picture, which is recorded first */
        int (*ask)(rt_explore *x, const rt_question *q, rt_answer *a, rt_error *err);
    } known[] = {
        {"model.json", 0, ask_model},    {"top.json", 0, ask_top},
        {"diagram.svg", 0, ask_diagram},
        {"tops.png", 0, ask_tops},       {"answer.json", 1, ask_answer},
        {"picture.png", 1, ask_picture}, {"maps.png", 1, ask_maps},
        {"layer.json", 1, ask_layer},    {"map.png", 1, ask_map},
        {"unit.json", 1, ask_unit},      {"projection.png", 1, ask_projection},
    };
    *a = (rt_answer){0};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].what, what) == 0) {
            if (!known[i].picture || show(x, q, err) == 0)
                known[i].ask(x, q, a, err);
            return 1;
        }
    return 0;
}

int64_t rt_explore_drop(rt_explore *x, const unsigned char *data, size_t size, rt_error *err) {
    rt_image img = {0};
    int slot = (int)(x->drops % RT_EXPLORE_DROPS);
    if (x->v->m->model->ninputs != 1 || rt_data_real(x->v->cli.ds)) {
        rt_fail(err, NETRT_EUSAGE, "this network reads more, or other, than one picture");
        return 0;
    }
    if (!x->drop[slot])
        x->drop[slot] = rt_alloc((size_t)x->pixels, sizeof **x->drop, "a picture", err);
    if (x->drop[slot] && rt_image_decode(&img, data, size, "the picture", err) == 0)
        rt_prep_apply(&x->v->prep, &img, x->drop[slot], NULL, err);
    rt_image_free(&img);
    if (err->code)
        return 0;
    x->have = 0;
    x->drops++;
    return -1 - slot;
}
