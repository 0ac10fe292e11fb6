/* driver_options.c: the command line: one table of verbs, one of options; parser and help read both.
 *
 * requires: argv.  ensures: Options are complete with defaults, or one message with a way out has gone
 * to stderr.  Help fits 80 columns; a test compares it with the table.
 */
#define _GNU_SOURCE
#include "driver.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/str.h"

const char *const emit_kind_names[EMIT_COUNT] = {"ast", "graph", "dot", "plan",
                                                 "ll",  "asm",   "obj", "header"};

/* ---- verbs ---- */
typedef struct VerbRow {
    const char *name, *operands, *summary, *examples;
    int least, most; /* operands; most < 0: any number */
} VerbRow;

static const VerbRow verbs[VERB_COUNT] = {
    [VERB_CHECK] = {"check", "FILE...", "report every mistake in a spec, make nothing",
                    "  netc check lenet5.net\n"
                    "  netc check -Werror --strict-shapes specs/*.net\n"
                    "  netc check --diagnostics=json zf.net 2>errors.json\n",
                    1, -1},
    [VERB_DESCRIBE] = {"describe", "FILE", "layers, shapes, parameters, work, receptive fields",
                       "  netc describe lenet5.net\n"
                       "  netc describe --variant=Table3.no34 zf.net\n"
                       "  netc describe --json vgg16.net\n",
                       1, 1},
    [VERB_BUILD] = {"build", "FILE", "compile a spec to a program, or to a library with --lib",
                    "  netc build lenet5.net                 makes lenet5 and lenet5-viz\n"
                    "  netc build lenet5.net -o bin/lenet --target-cpu=native\n"
                    "  netc build lenet5.net --lib           makes liblenet5.a and lenet5.h\n",
                    1, 1},
    [VERB_RUN] = {"run", "FILE [OPTIONS] [--] ARGS...",
                  "compile for this machine and run the program at once",
                  "  netc run lenet.net train --epochs 2   compiled once, then taken from a cache\n"
                  "  netc run lenet.net viz report         the program lenet-viz\n",
                  1, 1},
    [VERB_EMIT] = {"emit", "FILE", "print one stage: syntax tree, graph, plan, LLVM IR, assembly",
                   "  netc emit --as=ast lenet5.net         canonical source text\n"
                   "  netc emit --as=plan --mode=train lenet5.net\n"
                   "  netc emit --as=plan --json --target-cpu=x86-64-v3 lenet5.net\n"
                   "  netc emit --as=obj lenet5.net -o lenet5.o\n",
                   1, 1},
    [VERB_IMPORT] = {"import", "FILE", "a network or weights of other programs: Caffe, ONNX, numpy",
                     "  netc import lenet.caffemodel          makes lenet.net and lenet.safetensors\n"
                     "  netc import net.onnx -o nets/         the same, in a folder\n"
                     "  netc import weights.npz               makes weights.safetensors\n",
                     1, 1},
    [VERB_EXPLAIN] = {"explain", "[CODE|OPERATION]...", "what an error code or an operation means",
                      "  netc explain E0104\n"
                      "  netc explain conv\n"
                      "  netc explain                          lists all codes and operations\n",
                      0, -1},
    [VERB_HELP] = {"help", "[VERB]", "help about netc or about one verb",
                   "  netc help build\n",
                   0, 1},
};

const char *verb_name(Verb verb) {
    return verbs[verb].name;
}

bool verb_find(const char *name, Verb *verb) {
    for (int i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            *verb = (Verb)i;
            return true;
        }
    }
    return false;
}

const char *verb_nearest(const char *word) {
    const char *names[VERB_COUNT];

    for (int i = 0; i < VERB_COUNT; i++)
        names[i] = verbs[i].name;
    return nearest_name(word, names, VERB_COUNT);
}

/* ---- options ---- */
typedef enum OptionKind {
    OPT_FLAG,     /* int set to 1 */
    OPT_TEXT,     /* const char * */
    OPT_CHOICE,   /* int: index into the words of choices */
    OPT_MAYBE,    /* int: --lib is the first choice + 1, --lib=so the second + 1 */
    OPT_COUNT,    /* int, 1 .. BATCH_MAX */
    OPT_SIZE,     /* int64_t: bytes, written 500M or 1.5G */
    OPT_INCLUDE,  /* appended to include_dirs */
    OPT_DEFINE    /* NAME=VALUE appended to defines */
} OptionKind;

enum { BATCH_MAX = 1 << 20 };

