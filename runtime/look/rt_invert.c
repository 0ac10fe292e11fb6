/* rt_invert.c: what a layer still knows of a picture: from noise, a picture is sought that the layer
 * answers to as it did to the given one; all layers side by side, each a picture of one batch.
 *
 * theory, with x centred pixels (h x w of them), phi a layer, phi0 its answer to the given picture:
 *   mahendran2015  |phi(x) - phi0|^2 / |phi0|^2 + (tv V(x) + 8e-10 sum x^6) / (2 s^2), V the sum of
 *                  squared differences, s the norm of the picture; momentum .9, rate .004 s^2, a
 *                  tenth after 100 and a hundredth after 300 of 400 steps, momentum reset there; tv
 *                  1, 10, 100 for the first three, the next three and the last seven tenths of layers
 *   mahendran2016  C |phi(x) - phi0|^2 / |phi0|^2 + sum |x_p|^6 / (h w B^6) + V(x) / (h w (B/6.5)^2)
 *                  over pixels p, B = 80, |x_p| kept below 2 B; AdaGrad with momentum, rate
 *                  .05 B^2 / 6 h w; shifted by up to a quarter of the layer's stride, but not in the
 *                  last 50 of 350 steps, whose rate is a tenth
 * (Mahendran and Vedaldi 2015, sections 2 and 3; 2016, sections 3 and 4.)  These are for 227 x 227
 * pixels of -128 to 128: elsewhere tv is multiplied by h w / 227^2, B by the largest pixel / 128, 8e-10
 * by (128 / the largest pixel)^4.  A value four times the best so far sends a picture back there with
 * half the rate: the published rates belong to other networks.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_climb.h"
#include "rt_paint.h"
#include "rt_par.h"
#include "rt_rng.h"
#include "rt_sheet.h"

enum { LAYERS_MAX = 256, FEW = 12 };

static struct {
    const char *preset;
    int64_t steps;
    int64_t count;
    double rate, tv, alpha, weight;
} options = {.preset = "mahendran2016", .steps = -1, .count = FEW, .rate = NAN, .tv = NAN, .alpha = NAN,
             .weight = NAN};

/* One picture of the batch. */
typedef struct Search {
    int seed, at;             /* at: of the list of layers */
    int64_t reach;            /* of shifts: 0 .. reach - 1 */
    double size;              /* |phi0|^2 */
    double tv, alpha, rate;   /* weights of the regularizers; first rate */
    double first, last, best; /* relative error of the layer; best value */
    int halved;
    rt_climb climb;
    float *target, *keep;     /* phi0; best picture so far */
} Search;

typedef struct Invert {
    rt_viz *v;
    rt_feed feed;
    rt_paint p;
    int old;                  /* mahendran2015 */
    int64_t at, steps, n;
    double weight, norm, b;   /* C, s, B */
    int seed[LAYERS_MAX], nseeds;
    int order[LAYERS_MAX];    /* of the list, deepest first: the others need not go as far */
    rt_term *term;
    Search *search;
    float *x, *given, *all;   /* pictures in progress; the picture; all results, pixels */
    double error[LAYERS_MAX][2], away[LAYERS_MAX]; /* first and last; root mean square, pixels */
    int halved[LAYERS_MAX];
} Invert;

/* ---- one step of one picture ---- */

static int64_t shift(const Invert *v, const Search *s, int64_t step, int axis) {
    uint32_t bits[4];
    if (v->old || step + 50 >= v->steps || s->reach < 2)
        return 0;
    rt_rng_block(rt_rng_make(v->v->m->seed, RT_RNG_VIZ), 2, (uint32_t)s->at, (uint32_t)step, 0, bits);
    return rt_rng_below(bits[axis], (uint32_t)s->reach);
}

static double rate_at(const Invert *v, const Search *s, int64_t step) {
    double rate = ldexp(s->rate, -s->halved);
    if (v->old)
        return step * 4 < v->steps ? rate : step * 4 < 3 * v->steps ? rate / 10 : rate / 100;
    return step + 50 >= v->steps ? rate / 10 : rate;
}

/* Value and downhill gradient at x; the layer's part stands in p.value, p.g. */
static double add_terms(const Invert *v, const Search *s, const float *x, double value, float *g) {
    int64_t n = v->p.count;
    if (s->tv > 0)
        value += s->tv * rt_tv(x, v->p.size, 2, s->tv, g);
    if (s->alpha > 0 && v->old)
        value += s->alpha * rt_alpha_norm(x, n, 6, s->alpha, g);
    else if (s->alpha > 0)
        value += s->alpha * rt_pixel_norm6(x, v->p.size, s->alpha, g);
    for (int64_t k = 0; k < n; k++)
        g[k] = -g[k];
    return value;
}

