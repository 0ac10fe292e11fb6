/* cachedir.h: the folder in which netc keeps what it found out about this machine: programs that
 * `netc run` compiled, the machine's speeds, the winners of --tune.
 *
 * $XDG_CACHE_HOME/netc, or ~/.cache/netc.  Losing it costs time, never correctness.
 */
#ifndef BASE_CACHEDIR_H
#define BASE_CACHEDIR_H

#include "base/arena.h"

/* The folder, made if need be; NULL when there is none that can be written. */
const char *cache_folder(Arena *a);
/* The file that the environment variable names, else `name` in the folder; NULL without a folder. */
const char *cache_file(Arena *a, const char *variable, const char *name);
/* The whole text of a file of at most 1 MB, or NULL. */
char *cache_read(Arena *a, const char *path);

#endif
