/* clip_norm.c: the factor that keeps the norm of all gradients below a bound (facts; code in
 * clip_norm_lower.c).
 *
 * square_sums reads a gradient once and leaves a sum of squares per task; clip_factor adds what
 * several of them left, in order, and makes the factor of it.  The numbers are those that the
 * parameter's layout has: padding adds zeros.
 * theory: Pascanu, Mikolov, Bengio 2013, algorithm 1.
 */
#include "ops/facts.h"

static bool infer_square_sums(Infer *inf) {
    int64_t elems;
    if (inf->nin != 1 || !shape_product(&inf->in[0], &elems))
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs one gradient");
    inf->unbatched = true;
    return infer_out(inf, 0, shape_of1((elems + SQUARE_CHUNK - 1) / SQUARE_CHUNK), DT_F32);
}

static bool infer_clip_factor(Infer *inf) {
    inf->unbatched = true;
    return infer_out(inf, 0, shape_of1(1), DT_F32);
}

static double flops_square_sums(const Graph *g, NodeId n) {
    return 2 * value_elems(g, graph_n(g, n)->in[0]);
}

const OpDef opdef_square_sums = {
    .title = "sums of squares of a gradient",
    .formula = "dst[t] = sum of src[i]^2 over the numbers of part t",
    .doc = "Each part is a task: the order of every sum is fixed.",
    .theory = "Pascanu et al. 2013, algorithm 1",
    .infer = infer_square_sums,
    .flops = flops_square_sums,
    .lower = lower_square_sums,
    .choose = choose_square_sums,
};

static const AttrDesc factor_attrs[] = {ATTR_HIDDEN(ClipFactorAttrs, partial, AT_BOOL, "no")};

const OpDef opdef_clip_factor = {
    .title = "factor of all gradients",
    .formula = "s = sum of all inputs;  dst = min(1, clip / (sqrt(s) + 1e-6))  (partial: s)",
    .doc = "The factor that scales the gradients to the norm `clip` when theirs is larger, as "
           "PyTorch's clip_grad_norm_.",
    .theory = "Pascanu et al. 2013, algorithm 1",
    .attr_size = sizeof(ClipFactorAttrs),
    .attrs = factor_attrs,
    .nattrs = COUNT_OF(factor_attrs),
    .infer = infer_clip_factor,
    .flops = flops_none,
    .lower = lower_clip_factor,
    .choose = choose_clip_factor,
};
