/* rt_invariance.c: how features follow a picture that is moved, enlarged or turned.
 *
 * theory: Zeiler and Fergus 2014, section 4.1 and figure 5: for each picture the Euclidean distance
 * of a layer's features to those of the untransformed picture, at the first and at the last layer,
 * and the probability of the true class.  Vertical translation by up to 60 of 224 pixels each way,
 * scale 1 to 1.8, rotation 0 to 350 degrees; what comes in at the border is what the network reads
 * as 0.  At the identity every distance is exactly 0.
 * moved: beside each translation by a multiple of a layer's stride the distance to the untransformed
 * maps moved by as many cells, over cells that see neither border: 0 for a stack of convolutions, up
 * to the rounding of fast ones, whose order of sums depends on a cell's place.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_augment.h"
#include "rt_compare.h"
#include "rt_svg.h"

enum { MOVE, SCALE, TURN, KINDS, PICTURES = 5, PICTURES_MAX = 64, LAYERS_MAX = 8, STEPS_MAX = 36 };
static const char *const kind_names[] = {"translation", "scale", "rotation"};
static const char *const kind_units[] = {"pixels down", "factor", "degrees"};

/* What one transformed picture answered. */
typedef struct Answer {
    double distance[LAYERS_MAX], moved[LAYERS_MAX]; /* moved: NaN where it says nothing */
    double probability;                             /* NaN without classes */
} Answer;

typedef struct Curves {
    rt_viz *v;
    rt_set set;
    int seed[LAYERS_MAX], nlayers;
    float *clean[LAYERS_MAX]; /* features of the picture at hand */
    int64_t count[LAYERS_MAX], chw[LAYERS_MAX][3];
    float *batch, *layer, *probs, outside[4];
    double at[KINDS][STEPS_MAX];
    int steps[KINDS];
    int64_t target[PICTURES_MAX];
    Answer *answer; /* [picture][kind][step] */
} Curves;

static Answer *answer_at(const Curves *c, int64_t picture, int kind, int64_t step) {
    return &c->answer[(picture * KINDS + kind) * STEPS_MAX + step];
}

/* ---- transforms ---- */

static void set_ranges(Curves *c) {
    int64_t most = (c->v->prep.height * 60 + 112) / 224, by = most > 15 ? (most + 14) / 15 : 1;
    for (int64_t y = -(most / by) * by; y <= most; y += by)
        c->at[MOVE][c->steps[MOVE]++] = (double)y;
    for (int i = 0; i <= 16; i++)
        c->at[SCALE][c->steps[SCALE]++] = 1 + 0.05 * i;
    for (int i = 0; i < 36; i++)
        c->at[TURN][c->steps[TURN]++] = 10 * i;
}

static void transform(const Curves *c, int kind, int64_t step, const float *x, float *out) {
    const struct rt_prep *prep = &c->v->prep;
    double a = c->at[kind][step];
    rt_affine_planes(x, prep->channels, prep->height, prep->width, kind == TURN ? a : 0,
                     kind == SCALE ? a : 1, kind == MOVE ? a : 0, 0, c->outside, out);
}

/* ---- answers ---- */

/* Cells of the layer that see neither border, before and after the picture moved down by dy pixels:
 * those whose fields lie inside of what the moved picture left. */
static rt_rect untouched(const Curves *c, int layer, int64_t dy) {
    const rt_model *model = c->v->m->model;
    int64_t h = c->v->prep.height, w = c->v->prep.width, y0 = -1, y1 = -1, x0 = -1, x1 = -1;
    for (int64_t y = 0; y < c->chw[layer][1]; y++) {
        rt_rect r = rt_unit_field(model, c->seed[layer], y, 0);
        if (r.y >= (dy > 0 ? dy : 0) && r.y + r.h <= h + (dy < 0 ? dy : 0)) {
            y0 = y0 < 0 ? y : y0;
            y1 = y + 1;
        }
    }
    for (int64_t x = 0; x < c->chw[layer][2]; x++) {
        rt_rect r = rt_unit_field(model, c->seed[layer], 0, x);
        if (r.x >= 0 && r.x + r.w <= w) {
            x0 = x0 < 0 ? x : x0;
            x1 = x + 1;
        }
    }
    return y0 < 0 || x0 < 0 ? (rt_rect){0, 0, 0, 0} : (rt_rect){y0, x0, y1 - y0, x1 - x0};
}

