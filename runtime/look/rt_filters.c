/* rt_filters.c: the weights of convolutions as pictures, and how strong each filter is.
 *
 * A layer that reads the image shows its weights, one scale for the sheet (colour for three
 * channels).  A deeper one shows for each map the weighted sum of the pictures of the layer below
 * (Lee et al. 2009, section 4.2): B[o] = sum over c, q of w[o, c, q] * B[c] moved by q * stride.
 * Our sum is the deconvnet walk of one unit over the empty picture (input 0): pooled cells stand in
 * the first cell of their window, and what inhibits a rectified layer is left out, since nothing
 * below can take it back.  Nets without that rule: the gradient walk, so the linear part around 0.
 * RMS = sqrt(mean of squares over a filter's weights), the number that Zeiler and Fergus 2014,
 * section 3, hold below 0.1.  Weak: below 1 % of the layer's median; dominant: above 3 medians; dead:
 * rectified and 0 at every cell of every image scanned.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_compare.h"

enum { MAPS_MAX = 32, MATRIX_MAX = 32, WANTED = 64, TILE_MAX = 96, LAYERS_MAX = 64, SCAN = 1000,
       CHOSEN_MAX = 4096 };
enum { USUAL, WEAK, DOMINANT, DEAD };
static const char *const state_names[] = {"", "weak", "dominant", "dead"};
static const unsigned state_color[] = {0, 0x999999u, 0x0072b2u, 0xd55e00u};

static struct {
    int kernels;
} options;

typedef struct Layer {
    rt_viz *v;
    const rt_param *p;
    const rt_peak *top; /* of the maps, RT_TOP each, or NULL: not scanned */
    int seed;           /* -1: none with as many maps */
    float *w;
    double *rms;        /* of each filter */
    double median;
    int64_t scanned;
    int64_t *recorded;  /* empty pictures recorded by layers before */
} Layer;

/* Extents of a kernel as a picture; frames stand below each other. */
static int64_t kernel_height(const rt_param *p) {
    return p->rank == 3 ? p->dim[1] : p->rank == 5 ? p->dim[2] * p->dim[3] : p->dim[2];
}

static int64_t kernel_width(const rt_param *p) {
    return p->dim[p->rank - 1];
}

static int is_filter(const rt_viz *v, const rt_param *p) {
    return p->rank >= 3 && p->rank <= 5 && !(p->flags & RT_PARAM_CONSTANT) &&
           rt_viz_listed(v->layers, p->label) && rt_viz_count_maps(v, p->dim[0]) > 0;
}

int rt_viz_any_filters(const rt_viz *v) {
    int any = 0;
    for (int i = 0; i < v->m->model->nparams; i++)
        any |= is_filter(v, &v->m->model->param[i]);
    return any;
}

/* The seed whose maps the filters make, -1: none. */
static int seed_of(const rt_viz *v, const rt_param *p) {
    int64_t chw[3];
    int seed = rt_seed_of_param(v->m->model, (int)(p - v->m->model->param));
    if (seed < 0)
        return -1;
    rt_seed_shape(v->m->model, seed, chw);
    return chw[0] == p->dim[0] ? seed : -1;
}

static int reads_image(const Layer *l) {
    if (l->seed < 0)
        return l->p->rank == 3 || l->p->dim[1] == 1 || l->p->dim[1] == 3;
    const rt_seed *s = &l->v->m->model->program[RT_LOOK].seed[l->seed];
    return (s->rf_size[1] == kernel_width(l->p) || s->rf_size[1] <= 0) &&
           l->p->dim[1] <= l->v->m->model->input[0].c;
}

