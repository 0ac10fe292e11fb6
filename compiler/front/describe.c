/* describe.c: `netc describe`: the layer table, and the same as JSON.
 *
 * MACs count one multiplication per existing weight and output position.  "field" is the receptive
 * field on the image and its jump; behind a dense layer every unit sees all of it.
 */
#include <string.h>

#include "front/sema.h"

static void commas(char *buf, size_t n, int64_t x) {
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)x);
    size_t at = 0;
    for (int i = 0; i < len && at + 2 < n; i++) {
        if (i && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = '\0';
}

static void macs_text(char *buf, size_t n, double x) {
    if (x == 0)
        snprintf(buf, n, "-");
    else if (x < 1e3)
        snprintf(buf, n, "%.0f", x);
    else if (x < 1e6)
        snprintf(buf, n, "%.1fk", x / 1e3);
    else if (x < 1e9)
        snprintf(buf, n, "%.1fM", x / 1e6);
    else
        snprintf(buf, n, "%.2fG", x / 1e9);
}

static void bytes_text(char *buf, size_t n, double x) {
    if (x < 1024)
        snprintf(buf, n, "%.0f B", x);
    else if (x < 1024 * 1024)
        snprintf(buf, n, "%.0f KiB", x / 1024);
    else if (x < 1024.0 * 1024 * 1024)
        snprintf(buf, n, "%.1f MiB", x / (1024 * 1024));
    else
        snprintf(buf, n, "%.2f GiB", x / (1024.0 * 1024 * 1024));
}

static void field_text(char *buf, size_t n, const Field *f, bool line) {
    if (f->all)
        snprintf(buf, n, "all");
    else if (line)
        snprintf(buf, n, "%lld/%lld", (long long)f->size[1], (long long)f->jump[1]);
    else if (f->size[0] == f->size[1] && f->jump[0] == f->jump[1])
        snprintf(buf, n, "%lld/%lld", (long long)f->size[0], (long long)f->jump[0]);
    else
        snprintf(buf, n, "%lldx%lld/%lldx%lld", (long long)f->size[0], (long long)f->size[1],
                 (long long)f->jump[0], (long long)f->jump[1]);
}

/* Bytes of all layer results of one image: an upper bound of what inference keeps. */
static double activations(const Model *m) {
    double n = 0;
    for (int i = 0; i < m->nlayers; i++) {
        int64_t e = shape_elems(&m->layer[i].out);
        n += e > 0 ? (double)e : 0;
    }
    return 4 * n;
}

static int max_width(const Model *m, bool label) {
    int w = label ? 5 : 9;
    for (int i = 0; i < m->nlayers; i++) {
        int n = (int)strlen(label ? m->layer[i].label : m->layer[i].detail);
        w = n > w ? n : w;
    }
    return w < 44 ? w : 44;
}

static void head(const Model *m, FILE *out) {
    char shape[128] = "";
    fprintf(out, "%s", m->name);
    for (int i = 0; i < m->ninputs; i++) {
        Shape in = line_shape(&m->input[i].shape, m->input[i].line);
        shape_print(&in, shape, sizeof shape);
        fprintf(out, "   input %s %s", m->input[i].name, shape);
    }
    if (m->classes)
        fprintf(out, "   %lld classes", (long long)m->classes);
    if (m->has_data && m->ninputs) {
        const rt_input_spec *p = &m->input[0].prep;
        fprintf(out, "   pixels %g..%g", (double)p->lo, (double)p->hi);
        if (p->resize_short)
            fprintf(out, ", short side %d", p->resize_short);
        if (p->crop)
            fprintf(out, ", crop");
        if (p->pad)
            fprintf(out, ", pad");
        if (p->flip)
            fprintf(out, ", flip");
    }
    fputc('\n', out);
}

/* Of several outputs; the first one is the one that classes are of. */
static void outputs(const Model *m, FILE *out) {
    char shape[128];
    for (int i = 0; i < m->noutputs && m->noutputs > 1; i++) {
        shape_print(&m->output[i].shape, shape, sizeof shape);
        fprintf(out, "%s %s %s%s", i ? " |" : "outputs", m->output[i].name, shape,
                i == 0 && m->classes ? " (classes)" : "");
    }
    fputs(m->noutputs > 1 ? "\n" : "", out);
}

void model_describe(const Model *m, FILE *out) {
    char shape[128], params[40], macs[40], field[64], weights[40], act[40], step[40];
    int lw = max_width(m, true), dw = max_width(m, false);
    head(m, out);
    fprintf(out, "%4s  %-*s  %-*s  %-12s %12s %9s  %s\n", "#", lw, "layer", dw, "operation",
            "output", "parameters", "MACs", "field/jump");
    for (int i = 0; i < m->nlayers; i++) {
        const ModelLayer *l = &m->layer[i];
        Shape seen = line_shape(&l->out, l->line);
        shape_print(&seen, shape, sizeof shape);
        commas(params, sizeof params, l->params);
        macs_text(macs, sizeof macs, l->macs);
        field_text(field, sizeof field, &l->field, l->line);
        fprintf(out, "%4d  %-*s  %-*s  %-12s %12s %9s  %s%s\n", i + 1, lw,
                l->follows ? "" : l->label, dw, l->detail, shape, params, macs, field,
                l->params > l->trainable ? "  frozen" : "");
    }
    commas(params, sizeof params, m->trainable + m->frozen);
    macs_text(macs, sizeof macs, m->macs);
    fprintf(out, "%4s  %-*s  %-*s  %-12s %12s %9s\n", "", lw, "total", dw, "", "", params, macs);
    outputs(m, out);
    double all = (double)(m->trainable + m->frozen);
    bytes_text(weights, sizeof weights, 4 * all);
    bytes_text(act, sizeof act, activations(m));
    fprintf(out, "weights %s | layer outputs of 1 image %s", weights, act);
    if (m->mode[MODEL_TRAIN].graph || m->has_train) {
        /* values and their gradients; weights, gradients and momentum */
        double n = (double)(m->train.batch > 0 ? m->train.batch : 1);
        bytes_text(step, sizeof step, 2 * n * activations(m) + 12 * all);
        fprintf(out, " | training, batch %.0f: about %s", n, step);
    }
    fputc('\n', out);
    if (m->frozen) {
        commas(params, sizeof params, m->trainable);
        commas(macs, sizeof macs, m->frozen);
        fprintf(out, "%s trainable, %s frozen\n", params, macs);
    }
}

/* [channels, frames, height, width]; one frame is not said */
static void json_shape(FILE *out, const Shape *s) {
    fputc('[', out);
    for (int i = 0; i < s->rank; i++) {
        fprintf(out, "%s%lld", i ? "," : "", (long long)s->dim[i]);
        if (i == 0 && shape_frames(s) > 1)
            fprintf(out, ",%lld", (long long)shape_frames(s));
    }
    fputc(']', out);
}

static void json_text(FILE *out, const char *text) {
    Arena *a = arena_new();
    StrBuf b = sb_new(a);
    sb_json(&b, text);
    fputs(b.text, out);
    arena_free(a);
}

void model_describe_json(const Model *m, FILE *out) {
    fprintf(out, "{\"schema\":1,\"model\":");
    json_text(out, m->name);
    fprintf(out,
            ",\"spec\":\"%s\",\"classes\":%lld,\"trainable\":%lld,\"frozen\":%lld,"
            "\"macs\":%.0f,\"inputs\":[",
            m->hash, (long long)m->classes, (long long)m->trainable, (long long)m->frozen, m->macs);
    for (int i = 0; i < m->ninputs; i++) {
        fprintf(out, "%s{\"name\":", i ? "," : "");
        json_text(out, m->input[i].name);
        fputs(",\"shape\":", out);
        Shape in = line_shape(&m->input[i].shape, m->input[i].line);
        json_shape(out, &in);
        fputc('}', out);
    }
    fputs("],\"outputs\":[", out);
    for (int i = 0; i < m->noutputs; i++) {
        fprintf(out, "%s{\"name\":", i ? "," : "");
        json_text(out, m->output[i].name);
        fputs(",\"shape\":", out);
        json_shape(out, &m->output[i].shape);
        fprintf(out, ",\"softmax\":%s}", m->output[i].softmax ? "true" : "false");
    }
    fputs("],\"layers\":[", out);
    for (int i = 0; i < m->nlayers; i++) {
        const ModelLayer *l = &m->layer[i];
        fprintf(out, "%s\n{\"label\":", i ? "," : "");
        json_text(out, l->label);
        fprintf(out, ",\"op\":\"%s\",\"detail\":", l->op);
        json_text(out, l->detail);
        fputs(",\"output\":", out);
        Shape seen = line_shape(&l->out, l->line);
        json_shape(out, &seen);
        fputs(",\"in\":[", out);
        for (int k = 0; k < l->nin; k++)
            fprintf(out, "%s%d", k ? "," : "", l->in[k]);
        fprintf(out, "],\"params\":%lld,\"trainable\":%lld,\"macs\":%.0f", (long long)l->params,
                (long long)l->trainable, l->macs);
        fprintf(out,
                ",\"field\":{\"all\":%s,\"size\":[%lld,%lld],\"jump\":[%lld,%lld],"
                "\"start\":[%lld,%lld]}}",
                l->field.all ? "true" : "false", (long long)l->field.size[0],
                (long long)l->field.size[1], (long long)l->field.jump[0],
                (long long)l->field.jump[1], (long long)l->field.start[0],
                (long long)l->field.start[1]);
    }
    fputs("]}\n", out);
}
