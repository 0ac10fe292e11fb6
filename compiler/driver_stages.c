/* driver_stages.c: calls the stages behind the parser (driver_stages.h).
 *
 * requires: stages are called in the order of driver_stages.h.
 * ensures:  failures of the world end the run through fatal() with the right exit code.
 */
#define _GNU_SOURCE
#include "driver_stages.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "base/bug.h"
#include "base/str.h"
#include "emit/machine.h"
#include "emit/target.h"
#include "front/explain.h"
#include "ir/op.h"

/* Absent rooms of an unfinished build are NULL instead of link errors. */
#pragma weak model_build
#pragma weak model_names
#pragma weak model_pass_ctx
#pragma weak model_describe
#pragma weak model_describe_json
#pragma weak passes_run
#pragma weak passes_help
#pragma weak pass_exists
#pragma weak pass_run_one
#pragma weak params_place
#pragma weak plan_json
#pragma weak plan_print
#pragma weak graph_print
#pragma weak graph_dot
#pragma weak graph_toposort
#pragma weak graph_parse
#pragma weak codegen_module
#pragma weak codegen_split
#pragma weak codegen_part
#pragma weak emit_objects
#pragma weak link_model
#pragma weak header_print
#pragma weak emit_finish
#pragma weak emit_object
#pragma weak emit_asm
#pragma weak emit_ll
#pragma weak emit_free
#pragma weak emit_host_cpu
#pragma weak target_find
#pragma weak op_find
#pragma weak op_name
#pragma weak op_def
#pragma weak op_flags

static _Noreturn void missing(const char *what) {
    fatal(NETC_BUG, "this build of netc has no %s", what);
}

bool stage_model_exists(void) {
    return model_build != NULL;
}

static bool build_model(Compile *c, const char *net, bool forward_only) {
    const Options *o = c->options;
    ModelOptions options = {.sources = c->sources,
                            .net = net,
                            .variant = o->variant,
                            .define = o->defines,
                            .ndefine = o->define_count,
                            .strict_shapes = o->strict_shapes,
                            .forward_only = forward_only,
                            .no_train = o->weights == 1};

    if (!model_build)
        missing("semantic analysis");
    bug_context("checking the network");
    c->model = model_build(c->keep, c->diag, c->ast, &options);
    bug_context(NULL);
    return c->model != NULL;
}

bool stage_model(Compile *c, bool forward_only) {
    return build_model(c, c->options->net, forward_only);
}

void stage_check_all(Compile *c) {
    const Options *o = c->options;
    const char **names = NULL;
    int count = 0;

    if (!model_names)
        missing("semantic analysis");
    if (!o->net && !o->variant && !o->define_count)
        count = model_names(c->keep, c->ast, &names);
    if (count < 2) {
        stage_model(c, true);
        return;
    }
    for (int i = 0; i < count; i++)
        build_model(c, names[i], true);
}

void stage_describe(const Compile *c, FILE *out) {
    if (!model_describe || !model_describe_json)
        missing("layer table");
    if (c->options->json)
        model_describe_json(c->model, out);
    else
        model_describe(c->model, out);
}

static void native_speed(Compile *c) {
    static const char *const news[] = {"remembered", "measured", "measured, but cannot be saved",
                                       "cannot be measured; typical ones are taken"};
    MachineNews n = machine_speed(c->keep, &c->target);
    const struct Speed *s = &c->target.speed;
    if (c->options->verbose)
        fprintf(stderr,
                "speeds of this machine (%s): %.1f GFLOP/s, L2 %.0f GB/s, L3 %.0f GB/s a thread; "
                "memory %.0f GB/s, one thread %.0f; %d threads\n",
                news[n], s->flops * 1e-9, s->l2 * 1e-9, s->l3 * 1e-9, s->dram * 1e-9,
                s->dram_one * 1e-9, s->threads);
}

int stage_target(Compile *c, const char *fallback) {
    char why[256];
    const char *name = c->options->target ? c->options->target : fallback;

    if (!target_find)
        missing("table of targets");
    if (target_find(c->keep, name, &c->target, why, sizeof why)) {
        if (strcmp(name, "native") == 0)
            native_speed(c);
        return NETC_OK;
    }
    fprintf(stderr, "netc: error: %s\n", why);
    return NETC_USAGE;
}

