/* rt_descend.c: `NAME bcd`: a chain of dense layers and rectifiers learns by block coordinate descent
 * (rt_bcd.h): no gradient goes through the network and there is no rate to choose.
 *
 * All samples are in memory at once, as are every layer's two tables of unknowns.  A sweep solves for
 * every block once; behind each the network itself counts its errors, with the weights as they are.
 * requires: layers `dense -> relu` and a last `dense`; what is found in the model's list of layers is
 * then compared with the network's scores.
 * ensures: the same bits for any number of threads; augmentation is left out.
 * theory: Zeng, Lau, Lin, Yao 2019.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_bcd.h"
#include "rt_cli.h"

typedef struct Descend {
    rt_cli *cli;
    netrt *m;
    rt_bcd b;
    rt_dataset *ds, *test_ds;
    rt_feed feed, test;
    const char *output;
    int64_t sweeps, sweep, limit, cap;
    int weight[RT_BCD_LAYERS + 1], bias[RT_BCD_LAYERS + 1]; /* parameters; -1: none */
    float *x, *row;
    int32_t *label;
    float *scores;
} Descend;

/* ---- which layers ---- */

static int refuse(const Descend *t, const rt_layer *l, const char *why, rt_error *err) {
    return rt_fail(err, NETRT_EUSAGE, "%s: layer '%s' (%s) %s: bcd trains chains of dense -> relu "
                   "that end in dense\nhelp: %s train learns by gradients, whatever the layers",
                   t->cli->model->name, l->label, l->detail, why, t->cli->program);
}

static int add_layer(Descend *t, const rt_layer *l, rt_error *err) {
    const rt_model *model = t->cli->model;
    rt_bcd *b = &t->b;
    char name[300];
    int64_t i = b->layers + 1;
    if (i > RT_BCD_LAYERS)
        return refuse(t, l, "is one too many", err);
    snprintf(name, sizeof name, "%s.weight", l->label);
    int w = t->weight[i] = rt_find_param(model, name);
    snprintf(name, sizeof name, "%s.bias", l->label);
    t->bias[i] = rt_find_param(model, name);
    if (w < 0)
        return refuse(t, l, "has no weights of its own", err);
    if (model->param[w].flags & RT_PARAM_FROZEN ||
        (t->bias[i] >= 0 && model->param[t->bias[i]].flags & RT_PARAM_FROZEN))
        return refuse(t, l, "is frozen", err);
    if (model->param[w].links || rt_param_rows(&model->param[w]) < 1 ||
        rt_param_count(&model->param[w]) !=
            model->param[w].dim[0] * (i > 1 ? b->width[i - 1] : b->width[0]))
        return refuse(t, l, "does not read all of what is in front of it", err);
    b->width[i] = model->param[w].dim[0];
    b->bias[i] = t->bias[i] >= 0;
    b->layers = i;
    return NETRT_OK;
}

static int find_chain(Descend *t, rt_error *err) {
    const rt_model *model = t->cli->model;
    const rt_layer *last = NULL;
    if (model->ninputs != 1 || model->label_cells != 1 || model->smallest_wins || model->noutputs > 1)
        return rt_fail(err, NETRT_EUSAGE, "bcd: %s is not a classifier of one input and one output "
                       "whose largest score wins\nhelp: %s train", model->name, t->cli->program);
    t->b.width[0] = rt_input_count(model, 0);
    for (int k = 0; k < model->nlayers; k++) {
        const rt_layer *l = &model->layer[k];
        const char *then = strstr(l->detail, " + ");
        if (strcmp(l->detail, "flatten") == 0)
            continue;
        if (strcmp(l->op, "dense") != 0)
            return refuse(t, l, "is not dense", err);
        if (last && !strstr(last->detail, " + relu"))
            return refuse(t, last, "has no relu", err);
        if (then && strcmp(then, " + relu") != 0 && strcmp(then, " + softmax") != 0)
            return refuse(t, l, "is more than dense -> relu", err);
        if (add_layer(t, l, err))
            return err->code;
        last = l;
    }
    if (last && strstr(last->detail, " + relu"))
        return refuse(t, last, "is the last and rectified", err);
    if (!last || t->b.width[t->b.layers] != model->classes)
        return rt_fail(err, NETRT_EUSAGE, "bcd: %s has no dense layer of %lld scores at its end\n"
                       "help: %s train", model->name, (long long)model->classes, t->cli->program);
    return NETRT_OK;
}

