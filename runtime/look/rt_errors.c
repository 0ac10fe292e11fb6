/* rt_errors.c: where a classifier errs: the table of true and predicted classes as a picture, and the
 * samples that it gets wrong, largest loss first.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_par.h"
#include "rt_svg.h"
#include "rt_viz.h"

static int64_t wanted = 40; /* pictures on the sheet of errors */

/* Both verbs compare classes of samples. */
static int open_labelled(rt_viz *v, const char **operands, int n, rt_feed *feed, rt_error *err) {
    if (rt_viz_open(v, 1, err) || rt_viz_feed(v, operands, n, feed, err))
        return err->code;
    int64_t classes = v->m->model->classes;
    if (classes < 2)
        return rt_fail(err, NETRT_EUSAGE, "%s has no classes\nhelp: `%s embed` shows the space of a "
                       "layer", v->m->model->name, v->cli.program);
    if (feed->mapped)
        return rt_fail(err, NETRT_EUSAGE, "%s classifies every pixel: there is no class per picture"
                       "\nhelp: `eval` prints the table over pixels", v->m->model->name);
    if (rt_data_classes(v->cli.ds) != classes)
        return rt_fail(err, NETRT_EUSAGE, "%s has %d classes, %s %lld\nhelp: labelled data with "
                       "--data", rt_data_uri(v->cli.ds), rt_data_classes(v->cli.ds),
                       v->m->model->name, (long long)classes);
    return NETRT_OK;
}

/* ---- the table ---- */

typedef struct Table {
    rt_viz *v;
    const int64_t *count;
    int64_t classes;
    const int64_t *of; /* the classes' numbers; NULL: all of them, in their order */
    int cell, left, top;
} Table;

enum { MANY = 30 }; /* classes, of which only those that occur are drawn */

static int64_t number_of(const Table *t, int64_t c) { return t->of ? t->of[c] : c; }

static const char *class_of(void *context, int64_t c, char buf[24]) {
    const Table *t = context;
    return netrt_class_name(t->v->m, number_of(t, c), buf);
}

/* The rows and columns of classes that are true or predicted at least once: how many; `of` and `count`
 * have room for all. */
static int64_t occurring(const Table *t, int64_t *of, int64_t *count) {
    int64_t n = 0;
    for (int64_t c = 0; c < t->classes; c++) {
        int64_t seen = 0;
        for (int64_t k = 0; k < t->classes; k++)
            seen += t->count[c * t->classes + k] + t->count[k * t->classes + c];
        if (seen)
            of[n++] = c;
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < n; c++)
            count[r * n + c] = t->count[of[r] * t->classes + of[c]];
    return n;
}

/* A class's name for a place of `letters`; its number where the name is longer. */
static void short_name(const Table *t, int64_t c, int letters, char *out, size_t size) {
    char buf[24], clean[64];
    rt_clean_name(clean, sizeof clean, class_of((void *)(uintptr_t)t, c, buf));
    if ((int)strlen(clean) <= letters)
        snprintf(out, size, "%s", clean);
    else
        snprintf(out, size, "%lld", (long long)number_of(t, c));
}

/* White for none to dark blue for all; the root lets few errors be seen. */
static unsigned shade(double share) {
    double s = sqrt(share);
    unsigned r = (unsigned)lrint(255 - 245 * s), g = (unsigned)lrint(255 - 195 * s);
    return r << 16 | g << 8 | (unsigned)lrint(255 - 120 * s);
}

static void draw_row(const Table *t, rt_image *canvas, int64_t r) {
    int64_t total = 0;
    int y = t->top + (int)r * t->cell, text = t->cell >= 24;
    char name[64];
    for (int64_t c = 0; c < t->classes; c++)
        total += t->count[r * t->classes + c];
    if (t->cell >= RT_FONT_H) {
        short_name(t, r, 18, name, sizeof name);
        rt_canvas_text(canvas, t->left - 6 - rt_text_width(name, 1), y + (t->cell - 7) / 2, 1,
                       0x222222u, name);
    }
    for (int64_t c = 0; c < t->classes; c++) {
        int64_t n = t->count[r * t->classes + c];
        double share = total ? (double)n / (double)total : 0;
        int x = t->left + (int)c * t->cell, gap = t->cell > 4;
        rt_canvas_rect(canvas, x, y, t->cell - gap, t->cell - gap, shade(share));
        snprintf(name, sizeof name, "%lld", (long long)n);
        if (n && text && rt_text_width(name, 1) < t->cell)
            rt_canvas_text(canvas, x + (t->cell - rt_text_width(name, 1)) / 2, y + (t->cell - 7) / 2,
                           1, share > 0.3 ? 0xffffffu : 0x222222u, name);
    }
}

