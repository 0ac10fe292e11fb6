/* rt_look.c: recording, projecting, scanning (rt_look.h). */
#include "rt_look.h"

#include <stdbool.h>
#include <string.h>

#include "rt_alloc.h"

const char *const rt_rule_names[RT_RULES] = {"gradient", "deconvnet", "guided"};

static const rt_program *look_of(const rt_model *model) {
    return &model->program[RT_LOOK];
}

int rt_seed_find(const rt_model *model, const char *label) {
    const rt_program *p = look_of(model);
    for (int i = 0; i < p->nseeds; i++)
        if (strcmp(p->seed[i].label, label) == 0)
            return i;
    return -1;
}

void rt_seed_shape(const rt_model *model, int seed, int64_t chw[3]) {
    const rt_program *p = look_of(model);
    const rt_layout *l = &p->tensor[p->seed[seed].tensor].layout;
    for (int i = 0; i < 3; i++)
        chw[i] = i < l->rank ? l->dim[i] : 1;
    chw[1] *= rt_tensor_frames(&p->tensor[p->seed[seed].tensor]); /* below each other */
}

int rt_look_open(rt_look *l, netrt *m, int64_t cap, rt_error *err) {
    *l = (rt_look){.m = m, .cap = cap};
    if (rt_program_ready(m, RT_LOOK, cap, err))
        return err->code;
    const rt_program *p = look_of(m->model);
    for (int i = 0; i < p->nseeds; i++) {
        int64_t chw[3];
        rt_seed_shape(m->model, i, chw);
        int64_t n = chw[0] * chw[1] * chw[2];
        l->seed_room = n > l->seed_room ? n : l->seed_room;
    }
    l->seed = rt_alloc_zero((size_t)(l->seed_room ? l->seed_room : 1), sizeof *l->seed,
                            "a layer's values", err);
    l->other = rt_alloc_zero((size_t)(l->seed_room ? l->seed_room : 1), sizeof *l->other,
                             "a layer's values", err);
    return err->code;
}

void rt_look_close(rt_look *l) {
    rt_free(l->seed);
    rt_free(l->other);
    l->seed = l->other = NULL;
}

int rt_look_record(rt_look *l, int64_t n, rt_error *err) {
    return netrt_run(l->m, RT_LOOK, "record", -1, n, err);
}

static int refuse(const netrt *m, int rule, int seed, rt_error *err) {
    const rt_program *p = look_of(m->model);
    if (p->refused[rule])
        return rt_fail(err, NETRT_EUSAGE,
                       "the %s projection is not defined for %s: %s\n"
                       "help: `saliency` shows the true gradient, which every network has",
                       rt_rule_names[rule], m->model->name, p->refused[rule]);
    return rt_fail(err, NETRT_EUSAGE, "no projection can start from layer '%s'",
                   p->seed[seed].label);
}

void rt_look_values(const rt_look *l, int seed, int64_t image, float *values) {
    rt_tensor_read(l->m, RT_LOOK, look_of(l->m->model)->seed[seed].tensor, image, values);
}

/* What the rule of the layer's rectifier lets pass of the gradient in l->seed (rt_abi.h). */
static void let_pass(rt_look *l, int rule, int seed, int64_t image) {
    const rt_seed *s = &look_of(l->m->model)->seed[seed];
    if (!s->rule[rule].rectified || (rule == RT_RULE_GRADIENT && l->through))
        return;
    int64_t n = rt_tensor_count(&look_of(l->m->model)->tensor[s->tensor]);
    if (rule != RT_RULE_GRADIENT)
        for (int64_t i = 0; i < n; i++)
            l->seed[i] = l->seed[i] > 0 ? l->seed[i] : 0;
    if (rule == RT_RULE_DECONVNET)
        return;
    rt_look_values(l, seed, image, l->other);
    for (int64_t i = 0; i < n; i++)
        l->seed[i] = l->other[i] > 0 ? l->seed[i] : 0;
}

/* Puts a layer's gradients into its tensor, beside what a walk brought there or instead of it. */
static void push(rt_look *l, int rule, int seed, int layer, bool add, rt_fill fill, void *context,
                 int64_t n) {
    int tensor = look_of(l->m->model)->seed[seed].rule[rule].diff;
    int64_t count = rt_tensor_count(&look_of(l->m->model)->tensor[tensor]);
    for (int64_t i = 0; i < n; i++) {
        fill(context, layer, i, l->seed);
        let_pass(l, rule, seed, i);
        if (add) {
            rt_tensor_read(l->m, RT_LOOK, tensor, i, l->other);
            for (int64_t k = 0; k < count; k++)
                l->seed[k] += l->other[k];
        }
        rt_tensor_write(l->m, RT_LOOK, tensor, i, l->seed);
    }
}

