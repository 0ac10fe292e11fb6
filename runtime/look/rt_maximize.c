/* rt_maximize.c: pictures that excite one unit, map or class most, found by climbing.
 *
 * theory: Simonyan et al. 2014, section 2 (class model: score less lambda |x|^2, from the zero
 * image); Yosinski et al. 2015, section 3 (decay, blur, cutting small and useless pixels; its four
 * published sets of constants are presets).  One round: pixels that exist, gradient, step, then the
 * regularizers; the last round changes nothing, and the best picture ever seen is shown.
 *
 * Mahendran and Vedaldi 2016, section 4 (total variation, 6-norm of pixels, box, jitter, AdaGrad:
 * rt_invert.c has the formulas); Olah, Mordvintsev and Schubert 2017 (rt_spectrum.h: frequencies and
 * independent colours, Adam at rate .05, jitter; 128 steps where they take 512, which saturates).
 *
 * Published rates belong to one network.  Here every one of the four sets takes steps that make the
 * value grow by 2 to first order, as two of them were published (the others say rate 100, or bound
 * the rate by 100); the class model's lambda, unless given, is such that a linear score has its best
 * picture at a root mean square of MODEL_PIXELS; and the layer's weight against the regularizers of
 * 2016 is such that moving all pixels by B along the first gradient would gain WEIGHT.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_climb.h"
#include "rt_paint.h"
#include "rt_par.h"
#include "rt_rng.h"
#include "rt_sheet.h"
#include "rt_spectrum.h"

typedef struct Recipe {
    const char *name;
    int rule;
    int64_t steps;
    double rate;        /* NAN: 0.05 / lambda */
    double noise;       /* of the start, pixels */
    double decay, blur; /* share lost per step; sigma */
    int64_t blur_every;
    double norm, benefit; /* percentiles cut */
    double energy;        /* lambda of |x|^2; NAN: by the first gradient */
    double tv, six;       /* weights of V and of the 6-norm, as rt_invert.c scales them */
    int64_t jitter;       /* pixels; -1: a quarter of the layer's stride; -2: 1/28 of the picture */
    int spectral;
} Recipe;

