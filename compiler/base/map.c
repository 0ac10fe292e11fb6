/* map.c: open-addressing hash map with insertion-ordered entries (FNV-1a, linear probing).
 *
 * requires: keys outlive the map.  ensures: load factor at most 1/2; there is no removal.
 */
#include "base/map.h"

#include <string.h>

#include "base/vec.h"

static uint32_t hash_text(const char *text) {
    uint32_t hash = 2166136261u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

Map map_new(Arena *arena) {
    return (Map){.arena = arena};
}

/* The slot that holds the key, or the empty slot where it belongs. */
static int find_slot(const Map *map, const char *key, uint32_t hash) {
    uint32_t mask = (uint32_t)map->slot_count - 1;
    uint32_t at = hash & mask;

    for (; map->slots[at]; at = (at + 1) & mask) {
        const MapEntry *entry = &map->entries[map->slots[at] - 1];
        if (entry->hash == hash && strcmp(entry->key, key) == 0)
            break;
    }
    return (int)at;
}

static void rehash(Map *map) {
    BUG_IF(map->slot_count > (1 << 28), "map of %d entries", map->count);
    map->slot_count = map->slot_count ? map->slot_count * 2 : 16;
    map->slots = ARENA_ARRAY(map->arena, map->slot_count, int32_t);
    for (int i = 0; i < map->count; i++)
        map->slots[find_slot(map, map->entries[i].key, map->entries[i].hash)] = i + 1;
}

static const MapEntry *find_entry(const Map *map, const char *key) {
    if (!map->slot_count)
        return NULL;
    int slot = map->slots[find_slot(map, key, hash_text(key))];
    return slot ? &map->entries[slot - 1] : NULL;
}

void *map_get(const Map *map, const char *key) {
    const MapEntry *entry = find_entry(map, key);

    return entry ? entry->value : NULL;
}

bool map_has(const Map *map, const char *key) {
    return find_entry(map, key) != NULL;
}

bool map_put(Map *map, const char *key, void *value) {
    if (map->count * 2 >= map->slot_count)
        rehash(map);
    uint32_t hash = hash_text(key);
    int at = find_slot(map, key, hash);
    if (map->slots[at]) {
        map->entries[map->slots[at] - 1].value = value;
        return false;
    }
    map->entries = vec_room_(map->arena, map->entries, map->count, &map->entry_capacity,
                             sizeof *map->entries);
    map->entries[map->count++] = (MapEntry){.key = key, .value = value, .hash = hash};
    map->slots[at] = map->count;
    return true;
}
