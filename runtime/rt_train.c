/* rt_train.c: `NAME train`: epochs of shuffled batches, tests, checkpoints, logs, and the ways a
 * run can end early (signal, divergence, full disk).
 *
 * Adversarial training (rt_attack.h) has figures of two kinds: those of the scores that the step
 * reads, pgd: of changed pictures, trades: of clean ones, and `other`, of the other kind; pgd would have to
 * run the clean pictures only for that, and does so in the steps that write a log row.
 * ensures: the weights after step k are a function of (spec, data, seed, rates, k): not of threads,
 * of interruptions or of how often a checkpoint is written.  The output directory is proved
 * writable before step 1.  Weights that are not finite never replace a good checkpoint.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_alloc.h"
#include "rt_attack.h"
#include "rt_ckpt.h"
#include "rt_cli.h"
#include "rt_epochs.h"
#include "rt_io.h"
#include "rt_log.h"
#include "rt_optim.h"
#include "rt_par.h"
#include "rt_rng.h"
#include "rt_train.h"

typedef struct Train {
    rt_cli *cli;
    netrt *m;
    rt_dataset *train_ds, *test_ds;
    rt_feed feed, test_feed;
    rt_run_state s;
    rt_log log;
    rt_perm perm;
    int64_t *want;
    float *scores;
    rt_train_options o;
    int resumed, log_warned;
    int64_t saved_step; /* -1: no checkpoint yet */
    double begun, ema, row_begun;
    rt_sums other; /* of the last step that told */
    int64_t first_step, row_images;
    rt_score test;
    rt_figure figure[RT_FIGURES_MAX]; /* what the test tells beside loss and error */
    int nfigures;
    char ckpt[4200], last[4200], best[4200], sparse[4200];
} Train;

enum { SCAN_FLOATS = 1 << 22 }; /* weights looked at per step in the search for NaN */

static double elapsed(const Train *t) {
    return t->s.seconds + rt_seconds() - t->begun;
}

/* ---- starting ---- */

static void set_paths(Train *t) {
    snprintf(t->ckpt, sizeof t->ckpt, "%s/checkpoint.safetensors", t->cli->out);
    snprintf(t->last, sizeof t->last, "%s/last.safetensors", t->cli->out);
    snprintf(t->best, sizeof t->best, "%s/best.safetensors", t->cli->out);
    snprintf(t->sparse, sizeof t->sparse, "%s/sparse.safetensors", t->cli->out);
}

static int open_data(Train *t, rt_error *err) {
    netrt *m = t->m;
    if (rt_cli_data(t->cli, 0, 0, &t->train_ds, err) || rt_cli_data(t->cli, 1, 1, &t->test_ds, err))
        return err->code;
    size_t cache = (size_t)RT_FEED_CACHE_MB << 20;
    int labels = rt_wants_labels(m->model);
    if (rt_feed_open(&t->feed, m, t->train_ds, m->cap, cache, labels, err))
        return err->code;
    if (rt_feed_learn(&t->feed, rt_cli_skipped, t->cli, err))
        return err->code;
    if (t->test_ds && rt_feed_open(&t->test_feed, m, t->test_ds, m->cap, cache, labels, err))
        return err->code;
    rt_cli_class_names(m, t->train_ds);
    t->want = rt_alloc((size_t)m->cap, sizeof *t->want, "sample numbers", err);
    t->scores = rt_alloc((size_t)(m->cap * m->model->classes), sizeof *t->scores, "scores", err);
    return err->code;
}

static void fresh_state(Train *t) {
    const rt_train_spec *spec = &t->m->model->train;
    rt_run_state *s = &t->s;
    memset(s, 0, sizeof *s);
    s->samples = rt_data_count(t->train_ds);
    s->batch = t->m->cap;
    s->seed = t->m->seed;
    s->lr = t->o.lr >= 0 ? t->o.lr : spec->lr;
    s->momentum = t->o.momentum >= 0 ? t->o.momentum : spec->momentum;
    s->decay = t->o.decay >= 0 ? t->o.decay : spec->decay;
    s->epoch = t->o.first_epoch;
    rt_plateau_start(&s->plateau);
    s->best_error = HUGE_VAL;
}

/* What the command line says must agree with the checkpoint, or the run would not be the same. */
static int same_run(Train *t, const rt_run_state *now, rt_error *err) {
    rt_run_state *s = &t->s;
    const char *what = s->samples != now->samples ? "number of training samples"
                       : s->batch != now->batch   ? "batch"
                       : s->seed != now->seed     ? "seed"
                                                  : NULL;
    if (what) {
        int64_t then = s->samples != now->samples ? s->samples
                       : s->batch != now->batch   ? s->batch
                                                  : (int64_t)s->seed;
        return rt_fail(err, NETRT_EUSAGE,
                       "cannot continue %s: its %s is %lld, this command has another\n"
                       "help: give the command that started the run and add --resume",
                       t->ckpt, what, (long long)then);
    }
    if (s->lr != now->lr || s->momentum != now->momentum || s->decay != now->decay) {
        rt_warn(&t->cli->progress, "continuing with other rates than the checkpoint's (lr %g)",
                now->lr);
        s->lr = now->lr;
        s->momentum = now->momentum;
        s->decay = now->decay;
    }
    return NETRT_OK;
}

