/* rt_attack.c: pictures changed within a box so that the network errs (rt_attack.h), and their part
 * in a training step.
 *
 * theory: min over weights of the max over |x' - x| <= eps of the loss at x': Madry et al. 2018,
 * equation (2.1), ascent by projected steps along the gradient's sign, section 2.1.  TRADES: Zhang
 * et al. 2019, algorithm 1: the ascent is in KL(p(x) || p(x')).
 * The gradient is the compiled program "attack": layers work as in training, with the dropout masks
 * of the step to come and the batch statistics of the pictures as they are now; nothing that a
 * network keeps is changed.
 * ensures: x' is a function of weights, pictures, seed and step: not of threads.
 */
#include "rt_attack.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"
#include "rt_rng.h"

/* ---- the box ---- */

static void find_range(struct rt_attack *a, const netrt *m) {
    struct rt_prep prep;
    rt_input_prep(m->model, 0, &prep);
    prep.mean_image = m->data_mean;
    for (int64_t i = 0; i < a->count; i++) {
        float scale, black = rt_prep_tone(&prep, i, &scale), white = black + 255 * scale;
        a->width[i] = fabsf(white - black);
        a->low[i] = fminf(black, white);
        a->high[i] = fmaxf(black, white);
    }
}

int rt_attack_open(struct rt_attack **out, const netrt *m, const rt_adversary *how, rt_error *err) {
    struct rt_attack *a = *out = rt_alloc_zero(1, sizeof *a, "an attack", err);
    if (!a)
        return err->code;
    a->how = *how;
    a->count = rt_input_count(m->model, 0);
    float **one[] = {&a->width, &a->low, &a->high}, **all[] = {&a->x, &a->g};
    for (int i = 0; i < 3 && !err->code; i++)
        *one[i] = rt_alloc((size_t)a->count, sizeof(float), "a picture", err);
    size_t room;
    if (__builtin_mul_overflow((size_t)a->count, (size_t)m->cap, &room))
        return rt_fail(err, NETRT_ELIMIT, "a batch of %lld pictures is too large",
                       (long long)m->cap);
    for (int i = 0; i < 2 && !err->code; i++)
        *all[i] = rt_alloc_zero(room, sizeof(float), "changed pictures", err);
    if (!err->code && how->kind == RT_ADVERSARY_TRADES)
        a->target =
            rt_alloc_zero((size_t)(m->cap * m->model->classes), sizeof(float), "scores", err);
    if (!err->code)
        find_range(a, m);
    return err->code;
}

void rt_attack_close(struct rt_attack *a) {
    if (!a)
        return;
    rt_free(a->width);
    rt_free(a->low);
    rt_free(a->high);
    rt_free(a->x);
    rt_free(a->g);
    rt_free(a->target);
    rt_free(a);
}

typedef struct Job {
    struct rt_attack *a;
    const float *clean;
    const int64_t *number;
    rt_rng rng;
    uint32_t turn;
} Job;

