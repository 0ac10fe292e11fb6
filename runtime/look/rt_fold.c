/* rt_fold.c: how a network of two inputs folds its plane: what becomes of a grid of lines in each
 * layer, the pieces on which the layers so far are linear, and the regions of the classes.
 *
 * theory: Montufar, Pascanu, Cho, Bengio 2014 (folding, linear regions).  Two points are in one piece
 * when the same rectifiers are silent for both, up to and with this layer; pieces smaller than a
 * step of the grid are not found.  A layer of more than two units is shown by its first two
 * principal components over the grid.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_contour.h"
#include "rt_pca.h"
#include "rt_scatter.h"
#include "rt_svg.h"
#include "rt_viz.h"

/* The grid has SIDE x SIDE points, every STEP-th row and column of them is a line. */
enum { SIDE = 241, STEP = 12, GRID = SIDE * SIDE, TILE = 241, POINTS = 1000, LAYERS = 12 };
#define ACROSS 0xd55e00u
#define UP 0x0072b2u
#define PAPER 0xf6f6f6u
/* The SVG: columns, rows and the head, in pixels. */
#define SVG_X 253
#define SVG_Y 285
#define SVG_HEAD 52

static struct {
    const char *range;
} options = {NULL};

typedef struct Fold {
    rt_viz *v;
    rt_feed feed;
    double lo, hi;     /* of both inputs */
    int64_t n, extra;  /* points: the grid, then samples of the data */
    float *x;          /* n x 2 */
    int32_t *class;    /* of the extra ones */
    uint64_t *piece;   /* GRID: which rectifiers were silent so far */
    int rectified;     /* layers so far */
    double *at;        /* n x 2: the points in the layer at hand */
    rt_sheet sheet;
    rt_text csv, svg;
} Fold;

/* ---- points ---- */

static int parse_range(Fold *f, rt_error *err) {
    char *end = NULL;
    f->lo = strtod(options.range, &end);
    if (end != options.range && *end == ',') {
        const char *second = end + 1;
        f->hi = strtod(second, &end);
        if (end != second && !*end && f->hi > f->lo && isfinite(f->hi - f->lo))
            return NETRT_OK;
    }
    return rt_fail(err, NETRT_EUSAGE, "--range=%s is no range of numbers\nhelp: --range=-2,2",
                   options.range);
}

/* Samples of the data, if there are any: what the network reads. */
static int take_samples(Fold *f, float *x, rt_error *err) {
    int64_t total = f->feed.m ? rt_data_count(f->feed.ds) : 0;
    total = total < POINTS ? total : POINTS;
    for (int64_t at = 0; at < total && !err->code; at += f->feed.cap) {
        int64_t want = total - at < f->feed.cap ? total - at : f->feed.cap;
        int64_t n = rt_feed_load_range(&f->feed, at, want, rt_cli_skipped, &f->v->cli);
        if (n < 0)
            return rt_fail(err, f->feed.failure.code, "%s", f->feed.failure.text);
        memcpy(x + 2 * f->extra, f->feed.input[0], (size_t)n * 2 * sizeof *x);
        for (int64_t i = 0; i < n; i++)
            f->class[f->extra + i] =
                rt_data_classes(f->feed.ds) > 0 ? f->feed.label[i] : -1;
        f->extra += n;
    }
    return err->code;
}

static int make_points(Fold *f, rt_error *err) {
    f->x = rt_alloc(GRID + POINTS, 2 * sizeof *f->x, "points", err);
    f->at = rt_alloc(GRID + POINTS, 2 * sizeof *f->at, "points", err);
    f->class = rt_alloc(POINTS, sizeof *f->class, "classes", err);
    f->piece = rt_alloc_zero(GRID, sizeof *f->piece, "pieces", err);
    if (err->code || take_samples(f, f->x + 2 * GRID, err))
        return err->code;
    f->n = GRID + f->extra;
    f->lo = -2;
    f->hi = 2;
    for (int64_t i = 0; i < 2 * f->extra; i++) {
        double v = (double)f->x[2 * GRID + i];
        f->lo = i == 0 || v < f->lo ? v : f->lo;
        f->hi = i == 0 || v > f->hi ? v : f->hi;
    }
    if (f->extra) {
        double margin = f->hi > f->lo ? 0.15 * (f->hi - f->lo) : 1;
        f->lo -= margin;
        f->hi += margin;
    }
    if (options.range && parse_range(f, err))
        return err->code;
    for (int64_t i = 0; i < GRID; i++) { /* row by row from the top: the second input falls */
        f->x[2 * i] = (float)(f->lo + (f->hi - f->lo) * (double)(i % SIDE) / (SIDE - 1));
        f->x[2 * i + 1] = (float)(f->hi - (f->hi - f->lo) * (double)(i / SIDE) / (SIDE - 1));
    }
    return NETRT_OK;
}

