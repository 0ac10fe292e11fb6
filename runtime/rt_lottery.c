/* rt_lottery.c: `NAME lottery`: trains, prunes the smallest weights, puts the others back to where
 * they began, and again: does the small network that is left learn as well as the large one?
 *
 * theory: Frankle and Carbin 2019 (ICLR), section 2, iterative pruning with resetting: each round
 * clears a share of the surviving weights of every layer, those of smallest magnitude, half as large
 * a share in the output layer; biases stay.  Frankle et al. 2020 (ICML): --rewind to the weights of
 * a later epoch.  --control trains the same masks from other initial weights (their figure 4).
 * Round K lies in OUT/round-K and is an ordinary training run; OUT/lottery.csv has a row for each
 * one that is done, so that --resume needs nothing else.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_mask.h"
#include "rt_svg.h"
#include "rt_train.h"

enum { ROUNDS_MAX = 100, PATH = 4300 };

typedef struct Row {
    int64_t kept, weights; /* of those that are pruned */
    double error[2], best[2];   /* ticket, control; NaN: not there */
    int64_t best_epoch[2];
} Row;

typedef struct Lottery {
    rt_cli *cli;
    rt_train_options o;
    const char *out, *prune_text, *conv_text, *output_text, *resume;
    double prune, conv, output; /* shares */
    int64_t rounds, rewind;
    int control;
    uint64_t seed;
    Row row[ROUNDS_MAX + 1];
    int64_t done; /* rows */
} Lottery;

static const char *const ways[2] = {"", "-control"};

static const char *path_of(const Lottery *l, int64_t round, int way, const char *file,
                           char buf[PATH]) {
    snprintf(buf, PATH, "%.4000s/round-%lld%s%s%s", l->out, (long long)round, ways[way],
             *file ? "/" : "", file);
    return buf;
}

/* ---- masks ---- */

/* The layer whose share is halved: that of the score, else the last one with weights. */
static int output_param(const rt_model *model) {
    const rt_program *p = &model->program[RT_FORWARD];
    int last = -1;
    for (int i = 0; i < model->nparams; i++) {
        if (!rt_mask_wanted(&model->param[i]))
            continue;
        last = i;
        if (p->output >= 0 && strcmp(model->param[i].label, p->tensor[p->output].label) == 0)
            return i;
    }
    return last;
}

static double share_of(const Lottery *l, const rt_model *model, int param) {
    return param == output_param(model)           ? l->output
           : model->param[param].rank >= 3 ? l->conv
                                                  : l->prune;
}

/* Those of the last round, else all connections that exist. */
static void old_mask(const netrt *m, int param, float *room, unsigned char *keep) {
    const rt_param *p = &m->model->param[param];
    const unsigned char *before = rt_mask_of(m, param);
    int64_t n = rt_param_count(p);
    for (int64_t i = 0; i < n; i++)
        room[i] = 1;
    rt_clear_missing(p, room, 0, rt_param_rows(p));
    for (int64_t i = 0; i < n; i++)
        keep[i] = (unsigned char)(before ? before[i] : room[i] > 0);
}

/* The masks of m, whose weights are trained, become those of the next round; share 0: as they are,
 * which counts them. */
static int prune(const Lottery *l, netrt *m, int all, Row *row, rt_error *err) {
    const rt_model *model = m->model;
    row->kept = row->weights = 0;
    for (int i = 0; i < model->nparams && !err->code; i++) {
        const rt_param *p = &model->param[i];
        int64_t n = rt_param_count(p);
        if (!rt_mask_wanted(p))
            continue;
        float *w = rt_alloc((size_t)n, sizeof *w, "weights", err);
        unsigned char *keep = w ? rt_alloc((size_t)n, 1, "a mask", err) : NULL;
        if (keep) {
            old_mask(m, i, w, keep);
            for (int64_t k = 0; k < n && !rt_mask_of(m, i); k++)
                row->weights += keep[k];
            row->weights += rt_mask_of(m, i) ? n : 0;
            rt_param_read(m, i, w);
            row->kept += rt_mask_prune(w, n, all ? 0 : share_of(l, model, i), keep, err);
            if (!err->code && !all)
                rt_mask_set(m, i, keep, err);
        }
        rt_free(keep);
        rt_free(w);
    }
    return err->code;
}

