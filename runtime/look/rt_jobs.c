/* rt_jobs.c: the verb `all`, and the jobs that it and the report run (rt_jobs.h).
 *
 * A job is parsed by the table of its verb, as if it were typed.  Options that a technique keeps are
 * put back behind each job, so that a job says everything about itself and their order means nothing.
 */
#include "rt_jobs.h"

#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"


/* What says something about every network, in the order of a report.  Verbs that this program does
 * not have are left out; --limit on the command line takes the place of the limits here. */
#define JOB(name, ...)                                                                             \
    {                                                                                              \
        name, (const char *const[]){__VA_ARGS__},                                                  \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)                            \
    }
static const rt_job everything[] = {
    JOB("filters", "filters"),
    JOB("activations", "activations"),
    JOB("field", "field"),
    JOB("deconv", "deconv", "--limit=10000"),
    JOB("occlude", "occlude"),
    JOB("saliency", "saliency"),
    JOB("guided", "guided"),
    JOB("smoothgrad", "smoothgrad"),
    JOB("integrated", "integrated"),
    JOB("gradxinput", "gradxinput"),
    JOB("lrp", "lrp"),
    JOB("gradcam", "gradcam"),
    JOB("maximize", "maximize"),
    JOB("embed", "embed", "--limit=300"),
    JOB("errors", "errors", "--limit=10000"),
};

const rt_job *rt_jobs_of(const rt_model *model, int *count, int *own) {
    *own = model->njobs > 0;
    *count = *own ? (int)model->njobs : (int)(sizeof everything / sizeof *everything);
    return *own ? model->job : everything;
}

/* ---- options that techniques keep ---- */

typedef union Kept {
    int flag;
    int64_t whole;
    double real;
    const char *text;
} Kept;

static size_t kept_size(const rt_arg *a) {
    switch (a->kind) {
    case RT_ARG_FLAG:
    case RT_ARG_CHOICE: return sizeof(int);
    case RT_ARG_INT: return sizeof(int64_t);
    case RT_ARG_REAL: return sizeof(double);
    case RT_ARG_TEXT:
    case RT_ARG_MAYBE: return sizeof(char *);
    case RT_ARG_REST: break;
    }
    return 0;
}

/* put: 0 remembers, 1 puts back. */
static void keep(const rt_technique *t, Kept *kept, int put) {
    for (int i = 0; i < t->nargs && i < RT_VIZ_ARGS; i++) {
        void *dst = t->arg[i].dst;
        size_t n = dst ? kept_size(&t->arg[i]) : 0;
        if (n && put)
            memcpy(dst, &kept[i], n);
        else if (n)
            memcpy(&kept[i], dst, n);
    }
}

/* ---- one job ---- */

/* A word of a command line, quoted where a shell would take it apart. */
static void add_word(char *to, size_t size, const char *word) {
    size_t n = strlen(to), len = strlen(word);
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_=./,:+%@";
    int quote = len == 0 || strspn(word, plain) != len;
    if (n + len + 4 < size)
        snprintf(to + n, size - n, quote ? " '%s'" : " %s", word);
}

static void add_number(char *to, size_t size, const char *option, int64_t value) {
    char word[64];
    snprintf(word, sizeof word, "--%s=%lld", option, (long long)value);
    add_word(to, size, word);
}

static void write_command(const rt_viz *v, const rt_job *job, char *to, size_t size) {
    char word[600];
    snprintf(to, size, "./%.100s", v->cli.program);
    for (int64_t i = 0; i < job->nargs; i++)
        add_word(to, size, job->arg[i]);
    if (v->cli.weights) {
        snprintf(word, sizeof word, "--weights=%.500s", v->cli.weights);
        add_word(to, size, word);
    }
    if (v->cli.data) {
        snprintf(word, sizeof word, "--data=%.500s", v->cli.data);
        add_word(to, size, word);
    }
    if (v->layers) {
        snprintf(word, sizeof word, "--layer=%.500s", v->layers);
        add_word(to, size, word);
    }
    if (v->maps) {
        snprintf(word, sizeof word, "--maps=%.500s", v->maps);
        add_word(to, size, word);
    }
    if (v->sample >= 0)
        add_number(to, size, "image", v->sample);
    if (v->target >= 0)
        add_number(to, size, "class", v->target);
    if (v->limit > 0)
        add_number(to, size, "limit", v->limit);
    if (v->cli.seed >= 0)
        add_number(to, size, "seed", v->cli.seed);
    if (v->cli.partial)
        add_word(to, size, "--partial");
}

