/* rt_csv.c: tables of numbers, or of picture names, one sample a line.
 *
 * Separated by comma, semicolon or tab (what the first line has most of), with or without a line of
 * names.  The class is in the column asked for by `label` (first, last, a name, a number from 1),
 * else in the one named label, class or target, else in the last one where that holds no number,
 * else in the first one.  A column named path, file, filename or image, or two columns of which one
 * holds no number and names a file with an ending, make it a list of pictures.
 * ensures: rows that do not fit are bad rows of the table, not errors.
 */
#define _GNU_SOURCE
#include "rt_reals.h"

#include "rt_alloc.h"
#include "rt_lines.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_COLUMNS = 1 << 20 };

struct csv {
    const char *path;
    struct rt_lines lines;
    char delimiter;
    int64_t columns, first; /* first: line with data, 0 or 1 */
    char **field;           /* of the line being looked at; room for columns */
    char **head;            /* of line 0 where it holds names, else NULL */
    int64_t label, file;    /* columns; -1: none */
};

static void csv_close(struct csv *t) {
    rt_lines_free(&t->lines);
    rt_free(t->field);
    rt_free(t->head);
}

static int is_number(const char *s) {
    float x;
    return rt_reals_number(s, &x);
}

static int64_t named(const struct csv *t, const char *const *names, int n) {
    for (int k = 0; t->head && k < n; k++)
        for (int64_t i = 0; i < t->columns; i++)
            if (strcasecmp(t->head[i], names[k]) == 0)
                return i;
    return -1;
}

/* Cuts a copy of line i into t->field (the copy replaces *copy). */
static int look(struct csv *t, int64_t i, char **copy, rt_error *err) {
    rt_free(*copy);
    *copy = rt_strdup(t->lines.at[i], err);
    if (*copy && rt_fields(*copy, t->delimiter, t->field, t->columns) != t->columns)
        for (int64_t k = 0; k < t->columns; k++)
            t->field[k] = *copy + strlen(*copy);
    return err->code;
}

static int asked_label(struct csv *t, const char *uri, rt_error *err) {
    char want[256];
    if (!rt_data_key(uri, "label", want, sizeof want))
        return NETRT_OK;
    const char *name = want;
    int64_t number = strtoll(want, NULL, 10);
    t->label = named(t, &name, 1);
    if (t->label < 0 && strcmp(want, "first") == 0)
        t->label = 0;
    else if (t->label < 0 && strcmp(want, "last") == 0)
        t->label = t->columns - 1;
    else if (t->label < 0 && number >= 1 && number <= t->columns)
        t->label = number - 1;
    if (t->label < 0)
        rt_fail(err, NETRT_EDATA,
                "%s has no column '%s'\nhelp: label = \"first\", \"last\", a name of the first "
                "line, or a number from 1 to %lld",
                t->path, want, (long long)t->columns);
    return err->code;
}

/* A name with an ending, no number: what two-column tables of pictures hold. */
static int like_file(const char *s) {
    const char *dot = strrchr(s, '.');
    size_t n = dot ? strlen(dot) : 0;
    return !is_number(s) && n >= 4 && n <= 5 && dot > s;
}

static int find_columns(struct csv *t, const char *uri, rt_error *err) {
    static const char *const labels[] = {"label", "class", "target"}, *const files[] = {
                                                                          "path", "file",
                                                                          "filename", "image"};
    char *copy = NULL;
    t->label = named(t, labels, 3);
    t->file = named(t, files, 4);
    if (look(t, t->first, &copy, err) == NETRT_OK) {
        int64_t last = t->columns - 1;
        if (t->file < 0 && t->columns <= 2)
            for (int64_t k = 0; k < t->columns && t->file < 0; k++)
                if (k != t->label && like_file(t->field[k]))
                    t->file = k;
        if (t->label < 0 && t->file >= 0 && t->columns > 1)
            t->label = t->file == last ? 0 : t->columns == 2 ? last : -1;
        else if (t->label < 0 && t->columns > 1)
            t->label = is_number(t->field[last]) ? 0 : last;
        asked_label(t, uri, err);
    }
    rt_free(copy);
    return err->code;
}

static int csv_open(struct csv *t, const char *uri, rt_error *err) {
    char *copy = NULL;
    if (rt_lines_read(&t->lines, t->path, 0, err))
        return err->code;
    if (t->lines.n < 1)
        return rt_fail(err, NETRT_EDATA, "%s is empty", t->path);
    t->delimiter = rt_delimiter(t->lines.at[0]);
    if (!(copy = rt_strdup(t->lines.at[0], err)))
        return err->code;
    t->columns = rt_fields(copy, t->delimiter, NULL, 0);
    rt_free(copy);
    copy = NULL;
    if (t->columns > MAX_COLUMNS)
        return rt_fail(err, NETRT_ELIMIT, "%s: more than %d columns", t->path, MAX_COLUMNS);
    t->field = rt_alloc((size_t)t->columns, sizeof *t->field, "columns", err);
    if (!t->field || look(t, 0, &copy, err)) {
        rt_free(copy);
        return err->code;
    }
    int names = 1; /* a line of names has no number and no file in it */
    for (int64_t k = 0; k < t->columns; k++)
        names = names && !is_number(t->field[k]) && !like_file(t->field[k]);
    rt_free(copy);
    if (names) {
        t->head = rt_alloc((size_t)t->columns, sizeof *t->head, "columns", err);
        if (!t->head)
            return err->code;
        rt_fields(t->lines.at[0], t->delimiter, t->head, t->columns);
        t->first = 1;
    }
    if (t->lines.n <= t->first)
        return rt_fail(err, NETRT_EDATA, "%s holds no samples", t->path);
    return find_columns(t, uri, err);
}

