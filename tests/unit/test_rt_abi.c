/* test_rt_abi.c: the descriptor that codegen builds field by field, read through the C structs of
 * rt_abi.h: every count, name, extent and offset equals the model's and lies where it may.
 *
 * The module is compiled in memory; the runtime then opens the very same descriptor and runs it.
 */
#include <math.h>
#include <stdlib.h>

#include "built.h"
#include "ir/graph.h"
#include "netrt.h"
#include "passes/passes.h"
#include "rt_model.h"
#include "suite.h"

static const char odd_net[] =
    "net Odd {\n"
    "  input image: f32[3, 13, 11]\n  input kind: class[4]\n"
    "  c1: conv(5, 3x2, stride = 2, pad = 1) -> relu\n"
    "  p2: maxpool(2x2, stride = 1)\n"
    "  c3: conv(6, 3x3) -> tanh -> dropout(25%)\n"
    "  f4: dense(4)\n"
    "  output prob = softmax(f4)\n"
    "  loss ce: cross_entropy(f4, kind)\n"
    "  metric err: error_rate(argmax(f4), kind)\n  metric top2: topk(f4, kind, k = 2)\n"
    "  data { train = folder(\"a b\"); test = folder(\"c\"); pixels = range(-1, 2)\n"
    "         mean = [1, 2, 3]; resize = short(16); crop = 13x11; flip = yes }\n"
    "  train { optimizer = sgd(lr = 0.25, momentum = 0.5, decay = 0.125); batch = 7; epochs = 9\n"
    "          schedule = step(every = 2epoch, factor = 0.5); seed = 77; checkpoint = "
    "every(3epoch) }\n"
    "}\n";

static const char heads_net[] =
    "net Heads {\n"
    "  input image: f32[3, 12, 12]\n  input kind: class[4]\n"
    "  c1: conv(5, 3x3) -> relu\n  f2: dense(7) -> relu\n  f3: dense(4)\n"
    "  m: c1 -> conv(2, 3x3)\n  s: dense(6)\n"
    "  output prob = softmax(f3), between = f2\n  output m, softmax(s)\n"
    "  output sum = add(s, s)\n" /* no layer's label */
    "  loss ce: cross_entropy(f3, kind)\n}\n";

static void build(Built *b, const char *path, const char *source) {
    built_make(b, &(BuiltHow){.path = path, .source = source, .level = 1});
}

/* ---- pieces ---- */

/* A layout names each logical element once: reached numbers are the dimensions' product. */
static void layout_is_sane(const rt_layout *l, int64_t bytes, int size) {
    int64_t places = 1, elems = 1, found = 0;
    CU_ASSERT_FATAL(l->rank >= 0 && l->rank <= RT_MAX_DIMS);
    CU_ASSERT_FATAL(l->naxes >= 0 && l->naxes <= RT_MAX_AXES);
    for (int i = 0; i < l->rank; i++) {
        CU_ASSERT(l->dim[i] > 0);
        elems *= l->dim[i];
    }
    for (int i = 0; i < l->naxes; i++) {
        CU_ASSERT(l->axis[i].dim >= 0 && l->axis[i].dim < l->rank);
        CU_ASSERT(l->axis[i].extent > 0 && l->axis[i].mult > 0);
        CU_ASSERT_EQUAL(l->axis[i].pad_, 0);
        places *= l->axis[i].extent;
    }
    CU_ASSERT(places * size <= bytes);
    for (int64_t p = 0; p < places; p++) {
        int64_t at[RT_MAX_DIMS] = {0}, rest = p;
        for (int i = l->naxes; i-- > 0; rest /= l->axis[i].extent)
            at[l->axis[i].dim] += rest % l->axis[i].extent * l->axis[i].mult + l->axis[i].offset;
        bool inside = true;
        for (int i = 0; i < l->rank; i++)
            inside = inside && at[i] >= 0 && at[i] < l->dim[i];
        found += inside;
    }
    CU_ASSERT_EQUAL(found, elems);
}

