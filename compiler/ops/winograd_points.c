/* winograd_points.c: the matrices of F(m, r) from their points, and code that applies them (see
 * winograd.h).
 *
 * Correlation is the adjoint of the product of two polynomials, which Toom and Cook compute from
 * values at n - 1 points and the leading coefficient ("infinity"): for a finite point a, AT holds
 * its powers, G its powers over f = prod (a - b) over the other points b, BT the coefficients of
 * prod (x - b).  Rows of points p and -p have equal even and opposite odd entries, so that both
 * cost one sum of each kind, an addition and a subtraction; the same holds for columns of AT and
 * GT. ensures: the sum of an output is formed in one fixed order.
 */
#include "ops/winograd.h"

#include <math.h>
#include <string.h>

#include "base/bug.h"

/* Powers of large points amplify rounding, and so do small distances between points.  Of the sets
 * {0, +-p, +-q} in eighths, 3/4 and 3/2 are among the best for six products: errors of gradients
 * fall to 0.4 of those with 1 and 2 (rms), to a quarter at the far corner of five taps.  All
 * coefficients of BT and A are still exact.  Forward keeps 1 and 2: a point 1 makes the bias cost
 * one addition and AT a third less. */
static const double plain_point[] = {0, 1, -1, 2, -2, 0.5, -0.5};
static const double gradient_point[] = {0, 0.75, -0.75, 1.5, -1.5};

static WinoMatrix transposed(const WinoMatrix *m) {
    WinoMatrix t = {.rows = m->cols, .cols = m->rows};
    for (int i = 0; i < t.rows; ++i)
        for (int k = 0; k < t.cols; ++k)
            t.at[i][k] = m->at[k][i];
    return t;
}

/* Coefficients of prod (x - point[l]) over l < count, l != skip, times sign. */
static void product(const double *point, int count, int skip, double sign, double *coefficient) {
    int degree = 0;
    memset(coefficient, 0, WINO_MAX * sizeof *coefficient);
    coefficient[0] = sign;
    for (int l = 0; l < count; ++l) {
        if (l == skip)
            continue;
        for (int d = ++degree; d >= 0; --d)
            coefficient[d] = (d ? coefficient[d - 1] : 0) - point[l] * coefficient[d];
    }
}

WinoMatrices wino_matrices(int m, int r, bool gradient) {
    int n = m + r - 1, finite = n - 1;
    const double *point = gradient && n == 6 ? gradient_point : plain_point;
    BUG_IF(n != 4 && n != 6 && n != 8, "no points for F(%d, %d)", m, r);
    WinoMatrices w = {.m = m, .r = r, .n = n, .one = point[1] == 1 ? 1 : -1};
    w.bt = (WinoMatrix){.rows = n, .cols = n};
    w.g = (WinoMatrix){.rows = n, .cols = r};
    w.a = (WinoMatrix){.rows = n, .cols = m};
    for (int j = 0; j < finite; ++j) {
        double f = 1;
        for (int l = 0; l < finite; ++l)
            f *= l == j ? 1 : point[j] - point[l];
        /* The sign is free: 1 at the end of BT's row, unless that costs G a negation. */
        double sign = f == -1 ? -1 : 1;
        product(point, finite, j, sign, w.bt.at[j]);
        for (int k = 0; k < r; ++k)
            w.g.at[j][k] = (k ? pow(point[j], k) : 1) / (sign * f);
        for (int i = 0; i < m; ++i)
            w.a.at[j][i] = i ? pow(point[j], i) : 1;
    }
    product(point, finite, -1, 1, w.bt.at[finite]);
    w.g.at[finite][r - 1] = 1;
    w.a.at[finite][m - 1] = 1;
    w.gt = transposed(&w.g);
    w.at = transposed(&w.a);
    return w;
}

/* ---- code ---- */

/* A matrix whose unknowns are values; zeros and NULLs never meet an instruction.  Without an
 * emitter only the instructions are counted: `e` is NULL, values are then any non-null pointer. */
typedef struct Apply {
    Emit *e;
    int count;
} Apply;
static char some; /* a value while counting */

static Val counted(Apply *a) {
    ++a->count;
    return (Val)(void *)&some;
}

static Val sum(Apply *a, Val x, Val y) {
    return a->e ? em_fadd(a->e, x, y) : counted(a);
}

static Val difference(Apply *a, Val x, Val y) {
    return a->e ? em_fsub(a->e, x, y) : counted(a);
}

/* c * x + y; y may be NULL */
static Val add_scaled(Apply *a, double c, Val x, Val y) {
    if (c == 1)
        return y ? sum(a, y, x) : x;
    if (c == -1 && y)
        return difference(a, y, x);
    if (!a->e)
        return counted(a);
    if (c == -1)
        return em_fneg(a->e, x);
    return y ? em_fma(a->e, em_vec(a->e, c), x, y) : em_fmul(a->e, em_vec(a->e, c), x);
}

/* A sum of few terms c[k] * x[k]. */
typedef struct Terms {
    int n;
    double c[WINO_MAX];
    Val x[WINO_MAX];
} Terms;

static void add_term(Terms *t, double c, Val x) {
    if (c == 0 || !x)
        return;
    t->c[t->n] = c;
    t->x[t->n++] = x;
}