/* ---- how strong ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(Layer *l, rt_error *err) {
    int64_t o = l->p->dim[0], one = rt_param_count(l->p) / o;
    l->rms = rt_alloc((size_t)(2 * o), sizeof *l->rms, "filters", err);
    for (int64_t i = 0; l->rms && i < o; i++) {
        double sum = 0;
        for (int64_t k = 0; k < one; k++)
            sum += (double)l->w[i * one + k] * (double)l->w[i * one + k];
        l->rms[i] = l->rms[o + i] = sqrt(sum / (double)one);
    }
    if (l->rms) {
        qsort(l->rms + o, (size_t)o, sizeof *l->rms, by_size);
        l->median = (l->rms[o + (o - 1) / 2] + l->rms[o + o / 2]) / 2;
    }
    return err->code;
}

static int state_of(const Layer *l, int64_t i) {
    const rt_program *look = &l->v->m->model->program[RT_LOOK];
    if (l->top && l->top[i * RT_TOP].sample >= 0 && l->top[i * RT_TOP].value <= 0 &&
        look->seed[l->seed].rule[RT_RULE_GRADIENT].rectified)
        return DEAD;
    return l->rms[i] > 3 * l->median ? DOMINANT : l->rms[i] < 0.01 * l->median ? WEAK : USUAL;
}

static void add_rows(const Layer *l, rt_text *csv) {
    int64_t o = l->p->dim[0], one = rt_param_count(l->p) / o;
    for (int64_t i = 0; i < o; i++) {
        if (!rt_viz_wants_map(l->v, i))
            continue;
        rt_text_printf(csv, "%s,%lld,%lld,%.9g,%.9g,%d,", l->p->label, (long long)i, (long long)one,
                       l->rms[i], (double)rt_max_abs(l->w + i * one, one), l->rms[i] > 0.1);
        if (l->top && l->top[i * RT_TOP].sample >= 0)
            rt_text_printf(csv, "%.9g", (double)l->top[i * RT_TOP].value);
        rt_text_printf(csv, ",%s\n", state_names[state_of(l, i)]);
    }
}

int rt_filter_counts(rt_viz *v, int param, const rt_peak *top, rt_filters *out, rt_error *err) {
    const rt_param *p = &v->m->model->param[param];
    Layer l = {.v = v, .p = p, .top = top, .seed = seed_of(v, p)};
    *out = (rt_filters){.count = p->dim[0], .maps = p->rank == 3 ? 1 : p->dim[1],
                        .h = kernel_height(p), .w = kernel_width(p)};
    out->weights = l.w = rt_alloc((size_t)rt_param_count(p), sizeof *l.w, "filters", err);
    if (l.w) {
        rt_param_read(v->m, param, l.w);
        measure(&l, err);
    }
    if (!err->code) {
        out->median = l.median;
        out->largest = l.rms[2 * p->dim[0] - 1];
        for (int64_t i = 0; i < p->dim[0]; i++) {
            int state = state_of(&l, i);
            out->dead += state == DEAD;
            out->weak += state == WEAK;
            out->dominant += state == DOMINANT;
        }
    }
    rt_free(l.rms);
    return err->code;
}

/* "2 dead (orange), 1 dominant (blue)" of those on the sheet. */
static void count_states(const Layer *l, char *text, size_t size) {
    static const char *const words[] = {"", "weak (grey)", "dominant (blue)", "dead (orange)"};
    size_t at = 0;
    text[0] = 0;
    for (int s = DEAD; s > USUAL; s--) {
        int64_t n = 0;
        for (int64_t i = 0; i < l->p->dim[0]; i++)
            n += rt_viz_wants_map(l->v, i) && state_of(l, i) == s;
        if (n && at < size)
            at += (size_t)snprintf(text + at, size - at, "; %lld %s", (long long)n, words[s]);
    }
}

/* ---- sheets ---- */

static void put_tile(const Layer *l, rt_sheet *s, int64_t map, int64_t k, const rt_image *tile) {
    char caption[48];
    int state = state_of(l, map), column = (int)(k % s->columns), row = (int)(k / s->columns);
    if (state != USUAL)
        rt_sheet_frame(s, column, row, state_color[state]);
    snprintf(caption, sizeof caption, "%lld %.2g", (long long)map, l->rms[map]);
    rt_sheet_put(s, column, row, tile, caption);
}

