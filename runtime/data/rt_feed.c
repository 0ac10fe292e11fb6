/* rt_feed.c: loads batches (rt_feed.h).
 *
 * ensures: the bits in the buffers depend only on (data, spec, seed, epoch, sample); broken
 * pictures never reach the network.  A load of cached samples allocates nothing.
 */
#include "rt_feed.h"

#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_augment.h"
#include "rt_par.h"
#include "rt_place.h"
#include "rt_rng.h"

enum { WHY_COUNT = 4, WHY_SIZE = 256 };
struct rt_feed_thread {
    rt_image img, scratch[2];
    float *changed; /* scratch of rt_augment_apply */
    rt_image map;   /* label picture, and what the input shows of it */
    int32_t *classes;
    char why[WHY_COUNT][WHY_SIZE]; /* of the first pictures found broken in this load */
    int64_t slot[WHY_COUNT];
    int reasons;
};
enum { SLOT_GOOD, SLOT_BROKEN, SLOT_NEWLY_BROKEN, SLOT_NO_MEMORY };
enum { SEEN_NOT, SEEN_CACHED, SEEN_BROKEN, SEEN_UNCACHED };

static int64_t plane_size(const struct rt_prep *p) {
    return (int64_t)p->height * p->width;
}

/* Preprocesses a 256-pixel ramp: what each pixel value becomes in each plane. */
static int make_table(rt_feed *f, int slot, rt_error *err) {
    struct rt_prep ramp = f->prep[slot];
    rt_image img = {0};
    ramp.height = 1;
    ramp.width = 256;
    ramp.resize_short = ramp.crop = ramp.pad = ramp.flip = 0;
    f->table[slot] = rt_alloc((size_t)ramp.channels, sizeof *f->table[slot], "pixel table", err);
    if (!f->table[slot] || rt_image_reserve(&img, 256, 1, ramp.channels, err))
        return err->code;
    for (int i = 0; i < 256 * ramp.channels; i++)
        img.data[i] = (unsigned char)(i / ramp.channels);
    rt_prep_apply(&ramp, &img, f->table[slot][0], NULL, err);
    rt_image_free(&img);
    return err->code;
}

static int open_cache(rt_feed *f, size_t limit, rt_error *err) {
    int64_t total = 0, count = rt_data_count(f->ds);
    for (int s = 0; s < f->m->model->ninputs; s++) {
        int64_t bytes;
        if (__builtin_mul_overflow(count, rt_input_count(f->m->model, s), &bytes) ||
            __builtin_add_overflow(total, bytes, &total))
            return NETRT_OK;
    }
    if (total == 0 || (uint64_t)total > limit || rt_data_real(f->ds) || f->mapped)
        return NETRT_OK;
    for (int s = 0; s < f->m->model->ninputs; s++) {
        rt_error no_memory = {0}; /* a cache is a luxury: go on without */
        if (make_table(f, s, err))
            return err->code;
        f->cache_size[s] = (size_t)(count * rt_input_count(f->m->model, s));
        f->cache[s] = rt_slab_alloc(f->cache_size[s], "picture cache", &no_memory);
    }
    return NETRT_OK;
}

/* Labels for every step: as many as the net has, in places that nothing changes. */
static int match_steps(rt_feed *f, rt_error *err) {
    const rt_model *model = f->m->model;
    rt_image map = {0};
    if (rt_data_map(f->ds, 0, &map, err))
        return err->code;
    int64_t n = (int64_t)map.width * map.height;
    rt_image_free(&map);
    if (n != model->label_cells)
        return rt_fail(err, NETRT_EDATA,
                       "%s has %lld classes for each sample, %s takes %lld\n"
                       "help: declare the label as class[%lld, %lld]",
                       rt_data_uri(f->ds), (long long)n, model->name,
                       (long long)model->label_cells, (long long)model->classes, (long long)n);
    for (int s = 0; s < model->ninputs; s++)
        if (model->input[s].flip || rt_augment_any(model->input[s].augment))
            return rt_fail(err, NETRT_EUSAGE,
                           "%s has a class for every step, which augmentation would move away\n"
                           "help: leave flip and augment out of the data section",
                           rt_data_uri(f->ds));
    return NETRT_OK;
}

