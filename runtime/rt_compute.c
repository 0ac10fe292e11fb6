/* rt_compute.c: inference and training steps on an open network; losses, scores, ranks; the search
 * for the first value that is not finite.
 *
 * Sums over images are made in double precision and in image order, so they do not depend on the
 * number of threads.  theory for the constraint: Zeiler and Fergus 2014, section 3: a filter whose
 * RMS exceeds the radius is scaled back to it.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_attack.h"
#include "rt_layout.h"
#include "rt_mask.h"
#include "rt_model.h"
#include "rt_optim.h"
#include "rt_par.h"
#include "rt_save.h"

/* ---- results of a run ---- */

double rt_losses(const netrt *m, int program, int64_t n, double *per_image) {
    const rt_program *p = &m->model->program[program];
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        double one = 0;
        for (int k = 0; k < p->nlosses; k++)
            one += (double)*(const float *)rt_tensor_at(m, program, p->loss[k], i);
        if (per_image)
            per_image[i] = one;
        total += one;
    }
    return n > 0 ? total / (double)n : 0;
}

double rt_loss_part(const netrt *m, int program, int64_t n, int k) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)*(const float *)rt_tensor_at(m, program, m->model->program[program].loss[k], i);
    return sum;
}

const char *rt_loss_name(const rt_model *model, int program, int k) {
    const rt_program *p = &model->program[program];
    const char *name = p->tensor[p->loss[k]].name;
    return strncmp(name, "loss.", 5) == 0 ? name + 5 : name;
}

/* A net that scores every pixel: of a picture the mean over its pixels. */
static int mean_rows(const netrt *m, int program, int tensor, int64_t n, float *rows) {
    int64_t classes = m->model->classes;
    int64_t count = rt_tensor_count(&m->model->program[program].tensor[tensor]);
    rt_error no_memory = {0};
    if (classes < 1 || count % classes != 0)
        return 0;
    float *all = rt_alloc((size_t)count, sizeof *all, "scores of pixels", &no_memory);
    int64_t cells = count / classes;
    for (int64_t i = 0; all && i < n; i++) {
        rt_tensor_read(m, program, tensor, i, all);
        for (int64_t c = 0; c < classes; c++) {
            double sum = 0;
            for (int64_t k = 0; k < cells; k++)
                sum += (double)all[c * cells + k];
            rows[i * classes + c] = (float)(sum / (double)cells);
        }
    }
    rt_free(all);
    return all != NULL;
}

static int read_rows(const netrt *m, int program, int tensor, int64_t n, float *rows) {
    if (tensor < 0)
        return 0;
    int64_t count = rt_tensor_count(&m->model->program[program].tensor[tensor]);
    if (count != m->model->classes)
        return mean_rows(m, program, tensor, n, rows);
    for (int64_t i = 0; i < n; i++)
        rt_tensor_read(m, program, tensor, i, rows + i * count);
    return 1;
}

int rt_scores(const netrt *m, int program, int64_t n, float *scores) {
    return read_rows(m, program, m->model->program[program].output, n, scores);
}

int rt_probs(const netrt *m, int program, int64_t n, float *probs) {
    return read_rows(m, program, m->model->program[program].prob, n, probs);
}

/* NaN loses against every number, so that a broken score is never the answer. */
static int better(int smallest_wins, float a, float b) {
    if (isnan(a))
        return 0;
    if (isnan(b))
        return 1;
    return smallest_wins ? a < b : a > b;
}

int64_t rt_best_of(const float *scores, int64_t n, int smallest_wins) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (better(smallest_wins, scores[i], scores[best]))
            best = i;
    return best;
}

int64_t rt_rank_of(const float *scores, int64_t n, int smallest_wins, int64_t c) {
    int64_t rank = 0;
    for (int64_t i = 0; i < n; i++)
        rank += i != c && !better(smallest_wins, scores[c], scores[i]);
    return rank;
}

int64_t rt_best(const rt_model *model, const float *scores) {
    return rt_best_of(scores, model->classes, model->smallest_wins);
}

int64_t rt_rank(const rt_model *model, const float *scores, int64_t c) {
    return rt_rank_of(scores, model->classes, model->smallest_wins, c);
}

void rt_top_of(const float *scores, int64_t n, int smallest_wins, int64_t k, int64_t *classes) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = found < k ? found : k;
        while (at > 0 && better(smallest_wins, scores[i], scores[classes[at - 1]]))
            at--;
        if (at >= k)
            continue;
        if (found < k)
            found++;
        memmove(classes + at + 1, classes + at, (size_t)(found - at - 1) * sizeof *classes);
        classes[at] = i;
    }
}

void rt_top(const rt_model *model, const float *scores, int64_t k, int64_t *classes) {
    rt_top_of(scores, model->classes, model->smallest_wins, k, classes);
}

/* ---- inference ---- */

