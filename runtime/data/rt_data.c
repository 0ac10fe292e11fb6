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

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
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
                                              digits_close, NULL};

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

int rt_data_key(const char *uri, const char *key, char *buf, size_t cap) {
    const char *p = uri ? strchr(uri, '?') : NULL;
    size_t n = strlen(key);
    while (p) {
        p++;
        size_t len = strcspn(p, "&");
        if (len > n && strncmp(p, key, n) == 0 && p[n] == '=' && len - n - 1 < cap) {
            memcpy(buf, p + n + 1, len - n - 1);
            buf[len - n - 1] = 0;
            return 1;
        }
        p = strchr(p, '&');
    }
    return 0;
}

static int is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* kind: NULL (found out by looking), "npy", "csv", "ts", "wav" or "text". */
static int open_file(rt_dataset *ds, const char *path, const char *kind, const char *uri,
                     const char *split, const rt_dataset *known, rt_error *err) {
    if (kind ? strcmp(kind, "npy") == 0 : rt_npy_sniff(path))
        return rt_npy_open_file(ds, path, split, known, err);
    if (strcmp(split, "test") == 0 && !known)
        return rt_fail(err, NETRT_EDATA, "%s is a single file: it has no separate test part", path);
    if (!kind && rt_idx_sniff(path))
        return rt_idx_open_file(ds, path, err);
    if (kind ? strcmp(kind, "wav") == 0 : rt_wav_sniff(path))
        return rt_wav_open_file(ds, path, uri, err);
    const char *text = kind ? kind : rt_text_sniff(path);
    if (!text)
        return rt_folder_open_file(ds, path, err);
    if (strcmp(text, "ts") == 0)
        return rt_ts_open_file(ds, path, known, err);
    if (strcmp(text, "text") == 0)
        return rt_seq_open_file(ds, path, uri, known, err);
    return rt_csv_open_file(ds, path, uri, known, err);
}

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* NAME_TRAIN.ts in dir: the one there is, *stem = "DIR/NAME" (room for PATH_MAX); how many there
 * are. */
static int find_series(const char *dir, char *stem) {
    DIR *d = opendir(dir);
    int n = 0;
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL)
        if (ends_with(e->d_name, "_TRAIN.ts")) {
            n++;
            snprintf(stem, PATH_MAX, "%s/%.*s", dir, (int)strlen(e->d_name) - 9, e->d_name);
        }
    if (d)
        closedir(d);
    return n;
}

static const char *const pair_names[][2] = {
    {"train.npz", "test.npz"},     {"x_train.npy", "x_test.npy"},
    {"X_train.npy", "X_test.npy"}, {"train-images.npy", "test-images.npy"},
    {"train.csv", "test.csv"},     {"train.csv", "val.csv"},
    {"train.tsv", "test.tsv"}};
static const char *const series_ends[2] = {"_TRAIN.ts", "_TEST.ts"};

/* Two files that belong together; 0: path is no such thing. */
static int find_pair(const char *path, char *train, char *test) {
    char stem[PATH_MAX];
    struct stat st;
    int folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    for (size_t k = 0; folder && k < sizeof pair_names / sizeof pair_names[0]; k++) {
        snprintf(train, PATH_MAX, "%s/%s", path, pair_names[k][0]);
        snprintf(test, PATH_MAX, "%s/%s", path, pair_names[k][1]);
        /* train.csv goes with test.csv or val.csv: alone it is taken at its last turn */
        if (is_file(train) && (is_file(test) || k != 4))
            return 1;
    }
    if (folder && find_series(path, stem) != 1)
        return 0;
    snprintf(train, PATH_MAX, "%.4000s%s", folder ? stem : path, series_ends[0]);
    snprintf(test, PATH_MAX, "%.4000s%s", folder ? stem : path, series_ends[1]);
    return is_file(train);
}

/* The part wanted of two files; the classes of a test part are those of the training part. */
static int open_pair(rt_dataset *ds, const char *train, const char *test, const char *kind,
                     const char *uri, const char *split, rt_error *err) {
    int second = strcmp(split, "train") != 0 && is_file(test);
    rt_dataset *known = NULL;
    if (strcmp(split, "test") == 0 && !second)
        return rt_fail(err, NETRT_EDATA, "%s has no separate test part: expected %s", uri, test);
    if (!second)
        return open_file(ds, train, kind, uri, "train", NULL, err);
    known = rt_alloc_zero(1, sizeof *known, "data set", err);
    if (known && (known->uri = rt_strdup(train, err)) &&
        open_file(known, train, kind, uri, "train", NULL, err) == 0)
        open_file(ds, test, kind, uri, "test", known, err);
    rt_data_close(known);
    return err->code;
}