static double moved(const Curves *c, int layer, int64_t dy) {
    const rt_seed *s = &c->v->m->model->program[RT_LOOK].seed[c->seed[layer]];
    int64_t cells = 0;
    if (s->rf_size[0] <= 0 || s->rf_jump[0] <= 0 || dy % s->rf_jump[0] || c->chw[layer][1] < 2)
        return NAN;
    double d = rt_moved_distance(c->clean[layer], c->layer, c->chw[layer], dy / s->rf_jump[0], 0,
                                 untouched(c, layer, dy), &cells);
    return cells ? d : NAN;
}

static void take(Curves *c, int64_t picture, int kind, int64_t step, int64_t slot) {
    Answer *a = answer_at(c, picture, kind, step);
    for (int k = 0; k < c->nlayers; k++) {
        rt_look_values(&c->v->look, c->seed[k], slot, c->layer);
        a->distance[k] = rt_distance(c->clean[k], c->layer, c->count[k]);
        a->moved[k] = kind == MOVE ? moved(c, k, (int64_t)c->at[MOVE][step]) : NAN;
    }
    a->probability = c->target[picture] >= 0 && rt_viz_answer(c->v, slot, c->probs)
                         ? (double)c->probs[c->target[picture]]
                         : NAN;
}

/* Features of the picture itself and its class: --class, else the data's, else the predicted one. */
static int begin(Curves *c, int64_t i, rt_error *err) {
    const rt_model *model = c->v->m->model;
    if (rt_set_record(&c->set, c->set.x + i * c->set.pixels, 1, err))
        return err->code;
    for (int k = 0; k < c->nlayers; k++)
        rt_look_values(&c->v->look, c->seed[k], 0, c->clean[k]);
    c->target[i] = -1;
    if (!rt_viz_answer(c->v, 0, c->probs))
        return NETRT_OK;
    int label = rt_data_classes(c->set.feed.ds) == model->classes
                    ? rt_data_label(c->set.feed.ds, c->set.sample[i])
                    : -1;
    c->target[i] = c->v->target >= 0 ? c->v->target : label >= 0 ? label : rt_best(model, c->probs);
    return NETRT_OK;
}

static int one_picture(Curves *c, int64_t i, rt_error *err) {
    const float *x = c->set.x + i * c->set.pixels;
    int64_t cap = c->v->look.cap;
    if (begin(c, i, err))
        return err->code;
    for (int kind = 0; kind < KINDS; kind++)
        for (int64_t first = 0; first < c->steps[kind]; first += cap) {
            int64_t n = c->steps[kind] - first < cap ? c->steps[kind] - first : cap;
            if (rt_cli_signal)
                return rt_fail(err, 128 + rt_cli_signal, "stopped");
            for (int64_t k = 0; k < n; k++)
                transform(c, kind, first + k, x, c->batch + k * c->set.pixels);
            if (rt_set_record(&c->set, c->batch, n, err))
                return err->code;
            for (int64_t k = 0; k < n; k++)
                take(c, i, kind, first + k, k);
        }
    if (rt_progress_due(&c->v->cli.progress))
        rt_progress_tick(&c->v->cli.progress, "transforming", i + 1, c->set.n, "", -1);
    return NETRT_OK;
}

/* ---- results ---- */

static const char *label_of(const Curves *c, int layer) {
    return c->v->m->model->program[RT_LOOK].seed[c->seed[layer]].label;
}

static int write_table(const Curves *c, rt_error *err) {
    rt_text csv = {0};
    rt_text_add(&csv, "picture,transform,amount,layer,distance,moved_distance,class,probability\n");
    for (int64_t i = 0; i < c->set.n; i++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int64_t s = 0; s < c->steps[kind]; s++)
                for (int k = 0; k < c->nlayers; k++) {
                    const Answer *a = answer_at(c, i, kind, s);
                    rt_text_printf(&csv, "%lld,%s,%g,%s,%.9g,", (long long)c->set.sample[i],
                                   kind_names[kind], c->at[kind][s], label_of(c, k),
                                   a->distance[k]);
                    if (!isnan(a->moved[k]))
                        rt_text_printf(&csv, "%.9g", a->moved[k]);
                    rt_text_printf(&csv, ",%lld,", (long long)c->target[i]);
                    if (!isnan(a->probability))
                        rt_text_printf(&csv, "%.9g", a->probability);
                    rt_text_add(&csv, "\n");
                }
    rt_viz_write_text(c->v, &csv, "invariance", "feature invariance", err);
    rt_text_free(&csv);
    return err->code;
}

