/* cachedir.c: see cachedir.h. */
#define _GNU_SOURCE
#include "base/cachedir.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_MAX = 1 << 20 };

static bool make_folder(const char *path) {
    return mkdir(path, 0777) == 0 || errno == EEXIST;
}

const char *cache_folder(Arena *a) {
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (!base || base[0] != '/') {
        if (!home || home[0] != '/')
            return NULL;
        base = arena_printf(a, "%s/.cache", home);
    }
    const char *folder = arena_printf(a, "%s/netc", base);
    bool made = make_folder(base) && make_folder(folder);
    return made && access(folder, W_OK) == 0 ? folder : NULL;
}

const char *cache_file(Arena *a, const char *variable, const char *name) {
    const char *given = getenv(variable);
    if (given && *given)
        return given;
    const char *folder = cache_folder(a);
    return folder ? arena_printf(a, "%s/%s", folder, name) : NULL;
}

char *cache_read(Arena *a, const char *path) {
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    char *text = arena_alloc(a, READ_MAX + 1);
    size_t n = fread(text, 1, READ_MAX, f);
    bool whole = n < READ_MAX && !ferror(f);
    fclose(f);
    text[n] = 0;
    return whole ? text : NULL;
}
