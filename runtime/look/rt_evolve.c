/* rt_evolve.c: how features came about: for some maps of each layer the strongest activation over
 * the data after each kept epoch, projected to pixels, beside what it saw.
 *
 * theory: Zeiler and Fergus 2014, section 4 and figure 4; the projection is the deconvnet's
 * (gradient where that is refused).  Weights come from `train --keep=0,1,2,5,10`.  A jump from one
 * row to the next is often another image winning.  Maps: those of --maps, else the ones that answer
 * strongest after the last epoch.  Every tile has its own scale.
 */
#include <string.h>

#include "rt_alloc.h"
#include "rt_epochs.h"
#include "rt_viz.h"
#include "rt_weights.h"

enum { LAYERS_MAX = 16, MAPS = 8, TILE = 56, SCAN = 1000 };

static struct {
    const char *run;
} options = {.run = "run"};

typedef struct Layer {
    int seed;
    int64_t chw[3], map[MAPS];
    int nmaps;
    rt_peak *top; /* maps * RT_TOP of the epoch at hand */
    rt_sheet sheet;
    char title[160], note[300];
} Layer;

typedef struct Evolution {
    rt_viz *v;
    rt_feed feed;
    rt_epochs kept;
    Layer layer[LAYERS_MAX];
    int nlayers, rule;
    rt_text csv;
    float *diff;
    rt_image picture, part, tile;
} Evolution;

static const char *label_of(const Evolution *e, const Layer *l) {
    return e->v->m->model->program[RT_LOOK].seed[l->seed].label;
}

/* ---- one epoch ---- */

static int load_and_scan(Evolution *e, int64_t epoch, rt_error *err) {
    char path[4400];
    rt_peak *top[LAYERS_MAX];
    int seed[LAYERS_MAX];
    rt_epochs_path(options.run, epoch, path, sizeof path);
    if (rt_weights_load(e->v->m, path, 0, NULL, err))
        return rt_advise(err, "that folder must hold the run of this network; --run names another");
    for (int k = 0; k < e->nlayers; k++) {
        top[k] = e->layer[k].top;
        seed[k] = e->layer[k].seed;
    }
    return rt_look_scan(&e->v->cli, &e->v->look, &e->feed, e->v->limit > 0 ? e->v->limit : SCAN,
                        seed, e->nlayers, top, err);
}

/* The strongest maps of the last epoch, in the order of their numbers. */
static void choose_maps(const Evolution *e, Layer *l) {
    for (int64_t c = 0; c < l->chw[0]; c++) {
        float value = l->top[c * RT_TOP].value;
        if (!rt_viz_wants_map(e->v, c))
            continue;
        int at = l->nmaps;
        while (at > 0 && l->top[l->map[at - 1] * RT_TOP].value < value && !e->v->maps)
            at--;
        if (at == MAPS)
            continue;
        l->nmaps += l->nmaps < MAPS;
        memmove(l->map + at + 1, l->map + at, (size_t)(l->nmaps - 1 - at) * sizeof *l->map);
        l->map[at] = c;
    }
    for (int i = 1; i < l->nmaps; i++)
        for (int k = i; k > 0 && l->map[k - 1] > l->map[k]; k--) {
            int64_t other = l->map[k];
            l->map[k] = l->map[k - 1];
            l->map[k - 1] = other;
        }
}

static int project(Evolution *e, const Layer *l, int64_t map, const rt_peak *p, rt_error *err) {
    rt_unit unit = {map, p->y, p->x};
    if (rt_viz_record(e->v, &e->feed, p->sample, err))
        return err->code;
    return rt_look_project(&e->v->look, e->rule, l->seed, &unit, &p->value, 1, e->diff, err);
}

