/* rt_eval.c: `NAME eval`: loss, error, top-5, confusion table and per-class figures of a network on
 * a data set, and errors on pictures that an attack has changed (rt_robust.h); rt_evaluate is also the
 * test after each training epoch.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_io.h"
#include "rt_par.h"
#include "rt_robust.h"
#include "rt_svg.h"

static void count(const rt_model *model, rt_score *s, const float *scores, int32_t label) {
    int64_t best = rt_best(model, scores), rank = rt_rank(model, scores, label);
    s->images++;
    s->counted++;
    s->wrong += best != label;
    s->beyond5 += rank >= 5;
    if (s->confusion)
        s->confusion[label * model->classes + best]++;
}

static int count_pixels(const rt_feed *feed, rt_score *s, int64_t n, rt_error *err) {
    rt_cells sum = {s->counted, s->wrong};
    rt_cells_count(feed->m, RT_FORWARD, n, feed->map, &sum, s->confusion, err);
    s->images += n;
    s->counted = sum.counted;
    s->wrong = sum.wrong;
    return err->code;
}

/* Means and shares of what was counted. */
static void figures(const rt_model *model, rt_score *s, const int64_t *wrong, int crops) {
    for (int i = 0; i < s->nfigures; i++) {
        const rt_figure *f = &s->figure[i];
        double sum = f->loss >= 0 ? s->part[f->loss] * (double)s->images : (double)wrong[i];
        int known = s->images > 0 && (!crops || (f->loss < 0 && f->output == 0));
        s->value[i] = known && (f->output > 0 || f->loss >= 0 || rt_judged(model))
                          ? sum / (double)s->images
                          : NAN;
    }
}

/* One batch: `good` images have been through the net. */
static void count_batch(rt_feed *feed, rt_score *s, int64_t good, const float *vote, int crops,
                        float *room, int64_t *wrong, rt_error *err) {
    netrt *m = feed->m;
    int judged = rt_judged(m->model);
    for (int k = 0; k < m->model->program[RT_FORWARD].nlosses && !crops; k++)
        s->part[k] += rt_loss_part(m, RT_FORWARD, good, k);
    s->images += judged ? 0 : good;
    s->counted += judged ? 0 : good;
    for (int64_t k = 0; k < good && judged && !feed->mapped; k++)
        count(m->model, s, vote + k * m->model->classes, feed->label[k]);
    if (feed->mapped && judged)
        count_pixels(feed, s, good, err);
    if (!feed->mapped)
        rt_figures_count(m, s->figure, s->nfigures, feed->label, good, judged ? vote : NULL, room,
                         wrong);
}

int rt_evaluate(rt_cli *cli, rt_feed *feed, rt_score *s, const char *what, rt_error *err) {
    netrt *m = feed->m;
    int64_t total = rt_data_count(feed->ds), classes = m->model->classes;
    int64_t *confusion = s->confusion, wrong[RT_FIGURES_MAX] = {0};
    double loss = 0, begun = rt_seconds();
    rt_dataset *before = cli->ds;
    memset(s, 0, sizeof *s);
    s->confusion = confusion;
    s->nfigures = rt_figures(m->model, feed->mapped, s->figure);
    cli->ds = feed->ds;
    if (feed->mapped && cli->crops > 1)
        return rt_fail(err, NETRT_EUSAGE, "--crops: %s classifies every pixel", m->model->name);
    int judged = rt_judged(m->model);
    if (!judged && cli->crops > 1)
        return rt_fail(err, NETRT_EUSAGE, "--crops: %s is not judged by classes\nhelp: its loss is of whole pictures",
                       m->model->name);
    size_t room = (size_t)(feed->cap * classes);
    float *scores = judged ? rt_alloc(room, sizeof *scores, "scores", err) : NULL;
    /* Several crops vote with their probabilities, as in the papers that use them. */
    float *probs = cli->crops > 1 ? rt_alloc(room, sizeof *probs, "scores", err) : NULL;
    float *row = rt_alloc((size_t)rt_figures_room(m->model), sizeof *row, "scores", err);
    for (int64_t i = 0; i < total && !err->code; i += feed->cap) {
        int64_t n = total - i < feed->cap ? total - i : feed->cap;
        int has_probs;
        double part;
        int64_t good = rt_cli_forward(cli, feed, i, n, scores, probs, &has_probs, &part, err);
        if (good < 1)
            continue;
        loss += part * (double)good;
        /* further outputs hold the last crop's numbers: they are not measured then */
        count_batch(feed, s, good, has_probs ? probs : scores, cli->crops > 1, row, wrong, err);
        double spent = rt_seconds() - begun;
        rt_progress_tick(&cli->progress, what, i + n, total, "",
                         spent / (double)(i + n) * (double)(total - i - n));
    }
    rt_free(scores);
    rt_free(probs);
    rt_free(row);
    cli->ds = before;
    s->loss = s->images ? loss / (double)s->images : NAN;
    for (int k = 0; k < 8; k++)
        s->part[k] = s->images ? s->part[k] / (double)s->images : NAN;
    figures(m->model, s, wrong, cli->crops > 1);
    return err->code;
}