#define V(verb) (1u << VERB_##verb)
enum {
    SPEC = V(CHECK) | V(DESCRIBE) | V(BUILD) | V(RUN) | V(EMIT),
    COMPILE = V(BUILD) | V(RUN) | V(EMIT),
    ANY = (1u << VERB_COUNT) - 1
};

typedef struct OptionRow {
    const char *name;    /* long name without dashes */
    char letter;         /* 0: none */
    OptionKind kind;
    unsigned verbs;
    const char *value;   /* "FILE"; NULL for flags */
    const char *choices; /* words separated by '|' */
    size_t offset;
    const char *help;
} OptionRow;

#define FIELD(member) offsetof(Options, member)
static const OptionRow table[] = {
    {"define", 'D', OPT_DEFINE, SPEC, "NAME=VALUE", NULL, 0,
     "set a parameter or const of the net"},
    {"include", 'I', OPT_INCLUDE, SPEC, "DIR", NULL, 0, "look for included files in DIR too"},
    {"net", 0, OPT_TEXT, SPEC, "NAME", NULL, FIELD(net), "the net meant when a file has several"},
    {"variant", 0, OPT_TEXT, SPEC, "V.NAME", NULL, FIELD(variant), "a variant of the net"},
    {"output", 'o', OPT_TEXT, V(BUILD) | V(EMIT) | V(IMPORT), "FILE", NULL, FIELD(output),
     "write FILE; - is standard output"},
    {"target-cpu", 0, OPT_TEXT, COMPILE, "CPU", NULL, FIELD(target),
     "native, x86-64-v2, -v3, -v4 or aarch64"},
    {"optimize", 'O', OPT_CHOICE, COMPILE, "LEVEL", "0|1|2|3", FIELD(opt_level),
     "0 to 3 (default 3)"},
    {"lib", 0, OPT_MAYBE, V(BUILD), "KIND", "a|so", FIELD(lib),
     "make a library: a (default) or so, and a header"},
    {"batch", 0, OPT_COUNT, COMPILE, "N", NULL, FIELD(batch),
     "plan for N images per call (below)"},
    {"exact", 0, OPT_FLAG, COMPILE, NULL, NULL, FIELD(exact),
     "every sum as it is written: no Winograd"},
    {"weights", 0, OPT_CHOICE, COMPILE, "FORMAT", "f32|bf16", FIELD(weights),
     "inference reads dense weights as f32 or bf16"},
    {"memory", 0, OPT_SIZE, COMPILE, "SIZE", NULL, FIELD(memory),
     "training fits into SIZE: 2G, 500M"},
    {"tune", 0, OPT_MAYBE, V(BUILD) | V(RUN), "again", "new|again", FIELD(tune),
     "for this machine: measure what can be chosen"},
    {"as", 0, OPT_CHOICE, V(EMIT), "KIND", "ast|graph|dot|plan|ll|asm|obj|header", FIELD(emit),
     "ast graph dot plan ll asm obj header"},
    {"mode", 0, OPT_CHOICE, V(EMIT), "MODE", "forward|train|look|curvature|attack",
     FIELD(mode),
     "which program: forward, train or look"},
    {"json", 0, OPT_FLAG, V(DESCRIBE) | V(EMIT), NULL, NULL, FIELD(json),
     "describe, --as=plan: JSON instead of a table"},
    {"prototxt", 0, OPT_TEXT, V(IMPORT), "FILE", NULL, FIELD(prototxt),
     "Caffe: the network's description"},
    {"input", 0, OPT_TEXT, V(IMPORT), "CxHxW", NULL, FIELD(input_size),
     "the input's size, where the file has none"},
    {"mean", 0, OPT_TEXT, V(IMPORT), "R,G,B", NULL, FIELD(mean),
     "subtracted from pixels 0..255"},
    {"order", 0, OPT_CHOICE, V(IMPORT), "ORDER", "file|rgb|bgr", FIELD(order),
     "of the colour planes: file, rgb or bgr"},
    {"rename", 0, OPT_TEXT, V(IMPORT), "OLD:NEW,..", NULL, FIELD(rename),
     "weights without a network: parts of their names"},
    {"plain", 0, OPT_FLAG, V(IMPORT), NULL, NULL, FIELD(plain),
     "one line per layer, no blocks"},
    {"Werror", 'W', OPT_FLAG, SPEC, NULL, NULL, FIELD(werror), "warnings are errors"},
    {"strict-shapes", 0, OPT_FLAG, SPEC, NULL, NULL, FIELD(strict_shapes),
     "discarded input cells are errors"},
    {"diagnostics", 0, OPT_CHOICE, SPEC, "FORMAT", "text|json", FIELD(diag_format),
     "text or json"},
    {"color", 0, OPT_CHOICE, ANY, "WHEN", "auto|always|never", FIELD(color),
     "auto, always or never"},
    {"quiet", 'q', OPT_FLAG, ANY, NULL, NULL, FIELD(quiet), "errors only"},
    {"verbose", 'v', OPT_FLAG, ANY, NULL, NULL, FIELD(verbose), "say what is done"},
    {"dump", 0, OPT_TEXT, COMPILE, "PASS,..", NULL, FIELD(dump),
     "print the graph after these passes, or all"},
    {"stop-after", 0, OPT_TEXT, SPEC, "PASS", NULL, FIELD(stop_after),
     "stop after this pass (ast, model, ...)"},
    {"run-pass", 0, OPT_TEXT, V(EMIT), "PASS", NULL, FIELD(run_pass),
     "FILE is a graph; run one pass on it"},
    {"time-passes", 0, OPT_FLAG, COMPILE, NULL, NULL, FIELD(time_passes),
     "print the time of every pass"},
    {"help", 'h', OPT_FLAG, ANY, NULL, NULL, FIELD(want_help), "this text"},
    {"version", 0, OPT_FLAG, 0, NULL, NULL, FIELD(want_version), "version and target"},
    {"help-passes", 0, OPT_FLAG, 0, NULL, NULL, FIELD(want_help_passes), "the list of passes"},
};
enum { OPTION_COUNT = sizeof table / sizeof *table };

