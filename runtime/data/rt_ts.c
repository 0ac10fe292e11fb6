/* rt_ts.c: time series as the UCR/UEA archive keeps them (.ts), and lines of letters.
 *
 * A .ts file has a head of lines "@key value" that ends with "@data"; then one series a line:
 * dimensions separated by ':', their values by ',', at last the class where "@classLabel true A B"
 * says so.  A series of D dimensions with L values is a sample [D, 1, L]; shorter ones end with
 * zeros.  A missing value ('?' or NaN) makes the line a bad row.
 * Letters: one sequence a line, the class in front ("+,S10,tactag.."), as a sample [letters, 1, L]
 * of ones and zeros; n, N, - and ? are no letter: zeros.
 * Source: Loening et al. 2019 (sktime), Harley and Reynolds 1987 for the promoters.
 */
#define _GNU_SOURCE
#include "rt_reals.h"

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_lines.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_LENGTH = 1 << 24, MAX_LETTERS = 64 };

/* ---- .ts ---- */

struct head {
    int64_t data; /* index of the first line of data */
    int labelled;
    char *classes; /* the names behind "true", or NULL */
};

static int read_head(const struct rt_lines *l, const char *path, struct head *h, rt_error *err) {
    *h = (struct head){0};
    for (int64_t i = 0; i < l->n; i++) {
        char *s = l->at[i];
        if (*s != '@')
            return rt_fail(err, NETRT_EDATA,
                           "%s:%d: a line of the head begins with @, data after "
                           "a line @data",
                           path, l->line[i]);
        if (strncasecmp(s, "@data", 5) == 0 && (!s[5] || s[5] == ' ')) {
            h->data = i + 1;
            return h->data < l->n ? NETRT_OK
                                  : rt_fail(err, NETRT_EDATA, "%s holds no samples", path);
        }
        if (strncasecmp(s, "@timestamps", 11) == 0 && strcasestr(s, "true"))
            return rt_fail(err, NETRT_EDATA,
                           "%s: series with time stamps are not read\n"
                           "help: resample them to equal steps and leave the stamps out",
                           path);
        if (strncasecmp(s, "@classlabel", 11) == 0) {
            s += 11 + strspn(s + 11, " \t");
            h->labelled = strncasecmp(s, "true", 4) == 0;
            h->classes = h->labelled ? s + 4 : NULL;
        }
    }
    return rt_fail(err, NETRT_EDATA, "%s has no line @data", path);
}

/* Dimensions and the longest length of a line; the class is not counted. */
static void measure(const char *s, int labelled, int64_t *dims, int64_t *length) {
    int64_t values = 1;
    *dims = 1;
    *length = 0;
    for (;; s++) {
        if (*s == ',')
            values++;
        if (*s == ':' || (!*s && !labelled)) {
            *length = values > *length ? values : *length;
            values = 1;
            *dims += *s == ':';
        }
        if (!*s)
            break;
    }
    *dims -= labelled;
}

static int read_series(char *s, const struct rt_reals *r, float *to, int labelled,
                       const char **label) {
    int64_t d = 0;
    *label = "";
    for (char *next; s; s = next, d++) {
        next = strchr(s, ':');
        if (next)
            *next++ = 0;
        else if (labelled) {
            s += strspn(s, " \t");
            for (size_t n = strlen(s); n > 0 && isspace((unsigned char)s[n - 1]);)
                s[--n] = 0;
            *label = s;
            break;
        }
        if (d >= r->c)
            return RT_ROW_COLUMNS;
        float *v = to + d * r->w;
        for (char *end; s; s = end) {
            end = strchr(s, ',');
            if (end)
                *end++ = 0;
            s += strspn(s, " \t");
            size_t n = strcspn(s, " \t");
            s[n] = 0;
            if (!rt_reals_number(s, v++))
                return *s ? RT_ROW_NUMBER : RT_ROW_SERIES;
        }
    }
    return d == r->c && (!labelled || **label) ? RT_ROW_GOOD : RT_ROW_COLUMNS;
}

/* Classes in the order of the head: both parts of a set have the same. */
static int head_classes(rt_dataset *ds, char *names, const char *const *label, rt_error *err) {
    rt_dataset head = {0};
    char *name[4096];
    int n = 0;
    for (char *rest, *p = strtok_r(names, " \t", &rest); p && n < 4096;
         p = strtok_r(NULL, " \t", &rest))
        name[n++] = p;
    head.classes = n;
    head.class_names = name;
    return rt_reals_classes(ds, label, n ? &head : NULL, err);
}

