/* onnx_fold.c: nodes of an ONNX graph whose result is known when it is imported: shapes, and the
 * small arithmetic on them by which exporters say "flatten"; constants that are turned or reshaped.
 *
 * requires: shapes of all layers so far.  ensures: results have at most LIMIT elements, or are
 * views of weights.  The batch counts as one, or what the model fixes it to.
 */
#include "import/onnx.h"

#include <math.h>
#include <string.h>

enum { LIMIT = 1 << 16 };

static bool type_is(const Onnx *o, const char *type) {
    return strcmp(o->node->type, type) == 0;
}

static void put_constant(Onnx *o, ImTensor t) {
    onnx_put(o, 0, (OnnxValue){.constant = true, .tensor = t});
}

static int64_t *integers(Onnx *o, int64_t n, int rank, ImTensor *t) {
    int64_t *v = ARENA_ARRAY(o->im->arena, n, int64_t);
    *t = (ImTensor){.name = "",
                    .type = IM_I64,
                    .rank = rank,
                    .dim = {n},
                    .count = n,
                    .data = (const unsigned char *)v};
    return v;
}

/* ---- each kind ---- */
static bool fold_constant(Onnx *o) {
    ImTensor t;
    if (onnx_tensor(o->im, o->node, "value", &t)) {
        put_constant(o, t);
        return true;
    }
    if (o->im->code)
        return false;
    int64_t dim = 1;
    float *f;
    if (onnx_has(o->node, "value_float")) {
        t = im_tensor_new(o->im, 0, &dim, &f);
        *f = (float)onnx_float(o->node, "value_float", 0);
    } else if (onnx_has(o->node, "value_int")) {
        *integers(o, 1, 0, &t) = onnx_int(o->node, "value_int", 0);
    } else {
        int64_t v[64];
        int n = onnx_ints(o->node, "value_ints", v, 64);
        if (n < 0 || n > 64)
            return onnx_refuse(o, "a constant of this kind cannot be imported");
        memcpy(integers(o, n, 1, &t), v, (size_t)n * sizeof *v);
    }
    put_constant(o, t);
    return true;
}

static bool fold_shape(Onnx *o) {
    const OnnxValue *x = onnx_in(o, 0);
    int64_t dim[IM_MAX_RANK], start, end;
    ImTensor t;
    if (!x)
        return onnx_refuse(o, "it lacks its input");
    int rank = onnx_shape(o, x, dim);
    start = onnx_int(o->node, "start", 0);
    end = onnx_int(o->node, "end", rank);
    start += start < 0 ? rank : 0;
    end += end < 0 ? rank : 0;
    if (start < 0 || end > rank || start > end)
        return onnx_refuse(o, "it asks for dimensions that do not exist");
    memcpy(integers(o, end - start, 1, &t), dim + start, (size_t)(end - start) * sizeof *dim);
    put_constant(o, t);
    return true;
}

/* Rows of weights in another order. */
static bool fold_rows(Onnx *o, const ImTensor *x, const ImTensor *at) {
    int64_t dim[IM_MAX_RANK], rows = x->rank ? x->dim[0] : 0, width = rows ? x->count / rows : 0;
    float *out;
    memcpy(dim, x->dim, sizeof dim);
    dim[0] = at->count;
    if (at->rank != 1 || at->count < 1 || at->count > rows)
        return onnx_refuse(o, "only rows of weights can be picked");
    ImTensor t = im_tensor_new(o->im, x->rank, dim, &out);
    for (int64_t i = 0; i < at->count; i++) {
        int64_t k = im_tensor_int(at, i);
        if (k < 0 || k >= rows)
            return onnx_refuse(o, "it picks a row that does not exist");
        for (int64_t c = 0; c < width; c++)
            out[i * width + c] = (float)im_tensor_at(x, k * width + c);
    }
    t.name = x->name;
    put_constant(o, t);
    return true;
}

