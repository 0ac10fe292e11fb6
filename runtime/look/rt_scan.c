/* rt_scan.c: the strongest activations of every map over a data set (rt_look.h).
 *
 * requires: a look program that is open; ensures: for every map the RT_TOP largest activations, at
 * most one an image, in falling order, ties to the earlier sample and position.  Memory is that of
 * the peaks and of a batch, whatever the size of the set.
 * All threads look for each map's largest value, where the kernels left it: in blocks of V channels
 * (HACKING.md, layouts) a row is a run of vectors, and the search is one maximum each.  Where that
 * value lies is asked only of those that enter the nine, which becomes rare after some hundred
 * images.  That part goes image by image, so threads change nothing.
 * theory: Zeiler and Fergus 2014, section 4, "the top nine activations".
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_look.h"
#include "rt_par.h"

/* How to reach the cells of a layer in blocks of V channels. */
typedef struct Blocks {
    int64_t lanes;          /* V; 0: another layout, which is unpacked first */
    int64_t block, row;     /* floats from one block of channels, one row to the next */
    int64_t first;          /* floats in front of cell (0, 0) */
} Blocks;

typedef struct Scan {
    rt_look *l;
    const int *seed;
    int nseeds;
    Blocks *blocks;         /* per layer */
    float **most;           /* per layer: images * maps, the largest values */
    float *room;            /* threads * seed_room: layers that are unpacked */
} Scan;

static const rt_tensor *layer_of(const Scan *s, int k) {
    const rt_program *p = &s->l->m->model->program[RT_LOOK];
    return &p->tensor[p->seed[s->seed[k]].tensor];
}

static Blocks blocks_of(const rt_tensor *t) {
    const rt_layout *y = &t->layout;
    const rt_axis *a = y->axis;
    int64_t v = y->naxes == 4 ? a[3].extent : 0;
    if (y->rank != 3 || (v != 4 && v != 8 && v != 16) || rt_tensor_frames(t) != 1 ||
        t->dtype != RT_F32)
        return (Blocks){0};
    if (a[0].dim != 0 || a[0].mult != v || a[1].dim != 1 || a[2].dim != 2 || a[3].dim != 0)
        return (Blocks){0};
    if (a[1].mult != 1 || a[2].mult != 1 || a[3].mult != 1 || a[0].offset || a[3].offset)
        return (Blocks){0};
    int64_t row = a[2].extent * v;
    return (Blocks){v, a[1].extent * row, row, -a[1].offset * row - a[2].offset * v};
}

/* The largest of each lane over h rows of w vectors of V floats; a NaN wins only as the first. */
#define MOST(V)                                                                                    \
    static void most##V(const float *at, int64_t row, int64_t h, int64_t w, float *out) {          \
        float most[V];                                                                             \
        memcpy(most, at, sizeof most);                                                             \
        for (int64_t y = 0; y < h; y++)                                                            \
            for (const float *x = at + y * row, *end = x + w * (V); x < end; x += V)               \
                for (int l = 0; l < V; l++)                                                        \
                    most[l] = x[l] > most[l] ? x[l] : most[l];                                     \
        memcpy(out, most, sizeof most);                                                            \
    }
MOST(4)
MOST(8)
MOST(16)

static void most_of_blocks(const Blocks *b, const int64_t chw[3], const float *at, float *most) {
    for (int64_t c = 0; c < chw[0]; c += b->lanes) {
        const float *from = at + c / b->lanes * b->block + b->first;
        int64_t n = chw[0] - c < b->lanes ? chw[0] - c : b->lanes;
        float lane[16];
        (b->lanes == 4 ? most4 : b->lanes == 8 ? most8 : most16)(from, b->row, chw[1], chw[2], lane);
        memcpy(most + c, lane, (size_t)n * sizeof *lane);
    }
}

static void most_of_maps(const int64_t chw[3], const float *layer, float *most) {
    int64_t plane = chw[1] * chw[2];
    for (int64_t c = 0; c < chw[0]; c++) {
        most[c] = layer[c * plane];
        for (int64_t i = 1; i < plane; i++)
            most[c] = layer[c * plane + i] > most[c] ? layer[c * plane + i] : most[c];
    }
}

/* Items are images times layers. */
static void scan_piece(void *context, int64_t lo, int64_t hi, int thread) {
    Scan *s = context;
    for (int64_t item = lo; item < hi; item++) {
        int64_t image = item / s->nseeds, chw[3];
        int k = (int)(item % s->nseeds);
        rt_seed_shape(s->l->m->model, s->seed[k], chw);
        float *most = s->most[k] + image * chw[0];
        int tensor = s->l->m->model->program[RT_LOOK].seed[s->seed[k]].tensor;
        if (s->blocks[k].lanes) {
            most_of_blocks(&s->blocks[k], chw, rt_tensor_at(s->l->m, RT_LOOK, tensor, image), most);
            continue;
        }
        float *room = s->room + thread * s->l->seed_room;
        rt_tensor_read(s->l->m, RT_LOOK, tensor, image, room);
        most_of_maps(chw, room, most);
    }
}

