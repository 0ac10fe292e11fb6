/* rt_saliency.c: one picture, one class: which pixels matter.
 *
 * saliency: M = max over channels of |d score / d pixel|, score before the softmax
 * (Simonyan et al. 2014, section 3).  guided: the guided projection of the score (Springenberg et
 * al. 2015), shown with its signs.  deconvnet: likewise.  A layer and a map may be named instead of
 * a class; then the map's strongest unit is projected.
 */
#include "rt_viz.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_pixels.h"

#define PAPER 0xffffffu
#define INK 0x222222u

int rt_viz_unit(rt_viz *v, int *seed, rt_unit *unit, float *value, rt_error *err) {
    const rt_model *model = v->m->model;
    const char *list = v->layers;
    if (list && rt_viz_next_layer(v, &list, seed, err) != 1)
        return err->code;
    if (!v->layers && (*seed = rt_viz_score(v, err)) < 0)
        return err->code;
    int64_t chw[3];
    rt_seed_shape(model, *seed, chw);
    int64_t plane = chw[1] * chw[2], best = -1, count = chw[0] * plane;
    rt_tensor_read(v->m, RT_LOOK, model->program[RT_LOOK].seed[*seed].tensor, 0, v->look.seed);
    const float *x = v->look.seed;
    if (!v->layers && v->target >= 0)
        best = v->target < count ? v->target : -1;
    else if (!v->layers && model->classes == count)
        best = rt_best(model, x);
    else
        for (int64_t i = 0; i < count; i++)
            if (rt_viz_wants_map(v, i / plane) && (best < 0 || x[i] > x[best]))
                best = i;
    if (best < 0)
        return rt_fail(err, NETRT_EUSAGE, "there is no such %s\nhelp: there are 0 to %lld",
                       v->layers ? "map" : "class", (long long)chw[0] - 1);
    *unit = (rt_unit){best / plane, best % plane / chw[2], best % chw[2]};
    *value = x[best];
    return NETRT_OK;
}

/* Picture and map side by side. */
static int pair_sheet(rt_viz *v, const float *input, float *diff, int rule, const char *name,
                      const char *title, const char *what, rt_error *err) {
    const struct rt_prep *prep = &v->prep;
    int64_t plane = (int64_t)prep->height * prep->width;
    int zoom = prep->width >= 112 ? 1 : (112 + prep->width - 1) / prep->width;
    int w = prep->width * zoom, h = prep->height * zoom, channels = prep->channels;
    if (rule == RT_RULE_GRADIENT) {
        rt_plane_max(diff, (rt_planes){channels, prep->height, prep->width}, diff);
        channels = 1;
    }
    float scale = rt_shown_scale(diff, channels * plane);
    char note[400];
    snprintf(note, sizeof note, "%s; %s, white = %.4g%s", what,
             rule == RT_RULE_GRADIENT ? "black = 0" : "mid-grey = 0", (double)scale,
             channels * plane < RT_SHOWN_LARGE ? "" : " and more (1 %)");
    rt_image canvas = {0}, tile = {0};
    int width = 24 + 2 * w, text = rt_text_width(note, 1) + 16;
    width = width < text ? text : width;
    width = width < RT_SHEET_MIN_WIDTH ? RT_SHEET_MIN_WIDTH : width;
    if (rt_canvas_new(&canvas, width, h + RT_SHEET_HEADER + 8, PAPER, err) == 0 &&
        rt_prep_invert(prep, input, &tile, err) == 0) {
        rt_sheet_header(&canvas, title, note);
        rt_canvas_blit(&canvas, 8, RT_SHEET_HEADER, &tile, zoom);
        int tone = rule == RT_RULE_GRADIENT ? RT_TONE_POSITIVE : RT_TONE_SIGNED;
        if (rt_canvas_tone(&tile, diff, channels, prep->height, prep->width, prep->bgr, tone, scale,
                           err) == 0) {
            rt_canvas_blit(&canvas, 16 + w, RT_SHEET_HEADER, &tile, zoom);
            int64_t dim[3] = {channels, prep->height, prep->width};
            if (rt_viz_write(v, &canvas, name, title, note, err) == 0)
                rt_viz_write_raw(v, diff, 3, dim, name, err);
        }
    }
    rt_image_free(&tile);
    rt_image_free(&canvas);
    return err->code;
}

void rt_viz_describe(const rt_viz *v, const rt_feed *feed, int64_t at, int seed, rt_unit u,
                     float value, char *what, size_t n) {
    char name[256], number[24], buf[24], class_name[70] = "";
    rt_viz_sample_name(feed, at, name, sizeof name);
    const char *called = netrt_class_name(v->m, u.c, buf);
    snprintf(number, sizeof number, "%lld", (long long)u.c);
    if (strcmp(called, number) != 0)
        snprintf(class_name, sizeof class_name, " (%.60s)", called);
    const char *label = v->m->model->program[RT_LOOK].seed[seed].label;
    if (!v->layers && u.c < v->m->model->classes)
        snprintf(what, n, "%.80s, class %s%s, score %.4g", name, number, class_name, (double)value);
    else
        snprintf(what, n, "%.80s, %s map %lld at (%lld, %lld), value %.4g", name, label,
                 (long long)u.c, (long long)u.y, (long long)u.x, (double)value);
}

int rt_viz_saliency(rt_viz *v, rt_feed *feed, int64_t at, int rule, rt_error *err) {
    const struct rt_prep *prep = &v->prep;
    size_t pixels = (size_t)prep->channels * (size_t)prep->height * (size_t)prep->width;
    int seed = -1;
    rt_unit unit;
    float value = 0, one = 1;
    if (rt_viz_record(v, feed, at, err) || rt_viz_unit(v, &seed, &unit, &value, err))
        return err->code;
    float *diff = rt_alloc(pixels, sizeof *diff, "a projection", err);
    if (!diff)
        return err->code;
    if (rt_look_project(&v->look, rule, seed, &unit, &one, 1, diff, err) == 0) {
        static const char *const verb[] = {"saliency", "deconvnet", "guided"};
        char what[256], name[128], title[160];
        rt_viz_describe(v, feed, at, seed, unit, value, what, sizeof what);
        snprintf(name, sizeof name, "%s-%lld", verb[rule], (long long)at);
        snprintf(title, sizeof title, "%s",
                 rule == RT_RULE_GRADIENT ? "saliency: max |gradient|"
                 : rule == RT_RULE_GUIDED ? "guided backpropagation"
                                          : "deconvnet");
        pair_sheet(v, feed->input[0], diff, rule, name, title, what, err);
    }
    rt_free(diff);
    return err->code;
}
