/* descriptor.c: builds the rt_model constant of runtime/rt_abi.h, field by field.
 *
 * Each function makes one struct; its fields stand in the order of the header, which the runtime
 * test of the ABI checks against offsets.  requires: kernels emitted, graphs planned.
 */
#include "codegen/descriptor.h"

#include <string.h>

#include "base/bug.h"
#include "ir/cost.h"
#include "ir/op.h"
#include "ops/attrs.h"
#include "ops/onnx_write.h"
#include "rt_abi.h"

_Static_assert(sizeof(rt_axis) == 32, "rt_axis");
_Static_assert(sizeof(rt_layout) == 8 + 8 * RT_MAX_DIMS + 32 * RT_MAX_AXES, "rt_layout");
_Static_assert(sizeof(rt_kernel) == 17 * 8, "rt_kernel: kernel_array writes every field");
_Static_assert(1 << PART_OTHER == RT_PART_OTHER && 1 << PART_WEIGHTS == RT_PART_WEIGHTS &&
                   1 << PART_MAX == RT_PART_MAX, "parts of a layer");
_Static_assert((int)RT_MAX_AXES == (int)LAYOUT_MAX_AXES && (int)RT_MAX_DIMS == (int)SHAPE_MAX_RANK,
               "layout sizes");
_Static_assert((int)RT_F32 == (int)DT_F32 && (int)RT_I32 == (int)DT_I32 && (int)RT_U8 == (int)DT_U8,
               "element types");
_Static_assert((int)RT_INIT_TABLE == (int)INIT_TABLE && (int)RT_INIT_ZERO == (int)INIT_ZERO,
               "initialisation rules");

/* A struct under construction. */
enum { FIELDS_MAX = 64 };
typedef struct Fields {
    Emit *e;
    Val at[FIELDS_MAX];
    int n;
} Fields;

static void put(Fields *f, Val v) {
    BUG_IF(f->n == FIELDS_MAX, "descriptor struct has too many fields");
    f->at[f->n++] = v;
}
static void put_i32(Fields *f, int64_t x) { put(f, em_c_i32(f->e, x)); }
static void put_i64(Fields *f, int64_t x) { put(f, em_c_i64(f->e, x)); }
static void put_f64(Fields *f, double x) { put(f, em_c_f64(f->e, x)); }
static void put_f32(Fields *f, double x) { put(f, em_c_f32(f->e, x)); }
static void put_text(Fields *f, const char *s) { put(f, em_c_string(f->e, s)); }
static Val done(Fields *f) { return em_c_struct(f->e, f->at, f->n); }

static Val fixed_i64(Emit *e, const int64_t *x, int n) {
    Val v[16];
    for (int i = 0; i < n; i++)
        v[i] = em_c_i64(e, x[i]);
    return em_c_fixed(e, v, n);
}

static Val fixed_i32(Emit *e, const int32_t *x, int n) {
    Val v[32];
    for (int i = 0; i < n; i++)
        v[i] = em_c_i32(e, x[i]);
    return em_c_fixed(e, v, n);
}

static Val axis_struct(Emit *e, const Axis *a) {
    Fields f = {.e = e};
    put_i32(&f, a->dim);
    put_i32(&f, 0);
    put_i64(&f, a->extent);
    put_i64(&f, a->mult);
    put_i64(&f, a->offset);
    return done(&f);
}

static Val layout_struct(Emit *e, const Layout *l, const Shape *s) {
    Axis axis[LAYOUT_MAX_AXES] = {0};
    int naxes = layout_axes(l, s, axis);
    int kept = 0;
    for (int i = 0; i < naxes; i++) /* dense weights have no taps: axes of one step say nothing */
        if (axis[i].mult > 0)
            axis[kept++] = axis[i];
    naxes = kept;
    for (int i = naxes; i < LAYOUT_MAX_AXES; i++)
        axis[i] = (Axis){0};
    Val axes[LAYOUT_MAX_AXES];
    for (int i = 0; i < LAYOUT_MAX_AXES; i++)
        axes[i] = axis_struct(e, &axis[i]);
    int64_t dim[SHAPE_MAX_RANK] = {0};
    memcpy(dim, s->dim, sizeof(int64_t) * (size_t)s->rank);
    Fields f = {.e = e};
    put_i32(&f, s->rank);
    put_i32(&f, naxes);
    put(&f, fixed_i64(e, dim, SHAPE_MAX_RANK));
    put(&f, em_c_fixed(e, axes, LAYOUT_MAX_AXES));
    return done(&f);
}

