/* lstm_lower.c: the walk of lstm through time, forward and backward (scan.h).
 *
 * ensures: padding lanes and halos of what is stored are zero.
 */
#include "ops/scan.h"

enum { SPAN = 4 /* gates */ };

/* ---- forward ---- */

static Val start_gates(Scan *s, void *user, int image, Val vector) {
    const ScanForward *f = user;
    Emit *e = s->e;
    Val cb = scan_within(f, vector);
    Val n = scan_image(s, em_i64(e, image));
    Val src = em_load(e, scan_cell(s, &f->src, n, cb, f->x), 0, true);
    return em_fadd(e, src, scan_bias(f, cb));
}

static void curves(ScanForward *f, Val p) {
    Scan *s = &f->s;
    Emit *e = s->e;
    Val n = scan_image(s, p), sums = scan_at(s, p, SCAN_AT_SUMS),
        flat = scan_at(s, p, SCAN_AT_GATES);
    Val h = scan_at(s, p, SCAN_AT_H), c = scan_at(s, p, SCAN_AT_C), gate[SPAN];
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    for (int q = 0; q < SPAN; q++) {
        Val x = em_load(e, scan_gate(s, sums, q, u.i), 0, false);
        gate[q] = q == 2 ? em_tanh(e, x) : em_sigmoid(e, x);
        if (f->wanted[1])
            scan_put(s, flat, q, u.i, gate[q]);
    }
    Val h_at = em_ptr(e, h, u.i), c_at = em_ptr(e, c, u.i);
    scan_write(f, 3, n, u.i, em_load(e, h_at, 0, true));
    Val now = em_fmul(e, gate[0], gate[2]);
    now = scan_real(s, u.i, em_fma(e, gate[1], em_load(e, c_at, 0, true), now));
    Val out = scan_real(s, u.i, em_fmul(e, gate[3], em_tanh(e, now)));
    em_store(e, c_at, 0, now, true);
    em_store(e, h_at, 0, out, true);
    scan_write(f, 0, n, u.i, out);
    scan_write(f, 2, n, u.i, now);
    em_for_end(e, &u, NULL, 0);
    if (f->wanted[1])
        scan_move(s, &f->out[1], n, f->x, flat, true);
}

void lower_lstm_scan(KernelCtx *k) { /* outputs: h, gates, c, h of the step before */
    scan_forward(k, (ScanForward){.outs = 4, .start = start_gates, .curves = curves});
}

/* ---- backward ---- */

typedef struct Backward {
    Scan s;
    View dy, gates, c, dx;
    Val x, before, is_first; /* step, the one before it, there is none */
} Backward;

/* f' of sigmoid and tanh from f */
static Val slope(Emit *e, int q, Val y) {
    Val one = em_vec(e, 1);
    return q == 2 ? em_fsub(e, one, em_fmul(e, y, y)) : em_fmul(e, y, em_fsub(e, one, y));
}

static void curves_back(Backward *b, Val p) {
    Scan *s = &b->s;
    Emit *e = s->e;
    Val n = scan_image(s, p), sums = scan_at(s, p, SCAN_AT_SUMS),
        given = scan_at(s, p, SCAN_AT_GIVEN);
    Val flat = scan_at(s, p, SCAN_AT_GATES), dc_at = scan_at(s, p, SCAN_AT_C), gate[SPAN], d[SPAN];
    scan_move(s, &b->gates, n, b->x, given, false);
    Loop u = em_for(e, em_i64(e, 0), em_i64(e, s->units), s->width, "unit", NULL, 0);
    Val cb, lane;
    split_index(e, u.i, s->width, &cb, &lane);
    for (int q = 0; q < SPAN; q++)
        gate[q] = em_load(e, scan_gate(s, given, q, u.i), 0, false);
    Val dh = em_load(e, em_ptr(e, sums, u.i), 0, true);
    dh = em_fadd(e, dh, em_load(e, scan_cell(s, &b->dy, n, cb, b->x), 0, true));
    Val curve = em_tanh(e, em_load(e, scan_cell(s, &b->c, n, cb, b->x), 0, true));
    Val old = em_load(e, scan_cell(s, &b->c, n, cb, b->before), 0, true);
    old = em_select(e, b->is_first, em_vec(e, 0), old);
    Val dc = em_fmul(e, em_fmul(e, dh, gate[3]), slope(e, 2, curve));
    dc_at = em_ptr(e, dc_at, u.i);
    dc = em_fadd(e, em_load(e, dc_at, 0, true), dc);
    d[0] = em_fmul(e, dc, gate[2]);
    d[1] = em_fmul(e, dc, old);
    d[2] = em_fmul(e, dc, gate[0]);
    d[3] = em_fmul(e, dh, curve);
    em_store(e, dc_at, 0, scan_real(s, u.i, em_fmul(e, dc, gate[1])), true);
    for (int q = 0; q < SPAN; q++)
        scan_put(s, flat, q, u.i, em_fmul(e, d[q], slope(e, q, gate[q])));
    em_for_end(e, &u, NULL, 0);
    scan_move(s, &b->dx, n, b->x, flat, true);
}

static void walk_backward(void *user) {
    Backward *b = user;
    const RecurAttrs *a = b->s.k->attrs;
    Emit *e = b->s.e;
    scan_halos(&b->s, &b->dx);
    Loop t = em_for(e, em_i64(e, 0), em_i64(e, b->s.steps), 1, "step", NULL, 0);
    Val last = em_i64(e, b->s.steps - 1), before = em_add(e, t.i, em_i64(e, 1));
    b->is_first = em_icmp(e, EM_EQ, t.i, last);
    b->x = scan_step(&b->s, t.i, !a->reverse);
    b->before = scan_step(&b->s, em_imin(e, before, last), !a->reverse);
    Loop p = em_for(e, em_i64(e, 0), em_i64(e, b->s.images), 1, "image", NULL, 0);
    curves_back(b, p.i);
    em_for_end(e, &p, NULL, 0);
    scan_products(&b->s, SCAN_AT_GATES, NULL, NULL);
    em_for_end(e, &t, NULL, 0);
}

void lower_lstm_scan_bwd(KernelCtx *k) {
    const Node *node = k->node;
    Backward b = {.dy = view_of(k, node->in[0]),
                  .gates = view_of(k, node->in[1]),
                  .c = view_of(k, node->in[2]),
                  .dx = view_of(k, node->out[0])};
    scan_open(&b.s, k, node->in[3], node->in[0]);
    scan_walk(&b.s, walk_backward, &b);
}
