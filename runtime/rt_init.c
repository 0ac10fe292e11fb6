/* rt_init.c: initial parameters.
 *
 * Number i of a parameter is a function of (seed, the parameter's index among saved ones, i in
 * logical order): neither the target's blocking nor helper tables nor threads change the bits.
 * theory: counter-based generators, Salmon et al. 2011 (rt_rng.h).
 */
#include <string.h>

#include "rt_alloc.h"
#include "rt_model.h"
#include "rt_rng.h"

/* Elements first .. first + n - 1 of a parameter. */
static void fill_part(const rt_param *p, uint64_t seed, uint32_t index, float *w, int64_t first,
                      int64_t n) {
    rt_rng rng = rt_rng_make(seed, RT_RNG_INIT);
    float a = (float)p->init_a, b = (float)p->init_b;
    switch (p->init) {
    case RT_INIT_UNIFORM:
        rt_rng_fill_uniform(rng, 0, index, (uint64_t)first, a, b, w + first, (size_t)n);
        break;
    case RT_INIT_GAUSSIAN:
        rt_rng_fill_normal(rng, 0, index, (uint64_t)first, a, b, w + first, (size_t)n);
        break;
    case RT_INIT_TABLE:
        memcpy(w + first, p->table + first, (size_t)n * sizeof *w);
        break;
    case RT_INIT_FILL:
        for (int64_t i = 0; i < n; i++)
            w[first + i] = a;
        break;
    default:
        memset(w + first, 0, (size_t)n * sizeof *w);
    }
}

/* An element depends on its number only, so threads may share a parameter in any way. */
static void fill_values(const rt_param *p, uint64_t seed, uint32_t index, float *w, int64_t n,
                        int threads) {
    enum { PART = 1 << 16 };
    int64_t parts = (n + PART - 1) / PART;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (parts > 1)
    for (int64_t i = 0; i < parts; i++)
        fill_part(p, seed, index, w, i * PART, n - i * PART < PART ? n - i * PART : PART);
}

/* Connections that do not exist stay zero for good: their gradient is masked by the compiler. */
static void clear_missing(const rt_param *p, float *w, int64_t n) {
    if (!p->links || p->rank < 2)
        return;
    int64_t pairs = p->dim[0] * p->dim[1], area = n / pairs;
    for (int64_t i = 0; i < pairs; i++)
        if (!p->links[i])
            memset(w + i * area, 0, (size_t)area * sizeof *w);
}

int rt_init_params(netrt *m, uint64_t seed, rt_error *err) {
    int64_t largest = 1;
    for (int i = 0; i < m->model->nparams; i++)
        if (rt_param_count(&m->model->param[i]) > largest)
            largest = rt_param_count(&m->model->param[i]);
    float *w = rt_alloc((size_t)largest, sizeof *w, "initial weights", err);
    if (!w)
        return err->code;
    uint32_t index = 0;
    for (int i = 0; i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        int64_t n = rt_param_count(p);
        fill_values(p, seed, index, w, n, m->threads);
        clear_missing(p, w, n);
        rt_param_write(m, i, w);
        index += (uint32_t)rt_param_saved(p);
    }
    rt_free(w);
    return NETRT_OK;
}