static int start_or_resume(Train *t, rt_error *err) {
    fresh_state(t);
    if (t->o.resume && t->o.resume[0])
        snprintf(t->ckpt, sizeof t->ckpt, "%s", t->o.resume);
    int exists = access(t->ckpt, F_OK) == 0;
    if (t->o.resume && (exists || t->o.resume[0])) {
        rt_run_state now = t->s;
        if (rt_ckpt_load(t->m, t->ckpt, &t->s, err))
            return rt_advise(err, "without --resume the run starts anew; --weights=%s starts from "
                                  "the last weights",
                             t->last);
        if (same_run(t, &now, err))
            return err->code;
        t->resumed = 1;
        t->saved_step = t->s.step;
        rt_note(&t->cli->progress, "continuing %s at step %lld, epoch %lld", t->ckpt,
                (long long)t->s.step, (long long)t->s.epoch);
        set_paths(t);
    } else if (t->o.resume) {
        rt_note(&t->cli->progress, "no checkpoint in %s/ yet: starting", t->cli->out);
    } else if (exists) {
        rt_warn(&t->cli->progress,
                "%s/ holds an earlier run, which this one replaces "
                "(--resume would continue it)",
                t->cli->out);
        rt_io.unlink(t->ckpt); /* it must not be taken for this run's */
    }
    return NETRT_OK;
}

static void log_head(Train *t) {
    const rt_model *model = t->m->model;
    rt_text o = {0};
    rt_text_add(&o, "{\"schema\":1,\"model\":");
    rt_text_json(&o, model->name);
    rt_text_add(&o, ",\"spec\":");
    rt_text_json(&o, model->spec_hash);
    rt_text_printf(&o, ",\"parameters\":%lld,\"seed\":%llu,\"threads\":%d,\"batch\":%lld,\"data\":",
                   (long long)model->param_count, (unsigned long long)t->s.seed, t->m->threads,
                   (long long)t->s.batch);
    rt_text_json(&o, rt_data_uri(t->train_ds));
    rt_text_add(&o, ",\"target\":");
    rt_text_json(&o, model->target);
    rt_text_add(&o, ",\"version\":");
    rt_text_json(&o, model->version);
    rt_text_add(&o, "}\n");
    if (o.data && !t->resumed)
        rt_log_head(&t->log, o.data);
    if (o.data)
        rt_progress_json(&t->cli->progress, o.data);
    rt_text_free(&o);
}

/* train { load = weights(..) }: unless the command names others or continues a run. */
static void weights_of_spec(Train *t) {
    const rt_train_spec *spec = &t->cli->model->train;
    const char *from = t->o.resume && t->o.resume[0] ? t->o.resume : t->ckpt;
    if (!spec->load || !spec->load[0] || t->cli->weights ||
        (t->o.resume && access(from, F_OK) == 0))
        return;
    t->cli->weights = spec->load;
    t->cli->map = spec->load_map;
    t->cli->skip = spec->load_skip;
    t->cli->partial = (int)spec->load_partial;
}

static const rt_adversary *adversary(const Train *t) {
    const rt_adversary *a = &t->m->model->train.adversary;
    return a->kind == RT_ADVERSARY_NONE ? NULL : a;
}

static const char *other_name(const Train *t) {
    return adversary(t)->kind == RT_ADVERSARY_PGD ? "clean" : "attacked";
}

static int check_adversary(Train *t, rt_error *err) {
    const rt_adversary *a = adversary(t);
    char weight[48] = "";
    if (!a)
        return NETRT_OK;
    if (rt_data_real(t->train_ds))
        return rt_fail(err, NETRT_EDATA,
                       "%s holds numbers, and eps of adversarial training is a share of the pixel range\n"
                       "help: pictures have one; train { adversarial = .. } left out is plain training",
                       rt_data_uri(t->train_ds));
    if (rt_program_ready(t->m, RT_ATTACK, t->m->cap, err))
        return err->code;
    t->m->stop = &rt_cli_signal;
    if (a->kind == RT_ADVERSARY_TRADES)
        snprintf(weight, sizeof weight, ", beta %g", a->beta);
    rt_note(&t->cli->progress,
            "adversarial training: %s, eps %.4g of the pixel range, %lld steps of %.4g%s: about %.1f times "
            "the arithmetic of plain training",
            a->kind == RT_ADVERSARY_PGD ? "pgd" : "trades", a->eps, (long long)a->steps, a->step, weight,
            rt_attack_cost(t->m->model));
    return NETRT_OK;
}