/* ---- programs ---- */

typedef struct Program {
    Emit *e;
    Arena *keep;
    const Graph *g;
    const ModelGraph *mg;
    const PassCtx *ctx;
    int32_t *tensor_of; /* ValueId -> index in tensors, -1 */
    int ntensors;
} Program;

static int pool_code(PoolKind pool) {
    switch (pool) {
    case POOL_ACT: return RT_POOL_ACT;
    case POOL_FIX: return RT_POOL_FIX;
    case POOL_PARAM: return RT_POOL_PARAM;
    case POOL_STATE: return RT_POOL_STATE;
    case POOL_NONE: break;
    }
    BUG("a stored value without a pool");
}

static Val tensor_struct(Program *p, const Value *v) {
    const Node *node = v->def ? graph_n(p->g, v->def) : NULL;
    Fields f = {.e = p->e};
    put_text(&f, v->name ? v->name : "");
    put_text(&f, node && node->label ? node->label : "");
    put_text(&f, node ? op_name[node->op] : "");
    put_i32(&f, (int)v->dtype);
    put_i32(&f, pool_code(v->pool));
    put_i64(&f, v->offset);
    put_i64(&f, v->batched ? v->bytes : 0);
    put_i64(&f, shape_frames(&v->shape));
    put(&f, layout_struct(p->e, &v->layout, &v->shape));
    return done(&f);
}

static bool is_switches(const Program *p, const Value *v) {
    return p->mg->nseeds > 0 && v->kind == VK_RESULT && v->def && v->def_index == 1 &&
           graph_n(p->g, v->def)->op == OP_MAXPOOL;
}

/* Everything that has a name and lives in memory can be looked at, switches too. */
static Val tensor_array(Program *p) {
    Val *item = ARENA_ARRAY(p->keep, p->g->nvalue, Val);
    p->tensor_of = ARENA_ARRAY(p->keep, p->g->nvalue, int32_t);
    for (ValueId id = 0; id < p->g->nvalue; id++) {
        const Value *v = graph_v(p->g, id);
        p->tensor_of[id] = -1;
        bool made = v->kind == VK_RESULT || v->kind == VK_SEED;
        if (id == 0 || !made || !v->stored ||
            !(v->name || v->keep || is_switches(p, v)))
            continue;
        if (v->pool != POOL_ACT && v->pool != POOL_FIX)
            continue;
        p->tensor_of[id] = p->ntensors;
        item[p->ntensors++] = tensor_struct(p, v);
    }
    return em_c_array(p->e, item, p->ntensors);
}

static int32_t tensor_index(const Program *p, ValueId v) {
    return v ? p->tensor_of[graph_resolve(p->g, v)] : -1;
}

static Val kernel_array(Program *p) {
    Val *item = ARENA_ARRAY(p->keep, p->g->nkernels + 1, Val);
    for (int i = 0; i < p->g->nkernels; i++) {
        const Kernel *k = &p->g->kernels[i];
        Fields f = {.e = p->e};
        put(&f, em_c_func(p->e, codegen_kernel_name(p->keep, p->g, i, p->g->name)));
        put_text(&f, k->name);
        put_text(&f, k->label ? k->label : "");
        put_text(&f, k->algorithm ? k->algorithm : "");
        put_i64(&f, k->tasks_per);
        put_i64(&f, k->tasks_block);
        put_i64(&f, kernel_frames(k));
        put_f64(&f, k->flops_image);
        put_f64(&f, k->flops_fixed);
        put_f64(&f, k->bytes_image);
        put_f64(&f, k->bytes_fixed);
        put_f64(&f, k->seconds_image);
        put_f64(&f, k->seconds_fixed);
        put_i64(&f, k->scratch);
        put_i64(&f, k->gap);
        put_i64(&f, k->gap_bytes);
        put_i64(&f, k->top);
        item[i] = done(&f);
    }
    return em_c_array(p->e, item, p->g->nkernels);
}