static int draw_table(const Table *t, const char *title, const char *note, rt_error *err) {
    int side = t->cell * (int)t->classes, w = t->left + side + 16;
    int text = rt_text_width(note, 1) + 16;
    char name[64];
    rt_image canvas = {0};
    w = w < text ? text : w;
    w = w < rt_text_width(title, 2) + 16 ? rt_text_width(title, 2) + 16 : w;
    if (rt_canvas_new(&canvas, w, t->top + side + 40, 0xffffffu, err))
        return err->code;
    rt_sheet_header(&canvas, title, note);
    rt_canvas_rect(&canvas, t->left - 1, t->top - 1, side + 1, side + 1, 0xe4e4e4u);
    for (int64_t r = 0; r < t->classes; r++)
        draw_row(t, &canvas, r);
    for (int64_t c = 0; c < t->classes && t->cell >= 2 * RT_FONT_W; c++) {
        short_name(t, c, t->cell / RT_FONT_W, name, sizeof name);
        rt_canvas_text(&canvas, t->left + (int)c * t->cell + (t->cell - rt_text_width(name, 1)) / 2,
                       t->top + side + 6, 1, 0x222222u, name);
    }
    rt_canvas_text(&canvas, t->left, t->top + side + 22, 1, 0x666666u,
                   "columns: predicted; rows: true");
    rt_viz_write(t->v, &canvas, "confusion", title, note, err);
    rt_image_free(&canvas);
    return err->code;
}

/* "4 as 9 (12)": the classes that are taken for each other most. */
static void worst_pairs(const Table *t, char *out, size_t size) {
    int64_t taken[3] = {-1, -1, -1}, n = t->classes * t->classes;
    size_t used = 0;
    out[0] = 0;
    for (int k = 0; k < 3; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++)
            if (i / t->classes != i % t->classes && i != taken[0] && i != taken[1] &&
                t->count[i] > 0 && (best < 0 || t->count[i] > t->count[best]))
                best = i;
        if (best < 0 || used + 80 > size)
            return;
        char a[32], b[32];
        short_name(t, best / t->classes, 18, a, sizeof a);
        short_name(t, best % t->classes, 18, b, sizeof b);
        taken[k] = best;
        used += (size_t)snprintf(out + used, size - used, "%s%s as %s (%lld)",
                                 k ? ", " : "; most often ", a, b, (long long)t->count[best]);
    }
}

static int write_numbers(const Table *t, const char *title, rt_error *err) {
    rt_text csv = {0};
    char buf[24];
    rt_text_add(&csv, "true \\ predicted");
    for (int64_t c = 0; c < t->classes; c++) {
        rt_text_add(&csv, ",");
        rt_text_json(&csv, netrt_class_name(t->v->m, c, buf));
    }
    for (int64_t r = 0; r < t->classes; r++) {
        rt_text_add(&csv, "\n");
        rt_text_json(&csv, netrt_class_name(t->v->m, r, buf));
        for (int64_t c = 0; c < t->classes; c++)
            rt_text_printf(&csv, ",%lld", (long long)t->count[r * t->classes + c]);
    }
    rt_text_add(&csv, "\n");
    rt_viz_write_text(t->v, &csv, "confusion", title, err);
    rt_text_free(&csv);
    return err->code;
}

static int write_drawing(Table *t, const char *title, const char *note, rt_error *err) {
    rt_text svg = {0};
    rt_svg_confusion(&svg, title, t->count, t->classes, class_of, t, 1);
    rt_viz_write_svg(t->v, &svg, "confusion", title, note, err);
    rt_text_free(&svg);
    return err->code;
}

