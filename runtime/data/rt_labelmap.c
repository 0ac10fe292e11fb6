/* rt_labelmap.c: pictures beside label pictures: a class for every pixel.
 *
 *   DIR/images/X.jpg, DIR/labels/X.png        (labels, masks or annotations)
 *   DIR/train/images/.., DIR/val/images/..    the same in parts (val, valid, validation or test)
 *   DIR/images/train/.., DIR/labels/train/..  likewise
 *   DIR/JPEGImages, DIR/SegmentationClass     PASCAL VOC; parts by ImageSets/Segmentation/train.txt
 *                                             and val.txt where they are
 * A label picture is a PNG whose palette index, or a PNG or PGM whose grey value, is the class; the
 * key ignore=N (255) names the value of pixels that do not count.  DIR/classes.txt: names of the
 * classes, one a line.  Samples are the label files in byte order.
 * ensures: a label picture of another size than its picture, with colours, or missing, is an error
 * of its sample. Source: Everingham et al., the PASCAL Visual Object Classes challenge, 2010.
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_CLASSES = 255, IGNORE = 255 };

struct maps {
    char *images, *labels; /* folders */
    char **name;           /* stems */
    int64_t n;
    int ignore;
};

/* ---- samples ---- */

static const char *const picture_ends[] = {".jpg", ".png", ".jpeg", ".JPG",
                                           ".PNG", ".ppm", ".pgm",  ".JPEG"};
static const char *const label_ends[] = {".png", ".pgm", ".PNG"};

/* dir/stem + one of the endings, whichever is there: 0 if none. */
static int find(const char *dir, const char *stem, const char *const *ends, size_t n, char *path) {
    for (size_t k = 0; k < n; k++)
        if (snprintf(path, PATH_MAX, "%s/%s%s", dir, stem, ends[k]) < PATH_MAX &&
            access(path, F_OK) == 0)
            return 1;
    return 0;
}

static int read_bytes(const char *path, unsigned char **data, size_t *size, char shown[512],
                      rt_error *err) {
    rt_clean_name(shown, 512, path);
    return rt_io_read_file(path, RT_IMAGE_MAX_BYTES, data, size, err);
}

static int maps_label(const rt_dataset *ds, int64_t i) {
    (void)ds;
    (void)i;
    return -1;
}

static int maps_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    const struct maps *m = ds->state;
    char path[PATH_MAX], shown[512];
    unsigned char *data = NULL;
    size_t size;
    if (!find(m->images, m->name[i], picture_ends, sizeof picture_ends / sizeof *picture_ends,
              path))
        return rt_fail(err, NETRT_EDATA, "%s/%s: a label picture without its picture", m->images,
                       rt_clean_name(shown, sizeof shown, m->name[i]));
    if (read_bytes(path, &data, &size, shown, err) == NETRT_OK)
        rt_image_decode(img, data, size, shown, err);
    rt_free(data);
    return err->code;
}

static int maps_map(const rt_dataset *ds, int64_t i, rt_image *map, rt_error *err) {
    const struct maps *m = ds->state;
    char path[PATH_MAX], shown[512];
    unsigned char *data = NULL;
    size_t size;
    if (!find(m->labels, m->name[i], label_ends, sizeof label_ends / sizeof *label_ends, path))
        return rt_fail(err, NETRT_EDATA, "%s/%s.png is missing", m->labels,
                       rt_clean_name(shown, sizeof shown, m->name[i]));
    if (read_bytes(path, &data, &size, shown, err) == NETRT_OK) {
        if (rt_image_sniff(data, size) == RT_FORMAT_PNG)
            rt_png_decode_indices(map, data, size, shown, err);
        else if (rt_image_sniff(data, size) != RT_FORMAT_PNM)
            rt_fail(err, NETRT_EDATA, "%s: a label picture is a PNG or PGM", shown);
        else if (rt_pnm_decode(map, data, size, shown, err) == NETRT_OK && map->channels != 1)
            rt_fail(err, NETRT_EDATA, "%s has colours: a label picture holds numbers of classes",
                    shown);
    }
    rt_free(data);
    return err->code;
}

