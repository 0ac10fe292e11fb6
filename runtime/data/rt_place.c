/* rt_place.c: random crops, random sizes and parts, the ten crops of a test (rt_place.h).
 *
 * Counters of the stream RT_RNG_AUGMENT: 5 for the shorter side and the place, 6 to 15 for the ten
 * tries of a random part.
 * Source: Krizhevsky, Sutskever, Hinton 2012 (crops); Simonyan, Zisserman 2015, section 3.1 (the
 * shorter side); Szegedy et al. 2015, section 6 (parts of 8 % to 100 % of the area, sides 3 : 4 to
 * 4 : 3).
 */
#include "rt_place.h"

#include <math.h>
#include <string.h>

#include "rt_abi.h"
#include "rt_rng.h"

enum { COUNTER_PLACE = 5, COUNTER_TRY = 6, TRIES = 10 };

static void draw(uint64_t seed, int64_t epoch, int64_t sample, uint32_t counter, uint32_t r[4]) {
    rt_rng_block(rt_rng_make(seed, RT_RNG_AUGMENT), (uint32_t)epoch, (uint32_t)sample,
                 (uint32_t)(sample >> 32), counter, r);
}

int rt_place_fresh(const float *a) {
    return a[RT_AUGMENT_SHORT_HI] != 0 || a[RT_AUGMENT_AREA_HI] != 0;
}

/* The whole picture, made side pixels on its shorter side (0: as it is). */
static void whole(struct rt_place *p, int width, int height, int side) {
    *p = (struct rt_place){0, 0, width, height, width, height, 0, 0};
    if (side > 0)
        rt_short_side(width, height, side, &p->w, &p->h);
}

int rt_place_same_size(const struct rt_prep *prep, int width, int height) {
    struct rt_place p;
    whole(&p, width, height, prep->resize_short);
    /* A picture that is smaller both ways is padded or stretched, one of another shape as well. */
    return p.w == prep->width && p.h == prep->height;
}

/* 0 .. room, where the border may make room negative: then the middle. */
static int somewhere(uint32_t bits, int size, int window, int border) {
    int64_t room = (int64_t)size + 2 * (int64_t)border - window;
    if (room <= 0)
        return (int)(room / 2) - border;
    return (int)rt_rng_below(bits, (uint32_t)room + 1) - border;
}

static void centre(struct rt_place *p, const struct rt_prep *prep) {
    p->x = p->w >= prep->width ? (p->w - prep->width) / 2 : -((prep->width - p->w) / 2);
    p->y = p->h >= prep->height ? (p->h - prep->height) / 2 : -((prep->height - p->h) / 2);
}

/* A part of low to high of the area, its sides as 3 : 4 to 4 : 3 (logarithms uniform); after ten
 * parts that do not fit: the largest one in the middle whose shape is allowed. */
static void random_part(const float *a, const struct rt_prep *prep, int width, int height,
                        uint64_t seed, int64_t epoch, int64_t sample, struct rt_place *p) {
    const double span = log(4.0 / 3);
    double low = (double)a[RT_AUGMENT_AREA_LO], high = (double)a[RT_AUGMENT_AREA_HI];
    *p = (struct rt_place){0, 0, width, height, prep->width, prep->height, 0, 0};
    for (uint32_t k = 0; k < TRIES; k++) {
        uint32_t r[4];
        draw(seed, epoch, sample, COUNTER_TRY + k, r);
        double area = (low + (high - low) * (double)rt_rng_unit(r[0])) * width * height;
        double ratio = exp(span * (2 * (double)rt_rng_unit(r[1]) - 1));
        int64_t w = llround(sqrt(area * ratio)), h = llround(sqrt(area / ratio));
        if (w < 1 || h < 1 || w > width || h > height)
            continue;
        p->part_w = (int)w;
        p->part_h = (int)h;
        p->part_x = (int)rt_rng_below(r[2], (uint32_t)(width - w + 1));
        p->part_y = (int)rt_rng_below(r[3], (uint32_t)(height - h + 1));
        return;
    }
    if (3 * (int64_t)width > 4 * (int64_t)height)
        p->part_w = (int)(4 * (int64_t)height / 3);
    else if (4 * (int64_t)width < 3 * (int64_t)height)
        p->part_h = (int)(4 * (int64_t)width / 3);
    p->part_w = p->part_w < 1 ? 1 : p->part_w;
    p->part_h = p->part_h < 1 ? 1 : p->part_h;
    p->part_x = (width - p->part_w) / 2;
    p->part_y = (height - p->part_h) / 2;
}