enum { MODEL_PIXELS = 40, WEIGHT = 30 };
#define PROGRESS RT_STEP_PROGRESS
static const Recipe recipes[] = {
    {"yosinski1", PROGRESS, 500, 2, 10, 0, 0.5, 4, 50, 0, 0, 0, 0, 0, 0},
    {"yosinski2", PROGRESS, 750, 2, 10, 0.3, 0, 1, 20, 0, 0, 0, 0, 0, 0},
    {"yosinski3", PROGRESS, 1000, 2, 10, 1e-4, 1, 4, 0, 0, 0, 0, 0, 0, 0},
    {"yosinski4", PROGRESS, 1000, 2, 10, 0, 0.5, 4, 0, 90, 0, 0, 0, 0, 0},
    {"simonyan", RT_STEP_MOMENTUM, 300, NAN, 0, 0, 0, 1, 0, 0, NAN, 0, 0, 0, 0},
    {"mahendran2016", RT_STEP_ADAGRAD, 300, 0.05, 10, 0, 0, 1, 0, 0, 0, 1, 1, -1, 0},
    {"olah", RT_STEP_ADAM, 128, 0.05, 0.01, 0, 0, 1, 0, 0, 0, 0, 0, -2, 1},
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

static struct {
    const char *preset;
    int64_t steps;
    double rate, decay, blur, norm, benefit, energy, tv, six;
    int64_t jitter;
    int whole;
} options = {.preset = "olah", .steps = -1, .rate = NAN, .decay = NAN, .blur = NAN,
             .norm = NAN, .benefit = NAN, .energy = NAN, .tv = NAN, .six = NAN, .jitter = -1};

static double chosen(double option, double recipe) {
    return isnan(option) ? recipe : option;
}

static int find_recipe(Recipe *r, rt_error *err) {
    const char *word[RECIPES];
    *r = (Recipe){0};
    for (int i = 0; i < RECIPES; i++) {
        word[i] = recipes[i].name;
        if (strcmp(recipes[i].name, options.preset) == 0)
            *r = recipes[i];
    }
    if (!r->name) {
        const char *near = rt_nearest(options.preset, word, RECIPES);
        return rt_fail(err, NETRT_EUSAGE, "no preset is called '%s'%s%s%s\nhelp: yosinski1 to "
                       "yosinski4, simonyan, mahendran2016, olah", options.preset, near ? "; did you mean '" : "",
                       near ? near : "", near ? "'?" : "");
    }
    r->steps = options.steps >= 0 ? options.steps : r->steps;
    r->rate = chosen(options.rate, r->rate);
    r->decay = chosen(options.decay, r->decay);
    r->blur = chosen(options.blur, r->blur);
    r->norm = chosen(options.norm, r->norm);
    r->benefit = chosen(options.benefit, r->benefit);
    r->energy = chosen(options.energy, r->energy);
    r->tv = chosen(options.tv, r->tv);
    r->six = chosen(options.six, r->six);
    r->jitter = options.jitter >= 0 ? options.jitter : r->jitter;
    return NETRT_OK;
}

/* ---- one batch of pictures ---- */

typedef struct Climbers {
    rt_paint p;
    Recipe recipe;
    rt_climb *climb; /* one per picture: rules that divide by the gradient's length */
    double *energy;  /* lambda of each; with tv or six the layer's weight */
    double b;        /* 80 for pixels of -128 to 128 */
    int64_t reach;   /* of jitter: shifts are 0 .. reach - 1 */
    rt_spectrum spectrum;
    int64_t numbers;    /* that are moved in each picture: pixels, or frequencies */
    float *coef, *back; /* frequencies; their gradients */
    float *best;
    double *first, *top, *last;
    int64_t *when;
} Climbers;

static int64_t shift(const Climbers *c, int64_t i, int64_t step, int axis) {
    uint32_t bits[4];
    if (c->reach < 2)
        return 0;
    rt_rng_block(rt_rng_make(c->p.v->m->seed, RT_RNG_VIZ), 6, (uint32_t)i, (uint32_t)step, 0, bits);
    return rt_rng_below(bits[axis], (uint32_t)c->reach);
}

/* g becomes the gradient of weight times the value less the terms of 2016, times h w. */
static void natural(Climbers *c, int64_t i, int64_t step, float *x, float *g) {
    rt_paint *p = &c->p;
    const Recipe *r = &c->recipe;
    double area = (double)(p->size.h * p->size.w), b = c->b, first = rt_norm2(g, p->count);
    if (step == 0)
        c->energy[i] = first > 0 ? (double)WEIGHT / (first * b * sqrt((double)p->count)) : 0;
    for (int64_t k = 0; k < p->count; k++)
        g[k] *= (float)(c->energy[i] * area);
    if (r->tv > 0)
        rt_tv(x, p->size, 2, -r->tv * area / (227 * 227) / (b * b / (6.5 * 6.5)), g);
    if (r->six > 0)
        rt_pixel_norm6(x, p->size, -r->six / pow(b, 6), g);
}

typedef struct Round {
    Climbers *c;
    int64_t step;
} Round;

/* Pictures lo .. hi - 1 from their frequencies. */
static void paint_some(void *context, int64_t lo, int64_t hi, int thread) {
    const Round *r = context;
    Climbers *c = r->c;
    for (int64_t i = lo; i < hi; i++) {
        float *x = c->p.x + i * c->p.count;
        rt_spectrum_paint(&c->spectrum, thread, c->coef + i * c->numbers, shift(c, i, r->step, 0),
                          shift(c, i, r->step, 1), x);
        for (int64_t k = 0; k < c->p.count; k++)
            x[k] -= c->p.zero[k];
    }
}

/* Their steps. */
static void move_frequencies(void *context, int64_t lo, int64_t hi, int thread) {
    const Round *r = context;
    Climbers *c = r->c;
    for (int64_t i = lo; i < hi; i++) {
        float *x = c->p.x + i * c->p.count, *back = c->back + i * c->numbers;
        for (int64_t k = 0; k < c->p.count; k++)
            x[k] += c->p.zero[k];
        rt_spectrum_back(&c->spectrum, thread, x, c->p.g + i * c->p.count, shift(c, i, r->step, 0),
                         shift(c, i, r->step, 1), back);
        rt_climb_step(&c->climb[i], c->coef + i * c->numbers, back);
    }
}

/* What rt_paint_eval reads, where pixels are moved: rolled. */
static void roll_some(void *context, int64_t lo, int64_t hi, int thread) {
    const Round *r = context;
    rt_paint *p = &r->c->p;
    for (int64_t i = lo; i < hi; i++)
        rt_roll(p->x + i * p->count, p->size, shift(r->c, i, r->step, 0), shift(r->c, i, r->step, 1),
                rt_paint_room(p, thread));
}

/* The way back: a picture and its gradient as they were before. */
static void roll_back(Climbers *c, int64_t i, int64_t step, float *room) {
    rt_paint *p = &c->p;
    int64_t dy = shift(c, i, step, 0), dx = shift(c, i, step, 1);
    rt_roll(p->x + i * p->count, p->size, -dy, -dx, room);
    rt_roll(p->g + i * p->count, p->size, -dy, -dx, room);
}

static void change(Climbers *c, int64_t i, int64_t step, float *room) {
    rt_paint *p = &c->p;
    const Recipe *r = &c->recipe;
    float *x = p->x + i * p->count, *g = p->g + i * p->count;
    int terms = r->tv > 0 || r->six > 0;
    if (terms)
        natural(c, i, step, x, g);
    else if (step == 0) { /* lambda and rate that the recipe leaves to the network */
        double model = (double)MODEL_PIXELS * sqrt((double)p->count);
        c->energy[i] = isnan(r->energy) ? rt_norm2(g, p->count) / (2 * model) : r->energy;
        c->climb[i].rate = isnan(r->rate) && c->energy[i] > 0 ? 0.05 / c->energy[i] : r->rate;
    }
    if (!terms && c->energy[i] > 0)
        rt_alpha_norm(x, p->count, 2, -c->energy[i], g);
    if (!(rt_norm2(g, p->count) > 0))
        return;
    rt_climb_step(&c->climb[i], x, g);
    if (terms)
        rt_pixel_box(x, p->size, 2 * c->b);
    for (int64_t k = 0; r->decay > 0 && k < p->count; k++)
        x[k] *= (float)(1 - r->decay);
    if (r->blur > 0 && step % r->blur_every == 0)
        rt_blur(x, p->size, r->blur, room);
    rt_cut_pixels(x, g, p->size, RT_CUT_NORM, r->norm, room);
    rt_cut_pixels(x, g, p->size, RT_CUT_BENEFIT, r->benefit, room);
}

static void remember(Climbers *c, int64_t i, int64_t step) {
    rt_paint *p = &c->p;
    c->last[i] = p->value[i];
    if (step == 0)
        c->first[i] = p->value[i];
    if (step > 0 && p->value[i] <= c->top[i])
        return;
    c->top[i] = p->value[i];
    c->when[i] = step;
    memcpy(c->best + i * p->count, p->x + i * p->count, (size_t)p->count * sizeof *c->best);
}

/* Behind an evaluation. */
static void move_some(void *context, int64_t lo, int64_t hi, int thread) {
    const Round *r = context;
    Climbers *c = r->c;
    for (int64_t i = lo; i < hi; i++) {
        if (!c->recipe.spectral)
            roll_back(c, i, r->step, rt_paint_room(&c->p, thread));
        remember(c, i, r->step);
        if (!c->recipe.spectral && r->step < c->recipe.steps)
            change(c, i, r->step, rt_paint_room(&c->p, thread));
    }
}

static int climb(Climbers *c, int64_t done, int64_t total, rt_error *err) {
    rt_paint *p = &c->p;
    rt_progress *say = &p->v->cli.progress;
    rt_paint_clear(p);
    if (c->recipe.noise > 0 && !c->recipe.spectral)
        rt_paint_noise(p, c->recipe.noise);
    for (int64_t step = 0; step <= c->recipe.steps; step++) {
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        Round round = {c, step};
        rt_paint_clamp(p);
        rt_parallel_for(p->v->m->threads, p->n, 1, c->recipe.spectral ? paint_some : roll_some, &round);
        if (rt_paint_eval(p, step < c->recipe.steps, err))
            return err->code;
        rt_parallel_for(p->v->m->threads, p->n, 1, move_some, &round);
        if (c->recipe.spectral && step < c->recipe.steps)
            rt_parallel_for(p->v->m->threads, p->n, 1, move_frequencies, &round);
        if (rt_progress_due(say))
            rt_progress_tick(say, "climbing", done + step * p->n,
                             total * (c->recipe.steps + 1), "", -1);
    }
    memcpy(p->x, c->best, (size_t)(p->count * p->n) * sizeof *p->x);
    return NETRT_OK;
}

static void close_climbers(Climbers *c) {
    for (int64_t i = 0; c->climb && i < c->p.n; i++)
        rt_climb_close(&c->climb[i]);
    rt_free(c->climb);
    rt_free(c->best);
    rt_free(c->first);
    rt_free(c->top);
    rt_free(c->last);
    rt_free(c->when);
    rt_free(c->energy);
    rt_free(c->coef);
    rt_free(c->back);
    rt_spectrum_close(&c->spectrum);
    rt_paint_close(&c->p);
}

static int64_t reach_of(const Climbers *c, int seed) {
    const int64_t *jump = c->p.v->m->model->program[RT_LOOK].seed[seed].rf_jump;
    int64_t stride = jump[0] > jump[1] ? jump[0] : jump[1];
    int64_t side = c->p.size.h < c->p.size.w ? c->p.size.h : c->p.size.w;
    return c->recipe.jitter >= 0    ? c->recipe.jitter + 1
           : c->recipe.jitter == -1 ? (stride + 2) / 4
                                    : 1 + (side + 14) / 28;
}

/* Frequencies of every picture, at first noise. */
static int open_spectrum(Climbers *c, rt_error *err) {
    rt_paint *p = &c->p;
    if (rt_spectrum_open(&c->spectrum, p->size, c->reach, p->v->prep.bgr,
                         p->v->m->threads, err))
        return err->code;
    size_t n = (size_t)rt_spectrum_count(&c->spectrum);
    c->numbers = (int64_t)n;
    c->coef = rt_alloc((size_t)p->n * n, sizeof *c->coef, "frequencies", err);
    if (c->coef)
        c->back = rt_alloc((size_t)p->n * n, sizeof *c->back, "frequencies", err);
    for (int64_t i = 0; !err->code && i < p->n; i++)
        rt_rng_fill_normal(rt_rng_make(p->v->m->seed, RT_RNG_VIZ), 7, (uint32_t)i, 0, 0,
                           (float)c->recipe.noise, c->coef + (size_t)i * n, n);
    return err->code;
}

static int open_climbers(Climbers *c, rt_viz *v, const rt_term *term, int64_t n, rt_error *err) {
    if (rt_paint_open(&c->p, v, term, (int)n, n, err))
        return err->code;
    size_t count = (size_t)n;
    c->numbers = c->p.count;
    c->reach = reach_of(c, term[0].seed);
    if (c->recipe.spectral && open_spectrum(c, err))
        return err->code;
    double far = 0, rate = c->recipe.rate;
    for (int64_t k = 0; k < c->p.count; k++)
        far = fmax(far, fmax((double)c->p.zero[k], 255 - (double)c->p.zero[k]));
    c->b = 80 * far / 128;
    if (c->recipe.rule == RT_STEP_ADAGRAD)
        rate *= c->b * c->b / 6;
    c->climb = rt_alloc_zero(count, sizeof *c->climb, "climbers", err);
    if (!err->code)
        c->best = rt_alloc(count * (size_t)c->p.count, sizeof *c->best, "pictures", err);
    double **part[] = {&c->first, &c->top, &c->last, &c->energy};
    for (int i = 0; i < 4 && !err->code; i++)
        *part[i] = rt_alloc_zero(count, sizeof(double), "values", err);
    if (!err->code)
        c->when = rt_alloc_zero(count, sizeof *c->when, "values", err);
    for (int64_t i = 0; i < n && !err->code; i++) {
        rt_climb_open(&c->climb[i], c->recipe.rule, rate, c->numbers, err);
        c->climb[i].limit = 1e8;
    }
    return err->code;
}

/* ---- the sheet ---- */

typedef struct Job {
    rt_viz *v;
    int seed, score;    /* score: the layer is the network's score */
    int64_t chw[3];
    int64_t unit[1024]; /* maps or classes */
    int64_t nunits;
    rt_sheet sheet;
    rt_text csv;
} Job;

static void caption_of(const Job *j, int64_t unit, double value, char *text, size_t size) {
    char buf[24];
    const char *name = j->score ? netrt_class_name(j->v->m, unit, buf) : NULL;
    if (name)
        snprintf(text, size, "%.40s\n%.4g", name, value);
    else
        snprintf(text, size, "map %lld\n%.4g", (long long)unit, value);
}

static int show(Job *j, const Climbers *c, int64_t from, rt_error *err) {
    rt_image tile = {0};
    for (int64_t i = 0; i < c->p.n && !err->code; i++) {
        char text[96];
        int at = (int)(from + i);
        caption_of(j, j->unit[at], c->top[i], text, sizeof text);
        if (rt_paint_image(&c->p, i, &tile, err) == 0)
            rt_sheet_put(&j->sheet, at % j->sheet.columns, at / j->sheet.columns, &tile, text);
        rt_text_printf(&j->csv, "%s,%lld,%.9g,%.9g,%lld,%.9g\n",
                       j->v->m->model->program[RT_LOOK].seed[j->seed].label,
                       (long long)j->unit[at], c->first[i], c->top[i], (long long)c->when[i],
                       c->last[i]);
    }
    rt_image_free(&tile);
    return err->code;
}

static int paint_units(Job *j, const Recipe *recipe, rt_error *err) {
    int64_t together = j->v->look.cap;
    for (int64_t from = 0; from < j->nunits && !err->code; from += together) {
        int64_t n = j->nunits - from < together ? j->nunits - from : together;
        rt_term term[64];
        n = n < 64 ? n : 64;
        together = together < 64 ? together : 64;
        for (int64_t i = 0; i < n; i++)
            term[i] = (rt_term){.kind = options.whole ? RT_TERM_MAP : RT_TERM_UNIT,
                                .seed = j->seed,
                                .image = i,
                                .unit = {j->unit[from + i], j->chw[1] / 2, j->chw[2] / 2},
                                .weight = 1};
        Climbers c = {.recipe = *recipe};
        j->v->look.through = 1;
        if (open_climbers(&c, j->v, term, n, err) == 0 &&
            climb(&c, from * (recipe->steps + 1), j->nunits, err) == 0)
            show(j, &c, from, err);
        close_climbers(&c);
    }
    rt_progress_clear(&j->v->cli.progress);
    return err->code;
}

/* The classes or maps asked for: --class, --maps, else the first nine classes, sixteen maps. */
static int choose(Job *j, rt_error *err) {
    rt_viz *v = j->v;
    int64_t few = v->maps ? (int64_t)(sizeof j->unit / sizeof *j->unit) : j->score ? 10 : 16;
    if (v->target >= 0 && (!j->score || v->target >= j->chw[0]))
        return rt_fail(err, NETRT_EUSAGE, "there is no class %lld here\nhelp: classes are 0 to "
                       "%lld; maps of a layer are named by --layer and --maps",
                       (long long)v->target, (long long)v->m->model->classes - 1);
    for (int64_t i = 0; i < j->chw[0] && j->nunits < few; i++)
        if (v->target >= 0 ? i == v->target : rt_viz_wants_map(v, i))
            j->unit[j->nunits++] = i;
    if (!j->nunits)
        return rt_fail(err, NETRT_EUSAGE, "--maps names no map\nhelp: there are 0 to %lld",
                       (long long)j->chw[0] - 1);
    return NETRT_OK;
}

static int paint_layer(Job *j, const Recipe *r, rt_error *err) {
    const char *label = j->v->m->model->program[RT_LOOK].seed[j->seed].label;
    rt_seed_shape(j->v->m->model, j->seed, j->chw);
    j->nunits = 0;
    if (choose(j, err))
        return err->code;
    char title[160], note[200], name[128];
    snprintf(title, sizeof title, "what excites %s most", label);
    snprintf(note, sizeof note, "%s of %s, %s, %lld steps, best one each; the number: its value",
             j->score ? "score" : options.whole ? "sum of the map" : "middle unit of the map",
             label, r->name, (long long)r->steps);
    int columns = rt_sheet_columns(j->nunits, 8);
    j->csv = (rt_text){0};
    rt_text_add(&j->csv, "layer,unit,first,best,step,last\n");
    if (rt_sheet_open(&j->sheet, title, note, columns, (int)((j->nunits + columns - 1) / columns),
                      j->v->prep.width, j->v->prep.height, 0, 2, err) == 0 &&
        paint_units(j, r, err) == 0) {
        snprintf(name, sizeof name, "maximize-%s", label);
        if (rt_viz_write(j->v, &j->sheet.canvas, name, title, note, err) == 0)
            rt_viz_write_text(j->v, &j->csv, name, title, err);
    }
    rt_sheet_close(&j->sheet);
    rt_text_free(&j->csv);
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Recipe r;
    Job j = {.v = v};
    if (n)
        return rt_fail(err, NETRT_EUSAGE, "maximize takes no picture ('%s')\nhelp: it starts from "
                       "noise", operands[0]);
    if (find_recipe(&r, err) || rt_viz_open(v, 1, err))
        return err->code;
    int score = rt_viz_score(v, v->layers ? &(rt_error){0} : err), more = 1;
    if (!v->layers && score >= 0) {
        j.seed = score;
        j.score = v->m->model->classes > 1;
        return paint_layer(&j, &r, err);
    }
    for (const char *list = v->layers; !err->code && list &&
         (more = rt_viz_next_layer(v, &list, &j.seed, err)) == 1;) {
        j.score = j.seed == score && v->m->model->classes > 1;
        paint_layer(&j, &r, err);
    }
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Climbing"},
    {"preset", 0, RT_ARG_TEXT, "NAME", &options.preset, 0, 0,
     "olah (default), mahendran2016, simonyan, yosinski1 to yosinski4"},
    {"steps", 0, RT_ARG_INT, "N", &options.steps, 0, 1000000, "steps (default: the preset's)"},
    {"rate", 0, RT_ARG_REAL, "X", &options.rate, 0, 1, "rate of the steps"},
    {"decay", 0, RT_ARG_REAL, "X", &options.decay, 0, 1, "share of each pixel lost per step"},
    {"blur", 0, RT_ARG_REAL, "SIGMA", &options.blur, 0, 1, "Gaussian blur between steps, pixels"},
    {"cut-small", 0, RT_ARG_REAL, "PERCENT", &options.norm, 0, 1, "pixels of smallest norm to 0"},
    {"cut-useless", 0, RT_ARG_REAL, "PERCENT", &options.benefit, 0, 1,
     "pixels that contribute least to 0"},
    {"energy", 0, RT_ARG_REAL, "LAMBDA", &options.energy, 0, 1, "lambda of |x|^2, pixels"},
    {"tv", 0, RT_ARG_REAL, "X", &options.tv, 0, 1, "weight of total variation (mahendran2016: 1)"},
    {"alpha", 0, RT_ARG_REAL, "X", &options.six, 0, 1, "weight of the 6-norm (mahendran2016: 1)"},
    {"jitter", 0, RT_ARG_INT, "PIXELS", &options.jitter, 0, 4096,
     "shift before each step, at most (default: mahendran2016 and olah a few, else 0)"},
    {"whole-map", 0, RT_ARG_FLAG, NULL, &options.whole, 0, 0,
     "the sum of a map instead of its middle unit"},
};

const rt_technique rt_technique_maximize = {
    {"maximize", "pictures that excite a class or a map most", "[OPTIONS]",
     "maximize\nmaximize --layer=conv2 --maps=0-15\nmaximize --class=3 --preset=simonyan"},
    run, args, sizeof args / sizeof *args};
