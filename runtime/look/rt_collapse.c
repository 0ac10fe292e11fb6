/* rt_collapse.c: neural collapse of a trained classifier, or of all epochs that training kept: NC1 to
 * NC4 (rt_nc.h) of the last hidden layer over the training data.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_epochs.h"
#include "rt_nc.h"
#include "rt_rows.h"
#include "rt_svg.h"
#include "rt_weights.h"

enum { LIMIT = 10000 };

static struct {
    const char *run;
} options = {NULL};

typedef struct Collapse {
    rt_viz *v;
    rt_feed feed;
    int seed, weight; /* the layer; the classifier's weights, -1: none of that shape */
    int means;        /* the classifier is a 1x1 convolution, then the mean of each map */
    char why[160];    /* why it is not one, though it begins so */
    int64_t n;
    double *epoch;    /* n: number of the epoch, or of the file */
    rt_nc *nc;
    double error;     /* of the last one, on these samples */
} Collapse;

/* The weights that read the layer: of the layer behind it, a row of `dim` numbers per class. */
static int classifier(const Collapse *c, int64_t dim) {
    const rt_model *model = c->v->m->model;
    const rt_program *look = &model->program[RT_LOOK];
    for (int i = 0; i < model->nparams && c->seed + 1 < look->nseeds; i++) {
        const rt_param *p = &model->param[i];
        if (p->rank >= 2 && p->dim[0] == model->classes &&
            rt_param_count(p) == model->classes * dim &&
            strcmp(p->label, look->seed[c->seed + 1].label) == 0)
            return i;
    }
    return -1;
}

/* The first operation of a row of the table that a linear classifier of `from`'s maps may not have,
 * NULL if there is none.  The mean over the whole map sets *mean. */
static const char *not_linear(const char *detail, const rt_layer *from, int *mean) {
    static const char *const plain[] = {"flatten", "softmax", "dropout"};
    char pool[64];
    snprintf(pool, sizeof pool, "avgpool %lldx%lld", (long long)from->out[1],
             (long long)from->out[2]);
    for (const char *part = detail, *end; *part; part = *end ? end + 3 : end) {
        int fine = 0;
        end = strstr(part, " + ");
        end = end ? end : part + strlen(part);
        for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
            fine |= strncmp(part, plain[i], strlen(plain[i])) == 0;
        size_t n = strcspn(part, "/+ "); /* the word */
        n += part[n] == ' ' && part + n < end ? 1 + strcspn(part + n + 1, "/+ ") : 0;
        if ((n == 14 && memcmp(part, "global_avgpool", n) == 0) ||
            (n == strlen(pool) && memcmp(part, pool, n) == 0))
            *mean = fine = 1;
        if (!fine)
            return part;
    }
    return NULL;
}

/* Is the score made of the layer by a 1x1 convolution and the mean of each map?  Where nothing else
 * stands between them they may change places: the weights then read the means of the layer's maps. */
static int mean_classifier(Collapse *c) {
    const rt_model *m = c->v->m->model;
    const rt_program *look = &m->program[RT_LOOK];
    const rt_layer *row = m->layer, *end = m->layer + m->nlayers;
    int mean = 0, score = rt_viz_score(c->v, &(rt_error){0});
    if (score < 0 || c->seed + 1 >= look->nseeds)
        return 0;
    while (row < end && strcmp(row->label, look->seed[c->seed + 1].label) != 0)
        row++;
    if (row == end || strcmp(row->op, "conv") != 0 || row->nin != 1 || row->in[0] < 0 ||
        row->out[0] != m->classes)
        return 0;
    const rt_layer *conv = row, *from = &m->layer[row->in[0]];
    const char *wrong = row->detail, *last = look->seed[score].label;
    if (strcmp(from->label, look->seed[c->seed].label) != 0 || from->out[1] * from->out[2] == 1)
        return 0;
    if (strcmp(wrong, "conv 1x1") == 0 || strncmp(wrong, "conv 1x1 + ", 11) == 0)
        wrong = not_linear(wrong + (wrong[8] ? 11 : 8), from, &mean);
    while (!wrong && (strcmp(row->label, last) != 0 ||
                      (row + 1 < end && strcmp(row[1].label, last) == 0))) {
        if (++row == end || row->nin != 1 || row->in[0] != row - 1 - m->layer)
            return 0;
        wrong = not_linear(row->detail, from, &mean);
    }
    if (wrong)
        snprintf(c->why, sizeof c->why, "%.40s is no linear classifier of the maps' means (%.*s)",
                 conv->label, (int)(strstr(wrong, " + ") ? strstr(wrong, " + ") - wrong : 40), wrong);
    return !wrong && mean;
}

