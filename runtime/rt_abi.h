/* rt_abi.h: the contract between generated code and the runtime: plain structs, one version number.
 *
 * The generated object exports one constant, `const rt_model netc_model` (or NAME_model in a library).
 * Everything else is reached from it: parameters with their physical layouts, three programs
 * (forward, train, look) as lists of kernels, inspectable tensors, training and data settings.
 * Layout changes bump RT_ABI_VERSION; codegen builds these structs field by field in order, and
 * static assertions there and here pin the offsets.
 */
#ifndef RT_ABI_H
#define RT_ABI_H

#include <stdint.h>

#define RT_ABI_VERSION 14

/* ---- what a kernel sees ---- */
enum {
    RT_SCALAR_INV_N,    /* 1 / n */
    RT_SCALAR_LR,
    RT_SCALAR_MOMENTUM, /* sgd, rmsprop: momentum; adam: 1 - beta1 */
    RT_SCALAR_DECAY,
    RT_SCALAR_SECOND,   /* adam: 1 - beta2; rmsprop: 1 - alpha; slbi: 1 / nu */
    RT_SCALAR_CORRECT1, /* adam, step t: 1 / (1 - beta1^t); slbi: kappa */
    RT_SCALAR_CORRECT2, /* 1 / sqrt(1 - beta2^t) */
    RT_SCALAR_CLIP,     /* largest gradient: of each number, or the norm of all */
    RT_SCALAR_COUNT = 8
};
typedef struct rt_frame {
    char *act;              /*  0: batch slab: tensor at act + offset * cap */
    char *fix;              /*  8: fixed slab */
    char *param;            /* 16: parameters in kernel layout */
    char *state;            /* 24: optimizer state, same layout */
    int64_t n;              /* 32: images in this call, 1..cap */
    int64_t cap;            /* 40: images the slab is sized for */
    float scalar[RT_SCALAR_COUNT]; /* 48 */
    uint64_t seed;          /* 80 */
    int64_t step;           /* 88: optimizer step, counter of random numbers */
    const float *input[4];  /* 96: per input slot: n images, c*h*w floats each, row-major */
    const int32_t *label[2];/* 128: per label slot: n class indices */
} rt_frame;

/* Runs tasks lo .. hi - 1.  The first 8 bytes of scratch are -1 when a thread begins a kernel, then
 * the kernel's: later calls of the same run may find there what earlier ones left. */
typedef void (*rt_kernel_fn)(const rt_frame *, int64_t lo, int64_t hi, void *scratch);

/* ---- layouts: nests of axes, outermost first ---- */
typedef struct rt_axis {
    int32_t dim;            /* logical dimension */
    int32_t pad_;
    int64_t extent, mult, offset; /* logical index of dim += p * mult + offset; outside = padding */
} rt_axis;
enum { RT_MAX_DIMS = 5, RT_MAX_AXES = 8 };
typedef struct rt_layout {
    int32_t rank, naxes;
    int64_t dim[RT_MAX_DIMS];
    rt_axis axis[RT_MAX_AXES];
} rt_layout;

enum { RT_POOL_ACT = 2, RT_POOL_FIX, RT_POOL_PARAM, RT_POOL_STATE };
enum { RT_F32, RT_I32, RT_U8 };

typedef struct rt_tensor {  /* an inspectable value of a program */
    const char *name;       /* "c1", "score", "loss.ce", "image" */
    const char *label;      /* layer label or "" */
    const char *op;         /* what made it: "conv", "relu", ... */
    int32_t dtype, pool;
    int64_t offset;         /* bytes (ACT: per image of capacity) */
    int64_t image_bytes;    /* ACT: distance between images, with all their frames */
    int64_t frames;         /* of a clip, one behind the other, each as layout says; 0, 1: an image */
    rt_layout layout;
} rt_tensor;

typedef struct rt_kernel {
    rt_kernel_fn fn;
    const char *name;       /* "conv1+relu" */
    const char *label;      /* "conv1" */
    const char *algorithm;  /* "direct 14x2" */
    int64_t tasks_per, tasks_block; /* tasks = per * ceil(n * frames / block); block 0: per */
    int64_t frames;         /* frames of a clip; 0, 1: images */
    double flops_image, flops_fixed, bytes_image, bytes_fixed;
    double seconds_image, seconds_fixed; /* predicted for n images: the larger of
                               seconds_image * n and seconds_fixed, which no batch undercuts */
    int64_t scratch;        /* bytes per thread; they may lie in the slab where nothing lives */
    int64_t gap, gap_bytes; /* while the kernel runs, per image of capacity: the largest gap ... */
    int64_t top;            /* ... between living tensors, and the end of the last of them */
} rt_kernel;