/* ---- the verb ---- */

static double percent(int64_t part, int64_t all) {
    return all ? 100.0 * (double)part / (double)all : 0;
}

static void class_figures(const rt_score *s, int64_t classes, int64_t c, int64_t *have,
                          int64_t *said, int64_t *right) {
    *have = *said = 0;
    for (int64_t k = 0; k < classes; k++) {
        *have += s->confusion[c * classes + k];
        *said += s->confusion[k * classes + c];
    }
    *right = s->confusion[c * classes + c];
}

/* Several losses: each by itself, as it enters the sum. */
static void loss_parts(rt_text *o, const rt_cli *cli, const rt_score *s) {
    const rt_model *model = cli->model;
    int n = cli->crops > 1 ? 0 : model->program[RT_FORWARD].nlosses;
    if (n < 2)
        return;
    rt_text_add(o, cli->json ? ",\"losses\":{" : "   (");
    for (int k = 0; k < n; k++) {
        const char *name = rt_loss_name(model, RT_FORWARD, k);
        if (cli->json) {
            rt_text_add(o, k ? "," : "");
            rt_text_json(o, name);
            rt_text_add(o, ":");
            rt_text_number(o, s->part[k]);
        } else {
            rt_text_printf(o, "%s%s %.4f", k ? " + " : "", name, s->part[k]);
        }
    }
    rt_text_add(o, cli->json ? "}" : ")");
}

/* What else is measured, without the losses: those stand beside their sum. */
static void text_figures(rt_text *o, const rt_score *s) {
    for (int i = 0; i < s->nfigures; i++)
        if (s->figure[i].loss < 0 && isfinite(s->value[i]))
            rt_text_printf(o, "  %-28s %6.2f%%\n", s->figure[i].name, 100 * s->value[i]);
}

static void json_figures(rt_text *o, const rt_score *s) {
    int any = 0;
    for (int i = 0; i < s->nfigures; i++) {
        if (s->figure[i].loss >= 0 || !isfinite(s->value[i]))
            continue;
        rt_text_add(o, any++ ? "," : ",\"metrics\":{");
        rt_text_json(o, s->figure[i].name);
        rt_text_add(o, ":");
        rt_text_number(o, s->value[i]);
    }
    rt_text_add(o, any ? "}" : "");
}

static void attack_json(rt_text *o, const rt_robust *r) {
    rt_text_printf(o, ",\"attack\":{\"kind\":\"pgd\",\"eps\":%.9g,\"step\":%.9g,\"steps\":%lld,"
                   "\"images\":%lld,\"loss\":", r->how.eps, r->how.step, (long long)r->how.steps,
                   (long long)r->images);
    rt_text_number(o, r->loss);
    rt_text_add(o, ",\"error\":");
    rt_text_number(o, percent(r->wrong, r->images) / 100);
    rt_text_add(o, ",\"clean_error\":");
    rt_text_number(o, percent(r->clean, r->images) / 100);
    rt_text_add(o, "}");
}

