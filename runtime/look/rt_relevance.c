/* rt_relevance.c: layer-wise relevance propagation: a score is divided among the pixels, layer by
 * layer, so that what a unit gets it hands on.
 *
 * epsilon: unit j of a layer that sums, z_j = sum_i x_i w_ij + b_j, hands x_i w_ij R_j /
 * (z_j + e sign z_j) to its input i.  With g = R / x that is the true gradient's walk, each g_j
 * multiplied by z_j / (z_j + e sign z_j) on its way: 1 - |e| / (|z_j| + e).  Rectifiers, max pools, concat and
 * dropout hand on what they get; add, mean pools and bn are sums.  e is a share of the root mean
 * square of z over the layer.  With e = 0 it is gradient x input.
 * alpha-beta: a - b = 1; what raised z and what lowered it are divided apart, biases left out:
 * x_i (a w+_ij R_j / sum_k x_k w+_kj - b w-_ij R_j / sum_k x_k w-_kj), e added to the sums' sizes
 * (they are rounded, where they should be 0).  For one sum with weights, with its bn, of
 * inputs that are not negative; elsewhere epsilon (the first layer, sums without weights).  It is
 * made of the compiled kernels: with the negative weights set to 0 the layer is recorded once more,
 * which gives the sums, and its part of the walk runs; then with the positive ones.  A part of the walk is affine
 * in what a stop writes, so the slab after both is that of the first plus that of the second
 * minus that of a run with zeros.
 * What biases contributed and what e took is missing at the pixels; both sums are printed.
 * theory: Bach, Binder, Montavon, Klauschen, Mueller, Samek 2015, equations (56) to (60); epsilon = 0
 * as gradient x input: Shrikumar et al. 2016; Kindermans et al. 2016.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_ask.h"

enum { EPSILON, ALPHA1, ALPHA2 };
static struct {
    int rule;
    double epsilon;
} options = {.epsilon = 0.01};

typedef struct Walk {
    rt_look *l;
    float *diff, *value;    /* of one layer */
    float *share[2];        /* alpha-beta: what is handed on per unit of a positive, negative part */
    char *before, *slab[2]; /* copies of the look program's memory */
    int way[257], nway, at; /* the stops and the one to come */
    int done;               /* a layer whose part of the walk has been run with its bn's, -1 */
} Walk;

static const rt_seed *layer_of(const Walk *w, int seed) {
    return &w->l->m->model->program[RT_LOOK].seed[seed];
}

static int64_t cells_of(const Walk *w, int seed) {
    int64_t chw[3];
    rt_seed_shape(w->l->m->model, seed, chw);
    return chw[0] * chw[1] * chw[2];
}

/* e: a share of the root mean square. */
static double stabilizer(const float *z, int64_t n) {
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += (double)z[i] * (double)z[i];
    return options.epsilon * sqrt(square / (double)n);
}

/* g *= z / (z + e sign z) at a layer that sums. */
static void damp(Walk *w, int seed) {
    int64_t n = cells_of(w, seed);
    rt_look_read_diff(w->l, seed, w->diff);
    rt_look_values(w->l, seed, 0, w->value);
    double e = stabilizer(w->value, n);
    for (int64_t i = 0; i < n && e > 0; i++) {
        double size = fabs((double)w->value[i]);
        w->diff[i] = (float)((double)w->diff[i] * (size / (size + e)));
    }
    rt_look_write_diff(w->l, seed, w->diff);
}

/* ---- alpha-beta ---- */

/* A parameter of the layer, or of the bn that normalises it. */
static int belongs(const Walk *w, int param, int seed) {
    int layer = rt_seed_of_param(w->l->m->model, param);
    return layer >= 0 && (layer == seed || layer == layer_of(w, seed)->base);
}

