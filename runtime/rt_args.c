/* rt_args.c: parses command lines and prints help from one table (rt_args.h).
 *
 * theory for suggestions: Damerau-Levenshtein distance (optimal string alignment), with the limit
 * (length + 2) / 3 that clang uses for misspelled names.
 */
#include "rt_args.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

int rt_parse_int(const char *s, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || errno)
        return 0;
    int64_t scale = *end == 'k' ? 1000 : *end == 'M' ? 1000000 : 1;
    if (scale > 1)
        end++;
    return *end == 0 && !__builtin_mul_overflow((int64_t)v, scale, out);
}

int rt_parse_real(const char *s, double *out) {
    char *end;
    double v = strtod(s, &end);
    if (end == s || *end || !isfinite(v))
        return 0;
    *out = v;
    return 1;
}

/* ---- suggestions ---- */

static int distance(const char *a, const char *b) {
    enum { MAX = 40 };
    int d[MAX + 1][MAX + 1], n = (int)strlen(a), m = (int)strlen(b);
    if (n > MAX || m > MAX)
        return INT_MAX;
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *rt_nearest(const char *word, const char *const *words, int n) {
    const char *best = NULL;
    int least = INT_MAX, limit = ((int)strlen(word) + 2) / 3;
    for (int i = 0; i < n; i++) {
        int d = strlen(words[i]) > 2 && strlen(word) > 2 ? distance(word, words[i]) : INT_MAX;
        if (d <= limit && d < least) {
            least = d;
            best = words[i];
        }
    }
    return best;
}

/* ---- parsing ---- */

static int set_choice(const rt_arg *a, const char *value, rt_error *err) {
    const char *p = a->value;
    size_t n = strlen(value);
    for (int i = 0;; i++) {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, value, n) == 0) {
            *(int *)a->dst = i;
            return NETRT_OK;
        }
        if (!p[len])
            break;
        p += len + 1;
    }
    return rt_fail(err, NETRT_EUSAGE, "--%s takes one of %s, not '%s'", a->name, a->value, value);
}

static int set_value(const rt_arg *a, const char *value, rt_error *err) {
    int64_t whole;
    double real;
    switch (a->kind) {
    case RT_ARG_INT:
        if (!rt_parse_int(value, &whole))
            return rt_fail(err, NETRT_EUSAGE, "--%s takes a whole number, not '%s'", a->name,
                           value);
        if (a->min < a->max && (whole < a->min || whole > a->max))
            return rt_fail(err, NETRT_EUSAGE, "--%s must be %lld to %lld, not %s", a->name,
                           (long long)a->min, (long long)a->max, value);
        *(int64_t *)a->dst = whole;
        return NETRT_OK;
    case RT_ARG_REAL:
        if (!rt_parse_real(value, &real) || (a->max == 1 && real < 0))
            return rt_fail(err, NETRT_EUSAGE, "--%s takes a %snumber, not '%s'", a->name,
                           a->max == 1 ? "non-negative " : "", value);
        *(double *)a->dst = real;
        return NETRT_OK;
    case RT_ARG_CHOICE:
        return set_choice(a, value, err);
    default:
        *(const char **)a->dst = value;
        return NETRT_OK;
    }
}

