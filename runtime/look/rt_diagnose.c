/* rt_diagnose.c: two models side by side: what a picture excites in the same units, at the same
 * scale, with the difference; first filters; dead and dominant ones; how much of the first layer's
 * filters a stride aliases.
 *
 * theory: Zeiler and Fergus 2014, section 4.1 and figure 6: AlexNet's first layer mixes very high and
 * very low frequencies and, at stride 4, its second layer shows aliasing; 7x7 at stride 2 mended
 * both.  high: share of the filters' power above 1/4 cycle per pixel; aliased: above 1 / (2 stride),
 * the highest frequency that samples a stride apart can tell (rt_power_above).
 * A program holds one architecture, so each writes what it found into its folder (diagnosis.csv and
 * arrays), and the one that compares reads the other's; two weights of one net need no folder.
 */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "rt_alloc.h"
#include "rt_args.h"
#include "rt_compare.h"
#include "rt_lines.h"
#include "rt_pixels.h"
#include "rt_weights.h"

enum { LAYERS_MAX = 64, UNITS = 8, FILTERS = 32, SCAN = 1000, FIELDS = 16 };

static struct {
    const char *with;
} options;

typedef struct Found {
    char label[100];
    int64_t chw[3];
    float *values;      /* what the picture excites */
    rt_filters filters; /* weights: kept of the first layer alone */
    int64_t stride;     /* of the layer on the picture */
    int scanned;
    double high, aliased;
} Found;

typedef struct Side {
    char name[120];
    Found layer[LAYERS_MAX];
    int n;
} Side;

static void side_free(Side *s) {
    for (int i = 0; s && i < s->n; i++) {
        rt_free(s->layer[i].values);
        rt_free(s->layer[i].filters.weights);
    }
    rt_free(s);
}

/* ---- what this program finds ---- */

static int param_of(const rt_model *model, int seed) {
    for (int p = 0; p < model->nparams; p++)
        if (model->param[p].rank >= 3 && !(model->param[p].flags & RT_PARAM_CONSTANT) &&
            rt_seed_of_param(model, p) == seed)
            return p;
    return -1; /* not among rt_viz_conv_layers */
}

static void measure_power(Found *f) {
    const rt_filters *w = &f->filters;
    int64_t one = w->maps * w->h * w->w;
    for (int64_t i = 0; i < w->count; i++) {
        f->high += rt_power_above(w->weights + i * one, w->maps, w->h, w->w, 0.25);
        f->aliased += rt_power_above(w->weights + i * one, w->maps, w->h, w->w,
                                     0.5 / (double)f->stride);
    }
    f->high /= (double)w->count;
    f->aliased /= (double)w->count;
}

/* Strongest activations over the data, where there are data. */
static int scan(rt_viz *v, const int *seed, int n, rt_peak **top, int *scanned, rt_error *err) {
    rt_feed feed = {0};
    rt_error no = {0};
    *scanned = 0;
    for (int k = 0; k < n && !err->code; k++) {
        int64_t chw[3];
        rt_seed_shape(v->m->model, seed[k], chw);
        top[k] = rt_alloc((size_t)(chw[0] * RT_TOP), sizeof **top, "strongest activations", err);
    }
    if (!err->code && rt_viz_feed(v, NULL, 0, &feed, &no) == 0) {
        rt_look_scan(&v->cli, &v->look, &feed, v->limit > 0 ? v->limit : SCAN, seed, n, top, err);
        *scanned = 1;
    } else if (!err->code && v->cli.data) {
        *err = no;
    }
    rt_viz_feed_close(v, &feed);
    return err->code;
}