static void forget_speed(Search *s) {
    memset(s->climb.v, 0, (size_t)s->climb.n * sizeof *s->climb.v);
}

static void advance(Invert *v, int64_t i, int64_t step, float *room) {
    Search *s = &v->search[i];
    int64_t n = v->p.count;
    float *x = v->x + i * n, *g = v->p.g + i * n;
    s->last = v->p.value[i] / v->weight;
    s->first = step == 0 ? s->last : s->first;
    if (step == v->steps)
        return;
    rt_roll(g, v->p.size, -shift(v, s, step, 0), -shift(v, s, step, 1), room);
    double value = add_terms(v, s, x, v->p.value[i], g), norm = rt_norm2(g, n);
    if (!(value < 4 * s->best) || !isfinite(norm)) { /* leapt out of the valley */
        memcpy(x, s->keep, (size_t)n * sizeof *x);
        s->halved++;
        forget_speed(s);
        return;
    }
    if (value < s->best) {
        s->best = value;
        memcpy(s->keep, x, (size_t)n * sizeof *x);
    }
    s->climb.rate = rate_at(v, s, step);
    if (v->old && step > 0 && rate_at(v, s, step - 1) != s->climb.rate)
        forget_speed(s);
    rt_climb_step(&s->climb, x, g);
    if (!v->old)
        rt_pixel_box(x, v->p.size, 2 * v->b);
}

typedef struct Round {
    Invert *v;
    int64_t step;
} Round;

/* What is evaluated: the pictures, shifted. */
static void place_some(void *context, int64_t lo, int64_t hi, int thread) {
    const Round *r = context;
    Invert *v = r->v;
    int64_t n = v->p.count;
    for (int64_t i = lo; i < hi; i++) {
        memcpy(v->p.x + i * n, v->x + i * n, (size_t)n * sizeof *v->x);
        rt_roll(v->p.x + i * n, v->p.size, shift(v, &v->search[i], r->step, 0),
                shift(v, &v->search[i], r->step, 1), rt_paint_room(&v->p, thread));
    }
}

static void advance_some(void *context, int64_t lo, int64_t hi, int thread) {
    const Round *r = context;
    for (int64_t i = lo; i < hi; i++)
        advance(r->v, i, r->step, rt_paint_room(&r->v->p, thread));
}

static int search(Invert *v, int64_t done, rt_error *err) {
    rt_progress *say = &v->v->cli.progress;
    int threads = v->v->m->threads;
    for (int64_t step = 0; step <= v->steps; step++) {
        Round round = {v, step};
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        rt_parallel_for(threads, v->n, 1, place_some, &round);
        if (rt_paint_eval(&v->p, step < v->steps, err))
            return err->code;
        rt_parallel_for(threads, v->n, 1, advance_some, &round);
        if (rt_progress_due(say))
            rt_progress_tick(say, "inverting", done + step * v->n,
                             (int64_t)v->nseeds * (v->steps + 1), "", -1);
    }
    rt_progress_clear(say);
    return NETRT_OK;
}

/* ---- setting up ---- */

/* Which third of the network layer `seed` lies in, as the published weights of TV are given. */
static double usual_tv(const Invert *v, int seed) {
    const rt_program *p = &v->v->m->model->program[RT_LOOK];
    double depth = p->nseeds > 1 ? (double)seed / (double)(p->nseeds - 1) : 0;
    return depth < 0.3 ? 1 : depth < 0.6 ? 10 : 100;
}