/* ---- tiles ---- */

static void line(rt_image *canvas, const double a[2], const double b[2], unsigned color) {
    double dx = b[0] - a[0], dy = b[1] - a[1], longer = fmax(fabs(dx), fabs(dy));
    int steps = 1 + (int)fmin(longer, 4 * TILE);
    for (int i = 0; i <= steps; i++)
        rt_canvas_rect(canvas, (int)lrint(a[0] + dx * i / steps), (int)lrint(a[1] + dy * i / steps),
                       1, 1, color);
}

static void svg_caption(Fold *f, int column, int row, const char *caption) {
    double x = 8 + SVG_X * column, y = SVG_HEAD + SVG_Y * row + TILE + 14.0;
    size_t n = strcspn(caption, "\n");
    char line[100];
    snprintf(line, sizeof line, "%.*s", (int)n, caption);
    rt_svg_text(&f->svg, x, y, "", line);
    if (caption[n])
        rt_svg_text(&f->svg, x, y + 15, "", caption + n + 1);
}

/* draw_grid with lines instead of pixels. */
static int svg_grid(Fold *f, int column, const char *caption, rt_error *err) {
    rt_scatter_fit fit = rt_scatter_fit_of(f->at, f->n, TILE);
    double at[2 * SIDE], x = 8 + SVG_X * column, y = SVG_HEAD;
    rt_text_printf(&f->svg, "<rect x=\"%g\" y=\"%g\" width=\"%d\" height=\"%d\" fill=\"#%06x\"/>\n",
                   x, y, TILE, TILE, PAPER);
    for (int way = 0; way < 2; way++) {
        rt_text_printf(&f->svg, "<path fill=\"none\" stroke=\"#%06x\" d=\"", way ? UP : ACROSS);
        for (int64_t k = 0; k < SIDE && !err->code; k += STEP) {
            for (int64_t i = 0; i < SIDE; i++) {
                double *p = at + 2 * i;
                rt_scatter_place(&fit, TILE, f->at + 2 * (way ? i * SIDE + k : k * SIDE + i), p);
                p[0] += x;
                p[1] += y;
            }
            rt_svg_line(&f->svg, at, SIDE, 0.15, err);
        }
        rt_text_add(&f->svg, "\"/>\n");
    }
    for (int64_t i = GRID; i < f->n; i++) {
        rt_scatter_place(&fit, TILE, f->at + 2 * i, at);
        rt_scatter_mark_svg(&f->svg, x + at[0], y + at[1], f->class[i - GRID]);
    }
    svg_caption(f, column, 0, caption);
    return err->code;
}

/* Areas, the borders between cells of different id, the samples of the input column. */
static int svg_areas(Fold *f, int column, const rt_image *tile, const uint64_t *id,
                     const char *caption, rt_error *err) {
    double x = 8 + SVG_X * column, y = SVG_HEAD + SVG_Y, scale = (SIDE - 1) / (f->hi - f->lo);
    rt_svg_picture(&f->svg, tile, x, y, err);
    rt_text_add(&f->svg, "<path fill=\"none\" stroke=\"#333\" d=\"");
    if (!err->code)
        rt_svg_borders(&f->svg, id, SIDE, SIDE, x, y, err);
    rt_text_add(&f->svg, "\"/>\n");
    for (int64_t i = GRID; i < f->n && column == 0; i++)
        rt_scatter_mark_svg(&f->svg, x + 0.5 + ((double)f->x[2 * i] - f->lo) * scale,
                            y + 0.5 + (f->hi - (double)f->x[2 * i + 1]) * scale,
                            f->class[i - GRID]);
    svg_caption(f, column, 1, caption);
    return err->code;
}

