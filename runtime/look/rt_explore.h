/* rt_explore.h: what the explorer (NAME-viz serve) knows how to answer; no word of HTTP is here.
 *
 * A question is a name and parameters as text, the answer JSON or a PNG.  Pictures have numbers:
 * 0 and up are samples of the data, -1 - k is the k-th picture dropped in.  One thread asks; the scan
 * for the strongest activations runs in another, with a network of its own.
 */
#ifndef RT_EXPLORE_H
#define RT_EXPLORE_H

#include "rt_nines.h"

enum { RT_EXPLORE_DROPS = 8 };

/* Asks for a parameter of the question: NULL if it is not there. */
typedef struct rt_question {
    const char *(*get)(void *context, const char *key);
    void *context;
} rt_question;

typedef struct rt_answer {
    const char *type;    /* "image/png", "application/json" */
    unsigned char *data; /* released with rt_free */
    size_t size;
    char scale[32];      /* of a picture of signed numbers: what white means, or "" */
} rt_answer;

typedef struct rt_explore rt_explore;

/* Opens the network and the data of v (not yet opened).  nines: asked for the strongest units. */
rt_explore *rt_explore_open(rt_viz *v, const char **operands, int n, rt_nines *nines, rt_error *err);
void rt_explore_close(rt_explore *x);

/* what: "model.json", "maps.png", ..; the table in rt_explore.c has all.
 * 1: answered; 0: no such question; err: it cannot be answered (EUSAGE: as asked). */
int rt_explore_ask(rt_explore *x, const char *what, const rt_question *q, rt_answer *a,
                   rt_error *err);
/* A picture in memory becomes one of the pictures; its number, or 0 and err. */
int64_t rt_explore_drop(rt_explore *x, const unsigned char *data, size_t size, rt_error *err);
#endif