static int set_up(Invert *v, Search *s, int at, rt_error *err) {
    const rt_program *look = &v->v->m->model->program[RT_LOOK];
    int64_t chw[3], n = v->p.count;
    int seed = v->seed[at];
    rt_seed_shape(v->v->m->model, seed, chw);
    int64_t cells = chw[0] * chw[1] * chw[2];
    double area = (double)(v->p.size.h * v->p.size.w), s2 = 2 * v->norm * v->norm;
    double scale = area / (227.0 * 227.0); /* V of a smaller copy of a picture is the same */
    double b = v->b, far = v->b / 80;      /* largest pixel / 128 */
    const int64_t *jump = look->seed[seed].rf_jump;
    int64_t stride = jump[0] > jump[1] ? jump[0] : jump[1];
    *s = (Search){.seed = seed, .at = at, .reach = (stride + 2) / 4, .best = INFINITY};
    s->target = rt_alloc((size_t)cells, sizeof *s->target, "a layer's values", err);
    if (s->target)
        s->keep = rt_alloc_zero((size_t)n, sizeof *s->keep, "a picture", err);
    if (err->code)
        return err->code;
    rt_look_values(&v->v->look, seed, 0, s->target);
    double norm = rt_norm2(s->target, cells);
    s->size = norm * norm;
    if (!(s->size > 0))
        return rt_fail(err, NETRT_EUSAGE, "layer %s is silent at this picture: nothing to invert\n"
                       "help: name other layers with --layer", look->seed[seed].label);
    if (v->old) {
        s->tv = (isnan(options.tv) ? usual_tv(v, seed) : options.tv) * scale / s2;
        s->alpha = (isnan(options.alpha) ? 8e-10 : options.alpha) / (s2 * pow(far, 4));
        s->rate = (isnan(options.rate) ? 0.004 : options.rate) * s2 / 2;
    } else {
        s->tv = (isnan(options.tv) ? 1 : options.tv) * scale / (area * b * b / (6.5 * 6.5));
        s->alpha = (isnan(options.alpha) ? 1 : options.alpha) / (area * pow(b, 6));
        s->rate = (isnan(options.rate) ? 0.05 : options.rate) * b * b / 6 * area;
    }
    return rt_climb_open(&s->climb, v->old ? RT_STEP_MOMENTUM : RT_STEP_ADAGRAD, s->rate, n, err);
}

static void start(Invert *v, int64_t i) {
    float *x = v->x + i * v->p.count;
    rt_rng rng = rt_rng_make(v->v->m->seed, RT_RNG_VIZ);
    if (!v->old) { /* uniform, its .95 quantile at B / sqrt 3 */
        float most = (float)(v->b / sqrt(3) / 0.95);
        rt_rng_fill_uniform(rng, 3, (uint32_t)v->search[i].at, 0, -most, most, x, (size_t)v->p.count);
        return;
    }
    rt_rng_fill_normal(rng, 3, (uint32_t)v->search[i].at, 0, 0, 1, x, (size_t)v->p.count);
    double scale = v->norm / rt_norm2(x, v->p.count);
    for (int64_t k = 0; k < v->p.count; k++)
        x[k] *= (float)scale;
}

static void close_batch(Invert *v) {
    for (int64_t i = 0; v->search && i < v->n; i++) {
        rt_climb_close(&v->search[i].climb);
        rt_free(v->search[i].target);
        rt_free(v->search[i].keep);
    }
    rt_free(v->search);
    rt_free(v->term);
    v->search = NULL;
    v->term = NULL;
    rt_paint_close(&v->p);
}

/* Layers first .. first + n - 1 in this order, together. */
static int batch(Invert *v, int64_t first, int64_t n, rt_error *err) {
    v->n = n;
    v->term = rt_alloc_zero((size_t)n, sizeof *v->term, "terms", err);
    if (v->term)
        v->search = rt_alloc_zero((size_t)n, sizeof *v->search, "searches", err);
    for (int64_t i = 0; i < n && !err->code; i++)
        v->term[i] = (rt_term){.kind = RT_TERM_MATCH, .seed = v->seed[v->order[first + i]], .image = i};
    if (err->code || rt_paint_open(&v->p, v->v, v->term, (int)n, n, err))
        return err->code;
    if (rt_viz_record(v->v, &v->feed, v->at, err))
        return err->code;
    for (int64_t i = 0; i < n; i++) {
        if (set_up(v, &v->search[i], v->order[first + i], err))
            return err->code;
        v->term[i].target = v->search[i].target;
        v->term[i].weight = v->weight / v->search[i].size;
        start(v, i);
    }
    if (search(v, first * (v->steps + 1), err))
        return err->code;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        int at = v->order[first + i];
        for (int64_t k = 0; k < v->p.count; k++) {
            float *pixel = &v->all[at * v->p.count + k];
            float x = v->x[i * v->p.count + k] + v->p.zero[k];
            *pixel = x < 0 ? 0 : x > 255 ? 255 : x;
            double d = (double)*pixel - (double)v->p.zero[k] - (double)v->given[k];
            sum += d * d;
        }
        v->error[at][0] = v->search[i].first;
        v->error[at][1] = v->search[i].last;
        v->halved[at] = v->search[i].halved;
        v->away[at] = sqrt(sum / (double)v->p.count);
    }
    return NETRT_OK;
}

/* ---- the sheet ---- */

static int tile_of(Invert *v, const rt_paint *p, const float *pixel, rt_image *tile, rt_error *err) {
    for (int64_t k = 0; k < p->count; k++)
        v->x[k] = pixel[k] - p->zero[k];
    return rt_paint_show(p, v->x, tile, err);
}

