/* rt_objective.c: values and gradients of objectives (rt_objective.h).
 *
 * Terms are evaluated where the walk back stops anyway: the layer's activations are read once, and
 * each of its terms adds to its value and to the layer's gradient.  Sums run in double precision in
 * a fixed order.  theory: the formulas in rt_objective.h; Gatys et al. 2016, equations 3 to 6.
 */
#include "rt_objective.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "rt_alloc.h"

/* ---- terms ---- */

static bool is_about(const rt_term *t, int seed, int64_t image) {
    return t->seed == seed && (t->image < 0 || t->image == image);
}

/* Is term i one of GRAM at this place? */
static bool is_gram(const rt_objective *o, int i, int seed, int64_t image) {
    return o->term[i].kind == RT_TERM_GRAM && is_about(&o->term[i], seed, image);
}

/* Is there any term at this place? */
static int wanted(void *context, int layer, int64_t image) {
    const rt_objective *o = context;
    for (int i = 0; i < o->nterms; i++)
        if (is_about(&o->term[i], o->layer[layer], image))
            return 1;
    return 0;
}

static void count_value(rt_objective *o, int term, int64_t image, double value) {
    o->sum[image] += value;
    if (o->part)
        o->part[term] += value;
}

/* All GRAM terms of a layer for one image: they share the matrix and the product of the gradient,
 * which is added to diff (or written there) unless that is NULL. */
static void gram_terms(rt_objective *o, int seed, int64_t image, const rt_maps *f,
                       const rt_maps *diff, int add, int rectified) {
    int64_t count = f->maps * f->maps;
    int first = 1;
    for (int i = 0; i < o->nterms; i++) {
        if (!is_gram(o, i, seed, image))
            continue;
        if (first)
            rt_gram(f, o->gram, &o->how);
        const rt_term *t = &o->term[i];
        double sum = 0;
        for (int64_t k = 0; k < count; k++) {
            double d = (double)o->gram[k] - (double)t->target[k];
            sum += d * d;
            o->slope[k] = (first ? 0 : o->slope[k]) + (float)(4 * t->weight * d);
        }
        first = 0;
        count_value(o, i, image, t->weight * sum);
    }
    if (diff && !first)
        rt_gram_back(f, o->slope, diff, add, rectified, &o->how);
}

/* d(-log softmax(a)[c])/da = softmax(a) - 1 at c; the largest activation is subtracted first. */
static double cross_term(const float *a, int64_t n, int64_t c, double w, float *diff) {
    double top = (double)a[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        top = (double)a[i] > top ? (double)a[i] : top;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)a[i] - top);
    for (int64_t i = 0; diff && i < n; i++)
        diff[i] += (float)(w * (exp((double)a[i] - top) / sum - (i == c)));
    return w * (log(sum) - ((double)a[c] - top));
}

/* Every cell goes towards the guide's cell that it is most alike: Mordvintsev et al. 2015. */
static double guide_term(rt_objective *o, const rt_term *t, const int64_t chw[3],
                         const float *values, float *diff) {
    int64_t c = chw[0], m = chw[1] * chw[2];
    double sum = 0;
    for (int64_t i = 0; i < m; i++) {
        float *dot = o->alike;
        memset(dot, 0, (size_t)m * sizeof *dot);
        for (int64_t k = 0; k < c; k++) {
            float a = values[k * m + i];
            const float *guide = t->target + k * m;
            for (int64_t j = 0; a != 0 && j < m; j++)
                dot[j] += a * guide[j];
        }
        int64_t best = 0;
        for (int64_t j = 1; j < m; j++)
            best = dot[j] > dot[best] ? j : best;
        sum += (double)dot[best];
        for (int64_t k = 0; diff && k < c; k++)
            diff[k * m + i] += (float)t->weight * t->target[k * m + best];
    }
    return t->weight * sum;
}

/* One term at the layer's values a; diff gets its gradient added, unless NULL. */
static double term_value(rt_objective *o, const rt_term *t, const int64_t chw[3], const float *a,
                         float *diff) {
    int64_t m = chw[1] * chw[2], n = chw[0] * m, at = t->unit.c * m;
    float w = (float)t->weight;
    double sum = 0;
    switch (t->kind) {
    case RT_TERM_UNIT:
        at += t->unit.y * chw[2] + t->unit.x;
        sum = (double)a[at];
        if (diff)
            diff[at] += w;
        break;
    case RT_TERM_MAP:
        for (int64_t i = at; i < at + m; i++) {
            sum += (double)a[i];
            if (diff)
                diff[i] += w;
        }
        break;
    case RT_TERM_LAYER:
        for (int64_t i = 0; i < n; i++) {
            sum += (double)a[i] * (double)a[i];
            if (diff)
                diff[i] += w * a[i];
        }
        sum /= 2;
        break;
    case RT_TERM_INNER:
        for (int64_t i = 0; i < n; i++) {
            sum += (double)a[i] * (double)t->target[i];
            if (diff)
                diff[i] += w * t->target[i];
        }
        break;
    case RT_TERM_MATCH:
        for (int64_t i = 0; i < n; i++) {
            double d = (double)a[i] - (double)t->target[i];
            sum += d * d;
            if (diff)
                diff[i] += 2 * w * (float)d;
        }
        break;
    case RT_TERM_CROSS:
        return cross_term(a, n, t->unit.c, t->weight, diff);
    case RT_TERM_GUIDE:
        return guide_term(o, t, chw, a, diff);
    }
    return t->weight * sum;
}

