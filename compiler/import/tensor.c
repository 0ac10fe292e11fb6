/* tensor.c: numbers of imported tensors, whatever type and alignment they have; failures and notes.
 *
 * requires: a tensor whose data holds count * im_type_size bytes.  ensures: nothing outside of it
 * is read; integers that do not fit an int64_t saturate.
 */
#include "import/im.h"

#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file formats are little-endian");

/* ---- failing, telling ---- */
bool im_fail(Im *im, int code, const char *format, ...) {
    va_list args;
    if (im->code)
        return false; /* the first failure is nearest to the cause */
    im->code = code;
    size_t n = (size_t)snprintf(im->text, sizeof im->text, "%.300s: ", im->path);
    va_start(args, format);
    vsnprintf(im->text + n, sizeof im->text - n, format, args);
    va_end(args);
    return false;
}

void im_help(Im *im, const char *format, ...) {
    va_list args;
    size_t n = strlen(im->text);
    if (strstr(im->text, "\nhelp: ") || sizeof im->text - n < 16)
        return;
    n += (size_t)snprintf(im->text + n, sizeof im->text - n, "\nhelp: ");
    va_start(args, format);
    vsnprintf(im->text + n, sizeof im->text - n, format, args);
    va_end(args);
}

void im_note(Im *im, const char *format, ...) {
    va_list args;
    va_start(args, format);
    sb_vprintf(&im->notes, format, args);
    va_end(args);
    sb_putc(&im->notes, '\n');
}

const char *im_clean(Im *im, const char *text, size_t length) {
    StrBuf out = sb_new(im->arena);
    uint32_t hash = 2166136261u; /* FNV-1a: long names that begin alike stay different */
    for (size_t i = 0; i < length && length > IM_MAX_NAME; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    bool cut = length > IM_MAX_NAME;
    length = cut ? IM_MAX_NAME - 12 : length;
    for (size_t i = 0; i < length;) {
        int n = utf8_length(text + i, length - i);
        if (n == 0 || (n == 1 && ((unsigned char)text[i] < 32 || text[i] == 127))) {
            sb_putc(&out, '?');
            i++;
            continue;
        }
        sb_write(&out, text + i, (size_t)n);
        i += (size_t)n;
    }
    if (cut)
        sb_printf(&out, "_%08x", hash);
    return out.text ? out.text : "";
}

/* ---- types ---- */
static const struct {
    const char *name;
    int size;
} types[IM_TYPES] = {
    [IM_F32] = {"float32", 4},   [IM_F64] = {"float64", 8}, [IM_F16] = {"float16", 2},
    [IM_BF16] = {"bfloat16", 2}, [IM_I8] = {"int8", 1},     [IM_U8] = {"uint8", 1},
    [IM_I16] = {"int16", 2},     [IM_U16] = {"uint16", 2},  [IM_I32] = {"int32", 4},
    [IM_U32] = {"uint32", 4},    [IM_I64] = {"int64", 8},   [IM_U64] = {"uint64", 8},
    [IM_BOOL] = {"bool", 1},
};

int im_type_size(ImType type) {
    return types[type].size;
}

const char *im_type_name(ImType type) {
    return types[type].name;
}

bool im_type_is_float(ImType type) {
    return type <= IM_BF16;
}

bool im_tensor_count(ImTensor *t) {
    t->count = 1;
    if (t->rank < 0 || t->rank > IM_MAX_RANK)
        return false;
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] < 0 || __builtin_mul_overflow(t->count, t->dim[i], &t->count) ||
            t->count > IM_MAX_ELEMENTS)
            return false;
    return true;
}

/* ---- elements ---- */
/* IEEE binary16: a subnormal is a 10-bit integer times 2^-24. */
static double half_value(uint16_t h) {
    uint32_t exponent = h >> 10 & 31, fraction = h & 1023;
    double x;
    if (exponent == 31)
        x = fraction ? __builtin_nan("") : __builtin_inf();
    else if (exponent == 0)
        x = fraction * 0x1p-24;
    else
        x = __builtin_ldexp(1024 + fraction, (int)exponent - 25);
    return h & 0x8000 ? -x : x;
}

/* The bits of element i, zero-extended. */
static uint64_t element_bits(const ImTensor *t, int64_t i) {
    uint64_t bits = 0;
    size_t size = (size_t)types[t->type].size;
    memcpy(&bits, t->data + (size_t)i * size, size);
    return bits;
}

static int64_t integer_of(ImType type, uint64_t bits) {
    switch (type) {
    case IM_I8:
        return (int8_t)bits;
    case IM_I16:
        return (int16_t)bits;
    case IM_I32:
        return (int32_t)bits;
    case IM_U64:
        return bits > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)bits;
    default:
        return (int64_t)bits;
    }
}

double im_tensor_at(const ImTensor *t, int64_t i) {
    BUG_IF(!t->data || i < 0 || i >= t->count, "element %lld of %lld", (long long)i,
           (long long)t->count);
    uint64_t bits = element_bits(t, i);
    uint32_t low = (uint32_t)bits;
    float f;
    double d;
    switch (t->type) {
    case IM_F64:
        memcpy(&d, &bits, sizeof d);
        return d;
    case IM_F16:
        return half_value((uint16_t)bits);
    case IM_BF16:
        low <<= 16; /* fall through */
    case IM_F32:
        memcpy(&f, &low, sizeof f);
        return (double)f;
    default:
        return (double)integer_of(t->type, bits);
    }
}

int64_t im_tensor_int(const ImTensor *t, int64_t i) {
    if (!im_type_is_float(t->type))
        return integer_of(t->type, element_bits(t, i));
    double x = im_tensor_at(t, i);
    return x > 0x1p62 ? INT64_MAX : x < -0x1p62 ? INT64_MIN : x == x ? (int64_t)x : 0;
}

ImTensor im_tensor_new(Im *im, int rank, const int64_t *dim, float **values) {
    ImTensor t = {.name = "", .type = IM_F32, .rank = rank};
    for (int i = 0; i < rank; i++)
        t.dim[i] = dim[i];
    BUG_IF(!im_tensor_count(&t), "a tensor of our own is too large");
    *values = ARENA_ARRAY(im->arena, t.count, float);
    t.data = (const unsigned char *)*values;
    return t;
}

float *im_tensor_floats(Im *im, const ImTensor *t) {
    float *out = ARENA_ARRAY(im->arena, t->count, float);
    for (int64_t i = 0; i < t->count; i++)
        out[i] = (float)im_tensor_at(t, i);
    return out;
}

ImTensor im_tensor_shaped(const ImTensor *t, int rank, const int64_t *dim) {
    ImTensor out = *t;
    out.rank = rank;
    for (int i = 0; i < rank; i++)
        out.dim[i] = dim[i];
    BUG_IF(!im_tensor_count(&out) || out.count != t->count, "another number of elements");
    return out;
}
