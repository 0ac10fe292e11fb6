/* rt_tsne.c: t-SNE (rt_tsne.h).
 *
 * ensures: the same bits for any number of threads: every point's sums run in one order, sums over
 * points are made in the points' order, the tree is built by one thread.
 */
#include "rt_tsne.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"
#include "rt_rng.h"

enum { LIE_UNTIL = 250, BISECTIONS = 200, DEPTH = 60 };
static const double lie = 12, most_rate = 50, momentum_first = 0.5, momentum_then = 0.8;

/* ---- probabilities ---- */

double rt_tsne_row(const double *d2, int64_t m, double perplexity, double *p) {
    double beta = 1, lo = 0, hi = INFINITY, want = log(perplexity), nearest = INFINITY, sum = 1;
    for (int64_t i = 0; i < m; i++)
        nearest = d2[i] < nearest ? d2[i] : nearest;
    for (int step = 0; step < BISECTIONS; step++) {
        double weighted = 0;
        sum = 0;
        for (int64_t i = 0; i < m; i++) {
            p[i] = exp(-beta * (d2[i] - nearest));
            sum += p[i];
            weighted += p[i] * (d2[i] - nearest);
        }
        double entropy = log(sum) + beta * weighted / sum;
        if (fabs(entropy - want) < 1e-12)
            break;
        if (entropy > want)
            lo = beta;
        else
            hi = beta;
        double next = isinf(hi) ? beta * 2 : (lo + hi) / 2;
        if (next == beta || isinf(next) || next < 1e-300)
            break;
        beta = next;
    }
    for (int64_t i = 0; i < m; i++)
        p[i] /= sum;
    return beta;
}

typedef struct Near {
    double d2;
    int32_t at;
} Near;

static int nearer(const void *a, const void *b) {
    const Near *x = a, *y = b;
    if (x->d2 != y->d2)
        return x->d2 < y->d2 ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

typedef struct Search {
    const double *x;
    int64_t n, d, m;
    double perplexity;
    Near *near;     /* per thread n */
    double *row;    /* per thread 2 m */
    int32_t *other; /* n x m: who */
    double *p;      /* n x m: how likely */
    double *beta;
} Search;

static void search(void *context, int64_t lo, int64_t hi, int thread) {
    const Search *s = context;
    Near *near = s->near + (int64_t)thread * s->n;
    double *d2 = s->row + (int64_t)thread * s->m;
    for (int64_t i = lo; i < hi; i++) {
        int64_t count = 0;
        for (int64_t k = 0; k < s->n; k++) {
            double sum = 0;
            for (int64_t j = 0; j < s->d; j++) {
                double diff = s->x[i * s->d + j] - s->x[k * s->d + j];
                sum += diff * diff;
            }
            if (k != i)
                near[count++] = (Near){sum, (int32_t)k};
        }
        if (s->m < count)
            qsort(near, (size_t)count, sizeof *near, nearer);
        for (int64_t k = 0; k < s->m; k++) {
            d2[k] = near[k].d2;
            s->other[i * s->m + k] = near[k].at;
        }
        s->beta[i] = rt_tsne_row(d2, s->m, s->perplexity, s->p + i * s->m);
    }
}

typedef struct Entry {
    int32_t column;
    double p;
} Entry;

static int by_column(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    return (x->column > y->column) - (x->column < y->column);
}

/* p_ij = (p_j|i + p_i|j) / 2n: both directions are entered, sorted, and equal columns added. */
static int symmetrise(rt_pairs *out, const Search *s, rt_error *err) {
    int64_t n = s->n, m = s->m, entries = 2 * n * m, used = 0;
    Entry *e = rt_alloc((size_t)entries, sizeof *e, "pairs of points", err);
    int64_t *at = rt_alloc_zero((size_t)(n + 1), sizeof *at, "pairs of points", err);
    out->column = rt_alloc((size_t)entries, sizeof *out->column, "pairs of points", err);
    out->p = rt_alloc((size_t)entries, sizeof *out->p, "pairs of points", err);
    out->row = rt_alloc_zero((size_t)(n + 1), sizeof *out->row, "pairs of points", err);
    if (!err->code) {
        for (int64_t i = 0; i < n * m; i++) {
            at[i / m + 1]++;
            at[s->other[i] + 1]++;
        }
        for (int64_t i = 0; i < n; i++)
            at[i + 1] += at[i];
        for (int64_t i = n * m - 1; i >= 0; i--) { /* from behind: at[i + 1] falls to at[i] */
            e[--at[i / m + 1]] = (Entry){s->other[i], s->p[i]};
            e[--at[s->other[i] + 1]] = (Entry){(int32_t)(i / m), s->p[i]};
        }
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t first = at[i + 1], end = i + 1 < n ? at[i + 2] : entries;
            out->row[i] = used;
            qsort(e + first, (size_t)(end - first), sizeof *e, by_column);
            for (int64_t k = first; k < end; k++) {
                int twin = k > first && e[k].column == e[k - 1].column;
                if (twin)
                    out->p[used - 1] += e[k].p;
                else {
                    out->column[used] = e[k].column;
                    out->p[used++] = e[k].p;
                }
            }
        }
        out->row[n] = used;
        for (int64_t i = 0; i < used; i++)
            sum += out->p[i];
        for (int64_t i = 0; i < used; i++)
            out->p[i] /= sum;
    }
    rt_free(e);
    rt_free(at);
    return err->code;
}

