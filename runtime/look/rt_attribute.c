/* rt_attribute.c: which pixels of a picture speak for a class: gradients averaged, integrated,
 * multiplied, and class activation maps.
 *
 * smoothgrad   mean of the gradients at n noisy copies, sigma a share of the picture's range
 *              (Smilkov et al. 2017); shown as max over channels of its absolute value
 * integrated   (x - x') times the mean gradient on the line from the base x' (input 0), midpoints;
 *              sum and F(x) - F(x') are printed beside each other (Sundararajan et al. 2017)
 * gradxinput   x times the gradient: what a network without biases decomposes its score into
 * gradcam      ReLU(sum of alpha_k A_k), alpha_k the mean of the gradient over map k (Selvaraju et
 *              al. 2017), enlarged bilinearly; beside it the guided projection times that map
 * All start at the score before the softmax.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_ask.h"
#include "rt_pixels.h"
#include "rt_rng.h"
#include "rt_sheet.h"
#include "rt_viz.h"

static struct {
    int64_t samples;
    double noise;
} options = {.samples = 50, .noise = 0.15};

/* ---- opening ---- */

static int ask_room(rt_ask *a, rt_error *err) {
    size_t cap = (size_t)a->v->look.cap, pixels = (size_t)a->pixels;
    a->picture = rt_alloc(pixels, sizeof(float), "a picture", err);
    if (!err->code)
        a->map = rt_alloc_zero(pixels, sizeof(float), "a picture", err);
    if (!err->code)
        a->batch = rt_alloc(cap * pixels, sizeof(float), "pictures", err);
    if (!err->code)
        a->diff = rt_alloc(cap * pixels, sizeof(float), "pictures", err);
    if (!err->code)
        a->many = rt_alloc(cap, sizeof(float), "pictures", err);
    if (!err->code)
        a->units = rt_alloc(cap, sizeof(rt_unit), "pictures", err);
    for (size_t i = 0; i < cap && !err->code; i++)
        a->many[i] = 1;
    return err->code;
}

static float range_of(const float *x, int64_t n) {
    float lo = x[0], hi = x[0];
    for (int64_t k = 1; k < n; k++) {
        lo = fminf(lo, x[k]);
        hi = fmaxf(hi, x[k]);
    }
    return hi - lo;
}

int rt_ask_open(rt_ask *a, rt_viz *v, rt_feed *feed, int many, const char **operands, int n,
                rt_error *err) {
    *a = (rt_ask){.v = v, .feed = feed};
    if (rt_viz_open(v, many, err) || rt_viz_feed(v, operands, n, feed, err))
        return err->code;
    a->size = (rt_planes){v->prep.channels, v->prep.height, v->prep.width};
    a->pixels = rt_planes_count(a->size);
    if (v->m->model->ninputs != 1)
        return rt_fail(err, NETRT_EUSAGE, "%s reads several inputs; this technique explains one "
                       "picture\nhelp: `saliency` shows the gradient at the first input",
                       v->m->model->name);
    if (rt_viz_one(v, feed, &a->at, err) || rt_viz_unit(v, &a->seed, &a->unit, &a->value, err) ||
        ask_room(a, err))
        return err->code;
    memcpy(a->picture, feed->input[0], (size_t)a->pixels * sizeof(float));
    a->range = range_of(a->picture, a->pixels);
    for (int64_t i = 0; i < v->look.cap; i++)
        a->units[i] = a->unit;
    rt_viz_describe(v, feed, a->at, a->seed, a->unit, a->value, a->what, sizeof a->what);
    return NETRT_OK;
}

void rt_ask_close(rt_ask *a) {
    rt_free(a->picture);
    rt_free(a->map);
    rt_free(a->batch);
    rt_free(a->diff);
    rt_free(a->many);
    rt_free(a->units);
    rt_viz_feed_close(a->v, a->feed);
}

/* Gradients of the unit at the n pictures of a->batch, into a->diff. */
static int gradients(rt_ask *a, int64_t n, rt_error *err) {
    a->v->m->frame.input[0] = a->batch;
    if (rt_look_record(&a->v->look, n, err))
        return err->code;
    return rt_look_project(&a->v->look, RT_RULE_GRADIENT, a->seed, a->units, a->many, n, a->diff,
                           err);
}

/* The unit's value at recorded picture i. */
static double value_at(const rt_ask *a, int64_t i) {
    int64_t chw[3];
    rt_seed_shape(a->v->m->model, a->seed, chw);
    rt_look_values(&a->v->look, a->seed, i, a->v->look.seed);
    return (double)a->v->look.seed[(a->unit.c * chw[1] + a->unit.y) * chw[2] + a->unit.x];
}

