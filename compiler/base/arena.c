/* arena.c: bump allocation in growing blocks.
 *
 * requires: nothing.
 * ensures:  every pointer is zeroed, 16-byte aligned and stays put until reset or free.
 * Blocks double up to 1 MiB, so a small spec costs one small block and a large one few blocks.
 */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"

#define ARENA_ALIGN ((size_t)16)
#define FIRST_BLOCK ((size_t)16 << 10)
#define LARGEST_BLOCK ((size_t)1 << 20)

typedef struct Block {
    struct Block *previous;
    size_t capacity;
    size_t used;
    size_t pad; /* keeps the bytes behind the header 16-aligned */
} Block;

_Static_assert(sizeof(Block) % 16 == 0, "block payload must be 16-aligned");

struct Arena {
    Block *block;
    size_t next_capacity;
    size_t used;
};

static char *block_bytes(Block *block) {
    return (char *)(block + 1);
}

static void block_add(Arena *arena, size_t least) {
    size_t capacity = arena->next_capacity > least ? arena->next_capacity : least;
    size_t total;

    if (__builtin_add_overflow(capacity, sizeof(Block), &total))
        fatal(NETC_LIMIT, "out of memory (%zu bytes wanted)", least);
    Block *block = malloc(total);
    if (!block)
        fatal(NETC_LIMIT, "out of memory (%zu bytes wanted)", total);
    *block = (Block){.previous = arena->block, .capacity = capacity};
    arena->block = block;
    if (arena->next_capacity < LARGEST_BLOCK)
        arena->next_capacity *= 2;
}

Arena *arena_new(void) {
    Arena *arena = malloc(sizeof *arena);

    if (!arena)
        fatal(NETC_LIMIT, "out of memory");
    *arena = (Arena){.next_capacity = FIRST_BLOCK};
    return arena;
}

void arena_reset(Arena *arena) {
    Block *keep = arena->block;

    if (keep) {
        for (Block *block = keep->previous, *previous; block; block = previous) {
            previous = block->previous;
            free(block);
        }
        keep->previous = NULL;
        keep->used = 0;
    }
    arena->used = 0;
}

void arena_free(Arena *arena) {
    if (!arena)
        return;
    arena_reset(arena);
    free(arena->block);
    free(arena);
}

void *arena_alloc(Arena *arena, size_t size) {
    size_t rounded;

    if (__builtin_add_overflow(size ? size : 1, ARENA_ALIGN - 1, &rounded))
        fatal(NETC_LIMIT, "out of memory (%zu bytes wanted)", size);
    rounded &= ~(ARENA_ALIGN - 1);
    if (!arena->block || arena->block->capacity - arena->block->used < rounded)
        block_add(arena, rounded);
    char *result = block_bytes(arena->block) + arena->block->used;
    arena->block->used += rounded;
    arena->used += rounded;
    return memset(result, 0, rounded);
}

void *arena_array(Arena *arena, int64_t count, size_t size) {
    size_t total;

    BUG_IF(count < 0, "array of %lld elements", (long long)count);
    if (__builtin_mul_overflow((size_t)count, size, &total))
        fatal(NETC_LIMIT, "out of memory (%lld elements of %zu bytes wanted)", (long long)count,
              size);
    return arena_alloc(arena, total);
}

char *arena_strndup(Arena *arena, const char *text, size_t length) {
    char *copy = arena_alloc(arena, length + 1);

    memcpy(copy, text, length);
    return copy; /* the arena zeroes, so the terminator is there */
}

char *arena_strdup(Arena *arena, const char *text) {
    return arena_strndup(arena, text, strlen(text));
}

char *arena_vprintf(Arena *arena, const char *format, va_list args) {
    va_list again;

    BUG_IF(!format, "no format");
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    BUG_IF(length < 0, "bad format '%s'", format);
    char *text = arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, args);
    return text;
}

char *arena_printf(Arena *arena, const char *format, ...) {
    va_list args;

    va_start(args, format);
    char *text = arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}

size_t arena_used(const Arena *arena) {
    return arena->used;
}
