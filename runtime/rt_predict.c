/* rt_predict.c: `NAME predict`: the best classes of pictures, folders of pictures or data files; of
 * networks whose output is a picture, that picture.
 * A picture that cannot be read costs one warning and exit code 1, never the others' results.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_io.h"
#include "rt_par.h"
#include "rt_save.h"

enum { NUMBERS_TEXT = 12, NUMBERS_JSON = 1000 }; /* of one output that are said one by one */

typedef struct Predict {
    rt_cli *cli;
    netrt *m;
    int64_t top, done;
    float *scores, *probs, *output;
    int64_t *best; /* room for the largest output's */
    int has_probs, picture;
    const char *wanted;            /* names of outputs, or NULL: all */
    int chosen[RT_MAX_OUTPUTS], n; /* the outputs to tell of */
    const char *save;              /* file or folder, or NULL */
    size_t stem; /* of sample names: what they share and files need not repeat */
    char path[RT_MAX_OUTPUTS][4200]; /* where the chosen outputs of this sample went */
    rt_text out;
} Predict;

static const rt_output *chosen(const Predict *p, int k) {
    return &p->m->model->output[p->chosen[k]];
}

/* Is the first output, the one with the classes, among them? */
static int tells_first(const Predict *p) {
    return p->n == 0 || p->chosen[0] == 0;
}

static int64_t first_top(const Predict *p) {
    return p->top < p->m->model->classes ? p->top : p->m->model->classes;
}

static void dims(rt_text *t, const rt_output *o, const char *between) {
    for (int i = 0; i < o->rank; i++)
        rt_text_printf(t, "%s%lld", i ? between : "", (long long)o->dim[i]);
    if (o->rank == 0)
        rt_text_add(t, "1");
}

static const char *class_name(const Predict *p, int64_t count, int64_t c, char number[24]) {
    if (count == p->m->model->classes) /* a head of its own may have classes of its own */
        return netrt_class_name(p->m, c, number);
    snprintf(number, 24, "%lld", (long long)c);
    return number;
}

/* ---- text ---- */

/* Pictures have no classes: the line says where the result went. */
static void text_picture(Predict *p, const rt_output *o, const char *path) {
    char clean[400];
    int colours = o->rank == 3 && (o->dim[0] == 1 || o->dim[0] == 3);
    rt_text_add(&p->out, "  ");
    dims(&p->out, o, "x");
    rt_text_printf(&p->out, "  %s",
                   path      ? rt_clean_name(clean, sizeof clean, path)
                   : colours ? "(--save=FILE.png keeps it)"
                             : "(--save=FILE.npy keeps it)");
}

static void text_top(Predict *p, const float *value, int64_t count, int shares, int64_t top) {
    char number[24], shown[64];
    for (int64_t k = 0; k < top; k++) {
        int64_t c = p->best[k];
        rt_clean_name(shown, sizeof shown, class_name(p, count, c, number));
        if (shares)
            rt_text_printf(&p->out, "  %5.1f%% %s", 100.0 * (double)value[c], shown);
        else
            rt_text_printf(&p->out, "  %.4g %s", (double)value[c], shown);
    }
}

static void range_of(const float *v, int64_t n, double *low, double *high, double *mean) {
    double sum = 0;
    *low = *high = (double)v[0];
    for (int64_t i = 0; i < n; i++) {
        *low = (double)v[i] < *low ? (double)v[i] : *low;
        *high = (double)v[i] > *high ? (double)v[i] : *high;
        sum += (double)v[i];
    }
    *mean = sum / (double)n;
}

static int64_t top_of(Predict *p, const rt_output *o) {
    int64_t n = rt_output_count(o), top = p->top < n ? p->top : n;
    rt_top_of(p->output, n, o->flags & RT_OUTPUT_SMALLEST, top, p->best);
    return top;
}

/* A further output: a line of its own. */
static void text_output(Predict *p, const rt_output *o, const char *path) {
    char clean[400];
    int64_t n = rt_output_count(o);
    rt_text_printf(&p->out, "\n  %s", rt_clean_name(clean, sizeof clean, o->name));
    if (o->flags & RT_OUTPUT_SOFTMAX && o->rank == 1) {
        text_top(p, p->output, n, 1, top_of(p, o));
    } else if (n <= NUMBERS_TEXT) {
        rt_text_add(&p->out, " ");
        for (int64_t i = 0; i < n; i++)
            rt_text_printf(&p->out, " %.4g", (double)p->output[i]);
    } else {
        double low, high, mean;
        range_of(p->output, n, &low, &high, &mean);
        rt_text_add(&p->out, "  ");
        dims(&p->out, o, "x");
        rt_text_printf(&p->out, "  %.4g to %.4g, mean %.4g", low, high, mean);
    }
    if (path)
        rt_text_printf(&p->out, "  %s", rt_clean_name(clean, sizeof clean, path));
}