static const char *maps_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    const struct maps *m = ds->state;
    return rt_clean_name(buf, cap, m->name[i]);
}

static void maps_close(rt_dataset *ds) {
    struct maps *m = ds->state;
    for (int64_t i = 0; i < m->n; i++)
        rt_free(m->name[i]);
    rt_free(m->name);
    rt_free(m->images);
    rt_free(m->labels);
    rt_free(m);
}

static const struct rt_data_ops maps_ops = {"maps",    maps_label, maps_item,
                                            maps_name, maps_close, maps_map};

/* ---- where the folders are ---- */

static int is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

struct layout {
    char images[PATH_MAX], labels[PATH_MAX];
    char list[PATH_MAX]; /* names of the samples, one a line; "" = all label pictures */
};

static const char *const image_dirs[] = {"images", "JPEGImages"};
static const char *const label_dirs[] = {"labels", "masks", "annotations", "SegmentationClass"};
static const char *const test_names[] = {"val", "test", "valid", "validation"};

/* dir[/part]/images[/sub] with labels beside; part and sub may be "". */
static int pair_in(const char *dir, const char *part, const char *sub, struct layout *l) {
    const char *a = *part ? "/" : "", *b = *sub ? "/" : "";
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) {
            snprintf(l->images, PATH_MAX, "%.3000s%s%s/%s%s%s", dir, a, part, image_dirs[i], b, sub);
            snprintf(l->labels, PATH_MAX, "%.3000s%s%s/%s%s%s", dir, a, part, label_dirs[k], b, sub);
            if (is_dir(l->images) && is_dir(l->labels))
                return 1;
        }
    return 0;
}

/* A part in any of the layouts; name "" is the undivided set. */
static int part_in(const char *dir, const char *name, struct layout *l) {
    l->list[0] = 0;
    if (!*name)
        return pair_in(dir, "", "", l);
    if (pair_in(dir, name, "", l) || pair_in(dir, "", name, l))
        return 1;
    if (!pair_in(dir, "", "", l))
        return 0;
    snprintf(l->list, PATH_MAX, "%.3000s/ImageSets/Segmentation/%s.txt", dir, name);
    return access(l->list, R_OK) == 0;
}

/* 0: dir is no such tree; 1: l is the part wanted; -1: it has no such part. */
static int find_layout(const char *dir, const char *split, struct layout *l) {
    int test = strcmp(split, "train") != 0, divided = part_in(dir, "train", l);
    if (!divided && !part_in(dir, "", l))
        return 0;
    for (size_t k = 0; test && divided && k < 4; k++)
        if (part_in(dir, test_names[k], l))
            return 1;
    if (strcmp(split, "test") == 0)
        return -1;
    return divided ? part_in(dir, "train", l) : part_in(dir, "", l);
}

/* ---- opening ---- */

static int add_name(struct maps *m, const char *s, size_t len, rt_error *err) {
    if ((m->n & (m->n - 1)) == 0) { /* room for the next power of two */
        char **at =
            rt_realloc(m->name, (size_t)(m->n ? 2 * m->n : 1), sizeof *at, "file list", err);
        if (!at)
            return err->code;
        m->name = at;
    }
    char *name = rt_strndup(s, len, err);
    if (name)
        m->name[m->n++] = name;
    return err->code;
}

