/* rt_lines.c: a text file cut into lines and fields (rt_lines.h).
 *
 * ensures: memory is bounded by the size of the file: one pointer and one number per line.
 * Format of fields: RFC 4180, but a quoted field ends with its line.
 */
#include "rt_lines.h"

#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"

static int64_t cut_lines(struct rt_lines *l, char comment, int store) {
    int64_t n = 0, number = 0;
    for (char *p = l->text; *p;) {
        char *end = p + strcspn(p, "\n"), *next = *end ? end + 1 : end;
        number++;
        if (store && *end)
            *end = 0;
        while (store && end > p && end[-1] == '\r')
            *--end = 0;
        size_t blank = strspn(p, " \t\r");
        if (p + blank < end && p[blank] && (!comment || *p != comment)) {
            if (store) {
                l->at[n] = p;
                l->line[n] = (int32_t)(number < INT32_MAX ? number : INT32_MAX);
            }
            n++;
        }
        p = next;
    }
    return n;
}

int rt_lines_read(struct rt_lines *l, const char *path, char comment, rt_error *err) {
    unsigned char *data = NULL;
    size_t size = 0;
    memset(l, 0, sizeof *l);
    if (rt_io_read_file(path, RT_IO_MAX_FILE, &data, &size, err))
        return err->code;
    if (memchr(data, 0, size)) {
        rt_free(data);
        return rt_fail(err, NETRT_EDATA, "%s is no text: it has zero bytes", path);
    }
    l->text = (char *)data;
    if (size >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0)
        memmove(data, data + 3, size - 2); /* byte order mark; the closing 0 moves along */
    int64_t n = cut_lines(l, comment, 0);
    l->at = rt_alloc((size_t)n, sizeof *l->at, "lines", err);
    l->line = rt_alloc((size_t)n, sizeof *l->line, "lines", err);
    if (!l->at || !l->line)
        rt_lines_free(l);
    else
        l->n = cut_lines(l, comment, 1);
    return err->code;
}

void rt_lines_free(struct rt_lines *l) {
    rt_free(l->at);
    rt_free(l->line);
    rt_free(l->text);
    memset(l, 0, sizeof *l);
}

static char *trim(char *s, char *end) {
    while (*s == ' ' || *s == '\t')
        s++;
    while (end > s && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = 0;
    return s;
}

/* A field that begins with a quote: unfolds it, returns the place behind it. */
static char *quoted(char *s, char **field) {
    char *to = ++s;
    *field = to;
    while (*s) {
        if (*s == '"' && s[1] == '"')
            s++;
        else if (*s == '"') {
            s++;
            break;
        }
        *to++ = *s++;
    }
    if (to < s)
        *to = 0;
    return s;
}

int64_t rt_fields(char *s, char delimiter, char **field, int64_t cap) {
    int64_t n = 0;
    for (;;) {
        char *start = s, *first;
        while (*s == ' ' || (*s == '\t' && delimiter != '\t'))
            s++;
        if (*s == '"') {
            s = quoted(s, &first);
            while (*s && *s != delimiter)
                s++;
        } else {
            s = start;
            while (*s && *s != delimiter)
                s++;
            first = NULL;
        }
        char *end = s;
        int more = delimiter && *s == delimiter;
        if (!first)
            first = trim(start, end);
        if (n < cap)
            field[n] = first;
        n++;
        if (!more)
            return n;
        s = end + 1;
    }
}

char rt_delimiter(const char *s) {
    int64_t count[3] = {0};
    int inside = 0;
    for (; *s; s++) {
        inside ^= *s == '"';
        if (!inside)
            for (int k = 0; k < 3; k++)
                count[k] += *s == ",;\t"[k];
    }
    int best = 0;
    for (int k = 1; k < 3; k++)
        if (count[k] > count[best])
            best = k;
    return count[best] ? ",;\t"[best] : 0;
}
