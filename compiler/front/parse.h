/* parse.h: text to syntax tree; the only view of flex and bison.
 *
 * Nothing here ends the run for a bad spec: every mistake is a located diagnostic in `diag`.
 */
#ifndef FRONT_PARSE_H
#define FRONT_PARSE_H

#include "base/diag.h"
#include "base/source.h"
#include "front/ast.h"

typedef struct ParseOptions {
    const char *const *include_dirs; /* -I, searched after the including file's own folder */
    int include_dir_count;
} ParseOptions;

/* Parses a loaded file and what it includes.  Returns the FILE node, or NULL when there was any
 * error (then reported).  options may be NULL. */
Ast *parse_source(Arena *arena, Sources *sources, DiagCtx *diag, SourceFile *file,
                  const ParseOptions *options);

/* Loads and parses.  A file that cannot be read is error E0010 without a location; callers that
 * want exit code 5 for it use source_load and parse_source. */
Ast *parse_file(Arena *arena, Sources *sources, DiagCtx *diag, const char *path,
                const ParseOptions *options);

/* Parses text as one file called `name` in messages (tests, editors). */
Ast *parse_text(Arena *arena, Sources *sources, DiagCtx *diag, const char *name, const char *text,
                size_t size, const ParseOptions *options);

/* Parses one expression, such as the value of -D NAME=VALUE. NULL after an error. */
Ast *parse_expression(Arena *arena, Sources *sources, DiagCtx *diag, const char *name,
                      const char *text);

#endif