static int one_input(const netrt *m, rt_error *err) {
    if (m->model->ninputs == 1)
        return 1;
    rt_fail(err, NETRT_EUSAGE, "%s has %d inputs, this call serves one", m->model->name,
            m->model->ninputs);
    return 0;
}

static int run_images(netrt *m, const float *images, int64_t n, rt_error *err) {
    m->frame.input[0] = images;
    m->frame.label[0] = m->frame.label[1] = NULL;
    return netrt_run(m, RT_FORWARD, "forward", -1, n, err);
}

int netrt_forward(netrt *m, const float *images, int64_t n, float *scores, float *probs,
                  rt_error *err) {
    rt_error local = {0};
    if (!err)
        err = &local;
    if (!one_input(m, err))
        return err->code;
    int64_t size = rt_input_count(m->model, 0), classes = m->model->classes;
    for (int64_t done = 0; done < n; done += m->cap) {
        int64_t now = n - done < m->cap ? n - done : m->cap;
        if (run_images(m, images + done * size, now, err))
            return err->code;
        if (scores)
            rt_scores(m, RT_FORWARD, now, scores + done * classes);
        if (probs && !rt_probs(m, RT_FORWARD, now, probs + done * classes))
            rt_scores(m, RT_FORWARD, now, probs + done * classes);
    }
    return err->code;
}

int netrt_forward_outputs(netrt *m, const float *images, int64_t n, int count,
                          const char *const *name, float *const *out, rt_error *err) {
    rt_error local = {0};
    char list[400];
    if (!err)
        err = &local;
    for (int k = 0; k < count; k++)
        if (rt_output_find(m->model, name[k]) < 0)
            return rt_fail(err, NETRT_EUSAGE, "%s has no output '%s'\nhelp: it has %s",
                           m->model->name, name[k],
                           rt_output_list(m->model, list, sizeof list));
    if (!one_input(m, err))
        return err->code;
    int64_t size = rt_input_count(m->model, 0);
    for (int64_t done = 0; done < n; done += m->cap) {
        int64_t now = n - done < m->cap ? n - done : m->cap;
        if (run_images(m, images + done * size, now, err))
            return err->code;
        for (int k = 0; k < count; k++) {
            int which = rt_output_find(m->model, name[k]);
            int64_t numbers = rt_output_count(&m->model->output[which]);
            for (int64_t i = 0; i < now; i++)
                rt_output_read(m, which, i, out[k] + (done + i) * numbers);
        }
    }
    return err->code;
}

int netrt_outputs(const netrt *m) {
    return (int)m->model->noutputs;
}

const char *netrt_output_name(const netrt *m, int i) {
    return i >= 0 && i < (int)m->model->noutputs ? m->model->output[i].name : NULL;
}

int netrt_output_shape(const netrt *m, const char *name, int64_t dim[5]) {
    int which = rt_output_find(m->model, name);
    if (which < 0)
        return -1;
    const rt_output *o = &m->model->output[which];
    for (int i = 0; i < 5; i++)
        dim[i] = i < o->rank ? o->dim[i] : 1;
    return o->rank;
}

/* ---- training ---- */

typedef struct Radius { /* of one parameter's filters */
    float *w;
    int64_t size;
    double most;
    atomic_int changed;
} Radius;

static void constrain_filters(void *context, int64_t lo, int64_t hi, int thread) {
    Radius *r = context;
    (void)thread;
    for (int64_t f = lo; f < hi; f++) {
        float *w = r->w + f * r->size;
        double sum = 0;
        for (int64_t i = 0; i < r->size; i++)
            sum += (double)w[i] * (double)w[i];
        double rms = sqrt(sum / (double)r->size);
        if (!(rms > r->most))
            continue;
        float scale = (float)(r->most / rms);
        for (int64_t i = 0; i < r->size; i++)
            w[i] *= scale;
        atomic_store(&r->changed, 1);
    }
}

static void constrain(netrt *m, int param) {
    const rt_param *p = &m->model->param[param];
    int64_t filters = p->dim[0], size = rt_param_count(p) / filters;
    Radius r = {.w = m->logical, .size = size, .most = p->max_rms};
    rt_param_read(m, param, m->logical);
    rt_parallel_for(m->threads, filters, 1 + (1 << 16) / size, constrain_filters, &r);
    if (atomic_load(&r.changed))
        rt_param_write(m, param, m->logical);
}

int rt_step(netrt *m, int64_t n, double *loss, rt_error *err) {
    if (m->model->train.adversary.kind == RT_ADVERSARY_NONE || rt_attack_run(m, n, err) == 0)
        netrt_run(m, RT_TRAIN, "step", -1, n, err);
    rt_attack_done(m);
    if (err->code)
        return err->code;
    double mean = rt_losses(m, RT_TRAIN, n, NULL);
    if (loss)
        *loss = mean;
    for (int i = 0; i < m->model->nparams; i++)
        if (m->model->param[i].max_rms > 0 && rt_param_trained(&m->model->param[i]))
            constrain(m, i);
    rt_optim_groups(m);
    rt_mask_apply(m);
    m->param_version++;
    return NETRT_OK;
}