/* All terms of a layer for one image: what the walk asks for when it comes by. */
static void fill(void *context, int layer, int64_t image, int room, float *diff) {
    rt_objective *o = context;
    int seed = o->layer[layer];
    int64_t chw[3];
    float *values = o->values + room * o->look->seed_room;
    rt_seed_shape(o->look->m->model, seed, chw);
    rt_look_values(o->look, seed, image, values);
    if (diff)
        memset(diff, 0, (size_t)(chw[0] * chw[1] * chw[2]) * sizeof *diff);
    for (int i = 0; i < o->nterms; i++)
        if (is_about(&o->term[i], seed, image) && o->term[i].kind != RT_TERM_GRAM)
            count_value(o, i, image, term_value(o, &o->term[i], chw, values, diff));
    rt_maps f = rt_maps_plain(values, chw[0], chw[1], chw[2]), g = f;
    g.at = diff;
    gram_terms(o, seed, image, &f, diff ? &g : NULL, 1, 0);
}

/* The same where a layer has GRAM terms alone and kernels keep it in cells: no copy is made. */
static int fill_in_place(void *context, int layer, int64_t image, int tensor, int rectified,
                         int add) {
    rt_objective *o = context;
    const netrt *m = o->look->m;
    int seed = o->layer[layer];
    rt_maps f, diff;
    for (int i = 0; i < o->nterms; i++)
        if (o->term[i].seed == seed && !is_gram(o, i, seed, image))
            return 0;
    if (!rt_maps_of(m, m->model->program[RT_LOOK].seed[seed].tensor, image, &f) ||
        !rt_maps_of(m, tensor, image, &diff) || f.h != diff.h || f.w != diff.w)
        return 0;
    gram_terms(o, seed, image, &f, &diff, add, rectified);
    return 1;
}

int rt_objective_eval(rt_objective *o, const float *images, int64_t n, double *value, float *diff,
                      rt_error *err) {
    rt_look *l = o->look;
    l->m->frame.input[0] = images;
    for (int64_t k = 0; k < n; k++) {
        o->end[k] = 0;
        for (int i = 0; i < o->nlayers; i++)
            if (wanted(o, i, k) && rt_look_end(l, o->layer[i]) > o->end[k])
                o->end[k] = rt_look_end(l, o->layer[i]);
    }
    if (o->whole ? rt_look_record(l, n, err) : rt_look_record_to(l, o->end, n, err))
        return err->code;
    o->sum = value;
    memset(value, 0, (size_t)n * sizeof *value);
    if (o->part)
        memset(o->part, 0, (size_t)o->nterms * sizeof *o->part);
    if (diff) {
        l->serial = o->gram || o->alike || o->part; /* which have one room */
        l->in_place = o->gram ? fill_in_place : NULL;
        l->wants = wanted;
        rt_look_back(l, RT_RULE_GRADIENT, o->layer, o->nlayers, fill, o, n, diff, err);
        l->serial = 0;
        l->in_place = NULL;
        l->wants = NULL;
        return err->code;
    }
    for (int i = 0; i < o->nlayers; i++)
        for (int64_t k = 0; k < n; k++)
            if (wanted(o, i, k))
                fill(o, i, k, 0, NULL);
    return NETRT_OK;
}

/* ---- opening ---- */

static int add_layer(rt_objective *o, int seed, rt_error *err) {
    for (int i = 0; i < o->nlayers; i++)
        if (o->layer[i] == seed)
            return NETRT_OK;
    if (o->nlayers == RT_BACK_MAX)
        return rt_fail(err, NETRT_EUSAGE, "an objective may be about %d layers at most",
                       RT_BACK_MAX);
    o->layer[o->nlayers++] = seed;
    return NETRT_OK;
}

int rt_objective_open(rt_objective *o, rt_look *look, const rt_term *term, int nterms,
                      rt_error *err) {
    *o = (rt_objective){.look = look, .term = term, .nterms = nterms};
    o->how = (rt_gram_how){.threads = look->m->threads, .fma = rt_gram_fma(look->m->model)};
    int64_t gram = 0, room = 0, alike = 0;
    for (int i = 0; i < nterms; i++) {
        int64_t chw[3], need = 0;
        rt_seed_shape(look->m->model, term[i].seed, chw);
        if (term[i].kind == RT_TERM_GRAM) {
            need = rt_gram_room(chw[0], chw[1] * chw[2], o->how.threads);
            gram = chw[0] > gram ? chw[0] : gram;
        }
        if (need < 0)
            return rt_fail(err, NETRT_ELIMIT, "a layer has too many maps for a Gram matrix");
        room = need > room ? need : room;
        if (term[i].kind == RT_TERM_GUIDE && chw[1] * chw[2] > alike)
            alike = chw[1] * chw[2];
        if (add_layer(o, term[i].seed, err))
            return err->code;
    }
    o->values = rt_alloc_zero((size_t)(look->rooms * look->seed_room + 1), sizeof *o->values,
                              "a layer's values", err);
    o->end = rt_alloc_zero((size_t)look->cap, sizeof *o->end, "a walk's images", err);
    float **part[] = {&o->gram, &o->slope, &o->how.room};
    size_t size[] = {(size_t)(gram * gram), (size_t)(gram * gram), (size_t)room};
    for (int i = 0; i < 3 && gram && !err->code; i++)
        *part[i] = rt_alloc_zero(size[i], sizeof(float), "Gram matrices", err);
    if (alike && !err->code)
        o->alike = rt_alloc((size_t)alike, sizeof *o->alike, "a guide's cells", err);
    return err->code;
}

void rt_objective_close(rt_objective *o) {
    rt_free(o->values);
    rt_free(o->gram);
    rt_free(o->slope);
    rt_free(o->how.room);
    rt_free(o->alike);
    rt_free(o->end);
    o->end = NULL;
    o->values = o->gram = o->slope = o->how.room = o->alike = NULL;
}