/* Puts back the weights that the masks of m keep: those of a file, or new ones from a seed. */
static int put_back(const Lottery *l, netrt *m, const char *theta, uint64_t seed, rt_error *err) {
    struct rt_mask *masks = m->mask; /* loading a file takes the file's, which has none */
    m->mask = NULL;
    if (theta)
        rt_weights_load(m, theta, 0, NULL, err);
    else
        rt_init_params(m, seed, err);
    rt_mask_clear(m);
    m->mask = masks;
    rt_mask_apply(m);
    m->param_version++;
    (void)l;
    return err->code;
}

/* start.safetensors of a round: from the trained weights of the last one. */
static int make_start(Lottery *l, int64_t round, int way, rt_error *err) {
    char from[PATH], theta[PATH], to[PATH], epoch[64];
    netrt *m = NULL;
    rt_cli *cli = l->cli;
    snprintf(epoch, sizeof epoch, "epoch-%lld.safetensors", (long long)l->rewind);
    cli->weights = way ? path_of(l, round, 0, "start.safetensors", from)
                       : path_of(l, round - 1, 0, "last.safetensors", from);
    if (rt_io_make_dirs(path_of(l, round, way, "", to), err) == 0 &&
        rt_cli_open(cli, 1, &m, err) == 0 &&
        (way || prune(l, m, 0, &l->row[round], err) == 0) &&
        put_back(l, m, way ? NULL : path_of(l, 0, 0, epoch, theta),
                 m->seed + 1000 * (uint64_t)round, err) == 0)
        netrt_save(m, path_of(l, round, way, "start.safetensors", to), err);
    netrt_close(m);
    return err->code;
}

/* Weights of round 0, which are all. */
static int count_all(Lottery *l, rt_error *err) {
    netrt *m = NULL;
    rt_cli *cli = l->cli;
    cli->weights = NULL;
    if (rt_cli_open(cli, 0, &m, err) == 0 && prune(l, m, 1, &l->row[0], err) == 0) {
        l->seed = m->seed;
        if (l->row[0].weights == 0)
            rt_fail(err, NETRT_EUSAGE, "%s has no weights that are trained: nothing to prune\n"
                    "help: layers with weights are conv and dense", m->model->name);
    }
    netrt_close(m);
    return err->code;
}

/* ---- the table ---- */

#define COLUMNS                                                                                    \
    "round,weights,kept,share,error,best_error,best_epoch,control_error,control_best_error,"      \
    "control_best_epoch,prune,conv,output,rewind,seed\n"

static void put_figure(rt_text *o, double v) {
    rt_text_add(o, ",");
    if (isfinite(v))
        rt_text_printf(o, "%.9g", v);
}

static int write_table(const Lottery *l, rt_error *err) {
    rt_text o = {0};
    char path[PATH];
    rt_text_add(&o, COLUMNS);
    for (int64_t k = 0; k < l->done; k++) {
        const Row *r = &l->row[k];
        rt_text_printf(&o, "%lld,%lld,%lld,%.9g", (long long)k, (long long)r->weights,
                       (long long)r->kept, (double)r->kept / (double)r->weights);
        for (int way = 0; way < 2; way++) {
            put_figure(&o, r->error[way]);
            put_figure(&o, r->best[way]);
            put_figure(&o, isfinite(r->best[way]) ? (double)r->best_epoch[way] : NAN);
        }
        rt_text_printf(&o, ",%.9g,%.9g,%.9g,%lld,%llu\n", l->prune, l->conv, l->output,
                       (long long)l->rewind, (unsigned long long)l->seed);
    }
    snprintf(path, sizeof path, "%.4000s/lottery.csv", l->out);
    if (rt_text_ok(&o, err))
        rt_io_write_file(path, o.data, o.size, err);
    rt_text_free(&o);
    return err->code;
}

/* One line: 15 numbers, of which some may be empty (NaN).  0: it is none. */
static int parse_row(const char *line, double v[15]) {
    for (int i = 0; i < 15; i++) {
        char *end;
        v[i] = strtod(line, &end);
        if (end == line)
            v[i] = NAN;
        if (*end != (i < 14 ? ',' : '\n'))
            return 0;
        line = end + 1;
    }
    return 1;
}

