/* rt_viz.c: the program NAME-viz: command line, layer and map lists, files written. */
#include "rt_viz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_npz.h"
#include "rt_par.h"

/* ---- opening ---- */

/* Every name of --layer is a layer. */
static int check_layers(rt_viz *v, rt_error *err) {
    const char *list = v->layers;
    int seed, more;
    if (list && !*list)
        return rt_fail(err, NETRT_EUSAGE, "--layer names no layer\nhelp: --layer=c1,c3");
    while ((more = rt_viz_next_layer(v, &list, &seed, err)) == 1)
        ;
    return err->code;
}

/* Enough to share out among threads; more would only touch more memory. */
static int64_t images_at_once(const rt_viz *v) {
    enum { LEAST = 4, MOST = 64 };
    int64_t each = v->cli.model->program[RT_LOOK].act_bytes;
    int64_t n = ((int64_t)256 << 20) / (each > 0 ? each : 1);
    n = v->cli.batch > 0 ? v->cli.batch : n > MOST ? MOST : n;
    return n < LEAST ? LEAST : n;
}

int rt_viz_folder(rt_viz *v, rt_error *err) {
    if (strlen(v->cli.out) > 4000)
        return rt_fail(err, NETRT_EUSAGE, "the name of the output folder is too long\n"
                                          "help: a shorter --out");
    if (!v->made)
        v->made = rt_alloc_zero(RT_MADE_MAX, sizeof *v->made, "list of files", err);
    if (!v->made || (!v->no_files && (rt_io_make_dirs(v->cli.out, err) ||
                                      rt_io_probe_dir(v->cli.out, err))))
        return rt_advise(err, "name another folder with --out");
    return NETRT_OK;
}

int rt_viz_open(rt_viz *v, int many, rt_error *err) {
    int64_t cap = many ? images_at_once(v) : 1;
    /* before weights of half a gigabyte are read */
    if (check_layers(v, err) || rt_viz_folder(v, err))
        return err->code;
    if (v->cli.batch == 0)
        v->cli.batch = cap;
    const char *out = v->cli.out;
    v->cli.out = "run"; /* where default weights lie */
    rt_cli_open(&v->cli, 1, &v->m, err);
    v->cli.out = out;
    if (err->code)
        return err->code;
    rt_input_prep(v->m->model, 0, &v->prep);
    v->prep.mean_image = v->m->data_mean;
    if (v->prep.height == 1 && v->prep.channels > 1) { /* a sequence: a row for each channel */
        v->prep.height = v->prep.channels;
        v->prep.channels = 1;
        v->prep.stretch = 1;
    }
    if (v->m->model->program[RT_LOOK].nkernels == 0)
        return rt_fail(err, NETRT_EUSAGE, "%s was compiled without its look program",
                       v->m->model->name);
    v->look_open = 1;
    return rt_look_open(&v->look, v->m, cap, err);
}

void rt_viz_close(rt_viz *v) {
    if (v->look_open)
        rt_look_close(&v->look);
    netrt_close(v->m);
    rt_free(v->made);
}

/* ---- files ---- */

static void safe_name(char *s) {
    for (; *s; s++)
        if (*s == '/' || *s == ' ' || (unsigned char)*s < 33)
            *s = '_';
}

static rt_made *remember(rt_viz *v, const char *name, const char *ext, const char *title,
                         const char *note) {
    static rt_made spill;
    rt_made *made = v->nmade < RT_MADE_MAX ? &v->made[v->nmade++] : &spill;
    char clean[200];
    snprintf(clean, sizeof clean, "%s", name);
    safe_name(clean);
    snprintf(made->path, sizeof made->path, "%.4000s/%s.%s", v->cli.out, clean, ext);
    snprintf(made->title, sizeof made->title, "%s", title);
    snprintf(made->note, sizeof made->note, "%s", note);
    return made;
}

int rt_viz_write(rt_viz *v, const rt_image *img, const char *name, const char *title,
                 const char *note, rt_error *err) {
    rt_made *made = remember(v, name, "png", title, note);
    if (rt_png_write(img, made->path, err) == 0)
        rt_note(&v->cli.progress, "%s  %d x %d  %s", made->path, img->width, img->height, note);
    return err->code;
}

/* A file of text; the list in the report says what it is by its ending. */
static int write_text(rt_viz *v, rt_text *t, const char *name, const char *ext, const char *title,
                      const char *note, rt_error *err) {
    rt_made *made = remember(v, name, ext, title, note);
    if (rt_text_ok(t, err) && rt_io_write_file(made->path, t->data, t->size, err) == 0)
        rt_note(&v->cli.progress, "%s", made->path);
    return err->code;
}

