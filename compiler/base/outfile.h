/* outfile.h: files that appear whole or not at all.
 *
 * Bytes go to PATH.tmpPID in the same folder; closing syncs and renames.  "-" or NULL is standard
 * output.  A path that exists and is no regular file (a device, a pipe) is written directly: a
 * rename would replace the device itself.
 */
#ifndef BASE_OUTFILE_H
#define BASE_OUTFILE_H

#include <stdbool.h>
#include <stdio.h>

typedef struct OutFile {
    FILE *stream;
    char path[4096];
    char temp[4128]; /* empty: written directly */
} OutFile;

/* False with the system's reason in `why` ("cannot write 'x': No space left on device"). */
bool outfile_open(OutFile *out, const char *path, char *why, size_t n);
/* Publishes the file.  On failure nothing is left behind and an older file stays as it was. */
bool outfile_close(OutFile *out, char *why, size_t n);
/* Does the path exist as something that must not be replaced by a rename? */
bool outfile_is_special(const char *path);

#endif
