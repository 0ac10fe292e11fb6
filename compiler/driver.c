/* driver.c: the whole pipeline on one screen: what each verb does, stage by stage.
 *
 *   check     parse, sema                       emit   ... as far as --as needs
 *   describe  parse, sema, table                build  parse, sema, passes, codegen, object, link
 *
 * requires: parsed Options.  ensures: diagnostics are rendered once, on stderr; results go to stdout or
 * to files written under a temporary name and renamed; the exit code is one of base/bug.h.
 */
#define _GNU_SOURCE
#include "driver.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/limits.h"
#include "base/outfile.h"
#include "base/str.h"
#include "driver_stages.h"
#include "front/explain.h"
#include "front/parse.h"

extern char **environ;

/* ---- reading and diagnosing ---- */
static void load(Compile *c, const char *path) {
    ParseOptions parse = {c->options->include_dirs, c->options->include_dir_count};
    SourceFile *file;

    switch (source_load(c->sources, path, LOC_NONE, &file)) {
    case SOURCE_OK:
        break;
    case SOURCE_UNREADABLE:
        fatal(NETC_IO, "cannot read '%s': %s", path, strerror(errno));
    case SOURCE_TOO_LARGE:
        diag_path(diag_error(c->diag, LOC_NONE, "E0009",
                             "the file is too large; the limit is %d bytes", LIMIT_FILE_BYTES),
                  path);
        return;
    case SOURCE_TOO_MANY:
        diag_path(diag_error(c->diag, LOC_NONE, "E0009", "one file too many; the limit is %d",
                             LIMIT_FILES),
                  path);
        return;
    }
    bug_context(path);
    c->ast = parse_source(c->keep, c->sources, c->diag, file, &parse);
    bug_context(NULL);
}

/* Shows all diagnostics; true when there was no error. */
static bool report(Compile *c) {
    const Options *o = c->options;

    if (o->diag_format == DIAG_JSON || diag_errors(c->diag) ||
        (diag_warnings(c->diag) && !o->quiet))
        diag_render(c->diag, stderr, (DiagFormat)o->diag_format, options_color(o, stderr));
    return diag_errors(c->diag) == 0;
}

static Compile begin(Arena *arena, const Options *options) {
    Compile c = {.keep = arena, .tmp = arena_new(), .options = options};

    c.sources = sources_new(arena);
    c.diag = diag_ctx_new(arena, c.sources);
    diag_warnings_are_errors(c.diag, options->werror);
    return c;
}

static bool stops_after(const Options *o, const char *stage) {
    return o->stop_after && strcmp(o->stop_after, stage) == 0;
}

/* Spec to model.  NETC_OK with c->stopped, NETC_OK with c->model, or NETC_USAGE after a report. */
static int front(Compile *c, bool forward_only) {
    load(c, c->options->operands[0]);
    if (c->ast && stops_after(c->options, "ast"))
        c->stopped = true;
    else if (c->ast)
        stage_model(c, forward_only);
    if (!report(c))
        return NETC_USAGE;
    c->stopped |= stops_after(c->options, "model");
    return NETC_OK;
}

/* Model to optimised module; stops where --stop-after says. */
static int middle(Compile *c, const char *fallback_target) {
    int status = stage_target(c, c->options->tune ? "native" : fallback_target);

    if (status == NETC_OK) {
        stage_wisdom(c);
        status = stage_tune(c);
    }
    if (status == NETC_OK)
        stage_passes(c);
    return status;
}

static const char *portable_target(void) {
#if defined(__aarch64__)
    return "aarch64";
#else
    return "x86-64-v3";
#endif
}

/* ---- writing ---- */
static OutFile output_open(const char *path) {
    OutFile out;
    char why[4400];
    if (!outfile_open(&out, path, why, sizeof why))
        fatal(NETC_IO, "%s", why);
    return out;
}

static void output_close(OutFile *out) {
    char why[4400];
    if (!outfile_close(out, why, sizeof why))
        fatal(NETC_IO, "%s", why);
}

/* ---- names ---- */
/* "specs/lenet5.net" -> "lenet5"; "<stdin>" -> "net". */
static const char *base_name(Arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t length = strlen(name);

    if (length > 4 && strcmp(name + length - 4, ".net") == 0)
        length -= 4;
    if (strcmp(path, "-") == 0 || length == 0)
        return "net";
    return arena_strndup(arena, name, length);
}