/* Mean gradient over `total` pictures that make(i) writes, into a->map; sums in double precision. */
typedef void (*make_fn)(rt_ask *a, int64_t i, int64_t total, float *picture);
static int mean_gradient(rt_ask *a, int64_t total, make_fn make, rt_error *err) {
    double *sum = rt_alloc_zero((size_t)a->pixels, sizeof *sum, "a picture", err);
    for (int64_t first = 0; first < total && !err->code; first += a->v->look.cap) {
        int64_t n = total - first < a->v->look.cap ? total - first : a->v->look.cap;
        if (rt_cli_signal)
            rt_fail(err, 128 + rt_cli_signal, "stopped");
        for (int64_t i = 0; i < n && !err->code; i++)
            make(a, first + i, total, a->batch + i * a->pixels);
        if (err->code || gradients(a, n, err))
            break;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < a->pixels; k++)
                sum[k] += (double)a->diff[i * a->pixels + k];
        if (rt_progress_due(&a->v->cli.progress))
            rt_progress_tick(&a->v->cli.progress, "gradients", first + n, total, "", -1);
    }
    rt_progress_clear(&a->v->cli.progress);
    for (int64_t k = 0; sum && k < a->pixels; k++)
        a->map[k] = (float)(sum[k] / (double)total);
    rt_free(sum);
    return err->code;
}

/* ---- pictures ---- */

/* Brightness for one value per pixel, at most one plane, 0 = black. */
static int positive_tile(const rt_ask *a, const float *x, rt_image *tile, rt_error *err) {
    return rt_canvas_tone(tile, x, 1, (int)a->size.h, (int)a->size.w, 0, RT_TONE_POSITIVE,
                          rt_shown_scale(x, a->size.h * a->size.w), err);
}

int rt_ask_signed(const rt_ask *a, const float *x, rt_image *tile, rt_error *err) {
    return rt_canvas_tone(tile, x, (int)a->size.c, (int)a->size.h, (int)a->size.w, a->v->prep.bgr,
                          RT_TONE_SIGNED, rt_shown_scale(x, a->pixels), err);
}

int rt_ask_show(rt_ask *a, const char *verb, const char *title, const char *what, rt_image *tile,
                const rt_shown *shown, int tiles, const float *raw, int64_t planes, rt_error *err) {
    char name[96], note[600];
    int64_t dim[3] = {planes, a->size.h, a->size.w};
    rt_sheet s = {0};
    rt_image picture = {0};
    snprintf(note, sizeof note, "%s%s", what,
             a->size.h * a->size.w < RT_SHOWN_LARGE ? "" : "; 1 % lies beyond the scale");
    if (rt_sheet_open(&s, title, note, tiles + 1, 1, (int)a->size.w, (int)a->size.h, 160, 2,
                      err) == 0 &&
        rt_prep_invert(&a->v->prep, a->picture, &picture, err) == 0) {
        rt_sheet_put(&s, 0, 0, &picture, "picture");
        for (int i = 0; i < tiles; i++) {
            rt_sheet_put(&s, i + 1, 0, &tile[i], shown[i].caption);
            rt_sheet_bar(&s, i + 1, 0, 1, shown[i].bar, (double)shown[i].lo, (double)shown[i].hi);
        }
        snprintf(name, sizeof name, "%s-%lld", verb, (long long)a->at);
        if (rt_viz_write(a->v, &s.canvas, name, title, note, err) == 0)
            rt_viz_write_raw(a->v, raw, 3, dim, name, err);
    }
    rt_image_free(&picture);
    rt_sheet_close(&s);
    return err->code;
}

static rt_shown signed_scale(const rt_ask *a, const float *x, const char *caption) {
    float top = rt_shown_scale(x, a->pixels);
    return (rt_shown){caption, RT_BAR_GREY, -top, top};
}

/* ---- smoothgrad ---- */

static void noisy(rt_ask *a, int64_t i, int64_t total, float *picture) {
    (void)total;
    rt_rng_fill_normal(rt_rng_make(a->v->m->seed, RT_RNG_VIZ), 1, (uint32_t)i, 0, 0,
                       (float)options.noise * a->range, picture, (size_t)a->pixels);
    for (int64_t k = 0; k < a->pixels; k++)
        picture[k] += a->picture[k];
}

static int run_smoothgrad(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_image tile = {0};
    rt_ask a;
    if (rt_ask_open(&a, v, &feed, 1, operands, n, err) == 0 &&
        mean_gradient(&a, options.samples, noisy, err) == 0) {
        char note[400];
        rt_plane_max(a.map, a.size, a.diff);
        rt_shown shown = {"max |mean gradient|", RT_BAR_GREY, 0,
                       rt_shown_scale(a.diff, a.size.h * a.size.w)};
        snprintf(note, sizeof note, "%s; %lld noisy copies, sigma %.3g of the range; black = 0",
                 a.what, (long long)options.samples, options.noise);
        if (positive_tile(&a, a.diff, &tile, err) == 0)
            rt_ask_show(&a, "smoothgrad", "smoothgrad", note, &tile, &shown, 1, a.diff, 1, err);
    }
    rt_image_free(&tile);
    rt_ask_close(&a);
    return err->code;
}

