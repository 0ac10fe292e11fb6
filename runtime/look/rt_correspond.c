/* rt_correspond.c: does a network relate the same part in different pictures?
 *
 * theory: Zeiler and Fergus 2014, section 4.3.  The same part (the left eye) is covered in every
 * picture; eps_i = x_i - x~_i, features of a layer, clean minus covered.  Delta = mean over the
 * ordered pairs i != j of H(sign eps_i, sign eps_j), H the share of coordinates that differ, signs
 * -1, 0, 1.  Small: covering the part changes the features in the same way in all pictures.  To
 * compare: rectangles of the same size at random places, another one in each picture.  The spread
 * behind +- is over the pairs; of the random ones, over the draws.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_args.h"
#include "rt_compare.h"
#include "rt_io.h"
#include "rt_lines.h"
#include "rt_rng.h"

enum { LAYERS_MAX = 64, PARTS_MAX = 16, PICTURES = 5, PICTURES_MAX = 1000 };

static struct {
    const char *region;
    int64_t random;
    double fill;
} options = {.random = 10, .fill = -1};

typedef struct Part {
    char name[40];
    rt_rect *r; /* of each picture; h = 0: not said */
} Part;

typedef struct Table {
    rt_viz *v;
    rt_set set;
    Part part[PARTS_MAX + 1]; /* the last of them: random rectangles */
    int nparts;               /* named ones */
    int seed[LAYERS_MAX], nlayers;
    int64_t count[LAYERS_MAX];
    signed char *sign[LAYERS_MAX]; /* of each picture */
    float *pairs, *clean, *covered; /* look.cap pictures; one layer twice */
    double mean[LAYERS_MAX][PARTS_MAX + 1], spread[LAYERS_MAX][PARTS_MAX + 1];
} Table;

/* ---- regions ---- */

static int64_t picture_named(const Table *t, const char *name) {
    int64_t number = -1;
    char own[256];
    for (int64_t i = 0; i < t->set.n; i++) {
        rt_set_name(&t->set, i, own, sizeof own);
        if (strcmp(own, name) == 0)
            return i;
    }
    return rt_parse_int(name, &number) && number >= 0 && number < t->set.n ? number : -1;
}

static Part *part_named(Table *t, const char *name, rt_error *err) {
    for (int i = 0; i < t->nparts; i++)
        if (strcmp(t->part[i].name, name) == 0)
            return &t->part[i];
    if (t->nparts == PARTS_MAX) {
        rt_fail(err, NETRT_ELIMIT, "%s names more than %d parts", options.region, PARTS_MAX);
        return NULL;
    }
    Part *p = &t->part[t->nparts];
    p->r = rt_alloc_zero((size_t)t->set.n, sizeof *p->r, "regions", err);
    snprintf(p->name, sizeof p->name, "%.39s", name);
    t->nparts += p->r != NULL;
    return p->r ? p : NULL;
}

static int bad_line(const struct rt_lines *l, int64_t i, const char *why, rt_error *err) {
    return rt_fail(err, NETRT_EDATA, "%s:%d: %s\nhelp: lines are part,picture,y,x,height,width in "
                   "pixels of the network's input; picture: a file's name or a number from 0",
                   options.region, l->line[i], why);
}

static int read_line(Table *t, const struct rt_lines *l, int64_t i, rt_error *err) {
    const struct rt_prep *prep = &t->v->prep;
    char *field[6];
    int64_t value[4], picture;
    if (rt_fields(l->at[i], ',', field, 6) != 6)
        return bad_line(l, i, "six fields are expected", err);
    if (i == 0 && strcmp(field[0], "part") == 0)
        return NETRT_OK;
    for (int k = 0; k < 4; k++)
        if (!rt_parse_int(field[2 + k], &value[k]) || value[k] < 0 || value[k] > 65535)
            return bad_line(l, i, "that is no rectangle", err);
    if (value[2] < 1 || value[3] < 1 || value[0] + value[2] > prep->height ||
        value[1] + value[3] > prep->width)
        return bad_line(l, i, "the rectangle is not inside of the picture", err);
    if ((picture = picture_named(t, field[1])) < 0)
        return bad_line(l, i, "there is no such picture", err);
    Part *p = part_named(t, field[0], err);
    if (p)
        p->r[picture] = (rt_rect){value[0], value[1], value[2], value[3]};
    return err->code;
}