/* The plot of one transform and one layer (row nlayers: the probability), a curve per picture. */
static void plot(const Curves *c, int kind, int row, rt_text *out, double *y,
                 const char *const *names, int curves) {
    rt_series series[PICTURES_MAX];
    char title[120];
    for (int i = 0; i < curves; i++) {
        for (int64_t s = 0; s < c->steps[kind]; s++) {
            const Answer *a = answer_at(c, i, kind, s);
            y[i * STEPS_MAX + s] = row < c->nlayers ? a->distance[row] : a->probability;
        }
        series[i] = (rt_series){.name = names[i], .x = c->at[kind], .y = y + i * STEPS_MAX,
                                .n = c->steps[kind]};
    }
    if (row < c->nlayers)
        snprintf(title, sizeof title, "%s: distance at %.60s", kind_names[kind], label_of(c, row));
    else
        snprintf(title, sizeof title, "%s: probability of the class", kind_names[kind]);
    rt_plot p = {.title = title, .xlabel = kind_units[kind],
                 .ylabel = row < c->nlayers ? "Euclidean distance" : "probability",
                 .width = 500, .height = 300, .series = series, .nseries = curves};
    rt_svg_plot(out, &p, 0);
}

static const char *const number[8] = {"0", "1", "2", "3", "4", "5", "6", "7"};

static int draw(const Curves *c, rt_error *err) {
    int curves = c->set.n < 8 ? (int)c->set.n : 8;
    int rows = c->nlayers + (isnan(c->answer[0].probability) ? 0 : 1);
    double *y = rt_alloc(PICTURES_MAX * STEPS_MAX, sizeof *y, "curves", err);
    rt_text svg = {0};
    rt_text_printf(&svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                   "viewBox=\"0 0 %d %d\">\n", 510 * KINDS, 310 * rows, 510 * KINDS, 310 * rows);
    for (int row = 0; y && row < rows; row++)
        for (int kind = 0; kind < KINDS; kind++) {
            rt_text_printf(&svg, "<g transform=\"translate(%d %d)\">\n", 510 * kind, 310 * row);
            plot(c, kind, row, &svg, y, number, curves);
            rt_text_add(&svg, "</g>\n");
        }
    rt_text_add(&svg, "</svg>\n");
    if (y)
        rt_viz_write_svg(c->v, &svg, "invariance", "feature invariance",
                         "distance to the features of the untransformed picture; 0 where nothing "
                         "changed; the curves' numbers are those of the pictures", err);
    rt_text_free(&svg);
    rt_free(y);
    return err->code;
}

/* The pictures as they were shown: the ends of each range. */
static int draw_pictures(Curves *c, rt_error *err) {
    const struct rt_prep *prep = &c->v->prep;
    int rows = c->set.n < 8 ? (int)c->set.n : 8;
    char names[8][64];
    rt_sheet s = {0};
    rt_image tile = {0};
    for (int i = 0; i < rows; i++)
        rt_set_name(&c->set, i, names[i], sizeof names[i]);
    const char *note = "the ends of the ranges; what comes in at the border is read as 0";
    if (rt_sheet_open(&s, "invariance: the pictures", note, 6, rows, prep->width, prep->height, 96, 1,
                      err) == 0)
        for (int i = 0; i < rows && !err->code; i++)
            for (int k = 0; k < 6; k++) {
                int kind = k < 1 ? MOVE : k < 3 ? MOVE : k < 4 ? SCALE : TURN;
                int step = k == 0 ? c->steps[MOVE] / 2 : k == 1 ? 0 : k == 4 ? 3 : k == 5 ? 9
                           : c->steps[kind] - 1;
                char caption[64];
                transform(c, kind, step, c->set.x + i * c->set.pixels, c->batch);
                if (rt_prep_invert(prep, c->batch, &tile, err))
                    break;
                if (k)
                    snprintf(caption, sizeof caption, "%s %g", kind_names[kind],
                             c->at[kind][step]);
                else
                    snprintf(caption, sizeof caption, "%.2s: %.50s", number[i], names[i]);
                rt_sheet_put(&s, k, i, &tile, caption);
            }
    if (!err->code)
        rt_viz_write(c->v, &s.canvas, "invariance", "invariance: the pictures", note, err);
    rt_image_free(&tile);
    rt_sheet_close(&s);
    return err->code;
}

