/* rt_features.c: `NAME features`: what each layer of a trained network knows: linear classifiers on
 * its values, trained and tested on any data; or the values themselves as an array.
 *
 * One pass over the training part finds every layer's mean and length and keeps the values of as
 * many layers as fit into --memory, as plain floats; the others are computed anew in every epoch.
 * All classifiers of all layers are trained in the same passes.  Rows are centred and divided by
 * their root mean square length, so that one rate fits all layers.
 * ensures: the same table for any number of threads and any --memory.
 * theory: Zeiler and Fergus 2014, section 5.4, table 7; Alain and Bengio 2017 (linear probes).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_head.h"
#include "rt_io.h"
#include "rt_look.h"
#include "rt_npz.h"
#include "rt_rng.h"

enum { MAX_LAYERS = 256, COLUMNS = 512 };

typedef struct Layer {
    const char *name;
    int tensor; /* of the look program; -1: the image itself */
    int64_t shape[3], dim;
    float *kept;  /* all training samples, or NULL */
    double *mean; /* sums while the first pass runs */
    double square;
    float *center, scale;
    rt_head head[RT_HEADS];
    int64_t right[RT_HEADS];
    float *rows; /* of the batch */
} Layer;

typedef struct Features {
    rt_cli *cli;
    netrt *m;
    rt_look look;
    rt_dataset *ds[2];
    rt_feed feed[2];
    Layer *layer;
    int layers, want_head[RT_HEADS], save_test;
    int64_t classes, samples, tested, limit, epochs, batch, memory;
    int64_t *good;  /* numbers of the training samples that can be read */
    int32_t *label; /* theirs, in that order; then of the batch */
    int32_t *now;
    int64_t *want;
    float *room;
    double rate, decay;
    const char *names, *heads, *output, *save;
    rt_text out;
} Features;

/* ---- layers ---- */

static int asked(const char *list, const char *name) {
    size_t size = strlen(name);
    if (!list)
        return 1;
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n == size && strncmp(p, name, n) == 0)
            return 1;
        p += n + (p[n] == ',');
    }
    return 0;
}

static void add_layer(Features *f, const char *name, int tensor, const int64_t shape[3]) {
    Layer *l = &f->layer[f->layers++];
    l->name = name;
    l->tensor = tensor;
    memcpy(l->shape, shape, sizeof l->shape);
    l->dim = shape[0] * shape[1] * shape[2];
}

/* A name in the list that is no layer's. */
static int check_names(const Features *f, const char *list, rt_error *err) {
    const rt_program *p = &f->m->model->program[RT_LOOK];
    char name[128];
    while (list && *list) {
        size_t n = strcspn(list, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, list);
        if (strcmp(name, f->m->model->input[0].name) != 0 && rt_seed_find(f->m->model, name) < 0) {
            const char *known[MAX_LAYERS];
            int count = 0;
            for (; count < p->nseeds && count < MAX_LAYERS; count++)
                known[count] = p->seed[count].label;
            const char *near = rt_nearest(name, known, count);
            return rt_fail(err, NETRT_EUSAGE, "%s has no layer '%s'%s%s%s\nhelp: %s info lists them",
                           f->m->model->name, name, near ? "; did you mean '" : "", near ? near : "",
                           near ? "'?" : "", f->cli->program);
        }
        list += n + (list[n] == ',');
    }
    return NETRT_OK;
}

static int find_layers(Features *f, rt_error *err) {
    const rt_model *model = f->m->model;
    const rt_program *p = &model->program[RT_LOOK];
    const rt_input_spec *in = &model->input[0];
    f->layer = rt_alloc_zero(MAX_LAYERS, sizeof *f->layer, "layers", err);
    if (!f->layer || check_names(f, f->names, err))
        return err->code;
    if (asked(f->names, in->name))
        add_layer(f, in->name, -1, (int64_t[]){in->c, in->h, in->w});
    for (int i = 0; i < p->nseeds && f->layers < MAX_LAYERS; i++) {
        int64_t chw[3];
        rt_seed_shape(model, i, chw);
        if (asked(f->names, p->seed[i].label))
            add_layer(f, p->seed[i].label, p->seed[i].tensor, chw);
    }
    return NETRT_OK;
}

