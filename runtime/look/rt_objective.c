/* rt_objective.c: values and gradients of objectives (rt_objective.h).
 *
 * Terms are evaluated where the walk back stops anyway: the layer's activations are read once, and
 * each of its terms adds to its value and to the layer's gradient.  Sums run in double precision in
 * a fixed order.  theory: the formulas in rt_objective.h; Gatys et al. 2016, equations 3 to 6.
 */
#include "rt_objective.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"

/* ---- Gram matrices ---- */

/* Cells per block: rows of a block stay in the first cache while all pairs of them meet. */
enum { GRAM_CELLS = 2048, GRAM_ROWS = 4 };

typedef struct Gram {
    const float *a;
    int64_t c, m;
    float *gram;
} Gram;

/* Products of rows i.. and j.. (at most GRAM_ROWS each) over one block of cells. */
static void gram_block(const Gram *g, int64_t i, int64_t j, int64_t from, int64_t to) {
    int64_t ni = g->c - i < GRAM_ROWS ? g->c - i : GRAM_ROWS;
    int64_t nj = g->c - j < GRAM_ROWS ? g->c - j : GRAM_ROWS;
    for (int64_t r = i; r < i + ni; r++)
        for (int64_t s = j; s < j + nj; s++) {
            const float *x = g->a + r * g->m, *y = g->a + s * g->m;
            enum { LANES = 32 };
            float part[LANES] = {0}; /* a fixed number of partial sums: vectors of any width */
            int64_t k = from;
            for (; k + LANES <= to; k += LANES)
                for (int v = 0; v < LANES; v++)
                    part[v] += x[k + v] * y[k + v];
            for (int v = 0; k < to; k++, v++)
                part[v] += x[k] * y[k];
            double sum = 0;
            for (int v = 0; v < LANES; v++)
                sum += (double)part[v];
            g->gram[r * g->c + s] += (float)sum;
        }
}

static void gram_rows(void *context, int64_t lo, int64_t hi, int thread) {
    const Gram *g = context;
    (void)thread;
    for (int64_t t = lo; t < hi; t++) {
        int64_t i = t * GRAM_ROWS, last = i + GRAM_ROWS < g->c ? i + GRAM_ROWS : g->c;
        memset(g->gram + i * g->c, 0, (size_t)((last - i) * g->c) * sizeof *g->gram);
        for (int64_t from = 0; from < g->m; from += GRAM_CELLS) {
            int64_t to = from + GRAM_CELLS < g->m ? from + GRAM_CELLS : g->m;
            for (int64_t j = 0; j < last; j += GRAM_ROWS)
                gram_block(g, i, j, from, to);
        }
    }
}

void rt_gram(const float *a, int64_t c, int64_t m, float *gram, int threads) {
    Gram g = {a, c, m, gram};
    rt_parallel_for(threads, (c + GRAM_ROWS - 1) / GRAM_ROWS, 1, gram_rows, &g);
    for (int64_t i = 0; i < c; i++)
        for (int64_t j = i + 1; j < c; j++)
            gram[i * c + j] = gram[j * c + i];
}

/* diff[i] += sum over j of coef[i, j] a[j] */
typedef struct Spread {
    const float *a, *coef;
    int64_t c, m;
    float *diff;
} Spread;

static void spread_cells(void *context, int64_t lo, int64_t hi, int thread) {
    const Spread *s = context;
    (void)thread;
    for (int64_t i = 0; i < s->c; i++)
        for (int64_t j = 0; j < s->c; j++) {
            float w = s->coef[i * s->c + j];
            const float *x = s->a + j * s->m;
            float *y = s->diff + i * s->m;
            for (int64_t k = lo; k < hi; k++)
                y[k] += w * x[k];
        }
}

/* ---- terms ---- */

static double gram_term(rt_objective *o, const rt_term *t, const int64_t chw[3], float *diff) {
    int64_t c = chw[0], m = chw[1] * chw[2];
    int threads = o->look->m->threads;
    rt_gram(o->values, c, m, o->gram, threads);
    double sum = 0;
    for (int64_t i = 0; i < c * c; i++) {
        double d = (double)o->gram[i] - (double)t->target[i];
        sum += d * d;
        o->gram[i] = (float)(4 * t->weight * d);
    }
    if (diff) {
        Spread s = {o->values, o->gram, c, m, diff};
        rt_parallel_for(threads, m, 1024, spread_cells, &s);
    }
    return t->weight * sum;
}

/* d(-log softmax(a)[c])/da = softmax(a) - 1 at c; the largest activation is subtracted first. */
static double cross_term(const float *a, int64_t n, int64_t c, double w, float *diff) {
    double top = (double)a[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        top = (double)a[i] > top ? (double)a[i] : top;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)a[i] - top);
    for (int64_t i = 0; diff && i < n; i++)
        diff[i] += (float)(w * (exp((double)a[i] - top) / sum - (i == c)));
    return w * (log(sum) - ((double)a[c] - top));
}