static size_t label_stem(const char *name) {
    size_t n = strlen(name);
    for (size_t k = 0; k < sizeof label_ends / sizeof *label_ends; k++)
        if (n > 4 && strcmp(name + n - 4, label_ends[k]) == 0)
            return n - 4;
    return 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int all_labels(struct maps *m, rt_error *err) {
    struct dirent **e;
    int n = scandir(m->labels, &e, NULL, by_bytes);
    for (int i = 0; i < n; i++) {
        size_t len = label_stem(e[i]->d_name);
        if (len && e[i]->d_name[0] != '.' && !err->code)
            add_name(m, e[i]->d_name, len, err);
        free(e[i]);
    }
    if (n >= 0)
        free(e);
    return err->code;
}

/* Lines of a text: the first word of each; calls back with it. */
static int each_line(const char *path, int (*take)(void *, const char *, size_t, rt_error *),
                     void *context, rt_error *err) {
    unsigned char *text = NULL;
    size_t size;
    if (rt_io_read_file(path, 64 << 20, &text, &size, err))
        return err->code;
    for (const char *p = (const char *)text; *p && !err->code;) {
        size_t len = strcspn(p, "\r\n"), skip = strspn(p, " \t");
        if (len > skip)
            take(context, p + skip, len - skip, err);
        p += len;
        p += strspn(p, "\r\n");
    }
    rt_free(text);
    return err->code;
}

static int take_stem(void *m, const char *s, size_t len, rt_error *err) {
    size_t word = strcspn(s, " \t\r\n");
    if (memchr(s, '/', len))
        return rt_fail(err, NETRT_EDATA, "a list of samples names '%.*s': only names are read",
                       (int)(len < 80 ? len : 80), s);
    return add_name(m, s, word < len ? word : len, err);
}

static int take_class(void *context, const char *s, size_t len, rt_error *err) {
    rt_dataset *ds = context;
    if (ds->classes >= MAX_CLASSES)
        return rt_fail(err, NETRT_EDATA, "classes.txt names more than %d classes", MAX_CLASSES);
    char **names =
        rt_realloc(ds->class_names, (size_t)ds->classes + 1, sizeof *names, "class names", err);
    if (!names)
        return err->code;
    ds->class_names = names;
    char *name = rt_strndup(s, len, err);
    if (name)
        names[ds->classes++] = name;
    return err->code;
}

static int read_ignore(const char *uri, int *ignore, rt_error *err) {
    char text[16], *end;
    *ignore = IGNORE;
    if (!rt_data_key(uri, "ignore", text, sizeof text))
        return NETRT_OK;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < 0 || v > 255)
        return rt_fail(err, NETRT_EUSAGE, "ignore = %s: a number from 0 to 255", text);
    *ignore = (int)v;
    return NETRT_OK;
}

int rt_maps_open_dir(rt_dataset *ds, const char *dir, const char *split, const char *uri,
                     int *found, rt_error *err) {
    struct layout *l = rt_alloc(1, sizeof *l, "folders", err);
    char classes[PATH_MAX];
    int there = l && strlen(dir) < 3000 ? find_layout(dir, split, l) : 0;
    *found = there != 0;
    if (there < 0)
        rt_fail(err, NETRT_EDATA,
                "%s has no separate test part: expected %s/train/images and %s/val/images", dir,
                dir, dir);
    if (there > 0) {
        struct maps *m = rt_alloc_zero(1, sizeof *m, "label pictures", err);
        ds->state = m;
        ds->ops = &maps_ops;
        snprintf(classes, sizeof classes, "%s/classes.txt", dir);
        if (m && (m->images = rt_strdup(l->images, err)) &&
            (m->labels = rt_strdup(l->labels, err)) &&
            read_ignore(uri, &m->ignore, err) == NETRT_OK &&
            (l->list[0] ? each_line(l->list, take_stem, m, err) : all_labels(m, err)) == NETRT_OK &&
            access(classes, R_OK) == 0)
            each_line(classes, take_class, ds, err);
        if (!err->code && m->n == 0)
            rt_fail(err, NETRT_EDATA, "%s holds no label pictures (PNG or PGM)", m->labels);
        if (!err->code) {
            ds->count = m->n;
            ds->ignore = m->ignore;
        }
    }
    rt_free(l);
    return err->code;
}