/* Picture, numbers (of all classes) and drawing. */
static int show_table(Table all, const rt_score *s, rt_error *err) {
    char title[160], note[400], pairs[200], some[80] = "";
    Table t = all;
    int64_t *of = NULL, *count = NULL;
    worst_pairs(&all, pairs, sizeof pairs);
    if (all.classes > MANY) {
        of = rt_alloc((size_t)all.classes, sizeof *of, "confusion table", err);
        count = rt_alloc((size_t)all.classes, (size_t)all.classes * sizeof *count, "confusion table",
                         err);
        if (!err->code)
            t.classes = occurring(&all, of, count);
        t.of = of;
        t.count = count;
        if (t.classes < all.classes)
            snprintf(some, sizeof some, "; the %lld of %lld classes that occur",
                     (long long)t.classes, (long long)all.classes);
    }
    t.cell = t.classes <= 12 ? 44 : t.classes <= MANY ? 30 : t.classes <= 100 ? 12
             : t.classes < 600 ? (int)(1200 / t.classes) : 2;
    snprintf(title, sizeof title, "what %.60s takes for what", all.v->m->model->name);
    snprintf(note, sizeof note, "%lld of %lld wrong%s%s; darker: a larger share (root) of the row",
             (long long)s->wrong, (long long)s->images, pairs, some);
    rt_progress_clear(&all.v->cli.progress);
    if (!err->code && draw_table(&t, title, note, err) == 0 && write_numbers(&all, title, err) == 0)
        write_drawing(&t, title, note, err);
    rt_free(of);
    rt_free(count);
    return err->code;
}

static int confusion(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    rt_score s = {0};
    if (open_labelled(v, operands, n, &feed, err) == 0) {
        int64_t classes = v->m->model->classes;
        s.confusion = rt_alloc_zero((size_t)classes, (size_t)classes * sizeof *s.confusion,
                                    "confusion table", err);
        if (s.confusion && rt_evaluate(&v->cli, &feed, &s, "testing", err) == 0) {
            Table t = {.v = v, .count = s.confusion, .classes = classes, .left = 128,
                       .top = RT_SHEET_HEADER + 6};
            show_table(t, &s, err);
        }
    }
    rt_free(s.confusion);
    rt_viz_feed_close(v, &feed);
    return err->code;
}

/* ---- the worst errors ---- */

typedef struct Mistake {
    int64_t sample;
    int32_t truth, said;
    float sure, right; /* probability of what was said, of the truth; NaN: the net has none */
    double loss;
} Mistake;

