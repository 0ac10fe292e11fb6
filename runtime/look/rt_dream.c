/* rt_dream.c: what a layer sees in a picture, painted into it: DeepDream.
 *
 * theory: Mordvintsev, Olah and Tyka 2015 and their published notebook.  The picture is shrunk by 1.4
 * per octave, four octaves; from the smallest on, `steps` steps x += rate g / mean |g|, g the gradient
 * of |a|^2 / 2 of a layer (or of maps' sums, a class's score, a guide's likeness) at x shifted by up
 * to `jitter` pixels; what was gained is enlarged and added to the next octave.  Frames of a film:
 * the result's middle, enlarged, is the next frame's picture.
 * Ours: tiles of the network's input size on a torus (rt_tiles.h), shifted by anything along an axis
 * that has several; jitter and the least octave in proportion to the network's input.
 * ensures: a run that was stopped goes on from its .state file to the same bytes.
 */
#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_apng.h"
#include "rt_climb.h"
#include "rt_io.h"
#include "rt_resume.h"
#include "rt_rng.h"
#include "rt_tiles.h"

static struct {
    const char *guide;
    int64_t steps, octaves, jitter, frames, side, stop, delay;
    double scale, rate, zoom;
    int noise, resume;
} options = {.steps = 10, .octaves = 4, .jitter = -1, .frames = 1, .scale = 1.4, .rate = 1.5,
             .zoom = 1.05, .delay = 100};

enum { TERMS_MAX = 64, SIDE_DEFAULT = 1024, LEAST = 4, STEPS_MAX = 1 << 22 };

typedef struct Dream {
    rt_viz *v;
    rt_feed feed;
    rt_tiles tiles;
    rt_climb climb;
    rt_term term[TERMS_MAX];
    int nterms;
    rt_planes size;              /* of the picture */
    int64_t octaves, jitter;
    int64_t frame, octave, step; /* where the run is: steps done in this octave; octave 0 is full size */
    float *base, *canvas;        /* the frame's picture; the octave's so far */
    float *below, *g, *room;     /* the frame's picture at the octave's size; gradients */
    float *guide;
    double *history;             /* per step: value, mean |change| */
    int64_t total, before;       /* steps in all; when this run began */
    uint64_t print;
    double began;
    char what[120], name[64], state[4400];
} Dream;

/* ---- sizes ---- */

static rt_planes octave_size(const Dream *d, int64_t octave) {
    double by = pow(options.scale, (double)octave);
    rt_planes p = {d->size.c, llrint((double)d->size.h / by), llrint((double)d->size.w / by)};
    p.h = p.h < 1 ? 1 : p.h;
    p.w = p.w < 1 ? 1 : p.w;
    return p;
}

static int64_t steps_done(const Dream *d) {
    return (d->frame * d->octaves + d->octaves - 1 - d->octave) * options.steps + d->step;
}

/* ---- pictures and planes; plane k holds colour k, or 2 - k where the network reads blue first ---- */

static int64_t colour(const Dream *d, int64_t plane) {
    return d->v->prep.bgr && d->size.c == 3 ? 2 - plane : plane;
}

static void to_planes(const Dream *d, const rt_image *img, float *x) {
    int64_t area = d->size.h * d->size.w;
    for (int64_t k = 0; k < d->size.c; k++)
        for (int64_t i = 0; i < area; i++)
            x[k * area + i] = (float)img->data[i * d->size.c + colour(d, k)];
}

