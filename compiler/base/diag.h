/* diag.h: diagnostics about the user's spec, as objects.
 *
 *     Diag *d = diag_error(ctx, range, "E0312", "dense '%s' ...", name);
 *     diag_label(d, "weight shape is fixed by fc6");          text behind the caret
 *     diag_note(d, LOC_NONE, "fc6 input 256x6x6 = 9216");     why
 *     diag_note(d, other_range, "first declared here");       shows that line too
 *     diag_help(d, "write round = ceil to get 55");           what to do
 *     diag_fixit(d, small_range, "ceil");                     exact edit for tools
 *
 * Nothing is printed until diag_render: diagnostics are sorted by location, duplicates (same place,
 * same code) dropped, and the first LIMIT_DIAGNOSTICS shown.  Codes are rows of front/diag_codes.def:
 * "E...." for errors, "W...." for warnings.
 */
#ifndef BASE_DIAG_H
#define BASE_DIAG_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/source.h"
#include "base/str.h"

typedef enum Severity { SEVERITY_ERROR, SEVERITY_WARNING } Severity;

typedef struct Diag Diag;
typedef struct DiagCtx DiagCtx;

typedef struct DiagNote {
    LocRange range; /* LOC_NONE: plain text */
    const char *text;
    bool is_help;
} DiagNote;

typedef struct DiagFixit {
    LocRange range;
    const char *replacement;
} DiagFixit;

struct Diag {
    Severity severity;
    const char *code; /* "E0104" */
    LocRange range;   /* LOC_NONE: about path, or about the whole run */
    const char *path; /* for files that are not sources (weights); else NULL */
    const char *message;
    const char *label; /* NULL: bare caret */
    DiagNote *notes;
    int note_count, note_capacity;
    DiagFixit *fixits;
    int fixit_count, fixit_capacity;
    int serial; /* order of creation, breaks ties */
    DiagCtx *ctx;
};

DiagCtx *diag_ctx_new(Arena *arena, const Sources *sources);
void diag_warnings_are_errors(DiagCtx *ctx, bool on); /* -Werror, for warnings made from now on */

/* Both copy their text.  Never NULL: past LIMIT_DIAG_STORED a scratch object is returned and lost. */
Diag *diag_error(DiagCtx *ctx, LocRange range, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
Diag *diag_warning(DiagCtx *ctx, LocRange range, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void diag_label(Diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_note(Diag *diag, LocRange range, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diag_help(Diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_fixit(Diag *diag, LocRange range, const char *replacement);
void diag_path(Diag *diag, const char *path); /* the error is about this file, not about a source */
/* "; did you mean 'conv'?" appended to the message, with a fix-it over the range; NULL does nothing. */
void diag_suggest(Diag *diag, LocRange range, const char *name);

int diag_errors(const DiagCtx *ctx);   /* number so far, -Werror counted */
int diag_warnings(const DiagCtx *ctx);
bool diag_full(const DiagCtx *ctx); /* enough errors to stop looking for more */

/* Sorted, deduplicated list, uncapped (tests, editors).  Valid until the next diag_error/_warning. */
Diag *const *diag_sorted(DiagCtx *ctx, int *count);

typedef enum DiagFormat { DIAG_TEXT, DIAG_JSON } DiagFormat;

/* Renders all diagnostics.  Text ends with "2 errors, 1 warning"; JSON is one array, one object per
 * line, with {code,severity,file,line,col,endcol,message,notes[],fixits[]}; columns count bytes. */
void diag_render_to(DiagCtx *ctx, StrBuf *out, DiagFormat format, bool color);
void diag_render(DiagCtx *ctx, FILE *out, DiagFormat format, bool color);

#endif
