/* rt_progress.h: what a running program says on standard error.
 *
 * On a terminal one line is redrawn at most ten times a second; anywhere else only whole lines are
 * written, without \r or escape sequences, at most one a minute besides real events.
 */
#ifndef RT_PROGRESS_H
#define RT_PROGRESS_H

#include <stdint.h>
#include <stdio.h>

#include "rt_error.h"

enum { RT_PROGRESS_AUTO, RT_PROGRESS_PLAIN, RT_PROGRESS_JSON, RT_PROGRESS_NONE };
#define RT_PROGRESS_WORDS "auto|plain|json|none"

typedef struct rt_progress {
    FILE *out;
    int kind; /* after rt_progress_start: PLAIN, JSON, NONE, or AUTO = redraw a line */
    int color;
    int line_open; /* the redrawn line is on the screen */
    int width;
    double begun, drawn;
    char head[40];           /* of what is counted, since when, from where, how far at last */
    double since;
    int64_t from, last;
    void (*watch)(void *watcher, int64_t done, int64_t total); /* told ten times a second, in place
                                                                  of drawing; or NULL */
    void *watcher;
} rt_progress;

/* kind as on the command line; quiet: only warnings and errors. */
void rt_progress_start(rt_progress *p, int kind, int quiet);
/* head "epoch 3/10", tail "loss 0.34  lr 0.01": drawn if it is time.  eta_seconds < 0: estimated from
 * how fast `done` has grown under this head. */
void rt_progress_tick(rt_progress *p, const char *head, int64_t done, int64_t total,
                      const char *tail, double eta_seconds);
/* 1 when rt_progress_tick would draw now: lets the caller skip making the texts. */
int rt_progress_due(const rt_progress *p);
/* A whole line that stays (not with kind NONE or JSON). */
void rt_note(rt_progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A whole JSON line, only with kind JSON. */
void rt_progress_json(rt_progress *p, const char *line);
/* "warning: ..." and "error: ..." always appear. */
void rt_warn(rt_progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
int rt_report(rt_progress *p, const rt_error *err); /* returns err->code */
void rt_progress_clear(rt_progress *p);             /* wipes the redrawn line */

/* "0:52", "1:02:33"; "0.5 MB". */
const char *rt_text_time(double seconds, char buf[24]);
const char *rt_text_bytes_human(double bytes, char buf[24]);
const char *rt_text_count(int64_t n, char buf[32]); /* 61,706 */

#endif
