/* parse.c: opens files, guards the parser against hostile bytes, and follows include statements.
 *
 * requires: arena, sources and diag of one compilation.
 * ensures:  a tree is returned only when nothing was wrong; every file is parsed at most once; include
 * chains are at most LIMIT_INCLUDE_DEPTH long and never cyclic.
 */
#define _GNU_SOURCE
#include "front/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front/parse_state.h"
#include "net.tab.h"

static bool parse_into(ParseState *st, int first_token);

/* NUL and broken UTF-8 are looked for once, in front of the scanner, so that neither it nor any
 * message has to care.  Only the first offence is told: a binary file has thousands. */
static bool bytes_are_text(ParseState *st) {
    const SourceFile *file = st->file;

    for (uint32_t i = 0; i < file->size;) {
        int count = utf8_length(file->text + i, file->size - i);
        LocRange at = {file->base + i, file->base + i + 1};
        unsigned char byte = (unsigned char)file->text[i];
        if (count == 0 || byte == 0) {
            Diag *diag = diag_error(st->run->diag, at, "E0015",
                                    byte ? "byte 0x%02x is not valid UTF-8" : "NUL byte (0x%02x)",
                                    byte);
            diag_help(diag, "a .net file is text; save it as UTF-8");
            return false;
        }
        i += (uint32_t)count;
    }
    return true;
}

static const char *canonical_path(Arena *arena, const char *path) {
    char *real = realpath(path, NULL);
    const char *copy = arena_strdup(arena, real ? real : path);

    free(real);
    return copy;
}

static void state_begin(ParseState *st, ParseRun *run, SourceFile *file) {
    *st = (ParseState){.run = run, .file = file, .held = {.kind = -1}};
    st->canonical = canonical_path(run->arena, file->path);
}

static bool parse_into(ParseState *st, int first_token) {
    int errors = diag_errors(st->run->diag);

    if (!bytes_are_text(st))
        return false;
    st->first_token = first_token;
    if (!net_scan_begin(st, st->file->text, st->file->size))
        fatal(NETC_LIMIT, "out of memory");
    int status = net_yparse(st);
    net_scan_end(st);
    BUG_IF(status != 0 && diag_errors(st->run->diag) == errors, "parser failed without a message");
    return status == 0 && diag_errors(st->run->diag) == errors && st->result;
}

/* ---- include ---- */
static bool is_plain_relative(const char *name) {
    if (name[0] == '/' || name[0] == 0)
        return false;
    for (const char *part = name;; part++) {
        size_t length = strcspn(part, "/");
        if (length == 2 && part[0] == '.' && part[1] == '.')
            return false;
        part += length;
        if (!*part)
            return true;
    }
}

static const char *beside(Arena *arena, const char *path, const char *name) {
    const char *slash = strrchr(path, '/');

    if (!slash)
        return name;
    return arena_printf(arena, "%.*s/%s", (int)(slash - path), path, name);
}

/* The file meant by an include, searched beside the including file, then in the -I folders. */
static const char *find_include(ParseState *st, const char *name) {
    Arena *arena = st->run->arena;
    const char *path = beside(arena, st->file->path, name);
    const ParseOptions *options = st->run->options;

    if (access(path, F_OK) == 0)
        return path;
    for (int i = 0; options && i < options->include_dir_count; i++) {
        const char *other = arena_printf(arena, "%s/%s", options->include_dirs[i], name);
        if (access(other, F_OK) == 0)
            return other;
    }
    return path;
}

/* "a.net includes b.net includes a.net", told from the file that closes the circle upwards. */
static bool report_cycle(ParseState *st, const char *canonical, const char *name, LocRange loc) {
    ParseState *first = st;

    while (first && strcmp(first->canonical, canonical) != 0)
        first = first->includer;
    if (!first)
        return false;
    Diag *diag = diag_error(st->run->diag, loc, "E0012", "'%s' includes itself", name);
    for (ParseState *at = st; at != first; at = at->includer) {
        SourcePos pos = source_pos(st->run->sources, at->file->included_at.begin);
        diag_note(diag, LOC_NONE, "'%s' is included at %s:%d", at->file->path, pos.file->path,
                  pos.line);
    }
    return true;
}

