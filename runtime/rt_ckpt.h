/* rt_ckpt.h: the position of a training run, and its checkpoint file.
 *
 * checkpoint.safetensors holds weights and momenta in logical order plus this struct in
 * __metadata__ (numbers that must come back bit for bit as hexadecimal floats).  Random numbers
 * have no state: they are functions of seed, epoch, step and sample.
 */
#ifndef RT_CKPT_H
#define RT_CKPT_H

#include "rt_model.h"
#include "rt_schedule.h"

typedef struct rt_sums { /* over images since some moment */
    double loss;         /* sum */
    int64_t images, wrong;
} rt_sums;

typedef struct rt_run_state {
    int64_t step;     /* optimizer steps done */
    int64_t epoch;    /* epochs done */
    int64_t position; /* samples of the current epoch used */
    int64_t samples;  /* of the training set */
    int64_t batch;
    uint64_t seed;
    double lr, momentum, decay; /* base rate and the rest */
    rt_plateau plateau;
    double best_error;
    int64_t best_epoch;
    rt_sums row, whole;  /* since the last log row; of this epoch */
    rt_sums other;       /* adversarial training: of this epoch, what whole is not of (rt_train.c) */
    double seconds;      /* training time of earlier runs */
    int64_t log_size[2]; /* log.csv, log.jsonl at this point */
} rt_run_state;

int rt_ckpt_save(netrt *m, const char *path, const rt_run_state *s, rt_error *err);
/* EDATA: not a checkpoint of this network (the text tells what differs). */
int rt_ckpt_load(netrt *m, const char *path, rt_run_state *s, rt_error *err);

#endif
