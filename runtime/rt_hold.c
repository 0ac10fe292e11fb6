/* rt_hold.c: a test part for a source that has none: "hold=20" (percent), "hold=GLOB" of the names
 * of samples, "fold=2/10" (the second of ten equal parts), as keys of the source's name.
 *
 * ensures: every sample is in exactly one of the two parts, the same in every run: a fixed
 * permutation deals the samples out (rt_perm), whatever the seed of the training.
 */
#define _GNU_SOURCE
#include "rt_data.h"

#include "rt_alloc.h"
#include "rt_rng.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hold {
    rt_dataset *whole;
    int64_t *index; /* of the samples of this part */
};

static int hold_label(const rt_dataset *ds, int64_t i) {
    const struct hold *h = ds->state;
    return rt_data_label(h->whole, h->index[i]);
}

static int hold_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err) {
    const struct hold *h = ds->state;
    return rt_data_item(h->whole, h->index[i], img, err);
}

static int hold_map(const rt_dataset *ds, int64_t i, rt_image *map, rt_error *err) {
    const struct hold *h = ds->state;
    return rt_data_map(h->whole, h->index[i], map, err);
}

static const char *hold_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    const struct hold *h = ds->state;
    return rt_data_name(h->whole, h->index[i], buf, cap);
}

static void hold_close(rt_dataset *ds) {
    struct hold *h = ds->state;
    rt_data_close(h->whole);
    rt_free(h->index);
    rt_free(h);
}

static int hold_values(const rt_dataset *ds, int64_t i, int c, int h, int w, float *chw,
                       rt_error *err) {
    const struct hold *p = ds->state;
    return rt_data_values(p->whole, p->index[i], c, h, w, chw, err);
}

static int hold_sound(const rt_dataset *ds, int64_t i, int c, int h, int w, double seconds,
                      double gain, float *chw, rt_error *err) {
    const struct hold *p = ds->state;
    return rt_data_sound(p->whole, p->index[i], c, h, w, seconds, gain, chw, err);
}

static int hold_fit(rt_dataset *ds, int c, int h, int w, const char *spec_uri, rt_error *err) {
    struct hold *p = ds->state;
    rt_data_fit(p->whole, c, h, w, spec_uri, err);
    rt_data_shape(p->whole, &ds->channels, &ds->height, &ds->width);
    return err->code;
}

static const struct rt_data_ops hold_ops = {"part",    hold_label, hold_item,
                                            hold_name, hold_close, NULL},
                                hold_map_ops = {"part",    hold_label, hold_item,
                                                hold_name, hold_close, hold_map};
static const struct rt_real_ops hold_real = {hold_values, hold_fit, hold_sound};

struct rule {
    char glob[256];
    int64_t share;       /* of n: the first so many of the permutation */
    int64_t fold, folds; /* 0: no folds */
};

static int read_rule(const char *uri, int64_t n, struct rule *r, rt_error *err) {
    char text[256], *end;
    *r = (struct rule){.share = -1};
    if (rt_data_key(uri, "fold", text, sizeof text)) {
        r->fold = strtol(text, &end, 10);
        r->folds = end > text && *end == '/' ? strtol(end + 1, &end, 10) : 0;
        if (*end || r->folds < 2 || r->fold < 1 || r->fold > r->folds || r->folds > n)
            return rt_fail(err, NETRT_EUSAGE,
                           "fold = %s of %lld samples\nhelp: fold = 1/10 is the first of ten parts",
                           text, (long long)n);
        return NETRT_OK;
    }
    if (!rt_data_key(uri, "hold", text, sizeof text))
        return NETRT_OK;
    double percent = strtod(text, &end);
    if (end > text && !*end) {
        if (!(percent > 0 && percent < 100))
            return rt_fail(err, NETRT_EUSAGE, "hold = %s: a share between 0%% and 100%%", text);
        r->share = (int64_t)(percent / 100 * (double)n + 0.5);
    } else
        snprintf(r->glob, sizeof r->glob, "%s", text);
    return NETRT_OK;
}

static int held(const rt_dataset *ds, const struct rule *r, const rt_perm *perm, int64_t i) {
    char name[1024];
    if (r->glob[0])
        return fnmatch(r->glob, rt_data_name(ds, i, name, sizeof name), 0) == 0;
    int64_t at = (int64_t)rt_perm_at(perm, (uint64_t)i);
    return r->folds ? at % r->folds == r->fold - 1 : at < r->share;
}

int rt_hold_asked(const char *uri) {
    char text[256];
    return rt_data_key(uri, "hold", text, sizeof text) ||
           rt_data_key(uri, "fold", text, sizeof text);
}

int rt_hold_open(rt_dataset *ds, rt_dataset *whole, const char *split, rt_error *err) {
    struct hold *h = rt_alloc_zero(1, sizeof *h, "part", err);
    struct rule r;
    int test = strcmp(split, "train") != 0;
    int64_t n = whole->count;
    if (!h) {
        rt_data_close(whole);
        return err->code;
    }
    h->whole = whole;
    ds->state = h;
    ds->ops = whole->ops->map ? &hold_map_ops : &hold_ops;
    ds->ignore = whole->ignore;
    ds->real = whole->real ? &hold_real : NULL;
    ds->outside = whole->outside;
    ds->classes = whole->classes;
    ds->class_names = whole->class_names; /* ds owns them now */
    whole->class_names = NULL;
    rt_data_shape(whole, &ds->channels, &ds->height, &ds->width);
    h->index = rt_alloc((size_t)n, sizeof *h->index, "part", err);
    if (!h->index || read_rule(ds->uri, n, &r, err))
        return err->code;
    rt_perm perm = rt_perm_make((uint64_t)n, 1, RT_RNG_SPLIT, 0);
    for (int64_t i = 0; i < n; i++)
        if (held(whole, &r, &perm, i) == test)
            h->index[ds->count++] = i;
    if (ds->count == 0)
        rt_fail(err, NETRT_EDATA, "%s: no sample is left for the %s part", ds->uri,
                test ? "test" : "training");
    return err->code;
}