typedef struct rt_entry {
    const char *name;       /* forward: "forward", small networks also "forward_few" for a few
                               images; train: "step"; look: "prepare", "record",
                               "project_gradient", "project_deconvnet", "project_guided";
                               curvature: "curvature"; attack: "attack", "attack_few" */
    int32_t first, count;
} rt_entry;

enum { RT_MAX_LIVE = 16 };
enum { RT_PART_OTHER = 1,   /* what the operations of a statement are (OpDef.part): none of these */
       RT_PART_MOVES = 2,   /* rectifiers and what moves numbers: relu, concat, .. */
       RT_PART_WEIGHTS = 4, /* sums with weights: conv, dense, .. */
       RT_PART_NORM = 8,    /* bn */
       RT_PART_SUM = 16,    /* sums without weights: add, sub, mean pools */
       RT_PART_MAX = 32,    /* max pools */
       RT_PART_SIGNED = 64 };/* what is summed with weights may be negative */
typedef struct rt_seed {    /* look: a layer from which a projection can start */
    const char *label;
    int32_t tensor;         /* index of the recorded activation in tensors */
    int32_t parts;          /* what the layer's statement is made of: RT_PART_* */
    int32_t leads;          /* the score of the first output depends on it */
    int32_t base;           /* one weighted sum of numbers that are not negative: the layer that has the
                               weights, itself or the one that its bn normalises (index in seeds); -1 */
    int32_t recorded;       /* the kernel behind the last one of "record" that makes it or what walks from
                               here read; 0: not known */
    int32_t pad_;
    struct { int32_t diff;  /* index of the tensor to write the seed into, -1: not possible */
             int32_t first; /* kernel to start at */
             int32_t nlive; /* tensors to zero first */
             int32_t live[RT_MAX_LIVE];
             int32_t rectified; } rule[3]; /* gradient, deconvnet, guided; rectified: the seed is
                               what the rule of a rectifier makes of it: 0 where the recorded
                               activation is not positive (gradient, guided), 0 if the seed is
                               negative (deconvnet, guided) */
    int64_t rf_size[2], rf_jump[2], rf_start[2]; /* receptive field: size (0: the whole image),
                               stride, image coordinate of the first cell's first pixel (negative:
                               padding) */
} rt_seed;

typedef struct rt_pool {    /* look: a max pool's switches, one byte per output: cell ky * kernel[1] + kx
                               of the window whose first cell is y * stride[0] - pad[0], .. */
    int32_t tensor, pad_;
    int64_t kernel[2], stride[2], pad[2], src[2]; /* src: height and width of what is pooled */
} rt_pool;

typedef struct rt_program {
    const char *name;       /* "forward", "train", "look", "curvature" (sdlm), "attack" (adversarial) */
    int64_t act_bytes;      /* per image of capacity */
    int64_t fix_bytes;
    int64_t scratch_bytes;  /* per thread, the largest of its kernels */
    int64_t act_lower_bound;
    const rt_kernel *kernel;
    const rt_entry *entry;
    const rt_tensor *tensor;
    const rt_seed *seed;
    int32_t nkernels, nentries, ntensors, nseeds;
    int32_t image_diff[3];  /* look: tensor index of the projection at the image, per rule; attack:
                               [0] the gradient of the mean loss at the image */
    int32_t output;         /* tensor index of the score (pre-softmax) or penalties, -1 */
    int32_t prob;           /* tensor index of the declared output (softmax), -1 */
    int32_t nlosses;
    int32_t loss[8];        /* tensor indices: one number per image, already weighted */
    const char *refused[3]; /* look: why a rule does not exist, or NULL */
    int32_t plan_batch;     /* images per call and threads that the plan was made for */
    int32_t plan_threads;
    const rt_pool *pool;
    int32_t npools, pad_;
} rt_program;

/* ---- parameters ---- */
enum { RT_INIT_ZERO, RT_INIT_FILL, RT_INIT_UNIFORM, RT_INIT_GAUSSIAN, RT_INIT_TABLE };
enum { RT_PARAM_FROZEN = 1, RT_PARAM_CONSTANT = 2, RT_PARAM_BF16 = 4 /* in memory */ };
typedef struct rt_param {
    const char *name;       /* "c1.weight" */
    const char *label;
    int32_t rank, flags;
    int64_t dim[RT_MAX_DIMS]; /* shape as saved */
    rt_layout layout;       /* over the split shape: same numbers row-major */
    int64_t offset, state_offset, bytes;
    int32_t init, pad_;
    double init_a, init_b;
    const float *table;
    const uint8_t *links;   /* dim[0]*dim[1] bytes, or NULL */
    double max_rms, lr_mult, decay_mult;
    int64_t trainable;
} rt_param;

