/* str.h: interned names, a growable text builder, and small text helpers.
 *
 * An interned string is a plain `const char *` that is equal to another one exactly when the pointers
 * are equal.  Intern text lives until intern_reset().
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

const char *intern(const char *text, size_t length);
const char *intern_z(const char *text); /* NUL-terminated text; NULL gives NULL */
void intern_reset(void);                /* frees all interned text (tests, end of main) */

/* StrBuf: `StrBuf b = sb_new(arena); sb_printf(&b, ...); use(b.text)`.  text is always terminated. */
typedef struct StrBuf {
    Arena *arena;
    char *text;
    size_t length;
    size_t capacity;
} StrBuf;

StrBuf sb_new(Arena *arena);
void sb_putc(StrBuf *buf, char c);
void sb_puts(StrBuf *buf, const char *text);
void sb_write(StrBuf *buf, const char *text, size_t length);
void sb_printf(StrBuf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sb_vprintf(StrBuf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void sb_repeat(StrBuf *buf, char c, int count); /* count <= 0 adds nothing */
/* Text as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void sb_json(StrBuf *buf, const char *text);

/* Length in bytes of the UTF-8 character at text (1..4), or 0 when the bytes there are not valid
 * UTF-8 (overlong forms, surrogates and values above U+10FFFF are not).  length > 0. */
int utf8_length(const char *text, size_t length);

/* The candidate closest to word by edit distance, or NULL when none is near enough: the distance must
 * be at most (strlen(word) + 2) / 3, and names of one or two letters never match.  First wins a tie. */
const char *nearest_name(const char *word, const char *const *candidates, int count);
/* Insertions, deletions, substitutions and swaps of neighbours; words longer than 255 count as far. */
int edit_distance(const char *a, const char *b);

#endif
