/* caffe_text.c: a prototxt becomes the bytes of the NetParameter that it describes.
 *
 * So that text and binary have one reader (caffe_read.c).  The schema below knows the fields that
 * the importer looks at, by name, number and type; other fields are read over.
 * requires: nothing of the text.  ensures: nesting is at most DEPTH; mistakes are told with line.
 * Source: protobuf's text format.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "import/caffe.h"

enum { DEPTH = 16, MAX_TEXT = 16 << 20 };

typedef enum Kind { INT, FLOAT, BOOL, TEXT, ENUM, MESSAGE, TYPE, V1_TYPE } Kind;
typedef struct Field {
    const char *name;
    uint32_t number;
    Kind kind;
    const void *more; /* MESSAGE: const Field *; ENUM: the words, split by blanks */
} Field;
#define END                                                                                        \
    { NULL, 0, INT, NULL }

static const Field shape[] = {{"dim", 1, INT, NULL}, END};
static const Field rule[] = {{"phase", 1, ENUM, "TRAIN TEST"}, END};
static const Field transform[] = {{"scale", 1, FLOAT, NULL},      {"mirror", 2, BOOL, NULL},
                                  {"crop_size", 3, INT, NULL},    {"mean_file", 4, TEXT, NULL},
                                  {"mean_value", 5, FLOAT, NULL}, END};
static const Field concat[] = {{"concat_dim", 1, INT, NULL}, {"axis", 2, INT, NULL}, END};
static const Field conv[] = {{"num_output", 1, INT, NULL}, {"bias_term", 2, BOOL, NULL},
                             {"pad", 3, INT, NULL},        {"kernel_size", 4, INT, NULL},
                             {"group", 5, INT, NULL},      {"stride", 6, INT, NULL},
                             {"pad_h", 9, INT, NULL},      {"pad_w", 10, INT, NULL},
                             {"kernel_h", 11, INT, NULL},  {"kernel_w", 12, INT, NULL},
                             {"stride_h", 13, INT, NULL},  {"stride_w", 14, INT, NULL},
                             {"dilation", 18, INT, NULL},  END};
static const Field data[] = {
    {"scale", 2, FLOAT, NULL}, {"mean_file", 3, TEXT, NULL}, {"crop_size", 5, INT, NULL}, END};
static const Field image_data[] = {{"scale", 2, FLOAT, NULL},     {"mean_file", 3, TEXT, NULL},
                                   {"crop_size", 5, INT, NULL},   {"new_height", 9, INT, NULL},
                                   {"new_width", 10, INT, NULL}, END};
static const Field dropout[] = {{"dropout_ratio", 1, FLOAT, NULL}, END};
static const Field eltwise[] = {
    {"operation", 1, ENUM, "PROD SUM MAX"}, {"coeff", 2, FLOAT, NULL}, END};
static const Field dense[] = {{"num_output", 1, INT, NULL},
                              {"bias_term", 2, BOOL, NULL},
                              {"axis", 5, INT, NULL},
                              {"transpose", 6, BOOL, NULL},
                              END};
static const Field lrn[] = {
    {"local_size", 1, INT, NULL}, {"alpha", 2, FLOAT, NULL},
    {"beta", 3, FLOAT, NULL},     {"norm_region", 4, ENUM, "ACROSS_CHANNELS WITHIN_CHANNEL"},
    {"k", 5, FLOAT, NULL},        END};
static const Field memory[] = {{"batch_size", 1, INT, NULL},
                               {"channels", 2, INT, NULL},
                               {"height", 3, INT, NULL},
                               {"width", 4, INT, NULL},
                               END};
static const Field pool[] = {{"pool", 1, ENUM, "MAX AVE STOCHASTIC"},
                             {"kernel_size", 2, INT, NULL},
                             {"stride", 3, INT, NULL},
                             {"pad", 4, INT, NULL},
                             {"kernel_h", 5, INT, NULL},
                             {"kernel_w", 6, INT, NULL},
                             {"stride_h", 7, INT, NULL},
                             {"stride_w", 8, INT, NULL},
                             {"pad_h", 9, INT, NULL},
                             {"pad_w", 10, INT, NULL},
                             {"global_pooling", 12, BOOL, NULL},
                             {"round_mode", 13, ENUM, "CEIL FLOOR"},
                             END};
