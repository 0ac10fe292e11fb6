/* netc.c: main() of the compiler: argv to Options to driver; the only exit().
 *
 * ensures: temporary files are gone and output is flushed whichever way the run ends; BUG and fatal
 * arrive here through process_exit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/str.h"
#include "driver.h"
#include "driver_stages.h"

static void leave(int code) {
    temp_cleanup();
    exit(code);
}

static int print_version(void) {
    printf("netc %s\n", NETC_VERSION);
    stage_host(stdout);
    puts("numbers: IEEE single precision, fixed summation order, no fast-math");
    return NETC_OK;
}

static int run(Arena *arena, int argc, char **argv) {
    Options options;
    int status = options_parse(arena, argc, argv, &options);
    bool has_verb = options.verb != VERB_HELP || options.operand_count > 0;

    if (status)
        return status;
    if (options.want_version)
        return print_version();
    if (options.want_help_passes) {
        stage_help_passes(stdout);
        return NETC_OK;
    }
    if (options.want_help && has_verb) {
        options_help_verb(options.verb, stdout);
        return NETC_OK;
    }
    if (options.want_help) {
        options_help(stdout);
        return NETC_OK;
    }
    return driver_run(arena, &options);
}

int main(int argc, char **argv) {
    process_exit = leave;
    temp_catch_signals();
    Arena *arena = arena_new();
    int status = run(arena, argc, argv);
    arena_free(arena);
    intern_reset();
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "netc: error: cannot write to standard output: %s\n", strerror(errno));
        status = status ? status : NETC_IO;
    }
    leave(status);
}