static void attack_text(rt_text *o, const rt_robust *r) {
    char count[32];
    rt_text_printf(o, "\npgd, eps %.4g of the pixel range, %lld steps of %.4g: %s images   loss %.4f   "
                   "error %.2f%%, unchanged %.2f%%\n", r->how.eps, (long long)r->how.steps, r->how.step,
                   rt_text_count(r->images, count), r->loss, percent(r->wrong, r->images),
                   percent(r->clean, r->images));
}

/* What has a class: images, or where each has several the steps of sequences, the pixels. */
static const char *cells_of(const rt_model *m, const rt_score *s) {
    if (s->counted == s->images)
        return "images";
    return m->noutputs > 0 && m->output[0].rank == 2 ? "steps" : "pixels";
}

static void print_json(rt_text *o, netrt *m, const rt_cli *cli, const rt_score *s, rt_dataset *ds,
                       const rt_robust *robust) {
    int64_t classes = m->model->classes;
    const char *cells = cells_of(m->model, s);
    char buf[24];
    rt_text_add(o, "{\"model\":");
    rt_text_json(o, m->model->name);
    rt_text_add(o, ",\"data\":");
    rt_text_json(o, rt_data_uri(ds));
    rt_text_printf(o, ",\"images\":%lld,\"skipped\":%lld,\"loss\":", (long long)s->images,
                   (long long)cli->skipped);
    rt_text_number(o, s->loss);
    loss_parts(o, cli, s);
    json_figures(o, s);
    if (!rt_judged(m->model)) {
        rt_text_add(o, "}\n");
        return;
    }
    rt_text_add(o, ",\"error\":");
    rt_text_number(o, percent(s->wrong, s->counted) / 100);
    if (s->counted != s->images) {
        rt_text_printf(o, ",\"%s\":%lld,\"mean_iu\":", cells, (long long)s->counted);
        rt_text_number(o, rt_cells_iu(s->confusion, classes));
    } else if (classes > 5) {
        rt_text_add(o, ",\"top5_error\":");
        rt_text_number(o, percent(s->beyond5, s->images) / 100);
    }
    rt_text_add(o, ",\"classes\":[");
    for (int64_t c = 0; c < classes; c++) {
        int64_t have, said, right;
        class_figures(s, classes, c, &have, &said, &right);
        rt_text_add(o, c ? ",{\"name\":" : "{\"name\":");
        rt_text_json(o, netrt_class_name(m, c, buf));
        rt_text_printf(o, ",\"%s\":%lld,\"predicted\":%lld,\"right\":%lld}", cells,
                       (long long)have, (long long)said, (long long)right);
    }
    rt_text_add(o, "],\"confusion\":[");
    for (int64_t r = 0; r < classes && classes <= 100; r++) {
        rt_text_add(o, r ? ",[" : "[");
        for (int64_t c = 0; c < classes; c++)
            rt_text_printf(o, "%s%lld", c ? "," : "", (long long)s->confusion[r * classes + c]);
        rt_text_add(o, "]");
    }
    rt_text_add(o, "]");
    if (robust->images > 0)
        attack_json(o, robust);
    rt_text_add(o, "}\n");
}

static const char *clean_class(netrt *m, int64_t c, char *buf, size_t size) {
    char number[24];
    return rt_clean_name(buf, size, netrt_class_name(m, c, number));
}

