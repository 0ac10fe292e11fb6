/* shape_ops.c: operators that move numbers without computing (facts; code in shape_lower.c).
 *
 * theory: each is a permutation or a selection matrix, so its gradient is the transpose: flatten and
 * unflatten, concat and slices.
 */
#include "ops/facts.h"
#include "ops/resample.h"

static bool infer_load_input(Infer *inf) {
    if (inf->nin < 1)
        return infer_fail(inf, "E0310", -1, 0, NULL, "needs an input");
    return infer_out(inf, 0, inf->in[0], DT_F32);
}

const OpDef opdef_load_input = {
    .title = "the image, brought into the machine's layout",
    .formula = "dst = src",
    .doc = "Copies the user's float images [n][c][h][w] into the layout that the first layer reads.",
    .theory = "blocked layouts after oneDNN (nChw16c)",
    .infer = infer_load_input,
    .flops = flops_none,
    .lower = lower_load_input,
    .lanes = lanes_load_input,
    .choose = choose_load_input,
};

const OpDef opdef_load_square = {
    .title = "the squares of the image's numbers, brought into the machine's layout",
    .formula = "dst = src^2",
    .doc = "What load_input does, with every number squared: curvatures of weights are sums of "
           "squared sources, and these must lie as the sources do.",
    .theory = "LeCun et al. 1998, appendix C, equation (25)",
    .infer = infer_load_input,
    .flops = flops_none,
    .lower = lower_load_input,
    .choose = choose_load_input,
};

/* ---- flatten ---- */

static bool infer_flatten(Infer *inf) {
    int64_t n;
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 3);
    if (!shape_product(&inf->in[0], &n))
        return infer_fail(inf, "E0305", -1, 0, NULL, "the input has more than %lld elements",
                          (long long)LIMIT_ELEMENTS);
    return infer_out(inf, 0, shape_of1(n), DT_F32);
}

static bool vjp_flatten(Vjp *v) {
    const Shape *s = &graph_v(v->g, vjp_node(v)->in[0])->shape;
    if (!v->need[0])
        return true;
    if (s->rank != 3)
        return vjp_identity(v);
    UnflattenAttrs a = {{s->dim[0], s->dim[1], s->dim[2]}};
    v->dx[0] = vjp_op1(v, OP_UNFLATTEN, &a, v->dy[0]);
    return true;
}

const OpDef opdef_flatten = {
    .title = "image to vector",
    .formula = "dst[(c*H + y)*W + x] = src[c,y,x]",
    .doc = "Reads an image as one vector in the order channels, rows, columns.  `dense` does this "
           "by itself, so it is needed only before concat, add or rbf.",
    .theory = "row-major order",
    .part = PART_MOVES,
    .infer = infer_flatten,
    .vjp = vjp_flatten,
    .curvature = vjp_flatten,
    .flops = flops_none,
    .lower = lower_flatten,
    .lanes = lanes_copy,
    .choose = choose_images,
};

static const AttrDesc unflatten_attrs[] = {
    {"c", AT_INT, offsetof(UnflattenAttrs, dim[0]), false, NULL, NULL, 1, 0, "", true},
    {"h", AT_INT, offsetof(UnflattenAttrs, dim[1]), false, NULL, NULL, 1, 0, "", true},
    {"w", AT_INT, offsetof(UnflattenAttrs, dim[2]), false, NULL, NULL, 1, 0, "", true},
};

static bool infer_unflatten(Infer *inf) {
    const UnflattenAttrs *a = inf->attrs;
    Shape s = shape_of3(a->dim[0], a->dim[1], a->dim[2]);
    int64_t n;
    if (!infer_rank(inf, 0, 1) || !infer_out(inf, 0, s, DT_F32))
        return false;
    if (!shape_product(&s, &n) || n != inf->in[0].dim[0])
        return infer_fail(inf, "E0304", -1, 0, NULL, "%lldx%lldx%lld are not %lld numbers",
                          (long long)s.dim[0], (long long)s.dim[1], (long long)s.dim[2],
                          (long long)inf->in[0].dim[0]);
    return true;
}

static bool vjp_unflatten(Vjp *v) {
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_FLATTEN, NULL, v->dy[0]);
    return true;
}

const OpDef opdef_unflatten = {
    .title = "vector to image, the adjoint of flatten",
    .formula = "dst[c,y,x] = src[(c*H + y)*W + x]",
    .doc = "The inverse of flatten.",
    .theory = "row-major order",
    .attr_size = sizeof(UnflattenAttrs),
    .attrs = unflatten_attrs,
    .nattrs = COUNT_OF(unflatten_attrs),
    .infer = infer_unflatten,
    .vjp = vjp_unflatten,
    .curvature = vjp_unflatten,
    .flops = flops_none,
    .lower = lower_unflatten,
    .lanes = lanes_copy,
    .choose = choose_images,
};

