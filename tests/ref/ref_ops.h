/* ref_ops.h: the only oracle: every operator as an obviously correct loop in double precision.
 *
 * Tensors are dense and row-major in logical order: images [n][c][h][w], vectors [n][c], one number
 * per image [n]; weights [o][i][kh][kw] or [o][i]; unbatched tensors have n = 1.  Integers (labels,
 * switches) are stored as doubles.  No layout, no blocking, no fusion.
 */
#ifndef REF_OPS_H
#define REF_OPS_H

#include "ir/op.h"

#define FOR(i, n) for (int64_t i = 0; i < (n); i++)
/* clang-format off */
#define S0 {0, {0}}
#define S1(c) {1, {c}}
#define S2(h, w) {2, {h, w}}
#define S3(c, h, w) {3, {c, h, w}}
/* clang-format on */

typedef struct RefTensor {
    Shape shape;
    int64_t n;    /* images; 1 when not batched */
    double *at;
} RefTensor;

/* The frame's other numbers for updates, the same in all tests. */
#define REF_SECOND 0.25   /* 1 - beta2, 1 - alpha */
#define REF_CORRECT1 1.5
#define REF_CORRECT2 1.25
#define REF_CLIP 0.75

typedef struct RefCall {
    const void *attrs;
    int64_t n;            /* images of the batch */
    int nin;
    const RefTensor *in;
    RefTensor *out;       /* shapes set, numbers zero */
    double lr, momentum, decay; /* updates; in adam momentum is 1 - beta1 */
    uint64_t seed;        /* dropout */
    int64_t step;
    double *new_momentum; /* sgd: receives the new momentum, as many numbers as in[0]; or NULL */
} RefCall;

typedef void (*RefFn)(const RefCall *);
extern const RefFn ref_op[OP_COUNT];

/* How far compiled f32 code may be from the reference, relative to the largest magnitude of the
 * tensor; 0: exact. */
extern const double ref_tolerance[OP_COUNT];

/* A clip's frames become images, unless op sees frames (flag F). */
void ref_see(RefTensor *t, int op);
/* Images that the loop runs over: the batch, or all frames of it. */
int64_t ref_images(int op, const RefTensor *in, int nin, const RefTensor *out, int64_t batch);
int64_t ref_elems(const RefTensor *t); /* numbers in all images */
/* Philox4x32-10 (Salmon et al. 2011), written apart from the runtime's. */
void ref_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

#endif
