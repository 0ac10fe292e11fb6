/* rt_compare.c: pictures held together, layers to compare, measures (rt_compare.h). */
#include "rt_compare.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"

int rt_set_open(rt_set *s, rt_viz *v, const char **operands, int n, int64_t least, int64_t most,
                rt_error *err) {
    *s = (rt_set){.v = v};
    if (v->m->model->ninputs != 1)
        return rt_fail(err, NETRT_EUSAGE, "%s reads several inputs; this analysis is about one "
                       "picture at a time\nhelp: `saliency` shows the gradient at the first input",
                       v->m->model->name);
    if (rt_viz_feed_many(v, operands, n, &s->feed, err))
        return err->code;
    int64_t count = rt_data_count(v->cli.ds), cap = s->feed.cap;
    if (v->limit > 0 || n == 0)
        count = count < (v->limit > 0 ? v->limit : most) ? count : v->limit > 0 ? v->limit : most;
    s->pixels = rt_input_count(v->m->model, 0);
    if (count < least)
        return rt_fail(err, NETRT_EUSAGE, "at least %lld pictures are needed\nhelp: name several, or a "
                       "folder", (long long)least);
    s->x = rt_alloc((size_t)(count * s->pixels), sizeof *s->x, "pictures", err);
    if (s->x)
        s->sample = rt_alloc((size_t)count, sizeof *s->sample, "pictures", err);
    for (int64_t first = 0; first < count && !err->code; first += cap) {
        int64_t want = count - first < cap ? count - first : cap;
        int64_t good = rt_feed_load_range(&s->feed, first, want, rt_cli_skipped, &v->cli);
        if (good < 0)
            return rt_fail(err, s->feed.failure.code, "%s", s->feed.failure.text);
        memcpy(s->x + s->n * s->pixels, s->feed.input[0], (size_t)(good * s->pixels) * sizeof *s->x);
        memcpy(s->sample + s->n, s->feed.index, (size_t)good * sizeof *s->sample);
        s->n += good;
    }
    if (!err->code && s->n < least)
        rt_fail(err, NETRT_EDATA, "only %lld of the pictures can be read", (long long)s->n);
    return err->code;
}

void rt_set_close(rt_set *s) {
    rt_free(s->x);
    rt_free(s->sample);
    if (s->v)
        rt_viz_feed_close(s->v, &s->feed);
}

void rt_set_name(const rt_set *s, int64_t i, char *name, size_t size) {
    rt_viz_sample_name(&s->feed, s->sample[i], name, size);
    size_t n = strlen(name);
    if (n > 14 && name[n - 1] == ']') /* of a data set in one file, whose name says little */
        snprintf(name, size, "image %lld", (long long)s->sample[i]);
}

int rt_set_record(rt_set *s, const float *x, int64_t n, rt_error *err) {
    s->v->m->frame.input[0] = x;
    return rt_look_record(&s->v->look, n, err);
}

static int has_weights(const rt_model *model, const char *label) {
    for (int p = 0; p < model->nparams; p++)
        if (model->param[p].rank >= 2 && !(model->param[p].flags & RT_PARAM_CONSTANT) &&
            strcmp(model->param[p].label, label) == 0)
            return 1;
    return 0;
}

int rt_viz_weighted_layers(rt_viz *v, int *seed, int max, rt_error *err) {
    const rt_program *look = &v->m->model->program[RT_LOOK];
    const char *list = v->layers;
    int n = 0, more = 1;
    while (list && n < max && (more = rt_viz_next_layer(v, &list, &seed[n], err)) == 1)
        n++;
    for (int i = 0; !v->layers && i < look->nseeds && n < max; i++)
        if (has_weights(v->m->model, look->seed[i].label))
            seed[n++] = i;
    if (!err->code && n == 0)
        rt_fail(err, NETRT_EUSAGE, "%s has no layer with weights\nhelp: name layers with --layer",
                v->m->model->name);
    return n;
}

/* ---- measures ---- */

double rt_sign_change(const signed char *a, const signed char *b, int64_t n) {
    int64_t differ = 0;
    for (int64_t i = 0; i < n; i++)
        differ += a[i] != b[i];
    return n > 0 ? (double)differ / (double)n : 0;
}

double rt_distance(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum);
}

double rt_moved_distance(const float *a, const float *b, const int64_t chw[3], int64_t dy,
                         int64_t dx, rt_rect area, int64_t *cells) {
    double sum = 0;
    *cells = 0;
    for (int64_t c = 0; c < chw[0]; c++)
        for (int64_t y = area.y; y < area.y + area.h; y++)
            for (int64_t x = area.x; x < area.x + area.w; x++) {
                if (y < 0 || x < 0 || y >= chw[1] || x >= chw[2] || y < dy || x < dx ||
                    y - dy >= chw[1] || x - dx >= chw[2])
                    continue;
                double d = (double)b[(c * chw[1] + y) * chw[2] + x] -
                           (double)a[(c * chw[1] + y - dy) * chw[2] + x - dx];
                sum += d * d;
                ++*cells;
            }
    return sqrt(sum);
}

double rt_power_above(const float *w, int64_t c, int64_t h, int64_t width, double frequency) {
    const int N = 32;
    double all = 0, above = 0;
    for (int64_t p = 0; p < c; p++)
        for (int u = 0; u < N; u++)
            for (int v = 0; v < N; v++) {
                double re = 0, im = 0;
                for (int64_t y = 0; y < h; y++)
                    for (int64_t x = 0; x < width; x++) {
                        double at = 6.28318530717958647692 * ((double)(u * y) + (double)(v * x)) / N;
                        re += (double)w[(p * h + y) * width + x] * cos(at);
                        im -= (double)w[(p * h + y) * width + x] * sin(at);
                    }
                double fu = (double)(u <= N / 2 ? u : N - u) / N;
                double fv = (double)(v <= N / 2 ? v : N - v) / N;
                double power = re * re + im * im;
                all += power;
                above += fu > frequency || fv > frequency ? power : 0;
            }
    return all > 0 ? above / all : 0;
}