static void tell_text(Predict *p, const char *name, int64_t image, const float *value) {
    char clean[400];
    rt_text_printf(&p->out, "%s%s", rt_clean_name(clean, sizeof clean, name),
                   p->picture || !tells_first(p) ? "" : " ");
    if (tells_first(p) && p->picture)
        text_picture(p, chosen(p, 0), p->save ? p->path[0] : NULL);
    else if (tells_first(p))
        text_top(p, value, p->m->model->classes, p->has_probs, first_top(p));
    for (int k = tells_first(p); k < p->n; k++) {
        rt_output_read(p->m, p->chosen[k], image, p->output);
        text_output(p, chosen(p, k), p->save ? p->path[k] : NULL);
    }
    rt_text_add(&p->out, "\n");
}

/* ---- JSON ---- */

static void json_top(Predict *p, const float *value, int64_t count, int shares, int64_t top) {
    char number[24];
    rt_text_add(&p->out, "\"top\":[");
    for (int64_t k = 0; k < top; k++) {
        rt_text_printf(&p->out, "%s{\"class\":%lld,\"label\":", k ? "," : "",
                       (long long)p->best[k]);
        rt_text_json(&p->out, class_name(p, count, p->best[k], number));
        rt_text_add(&p->out, shares ? ",\"prob\":" : ",\"score\":");
        rt_text_number(&p->out, (double)value[p->best[k]]);
        rt_text_add(&p->out, "}");
    }
    rt_text_add(&p->out, "]");
}

static void json_shape(Predict *p, const rt_output *o) {
    rt_text_add(&p->out, "\"shape\":[");
    for (int i = 0; i < o->rank; i++)
        rt_text_printf(&p->out, "%s%lld", i ? "," : "", (long long)o->dim[i]);
    rt_text_add(&p->out, "]");
}

static void json_saved(Predict *p, const char *path) {
    rt_text_add(&p->out, ",\"saved\":");
    if (path)
        rt_text_json(&p->out, path);
    else
        rt_text_add(&p->out, "null");
}

static void json_output(Predict *p, const rt_output *o, const char *path) {
    int64_t n = rt_output_count(o);
    rt_text_json(&p->out, o->name);
    rt_text_add(&p->out, ":{");
    json_shape(p, o);
    if (o->flags & RT_OUTPUT_SOFTMAX && o->rank == 1) {
        rt_text_add(&p->out, ",");
        json_top(p, p->output, n, 1, top_of(p, o));
    }
    if (n <= NUMBERS_JSON) {
        rt_text_add(&p->out, ",\"values\":[");
        for (int64_t i = 0; i < n; i++) {
            rt_text_add(&p->out, i ? "," : "");
            if (isfinite(p->output[i]))
                rt_text_printf(&p->out, "%.9g", (double)p->output[i]); /* reads back as the float */
            else
                rt_text_add(&p->out, "null");
        }
        rt_text_add(&p->out, "]");
    } else {
        double part[3];
        static const char *const name[3] = {"min", "max", "mean"};
        range_of(p->output, n, &part[0], &part[1], &part[2]);
        for (int i = 0; i < 3; i++) {
            rt_text_printf(&p->out, ",\"%s\":", name[i]);
            rt_text_number(&p->out, part[i]);
        }
    }
    if (path)
        json_saved(p, path);
    rt_text_add(&p->out, "}");
}

static void tell_json(Predict *p, const char *name, int64_t image, const float *value) {
    rt_text_add(&p->out, p->done ? ",\n {\"file\":" : " {\"file\":");
    rt_text_json(&p->out, name);
    if (tells_first(p)) {
        rt_text_add(&p->out, ",");
        if (p->picture) {
            json_shape(p, chosen(p, 0));
            json_saved(p, p->save ? p->path[0] : NULL);
        } else {
            json_top(p, value, p->m->model->classes, p->has_probs, first_top(p));
        }
    }
    int first = tells_first(p);
    for (int k = first; k < p->n; k++) {
        rt_text_add(&p->out, k == first ? ",\"outputs\":{" : ",");
        rt_output_read(p->m, p->chosen[k], image, p->output);
        json_output(p, chosen(p, k), p->save ? p->path[k] : NULL);
    }
    rt_text_add(&p->out, p->n > first ? "}}" : "}");
}

