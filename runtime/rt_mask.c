/* rt_mask.c: weights held at zero (rt_mask.h).
 *
 * Beside the logical bytes stands a copy in the order of the kernels' layout, so that applying a mask
 * is one pass over bytes and weights without a branch.  It costs one byte read per weight; a step of
 * training reads and writes each weight several times.
 */
#include "rt_mask.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_layout.h"
#include "rt_par.h"

struct rt_mask { /* of one parameter */
    unsigned char *logical, *physical; /* NULL: no mask */
    int64_t count;                     /* of physical */
};

typedef struct Apply {
    const unsigned char *keep;
    float *wide;      /* one of the two */
    uint16_t *narrow; /* bfloat16 */
} Apply;

static void apply(void *context, int64_t lo, int64_t hi, int thread) {
    const Apply *a = context;
    (void)thread;
    for (int64_t i = lo; a->wide && i < hi; i++)
        a->wide[i] = a->keep[i] ? a->wide[i] : 0;
    for (int64_t i = lo; a->narrow && i < hi; i++)
        a->narrow[i] = a->keep[i] ? a->narrow[i] : 0;
}

static void apply_one(netrt *m, int param) {
    const rt_param *p = &m->model->param[param];
    void *at = m->param + p->offset;
    int narrow = (p->flags & RT_PARAM_BF16) != 0;
    Apply a = {m->mask[param].physical, narrow ? NULL : at, narrow ? at : NULL};
    int64_t n = m->mask[param].count;
    rt_parallel_for(n > 1 << 16 ? m->threads : 1, n, 1 << 15, apply, &a);
}

void rt_mask_apply(netrt *m) {
    for (int i = 0; m->mask && i < m->model->nparams; i++)
        if (m->mask[i].physical)
            apply_one(m, i);
}

const unsigned char *rt_mask_of(const netrt *m, int param) {
    return m->mask ? m->mask[param].logical : NULL;
}

void rt_mask_clear(netrt *m) {
    for (int i = 0; m->mask && i < m->model->nparams; i++) {
        rt_free(m->mask[i].logical);
        rt_free(m->mask[i].physical);
    }
    rt_free(m->mask);
    m->mask = NULL;
}

/* Bytes in the layout's order: ones go through the same packing as weights; padding gets 0. */
static int lay_out(const netrt *m, const rt_param *p, const unsigned char *keep,
                   unsigned char *physical, int64_t count, rt_error *err) {
    int64_t n = rt_param_count(p);
    size_t each = p->flags & RT_PARAM_BF16 ? 2 : 4;
    float *ones = rt_alloc((size_t)n, sizeof *ones, "a mask", err);
    unsigned char *packed = rt_alloc_zero((size_t)p->bytes + 64, 1, "a mask", err);
    if (!err->code) {
        for (int64_t i = 0; i < n; i++)
            ones[i] = keep[i] ? 1 : 0;
        rt_param_pack(p, ones, packed, 0, rt_param_rows(p), m->threads);
        for (int64_t i = 0; i < count; i++)
            physical[i] = packed[(size_t)i * each + each - 1] != 0; /* the byte of the exponent */
    }
    rt_free(ones);
    rt_free(packed);
    return err->code;
}

int rt_mask_set(netrt *m, int param, const unsigned char *keep, rt_error *err) {
    const rt_param *p = &m->model->param[param];
    int64_t n = rt_param_count(p), count = rt_layout_physical(&p->layout);
    if (!m->mask)
        m->mask = rt_alloc_zero((size_t)m->model->nparams, sizeof *m->mask, "masks", err);
    if (!m->mask)
        return err->code;
    unsigned char *logical = rt_alloc((size_t)n, 1, "a mask", err);
    unsigned char *physical = rt_alloc((size_t)count, 1, "a mask", err);
    if (err->code || lay_out(m, p, keep, physical, count, err)) {
        rt_free(logical);
        rt_free(physical);
        return err->code;
    }
    memcpy(logical, keep, (size_t)n);
    rt_free(m->mask[param].logical);
    rt_free(m->mask[param].physical);
    m->mask[param] = (struct rt_mask){logical, physical, count};
    apply_one(m, param);
    m->param_version++;
    return NETRT_OK;
}

/* ---- pruning ---- */

int rt_mask_wanted(const rt_param *p) {
    return p->rank >= 2 && rt_param_trained(p);
}

typedef struct Weight {
    float size;
    int64_t at;
} Weight;

static int smaller(const void *a, const void *b) {
    const Weight *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

int64_t rt_mask_prune(const float *w, int64_t n, double share, unsigned char *keep, rt_error *err) {
    int64_t kept = 0;
    Weight *all = rt_alloc((size_t)n, sizeof *all, "weights to sort", err);
    for (int64_t i = 0; all && i < n; i++)
        if (keep[i])
            all[kept++] = (Weight){fabsf(w[i]), i};
    if (all) {
        int64_t gone = llround(share * (double)kept);
        gone = gone < 0 ? 0 : gone > kept ? kept : gone;
        qsort(all, (size_t)kept, sizeof *all, smaller);
        for (int64_t i = 0; i < gone; i++)
            keep[all[i].at] = 0;
        kept -= gone;
    }
    rt_free(all);
    return kept;
}

/* ---- files ---- */

int rt_mask_names(const char *name, const char *base) {
    size_t n = strlen(base);
    return strncmp(name, base, n) == 0 && strcmp(name + n, RT_MASK_SUFFIX) == 0;
}

int rt_mask_type(const st_tensor *t) {
    return t->dtype == ST_BOOL || t->dtype == ST_U8;
}

int rt_mask_write(const netrt *m, st_writer *w, rt_error *err) {
    char name[320];
    for (int i = 0; m->mask && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!m->mask[i].logical)
            continue;
        snprintf(name, sizeof name, "%s" RT_MASK_SUFFIX, p->name);
        st_writer_add(w, name, ST_BOOL, p->rank, p->dim, m->mask[i].logical, err);
    }
    return err->code;
}

int rt_mask_read(netrt *m, int param, const st_file *file, const char *base, rt_error *err) {
    const rt_param *p = &m->model->param[param];
    char name[320];
    snprintf(name, sizeof name, "%s" RT_MASK_SUFFIX, base);
    const st_tensor *t = st_find(file, name);
    if (!t)
        return NETRT_OK;
    if (t->count != rt_param_count(p) || !rt_mask_type(t))
        return rt_fail(err, NETRT_EDATA, "%s: %s is no mask of %s", file->path, name, p->name);
    unsigned char *keep = rt_alloc((size_t)t->count, 1, "a mask", err);
    if (keep && st_read_raw(file, t, keep, 0, t->count, err) == 0)
        rt_mask_set(m, param, keep, err);
    rt_free(keep);
    return err->code;
}
