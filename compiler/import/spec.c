/* spec.c: an imported network as text of the language.
 *
 * Every layer with weights, every pool and every join is a statement of its own; what follows it
 * and nobody else reads (rectifiers, normalisation, dropout) goes on its line.  What a reader
 * cannot see (sizes) stands behind as a comment.  Preprocessing is the data section. ensures: the
 * text parses; names are those of im_label.
 */
#include "import/spec.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers and arguments ---- */
/* The shortest text that is this number again in single precision: "5e-5", "0.75". */
void spec_number(StrBuf *out, double x) {
    char text[40];
    if (!isfinite(x)) {
        sb_puts(out, "0");
        return;
    }
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if ((float)strtod(text, NULL) == (float)x)
            break;
    }
    char *e = strchr(text, 'e');
    if (!e) {
        sb_puts(out, text);
        return;
    }
    long power = strtol(e + 1, NULL, 10);
    if (power > 0 && power < 10) {
        sb_printf(out, "%.0f", x);
        return;
    }
    sb_write(out, text, (size_t)(e - text));
    sb_printf(out, "e%ld", power);
}

static void put_extent(StrBuf *out, const int64_t k[2]) {
    sb_printf(out, "%lldx%lld", (long long)k[0], (long long)k[1]);
}

static void put_box(StrBuf *out, int64_t frames, const int64_t k[2]) {
    if (frames == k[0] && k[0] == k[1])
        sb_printf(out, "%lld", (long long)frames);
    else
        sb_printf(out, "%lldx%lldx%lld", (long long)frames, (long long)k[0], (long long)k[1]);
}

/* Of a sequence the second alone, over frames three. */
static void put_window(StrBuf *out, const ImLayer *l) {
    if (l->deep.kernel)
        sb_printf(out, "%lldx%lldx%lld", (long long)l->deep.kernel, (long long)l->kernel[0],
                  (long long)l->kernel[1]);
    else if (l->line)
        sb_printf(out, "%lld", (long long)l->kernel[1]);
    else
        put_extent(out, l->kernel);
}

/* ", stride = 2" or ", stride = 2x1"; nothing when all are as usual.  Of a window over frames the
 * number for frames, else 0, stands beside those of rows and columns. */
static void put_pair(StrBuf *out, const ImLayer *l, const char *name, const int64_t v[2],
                     const int64_t usual[2], int64_t deep, int64_t usual_deep) {
    if ((v[0] == usual[0] || l->line) && v[1] == usual[1] && deep == usual_deep)
        return;
    sb_printf(out, ", %s = ", name);
    if (l->deep.kernel)
        put_box(out, deep, v);
    else if (v[0] == v[1] || l->line)
        sb_printf(out, "%lld", (long long)v[1]);
    else
        put_extent(out, v);
}

static void put_pads(StrBuf *out, const int64_t p[4]) {
    if (p[0] == p[1] && p[2] == p[3] && p[0] == p[2])
        sb_printf(out, "%lld", (long long)p[0]);
    else if (p[0] == p[1] && p[2] == p[3])
        sb_printf(out, "%lldx%lld", (long long)p[0], (long long)p[2]);
    else
        sb_printf(out, "[%lld, %lld, %lld, %lld]", (long long)p[0], (long long)p[1],
                  (long long)p[2], (long long)p[3]);
}

static void put_deep_pad(StrBuf *out, const int64_t deep[2], const int64_t p[4]) {
    if (deep[0] == deep[1] && p[0] == p[1] && p[2] == p[3])
        put_box(out, deep[0], (const int64_t[]){p[0], p[2]});
    else
        sb_printf(out, "[%lld, %lld, %lld, %lld, %lld, %lld]", (long long)deep[0],
                  (long long)deep[1], (long long)p[0], (long long)p[1], (long long)p[2],
                  (long long)p[3]);
}

static void put_pad(StrBuf *out, const ImLayer *l) {
    const int64_t *p = l->pad;
    if (!p[0] && !p[1] && !p[2] && !p[3] && !l->deep.pad[0] && !l->deep.pad[1])
        return;
    sb_puts(out, ", pad = ");
    if (l->deep.kernel)
        put_deep_pad(out, l->deep.pad, p);
    else if (l->line && p[2] == p[3])
        sb_printf(out, "%lld", (long long)p[2]);
    else if (l->line)
        sb_printf(out, "[%lld, %lld]", (long long)p[2], (long long)p[3]);
    else
        put_pads(out, p);
}

static void put_named(StrBuf *out, const char *name, double x) {
    sb_printf(out, "%s = ", name);
    spec_number(out, x);
}