static int finish(const Layer *l, rt_sheet *s, const char *kind, const char *title, const char *note,
                  const float *raw, const int64_t dim[4], rt_error *err) {
    char name[128];
    snprintf(name, sizeof name, "%s-%s", kind, l->p->label);
    if (!err->code && rt_viz_write(l->v, &s->canvas, name, title, note, err) == 0)
        rt_viz_write_raw(l->v, raw, 4, dim, name, err);
    rt_sheet_close(s);
    return err->code;
}

/* Weights themselves, as the layer reads the image. */
static int show_weights(const Layer *l, rt_error *err) {
    const rt_param *p = l->p;
    int64_t o = p->dim[0], ic = p->rank == 3 ? 1 : p->dim[1], kh = kernel_height(p);
    int64_t kw = kernel_width(p), one = ic * kh * kw, shown = rt_viz_count_maps(l->v, o), k = 0;
    float scale = rt_max_abs(l->w, o * one);
    char title[160], note[300], states[120];
    count_states(l, states, sizeof states);
    snprintf(title, sizeof title, "filters of %s", p->label);
    snprintf(note, sizeof note, "%lld filters %lldx%lld, mid-grey = 0, white = %+.4g; number and RMS "
             "of each%s", (long long)o, (long long)kh, (long long)kw, (double)scale, states);
    rt_sheet s = {0};
    rt_image tile = {0};
    int columns = rt_sheet_columns(shown, 24);
    if (rt_sheet_open(&s, title, note, columns, (int)((shown + columns - 1) / columns), (int)kw,
                      (int)kh, WANTED, 1, err) == 0)
        for (int64_t i = 0; i < o && !err->code; i++)
            if (rt_viz_wants_map(l->v, i) &&
                rt_canvas_tone(&tile, l->w + i * one, (int)ic, (int)kh, (int)kw, l->v->prep.bgr,
                               RT_TONE_SIGNED, scale, err) == 0)
                put_tile(l, &s, i, k++, &tile);
    rt_image_free(&tile);
    return finish(l, &s, "filters", title, note, l->w, (int64_t[4]){o, ic, kh, kw}, err);
}

/* Rows: maps, columns: the maps they read. */
static int show_kernels(const Layer *l, rt_error *err) {
    const rt_param *p = l->p;
    int64_t o = p->dim[0], ic = p->rank == 3 ? 1 : p->dim[1], kh = kernel_height(p);
    int64_t kw = kernel_width(p), wanted = rt_viz_count_maps(l->v, o), r = 0;
    int64_t cols = ic < MATRIX_MAX ? ic : MATRIX_MAX, rows = wanted < MATRIX_MAX ? wanted : MATRIX_MAX;
    float scale = rt_max_abs(l->w, o * ic * kh * kw);
    char title[160], note[300];
    snprintf(title, sizeof title, "kernels of %s", p->label);
    snprintf(note, sizeof note,
             "rows: %s %lld of %lld maps, columns: input maps 0-%lld of %lld; mid-grey = 0, "
             "white = %+.4g", l->v->maps ? "chosen" : "first", (long long)rows, (long long)o,
             (long long)cols - 1, (long long)ic, (double)scale);
    rt_sheet s = {0};
    rt_image tile = {0};
    if (rt_sheet_open(&s, title, note, (int)cols, (int)rows, (int)kw, (int)kh, 16, 0, err) == 0)
        for (int64_t i = 0; i < o && r < rows; i++) {
            for (int64_t c = 0; c < cols && rt_viz_wants_map(l->v, i) && !err->code; c++)
                if (rt_canvas_tone(&tile, l->w + (i * ic + c) * kh * kw, 1, (int)kh, (int)kw, 0,
                                   RT_TONE_SIGNED, scale, err) == 0)
                    rt_sheet_put(&s, (int)c, (int)r, &tile, NULL);
            r += rt_viz_wants_map(l->v, i);
        }
    rt_image_free(&tile);
    return finish(l, &s, "kernels", title, note, l->w, (int64_t[4]){o, ic, kh, kw}, err);
}

