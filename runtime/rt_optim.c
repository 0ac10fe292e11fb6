/* rt_optim.c: the optimizers' numbers (rt_optim.h).
 *
 * theory: Kingma, Ba 2015, section 3 (the corrections).  Powers are repeated products: the same on
 * every C library.
 */
#include "rt_optim.h"

#include <math.h>
#include <string.h>

static const char *const prefix[][3] = {[RT_SGD] = {"momentum.", NULL},
                                        [RT_ADAM] = {"exp_avg.", "exp_avg_sq."},
                                        [RT_RMSPROP] = {"square_avg.", "momentum."},
                                        [RT_SDLM] = {"curvature.", NULL},
                                        [RT_SLBI] = {"split_z.", "momentum."},
                                        [RT_SLBI_GROUPS] = {"split_z.", "momentum.", "split_gamma."}};

int rt_states(const rt_model *model) {
    const char *const *name = prefix[model->train.optimizer];
    return name[2] ? 3 : name[1] ? 2 : 1;
}

const char *rt_state_prefix(const rt_model *model, int which) {
    return prefix[model->train.optimizer][which];
}

int rt_is_state(const char *name) {
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
        for (int k = 0; k < 3; k++)
            if (prefix[i][k] && strncmp(name, prefix[i][k], strlen(prefix[i][k])) == 0)
                return 1;
    return 0;
}

int64_t rt_state_offset(const rt_param *p, int which) {
    return p->state_offset + which * ((p->bytes + 63) / 64 * 64);
}

/* 1 - x^n */
static double one_less_power(double x, int64_t n) {
    double power = 1;
    for (double square = x; n > 0; n /= 2, square *= square)
        if (n & 1)
            power *= square;
    return power < 1 ? 1 - power : 1; /* x = 1: nothing to correct, the mean stays empty */
}

static int splits(const rt_model *model) {
    return model->train.optimizer == RT_SLBI || model->train.optimizer == RT_SLBI_GROUPS;
}

void rt_optim_scalars(netrt *m) {
    float *s = m->frame.scalar;
    int adam = m->model->train.optimizer == RT_ADAM;
    int64_t t = m->frame.step + 1;
    s[RT_SCALAR_LR] = (float)m->lr;
    s[RT_SCALAR_MOMENTUM] = (float)(adam ? 1 - m->momentum : m->momentum);
    s[RT_SCALAR_DECAY] = (float)m->decay;
    s[RT_SCALAR_SECOND] = (float)(1 - m->second);
    s[RT_SCALAR_CORRECT1] = adam ? (float)(1 / one_less_power(m->momentum, t)) : 1;
    if (splits(m->model))
        s[RT_SCALAR_CORRECT1] = (float)m->model->train.kappa;
    s[RT_SCALAR_CORRECT2] = adam ? (float)(1 / sqrt(one_less_power(m->second, t))) : 1;
    s[RT_SCALAR_CLIP] = (float)m->clip;
}

void rt_optim_plain(netrt *m, double rate) {
    const rt_train_spec *t = &m->model->train;
    double below = t->optimizer == RT_SGD ? 1 : t->eps_inside ? sqrt(t->eps) : t->eps;
    if (splits(m->model))
        below = 1 / t->kappa;
    netrt_set_sgd(m, rate * below, 0, 0);
    m->second = 1; /* mean squares stay zero: what is divided by is eps; slbi: nothing pulls */
    m->clip = HUGE_VAL;
}

/* ---- slbi: the sparse copy ---- */

int rt_optim_is_split(const rt_model *model, int param) {
    const rt_param *p = &model->param[param];
    return splits(model) && p->rank > 1 && rt_param_trained(p);
}

static const float *state(const netrt *m, int param, int which) {
    return (const float *)(m->state + rt_state_offset(&m->model->param[param], which));
}

static int has_groups(const netrt *m) { return m->model->train.optimizer == RT_SLBI_GROUPS; }

/* Is Gamma of number k not 0?  In padding z is 0. */
static int is_kept(const netrt *m, int param, int64_t k) {
    if (has_groups(m))
        return state(m, param, 2)[k] != 0;
    return fabsf(state(m, param, 0)[k]) > (float)m->model->train.eps;
}

double rt_optim_kept(const netrt *m) {
    double kept = 0, all = 0;
    for (int i = 0; m->state && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_optim_is_split(m->model, i))
            continue;
        for (int64_t k = 0; k < p->bytes / 4; k++)
            kept += is_kept(m, i, k);
        all += (double)p->trainable;
    }
    return all > 0 ? kept / all : NAN;
}

