/* rt_robust.c: errors of a classifier under projected gradient ascent of the cross-entropy
 * (rt_robust.h).
 *
 * The gradient is that of the looking program, whose layers work as in prediction, so that every
 * network can be asked, however it was trained.
 * ensures: the same figures for any number of threads.
 * theory: Madry et al. 2018, sections 2.1 and 4.
 */
#include "rt_robust.h"

#include <string.h>

#include "rt_alloc.h"
#include "rt_objective.h"
#include "rt_par.h"

typedef struct Robust {
    rt_cli *cli;
    rt_feed *feed;
    rt_robust *r;
    rt_look look;
    rt_objective objective;
    struct rt_attack *attack;
    rt_term *term; /* one per picture */
    double *value;
    int score; /* layer of the score */
    double loss;
} Robust;

static int refused(const Robust *s, rt_error *err) {
    const rt_model *model = s->feed->m->model;
    if (!rt_judged(model) || model->classes < 2 || model->ninputs != 1 || model->label_cells > 1 ||
        model->smallest_wins)
        return rt_fail(err, NETRT_EUSAGE,
                       "--attack wants one picture as input and a score for each class; %s has not\n"
                       "help: without --attack, eval counts its errors", model->name);
    if (rt_data_real(s->feed->ds))
        return rt_fail(err, NETRT_EDATA,
                       "%s holds numbers; --attack changes pictures, whose range is known\n"
                       "help: --data=DIR names pictures", rt_data_uri(s->feed->ds));
    if (s->cli->crops > 1)
        return rt_fail(err, NETRT_EUSAGE, "--attack and --crops do not go together\n"
                       "help: --attack changes one view of a picture: leave --crops out");
    return NETRT_OK;
}

static int open_robust(Robust *s, rt_error *err) {
    netrt *m = s->feed->m;
    const rt_program *p = &m->model->program[RT_LOOK];
    int64_t cap = s->feed->cap;
    s->score = -1;
    for (int i = 0; i < p->nseeds; i++)
        s->score = p->seed[i].tensor == p->output ? i : s->score;
    if (refused(s, err) || rt_look_open(&s->look, m, cap, err))
        return err->code;
    if (s->score < 0)
        return rt_fail(err, NETRT_EUSAGE, "%s has no score that an attack could start from\n"
                       "help: `output prob = softmax(..)` declares one", m->model->name);
    s->term = rt_alloc_zero((size_t)cap, sizeof *s->term, "terms", err);
    s->value = rt_alloc_zero((size_t)cap, sizeof *s->value, "values", err);
    for (int64_t i = 0; s->term && i < cap; i++)
        s->term[i] = (rt_term){.kind = RT_TERM_CROSS, .seed = s->score, .image = i, .weight = 1};
    if (err->code || rt_attack_open(&s->attack, m, &s->r->how, err))
        return err->code;
    return rt_objective_open(&s->objective, &s->look, s->term, (int)cap, err);
}

static void close_robust(Robust *s) {
    if (s->objective.look)
        rt_objective_close(&s->objective);
    rt_look_close(&s->look);
    rt_attack_close(s->attack);
    rt_free(s->term);
    rt_free(s->value);
}

/* Cross-entropies, and how many of the n pictures x are wrong: -1 on failure. */
static int64_t wrong_of(Robust *s, const float *x, int64_t n, rt_error *err) {
    const rt_model *model = s->feed->m->model;
    int64_t wrong = 0;
    if (rt_objective_eval(&s->objective, x, n, s->value, NULL, err))
        return -1;
    for (int64_t i = 0; i < n; i++) {
        rt_look_values(&s->look, s->score, i, s->look.seed);
        wrong += rt_best(model, s->look.seed) != s->feed->label[i];
    }
    return wrong;
}

static int one_batch(Robust *s, int64_t n, rt_error *err) {
    struct rt_attack *a = s->attack;
    const netrt *m = s->feed->m;
    const float *clean = s->feed->input[0];
    for (int64_t i = 0; i < n; i++)
        s->term[i].unit.c = s->feed->label[i];
    int64_t before = wrong_of(s, clean, n, err), after = 0;
    rt_attack_start(a, m, clean, s->feed->index, UINT32_MAX, n);
    for (int64_t step = 0; step < a->how.steps && !err->code; step++) {
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (rt_objective_eval(&s->objective, a->x, n, s->value, a->g, err) == 0)
            rt_attack_rise(a, m, clean, n);
    }
    if (!err->code)
        after = wrong_of(s, a->x, n, err);
    for (int64_t i = 0; i < n; i++)
        s->loss += s->value[i];
    s->r->images += n;
    s->r->clean += before;
    s->r->wrong += after;
    return err->code;
}

int rt_robust_count(rt_cli *cli, rt_feed *feed, rt_robust *r, rt_error *err) {
    Robust s = {.cli = cli, .feed = feed, .r = r};
    int64_t total = rt_data_count(feed->ds);
    double begun = rt_seconds();
    rt_dataset *before = cli->ds;
    total = r->limit > 0 && r->limit < total ? r->limit : total;
    r->images = r->clean = r->wrong = 0;
    cli->ds = feed->ds;
    open_robust(&s, err);
    rt_cli_catch();
    for (int64_t i = 0; i < total && !err->code; i += feed->cap) {
        int64_t want = total - i < feed->cap ? total - i : feed->cap;
        int64_t n = rt_feed_load_range(feed, i, want, rt_cli_skipped, cli);
        if (n < 0)
            rt_fail(err, feed->failure.code, "%s", feed->failure.text);
        else if (n > 0)
            one_batch(&s, n, err);
        double spent = rt_seconds() - begun, share = (double)(i + want);
        rt_progress_tick(&cli->progress, "attacking", i + want, total, "",
                         spent / share * ((double)total - share));
    }
    rt_progress_clear(&cli->progress);
    r->loss = r->images > 0 ? s.loss / (double)r->images : 0;
    cli->ds = before;
    close_robust(&s);
    return err->code;
}
