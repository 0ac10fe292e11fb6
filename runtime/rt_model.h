/* rt_model.h: the inside of a netrt, for the files of the runtime (training, reports,
 * visualization).  Callers outside use netrt.h.
 *
 * A netrt owns the parameters in kernel layout, the optimizer state, and per program an activation
 * slab (sized for `cap` images) and a fixed slab.  Slabs appear when a program is first asked for;
 * forward and train share one activation slab (they never need it at the same time), look has its
 * own, so a recorded image survives a forward run.  A steady step allocates nothing.
 */
#ifndef RT_MODEL_H
#define RT_MODEL_H

#include <stddef.h>

#include "netrt.h"
#include "rt_image.h"

enum { RT_FORWARD, RT_TRAIN, RT_LOOK, RT_CURVATURE, RT_ATTACK, RT_PROGRAMS };

typedef struct rt_space {
    char *fix;
    size_t fix_size;
    uint64_t prepared; /* param_version for which "prepare" has run */
    int64_t need, need_cap; /* bytes of the slab for need_cap images */
} rt_space;

/* Called after each kernel while observing (bench); seconds spent in it, all threads. */
typedef void (*rt_observer)(void *context, int kernel, double seconds);

struct netrt {
    const rt_model *model;
    int threads;
    int64_t cap;
    uint64_t seed;
    char *param, *state;
    uint64_t param_version; /* grows whenever parameters change; starts at 1 */
    uint64_t init_version;  /* while equal to it, parameters are the initial ones of init_seed ... */
    uint64_t init_seed;     /* ... and can be made again instead of being kept */
    char *act[2];           /* [0] forward and train, [1] look */
    size_t act_size[2];
    int64_t act_cap[2]; /* images each slab has room for */
    rt_space space[RT_PROGRAMS];
    rt_frame frame; /* input, label, scalars, seed, step: set before a run */
    double lr, momentum, decay; /* rates: rt_optim.h */
    const char *skip;           /* loading: names that keep their values, "fc8*,c1.bias", or NULL */
    const char *rename;         /* loading: "old.* -> new.*, ..", or NULL */
    double second, clip;        /* rt_train_spec: second; clip_at, none: infinite */
    int32_t *no_label; /* zeros for runs without labels: losses are computed all the same */
    int64_t no_label_size;
    double *filter;       /* a number per filter of the widest parameter: rt_optim.c */
    float *logical;       /* room for the largest parameter under a constraint */
    struct rt_mask *mask; /* of each parameter, or NULL: rt_mask.h */
    struct rt_attack *attack; /* adversarial training: rt_attack.h; made by its first step */
    const float *input1;      /* what a net with one input finds as its second: changed pictures of
                                 trades, its targets; NULL: the first */
    const float *clean;       /* frame.input[0] while a step reads changed pictures */
    const volatile int *stop; /* a signal that asks to end long steps, or NULL */
    struct rt_turn *turn; /* task counters of rt_run.c */
    rt_observer observer;
    void *observer_context;
    float *data_mean;   /* mean of every pixel of input 0, in the scale of `pixels`; or NULL */
    char **class_names; /* from the weights file or the data, classes entries or NULL */
};

/* netrt_open without initial weights: the caller loads a whole set of them next. */
int rt_open_bare(const rt_model *model, const netrt_options *options, netrt **out, rt_error *err);

/* Makes sure that program can run with up to cap images (0: m->cap).  EUSAGE: the model has no such
 * program.  Existing contents of the slab are lost when it must grow. */
int rt_program_ready(netrt *m, int program, int64_t cap, rt_error *err);

/* Runs the kernels of an entry for n images, 1 <= n <= capacity; n applies to frame.input, labels
 * and ACT tensors.  first_kernel: -1 = the entry's first, else an index into program.kernel inside
 * the entry (rt_seed.rule[].first).  Before it, the program's "prepare" entry runs if parameters
 * changed since.  Inputs are taken from m->frame.input / label (label NULL: class 0 for all).
 * EUSAGE: no such program or entry (the text gives program.refused when that is why).
 * (netrt_run is the name used in the contract between runtime files.) */
int netrt_run(netrt *m, int program, const char *entry, int first_kernel, int64_t n, rt_error *err);
/* The same up to, not including, kernel `end` (-1: all); what follows can be run by a later call, with
 * tensors changed in between. */
int rt_run_part(netrt *m, int program, const char *entry, int first_kernel, int end, int64_t n,
                rt_error *err);

const rt_entry *rt_find_entry(const rt_program *p, const char *name); /* NULL: absent */
/* The same for n images: "forward" of a small network has a form for few of them. */
const rt_entry *rt_entry_for(const rt_program *p, const char *name, int64_t n);
int rt_find_tensor(const rt_program *p, const char *name);            /* index, -1 */
int rt_find_label(const rt_program *p, const char *label);            /* first with it, -1 */
int rt_find_param(const rt_model *model, const char *name);           /* index, -1 */

/* Inspectable tensors of a program that is ready.  image: index in the batch (FIX tensors: 0).
 * Logical order, rt_tensor_count() numbers. */
int64_t rt_tensor_count(const rt_tensor *t); /* of all frames: [channels][frames][height][width] */
int64_t rt_tensor_frames(const rt_tensor *t);
void *rt_tensor_at(const netrt *m, int program, int tensor, int64_t image);
void rt_tensor_read(const netrt *m, int program, int tensor, int64_t image, float *logical);
void rt_tensor_write(netrt *m, int program, int tensor, int64_t image, const float *logical);
void rt_tensor_zero(netrt *m, int program, int tensor, int64_t images);
void rt_tensor_zero_image(netrt *m, int program, int tensor, int64_t image);