static int start(Train *t, rt_error *err) {
    char params[32], train[32], test[32];
    rt_cli *cli = t->cli;
    set_paths(t);
    if (rt_io_make_dirs(cli->out, err) || rt_io_probe_dir(cli->out, err))
        return rt_advise(err, "name another folder with --out");
    rt_io_remove_stale(cli->out);
    weights_of_spec(t);
    if (rt_cli_open(cli, 0, &t->m, err) || open_data(t, err) ||
        rt_program_ready(t->m, RT_TRAIN, t->m->cap, err) || start_or_resume(t, err))
        return err->code;
    rt_error broken = {0};
    t->nfigures = rt_figures(t->m->model, t->feed.mapped, t->figure);
    if (t->resumed && rt_log_open(&t->log, cli->out, t->s.log_size, NULL, 0, &broken))
        rt_warn(&cli->progress, "%s; starting a new log", broken.text);
    if (!t->log.csv && rt_log_open(&t->log, cli->out, NULL, t->figure, t->nfigures, err))
        return err->code;
    log_head(t);
    rt_note(&cli->progress,
            "%s: %s parameters | %s: %s samples%s%s | batch %lld | seed %llu | "
            "%d thread%s | %s/ is writable",
            t->m->model->name, rt_text_count(t->m->model->param_count, params),
            rt_data_uri(t->train_ds), rt_text_count(t->s.samples, train),
            t->test_ds ? ", test " : "",
            t->test_ds ? rt_text_count(rt_data_count(t->test_ds), test) : "", (long long)t->s.batch,
            (unsigned long long)t->s.seed, t->m->threads, t->m->threads == 1 ? "" : "s", cli->out);
    return check_adversary(t, err);
}

/* ---- saving ---- */

static int diverged(Train *t, const char *what, int64_t n, rt_error *err) {
    char where[256], kept[64] = "no checkpoint had been written";
    int known = rt_find_nonfinite(t->m, RT_TRAIN, n, where, sizeof where);
    if (t->saved_step >= 0)
        snprintf(kept, sizeof kept, "the checkpoint of step %lld is kept",
                 (long long)t->saved_step);
    return rt_fail(err, NETRT_EDIVERGED,
                   "diverged at step %lld: %s is not finite%s%s\n  %s in %s/\n"
                   "help: try --lr=%g",
                   (long long)t->s.step, what, known ? ", first in " : "", known ? where : "", kept,
                   t->cli->out, t->m->lr / 10);
}

/* dessilbi: the weights that its sparse copy has, the others 0. */
static void save_sparse(Train *t, rt_error *err) {
    netrt *m = t->m;
    size_t bytes = (size_t)m->model->param_bytes;
    char *all = rt_alloc(bytes, 1, "a copy of the weights", err);
    if (!all)
        return;
    memcpy(all, m->param, bytes);
    rt_optim_prune(m);
    netrt_save(m, t->sparse, err);
    memcpy(m->param, all, bytes);
    m->param_version++;
    rt_free(all);
}

/* Checkpoint and plain weights.  Weights that are not finite are an error of their own. */
static int save(Train *t, rt_error *err) {
    if (!rt_params_finite(t->m, 0, t->m->model->param_bytes / 4))
        return diverged(t, "a weight", 1, err);
    rt_run_state s = t->s;
    s.seconds = elapsed(t);
    s.log_size[0] = t->log.size[0];
    s.log_size[1] = t->log.size[1];
    if (rt_ckpt_save(t->m, t->ckpt, &s, err) == 0)
        t->saved_step = s.step;
    if (!err->code)
        netrt_save(t->m, t->last, err);
    if (!err->code && !isnan(rt_optim_kept(t->m)))
        save_sparse(t, err);
    return err->code;
}

/* A checkpoint on the way: failure is a warning, the old file stays, the run goes on. */
static int save_periodic(Train *t, rt_error *err) {
    rt_error e = {0};
    if (save(t, &e) == 0)
        return NETRT_OK;
    if (e.code == NETRT_EDIVERGED)
        return rt_fail(err, e.code, "%s", e.text);
    if (t->saved_step >= 0)
        rt_warn(&t->cli->progress, "checkpoint at step %lld not written: %s. Kept step %lld",
                (long long)t->s.step, e.text, (long long)t->saved_step);
    else
        rt_warn(&t->cli->progress, "checkpoint at step %lld not written: %s", (long long)t->s.step,
                e.text);
    return NETRT_OK;
}

/* ---- rows ---- */

static void row(Train *t, const char *event, double loss, int64_t images, int64_t wrong,
                double top5, const double *value) {
    double now = rt_seconds();
    rt_row r = {.event = event,
                .step = t->s.step,
                .epoch = t->s.epoch,
                .images = images,
                .loss = images ? loss : NAN,
                .lr = t->m->lr,
                .top5 = top5,
                .error = images && rt_judged(t->m->model) ? (double)wrong / (double)images : NAN,
                .seconds = elapsed(t),
                .figure = t->figure,
                .value = value,
                .nfigures = t->nfigures};
    r.images_per_s = now > t->row_begun ? (double)t->row_images / (now - t->row_begun) : 0;
    t->row_begun = now;
    t->row_images = 0;
    rt_log_row(&t->log, &r);
    if (t->log.failed && !t->log_warned) {
        rt_warn(&t->cli->progress, "log not written: %s. Going on without",
                strerror(t->log.err_no));
        t->log_warned = 1;
    }
    if (t->cli->progress.kind == RT_PROGRESS_JSON) {
        rt_text o = {0};
        rt_row_json(&o, &r);
        if (o.data)
            rt_progress_json(&t->cli->progress, o.data);
        rt_text_free(&o);
    }
}

static void flush_row(Train *t) {
    rt_sums *r = &t->s.row;
    if (r->images > 0)
        row(t, "train", r->loss / (double)r->images, r->images, r->wrong, NAN, NULL);
    memset(r, 0, sizeof *r);
    if (t->other.images > 0)
        row(t, other_name(t), t->other.loss / (double)t->other.images, t->other.images, t->other.wrong,
            NAN, NULL);
    memset(&t->other, 0, sizeof t->other);
}

