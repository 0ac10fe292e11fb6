/* rt_style.c: `style`: a picture with the content of one and the Gram matrices of others; `texture`:
 * noise that gets the Gram matrices of a picture.
 *
 * theory: Gatys, Ecker, Bethge 2015 (texture: white noise, L-BFGS, histograms matched at the end),
 * 2016 (style); Gatys et al. 2016, "Preserving color in neural artistic style transfer", section
 * 3.2 (luminance alone, the style's brought to the content's mean and deviation).  Terms and their
 * constants: rt_mimic.h; pictures are optimised in pixel units (rt_paint.h) and cut to 0..255 when
 * they are written.
 */
#include "rt_style.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_sheet.h"

enum { FROM_NOISE, FROM_CONTENT };
enum { NOISE_PIXELS = 40 };

static struct {
    const char *style, *content_layer;
    double content, smooth, rate;
    int64_t steps;
    int optimizer, start, keep_colour, resume, keep_state, plain;
} options = {.content = 300, .rate = 5, .steps = 500};
#define STYLE_WEIGHT 1e3 /* of content: options.content */
#define RANGE_WEIGHT 10  /* pixels beyond 0..255: mean square */

/* ---- pictures in ---- */

/* A picture file, all of it that fits the input's shape: other techniques cut what the spec cuts for
 * predicting.  *done 0: no picture file, perhaps a data set. */
static int load_file(rt_style *s, const char *path, float *input, int *done, rt_error *err) {
    struct rt_prep prep = s->v->prep;
    struct stat st;
    unsigned char *bytes = NULL;
    size_t size = 0;
    *done = 0;
    if (!path || stat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
        rt_io_read_file(path, RT_IMAGE_MAX_BYTES, &bytes, &size, err))
        return err->code;
    if (rt_image_sniff(bytes, size) != RT_FORMAT_UNKNOWN) {
        rt_image image = {0};
        *done = 1;
        prep.resize_short = prep.height > prep.width ? prep.height : prep.width;
        prep.crop = 1;
        if (rt_image_decode(&image, bytes, size, path, err) == 0)
            rt_prep_apply(&prep, &image, input, NULL, err);
        rt_image_free(&image);
    }
    rt_free(bytes);
    return err->code;
}

/* "out/cat.jpg" -> "cat" */
static void base_name(char *to, size_t size, const char *from) {
    const char *slash = strrchr(from, '/');
    snprintf(to, size, "%.100s", slash ? slash + 1 : from);
    char *dot = strrchr(to, '.');
    if (dot && dot != to)
        *dot = 0;
}

/* The picture of a file or data set, or of the spec's data where path is NULL. */
static int load(rt_style *s, const char *path, rt_style_picture *picture, rt_error *err) {
    rt_feed feed = {0};
    rt_viz *v = s->v;
    char name[256];
    int done = 0;
    int64_t at = 0, n = (int64_t)v->prep.channels * v->prep.height * v->prep.width;
    picture->input = rt_alloc((size_t)n, sizeof(float), "a picture", err);
    if (err->code || load_file(s, path, picture->input, &done, err))
        return err->code;
    if (done) {
        rt_clean_name(name, sizeof name, path);
        base_name(picture->name, sizeof picture->name, name);
        return NETRT_OK;
    }
    if (rt_viz_feed(v, &path, path ? 1 : 0, &feed, err) == 0 &&
        rt_viz_one(v, &feed, &at, err) == 0) {
        memcpy(picture->input, feed.input[0], (size_t)n * sizeof(float));
        snprintf(picture->name, sizeof picture->name, "%lld", (long long)at);
    }
    rt_viz_feed_close(v, &feed);
    return err->code;
}

/* "A.jpg,B.jpg:0.3": files and their weights, which come to sum to 1. */
static int load_styles(rt_style *s, rt_error *err) {
    double sum = 0;
    s->v->sample = -1; /* --image chose the content */
    for (const char *at = options.style; *at && !err->code;) {
        size_t n = strcspn(at, ",");
        char path[4096];
        if (n >= sizeof path || n == 0 || s->nstyles == RT_STYLE_MAX)
            return rt_fail(err, NETRT_EUSAGE, "--style=%.60s cannot be read\nhelp: 1 to %d files, "
                           "as in --style=a.jpg,b.jpg:0.3", options.style, RT_STYLE_MAX);
        snprintf(path, sizeof path, "%.*s", (int)n, at);
        char *colon = strrchr(path, ':');
        double share = 1;
        if (colon && rt_parse_real(colon + 1, &share))
            *colon = 0;
        if (!(share > 0 && share < 1e6))
            return rt_fail(err, NETRT_EUSAGE, "the weight of style '%s' must be above 0\n"
                           "help: --style=a.jpg,b.jpg:0.3", path);
        s->share[s->nstyles] = share;
        sum += share;
        load(s, path, &s->picture[s->nstyles++], err);
        at += n + (at[n] == ',');
    }
    for (int i = 0; i < s->nstyles; i++)
        s->share[i] /= sum;
    return err->code;
}

