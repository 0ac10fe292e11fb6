/* ref_recur.c: lstm and gru as loops in double precision (see ref_ops.h).
 *
 * The layers are written from their equations, their steps apart from that, and the steps' gradients
 * as the derivative of one unit's curves, with the recurrent sum written out.  Parameters in PyTorch's
 * order and with its order of gates: input, forget, cell, output; reset, update, new.
 */
#include "ref_recur.h"

#include <math.h>
#include <stdlib.h>

#include "base/bug.h"
#include "ops/attrs.h"


/* Map c at step t of image n. */
static double *at(const RefTensor *s, int64_t n, int64_t c, int64_t t) {
    return &s->at[(n * s->shape.dim[0] + c) * s->shape.dim[2] + t];
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* The step at which the walk is after `count` others. */
static int64_t step(const RecurAttrs *a, int64_t steps, int64_t count) {
    return a->reverse ? steps - 1 - count : count;
}

static double *zeros(int64_t n) {
    double *p = calloc((size_t)n, sizeof *p);
    BUG_IF(!p, "no memory");
    return p;
}

void ref_lstm(const RefCall *r) {
    const RecurAttrs *a = r->attrs;
    const double *wx = r->in[1].at, *wh = r->in[2].at, *bx = r->in[3].at, *bh = r->in[4].at;
    int64_t H = a->units, C = r->in[0].shape.dim[0], L = r->in[0].shape.dim[2];
    double *h = zeros(H), *c = zeros(H), *sum = zeros(4 * H);
    FOR(n, r->n) {
        FOR(u, H) h[u] = c[u] = 0;
        FOR(count, L) {
            int64_t t = step(a, L, count);
            FOR(q, 4 * H) {
                sum[q] = bx[q] + bh[q];
                FOR(i, C) sum[q] += wx[q * C + i] * *at(&r->in[0], n, i, t);
                FOR(j, H) sum[q] += wh[q * H + j] * h[j];
            }
            FOR(u, H) {
                double in = sigmoid(sum[u]), forget = sigmoid(sum[H + u]);
                c[u] = forget * c[u] + in * tanh(sum[2 * H + u]);
                h[u] = sigmoid(sum[3 * H + u]) * tanh(c[u]);
                if (a->all)
                    *at(r->out, n, u, t) = h[u];
                else
                    r->out->at[n * H + u] = h[u];
            }
        }
    }
    free(h);
    free(c);
    free(sum);
}

/* Outputs: h, the gates, c, h of the step before; the tensors themselves are the memory. */
void ref_lstm_scan(const RefCall *r) {
    const RecurAttrs *a = r->attrs;
    int64_t H = a->units, L = r->in[0].shape.dim[2];
    FOR(n, r->n) FOR(count, L) {
        int64_t t = step(a, L, count), before = count ? step(a, L, count - 1) : 0;
        FOR(u, H) {
            double gate[4], past = count ? *at(&r->out[2], n, u, before) : 0;
            FOR(q, 4) {
                int64_t row = q * H + u;
                double sum = *at(&r->in[0], n, row, t) + r->in[2].at[row];
                FOR(j, H)
                sum += count ? r->in[1].at[row * H + j] * *at(&r->out[0], n, j, before) : 0;
                gate[q] = q == 2 ? tanh(sum) : sigmoid(sum);
                *at(&r->out[1], n, row, t) = gate[q];
            }
            *at(&r->out[2], n, u, t) = gate[1] * past + gate[0] * gate[2];
            *at(&r->out[3], n, u, t) = count ? *at(&r->out[0], n, u, before) : 0;
        }
        FOR(u, H)
        *at(&r->out[0], n, u, t) =
            *at(&r->out[1], n, 3 * H + u, t) * tanh(*at(&r->out[2], n, u, t));
    }
}

/* diff_dst, gates, c, weight; the transposed packing has the same logical numbers. */
void ref_lstm_scan_bwd(const RefCall *r) {
    const RecurAttrs *a = r->attrs;
    int64_t H = a->units, L = r->in[0].shape.dim[2];
    double *dc = zeros(H);
    FOR(n, r->n) {
        FOR(u, H) dc[u] = 0;
        for (int64_t count = L - 1; count >= 0; count--) {
            int64_t t = step(a, L, count), after = count + 1 < L ? step(a, L, count + 1) : 0;
            FOR(u, H) {
                double gate[4], d[4], dh = *at(&r->in[0], n, u, t);
                FOR(q, 4) gate[q] = *at(&r->in[1], n, q * H + u, t);
                FOR(q, count + 1 < L ? 4 * H : 0)
                dh += r->in[3].at[q * H + u] * *at(r->out, n, q, after);
                double c = *at(&r->in[2], n, u, t), y = tanh(c);
                double past = count ? *at(&r->in[2], n, u, step(a, L, count - 1)) : 0;
                double whole = dc[u] + dh * gate[3] * (1 - y * y);
                d[0] = whole * gate[2] * gate[0] * (1 - gate[0]);
                d[1] = whole * past * gate[1] * (1 - gate[1]);
                d[2] = whole * gate[0] * (1 - gate[2] * gate[2]);
                d[3] = dh * y * gate[3] * (1 - gate[3]);
                dc[u] = whole * gate[1];
                FOR(q, 4) * at(r->out, n, q * H + u, t) = d[q];
            }
        }
    }
    free(dc);
}

/* ---- gru ---- */

void ref_gru(const RefCall *r) {
    const RecurAttrs *a = r->attrs;
    const double *wx = r->in[1].at, *wh = r->in[2].at, *bx = r->in[3].at, *bh = r->in[4].at;
    int64_t H = a->units, C = r->in[0].shape.dim[0], L = r->in[0].shape.dim[2];
    double *h = zeros(H), *x = zeros(3 * H), *y = zeros(3 * H);
    FOR(n, r->n) {
        FOR(u, H) h[u] = 0;
        FOR(count, L) {
            int64_t t = step(a, L, count);
            FOR(q, 3 * H) {
                x[q] = bx[q];
                y[q] = bh[q];
                FOR(i, C) x[q] += wx[q * C + i] * *at(&r->in[0], n, i, t);
                FOR(j, H) y[q] += wh[q * H + j] * h[j];
            }
            FOR(u, H) {
                double reset = sigmoid(x[u] + y[u]), update = sigmoid(x[H + u] + y[H + u]);
                double new = tanh(x[2 * H + u] + reset * y[2 * H + u]);
                h[u] = (1 - update) * new + update * h[u];
                if (a->all)
                    *at(r->out, n, u, t) = h[u];
                else
                    r->out->at[n * H + u] = h[u];
            }
        }
    }
    free(h);
    free(x);
    free(y);
}

/* Outputs: h, the gates and the product that the reset gate multiplies, h of the step before. */
void ref_gru_scan(const RefCall *r) {
    const RecurAttrs *a = r->attrs;
    int64_t H = a->units, L = r->in[0].shape.dim[2];
    FOR(n, r->n) FOR(count, L) {
        int64_t t = step(a, L, count), before = count ? step(a, L, count - 1) : 0;
        FOR(u, H) {
            double x[3], y[3], gate[4], past = count ? *at(&r->out[0], n, u, before) : 0;
            FOR(q, 3) {
                int64_t row = q * H + u;
                x[q] = *at(&r->in[0], n, row, t);
                y[q] = r->in[2].at[row];
                FOR(j, H)
                y[q] += count ? r->in[1].at[row * H + j] * *at(&r->out[0], n, j, before) : 0;
            }
            gate[0] = sigmoid(x[0] + y[0]);
            gate[1] = sigmoid(x[1] + y[1]);
            gate[2] = tanh(x[2] + gate[0] * y[2]);
            gate[3] = y[2];
            FOR(q, 4) * at(&r->out[1], n, q * H + u, t) = gate[q];
            *at(&r->out[2], n, u, t) = past;
            *at(&r->out[0], n, u, t) = (1 - gate[1]) * gate[2] + gate[1] * past;
        }
    }
}

/* diff_dst, gates, h of the step before, weight; out: of what enters the gates, of the sums. */
void ref_gru_scan_bwd(const RefCall *r) {
    const RecurAttrs *a = r->attrs;
    int64_t H = a->units, L = r->in[0].shape.dim[2];
    double *past = zeros(H);
    FOR(n, r->n) {
        FOR(u, H) past[u] = 0;
        for (int64_t count = L - 1; count >= 0; count--) {
            int64_t t = step(a, L, count), after = count + 1 < L ? step(a, L, count + 1) : 0;
            FOR(u, H) {
                double gate[4], d[3], dh = *at(&r->in[0], n, u, t) + past[u];
                FOR(q, 4) gate[q] = *at(&r->in[1], n, q * H + u, t);
                FOR(q, count + 1 < L ? 3 * H : 0)
                dh += r->in[3].at[q * H + u] * *at(&r->out[1], n, q, after);
                d[1] = dh * (*at(&r->in[2], n, u, t) - gate[2]) * gate[1] * (1 - gate[1]);
                d[2] = dh * (1 - gate[1]) * (1 - gate[2] * gate[2]);
                d[0] = d[2] * gate[3] * gate[0] * (1 - gate[0]);
                past[u] = dh * gate[1];
                FOR(q, 3) {
                    *at(&r->out[0], n, q * H + u, t) = d[q];
                    *at(&r->out[1], n, q * H + u, t) = q == 2 ? d[2] * gate[0] : d[q];
                }
            }
        }
    }
    free(past);
}

/* ---- cases ---- */

static const struct {
    const char *what;
    int64_t maps, steps;
    RecurAttrs a;
} recur_case[REF_RECUR_CASES] = {
    {"one unit, one step", 1, 1, {1, 0, false}},  {"3 units", 2, 5, {3, 1, false}},
    {"last of 5 units", 4, 6, {5, 0, false}},     {"16 units", 3, 4, {16, 1, false}},
    {"17 units, reverse", 5, 4, {17, 1, true}},   {"last, reverse", 4, 5, {6, 0, true}},
    {"8 units, 17 maps", 17, 3, {8, 0, false}},   {"33 units", 2, 3, {33, 1, false}},
    {"20 units, one step", 3, 1, {20, 1, false}}, {"4 units, 23 steps", 1, 23, {4, 0, false}},
    {"32 units, reverse", 16, 3, {32, 0, true}},  {"2 units, 9 steps", 6, 9, {2, 1, true}},
};

static void add(RefCase *r, RefInput kind, Shape s) {
    r->kind[r->nin] = kind;
    r->in[r->nin++] = s;
}

/* A layer, its steps or their gradient, of either kind. */
RefCase ref_recur_case(Arena *keep, int op, int i) {
    int64_t H = recur_case[i].a.units, C = recur_case[i].maps, L = recur_case[i].steps;
    bool layer = op == OP_LSTM || op == OP_GRU, scan = op == OP_LSTM_SCAN || op == OP_GRU_SCAN;
    bool gru = op == OP_GRU || op == OP_GRU_SCAN || op == OP_GRU_SCAN_BWD;
    int64_t rows = (gru ? 3 : 4) * H;
    if (!layer && !scan && L > 9)
        L = 9; /* numbers that are no gates make gradients grow without limit */
    Shape sums = {3, {rows, 1, L}}, gates = {3, {4 * H, 1, L}}, state = {3, {H, 1, L}};
    Shape src = {3, {C, 1, L}}, in = {4, {rows, C, 1, 1}}, back = {4, {rows, H, 1, 1}};
    Shape bias = {1, {rows}};
    RefCase r = {.what = recur_case[i].what, .rounds = true};
    RecurAttrs *a = ARENA_NEW(keep, RecurAttrs);
    *a = recur_case[i].a;
    r.attrs = a;
    if (!layer)
        a->all = 0;
    if (layer) {
        add(&r, REF_DATA, src);
        add(&r, REF_WEIGHT, in);
        add(&r, REF_WEIGHT, back);
        add(&r, REF_WEIGHT, bias);
        add(&r, REF_WEIGHT, bias);
    } else if (scan) {
        add(&r, REF_DATA, sums);
        add(&r, REF_WEIGHT, back);
        add(&r, REF_WEIGHT, bias);
    } else {
        add(&r, REF_DATA, state);
        add(&r, REF_DATA, gates);
        add(&r, REF_DATA, state);
        add(&r, REF_WEIGHT, back);
    }
    return r;
}