static int open_folder(rt_dataset *ds, const char *path, const char *kind, const char *uri,
                       const char *split, rt_error *err) {
    int found = 0, code = NETRT_OK;
    int maps = kind && strcmp(kind, "maps") == 0;
    int cifar = kind && strcmp(kind, "cifar100") == 0;
    if (kind && strcmp(kind, "wav") != 0 && !cifar && !maps)
        return rt_fail(err, NETRT_EDATA,
                       "%s holds no files of the kind %s\n"
                       "help: name the file, or a folder with train.csv, x_train.npy or one "
                       "NAME_TRAIN.ts",
                       path, kind);
    if (!kind)
        code = rt_idx_open_dir(ds, path, split, &found, err);
    if (code == NETRT_OK && !found && (!kind || cifar))
        code = rt_cifar_open_dir(ds, path, split, uri, &found, err);
    if (code == NETRT_OK && !found && (!kind || maps))
        code = rt_maps_open_dir(ds, path, split, uri, &found, err);
    if (code == NETRT_OK && !found && maps)
        return rt_fail(err, NETRT_EDATA,
                       "%s holds no label pictures\n"
                       "  expected  %s/images/X.jpg and %s/labels/X.png, or PASCAL VOC's folders",
                       path, path, path);
    if (code == NETRT_OK && !found && cifar)
        return rt_fail(err, NETRT_EDATA, "%s holds no train.bin and test.bin of CIFAR-100", path);
    if (code == NETRT_OK && !found)
        code = rt_wav_open_dir(ds, path, split, uri, &found, err);
    if (code == NETRT_OK && !found && kind)
        return rt_fail(err, NETRT_EDATA, "%s holds no .wav files", path);
    if (code == NETRT_OK && !found)
        code = rt_folder_open(ds, path, split, err);
    return code;
}

static int open_path(rt_dataset *ds, const char *path, const char *kind, const char *uri,
                     const char *split, rt_error *err) {
    char train[PATH_MAX], test[PATH_MAX];
    struct stat st;
    if (strlen(path) < 4000 && find_pair(path, train, test))
        return open_pair(ds, train, test, kind, uri, split, err);
    if (stat(path, &st) < 0)
        return rt_fail(err, NETRT_EIO,
                       "cannot open data %s: %s\n"
                       "help: a folder, an idx file, a picture, or digits:60000",
                       path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return open_folder(ds, path, kind, uri, split, err);
    if (!S_ISREG(st.st_mode))
        return rt_fail(err, NETRT_EIO, "cannot open data %s: neither a file nor a folder", path);
    return open_file(ds, path, kind, uri, split, NULL, err);
}

/* "csv:PATH?keys": the kind, and PATH without the keys in new memory; else the whole is a path. */
static char *split_uri(const char *uri, const char **kind, rt_error *err) {
    static const char *const kinds[] = {"csv", "npy", "ts", "wav", "text", "cifar100", "maps", "any"};
    *kind = NULL;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t n = strlen(kinds[k]);
        if (strncmp(uri, kinds[k], n) != 0 || uri[n] != ':')
            continue;
        *kind = strcmp(kinds[k], "any") == 0 ? NULL : kinds[k];
        return rt_strndup(uri + n + 1, strcspn(uri + n + 1, "?"), err);
    }
    return rt_strdup(uri, err);
}

static int open_uri(rt_dataset *ds, const char *uri, const char *split, rt_error *err) {
    const char *kind;
    char *path = split_uri(uri, &kind, err);
    if (!path)
        return NETRT_ELIMIT;
    /* keys count only behind a kind: a file may be called "a?b=c" */
    const char *keys = strlen(path) == strlen(uri) ? NULL : uri;
    if (keys && rt_hold_asked(keys)) {
        rt_dataset *whole = rt_alloc_zero(1, sizeof *whole, "data set", err);
        if (whole && (whole->uri = rt_strdup(path, err)) &&
            open_path(whole, path, kind, keys, "train", err) == NETRT_OK)
            rt_hold_open(ds, whole, split, err);
        else
            rt_data_close(whole);
    } else
        open_path(ds, path, kind, keys ? keys : path, split, err);
    rt_free(path);
    return err->code;
}

