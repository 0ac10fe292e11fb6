/* tile.c: the register tile under all convolutions and dense layers (see conv.h).
 *
 * requires: pixels x vectors accumulators plus the weights' vectors plus one broadcast fit the
 * register file.  ensures: one accumulator chain per output in the order of the loops, so a result
 * does not depend on how many pixels share a tile.
 * Loops over blocks and taps stay loops: with taps unrolled LLVM keeps pixels of neighbouring taps
 * alive and spills; only a few input channels are unrolled.
 */
#include "ops/conv.h"

typedef struct Summing {
    Emit *e;
    RegTile *t;
    const Nest *nest;
} Summing;

/* `count` input channels, straight-line. */
static void body(const Summing *s, int64_t count, Val src, Val w) {
    Emit *e = s->e;
    RegTile *t = s->t;
    int width = em_width(e);
    for (int64_t u = 0; u < count; ++u) {
        Val wv[TILE_MAX_VECTORS];
        for (int j = 0; j < t->oc; ++j)
            wv[j] = weights_load(e, s->nest->bf16, w, u * s->nest->wgt + j * width);
        if (s->nest->prefetch)
            for (int j = 0; j<t->oc; j += 16 / width> 1 ? 16 / width : 1)
                weights_fetch(e, s->nest->bf16, w,
                              s->nest->prefetch + u * s->nest->wgt + j * width);
        for (int p = 0; p < t->pixels; ++p) {
            Val x = em_bcast(e, src, t->offset[p] + u * s->nest->src);
            for (int j = 0; j < t->oc; ++j) {
                Val *acc = &t->acc[p * t->oc + j];
                *acc = em_fma(e, x, wv[j], *acc);
            }
        }
    }
}

static void channels(const Summing *s, Val from, Val to, Val src, Val w) {
    Emit *e = s->e;
    const Nest *nest = s->nest;
    int64_t lo, hi;
    if (em_const_i64(from, &lo) && em_const_i64(to, &hi) && lo == 0 && hi <= nest->unroll) {
        body(s, hi, em_opaque(e, src), em_opaque(e, w));
        return;
    }
    int n = s->t->pixels * s->t->oc;
    src = em_opaque(e, src);
    w = em_opaque(e, w);
    Loop l = em_for(e, from, to, nest->unroll, "i", s->t->acc, n);
    body(s, nest->unroll, em_ptr(e, src, em_mul(e, l.i, em_i64(e, nest->src))),
         weights_ptr(e, nest->bf16, w, em_mul(e, l.i, em_i64(e, nest->wgt))));
    em_for_end(e, &l, s->t->acc, n);
}

static void level(const Summing *s, int depth, Val trip, Val src, Val w) {
    Emit *e = s->e;
    const Nest *nest = s->nest;
    if (depth == nest->n) {
        channels(s, nest->n ? em_i64(e, 0) : nest->from, nest->n ? trip : nest->to, src, w);
        return;
    }
    static const char *const name[] = {"block", "tap", "tap.x"};
    const NestLoop *nl = &nest->loop[depth];
    int n = s->t->pixels * s->t->oc;
    Val from = depth ? em_i64(e, 0) : nest->from, to = depth ? nl->extent : nest->to;
    Loop l = em_for(e, from, to, 1, name[depth], s->t->acc, n);
    if (depth == 0 && nest->partial)
        trip = em_select(e, em_icmp(e, EM_EQ, l.i, em_sub(e, nest->blocks, em_i64(e, 1))),
                         em_i64(e, nest->last_channels), trip);
    level(s, depth + 1, trip, em_ptr(e, src, em_mul(e, l.i, em_i64(e, nl->src))),
          weights_ptr(e, nest->bf16, w, em_mul(e, l.i, em_i64(e, nl->wgt))));
    em_for_end(e, &l, s->t->acc, n);
}

void tile_sum(Emit *e, RegTile *t, const Nest *nest, Val src, Val weights) {
    Summing s = {e, t, nest};
    BUG_IF(t->pixels * t->oc > TILE_MAX_ACC || t->oc > TILE_MAX_VECTORS, "register tile %dx%d",
           t->pixels, t->oc);
    level(&s, 0, em_i64(e, nest->channels), src, weights);
}

void tile_start(Emit *e, RegTile *t, Val bias) {
    for (int j = 0; j < t->oc; ++j) {
        Val v = bias ? em_load(e, bias, j * em_width(e), true) : em_vec(e, 0);
        for (int p = 0; p < t->pixels; ++p)
            t->acc[p * t->oc + j] = v;
    }
}

void nest_loop(Nest *nest, Val extent, int64_t src, int64_t wgt) {
    int64_t x;
    if (em_const_i64(extent, &x) && x == 1 && !(nest->n == 0 && nest->partial))
        return;
    BUG_IF(nest->n == 3, "loop nest too deep");
    nest->loop[nest->n++] = (NestLoop){extent, src, wgt};
}

bool epi_has_halo(const Epi *ep) {
    for (int i = 0; i < ep->n; ++i)
        for (int side = 0; side < 4; ++side)
            if (ep->t[i].view.layout.halo[side])
                return true;
    return false;
}
