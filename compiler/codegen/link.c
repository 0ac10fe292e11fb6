/* link.c: object files become programs and libraries, through cc and ar, never through a shell.
 *
 * Programs: cc -pie model.o -Wl,--defsym=main=netrt_program_main libnetrt.a -lpng -lturbojpeg -lz ...
 * with full RELRO and a non-executable stack, without debugging information (reading the runtime's
 * takes a quarter of the time to link).  The output is written under a temporary name in the
 * same folder and renamed, so a failed link never leaves half a program behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/outfile.h"
#include "base/str.h"
#include "codegen/codegen.h"

extern char **environ;

static const char *exe_dir(Arena *a) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return ".";
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = 0;
    return arena_strdup(a, path);
}

static const char *first_with(Arena *a, const char *const *dirs, int n, const char *file) {
    const char *base = exe_dir(a);
    for (int i = 0; i < n; i++) {
        const char *dir = arena_printf(a, "%s/%s", base, dirs[i]);
        if (access(arena_printf(a, "%s/%s", dir, file), R_OK) == 0)
            return dir;
    }
    return NULL;
}

const char *link_runtime_dir(Arena *a) {
    static const char *const dirs[] = {"../lib", "."}; /* installed, build tree */
    return first_with(a, dirs, 2, "libnetrt.a");
}

const char *link_header_dir(Arena *a) {
    static const char *const dirs[] = {"../include/netc", "../runtime", "../../runtime"};
    return first_with(a, dirs, 3, "netrt.h");
}

/* ---- running a tool ---- */

enum { ARGS_MAX = 48 };
typedef struct Args {
    const char *at[ARGS_MAX];
    int n;
} Args;

static void arg(Args *a, const char *text) {
    BUG_IF(a->n >= ARGS_MAX - 1, "too many linker arguments");
    a->at[a->n++] = text;
    a->at[a->n] = NULL;
}

