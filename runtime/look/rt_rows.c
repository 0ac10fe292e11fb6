/* rt_rows.c: a layer's answers to many samples (rt_rows.h). */
#include "rt_rows.h"

#include <string.h>

#include "rt_alloc.h"

int rt_rows_layer(const rt_viz *v, rt_error *err) {
    const rt_model *model = v->m->model;
    int score = rt_viz_score(v, err);
    for (int i = score; i > 0; i--)
        for (int p = 0; p < model->nparams; p++)
            if (model->param[p].rank >= 2 && !(model->param[p].flags & RT_PARAM_CONSTANT) &&
                strcmp(model->param[p].label, model->program[RT_LOOK].seed[i].label) == 0)
                return i - 1;
    return score;
}

static int open_rows(rt_rows *r, const rt_viz *v, const rt_feed *feed, int64_t total,
                     int pictures, rt_error *err) {
    const struct rt_prep *prep = &v->prep;
    size_t n = (size_t)(total > 0 ? total : 1);
    r->x = rt_alloc(n, (size_t)r->dim * sizeof *r->x, "a layer's values", err);
    r->sample = rt_alloc(n, sizeof *r->sample, "sample numbers", err);
    if (rt_data_classes(feed->ds) > 0 && !feed->mapped)
        r->label = rt_alloc(n, sizeof *r->label, "labels", err);
    if (v->m->model->classes > 1)
        r->answer = rt_alloc(n, sizeof *r->answer, "answers", err);
    if (!pictures)
        return err->code;
    int longer = prep->height > prep->width ? prep->height : prep->width;
    for (int k = 0; k < 2; k++) {
        int64_t side = k ? prep->width : prep->height;
        r->side[k] = longer > pictures ? side * pictures / longer : side;
        r->side[k] = r->side[k] < 1 ? 1 : r->side[k];
    }
    r->picture = rt_alloc(n, (size_t)(r->side[0] * r->side[1] * 3), "small pictures", err);
    return err->code;
}

typedef struct Gather {
    rt_rows *r;
    rt_viz *v;
    const rt_feed *feed;
    int64_t plane;   /* numbers that become one */
    float *layer, *scores;
    rt_image image, small, color;
} Gather;

static int keep_picture(Gather *g, int64_t i, rt_error *err) {
    rt_rows *r = g->r;
    const float *in = g->feed->input[0] + i * rt_input_count(g->v->m->model, 0);
    size_t bytes = (size_t)(r->side[0] * r->side[1] * 3);
    if (rt_prep_invert(&g->v->prep, in, &g->image, err) == 0 &&
        rt_image_resize(&g->small, &g->image, (int)r->side[1], (int)r->side[0], err) == 0 &&
        rt_image_convert(&g->color, &g->small, 3, err) == 0)
        memcpy(r->picture + (size_t)r->n * bytes, g->color.data, bytes);
    return err->code;
}

static int keep(Gather *g, int seed, int64_t i, rt_error *err) {
    rt_rows *r = g->r;
    float *row = r->x + r->n * r->dim;
    if (g->plane == 1) {
        rt_look_values(&g->v->look, seed, i, row);
    } else {
        rt_look_values(&g->v->look, seed, i, g->layer);
        for (int64_t c = 0; c < r->dim; c++) {
            double sum = 0;
            for (int64_t k = 0; k < g->plane; k++)
                sum += (double)g->layer[c * g->plane + k];
            row[c] = (float)(sum / (double)g->plane);
        }
    }
    r->sample[r->n] = g->feed->index[i];
    if (r->label)
        r->label[r->n] = rt_data_label(g->feed->ds, g->feed->index[i]);
    if (r->answer && rt_viz_answer(g->v, i, g->scores))
        r->answer[r->n] = (int32_t)rt_best(g->v->m->model, g->scores);
    else if (r->answer)
        r->answer[r->n] = -1;
    if (r->picture && keep_picture(g, i, err))
        return err->code;
    r->n++;
    return NETRT_OK;
}

int rt_rows_gather(rt_rows *r, rt_viz *v, rt_feed *feed, int seed, int64_t limit, int means,
                   int pictures, rt_error *err) {
    int64_t chw[3], total = rt_data_count(feed->ds), classes = v->m->model->classes;
    int64_t batch = v->look.cap < feed->cap ? v->look.cap : feed->cap;
    rt_seed_shape(v->m->model, seed, chw);
    total = limit > 0 && limit < total ? limit : total;
    *r = (rt_rows){.layer_dim = chw[0] * chw[1] * chw[2]};
    int pool = (means || r->layer_dim > RT_ROWS_POOL) && chw[1] * chw[2] > 1;
    r->dim = pool ? chw[0] : r->layer_dim;
    Gather g = {.r = r, .v = v, .feed = feed, .plane = pool ? chw[1] * chw[2] : 1};
    g.layer = rt_alloc((size_t)(r->layer_dim + 1), sizeof *g.layer, "a layer's values", err);
    g.scores = rt_alloc((size_t)(classes + 1), sizeof *g.scores, "scores", err);
    if (!err->code)
        open_rows(r, v, feed, total, pictures, err);
    for (int64_t at = 0; at < total && !err->code; at += batch) {
        int64_t want = total - at < batch ? total - at : batch;
        int64_t n = rt_feed_load_range(feed, at, want, rt_cli_skipped, &v->cli);
        if (n < 0)
            rt_fail(err, feed->failure.code, "%s", feed->failure.text);
        if (rt_cli_signal)
            rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (n < 1 || err->code || rt_look_record(&v->look, n, err))
            continue;
        for (int64_t i = 0; i < n && !err->code; i++)
            keep(&g, seed, i, err);
        if (rt_progress_due(&v->cli.progress))
            rt_progress_tick(&v->cli.progress, "features", at + want, total, "", -1);
    }
    rt_progress_clear(&v->cli.progress);
    rt_free(g.layer);
    rt_free(g.scores);
    rt_image_free(&g.image);
    rt_image_free(&g.small);
    rt_image_free(&g.color);
    if (!err->code && r->n < 1)
        rt_fail(err, NETRT_EDATA, "%s has no sample that can be read\nhelp: other data with --data",
                rt_data_uri(feed->ds));
    return err->code;
}

void rt_rows_free(rt_rows *r) {
    rt_free(r->x);
    rt_free(r->sample);
    rt_free(r->label);
    rt_free(r->answer);
    rt_free(r->picture);
    *r = (rt_rows){0};
}

int64_t rt_rows_class(const rt_rows *r, int64_t i) {
    return r->label ? r->label[i] : r->answer ? r->answer[i] : -1;
}

const char *rt_rows_class_name(const rt_rows *r, const rt_viz *v, int64_t c, char buf[24]) {
    if (r->label && rt_data_classes(v->cli.ds) != v->m->model->classes)
        return rt_data_class_name(v->cli.ds, (int)c);
    return netrt_class_name(v->m, c, buf);
}
