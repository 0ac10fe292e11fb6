/* spec_each.c: walks specs/ (see spec_net.h). */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "front/parse.h"
#include "spec_net.h"

bool spec_included(Arena *a, const Ast *file, const char *name) {
    AST_EACH(item, file->file.items) {
        const char **inner;
        int n = item->kind == AST_INCLUDE && item->include.file
                    ? model_names(a, item->include.file, &inner)
                    : 0;
        for (int i = 0; i < n; i++)
            if (strcmp(inner[i], name) == 0)
                return true;
    }
    return false;
}

static int each_net(const char *path, void (*run)(const char *, const char *, int, void *),
                    void *data) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    Ast *file = parse_file(a, s, diag_ctx_new(a, s), path, NULL);
    const char **name;
    int n = file ? model_names(a, file, &name) : 0, calls = 0;
    for (int i = 0; i < n; i++)
        if (!spec_included(a, file, name[i]))
            run(path, name[i], calls++, data);
    arena_free(a);
    return calls;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int spec_each(const char *only, void (*run)(const char *path, const char *net, int nth, void *data),
              void *data) {
    enum { FILES_MAX = 256 };
    const char *root = getenv("NETC_SOURCE_DIR"), *name[FILES_MAX];
    Arena *a = arena_new();
    const char *folder = arena_printf(a, "%s/specs", root ? root : "../..");
    DIR *dir = opendir(folder);
    int files = 0, calls = 0;
    for (struct dirent *e; dir && files < FILES_MAX && (e = readdir(dir));) {
        size_t length = strlen(e->d_name);
        if (length > 4 && strcmp(e->d_name + length - 4, ".net") == 0 &&
            (!only || strcmp(only, e->d_name) == 0))
            name[files++] = arena_printf(a, "%s/%s", folder, e->d_name);
    }
    if (dir)
        closedir(dir);
    qsort(name, (size_t)files, sizeof *name, by_name);
    for (int i = 0; i < files; i++)
        calls += each_net(name[i], run, data);
    arena_free(a);
    return calls;
}