/* Keeps the last bytes of what the tool said. */
static void read_tail(int fd, char *text, size_t n) {
    char chunk[512];
    size_t used = 0;
    for (ssize_t got; (got = read(fd, chunk, sizeof chunk)) != 0;) {
        if (got < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        size_t take = (size_t)got;
        if (used + take >= n) {
            size_t drop = used + take - n + 1;
            drop = drop > used ? used : drop;
            memmove(text, text + drop, used - drop);
            used -= drop;
            take = take > n - 1 - used ? n - 1 - used : take;
        }
        memcpy(text + used, chunk, take);
        used += take;
    }
    text[used] = 0;
}

/* Runs argv[0] from PATH; the end of its stdout and stderr comes back in `said`. */
static bool run_tool(const Args *args, char *said, size_t n) {
    int out[2];
    said[0] = 0;
    if (pipe2(out, O_CLOEXEC) != 0) {
        snprintf(said, n, "pipe: %s", strerror(errno));
        return false;
    }
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    posix_spawn_file_actions_adddup2(&act, out[1], 1);
    posix_spawn_file_actions_adddup2(&act, out[1], 2);
    pid_t pid;
    int rc = posix_spawnp(&pid, args->at[0], &act, NULL, (char *const *)(uintptr_t)args->at,
                          environ);
    posix_spawn_file_actions_destroy(&act);
    close(out[1]);
    if (rc != 0) {
        close(out[0]);
        snprintf(said, n, "cannot run '%s': %s; it comes with gcc and binutils", args->at[0],
                 strerror(rc));
        return false;
    }
    read_tail(out[0], said, n);
    close(out[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void arg_link_libraries(Args *a) {
    static const char *const libs[] = {"-lpng", "-lturbojpeg", "-lz", "-lgomp", "-lm", "-lpthread"};
    for (size_t i = 0; i < sizeof libs / sizeof *libs; i++)
        arg(a, libs[i]);
}

static const char *compiler(void) {
    const char *cc = getenv("CC");
    return cc && *cc && !strchr(cc, ' ') ? cc : "cc";
}

static void arg_objects(Args *a, const LinkPlan *p) {
    for (int i = 0; i < p->objects; i++)
        arg(a, p->object[i]);
}

static void program_args(Args *a, const LinkPlan *p, const char *archive, const char *temp,
                         bool viz) {
    arg(a, compiler());
    arg(a, "-pie");
    arg(a, "-o");
    arg(a, temp);
    arg_objects(a, p);
    arg(a, viz ? "-Wl,--defsym=main=netrt_program_viz" : "-Wl,--defsym=main=netrt_program_main");
    arg(a, viz ? "-Wl,-u,netrt_program_viz" : "-Wl,-u,netrt_program_main");
    arg(a, "-Wl,-S,-z,relro,-z,now,-z,noexecstack");
    arg(a, archive);
    arg_link_libraries(a);
}

static void shared_args(Args *a, const LinkPlan *p, const char *archive, const char *temp) {
    arg(a, compiler());
    arg(a, "-shared");
    arg(a, "-o");
    arg(a, temp);
    arg_objects(a, p);
    arg(a, "-Wl,--whole-archive,--allow-multiple-definition");
    arg(a, archive);
    arg(a, "-Wl,--no-whole-archive");
    arg(a, "-Wl,-z,relro,-z,now,-z,noexecstack");
    arg_link_libraries(a);
}

static bool finish(const char *temp, const char *output, bool ok, char *why, size_t n) {
    if (!ok) {
        unlink(temp);
        return false;
    }
    if (rename(temp, output) != 0) {
        snprintf(why, n, "cannot write '%s': %s", output, strerror(errno));
        unlink(temp);
        return false;
    }
    return true;
}

static bool copy_file(const char *from, const char *to, char *why, size_t n) {
    static char chunk[1 << 16];
    FILE *in = fopen(from, "rbe"), *out = fopen(to, "wbe");
    bool ok = in && out;
    for (size_t got; ok && (got = fread(chunk, 1, sizeof chunk, in)) > 0;)
        ok = fwrite(chunk, 1, got, out) == got;
    ok = ok && !ferror(in);
    if (out)
        ok = fclose(out) == 0 && ok;
    if (in)
        fclose(in);
    if (!ok)
        snprintf(why, n, "cannot copy '%s' to '%s': %s", from, to, strerror(errno));
    return ok;
}

/* libnetrt.a with the model as one more member: no script for ar, which stumbles over spaces. */
static bool static_library(const LinkPlan *p, const char *archive, const char *temp, char *why,
                           size_t n) {
    Args args = {.n = 0};
    arg(&args, "ar");
    arg(&args, "rsD");
    arg(&args, temp);
    arg_objects(&args, p);
    return copy_file(archive, temp, why, n) && run_tool(&args, why, n);
}

/* The next step, behind what the linker said. */
static void advise(const char *temp, char *why, size_t n) {
    size_t used = strlen(why);
    while (used && why[used - 1] == '\n')
        why[--used] = 0;
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        snprintf(why, n, "%s\nhelp: -o names a file in a folder that exists, or DIR/ to make one",
                 strerror(errno));
        return;
    }
    close(fd);
    unlink(temp);
    if (used + 100 < n)
        snprintf(why + used, n - used, "\nhelp: is there room on the disk, and does '%.40s' link C?",
                 compiler());
}

bool link_model(const LinkPlan *p, LinkKind kind, char *why, size_t n) {
    Arena *a = arena_new();
    bool ok = false;
    const char *dir = p->runtime ? p->runtime : link_runtime_dir(a);
    if (!dir) {
        snprintf(why, n, "libnetrt.a is neither beside netc nor in ../lib");
        arena_free(a);
        return false;
    }
    if (outfile_is_special(p->output)) {
        snprintf(why, n, "cannot write '%s': it is no regular file", p->output);
        arena_free(a);
        return false;
    }
    const char *archive = arena_printf(a, "%s/libnetrt.a", dir);
    const char *temp = arena_printf(a, "%s.tmp%d", p->output, (int)getpid());
    Args args = {.n = 0};
    if (kind == LINK_STATIC) {
        ok = static_library(p, archive, temp, why, n);
    } else {
        if (kind == LINK_SHARED)
            shared_args(&args, p, archive, temp);
        else
            program_args(&args, p, archive, temp, kind == LINK_VIZ);
        for (int i = 0; p->verbose && i < args.n; i++)
            fprintf(stderr, "%s%s", args.at[i], i + 1 < args.n ? " " : "\n");
        ok = run_tool(&args, why, n);
    }
    if (!ok)
        advise(temp, why, n);
    ok = finish(temp, p->output, ok, why, n);
    arena_free(a);
    return ok;
}