/* ---- samples ---- */

static int stopped(void *context, int64_t layer) {
    Descend *t = context;
    char head[64];
    snprintf(head, sizeof head, "sweep %lld/%lld", (long long)t->sweep, (long long)t->sweeps);
    rt_progress_tick(&t->cli->progress, head, t->b.layers - layer, t->b.layers, "", -1);
    return rt_cli_signal ? 128 + rt_cli_signal : 0;
}

static int load_samples(Descend *t, rt_error *err) {
    int64_t total = rt_data_count(t->ds), pixels = t->b.width[0], n = 0, room;
    total = t->limit > 0 && t->limit < total ? t->limit : total;
    if (__builtin_mul_overflow(total, pixels, &room))
        return rt_fail(err, NETRT_ELIMIT, "%lld samples are too many\nhelp: --limit=10000",
                       (long long)total);
    t->x = rt_alloc((size_t)room, sizeof *t->x, "samples", err);
    t->label = rt_alloc((size_t)total, sizeof *t->label, "labels", err);
    for (int64_t at = 0; at < total && !err->code; at += t->cap) {
        int64_t want = total - at < t->cap ? total - at : t->cap;
        int64_t got = rt_feed_load_range(&t->feed, at, want, rt_cli_skipped, t->cli);
        if (got < 0)
            return rt_fail(err, t->feed.failure.code, "%s", t->feed.failure.text);
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (got == 0)
            continue;
        memcpy(t->x + n * pixels, t->feed.input[0], (size_t)(got * pixels) * sizeof *t->x);
        memcpy(t->label + n, t->feed.label, (size_t)got * sizeof *t->label);
        n += got;
        rt_progress_tick(&t->cli->progress, "samples", at + want, total, "", -1);
    }
    if (!err->code && n == 0)
        return rt_fail(err, NETRT_EDATA, "%s has no sample that can be read", rt_data_uri(t->ds));
    t->b.n = n;
    t->b.x = t->x;
    t->b.label = t->label;
    return err->code;
}

/* ---- weights of the network and of the blocks ---- */

static void take_weights(Descend *t) {
    rt_bcd *b = &t->b;
    for (int64_t i = 1; i <= b->layers; i++) {
        int64_t wide = b->width[i - 1], columns = rt_bcd_columns(b, i);
        rt_param_read(t->m, t->weight[i], t->row);
        for (int64_t k = 0; k < b->width[i] * wide; k++)
            b->w[i][k / wide * columns + k % wide] = (double)t->row[k];
        if (t->bias[i] < 0)
            continue;
        rt_param_read(t->m, t->bias[i], t->row);
        for (int64_t k = 0; k < b->width[i]; k++)
            b->w[i][k * columns + wide] = (double)t->row[k];
    }
}

static void give_weights(Descend *t) {
    const rt_bcd *b = &t->b;
    for (int64_t i = 1; i <= b->layers; i++) {
        int64_t wide = b->width[i - 1], columns = rt_bcd_columns(b, i);
        for (int64_t k = 0; k < b->width[i] * wide; k++)
            t->row[k] = (float)b->w[i][k / wide * columns + k % wide];
        rt_param_write(t->m, t->weight[i], t->row);
        for (int64_t k = 0; k < b->width[i] && t->bias[i] >= 0; k++)
            t->row[k] = (float)b->w[i][k * columns + wide];
        if (t->bias[i] >= 0)
            rt_param_write(t->m, t->bias[i], t->row);
    }
}

