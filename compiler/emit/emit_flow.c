/* emit_flow.c: for and if (see emit.h).
 *
 * for makes a guarded, bottom-tested loop:
 *     from < to ? body : end;   body: i = phi(from, i + step) ...; i + step < to ? body : end
 * Loops with a known trip have no guard.  Carried values are phis in the body and, when guarded,
 * phis behind the loop.  Every loop carries metadata that forbids unrolling and vectorising: the
 * register tiles are sized to the register file as written.
 */
#include <stdio.h>
#include <string.h>

#include "emit/emit_private.h"

typedef struct LoopImpl {
    LLVMBasicBlockRef before, head, end;
    bool guarded;
    int64_t step;
    Val to, i;
    int n;
    Val *init, *phi;
    const char *name;
} LoopImpl;

typedef struct IfImpl {
    LLVMBasicBlockRef other, end;
    bool has_else;
} IfImpl;

static LLVMBasicBlockRef block(Emit *e, const char *name, const char *suffix) {
    char text[80];
    snprintf(text, sizeof text, "%s%s", name, suffix);
    return LLVMAppendBasicBlockInContext(e->ctx, e->fn, text);
}

Loop em_for(Emit *e, Val from, Val to, int64_t step, const char *name, Val *carried, int ncarried) {
    LoopImpl *l = ARENA_NEW(e->keep, LoopImpl);
    int64_t lo, hi;
    BUG_IF(step <= 0, "loop %s has step %lld", name, (long long)step);
    l->guarded = !(em_const_i64(from, &lo) && em_const_i64(to, &hi) && lo < hi);
    l->before = LLVMGetInsertBlock(e->b);
    l->head = block(e, name, "");
    l->end = block(e, name, ".end");
    l->name = arena_strdup(e->keep, name);
    l->step = step;
    l->to = to;
    l->n = ncarried;
    l->init = ARENA_ARRAY(e->keep, ncarried, Val);
    l->phi = ARENA_ARRAY(e->keep, ncarried, Val);
    if (l->guarded)
        LLVMBuildCondBr(e->b, em_icmp(e, EM_LT, from, to), l->head, l->end);
    else
        LLVMBuildBr(e->b, l->head);
    LLVMPositionBuilderAtEnd(e->b, l->head);
    l->i = LLVMBuildPhi(e->b, e->i64, name);
    LLVMAddIncoming(l->i, &from, &l->before, 1);
    for (int k = 0; k < ncarried; ++k) {
        l->init[k] = carried[k];
        l->phi[k] = LLVMBuildPhi(e->b, LLVMTypeOf(carried[k]), "");
        LLVMAddIncoming(l->phi[k], &carried[k], &l->before, 1);
        carried[k] = l->phi[k];
    }
    return (Loop){l->i, l};
}

/* A distinct, self-referential node: LLVM's way of naming one loop. */
static void no_unroll(Emit *e, LLVMValueRef branch) {
    LLVMMetadataRef temp = LLVMTemporaryMDNode(e->ctx, NULL, 0);
    LLVMMetadataRef item[] = {temp, e->no_unroll[0], e->no_unroll[1]};
    LLVMMetadataRef node = LLVMMDNodeInContext2(e->ctx, item, 3);
    LLVMMetadataReplaceAllUsesWith(temp, node);
    LLVMSetMetadata(branch, e->loop_kind, LLVMMetadataAsValue(e->ctx, node));
}

void em_for_end(Emit *e, Loop *loop, Val *carried, int ncarried) {
    LoopImpl *l = loop->impl;
    BUG_IF(l->n != ncarried, "loop %s ends with other carried values", l->name);
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
    Val next = em_add(e, l->i, em_i64(e, l->step));
    LLVMValueRef branch = LLVMBuildCondBr(e->b, em_icmp(e, EM_LT, next, l->to), l->head, l->end);
    no_unroll(e, branch);
    LLVMAddIncoming(l->i, &next, &latch, 1);
    LLVMPositionBuilderAtEnd(e->b, l->end);
    LLVMMoveBasicBlockAfter(l->end, latch);
    for (int k = 0; k < ncarried; ++k) {
        LLVMAddIncoming(l->phi[k], &carried[k], &latch, 1);
        if (!l->guarded)
            continue;
        Val last = LLVMBuildPhi(e->b, LLVMTypeOf(carried[k]), "");
        LLVMValueRef value[] = {l->init[k], carried[k]};
        LLVMBasicBlockRef from[] = {l->before, latch};
        LLVMAddIncoming(last, value, from, 2);
        carried[k] = last;
    }
}

If em_if(Emit *e, Val cond) {
    IfImpl *f = ARENA_NEW(e->keep, IfImpl);
    LLVMBasicBlockRef then = block(e, "if", ".then");
    f->other = block(e, "if", ".else");
    f->end = block(e, "if", ".end");
    LLVMBuildCondBr(e->b, cond, then, f->other);
    LLVMPositionBuilderAtEnd(e->b, then);
    return (If){f};
}

void em_else(Emit *e, If *i) {
    IfImpl *f = i->impl;
    BUG_IF(f->has_else, "an if has two else");
    f->has_else = true;
    LLVMBuildBr(e->b, f->end);
    LLVMMoveBasicBlockAfter(f->other, LLVMGetInsertBlock(e->b));
    LLVMPositionBuilderAtEnd(e->b, f->other);
}

void em_endif(Emit *e, If *i) {
    IfImpl *f = i->impl;
    if (!f->has_else)
        em_else(e, i);
    LLVMBuildBr(e->b, f->end);
    LLVMMoveBasicBlockAfter(f->end, LLVMGetInsertBlock(e->b));
    LLVMPositionBuilderAtEnd(e->b, f->end);
}
