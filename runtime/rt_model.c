/* rt_model.c: opening and closing a network, its memory, access to tensors and parameters.
 *
 * requires: the rt_model was made by this version's codegen (abi is checked, sizes are checked for
 * overflow all the same).  ensures: a failure leaves nothing allocated.
 */
#include "rt_model.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_attack.h"
#include "rt_layout.h"
#include "rt_mask.h"
#include "rt_optim.h"
#include "rt_par.h"
#include "rt_run.h"

/* ---- the processor ---- */

#if defined(__x86_64__) || defined(__i386__)
static int cpu_has(const char *name) {
#define HAS(f)                                                                                     \
    if (strcmp(name, f) == 0)                                                                     \
    return __builtin_cpu_supports(f) != 0
    __builtin_cpu_init();
    HAS("sse3");
    HAS("ssse3");
    HAS("sse4.1");
    HAS("sse4.2");
    HAS("popcnt");
    HAS("avx");
    HAS("avx2");
    HAS("fma");
    HAS("bmi");
    HAS("bmi2");
    HAS("avx512f");
    HAS("avx512vl");
    HAS("avx512bw");
    HAS("avx512dq");
    HAS("avx512cd");
#undef HAS
    return 1; /* names without a runtime test here (sse2, lzcnt, ...) come with those above */
}
#else
static int cpu_has(const char *name) {
    (void)name;
    return 1;
}
#endif

static int check_cpu(const rt_model *model, rt_error *err) {
    char need[32], missing[256] = "";
    const char *p = model->cpu_needs ? model->cpu_needs : "";
    while (*p) {
        size_t n = strcspn(p, ",");
        if (n > 0 && n < sizeof need) {
            memcpy(need, p, n);
            need[n] = 0;
            size_t used = strlen(missing);
            if (!cpu_has(need) && used + n + 3 < sizeof missing)
                snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", need);
        }
        p += n + (p[n] == ',');
    }
    if (!missing[0])
        return NETRT_OK;
    return rt_fail(err, NETRT_EUSAGE,
                   "%s was compiled for %s; this processor lacks %s\n"
                   "help: compile %s again with --target=x86-64 (runs everywhere)",
                   model->name, model->target, missing, model->spec_file);
}

/* ---- opening ---- */

static int check_model(const rt_model *model, rt_error *err) {
    if (model->abi != RT_ABI_VERSION)
        return rt_fail(err, NETRT_EUSAGE,
                       "%s was compiled for runtime interface %d, this runtime has %d\n"
                       "help: compile it again with the netc this runtime came with",
                       model->name, model->abi, RT_ABI_VERSION);
    for (int i = 0; i < model->nparams; i++) {
        const rt_param *p = &model->param[i];
        int64_t physical = rt_layout_physical(&p->layout);
        if (rt_layout_count(&p->layout) != rt_param_count(p) || physical < 0 ||
            physical * (p->flags & RT_PARAM_BF16 ? 2 : 4) > p->bytes || p->offset < 0 || p->offset + p->bytes > model->param_bytes)
            return rt_fail(err, NETRT_EBUG, "parameter %s of %s has an impossible layout", p->name,
                           model->name);
    }
    return check_cpu(model, err);
}

static int alloc_pools(netrt *m, rt_error *err) {
    const rt_model *model = m->model;
    int64_t logical = 0, filters = 0;
    for (int i = 0; i < model->nparams; i++)
        if (model->param[i].max_rms > 0 && rt_param_count(&model->param[i]) > logical)
            logical = rt_param_count(&model->param[i]);
    for (int i = 0; model->train.optimizer == RT_SLBI_GROUPS && i < model->nparams; i++)
        if (model->param[i].rank > 0 && model->param[i].dim[0] > filters)
            filters = model->param[i].dim[0];
    m->param = rt_slab_alloc((size_t)model->param_bytes + 64, "weights", err);
    m->turn = rt_turn_new(model, m->threads, err);
    if (!m->param || !m->turn)
        return err->code;
    if (logical > 0 && !(m->logical = rt_alloc((size_t)logical, sizeof(float), "constraint", err)))
        return err->code;
    if (filters > 0 && !(m->filter = rt_alloc((size_t)filters, sizeof(double), "filters", err)))
        return err->code;
    return NETRT_OK;
}