/* ---- gradient x input, integrated gradients ---- */

static void on_the_line(rt_ask *a, int64_t i, int64_t total, float *picture) {
    double share = ((double)i + 0.5) / (double)total;
    for (int64_t k = 0; k < a->pixels; k++)
        picture[k] = (float)(share * (double)a->picture[k]);
}

static void itself(rt_ask *a, int64_t i, int64_t total, float *picture) {
    (void)i;
    (void)total;
    memcpy(picture, a->picture, (size_t)a->pixels * sizeof *picture);
}

static double times_picture(rt_ask *a) {
    double sum = 0;
    for (int64_t k = 0; k < a->pixels; k++) {
        sum += (double)a->map[k] * (double)a->picture[k];
        a->map[k] *= a->picture[k];
    }
    return sum;
}

static int run_integrated(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_image tile = {0};
    rt_ask a;
    if (rt_ask_open(&a, v, &feed, 1, operands, n, err) == 0 &&
        mean_gradient(&a, options.samples, on_the_line, err) == 0) {
        memset(a.batch, 0, (size_t)a.pixels * sizeof *a.batch);
        v->m->frame.input[0] = a.batch;
        double sum = times_picture(&a), rise = 0;
        if (rt_look_record(&v->look, 1, err) == 0)
            rise = (double)a.value - value_at(&a, 0);
        char note[400];
        rt_shown shown = signed_scale(&a, a.map, "mid-grey = 0");
        snprintf(note, sizeof note, "%s; %lld steps from input 0; sum %.6g, F(x) - F(0) = %.6g, "
                 "off by %.2g %%", a.what, (long long)options.samples, sum, rise,
                 rise != 0 ? 100 * fabs(sum - rise) / fabs(rise) : 0);
        if (!err->code && rt_ask_signed(&a, a.map, &tile, err) == 0)
            rt_ask_show(&a, "integrated", "integrated gradients", note, &tile, &shown, 1, a.map,
                 a.size.c, err);
    }
    rt_image_free(&tile);
    rt_ask_close(&a);
    return err->code;
}

static int run_times(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_image tile = {0};
    rt_ask a;
    if (rt_ask_open(&a, v, &feed, 1, operands, n, err) == 0 && mean_gradient(&a, 1, itself, err) == 0) {
        char note[400];
        snprintf(note, sizeof note, "%s; sum %.6g", a.what, times_picture(&a));
        rt_shown shown = signed_scale(&a, a.map, "mid-grey = 0");
        if (rt_ask_signed(&a, a.map, &tile, err) == 0)
            rt_ask_show(&a, "gradxinput", "gradient x input", note, &tile, &shown, 1, a.map, a.size.c,
                 err);
    }
    rt_image_free(&tile);
    rt_ask_close(&a);
    return err->code;
}

/* ---- class activation maps ---- */

/* The layer whose gradient was compiled for this, and the tensor that holds it. */
static int cam_layer(const rt_ask *a, int *tensor, rt_error *err) {
    const rt_model *model = a->v->m->model;
    const rt_program *p = &model->program[RT_LOOK];
    for (int i = 0; i < p->ntensors; i++)
        if (strncmp(p->tensor[i].name, "cam:", 4) == 0) {
            *tensor = i;
            return rt_seed_find(model, p->tensor[i].name + 4);
        }
    for (int i = p->nseeds; i-- > 0;) { /* without a rectifier, projections keep it */
        int64_t chw[3];
        rt_seed_shape(model, i, chw);
        *tensor = p->seed[i].rule[RT_RULE_GRADIENT].diff;
        if (chw[1] * chw[2] > 1 && *tensor >= 0 && p->seed[i].leads && !p->seed[i].rule[RT_RULE_GRADIENT].rectified &&
            p->seed[i].tensor != p->output)
            return i;
    }
    rt_fail(err, NETRT_EUSAGE, "%s has no layer of maps in front of its score\n"
            "help: `saliency` and `integrated` work at the pixels", model->name);
    return -1;
}

