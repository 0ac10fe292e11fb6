/* rt_adverse.c: pictures changed so little that nobody sees it and so that the network errs.
 *
 * theory: with x in shares of the pixel range, L the cross-entropy of the true class:
 *   fgsm  x + eps sign dL/dx            (Goodfellow, Shlens and Szegedy 2015, section 4)
 *   pgd   from a random point of the box |x' - x| <= eps: x' + step sign dL/dx', back into the box,
 *         `steps` times                 (Madry et al. 2018, section 2.1)
 *   fool  steps of one length along the gradient of a wanted class's score, until it is predicted
 * Always cut to pixels that exist.  Constants unless told: fgsm: Goodfellow's .25 where
 * pictures are grey, 8/255 where they have colour; pgd: rt_attack_usual.
 * ensures: results are numbers, not rounded to whole pixels; a pixel moves eps at most.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_attack.h"
#include "rt_climb.h"
#include "rt_paint.h"
#include "rt_rng.h"
#include "rt_sheet.h"
#include "rt_svg.h"

static struct {
    double eps, step, rate;
    int64_t steps;
} options = {.eps = NAN, .step = NAN, .rate = NAN, .steps = -1};

enum { TIMES = 10, POINTS_MAX = 8 }; /* difference shown times, at most; values of eps in a table */

typedef struct Attack {
    rt_viz *v;
    rt_feed feed;
    rt_paint p;
    rt_climb climb;
    const char *verb;
    int score;           /* layer of the score */
    int random;          /* start anywhere in the box */
    double eps, step;    /* pixels */
    int64_t steps;
    rt_term *term;       /* one per picture */
    int64_t *truth;      /* the class that each is to leave */
    float *clean, *probs;
    float *before;       /* scores and probabilities of the clean picture */
} Attack;

/* ---- one batch: a->p.n pictures in a->clean ---- */

static float *picture(const Attack *a, float *all, int64_t i) {
    return all + i * a->p.count;
}

/* Most probable class of recorded picture i; *sure its probability. */
static int64_t predicted(const Attack *a, int64_t i, double *sure) {
    rt_viz_answer(a->v, i, a->probs);
    int64_t best = rt_best(a->v->m->model, a->probs);
    *sure = (double)a->probs[best];
    return best;
}

/* Where the attack begins.  sample: of the first picture, so that noise is the sample's own. */
static void start(Attack *a, const int64_t *sample) {
    rt_rng rng = rt_rng_make(a->v->m->seed, RT_RNG_VIZ);
    for (int64_t i = 0; i < a->p.n; i++) {
        float *x = picture(a, a->p.x, i), *clean = picture(a, a->clean, i);
        if (a->random)
            rt_rng_fill_uniform(rng, 1, (uint32_t)sample[i], 0, (float)-a->eps, (float)a->eps, x,
                                (size_t)a->p.count);
        for (int64_t k = 0; k < a->p.count; k++)
            x[k] = a->random ? x[k] + clean[k] : clean[k];
    }
    rt_paint_clamp(&a->p);
}

/* Back into the box around the clean pictures, and to pixels that exist. */
static void project(Attack *a) {
    float eps = (float)a->eps;
    for (int64_t i = 0; i < a->p.n * a->p.count; i++) {
        float d = a->p.x[i] - a->clean[i];
        a->p.x[i] = d > eps ? a->clean[i] + eps : d < -eps ? a->clean[i] - eps : a->p.x[i];
    }
    rt_paint_clamp(&a->p);
}

/* Ends with the changed pictures recorded. */
static int attack(Attack *a, const int64_t *sample, rt_error *err) {
    start(a, sample);
    a->climb.rate = a->step;
    for (int64_t step = 0; step < a->steps; step++) {
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (rt_paint_eval(&a->p, 1, err))
            return err->code;
        for (int64_t i = 0; i < a->p.n; i++)
            rt_climb_step(&a->climb, picture(a, a->p.x, i), picture(a, a->p.g, i));
        project(a);
    }
    return rt_paint_eval(&a->p, 0, err);
}

/* The clean pictures of a->feed's buffers; classes: the data's, else --class's, else predicted. */
static int take(Attack *a, int64_t n, rt_error *err) {
    const rt_model *model = a->v->m->model;
    int labelled = rt_data_classes(a->feed.ds) == model->classes;
    a->p.n = n;
    for (int64_t i = 0; i < n; i++)
        rt_paint_from_input(&a->p, a->feed.input[0] + i * a->p.count, picture(a, a->clean, i));
    memcpy(a->p.x, a->clean, (size_t)(n * a->p.count) * sizeof *a->clean);
    if (rt_paint_eval(&a->p, 0, err))
        return err->code;
    for (int64_t i = 0; i < n; i++) {
        double sure;
        a->truth[i] = labelled ? a->feed.label[i] : predicted(a, i, &sure);
        a->term[i].unit.c = a->truth[i];
    }
    return NETRT_OK;
}