static int read_regions(Table *t, rt_error *err) {
    struct rt_lines lines = {0};
    if (rt_lines_read(&lines, options.region, '#', err) == 0)
        for (int64_t i = 0; i < lines.n && !err->code; i++)
            read_line(t, &lines, i, err);
    rt_lines_free(&lines);
    for (int k = 0; k < t->nparts && !err->code; k++)
        for (int64_t i = 0; i < t->set.n && !err->code; i++)
            if (t->part[k].r[i].h == 0) {
                char name[256];
                rt_set_name(&t->set, i, name, sizeof name);
                rt_fail(err, NETRT_EDATA, "%s does not say where '%s' is in %s\nhelp: a line %s,%s,"
                        "y,x,height,width", options.region, t->part[k].name, name, t->part[k].name,
                        name);
            }
    return err->code;
}

/* Rectangles of the parts' mean size, else a quarter of the sides, anywhere inside. */
static void draw_regions(Table *t, int64_t draw) {
    const struct rt_prep *prep = &t->v->prep;
    int64_t h = 0, w = 0, all = t->nparts * t->set.n;
    for (int k = 0; k < t->nparts; k++)
        for (int64_t i = 0; i < t->set.n; i++) {
            h += t->part[k].r[i].h;
            w += t->part[k].r[i].w;
        }
    h = all ? (h + all / 2) / all : (prep->height + 2) / 4;
    w = all ? (w + all / 2) / all : (prep->width + 2) / 4;
    h = h > 0 ? h : 1;
    w = w > 0 ? w : 1;
    rt_rng rng = rt_rng_make(t->v->m->seed, RT_RNG_VIZ);
    for (int64_t i = 0; i < t->set.n; i++) {
        uint32_t bits[4];
        rt_rng_block(rng, 2, (uint32_t)draw, (uint32_t)i, 0, bits);
        t->part[t->nparts].r[i] =
            (rt_rect){rt_rng_below(bits[0], (uint32_t)(prep->height - h + 1)),
                      rt_rng_below(bits[1], (uint32_t)(prep->width - w + 1)), h, w};
    }
}

/* ---- signs and pairs ---- */

static void keep_signs(Table *t, int layer, int64_t picture, int64_t slot) {
    int64_t n = t->count[layer];
    signed char *sign = t->sign[layer] + picture * n;
    rt_look_values(&t->v->look, t->seed[layer], 2 * slot, t->clean);
    rt_look_values(&t->v->look, t->seed[layer], 2 * slot + 1, t->covered);
    for (int64_t i = 0; i < n; i++)
        sign[i] = (signed char)((t->clean[i] > t->covered[i]) - (t->clean[i] < t->covered[i]));
}

/* Signs of all layers and pictures with a part covered. */
static int cover_part(Table *t, const Part *p, rt_error *err) {
    rt_set *set = &t->set;
    int64_t at_once = t->v->look.cap / 2;
    for (int64_t first = 0; first < set->n; first += at_once) {
        int64_t n = set->n - first < at_once ? set->n - first : at_once;
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        for (int64_t i = 0; i < n; i++) {
            float *pair = t->pairs + 2 * i * set->pixels;
            const float *x = set->x + (first + i) * set->pixels;
            memcpy(pair, x, (size_t)set->pixels * sizeof *x);
            memcpy(pair + set->pixels, x, (size_t)set->pixels * sizeof *x);
            rt_viz_cover(&t->v->prep, options.fill, p->r[first + i], pair + set->pixels);
        }
        if (rt_set_record(set, t->pairs, 2 * n, err))
            return err->code;
        for (int64_t i = 0; i < n; i++)
            for (int k = 0; k < t->nlayers; k++)
                keep_signs(t, k, first + i, i);
    }
    return NETRT_OK;
}

/* Mean and spread over the pairs; each unordered pair stands for two ordered ones. */
static void pairs_of(const Table *t, int layer, double *mean, double *spread) {
    double sum = 0, squares = 0, pairs = 0;
    for (int64_t i = 0; i < t->set.n; i++)
        for (int64_t j = i + 1; j < t->set.n; j++) {
            double h = rt_sign_change(t->sign[layer] + i * t->count[layer],
                                      t->sign[layer] + j * t->count[layer], t->count[layer]);
            sum += h;
            squares += h * h;
            pairs++;
        }
    *mean = sum / pairs;
    *spread = sqrt(fmax(0, squares / pairs - *mean * *mean));
}