/* "  clean loss 0.1234 error 3.12%", of this epoch so far; "" where there is nothing to tell. */
static void other_text(const Train *t, char *text, size_t size) {
    const rt_sums *o = &t->s.other;
    text[0] = 0;
    if (!adversary(t) || o->images == 0)
        return;
    int n = snprintf(text, size, "  %s %s %.4f", other_name(t),
                     adversary(t)->kind == RT_ADVERSARY_PGD ? "loss" : "kl",
                     o->loss / (double)o->images);
    if (rt_judged(t->m->model) && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, " error %.2f%%", 100 * (double)o->wrong / (double)o->images);
}

static void tick(Train *t) {
    char head[64], tail[224], other[80], wrong[32] = "";
    if (!rt_progress_due(&t->cli->progress))
        return;
    int64_t per_epoch = (t->s.samples + t->s.batch - 1) / t->s.batch, done = t->s.step;
    int64_t total = per_epoch * t->o.epochs;
    if (t->o.steps_max > 0 && t->o.steps_max < total)
        total = t->o.steps_max;
    double spent = rt_seconds() - t->begun, each = spent / (double)(done - t->first_step + 1);
    double rate = (double)t->s.batch / each;
    snprintf(head, sizeof head, "epoch %lld/%lld", (long long)(t->s.epoch + 1),
             (long long)t->o.epochs);
    other_text(t, other, sizeof other);
    if (rt_judged(t->m->model))
        snprintf(wrong, sizeof wrong, "err %.1f%%  ",
                 100.0 * (double)t->s.whole.wrong /
                     (double)(t->s.whole.images ? t->s.whole.images : 1));
    snprintf(tail, sizeof tail, "loss %.4f  %slr %g%s  %.*f%s img/s", t->ema, wrong, t->m->lr, other,
             rate >= 1e3 ? 1 : 0, rate >= 1e3 ? rate / 1e3 : rate,
             rate >= 1e3 ? "k" : "");
    rt_progress_tick(&t->cli->progress, head, (t->s.position + t->s.batch - 1) / t->s.batch,
                     per_epoch, tail, done < total ? each * (double)(total - done) : -1);
}

/* ---- the loop ---- */

static int64_t wrong_scores(const Train *t, int64_t n) {
    int64_t wrong = 0, classes = t->m->model->classes;
    for (int64_t i = 0; i < n; i++)
        wrong += rt_best(t->m->model, t->scores + i * classes) != t->feed.label[i];
    return wrong;
}

/* *counted: images, or pixels where every pixel has a label. */
static int64_t count_wrong(Train *t, int program, int64_t n, int64_t *counted, rt_error *err) {
    *counted = n;
    if (!rt_judged(t->m->model))
        return 0;
    if (t->feed.mapped) {
        rt_cells sum = {0, 0};
        rt_cells_count(t->m, program, n, t->feed.map, &sum, NULL, err);
        *counted = sum.counted;
        return sum.wrong;
    }
    return rt_scores(t->m, program, n, t->scores) ? wrong_scores(t, n) : 0;
}

static int check_weights(Train *t, int64_t n, rt_error *err) {
    int64_t floats = t->m->model->param_bytes / 4;
    int64_t parts = (floats + SCAN_FLOATS - 1) / SCAN_FLOATS,
            part = t->s.step % (parts ? parts : 1);
    int64_t lo = part * SCAN_FLOATS, hi = lo + SCAN_FLOATS < floats ? lo + SCAN_FLOATS : floats;
    if (rt_params_finite(t->m, lo, hi - lo))
        return NETRT_OK;
    return diverged(t, "a weight", n, err);
}

/* Rates of the next step. */
static void set_rates(Train *t) {
    const rt_train_spec *spec = &t->m->model->train;
    double at = (double)t->s.epoch + (double)t->s.position / (double)t->s.samples;
    netrt_set_sgd(t->m,
                  rt_schedule_rate(&spec->schedule, t->s.lr, spec->lr, at, t->o.epochs, &t->s.plateau),
                  t->s.momentum, t->s.decay);
}

static void add_other(Train *t, double loss, int64_t wrong, int64_t counted) {
    t->other = (rt_sums){loss * (double)counted, counted, wrong};
    t->s.other.loss += t->other.loss;
    t->s.other.images += counted;
    t->s.other.wrong += wrong;
}

/* pgd: the clean pictures' figures, now and then. */
static int before_step(Train *t, int64_t n, rt_error *err) {
    const rt_adversary *a = adversary(t);
    if (!a || a->kind != RT_ADVERSARY_PGD || (t->s.step + 1) % t->o.log_every != 0)
        return NETRT_OK;
    if (rt_attack_clean(t->m, n, err))
        return err->code;
    double loss = rt_losses(t->m, RT_ATTACK, n, NULL);
    int64_t counted, wrong = count_wrong(t, RT_ATTACK, n, &counted, err);
    add_other(t, loss, wrong, counted);
    return err->code;
}

