/* rt_look.c: recording and projecting (rt_look.h); rt_scan.c scans data sets. */
#include "rt_look.h"

#include <stdbool.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_layout.h"
#include "rt_par.h"

const char *const rt_rule_names[RT_RULES] = {"gradient", "deconvnet", "guided"};

enum { ROOM_BYTES = 256 << 20 }; /* of layers' values for several threads */

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
    int64_t each = l->seed_room ? l->seed_room : 1, most = ROOM_BYTES / (8 * each);
    most = most < m->threads ? most : m->threads;
    most = most < cap ? most : cap;
    l->rooms = most < 1 ? 1 : (int)most;
    size_t all = (size_t)(l->rooms * each);
    l->seed = rt_alloc_zero(all, sizeof *l->seed, "a layer's values", err);
    l->other = rt_alloc_zero(all, sizeof *l->other, "a layer's values", err);
    l->on = rt_alloc_zero((size_t)cap, 1, "a walk's images", err);
    return err->code;
}

void rt_look_close(rt_look *l) {
    rt_free(l->seed);
    rt_free(l->other);
    rt_free(l->on);
    l->seed = l->other = NULL;
    l->on = NULL;
}

int rt_look_record(rt_look *l, int64_t n, rt_error *err) {
    return netrt_run(l->m, RT_LOOK, "record", -1, n, err);
}

int rt_look_end(const rt_look *l, int seed) {
    const rt_program *p = look_of(l->m->model);
    const rt_entry *record = rt_find_entry(p, "record");
    int last = record ? record->first + record->count : 0, end = p->seed[seed].recorded;
    return record && end > record->first && end < last ? end : last;
}

int rt_look_record_layer(rt_look *l, int seed, int64_t n, rt_error *err) {
    return rt_run_part(l->m, RT_LOOK, "record", -1, rt_look_end(l, seed), n, err);
}

int rt_look_record_to(rt_look *l, const int *end, int64_t n, rt_error *err) {
    const rt_entry *record = rt_find_entry(look_of(l->m->model), "record");
    int from = record ? record->first : -1;
    for (;;) { /* to where the next image stops, with those that go on */
        int64_t count = 0;
        int stop = 0;
        for (int64_t i = 0; i < n; i++)
            if (end[i] > from) {
                count = i + 1;
                stop = stop == 0 || end[i] < stop ? end[i] : stop;
            }
        if (count == 0 || rt_run_part(l->m, RT_LOOK, "record", from, stop, count, err))
            return err->code;
        from = stop;
    }
}

/* Where "record" may stop for these layers and walks from them. */
static int end_of_all(const rt_look *l, const int *seed, int nseeds) {
    int end = 0;
    for (int i = 0; i < nseeds; i++)
        end = rt_look_end(l, seed[i]) > end ? rt_look_end(l, seed[i]) : end;
    return end;
}