static const char *c_identifier(Arena *arena, const char *name) {
    char *text = arena_printf(arena, "%s%s", isdigit((unsigned char)name[0]) ? "net_" : "", name);

    for (char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p))
            *p = '_';
    return text;
}

static const char *sibling(Arena *arena, const char *path, const char *name) {
    const char *slash = strrchr(path, '/');

    return slash ? arena_printf(arena, "%.*s/%s", (int)(slash - path), path, name) : name;
}

/* ---- verbs ---- */
static int verb_check(Compile *c) {
    for (int i = 0; i < c->options->operand_count; i++) {
        c->ast = NULL;
        load(c, c->options->operands[i]);
        if (c->ast && stage_model_exists() && !stops_after(c->options, "ast"))
            stage_check_all(c);
    }
    return report(c) ? NETC_OK : NETC_USAGE;
}

static int verb_describe(Compile *c) {
    int status = front(c, true);

    if (status == NETC_OK && !c->stopped) {
        stage_describe(c, stdout);
        output_close(&(OutFile){.stream = stdout, .path = "standard output"});
    }
    return status;
}

/* Spec to object files in the temporary folder; false when stopped or wrong. */
static bool model_objects(Compile *c, const char *target, const char *symbol, int *status) {
    *status = middle(c, target);
    if (*status || c->stopped)
        return false;
    stage_objects(c, symbol);
    return true;
}

static bool compile_objects(Compile *c, const char *target, const char *symbol, int *status) {
    *status = front(c, false);
    if (*status || c->stopped)
        return false;
    return model_objects(c, target, symbol, status);
}

static void tell_built(const Compile *c, const char *path, double seconds) {
    struct stat info;

    if (c->options->quiet || stat(path, &info) != 0)
        return;
    printf("%s  (%lld KiB, %.1f s, %s)\n", path, (long long)(info.st_size + 1023) / 1024, seconds,
           c->target.name);
}