/* --resume: the rounds that are done, if they were made as this command says. */
static int read_table(Lottery *l, rt_error *err) {
    char path[PATH];
    unsigned char *data = NULL;
    size_t size = 0;
    double v[15];
    snprintf(path, sizeof path, "%.4000s/lottery.csv", l->out);
    if (access(path, F_OK) != 0)
        return NETRT_OK;
    if (rt_io_read_file(path, 1 << 20, &data, &size, err))
        return err->code;
    const char *line = strchr((const char *)data, '\n');
    for (line = line ? line + 1 : ""; *line && l->done <= l->rounds && !err->code;) {
        const char *end = strchr(line, '\n');
        if (!end || !parse_row(line, v) || v[0] != (double)l->done || !(v[1] >= 1) || !(v[2] >= 0)) {
            rt_fail(err, NETRT_EDATA, "%s: line %lld cannot be read\nhelp: without --resume the "
                    "rounds begin anew", path, (long long)l->done + 2);
        } else if (fabs(v[10] - l->prune) > 1e-8 || fabs(v[11] - l->conv) > 1e-8 ||
                   fabs(v[12] - l->output) > 1e-8 || v[13] != (double)l->rewind ||
                   v[14] != (double)l->seed) {
            rt_fail(err, NETRT_EUSAGE, "%s was begun with --prune=%g%% --conv=%g%% --output=%g%% "
                    "--rewind=%g --seed=%.0f\nhelp: give the same options, or another --out", path,
                    100 * v[10], 100 * v[11], 100 * v[12], v[13], v[14]);
        } else if (l->control && l->done > 0 && isnan(v[7])) {
            break; /* this round still wants its control */
        } else {
            l->row[l->done++] = (Row){.weights = (int64_t)v[1], .kept = (int64_t)v[2],
                .error = {v[4], v[7]}, .best = {v[5], v[8]},
                .best_epoch = {isfinite(v[6]) ? (int64_t)v[6] : 0,
                               isfinite(v[9]) ? (int64_t)v[9] : 0}};
            line = end + 1;
        }
    }
    rt_free(data);
    return err->code;
}

static int draw(const Lottery *l, rt_error *err) {
    double x[ROUNDS_MAX + 1], y[4][ROUNDS_MAX + 1];
    char path[PATH], title[160];
    rt_text svg = {0};
    for (int64_t k = 0; k < l->done; k++) {
        const Row *r = &l->row[l->done - 1 - k]; /* share rising */
        x[k] = 100 * (double)r->kept / (double)r->weights;
        for (int way = 0; way < 2; way++) {
            y[2 * way][k] = 100 * (1 - r->error[way]);
            y[2 * way + 1][k] = 100 * (1 - r->best[way]);
        }
    }
    if (l->control && l->done)
        y[2][l->done - 1] = y[0][l->done - 1], y[3][l->done - 1] = y[1][l->done - 1];
    rt_series s[4] = {{"at the end", x, y[0], l->done, 0, 1},
                      {"best epoch", x, y[1], l->done, 0, 1},
                      {"other start, end", x, y[2], l->done, 0, 1},
                      {"other start, best", x, y[3], l->done, 0, 1}};
    snprintf(title, sizeof title, "%.80s: lottery tickets", l->cli->model->name);
    rt_plot plot = {.title = title, .xlabel = "weights that are left, % (logarithmic)",
                    .ylabel = "test accuracy, %", .log_x = 1, .series = s,
                    .nseries = l->control ? 4 : 2};
    rt_svg_plot(&svg, &plot, 1);
    snprintf(path, sizeof path, "%.4000s/lottery.svg", l->out);
    if (rt_text_ok(&svg, err))
        rt_io_write_file(path, svg.data, svg.size, err);
    rt_text_free(&svg);
    return err->code;
}