static void tensor_is_sane(const rt_program *p, const rt_tensor *t) {
    int size = t->dtype == RT_U8 ? 1 : 4;
    CU_ASSERT(t->name && t->label && t->op);
    CU_ASSERT(t->dtype == RT_F32 || t->dtype == RT_I32 || t->dtype == RT_U8);
    CU_ASSERT(t->pool == RT_POOL_ACT || t->pool == RT_POOL_FIX);
    int64_t room = t->pool == RT_POOL_ACT ? p->act_bytes : p->fix_bytes;
    int64_t bytes = t->pool == RT_POOL_ACT ? t->image_bytes : room - t->offset;
    CU_ASSERT(t->offset >= 0 && t->offset % 64 == 0 && bytes > 0 && t->offset + bytes <= room);
    layout_is_sane(&t->layout, bytes, size);
}

static void program_is_sane(const Built *b, int mode) {
    static const char *const name[] = {"forward", "train", "look", "curvature", "attack"};
    const rt_program *p = &b->rt->program[mode];
    const ModelGraph *mg = &b->m->mode[mode];
    const Graph *g = mg->graph;
    CU_ASSERT_STRING_EQUAL(p->name, name[mode]);
    if (!g) {
        CU_ASSERT((mode == MODEL_CURVATURE || mode == MODEL_ATTACK) && p->nkernels == 0);
        return;
    }
    CU_ASSERT_EQUAL_FATAL(p->nkernels, g->nkernels);
    CU_ASSERT_EQUAL_FATAL(p->nentries, g->nentries);
    CU_ASSERT_EQUAL_FATAL(p->nseeds, mg->nseeds);
    CU_ASSERT_EQUAL(p->act_bytes, g->act_bytes);
    CU_ASSERT_EQUAL(p->fix_bytes, g->fix_bytes);
    CU_ASSERT_EQUAL(p->scratch_bytes, g->scratch_bytes);
    CU_ASSERT_EQUAL(p->act_lower_bound, g->act_lower_bound);
    CU_ASSERT(p->act_lower_bound <= p->act_bytes);
    CU_ASSERT_EQUAL(p->plan_batch, 1);
    CU_ASSERT_EQUAL(p->plan_threads, b->target.speed.threads);
    for (int i = 0; i < p->nkernels; i++) {
        const rt_kernel *k = &p->kernel[i];
        CU_ASSERT_PTR_NOT_NULL(k->fn);
        CU_ASSERT_STRING_EQUAL(k->name, g->kernels[i].name);
        CU_ASSERT_EQUAL(k->tasks_per, g->kernels[i].tasks_per);
        CU_ASSERT_EQUAL(k->tasks_block, g->kernels[i].tasks_block);
        CU_ASSERT(k->tasks_per > 0 && k->tasks_block >= 0);
        CU_ASSERT_EQUAL(k->flops_image, g->kernels[i].flops_image);
        CU_ASSERT_EQUAL(k->bytes_fixed, g->kernels[i].bytes_fixed);
        CU_ASSERT_EQUAL(k->seconds_image, g->kernels[i].seconds_image);
        CU_ASSERT_EQUAL(k->seconds_fixed, g->kernels[i].seconds_fixed);
        CU_ASSERT(k->seconds_image > 0 || k->seconds_fixed > 0);
    }
    for (int i = 0; i < p->nentries; i++) {
        CU_ASSERT_STRING_EQUAL(p->entry[i].name, g->entry[i].name);
        CU_ASSERT_EQUAL(p->entry[i].first, g->entry[i].first);
        CU_ASSERT_EQUAL(p->entry[i].count, g->entry[i].count);
        CU_ASSERT(p->entry[i].first >= 0 && p->entry[i].count >= 0 &&
                  p->entry[i].first + p->entry[i].count <= p->nkernels);
    }
    CU_ASSERT(p->ntensors > 0);
    for (int i = 0; i < p->ntensors; i++)
        tensor_is_sane(p, &p->tensor[i]);
    CU_ASSERT(p->output >= 0 && p->output < p->ntensors);
    CU_ASSERT(p->prob < p->ntensors);
    CU_ASSERT_EQUAL(p->nlosses, mg->nlosses);
    for (int i = 0; i < p->nlosses; i++)
        CU_ASSERT(p->loss[i] >= 0 && p->loss[i] < p->ntensors);
}