/* ---- weighted sums of the layer below ---- */

typedef struct Sums {
    const Layer *l;
    int rule;
    int64_t chw[3], pixels, shown;
    rt_rect r;         /* what the middle unit sees, inside the picture */
    float *zero[4];    /* look.cap empty inputs */
    float *diff;       /* look.cap projections */
    float *cut;        /* shown pictures of channels * r.h * r.w */
    int64_t map[CHOSEN_MAX]; /* which */
} Sums;

static void inside(Sums *s, int64_t h, int64_t w) {
    rt_rect *r = &s->r;
    int64_t y1 = r->y + r->h < h ? r->y + r->h : h, x1 = r->x + r->w < w ? r->x + r->w : w;
    r->y = r->y > 0 ? r->y : 0;
    r->x = r->x > 0 ? r->x : 0;
    r->h = y1 > r->y ? y1 - r->y : 1;
    r->w = x1 > r->x ? x1 - r->x : 1;
}

static int sums_open(Sums *s, const Layer *l, rt_error *err) {
    rt_viz *v = l->v;
    const rt_model *model = v->m->model;
    const struct rt_prep *prep = &v->prep;
    *s = (Sums){.l = l};
    s->rule = model->program[RT_LOOK].refused[RT_RULE_DECONVNET] ? RT_RULE_GRADIENT
                                                                 : RT_RULE_DECONVNET;
    rt_seed_shape(model, l->seed, s->chw);
    s->r = rt_unit_field(model, l->seed, s->chw[1] / 2, s->chw[2] / 2);
    inside(s, prep->height, prep->width);
    s->pixels = (int64_t)prep->channels * prep->height * prep->width;
    int64_t most = v->maps ? CHOSEN_MAX : MAPS_MAX;
    for (int64_t i = 0; i < s->chw[0] && s->shown < most; i++)
        if (rt_viz_wants_map(v, i))
            s->map[s->shown++] = i;
    for (int i = 0; i < model->ninputs && i < 4 && !err->code; i++)
        s->zero[i] = rt_alloc_zero((size_t)(v->look.cap * rt_input_count(model, i)), sizeof(float),
                                   "empty pictures", err);
    if (!err->code)
        s->diff = rt_alloc((size_t)(v->look.cap * s->pixels), sizeof(float), "projections", err);
    if (!err->code)
        s->cut = rt_alloc((size_t)(s->shown * prep->channels * s->r.h * s->r.w), sizeof(float),
                          "pictures of filters", err);
    return err->code;
}

static void sums_close(Sums *s) {
    for (int i = 0; i < 4; i++)
        rt_free(s->zero[i]);
    rt_free(s->diff);
    rt_free(s->cut);
}

static void cut_out(Sums *s, const float *diff, float *cut) {
    const struct rt_prep *prep = &s->l->v->prep;
    for (int64_t c = 0; c < prep->channels; c++)
        for (int64_t y = 0; y < s->r.h; y++)
            memcpy(cut + (c * s->r.h + y) * s->r.w,
                   diff + (c * prep->height + s->r.y + y) * prep->width + s->r.x,
                   (size_t)s->r.w * sizeof *cut);
}