/* ---- the verb ---- */

/* --layer, else the first layer with weights and the last one in front of the score. */
static int choose_layers(Curves *c, rt_error *err) {
    int seed[64], n = rt_viz_weighted_layers(c->v, seed, 64, err);
    const rt_program *look = &c->v->m->model->program[RT_LOOK];
    if (err->code)
        return err->code;
    if (c->v->layers) {
        c->nlayers = n < LAYERS_MAX ? n : LAYERS_MAX;
        memcpy(c->seed, seed, (size_t)c->nlayers * sizeof *seed);
        return NETRT_OK;
    }
    while (n > 2 && look->seed[seed[n - 1]].tensor == look->output)
        n--;
    c->seed[c->nlayers++] = seed[0];
    if (n > 1)
        c->seed[c->nlayers++] = seed[n - 1];
    return NETRT_OK;
}

static int prepare(Curves *c, rt_error *err) {
    const rt_viz *v = c->v;
    const struct rt_prep *prep = &v->prep;
    int64_t classes = v->m->model->classes, plane = (int64_t)prep->height * prep->width;
    if (v->m->model->input[0].h == 1 || v->m->model->input[0].frames > 1 || prep->channels > 4)
        return rt_fail(err, NETRT_EUSAGE, "%s does not read pictures, which this analysis turns and "
                       "enlarges\nhelp: `occlude` and `saliency` work on any input",
                       v->m->model->name);
    if (v->target >= classes && v->target >= 0)
        return rt_fail(err, NETRT_EUSAGE, "there is no class %lld\nhelp: there are 0 to %lld",
                       (long long)v->target, (long long)classes - 1);
    if (choose_layers(c, err))
        return err->code;
    set_ranges(c);
    for (int k = 0; k < prep->channels; k++)
        c->outside[k] = rt_viz_grey(prep, -1, k * plane);
    for (int k = 0; k < c->nlayers && !err->code; k++) {
        rt_seed_shape(v->m->model, c->seed[k], c->chw[k]);
        c->count[k] = c->chw[k][0] * c->chw[k][1] * c->chw[k][2];
        c->clean[k] = rt_alloc((size_t)c->count[k], sizeof(float), "features", err);
    }
    if (!err->code)
        c->batch = rt_alloc((size_t)(v->look.cap * c->set.pixels), sizeof(float), "pictures", err);
    if (!err->code)
        c->layer = rt_alloc((size_t)v->look.seed_room, sizeof(float), "a layer", err);
    if (!err->code)
        c->probs = rt_alloc((size_t)(classes > 0 ? classes : 1), sizeof(float), "scores", err);
    if (!err->code)
        c->answer = rt_alloc_zero((size_t)c->set.n * KINDS * STEPS_MAX, sizeof *c->answer,
                                  "answers", err);
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Curves *c = rt_alloc_zero(1, sizeof *c, "curves", err);
    if (!c)
        return err->code;
    c->v = v;
    if (v->limit > PICTURES_MAX)
        rt_fail(err, NETRT_ELIMIT, "%lld pictures are too many curves\nhelp: --limit=%d or less",
                (long long)v->limit, PICTURES_MAX);
    if (!err->code && rt_viz_open(v, 1, err) == 0 &&
        rt_set_open(&c->set, v, operands, n, 1, PICTURES, err) == 0) {
        c->set.n = c->set.n < PICTURES_MAX ? c->set.n : PICTURES_MAX;
        prepare(c, err);
        for (int64_t i = 0; i < c->set.n && !err->code; i++)
            one_picture(c, i, err);
        rt_progress_clear(&v->cli.progress);
        if (!err->code && draw(c, err) == 0 && draw_pictures(c, err) == 0)
            write_table(c, err);
    }
    for (int k = 0; k < LAYERS_MAX; k++)
        rt_free(c->clean[k]);
    rt_free(c->batch);
    rt_free(c->layer);
    rt_free(c->probs);
    rt_free(c->answer);
    rt_set_close(&c->set);
    rt_free(c);
    return err->code;
}

const rt_technique rt_technique_invariance = {
    {"invariance", "features of moved, enlarged and turned pictures", "[OPTIONS] [PICTURES..]",
     "invariance cat.jpg dog.jpg\ninvariance --limit=8 --layer=conv1,fc7"},
    run, NULL, 0};
