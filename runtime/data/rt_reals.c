/* rt_reals.c: tables of floating point samples (rt_reals.h) and what all real-valued sources share.
 *
 * requires: sizes as large as a file can claim.  ensures: a table is allocated only after the
 * product of its sizes was checked; values handed out are finite.
 */
#define _GNU_SOURCE
#include "rt_reals.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REALS ((int64_t)1 << 32)
enum { MAX_CLASSES = 65536 };

static int reals_label(const rt_dataset *ds, int64_t i) {
    const struct rt_reals *t = ds->state;
    return ds->classes > 0 ? t->label[i] : -1;
}

static const char *reals_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    const struct rt_reals *t = ds->state;
    if (t->line)
        snprintf(buf, cap, "%s:%d", t->name, t->line[i]);
    else
        snprintf(buf, cap, "%s[%lld]", t->name, (long long)i);
    return buf;
}

static void reals_close(rt_dataset *ds) {
    struct rt_reals *t = ds->state;
    rt_free(t->values);
    rt_free(t->label);
    rt_free(t->steps);
    rt_free(t->line);
    rt_free(t->bad);
    rt_free(t->name);
    rt_free(t);
}

static int reals_values(const rt_dataset *ds, int64_t i, int c, int h, int w, float *chw,
                        rt_error *err) {
    static const char *const why[] = {"",
                                      "not the number of columns that the first row has",
                                      "a field is no finite number",
                                      "a class that the training part does not have",
                                      "a letter outside the alphabet",
                                      "a series without values"};
    const struct rt_reals *t = ds->state;
    char name[300];
    if (t->bad[i])
        return rt_fail(err, NETRT_EDATA, "%s: %s", reals_name(ds, i, name, sizeof name),
                       why[t->bad[i]]);
    const float *src = t->values + i * t->size;
    if ((int64_t)c * h * w != t->size)
        return rt_fail(err, NETRT_EBUG, "%s: %d x %d x %d numbers of %lld", t->name, c, h, w,
                       (long long)t->size);
    int64_t plane = t->size / c;
    for (int64_t k = 0; k < t->size; k++) {
        float v = t->channels_last ? src[k % plane * c + k / plane] : src[k];
        if (!isfinite(v))
            return rt_fail(err, NETRT_EDATA, "%s: number %lld is not finite",
                           reals_name(ds, i, name, sizeof name), (long long)k);
        chw[k] = v;
    }
    return NETRT_OK;
}

static int reals_fit(rt_dataset *ds, int c, int h, int w, const char *spec_uri, rt_error *err) {
    const struct rt_reals *t = ds->state;
    (void)spec_uri;
    if ((int64_t)c * h * w == t->size && (!t->channels_last || c == t->c))
        return NETRT_OK;
    return rt_fail(err, NETRT_EDATA,
                   "%s: samples have %lld numbers, %d x %d x %d, the net's input is %d x %d x %d\n"
                   "help: declare the input as f32[%d, %d, %d]",
                   t->name, (long long)t->size, t->c, t->h, t->w, c, h, w, t->c, t->h, t->w);
}

/* The classes of a sample's steps, one row. */
static int reals_map(const rt_dataset *ds, int64_t i, rt_image *map, rt_error *err) {
    const struct rt_reals *t = ds->state;
    if (rt_image_reserve(map, (int)t->nsteps, 1, 1, err) == NETRT_OK)
        memcpy(map->data, t->steps + i * t->nsteps, (size_t)t->nsteps);
    return err->code;
}

int rt_reals_steps(rt_dataset *ds, int64_t nsteps, rt_error *err) {
    static const struct rt_data_ops ops = {"npy",         reals_label, rt_real_item,
                                           reals_name,    reals_close, reals_map};
    struct rt_reals *t = ds->state;
    int64_t all;
    if (nsteps > RT_IMAGE_MAX_SIDE || __builtin_mul_overflow(ds->count, nsteps, &all) ||
        all > MAX_REALS)
        return rt_fail(err, NETRT_ELIMIT, "%s: %lld labels of each sample are too many", t->name,
                       (long long)nsteps);
    t->steps = rt_alloc((size_t)all, 1, "labels", err);
    t->nsteps = nsteps;
    ds->ops = &ops;
    ds->ignore = 255;
    return err->code;
}

