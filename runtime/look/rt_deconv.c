/* rt_deconv.c: what excites a map: its nine strongest activations over a data set, each projected
 * to pixels with its own switches, beside the image patch that its receptive field sees.
 *
 * The three rules, three things to start from (a unit, its map, its layer) and unpooling to the
 * centres of windows instead of the switches are the same walk with other arguments.
 * theory: Zeiler and Fergus 2014, figure 2 and section 2.1; layout after that figure; centres: the
 * ablation of Mahendran and Vedaldi 2016, "Salient deconvolutional networks".  Each projection tile
 * has its own scale (written to the CSV): 0 is mid-grey, the largest absolute value white or black.
 * A patch that reaches over the border is filled up with mid-grey.  The numbers of the projections,
 * cut to the same patches, go into a .npy [maps, 9, channels, height, width] (0 outside the image).
 */
#include "rt_viz.h"

#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_par.h"

enum { MAPS_MAX = 64, RAW_MAX = 64 << 20 /* bytes */ }; /* of a layer, unless --maps says which */
enum { FEW = 8, LARGE = 4 << 20 }; /* of large networks: bytes of one image in the look program */
enum { SIDE = 3, TILE_MIN = 40, TILE_MAX = 96, GAP = 2, PART_GAP = 4, BLOCK_GAP = 10, CAPTION = 12 };
#define PAPER 0xffffffu
#define INK 0x222222u

enum { START_UNIT, START_MAP, START_LAYER };
static struct {
    int rule, start, centre; /* rule: in the order of the option's words */
} options;
static const int rule_of_word[] = {RT_RULE_DECONVNET, RT_RULE_GUIDED, RT_RULE_GRADIENT};

/* A unit of a picture to be projected, and its place on the sheet. */
typedef struct Job {
    int64_t sample, slot;   /* slot: block * RT_TOP + rank */
    rt_unit unit;
    float value, scale[2];
} Job;

typedef struct Sheet {
    rt_viz *v;
    rt_feed *feed;
    int rule, seed;
    const rt_peak *top;     /* maps * RT_TOP */
    int64_t chw[3], shown, pixels;
    char title[160], note[300];
    int tile;               /* side of a tile in pixels */
    int parts;              /* groups of nine side by side: [centres,] projections, patches */
    int columns, rows, block_w, block_h;
    rt_image canvas;
    rt_text csv;
    float *raw;             /* shown * RT_TOP patches, or NULL: too many numbers */
    Job *job;               /* all of the sheet's, in the order of slots or of pictures */
    int64_t jobs;
    int64_t *want;          /* look.cap recorded pictures: sample, its first job, how many it has */
    int64_t *first, *count;
    rt_unit *unit;          /* what is projected of each now */
    float *value;
    float *diff, *centred;  /* look.cap images */
    rt_image input, part, scaled;
    int64_t projected;      /* projections so far and the seconds they took */
    double seconds;
} Sheet;

int rt_viz_patch(rt_image *out, rt_image *part, const rt_image *img, rt_rect r, int side,
                 rt_error *err) {
    if (rt_image_crop(part, img, (int)r.x, (int)r.y, (int)r.w, (int)r.h, 128, err))
        return err->code;
    int zoom = (int)(side / (r.h > r.w ? r.h : r.w));
    if (zoom < 1)
        return rt_image_resize(out, part, side, side, err);
    if (rt_canvas_new(out, side, side, 0x808080u, err))
        return err->code;
    rt_canvas_blit(out, (side - (int)r.w * zoom) / 2, (side - (int)r.h * zoom) / 2, part, zoom);
    return NETRT_OK;
}

static int to_tile(Sheet *s, const rt_image *img, rt_rect r, rt_error *err) {
    return rt_viz_patch(&s->scaled, &s->part, img, r, s->tile, err);
}

/* What a tile shows: the unit's field, or everything where more than a unit was projected. */
static rt_rect shown_of(const Sheet *s, int64_t y, int64_t x) {
    if (options.start != START_UNIT)
        return (rt_rect){0, 0, s->v->prep.height, s->v->prep.width};
    return rt_unit_field(s->v->m->model, s->seed, y, x);
}

