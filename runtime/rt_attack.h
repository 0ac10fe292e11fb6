/* rt_attack.h: pictures changed within a box so that a network errs: what adversarial training steps
 * at (rt_abi.h, rt_adversary), and what `eval --attack` counts errors on.
 *
 * eps and step are shares of the pixel range, before normalisation: a pixel of a channel moves by
 * eps * |hi - lo| / std at most, and stays within black and white of its channel.
 */
#ifndef RT_ATTACK_H
#define RT_ATTACK_H

#include "rt_model.h"

struct rt_attack {
    rt_adversary how;
    int64_t count;        /* numbers per picture */
    float *width;         /* of each number: what the whole pixel range becomes ... */
    float *low, *high;    /* ... and its ends */
    float *x, *g;         /* changed pictures and gradients, m->cap of each */
    float *target;        /* trades: scores of the clean pictures */
};

int rt_attack_open(struct rt_attack **out, const netrt *m, const rt_adversary *how, rt_error *err);
void rt_attack_close(struct rt_attack *a);

/* n pictures x to begin with: pgd: anywhere in the box; trades: beside the clean picture, a normal
 * distribution of .001 of the range.  Numbers are those of (seed, turn, picture's number; number
 * NULL: its place). */
void rt_attack_start(struct rt_attack *a, const netrt *m, const float *clean, const int64_t *number,
                     uint32_t turn, int64_t n);
/* One step along the sign of g, back into the box. */
void rt_attack_rise(struct rt_attack *a, const netrt *m, const float *clean, int64_t n);

/* What a network is attacked with unless told: the spec's adversary, else Madry's for MNIST (.3,
 * .01, 40) where pictures are grey, for CIFAR (8/255, 2/255, 20) where they have colour. */
rt_adversary rt_attack_usual(const rt_model *model);

/* ---- training: m->model->train.adversary is not RT_ADVERSARY_NONE ---- */

/* Runs the program RT_ATTACK on the clean pictures in frame.input[0]: its scores and, for pgd, its
 * losses are theirs.  Weights and masks are those of the step to come. */
int rt_attack_clean(netrt *m, int64_t n, rt_error *err);
/* Changes the n pictures of the frame and points the frame at what the step reads, until
 * rt_attack_done.  128 + signal where *m->stop asks to end. */
int rt_attack_run(netrt *m, int64_t n, rt_error *err);
void rt_attack_done(netrt *m);
/* Of trades' step: relative entropy (mean) and scores of the changed pictures. */
double rt_attack_entropy(const netrt *m, int64_t n);
int rt_attack_scores(const netrt *m, int64_t n, float *scores);
/* Arithmetic of a training step against that of plain training. */
double rt_attack_cost(const rt_model *model);

#endif