static void conv_args(StrBuf *out, const ImLayer *l) {
    static const int64_t one[2] = {1, 1}, none[2] = {0, 0};
    sb_printf(out, "(%lld, ", (long long)l->maps);
    put_window(out, l);
    put_pair(out, l, "stride", l->stride, one, l->deep.stride, 1);
    put_pad(out, l);
    if (l->op == IM_DECONV)
        put_pair(out, l, "output_pad", l->out_pad, none, l->deep.out_pad, 0);
    put_pair(out, l, "dilation", l->dilation, one, l->deep.dilation, 1);
    if (l->groups > 1)
        sb_printf(out, ", groups = %lld", (long long)l->groups);
    sb_puts(out, l->bias ? ")" : ", bias = no)");
}

/* Does rounding up give another size than rounding down? */
static bool rounds_up(const ImNet *net, const ImLayer *l) {
    const ImLayer *src = &net->layer.data[l->in[0]];
    for (int a = 0; a < 2; a++) {
        int64_t room = src->dim[1 + a] + l->pad[2 * a] + l->pad[2 * a + 1] - l->kernel[a];
        if (room / l->stride[a] + 1 != l->dim[1 + a])
            return true;
    }
    const ImDeep *d = &l->deep;
    return d->kernel &&
           (src->frames + d->pad[0] + d->pad[1] - d->kernel) / d->stride + 1 != l->frames;
}

static void pool_args(StrBuf *out, const ImNet *net, const ImLayer *l) {
    sb_putc(out, '(');
    put_window(out, l);
    if (l->op == IM_LP_POOL && l->number[0] != 2)
        put_named(out, ", p", l->number[0]);
    put_pair(out, l, "stride", l->stride, l->kernel, l->deep.stride,
             l->deep.kernel ? l->deep.kernel : 1);
    put_pad(out, l);
    if (l->ceil && rounds_up(net, l))
        sb_puts(out, ", round = ceil");
    else if (l->ragged)
        sb_puts(out, ", round = floor");
    sb_puts(out, l->count_pad ? ", count_pad = yes)" : ")");
}

static void lrn_args(StrBuf *out, const ImLayer *l) {
    sb_printf(out, "(%lld, ", (long long)l->size);
    put_named(out, "k", l->number[0]);
    put_named(out, ", alpha", l->number[1]);
    put_named(out, ", beta", l->number[2]);
    sb_puts(out, l->alpha_per_size ? ", alpha_per = size" : "");
    sb_puts(out, l->within ? ", region = within)" : ")");
}

static void numbers(StrBuf *out, const double *v, int n) {
    for (int i = 0; i < n; i++) {
        sb_puts(out, i ? ", " : "(");
        spec_number(out, v[i]);
    }
    sb_putc(out, ')');
}

static void put_factor(StrBuf *out, const int64_t k[2]) {
    sb_putc(out, '(');
    if (k[0] == k[1])
        sb_printf(out, "%lld", (long long)k[0]);
    else
        put_extent(out, k);
}

static void put_size(StrBuf *out, const int64_t extent[2]) {
    sb_putc(out, '(');
    put_extent(out, extent);
}

static void pad_args(StrBuf *out, const ImLayer *l) {
    bool cells = l->pad[0] || l->pad[1] || l->pad[2] || l->pad[3];
    sb_putc(out, '(');
    if (cells)
        put_pads(out, l->pad);
    if (l->mode)
        sb_printf(out, ", mode = %s", l->mode);
    if (l->at[0] || l->at[1])
        sb_printf(out, "%smaps = %lld", cells ? ", " : "", (long long)l->at[0]);
    if (l->at[0] != l->at[1])
        sb_printf(out, ", maps_after = %lld", (long long)l->at[1]);
    sb_putc(out, ')');
}

