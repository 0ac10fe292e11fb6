/* rt_json.c: recursive descent over RFC 8259, minus signs, fractions and exponents (see rt_json.h).
 *
 * requires: nothing of the bytes.  ensures: recursion is at most max_depth; each node costs at
 * least one byte of input, and memory grows with the nodes really read; decoded strings fit into
 * one buffer of the input's size, because no escape is shorter than what it stands for.
 */
#include "rt_json.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    rt_json *doc;
    const unsigned char *start, *p, *end;
    char *out; /* next free byte of doc->text */
    int depth, max_depth;
    int32_t max_nodes;
    const char *name;
    rt_error *err;
};

static int bad(struct parser *s, const char *what) {
    return rt_fail(s->err, NETRT_EDATA, "%s: JSON: %s at byte %zu", s->name, what,
                   (size_t)(s->p - s->start));
}

static void skip_blank(struct parser *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static int new_node(struct parser *s, enum rt_json_kind kind, int32_t *index) {
    rt_json *doc = s->doc;
    if (doc->n >= s->max_nodes)
        return rt_fail(s->err, NETRT_ELIMIT, "%s: JSON: more than %d values", s->name,
                       s->max_nodes);
    if (doc->n == doc->cap) {
        int32_t cap = doc->cap ? doc->cap * 2 : 64;
        rt_json_node *bigger =
            rt_realloc(doc->node, (size_t)cap, sizeof *bigger, "JSON values", s->err);
        if (!bigger)
            return NETRT_ELIMIT;
        doc->node = bigger;
        doc->cap = cap;
    }
    *index = doc->n++;
    doc->node[*index] = (rt_json_node){.kind = kind, .first = -1, .next = -1};
    return NETRT_OK;
}

static int hex4(struct parser *s, unsigned *value) {
    *value = 0;
    if (s->end - s->p < 4)
        return bad(s, "unfinished \\u escape");
    for (int i = 0; i < 4; i++, s->p++) {
        unsigned c = *s->p, digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (c | 32) - 'a' + 10;
        else
            return bad(s, "wrong \\u escape");
        *value = *value << 4 | digit;
    }
    return NETRT_OK;
}

static void put_utf8(struct parser *s, unsigned c) {
    if (c < 0x80) {
        *s->out++ = (char)c;
        return;
    }
    if (c < 0x800) {
        *s->out++ = (char)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        *s->out++ = (char)(0xE0 | c >> 12);
        *s->out++ = (char)(0x80 | (c >> 6 & 63));
    } else {
        *s->out++ = (char)(0xF0 | c >> 18);
        *s->out++ = (char)(0x80 | (c >> 12 & 63));
        *s->out++ = (char)(0x80 | (c >> 6 & 63));
    }
    *s->out++ = (char)(0x80 | (c & 63));
}

static int unicode_escape(struct parser *s) {
    unsigned c, low;
    int code = hex4(s, &c);
    if (code != NETRT_OK)
        return code;
    if (c >= 0xD800 && c < 0xDC00) {
        if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
            return bad(s, "half a surrogate pair");
        s->p += 2;
        code = hex4(s, &low);
        if (code != NETRT_OK)
            return code;
        if (low < 0xDC00 || low > 0xDFFF)
            return bad(s, "half a surrogate pair");
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    } else if (c >= 0xDC00 && c < 0xE000) {
        return bad(s, "half a surrogate pair");
    } else if (c == 0) {
        return bad(s, "NUL in a string");
    }
    put_utf8(s, c);
    return NETRT_OK;
}

static int escape(struct parser *s) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end)
        return bad(s, "unfinished string");
    if (*s->p == 'u') {
        s->p++;
        return unicode_escape(s);
    }
    const char *hit = *s->p ? strchr(from, *s->p) : NULL;
    if (!hit)
        return bad(s, "unknown escape");
    *s->out++ = to[hit - from];
    s->p++;
    return NETRT_OK;
}

/* One raw character: validated UTF-8.  The bytes are copied aside so that the check may look ahead
 * past the end of the input. */
static int raw_character(struct parser *s) {
    unsigned char look[5] = {0};
    size_t left = (size_t)(s->end - s->p);
    memcpy(look, s->p, left < 4 ? left : 4);
    int n = rt_utf8_length(look);
    if (n == 0)
        return bad(s, "invalid UTF-8");
    memcpy(s->out, s->p, (size_t)n);
    s->out += n;
    s->p += n;
    return NETRT_OK;
}

/* At the opening quote. */
static int parse_string(struct parser *s, const char **string) {
    *string = s->out;
    s->p++;
    for (;;) {
        if (s->p == s->end)
            return bad(s, "unfinished string");
        int code = NETRT_OK;
        unsigned char c = *s->p;
        if (c == '"')
            break;
        if (c < 0x20)
            return bad(s, "control character in a string");
        if (c == '\\') {
            s->p++;
            code = escape(s);
        } else if (c < 0x80) {
            *s->out++ = (char)c;
            s->p++;
        } else {
            code = raw_character(s);
        }
        if (code != NETRT_OK)
            return code;
    }
    s->p++;
    *s->out++ = 0;
    return NETRT_OK;
}

static int parse_number(struct parser *s, uint64_t *number) {
    const unsigned char *first = s->p;
    *number = 0;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
        if (__builtin_mul_overflow(*number, (uint64_t)10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*s->p - '0'), number))
            return bad(s, "number above 2^64");
        s->p++;
    }
    if (s->p - first > 1 && *first == '0')
        return bad(s, "number with leading zero");
    if (s->p < s->end && (*s->p == '.' || *s->p == 'e' || *s->p == 'E'))
        return bad(s, "number with fraction or exponent");
    return NETRT_OK;
}

static int parse_value(struct parser *s, int32_t *index);

