/* lanes_loss.c: softmax, losses and radial basis functions inside a block kernel.
 *
 * The formulas of softmax_lower.c and rbf_lower.c with images in the lanes: what is a reduction over
 * lanes there is a plain loop over channels here.
 * ensures: lanes without an image seed no gradient.
 */
#include <math.h>

#include "ops/lanes.h"

/* ---- loops over channels ---- */

typedef struct Scores {
    LanesCtx *l;
    LanesTensor x;   /* scores or penalties */
    Val y_at, x_at;  /* pixel */
    bool negate;
} Scores;

static Val score(const Scores *s, Val c) {
    Emit *e = s->l->e;
    Val v = em_load(e, lanes_at(s->l, &s->x, c, s->y_at, s->x_at), 0, true);
    return s->negate ? em_fneg(e, v) : v;
}

static Val top_score(const Scores *s, double start) {
    Emit *e = s->l->e;
    Val acc[1] = {em_vec(e, start)};
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, s->x.c), 1, "c", acc, 1);
    acc[0] = em_fmax(e, acc[0], score(s, c.i));
    em_for_end(e, &c, acc, 1);
    return acc[0];
}

/* Sum over channels of term(c), in the order in which an ordinary kernel adds them: channel c goes
 * to lane c mod full, then halves, quarters, ...: the same bits as there. */
typedef Val (*TermFn)(const Scores *s, Val c, Val before, void *user);
static Val tree_sum(const Scores *s, TermFn term, void *user) {
    LanesCtx *l = s->l;
    Emit *e = l->e;
    int full = l->plan->full, lanes = l->t->vector;
    Val part = em_stack(e, (int64_t)full * lanes);
    em_zero(e, part, em_i64(e, (int64_t)full * lanes));
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, s->x.c), 1, "c", NULL, 0);
    Val lane = em_rem(e, c.i, em_i64(e, full));
    Val at = em_ptr(e, part, em_mul(e, lane, em_i64(e, lanes)));
    em_store(e, at, 0, term(s, c.i, em_load(e, at, 0, true), user), true);
    em_for_end(e, &c, NULL, 0);
    for (int half = full / 2; half >= 1; half /= 2) {
        Loop i = em_for(e, em_i64(e, 0), em_i64(e, half * lanes), lanes, "half", NULL, 0);
        Val low = em_ptr(e, part, i.i);
        Val sum = em_fadd(e, em_load(e, low, 0, true), em_load(e, low, half * lanes, true));
        em_store(e, low, 0, sum, true);
        em_for_end(e, &i, NULL, 0);
    }
    return em_load(e, part, 0, true);
}

static Val exp_term(const Scores *s, Val c, Val before, void *user) {
    Emit *e = s->l->e;
    return em_fadd(e, before, em_exp(e, em_fsub(e, score(s, c), (Val)user)));
}

static Val sum_exp(const Scores *s, Val top) {
    return tree_sum(s, exp_term, top);
}

/* The score of each image's own class. */
static Val own_score(const Scores *s, Val label) {
    Emit *e = s->l->e;
    Val acc[1] = {em_vec(e, 0)};
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, s->x.c), 1, "c", acc, 1);
    Val own = em_icmp(e, EM_EQ, label, em_splat_i32(e, c.i));
    acc[0] = em_select(e, own, score(s, c.i), acc[0]);
    em_for_end(e, &c, acc, 1);
    return acc[0];
}

/* ---- softmax ---- */

void lanes_softmax(LanesCtx *l) {
    Emit *e = l->e;
    LanesTensor out = lanes_tensor(l, l->node->out[0]);
    Scores s = {.l = l, .x = lanes_tensor(l, l->node->in[0])};
    Loop ly, lx;
    s.y_at = loop_begin(e, &ly, 0, out.h, 1, "y");
    s.x_at = loop_begin(e, &lx, 0, out.w, 1, "x");
    Val top = top_score(&s, -INFINITY), scale = em_fdiv(e, em_vec(e, 1), sum_exp(&s, top));
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, out.c), 1, "c", NULL, 0);
    Val p = em_fmul(e, em_exp(e, em_fsub(e, score(&s, c.i), top)), scale);
    em_store(e, lanes_at(l, &out, c.i, s.y_at, s.x_at), 0, p, true);
    em_for_end(e, &c, NULL, 0);
    loop_end(e, &lx);
    loop_end(e, &ly);
}