int rt_viz_write_text(rt_viz *v, rt_text *t, const char *name, const char *title, rt_error *err) {
    return write_text(v, t, name, "csv", title, "", err);
}

int rt_viz_write_svg(rt_viz *v, rt_text *t, const char *name, const char *title, const char *note,
                     rt_error *err) {
    return write_text(v, t, name, "svg", title, note, err);
}

const char *rt_viz_made(rt_viz *v, const char *name, const char *ext, const char *title,
                        const char *note) {
    return remember(v, name, ext, title, note)->path;
}

int rt_viz_write_raw(rt_viz *v, const float *x, int rank, const int64_t *dim, const char *name,
                     rt_error *err) {
    char clean[200], path[4400];
    snprintf(clean, sizeof clean, "%s", name);
    safe_name(clean);
    snprintf(path, sizeof path, "%.4000s/%s.npy", v->cli.out, clean);
    return rt_npy_write(path, rank, dim, x, err);
}

/* ---- lists on the command line ---- */

int rt_viz_next_layer(rt_viz *v, const char **list, int *seed, rt_error *err) {
    const char *from = *list;
    if (!from || !*from)
        return 0;
    size_t n = strcspn(from, ",");
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)(n < 255 ? n : 255), from);
    *list = from[n] ? from + n + 1 : from + n;
    *seed = rt_seed_find(v->cli.model, name);
    if (*seed >= 0)
        return 1;
    const rt_program *p = &v->cli.model->program[RT_LOOK];
    const char *words[256];
    int count = p->nseeds < 256 ? p->nseeds : 256;
    for (int i = 0; i < count; i++)
        words[i] = p->seed[i].label;
    const char *near = rt_nearest(name, words, count);
    char all[700] = "";
    for (int i = 0; i < count; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? " " : "", words[i]);
    rt_fail(err, NETRT_EUSAGE, "no layer is called '%s'%s%s%s\nhelp: layers are %s", name,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", all);
    return -1;
}

/* Reads "a" or "a-b" at *s. */
static int map_range(const char **s, long *lo, long *hi) {
    char *end;
    *lo = *hi = strtol(*s, &end, 10);
    if (end == *s || *lo < 0)
        return 0;
    if (*end == '-') {
        const char *second = end + 1;
        *hi = strtol(second, &end, 10);
        if (end == second || *hi < *lo)
            return 0;
    }
    if (*end != 0 && *end != ',')
        return 0;
    *s = *end ? end + 1 : end;
    return 1;
}

int rt_viz_check_maps(const rt_viz *v, rt_error *err) {
    long lo, hi;
    for (const char *s = v->maps; s && *s;)
        if (!map_range(&s, &lo, &hi))
            return rt_fail(err, NETRT_EUSAGE, "--maps=%s cannot be read\nhelp: numbers and ranges, as in 0,3,8-15",
                           v->maps);
    return NETRT_OK;
}

int rt_viz_wants_map(const rt_viz *v, int64_t i) {
    long lo, hi;
    if (!v->maps || !*v->maps)
        return 1;
    for (const char *s = v->maps; *s && map_range(&s, &lo, &hi);)
        if (i >= lo && i <= hi)
            return 1;
    return 0;
}

int64_t rt_viz_count_maps(const rt_viz *v, int64_t count) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        n += rt_viz_wants_map(v, i);
    return n;
}

int rt_viz_score(const rt_viz *v, rt_error *err) {
    const rt_program *p = &v->cli.model->program[RT_LOOK];
    for (int i = 0; i < p->nseeds; i++)
        if (p->seed[i].tensor == p->output)
            return i;
    rt_fail(err, NETRT_EUSAGE, "%s has no score to look at\nhelp: name a layer with --layer",
            v->cli.model->name);
    return -1;
}

int rt_viz_conv_layers(const rt_viz *v, int *seed, int max) {
    const rt_model *model = v->m->model;
    int n = 0;
    for (int i = 0; i < model->program[RT_LOOK].nseeds && n < max; i++)
        for (int p = 0; p < model->nparams; p++)
            if (model->param[p].rank >= 3 && model->param[p].rank <= 5 &&
                !(model->param[p].flags & RT_PARAM_CONSTANT) && rt_seed_of_param(model, p) == i) {
                seed[n++] = i;
                break;
            }
    return n;
}

/* ---- verbs ---- */

/* Pictures are loaded more at a time than they are recorded: a large one then keeps no thread waiting
 * for long. */