static int open_with(const rt_model *model, const netrt_options *options, bool bare, netrt **out,
                     rt_error *err) {
    static const netrt_options none = {0};
    rt_error local = {0};
    if (!err)
        err = &local;
    if (!options)
        options = &none;
    *out = NULL;
    if (check_model(model, err))
        return err->code;
    netrt *m = rt_alloc_zero(1, sizeof *m, "network", err);
    if (!m)
        return err->code;
    m->model = model;
    m->threads = options->threads > 0 ? options->threads : rt_default_threads();
    if (m->threads > RT_MAX_THREADS)
        m->threads = RT_MAX_THREADS;
    m->cap = options->batch > 0 ? options->batch : model->train.batch;
    if (m->cap < 1)
        m->cap = 1;
    m->seed = options->seed ? options->seed : model->train.seed;
    m->lr = model->train.lr;
    m->momentum = model->train.momentum;
    m->decay = model->train.decay;
    m->second = model->train.second;
    m->clip = model->train.clip ? model->train.clip_at : HUGE_VAL;
    m->param_version = 1;
    if (alloc_pools(m, err) ||
        (bare ? rt_init_constants(m, m->seed, err) : rt_init_params(m, m->seed, err))) {
        netrt_close(m);
        return err->code;
    }
    *out = m;
    return NETRT_OK;
}

int netrt_open(const rt_model *model, const netrt_options *options, netrt **out, rt_error *err) {
    return open_with(model, options, false, out, err);
}

int rt_open_bare(const rt_model *model, const netrt_options *options, netrt **out, rt_error *err) {
    return open_with(model, options, true, out, err);
}

void netrt_close(netrt *m) {
    if (!m)
        return;
    rt_set_class_names(m, NULL, 0);
    rt_free(m->data_mean);
    rt_slab_free(m->param, (size_t)m->model->param_bytes + 64);
    if (m->state)
        rt_slab_free(m->state, (size_t)m->model->state_bytes + 64);
    for (int i = 0; i < 2; i++)
        rt_slab_free(m->act[i], m->act_size[i]);
    for (int i = 0; i < RT_PROGRAMS; i++)
        rt_slab_free(m->space[i].fix, m->space[i].fix_size);
    rt_turn_free(m->turn, m->model, m->threads);
    rt_mask_clear(m);
    rt_attack_close(m->attack);
    rt_free(m->logical);
    rt_free(m->filter);
    rt_free(m->no_label);
    rt_free(m);
}

static int need_state(netrt *m, rt_error *err) {
    if (!m->state)
        m->state = rt_slab_alloc((size_t)m->model->state_bytes + 64, "optimizer state", err);
    return m->state ? NETRT_OK : err->code;
}

int rt_program_ready(netrt *m, int program, int64_t cap, rt_error *err) {
    static const char *const name[RT_PROGRAMS] = {"forward", "training", "visualization", "curvature",
                                            "attack"};
    rt_error local = {0};
    if (!err)
        err = &local;
    const rt_program *p = &m->model->program[program];
    if (p->nkernels == 0)
        return rt_fail(err, NETRT_EUSAGE, "%s was compiled without its %s program", m->model->name,
                       name[program]);
    int slab = program == RT_LOOK;
    if (cap <= 0)
        cap = m->cap;
    if (cap < m->act_cap[slab])
        cap = m->act_cap[slab];
    int64_t bytes = rt_slab_bytes(p, m->threads, cap);
    if (bytes < 0)
        return rt_fail(err, NETRT_ELIMIT, "a batch of %lld images is too large for %s",
                       (long long)cap, m->model->name);
    if ((program == RT_TRAIN || program == RT_CURVATURE) && need_state(m, err))
        return err->code;
    if (!m->space[program].fix) {
        m->space[program].fix_size = (size_t)p->fix_bytes + 64;
        m->space[program].fix = rt_slab_alloc(m->space[program].fix_size, "work space", err);
        if (!m->space[program].fix)
            return err->code;
    }
    if ((size_t)bytes + 64 > m->act_size[slab]) {
        rt_slab_free(m->act[slab], m->act_size[slab]);
        m->act_size[slab] = 0;
        m->act_cap[slab] = 0;
        m->act[slab] = rt_slab_alloc((size_t)bytes + 64, "activations", err);
        if (!m->act[slab])
            return err->code;
        m->act_size[slab] = (size_t)bytes + 64;
    }
    if (cap > m->no_label_size) {
        for (int i = 0; i < 2; i++)
            if (m->frame.label[i] == m->no_label)
                m->frame.label[i] = NULL;
        rt_free(m->no_label);
        m->no_label_size = 0;
        m->no_label = rt_alloc_zero((size_t)(cap * (m->model->label_cells > 1 ? m->model->label_cells : 1)),
                                    sizeof *m->no_label, "labels", err);
        if (!m->no_label)
            return err->code;
        m->no_label_size = cap;
    }
    m->act_cap[slab] = cap;
    m->space[program].need = bytes;
    m->space[program].need_cap = cap;
    return NETRT_OK;
}

