/* driver.h: the command line of netc and the order of its stages.
 *
 * netc.c turns argv into Options and calls driver_run; driver.c walks a spec through the stages;
 * driver_stages.h is where the stages behind the parser are called.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/diag.h"
#include "front/model.h"

typedef enum Verb {
    VERB_CHECK, VERB_DESCRIBE, VERB_BUILD, VERB_RUN, VERB_EMIT, VERB_IMPORT, VERB_EXPLAIN, VERB_HELP,
    VERB_COUNT
} Verb;

typedef enum ColorMode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } ColorMode;

typedef enum EmitKind {
    EMIT_AST, EMIT_GRAPH, EMIT_DOT, EMIT_PLAN, EMIT_LL, EMIT_ASM, EMIT_OBJ, EMIT_HEADER, EMIT_COUNT
} EmitKind;
extern const char *const emit_kind_names[EMIT_COUNT];

typedef enum LibKind { LIB_NONE, LIB_STATIC, LIB_SHARED } LibKind;

typedef struct Options {
    Verb verb;
    const char **operands;      /* files, codes, verbs */
    int operand_count;
    char **program_args;        /* behind "--" of run, NULL-terminated */

    int color;                  /* ColorMode */
    int quiet, verbose;
    int json;                   /* describe, emit --as=plan: --json */
    int diag_format;            /* DiagFormat */
    int werror, strict_shapes;
    const char **include_dirs;
    int include_dir_count;
    ModelDefine *defines;
    int define_count;
    const char *net, *variant;
    const char *output;
    const char *target;         /* NULL: the verb's default */
    int opt_level;              /* -O, 0..3 */
    int emit;                   /* EmitKind */
    int mode;                   /* MODEL_FORWARD, MODEL_TRAIN, MODEL_LOOK */
    int lib;                    /* LibKind */
    int exact;                  /* no algorithm that rounds otherwise than the definition */
    int weights;                /* 0: f32, 1: bf16 */
    int64_t memory;             /* bytes that training may take; 0: no limit */
    int batch;                  /* images per call to plan for; 0: each program's default */
    int tune;                   /* measure candidates on this machine */
    const char *dump, *stop_after, *run_pass;
    const char *prototxt, *input_size, *mean; /* import: what the file does not say */
    const char *rename;         /* import: "OLD:NEW,OLD:NEW" */
    int order, plain;           /* ImportOrder; no folding into blocks */
    int time_passes;

    int want_help, want_version, want_help_passes;
} Options;

/* Parses argv.  0, or NETC_USAGE after one message on stderr. */
int options_parse(Arena *arena, int argc, char **argv, Options *options);
void options_help(FILE *out);                  /* netc --help */
void options_help_verb(Verb verb, FILE *out);  /* netc VERB --help */
const char *verb_name(Verb verb);
bool verb_find(const char *name, Verb *verb);
const char *verb_nearest(const char *word);    /* did you mean; or NULL */
bool options_color(const Options *options, FILE *stream);

/* Does what the options say; returns the exit code. */
int driver_run(Arena *arena, const Options *options);

/* ---- temporary files (driver_temp.c): removed at exit and when a signal ends the run ---- */
const char *temp_folder(Arena *arena);                        /* created once */
const char *temp_path(Arena *arena, const char *name);        /* name inside that folder */
void temp_cleanup(void);
void temp_catch_signals(void);

#endif
