/* rt_cifar.c: CIFAR-10 binary batches: records of one label byte and 3 x 32 x 32 bytes in planes.
 *
 * ensures: each batch is a whole number of records and every label is 0..9, else EDATA.
 * Format: A. Krizhevsky's CIFAR-10 page, "binary version".
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_table.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CIFAR_SIDE = 32, CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE, MAX_BATCHES = 64 };

static const struct rt_data_ops cifar_ops = {"cifar", rt_table_label, rt_table_item, rt_table_name,
                                             rt_table_close};

static const char *const cifar10_names[10] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                              "dog",      "frog",       "horse", "ship", "truck"};

/* Names of the batches wanted, in order: data_batch_1 ... or test_batch. */
static int is_batch(const char *name, int test) {
    const char *prefix = test ? "test_batch" : "data_batch_";
    size_t n = strlen(name);
    return strncmp(name, prefix, strlen(prefix)) == 0 && n > 4 && strcmp(name + n - 4, ".bin") == 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, int n) {
    for (int i = 0; i < n; i++)
        rt_free(names[i]);
}

static int list_batches(const char *dir, int test, char *names[MAX_BATCHES], int *n,
                        rt_error *err) {
    *n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return NETRT_OK; /* rt_folder.c reports it */
    struct dirent *e;
    while ((e = readdir(d)) != NULL && *n < MAX_BATCHES) {
        if (!is_batch(e->d_name, test))
            continue;
        size_t cap = strlen(dir) + strlen(e->d_name) + 2;
        char *path = rt_alloc(cap, 1, "file name", err);
        if (!path) {
            closedir(d);
            free_names(names, *n);
            *n = 0;
            return NETRT_ELIMIT;
        }
        snprintf(path, cap, "%s/%s", dir, e->d_name);
        names[(*n)++] = path;
    }
    closedir(d);
    qsort(names, (size_t)*n, sizeof names[0], by_name);
    return NETRT_OK;
}

static int append_batch(rt_dataset *ds, struct rt_table *t, const char *path, rt_error *err) {
    enum { RECORD = 1 + CIFAR_PIXELS };
    unsigned char *data;
    size_t size;
    int code = rt_io_read_file(path, RT_IO_MAX_FILE, &data, &size, err);
    if (code != NETRT_OK)
        return code;
    size_t n = size / RECORD, have = (size_t)ds->count;
    if (n == 0 || size % RECORD != 0)
        code = rt_fail(err, NETRT_EDATA,
                       "%s is truncated: %zu bytes are no whole number of %d-byte "
                       "CIFAR-10 records",
                       path, size, RECORD);
    unsigned char *pixels = NULL, *labels = NULL;
    if (code == NETRT_OK && (pixels = rt_realloc(t->pixels, have + n, CIFAR_PIXELS, path, err)))
        t->pixels = pixels;
    if (pixels && (labels = rt_realloc(t->labels, have + n, 1, path, err)))
        t->labels = labels;
    if (code == NETRT_OK && !labels)
        code = NETRT_ELIMIT;
    for (size_t i = 0; code == NETRT_OK && i < n; i++) {
        const unsigned char *record = data + i * RECORD;
        if (record[0] > 9)
            code = rt_fail(err, NETRT_EDATA, "%s: record %zu has label %d, CIFAR-10 has 0 to 9",
                           path, i, record[0]);
        labels[have + i] = record[0];
        memcpy(pixels + (have + i) * CIFAR_PIXELS, record + 1, CIFAR_PIXELS);
    }
    if (code == NETRT_OK)
        ds->count += (int64_t)n;
    rt_free(data);
    return code;
}

static int cifar_names(rt_dataset *ds, rt_error *err) {
    ds->class_names = rt_alloc_zero(10, sizeof(char *), "class names", err);
    if (!ds->class_names)
        return NETRT_ELIMIT;
    for (int i = 0; i < 10; i++)
        if (!(ds->class_names[i] = rt_strdup(cifar10_names[i], err)))
            return NETRT_ELIMIT;
    return NETRT_OK;
}

int rt_cifar_open_dir(rt_dataset *ds, const char *dir, const char *split, int *found,
                      rt_error *err) {
    char *names[MAX_BATCHES];
    int n, test = strcmp(split, "train") != 0;
    *found = 0;
    int code = list_batches(dir, test, names, &n, err);
    if (code == NETRT_OK && n == 0) { /* is the other part there? */
        code = list_batches(dir, !test, names, &n, err);
        if (code == NETRT_OK && n > 0 && strcmp(split, "any") == 0) {
            test = 0;
        } else if (code == NETRT_OK && n > 0) {
            *found = 1;
            free_names(names, n);
            return rt_fail(err, NETRT_EDATA, "%s has no %s", dir,
                           test ? "test_batch.bin" : "data_batch_1.bin");
        }
    }
    if (code != NETRT_OK || n == 0)
        return code;
    *found = 1;
    struct rt_table *t = rt_table_new(ds, &cifar_ops, err);
    code = t ? NETRT_OK : NETRT_ELIMIT;
    if (t) {
        t->planar = 1;
        t->item_bytes = CIFAR_PIXELS;
        t->name = rt_strdup(test ? "test" : "train", err);
        ds->channels = 3;
        ds->height = ds->width = CIFAR_SIDE;
        ds->classes = 10;
        code = t->name ? cifar_names(ds, err) : NETRT_ELIMIT;
    }
    for (int i = 0; i < n && code == NETRT_OK; i++)
        code = append_batch(ds, t, names[i], err);
    free_names(names, n);
    return code;
}