/* ---- opening ---- */

static int constants(Attack *a, rt_error *err) {
    int grey = a->v->prep.channels == 1, pgd = a->random;
    rt_adversary usual = rt_attack_usual(a->v->m->model);
    double eps = pgd ? usual.eps : grey ? 0.25 : 8.0 / 255, step = usual.step;
    eps = isnan(options.eps) ? eps : options.eps;
    if (eps > 1)
        return rt_fail(err, NETRT_EUSAGE, "--eps is a share of the pixel range, 0 to 1\n"
                       "help: --eps=%.4f is %g of 255", eps / 255, eps);
    step = isnan(options.step) ? (isnan(options.eps) ? step : eps / 4) : options.step;
    a->eps = eps * 255;
    a->step = (pgd ? step : eps) * 255;
    a->steps = !pgd ? 1 : options.steps >= 0 ? options.steps : usual.steps;
    return NETRT_OK;
}

static int open_attack(Attack *a, int kind, double sign, const char **operands, int n,
                       rt_error *err) {
    rt_viz *v = a->v;
    if (rt_viz_open(v, 1, err) || rt_viz_feed(v, operands, n, &a->feed, err))
        return err->code;
    a->score = rt_viz_score(v, err);
    const rt_model *model = v->m->model;
    if (a->score < 0)
        return err->code;
    if (model->classes < 2 || model->ninputs != 1)
        return rt_fail(err, NETRT_EUSAGE, "%s needs classes and one picture as input; %s has not\n"
                       "help: `%s maximize` paints for any layer", a->verb, model->name,
                       v->cli.program);
    if (v->target >= model->classes)
        return rt_fail(err, NETRT_EUSAGE, "there is no class %lld\nhelp: there are 0 to %lld",
                       (long long)v->target, (long long)model->classes - 1);
    int64_t cap = v->look.cap;
    a->term = rt_alloc_zero((size_t)cap, sizeof *a->term, "terms", err);
    if (!err->code)
        a->truth = rt_alloc_zero((size_t)cap, sizeof *a->truth, "classes", err);
    if (!err->code)
        a->probs = rt_alloc_zero((size_t)model->classes, sizeof *a->probs, "scores", err);
    for (int64_t i = 0; !err->code && i < cap; i++)
        a->term[i] = (rt_term){.kind = kind, .seed = a->score, .image = i, .weight = sign};
    if (!err->code)
        a->before = rt_alloc_zero(2 * (size_t)model->classes, sizeof *a->before, "scores", err);
    if (err->code || rt_paint_open(&a->p, v, a->term, (int)cap, cap, err))
        return err->code;
    a->p.objective.whole = 1; /* answers are read */
    a->clean = rt_alloc_zero((size_t)(cap * a->p.count), sizeof *a->clean, "pictures", err);
    if (!err->code)
        rt_climb_open(&a->climb, RT_STEP_SIGN, 0, a->p.count, err);
    return err->code;
}

static void close_attack(Attack *a) {
    rt_climb_close(&a->climb);
    rt_paint_close(&a->p);
    rt_free(a->term);
    rt_free(a->truth);
    rt_free(a->probs);
    rt_free(a->before);
    rt_free(a->clean);
    rt_viz_feed_close(a->v, &a->feed);
}

/* ---- one picture ---- */

static void class_text(const Attack *a, const char *head, int64_t class, double sure, char *text,
                       size_t size) {
    char buf[24];
    snprintf(text, size, "%s\nclass %.60s\n%.4g %%", head, netrt_class_name(a->v->m, class, buf),
             100 * sure);
}

static void keep_answers(Attack *a) {
    int64_t classes = a->v->m->model->classes;
    rt_look_values(&a->v->look, a->score, 0, a->before);
    rt_viz_answer(a->v, 0, a->before + classes);
}

