/* rt_main.c: the program NAME: `NAME VERB [OPTIONS]`.  Exit codes are those of rt_error.h. */
#include <stdio.h>
#include <string.h>

#include "rt_cli.h"

typedef struct Verb {
    const char *name, *summary;
    int (*run)(rt_cli *cli, int argc, char **argv);
} Verb;

static const Verb verbs[] = {
    {"train", "train the network; without options as the spec says", rt_verb_train},
    {"lottery", "train, prune, put back, again: which weights are needed?", rt_verb_lottery},
    {"rbm", "convolutions learn without labels, as a deep belief network", rt_verb_rbm},
    {"bcd", "dense layers learn by block coordinate descent, without gradients", rt_verb_bcd},
    {"eval", "loss, errors and the confusion table on labelled data", rt_verb_eval},
    {"predict", "classify pictures", rt_verb_predict},
    {"features", "classifiers on each layer's values, or the values", rt_verb_features},
    {"export", "write the weights, or network and weights, for other programs", rt_verb_export},
    {"data", "check or show a source of data: broken samples, copies, a sheet", rt_verb_data},
    {"info", "layers, parameters, preprocessing, how it was built", rt_verb_info},
    {"gradcheck", "compare gradients with differences of the loss", rt_verb_gradcheck},
    {"bench", "time the kernels", rt_verb_bench},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void help(FILE *out, const rt_cli *cli) {
    fprintf(out, "%s: the network %s, compiled by netc %s\n\nExamples:\n", cli->program,
            cli->model->name, cli->model->version);
    fprintf(out, "  %s train\n  %s eval\n  %s predict picture.png\n\n", cli->program, cli->program,
            cli->program);
    fprintf(out, "Usage: %s VERB [OPTIONS]\n\nVerbs:\n", cli->program);
    for (int i = 0; i < VERBS; i++)
        fprintf(out, "  %-11s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(out,
            "\n%s VERB --help lists a verb's options; %s --version tells the build.\n"
            "Pictures of what it has learned: %s-viz.\n\n"
            "Exit codes: 0 ok, 1 some inputs were skipped or a check failed, 2 usage,\n"
            "3 training diverged, 4 bad data or weights, 5 input or output failed,\n"
            "6 a limit or out of memory, 130 interrupted.\n",
            cli->program, cli->program, cli->program);
}

static int version(const rt_cli *cli) {
    const rt_model *m = cli->model;
    printf("%s (%s, spec %s)\nnetc %s, target %s%s%s\n", m->name, m->spec_file, m->spec_hash,
           m->version, m->target, m->cpu_needs && m->cpu_needs[0] ? ", needs " : "",
           m->cpu_needs ? m->cpu_needs : "");
    return NETRT_OK;
}

int netrt_main(const rt_model *model, int argc, char **argv) {
    rt_cli cli;
    const char *names[VERBS];
    rt_cli_start(&cli, model, argc > 0 ? argv[0] : NULL);
    if (argc < 2) {
        help(stderr, &cli);
        return NETRT_EUSAGE;
    }
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        help(stdout, &cli);
        return NETRT_OK;
    }
    if (strcmp(argv[1], "--version") == 0)
        return version(&cli);
    for (int i = 0; i < VERBS; i++) {
        names[i] = verbs[i].name;
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(&cli, argc - 2, argv + 2);
        if (strcmp(argv[1], "help") == 0 && strcmp(argv[2], verbs[i].name) == 0) {
            char *ask[] = {"--help"};
            return verbs[i].run(&cli, 1, ask);
        }
    }
    rt_error err = {0};
    const char *near = rt_nearest(argv[1], names, VERBS);
    rt_fail(&err, NETRT_EUSAGE, "unknown %s '%s'%s%s%s\nhelp: %s --help lists the verbs",
            argv[1][0] == '-' ? "option" : "verb", argv[1], near ? "; did you mean '" : "",
            near ? near : "", near ? "'?" : "", cli.program);
    return rt_report(&cli.progress, &err);
}