/* Classifies samples first .. first + n - 1. */
static int batch(Predict *p, rt_feed *feed, int64_t first, int64_t n, rt_error *err) {
    int64_t classes = p->m->model->classes;
    char name[600];
    double loss;
    float *scores = p->picture ? NULL : p->scores; /* pictures have none */
    int64_t good =
        rt_cli_forward(p->cli, feed, first, n, scores, p->probs, &p->has_probs, &loss, err);
    if (good < 1)
        return err->code;
    for (int64_t i = 0; i < good; i++) {
        const float *s = p->scores + i * classes;
        rt_data_name(feed->ds, feed->index[i], name, sizeof name);
        const char *stem = name + (strlen(name) > p->stem ? p->stem : 0);
        for (int k = 0; k < p->n && p->save; k++)
            if (rt_save_output(p->m, p->chosen[k], p->n > 1, i, p->save, stem, p->path[k],
                               sizeof p->path[k], err))
                return err->code;
        rt_top(p->m->model, s, first_top(p), p->best);
        const float *value = p->has_probs ? p->probs + i * classes : s;
        if (p->cli->json)
            tell_json(p, name, i, value);
        else
            tell_text(p, name, i, value);
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

/* Which outputs to tell of: those named, else all; in the spec's order. */
static int choose(Predict *p, rt_error *err) {
    const rt_model *model = p->cli->model;
    char list[400];
    int taken[RT_MAX_OUTPUTS] = {0};
    for (const char *at = p->wanted; at && *at;) {
        size_t n = strcspn(at, ",");
        int found = 0;
        for (int i = 0; i < (int)model->noutputs; i++)
            if (strlen(model->output[i].name) == n && strncmp(model->output[i].name, at, n) == 0)
                taken[i] = found = 1;
        if (!found)
            return rt_fail(err, NETRT_EUSAGE, "%s has no output '%.*s'\nhelp: it has %s",
                           model->name, (int)(n < 80 ? n : 80), at,
                           rt_output_list(model, list, sizeof list));
        at += n + (at[n] == ',');
    }
    for (int i = 0; i < (int)model->noutputs; i++)
        if (!p->wanted || taken[i])
            p->chosen[p->n++] = i;
    return NETRT_OK;
}

static int make_room(Predict *p, rt_error *err) {
    const rt_model *model = p->m->model;
    size_t numbers = (size_t)(p->m->cap * model->classes), most = 1;
    for (int k = 0; k < p->n; k++) {
        size_t n = (size_t)rt_output_count(chosen(p, k));
        most = n > most ? n : most;
    }
    p->scores = rt_alloc(numbers, sizeof(float), "scores", err);
    p->probs = rt_alloc(numbers, sizeof(float), "scores", err);
    p->output = rt_alloc(most, sizeof(float), "the outputs", err);
    p->best = rt_alloc((size_t)p->top, sizeof *p->best, "classes", err);
    p->top = p->top < model->classes || p->n > 1 ? p->top : model->classes;
    return err->code;
}

static int run(rt_cli *cli, const Predict *how, const char **file, int n) {
    rt_error err = {0};
    Predict p = *how;
    if (cli->batch == 0)
        cli->batch = 16;
    double begun = 0;
    if (rt_cli_open(cli, 1, &p.m, &err) == 0 && make_room(&p, &err) == 0) {
        begun = rt_seconds();
        if (cli->json)
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
    rt_free(p.output);
    rt_free(p.best);
    netrt_close(p.m);
    return err.code ? err.code : cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

/* --crops: means of the first output's scores; nothing else of several views is of one picture. */
static int check_crops(Predict *p, rt_error *err) {
    if (p->cli->crops <= 1)
        return NETRT_OK;
    if (p->save || p->wanted || p->picture)
        return rt_fail(err, NETRT_EUSAGE,
                       "--crops makes means of scores, not of whole outputs\n"
                       "help: leave out --crops");
    p->n = p->n > 0;
    return NETRT_OK;
}

int rt_verb_predict(rt_cli *cli, int argc, char **argv) {
    Predict p = {.cli = cli, .top = 3, .picture = rt_output_is_picture(cli->model)};
    const rt_arg table[] = {
        RT_OPT_WEIGHTS(cli),
        {"top", 'k', RT_ARG_INT, "N", &p.top, 1, 1000, "how many classes to show (default 3)"},
        {"out", 'o', RT_ARG_TEXT, "DIR", &cli->out, 0, 0,
         "folder of the training run, for the default weights"},
        {"output", 0, RT_ARG_TEXT, "NAME,..", &p.wanted, 0, 0,
         "which outputs of several to show and save (default: all)"},
        {"save", 0, RT_ARG_TEXT, "PATH", &p.save, 0, 0,
         "the output as PATH.npy or PATH.png; a folder gets both, for each picture; several "
         "outputs have their names in front of the ending"},
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
    rt_error err = {0};
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    if (choose(&p, &err) == 0 && check_crops(&p, &err) == 0 && n == 0)
        rt_fail(&err, NETRT_EUSAGE,
                "predict needs a picture or a folder\nhelp: %s predict FILE.png", cli->program);
    if (err.code)
        return rt_report(&cli->progress, &err);
    return run(cli, &p, operands, n);
}