static int draw_map(Evolution *e, Layer *l, int row, int column, rt_error *err) {
    const struct rt_prep *prep = &e->v->prep;
    int64_t map = l->map[column], epoch = e->kept.epoch[row];
    int64_t pixels = (int64_t)prep->channels * prep->height * prep->width;
    const rt_peak *p = &l->top[map * RT_TOP];
    char text[64];
    int silent = p->sample < 0 || !(p->value > 0);
    rt_text_printf(&e->csv, "%lld,%s,%lld,%.9g,%lld,%lld,%lld\n", (long long)epoch, label_of(e, l),
                   (long long)map, (double)p->value, (long long)p->sample, (long long)p->y,
                   (long long)p->x);
    if (silent) {
        if (rt_canvas_new(&e->tile, TILE, TILE, 0xeeeeeeu, err) == 0)
            rt_sheet_put(&l->sheet, 1 + 2 * column, row, &e->tile, "silent");
        return err->code;
    }
    rt_rect r = rt_unit_field(e->v->m->model, l->seed, p->y, p->x);
    if (project(e, l, map, p, err) ||
        rt_canvas_tone(&e->picture, e->diff, prep->channels, prep->height, prep->width, prep->bgr,
                       RT_TONE_SIGNED, rt_max_abs(e->diff, pixels), err) ||
        rt_viz_patch(&e->tile, &e->part, &e->picture, r, TILE, err))
        return err->code;
    snprintf(text, sizeof text, "%lld: %.3g", (long long)map, (double)p->value);
    rt_sheet_put(&l->sheet, 1 + 2 * column, row, &e->tile, text);
    if (rt_prep_invert(prep, e->feed.input[0], &e->picture, err) ||
        rt_viz_patch(&e->tile, &e->part, &e->picture, r, TILE, err))
        return err->code;
    snprintf(text, sizeof text, "img %lld", (long long)p->sample);
    rt_sheet_put(&l->sheet, 2 + 2 * column, row, &e->tile, text);
    return NETRT_OK;
}

static int draw_epoch(Evolution *e, int row, rt_error *err) {
    char text[32];
    snprintf(text, sizeof text, "epoch %lld", (long long)e->kept.epoch[row]);
    for (int k = 0; k < e->nlayers && !err->code; k++) {
        Layer *l = &e->layer[k];
        rt_canvas_text(&l->sheet.canvas, 8, RT_SHEET_HEADER + row * l->sheet.step_y + TILE / 2 - 4,
                       1, 0x222222u, text);
        for (int i = 0; i < l->nmaps && !err->code; i++)
            draw_map(e, l, row, i, err);
    }
    return err->code;
}

/* ---- all of them ---- */

static int open_sheet(Evolution *e, Layer *l, rt_error *err) {
    choose_maps(e, l);
    if (l->nmaps == 0)
        return rt_fail(err, NETRT_EUSAGE, "--maps=%s names no map of layer %s\nhelp: it has 0 to "
                       "%lld", e->v->maps, label_of(e, l), (long long)l->chw[0] - 1);
    snprintf(l->title, sizeof l->title, "evolution of %.60s", label_of(e, l));
    snprintf(l->note, sizeof l->note, "rows: epochs; of each map its strongest activation, %s "
             "(mid-grey = 0, own scale) and patch; map: activation", rt_rule_names[e->rule]);
    return rt_sheet_open(&l->sheet, l->title, l->note, 1 + 2 * l->nmaps, e->kept.n, TILE, TILE, TILE,
                         1, err);
}

static int write_all(Evolution *e, rt_error *err) {
    for (int k = 0; k < e->nlayers && !err->code; k++) {
        char name[160];
        snprintf(name, sizeof name, "evolution-%.100s", label_of(e, &e->layer[k]));
        rt_viz_write(e->v, &e->layer[k].sheet.canvas, name, e->layer[k].title, e->layer[k].note,
                     err);
    }
    if (!err->code)
        rt_viz_write_text(e->v, &e->csv, "evolution", "evolution", err);
    return err->code;
}