static const struct rt_real_ops reals_real = {reals_values, reals_fit, NULL};

struct rt_reals *rt_reals_new(rt_dataset *ds, const char *kind, const char *path, int64_t rows,
                              int c, int h, int w, rt_error *err) {
    static const struct rt_data_ops ops[] = {
        {"csv", reals_label, rt_real_item, reals_name, reals_close, NULL},
        {"npy", reals_label, rt_real_item, reals_name, reals_close, NULL},
        {"ts", reals_label, rt_real_item, reals_name, reals_close, NULL},
        {"text", reals_label, rt_real_item, reals_name, reals_close, NULL}};
    int64_t size = 0, all = 0;
    if (rows < 1 || c < 1 || h < 1 || w < 1)
        rt_fail(err, NETRT_EDATA, "%s holds no samples", path);
    else if (__builtin_mul_overflow((int64_t)c * h, (int64_t)w, &size) ||
             __builtin_mul_overflow(size, rows, &all) || all > MAX_REALS)
        rt_fail(err, NETRT_ELIMIT, "%s: %lld samples of %d x %d x %d numbers are too many", path,
                (long long)rows, c, h, w);
    if (err->code)
        return NULL;
    struct rt_reals *t = rt_alloc_zero(1, sizeof *t, "data table", err);
    if (!t)
        return NULL;
    ds->state = t;
    for (size_t k = 0; k < 4; k++)
        if (strcmp(ops[k].kind, kind) == 0)
            ds->ops = &ops[k];
    ds->real = &reals_real;
    const char *slash = strrchr(path, '/');
    char clean[256];
    t->name = rt_strdup(rt_clean_name(clean, sizeof clean, slash ? slash + 1 : path), err);
    t->values = rt_alloc_zero((size_t)all, sizeof(float), "samples", err);
    t->label = rt_alloc_zero((size_t)rows, sizeof *t->label, "labels", err);
    t->bad = rt_alloc_zero((size_t)rows, 1, "row states", err);
    t->size = size;
    t->room = rows;
    t->c = ds->channels = c;
    t->h = ds->height = h;
    t->w = ds->width = w;
    ds->count = rows;
    return t->name && t->values && t->label && t->bad ? t : NULL;
}

/* ---- classes ---- */

/* 0 .. 2^31 - 1, with a sign allowed; the value is *out. */
static int whole(const char *s, long *out) {
    char *end;
    if ((*s < '0' || *s > '9') && *s != '-' && *s != '+')
        return 0;
    double v = strtod(s, &end); /* labels such as 1.0 are usual in exported tables */
    if (end == s || *end || !(v >= -2147483647 && v <= 2147483647) || v != floor(v))
        return 0;
    *out = (long)v;
    return 1;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_number(const void *a, const void *b) {
    long x = 0, y = 0;
    whole(*(const char *const *)a, &x);
    whole(*(const char *const *)b, &y);
    return (x > y) - (x < y);
}

/* The class number of s among sorted names, -1: none. */
static int32_t find_class(const char *s, char *const *name, int n, int numbers) {
    char *const *hit = bsearch(&s, name, (size_t)n, sizeof *name, numbers ? by_number : by_text);
    return hit ? (int32_t)(hit - name) : -1;
}

static int all_whole(char *const *name, int64_t n) {
    long x;
    for (int64_t i = 0; i < n; i++)
        if (!whole(name[i], &x))
            return 0;
    return n > 0;
}

static int linear_class(const char *s, const rt_dataset *known) {
    for (int k = 0; k < known->classes; k++)
        if (strcmp(s, known->class_names[k]) == 0)
            return k;
    return -1;
}

static void use_known(struct rt_reals *t, const char *const *label, int64_t n,
                      const rt_dataset *known) {
    for (int64_t i = 0; i < n; i++) {
        long x = -1;
        if (t->bad[i])
            continue;
        if (known->class_names)
            x = linear_class(label[i], known);
        else if (!whole(label[i], &x) || x >= known->classes)
            x = -1;
        t->label[i] = x < 0 ? 0 : (int32_t)x;
        if (x < 0)
            t->bad[i] = RT_ROW_CLASS;
    }
}

static int keep_names(rt_dataset *ds, char *const *name, int n, rt_error *err) {
    ds->class_names = rt_alloc_zero((size_t)n, sizeof *name, "class names", err);
    for (int k = 0; ds->class_names && k < n && !err->code; k++)
        ds->class_names[k] = rt_strdup(name[k], err);
    return err->code;
}

/* Distinct texts of the good rows, sorted, into name (room for count); returns how many. */
static int64_t distinct(const struct rt_reals *t, const char *const *label, int64_t count,
                        char **name, int *numbers) {
    int64_t n = 0, kept = 0;
    for (int64_t i = 0; i < count; i++)
        if (!t->bad[i])
            name[n++] = (char *)(uintptr_t)label[i];
    *numbers = all_whole(name, n);
    int (*order)(const void *, const void *) = *numbers ? by_number : by_text;
    if (n > 1)
        qsort(name, (size_t)n, sizeof *name, order);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || order(&name[i], &name[kept - 1]) != 0)
            name[kept++] = name[i];
    return kept;
}