void rt_optim_prune(netrt *m) {
    for (int i = 0; m->state && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_optim_is_split(m->model, i))
            continue;
        float *w = (float *)(m->param + p->offset);
        for (int64_t k = 0; k < p->bytes / 4; k++)
            if (!is_kept(m, i, k))
                w[k] = 0;
    }
    m->param_version++;
}

/* ---- over filters ---- */

/* The runs of a physical layout whose numbers lie `run` behind each other: calls visit with the run's
 * first place, the first dimension's index there and what it grows by along the run. */
typedef void (*Visit)(void *context, int64_t at, int64_t n, int64_t filter, int64_t step);

static void each_run(const rt_layout *l, Visit visit, void *context) {
    int64_t p[RT_MAX_AXES] = {0}, at = 0, inner = l->naxes - 1;
    const rt_axis *last = &l->axis[inner];
    while (inner >= 0) {
        int64_t filter = 0;
        for (int64_t a = 0; a <= inner; a++)
            if (l->axis[a].dim == 0)
                filter += p[a] * l->axis[a].mult + l->axis[a].offset;
        visit(context, at, last->extent, filter, last->dim == 0 ? last->mult : 0);
        at += last->extent;
        int64_t a = inner - 1;
        while (a >= 0 && ++p[a] == l->axis[a].extent)
            p[a--] = 0;
        if (a < 0)
            return;
    }
}

typedef struct Filters {
    const float *z;
    float *gamma;
    int64_t filters;
    double lambda, kappa, *sum; /* of squares; then factors */
} Filters;

static void add_squares(void *context, int64_t at, int64_t n, int64_t filter, int64_t step) {
    const Filters *f = context;
    for (int64_t k = 0; k < n; k++, filter += step)
        if (filter >= 0 && filter < f->filters)
            f->sum[filter] += (double)f->z[at + k] * (double)f->z[at + k];
}

static void multiply(void *context, int64_t at, int64_t n, int64_t filter, int64_t step) {
    const Filters *f = context;
    for (int64_t k = 0; k < n; k++, filter += step)
        f->gamma[at + k] = filter < 0 || filter >= f->filters
                               ? 0 : (float)(f->sum[filter] * (double)f->z[at + k]);
}

static void of_filters(const rt_param *p, Filters *f) {
    memset(f->sum, 0, (size_t)f->filters * sizeof *f->sum);
    each_run(&p->layout, add_squares, f);
    for (int64_t k = 0; k < f->filters; k++) {
        double norm = sqrt(f->sum[k]);
        f->sum[k] = norm > f->lambda ? f->kappa * (1 - f->lambda / norm) : 0;
    }
    each_run(&p->layout, multiply, f);
}

void rt_optim_groups(netrt *m) {
    const rt_train_spec *t = &m->model->train;
    for (int i = 0; has_groups(m) && m->state && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_optim_is_split(m->model, i))
            continue;
        Filters f = {.z = state(m, i, 0), .gamma = (float *)(m->state + rt_state_offset(p, 2)),
                     .filters = p->dim[0], .lambda = t->eps, .kappa = t->kappa, .sum = m->filter};
        if (p->rank > 2) { /* a root of its size evens out large filters and single numbers */
            f.lambda *= sqrt((double)rt_param_count(p) / (double)p->dim[0]);
            of_filters(p, &f);
            continue;
        }
        for (int64_t k = 0; k < p->bytes / 4; k++) {
            double z = (double)f.z[k], above = fabs(z) - f.lambda;
            f.gamma[k] = (float)(above > 0 ? f.kappa * copysign(above, z) : 0);
        }
    }
}

static void mark_kept(void *context, int64_t at, int64_t n, int64_t filter, int64_t step) {
    const Filters *f = context;
    for (int64_t k = 0; k < n; k++, filter += step)
        if (filter >= 0 && filter < f->filters && f->z[at + k] != 0)
            f->sum[filter] = 1;
}

void rt_optim_filters(const netrt *m, int64_t *kept, int64_t *all) {
    *kept = *all = 0;
    for (int i = 0; has_groups(m) && m->state && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_optim_is_split(m->model, i) || p->rank < 3)
            continue;
        Filters f = {.z = state(m, i, 2), .filters = p->dim[0], .sum = m->filter};
        memset(f.sum, 0, (size_t)f.filters * sizeof *f.sum);
        each_run(&p->layout, mark_kept, &f);
        for (int64_t k = 0; k < f.filters; k++)
            *kept += f.sum[k] > 0;
        *all += f.filters;
    }
}
