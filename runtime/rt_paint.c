/* rt_paint.c: pictures in pixel units around a network's inputs (rt_paint.h). */
#include "rt_paint.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_rng.h"

/* Input of plane k: base + scale * (pixel - zero); planes of BGR networks are turned round. */
static void find_tones(rt_paint *p) {
    const struct rt_prep *prep = &p->v->prep;
    for (int k = 0; k < prep->channels; k++) {
        int color = prep->bgr && prep->channels == 3 ? 2 - k : k;
        float std = prep->std[color] > 0 ? prep->std[color] : 1;
        float at0 = (prep->lo - prep->mean[color]) / std;
        p->scale[k] = (prep->hi - prep->lo) / 255 / std;
        float zero = p->scale[k] != 0 ? -at0 / p->scale[k] : 0;
        zero = zero < 0 ? 0 : zero > 255 ? 255 : zero;
        p->base[k] = at0 + p->scale[k] * zero;
        p->lo[k] = -zero;
        p->hi[k] = 255 - zero;
    }
}

int rt_paint_open(rt_paint *p, rt_viz *v, const rt_term *term, int nterms, int64_t n,
                  rt_error *err) {
    const struct rt_prep *prep = &v->prep;
    *p = (rt_paint){.v = v, .size = {prep->channels, prep->height, prep->width}, .n = n};
    p->count = rt_planes_count(p->size);
    if (v->m->model->ninputs != 1 || prep->channels > 4)
        return rt_fail(err, NETRT_EUSAGE, "only a network with one picture as its input can be "
                       "made to paint; %s has %d inputs", v->m->model->name, v->m->model->ninputs);
    find_tones(p);
    size_t all = (size_t)p->count * (size_t)n;
    float **part[] = {&p->x, &p->g, &p->input};
    for (int i = 0; i < 3 && !err->code; i++)
        *part[i] = rt_alloc_zero(all, sizeof(float), "pictures", err);
    if (!err->code)
        p->room = rt_alloc_zero(2 * (size_t)p->count, sizeof(float), "pictures", err);
    if (!err->code)
        p->value = rt_alloc_zero((size_t)n, sizeof(double), "values", err);
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

void rt_paint_set(rt_paint *p, int64_t i, const float *input) {
    int64_t plane = p->size.h * p->size.w;
    for (int64_t k = 0; k < p->size.c; k++)
        for (int64_t j = k * plane; j < (k + 1) * plane; j++)
            p->x[i * p->count + j] = p->scale[k] != 0 ? (input[j] - p->base[k]) / p->scale[k] : 0;
}

static void to_input(const rt_paint *p, const float *x, float *input) {
    int64_t plane = p->size.h * p->size.w;
    for (int64_t k = 0; k < p->size.c; k++)
        for (int64_t j = k * plane; j < (k + 1) * plane; j++)
            input[j] = p->base[k] + p->scale[k] * x[j];
}

int rt_paint_eval(rt_paint *p, int gradient, rt_error *err) {
    int64_t plane = p->size.h * p->size.w;
    for (int64_t i = 0; i < p->n; i++)
        to_input(p, p->x + i * p->count, p->input + i * p->count);
    if (rt_objective_eval(&p->objective, p->input, p->n, p->value, gradient ? p->g : NULL, err))
        return err->code;
    for (int64_t i = 0; gradient && i < p->n; i++)
        for (int64_t k = 0; k < p->size.c; k++)
            for (int64_t j = 0; j < plane; j++)
                p->g[i * p->count + k * plane + j] *= p->scale[k];
    return NETRT_OK;
}

void rt_paint_clamp(rt_paint *p) {
    for (int64_t i = 0; i < p->n; i++)
        rt_clamp(p->x + i * p->count, p->size, p->lo, p->hi);
}

int rt_paint_image(const rt_paint *p, int64_t i, rt_image *out, rt_error *err) {
    to_input(p, p->x + i * p->count, p->room);
    return rt_prep_invert(&p->v->prep, p->room, out, err);
}