/* Labels for every pixel: is the net one for them, and how do its labels lie on its input? */
static int match_maps(rt_feed *f, rt_error *err) {
    const rt_model *model = f->m->model;
    int64_t cells = model->label_cells, h = model->input[0].h, w = model->input[0].w;
    if (rt_data_real(f->ds))
        return match_steps(f, err);
    if (cells <= 1)
        return rt_fail(err, NETRT_EDATA,
                       "%s has a class for every pixel, %s takes one for a picture\n"
                       "help: declare the label as class[%lld, %lld, %lld]",
                       rt_data_uri(f->ds), model->name, (long long)model->classes, (long long)h,
                       (long long)w);
    for (f->shrink = 1; f->shrink <= 64; f->shrink++)
        if (h % f->shrink == 0 && w % f->shrink == 0 && (h / f->shrink) * (w / f->shrink) == cells)
            return NETRT_OK;
    return rt_fail(err, NETRT_EUSAGE,
                   "%s has %lld labels for an input of %lld x %lld: label pictures are shrunk by "
                   "whole numbers only",
                   model->name, (long long)cells, (long long)h, (long long)w);
}

int rt_feed_open(rt_feed *f, netrt *m, rt_dataset *ds, int64_t cap, size_t cache_limit,
                 int need_labels, rt_error *err) {
    memset(f, 0, sizeof *f);
    f->m = m;
    f->ds = ds;
    f->cap = cap;
    int classes = rt_data_classes(ds);
    int64_t known = rt_known_classes(m->model);
    int64_t count = rt_data_count(ds), largest = 0;
    f->mapped = rt_data_mapped(ds, &f->ignore) && need_labels;
    if (need_labels && f->mapped && match_maps(f, err))
        return err->code;
    if (need_labels && classes == 0 && !f->mapped)
        return rt_fail(
            err, NETRT_EDATA,
            "%s has no labels\n"
            "  expected  DIR/<class>/<picture>  or  DIR/train/<class>/..., DIR/test/...\n"
            "help: to classify pictures use `predict`",
            rt_data_uri(ds));
    if (need_labels && classes > known)
        return rt_fail(err, NETRT_EDATA,
                       "%s has %d classes, %s knows %lld\n"
                       "help: other data with --data, or a net whose class count fits",
                       rt_data_uri(ds), classes, m->model->name, (long long)known);
    if (count < 1)
        return rt_fail(err, NETRT_EDATA, "%s holds no samples", rt_data_uri(ds));
    for (int s = 0; s < m->model->ninputs; s++) {
        const rt_input_spec *in = &m->model->input[s];
        if (in->frames > 1 && !rt_data_real(ds))
            return rt_fail(err, NETRT_EDATA,
                           "%s holds pictures, %s reads clips of %d frames\n"
                           "help: an array [N, %lld, %d, %lld, %lld] of floats in a .npy or .npz file",
                           rt_data_uri(ds), m->model->name, in->frames, (long long)in->c,
                           in->frames, (long long)(in->h / in->frames), (long long)in->w);
        if (rt_data_real(ds) &&
            rt_data_fit(ds, (int)in->c, (int)in->h, (int)in->w, m->model->train.train_data, err))
            break;
        rt_input_prep(m->model, s, &f->prep[s]);
        f->flip |= m->model->input[s].flip;
        memcpy(f->change[s], in->augment, sizeof f->change[s]);
        f->augment |= rt_augment_any(in->augment);
        int64_t room = rt_augment_room(&f->prep[s]);
        largest = largest < room ? room : largest;
        int64_t floats;
        if (__builtin_mul_overflow(cap, rt_input_count(m->model, s), &floats))
            return rt_fail(err, NETRT_ELIMIT, "a batch of %lld images is too large",
                           (long long)cap);
        f->input[s] = rt_alloc((size_t)floats, sizeof(float), "input pictures", err);
    }
    f->label = rt_alloc_zero((size_t)cap, sizeof *f->label, "labels", err);
    if (m->model->label_cells > 1) {
        int64_t cells;
        if (__builtin_mul_overflow(cap, m->model->label_cells, &cells))
            return rt_fail(err, NETRT_ELIMIT, "a batch of %lld images is too large",
                           (long long)cap);
        f->map = rt_alloc_zero((size_t)cells, sizeof *f->map, "labels", err);
    }
    f->index = rt_alloc_zero((size_t)cap, sizeof *f->index, "sample numbers", err);
    f->slot_state = rt_alloc_zero((size_t)cap, 1, "sample states", err);
    f->status = rt_alloc_zero((size_t)count, 1, "sample states", err);
    f->thread = rt_alloc_zero((size_t)m->threads, sizeof *f->thread, "picture buffers", err);
    for (int t = 0; f->augment && !err->code && t < m->threads; t++)
        f->thread[t].changed = rt_alloc((size_t)largest, sizeof(float), "picture buffers", err);
    int64_t places = plane_size(&f->prep[0]);
    places = places < m->model->label_cells ? m->model->label_cells : places;
    for (int t = 0; f->mapped && !err->code && t < m->threads; t++)
        f->thread[t].classes = rt_alloc((size_t)places, sizeof(int32_t), "labels", err);
    if (err->code || open_cache(f, cache_limit, err))
        rt_feed_close(f);
    return err->code;
}