static int measure(Collapse *c, int64_t at, rt_error *err) {
    rt_viz *v = c->v;
    rt_rows rows = {0};
    float *w = NULL;
    c->means = mean_classifier(c);
    if (rt_rows_gather(&rows, v, &c->feed, c->seed, v->limit > 0 ? v->limit : LIMIT, c->means, 0,
                       err) == 0) {
        int64_t wrong = 0;
        c->weight = classifier(c, rows.dim);
        if (c->weight >= 0)
            w = rt_alloc((size_t)rt_param_count(&v->m->model->param[c->weight]), sizeof *w,
                         "weights", err);
        if (w)
            rt_param_read(v->m, c->weight, w);
        for (int64_t i = 0; i < rows.n; i++)
            wrong += rows.answer[i] != rows.label[i];
        c->error = (double)wrong / (double)rows.n;
        if (!err->code)
            rt_nc_measure(&c->nc[at], rows.x, rows.n, rows.dim, rows.label, v->m->model->classes, w,
                          rows.answer, v->m->threads, err);
    }
    rt_free(w);
    rt_rows_free(&rows);
    return err->code;
}

/* ---- files ---- */

enum { MEASURES = 7 };
static const char *const name[MEASURES] = {
    "NC1 within/between", "NC2 lengths, means", "NC2 lengths, W", "NC2 angles, means",
    "NC2 angles, W",      "NC3 W - means",      "NC4 not nearest"};
static const char *const column[MEASURES] = {"nc1", "nc2_norm_means", "nc2_norm_weights",
                                             "nc2_angle_means", "nc2_angle_weights", "nc3", "nc4"};

static void figures(const rt_nc *nc, double v[MEASURES]) {
    const double all[MEASURES] = {nc->within,      nc->norm_means,    nc->norm_weights,
                                  nc->angle_means, nc->angle_weights, nc->duality,
                                  nc->nearest};
    memcpy(v, all, sizeof all);
}

static int write_table(const Collapse *c, rt_error *err) {
    rt_text csv = {0};
    rt_text_add(&csv, "epoch");
    for (int k = 0; k < MEASURES; k++)
        rt_text_printf(&csv, ",%s", column[k]);
    rt_text_add(&csv, ",classes\n");
    for (int64_t i = 0; i < c->n; i++) {
        double v[MEASURES];
        figures(&c->nc[i], v);
        rt_text_printf(&csv, "%g", c->epoch[i]);
        for (int k = 0; k < MEASURES; k++) {
            rt_text_add(&csv, ",");
            if (isfinite(v[k]))
                rt_text_printf(&csv, "%.9g", v[k]);
        }
        rt_text_printf(&csv, ",%lld\n", (long long)c->nc[i].classes);
    }
    rt_viz_write_text(c->v, &csv, "collapse", "neural collapse", err);
    rt_text_free(&csv);
    return err->code;
}

/* One curve per measure; what is 0 or was not measured leaves a gap in the logarithmic plot. */
static int draw(const Collapse *c, rt_error *err) {
    rt_series s[MEASURES];
    char title[200], note[200];
    rt_text svg = {0};
    int series = 0;
    double *y = rt_alloc((size_t)c->n, MEASURES * sizeof *y, "curves", err);
    for (int k = 0; y && k < MEASURES; k++) {
        int any = 0;
        for (int64_t i = 0; i < c->n; i++) {
            double v[MEASURES];
            figures(&c->nc[i], v);
            y[k * c->n + i] = v[k] > 0 ? v[k] : NAN;
            any |= v[k] > 0;
        }
        if (any)
            s[series++] = (rt_series){.name = name[k], .x = c->epoch, .y = y + k * c->n, .n = c->n,
                                      .points = 1};
    }
    snprintf(title, sizeof title, "%.60s: neural collapse of layer %.60s", c->v->m->model->name,
             c->v->m->model->program[RT_LOOK].seed[c->seed].label);
    snprintf(note, sizeof note, "all go to 0 when features collapse; values of 0 are not drawn");
    rt_plot plot = {.title = title, .xlabel = "epoch", .ylabel = "measure (logarithmic)", .log_y = 1,
                    .width = 1240, .height = 520, .series = s, .nseries = series};
    if (y && series) {
        rt_svg_plot(&svg, &plot, 1);
        rt_viz_write_svg(c->v, &svg, "collapse", title, note, err);
    }
    rt_text_free(&svg);
    rt_free(y);
    return err->code;
}

