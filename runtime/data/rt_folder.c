/* rt_folder.c: pictures in folders: one sub-folder per class, a flat folder, or a single file.
 *
 * ensures: class numbers are the ranks of the folder names in byte order; with a train/test layout
 * they come from train/, so that a class missing in test/ does not shift the others; files are in
 * byte order too, whatever the file system says.  Pictures are decoded when asked for.
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MAX_FILES ((int64_t)10000000)

/* A growing list of owned strings. */
struct names {
    char **at;
    int64_t n, cap;
};

struct folder {
    char *root;         /* "" for a single file */
    struct names files; /* paths below root */
    int *label;         /* NULL: none */
};

static void names_free(struct names *l) {
    for (int64_t i = 0; i < l->n; i++)
        rt_free(l->at[i]);
    rt_free(l->at);
    *l = (struct names){0};
}

/* Takes over s (which may be NULL after a failed allocation). */
static int names_add(struct names *l, char *s, rt_error *err) {
    if (!s)
        return NETRT_ELIMIT;
    if (l->n >= MAX_FILES) {
        rt_free(s);
        return rt_fail(err, NETRT_ELIMIT, "more than %lld files", (long long)MAX_FILES);
    }
    if (l->n == l->cap) {
        int64_t cap = l->cap ? l->cap * 2 : 64;
        char **at = rt_realloc(l->at, (size_t)cap, sizeof *at, "file list", err);
        if (!at) {
            rt_free(s);
            return NETRT_ELIMIT;
        }
        l->at = at;
        l->cap = cap;
    }
    l->at[l->n++] = s;
    return NETRT_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_sort(struct names *l) {
    if (l->n > 1)
        qsort(l->at, (size_t)l->n, sizeof l->at[0], by_name);
}

/* "a/b" in new memory; a may be empty. */
static char *join(const char *a, const char *b, rt_error *err) {
    size_t n = strlen(a), cap = n + strlen(b) + 2;
    char *s = rt_alloc(cap, 1, "file name", err);
    if (s)
        snprintf(s, cap, "%s%s%s", a, n && a[n - 1] != '/' ? "/" : "", b);
    return s;
}

static int is_directory(const char *dir, const char *name) {
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && n < (int)sizeof path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* By the usual endings, else by the first bytes: a picture called "scan0001" counts, labels.txt
 * does not.  What the bytes are is decided again when the picture is read. */
static int is_picture(const char *dir, const char *name) {
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".pnm"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t m = strlen(endings[i]);
        if (n > m && strcasecmp(name + n - m, endings[i]) == 0)
            return 1;
    }
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", dir, name);
    unsigned char head[12];
    if (len <= 0 || len >= (int)sizeof path)
        return 0;
    size_t there = rt_io_head(path, head, sizeof head);
    return there > 0 && rt_image_sniff(head, there) != RT_FORMAT_UNKNOWN;
}

/* Sub-folders and pictures of dir, sorted; either list may be NULL.  Hidden names are skipped. */
static int list_dir(const char *dir, struct names *folders, struct names *pictures, rt_error *err) {
    DIR *d = opendir(dir);
    if (!d)
        return rt_fail(err, NETRT_EIO, "cannot read folder %s: %s", dir, strerror(errno));
    int code = NETRT_OK;
    struct dirent *e;
    while (code == NETRT_OK && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        int folder = e->d_type == DT_DIR;
        if (e->d_type == DT_LNK || e->d_type == DT_UNKNOWN)
            folder = is_directory(dir, e->d_name);
        if (folder && folders)
            code = names_add(folders, rt_strdup(e->d_name, err), err);
        else if (!folder && pictures && is_picture(dir, e->d_name))
            code = names_add(pictures, rt_strdup(e->d_name, err), err);
    }
    closedir(d);
    if (folders)
        names_sort(folders);
    if (pictures)
        names_sort(pictures);
    return code;
}

/* --- operations ----------------------------------------------------------------------------------
 */

static int folder_label(const rt_dataset *ds, int64_t i) {
    const struct folder *f = ds->state;
    return f->label ? f->label[i] : -1;
}

static const char *folder_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    const struct folder *f = ds->state;
    return rt_clean_name(buf, cap, f->files.at[i]);
}

