/* driver_stages.h: the stages behind the parser, as the driver calls them.
 *
 * Each stage is one function of another room (front/model.h, passes/passes.h, codegen/codegen.h),
 * reached through a weak reference: a build that lacks a room still checks syntax and prints trees, and
 * says plainly what it lacks.
 */
#ifndef DRIVER_STAGES_H
#define DRIVER_STAGES_H

#include "codegen/codegen.h"
#include "driver.h"
#include "ir/cost.h"
#include "ops/onnx_write.h"

/* A program's code is made in that many modules, by as many threads as the machine has.  More than
 * usual machines have threads: who is done early takes the next one.  The number is fixed, so that
 * the files do not depend on the machine that compiles. */
enum { MODEL_PARTS = 12 };

/* One spec on its way. */
typedef struct Compile {
    Arena *keep, *tmp;
    const Options *options;
    Sources *sources;
    DiagCtx *diag;
    Ast *ast;
    Model *model;
    Target target;
    PassCtx pass[MODEL_MODES];
    PlanOptions plan[MODEL_MODES]; /* behind pass[].options */
    OnnxGraph onnx;                /* stage_passes: the network before them */
    Wisdom *wisdom;                /* stage_wisdom; NULL: none for this target */
    const char *wisdom_path;       /* NULL: nowhere to keep it */
    bool tuned;
    PlanRecord *record;            /* [MODEL_MODES]: --tune's record of choices, or NULL */
    bool stopped; /* --stop-after was reached: everything asked for has been done */
    Emit *emit;
    const char *object[MODEL_PARTS]; /* stage_objects */
} Compile;

bool stage_model_exists(void);
/* sema and build: fills c->model; false after reported errors. */
bool stage_model(Compile *c, bool forward_only);
/* Every net and every variant of the spec, unless --net, --variant or -D chose; errors are reported. */
void stage_check_all(Compile *c);
void stage_describe(const Compile *c, FILE *out);
/* Sets c->target from --target-cpu or the default given. */
int stage_target(Compile *c, const char *fallback);
/* Reads what was measured on this machine before (target native; driver_tune.c). */
void stage_wisdom(Compile *c);
/* --tune: measures what the plan can choose between and adds it to the wisdom. */
int stage_tune(Compile *c);
/* All passes over all graphs of the model, then the parameters' places; sets c->stopped. */
void stage_passes(Compile *c);
/* The LLVM module of the planned model, before optimisation; symbol is the exported rt_model. */
void stage_module(Compile *c, const char *symbol);
void stage_optimize(Compile *c);
void stage_end(Compile *c); /* what LLVM holds of the module goes */
/* EMIT_LL, EMIT_ASM, EMIT_OBJ to a path ("-" = stdout, not for objects). */
void stage_write(Compile *c, EmitKind kind, const char *path);
/* The planned model as object files in the temporary folder: c->object. */
void stage_objects(Compile *c, const char *symbol);
void stage_link(Compile *c, LinkKind kind, const char *output);
void stage_link_both(Compile *c, const char *output, const char *viz);
void stage_header(Compile *c, const char *name, FILE *out);
void stage_print_graph(Compile *c, EmitKind kind, FILE *out); /* EMIT_GRAPH, EMIT_DOT, EMIT_PLAN */
/* --run-pass: text of a graph in, one pass, text out. */
int stage_run_pass(Compile *c, const char *text, FILE *out);
void stage_help_passes(FILE *out);
bool stage_pass_exists(const char *name);
bool stage_explain_op(const char *name, FILE *out); /* false: no such operation */
void stage_list_ops(FILE *out);
const char *stage_nearest_op(const char *word);
/* ---- programs compiled before (driver_cache.c) ---- */
/* Where `netc run` keeps the program `name` of this model, netc and machine; NULL: no cache folder. */
const char *cache_path(const Compile *c, const char *name);
bool cache_has(const char *program); /* is it there?  Marks it as used. */

int verb_import(Compile *c); /* driver_import.c */

void stage_host(FILE *out); /* "host: ..." lines of --version */

#endif
