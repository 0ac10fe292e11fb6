/* rt_viz.h: what the verbs of NAME-viz share (rt_viz.c, rt_maps.c, rt_deconv.c, rt_saliency.c,
 * rt_report.c).  A technique writes PNG sheets and a CSV into a folder and names them in a list,
 * from which the report is made.
 */
#ifndef RT_VIZ_H
#define RT_VIZ_H

#include "rt_canvas.h"
#include "rt_look.h"
#include "rt_sheet.h"

/* One file written, in the order of writing. */
typedef struct rt_made {
    char path[4400];
    char title[160];
    char note[400];   /* how to read it: scale, range, counts */
} rt_made;
enum { RT_MADE_MAX = 2048 };

typedef struct rt_viz {
    rt_cli cli;
    netrt *m;
    rt_look look;
    int look_open;
    struct rt_prep prep;    /* of input slot 0 */
    int64_t limit;          /* samples to scan, 0 = all */
    const char *layers;     /* "conv1,conv2", NULL: the technique's default */
    const char *maps;       /* "0,3,8-15" or NULL: all */
    int64_t sample;         /* which sample of the data when no picture is named, -1: the first */
    int64_t target;         /* class to look at, -1: the predicted one */
    int no_files;           /* 1: nothing is written, so no folder is asked for */
    rt_made *made;
    int nmade;
} rt_viz;

/* A technique: a verb, options of its own beside the common ones, and what it does.  The row in
 * rt_viz.c is all that the program needs to know about it. */
typedef struct rt_technique {
    rt_verb help;
    int (*run)(rt_viz *v, const char **operands, int n, rt_error *err);
    const rt_arg *arg;
    int nargs;
} rt_technique;
extern const rt_technique rt_technique_confusion, rt_technique_errors, rt_technique_collapse,
    rt_technique_fold;
extern const rt_technique rt_technique_embed, rt_technique_deconv, rt_technique_lrp, rt_technique_field;
extern const rt_technique rt_technique_filters, rt_technique_correspondence,
    rt_technique_invariance, rt_technique_evolution, rt_technique_diagnose;
extern const rt_technique rt_technique_all, rt_technique_report, rt_technique_serve, rt_technique_smoothgrad,
    rt_technique_integrated, rt_technique_gradxinput, rt_technique_gradcam, rt_technique_occlude,
    rt_technique_maximize, rt_technique_fool, rt_technique_fgsm, rt_technique_pgd,
    rt_technique_style, rt_technique_texture;
extern const rt_technique rt_technique_diagram, rt_technique_invert, rt_technique_dream, rt_technique_cue;

/* The table of techniques: one by its verb (NULL: none), the verbs, the options of one (the common
 * ones first; returns how many). */
enum { RT_VIZ_VERBS = 64, RT_VIZ_ARGS = 64 };
const rt_technique *rt_viz_technique(const char *verb);
int rt_viz_verbs(const char *word[RT_VIZ_VERBS]);
int rt_viz_args(rt_viz *v, const rt_technique *t, rt_arg table[RT_VIZ_ARGS]);
/* Verb `at` and its options, for the compiler, which checks visualize sections by them; -1: none. */
int rt_viz_words(const char **verb, rt_arg table[RT_VIZ_ARGS], int at);
/* Parses what stands behind a verb and runs it; v is still to be closed. */
int rt_viz_run(rt_viz *v, const rt_technique *t, int argc, char **argv, rt_error *err);

/* Opens network, weights and look program once.  many: for scans, as many images at a time as fit
 * into a quarter of a gigabyte, at least 4 and at most 64; else one. */
int rt_viz_open(rt_viz *v, int many, rt_error *err);
int rt_viz_folder(rt_viz *v, rt_error *err); /* the output folder alone, for what needs no weights */
void rt_viz_close(rt_viz *v);

/* The pictures to work on: operands (a file or folder), else --data, else the spec's test data;
 * cap: images at a time, which may be more than look.cap.  Closing is allowed whatever opening said. */
