/* source.h: the files of one compilation and byte-exact locations in them.
 *
 * A Loc is a 32-bit offset into the concatenation of all files, starting at 1; 0 means "nowhere".
 * Lines and columns are computed only when something is printed.  A LocRange is half open; an empty
 * range (begin == end) marks a point.
 */
#ifndef BASE_SOURCE_H
#define BASE_SOURCE_H

#include <stdint.h>

#include "base/arena.h"

typedef uint32_t Loc;

typedef struct LocRange {
    Loc begin, end;
} LocRange;

#define LOC_NONE ((LocRange){0, 0})

typedef struct SourceFile {
    const char *path;         /* as the user wrote it, or "<stdin>", "<command line>" */
    const char *text;         /* size bytes and a terminating NUL */
    uint32_t size;
    Loc base;                 /* Loc of the first byte; base + size is the end of the file */
    LocRange included_at;     /* the include statement, or LOC_NONE */
    const uint32_t *line_starts; /* byte offset of each line */
    int line_count;
} SourceFile;

typedef struct Sources Sources;

typedef enum SourceStatus {
    SOURCE_OK,
    SOURCE_UNREADABLE, /* errno tells why */
    SOURCE_TOO_LARGE,  /* LIMIT_FILE_BYTES or LIMIT_TOTAL_BYTES */
    SOURCE_TOO_MANY    /* LIMIT_FILES */
} SourceStatus;

typedef struct SourcePos {
    const SourceFile *file; /* NULL for Loc 0 */
    int line, column;       /* both from 1; column counts bytes */
} SourcePos;

Sources *sources_new(Arena *arena);

/* Adds text that is already in memory (copied).  SOURCE_TOO_* as above; *file is NULL on failure. */
SourceStatus source_add(Sources *sources, const char *path, const char *text, size_t size,
                        LocRange included_at, SourceFile **file);
/* Reads a file ("-" reads standard input).  A directory or device counts as unreadable. */
SourceStatus source_load(Sources *sources, const char *path, LocRange included_at,
                         SourceFile **file);

int sources_count(const Sources *sources);
SourceFile *sources_at(const Sources *sources, int index);

SourceFile *source_of(const Sources *sources, Loc loc); /* NULL for 0 or beyond all files */
SourcePos source_pos(const Sources *sources, Loc loc);
/* Bytes of a line (1-based) without its line end; *length receives their number. */
const char *source_line(const SourceFile *file, int line, int *length);

LocRange loc_join(LocRange a, LocRange b); /* smallest range over both; LOC_NONE is neutral */

#endif
