/* rt_paint.c: pictures in pixel units around a network's inputs (rt_paint.h). */
#include "rt_paint.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"
#include "rt_rng.h"

/* Input i: base + scale * (pixel - zero). */
static void find_tones(rt_paint *p) {
    for (int64_t i = 0; i < p->count; i++) {
        float at0 = rt_prep_tone(&p->v->prep, i, &p->scale[i]);
        p->zero[i] = rt_prep_zero(&p->v->prep, i);
        p->base[i] = at0 + p->scale[i] * p->zero[i];
    }
}

int rt_paint_open(rt_paint *p, rt_viz *v, const rt_term *term, int nterms, int64_t n,
                  rt_error *err) {
    const struct rt_prep *prep = &v->prep;
    *p = (rt_paint){.v = v, .size = {prep->channels, prep->height, prep->width}, .n = n};
    p->count = rt_planes_count(p->size);
    if (v->m->model->ninputs != 1)
        return rt_fail(err, NETRT_EUSAGE, "only a network with one picture as its input can be "
                       "made to paint; %s has %d inputs", v->m->model->name, v->m->model->ninputs);
    size_t all = (size_t)p->count * (size_t)n;
    float **part[] = {&p->x, &p->g, &p->input}, **one[] = {&p->scale, &p->base, &p->zero};
    for (int i = 0; i < 3 && !err->code; i++)
        *part[i] = rt_alloc_zero(all, sizeof(float), "pictures", err);
    for (int i = 0; i < 3 && !err->code; i++)
        *one[i] = rt_alloc_zero((size_t)p->count, sizeof(float), "a picture", err);
    if (!err->code)
        p->room = rt_alloc_zero((size_t)v->m->threads * (size_t)p->count, sizeof(float), "pictures", err);
    if (!err->code)
        p->value = rt_alloc_zero((size_t)n, sizeof(double), "values", err);
    if (!err->code)
        find_tones(p);
    if (!err->code)
        rt_objective_open(&p->objective, &v->look, term, nterms, err);
    return err->code;
}

void rt_paint_close(rt_paint *p) {
    if (p->objective.look)
        rt_objective_close(&p->objective);
    rt_free(p->x);
    rt_free(p->g);
    rt_free(p->input);
    rt_free(p->room);
    rt_free(p->scale);
    rt_free(p->base);
    rt_free(p->zero);
    rt_free(p->value);
    *p = (rt_paint){0};
}

void rt_paint_clear(rt_paint *p) {
    memset(p->x, 0, (size_t)(p->count * p->n) * sizeof *p->x);
}

void rt_paint_noise(rt_paint *p, double sigma) {
    rt_rng rng = rt_rng_make(p->v->m->seed, RT_RNG_VIZ);
    for (int64_t i = 0; i < p->n; i++)
        rt_rng_fill_normal(rng, 0, (uint32_t)i, 0, 0, (float)sigma, p->x + i * p->count,
                           (size_t)p->count);
}

static void to_input(const rt_paint *p, const float *x, float *input) {
    for (int64_t j = 0; j < p->count; j++)
        input[j] = p->base[j] + p->scale[j] * x[j];
}

void rt_paint_input(const rt_paint *p, int64_t i, float *input) {
    to_input(p, p->x + i * p->count, input);
}

static void some_to_input(void *context, int64_t lo, int64_t hi, int thread) {
    const rt_paint *p = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        to_input(p, p->x + i * p->count, p->input + i * p->count);
}

static void scale_some(void *context, int64_t lo, int64_t hi, int thread) {
    const rt_paint *p = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t j = 0; j < p->count; j++)
            p->g[i * p->count + j] *= p->scale[j];
}

int rt_paint_eval(rt_paint *p, int gradient, rt_error *err) {
    rt_parallel_for(p->v->m->threads, p->n, 1, some_to_input, p);
    if (rt_objective_eval(&p->objective, p->input, p->n, p->value, gradient ? p->g : NULL, err))
        return err->code;
    if (gradient)
        rt_parallel_for(p->v->m->threads, p->n, 1, scale_some, p);
    return NETRT_OK;
}

static void clamp_some(void *context, int64_t lo, int64_t hi, int thread) {
    const rt_paint *p = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t j = 0; j < p->count; j++) {
            float *x = &p->x[i * p->count + j], least = -p->zero[j], most = 255 - p->zero[j];
            *x = *x < least ? least : *x > most ? most : *x;
        }
}

void rt_paint_clamp(rt_paint *p) {
    rt_parallel_for(p->v->m->threads, p->n, 1, clamp_some, p);
}

int rt_paint_show(const rt_paint *p, const float *x, rt_image *out, rt_error *err) {
    to_input(p, x, p->room);
    return rt_prep_invert(&p->v->prep, p->room, out, err);
}

int rt_paint_image(const rt_paint *p, int64_t i, rt_image *out, rt_error *err) {
    return rt_paint_show(p, p->x + i * p->count, out, err);
}

void rt_paint_from_input(const rt_paint *p, const float *input, float *x) {
    for (int64_t j = 0; j < p->count; j++)
        x[j] = p->scale[j] != 0 ? (input[j] - p->base[j]) / p->scale[j] : 0;
}

void rt_paint_from(rt_paint *p, int64_t i, const float *input) {
    rt_paint_from_input(p, input, p->x + i * p->count);
}
