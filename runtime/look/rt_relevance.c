/* rt_relevance.c: layer-wise relevance propagation: a score is divided among the pixels, layer by
 * layer, so that what a unit gets it hands on.
 *
 * epsilon: unit j of a layer that sums, z_j = sum_i x_i w_ij + b_j, hands x_i w_ij R_j /
 * (z_j + e sign z_j) to its input i.  With g = R / x that is the true gradient's walk, each g_j
 * multiplied by z_j / (z_j + e sign z_j) on its way: 1 - |e| / (|z_j| + e).  Rectifiers, max pools, concat and
 * dropout hand on what they get; add, mean pools and bn are sums.  e is a share of the root mean
 * square of z over the layer.  With e = 0 it is gradient x input.
 * What biases contributed and what e took is missing at the pixels; both sums are printed.
 * theory: Bach, Binder, Montavon, Klauschen, Mueller, Samek 2015, equations (56) to (60); epsilon = 0
 * as gradient x input: Shrikumar et al. 2016; Kindermans et al. 2016.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_ask.h"

static struct {
    double epsilon;
} options = {.epsilon = 0.01};

typedef struct Walk {
    rt_look *l;
    float *diff, *value;    /* of one layer */
} Walk;

static const rt_seed *layer_of(const Walk *w, int seed) {
    return &w->l->m->model->program[RT_LOOK].seed[seed];
}

static int64_t cells_of(const Walk *w, int seed) {
    int64_t chw[3];
    rt_seed_shape(w->l->m->model, seed, chw);
    return chw[0] * chw[1] * chw[2];
}

/* g *= z / (z + e sign z) at a layer that sums. */
static void damp(Walk *w, int seed) {
    int64_t n = cells_of(w, seed);
    double square = 0;
    rt_look_read_diff(w->l, seed, w->diff);
    rt_look_values(w->l, seed, 0, w->value);
    for (int64_t i = 0; i < n; i++)
        square += (double)w->value[i] * (double)w->value[i];
    double e = options.epsilon * sqrt(square / (double)n);
    for (int64_t i = 0; i < n && e > 0; i++) {
        double size = fabs((double)w->value[i]);
        w->diff[i] = (float)((double)w->diff[i] * (size / (size + e)));
    }
    rt_look_write_diff(w->l, seed, w->diff);
}

static int stop_at(void *context, int seed, int first, int end, rt_error *err) {
    Walk *w = context;
    if (layer_of(w, seed)->parts & (RT_PART_WEIGHTS | RT_PART_NORM | RT_PART_SUM))
        damp(w, seed);
    return rt_look_run(w->l, first, end, err);
}

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

/* a->map = relevance of every number of the picture; returns its sum. */
static double relevance(rt_ask *a, rt_error *err) {
    Walk w = {.l = &a->v->look};
    double sum = 0;
    size_t room = (size_t)w.l->seed_room;
    w.diff = rt_alloc(room, sizeof *w.diff, "a layer", err);
    w.value = w.diff ? rt_alloc(room, sizeof *w.value, "a layer", err) : NULL;
    if (w.value && rt_look_walk(w.l, a->seed, a->unit, stop_at, &w, a->map, err) == 0)
        for (int64_t i = 0; i < a->pixels; i++) {
            a->map[i] *= a->picture[i];
            sum += (double)a->map[i];
        }
    rt_free(w.diff);
    rt_free(w.value);
    return sum;
}

static int draw(rt_ask *a, double sum, rt_error *err) {
    rt_image tile = {0};
    char note[400];
    int64_t plane = a->size.h * a->size.w;
    for (int64_t c = 0; c < a->size.c; c++) /* what a pixel gets is what its channels get */
        for (int64_t i = 0; i < plane; i++)
            a->diff[i] = a->map[c * plane + i] + (c ? a->diff[i] : 0);
    float top = rt_max_abs(a->diff, plane);
    rt_shown shown = {"against, for", RT_BAR_GREY, -top, top};
    snprintf(note, sizeof note, "%s; epsilon %.3g; sum of relevance %.6g of %.6g", a->what,
             options.epsilon, sum, (double)a->value);
    if (rt_canvas_tone(&tile, a->diff, 1, (int)a->size.h, (int)a->size.w, 0, RT_TONE_SIGNED, top,
                       err) == 0)
        rt_ask_show(a, "lrp", "layer-wise relevance", note, &tile, &shown, 1, a->map, a->size.c, err);
    rt_image_free(&tile);
    return err->code;
}

static int run_relevance(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_ask a;
    if (rt_ask_open(&a, v, &feed, operands, n, err) == 0 && check_way(&a, err) == 0) {
        double sum = relevance(&a, err);
        if (!err->code)
            draw(&a, sum, err);
    }
    rt_ask_close(&a);
    return err->code;
}

static const rt_arg args[] = {
    {"epsilon", 0, RT_ARG_REAL, "SHARE", &options.epsilon, 0, 1,
     "stabilizer, a share of each layer's root mean square (default: 0.01)"},
};

const rt_technique rt_technique_lrp = {
    {"lrp", "the score divided among the pixels, layer by layer", "[OPTIONS] [PICTURE]",
     "lrp cat.jpg\nlrp --image=7 --class=3 --epsilon=0.1"},
    run_relevance, args, sizeof args / sizeof *args};