/* ---- looking things up ---- */

const rt_entry *rt_find_entry(const rt_program *p, const char *name) {
    for (int i = 0; i < p->nentries; i++)
        if (strcmp(p->entry[i].name, name) == 0)
            return &p->entry[i];
    return NULL;
}

/* A block kernel takes as long for one image as for all its lanes.  Up to three quarters of them the
 * ordinary kernels are quicker on two threads, up to five eighths on one (LeNet-5, measured); the
 * choice may not depend on the number of threads, because results differ in their last bits. */
const rt_entry *rt_entry_for(const rt_program *p, const char *name, int64_t n) {
    const rt_entry *e = rt_find_entry(p, name);
    const rt_entry *few = NULL;
    if (strcmp(name, "forward") == 0 || strcmp(name, "attack") == 0)
        few = rt_find_entry(p, name[0] == 'f' ? "forward_few" : "attack_few");
    return few && 4 * n <= 3 * p->kernel[e->first].tasks_block ? few : e;
}

int rt_find_tensor(const rt_program *p, const char *name) {
    for (int i = 0; i < p->ntensors; i++)
        if (strcmp(p->tensor[i].name, name) == 0)
            return i;
    return -1;
}

int rt_find_label(const rt_program *p, const char *label) {
    for (int i = 0; i < p->ntensors; i++)
        if (p->tensor[i].label && strcmp(p->tensor[i].label, label) == 0)
            return i;
    return -1;
}

int rt_find_param(const rt_model *model, const char *name) {
    for (int i = 0; i < model->nparams; i++)
        if (strcmp(model->param[i].name, name) == 0)
            return i;
    return -1;
}

/* ---- tensors ---- */

int64_t rt_tensor_count(const rt_tensor *t) {
    int64_t n = rt_layout_count(&t->layout);
    return n < 0 || __builtin_mul_overflow(n, rt_tensor_frames(t), &n) ? -1 : n;
}

int64_t rt_tensor_frames(const rt_tensor *t) { return t->frames > 1 ? t->frames : 1; }

void *rt_tensor_at(const netrt *m, int program, int tensor, int64_t image) {
    const rt_tensor *t = &m->model->program[program].tensor[tensor];
    int slab = program == RT_LOOK;
    switch (t->pool) {
    case RT_POOL_ACT:
        return m->act[slab] + t->offset * m->act_cap[slab] + image * t->image_bytes;
    case RT_POOL_PARAM:
        return m->param + t->offset;
    case RT_POOL_STATE:
        return m->state + t->offset;
    default:
        return m->space[program].fix + t->offset;
    }
}

void rt_tensor_read(const netrt *m, int program, int tensor, int64_t image, float *logical) {
    const rt_tensor *t = &m->model->program[program].tensor[tensor];
    char *at = rt_tensor_at(m, program, tensor, image);
    int64_t frames = rt_tensor_frames(t), rows = t->layout.rank > 0 ? t->layout.dim[0] : 1;
    if (frames == 1 || t->dtype != RT_F32) {
        rt_layout_read(&t->layout, t->dtype, at, logical);
        return;
    }
    int64_t size = rt_layout_count(&t->layout) / rows;
    for (int64_t f = 0; f < frames; f++)
        for (int64_t c = 0; c < rows; c++)
            rt_layout_unpack_rows(&t->layout,
                                  (const float *)(void *)(at + f * (t->image_bytes / frames)),
                                  logical + (c * frames + f) * size, c, 1, 1);
}