static int sums_make(Sums *s, rt_error *err) {
    rt_viz *v = s->l->v;
    int64_t one = v->prep.channels * s->r.h * s->r.w;
    rt_unit unit[64];
    float ones[64];
    for (int i = 0; i < 4; i++)
        v->m->frame.input[i] = s->zero[i];
    int64_t cap = v->look.cap < 64 ? v->look.cap : 64, recorded = s->shown < cap ? s->shown : cap;
    if (*s->l->recorded < recorded && rt_look_record(&v->look, recorded, err))
        return err->code;
    *s->l->recorded = *s->l->recorded < recorded ? recorded : *s->l->recorded;
    for (int64_t first = 0; first < s->shown; first += cap) {
        int64_t n = s->shown - first < cap ? s->shown - first : cap;
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        for (int64_t i = 0; i < n; i++) {
            unit[i] = (rt_unit){s->map[first + i], s->chw[1] / 2, s->chw[2] / 2};
            ones[i] = 1;
        }
        if (rt_look_project(&v->look, s->rule, s->l->seed, unit, ones, n, s->diff, err))
            return err->code;
        for (int64_t i = 0; i < n; i++)
            cut_out(s, s->diff + i * s->pixels, s->cut + (first + i) * one);
        if (rt_progress_due(&v->cli.progress))
            rt_progress_tick(&v->cli.progress, s->l->p->label, first + n, s->shown, "", -1);
    }
    rt_progress_clear(&v->cli.progress);
    return NETRT_OK;
}

static int sums_draw(Sums *s, rt_error *err) {
    const Layer *l = s->l;
    const struct rt_prep *prep = &l->v->prep;
    int64_t one = prep->channels * s->r.h * s->r.w, side = s->r.h > s->r.w ? s->r.h : s->r.w;
    int64_t h = s->r.h, w = s->r.w;
    if (side > TILE_MAX) { /* reduced, its sides in proportion */
        h = (h * TILE_MAX + side - 1) / side;
        w = (w * TILE_MAX + side - 1) / side;
    }
    char title[160], note[400], states[120], part[40] = "";
    count_states(l, states, sizeof states);
    if (s->shown < s->chw[0])
        snprintf(part, sizeof part, "%lld of ", (long long)s->shown);
    snprintf(title, sizeof title, "filters of %s: weighted sums of the layer below", l->p->label);
    snprintf(note, sizeof note, "%s%lld maps, fields %lldx%lld (%s walk over input 0), mid-grey = 0, own "
             "scale each; number and RMS%s", part, (long long)s->chw[0], (long long)s->r.h,
             (long long)s->r.w, rt_rule_names[s->rule], states);
    rt_sheet sheet = {0};
    rt_image full = {0}, tile = {0};
    int columns = rt_sheet_columns(s->shown, 16);
    if (rt_sheet_open(&sheet, title, note, columns, (int)((s->shown + columns - 1) / columns), (int)w,
                      (int)h, WANTED, 1, err) == 0)
        for (int64_t i = 0; i < s->shown; i++) {
            const float *x = s->cut + i * one;
            if (rt_canvas_tone(&full, x, prep->channels, (int)s->r.h, (int)s->r.w, prep->bgr,
                               RT_TONE_SIGNED, rt_max_abs(x, one), err) ||
                (side > TILE_MAX && rt_image_resize(&tile, &full, (int)w, (int)h, err)))
                break;
            put_tile(l, &sheet, s->map[i], i, side > TILE_MAX ? &tile : &full);
        }
    rt_image_free(&full);
    rt_image_free(&tile);
    return finish(l, &sheet, "filters", title, note, s->cut,
                  (int64_t[4]){s->shown, prep->channels, s->r.h, s->r.w}, err);
}

static int show_sums(const Layer *l, rt_error *err) {
    Sums *s = rt_alloc(1, sizeof *s, "pictures of filters", err);
    if (s && sums_open(s, l, err) == 0 && sums_make(s, err) == 0)
        sums_draw(s, err);
    if (s)
        sums_close(s);
    rt_free(s);
    return err->code;
}

/* ---- all layers ---- */

