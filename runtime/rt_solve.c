/* rt_solve.c: dense linear algebra in double precision (rt_solve.h).
 *
 * One register tile does all of the work: ROWS rows of scalars against a panel of 8 columns.  Products
 * of tables cut both into squares of BLOCK columns, which are packed to doubles PIECE rows at a time.
 * theory: Golub, Van Loan, "Matrix computations", algorithms 4.2.1 (in blocks) and 3.1.1.
 */
#include "rt_solve.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"

enum { L = RT_LANES, ROWS = 6, BLOCK = 48, PIECE = 256 };

/* ---- the tile: out[r] = sum over k of a[r * step + k * far] * b[k] ---- */

typedef double V4 __attribute__((vector_size(32)));

#define EACH(F) F(0) F(1) F(2) F(3) F(4) F(5)
#define START(r) a##r = zero, b##r = zero,
#define TERM(r) s = zero + at[(r) * step], a##r += s * p, b##r += s * q;
#define STORE(r) memcpy(out + (r) * L, &a##r, sizeof a##r), memcpy(out + (r) * L + 4, &b##r, sizeof b##r);
#define TILE(name, how)                                                                            \
    how static void name(const double *a, int64_t step, int64_t far, const double *b, int64_t inner, \
                         double *out) {                                                            \
        V4 zero = {0}, EACH(START) p, q, s;                                                        \
        for (int64_t k = 0; k < inner; k++) {                                                      \
            const double *at = a + k * far;                                                        \
            memcpy(&p, b + k * L, sizeof p);                                                       \
            memcpy(&q, b + k * L + 4, sizeof q);                                                   \
            EACH(TERM)                                                                             \
        }                                                                                          \
        EACH(STORE)                                                                                \
    }
TILE(tile_plain, )
#if defined(__x86_64__)
TILE(tile_avx2, __attribute__((target("avx2"))))
#endif

static void tile(const double *a, int64_t step, int64_t far, const double *b, int64_t inner,
                 int64_t rows, double *out) {
    if (rows == ROWS) {
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2"))
            tile_avx2(a, step, far, b, inner, out);
        else
#endif
            tile_plain(a, step, far, b, inner, out);
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        double sum[L] = {0};
        for (int64_t k = 0; k < inner; k++)
            for (int l = 0; l < L; l++)
                sum[l] += a[r * step + k * far] * b[k * L + l];
        memcpy(out + r * L, sum, sizeof sum);
    }
}

static int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }

void rt_panels_mul(const double *a, int64_t step, int64_t rows, int64_t inner, const double *b,
                   double *out, int64_t panels) {
    for (int64_t r = 0; r < rows; r += ROWS)
        for (int64_t p = 0; p < panels; p++)
            tile(a + r * step, step, 1, b + p * inner * L, inner, at_most(rows - r, ROWS),
                 out + (p * rows + r) * L);
}

/* ---- products of tables ---- */

typedef struct Products {
    rt_table a, b;
    int64_t n, wide, across; /* columns of b with its one; blocks of b */
    double *out, *room;
} Products;

enum { ROOM = 2 * PIECE * BLOCK + BLOCK * BLOCK };

/* Columns from .. of rows lo .. lo + n, to [panel][row][lanes]; zeros beyond the table. */
static void pack(const rt_table *t, int64_t from, int64_t lo, int64_t n, int64_t lanes, double *to) {
    for (int64_t p = 0; p < BLOCK; p += lanes)
        for (int64_t k = 0; k < n; k++)
            for (int64_t l = 0; l < lanes; l++) {
                int64_t c = from + p + l;
                *to++ = c < t->columns                ? (double)t->at[(lo + k) * t->columns + c]
                        : t->one && c == t->columns ? 1
                                                      : 0;
            }
}

static void one_block(const Products *t, int64_t i0, int64_t j0, double *room) {
    double *a = room, *b = a + PIECE * BLOCK, *sum = b + PIECE * BLOCK, part[ROWS * L];
    int64_t rows = t->a.columns + t->a.one;
    memset(sum, 0, BLOCK * BLOCK * sizeof *sum);
    for (int64_t lo = 0; lo < t->n; lo += PIECE) {
        int64_t n = at_most(t->n - lo, PIECE);
        pack(&t->a, i0, lo, n, ROWS, a);
        pack(&t->b, j0, lo, n, L, b);
        for (int64_t i = 0; i < BLOCK && i0 + i < rows; i += ROWS)
            for (int64_t j = 0; j < BLOCK && j0 + j < t->wide; j += L) {
                tile(a + i * n, 1, ROWS, b + j * n, n, ROWS, part);
                for (int64_t r = 0; r < ROWS; r++)
                    for (int64_t l = 0; l < L; l++)
                        sum[(i + r) * BLOCK + j + l] += part[r * L + l];
            }
    }
    for (int64_t i = 0; i < BLOCK && i0 + i < rows; i++)
        memcpy(t->out + (i0 + i) * t->wide + j0, sum + i * BLOCK,
               (size_t)at_most(BLOCK, t->wide - j0) * sizeof *sum);
}

