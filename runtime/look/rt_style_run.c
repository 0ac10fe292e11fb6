/* rt_style_run.c: the loss of style and texture going down (rt_style.h): value and gradient for the
 * optimisers, what is noted of each iteration, the state of a run in a file.
 *
 * theory: Gatys, Ecker, Bethge 2015: L-BFGS with 20 pairs; Kingma and Ba 2015 (Adam).
 */
#include "rt_style.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"

enum { FIRST_STEP = 4 }; /* pixels, root mean square: L-BFGS before it knows any curvature */

/* Pixels beyond 0..255 cost: without it, what a picture loses when it is written would be much of what
 * it gained (the authors bound the pixels of L-BFGS-B). */
static double range_cost(const rt_style *s, const float *x, float *g) {
    double sum = 0, weight = s->range / (double)s->p.count;
    for (int64_t i = 0; i < s->p.count; i++) {
        float lo = -s->p.zero[i], hi = 255 - s->p.zero[i];
        float over = x[i] > hi ? x[i] - hi : x[i] < lo ? x[i] - lo : 0;
        sum += (double)over * (double)over;
        g[i] += (float)(2 * weight * (double)over);
    }
    return weight * sum;
}

static int loss_at(void *context, const float *x, double *value, float *g, rt_error *err) {
    rt_style *s = context;
    float *keep = s->p.x;
    s->p.x = (float *)(uintptr_t)x; /* only read */
    int code = rt_paint_eval(&s->p, 1, err);
    s->p.x = keep;
    if (code)
        return code;
    s->evaluations++;
    double smooth = 0;
    if (s->smooth > 0)
        smooth = s->smooth * rt_tv(x, s->p.size, 2, s->smooth, s->p.g);
    double range = range_cost(s, x, s->p.g);
    s->part[s->mimic.nterms] = smooth;
    s->part[s->mimic.nterms + 1] = range;
    *value = s->p.value[0] + smooth + range;
    memcpy(g, s->p.g, (size_t)s->p.count * sizeof *g);
    if (!isfinite(*value))
        return rt_fail(err, NETRT_EDIVERGED, "the loss is no number after %lld iterations\n"
                       "help: a smaller --rate, or --optimizer=lbfgs", (long long)s->step);
    return NETRT_OK;
}

/* ---- state ---- */

static uint64_t fingerprint(const rt_style *s) {
    const rt_mimic *m = &s->mimic;
    const char *hash = s->v->m->model->spec_hash;
    double set[] = {s->smooth, s->rate, s->optimizer, s->range};
    uint64_t print = rt_resume_mix(RT_RESUME_START, hash, strlen(hash));
    print = rt_resume_mix(print, set, sizeof set);
    for (int i = 0; i < m->nterms; i++) {
        double term[] = {m->term[i].kind, m->term[i].seed, m->term[i].weight};
        print = rt_resume_mix(print, term, sizeof term);
    }
    return rt_resume_mix(print, m->target, (size_t)m->ntarget * sizeof *m->target);
}

/* numbers: iterations, evaluations */
static int state_parts(rt_style *s, rt_kept part[RT_RESUME_PARTS + 2], double room[RT_RESUME_ROOM],
                       double numbers[2]) {
    int adam = s->optimizer == RT_STYLE_ADAM;
    int n = adam ? rt_climb_parts(&s->adam, part, room) : rt_lbfgs_parts(&s->lbfgs, part, room);
    if (adam)
        part[n++] = (rt_kept){"x", ST_F32, s->p.x, s->p.count};
    numbers[0] = (double)s->step;
    numbers[1] = (double)s->evaluations;
    part[n++] = (rt_kept){"style.numbers", ST_F64, numbers, 2};
    return n;
}

int rt_style_save(rt_style *s, rt_error *err) {
    rt_kept part[RT_RESUME_PARTS + 3];
    double room[RT_RESUME_ROOM], numbers[2];
    int n = state_parts(s, part, room, numbers);
    part[n++] = (rt_kept){"style.history", ST_F64, s->history, RT_STYLE_HISTORY * (s->step + 1)};
    if (rt_resume_write(s->state, fingerprint(s), part, n, err) == 0)
        rt_note(&s->v->cli.progress, "%s  after %lld iterations; --resume goes on from here", s->state,
                (long long)s->step);
    return err->code;
}

static int load_state(rt_style *s, rt_error *err) {
    rt_kept part[RT_RESUME_PARTS + 3];
    double room[RT_RESUME_ROOM], numbers[2];
    uint64_t print = fingerprint(s);
    int n = state_parts(s, part, room, numbers);
    if (rt_resume_read(s->state, print, part, n, err))
        return err->code;
    if (!(numbers[0] >= 0 && numbers[0] <= (double)s->steps && numbers[1] >= 0))
        return rt_fail(err, NETRT_EUSAGE, "%s is after %.0f iterations\nhelp: --steps beyond them",
                       s->state, numbers[0]);
    s->step = (int64_t)numbers[0];
    s->evaluations = (int64_t)numbers[1];
    rt_kept history = {"style.history", ST_F64, s->history, RT_STYLE_HISTORY * (s->step + 1)};
    if (s->optimizer == RT_STYLE_ADAM)
        rt_climb_take(&s->adam, room);
    else if (rt_lbfgs_take(&s->lbfgs, room, err))
        return err->code;
    return rt_resume_read(s->state, print, &history, 1, err);
}

