/* rt_embed.c: the space of a layer, flattened: its principal components and t-SNE, each sample a
 * point of its class's colour; and a map of the pictures themselves.
 *
 * theory: rt_pca.h, rt_tsne.h.  t-SNE starts from the first 50 components, as its authors' programs.
 * ensures: the same bits for any number of threads.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_pca.h"
#include "rt_rows.h"
#include "rt_scatter.h"
#include "rt_tsne.h"

enum { COMPONENTS = 50, LIMIT = 1500, LIMIT_MOST = 20000, THUMB = 32, THUMB_MOST = 112, MAP = 1280 };
enum { BOTH, PCA, TSNE };

static struct {
    int method;
    double perplexity, theta;
    int64_t iterations;
} options = {BOTH, 50, 0.5, 1000};

typedef struct Embed {
    rt_viz *v;
    rt_feed *feed;
    int seed;
    const char *label;
    rt_rows rows;
    rt_pca pca;
    double *part;   /* n x pca.k coordinates */
    double *first;  /* n x 2: the first two of them */
    double *tsne;   /* n x 2 */
    double kl;
    int32_t *class;
    int64_t classes;
} Embed;

static int tick(void *context, int64_t iteration, double kl) {
    Embed *e = context;
    char text[48];
    if (rt_progress_due(&e->v->cli.progress)) {
        snprintf(text, sizeof text, "KL %.4f", kl);
        rt_progress_tick(&e->v->cli.progress, "t-SNE", iteration + 1, options.iterations, text, -1);
    }
    return rt_cli_signal;
}

static int compute(Embed *e, rt_error *err) {
    int64_t n = e->rows.n;
    int threads = e->v->m->threads;
    size_t room = (size_t)n;
    if (rt_pca_fit(&e->pca, e->rows.x, n, e->rows.dim, COMPONENTS, threads, err))
        return err->code;
    e->part = rt_alloc(room, (size_t)(e->pca.k + 1) * sizeof *e->part, "components", err);
    e->first = rt_alloc_zero(room, 2 * sizeof *e->first, "components", err);
    e->tsne = rt_alloc_zero(room, 2 * sizeof *e->tsne, "a layout", err);
    if (err->code)
        return err->code;
    rt_pca_apply(&e->pca, e->rows.x, n, e->part, threads);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < 2 && k < e->pca.k; k++)
            e->first[2 * i + k] = e->part[i * e->pca.k + k];
    if (options.method == PCA)
        return NETRT_OK;
    rt_tsne t = {.perplexity = options.perplexity, .theta = options.theta,
                 .iterations = options.iterations, .seed = e->v->m->seed, .threads = threads,
                 .tick = tick, .context = e};
    rt_tsne_run(&t, e->part, n, e->pca.k, e->tsne, err);
    e->kl = t.kl;
    rt_progress_clear(&e->v->cli.progress);
    return rt_cli_signal ? rt_fail(err, 128 + rt_cli_signal, "stopped") : err->code;
}

/* ---- files ---- */

static const char *class_name(void *context, int64_t c, char buf[24]) {
    const Embed *e = context;
    return rt_rows_class_name(&e->rows, e->v, c, buf);
}

static int draw_points(Embed *e, const char *title, const char *note, rt_error *err) {
    char pca[120], tsne[160], name[128];
    rt_scatter panel[2];
    int panels = 0;
    rt_classes classes = {e->class, e->classes, class_name, e};
    snprintf(pca, sizeof pca, "PCA: components 1 and 2 have %.1f and %.1f %% of the variance",
             100 * rt_pca_ratio(&e->pca, 0), e->pca.k > 1 ? 100 * rt_pca_ratio(&e->pca, 1) : 0.0);
    snprintf(tsne, sizeof tsne, "t-SNE: perplexity %.4g, KL %.4f; axes have no unit",
             fmin(options.perplexity, (double)(e->rows.n - 1) / 3), e->kl);
    if (options.method != TSNE)
        panel[panels++] = (rt_scatter){pca, e->first, e->rows.n};
    if (options.method != PCA)
        panel[panels++] = (rt_scatter){tsne, e->tsne, e->rows.n};
    rt_image canvas = {0};
    rt_text svg = {0};
    snprintf(name, sizeof name, "embed-%s", e->label);
    if (rt_scatter_canvas(&canvas, title, note, panel, panels, &classes, err) == 0)
        rt_viz_write(e->v, &canvas, name, title, note, err);
    rt_scatter_svg(&svg, title, note, panel, panels, &classes);
    if (!err->code)
        rt_viz_write_svg(e->v, &svg, name, title, note, err);
    rt_image_free(&canvas);
    rt_text_free(&svg);
    return err->code;
}

