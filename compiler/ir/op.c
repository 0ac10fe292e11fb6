/* op.c: the tables that ops.def expands to, and the only two ways to look an operator up.
 *
 * requires: each row `OP(NAME, spelling, ...)` has a `const OpDef opdef_<spelling>` in ops/.
 * ensures: op_def, op_name, op_flags, op_nin and op_nout are indexed by enum Op; entry 0 is unused.
 */
#include "ir/op.h"

#include <string.h>

#define OP(NAME, name, nin, nout, flags) extern const OpDef opdef_##name;
#include "ir/ops.def"
#undef OP

const OpDef *const op_def[OP_COUNT] = {
    NULL,
#define OP(NAME, name, nin, nout, flags) &opdef_##name,
#include "ir/ops.def"
#undef OP
};

const char *const op_name[OP_COUNT] = {
    "none",
#define OP(NAME, name, nin, nout, flags) #name,
#include "ir/ops.def"
#undef OP
};

const uint32_t op_flags[OP_COUNT] = {
    0,
#define OP(NAME, name, nin, nout, flags) (flags),
#include "ir/ops.def"
#undef OP
};

const int8_t op_nin[OP_COUNT] = {
    0,
#define OP(NAME, name, nin, nout, flags) nin,
#include "ir/ops.def"
#undef OP
};

const int8_t op_nout[OP_COUNT] = {
    0,
#define OP(NAME, name, nin, nout, flags) nout,
#include "ir/ops.def"
#undef OP
};

int op_find(const char *name) {
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (strcmp(op_name[op], name) == 0)
            return op;
    return OP_NONE;
}

bool op_infer(int op, Infer *inf) {
    memset(&inf->bad, 0, sizeof inf->bad);
    memset(&inf->warn, 0, sizeof inf->warn);
    inf->unbatched = false;
    inf->bad.attr = inf->bad.input = -1;
    return op_def[op]->infer(inf);
}