void rt_feed_close(rt_feed *f) {
    for (int s = 0; s < 4; s++) {
        rt_free(f->input[s]);
        rt_free(f->table[s]);
        rt_slab_free(f->cache[s], f->cache_size[s]);
    }
    for (int t = 0; f->thread && t < f->m->threads; t++) {
        rt_image_free(&f->thread[t].img);
        rt_image_free(&f->thread[t].scratch[0]);
        rt_image_free(&f->thread[t].scratch[1]);
        rt_free(f->thread[t].changed);
        rt_image_free(&f->thread[t].map);
        rt_free(f->thread[t].classes);
    }
    rt_free(f->thread);
    rt_free(f->label);
    rt_free(f->map);
    rt_free(f->index);
    rt_free(f->slot_state);
    rt_free(f->status);
    memset(f, 0, sizeof *f);
}

static int mirrored(const rt_feed *f, int64_t sample) {
    uint32_t bits[4];
    if (f->view > 0)
        return f->view > 5;
    if (f->epoch < 0 || !f->flip)
        return 0;
    rt_rng_block(rt_rng_make(f->m->seed, RT_RNG_AUGMENT), (uint32_t)f->epoch, (uint32_t)sample,
                 (uint32_t)(sample >> 32), 0, bits);
    return (int)(bits[0] >> 31);
}

static void mirror_map(const struct rt_prep *p, int32_t *classes) {
    for (int y = 0; y < p->height; y++, classes += p->width)
        for (int i = 0, j = p->width - 1; i < j; i++, j--) {
            int32_t t = classes[i];
            classes[i] = classes[j];
            classes[j] = t;
        }
}

/* Mirrors the rows of planes in place. */
static void mirror(const struct rt_prep *p, float *chw) {
    for (int64_t row = 0; row < (int64_t)p->channels * p->height; row++) {
        float *a = chw + row * p->width;
        for (int i = 0, j = p->width - 1; i < j; i++, j--) {
            float t = a[i];
            a[i] = a[j];
            a[j] = t;
        }
    }
}

static void from_cache(const rt_feed *f, int slot, int64_t sample, float *chw) {
    int64_t plane = plane_size(&f->prep[slot]);
    const unsigned char *src = f->cache[slot] + sample * plane * f->prep[slot].channels;
    for (int c = 0; c < f->prep[slot].channels; c++, src += plane, chw += plane) {
        const float *table = f->table[slot][c];
        for (int64_t i = 0; i < plane; i++)
            chw[i] = table[src[i]];
    }
}