static int choose_heads(Features *f, rt_error *err) {
    const char *list = f->heads ? f->heads : "softmax,svm";
    int any = 0;
    for (int h = 0; h < RT_HEADS; h++)
        any += f->want_head[h] = asked(list, rt_head_names[h]);
    size_t words = *list != 0;
    for (const char *c = list; *c; c++)
        words += *c == ',';
    if ((size_t)any != words)
        return rt_fail(err, NETRT_EUSAGE, "--heads=%s\nhelp: softmax, svm, or both: softmax,svm",
                       list);
    return NETRT_OK;
}

/* ---- values ---- */

typedef struct Fetch {
    const Features *f;
    const rt_feed *feed;
    Layer *l;
} Fetch;

static void fetch_rows(void *context, int64_t lo, int64_t hi, int thread) {
    const Fetch *t = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++) {
        float *row = t->l->rows + i * t->l->dim;
        if (t->l->tensor < 0)
            memcpy(row, t->feed->input[0] + i * t->l->dim, (size_t)t->l->dim * sizeof *row);
        else
            rt_tensor_read(t->f->m, RT_LOOK, t->l->tensor, i, row);
    }
}

static void fetch(const Features *f, const rt_feed *feed, Layer *l, int64_t n) {
    Fetch t = {f, feed, l};
    rt_parallel_for(f->m->threads, n, 4, fetch_rows, &t);
}

/* Loads the samples numbered want[0 .. n-1] and runs the network; how many can be read, -1: error. */
static int64_t record(Features *f, rt_feed *feed, int64_t n, rt_error *err) {
    int64_t good = rt_feed_load(feed, f->want, n, -1, rt_cli_skipped, f->cli);
    if (good < 0)
        rt_fail(err, feed->failure.code, "%s", feed->failure.text);
    else if (good > 0)
        rt_look_record(&f->look, good, err);
    if (!err->code && rt_cli_signal)
        rt_fail(err, 128 + rt_cli_signal, "stopped");
    return err->code ? -1 : good;
}

/* The same with the batch that begins at sample `at` of a part's first `total`. */
static int64_t record_from(Features *f, int part, int64_t at, int64_t total, rt_error *err) {
    int64_t n = total - at < f->batch ? total - at : f->batch;
    for (int64_t i = 0; i < n; i++)
        f->want[i] = at + i;
    return record(f, &f->feed[part], n, err);
}

typedef struct Sums {
    Layer *l;
    int64_t n;
} Sums;

static void add_means(void *context, int64_t lo, int64_t hi, int thread) {
    const Sums *s = context;
    (void)thread;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t k = lo; k < hi; k++)
            s->l->mean[k] += (double)s->l->rows[i * s->l->dim + k];
}

static double length2(const float *row, const float *center, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < n; k++) {
        double x = (double)row[k] - (center ? (double)center[k] : 0);
        sum += x * x;
    }
    return sum;
}

static void note(Features *f, Layer *l, int64_t n) {
    Sums s = {l, n};
    rt_parallel_for(f->m->threads, l->dim, COLUMNS, add_means, &s);
    for (int64_t i = 0; i < n; i++)
        l->square += length2(l->rows + i * l->dim, NULL, l->dim);
    if (l->kept)
        memcpy(l->kept + f->samples * l->dim, l->rows, (size_t)(n * l->dim) * sizeof *l->rows);
}

/* The first pass: values, labels, means. */
static int first_pass(Features *f, rt_error *err) {
    int64_t total = rt_data_count(f->ds[0]);
    total = f->limit > 0 && f->limit < total ? f->limit : total;
    for (int64_t at = 0; at < total; at += f->batch) {
        int64_t n = record_from(f, 0, at, total, err);
        if (n < 0)
            return err->code;
        for (int i = 0; i < f->layers; i++) {
            fetch(f, &f->feed[0], &f->layer[i], n);
            note(f, &f->layer[i], n);
        }
        for (int64_t i = 0; i < n; i++) {
            f->good[f->samples] = f->feed[0].index[i];
            f->label[f->samples++] = f->feed[0].label[i];
        }
        rt_progress_tick(&f->cli->progress, "features", at + n, total, "", -1);
    }
    if (f->samples == 0)
        return rt_fail(err, NETRT_EDATA, "%s has no sample that can be read",
                       rt_data_uri(f->ds[0]));
    for (int i = 0; i < f->layers; i++) {
        Layer *l = &f->layer[i];
        double all = (double)f->samples, square = l->square / all;
        for (int64_t k = 0; k < l->dim; k++) {
            l->center[k] = (float)(l->mean[k] / all);
            square -= (double)l->center[k] * (double)l->center[k];
        }
        l->scale = square > 1e-20 ? (float)(1 / sqrt(square)) : 0;
    }
    return NETRT_OK;
}

