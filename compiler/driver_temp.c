/* driver_temp.c: one private temporary folder, removed whatever way the run ends.
 *
 * requires: temp_catch_signals once at start.  ensures: nothing is left behind by a normal exit, by
 * BUG or fatal (through process_exit), by SIGINT, SIGTERM or SIGHUP; the exit status of a signal is
 * the signal's own (130, 143).
 */
#define _GNU_SOURCE
#include "driver.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"

enum { MOST_FILES = 16, LONGEST = 512 };

/* Static, because a signal handler reads them. */
static char folder[LONGEST];
static char files[MOST_FILES][LONGEST];
static volatile sig_atomic_t file_count;

const char *temp_folder(Arena *arena) {
    const char *base = getenv("TMPDIR");
    char name[LONGEST];

    if (folder[0])
        return folder;
    const char *text = arena_printf(arena, "%s/netc-XXXXXX", base && *base ? base : "/tmp");
    if (strlen(text) >= sizeof name)
        fatal(NETC_IO, "TMPDIR is too long");
    memcpy(name, text, strlen(text) + 1);
    if (!mkdtemp(name))
        fatal(NETC_IO, "cannot make a temporary folder '%s': %s", name, strerror(errno));
    memcpy(folder, name, strlen(name) + 1);
    return folder;
}

const char *temp_path(Arena *arena, const char *name) {
    const char *path = arena_printf(arena, "%s/%s", temp_folder(arena), name);

    BUG_IF(file_count == MOST_FILES || strlen(path) >= LONGEST, "temporary file '%s'", name);
    memcpy(files[file_count], path, strlen(path) + 1);
    file_count++;
    return path;
}

void temp_cleanup(void) {
    for (int i = 0; i < file_count; i++)
        unlink(files[i]);
    file_count = 0;
    if (folder[0])
        rmdir(folder);
    folder[0] = 0;
}

static void end_by_signal(int number) {
    temp_cleanup(); /* unlink and rmdir are async-signal-safe */
    signal(number, SIG_DFL);
    raise(number);
}

void temp_catch_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (signal(numbers[i], end_by_signal) == SIG_IGN)
            signal(numbers[i], SIG_IGN);
    /* SIGPIPE too: `netc emit .. | head` ends quietly when the reader has enough. */
}
