/* targets.h: tests that run once for each instruction set: the host's own, AVX2, SSE. */
#ifndef TARGETS_H
#define TARGETS_H

#include "compiled.h"
#include "suite.h"

/* The tests native, avx2 and sse, which call `run` with the target's name. */
#define ON_AVX(run)                                                                                \
    static void native(void) { run("native"); }                                                    \
    static void avx2(void) { run("x86-64-v3"); }
#define ON_TARGETS(run)                                                                            \
    ON_AVX(run)                                                                                    \
    static void sse(void) { run("x86-64-v2"); }

/* false: this host cannot run it; the test is skipped and `keep` is gone. */
static inline bool target_or_skip(Arena *keep, const char *name, Target *out) {
    if (compiled_target(keep, name, out))
        return true;
    suite_skip(name);
    arena_free(keep);
    return false;
}

#endif