static const Field power[] = {
    {"power", 1, FLOAT, NULL}, {"scale", 2, FLOAT, NULL}, {"shift", 3, FLOAT, NULL}, END};
static const Field relu[] = {{"negative_slope", 1, FLOAT, NULL}, END};
static const Field softmax[] = {{"axis", 2, INT, NULL}, END};
static const Field reshape[] = {{"shape", 1, MESSAGE, shape}, {"axis", 2, INT, NULL}, END};
static const Field flatten[] = {{"axis", 1, INT, NULL}, END};
static const Field bn[] = {{"use_global_stats", 1, BOOL, NULL}, {"eps", 3, FLOAT, NULL}, END};
static const Field elu[] = {{"alpha", 1, FLOAT, NULL}, END};
static const Field scale[] = {{"axis", 1, INT, NULL}, {"bias_term", 4, BOOL, NULL}, END};
static const Field slice[] = {
    {"slice_dim", 1, INT, NULL}, {"slice_point", 2, INT, NULL}, {"axis", 3, INT, NULL}, END};
static const Field crop[] = {{"axis", 1, INT, NULL}, {"offset", 2, INT, NULL}, END};
static const Field input[] = {{"shape", 1, MESSAGE, shape}, END};

#define PARTS(n)                                                                                   \
    {"transform_param", n ? 36 : 100, MESSAGE, transform},                                         \
        {"concat_param", n ? 9 : 104, MESSAGE, concat},                                            \
        {"convolution_param", n ? 10 : 106, MESSAGE, conv},                                        \
        {"data_param", n ? 11 : 107, MESSAGE, data},                                               \
        {"dropout_param", n ? 12 : 108, MESSAGE, dropout},                                         \
        {"eltwise_param", n ? 24 : 110, MESSAGE, eltwise},                                         \
        {"image_data_param", n ? 15 : 115, MESSAGE, image_data},                                   \
        {"inner_product_param", n ? 17 : 117, MESSAGE, dense},                                     \
        {"lrn_param", n ? 18 : 118, MESSAGE, lrn},                                                 \
        {"memory_data_param", n ? 22 : 119, MESSAGE, memory},                                      \
        {"pooling_param", n ? 19 : 121, MESSAGE, pool},                                            \
        {"power_param", n ? 21 : 122, MESSAGE, power},                                             \
        {"relu_param", n ? 30 : 123, MESSAGE, relu},                                               \
        {"slice_param", n ? 31 : 126, MESSAGE, slice}, {                                           \
        "softmax_param", n ? 39 : 125, MESSAGE, softmax                                            \
    }
static const Field layer[] = {{"name", 1, TEXT, NULL},
                              {"type", 2, TYPE, NULL},
                              {"bottom", 3, TEXT, NULL},
                              {"top", 4, TEXT, NULL},
                              {"include", 8, MESSAGE, rule},
                              {"exclude", 9, MESSAGE, rule},
                              PARTS(0),
                              {"reshape_param", 133, MESSAGE, reshape},
                              {"flatten_param", 135, MESSAGE, flatten},
                              {"batch_norm_param", 139, MESSAGE, bn},
                              {"elu_param", 140, MESSAGE, elu},
                              {"scale_param", 142, MESSAGE, scale},
                              {"input_param", 143, MESSAGE, input},
                              {"crop_param", 144, MESSAGE, crop},
                              END};
static const Field layers[] = {{"name", 4, TEXT, NULL},
                               {"type", 5, V1_TYPE, NULL},
                               {"bottom", 2, TEXT, NULL},
                               {"top", 3, TEXT, NULL},
                               {"include", 32, MESSAGE, rule},
                               {"exclude", 33, MESSAGE, rule},
                               {"layer", 1, MESSAGE, shape},
                               PARTS(1),
                               END};
