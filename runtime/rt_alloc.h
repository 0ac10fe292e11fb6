/* rt_alloc.h: the one door to the heap for the whole runtime.
 *
 * Every allocation passes through here, so that one byte limit holds for all of them and a test can
 * make the n-th one fail.  All functions are thread-safe.  On failure they return NULL and record
 * NETRT_ELIMIT.  Memory from rt_alloc* is released by rt_free, memory from rt_slab_alloc by
 * rt_slab_free; the two are not interchangeable.
 */
#ifndef RT_ALLOC_H
#define RT_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "rt_error.h"

/* count * size bytes, 16-byte aligned, not initialised.  A product that overflows is a failure.
 * Zero bytes give a valid pointer.  what ("image", "weights") goes into the error text. */
void *rt_alloc(size_t count, size_t size, const char *what, rt_error *err);

/* The same, filled with zeros. */
void *rt_alloc_zero(size_t count, size_t size, const char *what, rt_error *err);

/* Grows or shrinks p (NULL is allowed).  On failure p is untouched and still owned by the caller.
 */
void *rt_realloc(void *p, size_t count, size_t size, const char *what, rt_error *err);

/* A copy of a string, or of its first n bytes with a 0 appended. */
char *rt_strdup(const char *s, rt_error *err);
char *rt_strndup(const char *s, size_t n, rt_error *err);

void rt_free(void *p);

/* Large zero-filled blocks: 64-byte aligned below 1 MiB, else 2 MiB aligned, whole huge pages of it
 * asked for as such (madvise), which saves most TLB misses when kernels stream over weights.  Pages
 * of the latter become resident when they are first written, and leave the process when freed. */
void *rt_slab_alloc(size_t bytes, const char *what, rt_error *err);
void rt_slab_free(void *p, size_t bytes); /* bytes: the number given to rt_slab_alloc */

/* Refuse allocations that would bring the live total above limit bytes; 0 = no limit (default). */
void rt_alloc_set_limit(size_t limit);

/* Live bytes and number of successful or failed calls since start: for tests and reports. */
size_t rt_alloc_live(void);
int64_t rt_alloc_calls(void);

/* Tests only: make the call with this number (counted from 1 from now on) fail; forever makes all
 * later ones fail too.  nth = 0 switches the injection off. */
void rt_alloc_inject(int64_t nth, int forever);

#endif