static void print_text(rt_text *o, netrt *m, const rt_cli *cli, const rt_score *s) {
    int64_t classes = m->model->classes;
    const rt_model *model = m->model;
    const char *cells = cells_of(model, s);
    char name[40], number[32];
    rt_text_printf(o, "%s images", rt_text_count(s->images, number));
    if (cli->skipped)
        rt_text_printf(o, " (%lld skipped)", (long long)cli->skipped);
    rt_text_printf(o, "   loss %.4f", s->loss);
    loss_parts(o, cli, s);
    if (!rt_judged(model)) {
        rt_text_add(o, "\n");
        text_figures(o, s);
        return;
    }
    rt_text_printf(o, "   error %.2f%% (%lld wrong)", percent(s->wrong, s->counted),
                   (long long)s->wrong);
    if (s->counted != s->images)
        rt_text_printf(o, " of %s %s   mean IU %.2f%%", rt_text_count(s->counted, number), cells,
                       100 * rt_cells_iu(s->confusion, classes));
    else if (classes > 5)
        rt_text_printf(o, "   top-5 error %.2f%%", percent(s->beyond5, s->images));
    rt_text_add(o, "\n");
    text_figures(o, s);
    rt_text_printf(o, "\n  class                 %s    recall precision\n", cells);
    for (int64_t c = 0; c < classes && classes <= 200; c++) {
        int64_t have, said, right;
        class_figures(s, classes, c, &have, &said, &right);
        rt_text_printf(o, "  %-18.18s %9lld %8.2f%% %8.2f%%\n",
                       clean_class(m, c, name, sizeof name), (long long)have, percent(right, have),
                       percent(right, said));
    }
    if (classes > 20)
        return;
    rt_text_add(o, "\n  true \\ predicted");
    for (int64_t c = 0; c < classes; c++)
        rt_text_printf(o, " %5.5s", clean_class(m, c, name, sizeof name));
    for (int64_t r = 0; r < classes; r++) {
        rt_text_printf(o, "\n  %-16.16s", clean_class(m, r, name, sizeof name));
        for (int64_t c = 0; c < classes; c++) {
            int64_t v = s->confusion[r * classes + c];
            if (v)
                rt_text_printf(o, " %5lld", (long long)v);
            else
                rt_text_add(o, "     .");
        }
    }
    rt_text_add(o, "\n");
}

/* ---- under attack ---- */

static struct {
    int kind; /* --attack: 0 none, 1 pgd */
    double eps, step;
    int64_t steps, limit;
} attack;

static int choose_attack(const rt_model *model, rt_robust *r, rt_error *err) {
    r->how = rt_attack_usual(model);
    if (attack.eps > 1 || attack.step > 1)
        return rt_fail(err, NETRT_EUSAGE, "--eps and --step are shares of the pixel range, 0 to 1\n"
                       "help: --eps=%.4f is 8 of 255", 8.0 / 255);
    if (attack.steps >= 0)
        r->how.steps = attack.steps;
    if (attack.eps >= 0)
        r->how.eps = attack.eps;
    if (attack.step >= 0)
        r->how.step = attack.step;
    else if ((attack.eps >= 0 || attack.steps >= 0) && r->how.steps > 0)
        r->how.step = 2.5 * r->how.eps / (double)r->how.steps;
    r->limit = attack.limit;
    return NETRT_OK;
}

static const char *name_of(void *context, int64_t i, char buf[24]) {
    return netrt_class_name(context, i, buf);
}

static int write_confusion(netrt *m, const rt_score *s, const char *path, rt_error *err) {
    rt_text o = {0};
    char title[200];
    snprintf(title, sizeof title, "%.100s: %lld of %lld wrong", m->model->name, (long long)s->wrong,
             (long long)s->counted);
    rt_svg_confusion(&o, title, s->confusion, m->model->classes, name_of, m, 1);
    if (rt_text_ok(&o, err))
        rt_io_write_file(path, o.data, o.size, err);
    rt_text_free(&o);
    return err->code;
}

