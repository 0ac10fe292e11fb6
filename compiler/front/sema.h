/* sema.h: what the files of semantic analysis share (private to compiler/front).
 *
 * Order of work:  sema_net.c picks the net and flattens extends, variants and edits into a list of
 * items;  expr.c evaluates static expressions;  sema_attrs.c checks a call's arguments against the
 * operator's attribute table;  build.c walks the items and makes nodes, once per mode;
 * build_params.c makes parameters;  sema_train.c reads the sections.
 *
 * A layer value that could not be made is `poison`: everything built from it is silently poison, so
 * that one mistake is reported once.
 */
#ifndef FRONT_SEMA_H
#define FRONT_SEMA_H

#include "base/limits.h"
#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"
#include "front/model.h"
#include "ir/op.h"
#include "ops/attrs.h"

typedef struct Scope Scope;
typedef struct Val Val;
typedef struct Build Build;

/* ---- layer values ---- */
typedef enum { TENSOR_LAYER, TENSOR_IMAGE, TENSOR_CLASS } TensorKind;
typedef struct Tensor Tensor;
struct Tensor {
    TensorKind kind;
    bool poison;
    bool line; /* a sequence [C, L]: shape is [C, 1, L] (line.c) */
    ValueId v;
    Shape shape;
    Field field;
    int64_t classes;  /* TENSOR_CLASS */
    const char *name; /* for derivations: "conv4", "image", or the call's text */
    Tensor *from;     /* what it was made of (first input), for derivations */
    const char *text; /* "conv(32, 5x5, pad = 2)" */
    int row;          /* 1 + index of the describe row that it ends, 0 = none */
    LocRange loc;
    Tensor **in; /* all inputs, for reachability */
    int nin;
    Tensor *weight; /* computed weights, or NULL */
    bool reached; /* an output, loss or metric depends on it */
    bool leads;   /* look: the score of the first output depends on it */
};

/* ---- static values ---- */
typedef enum {
    V_BAD, /* an error was reported */
    V_NUM,
    V_EXTENT,
    V_STR,
    V_BOOL,
    V_LIST,
    V_NAME,  /* a word that names nothing here: an enum constant for whoever knows it */
    V_CALL,  /* a description such as uniform(..), sgd(..): arguments are evaluated by its reader */
    V_RANGE, /* a .. b */
    V_TENSOR,
} ValKind;
struct Val {
    ValKind kind;
    LocRange loc;
    double num;
    bool integer;     /* num is a whole number written or computed exactly */
    const char *unit; /* "", "%", "epoch", "step", "s", "MiB" */
    const char *text; /* STR, NAME, CALL: function name */
    int n;            /* LIST, EXTENT, RANGE: elements */
    Val *at;
    Tensor *tensor;
    const Ast *ast; /* where it was written; CALL: where the arguments are */
    Scope *scope;   /* CALL: where to evaluate them */
};

/* ---- names ---- */
typedef enum { B_VAL, B_LAZY, B_TENSOR } BindKind;
typedef struct Binding {
    BindKind kind;
    Val val;        /* B_VAL */
    const Ast *ast; /* B_LAZY: expression, evaluated in `scope` at first use */
    Scope *scope;
    Tensor *tensor;
    LocRange loc;
    bool busy, formal;
    bool global; /* const or parameter of the file or net: must not be a layer */
} Binding;

/* Where a block was instantiated: notes "in block 'inception' instantiated at ..". */
typedef struct Trace {
    const struct Trace *up;
    const char *block;
    LocRange at;
    int depth;
} Trace;

struct Scope {
    Scope *up;
    Map names;          /* -> Binding */
    const char *prefix; /* of labels declared here: "", "r2.0." */
    const char *suffix; /* repeat: ".2", else "" */
    Scope *instance;    /* the net's or block instance's outermost scope: counts anonymous names */
    Map counters;       /* instance: op -> (int *) */
    const Trace *trace;
    Tensor *in;   /* what `in` means here, or NULL */
    bool barrier; /* block instance: labels of outer scopes are not visible */
};