int rt_place_random(const float *a, const struct rt_prep *prep, int width, int height,
                    uint64_t seed, int64_t epoch, int64_t sample, struct rt_place *p) {
    uint32_t r[4];
    int crop = a[RT_AUGMENT_CROP] > 0, border = crop ? (int)a[RT_AUGMENT_CROP] - 1 : 0;
    if (!crop && !rt_place_fresh(a))
        return RT_PLACE_USUAL;
    if (a[RT_AUGMENT_AREA_HI] > 0) {
        random_part(a, prep, width, height, seed, epoch, sample, p);
        return RT_PLACE_PART;
    }
    draw(seed, epoch, sample, COUNTER_PLACE, r);
    int same = rt_place_same_size(prep, width, height), side = prep->resize_short;
    if (a[RT_AUGMENT_SHORT_HI] > 0) {
        int low = (int)a[RT_AUGMENT_SHORT_LO], high = (int)a[RT_AUGMENT_SHORT_HI];
        side = low + (int)rt_rng_below(r[0], (uint32_t)(high - low + 1));
        same = 0;
    }
    whole(p, width, height, side);
    centre(p, prep);
    if (crop) {
        p->x = somewhere(r[1], p->w, prep->width, border);
        p->y = somewhere(r[2], p->h, prep->height, border);
    }
    return same ? RT_PLACE_SHIFT : RT_PLACE_PART;
}

/* What rt_prep_apply does by itself: a window of nw x nh, stretched to the input. */
static void usual(const struct rt_prep *prep, int width, int height, struct rt_place *p, int *nw,
                  int *nh) {
    whole(p, width, height, prep->resize_short);
    *nw = (prep->crop && p->w > prep->width) || (prep->pad && p->w < prep->width) ? prep->width
                                                                                  : p->w;
    *nh = (prep->crop && p->h > prep->height) || (prep->pad && p->h < prep->height) ? prep->height
                                                                                    : p->h;
    p->x = p->w >= *nw ? (p->w - *nw) / 2 : -((*nw - p->w) / 2);
    p->y = p->h >= *nh ? (p->h - *nh) / 2 : -((*nh - p->h) / 2);
}

/* Cell i of n cells over a length: the old cell that holds its centre. */
static int64_t nearest(int64_t i, int64_t n, int64_t length) {
    return (2 * i + 1) * length / (2 * n);
}

void rt_place_map(const struct rt_prep *prep, const struct rt_place *place, const rt_image *map,
                  int ignore, int32_t *classes) {
    struct rt_place p;
    int nw = prep->width, nh = prep->height;
    if (place)
        p = *place;
    else
        usual(prep, map->width, map->height, &p, &nw, &nh);
    for (int y = 0; y < prep->height; y++) {
        int64_t v = p.y + nearest(y, prep->height, nh);
        int64_t sy = v >= 0 && v < p.h ? p.part_y + nearest(v, p.h, p.part_h) : -1;
        for (int x = 0; x < prep->width; x++) {
            int64_t u = p.x + nearest(x, prep->width, nw);
            int64_t sx = u >= 0 && u < p.w ? p.part_x + nearest(u, p.w, p.part_w) : -1;
            int value = sx >= 0 && sy >= 0 ? map->data[sy * map->width + sx] : ignore;
            *classes++ = value == ignore ? -1 : value;
        }
    }
}

void rt_place_view(const struct rt_prep *prep, int width, int height, int view,
                   struct rt_place *p) {
    int at = (view - 1) % 5;
    whole(p, width, height, prep->resize_short);
    if (p->w < prep->width || p->h < prep->height)
        p->w = prep->width, p->h = prep->height; /* too small for a crop: stretched */
    centre(p, prep);
    if (at < 4) {
        p->x = at & 1 ? p->w - prep->width : 0;
        p->y = at & 2 ? p->h - prep->height : 0;
    }
}

void rt_place_shift(float *chw, int channels, int height, int width, int dx, int dy,
                    const float *outside, float *scratch) {
    int64_t plane = (int64_t)height * width;
    int from = dx < 0 ? (-dx < width ? -dx : width) : 0;
    int to = dx > 0 ? (dx < width ? width - dx : 0) : width;
    if (dx == 0 && dy == 0)
        return;
    for (int c = 0; c < channels; c++, chw += plane) {
        memcpy(scratch, chw, (size_t)plane * sizeof *chw);
        for (int y = 0; y < height; y++) {
            int64_t sy = (int64_t)y + dy;
            float *row = chw + (int64_t)y * width;
            int inside = sy >= 0 && sy < height;
            for (int x = 0; x < width; x++)
                if (!inside || x < from || x >= to)
                    row[x] = outside[c];
            if (inside && to > from)
                memcpy(row + from, scratch + sy * width + from + dx,
                       (size_t)(to - from) * sizeof *row);
        }
    }
}
