/* scan.h: walks through a sequence that remember: lstm_lower.c, gru_lower.c (code in scan_lower.c).
 *
 * Scratch of an image: sums of products; gates, flat, as the walk makes them (AT_GATES) and as it
 * is given them (AT_GIVEN), room for SCAN_KEPT parts of `units` each; two states of a unit.  All of
 * it is zero when a walk begins.
 */
#ifndef OPS_SCAN_H
#define OPS_SCAN_H

#include "ops/conv.h"

enum { SCAN_BLOCK = 8 /* images at most */, SCAN_KEPT = 4 /* parts of what a step stores */ };

typedef struct Scan {
    KernelCtx *k;
    Emit *e;
    WeightView w;
    RegTile tile;
    int64_t offset[SCAN_BLOCK];
    int64_t units, steps;
    int64_t sums, flat, state; /* floats per image in scratch: of products, gates, a state */
    int64_t span;              /* of all an image has there */
    int width, images;         /* that walk together */
    Val first;                 /* of them */
} Scan;

enum { SCAN_AT_SUMS, SCAN_AT_GATES, SCAN_AT_GIVEN, SCAN_AT_H, SCAN_AT_C }; /* places in scratch */

void scan_open(Scan *s, KernelCtx *k, ValueId weights, ValueId sequence);
/* walk(user) for all images of all tasks, block by block; s belongs to user. */
typedef void (*ScanWalk)(void *user);
void scan_walk(Scan *s, ScanWalk walk, void *user);
Val scan_image(const Scan *s, Val p); /* image p of those that walk now */
Val scan_at(const Scan *s, Val p, int what);
/* The step behind t others. */
Val scan_step(const Scan *s, Val t, bool from_end);
/* sums = start + weights * what stands at `what`, of every image; start NULL: 0. */
typedef Val (*ScanStart)(Scan *s, void *user, int image, Val vector);
void scan_products(Scan *s, int what, ScanStart start, void *user);
/* Vector cb of a sequence at step x. */
Val scan_cell(const Scan *s, const View *v, Val n, Val cb, Val x);
/* All maps of image n at step x between a sequence and flat scratch. */
void scan_move(const Scan *s, const View *v, Val n, Val x, Val flat, bool store);
/* x with zeros for units beyond the last. */
Val scan_real(const Scan *s, Val unit, Val x);
/* The vector of part q that begins at a unit, in flat scratch: it may begin anywhere, and what is
 * put there does not reach into the next part. */
Val scan_gate(const Scan *s, Val flat, int q, Val unit);
void scan_put(const Scan *s, Val flat, int q, Val unit, Val x);
void scan_halos(const Scan *s, const View *v); /* cleared, of all images */

/* A walk forward: inputs are what the sequence adds to the gates, weights, bias; output 0 is h, the
 * others are written where a reader stores them. */
typedef struct ScanForward ScanForward;
struct ScanForward {
    Scan s;
    View src, out[4];
    bool wanted[4];
    int outs;
    Val bias, x;                           /* x: the step */
    ScanStart start;                       /* of the products; user: the ScanForward */
    void (*curves)(ScanForward *f, Val p); /* of image p, from its products */
};
void scan_forward(KernelCtx *k, ScanForward f); /* outs, start and curves are given */
Val scan_bias(const ScanForward *f, Val cb);
/* x, for the units from `unit` on, to output k at this step, if wanted */
void scan_write(const ScanForward *f, int k, Val n, Val unit, Val x);
/* Vector `vector` of the register tile, which may reach beyond the gates: the last one then. */
Val scan_within(const ScanForward *f, Val vector);

#endif