static int random_parts(Table *t, rt_error *err) {
    int at = t->nparts;
    for (int64_t d = options.random - 1; d >= 0 && !err->code; d--) { /* the first one is drawn last */
        draw_regions(t, d);
        if (cover_part(t, &t->part[at], err))
            break;
        for (int k = 0; k < t->nlayers; k++) {
            double mean, spread;
            pairs_of(t, k, &mean, &spread);
            t->mean[k][at] += mean / (double)options.random;
            t->spread[k][at] += mean * mean / (double)options.random;
        }
        if (rt_progress_due(&t->v->cli.progress))
            rt_progress_tick(&t->v->cli.progress, "random parts", options.random - d,
                             options.random, "", -1);
    }
    rt_progress_clear(&t->v->cli.progress);
    for (int k = 0; k < t->nlayers; k++)
        t->spread[k][at] =
            sqrt(fmax(0, t->spread[k][at] - t->mean[k][at] * t->mean[k][at]));
    return err->code;
}

static int measure(Table *t, rt_error *err) {
    for (int p = 0; p < t->nparts && !err->code; p++)
        if (cover_part(t, &t->part[p], err) == 0)
            for (int k = 0; k < t->nlayers; k++)
                pairs_of(t, k, &t->mean[k][p], &t->spread[k][p]);
    return err->code ? err->code : random_parts(t, err);
}

/* ---- results ---- */

static const char *label_of(const Table *t, int layer) {
    return t->v->m->model->program[RT_LOOK].seed[t->seed[layer]].label;
}

static int print(const Table *t, rt_error *err) {
    rt_text o = {0};
    rt_text_printf(&o, "%-20s", "layer");
    for (int p = 0; p <= t->nparts; p++)
        rt_text_printf(&o, " %-15.15s", t->part[p].name);
    rt_text_add(&o, "\n");
    for (int k = 0; k < t->nlayers; k++) {
        rt_text_printf(&o, "%-20s", label_of(t, k));
        for (int p = 0; p <= t->nparts; p++)
            rt_text_printf(&o, " %.3f +- %.3f ", t->mean[k][p], t->spread[k][p]);
        rt_text_add(&o, "\n");
    }
    return rt_cli_print(&o, err);
}

static int write_table(const Table *t, rt_error *err) {
    rt_text csv = {0};
    rt_text_add(&csv, "layer,part,sign_change,spread,pictures,coordinates\n");
    for (int k = 0; k < t->nlayers; k++)
        for (int p = 0; p <= t->nparts; p++)
            rt_text_printf(&csv, "%s,%s,%.9g,%.9g,%lld,%lld\n", label_of(t, k), t->part[p].name,
                           t->mean[k][p], t->spread[k][p], (long long)t->set.n,
                           (long long)t->count[k]);
    rt_viz_write_text(t->v, &csv, "correspondence", "correspondence", err);
    rt_text_free(&csv);
    return err->code;
}

/* Draws the rectangle's outline, one pixel wide, around it. */
static int outline(rt_image *tile, rt_image *room, rt_rect r, rt_error *err) {
    const unsigned orange = 0xd55e00u;
    int x = (int)r.x - 1, y = (int)r.y - 1, w = (int)r.w + 2, h = (int)r.h + 2;
    if (rt_image_convert(room, tile, 3, err))
        return err->code;
    rt_canvas_rect(room, x, y, w, 1, orange);
    rt_canvas_rect(room, x, y + h - 1, w, 1, orange);
    rt_canvas_rect(room, x, y, 1, h, orange);
    rt_canvas_rect(room, x + w - 1, y, 1, h, orange);
    return NETRT_OK;
}

