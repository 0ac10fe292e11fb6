/* attrs.h: attribute structs of the operators, shared by facts, lowering, reference and passes. */
#ifndef OPS_ATTRS_H
#define OPS_ATTRS_H

#include <stdbool.h>
#include <stdint.h>

/* Which input maps each output map reads (LeNet-5, table I).  link[o * inputs + i] is 0 or 1. */
typedef struct ConnTable {
    int outputs, inputs;
    const uint8_t *link;
} ConnTable;

/* ConvAttrs.algorithm: which way the sums are formed; auto lets the cost model choose. */
enum { CONV_AUTO, CONV_DIRECT, CONV_WINOGRAD, CONV_WINOGRAD6 };
enum { CONV_ROUND_FLOOR, CONV_ROUND_EXACT };
typedef struct ConvAttrs { /* CONV2D and its two gradients */
    int64_t maps;          /* output channels */
    int64_t kernel[2], stride[2], pad[4] /* top bottom left right */, dilation[2];
    int64_t groups;
    bool bias;
    const ConnTable *connect; /* NULL = all */
    int64_t src_size[2];      /* gradients only: height, width of src */
    int64_t src_maps;         /* gradients only */
    int algorithm;            /* CONV_AUTO ... */
    int round;                /* CONV_ROUND_FLOOR ... */
    int64_t depth;            /* front end: input maps are windows of so many frames; 0: are not */
} ConvAttrs;

typedef struct DeconvAttrs { /* DECONV: the adjoint of a convolution, forwards */
    int64_t maps;              /* output channels */
    int64_t kernel[2], stride[2], pad[4] /* cut off: top bottom left right */, output_pad[2];
    int64_t dilation[2], groups;
    bool bias;
    const ConnTable *connect; /* [input maps * output maps], set for narrow groups; NULL = all */
} DeconvAttrs;

typedef struct DenseAttrs {
    int64_t units;
    bool bias;
    int64_t src_dim[3]; /* gradients only: c, h, w of src; src_rank 1 or 3 */
    int src_rank;
} DenseAttrs;

enum { REPACK_RESHAPE, REPACK_FLIP, REPACK_TRANSPOSE };
typedef struct RepackAttrs { /* REPACK: shape of the result, and what happens on the way */
    int64_t dim[4], rank;
    int how;
} RepackAttrs;

typedef struct TransposeWeightsAttrs {
    int64_t groups;
} TransposeWeightsAttrs;

enum { POOL_ROUND_FLOOR, POOL_ROUND_CEIL, POOL_ROUND_EXACT };
typedef struct PoolAttrs { /* MAXPOOL, AVGPOOL, SUBSAMPLE and their gradients */
    int64_t kernel[2], stride[2], pad[4];
    int round;
    bool count_pad;      /* avgpool: divide by the whole window, padding included */
    int64_t src_size[2]; /* gradients only: height, width of src */
} PoolAttrs;

enum { NORM_ACROSS, NORM_WITHIN };
typedef struct NormAttrs { /* LRN, LCN and gradients */
    int64_t size;          /* maps in the window, odd; or its rows and columns */
    double k, alpha, beta;
    int alpha_per;         /* 0: alpha as in the paper (per sum); 1: alpha / size (Caffe, PyTorch) */
    int region;            /* lrn: across maps at one position, or within each map */
    bool squares;          /* LRN_BWD: every entry of the derivative squared (curvatures) */
} NormAttrs;

typedef struct BnAttrs { /* BN, INSTANCENORM and their parts */
    double eps, momentum;
    bool infer;            /* running statistics; the layer changes nothing */
    int64_t cells;         /* parts only: numbers per image and channel (BN_RUNNING: 0 = a mean) */
} BnAttrs;

typedef struct CurveAttrs { /* elementwise functions: each uses some */
    double slope, alpha, p, lo, hi, by, shift;
    bool shared;           /* prelu: one number for all channels */
} CurveAttrs;

typedef struct ThresholdAttrs {
    double tau;            /* < 0: not given, input 1 has it */
    bool is_signed;
} ThresholdAttrs;

typedef struct SumToAttrs { int64_t dim[3], rank; } SumToAttrs; /* shape of the result */

typedef struct DropoutAttrs { /* DROPOUT, DROPOUT_BWD */
    double rate;
    int scale;   /* 0 train: kept values / (1 - rate) while training; 1 test: values * (1 - rate) at test */
    int64_t key; /* layer number: RNG purpose */
    bool infer;  /* inference graph: identity or scale only */
} DropoutAttrs;

/* RESAMPLE: a sparse matrix for rows, one for columns, a shift or a sum of maps.  Rows of the
 * matrices: copy: i * step + from, beyond the border by the rule; nearest; bilinear; blur. */
enum { RESAMPLE_COPY, RESAMPLE_NEAREST, RESAMPLE_BILINEAR, RESAMPLE_BLUR };
enum { BORDER_ZERO, BORDER_REFLECT, BORDER_EDGE };
enum { MAPS_SHIFT, MAPS_SUM };
typedef struct ResampleAttrs {
    int64_t size[2];              /* height, width of the result */
    int64_t maps, first;          /* of the result; map of src that its first one is: may be < 0 */
    int64_t from_y, from_x, step[2]; /* copy */
    int64_t kernel[2];            /* blur: Gaussian window, shares of the real cells sum to 1 */
    double sigma_y, sigma_x;      /* blur */
    double scale;                 /* of everything */
    int mode, border, gather;     /* RESAMPLE_.., BORDER_.., MAPS_.. */
    bool align;                   /* bilinear: the corners' cells stay */
    bool adjoint;                 /* the transposed map, from the result's shape to this one */
    bool squares;                 /* every tap squared; not `scale` (curvatures) */
} ResampleAttrs;
/* The matrix of axis 0 (rows) or 1 (columns), as lists of taps: at[start[i] .. start[i + 1]). */
typedef struct ResampleTap { int64_t index; double weight; } ResampleTap;
typedef struct ResampleAxis {
    int64_t n, *start; /* results */
    ResampleTap *at;
} ResampleAxis;

