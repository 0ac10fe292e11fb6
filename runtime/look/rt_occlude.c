/* rt_occlude.c: which part of a picture matters: a grey square slides over it, and the answers are
 * drawn where its middle was.
 *
 * theory: Zeiler and Fergus 2014, section 4.2 and figure 6: (b) the sum over all cells of the map of
 * a layer that is strongest on the clean picture, (c) the projection of that map's peak, (d) the
 * probability of the true class, (e) the most probable class.  The paper states neither the side of
 * the square nor its stride: here a quarter and a sixteenth of the shorter side, unless told.
 * ensures: anchors lie 0, stride, 2 stride, .. from the top left; the square around an anchor is cut
 * at the border.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_pixels.h"
#include "rt_sheet.h"
#include "rt_viz.h"

static struct {
    int64_t side, stride;
    double fill;
} options = {.side = 0, .stride = 0, .fill = -1};

typedef struct Slide {
    rt_viz *v;
    rt_feed *feed;
    int64_t at, side, stride, rows, columns;
    int seed;             /* the layer of (b) and (c) */
    rt_unit peak;
    float peak_value;
    int64_t target;       /* the class of (d) */
    float *images;        /* look.cap of them */
    float *layer, *probs; /* room: one layer; the output */
    float *map[3];        /* (b), (d), (e): rows * columns */
    double clean[2];      /* of (b) and (d) */
    int64_t top;          /* most probable on the clean picture */
} Slide;

float rt_viz_grey(const struct rt_prep *prep, double fill, int64_t i) {
    float scale, at0 = rt_prep_tone(prep, i, &scale);
    return at0 + scale * (fill < 0 ? rt_prep_zero(prep, i) : (float)fill);
}

void rt_viz_cover(const struct rt_prep *prep, double fill, rt_rect r, float *image) {
    for (int64_t k = 0; k < prep->channels; k++)
        for (int64_t y = r.y < 0 ? 0 : r.y; y < r.y + r.h && y < prep->height; y++)
            for (int64_t x = r.x < 0 ? 0 : r.x; x < r.x + r.w && x < prep->width; x++) {
                int64_t at = (k * prep->height + y) * prep->width + x;
                image[at] = rt_viz_grey(prep, fill, at);
            }
}

/* Anchor number i of a picture. */
static void cover(const Slide *s, int64_t i, float *image) {
    rt_rect r = {i / s->columns * s->stride - s->side / 2, i % s->columns * s->stride - s->side / 2,
                 s->side, s->side};
    rt_viz_cover(&s->v->prep, options.fill, r, image);
}

/* (b), (d), (e) of recorded image i. */
static void answers(Slide *s, int64_t i, double out[2], int64_t *top) {
    const rt_model *model = s->v->m->model;
    int64_t chw[3];
    rt_seed_shape(model, s->seed, chw);
    rt_look_values(&s->v->look, s->seed, i, s->layer);
    double sum = 0;
    for (int64_t k = 0; k < chw[1] * chw[2]; k++)
        sum += (double)s->layer[s->peak.c * chw[1] * chw[2] + k];
    out[0] = sum;
    out[1] = NAN;
    *top = -1;
    if (s->target < 0 || !rt_viz_answer(s->v, i, s->probs))
        return;
    out[1] = (double)s->probs[s->target];
    *top = rt_best(model, s->probs);
}

static int slide(Slide *s, rt_error *err) {
    const rt_viz *v = s->v;
    int64_t pixels = rt_input_count(v->m->model, 0), total = s->rows * s->columns;
    const float *clean = s->feed->input[0];
    for (int64_t first = 0; first < total; first += v->look.cap) {
        int64_t n = total - first < v->look.cap ? total - first : v->look.cap;
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        for (int64_t i = 0; i < n; i++) {
            memcpy(s->images + i * pixels, clean, (size_t)pixels * sizeof *clean);
            cover(s, first + i, s->images + i * pixels);
        }
        v->m->frame.input[0] = s->images;
        if (rt_look_record(&s->v->look, n, err))
            return err->code;
        for (int64_t i = 0; i < n; i++) {
            double out[2];
            int64_t top;
            answers(s, i, out, &top);
            s->map[0][first + i] = (float)out[0];
            s->map[1][first + i] = (float)out[1];
            s->map[2][first + i] = (float)top;
        }
        if (rt_progress_due(&v->cli.progress))
            rt_progress_tick(&s->v->cli.progress, "covering", first + n, total, "", -1);
    }
    rt_progress_clear(&s->v->cli.progress);
    return NETRT_OK;
}

/* ---- pictures ---- */