/* The first place of a value in its map, in reading order. */
static int64_t place_of(const Scan *s, int k, const int64_t chw[3], int64_t image, int64_t c,
                        float value) {
    const Blocks *b = &s->blocks[k];
    const float *at, *end;
    int tensor = s->l->m->model->program[RT_LOOK].seed[s->seed[k]].tensor;
    if (isnan(value))
        return 0;
    if (!b->lanes) {
        rt_tensor_read(s->l->m, RT_LOOK, tensor, image, s->room);
        at = s->room + c * chw[1] * chw[2];
        for (end = at + chw[1] * chw[2]; at < end && *at != value; at++)
            ;
        return at - (s->room + c * chw[1] * chw[2]);
    }
    const float *layer = rt_tensor_at(s->l->m, RT_LOOK, tensor, image);
    for (int64_t y = 0; y < chw[1]; y++) {
        at = layer + c / b->lanes * b->block + b->first + y * b->row + c % b->lanes;
        for (int64_t x = 0; x < chw[2]; x++)
            if (at[x * b->lanes] == value)
                return y * chw[2] + x;
    }
    return 0;
}

/* Inserts a peak into the ordered nine of its map; an equal value stays behind the earlier one. */
static void offer(rt_peak *top, rt_peak p) {
    int at = RT_TOP;
    while (at > 0 && (top[at - 1].sample < 0 || p.value > top[at - 1].value))
        at--;
    if (at == RT_TOP)
        return;
    memmove(top + at + 1, top + at, (size_t)(RT_TOP - 1 - at) * sizeof *top);
    top[at] = p;
}

static void offer_all(const Scan *s, int k, int64_t image, int64_t sample, rt_peak *top) {
    int64_t chw[3];
    rt_seed_shape(s->l->m->model, s->seed[k], chw);
    for (int64_t c = 0; c < chw[0]; c++) {
        const rt_peak *last = top + c * RT_TOP + RT_TOP - 1;
        float value = s->most[k][image * chw[0] + c];
        if (last->sample >= 0 && !(value > last->value))
            continue;
        int64_t at = place_of(s, k, chw, image, c, value);
        offer(top + c * RT_TOP, (rt_peak){value, sample, at / chw[2], at % chw[2]});
    }
}

static int scan_open(Scan *s, int64_t batch, rt_peak **top, rt_error *err) {
    size_t n = (size_t)(s->nseeds > 0 ? s->nseeds : 1);
    int unpacked = 0;
    s->blocks = rt_alloc_zero(n, sizeof *s->blocks, "a scan", err);
    s->most = s->blocks ? rt_alloc_zero(n, sizeof *s->most, "a scan", err) : NULL;
    for (int k = 0; k < s->nseeds && s->most && !err->code; k++) {
        int64_t chw[3];
        rt_seed_shape(s->l->m->model, s->seed[k], chw);
        s->blocks[k] = blocks_of(layer_of(s, k));
        unpacked |= !s->blocks[k].lanes;
        s->most[k] = rt_alloc((size_t)batch * (size_t)chw[0], sizeof(float), "a scan", err);
        for (int64_t i = 0; i < chw[0] * RT_TOP; i++)
            top[k][i] = (rt_peak){.sample = -1};
    }
    if (unpacked && !err->code)
        s->room = rt_alloc((size_t)s->l->m->threads * (size_t)s->l->seed_room, sizeof *s->room,
                           "a layer's values", err);
    return err->code;
}

static void scan_close(Scan *s) {
    for (int k = 0; k < s->nseeds && s->most; k++)
        rt_free(s->most[k]);
    rt_free((void *)s->most);
    rt_free(s->blocks);
    rt_free(s->room);
}

/* Records loaded images first .. first + n - 1 and keeps their peaks. */
static int scan_some(const Scan *s, rt_feed *feed, int64_t first, int64_t n, rt_peak **top,
                     rt_error *err) {
    netrt *m = s->l->m;
    int64_t cells = feed->map ? m->model->label_cells : 1;
    const int32_t *label = feed->map ? feed->map : feed->label;
    for (int k = 0; k < m->model->ninputs; k++)
        m->frame.input[k] = feed->input[k] + first * rt_input_count(m->model, k);
    m->frame.label[0] = m->frame.label[1] = label + first * cells;
    if (rt_look_record_for(s->l, s->seed, s->nseeds, n, err))
        return err->code;
    rt_parallel_for(m->threads, n * s->nseeds, 1, scan_piece, (void *)(uintptr_t)s);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < s->nseeds; k++)
            offer_all(s, k, i, feed->index[first + i], top[k]);
    return NETRT_OK;
}

int rt_look_scan(rt_cli *cli, rt_look *l, rt_feed *feed, int64_t limit, const int *seed, int nseeds,
                 rt_peak **top, rt_error *err) {
    Scan s = {.l = l, .seed = seed, .nseeds = nseeds};
    int64_t total = rt_data_count(feed->ds), batch = l->cap < feed->cap ? l->cap : feed->cap;
    total = limit > 0 && limit < total ? limit : total;
    scan_open(&s, batch, top, err);
    for (int64_t first = 0; first < total && !rt_cli_signal && !err->code; first += feed->cap) {
        int64_t want = total - first < feed->cap ? total - first : feed->cap;
        int64_t n = rt_feed_load_range(feed, first, want, rt_cli_skipped, cli);
        if (n < 0)
            rt_fail(err, NETRT_ELIMIT, "not enough memory to load pictures");
        for (int64_t i = 0; i < n && !rt_cli_signal && !err->code; i += batch) {
            scan_some(&s, feed, i, n - i < batch ? n - i : batch, top, err);
            if (rt_progress_due(&cli->progress))
                rt_progress_tick(&cli->progress, "scanning", first + i, total, "", -1);
        }
    }
    rt_progress_clear(&cli->progress);
    scan_close(&s);
    if (rt_cli_signal && !err->code)
        return rt_fail(err, 128 + rt_cli_signal, "stopped while scanning");
    return err->code;
}