static int draw(Invert *v, const char *title, const char *note, const char *name, rt_error *err) {
    const rt_program *look = &v->v->m->model->program[RT_LOOK];
    rt_sheet s = {0};
    rt_image tile = {0};
    rt_text csv = {0};
    rt_term none = {.kind = RT_TERM_LAYER, .seed = v->seed[0], .image = 0};
    int columns = rt_sheet_columns(v->nseeds + 1, 7);
    if (rt_paint_open(&v->p, v->v, &none, 1, 1, err) ||
        rt_sheet_open(&s, title, note, columns, (v->nseeds + columns) / columns, (int)v->p.size.w,
                      (int)v->p.size.h, 0, 2, err)) {
        rt_sheet_close(&s);
        return err->code;
    }
    rt_text_add(&csv, "layer,error_first,error_last,distance_pixels,steps,rate_halved\n");
    if (rt_paint_show(&v->p, v->given, &tile, err) == 0)
        rt_sheet_put(&s, 0, 0, &tile, "picture");
    for (int i = 0; i < v->nseeds && !err->code; i++) {
        const char *label = look->seed[v->seed[i]].label;
        char text[160];
        snprintf(text, sizeof text, "%.60s\nerror %.2g", label, v->error[i][1]);
        if (tile_of(v, &v->p, v->all + i * v->p.count, &tile, err) == 0)
            rt_sheet_put(&s, (i + 1) % columns, (i + 1) / columns, &tile, text);
        rt_text_printf(&csv, "%s,%.9g,%.9g,%.6g,%lld,%d\n", label, v->error[i][0], v->error[i][1],
                       v->away[i], (long long)v->steps, v->halved[i]);
        rt_note(&v->v->cli.progress, "%-16s relative error %.4g, %.1f pixels away", label,
                v->error[i][1], v->away[i]);
    }
    int64_t dim[4] = {v->nseeds, v->p.size.c, v->p.size.h, v->p.size.w};
    if (!err->code && rt_viz_write(v->v, &s.canvas, name, title, note, err) == 0 &&
        rt_viz_write_text(v->v, &csv, name, title, err) == 0)
        rt_viz_write_raw(v->v, v->all, 4, dim, name, err);
    rt_text_free(&csv);
    rt_image_free(&tile);
    rt_sheet_close(&s);
    return err->code;
}

/* ---- the verb ---- */

/* Of too many layers as many as are wanted, from the first to the last. */
static void spread(Invert *v) {
    int all = v->nseeds, few = (int)options.count;
    if (all <= few)
        return;
    for (int i = 0; i < few; i++)
        v->seed[i] = v->seed[few > 1 ? (i * (all - 1) + (few - 1) / 2) / (few - 1) : all - 1];
    v->nseeds = few;
    rt_note(&v->v->cli.progress, "%d of %d layers: --count=%d shows all, --layer names others", few,
            all, all);
}

static void sort(Invert *v) {
    const rt_look *look = &v->v->look;
    for (int i = 0; i < v->nseeds; i++) {
        int at = i, end = rt_look_end(look, v->seed[i]);
        for (; at > 0 && rt_look_end(look, v->seed[v->order[at - 1]]) < end; at--)
            v->order[at] = v->order[at - 1];
        v->order[at] = i;
    }
}

static int choose(Invert *v, rt_error *err) {
    static const char *const preset[] = {"mahendran2015", "mahendran2016"};
    const char *list = v->v->layers;
    int more = 1;
    v->old = strcmp(options.preset, preset[0]) == 0;
    if (!v->old && strcmp(options.preset, preset[1]) != 0) {
        const char *near = rt_nearest(options.preset, preset, 2);
        return rt_fail(err, NETRT_EUSAGE, "no preset is called '%s'%s%s%s\nhelp: mahendran2015, "
                       "mahendran2016", options.preset, near ? "; did you mean '" : "",
                       near ? near : "", near ? "'?" : "");
    }
    v->steps = options.steps >= 0 ? options.steps : v->old ? 400 : 350;
    v->weight = v->old ? 1 : isnan(options.weight) ? 100 : options.weight;
    while (list && v->nseeds < LAYERS_MAX &&
           (more = rt_viz_next_layer(v->v, &list, &v->seed[v->nseeds], err)) == 1)
        v->nseeds++;
    if (!v->v->layers) { /* the convolutions and the score */
        int score = rt_viz_score(v->v, &(rt_error){0});
        v->nseeds = rt_viz_conv_layers(v->v, v->seed, LAYERS_MAX - 1);
        if (score >= 0 && (v->nseeds == 0 || v->seed[v->nseeds - 1] != score))
            v->seed[v->nseeds++] = score;
        spread(v);
    }
    sort(v);
    if (!err->code && (v->nseeds == 0 || !(v->weight > 0)))
        return rt_fail(err, NETRT_EUSAGE, v->nseeds ? "--weight must be above 0\nhelp: 1 to 300"
                       : "there is no layer to invert\nhelp: name layers with --layer");
    return err->code;
}