/* 0 when some value is not one of the table's (then this sample cannot be cached). */
static int to_cache(rt_feed *f, int slot, int64_t sample, const float *chw) {
    int64_t plane = plane_size(&f->prep[slot]);
    unsigned char *dst = f->cache[slot] + sample * plane * f->prep[slot].channels;
    for (int c = 0; c < f->prep[slot].channels; c++, dst += plane, chw += plane) {
        const float *table = f->table[slot][c];
        float scale = 255.0f / (table[255] - table[0]);
        for (int64_t i = 0; i < plane; i++) {
            float p = (chw[i] - table[0]) * scale + 0.5f;
            int pixel = p > 0 && p < 256 ? (int)p : 0;
            if (table[pixel] != chw[i])
                return 0;
            dst[i] = (unsigned char)pixel;
        }
    }
    return 1;
}

/* Real numbers are normalised, nothing else: they have no pixels to scale. */
static int load_real(const rt_feed *f, int slot, int64_t sample, float *chw, rt_error *err) {
    const struct rt_prep *p = &f->prep[slot];
    int64_t plane = plane_size(p);
    double seconds = 0, gain = 1;
    if (f->epoch >= 0)
        rt_augment_sound(f->change[slot], f->m->seed, f->epoch, sample, &seconds, &gain);
    if (rt_data_sound(f->ds, sample, p->channels, p->height, p->width, seconds, gain, chw, err))
        return err->code;
    for (int c = 0; c < p->channels; c++, chw += plane) {
        float mean = c < 4 ? p->mean[c] : p->mean[0], std = c < 4 ? p->std[c] : p->std[0];
        float divisor = std != 0 ? std : 1.0f;
        for (int64_t i = 0; i < plane; i++)
            chw[i] = (chw[i] - mean) / divisor;
    }
    return NETRT_OK;
}

/* Where the sample's part of the picture lies; RT_PLACE_SHIFT is left to shift(). */
static int place_of(const rt_feed *f, int slot, int64_t sample, const rt_image *img,
                    struct rt_place *place) {
    const struct rt_prep *p = &f->prep[slot];
    if (f->view > 0) {
        rt_place_view(p, img->width, img->height, f->view, place);
        return RT_PLACE_PART;
    }
    if (f->epoch < 0)
        return RT_PLACE_USUAL;
    return rt_place_random(f->change[slot], p, img->width, img->height, f->m->seed, f->epoch,
                           sample, place);
}

/* A random crop of a sample as large as the input: moved by whole pixels. */
static void shift(const rt_feed *f, int slot, int64_t sample, float *chw, float *scratch) {
    struct rt_prep p = f->prep[slot];
    struct rt_place place;
    float outside[4] = {0};
    int64_t plane = plane_size(&p);
    int real = rt_data_real(f->ds);
    if (real)
        p.resize_short = 0;
    if (f->epoch < 0 || f->view > 0 ||
        rt_place_random(f->change[slot], &p, p.width, p.height, f->m->seed, f->epoch, sample,
                        &place) != RT_PLACE_SHIFT)
        return;
    for (int c = 0; c < p.channels; c++, chw += plane) {
        int k = p.bgr && p.channels == 3 ? 2 - c : c < 4 ? c : 0;
        double zero = (double)(real ? rt_data_outside(f->ds) : p.lo);
        double std = p.std[k] != 0 ? (double)p.std[k] : 1;
        outside[0] = (float)((zero - (double)p.mean[k]) / std); /* as rt_prep_apply rounds it */
        rt_place_shift(chw, 1, p.height, p.width, place.x, p.height > 1 ? place.y : 0, outside,
                       scratch);
    }
}