/* Scores and probabilities of every class, before and after.  The result is recorded. */
static int write_answers(Attack *a, const char *name, rt_error *err) {
    rt_text csv = {0};
    int64_t classes = a->v->m->model->classes;
    float *scores = a->v->look.seed;
    rt_look_values(&a->v->look, a->score, 0, scores);
    rt_viz_answer(a->v, 0, a->probs);
    rt_text_add(&csv, "class,score_before,score_after,probability_before,probability_after\n");
    for (int64_t i = 0; i < classes; i++)
        rt_text_printf(&csv, "%lld,%.9g,%.9g,%.9g,%.9g\n", (long long)i, (double)a->before[i],
                       (double)scores[i], (double)a->before[classes + i], (double)a->probs[i]);
    rt_viz_write_text(a->v, &csv, name, "answers before and after", err);
    rt_text_free(&csv);
    return err->code;
}

/* How often a mean change is shown: less often where most of it would be beyond grey's ends. */
static int times_of(double mean) {
    return mean * (double)TIMES <= 100 ? TIMES : mean * 5 <= 100 ? 5 : mean * 2 <= 100 ? 2 : 1;
}

/* Original, difference, result.  p.x[0] is recorded. */
static int show(Attack *a, int64_t at, int64_t before, double sure, const char *how, rt_error *err) {
    rt_paint *p = &a->p;
    char title[160], note[300], text[200], name[96], file[96];
    rt_image tile = {0};
    rt_sheet s = {0};
    double after, most = 0, sum = 0;
    int64_t now = predicted(a, 0, &after);
    for (int64_t k = 0; k < p->count; k++) {
        double d = (double)p->x[k] - (double)a->clean[k];
        most = fmax(most, fabs(d));
        sum += fabs(d);
    }
    int times = times_of(sum / (double)p->count);
    for (int64_t k = 0; k < p->count; k++)
        p->g[k] = (float)(128 + times * ((double)p->x[k] - (double)a->clean[k])) - p->zero[k];
    rt_viz_sample_name(&a->feed, at, file, sizeof file);
    snprintf(title, sizeof title, "%s: %.80s", a->verb, file);
    snprintf(note, sizeof note, "%s; largest change %.3g of 255, mean %.3g; middle: change x %d, "
             "grey = none", how, most, sum / (double)p->count, times);
    if (rt_sheet_open(&s, title, note, 3, 1, (int)p->size.w, (int)p->size.h, 180, 3, err) == 0 &&
        rt_paint_show(p, a->clean, &tile, err) == 0) {
        class_text(a, "before", before, sure, text, sizeof text);
        rt_sheet_put(&s, 0, 0, &tile, text);
        snprintf(text, sizeof text, "change x %d", times);
        if (rt_paint_show(p, p->g, &tile, err) == 0)
            rt_sheet_put(&s, 1, 0, &tile, text);
        class_text(a, "after", now, after, text, sizeof text);
        if (!err->code && rt_paint_image(p, 0, &tile, err) == 0)
            rt_sheet_put(&s, 2, 0, &tile, text);
        snprintf(name, sizeof name, "%s-%lld", a->verb, (long long)at);
        int64_t dim[3] = {p->size.c, p->size.h, p->size.w};
        for (int64_t k = 0; k < p->count; k++)
            p->g[k] = p->x[k] + p->zero[k];
        if (!err->code && rt_viz_write(a->v, &s.canvas, name, title, note, err) == 0 &&
            rt_viz_write_raw(a->v, p->g, 3, dim, name, err) == 0)
            write_answers(a, name, err);
    }
    rt_image_free(&tile);
    rt_sheet_close(&s);
    return err->code;
}

static int one_picture(Attack *a, rt_error *err) {
    int64_t at = 0;
    double sure;
    char how[80];
    if (rt_viz_one(a->v, &a->feed, &at, err) || take(a, 1, err))
        return err->code;
    int64_t before = predicted(a, 0, &sure);
    keep_answers(a);
    if (a->v->target >= 0)
        a->truth[0] = a->term[0].unit.c = a->v->target;
    if (attack(a, &at, err))
        return err->code;
    snprintf(how, sizeof how, "eps %.4g of 1, %lld step%s", a->eps / 255, (long long)a->steps,
             a->steps == 1 ? "" : "s");
    return show(a, at, before, sure, how, err);
}

/* ---- a data set: error against eps ---- */

typedef struct Point {
    double eps, sure; /* sum of the probabilities of wrong answers */
    int64_t wrong;
} Point;

static void count(Attack *a, Point *point) {
    for (int64_t i = 0; i < a->p.n; i++) {
        double sure;
        if (predicted(a, i, &sure) == a->truth[i])
            continue;
        point->wrong++;
        point->sure += sure;
    }
}