/* Switches have the layout of what was pooled, and their windows lie on it. */
static void pools_are_sane(const Built *b) {
    const rt_program *p = &b->rt->program[MODEL_LOOK];
    for (int i = 0; i < p->npools; i++) {
        const rt_pool *q = &p->pool[i];
        CU_ASSERT_FATAL(q->tensor >= 0 && q->tensor < p->ntensors);
        const rt_tensor *t = &p->tensor[q->tensor];
        CU_ASSERT_EQUAL(t->dtype, RT_U8);
        for (int k = 0; k < 2; k++) {
            CU_ASSERT(q->kernel[k] > 0 && q->stride[k] > 0 && q->pad[k] >= 0);
            CU_ASSERT((t->layout.dim[1 + k] - 1) * q->stride[k] - q->pad[k] < q->src[k]);
        }
    }
}

static void seeds_are_sane(const Built *b) {
    const rt_program *p = &b->rt->program[MODEL_LOOK];
    const ModelGraph *mg = &b->m->mode[MODEL_LOOK];
    CU_ASSERT(p->nseeds > 0);
    for (int i = 0; i < p->nseeds; i++) {
        const rt_seed *s = &p->seed[i];
        CU_ASSERT_STRING_EQUAL(s->label, mg->seed[i].label);
        CU_ASSERT_FATAL(s->tensor >= 0 && s->tensor < p->ntensors);
        for (int k = 0; k < 2; k++) {
            const Field *f = &mg->seed[i].field;
            CU_ASSERT_EQUAL(s->rf_size[k], f->all ? 0 : f->size[k]);
            CU_ASSERT_EQUAL(s->rf_jump[k], mg->seed[i].field.jump[k]);
            CU_ASSERT_EQUAL(s->rf_start[k], mg->seed[i].field.start[k]);
        }
        CU_ASSERT_EQUAL(s->parts, mg->seed[i].parts);
        for (int r = 0; r < 3; r++) {
            CU_ASSERT(s->rule[r].diff >= -1 && s->rule[r].diff < p->ntensors);
            CU_ASSERT((s->rule[r].diff >= 0) <= (p->image_diff[r] >= 0));
            CU_ASSERT(s->rule[r].first >= 0 && s->rule[r].first <= p->nkernels);
            CU_ASSERT_FATAL(s->rule[r].nlive >= 0 && s->rule[r].nlive <= RT_MAX_LIVE);
            for (int k = 0; k < s->rule[r].nlive; k++)
                CU_ASSERT(s->rule[r].live[k] >= 0 && s->rule[r].live[k] < p->ntensors);
            if (s->rule[r].diff >= 0) { /* a seed has the shape of what was recorded */
                const rt_layout *at = &p->tensor[s->tensor].layout;
                const rt_layout *to = &p->tensor[s->rule[r].diff].layout;
                CU_ASSERT_EQUAL(at->rank, to->rank);
                CU_ASSERT_EQUAL(memcmp(at->dim, to->dim, sizeof at->dim), 0);
            }
        }
    }
    for (int r = 0; r < 3; r++) {
        CU_ASSERT((p->image_diff[r] >= 0) == (p->refused[r] == NULL));
        if (p->image_diff[r] < 0)
            continue;
        CU_ASSERT_FATAL(p->image_diff[r] < p->ntensors);
        const rt_layout *l = &p->tensor[p->image_diff[r]].layout;
        CU_ASSERT(l->dim[0] == b->rt->input[0].c && l->dim[1] == b->rt->input[0].h &&
                  l->dim[2] == b->rt->input[0].w);
    }
}

