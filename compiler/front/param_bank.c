/* param_bank.c: filter banks as initial values: bilinear interpolation, Gabor filters, wavelets.
 *
 * Each makes the table of one weight [maps, input maps / groups, kh, kw]; with `frozen = yes` the
 * layer is a fixed front end.  Where a filter is for one map and the input has several, each of
 * them gets its share. requires: the weight's shape is known.  ensures: a table of exactly its
 * numbers, or a diagnostic. theory: Long, Shelhamer, Darrell 2015, section 3.3 (bilinear); Daugman
 * 1985, Petkov 1995 (Gabor, bandwidth of one octave); Daubechies 1988, table 1; Mallat 1989,
 * section IV (separable wavelets).
 */
#include <math.h>
#include <string.h>

#include "front/sema.h"

enum { BANK_LIST = 64 }; /* numbers in a list of orientations or wavelengths */

bool is_bank(const char *name) {
    return eq(name, "bilinear") || eq(name, "gabor") || eq(name, "dwt");
}

static float *table_of(Build *b, Param *p) {
    float *t = ARENA_ARRAY(b->arena, shape_elems(&p->split), float);
    p->init = INIT_TABLE;
    p->table = t;
    return t;
}

static bool needs_filters(Build *b, const Val *call, const Param *p) {
    if (p->shape.rank == 4)
        return true;
    diag_error(b->diag, call->loc, "E0309", "%s makes filters of conv and deconv; %s is %s",
               call->text, p->name, shape_text(b->arena, &p->shape));
    return false;
}

/* ---- bilinear ---- */

/* Weight of tap i of k: a triangle around the middle, as wide as the kernel. */
static double triangle(int64_t i, int64_t k) {
    double f = (double)((k + 1) / 2), middle = k % 2 ? f - 1 : f - 0.5;
    return 1 - fabs((double)i - middle) / f;
}

static bool bilinear(Build *b, const Val *call, Param *p) {
    const int64_t *d = p->split.dim;
    if (call->kind == V_CALL && !call_args(b, call, NULL, 0, 0, NULL))
        return false;
    if (!needs_filters(b, call, p))
        return false;
    float *t = table_of(b, p);
    for (int64_t o = 0; o < d[0]; o++)
        for (int64_t i = 0; i < d[1]; i++)
            for (int64_t y = 0; y < d[2]; y++)
                for (int64_t x = 0; x < d[3]; x++, t++)
                    if (d[1] == 1 || i == o)
                        *t = (float)(triangle(y, d[2]) * triangle(x, d[3]));
    return true;
}

/* ---- Gabor ---- */

static bool numbers(Build *b, const Val *v, const char *what, double *out, int *n) {
    const Val *at = v->kind == V_LIST ? v->at : v;
    *n = v->kind == V_LIST ? v->n : 1;
    if (*n < 1 || *n > BANK_LIST) {
        diag_error(b->diag, v->loc, "E0303", "%s: between 1 and %d numbers", what, BANK_LIST);
        return false;
    }
    for (int i = 0; i < *n; i++)
        if (!expr_num(b, &at[i], what, &out[i]))
            return false;
    return true;
}

typedef struct Gabor {
    double lambda[BANK_LIST], phase[BANK_LIST], sigma, gamma;
    int nlambda, nphase;
    int64_t orient;
} Gabor;

/* One filter: no response to constant input, length 1. */
static void gabor_filter(const Gabor *g, double lambda, double angle, double phase, int64_t h,
                         int64_t w, double *out) {
    double sum = 0, envelope = 0, length = 0, sigma = g->sigma * lambda;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t y = 0, k = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++, k++) {
                double u = (double)x - (double)(w - 1) / 2, v = (double)y - (double)(h - 1) / 2;
                double along = u * cos(angle) + v * sin(angle);
                double across = g->gamma * (v * cos(angle) - u * sin(angle));
                double e = exp(-(along * along + across * across) / (2 * sigma * sigma));
                if (pass == 0) {
                    out[k] = e * cos(2 * M_PI * along / lambda + phase);
                    sum += out[k];
                    envelope += e;
                } else {
                    out[k] -= e * sum / envelope;
                    length += out[k] * out[k];
                }
            }
    for (int64_t k = 0; k < h * w && length > 0; k++)
        out[k] /= sqrt(length);
}