static int64_t pictures_at_once(const rt_viz *v) {
    enum { MOST = 64 };
    int64_t bytes = (int64_t)sizeof(float), room = (int64_t)32 << 20;
    for (int s = 0; s < v->m->model->ninputs; s++)
        bytes += (int64_t)sizeof(float) * rt_input_count(v->m->model, s);
    int64_t n = room / bytes < MOST ? room / bytes : MOST;
    return v->look.cap < 2 || n < v->look.cap ? v->look.cap : n;
}

int rt_viz_feed(rt_viz *v, const char **operands, int n, rt_feed *feed, rt_error *err) {
    if (n > 1)
        return rt_fail(err, NETRT_EUSAGE, "one picture or folder at a time\nhelp: put several into a folder");
    if (n == 1)
        v->cli.data = operands[0];
    if (rt_cli_data(&v->cli, 1, 0, &v->cli.ds, err))
        return err->code;
    rt_cli_class_names(v->m, v->cli.ds);
    /* scans come back to pictures that they have decoded before */
    size_t cache = v->look.cap > 1 ? (size_t)64 << 20 : 0;
    return rt_feed_open(feed, v->m, v->cli.ds, pictures_at_once(v), cache, 0, err);
}

int rt_viz_feed_many(rt_viz *v, const char **operands, int n, rt_feed *feed, rt_error *err) {
    if (n < 2)
        return rt_viz_feed(v, operands, n, feed, err);
    if (rt_data_open_files(operands, n, &v->cli.ds, err))
        return err->code;
    return rt_feed_open(feed, v->m, v->cli.ds, v->look.cap, 0, 0, err);
}

void rt_viz_feed_close(rt_viz *v, rt_feed *feed) {
    if (feed->m)
        rt_feed_close(feed);
    if (v->cli.ds)
        rt_data_close(v->cli.ds);
    v->cli.ds = NULL;
}

static int check_sample(const rt_viz *v, rt_error *err) {
    int64_t count = rt_data_count(v->cli.ds);
    if (v->sample >= count)
        return rt_fail(err, NETRT_EUSAGE, "there is no image %lld\nhelp: the data has images 0 to %lld",
                       (long long)v->sample, (long long)count - 1);
    return NETRT_OK;
}

static int run_activations(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_feed feed = {0};
    if (rt_viz_open(v, 0, err) == 0 && rt_viz_feed(v, operands, n, &feed, err) == 0 &&
        check_sample(v, err) == 0)
        rt_viz_activations(v, &feed, v->sample < 0 ? 0 : v->sample, err);
    rt_viz_feed_close(v, &feed);
    return err->code;
}

int rt_viz_record(rt_viz *v, rt_feed *feed, int64_t at, rt_error *err) {
    if (rt_feed_load(feed, &at, 1, -1, rt_cli_skipped, &v->cli) != 1)
        return rt_fail(err, NETRT_EDATA, "the picture cannot be read");
    return rt_look_record(&v->look, 1, err);
}

int rt_viz_one(rt_viz *v, rt_feed *feed, int64_t *at, rt_error *err) {
    if (check_sample(v, err))
        return err->code;
    *at = v->sample < 0 ? 0 : v->sample;
    return rt_viz_record(v, feed, *at, err);
}

/* The look program ends at the score: softmax is made here where the network declares one. */
int rt_viz_answer(const rt_viz *v, int64_t image, float *out) {
    const rt_model *model = v->m->model;
    const rt_program *look = &model->program[RT_LOOK], *full = &model->program[RT_FORWARD];
    if (look->output < 0 || model->classes < 2 ||
        rt_tensor_count(&look->tensor[look->output]) != model->classes)
        return 0;
    rt_tensor_read(v->m, RT_LOOK, look->output, image, out);
    if (full->prob < 0 || strcmp(full->tensor[full->prob].op, "softmax") != 0)
        return 1;
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < model->classes; i++)
        top = (double)out[i] > top ? (double)out[i] : top;
    for (int64_t i = 0; i < model->classes; i++)
        sum += exp((double)out[i] - top);
    for (int64_t i = 0; i < model->classes; i++)
        out[i] = (float)(exp((double)out[i] - top) / sum);
    return 1;
}

void rt_viz_sample_name(const rt_feed *feed, int64_t at, char *name, size_t size) {
    char raw[256];
    rt_data_name(feed->ds, at, raw, sizeof raw);
    const char *slash = strrchr(raw, '/');
    rt_clean_name(name, size, slash && slash[1] ? slash + 1 : raw);
}