/* ---- numbers ---- */

static int fill_row(const struct csv *t, struct rt_reals *r, int64_t row, int64_t found,
                    const char **label) {
    float *to = r->values + row * r->size;
    *label = t->label >= 0 && t->label < found ? t->field[t->label] : "";
    if (found != t->columns)
        return RT_ROW_COLUMNS;
    for (int64_t k = 0; k < t->columns; k++)
        if (k != t->label && !rt_reals_number(t->field[k], to++))
            return RT_ROW_NUMBER;
    return RT_ROW_GOOD;
}

static int numeric(rt_dataset *ds, struct csv *t, const rt_dataset *known, rt_error *err) {
    int64_t rows = t->lines.n - t->first, wide = t->columns - (t->label >= 0);
    struct rt_reals *r = rt_reals_new(ds, "csv", t->path, rows, 1, 1, (int)wide, err);
    const char **label = r ? rt_alloc((size_t)rows, sizeof *label, "labels", err) : NULL;
    if (r && label)
        r->line = rt_alloc((size_t)rows, sizeof *r->line, "lines", err);
    if (err->code) {
        rt_free(label);
        return err->code;
    }
    int64_t good = 0, columns = 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t found = rt_fields(t->lines.at[t->first + i], t->delimiter, t->field, t->columns);
        r->line[i] = t->lines.line[t->first + i];
        r->bad[i] = (unsigned char)fill_row(t, r, i, found, &label[i]);
        good += !r->bad[i];
        columns += found == t->columns;
    }
    if (good == 0)
        rt_fail(err, NETRT_EDATA,
                "%s: no line holds %lld numbers%s\n"
                "help: a table has one sample a line: its class and its numbers, or its class and "
                "the name of a picture",
                t->path, (long long)wide, columns ? "" : ", none has the columns of the first one");
    else if (t->label >= 0)
        rt_reals_classes(ds, label, known, err);
    rt_free(label);
    return err->code;
}

/* ---- names of pictures ---- */

static char *folder_of(const char *path, rt_error *err) {
    const char *slash = strrchr(path, '/');
    return slash ? rt_strndup(path, (size_t)(slash - path) + (slash == path), err)
                 : rt_strdup(".", err);
}

static int pictures(rt_dataset *ds, struct csv *t, const rt_dataset *known, rt_error *err) {
    int64_t rows = t->lines.n - t->first, n = 0;
    char **name = rt_alloc_zero((size_t)rows, sizeof *name, "names", err);
    const char **label = rt_alloc((size_t)rows, sizeof *label, "labels", err);
    int *number = rt_alloc_zero((size_t)rows, sizeof *number, "labels", err);
    char *dir = folder_of(t->path, err);
    for (int64_t i = 0; i < rows && !err->code; i++) {
        int64_t line = t->first + i;
        if (rt_fields(t->lines.at[line], t->delimiter, t->field, t->columns) != t->columns) {
            rt_fail(err, NETRT_EDATA, "%s:%d: not the number of columns that the first row has",
                    t->path, t->lines.line[line]);
            break;
        }
        label[n] = t->label >= 0 ? t->field[t->label] : "";
        name[n] = rt_strdup(t->field[t->file], err);
        n += name[n] != NULL;
    }
    if (err->code) {
        for (int64_t i = 0; name && i < n; i++)
            rt_free(name[i]);
        rt_free(number);
    } else {
        int with = t->label >= 0;
        if (!with) {
            rt_free(number);
            number = NULL;
        }
        /* takes over the names and the numbers, whatever happens */
        if (rt_folder_open_list(ds, dir, name, n, number, err) == NETRT_OK && with)
            rt_reals_list_classes(ds, t->path, label, number, known, err);
    }
    rt_free(dir);
    rt_free(name);
    rt_free(label);
    return err->code;
}

int rt_csv_open_file(rt_dataset *ds, const char *path, const char *uri, const rt_dataset *known,
                     rt_error *err) {
    struct csv t = {.path = path, .label = -1, .file = -1};
    if (csv_open(&t, uri, err) == NETRT_OK) {
        if (t.file >= 0)
            pictures(ds, &t, known, err);
        else
            numeric(ds, &t, known, err);
    }
    csv_close(&t);
    return err->code;
}