/* ---- data and training settings from the spec ---- */
/* Random changes of training samples, 0: none.  Translate: pixels, each way; rotate, shear: degrees,
 * each way; brightness: share of the range; contrast, colour: factors 1 -+ it.  Crop: 1 + the pixels
 * of border; short: the shorter side; area: shares; elastic: pixels; PCA: std of the factors, then a
 * 3 x 3 matrix (eigenvectors times eigenvalues, row = colour; all 0: that of the training set);
 * shift: seconds, each way; gain: decibels, each way. */
enum { RT_AUGMENT_TRANSLATE, RT_AUGMENT_SCALE_LO, RT_AUGMENT_SCALE_HI, RT_AUGMENT_ROTATE,
       RT_AUGMENT_SHEAR, RT_AUGMENT_BRIGHTNESS, RT_AUGMENT_CONTRAST, RT_AUGMENT_COLOUR,
       RT_AUGMENT_CROP, RT_AUGMENT_SHORT_LO, RT_AUGMENT_SHORT_HI, RT_AUGMENT_AREA_LO,
       RT_AUGMENT_AREA_HI, RT_AUGMENT_ELASTIC, RT_AUGMENT_SIGMA, RT_AUGMENT_PCA,
       RT_AUGMENT_PCA_MATRIX, RT_AUGMENT_SHIFT = RT_AUGMENT_PCA_MATRIX + 9, RT_AUGMENT_GAIN,
       RT_AUGMENT_COUNT };
typedef struct rt_input_spec {
    const char *name;
    int64_t c, h, w;
    float lo, hi;           /* pixel 0 -> lo, 255 -> hi */
    float mean[4], std[4];
    int32_t resize_short, crop, pad, bgr, flip;
    int32_t mean_image;     /* RT_MEAN_..: a mean of its own for every pixel */
    int32_t frames;         /* 2 or more: a clip, whose frames stand below each other: h is all of
                               their heights */
    float augment[RT_AUGMENT_COUNT];
    const char *mean_file;  /* RT_MEAN_FILE: an array of NumPy; else "" or NULL */
} rt_input_spec;
enum { RT_MEAN_CHANNELS, RT_MEAN_TRAINING, RT_MEAN_FILE };
enum { RT_SCHEDULE_CONST, RT_SCHEDULE_STEP, RT_SCHEDULE_PLATEAU, RT_SCHEDULE_TABLE,
       RT_SCHEDULE_COSINE, RT_SCHEDULE_POLY };
enum { RT_WATCH_LOSS = -1 };
typedef struct rt_schedule {
    int32_t kind, ntable;
    int32_t watch, pad_;    /* PLATEAU: a metric's index or RT_WATCH_LOSS */
    int64_t every;          /* STEP: epochs between factors; PLATEAU: patience in epochs; COSINE,
                               POLY: length in epochs, 0 = that of the run */
    double factor;          /* STEP, PLATEAU; COSINE, POLY: last rate / first one */
    double power;           /* POLY */
    int64_t warmup;         /* epochs in which the rate rises to the schedule's ... */
    double warmup_from;     /* ... from this share of it */
    struct { int64_t epochs; double lr; } table[16]; /* TABLE: lr for so many epochs; last holds */
} rt_schedule;
enum { RT_METRIC_ERROR_RATE, RT_METRIC_TOPK, RT_MAX_METRICS = 16 };
typedef struct rt_metric {
    const char *name;
    int32_t kind, k;
    int32_t smallest_wins;  /* argmin outputs (RBF penalties) */
    int32_t output;         /* index of the output that it judges */
} rt_metric;
enum { RT_SGD, RT_ADAM, RT_RMSPROP, RT_SDLM, RT_SLBI, RT_SLBI_GROUPS };
enum { RT_CLIP_NONE, RT_CLIP_VALUE, RT_CLIP_NORM };
/* Training on pictures changed within a box of `eps` (a share of the pixel range) around their own:
 * `steps` steps of `step` along the sign of the gradient.  pgd: of the losses, and the weights' step
 * is at the changed pictures.  trades: of the relative entropy between the scores of both, which joins
 * the losses at the unchanged pictures with weight beta. */