/* Where a parse stands. */
typedef struct Parse {
    Arena *arena;
    Options *options;
    int argc, at;
    char **argv;
    bool have_verb;
    uint64_t used; /* bit per row of table, for "not an option of this verb" */
} Parse;

_Static_assert(OPTION_COUNT <= 64, "one bit per option");

static int usage(const char *hint, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int usage(const char *hint, const char *format, ...) {
    va_list args;

    fputs("netc: error: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nhelp: %s\n", hint);
    return NETC_USAGE;
}

static int choice_index(const char *choices, const char *word) {
    size_t length = strlen(word);
    int index = 0;

    for (const char *p = choices; *p; index++) {
        size_t span = strcspn(p, "|");
        if (span == length && strncmp(p, word, span) == 0)
            return index;
        p += span + (p[span] == '|');
    }
    return -1;
}

static int store_define(Parse *p, const char *value) {
    Options *o = p->options;
    const char *equals = strchr(value, '=');

    if (!equals || equals == value || !equals[1])
        return usage("write -D NAME=VALUE, for example -D classes=10",
                     "-D wants NAME=VALUE, not '%s'", value);
    o->defines[o->define_count++] =
        (ModelDefine){intern(value, (size_t)(equals - value)), equals + 1};
    return 0;
}

/* "500M", "1.5G", "2GiB", "123456": bytes, with K, M, G, T as powers of 1024; 0: not a size. */
static int64_t parse_size(const char *text) {
    static const char units[] = "KMGT";
    char *end;
    if (text[0] < '0' || text[0] > '9' || text[strspn(text, "0123456789.")] == 'e')
        return 0;
    double size = strtod(text, &end);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++)
            size *= 1024;
        end += end[1] == 'i' ? 2 : 1;
    }
    if (*end == 'B')
        end++;
    return *end || !(size >= 1) || size > 0x1p62 ? 0 : (int64_t)size;
}

static int store_number(Parse *p, const OptionRow *row, const char *value) {
    char *base = (char *)p->options + row->offset, *end;
    if (row->kind == OPT_SIZE) {
        int64_t size = parse_size(value);
        if (size == 0)
            return usage(arena_printf(p->arena, "write --%s=2G or --%s=500M", row->name, row->name),
                         "--%s wants a size, not '%s'", row->name, value);
        *(int64_t *)(void *)base = size;
        return 0;
    }
    errno = 0;
    long count = strtol(value, &end, 10);
    if (errno || end == value || *end || count < 1 || count > BATCH_MAX)
        return usage(arena_printf(p->arena, "write --%s=16", row->name),
                     "--%s wants a number from 1 to %d, not '%s'", row->name, BATCH_MAX, value);
    *(int *)(void *)base = (int)count;
    return 0;
}

