/* rt_data.h: where samples come from.
 *
 * One abstract source with many kinds behind it.  Pictures: drawn digits, idx files (MNIST layout,
 * .gz read transparently), CIFAR binary batches, npy bytes, a folder with one sub-folder per class,
 * a CSV file of names.  Real numbers: rows of CSV, npy arrays, time series, sound, one-hot text.
 * A sample is an 8-bit picture (rt_image), or floats, with a label; the rest is rt_prep.
 */
#ifndef RT_DATA_H
#define RT_DATA_H

#include <stdint.h>

#include "rt_error.h"
#include "rt_image.h"

typedef struct rt_dataset rt_dataset;

/* Opens a source:
 *   digits:COUNT[:SEED]   pen-drawn digits (rt_digits.h); test has COUNT / 6 (at least 10)
 *   DIR with train-images-idx3-ubyte[.gz] ...   MNIST layout; test = t10k-*
 *   DIR with data_batch_*.bin, test_batch*.bin  CIFAR-10 binary batches
 *   DIR with train.bin, test.bin                CIFAR-100, binary
 *   DIR/images/X.jpg, DIR/labels/X.png          a class for every pixel (rt_labelmap.c)
 *   DIR/train/CLASS/..., DIR/test|val/CLASS/... folders
 *   DIR/CLASS/...         one set without a split
 *   DIR with pictures     no labels
 *   DIR with train.npz, x_train.npy + y_train.npy, train.csv, one NAME_TRAIN.ts  (and _test)
 *   DIR with .wav files, in class folders or named CLASS_...wav
 *   FILE                  idx, npy, npz, CSV, .ts, WAV, lines of letters, PNG, JPEG, PGM or PPM
 *   KIND:PATH[?key=value&...]   the same, told instead of found out; KIND: csv npy ts wav text
 *                               cifar100 maps any.
 * Keys: ignore (maps), label (csv), alphabet (text), window hop scale low high (wav), labels (cifar100), for all:
 * hold=PERCENT, hold=GLOB of sample
 * names or fold=I/K make a test part of a source that has none.
 * split: "train"; "test" (fails with EDATA where the source has no second part); "any": the whole
 * of a source without a split, else its test part.  "train" takes the whole where there is no
 * split; "bare" is "train" of pictures that need no class, so it takes a flat folder too. EIO: missing or unreadable.  EDATA: malformed, or not one of these trees (the text shows
 * the tree expected).  On failure *out is NULL. */
int rt_data_open(const char *uri, const char *split, rt_dataset **out, rt_error *err);
/* Picture files by their names, without labels. */
int rt_data_open_files(const char *const *names, int64_t n, rt_dataset **out, rt_error *err);
void rt_data_close(rt_dataset *ds);

int64_t rt_data_count(const rt_dataset *ds);
int rt_data_classes(const rt_dataset *ds);                   /* 0: no labels */
const char *rt_data_class_name(const rt_dataset *ds, int i); /* "0".. where the source has none */
const char *rt_data_kind(const rt_dataset *ds);              /* "digits", "idx", "cifar", ... */
const char *rt_data_uri(const rt_dataset *ds);

/* Size of raw samples when all are equal (idx, digits, cifar): returns 1; else 0 and zeros. */
int rt_data_shape(const rt_dataset *ds, int *channels, int *height, int *width);

/* Class of sample i, -1 without labels. */
int rt_data_label(const rt_dataset *ds, int64_t i);

/* Sample i as a picture; img is reused ({0} at first, rt_image_free at the end).  Safe from many
 * threads at once with one img each.  EDATA: this picture is broken (the caller counts and skips).
 */
int rt_data_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err);

/* Sources of real numbers (rt_data_real: 1) give floats in place of pictures.  rt_data_fit must
 * come first: it says what shape the net reads and what the spec calls its source (NULL: none),
 * whose keys hold where this source's name has none.  EDATA: samples do not have that shape. */
int rt_data_real(const rt_dataset *ds);
int rt_data_fit(rt_dataset *ds, int c, int h, int w, const char *spec_uri, rt_error *err);
/* Sample i as c * h * w finite floats, planes first; safe from many threads.  EDATA as above. */
int rt_data_values(const rt_dataset *ds, int64_t i, int c, int h, int w, float *chw, rt_error *err);
/* The same of sound that is moved by so many seconds and whose amplitude is multiplied by gain;
 * sources that are no sound ignore both. */
int rt_data_sound(const rt_dataset *ds, int64_t i, int c, int h, int w, double seconds, double gain,
                  float *chw, rt_error *err);
/* What lies outside of a sample of real numbers: 0, or silence. */
float rt_data_outside(const rt_dataset *ds);