static int show_layer(Layer *l, int index, rt_text *csv, rt_error *err) {
    l->w = rt_alloc((size_t)rt_param_count(l->p), sizeof *l->w, "filters", err);
    if (l->w) {
        rt_param_read(l->v->m, index, l->w);
        measure(l, err);
    }
    if (!err->code) {
        add_rows(l, csv);
        /* a clip's frames below each other are too long a picture for sums over all of them */
        int sums = l->seed >= 0 && l->v->m->model->input[0].frames < 2;
        if (reads_image(l))
            show_weights(l, err);
        else if (sums)
            show_sums(l, err);
        if (!err->code && (options.kernels || (!sums && !reads_image(l))))
            show_kernels(l, err);
    }
    rt_free(l->w);
    rt_free(l->rms);
    return err->code;
}

/* Strongest activations of the maps, for all layers in one pass; where[k] is which parameter's. */
static int scan(rt_viz *v, rt_feed *feed, rt_peak **top, int *where, int *found, rt_error *err) {
    int seed[LAYERS_MAX], n = 0;
    for (int i = 0; i < v->m->model->nparams && n < LAYERS_MAX && !err->code; i++) {
        const rt_param *p = &v->m->model->param[i];
        if (!is_filter(v, p) || (seed[n] = seed_of(v, p)) < 0)
            continue;
        top[n] = rt_alloc((size_t)(p->dim[0] * RT_TOP), sizeof **top, "strongest activations", err);
        where[n] = i;
        *found = n += top[n] != NULL;
    }
    if (!err->code && n)
        rt_look_scan(&v->cli, &v->look, feed, v->limit > 0 ? v->limit : SCAN, seed, n, top, err);
    return err->code;
}

int rt_viz_filters(rt_viz *v, rt_feed *feed, rt_error *err) {
    const rt_model *model = v->m->model;
    rt_peak *top[LAYERS_MAX] = {0};
    int where[LAYERS_MAX], scanned = 0, shown = 0;
    int64_t recorded = 0;
    rt_text csv = {0};
    rt_text_add(&csv, "layer,map,weights,rms,largest,rms_over_0.1,strongest_activation,state\n");
    if (feed)
        scan(v, feed, top, where, &scanned, err);
    for (int i = 0; i < model->nparams && !err->code; i++) {
        if (!is_filter(v, &model->param[i]))
            continue;
        Layer l = {.v = v, .p = &model->param[i], .seed = seed_of(v, &model->param[i]),
                   .recorded = &recorded};
        for (int k = 0; k < scanned; k++)
            l.top = where[k] == i ? top[k] : l.top;
        show_layer(&l, i, &csv, err);
        shown++;
    }
    for (int k = 0; k < scanned; k++)
        rt_free(top[k]);
    if (!err->code && !shown)
        rt_fail(err, NETRT_EUSAGE, "--layer=%s --maps=%s: there is no such convolution\n"
                "help: leave out --layer or --maps to see all of them",
                v->layers ? v->layers : "(all)", v->maps ? v->maps : "(all)");
    if (!err->code)
        rt_viz_write_text(v, &csv, "filters", "filters", err);
    rt_text_free(&csv);
    return err->code;
}

/* Data that the spec names but nobody has are no reason to refuse weights. */
static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_error no = {0};
    if (n)
        return rt_fail(err, NETRT_EUSAGE, "filters takes no file ('%s')\nhelp: it shows the weights; "
                       "--weights names them, --data what to look for dead maps with", operands[0]);
    if (rt_viz_open(v, 1, err))
        return err->code;
    int some = rt_viz_feed(v, operands, 0, &feed, &no) == 0;
    if (!some && v->cli.data)
        *err = no;
    else
        rt_viz_filters(v, some ? &feed : NULL, err);
    rt_viz_feed_close(v, &feed);
    return err->code;
}

static const rt_arg args[] = {
    {"kernels", 0, RT_ARG_FLAG, NULL, &options.kernels, 0, 0,
     "deeper layers also kernel by kernel: a row for each map, a column for each it reads"},
};

const rt_technique rt_technique_filters = {
    {"filters", "the weights of the convolutions as pictures", "[OPTIONS]",
     "filters --weights=run/last.safetensors\nfilters --layer=conv1 --out=pictures"},
    run, args, sizeof args / sizeof *args};
