/* sema_jobs.c: the section visualize: each job becomes a command line of NAME-viz.
 *
 * NAME: VERB(c3, "cat.jpg", maps = [0, 3], steps = 100): layers and files stand by themselves, options
 * by their names (with _ for -).  Verbs, options and the values they take come from the tables of the
 * program itself (viz_words.inc, made while netc is built), and are checked by its own parser.
 *
 * requires: a finished first walk (labels).  ensures: Model.job; layers exist, options parse.
 */
#include <string.h>

#include "front/sema.h"
#include "rt_args.h"

typedef struct VizVerb {
    const char *name;
    const rt_arg *arg;
    int nargs;
} VizVerb;

/* Where parsed values go: only whether they parse matters. */
static union {
    int flag;
    int64_t whole;
    double real;
    const char *text;
} viz_sink;

#include "viz_words.inc"

enum { VERBS = sizeof viz_verbs / sizeof *viz_verbs };
static const char *const not_jobs[] = {"report", "all", "serve"};
static const char *const old_names[][2] = {
    {"weight_grid", "filters"},  {"deconvnet", "deconv"},
    {"top_patches", "deconv"},   {"gradient", "saliency"},
    {"grad_cam", "gradcam"},     {"integrated_gradients", "integrated"},
    {"ascend", "maximize"},
};

typedef struct Job {
    Build *b;
    const VizVerb *verb;
    StrBuf layers;
    VEC(const char *) arg;
    bool bad;
} Job;

static const VizVerb *find_verb(Build *b, const Ast *callee, const char *name) {
    const char *word[VERBS];
    int words = 0;
    for (int i = 0; i < VERBS; i++) {
        bool job = true;
        for (size_t k = 0; k < sizeof not_jobs / sizeof *not_jobs; k++)
            job &= !eq(viz_verbs[i].name, not_jobs[k]);
        if (job && eq(viz_verbs[i].name, name))
            return &viz_verbs[i];
        if (job)
            word[words++] = viz_verbs[i].name;
    }
    Diag *d = diag_error(b->diag, callee->loc, "E0104", "unknown visualization '%s'", name);
    for (size_t i = 0; i < sizeof old_names / sizeof *old_names; i++)
        if (eq(old_names[i][0], name)) {
            diag_suggest(d, callee->loc, old_names[i][1]);
            return NULL;
        }
    diag_suggest(d, callee->loc, nearest_name(name, word, words));
    return NULL;
}

/* ---- layers ---- */

static void add_layer(Job *j, const char *label) {
    sb_printf(&j->layers, "%s%s", j->layers.length ? "," : "", label);
}

static void no_layer(Job *j, const Val *v) {
    Build *b = j->b;
    const char **all = ARENA_ARRAY(b->arena, b->order.len + 1, const char *);
    for (int i = 0; i < b->order.len; i++)
        all[i] = b->order.data[i]->name;
    j->bad = true;
    if (v->kind == V_BAD)
        return;
    Diag *d = diag_error(b->diag, v->loc, "E0114", "no layer '%s'", val_text(b->arena, v));
    if (v->kind == V_NAME)
        diag_suggest(d, v->loc, nearest_name(v->text, all, b->order.len));
}

/* c1, [c1, c3], c1..c3, "conv*" */
static void layers_of(Job *j, const Val *v) {
    Build *b = j->b;
    size_t before = j->layers.length;
    int at = label_order(b, v);
    if (v->kind == V_LIST) {
        for (int i = 0; i < v->n; i++)
            layers_of(j, &v->at[i]);
    } else if (v->kind == V_STR) {
        for (int i = 0; i < b->order.len; i++)
            if (glob_match(v->text, b->order.data[i]->name))
                add_layer(j, b->order.data[i]->name);
    } else if (v->kind == V_RANGE) {
        int from = label_order(b, &v->at[0]), to = label_order(b, &v->at[1]);
        for (int i = from; from >= 0 && i <= to; i++)
            add_layer(j, b->order.data[i]->name);
    } else if (at >= 0) {
        add_layer(j, b->order.data[at]->name);
    }
    if (!j->bad && j->layers.length == before)
        no_layer(j, v);
}

/* ---- options ---- */

static const rt_arg *find_arg(const VizVerb *verb, const char *name) {
    for (int i = 0; i < verb->nargs; i++)
        if (verb->arg[i].kind != RT_ARG_REST && eq(verb->arg[i].name, name))
            return &verb->arg[i];
    return NULL;
}

static const char *option_name(Build *b, const char *name) {
    char *s = arena_strdup(b->arena, name);
    for (char *p = s; *p; p++)
        if (*p == '_')
            *p = '-';
    return s;
}