static bool fold_gather(Onnx *o, const ImTensor *x, const ImTensor *at) {
    ImTensor t;
    if (im_type_is_float(x->type) && onnx_int(o->node, "axis", 0) == 0)
        return fold_rows(o, x, at);
    if (x->rank != 1 || onnx_int(o->node, "axis", 0) != 0 || at->count > LIMIT || at->rank > 1)
        return onnx_refuse(o, "only numbers of a shape can be picked");
    int64_t *v = integers(o, at->count, at->rank, &t);
    for (int64_t i = 0; i < at->count; i++) {
        int64_t k = im_tensor_int(at, i);
        k += k < 0 ? x->count : 0;
        if (k < 0 || k >= x->count)
            return onnx_refuse(o, "it picks a number that does not exist");
        v[i] = im_tensor_int(x, k);
    }
    put_constant(o, t);
    return true;
}

static bool fold_concat(Onnx *o) {
    int64_t n = 0, at = 0;
    bool floats = false;
    ImTensor t;
    for (int i = 0; i < o->node->in.len; i++) {
        const ImTensor *x = &onnx_in(o, i)->tensor;
        n += x->count;
        floats |= im_type_is_float(x->type);
        if (x->rank > 1 || n > LIMIT)
            return onnx_refuse(o, "only lists can be joined");
    }
    if (floats) {
        float *f;
        t = im_tensor_new(o->im, 1, &n, &f);
        for (int i = 0; i < o->node->in.len; i++)
            for (int64_t k = 0; k < onnx_in(o, i)->tensor.count; k++)
                f[at++] = (float)im_tensor_at(&onnx_in(o, i)->tensor, k);
        put_constant(o, t);
        return true;
    }
    int64_t *v = integers(o, n, 1, &t);
    for (int i = 0; i < o->node->in.len; i++)
        for (int64_t k = 0; k < onnx_in(o, i)->tensor.count; k++)
            v[at++] = im_tensor_int(&onnx_in(o, i)->tensor, k);
    put_constant(o, t);
    return true;
}

int onnx_list(Onnx *o, int i, const char *name, int64_t out[IM_MAX_RANK]) {
    const OnnxValue *v = onnx_in(o, i);
    if (!v) {
        int n = onnx_ints(o->node, name, out, IM_MAX_RANK);
        return n > IM_MAX_RANK ? -1 : n;
    }
    if (!v->constant || v->tensor.count > IM_MAX_RANK)
        return -1;
    for (int64_t k = 0; k < v->tensor.count; k++)
        out[k] = im_tensor_int(&v->tensor, k);
    return (int)v->tensor.count;
}

bool onnx_range(int64_t n, int64_t *from, int64_t to, int64_t step, int64_t *count) {
    bool back = step < 0;
    if (step == 0 || step < -LIMIT || step > LIMIT)
        return false;
    *from += *from < 0 ? n : 0;
    to += to < 0 ? n : 0; /* INT64_MIN + n cannot overflow */
    *from = *from < 0 ? 0 : *from > n - back ? n - back : *from;
    to = to < -back ? -back : to > n ? n : to;
    int64_t span = back ? *from - to : to - *from;
    int64_t by = back ? -step : step;
    *count = span > 0 ? (span + by - 1) / by : 0;
    return true;
}

static bool fold_slice(Onnx *o, const ImTensor *x) {
    int64_t from[IM_MAX_RANK], to[IM_MAX_RANK], axes[IM_MAX_RANK], steps[IM_MAX_RANK];
    int64_t first[IM_MAX_RANK] = {0}, by[IM_MAX_RANK], dim[IM_MAX_RANK];
    int n = onnx_list(o, 1, "starts", from), axis_count = onnx_list(o, 3, "axes", axes);
    int step_count = onnx_list(o, 4, "steps", steps);
    float *out;
    memcpy(dim, x->dim, sizeof dim);
    for (int d = 0; d < IM_MAX_RANK; d++)
        by[d] = 1;
    bool ok = n >= 0 && n <= x->rank && onnx_list(o, 2, "ends", to) == n && x->count <= LIMIT &&
              (axis_count < 0 || axis_count == n) && (step_count < 0 || step_count == n);
    for (int i = 0; ok && i < n; i++) {
        int64_t axis = axis_count < 0 ? i : axes[i] < 0 ? axes[i] + x->rank : axes[i];
        ok = axis >= 0 && axis < x->rank;
        if (!ok)
            break;
        first[axis] = from[i];
        by[axis] = step_count < 0 ? 1 : steps[i];
        ok = onnx_range(x->dim[axis], &first[axis], to[i], by[axis], &dim[axis]);
    }
    if (!ok)
        return onnx_refuse(o, "this part of a constant cannot be imported");
    ImTensor t = im_tensor_new(o->im, x->rank, dim, &out);
    for (int64_t k = 0; k < t.count; k++) {
        int64_t rest = k, at = 0, stride = 1;
        for (int d = x->rank - 1; d >= 0; d--) {
            at += (first[d] + rest % dim[d] * by[d]) * stride;
            rest /= dim[d];
            stride *= x->dim[d];
        }
        out[k] = (float)im_tensor_at(x, at);
    }
    put_constant(o, t);
    return true;
}

