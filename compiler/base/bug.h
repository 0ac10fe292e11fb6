/* bug.h: the two voices that end a run: BUG (we are wrong) and fatal (the world is wrong).
 *
 * The third voice, "the spec is wrong", is diag.h and never ends a run by itself.
 * Neither macro returns.  Both leave through `process_exit`, which netc.c points at its own exit so
 * that temporary files are removed; a test or fuzzer may point it at a longjmp.
 */
#ifndef BASE_BUG_H
#define BASE_BUG_H

/* Exit codes of netc; the produced programs use the same numbers (runtime/rt_error.h). */
enum {
    NETC_OK = 0,
    NETC_NO = 1,       /* the answer is "no", or only part was done */
    NETC_USAGE = 2,    /* wrong command line or wrong spec */
    NETC_DIVERGED = 3, /* used by produced programs only */
    NETC_DATA = 4,     /* malformed data or weights */
    NETC_IO = 5,       /* the operating system refused: missing file, full disk, permission */
    NETC_LIMIT = 6,    /* a resource limit or out of memory */
    NETC_BUG = 70      /* a mistake of ours */
};

/* Leaves the process with `code`; must not return.  Default: flush stdio, then _exit. */
extern void (*process_exit)(int code);

/* BUG("node %d has no shape", id): prints "netc: internal error: ... [file:line]", the pass at work
 * when one is set, and how to report; exit code 70. */
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
#define BUG_IF(condition, ...)                                                                     \
    do {                                                                                           \
        if (condition)                                                                             \
            BUG(__VA_ARGS__);                                                                      \
    } while (0)

_Noreturn void bug_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* fatal(NETC_IO, "cannot read '%s': %s", path, strerror(errno)): prints "netc: error: ...". */
_Noreturn void fatal(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Names what the compiler is doing ("pass fuse", "parsing lenet5.net"), shown by BUG.  The pointer is
 * kept, not copied; NULL clears it. */
void bug_context(const char *what);

#endif