static void csv_row(Sheet *s, int64_t map, int rank, const rt_peak *p, const float *scale) {
    char name[256], clean[256];
    rt_rect r = rt_unit_field(s->v->m->model, s->seed, p->y, p->x);
    rt_data_name(s->feed->ds, p->sample, name, sizeof name);
    rt_clean_name(clean, sizeof clean, name);
    for (char *c = clean; *c; c++)
        if (*c == '"')
            *c = '\'';
    rt_text_printf(&s->csv,
                   "%s,%lld,%d,%.9g,%lld,\"%s\",%d,%lld,%lld,%lld,%lld,%lld,%lld,%.9g",
                   s->v->m->model->program[RT_LOOK].seed[s->seed].label, (long long)map, rank,
                   (double)p->value, (long long)p->sample, clean,
                   rt_data_label(s->feed->ds, p->sample), (long long)p->y, (long long)p->x,
                   (long long)r.y, (long long)r.x, (long long)r.h, (long long)r.w,
                   (double)scale[0]);
    if (options.centre)
        rt_text_printf(&s->csv, ",%.9g", (double)scale[1]);
    rt_text_add(&s->csv, "\n");
}

/* ---- projecting ---- */

static int project(Sheet *s, int64_t n, float *diff, rt_error *err) {
    rt_look *l = &s->v->look;
    if (options.start == START_UNIT)
        return rt_look_project(l, s->rule, s->seed, s->unit, s->value, n, diff, err);
    return rt_look_project_maps(l, s->rule, s->seed, options.start == START_MAP ? s->unit : NULL, n,
                                diff, err);
}

/* Jobs of one picture stand together, in the order of the sheet. */
static int by_sample(const void *a, const void *b) {
    const Job *p = a, *q = b;
    return p->sample != q->sample ? (p->sample > q->sample) - (p->sample < q->sample)
                                  : (p->slot > q->slot) - (p->slot < q->slot);
}

static int by_slot(const void *a, const void *b) {
    const Job *p = a, *q = b;
    return (p->slot > q->slot) - (p->slot < q->slot);
}

/* The pictures of jobs *at .. are recorded, as many as there is room for, those with most jobs in
 * front; *at moves behind their jobs.  Returns how many, -1 on failure.  Switches that were moved to
 * the centres stay there, so that then each job needs a recording of its own. */
static int64_t record_pictures(Sheet *s, int64_t *at, rt_error *err) {
    rt_look *l = &s->v->look;
    int64_t n = 0;
    while (n < l->cap && *at < s->jobs) {
        int64_t first = *at, i = n++;
        do
            ++*at;
        while (!options.centre && *at < s->jobs && s->job[*at].sample == s->job[first].sample);
        for (; i > 0 && s->count[i - 1] < *at - first; i--) {
            s->first[i] = s->first[i - 1];
            s->count[i] = s->count[i - 1];
        }
        s->first[i] = first;
        s->count[i] = *at - first;
    }
    for (int64_t i = 0; i < n; i++)
        s->want[i] = s->job[s->first[i]].sample;
    if (rt_feed_load(s->feed, s->want, n, -1, rt_cli_skipped, &s->v->cli) != n)
        rt_fail(err, NETRT_EDATA, "a picture that was read before cannot be read again");
    if (!err->code)
        rt_look_record_layer(l, s->seed, n, err);
    return err->code ? -1 : n;
}

/* Projects job number `turn` of the n recorded pictures that have so many. */
static int project_turn(Sheet *s, int64_t turn, int64_t n, rt_error *err) {
    rt_look *l = &s->v->look;
    for (int64_t i = 0; i < n; i++) {
        const Job *j = &s->job[s->first[i] + turn];
        s->unit[i] = j->unit;
        s->value[i] = j->value;
        float again = rt_look_value(l, s->seed, i, j->unit); /* the scan's, bit for bit */
        if (memcmp(&again, &j->value, sizeof again) != 0)
            return rt_fail(err, NETRT_EBUG, "activation of map %lld changed from %.9g to %.9g "
                           "between two runs", (long long)j->unit.c, (double)j->value,
                           (double)again);
    }
    if (project(s, n, s->diff, err))
        return err->code;
    if (options.centre) {
        rt_look_centre_switches(l, n);
        project(s, n, s->centred, err);
    }
    s->projected += n * (options.centre ? 2 : 1);
    return err->code;
}

/* ---- drawing ---- */