static int open_invert(Invert *v, rt_error *err) {
    int64_t pixels = rt_input_count(v->v->m->model, 0), cap = v->v->look.cap;
    rt_term none = {.kind = RT_TERM_LAYER, .seed = v->seed[0], .image = 0};
    v->x = rt_alloc((size_t)(cap * pixels), sizeof *v->x, "pictures", err);
    if (v->x)
        v->given = rt_alloc((size_t)pixels, sizeof *v->given, "a picture", err);
    if (v->given)
        v->all = rt_alloc((size_t)(v->nseeds * pixels), sizeof *v->all, "pictures", err);
    if (err->code || rt_viz_one(v->v, &v->feed, &v->at, err) ||
        rt_paint_open(&v->p, v->v, &none, 1, 1, err))
        return err->code;
    rt_paint_from_input(&v->p, v->feed.input[0], v->given);
    v->norm = rt_norm2(v->given, pixels);
    float far = 0;
    for (int64_t k = 0; k < pixels; k++)
        far = fmaxf(far, fmaxf(v->p.zero[k], 255 - v->p.zero[k]));
    v->b = 80 * (double)far / 128;
    if (!(v->norm > 0))
        v->norm = 64 * sqrt((double)pixels);
    rt_paint_close(&v->p);
    return NETRT_OK;
}

static int run(rt_viz *viz, const char **operands, int n, rt_error *err) {
    Invert v = {.v = viz};
    char title[160], note[300], name[64], file[96];
    if (rt_viz_open(viz, 1, err) == 0 && choose(&v, err) == 0 &&
        rt_viz_feed(viz, operands, n, &v.feed, err) == 0 && open_invert(&v, err) == 0) {
        int64_t most = viz->look.cap < RT_BACK_MAX ? viz->look.cap : RT_BACK_MAX;
        for (int64_t first = 0; first < v.nseeds && !err->code; first += most) {
            batch(&v, first, v.nseeds - first < most ? v.nseeds - first : most, err);
            close_batch(&v);
        }
        rt_viz_sample_name(&v.feed, v.at, file, sizeof file);
        snprintf(title, sizeof title, "what layers know of %.80s", file);
        snprintf(note, sizeof note, "%s, %lld steps from noise; error: |phi - phi0|^2 / |phi0|^2",
                 options.preset, (long long)v.steps);
        snprintf(name, sizeof name, "invert-%lld", (long long)v.at);
        if (!err->code)
            draw(&v, title, note, name, err);
    }
    close_batch(&v);
    rt_free(v.x);
    rt_free(v.given);
    rt_free(v.all);
    rt_viz_feed_close(viz, &v.feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Searching"},
    {"preset", 0, RT_ARG_TEXT, "NAME", &options.preset, 0, 0,
     "mahendran2015 or mahendran2016 (default)"},
    {"steps", 0, RT_ARG_INT, "N", &options.steps, 0, 1000000, "steps (default: the preset's)"},
    {"count", 0, RT_ARG_INT, "N", &options.count, 1, LAYERS_MAX,
     "layers at most, spread over the network, where --layer names none (12)"},
    {"rate", 0, RT_ARG_REAL, "X", &options.rate, 0, 1, "rate (default: 2015 .004, 2016 .05)"},
    {"tv", 0, RT_ARG_REAL, "X", &options.tv, 0, 1,
     "weight of total variation (default: 2015 1 to 100 by depth, 2016 1)"},
    {"alpha", 0, RT_ARG_REAL, "X", &options.alpha, 0, 1,
     "weight of the 6-norm (default: 2015 8e-10, 2016 1)"},
    {"weight", 0, RT_ARG_REAL, "C", &options.weight, 0, 1,
     "2016: weight of the layer's error (default: 100)"},
};

const rt_technique rt_technique_invert = {
    {"invert", "pictures that layers cannot tell from the given one", "[OPTIONS] [PICTURE]",
     "invert cat.jpg\ninvert --image=7 --layer=c1,f5 --preset=mahendran2015"},
    run, args, sizeof args / sizeof *args};
