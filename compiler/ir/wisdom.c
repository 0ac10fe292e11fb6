/* wisdom.c: see wisdom.h. */
#include "ir/wisdom.h"

#include <string.h>

#include "base/map.h"

typedef struct Row {
    const char *winner, *times;
} Row;

struct Wisdom {
    Arena *keep;
    const char *machine;
    Map rows;
};

static const char head[] = "netc-wisdom 1 ";
enum { ROWS_MAX = 20000 };

Wisdom *wisdom_new(Arena *keep, const char *machine) {
    Wisdom *w = ARENA_NEW(keep, Wisdom);
    *w = (Wisdom){.keep = keep, .machine = machine, .rows = map_new(keep)};
    return w;
}

const char *wisdom_find(const Wisdom *w, const char *key) {
    const Row *row = map_get(&w->rows, key);
    return row ? row->winner : NULL;
}

void wisdom_put(Wisdom *w, const char *key, const char *winner, const char *times) {
    Row *row = ARENA_NEW(w->keep, Row);
    *row = (Row){arena_strdup(w->keep, winner), arena_strdup(w->keep, times)};
    map_put(&w->rows, arena_strdup(w->keep, key), row);
}

int wisdom_count(const Wisdom *w) {
    return w->rows.count;
}

/* "key TAB winner TAB times": every part has something, and times begins with the winner. */
static bool parse_row(Wisdom *w, const char *line, size_t n) {
    const char *end = line + n, *tab = memchr(line, '\t', n);
    const char *second = tab ? memchr(tab + 1, '\t', (size_t)(end - tab - 1)) : NULL;
    if (!second || tab == line || second == tab + 1 || second + 1 == end ||
        memchr(second + 1, '\t', (size_t)(end - second - 1)))
        return false;
    const char *winner = arena_strndup(w->keep, tab + 1, (size_t)(second - tab - 1));
    if (strncmp(second + 1, winner, strlen(winner)) != 0)
        return false;
    for (const char *p = line; p < end; p++)
        if ((unsigned char)*p < ' ' && *p != '\t')
            return false;
    wisdom_put(w, arena_strndup(w->keep, line, (size_t)(tab - line)), winner,
               arena_strndup(w->keep, second + 1, (size_t)(end - second - 1)));
    return true;
}

WisdomNews wisdom_parse(Wisdom *w, const char *text, int *line) {
    size_t n = strcspn(text, "\n"), skip = sizeof head - 1;
    *line = 1;
    w->rows = map_new(w->keep);
    if (n <= skip || text[n] != '\n' || strncmp(text, head, skip) != 0)
        return WISDOM_CORRUPT;
    const char *machine = arena_strndup(w->keep, text + skip, n - skip);
    bool ours = strcmp(machine, "*") == 0 || strcmp(machine, w->machine) == 0;
    for (const char *p = text + n + 1; *p; p += n + 1) {
        n = strcspn(p, "\n");
        ++*line;
        if (p[n] != '\n' || *line > ROWS_MAX || !parse_row(w, p, n)) {
            w->rows = map_new(w->keep);
            return WISDOM_CORRUPT;
        }
    }
    if (!ours)
        w->rows = map_new(w->keep);
    return ours ? WISDOM_READ : WISDOM_FOREIGN;
}

void wisdom_print(const Wisdom *w, FILE *out) {
    fprintf(out, "%s%s\n", head, w->machine);
    for (int i = 0; i < w->rows.count; i++) {
        const Row *row = w->rows.entries[i].value;
        fprintf(out, "%s\t%s\t%s\n", w->rows.entries[i].key, row->winner, row->times);
    }
}
