/* rt_check.c: `NAME data check [URI]`: reads every sample of both parts of a source and tells what
 * is there: classes, sizes, values, what cannot be read, samples that are twice in it, and the mean
 * and std a spec should name.
 *
 * ensures: one line per broken sample (the first ten of a part); exit code 0 when nothing is wrong,
 * 1 when something is, 4 when more than --max-bad percent of a part are broken.  Equal samples are
 * found by a 64-bit hash of shape and content (FNV-1a): chance makes two of 10^6 differing samples
 * equal with a probability of 3e-8.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_io.h"
#include "rt_show.h"

enum { PLANES = 4, SHOWN_CLASSES = 40 };

typedef struct Part {
    const char *name;
    rt_dataset *ds;
    int64_t good, bad, *per_class;
    int w[2], h[2], c[2]; /* least and most */
    double lo, hi, sum[PLANES], square[PLANES];
    double n[PLANES];
    uint64_t *hash;     /* of the good samples */
    int mapped, ignore; /* classes of pixels: per_class counts pixels */
    int64_t known;      /* classes that the net knows */
} Part;

static uint64_t hash_bytes(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void least_most(int range[2], int v, int64_t seen) {
    range[0] = seen == 0 || v < range[0] ? v : range[0];
    range[1] = seen == 0 || v > range[1] ? v : range[1];
}

static void add_value(Part *p, int plane, double v) {
    int k = plane < PLANES ? plane : PLANES - 1;
    p->lo = v < p->lo ? v : p->lo;
    p->hi = v > p->hi ? v : p->hi;
    p->sum[k] += v;
    p->square[k] += v * v;
    p->n[k]++;
}

static void sizes(Part *p, int c, int h, int w) {
    least_most(p->c, c, p->good);
    least_most(p->h, h, p->good);
    least_most(p->w, w, p->good);
    int shape[3] = {c, h, w};
    p->hash[p->good] = hash_bytes(0xcbf29ce484222325u, shape, sizeof shape);
}

static int picture(Part *p, int64_t i, rt_image *img, rt_error *err) {
    if (rt_data_item(p->ds, i, img, err))
        return err->code;
    size_t n = (size_t)img->width * (size_t)img->height * (size_t)img->channels;
    sizes(p, img->channels, img->height, img->width);
    p->hash[p->good] = hash_bytes(p->hash[p->good], img->data, n);
    for (size_t k = 0; k < n; k++)
        add_value(p, (int)(k % (size_t)img->channels), (double)img->data[k]);
    return NETRT_OK;
}

/* Counts the pixels of a label picture, which belongs to the picture of width x height. */
static int labels(Part *p, int64_t i, int width, int height, rt_image *map, rt_error *err) {
    if (rt_data_map(p->ds, i, map, err))
        return err->code;
    int64_t n = (int64_t)map->width * map->height;
    if (!rt_data_real(p->ds) && (map->width != width || map->height != height))
        return rt_fail(err, NETRT_EDATA, "the picture is %d x %d, its label picture %d x %d", width,
                       height, map->width, map->height);
    for (int64_t k = 0; k < n; k++)
        if (map->data[k] >= p->known && map->data[k] != p->ignore)
            return rt_fail(err, NETRT_EDATA, "a %s of class %d, the net knows %lld",
                           rt_data_real(p->ds) ? "step" : "pixel", map->data[k],
                           (long long)p->known);
    for (int64_t k = 0; k < n; k++)
        if (map->data[k] != p->ignore)
            p->per_class[map->data[k]]++;
    return NETRT_OK;
}

static int numbers(Part *p, int64_t i, const int shape[3], float *v, rt_error *err) {
    int64_t plane = (int64_t)shape[1] * shape[2], n = plane * shape[0];
    if (rt_data_values(p->ds, i, shape[0], shape[1], shape[2], v, err))
        return err->code;
    sizes(p, shape[0], shape[1], shape[2]);
    p->hash[p->good] = hash_bytes(p->hash[p->good], v, (size_t)n * sizeof *v);
    for (int64_t k = 0; k < n; k++)
        add_value(p, (int)(k / plane), (double)v[k]);
    return NETRT_OK;
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Reads all samples of a part.  shape: of real numbers. */
static int read_part(rt_cli *cli, Part *p, const int shape[3], rt_error *err) {
    int64_t total = rt_data_count(p->ds), n;
    int classes = rt_data_classes(p->ds), real = rt_data_real(p->ds);
    float *v = NULL;
    rt_image img = {0}, map = {0};
    double begun = rt_seconds();
    p->lo = INFINITY;
    p->hi = -INFINITY;
    p->mapped = rt_data_mapped(p->ds, &p->ignore);
    p->known = cli->model->classes;
    if (p->mapped)
        classes = (int)p->known;
    p->per_class = rt_alloc_zero((size_t)classes + 1, sizeof *p->per_class, "counts", err);
    p->hash = rt_alloc((size_t)total, sizeof *p->hash, "hashes", err);
    if (real && !__builtin_mul_overflow((int64_t)shape[0] * shape[1], (int64_t)shape[2], &n))
        v = rt_alloc((size_t)n, sizeof *v, "sample", err);
    cli->ds = p->ds;
    cli->skipped = 0;
    for (int64_t i = 0; i < total && !err->code && !rt_cli_signal; i++) {
        rt_error e = {0};
        int code = real ? numbers(p, i, shape, v, &e) : picture(p, i, &img, &e);
        if (!code && p->mapped)
            code = labels(p, i, img.width, img.height, &map, &e);
        if (code) {
            if (e.code == NETRT_ELIMIT && strstr(e.text, "memory"))
                rt_fail(err, e.code, "%s", e.text);
            p->bad++;
            rt_cli_skipped(cli, i, e.text);
            continue;
        }
        p->good++;
        int label = p->mapped ? -1 : rt_data_label(p->ds, i);
        if (label >= 0 && label < classes)
            p->per_class[label]++;
        if (i % 256 == 0) {
            double spent = rt_seconds() - begun;
            rt_progress_tick(&cli->progress, p->name, i, total, "",
                             i ? spent / (double)i * (double)(total - i) : 0);
        }
    }
    if (!err->code && p->good > 1)
        qsort(p->hash, (size_t)p->good, sizeof *p->hash, by_hash);
    rt_free(v);
    rt_image_free(&img);
    rt_image_free(&map);
    cli->ds = NULL;
    rt_progress_clear(&cli->progress);
    return err->code;
}

/* Samples beyond the first of each group of equal ones. */
static int64_t repeated(const Part *p) {
    int64_t n = 0;
    for (int64_t i = 1; i < p->good; i++)
        n += p->hash[i] == p->hash[i - 1];
    return n;
}

/* Samples of a that are in b too. */
static int64_t shared(const Part *a, const Part *b) {
    int64_t n = 0;
    for (int64_t i = 0; i < a->good; i++)
        n += bsearch(&a->hash[i], b->hash, (size_t)b->good, sizeof *b->hash, by_hash) != NULL;
    return n;
}

static void range(rt_text *o, const int v[2]) {
    rt_text_printf(o, v[0] == v[1] ? "%d" : "%d..%d", v[0], v[1]);
}

static void statistics(rt_text *o, const Part *p, double scale, double shift) {
    int c = p->c[1] < PLANES ? p->c[1] : PLANES;
    double mean[PLANES], std[PLANES];
    for (int k = 0; k < c; k++) {
        double n = p->n[k] > 0 ? p->n[k] : 1, m = p->sum[k] / n, s = p->square[k] / n - m * m;
        mean[k] = m * scale + shift;
        std[k] = s > 0 ? sqrt(s) * fabs(scale) : 0;
    }
    for (int row = 0; row < 2; row++) {
        rt_text_printf(o, row ? "; std = " : "  mean = ");
        for (int k = 0; k < c; k++)
            rt_text_printf(o, "%s%.4g", k ? ", " : c > 1 ? "[" : "", row ? std[k] : mean[k]);
        rt_text_add(o, c > 1 ? "]" : "");
    }
    rt_text_add(o, "\n");
}

/* Classes that are counted: the source's, for pixels the net's. */
static int classes_of(const Part *p) {
    return p->mapped ? (int)p->known : rt_data_classes(p->ds);
}

static void describe(rt_text *o, const Part *p, const rt_input_spec *in) {
    char name[64];
    int classes = classes_of(p);
    rt_text_printf(o, "%s: %lld samples (%s)", p->name, (long long)rt_data_count(p->ds),
                   rt_data_kind(p->ds));
    if (p->bad)
        rt_text_printf(o, ", %lld cannot be read", (long long)p->bad);
    rt_text_add(o, "\n");
    if (p->good == 0)
        return;
    rt_text_add(o, "  size ");
    range(o, p->c);
    rt_text_add(o, " x ");
    range(o, p->h);
    rt_text_add(o, " x ");
    range(o, p->w);
    rt_text_printf(o, ", values %.6g .. %.6g\n", p->lo, p->hi);
    if (rt_data_real(p->ds) || !in)
        statistics(o, p, 1, 0);
    else
        statistics(o, p, ((double)in->hi - (double)in->lo) / 255, (double)in->lo);
    for (int k = 0; k < classes && k < SHOWN_CLASSES; k++)
        rt_text_printf(o, "  class %-20.60s %lld%s\n",
                       rt_clean_name(name, sizeof name, rt_data_class_name(p->ds, k)),
                       (long long)p->per_class[k],
                       !p->mapped ? "" : rt_data_real(p->ds) ? " steps" : " pixels");
    if (classes > SHOWN_CLASSES)
        rt_text_printf(o, "  and %d more classes\n", classes - SHOWN_CLASSES);
}

/* Lines about what should be mended; returns how many. */
static int findings(rt_text *o, const rt_model *m, const Part *part, int parts) {
    int found = 0;
    for (int k = 0; k < parts; k++) {
        const Part *p = &part[k];
        int classes = classes_of(p), empty = 0;
        int64_t least = INT64_MAX, most = 0, twice = repeated(p);
        for (int c = 0; c < classes; c++) {
            int64_t n = p->per_class[c];
            empty += n == 0;
            least = n < least ? n : least;
            most = n > most ? n : most;
        }
        if (twice)
            found++, rt_text_printf(o, "! %s: %lld samples are copies of others\n", p->name,
                                    (long long)twice);
        if (empty)
            found++, rt_text_printf(o, "! %s: %d of %d classes have no sample\n", p->name, empty,
                                    classes);
        else if (classes > 0 && most > 10 * least && !p->mapped)
            found++, rt_text_printf(o,
                                    "! %s: the largest class has %.0f times the samples of the "
                                    "smallest\n",
                                    p->name, (double)most / (double)least);
        if (rt_wants_labels(m) && classes > rt_known_classes(m))
            found++, rt_text_printf(o, "! %s: %d classes, %s knows %lld\n", p->name, classes,
                                    m->name, (long long)rt_known_classes(m));
        if (p->bad)
            found++, rt_text_printf(o,
                                    "! %s: %lld samples cannot be read; training skips up to "
                                    "--max-bad percent\n",
                                    p->name, (long long)p->bad);
    }
    int64_t both = parts == 2 ? shared(&part[1], &part[0]) : 0;
    if (both)
        found++, rt_text_printf(o,
                                "! %lld samples of the test part are in the training part too: "
                                "errors measured there are too low\n",
                                (long long)both);
    return found;
}

static void part_free(Part *p) {
    rt_data_close(p->ds);
    rt_free(p->per_class);
    rt_free(p->hash);
}

static int check(rt_cli *cli) {
    rt_error err = {0};
    const rt_input_spec *in = cli->model->ninputs ? &cli->model->input[0] : NULL;
    Part part[2] = {{.name = "train"}, {.name = "test"}};
    rt_text out = {0};
    int parts = 0, found = 0;
    for (int k = 0; k < 2 && !err.code && !rt_cli_signal; k++) {
        Part *p = &part[parts];
        int shape[3];
        if (rt_cli_data(cli, k, 1, &p->ds, &err) || !p->ds)
            continue;
        p->name = k ? "test" : "train";
        if (rt_data_real(p->ds)) {
            rt_error e = {0};
            rt_data_shape(p->ds, &shape[0], &shape[1], &shape[2]);
            if (in && rt_data_fit(p->ds, (int)in->c, (int)in->h, (int)in->w,
                                  cli->model->train.train_data, &e) == NETRT_OK) {
                shape[0] = (int)in->c;
                shape[1] = (int)in->h;
                shape[2] = (int)in->w;
            } else if (in) {
                found++;
                rt_text_printf(&out, "! %s\n", e.text);
            }
        }
        parts++;
        read_part(cli, p, shape, &err);
    }
    if (!err.code && parts == 0)
        rt_fail(&err, NETRT_EUSAGE, "%s names no data\nhelp: %s data check DIR",
                cli->model->spec_file, cli->program);
    for (int k = 0; k < parts && !err.code; k++)
        describe(&out, &part[k], in);
    if (!err.code)
        found += findings(&out, cli->model, part, parts);
    if (!err.code && !found)
        rt_text_add(&out, "nothing found that is wrong\n");
    if (!err.code)
        rt_cli_print(&out, &err);
    for (int k = 0; k < parts && !err.code; k++)
        if ((double)part[k].bad * 100 > cli->max_bad * (double)rt_data_count(part[k].ds))
            rt_fail(&err, NETRT_EDATA,
                    "%lld of %lld samples are broken, more than %g%%\n"
                    "help: repair the data, or allow more with --max-bad=PERCENT",
                    (long long)part[k].bad, (long long)rt_data_count(part[k].ds), cli->max_bad);
    rt_report(&cli->progress, &err);
    rt_text_free(&out);
    part_free(&part[0]);
    part_free(&part[1]);
    return err.code ? err.code : found ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_data(rt_cli *cli, int argc, char **argv) {
    const char *sheet = "sheet.png";
    int64_t samples = 10, times = 8;
    const rt_arg table[] = {
        RT_OPT_DATA(cli, "the source (default: the spec's)"),
        {"max-bad", 0, RT_ARG_REAL, "PERCENT", &cli->max_bad, 0, 1,
         "broken samples tolerated in a part (default 1)"},
        {"output", 'o', RT_ARG_TEXT, "FILE.png", &sheet, 0, 0,
         "show: the sheet (default sheet.png)"},
        {"samples", 'n', RT_ARG_INT, "N", &samples, 1, 64, "show: how many samples (default 10)"},
        {"times", 0, RT_ARG_INT, "N", &times, 0, 64,
         "show: how often each as in training (default 8)"},
        RT_OPT_SEED(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli)};
    static const rt_verb verb = {"data", "checks a source of data, or shows samples of it",
                                 "check|show [OPTIONS] [URI]",
                                 "data check\ndata check DIR\ndata show -o sheet.png"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    int show = n > 0 && strcmp(operands[0], "show") == 0;
    if (n < 1 || n > 2 || (!show && strcmp(operands[0], "check") != 0)) {
        rt_error err = {0};
        rt_fail(&err, NETRT_EUSAGE,
                "data takes the word check or show and at most one source\n"
                "help: %s data check DIR",
                cli->program);
        return rt_report(&cli->progress, &err);
    }
    if (n == 2)
        cli->data = operands[1];
    return show ? rt_data_show(cli, sheet, samples, times) : check(cli);
}