static int print(Collapse *c, rt_error *err) {
    rt_text o = {0};
    double v[MEASURES];
    figures(&c->nc[c->n - 1], v);
    rt_text_printf(&o, "layer %s, %lld classes, %.2f %% of the samples wrong%s\n",
                   c->v->m->model->program[RT_LOOK].seed[c->seed].label,
                   (long long)c->nc[c->n - 1].classes, 100 * c->error,
                   c->n > 1 ? " (last epoch)" : "");
    for (int k = 0; k < MEASURES; k++)
        if (isfinite(v[k]))
            rt_text_printf(&o, "  %-24s %.4g\n", name[k], v[k]);
    if (c->weight >= 0 && c->means)
        rt_text_printf(&o, "  of the mean of each map, which the 1x1 convolution %s classifies\n",
                       c->v->m->model->param[c->weight].label);
    if (c->weight < 0)
        rt_text_printf(&o, "  without weights: %s\n",
                       c->why[0] ? c->why : "no dense layer of these numbers follows");
    return c->v->cli.quiet ? (rt_text_free(&o), NETRT_OK) : rt_cli_print(&o, err);
}

/* ---- the verb ---- */

static int open_data(Collapse *c, rt_error *err) {
    rt_viz *v = c->v;
    int64_t classes = v->m->model->classes;
    const char *list = v->layers;
    if (rt_cli_data(&v->cli, 0, 0, &v->cli.ds, err))
        return err->code;
    if (classes < 2 || rt_data_classes(v->cli.ds) != classes)
        return rt_fail(err, NETRT_EUSAGE, "neural collapse is measured on samples of the network's "
                       "%lld classes, %s has %d\nhelp: labelled data with --data; `%s embed` needs "
                       "none", (long long)classes, rt_data_uri(v->cli.ds),
                       rt_data_classes(v->cli.ds), v->cli.program);
    if (list ? rt_viz_next_layer(v, &list, &c->seed, err) != 1
             : (c->seed = rt_rows_layer(v, err)) < 0)
        return err->code;
    if (rt_feed_open(&c->feed, v->m, v->cli.ds, v->look.cap, 0, 1, err))
        return err->code;
    if (c->feed.mapped)
        return rt_fail(err, NETRT_EUSAGE, "%s classifies every pixel: there is no class per picture"
                       "\nhelp: `%s embed` shows the space of a layer", v->m->model->name,
                       v->cli.program);
    return NETRT_OK;
}

static int run_all(Collapse *c, const char **files, int n, const char *dir, const rt_epochs *kept,
                   rt_error *err) {
    char path[4400];
    c->n = n ? n : kept->n ? kept->n : 1;
    c->epoch = rt_alloc_zero((size_t)c->n, sizeof *c->epoch, "measures", err);
    c->nc = rt_alloc_zero((size_t)c->n, sizeof *c->nc, "measures", err);
    for (int64_t i = 0; i < c->n && !err->code; i++) {
        c->epoch[i] = n ? (double)i + 1 : kept->n ? (double)kept->epoch[i] : 0;
        if (!n && kept->n)
            rt_epochs_path(dir, kept->epoch[i], path, sizeof path);
        if ((n || kept->n) && rt_weights_load(c->v->m, n ? files[i] : path, 0, NULL, err))
            rt_advise(err, "weights of this network, as `train` leaves them");
        else
            measure(c, i, err);
    }
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Collapse c = {.v = v, .weight = -1};
    rt_epochs *kept = rt_alloc_zero(1, sizeof *kept, "epochs", err);
    const char *given = v->cli.weights, *dir = options.run ? options.run : "run";
    char path[4400];
    if (kept && !n && (options.run || !given))
        rt_epochs_find(dir, kept, err);
    if (!err->code && options.run && kept->n == 0)
        rt_fail(err, NETRT_EIO, "%s/ holds no weights of single epochs\nhelp: train with "
                "--keep=all, or name files of weights", dir);
    if (!err->code && (n || kept->n) && !given) {
        if (!n)
            rt_epochs_path(dir, kept->epoch[0], path, sizeof path);
        v->cli.weights = n ? operands[0] : path; /* to open the network with */
    }
    if (!err->code && rt_viz_open(v, 1, err) == 0 && open_data(&c, err) == 0 &&
        run_all(&c, operands, n, dir, kept, err) == 0 && write_table(&c, err) == 0 &&
        (c.n == 1 || draw(&c, err) == 0))
        print(&c, err);
    v->cli.weights = given;
    rt_free(c.epoch);
    rt_free(c.nc);
    rt_free(kept);
    rt_viz_feed_close(v, &c.feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0,
     "Neural collapse (of the training data, the first 10,000 samples or --limit)"},
    {"run", 0, RT_ARG_TEXT, "DIR", &options.run, 0, 0,
     "all epochs that `train --keep` left there (default: those in run/, if any)"},
};

const rt_technique rt_technique_collapse = {
    {"collapse", "do features of a class become one point? NC1 to NC4", "[OPTIONS] [WEIGHTS..]",
     "collapse\ncollapse --run=run\ncollapse early.safetensors late.safetensors"},
    run, args, sizeof args / sizeof *args};
