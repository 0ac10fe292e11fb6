/* rt_cifar.c: CIFAR in its binary form: records of label bytes and 3 x 32 x 32 bytes in planes.
 *
 * CIFAR-10: data_batch_*.bin and test_batch*.bin, one label byte of 10.  CIFAR-100: train.bin and
 * test.bin, a coarse label of 20 and a fine one of 100; the key labels=coarse takes the first.
 * ensures: each batch is a whole number of records and every label in range, else EDATA.
 * Format: A. Krizhevsky's CIFAR page, "binary version".
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_table.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CIFAR_SIDE = 32, CIFAR_PIXELS = 3 * CIFAR_SIDE * CIFAR_SIDE, MAX_BATCHES = 64 };

/* What the records of a set hold before their pixels. */
struct kind {
    const char *name, *names_file;
    int labels, at, classes; /* label bytes, which of them counts */
    int other;               /* classes of the label that does not count */
};
static const struct kind cifar10 = {"CIFAR-10", NULL, 1, 0, 10, 0},
                         cifar100_fine = {"CIFAR-100", "fine_label_names.txt", 2, 1, 100, 20},
                         cifar100_coarse = {"CIFAR-100", "coarse_label_names.txt", 2, 0, 20, 100};

static const struct rt_data_ops cifar_ops = {"cifar",       rt_table_label, rt_table_item,
                                             rt_table_name, rt_table_close, NULL};

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

static int append_batch(rt_dataset *ds, struct rt_table *t, const struct kind *kind,
                        const char *path, rt_error *err) {
    size_t record = (size_t)kind->labels + CIFAR_PIXELS;
    unsigned char *data;
    size_t size;
    int code = rt_io_read_file(path, RT_IO_MAX_FILE, &data, &size, err);
    if (code != NETRT_OK)
        return code;
    size_t n = size / record, have = (size_t)ds->count;
    if (n == 0 || size % record != 0)
        code = rt_fail(err, NETRT_EDATA,
                       "%s is truncated: %zu bytes are no whole number of %zu-byte %s records",
                       path, size, record, kind->name);
    unsigned char *pixels = NULL, *labels = NULL;
    if (code == NETRT_OK && (pixels = rt_realloc(t->pixels, have + n, CIFAR_PIXELS, path, err)))
        t->pixels = pixels;
    if (pixels && (labels = rt_realloc(t->labels, have + n, 1, path, err)))
        t->labels = labels;
    if (code == NETRT_OK && !labels)
        code = NETRT_ELIMIT;
    for (size_t i = 0; code == NETRT_OK && i < n; i++) {
        const unsigned char *p = data + i * record;
        int label = p[kind->at], other = kind->labels > 1 ? p[1 - kind->at] : -1;
        if (label >= kind->classes || other >= kind->other)
            code = rt_fail(err, NETRT_EDATA, "%s: record %zu has label %d, %s has 0 to %d", path, i,
                           label >= kind->classes ? label : other, kind->name,
                           (label >= kind->classes ? kind->classes : kind->other) - 1);
        labels[have + i] = (unsigned char)label;
        memcpy(pixels + (have + i) * CIFAR_PIXELS, p + kind->labels, CIFAR_PIXELS);
    }
    if (code == NETRT_OK)
        ds->count += (int64_t)n;
    rt_free(data);
    return code;
}

/* Names from a file beside the data, one a line, if it has one for each class. */
static int read_names(rt_dataset *ds, const char *dir, const struct kind *kind, rt_error *err) {
    char path[PATH_MAX], *names[100];
    unsigned char *text = NULL;
    size_t size;
    rt_error ignored = {0};
    int n = 0;
    if (snprintf(path, sizeof path, "%s/%s", dir, kind->names_file) >= (int)sizeof path ||
        rt_io_read_file(path, 1 << 16, &text, &size, &ignored))
        return NETRT_OK;
    for (char *p = (char *)text; *p && n < kind->classes;) {
        size_t len = strcspn(p, "\r\n");
        if (len > 0)
            names[n++] = p;
        p += len;
        if (*p)
            *p++ = 0;
    }
    if (n == kind->classes)
        ds->class_names = rt_alloc_zero((size_t)n, sizeof(char *), "class names", err);
    for (int i = 0; ds->class_names && i < n; i++)
        ds->class_names[i] = rt_strdup(names[i], err);
    rt_free(text);
    return err->code;
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

static int open_batches(rt_dataset *ds, const struct kind *kind, const char *dir, int test,
                        char **names, int n, rt_error *err) {
    struct rt_table *t = rt_table_new(ds, &cifar_ops, err);
    if (!t)
        return err->code;
    t->planar = 1;
    t->item_bytes = CIFAR_PIXELS;
    t->name = rt_strdup(test ? "test" : "train", err);
    ds->channels = 3;
    ds->height = ds->width = CIFAR_SIDE;
    ds->classes = kind->classes;
    int code = !t->name           ? NETRT_ELIMIT
               : kind->names_file ? read_names(ds, dir, kind, err)
                                  : cifar_names(ds, err);
    for (int i = 0; i < n && code == NETRT_OK; i++)
        code = append_batch(ds, t, kind, names[i], err);
    return code;
}

/* 1: a file of CIFAR-100's size; its absence is no error. */
static int is_cifar100(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
           st.st_size % (2 + CIFAR_PIXELS) == 0;
}

static int open_100(rt_dataset *ds, const char *dir, const char *split, const char *uri, int *found,
                    rt_error *err) {
    char train[PATH_MAX], test[PATH_MAX], labels[16] = "fine";
    int second = strcmp(split, "train") != 0;
    if (strlen(dir) > PATH_MAX - 16)
        return NETRT_OK;
    snprintf(train, sizeof train, "%.4000s/train.bin", dir);
    snprintf(test, sizeof test, "%.4000s/test.bin", dir);
    if (!is_cifar100(train) && !is_cifar100(test))
        return NETRT_OK;
    *found = 1;
    rt_data_key(uri, "labels", labels, sizeof labels);
    if (strcmp(labels, "fine") != 0 && strcmp(labels, "coarse") != 0)
        return rt_fail(err, NETRT_EUSAGE, "labels = %s: fine or coarse", labels);
    if (second && access(test, R_OK) != 0 && strcmp(split, "any") == 0)
        second = 0;
    char *name = second ? test : train;
    if (access(name, R_OK) != 0)
        return rt_fail(err, NETRT_EDATA, "%s has no %s", dir, second ? "test.bin" : "train.bin");
    return open_batches(ds, labels[0] == 'f' ? &cifar100_fine : &cifar100_coarse, dir, second,
                        &name, 1, err);
}

int rt_cifar_open_dir(rt_dataset *ds, const char *dir, const char *split, const char *uri,
                      int *found, rt_error *err) {
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
    if (code != NETRT_OK)
        return code;
    if (n == 0)
        return open_100(ds, dir, split, uri, found, err);
    *found = 1;
    code = open_batches(ds, &cifar10, dir, test, names, n, err);
    free_names(names, n);
    return code;
}