/* trades: those of the changed pictures, which the step has. */
static int after_step(Train *t, int64_t n, rt_error *err) {
    const rt_adversary *a = adversary(t);
    if (a && a->kind == RT_ADVERSARY_TRADES && rt_attack_scores(t->m, n, t->scores))
        add_other(t, rt_attack_entropy(t->m, n), rt_judged(t->m->model) ? wrong_scores(t, n) : 0, n);
    return err->code;
}

/* A signal in the middle of a step: it has not begun. */
static int stopped(Train *t, const rt_run_state *before, rt_error *err) {
    if (!rt_cli_signal || err->code != 128 + rt_cli_signal)
        return err->code;
    *err = (rt_error){0};
    t->s = *before;
    return NETRT_OK;
}

static int one_step(Train *t, rt_error *err) {
    rt_run_state *s = &t->s, before = *s;
    int64_t n = s->samples - s->position < s->batch ? s->samples - s->position : s->batch;
    for (int64_t i = 0; i < n; i++)
        t->want[i] = (int64_t)rt_perm_at(&t->perm, (uint64_t)(s->position + i));
    int64_t good = rt_feed_load(&t->feed, t->want, n, s->epoch, rt_cli_skipped, t->cli);
    if (good < 0)
        return rt_fail(err, t->feed.failure.code, "%s", t->feed.failure.text);
    if (t->feed.broken * 100 > (int64_t)(t->cli->max_bad * (double)s->samples))
        return rt_fail(err, NETRT_EDATA,
                       "%lld of %lld training pictures are broken, more than %g%%\n"
                       "help: repair the data, or allow more with --max-bad=PERCENT",
                       (long long)t->feed.broken, (long long)s->samples, t->cli->max_bad);
    set_rates(t);
    s->position += n;
    if (good == 0)
        return NETRT_OK;
    double loss = 0;
    t->m->frame.step = s->step;
    if (before_step(t, good, err) || rt_step(t->m, good, &loss, err))
        return stopped(t, &before, err);
    s->step++;
    if (!isfinite(loss))
        return diverged(t, "the loss", good, err);
    if (check_weights(t, good, err))
        return err->code;
    int64_t counted, wrong = count_wrong(t, RT_TRAIN, good, &counted, err);
    if (after_step(t, good, err))
        return err->code;
    s->row.loss += loss * (double)counted;
    s->row.images += counted;
    s->row.wrong += wrong;
    s->whole.loss += loss * (double)counted;
    s->whole.images += counted;
    s->whole.wrong += wrong;
    t->row_images += good;
    t->ema = s->step == t->first_step + 1 ? loss : 0.98 * t->ema + 0.02 * loss;
    if (s->step % t->o.log_every == 0)
        flush_row(t);
    tick(t);
    return NETRT_OK;
}

int rt_train_keeps(const char *list, int64_t at) {
    int found = 0;
    if (list && strcmp(list, "all") == 0)
        return 1;
    for (const char *s = list; s && *s;) {
        char *end;
        long long lo = strtoll(s, &end, 10), hi = lo;
        if (end == s || lo < 0)
            return -1;
        if (*end == '-') {
            s = end + 1;
            hi = strtoll(s, &end, 10);
            if (end == s || hi < lo)
                return -1;
        }
        if (*end && *end != ',')
            return -1;
        found |= at >= lo && at <= hi;
        s = *end ? end + 1 : end;
    }
    return found;
}

/* --keep: the weights as they are now, under the number of the epoch. */
static int keep_epoch(Train *t, rt_error *err) {
    char path[4300];
    if (rt_train_keeps(t->o.keep, t->s.epoch) != 1)
        return NETRT_OK;
    rt_epochs_path(t->cli->out, t->s.epoch, path, sizeof path);
    return netrt_save(t->m, path, err);
}

static void save_best(Train *t, double error) {
    rt_error e = {0};
    if (!(error < t->s.best_error))
        return;
    t->s.best_error = error;
    t->s.best_epoch = t->s.epoch;
    if (netrt_save(t->m, t->best, &e))
        rt_warn(&t->cli->progress, "best weights not written: %s", e.text);
}

/* "  error 1.25%"; nothing for a net that is not judged by classes */
static const char *share_text(int judged, double error, char buf[32]) {
    buf[0] = 0;
    if (judged)
        snprintf(buf, 32, "  error %.2f%%", 100 * error);
    return buf;
}

/* "  loss.ce 0.1234  side.error 1.25%", behind what is in text already */
static void add_figures(const rt_score *s, char *text, size_t size) {
    for (int i = 0; i < s->nfigures; i++) {
        size_t used = strlen(text);
        if (isfinite(s->value[i]) && s->figure[i].loss >= 0)
            snprintf(text + used, size - used, "  %s %.4f", s->figure[i].name, s->value[i]);
        else if (isfinite(s->value[i]))
            snprintf(text + used, size - used, "  %s %.2f%%", s->figure[i].name, 100 * s->value[i]);
    }
}

/* What schedule = plateau(..) looks at: the loss or a metric of the test, or of training where there
 * is no test (of metrics the error alone). */