/* Sources with a class for every pixel (1): map becomes a picture of one channel whose values are
 * classes, as large as the picture itself; *ignore: the value of pixels that do not count. */
int rt_data_mapped(const rt_dataset *ds, int *ignore);
int rt_data_map(const rt_dataset *ds, int64_t i, rt_image *map, rt_error *err);

/* "train-images-idx3-ubyte[17]", "cats/tom.png": for messages and reports, written to buf. */
const char *rt_data_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap);

/* --- for the files that implement kinds ------------------------------------------------------ */

struct rt_data_ops {
    const char *kind;
    int (*label)(const rt_dataset *ds, int64_t i);
    int (*item)(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err);
    const char *(*name)(const rt_dataset *ds, int64_t i, char *buf, size_t cap);
    void (*close)(rt_dataset *ds); /* releases state */
    int (*map)(const rt_dataset *ds, int64_t i, rt_image *map, rt_error *err); /* or NULL */
};
struct rt_real_ops {
    int (*values)(const rt_dataset *ds, int64_t i, int c, int h, int w, float *chw, rt_error *err);
    int (*fit)(rt_dataset *ds, int c, int h, int w, const char *spec_uri, rt_error *err);
    int (*sound)(const rt_dataset *ds, int64_t i, int c, int h, int w, double seconds, double gain,
                 float *chw, rt_error *err); /* NULL: no sound */
};
struct rt_dataset {
    const struct rt_data_ops *ops;
    const struct rt_real_ops *real; /* NULL: pictures */
    int64_t count;
    int classes;
    int channels, height, width; /* 0 when samples differ */
    char **class_names;          /* classes entries, or NULL: decimal numbers */
    char *uri;
    void *state;
    float outside; /* rt_data_outside */
    int ignore;    /* of label pictures */
    int bare;      /* samples need no class */
};
int rt_idx_open_dir(rt_dataset *ds, const char *dir, const char *split, int *found, rt_error *err);
int rt_idx_open_file(rt_dataset *ds, const char *path, rt_error *err);
int rt_idx_sniff(const char *path); /* 1: an idx image file, plain or gzip */
int rt_cifar_open_dir(rt_dataset *ds, const char *dir, const char *split, const char *uri,
                      int *found, rt_error *err);
/* Label pictures beside pictures (rt_labelmap.c). */
int rt_maps_open_dir(rt_dataset *ds, const char *dir, const char *split, const char *uri,
                     int *found, rt_error *err);
int rt_folder_open(rt_dataset *ds, const char *dir, const char *split, rt_error *err);
int rt_folder_open_file(rt_dataset *ds, const char *path, rt_error *err);
/* Pictures named by a list; takes over names[0..n-1] and label (one per name), not the array. */
int rt_folder_open_list(rt_dataset *ds, const char *dir, char **names, int64_t n, int *label,
                        rt_error *err);

/* A picture of real numbers, for reports: channels below each other, smallest black, largest white.
 */
int rt_real_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err);

/* Value of a key in "..?key=value&.." into buf; 0: not there (or longer than buf). */
int rt_data_key(const char *uri, const char *key, char *buf, size_t cap);

/* Does the source's name ask for a part of an undivided source?  open: ds, whose uri is set,
 * becomes that part of `whole`, which it takes over whatever happens. */
int rt_hold_asked(const char *uri);
int rt_hold_open(rt_dataset *ds, rt_dataset *whole, const char *split, rt_error *err);

/* known: the open training part whose classes a test part must use, or NULL. */
int rt_npy_sniff(const char *path); /* npy or npz */
int rt_npy_open_file(rt_dataset *ds, const char *path, const char *split, const rt_dataset *known,
                     rt_error *err);
/* One array of c x h x w or h x w x c numbers (h x w where c is 1), to planes. */
int rt_npy_image(const char *path, int c, int h, int w, float *chw, rt_error *err);
int rt_csv_open_file(rt_dataset *ds, const char *path, const char *uri, const rt_dataset *known,
                     rt_error *err);
int rt_ts_open_file(rt_dataset *ds, const char *path, const rt_dataset *known, rt_error *err);
int rt_seq_open_file(rt_dataset *ds, const char *path, const char *uri, const rt_dataset *known,
                     rt_error *err);
/* What a file of text holds: "ts", "text", "csv", or NULL. */
const char *rt_text_sniff(const char *path);
int rt_wav_sniff(const char *path);
int rt_wav_open_file(rt_dataset *ds, const char *path, const char *uri, rt_error *err);
/* *found: sound files are in dir (or its train and test parts). */
int rt_wav_open_dir(rt_dataset *ds, const char *dir, const char *split, const char *uri, int *found,
                    rt_error *err);

#endif