static int batch_points(Attack *a, Point *point, int points, rt_error *err) {
    double step = a->step, eps = a->eps;
    for (int i = 0; i < points && !err->code; i++) {
        a->eps = point[i].eps;
        a->step = a->random ? step * point[i].eps / eps : point[i].eps;
        if (attack(a, a->feed.index, err) == 0)
            count(a, &point[i]);
    }
    a->step = step;
    a->eps = eps;
    return err->code;
}

static int write_curve(Attack *a, const Point *point, int points, int64_t images, rt_error *err) {
    rt_text csv = {0}, svg = {0};
    double x[POINTS_MAX + 1], y[POINTS_MAX + 1];
    char title[160];
    rt_progress *say = &a->v->cli.progress;
    rt_text_add(&csv, "eps,images,wrong,error_percent,confidence_of_errors_percent\n");
    for (int i = 0; i < points; i++) {
        double wrong = (double)point[i].wrong, all = (double)images;
        double sure = wrong > 0 ? 100 * point[i].sure / wrong : 0;
        x[i] = point[i].eps / 255;
        y[i] = 100 - 100 * wrong / all;
        rt_text_printf(&csv, "%.6g,%lld,%lld,%.4f,%.4f\n", x[i], (long long)images,
                       (long long)point[i].wrong, 100 * wrong / all, sure);
        rt_note(say, "eps %-8.4g error %6.2f %%, wrong answers at %.1f %% on average", x[i],
                100 * wrong / all, sure);
    }
    rt_series series = {.name = a->verb, .x = x, .y = y, .n = points, .points = 1};
    snprintf(title, sizeof title, "%s: accuracy of %.40s on %lld pictures", a->verb,
             a->v->m->model->name, (long long)images);
    rt_svg_plot(&svg, &(rt_plot){.title = title, .xlabel = "eps, share of the pixel range",
                                 .ylabel = "accuracy, %", .series = &series, .nseries = 1}, 1);
    if (rt_viz_write_text(a->v, &csv, a->verb, title, err) == 0)
        rt_viz_write_svg(a->v, &svg, a->verb, title, "", err);
    rt_text_free(&csv);
    rt_text_free(&svg);
    return err->code;
}

static int data_set(Attack *a, rt_error *err) {
    rt_cli *cli = &a->v->cli;
    int64_t total = rt_data_count(a->feed.ds), images = 0, cap = a->v->look.cap;
    int points = a->random ? 5 : POINTS_MAX + 1;
    Point point[POINTS_MAX + 1] = {{0}};
    total = a->v->limit < total ? a->v->limit : total;
    for (int i = 0; i < points; i++)
        point[i].eps = a->eps * i / (points - 1);
    for (int64_t first = 0; first < total && !err->code; first += cap) {
        int64_t want = total - first < cap ? total - first : cap;
        int64_t n = rt_feed_load_range(&a->feed, first, want, rt_cli_skipped, cli);
        if (n < 0)
            return rt_fail(err, NETRT_ELIMIT, "not enough memory to load pictures");
        if (n > 0 && take(a, n, err) == 0)
            batch_points(a, point, points, err);
        images += n;
        if (rt_progress_due(&cli->progress))
            rt_progress_tick(&cli->progress, a->verb, first + want, total, "", -1);
    }
    rt_progress_clear(&cli->progress);
    if (!err->code && images == 0)
        return rt_fail(err, NETRT_EDATA, "no picture can be read");
    return err->code ? err->code : write_curve(a, point, points, images, err);
}

static int run_box(rt_viz *v, const char *verb, int random, const char **operands, int n,
                   rt_error *err) {
    Attack a = {.v = v, .verb = verb, .random = random};
    if (open_attack(&a, RT_TERM_CROSS, 1, operands, n, err) == 0 && constants(&a, err) == 0) {
        if (v->limit > 0)
            data_set(&a, err);
        else
            one_picture(&a, err);
    }
    close_attack(&a);
    return err->code;
}

static int run_fgsm(rt_viz *v, const char **operands, int n, rt_error *err) {
    return run_box(v, "fgsm", 0, operands, n, err);
}

static int run_pgd(rt_viz *v, const char **operands, int n, rt_error *err) {
    return run_box(v, "pgd", 1, operands, n, err);
}

/* ---- fool ---- */

/* --class, else the class that the network thinks least likely. */
static int64_t wanted(const Attack *a) {
    int64_t least = 0;
    rt_viz_answer(a->v, 0, a->probs);
    for (int64_t i = 1; i < a->v->m->model->classes; i++)
        least = a->probs[i] < a->probs[least] ? i : least;
    return a->v->target >= 0 ? a->v->target : least;
}