/* The sum divided by *scale, which is 1 unless no term has that factor.  NULL: empty. */
static Val total(Apply *a, const Terms *t, double *scale) {
    int first = 0;
    *scale = 1;
    if (t->n == 0)
        return NULL;
    for (int k = t->n - 1; k >= 0; --k)
        if (t->c[k] == 1)
            first = k;
    if (t->c[first] != 1)
        *scale = t->c[first];
    Val s = t->x[first];
    for (int k = 0; k < t->n; ++k)
        if (k != first)
            s = add_scaled(a, t->c[k] / *scale, t->x[k], s);
    return s;
}

/* A sum alone. */
static Val line(Apply *a, const Terms *t) {
    double scale;
    Val s = total(a, t, &scale);
    return s ? add_scaled(a, scale, s, NULL) : NULL;
}

/* Do p and q have equal magnitudes everywhere, some with equal and some with opposite sign? */
static bool twins(const double *p, const double *q, int n, int step) {
    int same = 0, opposite = 0;
    for (int k = 0; k < n; ++k) {
        double x = p[k * step], y = q[k * step];
        if (fabs(x) != fabs(y))
            return false;
        same += x != 0 && x == y;
        opposite += x != 0 && x == -y;
    }
    return same && opposite;
}

static int twin_row(const WinoMatrix *m, int i) {
    for (int j = i + 1; j < m->rows; ++j)
        if (twins(m->at[i], m->at[j], m->cols, 1))
            return j;
    return -1;
}

static int twin_column(const WinoMatrix *m, int k) {
    for (int l = k + 1; l < m->cols; ++l)
        if (twins(&m->at[0][k], &m->at[0][l], m->rows, WINO_MAX))
            return l;
    return -1;
}

/* Rows i and j = s + d and s - d. */
static void both_rows(Apply *a, const WinoMatrix *m, int i, int j, const Val *in, Val *at_i,
                      Val *at_j) {
    Terms same = {0}, other = {0};
    for (int k = 0; k < m->cols; ++k)
        add_term(m->at[i][k] == m->at[j][k] ? &same : &other, m->at[i][k], in[k]);
    double scale;
    Val s = line(a, &same), d = total(a, &other, &scale);
    *at_i = d ? add_scaled(a, scale, d, s) : s;
    *at_j = d ? add_scaled(a, -scale, d, s) : s;
}

static void apply_rows(Apply *a, const WinoMatrix *m, const Val *in, Val *out) {
    bool done[WINO_MAX] = {false};
    for (int i = 0; i < m->rows; ++i) {
        int j = done[i] ? -1 : twin_row(m, i);
        if (done[i])
            continue;
        if (j >= 0 && !done[j]) {
            both_rows(a, m, i, j, in, &out[i], &out[j]);
            done[j] = true;
            continue;
        }
        Terms t = {0};
        for (int k = 0; k < m->cols; ++k)
            add_term(&t, m->at[i][k], in[k]);
        out[i] = line(a, &t);
    }
}

/* Replaces twin columns by their sum and difference, which then meet half of the rows each. */
static void join_columns(Apply *a, WinoMatrix *m, Val *in) {
    for (int k = 0; k < m->cols; ++k) {
        int l = twin_column(m, k);
        if (l < 0 || !in[k] || !in[l])
            continue;
        Val x = in[k], y = in[l];
        in[k] = sum(a, x, y);
        in[l] = difference(a, x, y);
        for (int i = 0; i < m->rows; ++i) {
            bool same = m->at[i][k] == m->at[i][l];
            m->at[i][l] = same ? 0 : m->at[i][k];
            m->at[i][k] = same ? m->at[i][k] : 0;
        }
    }
}

static void apply(Apply *a, const WinoMatrix *matrix, const Val *in, int in_step, Val *out,
                  int out_step) {
    WinoMatrix m = *matrix;
    Val x[WINO_MAX], y[WINO_MAX];
    for (int k = 0; k < m.cols; ++k)
        x[k] = in[k * in_step];
    join_columns(a, &m, x);
    apply_rows(a, &m, x, y);
    for (int i = 0; i < m.rows; ++i)
        out[i * out_step] = y[i];
}

static void apply2(Apply *a, const WinoMatrix *m, const Val *in, Val *out) {
    Val half[WINO_MAX * WINO_MAX];
    for (int q = 0; q < m->cols; ++q)
        apply(a, m, in + q, m->cols, half + q, m->cols);
    for (int i = 0; i < m->rows; ++i)
        apply(a, m, half + i * m->cols, 1, out + i * m->rows, 1);
}

void wino_apply(Emit *e, const WinoMatrix *matrix, const Val *in, int in_step, Val *out,
                int out_step) {
    apply(&(Apply){.e = e}, matrix, in, in_step, out, out_step);
}

void wino_apply2(Emit *e, const WinoMatrix *matrix, const Val *in, Val *out) {
    apply2(&(Apply){.e = e}, matrix, in, out);
}

static void full(Val *in) {
    for (int i = 0; i < WINO_MAX * WINO_MAX; ++i)
        in[i] = (Val)(void *)&some;
}

int wino_ops(const WinoMatrix *matrix) {
    Apply a = {0};
    Val in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    full(in);
    apply(&a, matrix, in, 1, out, 1);
    return a.count;
}

int wino_ops2(const WinoMatrix *matrix) {
    Apply a = {0};
    Val in[WINO_MAX * WINO_MAX], out[WINO_MAX * WINO_MAX];
    full(in);
    apply2(&a, matrix, in, out);
    return a.count;
}