static Val entry_array(Program *p) {
    Val item[8];
    for (int i = 0; i < p->g->nentries; i++) {
        Fields f = {.e = p->e};
        put_text(&f, p->g->entry[i].name);
        put_i32(&f, p->g->entry[i].first);
        put_i32(&f, p->g->entry[i].count);
        item[i] = done(&f);
    }
    return em_c_array(p->e, item, p->g->nentries);
}

static Val seed_rule(Program *p, int rule, int seed) {
    const struct SeedInfo *info = p->ctx->seed_info[rule] ? &p->ctx->seed_info[rule][seed] : NULL;
    bool possible = info && seed < p->ctx->nseeds && info->diff && tensor_index(p, info->diff) >= 0;
    int32_t live[RT_MAX_LIVE] = {0};
    int nlive = 0;
    for (int i = 0; possible && i < info->nlive; i++) {
        int32_t t = tensor_index(p, info->live[i]);
        BUG_IF(t < 0, "a live tensor across a seed has no name");
        live[nlive++] = t;
    }
    Fields f = {.e = p->e};
    put_i32(&f, possible ? tensor_index(p, info->diff) : -1);
    put_i32(&f, possible ? info->first_kernel : 0);
    put_i32(&f, nlive);
    put(&f, fixed_i32(p->e, live, RT_MAX_LIVE));
    put_i32(&f, possible && info->rectified);
    return done(&f);
}

/* The kernel behind the last one that makes the layer or what walks from it read, 0: none does. */
static int32_t recorded_by(const Program *p, int seed) {
    const Value *v = graph_v(p->g, graph_resolve(p->g, p->mg->seed[seed].value));
    int32_t end = v->kind == VK_RESULT && v->def ? (int32_t)graph_n(p->g, v->def)->kernel : 0;
    for (int rule = RULE_GRADIENT; rule <= RULE_GUIDED && end; rule++) {
        const struct SeedInfo *info = p->ctx->seed_info[rule];
        if (info && seed < p->ctx->nseeds && info[seed].record_end > end)
            end = info[seed].record_end;
    }
    return end;
}

static Val seed_array(Program *p) {
    int n = p->mg->nseeds;
    Val *item = ARENA_ARRAY(p->keep, n + 1, Val);
    for (int i = 0; i < n; i++) {
        const ModelSeed *s = &p->mg->seed[i];
        Val rule[3] = {seed_rule(p, RULE_GRADIENT, i), seed_rule(p, RULE_DECONVNET, i),
                       seed_rule(p, RULE_GUIDED, i)};
        Fields f = {.e = p->e};
        put_text(&f, s->label);
        put_i32(&f, tensor_index(p, s->value));
        put_i32(&f, s->parts);
        put_i32(&f, s->leads);
        put_i32(&f, s->base);
        put_i32(&f, recorded_by(p, i));
        put_i32(&f, 0);
        put(&f, em_c_fixed(p->e, rule, 3));
        static const int64_t whole[2] = {0, 0};
        put(&f, fixed_i64(p->e, s->field.all ? whole : s->field.size, 2));
        put(&f, fixed_i64(p->e, s->field.jump, 2));
        put(&f, fixed_i64(p->e, s->field.start, 2));
        item[i] = done(&f);
    }
    return em_c_array(p->e, item, n);
}

static Val pool_array(const Program *p, int32_t *count) {
    Val *item = ARENA_ARRAY(p->keep, p->g->nvalue, Val);
    int n = 0;
    for (ValueId id = 1; id < p->g->nvalue; id++) {
        const Value *v = graph_v(p->g, id);
        if (p->tensor_of[id] < 0 || !is_switches(p, v))
            continue;
        const Node *node = graph_n(p->g, v->def);
        const PoolAttrs *a = node->attrs;
        Fields f = {.e = p->e};
        put_i32(&f, p->tensor_of[id]);
        put_i32(&f, 0);
        put(&f, fixed_i64(p->e, a->kernel, 2));
        put(&f, fixed_i64(p->e, a->stride, 2));
        put(&f, fixed_i64(p->e, (int64_t[2]){a->pad[0], a->pad[2]}, 2)); /* top, left */
        put(&f, fixed_i64(p->e, &graph_v(p->g, node->in[0])->shape.dim[1], 2));
        item[n++] = done(&f);
    }
    *count = n;
    return em_c_array(p->e, item, n);
}

