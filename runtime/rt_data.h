/* rt_data.h: where samples come from.
 *
 * One abstract source with five kinds behind it: drawn digits, idx files (MNIST layout, .gz read
 * transparently), CIFAR binary batches, a folder with one sub-folder per class, and plain pictures.
 * A sample is an 8-bit picture (rt_image) with a label; everything after that is rt_prep.
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
 *   DIR/train/CLASS/..., DIR/test|val/CLASS/... folders
 *   DIR/CLASS/...         one set without a split
 *   DIR with pictures     no labels
 *   FILE                  one idx image file, or one PNG, JPEG, PGM or PPM
 * split: "train"; "test" (fails with EDATA where the source has no second part); "any": the whole
 * of a source without a split, else its test part.  "train" takes the whole where there is no
 * split. EIO: missing or unreadable.  EDATA: malformed, or not one of these trees (the text shows
 * the tree expected).  On failure *out is NULL. */
int rt_data_open(const char *uri, const char *split, rt_dataset **out, rt_error *err);
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

/* "train-images-idx3-ubyte[17]", "cats/tom.png": for messages and reports, written to buf. */
const char *rt_data_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap);

/* --- for the files that implement kinds ------------------------------------------------------ */

struct rt_data_ops {
    const char *kind;
    int (*label)(const rt_dataset *ds, int64_t i);
    int (*item)(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err);
    const char *(*name)(const rt_dataset *ds, int64_t i, char *buf, size_t cap);
    void (*close)(rt_dataset *ds); /* releases state */
};
struct rt_dataset {
    const struct rt_data_ops *ops;
    int64_t count;
    int classes;
    int channels, height, width; /* 0 when samples differ */
    char **class_names;          /* classes entries, or NULL: decimal numbers */
    char *uri;
    void *state;
};
int rt_idx_open_dir(rt_dataset *ds, const char *dir, const char *split, int *found, rt_error *err);
int rt_idx_open_file(rt_dataset *ds, const char *path, rt_error *err);
int rt_idx_sniff(const char *path); /* 1: an idx image file, plain or gzip */
int rt_cifar_open_dir(rt_dataset *ds, const char *dir, const char *split, int *found,
                      rt_error *err);
int rt_folder_open(rt_dataset *ds, const char *dir, const char *split, rt_error *err);
int rt_folder_open_file(rt_dataset *ds, const char *path, rt_error *err);

#endif