static int measure(rt_viz *v, const float *picture, const char *name, Side *s, rt_error *err) {
    const rt_program *look = &v->m->model->program[RT_LOOK];
    rt_peak *top[LAYERS_MAX] = {0};
    int seed[LAYERS_MAX], scanned = 0;
    int n = rt_viz_conv_layers(v, seed, LAYERS_MAX);
    snprintf(s->name, sizeof s->name, "%.100s", name);
    if (n == 0)
        return rt_fail(err, NETRT_EUSAGE, "%s has no convolutions to compare\nhelp: `embed` and "
                       "`errors` look at any network", v->m->model->name);
    if (scan(v, seed, n, top, &scanned, err) == 0) {
        v->m->frame.input[0] = picture;
        rt_look_record(&v->look, 1, err);
    }
    for (int k = 0; k < n && !err->code; k++) {
        const char *label = look->seed[seed[k]].label;
        if (!rt_viz_listed(v->layers, label))
            continue;
        Found *f = &s->layer[s->n++];
        snprintf(f->label, sizeof f->label, "%.99s", label);
        rt_seed_shape(v->m->model, seed[k], f->chw);
        f->stride = look->seed[seed[k]].rf_jump[0] > 0 ? look->seed[seed[k]].rf_jump[0] : 1;
        f->scanned = scanned;
        f->values = rt_alloc((size_t)(f->chw[0] * f->chw[1] * f->chw[2]), sizeof(float), "a layer",
                             err);
        if (!f->values)
            break;
        rt_look_values(&v->look, seed[k], 0, f->values);
        if (rt_filter_counts(v, param_of(v->m->model, seed[k]), scanned ? top[k] : NULL,
                             &f->filters, err))
            break;
        if (k == 0)
            measure_power(f);
        else {
            rt_free(f->filters.weights);
            f->filters.weights = NULL;
        }
    }
    for (int k = 0; k < n; k++)
        rt_free(top[k]);
    return err->code;
}

/* ---- files ---- */

static const char head[] = "layer,maps,height,width,stride,filters,dead,weak,dominant,median_rms,"
                           "largest_rms,filter_maps,filter_height,filter_width,high,aliased\n";

static int write_side(rt_viz *v, const Side *s, rt_error *err) {
    rt_text csv = {0};
    char name[160];
    rt_text_add(&csv, head);
    for (int i = 0; i < s->n && !err->code; i++) {
        const Found *f = &s->layer[i];
        const rt_filters *w = &f->filters;
        rt_text_printf(&csv, "%s,%lld,%lld,%lld,%lld,%lld,", f->label, (long long)f->chw[0],
                       (long long)f->chw[1], (long long)f->chw[2], (long long)f->stride,
                       (long long)w->count);
        rt_text_printf(&csv, "%lld,%lld,%lld,%.9g,%.9g,%lld,%lld,%lld,%.9g,%.9g\n",
                       f->scanned ? (long long)w->dead : -1, (long long)w->weak,
                       (long long)w->dominant, w->median, w->largest, (long long)w->maps,
                       (long long)w->h, (long long)w->w, f->high, f->aliased);
        snprintf(name, sizeof name, "diagnosis-%s", f->label);
        rt_viz_write_raw(v, f->values, 3, f->chw, name, err);
        if (w->weights && !err->code)
            rt_viz_write_raw(v, w->weights, 3, (int64_t[3]){w->count * w->maps, w->h, w->w},
                             "diagnosis-filters", err);
    }
    if (!err->code)
        rt_viz_write_text(v, &csv, "diagnosis", "diagnosis", err);
    rt_text_free(&csv);
    return err->code;
}

static int bad(const char *path, int32_t line, rt_error *err) {
    return rt_fail(err, NETRT_EDATA, "%s:%d: that is no table of `diagnose`\nhelp: let the other "
                   "program write its folder again", path, line);
}

static int read_array(const char *dir, const char *label, int64_t c, int64_t h, int64_t w, float **x,
                      rt_error *err) {
    char path[4400];
    snprintf(path, sizeof path, "%.4000s/diagnosis-%s.npy", dir, label);
    *x = rt_alloc((size_t)(c * h * w), sizeof **x, "a layer", err);
    return *x ? rt_npy_image(path, (int)c, (int)h, (int)w, *x, err) : err->code;
}

static int read_row(const char *dir, const char *path, int32_t line, char **field, Found *f,
                    rt_error *err) {
    int64_t number[FIELDS] = {0};
    double real[FIELDS] = {0};
    for (int i = 1; i < FIELDS; i++) {
        int whole = i < 9 || (i > 10 && i < 14);
        if (whole ? !rt_parse_int(field[i], &number[i]) : !rt_parse_real(field[i], &real[i]))
            return bad(path, line, err);
        if (whole && i != 6 && (number[i] < 0 || number[i] > 65535))
            return bad(path, line, err);
    }
    snprintf(f->label, sizeof f->label, "%.99s", field[0]);
    memcpy(f->chw, number + 1, sizeof f->chw);
    f->stride = number[4];
    f->scanned = number[6] >= 0;
    f->filters = (rt_filters){.count = number[5], .dead = number[6], .weak = number[7],
                              .dominant = number[8], .median = real[9], .largest = real[10],
                              .maps = number[11], .h = number[12], .w = number[13]};
    f->high = real[14];
    f->aliased = real[15];
    if (f->chw[0] * f->chw[1] * f->chw[2] > (int64_t)1 << 28 || f->chw[0] * f->chw[1] * f->chw[2] < 1 ||
        strchr(f->label, '/'))
        return bad(path, line, err);
    return read_array(dir, f->label, f->chw[0], f->chw[1], f->chw[2], &f->values, err);
}