static int folder_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    const struct folder *f = ds->state;
    const char *file = f->files.at[i];
    char *path = join(file[0] == '/' ? "" : f->root, file, err), shown[512];
    if (!path)
        return NETRT_ELIMIT;
    unsigned char *data;
    size_t size;
    int code = rt_io_read_file(path, RT_IMAGE_MAX_BYTES, &data, &size, err);
    if (code == NETRT_OK)
        code = rt_image_decode(img, data, size, rt_clean_name(shown, sizeof shown, path), err);
    rt_free(data);
    rt_free(path);
    return code;
}

static void folder_close(rt_dataset *ds) {
    struct folder *f = ds->state;
    names_free(&f->files);
    rt_free(f->root);
    rt_free(f->label);
    rt_free(f);
}

static const struct rt_data_ops folder_ops = {"folder", folder_label, folder_item, folder_name,
                                              folder_close, NULL};

static struct folder *new_folder(rt_dataset *ds, const char *root, rt_error *err) {
    struct folder *f = rt_alloc_zero(1, sizeof *f, "file list", err);
    ds->state = f;
    ds->ops = &folder_ops;
    if (f && !(f->root = rt_strdup(root, err)))
        return NULL; /* ds owns f and releases it */
    return f;
}

/* --- opening -------------------------------------------------------------------------------------
 */

/* Where the two parts live; NULL where a part does not exist. */
struct parts {
    char *train, *test;
};

static int find_parts(const char *dir, const struct names *folders, struct parts *parts,
                      rt_error *err) {
    static const char *const test_names[] = {"test", "val", "valid", "validation"};
    const char *train = NULL, *test = NULL;
    for (int64_t i = 0; i < folders->n; i++)
        if (strcmp(folders->at[i], "train") == 0)
            train = "train";
    for (size_t k = 0; k < 4 && !test; k++)
        for (int64_t i = 0; i < folders->n; i++)
            if (strcmp(folders->at[i], test_names[k]) == 0)
                test = test_names[k];
    *parts = (struct parts){0};
    /* A class may be called "train" (beside "bus"): alone it counts as a part only when nothing
     * else is there. */
    if (!train || (!test && folders->n > 1))
        return NETRT_OK;
    parts->train = join(dir, train, err);
    parts->test = test ? join(dir, test, err) : NULL;
    return parts->train && (parts->test || !test) ? NETRT_OK : NETRT_ELIMIT;
}

static int no_classes(const char *dir, int64_t pictures, rt_error *err) {
    return rt_fail(err, NETRT_EDATA,
                   "no class folders in %s (found %lld pictures directly inside)\n"
                   "  expected  %s/<class>/<image>.jpg   or   %s/train/<class>/..., "
                   "%s/test/<class>/...\n"
                   "  or        %s/train-images-idx3-ubyte[.gz] and its labels (MNIST layout)\n"
                   "help: no labels yet? use `predict`",
                   dir, (long long)pictures, dir, dir, dir, dir);
}

/* Adds the pictures of root/class with this label. */
static int add_class(struct folder *f, const char *class_name, int label, int *empty,
                     rt_error *err) {
    char *dir = join(f->root, class_name, err);
    struct names pictures = {0};
    int code = dir ? list_dir(dir, NULL, &pictures, err) : NETRT_ELIMIT;
    int64_t total = f->files.n + pictures.n;
    *empty = pictures.n == 0;
    if (code == NETRT_OK && pictures.n > 0) {
        int *labels = rt_realloc(f->label, (size_t)total, sizeof *labels, "labels", err);
        if (labels)
            f->label = labels;
        code = labels ? NETRT_OK : NETRT_ELIMIT;
    }
    for (int64_t i = 0; code == NETRT_OK && i < pictures.n; i++) {
        f->label[f->files.n] = label;
        code = names_add(&f->files, join(class_name, pictures.at[i], err), err);
    }
    names_free(&pictures);
    rt_free(dir);
    return code;
}

static int64_t find_name(const struct names *l, const char *s) {
    char *const *hit = l->n ? bsearch(&s, l->at, (size_t)l->n, sizeof l->at[0], by_name) : NULL;
    return hit ? hit - l->at : -1;
}

