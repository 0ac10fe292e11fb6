/* built.c: see built.h. */
#include "built.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "front/parse.h"
#include "passes/passes.h"

static void plan_mode(Built *b, int mode) {
    if (!b->m->mode[mode].graph)
        return;
    model_pass_ctx(b->m, mode, &b->ctx[mode]);
    b->ctx[mode].tmp = b->tmp;
    b->ctx[mode].target = &b->target;
    b->ctx[mode].verify = true;
    CU_ASSERT_FATAL(passes_run(b->m->mode[mode].graph, &b->ctx[mode]));
}

void built_make(Built *b, const BuiltHow *how) {
    char why[512] = "";
    *b = (Built){.keep = arena_new(), .tmp = arena_new()};
    Sources *s = sources_new(b->keep);
    DiagCtx *d = diag_ctx_new(b->keep, s);
    ModelOptions options = {.sources = s};
    Ast *file = how->source
                    ? parse_text(b->keep, s, d, "t.net", how->source, strlen(how->source), NULL)
                    : parse_file(b->keep, s, d, how->path, NULL);
    b->m = file ? model_build(b->keep, d, file, &options) : NULL;
    if (diag_errors(d))
        diag_render(d, stdout, DIAG_TEXT, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b->m);
    if (how->no_look)
        b->m->mode[MODEL_LOOK].graph = NULL;
    CU_ASSERT_FATAL(target_find(b->keep, "native", &b->target, why, sizeof why));
    for (int mode = 0; mode < MODEL_MODES; mode++)
        plan_mode(b, mode);
    params_place(&b->m->params);
    CodegenInput in = {b->m, b->ctx, &b->target, "built_model", "sse3", 1, NULL};
    b->emit = codegen_module(b->keep, &in);
    bool good = emit_finish(b->emit, how->level, why, sizeof why);
    b->rt = good ? emit_jit(b->emit, "built_model", why, sizeof why) : NULL;
    if (!b->rt)
        printf("%s\n", why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b->rt);
}

void built_free(Built *b) {
    emit_free(b->emit);
    arena_free(b->tmp);
    arena_free(b->keep);
}
