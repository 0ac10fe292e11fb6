/* rt_log.h: the machine-readable history of a training run: log.csv (fixed columns, then a column for
 * each further figure of the net) and log.jsonl (the same rows; the first record describes the run).  Appended on resume, after being cut back to
 * the sizes the checkpoint recorded, so each row is there exactly once. */
#ifndef RT_LOG_H
#define RT_LOG_H

#include <stdint.h>

#include "rt_error.h"
#include "rt_figures.h"
#include "rt_text.h"

typedef struct rt_row {
    const char *event;           /* "train": since the last such row; "test": after an epoch */
    int64_t step, epoch, images; /* step and epoch: finished ones */
    double loss, error, top5;    /* rates 0..1; NaN: empty */
    double lr, images_per_s, seconds;
    const rt_figure *figure; /* what else the run tells, the same in all rows */
    const double *value;     /* of each figure, NaN: empty; NULL: all are */
    int nfigures;
} rt_row;

typedef struct rt_log {
    char *csv, *jsonl; /* paths */
    int fd[2];
    int64_t size[2]; /* bytes written and meant to stay */
    int failed;      /* a write failed: no more is written */
    int err_no;
} rt_log;

#define RT_LOG_COLUMNS "event,step,epoch,images,loss,error,top5,lr,images_per_s,seconds"

/* keep: NULL = start anew, with columns for these figures; else the two sizes to cut back to (a file
 * shorter than that is EDATA). */
int rt_log_open(rt_log *log, const char *dir, const int64_t keep[2], const rt_figure *figure,
                int nfigures, rt_error *err);
/* head: one JSON object with newline, only for a new run. */
void rt_log_head(rt_log *log, const char *json);
void rt_log_row(rt_log *log, const rt_row *row); /* failures are remembered in log->failed */
void rt_log_close(rt_log *log);
void rt_row_json(rt_text *out, const rt_row *row); /* with newline */

/* loss.svg from a log.csv. */
int rt_log_plot(const char *csv, const char *svg, const char *title, rt_error *err);

#endif
