/* rt_cli.c: common options, opening things, signals (rt_cli.h). */
#define _GNU_SOURCE
#include "rt_cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_par.h"
#include "rt_weights.h"

void rt_cli_start(rt_cli *cli, const rt_model *model, const char *argv0) {
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    memset(cli, 0, sizeof *cli);
    cli->model = model;
    cli->program = slash ? slash + 1 : argv0 ? argv0 : model->name;
    cli->out = "run";
    cli->seed = -1;
    cli->max_bad = 1;
    cli->crops = 1;
    rt_progress_start(&cli->progress, RT_PROGRESS_AUTO, 0);
}

int rt_cli_parse(rt_cli *cli, const rt_verb *verb, const rt_arg *table, int n, int argc,
                 char **argv, const char **operands, int *noperands, int *code) {
    rt_error err = {0};
    int help = 0;
    *code = rt_args_parse(table, n, argc, argv, operands, noperands, &help, &err);
    rt_progress_start(&cli->progress, cli->progress_kind, cli->quiet);
    if (help) {
        rt_args_help(stdout, cli->program, verb, table, n);
        *code = NETRT_OK;
        return 0;
    }
    if (*code) {
        rt_report(&cli->progress, &err);
        fprintf(stderr, "help: %s %s --help lists the options\n", cli->program, verb->name);
        return 0;
    }
    return 1;
}

int rt_cli_default_weights(rt_cli *cli, const char *dir, char *buf, size_t size, rt_error *err) {
    static const char *const name[] = {"best.safetensors", "last.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(buf, size, "%s/%s", dir, name[i]);
        if (access(buf, R_OK) == 0) {
            cli->weights = buf;
            return NETRT_OK;
        }
    }
    size_t n = strlen(cli->program);
    if (n > 4 && strcmp(cli->program + n - 4, "-viz") == 0) /* its sibling trains */
        n -= 4;
    return rt_fail(err, NETRT_EIO,
                   "no weights: %s/ holds neither best.safetensors nor last.safetensors\n"
                   "help: train first (%.*s train), or name a file with --weights",
                   dir, (int)n, cli->program);
}

/* A message has room for the first differences; here are all of them. */
static void list_differences(rt_cli *cli, const netrt *m) {
    rt_text all = {0};
    int n = rt_weights_differences(m, cli->weights, &all);
    for (char *line = all.data; n > 0 && line && *line; n--) {
        char *end = line + strcspn(line, "\n");
        rt_warn(&cli->progress, "%.*s", (int)(end - line), line);
        line = end + (*end == '\n');
    }
    rt_text_free(&all);
}

int rt_cli_open(rt_cli *cli, int load, netrt **m, rt_error *err) {
    char path[4200];
    netrt_options o = {(int)cli->threads, cli->batch, cli->seed >= 0 ? (uint64_t)cli->seed : 0};
    int loaded = 0, flags = cli->partial ? NETRT_LOAD_PARTIAL : 0;
    *m = NULL;
    if (load && !cli->weights && rt_cli_default_weights(cli, cli->out, path, sizeof path, err))
        return err->code;
    int bare = cli->weights && !cli->partial &&
               !cli->skip; /* initial weights would be overwritten at once */
    if (bare ? rt_open_bare(cli->model, &o, m, err) : netrt_open(cli->model, &o, m, err))
        return err->code;
    if (cli->seed == 0) /* 0 means "the spec's" to netrt_open, but is a seed like any other here */
        (*m)->seed = 0;
    if (cli->seed == 0 && !bare && rt_init_params(*m, 0, err))
        return err->code;
    if (*m) {
        (*m)->skip = cli->skip;
        (*m)->rename = cli->map;
    }
    if (cli->weights && rt_weights_load(*m, cli->weights, flags, &loaded, err) == 0 && flags)
        rt_warn(&cli->progress, "%s: %d tensors taken, the others keep their initial values",
                cli->weights, loaded);
    if (cli->weights && err->code == NETRT_EDATA)
        list_differences(cli, *m);
    if (cli->weights && err->code && err->code != NETRT_ELIMIT)
        rt_advise(err, "weights are a safetensors file as `train` leaves it, %s/last.safetensors",
                  cli->out);
    if (cli->weights == path)
        cli->weights = NULL;
    if (*m)
        (*m)->skip = (*m)->rename = NULL; /* a checkpoint is taken whole */
    if (err->code) {
        netrt_close(*m);
        *m = NULL;
    }
    return err->code;
}

