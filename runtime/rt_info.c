/* rt_info.c: `NAME info`: what the network is: layers, parameters, preprocessing, how it was built,
 * memory it needs, and the spec it came from.
 */
#include <stdio.h>
#include <string.h>

#include "rt_augment.h"
#include "rt_cli.h"

static void shape(char *buf, size_t size, const rt_layer *l) {
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < l->out_rank && i < 3; i++)
        used +=
            (size_t)snprintf(buf + used, size - used, "%s%lld", i ? "x" : "", (long long)l->out[i]);
}

static const char *engineering(double v, char buf[24]) {
    if (v >= 1e9)
        snprintf(buf, 24, "%.2fG", v / 1e9);
    else if (v >= 1e6)
        snprintf(buf, 24, "%.1fM", v / 1e6);
    else if (v >= 1e3)
        snprintf(buf, 24, "%.1fk", v / 1e3);
    else if (v > 0)
        snprintf(buf, 24, "%.0f", v);
    else
        snprintf(buf, 24, "-");
    return buf;
}

static void dims(rt_text *o, int rank, const int64_t *dim, const char *between) {
    for (int i = 0; i < rank; i++)
        rt_text_printf(o, "%s%lld", i ? between : "", (long long)dim[i]);
}

/* Inputs that are no pictures: clips, sequences and vectors.  How many extents, 0: a picture. */
static int extents(const rt_input_spec *s, int64_t dim[4]) {
    int rank = 0;
    dim[rank++] = s->c;
    if (s->frames > 1) {
        dim[rank++] = s->frames;
        dim[rank++] = s->h / s->frames;
        dim[rank++] = s->w;
    } else if (s->h == 1 && s->w > 1) {
        dim[rank++] = s->w;
    }
    return rank > 1 || (s->h == 1 && s->w == 1) ? rank : 0;
}

static void preprocess(rt_text *o, const rt_input_spec *s) {
    int64_t dim[4];
    int rank = extents(s, dim);
    if (rank) {
        rt_text_printf(o, "input %s: ", s->name);
        dims(o, rank, dim, "x");
        rt_text_add(o, rank == 4   ? ", channels x frames x height x width\n"
                       : rank == 2 ? ", channels x steps\n"
                                   : " numbers\n");
        return;
    }
    rt_text_printf(o, "input %s: %s %lldx%lld", s->name,
                   s->c == 1 ? "grey"
                   : s->bgr  ? "BGR"
                             : "RGB",
                   (long long)s->h, (long long)s->w);
    if (s->resize_short)
        rt_text_printf(o, ", shorter side to %d", s->resize_short);
    if (s->crop)
        rt_text_add(o, ", centre crop");
    if (s->pad)
        rt_text_add(o, ", padded");
    rt_text_printf(o, ", 0..255 to %g..%g", (double)s->lo, (double)s->hi);
    int normal = 0;
    for (int c = 0; c < s->c && c < 4; c++)
        normal |= s->mean[c] != 0 || (s->std[c] != 0 && s->std[c] != 1);
    if (normal) {
        rt_text_add(o, ", then (v - mean) / std with");
        for (int c = 0; c < s->c && c < 4; c++)
            rt_text_printf(o, " %g/%g", (double)s->mean[c],
                           s->std[c] != 0 ? (double)s->std[c] : 1.0);
    }
    if (s->mean_image != RT_MEAN_CHANNELS)
        rt_text_add(o, ", less a mean of its own for every pixel");
    if (s->flip || rt_augment_any(s->augment))
        rt_text_printf(o, ", %s at random in training",
                       !s->flip                     ? "changed"
                       : rt_augment_any(s->augment) ? "mirrored and changed"
                                                    : "mirrored");
    rt_text_add(o, "\n");
}

static void layers(rt_text *o, const rt_model *m) {
    char out[80], params[32], macs[24], field[24];
    rt_text_add(
        o, "  #  layer         op                     output          params     MACs  field\n");
    double total = 0;
    for (int i = 0; i < m->nlayers; i++) {
        const rt_layer *l = &m->layer[i];
        char op[64];
        snprintf(op, sizeof op, "%s", l->detail && l->detail[0] ? l->detail : l->op);
        shape(out, sizeof out, l);
        if (l->rf > 0)
            snprintf(field, sizeof field, "%lld", (long long)l->rf);
        else
            snprintf(field, sizeof field, "all");
        rt_text_printf(o, "%3d  %-12.12s  %-21.21s  %-13s %9s %8s %6s\n", i + 1, l->label, op, out,
                       l->params ? rt_text_count(l->params, params) : "-",
                       engineering(l->macs, macs), field);
        total += l->macs;
    }
    rt_text_printf(o, "     total                                              %9s %8s\n",
                   rt_text_count(m->param_count, params), engineering(total, macs));
}

/* Of several outputs; the first one is the one that classes are of. */
static void outputs(rt_text *o, const rt_model *m) {
    rt_text_add(o, m->noutputs > 1 ? "outputs" : "");
    for (int i = 0; i < m->noutputs && m->noutputs > 1; i++) {
        rt_text_printf(o, "%s %s ", i ? " |" : "", m->output[i].name);
        dims(o, m->output[i].rank, m->output[i].dim, "x");
        rt_text_add(o, i == 0 && m->classes > 0 ? " (classes)" : "");
    }
    rt_text_add(o, m->noutputs > 1 ? "\n" : "");
}