/* The classes of n pixels, or of the steps of t->map, are those of the net. */
static int check_classes(const rt_feed *f, struct rt_feed_thread *t, int64_t n, rt_error *err) {
    int64_t classes = f->m->model->classes;
    int steps = rt_data_real(f->ds);
    for (int64_t i = 0; steps && i < n; i++)
        t->classes[i] = t->map.data[i] == f->ignore ? -1 : t->map.data[i];
    for (int64_t i = 0; i < n; i++)
        if (t->classes[i] >= classes)
            return rt_fail(err, NETRT_EDATA, "a %s of class %d, %s knows %lld",
                           steps ? "step" : "pixel", (int)t->classes[i], f->m->model->name,
                           (long long)classes);
    return NETRT_OK;
}

/* The classes of the pixels that the input shows. */
static int load_map(const rt_feed *f, int64_t sample, struct rt_feed_thread *t, rt_error *err) {
    const struct rt_prep *p = &f->prep[0];
    struct rt_place place;
    if (rt_data_map(f->ds, sample, &t->map, err))
        return err->code;
    if (rt_data_real(f->ds))
        return check_classes(f, t, f->m->model->label_cells, err);
    if (t->map.width != t->img.width || t->map.height != t->img.height)
        return rt_fail(err, NETRT_EDATA, "the picture is %d x %d, its label picture %d x %d",
                       t->img.width, t->img.height, t->map.width, t->map.height);
    int how = place_of(f, 0, sample, &t->img, &place);
    rt_place_map(p, how == RT_PLACE_USUAL ? NULL : &place, &t->map, f->ignore, t->classes);
    return check_classes(f, t, plane_size(p), err);
}

static void put_map(const rt_feed *f, int64_t slot, const int32_t *classes) {
    const struct rt_prep *p = &f->prep[0];
    int32_t *dst = f->map + slot * f->m->model->label_cells;
    if (rt_data_real(f->ds)) {
        memcpy(dst, classes, (size_t)f->m->model->label_cells * sizeof *dst);
        return;
    }
    for (int y = f->shrink / 2; y < p->height; y += f->shrink)
        for (int x = f->shrink / 2; x < p->width; x += f->shrink)
            *dst++ = classes[(int64_t)y * p->width + x];
}

static int load_picture(rt_feed *f, int s, int64_t sample, float *chw, struct rt_feed_thread *t,
                        int *cacheable, rt_error *err) {
    const struct rt_prep *p = &f->prep[s];
    struct rt_place place;
    int how = place_of(f, s, sample, &t->img, &place);
    *cacheable = 0;
    if (rt_prep_apply_at(p, how == RT_PLACE_PART ? &place : NULL, &t->img, chw, t->scratch, err))
        return err->code;
    /* Kept for other epochs only where their crops can be made of it. */
    if (how != RT_PLACE_PART && f->cache[s] &&
        (f->change[s][RT_AUGMENT_CROP] == 0 || rt_place_same_size(p, t->img.width, t->img.height)))
        *cacheable = to_cache(f, s, sample, chw);
    if (how == RT_PLACE_SHIFT)
        shift(f, s, sample, chw, t->changed);
    return NETRT_OK;
}

static int load_fresh(rt_feed *f, int64_t sample, int64_t slot, struct rt_feed_thread *t) {
    rt_error err = {0};
    int cacheable = 1;
    if (rt_data_real(f->ds)) {
        cacheable = 0;
        for (int s = 0; s < f->m->model->ninputs && !err.code; s++) {
            float *chw = f->input[s] + slot * rt_input_count(f->m->model, s);
            if (load_real(f, s, sample, chw, &err) == NETRT_OK)
                shift(f, s, sample, chw, t->changed);
        }
    } else if (rt_data_item(f->ds, sample, &t->img, &err) == 0)
        for (int s = 0; s < f->m->model->ninputs && !err.code; s++) {
            float *chw = f->input[s] + slot * rt_input_count(f->m->model, s);
            int kept = 0;
            load_picture(f, s, sample, chw, t, &kept, &err);
            cacheable = cacheable && kept;
        }
    if (f->mapped && !err.code)
        load_map(f, sample, t, &err);
    if (err.code == NETRT_ELIMIT && strstr(err.text, "memory"))
        return SLOT_NO_MEMORY; /* not the picture's fault */
    if (err.code) {
        if (t->reasons < WHY_COUNT) {
            snprintf(t->why[t->reasons], WHY_SIZE, "%.255s", err.text);
            t->slot[t->reasons++] = slot;
        }
        f->status[sample] = SEEN_BROKEN;
        return SLOT_NEWLY_BROKEN;
    }
    f->status[sample] = cacheable ? SEEN_CACHED : SEEN_UNCACHED;
    return SLOT_GOOD;
}