/* The chain that was found is the network: its scores are U_N. */
static int compare(const Descend *t, rt_error *err) {
    int64_t n = t->b.n < t->cap ? t->b.n : t->cap, classes = t->cli->model->classes;
    const float *u = t->b.u[t->b.layers];
    double most = 0, apart = 0;
    if (netrt_forward(t->m, t->x, n, t->scores, NULL, err))
        return err->code;
    for (int64_t k = 0; k < n * classes; k++) {
        most = fmax(most, fabs((double)u[k]));
        apart = fmax(apart, fabs((double)u[k] - (double)t->scores[k]));
    }
    if (apart <= 1e-3 * most)
        return NETRT_OK;
    return rt_fail(err, NETRT_EUSAGE, "bcd: the score of %s is not what its dense layers and rectifiers "
                   "alone make\nhelp: %s train learns by gradients, whatever the layers",
                   t->cli->model->name, t->cli->program);
}

static int count_wrong(const Descend *t, int64_t *wrong, rt_error *err) {
    int64_t classes = t->cli->model->classes;
    *wrong = 0;
    for (int64_t at = 0; at < t->b.n; at += t->cap) {
        int64_t n = t->b.n - at < t->cap ? t->b.n - at : t->cap;
        if (netrt_forward(t->m, t->x + at * t->b.width[0], n, t->scores, NULL, err))
            return err->code;
        for (int64_t k = 0; k < n; k++)
            *wrong += rt_best(t->cli->model, t->scores + k * classes) != t->label[at + k];
    }
    return NETRT_OK;
}

/* ---- the verb ---- */

static int open_all(Descend *t, rt_error *err) {
    rt_cli *cli = t->cli;
    int64_t most = 1;
    if (find_chain(t, err) || rt_cli_open(cli, 0, &t->m, err))
        return err->code;
    t->cap = t->m->cap;
    if (rt_cli_data(cli, 0, 0, &t->ds, err) || rt_cli_data(cli, 1, 1, &t->test_ds, err) ||
        rt_feed_open(&t->feed, t->m, t->ds, t->cap, 0, 1, err))
        return err->code;
    cli->ds = t->ds;
    if (rt_feed_learn(&t->feed, rt_cli_skipped, cli, err))
        return err->code;
    if (t->test_ds && rt_feed_open(&t->test, t->m, t->test_ds, t->cap, (size_t)RT_FEED_CACHE_MB << 20,
                                   1, err))
        return err->code;
    for (int64_t i = 1; i <= t->b.layers; i++)
        most = t->b.width[i] * t->b.width[i - 1] > most ? t->b.width[i] * t->b.width[i - 1] : most;
    t->row = rt_alloc((size_t)most, sizeof *t->row, "weights", err);
    t->scores = rt_alloc((size_t)(t->cap * t->b.width[t->b.layers]), sizeof *t->scores, "scores", err);
    t->b.threads = t->m->threads;
    return err->code;
}

static int one_sweep(Descend *t, rt_error *err) {
    rt_score score = {0};
    double loss, all;
    int64_t wrong;
    char test[64] = "";
    if (t->sweep > 0 && rt_bcd_sweep(&t->b, stopped, t, err)) {
        rt_advise(err, "a larger --alpha keeps every system solvable");
        return err->code;
    }
    all = rt_bcd_objective(&t->b, &loss);
    if (!isfinite(all))
        return rt_fail(err, NETRT_EDIVERGED, "sweep %lld: the objective is not finite\n"
                       "help: a larger --alpha, or start from smaller weights", (long long)t->sweep);
    give_weights(t);
    if (count_wrong(t, &wrong, err) ||
        (t->test_ds && rt_evaluate(t->cli, &t->test, &score, "test", err)))
        return err->code;
    if (t->test_ds)
        snprintf(test, sizeof test, ", %.2f%% of test", 100 * (double)score.wrong / (double)score.counted);
    rt_note(&t->cli->progress, "sweep %lld/%lld  objective %.6g (classes %.6g)  wrong: %.2f%% of training%s",
            (long long)t->sweep, (long long)t->sweeps, all, loss, 100 * (double)wrong / (double)t->b.n,
            test);
    return NETRT_OK;
}

