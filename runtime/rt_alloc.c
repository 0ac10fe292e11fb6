/* rt_alloc.c: allocator hook with byte limit and fault injection (see rt_alloc.h).
 *
 * Each block carries a 16-byte header with its size, so that live bytes are known at rt_free.
 * ensures: a failed call changes nothing and leaves a text that says how much was asked for.
 * Reliability rule 2 and goal R13: the n-th allocation can be made to fail.
 */
#define _GNU_SOURCE
#include "rt_alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    HEADER = 16,
    SLAB_SMALL_ALIGN = 64,
    SLAB_MAPPED = 1 << 20, /* from here on given back to the system when freed */
    PAGE = 65536           /* the largest page in use */
};
#define HUGE_PAGE ((size_t)2 << 20)

static atomic_size_t live_bytes;
static atomic_size_t byte_limit;
static atomic_int_fast64_t calls;
static atomic_int_fast64_t inject_at; /* 0 off, else number of calls until the failing one */
static atomic_int inject_forever;

void rt_alloc_set_limit(size_t limit) {
    atomic_store(&byte_limit, limit);
}

size_t rt_alloc_live(void) {
    return atomic_load(&live_bytes);
}

int64_t rt_alloc_calls(void) {
    return (int64_t)atomic_load(&calls);
}

void rt_alloc_inject(int64_t nth, int forever) {
    atomic_store(&inject_forever, forever);
    atomic_store(&inject_at, nth);
}

static int injected_failure(void) {
    if (atomic_load(&inject_at) == 0)
        return 0;
    int_fast64_t left = atomic_fetch_sub(&inject_at, 1);
    if (left > 1)
        return 0;
    /* Keep the counter at "next one fails" or switch it off. */
    atomic_store(&inject_at, atomic_load(&inject_forever) ? 1 : 0);
    return left == 1;
}

/* Reserves bytes against the limit; 0 when there is room. */
static int account(size_t bytes, const char *what, rt_error *err) {
    atomic_fetch_add(&calls, 1);
    if (injected_failure())
        return rt_fail(err, NETRT_ELIMIT, "out of memory: %zu bytes for %s", bytes, what);
    size_t limit = atomic_load(&byte_limit);
    size_t before = atomic_fetch_add(&live_bytes, bytes);
    if (limit && (bytes > limit || before > limit - bytes)) {
        atomic_fetch_sub(&live_bytes, bytes);
        return rt_fail(err, NETRT_ELIMIT,
                       "memory limit: %zu bytes for %s, %zu of %zu bytes are in use", bytes, what,
                       before, limit);
    }
    return NETRT_OK;
}

static void *out_of_memory(size_t bytes, const char *what, rt_error *err) {
    atomic_fetch_sub(&live_bytes, bytes);
    rt_fail(err, NETRT_ELIMIT, "out of memory: %zu bytes for %s", bytes, what);
    return NULL;
}

static int total_bytes(size_t count, size_t size, size_t *bytes, const char *what, rt_error *err) {
    size_t product, total;
    if (__builtin_mul_overflow(count, size, &product) ||
        __builtin_add_overflow(product, (size_t)HEADER, &total) || total > (size_t)PTRDIFF_MAX) {
        rt_fail(err, NETRT_ELIMIT, "out of memory: %zu x %zu bytes for %s", count, size, what);
        return NETRT_ELIMIT;
    }
    *bytes = total;
    return NETRT_OK;
}

void *rt_alloc(size_t count, size_t size, const char *what, rt_error *err) {
    size_t bytes;
    if (total_bytes(count, size, &bytes, what, err) || account(bytes, what, err))
        return NULL;
    unsigned char *p = malloc(bytes);
    if (!p)
        return out_of_memory(bytes, what, err);
    memcpy(p, &bytes, sizeof bytes);
    return p + HEADER;
}

