/* driver_cache.c: programs that `netc run` compiled before.
 *
 * A program's name in the cache holds a hash of everything it was made of: the model's own hash
 * (text, net, variant, overrides), the options of the plan, the optimisation level, the target's
 * features, and the size and time of netc and of libnetrt.a.  The folder is $XDG_CACHE_HOME/netc or ~/.cache/netc; it keeps the
 * programs used last.  Linking writes under a temporary name, so a reader never sees half a program.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cachedir.h"
#include "driver_stages.h"

enum { KEEP = 64 };

/* FNV-1a, 64 bits: names only, nobody attacks his own cache. */
static uint64_t mix(uint64_t hash, const void *data, size_t n) {
    const unsigned char *byte = data;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t mix_text(uint64_t hash, const char *text) {
    return mix(hash, text ? text : "", text ? strlen(text) + 1 : 1);
}

static uint64_t mix_file(uint64_t hash, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return hash;
    hash = mix(hash, &st.st_size, sizeof st.st_size);
    return mix(hash, &st.st_mtim, sizeof st.st_mtim);
}

static uint64_t key_of(const Compile *c) {
    uint64_t hash = mix_text(0xcbf29ce484222325u, c->model->hash);
    hash = mix_text(hash, c->target.cpu);
    hash = mix_text(hash, c->target.features);
    hash = mix(hash, &c->options->opt_level, sizeof c->options->opt_level);
    hash = mix(hash, &c->target.speed, sizeof c->target.speed);
    hash = mix(hash, &c->options->exact, sizeof c->options->exact);
    hash = mix(hash, &c->options->weights, sizeof c->options->weights);
    hash = mix(hash, &c->options->memory, sizeof c->options->memory);
    hash = mix(hash, &c->options->batch, sizeof c->options->batch);
    if (c->wisdom_path)
        hash = mix_file(hash, c->wisdom_path);
    hash = mix_file(hash, "/proc/self/exe");
    const char *runtime = link_runtime_dir(c->keep);
    return runtime ? mix_file(hash, arena_printf(c->keep, "%s/libnetrt.a", runtime)) : hash;
}

/* "0123456789abcdef-lenet": the folder holds other things too. */
static bool is_program(const char *name) {
    return strspn(name, "0123456789abcdef") == 16 && name[16] == '-';
}

/* Removes the program that was used longest ago when there are more than KEEP. */
static void prune(Arena *a, const char *folder) {
    DIR *dir = opendir(folder);
    const char *oldest = NULL;
    struct timespec when = {0};
    int count = 0;
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (!is_program(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        bool older = st.st_mtim.tv_sec < when.tv_sec ||
                     (st.st_mtim.tv_sec == when.tv_sec && st.st_mtim.tv_nsec < when.tv_nsec);
        if (count++ == 0 || older)
            oldest = arena_strdup(a, entry->d_name), when = st.st_mtim;
    }
    if (count > KEEP)
        unlinkat(dirfd(dir), oldest, 0);
    closedir(dir);
}

const char *cache_path(const Compile *c, const char *name) {
    const char *folder = cache_folder(c->keep);
    if (!folder)
        return NULL;
    prune(c->keep, folder);
    return arena_printf(c->keep, "%s/%016llx-%s", folder, (unsigned long long)key_of(c), name);
}

bool cache_has(const char *program) {
    if (access(program, X_OK) != 0)
        return false;
    utimensat(AT_FDCWD, program, NULL, 0);
    return true;
}