static void put_program_arrays(Fields *f, Program *p) {
    Val tensors = tensor_array(p); /* first: fills tensor_of */
    put(f, kernel_array(p));
    put(f, entry_array(p));
    put(f, tensors);
    put(f, seed_array(p));
    put_i32(f, p->g->nkernels);
    put_i32(f, p->g->nentries);
    put_i32(f, p->ntensors);
    put_i32(f, p->mg->nseeds);
}

/* Where outputs lie in forward and in look. */
typedef struct OutputIndex {
    int32_t tensor[OUTPUTS_MAX], look[OUTPUTS_MAX], score[OUTPUTS_MAX];
} OutputIndex;

static void find_outputs(const Program *p, const Model *m, int mode, OutputIndex *index) {
    for (int i = 0; i < m->noutputs; i++) {
        const ModelOutput *o = &m->output[i];
        if (mode == MODEL_FORWARD) {
            index->tensor[i] = tensor_index(p, o->value[mode]);
            index->score[i] = o->measured ? tensor_index(p, o->score[mode]) : -1;
        }
        if (mode == MODEL_LOOK)
            index->look[i] = p->g ? tensor_index(p, o->score[mode]) : -1;
    }
}

static Val program_struct(Emit *e, Arena *keep, const CodegenInput *in, int mode,
                          OutputIndex *index) {
    static const char *const mode_name[] = {"forward", "train", "look", "curvature",
                                            "attack"};
    const ModelGraph *mg = &in->model->mode[mode];
    const Graph *g = mg->graph;
    Program p = {.e = e, .keep = keep, .g = g, .mg = mg, .ctx = &in->ctx[mode]};
    Fields f = {.e = e};
    put_text(&f, mode_name[mode]);
    put_i64(&f, g ? g->act_bytes : 0);
    put_i64(&f, g ? g->fix_bytes : 0);
    put_i64(&f, g ? g->scratch_bytes : 0);
    put_i64(&f, g ? g->act_lower_bound : 0);
    if (g) {
        put_program_arrays(&f, &p);
    } else {
        for (int i = 0; i < 4; i++)
            put(&f, em_c_null(e));
        for (int i = 0; i < 4; i++)
            put_i32(&f, 0);
    }
    int32_t image[3] = {-1, -1, -1}, loss[8] = {0};
    Val refused[3] = {em_c_null(e), em_c_null(e), em_c_null(e)};
    for (int r = 0; g && mode == MODEL_LOOK && r < 3; r++) {
        image[r] = tensor_index(&p, p.ctx->image_diff[RULE_GRADIENT + r]);
        refused[r] = em_c_string(e, p.ctx->refused[RULE_GRADIENT + r]);
    }
    if (g && mode == MODEL_ATTACK)
        image[0] = tensor_index(&p, p.ctx->image_diff[RULE_TRAIN]);
    int nlosses = g ? mg->nlosses : 0;
    for (int i = 0; i < nlosses; i++)
        loss[i] = tensor_index(&p, mg->loss[i]);
    find_outputs(&p, in->model, mode, index);
    put(&f, fixed_i32(e, image, 3));
    put_i32(&f, g ? tensor_index(&p, mg->score) : -1);
    put_i32(&f, g ? tensor_index(&p, mg->prob) : -1);
    put_i32(&f, nlosses);
    put(&f, fixed_i32(e, loss, 8));
    put(&f, em_c_fixed(e, refused, 3));
    put_i32(&f, g ? plan_batch(g) : 0);
    put_i32(&f, in->target->speed.threads);
    int32_t npools = 0;
    put(&f, g ? pool_array(&p, &npools) : em_c_null(e));
    put_i32(&f, npools);
    put_i32(&f, 0);
    return done(&f);
}

/* ---- parameters and settings ---- */