int rt_pairs_make(rt_pairs *p, const double *x, int64_t n, int64_t d, double perplexity,
                  int64_t neighbours, int threads, rt_error *err) {
    *p = (rt_pairs){.n = n};
    if (n < 2 || n > INT32_MAX)
        return rt_fail(err, NETRT_EUSAGE, "a layout needs 2 points or more, not %lld\n"
                       "help: --limit=1000", (long long)n);
    Search s = {.x = x, .n = n, .d = d, .perplexity = perplexity};
    s.m = neighbours < n - 1 ? neighbours : n - 1;
    s.m = s.m < 1 ? 1 : s.m;
    s.near = rt_alloc((size_t)threads * (size_t)n, sizeof *s.near, "neighbours", err);
    s.row = rt_alloc((size_t)threads * (size_t)s.m, sizeof *s.row, "neighbours", err);
    s.other = rt_alloc((size_t)n, (size_t)s.m * sizeof *s.other, "neighbours", err);
    s.p = rt_alloc((size_t)n, (size_t)s.m * sizeof *s.p, "neighbours", err);
    s.beta = p->beta = rt_alloc((size_t)n, sizeof *p->beta, "neighbours", err);
    if (!err->code) {
        rt_parallel_for(threads, n, 8, search, &s);
        symmetrise(p, &s, err);
    }
    rt_free(s.near);
    rt_free(s.row);
    rt_free(s.other);
    rt_free(s.p);
    return err->code;
}

void rt_pairs_free(rt_pairs *p) {
    rt_free(p->row);
    rt_free(p->column);
    rt_free(p->p);
    rt_free(p->beta);
    *p = (rt_pairs){0};
}

/* ---- the tree: a square, its four quarters, ... ---- */

typedef struct Cell {
    double x, y, half;  /* centre, half of the side */
    double sx, sy;      /* sums of the points inside */
    double px, py;      /* of a leaf: where they are */
    int64_t count;
    int32_t child[4];   /* 0: none */
    int32_t leaf;       /* all points inside are at one place (or nearly, at the greatest depth) */
} Cell;

typedef struct Tree {
    Cell *cell;
    int64_t used, room;
} Tree;

static int32_t quarter(const Cell *c, double x, double y) {
    return (x > c->x) + 2 * (y > c->y);
}

static int32_t new_cell(Tree *t, double x, double y, double half, rt_error *err) {
    if (t->used == t->room) {
        int64_t room = t->room ? t->room * 2 : 1024;
        Cell *more = rt_realloc(t->cell, (size_t)room, sizeof *more, "a tree of points", err);
        if (!more || room > INT32_MAX)
            return 0;
        t->cell = more;
        t->room = room;
    }
    t->cell[t->used] = (Cell){.x = x, .y = y, .half = half, .leaf = 1};
    return (int32_t)t->used++;
}

static int32_t child_of(Tree *t, int32_t at, int32_t k, rt_error *err) {
    if (!t->cell[at].child[k]) {
        Cell c = t->cell[at];
        double h = c.half / 2;
        int32_t made = new_cell(t, c.x + (k & 1 ? h : -h), c.y + (k & 2 ? h : -h), h, err);
        t->cell[at].child[k] = made;
    }
    return t->cell[at].child[k];
}

static void put_in(Cell *c, double px, double py, int64_t count) {
    if (c->count == 0) {
        c->px = px;
        c->py = py;
    }
    c->sx += px * (double)count;
    c->sy += py * (double)count;
    c->count += count;
}

static int insert(Tree *t, double x, double y, rt_error *err) {
    int32_t at = 0;
    for (int depth = 0; !err->code; depth++) {
        Cell c = t->cell[at];
        int same = c.count == 0 || (c.px == x && c.py == y) || depth == DEPTH;
        if (c.leaf && !same) { /* what is there moves down */
            int32_t down = child_of(t, at, quarter(&c, c.px, c.py), err);
            if (err->code)
                break;
            put_in(&t->cell[down], c.px, c.py, c.count);
            t->cell[at].leaf = 0;
        }
        put_in(&t->cell[at], x, y, 1);
        if (c.leaf && same)
            return NETRT_OK;
        at = child_of(t, at, quarter(&c, x, y), err);
    }
    return err->code;
}

