/* rt_data.c: opening a data source by its name, and the drawn digits (see rt_data.h).
 *
 * ensures: *out is a complete data set or NULL; what is at a path is decided by content, and a tree
 * that is none of the known ones gets a message that shows them.
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_digits.h"
#include "rt_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DIGITS ((int64_t)1 << 40)

/* --- digits ------------------------------------------------------------------------------------
 */

static int digits_label(const rt_dataset *ds, int64_t i) {
    return rt_digits_label(ds->state, i);
}

static int digits_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    int code = rt_image_reserve(img, RT_DIGITS_SIDE, RT_DIGITS_SIDE, 1, err);
    if (code == NETRT_OK)
        rt_digits_draw(ds->state, i, img->data);
    return code;
}

static const char *digits_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    snprintf(buf, cap, "%s[%lld]", ds->uri, (long long)i);
    return buf;
}

static void digits_close(rt_dataset *ds) {
    rt_free(ds->state);
}

static const struct rt_data_ops digits_ops = {"digits", digits_label, digits_item, digits_name,
                                              digits_close};

/* Decimal number 0..max at *p; advances *p.  Returns -1 when there is none or it is too large. */
static int64_t decimal(const char **p, int64_t max) {
    if (**p < '0' || **p > '9')
        return -1;
    int64_t v = 0;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        int digit = **p - '0';
        if (v > (max - digit) / 10)
            return -1;
        v = v * 10 + digit;
    }
    return v;
}

static int digits_open(rt_dataset *ds, const char *args, const char *split, rt_error *err) {
    const char *p = args;
    int64_t count = decimal(&p, MAX_DIGITS), seed = 1;
    if (count > 0 && *p == ':') {
        p++;
        seed = decimal(&p, INT64_MAX);
    }
    if (count < 1 || seed < 0 || *p)
        return rt_fail(err, NETRT_EUSAGE,
                       "cannot read data source digits:%s\n"
                       "help: write digits:COUNT or digits:COUNT:SEED, for example digits:60000:7",
                       args);
    int test = strcmp(split, "train") != 0;
    rt_digits *d = rt_alloc(1, sizeof *d, "digits", err);
    if (!d)
        return NETRT_ELIMIT;
    *d = rt_digits_make((uint64_t)seed, test);
    ds->state = d;
    ds->ops = &digits_ops;
    ds->count = test ? (count / 6 > 10 ? count / 6 : 10) : count;
    ds->classes = 10;
    ds->channels = 1;
    ds->height = ds->width = RT_DIGITS_SIDE;
    return NETRT_OK;
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int open_path(rt_dataset *ds, const char *path, const char *split, rt_error *err) {
    struct stat st;
    if (stat(path, &st) < 0)
        return rt_fail(err, NETRT_EIO,
                       "cannot open data %s: %s\n"
                       "help: a folder, an idx file, a picture, or digits:60000",
                       path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        int found = 0;
        int code = rt_idx_open_dir(ds, path, split, &found, err);
        if (code == NETRT_OK && !found)
            code = rt_cifar_open_dir(ds, path, split, &found, err);
        if (code == NETRT_OK && !found)
            code = rt_folder_open(ds, path, split, err);
        return code;
    }
    if (!S_ISREG(st.st_mode))
        return rt_fail(err, NETRT_EIO, "cannot open data %s: neither a file nor a folder", path);
    if (strcmp(split, "test") == 0)
        return rt_fail(err, NETRT_EDATA, "%s is a single file: it has no separate test part", path);
    return rt_idx_sniff(path) ? rt_idx_open_file(ds, path, err)
                              : rt_folder_open_file(ds, path, err);
}

int rt_data_open(const char *uri, const char *split, rt_dataset **out, rt_error *err) {
    *out = NULL;
    if (strcmp(split, "train") != 0 && strcmp(split, "test") != 0 && strcmp(split, "any") != 0)
        return rt_fail(err, NETRT_EUSAGE, "unknown split '%s': train, test or any", split);
    rt_dataset *ds = rt_alloc_zero(1, sizeof *ds, "data set", err);
    if (!ds)
        return NETRT_ELIMIT;
    ds->uri = rt_strdup(uri, err);
    int code = NETRT_ELIMIT;
    if (ds->uri) {
        if (strncmp(uri, "digits:", 7) == 0)
            code = digits_open(ds, uri + 7, split, err);
        else
            code = open_path(ds, uri, split, err);
    }
    if (code != NETRT_OK) {
        rt_data_close(ds);
        return code;
    }
    *out = ds;
    return NETRT_OK;
}

void rt_data_close(rt_dataset *ds) {
    if (!ds)
        return;
    if (ds->ops && ds->state)
        ds->ops->close(ds);
    if (ds->class_names)
        for (int i = 0; i < ds->classes; i++)
            rt_free(ds->class_names[i]);
    rt_free(ds->class_names);
    rt_free(ds->uri);
    rt_free(ds);
}

/* --- questions ---------------------------------------------------------------------------------
 */

int64_t rt_data_count(const rt_dataset *ds) {
    return ds->count;
}

int rt_data_classes(const rt_dataset *ds) {
    return ds->classes;
}

const char *rt_data_class_name(const rt_dataset *ds, int i) {
    static const char *const digit[10] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    static _Thread_local char number[16];
    if (ds->class_names && i >= 0 && i < ds->classes)
        return ds->class_names[i];
    if (i >= 0 && i < 10)
        return digit[i];
    snprintf(number, sizeof number, "%d", i);
    return number;
}

const char *rt_data_kind(const rt_dataset *ds) {
    return ds->ops->kind;
}

const char *rt_data_uri(const rt_dataset *ds) {
    return ds->uri;
}

int rt_data_shape(const rt_dataset *ds, int *channels, int *height, int *width) {
    *channels = ds->channels;
    *height = ds->height;
    *width = ds->width;
    return ds->channels > 0;
}

int rt_data_label(const rt_dataset *ds, int64_t i) {
    return i >= 0 && i < ds->count ? ds->ops->label(ds, i) : -1;
}

int rt_data_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    if (i < 0 || i >= ds->count)
        return rt_fail(err, NETRT_EBUG, "sample %lld of %lld", (long long)i, (long long)ds->count);
    return ds->ops->item(ds, i, img, err);
}

const char *rt_data_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    return ds->ops->name(ds, i, buf, cap);
}
