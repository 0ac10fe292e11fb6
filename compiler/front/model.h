/* model.h: what the front end hands to the rest of netc: one network, checked and expanded.
 *
 * A Model holds three graphs over one parameter list (forward, train, look), the facts that reverse
 * mode needs, and the settings of the data, train, predict and visualize sections.
 *
 * requires: an AST without syntax errors.  ensures: every user error of the spec has been reported;
 * a Model is returned only when there was none.  All text and arrays live in the arena given.
 */
#ifndef FRONT_MODEL_H
#define FRONT_MODEL_H

#include "base/arena.h"
#include "base/diag.h"
#include "front/ast.h"
#include "ir/graph.h"
#include "passes/passes.h"
#include "rt_abi.h"

typedef struct ModelDefine {
    const char *name, *value; /* -D fc=2048: a formal or const of the net, an expression */
} ModelDefine;

typedef struct ModelOptions {
    const char *net;     /* "VGG16" or "Table3.no34"; NULL: the only net nobody extends */
    const char *variant; /* "Table3.no34" or "no34" */
    const ModelDefine *define;
    int ndefine;
    Sources *sources;   /* for the spec's text and hash, and for -D values */
    bool strict_shapes; /* discarded input cells are errors */
    bool forward_only;  /* check, describe: skip the train and look graphs */
    bool no_train;      /* --weights=bf16: skip the train graph */
} ModelOptions;

enum { MODEL_FORWARD, MODEL_TRAIN, MODEL_LOOK, MODEL_CURVATURE, MODEL_ATTACK, MODEL_MODES };
/* Layers work as in training, and losses exist. */
static inline bool mode_trains(int mode) {
    return mode == MODEL_TRAIN || mode == MODEL_CURVATURE || mode == MODEL_ATTACK;
}

/* Receptive field on the first image: extent, distance of neighbours, and the image coordinate
 * where the first cell's field begins (negative: in the padding).  h, w. */
typedef struct Field {
    int64_t size[2], jump[2], start[2];
    bool all; /* behind a dense layer: the whole image */
} Field;

typedef struct ModelLayer { /* one row of `netc describe` */
    const char *label;      /* "c1"; rows of one label follow each other */
    const char *op;         /* "conv" */
    const char *detail;     /* "conv 5x5/2 + relu" */
    bool follows;           /* not the first row of its label */
    Shape out;
    bool line;      /* a sequence: out without its row is what a spec says */
    int64_t params; /* trainable or frozen numbers, missing links not counted */
    int64_t trainable;
    double macs; /* per image; 0 for layers without weights */
    const int *in; /* rows that it reads, each once; -1 - k: input k */
    int nin;
    Field field;
    LocRange loc;
} ModelLayer;

typedef struct ModelInput {
    const char *name;
    Shape shape;
    bool line; /* a sequence f32[C, L]; shape is [C, 1, L] */
    rt_input_spec prep;
} ModelInput;

typedef struct ModelLabel { /* class[10] */
    const char *name;
    int64_t classes;
} ModelLabel;

/* visualize { d: deconv([conv2, conv3], limit = 100) } as a command line of NAME-viz. */
typedef struct ModelJob {
    const char *name;
    const char *const *arg; /* "deconv", "--layer=conv2,conv3", "--limit=100" */
    int nargs;
    LocRange loc;
} ModelJob;

typedef struct ModelSeed { /* look: a layer from which a projection can start */
    const char *label;
    ValueId value;
    Field field;
    int parts; /* bits 1 << OpPart of the statement's operations, RT_PART_SIGNED */
    int base;  /* index of the seed whose weighted sums this one is, -1 */
    bool leads; /* to the score of the first output */
} ModelSeed;

/* `output prob = softmax(f6), features = f5`: the first says what classes and metrics speak of. */
enum { OUTPUTS_MAX = RT_MAX_OUTPUTS };
typedef struct ModelOutput {
    const char *name;
    Shape shape;        /* as a spec says it: a sequence without its row */
    bool softmax;       /* the value is the softmax of the score */
    bool smallest_wins; /* argmin(..) */
    bool judged;        /* a loss compares its score with a class label */
    bool measured;      /* that, or a metric: forward keeps the score */
    ValueId value[MODEL_MODES], score[MODEL_MODES];
} ModelOutput;

typedef struct ModelGraph {
    Graph *graph;  /* NULL: absent (no loss: no train graph) */
    ValueId image; /* the load_input result */
    ValueId score; /* the value that the softmax or argmin is taken of */
    ValueId prob;  /* the declared output when it is a softmax, else 0 */
    ValueId loss[8];
    const char *loss_name[8]; /* "ce" */
    int nlosses;
    ModelSeed *seed; /* look only */
    int nseeds;
} ModelGraph;

typedef struct Model {
    const char *name;      /* "LeNet5", "ZF.no34" */
    const char *spec_file; /* as given */
    const char *spec_text; /* the main file's text */
    char hash[33];         /* of all source text, net, variant and overrides */
    ParamList params;
    ModelGraph mode[MODEL_MODES];

    ModelInput *input;
    int ninputs;
    ModelLabel *label;
    int nlabels;
    int64_t label_cells;     /* numbers of a label: 1, or a class per pixel */
    int64_t classes;         /* of the predicted output (0: not a classifier) */
    bool smallest_wins;      /* the class is the argmin of the score */
    const char *output_name; /* "prob" */
    ModelOutput output[OUTPUTS_MAX];
    int noutputs;

    ModelLayer *layer;
    int nlayers;
    int64_t trainable, frozen; /* counts of numbers */
    double macs;

    rt_train_spec train;
    bool nesterov, has_train, has_data;
    rt_metric *metric;
    int nmetrics;
    ModelJob *job;
    int njobs;
    const char **variants; /* "Table3.base", ... of this net */
    int nvariants;
} Model;

/* The network of the file, or NULL after errors were reported to `diag`. */
Model *model_build(Arena *arena, DiagCtx *diag, Ast *file, const ModelOptions *options);

/* Names one can pass as ModelOptions.net: nets first, then "V.variant"; returns their number. */
int model_names(Arena *arena, Ast *file, const char ***names);

/* Facts for the passes of one mode; ctx->target, tmp and the debugging fields stay the caller's. */
void model_pass_ctx(const Model *m, int mode, PassCtx *ctx);

/* The layer table (experience: # layer op output params MACs field jump), or its JSON form. */
void model_describe(const Model *m, FILE *out);
void model_describe_json(const Model *m, FILE *out);

#endif
