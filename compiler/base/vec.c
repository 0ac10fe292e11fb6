/* vec.c: the untyped growth step behind vec.h.
 *
 * requires: len <= *cap.  ensures: len < *cap, the first len elements are unchanged.
 */
#include "base/vec.h"

#include <limits.h>
#include <string.h>

void *vec_room_(Arena *arena, void *data, int len, int *cap, size_t size) {
    if (len < *cap)
        return data;
    if (*cap > INT_MAX / 2)
        fatal(NETC_LIMIT, "out of memory (list of %d elements)", *cap);
    int bigger = *cap ? *cap * 2 : 8;
    void *grown = arena_array(arena, bigger, size);
    if (len > 0)
        memcpy(grown, data, (size_t)len * size);
    *cap = bigger;
    return grown;
}
