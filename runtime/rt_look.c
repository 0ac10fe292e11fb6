/* rt_look.c: recording, projecting, scanning (rt_look.h). */
#include "rt_look.h"

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
    return err->code;
}

void rt_look_close(rt_look *l) {
    rt_free(l->seed);
    l->seed = NULL;
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

/* The seed of image i as the rule of the layer's rectifier lets it pass (rt_abi.h). */
static float let_pass(rt_look *l, int rule, int seed, int64_t i, int64_t at, float value) {
    const rt_seed *s = &look_of(l->m->model)->seed[seed];
    if (!s->rule[rule].rectified)
        return value;
    if (rule != RT_RULE_GRADIENT && !(value > 0))
        return 0;
    if (rule == RT_RULE_DECONVNET)
        return value;
    rt_tensor_read(l->m, RT_LOOK, s->tensor, i, l->seed);
    float y = l->seed[at];
    memset(l->seed, 0, (size_t)l->seed_room * sizeof *l->seed);
    return y > 0 ? value : 0;
}

int rt_look_project(rt_look *l, int rule, int seed, const rt_unit *unit, const float *value,
                    int64_t n, float *diff, rt_error *err) {
    netrt *m = l->m;
    const rt_program *p = look_of(m->model);
    int start = p->seed[seed].rule[rule].diff, image = p->image_diff[rule];
    if (start < 0 || image < 0)
        return refuse(m, rule, seed, err);
    for (int i = 0; i < p->seed[seed].rule[rule].nlive; i++)
        rt_tensor_zero(m, RT_LOOK, p->seed[seed].rule[rule].live[i], n);
    int64_t chw[3];
    rt_seed_shape(m->model, seed, chw);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = (unit[i].c * chw[1] + unit[i].y) * chw[2] + unit[i].x;
        l->seed[at] = let_pass(l, rule, seed, i, at, value[i]);
        rt_tensor_write(m, RT_LOOK, start, i, l->seed);
        l->seed[at] = 0;
    }
    char entry[64];
    snprintf(entry, sizeof entry, "project_%s", rt_rule_names[rule]);
    if (netrt_run(m, RT_LOOK, entry, p->seed[seed].rule[rule].first, n, err))
        return err->code;
    int64_t pixels = rt_tensor_count(&p->tensor[image]);
    for (int64_t i = 0; i < n; i++)
        rt_tensor_read(m, RT_LOOK, image, i, diff + i * pixels);
    return NETRT_OK;
}

rt_rect rt_unit_field(const rt_model *model, int seed, int64_t y, int64_t x) {
    const rt_seed *s = &look_of(model)->seed[seed];
    rt_rect r = {s->rf_start[0] + y * s->rf_jump[0], s->rf_start[1] + x * s->rf_jump[1],
                 s->rf_size[0], s->rf_size[1]};
    int64_t h = model->input[0].h, w = model->input[0].w;
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
    memset(l->seed, 0, (size_t)l->seed_room * sizeof *l->seed);
    if (rt_cli_signal)
        return rt_fail(err, 128 + rt_cli_signal, "stopped while scanning");
    return NETRT_OK;
}