/* One picture, or every picture of a folder named on the command line. */
static int run_project(rt_viz *v, const char **operands, int n, int rule, rt_error *err) {
    rt_feed feed = {0};
    if (rt_viz_open(v, 0, err) == 0 && rt_viz_feed(v, operands, n, &feed, err) == 0 &&
        check_sample(v, err) == 0) {
        int64_t first = v->sample < 0 ? 0 : v->sample;
        int64_t last = n && v->sample < 0 ? rt_data_count(v->cli.ds) - 1 : first;
        for (int64_t i = first; i <= last && !err->code; i++)
            if (rt_cli_signal)
                rt_fail(err, 128 + rt_cli_signal, "stopped");
            else
                rt_viz_saliency(v, &feed, i, rule, err);
    }
    rt_viz_feed_close(v, &feed);
    return err->code;
}

static int run_saliency(rt_viz *v, const char **operands, int n, rt_error *err) {
    return run_project(v, operands, n, RT_RULE_GRADIENT, err);
}

static int run_guided(rt_viz *v, const char **operands, int n, rt_error *err) {
    return run_project(v, operands, n, RT_RULE_GUIDED, err);
}

static const rt_technique
    activations = {{"activations", "what every map answers to one picture", "[OPTIONS] [PICTURE]",
                    "activations cat.jpg\nactivations --image=7 --layer=conv1"},
                   run_activations, NULL, 0},
    guided = {{"guided", "guided backpropagation to one picture", "[OPTIONS] [PICTURE]",
               "guided cat.jpg\nguided --image=7 --class=3"},
              run_guided, NULL, 0},
    saliency = {{"saliency", "largest gradient of the score per pixel", "[OPTIONS] [PICTURE]",
                 "saliency cat.jpg\nsaliency --image=7 --class=3"},
                run_saliency, NULL, 0};

/* In the order of the overview. */
static const rt_technique *const techniques[] = {
    &rt_technique_diagram,
    &rt_technique_filters,
    &activations,
    &rt_technique_field,
    &rt_technique_deconv,
    &guided,
    &saliency,
    &rt_technique_smoothgrad,
    &rt_technique_integrated,
    &rt_technique_gradxinput,
    &rt_technique_lrp,
    &rt_technique_gradcam,
    &rt_technique_occlude,
    &rt_technique_embed,
    &rt_technique_confusion,
    &rt_technique_errors,
    &rt_technique_collapse,
    &rt_technique_fold,
    &rt_technique_correspondence,
    &rt_technique_invariance,
    &rt_technique_evolution,
    &rt_technique_diagnose,
    &rt_technique_maximize,
    &rt_technique_invert,
    &rt_technique_dream,
    &rt_technique_fool,
    &rt_technique_fgsm,
    &rt_technique_pgd,
    &rt_technique_cue,
    &rt_technique_texture,
    &rt_technique_style,
    &rt_technique_all,
    &rt_technique_report,
    &rt_technique_serve,
};
enum { TECHNIQUES = sizeof techniques / sizeof *techniques };
_Static_assert((int)TECHNIQUES <= (int)RT_VIZ_VERBS, "room for the verbs");

const rt_technique *rt_viz_technique(const char *verb) {
    for (int i = 0; i < TECHNIQUES; i++)
        if (strcmp(verb, techniques[i]->help.name) == 0)
            return techniques[i];
    return NULL;
}

int rt_viz_verbs(const char *word[RT_VIZ_VERBS]) {
    for (int i = 0; i < TECHNIQUES; i++)
        word[i] = techniques[i]->help.name;
    return TECHNIQUES;
}

static void overview(FILE *out, const rt_viz *v) {
    fprintf(out, "Shows what %s (%s) has learned.\n\n", v->cli.model->name, v->cli.model->spec_file);
    fprintf(out, "Examples:\n  %s report\n  %s saliency picture.png\n\nVerbs:\n", v->cli.program,
            v->cli.program);
    for (int i = 0; i < TECHNIQUES; i++)
        fprintf(out, "  %-15s %s\n", techniques[i]->help.name, techniques[i]->help.summary);
    fprintf(out, "\n%s VERB --help tells more.\n"
                 "Exit codes: 0 done, 1 partly, 2 usage, 4 bad data, 5 file system, 6 limits,\n"
                 "70 a mistake of ours, 130 interrupted.\n", v->cli.program);
}