static Val param_struct(Emit *e, const Param *q) {
    int64_t dim[SHAPE_MAX_RANK] = {0}, count = shape_elems(&q->shape);
    memcpy(dim, q->shape.dim, sizeof(int64_t) * (size_t)q->shape.rank);
    Fields f = {.e = e};
    put_text(&f, q->name);
    put_text(&f, q->label ? q->label : "");
    put_i32(&f, q->shape.rank);
    put_i32(&f, (q->frozen ? RT_PARAM_FROZEN : 0) | (q->constant ? RT_PARAM_CONSTANT : 0) |
                    (q->bf16 ? RT_PARAM_BF16 : 0));
    put(&f, fixed_i64(e, dim, SHAPE_MAX_RANK));
    put(&f, layout_struct(e, &q->layout, &q->split));
    put_i64(&f, q->offset);
    put_i64(&f, q->state_offset);
    put_i64(&f, q->bytes);
    put_i32(&f, (int)q->init);
    put_i32(&f, 0);
    put_f64(&f, q->init_a);
    put_f64(&f, q->init_b);
    put(&f, q->table ? em_c_bytes(e, q->table, (size_t)count * sizeof(float), 64) : em_c_null(e));
    int64_t links = q->shape.dim[0] * (q->shape.rank > 1 ? q->shape.dim[1] : 1);
    put(&f, q->links ? em_c_bytes(e, q->links, (size_t)links, 8) : em_c_null(e));
    put_f64(&f, q->max_rms);
    put_f64(&f, q->lr_mult);
    put_f64(&f, q->decay_mult);
    put_i64(&f, q->trainable);
    return done(&f);
}

static Val param_array(Emit *e, Arena *keep, const ParamList *list) {
    Val *item = ARENA_ARRAY(keep, list->count + 1, Val);
    for (int i = 0; i < list->count; i++)
        item[i] = param_struct(e, &list->at[i]);
    return em_c_array(e, item, list->count);
}

static Val input_array(Emit *e, Arena *keep, const Model *m) {
    Val *item = ARENA_ARRAY(keep, m->ninputs + 1, Val);
    for (int i = 0; i < m->ninputs; i++) {
        const rt_input_spec *s = &m->input[i].prep;
        Val mean[4], std[4];
        for (int c = 0; c < 4; c++)
            mean[c] = em_c_f32(e, (double)s->mean[c]), std[c] = em_c_f32(e, (double)s->std[c]);
        Fields f = {.e = e};
        put_text(&f, m->input[i].name);
        put_i64(&f, s->c);
        put_i64(&f, s->h);
        put_i64(&f, s->w);
        put_f32(&f, (double)s->lo);
        put_f32(&f, (double)s->hi);
        put(&f, em_c_fixed(e, mean, 4));
        put(&f, em_c_fixed(e, std, 4));
        put_i32(&f, s->resize_short);
        put_i32(&f, s->crop);
        put_i32(&f, s->pad);
        put_i32(&f, s->bgr);
        put_i32(&f, s->flip);
        put_i32(&f, s->mean_image);
        put_i32(&f, s->frames);
        Val augment[RT_AUGMENT_COUNT];
        for (int k = 0; k < RT_AUGMENT_COUNT; k++)
            augment[k] = em_c_f32(e, (double)s->augment[k]);
        put(&f, em_c_fixed(e, augment, RT_AUGMENT_COUNT));
        put_text(&f, s->mean_file ? s->mean_file : "");
        item[i] = done(&f);
    }
    return em_c_array(e, item, m->ninputs);
}

