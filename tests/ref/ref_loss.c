/* ref_loss.c: losses and thresholds as plain loops in double precision, and what they are tested
 * with.
 *
 * Scores and labels are indexed by image and position, so that one label per image is a map of one
 * pixel.  Labels beyond the last class do not count.
 */
#include "ref_loss.h"

#include <math.h>

#include "base/bug.h"
#include "ops/attrs.h"


static int64_t image(const RefTensor *t) {
    return shape_elems(&t->shape);
}
static int64_t classes(const RefTensor *t) {
    return t->shape.dim[0];
}
static int64_t pixels(const RefTensor *t) {
    return image(t) / classes(t);
}

static double *score(const RefTensor *t, int64_t n, int64_t c, int64_t p) {
    return &t->at[(n * classes(t) + c) * pixels(t) + p];
}

static int64_t label(const RefCall *r, int64_t n, int64_t p) {
    return (int64_t)r->in[1].at[n * pixels(&r->in[0]) + p];
}

static bool counts(const RefCall *r, int64_t n, int64_t p) {
    return label(r, n, p) >= 0 && label(r, n, p) < classes(&r->in[0]);
}

static double counted(const RefCall *r, int64_t n) {
    double count = 0;
    FOR(p, pixels(&r->in[0])) count += counts(r, n, p);
    return count;
}

/* ---- cross-entropy ---- */

static double target(const RefCall *r, int64_t n, int64_t c, int64_t p) {
    const LossAttrs *a = r->attrs;
    return (1 - a->smoothing) * (c == label(r, n, p)) + a->smoothing / (double)classes(&r->in[0]);
}

static double log_sum(const RefTensor *s, int64_t n, int64_t p) {
    double top = -INFINITY, sum = 0;
    FOR(c, classes(s)) top = fmax(top, *score(s, n, c, p));
    FOR(c, classes(s)) sum += exp(*score(s, n, c, p) - top);
    return top + log(sum);
}

void ref_cross_entropy(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    FOR(n, r->n)
    FOR(p, pixels(s)) FOR(c, classes(s)) if (counts(r, n, p)) r->out->at[n] +=
        a->weight / counted(r, n) * target(r, n, c, p) * (log_sum(s, n, p) - *score(s, n, c, p));
}

void ref_cross_entropy_bwd(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    FOR(n, r->n)
        FOR(p, pixels(s)) FOR(c, classes(s)) if (counts(r, n, p)) *
        score(r->out, n, c, p) = a->weight / ((double)r->n * counted(r, n)) *
                                 (exp(*score(s, n, c, p) - log_sum(s, n, p)) - target(r, n, c, p));
}

/* ---- mean errors: against a class label or a layer ---- */

static double wanted(const RefCall *r, int64_t n, int64_t i, double on, double off) {
    if (r->in[1].shape.rank == 0)
        return i == label(r, n, 0) ? on : off;
    return r->in[1].at[(r->in[1].n == 1 ? 0 : n) * image(&r->in[0]) + i];
}

static double sign(double x) {
    return x > 0 ? 1 : x < 0 ? -1 : 0;
}
static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double error_of(int kind, double x, double t) {
    return kind == ERROR_SQUARE ? (x - t) * (x - t)
           : kind == ERROR_ABS  ? fabs(x - t)
                                : log(1 + exp(x)) - t * x;
}

static double slope_of(int kind, double x, double t) {
    return kind == ERROR_SQUARE     ? 2 * (x - t)
           : kind == ERROR_ABS      ? sign(x - t)
           : kind == ERROR_LOGISTIC ? sigmoid(x) - t
           : kind == ERROR_LINEAR   ? x
                                    : 1;
}

static void mean_error(const RefCall *r, int kind, double on, double off, bool backward) {
    const LossAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    int64_t size = image(s);
    FOR(n, r->n) FOR(i, size) {
        double x = s->at[n * size + i], t = wanted(r, n, i, on, off), w = a->weight / (kind == ERROR_SUM ? 1 : (double)size);
        if (backward)
            r->out->at[n * size + i] = w / (double)r->n * slope_of(kind, x, t);
        else
            r->out->at[n] += w * error_of(kind, x, t);
    }
}

void ref_mse(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    mean_error(r, ERROR_SQUARE, a->on, a->off, false);
}

void ref_mse_bwd(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    mean_error(r, ERROR_SQUARE, a->on, a->off, true);
}

void ref_mae(const RefCall *r) {
    mean_error(r, ERROR_ABS, 0, 0, false);
}
void ref_logistic(const RefCall *r) {
    mean_error(r, ERROR_LOGISTIC, 1, 0, false);
}
void ref_logistic_bwd(const RefCall *r) {
    mean_error(r, ERROR_LOGISTIC, 1, 0, true);
}

