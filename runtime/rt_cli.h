/* rt_cli.h: what the verbs of the two programs share: common options, opening networks and data,
 * reporting.  Results go to stdout, everything else to stderr.
 */
#ifndef RT_CLI_H
#define RT_CLI_H

#include "rt_args.h"
#include "rt_data.h"
#include "rt_feed.h"
#include "rt_figures.h"
#include "rt_model.h"
#include "rt_par.h"
#include "rt_progress.h"
#include "rt_text.h"

typedef struct rt_cli {
    const rt_model *model;
    const char *program; /* argv[0] without folders */
    const char *data, *weights, *out, *skip, *map;
    int64_t threads, batch, seed;
    int partial, json, quiet, progress_kind;
    double max_bad; /* percent of broken pictures tolerated */
    int64_t crops;  /* 1, or 10: results are means over the crops of each picture */
    rt_progress progress;
    rt_dataset *ds; /* the source pictures come from, for reports about it */
    int64_t skipped;
} rt_cli;

void rt_cli_start(rt_cli *cli, const rt_model *model, const char *argv0);

/* Rows for option tables. */
#define RT_OPT_THREADS(c)                                                                          \
    {                                                                                              \
        "threads", 't', RT_ARG_INT, "N", &(c)->threads, 1, RT_MAX_THREADS,                         \
            "threads (default: all this process may use); results do not depend on it"             \
    }
#define RT_OPT_BATCH(c)                                                                            \
    {                                                                                              \
        "batch", 'b', RT_ARG_INT, "N", &(c)->batch, 1, 1 << 20,                                    \
            "images at a time (default: the spec's)"                                               \
    }
#define RT_OPT_DATA(c, text)                                                                       \
    { "data", 'd', RT_ARG_TEXT, "URI", &(c)->data, 0, 0, text }
#define RT_OPT_WEIGHTS(c)                                                                          \
    {                                                                                              \
        "weights", 'w', RT_ARG_TEXT, "FILE", &(c)->weights, 0, 0,                                  \
            "weights (default: best.safetensors, else last.safetensors, in run/)"                  \
    }
#define RT_OPT_PARTIAL(c)                                                                          \
    {                                                                                              \
        "partial", 0, RT_ARG_FLAG, NULL, &(c)->partial, 0, 0,                                      \
            "take the tensors that fit, leave the rest as initialised"                             \
    }
#define RT_OPT_MAP(c)                                                                              \
    {                                                                                              \
        "map", 0, RT_ARG_TEXT, "RULES", &(c)->map, 0, 0,                                           \
            "names in the weights file: 'features.0.* -> c1.*, fc.* -> f6.*'"                      \
    }
#define RT_OPT_JSON(c)                                                                             \
    { "json", 0, RT_ARG_FLAG, NULL, &(c)->json, 0, 0, "result as JSON on standard output" }
#define RT_OPT_QUIET(c)                                                                            \
    { "quiet", 'q', RT_ARG_FLAG, NULL, &(c)->quiet, 0, 0, "only warnings and errors on stderr" }
#define RT_OPT_PROGRESS(c)                                                                         \
    {                                                                                              \
        "progress", 0, RT_ARG_CHOICE, RT_PROGRESS_WORDS, &(c)->progress_kind, 0, 0,                \
            "how to tell what goes on (auto: a redrawn line on a terminal, else plain lines)"      \
    }
#define RT_OPT_SEED(c)                                                                             \
    { "seed", 's', RT_ARG_INT, "N", &(c)->seed, 0, INT64_MAX, "random seed (default: the spec's)" }

/* Parses and handles -h.  Returns 1 to go on, 0 to leave with *code. */
int rt_cli_parse(rt_cli *cli, const rt_verb *verb, const rt_arg *table, int n, int argc,
                 char **argv, const char **operands, int *noperands, int *code);

#define RT_OPT_CROPS(c)                                                                            \
    {                                                                                              \
        "crops", 0, RT_ARG_INT, "N", &(c)->crops, 1, 10,                                           \
            "10: mean of the output over corners, centre and their mirror images"                  \
    }

/* Opens the network with the common options.  load: 1 = weights are needed (cli->weights, else the
 * defaults), 0 = only when --weights was given. */
int rt_cli_open(rt_cli *cli, int load, netrt **m, rt_error *err);

/* Finds best.safetensors or last.safetensors in dir: cli->weights names it, in buf. */
int rt_cli_default_weights(rt_cli *cli, const char *dir, char *buf, size_t size, rt_error *err);

/* The training or test part of --data or of the spec.  optional: no such part gives OK and NULL. */
int rt_cli_data(rt_cli *cli, int test, int optional, rt_dataset **ds, rt_error *err);
void rt_cli_class_names(netrt *m, const rt_dataset *ds); /* if the source has names */

/* An rt_feed_report that warns (the first ten times) and counts; context: the rt_cli. */
void rt_cli_skipped(void *cli, int64_t sample, const char *why);

/* Runs "forward" on samples first .. first + n - 1 of the feed, for cli->crops views of each.
 * Returns how many could be read, or -1.  scores (NULL: not wanted, with one view), and probs where it is not NULL, get the means over
 * the views (good * classes numbers; of probs, where the net has them: *has_probs), *loss the mean
 * loss. */
int64_t rt_cli_forward(rt_cli *cli, rt_feed *feed, int64_t first, int64_t n, float *scores,
                       float *probs, int *has_probs, double *loss, rt_error *err);

/* Prints t to stdout and frees it; EIO when stdout cannot take it. */
int rt_cli_print(rt_text *t, rt_error *err);

/* Set by the first SIGINT or SIGTERM after rt_cli_catch; the second one kills. */
extern volatile int rt_cli_signal;
void rt_cli_catch(void);

/* Loss, error and counts of a network over a data set (rt_eval.c). */
typedef struct rt_score {
    int64_t images, wrong, beyond5;
    int64_t counted;    /* what `wrong` is out of: images, or pixels */
    double loss;        /* mean */
    double part[8];     /* of each of the program's losses; with several crops: 0 */
    int nfigures;       /* what else is told (rt_figures.h), and its values; NaN: not measured */
    rt_figure figure[RT_FIGURES_MAX];
    double value[RT_FIGURES_MAX];
    int64_t *confusion; /* classes * classes, true class major; NULL: not wanted */
} rt_score;
int rt_evaluate(rt_cli *cli, rt_feed *feed, rt_score *score, const char *what, rt_error *err);

int rt_verb_train(rt_cli *cli, int argc, char **argv);
int rt_verb_lottery(rt_cli *cli, int argc, char **argv);
int rt_verb_features(rt_cli *cli, int argc, char **argv);
int rt_verb_rbm(rt_cli *cli, int argc, char **argv);
int rt_verb_bcd(rt_cli *cli, int argc, char **argv);
int rt_verb_eval(rt_cli *cli, int argc, char **argv);
int rt_verb_predict(rt_cli *cli, int argc, char **argv);
int rt_verb_info(rt_cli *cli, int argc, char **argv);
int rt_verb_gradcheck(rt_cli *cli, int argc, char **argv);
int rt_verb_export(rt_cli *cli, int argc, char **argv);
int rt_verb_data(rt_cli *cli, int argc, char **argv);
int rt_verb_bench(rt_cli *cli, int argc, char **argv);

#endif
