/* built.h: a spec compiled in memory, up to the descriptor that the runtime opens: for tests of
 * what compiler and runtime say to each other.
 */
#ifndef TESTS_BUILT_H
#define TESTS_BUILT_H

#include "codegen/codegen.h"
#include "emit/target.h"
#include "front/model.h"

typedef struct Built {
    Arena *keep, *tmp;
    Model *m;
    PassCtx ctx[MODEL_MODES];
    Target target;
    const rt_model *rt;
    Emit *emit;
} Built;

typedef struct BuiltHow {
    const char *path, *source; /* a file, or a text */
    int level;                 /* of LLVM's optimization */
    bool no_look;              /* without projections, which take half of the time */
} BuiltHow;

/* Of this machine; ends the test where anything fails. */
void built_make(Built *b, const BuiltHow *how);
void built_free(Built *b);

#endif