static double watched(const Train *t, double error, double train_loss) {
    const rt_model *model = t->m->model;
    int32_t watch = model->train.schedule.watch;
    if (watch == RT_WATCH_LOSS)
        return t->test_ds ? t->test.loss : train_loss;
    if (!t->test_ds || watch < 0 || watch >= model->nmetrics)
        return error;
    const rt_metric *m = &model->metric[watch];
    int at = rt_figures_find(t->test.figure, t->test.nfigures, m);
    if (at < 0 && m->k > 1 && !t->test_feed.mapped && t->test.counted > 0)
        return (double)t->test.beyond5 / (double)t->test.counted;
    return at >= 0 && isfinite(t->test.value[at]) ? t->test.value[at] : error;
}

static int end_epoch(Train *t, rt_error *err) {
    rt_run_state *s = &t->s;
    char text[1000] = "", time[24], share[32], other[80];
    int64_t filters, all_filters;
    double images = s->whole.images ? (double)s->whole.images : 1;
    double train_loss = s->whole.loss / images, train_error = (double)s->whole.wrong / images;
    flush_row(t);
    s->epoch++;
    s->position = 0;
    memset(&s->whole, 0, sizeof s->whole);
    other_text(t, other, sizeof other);
    memset(&s->other, 0, sizeof s->other);
    int judged = rt_judged(t->m->model); /* else it is the loss that is to fall */
    double figure = judged ? train_error : train_loss;
    if (t->test_ds) {
        if (rt_evaluate(t->cli, &t->test_feed, &t->test, "test", err))
            return err->code;
        double tested = t->test.counted ? (double)t->test.counted : 1;
        figure = judged ? (double)t->test.wrong / tested : t->test.loss;
        row(t, "test", t->test.loss, t->test.counted, t->test.wrong,
            judged && t->m->model->classes > 5 && !t->test_feed.mapped ? (double)t->test.beyond5 / tested : NAN,
            t->test.value);
        snprintf(text, sizeof text, "  test loss %.4f%s", t->test.loss,
                 share_text(judged, figure, share));
        add_figures(&t->test, text, sizeof text);
        save_best(t, figure);
    }
    double kept = rt_optim_kept(t->m);
    if (!isnan(kept))
        snprintf(text + strlen(text), sizeof text - strlen(text), "  nonzero %.2f%%", 100 * kept);
    rt_optim_filters(t->m, &filters, &all_filters);
    if (all_filters > 0)
        snprintf(text + strlen(text), sizeof text - strlen(text), "  filters %lld/%lld",
                 (long long)filters, (long long)all_filters);
    rt_note(&t->cli->progress, "epoch %lld/%lld  step %lld  loss %.4f%s%s%s  lr %g  %s",
            (long long)s->epoch, (long long)t->o.epochs, (long long)s->step, train_loss,
            share_text(judged, train_error, share), other, text, t->m->lr,
            rt_text_time(elapsed(t), time));
    if (rt_plateau_epoch(&s->plateau, &t->m->model->train.schedule, watched(t, figure, train_loss)))
        rt_note(&t->cli->progress, "no progress: learning rate times %g",
                t->m->model->train.schedule.factor);
    if (keep_epoch(t, err))
        return err->code;
    if (t->o.every_epochs > 0 && s->epoch % t->o.every_epochs == 0 && s->epoch < t->o.epochs)
        return save_periodic(t, err);
    return NETRT_OK;
}

/* sdlm: the curvatures of this epoch, on samples drawn for it. */
static int find_curvature(Train *t, rt_error *err) {
    int64_t want = t->m->model->train.curvature, seen = 0;
    want = want < t->s.samples ? want : t->s.samples;
    rt_perm perm =
        rt_perm_make((uint64_t)t->s.samples, t->s.seed, RT_RNG_CURVATURE, (uint32_t)t->s.epoch);
    for (int64_t at = 0; at < want; at += t->s.batch) {
        int64_t n = want - at < t->s.batch ? want - at : t->s.batch;
        for (int64_t i = 0; i < n; i++)
            t->want[i] = (int64_t)rt_perm_at(&perm, (uint64_t)(at + i));
        int64_t good = rt_feed_load(&t->feed, t->want, n, t->s.epoch, rt_cli_skipped, t->cli);
        if (good < 0)
            return rt_fail(err, t->feed.failure.code, "%s", t->feed.failure.text);
        t->m->frame.step = t->s.step;
        if (good > 0 && rt_curvature(t->m, good, seen, err))
            return err->code;
        seen += good;
    }
    return NETRT_OK;
}

static int begin_epoch(Train *t, rt_error *err) {
    t->perm = rt_perm_make((uint64_t)t->s.samples, t->s.seed, RT_RNG_SHUFFLE, (uint32_t)t->s.epoch);
    if (t->s.position == 0 && t->m->model->train.optimizer == RT_SDLM && find_curvature(t, err))
        return err->code;
    set_rates(t);
    return NETRT_OK;
}

/* Runs to the end, to --steps or to a signal. */
static int loop(Train *t, rt_error *err) {
    rt_run_state *s = &t->s;
    t->begun = t->row_begun = rt_seconds();
    t->first_step = s->step;
    if (s->step == 0 && t->o.keep)
        rt_epochs_remove(t->cli->out);
    if (s->step == 0 && keep_epoch(t, err))
        return err->code;
    while (s->epoch < t->o.epochs) {
        if (begin_epoch(t, err))
            return err->code;
        while (s->position < s->samples) {
            if (rt_cli_signal || (t->o.steps_max > 0 && s->step >= t->o.steps_max))
                return NETRT_OK;
            if (one_step(t, err))
                return err->code;
            if (t->o.every_steps > 0 && s->step % t->o.every_steps == 0 && s->position < s->samples &&
                save_periodic(t, err))
                return err->code;
        }
        if (end_epoch(t, err))
            return err->code;
    }
    return NETRT_OK;
}