enum { RT_ADVERSARY_NONE, RT_ADVERSARY_PGD, RT_ADVERSARY_TRADES };
typedef struct rt_adversary {
    double eps, step, beta;
    int64_t steps, kind;    /* steps 0: kind is NONE */
} rt_adversary;
typedef struct rt_train_spec {
    double lr, momentum, decay; /* adam: momentum is beta1 */
    double second;          /* adam: beta2; rmsprop: alpha; slbi: 1 - 1 / nu */
    double eps;             /* adam, rmsprop: beside the root; rmsprop, eps_inside: in it; sdlm: mu;
                               slbi: lambda */
    double kappa;           /* slbi */
    double clip_at;
    int32_t optimizer, clip, eps_inside, decoupled; /* decoupled: adamw */
    int64_t batch, epochs;
    uint64_t seed;
    int64_t checkpoint_epochs;
    rt_schedule schedule;
    const char *train_data, *test_data; /* URIs as rt_data_open takes them */
    int64_t curvature;      /* sdlm: samples before each epoch */
    const char *load, *load_map, *load_skip; /* weights to start from, or NULL; "old.* -> new.*, ..";
                               names that stay as initialised */
    int64_t load_partial;
    rt_adversary adversary;
} rt_train_spec;

typedef struct rt_layer {   /* what `info` and reports print */
    const char *label, *op, *detail;
    int64_t out[3];
    int32_t out_rank, nin;
    const int32_t *in;      /* what it reads, each once: an earlier layer's index, -1 - k: input k */
    int64_t params;
    double macs;
    int64_t rf, jump;       /* receptive field (0: the whole image) and stride along the height */
} rt_layer;

/* What the spec declares with `output`; the first is the one that classes and metrics are of. */
enum { RT_MAX_OUTPUTS = 8 };
enum { RT_OUTPUT_SOFTMAX = 1, RT_OUTPUT_SMALLEST = 2 /* the class is the argmin */,
       RT_OUTPUT_JUDGED = 4 /* a loss compares its score with the class */ };
typedef struct rt_output {
    const char *name;
    int32_t tensor;         /* forward: index of the value */
    int32_t look;           /* look: index of its score, which projections start from; -1: none */
    int32_t score;          /* forward: index of its score, a number per class; -1: nobody asks */
    int32_t flags, rank, pad_;
    int64_t dim[RT_MAX_DIMS]; /* as the spec says it: [channels, frames, height, width], a sequence
                               [channels, length], [numbers] */
} rt_output;

typedef struct rt_onnx_tensor { /* a parameter in the terms of ONNX */
    const char *name;
    int32_t param, rank;
    int64_t dim[RT_MAX_DIMS];
} rt_onnx_tensor;

typedef struct rt_job {     /* of a visualize section: a command line of NAME-viz */
    const char *name;       /* its files go to a folder of this name */
    const char *const *arg; /* verb, then options and files */
    int64_t nargs;
} rt_job;

typedef struct rt_model {
    int32_t abi, ninputs;
    const char *name;       /* "LeNet" */
    const char *spec_file;  /* base name */
    const char *spec_hash;  /* 32 hex digits */
    const char *version;    /* netc's */
    const char *target;     /* "x86-64-v4" */
    const char *cpu_needs;  /* "avx512f,avx512vl,..." checked at start, "" = baseline */
    const rt_input_spec *input;
    int64_t classes;
    int32_t smallest_wins;  /* predicted class is the argmin of the score */
    int32_t nparams;
    const rt_param *param;
    int64_t param_bytes, state_bytes;
    rt_program program[5];  /* forward, train, look, curvature, attack; nkernels = 0: absent */
    rt_train_spec train;
    const rt_metric *metric;
    const rt_layer *layer;
    int32_t nmetrics, nlayers;
    int64_t param_count;    /* trainable numbers */
    const char *spec_text;  /* the whole source, for `info --spec` and reports */
    int64_t label_cells;    /* class indices per image: 1, or one per pixel of the score */
    const uint8_t *onnx;    /* body of a GraphProto without these parameters, operator set ... */
    int64_t onnx_bytes, onnx_set;
    const rt_onnx_tensor *onnx_tensor;
    int64_t onnx_tensors;
    const char *onnx_refused; /* why the network cannot be said so, or NULL */
    const rt_job *job;
    int64_t njobs;
    const rt_output *output;
    int64_t noutputs;
    int64_t label_classes;  /* of the class label, the fewest of several; 0: it reads none */
} rt_model;

#endif