static bool arithmetic(const char *type, double a, double b, double *out) {
    if (strcmp(type, "Add") == 0)
        *out = a + b;
    else if (strcmp(type, "Sub") == 0)
        *out = a - b;
    else if (strcmp(type, "Mul") == 0)
        *out = a * b;
    else if (strcmp(type, "Div") == 0)
        *out = a / b;
    else
        return false;
    return true;
}

/* Equal shapes, or one number with any shape. */
static bool fold_arithmetic(Onnx *o, const ImTensor *a, const ImTensor *b) {
    int64_t n = a->count > b->count ? a->count : b->count;
    const ImTensor *like = a->count >= b->count ? a : b;
    bool whole = !im_type_is_float(a->type) && !im_type_is_float(b->type);
    float *f = NULL;
    ImTensor t;
    if ((a->count != n && a->count != 1) || (b->count != n && b->count != 1) || n > LIMIT)
        return onnx_refuse(o, "arithmetic on constants of these shapes cannot be imported");
    int64_t *v = whole ? integers(o, n, like->rank, &t) : NULL;
    if (whole)
        memcpy(t.dim, like->dim, sizeof t.dim);
    else
        t = im_tensor_new(o->im, like->rank, like->dim, &f);
    for (int64_t i = 0; i < n; i++) {
        double x = 0;
        arithmetic(o->node->type, im_tensor_at(a, a->count == 1 ? 0 : i),
                   im_tensor_at(b, b->count == 1 ? 0 : i), &x);
        if (whole)
            v[i] = fabs(x) < 0x1p62 ? (int64_t)x : 0;
        else
            f[i] = (float)x;
    }
    put_constant(o, t);
    return true;
}

static bool fold_transpose(Onnx *o, const ImTensor *x) {
    int64_t perm[IM_MAX_RANK], dim[IM_MAX_RANK], step[IM_MAX_RANK], stride = 1;
    int n = onnx_ints(o->node, "perm", perm, IM_MAX_RANK), seen = 0;
    float *out;
    for (int i = 0; n < 0 && i < x->rank; i++)
        perm[i] = x->rank - 1 - i;
    n = n < 0 ? x->rank : n;
    for (int i = 0; i < n && i < IM_MAX_RANK; i++)
        seen |= perm[i] >= 0 && perm[i] < x->rank ? 1 << perm[i] : 0;
    if (n != x->rank || seen != (1 << n) - 1 || x->count == 0)
        return onnx_refuse(o, "its order of dimensions is malformed");
    for (int i = x->rank - 1; i >= 0; i--) {
        step[i] = stride;
        stride *= x->dim[i];
    }
    for (int i = 0; i < n; i++)
        dim[i] = x->dim[perm[i]];
    ImTensor t = im_tensor_new(o->im, n, dim, &out);
    for (int64_t k = 0; k < t.count; k++) {
        int64_t rest = k, from = 0;
        for (int i = n - 1; i >= 0; i--) {
            from += rest % dim[i] * step[perm[i]];
            rest /= dim[i];
        }
        out[k] = (float)im_tensor_at(x, from);
    }
    t.name = x->name;
    put_constant(o, t);
    return true;
}

/* Is one axis made, in front of all others? */
static bool front_axis(Onnx *o) {
    int64_t axes[IM_MAX_RANK];
    return onnx_list(o, 1, "axes", axes) == 1 && axes[0] == 0;
}