int rt_curvature(netrt *m, int64_t n, int64_t before, rt_error *err) {
    double lr = m->lr, momentum = m->momentum, all = (double)(before + n);
    m->lr = 1 / all;
    m->momentum = (double)before / all;
    netrt_run(m, RT_CURVATURE, "curvature", -1, n, err);
    m->lr = lr;
    m->momentum = momentum;
    return err->code;
}

int netrt_step(netrt *m, const float *images, const int32_t *labels, int64_t n, double *loss,
               rt_error *err) {
    rt_error local = {0};
    double mean = 0;
    if (!err)
        err = &local;
    if (m->model->ninputs != 1)
        return rt_fail(err, NETRT_EUSAGE, "%s has %d inputs, this call serves one", m->model->name,
                       m->model->ninputs);
    if (n < 1 || n > m->cap) /* before labels[] is read */
        return rt_fail(err, NETRT_EUSAGE, "%lld images in one step; %s was opened for 1 to %lld",
                       (long long)n, m->model->name, (long long)m->cap);
    /* In a map of labels a number that is no class marks a pixel that does not count. */
    int64_t known = rt_known_classes(m->model);
    int read = rt_wants_labels(m->model) && m->model->label_cells <= 1;
    for (int64_t i = 0; i < n && read; i++)
        if (labels[i] < 0 || labels[i] >= known)
            return rt_fail(err, NETRT_EDATA, "label %d of image %lld is outside 0..%lld",
                           (int)labels[i], (long long)i, (long long)(known - 1));
    m->frame.input[0] = images;
    m->frame.label[0] = m->frame.label[1] = labels;
    if (m->model->train.optimizer == RT_SDLM && m->frame.step == 0 && rt_curvature(m, n, 0, err))
        return err->code;
    if (rt_step(m, n, &mean, err))
        return err->code;
    m->frame.step++;
    if (loss)
        *loss = mean;
    if (!isfinite(mean)) {
        char where[256];
        int known = rt_find_nonfinite(m, RT_TRAIN, n, where, sizeof where);
        return rt_fail(err, NETRT_EDIVERGED, "the loss is not finite%s%s",
                       known ? ", first in " : "", known ? where : "");
    }
    return NETRT_OK;
}

/* ---- not finite ---- */

static int all_finite(const float *x, int64_t n) {
    /* x * 0 is 0 for every finite x and NaN otherwise; sixteen sums keep the loop vectorised. */
    float sum[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++)
            sum[k] += x[i + k] * 0.0f;
    for (; i < n; i++)
        sum[0] += x[i] * 0.0f;
    float all = 0;
    for (int k = 0; k < 16; k++)
        all += sum[k];
    return all == 0.0f;
}

typedef struct Scan {
    const float *x;
    int bad[RT_MAX_THREADS];
} Scan;

static void scan_piece(void *context, int64_t lo, int64_t hi, int thread) {
    Scan *s = context;
    if (!s->bad[thread] && !all_finite(s->x + lo, hi - lo))
        s->bad[thread] = 1;
}

int rt_params_finite(const netrt *m, int64_t first, int64_t count) {
    Scan s = {.x = (const float *)(const void *)m->param + first};
    rt_parallel_for(count > 1 << 18 ? m->threads : 1, count, 1 << 16, scan_piece, &s);
    for (int t = 0; t < RT_MAX_THREADS; t++)
        if (s.bad[t])
            return 0;
    return 1;
}

int rt_find_nonfinite(netrt *m, int program, int64_t n, char *buf, size_t size) {
    const rt_program *p = &m->model->program[program];
    for (int i = 0; i < p->ntensors; i++) {
        const rt_tensor *t = &p->tensor[i];
        int64_t count = rt_layout_physical(&t->layout);
        if (rt_tensor_frames(t) > 1)
            count = t->image_bytes / 4;
        if (t->dtype != RT_F32 || (t->pool != RT_POOL_ACT && t->pool != RT_POOL_FIX))
            continue;
        for (int64_t k = 0; k < (t->pool == RT_POOL_ACT ? n : 1); k++) {
            if (all_finite(rt_tensor_at(m, program, i, k), count))
                continue;
            snprintf(buf, size, "%s%s%s (tensor %s)", t->label && t->label[0] ? "layer " : "",
                     t->label && t->label[0] ? t->label : t->op, "", t->name);
            return 1;
        }
    }
    for (int i = 0; i < m->model->nparams; i++) {
        const rt_param *q = &m->model->param[i];
        const float *w = (const float *)(const void *)(m->param + q->offset);
        /* of two bfloat16 the second is the exponent of a float */
        int64_t floats = rt_layout_physical(&q->layout) / (q->flags & RT_PARAM_BF16 ? 2 : 1);
        if (all_finite(w, floats))
            continue;
        snprintf(buf, size, "the weights of layer %s (%s)", q->label, q->name);
        return 1;
    }
    return 0;
}