static bool gabor_args(Build *b, const Val *call, Gabor *g) {
    static const char *const names[] = {"orient", "lambda", "phase", "sigma", "gamma"};
    Val a[5];
    *g = (Gabor){.sigma = 0.56, .gamma = 0.5, .nphase = 1};
    if (!call_args(b, call, names, 5, 2, a) ||
        !expr_int(b, &a[0], "the number of orientations", 1, BANK_LIST, &g->orient) ||
        !numbers(b, &a[1], "a wavelength", g->lambda, &g->nlambda) ||
        (a[2].kind != V_BAD && !numbers(b, &a[2], "a phase", g->phase, &g->nphase)) ||
        (a[3].kind != V_BAD && !expr_num(b, &a[3], "sigma", &g->sigma)) ||
        (a[4].kind != V_BAD && !expr_num(b, &a[4], "gamma", &g->gamma)))
        return false;
    bool good = g->sigma > 0 && g->gamma > 0;
    for (int i = 0; i < g->nlambda; i++)
        good = good && g->lambda[i] > 0;
    if (!good)
        diag_error(b->diag, call->loc, "E0303", "wavelengths, sigma and gamma must be positive");
    return good;
}

/* Maps: wavelengths, within each orientations, within each phases. */
static bool gabor(Build *b, const Val *call, Param *p) {
    Gabor g;
    const int64_t *d = p->split.dim;
    if (!gabor_args(b, call, &g) || !needs_filters(b, call, p))
        return false;
    int64_t maps = g.nlambda * g.orient * g.nphase, area = d[2] * d[3];
    if (maps != d[0]) {
        diag_error(b->diag, call->loc, "E0309",
                   "%d wavelengths x %lld orientations x %d phases are %lld filters, %s has %lld",
                   g.nlambda, (long long)g.orient, g.nphase, (long long)maps, p->name,
                   (long long)d[0]);
        return false;
    }
    float *t = table_of(b, p);
    double *filter = ARENA_ARRAY(b->arena, area, double);
    for (int64_t o = 0; o < maps; o++) {
        double angle = M_PI * (double)(o / g.nphase % g.orient) / (double)g.orient;
        gabor_filter(&g, g.lambda[o / g.nphase / g.orient], angle, g.phase[o % g.nphase], d[2],
                     d[3], filter);
        for (int64_t i = 0; i < d[1]; i++)
            for (int64_t k = 0; k < area; k++)
                *t++ = (float)(filter[k] / (double)d[1]);
    }
    return true;
}

/* ---- wavelets ---- */

static const struct Wavelet {
    const char *name;
    int taps;
    double low[8];
} wavelets[] = {
    {"haar", 2, {0.70710678118654752, 0.70710678118654752}},
    {"db2",
     4,
     {0.48296291314453416, 0.83651630373780794, 0.22414386804201339, -0.12940952255126037}},
    {"db4",
     8,
     {0.23037781330885523, 0.7148465705525415, 0.6308807679295904, -0.02798376941698385,
      -0.18703481171888114, 0.030841381835986965, 0.032883011666982945, -0.010597401784997278}},
};

/* Maps: low pass, then detail along rows, along columns, along both. */
static bool dwt(Build *b, const Val *call, Param *p) {
    static const char *const names[] = {"wavelet"}, *known[] = {"haar", "db2", "db4"};
    const struct Wavelet *w = NULL;
    const int64_t *d = p->split.dim;
    Val a[1];
    if (!call_args(b, call, names, 1, 1, a) || !needs_filters(b, call, p))
        return false;
    for (int i = 0; i < 3; i++)
        if ((a[0].kind == V_STR || a[0].kind == V_NAME) && eq(a[0].text, wavelets[i].name))
            w = &wavelets[i];
    if (!w) {
        Diag *g =
            diag_error(b->diag, a[0].loc, "E0111", "a wavelet is \"haar\", \"db2\" or \"db4\"");
        if (a[0].text)
            diag_suggest(g, a[0].loc, nearest_name(a[0].text, known, 3));
        return false;
    }
    if (d[0] != 4 || d[2] != w->taps || d[3] != w->taps) {
        Diag *g = diag_error(b->diag, call->loc, "E0309", "%s is %s", p->name,
                             shape_text(b->arena, &p->shape));
        diag_help(g, "\"%s\" is conv(4, %dx%d, stride = 2): low pass and three details", w->name,
                  w->taps, w->taps);
        return false;
    }
    float *t = table_of(b, p);
    for (int o = 0; o < 4; o++)
        for (int64_t i = 0; i < d[1]; i++)
            for (int y = 0; y < w->taps; y++)
                for (int x = 0; x < w->taps; x++) {
                    int ry = w->taps - 1 - y, rx = w->taps - 1 - x; /* quadrature mirror */
                    double v = o & 2 ? (y % 2 ? -1 : 1) * w->low[ry] : w->low[y];
                    double u = o & 1 ? (x % 2 ? -1 : 1) * w->low[rx] : w->low[x];
                    *t++ = (float)(v * u / (double)d[1]);
                }
    return true;
}

bool init_bank(Build *b, const Val *v, Param *p) {
    if (eq(v->text, "gabor"))
        return gabor(b, v, p);
    return eq(v->text, "dwt") ? dwt(b, v, p) : bilinear(b, v, p);
}