static void memory(rt_text *o, const rt_model *m) {
    char a[24], b[24];
    const rt_program *f = &m->program[RT_FORWARD], *t = &m->program[RT_TRAIN];
    rt_text_printf(o, "weights %s", rt_text_bytes_human((double)m->param_bytes, a));
    if (f->nkernels)
        rt_text_printf(o, " | activations of one image %s",
                       rt_text_bytes_human((double)f->act_bytes, a));
    if (t->nkernels)
        rt_text_printf(o, " | training, batch %lld: %s", (long long)m->train.batch,
                       rt_text_bytes_human((double)t->act_bytes * (double)m->train.batch +
                                               (double)t->fix_bytes + (double)m->state_bytes,
                                           b));
    rt_text_add(o, "\n");
}

static void as_json(rt_text *o, const rt_model *m) {
    rt_text_add(o, "{\"model\":");
    rt_text_json(o, m->name);
    const char *const pair[][2] = {{"spec_file", m->spec_file},
                                   {"spec_hash", m->spec_hash},
                                   {"version", m->version},
                                   {"target", m->target}};
    for (int i = 0; i < 4; i++) {
        rt_text_printf(o, ",\"%s\":", pair[i][0]);
        rt_text_json(o, pair[i][1]);
    }
    rt_text_printf(o, ",\"classes\":%lld,\"parameters\":%lld,\"input\":[", (long long)m->classes,
                   (long long)m->param_count);
    int64_t dim[4] = {0}, picture[3] = {m->input[0].c, m->input[0].h, m->input[0].w};
    int rank = extents(&m->input[0], dim);
    dims(o, rank ? rank : 3, rank ? dim : picture, ",");
    rt_text_add(o, "],\"outputs\":[");
    for (int i = 0; i < m->noutputs; i++) {
        rt_text_add(o, i ? ",{\"name\":" : "{\"name\":");
        rt_text_json(o, m->output[i].name);
        rt_text_add(o, ",\"shape\":[");
        dims(o, m->output[i].rank, m->output[i].dim, ",");
        rt_text_printf(o, "],\"softmax\":%s}",
                       m->output[i].flags & RT_OUTPUT_SOFTMAX ? "true" : "false");
    }
    rt_text_add(o, "],\"layers\":[");
    for (int i = 0; i < m->nlayers; i++) {
        const rt_layer *l = &m->layer[i];
        rt_text_add(o, i ? ",{\"label\":" : "{\"label\":");
        rt_text_json(o, l->label);
        rt_text_add(o, ",\"op\":");
        rt_text_json(o, l->op);
        rt_text_add(o, ",\"output\":[");
        for (int d = 0; d < l->out_rank && d < 3; d++)
            rt_text_printf(o, "%s%lld", d ? "," : "", (long long)l->out[d]);
        rt_text_add(o, "],\"in\":[");
        for (int k = 0; k < l->nin; k++)
            rt_text_printf(o, "%s%d", k ? "," : "", l->in[k]);
        rt_text_printf(o, "],\"params\":%lld,\"macs\":%.0f,\"receptive_field\":%lld}",
                       (long long)l->params, l->macs, (long long)l->rf);
    }
    rt_text_add(o, "],\"tensors\":[");
    int first = 1;
    for (int i = 0; i < m->nparams; i++) {
        if (!rt_param_saved(&m->param[i]))
            continue;
        rt_text_add(o, first ? "{\"name\":" : ",{\"name\":");
        rt_text_json(o, m->param[i].name);
        rt_text_add(o, ",\"shape\":[");
        for (int d = 0; d < m->param[i].rank; d++)
            rt_text_printf(o, "%s%lld", d ? "," : "", (long long)m->param[i].dim[d]);
        rt_text_add(o, "]}");
        first = 0;
    }
    rt_text_add(o, "]}\n");
}

static void as_text(rt_text *o, const rt_model *m) {
    char count[32];
    rt_text_printf(o, "%s   %lld classes   %s parameters   (%s, spec %.16s)\n", m->name,
                   (long long)m->classes, rt_text_count(m->param_count, count), m->spec_file,
                   m->spec_hash);
    for (int i = 0; i < m->ninputs; i++)
        preprocess(o, &m->input[i]);
    rt_text_add(o, "\n");
    layers(o, m);
    outputs(o, m);
    memory(o, m);
    if (m->train.train_data)
        rt_text_printf(o,
                       "training: %s, batch %lld, %lld epochs, lr %g, momentum %g, decay %g, "
                       "seed %llu\n",
                       m->train.train_data, (long long)m->train.batch, (long long)m->train.epochs,
                       m->train.lr, m->train.momentum, m->train.decay,
                       (unsigned long long)m->train.seed);
    rt_text_printf(o, "built by netc %s for %s%s%s\n", m->version, m->target,
                   m->cpu_needs && m->cpu_needs[0] ? ", needs " : "",
                   m->cpu_needs ? m->cpu_needs : "");
}

int rt_verb_info(rt_cli *cli, int argc, char **argv) {
    int spec = 0;
    const rt_arg table[] = {
        {"spec", 0, RT_ARG_FLAG, NULL, &spec, 0, 0, "print the source of the network instead"},
        RT_OPT_JSON(cli)};
    static const rt_verb verb = {"info", "layers, parameters, preprocessing, build", "[OPTIONS]",
                                 "info\ninfo --json\ninfo --spec > copy.net"};
    const char *operands[argc + 1];
    int n = 0, code;
    rt_error err = {0};
    rt_text o = {0};
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    if (spec)
        rt_text_add(&o, cli->model->spec_text ? cli->model->spec_text : "");
    else if (cli->json)
        as_json(&o, cli->model);
    else
        as_text(&o, cli->model);
    rt_cli_print(&o, &err);
    return rt_report(&cli->progress, &err);
}