static const Field net[] = {{"name", 1, TEXT, NULL},
                            {"layers", 2, MESSAGE, layers},
                            {"input", 3, TEXT, NULL},
                            {"input_dim", 4, INT, NULL},
                            {"input_shape", 8, MESSAGE, shape},
                            {"layer", 100, MESSAGE, layer},
                            END};

typedef struct Reader {
    Im *im;
    const char *path, *at, *end;
    int line;
} Reader;

static bool mistake(Reader *r, const char *what) {
    im_fail(r->im, NETC_DATA, "%s:%d: %s", im_clean(r->im, r->path, strlen(r->path)), r->line,
            what);
    im_help(r->im, "mend the description, or import without --prototxt");
    return false;
}

static void skip_space(Reader *r) {
    for (; r->at < r->end; r->at++) {
        if (*r->at == '#')
            while (r->at + 1 < r->end && r->at[1] != '\n')
                r->at++;
        else if (*r->at == '\n')
            r->line++;
        else if (*r->at != ' ' && *r->at != '\t' && *r->at != '\r' && *r->at != ',' &&
                 *r->at != ';')
            return;
    }
}

static bool eat(Reader *r, char c) {
    skip_space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool word_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-' || c == '+';
}

/* A name, number or enum constant; NULL at anything else. */
static const char *word(Reader *r) {
    skip_space(r);
    const char *start = r->at;
    while (r->at < r->end && word_char(*r->at))
        r->at++;
    return r->at > start ? arena_strndup(r->im->arena, start, (size_t)(r->at - start)) : NULL;
}

/* "text" 'text', and several behind each other are one. */
static bool quoted(Reader *r, StrBuf *out) {
    skip_space(r);
    if (r->at == r->end || (*r->at != '"' && *r->at != '\''))
        return false;
    while (r->at < r->end && (*r->at == '"' || *r->at == '\'')) {
        char quote = *r->at++;
        for (; r->at < r->end && *r->at != quote; r->at++) {
            if (*r->at == '\n')
                return mistake(r, "a string does not end on its line");
            if (*r->at == '\\' && r->at + 1 < r->end)
                r->at++;
            sb_putc(out, *r->at);
        }
        if (r->at == r->end)
            return mistake(r, "a string does not end");
        r->at++;
        skip_space(r);
    }
    return true;
}

/* ---- bytes out ---- */
static void put_varint(StrBuf *out, uint64_t v) {
    for (; v > 127; v >>= 7)
        sb_putc(out, (char)(v | 128));
    sb_putc(out, (char)v);
}

static void put_key(StrBuf *out, uint32_t number, int type) {
    put_varint(out, (uint64_t)number << 3 | (uint64_t)type);
}

static void put_bytes(StrBuf *out, uint32_t number, const char *text, size_t n) {
    put_key(out, number, WIRE_BYTES);
    put_varint(out, n);
    sb_write(out, text, n);
}

static void put_int(StrBuf *out, uint32_t number, int64_t v) {
    put_key(out, number, WIRE_VARINT);
    put_varint(out, (uint64_t)v);
}

/* ---- values ---- */
static int enum_value(const char *words, const char *text) {
    size_t n = strlen(text);
    for (int i = 0; *words; i++) {
        size_t m = strcspn(words, " ");
        if (m == n && memcmp(words, text, n) == 0)
            return i;
        words += m + (words[m] == ' ');
    }
    return -1;
}