static int store(Parse *p, const OptionRow *row, const char *value) {
    char *base = (char *)p->options;
    int index;

    p->used |= UINT64_C(1) << (row - table);
    switch (row->kind) {
    case OPT_FLAG:
        *(int *)(void *)(base + row->offset) = 1;
        return 0;
    case OPT_TEXT:
        *(const char **)(void *)(base + row->offset) = value;
        return 0;
    case OPT_COUNT:
    case OPT_SIZE:
        return store_number(p, row, value);
    case OPT_INCLUDE:
        p->options->include_dirs[p->options->include_dir_count++] = value;
        return 0;
    case OPT_DEFINE:
        return store_define(p, value);
    case OPT_CHOICE:
    case OPT_MAYBE:
        index = value ? choice_index(row->choices, value) : 0;
        if (index < 0)
            return usage(arena_printf(p->arena, "choices are %s", row->choices),
                         "--%s cannot be '%s'", row->name, value);
        *(int *)(void *)(base + row->offset) = index + (row->kind == OPT_MAYBE);
        return 0;
    }
    return 0;
}

static int unknown_option(const char *arg, const char *name, size_t length) {
    const char *names[OPTION_COUNT];
    char word[64];

    for (int i = 0; i < OPTION_COUNT; i++)
        names[i] = table[i].name;
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    const char *near = nearest_name(word, names, OPTION_COUNT);
    if (near)
        return usage("netc help lists the verbs, netc VERB --help the options of one",
                     "unknown option '%s'; did you mean '--%s'?", arg, near);
    return usage("netc help lists the verbs, netc VERB --help the options of one",
                 "unknown option '%s'", arg);
}

/* The value of an option: what is attached, else the next argument. */
static int take_value(Parse *p, const OptionRow *row, const char *attached, const char **value) {
    *value = attached;
    if (row->kind == OPT_FLAG && attached)
        return usage("leave out the '='", "--%s takes no value", row->name);
    if (row->kind == OPT_FLAG || row->kind == OPT_MAYBE || attached)
        return 0;
    if (p->at + 1 >= p->argc)
        return usage(arena_printf(p->arena, "write --%s=%s", row->name, row->value),
                     "--%s needs a value", row->name);
    *value = p->argv[++p->at];
    return 0;
}

static int parse_long(Parse *p, const char *arg) {
    const char *name = arg + 2, *value;
    size_t length = strcspn(name, "=");
    const char *attached = name[length] == '=' ? name + length + 1 : NULL;

    for (int i = 0; i < OPTION_COUNT; i++) {
        if (strlen(table[i].name) != length || strncmp(table[i].name, name, length) != 0)
            continue;
        int status = take_value(p, &table[i], attached, &value);
        return status ? status : store(p, &table[i], value);
    }
    return unknown_option(arg, name, length);
}

static int parse_short(Parse *p, const char *arg) {
    const char *value;

    if (strcmp(arg, "-Werror") == 0)
        return parse_long(p, "--Werror");
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!table[i].letter || table[i].letter != arg[1] || table[i].letter == 'W')
            continue;
        const char *attached = arg[2] ? arg + 2 : NULL;
        if (table[i].kind == OPT_FLAG && attached)
            return unknown_option(arg, arg + 1, strlen(arg + 1));
        int status = take_value(p, &table[i], attached, &value);
        return status ? status : store(p, &table[i], value);
    }
    return unknown_option(arg, arg + 1, strlen(arg + 1));
}

/* The first operand is the verb; a file in its place means build. */
static int parse_operand(Parse *p, const char *arg) {
    Options *o = p->options;
    size_t length = strlen(arg);

    if (!p->have_verb) {
        p->have_verb = true;
        if (verb_find(arg, &o->verb))
            return 0;
        bool is_file = strcmp(arg, "-") == 0 ||
                       (length > 4 && strcmp(arg + length - 4, ".net") == 0) || strchr(arg, '/');
        if (!is_file) {
            const char *near = verb_nearest(arg);
            const char *hint = "verbs are check, describe, build, run, emit, import, explain and help";
            if (near)
                return usage(hint, "unknown verb '%s'; did you mean '%s'?", arg, near);
            if (strchr(arg, '.'))
                return usage("specs are called NAME.net", "'%s' is neither a verb nor a spec", arg);
            return usage(hint, "unknown verb '%s'", arg);
        }
        o->verb = VERB_BUILD;
    }
    o->operands[o->operand_count++] = arg;
    return 0;
}

static int check_operands(const Parse *p) {
    const Options *o = p->options;
    const VerbRow *verb = &verbs[o->verb];
    const char *hint = arena_printf(p->arena, "netc %s --help shows examples", verb->name);

    for (int i = 0; i < OPTION_COUNT; i++)
        if ((p->used & UINT64_C(1) << i) && table[i].verbs && !(table[i].verbs & 1u << o->verb))
            return usage(hint, "--%s is not an option of 'netc %s'", table[i].name, verb->name);
    if (o->operand_count < verb->least)
        return usage(hint, "'netc %s' needs a file", verb->name);
    if (verb->most >= 0 && o->operand_count > verb->most)
        return usage(hint, "'netc %s' takes one operand; '%s' is too much", verb->name,
                     o->operands[verb->most]);
    return 0;
}