static int print(const Lottery *l, rt_error *err) {
    rt_text o = {0};
    if (l->cli->json)
        rt_text_add(&o, "{\"rounds\":[");
    else
        rt_text_printf(&o, "round    weights    share    error     best%s\n",
                       l->control ? "   other start" : "");
    for (int64_t k = 0; k < l->done; k++) {
        const Row *r = &l->row[k];
        double share = (double)r->kept / (double)r->weights;
        if (l->cli->json) {
            const double v[5] = {share, r->error[0], r->best[0], r->error[1], r->best[1]};
            static const char *const name[5] = {"share", "error", "best_error", "control_error",
                                                "control_best_error"};
            rt_text_printf(&o, "%s{\"round\":%lld,\"kept\":%lld", k ? "," : "", (long long)k,
                           (long long)r->kept);
            for (int i = 0; i < 5; i++) {
                rt_text_printf(&o, ",\"%s\":", name[i]);
                rt_text_number(&o, v[i]);
            }
            rt_text_add(&o, "}");
            continue;
        }
        rt_text_printf(&o, "%5lld %10lld %7.2f%% %7.2f%% %7.2f%%", (long long)k, (long long)r->kept,
                       100 * share, 100 * r->error[0], 100 * r->best[0]);
        if (l->control && k)
            rt_text_printf(&o, " %7.2f%%", 100 * r->error[1]);
        rt_text_add(&o, "\n");
    }
    rt_text_add(&o, l->cli->json ? "]}\n" : "");
    return rt_cli_print(&o, err);
}

/* ---- rounds ---- */

/* One training.  Returns train's exit code, whose error it has told. */
static int train_one(Lottery *l, int64_t round, int way) {
    char out[PATH], start[PATH], ckpt[PATH], keep[32];
    rt_train_options o = l->o;
    rt_train_result r;
    rt_cli cli = *l->cli;
    cli.out = path_of(l, round, way, "", out);
    cli.weights = round || way ? path_of(l, round, way, "start.safetensors", start) : NULL;
    path_of(l, round, way, "checkpoint.safetensors", ckpt);
    o.resume = l->resume && access(ckpt, F_OK) == 0 ? "" : NULL;
    if (!o.resume)
        rt_io.unlink(ckpt);
    o.silent = 1;
    o.first_epoch = round && !way ? l->rewind : 0;
    snprintf(keep, sizeof keep, "%lld", (long long)l->rewind);
    o.keep = round || way ? NULL : keep;
    rt_note(&cli.progress, "round %lld of %lld%s: %lld of %lld weights (%.2f %%)", (long long)round,
            (long long)l->rounds, way ? ", other start" : "", (long long)l->row[round].kept,
            (long long)l->row[round].weights,
            100 * (double)l->row[round].kept / (double)l->row[round].weights);
    int code = rt_train(&cli, &o, &r);
    l->row[round].error[way] = r.error;
    l->row[round].best[way] = r.best_error;
    l->row[round].best_epoch[way] = r.best_epoch;
    l->cli->skipped += cli.skipped;
    return code;
}

/* Of a round that was begun: the weights that its start kept. */
static int64_t count_kept(Lottery *l, int64_t round, rt_error *err) {
    char path[PATH];
    netrt *m = NULL;
    Row now = {0};
    l->cli->weights = path_of(l, round, 0, "start.safetensors", path);
    if (rt_cli_open(l->cli, 1, &m, err) == 0 && prune(l, m, 1, &now, err) == 0)
        l->row[round].kept = now.kept;
    netrt_close(m);
    return err->code;
}

static int one_round(Lottery *l, int64_t round, int *code, rt_error *err) {
    Row *r = &l->row[round];
    char start[PATH];
    *r = (Row){.error = {NAN, NAN}, .best = {NAN, NAN}, .weights = l->row[0].weights,
               .kept = l->row[0].weights};
    for (int way = 0; way < (l->control && round ? 2 : 1); way++) {
        int begun = l->resume && access(path_of(l, round, way, "start.safetensors", start), F_OK) == 0;
        int64_t kept = r->kept;
        if (round && (begun ? !way && count_kept(l, round, err) : make_start(l, round, way, err)))
            return err->code;
        if (way)
            r->kept = kept;
        r->weights = l->row[0].weights;
        if ((*code = train_one(l, round, way)) != NETRT_OK)
            return NETRT_OK;
    }
    l->done = round + 1;
    return write_table(l, err) ? err->code : draw(l, err);
}