static int is_called(const char *name, const char *end) {
    size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

/* Keeps the weights whose sign, times that of the bn's factor, is `sign`, as they then count:
 * positively; biases and means become 0. */
static int set_signs(Walk *w, float *const *saved, const float *factor, int sign,
                     rt_error *err) {
    const rt_model *model = w->l->m->model;
    for (int p = 0; p < model->nparams; p++) {
        const rt_param *q = &model->param[p];
        int64_t n = rt_param_count(q);
        if (!saved[p] || is_called(q->name, ".running_var") || (q->rank == 1 && saved[p] == factor))
            continue;
        float *x = rt_alloc_zero((size_t)n, sizeof *x, "weights", err);
        if (!x)
            return err->code;
        for (int64_t i = 0; i < n && q->rank > 1; i++) {
            float f = factor ? factor[i / (n / q->dim[0])] : 1;
            x[i] = (saved[p][i] * f > 0) == (sign > 0) ? (float)sign * saved[p][i] : 0;
        }
        rt_param_write(w->l->m, p, x);
        rt_free(x);
    }
    return NETRT_OK;
}

/* Records the layer again and reads it.  Memory is put back: the kernels' scratch lies where nothing
 * lived while recording, and there may be diffs now. */
static int record_layer(Walk *w, int seed, float *values, rt_error *err) {
    const rt_program *p = &w->l->m->model->program[RT_LOOK];
    const rt_entry *e = rt_find_entry(p, "record");
    const char *label = layer_of(w, layer_of(w, seed)->base)->label;
    int found = 0;
    memcpy(w->before, w->l->m->act[1], w->l->m->act_size[1]);
    for (int k = e->first; k < e->first + e->count && !err->code; k++)
        if (strcmp(p->kernel[k].label, label) == 0) {
            rt_run_part(w->l->m, RT_LOOK, "record", k, k + 1, 1, err);
            found = 1;
        }
    if (!found)
        return rt_fail(err, NETRT_EBUG, "no kernel records layer '%s'", label);
    rt_look_values(w->l, seed, 0, values);
    memcpy(w->l->m->act[1], w->before, w->l->m->act_size[1]);
    return err->code;
}

/* first + second - none, where memory differs; floats, which all that a walk writes is. */
static void combine(float *slab, const float *first, const float *second, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t none, a, b;
        memcpy(&none, &slab[i], sizeof none);
        memcpy(&a, &first[i], sizeof a);
        memcpy(&b, &second[i], sizeof b);
        if (a == none)
            slab[i] = second[i];
        else if (b == none)
            slab[i] = first[i];
        else
            slab[i] = (first[i] + second[i]) - slab[i];
    }
}

static int run_signed(Walk *w, int seed, int first, int end, float *const *saved,
                      const float *factor, rt_error *err) {
    netrt *m = w->l->m;
    size_t size = m->act_size[1];
    if (set_signs(w, saved, factor, 1, err))
        return err->code;
    rt_look_write_diff(w->l, seed, w->share[0]);
    if (options.rule == ALPHA1)
        return rt_look_run(w->l, first, end, err);
    float *none = rt_alloc_zero((size_t)cells_of(w, seed), sizeof *none, "a layer", err);
    memcpy(w->before, m->act[1], size);
    if (none && rt_look_run(w->l, first, end, err) == 0) {
        memcpy(w->slab[0], m->act[1], size);
        memcpy(m->act[1], w->before, size);
        rt_look_write_diff(w->l, seed, w->share[1]);
        set_signs(w, saved, factor, -1, err);
    }
    if (none && !err->code && rt_look_run(w->l, first, end, err) == 0) {
        memcpy(w->slab[1], m->act[1], size);
        memcpy(m->act[1], w->before, size);
        rt_look_write_diff(w->l, seed, none);
        if (rt_look_run(w->l, first, end, err) == 0)
            combine((float *)(void *)m->act[1], (const float *)(void *)w->slab[0],
                    (const float *)(void *)w->slab[1], size / sizeof(float));
    }
    rt_free(none);
    return err->code;
}

/* What each unit hands on per unit of its positive and of its negative part.  With alpha 2 a unit
 * that has but one of them hands all on there, so that nothing is made or lost. */