static void report_load(ParseState *st, SourceStatus status, int error, const char *name,
                        const char *path, LocRange loc) {
    if (status == SOURCE_UNREADABLE) {
        Diag *diag = diag_error(st->run->diag, loc, "E0011", "cannot read '%s': %s", name,
                                strerror(error));
        diag_note(diag, LOC_NONE, "looked for '%s'%s", path,
                  st->run->options && st->run->options->include_dir_count
                      ? " and in the folders given with -I"
                      : "; other folders can be given with -I");
        return;
    }
    diag_error(st->run->diag, loc, "E0009",
               status == SOURCE_TOO_MANY ? "'%s' is one file too many; the limit is %d files"
                                         : "'%s' is too large; the limit is %d bytes",
               name, status == SOURCE_TOO_MANY ? LIMIT_FILES : LIMIT_FILE_BYTES);
}

void parse_include(ParseState *st, Ast *include, LocRange loc) {
    ParseRun *run = st->run;
    const char *name = include->name;
    SourceFile *file;

    include->depth = 1;
    if (!is_plain_relative(name)) {
        Diag *diag = diag_error(run->diag, loc, "E0014", "include path '%s' is not allowed", name);
        diag_note(diag, LOC_NONE, "a path is relative to this file, without '..' and leading '/'");
        diag_help(diag, "name the folder on the command line: -I DIR");
        return;
    }
    const char *path = find_include(st, name);
    const char *canonical = canonical_path(run->arena, path);
    if (report_cycle(st, canonical, name, loc) || map_has(&run->seen, canonical))
        return;
    if (st->include_depth + 1 > LIMIT_INCLUDE_DEPTH) {
        diag_error(run->diag, loc, "E0013", "includes are nested more than %d deep",
                   LIMIT_INCLUDE_DEPTH);
        return;
    }
    SourceStatus status = source_load(run->sources, path, include->loc, &file);
    if (status != SOURCE_OK) {
        report_load(st, status, errno, name, path, loc);
        return;
    }
    map_put(&run->seen, canonical, file);
    ParseState *inner = ARENA_NEW(run->arena, ParseState);
    state_begin(inner, run, file);
    inner->includer = st;
    inner->include_depth = st->include_depth + 1;
    if (parse_into(inner, T_START_FILE))
        include->include.file = inner->result;
    if (diag_full(run->diag))
        st->stop = true;
}

/* ---- the doors ---- */
static Ast *parse_run(Arena *arena, Sources *sources, DiagCtx *diag, SourceFile *file,
                      const ParseOptions *options, int first_token) {
    ParseRun run = {arena, sources, diag, options, map_new(arena)};
    ParseState *st = ARENA_NEW(arena, ParseState);
    int errors = diag_errors(diag);

    state_begin(st, &run, file);
    map_put(&run.seen, st->canonical, file);
    bool ok = parse_into(st, first_token);
    return ok && diag_errors(diag) == errors ? st->result : NULL;
}

Ast *parse_source(Arena *arena, Sources *sources, DiagCtx *diag, SourceFile *file,
                  const ParseOptions *options) {
    return parse_run(arena, sources, diag, file, options, T_START_FILE);
}

static Ast *report_unloaded(DiagCtx *diag, SourceStatus status, const char *path) {
    if (status == SOURCE_UNREADABLE)
        diag_path(diag_error(diag, LOC_NONE, "E0010", "cannot read the file: %s", strerror(errno)),
                  path);
    else
        diag_path(diag_error(diag, LOC_NONE, "E0009", "the file is too large; the limit is %d bytes",
                             LIMIT_FILE_BYTES),
                  path);
    return NULL;
}

Ast *parse_file(Arena *arena, Sources *sources, DiagCtx *diag, const char *path,
                const ParseOptions *options) {
    SourceFile *file;
    SourceStatus status = source_load(sources, path, LOC_NONE, &file);

    if (status != SOURCE_OK)
        return report_unloaded(diag, status, path);
    return parse_source(arena, sources, diag, file, options);
}

Ast *parse_text(Arena *arena, Sources *sources, DiagCtx *diag, const char *name, const char *text,
                size_t size, const ParseOptions *options) {
    SourceFile *file;
    SourceStatus status = source_add(sources, name, text, size, LOC_NONE, &file);

    if (status != SOURCE_OK)
        return report_unloaded(diag, status, name);
    return parse_source(arena, sources, diag, file, options);
}

Ast *parse_expression(Arena *arena, Sources *sources, DiagCtx *diag, const char *name,
                      const char *text) {
    SourceFile *file;
    SourceStatus status = source_add(sources, name, text, strlen(text), LOC_NONE, &file);

    if (status != SOURCE_OK)
        return report_unloaded(diag, status, name);
    return parse_run(arena, sources, diag, file, NULL, T_START_EXPR);
}