/* No part of a step is lost on pixels that are at their end already. */
static void stay_inside(rt_paint *p) {
    for (int64_t k = 0; k < p->count; k++)
        if ((p->g[k] < 0 && p->x[k] <= -p->zero[k]) || (p->g[k] > 0 && p->x[k] >= 255 - p->zero[k]))
            p->g[k] = 0;
}

/* *step: steps made; the table gets one row per step. */
static int ascend(Attack *a, int64_t want, rt_text *csv, int64_t *step, rt_error *err) {
    double sure;
    for (*step = 0;; ++*step) {
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (rt_paint_eval(&a->p, 1, err))
            return err->code;
        int64_t now = predicted(a, 0, &sure);
        rt_text_printf(csv, "%lld,%lld,%.9g,%.9g,%lld\n", (long long)*step, (long long)want,
                       a->p.value[0], (double)a->probs[want], (long long)now);
        if (now == want || *step == a->steps)
            return NETRT_OK;
        stay_inside(&a->p);
        rt_climb_step(&a->climb, a->p.x, a->p.g);
        rt_paint_clamp(&a->p);
        if (rt_progress_due(&a->v->cli.progress))
            rt_progress_tick(&a->v->cli.progress, "climbing", *step, a->steps, "", -1);
    }
}

static int run_fool(rt_viz *v, const char **operands, int n, rt_error *err) {
    Attack a = {.v = v, .verb = "fool"};
    rt_text csv = {0};
    int64_t at = 0, steps = 0;
    double sure;
    char how[160], name[96], buf[24];
    if (open_attack(&a, RT_TERM_UNIT, 1, operands, n, err) == 0 &&
        rt_viz_one(v, &a.feed, &at, err) == 0 && take(&a, 1, err) == 0) {
        int64_t before = predicted(&a, 0, &sure), want = wanted(&a);
        keep_answers(&a);
        a.steps = options.steps >= 0 ? options.steps : 1000;
        a.term[0].unit.c = want;
        a.climb.rule = RT_STEP_NORM;
        a.climb.rate = (isnan(options.rate) ? 0.25 : options.rate) * sqrt((double)a.p.count);
        rt_text_add(&csv, "step,class,score,probability,predicted\n");
        if (ascend(&a, want, &csv, &steps, err) == 0) {
            rt_progress_clear(&v->cli.progress);
            snprintf(how, sizeof how, "towards %.60s, %lld steps",
                     netrt_class_name(v->m, want, buf), (long long)steps);
            snprintf(name, sizeof name, "fool-steps-%lld", (long long)at);
            if (show(&a, at, before, sure, how, err) == 0)
                rt_viz_write_text(v, &csv, name, "fooling, step by step", err);
        }
    }
    rt_text_free(&csv);
    close_attack(&a);
    return err->code;
}

/* ---- verbs ---- */

static const rt_arg box_args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Changing"},
    {"eps", 0, RT_ARG_REAL, "X", &options.eps, 0, 1,
     "most that a pixel changes, share of its range (default: grey .25, pgd .3; colour 8/255; pgd: the spec's)"},
    {"step", 0, RT_ARG_REAL, "X", &options.step, 0, 1,
     "pgd: of one step (default: grey .01, colour 2/255; with --eps: a quarter of it)"},
    {"steps", 0, RT_ARG_INT, "N", &options.steps, 0, 1000000,
     "pgd: how many (default: grey 40, colour 20)"},
};
static const rt_arg fool_args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Climbing"},
    {"steps", 0, RT_ARG_INT, "N", &options.steps, 0, 1000000, "at most (default: 1000)"},
    {"rate", 0, RT_ARG_REAL, "PIXELS", &options.rate, 0, 1,
     "root mean square of one step, of 255 (default: 0.25)"},
};

const rt_technique rt_technique_fool = {
    {"fool", "the least change that makes a picture another class", "[OPTIONS] [PICTURE]",
     "fool cat.jpg\nfool --image=7 --class=3"},
    run_fool, fool_args, sizeof fool_args / sizeof *fool_args};
const rt_technique rt_technique_fgsm = {
    {"fgsm", "one step that misleads; with --limit: error against eps", "[OPTIONS] [PICTURE]",
     "fgsm cat.jpg\nfgsm --image=7 --eps=0.1\nfgsm --limit=1000"},
    run_fgsm, box_args, 2};
const rt_technique rt_technique_pgd = {
    {"pgd", "many steps that mislead; with --limit: error against eps", "[OPTIONS] [PICTURE]",
     "pgd cat.jpg\npgd --image=7 --eps=0.1 --steps=100\npgd --limit=1000"},
    run_pgd, box_args, sizeof box_args / sizeof *box_args};
