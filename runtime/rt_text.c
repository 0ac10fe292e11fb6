/* rt_text.c: the growing string of reports (rt_text.h). */
#include "rt_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"

static int room(rt_text *t, size_t n) {
    if (t->failed)
        return 0;
    if (t->cap - t->size > n)
        return 1;
    size_t cap = t->cap ? t->cap : 1024;
    while (cap - t->size <= n) {
        if (cap > SIZE_MAX / 2) {
            t->failed = 1;
            return 0;
        }
        cap *= 2;
    }
    rt_error ignored = {0};
    char *p = rt_realloc(t->data, cap, 1, "text", &ignored);
    if (!p) {
        t->failed = 1;
        return 0;
    }
    t->data = p;
    t->cap = cap;
    return 1;
}

void rt_text_bytes(rt_text *t, const void *data, size_t n) {
    if (!room(t, n))
        return;
    memcpy(t->data + t->size, data, n);
    t->size += n;
    t->data[t->size] = 0;
}

void rt_text_add(rt_text *t, const char *s) {
    rt_text_bytes(t, s, strlen(s));
}

void rt_text_printf(rt_text *t, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0 && room(t, (size_t)n)) {
        vsnprintf(t->data + t->size, (size_t)n + 1, format, again);
        t->size += (size_t)n;
    }
    va_end(again);
}

void rt_text_xml(rt_text *t, const char *s) {
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '&')
            rt_text_add(t, "&amp;");
        else if (c == '<')
            rt_text_add(t, "&lt;");
        else if (c == '>')
            rt_text_add(t, "&gt;");
        else if (c == '"')
            rt_text_add(t, "&quot;");
        else if (c == '\'')
            rt_text_add(t, "&#39;");
        else if (c < 32 && c != '\n' && c != '\t')
            rt_text_add(t, "?");
        else
            rt_text_bytes(t, s, 1);
    }
}

void rt_text_json(rt_text *t, const char *s) {
    rt_text_add(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            rt_text_printf(t, "\\%c", c);
        else if (c == '\n')
            rt_text_add(t, "\\n");
        else if (c < 32 || c == 127)
            rt_text_printf(t, "\\u%04x", c);
        else
            rt_text_bytes(t, s, 1);
    }
    rt_text_add(t, "\"");
}

void rt_text_number(rt_text *t, double v) {
    char buf[40];
    if (!isfinite(v)) {
        rt_text_add(t, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    rt_text_add(t, buf);
}

void rt_text_base64(rt_text *t, const void *data, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16;
        if (i + 1 < n)
            v |= (unsigned)p[i + 1] << 8;
        if (i + 2 < n)
            v |= p[i + 2];
        char out[4] = {digit[v >> 18], digit[v >> 12 & 63], i + 1 < n ? digit[v >> 6 & 63] : '=',
                       i + 2 < n ? digit[v & 63] : '='};
        rt_text_bytes(t, out, 4);
    }
}

int rt_text_ok(const rt_text *t, rt_error *err) {
    if (!t->failed)
        return 1;
    rt_fail(err, NETRT_ELIMIT, "out of memory for text");
    return 0;
}

void rt_text_free(rt_text *t) {
    rt_free(t->data);
    memset(t, 0, sizeof *t);
}