/* ---- the flattened net ---- */
typedef struct LabelSet { /* set conv1.stride = 2 */
    const char *attr;
    const Ast *value;
    Scope *scope;
    LocRange loc;
    bool used;
    struct LabelSet *next;
} LabelSet;
typedef struct Insertion {
    const Ast *chain;
    Scope *scope;
    struct Insertion *next;
} Insertion;
typedef struct Item { /* one statement of the net, with the edits made to it */
    const Ast *stmt;
    const char *label; /* NULL: unlabelled or not a single chain */
    const Ast *source; /* replace: the stage where the original chain began, or NULL */
    Scope *scope;
    const Ast *chain; /* the chain, after replace */
    Scope *chain_scope;
    Insertion *before, *after;
    LabelSet *sets;
    bool removed, frozen;
    LocRange removed_at;
} Item;
typedef struct Setting { /* key of a section; later ones override */
    const char *section, *key;
    const Ast *ast;   /* SETTING or JOB */
    const Ast *value; /* an expression (JOB: its call) */
    Scope *scope;
    LocRange key_loc;
    bool job, used;
} Setting;
typedef struct FreezeMark { /* freeze s1, "conv*": labels that are not statements of the net too */
    const char *pattern;
    LocRange loc;
    bool glob, used;
} FreezeMark;
typedef struct Member { /* input, output, loss or metric, with the scope it was written in */
    const Ast *ast;
    Scope *scope;
} Member;
typedef VEC(Member) MemberVec;

typedef struct Net {
    const char *name;
    const Ast *decl;
    Scope *file, *scope; /* scope: of the most derived level */
    VEC(Item) items;
    VEC(Setting) settings;
    VEC(FreezeMark) freezes;
    MemberVec inputs, outputs, losses, metrics, params;
    Map dims;   /* names that dim(..) introduces: sizes given by -D NAME=N */
    Map shapes; /* input name -> Member of the SET node */
} Net;

/* ---- labels, while building ---- */
typedef struct LabelInfo {
    const char *name; /* full: "r2.0.main" */
    Tensor *tensor;   /* NULL: a removed layer at the start of the net */
    LocRange loc;
    int param[4], nparams; /* indices into the parameter list */
    int op;                /* that owns them */
    Shape src;             /* what it reads */
    bool removed;
} LabelInfo;

struct Build {
    Arena *arena;
    DiagCtx *diag; /* a throw-away one in the second and third walk */
    const ModelOptions *opt;
    Model *m;
    Net *net;
    AstList file; /* all items of all files */
    int mode;
    Graph *g;
    ModelGraph *mg;
    Map labels; /* full name -> LabelInfo */
    Map values; /* parameter name -> ValueId in this graph */
    VEC(LabelInfo *) order;
    VEC(Tensor *) tensors;
    VEC(ModelLayer) rows;
    Map blocks; /* name -> Ast */
    Item *item; /* being walked */
    int64_t dropouts, expansion;
    int inputs; /* of numbers, so far */
    int lazy_depth;
    bool limit_hit;
    Tensor *flow;    /* result of the previous statement */
    Map owners;      /* prefix of parameters -> LabelInfo with op and param[] */
    Map param_index; /* name -> 1 + index, of all walks */
    Tensor *score, *prob; /* of the first output */
    int outputs;          /* declared so far */
    Ast *ast;         /* of the file */
    Model *base;      /* reuse: the net that this one extends, as it is */
    bool base_failed;
};

static inline bool eq(const char *a, const char *b) {
    return a && b && __builtin_strcmp(a, b) == 0;
}

/* ---- expr.c ---- */
Val expr_eval(Build *b, Scope *s, const Ast *e);
/* Typed views: on a mismatch they report `what` ("the number of maps") and return false. */
bool expr_int(Build *b, const Val *v, const char *what, int64_t lo, int64_t hi, int64_t *out);
bool expr_num(Build *b, const Val *v, const char *what, double *out);
bool expr_bool(Build *b, const Val *v, const char *what, bool *out);
const char *val_text(Arena *arena, const Val *v); /* as written in a spec */
const char *val_kind_text(const Val *v);          /* "a list" */
/* "r2[0].k1" -> "r2.0.k1"; NULL after an error. *indexed: has an index. */
const char *path_text(Build *b, Scope *s, const Ast *path, bool *indexed);
Binding *scope_find(Scope *s, const char *name);
Scope *scope_new(Build *b, Scope *up);
void scope_bind(Build *b, Scope *s, const char *name, Binding binding);
void scope_num(Build *b, Scope *s, const char *name, double value);
LabelInfo *label_find(Build *b, Scope *s, const char *name);
bool expand_count(Build *b, LocRange loc); /* false: the expansion limit is reached */