/* Few samples are shown larger. */
static int thumb_side(int64_t n) {
    int side = (int)((double)MAP / 2.5 / sqrt((double)n));
    return side < THUMB ? THUMB : side > THUMB_MOST ? THUMB_MOST : side;
}

/* The pictures where their points are, on a grid; the first one of a cell is shown, all are dots
 * below. */
static int draw_pictures(Embed *e, const char *title, rt_error *err) {
    const double *at = options.method == PCA ? e->first : e->tsne;
    const rt_rows *r = &e->rows;
    int step_x = (int)r->side[1] + 5, step_y = (int)r->side[0] + 5, shown = 0;
    int columns = MAP / step_x, cells = columns * (MAP / step_y);
    rt_scatter_fit fit = rt_scatter_fit_of(at, r->n, (double)(MAP - 2 * r->side[1]));
    char note[200], name[128];
    rt_image canvas = {0};
    char *taken = rt_alloc_zero((size_t)cells + 1, 1, "cells", err);
    if (taken && rt_canvas_new(&canvas, MAP, RT_SHEET_HEADER + MAP, 0xffffffu, err) == 0) {
        for (int dots = 1; dots >= 0; dots--)
            for (int64_t i = 0; i < r->n; i++) {
                double p[2];
                rt_scatter_place(&fit, MAP, at + 2 * i, p);
                if (dots) {
                    rt_scatter_mark(&canvas, (int)lrint(p[0]), RT_SHEET_HEADER + (int)lrint(p[1]),
                                    2, e->class[i]);
                    continue;
                }
                int cx = (int)(p[0] / step_x), cy = (int)(p[1] / step_y), cell = cy * columns + cx;
                if (cx < 0 || cx >= columns || cell < 0 || cell >= cells || taken[cell])
                    continue;
                rt_image tile = {.width = (int)r->side[1], .height = (int)r->side[0], .channels = 3,
                                 .data = r->picture + i * r->side[0] * r->side[1] * 3};
                int x = cx * step_x, y = RT_SHEET_HEADER + cy * step_y;
                taken[cell] = 1;
                shown++;
                rt_canvas_rect(&canvas, x, y, step_x - 1, step_y - 1, rt_class_color(e->class[i]));
                rt_canvas_blit(&canvas, x + 2, y + 2, &tile, 1);
            }
        snprintf(note, sizeof note, "%s; %d of %lld samples as pictures, the first one of each place; "
                 "frames and dots: classes", options.method == PCA ? "PCA" : "t-SNE", shown,
                 (long long)r->n);
        rt_sheet_header(&canvas, title, note);
        snprintf(name, sizeof name, "embed-%s-pictures", e->label);
        rt_viz_write(e->v, &canvas, name, title, note, err);
    }
    rt_free(taken);
    rt_image_free(&canvas);
    return err->code;
}

static int write_tables(Embed *e, rt_error *err) {
    rt_text csv = {0};
    char name[128], what[256], buf[24];
    const rt_rows *r = &e->rows;
    double sum = 0;
    rt_text_add(&csv, "sample,name,class,class_name,predicted,pca1,pca2,tsne1,tsne2\n");
    float *raw = rt_alloc((size_t)r->n, 4 * sizeof *raw, "coordinates", err);
    for (int64_t i = 0; raw && i < r->n; i++) {
        const double all[4] = {e->first[2 * i], e->first[2 * i + 1], e->tsne[2 * i],
                               e->tsne[2 * i + 1]};
        rt_viz_sample_name(e->feed, r->sample[i], what, sizeof what);
        rt_text_printf(&csv, "%lld,", (long long)r->sample[i]);
        rt_text_json(&csv, what);
        rt_text_printf(&csv, ",%d,", (int)e->class[i]);
        rt_text_json(&csv, e->class[i] >= 0 ? class_name(e, e->class[i], buf) : "");
        rt_text_printf(&csv, ",%d", r->answer ? (int)r->answer[i] : -1);
        for (int k = 0; k < 4; k++) {
            rt_text_printf(&csv, ",%.9g", all[k]);
            raw[4 * i + k] = (float)all[k];
        }
        rt_text_add(&csv, "\n");
    }
    const int64_t dim[2] = {r->n, 4};
    snprintf(name, sizeof name, "embed-%s", e->label);
    if (!err->code && rt_viz_write_text(e->v, &csv, name, "coordinates", err) == 0)
        rt_viz_write_raw(e->v, raw, 2, dim, name, err);
    rt_free(raw);
    rt_text_free(&csv);
    csv = (rt_text){0};
    rt_text_add(&csv, "component,variance,ratio,cumulative\n");
    for (int64_t k = 0; k < e->pca.k; k++) {
        sum += rt_pca_ratio(&e->pca, k);
        rt_text_printf(&csv, "%lld,%.9g,%.9g,%.9g\n", (long long)k + 1, e->pca.variance[k],
                       rt_pca_ratio(&e->pca, k), sum);
    }
    snprintf(name, sizeof name, "embed-%s-pca", e->label);
    if (!err->code)
        rt_viz_write_text(e->v, &csv, name, "explained variance", err);
    rt_text_free(&csv);
    return err->code;
}

