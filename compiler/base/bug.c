/* bug.c: ends the run for a mistake of ours (BUG) or a refusal of the world (fatal).
 *
 * requires: nothing; works before any initialisation and when memory is gone.
 * ensures:  one message on stderr, then process_exit with the code; never returns.
 */
#include "base/bug.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Thread_local const char *current_work;

static void flush_and_exit(int code) {
    fflush(NULL);
    _exit(code);
}

void (*process_exit)(int code) = flush_and_exit;

void bug_context(const char *what) {
    current_work = what;
}

/* A process_exit that returns would let a noreturn function return, which is undefined. */
static _Noreturn void leave(int code) {
    process_exit(code);
    _exit(code);
}

void bug_at(const char *file, int line, const char *format, ...) {
    const char *slash = strrchr(file, '/'); /* the build machine's folders are nobody's business */
    va_list args;

    fflush(stdout);
    fputs("netc: internal error: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " [%s:%d]\n", slash ? slash + 1 : file, line);
    if (current_work)
        fprintf(stderr, "  while: %s\n", current_work);
    fputs("This is a mistake in netc, not in your file. Please report it with the .net file, the\n"
          "command line, the text above and the output of `netc --version`.\n",
          stderr);
    leave(NETC_BUG);
}

void fatal(int code, const char *format, ...) {
    va_list args;

    fflush(stdout);
    fputs("netc: error: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    leave(code);
}
