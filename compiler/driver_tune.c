/* driver_tune.c: what was measured on this machine before, and --tune, which measures now.
 *
 * Winners are kept in $XDG_CACHE_HOME/netc/wisdom-CPU, or in the file NETC_WISDOM names, and used
 * by every later build for target native.  --tune plans the model once for the record of its
 * choices, measures them, and leaves the model itself to be planned with what was learnt.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/cachedir.h"
#include "base/outfile.h"
#include "codegen/tune.h"
#include "driver_stages.h"
#include "emit/machine.h"

#pragma weak tune_graph
#pragma weak params_place

/* "AMD EPYC 25.17.1 ..." -> "wisdom-AMD-EPYC-25.17.1": up to microcode and the rest. */
static const char *file_name(Arena *a, const char *machine) {
    char *name = arena_printf(a, "wisdom-%s", machine);
    char *end = strrchr(name, ' '); /* netc's version, threads, microcode */
    for (int i = 0; i < 3 && end; i++) {
        *end = 0;
        end = strrchr(name, ' ');
    }
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '.')
            *p = '-';
    return name;
}

void stage_wisdom(Compile *c) {
    if (strcmp(c->target.name, "native") != 0 || c->wisdom)
        return;
    const char *machine = machine_name(c->keep, &c->target);
    int line = 0;
    c->wisdom = wisdom_new(c->keep, machine);
    c->wisdom_path = cache_file(c->keep, "NETC_WISDOM", file_name(c->keep, machine));
    const char *text = c->wisdom_path ? cache_read(c->keep, c->wisdom_path) : NULL;
    if (!text)
        return;
    WisdomNews news = wisdom_parse(c->wisdom, text, &line);
    if (news == WISDOM_CORRUPT)
        fprintf(stderr,
                "netc: warning: line %d of '%s' is not what --tune writes; the file is ignored\n"
                "help: remove it; --tune writes a new one\n",
                line, c->wisdom_path);
    if (c->options->verbose)
        fprintf(stderr, "measured winners (%s): %d%s\n", c->wisdom_path, wisdom_count(c->wisdom),
                news == WISDOM_FOREIGN ? ", of another machine or netc" : "");
}

static bool save(const Compile *c) {
    OutFile out;
    char why[4400] = "no folder for it";
    bool ok = c->wisdom_path && outfile_open(&out, c->wisdom_path, why, sizeof why);
    if (ok) {
        wisdom_print(c->wisdom, out.stream);
        ok = outfile_close(&out, why, sizeof why);
    }
    if (!ok)
        fprintf(stderr,
                "netc: warning: what was measured cannot be kept for later builds: %s\n"
                "help: set NETC_WISDOM to a file that can be written\n",
                why);
    return ok;
}

typedef struct Teller {
    const Compile *c;
    const char *program;
    bool saves; /* until it failed once */
} Teller;

static void tell(void *context, int at, int of, const char *kernel, const char *times) {
    Teller *t = context;
    if (t->saves)
        t->saves = save(t->c);
    if (!t->c->options->quiet)
        fprintf(stderr, "%stuned %s %d/%d %s: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "",
                t->program, at, of, kernel, times);
    if (!t->c->options->quiet && at < of && isatty(STDERR_FILENO))
        fprintf(stderr, "measuring %d/%d", at + 1, of);
}

int stage_tune(Compile *c) {
    const Options *o = c->options;
    if (!o->tune || c->tuned)
        return NETC_OK;
    c->tuned = true;
    if (strcmp(c->target.name, "native") != 0) {
        fprintf(stderr,
                "netc: error: --tune measures on this machine and cannot speak for %s\n"
                "help: leave out --target-cpu, or say --target-cpu=native\n",
                c->target.name);
        return NETC_USAGE;
    }
    if (!tune_graph)
        fatal(NETC_BUG, "this build of netc has no tuner");
    Compile trial = *c; /* a second copy of the model, to be planned and thrown away */
    PlanRecord record[MODEL_MODES] = {{0}};
    trial.keep = arena_new();
    trial.tmp = arena_new();
    trial.diag = diag_ctx_new(trial.keep, c->sources);
    trial.record = record;
    Teller teller = {.c = c, .saves = true};
    TuneOptions how = {.again = o->tune == 2, .tell = tell, .context = &teller};
    stage_model(&trial, false);
    BUG_IF(!trial.model, "the second reading of a spec failed");
    stage_passes(&trial);
    for (int mode = 0; mode < MODEL_MODES && !trial.stopped; mode++) {
        Graph *g = trial.model->mode[mode].graph;
        teller.program = g ? g->name : "";
        if (g && tune_graph(g, &record[mode], &c->target, c->wisdom, &how) < 0) {
            fprintf(stderr, "netc: warning: no memory to measure the program '%s'\n", g->name);
            break;
        }
    }
    arena_free(trial.tmp);
    arena_free(trial.keep);
    return NETC_OK;
}
