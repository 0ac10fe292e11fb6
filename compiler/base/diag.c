/* diag.c: collects, sorts and deduplicates diagnostics; diag_render.c prints them.
 *
 * requires: ranges made from Locs of the context's sources.
 * ensures:  counts include -Werror promotions; the order shown depends only on the input.
 */
#include "base/diag.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/vec.h"

struct DiagCtx {
    Arena *arena;
    const Sources *sources;
    VEC(Diag *) all;
    VEC(Diag *) sorted;
    bool warnings_are_errors;
    int errors, warnings, serial;
};

DiagCtx *diag_ctx_new(Arena *arena, const Sources *sources) {
    DiagCtx *ctx = ARENA_NEW(arena, DiagCtx);

    ctx->arena = arena;
    ctx->sources = sources;
    return ctx;
}

const Sources *diag_sources_(const DiagCtx *ctx);

const Sources *diag_sources_(const DiagCtx *ctx) {
    return ctx->sources;
}

void diag_warnings_are_errors(DiagCtx *ctx, bool on) {
    ctx->warnings_are_errors = on;
}

static Diag *diag_add(DiagCtx *ctx, Severity severity, LocRange range, const char *code,
                      const char *format, va_list args) {
    Diag *diag = ARENA_NEW(ctx->arena, Diag);

    if (severity == SEVERITY_WARNING && ctx->warnings_are_errors)
        severity = SEVERITY_ERROR;
    if (severity == SEVERITY_ERROR)
        ctx->errors++;
    else
        ctx->warnings++;
    diag->ctx = ctx;
    diag->severity = severity;
    diag->range = range;
    diag->code = code;
    diag->serial = ctx->serial++;
    diag->message = arena_vprintf(ctx->arena, format, args);
    if (ctx->all.len < LIMIT_DIAG_STORED)
        vec_push(ctx->arena, &ctx->all, diag);
    return diag;
}

Diag *diag_error(DiagCtx *ctx, LocRange range, const char *code, const char *format, ...) {
    va_list args;

    va_start(args, format);
    Diag *diag = diag_add(ctx, SEVERITY_ERROR, range, code, format, args);
    va_end(args);
    return diag;
}

Diag *diag_warning(DiagCtx *ctx, LocRange range, const char *code, const char *format, ...) {
    va_list args;

    va_start(args, format);
    Diag *diag = diag_add(ctx, SEVERITY_WARNING, range, code, format, args);
    va_end(args);
    return diag;
}

void diag_label(Diag *diag, const char *format, ...) {
    va_list args;

    va_start(args, format);
    diag->label = arena_vprintf(diag->ctx->arena, format, args);
    va_end(args);
}

static void add_note(Diag *diag, LocRange range, bool is_help, const char *text) {
    diag->notes = vec_room_(diag->ctx->arena, diag->notes, diag->note_count,
                            &diag->note_capacity, sizeof *diag->notes);
    diag->notes[diag->note_count++] = (DiagNote){range, text, is_help};
}

void diag_note(Diag *diag, LocRange range, const char *format, ...) {
    va_list args;

    va_start(args, format);
    add_note(diag, range, false, arena_vprintf(diag->ctx->arena, format, args));
    va_end(args);
}

void diag_help(Diag *diag, const char *format, ...) {
    va_list args;

    va_start(args, format);
    add_note(diag, LOC_NONE, true, arena_vprintf(diag->ctx->arena, format, args));
    va_end(args);
}

void diag_fixit(Diag *diag, LocRange range, const char *replacement) {
    diag->fixits = vec_room_(diag->ctx->arena, diag->fixits, diag->fixit_count,
                             &diag->fixit_capacity, sizeof *diag->fixits);
    diag->fixits[diag->fixit_count++] =
        (DiagFixit){range, arena_strdup(diag->ctx->arena, replacement)};
}

void diag_path(Diag *diag, const char *path) {
    diag->path = arena_strdup(diag->ctx->arena, path);
}

void diag_suggest(Diag *diag, LocRange range, const char *name) {
    if (!name)
        return;
    diag->message =
        arena_printf(diag->ctx->arena, "%s; did you mean '%s'?", diag->message, name);
    if (range.begin)
        diag_fixit(diag, range, name);
}

int diag_errors(const DiagCtx *ctx) {
    return ctx->errors;
}

int diag_warnings(const DiagCtx *ctx) {
    return ctx->warnings;
}

bool diag_full(const DiagCtx *ctx) {
    return ctx->errors >= LIMIT_DIAGNOSTICS;
}

static int compare_diags(const void *a, const void *b) {
    const Diag *x = *(Diag *const *)a, *y = *(Diag *const *)b;

    if (x->range.begin != y->range.begin)
        return x->range.begin < y->range.begin ? -1 : 1;
    return x->serial < y->serial ? -1 : 1;
}

/* Two reports of the same code at the same place have the same root cause; the first one made stays.
 * Without a place the text decides. */
static bool same_cause(const Diag *x, const Diag *y) {
    if (strcmp(x->code, y->code) != 0 || x->range.begin != y->range.begin)
        return false;
    return x->range.begin != 0 || strcmp(x->message, y->message) == 0;
}

static bool already_shown(const DiagCtx *ctx, const Diag *diag) {
    for (int i = ctx->sorted.len - 1; i >= 0; i--) {
        if (ctx->sorted.data[i]->range.begin != diag->range.begin)
            return false;
        if (same_cause(ctx->sorted.data[i], diag))
            return true;
    }
    return false;
}

Diag *const *diag_sorted(DiagCtx *ctx, int *count) {
    if (ctx->all.len > 1)
        qsort(ctx->all.data, (size_t)ctx->all.len, sizeof *ctx->all.data, compare_diags);
    ctx->sorted.len = 0;
    for (int i = 0; i < ctx->all.len; i++)
        if (!already_shown(ctx, ctx->all.data[i]))
            vec_push(ctx->arena, &ctx->sorted, ctx->all.data[i]);
    *count = ctx->sorted.len;
    return ctx->sorted.data;
}