void *rt_alloc_zero(size_t count, size_t size, const char *what, rt_error *err) {
    size_t bytes;
    if (total_bytes(count, size, &bytes, what, err) || account(bytes, what, err))
        return NULL;
    unsigned char *p = calloc(1, bytes);
    if (!p)
        return out_of_memory(bytes, what, err);
    memcpy(p, &bytes, sizeof bytes);
    return p + HEADER;
}

void *rt_realloc(void *p, size_t count, size_t size, const char *what, rt_error *err) {
    if (!p)
        return rt_alloc(count, size, what, err);
    size_t bytes, old_bytes;
    if (total_bytes(count, size, &bytes, what, err) || account(bytes, what, err))
        return NULL;
    unsigned char *base = (unsigned char *)p - HEADER;
    memcpy(&old_bytes, base, sizeof old_bytes);
    unsigned char *q = realloc(base, bytes);
    if (!q)
        return out_of_memory(bytes, what, err);
    atomic_fetch_sub(&live_bytes, old_bytes);
    memcpy(q, &bytes, sizeof bytes);
    return q + HEADER;
}

char *rt_strndup(const char *s, size_t n, rt_error *err) {
    if (n == SIZE_MAX) {
        rt_fail(err, NETRT_ELIMIT, "out of memory: text of %zu bytes", n);
        return NULL;
    }
    char *copy = rt_alloc(n + 1, 1, "text", err);
    if (copy) {
        memcpy(copy, s, n);
        copy[n] = 0;
    }
    return copy;
}

char *rt_strdup(const char *s, rt_error *err) {
    return rt_strndup(s, strlen(s), err);
}

void rt_free(void *p) {
    if (!p)
        return;
    unsigned char *base = (unsigned char *)p - HEADER;
    size_t bytes;
    memcpy(&bytes, base, sizeof bytes);
    atomic_fetch_sub(&live_bytes, bytes);
    free(base);
}

/* Large slabs are whole pages straight from the system: zero without being written, so a page
 * becomes resident when the thread that works on it first writes there. */
static int slab_is_mapped(size_t bytes) {
    return bytes >= SLAB_MAPPED;
}

static size_t slab_round(size_t bytes) {
    size_t align = slab_is_mapped(bytes) ? PAGE : SLAB_SMALL_ALIGN;
    return bytes ? (bytes + align - 1) / align * align : align;
}

/* bytes from an address that is a multiple of 2 MiB; NULL when there is no room. */
static void *map_aligned(size_t bytes) {
    size_t room = bytes + HUGE_PAGE;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (before)
        munmap(p, before);
    if (room - before > bytes)
        munmap(p + before + bytes, room - before - bytes);
    /* Only whole huge pages: the rest of the last one would cost memory that nobody uses.  And only
     * advice: where the system has no huge pages the block works all the same. */
    if (bytes >= HUGE_PAGE)
        (void)madvise(p + before, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return p + before;
}

void *rt_slab_alloc(size_t bytes, const char *what, rt_error *err) {
    if (bytes > (size_t)PTRDIFF_MAX - 2 * HUGE_PAGE) {
        rt_fail(err, NETRT_ELIMIT, "out of memory: %zu bytes for %s", bytes, what);
        return NULL;
    }
    size_t rounded = slab_round(bytes);
    if (account(rounded, what, err))
        return NULL;
    void *p = slab_is_mapped(bytes) ? map_aligned(rounded)
                                    : aligned_alloc(SLAB_SMALL_ALIGN, rounded);
    if (!p)
        return out_of_memory(rounded, what, err);
    if (!slab_is_mapped(bytes))
        memset(p, 0, rounded);
    return p;
}

void rt_slab_free(void *p, size_t bytes) {
    if (!p)
        return;
    atomic_fetch_sub(&live_bytes, slab_round(bytes));
    if (slab_is_mapped(bytes))
        munmap(p, slab_round(bytes));
    else
        free(p);
}