void rt_tensor_write(netrt *m, int program, int tensor, int64_t image, const float *logical) {
    const rt_tensor *t = &m->model->program[program].tensor[tensor];
    char *at = rt_tensor_at(m, program, tensor, image);
    int64_t frames = rt_tensor_frames(t), rows = t->layout.rank > 0 ? t->layout.dim[0] : 1;
    if (frames == 1) {
        rt_layout_pack(&t->layout, logical, (float *)(void *)at, 1);
        return;
    }
    int64_t size = rt_layout_count(&t->layout) / rows;
    memset(at, 0, (size_t)t->image_bytes);
    for (int64_t f = 0; f < frames; f++)
        for (int64_t c = 0; c < rows; c++)
            rt_layout_pack_rows(&t->layout, logical + (c * frames + f) * size,
                                (float *)(void *)(at + f * (t->image_bytes / frames)), c, 1, 1);
}

void rt_tensor_zero_image(netrt *m, int program, int tensor, int64_t image) {
    const rt_tensor *t = &m->model->program[program].tensor[tensor];
    int64_t bytes = rt_layout_physical(&t->layout) * (t->dtype == RT_U8 ? 1 : 4);
    if (rt_tensor_frames(t) > 1)
        bytes = t->image_bytes;
    if (image == 0 || t->pool == RT_POOL_ACT)
        memset(rt_tensor_at(m, program, tensor, image), 0, (size_t)bytes);
}

void rt_tensor_zero(netrt *m, int program, int tensor, int64_t images) {
    for (int64_t i = 0; i < images; i++)
        rt_tensor_zero_image(m, program, tensor, i);
}

/* ---- parameters ---- */

int64_t rt_param_count(const rt_param *p) {
    int64_t n = 1;
    for (int d = 0; d < p->rank; d++)
        if (p->dim[d] < 1 || __builtin_mul_overflow(n, p->dim[d], &n))
            return -2; /* unequal to every layout's count */
    return n;
}

int rt_param_saved(const rt_param *p) {
    return !(p->flags & RT_PARAM_CONSTANT);
}

int rt_param_trained(const rt_param *p) {
    return !(p->flags & (RT_PARAM_CONSTANT | RT_PARAM_FROZEN));
}

int64_t rt_param_rows(const rt_param *p) {
    return p->layout.rank > 0 ? p->layout.dim[0] : 1;
}

/* Multiples of 16 rows: whole cache lines of output channels in most layouts. */
int64_t rt_param_part(const rt_param *p) {
    int64_t rows = rt_param_rows(p), size = rt_param_count(p) / rows;
    int64_t part = RT_PART_FLOATS / (size > 0 ? size : 1) / 16 * 16;
    part = part > 16 ? part : 16;
    return part < rows ? part : rows;
}

int64_t rt_part_room(const rt_model *model) {
    int64_t most = 1;
    for (int i = 0; i < model->nparams; i++) {
        const rt_param *p = &model->param[i];
        int64_t part = rt_param_count(p) / rt_param_rows(p) * rt_param_part(p);
        most = part > most ? part : most;
    }
    return most;
}

static float *pool_at(char *pool, int64_t offset) {
    return (float *)(void *)(pool + offset);
}

void rt_param_unpack(const rt_param *p, const void *physical, float *rows, int64_t first,
                     int64_t n, int threads) {
    if (p->flags & RT_PARAM_BF16)
        rt_layout_unpack_rows16(&p->layout, physical, rows, first, n, threads);
    else
        rt_layout_unpack_rows(&p->layout, physical, rows, first, n, threads);
}