static void params_are_sane(const Built *b) {
    const rt_model *m = b->rt;
    int64_t end = 0, count = 0;
    CU_ASSERT_EQUAL_FATAL(m->nparams, b->m->params.count);
    for (int i = 0; i < m->nparams; i++) {
        const rt_param *p = &m->param[i];
        const Param *q = &b->m->params.at[i];
        CU_ASSERT_STRING_EQUAL(p->name, q->name);
        CU_ASSERT_EQUAL(p->rank, q->shape.rank);
        CU_ASSERT_EQUAL(memcmp(p->dim, q->shape.dim, (size_t)p->rank * sizeof *p->dim), 0);
        CU_ASSERT_EQUAL(p->offset, q->offset);
        CU_ASSERT_EQUAL(p->bytes, q->bytes);
        CU_ASSERT(p->offset >= end && p->offset % 64 == 0); /* in order, without overlap */
        end = p->offset + p->bytes;
        CU_ASSERT(end <= m->param_bytes);
        if (p->state_offset >= 0)
            CU_ASSERT(p->state_offset + p->bytes <= m->state_bytes);
        CU_ASSERT_EQUAL(p->init, (int32_t)q->init);
        CU_ASSERT_EQUAL(p->init_a, q->init_a);
        CU_ASSERT_EQUAL(p->init_b, q->init_b);
        CU_ASSERT_EQUAL(p->lr_mult, q->lr_mult);
        CU_ASSERT_EQUAL(p->max_rms, q->max_rms);
        CU_ASSERT_EQUAL((p->links != NULL), (q->links != NULL));
        layout_is_sane(&p->layout, p->bytes, 4);
        count += p->trainable;
    }
    CU_ASSERT_EQUAL(count, b->m->trainable + b->m->frozen);
    CU_ASSERT_EQUAL(m->param_count, b->m->trainable);
}

/* Each output has a value in forward and, of more than one, a layer in look. */
static void outputs_are_sane(const Built *b) {
    const rt_model *m = b->rt;
    const rt_program *look = &m->program[MODEL_LOOK], *forward = &m->program[MODEL_FORWARD];
    CU_ASSERT_EQUAL_FATAL(m->noutputs, b->m->noutputs);
    CU_ASSERT_FATAL(m->noutputs >= 1 && m->noutputs <= RT_MAX_OUTPUTS);
    CU_ASSERT_EQUAL(m->output[0].look, look->output);
    CU_ASSERT_EQUAL(m->output[0].tensor, forward->prob >= 0 ? forward->prob : forward->output);
    for (int i = 0; i < (int)m->noutputs; i++) {
        const rt_output *o = &m->output[i];
        CU_ASSERT_STRING_EQUAL(o->name, b->m->output[i].name);
        CU_ASSERT_FATAL(o->tensor >= 0 && o->tensor < forward->ntensors);
        CU_ASSERT_FATAL(o->look >= 0 && o->look < look->ntensors);
        int64_t count = 1, leads = 0;
        for (int d = 0; d < o->rank; d++)
            count *= o->dim[d];
        CU_ASSERT_EQUAL(count, rt_tensor_count(&forward->tensor[o->tensor]));
        CU_ASSERT_EQUAL(count, rt_tensor_count(&look->tensor[o->look]));
        for (int k = 0; k < look->nseeds; k++)
            if (look->seed[k].tensor == o->look) {
                CU_ASSERT(look->seed[k].rule[0].diff >= 0);
                CU_ASSERT_EQUAL(look->seed[k].leads, i == 0 || !strcmp(o->name, "between"));
                leads++;
            }
        CU_ASSERT(leads == 1 || m->noutputs == 1);
    }
}

