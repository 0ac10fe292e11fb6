/* rt_reals.h: data sets of floating point samples in memory: rows of a CSV file, npy arrays, time
 * series, one-hot text.  Private to the files that read them.
 *
 * A sample that cannot be used stays in the table as a bad row with its line and a reason: it is
 * reported, counted and skipped when it is asked for, like a broken picture in a folder.
 */
#ifndef RT_REALS_H
#define RT_REALS_H

#include "rt_data.h"

enum rt_bad_row {
    RT_ROW_GOOD,
    RT_ROW_COLUMNS, /* not the number of columns that the first row has */
    RT_ROW_NUMBER,  /* a field is no finite number */
    RT_ROW_CLASS,   /* a class that the training part does not have */
    RT_ROW_LETTER,  /* a letter outside the alphabet */
    RT_ROW_SERIES,  /* a series without values */
};

struct rt_reals {
    float *values; /* count * size */
    int32_t *label;
    unsigned char *steps; /* a class per step (or NULL): count * nsteps */
    int64_t nsteps;
    int32_t *line; /* of the file, from 1; NULL: rows are numbered from 0 */
    unsigned char *bad;
    int64_t size, room; /* floats per sample; samples allocated */
    int c, h, w;        /* of a sample: size = c * h * w */
    int channels_last;  /* kept as [h, w, c] */
    char *name;         /* of the file, without its folder, safe to print */
};

/* Puts an empty table of `rows` samples of c x h x w numbers into ds.  ELIMIT: too large. */
struct rt_reals *rt_reals_new(rt_dataset *ds, const char *kind, const char *path, int64_t rows,
                              int c, int h, int w, rt_error *err);

/* The table gets a class per step, nsteps of each sample, which the caller writes to steps: 0 to
 * 254, 255 where none counts. */
int rt_reals_steps(rt_dataset *ds, int64_t nsteps, rt_error *err);

/* Turns the texts of n labels into class numbers: those of `known` (an open training part) where it
 * is given, else the numbers themselves where all are integers that begin with 0, else the ranks of
 * the distinct texts (as integers if all are, else in byte order).  Rows that are bad already have
 * no say; a class not in `known` makes its row bad. */
int rt_reals_classes(rt_dataset *ds, const char *const *label, const rt_dataset *known,
                     rt_error *err);

/* The same for a source that keeps its samples elsewhere: ds->count labels to number[]; a class not
 * in `known` is EDATA. */
int rt_reals_list_classes(rt_dataset *ds, const char *path, const char *const *label, int *number,
                          const rt_dataset *known, rt_error *err);

/* A finite decimal number that fills the whole text. */
int rt_reals_number(const char *s, float *out);

#endif