static float lesser(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* A clean number that lies beyond black or white (a changed sample's) may stay. */
static float boxed(const struct rt_attack *a, float x, float clean, int64_t i) {
    float reach = (float)a->how.eps * a->width[i];
    float low = lesser(clean, larger(clean - reach, a->low[i]));
    float high = larger(clean, lesser(clean + reach, a->high[i]));
    return larger(low, lesser(x, high));
}

static void start_part(void *context, int64_t lo, int64_t hi, int thread) {
    const Job *j = context;
    struct rt_attack *a = j->a;
    float eps = (float)a->how.eps;
    (void)thread;
    for (int64_t k = lo; k < hi; k++) {
        float *x = a->x + k * a->count;
        const float *clean = j->clean + k * a->count;
        uint32_t number = (uint32_t)(j->number ? j->number[k] : k);
        if (a->how.kind == RT_ADVERSARY_TRADES)
            rt_rng_fill_normal(j->rng, j->turn, number, 0, 0, 1e-3f, x, (size_t)a->count);
        else
            rt_rng_fill_uniform(j->rng, j->turn, number, 0, -eps, eps, x, (size_t)a->count);
        for (int64_t i = 0; i < a->count; i++)
            x[i] = boxed(a, clean[i] + x[i] * a->width[i], clean[i], i);
    }
}

static void rise_part(void *context, int64_t lo, int64_t hi, int thread) {
    const Job *j = context;
    struct rt_attack *a = j->a;
    float step = (float)a->how.step;
    (void)thread;
    for (int64_t k = lo; k < hi; k++) {
        float *x = a->x + k * a->count, *g = a->g + k * a->count;
        const float *clean = j->clean + k * a->count;
        for (int64_t i = 0; i < a->count; i++) {
            float sign = g[i] > 0 ? step : g[i] < 0 ? -step : 0;
            x[i] = boxed(a, x[i] + sign * a->width[i], clean[i], i);
        }
    }
}

static int64_t grain(const struct rt_attack *a) {
    return 1 + (1 << 14) / a->count;
}

void rt_attack_start(struct rt_attack *a, const netrt *m, const float *clean, const int64_t *number,
                     uint32_t turn, int64_t n) {
    Job j = {.a = a, .clean = clean, .number = number, .turn = turn,
             .rng = rt_rng_make(m->seed, RT_RNG_ATTACK)};
    rt_parallel_for(m->threads, n, grain(a), start_part, &j);
}

void rt_attack_rise(struct rt_attack *a, const netrt *m, const float *clean, int64_t n) {
    Job j = {.a = a, .clean = clean};
    rt_parallel_for(m->threads, n, grain(a), rise_part, &j);
}

rt_adversary rt_attack_usual(const rt_model *model) {
    rt_adversary how = model->train.adversary;
    int grey = model->ninputs > 0 && model->input[0].c == 1;
    if (how.kind == RT_ADVERSARY_NONE)
        how = grey ? (rt_adversary){.eps = 0.3, .step = 0.01, .steps = 40}
                   : (rt_adversary){.eps = 8.0 / 255, .step = 2.0 / 255, .steps = 20};
    how.kind = RT_ADVERSARY_PGD;
    return how;
}

/* ---- in a training step ---- */

static int ready(netrt *m, rt_error *err) {
    if (!m->attack && rt_attack_open(&m->attack, m, &m->model->train.adversary, err)) {
        rt_attack_close(m->attack);
        m->attack = NULL;
    }
    return err->code;
}

int rt_attack_clean(netrt *m, int64_t n, rt_error *err) {
    if (ready(m, err))
        return err->code;
    m->input1 = m->attack->target;
    if (netrt_run(m, RT_ATTACK, "attack", -1, n, err) == 0 && m->attack->target)
        rt_scores(m, RT_ATTACK, n, m->attack->target);
    m->input1 = NULL;
    return err->code;
}

typedef struct Read {
    const netrt *m;
    int tensor;
} Read;

static void read_part(void *context, int64_t lo, int64_t hi, int thread) {
    const Read *r = context;
    (void)thread;
    for (int64_t k = lo; k < hi; k++)
        rt_tensor_read(r->m, RT_ATTACK, r->tensor, k, r->m->attack->g + k * r->m->attack->count);
}

static int climb(netrt *m, const float *clean, int64_t n, rt_error *err) {
    struct rt_attack *a = m->attack;
    Read r = {.m = m, .tensor = m->model->program[RT_ATTACK].image_diff[0]};
    rt_attack_start(a, m, clean, NULL, (uint32_t)m->frame.step, n);
    m->frame.input[0] = a->x;
    m->input1 = a->target;
    for (int64_t step = 0; step < a->how.steps; step++) {
        if (m->stop && *m->stop)
            return rt_fail(err, 128 + *m->stop, "stopped");
        if (netrt_run(m, RT_ATTACK, "attack", -1, n, err))
            return err->code;
        rt_parallel_for(m->threads, n, grain(a), read_part, &r);
        rt_attack_rise(a, m, clean, n);
    }
    return NETRT_OK;
}

int rt_attack_run(netrt *m, int64_t n, rt_error *err) {
    if (ready(m, err))
        return err->code;
    struct rt_attack *a = m->attack;
    int trades = a->how.kind == RT_ADVERSARY_TRADES;
    m->clean = m->frame.input[0];
    if (trades && rt_attack_clean(m, n, err))
        return err->code;
    climb(m, m->clean, n, err);
    m->frame.input[0] = trades ? m->clean : a->x;
    m->input1 = trades ? a->x : NULL;
    return err->code;
}

void rt_attack_done(netrt *m) {
    if (m->clean)
        m->frame.input[0] = m->clean;
    m->clean = m->input1 = NULL;
}

/* ---- figures ---- */

double rt_attack_entropy(const netrt *m, int64_t n) {
    int last = m->model->program[RT_TRAIN].nlosses - 1;
    return rt_loss_part(m, RT_TRAIN, n, last) / m->model->train.adversary.beta / (double)n;
}

int rt_attack_scores(const netrt *m, int64_t n, float *scores) {
    const rt_program *p = &m->model->program[RT_TRAIN];
    int tensor = rt_find_tensor(p, "score of attack");
    if (tensor < 0)
        return 0;
    for (int64_t i = 0; i < n; i++)
        rt_tensor_read(m, RT_TRAIN, tensor, i, scores + i * m->model->classes);
    return 1;
}

static double arithmetic(const rt_program *p, const char *name) {
    const rt_entry *e = rt_find_entry(p, name);
    double flops = 0;
    for (int i = e ? e->first : 0; e && i < e->first + e->count; i++)
        flops += p->kernel[i].flops_image;
    return flops;
}

double rt_attack_cost(const rt_model *model) {
    const rt_adversary *how = &model->train.adversary;
    int trades = how->kind == RT_ADVERSARY_TRADES;
    double step = arithmetic(&model->program[RT_TRAIN], "step");
    double pass = arithmetic(&model->program[RT_ATTACK], "attack");
    double plain = trades ? step / 2 : step;
    return plain > 0 ? (step + pass * (double)(how->steps + trades)) / plain : 1;
}