int rt_cli_data(rt_cli *cli, int test, int optional, rt_dataset **ds, rt_error *err) {
    const rt_train_spec *s = &cli->model->train;
    const char *uri = cli->data ? cli->data : test ? s->test_data : s->train_data;
    /* One source for both: its test part, which it need not have. */
    int same = test && (cli->data || !uri || !uri[0]);
    if (!cli->data && same)
        uri = s->train_data;
    const char *first = rt_wants_labels(cli->model) ? "train" : "bare";
    const char *split = !test ? first : same && optional ? "test" : "any";
    *ds = NULL;
    if (!uri || !uri[0]) {
        if (optional)
            return NETRT_OK;
        return rt_fail(err, NETRT_EUSAGE,
                       "%s names no data and no --data was given\n"
                       "help: --data=digits:6000 (drawn digits), a folder with one sub-folder per "
                       "class,\n      or a folder with MNIST or CIFAR files",
                       cli->model->spec_file);
    }
    rt_error local = {0};
    if (rt_data_open(uri, split, ds, &local) == 0)
        return NETRT_OK;
    if (optional && same && local.code == NETRT_EDATA)
        return NETRT_OK; /* no second part: train without a test */
    rt_fail(err, local.code, "%s", local.text);
    return rt_advise(err, "repair or replace that data, or name other data with --data");
}

void rt_cli_class_names(netrt *m, const rt_dataset *ds) {
    int n = rt_data_classes(ds);
    rt_error ignored = {0};
    if (n < 1 || n != m->model->classes || !ds->class_names)
        return;
    char **names = rt_alloc((size_t)n, sizeof *names, "class names", &ignored);
    for (int i = 0; names && i < n; i++)
        names[i] = (char *)(uintptr_t)rt_data_class_name(ds, i);
    if (names)
        rt_set_class_names(m, names, n);
    rt_free(names);
}

void rt_cli_skipped(void *context, int64_t sample, const char *why) {
    rt_cli *cli = context;
    char name[512] = "";
    cli->skipped++;
    int n = (int)strcspn(why, "\n"); /* the reason without the advice */
    if (cli->ds)
        rt_data_name(cli->ds, sample, name, sizeof name);
    if (cli->skipped <= 10 && strstr(why, name))
        rt_warn(&cli->progress, "%.*s, skipped", n, why);
    else if (cli->skipped <= 10)
        rt_warn(&cli->progress, "%s: %.*s, skipped", name, n, why);
    else if (cli->skipped == 11)
        rt_warn(&cli->progress, "more broken pictures are skipped without a line each");
}

static void add_view(float *sum, const float *view, int64_t n, int first) {
    for (int64_t i = 0; i < n; i++)
        sum[i] = first ? view[i] : sum[i] + view[i];
}

int64_t rt_cli_forward(rt_cli *cli, rt_feed *feed, int64_t first, int64_t n, float *scores,
                       float *probs, int *has_probs, double *loss, rt_error *err) {
    netrt *m = feed->m;
    int64_t classes = m->model->classes, good = 0, views = cli->crops > 1 ? cli->crops : 1;
    float *view =
        views > 1 ? rt_alloc((size_t)(feed->cap * classes), sizeof *view, "scores", err) : scores;
    *loss = 0;
    *has_probs = 0;
    if (views != 1 && (views != 10 || rt_data_real(feed->ds)))
        rt_fail(err, NETRT_EUSAGE,
                rt_data_real(feed->ds) ? "%s holds no pictures: --crops needs pictures"
                                       : "%s: --crops is 1 or 10",
                rt_data_uri(feed->ds));
    for (int64_t v = 1; v <= views && !err->code; v++) {
        feed->view = views > 1 ? (int)v : 0;
        good = rt_feed_load_range(feed, first, n, rt_cli_skipped, cli);
        if (good < 0)
            rt_fail(err, feed->failure.code, "%s", feed->failure.text);
        if (good < 1 || netrt_run(m, RT_FORWARD, "forward", -1, good, err))
            break;
        *loss += rt_losses(m, RT_FORWARD, good, NULL) / (double)views;
        if (scores && !rt_scores(m, RT_FORWARD, good, view))
            rt_fail(err, NETRT_EUSAGE, "%s has no scores to evaluate", m->model->name);
        if (views > 1)
            add_view(scores, view, good * classes, v == 1);
        if (!probs)
            continue;
        *has_probs =
            !m->model->smallest_wins && rt_probs(m, RT_FORWARD, good, views > 1 ? view : probs);
        if (views > 1 && *has_probs)
            add_view(probs, view, good * classes, v == 1);
    }
    feed->view = 0;
    for (int64_t i = 0; views > 1 && good > 0 && i < good * classes; i++) {
        scores[i] /= (float)views;
        if (probs && *has_probs)
            probs[i] /= (float)views;
    }
    if (views > 1)
        rt_free(view);
    return err->code ? -1 : good;
}

int rt_cli_print(rt_text *t, rt_error *err) {
    if (rt_text_ok(t, err) && t->size > 0 &&
        (fwrite(t->data, 1, t->size, stdout) != t->size || fflush(stdout) != 0))
        rt_fail(err, NETRT_EIO, "standard output cannot be written");
    rt_text_free(t);
    return err->code;
}

volatile int rt_cli_signal;

static void on_signal(int number) {
    rt_cli_signal = number;
}

void rt_cli_catch(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;
    a.sa_flags = SA_RESTART | (int)SA_RESETHAND; /* reset: the second one kills */
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}