/* Reshape, Squeeze, Unsqueeze, Flatten of a constant: the same numbers. */
static bool fold_view(Onnx *o, const ImTensor *x) {
    int64_t dim[IM_MAX_RANK] = {0}, known = 1;
    int rank = 0, free_axis = -1;
    const OnnxValue *second = onnx_in(o, 1);
    if (type_is(o, "Reshape")) {
        if (!second || !second->constant || second->tensor.count > IM_MAX_RANK)
            return onnx_refuse(o, "its new shape is not known");
        for (rank = 0; rank < second->tensor.count; rank++) {
            dim[rank] = im_tensor_int(&second->tensor, rank);
            if (dim[rank] == 0 && rank < x->rank)
                dim[rank] = x->dim[rank];
            if (dim[rank] < 0)
                free_axis = rank;
            else if (__builtin_mul_overflow(known, dim[rank], &known))
                return onnx_refuse(o, "its new shape is too large");
        }
        if (free_axis >= 0)
            dim[free_axis] = known ? x->count / known : 0;
    } else if (type_is(o, "Unsqueeze") && x->rank < IM_MAX_RANK && front_axis(o)) {
        rank = x->rank + 1;
        dim[0] = 1;
        memcpy(dim + 1, x->dim, (size_t)x->rank * sizeof *dim);
    } else { /* axes of one cell come and go: only lists matter */
        rank = type_is(o, "Squeeze") && x->count == 1 ? 0 : 1;
        dim[0] = x->count;
    }
    ImTensor t = *x;
    t.rank = rank;
    memcpy(t.dim, dim, sizeof t.dim);
    if (!im_tensor_count(&t) || t.count != x->count)
        return onnx_refuse(o, "its new shape has another number of elements");
    put_constant(o, t);
    return true;
}

static bool fold_fill(Onnx *o, const ImTensor *shape) {
    ImTensor value, t;
    int64_t n = 1;
    bool has = onnx_tensor(o->im, o->node, "value", &value) && value.count == 1;
    for (int64_t i = 0; i < shape->count; i++)
        if (__builtin_mul_overflow(n, im_tensor_int(shape, i), &n) || n < 0 || n > LIMIT)
            return onnx_refuse(o, "it is too large");
    int64_t *v = integers(o, n, 1, &t);
    for (int64_t i = 0; i < n; i++)
        v[i] = has ? im_tensor_int(&value, 0) : 0;
    put_constant(o, t);
    return true;
}

static bool all_constant(const Onnx *o) {
    for (int i = 0; i < o->node->in.len; i++) {
        const OnnxValue *v = onnx_in(o, i);
        if (!v ? *o->node->in.data[i] != 0 : !v->constant)
            return false;
    }
    return o->node->in.len > 0 && onnx_in(o, 0);
}

bool onnx_fold(Onnx *o, bool *done) {
    double ignored;
    *done = true;
    if (type_is(o, "Constant"))
        return fold_constant(o);
    if (type_is(o, "Shape"))
        return fold_shape(o);
    *done = all_constant(o);
    if (!*done)
        return true;
    const ImTensor *x = &onnx_in(o, 0)->tensor;
    const OnnxValue *second = onnx_in(o, 1);
    if (type_is(o, "Gather") && second)
        return fold_gather(o, x, &second->tensor);
    if (type_is(o, "Concat"))
        return fold_concat(o);
    if (type_is(o, "Slice"))
        return fold_slice(o, x);
    if (type_is(o, "Transpose"))
        return fold_transpose(o, x);
    if (type_is(o, "ConstantOfShape"))
        return fold_fill(o, x);
    if (type_is(o, "Expand") && x->count == 1) { /* repeated: what reads it wants zeros */
        put_constant(o, *x);
        return true;
    }
    if (type_is(o, "Cast") || type_is(o, "Identity")) {
        put_constant(o, *x);
        return true;
    }
    if (type_is(o, "Reshape") || type_is(o, "Squeeze") || type_is(o, "Unsqueeze"))
        return fold_view(o, x);
    if (second && arithmetic(o->node->type, 0, 1, &ignored))
        return fold_arithmetic(o, x, &second->tensor);
    *done = false; /* operations on weights that have a layer of their own are refused there */
    return true;
}