int rt_viz_feed(rt_viz *v, const char **operands, int n, rt_feed *feed, rt_error *err);
void rt_viz_feed_close(rt_viz *v, rt_feed *feed);
/* Several picture files, or one file or folder, or what rt_viz_feed takes. */
int rt_viz_feed_many(rt_viz *v, const char **operands, int n, rt_feed *feed, rt_error *err);
/* Loads sample `at`, unchanged, and records it. */
int rt_viz_record(rt_viz *v, rt_feed *feed, int64_t at, rt_error *err);
/* The same for picture --image (default: the first): *at is its number. */
int rt_viz_one(rt_viz *v, rt_feed *feed, int64_t *at, rt_error *err);
/* Name of a sample without its folder, fit for a caption. */
void rt_viz_sample_name(const rt_feed *feed, int64_t at, char *name, size_t size);
/* "cat.jpg, class 3 (cat), score 12.5": the unit chosen, in words; n bytes of room. */
void rt_viz_describe(const rt_viz *v, const rt_feed *feed, int64_t at, int seed, rt_unit u,
                     float value, char *what, size_t n);
/* Probabilities of recorded image `image`, or the scores where the network declares none; 0: the
 * network has no classes.  out: model->classes numbers. */
int rt_viz_answer(const rt_viz *v, int64_t image, float *out);
/* What to explain about the picture just recorded: of --layer the strongest unit of the --maps, else
 * --class, else the class predicted. */
int rt_viz_unit(rt_viz *v, int *seed, rt_unit *unit, float *value, rt_error *err);

/* Input number i where a picture is covered: pixel `fill`, or, below 0, the one that the network reads
 * as 0 (the nearest).  rt_viz_cover: the same all over a rectangle, cut at the borders. */
float rt_viz_grey(const struct rt_prep *prep, double fill, int64_t i);
void rt_viz_cover(const struct rt_prep *prep, double fill, rt_rect r, float *image);

/* The part r of a picture as a square tile (outside: mid-grey): small ones by whole factors, large
 * ones by antialiased reduction.  part: room. */
int rt_viz_patch(rt_image *out, rt_image *part, const rt_image *img, rt_rect r, int side,
                 rt_error *err);
/* Writes img as DIR/name.png and remembers it. */
int rt_viz_write(rt_viz *v, const rt_image *img, const char *name, const char *title,
                 const char *note, rt_error *err);
/* The same of text: a table (.csv), a plot (.svg). */
int rt_viz_write_text(rt_viz *v, rt_text *t, const char *name, const char *title, rt_error *err);
int rt_viz_write_svg(rt_viz *v, rt_text *t, const char *name, const char *title, const char *note,
                     rt_error *err);
/* Remembers DIR/name.ext, which the caller writes, and gives its path (until the next call). */
const char *rt_viz_made(rt_viz *v, const char *name, const char *ext, const char *title,
                        const char *note);
/* The numbers behind a sheet as DIR/name.npy, row-major. */
int rt_viz_write_raw(rt_viz *v, const float *x, int rank, const int64_t *dim, const char *name,
                     rt_error *err);

/* The next layer of a comma separated list: 1 and the seed index, 0 at the end, -1 unknown. */
int rt_viz_next_layer(rt_viz *v, const char **list, int *seed, rt_error *err);
/* The layer that holds the score, -1 and a text without one. */
int rt_viz_score(const rt_viz *v, rt_error *err);
/* Is `label` in the comma separated list?  A NULL list has everything. */
int rt_viz_listed(const char *list, const char *label);
/* Is map `i` among v->maps?  Of how many maps of `count` is it so? */
int rt_viz_wants_map(const rt_viz *v, int64_t i);
int64_t rt_viz_count_maps(const rt_viz *v, int64_t count);
int rt_viz_check_maps(const rt_viz *v, rt_error *err);
/* Layers with height and width above 1 that something was computed for ("conv" ops): the default of
 * activations and deconv.  Returns how many, at most max. */
int rt_viz_conv_layers(const rt_viz *v, int *seed, int max);

/* Techniques.  Each may be called by its verb and by the report. */
int rt_viz_filters(rt_viz *v, rt_feed *feed, rt_error *err); /* feed: to scan for dead maps, or NULL */
int rt_viz_any_filters(const rt_viz *v); /* has it weights of convolutions to show? */
int rt_viz_activations(rt_viz *v, rt_feed *feed, int64_t at, rt_error *err);
int rt_viz_deconv(rt_viz *v, rt_feed *feed, int rule, const int *seed, int nseeds, rt_error *err);
int rt_viz_saliency(rt_viz *v, rt_feed *feed, int64_t at, int rule, rt_error *err);

#endif