/* a->map's first plane = the class activation map at the picture's size. */
static int cam(rt_ask *a, char *note, size_t size, rt_error *err) {
    int tensor = -1, layer = cam_layer(a, &tensor, err);
    if (layer < 0)
        return err->code;
    memcpy(a->batch, a->picture, (size_t)a->pixels * sizeof *a->batch);
    if (gradients(a, 1, err))
        return err->code;
    const rt_model *model = a->v->m->model;
    int64_t chw[3];
    rt_seed_shape(model, layer, chw);
    int64_t plane = chw[1] * chw[2];
    size_t n = (size_t)(chw[0] * plane);
    float *g = rt_alloc(n, sizeof *g, "a layer", err), *values = NULL, *small = NULL;
    if (g)
        values = rt_alloc(n, sizeof *values, "a layer", err);
    if (values)
        small = rt_alloc((size_t)plane, sizeof *small, "a map", err);
    if (small) {
        rt_tensor_read(a->v->m, RT_LOOK, tensor, 0, g);
        rt_look_values(&a->v->look, layer, 0, values);
        for (int64_t k = 0; k < chw[0]; k++) { /* alpha, kept where the map's gradients begin */
            double alpha = 0;
            for (int64_t i = 0; i < plane; i++)
                alpha += (double)g[k * plane + i];
            g[k * plane] = (float)(alpha / (double)plane);
        }
        for (int64_t i = 0; i < plane; i++) {
            double sum = 0;
            for (int64_t k = 0; k < chw[0]; k++)
                sum += (double)g[k * plane] * (double)values[k * plane + i];
            small[i] = sum > 0 ? (float)sum : 0;
        }
        rt_planes_resize(small, (rt_planes){1, chw[1], chw[2]}, a->map, a->size.h, a->size.w);
        snprintf(note, size, "%s; maps of %.40s, %lld x %lld", a->what,
                 model->program[RT_LOOK].seed[layer].label, (long long)chw[1], (long long)chw[2]);
    }
    rt_free(g);
    rt_free(values);
    rt_free(small);
    return err->code;
}

static int run_gradcam(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_image tile[2] = {{0}}, heat = {0}, picture = {0};
    char note[500];
    rt_ask a;
    if (rt_ask_open(&a, v, &feed, 1, operands, n, err) == 0 && cam(&a, note, sizeof note, err) == 0) {
        int64_t plane = a.size.h * a.size.w;
        rt_shown shown[2] = {{"grad-cam", RT_BAR_HEAT, 0, rt_max_abs(a.map, plane)}};
        int tiles = v->m->model->program[RT_LOOK].refused[RT_RULE_GUIDED] ? 1 : 2;
        float one = 1;
        if (rt_prep_invert(&v->prep, a.picture, &picture, err) == 0 &&
            rt_heat(&heat, a.map, (int)a.size.h, (int)a.size.w, 0, rt_max_abs(a.map, plane),
                    err) == 0 &&
            rt_heat_over(&tile[0], &picture, &heat, 0.6, err) == 0 && tiles == 2 &&
            rt_look_project(&v->look, RT_RULE_GUIDED, a.seed, &a.unit, &one, 1, a.diff, err) == 0) {
            for (int64_t k = 0; k < a.pixels; k++)
                a.diff[k] *= a.map[k % plane];
            rt_ask_signed(&a, a.diff, &tile[1], err);
            shown[1] = signed_scale(&a, a.diff, "guided grad-cam");
        }
        if (!err->code)
            rt_ask_show(&a, "gradcam", "class activation map", note, tile, shown, tiles, a.map, 1, err);
    }
    rt_image_free(&tile[0]);
    rt_image_free(&tile[1]);
    rt_image_free(&heat);
    rt_image_free(&picture);
    rt_ask_close(&a);
    return err->code;
}

/* ---- verbs ---- */

static const rt_arg smooth_args[] = {
    {"samples", 0, RT_ARG_INT, "N", &options.samples, 1, 1000000, "noisy copies (default: 50)"},
    {"noise", 0, RT_ARG_REAL, "SHARE", &options.noise, 0, 1,
     "sigma as a share of the picture's range (default: 0.15)"},
};
static const rt_arg line_args[] = {
    {"steps", 0, RT_ARG_INT, "N", &options.samples, 1, 1000000,
     "points on the line (default: 50)"},
};

const rt_technique rt_technique_smoothgrad = {
    {"smoothgrad", "gradient of the score, averaged over noise", "[OPTIONS] [PICTURE]",
     "smoothgrad cat.jpg\nsmoothgrad --image=7 --samples=200"},
    run_smoothgrad, smooth_args, 2};
const rt_technique rt_technique_integrated = {
    {"integrated", "integrated gradients, with their completeness", "[OPTIONS] [PICTURE]",
     "integrated cat.jpg\nintegrated --image=7 --steps=300"},
    run_integrated, line_args, 1};
const rt_technique rt_technique_gradxinput = {
    {"gradxinput", "gradient times picture", "[OPTIONS] [PICTURE]", "gradxinput cat.jpg"},
    run_times, NULL, 0};
const rt_technique rt_technique_gradcam = {
    {"gradcam", "where a class is seen: Grad-CAM and guided Grad-CAM", "[OPTIONS] [PICTURE]",
     "gradcam cat.jpg\ngradcam --image=7 --class=3"},
    run_gradcam, NULL, 0};