static int run(Descend *t) {
    rt_error err = {0};
    char bytes[24], samples[32];
    if (!open_all(t, &err)) {
        rt_cli_catch();
        if (!load_samples(t, &err)) {
            rt_note(&t->cli->progress, "%s samples, %s of unknowns", rt_text_count(t->b.n, samples),
                    rt_text_bytes_human(rt_bcd_bytes(&t->b), bytes));
            if (rt_bcd_open(&t->b, &err))
                rt_advise(&err, "--limit=10000 takes fewer samples");
        }
        if (!err.code) {
            take_weights(t);
            rt_bcd_forward(&t->b);
            compare(t, &err);
        }
        for (t->sweep = 0; t->sweep <= t->sweeps && !err.code; t->sweep++)
            one_sweep(t, &err);
        if (!err.code && netrt_save(t->m, t->output, &err))
            rt_advise(&err, "make its folder, or name another file with --output");
        else if (!err.code)
            rt_note(&t->cli->progress, "weights: %s; %s eval --weights=%s takes them", t->output,
                    t->cli->program, t->output);
        rt_bcd_close(&t->b);
    }
    rt_progress_clear(&t->cli->progress);
    rt_report(&t->cli->progress, &err);
    if (t->feed.m)
        rt_feed_close(&t->feed);
    if (t->test.m)
        rt_feed_close(&t->test);
    rt_data_close(t->ds);
    rt_data_close(t->test_ds);
    rt_free(t->x);
    rt_free(t->label);
    rt_free(t->row);
    rt_free(t->scores);
    netrt_close(t->m);
    return err.code ? err.code : t->cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_bcd(rt_cli *cli, int argc, char **argv) {
    Descend t = {.cli = cli, .output = "bcd.safetensors", .sweeps = 20,
                 .b = {.gamma = 1, .rho = 0.1, .alpha = 0.1}};
    const rt_arg table[] = {
        RT_OPT_DATA(cli, "labelled samples to learn from, and to test on (default: the spec's)"),
        RT_OPT_WEIGHTS(cli),
        RT_OPT_PARTIAL(cli),
        RT_OPT_MAP(cli),
        {"output", 'o', RT_ARG_TEXT, "FILE", &t.output, 0, 0, "all weights (bcd.safetensors)"},
        {"sweeps", 'e', RT_ARG_INT, "N", &t.sweeps, 0, 1 << 20, "times that every block is solved (20)"},
        {"gamma", 0, RT_ARG_REAL, "X", &t.b.gamma, 0, 0,
         "how strongly values are tied to rectified sums (1)"},
        {"rho", 0, RT_ARG_REAL, "X", &t.b.rho, 0, 0,
         "how strongly sums are tied to the layer in front (0.1)"},
        {"alpha", 0, RT_ARG_REAL, "X", &t.b.alpha, 0, 0, "what moving a block costs (0.1)"},
        {"decay", 0, RT_ARG_REAL, "X", &t.b.decay, 0, 0, "weight decay (0)"},
        {"limit", 0, RT_ARG_INT, "N", &t.limit, 1, INT64_MAX, "only the first N samples"},
        RT_OPT_SEED(cli),
        RT_OPT_BATCH(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli)};
    static const rt_verb verb = {
        "bcd", "dense layers learn by block coordinate descent, without gradients", "[OPTIONS]",
        "bcd\nbcd --sweeps=50 --limit=10000\neval --weights=bcd.safetensors"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    rt_error err = {0};
    if (n > 0)
        rt_fail(&err, NETRT_EUSAGE, "bcd takes no operand, got '%s'\nhelp: all layers learn together",
                operands[0]);
    else if (!(t.b.gamma > 0 && t.b.rho > 0 && t.b.alpha >= 0 && t.b.decay >= 0))
        rt_fail(&err, NETRT_EUSAGE, "gamma %g, rho %g, alpha %g, decay %g\nhelp: the first two are more "
                "than 0, the others 0 or more", t.b.gamma, t.b.rho, t.b.alpha, t.b.decay);
    return err.code ? rt_report(&cli->progress, &err) : run(&t);
}