/* The patch's numbers, zeros outside the image. */
static void keep_raw(Sheet *s, int64_t slot, const float *diff, rt_rect r) {
    const struct rt_prep *prep = &s->v->prep;
    if (!s->raw)
        return;
    float *to = s->raw + slot * prep->channels * r.h * r.w;
    for (int64_t i = 0; i < prep->channels * r.h * r.w; i++) {
        int64_t c = i / (r.h * r.w), y = r.y + i / r.w % r.h, x = r.x + i % r.w;
        if (y >= 0 && y < prep->height && x >= 0 && x < prep->width)
            to[i] = diff[(c * prep->height + y) * prep->width + x];
    }
}

static int draw_projection(Sheet *s, float *diff, rt_rect r, int x, int y, float *scale,
                           rt_error *err) {
    const struct rt_prep *prep = &s->v->prep;
    *scale = rt_max_abs(diff, s->pixels);
    if (rt_canvas_tone(&s->input, diff, prep->channels, prep->height, prep->width, prep->bgr,
                       RT_TONE_SIGNED, *scale, err) == 0 && to_tile(s, &s->input, r, err) == 0)
        rt_canvas_blit(&s->canvas, x, y, &s->scaled, 1);
    return err->code;
}

/* The job of recorded picture i that was projected. */
static int draw_job(Sheet *s, Job *job, int64_t i, rt_error *err) {
    int64_t block = job->slot / RT_TOP;
    int rank = (int)(job->slot % RT_TOP), group = SIDE * (s->tile + GAP) + PART_GAP;
    int x = 8 + (int)(block % s->columns) * s->block_w + rank % SIDE * (s->tile + GAP);
    int y = RT_SHEET_HEADER + (int)(block / s->columns) * s->block_h + CAPTION +
            rank / SIDE * (s->tile + GAP);
    rt_rect r = shown_of(s, job->unit.y, job->unit.x);
    if (options.centre &&
        draw_projection(s, s->centred + i * s->pixels, r, x, y, &job->scale[1], err))
        return err->code;
    x += options.centre ? group : 0;
    if (draw_projection(s, s->diff + i * s->pixels, r, x, y, &job->scale[0], err) ||
        rt_prep_invert(&s->v->prep, s->feed->input[0] + i * s->pixels, &s->input, err) ||
        to_tile(s, &s->input, r, err))
        return err->code;
    rt_canvas_blit(&s->canvas, x + group, y, &s->scaled, 1);
    keep_raw(s, job->slot, (options.centre ? s->centred : s->diff) + i * s->pixels, r);
    return NETRT_OK;
}

/* Captions of all maps shown; their jobs. */
static void list_jobs(Sheet *s) {
    int64_t block = 0;
    for (int64_t c = 0; block < s->shown; c++) {
        const rt_peak *top = s->top + c * RT_TOP;
        if (!rt_viz_wants_map(s->v, c))
            continue;
        int active = top[0].sample >= 0 && top[0].value > 0;
        char caption[96];
        snprintf(caption, sizeof caption, active ? "map %lld  max %.3g" : "map %lld  never active",
                 (long long)c, (double)top[0].value);
        rt_canvas_text(&s->canvas, 8 + (int)(block % s->columns) * s->block_w,
                       RT_SHEET_HEADER + (int)(block / s->columns) * s->block_h, 1, INK, caption);
        for (int i = 0; i < RT_TOP && top[i].sample >= 0 && top[i].value > 0; i++)
            s->job[s->jobs++] = (Job){.sample = top[i].sample, .slot = block * RT_TOP + i,
                                      .unit = {c, top[i].y, top[i].x}, .value = top[i].value};
        block++;
    }
}