/* dx = y (dy - sum dy y) */
void lanes_softmax_bwd(LanesCtx *l) {
    Emit *e = l->e;
    LanesTensor dy = lanes_tensor(l, l->node->in[0]), y = lanes_tensor(l, l->node->in[1]);
    LanesTensor dx = lanes_tensor(l, l->node->out[0]);
    Loop ly, lx;
    Val py = loop_begin(e, &ly, 0, y.h, 1, "y"), px = loop_begin(e, &lx, 0, y.w, 1, "x");
    Val dot[1] = {em_vec(e, 0)};
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, y.c), 1, "c", dot, 1);
    dot[0] = em_fma(e, em_load(e, lanes_at(l, &dy, c.i, py, px), 0, true),
                    em_load(e, lanes_at(l, &y, c.i, py, px), 0, true), dot[0]);
    em_for_end(e, &c, dot, 1);
    c = em_for(e, em_i64(e, 0), em_i64(e, y.c), 1, "c", NULL, 0);
    Val d = em_fsub(e, em_load(e, lanes_at(l, &dy, c.i, py, px), 0, true), dot[0]);
    d = em_fmul(e, em_load(e, lanes_at(l, &y, c.i, py, px), 0, true), d);
    em_store(e, lanes_at(l, &dx, c.i, py, px), 0, d, true);
    em_for_end(e, &c, NULL, 0);
    loop_end(e, &lx);
    loop_end(e, &ly);
}

/* ---- losses ---- */

static Scores loss_scores(LanesCtx *l, bool negate, Val *label) {
    Val zero = em_i64(l->e, 0);
    *label = lanes_labels(l, graph_v(l->g, l->node->in[1])->slot);
    return (Scores){.l = l,
                    .x = lanes_tensor(l, l->node->in[0]),
                    .y_at = zero,
                    .x_at = zero,
                    .negate = negate};
}

static void put_loss(LanesCtx *l, Val loss) {
    const LossAttrs *a = l->attrs;
    LanesTensor out = lanes_tensor(l, l->node->out[0]);
    em_store(l->e, out.base, 0, em_fmul(l->e, loss, em_vec(l->e, a->weight)), true);
}

/* weight / n where there is an image */
static Val seed(LanesCtx *l) {
    Emit *e = l->e;
    const LossAttrs *a = l->attrs;
    Val one = em_fmul(e, frame_scalar(l->k, SCALAR_INV_N), em_f32(e, a->weight));
    return em_select(e, lanes_real(l), em_splat(e, one), em_vec(e, 0));
}

/* diff[c] = scale exp(score - top) + (c is the label ? at_label : 0) - spread (may be NULL) */
static void put_exponentials(const Scores *s, Val label, Val top, Val scale, Val at_label,
                             Val spread) {
    LanesCtx *l = s->l;
    Emit *e = l->e;
    LanesTensor out = lanes_tensor(l, l->node->out[0]);
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, s->x.c), 1, "c", NULL, 0);
    Val d = em_fmul(e, em_exp(e, em_fsub(e, score(s, c.i), top)), scale);
    Val own = em_icmp(e, EM_EQ, label, em_splat_i32(e, c.i));
    d = em_select(e, own, em_fadd(e, d, at_label), d);
    if (spread)
        d = em_fsub(e, d, spread);
    em_store(e, lanes_at(l, &out, c.i, s->y_at, s->x_at), 0, d, true);
    em_for_end(e, &c, NULL, 0);
}

static Val plain_term(const Scores *s, Val c, Val before, void *user) {
    (void)user;
    return em_fadd(s->l->e, before, score(s, c));
}

/* log sum exp(x) - (1 - smoothing) x_label - smoothing mean x */
void lanes_cross_entropy(LanesCtx *l) {
    Emit *e = l->e;
    Val label;
    Scores s = loss_scores(l, false, &label);
    Val top = top_score(&s, -INFINITY), log_sum = em_log(e, sum_exp(&s, top));
    Val truth = own_score(&s, label);
    double smoothing = ((const LossAttrs *)l->attrs)->smoothing;
    if (smoothing > 0)
        truth = em_fadd(e, em_fmul(e, truth, em_vec(e, 1 - smoothing)),
                        em_fmul(e, tree_sum(&s, plain_term, NULL),
                                em_vec(e, smoothing / (double)s.x.c)));
    put_loss(l, em_fadd(e, log_sum, em_fsub(e, top, truth)));
}