int rt_data_open(const char *uri, const char *split, rt_dataset **out, rt_error *err) {
    *out = NULL;
    int bare = strcmp(split, "bare") == 0;
    split = bare ? "train" : split;
    if (strcmp(split, "train") != 0 && strcmp(split, "test") != 0 && strcmp(split, "any") != 0)
        return rt_fail(err, NETRT_EUSAGE, "unknown split '%s': train, bare, test or any", split);
    rt_dataset *ds = rt_alloc_zero(1, sizeof *ds, "data set", err);
    if (!ds)
        return NETRT_ELIMIT;
    ds->bare = bare;
    ds->uri = rt_strdup(uri, err);
    int code = NETRT_ELIMIT;
    if (ds->uri) {
        if (strncmp(uri, "digits:", 7) == 0)
            code = digits_open(ds, uri + 7, split, err);
        else
            code = open_uri(ds, uri, split, err);
    }
    if (code != NETRT_OK) {
        rt_data_close(ds);
        return code;
    }
    *out = ds;
    return NETRT_OK;
}

int rt_data_open_files(const char *const *names, int64_t n, rt_dataset **out, rt_error *err) {
    *out = NULL;
    rt_dataset *ds = rt_alloc_zero(1, sizeof *ds, "data set", err);
    char **own = rt_alloc_zero((size_t)n, sizeof *own, "file list", err);
    int code = NETRT_OK;
    if (ds)
        ds->uri = rt_strdup("pictures", err);
    for (int64_t i = 0; own && i < n; i++) {
        rt_image probe = {0}; /* a wrong file is refused when it is named, not later */
        if (code == NETRT_OK)
            code = rt_image_read(&probe, names[i], err);
        rt_image_free(&probe);
        own[i] = rt_strdup(names[i], err);
        code = own[i] ? code : NETRT_ELIMIT;
    }
    if (!ds || !own || !ds->uri)
        code = NETRT_ELIMIT;
    if (code == NETRT_OK) {
        code = rt_folder_open_list(ds, "", own, n, NULL, err); /* takes the names over */
    } else {
        for (int64_t i = 0; own && i < n; i++)
            rt_free(own[i]);
    }
    rt_free(own);
    if (code == NETRT_OK)
        *out = ds;
    else if (ds)
        rt_data_close(ds);
    return code;
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
    if (ds->class_names && i >= 0 && i < ds->classes && ds->class_names[i])
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

int rt_data_real(const rt_dataset *ds) {
    return ds->real != NULL;
}

int rt_data_fit(rt_dataset *ds, int c, int h, int w, const char *spec_uri, rt_error *err) {
    return ds->real->fit(ds, c, h, w, spec_uri, err);
}

int rt_data_values(const rt_dataset *ds, int64_t i, int c, int h, int w, float *chw,
                   rt_error *err) {
    if (i < 0 || i >= ds->count)
        return rt_fail(err, NETRT_EBUG, "sample %lld of %lld", (long long)i, (long long)ds->count);
    return ds->real->values(ds, i, c, h, w, chw, err);
}

int rt_data_sound(const rt_dataset *ds, int64_t i, int c, int h, int w, double seconds, double gain,
                  float *chw, rt_error *err) {
    if (!ds->real->sound || i < 0 || i >= ds->count)
        return rt_data_values(ds, i, c, h, w, chw, err);
    return ds->real->sound(ds, i, c, h, w, seconds, gain, chw, err);
}

int rt_data_mapped(const rt_dataset *ds, int *ignore) {
    *ignore = ds->ignore;
    return ds->ops->map != NULL;
}

int rt_data_map(const rt_dataset *ds, int64_t i, rt_image *map, rt_error *err) {
    if (i < 0 || i >= ds->count || !ds->ops->map)
        return rt_fail(err, NETRT_EBUG, "map of sample %lld", (long long)i);
    return ds->ops->map(ds, i, map, err);
}

float rt_data_outside(const rt_dataset *ds) {
    return ds->outside;
}

int rt_real_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    int c = ds->channels, h = ds->height, w = ds->width, rows = 0;
    if (__builtin_mul_overflow(c, h, &rows) || rt_image_reserve(img, w, rows, 1, err))
        return err->code ? err->code
                         : rt_fail(err, NETRT_ELIMIT, "%s: too large a picture", ds->uri);
    int64_t n = (int64_t)rows * w;
    float *v = rt_alloc((size_t)n, sizeof *v, "sample", err);
    if (v && rt_data_values(ds, i, c, h, w, v, err) == NETRT_OK) {
        float lo = v[0], hi = v[0];
        for (int64_t k = 1; k < n; k++) {
            lo = fminf(lo, v[k]);
            hi = fmaxf(hi, v[k]);
        }
        for (int64_t k = 0; k < n; k++)
            img->data[k] = (unsigned char)(hi > lo ? ((double)v[k] - (double)lo) /
                                                             ((double)hi - (double)lo) * 255.0 +
                                                         0.5
                                                   : 0.0);
    }
    rt_free(v);
    return err->code;
}

const char *rt_data_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    return ds->ops->name(ds, i, buf, cap);
}