/* Colours: the data's classes, without them the network's answers. */
static int find_classes(Embed *e, rt_error *err) {
    e->class = rt_alloc((size_t)e->rows.n, sizeof *e->class, "classes", err);
    for (int64_t i = 0; e->class && i < e->rows.n; i++) {
        e->class[i] = (int32_t)rt_rows_class(&e->rows, i);
        e->classes = e->class[i] >= e->classes ? e->class[i] + 1 : e->classes;
    }
    return err->code;
}

static int one_layer(Embed *e, rt_error *err) {
    rt_viz *v = e->v;
    char title[160], note[300];
    e->label = v->m->model->program[RT_LOOK].seed[e->seed].label;
    int64_t limit = v->limit > 0 ? v->limit : LIMIT;
    if (limit > LIMIT_MOST)
        return rt_fail(err, NETRT_ELIMIT, "%lld samples are too many\nhelp: --limit=%d or less",
                       (long long)limit, LIMIT_MOST);
    int64_t count = rt_data_count(e->feed->ds);
    if (rt_rows_gather(&e->rows, v, e->feed, e->seed, limit, 0,
                       thumb_side(count < limit ? count : limit), err) == 0 &&
        find_classes(e, err) == 0 && compute(e, err) == 0) {
        snprintf(title, sizeof title, "the space of layer %s of %.60s", e->label, v->m->model->name);
        snprintf(note, sizeof note, "%lld samples, %lld numbers each%s; colour and shape: %s",
                 (long long)e->rows.n, (long long)e->rows.dim,
                 e->rows.dim < e->rows.layer_dim ? " (the mean of every map)" : "",
                 e->rows.label    ? "the data's class"
                 : e->rows.answer ? "the class predicted (the data have none)"
                                  : "one (there are no classes)");
        if (draw_points(e, title, note, err) == 0 && draw_pictures(e, title, err) == 0)
            write_tables(e, err);
    }
    rt_rows_free(&e->rows);
    rt_pca_close(&e->pca);
    rt_free(e->part);
    rt_free(e->first);
    rt_free(e->tsne);
    rt_free(e->class);
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    const char *list = v->layers;
    int more = 1;
    if (rt_viz_open(v, 1, err) == 0 && rt_viz_feed(v, operands, n, &feed, err) == 0) {
        Embed e = {.v = v, .feed = &feed};
        if (!list && (e.seed = rt_rows_layer(v, err)) >= 0)
            one_layer(&e, err);
        while (list && !err->code && (more = rt_viz_next_layer(v, &list, &e.seed, err)) == 1) {
            one_layer(&e, err);
            e = (Embed){.v = v, .feed = &feed};
        }
    }
    rt_viz_feed_close(v, &feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Layout (of the first 1,500 samples, or --limit)"},
    {"method", 0, RT_ARG_CHOICE, "both|pca|tsne", &options.method, 0, 0, "what to draw"},
    {"perplexity", 0, RT_ARG_REAL, "X", &options.perplexity, 0, 1,
     "neighbours that t-SNE counts (50; at most a third of the samples)"},
    {"theta", 0, RT_ARG_REAL, "X", &options.theta, 0, 1,
     "how coarsely t-SNE sums up what is far (0.5; 0: exactly)"},
    {"iterations", 0, RT_ARG_INT, "N", &options.iterations, 1, 100000, "steps of t-SNE (1000)"},
};

const rt_technique rt_technique_embed = {
    {"embed", "the space of a layer in the plane: PCA and t-SNE", "[OPTIONS] [DATA]",
     "embed\nembed --layer=conv1,conv2 --limit=2000\nembed --method=pca --data=mnist"},
    run, args, sizeof args / sizeof *args};
