/* rt_objective.h: a number made of what the network answers to a picture, and its gradient at the
 * pixels: what every picture by optimisation climbs or descends.
 *
 * An objective is a list of terms, each about one layer; terms of one layer share a walk's stop, and
 * all layers share one walk (rt_look_back).  With a the layer's activations (C maps of M cells), w
 * the weight:
 *   UNIT   w a[map, y, x]
 *   MAP    w sum of a[map] over cells
 *   LAYER  w |a|^2 / 2                                     (the objective of DeepDream)
 *   INNER  w <a, target>
 *   MATCH  w |a - target|^2                                (feature inversion: w = 1 / |target|^2)
 *   GRAM   w sum of (G - target)^2, G = a a^T, C x C       (Gatys: w = 1 / (4 C^2 M^2))
 *   CROSS  -w log softmax(a)[map]: cross-entropy of a class (FGSM, PGD)
 *   GUIDE  w sum over cells i of the largest <a[:, i], target[:, j]> over j (guided DeepDream)
 */
#ifndef RT_OBJECTIVE_H
#define RT_OBJECTIVE_H

#include "rt_gram.h"
#include "rt_look.h"

enum { RT_TERM_UNIT, RT_TERM_MAP, RT_TERM_LAYER, RT_TERM_INNER, RT_TERM_MATCH, RT_TERM_GRAM,
       RT_TERM_CROSS, RT_TERM_GUIDE };

typedef struct rt_term {
    int kind, seed;      /* seed: layer of the look program */
    int64_t image;       /* of the batch, -1: every one */
    rt_unit unit;        /* UNIT; MAP, CROSS: c */
    double weight;
    const float *target; /* INNER, MATCH, GUIDE: C*M numbers; GRAM: C*C, symmetric; the caller's */
} rt_term;

typedef struct rt_objective {
    rt_look *look;
    const rt_term *term;
    int nterms, nlayers;
    int layer[RT_BACK_MAX]; /* the layers that terms are about */
    float *values;          /* of one layer of one image, for each of look->rooms threads */
    int *end;               /* of each image: the kernel behind its last layer with a term */
    float *gram, *slope;    /* C*C numbers of the largest layer with a GRAM term: G, what follows for
                               its gradient */
    rt_gram_how how;
    float *alike;           /* M numbers of the largest layer with a GUIDE term */
    int whole;              /* 1: layers behind the terms' are recorded too, for the caller to read */
    double *sum;            /* of the evaluation in progress, per image */
    double *part;           /* NULL, or nterms numbers: gets each term's share of all values */
} rt_objective;

/* The terms stay the caller's and must outlive the objective; targets may change between
 * evaluations.  EUSAGE: more than RT_BACK_MAX layers, or a layer that no gradient passes. */
int rt_objective_open(rt_objective *o, rt_look *look, const rt_term *term, int nterms,
                      rt_error *err);
void rt_objective_close(rt_objective *o);

/* Records n images (planes first, as input slot 0 takes them; n <= the look program's capacity) and
 * evaluates.  value: n numbers.  diff: n images of gradients, or NULL: no walk back.  Layers behind
 * an image's last term are not recorded, unless `whole`; where images have terms of their own, those with the deepest
 * layers should come first. */
int rt_objective_eval(rt_objective *o, const float *images, int64_t n, double *value, float *diff,
                      rt_error *err);

#endif
