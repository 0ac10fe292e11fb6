/* rt_predict.c: `NAME predict`: the best classes of pictures, folders of pictures or data files; of
 * networks whose output is a picture, that picture.
 * A picture that cannot be read costs one warning and exit code 1, never the others' results.
 */
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_io.h"
#include "rt_par.h"
#include "rt_save.h"

typedef struct Predict {
    rt_cli *cli;
    netrt *m;
    int64_t top, done;
    float *scores, *probs;
    int64_t *best;
    int has_probs, picture;
    const char *save; /* file or folder, or NULL */
    size_t stem;      /* of sample names: what they share and files need not repeat */
    rt_text out;
} Predict;

/* Pictures have no classes: the line says where the result went. */
static void line_picture(Predict *p, const char *name, const char *path) {
    char clean[400];
    int64_t d[4];
    rt_output_shape(p->m->model, d);
    if (p->cli->json) {
        rt_text_add(&p->out, p->done ? ",\n {\"file\":" : " {\"file\":");
        rt_text_json(&p->out, name);
        rt_text_printf(&p->out, ",\"shape\":[%lld,%lld,%lld],\"saved\":", (long long)d[0],
                       (long long)d[1], (long long)d[2]);
        if (path)
            rt_text_json(&p->out, path);
        else
            rt_text_add(&p->out, "null");
        rt_text_add(&p->out, "}");
        return;
    }
    rt_text_printf(&p->out, "%s  %lldx%lldx%lld", rt_clean_name(clean, sizeof clean, name),
                   (long long)d[0], (long long)d[1], (long long)d[2]);
    rt_text_printf(&p->out, "  %s\n",
                   path ? rt_clean_name(clean, sizeof clean, path) : "(--save=FILE.png keeps it)");
}

static void line_text(Predict *p, const char *name, const float *value) {
    char clean[400], number[24], shown[64];
    rt_text_printf(&p->out, "%s ", rt_clean_name(clean, sizeof clean, name));
    for (int64_t k = 0; k < p->top; k++) {
        const char *label = netrt_class_name(p->m, p->best[k], number);
        rt_clean_name(shown, sizeof shown, label);
        if (p->has_probs)
            rt_text_printf(&p->out, "  %5.1f%% %s", 100.0 * (double)value[p->best[k]], shown);
        else
            rt_text_printf(&p->out, "  %.4g %s", (double)value[p->best[k]], shown);
    }
    rt_text_add(&p->out, "\n");
}

static void line_json(Predict *p, const char *name, const float *value) {
    char number[24];
    rt_text_add(&p->out, p->done ? ",\n {\"file\":" : " {\"file\":");
    rt_text_json(&p->out, name);
    rt_text_add(&p->out, ",\"top\":[");
    for (int64_t k = 0; k < p->top; k++) {
        rt_text_printf(&p->out, "%s{\"class\":%lld,\"label\":", k ? "," : "",
                       (long long)p->best[k]);
        rt_text_json(&p->out, netrt_class_name(p->m, p->best[k], number));
        rt_text_add(&p->out, p->has_probs ? ",\"prob\":" : ",\"score\":");
        rt_text_number(&p->out, (double)value[p->best[k]]);
        rt_text_add(&p->out, "}");
    }
    rt_text_add(&p->out, "]}");
}

/* Classifies samples first .. first + n - 1. */
static int batch(Predict *p, rt_feed *feed, int64_t first, int64_t n, rt_error *err) {
    int64_t classes = p->m->model->classes;
    char name[600], path[4200];
    double loss;
    float *scores = p->picture ? NULL : p->scores; /* pictures have none */
    int64_t good =
        rt_cli_forward(p->cli, feed, first, n, scores, p->probs, &p->has_probs, &loss, err);
    if (good < 1)
        return err->code;
    for (int64_t i = 0; i < good; i++) {
        const float *s = p->scores + i * classes;
        rt_top(p->m->model, s, p->top, p->best);
        rt_data_name(feed->ds, feed->index[i], name, sizeof name);
        const char *stem = name + (strlen(name) > p->stem ? p->stem : 0);
        if (p->save && rt_save_output(p->m, i, p->save, stem, path, sizeof path, err))
            return err->code;
        if (p->picture)
            line_picture(p, name, p->save ? path : NULL);
        else if (p->cli->json)
            line_json(p, name, p->has_probs ? p->probs + i * classes : s);
        else
            line_text(p, name, p->has_probs ? p->probs + i * classes : s);
        p->done++;
    }
    return rt_cli_print(&p->out, err);
}