/* A picture is recorded once for all of its jobs, as many pictures at a time as there is room for. */
static int draw_maps(Sheet *s, rt_error *err) {
    rt_progress *progress = &s->v->cli.progress;
    list_jobs(s);
    qsort(s->job, (size_t)s->jobs, sizeof *s->job, by_sample);
    for (int64_t at = 0; at < s->jobs && !err->code && !rt_cli_signal;) {
        double begin = rt_seconds();
        int64_t n = record_pictures(s, &at, err);
        s->seconds += rt_seconds() - begin;
        for (int64_t turn = 0; n > 0 && !err->code && !rt_cli_signal; turn++) {
            while (n > 0 && s->count[n - 1] <= turn)
                n--;
            begin = rt_seconds();
            if (n > 0)
                project_turn(s, turn, n, err);
            s->seconds += rt_seconds() - begin;
            for (int64_t i = 0; i < n && !err->code; i++)
                draw_job(s, &s->job[s->first[i] + turn], i, err);
        }
        if (rt_progress_due(progress))
            rt_progress_tick(progress, "projecting", at, s->jobs, "", -1);
    }
    rt_progress_clear(progress);
    qsort(s->job, (size_t)s->jobs, sizeof *s->job, by_slot);
    for (int64_t i = 0; i < s->jobs && !err->code; i++) {
        int64_t map = s->job[i].unit.c, rank = s->job[i].slot % RT_TOP;
        csv_row(s, map, (int)rank + 1, &s->top[map * RT_TOP + rank], s->job[i].scale);
    }
    return err->code;
}

/* ---- a sheet ---- */

static void sheet_texts(Sheet *s, int64_t scanned) {
    static const char *const from[] = {"", ", from the whole map", ", from the whole layer"};
    const char *label = s->v->m->model->program[RT_LOOK].seed[s->seed].label;
    rt_rect r = shown_of(s, 0, 0);
    char part[64] = "";
    if (s->shown < s->chw[0])
        snprintf(part, sizeof part, "; %lld of %lld maps", (long long)s->shown,
                 (long long)s->chw[0]);
    snprintf(s->title, sizeof s->title, "%.60s: %s, top 9 of each map%s", label,
             rt_rule_names[s->rule], from[options.start]);
    snprintf(s->note, sizeof s->note,
             "%s (0 = mid-grey, own scale each), right patches %lldx%lld; %lld images%s",
             options.centre ? "left projections unpooled to the centres, then with the switches"
                            : "left projections",
             (long long)r.h, (long long)r.w, (long long)scanned, part);
}

static int sheet_size(Sheet *s, rt_error *err) {
    rt_rect r = shown_of(s, 0, 0);
    int64_t side = r.h > r.w ? r.h : r.w;
    s->tile = side > TILE_MAX ? TILE_MAX : (int)((TILE_MIN + side - 1) / side * side);
    s->tile = s->tile > TILE_MAX ? TILE_MAX : s->tile;
    s->parts = options.centre ? 3 : 2;
    s->block_w = s->parts * (SIDE * (s->tile + GAP) + PART_GAP) - PART_GAP + BLOCK_GAP;
    s->block_h = SIDE * (s->tile + GAP) + CAPTION + BLOCK_GAP;
    s->columns = 1600 / s->block_w < 1 ? 1 : 1600 / s->block_w;
    if (s->columns > s->shown)
        s->columns = (int)s->shown;
    s->rows = (int)((s->shown + s->columns - 1) / s->columns);
    int text = rt_text_width(s->note, 1) + 16, title = rt_text_width(s->title, 2) + 16;
    text = text < title ? title : text;
    int64_t w = 16 + (int64_t)s->columns * s->block_w;
    int64_t h = RT_SHEET_HEADER + (int64_t)s->rows * s->block_h;
    if (h > 30000)
        return rt_fail(err, NETRT_ELIMIT, "a sheet of %lld maps is too tall\n"
                       "help: choose maps with --maps=0-63", (long long)s->shown);
    return rt_canvas_new(&s->canvas, w < text ? text : (int)w, (int)h, PAPER, err);
}

static int finish_sheet(Sheet *s, rt_error *err) {
    static const char *const from[] = {"", "-map", "-layer"};
    const char *label = s->v->m->model->program[RT_LOOK].seed[s->seed].label;
    char name[128];
    rt_sheet_header(&s->canvas, s->title, s->note);
    snprintf(name, sizeof name, "%s-%.90s%s%s", s->rule == RT_RULE_DECONVNET ? "deconv" :
             rt_rule_names[s->rule], label, from[options.start], options.centre ? "-centre" : "");
    rt_rect r = shown_of(s, 0, 0);
    int64_t dim[5] = {s->shown, RT_TOP, s->v->prep.channels, r.h, r.w};
    if (rt_viz_write(s->v, &s->canvas, name, s->title, s->note, err) == 0 &&
        rt_viz_write_text(s->v, &s->csv, name, s->title, err) == 0 && s->raw)
        rt_viz_write_raw(s->v, s->raw, 5, dim, name, err);
    return err->code;
}