static void normalise(void *context, int64_t lo, int64_t hi, int thread) {
    const Layer *l = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t k = 0; k < l->dim; k++)
            l->rows[i * l->dim + k] = (l->rows[i * l->dim + k] - l->center[k]) * l->scale;
}

/* ---- training and testing the classifiers ---- */

static int all_kept(const Features *f) {
    for (int i = 0; i < f->layers; i++)
        if (!f->layer[i].kept)
            return 0;
    return 1;
}

/* Batch `pick` (numbers into good[]): rows of all layers. */
static int batch_rows(Features *f, const int64_t *pick, int64_t n, rt_error *err) {
    if (!all_kept(f)) {
        for (int64_t i = 0; i < n; i++)
            f->want[i] = f->good[pick[i]];
        if (record(f, &f->feed[0], n, err) != n)
            return err->code ? err->code
                             : rt_fail(err, NETRT_EDATA, "%s has changed while it was read",
                                       rt_data_uri(f->ds[0]));
    }
    for (int i = 0; i < f->layers; i++) {
        Layer *l = &f->layer[i];
        if (!l->kept)
            fetch(f, &f->feed[0], l, n);
        for (int64_t k = 0; k < n && l->kept; k++)
            memcpy(l->rows + k * l->dim, l->kept + pick[k] * l->dim,
                   (size_t)l->dim * sizeof *l->rows);
        rt_parallel_for(f->m->threads, n, 4, normalise, l);
    }
    return rt_cli_signal ? rt_fail(err, 128 + rt_cli_signal, "stopped") : NETRT_OK;
}

static int train_heads(Features *f, rt_error *err) {
    int64_t *pick = rt_alloc((size_t)f->batch, sizeof *pick, "sample numbers", err);
    int64_t done = 0, total = f->epochs * f->samples;
    double begun = rt_seconds();
    for (int64_t epoch = 0; pick && epoch < f->epochs && !err->code; epoch++) {
        rt_perm perm =
            rt_perm_make((uint64_t)f->samples, f->m->seed, RT_RNG_SHUFFLE, (uint32_t)epoch);
        for (int64_t at = 0; at < f->samples; at += f->batch) {
            int64_t n = f->samples - at < f->batch ? f->samples - at : f->batch;
            double left = 1 - (double)done / (double)total;
            for (int64_t i = 0; i < n; i++) {
                pick[i] = (int64_t)rt_perm_at(&perm, (uint64_t)(at + i));
                f->now[i] = f->label[pick[i]];
            }
            if (batch_rows(f, pick, n, err))
                break;
            for (int i = 0; i < f->layers; i++)
                for (int h = 0; h < RT_HEADS; h++)
                    if (f->want_head[h])
                        rt_head_step(&f->layer[i].head[h], f->layer[i].rows, f->now, n,
                                     f->rate * left * rt_head_rate(h), f->decay, f->room,
                                     f->m->threads);
            done += n;
            if (rt_progress_due(&f->cli->progress)) {
                double spent = rt_seconds() - begun;
                rt_progress_tick(&f->cli->progress, "classifiers", done, total, "",
                                 spent / (double)done * (double)(total - done));
            }
        }
    }
    rt_free(pick);
    return err->code;
}

static int test_heads(Features *f, rt_error *err) {
    int64_t total = rt_data_count(f->ds[1]);
    for (int64_t at = 0; at < total; at += f->batch) {
        int64_t n = record_from(f, 1, at, total, err);
        if (n < 0)
            return err->code;
        f->tested += n;
        for (int i = 0; i < f->layers; i++) {
            Layer *l = &f->layer[i];
            fetch(f, &f->feed[1], l, n);
            rt_parallel_for(f->m->threads, n, 4, normalise, l);
            for (int h = 0; h < RT_HEADS; h++) {
                if (!f->want_head[h])
                    continue;
                rt_head_scores(&l->head[h], l->rows, n, f->room, f->m->threads);
                for (int64_t k = 0; k < n; k++) {
                    const float *s = f->room + k * f->classes;
                    int64_t best = 0;
                    for (int64_t c = 1; c < f->classes; c++)
                        best = s[c] > s[best] ? c : best;
                    l->right[h] += best == f->feed[1].label[k];
                }
            }
        }
        rt_progress_tick(&f->cli->progress, "testing", at + n, total, "", -1);
    }
    return NETRT_OK;
}

