/* netrt.h: the C interface of a compiled network; the one header a caller needs.
 *
 * A compiled library exports `const rt_model NAME_model`; everything else is here.  Nothing in this
 * interface prints or exits: functions return NETRT_OK or another NETRT_E* code (rt_error.h) and
 * put one or more lines of text into *err (which the caller starts as {0}; NULL is allowed).
 * A netrt may be used by one thread at a time; several netrt of one model are independent.
 * Pictures are float, planes first (C, H, W), already preprocessed (netrt_image does that).
 */
#ifndef NETRT_H
#define NETRT_H

#include <stdint.h>

#include "rt_abi.h"
#include "rt_error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct netrt netrt;

typedef struct netrt_options {
    int threads;   /* 0: as many as this process may use (affinity mask and cgroup limit) */
    int64_t batch; /* images processed at a time, 0: the training batch of the spec */
    uint64_t seed; /* of the initial weights and of dropout; 0: the spec's */
} netrt_options;

/* Makes a network with initial weights.  options may be NULL.  EUSAGE: this processor lacks
 * instructions the code was compiled for, or the object belongs to another runtime version.
 * ELIMIT: not enough memory.  On failure *out is NULL. */
int netrt_open(const rt_model *model, const netrt_options *options, netrt **out, rt_error *err);
void netrt_close(netrt *m); /* NULL is allowed */

/* Weights as safetensors.  load is strict: names and shapes must be exactly the network's, else
 * EDATA, a table of the differences in err, and the previous weights stay as they were.
 * NETRT_LOAD_PARTIAL takes the tensors that fit and leaves the rest (EDATA if none fits). */
enum { NETRT_LOAD_PARTIAL = 1 };
int netrt_load(netrt *m, const char *path, int flags, rt_error *err);
int netrt_save(netrt *m, const char *path, rt_error *err);

/* Inference for n images (any n): images n*c*h*w floats; scores and probs n*classes floats or NULL.
 * scores: before the softmax (or the penalties of an argmin network); probs: the declared output.
 */
int netrt_forward(netrt *m, const float *images, int64_t n, float *scores, float *probs,
                  rt_error *err);

/* Outputs: what the spec declares with `output`, numbered from 0 in its order; the first is the one
 * that scores and probs above are of.  shape: per image, at most 5 extents; returns the rank. */
int netrt_outputs(const netrt *m);
const char *netrt_output_name(const netrt *m, int i); /* NULL: no such output */
int netrt_output_shape(const netrt *m, const char *name, int64_t dim[5]); /* -1: no such output */

/* Inference for n images as netrt_forward, in one pass for `count` outputs: out[k] receives output
 * name[k], n * (product of its shape) floats.  EUSAGE: an unknown name. */
int netrt_forward_outputs(netrt *m, const float *images, int64_t n, int count,
                          const char *const *name, float *const *out, rt_error *err);

/* One step of stochastic gradient descent with momentum on n images (1 .. batch); labels are class
 * indices, NULL where the losses read none.  *loss (may be NULL): the mean loss before the update.  EDIVERGED: not finite. */
int netrt_step(netrt *m, const float *images, const int32_t *labels, int64_t n, double *loss,
               rt_error *err);
/* Rates used by netrt_step; they start as the spec's. */
void netrt_set_sgd(netrt *m, double lr, double momentum, double decay);

/* Reads a picture file and preprocesses it as the spec says: c*h*w floats. */
int netrt_image(const netrt *m, const char *path, float *chw, rt_error *err);

const char *netrt_name(const netrt *m);
int64_t netrt_classes(const netrt *m);
void netrt_shape(const netrt *m, int64_t chw[3]); /* of the input picture */
int64_t netrt_batch(const netrt *m);
int netrt_threads(const netrt *m);
const char *netrt_class_name(const netrt *m, int64_t i, char buf[24]);

/* The command line programs: return the exit code. */
int netrt_main(const rt_model *model, int argc, char **argv);
int netrt_viz_main(const rt_model *model, int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
