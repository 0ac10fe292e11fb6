/* rt_json.h: a small strict JSON reader for headers written by strangers.
 *
 * The subset weights need: objects, arrays, strings, true, false, null and unsigned integers below
 * 2^64 (kept exact; a double would round offsets above 2^53).  Depth, number of values and
 * duplicate keys are checked; strings must be valid UTF-8 without NUL and come out decoded.
 */
#ifndef RT_JSON_H
#define RT_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "rt_error.h"

enum rt_json_kind {
    RT_JSON_NULL,
    RT_JSON_BOOL,
    RT_JSON_NUMBER,
    RT_JSON_STRING,
    RT_JSON_ARRAY,
    RT_JSON_OBJECT
};

typedef struct rt_json_node {
    enum rt_json_kind kind;
    int32_t count;      /* members of an array or object */
    int32_t first;      /* index of the first member, -1 none */
    int32_t next;       /* index of the next member of the same parent, -1 none */
    const char *key;    /* name inside an object, else NULL */
    const char *string; /* value of a string */
    uint64_t number;    /* value of a number or boolean */
} rt_json_node;

typedef struct rt_json {
    rt_json_node *node; /* node[0] is the root */
    int32_t n, cap;
    char *text; /* decoded strings; keys and strings point into it */
} rt_json;

/* Parses size bytes; blanks around the value are allowed, anything else after it is not.
 * EDATA: malformed (with byte offset and name); ELIMIT: deeper than max_depth or more than
 * max_nodes values.  On failure doc is {0}. */
int rt_json_parse(rt_json *doc, const char *bytes, size_t size, int max_depth, int32_t max_nodes,
                  const char *name, rt_error *err);
void rt_json_free(rt_json *doc);

/* The member called key of an object, NULL when absent. */
const rt_json_node *rt_json_get(const rt_json *doc, const rt_json_node *object, const char *key);

#endif