static int by_string(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorting finds equal keys in n log n, so that 100,000 tensors are no attack. */
static int check_duplicates(struct parser *s, const rt_json_node *object) {
    if (object->count < 2)
        return NETRT_OK;
    size_t n = 0;
    const char **keys = rt_alloc((size_t)object->count, sizeof *keys, "JSON keys", s->err);
    if (!keys)
        return NETRT_ELIMIT;
    for (int32_t i = object->first; i >= 0; i = s->doc->node[i].next)
        keys[n++] = s->doc->node[i].key;
    qsort(keys, n, sizeof *keys, by_string);
    int code = NETRT_OK;
    for (size_t i = 1; i < n && code == NETRT_OK; i++) {
        char shown[128];
        if (strcmp(keys[i - 1], keys[i]) == 0)
            code = rt_fail(s->err, NETRT_EDATA, "%s: JSON: the key \"%s\" occurs twice", s->name,
                           rt_clean_name(shown, sizeof shown, keys[i]));
    }
    rt_free(keys);
    return code;
}

static int parse_key(struct parser *s, const char **key) {
    skip_blank(s);
    if (s->p == s->end || *s->p != '"')
        return bad(s, "a key in quotes is missing");
    int code = parse_string(s, key);
    if (code != NETRT_OK)
        return code;
    skip_blank(s);
    if (s->p == s->end || *s->p != ':')
        return bad(s, "':' is missing");
    s->p++;
    return NETRT_OK;
}

/* At the opening bracket of node[self]. */
static int parse_members(struct parser *s, int32_t self, int object) {
    unsigned char close = object ? '}' : ']';
    int32_t last = -1;
    s->p++;
    skip_blank(s);
    if (s->p < s->end && *s->p == close) {
        s->p++;
        return NETRT_OK;
    }
    for (;;) {
        const char *key = NULL;
        int32_t child;
        int code = object ? parse_key(s, &key) : NETRT_OK;
        if (code == NETRT_OK)
            code = parse_value(s, &child);
        if (code != NETRT_OK)
            return code;
        rt_json_node *node = s->doc->node; /* may have moved */
        node[child].key = key;
        if (last < 0)
            node[self].first = child;
        else
            node[last].next = child;
        node[self].count++;
        last = child;
        skip_blank(s);
        if (s->p == s->end || (*s->p != ',' && *s->p != close))
            return bad(s, object ? "',' or '}' is missing" : "',' or ']' is missing");
        if (*s->p++ == close)
            break;
    }
    return object ? check_duplicates(s, &s->doc->node[self]) : NETRT_OK;
}

static int parse_word(struct parser *s, int32_t index) {
    static const struct {
        const char *word;
        enum rt_json_kind kind;
        uint64_t number;
    } words[] = {{"true", RT_JSON_BOOL, 1}, {"false", RT_JSON_BOOL, 0}, {"null", RT_JSON_NULL, 0}};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i].word);
        if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i].word, n) == 0) {
            s->doc->node[index].kind = words[i].kind;
            s->doc->node[index].number = words[i].number;
            s->p += n;
            return NETRT_OK;
        }
    }
    return bad(s, *s->p == '-' ? "negative number" : "a value is missing");
}

static int parse_value(struct parser *s, int32_t *index) {
    skip_blank(s);
    if (s->p == s->end)
        return bad(s, "the text ends too early");
    int code = new_node(s, RT_JSON_NULL, index);
    if (code != NETRT_OK)
        return code;
    unsigned char c = *s->p;
    if (c == '{' || c == '[') {
        if (++s->depth > s->max_depth)
            return rt_fail(s->err, NETRT_ELIMIT, "%s: JSON: nested deeper than %d", s->name,
                           s->max_depth);
        s->doc->node[*index].kind = c == '{' ? RT_JSON_OBJECT : RT_JSON_ARRAY;
        code = parse_members(s, *index, c == '{');
        s->depth--;
        return code;
    }
    if (c == '"') {
        const char *string;
        code = parse_string(s, &string);
        s->doc->node[*index].kind = RT_JSON_STRING;
        s->doc->node[*index].string = string;
        return code;
    }
    if (c >= '0' && c <= '9') {
        s->doc->node[*index].kind = RT_JSON_NUMBER;
        return parse_number(s, &s->doc->node[*index].number);
    }
    return parse_word(s, *index);
}

int rt_json_parse(rt_json *doc, const char *bytes, size_t size, int max_depth, int32_t max_nodes,
                  const char *name, rt_error *err) {
    *doc = (rt_json){0};
    doc->text = rt_alloc(size + 1, 1, "JSON text", err);
    if (!doc->text)
        return NETRT_ELIMIT;
    const unsigned char *start = (const unsigned char *)bytes;
    struct parser s = {.doc = doc,
                       .start = start,
                       .p = start,
                       .end = start + size,
                       .out = doc->text,
                       .max_depth = max_depth,
                       .max_nodes = max_nodes,
                       .name = name,
                       .err = err};
    int32_t root;
    int code = parse_value(&s, &root);
    if (code == NETRT_OK) {
        skip_blank(&s);
        if (s.p != s.end)
            code = bad(&s, "something follows the value");
    }
    if (code != NETRT_OK)
        rt_json_free(doc);
    return code;
}

void rt_json_free(rt_json *doc) {
    rt_free(doc->node);
    rt_free(doc->text);
    *doc = (rt_json){0};
}

const rt_json_node *rt_json_get(const rt_json *doc, const rt_json_node *object, const char *key) {
    if (object->kind != RT_JSON_OBJECT)
        return NULL;
    for (int32_t i = object->first; i >= 0; i = doc->node[i].next)
        if (strcmp(doc->node[i].key, key) == 0)
            return &doc->node[i];
    return NULL;
}
