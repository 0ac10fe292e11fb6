/* rt_pretrain.c: `NAME rbm LAYER..`: convolutions learn from pictures without labels, one after the
 * other, as convolutional restricted Boltzmann machines (rt_rbm.h); a stack of them is the
 * convolutional deep belief network of Lee et al.
 *
 * A machine sees what stands in front of its layer: the image, or what the network makes of it by
 * the layers that have learned already (conv -> sigmoid -> maxpool: the mean of what a machine's
 * pooled cells would be).  Its weights and hidden biases become the convolution's.  Steps are plain
 * gradient steps of CD-1 with momentum; biases are pushed so that cells are on as rarely as asked.
 * ensures: the same bits for any number of threads: images are worked on apart, sums are in order.
 * theory: Lee, Grosse, Ranganath, Ng 2009, section 3; Hinton 2010, "A practical guide".
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_look.h"
#include "rt_par.h"
#include "rt_rbm.h"

typedef struct Pretrain {
    rt_cli *cli;
    netrt *m;
    rt_look look;
    rt_dataset *ds;
    rt_feed feed;
    const char *output, *from;
    int visible; /* 0: Gaussian, 1: binary, -1: by what it reads */
    int64_t pool, epochs, limit, batch, step;
    double rate, momentum, target, press, decay;
    /* the machine at hand */
    rt_rbm r;
    const char *label;
    int weight, bias, tensor; /* parameters (bias -1: none); tensor -1: the image */
    int64_t sums;             /* numbers of a gradient: weights, biases, visible biases, on */
    float *rows, *room, *each, *all, *speed;
    double *missed;
    int64_t *want;
    uint64_t seed;
} Pretrain;

/* ---- what a layer sees ---- */

static int find_params(Pretrain *t, rt_error *err) {
    static const char *const form[] = {"%s.%s", "%s.conv1.%s"};
    char name[300];
    t->weight = t->bias = -1;
    for (int f = 0; f < 2 && t->weight < 0; f++) {
        snprintf(name, sizeof name, form[f], t->label, "weight");
        t->weight = rt_find_param(t->m->model, name);
        snprintf(name, sizeof name, form[f], t->label, "bias");
        t->bias = rt_find_param(t->m->model, name);
    }
    if (t->weight < 0 || t->m->model->param[t->weight].rank != 4)
        return rt_fail(err, NETRT_EUSAGE, "%s: '%s' is no layer that begins with a convolution\n"
                       "help: %s info lists the layers", t->m->model->name, t->label, t->cli->program);
    return NETRT_OK;
}

/* The layer in front, or the one that --from names. */
static int find_source(Pretrain *t, rt_error *err) {
    const rt_model *model = t->m->model;
    const rt_input_spec *in = &model->input[0];
    int64_t chw[3] = {in->c, in->h, in->w};
    int at = rt_seed_find(model, t->label), source = at - 1;
    if (t->from)
        source = strcmp(t->from, in->name) == 0 ? -1 : rt_seed_find(model, t->from);
    if (at < 0 || (t->from && source < 0 && strcmp(t->from, in->name) != 0))
        return rt_fail(err, NETRT_EUSAGE, "%s has no layer '%s'\nhelp: %s info lists them", model->name,
                       at < 0 ? t->label : t->from, t->cli->program);
    t->tensor = source < 0 ? -1 : model->program[RT_LOOK].seed[source].tensor;
    if (source >= 0)
        rt_seed_shape(model, source, chw);
    const int64_t *dim = model->param[t->weight].dim;
    const char *name = source < 0 ? in->name : model->program[RT_LOOK].seed[source].label;
    if (chw[0] != dim[1])
        return rt_fail(err, NETRT_EUSAGE, "'%s' reads %lld maps, '%s' has %lld\n"
                       "help: --from=LAYER names the layer that it reads", t->label,
                       (long long)dim[1], name, (long long)chw[0]);
    int gaussian = t->visible < 0 ? source < 0 : t->visible == 0;
    t->r = (rt_rbm){.channels = dim[1], .h = chw[1], .w = chw[2], .maps = dim[0], .kh = dim[2],
                    .kw = dim[3], .pool = t->pool, .gaussian = gaussian};
    return NETRT_OK;
}

