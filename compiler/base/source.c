/* source.c: loads spec files under a size cap and maps byte offsets to lines and columns.
 *
 * requires: nothing.  ensures: text is followed by a NUL; offsets of all files are disjoint.
 * A file that grows while it is read is cut off by the cap, never by trust in stat().
 */
#define _GNU_SOURCE
#include "base/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/vec.h"

struct Sources {
    Arena *arena;
    VEC(SourceFile *) files;
    Loc next;
};

Sources *sources_new(Arena *arena) {
    Sources *sources = ARENA_NEW(arena, Sources);

    sources->arena = arena;
    sources->next = 1;
    return sources;
}

int sources_count(const Sources *sources) {
    return sources->files.len;
}

SourceFile *sources_at(const Sources *sources, int index) {
    return sources->files.data[index];
}

static void find_lines(Arena *arena, SourceFile *file) {
    int count = 1;

    for (uint32_t i = 0; i < file->size; i++)
        count += file->text[i] == '\n';
    uint32_t *starts = ARENA_ARRAY(arena, count, uint32_t);
    int line = 1;
    for (uint32_t i = 0; i < file->size; i++)
        if (file->text[i] == '\n')
            starts[line++] = i + 1;
    file->line_starts = starts;
    file->line_count = count;
}

/* Takes over text, which must be arena memory with a NUL behind it. */
static SourceStatus add_owned(Sources *sources, const char *path, const char *text, size_t size,
                              LocRange included_at, SourceFile **out) {
    *out = NULL;
    if (size > LIMIT_FILE_BYTES || sources->next + size > LIMIT_TOTAL_BYTES)
        return SOURCE_TOO_LARGE;
    if (sources->files.len >= LIMIT_FILES)
        return SOURCE_TOO_MANY;
    SourceFile *file = ARENA_NEW(sources->arena, SourceFile);
    file->path = arena_strdup(sources->arena, path);
    file->text = text;
    file->size = (uint32_t)size;
    file->base = sources->next;
    file->included_at = included_at;
    find_lines(sources->arena, file);
    sources->next += (Loc)size + 1; /* one past the end is the location of "end of file" */
    vec_push(sources->arena, &sources->files, file);
    *out = file;
    return SOURCE_OK;
}

SourceStatus source_add(Sources *sources, const char *path, const char *text, size_t size,
                        LocRange included_at, SourceFile **file) {
    *file = NULL;
    if (size > LIMIT_FILE_BYTES)
        return SOURCE_TOO_LARGE;
    return add_owned(sources, path, arena_strndup(sources->arena, text, size), size, included_at,
                     file);
}

/* Reads up to the cap plus one byte, which is how "too large" is noticed.  -1 with errno on failure. */
static ssize_t read_capped(int fd, char *buffer, size_t capacity) {
    size_t total = 0;

    while (total < capacity) {
        ssize_t got = read(fd, buffer + total, capacity - total);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        total += (size_t)got;
    }
    return (ssize_t)total;
}

static int open_regular(const char *path) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return -1;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        return fd;
    /* A named pipe is fine for the main file (process substitution), but a directory is not. */
    if (S_ISFIFO(info.st_mode) && fcntl(fd, F_SETFL, 0) == 0)
        return fd;
    close(fd);
    errno = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    return -1;
}

SourceStatus source_load(Sources *sources, const char *path, LocRange included_at, SourceFile **file) {
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open_regular(path);

    *file = NULL;
    if (fd < 0)
        return SOURCE_UNREADABLE;
    size_t capacity = LIMIT_FILE_BYTES + 1;
    Arena *scratch = arena_new();
    char *buffer = arena_alloc(scratch, capacity);
    ssize_t got = read_capped(fd, buffer, capacity);
    int saved = errno;
    if (!is_stdin)
        close(fd);
    SourceStatus status = SOURCE_UNREADABLE;
    if (got >= 0)
        status = source_add(sources, is_stdin ? "<stdin>" : path, buffer, (size_t)got, included_at,
                            file);
    arena_free(scratch);
    errno = saved;
    return status;
}

SourceFile *source_of(const Sources *sources, Loc loc) {
    int low = 0, high = sources->files.len;

    while (low < high) { /* last file whose base is <= loc */
        int middle = low + (high - low) / 2;
        if (sources->files.data[middle]->base <= loc)
            low = middle + 1;
        else
            high = middle;
    }
    if (loc == 0 || low == 0)
        return NULL;
    SourceFile *file = sources->files.data[low - 1];
    return loc - file->base <= file->size ? file : NULL;
}

SourcePos source_pos(const Sources *sources, Loc loc) {
    SourceFile *file = source_of(sources, loc);

    if (!file)
        return (SourcePos){0};
    uint32_t offset = loc - file->base;
    int low = 0, high = file->line_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (file->line_starts[middle] <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return (SourcePos){file, low, (int)(offset - file->line_starts[low - 1]) + 1};
}

const char *source_line(const SourceFile *file, int line, int *length) {
    uint32_t begin = file->line_starts[line - 1];
    uint32_t end = line < file->line_count ? file->line_starts[line] - 1 : file->size;

    if (end > begin && file->text[end - 1] == '\r')
        end--;
    *length = (int)(end - begin);
    return file->text + begin;
}

LocRange loc_join(LocRange a, LocRange b) {
    if (!a.begin)
        return b;
    if (!b.begin)
        return a;
    return (LocRange){a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}