/* ---- ending ---- */

static int result(Train *t, rt_error *err) {
    if (t->o.silent)
        return NETRT_OK;
    rt_text o = {0};
    int tested = t->test_ds && t->test.images > 0;
    int judged = rt_judged(t->m->model);
    double error = tested && judged ? (double)t->test.wrong / (double)t->test.counted : NAN;
    double kept = rt_optim_kept(t->m);
    char filters[64] = "";
    int64_t some, all;
    rt_optim_filters(t->m, &some, &all);
    if (all > 0)
        snprintf(filters, sizeof filters, "; %lld of %lld filters", (long long)some, (long long)all);
    if (t->cli->json) {
        rt_text_printf(&o, "{\"steps\":%lld,\"epochs\":%lld,\"test_loss\":", (long long)t->s.step,
                       (long long)t->s.epoch);
        rt_text_number(&o, tested ? t->test.loss : NAN);
        rt_text_add(&o, ",\"test_error\":");
        rt_text_number(&o, error);
        if (!isnan(kept)) {
            rt_text_add(&o, ",\"nonzero\":");
            rt_text_number(&o, kept);
        }
        if (all > 0)
            rt_text_printf(&o, ",\"filters\":%lld,\"all_filters\":%lld", (long long)some, (long long)all);
        rt_text_printf(&o,
                       ",\"skipped\":%lld,\"seconds\":%.3f,\"weights\":", (long long)t->feed.broken,
                       elapsed(t));
        rt_text_json(&o, t->last);
        rt_text_add(&o, "}\n");
    } else if (!t->cli->quiet) {
        if (tested && !judged)
            rt_text_printf(&o, "test loss %.4f (best %.4f after epoch %lld)\n", t->test.loss,
                           t->s.best_error, (long long)t->s.best_epoch);
        else if (tested)
            rt_text_printf(&o, "test error %.2f%% (best %.2f%% after epoch %lld)\n", 100 * error,
                           100 * t->s.best_error, (long long)t->s.best_epoch);
        rt_text_printf(&o, "weights: %s\n", t->last);
        if (!isnan(kept))
            rt_text_printf(&o, "sparse: %s (%.2f%% of the weights are not 0%s)\n", t->sparse,
                           100 * kept, filters);
    }
    return rt_cli_print(&o, err);
}

static int finish(Train *t, rt_error *err) {
    char curve[4200], size[24];
    rt_error plot = {0};
    double start = rt_seconds();
    if (save(t, err))
        return rt_advise(err, "make room, then continue with the same command and --resume");
    snprintf(curve, sizeof curve, "%s/loss.svg", t->cli->out);
    if (!t->log.failed && rt_log_plot(t->log.csv, curve, t->m->model->name, &plot))
        rt_warn(&t->cli->progress, "no loss curve: %s", plot.text);
    if (rt_cli_signal) {
        rt_note(&t->cli->progress,
                "interrupted after step %lld: saved %s (%s, %.0f ms). Continue with the same "
                "command and --resume",
                (long long)t->s.step, t->ckpt,
                rt_text_bytes_human((double)t->m->model->param_bytes * 2, size),
                (rt_seconds() - start) * 1e3);
        return NETRT_OK;
    }
    return result(t, err);
}

static void defaults(Train *t) {
    const rt_train_spec *spec = &t->cli->model->train;
    int64_t per_epoch = (t->s.samples + t->s.batch - 1) / t->s.batch;
    if (t->o.epochs < 0)
        t->o.epochs = spec->epochs > 0 ? spec->epochs : 1;
    if (t->o.every_epochs < 0)
        t->o.every_epochs = spec->checkpoint_epochs > 0 ? spec->checkpoint_epochs : 1;
    if (t->o.log_every <= 0)
        t->o.log_every = per_epoch / 10 > 100 ? 100 : per_epoch / 10 > 1 ? per_epoch / 10 : 1;
}

static int run(Train *t) {
    rt_error err = {0};
    rt_progress *p = &t->cli->progress;
    t->saved_step = -1;
    t->log.fd[0] = t->log.fd[1] = -1;
    if (start(t, &err) == 0) {
        t->cli->ds = t->train_ds;
        defaults(t);
        rt_cli_catch();
        if (t->s.epoch >= t->o.epochs && t->test_ds)
            rt_evaluate(t->cli, &t->test_feed, &t->test, "test", &err);
        if (t->s.epoch >= t->o.epochs)
            rt_note(p, "all %lld epochs are done; --epochs=N with a larger N trains on",
                    (long long)t->o.epochs);
        if (!err.code && loop(t, &err) == 0)
            finish(t, &err);
    }
    if (err.code == NETRT_ELIMIT)
        rt_advise(&err, "a smaller --batch needs less memory");
    rt_report(p, &err);
    rt_log_close(&t->log);
    if (t->m) {
        if (t->feed.m)
            rt_feed_close(&t->feed);
        if (t->test_feed.m)
            rt_feed_close(&t->test_feed);
    }
    rt_data_close(t->train_ds);
    rt_data_close(t->test_ds);
    rt_free(t->want);
    rt_free(t->scores);
    netrt_close(t->m);
    return err.code ? err.code : rt_cli_signal ? 128 + rt_cli_signal : NETRT_OK;
}

