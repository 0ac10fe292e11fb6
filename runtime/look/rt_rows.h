/* rt_rows.h: what a layer answers to many samples, as rows of numbers: for techniques that look at
 * the space of a layer instead of at one picture (rt_embed.c, rt_collapse.c).
 */
#ifndef RT_ROWS_H
#define RT_ROWS_H

#include "rt_viz.h"

typedef struct rt_rows {
    int64_t n, dim;
    int64_t layer_dim; /* numbers of the layer; dim is smaller when each map became its mean */
    float *x;          /* n rows of dim */
    int64_t *sample;   /* number in the data */
    int32_t *label;    /* class by the data, or NULL: they have none */
    int32_t *answer;   /* class by the network, or NULL */
    int64_t side[2];   /* height and width of the small pictures */
    unsigned char *picture; /* n of them, RGB, or NULL */
} rt_rows;

/* The layer in front of the last one that has weights: what the classifier reads. */
int rt_rows_layer(const rt_viz *v, rt_error *err);

enum { RT_ROWS_POOL = 4096 }; /* layers of maps above this many numbers: the mean of each map */
/* Layer `seed` of the first `limit` samples of the feed (0: all); means: of each map the mean,
 * whatever their size; pictures: their longer side, 0: none.  Stops with a signal's error. */
int rt_rows_gather(rt_rows *r, rt_viz *v, rt_feed *feed, int seed, int64_t limit, int means,
                   int pictures, rt_error *err);
void rt_rows_free(rt_rows *r);
/* The class to colour row i by: the data's, else the network's, else -1. */
int64_t rt_rows_class(const rt_rows *r, int64_t i);
/* The name of a class of the data or, without labels, of the network. */
const char *rt_rows_class_name(const rt_rows *r, const rt_viz *v, int64_t c, char buf[24]);

#endif
