/* rt_text.h: a growing string with the three escapes reports need.
 *
 * Start from rt_text t = {0}.  A failed allocation is remembered: later appends do nothing and
 * rt_text_ok() answers 0, so that only the end needs a check. */
#ifndef RT_TEXT_H
#define RT_TEXT_H

#include <stddef.h>

#include "rt_error.h"

typedef struct rt_text {
    char *data; /* always ends with 0 when not NULL */
    size_t size, cap;
    int failed;
} rt_text;

void rt_text_add(rt_text *t, const char *s);
void rt_text_bytes(rt_text *t, const void *data, size_t n);
void rt_text_printf(rt_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rt_text_xml(rt_text *t, const char *s);  /* & < > " ' and control bytes */
void rt_text_json(rt_text *t, const char *s); /* with the quotes */
void rt_text_number(rt_text *t, double v);    /* JSON: shortest that reads back; NaN -> null */
void rt_text_base64(rt_text *t, const void *data, size_t n);
int rt_text_ok(const rt_text *t, rt_error *err); /* 1, or 0 and ELIMIT */
void rt_text_free(rt_text *t);

#endif