/* (softmax - onehot) weight / n */
void lanes_cross_entropy_bwd(LanesCtx *l) {
    Emit *e = l->e;
    Val label;
    Scores s = loss_scores(l, false, &label);
    Val top = top_score(&s, -INFINITY), one = seed(l);
    double smoothing = ((const LossAttrs *)l->attrs)->smoothing;
    Val scale = em_fdiv(e, one, sum_exp(&s, top)), own = one, spread = NULL;
    if (smoothing > 0) {
        own = em_fmul(e, one, em_vec(e, 1 - smoothing));
        spread = em_fmul(e, one, em_vec(e, smoothing / (double)s.x.c));
    }
    put_exponentials(&s, label, top, scale, em_fneg(e, own), spread);
}

static Val mse_difference(const Scores *s, Val c, Val label) {
    Emit *e = s->l->e;
    const LossAttrs *a = s->l->attrs;
    Val own = em_icmp(e, EM_EQ, label, em_splat_i32(e, c));
    return em_fsub(e, score(s, c), em_select(e, own, em_vec(e, a->on), em_vec(e, a->off)));
}

static Val square_term(const Scores *s, Val c, Val before, void *user) {
    Val d = mse_difference(s, c, (Val)user);
    return em_fma(s->l->e, d, d, before);
}

void lanes_mse(LanesCtx *l) {
    Emit *e = l->e;
    Val label;
    Scores s = loss_scores(l, false, &label);
    Val sum = tree_sum(&s, square_term, label);
    put_loss(l, em_fmul(e, sum, em_vec(e, 1.0 / (double)s.x.c)));
}

void lanes_mse_bwd(LanesCtx *l) {
    Emit *e = l->e;
    Val label;
    Scores s = loss_scores(l, false, &label);
    LanesTensor out = lanes_tensor(l, l->node->out[0]);
    Val scale = em_fmul(e, seed(l), em_vec(e, 2.0 / (double)s.x.c));
    Loop c = em_for(e, em_i64(e, 0), em_i64(e, s.x.c), 1, "c", NULL, 0);
    Val d = em_fmul(e, mse_difference(&s, c.i, label), scale);
    em_store(e, lanes_at(l, &out, c.i, s.y_at, s.x_at), 0, d, true);
    em_for_end(e, &c, NULL, 0);
}

/* exp(-j - m) + sum exp(-y_i - m) with m = max(-j, max_i -y_i) */
static Val map_sum(const Scores *s, Val *top) {
    Emit *e = s->l->e;
    const LossAttrs *a = s->l->attrs;
    *top = top_score(s, -a->j);
    Val floor = em_exp(e, em_fsub(e, em_vec(e, -a->j), *top));
    return em_fadd(e, sum_exp(s, *top), floor);
}

void lanes_lenet_map(LanesCtx *l) {
    Emit *e = l->e;
    Val label, top;
    Scores s = loss_scores(l, true, &label);
    Val log_sum = em_log(e, map_sum(&s, &top));
    Val own = em_fneg(e, own_score(&s, label));
    put_loss(l, em_fadd(e, own, em_fadd(e, log_sum, top)));
}

/* [i = true] - exp(-y_i) / (exp(-j) + sum exp(-y)) */
void lanes_lenet_map_bwd(LanesCtx *l) {
    Emit *e = l->e;
    Val label, top;
    Scores s = loss_scores(l, true, &label);
    Val sum = map_sum(&s, &top), one = seed(l);
    put_exponentials(&s, label, top, em_fneg(e, em_fdiv(e, one, sum)), one, NULL);
}

/* ---- radial basis functions ---- */

enum { RBF_TILE = 8 };

typedef struct Rbf {
    LanesTensor src, out, diff;
    WeightView w;
} Rbf;

static int pick_units(const void *user, int64_t n) {
    (void)user;
    return (int)ceil_div(n, ceil_div(n, RBF_TILE));
}

/* Centre row of feature j in o-tile `tile`. */
static Val centers_at(LanesCtx *l, const WeightView *w, Val tile, Val j) {
    Emit *e = l->e;
    Val block, inside;
    split_index(e, j, w->layout.i_block, &block, &inside);
    Val at = em_add(e, em_mul(e, tile, em_i64(e, w->tile)),
                    em_mul(e, block, em_i64(e, w->block)));
    return em_ptr(e, w->base, em_add(e, at, em_mul(e, inside, em_i64(e, w->row))));
}

static Val vector_at(LanesCtx *l, const LanesTensor *t, Val c, int64_t dc) {
    Val zero = em_i64(l->e, 0);
    return em_load(l->e, lanes_at(l, t, c, zero, zero), dc * t->plane, true);
}