static int find_shares(Walk *w, int seed, float *const *saved, const float *factor, rt_error *err) {
    int64_t n = cells_of(w, seed);
    double e[2] = {0}, alpha = options.rule == ALPHA1 ? 1 : 2;
    rt_look_read_diff(w->l, seed, w->diff);
    rt_look_values(w->l, seed, 0, w->value);
    memset(w->share[1], 0, (size_t)n * sizeof(float));
    for (int k = 0; k < (options.rule == ALPHA1 ? 1 : 2); k++) {
        if (set_signs(w, saved, factor, k == 0 ? 1 : -1, err) ||
            record_layer(w, seed, w->share[k], err))
            return err->code;
        e[k] = stabilizer(w->share[k], n);
    }
    for (int64_t i = 0; i < n; i++) {
        double up = (double)w->share[0][i], down = (double)w->share[1][i];
        double relevance = (double)w->diff[i] * (double)w->value[i];
        double a = down > 0 ? alpha : 1, b = up > 0 ? 1 - alpha : 1;
        w->share[0][i] = up > 0 ? (float)(a * relevance / (up + e[0])) : 0;
        w->share[1][i] = down > 0 ? (float)(b * relevance / (down + e[1])) : 0;
    }
    return NETRT_OK;
}

static int divide(Walk *w, int seed, int first, int end, rt_error *err) {
    const rt_model *model = w->l->m->model;
    float **saved = rt_alloc_zero((size_t)model->nparams, sizeof *saved, "weights", err);
    const float *factor = NULL;
    for (int p = 0; p < model->nparams && saved && !err->code; p++) {
        if (!belongs(w, p, seed))
            continue;
        saved[p] = rt_alloc((size_t)rt_param_count(&model->param[p]), sizeof(float), "weights", err);
        if (saved[p])
            rt_param_read(w->l->m, p, saved[p]);
        if (model->param[p].rank == 1 && is_called(model->param[p].name, ".weight"))
            factor = saved[p];
    }
    if (!err->code && find_shares(w, seed, saved, factor, err) == 0)
        run_signed(w, seed, first, end, saved, factor, err);
    for (int p = 0; p < model->nparams && saved; p++) {
        if (saved[p])
            rt_param_write(w->l->m, p, saved[p]);
        rt_free(saved[p]);
    }
    rt_free((void *)saved);
    return err->code;
}

static int has_weights(const Walk *w, int seed) {
    const rt_model *model = w->l->m->model;
    for (int p = 0; p < model->nparams; p++)
        if (model->param[p].rank > 1 && belongs(w, p, seed))
            return 1;
    return 0;
}

/* May the layer be divided by alpha and beta?  A bn is, together with its layer, where the walk goes from
 * one to the other without another stop; that layer has then nothing left to do. */
static int divides(const Walk *w, int seed) {
    int base = layer_of(w, seed)->base;
    if (options.rule == EPSILON || base < 0 || !has_weights(w, seed))
        return 0;
    return base == seed || (w->at < w->nway && w->way[w->at] == base);
}

static int stop_at(void *context, int seed, int first, int end, rt_error *err) {
    Walk *w = context;
    w->at++; /* now way[at] is the next stop */
    if (rt_cli_signal)
        return rt_fail(err, 128 + rt_cli_signal, "stopped");
    if (seed == w->done)
        return NETRT_OK;
    if (divides(w, seed)) {
        int base = layer_of(w, seed)->base;
        if (base != seed) {
            w->done = base;
            end = w->at + 1 < w->nway ? layer_of(w, w->way[w->at + 1])->rule[0].first : -1;
        }
        return divide(w, seed, first, end, err);
    }
    if (layer_of(w, seed)->parts & (RT_PART_WEIGHTS | RT_PART_NORM | RT_PART_SUM))
        damp(w, seed);
    return rt_look_run(w->l, first, end, err);
}

/* ---- the picture ---- */

/* The rule is about sums, rectifiers and what moves numbers; another function on the way has none. */
static int check_way(const rt_ask *a, rt_error *err) {
    const rt_program *p = &a->v->m->model->program[RT_LOOK];
    int way[257], n = rt_look_way(&a->v->look, a->seed, way);
    for (int i = 0; i < n; i++)
        if (p->seed[way[i]].parts & RT_PART_OTHER)
            return rt_fail(err, NETRT_EUSAGE, "relevance is not defined for layer '%s' of %s (%s)\n"
                           "help: `integrated` and `gradxinput` divide the score of every network",
                           p->seed[way[i]].label, a->v->m->model->name,
                           p->tensor[p->seed[way[i]].tensor].op);
    return NETRT_OK;
}

