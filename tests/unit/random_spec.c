/* random_spec.c: see random_spec.h. */
#include "random_spec.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "ref_cases.h"

enum { MOST_CELLS = 6000, MOST_CHANNELS = 48, LAYERS = 6 };

typedef struct Gen {
    StrBuf out;
    uint32_t state;
    int layer;
    int64_t c, h, w;  /* of the last layer's result */
    const char *last; /* its label */
    Arena *keep;
} Gen;

static int64_t pick(Gen *r, int64_t n) {
    return (ref_random(&r->state) >> 7) % (uint32_t)n;
}

static bool chance(Gen *r, int percent) {
    return pick(r, 100) < percent;
}

/* "  c3: " and the label becomes the last one */
static void begin(Gen *r, const char *kind) {
    r->last = arena_printf(r->keep, "%s%d", kind, ++r->layer);
    sb_printf(&r->out, "  %s: ", r->last);
}

/* In one layer of eight; then the layer in front needs no bias. */
static void normalise(Gen *r) {
    if (chance(r, 13))
        sb_printf(&r->out, " -> %s",
                  r->h * r->w > 8 && chance(r, 25) ? "instancenorm" : "bn(eps = 0.01)");
}

static void function(Gen *r) {
    static const char *const name[] = {"relu", "relu", "relu", "relu", "tanh", "stanh", "sigmoid"};
    if (chance(r, 75))
        sb_printf(&r->out, " -> %s", name[pick(r, 7)]);
    if (chance(r, 8))
        sb_puts(&r->out, " -> dropout(25%)");
}

/* A convolution that fits; groups only where they divide. */
static void conv(Gen *r) {
    static const int64_t maps[] = {16, 32, 20, 17, 48, 8, 6, 3, 24, 16};
    static const int64_t side[] = {3, 3, 3, 3, 5, 5, 1, 2};
    int64_t k = side[pick(r, 8)], pad = pick(r, k / 2 + 1), stride = chance(r, 20) ? 2 : 1;
    int64_t n = maps[pick(r, 10)];
    while (r->h + 2 * pad < k || r->w + 2 * pad < k)
        k -= 1, pad = pad < k ? pad : 0;
    begin(r, "c");
    sb_printf(&r->out, "conv(%lld, %lldx%lld", (long long)n, (long long)k, (long long)k);
    if (stride > 1)
        sb_printf(&r->out, ", stride = %lld", (long long)stride);
    if (pad > 0)
        sb_printf(&r->out, ", pad = %lld", (long long)pad);
    if (r->c % 2 == 0 && n % 2 == 0 && chance(r, 20))
        sb_puts(&r->out, ", groups = 2");
    if (chance(r, 10))
        sb_puts(&r->out, ", bias = no");
    sb_puts(&r->out, ")");
    r->c = n;
    r->h = (r->h + 2 * pad - k) / stride + 1;
    r->w = (r->w + 2 * pad - k) / stride + 1;
    normalise(r);
    function(r);
    sb_puts(&r->out, "\n");
}

static void pool(Gen *r) {
    int64_t k = 2 + pick(r, 2), stride = chance(r, 30) ? 2 : k;
    bool ceil = chance(r, 30);
    if (r->h < k || r->w < k)
        return;
    begin(r, "p");
    sb_printf(&r->out, "%s(%lldx%lld, stride = %lld%s)", chance(r, 60) ? "maxpool" : "avgpool",
              (long long)k, (long long)k, (long long)stride, ceil ? ", round = ceil" : "");
    r->h = (r->h - k + (ceil ? stride - 1 : 0)) / stride + 1;
    r->w = (r->w - k + (ceil ? stride - 1 : 0)) / stride + 1;
    if (chance(r, 20))
        sb_printf(&r->out, " -> %s(5)", chance(r, 50) ? "lrn" : "lcn");
    sb_puts(&r->out, "\n");
}

/* x + conv(relu(conv(x))), after the residual block of He et al. 2016. */
static void residual(Gen *r) {
    const char *from = r->last;
    const char *norm = chance(r, 40) ? " -> bn(eps = 0.01)" : "";
    begin(r, "a");
    sb_printf(&r->out, "conv(%lld, 3x3, pad = 1)%s -> relu -> conv(%lld, 3x3, pad = 1)%s\n",
              (long long)r->c, norm, (long long)r->c, norm);
    const char *inner = r->last;
    begin(r, "s");
    sb_printf(&r->out, "add(%s, %s) -> relu\n", from, inner);
}

/* Two convolutions of one source side by side. */
static void branches(Gen *r) {
    const char *from = r->last;
    int64_t maps = chance(r, 50) ? 16 : 12;
    begin(r, "l");
    sb_printf(&r->out, "%s -> conv(16, 1x1) -> relu\n", from);
    const char *left = r->last;
    begin(r, "r");
    sb_printf(&r->out, "%s -> conv(%lld, 3x3, pad = 1) -> relu\n", from, (long long)maps);
    const char *right = r->last;
    begin(r, "j");
    sb_printf(&r->out, "concat(%s, %s)\n", left, right);
    r->c = 16 + maps;
}

static void image_layer(Gen *r) {
    bool large = r->c * r->h * r->w > MOST_CELLS || r->c > MOST_CHANNELS;
    int64_t what = pick(r, 100);
    if (large || what < 25)
        pool(r);
    else if (what < 85 || r->h < 3 || r->w < 3 || r->layer == 0)
        conv(r);
    else if (what < 93)
        residual(r);
    else
        branches(r);
}

static void head(Gen *r, int64_t classes) {
    static const int64_t units[] = {7, 16, 33, 50};
    if (chance(r, 50)) {
        begin(r, "f");
        sb_printf(&r->out, "dense(%lld)", (long long)units[pick(r, 4)]);
        r->h = r->w = 1;
        normalise(r);
        function(r);
        sb_puts(&r->out, "\n");
    }
    begin(r, "f");
    sb_printf(&r->out, "dense(%lld)\n", (long long)classes);
    sb_printf(&r->out,
              "  output prob = softmax(%s)\n"
              "  loss ce: cross_entropy(%s, label)\n"
              "  train { optimizer = sgd(lr = 0.125, momentum = 0.875, decay = 0.0009765625)\n"
              "          batch = 4; epochs = 1 }\n"
              "}\n",
              r->last, r->last);
}

const char *random_spec(Arena *keep, uint32_t seed) {
    static const int64_t channels[] = {1, 3, 3, 4, 16, 17, 32};
    Gen r = {.out = sb_new(keep), .state = seed * 2654435761u + 77, .keep = keep, .last = "image"};
    r.c = channels[pick(&r, 7)];
    r.h = 5 + pick(&r, 16);
    r.w = chance(&r, 50) ? r.h : 5 + pick(&r, 16);
    int64_t classes = 2 + pick(&r, 12), layers = 1 + pick(&r, LAYERS);
    sb_printf(&r.out,
              "net R {\n"
              "  input image: f32[%lld, %lld, %lld]\n"
              "  input label: class[%lld]\n",
              (long long)r.c, (long long)r.h, (long long)r.w, (long long)classes);
    for (int64_t i = 0; i < layers; i++)
        image_layer(&r);
    head(&r, classes);
    return r.out.text;
}