/* ---- sema_net.c: nets, variants, edits ---- */
Net *sema_net(Build *b);
const Setting *net_setting(Build *b, const char *section, const char *key); /* marks it used */
bool glob_match(const char *glob, const char *text);

/* ---- sema_attrs.c: arguments of a call against OpDef.attrs ---- */
enum { ARG_MAX = 24 };
/* What an argument says about frames: how many numbers it had (0: not given), and those for frames
 * (padding: in front, behind); of one number it is that. */
typedef struct Depth {
    int given;
    int64_t at[2];
} Depth;
enum { DEPTH_KERNEL, DEPTH_STRIDE, DEPTH_PAD, DEPTH_DILATION, DEPTHS };
typedef struct Bound {
    int op;
    Depth depth[DEPTHS];
    bool rounded; /* round = .. was written */
    void *attrs;
    const Ast *arg[ARG_MAX]; /* per attribute: the ARG that gave it, or NULL */
    const Ast *init, *bias_init, *centers, *share; /* values of common arguments, or NULL */
    const Ast *weight, *reuse;
    bool flip;
    bool line; /* reads a sequence */
    Scope *init_scope, *bias_scope;
    const Ast *share_arg;
    bool frozen, has_frozen;
    double lr_mult, decay_mult;
    bool has_decay;
    const Val *connect; /* AT_TABLE: the list, to be made a ConnTable by the caller */
    Tensor *in[256];
    int nin;
} Bound;
/* `at`: the CALL, or a PATH naming an operation without arguments.  false: errors were reported. */
bool sema_bind(Build *b, Scope *s, const Ast *at, int op, const char *label, Bound *out);
const char *op_signature(Arena *arena, int op);
const char *attr_detail(Arena *arena, int op, const void *attrs); /* "5x5/2" for describe */

/* ---- build.c: statements, chains, blocks ---- */
typedef struct Flow { /* what runs along an arrow */
    Tensor **at;
    int n;
    bool implicit; /* the previous statement's result: explicit inputs replace it */
} Flow;
void build_items(Build *b);
Tensor *build_call(Build *b, Scope *s, const Ast *call); /* an op or block inside an expression */
int spec_op(const char *name);                           /* usable operation, OP_NONE */
LabelInfo *label_declare(Build *b, const char *full, LocRange loc, Tensor *t);
Tensor *tensor_poison(Build *b, LocRange loc);

/* ---- build_notes.c: why a shape is what it is ---- */
void note_derivation(Build *b, Diag *d, const Tensor *t, const char *title);
void note_trace(Diag *d, const Trace *trace);
bool planned_operation(Build *b, LocRange loc, const char *name); /* reports "not built yet" */
void unknown_operation(Build *b, const Ast *at, const char *name);
const char *shape_text(Arena *arena, const Shape *s);

/* ---- build_op.c: one operation ---- */
typedef struct Naming {
    const char *param; /* prefix of the parameters' names */
    const char *row;   /* label of the describe row */
    bool starts_row;
    bool anonymous; /* row was made up here: not worth a mention in messages */
} Naming;
Tensor *build_op(Build *b, Scope *s, const Ast *at, int op, Flow flow, const Naming *naming);