static int walk_open(Walk *w, rt_ask *a, rt_error *err) {
    size_t room = (size_t)a->v->look.seed_room, size = a->v->m->act_size[1];
    *w = (Walk){.l = &a->v->look, .done = -1};
    float **layer[4] = {&w->diff, &w->value, &w->share[0], &w->share[1]};
    for (int i = 0; i < 4 && !err->code; i++)
        *layer[i] = rt_alloc(room, sizeof(float), "a layer", err);
    if (options.rule != EPSILON && !err->code)
        w->before = rt_alloc(size, 1, "a copy of the network's memory", err);
    for (int i = 0; i < 2 && options.rule == ALPHA2 && !err->code; i++)
        w->slab[i] = rt_alloc(size, 1, "a copy of the network's memory", err);
    w->nway = rt_look_way(w->l, a->seed, w->way);
    return err->code;
}

static void walk_close(Walk *w) {
    rt_free(w->diff);
    rt_free(w->value);
    rt_free(w->before);
    for (int i = 0; i < 2; i++) {
        rt_free(w->share[i]);
        rt_free(w->slab[i]);
    }
}

/* a->map = relevance of every number of the picture; returns its sum. */
static double relevance(rt_ask *a, rt_error *err) {
    Walk w;
    double sum = 0;
    if (walk_open(&w, a, err) == 0 &&
        rt_look_walk(w.l, a->seed, a->unit, stop_at, &w, a->map, err) == 0)
        for (int64_t i = 0; i < a->pixels; i++) {
            a->map[i] *= a->picture[i];
            sum += (double)a->map[i];
        }
    walk_close(&w);
    return sum;
}

static int draw(rt_ask *a, double sum, rt_error *err) {
    rt_image tile = {0};
    char note[400];
    int64_t plane = a->size.h * a->size.w;
    for (int64_t c = 0; c < a->size.c; c++) /* what a pixel gets is what its channels get */
        for (int64_t i = 0; i < plane; i++)
            a->diff[i] = a->map[c * plane + i] + (c ? a->diff[i] : 0);
    float top = rt_shown_scale(a->diff, plane);
    rt_shown shown = {"against, for", RT_BAR_GREY, -top, top};
    static const char *const rule[] = {"", "alpha 1, beta 0; ", "alpha 2, beta 1; "};
    snprintf(note, sizeof note, "%s; %sepsilon %.3g; sum of relevance %.6g of %.6g", a->what,
             rule[options.rule], options.epsilon, sum, (double)a->value);
    if (rt_canvas_tone(&tile, a->diff, 1, (int)a->size.h, (int)a->size.w, 0, RT_TONE_SIGNED, top,
                       err) == 0)
        rt_ask_show(a, "lrp", "layer-wise relevance", note, &tile, &shown, 1, a->map, a->size.c, err);
    rt_image_free(&tile);
    return err->code;
}

static int run_relevance(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_ask a;
    if (rt_ask_open(&a, v, &feed, 0, operands, n, err) == 0 && check_way(&a, err) == 0) {
        double sum = relevance(&a, err);
        if (!err->code)
            draw(&a, sum, err);
    }
    rt_ask_close(&a);
    return err->code;
}

static const rt_arg args[] = {
    {"rule", 0, RT_ARG_CHOICE, "epsilon|alpha1|alpha2", &options.rule, 0, 0,
     "epsilon (default); alpha1: alpha 1, beta 0; alpha2: alpha 2, beta 1"},
    {"epsilon", 0, RT_ARG_REAL, "SHARE", &options.epsilon, 0, 1,
     "stabilizer, a share of each layer's root mean square (default: 0.01)"},
};

const rt_technique rt_technique_lrp = {
    {"lrp", "the score divided among the pixels, layer by layer", "[OPTIONS] [PICTURE]",
     "lrp cat.jpg\nlrp --image=7 --class=3 --rule=alpha2"},
    run_relevance, args, sizeof args / sizeof *args};
