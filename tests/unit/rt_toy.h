/* rt_toy.h: a hand-written model for the runtime's tests: scores = W x + b on 28 x 28 digits, with
 * forward and training programs as C kernels in the shapes generated code has.
 *
 * The layouts are deliberately not row-major: weights are [channel block of 784][10 padded to 16],
 * scores are padded to 16, the stored picture has a halo of one pixel, losses lie 16 floats apart.
 * Tasks: one per image (forward), one per 28 rows of the weights (gradient and update).
 */
#ifndef RT_TOY_H
#define RT_TOY_H

#include <math.h>
#include <string.h>

#include "rt_abi.h"

enum { TOY_SIDE = 28, TOY_PIXELS = 784, TOY_CLASSES = 10, TOY_LANES = 16, TOY_WIDE = 30 };
enum { /* bytes per image in the activation slab */
       TOY_IMAGE = 0,
       TOY_IMAGE_BYTES = 3648, /* 30 * 30 floats, rounded to 64 */
       TOY_SCORE = TOY_IMAGE_BYTES,
       TOY_PROB = TOY_SCORE + 64,
       TOY_LOSS = TOY_PROB + 64,
       TOY_DSCORE = TOY_LOSS + 64,
       TOY_ACT = TOY_DSCORE + 64
};
enum {
    TOY_WEIGHT_BYTES = TOY_PIXELS * TOY_LANES * 4,
    TOY_BIAS = TOY_WEIGHT_BYTES,
    TOY_PARAM_BYTES = TOY_WEIGHT_BYTES + 64
};

/* What the tests change: multiplies the weights' gradient (1 = right). */
static float toy_gradient_factor = 1;

static float *toy_act(const rt_frame *f, int64_t offset, int64_t image_bytes, int64_t n) {
    return (float *)(void *)(f->act + offset * f->cap + n * image_bytes);
}

static void toy_load(const rt_frame *f, int64_t lo, int64_t hi, void *scratch) {
    (void)scratch;
    for (int64_t n = lo; n < hi; n++) {
        float *dst = toy_act(f, TOY_IMAGE, TOY_IMAGE_BYTES, n);
        memset(dst, 0, TOY_IMAGE_BYTES);
        for (int y = 0; y < TOY_SIDE; y++)
            memcpy(dst + (y + 1) * TOY_WIDE + 1, f->input[0] + n * TOY_PIXELS + y * TOY_SIDE,
                   TOY_SIDE * sizeof(float));
    }
}

static void toy_score(const rt_frame *f, int64_t lo, int64_t hi, void *scratch) {
    const float *w = (const float *)(const void *)f->param;
    const float *b = (const float *)(const void *)(f->param + TOY_BIAS);
    (void)scratch;
    for (int64_t n = lo; n < hi; n++) {
        const float *x = toy_act(f, TOY_IMAGE, TOY_IMAGE_BYTES, n);
        float *s = toy_act(f, TOY_SCORE, 64, n), sum[TOY_LANES];
        memcpy(sum, b, sizeof sum);
        for (int i = 0; i < TOY_PIXELS; i++)
            for (int k = 0; k < TOY_LANES; k++)
                sum[k] +=
                    x[(i / TOY_SIDE + 1) * TOY_WIDE + i % TOY_SIDE + 1] * w[i * TOY_LANES + k];
        memcpy(s, sum, sizeof sum);
    }
}

static void toy_softmax(const rt_frame *f, int64_t lo, int64_t hi, void *scratch) {
    (void)scratch;
    for (int64_t n = lo; n < hi; n++) {
        const float *s = toy_act(f, TOY_SCORE, 64, n);
        float *p = toy_act(f, TOY_PROB, 64, n), *d = toy_act(f, TOY_DSCORE, 64, n), top = s[0];
        double sum = 0;
        int label = f->label[0][n];
        for (int k = 1; k < TOY_CLASSES; k++)
            top = s[k] > top ? s[k] : top;
        for (int k = 0; k < TOY_CLASSES; k++)
            sum += exp((double)(s[k] - top));
        memset(p, 0, 64);
        memset(d, 0, 64);
        for (int k = 0; k < TOY_CLASSES; k++) {
            p[k] = (float)(exp((double)(s[k] - top)) / sum);
            d[k] = (p[k] - (k == label)) * f->scalar[RT_SCALAR_INV_N];
        }
        *toy_act(f, TOY_LOSS, 64, n) = (float)(log(sum) - (double)(s[label] - top));
    }
}