/* Parameters in logical order, rt_param_count() numbers; state: number `which` of those that the
 * optimizer keeps per weight (rt_optim.h). */
int64_t rt_param_count(const rt_param *p);
void rt_param_read(const netrt *m, int param, float *logical);
void rt_param_write(netrt *m, int param, const float *logical); /* param_version grows */
void rt_state_read(const netrt *m, int param, int which, float *logical);
void rt_state_write(netrt *m, int param, int which, const float *logical);
/* Parts of a parameter: rows first .. first + n - 1 of its outermost dimension (rt_param_rows() of
 * them; one for rank 0), rt_param_count / rt_param_rows numbers each.  Large parameters are read,
 * written, saved and loaded in parts, so that no second copy of them is ever in memory.
 * rt_param_part: rows per part that keep a part near 1 MB; rt_part_room: numbers in the largest
 * part of any parameter. */
enum { RT_PART_FLOATS = 1 << 18 };
int64_t rt_param_rows(const rt_param *p);
int64_t rt_param_part(const rt_param *p);
int64_t rt_part_room(const rt_model *model);
/* Rows first .. first + n - 1 between the kernels' layout (and number format) and plain floats. */
void rt_param_unpack(const rt_param *p, const void *physical, float *rows, int64_t first,
                     int64_t n, int threads);
void rt_param_pack(const rt_param *p, const float *rows, void *physical, int64_t first, int64_t n,
                   int threads);

int rt_param_saved(const rt_param *p);   /* 0 for masks and other constants */
int rt_param_trained(const rt_param *p); /* has optimizer state */

/* Initial weights from (seed, index among saved parameters, element in logical order); rt_init.c */
int rt_init_params(netrt *m, uint64_t seed, rt_error *err);
/* Only what no weights file holds; the caller loads one next. */
int rt_init_constants(netrt *m, uint64_t seed, rt_error *err);
void rt_init_with(netrt *m, uint64_t seed, float *room); /* room: rt_part_room() numbers */
/* w: rows of a parameter from row first on; zeros where a connection does not exist. */
void rt_clear_missing(const rt_param *p, float *w, int64_t first, int64_t rows);

/* Mean over n images of the sum of the program's losses, after a run; and per image (or NULL). */
double rt_losses(const netrt *m, int program, int64_t n, double *per_image);
/* The sum over n images of the program's loss number k, and what it is called ("ce"). */
double rt_loss_part(const netrt *m, int program, int64_t n, int k);
const char *rt_loss_name(const rt_model *model, int program, int k);
/* Scores / declared output of n images after a run, n * classes floats. */
int rt_scores(const netrt *m, int program, int64_t n, float *scores);
int rt_probs(const netrt *m, int program, int64_t n, float *probs);
/* Class predicted from one row of scores; rank (0 = best) of class c, ties count against it. */
int64_t rt_best(const rt_model *model, const float *scores);
int64_t rt_rank(const rt_model *model, const float *scores, int64_t c);
/* The same of any n numbers. */
int64_t rt_best_of(const float *scores, int64_t n, int smallest_wins);
int64_t rt_rank_of(const float *scores, int64_t n, int smallest_wins, int64_t c);
/* Is the net judged by the classes of its score?  One whose losses read no class is not. */
static inline int rt_judged(const rt_model *m) {
    return m->classes > 0 && (m->label_classes > 0 || m->program[RT_FORWARD].nlosses == 0);
}
/* Do its losses or its judgement need the samples' classes? */
static inline int rt_wants_labels(const rt_model *m) {
    return rt_judged(m) || m->label_classes > 0;
}
/* How many classes labels may have. */
static inline int64_t rt_known_classes(const rt_model *m) {
    return m->label_classes > 0 ? m->label_classes : m->classes;
}
/* The k best classes of one image, best first (k <= classes). */
void rt_top(const rt_model *model, const float *scores, int64_t k, int64_t *classes);
/* The k best of n numbers (k <= n). */
void rt_top_of(const float *scores, int64_t n, int smallest_wins, int64_t k, int64_t *classes);

/* Nets that classify every pixel, after a run on n images whose labels are map (n * label_cells):
 * adds the pixels that count and those that are wrong, and to confusion (classes * classes, or NULL). */
typedef struct rt_cells {
    int64_t counted, wrong;
} rt_cells;
int rt_cells_count(const netrt *m, int program, int64_t n, const int32_t *map, rt_cells *sum,
                    int64_t *confusion, rt_error *err);
/* Mean over the classes that occur of right / (right + missed + wrongly found). */
double rt_cells_iu(const int64_t *confusion, int64_t classes);

/* One optimizer step on frame.input / frame.label with m->lr, momentum, decay and frame.step, then
 * constraints.  *loss as in netrt_step, not checked. */
int rt_step(netrt *m, int64_t n, double *loss, rt_error *err);
/* sdlm: adds n images to the curvatures, which are means over `before` images so far. */
int rt_curvature(netrt *m, int64_t n, int64_t before, rt_error *err);

/* Name of the first tensor or parameter (program order) that holds NaN or infinity: 1 and text in
 * buf ("gradient of layer c1"), else 0. */
int rt_find_nonfinite(netrt *m, int program, int64_t n, char *buf, size_t size);
int rt_params_finite(const netrt *m, int64_t first, int64_t count); /* floats of the pool */

/* How pictures become input slot `slot`. */
void rt_input_prep(const rt_model *model, int slot, struct rt_prep *prep);
int64_t rt_input_count(const rt_model *model, int slot); /* c * h * w */

/* rt_weights.c */
int rt_weights_load(netrt *m, const char *path, int flags, int *loaded, rt_error *err);
void rt_set_class_names(netrt *m, char **names, int64_t count); /* copies; NULL clears */

#endif