/* ---- line.c: sequences ---- */
/* Is what is made of these, with that shape, a sequence? */
bool line_of(Tensor *const *in, int nin, const Shape *out);
/* Extents that were given as one number are for columns alone; false: an error was reported. */
bool line_bind(Build *b, Scope *s, Bound *bound, Tensor *const *in, int nin);
/* As a spec and PyTorch know them, without the row: [C, 1, L]; weights [O, I, 1, K]. */
Shape line_shape(const Shape *s, bool line);
Shape line_saved(const Shape *weights, bool line);
Shape tensor_shape(const Tensor *t);
/* The same for extents within a text: "kernel 1x25 exceeds 16x1x20" loses its ones. */
const char *line_text(Arena *arena, const char *text, bool line);

/* ---- build_clip.c: windows over frames ---- */
bool clip_takes_depth(int op);                         /* conv and pools */
bool clip_boxed(const Bound *bound, int64_t frames);   /* does the kernel have three extents? */
/* The window over frames that the arguments describe; false: it does not fit src. */
bool clip_window(Build *b, const Ast *at, const Bound *bound, const char *title,
                 const Tensor *src, FramesAttrs *out);
bool clip_trivial(const FramesAttrs *a); /* every frame alone */
void clip_detail(Build *b, int row, const Bound *bound, const FramesAttrs *a);
Tensor *clip_frames(Build *b, const Ast *at, Tensor *src, int op, const FramesAttrs *a,
                    const Naming *naming);
/* All frames as maps of one image, map * frames + frame: [C, D, H, W] in its own order. */
Tensor *clip_whole(Build *b, const Ast *at, Tensor *src, const Naming *naming);
Tensor *clip_repeat(Build *b, const Ast *at, Tensor *src, int64_t frames, const Naming *naming);
ValueId clip_concat(Build *b, const Ast *at, Tensor *const *in, int nin, const Naming *naming);
/* Their mean or maximum. */
Tensor *clip_over_time(Build *b, const Ast *at, Tensor *src, bool max, const Naming *naming);

/* ---- build_params.c ---- */
typedef struct LayerParams {
    ValueId value[4]; /* in the order of the operation's inputs */
    int index[4], n;
    int64_t count;   /* numbers that exist */
    int64_t weights; /* of them, not biases */
    Tensor *made;    /* the layer that computes the weights, or NULL */
} LayerParams;
bool build_params(Build *b, Scope *s, const Ast *at, const Bound *bound, const Tensor *src,
                  const Naming *naming, LayerParams *out);
/* The arguments of a description such as uniform(-1, 1): out[i] has kind V_BAD when absent. */
bool call_args(Build *b, const Val *call, const char *const *names, int n, int required, Val *out);

/* `param W: f32[16] = gaussian(0, 1)`: a value that belongs to no image. */
Tensor *build_param(Build *b, Scope *s, const Ast *param, const Shape *shape);

/* ---- param_bank.c: filters that are known in advance ---- */
bool is_bank(const char *name);
/* bilinear, gabor(..), dwt(..) as the initial table of p. */
bool init_bank(Build *b, const Val *call, Param *p);

/* ---- build_ends.c: inputs, outputs, losses, metrics, one walk ---- */
void build_walk(Build *b);

/* ---- build_attack.c: adversarial training's part of a walk, behind the losses ---- */
void build_attack(Build *b);
bool adversary_fits(Build *b, const Val *at, bool trades); /* false: this net cannot have it */

/* ---- field.c: receptive fields, rows ---- */
void field_of(Build *b, Tensor *out, int op, const void *attrs);
void row_add(Build *b, int op, Tensor *out, const Naming *naming, const void *attrs,
             const LayerParams *params, LocRange loc);

/* ---- sema_data.c: sources of data with arguments ---- */
bool is_source_kind(const char *name);
/* csv("f", label = last) as "csv:f?label=last"; NULL after an error. */
const char *source_of_kind(Build *b, const Val *call);

/* augment = [rotate(10), ..]: amounts for one input (RT_AUGMENT_COUNT of rt_abi.h). */
void sema_augment(Build *b, const Val *v, float *out);

/* ---- sema_train.c: data, train, predict; sema_jobs.c: visualize ---- */
void sema_sections(Build *b);
void sema_curvature(Build *b); /* every layer under sdlm has second derivatives */
int label_order(Build *b, const Val *v); /* of the layer that v names in b->order, or -1 */
void sema_jobs(Build *b);

#endif