static bool scalar(Reader *r, const Field *f, StrBuf *out) {
    StrBuf text = sb_new(r->im->arena);
    if (f->kind == TEXT || f->kind == TYPE) {
        if (!quoted(r, &text))
            return mistake(r, "a string in quotes is expected");
        put_bytes(out, f->number, text.text ? text.text : "", text.length);
        return true;
    }
    const char *w = word(r);
    char *end = NULL;
    if (!w)
        return mistake(r, "a value is expected");
    if (f->kind == FLOAT) {
        float x = strtof(w, &end);
        put_key(out, f->number, WIRE_32);
        sb_write(out, (const char *)&x, sizeof x);
    } else if (f->kind == INT) {
        put_int(out, f->number, strtoll(w, &end, 10));
    } else {
        int v = f->kind == V1_TYPE ? caffe_v1_number(w)
                : f->kind == BOOL  ? enum_value("false true", w)
                                   : enum_value(f->more, w);
        if (f->kind == BOOL && v < 0)
            v = enum_value("0 1", w);
        if (v < 0)
            return mistake(
                r, arena_printf(r->im->arena, "unknown value '%s'", im_clean(r->im, w, strlen(w))));
        put_int(out, f->number, v);
        return true;
    }
    return *end == 0 || mistake(r, "a number is expected");
}

static bool message(Reader *r, const Field *fields, int depth, StrBuf *out);

/* A value of a field that is not in the schema. */
static bool read_over(Reader *r, int depth) {
    StrBuf nowhere = sb_new(r->im->arena);
    static const Field none[] = {END};
    if (depth > DEPTH)
        return mistake(r, "nested too deeply");
    if (eat(r, '{'))
        return message(r, none, depth + 1, &nowhere) &&
               (eat(r, '}') || mistake(r, "'}' is missing"));
    if (eat(r, '[')) {
        while (!eat(r, ']'))
            if (!read_over(r, depth + 1))
                return false;
        return true;
    }
    skip_space(r);
    if (r->at < r->end && (*r->at == '"' || *r->at == '\''))
        return quoted(r, &nowhere);
    return word(r) || mistake(r, "a value is expected");
}

static bool value(Reader *r, const Field *f, int depth, StrBuf *out) {
    if (f->kind != MESSAGE)
        return scalar(r, f, out);
    StrBuf inner = sb_new(r->im->arena);
    if (!eat(r, '{'))
        return mistake(r, "'{' is expected");
    if (!message(r, f->more, depth + 1, &inner))
        return false;
    if (!eat(r, '}'))
        return mistake(r, "'}' is missing");
    put_bytes(out, f->number, inner.text ? inner.text : "", inner.length);
    return true;
}

static bool message(Reader *r, const Field *fields, int depth, StrBuf *out) {
    if (depth > DEPTH)
        return mistake(r, "nested too deeply");
    for (;;) {
        skip_space(r);
        if (r->at == r->end || *r->at == '}')
            return true;
        const char *name = word(r);
        if (!name)
            return mistake(r, "the name of a field is expected");
        const Field *f = fields;
        while (f->name && strcmp(f->name, name) != 0)
            f++;
        bool colon = eat(r, ':'), list = colon && f->name && f->kind != MESSAGE && eat(r, '[');
        skip_space(r);
        if (!colon && (r->at == r->end || *r->at != '{'))
            return mistake(r, "':' or '{' is expected");
        if (!f->name) {
            if (!read_over(r, depth))
                return false;
            continue;
        }
        do {
            if (!value(r, f, depth, out))
                return false;
        } while (list && !eat(r, ']'));
    }
}

const unsigned char *im_prototxt_text(Im *im, const char *path, const char *text, size_t length,
                                      size_t *size) {
    Reader r = {.im = im, .path = path, .at = text, .end = text + length, .line = 1};
    StrBuf out = sb_new(im->arena);
    if (!message(&r, net, 0, &out))
        return NULL;
    if (r.at != r.end) {
        mistake(&r, "'}' without '{'");
        return NULL;
    }
    *size = out.length;
    return (const unsigned char *)(out.text ? out.text : "");
}

const ImBytes *im_prototxt(Im *im, const char *path) {
    const ImBytes *file = im_load(im, path, MAX_TEXT);
    if (!file)
        return NULL;
    ImBytes *out = ARENA_NEW(im->arena, ImBytes);
    out->data = im_prototxt_text(im, path, (const char *)file->data, file->size, &out->size);
    return out->data ? out : NULL;
}