static int load_all(rt_style *s, const char **operands, int n, rt_error *err) {
    const char *path = n ? operands[0] : NULL;
    if (n > 1)
        return rt_fail(err, NETRT_EUSAGE, "one picture at a time\nhelp: %s",
                       s->texture ? "texture bricks.png" : "style cat.jpg --style=painting.jpg");
    if (s->texture) {
        s->nstyles = 1;
        s->share[0] = 1;
        return load(s, path, &s->picture[0], err);
    }
    if (!options.style || !*options.style)
        return rt_fail(err, NETRT_EUSAGE, "whose style?\nhelp: --style=painting.jpg, or several: "
                                          "--style=a.jpg,b.jpg:0.3");
    return load(s, path, &s->content, err) ? err->code : load_styles(s, err);
}

/* ---- colour and histograms ---- */

/* Planes of red, green and blue in an input's order: weights of luminance (ITU-R 601). */
static void find_luminance(const rt_style *s, double weight[3]) {
    static const double rgb[3] = {0.299, 0.587, 0.114};
    for (int c = 0; c < 3; c++)
        weight[c] = rgb[s->v->prep.bgr ? 2 - c : c];
}

static double luminance(const float *x, int64_t plane, int64_t i, const double weight[3]) {
    return weight[0] * (double)x[i] + weight[1] * (double)x[plane + i] +
           weight[2] * (double)x[2 * plane + i];
}

/* A picture (pixel units) loses its colours; a style's luminance gets mean and deviation of the
 * content's.  to: {mean, deviation} to bring it to, or NULL; from: gets those of the picture. */
static void make_grey(float *x, int64_t plane, const double weight[3], const double *to,
                      double from[2]) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < plane; i++) {
        double y = luminance(x, plane, i, weight);
        sum += y;
        square += y * y;
        x[i] = x[plane + i] = x[2 * plane + i] = (float)y;
    }
    from[0] = sum / (double)plane;
    from[1] = sqrt(fmax(square / (double)plane - from[0] * from[0], 0));
    double stretch = to && from[1] > 0 ? to[1] / from[1] : 1;
    for (int64_t i = 0; to && i < 3 * plane; i++)
        x[i] = (float)(((double)x[i] - from[0]) * stretch + to[0]);
}

/* --keep-colour: content and styles as the network reads them become grey.  p: open. */
static void drop_colours(rt_style *s) {
    rt_paint *p = &s->p;
    int64_t plane = p->size.h * p->size.w;
    double weight[3], of_content[2], of_style[2];
    find_luminance(s, weight);
    for (int i = -1; i < s->nstyles; i++) {
        float *input = i < 0 ? s->content.input : s->picture[i].input;
        rt_paint_from(p, 0, input);
        for (int64_t k = 0; k < p->count; k++)
            p->x[k] += p->zero[k];
        make_grey(p->x, plane, weight, i < 0 ? NULL : of_content, i < 0 ? of_content : of_style);
        for (int64_t k = 0; k < p->count; k++)
            input[k] = p->base[k] + p->scale[k] * (p->x[k] - p->zero[k]);
    }
}

/* p.x keeps its luminance and gets the colours of `input`. */
static void bring_colours(rt_style *s, const float *input) {
    rt_paint *p = &s->p;
    int64_t plane = p->size.h * p->size.w;
    double weight[3];
    find_luminance(s, weight);
    memcpy(p->g, p->x, (size_t)p->count * sizeof *p->g);
    rt_paint_from(p, 0, input);
    for (int64_t i = 0; i < plane; i++) {
        double more = 0;
        for (int c = 0; c < 3; c++) {
            int64_t k = c * plane + i;
            more += weight[c] * ((double)p->g[k] - (double)p->x[k]);
        }
        for (int c = 0; c < 3; c++)
            p->x[c * plane + i] += (float)more;
    }
}

typedef struct Ranked {
    float value;
    int32_t at;
} Ranked;

static int by_value(const void *a, const void *b) {
    const Ranked *x = a, *y = b;
    return x->value < y->value ? -1 : x->value > y->value ? 1 : x->at < y->at ? -1 : x->at > y->at;
}