int options_parse(Arena *arena, int argc, char **argv, Options *options) {
    Parse parse = {.arena = arena, .options = options, .argc = argc, .argv = argv};

    *options = (Options){.verb = VERB_HELP, .opt_level = 3};
    options->operands = ARENA_ARRAY(arena, argc + 1, const char *);
    options->include_dirs = ARENA_ARRAY(arena, argc + 1, const char *);
    options->defines = ARENA_ARRAY(arena, argc + 1, ModelDefine);
    options->program_args = argv + argc;
    for (parse.at = 1; parse.at < argc; parse.at++) {
        const char *arg = argv[parse.at];
        int status;
        if (strcmp(arg, "--") == 0) {
            if (options->verb == VERB_RUN) {
                options->program_args = argv + parse.at + 1;
                break;
            }
            for (status = 0; !status && parse.at + 1 < argc; parse.at++)
                status = parse_operand(&parse, argv[parse.at + 1]);
        } else if (strncmp(arg, "--", 2) == 0) {
            status = parse_long(&parse, arg);
        } else if (arg[0] == '-' && arg[1]) {
            status = parse_short(&parse, arg);
        } else if (options->verb == VERB_RUN && options->operand_count == 1) {
            options->program_args = argv + parse.at; /* the program's verb and all behind it */
            break;
        } else {
            status = parse_operand(&parse, arg);
        }
        if (status)
            return status;
    }
    if (options->want_help || options->want_version || options->want_help_passes)
        return 0;
    if (!parse.have_verb) {
        options_help(stderr);
        return NETC_USAGE;
    }
    return check_operands(&parse);
}

bool options_color(const Options *options, FILE *stream) {
    const char *none = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE");
    const char *term = getenv("TERM");

    if (options->color != COLOR_AUTO)
        return options->color == COLOR_ALWAYS;
    if (none && *none)
        return false;
    if (force && *force && strcmp(force, "0") != 0)
        return true;
    return isatty(fileno(stream)) && !(term && strcmp(term, "dumb") == 0);
}

/* ---- help ---- */
void options_help(FILE *out) {
    fputs("netc compiles convolutional networks written in .net files to native programs.\n\n"
          "Examples:\n"
          "  netc lenet.net && ./lenet train       compile, then train\n"
          "  netc check lenet.net                  report mistakes\n"
          "  netc describe lenet.net               layers, shapes, parameters\n"
          "  netc run lenet.net train              compile and run in one step\n\n"
          "Usage: netc [VERB] FILE [OPTIONS]      (without a verb: build)\n\n"
          "Verbs:\n",
          out);
    for (int i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    fputs("\nnetc VERB --help lists the options of a verb, netc --help-passes the passes,\n"
          "netc --version prints version and host.\n\n"
          "Exit codes: 0 ok, 1 the answer is no, 2 wrong spec or command line, 4 bad data,\n"
          "5 file or disk, 6 resource limit, 70 a mistake in netc.\n",
          out);
}

static void help_option(const OptionRow *row, FILE *out) {
    char left[64], letter[8] = "    ";
    const char *open = row->kind == OPT_MAYBE ? "[=" : "=";

    if (row->letter && row->letter != 'W')
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(left, sizeof left, "%s%s%s%s%s%s", letter, row->letter == 'W' ? "-" : "--", row->name,
             row->value ? open : "", row->value ? row->value : "",
             row->kind == OPT_MAYBE ? "]" : "");
    fprintf(out, "  %-30s %s\n", left, row->help);
}

void options_help_verb(Verb verb, FILE *out) {
    const VerbRow *row = &verbs[verb];

    fprintf(out, "netc %s: %s\n\nExamples:\n%s\nUsage: netc %s %s%s\n\nOptions:\n", row->name,
            row->summary, row->examples, row->name, row->operands,
            strstr(row->operands, "OPTIONS") ? "" : " [OPTIONS]");
    for (int i = 0; i < OPTION_COUNT; i++)
        if (table[i].verbs & 1u << verb)
            help_option(&table[i], out);
    if (COMPILE & 1u << verb)
        fprintf(out,
                "\nWithout --target-cpu: %s.\n"
                "Without --batch: training is planned for the spec's batch, the rest for 1 image.\n"
                "Programs take any number of images; N is where they are fast.\n",
                verb == VERB_RUN ? "native" : "x86-64-v3, or aarch64 on such a machine");
}