static void toy_sgd(const rt_frame *f, float *w, float *v, const float *g, int count) {
    for (int i = 0; i < count; i++) {
        v[i] = f->scalar[RT_SCALAR_MOMENTUM] * v[i] + (g[i] + f->scalar[RT_SCALAR_DECAY] * w[i]);
        w[i] -= f->scalar[RT_SCALAR_LR] * v[i];
    }
}

static void toy_update_weights(const rt_frame *f, int64_t lo, int64_t hi, void *scratch) {
    float *w = (float *)(void *)f->param, *v = (float *)(void *)f->state, *g = scratch;
    for (int64_t row = lo; row < hi; row++)
        for (int i = (int)row * TOY_SIDE; i < ((int)row + 1) * TOY_SIDE; i++) {
            memset(g, 0, TOY_LANES * sizeof *g);
            for (int64_t n = 0; n < f->n; n++) {
                float x = toy_act(f, TOY_IMAGE, TOY_IMAGE_BYTES,
                                  n)[(i / TOY_SIDE + 1) * TOY_WIDE + i % TOY_SIDE + 1];
                const float *d = toy_act(f, TOY_DSCORE, 64, n);
                for (int k = 0; k < TOY_LANES; k++)
                    g[k] += x * d[k] * toy_gradient_factor;
            }
            toy_sgd(f, w + i * TOY_LANES, v + i * TOY_LANES, g, TOY_LANES);
        }
}

static void toy_update_bias(const rt_frame *f, int64_t lo, int64_t hi, void *scratch) {
    float *g = scratch;
    (void)lo, (void)hi;
    memset(g, 0, TOY_LANES * sizeof *g);
    for (int64_t n = 0; n < f->n; n++)
        for (int k = 0; k < TOY_LANES; k++)
            g[k] += toy_act(f, TOY_DSCORE, 64, n)[k];
    toy_sgd(f, (float *)(void *)(f->param + TOY_BIAS), (float *)(void *)(f->state + TOY_BIAS), g,
            TOY_LANES);
}

#define TOY_KERNELS                                                                                \
    {toy_load, "load", "image", "copy", 1, 1, 1, 0, 0, 6300, 0, 1e-6, 0, 0, 0, 0, 0},                                \
        {toy_score, "fc", "fc", "plain", 1, 1, 1, 15680, 0, 3200, 50000, 1e-6, 0, 0, 0, 0, 0}, {                         \
        toy_softmax, "softmax+loss", "loss", "plain", 1, 1, 1, 300, 0, 200, 0, 1e-6, 0, 0, 0, 0, 0                       \
    }
static const rt_kernel toy_forward[] = {TOY_KERNELS};
static const rt_kernel toy_train[] = {
    TOY_KERNELS,
    {toy_update_weights, "fc.update", "fc", "plain", TOY_SIDE, 0, 1, 15680, 50000, 3200, 150000, 1e-6, 1e-6, 256, 0, 0,
     TOY_ACT},
    {toy_update_bias, "fc.bias.update", "fc", "plain", 1, 0, 1, 10, 50, 64, 200, 0, 1e-6, 256, 0, 0,
     TOY_ACT}};
static const rt_entry toy_forward_entry[] = {{"forward", 0, 3}};
static const rt_entry toy_train_entry[] = {{"step", 0, 5}};

#define TOY_ROW(name, label, op, offset)                                                           \
    {                                                                                              \
        name, label, op, RT_F32, RT_POOL_ACT, offset, 64, 1, {                                      \
            1, 1, {TOY_CLASSES}, {                                                                 \
                { 0, 0, TOY_LANES, 1, 0 }                                                          \
            }                                                                                      \
        }                                                                                          \
    }
