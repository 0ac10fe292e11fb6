/* rt_init.c: initial parameters.
 *
 * Number i of a parameter is a function of (seed, the parameter's index among saved ones, i in
 * logical order): neither the target's blocking nor helper tables nor threads change the bits.
 * theory: counter-based generators, Salmon et al. 2011 (rt_rng.h).
 */
#include <stdbool.h>
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
        rt_rng_fill_uniform(rng, 0, index, (uint64_t)first, a, b, w, (size_t)n);
        break;
    case RT_INIT_GAUSSIAN:
        rt_rng_fill_normal(rng, 0, index, (uint64_t)first, a, b, w, (size_t)n);
        break;
    case RT_INIT_TABLE:
        memcpy(w, p->table + first, (size_t)n * sizeof *w);
        break;
    case RT_INIT_FILL:
        for (int64_t i = 0; i < n; i++)
            w[i] = a;
        break;
    default:
        memset(w, 0, (size_t)n * sizeof *w);
    }
}

/* Elements first .. first + n - 1.  An element depends on its number only, so threads may share
 * them in any way. */
static void fill_values(const rt_param *p, uint64_t seed, uint32_t index, float *w, int64_t first,
                        int64_t n, int threads) {
    enum { PART = 1 << 16 };
    int64_t parts = (n + PART - 1) / PART;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (parts > 1)
    for (int64_t i = 0; i < parts; i++)
        fill_part(p, seed, index, w + i * PART, first + i * PART,
                  n - i * PART < PART ? n - i * PART : PART);
}

/* Connections that do not exist stay zero for good: their gradient is masked by the compiler. */
void rt_clear_missing(const rt_param *p, float *w, int64_t first, int64_t rows) {
    if (!p->links || p->rank < 2)
        return;
    int64_t inputs = p->dim[1], area = rt_param_count(p) / (p->dim[0] * inputs);
    for (int64_t i = 0; i < rows * inputs; i++)
        if (!p->links[first * inputs + i])
            memset(w + i * area, 0, (size_t)area * sizeof *w);
}

/* room: rt_part_room() numbers. */
static void init_param(netrt *m, const rt_param *p, uint64_t seed, uint32_t index, float *room) {
    int64_t rows = rt_param_rows(p), size = rt_param_count(p) / rows, part = rt_param_part(p);
    char *pool = m->param + p->offset;
    for (int64_t first = 0; first < rows; first += part) {
        int64_t n = rows - first < part ? rows - first : part;
        fill_values(p, seed, index, room, first * size, n * size, m->threads);
        rt_clear_missing(p, room, first, n);
        rt_param_pack(p, room, pool, first, n, m->threads);
    }
}

static void init_all(netrt *m, uint64_t seed, bool constants_only, float *room) {
    uint32_t index = 0;
    for (int i = 0; i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!constants_only || !rt_param_saved(p))
            init_param(m, p, seed, index, room);
        index += (uint32_t)rt_param_saved(p);
    }
    m->init_version = ++m->param_version;
    m->init_seed = seed;
}

void rt_init_with(netrt *m, uint64_t seed, float *room) {
    init_all(m, seed, false, room);
}

static int init(netrt *m, uint64_t seed, bool constants_only, rt_error *err) {
    size_t bytes = (size_t)rt_part_room(m->model) * sizeof(float);
    float *room = rt_slab_alloc(bytes, "initial weights", err);
    if (!room)
        return err->code;
    init_all(m, seed, constants_only, room);
    rt_slab_free(room, bytes);
    return NETRT_OK;
}

int rt_init_params(netrt *m, uint64_t seed, rt_error *err) {
    return init(m, seed, false, err);
}

int rt_init_constants(netrt *m, uint64_t seed, rt_error *err) {
    return init(m, seed, true, err);
}