/* ---- iterations ---- */

/* begun: when iteration `from` was done */
static void note_iteration(rt_style *s, double begun, int64_t from) {
    double *h = s->history + RT_STYLE_HISTORY * s->step, content = 0, style = 0;
    const rt_mimic *m = &s->mimic;
    for (int i = 0; i < m->nterms; i++)
        *(i < m->ngram ? &style : &content) += s->part[i];
    h[RT_STYLE_EVALUATIONS] = (double)s->evaluations;
    h[RT_STYLE_CONTENT] = content;
    h[RT_STYLE_STYLE] = style;
    h[RT_STYLE_SMOOTH] = s->part[m->nterms];
    h[RT_STYLE_RANGE] = s->part[m->nterms + 1];
    if (!rt_progress_due(&s->v->cli.progress))
        return;
    char tail[160];
    int n = snprintf(tail, sizeof tail, "style %.4g", style);
    if (m->nterms > m->ngram)
        n += snprintf(tail + n, sizeof tail - (size_t)n, "  content %.4g", content);
    if (s->smooth > 0)
        snprintf(tail + n, sizeof tail - (size_t)n, "  smoothness %.4g", s->part[m->nterms]);
    double left = -1;
    if (s->step > from)
        left = (rt_seconds() - begun) / (double)(s->step - from) * (double)(s->steps - s->step);
    rt_progress_tick(&s->v->cli.progress, "iteration", s->step, s->steps, tail, left);
}

/* x against the gradient of the loss at x; what is noted is the loss before the step. */
static int adam_step(rt_style *s, int *moved, rt_error *err) {
    double value = 0;
    if (loss_at(s, s->p.x, &value, s->g, err))
        return err->code;
    for (int64_t i = 0; i < s->p.count; i++)
        s->g[i] = -s->g[i];
    *moved = rt_norm2(s->g, s->p.count) > 0;
    if (*moved)
        rt_climb_step(&s->adam, s->p.x, s->g);
    return NETRT_OK;
}

static int open_optimizer(rt_style *s, rt_error *err) {
    int64_t n = s->p.count;
    s->p.objective.part = s->part;
    if (s->optimizer == RT_STYLE_ADAM) {
        s->g = rt_alloc((size_t)n, sizeof *s->g, "a gradient", err);
        return s->g ? rt_climb_open(&s->adam, RT_STEP_ADAM, s->rate, n, err) : err->code;
    }
    return rt_lbfgs_open(&s->lbfgs, loss_at, s, s->p.x, n, RT_STYLE_PAIRS,
                         (double)FIRST_STEP * sqrt((double)n), err);
}

int rt_style_run(rt_style *s, int resume, rt_error *err) {
    s->part = rt_alloc_zero((size_t)s->mimic.nterms + 2, sizeof *s->part, "loss", err);
    if (!err->code)
        s->history = rt_alloc_zero((size_t)(s->steps + 1) * RT_STYLE_HISTORY, sizeof *s->history,
                                   "the loss of each iteration", err);
    if (err->code || open_optimizer(s, err) || (resume && load_state(s, err)))
        return err->code;
    double begun = rt_seconds();
    int64_t from = s->step;
    if (s->step == 0 && s->optimizer == RT_STYLE_LBFGS)
        note_iteration(s, begun, from);
    while (s->step < s->steps && !s->ended && !rt_cli_signal) {
        int moved = 0;
        if (s->optimizer == RT_STYLE_ADAM ? adam_step(s, &moved, err)
                                          : rt_lbfgs_step(&s->lbfgs, &moved, err))
            break;
        s->ended = !moved;
        s->step += moved;
        note_iteration(s, begun, from);
    }
    rt_progress_clear(&s->v->cli.progress);
    if (!err->code && s->ended)
        rt_note(&s->v->cli.progress, "after %lld iterations no step makes the loss smaller",
                (long long)s->step);
    if (!err->code && s->step > from) {
        double spent = rt_seconds() - begun;
        rt_note(&s->v->cli.progress, "%lld iterations in %.3g s, %.3g s each",
                (long long)(s->step - from), spent, spent / (double)(s->step - from));
    }
    return err->code;
}

void rt_style_run_close(rt_style *s) {
    rt_lbfgs_close(&s->lbfgs);
    rt_climb_close(&s->adam);
    rt_free(s->g);
    rt_free(s->part);
    rt_free(s->history);
    s->g = NULL;
    s->part = s->history = NULL;
}