/* A value of a map at every pixel of the picture: that of the nearest anchor. */
static void spread(const Slide *s, const float *map, float *out) {
    for (int64_t y = 0; y < s->v->prep.height; y++)
        for (int64_t x = 0; x < s->v->prep.width; x++) {
            int64_t i = (y + s->stride / 2) / s->stride, j = (x + s->stride / 2) / s->stride;
            i = i < s->rows ? i : s->rows - 1;
            j = j < s->columns ? j : s->columns - 1;
            out[y * s->v->prep.width + x] = map[i * s->columns + j];
        }
}

static void range_of(const float *x, int64_t n, float *lo, float *hi) {
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
}

/* One colour per class that wins somewhere; names of the three most frequent ones. */
static int label_tile(const Slide *s, rt_image *tile, float *room, char *text, size_t size,
                      rt_error *err) {
    static const unsigned color[8] = {0x0072b2, 0xe69f00, 0x009e73, 0xcc79a7,
                                      0x56b4e9, 0xd55e00, 0xf0e442, 0x666666};
    int64_t total = s->rows * s->columns, classes = s->v->m->model->classes, known[8], nknown = 0;
    int64_t seen[8] = {0};
    for (int64_t i = 0; i < total; i++) {
        int64_t c = (int64_t)s->map[2][i], k = 0;
        while (k < nknown && known[k] != c)
            k++;
        if (k == nknown && nknown < 7)
            known[nknown++] = c;
        seen[k < 7 ? k : 7]++;
    }
    spread(s, s->map[2], room);
    if (rt_canvas_new(tile, s->v->prep.width, s->v->prep.height, 0, err))
        return err->code;
    for (int y = 0; y < tile->height; y++)
        for (int x = 0; x < tile->width; x++) {
            int64_t k = 0;
            while (k < nknown && (float)known[k] != room[y * tile->width + x])
                k++;
            rt_canvas_rect(tile, x, y, 1, 1, color[k < 7 ? k : 7]);
        }
    int64_t best = 0;
    for (int64_t k = 1; k < nknown; k++)
        best = seen[k] > seen[best] ? k : best;
    char buf[24];
    snprintf(text, size, "(e) predicted\n%.30s %.0f %%",
             classes > 1 ? netrt_class_name(s->v->m, known[best], buf) : "",
             100.0 * (double)seen[best] / (double)total);
    return NETRT_OK;
}

/* A heat map of map[which] over the picture. */
static int heat_tile(const Slide *s, int which, const rt_image *picture, rt_image *tile,
                     float *room, float *lo, float *hi, rt_error *err) {
    rt_image heat = {0};
    range_of(s->map[which], s->rows * s->columns, lo, hi);
    spread(s, s->map[which], room);
    if (rt_heat(&heat, room, s->v->prep.height, s->v->prep.width, *lo, *hi, err) == 0)
        rt_heat_over(tile, picture, &heat, 0.75, err);
    rt_image_free(&heat);
    return err->code;
}

static int projection_tile(Slide *s, rt_image *tile, float *diff, int *rule, rt_error *err) {
    const struct rt_prep *prep = &s->v->prep;
    *rule = s->v->m->model->program[RT_LOOK].refused[RT_RULE_DECONVNET] ? RT_RULE_GRADIENT
                                                                        : RT_RULE_DECONVNET;
    if (rt_look_project(&s->v->look, *rule, s->seed, &s->peak, &s->peak_value, 1, diff, err))
        return err->code;
    float scale = rt_shown_scale(diff, rt_input_count(s->v->m->model, 0));
    return rt_canvas_tone(tile, diff, prep->channels, prep->height, prep->width, prep->bgr,
                          RT_TONE_SIGNED, scale, err);
}