/* 3, yes, deep, "x", [0, 3, 8]: as it stands behind the =. */
static const char *value_text(Job *j, const Val *v) {
    Arena *arena = j->b->arena;
    if (v->kind == V_LIST) {
        StrBuf t = sb_new(arena);
        for (int i = 0; i < v->n; i++)
            sb_printf(&t, "%s%s", i ? "," : "", value_text(j, &v->at[i]));
        return t.text;
    }
    if (v->kind == V_CALL || v->kind == V_BAD || v->kind == V_RANGE) {
        if (v->kind != V_BAD)
            diag_error(j->b->diag, v->loc, "E0111", "an option takes a number, a word, a text in "
                       "quotes or a list of them");
        j->bad = true;
        return "";
    }
    if (v->kind == V_NUM && *v->unit) {
        diag_error(j->b->diag, v->loc, "E0125", "an option takes a plain number, not one in '%s'",
                   v->unit);
        j->bad = true;
    }
    return v->kind == V_STR ? v->text : val_text(arena, v);
}

/* --name=value, if the program would take it. */
static void add_option(Job *j, const Ast *at, const char *name, const Val *v) {
    const rt_arg *a = find_arg(j->verb, name);
    const char *word = arena_printf(j->b->arena, "--%s=%s", name, value_text(j, v));
    rt_error err = {0};
    int n, help;
    if (j->bad)
        return;
    if (a && a->kind == RT_ARG_FLAG && v->kind == V_BOOL) {
        if (v->num == 0)
            return;
        word = arena_printf(j->b->arena, "--%s", name);
    }
    const char *operand[2];
    char *argv[1] = {arena_strdup(j->b->arena, word)};
    if (eq(name, "out"))
        rt_fail(&err, NETRT_EUSAGE, "a job's files go to a folder of its name");
    else
        rt_args_parse(j->verb->arg, j->verb->nargs, 1, argv, operand, &n, &help, &err);
    if (err.code) {
        diag_help(diag_error(j->b->diag, at->loc, "E0106", "%s: %s", j->verb->name, err.text),
                  "`NAME-viz %s --help` lists the options", j->verb->name);
        j->bad = true;
        return;
    }
    vec_push(j->b->arena, &j->arg, word);
}

static void add_arg(Job *j, const Setting *s, const Ast *arg) {
    Val v = expr_eval(j->b, s->scope, arg->arg.value);
    const char *name = arg->name ? option_name(j->b, arg->name) : NULL;
    if (v.kind == V_BAD)
        j->bad = true;
    else if (name && eq(name, "layer"))
        layers_of(j, &v);
    else if (name)
        add_option(j, arg, name, &v);
    else if (v.kind == V_STR)
        vec_push(j->b->arena, &j->arg, v.text);
    else
        layers_of(j, &v);
}

/* ---- jobs ---- */

static void one_job(Build *b, const Setting *s, ModelJob *out) {
    const char *method = s->value->name ? s->value->name : "?";
    Job j = {.b = b, .layers = sb_new(b->arena)};
    *out = (ModelJob){.name = s->key, .loc = s->key_loc};
    j.verb = find_verb(b, s->value->call.callee, method);
    if (!j.verb)
        return;
    vec_push(b->arena, &j.arg, j.verb->name);
    AST_EACH(a, s->value->call.args)
    add_arg(&j, s, a);
    if (j.layers.length)
        vec_push(b->arena, &j.arg, arena_printf(b->arena, "--layer=%s", j.layers.text));
    out->arg = j.arg.data;
    out->nargs = j.arg.len;
}

/* Does a later job have its name?  In a derived net it takes its place; in one section both would
 * write to one folder. */
static bool replaced(Build *b, int at) {
    const Setting *s = &b->net->settings.data[at];
    for (int i = at + 1; i < b->net->settings.len; i++) {
        const Setting *t = &b->net->settings.data[i];
        if (!eq(t->section, s->section) || !eq(t->key, s->key))
            continue;
        if (t->scope == s->scope)
            diag_note(diag_error(b->diag, t->key_loc, "E0113", "two jobs are called '%s'", t->key),
                      s->key_loc, "the first one");
        return true;
    }
    return false;
}

void sema_jobs(Build *b) {
    VEC(ModelJob) jobs = {0};
    for (int i = 0; i < b->net->settings.len; i++) {
        const Setting *s = &b->net->settings.data[i];
        ModelJob job;
        if (!eq(s->section, "visualize") || replaced(b, i))
            continue;
        if (!s->job || s->value->kind != AST_CALL) {
            diag_help(
                diag_error(b->diag, s->key_loc, "E0117", "visualize has no setting '%s'", s->key),
                "a job is written NAME: VERB(..)");
            continue;
        }
        one_job(b, s, &job);
        vec_push(b->arena, &jobs, job);
    }
    b->m->job = jobs.data;
    b->m->njobs = jobs.len;
}
