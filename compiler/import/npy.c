/* npy.c: arrays of numpy: .npy, and .npz through zip.c.
 *
 * A .npy is a magic, a version, a length and a Python dictionary as text: {'descr': '<f4',
 * 'fortran_order': False, 'shape': (3, 4), }, then the numbers.  requires: nothing of the bytes.
 * ensures: shape times type is exactly what follows the header; pickled objects are refused.
 * Source: numpy.lib.format.
 */
#include <ctype.h>
#include <string.h>

#include "import/im.h"

typedef struct Header {
    const char *at, *end;
    ImTensor t;
    bool fortran, has_type, has_order, has_shape;
} Header;

static void blanks(Header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n'))
        h->at++;
}

static bool eat(Header *h, char c) {
    blanks(h);
    if (h->at == h->end || *h->at != c)
        return false;
    h->at++;
    return true;
}

/* 'text' or "text" */
static bool quoted(Header *h, const char **text, size_t *length) {
    blanks(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"'))
        return false;
    const char *close = memchr(h->at + 1, *h->at, (size_t)(h->end - h->at) - 1);
    if (!close)
        return false;
    *text = h->at + 1;
    *length = (size_t)(close - h->at) - 1;
    h->at = close + 1;
    return true;
}

static bool is(const char *text, size_t n, const char *word) {
    return n == strlen(word) && memcmp(text, word, n) == 0;
}

static bool read_type(Im *im, Header *h) {
    static const struct {
        const char *text;
        ImType type;
    } known[] = {{"<f4", IM_F32}, {"<f8", IM_F64}, {"<f2", IM_F16},
                 {"|u1", IM_U8},  {"<i4", IM_I32}, {"<i8", IM_I64}};
    const char *text;
    size_t n;
    if (!quoted(h, &text, &n))
        return im_fail(im, NETC_DATA, "the type of its numbers is a record; plain arrays are read");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (is(text, n, known[i].text)) {
            h->t.type = known[i].type;
            return h->has_type = true;
        }
    im_fail(im, NETC_DATA, "arrays of type '%s' are not read", im_clean(im, text, n));
    im_help(im, "in Python: numpy.save(FILE, array.astype(\"<f4\"))");
    return false;
}

static bool read_shape(Header *h) {
    if (!eat(h, '('))
        return false;
    while (!eat(h, ')')) {
        int64_t n = 0;
        blanks(h);
        if (h->at == h->end || !isdigit((unsigned char)*h->at) || h->t.rank == IM_MAX_RANK)
            return false;
        for (; h->at < h->end && isdigit((unsigned char)*h->at); h->at++)
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *h->at - '0', &n))
                return false;
        h->t.dim[h->t.rank++] = n;
        if (!eat(h, ',') && !(h->at < h->end && *h->at == ')'))
            return false;
    }
    return h->has_shape = true;
}

static bool read_order(Header *h) {
    blanks(h);
    size_t left = (size_t)(h->end - h->at);
    h->fortran = left >= 4 && memcmp(h->at, "True", 4) == 0;
    if (!h->fortran && (left < 5 || memcmp(h->at, "False", 5) != 0))
        return false;
    h->at += h->fortran ? 4 : 5;
    return h->has_order = true;
}

static bool read_header(Im *im, Header *h) {
    const char *key;
    size_t n;
    bool ok = eat(h, '{');
    while (ok && !eat(h, '}')) {
        ok = quoted(h, &key, &n) && eat(h, ':');
        if (ok && is(key, n, "descr"))
            ok = !h->has_type && read_type(im, h);
        else if (ok && is(key, n, "fortran_order"))
            ok = !h->has_order && read_order(h);
        else if (ok && is(key, n, "shape"))
            ok = !h->has_shape && read_shape(h);
        else
            ok = false;
        if (ok && !eat(h, ',') && !(h->at < h->end && *h->at == '}'))
            ok = false;
    }
    if (ok && h->has_type && h->has_order && h->has_shape && im_tensor_count(&h->t))
        return true;
    return im_fail(im, NETC_DATA, "the header of an array is malformed");
}

/* Columns first becomes rows first. */
static ImTensor turned(Im *im, const ImTensor *t) {
    float *out;
    ImTensor result = im_tensor_new(im, t->rank, t->dim, &out);
    for (int64_t i = 0; i < t->count; i++) {
        int64_t rest = i, place = 0, step = 1, at[IM_MAX_RANK];
        for (int d = t->rank - 1; d >= 0; d--) {
            at[d] = rest % t->dim[d];
            rest /= t->dim[d];
        }
        for (int d = 0; d < t->rank; d++) {
            place += at[d] * step;
            step *= t->dim[d];
        }
        out[i] = (float)im_tensor_at(t, place);
    }
    return result;
}

bool im_read_npy(Im *im, const char *name, const unsigned char *data, size_t size, ImOut *out) {
    size_t start, length;
    if (size < 12 || memcmp(data, "\x93NUMPY", 6) != 0 || data[6] < 1 || data[6] > 3)
        return im_fail(im, NETC_DATA, "'%s' is no array of numpy", name);
    start = data[6] == 1 ? 10 : 12;
    length = (size_t)data[8] | (size_t)data[9] << 8;
    if (data[6] > 1)
        length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (length > size - start)
        return im_fail(im, NETC_DATA, "'%s' is cut short", name);
    Header h = {.at = (const char *)data + start};
    h.end = h.at + length;
    if (!read_header(im, &h))
        return false;
    size_t bytes = (size_t)h.t.count * (size_t)im_type_size(h.t.type);
    if (bytes != size - start - length)
        return im_fail(im, NETC_DATA, "'%s' should hold %zu bytes of numbers, there are %zu", name,
                       bytes, size - start - length);
    if (out->tensor.len >= IM_MAX_TENSORS)
        return im_fail(im, NETC_LIMIT, "more than %d arrays", IM_MAX_TENSORS);
    h.t.data = data + start + length;
    for (int i = 0; i < out->tensor.len; i++)
        if (strcmp(out->tensor.data[i].name, name) == 0)
            return im_fail(im, NETC_DATA, "two arrays are called '%s'", name);
    ImOutTensor one = {name, NULL, h.fortran && h.t.count ? turned(im, &h.t) : h.t, false};
    vec_push(im->arena, &out->tensor, one);
    return true;
}