int rt_viz_args(rt_viz *v, const rt_technique *t, rt_arg table[RT_VIZ_ARGS]) {
    const rt_arg common[] = {
        RT_OPT_WEIGHTS(&v->cli),
        RT_OPT_DATA(&v->cli, "pictures to use (default: the spec's test data)"),
        {"out", 'o', RT_ARG_TEXT, "DIR", &v->cli.out, 0, 0, "where files go (default: out)"},
        {"layer", 'l', RT_ARG_TEXT, "NAMES", &v->layers, 0, 0, "layers, separated by commas"},
        {"maps", 'm', RT_ARG_TEXT, "LIST", &v->maps, 0, 0, "maps to show: 0,3,8-15 (default: all)"},
        {"image", 'i', RT_ARG_INT, "N", &v->sample, 0, INT64_MAX, "number of the image in the data"},
        {"class", 'c', RT_ARG_INT, "N", &v->target, 0, INT64_MAX,
         "class to explain (default: the one predicted)"},
        {"limit", 0, RT_ARG_INT, "N", &v->limit, 1, INT64_MAX,
         "scan only the first N images (default: all)"},
        RT_OPT_PARTIAL(&v->cli), RT_OPT_MAP(&v->cli),
        RT_OPT_THREADS(&v->cli), RT_OPT_BATCH(&v->cli),
        RT_OPT_SEED(&v->cli), RT_OPT_QUIET(&v->cli), RT_OPT_PROGRESS(&v->cli),
    };
    enum { COMMON = sizeof common / sizeof *common };
    int nargs = COMMON;
    memcpy(table, common, sizeof common);
    for (int i = 0; i < t->nargs && nargs < RT_VIZ_ARGS; i++)
        table[nargs++] = t->arg[i];
    return nargs;
}

/* What --help adds, common to all failures of a kind. */
static void advise(rt_error *err) {
    if (err->code == NETRT_EIO)
        rt_advise(err, "make room, or name another folder with --out");
    if (err->code == NETRT_ELIMIT)
        rt_advise(err, "a smaller --batch, fewer --layer or --maps need less");
    if (err->code == NETRT_EDATA)
        rt_advise(err, "name another picture or other data");
}

/* *help: 1 if --help was there, and nothing was run. */
static int run_parsed(rt_viz *v, const rt_technique *t, int argc, char **argv, int *help,
                      rt_error *err) {
    rt_arg table[RT_VIZ_ARGS];
    int nargs = rt_viz_args(v, t, table), n = 0;
    const char **operands = calloc((size_t)argc + 1, sizeof *operands);
    *help = 0;
    if (!operands)
        return rt_fail(err, NETRT_ELIMIT, "out of memory");
    if (rt_args_parse(table, nargs, argc, argv, operands, &n, help, err))
        rt_advise(err, "%s %s --help lists the options", v->cli.program, t->help.name);
    rt_progress_start(&v->cli.progress, v->cli.progress_kind, v->cli.quiet);
    if (!err->code && *help)
        rt_args_help(stdout, v->cli.program, &t->help, table, nargs);
    else if (!err->code && rt_viz_check_maps(v, err) == 0)
        t->run(v, operands, n, err);
    advise(err);
    free((void *)operands);
    return err->code;
}

int rt_viz_run(rt_viz *v, const rt_technique *t, int argc, char **argv, rt_error *err) {
    int help;
    return run_parsed(v, t, argc, argv, &help, err);
}

static int run_verb(rt_viz *v, const rt_technique *t, int argc, char **argv) {
    rt_error err = {0};
    int help;
    run_parsed(v, t, argc, argv, &help, &err);
    int code = err.code ? rt_report(&v->cli.progress, &err)
                        : v->cli.skipped ? NETRT_EPARTIAL : NETRT_OK;
    rt_viz_close(v);
    return code;
}

int netrt_viz_main(const rt_model *model, int argc, char **argv) {
    rt_viz v = {.sample = -1, .target = -1};
    rt_cli_start(&v.cli, model, argc > 0 ? argv[0] : NULL);
    v.cli.out = "out";
    rt_cli_catch();
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        overview(argc < 2 ? stderr : stdout, &v);
        return argc < 2 ? NETRT_EUSAGE : NETRT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("%s-viz (netc %s, %s, spec %s)\n", model->name, model->version, model->target,
               model->spec_hash);
        return NETRT_OK;
    }
    const rt_technique *t = rt_viz_technique(argv[1]);
    if (t)
        return run_verb(&v, t, argc - 2, argv + 2);
    const char *words[RT_VIZ_VERBS];
    const char *near = rt_nearest(argv[1], words, rt_viz_verbs(words));
    fprintf(stderr, "error: unknown verb '%s'%s%s%s\nhelp: %s --help lists the verbs\n", argv[1],
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", v.cli.program);
    return NETRT_EUSAGE;
}