static int prepare(Evolution *e, rt_error *err) {
    rt_viz *v = e->v;
    int seed[64], n = 0, more = 1;
    const char *list = v->layers;
    const struct rt_prep *prep = &v->prep;
    while (list && n < 64 && (more = rt_viz_next_layer(v, &list, &seed[n], err)) == 1)
        n++;
    if (!v->layers)
        n = rt_viz_conv_layers(v, seed, 64);
    if (!err->code && n == 0)
        rt_fail(err, NETRT_EUSAGE, "%s has no convolutions\nhelp: name layers with --layer",
                v->m->model->name);
    e->rule = v->m->model->program[RT_LOOK].refused[RT_RULE_DECONVNET] ? RT_RULE_GRADIENT
                                                                       : RT_RULE_DECONVNET;
    for (int k = 0; k < n && k < LAYERS_MAX && !err->code; k++) { /* of many, evenly spaced ones */
        Layer *l = &e->layer[e->nlayers++];
        l->seed = seed[n > LAYERS_MAX ? k * n / LAYERS_MAX : k];
        rt_seed_shape(v->m->model, l->seed, l->chw);
        l->top = rt_alloc((size_t)(l->chw[0] * RT_TOP), sizeof *l->top, "strongest activations",
                          err);
    }
    if (!err->code)
        e->diff = rt_alloc((size_t)((int64_t)prep->channels * prep->height * prep->width),
                           sizeof *e->diff, "a projection", err);
    return err->code;
}

static int evolve(Evolution *e, rt_error *err) {
    rt_text_add(&e->csv, "epoch,layer,map,activation,image,y,x\n");
    if (prepare(e, err) || load_and_scan(e, e->kept.epoch[e->kept.n - 1], err))
        return err->code;
    for (int k = 0; k < e->nlayers && !err->code; k++)
        open_sheet(e, &e->layer[k], err);
    for (int i = 0; i < e->kept.n && !err->code; i++)
        if (load_and_scan(e, e->kept.epoch[i], err) == 0)
            draw_epoch(e, i, err);
    return err->code ? err->code : write_all(e, err);
}

/* Without --weights those of the last kept epoch serve to open the network. */
static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Evolution *e = rt_alloc_zero(1, sizeof *e, "an evolution", err);
    char path[4400];
    if (!e)
        return err->code;
    e->v = v;
    if (rt_epochs_find(options.run, &e->kept, err) == 0 && e->kept.n == 0)
        rt_fail(err, NETRT_EIO, "%s/ holds no weights of single epochs\nhelp: train with "
                "--keep=0,1,2,5,10, or name another folder with --run", options.run);
    if (!err->code && !v->cli.weights) {
        rt_epochs_path(options.run, e->kept.epoch[e->kept.n - 1], path, sizeof path);
        v->cli.weights = path;
    }
    if (!err->code && rt_viz_open(v, 1, err) == 0 && rt_viz_feed(v, operands, n, &e->feed, err) == 0)
        evolve(e, err);
    if (v->cli.weights == path)
        v->cli.weights = NULL;
    for (int k = 0; k < LAYERS_MAX; k++) {
        rt_free(e->layer[k].top);
        rt_sheet_close(&e->layer[k].sheet);
    }
    rt_free(e->diff);
    rt_text_free(&e->csv);
    rt_image_free(&e->picture);
    rt_image_free(&e->part);
    rt_image_free(&e->tile);
    rt_viz_feed_close(v, &e->feed);
    rt_free(e);
    return err->code;
}

static const rt_arg args[] = {
    {"run", 0, RT_ARG_TEXT, "DIR", &options.run, 0, 0,
     "where `train --keep=0,1,2,5` left the weights (default: run)"},
};

const rt_technique rt_technique_evolution = {
    {"evolution", "features along the training, from kept epochs", "[OPTIONS] [DATA]",
     "evolution\nevolution --layer=conv2 --maps=3,8,12 --data=mnist"},
    run, args, sizeof args / sizeof *args};