int rt_ts_open_file(rt_dataset *ds, const char *path, const rt_dataset *known, rt_error *err) {
    struct rt_lines l;
    struct head h;
    int64_t dims = 0, length = 0;
    if (rt_lines_read(&l, path, '#', err))
        return err->code;
    if (read_head(&l, path, &h, err) == NETRT_OK) {
        for (int64_t i = h.data; i < l.n; i++) {
            int64_t d, n;
            measure(l.at[i], h.labelled, &d, &n);
            dims = i == h.data ? d : dims; /* other counts are bad rows */
            length = d == dims && n > length ? n : length;
        }
        if (dims < 1 || dims > MAX_LENGTH || length < 1 || length > MAX_LENGTH)
            rt_fail(err, NETRT_EDATA, "%s:%d: series of %lld dimensions with %lld values", path,
                    l.line[h.data], (long long)dims, (long long)length);
    }
    int64_t rows = l.n - h.data;
    struct rt_reals *r = NULL;
    const char **label = NULL;
    if (!err->code)
        r = rt_reals_new(ds, "ts", path, rows, (int)dims, 1, (int)length, err);
    if (r && (r->line = rt_alloc((size_t)rows, sizeof *r->line, "lines", err)))
        label = rt_alloc((size_t)rows, sizeof *label, "labels", err);
    for (int64_t i = 0; label && i < rows; i++) {
        r->line[i] = l.line[h.data + i];
        int64_t d, n;
        measure(l.at[h.data + i], h.labelled, &d, &n);
        label[i] = "";
        r->bad[i] =
            (unsigned char)(d != dims ? RT_ROW_COLUMNS
                                      : read_series(l.at[h.data + i], r, r->values + i * r->size,
                                                    h.labelled, &label[i]));
    }
    if (label && h.labelled) {
        if (known && known->classes)
            rt_reals_classes(ds, label, known, err);
        else
            head_classes(ds, h.classes, label, err);
    }
    rt_free(label);
    rt_lines_free(&l);
    return err->code;
}

/* ---- letters ---- */

static int no_letter(char c) {
    return c == '-' || c == '?' || c == 'n' || c == 'N';
}

/* The last field of a line, without its blanks; the first one is the class where there are two. */
static char *sequence_of(char *s, char **label) {
    char *field[8];
    char delimiter = rt_delimiter(s);
    if (!delimiter && strpbrk(s, " "))
        delimiter = ' ';
    /* promoters.data separates by comma and adds tabs */
    if (strchr(s, ','))
        delimiter = ',';
    int64_t n = rt_fields(s, delimiter, field, 8);
    *label = n > 1 ? field[0] : NULL;
    char *p = field[n < 8 ? n - 1 : 7], *to = p;
    for (char *q = p; *q; q++)
        if (!isspace((unsigned char)*q))
            *to++ = *q;
    *to = 0;
    return p;
}

static int one_hot(const struct rt_reals *r, const char *s, const char *alphabet, float *to) {
    for (int64_t k = 0; s[k]; k++) {
        const char *at = strchr(alphabet, tolower((unsigned char)s[k]));
        if (!at)
            at = strchr(alphabet, s[k]);
        if (at)
            to[(at - alphabet) * r->w + k] = 1;
        else if (!no_letter(s[k]))
            return RT_ROW_LETTER;
    }
    return *s ? RT_ROW_GOOD : RT_ROW_SERIES;
}

int rt_seq_open_file(rt_dataset *ds, const char *path, const char *uri, const rt_dataset *known,
                     rt_error *err) {
    struct rt_lines l;
    char alphabet[MAX_LETTERS + 1];
    size_t longest = 0;
    int labelled = 1;
    if (!rt_data_key(uri, "alphabet", alphabet, sizeof alphabet) || !*alphabet)
        snprintf(alphabet, sizeof alphabet, "acgt");
    if (rt_lines_read(&l, path, '#', err))
        return err->code;
    char **text = rt_alloc((size_t)l.n, sizeof *text, "sequences", err);
    char **label = rt_alloc((size_t)l.n, sizeof *label, "labels", err);
    for (int64_t i = 0; text && label && i < l.n; i++) {
        text[i] = sequence_of(l.at[i], &label[i]);
        size_t n = strlen(text[i]);
        longest = n > longest ? n : longest;
        labelled = labelled && label[i];
    }
    struct rt_reals *r = NULL;
    if (!err->code && longest > MAX_LENGTH)
        rt_fail(err, NETRT_ELIMIT, "%s: a sequence of %zu letters", path, longest);
    if (!err->code)
        r = rt_reals_new(ds, "text", path, l.n, (int)strlen(alphabet), 1, (int)longest, err);
    if (r && (r->line = rt_alloc((size_t)l.n, sizeof *r->line, "lines", err))) {
        for (int64_t i = 0; i < l.n; i++) {
            r->line[i] = l.line[i];
            r->bad[i] = (unsigned char)one_hot(r, text[i], alphabet, r->values + i * r->size);
        }
        if (labelled)
            rt_reals_classes(ds, (const char *const *)label, known, err);
    }
    rt_free(text);
    rt_free(label);
    rt_lines_free(&l);
    return err->code;
}

/* ---- what is it? ---- */

/* 16 letters of DNA at the end of the line. */
static int dna_line(const char *s, size_t n) {
    size_t letters = 0;
    while (n > 0 && strchr("\r \t", s[n - 1]))
        n--;
    while (n > 0 && strchr("acgtnACGTN", s[n - 1])) {
        n--;
        letters++;
    }
    return letters >= 16;
}

const char *rt_text_sniff(const char *path) {
    enum { HEAD = 8192 };
    char head[HEAD + 1];
    size_t n = rt_io_head(path, head, HEAD);
    head[n] = 0;
    if (n == 0 || memchr(head, 0, n))
        return NULL;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)head[i] < 32 && !strchr("\t\r\n", head[i]))
            return NULL;
    const char *p = head;
    while (*p == '#' || *p == '\n' || *p == '\r') { /* comments in front of a .ts head */
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    if (strncasecmp(p, "@problemname", 12) == 0 || strncasecmp(p, "@relation", 9) == 0 ||
        strncasecmp(p, "@timestamps", 11) == 0 || strncasecmp(p, "@data", 5) == 0)
        return "ts";
    size_t first = strcspn(head, "\n");
    if (dna_line(head, first))
        return "text";
    head[first] = 0;
    return rt_delimiter(head) && *head != '<' && *head != '{' ? "csv" : NULL;
}
