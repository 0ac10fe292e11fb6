/* rt_train.h: a training run as a function, for modes that train more than once (rt_lottery.c). */
#ifndef RT_TRAIN_H
#define RT_TRAIN_H

#include "rt_cli.h"

/* What the command line of `train` says beside the common options in rt_cli (data, weights, out). */
typedef struct rt_train_options {
    int64_t epochs, every_epochs;              /* -1: the spec's */
    int64_t steps_max, log_every, every_steps; /* 0: no limit, as suits the epoch, never */
    double lr, momentum, decay;                /* < 0: the spec's */
    const char *resume; /* NULL: start anew; "": continue --out's checkpoint; else this file */
    const char *keep;   /* "1,2,5": epochs whose weights stay as epoch-N.safetensors; NULL: none */
    int64_t first_epoch; /* a new run counts, and schedules its rates, from here */
    int silent;          /* no result on standard output */
} rt_train_options;
extern const rt_train_options rt_train_defaults;
/* The rows of those options and the common ones in a table of arguments. */
enum { RT_TRAIN_ARGS = 32 };
int rt_train_args(rt_cli *cli, rt_train_options *o, rt_arg table[RT_TRAIN_ARGS]);

typedef struct rt_train_result {
    int64_t epoch, step, best_epoch;
    double error, best_error; /* on the test data, shares; NaN: there are none */
    double loss;
} rt_train_result;

/* The whole run; reports what goes wrong.  Exit code as `train`'s; result (may be NULL): how it
 * ended. */
int rt_train(rt_cli *cli, const rt_train_options *o, rt_train_result *result);

/* Is epoch `at` named in a list such as "1,2,5-8"?  -1: the list cannot be read. */
int rt_train_keeps(const char *list, int64_t at);

#endif