/* ---- results ---- */

static void shape_text(const Layer *l, char *buf, size_t size) {
    if (l->shape[1] * l->shape[2] == 1)
        snprintf(buf, size, "%lld", (long long)l->shape[0]);
    else
        snprintf(buf, size, "%lldx%lldx%lld", (long long)l->shape[0], (long long)l->shape[1],
                 (long long)l->shape[2]);
}

static double accuracy(const Features *f, const Layer *l, int h) {
    return f->tested ? 100 * (double)l->right[h] / (double)f->tested : 0;
}

/* A table of Markdown, which reads well as it is. */
static void table_text(const Features *f, rt_text *o) {
    char shape[64];
    rt_text_add(o, "| layer              | values       |");
    for (int h = 0; h < RT_HEADS; h++)
        if (f->want_head[h])
            rt_text_printf(o, " %9s |", rt_head_names[h]);
    rt_text_add(o, "\n|--------------------|--------------|");
    for (int h = 0; h < RT_HEADS; h++)
        rt_text_add(o, f->want_head[h] ? "----------:|" : "");
    rt_text_add(o, "\n");
    for (int i = 0; i < f->layers; i++) {
        shape_text(&f->layer[i], shape, sizeof shape);
        rt_text_printf(o, "| %-18.60s | %12s |", f->layer[i].name, shape);
        for (int h = 0; h < RT_HEADS; h++)
            if (f->want_head[h])
                rt_text_printf(o, " %7.2f %% |", accuracy(f, &f->layer[i], h));
        rt_text_add(o, "\n");
    }
}

static void table_csv(const Features *f, rt_text *o) {
    rt_text_add(o, "layer,values");
    for (int h = 0; h < RT_HEADS; h++)
        if (f->want_head[h])
            rt_text_printf(o, ",%s", rt_head_names[h]);
    rt_text_add(o, "\n");
    for (int i = 0; i < f->layers; i++) {
        rt_text_printf(o, "%s,%lld", f->layer[i].name, (long long)f->layer[i].dim);
        for (int h = 0; h < RT_HEADS; h++)
            if (f->want_head[h])
                rt_text_printf(o, ",%.4f", accuracy(f, &f->layer[i], h));
        rt_text_add(o, "\n");
    }
}

static void table_json(const Features *f, rt_text *o) {
    rt_text_printf(o, "{\"train\":%lld,\"test\":%lld,\"epochs\":%lld,\"layers\":[",
                   (long long)f->samples, (long long)f->tested, (long long)f->epochs);
    for (int i = 0; i < f->layers; i++) {
        rt_text_add(o, i ? ",{\"name\":" : "{\"name\":");
        rt_text_json(o, f->layer[i].name);
        rt_text_printf(o, ",\"values\":%lld", (long long)f->layer[i].dim);
        for (int h = 0; h < RT_HEADS; h++)
            if (f->want_head[h]) {
                rt_text_printf(o, ",\"%s\":", rt_head_names[h]);
                rt_text_number(o, accuracy(f, &f->layer[i], h));
            }
        rt_text_add(o, "}");
    }
    rt_text_add(o, "]}\n");
}

static int write_table(Features *f, rt_error *err) {
    rt_text file = {0};
    size_t n = f->output ? strlen(f->output) : 0;
    rt_progress_clear(&f->cli->progress);
    if (f->cli->json)
        table_json(f, &f->out);
    else
        table_text(f, &f->out);
    if (f->output) {
        if (n > 5 && strcmp(f->output + n - 5, ".json") == 0)
            table_json(f, &file);
        else if (n > 3 && strcmp(f->output + n - 3, ".md") == 0)
            table_text(f, &file);
        else
            table_csv(f, &file);
        if (rt_text_ok(&file, err))
            rt_io_write_file(f->output, file.data, file.size, err);
        rt_text_free(&file);
    }
    return err->code ? err->code : rt_cli_print(&f->out, err);
}

/* ---- saving the values ---- */

typedef struct Part {
    const float *at;
    int64_t count;
} Part;

static int64_t rest(void *context, int64_t first, const float **data) {
    const Part *p = context;
    *data = p->at + first;
    return p->count - first;
}