static int sheet_room(Sheet *s, rt_error *err) {
    size_t cap = (size_t)s->v->look.cap;
    s->job = rt_alloc((size_t)s->shown * RT_TOP, sizeof *s->job, "projections", err);
    s->want = s->job ? rt_alloc(3 * cap, sizeof *s->want, "projections", err) : NULL;
    s->unit = s->want ? rt_alloc(cap, sizeof *s->unit, "projections", err) : NULL;
    s->value = s->unit ? rt_alloc(cap, sizeof *s->value, "projections", err) : NULL;
    if (s->value) {
        s->first = s->want + cap;
        s->count = s->first + cap;
        s->diff = rt_alloc(cap * (size_t)s->pixels, sizeof *s->diff, "projections", err);
    }
    if (s->diff && options.centre)
        s->centred = rt_alloc(cap * (size_t)s->pixels, sizeof *s->diff, "projections", err);
    rt_rect r = shown_of(s, 0, 0);
    int64_t patch = s->v->prep.channels * r.h * r.w;
    if (!err->code && patch <= RAW_MAX / (int64_t)sizeof *s->raw / RT_TOP / s->shown)
        s->raw = rt_alloc_zero((size_t)(s->shown * RT_TOP * patch), sizeof *s->raw, "projections", err);
    return err->code;
}

static void sheet_close(Sheet *s) {
    rt_free(s->raw);
    rt_free(s->job);
    rt_free(s->want);
    rt_free(s->unit);
    rt_free(s->value);
    rt_free(s->diff);
    rt_free(s->centred);
    rt_text_free(&s->csv);
    rt_image_free(&s->canvas);
    rt_image_free(&s->input);
    rt_image_free(&s->part);
    rt_image_free(&s->scaled);
}

/* Maps of a layer, unless --maps says which. */
static int64_t usual_maps(const rt_viz *v) {
    return v->m->model->program[RT_LOOK].act_bytes > LARGE ? FEW : MAPS_MAX;
}

static int one_sheet(Sheet *s, int64_t scanned, rt_error *err) {
    rt_viz *v = s->v;
    const struct rt_prep *prep = &v->prep;
    rt_seed_shape(v->m->model, s->seed, s->chw);
    s->pixels = (int64_t)prep->channels * prep->height * prep->width;
    s->shown = rt_viz_count_maps(v, s->chw[0]);
    if (!v->maps && s->shown > usual_maps(v))
        s->shown = usual_maps(v);
    sheet_texts(s, scanned);
    if (s->shown == 0)
        return rt_fail(err, NETRT_EUSAGE, "--maps=%s names no map of layer %s\nhelp: it has 0 to %lld",
                       v->maps, v->m->model->program[RT_LOOK].seed[s->seed].label,
                       (long long)s->chw[0] - 1);
    rt_text_printf(&s->csv, "layer,map,rank,value,image,name,class,y,x,field_y,field_x,field_h,field_w,"
                   "projection_max%s\n", options.centre ? ",centre_max" : "");
    if (sheet_room(s, err) == 0 && sheet_size(s, err) == 0)
        draw_maps(s, err);
    if (rt_cli_signal && !err->code)
        rt_fail(err, 128 + rt_cli_signal, "stopped while projecting");
    if (!err->code)
        finish_sheet(s, err);
    return err->code;
}

/* ---- the verb ---- */