/* Training is planned for the spec's batch, what looks at pictures for one of them. */
static void plan_options(Compile *c, int mode, PlanOptions *plan) {
    const Options *o = c->options;
    int64_t spec = c->model && mode_trains(mode) ? c->model->train.batch : 1;
    *plan = (PlanOptions){.exact = o->exact,
                          .bf16 = o->weights == 1,
                          .memory = o->memory,
                          .wisdom = c->wisdom,
                          .record = c->record ? &c->record[mode] : NULL};
    plan->batch = o->batch ? o->batch : spec > 0 && spec < INT_MAX ? (int)spec : 1;
}

static void prepare_pass(Compile *c, int mode, PassCtx *pass) {
    plan_options(c, mode, &c->plan[mode]);
    pass->options = &c->plan[mode];
    pass->tmp = c->tmp;
    pass->lanes = mode != MODEL_CURVATURE;
    pass->target = &c->target;
    pass->dump = c->options->dump;
    pass->stop_after = c->options->stop_after;
    pass->time = c->options->time_passes;
    pass->verify = true;
    pass->dump_file = stdout;
}

/* What --memory led to; its units are powers of two. */
static void report_memory(const Compile *c, int mode, const struct PassMemory *m) {
    const double mb = 1 << 20;
    const char *what = mode == MODEL_ATTACK ? "the attack in training" : "training";
    if (m->failed)
        fatal(NETC_LIMIT,
              "%s does not fit into %.1f MB; the least found is %.1f MB, without recomputing "
              "%.1f\nhelp: a larger --memory or a smaller --batch",
              what, (double)c->options->memory / mb, (double)m->least / mb, (double)m->before / mb);
    if (m->after > 0 && !c->options->quiet)
        fprintf(stderr,
                "netc: %s takes %.1f MB instead of %.1f: recomputing adds %.4g GFLOP, %.1f %% of "
                "a step\n",
                what, (double)m->after / mb, (double)m->before / mb, m->flops * 1e-9, 100 * m->slower);
}

/* As the front end built it: operations of the language, composites whole. */
static void say_onnx(Compile *c) {
    const Model *m = c->model;
    const ModelGraph *g = &m->mode[MODEL_FORWARD];
    OnnxStart input[8] = {0};
    for (int i = 0; i < m->ninputs && i < 8; i++)
        input[i] = (OnnxStart){m->input[i].name, m->input[i].line};
    OnnxEnd end[OUTPUTS_MAX];
    for (int i = 0; i < m->noutputs; i++)
        end[i] = (OnnxEnd){i == 0 && m->output_name && *m->output_name ? m->output_name
                                                                        : m->output[i].name,
                           m->output[i].value[MODEL_FORWARD], m->output[i].shape.rank == 2};
    c->onnx = onnx_graph(c->keep, g->graph, &m->params, end, m->noutputs, input);
}

void stage_passes(Compile *c) {
    if (!passes_run || !model_pass_ctx || !params_place)
        missing("optimiser");
    if (c->model->mode[MODEL_FORWARD].graph)
        say_onnx(c);
    for (int mode = 0; mode < MODEL_MODES; mode++) {
        if (!c->model->mode[mode].graph)
            continue;
        model_pass_ctx(c->model, mode, &c->pass[mode]);
        prepare_pass(c, mode, &c->pass[mode]);
        if (!passes_run(c->model->mode[mode].graph, &c->pass[mode]))
            c->stopped = true;
        report_memory(c, mode, &c->pass[mode].memory);
    }
    if (!c->stopped)
        params_place(&c->model->params);
}

/* What the program asks of the processor before it starts (rt_model.cpu_needs). */
static const char *cpu_needs(const Target *t) {
    if (t->broadcast_load)
        return "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq";
    if (strcmp(t->name, "x86-64-v3") == 0)
        return "avx2,fma,bmi,bmi2";
    if (t->vector == 8)
        return "avx2,fma";
    return strcmp(t->name, "x86-64-v2") == 0 ? "sse4.2,ssse3,popcnt" : "";
}

static CodegenInput codegen_input(const Compile *c, const char *symbol, int parts) {
    return (CodegenInput){.model = c->model,
                          .ctx = c->pass,
                          .target = &c->target,
                          .symbol = symbol,
                          .cpu_needs = cpu_needs(&c->target),
                          .parts = parts,
                          .onnx = &c->onnx};
}