int rt_reals_classes(rt_dataset *ds, const char *const *label, const rt_dataset *known,
                     rt_error *err) {
    struct rt_reals *t = ds->state;
    int numbers;
    long first = 1, last = 0;
    if (known && known->classes > 0) {
        use_known(t, label, ds->count, known);
        ds->classes = known->classes;
        return known->class_names ? keep_names(ds, known->class_names, known->classes, err)
                                  : NETRT_OK;
    }
    char **name = rt_alloc((size_t)ds->count, sizeof *name, "class names", err);
    if (!name)
        return NETRT_ELIMIT;
    int64_t n = distinct(t, label, ds->count, name, &numbers);
    if (n > MAX_CLASSES)
        rt_fail(err, NETRT_EDATA,
                "%s: %lld different labels: more than %d classes\n"
                "help: name the column with the class, csv(\"..\", label = \"NAME\")",
                t->name, (long long)n, MAX_CLASSES);
    if (n > 0 && numbers) {
        whole(name[0], &first);
        whole(name[n - 1], &last);
    }
    int direct = numbers && n > 0 && first == 0 && last < MAX_CLASSES;
    for (int64_t i = 0; i < ds->count && !err->code; i++) {
        long x = 0;
        if (t->bad[i])
            continue;
        if (direct)
            whole(label[i], &x);
        else
            x = find_class(label[i], name, (int)n, numbers);
        t->label[i] = (int32_t)x;
    }
    if (!err->code && !direct && n > 0)
        keep_names(ds, name, (int)n, err);
    if (!err->code)
        ds->classes = direct ? (int)last + 1 : (int)n;
    if (err->code && ds->class_names) { /* closing reads as many names as there are classes */
        for (int k = 0; k < (int)n; k++)
            rt_free(ds->class_names[k]);
        rt_free(ds->class_names);
        ds->class_names = NULL;
    }
    rt_free(name);
    return err->code;
}

int rt_reals_list_classes(rt_dataset *ds, const char *path, const char *const *label, int *number,
                          const rt_dataset *known, rt_error *err) {
    rt_dataset table = {0}; /* thrown away afterwards */
    struct rt_reals *r = rt_reals_new(&table, "csv", path, ds->count, 1, 1, 1, err);
    if (r && rt_reals_classes(&table, label, known, err) == NETRT_OK) {
        for (int64_t i = 0; i < ds->count; i++)
            if (r->bad[i])
                rt_fail(err, NETRT_EDATA, "%s: class '%.100s' is not in the training part", path,
                        label[i]);
            else
                number[i] = r->label[i];
    }
    if (table.state)
        table.ops->close(&table);
    ds->classes = table.classes;
    ds->class_names = table.class_names;
    return err->code;
}

int rt_reals_number(const char *s, float *out) {
    char *end;
    size_t n = strspn(s, "0123456789+-.eE");
    if (n == 0 || s[n])
        return 0;
    *out = strtof(s, &end);
    return end == s + n && isfinite(*out);
}