static void change(const rt_feed *f, int64_t slot, int64_t sample, struct rt_feed_thread *t) {
    for (int s = 0; s < f->m->model->ninputs; s++)
        if (rt_augment_here(f->change[s]))
            rt_augment_apply(f->change[s], &f->prep[s], rt_data_real(f->ds), rt_data_outside(f->ds),
                             f->m->seed, f->epoch, sample,
                             f->input[s] + slot * rt_input_count(f->m->model, s),
                             s == 0 && f->mapped ? t->classes : NULL, t->changed);
}

/* A picture in the cache serves unless this load cuts it out anew. */
static int from_cache_now(const rt_feed *f, int64_t sample) {
    int serves = f->status[sample] == SEEN_CACHED && f->view == 0;
    for (int s = 0; f->epoch >= 0 && s < f->m->model->ninputs; s++)
        serves = serves && !rt_place_fresh(f->change[s]);
    return serves;
}

static void load_piece(void *context, int64_t lo, int64_t hi, int thread) {
    rt_feed *f = context;
    for (int64_t i = lo; i < hi; i++) {
        int64_t sample = f->want[i];
        f->slot_state[i] = SLOT_GOOD;
        if (f->status[sample] == SEEN_BROKEN)
            f->slot_state[i] = SLOT_BROKEN;
        else if (from_cache_now(f, sample))
            for (int s = 0; s < f->m->model->ninputs; s++) {
                float *chw = f->input[s] + i * rt_input_count(f->m->model, s);
                from_cache(f, s, sample, chw);
                shift(f, s, sample, chw, f->thread[thread].changed);
            }
        else
            f->slot_state[i] = (char)load_fresh(f, sample, i, &f->thread[thread]);
        if (f->slot_state[i] == SLOT_GOOD && mirrored(f, sample))
            for (int s = 0; s < f->m->model->ninputs; s++)
                if (f->view || f->m->model->input[s].flip)
                    mirror(&f->prep[s], f->input[s] + i * rt_input_count(f->m->model, s));
        if (f->slot_state[i] == SLOT_GOOD && f->mapped && mirrored(f, sample))
            mirror_map(&f->prep[0], f->thread[thread].classes);
        if (f->slot_state[i] == SLOT_GOOD && f->epoch >= 0 && f->augment)
            change(f, i, sample, &f->thread[thread]);
        if (f->slot_state[i] == SLOT_GOOD && f->mapped)
            put_map(f, i, f->thread[thread].classes);
        if (f->slot_state[i] == SLOT_GOOD && f->m->data_mean && !f->plain)
            rt_prep_subtract(&f->prep[0], f->m->data_mean,
                             f->input[0] + i * rt_input_count(f->m->model, 0));
    }
}

/* ---- PCA colour ---- */

enum { LEARN_MOST = 1024 };

/* Sums of whole numbers: the same whatever thread adds them. */
struct moments {
    uint64_t n, sum[3], product[3][3];
};
struct learn {
    rt_feed *f;
    struct moments *of; /* per thread */
    int64_t step;
};

static void learn_piece(void *context, int64_t lo, int64_t hi, int thread) {
    struct learn *l = context;
    struct moments *m = &l->of[thread];
    rt_image *img = &l->f->thread[thread].img, *rgb = &l->f->thread[thread].scratch[0];
    for (int64_t i = lo; i < hi; i++) {
        rt_error ignored = {0}; /* training will tell about it */
        if (rt_data_item(l->f->ds, i * l->step, img, &ignored) ||
            rt_image_convert(rgb, img, 3, &ignored))
            continue;
        int64_t n = (int64_t)rgb->width * rgb->height;
        m->n += (uint64_t)n;
        for (int64_t k = 0; k < n; k++) {
            const unsigned char *p = rgb->data + 3 * k;
            for (int a = 0; a < 3; a++) {
                m->sum[a] += p[a];
                for (int b = a; b < 3; b++)
                    m->product[a][b] += (uint64_t)p[a] * p[b];
            }
        }
    }
}