/* Reads root/CLASS/... with the classes given; present are root's own sub-folders. */
static int open_classes(rt_dataset *ds, const char *root, struct names *classes,
                        const struct names *present, int training, rt_error *err) {
    struct folder *f = new_folder(ds, root, err);
    int code = f ? NETRT_OK : NETRT_ELIMIT;
    for (int64_t i = 0; code == NETRT_OK && i < present->n; i++) {
        int64_t label = find_name(classes, present->at[i]);
        int empty = 0;
        if (label < 0)
            code = rt_fail(err, NETRT_EDATA, "%s/%s: the training part has no class of that name",
                           root, present->at[i]);
        else
            code = add_class(f, present->at[i], (int)label, &empty, err);
        if (code == NETRT_OK && empty && training)
            code = rt_fail(err, NETRT_EDATA,
                           "%s/%s holds no pictures: a class needs at least one\n"
                           "help: remove the empty folder",
                           root, present->at[i]);
    }
    if (code == NETRT_OK && f->files.n == 0)
        code = rt_fail(err, NETRT_EDATA, "no pictures in the class folders of %s", root);
    if (code != NETRT_OK)
        return code;
    ds->count = f->files.n;
    ds->classes = (int)classes->n;
    ds->class_names = classes->at; /* ds owns them now */
    *classes = (struct names){0};
    return NETRT_OK;
}

static int open_flat(rt_dataset *ds, const char *root, struct names *pictures, rt_error *err) {
    if (pictures->n == 0)
        return rt_fail(err, NETRT_EDATA,
                       "no pictures and no known data files in %s\n"
                       "help: PNG, JPEG, PGM and PPM are read, and the MNIST and CIFAR-10 files",
                       root);
    struct folder *f = new_folder(ds, root, err);
    if (!f)
        return NETRT_ELIMIT;
    f->files = *pictures;
    *pictures = (struct names){0};
    ds->count = f->files.n;
    return NETRT_OK;
}

/* The chosen part: root holds class folders or, where labels are not needed, bare pictures. */
static int open_root(rt_dataset *ds, const char *root, const char *train, int training,
                     rt_error *err) {
    struct names present = {0}, pictures = {0}, classes = {0};
    int code = list_dir(root, &present, NULL, err);
    if (code == NETRT_OK && present.n == 0)
        code = list_dir(root, NULL, &pictures, err);
    if (code == NETRT_OK && present.n == 0)
        code = training && !ds->bare ? no_classes(root, pictures.n, err)
                                     : open_flat(ds, root, &pictures, err);
    else if (code == NETRT_OK) {
        code = list_dir(train ? train : root, &classes, NULL, err);
        if (code == NETRT_OK)
            code = open_classes(ds, root, &classes, &present, training, err);
    }
    names_free(&present);
    names_free(&pictures);
    names_free(&classes);
    return code;
}

int rt_folder_open(rt_dataset *ds, const char *dir, const char *split, rt_error *err) {
    struct names folders = {0};
    struct parts parts = {0};
    int training = strcmp(split, "train") == 0, test = strcmp(split, "test") == 0;
    int code = list_dir(dir, &folders, NULL, err);
    if (code == NETRT_OK)
        code = find_parts(dir, &folders, &parts, err);
    if (code == NETRT_OK && test && !parts.test)
        code = rt_fail(err, NETRT_EDATA,
                       "%s has no separate test part: expected %s/test/<class>/... beside "
                       "%s/train/<class>/...",
                       dir, dir, dir);
    const char *root = dir;
    if (parts.train)
        root = training || !parts.test ? parts.train : parts.test;
    if (code == NETRT_OK)
        code = open_root(ds, root, parts.train, training, err);
    names_free(&folders);
    rt_free(parts.train);
    rt_free(parts.test);
    return code;
}

int rt_folder_open_file(rt_dataset *ds, const char *path, rt_error *err) {
    /* Decode once now: a wrong file should be refused when it is named, not later. */
    rt_image probe = {0};
    int code = rt_image_read(&probe, path, err);
    rt_image_free(&probe);
    if (code != NETRT_OK)
        return code;
    struct folder *f = new_folder(ds, "", err);
    if (!f)
        return NETRT_ELIMIT;
    code = names_add(&f->files, rt_strdup(path, err), err);
    ds->count = f->files.n;
    return code;
}

int rt_folder_open_list(rt_dataset *ds, const char *dir, char **names, int64_t n, int *label,
                        rt_error *err) {
    struct folder *f = new_folder(ds, dir, err);
    int code = f ? NETRT_OK : NETRT_ELIMIT;
    int64_t i = 0;
    if (f)
        f->label = label;
    else
        rt_free(label);
    for (; i < n && code == NETRT_OK; i++)
        code = names_add(&f->files, names[i], err);
    for (; i < n; i++)
        rt_free(names[i]);
    ds->count = code == NETRT_OK ? n : 0;
    return code;
}
