/* ref_objective.c: Gram matrices, total variation, powers and penalties as plain loops in double
 * precision, and the shapes they are tested with.
 *
 * tv_bwd scatters each term's derivative to the three cells that it is made of.
 */
#include "ref_objective.h"

#include <math.h>

#include "ops/attrs.h"

static int64_t dim(const RefTensor *t, int d) {
    return d < t->shape.rank ? t->shape.dim[d] : 1;
}

static double *cell(const RefTensor *t, int64_t n, int64_t c, int64_t y, int64_t x) {
    return &t->at[((n * dim(t, 0) + c) * dim(t, 1) + y) * dim(t, 2) + x];
}

static double gram_scale(const RefCall *r, const RefTensor *x) {
    return ((const GramAttrs *)r->attrs)->scaled ? 1 / (double)shape_elems(&x->shape) : 1;
}

void ref_gram(const RefCall *r) {
    const RefTensor *s = &r->in[0];
    FOR(n, r->n)
    FOR(i, dim(s, 0)) FOR(j, dim(s, 0)) FOR(y, dim(s, 1)) FOR(x, dim(s, 2))
        *cell(r->out, n, i, 0, j) += *cell(s, n, i, y, x) * *cell(s, n, j, y, x) * gram_scale(r, s);
}

void ref_gram_bwd(const RefCall *r) {
    const RefTensor *m = &r->in[0], *s = &r->in[1];
    FOR(n, r->n)
    FOR(i, dim(s, 0)) FOR(j, dim(s, 0)) FOR(y, dim(s, 1)) FOR(x, dim(s, 2))
        *cell(r->out, n, i, y, x) += *cell(m, n, i, 0, j) * *cell(s, n, j, y, x) * gram_scale(r, s);
}

/* The steps of a cell. */
static double steps(const RefTensor *s, int64_t n, int64_t c, int64_t y, int64_t x, double *right,
                    double *down) {
    double here = *cell(s, n, c, y, x);
    *right = x + 1 < dim(s, 2) ? *cell(s, n, c, y, x + 1) - here : 0;
    *down = y + 1 < dim(s, 1) ? *cell(s, n, c, y + 1, x) - here : 0;
    return *right * *right + *down * *down;
}

void ref_tv(const RefCall *r) {
    const PowerAttrs *a = r->attrs;
    const RefTensor *s = &r->in[0];
    FOR(n, r->n) FOR(c, dim(s, 0)) FOR(y, dim(s, 1)) FOR(x, dim(s, 2)) {
        double right, down;
        r->out->at[n] += pow(steps(s, n, c, y, x, &right, &down), a->beta / 2);
    }
}

void ref_tv_bwd(const RefCall *r) {
    const PowerAttrs *a = r->attrs;
    const RefTensor *s = &r->in[1];
    FOR(n, r->n) FOR(c, dim(s, 0)) FOR(y, dim(s, 1)) FOR(x, dim(s, 2)) {
        double right, down, square = steps(s, n, c, y, x, &right, &down);
        if (square == 0)
            continue;
        double slope = r->in[0].at[n] * a->beta * pow(square, a->beta / 2 - 1);
        *cell(r->out, n, c, y, x) -= slope * (right + down);
        if (x + 1 < dim(s, 2))
            *cell(r->out, n, c, y, x + 1) += slope * right;
        if (y + 1 < dim(s, 1))
            *cell(r->out, n, c, y + 1, x) += slope * down;
    }
}

void ref_alpha_norm(const RefCall *r) {
    const PowerAttrs *a = r->attrs;
    int64_t size = shape_elems(&r->in[0].shape);
    FOR(n, r->n) FOR(i, size) r->out->at[n] += pow(fabs(r->in[0].at[n * size + i]), a->alpha);
}

void ref_alpha_norm_bwd(const RefCall *r) {
    const PowerAttrs *a = r->attrs;
    int64_t size = shape_elems(&r->in[0].shape);
    FOR(n, r->n) FOR(i, size) {
        double x = r->in[0].at[n * size + i], slope = a->alpha * pow(fabs(x), a->alpha - 1);
        r->out->at[n * size + i] = r->in[1].at[n] * (x > 0 ? slope : x < 0 ? -slope : 0);
    }
}

void ref_penalty(const RefCall *r) {
    int64_t size = shape_elems(&r->in[0].shape);
    FOR(n, r->n) FOR(i, size)
        r->out->at[n] += ((const LossAttrs *)r->attrs)->weight * r->in[0].at[n * size + i];
}

/* ---- cases ---- */

static void add_input(RefCase *c, Shape s) {
    c->kind[c->nin] = REF_DATA;
    c->in[c->nin++] = s;
}

/* Blocks of maps whole, partial and several; rows in one piece of the sum and in two. */
RefCase ref_objective_case(Arena *keep, int op, int i) {
    static const Shape image[REF_OBJECTIVE_CASES] = {
        S3(1, 1, 1),  S3(3, 5, 4),   S3(16, 3, 2), S3(17, 2, 5),  S3(5, 1, 7),   S3(33, 3, 3),
        S3(32, 4, 4), S3(2, 40, 20), S3(8, 7, 1),  S3(40, 2, 13), S3(4, 1, 600), S3(19, 9, 15)};
    static const double power[REF_OBJECTIVE_CASES] = {2, 1, 2, 3, 1.5, 6, 1, 2, 2.5, 4, 2, 1.25};
    static const Shape vector[3] = {S1(1), S1(37), S1(10)};
    RefCase r = {.what = op == OP_PENALTY ? "the sum" : "an image", .rounds = true};
    Shape s = image[i], number = S1(1);
    if ((op == OP_PENALTY || op == OP_ALPHA_NORM) && i % 4 == 0)
        s = vector[i / 4];
    GramAttrs *gram = ARENA_NEW(keep, GramAttrs);
    PowerAttrs *p = ARENA_NEW(keep, PowerAttrs);
    LossAttrs *loss = ARENA_NEW(keep, LossAttrs);
    *gram = (GramAttrs){.scaled = i % 3 != 1};
    *p = (PowerAttrs){.alpha = power[i], .beta = power[i]};
    *loss = (LossAttrs){.weight = i % 2 ? 0.25 : 1};
    r.attrs = op == OP_PENALTY ? loss : op == OP_GRAM || op == OP_GRAM_BWD ? (void *)gram : p;
    if (op == OP_GRAM_BWD)
        add_input(&r, (Shape){3, {s.dim[0], 1, s.dim[0]}});
    if (op == OP_TV_BWD)
        add_input(&r, number);
    add_input(&r, s);
    if (op == OP_PENALTY) /* a sum that does not vanish */
        r.kind[0] = REF_POSITIVE;
    if (op == OP_ALPHA_NORM_BWD)
        add_input(&r, number);
    return r;
}
