/* map.h: hash map from text to pointer, on an arena; iteration follows insertion order.
 *
 * Keys are compared by content and are not copied: pass interned or arena text.  Order of iteration
 * never depends on addresses, so dumps are the same on every run.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

typedef struct MapEntry {
    const char *key;
    void *value;
    uint32_t hash;
} MapEntry;

typedef struct Map {
    Arena *arena;
    MapEntry *entries; /* insertion order */
    int32_t *slots;    /* open addressing; 0 = empty, else 1 + index into entries */
    int count;
    int entry_capacity;
    int slot_count; /* power of two or 0 */
} Map;

Map map_new(Arena *arena);
void *map_get(const Map *map, const char *key); /* NULL when absent */
bool map_has(const Map *map, const char *key);
/* Adds or replaces; true when the key was new.  A NULL value is allowed (map_has sees it). */
bool map_put(Map *map, const char *key, void *value);

#endif
