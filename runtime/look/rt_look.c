/* rt_look.c: recording and projecting (rt_look.h); rt_scan.c scans data sets. */
#include "rt_look.h"

#include <stdbool.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_layout.h"

const char *const rt_rule_names[RT_RULES] = {"gradient", "deconvnet", "guided"};

static const rt_program *look_of(const rt_model *model) {
    return &model->program[RT_LOOK];
}

int rt_seed_find(const rt_model *model, const char *label) {
    const rt_program *p = look_of(model);
    for (int i = 0; i < p->nseeds; i++)
        if (strcmp(p->seed[i].label, label) == 0)
            return i;
    for (int k = 0; k < (int)model->noutputs; k++) /* an output's name means its score */
        for (int i = 0; i < p->nseeds && strcmp(model->output[k].name, label) == 0; i++)
            if (p->seed[i].tensor == model->output[k].look)
                return i;
    return -1;
}

int rt_seed_of_param(const rt_model *model, int param) {
    const rt_program *p = look_of(model);
    const char *name = model->param[param].name;
    int seed = rt_seed_find(model, model->param[param].label);
    int best = -1;
    size_t longest = 0;
    for (int i = 0; i < p->nseeds && seed < 0; i++) {
        size_t n = strlen(p->seed[i].label);
        if (n > longest && strncmp(name, p->seed[i].label, n) == 0 && name[n] == '.') {
            best = i;
            longest = n;
        }
    }
    return seed < 0 ? best : seed;
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

/* Does the rule of the layer's rectifier let this gradient pass (rt_abi.h)? */
static bool passes_rule(const rt_look *l, int rule, const rt_seed *s, float diff, float activation) {
    if (!s->rule[rule].rectified || (rule == RT_RULE_GRADIENT && l->through))
        return true;
    return (rule == RT_RULE_GRADIENT || diff > 0) && (rule == RT_RULE_DECONVNET || activation > 0);
}

static void let_pass(rt_look *l, int rule, int seed, int64_t image) {
    const rt_seed *s = &look_of(l->m->model)->seed[seed];
    if (passes_rule(l, rule, s, 0, 0))
        return; /* whatever comes */
    int64_t n = rt_tensor_count(&look_of(l->m->model)->tensor[s->tensor]);
    rt_look_values(l, seed, image, l->other);
    for (int64_t i = 0; i < n; i++)
        l->seed[i] = passes_rule(l, rule, s, l->seed[i], l->other[i]) ? l->seed[i] : 0;
}

static void fill_start(void *context, int layer, int64_t image, float *diff);
static bool push_unit(rt_look *l, int rule, int seed, void *context, int64_t n);

/* Puts a layer's gradients into its tensor, beside what a walk brought there or instead of it. */
static void push(rt_look *l, int rule, int seed, int layer, bool add, rt_fill fill, void *context,
                 int64_t n) {
    int tensor = look_of(l->m->model)->seed[seed].rule[rule].diff;
    int64_t count = rt_tensor_count(&look_of(l->m->model)->tensor[tensor]);
    if (!add && fill == fill_start && push_unit(l, rule, seed, context, n))
        return;
    int rectified = !passes_rule(l, rule, &look_of(l->m->model)->seed[seed], 1, 0);
    if (l->in_place && !add)
        rt_tensor_zero(l->m, RT_LOOK, tensor, n);
    for (int64_t i = 0; i < n; i++) {
        if (l->in_place && l->in_place(context, layer, i, tensor, rectified, add))
            continue;
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

double rt_look_flops(const rt_look *l, const int *seed, int nseeds) {
    const rt_program *p = look_of(l->m->model);
    const rt_entry *record = rt_find_entry(p, "record"), *back = rt_find_entry(p, "project_gradient");
    double sum = 0;
    for (int i = 0; record && i < record->count; i++)
        sum += p->kernel[record->first + i].flops_image + p->kernel[record->first + i].flops_fixed;
    int end = back ? back->first + back->count : 0, first = end;
    for (int i = 0; i < nseeds; i++) {
        int from = p->seed[seed[i]].rule[RT_RULE_GRADIENT].first;
        first = from < first ? from : first;
    }
    for (int i = first < 0 ? end : first; i < end; i++)
        sum += p->kernel[i].flops_image + p->kernel[i].flops_fixed;
    return sum;
}

/* ---- seeds ---- */

/* Where a unit lies in a tensor of the size of its layer; NULL: a clip, whose frames are apart. */
static float *unit_at(const rt_look *l, int tensor, int64_t image, rt_unit u) {
    const rt_tensor *t = &look_of(l->m->model)->tensor[tensor];
    const int64_t index[RT_MAX_DIMS] = {u.c, u.y, u.x};
    int64_t at = rt_tensor_frames(t) == 1 ? rt_layout_at(&t->layout, index) : -1;
    return at < 0 ? NULL : (float *)rt_tensor_at(l->m, RT_LOOK, tensor, image) + at;
}

float rt_look_value(rt_look *l, int seed, int64_t image, rt_unit u) {
    int64_t chw[3];
    const float *at = unit_at(l, look_of(l->m->model)->seed[seed].tensor, image, u);
    if (at)
        return *at;
    rt_seed_shape(l->m->model, seed, chw);
    rt_look_values(l, seed, image, l->seed);
    return l->seed[(u.c * chw[1] + u.y) * chw[2] + u.x];
}

/* What starts from each image: a unit with a value, a map, or (no unit) the layer. */
typedef struct Start {
    rt_look *l;
    int seed;
    const rt_unit *unit;
    const float *value;
    int64_t chw[3];
} Start;

static void fill_start(void *context, int layer, int64_t image, float *diff) {
    const Start *s = context;
    int64_t plane = s->chw[1] * s->chw[2], count = s->chw[0] * plane;
    (void)layer;
    if (s->value) {
        const rt_unit *u = &s->unit[image];
        memset(diff, 0, (size_t)count * sizeof *diff);
        diff[(u->c * s->chw[1] + u->y) * s->chw[2] + u->x] = s->value[image];
        return;
    }
    rt_look_values(s->l, s->seed, image, diff);
    for (int64_t i = 0; i < count && s->unit; i++)
        diff[i] = i / plane == s->unit[image].c ? diff[i] : 0;
}

/* The same as filling a layer with zeros and one number, without touching the zeros twice. */
static bool push_unit(rt_look *l, int rule, int seed, void *context, int64_t n) {
    const Start *s = context;
    const rt_seed *at = &look_of(l->m->model)->seed[seed];
    int tensor = at->rule[rule].diff;
    if (!s->value || !unit_at(l, tensor, 0, s->unit[0]))
        return false;
    rt_tensor_zero(l->m, RT_LOOK, tensor, n);
    for (int64_t i = 0; i < n; i++) {
        float value = s->value[i];
        if (passes_rule(l, rule, at, value, rt_look_value(l, seed, i, s->unit[i])))
            *unit_at(l, tensor, i, s->unit[i]) = value;
    }
    return true;
}

int rt_look_project(rt_look *l, int rule, int seed, const rt_unit *unit, const float *value,
                    int64_t n, float *diff, rt_error *err) {
    Start s = {.l = l, .seed = seed, .unit = unit, .value = value};
    rt_seed_shape(l->m->model, seed, s.chw);
    return rt_look_back(l, rule, &seed, 1, fill_start, &s, n, diff, err);
}

int rt_look_project_maps(rt_look *l, int rule, int seed, const rt_unit *unit, int64_t n,
                         float *diff, rt_error *err) {
    return rt_look_project(l, rule, seed, unit, NULL, n, diff, err);
}

/* ---- walks that stop ---- */

int rt_look_way(const rt_look *l, int seed, int *way) {
    const rt_program *p = look_of(l->m->model);
    int n = 0, all = 0, order[256], below[256];
    for (int i = 0; i < p->nseeds && all < 256; i++)
        if (p->seed[i].rule[0].diff >= 0 && p->seed[i].rule[0].first > p->seed[seed].rule[0].first)
            below[all++] = i;
    sort_layers(p, RT_RULE_GRADIENT, below, all, order);
    way[n++] = seed;
    for (int i = 0; i < all; i++)
        way[n++] = below[order[i]];
    return n;
}

int rt_look_run(rt_look *l, int first, int end, rt_error *err) {
    return rt_run_part(l->m, RT_LOOK, "project_gradient", first, end, 1, err);
}

void rt_look_read_diff(const rt_look *l, int seed, float *diff) {
    rt_tensor_read(l->m, RT_LOOK, look_of(l->m->model)->seed[seed].rule[0].diff, 0, diff);
}

void rt_look_write_diff(rt_look *l, int seed, const float *diff) {
    rt_tensor_write(l->m, RT_LOOK, look_of(l->m->model)->seed[seed].rule[0].diff, 0, diff);
}

int rt_look_walk(rt_look *l, int seed, rt_unit unit, rt_stop stop, void *context, float *diff,
                 rt_error *err) {
    const rt_program *p = look_of(l->m->model);
    const rt_seed *top = &p->seed[seed];
    int way[257], n, image = p->image_diff[RT_RULE_GRADIENT];
    const float one = 1;
    Start s = {.l = l, .seed = seed, .unit = &unit, .value = &one};
    if (image < 0 || top->rule[0].diff < 0)
        return refuse(l->m, RT_RULE_GRADIENT, seed, err);
    rt_seed_shape(l->m->model, seed, s.chw);
    for (int i = 0; i < top->rule[0].nlive; i++)
        rt_tensor_zero(l->m, RT_LOOK, top->rule[0].live[i], 1);
    push(l, RT_RULE_GRADIENT, seed, 0, false, fill_start, &s, 1);
    n = rt_look_way(l, seed, way);
    for (int i = 0; i < n && !err->code; i++) {
        int end = i + 1 < n ? p->seed[way[i + 1]].rule[0].first : -1;
        stop(context, way[i], p->seed[way[i]].rule[0].first, end, err);
    }
    if (!err->code)
        rt_tensor_read(l->m, RT_LOOK, image, 0, diff);
    return err->code;
}

/* ---- switches ---- */

/* The cell of a window that is nearest to its centre and inside the image, along one side. */
static int64_t centre_cell(const rt_pool *p, int side, int64_t out) {
    int64_t from = out * p->stride[side] - p->pad[side], cell = from + (p->kernel[side] - 1) / 2;
    cell = cell < 0 ? 0 : cell >= p->src[side] ? p->src[side] - 1 : cell;
    return cell - from;
}

int rt_look_centre_switches(rt_look *l, int64_t n) {
    const rt_program *p = look_of(l->m->model);
    for (int k = 0; k < p->npools; k++) {
        const rt_pool *q = &p->pool[k];
        const rt_tensor *t = &p->tensor[q->tensor];
        const int64_t *dim = t->layout.dim, frames = rt_tensor_frames(t);
        for (int64_t i = 0; i < dim[0] * dim[1] * dim[2]; i++) {
            const int64_t at[RT_MAX_DIMS] = {i / (dim[1] * dim[2]), i / dim[2] % dim[1], i % dim[2]};
            int64_t cell = centre_cell(q, 0, at[1]) * q->kernel[1] + centre_cell(q, 1, at[2]);
            int64_t byte = rt_layout_at(&t->layout, at);
            for (int64_t f = 0; f < n * frames; f++) {
                unsigned char *image = rt_tensor_at(l->m, RT_LOOK, q->tensor, f / frames);
                image[f % frames * (t->image_bytes / frames) + byte] = (unsigned char)cell;
            }
        }
    }
    return p->npools;
}

/* ---- fields ---- */

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