static int worse(const void *a, const void *b) {
    const Mistake *x = a, *y = b;
    if (x->loss != y->loss)
        return x->loss > y->loss ? -1 : 1;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

typedef struct Mistakes {
    Mistake *all;
    int64_t n, room, seen;
} Mistakes;

static int add(Mistakes *e, Mistake m, rt_error *err) {
    if (e->n == e->room) {
        int64_t room = e->room ? 2 * e->room : 256;
        Mistake *more = rt_realloc(e->all, (size_t)room, sizeof *more, "errors", err);
        if (!more)
            return err->code;
        e->all = more;
        e->room = room;
    }
    e->all[e->n++] = m;
    return NETRT_OK;
}

/* All mistakes over the data. */
static int find(rt_viz *v, rt_feed *feed, Mistakes *e, rt_error *err) {
    const rt_model *model = v->m->model;
    int64_t total = rt_data_count(feed->ds), classes = model->classes;
    total = v->limit > 0 && v->limit < total ? v->limit : total;
    int64_t cap = v->look.cap < feed->cap ? v->look.cap : feed->cap;
    float *scores = rt_alloc((size_t)feed->cap, 2 * (size_t)classes * sizeof *scores, "scores", err);
    double *loss = scores ? rt_alloc((size_t)feed->cap, sizeof *loss, "losses", err) : NULL;
    float *probs = scores ? scores + feed->cap * classes : NULL;
    for (int64_t at = 0; loss && at < total && !err->code; at += cap) {
        int64_t want = total - at < cap ? total - at : cap;
        int has_probs;
        double mean;
        int64_t good = rt_cli_forward(&v->cli, feed, at, want, scores, probs, &has_probs, &mean, err);
        if (rt_cli_signal)
            rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (good > 0)
            rt_losses(v->m, RT_FORWARD, good, loss);
        for (int64_t i = 0; i < good && !err->code; i++) {
            int64_t said = rt_best(model, scores + i * classes);
            const float *p = probs + i * classes;
            e->seen++;
            if (said != feed->label[i])
                add(e, (Mistake){feed->index[i], feed->label[i], (int32_t)said,
                                 has_probs ? p[said] : NAN, has_probs ? p[feed->label[i]] : NAN,
                                 loss[i]}, err);
        }
        if (rt_progress_due(&v->cli.progress))
            rt_progress_tick(&v->cli.progress, "testing", at + want, total, "", -1);
    }
    rt_progress_clear(&v->cli.progress);
    rt_free(scores);
    rt_free(loss);
    if (e->n)
        qsort(e->all, (size_t)e->n, sizeof *e->all, worse);
    return err->code;
}

static int put(rt_viz *v, rt_feed *feed, rt_sheet *sheet, const Mistake *e, int at, rt_error *err) {
    char truth[24], said[24], text[160];
    rt_image tile = {0};
    if (rt_feed_load(feed, &e->sample, 1, -1, rt_cli_skipped, &v->cli) != 1)
        return rt_fail(err, NETRT_EDATA, "a picture cannot be read again\nhelp: was it changed?");
    if (rt_prep_invert(&v->prep, feed->input[0], &tile, err) == 0) {
        snprintf(text, sizeof text, "%.30s\nnot %.30s\n", netrt_class_name(v->m, e->said, said),
                 netrt_class_name(v->m, e->truth, truth));
        size_t used = strlen(text);
        if (isfinite(e->sure))
            snprintf(text + used, sizeof text - used, "%.1f, %.1f %%", 100 * (double)e->sure,
                     100 * (double)e->right);
        else
            snprintf(text + used, sizeof text - used, "loss %.3g", e->loss);
        rt_sheet_put(sheet, at % sheet->columns, at / sheet->columns, &tile, text);
    }
    rt_image_free(&tile);
    return err->code;
}

static int draw_mistakes(rt_viz *v, rt_feed *feed, const Mistakes *e, rt_error *err) {
    int64_t n = e->n < wanted ? e->n : wanted;
    int columns = rt_sheet_columns(n, 10);
    char title[160], note[300];
    rt_sheet sheet = {0};
    snprintf(title, sizeof title, "the worst errors of %.60s", v->m->model->name);
    snprintf(note, sizeof note, "%lld of %lld wrong, largest loss first; below each: what was said, "
             "what it is, their probabilities", (long long)e->n, (long long)e->seen);
    if (rt_sheet_open(&sheet, title, note, columns, (int)((n + columns - 1) / columns),
                      v->prep.width, v->prep.height, 0, 3, err) == 0) {
        for (int64_t i = 0; i < n && !err->code; i++)
            put(v, feed, &sheet, &e->all[i], (int)i, err);
        if (!err->code)
            rt_viz_write(v, &sheet.canvas, "errors", title, note, err);
    }
    rt_sheet_close(&sheet);
    return err->code;
}

static int write_mistakes(rt_viz *v, const rt_feed *feed, const Mistakes *e, rt_error *err) {
    rt_text csv = {0};
    char name[256];
    rt_text_add(&csv, "sample,name,true,predicted,loss,p_true,p_predicted\n");
    for (int64_t i = 0; i < e->n; i++) {
        const Mistake *m = &e->all[i];
        rt_viz_sample_name(feed, m->sample, name, sizeof name);
        rt_text_printf(&csv, "%lld,", (long long)m->sample);
        rt_text_json(&csv, name);
        rt_text_printf(&csv, ",%d,%d,%.9g", (int)m->truth, (int)m->said, m->loss);
        if (isfinite(m->sure))
            rt_text_printf(&csv, ",%.9g,%.9g\n", (double)m->right, (double)m->sure);
        else
            rt_text_add(&csv, ",,\n");
    }
    rt_viz_write_text(v, &csv, "errors", "errors", err);
    rt_text_free(&csv);
    return err->code;
}

static int errors(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    Mistakes e = {0};
    if (open_labelled(v, operands, n, &feed, err) == 0 && find(v, &feed, &e, err) == 0 &&
        write_mistakes(v, &feed, &e, err) == 0) {
        if (e.n)
            draw_mistakes(v, &feed, &e, err);
        else
            rt_note(&v->cli.progress, "all %lld are right: no sheet of errors", (long long)e.seen);
    }
    rt_free(e.all);
    rt_viz_feed_close(v, &feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Errors"},
    {"count", 0, RT_ARG_INT, "N", &wanted, 1, 1000, "pictures on the sheet (40); the table has all"},
};

const rt_technique rt_technique_confusion = {
    {"confusion", "which classes are taken for which", "[OPTIONS] [DATA]",
     "confusion\nconfusion --data=mnist --out=out"},
    confusion, NULL, 0};
const rt_technique rt_technique_errors = {
    {"errors", "the samples it gets wrong, largest loss first", "[OPTIONS] [DATA]",
     "errors\nerrors --count=100 --data=mnist"},
    errors, args, sizeof args / sizeof *args};