static void matrix_of(const struct moments *m, float matrix[9]) {
    double covariance[3][3], n = m->n ? (double)m->n : 1;
    for (int a = 0; a < 3; a++)
        for (int b = a; b < 3; b++) {
            double mean = (double)m->sum[a] / n * ((double)m->sum[b] / n);
            covariance[a][b] = ((double)m->product[a][b] / n - mean) / (255.0 * 255.0);
            covariance[b][a] = covariance[a][b];
        }
    rt_augment_pca((const double(*)[3])covariance, matrix);
}

static int learn_colours(rt_feed *f, rt_error *err) {
    int64_t count = rt_data_count(f->ds), step = 1 + (count - 1) / LEARN_MOST;
    struct learn l = {f, NULL, step};
    struct moments all = {0};
    int asked = 0;
    for (int s = 0; s < f->m->model->ninputs; s++) {
        int given = f->change[s][RT_AUGMENT_PCA] == 0;
        for (int k = 0; k < 9; k++)
            given |= f->change[s][RT_AUGMENT_PCA_MATRIX + k] != 0;
        asked |= !given << s;
    }
    if (!asked || rt_data_real(f->ds))
        return NETRT_OK;
    l.of = rt_alloc_zero((size_t)f->m->threads, sizeof *l.of, "colours", err);
    if (!l.of)
        return err->code;
    rt_parallel_for(f->m->threads, (count + step - 1) / step, 4, learn_piece, &l);
    for (int t = 0; t < f->m->threads; t++) {
        all.n += l.of[t].n;
        for (int a = 0; a < 3; a++) {
            all.sum[a] += l.of[t].sum[a];
            for (int b = a; b < 3; b++)
                all.product[a][b] += l.of[t].product[a][b];
        }
    }
    for (int s = 0; s < f->m->model->ninputs; s++)
        if (asked >> s & 1)
            matrix_of(&all, &f->change[s][RT_AUGMENT_PCA_MATRIX]);
    rt_free(l.of);
    return NETRT_OK;
}

static void report_broken(rt_feed *f, int64_t slot, rt_feed_report report, void *context) {
    const char *why = "cannot be read";
    f->broken++;
    for (int t = 0; t < f->m->threads; t++)
        for (int k = 0; k < f->thread[t].reasons; k++)
            if (f->thread[t].slot[k] == slot)
                why = f->thread[t].why[k];
    if (report)
        report(context, f->want[slot], why);
}

/* Nets that label every pixel: a picture's class holds for all of them. */
static const int32_t *spread_labels(rt_feed *f, int64_t n) {
    int64_t cells = f->m->model->label_cells;
    for (int64_t i = 0; i < n && !f->mapped; i++)
        for (int64_t k = 0; k < cells; k++)
            f->map[i * cells + k] = f->label[i];
    return f->map;
}