static int take_memory(Pretrain *t, rt_error *err) {
    int64_t room, rows, each;
    if (rt_rbm_open(&t->r, err))
        return err->code;
    t->sums = rt_rbm_weights(&t->r) + 2 * t->r.maps + t->r.channels;
    if (__builtin_mul_overflow(2 * rt_rbm_hidden(&t->r) + rt_rbm_seen(&t->r), t->batch, &room) ||
        __builtin_mul_overflow(rt_rbm_seen(&t->r), t->batch, &rows) ||
        __builtin_mul_overflow(t->sums, t->batch, &each))
        return rt_fail(err, NETRT_ELIMIT, "'%s' is too large for batches of %lld\n"
                       "help: --batch=1", t->label, (long long)t->batch);
    t->rows = rt_alloc((size_t)rows, sizeof *t->rows, "values", err);
    t->room = rt_alloc((size_t)room, sizeof *t->room, "hidden values", err);
    t->each = rt_alloc((size_t)each, sizeof *t->each, "gradients", err);
    t->all = rt_alloc((size_t)t->sums, sizeof *t->all, "a gradient", err);
    t->speed = rt_alloc_zero((size_t)t->sums, sizeof *t->speed, "momentum", err);
    t->missed = rt_alloc((size_t)t->batch, sizeof *t->missed, "errors", err);
    return err->code;
}

static void release(Pretrain *t) {
    rt_rbm_close(&t->r);
    rt_free(t->rows);
    rt_free(t->room);
    rt_free(t->each);
    rt_free(t->all);
    rt_free(t->speed);
    rt_free(t->missed);
    t->r = (rt_rbm){0};
    t->rows = t->room = t->each = t->all = t->speed = NULL;
    t->missed = NULL;
}

/* ---- steps ---- */

static void of_image(void *context, int64_t lo, int64_t hi, int thread) {
    const Pretrain *t = context;
    int64_t nw = rt_rbm_weights(&t->r), seen = rt_rbm_seen(&t->r);
    int64_t room = 2 * rt_rbm_hidden(&t->r) + seen;
    (void)thread;
    for (int64_t i = lo; i < hi; i++) {
        float *v = t->rows + i * seen, *sum = t->each + i * t->sums;
        if (t->tensor < 0)
            memcpy(v, t->feed.input[0] + i * seen, (size_t)seen * sizeof *v);
        else
            rt_tensor_read(t->m, RT_LOOK, t->tensor, i, v);
        t->missed[i] = rt_rbm_contrast(&t->r, v, rt_rng_make(t->seed, RT_RNG_RBM), (uint32_t)t->step,
                                       (uint32_t)i, t->room + i * room, sum, sum + nw,
                                       sum + nw + t->r.maps, sum + t->sums - t->r.maps);
    }
}

typedef struct Sums {
    const Pretrain *t;
    int64_t n;
} Sums;

static void add_up(void *context, int64_t lo, int64_t hi, int thread) {
    const Sums *s = context;
    (void)thread;
    for (int64_t k = lo; k < hi; k++) {
        float sum = 0;
        for (int64_t i = 0; i < s->n; i++)
            sum += s->t->each[i * s->t->sums + k];
        s->t->all[k] = sum / (float)s->n;
    }
}

static void move(Pretrain *t, float *what, const float *gradient, float *speed, int64_t n,
                 double share, double decay) {
    for (int64_t k = 0; k < n; k++) {
        speed[k] = (float)(t->momentum * (double)speed[k] +
                           t->rate * (share * (double)gradient[k] - decay * (double)what[k]));
        what[k] += speed[k];
    }
}

/* One step on n images; gradients are means over the hidden cells of a map. */
static void update(Pretrain *t, int64_t n) {
    rt_rbm *r = &t->r;
    Sums s = {t, n};
    int64_t nw = rt_rbm_weights(r);
    double share = 1 / (double)(r->oh * r->ow);
    rt_parallel_for(t->m->threads, n, 1, of_image, t);
    rt_parallel_for(t->m->threads, t->sums, 1024, add_up, &s);
    const float *on = t->all + t->sums - r->maps;
    for (int64_t k = 0; k < r->maps; k++) /* of the sparsity term */
        t->all[nw + k] += (float)(t->press * (t->target - (double)on[k]) / share);
    move(t, r->weight, t->all, t->speed, nw, share, t->decay);
    move(t, r->bias, t->all + nw, t->speed + nw, r->maps, share, 0);
    move(t, r->visible, t->all + nw + r->maps, t->speed + nw + r->maps, r->channels,
         1 / (double)(r->h * r->w), 0);
    t->step++;
}