static const rt_arg *find_long(const rt_arg *table, int n, const char *name, size_t len) {
    for (int i = 0; i < n; i++)
        if (table[i].kind != RT_ARG_REST && strlen(table[i].name) == len &&
            memcmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

static int unknown(const rt_arg *table, int n, const char *word, size_t len, rt_error *err) {
    const char *names[128];
    char name[64];
    int count = 0;
    for (int i = 0; i < n && count < 128; i++)
        if (table[i].kind != RT_ARG_REST)
            names[count++] = table[i].name;
    snprintf(name, sizeof name, "%.*s", (int)(len < 60 ? len : 60), word);
    const char *near = rt_nearest(name, names, count);
    return near ? rt_fail(err, NETRT_EUSAGE, "unknown option --%s; did you mean --%s?", name, near)
                : rt_fail(err, NETRT_EUSAGE, "unknown option --%s", name);
}

static int parse_long(const rt_arg *table, int n, int argc, char **argv, int *at, rt_error *err) {
    const char *word = argv[*at] + 2, *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    const rt_arg *a = find_long(table, n, word, len);
    if (!a)
        return unknown(table, n, word, len, err);
    if (a->kind == RT_ARG_FLAG) {
        if (equals)
            return rt_fail(err, NETRT_EUSAGE, "--%s takes no value", a->name);
        *(int *)a->dst = 1;
        return NETRT_OK;
    }
    if (equals)
        return set_value(a, equals + 1, err);
    if (a->kind == RT_ARG_MAYBE)
        return set_value(a, "", err);
    if (*at + 1 >= argc)
        return rt_fail(err, NETRT_EUSAGE, "--%s needs a value (%s)", a->name, a->value);
    return set_value(a, argv[++*at], err);
}

static int parse_short(const rt_arg *table, int n, int argc, char **argv, int *at, int *help,
                       rt_error *err) {
    for (const char *p = argv[*at] + 1; *p; p++) {
        const rt_arg *a = NULL;
        for (int i = 0; i < n; i++)
            if (table[i].letter == *p)
                a = &table[i];
        if (!a && *p == 'h') {
            *help = 1;
            continue;
        }
        if (!a)
            return rt_fail(err, NETRT_EUSAGE, "unknown option -%c", *p);
        if (a->kind == RT_ARG_FLAG) {
            *(int *)a->dst = 1;
            continue;
        }
        if (p[1])
            return set_value(a, p + 1, err);
        if (*at + 1 >= argc)
            return rt_fail(err, NETRT_EUSAGE, "-%c needs a value (%s)", *p, a->value);
        return set_value(a, argv[++*at], err);
    }
    return NETRT_OK;
}

int rt_args_parse(const rt_arg *table, int n, int argc, char **argv, const char **operands,
                  int *noperands, int *help, rt_error *err) {
    int only_operands = 0;
    *noperands = 0;
    *help = 0;
    for (int i = 0; i < argc; i++) {
        const char *w = argv[i];
        if (only_operands || w[0] != '-' || w[1] == 0) {
            operands[(*noperands)++] = w;
        } else if (strcmp(w, "--") == 0) {
            only_operands = 1;
        } else if (strcmp(w, "--help") == 0) {
            *help = 1;
        } else {
            int code = w[1] == '-' ? parse_long(table, n, argc, argv, &i, err)
                                   : parse_short(table, n, argc, argv, &i, help, err);
            if (code)
                return code;
        }
    }
    return NETRT_OK;
}

/* ---- help ---- */

/* Prints text broken at spaces, continuing at column `indent`, at most 79 columns. */
static void wrapped(FILE *out, const char *text, int column, int indent) {
    for (int first = 1; *text; first = 0) {
        int word = (int)strcspn(text, " ");
        if (!first && column + 1 + word > 79)
            column = fprintf(out, "\n%*s", indent, "") - 1;
        else if (!first)
            column += fprintf(out, " ");
        fwrite(text, 1, (size_t)word, out);
        column += word;
        text += word + (text[word] == ' ');
    }
    fputc('\n', out);
}

static void print_option(FILE *out, const rt_arg *a) {
    enum { INDENT = 26 };
    char left[96];
    if (a->kind == RT_ARG_REST) {
        fprintf(out, "\n%s:\n", a->help);
        return;
    }
    snprintf(left, sizeof left, "  %c%c%c --%s%s%s%s", a->letter ? '-' : ' ',
             a->letter ? a->letter : ' ', a->letter ? ',' : ' ', a->name,
             a->kind == RT_ARG_MAYBE ? "[="
             : a->value              ? "="
                                     : "",
             a->value ? a->value : "", a->kind == RT_ARG_MAYBE ? "]" : "");
    int n = fprintf(out, "%s", left);
    if (n >= INDENT - 1) {
        fprintf(out, "\n");
        n = 0;
    }
    fprintf(out, "%*s", INDENT - n, "");
    wrapped(out, a->help, INDENT, INDENT);
}

void rt_args_help(FILE *out, const char *program, const rt_verb *verb, const rt_arg *table, int n) {
    fprintf(out, "%s %s: %s\n\n", program, verb->name, verb->summary);
    if (verb->examples && verb->examples[0]) {
        fprintf(out, "Examples:\n");
        for (const char *p = verb->examples; *p;) {
            size_t len = strcspn(p, "\n");
            fprintf(out, "  %s %.*s\n", program, (int)len, p);
            p += len + (p[len] == '\n');
        }
        fputc('\n', out);
    }
    fprintf(out, "Usage: %s %s %s\n", program, verb->name, verb->usage);
    if (n > 0 && table[0].kind != RT_ARG_REST)
        fprintf(out, "\nOptions:\n");
    for (int i = 0; i < n; i++)
        print_option(out, &table[i]);
    fprintf(out, "  -h, --help              This text.\n");
}