static Val train_struct(Emit *e, const rt_train_spec *t) {
    Val table[16];
    for (int i = 0; i < 16; i++) {
        Fields row = {.e = e};
        put_i64(&row, t->schedule.table[i].epochs);
        put_f64(&row, t->schedule.table[i].lr);
        table[i] = done(&row);
    }
    Fields s = {.e = e};
    put_i32(&s, t->schedule.kind);
    put_i32(&s, t->schedule.ntable);
    put_i32(&s, t->schedule.watch);
    put_i32(&s, 0);
    put_i64(&s, t->schedule.every);
    put_f64(&s, t->schedule.factor);
    put_f64(&s, t->schedule.power);
    put_i64(&s, t->schedule.warmup);
    put_f64(&s, t->schedule.warmup_from);
    put(&s, em_c_fixed(e, table, 16));
    Fields f = {.e = e};
    put_f64(&f, t->lr);
    put_f64(&f, t->momentum);
    put_f64(&f, t->decay);
    put_f64(&f, t->second);
    put_f64(&f, t->eps);
    put_f64(&f, t->kappa);
    put_f64(&f, t->clip_at);
    put_i32(&f, t->optimizer);
    put_i32(&f, t->clip);
    put_i32(&f, t->eps_inside);
    put_i32(&f, t->decoupled);
    put_i64(&f, t->batch);
    put_i64(&f, t->epochs);
    put_i64(&f, (int64_t)t->seed);
    put_i64(&f, t->checkpoint_epochs);
    put(&f, done(&s));
    put_text(&f, t->train_data);
    put_text(&f, t->test_data);
    put_i64(&f, t->curvature);
    put_text(&f, t->load);
    put_text(&f, t->load_map);
    put_text(&f, t->load_skip);
    put_i64(&f, t->load_partial);
    Fields a = {.e = e};
    put_f64(&a, t->adversary.eps);
    put_f64(&a, t->adversary.step);
    put_f64(&a, t->adversary.beta);
    put_i64(&a, t->adversary.steps);
    put_i64(&a, t->adversary.kind);
    put(&f, done(&a));
    return done(&f);
}

static Val metric_array(Emit *e, const Model *m) {
    Val item[RT_MAX_METRICS];
    BUG_IF(m->nmetrics > RT_MAX_METRICS, "more than %d metrics", RT_MAX_METRICS);
    for (int i = 0; i < m->nmetrics; i++) {
        Fields f = {.e = e};
        put_text(&f, m->metric[i].name);
        put_i32(&f, m->metric[i].kind);
        put_i32(&f, m->metric[i].k);
        put_i32(&f, m->metric[i].smallest_wins);
        put_i32(&f, m->metric[i].output);
        item[i] = done(&f);
    }
    return em_c_array(e, item, m->nmetrics);
}

static Val array_i32(Emit *e, Arena *keep, const int *x, int n) {
    Val *item = ARENA_ARRAY(keep, n + 1, Val);
    for (int i = 0; i < n; i++)
        item[i] = em_c_i32(e, x[i]);
    return em_c_array(e, item, n);
}