/* The k-th smallest pixel of each plane of p.x becomes the k-th smallest of `input`. */
static int match_histograms(rt_style *s, const float *input, rt_error *err) {
    rt_paint *p = &s->p;
    int64_t plane = p->size.h * p->size.w;
    Ranked *have = rt_alloc(2 * (size_t)plane, sizeof *have, "a histogram", err);
    if (!have)
        return err->code;
    Ranked *want = have + plane;
    memcpy(p->g, p->x, (size_t)p->count * sizeof *p->g);
    rt_paint_from(p, 0, input);
    for (int64_t c = 0; c < p->size.c; c++) {
        for (int64_t i = 0; i < plane; i++) {
            have[i] = (Ranked){p->g[c * plane + i], (int32_t)i};
            want[i] = (Ranked){p->x[c * plane + i], (int32_t)i};
        }
        qsort(have, (size_t)plane, sizeof *have, by_value);
        qsort(want, (size_t)plane, sizeof *want, by_value);
        for (int64_t i = 0; i < plane; i++)
            p->x[c * plane + have[i].at] = want[i].value;
    }
    rt_free(have);
    return NETRT_OK;
}

/* ---- pictures out ---- */

static int put(rt_style *s, rt_sheet *sheet, int column, const float *input, const char *caption,
               rt_error *err) {
    rt_image tile = {0};
    if (input)
        rt_prep_invert(&s->v->prep, input, &tile, err);
    else
        rt_paint_image(&s->p, 0, &tile, err);
    if (!err->code)
        rt_sheet_put(sheet, column, 0, &tile, caption);
    rt_image_free(&tile);
    return err->code;
}

static int write_sheet(rt_style *s, const char *title, const char *note, const float *content,
                       rt_error *err) {
    rt_sheet sheet;
    char caption[200], name[180];
    int column = 0;
    if (rt_sheet_open(&sheet, title, note, s->nstyles + 1 + !s->texture, 1, s->v->prep.width,
                      s->v->prep.height, 224, 2, err) == 0) {
        if (!s->texture) {
            snprintf(caption, sizeof caption, "content:\n%s", s->content.name);
            put(s, &sheet, column++, content, caption, err);
        }
        for (int i = 0; i < s->nstyles && !err->code; i++) {
            if (s->nstyles == 1)
                snprintf(caption, sizeof caption, "style:\n%s", s->picture[i].name);
            else
                snprintf(caption, sizeof caption, "style, %.0f %%:\n%s", 100 * s->share[i],
                         s->picture[i].name);
            put(s, &sheet, column++, s->picture[i].input, s->texture ? "texture" : caption, err);
        }
        snprintf(caption, sizeof caption, "after %lld iterations%s", (long long)s->step,
                 s->ended ? ",\nnothing left to gain" : "");
        if (!err->code && put(s, &sheet, column, NULL, caption, err) == 0) {
            snprintf(name, sizeof name, "%s-sheet", s->name);
            rt_viz_write(s->v, &sheet.canvas, name, title, note, err);
        }
    }
    rt_sheet_close(&sheet);
    return err->code;
}

static int write_table(rt_style *s, rt_error *err) {
    rt_text t = {0};
    rt_text_add(&t, "iteration,evaluations,style,content,smoothness,range\n");
    for (int64_t i = 0; i <= s->step; i++) {
        const double *h = s->history + i * RT_STYLE_HISTORY;
        rt_text_printf(&t, "%lld,%.0f,%.9g,%.9g,%.9g,%.9g\n", (long long)i, h[RT_STYLE_EVALUATIONS],
                       h[RT_STYLE_STYLE], h[RT_STYLE_CONTENT], h[RT_STYLE_SMOOTH],
                       h[RT_STYLE_RANGE]);
    }
    rt_viz_write_text(s->v, &t, s->name, "loss of each iteration", err);
    rt_text_free(&t);
    return err->code;
}

/* colours: the content with its colours, where they are to be kept */
static int write_all(rt_style *s, const float *colours, rt_error *err) {
    const double *first = s->history, *last = s->history + s->step * RT_STYLE_HISTORY;
    char title[160], note[400];
    int n = snprintf(note, sizeof note, "style loss %.4g, at the start %.4g", last[RT_STYLE_STYLE],
                     first[RT_STYLE_STYLE]);
    if (!s->texture)
        n += snprintf(note + n, sizeof note - (size_t)n, "; content loss %.4g (%.4g)",
                      last[RT_STYLE_CONTENT], first[RT_STYLE_CONTENT]);
    snprintf(title, sizeof title, "%s of %.120s", s->texture ? "texture" : "style",
             s->texture ? s->picture[0].name : s->content.name);
    if (colours) {
        bring_colours(s, colours);
        snprintf(note + n, sizeof note - (size_t)n, "; colours of the content");
    }
    if (s->texture && !options.plain && match_histograms(s, s->picture[0].input, err) == 0)
        snprintf(note + n, sizeof note - (size_t)n, "; histograms matched");
    rt_image picture = {0};
    if (!err->code && rt_paint_image(&s->p, 0, &picture, err) == 0 &&
        rt_viz_write(s->v, &picture, s->name, title, note, err) == 0 &&
        write_sheet(s, title, note, colours ? colours : s->content.input, err) == 0)
        write_table(s, err);
    rt_image_free(&picture);
    return err->code;
}