static const rt_tensor toy_tensor[] = {
    {"image",
     "image",
     "load_input",
     RT_F32,
     RT_POOL_ACT,
     TOY_IMAGE,
     TOY_IMAGE_BYTES,
     1,
     {3,
      3,
      {1, TOY_SIDE, TOY_SIDE},
      {{0, 0, 1, 1, 0}, {1, 0, TOY_WIDE, 1, -1}, {2, 0, TOY_WIDE, 1, -1}}}},
    TOY_ROW("fc", "fc", "dense", TOY_SCORE),
    TOY_ROW("prob", "prob", "softmax", TOY_PROB),
    {"loss.ce", "ce", "cross_entropy", RT_F32, RT_POOL_ACT, TOY_LOSS, 64, 1, {0, 0, {0}, {{0}}}}};

static const rt_param toy_param[] = {
    {"fc.weight",
     "fc",
     2,
     0,
     {TOY_CLASSES, TOY_PIXELS},
     {4,
      4,
      {TOY_CLASSES, 1, TOY_SIDE, TOY_SIDE},
      {{1, 0, 1, 1, 0}, {2, 0, TOY_SIDE, 1, 0}, {3, 0, TOY_SIDE, 1, 0}, {0, 0, TOY_LANES, 1, 0}}},
     0,
     0,
     TOY_WEIGHT_BYTES,
     RT_INIT_UNIFORM,
     0,
     -0.02,
     0.02,
     NULL,
     NULL,
     0,
     1,
     1,
     7840},
    {"fc.bias",
     "fc",
     1,
     0,
     {TOY_CLASSES},
     {1, 1, {TOY_CLASSES}, {{0, 0, TOY_LANES, 1, 0}}},
     TOY_BIAS,
     TOY_BIAS,
     64,
     RT_INIT_ZERO,
     0,
     0,
     0,
     NULL,
     NULL,
     0,
     1,
     1,
     10}};

static const rt_input_spec toy_input[] = {
    {"image", 1, TOY_SIDE, TOY_SIDE, 0, 1, {0}, {1, 1, 1, 1}, 0, 0, 0, 0, 0, 0, 0, {0}, ""}};
static const rt_metric toy_metric[] = {{"err", RT_METRIC_ERROR_RATE, 1, 0, 0}};
static const rt_layer toy_layer[] = {
    {"fc", "dense", "10", {TOY_CLASSES, 0, 0}, 1, 1, (const int32_t[]){-1}, 7850, 7840, 28, 1}};

#define TOY_PROGRAM(name, kernels, count, entries)                                                 \
    {                                                                                              \
        name, TOY_ACT, 64, 64 * 4, TOY_ACT, kernels, entries, toy_tensor, NULL, count, 1, 4, 0,    \
            {-1, -1, -1}, 1, 2, 1, {3}, {                                                          \
            NULL, NULL, NULL                                                                       \
        }, 1, 1, NULL, 0, 0                                                                               \
    }
static const rt_model toy_model = {
    RT_ABI_VERSION,
    1,
    "Toy",
    "toy.net",
    "00112233445566778899aabbccddeeff",
    "0.1",
    "x86-64",
    "",
    toy_input,
    TOY_CLASSES,
    0,
    2,
    toy_param,
    TOY_PARAM_BYTES,
    TOY_PARAM_BYTES,
    {TOY_PROGRAM("forward", toy_forward, 3, toy_forward_entry),
     TOY_PROGRAM("train", toy_train, 5, toy_train_entry),
     {.name = "look"}},
    {.lr = 0.05, .momentum = 0.9, .decay = 1e-4, .batch = 32, .epochs = 3, .seed = 7,
     .checkpoint_epochs = 1, .schedule = {.factor = 1}, .train_data = "digits:1000"},
    toy_metric,
    toy_layer,
    1,
    1,
    7850,
    "net Toy { ... }\n",
    1,
    NULL,
    0,
    18,
    NULL,
    0,
    "it is a toy",
    NULL,
    0,
    NULL,
    0,
    TOY_CLASSES};

#endif