/* Operations that move cells. */
static void moved_args(StrBuf *out, const ImLayer *l) {
    switch (l->op) {
    case IM_UPSAMPLE:
    case IM_DOWNSAMPLE:
        put_factor(out, l->stride);
        break;
    case IM_RESIZE:
    case IM_CROP:
        put_size(out, l->extent);
        break;
    case IM_SLICE:
        sb_printf(out, "(%lld, %lld)", (long long)l->at[0], (long long)l->maps);
        return;
    case IM_TRANSPOSE:
        sb_printf(out, "(%s)", l->mode);
        return;
    case IM_RESHAPE:
        sb_printf(out, "(%lld, ", (long long)l->maps);
        put_extent(out, l->extent);
        sb_putc(out, ')');
        return;
    case IM_FRAMES:
        sb_printf(out, "(%lld, %lld", (long long)l->at[0], (long long)l->maps);
        if (l->stride[0] != 1)
            sb_printf(out, ", step = %lld", (long long)l->stride[0]);
        sb_putc(out, ')');
        return;
    case IM_CONCAT:
        sb_puts(out, l->mode ? "(axis = frames)" : "");
        return;
    case IM_MEAN:
    case IM_MAX_OVER:
        sb_printf(out, "(axis = %s)", l->mode);
        return;
    case IM_PAD:
        pad_args(out, l);
        return;
    default:
        return;
    }
    if (l->op == IM_CROP)
        sb_printf(out, ", top = %lld, left = %lld", (long long)l->at[0], (long long)l->at[1]);
    else if (l->mode)
        sb_printf(out, ", mode = %s", l->mode);
    sb_puts(out, l->align ? ", align = yes)" : ")");
}

const char *spec_stage(Im *im, const ImNet *net, const ImLayer *l) {
    StrBuf out = sb_new(im->arena);
    if (l->global)
        return l->op == IM_MAXPOOL ? "global_maxpool" : "global_avgpool";
    sb_puts(&out, im_spelling[l->op]);
    switch (l->op) {
    case IM_CONV:
    case IM_DECONV:
        conv_args(&out, l);
        break;
    case IM_DENSE:
        sb_printf(&out, "(%lld%s)", (long long)l->maps, l->bias ? "" : ", bias = no");
        break;
    case IM_MAXPOOL:
    case IM_AVGPOOL:
    case IM_LP_POOL:
        pool_args(&out, net, l);
        break;
    case IM_LSTM:
    case IM_GRU:
        sb_printf(&out, "(%lld%s%s)", (long long)l->maps, l->all ? ", return = all" : "",
                  l->reverse ? ", reverse = yes" : "");
        break;
    case IM_LRN:
        lrn_args(&out, l);
        break;
    case IM_BN:
    case IM_INSTANCE_NORM:
        if ((float)l->number[0] != 1e-5f) {
            sb_puts(&out, "(");
            put_named(&out, "eps", l->number[0]);
            sb_puts(&out, ")");
        }
        break;
    case IM_LEAKY_RELU:
        numbers(&out, l->number, 1);
        break;
    case IM_DROPOUT:
        sb_putc(&out, '(');
        spec_number(&out, 100 * l->number[0]);
        sb_puts(&out, "%)");
        break;
    case IM_ELU:
        if (l->number[0] != 1)
            numbers(&out, l->number, 1);
        break;
    case IM_CLIP:
        numbers(&out, l->number, 2);
        break;
    case IM_POW:
        numbers(&out, l->number, 1);
        break;
    case IM_SCALE:
        sb_putc(&out, '(');
        spec_number(&out, l->number[0]);
        if (l->number[1] != 0)
            put_named(&out, ", shift", l->number[1]);
        sb_putc(&out, ')');
        break;
    case IM_PRELU:
        sb_puts(&out, l->param[0].tensor.count == 1 && l->dim[0] != 1 ? "(shared = yes)" : "");
        break;
    default:
        moved_args(&out, l);
        break;
    }
    return out.text;
}

/* ---- statements ---- */
static void count_uses(ImNet *net) {
    for (int i = 0; i < net->layer.len; i++)
        net->layer.data[i].uses = 0;
    for (int i = 0; i < net->layer.len; i++)
        for (int k = 0; !im_is_prob(net, i) && k < net->layer.data[i].nin; k++)
            net->layer.data[net->layer.data[i].in[k]].uses++;
}

/* Rectifiers belong to what they follow; others to the part of the network ("fire2") in their name.
 */
static bool same_part(const char *head, const ImLayer *l) {
    const char *dot = strrchr(head, '.');
    bool other = l->op == IM_DROPOUT || l->op == IM_LRN || l->op == IM_PAD || l->op == IM_UPSAMPLE;
    return !other || !dot || !*l->name || strncmp(l->label, head, (size_t)(dot - head)) == 0;
}