/* .npy: the values; .npz: x and y. */
static int save_values(Features *f, rt_error *err) {
    const Layer *l = &f->layer[0];
    size_t n = strlen(f->save);
    int64_t dim[4] = {f->samples, l->shape[0], l->shape[1], l->shape[2]};
    int rank = l->shape[1] * l->shape[2] == 1 ? 2 : 4;
    if (n < 4 || strcmp(f->save + n - 4, ".npz") != 0)
        return rt_npy_write(f->save, rank, dim, l->kept, err);
    float *y = rt_alloc((size_t)f->samples, sizeof *y, "labels", err);
    rt_npz *z = NULL;
    for (int64_t i = 0; y && i < f->samples; i++)
        y[i] = (float)f->label[i];
    Part x = {l->kept, f->samples * l->dim}, labels = {y, f->samples};
    if (y && !rt_npz_begin(&z, f->save, err) && !rt_npz_add(z, "x", rank, dim, rest, &x, err) &&
        !rt_npz_add(z, "y", 1, dim, rest, &labels, err)) {
        rt_npz_finish(z, err);
        z = NULL;
    }
    rt_npz_abort(z);
    rt_free(y);
    return err->code;
}

/* ---- the verb ---- */

/* Buffers, and the values of as many layers as may be kept, in order. */
static int take_memory(Features *f, rt_error *err) {
    int64_t total = rt_data_count(f->ds[0]), left = f->memory << 20, bytes;
    total = f->limit > 0 && f->limit < total ? f->limit : total;
    f->good = rt_alloc((size_t)total, sizeof *f->good, "sample numbers", err);
    f->label = rt_alloc((size_t)total, sizeof *f->label, "labels", err);
    f->now = rt_alloc((size_t)f->batch, sizeof *f->now, "labels", err);
    f->want = rt_alloc((size_t)f->batch, sizeof *f->want, "sample numbers", err);
    f->room = rt_alloc((size_t)(f->batch * f->classes), sizeof *f->room, "scores", err);
    for (int i = 0; i < f->layers && !err->code; i++) {
        Layer *l = &f->layer[i];
        l->rows = rt_alloc((size_t)(f->batch * l->dim), sizeof *l->rows, "features", err);
        l->mean = rt_alloc_zero((size_t)l->dim, sizeof *l->mean, "features", err);
        l->center = rt_alloc_zero((size_t)l->dim, sizeof *l->center, "features", err);
        if (err->code || __builtin_mul_overflow(total * (int64_t)sizeof(float), l->dim, &bytes))
            break;
        if (bytes <= left) {
            l->kept = rt_alloc((size_t)(total * l->dim), sizeof *l->kept, "features", err);
            left -= bytes;
        } else if (f->save) {
            return rt_fail(err, NETRT_ELIMIT,
                           "the values of %s take %lld MiB, --memory allows %lld\nhelp: --limit=N "
                           "takes the first N samples",
                           l->name, (long long)(bytes >> 20), (long long)f->memory);
        }
        for (int h = 0; h < RT_HEADS && !f->save; h++)
            if (f->want_head[h] && rt_head_open(&l->head[h], h, l->dim, f->classes, err))
                break;
    }
    return err->code;
}

static int open_all(Features *f, rt_error *err) {
    rt_cli *cli = f->cli;
    if (cli->batch <= 0)
        cli->batch = 50;
    if (rt_cli_open(cli, 1, &f->m, err) || choose_heads(f, err))
        return err->code;
    f->batch = f->m->cap;
    if (rt_look_open(&f->look, f->m, f->batch, err) || find_layers(f, err))
        return err->code;
    if (f->save && f->layers != 1)
        return rt_fail(err, NETRT_EUSAGE, "--save keeps one layer\nhelp: name it with --layers=%s",
                       f->layer[f->layers - 1].name);
    for (int part = 0; part < (f->save ? 1 : 2); part++) {
        if (rt_cli_data(cli, part || (f->save && f->save_test), 0, &f->ds[part], err))
            return err->code;
        if (rt_data_classes(f->ds[part]) < 1)
            return rt_fail(err, NETRT_EDATA, "%s has no labels", rt_data_uri(f->ds[part]));
        if (rt_feed_open(&f->feed[part], f->m, f->ds[part], f->batch,
                         (size_t)RT_FEED_CACHE_MB << 20, 0, err))
            return err->code;
    }
    f->classes = rt_data_classes(f->ds[0]);
    if (f->classes < 2)
        return rt_fail(err, NETRT_EDATA, "%s has one class only", rt_data_uri(f->ds[0]));
    cli->ds = f->ds[0];
    return take_memory(f, err);
}