void stage_module(Compile *c, const char *symbol) {
    CodegenInput input = codegen_input(c, symbol, 1);

    if (!codegen_module)
        missing("code generator");
    bug_context("generating code");
    c->emit = codegen_module(c->keep, &input);
    bug_context(NULL);
}

void stage_end(Compile *c) {
    if (c->emit)
        emit_free(c->emit);
    c->emit = NULL;
}

void stage_optimize(Compile *c) {
    char why[1024];

    if (!emit_finish)
        missing("code generator");
    if (!emit_finish(c->emit, c->options->opt_level, why, sizeof why))
        BUG("%s", why);
}

void stage_write(Compile *c, EmitKind kind, const char *path) {
    char why[1024] = "";
    bool ok = false;

    if (!emit_object || !emit_asm || !emit_ll)
        missing("code generator");
    if (kind == EMIT_OBJ)
        ok = emit_object(c->emit, path, why, sizeof why);
    else if (kind == EMIT_ASM)
        ok = emit_asm(c->emit, path, why, sizeof why);
    else
        ok = emit_ll(c->emit, path, why, sizeof why);
    if (!ok)
        fatal(NETC_IO, "%s", why);
}

static Emit *make_part(void *user, Arena *keep, int part) {
    return codegen_part(keep, user, part);
}

void stage_objects(Compile *c, const char *symbol) {
    CodegenInput input = codegen_input(c, symbol, MODEL_PARTS);
    char why[1024];

    if (!codegen_split || !codegen_part || !emit_objects)
        missing("code generator");
    bug_context("generating code");
    EmitJob job = {.make = make_part,
                   .user = codegen_split(c->keep, &input),
                   .path = c->object,
                   .count = MODEL_PARTS,
                   .level = c->options->opt_level};
    for (int i = 0; i < MODEL_PARTS; i++)
        c->object[i] = temp_path(c->keep, arena_printf(c->keep, "%s-%d.o", symbol, i));
    if (!emit_objects(&job, why, sizeof why))
        fatal(NETC_IO, "%s", why);
    bug_context(NULL);
}

static LinkPlan link_plan(const Compile *c, const char *output) {
    if (!link_model)
        missing("linker");
    return (LinkPlan){.object = c->object,
                      .objects = MODEL_PARTS,
                      .output = output,
                      .verbose = c->options->verbose};
}

void stage_link(Compile *c, LinkKind kind, const char *output) {
    char why[4096];
    LinkPlan plan = link_plan(c, output);

    if (!link_model(&plan, kind, why, sizeof why))
        fatal(NETC_IO, "cannot link '%s': %s", output, why);
}

typedef struct VizLink {
    LinkPlan plan;
    bool ok;
    char why[4096];
} VizLink;

static void *link_viz(void *arg) {
    VizLink *v = arg;
    v->ok = link_model(&v->plan, LINK_VIZ, v->why, sizeof v->why);
    return NULL;
}

/* Both programs at the same time: linking is mostly waiting for the linker. */
void stage_link_both(Compile *c, const char *output, const char *viz) {
    char why[4096];
    VizLink other = {.plan = link_plan(c, viz)};
    LinkPlan plan = link_plan(c, output);
    pthread_t thread;
    bool started = pthread_create(&thread, NULL, link_viz, &other) == 0;
    bool ok = link_model(&plan, LINK_MAIN, why, sizeof why);

    if (started)
        pthread_join(thread, NULL);
    else
        link_viz(&other);
    if (!ok)
        fatal(NETC_IO, "cannot link '%s': %s", output, why);
    if (!other.ok)
        fatal(NETC_IO, "cannot link '%s': %s", viz, other.why);
}

void stage_header(Compile *c, const char *name, FILE *out) {
    if (!header_print)
        missing("header writer");
    header_print(c->model, name, out);
}