/* Layers in the order in which the walk from the score meets them. */
static void sort_layers(const rt_program *p, int rule, const int *seed, int nseeds, int *order) {
    for (int i = 0; i < nseeds; i++) {
        int at = i, first = p->seed[seed[i]].rule[rule].first;
        for (; at > 0 && p->seed[seed[order[at - 1]]].rule[rule].first > first; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

int rt_look_back(rt_look *l, int rule, const int *seed, int nseeds, rt_fill fill, void *context,
                 int64_t n, float *diff, rt_error *err) {
    const rt_program *p = look_of(l->m->model);
    int image = p->image_diff[rule], order[RT_BACK_MAX];
    if (nseeds < 1 || nseeds > RT_BACK_MAX)
        return rt_fail(err, NETRT_EUSAGE, "a walk starts from 1 to %d layers, not %d", RT_BACK_MAX,
                       nseeds);
    for (int i = 0; i < nseeds; i++)
        if (image < 0 || p->seed[seed[i]].rule[rule].diff < 0)
            return refuse(l->m, rule, seed[i], err);
    sort_layers(p, rule, seed, nseeds, order);
    char entry[64];
    snprintf(entry, sizeof entry, "project_%s", rt_rule_names[rule]);
    int first = seed[order[0]];
    for (int i = 0; i < p->seed[first].rule[rule].nlive; i++)
        rt_tensor_zero(l->m, RT_LOOK, p->seed[first].rule[rule].live[i], n);
    for (int i = 0; i < nseeds; i++) {
        int from = p->seed[seed[order[i]]].rule[rule].first;
        int end = i + 1 < nseeds ? p->seed[seed[order[i + 1]]].rule[rule].first : -1;
        push(l, rule, seed[order[i]], order[i], i > 0, fill, context, n);
        if (rt_run_part(l->m, RT_LOOK, entry, from, end, n, err))
            return err->code;
    }
    int64_t pixels = rt_tensor_count(&p->tensor[image]);
    for (int64_t i = 0; i < n; i++)
        rt_tensor_read(l->m, RT_LOOK, image, i, diff + i * pixels);
    return NETRT_OK;
}

/* One unit of each image. */
typedef struct Units {
    const rt_unit *unit;
    const float *value;
    int64_t chw[3];
} Units;

static void fill_unit(void *context, int layer, int64_t image, float *diff) {
    const Units *u = context;
    (void)layer;
    memset(diff, 0, (size_t)(u->chw[0] * u->chw[1] * u->chw[2]) * sizeof *diff);
    diff[(u->unit[image].c * u->chw[1] + u->unit[image].y) * u->chw[2] + u->unit[image].x] =
        u->value[image];
}

int rt_look_project(rt_look *l, int rule, int seed, const rt_unit *unit, const float *value,
                    int64_t n, float *diff, rt_error *err) {
    Units u = {.unit = unit, .value = value};
    rt_seed_shape(l->m->model, seed, u.chw);
    return rt_look_back(l, rule, &seed, 1, fill_unit, &u, n, diff, err);
}

rt_rect rt_unit_field(const rt_model *model, int seed, int64_t y, int64_t x) {
    const rt_seed *s = &look_of(model)->seed[seed];
    rt_rect r = {s->rf_start[0] + y * s->rf_jump[0], s->rf_start[1] + x * s->rf_jump[1],
                 s->rf_size[0], s->rf_size[1]};
    int64_t h = model->input[0].h, w = model->input[0].w;
    if (h == 1) { /* a sequence is drawn with its channels as rows */
        h = r.h = model->input[0].c;
        r.y = 0;
    }
    if (r.h <= 0 || r.h > 3 * h || r.w <= 0 || r.w > 3 * w) /* sees everything */
        r = (rt_rect){0, 0, h, w};
    return r;
}

/* ---- scanning ---- */

/* Inserts a peak into the ordered nine of its map; an equal value stays behind the earlier one. */
static void offer(rt_peak *top, rt_peak p) {
    int at = RT_TOP;
    while (at > 0 && (top[at - 1].sample < 0 || p.value > top[at - 1].value))
        at--;
    if (at == RT_TOP)
        return;
    memmove(top + at + 1, top + at, (size_t)(RT_TOP - 1 - at) * sizeof *top);
    top[at] = p;
}

static void scan_image(const float *layer, const int64_t chw[3], int64_t sample, rt_peak *top) {
    int64_t plane = chw[1] * chw[2];
    for (int64_t c = 0; c < chw[0]; c++) {
        const float *map = layer + c * plane;
        int64_t best = 0;
        for (int64_t i = 1; i < plane; i++)
            if (map[i] > map[best])
                best = i;
        offer(top + c * RT_TOP, (rt_peak){map[best], sample, best / chw[2], best % chw[2]});
    }
}

static void clear_peaks(const rt_model *model, const int *seed, int nseeds, rt_peak **top) {
    for (int k = 0; k < nseeds; k++) {
        int64_t chw[3];
        rt_seed_shape(model, seed[k], chw);
        for (int64_t i = 0; i < chw[0] * RT_TOP; i++)
            top[k][i] = (rt_peak){.sample = -1};
    }
}

int rt_look_scan(rt_cli *cli, rt_look *l, rt_feed *feed, int64_t limit, const int *seed, int nseeds,
                 rt_peak **top, rt_error *err) {
    const rt_model *model = l->m->model;
    int64_t total = rt_data_count(feed->ds);
    total = limit > 0 && limit < total ? limit : total;
    clear_peaks(model, seed, nseeds, top);
    int64_t batch = l->cap < feed->cap ? l->cap : feed->cap;
    for (int64_t first = 0; first < total && !rt_cli_signal; first += batch) {
        int64_t want = total - first < batch ? total - first : batch;
        int64_t n = rt_feed_load_range(feed, first, want, rt_cli_skipped, cli);
        if (n < 0)
            return rt_fail(err, NETRT_ELIMIT, "not enough memory to load pictures");
        if (n > 0 && rt_look_record(l, n, err))
            return err->code;
        for (int64_t i = 0; i < n; i++)
            for (int k = 0; k < nseeds; k++) {
                int64_t chw[3];
                rt_seed_shape(model, seed[k], chw);
                int tensor = look_of(model)->seed[seed[k]].tensor;
                rt_tensor_read(l->m, RT_LOOK, tensor, i, l->seed);
                scan_image(l->seed, chw, feed->index[i], top[k]);
            }
        if (rt_progress_due(&cli->progress))
            rt_progress_tick(&cli->progress, "scanning", first + want, total, "", -1);
    }
    rt_progress_clear(&cli->progress);
    if (rt_cli_signal)
        return rt_fail(err, 128 + rt_cli_signal, "stopped while scanning");
    return NETRT_OK;
}