static void blocks(void *context, int64_t lo, int64_t hi, int thread) {
    const Products *t = context;
    for (int64_t k = lo; k < hi; k++) {
        int64_t i = k / t->across * BLOCK, j = k % t->across * BLOCK;
        if (t->a.at != t->b.at || j <= i)
            one_block(t, i, j, t->room + thread * ROOM);
    }
}

int rt_products(rt_table a, rt_table b, int64_t n, double *out, int threads, rt_error *err) {
    Products t = {.a = a, .b = b, .n = n, .wide = b.columns + b.one, .out = out};
    int64_t down = (a.columns + a.one + BLOCK - 1) / BLOCK;
    t.across = (t.wide + BLOCK - 1) / BLOCK;
    t.room = rt_alloc((size_t)threads, ROOM * sizeof *t.room, "sums", err);
    if (!t.room)
        return err->code;
    rt_parallel_for(threads, down * t.across, 1, blocks, &t);
    rt_free(t.room);
    return NETRT_OK;
}

/* ---- Cholesky ---- */

typedef struct Columns {
    double *a;
    int64_t n, at, width;
    const double *panel; /* [k][lane] = L[at + lane][k], k < at */
} Columns;

/* Rows lo .. of a block of columns lose what the columns before it account for. */
static void reduce(void *context, int64_t lo, int64_t hi, int thread) {
    const Columns *c = context;
    double part[ROWS * L];
    (void)thread;
    for (int64_t r = c->at + lo * ROWS; r < c->at + hi * ROWS && r < c->n; r += ROWS) {
        int64_t rows = at_most(c->n - r, ROWS);
        tile(c->a + r * c->n, c->n, 1, c->panel, c->at, rows, part);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t l = 0; l < c->width; l++)
                c->a[(r + i) * c->n + c->at + l] -= part[i * L + l];
    }
}

/* The block's own columns; 0, or the row of the pivot that is not positive. */
static int64_t finish(const Columns *c) {
    for (int64_t j = c->at; j < c->at + c->width; j++) {
        const double *mine = c->a + j * c->n;
        for (int64_t r = j; r < c->n; r++) {
            double *row = c->a + r * c->n, sum = row[j];
            for (int64_t k = c->at; k < j; k++)
                sum -= row[k] * mine[k];
            if (r == j && !(sum > 0 && isfinite(sum)))
                return j + 1;
            row[j] = r == j ? sqrt(sum) : sum / mine[j];
        }
    }
    return 0;
}

int rt_cholesky(double *a, int64_t n, int threads, rt_error *err) {
    double *panel = rt_alloc((size_t)n, L * sizeof *panel, "columns", err);
    int64_t bad = 0;
    if (!panel)
        return err->code;
    for (int64_t at = 0; at < n && !bad; at += L) {
        Columns c = {a, n, at, at_most(n - at, L), panel};
        for (int64_t k = 0; k < at; k++)
            for (int64_t l = 0; l < L; l++)
                panel[k * L + l] = l < c.width ? a[(at + l) * n + k] : 0;
        rt_parallel_for(threads, (n - at + ROWS - 1) / ROWS, 16, reduce, &c);
        bad = finish(&c);
    }
    rt_free(panel);
    if (bad)
        return rt_fail(err, NETRT_EDIVERGED, "a matrix of %lld rows is not positive definite",
                       (long long)n);
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < r; k++)
            a[k * n + r] = a[r * n + k];
    return NETRT_OK;
}

/* Rows at .. at + rows: their own part of the system, forward (step 1) or back (-1). */
static void corner(const double *l, int64_t n, int64_t at, int64_t rows, int forward, double *x) {
    for (int64_t i = 0; i < rows; i++) {
        int64_t r = forward ? at + i : at + rows - 1 - i;
        int64_t from = forward ? at : r + 1, to = forward ? r : at + rows;
        for (int64_t k = from; k < to; k++)
            for (int64_t c = 0; c < L; c++)
                x[r * L + c] -= l[r * n + k] * x[k * L + c];
        for (int64_t c = 0; c < L; c++)
            x[r * L + c] /= l[r * n + r];
    }
}

void rt_cholesky_solve(const double *l, int64_t n, double *x, int64_t panels) {
    double part[ROWS * L];
    int64_t last = (n - 1) / ROWS;
    for (int forward = 1; forward >= 0; forward--)
        for (int64_t b = 0; b <= last; b++) {
            int64_t at = (forward ? b : last - b) * ROWS, rows = at_most(n - at, ROWS);
            int64_t from = forward ? 0 : at + rows, inner = forward ? at : n - from;
            for (int64_t p = 0; p < panels; p++) {
                double *mine = x + p * n * L;
                tile(l + at * n + from, n, 1, mine + from * L, inner, rows, part);
                for (int64_t i = 0; i < rows * L; i++)
                    mine[at * L + i] -= part[i];
                corner(l, n, at, rows, forward, mine);
            }
        }
}