static void model_is_sane(const Built *b) {
    const rt_model *m = b->rt;
    CU_ASSERT_EQUAL_FATAL(m->abi, RT_ABI_VERSION);
    CU_ASSERT_STRING_EQUAL(m->name, b->m->name);
    CU_ASSERT_STRING_EQUAL(m->spec_hash, b->m->hash);
    CU_ASSERT_EQUAL(strlen(m->spec_hash), 32);
    CU_ASSERT_STRING_EQUAL(m->spec_text, b->m->spec_text);
    CU_ASSERT_PTR_NULL(strchr(m->spec_file, '/'));
    CU_ASSERT_STRING_EQUAL(m->target, b->target.name);
    CU_ASSERT_STRING_EQUAL(m->cpu_needs, "sse3");
    CU_ASSERT_EQUAL(m->ninputs, b->m->ninputs);
    CU_ASSERT_EQUAL(m->classes, b->m->classes);
    CU_ASSERT_EQUAL(m->smallest_wins, b->m->smallest_wins);
    CU_ASSERT_EQUAL(m->label_classes, b->m->nlabels ? b->m->label[0].classes : 0);
    CU_ASSERT_EQUAL_FATAL(m->nlayers, b->m->nlayers);
    for (int i = 0; i < m->nlayers; i++) {
        CU_ASSERT_STRING_EQUAL(m->layer[i].label, b->m->layer[i].label);
        CU_ASSERT_STRING_EQUAL(m->layer[i].detail, b->m->layer[i].detail);
        CU_ASSERT_EQUAL(m->layer[i].params, b->m->layer[i].params);
        CU_ASSERT_EQUAL(m->layer[i].macs, b->m->layer[i].macs);
        const Field *f = &b->m->layer[i].field; /* 0: behind a dense layer, sees everything */
        CU_ASSERT_EQUAL(m->layer[i].rf, f->all ? 0 : f->size[0]);
        CU_ASSERT_EQUAL(m->layer[i].jump, b->m->layer[i].field.jump[0]);
        CU_ASSERT_EQUAL_FATAL(m->layer[i].nin, b->m->layer[i].nin);
        for (int k = 0; k < m->layer[i].nin; k++) {
            CU_ASSERT_EQUAL(m->layer[i].in[k], b->m->layer[i].in[k]);
            CU_ASSERT(m->layer[i].in[k] < i && m->layer[i].in[k] >= -m->ninputs);
        }
    }
    params_are_sane(b);
    for (int mode = 0; mode < MODEL_MODES; mode++)
        program_is_sane(b, mode);
    seeds_are_sane(b);
    pools_are_sane(b);
    outputs_are_sane(b);
}

/* ---- tests ---- */

/* Every setting of the spec arrives in its field: the numbers are all different. */
static void settings(void) {
    Built b;
    build(&b, NULL, odd_net);
    const rt_input_spec *in = &b.rt->input[0];
    CU_ASSERT_STRING_EQUAL(in->name, "image");
    CU_ASSERT(in->c == 3 && in->h == 13 && in->w == 11);
    CU_ASSERT(in->lo == -1.0f && in->hi == 2.0f);
    CU_ASSERT(in->mean[0] == 1.0f && in->mean[1] == 2.0f && in->mean[2] == 3.0f);
    CU_ASSERT(in->resize_short == 16 && in->crop && in->flip && !in->bgr);
    const rt_train_spec *t = &b.rt->train;
    CU_ASSERT(t->lr == 0.25 && t->momentum == 0.5 && t->decay == 0.125);
    CU_ASSERT(t->batch == 7 && t->epochs == 9 && t->seed == 77 && t->checkpoint_epochs == 3);
    CU_ASSERT(t->schedule.kind == RT_SCHEDULE_STEP && t->schedule.every == 2);
    CU_ASSERT(t->schedule.factor == 0.5);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(t->train_data, "a b"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t->test_data, "c"));
    CU_ASSERT_EQUAL_FATAL(b.rt->nmetrics, 2);
    CU_ASSERT_STRING_EQUAL(b.rt->metric[0].name, "err");
    CU_ASSERT_EQUAL(b.rt->metric[0].kind, RT_METRIC_ERROR_RATE);
    CU_ASSERT_EQUAL(b.rt->metric[1].kind, RT_METRIC_TOPK);
    CU_ASSERT_EQUAL(b.rt->metric[1].k, 2);
    CU_ASSERT_EQUAL(b.rt->classes, 4);
    const rt_program *look = &b.rt->program[MODEL_LOOK];
    CU_ASSERT_EQUAL_FATAL(look->nseeds, 4);
    CU_ASSERT_EQUAL(look->seed[0].parts, RT_PART_WEIGHTS | RT_PART_MOVES | RT_PART_SIGNED);
    CU_ASSERT_EQUAL(look->seed[0].base, -1);
    CU_ASSERT_EQUAL(look->seed[1].parts, RT_PART_MAX);
    CU_ASSERT_EQUAL(look->seed[1].base, -1);
    CU_ASSERT_EQUAL(look->seed[2].parts, RT_PART_MOVES | RT_PART_OTHER); /* as far as the tanh */
    CU_ASSERT_EQUAL(look->seed[3].parts, RT_PART_WEIGHTS | RT_PART_SIGNED);
    CU_ASSERT_EQUAL_FATAL(look->npools, 1);
    CU_ASSERT(look->pool[0].kernel[0] == 2 && look->pool[0].stride[1] == 1 &&
              look->pool[0].src[0] == 7);
    CU_ASSERT_EQUAL(b.rt->program[MODEL_FORWARD].npools, 0);
    model_is_sane(&b);
    built_free(&b);
}

