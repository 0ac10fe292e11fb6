/* str.c: interning, text building, UTF-8 steps and "did you mean".
 *
 * requires: nothing.  ensures: intern(a) == intern(b) exactly when the texts are equal.
 * theory: edit distance with adjacent swaps (optimal string alignment), Damerau 1964.
 */
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bug.h"
#include "base/map.h"

static Arena *intern_arena;
static Map intern_map;

const char *intern(const char *text, size_t length) {
    char small[256];
    const char *key = small;

    if (!intern_arena) {
        intern_arena = arena_new();
        intern_map = map_new(intern_arena);
    }
    if (length < sizeof small) {
        memcpy(small, text, length);
        small[length] = 0;
    } else {
        key = arena_strndup(intern_arena, text, length);
    }
    const char *known = map_get(&intern_map, key);
    if (known)
        return known;
    char *fresh = arena_strdup(intern_arena, key);
    map_put(&intern_map, fresh, fresh);
    return fresh;
}

const char *intern_z(const char *text) {
    return text ? intern(text, strlen(text)) : NULL;
}

void intern_reset(void) {
    arena_free(intern_arena);
    intern_arena = NULL;
}

StrBuf sb_new(Arena *arena) {
    StrBuf buf = {.arena = arena, .capacity = 64};

    buf.text = arena_alloc(arena, buf.capacity);
    return buf;
}

static void sb_room(StrBuf *buf, size_t more) {
    size_t needed;

    if (__builtin_add_overflow(buf->length, more + 1, &needed))
        fatal(NETC_LIMIT, "out of memory (text of %zu bytes)", more);
    if (needed <= buf->capacity)
        return;
    size_t capacity = buf->capacity * 2 > needed ? buf->capacity * 2 : needed;
    char *text = arena_alloc(buf->arena, capacity);
    memcpy(text, buf->text, buf->length);
    buf->text = text;
    buf->capacity = capacity;
}

void sb_write(StrBuf *buf, const char *text, size_t length) {
    sb_room(buf, length);
    memcpy(buf->text + buf->length, text, length);
    buf->length += length;
    buf->text[buf->length] = 0;
}

void sb_putc(StrBuf *buf, char c) {
    sb_write(buf, &c, 1);
}

void sb_puts(StrBuf *buf, const char *text) {
    sb_write(buf, text, strlen(text));
}

void sb_vprintf(StrBuf *buf, const char *format, va_list args) {
    va_list again;

    BUG_IF(!format, "no format");
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    BUG_IF(length < 0, "bad format '%s'", format);
    sb_room(buf, (size_t)length);
    vsnprintf(buf->text + buf->length, (size_t)length + 1, format, args);
    buf->length += (size_t)length;
}

void sb_printf(StrBuf *buf, const char *format, ...) {
    va_list args;

    va_start(args, format);
    sb_vprintf(buf, format, args);
    va_end(args);
}

void sb_repeat(StrBuf *buf, char c, int count) {
    for (; count > 0; count--)
        sb_putc(buf, c);
}

int utf8_length(const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned value;
    int count;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        count = 2, value = s[0] & 0x1fu;
    else if ((s[0] & 0xf0) == 0xe0)
        count = 3, value = s[0] & 0x0fu;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        count = 4, value = s[0] & 0x07u;
    else
        return 0;
    if ((size_t)count > length)
        return 0;
    for (int i = 1; i < count; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    if (value < least[count] || (value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff)
        return 0;
    return count;
}

void sb_json(StrBuf *buf, const char *text) {
    size_t left = strlen(text);

    sb_putc(buf, '"');
    while (left > 0) {
        unsigned char c = (unsigned char)*text;
        int count = utf8_length(text, left);
        if (count == 0)
            sb_puts(buf, "\\ufffd");
        else if (c == '"' || c == '\\')
            sb_printf(buf, "\\%c", c);
        else if (c == '\n')
            sb_puts(buf, "\\n");
        else if (c < 0x20 || c == 0x7f)
            sb_printf(buf, "\\u%04x", c);
        else
            sb_write(buf, text, (size_t)count);
        count = count ? count : 1;
        text += count;
        left -= (size_t)count;
    }
    sb_putc(buf, '"');
}

static int least_of(int a, int b, int c) {
    int least = a < b ? a : b;

    return least < c ? least : c;
}

int edit_distance(const char *a, const char *b) {
    enum { LONGEST = 255 };
    int rows[3][LONGEST + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    size_t la = strlen(a), lb = strlen(b);

    if (la > LONGEST || lb > LONGEST)
        return LONGEST + 1;
    for (int j = 0; j <= (int)lb; j++)
        last[j] = j;
    for (int i = 1; i <= (int)la; i++) {
        now[0] = i;
        for (int j = 1; j <= (int)lb; j++) {
            int swap = a[i - 1] != b[j - 1];
            now[j] = least_of(last[j] + 1, now[j - 1] + 1, last[j - 1] + swap);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        int *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[lb];
}

const char *nearest_name(const char *word, const char *const *candidates, int count) {
    int length = (int)strnlen(word, 256);
    int allowed = (length + 2) / 3;
    const char *best = NULL;
    int best_distance = allowed + 1;

    if (length <= 2)
        return NULL;
    for (int i = 0; i < count; i++) {
        if (strcasecmp(word, candidates[i]) == 0 && strcmp(word, candidates[i]) != 0)
            return candidates[i];
        if (strnlen(candidates[i], 3) <= 2)
            continue;
        int distance = edit_distance(word, candidates[i]);
        if (distance < best_distance) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}