int64_t rt_feed_load(rt_feed *f, const int64_t *want, int64_t n, int64_t epoch,
                     rt_feed_report report, void *context) {
    int fresh = 0;
    f->want = want;
    f->epoch = epoch;
    for (int64_t i = 0; i < n && !fresh; i++)
        fresh = !from_cache_now(f, want[i]);
    int64_t work = rt_input_count(f->m->model, 0), grain = fresh ? 1 : 1 + (1 << 16) / work;
    for (int t = 0; t < f->m->threads; t++)
        f->thread[t].reasons = 0;
    rt_parallel_for(f->m->threads, n, grain, load_piece, f);
    int64_t good = 0;
    memset(&f->failure, 0, sizeof f->failure);
    for (int64_t i = 0; i < n; i++)
        if (f->slot_state[i] == SLOT_NO_MEMORY) {
            rt_fail(&f->failure, NETRT_ELIMIT, "out of memory while loading pictures");
            return -1;
        }
    for (int64_t i = 0; i < n; i++) {
        if (f->slot_state[i] == SLOT_NEWLY_BROKEN)
            report_broken(f, i, report, context);
        if (f->slot_state[i] != SLOT_GOOD)
            continue;
        for (int s = 0; s < f->m->model->ninputs && good != i; s++) {
            int64_t size = rt_input_count(f->m->model, s);
            memcpy(f->input[s] + good * size, f->input[s] + i * size, (size_t)size * sizeof(float));
        }
        if (f->mapped && good != i) {
            int64_t cells = f->m->model->label_cells;
            memcpy(f->map + good * cells, f->map + i * cells, (size_t)cells * sizeof *f->map);
        }
        int label = rt_data_label(f->ds, want[i]);
        f->label[good] = label < 0 ? 0 : label;
        f->index[good++] = want[i];
    }
    for (int s = 0; s < f->m->model->ninputs; s++)
        f->m->frame.input[s] = f->input[s];
    f->m->frame.label[0] = f->m->frame.label[1] = f->map ? spread_labels(f, good) : f->label;
    return good;
}

/* ---- what training takes from its data ---- */

/* Sums in the order of the samples, so that threads do not matter. */
static int learn_mean(rt_feed *f, float *mean, rt_feed_report report, void *context,
                      rt_error *err) {
    int64_t size = rt_input_count(f->m->model, 0), total = rt_data_count(f->ds), n = 0;
    int64_t plane = plane_size(&f->prep[0]);
    double *sum = rt_alloc_zero((size_t)size, sizeof *sum, "mean image", err);
    f->plain = 1;
    for (int64_t first = 0; sum && first < total && !err->code; first += f->cap) {
        int64_t some = total - first < f->cap ? total - first : f->cap;
        int64_t good = rt_feed_load_range(f, first, some, report, context);
        if (good < 0)
            rt_fail(err, f->failure.code, "%s", f->failure.text);
        for (int64_t i = 0; i < good; i++)
            for (int64_t k = 0; k < size; k++)
                sum[k] += (double)f->input[0][i * size + k];
        n += good > 0 ? good : 0;
    }
    f->plain = 0;
    for (int64_t k = 0; sum && k < size; k++) {
        int64_t c = k / plane;
        int rgb = f->prep[0].bgr && f->prep[0].channels == 3 ? 2 - (int)c : c < 4 ? (int)c : 0;
        double std = (double)f->prep[0].std[rgb];
        mean[k] = (float)(n ? sum[k] / (double)n * (std != 0 ? std : 1) : 0);
    }
    rt_free(sum);
    return err->code;
}

int rt_feed_learn(rt_feed *f, rt_feed_report report, void *context, rt_error *err) {
    const rt_input_spec *in = &f->m->model->input[0];
    if (learn_colours(f, err) || in->mean_image == RT_MEAN_CHANNELS || f->m->data_mean)
        return err->code;
    float *mean = rt_alloc((size_t)rt_input_count(f->m->model, 0), sizeof *mean, "mean image", err);
    if (!mean)
        return err->code;
    if (in->mean_image == RT_MEAN_FILE)
        rt_npy_image(in->mean_file, (int)in->c, (int)in->h, (int)in->w, mean, err);
    else
        learn_mean(f, mean, report, context, err);
    if (err->code)
        rt_free(mean);
    else
        f->m->data_mean = mean;
    return err->code;
}

int64_t rt_feed_load_range(rt_feed *f, int64_t first, int64_t n, rt_feed_report report,
                           void *context) {
    if (n > f->cap)
        n = f->cap;
    /* The list may be f->index itself: entry k is overwritten only after it was read. */
    for (int64_t i = 0; i < n; i++)
        f->index[i] = first + i;
    return rt_feed_load(f, f->index, n, -1, report, context);
}