static int read_side(const char *dir, Side *s, rt_error *err) {
    char path[4300];
    struct rt_lines lines = {0};
    const char *base = strrchr(dir, '/');
    snprintf(s->name, sizeof s->name, "%.100s", base && base[1] ? base + 1 : dir);
    snprintf(path, sizeof path, "%.4000s/diagnosis.csv", dir);
    if (rt_lines_read(&lines, path, 0, err))
        rt_advise(err, "the other program writes it: OTHER-viz diagnose PICTURE --out=FOLDER");
    for (int64_t i = 1; i < lines.n && s->n < LAYERS_MAX && !err->code; i++) {
        char *field[FIELDS];
        if (rt_fields(lines.at[i], ',', field, FIELDS) != FIELDS)
            bad(path, lines.line[i], err);
        else
            read_row(dir, path, lines.line[i], field, &s->layer[s->n++], err);
    }
    rt_lines_free(&lines);
    Found *f = &s->layer[0];
    rt_filters *w = &f->filters;
    if (!err->code && s->n && w->count * w->maps * w->h * w->w > 0 &&
        w->count * w->maps * w->h < (int64_t)1 << 24)
        read_array(dir, "filters", w->count * w->maps, w->h, w->w, &w->weights, err);
    return err->code;
}

/* ---- comparing ---- */

static const Found *layer_named(const Side *s, const char *label) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->layer[i].label, label) == 0)
            return &s->layer[i];
    return NULL;
}

static void add_row(rt_text *o, const char *side, const Found *f, int first) {
    char dead[24] = "-";
    if (f->scanned)
        snprintf(dead, sizeof dead, "%lld", (long long)f->filters.dead);
    rt_text_printf(o, "%-20.20s %-16.16s %7lld %5s %5lld %8lld %9.4f", f->label, side,
                   (long long)f->filters.count, dead, (long long)f->filters.weak,
                   (long long)f->filters.dominant, f->filters.median);
    if (first)
        rt_text_printf(o, "  %dx%d stride %d: high %.3f, aliased %.3f", (int)f->filters.h,
                       (int)f->filters.w, (int)f->stride, f->high, f->aliased);
    rt_text_add(o, "\n");
}

static int print(const Side *a, const Side *b, rt_error *err) {
    rt_text o = {0};
    rt_text_printf(&o, "%-20s %-16s %7s %5s %5s %8s %9s  first layer\n", "layer", "model", "filters",
                   "dead", "weak", "dominant", "median");
    for (int i = 0; i < a->n; i++) {
        const Found *other = b ? layer_named(b, a->layer[i].label) : NULL;
        add_row(&o, a->name, &a->layer[i], i == 0);
        if (other)
            add_row(&o, b->name, other, other == &b->layer[0]);
    }
    for (int i = 0; b && i < b->n; i++)
        if (!layer_named(a, b->layer[i].label))
            add_row(&o, b->name, &b->layer[i], i == 0);
    return rt_cli_print(&o, err);
}