void stage_print_graph(Compile *c, EmitKind kind, FILE *out) {
    const Graph *graph = c->model->mode[c->options->mode].graph;

    if (!graph_print || !graph_dot || !plan_print || !plan_json)
        missing("graph printer");
    if (!graph)
        fatal(NETC_USAGE, "'%s' has no %s program", c->model->name,
              c->options->mode == MODEL_TRAIN ? "training (it has no loss)" : "such");
    if (graph->norder == 0)
        graph_toposort(c->model->mode[c->options->mode].graph);
    if (kind == EMIT_DOT)
        graph_dot(graph, out);
    else if (kind == EMIT_PLAN)
        (c->options->json ? plan_json : plan_print)(graph, &c->target, out);
    else
        graph_print(graph, out);
}

int stage_run_pass(Compile *c, const char *text, FILE *out) {
    const char *error = NULL;
    PassCtx pass = {0};

    if (!graph_parse || !pass_run_one || !graph_print)
        missing("graph reader");
    if (!stage_pass_exists(c->options->run_pass)) {
        fprintf(stderr, "netc: error: unknown pass '%s'\nhelp: netc --help-passes lists them\n",
                c->options->run_pass);
        return NETC_USAGE;
    }
    Graph *graph = graph_parse(c->keep, text, &error);
    if (!graph) {
        fprintf(stderr, "netc: error: %s: %s\n", c->options->operands[0], error);
        return NETC_USAGE;
    }
    prepare_pass(c, c->options->mode, &pass);
    pass.train = c->options->mode == MODEL_TRAIN;
    pass.look = c->options->mode == MODEL_LOOK;
    pass.curvature = c->options->mode == MODEL_CURVATURE;
    pass.attack = c->options->mode == MODEL_ATTACK;
    if (!pass_run_one(graph, &pass, c->options->run_pass)) {
        fprintf(stderr, "netc: error: pass '%s' does not apply to a graph in this state\n",
                c->options->run_pass);
        return NETC_USAGE;
    }
    graph_print(graph, out);
    return NETC_OK;
}

void stage_help_passes(FILE *out) {
    fputs("  ast        the parser; print with: netc emit --as=ast\n"
          "  model      names, shapes, graphs; print with: netc emit --as=graph\n",
          out);
    if (passes_help)
        passes_help(out);
}

bool stage_pass_exists(const char *name) {
    return pass_exists && pass_exists(name);
}

/* ---- operations, for explain ---- */
static bool is_spec_op(int op) {
    return (op_flags[op] & OPF_U) != 0;
}

const char *stage_nearest_op(const char *word) {
    const char *names[OP_COUNT];
    int count = 0;

    for (int op = 1; op_find && op < OP_COUNT; op++)
        if (is_spec_op(op))
            names[count++] = op_name[op];
    return nearest_name(word, names, count);
}

static void explain_attr(const AttrDesc *attr, FILE *out) {
    if (attr->internal)
        return;
    fprintf(out, "  %-12s %s", attr->name, attr->doc ? attr->doc : "");
    if (attr->choices)
        fprintf(out, " (%s)", attr->choices);
    if (attr->dflt)
        fprintf(out, ", default %s", attr->dflt[0] ? attr->dflt : "none");
    else
        fputs(", required", out);
    fputc('\n', out);
}

bool stage_explain_op(const char *name, FILE *out) {
    int op = op_find ? op_find(name) : OP_NONE;

    if (op == OP_NONE || !is_spec_op(op) || !op_def[op])
        return false;
    const OpDef *def = op_def[op];
    fprintf(out, "%s: %s\n", name, def->title ? def->title : "");
    if (def->formula)
        fprintf(out, "\n    %s\n", def->formula);
    if (def->doc) {
        fputc('\n', out);
        explain_wrap(def->doc, out);
    }
    if (def->nattrs > 0)
        fputs("\narguments:\n", out);
    for (int i = 0; i < def->nattrs; i++)
        explain_attr(&def->attrs[i], out);
    if (def->theory) {
        fputs("\nsource:\n", out);
        explain_wrap(def->theory, out);
    }
    return true;
}

void stage_list_ops(FILE *out) {
    for (int op = 1; op_find && op < OP_COUNT; op++)
        if (is_spec_op(op) && op_def[op])
            fprintf(out, "%-16s %s\n", op_name[op], op_def[op]->title ? op_def[op]->title : "");
}

void stage_host(FILE *out) {
    char cpu[128] = "unknown", features[8192];

    if (emit_host_cpu)
        emit_host_cpu(cpu, sizeof cpu, features, sizeof features);
    fprintf(out, "LLVM 19, host %s\n", cpu);
}