/* One term at o->values; diff gets its gradient added, unless NULL. */
static double term_value(rt_objective *o, const rt_term *t, const int64_t chw[3], float *diff) {
    int64_t m = chw[1] * chw[2], n = chw[0] * m, at = t->unit.c * m;
    const float *a = o->values;
    float w = (float)t->weight;
    double sum = 0;
    switch (t->kind) {
    case RT_TERM_UNIT:
        at += t->unit.y * chw[2] + t->unit.x;
        sum = (double)a[at];
        if (diff)
            diff[at] += w;
        break;
    case RT_TERM_MAP:
        for (int64_t i = at; i < at + m; i++) {
            sum += (double)a[i];
            if (diff)
                diff[i] += w;
        }
        break;
    case RT_TERM_LAYER:
        for (int64_t i = 0; i < n; i++) {
            sum += (double)a[i] * (double)a[i];
            if (diff)
                diff[i] += w * a[i];
        }
        sum /= 2;
        break;
    case RT_TERM_INNER:
        for (int64_t i = 0; i < n; i++) {
            sum += (double)a[i] * (double)t->target[i];
            if (diff)
                diff[i] += w * t->target[i];
        }
        break;
    case RT_TERM_MATCH:
        for (int64_t i = 0; i < n; i++) {
            double d = (double)a[i] - (double)t->target[i];
            sum += d * d;
            if (diff)
                diff[i] += 2 * w * (float)d;
        }
        break;
    case RT_TERM_GRAM:
        return gram_term(o, t, chw, diff);
    case RT_TERM_CROSS:
        return cross_term(a, n, t->unit.c, t->weight, diff);
    }
    return t->weight * sum;
}

/* All terms of a layer for one image: what the walk asks for when it comes by. */
static void fill(void *context, int layer, int64_t image, float *diff) {
    rt_objective *o = context;
    int seed = o->layer[layer];
    int64_t chw[3];
    rt_seed_shape(o->look->m->model, seed, chw);
    rt_look_values(o->look, seed, image, o->values);
    if (diff)
        memset(diff, 0, (size_t)(chw[0] * chw[1] * chw[2]) * sizeof *diff);
    for (int i = 0; i < o->nterms; i++)
        if (o->term[i].seed == seed && (o->term[i].image < 0 || o->term[i].image == image)) {
            double value = term_value(o, &o->term[i], chw, diff);
            o->sum[image] += value;
            if (o->part)
                o->part[i] += value;
        }
}

int rt_objective_eval(rt_objective *o, const float *images, int64_t n, double *value, float *diff,
                      rt_error *err) {
    netrt *m = o->look->m;
    m->frame.input[0] = images;
    if (rt_look_record(o->look, n, err))
        return err->code;
    o->sum = value;
    memset(value, 0, (size_t)n * sizeof *value);
    if (o->part)
        memset(o->part, 0, (size_t)o->nterms * sizeof *o->part);
    if (diff)
        return rt_look_back(o->look, RT_RULE_GRADIENT, o->layer, o->nlayers, fill, o, n, diff, err);
    for (int i = 0; i < o->nlayers; i++)
        for (int64_t k = 0; k < n; k++)
            fill(o, i, k, NULL);
    return NETRT_OK;
}

/* ---- opening ---- */

static int add_layer(rt_objective *o, int seed, rt_error *err) {
    for (int i = 0; i < o->nlayers; i++)
        if (o->layer[i] == seed)
            return NETRT_OK;
    if (o->nlayers == RT_BACK_MAX)
        return rt_fail(err, NETRT_EUSAGE, "an objective may be about %d layers at most",
                       RT_BACK_MAX);
    o->layer[o->nlayers++] = seed;
    return NETRT_OK;
}

int rt_objective_open(rt_objective *o, rt_look *look, const rt_term *term, int nterms,
                      rt_error *err) {
    *o = (rt_objective){.look = look, .term = term, .nterms = nterms};
    size_t gram = 0;
    for (int i = 0; i < nterms; i++) {
        int64_t chw[3];
        rt_seed_shape(look->m->model, term[i].seed, chw);
        if (term[i].kind == RT_TERM_GRAM && (size_t)(chw[0] * chw[0]) > gram)
            gram = (size_t)(chw[0] * chw[0]);
        if (add_layer(o, term[i].seed, err))
            return err->code;
    }
    o->values = rt_alloc_zero((size_t)(look->seed_room ? look->seed_room : 1), sizeof *o->values,
                              "a layer's values", err);
    if (gram && o->values)
        o->gram = rt_alloc_zero(gram, sizeof *o->gram, "a Gram matrix", err);
    return err->code;
}

void rt_objective_close(rt_objective *o) {
    rt_free(o->values);
    rt_free(o->gram);
    o->values = o->gram = NULL;
}