static int one_epoch(Pretrain *t, int64_t epoch, int64_t total, rt_error *err) {
    double missed = 0, square = 0, on = 0, seen = 0;
    int64_t numbers = rt_rbm_seen(&t->r);
    rt_perm perm = rt_perm_make((uint64_t)total, t->seed, RT_RNG_SHUFFLE, (uint32_t)epoch);
    for (int64_t at = 0; at < total; at += t->batch) {
        int64_t n = total - at < t->batch ? total - at : t->batch;
        for (int64_t i = 0; i < n; i++)
            t->want[i] = (int64_t)rt_perm_at(&perm, (uint64_t)(at + i));
        n = rt_feed_load(&t->feed, t->want, n, -1, rt_cli_skipped, t->cli);
        if (n < 0)
            return rt_fail(err, t->feed.failure.code, "%s", t->feed.failure.text);
        if (n > 0 && t->tensor >= 0 && rt_look_record(&t->look, n, err))
            return err->code;
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        if (n == 0)
            continue;
        update(t, n);
        for (int64_t i = 0; i < n; i++)
            missed += t->missed[i];
        for (int64_t i = 0; i < n * numbers; i++)
            square += (double)t->rows[i] * (double)t->rows[i];
        for (int64_t k = 0; k < t->r.maps; k++)
            on += (double)n * (double)t->all[t->sums - t->r.maps + k] / (double)t->r.maps;
        seen += (double)n;
        rt_progress_tick(&t->cli->progress, t->label, at + n, total, "", -1);
    }
    if (!(seen > 0))
        return rt_fail(err, NETRT_EDATA, "%s has no sample that can be read", rt_data_uri(t->ds));
    if (!isfinite(missed))
        return rt_fail(err, NETRT_EDIVERGED, "the machine of '%s' diverged in epoch %lld\n"
                       "help: a smaller --rate", t->label, (long long)epoch + 1);
    rt_note(&t->cli->progress, "%s: epoch %lld/%lld  reconstruction %.2f%%  cells on %.2f%%", t->label,
            (long long)epoch + 1, (long long)t->epochs, 100 * missed / fmax(square, 1e-30),
            100 * on / seen);
    return NETRT_OK;
}

/* Small weights; biases at which a cell is on as often as asked. */
static void begin(Pretrain *t) {
    rt_rbm *r = &t->r;
    double cells = (double)(t->pool * t->pool), rest = fmax(1 - cells * t->target, 1e-3);
    rt_rng rng = rt_rng_make(t->seed, RT_RNG_RBM);
    rt_rng_fill_normal(rng, UINT32_MAX, (uint32_t)t->weight, 0, 0, 0.01f, r->weight,
                       (size_t)rt_rbm_weights(r));
    for (int64_t k = 0; k < r->maps; k++)
        r->bias[k] = (float)log(t->target / rest);
    t->step = 0;
}

static int one_layer(Pretrain *t, rt_error *err) {
    int64_t total = rt_data_count(t->ds);
    total = t->limit > 0 && t->limit < total ? t->limit : total;
    if (find_params(t, err) || find_source(t, err) || take_memory(t, err))
        return err->code;
    begin(t);
    for (int64_t e = 0; e < t->epochs; e++)
        if (one_epoch(t, e, total, err))
            return err->code;
    rt_param_write(t->m, t->weight, t->r.weight);
    if (t->bias >= 0)
        rt_param_write(t->m, t->bias, t->r.bias);
    return NETRT_OK;
}

/* ---- the verb ---- */

