/* model.c: from a syntax tree to a Model: the order of semantic analysis on one screen.
 *
 * requires: a FILE without syntax errors.  ensures: a Model whose graphs every pass accepts, or
 * NULL and at least one error in `diag`.
 */
#include "front/model.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "front/sema.h"

/* Text of all files, the net's name and every override: two specs with one hash are the same net.
 */
static void hash_spec(Model *m, const ModelOptions *opt) {
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    for (int i = 0; opt->sources && i < sources_count(opt->sources); i++) {
        const SourceFile *f = sources_at(opt->sources, i);
        XXH3_128bits_update(&state, f->text, (size_t)f->size + 1);
    }
    XXH3_128bits_update(&state, m->name, strlen(m->name) + 1);
    for (int i = 0; i < opt->ndefine; i++) {
        XXH3_128bits_update(&state, opt->define[i].name, strlen(opt->define[i].name) + 1);
        XXH3_128bits_update(&state, opt->define[i].value, strlen(opt->define[i].value) + 1);
    }
    XXH128_hash_t h = XXH3_128bits_digest(&state);
    snprintf(m->hash, sizeof m->hash, "%016llx%016llx", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
}

static void totals(Build *b) {
    Model *m = b->m;
    m->layer = b->rows.data;
    m->nlayers = b->rows.len;
    for (int i = 0; i < m->nlayers; i++)
        m->macs += m->layer[i].macs;
    for (int i = 0; i < m->params.count; i++) {
        const Param *p = &m->params.at[i];
        if (!p->constant)
            *(p->frozen ? &m->frozen : &m->trainable) += p->trainable;
    }
}

Model *model_build(Arena *arena, DiagCtx *diag, Ast *file, const ModelOptions *options) {
    static const ModelOptions none = {0};
    Build *b = ARENA_NEW(arena, Build);
    int errors = diag_errors(diag);
    b->arena = arena;
    b->diag = diag;
    b->opt = options ? options : &none;
    b->m = ARENA_NEW(arena, Model);
    b->ast = file;
    b->file = ast_flatten_items(arena, file);
    b->blocks = map_new(arena);
    b->param_index = map_new(arena);
    if (!sema_net(b))
        return NULL;
    b->m->name = b->net->name;
    b->m->spec_file = file->file.path;
    for (int i = 0; b->opt->sources && i < sources_count(b->opt->sources); i++)
        if (eq(sources_at(b->opt->sources, i)->path, file->file.path))
            b->m->spec_text = sources_at(b->opt->sources, i)->text;
    hash_spec(b->m, b->opt);
    build_walk(b);
    if (!b->limit_hit) {
        sema_sections(b);
        sema_curvature(b);
        sema_jobs(b);
    }
    if (diag_errors(diag) > errors)
        return NULL;
    totals(b);
    b->diag = diag_ctx_new(arena, NULL); /* everything has been said */
    for (b->mode = MODEL_TRAIN; b->mode < MODEL_MODES && !b->opt->forward_only; b->mode++) {
        if (mode_trains(b->mode) && (b->net->losses.len == 0 || b->opt->no_train))
            continue;
        if (b->mode == MODEL_CURVATURE && b->m->train.optimizer != RT_SDLM)
            continue;
        if (b->mode == MODEL_ATTACK && b->m->train.adversary.kind == RT_ADVERSARY_NONE)
            continue;
        build_walk(b);
        BUG_IF(diag_errors(b->diag) > 0, "the %s graph has errors that the first walk did not see",
               b->g->name);
    }
    return b->m;
}

_Static_assert((int)PASS_ROOTS_MAX >= (int)OUTPUTS_MAX, "outputs are roots of projections");

void model_pass_ctx(const Model *m, int mode, PassCtx *ctx) {
    const ModelGraph *g = &m->mode[mode];
    ctx->train = mode == MODEL_TRAIN;
    ctx->look = mode == MODEL_LOOK;
    ctx->curvature = mode == MODEL_CURVATURE;
    ctx->attack = mode == MODEL_ATTACK;
    static const int update[] = {
        [RT_SGD] = OP_SGD, [RT_ADAM] = OP_ADAM, [RT_RMSPROP] = OP_RMSPROP, [RT_SDLM] = OP_SDLM,
        [RT_SLBI] = OP_SLBI, [RT_SLBI_GROUPS] = OP_SLBI_GROUPS};
    const rt_train_spec *t = &m->train;
    ctx->update = (struct PassUpdate){
        .op = update[t->optimizer],
        .nesterov = m->nesterov,
        .decoupled = t->decoupled,
        .eps_inside = t->eps_inside,
        .eps = t->eps,
        .clip_value = t->clip == RT_CLIP_VALUE,
        .clip_norm = t->clip == RT_CLIP_NORM};
    ctx->nlosses = g->nlosses;
    memcpy(ctx->losses, g->loss, sizeof g->loss);
    ctx->project_from = g->score;
    ctx->nalso = 0;
    for (int i = 1; i < m->noutputs; i++)
        if (m->output[i].score[mode] && graph_v(g->graph, m->output[i].score[mode])->batched)
            ctx->also_from[ctx->nalso++] = m->output[i].score[mode];
    ctx->nseeds = g->nseeds < PASS_SEEDS_MAX ? g->nseeds : PASS_SEEDS_MAX;
    for (int i = 0; i < ctx->nseeds; i++) {
        ctx->seeds[i] = g->seed[i].value;
        ctx->seed_label[i] = g->seed[i].label;
    }
}