typedef struct CropAttrs { /* CROP, DOWNSAMPLE */
    int64_t size[2], top, left, factor[2];
    int at;                /* CROP_.. */
} CropAttrs;
enum { CROP_CENTER, CROP_TOP_LEFT, CROP_TOP_RIGHT, CROP_BOTTOM_LEFT, CROP_BOTTOM_RIGHT };
typedef struct PadAttrs { int64_t pad[4], maps, maps_after; int mode; } PadAttrs;
typedef struct ResizeAttrs { int64_t factor[2], size[2]; int mode; bool align; } ResizeAttrs;
typedef struct AxisAttrs { int axis; } AxisAttrs; /* MEAN, MAX: AXIS_.. */
enum { AXIS_TIME, AXIS_HEIGHT, AXIS_WIDTH, AXIS_MAPS };

/* FRAMES, FRAMES_MAX and its gradient: frame f of the result is made of the frames f * step + from
 * + k * apart of the source, k < taps; those that do not exist are zeros or left out. */
enum { FRAMES_MAPS, FRAMES_SUM, FRAMES_MEAN }; /* map c * taps + k; sums; means of those that exist */
typedef struct FramesAttrs {
    int64_t from, count, step, taps, apart; /* count: frames of the result; from may be negative */
    int64_t src;           /* frames of the source; 0: as they come (not for gradients) */
    int mode;              /* FRAMES_.. */
    bool whole;            /* means: divide by taps always */
    bool border;           /* frames outside may be read */
    bool adjoint;          /* the transposed map, from the result's shape to the source's */
} FramesAttrs;

typedef struct LpPoolAttrs {
    int64_t kernel[2], stride[2], pad[4];
    double p;
    int round;             /* POOL_ROUND_.. */
} LpPoolAttrs;
typedef struct ContrastAttrs { /* SUBTRACTIVE_NORM, DIVISIVE_NORM */
    int64_t kernel[2];
    double sigma, eps;
} ContrastAttrs;
typedef struct PermuteAttrs { int order; } PermuteAttrs; /* TRANSPOSE: axes, ORDER_.. */
enum { ORDER_CHW, ORDER_CWH, ORDER_HCW, ORDER_HWC, ORDER_WCH, ORDER_WHC };
typedef struct ShuffleAttrs { int64_t groups; } ShuffleAttrs;
typedef struct ReshapeAttrs { int64_t maps, size[2]; } ReshapeAttrs;

typedef struct ConcatAttrs { int axis; } ConcatAttrs;
enum { CONCAT_MAPS, CONCAT_FRAMES };
typedef struct SliceAttrs { int64_t from, count; } SliceAttrs;      /* channels */
typedef struct UnflattenAttrs { int64_t dim[3]; } UnflattenAttrs;
typedef struct RecurAttrs { /* LSTM, GRU, their steps and the gradients of those */
    int64_t units;
    int all;               /* 0 the last step's output, 1 those of all steps */
    bool reverse;          /* from the last step to the first */
} RecurAttrs;
typedef struct RbfAttrs { int64_t units; } RbfAttrs;
typedef struct LossAttrs { /* all losses and their gradients */
    double weight;
    double j;              /* lenet_map */
    double on, off;        /* mse targets for the true and the other classes */
    double smoothing;      /* cross_entropy: share of the target spread over all classes */
    double margin;         /* hinge */
    int64_t power;         /* hinge: 1 or 2 */
    int kind;              /* hinge: HINGE_..; ERROR_BWD: ERROR_..; KL_BWD: KL_OF_.. */
} LossAttrs;
enum { HINGE_ONE_VS_REST, HINGE_CRAMMER_SINGER };
enum { ERROR_SQUARE, ERROR_ABS, ERROR_LOGISTIC, ERROR_LINEAR, ERROR_SUM };
enum { KL_OF_FIRST, KL_OF_SECOND }; /* whose gradient */
typedef struct GramAttrs { bool scaled; } GramAttrs; /* GRAM, GRAM_BWD: by 1 / (C H W) */
typedef struct PowerAttrs { double alpha, beta; } PowerAttrs; /* ALPHA_NORM, TV and gradients */
typedef struct SgdAttrs { /* SGD, ADAM, RMSPROP, SDLM, SLBI, SLBI_GROUPS, CURVATURE */
    int64_t param;         /* index into ParamList: rates, decay */
    double lr_mult, decay_mult;
    double eps;            /* ADAM, RMSPROP; SDLM: mu; SLBI: lambda */
    bool nesterov;
    bool decoupled;        /* ADAM: decay shrinks the weight, not by way of the gradient */
    bool eps_inside;       /* RMSPROP: under the root */
    bool clip;             /* every number of the gradient is cut to -+ the frame's CLIP */
    bool coupled;          /* SLBI: this parameter is to become sparse */
} SgdAttrs;
enum { SQUARE_CHUNK = 16384 }; /* SQUARE_SUMS: numbers of a gradient per task */
typedef struct ClipFactorAttrs { bool partial; } ClipFactorAttrs; /* result: the sum so far */
#endif