int rt_look_record_for(rt_look *l, const int *seed, int nseeds, int64_t n, rt_error *err) {
    const rt_entry *record = rt_find_entry(look_of(l->m->model), "record");
    int end = end_of_all(l, seed, nseeds);
    return rt_run_part(l->m, RT_LOOK, "record", -1,
                       record && end < record->first ? record->first : end, n, err);
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

static void let_pass(rt_look *l, int rule, int seed, int64_t image, int room) {
    const rt_seed *s = &look_of(l->m->model)->seed[seed];
    float *values = l->seed + room * l->seed_room, *other = l->other + room * l->seed_room;
    if (passes_rule(l, rule, s, 0, 0))
        return; /* whatever comes */
    int64_t n = rt_tensor_count(&look_of(l->m->model)->tensor[s->tensor]);
    rt_look_values(l, seed, image, other);
    for (int64_t i = 0; i < n; i++)
        values[i] = passes_rule(l, rule, s, values[i], other[i]) ? values[i] : 0;
}

static void fill_start(void *context, int layer, int64_t image, int room, float *diff);
static bool push_unit(rt_look *l, int rule, int seed, void *context, int64_t n);

/* A layer whose gradients go into its tensor. */
typedef struct Push {
    rt_look *l;
    int rule, seed, layer, tensor, rectified;
    rt_fill fill;
    void *context;
} Push;

/* Those of images lo .. hi - 1: instead of what is there, or where the walk came from above beside it. */
static void push_some(void *context, int64_t lo, int64_t hi, int room) {
    const Push *p = context;
    rt_look *l = p->l;
    const rt_program *look = look_of(l->m->model);
    const rt_seed *s = &look->seed[p->seed];
    int64_t count = rt_tensor_count(&look->tensor[p->tensor]);
    float *values = l->seed + room * l->seed_room, *other = l->other + room * l->seed_room;
    for (int64_t i = lo; i < hi; i++) {
        if (l->wants && !l->wants(p->context, p->layer, i))
            continue;
        bool add = l->on[i];
        for (int k = 0; !add && k < s->rule[p->rule].nlive; k++)
            rt_tensor_zero_image(l->m, RT_LOOK, s->rule[p->rule].live[k], i);
        l->on[i] = 1;
        if (l->in_place && !add)
            rt_tensor_zero_image(l->m, RT_LOOK, p->tensor, i);
        if (l->in_place && l->in_place(p->context, p->layer, i, p->tensor, p->rectified, add))
            continue;
        p->fill(p->context, p->layer, i, room, values);
        let_pass(l, p->rule, p->seed, i, room);
        if (add) {
            rt_tensor_read(l->m, RT_LOOK, p->tensor, i, other);
            for (int64_t k = 0; k < count; k++)
                values[k] += other[k];
        }
        rt_tensor_write(l->m, RT_LOOK, p->tensor, i, values);
    }
}

static void push(rt_look *l, int rule, int seed, int layer, rt_fill fill, void *context, int64_t n) {
    const rt_seed *s = &look_of(l->m->model)->seed[seed];
    Push p = {l, rule, seed, layer, s->rule[rule].diff, !passes_rule(l, rule, s, 1, 0), fill, context};
    rt_parallel_for(l->serial ? 1 : l->rooms, n, 1, push_some, &p);
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
    if (n < 1 || n > l->cap)
        return rt_fail(err, NETRT_EBUG, "a walk with %lld images", (long long)n);
    if (nseeds < 1 || nseeds > RT_BACK_MAX)
        return rt_fail(err, NETRT_EUSAGE, "a walk starts from 1 to %d layers, not %d", RT_BACK_MAX,
                       nseeds);
    for (int i = 0; i < nseeds; i++)
        if (image < 0 || p->seed[seed[i]].rule[rule].diff < 0)
            return refuse(l->m, rule, seed[i], err);
    sort_layers(p, rule, seed, nseeds, order);
    char entry[64];
    snprintf(entry, sizeof entry, "project_%s", rt_rule_names[rule]);
    memset(l->on, 0, (size_t)n);
    for (int i = 0; i < nseeds; i++) {
        int from = p->seed[seed[order[i]]].rule[rule].first;
        int end = i + 1 < nseeds ? p->seed[seed[order[i + 1]]].rule[rule].first : -1;
        if (fill == fill_start && push_unit(l, rule, seed[order[i]], context, n))
            memset(l->on, 1, (size_t)n);
        else
            push(l, rule, seed[order[i]], order[i], fill, context, n);
        int64_t count = n; /* what stands behind has not begun */
        while (count > 0 && !l->on[count - 1])
            count--;
        if (count > 0 && rt_run_part(l->m, RT_LOOK, entry, from, end, count, err))
            return err->code;
    }
    int64_t pixels = rt_tensor_count(&p->tensor[image]);
    for (int64_t i = 0; i < n; i++)
        if (l->on[i])
            rt_tensor_read(l->m, RT_LOOK, image, i, diff + i * pixels);
        else
            memset(diff + i * pixels, 0, (size_t)pixels * sizeof *diff);
    return NETRT_OK;
}

double rt_look_flops(const rt_look *l, const int *seed, int nseeds) {
    const rt_program *p = look_of(l->m->model);
    const rt_entry *record = rt_find_entry(p, "record"), *back = rt_find_entry(p, "project_gradient");
    double sum = 0;
    for (int i = record ? record->first : 0; record && i < end_of_all(l, seed, nseeds); i++)
        sum += p->kernel[i].flops_image + p->kernel[i].flops_fixed;
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

static void fill_start(void *context, int layer, int64_t image, int room, float *diff) {
    const Start *s = context;
    int64_t plane = s->chw[1] * s->chw[2], count = s->chw[0] * plane;
    (void)layer;
    (void)room;
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
    for (int i = 0; i < at->rule[rule].nlive; i++)
        rt_tensor_zero(l->m, RT_LOOK, at->rule[rule].live[i], n);
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
    int n = 0, all = 0, order[256], below[256] = {0};
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
    if (!push_unit(l, RT_RULE_GRADIENT, seed, &s, 1)) {
        l->on[0] = 0;
        push(l, RT_RULE_GRADIENT, seed, 0, fill_start, &s, 1);
    }
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