/* Which layers are one weighted sum of numbers that are not negative, a bn counted in. */
static void sums_of_layers(void) {
    static const char net[] = "net Sums {\n"
                              "  input image: f32[1, 12, 12]\n  input kind: class[3]\n"
                              "  c1: conv(4, 3x3) -> relu\n"
                              "  c2: conv(4, 3x3, bias = false)\n  n2: bn\n  r2: relu(n2)\n"
                              "  c3: conv(4, 3x3, pad = 1) -> bn -> relu -> maxpool(2x2)\n"
                              "  c4: conv(4, 1x1) -> bn -> relu\n"
                              "  s5: add(c3, c4)\n  f6: dense(3)\n"
                              "  output prob = softmax(f6)\n  loss ce: cross_entropy(f6, kind)\n"
                              "  data { train = folder(\"a\"); test = folder(\"b\") }\n"
                              "  train { optimizer = sgd(lr = 0.1); batch = 2; epochs = 1 }\n}\n";
    static const struct {
        const char *label;
        int parts, base;
    } want[] = {{"c1", RT_PART_WEIGHTS | RT_PART_MOVES | RT_PART_SIGNED, -1},
                {"c2", RT_PART_WEIGHTS, 1},
                {"n2", RT_PART_NORM, 1},
                {"r2", RT_PART_MOVES, -1},
                {"c3", RT_PART_WEIGHTS | RT_PART_NORM | RT_PART_MOVES | RT_PART_MAX, -1},
                {"c4", RT_PART_WEIGHTS | RT_PART_NORM | RT_PART_MOVES, 5},
                {"s5", RT_PART_SUM, -1},
                {"f6", RT_PART_WEIGHTS, 7}};
    Built b;
    build(&b, NULL, net);
    const rt_program *look = &b.rt->program[MODEL_LOOK];
    CU_ASSERT_EQUAL_FATAL(look->nseeds, 8);
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_STRING_EQUAL(look->seed[i].label, want[i].label);
        CU_ASSERT_EQUAL(look->seed[i].parts, want[i].parts);
        CU_ASSERT_EQUAL(look->seed[i].base, want[i].base);
    }
    built_free(&b);
}

static void shipped(const char *name) {
    const char *root = getenv("NETC_SOURCE_DIR");
    char path[4096];
    Built b;
    snprintf(path, sizeof path, "%s/specs/%s", root ? root : "../..", name);
    build(&b, path, NULL);
    model_is_sane(&b);
    built_free(&b);
}

static const char judged_net[] =
    "net Judged {\n"
    "  input image: f32[3, 6, 6]\n  input kind: class[4]\n"
    "  c1: conv(5, 3x3) -> relu\n  f2: dense(4)\n  f3: c1 -> dense(4)\n  f4: c1 -> dense(4)\n"
    "  output prob = softmax(f2), side = softmax(f3), c1, low = argmin(f4)\n"
    "  loss ce: cross_entropy(f2, kind)\n  loss aux: cross_entropy(f3, kind)\n"
    "  loss same: mse(c1, c1)\n"
    "  metric err: error_rate(argmax(f2), kind)\n  metric two: topk(f3, kind, k = 2)\n"
    "  metric least: error_rate(argmin(f4), kind)\n"
    "  train { schedule = plateau(val.loss) }\n}\n";