static double now(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Code for another kind of processor comes out as an object only: linking wants its libraries. */
static int no_cross_link(void) {
    fputs("netc: error: programs for aarch64 cannot be linked on this machine\n"
          "help: `netc emit --as=obj --target-cpu=aarch64` writes the object; link it there with "
          "libnetrt.a\n",
          stderr);
    return NETC_USAGE;
}

static int build_program(Compile *c, const char *output) {
    double start = now();
    int status;

    if (!compile_objects(c, portable_target(), "netc_model", &status))
        return status;
    if (strcmp(c->target.name, "aarch64") == 0 && strcmp(portable_target(), "aarch64") != 0)
        return no_cross_link();
    if (!c->model->mode[MODEL_LOOK].graph) {
        stage_link(c, LINK_MAIN, output);
        tell_built(c, output, now() - start);
        return NETC_OK;
    }
    const char *viz = arena_printf(c->keep, "%s-viz", output);
    stage_link_both(c, output, viz);
    tell_built(c, output, now() - start);
    tell_built(c, viz, now() - start);
    return NETC_OK;
}

/* Where the result goes: a folder keeps the usual name; `-o bin/` makes it if need be. */
static const char *output_path(const Compile *c, const char *usual) {
    const char *given = c->options->output;
    size_t length = given ? strlen(given) : 0;
    struct stat info;

    if (length == 0)
        return usual;
    bool slash = given[length - 1] == '/';
    if (slash && mkdir(given, 0777) != 0 && errno != EEXIST)
        fatal(NETC_IO, "cannot make the folder '%s': %s", given, strerror(errno));
    if (slash || (stat(given, &info) == 0 && S_ISDIR(info.st_mode)))
        return arena_printf(c->keep, "%s%s%s", given, slash ? "" : "/", usual);
    return given;
}

/* lenet5.net -> liblenet5.a (or .so) and lenet5.h, whose model is lenet5_model. */
static int build_library(Compile *c, const char *name) {
    bool shared = c->options->lib == LIB_SHARED;
    const char *plain = arena_printf(c->keep, "lib%s.%s", name, shared ? "so" : "a");
    const char *output = output_path(c, plain);
    const char *identifier = c_identifier(c->keep, name);
    double start = now();
    int status;

    if (!compile_objects(c, portable_target(), arena_printf(c->keep, "%s_model", identifier),
                         &status))
        return status;
    stage_link(c, shared ? LINK_SHARED : LINK_STATIC, output);
    tell_built(c, output, now() - start);
    const char *header = sibling(c->keep, output, arena_printf(c->keep, "%s.h", name));
    OutFile out = output_open(header);
    stage_header(c, identifier, out.stream);
    output_close(&out);
    if (!c->options->quiet)
        printf("%s\n", header);
    return NETC_OK;
}

static int verb_build(Compile *c) {
    const char *name = base_name(c->keep, c->options->operands[0]);

    if (c->options->output && strcmp(c->options->output, "-") == 0) {
        fputs("netc: error: a program cannot be written to standard output\n"
              "help: netc emit --as=asm prints code\n",
              stderr);
        return NETC_USAGE;
    }
    if (c->options->lib)
        return build_library(c, name);
    return build_program(c, output_path(c, name));
}

static volatile sig_atomic_t child_pid;

static void forward_signal(int number) {
    if (child_pid > 0)
        kill((pid_t)child_pid, number);
}

/* Runs the program with the user's arguments and passes its exit status on.  The program handles
 * SIGINT and SIGTERM itself (checkpoint, then exit); netc only waits for it. */
static int run_program(const Compile *c, const char *path, const char *name, char **args) {
    posix_spawnattr_t attr;
    sigset_t defaults;
    pid_t pid;
    int count = 0, status;

    while (args[count])
        count++;
    char **argv = ARENA_ARRAY(c->keep, count + 2, char *);
    argv[0] = arena_strdup(c->keep, name);
    memcpy(argv + 1, args, (size_t)count * sizeof *argv);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGHUP);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    signal(SIGINT, SIG_IGN); /* the terminal sends it to the program too */
    signal(SIGTERM, forward_signal);
    fflush(stdout);
    int error = posix_spawn(&pid, path, NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    if (error)
        fatal(NETC_IO, "cannot run '%s': %s", path, strerror(error));
    child_pid = pid;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            fatal(NETC_IO, "cannot wait for '%s': %s", name, strerror(errno));
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* `viz` before the arguments means the other program of the model.  A program that was compiled
 * before from the same text by the same netc for the same machine comes from the cache. */
static int verb_run(Compile *c) {
    char **args = c->options->program_args;
    bool viz = args[0] && strcmp(args[0], "viz") == 0;
    const char *name = base_name(c->keep, c->options->operands[0]);
    int status = front(c, false);

    if (status || c->stopped || (status = stage_target(c, "native")) != NETC_OK)
        return status;
    stage_wisdom(c); /* what it says is part of the cache's key */
    if ((status = stage_tune(c)) != NETC_OK)
        return status;
    if (viz)
        name = arena_printf(c->keep, "%s-viz", name);
    const char *program = cache_path(c, name);
    bool cached = program && cache_has(program);
    if (!program)
        program = temp_path(c->keep, name);
    if (!cached) {
        if (!model_objects(c, "native", "netc_model", &status))
            return status;
        stage_link(c, viz ? LINK_VIZ : LINK_MAIN, program);
    }
    return run_program(c, program, name, args + viz);
}

/* --run-pass: the operand is a graph, not a spec. */
static int run_pass(Compile *c) {
    SourceFile *file;
    int status = stage_target(c, portable_target());

    if (status)
        return status;
    if (source_load(c->sources, c->options->operands[0], LOC_NONE, &file) != SOURCE_OK)
        fatal(NETC_IO, "cannot read '%s': %s", c->options->operands[0], strerror(errno));
    OutFile out = output_open(c->options->output);
    status = stage_run_pass(c, file->text, out.stream);
    output_close(&out);
    return status;
}

/* Everything of emit that is text of ours; code goes through stage_write. */
static void emit_text(Compile *c, const char *name) {
    OutFile out = output_open(c->options->output);

    if (c->options->emit == EMIT_AST)
        ast_print(c->ast, out.stream);
    else if (c->options->emit == EMIT_HEADER)
        stage_header(c, c_identifier(c->keep, name), out.stream);
    else
        stage_print_graph(c, (EmitKind)c->options->emit, out.stream);
    output_close(&out);
}

static int verb_emit(Compile *c) {
    const Options *o = c->options;
    const char *name = base_name(c->keep, o->operands[0]);
    EmitKind kind = (EmitKind)o->emit;
    int status;

    if (o->run_pass)
        return run_pass(c);
    if (kind == EMIT_AST) {
        load(c, o->operands[0]);
        if (!report(c))
            return NETC_USAGE;
        emit_text(c, name);
        return NETC_OK;
    }
    bool graph = kind == EMIT_GRAPH || kind == EMIT_DOT;
    status = front(c, kind == EMIT_HEADER);
    if (status || c->stopped)
        return status;
    /* a graph is printed as the front end made it, or as it is behind --stop-after */
    if (graph ? o->stop_after || o->dump : kind != EMIT_HEADER)
        status = middle(c, portable_target());
    if (status || (c->stopped && !graph))
        return status;
    if (kind != EMIT_LL && kind != EMIT_ASM && kind != EMIT_OBJ) {
        emit_text(c, name);
        return NETC_OK;
    }
    stage_module(c, "netc_model");
    stage_optimize(c);
    const char *path = o->output ? o->output : "-";
    if (kind == EMIT_OBJ && strcmp(path, "-") == 0)
        path = arena_printf(c->keep, "%s.o", name);
    stage_write(c, kind, path);
    return NETC_OK;
}

static int explain_one(const char *word) {
    if (explain_print(word, stdout) || stage_explain_op(word, stdout))
        return NETC_OK;
    const char *near = stage_nearest_op(word);
    fprintf(stderr, "netc: error: nothing to explain about '%s'", word);
    if (near)
        fprintf(stderr, "; did you mean '%s'?", near);
    fputs("\nhelp: netc explain lists all codes and operations\n", stderr);
    return NETC_USAGE;
}

static int verb_explain(Compile *c) {
    int status = NETC_OK;

    if (c->options->operand_count == 0) {
        explain_list(stdout);
        stage_list_ops(stdout);
    }
    for (int i = 0; i < c->options->operand_count; i++) {
        if (i > 0)
            putchar('\n');
        int one = explain_one(c->options->operands[i]);
        status = one ? one : status;
    }
    output_close(&(OutFile){.stream = stdout, .path = "standard output"});
    return status;
}

static int verb_help(Compile *c) {
    Verb verb;

    if (c->options->operand_count == 0) {
        options_help(stdout);
        return NETC_OK;
    }
    const char *word = c->options->operands[0];
    if (verb_find(word, &verb)) {
        options_help_verb(verb, stdout);
        return NETC_OK;
    }
    const char *near = verb_nearest(word);
    fprintf(stderr, "netc: error: no verb '%s'", word);
    if (near)
        fprintf(stderr, "; did you mean '%s'?", near);
    fputs("\nhelp: netc help lists the verbs\n", stderr);
    return NETC_USAGE;
}

/* --stop-after must name something, else a typing error would look like success. */
static int check_pass_names(const Options *o) {
    const char *name = o->stop_after;

    if (!name || strcmp(name, "ast") == 0 || strcmp(name, "model") == 0 || stage_pass_exists(name))
        return NETC_OK;
    fprintf(stderr, "netc: error: unknown pass '%s'\nhelp: netc --help-passes lists them\n", name);
    return NETC_USAGE;
}

int driver_run(Arena *arena, const Options *options) {
    static int (*const run[VERB_COUNT])(Compile *) = {
        [VERB_CHECK] = verb_check, [VERB_DESCRIBE] = verb_describe, [VERB_BUILD] = verb_build,
        [VERB_RUN] = verb_run,     [VERB_EMIT] = verb_emit,         [VERB_EXPLAIN] = verb_explain,
        [VERB_HELP] = verb_help,   [VERB_IMPORT] = verb_import,
    };
    int status = check_pass_names(options);

    if (status)
        return status;
    Compile c = begin(arena, options);
    status = run[options->verb](&c);
    stage_end(&c);
    arena_free(c.tmp);
    return status;
}