static int run(rt_cli *cli, const char *confusion) {
    rt_error err = {0};
    netrt *m = NULL;
    rt_dataset *ds = NULL;
    rt_feed feed = {0};
    rt_score s = {0};
    rt_text out = {0};
    if (!rt_cli_open(cli, 1, &m, &err) && !rt_cli_data(cli, 1, 0, &ds, &err) &&
        !rt_feed_open(&feed, m, ds, m->cap, 0, rt_wants_labels(m->model), &err)) {
        int64_t c = m->model->classes;
        s.confusion = rt_alloc_zero((size_t)(c * c), sizeof(int64_t), "confusion table", &err);
        if (!m->class_names)
            rt_cli_class_names(m, ds);
        if (s.confusion && !rt_evaluate(cli, &feed, &s, "evaluating", &err)) {
            rt_progress_clear(&cli->progress);
            rt_robust robust = {0};
            if (attack.kind && choose_attack(m->model, &robust, &err) == 0)
                rt_robust_count(cli, &feed, &robust, &err);
            if (cli->json)
                print_json(&out, m, cli, &s, ds, &robust);
            else
                print_text(&out, m, cli, &s);
            if (!cli->json && robust.images > 0)
                attack_text(&out, &robust);
            if (!err.code)
                rt_cli_print(&out, &err);
            if (confusion && !err.code && !rt_judged(m->model))
                rt_fail(&err, NETRT_EUSAGE, "--confusion: %s is not judged by classes\n"
                        "help: `predict --save` writes what it makes of pictures", m->model->name);
            if (confusion && !err.code)
                write_confusion(m, &s, confusion, &err);
        }
    }
    rt_text_free(&out);
    rt_report(&cli->progress, &err);
    if (feed.m)
        rt_feed_close(&feed);
    rt_free(s.confusion);
    rt_data_close(ds);
    netrt_close(m);
    return err.code ? err.code : cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_eval(rt_cli *cli, int argc, char **argv) {
    const char *confusion = NULL;
    attack.kind = 0;
    attack.eps = attack.step = -1;
    attack.steps = -1;
    attack.limit = 0;
    const rt_arg table[] = {
        RT_OPT_DATA(cli, "data set; its test part if it has one (default: the spec's)"),
        RT_OPT_WEIGHTS(cli),
        RT_OPT_PARTIAL(cli),
        RT_OPT_MAP(cli),
        {"out", 'o', RT_ARG_TEXT, "DIR", &cli->out, 0, 0,
         "folder of the training run, for the default weights"},
        {"confusion", 0, RT_ARG_TEXT, "FILE.svg", &confusion, 0, 0,
         "also draw the confusion table"},
        RT_OPT_CROPS(cli),
        {"attack", 0, RT_ARG_CHOICE, "none|pgd", &attack.kind, 0, 0,
         "also count errors on pictures changed so that the network errs: projected gradient steps"},
        {"eps", 0, RT_ARG_REAL, "X", &attack.eps, 0, 1,
         "attack: most that a pixel changes, share of its range (default: the spec's; grey .3, colour "
         "8/255)"},
        {"step", 0, RT_ARG_REAL, "X", &attack.step, 0, 1,
         "attack: of one step (default: the spec's; grey .01, colour 2/255; with --eps: 2.5 eps / steps)"},
        {"steps", 0, RT_ARG_INT, "N", &attack.steps, 0, 1000000,
         "attack: how many (default: the spec's; grey 40, colour 20)"},
        {"limit", 0, RT_ARG_INT, "N", &attack.limit, 1, INT64_MAX, "attack: the first N samples alone"},
        RT_OPT_BATCH(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli),
        RT_OPT_JSON(cli)};
    static const rt_verb verb = {"eval", "loss and errors on labelled data", "[OPTIONS]",
                                 "eval\neval --weights=run/best.safetensors --data=digits:6000\n"
                                 "eval --json --confusion=confusion.svg\neval --attack=pgd --eps=0.1 --limit=1000"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    if (n > 0)
        cli->data = operands[0];
    return run(cli, confusion);
}