/* Moves the files of one job behind those of the jobs before. */
static void take_files(rt_viz *v, const rt_viz *from, rt_done *done) {
    done->first = v->nmade;
    for (int i = 0; i < from->nmade && v->nmade < RT_MADE_MAX; i++)
        v->made[v->nmade++] = from->made[i];
    done->count = v->nmade - done->first;
}

static int no_verb(const char *verb, rt_error *err) {
    const char *word[RT_VIZ_VERBS];
    const char *near = rt_nearest(verb, word, rt_viz_verbs(word));
    return rt_fail(err, NETRT_EUSAGE, "unknown verb '%s'%s%s%s\nhelp: --help lists the verbs", verb,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

void rt_job_run(rt_viz *v, const rt_job *job, rt_done *done) {
    char out[4200];
    Kept kept[RT_VIZ_ARGS];
    *done = (rt_done){.job = *job, .technique = rt_viz_technique(job->arg[0])};
    write_command(v, job, done->command, sizeof done->command);
    if (!done->technique) {
        no_verb(job->arg[0], &done->error);
        return;
    }
    if (!v->made)
        v->made = rt_alloc_zero(RT_MADE_MAX, sizeof *v->made, "list of files", &done->error);
    if (done->error.code)
        return;
    snprintf(out, sizeof out, "%.4000s/%.150s", v->cli.out, job->name);
    rt_viz inner = {.cli = v->cli, .sample = v->sample, .target = v->target, .limit = v->limit,
                    .layers = v->layers, .maps = v->maps};
    inner.cli.out = out;
    inner.cli.ds = NULL;
    inner.cli.skipped = 0;
    keep(done->technique, kept, 0);
    rt_viz_run(&inner, done->technique, (int)job->nargs - 1,
               (char **)(uintptr_t)(job->arg + 1), &done->error);
    keep(done->technique, kept, 1);
    v->cli.skipped += inner.cli.skipped;
    take_files(v, &inner, done);
    rt_viz_close(&inner);
}

int rt_jobs_run(rt_viz *v, rt_done *done, rt_error *err) {
    int count, own;
    const rt_job *job = rt_jobs_of(v->cli.model, &count, &own);
    rt_error first = {0};
    for (int i = 0; i < count && !err->code; i++) {
        if (!own && !rt_viz_technique(job[i].arg[0])) {
            done[i] = (rt_done){.job = job[i]};
            continue;
        }
        rt_job one = job[i];
        if (!own && v->limit > 0 && strncmp(one.arg[one.nargs - 1], "--limit=", 8) == 0)
            one.nargs--;
        rt_job_run(v, &one, &done[i]);
        const rt_error *e = &done[i].error;
        if (e->code == NETRT_EUSAGE) {
            if (own && !first.code)
                rt_fail(&first, e->code, "%s: %s", job[i].name, e->text);
            rt_note(&v->cli.progress, "%s: not shown: %.*s", job[i].name,
                    (int)strcspn(e->text, "\n"), e->text);
        } else if (e->code) {
            rt_fail(err, e->code, "%s: %s", job[i].name, e->text);
        }
    }
    if (!err->code && first.code)
        *err = first;
    return err->code;
}

/* ---- the verb ---- */

int rt_jobs_weights(rt_viz *v, char *room, size_t size, rt_error *err) {
    if (v->cli.weights)
        return NETRT_OK;
    return rt_cli_default_weights(&v->cli, "run", room, size, err);
}

static int run_all(rt_viz *v, const char **operands, int n, rt_error *err) {
    char weights[4200];
    int count, own;
    if (n)
        return rt_fail(err, NETRT_EUSAGE, "all takes no file\nhelp: --data=%s", operands[0]);
    rt_jobs_of(v->cli.model, &count, &own);
    rt_done *done = rt_alloc_zero((size_t)count, sizeof *done, "list of jobs", err);
    if (done && rt_jobs_weights(v, weights, sizeof weights, err) == 0)
        rt_jobs_run(v, done, err);
    rt_free(done);
    return err->code;
}

const rt_technique rt_technique_all = {
    {"all", "what the visualize section names, or a bit of everything", "[OPTIONS]",
     "all\nall --weights=run/best.safetensors --image=7 --out=pictures"},
    run_all, NULL, 0};

/* ---- for the compiler ---- */

int rt_viz_words(const char **verb, rt_arg table[RT_VIZ_ARGS], int at) {
    rt_viz v = {.sample = -1};
    const char *word[RT_VIZ_VERBS];
    if (at >= rt_viz_verbs(word))
        return -1;
    *verb = word[at];
    return rt_viz_args(&v, rt_viz_technique(word[at]), table);
}
