/* rt_optim.c: the optimizers' numbers (rt_optim.h).
 *
 * theory: Kingma, Ba 2015, section 3 (the corrections).  Powers are repeated products: the same on
 * every C library.
 */
#include "rt_optim.h"

#include <math.h>
#include <string.h>

static const char *const prefix[][2] = {[RT_SGD] = {"momentum.", NULL},
                                        [RT_ADAM] = {"exp_avg.", "exp_avg_sq."},
                                        [RT_RMSPROP] = {"square_avg.", "momentum."},
                                        [RT_SDLM] = {"curvature.", NULL},
                                        [RT_SLBI] = {"split_z.", "momentum."}};

int rt_states(const rt_model *model) {
    return prefix[model->train.optimizer][1] ? 2 : 1;
}

const char *rt_state_prefix(const rt_model *model, int which) {
    return prefix[model->train.optimizer][which];
}

int rt_is_state(const char *name) {
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
        for (int k = 0; k < 2; k++)
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

void rt_optim_scalars(netrt *m) {
    float *s = m->frame.scalar;
    int adam = m->model->train.optimizer == RT_ADAM;
    int64_t t = m->frame.step + 1;
    s[RT_SCALAR_LR] = (float)m->lr;
    s[RT_SCALAR_MOMENTUM] = (float)(adam ? 1 - m->momentum : m->momentum);
    s[RT_SCALAR_DECAY] = (float)m->decay;
    s[RT_SCALAR_SECOND] = (float)(1 - m->second);
    s[RT_SCALAR_CORRECT1] = adam ? (float)(1 / one_less_power(m->momentum, t)) : 1;
    if (m->model->train.optimizer == RT_SLBI)
        s[RT_SCALAR_CORRECT1] = (float)m->model->train.kappa;
    s[RT_SCALAR_CORRECT2] = adam ? (float)(1 / sqrt(one_less_power(m->second, t))) : 1;
    s[RT_SCALAR_CLIP] = (float)m->clip;
}

void rt_optim_plain(netrt *m, double rate) {
    const rt_train_spec *t = &m->model->train;
    double below = t->optimizer == RT_SGD ? 1 : t->eps_inside ? sqrt(t->eps) : t->eps;
    if (t->optimizer == RT_SLBI)
        below = 1 / t->kappa;
    netrt_set_sgd(m, rate * below, 0, 0);
    m->second = 1; /* mean squares stay zero: what is divided by is eps; slbi: nothing pulls */
    m->clip = HUGE_VAL;
}

/* ---- slbi: the sparse copy ---- */

int rt_optim_is_split(const rt_model *model, int param) {
    const rt_param *p = &model->param[param];
    return model->train.optimizer == RT_SLBI && p->rank > 1 && rt_param_trained(p);
}

double rt_optim_kept(const netrt *m) {
    double kept = 0, all = 0;
    float lambda = (float)m->model->train.eps;
    for (int i = 0; m->state && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_optim_is_split(m->model, i))
            continue;
        const float *z = (const float *)(m->state + rt_state_offset(p, 0));
        for (int64_t k = 0; k < p->bytes / 4; k++) /* in padding z is 0 */
            kept += fabsf(z[k]) > lambda;
        all += (double)p->trainable;
    }
    return all > 0 ? kept / all : NAN;
}

void rt_optim_prune(netrt *m) {
    float lambda = (float)m->model->train.eps;
    for (int i = 0; m->state && i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_optim_is_split(m->model, i))
            continue;
        const float *z = (const float *)(m->state + rt_state_offset(p, 0));
        float *w = (float *)(m->param + p->offset);
        for (int64_t k = 0; k < p->bytes / 4; k++)
            if (!(fabsf(z[k]) > lambda))
                w[k] = 0;
    }
    m->param_version++;
}