static void close_all(Features *f) {
    for (int i = 0; i < f->layers; i++) {
        Layer *l = &f->layer[i];
        for (int h = 0; h < RT_HEADS; h++)
            rt_head_close(&l->head[h]);
        rt_free(l->kept);
        rt_free(l->mean);
        rt_free(l->center);
        rt_free(l->rows);
    }
    for (int part = 0; part < 2; part++) {
        if (f->feed[part].m)
            rt_feed_close(&f->feed[part]);
        rt_data_close(f->ds[part]);
    }
    rt_look_close(&f->look);
    rt_free(f->layer);
    rt_free(f->good);
    rt_free(f->label);
    rt_free(f->now);
    rt_free(f->want);
    rt_free(f->room);
    netrt_close(f->m);
}

static int run(Features *f) {
    rt_error err = {0};
    char trained[32], tested[32];
    if (!open_all(f, &err)) {
        int kept = 0;
        rt_cli_catch();
        for (int i = 0; i < f->layers; i++)
            kept += f->layer[i].kept != NULL;
        rt_note(&f->cli->progress, "%d layers, %d kept in memory, the others computed again", f->layers,
                kept);
        if (!first_pass(f, &err)) {
            if (f->save)
                save_values(f, &err);
            else if (!train_heads(f, &err) && !test_heads(f, &err) && !write_table(f, &err))
                rt_note(&f->cli->progress, "%s samples trained on, %s tested, %lld epochs",
                        rt_text_count(f->samples, trained), rt_text_count(f->tested, tested),
                        (long long)f->epochs);
        }
    }
    rt_progress_clear(&f->cli->progress);
    rt_report(&f->cli->progress, &err);
    close_all(f);
    return err.code ? err.code : f->cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_features(rt_cli *cli, int argc, char **argv) {
    Features f = {.cli = cli, .epochs = 10, .memory = 1024, .rate = 1, .decay = 1e-5};
    const rt_arg table[] = {
        RT_OPT_DATA(cli, "data to train and test on; its classes need not be the network's "
                         "(default: the spec's)"),
        RT_OPT_WEIGHTS(cli),
        RT_OPT_PARTIAL(cli),
        RT_OPT_MAP(cli),
        {"layers", 'l', RT_ARG_TEXT, "NAMES", &f.names, 0, 0,
         "layers between commas, the input among them (default: all)"},
        {"heads", 0, RT_ARG_TEXT, "KINDS", &f.heads, 0, 0,
         "softmax, svm (squared hinge, one against all) or both (default)"},
        {"output", 'o', RT_ARG_TEXT, "FILE", &f.output, 0, 0, "the table as .csv, .md or .json"},
        {"save", 0, RT_ARG_TEXT, "FILE", &f.save, 0, 0,
         "instead: the values of one layer as .npy, with the classes (x, y) as .npz"},
        {"part", 0, RT_ARG_CHOICE, "train|test", &f.save_test, 0, 0, "which part to save (train)"},
        {"epochs", 'e', RT_ARG_INT, "N", &f.epochs, 1, 1 << 20, "passes over the data (10)"},
        {"rate", 0, RT_ARG_REAL, "X", &f.rate, 0, 1, "factor of the learning rates (1)"},
        {"decay", 0, RT_ARG_REAL, "X", &f.decay, 0, 1, "weight decay of the classifiers (1e-5)"},
        {"limit", 0, RT_ARG_INT, "N", &f.limit, 1, INT64_MAX, "only the first N training samples"},
        {"memory", 0, RT_ARG_INT, "MIB", &f.memory, 1, 1 << 24,
         "values kept between epochs (1024); results do not depend on it"},
        {"out", 0, RT_ARG_TEXT, "DIR", &cli->out, 0, 0,
         "folder of the training run, for the default weights"},
        RT_OPT_SEED(cli),
        RT_OPT_BATCH(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli),
        RT_OPT_JSON(cli)};
    static const rt_verb verb = {
        "features", "linear classifiers on the values of each layer", "[OPTIONS]",
        "features\nfeatures --data=fashion-mnist/ --layers=s2,s4,f5 -o table.csv\n"
        "features --layers=f5 --save=f5.npz"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    if (n > 0)
        cli->data = operands[0];
    return run(&f);
}