static float largest(const float *x, int64_t n) {
    float top = 0;
    for (int64_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* The units that answer strongest in either model, or --maps; at most UNITS. */
static int choose_units(const rt_viz *v, const Found *a, const Found *b, int64_t *unit) {
    int64_t maps = a->chw[0] < b->chw[0] ? a->chw[0] : b->chw[0], pa = a->chw[1] * a->chw[2];
    int64_t pb = b->chw[1] * b->chw[2];
    int n = 0;
    for (; n < UNITS; n++) {
        int64_t best = -1;
        float most = 0;
        for (int64_t c = 0; c < maps; c++) {
            int taken = !rt_viz_wants_map(v, c);
            for (int k = 0; k < n; k++)
                taken |= unit[k] == c;
            float value = fmaxf(largest(a->values + c * pa, pa), largest(b->values + c * pb, pb));
            if (!taken && (best < 0 || value > most)) {
                best = c;
                most = value;
            }
        }
        if (best < 0)
            break;
        unit[n] = best;
    }
    return n;
}

/* Maps of the units: this model's, the other's at this one's size, the difference. */
static void line_up(const Found *a, const Found *b, const int64_t *unit, int n, float *x) {
    int64_t plane = a->chw[1] * a->chw[2], all = n * plane;
    for (int i = 0; i < n; i++) {
        memcpy(x + i * plane, a->values + unit[i] * plane, (size_t)plane * sizeof *x);
        rt_planes_resize(b->values + unit[i] * b->chw[1] * b->chw[2],
                         (rt_planes){1, b->chw[1], b->chw[2]}, x + all + i * plane, a->chw[1],
                         a->chw[2]);
    }
    for (int64_t k = 0; k < all; k++)
        x[2 * all + k] = x[k] - x[all + k];
}

/* Columns: units; rows: this model, the other one, the difference. */
static int compare_layer(rt_viz *v, const Side *sa, const Side *sb, const Found *a, const Found *b,
                         rt_error *err) {
    int64_t unit[UNITS], h = a->chw[1], w = a->chw[2];
    int n = choose_units(v, a, b, unit);
    float top = fmaxf(rt_max_abs(a->values, a->chw[0] * h * w),
                      rt_max_abs(b->values, b->chw[0] * b->chw[1] * b->chw[2]));
    float *x = n ? rt_alloc((size_t)(3 * n * h * w), sizeof *x, "maps", err) : NULL;
    char title[160], note[300], name[160], caption[64];
    snprintf(title, sizeof title, "diagnosis of %.60s", a->label);
    snprintf(note, sizeof note, "rows: %.40s, %.40s%s, difference; columns: units; one scale: mid-grey = "
             "0, white = %+.4g", sa->name, sb->name,
             h == b->chw[1] && w == b->chw[2] ? "" : " (enlarged or reduced)", (double)top);
    snprintf(name, sizeof name, "compared-%s", a->label);
    rt_sheet s = {0};
    rt_image tile = {0};
    if (!x)
        return err->code;
    line_up(a, b, unit, n, x);
    if (rt_sheet_open(&s, title, note, n, 3, (int)w, (int)h, 96, 1, err) == 0)
        for (int i = 0; i < 3 * n; i++) {
            const float *shown = x + i * h * w;
            if (rt_canvas_tone(&tile, shown, 1, (int)h, (int)w, 0, RT_TONE_SIGNED, top, err))
                break;
            snprintf(caption, sizeof caption, "%lld: %.3g", (long long)unit[i % n],
                     (double)rt_max_abs(shown, h * w));
            rt_sheet_put(&s, i % n, i / n, &tile, caption);
        }
    if (!err->code && rt_viz_write(v, &s.canvas, name, title, note, err) == 0)
        rt_viz_write_raw(v, x, 4, (int64_t[4]){3, n, h, w}, name, err);
    rt_image_free(&tile);
    rt_sheet_close(&s);
    rt_free(x);
    return err->code;
}

static int put_filters(rt_viz *v, rt_sheet *s, const Found *f, int row, int columns, float scale,
                       rt_error *err) {
    const rt_filters *w = &f->filters;
    rt_image tile = {0};
    for (int64_t i = 0; i < w->count && i < FILTERS && !err->code; i++)
        if (rt_canvas_tone(&tile, w->weights + i * w->maps * w->h * w->w, (int)w->maps, (int)w->h,
                           (int)w->w, v->prep.bgr, RT_TONE_SIGNED, scale, err) == 0)
            rt_sheet_put(s, (int)(i % columns), row + (int)(i / columns), &tile, NULL);
    rt_image_free(&tile);
    return err->code;
}

static int compare_filters(rt_viz *v, const Side *sa, const Side *sb, rt_error *err) {
    enum { COLUMNS = 16 };
    const Found *a = &sa->layer[0], *b = &sb->layer[0];
    const rt_filters *x = &a->filters, *y = &b->filters;
    if (!x->weights || !y->weights)
        return NETRT_OK;
    float scale = fmaxf(rt_max_abs(x->weights, x->count * x->maps * x->h * x->w),
                        rt_max_abs(y->weights, y->count * y->maps * y->h * y->w));
    int rows = (int)((x->count < FILTERS ? x->count : FILTERS) + COLUMNS - 1) / COLUMNS;
    int more = (int)((y->count < FILTERS ? y->count : FILTERS) + COLUMNS - 1) / COLUMNS;
    char note[300];
    snprintf(note, sizeof note, "%d rows of %.40s (aliased %.3f), %d of %.40s (aliased %.3f); one scale: "
             "mid-grey = 0, white = %+.4g", rows, sa->name, a->aliased, more, sb->name, b->aliased,
             (double)scale);
    rt_sheet s = {0};
    if (rt_sheet_open(&s, "diagnosis: first filters", note, COLUMNS, rows + more,
                      (int)(x->w > y->w ? x->w : y->w), (int)(x->h > y->h ? x->h : y->h), 48, 0,
                      err) == 0 &&
        put_filters(v, &s, a, 0, COLUMNS, scale, err) == 0 &&
        put_filters(v, &s, b, rows, COLUMNS, scale, err) == 0)
        rt_viz_write(v, &s.canvas, "compared-filters", "diagnosis: first filters", note, err);
    rt_sheet_close(&s);
    return err->code;
}

static int compare(rt_viz *v, const Side *a, const Side *b, rt_error *err) {
    int common = 0;
    compare_filters(v, a, b, err);
    for (int i = 0; i < a->n && !err->code; i++) {
        const Found *other = layer_named(b, a->layer[i].label);
        if (other && compare_layer(v, a, b, &a->layer[i], other, err) == 0)
            common++;
    }
    if (!err->code && common == 0)
        rt_warn(&v->cli.progress, "no layer of %s has the name of one of %s: only the tables and the "
                "first filters are compared", a->name, b->name);
    return err->code;
}

/* ---- the verb ---- */

/* The picture as numbers of its own; other data are scanned afterwards. */
static int take_picture(rt_viz *v, const char **operands, int n, float **picture, rt_error *err) {
    rt_feed feed = {0};
    const char *data = v->cli.data;
    int64_t at;
    *picture = rt_alloc((size_t)rt_input_count(v->m->model, 0), sizeof **picture, "a picture", err);
    if (*picture && rt_viz_feed(v, operands, n, &feed, err) == 0 &&
        rt_viz_one(v, &feed, &at, err) == 0)
        memcpy(*picture, feed.input[0], (size_t)rt_input_count(v->m->model, 0) * sizeof **picture);
    rt_viz_feed_close(v, &feed);
    v->cli.data = data;
    return err->code;
}

static int the_other(rt_viz *v, const float *picture, Side *other, rt_error *err) {
    struct stat st;
    const char *base = strrchr(options.with, '/');
    if (stat(options.with, &st) == 0 && S_ISDIR(st.st_mode))
        return read_side(options.with, other, err);
    if (rt_weights_load(v->m, options.with, 0, NULL, err))
        return rt_advise(err, "--with names weights of this net, or the folder that another program's "
                              "diagnose wrote");
    return measure(v, picture, base && base[1] ? base + 1 : options.with, other, err);
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Side *own = rt_alloc_zero(1, sizeof *own, "a diagnosis", err), *other = NULL;
    float *picture = NULL;
    if (own)
        other = rt_alloc_zero(1, sizeof *other, "a diagnosis", err);
    if (other && rt_viz_open(v, 1, err) == 0) {
        if (v->m->model->ninputs != 1)
            rt_fail(err, NETRT_EUSAGE, "%s reads several inputs; this analysis shows one picture\n"
                    "help: `filters` tells dead and dominant filters of any net", v->m->model->name);
        if (!err->code && take_picture(v, operands, n, &picture, err) == 0 &&
            measure(v, picture, v->m->model->name, own, err) == 0 && write_side(v, own, err) == 0 &&
            options.with && the_other(v, picture, other, err) == 0)
            compare(v, own, other, err);
        if (!err->code)
            print(own, options.with ? other : NULL, err);
    }
    rt_free(picture);
    side_free(own);
    side_free(other);
    return err->code;
}

static const rt_arg args[] = {
    {"with", 0, RT_ARG_TEXT, "OTHER", &options.with, 0, 0,
     "other weights of this net, or the folder that another net's diagnose wrote"},
};

const rt_technique rt_technique_diagnose = {
    {"diagnose", "two models side by side: filters, maps, aliasing", "[OPTIONS] [PICTURE]",
     "diagnose cat.jpg --with=old.safetensors\ndiagnose cat.jpg --with=theirs/  (where other-viz "
     "diagnose cat.jpg --out=theirs wrote)"},
    run, args, sizeof args / sizeof *args};