/* Which outputs a class judges, by a loss or by a metric: forward keeps their scores. */
static void judged(void) {
    Built b;
    build(&b, NULL, judged_net);
    const rt_output *o = b.rt->output;
    const rt_program *forward = &b.rt->program[MODEL_FORWARD];
    CU_ASSERT_EQUAL_FATAL(b.rt->noutputs, 4);
    CU_ASSERT(o[0].flags == (RT_OUTPUT_SOFTMAX | RT_OUTPUT_JUDGED) && o[0].score == -1);
    CU_ASSERT(o[1].flags == (RT_OUTPUT_SOFTMAX | RT_OUTPUT_JUDGED));
    CU_ASSERT(o[2].flags == 0 && o[2].score == -1);
    CU_ASSERT(o[3].flags == RT_OUTPUT_SMALLEST);
    for (int i = 1; i < 4; i += 2) {
        CU_ASSERT_FATAL(o[i].score >= 0 && o[i].score < forward->ntensors);
        CU_ASSERT_EQUAL(rt_tensor_count(&forward->tensor[o[i].score]), 4);
        CU_ASSERT_EQUAL(o[i].score == o[i].tensor, i == 3);
    }
    CU_ASSERT_EQUAL_FATAL(b.rt->nmetrics, 3);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(b.rt->metric[i].output, i == 2 ? 3 : i);
    CU_ASSERT_EQUAL(b.rt->train.schedule.watch, RT_WATCH_LOSS);
    built_free(&b);
}

static void heads(void) {
    static const char *const name[] = {"prob", "between", "m", "output4", "sum"};
    Built b;
    build(&b, NULL, heads_net);
    CU_ASSERT_EQUAL_FATAL(b.rt->noutputs, 5);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_STRING_EQUAL(b.rt->output[i].name, name[i]);
        CU_ASSERT_EQUAL(b.rt->output[i].flags, (i == 0 || i == 3 ? RT_OUTPUT_SOFTMAX : 0) |
                                                   (i == 0 ? RT_OUTPUT_JUDGED : 0));
        CU_ASSERT_EQUAL(b.rt->output[i].score, -1);
    }
    CU_ASSERT_EQUAL(b.rt->output[2].rank, 3);
    CU_ASSERT_EQUAL(b.rt->output[2].dim[0], 2);
    CU_ASSERT_EQUAL(b.rt->output[2].dim[2], 8);
    CU_ASSERT_EQUAL(b.rt->classes, 4);
    model_is_sane(&b);
    built_free(&b);
}

static void lenet(void) {
    shipped("lenet.net");
}
static void lenet5(void) {
    shipped("lenet5.net");
} /* links, tables, frozen, refused rules */

/* The runtime accepts the descriptor and the code behind it. */
static void runs(void) {
    Built b;
    rt_error err = {0};
    netrt *m = NULL;
    netrt_options o = {.threads = 2, .batch = 7};
    float image[7 * 3 * 13 * 11], prob[7 * 4];
    int32_t label[7] = {0, 1, 2, 3, 0, 1, 2};
    double loss = -1;
    build(&b, NULL, odd_net);
    CU_ASSERT_EQUAL_FATAL(netrt_open(b.rt, &o, &m, &err), 0);
    for (size_t i = 0; i < sizeof image / sizeof *image; i++)
        image[i] = (float)(i * 37 % 101) / 101;
    CU_ASSERT_EQUAL(netrt_forward(m, image, 7, NULL, prob, &err), 0);
    for (int i = 0; i < 7; i++)
        CU_ASSERT_DOUBLE_EQUAL(prob[4 * i] + prob[4 * i + 1] + prob[4 * i + 2] + prob[4 * i + 3], 1,
                               1e-5);
    CU_ASSERT_EQUAL(netrt_step(m, image, label, 7, &loss, &err), 0);
    CU_ASSERT(isfinite(loss) && loss > 0);
    CU_ASSERT_EQUAL(err.code, 0);
    netrt_close(m);
    built_free(&b);
}

SUITE_MAIN(TEST(settings), TEST(sums_of_layers), TEST(heads), TEST(judged), TEST(lenet),
           TEST(lenet5), TEST(runs))