static int run(Lottery *l) {
    rt_error err = {0};
    int code = NETRT_OK;
    if (rt_io_make_dirs(l->out, &err) == 0 && rt_io_probe_dir(l->out, &err) == 0 &&
        count_all(l, &err) == 0 && (!l->resume || read_table(l, &err) == 0)) {
        if (l->done)
            rt_note(&l->cli->progress, "%lld rounds are done", (long long)l->done);
        while (!err.code && !code && l->done <= l->rounds)
            one_round(l, l->done, &code, &err);
        if (!err.code && !code)
            print(l, &err);
    }
    l->cli->weights = NULL;
    rt_report(&l->cli->progress, &err);
    if (code >= 128)
        rt_note(&l->cli->progress, "the same command and --resume goes on with this round");
    return err.code ? err.code : code ? code : l->cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

/* "20%" or "20"; NULL: what there is already. */
static int percent(const char *name, const char *text, double *share, rt_error *err) {
    char *end;
    double v = text ? strtod(text, &end) : 100 * *share;
    if (text && (end == text || strcmp(end + (*end == '%'), "") != 0))
        v = NAN;
    if (!(v >= 0 && v < 100))
        return rt_fail(err, NETRT_EUSAGE, "--%s=%s is no percentage below 100\nhelp: --%s=20%%",
                       name, text, name);
    *share = v / 100;
    return NETRT_OK;
}

static int check(Lottery *l, int operands, rt_error *err) {
    const rt_train_spec *spec = &l->cli->model->train;
    int64_t epochs = l->o.epochs >= 0 ? l->o.epochs : spec->epochs > 0 ? spec->epochs : 1;
    if (operands)
        return rt_fail(err, NETRT_EUSAGE, "lottery takes no operand\nhelp: data is named by --data");
    l->prune = 0.2;
    if (percent("prune", l->prune_text, &l->prune, err))
        return err->code;
    l->conv = l->prune;
    l->output = l->prune / 2;
    percent("conv", l->conv_text, &l->conv, err);
    percent("output", l->output_text, &l->output, err);
    if (!err->code && l->rewind > 0 && l->rewind >= epochs)
        rt_fail(err, NETRT_EUSAGE, "--rewind=%lld leaves nothing of %lld epochs to train\n"
                "help: an epoch before the last one", (long long)l->rewind, (long long)epochs);
    return err->code;
}

int rt_verb_lottery(rt_cli *cli, int argc, char **argv) {
    static Lottery l; /* large */
    l = (Lottery){.cli = cli, .o = rt_train_defaults, .rounds = 5};
    const rt_arg own[] = {
        {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Pruning"},
        {"rounds", 0, RT_ARG_INT, "N", &l.rounds, 1, ROUNDS_MAX,
         "how often to prune (5); round 0 trains the whole network"},
        {"prune", 0, RT_ARG_TEXT, "PERCENT", &l.prune_text, 0, 0,
         "of the weights left in each layer (20%)"},
        {"conv", 0, RT_ARG_TEXT, "PERCENT", &l.conv_text, 0, 0,
         "in convolutions (default: as --prune)"},
        {"output", 0, RT_ARG_TEXT, "PERCENT", &l.output_text, 0, 0,
         "in the output layer (default: half of --prune)"},
        {"rewind", 0, RT_ARG_INT, "EPOCH", &l.rewind, 0, 1 << 30,
         "put weights back to those after this epoch (0: the initial ones)"},
        {"control", 0, RT_ARG_FLAG, NULL, &l.control, 0, 0,
         "also train each mask from other initial weights"},
        {"resume", 'r', RT_ARG_MAYBE, "", &l.resume, 0, 0, "go on where --out was left"}};
    enum { OWN = sizeof own / sizeof *own };
    rt_arg table[RT_TRAIN_ARGS + OWN];
    static const rt_verb verb = {
        "lottery", "trains, prunes, puts back, and again: winning tickets", "[OPTIONS]",
        "lottery --rounds=5\nlottery --rounds=10 --prune=20% --control --out=tickets\n"
        "lottery --rewind=1 --resume"};
    const char *operands[argc + 1];
    rt_error err = {0};
    int n = 0, code, rows = rt_train_args(cli, &l.o, table);
    cli->out = "lottery";
    memcpy(table + rows, own, sizeof own);
    if (!rt_cli_parse(cli, &verb, table, rows + OWN, argc, argv, operands, &n, &code))
        return code;
    l.out = cli->out;
    return check(&l, n, &err) ? rt_report(&cli->progress, &err) : run(&l);
}