static int draw(Slide *s, const rt_image *picture, const rt_image *projection, int rule,
                rt_error *err) {
    const rt_model *model = s->v->m->model;
    const char *label = model->program[RT_LOOK].seed[s->seed].label;
    char title[160], note[300], name[128], text[128], buf[24], file[96];
    rt_viz_sample_name(s->feed, s->at, file, sizeof file);
    snprintf(title, sizeof title, "occlusion of %.80s", file);
    snprintf(note, sizeof note, "square of %lld pixels, stride %lld; map %lld of %s: %.4g when "
             "nothing is covered; dark = low", (long long)s->side, (long long)s->stride,
             (long long)s->peak.c, label, s->clean[0]);
    rt_sheet sheet = {0};
    rt_image tile = {0};
    float *room = rt_alloc((size_t)(picture->width * picture->height), sizeof *room, "maps", err);
    int classes = s->target >= 0;
    if (room && rt_sheet_open(&sheet, title, note, classes ? 5 : 3, 1, picture->width,
                              picture->height, 160, 2, err) == 0) {
        float lo, hi;
        rt_sheet_put(&sheet, 0, 0, picture, "(a) picture");
        if (heat_tile(s, 0, picture, &tile, room, &lo, &hi, err) == 0) {
            snprintf(text, sizeof text, "(b) map %lld", (long long)s->peak.c);
            rt_sheet_put(&sheet, 1, 0, &tile, text);
            rt_sheet_bar(&sheet, 1, 0, 1, RT_BAR_HEAT, (double)lo, (double)hi);
        }
        snprintf(text, sizeof text, "(c) %s\nof its peak", rt_rule_names[rule]);
        rt_sheet_put(&sheet, 2, 0, projection, text);
        if (classes && !err->code && heat_tile(s, 1, picture, &tile, room, &lo, &hi, err) == 0) {
            snprintf(text, sizeof text, "(d) %.30s", netrt_class_name(s->v->m, s->target, buf));
            rt_sheet_put(&sheet, 3, 0, &tile, text);
            rt_sheet_bar(&sheet, 3, 0, 1, RT_BAR_HEAT, (double)lo, (double)hi);
        }
        if (classes && !err->code && label_tile(s, &tile, room, text, sizeof text, err) == 0)
            rt_sheet_put(&sheet, 4, 0, &tile, text);
        snprintf(name, sizeof name, "occlusion-%lld", (long long)s->at);
        if (!err->code)
            rt_viz_write(s->v, &sheet.canvas, name, title, note, err);
    }
    rt_free(room);
    rt_image_free(&tile);
    rt_sheet_close(&sheet);
    return err->code;
}

/* The maps as one array: (b), (d), (e) by rows and columns of anchors. */
static int write_raw(Slide *s, const char *name, rt_error *err) {
    int64_t cells = s->rows * s->columns, dim[3] = {s->target >= 0 ? 3 : 1, s->rows, s->columns};
    float *all = rt_alloc((size_t)(3 * cells), sizeof *all, "maps", err);
    for (int i = 0; all && i < 3; i++)
        memcpy(all + i * cells, s->map[i], (size_t)cells * sizeof *all);
    if (all)
        rt_viz_write_raw(s->v, all, 3, dim, name, err);
    rt_free(all);
    return err->code;
}

static int write_table(Slide *s, rt_error *err) {
    rt_text csv = {0};
    char name[64];
    rt_text_add(&csv, "y,x,map_sum,probability,predicted\n");
    for (int64_t i = 0; i < s->rows * s->columns; i++) {
        rt_text_printf(&csv, "%lld,%lld,%.9g,", (long long)(i / s->columns * s->stride),
                       (long long)(i % s->columns * s->stride), (double)s->map[0][i]);
        if (s->target >= 0)
            rt_text_printf(&csv, "%.9g,%lld\n", (double)s->map[1][i], (long long)s->map[2][i]);
        else
            rt_text_add(&csv, ",\n");
    }
    snprintf(name, sizeof name, "occlusion-%lld", (long long)s->at);
    if (rt_viz_write_text(s->v, &csv, name, "occlusion", err) == 0)
        write_raw(s, name, err);
    rt_text_free(&csv);
    return err->code;
}

/* ---- the verb ---- */

/* The strongest map of --layer, else of the last layer with maps. */
static int find_map(Slide *s, rt_error *err) {
    rt_viz *v = s->v;
    int conv[64], n = rt_viz_conv_layers(v, conv, 64);
    const char *list = v->layers;
    if (list && rt_viz_next_layer(v, &list, &s->seed, err) != 1)
        return err->code;
    if (!v->layers && n == 0)
        return rt_fail(err, NETRT_EUSAGE, "%s has no layer of maps\nhelp: name one with --layer",
                       v->m->model->name);
    if (!v->layers)
        s->seed = conv[n - 1];
    int64_t chw[3], best = -1;
    rt_seed_shape(v->m->model, s->seed, chw);
    rt_look_values(&v->look, s->seed, 0, s->layer);
    for (int64_t i = 0; i < chw[0] * chw[1] * chw[2]; i++)
        if (rt_viz_wants_map(v, i / (chw[1] * chw[2])) &&
            (best < 0 || s->layer[i] > s->layer[best]))
            best = i;
    if (best < 0)
        return rt_fail(err, NETRT_EUSAGE, "--maps names no map\nhelp: there are 0 to %lld",
                       (long long)chw[0] - 1);
    s->peak = (rt_unit){best / (chw[1] * chw[2]), best / chw[2] % chw[1], best % chw[2]};
    s->peak_value = s->layer[best];
    return NETRT_OK;
}