/* One operand: a picture, a folder, an idx file.  Failure to open it counts as one skipped. */
static int operand(Predict *p, const char *uri, rt_error *err) {
    rt_cli *cli = p->cli;
    rt_feed feed = {0};
    rt_error e = {0};
    if (rt_data_open(uri, "any", &cli->ds, &e)) {
        cli->skipped++;
        rt_warn(&cli->progress, "%.*s, skipped", (int)strcspn(e.text, "\n"), e.text);
        return NETRT_OK;
    }
    if (rt_feed_open(&feed, p->m, cli->ds, p->m->cap, 0, 0, err) == 0) {
        int64_t total = rt_data_count(cli->ds);
        for (int64_t i = 0; i < total && !err->code && !rt_cli_signal; i += feed.cap) {
            int64_t n = total - i < feed.cap ? total - i : feed.cap;
            batch(p, &feed, i, n, err);
        }
        rt_feed_close(&feed);
    }
    rt_data_close(cli->ds);
    cli->ds = NULL;
    return err->code;
}

/* Names from standard input, one a line. */
static int from_stdin(Predict *p, rt_error *err) {
    unsigned char *text = NULL;
    size_t size = 0;
    if (rt_io_read_file("-", 64 << 20, &text, &size, err))
        return err->code;
    for (char *line = (char *)text; line && *line && !err->code;) {
        char *end = line + strcspn(line, "\r\n"), *next = end + strspn(end, "\r\n");
        *end = 0;
        if (*line)
            operand(p, line, err);
        line = next;
    }
    rt_free(text);
    return err->code;
}

static int run(rt_cli *cli, int64_t top, const char *save, const char **file, int n) {
    rt_error err = {0};
    Predict p = {.cli = cli, .top = top, .save = save, .picture = rt_output_is_picture(cli->model)};
    if (cli->batch == 0)
        cli->batch = 16;
    double begun = 0;
    if (rt_cli_open(cli, 1, &p.m, &err) == 0) {
        size_t numbers = (size_t)(p.m->cap * p.m->model->classes);
        p.top = top < p.m->model->classes ? top : p.m->model->classes;
        p.scores = rt_alloc(numbers, sizeof(float), "scores", &err);
        p.probs = rt_alloc(numbers, sizeof(float), "scores", &err);
        p.best = rt_alloc((size_t)p.top, sizeof *p.best, "classes", &err);
        begun = rt_seconds();
        if (cli->json && !err.code)
            rt_text_add(&p.out, "[\n");
        const char *slash = n == 1 ? strrchr(file[0], '/') : NULL;
        p.stem = slash ? (size_t)(slash - file[0]) + 1 : 0;
        for (int i = 0; i < n && !err.code && !rt_cli_signal; i++)
            if (strcmp(file[i], "-") == 0)
                from_stdin(&p, &err);
            else
                operand(&p, file[i], &err);
        if (cli->json && !err.code) {
            rt_text_add(&p.out, "\n]\n");
            rt_cli_print(&p.out, &err);
        }
    }
    if (!err.code && cli->skipped)
        rt_note(&cli->progress, "%lld images, %lld skipped, %.1f ms/image", (long long)p.done,
                (long long)cli->skipped,
                p.done ? (rt_seconds() - begun) * 1e3 / (double)p.done : 0.0);
    rt_report(&cli->progress, &err);
    rt_text_free(&p.out);
    rt_free(p.scores);
    rt_free(p.probs);
    rt_free(p.best);
    netrt_close(p.m);
    return err.code ? err.code : cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_predict(rt_cli *cli, int argc, char **argv) {
    int64_t top = 3;
    const char *save = NULL;
    const rt_arg table[] = {
        RT_OPT_WEIGHTS(cli),
        {"top", 'k', RT_ARG_INT, "N", &top, 1, 1000, "how many classes to show (default 3)"},
        {"out", 'o', RT_ARG_TEXT, "DIR", &cli->out, 0, 0,
         "folder of the training run, for the default weights"},
        {"save", 0, RT_ARG_TEXT, "PATH", &save, 0, 0,
         "the output as PATH.npy or PATH.png; a folder gets both, for each picture"},
        RT_OPT_PARTIAL(cli),
        RT_OPT_CROPS(cli),
        RT_OPT_BATCH(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli),
        RT_OPT_JSON(cli)};
    static const rt_verb verb = {
        "predict", "classifies pictures", "[OPTIONS] FILE|DIR|-...",
        "predict cat.png\npredict --top=5 --json photos/\n"
        "predict --save=painted.png photo.jpg   # nets that make pictures\n"
        "predict - < list.txt          # names from standard input"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    if ((save || rt_output_is_picture(cli->model)) && cli->crops > 1) {
        rt_error err = {0};
        rt_fail(&err, NETRT_EUSAGE,
                "--crops makes means of scores, not of whole outputs\n"
                "help: leave out --crops");
        return rt_report(&cli->progress, &err);
    }
    if (n == 0) {
        rt_error err = {0};
        rt_fail(&err, NETRT_EUSAGE,
                "predict needs a picture or a folder\nhelp: %s predict FILE.png", cli->program);
        return rt_report(&cli->progress, &err);
    }
    return run(cli, top, save, operands, n);
}