static int open_all(Pretrain *t, int layers, rt_error *err) {
    rt_cli *cli = t->cli;
    if (layers < 1)
        return rt_fail(err, NETRT_EUSAGE, "which layer?\nhelp: %s rbm c1", cli->program);
    if (t->target * (double)(t->pool * t->pool) >= 1)
        return rt_fail(err, NETRT_EUSAGE, "--on=%g: of %lld cells at most one is on\n"
                       "help: less than %g", t->target, (long long)(t->pool * t->pool),
                       1 / (double)(t->pool * t->pool));
    if (cli->batch <= 0)
        cli->batch = 10;
    if (rt_cli_open(cli, 0, &t->m, err))
        return err->code;
    t->batch = t->m->cap;
    t->seed = t->m->seed;
    if (rt_look_open(&t->look, t->m, t->batch, err) || rt_cli_data(cli, 0, 0, &t->ds, err) ||
        rt_feed_open(&t->feed, t->m, t->ds, t->batch, (size_t)RT_FEED_CACHE_MB << 20, 0, err))
        return err->code;
    cli->ds = t->ds;
    t->want = rt_alloc((size_t)t->batch, sizeof *t->want, "sample numbers", err);
    return err->code;
}

static int run(Pretrain *t, const char **layer, int layers) {
    rt_error err = {0};
    if (!open_all(t, layers, &err)) {
        rt_cli_catch();
        for (int i = 0; i < layers && !err.code; i++) {
            t->label = layer[i];
            one_layer(t, &err);
            release(t);
        }
        if (!err.code && netrt_save(t->m, t->output, &err))
            rt_advise(&err, "make its folder, or name another file with --output");
        else if (!err.code)
            rt_note(&t->cli->progress, "weights: %s; %s train --weights=%s goes on with them", t->output,
                    t->cli->program, t->output);
    }
    rt_progress_clear(&t->cli->progress);
    rt_report(&t->cli->progress, &err);
    if (t->feed.m)
        rt_feed_close(&t->feed);
    rt_data_close(t->ds);
    rt_look_close(&t->look);
    rt_free(t->want);
    netrt_close(t->m);
    return err.code ? err.code : t->cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_rbm(rt_cli *cli, int argc, char **argv) {
    Pretrain t = {.cli = cli, .visible = -1, .output = "rbm.safetensors", .pool = 2, .epochs = 5, .rate = 0.2,
                  .momentum = 0.5, .target = 0.03, .press = 1, .decay = 1e-3};
    const rt_arg table[] = {
        RT_OPT_DATA(cli, "pictures to learn from; labels are not looked at (default: the spec's)"),
        RT_OPT_WEIGHTS(cli),
        RT_OPT_PARTIAL(cli),
        RT_OPT_MAP(cli),
        {"output", 'o', RT_ARG_TEXT, "FILE", &t.output, 0, 0, "all weights (rbm.safetensors)"},
        {"from", 0, RT_ARG_TEXT, "LAYER", &t.from, 0, 0,
         "the layer, or input, that it reads (default: the one in front)"},
        {"visible", 0, RT_ARG_CHOICE, "gaussian|binary", &t.visible, 0, 0,
         "what it reads (default: gaussian for the image, else binary: between 0 and 1)"},
        {"pool", 0, RT_ARG_INT, "N", &t.pool, 1, 64, "blocks of NxN cells of which one is on (2)"},
        {"on", 0, RT_ARG_REAL, "X", &t.target, 0, 1, "how often a cell is to be on (0.03)"},
        {"press", 0, RT_ARG_REAL, "X", &t.press, 0, 1, "how hard that is pressed (1)"},
        {"rate", 0, RT_ARG_REAL, "X", &t.rate, 0, 1, "learning rate (0.2)"},
        {"momentum", 0, RT_ARG_REAL, "X", &t.momentum, 0, 1, "momentum (0.5)"},
        {"decay", 0, RT_ARG_REAL, "X", &t.decay, 0, 1, "weight decay (1e-3)"},
        {"epochs", 'e', RT_ARG_INT, "N", &t.epochs, 1, 1 << 20, "passes over the data per layer (5)"},
        {"limit", 0, RT_ARG_INT, "N", &t.limit, 1, INT64_MAX, "only the first N pictures"},
        RT_OPT_SEED(cli),
        RT_OPT_BATCH(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_PROGRESS(cli),
        RT_OPT_QUIET(cli)};
    static const rt_verb verb = {
        "rbm", "convolutions learn without labels, as a deep belief network", "[OPTIONS] LAYER..",
        "rbm c1\nrbm c1 c2 -o start.safetensors --epochs=10\ntrain --weights=start.safetensors"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    return run(&t, operands, n);
}