/* The class of (d): --class, else the data's, else the one predicted. */
static int find_class(Slide *s, rt_error *err) {
    const rt_model *model = s->v->m->model;
    s->target = -1;
    if (!rt_viz_answer(s->v, 0, s->probs))
        return NETRT_OK;
    if (s->v->target >= model->classes)
        return rt_fail(err, NETRT_EUSAGE, "there is no class %lld\nhelp: there are 0 to %lld",
                       (long long)s->v->target, (long long)model->classes - 1);
    int labelled = rt_data_classes(s->feed->ds) == model->classes;
    s->target = s->v->target >= 0 ? s->v->target
                : labelled        ? s->feed->label[0]
                                  : rt_best(model, s->probs);
    return NETRT_OK;
}

static int prepare(Slide *s, rt_error *err) {
    const struct rt_prep *prep = &s->v->prep;
    int64_t shorter = prep->height < prep->width ? prep->height : prep->width;
    s->side = options.side > 0 ? options.side : shorter < 4 ? 1 : (shorter + 2) / 4;
    s->stride = options.stride > 0 ? options.stride : shorter < 32 ? 1 : shorter / 16;
    if (s->stride > s->side)
        return rt_fail(err, NETRT_EUSAGE, "a square of %lld pixels at a stride of %lld leaves gaps"
                       "\nhelp: --stride=%lld or less", (long long)s->side, (long long)s->stride,
                       (long long)s->side);
    s->rows = (prep->height - 1) / s->stride + 1;
    s->columns = (prep->width - 1) / s->stride + 1;
    size_t pixels = (size_t)rt_input_count(s->v->m->model, 0), cells = (size_t)(s->rows * s->columns);
    int64_t classes = s->v->m->model->classes;
    s->images = rt_alloc((size_t)s->v->look.cap * pixels, sizeof(float), "pictures", err);
    if (!err->code)
        s->layer = rt_alloc((size_t)(s->v->look.seed_room + 1), sizeof(float), "a layer", err);
    if (!err->code)
        s->probs = rt_alloc((size_t)(classes > 0 ? classes : 1), sizeof(float), "scores", err);
    for (int i = 0; i < 3 && !err->code; i++)
        s->map[i] = rt_alloc(cells, sizeof(float), "maps", err);
    return err->code;
}

static int one_picture(Slide *s, rt_error *err) {
    rt_image picture = {0}, projection = {0};
    int rule = 0;
    int64_t pixels = rt_input_count(s->v->m->model, 0);
    if (rt_viz_one(s->v, s->feed, &s->at, err) == 0 && find_map(s, err) == 0 &&
        find_class(s, err) == 0) {
        answers(s, 0, s->clean, &s->top);
        float *diff = rt_alloc((size_t)pixels, sizeof *diff, "a projection", err);
        int64_t dim[3] = {s->v->prep.channels, s->v->prep.height, s->v->prep.width};
        char name[96];
        snprintf(name, sizeof name, "occlusion-%lld-projection", (long long)s->at);
        if (diff && projection_tile(s, &projection, diff, &rule, err) == 0 &&
            rt_viz_write_raw(s->v, diff, 3, dim, name, err) == 0 &&
            rt_prep_invert(&s->v->prep, s->feed->input[0], &picture, err) == 0 &&
            slide(s, err) == 0 && draw(s, &picture, &projection, rule, err) == 0)
            write_table(s, err);
        rt_free(diff);
    }
    rt_image_free(&picture);
    rt_image_free(&projection);
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    Slide s = {.v = v, .feed = &feed};
    if (rt_viz_open(v, 1, err) == 0 && rt_viz_feed(v, operands, n, &feed, err) == 0 &&
        prepare(&s, err) == 0)
        one_picture(&s, err);
    rt_free(s.images);
    rt_free(s.layer);
    rt_free(s.probs);
    for (int i = 0; i < 3; i++)
        rt_free(s.map[i]);
    rt_viz_feed_close(v, &feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "The square"},
    {"side", 0, RT_ARG_INT, "PIXELS", &options.side, 1, 65535,
     "its side (default: a quarter of the picture)"},
    {"stride", 0, RT_ARG_INT, "PIXELS", &options.stride, 1, 65535,
     "how far it moves (default: a sixteenth, 1 for small pictures)"},
    {"fill", 0, RT_ARG_REAL, "0..255", &options.fill, 0, 1,
     "its grey (default: what the network reads as 0)"},
};

const rt_technique rt_technique_occlude = {
    {"occlude", "a grey square slides over a picture: what matters", "[OPTIONS] [PICTURE]",
     "occlude cat.jpg\nocclude --image=7 --layer=conv2 --side=8"},
    run, args, sizeof args / sizeof *args};