static int to_image(const Dream *d, const float *x, rt_image *img, rt_error *err) {
    int64_t area = d->size.h * d->size.w;
    if (rt_image_reserve(img, (int)d->size.w, (int)d->size.h, (int)d->size.c, err))
        return err->code;
    for (int64_t k = 0; k < d->size.c; k++)
        for (int64_t i = 0; i < area; i++) {
            float v = x[k * area + i];
            img->data[i * d->size.c + colour(d, k)] = (unsigned char)lrintf(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    return NETRT_OK;
}

/* ---- one frame ---- */

/* base at the octave's size, plus what was gained so far, enlarged from the octave before. */
static void enter_octave(Dream *d) {
    rt_planes size = octave_size(d, d->octave), smaller = octave_size(d, d->octave + 1);
    int64_t n = rt_planes_count(size), m = rt_planes_count(smaller);
    int first = d->octave == d->octaves - 1;
    for (int64_t i = 0; !first && i < m; i++)
        d->room[i] = d->canvas[i] - d->below[i];
    rt_planes_resize(d->base, d->size, d->below, size.h, size.w);
    if (!first)
        rt_planes_resize(d->room, smaller, d->canvas, size.h, size.w);
    for (int64_t i = 0; i < n; i++)
        d->canvas[i] = first ? d->below[i] : d->canvas[i] + d->below[i];
}

/* Where the first tile lies along an axis. */
static int64_t shift(const Dream *d, int64_t picture, int64_t tile, uint32_t bits) {
    int64_t range = picture > tile ? picture : 2 * d->jitter + 1;
    return d->jitter == 0 ? 0 : (int64_t)rt_rng_below(bits, (uint32_t)range) - d->jitter;
}

static int one_step(Dream *d, rt_error *err) {
    rt_planes size = octave_size(d, d->octave), in = d->tiles.p.size;
    int64_t n = rt_planes_count(size);
    uint32_t bits[4];
    double value, change = 0;
    rt_rng_block(rt_rng_make(d->v->m->seed, RT_RNG_VIZ), (uint32_t)d->frame, (uint32_t)d->octave,
                 (uint32_t)d->step, 4, bits);
    if (rt_tiles_eval(&d->tiles, d->canvas, size, shift(d, size.h, in.h, bits[0]),
                      shift(d, size.w, in.w, bits[1]), &value, d->g, err))
        return err->code;
    memcpy(d->room, d->canvas, (size_t)n * sizeof *d->room);
    d->climb.n = n;
    rt_climb_step(&d->climb, d->canvas, d->g);
    for (int64_t i = 0; i < n; i++) {
        float x = d->canvas[i];
        d->canvas[i] = x < 0 ? 0 : x > 255 ? 255 : x;
        change += fabs((double)d->canvas[i] - (double)d->room[i]);
    }
    d->history[2 * steps_done(d)] = value;
    d->history[2 * steps_done(d) + 1] = change / (double)n;
    d->step++;
    return NETRT_OK;
}

/* The middle of the canvas at full size becomes the next frame's picture. */
static void zoom(Dream *d) {
    double by = options.zoom;
    for (int64_t k = 0; k < d->size.c; k++)
        for (int64_t y = 0; y < d->size.h; y++)
            for (int64_t x = 0; x < d->size.w; x++) {
                double cy = (double)(d->size.h - 1) / 2, cx = (double)(d->size.w - 1) / 2;
                double at_y = cy + ((double)y - cy) / by, at_x = cx + ((double)x - cx) / by;
                int64_t y0 = (int64_t)at_y, x0 = (int64_t)at_x;
                int64_t y1 = y0 + 1 < d->size.h ? y0 + 1 : y0, x1 = x0 + 1 < d->size.w ? x0 + 1 : x0;
                double fy = at_y - (double)y0, fx = at_x - (double)x0;
                const float *p = d->canvas + k * d->size.h * d->size.w;
                double up = (1 - fx) * (double)p[y0 * d->size.w + x0] + fx * (double)p[y0 * d->size.w + x1];
                double low = (1 - fx) * (double)p[y1 * d->size.w + x0] + fx * (double)p[y1 * d->size.w + x1];
                d->base[(k * d->size.h + y) * d->size.w + x] = (float)((1 - fy) * up + fy * low);
            }
}

/* ---- files ---- */

static void frame_path(void *context, int frame, char *path, size_t size) {
    const Dream *d = context;
    snprintf(path, size, "%.4000s/%s-%05d.png", d->v->cli.out, d->name, frame);
}

static void note_text(const Dream *d, char *note, size_t size) {
    snprintf(note, size, "%s; %lld octaves of %lld steps%s%s; 0 black, 255 white", d->what,
             (long long)d->octaves, (long long)options.steps, options.guide ? "; guide " : "",
             options.guide ? options.guide : "");
}

/* The canvas at full size, as it is now, in d->g. */
static const float *so_far(Dream *d) {
    rt_planes size = octave_size(d, d->octave);
    int64_t n = rt_planes_count(size), all = rt_planes_count(d->size);
    if (d->octave == 0)
        return d->canvas;
    for (int64_t i = 0; i < n; i++)
        d->room[i] = d->canvas[i] - d->below[i];
    rt_planes_resize(d->room, size, d->g, d->size.h, d->size.w);
    for (int64_t i = 0; i < all; i++)
        d->g[i] += d->base[i];
    return d->g;
}

static int keep_frame(Dream *d, rt_error *err) {
    rt_image img = {0};
    char path[4400];
    frame_path(d, (int)d->frame, path, sizeof path);
    if (to_image(d, d->canvas, &img, err) == 0)
        rt_png_write(&img, path, err);
    rt_image_free(&img);
    return err->code;
}

static int write_table(Dream *d, rt_error *err) {
    rt_text csv = {0};
    int64_t done = steps_done(d);
    rt_text_add(&csv, "frame,octave,step,height,width,value,mean_change\n");
    for (int64_t i = 0; i < done; i++) {
        int64_t octave = d->octaves - 1 - i / options.steps % d->octaves;
        rt_planes size = octave_size(d, octave);
        rt_text_printf(&csv, "%lld,%lld,%lld,%lld,%lld,%.9g,%.9g\n",
                       (long long)(i / options.steps / d->octaves), (long long)octave,
                       (long long)(i % options.steps), (long long)size.h, (long long)size.w,
                       d->history[2 * i], d->history[2 * i + 1]);
    }
    rt_viz_write_text(d->v, &csv, d->name, "dreaming, step by step", err);
    rt_text_free(&csv);
    return err->code;
}

static int write_result(Dream *d, const float *x, rt_error *err) {
    rt_image img = {0};
    char note[300];
    int64_t dim[3] = {d->size.c, d->size.h, d->size.w};
    note_text(d, note, sizeof note);
    if (to_image(d, x, &img, err) == 0 && rt_viz_write(d->v, &img, d->name, "dream", note, err) == 0 &&
        rt_viz_write_raw(d->v, x, 3, dim, d->name, err) == 0)
        write_table(d, err);
    rt_image_free(&img);
    return err->code;
}

static int write_film(Dream *d, rt_error *err) {
    if (options.frames < 2)
        return NETRT_OK;
    const char *path = rt_viz_made(d->v, d->name, "apng", "dream, animated", "");
    if (rt_apng_write(path, frame_path, d, (int)options.frames, (int)options.delay, err) == 0)
        rt_note(&d->v->cli.progress, "%s  %lld frames", path, (long long)options.frames);
    return err->code;
}

/* ---- stopping and going on ---- */

enum { PARTS = 4 };

static void parts(Dream *d, rt_kept part[PARTS], double at[3]) {
    int64_t n = rt_planes_count(d->size);
    part[0] = (rt_kept){"dream.at", ST_F64, at, 3};
    part[1] = (rt_kept){"base", ST_F32, d->base, n};
    part[2] = (rt_kept){"canvas", ST_F32, d->canvas, n};
    part[3] = (rt_kept){"history", ST_F64, d->history, 2 * d->total};
}

static int leave(Dream *d, rt_error *err) {
    rt_kept part[PARTS];
    double at[3] = {(double)d->frame, (double)d->octave, (double)d->step};
    parts(d, part, at);
    rt_progress_clear(&d->v->cli.progress);
    if (rt_resume_write(d->state, d->print, part, PARTS, err) || write_result(d, so_far(d), err))
        return err->code;
    rt_note(&d->v->cli.progress, "%s  after %lld of %lld steps; --resume goes on from here", d->state,
            (long long)steps_done(d), (long long)d->total);
    return rt_cli_signal ? rt_fail(err, 128 + rt_cli_signal, "stopped") : NETRT_OK;
}

static int go_on(Dream *d, rt_error *err) {
    rt_kept part[PARTS];
    double at[3];
    parts(d, part, at);
    if (rt_resume_read(d->state, d->print, part, PARTS, err))
        return err->code;
    if (!(at[0] >= 0 && at[0] < (double)options.frames && at[1] >= 0 && at[1] < (double)d->octaves &&
          at[2] >= 0 && at[2] <= (double)options.steps))
        return rt_fail(err, NETRT_EDATA, "%s: its numbers cannot be\n"
                       "help: begin anew, without --resume", d->state);
    d->frame = (int64_t)at[0];
    d->octave = (int64_t)at[1];
    d->step = (int64_t)at[2];
    rt_planes size = octave_size(d, d->octave);
    rt_planes_resize(d->base, d->size, d->below, size.h, size.w);
    return NETRT_OK;
}

static void tell(Dream *d) {
    int64_t done = steps_done(d);
    double spent = rt_seconds() - d->began, here = (double)(done - d->before);
    char tail[64];
    snprintf(tail, sizeof tail, "octave %lld  value %.4g", (long long)(d->octaves - d->octave),
             d->history[2 * done - 2]);
    if (rt_progress_due(&d->v->cli.progress))
        rt_progress_tick(&d->v->cli.progress, "dreaming", done, d->total, tail,
                         here > 0 ? spent / here * (double)(d->total - done) : -1);
}

/* *left: stopped before the end. */
static int paint(Dream *d, int *left, rt_error *err) {
    int entered = options.resume;
    for (; d->frame < options.frames; d->frame++, d->octave = d->octaves - 1) {
        for (;; d->octave--) {
            if (!entered) {
                enter_octave(d);
                d->step = 0;
            }
            entered = 0;
            while (d->step < options.steps) {
                *left = rt_cli_signal || (options.stop && steps_done(d) - d->before >= options.stop);
                if (*left)
                    return leave(d, err);
                if (one_step(d, err))
                    return err->code;
                tell(d);
            }
            if (d->octave == 0)
                break;
        }
        if (options.frames > 1 && keep_frame(d, err))
            return err->code;
        if (d->frame == options.frames - 1)
            break;
        zoom(d);
    }
    rt_progress_clear(&d->v->cli.progress);
    return NETRT_OK;
}

/* ---- setting up ---- */

/* Layer, maps or class; the middle of the network's convolutions unless told. */
static int choose(Dream *d, rt_error *err) {
    rt_viz *v = d->v;
    const rt_program *look = &v->m->model->program[RT_LOOK];
    int conv[256], n = rt_viz_conv_layers(v, conv, 256), seed = n ? conv[n * 2 / 3] : -1;
    const char *list = v->layers;
    int64_t chw[3];
    if (v->target >= 0) {
        if ((seed = rt_viz_score(v, err)) < 0)
            return err->code;
    } else if (list && rt_viz_next_layer(v, &list, &seed, err) != 1) {
        return err->code;
    } else if (seed < 0) {
        return rt_fail(err, NETRT_EUSAGE, "%s has no convolution to dream of\nhelp: name a layer "
                       "with --layer", v->m->model->name);
    }
    rt_seed_shape(v->m->model, seed, chw);
    if (v->target >= chw[0])
        return rt_fail(err, NETRT_EUSAGE, "there is no class %lld\nhelp: there are 0 to %lld",
                       (long long)v->target, (long long)chw[0] - 1);
    v->look.through = v->target >= 0 || v->maps;
    rt_term term = {.seed = seed, .image = -1, .weight = 1, .unit = {v->target, 0, 0},
                    .kind = v->target >= 0 ? RT_TERM_UNIT : v->maps ? RT_TERM_MAP : RT_TERM_LAYER};
    const char *label = look->seed[seed].label;
    char buf[24];
    if (options.guide)
        term.kind = RT_TERM_GUIDE;
    for (int64_t i = 0; term.kind == RT_TERM_MAP && i < chw[0] && d->nterms < TERMS_MAX; i++)
        if (rt_viz_wants_map(v, i)) {
            term.unit.c = i;
            d->term[d->nterms++] = term;
        }
    if (term.kind != RT_TERM_MAP)
        d->term[d->nterms++] = term;
    if (v->target >= 0)
        snprintf(d->what, sizeof d->what, "class %.60s", netrt_class_name(v->m, v->target, buf));
    else
        snprintf(d->what, sizeof d->what, "layer %.60s%s%.30s", label, v->maps ? ", maps " : "",
                 v->maps ? v->maps : "");
    if (d->nterms == 0)
        return rt_fail(err, NETRT_EUSAGE, "--maps names no map\nhelp: there are 0 to %lld",
                       (long long)chw[0] - 1);
    return NETRT_OK;
}

/* The guide's answers become the target. */
static int read_guide(Dream *d, rt_error *err) {
    rt_viz *v = d->v;
    rt_image img = {0};
    int64_t chw[3], n = rt_input_count(v->m->model, 0);
    rt_seed_shape(v->m->model, d->term[0].seed, chw);
    float *input = rt_alloc((size_t)n, sizeof *input, "the guide", err);
    if (input)
        d->guide = rt_alloc((size_t)(chw[0] * chw[1] * chw[2]), sizeof *d->guide, "the guide", err);
    if (d->guide && rt_image_read(&img, options.guide, err) == 0 &&
        rt_prep_apply(&v->prep, &img, input, NULL, err) == 0) {
        v->m->frame.input[0] = input;
        if (rt_look_record(&v->look, 1, err) == 0)
            rt_look_values(&v->look, d->term[0].seed, 0, d->guide);
        d->term[0].target = d->guide;
    }
    rt_image_free(&img);
    rt_free(input);
    return err->code;
}

/* The longer side: --size, else as it is up to SIDE_DEFAULT. */
static int fit(const Dream *d, rt_image *img, rt_error *err) {
    rt_image other = {0};
    int longer = img->width > img->height ? img->width : img->height;
    double want = options.side ? (double)options.side : longer > SIDE_DEFAULT ? SIDE_DEFAULT : longer;
    int w = (int)lrint(img->width * want / longer), h = (int)lrint(img->height * want / longer);
    w = w < 1 ? 1 : w;
    h = h < 1 ? 1 : h;
    if (rt_image_convert(&other, img, d->v->prep.channels, err) == 0)
        rt_image_resize(img, &other, w, h, err);
    rt_image_free(&other);
    return err->code;
}

static int noise(Dream *d, rt_error *err) {
    int64_t side = options.side;
    d->size = (rt_planes){d->v->prep.channels, side ? side : d->v->prep.height,
                          side ? side : d->v->prep.width};
    int64_t n = rt_planes_count(d->size);
    d->base = rt_alloc((size_t)n, sizeof *d->base, "a picture", err);
    if (!d->base)
        return err->code;
    rt_rng_fill_normal(rt_rng_make(d->v->m->seed, RT_RNG_VIZ), 5, 0, 0, 128, 16, d->base, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        d->base[i] = d->base[i] < 0 ? 0 : d->base[i] > 255 ? 255 : d->base[i];
    snprintf(d->name, sizeof d->name, "dream-noise");
    return NETRT_OK;
}

static int picture(Dream *d, const char **operands, int n, rt_error *err) {
    rt_image img = {0};
    rt_viz *v = d->v;
    if (rt_viz_feed(v, operands, n, &d->feed, err))
        return err->code;
    int64_t at = v->sample < 0 ? 0 : v->sample;
    if (rt_data_real(v->cli.ds))
        return rt_fail(err, NETRT_EUSAGE, "dreams are painted into pictures, and these data are "
                       "numbers\nhelp: --noise");
    if (at >= rt_data_count(v->cli.ds))
        return rt_fail(err, NETRT_EUSAGE, "there is no image %lld\nhelp: the data has images 0 to "
                       "%lld", (long long)at, (long long)rt_data_count(v->cli.ds) - 1);
    if (rt_data_item(v->cli.ds, at, &img, err) == 0 && fit(d, &img, err) == 0) {
        d->size = (rt_planes){v->prep.channels, img.height, img.width};
        d->base = rt_alloc((size_t)rt_planes_count(d->size), sizeof *d->base, "a picture", err);
        if (d->base)
            to_planes(d, &img, d->base);
    }
    snprintf(d->name, sizeof d->name, "dream-%lld", (long long)at);
    rt_image_free(&img);
    return err->code;
}

static int check_options(rt_error *err) {
    if (!(options.scale > 1) || options.zoom < 1)
        return rt_fail(err, NETRT_EUSAGE, "--octave-scale must be above 1 and --zoom 1 or more\n"
                       "help: 1.4 and 1.05 are usual");
    if (options.frames * options.octaves * options.steps > STEPS_MAX)
        return rt_fail(err, NETRT_EUSAGE, "%lld frames of %lld octaves of %lld steps are too many\n"
                       "help: %d steps in all", (long long)options.frames,
                       (long long)options.octaves, (long long)options.steps, STEPS_MAX);
    return NETRT_OK;
}

static uint64_t fingerprint(const Dream *d) {
    const rt_model *model = d->v->m->model;
    double set[] = {(double)options.frames, (double)options.steps, (double)d->octaves,
                    (double)d->jitter,      options.scale,         options.rate,
                    options.zoom,           (double)d->v->m->seed, (double)d->size.h};
    uint64_t print = rt_resume_mix(RT_RESUME_START, model->spec_hash, strlen(model->spec_hash));
    print = rt_resume_mix(print, set, sizeof set);
    print = rt_resume_mix(print, d->what, strlen(d->what));
    print = rt_resume_mix(print, d->base, (size_t)rt_planes_count(d->size) * sizeof *d->base);
    if (d->guide) {
        int64_t chw[3];
        rt_seed_shape(model, d->term[0].seed, chw);
        print = rt_resume_mix(print, d->guide, (size_t)(chw[0] * chw[1] * chw[2]) * sizeof *d->guide);
    }
    return rt_resume_mix(print, d->v->m->param, (size_t)model->param_bytes);
}

static int make_room(Dream *d, rt_error *err) {
    int64_t n = rt_planes_count(d->size), shorter = d->size.h < d->size.w ? d->size.h : d->size.w;
    const struct rt_prep *prep = &d->v->prep;
    int64_t input = prep->height < prep->width ? prep->height : prep->width;
    d->jitter = options.jitter >= 0 ? options.jitter : (32 * input + 112) / 224;
    for (d->octaves = 1; d->octaves < options.octaves; d->octaves++)
        if ((double)shorter / pow(options.scale, (double)d->octaves) < (double)LEAST)
            break;
    d->octave = d->octaves - 1;
    d->total = options.frames * d->octaves * options.steps;
    float **part[] = {&d->canvas, &d->below, &d->g, &d->room};
    for (int i = 0; i < 4 && !err->code; i++)
        *part[i] = rt_alloc_zero((size_t)n, sizeof(float), "a picture", err);
    if (!err->code)
        d->history = rt_alloc_zero(2 * (size_t)d->total + 2, sizeof *d->history, "values", err);
    if (!err->code && rt_tiles_open(&d->tiles, d->v, d->term, d->nterms, n, err) == 0)
        rt_climb_open(&d->climb, RT_STEP_MEAN, options.rate, n, err);
    d->print = fingerprint(d);
    snprintf(d->state, sizeof d->state, "%.4000s/%s.state", d->v->cli.out, d->name);
    return err->code;
}

static void say_cost(const Dream *d) {
    const rt_program *p = &d->v->m->model->program[RT_LOOK];
    int64_t tiles = 0;
    char a[24], b[24];
    for (int64_t i = 0; i < d->octaves; i++)
        tiles += rt_tiles_count(&d->tiles, octave_size(d, i));
    double flops = rt_look_flops(&d->v->look, &d->term[0].seed, 1);
    int64_t most = rt_tiles_count(&d->tiles, d->size); /* memory that no tile uses is not taken */
    most = most < d->tiles.most ? most : d->tiles.most;
    double net = (double)p->act_bytes * (double)most + (double)p->fix_bytes +
                 (double)d->v->m->model->param_bytes;
    double own = 24.0 * (double)rt_planes_count(d->size) +
                 20.0 * (double)d->tiles.most * (double)d->tiles.p.count;
    rt_note(&d->v->cli.progress, "%s; %lld x %lld pixels, %lld octaves, %lld tiles a round; %.3g GFLOP "
            "in all; memory %s for the network, %s for pictures", d->what, (long long)d->size.w,
            (long long)d->size.h, (long long)d->octaves, (long long)tiles,
            flops * (double)(tiles * options.steps * options.frames) / 1e9,
            rt_text_bytes_human(net, a), rt_text_bytes_human(own, b));
}

static void close_dream(Dream *d) {
    rt_tiles_close(&d->tiles);
    rt_climb_close(&d->climb);
    float *part[] = {d->base, d->canvas, d->below, d->g, d->room, d->guide};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        rt_free(part[i]);
    rt_free(d->history);
    rt_viz_feed_close(d->v, &d->feed);
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Dream d = {.v = v};
    int from_noise = options.noise || (n == 0 && !v->cli.data && v->sample < 0);
    int left = 0;
    if (n && options.noise)
        return rt_fail(err, NETRT_EUSAGE, "a picture and --noise\nhelp: one of them");
    if (check_options(err) || rt_viz_open(v, 1, err) || choose(&d, err) ||
        (options.guide && read_guide(&d, err)))
        goto end;
    if (from_noise ? noise(&d, err) : picture(&d, operands, n, err))
        goto end;
    if (make_room(&d, err) || (options.resume && go_on(&d, err)))
        goto end;
    say_cost(&d);
    d.before = steps_done(&d);
    d.began = rt_seconds();
    if (paint(&d, &left, err) == 0 && !left && write_result(&d, d.canvas, err) == 0)
        write_film(&d, err);
end:
    close_dream(&d);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Dreaming"},
    {"noise", 0, RT_ARG_FLAG, NULL, &options.noise, 0, 0,
     "begin with noise (default where no picture is named)"},
    {"guide", 0, RT_ARG_TEXT, "FILE", &options.guide, 0, 0, "a picture whose parts are looked for"},
    {"size", 0, RT_ARG_INT, "N", &options.side, 1, 16384,
     "longer side, pixels (default: the picture's, at most 1024; noise: the network's)"},
    {"steps", 0, RT_ARG_INT, "N", &options.steps, 1, 1000000, "per octave (default: 10)"},
    {"rate", 0, RT_ARG_REAL, "PIXELS", &options.rate, 0, 1,
     "mean change of a step, of 255 (default: 1.5)"},
    {"octaves", 0, RT_ARG_INT, "N", &options.octaves, 1, 32, "sizes (default: 4)"},
    {"octave-scale", 0, RT_ARG_REAL, "X", &options.scale, 0, 1,
     "from one size to the next (default: 1.4)"},
    {"jitter", 0, RT_ARG_INT, "PIXELS", &options.jitter, 0, 4096,
     "most that tiles are shifted (default: 1/7 of the network's input); 0: none at all"},
    {"frames", 0, RT_ARG_INT, "N", &options.frames, 1, RT_APNG_FRAMES,
     "numbered pictures and an animated PNG, each zoomed into the one before"},
    {"zoom", 0, RT_ARG_REAL, "X", &options.zoom, 0, 1, "from frame to frame (default: 1.05)"},
    {"delay", 0, RT_ARG_INT, "MS", &options.delay, 1, 65535, "of a frame (default: 100)"},
    {"stop", 0, RT_ARG_INT, "N", &options.stop, 1, STEPS_MAX,
     "stop after N steps, as Ctrl-C does: picture and state are kept"},
    {"resume", 0, RT_ARG_FLAG, NULL, &options.resume, 0, 0,
     "go on where a stopped run left its .state file in --out"},
};

const rt_technique rt_technique_dream = {
    {"dream", "what a layer sees in a picture, painted into it (DeepDream)", "[OPTIONS] [PICTURE]",
     "dream cat.jpg\ndream --layer=c3 --maps=5\ndream cat.jpg --guide=flower.jpg --frames=50"},
    run, args, sizeof args / sizeof *args};