void spec_statements(Im *im, ImNet *net, Statements *out, int *of) {
    count_uses(net);
    for (int i = 0; i < net->layer.len; i++)
        of[i] = -1;
    for (int i = 1; i < net->layer.len; i++) {
        ImLayer *l = &net->layer.data[i];
        if (im_is_prob(net, i))
            continue;
        Statement *last = out->len ? &out->data[out->len - 1] : NULL;
        const ImLayer *tail = last ? &net->layer.data[last->tail] : NULL;
        const char *stage = spec_stage(im, net, l);
        bool scored = last && im_is_score(net, last->tail);
        if (last && (im_flags[l->op] & IM_UNARY) && l->in[0] == last->tail && tail->uses == 1 &&
            !scored && same_part(last->label, l)) {
            of[last->tail] = -1; /* nobody else reads it */
            last->stages = arena_printf(im->arena, "%s -> %s", last->stages, stage);
            last->tail = i;
            last->count++;
        } else {
            vec_push(im->arena, out, ((Statement){i, i, 1, l->label, stage}));
        }
        of[i] = out->len - 1;
    }
}

/* ---- the file ---- */
static const char *net_name(Im *im, const ImNet *net, const char *stem) {
    static const char *const nothing[] = {"main_graph", "torch_jit", "torch-jit-export",
                                          "tf2onnx",    "graph",     "g"};
    const char *from = *net->name ? net->name : stem;
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (strcmp(net->name, nothing[i]) == 0) /* what exporters say when they know no name */
            from = stem;
    StrBuf out = sb_new(im->arena);
    bool start = true;
    for (const char *p = from; *p && out.length < 60; p++) {
        if (!isalnum((unsigned char)*p)) {
            start = true;
            continue;
        }
        if (out.length == 0 && isdigit((unsigned char)*p))
            sb_puts(&out, "Net");
        sb_putc(&out, start ? (char)toupper((unsigned char)*p) : *p);
        start = false;
    }
    return out.length ? out.text : "Net";
}

static void put_grouped(StrBuf *out, int64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            sb_putc(out, ',');
        sb_putc(out, digits[i]);
    }
}

static void put_head(const ImNet *net, const char *stem, const char *file, StrBuf *out) {
    int64_t trained = 0, fixed = 0;
    for (int i = 0; i < net->layer.len; i++)
        for (int p = 0; p < net->layer.data[i].params; p++) {
            const ImParam *param = &net->layer.data[i].param[p];
            *(param->statistic ? &fixed : &trained) += param->tensor.count;
        }
    sb_printf(out, "# %s.net: %s, imported from %s by netc import.\n", stem, file, net->format);
    sb_printf(out, "# weights  %s.safetensors\n# size     ", stem);
    put_grouped(out, trained);
    sb_puts(out, " parameters");
    if (fixed) {
        sb_puts(out, ", ");
        put_grouped(out, fixed);
        sb_puts(out, " running means and variances");
    }
    sb_puts(out, "\n");
}

static void put_list(StrBuf *out, const double *v, int n) {
    sb_puts(out, n > 1 ? "[" : "");
    for (int i = 0; i < n; i++) {
        sb_puts(out, i ? ", " : "");
        spec_number(out, v[i]);
    }
    sb_puts(out, n > 1 ? "]" : "");
}

/* (pixel - mean) * scale / std, in the words of the data section. */
static void put_data(const ImNet *net, StrBuf *out) {
    const ImPrep *p = &net->prep;
    const ImLayer *input = &net->layer.data[0];
    double std[4];
    bool one = p->std[0] == p->std[1] && p->std[1] == p->std[2];
    for (int i = 0; i < 4; i++)
        std[i] = p->std[i] / p->scale;
    sb_puts(out, "\n  data { ");
    if (p->means || !one) {
        sb_puts(out, "pixels = range(0, 255)");
        if (p->means) {
            sb_puts(out, "; mean = ");
            put_list(out, p->mean, p->means);
        }
        if (std[0] != 1 || !one) {
            sb_puts(out, "; std = ");
            put_list(out, std, one ? 1 : 3);
        }
    } else {
        sb_puts(out, "pixels = range(0, ");
        spec_number(out, 255 / std[0]);
        sb_puts(out, ")");
    }
    if (input->dim[0] == 3)
        sb_printf(out, "; order = %s", p->bgr ? "bgr" : "rgb");
    if (p->crop && p->crop == input->dim[1] && p->crop == input->dim[2]) {
        if (p->resize > 0)
            sb_printf(out, "; resize = short(%lld)", (long long)p->resize);
        sb_printf(out, "; crop = %lldx%lld", (long long)p->crop, (long long)p->crop);
    }
    sb_puts(out, " }");
    if (p->comment)
        sb_printf(out, "  # the file names a %s", p->comment);
    else if (!p->known)
        sb_puts(out, "  # the file does not say: check range, mean and order");
    sb_puts(out, "\n");
    if (p->size_comment)
        sb_printf(out, "  # %s\n", p->size_comment);
}

