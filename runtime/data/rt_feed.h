/* rt_feed.h: from samples of a data set to the input buffers of a network.
 *
 * Pictures are decoded and preprocessed by all threads.  A source whose preprocessed pictures fit
 * into the cache limit as bytes is prepared once: preprocessing ends with one function of the pixel
 * per plane, so a byte and a table of 256 floats hold the same bits as the float.
 */
#ifndef RT_FEED_H
#define RT_FEED_H

#include "rt_abi.h"
#include "rt_data.h"
#include "rt_model.h"

typedef struct rt_feed {
    netrt *m;
    rt_dataset *ds;
    int64_t cap; /* images per load */
    struct rt_prep prep[4];
    int flip;    /* mirror half of the samples (augmentation) */
    int augment; /* some input is changed at random in training */
    int mapped, ignore; /* the data have a class for every pixel; the value that is none */
    int shrink;         /* the labels' pixels are squares of so many of the input's */
    int plain;       /* 1: the mean image is not subtracted (while it is looked for) */
    int view;    /* 1 to 10: loads this crop of each picture (rt_place_view); 0: the usual one */
    float change[4][RT_AUGMENT_COUNT]; /* the spec's, with what the training set tells */
    float *input[4];                   /* cap images each */
    int32_t *label;                    /* class of each image */
    int32_t *map;            /* label_cells > 1: what kernels read, a class per pixel; or NULL */
    int64_t *index;          /* sample number of each image in the buffers */
    unsigned char *status;   /* per sample: 0 not seen, 1 cached, 2 broken, 3 not cacheable */
    unsigned char *cache[4]; /* count * c*h*w bytes, or NULL */
    size_t cache_size[4];
    float (*table[4])[256]; /* [plane][pixel] */
    int64_t broken;         /* samples found broken so far */
    char *slot_state;       /* per image of the batch being loaded */
    struct rt_feed_thread *thread;
    rt_error failure;    /* why the last load gave -1 */
    const int64_t *want; /* arguments of the load in progress */
    int64_t epoch;
} rt_feed;

/* cache_limit bytes in all (0: no cache).  EDATA: the data's classes do not fit the network's.
 * need_labels: EDATA when the source has none.  The feed does not own ds. */
int rt_feed_open(rt_feed *f, netrt *m, rt_dataset *ds, int64_t cap, size_t cache_limit,
                 int need_labels, rt_error *err);
void rt_feed_close(rt_feed *f);

/* Loads samples want[0..n-1] (n <= cap) and points the network's frame at them.  Broken pictures
 * are left out: the result is how many were loaded; f->index tells which.  epoch >= 0: mirror and
 * change by (seed, epoch, sample) as the spec asks; -1: never.  -1 when memory runs out
 * (f->failure). report (may be NULL) is called once per newly found broken picture, from the
 * calling thread. */
typedef void (*rt_feed_report)(void *context, int64_t sample, const char *why);
int64_t rt_feed_load(rt_feed *f, const int64_t *want, int64_t n, int64_t epoch,
                     rt_feed_report report, void *context);
/* What training takes from its data, whose feed f is: the matrix of PCA colour (of up to 1,024
 * pictures) and, where m has none yet, the mean of every pixel (of all samples, or the file that the
 * spec names).  To be called before the first load with an epoch; report as above. */
int rt_feed_learn(rt_feed *f, rt_feed_report report, void *context, rt_error *err);
/* The same for consecutive samples first .. first+n-1, never mirrored. */
int64_t rt_feed_load_range(rt_feed *f, int64_t first, int64_t n, rt_feed_report report,
                           void *context);

enum { RT_FEED_CACHE_MB = 1024 };

#endif
