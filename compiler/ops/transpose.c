/* transpose.c: axes in another order, maps shuffled between groups, other shapes (facts; code in
 * transpose_maps_lower.c).
 *
 * theory: permutation matrices, whose transpose is their inverse; Zhang, Zhou, Lin, Sun,
 * "ShuffleNet", CVPR 2018, section 3.1.
 */
#include <string.h>

#include "ops/facts.h"
#include "ops/resample.h"

#define ADJOINT "All projections use the adjoint."

/* ---- transpose ---- */

static const AttrDesc transpose_attrs[] = {
    {"order", AT_ENUM, offsetof(PermuteAttrs, order), true, NULL, "chw|cwh|hcw|hwc|wch|whc", 1, 0,
     "which axes of the input become maps, rows and columns", false},
};

/* Axis d of the result is axis order[d] of src. */
static const int axes[][3] = {
    [ORDER_CHW] = {0, 1, 2}, [ORDER_CWH] = {0, 2, 1}, [ORDER_HCW] = {1, 0, 2},
    [ORDER_HWC] = {1, 2, 0}, [ORDER_WCH] = {2, 0, 1}, [ORDER_WHC] = {2, 1, 0}};

static bool infer_transpose(Infer *inf) {
    const PermuteAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    const int64_t *s = inf->in[0].dim;
    const int *from = axes[a->order];
    return infer_out(inf, 0, shape_of3(s[from[0]], s[from[1]], s[from[2]]), DT_F32);
}

static bool vjp_transpose(Vjp *v) {
    static const int inverse[] = {
        [ORDER_CHW] = ORDER_CHW, [ORDER_CWH] = ORDER_CWH, [ORDER_HCW] = ORDER_HCW,
        [ORDER_HWC] = ORDER_WCH, [ORDER_WCH] = ORDER_HWC, [ORDER_WHC] = ORDER_WHC};
    PermuteAttrs a = *(const PermuteAttrs *)vjp_node(v)->attrs;
    a.order = inverse[a.order];
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_TRANSPOSE, &a, v->dy[0]);
    return true;
}

const OpDef opdef_transpose = {
    .title = "axes in another order",
    .formula = "order = hwc: dst[h,w,c] = src[c,h,w]",
    .doc =
        "transpose(whc) makes columns of the maps and maps of the columns; transpose(cwh) mirrors "
        "every map at its diagonal.  " ADJOINT,
    .theory = "a permutation matrix",
    .attr_size = sizeof(PermuteAttrs),
    .attrs = transpose_attrs,
    .nattrs = COUNT_OF(transpose_attrs),
    .part = PART_MOVES,
    .infer = infer_transpose,
    .vjp = vjp_transpose,
    .curvature = vjp_transpose,
    .flops = flops_none,
    .lower = lower_transpose,
    .choose = choose_rows,
};

/* ---- channel_shuffle ---- */

static const AttrDesc shuffle_attrs[] = {
    ATTR_INT(ShuffleAttrs, groups, true, NULL, 1, (double)LIMIT_DIM, "groups of maps"),
};

static bool infer_shuffle(Infer *inf) {
    const ShuffleAttrs *a = inf->attrs;
    if (!infer_rank(inf, 0, 3))
        return false;
    if (a->groups < 1 || inf->in[0].dim[0] % a->groups)
        return infer_fail(inf, "E0302", 0, -1, NULL, "%lld maps do not divide into %lld groups",
                          (long long)inf->in[0].dim[0], (long long)a->groups);
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

static bool vjp_shuffle(Vjp *v) {
    const Node *node = vjp_node(v);
    int64_t groups = ((const ShuffleAttrs *)node->attrs)->groups;
    ShuffleAttrs a = {graph_v(v->g, node->in[0])->shape.dim[0] / groups};
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_CHANNEL_SHUFFLE, &a, v->dy[0]);
    return true;
}

const OpDef opdef_channel_shuffle = {
    .title = "maps shuffled between groups",
    .formula = "dst[j*groups + i] = src[i*(maps/groups) + j]",
    .doc =
        "Between two convolutions with groups: every group of the second reads from all groups of "
        "the first.  " ADJOINT,
    .theory = "Zhang, Zhou, Lin, Sun 2018, section 3.1",
    .attr_size = sizeof(ShuffleAttrs),
    .attrs = shuffle_attrs,
    .nattrs = COUNT_OF(shuffle_attrs),
    .part = PART_MOVES,
    .infer = infer_shuffle,
    .vjp = vjp_shuffle,
    .curvature = vjp_shuffle,
    .flops = flops_none,
    .lower = lower_channel_shuffle,
    .choose = choose_rows,
};

/* ---- reshape ---- */

static const AttrDesc reshape_attrs[] = {
    ATTR_INT(ReshapeAttrs, maps, true, NULL, 1, (double)LIMIT_DIM, "maps of the result"),
    ATTR_EXTENT(ReshapeAttrs, size, true, NULL, 1, "its height x width"),
};

static bool infer_reshape(Infer *inf) {
    const ReshapeAttrs *a = inf->attrs;
    Shape s = shape_of3(a->maps, a->size[0], a->size[1]);
    int64_t have = 0, want = 0;
    if (inf->nin < 1 || inf->in[0].rank != 1)
        if (!infer_rank(inf, 0, 3))
            return false;
    if (!infer_out(inf, 0, s, DT_F32))
        return false;
    if (!shape_product(&s, &want) || !shape_product(&inf->in[0], &have) || want != have)
        return infer_fail(inf, "E0304", 0, -1, "the number of cells must stay",
                          "%lldx%lldx%lld are %lld cells, the input has %lld", (long long)a->maps,
                          (long long)a->size[0], (long long)a->size[1], (long long)want,
                          (long long)have);
    return true;
}

static ValueId parts_reshape(Graph *g, const void *attrs, const ValueId *in) {
    const ReshapeAttrs *a = attrs;
    UnflattenAttrs to = {{a->maps, a->size[0], a->size[1]}};
    ValueId x = in[0];
    const Shape *s = &graph_v(g, x)->shape;
    if (s->rank == 3 && s->dim[0] == a->maps && s->dim[1] == a->size[0]) {
        ResampleAttrs same = resample_same(s); /* a copy: a label may want a value of its own */
        return graph_op(g, OP_RESAMPLE, &same, 1, &x);
    }
    if (s->rank == 3)
        x = graph_op(g, OP_FLATTEN, NULL, 1, &x);
    return graph_op(g, OP_UNFLATTEN, &to, 1, &x);
}

const OpDef opdef_reshape = {
    .title = "the same numbers in another shape",
    .formula = "dst[i] = src[i], both counted by maps, then rows, then columns",
    .doc =
        "reshape(16, 7x7) makes 16 maps of 7x7 of a vector of 784 numbers, or of an image with as "
        "many cells.  " ADJOINT,
    .theory = "row-major order",
    .attr_size = sizeof(ReshapeAttrs),
    .attrs = reshape_attrs,
    .nattrs = COUNT_OF(reshape_attrs),
    .part = PART_MOVES,
    .infer = infer_reshape,
    .vjp = vjp_parts,
    .curvature = vjp_parts,
    .expand = expand_parts,
    .parts = parts_reshape,
    .flops = flops_none,
};