const rt_train_options rt_train_defaults = {
    .epochs = -1, .every_epochs = -1, .lr = -1, .momentum = -1, .decay = -1};

int rt_train(rt_cli *cli, const rt_train_options *o, rt_train_result *result) {
    Train t;
    memset(&t, 0, sizeof t);
    t.cli = cli;
    t.o = *o;
    int code = run(&t);
    int tested = t.test.counted > 0;
    if (result)
        *result = (rt_train_result){
            .epoch = t.s.epoch,
            .step = t.s.step,
            .best_epoch = t.s.best_epoch,
            .error = tested ? (double)t.test.wrong / (double)t.test.counted : NAN,
            .best_error = isfinite(t.s.best_error) ? t.s.best_error : NAN,
            .loss = tested ? t.test.loss : NAN};
    return code;
}

int rt_train_args(rt_cli *cli, rt_train_options *o, rt_arg table[RT_TRAIN_ARGS]) {
    const rt_arg rows[] = {
        RT_OPT_DATA(cli, "training data (default: the spec's): digits:N, a folder with one "
                         "sub-folder per class, or with MNIST or CIFAR files"),
        {"out", 'o', RT_ARG_TEXT, "DIR", &cli->out, 0, 0, "where results go (default: run)"},
        {"epochs", 'e', RT_ARG_INT, "N", &o->epochs, 0, 1 << 30, "passes over the data"},
        RT_OPT_BATCH(cli),
        {"lr", 0, RT_ARG_REAL, "X", &o->lr, 0, 1, "learning rate"},
        {"momentum", 0, RT_ARG_REAL, "X", &o->momentum, 0, 1, "momentum"},
        {"decay", 0, RT_ARG_REAL, "X", &o->decay, 0, 1, "weight decay"},
        RT_OPT_SEED(cli),
        {"steps", 0, RT_ARG_INT, "N", &o->steps_max, 1, INT64_MAX, "stop after step N"},
        {"checkpoint-epochs", 0, RT_ARG_INT, "N", &o->every_epochs, 0, 1 << 30,
         "checkpoint every N epochs (default 1; 0: only at the end)"},
        {"checkpoint-steps", 0, RT_ARG_INT, "N", &o->every_steps, 1, INT64_MAX,
         "and every N steps"},
        {"log-steps", 0, RT_ARG_INT, "N", &o->log_every, 1, INT64_MAX, "a log row every N steps"},
        {"max-bad", 0, RT_ARG_REAL, "PERCENT", &cli->max_bad, 0, 1,
         "broken pictures tolerated (default 1)"},
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli),
        RT_OPT_JSON(cli)};
    enum { ROWS = sizeof rows / sizeof *rows };
    _Static_assert((int)ROWS <= (int)RT_TRAIN_ARGS, "room for the options");
    memcpy(table, rows, sizeof rows);
    return ROWS;
}

int rt_verb_train(rt_cli *cli, int argc, char **argv) {
    rt_train_options o = rt_train_defaults;
    const rt_arg own[] = {
        {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "What it begins with and what it leaves"},
        {"resume", 'r', RT_ARG_MAYBE, "FILE", &o.resume, 0, 0,
         "continue from the checkpoint in the output folder (or FILE)"},
        {"weights", 'w', RT_ARG_TEXT, "FILE", &cli->weights, 0, 0, "start from these weights"},
        RT_OPT_PARTIAL(cli),
        {"skip", 0, RT_ARG_TEXT, "NAMES", &cli->skip, 0, 0,
         "tensors that --weights leaves as they are: 'fc8*,c1.bias'"},
        RT_OPT_MAP(cli),
        {"keep", 0, RT_ARG_TEXT, "EPOCHS", &o.keep, 0, 0,
         "also keep the weights of these epochs, 0 = at the start: 0,1,2,5-8, or all"}};
    enum { OWN = sizeof own / sizeof *own };
    rt_arg table[RT_TRAIN_ARGS + OWN];
    int rows = rt_train_args(cli, &o, table);
    memcpy(table + rows, own, sizeof own);
    static const rt_verb verb = {
        "train", "trains the network", "[OPTIONS]",
        "train\ntrain --data=digits:6000 --epochs=5 --out=run\ntrain --resume\n"
        "train --data=cifar-10/ --lr=0.01 --seed=2 --out=run2"};
    const char *operands[argc + 1];
    rt_error err = {0};
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, rows + OWN, argc, argv, operands, &n, &code))
        return code;
    if (n > 0)
        rt_fail(&err, NETRT_EUSAGE, "train takes no operand '%s'\nhelp: data is named by --data=%s",
                operands[0], operands[0]);
    if (rt_train_keeps(o.keep, 0) < 0)
        rt_fail(&err, NETRT_EUSAGE, "--keep=%s cannot be read\nhelp: epochs and ranges, as in "
                "1,2,5-8, or all", o.keep);
    return err.code ? rt_report(&cli->progress, &err) : rt_train(cli, &o, NULL);
}