static int plant(Tree *t, const double *y, int64_t n, rt_error *err) {
    double lo[2] = {y[0], y[1]}, hi[2] = {y[0], y[1]};
    for (int64_t i = 0; i < 2 * n; i++) {
        lo[i % 2] = y[i] < lo[i % 2] ? y[i] : lo[i % 2];
        hi[i % 2] = y[i] > hi[i % 2] ? y[i] : hi[i % 2];
    }
    double half = fmax(hi[0] - lo[0], hi[1] - lo[1]) / 2 * (1 + 1e-9) + 1e-300;
    t->used = 0;
    new_cell(t, (lo[0] + hi[0]) / 2, (lo[1] + hi[1]) / 2, half, err);
    for (int64_t i = 0; i < n && !err->code; i++)
        insert(t, y[2 * i], y[2 * i + 1], err);
    return err->code;
}

/* ---- gradient ---- */

typedef struct Slope {
    const rt_pairs *p;
    const double *y;
    const Tree *tree; /* NULL: all pairs */
    double theta;
    double *push;     /* n x 2: sum_j w^2 (y_i - y_j), w = 1 / (1 + |y_i - y_j|^2) */
    double *pull;     /* n x 2: sum_j p_ij w (y_i - y_j) */
    double *weight;   /* n: sum_j w without i itself */
    double *cost;     /* n: sum_j p_ij log(p_ij / w) */
} Slope;

static void push_of(const Slope *s, int64_t i, double count, double x, double y) {
    double dx = s->y[2 * i] - x, dy = s->y[2 * i + 1] - y, w = 1 / (1 + dx * dx + dy * dy);
    s->weight[i] += count * w;
    s->push[2 * i] += count * w * w * dx;
    s->push[2 * i + 1] += count * w * w * dy;
}

static void push_by_tree(const Slope *s, int64_t i) {
    int32_t stack[4 * (DEPTH + 2)];
    int top = 0;
    stack[top++] = 0;
    while (top) {
        const Cell *c = &s->tree->cell[stack[--top]];
        double n = (double)c->count, px = s->y[2 * i], py = s->y[2 * i + 1];
        double dx = px - c->sx / n, dy = py - c->sy / n;
        int inside = fabs(px - c->x) <= c->half && fabs(py - c->y) <= c->half;
        double side = 2 * c->half;
        if (c->leaf || (!inside && side * side < s->theta * s->theta * (dx * dx + dy * dy))) {
            push_of(s, i, n, c->leaf ? c->px : c->sx / n, c->leaf ? c->py : c->sy / n);
            continue;
        }
        for (int k = 3; k >= 0; k--)
            if (c->child[k])
                stack[top++] = c->child[k];
    }
    s->weight[i] -= 1; /* the point itself, at distance 0 */
}

static void slopes(void *context, int64_t lo, int64_t hi, int thread) {
    const Slope *s = context;
    (void)thread;
    for (int64_t i = lo; i < hi; i++) {
        double pull[2] = {0, 0}, cost = 0;
        s->weight[i] = s->push[2 * i] = s->push[2 * i + 1] = 0;
        if (s->tree)
            push_by_tree(s, i);
        else
            for (int64_t k = 0; k < s->p->n; k++)
                if (k != i)
                    push_of(s, i, 1, s->y[2 * k], s->y[2 * k + 1]);
        for (int64_t e = s->p->row[i]; e < s->p->row[i + 1]; e++) {
            const double *other = s->y + 2 * (int64_t)s->p->column[e];
            double dx = s->y[2 * i] - other[0], dy = s->y[2 * i + 1] - other[1];
            double w = 1 / (1 + dx * dx + dy * dy), p = s->p->p[e];
            pull[0] += p * w * dx;
            pull[1] += p * w * dy;
            cost += p > 0 ? p * log(p / w) : 0;
        }
        s->pull[2 * i] = pull[0];
        s->pull[2 * i + 1] = pull[1];
        s->cost[i] = cost;
    }
}

static double slope_in(Slope *s, double boost, int threads, double *gradient) {
    int64_t n = s->p->n;
    double z = 0, cost = 0, mass = 0;
    rt_parallel_for(threads, n, 16, slopes, s);
    for (int64_t i = 0; i < n; i++) {
        z += s->weight[i];
        cost += s->cost[i];
    }
    for (int64_t e = 0; e < s->p->row[n]; e++)
        mass += s->p->p[e];
    for (int64_t i = 0; gradient && i < 2 * n; i++)
        gradient[i] = 4 * (boost * s->pull[i] - s->push[i] / z);
    return cost + mass * log(z);
}