/* A row for each part, a column for each picture. */
static int draw(const Table *t, rt_error *err) {
    const struct rt_prep *prep = &t->v->prep;
    int columns = t->set.n < 8 ? (int)t->set.n : 8, last = t->nlayers - 1;
    char note[300];
    snprintf(note, sizeof note, "what was covered; %lld pictures; share of signs that differ, %s: 0 = the "
             "part changes the features alike in all pictures; numbers in the table",
             (long long)t->set.n, label_of(t, last));
    rt_sheet s = {0};
    rt_image tile = {0}, framed = {0};
    if (rt_sheet_open(&s, "correspondence", note, columns, t->nparts + 1, prep->width, prep->height,
                      96, 2, err) == 0)
        for (int p = 0; p <= t->nparts && !err->code; p++)
            for (int i = 0; i < columns; i++) {
                char caption[160], name[256];
                memcpy(t->pairs, t->set.x + i * t->set.pixels,
                       (size_t)t->set.pixels * sizeof *t->pairs);
                rt_viz_cover(prep, options.fill, t->part[p].r[i], t->pairs);
                if (rt_prep_invert(prep, t->pairs, &tile, err) ||
                    outline(&tile, &framed, t->part[p].r[i], err))
                    break;
                rt_set_name(&t->set, i, name, sizeof name);
                if (i == 0)
                    snprintf(caption, sizeof caption, "%.80s\n%s %.3f", name, t->part[p].name,
                             t->mean[last][p]);
                else
                    snprintf(caption, sizeof caption, "%.80s", name);
                rt_sheet_put(&s, i, p, &framed, caption);
            }
    if (!err->code)
        rt_viz_write(t->v, &s.canvas, "correspondence", "correspondence", note, err);
    rt_image_free(&tile);
    rt_image_free(&framed);
    rt_sheet_close(&s);
    return err->code;
}

/* ---- the verb ---- */

static int prepare(Table *t, rt_error *err) {
    const rt_look *look = &t->v->look;
    t->nlayers = rt_viz_weighted_layers(t->v, t->seed, LAYERS_MAX, err);
    for (int k = 0; k < t->nlayers && !err->code; k++) {
        int64_t chw[3];
        rt_seed_shape(t->v->m->model, t->seed[k], chw);
        t->count[k] = chw[0] * chw[1] * chw[2];
        t->sign[k] = rt_alloc((size_t)(t->set.n * t->count[k]), 1, "signs of changes", err);
    }
    if (!err->code)
        t->pairs = rt_alloc((size_t)(look->cap * t->set.pixels), sizeof(float), "pictures", err);
    if (!err->code)
        t->clean = rt_alloc((size_t)look->seed_room, sizeof(float), "a layer", err);
    if (!err->code)
        t->covered = rt_alloc((size_t)look->seed_room, sizeof(float), "a layer", err);
    if (!err->code && options.region)
        read_regions(t, err);
    Part *random = &t->part[t->nparts];
    snprintf(random->name, sizeof random->name, "random");
    if (!err->code)
        random->r = rt_alloc_zero((size_t)t->set.n, sizeof *random->r, "regions", err);
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Table *t = rt_alloc_zero(1, sizeof *t, "a table", err);
    if (!t)
        return err->code;
    t->v = v;
    if (rt_viz_open(v, 1, err) == 0 &&
        rt_set_open(&t->set, v, operands, n, 2, PICTURES, err) == 0) {
        if (t->set.n > PICTURES_MAX)
            rt_fail(err, NETRT_ELIMIT, "%lld pictures make too many pairs\nhelp: --limit=%d or less",
                    (long long)t->set.n, PICTURES_MAX);
        if (!err->code && prepare(t, err) == 0 && measure(t, err) == 0 && draw(t, err) == 0 &&
            write_table(t, err) == 0)
            print(t, err);
    }
    for (int k = 0; k < LAYERS_MAX; k++)
        rt_free(t->sign[k]);
    for (int p = 0; p <= PARTS_MAX; p++)
        rt_free(t->part[p].r);
    rt_free(t->pairs);
    rt_free(t->clean);
    rt_free(t->covered);
    rt_set_close(&t->set);
    rt_free(t);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "The parts"},
    {"region", 0, RT_ARG_TEXT, "FILE", &options.region, 0, 0,
     "lines part,picture,y,x,height,width in pixels of the network's input"},
    {"random", 0, RT_ARG_INT, "N", &options.random, 1, 10000,
     "draws of random places to compare with (default: 10)"},
    {"fill", 0, RT_ARG_REAL, "0..255", &options.fill, 0, 1,
     "the cover's grey (default: what the network reads as 0)"},
};

const rt_technique rt_technique_correspondence = {
    {"correspondence", "is a part of things the same to it in all pictures?",
     "[OPTIONS] [PICTURES..]",
     "correspondence dogs/ --region=eyes.csv\ncorrespondence a.png b.png c.png --layer=conv5,fc7"},
    run, args, sizeof args / sizeof *args};