static const char *score_label(Im *im, const Statements *all, const int *of, int score) {
    return of[score] < 0 ? "image" : im_label_text(im, all->data[of[score]].label);
}

/* The name of a further output: the file's, as one word that nothing else has. */
static const char *end_name(Im *im, const ImNet *net, Map *taken, const char *name) {
    StrBuf word = sb_new(im->arena);
    if (isdigit((unsigned char)*name) || !*name)
        sb_puts(&word, "out");
    for (const char *p = name; *p && word.length < 60; p++)
        sb_putc(&word, isalnum((unsigned char)*p) ? *p : '_');
    const char *text = word.text;
    bool used = im_is_reserved(text) || map_has(taken, text);
    for (int n = 1; used; n++) {
        text = arena_printf(im->arena, n > 1 ? "%s_out%d" : "%s_out", word.text, n);
        used = map_has(taken, text);
    }
    for (int i = 0; i < net->layer.len && !used; i++) { /* labels, of layers and of blocks */
        const char *label = net->layer.data[i].label ? net->layer.data[i].label : "";
        if (strlen(text) == strcspn(label, ".") && strncmp(label, text, strlen(text)) == 0)
            return end_name(im, net, taken, arena_printf(im->arena, "%s_out", text));
    }
    map_put(taken, text, (void *)(uintptr_t)text);
    return text;
}

static void put_more(Im *im, ImNet *net, const Statements *all, const int *of, StrBuf *out) {
    Map taken = map_new(im->arena);
    static const char *const own[] = {"prob", "score", "picture", "image", "label"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        map_put(&taken, own[i], (void *)(uintptr_t)own[i]);
    for (int i = 0; i < net->more.len; i++) {
        const ImEnd *e = &net->more.data[i];
        const char *label = score_label(im, all, of, e->score);
        bool soft = e->prob >= 0;
        sb_printf(out, "  output ");
        if (soft || strcmp(label, e->name) != 0)
            sb_printf(out, "%s = ", end_name(im, net, &taken, e->name));
        sb_printf(out, soft ? "softmax(%s)\n" : "%s\n", label);
    }
}

static void put_ends(Im *im, ImNet *net, const Statements *all, const int *of, StrBuf *out) {
    const ImLayer *score = im_at(net, net->score);
    const char *label = score_label(im, all, of, net->score);
    bool classes = score->rank == 1 && score->dim[0] >= 2;
    if (net->prob >= 0)
        sb_printf(out, "\n  output prob = softmax(%s)\n", label);
    else
        sb_printf(out, "\n  output %s = %s\n", score->rank == 1 ? "score" : "picture", label);
    put_more(im, net, all, of, out);
    if (classes)
        sb_printf(out,
                  "  loss   ce:  cross_entropy(%s, label)\n"
                  "  metric err: error_rate(argmax(%s), label)\n",
                  label, label);
}

const char *im_spec(Im *im, ImNet *net, const char *stem, const char *file) {
    StrBuf out = sb_new(im->arena), blocks = sb_new(im->arena), body = sb_new(im->arena);
    Statements all = {0};
    int *of = ARENA_ARRAY(im->arena, net->layer.len, int);
    const ImLayer *input = im_at(net, 0), *score = im_at(net, net->score);
    spec_statements(im, net, &all, of);
    spec_body(im, net, &all, of, &blocks, &body);
    put_head(net, stem, file, &out);
    sb_puts(&out, blocks.length ? blocks.text : ""); /* each ends with an empty line */
    sb_printf(&out, "net %s {\n  input image: f32[%lld", net_name(im, net, stem),
              (long long)input->dim[0]);
    if (input->line)
        sb_printf(&out, ", %lld", (long long)input->dim[2]);
    else if (input->rank == 3 && input->frames > 1)
        sb_printf(&out, ", %lld, %lld, %lld", (long long)input->frames, (long long)input->dim[1],
                  (long long)input->dim[2]);
    else if (input->rank == 3)
        sb_printf(&out, ", %lld, %lld", (long long)input->dim[1], (long long)input->dim[2]);
    sb_puts(&out, "]\n");
    if (score->rank == 1 && score->dim[0] >= 2)
        sb_printf(&out, "  input label: class[%lld]\n", (long long)score->dim[0]);
    sb_putc(&out, '\n');
    sb_puts(&out, body.length ? body.text : "");
    put_ends(im, net, &all, of, &out);
    if (input->rank == 3 && !input->line && input->frames == 1)
        put_data(net, &out);
    sb_puts(&out, "}\n");
    return out.text;
}