void ref_error_bwd(const RefCall *r) {
    mean_error(r, ((const LossAttrs *)r->attrs)->kind, 0, 0, true);
}

/* ---- relative entropy ---- */

/* log p, log q of class c */
static double log_share(const RefCall *r, int which, int64_t n, int64_t c) {
    return *score(&r->in[which], n, c, 0) - log_sum(&r->in[which], n, 0);
}

static double relative_entropy(const RefCall *r, int64_t n) {
    double sum = 0;
    FOR(c, classes(&r->in[0])) {
        double p = log_share(r, 0, n, c);
        sum += exp(p) * (p - log_share(r, 1, n, c));
    }
    return sum;
}

void ref_kl(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    FOR(n, r->n) r->out->at[n] = a->weight * relative_entropy(r, n);
}

void ref_kl_bwd(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    FOR(n, r->n) FOR(c, classes(&r->in[0])) {
        double p = log_share(r, 0, n, c), q = log_share(r, 1, n, c);
        double d = a->kind == KL_OF_SECOND ? exp(q) - exp(p)
                                           : exp(p) * (p - q - relative_entropy(r, n));
        *score(r->out, n, c, 0) = a->weight / (double)r->n * d;
    }
}

/* ---- hinge ---- */

static double sign_of(const RefCall *r, int64_t n, int64_t c) {
    return c == label(r, n, 0) ? 1 : -1;
}

/* The first of the best classes that are not the label; -1: there is none. */
static int64_t best_other(const RefCall *r, int64_t n) {
    int64_t best = -1;
    FOR(c, classes(&r->in[0]))
    if (c != label(r, n, 0) &&
        (best < 0 || *score(&r->in[0], n, c, 0) > *score(&r->in[0], n, best, 0))) best = c;
    return best;
}

static double gap_of_pair(const RefCall *r, int64_t n) {
    const LossAttrs *a = r->attrs;
    int64_t other = best_other(r, n);
    return other < 0 ? 0
                     : fmax(0, a->margin + *score(&r->in[0], n, other, 0) -
                                   *score(&r->in[0], n, label(r, n, 0), 0));
}

static double gap_of_rest(const RefCall *r, int64_t n, int64_t c) {
    const LossAttrs *a = r->attrs;
    return fmax(0, a->margin - sign_of(r, n, c) * *score(&r->in[0], n, c, 0));
}

static double raised(const RefCall *r, double x) {
    return ((const LossAttrs *)r->attrs)->power == 2 ? x * x : x;
}

static double raised_slope(const RefCall *r, double x) {
    return ((const LossAttrs *)r->attrs)->power == 2 ? 2 * x : x > 0;
}

void ref_hinge(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    bool rest = a->kind == HINGE_ONE_VS_REST;
    FOR(n, r->n) r->out->at[n] = rest ? 0 : a->weight * raised(r, gap_of_pair(r, n));
    FOR(n, r->n)
    FOR(c, classes(&r->in[0])) if (rest)
        r->out->at[n] += a->weight * raised(r, gap_of_rest(r, n, c));
}

void ref_hinge_bwd(const RefCall *r) {
    const LossAttrs *a = r->attrs;
    double w = a->weight / (double)r->n;
    FOR(n, r->n) {
        if (a->kind == HINGE_ONE_VS_REST) {
            FOR(c, classes(&r->in[0]))
            *score(r->out, n, c, 0) = -sign_of(r, n, c) * w * raised_slope(r, gap_of_rest(r, n, c));
            continue;
        }
        int64_t other = best_other(r, n);
        double slope = w * raised_slope(r, gap_of_pair(r, n));
        if (other >= 0)
            *score(r->out, n, other, 0) += slope;
        *score(r->out, n, label(r, n, 0), 0) -= slope;
    }
}

/* ---- thresholds ---- */

static double height(const RefCall *r, int64_t i) {
    const ThresholdAttrs *a = r->attrs;
    const RefTensor *o = r->out, *t = &r->in[1];
    int64_t channel = i % image(o) / pixels(o);
    return r->nin == 1 ? a->tau : t->at[image(t) == 1 ? 0 : channel];
}

void ref_soft_threshold(const RefCall *r) {
    bool both = ((const ThresholdAttrs *)r->attrs)->is_signed;
    FOR(i, ref_elems(r->out)) {
        double x = r->in[0].at[i], tau = height(r, i);
        r->out->at[i] = both ? sign(x) * fmax(fabs(x) - tau, 0) : fmax(x - tau, 0);
    }
}

void ref_hard_threshold(const RefCall *r) {
    bool both = ((const ThresholdAttrs *)r->attrs)->is_signed;
    FOR(i, ref_elems(r->out)) {
        double x = r->in[0].at[i];
        r->out->at[i] = (both ? fabs(x) : x) > height(r, i) ? x : 0;
    }
}