static Val layer_array(Emit *e, Arena *keep, const Model *m) {
    Val *item = ARENA_ARRAY(keep, m->nlayers + 1, Val);
    for (int i = 0; i < m->nlayers; i++) {
        const ModelLayer *l = &m->layer[i];
        int64_t out[3] = {1, 1, 1};
        shape_chw(&l->out, &out[0], &out[1], &out[2]);
        Fields f = {.e = e};
        put_text(&f, l->label);
        put_text(&f, l->op);
        put_text(&f, l->detail);
        put(&f, fixed_i64(e, out, 3));
        put_i32(&f, l->out.rank);
        put_i32(&f, l->nin);
        put(&f, array_i32(e, keep, l->in, l->nin));
        put_i64(&f, l->params);
        put_f64(&f, l->macs);
        put_i64(&f, l->field.all ? 0 : l->field.size[0]);
        put_i64(&f, l->field.jump[0]);
        item[i] = done(&f);
    }
    return em_c_array(e, item, m->nlayers);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void put_onnx(Fields *f, Emit *e, Arena *keep, const OnnxGraph *x) {
    int n = x && !x->refused ? x->tensors : 0;
    Val *item = ARENA_ARRAY(keep, n + 1, Val);
    for (int i = 0; i < n; i++) {
        Fields t = {.e = e};
        put_text(&t, x->tensor[i].name);
        put_i32(&t, x->tensor[i].param);
        put_i32(&t, x->tensor[i].rank);
        put(&t, fixed_i64(e, x->tensor[i].dim, RT_MAX_DIMS));
        item[i] = done(&t);
    }
    bool has = x && !x->refused;
    put(f, has ? em_c_bytes(e, x->body, x->size, 8) : em_c_null(e));
    put_i64(f, has ? (int64_t)x->size : 0);
    put_i64(f, ONNX_SET);
    put(f, em_c_array(e, item, n));
    put_i64(f, n);
    if (has)
        put(f, em_c_null(e));
    else
        put_text(f, x ? x->refused : "it was not built by netc");
}

static Val job_array(Emit *e, Arena *keep, const Model *m) {
    Val *item = ARENA_ARRAY(keep, m->njobs + 1, Val);
    for (int i = 0; i < m->njobs; i++) {
        const ModelJob *job = &m->job[i];
        Val *word = ARENA_ARRAY(keep, job->nargs + 1, Val);
        for (int k = 0; k < job->nargs; k++)
            word[k] = em_c_string(e, job->arg[k]);
        Fields f = {.e = e};
        put_text(&f, job->name);
        put(&f, em_c_array(e, word, job->nargs));
        put_i64(&f, job->nargs);
        item[i] = done(&f);
    }
    return em_c_array(e, item, m->njobs);
}

static Val output_array(Emit *e, Arena *keep, const Model *m, OutputIndex index) {
    Val *item = ARENA_ARRAY(keep, m->noutputs + 1, Val);
    for (int i = 0; i < m->noutputs; i++) {
        const ModelOutput *o = &m->output[i];
        int64_t dim[SHAPE_MAX_RANK] = {0}, frames = shape_frames(&o->shape);
        int rank = 0;
        for (int k = 0; k < o->shape.rank; k++) {
            dim[rank++] = o->shape.dim[k];
            if (k == 0 && frames > 1)
                dim[rank++] = frames;
        }
        Fields f = {.e = e};
        put_text(&f, o->name);
        put_i32(&f, index.tensor[i]);
        put_i32(&f, index.look[i]);
        put_i32(&f, index.score[i]);
        put_i32(&f, (o->softmax ? RT_OUTPUT_SOFTMAX : 0) |
                        (o->smallest_wins ? RT_OUTPUT_SMALLEST : 0) |
                        (o->judged ? RT_OUTPUT_JUDGED : 0));
        put_i32(&f, rank);
        put_i32(&f, 0);
        put(&f, fixed_i64(e, dim, SHAPE_MAX_RANK));
        item[i] = done(&f);
    }
    return em_c_array(e, item, m->noutputs);
}

static int64_t label_classes(const Model *m) {
    int64_t fewest = 0;
    for (int i = 0; i < m->nlabels; i++)
        fewest = i && fewest < m->label[i].classes ? fewest : m->label[i].classes;
    return fewest;
}

void descriptor_emit(Emit *e, Arena *keep, const CodegenInput *in) {
    const Model *m = in->model;
    Val program[MODEL_MODES];
    OutputIndex index = {0};
    for (int mode = 0; mode < MODEL_MODES; mode++)
        program[mode] = program_struct(e, keep, in, mode, &index);
    Fields f = {.e = e};
    put_i32(&f, RT_ABI_VERSION);
    put_i32(&f, m->ninputs);
    put_text(&f, m->name);
    put_text(&f, base_name(m->spec_file));
    put_text(&f, m->hash);
    put_text(&f, NETC_VERSION);
    put_text(&f, in->target->name);
    put_text(&f, in->cpu_needs ? in->cpu_needs : "");
    put(&f, input_array(e, keep, m));
    put_i64(&f, m->classes);
    put_i32(&f, m->smallest_wins);
    put_i32(&f, m->params.count);
    put(&f, param_array(e, keep, &m->params));
    put_i64(&f, m->params.bytes);
    put_i64(&f, m->params.state_bytes);
    put(&f, em_c_fixed(e, program, MODEL_MODES));
    put(&f, train_struct(e, &m->train));
    put(&f, metric_array(e, m));
    put(&f, layer_array(e, keep, m));
    put_i32(&f, m->nmetrics);
    put_i32(&f, m->nlayers);
    put_i64(&f, m->trainable);
    put_text(&f, m->spec_text);
    put_i64(&f, m->label_cells > 0 ? m->label_cells : 1);
    put_onnx(&f, e, keep, in->onnx);
    put(&f, job_array(e, keep, m));
    put_i64(&f, m->njobs);
    put(&f, output_array(e, keep, m, index));
    put_i64(&f, m->noutputs);
    put_i64(&f, label_classes(m));
    em_c_export(e, in->symbol, done(&f));
}