/* ---- verbs ---- */

static void say_layers(const rt_style *s, char *text, size_t size, const int *seed, int n) {
    *text = 0;
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), size - strlen(text), "%s%s", i ? " " : "",
                 s->v->m->model->program[RT_LOOK].seed[seed[i]].label);
}

static void say_cost(const rt_style *s) {
    const rt_mimic *m = &s->mimic;
    const rt_program *p = &s->v->m->model->program[RT_LOOK];
    double network, gram, pictures = (double)s->p.count * 4 *
        (7 + (s->optimizer == RT_STYLE_LBFGS ? 4 + 2 * RT_STYLE_PAIRS : 3));
    double held = (double)p->act_bytes + (double)p->fix_bytes +
                  (double)s->v->m->model->param_bytes +
                  (double)m->ntarget * 4 + (double)s->v->look.seed_room * 12;
    char style[400], content[400], a[24], b[24];
    rt_mimic_flops(m, &network, &gram);
    say_layers(s, style, sizeof style, m->style, m->nstyle);
    say_layers(s, content, sizeof content, m->content, m->ncontent);
    rt_note(&s->v->cli.progress, "style: %s%s%s", style, m->nterms > m->ngram ? "; content: " : "",
            m->nterms > m->ngram ? content : "");
    rt_note(&s->v->cli.progress, "%lld x %lld pixels; per evaluation %.3g GFLOP, of it %.2g for Gram "
            "matrices; memory %s for the network, %s for pictures and optimizer",
            (long long)s->p.size.w, (long long)s->p.size.h, (network + gram) / 1e9, gram / 1e9,
            rt_text_bytes_human(held, a), rt_text_bytes_human(pictures, b));
}

static void start(rt_style *s) {
    if (options.start == FROM_NOISE)
        rt_paint_noise(&s->p, NOISE_PIXELS);
    else
        rt_paint_from(&s->p, 0, s->texture ? s->picture[0].input : s->content.input);
}

/* The targets are those of the pictures as they come back from pixel units, so that a picture that
 * starts as its own target has a loss of 0 to the bit.  room: (styles + 1) pictures. */
static int open_terms(rt_style *s, float *room, rt_error *err) {
    const float *style[RT_STYLE_MAX];
    for (int i = 0; i <= s->nstyles; i++) {
        const float *input = i < s->nstyles ? s->picture[i].input : s->content.input;
        float *at = room + i * s->p.count;
        if (!input)
            continue;
        rt_paint_from(&s->p, 0, input);
        rt_paint_input(&s->p, 0, at);
        if (i < s->nstyles)
            style[i] = at;
    }
    return rt_mimic_open(&s->mimic, style, s->share, s->nstyles,
                         s->texture ? NULL : room + s->nstyles * s->p.count, options.content,
                         STYLE_WEIGHT, err);
}