/* y_i = sum_j (x_j - w_ij)^2 */
static void rbf_units(LanesCtx *l, void *user, Val block, Val inside, int count) {
    const Rbf *r = user;
    Emit *e = l->e;
    Val acc[RBF_TILE], zero = em_i64(e, 0);
    for (int i = 0; i < count; i++)
        acc[i] = em_vec(e, 0);
    Loop j = em_for(e, zero, em_i64(e, r->src.c), 1, "j", acc, count);
    Val x = vector_at(l, &r->src, j.i, 0);
    Val center = em_ptr(e, centers_at(l, &r->w, block, j.i), inside);
    for (int i = 0; i < count; i++) {
        Val d = em_fsub(e, x, em_bcast(e, center, i));
        acc[i] = em_fma(e, d, d, acc[i]);
    }
    em_for_end(e, &j, acc, count);
    Val unit = em_add(e, em_mul(e, block, em_i64(e, r->w.layout.o_tile)), inside);
    Val at = lanes_at(l, &r->out, unit, zero, zero);
    for (int i = 0; i < count; i++)
        em_store(e, at, i * r->out.plane, acc[i], true);
}

void lanes_rbf(LanesCtx *l) {
    Rbf r = {.src = lanes_tensor(l, l->node->in[0]), .out = lanes_tensor(l, l->node->out[0])};
    r.w = weights_of(l->k, l->node->in[1]);
    lanes_tiles(l, r.out.c, r.w.layout.o_tile, false, pick_units, rbf_units, &r);
}

/* dx_j = 2 sum_i dy_i (x_j - w_ij) */
void lanes_rbf_bwd_data(LanesCtx *l) {
    Emit *e = l->e;
    LanesTensor dy = lanes_tensor(l, l->node->in[0]), x = lanes_tensor(l, l->node->in[1]);
    LanesTensor dx = lanes_tensor(l, l->node->out[0]);
    WeightView w = weights_of(l->k, l->node->in[2]);
    Val zero = em_i64(e, 0);
    Loop j = em_for(e, zero, em_i64(e, x.c), 1, "j", NULL, 0);
    Val own = vector_at(l, &x, j.i, 0), sum[1] = {em_vec(e, 0)};
    Loop i = em_for(e, zero, em_i64(e, dy.c), 1, "unit", sum, 1);
    Val tile, inside;
    split_index(e, i.i, w.layout.o_tile, &tile, &inside);
    Val center = em_bcast(e, em_ptr(e, centers_at(l, &w, tile, j.i), inside), 0);
    sum[0] = em_fma(e, vector_at(l, &dy, i.i, 0), em_fsub(e, own, center), sum[0]);
    em_for_end(e, &i, sum, 1);
    em_store(e, lanes_at(l, &dx, j.i, zero, zero), 0, em_fmul(e, sum[0], em_vec(e, 2)), true);
    em_for_end(e, &j, NULL, 0);
}

/* dw_ij = 2 sum_n dy_i (w_ij - x_j) */
void lanes_rbf_bwd_centers(LanesCtx *l) {
    Emit *e = l->e;
    LanesTensor dy = lanes_tensor(l, l->node->in[0]), x = lanes_tensor(l, l->node->in[1]);
    WeightView w = weights_of(l->k, l->node->in[2]);
    bool cleared;
    WeightView dw = lanes_gradient_weights(l, l->node->out[0], &cleared);
    Loop j = em_for(e, em_i64(e, 0), em_i64(e, x.c), 1, "j", NULL, 0);
    Val own = vector_at(l, &x, j.i, 0);
    Loop i = em_for(e, em_i64(e, 0), em_i64(e, dy.c), 1, "unit", NULL, 0);
    Val tile, inside;
    split_index(e, i.i, w.layout.o_tile, &tile, &inside);
    Val center = em_bcast(e, em_ptr(e, centers_at(l, &w, tile, j.i), inside), 0);
    Val d = em_fmul(e, vector_at(l, &dy, i.i, 0), em_fsub(e, center, own));
    Val sum = em_fmul(e, em_reduce_add(e, d), em_f32(e, 2));
    Val to = em_ptr(e, centers_at(l, &dw, tile, j.i), inside);
    em_store1(e, to, 0, em_fadd(e, lanes_before(l, to, 0, cleared, true), sum));
    em_for_end(e, &i, NULL, 0);
    em_for_end(e, &j, NULL, 0);
}