/* ---- concat ---- */

static const AttrDesc concat_attrs[] = {
    ATTR_ENUM(ConcatAttrs, axis, "maps", "maps|frames", "what is joined: maps, or frames of clips"),
};

static bool infer_concat(Infer *inf) {
    char a[96], b[96];
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 3);
    Shape s = inf->in[0];
    for (int i = 1; i < inf->nin; i++) {
        const Shape *t = &inf->in[i];
        bool fits = t->rank == s.rank;
        for (int d = 1; fits && d < s.rank; d++)
            fits = t->dim[d] == s.dim[d];
        if (!fits) {
            shape_print(&inf->in[0], a, sizeof a);
            shape_print(t, b, sizeof b);
            return infer_fail(inf, "E0331", -1, i,
                              t->rank != s.rank ? "flatten the image first"
                                                : "padding or stride of one branch differs",
                              "concat needs equal H,W: branch 1 is %s, branch %d is %s", a, i + 1,
                              b);
        }
        if (__builtin_add_overflow(s.dim[0], t->dim[0], &s.dim[0]))
            return infer_fail(inf, "E0305", -1, i, NULL, "too many channels");
    }
    return infer_out(inf, 0, s, DT_F32);
}

static bool vjp_concat(Vjp *v) {
    int64_t from = 0;
    for (int i = 0; i < vjp_node(v)->nin; i++) {
        int64_t count = graph_v(v->g, vjp_node(v)->in[i])->shape.dim[0];
        SliceAttrs a = {from, count};
        if (v->need[i])
            v->dx[i] = vjp_op1(v, OP_SLICE, &a, v->dy[0]);
        from += count;
    }
    return true;
}

const OpDef opdef_concat = {
    .title = "concatenation along channels",
    .formula = "dst = src1's channels, then src2's, ...",
    .doc = "Joins branches of equal height and width: `[a, b] -> concat` or concat(a, b); "
           "concat(a, b, axis = frames) puts one clip behind the other.",
    .theory = "Szegedy et al. 2015, figure 2",
    .attr_size = sizeof(ConcatAttrs),
    .attrs = concat_attrs,
    .nattrs = COUNT_OF(concat_attrs),
    .part = PART_MOVES,
    .infer = infer_concat,
    .vjp = vjp_concat,
    .curvature = vjp_concat,
    .flops = flops_none,
    .lower = lower_concat,
    .lanes = lanes_concat,
    .choose = choose_images,
};

static const AttrDesc slice_attrs[] = {
    ATTR_INT(SliceAttrs, from, true, NULL, 0, (double)LIMIT_DIM, "the first map to take"),
    ATTR_INT(SliceAttrs, count, true, NULL, 1, (double)LIMIT_DIM, "how many"),
};

static bool infer_slice(Infer *inf) {
    const SliceAttrs *a = inf->attrs;
    if (inf->nin < 1 || (inf->in[0].rank != 1 && inf->in[0].rank != 3))
        return infer_rank(inf, 0, 3);
    Shape s = inf->in[0];
    if (a->from < 0 || a->count < 1 || a->from > s.dim[0] || a->count > s.dim[0] - a->from)
        return infer_fail(inf, "E0303", 1, -1, NULL, "channels %lld to %lld of %lld do not exist",
                          (long long)a->from, (long long)a->from + (long long)a->count - 1,
                          (long long)s.dim[0]);
    s.dim[0] = a->count;
    return infer_out(inf, 0, s, DT_F32);
}

/* Zeros around: a shift of maps. */
static bool vjp_slice(Vjp *v) {
    const Node *node = vjp_node(v);
    const Shape *src = &graph_v(v->g, node->in[0])->shape;
    ResampleAttrs a = resample_same(src);
    a.first = -((const SliceAttrs *)node->attrs)->from;
    if (v->need[0])
        v->dx[0] = vjp_op1(v, OP_RESAMPLE, &a, v->dy[0]);
    return true;
}

const OpDef opdef_slice = {
    .title = "some channels",
    .formula = "dst[c,y,x] = src[from + c, y, x], c = 0 .. count - 1",
    .doc = "slice(0, 16) takes the first 16 maps of an image, or numbers of a vector; the adjoint of "
           "concat.",
    .theory = "a selection matrix",
    .attr_size = sizeof(SliceAttrs),
    .attrs = slice_attrs,
    .nattrs = COUNT_OF(slice_attrs),
    .infer = infer_slice,
    .vjp = vjp_slice,
    .curvature = vjp_slice,
    .flops = flops_none,
    .lower = lower_slice,
    .lanes = lanes_slice,
    .choose = choose_images,
};
