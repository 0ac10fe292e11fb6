/* gru_lower.c: the walk of gru through time, forward and backward (scan.h).
 *
 * Parts of what a step stores: r, z, n, and m, the recurrent product that r multiplies.
 * ensures: padding lanes and halos of what is stored are zero.
 */
#include "ops/scan.h"

enum { R, Z, N, M };

/* ---- forward ---- */

/* Of the recurrent sums alone: r multiplies a part of them. */
static Val start_bias(Scan *s, void *user, int image, Val vector) {
    (void)s, (void)image;
    return scan_bias(user, scan_within(user, vector));
}

static void curves(ScanForward *f, Val p) {
    Scan *s = &f->s;
    Emit *e = s->e;
    Val n = scan_image(s, p), sums = scan_at(s, p, SCAN_AT_SUMS), h = scan_at(s, p, SCAN_AT_H);
    Val flat = scan_at(s, p, SCAN_AT_GATES), given = scan_at(s, p, SCAN_AT_GIVEN), gate[4];
    scan_move(s, &f->src, n, f->x, given, false);
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    for (int q = R; q <= Z; q++) {
        Val sum = em_load(e, scan_gate(s, sums, q, u.i), 0, false);
        gate[q] = em_sigmoid(e, em_fadd(e, em_load(e, scan_gate(s, given, q, u.i), 0, false), sum));
    }
    gate[M] = em_load(e, scan_gate(s, sums, N, u.i), 0, false);
    Val x = em_load(e, scan_gate(s, given, N, u.i), 0, false);
    gate[N] = em_tanh(e, em_fma(e, gate[R], gate[M], x));
    for (int q = 0; q < 4 && f->wanted[1]; q++)
        scan_put(s, flat, q, u.i, gate[q]);
    Val h_at = em_ptr(e, h, u.i), old = em_load(e, h_at, 0, true);
    scan_write(f, 2, n, u.i, old);
    Val now = em_fma(e, gate[Z], em_fsub(e, old, gate[N]), gate[N]);
    now = scan_real(s, u.i, now);
    em_store(e, h_at, 0, now, true);
    scan_write(f, 0, n, u.i, now);
    em_for_end(e, &u, NULL, 0);
    if (f->wanted[1])
        scan_move(s, &f->out[1], n, f->x, flat, true);
}

void lower_gru_scan(KernelCtx *k) { /* outputs: h, gates, h of the step before */
    scan_forward(k, (ScanForward){.outs = 3, .start = start_bias, .curves = curves});
}

/* ---- backward ---- */

typedef struct Backward {
    Scan s;
    View dy, gates, before, dx, dsums;
    bool wanted[2]; /* dx, dsums */
    Val x;
} Backward;

/* Of x (1 - x) and 1 - x^2, the curves' slopes at what they gave. */
static Val sigmoid_slope(Emit *e, Val y) {
    return em_fmul(e, y, em_fsub(e, em_vec(e, 1), y));
}

/* d of the three gates goes to flat scratch, that of m to its place among what was given; AT_C
 * holds what flows to the step before past the weights. */
static void curves_back(Backward *b, Val p) {
    Scan *s = &b->s;
    Emit *e = s->e;
    Val n = scan_image(s, p), sums = scan_at(s, p, SCAN_AT_SUMS);
    Val flat = scan_at(s, p, SCAN_AT_GATES), given = scan_at(s, p, SCAN_AT_GIVEN);
    Val past_at = scan_at(s, p, SCAN_AT_C), gate[4], one = em_vec(e, 1), cb, lane;
    scan_move(s, &b->gates, n, b->x, given, false);
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    split_index(e, u.i, s->width, &cb, &lane);
    for (int q = 0; q < 4; q++)
        gate[q] = em_load(e, scan_gate(s, given, q, u.i), 0, false);
    past_at = em_ptr(e, past_at, u.i);
    Val dh = em_fadd(e, em_load(e, em_ptr(e, sums, u.i), 0, true), em_load(e, past_at, 0, true));
    dh = em_fadd(e, dh, em_load(e, scan_cell(s, &b->dy, n, cb, b->x), 0, true));
    Val old = em_load(e, scan_cell(s, &b->before, n, cb, b->x), 0, true);
    Val dz = em_fmul(e, em_fmul(e, dh, em_fsub(e, old, gate[N])), sigmoid_slope(e, gate[Z]));
    Val dn = em_fmul(e, dh, em_fsub(e, one, gate[Z]));
    dn = em_fmul(e, dn, em_fsub(e, one, em_fmul(e, gate[N], gate[N])));
    scan_put(s, flat, R, u.i, em_fmul(e, em_fmul(e, dn, gate[M]), sigmoid_slope(e, gate[R])));
    scan_put(s, flat, Z, u.i, dz);
    scan_put(s, flat, N, u.i, dn);
    scan_put(s, given, M, u.i, em_fmul(e, dn, gate[R]));
    em_store(e, past_at, 0, scan_real(s, u.i, em_fmul(e, dh, gate[Z])), true);
    em_for_end(e, &u, NULL, 0);
    if (b->wanted[0])
        scan_move(s, &b->dx, n, b->x, flat, true);
    Loop m = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    scan_put(s, flat, N, m.i, em_load(e, scan_gate(s, given, M, m.i), 0, false));
    em_for_end(e, &m, NULL, 0);
    if (b->wanted[1])
        scan_move(s, &b->dsums, n, b->x, flat, true);
}

static void walk_backward(void *user) {
    Backward *b = user;
    const RecurAttrs *a = b->s.k->attrs;
    Emit *e = b->s.e;
    if (b->wanted[0])
        scan_halos(&b->s, &b->dx);
    if (b->wanted[1])
        scan_halos(&b->s, &b->dsums);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, b->s.steps), 1, "step", NULL, 0);
    b->x = scan_step(&b->s, t.i, !a->reverse);
    Loop p = em_for(e, em_i64(e, 0), em_i64(e, b->s.images), 1, "image", NULL, 0);
    curves_back(b, p.i);
    em_for_end(e, &p, NULL, 0);
    scan_products(&b->s, SCAN_AT_GATES, NULL, NULL);
    em_for_end(e, &t, NULL, 0);
}

void lower_gru_scan_bwd(KernelCtx *k) {
    const Node *node = k->node;
    Backward b = {.dy = view_of(k, node->in[0]),
                  .gates = view_of(k, node->in[1]),
                  .before = view_of(k, node->in[2])};
    scan_open(&b.s, k, node->in[3], node->in[0]);
    for (int i = 0; i < 2; i++) {
        b.wanted[i] = node->out[i] && graph_v(k->g, node->out[i])->stored;
        if (b.wanted[i])
            *(i ? &b.dsums : &b.dx) = view_of(k, node->out[i]);
    }
    scan_walk(&b.s, walk_backward, &b);
}