static int transfer(rt_style *s, float *colours, rt_error *err) {
    rt_mimic *m = &s->mimic;
    const rt_term none = {0};
    if (rt_mimic_layers(m, s->v, s->v->layers, options.content_layer, err) ||
        rt_paint_open(&s->p, s->v, &none, 0, 1, err))
        return err->code;
    if (colours) {
        memcpy(colours, s->content.input, (size_t)s->p.count * sizeof *colours);
        drop_colours(s);
    }
    float *room = rt_alloc((size_t)(s->nstyles + 1) * (size_t)s->p.count, sizeof *room, "pictures",
                           err);
    if (room)
        open_terms(s, room, err);
    rt_free(room);
    if (err->code)
        return err->code;
    rt_paint_close(&s->p);
    if (rt_paint_open(&s->p, s->v, m->term, m->nterms, 1, err))
        return err->code;
    say_cost(s);
    start(s);
    if (rt_style_run(s, options.resume, err))
        return err->code;
    if ((rt_cli_signal || options.keep_state) && rt_style_save(s, err))
        return err->code;
    if (write_all(s, colours, err) == 0 && rt_cli_signal)
        rt_fail(err, 128 + rt_cli_signal, "stopped after %lld of %lld iterations; what is there is "
                "written\nhelp: the same command with --resume goes on", (long long)s->step,
                (long long)s->steps);
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, int texture, rt_error *err) {
    rt_style s = {.v = v, .texture = texture, .optimizer = options.optimizer, .steps = options.steps,
                  .smooth = options.smooth, .rate = options.rate, .range = RANGE_WEIGHT};
    float *colours = NULL;
    if (rt_viz_open(v, 0, err) == 0 && load_all(&s, operands, n, err) == 0) {
        if (options.keep_colour && v->prep.channels != 3)
            rt_warn(&v->cli.progress, "--keep-colour: %s sees no colours", v->m->model->name);
        else if (options.keep_colour && !texture)
            colours = rt_alloc((size_t)v->prep.channels * (size_t)v->prep.height *
                               (size_t)v->prep.width, sizeof *colours, "a picture", err);
        snprintf(s.name, sizeof s.name, "%s-%.100s", texture ? "texture" : "style",
                 texture ? s.picture[0].name : s.content.name);
        snprintf(s.state, sizeof s.state, "%.4000s/%s.state", v->cli.out, s.name);
        if (!err->code)
            transfer(&s, colours, err);
    }
    rt_style_run_close(&s);
    rt_paint_close(&s.p);
    rt_mimic_close(&s.mimic);
    for (int i = 0; i < s.nstyles; i++)
        rt_free(s.picture[i].input);
    rt_free(s.content.input);
    rt_free(colours);
    return err->code;
}

static int run_style(rt_viz *v, const char **operands, int n, rt_error *err) {
    return run(v, operands, n, 0, err);
}

static int run_texture(rt_viz *v, const char **operands, int n, rt_error *err) {
    return run(v, operands, n, 1, err);
}

#define COMMON                                                                                     \
    {"steps", 0, RT_ARG_INT, "N", &options.steps, 0, 1000000, "iterations (default: 500)"},        \
    {"optimizer", 0, RT_ARG_CHOICE, "lbfgs|adam", &options.optimizer, 0, 0,                        \
     "L-BFGS with 20 pairs (default), or Adam"},                                                   \
    {"rate", 0, RT_ARG_REAL, "X", &options.rate, 0, 1, "pixels per step of Adam (default: 5)"},    \
    {"smooth", 0, RT_ARG_REAL, "X", &options.smooth, 0, 1,                                         \
     "weight of total variation (default: 0)"},                                                    \
    {"start", 0, RT_ARG_CHOICE, "noise|content", &options.start, 0, 0,                        \
     "the first picture: noise (default), or the content itself"},                                    \
    {"resume", 0, RT_ARG_FLAG, NULL, &options.resume, 0, 0,                                        \
     "go on where a stopped run left its .state file in --out"},                                   \
    {"keep-state", 0, RT_ARG_FLAG, NULL, &options.keep_state, 0, 0,                                \
     "write that file at the end too"}

static const rt_arg style_args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Style"},
    {"style", 0, RT_ARG_TEXT, "FILES", &options.style, 0, 0,
     "pictures whose style it gets, perhaps with weights: a.jpg,b.jpg:0.3"},
    {"content-layer", 0, RT_ARG_TEXT, "NAMES", &options.content_layer, 0, 0,
     "layers of content (--layer: layers of style)"},
    {"content", 0, RT_ARG_REAL, "X", &options.content, 0, 1,
     "weight of content, that of style being 1000 (default: 300)"},
    {"keep-colour", 0, RT_ARG_FLAG, NULL, &options.keep_colour, 0, 0,
     "the style changes luminance alone"},
    COMMON,
};
static const rt_arg texture_args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Texture"},
    {"no-histogram", 0, RT_ARG_FLAG, NULL, &options.plain, 0, 0,
     "leave the pixels' histograms as they are"},
    COMMON,
};

const rt_technique
    rt_technique_style = {{"style", "a picture painted in the style of others", "[OPTIONS] PICTURE",
                           "style cat.jpg --style=starry-night.jpg\n"
                           "style cat.jpg --style=a.jpg,b.jpg:0.3 --keep-colour --steps=1000"},
                          run_style, style_args, sizeof style_args / sizeof *style_args},
    rt_technique_texture = {{"texture", "noise that becomes a texture like a picture's",
                             "[OPTIONS] PICTURE", "texture pebbles.jpg\n"
                             "texture pebbles.jpg --layer=conv1,conv2 --steps=2000"},
                            run_texture, texture_args, sizeof texture_args / sizeof *texture_args};
