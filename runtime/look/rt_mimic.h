/* rt_mimic.h: what a picture is to have of others: the Gram matrices of their layers (style,
 * texture), their layers themselves (content), as terms of an objective.
 *
 *   style    E = 1 / (4 C^2 M^2 u^4) sum (G - A)^2, mean over layers, shares over pictures
 *   content  D = 1 / (2 C M u^2) sum (F - P)^2, mean over layers
 * with C maps of M cells and u the mean of |F| in the pictures given: Gatys et al. scale the weights
 * of their network so that this mean is 1; dividing by it makes weights mean the same for every
 * network.  Theory: Gatys, Ecker, Bethge 2015 (texture), 2016 (style), equations 1 to 7.
 */
#ifndef RT_MIMIC_H
#define RT_MIMIC_H

#include "rt_objective.h"
#include "rt_viz.h"

typedef struct rt_mimic {
    rt_viz *v;
    int style[RT_BACK_MAX], nstyle;     /* layers */
    int content[RT_BACK_MAX], ncontent;
    rt_term *term;                      /* GRAM terms, then MATCH terms */
    int nterms, ngram;
    float *target;                      /* of all terms */
    int64_t ntarget;
} rt_mimic;

/* Layers of a network of any depth.  Style: names ("c1,c3"), or the first convolution wider than 1x1
 * at each size of maps.  Content: names, or of the last size but one the second such convolution, if
 * there is one (VGG-19: conv1_1 to conv5_1, and conv4_2, as in the paper).  EUSAGE: no such layer,
 * none at all. */
int rt_mimic_layers(rt_mimic *m, rt_viz *v, const char *style, const char *content, rt_error *err);

/* Runs the network on each picture (inputs, planes first) and makes the terms.  share: of the style
 * pictures, sums to 1.  content NULL, or alpha 0: no such terms; beta: weight of style. */
int rt_mimic_open(rt_mimic *m, const float *const *style, const double *share, int nstyles,
                  const float *content, double alpha, double beta, rt_error *err);
void rt_mimic_close(rt_mimic *m);

/* Operations of one evaluation with gradient: of the network's kernels, of the Gram matrices. */
void rt_mimic_flops(const rt_mimic *m, double *network, double *gram);

#endif
