/* vec.h: typed growable arrays on an arena.
 *
 *     VEC(Ast *) list = {0};
 *     vec_push(arena, &list, node);
 *     for (int i = 0; i < list.len; i++) use(list.data[i]);
 *
 * Growing doubles the capacity and leaves the old array to the arena.  Each VEC(T) is its own type;
 * give it a typedef to pass it to a function.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include "base/arena.h"
#include "base/bug.h"

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *data;                                                                                   \
        int len, cap;                                                                              \
    }

#define vec_push(arena, v, item)                                                                   \
    ((v)->data = vec_room_((arena), (v)->data, (v)->len, &(v)->cap, sizeof *(v)->data),            \
     (v)->data[(v)->len++] = (item))

/* Pushes a zeroed element and yields a pointer to it. */
#define vec_add(arena, v)                                                                          \
    ((v)->data = vec_room_((arena), (v)->data, (v)->len, &(v)->cap, sizeof *(v)->data),            \
     __builtin_memset(&(v)->data[(v)->len], 0, sizeof *(v)->data), &(v)->data[(v)->len++])

#define vec_pop(v) ((v)->len > 0 ? (void)0 : BUG("pop of an empty vector"), (v)->data[--(v)->len])
#define vec_last(v) ((v)->data[(v)->len - 1])

/* Makes room for one more element; returns the (possibly moved) array. */
void *vec_room_(Arena *arena, void *data, int len, int *cap, size_t size);

#endif