/* The lines of the grid where f->at says that their points are now, and the samples. */
static int draw_grid(const Fold *f, rt_image *tile, rt_error *err) {
    rt_scatter_fit fit = rt_scatter_fit_of(f->at, f->n, TILE);
    double a[2], b[2];
    if (rt_canvas_new(tile, TILE, TILE, PAPER, err))
        return err->code;
    for (int way = 0; way < 2; way++)
        for (int64_t k = 0; k < SIDE; k += STEP)
            for (int64_t i = 0; i + 1 < SIDE; i++) {
                int64_t p = way ? i * SIDE + k : k * SIDE + i, q = p + (way ? SIDE : 1);
                rt_scatter_place(&fit, TILE, f->at + 2 * p, a);
                rt_scatter_place(&fit, TILE, f->at + 2 * q, b);
                line(tile, a, b, way ? UP : ACROSS);
            }
    for (int64_t i = GRID; i < f->n; i++) {
        rt_scatter_place(&fit, TILE, f->at + 2 * i, a);
        rt_scatter_mark(tile, (int)lrint(a[0]), (int)lrint(a[1]), 2, f->class[i - GRID]);
    }
    return NETRT_OK;
}

static int by_number(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int64_t count_pieces(const Fold *f, rt_error *err) {
    uint64_t *sorted = rt_alloc(GRID, sizeof *sorted, "pieces", err);
    int64_t n = 1;
    if (!sorted)
        return 0;
    memcpy(sorted, f->piece, GRID * sizeof *sorted);
    qsort(sorted, GRID, sizeof *sorted, by_number);
    for (int64_t i = 1; i < GRID; i++)
        n += sorted[i] != sorted[i - 1];
    rt_free(sorted);
    return n;
}

/* Each piece of the input plane in a pale colour of its own, with edges dark where two meet. */
static int draw_pieces(const Fold *f, rt_image *tile, int edges, rt_error *err) {
    if (rt_canvas_new(tile, TILE, TILE, 0xffffffu, err))
        return err->code;
    for (int64_t i = 0; i < GRID; i++) {
        int edge = edges && ((i % SIDE + 1 < SIDE && f->piece[i] != f->piece[i + 1]) ||
                             (i + SIDE < GRID && f->piece[i] != f->piece[i + SIDE]));
        uint64_t h = f->piece[i] * 0x9e3779b97f4a7c15u;
        unsigned pale = 0xb0b0b0u + ((unsigned)(h >> 40) & 0x3f3f3fu);
        rt_canvas_rect(tile, (int)(i % SIDE), (int)(i / SIDE), 1, 1, edge ? 0x333333u : pale);
    }
    return NETRT_OK;
}

/* ---- layers ---- */

/* Runs all points; keeps the layer's values (units each) or, seed -1, class and its probability. */
static int run_points(Fold *f, int seed, int64_t units, float *values, rt_error *err) {
    rt_viz *v = f->v;
    int64_t classes = v->m->model->classes;
    float *probs = rt_alloc((size_t)(classes > 0 ? classes : 1), sizeof *probs, "scores", err);
    for (int64_t at = 0; probs && at < f->n && !err->code; at += v->look.cap) {
        int64_t n = f->n - at < v->look.cap ? f->n - at : v->look.cap;
        v->m->frame.input[0] = f->x + 2 * at;
        if (rt_cli_signal)
            rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (err->code || rt_look_record(&v->look, n, err))
            break;
        for (int64_t i = 0; i < n; i++)
            if (seed >= 0) {
                rt_look_values(&v->look, seed, i, values + (at + i) * units);
            } else if (rt_viz_answer(v, i, probs)) {
                int64_t best = rt_best(v->m->model, probs);
                values[2 * (at + i)] = (float)best;
                values[2 * (at + i) + 1] = probs[best];
            }
    }
    rt_free(probs);
    return err->code;
}

/* f->at: the points in the layer's space. */
static int place(Fold *f, const float *values, int64_t units, double *share, rt_error *err) {
    rt_pca pca = {0};
    *share = 1;
    if (units <= 2) {
        for (int64_t i = 0; i < 2 * f->n; i++)
            f->at[i] = i % 2 < units ? (double)values[i / 2 * units + i % 2] : 0;
        return NETRT_OK;
    }
    if (rt_pca_fit(&pca, values, f->n, units, 2, f->v->m->threads, err) == 0) {
        rt_pca_apply(&pca, values, f->n, f->at, f->v->m->threads);
        *share = rt_pca_ratio(&pca, 0) + rt_pca_ratio(&pca, 1);
    }
    rt_pca_close(&pca);
    return err->code;
}

/* One layer: its column of the sheet. */
static int one_layer(Fold *f, int seed, int column, rt_error *err) {
    const rt_program *look = &f->v->m->model->program[RT_LOOK];
    const char *label = look->seed[seed].label, *op = look->tensor[look->seed[seed].tensor].op;
    int64_t chw[3], units, pieces = 0;
    double share;
    char text[160];
    rt_image tile = {0};
    rt_seed_shape(f->v->m->model, seed, chw);
    units = chw[0] * chw[1] * chw[2];
    float *values = rt_alloc((size_t)f->n, (size_t)units * sizeof *values, "a layer's values", err);
    if (values && run_points(f, seed, units, values, err) == 0 &&
        place(f, values, units, &share, err) == 0 && draw_grid(f, &tile, err) == 0) {
        if (units > 2)
            snprintf(text, sizeof text, "%.20s, %lld units\nplane with %.0f %% of variance", label,
                     (long long)units, 100 * share);
        else
            snprintf(text, sizeof text, "%.20s\n%lld unit%s", label, (long long)units,
                     units == 1 ? "" : "s");
        rt_sheet_put(&f->sheet, column, 0, &tile, text);
        svg_grid(f, column, text, err);
        int relu = strstr(op, "relu") != NULL;
        for (int64_t i = 0; relu && i < GRID; i++)
            for (int64_t k = 0; k < units; k++)
                f->piece[i] = (f->piece[i] ^ (uint64_t)(values[i * units + k] > 0)) *
                                  0x100000001b3u + 1;
        f->rectified += relu;
        if (!err->code && f->rectified && draw_pieces(f, &tile, 1, err) == 0) {
            pieces = count_pieces(f, err);
            snprintf(text, sizeof text, "up to %.20s\n%lld linear piece%s", label,
                     (long long)pieces, pieces == 1 ? "" : "s");
            rt_sheet_put(&f->sheet, column, 1, &tile, text);
            if (draw_pieces(f, &tile, 0, err) == 0)
                svg_areas(f, column, &tile, f->piece, text, err);
        }
        rt_text_printf(&f->csv, "%s,%lld,%lld\n", label, (long long)units, (long long)pieces);
    }
    rt_free(values);
    rt_image_free(&tile);
    return err->code;
}

static unsigned mix(unsigned color, double share) {
    unsigned out = 0;
    for (int shift = 16; shift >= 0; shift -= 8)
        out = out << 8 | (unsigned)lrint(255 + share * ((double)(color >> shift & 255) - 255));
    return out;
}

/* Who wins where: won has the class and its probability of every point. */
static int draw_winners(Fold *f, rt_image *tile, const float *won, rt_error *err) {
    static const char text[] = "class that wins,\nstronger: more probable";
    double classes = (double)f->v->m->model->classes;
    uint64_t *id = rt_alloc(GRID, sizeof *id, "classes", err);
    if (!id || rt_canvas_new(tile, TILE, TILE, 0xffffffu, err)) {
        rt_free(id);
        return err->code;
    }
    for (int64_t i = 0; i < GRID; i++) {
        double sure = ((double)won[2 * i + 1] - 1.0 / classes) / (1 - 1.0 / classes);
        sure = sure > 0 ? sure < 1 ? sure : 1 : 0; /* scores are no probabilities */
        id[i] = (uint64_t)won[2 * i];
        rt_canvas_rect(tile, (int)(i % SIDE), (int)(i / SIDE), 1, 1,
                       mix(rt_class_color((int64_t)won[2 * i]), 0.15 + 0.55 * sure));
    }
    svg_areas(f, 0, tile, id, text, err);
    for (int64_t i = GRID; i < f->n; i++) {
        int x = (int)lrint(((double)f->x[2 * i] - f->lo) / (f->hi - f->lo) * (SIDE - 1));
        int y = (int)lrint((f->hi - (double)f->x[2 * i + 1]) / (f->hi - f->lo) * (SIDE - 1));
        rt_scatter_mark(tile, x, y, 3, -1);
        rt_scatter_mark(tile, x, y, 2, f->class[i - GRID]);
    }
    rt_sheet_put(&f->sheet, 0, 1, tile, text);
    rt_free(id);
    return err->code;
}

/* The input plane: the grid itself and, below, who wins where. */
static int input_column(Fold *f, rt_error *err) {
    rt_image tile = {0};
    char text[160];
    for (int64_t i = 0; i < 2 * f->n; i++)
        f->at[i] = (double)f->x[i];
    if (draw_grid(f, &tile, err) == 0) {
        snprintf(text, sizeof text, "input, %.4g to %.4g\n%lld samples", f->lo, f->hi,
                 (long long)f->extra);
        rt_sheet_put(&f->sheet, 0, 0, &tile, text);
        svg_grid(f, 0, text, err);
    }
    float *won = rt_alloc((size_t)f->n, 2 * sizeof *won, "answers", err);
    if (won && f->v->m->model->classes > 1 && run_points(f, -1, 2, won, err) == 0)
        draw_winners(f, &tile, won, err);
    rt_free(won);
    rt_image_free(&tile);
    return err->code;
}

static void svg_begin(Fold *f, const char *title, const char *note, int columns) {
    int w = 8 + SVG_X * columns, h = SVG_HEAD + 2 * SVG_Y;
    w = w < 760 ? 760 : w; /* the note */
    rt_text_printf(&f->svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\" "
                            "fill=\"#222\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", w, h,
                   w, h, w, h);
    rt_svg_text(&f->svg, 8, 20, " font-size=\"15\" font-weight=\"bold\"", title);
    rt_svg_text(&f->svg, 8, 38, " fill=\"#666\"", note);
}

static int fold(Fold *f, rt_error *err) {
    rt_viz *v = f->v;
    const char *list = v->layers;
    int seed[LAYERS], n = 0, more = 1;
    while (list && n < LAYERS && (more = rt_viz_next_layer(v, &list, &seed[n], err)) == 1)
        n++;
    for (int i = 0; !v->layers && i < v->m->model->program[RT_LOOK].nseeds && n < LAYERS; i++)
        seed[n++] = i;
    if (err->code || make_points(f, err))
        return err->code;
    char title[160];
    static const char note[] = "above: where each layer puts the lines of the input's grid; below: the "
                               "input plane, classes and pieces on which the layers so far are linear";
    snprintf(title, sizeof title, "how %.60s folds the plane", v->m->model->name);
    rt_text_add(&f->csv, "layer,units,linear_pieces\n");
    svg_begin(f, title, note, n + 1);
    if (rt_sheet_open(&f->sheet, title, note, n + 1, 2, TILE, TILE, 0, 2, err) == 0 &&
        input_column(f, err) == 0) {
        for (int i = 0; i < n && !err->code; i++)
            one_layer(f, seed[i], i + 1, err);
        rt_text_add(&f->svg, "</svg>\n");
        if (!err->code && rt_viz_write(v, &f->sheet.canvas, "fold", title, note, err) == 0 &&
            rt_viz_write_svg(v, &f->svg, "fold", title, note, err) == 0)
            rt_viz_write_text(v, &f->csv, "fold", title, err);
    }
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    const rt_model *model = v->cli.model;
    Fold f = {.v = v};
    if (n > 1)
        return rt_fail(err, NETRT_EUSAGE, "fold takes one source of points\nhelp: --data=points.csv");
    if (model->ninputs != 1 || rt_input_count(model, 0) != 2)
        return rt_fail(err, NETRT_EUSAGE, "fold draws the plane of networks that read two numbers; %s "
                       "reads %lld\nhelp: `%s embed` draws the space of any layer", model->name,
                       (long long)rt_input_count(model, 0), v->cli.program);
    if (n == 1)
        v->cli.data = operands[0];
    int optional = v->cli.data == NULL; /* what is named is taken, whole */
    if (rt_viz_open(v, 1, err) == 0 &&
        rt_cli_data(&v->cli, 1, optional, &v->cli.ds, err) == 0 &&
        (!v->cli.ds || rt_feed_open(&f.feed, v->m, v->cli.ds, v->look.cap, 0, 0, err) == 0))
        fold(&f, err);
    rt_sheet_close(&f.sheet);
    rt_text_free(&f.csv);
    rt_text_free(&f.svg);
    rt_free(f.x);
    rt_free(f.at);
    rt_free(f.class);
    rt_free(f.piece);
    rt_viz_feed_close(v, &f.feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "The plane"},
    {"range", 0, RT_ARG_TEXT, "LO,HI", &options.range, 0, 0,
     "of both inputs (default: the data's, without data -2,2)"},
};

const rt_technique rt_technique_fold = {
    {"fold", "how a net of two inputs folds the plane", "[OPTIONS] [DATA]",
     "fold\nfold --range=-3,3\nfold points.csv"},
    run, args, sizeof args / sizeof *args};
