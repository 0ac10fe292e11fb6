/* emit_shuffle.c: lanes of two vectors in any order (see emit.h).
 *
 * requires: lane numbers below twice the vector width.  ensures: constants fold.
 */
#include "emit/emit_private.h"

Val em_pick(Emit *e, Val a, Val b, const int *lane) {
    LLVMValueRef mask[64];
    unsigned width = LLVMGetVectorSize(LLVMTypeOf(a));
    for (unsigned l = 0; l < width; ++l)
        mask[l] = em_i32(e, lane[l]);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(mask, width), emit_name(e));
}