void rt_param_pack(const rt_param *p, const float *rows, void *physical, int64_t first, int64_t n,
                   int threads) {
    if (p->flags & RT_PARAM_BF16)
        rt_layout_pack_rows16(&p->layout, rows, physical, first, n, threads);
    else
        rt_layout_pack_rows(&p->layout, rows, physical, first, n, threads);
}

void rt_param_read(const netrt *m, int param, float *logical) {
    const rt_param *p = &m->model->param[param];
    rt_param_unpack(p, m->param + p->offset, logical, 0, rt_param_rows(p), m->threads);
}

void rt_param_write(netrt *m, int param, const float *logical) {
    const rt_param *p = &m->model->param[param];
    rt_param_pack(p, logical, m->param + p->offset, 0, rt_param_rows(p), m->threads);
    m->param_version++;
}

void rt_state_read(const netrt *m, int param, int which, float *logical) {
    const rt_param *p = &m->model->param[param];
    rt_layout_unpack(&p->layout, pool_at(m->state, rt_state_offset(p, which)), logical, m->threads);
}

void rt_state_write(netrt *m, int param, int which, const float *logical) {
    const rt_param *p = &m->model->param[param];
    rt_layout_pack(&p->layout, logical, pool_at(m->state, rt_state_offset(p, which)), m->threads);
}

/* ---- small answers ---- */

void rt_set_class_names(netrt *m, char **names, int64_t count) {
    if (m->class_names)
        for (int64_t i = 0; i < m->model->classes; i++)
            rt_free(m->class_names[i]);
    rt_free(m->class_names);
    m->class_names = NULL;
    if (!names || count != m->model->classes)
        return;
    rt_error ignored = {0}; /* names are decoration: without memory the numbers are shown */
    m->class_names = rt_alloc_zero((size_t)count, sizeof(char *), "class names", &ignored);
    for (int64_t i = 0; m->class_names && i < count; i++)
        m->class_names[i] = rt_strdup(names[i], &ignored);
}

const char *netrt_class_name(const netrt *m, int64_t i, char buf[24]) {
    if (m->class_names && i >= 0 && i < m->model->classes && m->class_names[i])
        return m->class_names[i];
    snprintf(buf, 24, "%lld", (long long)i);
    return buf;
}

const char *netrt_name(const netrt *m) {
    return m->model->name;
}

int64_t netrt_classes(const netrt *m) {
    return m->model->classes;
}

int64_t netrt_batch(const netrt *m) {
    return m->cap;
}

int netrt_threads(const netrt *m) {
    return m->threads;
}

void netrt_shape(const netrt *m, int64_t chw[3]) {
    chw[0] = m->model->input[0].c;
    chw[1] = m->model->input[0].h;
    chw[2] = m->model->input[0].w;
}

void netrt_set_sgd(netrt *m, double lr, double momentum, double decay) {
    m->lr = lr;
    m->momentum = momentum;
    m->decay = decay;
}

int64_t rt_input_count(const rt_model *model, int slot) {
    const rt_input_spec *s = &model->input[slot];
    return s->c * s->h * s->w;
}

void rt_input_prep(const rt_model *model, int slot, struct rt_prep *prep) {
    const rt_input_spec *s = &model->input[slot];
    memset(prep, 0, sizeof *prep);
    prep->channels = (int)s->c;
    prep->height = (int)s->h;
    prep->width = (int)s->w;
    prep->resize_short = s->resize_short;
    prep->crop = s->crop;
    prep->pad = s->pad;
    prep->lo = s->lo;
    prep->hi = s->hi;
    memcpy(prep->mean, s->mean, sizeof prep->mean);
    memcpy(prep->std, s->std, sizeof prep->std);
    prep->bgr = s->bgr;
    prep->flip = 0; /* mirroring is for training samples, decided one by one */
}

int netrt_image(const netrt *m, const char *path, float *chw, rt_error *err) {
    struct rt_prep prep;
    rt_image img = {0};
    rt_error local = {0};
    if (!err)
        err = &local;
    rt_input_prep(m->model, 0, &prep);
    prep.mean_image = m->data_mean;
    if (!rt_image_read(&img, path, err))
        rt_prep_apply(&prep, &img, chw, NULL, err);
    rt_image_free(&img);
    return err->code;
}