void ref_threshold_bwd(const RefCall *r) {
    FOR(i, ref_elems(r->out)) r->out->at[i] = r->in[1].at[i] != 0 ? r->in[0].at[i] : 0;
}

/* ---- cases ---- */

static void add_input(RefCase *c, RefInput kind, Shape s) {
    c->kind[c->nin] = kind;
    c->in[c->nin++] = s;
}

/* The first half: scores and a class; the second: a label map or two layers. */
RefCase ref_loss_case(Arena *keep, int op, int i) {
    static const int64_t count[] = {1, 2, 3, 10, 16, 17, 33, 100};
    static const double weight[] = {1, 1, 0.3, 1, 2, 1, 1, 0.5};
    static const Shape layer[] = {S1(1),       S1(6),        S1(33),       S3(1, 4, 3),
                                  S3(3, 5, 4), S3(17, 2, 3), S3(16, 1, 5), S3(2, 7, 7)};
    static const Shape scores[] = {S3(2, 1, 1),  S3(3, 4, 3), S3(21, 2, 3), S3(17, 3, 1),
                                   S3(16, 2, 2), S3(2, 5, 4), S3(33, 1, 2), S3(5, 3, 3)};
    bool labels_only =
        op == OP_HINGE || op == OP_HINGE_BWD || op == OP_MSE_BWD || op == OP_LOGISTIC_BWD;
    bool layers_only = op == OP_MAE || op == OP_ERROR_BWD,
         entropy = op == OP_CROSS_ENTROPY || op == OP_CROSS_ENTROPY_BWD;
    int k = i % 8;
    RefCase r = {.what = "classes", .limit = count[k], .rounds = true};
    LossAttrs *a = ARENA_NEW(keep, LossAttrs);
    *a = (LossAttrs){.weight = weight[k],
                     .on = 1,
                     .off = k % 2 ? 0 : -1,
                     .margin = k % 3 ? 3 : 0.4,
                     .smoothing = k % 3 == 1 ? 0.1 : 0,
                     .power = 1 + (i + i / 8) % 2,
                     .kind = k % 2};
    if (op == OP_ERROR_BWD)
        a->kind = i % 5;
    r.attrs = a;
    if (op == OP_KL || op == OP_KL_BWD) {
        r.what = "two layers of scores";
        r.limit = 0;
        add_input(&r, REF_DATA, (Shape)S1(count[k] + 1)); /* of one class nothing can differ */
        add_input(&r, REF_DATA, (Shape)S1(count[k] + 1));
        return r;
    }
    if (!layers_only && (i < 8 || labels_only)) {
        add_input(&r, REF_DATA, (Shape)S1(count[k]));
        add_input(&r, REF_CLASS, (Shape)S0);
        return r;
    }
    if (entropy) { /* some pixels do not count */
        r.what = "label map";
        r.limit = scores[k].dim[0] + (k > 0);
        add_input(&r, REF_DATA, scores[k]);
        add_input(&r, REF_CLASS, (Shape)S2(scores[k].dim[1], scores[k].dim[2]));
        return r;
    }
    r.what = k == 2 ? "a layer and a parameter" : "two layers";
    r.limit = 0;
    add_input(&r, REF_DATA, layer[k]);
    add_input(&r, k == 2 ? REF_WEIGHT : REF_POSITIVE, layer[k]);
    return r;
}

RefCase ref_threshold_case(Arena *keep, int op, int i) {
    static const Shape shape[REF_THRESHOLD_CASES] = {
        S1(1),       S1(10),       S1(37),      S3(3, 4, 5),  S3(16, 3, 2), S3(17, 2, 5),
        S3(5, 1, 7), S3(17, 3, 4), S3(9, 2, 3), S3(33, 2, 1), S1(20),       S3(4, 5, 3)};
    RefCase r = {.what = "a number"};
    ThresholdAttrs *a = ARENA_NEW(keep, ThresholdAttrs);
    *a = (ThresholdAttrs){.tau = i % 3 ? 0.5 : 0.25, .is_signed = i % 2 == 0};
    add_input(&r, REF_DATA, shape[i]);
    if (op == OP_THRESHOLD_BWD) {
        add_input(&r, REF_DATA, shape[i]);
        return r;
    }
    r.attrs = a;
    if (i >= 7) {
        r.what = i % 2 ? "a parameter per channel" : "one parameter";
        a->tau = -1;
        r.rounds = op == OP_HARD_THRESHOLD;
        add_input(&r, op == OP_HARD_THRESHOLD ? REF_FIXED : REF_WEIGHT,
                  (Shape)S1(i % 2 ? shape[i].dim[0] : 1));
    }
    return r;
}