/* 1234567 -> "1,234,567". */
static const char *grouped(int64_t x, char *out, size_t size) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)x);
    size_t at = 0;
    for (int i = 0; i < n && at + 2 < size; i++) {
        if (i && (n - i) % 3 == 0 && digits[i - 1] != '-')
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

static void say_speed(rt_viz *v, int64_t scanned, double scan, int64_t projected, double project) {
    char a[48], b[48], c[48];
    rt_note(&v->cli.progress, "scanned %s images in %.2f s (%s per s), %s projections in %.2f s",
            grouped(scanned, a, sizeof a), scan,
            grouped(scan > 0 ? (int64_t)((double)scanned / scan) : 0, b, sizeof b),
            grouped(projected, c, sizeof c), project);
}

int rt_viz_deconv(rt_viz *v, rt_feed *feed, int rule, const int *seed, int nseeds, rt_error *err) {
    rt_peak **top = rt_alloc_zero((size_t)(nseeds ? nseeds : 1), sizeof *top, "strongest activations", err);
    for (int k = 0; k < nseeds && !err->code; k++) {
        int64_t chw[3];
        rt_seed_shape(v->m->model, seed[k], chw);
        top[k] = rt_alloc((size_t)chw[0] * RT_TOP, sizeof **top, "strongest activations", err);
    }
    int64_t total = rt_data_count(feed->ds), projected = 0;
    total = v->limit > 0 && v->limit < total ? v->limit : total;
    double begin = rt_seconds(), scan = 0, project = 0;
    if (!err->code)
        rt_look_scan(&v->cli, &v->look, feed, v->limit, seed, nseeds, top, err);
    scan = rt_seconds() - begin;
    for (int k = 0; k < nseeds && !err->code; k++) {
        Sheet s = {.v = v, .feed = feed, .rule = rule, .seed = seed[k], .top = top[k]};
        one_sheet(&s, total, err);
        projected += s.projected;
        project += s.seconds;
        sheet_close(&s);
    }
    if (!err->code && !v->maps && usual_maps(v) == FEW)
        rt_note(&v->cli.progress, "the first %d maps of each layer: --maps=0-63 shows more", FEW);
    if (!err->code)
        say_speed(v, total, scan, projected, project);
    for (int k = 0; k < nseeds && top; k++)
        rt_free(top[k]);
    rt_free((void *)top);
    return err->code;
}

/* The layers of --layer, else every convolution; n of at most `max`. */
static int chosen_layers(rt_viz *v, int *seed, int max, rt_error *err) {
    const char *list = v->layers;
    int n = 0;
    if (!list)
        return rt_viz_conv_layers(v, seed, max);
    while (n < max && rt_viz_next_layer(v, &list, &seed[n], err) == 1)
        n++;
    return n;
}

static int check_options(const rt_viz *v, int rule, rt_error *err) {
    const rt_program *look = &v->m->model->program[RT_LOOK];
    if (look->refused[rule])
        return rt_fail(err, NETRT_EUSAGE, "%s is not defined for %s: %s\n"
                       "help: `%s deconv --rule=gradient` and `%s saliency` show the true gradient, "
                       "which every network has", rt_rule_names[rule], v->m->model->name,
                       look->refused[rule], v->cli.program, v->cli.program);
    if (options.centre && look->npools == 0)
        return rt_fail(err, NETRT_EUSAGE, "%s has no max pooling whose switches could be forgotten\n"
                       "help: leave --switches away", v->m->model->name);
    return NETRT_OK;
}

static int run_deconv(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    int rule = rule_of_word[options.rule], *seed = NULL, nseeds = 0;
    if (rt_viz_open(v, 1, err) == 0 && check_options(v, rule, err) == 0) {
        int max = v->m->model->program[RT_LOOK].nseeds;
        seed = rt_alloc((size_t)(max > 0 ? max : 1), sizeof *seed, "layers", err);
        if (seed)
            nseeds = chosen_layers(v, seed, max, err);
    }
    if (!err->code && rt_viz_feed(v, operands, n, &feed, err) == 0)
        rt_viz_deconv(v, &feed, rule, seed, nseeds, err);
    rt_viz_feed_close(v, &feed);
    rt_free(seed);
    return err->code;
}

static const rt_arg args[] = {
    {"rule", 0, RT_ARG_CHOICE, "deconvnet|guided|gradient", &options.rule, 0, 0,
     "how rectifiers are passed (default: deconvnet)"},
    {"start", 0, RT_ARG_CHOICE, "unit|map|layer", &options.start, 0, 0,
     "project the strongest unit (default), all of its map, all of its layer"},
    {"switches", 0, RT_ARG_CHOICE, "recorded|centre", &options.centre, 0, 0,
     "centre: beside the true projections those that unpool to the centre of every window"},
};

const rt_technique rt_technique_deconv = {
    {"deconv", "what excites each map: top 9, projected to pixels", "[OPTIONS] [DATA]",
     "deconv\ndeconv --layer=conv2 --maps=0-15 --data=mnist\ndeconv --rule=guided\n"
     "deconv --switches=centre"},
    run_deconv, args, sizeof args / sizeof *args};