/* Room for all sums of n points. */
static int slope_open(Slope *s, const rt_pairs *p, rt_error *err) {
    *s = (Slope){.p = p};
    s->push = rt_alloc((size_t)p->n, 6 * sizeof(double), "a gradient", err);
    s->pull = s->push + 2 * p->n;
    s->weight = s->push + 4 * p->n;
    s->cost = s->push + 5 * p->n;
    return err->code;
}

int rt_tsne_slope(const rt_pairs *p, const double *y, double boost, int tree, double theta,
                  int threads, double *gradient, double *kl, rt_error *err) {
    Slope s;
    Tree t = {0};
    if (slope_open(&s, p, err))
        return err->code;
    s.y = y;
    s.theta = theta;
    s.tree = tree ? &t : NULL;
    if (!tree || plant(&t, y, p->n, err) == 0)
        *kl = slope_in(&s, boost, threads, gradient);
    rt_free(t.cell);
    rt_free(s.push);
    return err->code;
}

/* ---- the descent ---- */

static void centre(double *y, int64_t n) {
    double mean[2] = {0, 0};
    for (int64_t i = 0; i < 2 * n; i++)
        mean[i % 2] += y[i] / (double)n;
    for (int64_t i = 0; i < 2 * n; i++)
        y[i] -= mean[i % 2];
}

static void begin(double *y, int64_t n, uint64_t seed) {
    rt_rng rng = rt_rng_make(seed, RT_RNG_VIZ);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits[4];
        float normal[2];
        rt_rng_block(rng, 0x75e, 0, (uint32_t)i, 0, bits);
        rt_rng_normal2(bits[0], bits[1], normal);
        y[2 * i] = 1e-4 * (double)normal[0];
        y[2 * i + 1] = 1e-4 * (double)normal[1];
    }
}

/* v: velocities, gains, gradients, 2 n each. */
static void step(double *y, double *v, int64_t n, double momentum) {
    double *gain = v + 2 * n, *g = v + 4 * n, rate = fmin(most_rate, (double)n / 12);
    for (int64_t i = 0; i < 2 * n; i++) {
        gain[i] = (g[i] > 0) != (v[i] > 0) ? gain[i] + 0.2 : gain[i] * 0.8;
        gain[i] = gain[i] < 0.01 ? 0.01 : gain[i];
        v[i] = momentum * v[i] - rate * gain[i] * g[i];
        y[i] += v[i];
    }
    centre(y, n);
}

static int descend(rt_tsne *t, Slope *s, double *y, double *v, rt_error *err) {
    Tree tree = {0};
    int64_t n = s->p->n;
    s->y = y;
    s->theta = t->theta;
    s->tree = t->theta > 0 ? &tree : NULL;
    for (int64_t i = 0; i < t->iterations && !err->code; i++) {
        if (s->tree && plant(&tree, y, n, err))
            break;
        double kl = slope_in(s, i < LIE_UNTIL ? lie : 1, t->threads, v + 4 * n);
        step(y, v, n, i < LIE_UNTIL ? momentum_first : momentum_then);
        if (t->tick && t->tick(t->context, i, kl))
            break;
    }
    if (!err->code && (!s->tree || plant(&tree, y, n, err) == 0))
        t->kl = slope_in(s, 1, t->threads, NULL);
    rt_free(tree.cell);
    return err->code;
}

int rt_tsne_run(rt_tsne *t, const double *x, int64_t n, int64_t d, double *y, rt_error *err) {
    rt_pairs pairs = {0};
    Slope s = {0};
    double top = 0, most = (double)(n - 1) / 3, perplexity = fmin(t->perplexity, most);
    int64_t neighbours = t->theta > 0 ? (int64_t)(3 * perplexity) : n - 1;
    double *scaled = rt_alloc((size_t)n, (size_t)d * sizeof *scaled, "points", err);
    double *v = rt_alloc_zero((size_t)n, 6 * sizeof *v, "points", err);
    for (int64_t i = 0; i < n * d; i++)
        top = fabs(x[i]) > top ? fabs(x[i]) : top;
    for (int64_t i = 0; scaled && i < n * d; i++)
        scaled[i] = top > 0 ? x[i] / top : 0;
    if (!err->code &&
        rt_pairs_make(&pairs, scaled, n, d, perplexity, neighbours, t->threads, err) == 0 &&
        slope_open(&s, &pairs, err) == 0) {
        begin(y, n, t->seed);
        for (int64_t i = 0; i < 2 * n; i++)
            v[2 * n + i] = 1;
        descend(t, &s, y, v, err);
    }
    rt_free(s.push);
    rt_free(scaled);
    rt_free(v);
    rt_pairs_free(&pairs);
    return err->code;
}
