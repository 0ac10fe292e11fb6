/* arena.h: memory that is freed all at once.
 *
 * The compiler has no free(): a compilation owns one arena, a pass borrows a scratch arena that is
 * reset afterwards.  Running out of memory ends the run with exit code 6.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_reset(Arena *arena); /* everything handed out becomes invalid; keeps one block */
void arena_free(Arena *arena);  /* NULL is allowed */

/* Zeroed, 16-byte aligned; size 0 gives a unique valid pointer. */
void *arena_alloc(Arena *arena, size_t size) __attribute__((malloc, returns_nonnull));

/* Zeroed array; count < 0 is a BUG, an overflowing product ends the run with exit code 6. */
void *arena_array(Arena *arena, int64_t count, size_t size) __attribute__((malloc, returns_nonnull));

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, count, type) ((type *)arena_array((arena), (count), sizeof(type)))

char *arena_strdup(Arena *arena, const char *text);
char *arena_strndup(Arena *arena, const char *text, size_t length);
char *arena_printf(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *arena, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

size_t arena_used(const Arena *arena); /* bytes handed out since the last reset */

#endif
